/* Reading the headers with which messages come over HTTPS. Private to ingest. Any thread. */
#ifndef HF_INGEST_HEADERS_H
#define HF_INGEST_HEADERS_H

#include "server/net/http.h"

/* Whether a header's name is want, in any case. */
bool ingest_header_is(struct slice name, const char *want);
/* Whether it is an application property; *ret_name: what follows "iothub-app-". */
bool ingest_header_app(const struct http_header *h, struct slice *ret_name);
/* The value of the only header of that name (p NULL: there is none), else of the one that HTTP
 * itself has for it (or NULL): Azure's own wins, as a client library may have set HTTP's by itself.
 * 0; ERR_INVALID with *ret_why: it is there twice, or is not UTF-8. */
int ingest_header_one(const struct http_request *r, const char *azure, const char *http,
        struct slice *ret, const char **ret_why);

#endif
