/*
 * The port through which the registry keeps identities; storage (PostgreSQL) and storage/ram
 * (tests) implement it. Keys are plain here and wrapped by the implementation; whoever holds a
 * record wipes it with device_record_done / access_key_record_done.
 */
#ifndef HF_REGISTRY_STORE_H
#define HF_REGISTRY_STORE_H

#include <stdlib.h>

#include "server/base/crypto.h"
#include "server/base/device_id.h"
#include "server/base/document_store.h"
#include "server/base/mail.h"
#include "server/base/principal.h"
#include "server/base/role.h"

#define SYM_KEY_MAX 128 /* bytes of a symmetric key, decoded; made ones have 64 */
#define SYM_KEY_MIN 16
#define GENERATION_ID_LEN 32 /* hex */
#define STATUS_REASON_MAX 128

struct sym_key {
	uint8_t bytes[SYM_KEY_MAX];
	uint8_t len; /* 0: none */
};

/* How a device or module proves who it is. The numbers stand in the database. */
enum device_auth {
	DEVICE_AUTH_SAS,
	DEVICE_AUTH_SECRET,
	DEVICE_AUTH_X509_THUMBPRINT,
	DEVICE_AUTH_X509_CA,
	DEVICE_AUTH_JWT,
};
#define AUTH_PUBLIC_MAX 16384

struct device_record {
	uint64_t device_key;        /* the store's number of this generation; given on insert */
	uint64_t parent_key;        /* of a module: its device's device_key; of a device 0 */
	char id[MODULE_ID_MAX + 1]; /* "device" or "device/module" */
	char generation_id[GENERATION_ID_LEN + 1]; /* given on insert */
	char etag[ETAG_LEN + 1];                   /* given on every write */
	bool enabled;
	char status_reason[STATUS_REASON_MAX + 1];
	enum device_auth auth;
	struct sym_key primary, secondary; /* sas */
	uint8_t secret_mac[32];            /* secret: its HMAC under the hub's key */
	/* What is no secret of its credentials: thumbprints, public keys; a JSON object as text, at
	 * most AUTH_PUBLIC_MAX, malloc'ed; NULL: none */
	char *auth_public;
	char *tags;  /* a JSON object as text, malloc'ed; NULL: {} */
	char *links; /* of a look-up: what hangs on it (access.h), malloc'ed; NULL: nothing */
	int64_t created_us, updated_us;
	/* as last written by a hub; a live connection of this hub is known better by the broker */
	bool connected;
	int64_t connected_us, last_activity_us; /* 0: never */
	bool altered; /* in a list: it cannot be read, of the rest the id alone counts */
};
/* Wipes the record and frees what it owns (not the record itself). Here and not in a .c, because
 * either side of the port needs it and neither is linked into the other's tests. */
static inline void device_record_done(struct device_record *r)
{
	free(r->auth_public);
	free(r->tags);
	free(r->links);
	crypto_wipe(r, sizeof(*r));
}

struct access_key_record {
	char name[KEY_NAME_MAX + 1];
	uint32_t perms;
	char etag[ETAG_LEN + 1];
	struct sym_key primary, secondary;
	char *scope; /* what it is narrowed to: a JSON object as text, malloc'ed; NULL: it is not */
	int64_t created_us, updated_us;
	bool altered; /* in a list: as of a device */
};
static inline void access_key_record_done(struct access_key_record *r)
{
	free(r->scope);
	crypto_wipe(r, sizeof(*r));
}

#define TOKEN_CIDRS_MAX 16

/* A bearer token of a person or a program. Its secret is never kept. */
struct token_record {
	char name[KEY_NAME_MAX + 1];
	uint8_t mac[32]; /* of the secret; given for an insert, never read back */
	char role[ROLE_NAME_MAX + 1];
	int64_t expires_at; /* wall s; 0: never */
	unsigned n_cidrs;   /* from where it may be used; 0: from anywhere */
	struct cidr cidrs[TOKEN_CIDRS_MAX];
	char created_by[KEY_NAME_MAX + 1]; /* cut where it is longer; "": the hub itself */
	int64_t created_us;                /* given on insert */
};

/* An asynchronous look-up, made on a loop. Several are answered by one query. */
struct identity_lookup {
	struct mail mail; /* the answer; deliver is the asker's */
	struct mailbox *reply_to;
	/* ENTITY_DEVICE by id (modules too: "device/module"), ENTITY_KEY by name,
	 * ENTITY_CERTIFICATE by id */
	enum entity kind;
	char id[MODULE_ID_MAX + 1];
	/* Out. 0; ERR_NOT_FOUND; ERR_UNAVAILABLE (database away); ERR_CORRUPT (keys do not unwrap).
	 */
	int err;
	union {
		struct device_record device;
		struct access_key_record key;
		struct document certificate;
	};
	/* The store's, while it has the request. */
	struct {
		void (*deliver)(struct mail *m);
		void *owner;
	} store;
};

struct registry_store {
	void *ctx;

	/* On a loop, never blocks. */
	void (*lookup)(void *ctx, struct identity_lookup *l);
	/* The change feed: monotonic ms until which this process surely hears of every change
	 * within the promised second (0: the feed is down); epoch rises each time it came back
	 * after a gap: what was cached under an older epoch must not be used. Any thread, no lock.
	 */
	uint64_t (*feed_fresh_until_ms)(void *ctx);
	uint64_t (*feed_epoch)(void *ctx);
	/* HMAC-SHA-256 of a secret or token under the hub's key, for purpose ("secret", "token").
	 */
	void (*mac)(void *ctx, const char *purpose, struct slice in, uint8_t out[static 32]);

	/* On threads that may block (API workers): one transaction each. 0; ERR_EXISTS;
	 * ERR_NOT_FOUND; ERR_STALE (match); ERR_UNAVAILABLE (database away); ERR_TOO_BIG;
	 * ERR_INTERNAL. Writes fill in what the store gives (device_key, generation_id, etag,
	 * times). */
	int (*device_insert)(void *ctx, struct device_record *r);
	int (*device_get)(void *ctx, const char *id, struct device_record *ret);
	/* Its device_key alone: also of a device whose record was altered. */
	int (*device_key)(void *ctx, const char *id, uint64_t *ret);
	/* Devices, ordered by id (bytewise), ids greater than after (NULL: from the start). *ret_n
	 * <= limit; records to be done with by the caller, the array freed. */
	int (*device_list)(void *ctx, const char *after, unsigned limit, struct device_record **ret,
	        unsigned *ret_n);
	/* The modules of a device, in the same way. */
	int (*module_list)(void *ctx, const char *device, const char *after, unsigned limit,
	        struct device_record **ret, unsigned *ret_n);
	int (*device_update)(void *ctx, struct device_record *r, struct store_match match);
	int (*device_delete)(void *ctx, const char *id, struct store_match match);
	/* Devices in all, and disabled ones. */
	int (*device_count)(void *ctx, uint64_t *ret_all, uint64_t *ret_disabled);

	int (*access_key_insert)(void *ctx, struct access_key_record *r);
	int (*access_key_get)(void *ctx, const char *name, struct access_key_record *ret);
	int (*access_key_list)(void *ctx, const char *after, unsigned limit,
	        struct access_key_record **ret, unsigned *ret_n);
	int (*access_key_update)(void *ctx, struct access_key_record *r, struct store_match match);
	int (*access_key_delete)(void *ctx, const char *name, struct store_match match);

	/* The bearer token with that MAC. */
	int (*token_find)(void *ctx, const uint8_t mac[static 32], struct token_record *ret);
	int (*token_insert)(void *ctx, struct token_record *r);
	int (*token_get)(void *ctx, const char *name, struct token_record *ret);
	int (*token_list)(void *ctx, const char *after, unsigned limit, struct token_record **ret,
	        unsigned *ret_n);
	/* ERR_CONFLICT: it is the last one of role owner that does not expire. */
	int (*token_delete)(void *ctx, const char *name);

	/* Policies, groups, authorities, certificates, … and what hangs on devices. */
	struct document_store documents;

	/* Idempotency-Key of POST (24 h): get: 0 with the answer that was given, ERR_NOT_FOUND, or
	 * ERR_CONFLICT (same key, another request). The answer is sealed at rest. body malloc'ed.
	 */
	int (*idempotency_get)(void *ctx, struct slice key, const uint8_t request_hash[static 32],
	        int *ret_status, char **ret_body, size_t *ret_len, char **ret_location);
	int (*idempotency_put)(void *ctx, struct slice key, const uint8_t request_hash[static 32],
	        int status, struct slice body, const char *location);
};

#endif
