/*
 * Rows of devices, access keys and documents: which columns, whose their wrapped keys are, and how
 * a row is read. Any thread.
 */
#ifndef HF_STORAGE_ROWS_H
#define HF_STORAGE_ROWS_H

#include "storage/keyring.h"
#include "storage/pg.h"
#include "storage/storage.h"

/* Symmetric keys of devices and access keys, wrapped: rows.c. */
enum which_key { WHICH_PRIMARY = 1, WHICH_SECONDARY = 2 };
/* Whose a wrapped key is; name is where its name is made, and has to live as long. */
#define WRAP_OWNER_MAX (MODULE_ID_MAX + GENERATION_ID_LEN + 2)
struct wrap_owner device_key_owner(
        const struct device_record *r, enum which_key which, uint8_t name[static WRAP_OWNER_MAX]);
struct wrap_owner access_key_owner(const struct access_key_record *r, enum which_key which,
        uint8_t name[static WRAP_OWNER_MAX]);
struct wrap_owner data_key_owner(uint64_t device_key, int64_t key_id);
struct wrapped_key {
	uint8_t bytes[SYM_KEY_MAX + WRAP_OVERHEAD];
	struct slice slice; /* p NULL: no key */
};
int device_key_wrap(const struct storage *s, const struct device_record *r,
        const struct sym_key *key, enum which_key which, struct wrapped_key *ret);
int access_key_wrap(const struct storage *s, const struct access_key_record *r,
        const struct sym_key *key, enum which_key which, struct wrapped_key *ret);
int data_key_wrap(const struct storage *s, uint64_t device_key, int64_t key_id,
        const uint8_t key[static CRYPTO_KEY_LEN],
        uint8_t out[static CRYPTO_KEY_LEN + WRAP_OVERHEAD]);
int data_key_unwrap(const struct storage *s, uint64_t device_key, int64_t key_id,
        struct slice wrapped, uint8_t key[static CRYPTO_KEY_LEN]);

/* What hangs on a subject, as access.h says, in an order that stays. */
#define LINK_LINES(kind, subject)                                                                  \
	"(SELECT string_agg(l.letter::text || ' ' || l.value || E'\\n', '' ORDER BY l.letter,"     \
	" l.value) FROM holdfast.links l WHERE l.subject_kind = " kind " AND l.subject = " subject \
	")"

/* Columns of a device, an access key or a document, in the order of the records below. */
#define DEVICE_COLUMNS                                                                     \
	"d.device_key, d.id, d.generation_id, d.etag, d.enabled, d.status_reason, d.auth," \
	" d.primary_key, d.secondary_key, d.secret_mac, d.tags::text, d.created_at,"       \
	" d.updated_at, coalesce(p.connected, false), p.connected_at, p.last_activity_at," \
	" d.parent_key, d.auth_public::text, " LINK_LINES("'d'", "d.device_key")
#define DEVICE_FROM \
	"holdfast.devices d LEFT JOIN holdfast.presence p ON p.device_key = d.device_key"
#define ACCESS_KEY_COLUMNS \
	"name, perms, etag, primary_key, secondary_key, created_at, updated_at, scope::text"
#define DOCUMENT_COLUMNS                                                                      \
	"o.kind::text, o.name, o.etag, o.doc::text, o.created_at, o.updated_at, " LINK_LINES( \
	        "o.kind", "o.document_key")
/* 0; ERR_CORRUPT: the keys do not unwrap, or a value cannot be ours; ERR_NOMEM. */
int device_read(const struct storage *s, const PGresult *r, int row, struct device_record *ret);
int access_key_read(
        const struct storage *s, const PGresult *r, int row, struct access_key_record *ret);
/* A column of text or JSON, malloc'ed; NULL where it is null. 0 or ERR_NOMEM. */
int row_copy_text(const PGresult *r, int row, int col, char **ret);
/* documents.c. 0; ERR_CORRUPT; ERR_NOMEM. */
int document_read(const PGresult *r, int row, struct document *ret);

#endif
