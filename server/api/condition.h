/* If-Match and If-None-Match (RFC 9110 sections 13.1.1 and 13.1.2). Any thread. */
#ifndef HF_API_CONDITION_H
#define HF_API_CONDITION_H

#include "registry/registry.h"
#include "server/net/http.h"

#define API_TAGS_MAX 16

struct api_tags {
	bool given, any; /* any: "*" */
	unsigned n;      /* tags of the list that could be one of ours */
	char tags[API_TAGS_MAX][ETAG_LEN + 1];
};

struct api_condition {
	struct api_tags match;      /* strong comparison: weak tags are not in it */
	struct api_tags none_match; /* weak comparison */
};

/* 0, or ERR_INVALID: not a list of entity tags, or too many of them. A tag without quotes and a
 * quoted asterisk are taken, as SDKs send them. */
int api_condition_read(const struct http_request *r, struct api_condition *ret);
bool api_tags_has(const struct api_tags *t, const char *etag);

#endif
