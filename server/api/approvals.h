/*
 * Four eyes (policy.four_eyes): what destroys something is done only once another person has agreed
 * to that very request. Worker threads.
 */
#ifndef HF_API_APPROVALS_H
#define HF_API_APPROVALS_H

#include "server/api/call.h"

/* Whether the call may be carried out now; false: it is answered: 202 with the approval that it
 * needs, 403 where the one that it names does not fit, or an error. An approval is used up by it.
 */
bool api_approval_passes(struct api_call *c);

#endif
