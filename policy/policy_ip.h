/*
 * Policy's second door: who may connect from where. IP rules and bans, which administrators write
 * and which hold for the hub, a group or a device; and what is counted against abuse. Any thread,
 * unless said otherwise; what takes a JSON document blocks (API workers).
 */
#ifndef HF_POLICY_POLICY_IP_H
#define HF_POLICY_POLICY_IP_H

#include "policy/policy.h"
#include "server/base/deny.h"
#include "server/base/end.h"
#include "server/base/ip.h"
#include "server/base/json.h"

#define POLICY_IP_ID_MAX 64
#define POLICY_IP_RULES_MAX 20000
#define POLICY_BAN_STEPS 8

/* Settings of [abuse] and policy.ip_default; what is 0 has no limit. Durations in seconds. */
struct policy_abuse_limits {
	bool ip_default_deny;                  /* where no hub-wide rule matches */
	unsigned window;                       /* what "lately" is */
	unsigned failures;                     /* of an address in it */
	unsigned identity_failures;            /* of an address in one identity's or key's name */
	unsigned flaps;                        /* times one identity comes in it */
	unsigned attempts;                     /* authentications of an address in a second */
	unsigned handshakes;                   /* connections of an address in a second */
	unsigned strangers, address_strangers; /* connected, and not known who they are */
	unsigned max_bans;                     /* that are kept in the store */
	unsigned ban_seconds[POLICY_BAN_STEPS];
	unsigned n_ban_seconds; /* each ban of one party takes the next of them */
};
void policy_set_abuse_limits(struct policy *p, const struct policy_abuse_limits *limits);
/* Networks whose addresses are not counted: n texts, as cidr_parse reads them. 0, ERR_INVALID,
 * ERR_NOMEM. Before the loops run. */
int policy_set_exempt(struct policy *p, char *const *networks, unsigned n);

/* ---- at accept, on loops ---- */

/* Whether somebody may connect from there: END_NORMAL, END_IP_RULE, END_BANNED, END_BUDGET. With
 * END_NORMAL it counts as a stranger until policy_settle. */
enum end_reason policy_admit(struct policy *p, const struct ip_addr *ip);
void policy_settle(struct policy *p, const struct ip_addr *ip);
/* Whether who is connected from there may stay: END_NORMAL, END_IP_RULE, END_BANNED (by hand). */
enum end_reason policy_may_stay(struct policy *p, const struct ip_addr *ip);

/* ---- at authentication ---- */

/* Whether somebody who is known may be connected from where it is (who->source): the rules of a
 * device's own and of its groups, and bans. DENY_NONE, DENY_IP_RULE, DENY_BANNED. Where its address
 * is not known, rules that it would be subject to refuse it. */
enum deny_reason policy_may_connect_from(struct policy *p, const struct principal *who);

/* Whether a ban of an administrator's is in force: who is connected has to be asked about again. */
bool policy_bans_by_hand(struct policy *p);

/* registry_hooks.h: attempt and outcome. id, key: as claimed; either may be empty. */
enum deny_reason policy_attempt(
        struct policy *p, const char *peer, struct slice id, struct slice key);
void policy_outcome(struct policy *p, const char *peer, struct slice id, struct slice key,
        enum deny_reason why);
/* A device that proved who it is has connected: who comes and goes all the time is banned. */
void policy_note_connected(struct policy *p, const struct principal *who);

/* ---- documents; workers ---- */

struct policy_ip_write {
	const json_t *doc;
	const char *if_match; /* NULL: anything; "*": what is there; else this etag */
	bool if_none_match_any;
	const char *peer; /* of who asks: "203.0.113.7:4711" */
	bool force;       /* also if it shuts out who asks, or everybody */
	json_t *errors;   /* gets what is wrong with doc */
	/* Out: with ERR_DENIED why it needs force. Lives for ever. */
	const char *objection;
};

/* 0 with *ret, the document as it is shown; ERR_INVALID (errors), ERR_DENIED (objection),
 * ERR_EXISTS, ERR_STALE, ERR_NOT_FOUND, ERR_QUOTA (too many), ERR_UNAVAILABLE, ERR_NOMEM. */
int policy_ip_rule_create(struct policy *p, struct policy_ip_write *w, json_t **ret);
int policy_ip_rule_get(struct policy *p, struct slice id, json_t **ret);
int policy_ip_rule_put(struct policy *p, struct slice id, struct policy_ip_write *w, json_t **ret,
        bool *ret_created);
int policy_ip_rule_delete(struct policy *p, struct slice id, struct policy_ip_write *w);
int policy_ip_rule_list(struct policy *p, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1]);
/* What another set would do to the addresses that were seen in the last 30 days. doc: {"rules":
 * […]} in place of all rules, or {"add": […], "remove": [ids]}. */
int policy_ip_rule_dry_run(struct policy *p, struct policy_ip_write *w, json_t **ret);

int policy_ban_create(struct policy *p, struct policy_ip_write *w, json_t **ret);
int policy_ban_get(struct policy *p, struct slice id, json_t **ret);
int policy_ban_delete(struct policy *p, struct slice id, const char *if_match);
/* Those that are in force. */
int policy_ban_list(struct policy *p, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1]);

#endif
