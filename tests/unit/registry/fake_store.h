/* The registry's port for its unit tests: records in arrays, answers that can be held back, an
 * absent database, a change feed that goes and comes back. Any thread. */
#ifndef HF_TESTS_UNIT_REGISTRY_FAKE_STORE_H
#define HF_TESTS_UNIT_REGISTRY_FAKE_STORE_H

#include <inttypes.h>
#include <pthread.h>

#include "registry/registry_store.h"
#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "tests/unit/base/unit.h"

#define FAKE_MAX 64

struct fake {
	pthread_mutex_t mutex;
	struct device_record devices[FAKE_MAX];
	struct access_key_record keys[FAKE_MAX];
	unsigned n_devices, n_keys;
	uint64_t serial;
	int err;   /* what every call and look-up gets; 0: what is right */
	bool hold; /* look-ups wait for fake_release */
	struct mail *held;
	unsigned lookups;
	unsigned racers; /* so many updates lose against somebody else's */
	uint64_t fresh_until, epoch;
	struct {
		uint8_t mac[32];
		uint32_t perms;
		int64_t expires;
	} token;
};

static inline void fake_init(struct fake *f)
{
	*f = (struct fake){.fresh_until = UINT64_MAX, .epoch = 1};
	pthread_mutex_init(&f->mutex, NULL);
}

static inline void fake_done(struct fake *f)
{
	for (unsigned i = 0; i < f->n_devices; i++)
		device_record_done(&f->devices[i]);
	pthread_mutex_destroy(&f->mutex);
}

/* ---- records, the mutex held ---- */

static inline int fake_find_device(const struct fake *f, const char *id)
{
	for (unsigned i = 0; i < f->n_devices; i++)
		if (strcmp(f->devices[i].id, id) == 0)
			return (int)i;
	return -1;
}

static inline int fake_find_key(const struct fake *f, const char *name)
{
	for (unsigned i = 0; i < f->n_keys; i++)
		if (strcmp(f->keys[i].name, name) == 0)
			return (int)i;
	return -1;
}

static inline void fake_copy_device(struct device_record *to, const struct device_record *from)
{
	*to = *from;
	to->tags = from->tags ? strdup(from->tags) : NULL;
}

static inline void fake_etag(struct fake *f, char etag[static ETAG_LEN + 1])
{
	snprintf(etag, ETAG_LEN + 1, "e%" PRIu64, ++f->serial);
}

static inline bool fake_matches(struct store_match match, const char *etag)
{
	return !match.etag || strcmp(match.etag, "*") == 0 || strcmp(match.etag, etag) == 0;
}

/* ---- look-ups ---- */

static inline void fake_answer(struct fake *f, struct identity_lookup *l)
{
	int i = l->is_key ? fake_find_key(f, l->id) : fake_find_device(f, l->id);
	l->err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (l->err == 0 && l->is_key)
		l->key = f->keys[i];
	else if (l->err == 0)
		fake_copy_device(&l->device, &f->devices[i]);
	mail_post(l->reply_to, &l->mail);
}

static inline void fake_lookup(void *ctx, struct identity_lookup *l)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	f->lookups++;
	if (f->hold) {
		l->mail.next = f->held;
		f->held = &l->mail;
	} else {
		fake_answer(f, l);
	}
	pthread_mutex_unlock(&f->mutex);
}

/* Answers what is held, from the calling thread, as things are now. Returns how many. */
static inline unsigned fake_release(struct fake *f)
{
	unsigned n = 0;
	pthread_mutex_lock(&f->mutex);
	struct mail *list = f->held;
	f->held = NULL;
	while (list) {
		struct mail *m = list;
		list = m->next;
		fake_answer(f, container_of(m, struct identity_lookup, mail));
		n++;
	}
	pthread_mutex_unlock(&f->mutex);
	mail_flush();
	return n;
}

static inline uint64_t fake_fresh_until(void *ctx)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	uint64_t until = f->fresh_until;
	pthread_mutex_unlock(&f->mutex);
	return until;
}

static inline uint64_t fake_epoch(void *ctx)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	uint64_t epoch = f->epoch;
	pthread_mutex_unlock(&f->mutex);
	return epoch;
}

static inline void fake_set_feed(struct fake *f, bool fresh)
{
	pthread_mutex_lock(&f->mutex);
	f->epoch += fresh;
	f->fresh_until = fresh ? UINT64_MAX : 0;
	pthread_mutex_unlock(&f->mutex);
}

static inline void fake_set_err(struct fake *f, int err)
{
	pthread_mutex_lock(&f->mutex);
	f->err = err;
	pthread_mutex_unlock(&f->mutex);
}

static inline void fake_set_hold(struct fake *f, bool hold)
{
	pthread_mutex_lock(&f->mutex);
	f->hold = hold;
	pthread_mutex_unlock(&f->mutex);
}

static inline unsigned fake_lookups(struct fake *f)
{
	pthread_mutex_lock(&f->mutex);
	unsigned n = f->lookups;
	pthread_mutex_unlock(&f->mutex);
	return n;
}

static inline void fake_mac(
        void *ctx HF_UNUSED, const char *purpose, struct slice in, uint8_t out[static 32])
{
	crypto_hmac_sha256(slice_str(purpose), SLICE_LIT("hub"), in, out);
}

/* ---- devices ---- */

static inline int fake_device_insert(void *ctx, struct device_record *r)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int err = f->err ? f->err : fake_find_device(f, r->id) >= 0 ? ERR_EXISTS : 0;
	if (err == 0) {
		ck_assert_uint_lt(f->n_devices, FAKE_MAX);
		fake_etag(f, r->etag);
		r->device_key = f->serial;
		snprintf(r->generation_id, sizeof(r->generation_id), "g%" PRIu64, f->serial);
		r->created_us = r->updated_us = clock_wall_us();
		unsigned i = f->n_devices++;
		for (; i > 0 && strcmp(f->devices[i - 1].id, r->id) > 0; i--)
			f->devices[i] = f->devices[i - 1];
		fake_copy_device(&f->devices[i], r);
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_device_get(void *ctx, const char *id, struct device_record *ret)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int i = fake_find_device(f, id), err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (err == 0)
		fake_copy_device(ret, &f->devices[i]);
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_device_list(
        void *ctx, const char *after, unsigned limit, struct device_record **ret, unsigned *ret_n)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int err = f->err;
	if (err == 0) {
		*ret = calloc(FAKE_MAX, sizeof(**ret));
		*ret_n = 0;
		for (unsigned i = 0; i < f->n_devices && *ret_n < limit; i++)
			if (!after || strcmp(f->devices[i].id, after) > 0)
				fake_copy_device(&(*ret)[(*ret_n)++], &f->devices[i]);
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_device_update(void *ctx, struct device_record *r, struct store_match match)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int i = fake_find_device(f, r->id), err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (err == 0 && f->racers > 0) {
		f->racers--;
		fake_etag(f, f->devices[i].etag);
	}
	if (err == 0 && !fake_matches(match, f->devices[i].etag))
		err = ERR_STALE;
	if (err == 0) {
		fake_etag(f, r->etag);
		r->updated_us = clock_wall_us();
		device_record_done(&f->devices[i]);
		fake_copy_device(&f->devices[i], r);
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_device_delete(void *ctx, const char *id, struct store_match match)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int i = fake_find_device(f, id), err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (err == 0 && !fake_matches(match, f->devices[i].etag))
		err = ERR_STALE;
	if (err == 0) {
		device_record_done(&f->devices[i]);
		f->n_devices--;
		for (unsigned k = (unsigned)i; k < f->n_devices; k++)
			f->devices[k] = f->devices[k + 1];
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_device_count(void *ctx, uint64_t *ret_all, uint64_t *ret_disabled)
{
	struct fake *f = ctx;
	*ret_all = f->n_devices;
	*ret_disabled = 0;
	for (unsigned i = 0; i < f->n_devices; i++)
		*ret_disabled += !f->devices[i].enabled;
	return f->err;
}

/* ---- access keys ---- */

static inline int fake_access_key_insert(void *ctx, struct access_key_record *r)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int err = f->err ? f->err : fake_find_key(f, r->name) >= 0 ? ERR_EXISTS : 0;
	if (err == 0) {
		ck_assert_uint_lt(f->n_keys, FAKE_MAX);
		fake_etag(f, r->etag);
		r->created_us = r->updated_us = clock_wall_us();
		unsigned i = f->n_keys++;
		for (; i > 0 && strcmp(f->keys[i - 1].name, r->name) > 0; i--)
			f->keys[i] = f->keys[i - 1];
		f->keys[i] = *r;
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_access_key_get(void *ctx, const char *name, struct access_key_record *ret)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int i = fake_find_key(f, name), err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (err == 0)
		*ret = f->keys[i];
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_access_key_list(void *ctx, const char *after, unsigned limit,
        struct access_key_record **ret, unsigned *ret_n)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int err = f->err;
	if (err == 0) {
		*ret = calloc(FAKE_MAX, sizeof(**ret));
		*ret_n = 0;
		for (unsigned i = 0; i < f->n_keys && *ret_n < limit; i++)
			if (!after || strcmp(f->keys[i].name, after) > 0)
				(*ret)[(*ret_n)++] = f->keys[i];
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_access_key_update(
        void *ctx, struct access_key_record *r, struct store_match match)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int i = fake_find_key(f, r->name), err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (err == 0 && f->racers > 0) {
		f->racers--;
		fake_etag(f, f->keys[i].etag);
	}
	if (err == 0 && !fake_matches(match, f->keys[i].etag))
		err = ERR_STALE;
	if (err == 0) {
		fake_etag(f, r->etag);
		f->keys[i] = *r;
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_access_key_delete(void *ctx, const char *name, struct store_match match)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int i = fake_find_key(f, name), err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (err == 0 && !fake_matches(match, f->keys[i].etag))
		err = ERR_STALE;
	if (err == 0) {
		f->n_keys--;
		for (unsigned k = (unsigned)i; k < f->n_keys; k++)
			f->keys[k] = f->keys[k + 1];
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_token_get(void *ctx, const uint8_t mac[static 32], uint32_t *ret_perms,
        char ret_name[static KEY_NAME_MAX + 1], int64_t *ret_expires)
{
	struct fake *f = ctx;
	if (f->err)
		return f->err;
	if (memcmp(mac, f->token.mac, 32) != 0)
		return ERR_NOT_FOUND;
	*ret_perms = f->token.perms;
	*ret_expires = f->token.expires;
	snprintf(ret_name, KEY_NAME_MAX + 1, "owner");
	return 0;
}

static inline struct registry_store fake_store(struct fake *f)
{
	return (struct registry_store){
	        .ctx = f,
	        .lookup = fake_lookup,
	        .feed_fresh_until_ms = fake_fresh_until,
	        .feed_epoch = fake_epoch,
	        .mac = fake_mac,
	        .device_insert = fake_device_insert,
	        .device_get = fake_device_get,
	        .device_list = fake_device_list,
	        .device_update = fake_device_update,
	        .device_delete = fake_device_delete,
	        .device_count = fake_device_count,
	        .access_key_insert = fake_access_key_insert,
	        .access_key_get = fake_access_key_get,
	        .access_key_list = fake_access_key_list,
	        .access_key_update = fake_access_key_update,
	        .access_key_delete = fake_access_key_delete,
	        .token_get = fake_token_get,
	};
}

#endif
