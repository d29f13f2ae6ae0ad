/* Topic names and filters: MQTT 5.0 section 4.7. Any thread; no allocation. */
#ifndef HF_BROKER_TOPIC_H
#define HF_BROKER_TOPIC_H

#include "server/base/slice.h"

#define TOPIC_MAX 65535

/* A topic name that may be published to: 1 to 65,535 bytes, no wildcard, at most max_levels levels.
 * UTF-8 and NUL were checked by the codec. */
bool topic_name_valid(struct slice topic, unsigned max_levels);
/* A filter without "$share/…": wildcards stand alone in their level, '#' only at the end. */
bool topic_filter_valid(struct slice filter, unsigned max_levels);
/* Splits "$share/{group}/{filter}". 1: it is one, *group and *filter are set and valid in form;
 * 0: not shared; ERR_INVALID: "$share" but not well-formed. */
int topic_share_split(struct slice filter, struct slice *group, struct slice *rest);
/* Whether filter matches topic; wildcards at the first level do not match topics that begin with
 * '$' ([MQTT-4.7.2-1]). */
bool topic_matches(struct slice filter, struct slice topic);
/* Whether every topic that inner matches is matched by outer too (both filters; inner may be a
 * plain topic). For policy: may somebody who owns outer subscribe to inner? */
bool topic_filter_covers(struct slice outer, struct slice inner);
bool topic_has_wildcard(struct slice filter);

#endif
