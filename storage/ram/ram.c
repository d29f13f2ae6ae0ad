#include "storage/ram/ram.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/base/crypto.h"
#include "server/base/err.h"
#include "storage/ram/private.h"

void *ram_array_insert(struct ram_array *a, size_t i, size_t size)
{
	if (a->n == a->cap) {
		size_t cap = a->cap ? a->cap * 2 : 16;
		void *items = reallocarray(a->items, cap, size);

		if (!items)
			return NULL;
		a->items = items;
		a->cap = cap;
	}
	uint8_t *at = (uint8_t *)a->items + i * size;
	memmove(at + size, at, (a->n - i) * size);
	memset(at, 0, size);
	a->n++;
	return at;
}

void *ram_array_add(struct ram_array *a, size_t size)
{
	return ram_array_insert(a, a->n, size);
}

void ram_array_remove(struct ram_array *a, size_t i, size_t size)
{
	uint8_t *at = (uint8_t *)a->items + i * size;

	memmove(at, at + size, (a->n - i - 1) * size);
	a->n--;
}

struct ram_store *ram_new(void)
{
	struct ram_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	pthread_mutex_init(&s->mutex, NULL);
	crypto_random(s->mac_key, sizeof(s->mac_key));
	s->available = s->feed = true;
	s->epoch = s->next_key = s->next_etag = 1;
	return s;
}

static void free_rows(struct ram_store *s)
{
	struct ram_stored *rows = s->rows.items;
	struct ram_qos2 *ids = s->qos2.items;

	for (size_t i = 0; i < s->rows.n; i++) {
		msg_unref(rows[i].msg);
		free(rows[i].names);
	}
	for (size_t i = 0; i < s->qos2.n; i++)
		free(ids[i].session);
}

static void free_registry(struct ram_store *s)
{
	struct device_record *devices = s->devices.items;
	struct access_key_record *keys = s->access_keys.items;
	struct ram_idempotency *answers = s->idempotency.items;

	for (size_t i = 0; i < s->devices.n; i++)
		device_record_done(&devices[i]);
	for (size_t i = 0; i < s->access_keys.n; i++)
		access_key_record_done(&keys[i]);
	for (size_t i = 0; i < s->idempotency.n; i++) {
		free(answers[i].body);
		free(answers[i].location);
	}
}

void ram_free(struct ram_store *s)
{
	if (!s)
		return;
	free_rows(s);
	free_registry(s);
	ram_sessions_free(s);
	ram_documents_free(s);
	free(s->audit.items);
	free(s->devices.items);
	free(s->access_keys.items);
	free(s->tokens.items);
	free(s->idempotency.items);
	free(s->qos2.items);
	free(s->rows.items);
	free(s->waiting.items);
	pthread_mutex_destroy(&s->mutex);
	crypto_wipe(s, sizeof(*s));
	free(s);
}

void ram_set_feed(struct ram_store *s, bool fresh)
{
	pthread_mutex_lock(&s->mutex);
	if (fresh && !s->feed)
		s->epoch++;
	s->feed = fresh;
	pthread_mutex_unlock(&s->mutex);
}

void ram_refuse_rows(struct ram_store *s, unsigned n, int err)
{
	pthread_mutex_lock(&s->mutex);
	s->refuse = n;
	s->refuse_err = err;
	pthread_mutex_unlock(&s->mutex);
}

void ram_refuse_kept(struct ram_store *s, unsigned n, int err)
{
	pthread_mutex_lock(&s->mutex);
	s->refuse_kept = n;
	s->refuse_kept_err = err;
	pthread_mutex_unlock(&s->mutex);
}

int ram_add_token(struct ram_store *s, struct slice token, const char *name, const char *role)
{
	struct token_record t = {0};

	ram_mac(s, "token", token, t.mac);
	snprintf(t.name, sizeof(t.name), "%s", name);
	snprintf(t.role, sizeof(t.role), "%s", role);
	return ram_registry(s).token_insert(s, &t);
}
