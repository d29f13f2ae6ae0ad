/* The registry's port. Records are kept plain: this is memory of a test. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "storage/ram/private.h"

/* Whether [0, n) elements of size each, that begin with a string, hold name; *ret: where it is or
 * belongs. */
static bool find(
        const struct ram_array *a, size_t size, size_t text_off, const char *name, size_t *ret)
{
	size_t i = 0;
	int order = 1;

	for (; i < a->n; i++) {
		order = strcmp((const char *)a->items + i * size + text_off, name);
		if (order >= 0)
			break;
	}
	*ret = i;
	return i < a->n && order == 0;
}

static bool find_device(struct ram_store *s, const char *id, size_t *ret)
{
	return find(&s->devices, sizeof(struct device_record), offsetof(struct device_record, id),
	        id, ret);
}

static bool find_key(struct ram_store *s, const char *name, size_t *ret)
{
	return find(&s->access_keys, sizeof(struct access_key_record),
	        offsetof(struct access_key_record, name), name, ret);
}

static struct device_record *device_at(struct ram_store *s, size_t i)
{
	return (struct device_record *)s->devices.items + i;
}

static struct access_key_record *key_at(struct ram_store *s, size_t i)
{
	return (struct access_key_record *)s->access_keys.items + i;
}

static int copy_text(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? ERR_NOMEM : 0;
}

/* Without its links. */
static int copy_device(const struct device_record *from, struct device_record *ret)
{
	char *tags = NULL, *public = NULL;

	if (copy_text(from->tags, &tags) < 0 || copy_text(from->auth_public, &public) < 0) {
		free(tags);
		return ERR_NOMEM;
	}
	*ret = *from;
	ret->tags = tags;
	ret->auth_public = public;
	ret->links = NULL;
	return 0;
}

static int give_device(
        struct ram_store *s, const struct device_record *from, struct device_record *ret)
{
	int err = copy_device(from, ret);

	if (err == 0)
		ret->links = ram_links(s, ENTITY_DEVICE, ret->id);
	return err;
}

static int copy_key(const struct access_key_record *from, struct access_key_record *ret)
{
	char *scope = NULL;
	int err = copy_text(from->scope, &scope);

	if (err == 0) {
		*ret = *from;
		ret->scope = scope;
	}
	return err;
}

const struct device_record *ram_device_of(const struct ram_store *s, uint64_t device_key)
{
	const struct device_record *all = s->devices.items;

	for (size_t i = 0; i < s->devices.n; i++)
		if (all[i].device_key == device_key)
			return &all[i];
	return NULL;
}

bool ram_has_device(struct ram_store *s, const char *id)
{
	size_t i;

	return find_device(s, id, &i);
}

bool ram_matches(struct store_match match, const char *etag)
{
	return !match.etag || strcmp(match.etag, "*") == 0 || strcmp(match.etag, etag) == 0;
}

void ram_give_etag(struct ram_store *s, char etag[static ETAG_LEN + 1])
{
	snprintf(etag, ETAG_LEN + 1, "%" PRIx64, s->next_etag++);
}

/* Locks; false where the store plays an absent database. */
bool ram_enter(struct ram_store *s)
{
	pthread_mutex_lock(&s->mutex);
	return s->available;
}

int ram_leave(struct ram_store *s, int err)
{
	err = s->available ? err : ERR_UNAVAILABLE;
	pthread_mutex_unlock(&s->mutex);
	return err;
}

void ram_mac(void *ctx, const char *purpose, struct slice in, uint8_t out[static 32])
{
	struct ram_store *s = ctx;

	crypto_hmac_sha256(slice_make(s->mac_key, sizeof(s->mac_key)),
	        slice_make(purpose, strlen(purpose) + 1), in, out);
}

void ram_lookup_answer(struct ram_store *s, struct identity_lookup *l)
{
	size_t i;

	l->err = ERR_NOT_FOUND;
	if (!s->available) {
		l->err = ERR_UNAVAILABLE;
	} else if (l->kind == ENTITY_KEY && find_key(s, l->id, &i)) {
		l->err = copy_key(key_at(s, i), &l->key);
	} else if (l->kind == ENTITY_DEVICE && find_device(s, l->id, &i)) {
		l->err = give_device(s, device_at(s, i), &l->device);
	} else if (l->kind == ENTITY_CERTIFICATE) {
		l->err = ram_document_get(s, l->kind, l->id, &l->certificate);
	}
	mail_post(l->reply_to, &l->mail);
}

static void lookup(void *ctx, struct identity_lookup *l)
{
	ram_request(ctx, (struct ram_waiting){.kind = RAM_LOOKUP, .request = l});
}

static uint64_t feed_fresh_until_ms(void *ctx)
{
	struct ram_store *s = ctx;

	pthread_mutex_lock(&s->mutex);
	uint64_t until = s->feed ? clock_ms() + 1000 : 0;
	pthread_mutex_unlock(&s->mutex);
	return until;
}

static uint64_t feed_epoch(void *ctx)
{
	struct ram_store *s = ctx;

	pthread_mutex_lock(&s->mutex);
	uint64_t epoch = s->epoch;
	pthread_mutex_unlock(&s->mutex);
	return epoch;
}

/* ---- devices ---- */

static int insert_device_at(struct ram_store *s, size_t i, struct device_record *r)
{
	uint8_t generation[GENERATION_ID_LEN / 2];
	struct device_record copy;
	size_t parent;

	r->parent_key = 0;
	if (strchr(r->id, '/')) {
		char device[MODULE_ID_MAX + 1];

		snprintf(device, sizeof(device), "%.*s", (int)strcspn(r->id, "/"), r->id);
		if (!find_device(s, device, &parent))
			return ERR_NOT_FOUND;
		r->parent_key = device_at(s, parent)->device_key;
	}
	r->device_key = s->next_key++;
	crypto_random(generation, sizeof(generation));
	crypto_hex_encode(slice_make(generation, sizeof(generation)), r->generation_id);
	ram_give_etag(s, r->etag);
	r->created_us = r->updated_us = clock_wall_us();
	int err = copy_device(r, &copy);
	if (err < 0)
		return err;
	struct device_record *slot = ram_array_insert(&s->devices, i, sizeof(*slot));
	if (!slot) {
		device_record_done(&copy);
		return ERR_NOMEM;
	}
	*slot = copy;
	return 0;
}

static int device_insert(void *ctx, struct device_record *r)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s))
		err = find_device(s, r->id, &i) ? ERR_EXISTS : insert_device_at(s, i, r);
	return ram_leave(s, err);
}

static int device_get(void *ctx, const char *id, struct device_record *ret)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s))
		err = find_device(s, id, &i) ? give_device(s, device_at(s, i), ret) : ERR_NOT_FOUND;
	return ram_leave(s, err);
}

static int device_key(void *ctx, const char *id, uint64_t *ret)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s)) {
		err = find_device(s, id, &i) ? 0 : ERR_NOT_FOUND;
		if (err == 0)
			*ret = device_at(s, i)->device_key;
	}
	return ram_leave(s, err);
}

/* Devices, or the modules of that device. */
static bool is_listed(const struct device_record *r, const char *device)
{
	size_t n = device ? strlen(device) : 0;

	if (!device)
		return !r->parent_key;
	return r->parent_key && strncmp(r->id, device, n) == 0 && r->id[n] == '/';
}

static int list_records(struct ram_store *s, const char *device, const char *after,
        struct device_record *list, unsigned limit, unsigned *ret_n)
{
	unsigned n = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->devices.n && n < limit; i++) {
		const struct device_record *r = device_at(s, i);

		if (!is_listed(r, device) || (after && strcmp(r->id, after) <= 0))
			continue;
		err = give_device(s, r, &list[n]);
		n += err == 0;
	}
	*ret_n = n;
	return err;
}

static int module_list(void *ctx, const char *device, const char *after, unsigned limit,
        struct device_record **ret, unsigned *ret_n)
{
	struct ram_store *s = ctx;
	struct device_record *list = calloc(limit ? limit : 1, sizeof(*list));
	unsigned n = 0;
	int err = list ? 0 : ERR_NOMEM;

	if (ram_enter(s) && list)
		err = list_records(s, device, after, list, limit, &n);
	err = ram_leave(s, err);
	if (err == 0) {
		*ret = list;
		*ret_n = n;
		return 0;
	}
	for (unsigned k = 0; list && k < n; k++)
		device_record_done(&list[k]);
	free(list);
	return err;
}

static int device_list(
        void *ctx, const char *after, unsigned limit, struct device_record **ret, unsigned *ret_n)
{
	return module_list(ctx, NULL, after, limit, ret, ret_n);
}

static int update_device(struct ram_store *s, struct device_record *r, struct store_match match)
{
	struct device_record copy;
	size_t i;

	if (!find_device(s, r->id, &i))
		return ERR_NOT_FOUND;
	struct device_record *old = device_at(s, i);
	if (!ram_matches(match, old->etag) || r->device_key != old->device_key)
		return ERR_STALE;
	memcpy(r->generation_id, old->generation_id, sizeof(r->generation_id));
	r->parent_key = old->parent_key;
	r->created_us = old->created_us;
	r->updated_us = clock_wall_us();
	ram_give_etag(s, r->etag);
	int err = copy_device(r, &copy);
	if (err < 0)
		return err;
	device_record_done(old);
	*old = copy;
	return 0;
}

static int device_update(void *ctx, struct device_record *r, struct store_match match)
{
	struct ram_store *s = ctx;
	int err = 0;

	if (ram_enter(s))
		err = update_device(s, r, match);
	return ram_leave(s, err);
}

/* With its modules, and what hangs on them. */
static void delete_device(struct ram_store *s, uint64_t device_key)
{
	for (size_t i = s->devices.n; i-- > 0;) {
		struct device_record *r = device_at(s, i);

		if (r->device_key != device_key && r->parent_key != device_key)
			continue;
		ram_links_gone(s, ENTITY_DEVICE, r->id);
		device_record_done(r);
		ram_array_remove(&s->devices, i, sizeof(*r));
	}
}

static int device_delete(void *ctx, const char *id, struct store_match match)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s)) {
		if (!find_device(s, id, &i))
			err = ERR_NOT_FOUND;
		else if (!ram_matches(match, device_at(s, i)->etag))
			err = ERR_STALE;
		else
			delete_device(s, device_at(s, i)->device_key);
	}
	return ram_leave(s, err);
}

static int device_count(void *ctx, uint64_t *ret_all, uint64_t *ret_disabled)
{
	struct ram_store *s = ctx;
	uint64_t disabled = 0, all = 0;

	if (ram_enter(s)) {
		for (size_t i = 0; i < s->devices.n; i++) {
			if (device_at(s, i)->parent_key)
				continue;
			all++;
			disabled += !device_at(s, i)->enabled;
		}
	}
	int err = ram_leave(s, 0);
	if (err == 0) {
		*ret_all = all;
		*ret_disabled = disabled;
	}
	return err;
}

/* ---- access keys ---- */

static int insert_key(struct ram_store *s, struct access_key_record *r)
{
	size_t i;

	if (find_key(s, r->name, &i))
		return ERR_EXISTS;
	struct access_key_record *slot = ram_array_insert(&s->access_keys, i, sizeof(*slot));
	if (!slot)
		return ERR_NOMEM;
	ram_give_etag(s, r->etag);
	r->created_us = r->updated_us = clock_wall_us();
	return copy_key(r, slot);
}

static int access_key_insert(void *ctx, struct access_key_record *r)
{
	struct ram_store *s = ctx;
	int err = 0;

	if (ram_enter(s))
		err = insert_key(s, r);
	return ram_leave(s, err);
}

static int access_key_get(void *ctx, const char *name, struct access_key_record *ret)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s)) {
		err = find_key(s, name, &i) ? copy_key(key_at(s, i), ret) : ERR_NOT_FOUND;
	}
	return ram_leave(s, err);
}

static int access_key_list(void *ctx, const char *after, unsigned limit,
        struct access_key_record **ret, unsigned *ret_n)
{
	struct ram_store *s = ctx;
	struct access_key_record *list = calloc(limit ? limit : 1, sizeof(*list));
	unsigned n = 0;
	size_t i = 0;

	if (ram_enter(s) && list) {
		if (after && find_key(s, after, &i))
			i++;
		for (; i < s->access_keys.n && n < limit; i++)
			n += copy_key(key_at(s, i), &list[n]) == 0;
	}
	int err = ram_leave(s, list ? 0 : ERR_NOMEM);
	if (err == 0) {
		*ret = list;
		*ret_n = n;
	} else {
		free(list);
	}
	return err;
}

static int update_key(struct ram_store *s, struct access_key_record *r, struct store_match match)
{
	size_t i;

	if (!find_key(s, r->name, &i))
		return ERR_NOT_FOUND;
	struct access_key_record *old = key_at(s, i);
	if (!ram_matches(match, old->etag))
		return ERR_STALE;
	r->created_us = old->created_us;
	r->updated_us = clock_wall_us();
	ram_give_etag(s, r->etag);
	struct access_key_record copy;
	int err = copy_key(r, &copy);
	if (err < 0)
		return err;
	access_key_record_done(old);
	*old = copy;
	return 0;
}

static int access_key_update(void *ctx, struct access_key_record *r, struct store_match match)
{
	struct ram_store *s = ctx;
	int err = 0;

	if (ram_enter(s))
		err = update_key(s, r, match);
	return ram_leave(s, err);
}

static int access_key_delete(void *ctx, const char *name, struct store_match match)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s)) {
		if (!find_key(s, name, &i)) {
			err = ERR_NOT_FOUND;
		} else if (!ram_matches(match, key_at(s, i)->etag)) {
			err = ERR_STALE;
		} else {
			access_key_record_done(key_at(s, i));
			ram_array_remove(&s->access_keys, i, sizeof(struct access_key_record));
		}
	}
	return ram_leave(s, err);
}

/* ---- tokens, idempotency ---- */

static struct token_record *token_at(struct ram_store *s, size_t i)
{
	return (struct token_record *)s->tokens.items + i;
}

static bool find_token(struct ram_store *s, const char *name, size_t *ret)
{
	return find(&s->tokens, sizeof(struct token_record), offsetof(struct token_record, name),
	        name, ret);
}

static int token_find(void *ctx, const uint8_t mac[static 32], struct token_record *ret)
{
	struct ram_store *s = ctx;
	int err = ERR_NOT_FOUND;

	if (ram_enter(s))
		for (size_t i = 0; i < s->tokens.n; i++)
			if (crypto_equal(token_at(s, i)->mac, mac, 32)) {
				*ret = *token_at(s, i);
				err = 0;
			}
	return ram_leave(s, err);
}

static int token_get(void *ctx, const char *name, struct token_record *ret)
{
	struct ram_store *s = ctx;
	int err = ERR_NOT_FOUND;
	size_t i;

	if (ram_enter(s) && find_token(s, name, &i)) {
		*ret = *token_at(s, i);
		err = 0;
	}
	return ram_leave(s, err);
}

static int token_insert(void *ctx, struct token_record *r)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s)) {
		r->created_us = clock_wall_us();
		if (find_token(s, r->name, &i))
			err = ERR_EXISTS;
		else if (ram_array_insert(&s->tokens, i, sizeof(*r)))
			*token_at(s, i) = *r;
		else
			err = ERR_NOMEM;
	}
	return ram_leave(s, err);
}

static int token_list(
        void *ctx, const char *after, unsigned limit, struct token_record **ret, unsigned *ret_n)
{
	struct ram_store *s = ctx;
	int err = 0;

	if (ram_enter(s)) {
		*ret = calloc(s->tokens.n + 1, sizeof(**ret));
		*ret_n = 0;
		for (size_t i = 0; *ret && i < s->tokens.n && *ret_n < limit; i++)
			if (!after || strcmp(token_at(s, i)->name, after) > 0)
				(*ret)[(*ret_n)++] = *token_at(s, i);
		err = *ret ? 0 : ERR_NOMEM;
	}
	return ram_leave(s, err);
}

static bool is_lasting_owner(const struct token_record *t)
{
	return strcmp(t->role, "owner") == 0 && t->expires_at == 0;
}

static int token_delete(void *ctx, const char *name)
{
	struct ram_store *s = ctx;
	int err = ERR_NOT_FOUND;
	size_t i, owners = 0;

	if (ram_enter(s) && find_token(s, name, &i)) {
		for (size_t k = 0; k < s->tokens.n; k++)
			owners += is_lasting_owner(token_at(s, k));
		err = is_lasting_owner(token_at(s, i)) && owners == 1 ? ERR_CONFLICT : 0;
		if (err == 0)
			ram_array_remove(&s->tokens, i, sizeof(struct token_record));
	}
	return ram_leave(s, err);
}

static struct ram_idempotency *find_answer(struct ram_store *s, const uint8_t key[static 32])
{
	struct ram_idempotency *all = s->idempotency.items;

	for (size_t i = 0; i < s->idempotency.n; i++)
		if (memcmp(all[i].key, key, 32) == 0)
			return &all[i];
	return NULL;
}

static int idempotency_get(void *ctx, struct slice key, const uint8_t request_hash[static 32],
        int *ret_status, char **ret_body, size_t *ret_len, char **ret_location)
{
	struct ram_store *s = ctx;
	uint8_t hash[32];
	int err = ERR_NOT_FOUND;

	ram_mac(s, "idempotency", key, hash);
	if (ram_enter(s)) {
		const struct ram_idempotency *a = find_answer(s, hash);

		if (a && memcmp(a->request, request_hash, 32) != 0) {
			err = ERR_CONFLICT;
		} else if (a) {
			*ret_status = a->status;
			*ret_body = strndup(a->body, a->body_len);
			*ret_len = a->body_len;
			*ret_location = a->location ? strdup(a->location) : NULL;
			err = 0;
		}
	}
	return ram_leave(s, err);
}

static int idempotency_put(void *ctx, struct slice key, const uint8_t request_hash[static 32],
        int status, struct slice body, const char *location)
{
	struct ram_store *s = ctx;
	uint8_t hash[32];
	int err = 0;

	ram_mac(s, "idempotency", key, hash);
	if (ram_enter(s) && !find_answer(s, hash)) {
		struct ram_idempotency *a = ram_array_add(&s->idempotency, sizeof(*a));

		if (a) {
			memcpy(a->key, hash, 32);
			memcpy(a->request, request_hash, 32);
			a->status = status;
			a->body = strndup(body.n ? (const char *)body.p : "", body.n);
			a->body_len = body.n;
			a->location = location ? strdup(location) : NULL;
		} else {
			err = ERR_NOMEM;
		}
	}
	return ram_leave(s, err);
}

struct registry_store ram_registry(struct ram_store *s)
{
	return (struct registry_store){
	        .ctx = s,
	        .lookup = lookup,
	        .feed_fresh_until_ms = feed_fresh_until_ms,
	        .feed_epoch = feed_epoch,
	        .mac = ram_mac,
	        .device_insert = device_insert,
	        .device_get = device_get,
	        .device_key = device_key,
	        .device_list = device_list,
	        .module_list = module_list,
	        .device_update = device_update,
	        .device_delete = device_delete,
	        .device_count = device_count,
	        .access_key_insert = access_key_insert,
	        .access_key_get = access_key_get,
	        .access_key_list = access_key_list,
	        .access_key_update = access_key_update,
	        .access_key_delete = access_key_delete,
	        .token_find = token_find,
	        .token_insert = token_insert,
	        .token_get = token_get,
	        .token_list = token_list,
	        .token_delete = token_delete,
	        .documents = ram_documents(s),
	        .idempotency_get = idempotency_get,
	        .idempotency_put = idempotency_put,
	};
}
