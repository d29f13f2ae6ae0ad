/*
 * Kinds of credentials, a row each: what authenticate.c does alike for all of them, and recheck.c
 * later, asks the row for what is its own. Private to the registry; everything on the shard's loop.
 */
#ifndef HF_REGISTRY_CREDENTIAL_H
#define HF_REGISTRY_CREDENTIAL_H

#include "registry/auth/creds_mqtt.h"
#include "registry/auth/sas.h"
#include "registry/query.h"

/* The identities that somebody is judged by; NULL: not needed. */
struct who {
	struct want *device, *module, *key, *certificate;
};

/* NULL where it is not wanted, or there is none. */
static inline struct identity *identity_of(const struct want *w)
{
	return w ? w->identity : NULL;
}
/* Whose own credentials count: the module's, else the device's. */
static inline struct identity *who_subject(const struct who *who)
{
	return identity_of(who->module ? who->module : who->device);
}
/* What they may, as parts of a principal (borrowed). */
void who_parts(const struct who *who, struct access *ret[static PRINCIPAL_PARTS]);

/* What a kind of credential keeps in a principal to judge it again: the first member of a struct of
 * its own. Immutable but for the reference count; any thread. */
struct proof {
	atomic_uint refs;
	void (*free)(struct proof *p);
};
struct proof *proof_ref(struct proof *p); /* NULL is fine */
void proof_unref(void *p);                /* NULL is fine */

struct attempt {
	struct query query;
	struct auth_request *req;
	const struct credential *kind; /* NULL: none fits */
	/* MQTT: what its user name claims; claimed false: nothing that is understood. */
	bool claimed;
	struct creds_mqtt claim;

	/* What read finds out. */
	struct slice id;       /* of the device (with "/module"), or the key's name */
	struct slice key_name; /* of the access key that a device comes with; empty: none */
	struct who who;
	enum auth_method method;
	int64_t expires_at; /* wall s; 0: never */
	struct sas sas;
	void *own; /* the kind's; its drop frees it */

	/* What judge finds out. */
	uint8_t tag[CREDENTIAL_TAG_LEN];
	struct facts *facts;         /* of a certificate; goes to the principal */
	struct proof *proof;         /* the same */
	enum deny_reason taken_over; /* why the kind before was given up */
};

struct credential {
	uint32_t methods;         /* 1u << enum auth_method: whose principals it judges again */
	enum deny_reason expired; /* when the credential has expired meanwhile */
	/* Whether the request shows one of this kind; the first row that says so has it. */
	bool (*fits)(const struct attempt *a);
	/* What needs no identity: form, scope, expiry; nothing costly. Sets what read finds out,
	 * and wants identities (attempt_want_device, query_want). */
	enum deny_reason (*read)(struct attempt *a);
	/* With the identities at hand (each may be absent). Called anew when they were read anew. A
	 * refusal has computed the same whatever the reason. */
	enum deny_reason (*judge)(struct attempt *a);
	/* Optional: what takes longer, once judge has agreed; calls attempt_settle exactly once,
	 * unless drop comes first. It may set req->timer anew. */
	void (*ask)(struct attempt *a);
	/* Optional: whether something is being done about a refusal: query_run_again or
	 * attempt_end_denied will follow, unless drop comes first. */
	bool (*mend)(struct attempt *a, enum deny_reason why);
	/* Optional: makes the principal, where it is neither a device's nor a key's. */
	struct principal *(*make)(struct attempt *a);
	void (*drop)(struct attempt *a); /* optional: the attempt is over */

	/* Optional: which identities else it has to be judged by again. */
	void (*want_again)(const struct principal *p, struct query *q, struct who *who);
	/* Whether the credential is still worth what it was: END_NORMAL, or how it ends. NULL: it
	 * always is. */
	enum end_reason (*judge_again)(const struct principal *p, const struct who *who);
	/* Optional, where judge_again has agreed: when it expires by what its identity says now
	 * (wall s; 0: never). It only ever shortens. */
	int64_t (*expires_again)(const struct principal *p, const struct who *who);
	/* Optional: what it may besides what its identities may: a reference, or NULL. 0,
	 * ERR_UNAVAILABLE. For its first principal too, once that has its proof. */
	int (*access_again)(const struct principal *p, struct access **ret);
};

/* All parts of a principal of that kind (NULL: none) and those identities: references. 0, or
 * ERR_UNAVAILABLE. */
int principal_parts(const struct principal *p, const struct credential *kind, const struct who *who,
        struct access *ret[static PRINCIPAL_PARTS]);

/* The device or module id that somebody says he is: checks its form and, for MQTT, that it is the
 * client id; wants its identities. Sets a->id. */
enum deny_reason attempt_want_device(struct attempt *a, struct slice id);
/* The longer judgement that a kind's ask began has ended. Frees the attempt. */
void attempt_settle(struct attempt *a, enum deny_reason why);
/* Nothing could be done (mend). Frees the attempt. */
void attempt_end_denied(struct attempt *a, enum deny_reason why);
static inline int64_t attempt_now_s(const struct attempt *a)
{
	return loop_wall_us(a->req->loop) / 1000000;
}

/* Whether the default custom authoriser is to judge somebody whom the kind that had him refuses for
 * that reason, or whom none has. */
bool credential_custom_takes(const struct attempt *a, enum deny_reason why);

/* The row that judges p again; NULL: none has to. */
const struct credential *credential_of(const struct principal *p);

extern const struct credential credential_anonymous; /* credential_anonymous.c */
extern const struct credential credential_custom;    /* credential_custom.c: one that is named */
extern const struct credential credential_custom_default; /* one that is not: takes over */
extern const struct credential credential_key;            /* credential_sas.c: a back end */
extern const struct credential credential_sas;            /* credential_sas.c: a device or module */
extern const struct credential credential_jwt;            /* credential_jwt.c */
extern const struct credential credential_secret;         /* credential_secret.c */
extern const struct credential credential_x509;           /* credential_x509.c */

#endif
