#include "policy/abuse.h"

#include <stdlib.h>
#include <string.h>

#include "policy/ip_rules.h"
#include "policy/keeper.h"
#include "server/base/audit.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"
#include "server/base/metrics.h"
#include "server/base/recent.h"
#include "server/base/tally.h"

#define COUNTERS 65536 /* of a row, for each thing that is counted: 1 MiB in all */
#define BAN_SETS 4096  /* 16,384 bans of this process's own */
#define SECOND_MS 1000
/* How long a success speaks for an address, and for how many failures each. */
#define SUCCESS_MS (3600 * SECOND_MS)
#define FAILURES_A_SUCCESS 10
/* An IPv6 network that is given to one customer has a /48 at most: as many /64s of it as this may
 * fail, then all of it is banned, so that none fills the table of bans. */
#define SITE_BITS 48
#define SITE_FACTOR 16

/* Settings as they are now; those before live on, for who reads them just then. */
struct limits {
	struct policy_abuse_limits v;
	struct limits *older;
};

struct abuse {
	struct keeper *keeper;
	_Atomic(struct limits *) limits;
	struct cidr *exempt;
	unsigned n_exempt;
	struct recent *failures, *successes, *comings, *rates;
	struct tally *strangers;
	atomic_size_t n_strangers;
	struct ban_slots *slots;
};

/* ---- making ---- */

struct abuse *abuse_new(struct keeper *keeper)
{
	struct abuse *a = calloc(1, sizeof(*a));
	struct limits *limits = calloc(1, sizeof(*limits));
	if (!a || !limits) {
		free(a);
		free(limits);
		return NULL;
	}
	a->keeper = keeper;
	atomic_init(&a->limits, limits);
	a->failures = recent_new(COUNTERS);
	a->successes = recent_new(COUNTERS);
	a->comings = recent_new(COUNTERS);
	a->rates = recent_new(COUNTERS);
	a->strangers = tally_new(COUNTERS);
	a->slots = ban_slots_new(BAN_SETS);
	if (a->failures && a->successes && a->comings && a->rates && a->strangers && a->slots)
		return a;
	return abuse_free(a);
}

struct abuse *abuse_free(struct abuse *a)
{
	if (!a)
		return NULL;
	for (struct limits *l = a->limits, *older; l; l = older) {
		older = l->older;
		free(l);
	}
	recent_free(a->failures);
	recent_free(a->successes);
	recent_free(a->comings);
	recent_free(a->rates);
	tally_free(a->strangers);
	ban_slots_free(a->slots);
	free(a->exempt);
	free(a);
	return NULL;
}

struct ban_slots *abuse_slots(struct abuse *a)
{
	return a->slots;
}

static const struct policy_abuse_limits *limits_of(const struct abuse *a)
{
	return &atomic_load_explicit(&a->limits, memory_order_acquire)->v;
}

unsigned abuse_max_bans(const struct abuse *a)
{
	return limits_of(a)->max_bans;
}

void policy_set_abuse_limits(struct policy *p, const struct policy_abuse_limits *limits)
{
	struct limits *fresh = calloc(1, sizeof(*fresh));
	bool other = atomic_exchange(&p->ip_default_deny, limits->ip_default_deny) !=
	        limits->ip_default_deny;
	if (fresh) {
		fresh->v = *limits;
		fresh->older = atomic_load(&p->abuse->limits);
		atomic_store(&p->abuse->limits, fresh);
	}
	/* Whom the default concerns is asked about again, as after a change of the rules. */
	if (other && atomic_load(&p->started))
		policy_changed(p, ENTITY_IP_RULE);
}

int policy_set_exempt(struct policy *p, char *const *networks, unsigned n)
{
	struct cidr *list = calloc(n + 1, sizeof(*list));
	if (!list)
		return ERR_NOMEM;
	for (unsigned i = 0; i < n; i++)
		if (cidr_parse(networks[i], &list[i]) < 0) {
			free(list);
			return ERR_INVALID;
		}
	free(p->abuse->exempt);
	p->abuse->exempt = list;
	p->abuse->n_exempt = n;
	return 0;
}

static bool exempt(const struct abuse *a, const struct ip_addr *ip)
{
	for (unsigned i = 0; i < a->n_exempt; i++)
		if (cidr_has(&a->exempt[i], ip->v6, ip->bytes))
			return true;
	return false;
}

/* ---- what is counted ---- */

#define KEY_MAX 32

/* A letter, as much of the address as counts, and a hash of the name. */
static struct slice key_make(
        char out[static KEY_MAX], char letter, struct slice address, struct slice name)
{
	size_t n = 1 + address.n;
	out[0] = letter;
	memcpy(out + 1, address.p, address.n);
	if (name.n > 0) {
		uint64_t hash = hash_bytes(name.p, name.n);
		memcpy(out + n, &hash, sizeof(hash));
		n += sizeof(hash);
	}
	return slice_make(out, n);
}

static struct slice site_of(const struct ip_addr *ip)
{
	return slice_make(ip->bytes, SITE_BITS / 8);
}

static uint64_t whom(char letter, struct slice address, struct slice name)
{
	char key[KEY_MAX];
	struct slice s = key_make(key, letter, address, name);
	uint64_t hash = hash_bytes(s.p, s.n);
	return hash ? hash : 1;
}

#define SITE_LETTER '4'
#define COMER_LETTER 'f'

static struct slice nobody(void)
{
	return slice_make("", 0);
}

/* An address, or all of its site. */
static bool banned_here(const struct abuse *a, const struct ip_addr *ip, uint64_t now_ms)
{
	return ban_slots_has(a->slots, whom(SCOPE_HUB, ip_shared(ip), nobody()), now_ms) ||
	        (ip->v6 &&
	                ban_slots_has(a->slots, whom(SITE_LETTER, site_of(ip), nobody()), now_ms));
}

/* ---- at accept ---- */

static bool default_deny(const struct policy *p)
{
	return atomic_load_explicit(&p->ip_default_deny, memory_order_relaxed);
}

static enum end_reason judge_stay(
        const struct policy *p, const struct rules *r, const struct ip_addr *ip)
{
	if (!ip_rules_admit(ip_rules_of(r), ip, default_deny(p)))
		return END_IP_RULE;
	return bans_find(bans_of(r), SCOPE_HUB, nobody(), ip) == BAN_BY_HAND ? END_BANNED
	                                                                     : END_NORMAL;
}

enum end_reason policy_may_stay(struct policy *p, const struct ip_addr *ip)
{
	struct rules *held;
	enum end_reason why = judge_stay(p, rules_now(p, &held), ip);
	rules_unref(held);
	return why;
}

static bool over(unsigned n, unsigned limit)
{
	return limit && n > limit;
}

static bool too_many_strangers(const struct abuse *a, const struct ip_addr *ip)
{
	const struct policy_abuse_limits *l = limits_of(a);
	size_t all = atomic_load_explicit(&a->n_strangers, memory_order_relaxed);
	return (l->strangers && all >= l->strangers) ||
	        (l->address_strangers &&
	                tally_sum(a->strangers, ip_shared(ip)) >= (int64_t)l->address_strangers);
}

static enum end_reason judge_budget(struct abuse *a, const struct ip_addr *ip, uint64_t now_ms)
{
	char key[KEY_MAX];
	if (exempt(a, ip))
		return END_NORMAL;
	struct slice who = key_make(key, 'c', ip_shared(ip), nobody());
	if (over(recent_add(a->rates, who, now_ms, SECOND_MS), limits_of(a)->handshakes) ||
	        too_many_strangers(a, ip))
		return END_BUDGET;
	return END_NORMAL;
}

static enum end_reason judge_accept(
        struct policy *p, const struct rules *r, const struct ip_addr *ip)
{
	uint64_t now = clock_ms();
	enum end_reason why = judge_stay(p, r, ip);
	if (why != END_NORMAL)
		return why;
	if (bans_find(bans_of(r), SCOPE_HUB, nobody(), ip) != BAN_NONE ||
	        banned_here(p->abuse, ip, now))
		return END_BANNED;
	return judge_budget(p->abuse, ip, now);
}

enum end_reason policy_admit(struct policy *p, const struct ip_addr *ip)
{
	struct rules *held;
	enum end_reason why = judge_accept(p, rules_now(p, &held), ip);
	rules_unref(held);
	if (why == END_NORMAL) {
		tally_add(p->abuse->strangers, ip_shared(ip), 1);
		atomic_fetch_add_explicit(&p->abuse->n_strangers, 1, memory_order_relaxed);
		metric_add(METRIC_STRANGERS, 1);
		return why;
	}
	char text[IP_TEXT_LEN];
	audit_denied(&(struct audit_denial){
	        .operation = "accept", .reason = end_name(why), .peer = ip_text(ip, text)});
	return why;
}

void policy_settle(struct policy *p, const struct ip_addr *ip)
{
	tally_add(p->abuse->strangers, ip_shared(ip), -1);
	atomic_fetch_sub_explicit(&p->abuse->n_strangers, 1, memory_order_relaxed);
	metric_add(METRIC_STRANGERS, -1);
}

/* ---- at authentication ---- */

/* A module counts for its device too. */
static struct slice device_of(struct slice id)
{
	const uint8_t *slash = id.n > 0 ? memchr(id.p, '/', id.n) : NULL;
	return slash ? slice_make(id.p, (size_t)(slash - id.p)) : id;
}

static enum ban_kind ban_of(
        const struct bans *b, const struct ip_addr *ip, struct slice id, struct slice key)
{
	enum ban_kind kind = bans_find(b, SCOPE_HUB, nobody(), ip);
	if (kind == BAN_NONE && id.n > 0)
		kind = bans_find(b, SCOPE_DEVICE, id, ip);
	if (kind == BAN_NONE && device_of(id).n < id.n)
		kind = bans_find(b, SCOPE_DEVICE, device_of(id), ip);
	if (kind == BAN_NONE && key.n > 0)
		kind = bans_find(b, SCOPE_KEY, key, ip);
	return kind;
}

static bool named_banned_here(const struct abuse *a, const struct ip_addr *ip, struct slice id,
        struct slice key, uint64_t now_ms)
{
	if (banned_here(a, ip, now_ms))
		return true;
	if (id.n > 0 &&
	        (ban_slots_has(a->slots, whom(SCOPE_DEVICE, ip_shared(ip), id), now_ms) ||
	                ban_slots_has(a->slots, whom(COMER_LETTER, nobody(), id), now_ms)))
		return true;
	return key.n > 0 && ban_slots_has(a->slots, whom(SCOPE_KEY, ip_shared(ip), key), now_ms);
}

enum deny_reason policy_attempt(
        struct policy *p, const char *peer, struct slice id, struct slice key)
{
	struct abuse *a = p->abuse;
	struct ip_addr ip;
	struct rules *held;
	char rate[KEY_MAX];
	uint64_t now = clock_ms();
	if (ip_parse_peer(peer, &ip) < 0)
		return DENY_NONE;
	bool banned = ban_of(bans_of(rules_now(p, &held)), &ip, id, key) != BAN_NONE ||
	        named_banned_here(a, &ip, id, key, now);
	rules_unref(held);
	if (banned)
		return DENY_BANNED;
	if (exempt(a, &ip))
		return DENY_NONE;
	struct slice who = key_make(rate, 'a', ip_shared(&ip), nobody());
	return over(recent_add(a->rates, who, now, SECOND_MS), limits_of(a)->attempts) ? DENY_BUDGET
	                                                                               : DENY_NONE;
}

/* ---- making bans ---- */

enum keeping { HERE_ALONE, KEPT };

/* who: whom it hits here; b: what the document says, if it is to be one. */
static void ban(
        struct abuse *a, uint64_t who, struct ban *b, const char *reason, enum keeping keeping)
{
	const struct policy_abuse_limits *l = limits_of(a);
	char net[CIDR_TEXT_LEN];
	if (l->n_ban_seconds == 0 ||
	        !ban_slots_add(
	                a->slots, who, clock_ms(), l->ban_seconds, l->n_ban_seconds, &b->step))
		return;
	unsigned seconds = l->ban_seconds[b->step];
	snprintf(b->reason, sizeof(b->reason), "%s", reason);
	b->expires_us = clock_wall_us() + (int64_t)seconds * 1000000;
	metric_inc(METRIC_BANS_MADE);
	log_warn("banned", F_STR("network", b->everywhere ? "" : cidr_text(&b->net, net)),
	        F_STR("device", b->device), F_STR("key", b->key), F_STR("reason", reason),
	        F_U64("seconds", seconds));
	if (keeping == KEPT)
		keeper_note(a->keeper, b, who);
}

static void ban_net(struct ban *b, const struct ip_addr *ip, unsigned v6_bits)
{
	*b = (struct ban){.net = {.v6 = ip->v6, .bits = (uint8_t)(ip->v6 ? v6_bits : 32)}};
	memcpy(b->net.ip, ip->bytes, ip->v6 ? v6_bits / 8 : 4);
}

static void ban_address(struct abuse *a, const struct ip_addr *ip)
{
	struct ban b;
	ban_net(&b, ip, 64);
	ban(a, whom(SCOPE_HUB, ip_shared(ip), nobody()), &b, "failed authentications", KEPT);
}

static void ban_site(struct abuse *a, const struct ip_addr *ip)
{
	struct ban b;
	ban_net(&b, ip, SITE_BITS);
	ban(a, whom(SITE_LETTER, site_of(ip), nobody()), &b,
	        "failed authentications of many of its networks", KEPT);
}

/* Only the address in that name: whoever else comes in it is not hit. */
static void ban_pair(
        struct abuse *a, const struct ip_addr *ip, enum ip_scope scope, struct slice name)
{
	struct ban b;
	ban_net(&b, ip, 64);
	/* What can be nobody's name is banned here alone: a document without a name would hit
	 * everybody there. */
	bool fits = scope == SCOPE_KEY ? ip_doc_id_valid(name) : ban_identity_valid(name);
	if (fits)
		memcpy(scope == SCOPE_KEY ? b.key : b.device, name.p, name.n);
	ban(a, whom((char)scope, ip_shared(ip), name), &b, "failed authentications in its name",
	        fits ? KEPT : HERE_ALONE);
}

/* ---- counting ---- */

/* Whether it tells of somebody who tries what is not his. */
static bool is_failure(enum deny_reason why)
{
	switch (why) {
	case DENY_NONE:
	case DENY_BANNED:
	case DENY_BUDGET:
	case DENY_UNAVAILABLE:
	case DENY_IP_RULE:
	case DENY_POLICY:
	case DENY_AUTHORIZER_FAILED:
	case DENY_CRL_MISSING: return false;
	default: return true;
	}
}

/* What may fail before something happens: more where it went well lately, as behind an address
 * that a whole site shares. */
static bool past(const struct abuse *a, struct slice who, unsigned failures, unsigned limit)
{
	if (!limit || failures <= limit)
		return false;
	unsigned good = recent_count(a->successes, who, clock_ms(), SUCCESS_MS);
	return failures > limit + good * FAILURES_A_SUCCESS;
}

static void count_pair(
        struct abuse *a, const struct ip_addr *ip, enum ip_scope scope, struct slice name)
{
	const struct policy_abuse_limits *l = limits_of(a);
	char key[KEY_MAX];
	if (name.n == 0)
		return;
	struct slice who = key_make(key, (char)scope, ip_shared(ip), name);
	unsigned n = recent_add(a->failures, who, clock_ms(), l->window * SECOND_MS);
	if (past(a, who, n, l->identity_failures))
		ban_pair(a, ip, scope, name);
}

static void count_address(struct abuse *a, const struct ip_addr *ip)
{
	const struct policy_abuse_limits *l = limits_of(a);
	unsigned window = l->window * SECOND_MS;
	char key[KEY_MAX];
	struct slice who = key_make(key, SCOPE_HUB, ip_shared(ip), nobody());
	if (past(a, who, recent_add(a->failures, who, clock_ms(), window), l->failures))
		ban_address(a, ip);
	if (!ip->v6)
		return;
	who = key_make(key, SITE_LETTER, site_of(ip), nobody());
	if (past(a, who, recent_add(a->failures, who, clock_ms(), window),
	            l->failures * SITE_FACTOR))
		ban_site(a, ip);
}

static void count_success(
        struct abuse *a, const struct ip_addr *ip, struct slice id, struct slice key_name)
{
	const struct {
		char letter;
		struct slice address, name;
	} whose[] = {
	        {SCOPE_HUB, ip_shared(ip), nobody()},
	        {SITE_LETTER, site_of(ip), nobody()},
	        {SCOPE_DEVICE, ip_shared(ip), id},
	        {SCOPE_KEY, ip_shared(ip), key_name},
	};
	char key[KEY_MAX];
	for (size_t i = 0; i < ARRAY_LEN(whose); i++) {
		bool named = whose[i].letter == SCOPE_DEVICE || whose[i].letter == SCOPE_KEY;
		if ((whose[i].letter == SITE_LETTER && !ip->v6) || (named && whose[i].name.n == 0))
			continue;
		recent_add(a->successes,
		        key_make(key, whose[i].letter, whose[i].address, whose[i].name), clock_ms(),
		        SUCCESS_MS);
	}
}

void policy_outcome(
        struct policy *p, const char *peer, struct slice id, struct slice key, enum deny_reason why)
{
	struct abuse *a = p->abuse;
	struct ip_addr ip;
	if ((why != DENY_NONE && !is_failure(why)) || ip_parse_peer(peer, &ip) < 0 ||
	        exempt(a, &ip) || limits_of(a)->window == 0)
		return;
	if (why == DENY_NONE) {
		count_success(a, &ip, id, key);
		return;
	}
	count_pair(a, &ip, SCOPE_DEVICE, id);
	count_pair(a, &ip, SCOPE_KEY, key);
	count_address(a, &ip);
}

void policy_note_connected(struct policy *p, const struct principal *who)
{
	struct abuse *a = p->abuse;
	const struct policy_abuse_limits *l = limits_of(a);
	char key[KEY_MAX];
	if (who->kind != PRINCIPAL_DEVICE || !who->has_source || exempt(a, &who->source) ||
	        l->window == 0)
		return;
	struct slice id = principal_id(who), it = key_make(key, COMER_LETTER, nobody(), id);
	unsigned n = recent_add(a->comings, it, clock_ms(), l->window * SECOND_MS);
	if (!over(n, l->flaps))
		return;
	struct ban b = {.everywhere = true};
	memcpy(b.device, id.p, id.n);
	ban(a, whom(COMER_LETTER, nobody(), id), &b, "connects and disconnects all the time", KEPT);
}
