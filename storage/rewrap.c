/*
 * Wraps anew what the master key wraps: page after page by primary key, each page one UPDATE that
 * compares what it read with what is there. A row that was changed meanwhile is left to the next
 * walk; by then who changed it wraps with the new key.
 */
#include <poll.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/rotation.h"

#define PAGE_ROWS 1000
#define PAGE_MS 120 /* from the beginning of one page to that of the next, at least */
#define STATEMENT_MS 60000
#define PAGE_BYTES (PAGE_ROWS * (size_t)(WRAP_MAX + 16) + PG_ARRAY_HEAD)
#define DEADLOCK_TRIES 5
#define WRAPPED_MAX 2 /* wrapped columns of a table */
#define ALTERED_SHOWN 20

struct owner_name {
	uint8_t bytes[WRAP_OWNER_MAX];
};

/* A table with wrapped columns. Its select gives key, wrapped columns (the second may be null),
 * then what owner needs. */
struct table {
	const char *name;
	bool by_text; /* its key is text, else bigint */
	const char *select, *update;
	int (*owner)(const PGresult *r, int row, enum which_key which, struct owner_name *name,
	        struct wrap_owner *ret);
};

/* ---- whose they are ---- */

static int data_key_row(const PGresult *r, int row, enum which_key which HF_UNUSED,
        struct owner_name *name HF_UNUSED, struct wrap_owner *ret)
{
	*ret = data_key_owner((uint64_t)pg_get_i64(r, row, 3), pg_get_i64(r, row, 0));
	return 0;
}

static int device_row(const PGresult *r, int row, enum which_key which, struct owner_name *name,
        struct wrap_owner *ret)
{
	struct device_record d = {0};

	if (!pg_get_text(r, row, 3, d.id, sizeof(d.id)) ||
	        !pg_get_text(r, row, 4, d.generation_id, sizeof(d.generation_id)))
		return ERR_CORRUPT;
	*ret = device_key_owner(&d, which, name->bytes);
	return 0;
}

static int access_key_row(const PGresult *r, int row, enum which_key which, struct owner_name *name,
        struct wrap_owner *ret)
{
	struct access_key_record k = {.perms = (uint32_t)pg_get_i32(r, row, 3)};

	if (!pg_get_text(r, row, 0, k.name, sizeof(k.name)))
		return ERR_CORRUPT;
	int err = row_copy_text(r, row, 4, &k.scope);
	if (err == 0)
		*ret = access_key_owner(&k, which, name->bytes);
	access_key_record_done(&k);
	return err;
}

#define REWRAP_UPDATE(table, key, type, first, second)                                     \
	"UPDATE holdfast." table " t SET " first " = u.n1" second " FROM unnest($1::" type \
	"[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])"                          \
	" u(k, o1, n1, o2, n2) WHERE t." key " = u.k AND t." first " IS NOT DISTINCT FROM u.o1"

static const struct table tables[] = {
        {"access_keys", true,
                "SELECT name, primary_key, secondary_key, perms, scope::text"
                " FROM holdfast.access_keys WHERE name > $1 ORDER BY name LIMIT $2",
                REWRAP_UPDATE("access_keys", "name", "text", "primary_key",
                        ", secondary_key = u.n2") " AND t.secondary_key IS NOT DISTINCT FROM u.o2",
                access_key_row},
        {"devices", false,
                "SELECT device_key, primary_key, secondary_key, id, generation_id"
                " FROM holdfast.devices WHERE device_key > $1 ORDER BY device_key LIMIT $2",
                REWRAP_UPDATE("devices", "device_key", "bigint", "primary_key",
                        ", secondary_key = u.n2") " AND t.secondary_key IS NOT DISTINCT FROM u.o2",
                device_row},
        {"data_keys", false,
                "SELECT key_id, wrapped, NULL::bytea, device_key"
                " FROM holdfast.data_keys WHERE key_id > $1 ORDER BY key_id LIMIT $2",
                REWRAP_UPDATE("data_keys", "key_id", "bigint", "wrapped", ""), data_key_row},
};

/* ---- a page ---- */

/* What of a page is wrapped, to be given away at once: the master keys are in another process. */
struct page_items {
	struct wrap_item item[PAGE_ROWS * WRAPPED_MAX];
	struct owner_name name[PAGE_ROWS * WRAPPED_MAX];
	uint8_t out[PAGE_ROWS * WRAPPED_MAX][WRAP_MAX];
	unsigned n;
};

struct page {
	const struct table *table;
	struct pg *pg;
	const struct keyring *keyring;
	struct rewrap_count *count;
	struct page_items *items;
	struct buf last; /* the key of the last row that was seen, as text or 8 bytes */
	struct buf key, old[WRAPPED_MAX], fresh[WRAPPED_MAX];
	uint32_t n;
};

static int read_page(struct page *p, PGresult **ret)
{
	struct pg_params params = {0};
	struct slice last = buf_slice(&p->last);

	if (p->table->by_text)
		pg_put_text(&params, last.n ? (const char *)last.p : "");
	else
		pg_put_i64(&params, last.n ? (int64_t)pg_load_u64(last.p) : INT64_MIN);
	pg_put_i64(&params, PAGE_ROWS);
	return pg_exec(p->pg, p->table->select, &params, clock_ms() + STATEMENT_MS, ret);
}

static int note_last(struct page *p, const PGresult *r)
{
	struct slice key = pg_get_bytes(r, PQntuples(r) - 1, 0);

	buf_truncate(&p->last, 0);
	int err = buf_append(&p->last, key.p, key.n);
	return err < 0 ? err : buf_append(&p->last, "", 1);
}

/* A row whose owner makes no sense is wrapped for nobody: it does not open. */
static void add_item(struct page *p, const PGresult *r, int row, unsigned column)
{
	struct page_items *all = p->items;
	struct wrap_item *item = &all->item[all->n];

	*item = (struct wrap_item){
	        .in = pg_get_bytes(r, row, 1 + (int)column), .out = all->out[all->n]};
	if (p->table->owner(
	            r, row, (enum which_key)(column + 1), &all->name[all->n], &item->owner) < 0)
		item->owner = (struct wrap_owner){.purpose = "nobody"};
	if (item->in.n < WRAP_OVERHEAD || item->in.n > WRAP_MAX)
		item->in = SLICE_LIT("");
	all->n++;
}

static void rewrap_page(struct page *p, const PGresult *r)
{
	p->items->n = 0;
	for (int row = 0; row < PQntuples(r); row++)
		for (unsigned i = 0; i < WRAPPED_MAX; i++)
			if (!PQgetisnull(r, row, 1 + (int)i))
				add_item(p, r, row, i);
	keyring_rewrap_many(p->keyring, p->items->item, p->items->n);
}

struct rewrapped {
	struct slice old[WRAPPED_MAX], fresh[WRAPPED_MAX];
	bool changed;
};

/* The row's items, from *at on. 0; ERR_CORRUPT: somebody altered the row, which then stays as it
 * is. */
static int take_row(
        const struct page *p, const PGresult *r, int row, unsigned *at, struct rewrapped *ret)
{
	int err = 0;

	for (unsigned i = 0; i < WRAPPED_MAX; i++) {
		ret->old[i] = ret->fresh[i] = slice_make(NULL, 0);
		if (PQgetisnull(r, row, 1 + (int)i))
			continue;
		const struct wrap_item *item = &p->items->item[(*at)++];
		ret->old[i] = item->in;
		ret->fresh[i] = slice_make(item->out, item->in.n);
		ret->changed |= item->changed;
		if (err == 0)
			err = item->err;
	}
	return err;
}

static int put(struct buf *b, struct slice s)
{
	return s.p ? pg_array_bytes(b, s) : pg_array_null(b);
}

static int add_row(struct page *p, const PGresult *r, int row, const struct rewrapped *w)
{
	int err = pg_array_bytes(&p->key, pg_get_bytes(r, row, 0));

	for (unsigned i = 0; err == 0 && i < WRAPPED_MAX; i++) {
		err = put(&p->old[i], w->old[i]);
		if (err == 0)
			err = put(&p->fresh[i], w->fresh[i]);
	}
	p->n += err == 0;
	return err;
}

static int start_arrays(struct page *p)
{
	struct buf *all[] = {&p->key, &p->old[0], &p->old[1], &p->fresh[0], &p->fresh[1]};
	int err = 0;

	p->n = 0;
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(all); i++) {
		buf_truncate(all[i], 0);
		err = pg_array_start(all[i]);
	}
	return err;
}

static int fill(struct page *p, const PGresult *r)
{
	int err = start_arrays(p);
	unsigned at = 0;

	rewrap_page(p, r);
	for (int row = 0; err == 0 && row < PQntuples(r); row++) {
		struct rewrapped w = {0};

		p->count->seen++;
		err = take_row(p, r, row, &at, &w);
		if (err == ERR_CORRUPT) {
			if (p->count->altered++ < ALTERED_SHOWN)
				log_error("a wrapped key in the database was altered: it stays as "
				          "it is",
				        F_STR("table", p->table->name));
			err = 0;
		} else if (err == 0 && w.changed) {
			err = add_row(p, r, row, &w);
		}
	}
	return err;
}

/* A lane or a call may hold rows in another order: then the database ends one of them. */
static int run_update(struct page *p, const struct pg_params *params, PGresult **ret)
{
	int err = 0;

	for (unsigned tries = 0; tries < DEADLOCK_TRIES; tries++) {
		err = pg_exec(p->pg, p->table->update, params, clock_ms() + STATEMENT_MS, ret);
		if (err != ERR_INTERNAL || strcmp(p->pg->sqlstate, "40P01") != 0)
			break;
	}
	return err;
}

static int write_page(struct page *p)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params params = {0};
	bool text = p->table->by_text;

	if (p->n == 0)
		return 0;
	pg_array_finish(&p->key, text ? PG_TEXT : PG_INT8, p->n);
	pg_put_array(&params, text ? PG_TEXT_ARRAY : PG_INT8_ARRAY, &p->key);
	for (unsigned i = 0; i < WRAPPED_MAX; i++) {
		pg_array_finish(&p->old[i], PG_BYTEA, p->n);
		pg_array_finish(&p->fresh[i], PG_BYTEA, p->n);
		pg_put_array(&params, PG_BYTEA_ARRAY, &p->old[i]);
		pg_put_array(&params, PG_BYTEA_ARRAY, &p->fresh[i]);
	}
	int err = run_update(p, &params, &r);
	if (err < 0)
		return err;
	uint64_t done = strtoull(PQcmdTuples(r), NULL, 10);
	p->count->changed += done;
	p->count->missed += p->n - done;
	return 0;
}

/* Slowly: of two cores a rotation may have a few hundredths, or those who serve feel it. */
static void pause_page(uint64_t began_ms, bool wrote)
{
	uint64_t now = clock_ms(), took = now - began_ms, least = 2 * took;
	uint64_t due = began_ms + (least > PAGE_MS ? least : PAGE_MS);

	if (wrote && due > now)
		(void)poll(NULL, 0, (int)(due - now));
}

static int walk(struct page *p)
{
	for (bool more = true; more;) {
		_cleanup_result_ PGresult *r = NULL;
		uint64_t began = clock_ms();
		int err = read_page(p, &r);

		if (err < 0)
			return err;
		more = PQntuples(r) == PAGE_ROWS;
		if (PQntuples(r) == 0)
			return 0;
		err = note_last(p, r);
		if (err == 0)
			err = fill(p, r);
		if (err == 0)
			err = write_page(p);
		if (err < 0)
			return err;
		if (more)
			pause_page(began, p->n > 0);
	}
	return 0;
}

static void page_done(struct page *p)
{
	struct buf *all[] = {&p->last, &p->key, &p->old[0], &p->old[1], &p->fresh[0], &p->fresh[1]};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		buf_free(all[i]);
	free(p->items);
}

static int page_init(struct page *p)
{
	struct buf *all[] = {&p->last, &p->key, &p->old[0], &p->old[1], &p->fresh[0], &p->fresh[1]};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		buf_init(all[i], PAGE_BYTES);
	p->items = malloc(sizeof(*p->items));
	return p->items ? 0 : ERR_NOMEM;
}

/* ---- the hub's own keys ---- */

static const struct hub_key {
	const char *purpose, *select, *update;
} hub_keys[] = {
        {"check", "SELECT master_check FROM holdfast.hub",
                "UPDATE holdfast.hub SET master_check = $1 WHERE master_check = $2"},
        {"hub-mac", "SELECT mac_key FROM holdfast.hub",
                "UPDATE holdfast.hub SET mac_key = $1 WHERE mac_key = $2"},
        {"hub-seal", "SELECT seal_key FROM holdfast.hub",
                "UPDATE holdfast.hub SET seal_key = $1 WHERE seal_key = $2"},
        {"hub-sign", "SELECT wrapped FROM holdfast.signing",
                "UPDATE holdfast.signing SET wrapped = $1 WHERE wrapped = $2"},
};

static int read_hub_key(struct pg *pg, const struct hub_key *h, PGresult **ret)
{
	int err = pg_exec(pg, h->select, NULL, clock_ms() + STATEMENT_MS, ret);

	if (err == 0 && (PQntuples(*ret) != 1 || pg_get_bytes(*ret, 0, 0).n > WRAP_MAX))
		return ERR_CORRUPT;
	return err;
}

/* Without these the database is no good to anybody: here an alteration ends all. */
static int rewrap_hub_key(
        struct pg *pg, const struct keyring *k, const struct hub_key *h, struct rewrap_count *count)
{
	_cleanup_result_ PGresult *r = NULL, *updated = NULL;
	struct wrap_owner owner = {.purpose = h->purpose};
	struct pg_params p = {0};
	uint8_t fresh[WRAP_MAX];
	bool changed = false;
	int err = read_hub_key(pg, h, &r);

	if (err == 0)
		err = keyring_rewrap(k, &owner, pg_get_bytes(r, 0, 0), fresh, &changed);
	count->seen++;
	if (err < 0 || !changed)
		return err;
	pg_put_bytes(&p, slice_make(fresh, pg_get_bytes(r, 0, 0).n));
	pg_put_bytes(&p, pg_get_bytes(r, 0, 0));
	err = pg_exec(pg, h->update, &p, clock_ms() + STATEMENT_MS, &updated);
	count->changed += err == 0;
	return err;
}

int rewrap_which(struct pg *owner, struct keyring *k, bool *ret_next)
{
	_cleanup_result_ PGresult *r = NULL;
	struct keyring_ids ids;
	uint8_t out[WRAP_MAX];
	bool other = false;
	int err = read_hub_key(owner, &hub_keys[0], &r);

	if (err == 0)
		err = keyring_ids(k, &ids);
	if (err == 0 &&
	        keyring_rewrap(k, &(struct wrap_owner){.purpose = "check"}, pg_get_bytes(r, 0, 0),
	                out, &other) < 0)
		err = ERR_CONFLICT;
	if (err == 0)
		*ret_next = ids.wraps_next != other;
	return err;
}

int rewrap_all(struct pg *owner, const struct keyring *k, struct rewrap_count *count)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(hub_keys); i++)
		err = rewrap_hub_key(owner, k, &hub_keys[i], count);
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(tables); i++) {
		struct page p = {.table = &tables[i], .pg = owner, .keyring = k, .count = count};

		err = page_init(&p);
		if (err == 0)
			err = walk(&p);
		page_done(&p);
	}
	return err;
}
