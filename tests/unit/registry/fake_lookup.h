/* The asynchronous half of the fake store: records in arrays, answers that can be held back, an
 * absent database, a change feed that goes and comes back. Any thread. */
#ifndef HF_TESTS_UNIT_REGISTRY_FAKE_LOOKUP_H
#define HF_TESTS_UNIT_REGISTRY_FAKE_LOOKUP_H

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
		const char *role;
		const char *cidr; /* NULL: from anywhere */
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
	int i = l->kind == ENTITY_KEY ? fake_find_key(f, l->id) : fake_find_device(f, l->id);
	l->err = f->err ? f->err : i < 0 ? ERR_NOT_FOUND : 0;
	if (l->err == 0 && l->kind == ENTITY_KEY)
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

#endif
