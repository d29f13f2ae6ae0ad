/* A device or module by its secret, as the password of MQTT. */
#include "registry/auth/secret.h"
#include "registry/credential.h"

static bool fits(const struct attempt *a)
{
	return !a->req->https && a->claimed && !a->claim.is_key && a->req->password.n > 0;
}

static enum deny_reason read_secret(struct attempt *a)
{
	a->method = AUTH_METHOD_SECRET;
	return attempt_want_device(a, a->claim.id);
}

static enum deny_reason judge(struct attempt *a)
{
	const struct identity *subject = who_subject(&a->who);
	bool kind_fits = subject && subject->auth == DEVICE_AUTH_SECRET;
	bool same = secret_fits(&a->query.shard->registry->store, a->id, a->req->password,
	        kind_fits ? identity_key(subject, 0).p : NULL);
	if (!subject)
		return DENY_UNKNOWN_DEVICE;
	if (!kind_fits)
		return DENY_KEY_KIND;
	if (!same)
		return DENY_SECRET;
	identity_credential_tag(identity_key(subject, 0), a->tag);
	return DENY_NONE;
}

static enum end_reason judge_again(const struct principal *p, const struct who *who)
{
	return identity_has_credential(who_subject(who), p->credential_tag)
	        ? END_NORMAL
	        : END_CREDENTIAL_REVOKED;
}

const struct credential credential_secret = {
        .methods = 1u << AUTH_METHOD_SECRET,
        .fits = fits,
        .read = read_secret,
        .judge = judge,
        .judge_again = judge_again,
};
