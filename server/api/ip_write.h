/* What requests about IP rules and bans have in common. On workers. */
#ifndef HF_API_IP_WRITE_H
#define HF_API_IP_WRITE_H

#include "policy/policy_ip.h"
#include "server/api/call.h"

/* Reads conditions (where get is not NULL, which reads the document) and force. False: answered. */
bool api_ip_write_begin(struct api_call *c,
        int (*get)(struct api_call *c, struct slice id, json_t **ret), struct policy_ip_write *ret);
/* As api_call_ok; what shuts somebody out gets 409 and how to insist. */
bool api_ip_write_ok(struct api_call *c, int err, const struct policy_ip_write *w);
/* Answers with a page of documents; ret_next holds DOCUMENT_NAME_MAX + 1. */
void api_ip_list(struct api_call *c, struct slice scope,
        int (*list)(
                struct policy *p, const char *after, unsigned limit, json_t **ret, char *ret_next));

#endif
