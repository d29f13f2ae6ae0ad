/*
 * Client certificates: by the device's own list of thumbprints, or by an authority that is trusted
 * to name devices. Who shows one and a password or token as well is judged by that (another row).
 * The key is proven by the TLS handshake; here is what the certificate is worth.
 */
#include "registry/certificate_doc.h"
#include "registry/clerk.h"
#include "registry/credential.h"
#include "registry/thumbprint.h"
#include "registry/trust.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

/* What is known of the certificate that was shown: attempt.own. */
struct shown {
	uint8_t id[X509_ID_LEN], sha1[X509_SHA1_LEN];
	char id_text[X509_ID_TEXT + 1];
	struct x509_st *leaf;                   /* once it was judged */
	struct x509_verdict verdict;            /* the same; its authority only within judge */
	char authority[AUTHORITY_NAME_MAX + 1]; /* that may bring a device that is not known; "" */
	struct birth *birth;                    /* on its way */
	bool born;                              /* was asked for, once */
};

/* What its principal keeps. */
struct x509_proof {
	struct proof proof;
	bool by_authority;
	struct x509_path path; /* by_authority */
	uint8_t id[X509_ID_LEN], sha1[X509_SHA1_LEN];
};

/* ---- reading ---- */

static bool fits(const struct attempt *a)
{
	const struct auth_request *req = a->req;
	if (!req->certificate)
		return false;
	return req->https ? req->authorization.n == 0 : req->password.n == 0;
}

/* SDKs write their names and versions behind a '?' into a user name that nobody asked for. */
static bool claims(const struct attempt *a)
{
	return a->claimed && a->req->username.n > 0 && a->req->username.p[0] != '?';
}

static enum deny_reason read_certificate(struct attempt *a)
{
	const struct auth_request *req = a->req;
	struct slice der = req->certificate->der[0];
	if (claims(a) && a->claim.is_key)
		return DENY_KEY_KIND;
	struct slice id = req->https ? req->device_id : req->client_id;
	enum deny_reason why = attempt_want_device(a, claims(a) ? a->claim.id : id);
	if (why != DENY_NONE)
		return why;
	struct shown *s = a->own = calloc(1, sizeof(*s));
	if (!s)
		return DENY_UNAVAILABLE;
	crypto_sha256(der, s->id);
	if (x509_sha1(der, s->sha1) < 0)
		return DENY_UNAVAILABLE;
	x509_id_text(s->id, s->id_text);
	a->query.needs_trust = true;
	a->who.certificate = query_want(&a->query, ENTITY_CERTIFICATE, slice_str(s->id_text));
	return DENY_NONE;
}

static void drop(struct attempt *a)
{
	struct shown *s = a->own;
	if (!s)
		return;
	if (s->birth)
		s->birth->asker = NULL;
	x509_free(s->leaf);
	free(TAKE_PTR(a->own));
}

/* ---- judging ---- */

static enum deny_reason read_leaf(struct attempt *a, struct shown *s)
{
	if (s->leaf)
		return DENY_NONE;
	return x509_of_chain(a->req->certificate, 0, &s->leaf) < 0 ? DENY_CERT_MALFORMED
	                                                           : DENY_NONE;
}

/* A certificate that stands for itself has dates all the same. */
static enum deny_reason judge_dates(struct attempt *a, const struct shown *s)
{
	int64_t from, to, now = attempt_now_s(a);
	if (x509_dates(s->leaf, &from, &to) < 0)
		return DENY_CERT_MALFORMED;
	if (now < from)
		return DENY_CERT_NOT_YET_VALID;
	a->expires_at = to;
	return now >= to ? DENY_CERT_EXPIRED : DENY_NONE;
}

static enum deny_reason judge_chain(struct attempt *a, struct shown *s)
{
	const struct trust *trust = trust_here(a->query.shard->registry);
	enum deny_reason why;
	s->authority[0] = '\0';
	if (!trust)
		return DENY_CERT_UNKNOWN_ISSUER;
	why = x509_trust_verify(
	        trust->x509, a->req->certificate, s->leaf, attempt_now_s(a), &s->verdict);
	if (why != DENY_NONE)
		return why;
	const struct x509_authority *by = s->verdict.authority;
	if (!x509_names_device(s->leaf, by->id_from, a->id))
		return DENY_CERT_NAME;
	if (s->verdict.crl_missing) {
		metric_inc(METRIC_CRL_MISSING);
		log_warn("let in without a revocation list", F_SLICE("id", a->id),
		        F_STR("authority", by->name));
	}
	if (by->auto_register)
		memcpy(s->authority, by->name, sizeof(s->authority));
	a->expires_at = s->verdict.expires_at;
	return DENY_NONE;
}

/* What administrators say of this very certificate. */
static enum deny_reason judge_registered(const struct identity *certificate, struct slice id)
{
	struct certificate_doc d;
	if (!certificate)
		return DENY_NONE;
	if (!certificate_doc_glance(identity_text(certificate, IDENTITY_DOC), &d))
		return DENY_CERT_INACTIVE;
	if (d.status == CERTIFICATE_REVOKED)
		return DENY_CERT_REVOKED;
	if (d.status != CERTIFICATE_ACTIVE)
		return DENY_CERT_INACTIVE;
	return d.device[0] && !slice_eq_str(id, d.device) ? DENY_CERT_NAME : DENY_NONE;
}

static void proof_free(struct proof *p)
{
	free(container_of(p, struct x509_proof, proof));
}

static enum deny_reason keep_proof(struct attempt *a, const struct shown *s)
{
	struct x509_proof *p = calloc(1, sizeof(*p));
	if (!p)
		return DENY_UNAVAILABLE;
	atomic_init(&p->proof.refs, 1);
	p->proof.free = proof_free;
	p->by_authority = a->method == AUTH_METHOD_X509_CA;
	p->path = s->verdict.path;
	memcpy(p->id, s->id, sizeof(p->id));
	memcpy(p->sha1, s->sha1, sizeof(p->sha1));
	a->proof = &p->proof;
	a->facts = x509_facts(s->leaf, s->id);
	identity_credential_tag(slice_make(s->id, sizeof(s->id)), a->tag);
	return a->facts ? DENY_NONE : DENY_UNAVAILABLE;
}

/* A certificate that nobody has registered is noted: administrators see it, and the next look-up
 * finds it, which can be kept, where absence cannot. It is bound to a device only where it names no
 * other one anyway. */
static void note_certificate(struct attempt *a, const struct shown *s)
{
	const struct x509_authority *by = s->verdict.authority;
	struct certificate_doc d;
	if (identity_of(a->who.certificate) || certificate_doc_of(s->leaf, &d) < 0)
		return;
	if (a->method == AUTH_METHOD_X509_CA) {
		memcpy(d.authority, by->name, sizeof(d.authority));
		if (!x509_device_id(s->leaf, by->id_from, d.device))
			d.device[0] = '\0';
	}
	clerk_note(a->query.shard->registry->clerk, &d);
}

/* Every refusal has looked at the chain, whatever the device is and whether there is one. */
static enum deny_reason judge_kind(struct attempt *a, struct shown *s)
{
	const struct identity *subject = who_subject(&a->who);
	bool pinned = subject && subject->auth == DEVICE_AUTH_X509_THUMBPRINT;
	enum thumbprint fit = pinned ? thumbprint_fits(subject, s->id, s->sha1) : THUMBPRINT_NONE;
	if (fit != THUMBPRINT_NONE) {
		a->method = AUTH_METHOD_X509_THUMBPRINT;
		if (fit == THUMBPRINT_SHA1)
			metric_inc(METRIC_SHA1_THUMBPRINTS);
		return judge_dates(a, s);
	}
	enum deny_reason why = judge_chain(a, s);
	if (pinned)
		return DENY_CERT_THUMBPRINT;
	if (why != DENY_NONE)
		return why;
	if (!subject)
		return DENY_UNKNOWN_DEVICE;
	a->method = AUTH_METHOD_X509_CA;
	return subject->auth == DEVICE_AUTH_X509_CA ? DENY_NONE : DENY_KEY_KIND;
}

static enum deny_reason judge(struct attempt *a)
{
	struct shown *s = a->own;
	enum deny_reason why = read_leaf(a, s);
	if (why == DENY_NONE)
		why = judge_kind(a, s);
	/* Before a device is made for it, too. */
	enum deny_reason registered = judge_registered(identity_of(a->who.certificate), a->id);
	if ((why == DENY_NONE || why == DENY_UNKNOWN_DEVICE) && registered != DENY_NONE) {
		s->authority[0] = '\0';
		return registered;
	}
	if (why == DENY_NONE)
		why = keep_proof(a, s);
	if (why == DENY_NONE)
		note_certificate(a, s);
	return why;
}

/* ---- a device that is not known yet ---- */

static void born(struct birth *b)
{
	struct attempt *a = b->asker;
	struct shown *s = a->own;
	s->birth = NULL;
	if (b->err == 0 || b->err == ERR_EXISTS)
		query_run_again(&a->query);
	else
		attempt_end_denied(a, DENY_UNAVAILABLE);
}

static bool mend(struct attempt *a, enum deny_reason why)
{
	struct shown *s = a->own;
	if (why != DENY_UNKNOWN_DEVICE || !s || s->born || !s->authority[0] || a->who.module)
		return false;
	s->born = true;
	s->birth = clerk_bear(
	        a->query.shard->registry->clerk, a->id, s->authority, a->req->peer, born, a);
	return s->birth != NULL;
}

/* ---- judging again ---- */

static void want_again(const struct principal *p, struct query *q, struct who *who)
{
	const struct x509_proof *proof = p->proof;
	char id[X509_ID_TEXT + 1];
	if (!proof)
		return;
	x509_id_text(proof->id, id);
	who->certificate = query_want(q, ENTITY_CERTIFICATE, slice_str(id));
}

static bool stands(const struct principal *p, const struct who *who, const struct registry *r)
{
	const struct x509_proof *proof = p->proof;
	const struct identity *subject = who_subject(who);
	const struct trust *trust = trust_here(r);
	if (!proof || !subject ||
	        judge_registered(identity_of(who->certificate), principal_id(p)) != DENY_NONE)
		return false;
	if (!proof->by_authority)
		return subject->auth == DEVICE_AUTH_X509_THUMBPRINT &&
		        thumbprint_fits(subject, proof->id, proof->sha1) != THUMBPRINT_NONE;
	return subject->auth == DEVICE_AUTH_X509_CA && trust &&
	        x509_trust_verify_again(trust->x509, &proof->path) == DENY_NONE;
}

static enum end_reason judge_again(const struct principal *p, const struct who *who)
{
	const struct want *any = who->device;
	return stands(p, who, any->query->shard->registry) ? END_NORMAL : END_CREDENTIAL_REVOKED;
}

const struct credential credential_x509 = {
        .methods = 1u << AUTH_METHOD_X509_THUMBPRINT | 1u << AUTH_METHOD_X509_CA,
        .expired = DENY_CERT_EXPIRED,
        .fits = fits,
        .read = read_certificate,
        .judge = judge,
        .mend = mend,
        .drop = drop,
        .want_again = want_again,
        .judge_again = judge_again,
};
