/*
 * Decisions, with what made them. policy.h says in which order everything counts. Private to the
 * room.
 */
#ifndef HF_POLICY_DECIDE_H
#define HF_POLICY_DECIDE_H

#include "policy/rights.h"

enum ask_action { ASK_CONNECT, ASK_PUBLISH, ASK_SUBSCRIBE, ASK_RECEIVE };

struct ask {
	enum ask_action action;
	const struct principal *who;
	struct slice text;              /* client id, topic, filter */
	bool retain;                    /* of PUBLISH */
	const struct access *from;      /* of RECEIVE: whose message it is; may be NULL */
	const struct auth_request *req; /* of CONNECT; NULL: a recheck */
};

/* What a decision rests on. */
enum why_by {
	WHY_NOTHING,   /* nothing allows it */
	WHY_BROKEN,    /* something that hangs on it cannot be read */
	WHY_TABLE,     /* pattern is a row's */
	WHY_GRANT,     /* pattern is its filter */
	WHY_STATEMENT, /* of a policy document */
	WHY_SCOPE,     /* of an access key */
};

/* Borrows from the principal's parts. */
struct why {
	enum why_by by;
	struct slice pattern;
	const struct rights *part;    /* whose; NULL: the table's */
	const struct group *group;    /* through which; NULL: none */
	const struct policy_doc *doc; /* of STATEMENT */
	unsigned statement;
	const char *detail; /* of SCOPE: which of its members */
};

/* why may be NULL. */
bool decide(const struct ask *ask, struct why *why);

#endif
