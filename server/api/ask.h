/*
 * What is asked of stored messages by a request: whose they are (the path's device, the path's
 * group, the hub's), when, and of what kind (topicFilter, contentType, property, where). Worker
 * threads; it borrows from the call.
 */
#ifndef HF_API_ASK_H
#define HF_API_ASK_H

#include "server/api/call.h"
#include "server/base/where.h"

#define API_ASK_PROPERTIES 8
#define API_ASK_PATHS 16 /* of a condition on the payload */
#define API_ASK_SCOPE_LEN 256

struct api_ask {
	struct telemetry_query q; /* from, to, order, whose; no limit */
	uint64_t *devices;
	bool filters;                            /* whether any of these is given */
	struct slice topic_filter, content_type; /* p NULL: any */
	struct {
		struct slice name, value; /* value.p NULL: any */
	} properties[API_ASK_PROPERTIES];
	unsigned n_properties;
	struct where *where;
};

/* Reads path and parameters; an operation has those of them that params.def gives it. False:
 * answered. To be done with in any case. */
bool api_ask_read(struct api_call *c, struct api_ask *ret);
void api_ask_done(struct api_ask *a);
/* The cursor's position into the query; false: answered. */
bool api_ask_cursor(struct api_call *c, struct api_ask *a);
/* Whether the message is asked for: 1, 0, ERR_NOMEM. One that cannot be read always is, so that
 * nobody overlooks it. */
int api_ask_wants(const struct api_ask *a, const struct telemetry_item *it);
/* What a cursor of this question is tied to: the question, but for its time. */
struct slice api_ask_scope(
        const struct api_call *c, const struct api_ask *a, char to[static API_ASK_SCOPE_LEN]);
/* An expression over the payload ("$.temperature"), to be freed by where_free; false: answered. */
bool api_ask_expression(
        struct api_call *c, const char *param, struct slice text, struct where **ret);
/* Whether an MQTT topic filter is one, and matches (MQTT 5.0 section 4.7). */
bool api_topic_filter_valid(struct slice filter);
bool api_topic_filter_matches(struct slice filter, struct slice topic);

#endif
