#include "broker/publisher.h"

#include <stdlib.h>

#define KEY_MAX (1 + CLIENT_ID_MAX)

static size_t make_key(enum principal_kind kind, struct slice id, char out[static KEY_MAX])
{
	size_t n = id.n < CLIENT_ID_MAX ? id.n : CLIENT_ID_MAX;
	out[0] = (char)kind;
	if (n > 0)
		memcpy(out + 1, id.p, n);
	return 1 + n;
}

static bool is_as(const struct principal *who, const struct principal *p)
{
	return who->device_key == p->device_key && who->module_key == p->module_key &&
	        memcmp(who->access, p->access, sizeof(who->access)) == 0;
}

void publishers_init(struct publishers *all)
{
	map_init(&all->by_key);
	TAILQ_INIT(&all->due);
}

void publishers_free(struct publishers *all)
{
	struct publisher *by;
	map_for_each (&all->by_key, pos, by) {
		principal_unref(by->who);
		free(by);
	}
	map_free(&all->by_key);
}

bool publisher_is_module(const struct publisher *by)
{
	return by->who->kind == PRINCIPAL_DEVICE && memchr(by->who->text, '/', by->who->id_len);
}

static struct publisher *publisher_new(
        struct publishers *all, struct slice key, struct principal *p)
{
	struct publisher *by = calloc(1, sizeof(*by) + key.n);
	if (!by)
		return NULL;
	by->in = all;
	by->who = principal_ref(p);
	TAILQ_INIT(&by->list);
	by->len = (uint16_t)key.n;
	memcpy(by->key, key.p, key.n);
	if (map_put(&all->by_key, slice_make(by->key, by->len), by, NULL) != 0) {
		principal_unref(by->who);
		free(by);
		return NULL;
	}
	all->n_modules += publisher_is_module(by);
	by->unsure = true;
	return by;
}

struct publisher *publisher_of(struct publishers *all, struct principal *p)
{
	char key[KEY_MAX];
	/* What a custom authoriser says of somebody ends with his connection. */
	if ((p->kind != PRINCIPAL_DEVICE && p->kind != PRINCIPAL_KEY) ||
	        p->method == AUTH_METHOD_CUSTOM)
		return NULL;
	size_t n = make_key(p->kind, principal_id(p), key);
	struct publisher *by = map_get(&all->by_key, slice_make(key, n));
	if (!by)
		return publisher_new(all, slice_make(key, n), p);
	by->unsure |= !is_as(by->who, p);
	if (by->who != p)
		publisher_set(by, principal_ref(p));
	return by;
}

struct publisher *publisher_find(
        const struct publishers *all, enum principal_kind kind, struct slice id)
{
	char key[KEY_MAX];
	size_t n = make_key(kind, id, key);
	return map_get(&all->by_key, slice_make(key, n));
}

void publisher_set(struct publisher *by, struct principal *who)
{
	principal_unref(by->who);
	by->who = who;
}

void publisher_add(struct publisher *by, struct retained *r)
{
	r->by = by;
	TAILQ_INSERT_TAIL(&by->list, r, of_publisher);
	by->n++;
}

void publisher_drop(struct retained *r)
{
	struct publisher *by = r->by;
	if (!by)
		return;
	TAILQ_REMOVE(&by->list, r, of_publisher);
	by->n--;
	r->by = NULL;
	publisher_tidy(by);
}

void publisher_tidy(struct publisher *by)
{
	if (by->n > 0 || by->asked > 0)
		return;
	if (by->is_due)
		TAILQ_REMOVE(&by->in->due, by, due);
	by->in->n_modules -= publisher_is_module(by);
	map_remove(&by->in->by_key, slice_make(by->key, by->len));
	principal_unref(by->who);
	free(by);
}
