/* The audit log: each row's hash of itself and of the row before. */
#include "server/base/err.h"
#include "storage/audit_hash.h"
#include "storage/verify.h"

#define FIELDS 18
#define ROW_MAX (1024u * 1024 * 1024)

static const char audit_sql[] =
        "SELECT position, prev_hash, hash, audit_id, at, actor, actor_kind, role, source,"
        " trace_id, operation, outcome, reason, count, kind, name, before::text, after::text"
        " FROM holdfast.audit ORDER BY position";

/* A row as it is at hand in the copy. */
static void read_row(const struct copy *c, struct link *link, struct audit_row *row, bool *bad)
{
	const struct slice *f = c->fields;

	*link = (struct link){.chain = AUDIT_CHAIN, .position = copy_i64(c, 0, bad)};
	copy_fixed(c, 1, link->prev, CRYPTO_HASH_LEN, bad);
	copy_fixed(c, 2, link->hash, CRYPTO_HASH_LEN, bad);
	*row = (struct audit_row){
	        .id = copy_i64(c, 3, bad),
	        .at_us = copy_i64(c, 4, bad) + PG_EPOCH_US,
	        .actor = f[5],
	        .actor_kind = f[6],
	        .role = f[7],
	        .source = f[8],
	        .trace_id = f[9],
	        .operation = f[10],
	        .outcome = f[11],
	        .reason = f[12],
	        .count = (uint32_t)copy_i32(c, 13, bad),
	        .kind = f[14],
	        .name = f[15],
	        .before = f[16],
	        .after = f[17],
	};
}

static int check_row(struct verify *v, const struct copy *c, struct buf *scratch)
{
	struct audit_row row;
	struct link link;
	uint8_t hash[CRYPTO_HASH_LEN];
	bool bad = false;

	read_row(c, &link, &row, &bad);
	int err = audit_hash(&row, link.position, link.prev, scratch, hash);
	if (err < 0) {
		snprintf(v->error, STORAGE_ERROR_LEN, "row %lld of the audit log: %s",
		        (long long)link.position, err_text(err));
		return err;
	}
	if (bad || memcmp(hash, link.hash, CRYPTO_HASH_LEN) != 0)
		verify_found(v, "row %lld of the audit log (id %lld): altered",
		        (long long)link.position, (long long)row.id);
	v->audit_rows++;
	verify_link(v, &link);
	return 0;
}

int verify_audit(struct verify *v)
{
	struct buf scratch;
	struct copy c;
	int err = 0, r = verify_open(v, &c, 0, "audit", audit_sql);

	if (r < 0)
		return r;
	buf_init(&scratch, ROW_MAX);
	while (err == 0 && (r = verify_next(v, &c, FIELDS)) > 0)
		err = check_row(v, &c, &scratch);
	if (err == 0)
		err = r;
	if (err == 0)
		verify_links_end(v, AUDIT_CHAIN + 1);
	buf_free(&scratch);
	int closed = verify_close(v, &c);
	return err < 0 ? err : closed;
}
