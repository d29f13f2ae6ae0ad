/*
 * A device, a module, an access key or a certificate as authentication needs it: much smaller than
 * its record, immutable but for what is compiled of it, counted by references within its loop.
 * Private to the registry.
 */
#ifndef HF_REGISTRY_IDENTITY_H
#define HF_REGISTRY_IDENTITY_H

#include "registry/registry_hooks.h"
#include "registry/registry_store.h"

/* What it was read with, of which policy makes its part. Longer ones are not kept: then the
 * identity is read again when rules have changed. */
#define IDENTITY_SOURCE_MAX 2048

enum identity_text {
	IDENTITY_LINKS,
	IDENTITY_TAGS,
	/* what else stands in its record: auth_public of a device, scope of a key, the document of
	 * a certificate; always kept */
	IDENTITY_DOC,
	IDENTITY_TEXTS,
};

struct identity {
	struct identity *newer, *older; /* the cache's */
	unsigned refs;
	bool forgotten; /* it has changed since; whoever still holds it must ask again */
	enum entity kind;
	bool enabled;
	bool source_kept; /* links and tags are here: access can be made anew */
	enum device_auth auth;
	uint32_t perms;                  /* of a key */
	int64_t not_after;               /* of a key: wall s; 0: never */
	uint64_t device_key, parent_key; /* of a device or module */
	uint64_t epoch;                  /* of the change feed when it was asked for */
	struct access *access;           /* its part of principals; NULL: there is no policy */
	uint16_t id_len;
	uint8_t key_len[2];
	uint32_t text_len[IDENTITY_TEXTS];
	/* the letter of its kind and the id, which together are its name in the cache; then primary
	 * and secondary key, or the MAC of the secret in place of the primary one; then its texts
	 */
	uint8_t bytes[];
};

#define IDENTITY_NAME_MAX (1 + MODULE_ID_MAX)

/* Writes the name of an identity (the letter of its kind and its id, at most MODULE_ID_MAX). */
struct slice identity_name_write(
        enum entity kind, struct slice id, char out[static IDENTITY_NAME_MAX]);

/* From an answered look-up (err 0), its access made by the hooks. One reference; NULL when out of
 * memory. */
struct identity *identity_new(
        const struct identity_lookup *l, uint64_t epoch, const struct registry_hooks *hooks);
struct identity *identity_ref(struct identity *i);
/* Drops a reference, the last one wipes it; NULL is fine; returns NULL. */
struct identity *identity_unref(struct identity *i);

/* Makes its access anew where the rules have changed. False: it has to be read again for that. */
bool identity_refresh(struct identity *i, const struct registry_hooks *hooks);

/* The earlier of two times at which something expires (wall s; 0: never). */
static inline int64_t earlier_expiry(int64_t a, int64_t b)
{
	return !a || (b && b < a) ? b : a;
}
/* When what a key has signed expires: with the key at the latest. */
static inline int64_t identity_cut(const struct identity *key, int64_t expires_at)
{
	return earlier_expiry(expires_at, key->not_after);
}

struct slice identity_name(const struct identity *i);
struct slice identity_id(const struct identity *i);
/* The primary (0) and secondary (1) key; empty where there is none. Of a device with a secret, 0 is
 * the secret's MAC. */
struct slice identity_key(const struct identity *i, unsigned which);
/* Empty where there is none. */
struct slice identity_text(const struct identity *i, enum identity_text which);

/* The tag that a principal keeps of the credential that let it in. */
#define CREDENTIAL_TAG_LEN 8
void identity_credential_tag(struct slice credential, uint8_t out[static CREDENTIAL_TAG_LEN]);
/* Whether one of its keys (or its secret's MAC) has that tag. */
bool identity_has_credential(
        const struct identity *i, const uint8_t tag[static CREDENTIAL_TAG_LEN]);
/* "sas", "secret", "x509Thumbprint", … as documents have it. */
const char *device_auth_name(enum device_auth auth);

#endif
