#include "storage/read_keys.h"

#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define KEEP_MS 500

static struct slice name_of(const int64_t *key_id)
{
	return slice_make(key_id, sizeof(*key_id));
}

static void drop_all(struct read_keys *k)
{
	struct read_key *key;

	map_for_each (&k->map, pos, key) {
		crypto_wipe(key, sizeof(*key));
		free(key);
	}
	map_free(&k->map);
	map_init(&k->map);
}

void read_keys_init(struct read_keys *k, struct storage *s)
{
	*k = (struct read_keys){.s = s};
	map_init(&k->map);
}

void read_keys_done(struct read_keys *k)
{
	drop_all(k);
	map_free(&k->map);
}

const struct read_key *read_keys_get(const struct read_keys *k, int64_t key_id)
{
	return map_get(&k->map, name_of(&key_id));
}

/* Notes that it was asked for; what the database has of it is filled in afterwards. */
static int note(struct read_keys *k, int64_t key_id)
{
	struct read_key *key = calloc(1, sizeof(*key));

	if (!key)
		return ERR_NOMEM;
	key->key_id = key_id;
	int err = map_put(&k->map, name_of(&key->key_id), key, NULL);
	if (err < 0)
		free(key);
	return err;
}

static void fill_in(struct read_keys *k, const PGresult *r, int row)
{
	int64_t key_id = pg_get_i64(r, row, 0);
	struct read_key *key = map_get(&k->map, name_of(&key_id));

	if (!key)
		return;
	key->there = true;
	key->device_key = (uint64_t)pg_get_i64(r, row, 1);
	(void)pg_get_text(r, row, 3, key->device, sizeof(key->device));
	if (data_key_unwrap(k->s, key->device_key, key_id, pg_get_bytes(r, row, 2), key->key) == 0)
		return;
	/* Then no row opens, and each says so. */
	log_error("a data key in the database was altered", F_U64("deviceKey", key->device_key));
	crypto_random(key->key, sizeof(key->key));
}

static int load(struct read_keys *k, const struct buf *missing)
{
	static const char sql[] = "SELECT k.key_id, k.device_key, k.wrapped, coalesce(d.id, '')"
	                          " FROM holdfast.data_keys k"
	                          " LEFT JOIN holdfast.devices d ON d.device_key = k.device_key"
	                          " WHERE k.key_id = ANY ($1)";
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_array(&p, PG_INT8_ARRAY, missing);
	int err = pool_call(k->s, sql, &p, &r);
	for (int row = 0; err == 0 && row < PQntuples(r); row++)
		fill_in(k, r, row);
	return err;
}

/* Those that are not at hand, as an array in the binary format. */
static int note_missing(
        struct read_keys *k, const int64_t *ids, unsigned n, struct buf *to, uint32_t *ret_n)
{
	uint32_t found = 0;
	int err = pg_array_start(to);

	for (unsigned i = 0; err == 0 && i < n; i++) {
		if (read_keys_get(k, ids[i]))
			continue;
		err = note(k, ids[i]);
		if (err == 0)
			err = pg_array_i64(to, ids[i]);
		found++;
	}
	*ret_n = found;
	return err;
}

int read_keys_want(struct read_keys *k, const int64_t *ids, unsigned n)
{
	struct buf missing;
	uint32_t n_missing = 0;

	if (map_count(&k->map) + n > READ_KEYS_MAX || clock_ms() - k->since_ms > KEEP_MS)
		drop_all(k);
	if (map_count(&k->map) == 0)
		k->since_ms = clock_ms();
	buf_init(&missing, PG_ARRAY_HEAD + 12 * (size_t)READ_KEYS_MAX);
	int err = note_missing(k, ids, n, &missing, &n_missing);
	if (err == 0 && n_missing > 0) {
		pg_array_finish(&missing, PG_INT8, n_missing);
		err = load(k, &missing);
	}
	buf_wipe(&missing);
	if (err < 0)
		drop_all(k);
	return err;
}
