/* Trying out: what would be decided, and by what; what a document would change. Workers. */
#include <strings.h>

#include "policy/decide.h"
#include "policy/objections.h"
#include "policy/policy_admin.h"
#include "policy/policy_ip.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"

static const struct {
	const char *name;
	enum ask_action action;
	bool retain;
	unsigned doc_action;
} actions[] = {
        {"Connect", ASK_CONNECT, false, DOC_CONNECT},
        {"Publish", ASK_PUBLISH, false, DOC_PUBLISH},
        {"RetainPublish", ASK_PUBLISH, true, DOC_RETAIN_PUBLISH},
        {"Subscribe", ASK_SUBSCRIBE, false, DOC_SUBSCRIBE},
        {"Receive", ASK_RECEIVE, false, DOC_RECEIVE},
};

static const char *const by_names[] = {
        [WHY_NOTHING] = "nothing",
        [WHY_BROKEN] = "unreadable",
        [WHY_TABLE] = "default",
        [WHY_GRANT] = "grant",
        [WHY_STATEMENT] = "policy",
        [WHY_SCOPE] = "scope",
};

static void set_slice(json_t *doc, const char *name, struct slice s)
{
	if (s.n > 0)
		json_object_set_new(doc, name, json_stringn((const char *)s.p, s.n));
}

static void set_statement(json_t *doc, const struct why *why)
{
	const struct statement *s = &why->doc->statements[why->statement];
	set_slice(doc, "policy", why->doc->name);
	if (why->doc->version)
		json_object_set_new(doc, "version", json_integer(why->doc->version));
	json_object_set_new(doc, "statement", json_integer(why->statement));
	set_slice(doc, "sid", s->sid);
	json_object_set_new(doc, "effect", json_string(s->deny ? "Deny" : "Allow"));
}

static json_t *show(bool allowed, const struct why *why)
{
	json_t *doc = json_pack(
	        "{s:s, s:s}", "decision", allowed ? "allow" : "deny", "by", by_names[why->by]);
	if (!doc)
		return NULL;
	if (why->by == WHY_STATEMENT)
		set_statement(doc, why);
	if (why->by == WHY_TABLE)
		set_slice(doc, "rule", why->pattern);
	if (why->by == WHY_GRANT)
		set_slice(doc, "topicFilter", why->pattern);
	if (why->by == WHY_SCOPE)
		json_object_set_new(doc, "scope", json_string(why->detail));
	if (why->group)
		set_slice(doc, "group", why->group->name);
	if (why->part) {
		json_object_set_new(doc, "kind", json_string(entity_name(why->part->kind)));
		set_slice(doc, "id", why->part->id);
	}
	return doc;
}

/* What refuses the address before any document is asked; NULL: nothing. */
static const char *refused_by_address(struct policy *p, const struct principal *who)
{
	if (!who->has_source)
		return NULL;
	enum end_reason end = policy_may_stay(p, &who->source);
	enum deny_reason deny = policy_may_connect_from(p, who);
	if (end == END_IP_RULE || deny == DENY_IP_RULE)
		return "ipRule";
	return end == END_BANNED || deny == DENY_BANNED ? "ban" : NULL;
}

int policy_simulate(struct policy *p, const struct policy_question *q, json_t **ret)
{
	struct why why;
	const char *name = q->action;
	if (strncmp(name, "iot:", 4) == 0)
		name += 4;
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (strcasecmp(name, actions[i].name) != 0)
			continue;
		bool connect = actions[i].action == ASK_CONNECT;
		const struct ask ask = {.action = actions[i].action,
		        .who = q->who,
		        .text = connect ? principal_client_id(q->who) : q->text,
		        .retain = actions[i].retain,
		        .from = q->from,
		        .req = q->req};
		const char *address = connect ? refused_by_address(p, q->who) : NULL;
		*ret = address ? json_pack("{s:s, s:s}", "decision", "deny", "by", address)
		               : show(decide(&ask, &why), &why);
		return *ret ? 0 : ERR_NOMEM;
	}
	return ERR_INVALID;
}

/* ---- what a document changes ---- */

#define PROBE_MAX 1024
#define PROBES_MAX 200

struct comparison {
	const struct principal *before, *after;
	json_t *gains, *losses;
	unsigned probes;
};

static void probe(struct comparison *c, size_t action, struct slice text)
{
	struct ask ask = {
	        .action = actions[action].action, .text = text, .retain = actions[action].retain};
	ask.who = c->before;
	bool before = decide(&ask, NULL);
	ask.who = c->after;
	bool after = decide(&ask, NULL);
	if (before == after)
		return;
	json_t *entry = json_pack(
	        "{s:s, s:s%}", "action", actions[action].name, "topic", text.p, text.n);
	const json_t *other;
	size_t i;
	json_t *list = after ? c->gains : c->losses;
	json_array_foreach(list, i, other)
	{
		if (json_equal(entry, other)) {
			json_decref(entry);
			return;
		}
	}
	json_array_append_new(list, entry);
}

/* An example of what the pattern matches for that device: its own values, and "example" for '*'. */
static bool example(const struct glob *g, const struct attached *from, const struct principal *p,
        char out[static PROBE_MAX], size_t *ret_len)
{
	size_t n = 0;
	for (unsigned i = 0; i < g->n; i++) {
		const struct glob_atom *a = &g->atoms[i];
		struct slice t = a->text;
		if (a->kind == GLOB_ONE)
			t = SLICE_LIT("x");
		else if (a->kind != GLOB_TEXT)
			t = SLICE_LIT("example");
		if (a->kind == GLOB_VAR) {
			const struct var *v = &from->doc->vars[a->var];
			if (v->kind == VAR_CLIENT_ID || v->kind == VAR_THING_NAME)
				t = principal_device_id(p);
			else if (v->kind == VAR_ATTRIBUTE)
				t = from->attributes[v->attribute];
		}
		if (t.n > PROBE_MAX - n)
			return false;
		memcpy(out + n, t.n ? (const char *)t.p : "", t.n);
		n += t.n;
	}
	*ret_len = n;
	return n > 0;
}

static unsigned type_of(enum ask_action action)
{
	if (action == ASK_CONNECT)
		return DOC_CLIENT;
	return action == ASK_SUBSCRIBE ? DOC_TOPICFILTER : DOC_TOPIC;
}

static void probe_resource(struct comparison *c, const struct attached *from,
        const struct statement *s, const struct resource *r)
{
	char text[PROBE_MAX];
	size_t n;
	for (size_t a = 0; a < ARRAY_LEN(actions) && c->probes < PROBES_MAX; a++) {
		if (!(s->actions & actions[a].doc_action) ||
		        !(r->types & type_of(actions[a].action)))
			continue;
		c->probes++;
		if (actions[a].action == ASK_CONNECT)
			probe(c, a, principal_client_id(c->before));
		else if (example(&r->glob, from, c->before, text, &n))
			probe(c, a, slice_make(text, n));
	}
}

static void probe_all(struct comparison *c, const struct principal *p)
{
	for (unsigned k = 0; k < PRINCIPAL_PARTS; k++) {
		const struct rights *r = rights_of(p->access[k]);
		for (unsigned i = 0; r && i < r->n_docs; i++) {
			const struct policy_doc *doc = r->docs[i].doc;
			for (unsigned s = 0; s < doc->n_statements; s++)
				for (unsigned m = 0; m < doc->statements[s].n_resources; m++)
					probe_resource(c, &r->docs[i], &doc->statements[s],
					        &doc->statements[s].resources[m]);
		}
	}
}

void policy_compare(const struct principal *before, const struct principal *after, json_t *gains,
        json_t *losses)
{
	struct comparison c = {.before = before, .after = after, .gains = gains, .losses = losses};
	probe_all(&c, after);
	probe_all(&c, before);
}

int policy_check(const json_t *document, json_t *errors, json_t *objections)
{
	struct doc_check check = {.errors = errors};
	struct policy_doc *doc = NULL;
	size_t mark = doc_enter(&check, SLICE_LIT("document"));
	int err = policy_doc_read(document, &check, slice_str(""), &doc);
	doc_leave(&check, mark);
	if (err == 0)
		objections_find(doc, objections);
	policy_doc_free(doc);
	return err;
}
