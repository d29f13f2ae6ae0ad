/*
 * The registry: which devices and access keys there are, and who somebody is. Authentication is
 * asynchronous on loops with a cache for each loop; administration is synchronous on threads that
 * may block (API workers).
 */
#ifndef HF_REGISTRY_REGISTRY_H
#define HF_REGISTRY_REGISTRY_H

#include "registry/registry_hooks.h"
#include "registry/registry_store.h"
#include "server/base/auth.h"
#include "server/base/json.h"

struct registry;

/* The issuer whose bearer tokens are taken for administrators'; only as the registry is made. */
struct registry_oidc {
	const char *issuer; /* NULL or "": nobody's */
	const char *audience, *jwks_url, *ca_file, *role_claim;
	char *const *roles; /* "claim value=role" */
	unsigned n_roles;
	unsigned skew_s, max_stale_s; /* keys of an issuer that is away are honoured so long */
};

struct registry_limits {
	struct registry_oidc oidc;
	unsigned lookup_ms;          /* registry.lookup_timeout */
	size_t cache_entries;        /* for each loop */
	unsigned auto_register_rate; /* devices that may register themselves in a minute */
	char *const
	        *hub_names; /* hub.name; copied; the first is the HostName of connection strings */
	unsigned n_hub_names;
	unsigned jwt_skew_s;         /* jwt.clock_skew */
	unsigned jwt_max_lifetime_s; /* jwt.max_lifetime */
	unsigned authorizer_min_s;   /* the least that a custom authoriser may say for its times */
};

/* loops: n, not running. store and hooks (NULL: none) are copied. NULL when out of memory. Main
 * thread. */
struct registry *registry_new(struct loop *const *loops, unsigned n,
        const struct registry_store *store, const struct registry_hooks *hooks,
        const struct registry_limits *limits);
void registry_free(struct registry *r); /* after the loops have stopped; wipes the caches */
/* Any thread; in force on each loop from its next turn. 0, ERR_NOMEM. */
int registry_set_limits(struct registry *r, const struct registry_limits *limits);

/* Who else wants to know of a write made through this registry: called on the worker that made it,
 * after every loop has forgotten the entry and before the writer gets its answer. Set before the
 * first write. gone: this generation (device_key) was deleted. */
void registry_set_observer(struct registry *r,
        void (*changed)(
                void *ctx, enum entity kind, struct slice id, uint64_t device_key, bool gone),
        void *ctx);

/* Reads the authorities and custom authorisers, then keeps up with them and fetches revocation
 * lists; before the loops run. Without it nobody is let in by one. 0, or what the store returned.
 * Main thread. */
int registry_start(struct registry *r);
void registry_stop(struct registry *r); /* before the loops stop; NULL is fine */
/* Whom to tell when whom the registry trusts has changed and every loop knows of it: everybody is
 * to be asked about again. Before registry_start; called on a thread of the registry. */
void registry_set_trust_observer(struct registry *r, void (*applied)(void *ctx), void *ctx);
/* Any thread: documents of a kind have changed that the registry reads whole. */
void registry_trust_changed(struct registry *r, enum entity kind);
void registry_trust_changed_all(struct registry *r);

/* ---- on loops ---- */

/* Answers r->done exactly once, at once or within limits.lookup_ms. While the change feed is not
 * fresh nobody is let in, from the cache or otherwise: the request waits for it and is then
 * answered ERR_UNAVAILABLE. Successes and refusals are counted and logged here (id and reason,
 * never the credential). CONTRACT section 5. */
void registry_authenticate(struct registry *r, struct auth_request *req);
/* Answers req->done exactly once: does the identity still stand and still hold the credential? */
void registry_recheck(struct registry *r, struct recheck_request *req);
/* The device id that an MQTT user name claims. Any thread. */
bool registry_claimed_id(struct slice username, struct slice *ret);

/* The device that a client's certificate names, by what the authority of its issuer's name says;
 * not checked. On a loop. */
bool registry_certificate_id(
        struct registry *r, const struct cert_chain *chain, char ret[static MODULE_ID_MAX + 1]);

/* ---- the change feed, from the thread that hears it ---- */

/* Drops the entry on every loop (in its next turn); looked-up answers that are under way are asked
 * for again. wait: only on threads that may block: returns when every loop has done it. */
void registry_forget(struct registry *r, enum entity kind, struct slice id, bool wait);
void registry_forget_all(struct registry *r);

/* ---- administration, on threads that may block ---- */

/* Who sends a REST request, by its Authorization header: a bearer token, from where it may come
 * (perms of its role), or a SAS token of an access key (perms of the key). Read from the database
 * each time, so never stale. 0; ERR_UNAUTHENTICATED, or ERR_DENIED (known, but of no role), with
 * *ret_reason; ERR_UNAVAILABLE. *ret is the caller's reference. */
int registry_authenticate_admin(struct registry *r, struct slice authorization, const char *peer,
        struct principal **ret, enum deny_reason *ret_reason);

/* What the access key of such a principal is narrowed to: groups, devices, topicFilters, access, as
 * its document has them (borrowed); NULL: nothing. */
const json_t *registry_scope(const struct principal *p);
/* What a device may, as policy makes it of what hangs on it now: a reference; NULL without a
 * policy. 0; ERR_NOT_FOUND; the store's errors. */
int registry_device_access(struct registry *r, struct slice id, struct access **ret);

/* What a conditional request demands (RFC 9110 section 13.1). */
struct registry_condition {
	const char *if_match; /* an entity tag without quotes, "*", or NULL */
	bool if_none_match_any;
};

/*
 * Documents are as CONTRACT section 4 has them. errors: a JSON array that gets
 * {"pointer": "/auth/type", "detail": "…"} for everything wrong with a document (then ERR_INVALID).
 * Other errors as registry_store.h. show_keys: the caller may see symmetric keys (RegistryWrite; of
 * access keys SecurityWrite). If-Match on what is not there, and If-None-Match: * on what is:
 * ERR_STALE; a regenerated key of a device that has none: ERR_CONFLICT. *ret is the caller's; the
 * "etag" member is in it. connectionState & Co. are as the store has them: the API overlays what
 * the broker knows.
 */
int registry_device_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret);
int registry_device_get(struct registry *r, struct slice id, bool show_keys, json_t **ret);
/* A page of a list: in: the last id of the page before, or ""; out: the last of this one where more
 * may follow, else "". */
struct registry_page {
	unsigned limit;
	char position[MODULE_ID_MAX + 1];
};
/* *ret: array of documents in order of id. */
int registry_device_list(
        struct registry *r, struct registry_page *page, bool show_keys, json_t **ret);
/* Makes it or replaces it, keeping keys that doc does not name. *ret_created. */
int registry_device_put(struct registry *r, struct slice id, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created);
int registry_device_patch(struct registry *r, struct slice id, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret);
int registry_device_delete(struct registry *r, struct slice id, struct registry_condition cond);
int registry_device_regenerate(struct registry *r, struct slice id, bool primary,
        struct registry_condition cond, json_t **ret);

/* Modules: documents as a device's with "moduleId", and the same rules. A device that is not there:
 * ERR_NOT_FOUND. A page's positions are ids "device/module". */
struct registry_module {
	struct slice device, module;
};
int registry_module_create(
        struct registry *r, struct slice device, const json_t *doc, json_t *errors, json_t **ret);
int registry_module_get(struct registry *r, struct registry_module m, bool show_keys, json_t **ret);
int registry_module_list(struct registry *r, struct slice device, struct registry_page *page,
        bool show_keys, json_t **ret);
int registry_module_put(struct registry *r, struct registry_module m, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created);
int registry_module_patch(struct registry *r, struct registry_module m, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret);
int registry_module_delete(
        struct registry *r, struct registry_module m, struct registry_condition cond);
int registry_module_regenerate(struct registry *r, struct registry_module m, bool primary,
        struct registry_condition cond, json_t **ret);

/* The number of a device's present generation, for telemetry queries. */
int registry_device_key(struct registry *r, struct slice id, uint64_t *ret);
int registry_device_count(struct registry *r, uint64_t *ret_all, uint64_t *ret_disabled);

int registry_access_key_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret);
int registry_access_key_get(struct registry *r, struct slice name, bool show_keys, json_t **ret);
int registry_access_key_list(struct registry *r, const char *after, unsigned limit, bool show_keys,
        json_t **ret, char ret_next[static KEY_NAME_MAX + 1]);
int registry_access_key_put(struct registry *r, struct slice name, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created);
int registry_access_key_delete(
        struct registry *r, struct slice name, struct registry_condition cond);
int registry_access_key_regenerate(struct registry *r, struct slice name, bool primary,
        struct registry_condition cond, json_t **ret);

/* Bearer tokens. A new one's secret is in the answer, this once. created_by: who makes it. */
int registry_token_create(struct registry *r, const json_t *doc, struct slice created_by,
        json_t *errors, json_t **ret);
int registry_token_get(struct registry *r, struct slice name, json_t **ret);
int registry_token_list(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static KEY_NAME_MAX + 1]);
/* ERR_CONFLICT: the last owner's that does not expire. */
int registry_token_delete(struct registry *r, struct slice name);

/* Custom authorisers; errors as above. ret_next as of devices. */
int registry_authorizer_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret);
int registry_authorizer_get(struct registry *r, struct slice name, json_t **ret);
int registry_authorizer_list(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1]);
int registry_authorizer_put(struct registry *r, struct slice name, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created);
int registry_authorizer_delete(
        struct registry *r, struct slice name, struct registry_condition cond);
/* Asks it about somebody whom doc describes, and says how that went. Waits for it. */
int registry_authorizer_test(
        struct registry *r, struct slice name, const json_t *doc, json_t *errors, json_t **ret);

/* Authorities that name devices by certificates, and their revocation lists. Writes return when
 * every loop of this process knows. verify: {"certificate": PEM} with the challenge as its
 * CommonName; ERR_CONFLICT: it is verified already. crl: {"crl": PEM, or DER in base64}. ERR_QUOTA:
 * too many. */
#define REGISTRY_NAME_MAX DOCUMENT_NAME_MAX
int registry_authority_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret);
int registry_authority_get(struct registry *r, struct slice name, json_t **ret);
int registry_authority_list(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static REGISTRY_NAME_MAX + 1]);
int registry_authority_patch(struct registry *r, struct slice name, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret);
int registry_authority_delete(
        struct registry *r, struct slice name, struct registry_condition cond);
int registry_authority_verify(
        struct registry *r, struct slice name, const json_t *body, json_t *errors, json_t **ret);
int registry_authority_crl(
        struct registry *r, struct slice name, const json_t *body, json_t *errors, json_t **ret);

/* Client certificates that are registered, by their ids. */
int registry_certificate_create(
        struct registry *r, const json_t *doc, json_t *errors, json_t **ret);
int registry_certificate_get(struct registry *r, struct slice id, json_t **ret);
int registry_certificate_list(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static REGISTRY_NAME_MAX + 1]);
int registry_certificate_patch(struct registry *r, struct slice id, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret);
int registry_certificate_delete(
        struct registry *r, struct slice id, struct registry_condition cond);

/* Idempotency keys: the store's calls, for the API. */
const struct registry_store *registry_port(const struct registry *r);

#endif
