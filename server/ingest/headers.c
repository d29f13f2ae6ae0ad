#include "server/ingest/headers.h"

#include <strings.h>

#include "server/base/err.h"
#include "server/base/utf8.h"

#define APP_PREFIX "iothub-app-"

bool ingest_header_is(struct slice name, const char *want)
{
	return name.n == strlen(want) && strncasecmp((const char *)name.p, want, name.n) == 0;
}

bool ingest_header_app(const struct http_header *h, struct slice *ret_name)
{
	const size_t n = sizeof(APP_PREFIX) - 1;
	if (h->name.n < n || strncasecmp((const char *)h->name.p, APP_PREFIX, n) != 0)
		return false;
	*ret_name = slice_from(h->name, n);
	return true;
}

int ingest_header_one(const struct http_request *r, const char *azure, const char *http,
        struct slice *ret, const char **ret_why)
{
	bool many_azure = false, many_http = false;
	*ret = http_header_get(r, azure, &many_azure);
	if (!ret->p && http)
		*ret = http_header_get(r, http, &many_http);
	if (!many_azure && !many_http && (!ret->p || utf8_valid_mqtt(*ret)))
		return 0;
	*ret_why = http ? "content type or encoding is not one value in UTF-8"
	                : "a header of the message is not one value in UTF-8";
	return ERR_INVALID;
}
