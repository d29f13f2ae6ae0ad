#include "storage/audit_hash.h"

#include <inttypes.h>
#include <stdio.h>

#define NUMBER_MAX 24

static int put(struct buf *out, struct slice field)
{
	uint8_t n[4];

	for (unsigned i = 0; i < 4; i++)
		n[i] = (uint8_t)(field.p ? field.n >> (24 - 8 * i) : 0xff);
	int err = buf_append(out, n, sizeof(n));
	return err == 0 && field.p && field.n > 0 ? buf_append(out, field.p, field.n) : err;
}

static struct slice number(int64_t v, char text[static NUMBER_MAX])
{
	return slice_make(text, (size_t)snprintf(text, NUMBER_MAX, "%" PRId64, v));
}

int audit_hash(const struct audit_row *row, int64_t position,
        const uint8_t prev[static CRYPTO_HASH_LEN], struct buf *scratch,
        uint8_t ret_hash[static CRYPTO_HASH_LEN])
{
	char numbers[4][NUMBER_MAX];
	const struct slice fields[] = {number(position, numbers[0]), number(row->id, numbers[1]),
	        number(row->at_us, numbers[2]), row->actor, row->actor_kind, row->role, row->source,
	        row->trace_id, row->operation, row->outcome, row->reason,
	        number((int32_t)row->count, numbers[3]), row->kind, row->name, row->before,
	        row->after};

	buf_truncate(scratch, 0);
	int err = buf_append_str(scratch, "holdfast audit 1");
	if (err == 0)
		err = buf_append(scratch, prev, CRYPTO_HASH_LEN);
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(fields); i++)
		err = put(scratch, fields[i]);
	if (err == 0)
		crypto_sha256(buf_slice(scratch), ret_hash);
	return err;
}
