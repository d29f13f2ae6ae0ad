/*
 * Who somebody is, once authenticated. Made by the registry, read by policy and broker.
 * Immutable but for the reference count; any thread may hold a reference.
 */
#ifndef HF_BASE_PRINCIPAL_H
#define HF_BASE_PRINCIPAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/slice.h"

/* The permissions of shared access policies, with Azure's names (CONTRACT section 4). */
enum permission {
	PERM_REGISTRY_READ = 1 << 0,
	PERM_REGISTRY_WRITE = 1 << 1,
	PERM_SERVICE_CONNECT = 1 << 2,
	PERM_DEVICE_CONNECT = 1 << 3,
	PERM_OWNER = 1 << 4, /* access keys, tokens, audit: an owner's bearer token alone */
};
#define PERM_ALL_KEY 0x0f

enum principal_kind {
	PRINCIPAL_ANONYMOUS,
	PRINCIPAL_DEVICE,
	PRINCIPAL_KEY,   /* a back end by access key */
	PRINCIPAL_TOKEN, /* a person or program by bearer token */
};

#define DEVICE_ID_MAX 128
#define CLIENT_ID_MAX 1024 /* of anonymous clients and back ends; devices: their id */
#define KEY_NAME_MAX 64

struct principal {
	atomic_uint refs;
	enum principal_kind kind;
	uint32_t perms;      /* enum permission, for keys and tokens */
	uint64_t device_key; /* the number of this generation of the device; 0 unless a device */
	int64_t expires_at;  /* wall-clock seconds when the credential expires; 0: never */
	/* Which credential let it in: the first 8 bytes of SHA-256 over it; when the identity
	 * changes and none of its credentials has this tag any more, the connection ends. */
	uint8_t credential_tag[8];
	bool via_key; /* a device let in by an access key: key_name is set */
	uint8_t id_len, key_name_len;
	/* device id (with "/module"), key name or token name; then the access key's name; NULs
	 * after each */
	char text[];
};

static inline struct slice principal_id(const struct principal *p)
{
	return slice_make(p->text, p->id_len);
}
static inline struct slice principal_key_name(const struct principal *p)
{
	return slice_make(p->text + p->id_len + 1, p->key_name_len);
}

/* A principal with one reference; id at most 255 bytes, key_name at most KEY_NAME_MAX (may be
 * empty). The other members are zero and for the maker to set. NULL when out of memory. */
struct principal *principal_new(enum principal_kind kind, struct slice id, struct slice key_name);
struct principal *principal_ref(struct principal *p);
/* Drops a reference; NULL is fine; returns NULL. */
struct principal *principal_unref(struct principal *p);
const char *principal_kind_name(enum principal_kind kind); /* "device", "key", … */

#endif
