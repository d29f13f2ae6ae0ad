#include "policy/decide.h"

#include "policy/condition.h"
#include "policy/filter.h"
#include "policy/table.h"
#include "server/base/clock.h"

/* ---- what variables and keys stand for ---- */

/* One document being asked: its variables are found once. */
struct eval {
	const struct ask *ask;
	const struct attached *attached;
	bool broad;             /* a refusal is looked for: what is not known counts */
	size_t *work;           /* for the whole decision */
	uint64_t asked, usable; /* bits of variables */
	struct slice values[DOCUMENT_VARS_MAX];
	char scratch[IP_TEXT_LEN], moment[CLOCK_RFC3339_LEN];
};

static struct slice source_ip(struct eval *e)
{
	const struct principal *p = e->ask->who;
	if (!p->has_source)
		return (struct slice){0};
	return slice_str(ip_text(&p->source, e->scratch));
}

static struct slice now_text(struct eval *e, enum var_kind kind)
{
	int64_t now = clock_wall_us();
	if (kind == VAR_CURRENT_TIME)
		return slice_str(clock_rfc3339(now, e->moment));
	snprintf(e->moment, sizeof(e->moment), "%lld", (long long)(now / 1000000));
	return slice_str(e->moment);
}

/* The i-th value; only facts and the attributes of a CONNECT have several. */
static bool next_value(void *ctx, unsigned var, unsigned *pos, struct slice *ret)
{
	struct eval *e = ctx;
	const struct var *v = &e->attached->doc->vars[var];
	const struct principal *p = e->ask->who;
	const struct auth_request *req = e->ask->req;
	struct fact fact;
	if (v->kind == VAR_FACT) {
		while (facts_next(p->facts, pos, &fact))
			if (slice_eq_str(v->name, fact.name)) {
				*ret = fact.value;
				return true;
			}
		return false;
	}
	unsigned i = (*pos)++;
	struct slice value = {0};
	switch (v->kind) {
	case VAR_CLIENT_ID: value = principal_client_id(p); break;
	case VAR_THING_NAME:
		value = p->kind == PRINCIPAL_DEVICE ? principal_device_id(p) : value;
		break;
	case VAR_IS_ATTACHED:
		value = slice_str(p->kind == PRINCIPAL_DEVICE ? "true" : "false");
		break;
	case VAR_ATTRIBUTE: value = e->attached->attributes[v->attribute]; break;
	case VAR_SOURCE_IP: value = source_ip(e); break;
	case VAR_DOMAIN: value = req ? req->server_name : value; break;
	case VAR_CONNECT_ATTRIBUTES:
		if (req && req->persistent && i == 0)
			value = SLICE_LIT("PersistentConnect");
		else if (req && req->has_will && i == (req->persistent ? 1 : 0))
			value = SLICE_LIT("LastWill");
		*ret = value;
		return value.n > 0;
	case VAR_LAST_WILL: value = req && req->has_will ? req->will_topic : value; break;
	case VAR_CURRENT_TIME:
	case VAR_EPOCH_TIME: value = now_text(e, v->kind); break;
	case VAR_FACT: break;
	}
	*ret = value;
	return i == 0 && value.n > 0;
}

static bool known(void *ctx, unsigned var)
{
	const struct eval *e = ctx;
	return e->ask->req || !var_of_connect(&e->attached->doc->vars[var]);
}

static bool variable(void *ctx, unsigned var, struct slice *ret)
{
	struct eval *e = ctx;
	uint64_t bit = UINT64_C(1) << var;
	if (!(e->asked & bit)) {
		unsigned pos = 0;
		e->asked |= bit;
		if (next_value(e, var, &pos, &e->values[var]) && var_value_usable(e->values[var]))
			e->usable |= bit;
	}
	*ret = e->values[var];
	return (e->usable & bit) != 0;
}

/* ---- statements ---- */

struct wanted {
	unsigned action; /* one of enum doc_action */
	unsigned type;   /* one of enum doc_resource */
	size_t work;     /* see glob_values */
};

static bool names_share(const struct glob *g)
{
	return g->n > 0 && g->atoms[0].kind == GLOB_TEXT &&
	        slice_has_prefix(g->atoms[0].text, SLICE_LIT("$share/"));
}

static bool resource_fits(const struct statement *s, const struct wanted *w, struct eval *e)
{
	const struct glob_values values = {
	        .get = variable, .ctx = e, .broad = e->broad, .work = e->work};
	struct slice text = e->ask->text, inner = text;
	bool filter = w->type == DOC_TOPICFILTER;
	if (filter)
		inner = filter_unshared(text);
	for (unsigned i = 0; i < s->n_resources; i++) {
		const struct resource *r = &s->resources[i];
		if (!(r->types & w->type))
			continue;
		/* The group's name is the client's choice: an allowance that names none of its own
		 * must not be met by it. */
		if ((inner.p == text.p || e->broad || names_share(&r->glob)) &&
		        glob_match(&r->glob, text, &values))
			return true;
		/* A shared filter is judged by the filter; a refusal also by what it could match.
		 */
		if (filter && inner.p != text.p && glob_match(&r->glob, inner, &values))
			return true;
		if (filter && e->broad && glob_meets(&r->glob, inner, &values))
			return true;
	}
	return false;
}

static bool asks_connect(const struct eval *e, const struct condition *c)
{
	const struct var *vars = e->attached->doc->vars;
	if (var_of_connect(&vars[c->var]))
		return true;
	for (unsigned i = 0; c->type == CONDITION_STRING && i < c->n; i++)
		for (unsigned k = 0; k < c->values[i].glob.n; k++) {
			const struct glob_atom *a = &c->values[i].glob.atoms[k];
			if (a->kind == GLOB_VAR && var_of_connect(&vars[a->var]))
				return true;
		}
	return false;
}

/* In a recheck, what was asked of the CONNECT stands as it was judged then; that and no more, or a
 * tag that was taken away would take nothing with it. */
static bool counts_unknown(const struct eval *e, const struct condition *c)
{
	bool recheck = e->ask->action == ASK_CONNECT && !e->ask->req;
	return recheck && asks_connect(e, c) ? !e->broad : e->broad;
}

static bool conditions_hold(const struct statement *s, struct eval *e)
{
	const struct condition_values values = {
	        .next = next_value,
	        .known = known,
	        .globs = {.get = variable, .ctx = e, .broad = e->broad},
	        .ctx = e,
	};
	for (unsigned i = 0; i < s->n_conditions; i++) {
		enum holds h = condition_holds(&s->conditions[i], &values);
		if (h == HOLDS_NOT || (h == HOLDS_UNKNOWN && !counts_unknown(e, &s->conditions[i])))
			return false;
	}
	return true;
}

static bool doc_says(const struct ask *ask, const struct attached *attached, bool deny,
        struct wanted *w, struct why *why)
{
	const struct policy_doc *doc = attached->doc;
	if (!((deny ? doc->denies : doc->allows) & w->action))
		return false;
	struct eval e;
	e.ask = ask;
	e.attached = attached;
	e.broad = deny;
	e.work = &w->work;
	e.asked = e.usable = 0;
	for (unsigned i = 0; i < doc->n_statements; i++) {
		const struct statement *s = &doc->statements[i];
		if (s->deny != deny || !(s->actions & w->action) || !resource_fits(s, w, &e) ||
		        !conditions_hold(s, &e))
			continue;
		if (why)
			*why = (struct why){.by = WHY_STATEMENT,
			        .group = attached->group,
			        .doc = doc,
			        .statement = i};
		return true;
	}
	return false;
}

static bool documents_say(const struct ask *ask, bool deny, struct wanted w, struct why *why)
{
	w.work = GLOB_MEETS_WORK;
	for (unsigned k = 0; k < PRINCIPAL_PARTS; k++) {
		const struct rights *r = rights_of(ask->who->access[k]);
		if (!r || !((deny ? r->denies : r->allows) & w.action))
			continue;
		for (unsigned i = 0; i < r->n_docs; i++)
			if (doc_says(ask, &r->docs[i], deny, &w, why)) {
				if (why)
					why->part = r;
				return true;
			}
	}
	return false;
}

static struct wanted wanted_of(enum ask_action action)
{
	switch (action) {
	case ASK_CONNECT: return (struct wanted){DOC_CONNECT, DOC_CLIENT, 0};
	case ASK_PUBLISH: return (struct wanted){DOC_PUBLISH, DOC_TOPIC, 0};
	case ASK_SUBSCRIBE: return (struct wanted){DOC_SUBSCRIBE, DOC_TOPICFILTER, 0};
	case ASK_RECEIVE: break;
	}
	return (struct wanted){DOC_RECEIVE, DOC_TOPIC, 0};
}

static const struct wanted retained = {DOC_RETAIN_PUBLISH, DOC_TOPIC, 0};

/* ---- scopes ---- */

/* The device whose topic it is: "devices/{id}/…". */
static struct slice device_of_topic(struct slice topic)
{
	bool more;
	if (!slice_eq_str(filter_level_cut(&topic, &more), "devices") || !more)
		return (struct slice){0};
	return filter_level_cut(&topic, &more);
}

static struct slice device_of_id(struct slice id)
{
	bool more;
	return filter_level_cut(&id, &more);
}

/* The device that is meant: itself, the sender, or whose topic it is. What only subscribes is
 * judged when it receives. */
static bool scope_has_device(const struct scope *s, const struct ask *ask)
{
	const struct principal *p = ask->who;
	const struct rights *device = rights_of(ask->from);
	struct slice id = {0};
	if (!scope_by_device(s))
		return true;
	if (p->kind == PRINCIPAL_DEVICE) {
		id = principal_device_id(p);
		device = rights_of(p->access[0]);
	} else if (ask->action == ASK_CONNECT || ask->action == ASK_SUBSCRIBE) {
		return true;
	} else {
		id = device && device->kind == ENTITY_DEVICE ? device_of_id(device->id)
		                                             : device_of_topic(ask->text);
	}
	if (scope_has(&s->devices, id))
		return true;
	for (unsigned i = 0; device && device->kind == ENTITY_DEVICE && i < s->groups.n; i++)
		if (rights_in_group(device, s->groups.items[i]))
			return true;
	return false;
}

static const char *scope_objects(const struct scope *s, const struct ask *ask)
{
	const struct principal *p = ask->who;
	bool writes = ask->action == ASK_PUBLISH;
	if ((s->not_before_us || s->not_after_us) && !scope_has_time(s, clock_wall_us()))
		return "notBefore, notAfter";
	if (s->n_nets > 0 && !scope_has_address(s, p->has_source ? &p->source : NULL))
		return "cidrs";
	if (!scope_has_device(s, ask))
		return "groups, devices";
	if (ask->action == ASK_CONNECT)
		return NULL;
	if (writes ? s->no_write : s->no_read)
		return "access";
	struct slice text = ask->action == ASK_SUBSCRIBE ? filter_unshared(ask->text) : ask->text;
	return scope_covers(s, text) ? NULL : "topicFilters";
}

static bool scopes_object(const struct ask *ask, struct why *why)
{
	for (unsigned k = 0; k < PRINCIPAL_PARTS; k++) {
		const struct rights *r = rights_of(ask->who->access[k]);
		const char *detail = r && r->scope ? scope_objects(r->scope, ask) : NULL;
		if (!detail)
			continue;
		if (why)
			*why = (struct why){.by = WHY_SCOPE, .part = r, .detail = detail};
		return true;
	}
	return false;
}

/* ---- what everybody may, and grants ---- */

static bool has_defaults(const struct principal *p)
{
	for (unsigned k = 0; k < PRINCIPAL_PARTS; k++) {
		const struct rights *r = rights_of(p->access[k]);
		if (r && r->kind == ENTITY_DEVICE && p->kind == PRINCIPAL_DEVICE)
			return r->defaults;
	}
	return p->kind != PRINCIPAL_CUSTOM;
}

static bool table_says(const struct ask *ask, struct slice text, struct why *why)
{
	struct slice pattern = {0};
	if (!has_defaults(ask->who))
		return false;
	bool allowed = ask->action == ASK_CONNECT ||
	        table_allows(ask->who, ask->action == ASK_PUBLISH ? TABLE_PUBLISH : TABLE_SUBSCRIBE,
	                text, &pattern);
	if (allowed && why)
		*why = (struct why){.by = WHY_TABLE, .pattern = pattern};
	return allowed;
}

static bool grant_says(const struct granted *g, bool writes, struct slice text)
{
	if (g->grant.letter != 'b' && g->grant.letter != (writes ? 'w' : 'r'))
		return false;
	return filter_covers(g->grant.filter, text);
}

static bool grants_say(const struct ask *ask, struct slice text, struct why *why)
{
	bool writes = ask->action == ASK_PUBLISH;
	for (unsigned k = 0; k < PRINCIPAL_PARTS && ask->action != ASK_CONNECT; k++) {
		const struct rights *r = rights_of(ask->who->access[k]);
		for (unsigned i = 0; r && i < r->n_grants; i++) {
			const struct granted *g = &r->grants[i];
			if (!grant_says(g, writes, text))
				continue;
			if (why)
				*why = (struct why){.by = WHY_GRANT,
				        .pattern = g->grant.filter,
				        .part = r,
				        .group = g->group};
			return true;
		}
	}
	return false;
}

/* ---- the decision ---- */

static bool broken(const struct principal *p, struct why *why)
{
	for (unsigned k = 0; k < PRINCIPAL_PARTS; k++) {
		const struct rights *r = rights_of(p->access[k]);
		if (!r || !r->broken)
			continue;
		if (why)
			*why = (struct why){.by = WHY_BROKEN, .part = r};
		return true;
	}
	return false;
}

bool decide(const struct ask *ask, struct why *why)
{
	if (why)
		*why = (struct why){.by = WHY_NOTHING};
	if (!ask->who || ask->text.n == 0 || broken(ask->who, why))
		return false;
	const struct wanted w = wanted_of(ask->action);
	struct slice text = ask->action == ASK_SUBSCRIBE ? filter_unshared(ask->text) : ask->text;
	if (text.n == 0 || documents_say(ask, true, w, why) ||
	        (ask->retain && documents_say(ask, true, retained, why)) || scopes_object(ask, why))
		return false;
	if (table_says(ask, text, why) || grants_say(ask, text, why))
		return true;
	if (ask->retain && !documents_say(ask, false, retained, NULL))
		return false;
	return documents_say(ask, false, w, why);
}

/* ---- the door ---- */

bool policy_may_publish(const struct principal *p, struct slice topic, bool retain)
{
	return decide(
	        &(struct ask){.action = ASK_PUBLISH, .who = p, .text = topic, .retain = retain},
	        NULL);
}

bool policy_may_subscribe(const struct principal *p, struct slice filter)
{
	return decide(&(struct ask){.action = ASK_SUBSCRIBE, .who = p, .text = filter}, NULL);
}

bool policy_may_receive(const struct principal *p, struct slice topic, const struct access *from)
{
	return decide(
	        &(struct ask){.action = ASK_RECEIVE, .who = p, .text = topic, .from = from}, NULL);
}

/* Documents that allow subscriptions say apart what may be received on them. */
bool policy_filters_receive(const struct principal *p)
{
	for (unsigned k = 0; p && k < PRINCIPAL_PARTS; k++) {
		const struct rights *r = rights_of(p->access[k]);
		if (!r)
			continue;
		if (r->broken || (r->denies & DOC_RECEIVE) || (r->allows & DOC_SUBSCRIBE))
			return true;
		if (r->scope && (scope_by_device(r->scope) || r->scope->not_after_us))
			return true;
	}
	return false;
}

enum deny_reason policy_may_connect(
        struct policy *p HF_UNUSED, const struct principal *who, const struct auth_request *req)
{
	struct why why;
	if (!who)
		return DENY_POLICY;
	/* An anonymous client may have no id at all: any text will do for it. */
	struct slice id = principal_client_id(who);
	if (id.n == 0)
		id = SLICE_LIT("-");
	const struct ask ask = {.action = ASK_CONNECT, .who = who, .text = id, .req = req};
	if (decide(&ask, &why))
		return DENY_NONE;
	return why.by == WHY_SCOPE ? DENY_SCOPE : DENY_POLICY;
}
