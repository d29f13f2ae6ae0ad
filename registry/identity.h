/*
 * A device or an access key as authentication needs it: much smaller than its record, immutable,
 * counted by references within its loop. Private to the registry.
 */
#ifndef HF_REGISTRY_IDENTITY_H
#define HF_REGISTRY_IDENTITY_H

#include "registry/registry_store.h"

struct identity {
	struct identity *newer, *older; /* the cache's */
	unsigned refs;
	bool forgotten; /* it has changed since; whoever still holds it must ask again */
	enum entity kind;
	bool enabled;
	enum device_auth auth;
	uint32_t perms;      /* of a key */
	uint64_t device_key; /* of a device */
	uint64_t epoch;      /* of the change feed when it was asked for */
	uint16_t id_len;
	uint8_t key_len[2];
	/* the letter of its kind and the id, which together are its name in the cache; then primary
	 * and secondary key, or the MAC of the secret in place of the primary one */
	uint8_t bytes[];
};

#define IDENTITY_NAME_MAX (1 + MODULE_ID_MAX)

/* Writes the name of an identity (the letter of its kind and its id, at most MODULE_ID_MAX). */
struct slice identity_name_write(
        enum entity kind, struct slice id, char out[static IDENTITY_NAME_MAX]);

/* From an answered look-up (err 0). One reference; NULL when out of memory. */
struct identity *identity_new(const struct identity_lookup *l, uint64_t epoch);
struct identity *identity_ref(struct identity *i);
/* Drops a reference, the last one wipes it; NULL is fine; returns NULL. */
struct identity *identity_unref(struct identity *i);

struct slice identity_name(const struct identity *i);
/* The primary (0) and secondary (1) key; empty where there is none. Of a device with a secret, 0 is
 * the secret's MAC. */
struct slice identity_key(const struct identity *i, unsigned which);

/* The tag that a principal keeps of the credential that let it in. */
#define CREDENTIAL_TAG_LEN 8
void identity_credential_tag(struct slice credential, uint8_t out[static CREDENTIAL_TAG_LEN]);
/* Whether one of its credentials has that tag. */
bool identity_has_credential(
        const struct identity *i, const uint8_t tag[static CREDENTIAL_TAG_LEN]);

#endif
