/* Topic filters of MQTT as grants and scopes use them. Any thread. Private to the room. */
#ifndef HF_POLICY_FILTER_H
#define HF_POLICY_FILTER_H

#include "server/base/slice.h"

#define FILTER_MAX 1024

/* Cuts the first level off *rest; *more: whether another one (maybe empty) follows. */
struct slice filter_level_cut(struct slice *rest, bool *more);
/* Whether it can be granted: well-formed (MQTT 5.0 section 4.7), 1 to FILTER_MAX bytes of UTF-8
 * without control characters, and not of the reserved topics, which begin with '$'. */
bool filter_grantable(struct slice filter);
/* Whether everything that inner (a topic or a filter) could match is matched by outer. Reserved
 * topics are matched by no wildcard at the start (MQTT 5.0 section 4.7.2). */
bool filter_covers(struct slice outer, struct slice inner);
/* The filter that "$share/{group}/{filter}" is about; others are themselves; "$share" in any other
 * form: empty. */
struct slice filter_unshared(struct slice filter);

#endif
