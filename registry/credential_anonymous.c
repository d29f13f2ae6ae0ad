/* Nobody: clients without any credential, where the listener lets them in. */
#include "registry/credential.h"

static bool fits(const struct attempt *a)
{
	const struct auth_request *req = a->req;
	return !req->https && req->anonymous_allowed && !req->has_username && !req->has_password &&
	        !req->certificate;
}

static enum deny_reason agree(struct attempt *a HF_UNUSED)
{
	return DENY_NONE;
}

static struct principal *make(struct attempt *a)
{
	const struct slice none = {0};
	return principal_new_client(PRINCIPAL_ANONYMOUS, none, none, a->req->client_id);
}

const struct credential credential_anonymous = {
        .methods = 1u << AUTH_METHOD_NONE,
        .fits = fits,
        .read = agree,
        .judge = agree,
        .make = make,
};
