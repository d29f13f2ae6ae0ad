/* What in a policy document is most likely a mistake (clouds.md 1.8). Private to the room. */
#ifndef HF_POLICY_OBJECTIONS_H
#define HF_POLICY_OBJECTIONS_H

#include "policy/document.h"

/* Adds {"code", "statement", "sid", "detail"} to list (may be NULL); how many there are. */
unsigned objections_find(const struct policy_doc *doc, json_t *list);

#endif
