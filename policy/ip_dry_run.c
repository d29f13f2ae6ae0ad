/* What another set of IP rules would do to the addresses that were seen lately. Worker threads. */
#include <stdlib.h>
#include <string.h>

#include "policy/ip_admin.h"
#include "policy/ip_suggest.h"
#include "server/base/clock.h"
#include "server/base/err.h"

#define SEEN_DAYS 30
#define ADDRESSES_MAX 500000
#define SHOWN_MAX 1000
#define SUGGESTIONS_MAX 16

struct dry_run {
	const struct ip_rules *now, *then;
	bool deny;
	size_t n, cap;
	struct ip_addr *ips; /* that the hub let in, for suggestions */
	size_t addresses, refused, admitted, refused_then;
	bool cut;
	json_t *changes;
};

/* ---- the set ---- */

/* Reads an array of rules at a member of the body; *ret is malloc'ed. */
static int read_rules(struct doc_check *c, const json_t *list, const char *member,
        struct ip_rule **ret, size_t *ret_n)
{
	size_t n = json_array_size(list), mark = doc_enter(c, slice_str(member));
	struct ip_rule *rules = calloc(n + 1, sizeof(*rules));
	if (!rules)
		return ERR_NOMEM;
	if (!json_is_array(list) || n > POLICY_IP_RULES_MAX)
		doc_error(c, "must be an array of at most 20000 rules");
	for (size_t i = 0; i < n && n <= POLICY_IP_RULES_MAX; i++) {
		size_t inner = doc_enter_index(c, i);
		ip_rule_read(c, json_array_get(list, i), (struct slice){0}, &rules[i], NULL);
		doc_leave(c, inner);
	}
	doc_leave(c, mark);
	*ret = rules;
	*ret_n = n;
	return 0;
}

/* The ids of the list as members of an object. */
static int read_ids(struct doc_check *c, const json_t *list, json_t **ret)
{
	size_t n = json_array_size(list), mark = doc_enter(c, SLICE_LIT("remove"));
	json_t *ids = json_object();
	if (list && (!json_is_array(list) || n > POLICY_IP_RULES_MAX))
		doc_error(c, "must be an array of at most 20000 ids");
	for (size_t i = 0; ids && i < n && n <= POLICY_IP_RULES_MAX; i++) {
		const char *id = json_string_value(json_array_get(list, i));
		size_t inner = doc_enter_index(c, i);
		if (!id || json_object_set_new(ids, id, json_true()) < 0)
			doc_error(c, "must be an id");
		doc_leave(c, inner);
	}
	doc_leave(c, mark);
	*ret = ids;
	return ids ? 0 : ERR_NOMEM;
}

static void check_members(struct doc_check *c, const json_t *doc)
{
	const char *member;
	json_t *value;
	if (!json_is_object(doc)) {
		doc_error(c, "must be an object");
		return;
	}
	bool whole = json_object_get(doc, "rules") != NULL;
	json_object_foreach((json_t *)doc, member, value)
	{
		bool change = strcmp(member, "add") == 0 || strcmp(member, "remove") == 0;
		if (!change && strcmp(member, "rules") != 0)
			doc_member_error(c, member, "unknown member");
		else if (change && whole)
			doc_member_error(c, member, "does not go together with \"rules\"");
	}
}

static int read_set(struct policy *p, const struct policy_ip_write *w, struct ip_rules **ret)
{
	struct doc_check c = {.errors = w->errors};
	const json_t *whole = json_object_get(w->doc, "rules"),
	             *add = json_object_get(w->doc, "add");
	_cleanup_json_ json_t *remove = NULL;
	struct ip_rule *rules = NULL;
	size_t n = 0;
	check_members(&c, w->doc);
	int r = whole || add
	        ? read_rules(&c, whole ? whole : add, whole ? "rules" : "add", &rules, &n)
	        : 0;
	if (r == 0)
		r = read_ids(&c, json_object_get(w->doc, "remove"), &remove);
	if (r == 0 && c.failed)
		r = ERR_INVALID;
	if (r == 0) {
		if (!whole)
			r = ip_rules_changed(p, rules, n, remove, ret);
		else if (!(*ret = ip_rules_new(TAKE_PTR(rules), n, clock_wall_us())))
			r = ERR_NOMEM;
	}
	free(rules);
	return r;
}

/* ---- trying it ---- */

static const char *word(bool admitted)
{
	return admitted ? "allow" : "deny";
}

static json_t *change_json(const struct dry_run *d, const struct seen_address *a, bool then)
{
	const struct ip_rule *rule = ip_rules_find(d->then, &a->ip);
	char ip[IP_TEXT_LEN], seen[CLOCK_RFC3339_LEN];
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s?}", "address", ip_text(&a->ip, ip),
	        "lastSeen", clock_rfc3339(a->last_seen_us, seen), "allowed", (json_int_t)a->allowed,
	        "now", word(!then), "then", word(then), "rule",
	        rule && rule->id[0] ? rule->id : NULL);
}

static int keep_ip(struct dry_run *d, const struct ip_addr *ip)
{
	if (d->n == d->cap) {
		size_t cap = d->cap ? 2 * d->cap : 1024;
		struct ip_addr *ips = realloc(d->ips, cap * sizeof(*ips));
		if (!ips)
			return ERR_NOMEM;
		d->ips = ips;
		d->cap = cap;
	}
	d->ips[d->n++] = *ip;
	return 0;
}

static int try_address(void *arg, const struct seen_address *a)
{
	struct dry_run *d = arg;
	bool now = ip_rules_admit(d->now, &a->ip, d->deny);
	bool then = ip_rules_admit(d->then, &a->ip, d->deny);
	if (d->addresses == ADDRESSES_MAX) {
		d->cut = true;
		return 0;
	}
	d->addresses++;
	d->refused_then += !then;
	d->refused += now && !then;
	d->admitted += !now && then;
	if (now != then && json_array_size(d->changes) < SHOWN_MAX &&
	        json_array_append_new(d->changes, change_json(d, a, then)) < 0)
		return ERR_NOMEM;
	/* What never proved who it was is no reason to let its network in. */
	return a->allowed > 0 ? keep_ip(d, &a->ip) : 0;
}

/* ---- telling ---- */

static json_t *suggestions(struct dry_run *d)
{
	struct cidr nets[2 * SUGGESTIONS_MAX];
	size_t n = ip_suggest(d->ips, d->n, SUGGESTIONS_MAX, nets);
	json_t *list = json_array();
	for (size_t i = 0; list && i < n; i++) {
		char text[CIDR_TEXT_LEN];
		json_array_append_new(list, json_string(cidr_text(&nets[i], text)));
	}
	return list;
}

static json_t *author_json(const struct dry_run *d, const char *peer)
{
	struct ip_addr ip;
	if (ip_parse_peer(peer, &ip) < 0)
		return json_null();
	return json_string(word(ip_rules_admit(d->then, &ip, d->deny)));
}

static int report(struct dry_run *d, const char *peer, json_t **ret)
{
	*ret = json_pack("{s:i, s:I, s:I, s:I, s:I, s:b, s:O, s:b, s:o, s:o}", "days", SEEN_DAYS,
	        "addresses", (json_int_t)d->addresses, "refused", (json_int_t)d->refused,
	        "admitted", (json_int_t)d->admitted, "refusedInAll", (json_int_t)d->refused_then,
	        "truncated", d->cut || d->refused + d->admitted > json_array_size(d->changes),
	        "changes", d->changes, "deniesEverybody", ip_rules_deny_all(d->then, d->deny),
	        "you", author_json(d, peer), "suggest", suggestions(d));
	return *ret ? 0 : ERR_NOMEM;
}

int policy_ip_rule_dry_run(struct policy *p, struct policy_ip_write *w, json_t **ret)
{
	struct ip_rules *now = NULL, *then = NULL;
	int64_t since = clock_wall_us() - (int64_t)SEEN_DAYS * 86400 * 1000000;
	int r = read_set(p, w, &then);
	if (r < 0)
		return r;
	r = ip_rules_read(&p->store.documents, &now);
	struct dry_run d = {
	        .now = now, .then = then, .deny = ip_default_deny(p), .changes = json_array()};
	if (r == 0 && !d.changes)
		r = ERR_NOMEM;
	if (r == 0 && p->store.each_address)
		r = p->store.each_address(p->store.addresses_ctx, since, try_address, &d);
	if (r == 0)
		r = report(&d, w->peer, ret);
	json_decref(d.changes);
	free(d.ips);
	ip_rules_unref(now);
	ip_rules_unref(then);
	return r;
}
