/* What requests about policies, groups and grants have in common. On workers. */
#ifndef HF_API_POLICY_WRITE_H
#define HF_API_POLICY_WRITE_H

#include "policy/policy_admin.h"
#include "server/api/call.h"

/* Reads conditions (where get is not NULL, which reads the document) and force, and makes the lists
 * of errors and objections, which api_policy_write_done drops. False: answered. */
bool api_policy_write_begin(struct api_call *c,
        int (*get)(struct api_call *c, struct slice id, json_t **ret), struct policy_write *ret);
void api_policy_write_done(struct policy_write *w);
/* As api_call_ok; what is most likely a mistake gets 409, says what, and how to insist. */
bool api_policy_write_ok(struct api_call *c, int err, const struct policy_write *w);

/* A page of documents by name. */
void api_policy_page(struct api_call *c, struct slice scope,
        int (*list)(
                struct policy *p, const char *after, unsigned limit, json_t **ret, char *ret_next));
/* A page of links, which list reads. */
void api_link_page(struct api_call *c, struct link_query *q,
        int (*list)(struct policy *p, struct link_query *q, json_t **ret, bool *ret_more));

/* What hangs on a device or certificate has changed: its connections are judged again. */
void api_identity_changed(struct api_call *c, enum entity kind, struct slice id);

/* Somebody as decisions need him, read from the store. */
struct api_subject {
	struct access_source source;
	struct device_record device;
	struct access_key_record key;
	char *links;
	char id[2 * DOCUMENT_NAME_MAX + 2];
};
/* ENTITY_DEVICE, ENTITY_KEY or ENTITY_CERTIFICATE. 0, ERR_NOT_FOUND, ERR_UNAVAILABLE, ERR_NOMEM;
 * to be done with in any case. */
int api_subject_read(
        struct api_call *c, enum entity kind, struct slice id, struct api_subject *ret);
void api_subject_done(struct api_subject *s);
/* The principal of a device or key that this is, with these parts, which become its own (NULL: out
 * of memory). */
struct principal *api_subject_principal(const struct api_subject *s, struct slice client_id,
        struct access *first, struct access *second);

#endif
