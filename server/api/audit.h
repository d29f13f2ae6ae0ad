/* The calls of the API in the audit log. On a worker. */
#ifndef HF_API_AUDIT_H
#define HF_API_AUDIT_H

#include "server/api/call.h"

/* From here on the calling worker writes on behalf of the call's caller, until it says otherwise.
 */
void api_audit_begin(struct api_call *c);
void api_audit_end(void);
/* The caller is known, and may not. */
void api_audit_forbidden(const struct api_call *c);
/* The call is about to do what is a row of no table, to a thing of that kind. False: that cannot be
 * noted, and 503 is answered. */
bool api_audit_note(struct api_call *c, const char *kind, struct slice name);

#endif
