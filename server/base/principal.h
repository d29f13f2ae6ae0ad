/*
 * Who somebody is, once authenticated. Made by the registry, read by policy and broker.
 * Immutable but for the reference count; any thread may hold a reference.
 */
#ifndef HF_BASE_PRINCIPAL_H
#define HF_BASE_PRINCIPAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/access.h"
#include "server/base/facts.h"
#include "server/base/ip.h"
#include "server/base/slice.h"

/*
 * The permissions of shared access policies, with Azure's names (CONTRACT section 4), and those
 * that only roles of people have. An access key holds the first four at most.
 */
enum permission {
	PERM_REGISTRY_READ = 1 << 0,
	PERM_REGISTRY_WRITE = 1 << 1,
	PERM_SERVICE_CONNECT = 1 << 2,
	PERM_DEVICE_CONNECT = 1 << 3,
	PERM_OWNER = 1 << 4,          /* the hub itself; tokens of owners */
	PERM_SECURITY_READ = 1 << 5,  /* see access keys, tokens, policies, rules, authorities */
	PERM_SECURITY_WRITE = 1 << 6, /* change them */
	PERM_AUDIT_READ = 1 << 7,
	PERM_TELEMETRY_READ = 1 << 8, /* messages, connections, figures; send nothing */
	PERM_GROUP_WRITE = 1 << 9,    /* put devices into groups */
};
#define PERM_ALL_KEY 0x0f
#define PERM_ALL 0x3ff

enum principal_kind {
	PRINCIPAL_ANONYMOUS,
	PRINCIPAL_DEVICE,
	PRINCIPAL_KEY,    /* a back end by access key */
	PRINCIPAL_TOKEN,  /* a person or program by bearer token */
	PRINCIPAL_CUSTOM, /* known to a custom authoriser alone */
};

/* How it proved who it is. */
enum auth_method {
	AUTH_METHOD_NONE,
	AUTH_METHOD_SAS,
	AUTH_METHOD_SECRET,
	AUTH_METHOD_X509_THUMBPRINT,
	AUTH_METHOD_X509_CA,
	AUTH_METHOD_JWT,
	AUTH_METHOD_ACCESS_KEY,
	AUTH_METHOD_BEARER,
	AUTH_METHOD_OIDC,
	AUTH_METHOD_CUSTOM,
};

#define DEVICE_ID_MAX 128
#define MODULE_ID_MAX (2 * DEVICE_ID_MAX + 1) /* "device/module" */
#define CLIENT_ID_MAX 1024 /* of anonymous clients and back ends; devices: their id */
#define KEY_NAME_MAX 64
#define PRINCIPAL_PARTS 3

struct principal {
	atomic_uint refs;
	enum principal_kind kind;
	enum auth_method method;
	uint32_t perms;      /* enum permission, for keys and tokens */
	uint64_t device_key; /* the number of this generation of the device; 0 unless a device */
	uint64_t module_key; /* of a module: the number of its own generation; else 0 */
	int64_t expires_at;  /* wall-clock seconds when the credential expires; 0: never */
	/* Which credential let it in: the first 8 bytes of SHA-256 over it; when the identity
	 * changes and none of its credentials has this tag any more, the connection ends. */
	uint8_t credential_tag[8];
	bool via_key;    /* a device let in by an access key: key_name is set */
	bool resolved;   /* access says what it may; false: it comes from a session's row and has to
	                  * be asked for again before anybody relies on it */
	bool has_source; /* source is known */
	struct ip_addr source;
	/* What its identities (device, module, certificate, key) may beyond the defaults, each its
	 * part; a decision asks all of them, and a refusal of one wins. Unused ones are NULL. */
	struct access *access[PRINCIPAL_PARTS];
	struct facts *facts; /* of its certificate; may be NULL */
	/* What the registry wants to keep to judge it again later; may be NULL. */
	void *proof;
	void (*proof_free)(void *proof);
	uint16_t id_len, client_id_len;
	uint8_t key_name_len;
	/* device id (with "/module"), key name or token name; then the access key's name; then the
	 * client id where it is another one; NULs after each */
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
static inline struct slice principal_client_id(const struct principal *p)
{
	return p->client_id_len
	        ? slice_make(p->text + p->id_len + 1 + p->key_name_len + 1, p->client_id_len)
	        : principal_id(p);
}
/* The device that a device or one of its modules is: its id up to the slash. */
struct slice principal_device_id(const struct principal *p);

/* A principal with one reference; id at most MODULE_ID_MAX bytes, key_name at most KEY_NAME_MAX
 * (may be empty). The other members are zero and for the maker to set; access, facts and proof are
 * the principal's from then on. NULL when out of memory. */
struct principal *principal_new(enum principal_kind kind, struct slice id, struct slice key_name);
/* The same with a client id that is not the id; at most CLIENT_ID_MAX bytes. */
struct principal *principal_new_client(
        enum principal_kind kind, struct slice id, struct slice key_name, struct slice client_id);
struct principal *principal_ref(struct principal *p);
/* Drops a reference; NULL is fine; returns NULL. */
struct principal *principal_unref(struct principal *p);
const char *principal_kind_name(enum principal_kind kind); /* "device", "key", … */
const char *auth_method_name(enum auth_method method); /* "sas", "x509Ca", … as documents have it */

#endif
