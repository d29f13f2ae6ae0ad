/* Compiling what hangs on an identity. */
#include "policy/rights.h"

#include <stdlib.h>

#include "server/base/cleanup.h"

static void rights_free(struct access *a)
{
	free(a);
}

struct access *policy_access_make(struct policy *p, const struct access_source *source)
{
	struct rights *r = calloc(1, sizeof(*r) + source->id.n);
	if (!r)
		return NULL;
	atomic_init(&r->access.refs, 1);
	r->access.version = policy_version(p);
	r->access.free = rights_free;
	r->kind = source->kind;
	r->id = slice_make(r->bytes, source->id.n);
	if (source->id.n > 0)
		memcpy(r->bytes, source->id.p, source->id.n);
	return &r->access;
}

bool policy_access_groups(
        const struct access *a HF_UNUSED, unsigned *pos HF_UNUSED, struct slice *ret HF_UNUSED)
{
	return false;
}
