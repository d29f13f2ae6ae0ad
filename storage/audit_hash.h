/*
 * The hash of a row of the audit log, as the database's trigger computes it (holdfast.audit_hash in
 * migrations/0004_store.sql): SHA-256 over the 16 bytes "holdfast audit 1", the 32 bytes of the
 * previous row's hash (0 for the first row), then each field as its length in 4 bytes, big endian,
 * and its bytes in UTF-8; a null is the length 0xffffffff alone. The fields, in this order, numbers
 * in decimal:
 *
 *   position, id, at (microseconds since 1970), actor, actor_kind, role, source, trace_id,
 *   operation, outcome, reason, count, kind, name, before, after (jsonb as PostgreSQL writes it)
 */
#ifndef HF_STORAGE_AUDIT_HASH_H
#define HF_STORAGE_AUDIT_HASH_H

#include "server/api/audit_store.h"
#include "server/base/buf.h"
#include "server/base/crypto.h"

/* scratch: emptied, then holds the text; its cap must take the longest row. Any thread. 0,
 * ERR_TOO_BIG, ERR_NOMEM. */
int audit_hash(const struct audit_row *row, int64_t position,
        const uint8_t prev[static CRYPTO_HASH_LEN], struct buf *scratch,
        uint8_t ret_hash[static CRYPTO_HASH_LEN]);

#endif
