#include "server/base/principal.h"

#include <assert.h>
#include <stdlib.h>

struct principal *principal_new(enum principal_kind kind, struct slice id, struct slice key_name)
{
	assert(id.n <= UINT8_MAX && key_name.n <= KEY_NAME_MAX);
	struct principal *p = calloc(1, sizeof(*p) + id.n + 1 + key_name.n + 1);
	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	p->kind = kind;
	p->id_len = (uint8_t)id.n;
	p->key_name_len = (uint8_t)key_name.n;
	if (id.n > 0)
		memcpy(p->text, id.p, id.n);
	if (key_name.n > 0)
		memcpy(p->text + id.n + 1, key_name.p, key_name.n);
	return p;
}

struct principal *principal_ref(struct principal *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

struct principal *principal_unref(struct principal *p)
{
	if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
		free(p);
	return NULL;
}

const char *principal_kind_name(enum principal_kind kind)
{
	switch (kind) {
	case PRINCIPAL_ANONYMOUS: return "anonymous";
	case PRINCIPAL_DEVICE: return "device";
	case PRINCIPAL_KEY: return "key";
	case PRINCIPAL_TOKEN: return "token";
	}
	return "unknown";
}
