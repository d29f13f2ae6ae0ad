/* What a custom authoriser has answered, read and checked. Immutable but for the reference count;
 * any thread. */
#ifndef HF_REGISTRY_AUTH_CUSTOM_ANSWER_H
#define HF_REGISTRY_AUTH_CUSTOM_ANSWER_H

#include <stdatomic.h>

#include "server/base/principal.h"

#define CUSTOM_ANSWER_MAX ((size_t)64 << 10) /* bytes of its body */
#define CUSTOM_POLICIES_MAX 10
#define CUSTOM_POLICY_MAX 2048 /* bytes of one, without white space */
#define CUSTOM_PRINCIPAL_MAX 128
#define CUSTOM_SECONDS_MIN 300
#define CUSTOM_SECONDS_MAX 86400

struct custom_answer {
	atomic_uint refs;
	bool allowed; /* false: nothing else is set */
	char principal[CUSTOM_PRINCIPAL_MAX + 1];
	char device[MODULE_ID_MAX +
	        1];            /* whom it means of those that the registry knows; "": none */
	unsigned disconnect_s; /* how long a connection may last */
	unsigned refresh_s;    /* when to ask again; 0: not */
	char *documents;       /* its policies, a JSON array of objects; NULL: none */
};

/* min_s: the least for the two times, CUSTOM_SECONDS_MIN but for tests. 0 with *ret, a reference;
 * ERR_INVALID: it is none, with *ret_why (text for a log, constant); ERR_NOMEM. Members that mean
 * nothing here are ignored. */
int custom_answer_read(
        struct slice body, unsigned min_s, struct custom_answer **ret, const char **ret_why);
struct custom_answer *custom_answer_ref(struct custom_answer *a);
struct custom_answer *custom_answer_unref(struct custom_answer *a); /* NULL is fine; returns NULL */

#endif
