#include "policy/ip_rules.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

/* ---- compiling ---- */

static void rules_free(struct part *p)
{
	struct ip_rules *r = container_of(p, struct ip_rules, part);
	ip_scopes_free(r->scopes);
	free(r->list);
	free(r);
}

struct ip_rules *ip_rules_unref(struct ip_rules *r)
{
	if (r && atomic_fetch_sub_explicit(&r->part.refs, 1, memory_order_acq_rel) == 1)
		rules_free(&r->part);
	return NULL;
}

static int rule_compare(const void *a, const void *b)
{
	const struct ip_rule *x = a, *y = b;
	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	return strcmp(x->id, y->id);
}

static void drop_expired(struct ip_rules *r, int64_t now_us)
{
	size_t kept = 0;
	for (size_t i = 0; i < r->n; i++) {
		int64_t at = r->list[i].expires_us;
		if (at && at <= now_us)
			continue;
		if (at && (!r->next_expiry_us || at < r->next_expiry_us))
			r->next_expiry_us = at;
		r->list[kept++] = r->list[i];
	}
	r->n = kept;
}

static struct ip_scopes *compile(const struct ip_rules *r)
{
	_cleanup_free_ struct ip_entry *entries = calloc(r->n + 1, sizeof(*entries));
	if (!entries)
		return NULL;
	for (size_t i = 0; i < r->n; i++)
		entries[i] = (struct ip_entry){
		        .scope = r->list[i].scope,
		        .name = r->list[i].name,
		        .net = r->list[i].net,
		        .value = (uint32_t)i,
		        .closes = r->list[i].allow,
		};
	return ip_scopes_new(entries, r->n);
}

struct ip_rules *ip_rules_new(struct ip_rule *list, size_t n, int64_t now_us)
{
	struct ip_rules *r = calloc(1, sizeof(*r));
	if (!r) {
		free(list);
		return NULL;
	}
	atomic_init(&r->part.refs, 1);
	r->part.free = rules_free;
	r->list = list;
	r->n = n;
	drop_expired(r, now_us);
	if (r->n > 0)
		qsort(r->list, r->n, sizeof(*r->list), rule_compare);
	r->scopes = compile(r);
	return r->scopes ? r : ip_rules_unref(r);
}

/* ---- reading ---- */

struct loading {
	struct ip_rule *list;
	size_t n, cap;
};

static int grow(struct loading *l)
{
	size_t cap = l->cap ? 2 * l->cap : 64;
	struct ip_rule *list = l->n < l->cap ? l->list : realloc(l->list, cap * sizeof(*list));
	if (!list)
		return ERR_NOMEM;
	if (l->n == l->cap)
		l->cap = cap;
	l->list = list;
	return 0;
}

static int load_row(void *arg, const struct document *d)
{
	struct loading *l = arg;
	struct doc_check c = {0};
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	if (grow(l) < 0)
		return ERR_NOMEM;
	if (json_read(slice_str(d->text), &json_limits_body, &doc, error) < 0 ||
	        ip_rule_read(&c, doc, slice_str(d->name), &l->list[l->n], NULL) < 0)
		log_error("an IP rule cannot be read and does not count", F_STR("rule", d->name));
	else
		l->n++;
	return 0;
}

int ip_rules_read(const struct document_store *documents, struct ip_rules **ret)
{
	struct loading l = {0};
	int r = documents->each ? documents->each(documents->ctx, ENTITY_IP_RULE, load_row, &l) : 0;
	if (r < 0) {
		free(l.list);
		return r;
	}
	struct ip_rules *rules = ip_rules_new(l.list, l.n, clock_wall_us());
	if (!rules)
		return ERR_NOMEM;
	*ret = rules;
	return 0;
}

int ip_rules_load(const struct document_store *documents, struct part **ret)
{
	struct ip_rules *rules;
	int r = ip_rules_read(documents, &rules);
	if (r < 0)
		return r;
	metric_set(METRIC_IP_RULES, (int64_t)rules->n);
	*ret = &rules->part;
	return 0;
}

/* ---- deciding ---- */

const struct ip_rule *ip_rules_find(const struct ip_rules *r, const struct ip_addr *ip)
{
	const struct slice none = {0};
	const struct ip_table *t = r ? ip_scopes_get(r->scopes, SCOPE_HUB, none, NULL) : NULL;
	uint32_t value = t ? ip_table_find(t, ip) : IP_TABLE_NONE;
	return value == IP_TABLE_NONE ? NULL : &r->list[value];
}

bool ip_rules_admit(const struct ip_rules *r, const struct ip_addr *ip, bool deny)
{
	const struct ip_rule *rule = ip_rules_find(r, ip);
	return rule ? rule->allow : !deny;
}

bool ip_rules_admit_named(
        const struct ip_rules *r, enum ip_scope scope, struct slice name, const struct ip_addr *ip)
{
	bool closed = false;
	const struct ip_table *t = r ? ip_scopes_get(r->scopes, scope, name, &closed) : NULL;
	if (!t || !ip)
		return !t;
	uint32_t value = ip_table_find(t, ip);
	return value == IP_TABLE_NONE ? !closed : r->list[value].allow;
}

struct deny_all {
	const struct ip_rules *rules;
	bool deny;
};

static bool denies(const void *ctx, uint32_t value)
{
	const struct deny_all *d = ctx;
	return value == IP_TABLE_NONE ? d->deny : !d->rules->list[value].allow;
}

bool ip_rules_deny_all(const struct ip_rules *r, bool deny)
{
	const struct deny_all d = {.rules = r, .deny = deny};
	const struct slice none = {0};
	const struct ip_table *t = r ? ip_scopes_get(r->scopes, SCOPE_HUB, none, NULL) : NULL;
	return t ? ip_table_all(t, denies, &d) : deny;
}
