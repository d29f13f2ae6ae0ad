/* The registry's port for its unit tests, the half that workers use. Any thread. */
#ifndef HF_TESTS_UNIT_REGISTRY_FAKE_STORE_H
#define HF_TESTS_UNIT_REGISTRY_FAKE_STORE_H

#include "tests/unit/registry/fake_lookup.h"

/* ---- devices ---- */

/* A module is its device's. */
static inline int fake_adopt(const struct fake *f, struct device_record *r)
{
	char device[DEVICE_ID_MAX + 1];
	snprintf(device, sizeof(device), "%.*s", (int)strcspn(r->id, "/"), r->id);
	int i = fake_find_device(f, device);
	if (i < 0)
		return ERR_NOT_FOUND;
	r->parent_key = f->devices[i].device_key;
	return 0;
}

static inline int fake_device_insert(void *ctx, struct device_record *r)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int err = f->err ? f->err : fake_find_device(f, r->id) >= 0 ? ERR_EXISTS : 0;
	if (err == 0 && strchr(r->id, '/'))
		err = fake_adopt(f, r);
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

static inline int fake_device_key(void *ctx, const char *id, uint64_t *ret)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int i = fake_find_device(f, id), err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (err == 0)
		*ret = f->devices[i].device_key;
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline bool fake_is_of(const struct device_record *r, const char *parent)
{
	const char *slash = strchr(r->id, '/');
	if (!parent || !slash)
		return !parent && !slash;
	return strlen(parent) == (size_t)(slash - r->id) &&
	        memcmp(parent, r->id, (size_t)(slash - r->id)) == 0;
}

/* parent NULL: devices; else modules of that device. */
static inline int fake_list(void *ctx, const char *parent, const char *after, unsigned limit,
        struct device_record **ret, unsigned *ret_n)
{
	struct fake *f = ctx;
	pthread_mutex_lock(&f->mutex);
	int err = f->err;
	if (err == 0) {
		*ret = calloc(FAKE_MAX, sizeof(**ret));
		*ret_n = 0;
		for (unsigned i = 0; i < f->n_devices && *ret_n < limit; i++)
			if (fake_is_of(&f->devices[i], parent) &&
			        (!after || strcmp(f->devices[i].id, after) > 0))
				fake_copy_device(&(*ret)[(*ret_n)++], &f->devices[i]);
	}
	pthread_mutex_unlock(&f->mutex);
	return err;
}

static inline int fake_device_list(
        void *ctx, const char *after, unsigned limit, struct device_record **ret, unsigned *ret_n)
{
	return fake_list(ctx, NULL, after, limit, ret, ret_n);
}

static inline int fake_module_list(void *ctx, const char *device, const char *after, unsigned limit,
        struct device_record **ret, unsigned *ret_n)
{
	return fake_list(ctx, device, after, limit, ret, ret_n);
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

static inline int fake_token_find(void *ctx, const uint8_t mac[static 32], struct token_record *ret)
{
	struct fake *f = ctx;
	if (f->err)
		return f->err;
	if (memcmp(mac, f->token.mac, 32) != 0)
		return ERR_NOT_FOUND;
	*ret = (struct token_record){.name = "owner", .expires_at = f->token.expires};
	snprintf(ret->role, sizeof(ret->role), "%s", f->token.role);
	if (f->token.cidr)
		ck_assert_int_eq(cidr_parse(f->token.cidr, &ret->cidrs[ret->n_cidrs++]), 0);
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
	        .device_key = fake_device_key,
	        .device_list = fake_device_list,
	        .module_list = fake_module_list,
	        .device_update = fake_device_update,
	        .device_delete = fake_device_delete,
	        .device_count = fake_device_count,
	        .access_key_insert = fake_access_key_insert,
	        .access_key_get = fake_access_key_get,
	        .access_key_list = fake_access_key_list,
	        .access_key_update = fake_access_key_update,
	        .access_key_delete = fake_access_key_delete,
	        .token_find = fake_token_find,
	};
}

#endif
