/*
 * Erasure of a device's data: its data keys are destroyed, and whatever was sealed under them, here
 * or in any copy, opens no more. The receipt is signed before: it says which keys, and counts only
 * if they still are the device's keys when the transaction has the lock.
 */
#include <inttypes.h>

#include "server/base/audit.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/json.h"
#include "storage/private.h"

#define PURPOSE "erasure"
#define BODY_MAX (1024u * 1024)
#define TRIES 8 /* another erasure, or a new key, between reading and erasing */

/* What is read before: the device, its keys, numbers for receipt and new key. */
enum { DEVICE_KEY, GENERATION, KEYS, KEYS_TEXT, N_KEYS, NUMBER, FRESH, AT };

static const char read_sql[] =
        "SELECT d.device_key, d.generation_id, k.ids, array_to_string(k.ids, ','),"
        " cardinality(k.ids), e.epoch + 1, nextval('holdfast.key_seq'), clock_timestamp()"
        " FROM holdfast.devices d, holdfast.key_epoch e, LATERAL"
        " (SELECT coalesce(array_agg(key_id ORDER BY key_id), '{}') AS ids"
        " FROM holdfast.data_keys WHERE device_key = d.device_key) k"
        " WHERE d.id = $1 AND d.parent_key IS NULL";
static const char erase_sql[] =
        "SELECT holdfast.erase(ROW($1, $2, $3, $4, convert_from($5, 'UTF8'), $6)"
        "::holdfast.erasures, $7, $8, $9)";

/* As JSON, on one line: names are whatever somebody is called. */
static int make_body(struct buf *out, const PGresult *r, const char *device)
{
	const struct audit_actor *who = audit_actor();
	char generation[GENERATION_ID_LEN + 1] = "", when[CLOCK_RFC3339_LEN];
	struct slice keys = pg_get_bytes(r, 0, KEYS_TEXT);

	(void)pg_get_text(r, 0, GENERATION, generation, sizeof(generation));
	int err = buf_printf(out,
	        "{\"erasure\":%" PRId64 ",\"time\":\"%s\",\"deviceId\":\"%s\","
	        "\"generationId\":\"%s\",\"by\":",
	        pg_get_i64(r, 0, NUMBER), clock_rfc3339(pg_get_time(r, 0, AT), when), device,
	        generation);
	if (err == 0)
		err = json_append_string(out, slice_str(who && who->name ? who->name : "hub"));
	if (err == 0)
		err = buf_printf(out, ",\"count\":%d,\"keys\":[", pg_get_i32(r, 0, N_KEYS));
	if (err == 0)
		err = buf_append(out, keys.p, keys.n);
	return err < 0 ? err : buf_append_str(out, "]}");
}

static int fresh_key(struct storage *s, uint64_t device_key, int64_t key_id,
        uint8_t wrapped[static CRYPTO_KEY_LEN + WRAP_OVERHEAD])
{
	uint8_t key[CRYPTO_KEY_LEN];

	crypto_random(key, sizeof(key));
	int err = data_key_wrap(s, device_key, key_id, key, wrapped);
	crypto_wipe(key, sizeof(key));
	return err;
}

/* ERR_CONFLICT: it is not as it was read. */
static int erase_as_read(struct storage *s, const PGresult *r, const char *device,
        const struct proof_statement *receipt)
{
	_wrapping_(s);
	_cleanup_result_ PGresult *done = NULL;
	uint8_t wrapped[CRYPTO_KEY_LEN + WRAP_OVERHEAD];
	uint64_t device_key = (uint64_t)pg_get_i64(r, 0, DEVICE_KEY);
	int64_t key_id = pg_get_i64(r, 0, FRESH);
	struct slice ids = pg_get_bytes(r, 0, KEYS);
	struct buf _cleanup_(buf_free) keys;
	struct pg_params p = {0};
	int err = fresh_key(s, device_key, key_id, wrapped);

	buf_init(&keys, BODY_MAX);
	if (err == 0)
		err = buf_append(&keys, ids.p, ids.n);
	if (err < 0)
		return err;
	pg_put_i64(&p, receipt->number);
	pg_put_i64(&p, (int64_t)device_key);
	pg_put_text(&p, device);
	pg_put_time(&p, receipt->at_us);
	pg_put_bytes(&p, receipt->body);
	pg_put_bytes(&p, receipt->signature);
	pg_put_array(&p, PG_INT8_ARRAY, &keys);
	pg_put_i64(&p, key_id);
	pg_put_bytes(&p, slice_make(wrapped, sizeof(wrapped)));
	err = pool_write(s, erase_sql, &p, &done);
	if (err < 0)
		return err;
	if (!pg_get_bool(done, 0, 0))
		return ERR_CONFLICT;
	lanes_forget(s, device_key);
	return 0;
}

static int try_to_erase(struct storage *s, const char *device,
        int (*row)(const struct proof_statement *s, void *arg), void *arg)
{
	_cleanup_result_ PGresult *r = NULL;
	struct buf _cleanup_(buf_free) body;
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
	struct pg_params p = {0};

	buf_init(&body, BODY_MAX);
	pg_put_text(&p, device);
	int err = pool_call(s, read_sql, &p, &r);
	if (err == 0 && PQntuples(r) == 0)
		err = ERR_NOT_FOUND;
	if (err == 0)
		err = make_body(&body, r, device);
	if (err == 0)
		err = keyring_sign(s->keyring, PURPOSE, buf_slice(&body), signature);
	if (err < 0)
		return err;
	const struct proof_statement receipt = {pg_get_i64(r, 0, NUMBER), pg_get_time(r, 0, AT),
	        buf_slice(&body), slice_make(signature, sizeof(signature))};
	err = erase_as_read(s, r, device, &receipt);
	return err < 0 ? err : row(&receipt, arg);
}

int erasure_run(void *ctx, const char *device,
        int (*row)(const struct proof_statement *s, void *arg), void *arg)
{
	int err = ERR_CONFLICT;

	for (unsigned tries = 0; err == ERR_CONFLICT && tries < TRIES; tries++)
		err = try_to_erase(ctx, device, row, arg);
	return err == ERR_CONFLICT ? ERR_UNAVAILABLE : err;
}
