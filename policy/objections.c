#include "policy/objections.h"

struct search {
	const struct policy_doc *doc;
	json_t *list;
	unsigned n;
};

static void object(struct search *s, unsigned statement, const char *code, const char *detail)
{
	const struct statement *st = &s->doc->statements[statement];
	s->n++;
	if (s->list)
		json_array_append_new(s->list,
		        json_pack("{s:s, s:i, s:s%, s:s}", "code", code, "statement",
		                (int)statement, "sid", st->sid.n ? (const char *)st->sid.p : "",
		                st->sid.n, "detail", detail));
}

/* ---- a level that is '+' or '#' ---- */

static bool has_wildcard_level(const struct glob *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		struct slice t = g->atoms[i].text;
		for (size_t k = 0; g->atoms[i].kind == GLOB_TEXT && k < t.n; k++)
			if ((t.p[k] == '+' || t.p[k] == '#') && (k == 0 || t.p[k - 1] == '/') &&
			        (k + 1 == t.n || t.p[k + 1] == '/'))
				return true;
	}
	return false;
}

static void find_wildcards_in_denials(struct search *s)
{
	for (unsigned i = 0; i < s->doc->n_statements; i++) {
		const struct statement *st = &s->doc->statements[i];
		for (unsigned k = 0; st->deny && k < st->n_resources; k++) {
			if (!(st->resources[k].types & (DOC_TOPIC | DOC_TOPICFILTER)) ||
			        !has_wildcard_level(&st->resources[k].glob))
				continue;
			object(s, i, "mqttWildcardInDeny",
			        "'+' and '#' are no wildcards in a policy: what they are meant to "
			        "refuse "
			        "stays allowed; use '*'");
			break;
		}
	}
}

/* ---- a refused filter inside an allowed pattern ---- */

#define EXAMPLE_MAX 2048

/* A text that the pattern matches. */
static struct slice example(const struct glob *g, char out[static EXAMPLE_MAX])
{
	size_t n = 0;
	for (unsigned i = 0; i < g->n; i++) {
		struct slice t = g->atoms[i].kind == GLOB_TEXT ? g->atoms[i].text : SLICE_LIT("x");
		if (t.n > EXAMPLE_MAX - n)
			break;
		memcpy(out + n, t.p, t.n);
		n += t.n;
	}
	return slice_make(out, n);
}

static bool says(const struct search *s, bool deny, unsigned action, unsigned type,
        struct slice text, bool wild)
{
	const struct glob_values values = {.broad = true};
	for (unsigned i = 0; i < s->doc->n_statements; i++) {
		const struct statement *st = &s->doc->statements[i];
		for (unsigned k = 0;
		        st->deny == deny && (st->actions & action) && k < st->n_resources; k++) {
			const struct glob *g = &st->resources[k].glob;
			bool runs = false;
			for (unsigned a = 0; a < g->n; a++)
				runs |= g->atoms[a].kind == GLOB_RUN;
			if ((st->resources[k].types & type) && (runs || !wild) &&
			        glob_match(g, text, &values))
				return true;
		}
	}
	return false;
}

static bool slips_through(const struct search *s, const struct statement *st)
{
	char text[EXAMPLE_MAX];
	for (unsigned k = 0; k < st->n_resources; k++) {
		if (!(st->resources[k].types & DOC_TOPICFILTER))
			continue;
		struct slice one = example(&st->resources[k].glob, text);
		if (says(s, false, DOC_SUBSCRIBE, DOC_TOPICFILTER, one, true) &&
		        !says(s, true, DOC_RECEIVE, DOC_TOPIC, one, false))
			return true;
	}
	return false;
}

static void find_denied_filters(struct search *s)
{
	for (unsigned i = 0; i < s->doc->n_statements; i++) {
		const struct statement *st = &s->doc->statements[i];
		if (st->deny && (st->actions & DOC_SUBSCRIBE) && slips_through(s, st))
			object(s, i, "deniedFilterAllowedByWildcard",
			        "an allowed pattern takes in what is refused here, and a wider "
			        "filter "
			        "reaches it elsewhere: refuse iot:Receive of those topics as well");
	}
}

/* ---- more than one's own ---- */

/* Topics of somebody else, whatever the variables stand for. */
static bool reaches_others(const struct glob *g)
{
	static const char *const others[] = {"devices/~/messages/events/", "devices/~/x",
	        "$aws/things/~/shadow/update", "~/x/~"};
	const struct glob_values none = {0};
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (glob_match(g, slice_str(others[i]), &none))
			return true;
	return false;
}

static void find_permissive(struct search *s)
{
	const unsigned data = DOC_PUBLISH | DOC_SUBSCRIBE | DOC_RECEIVE | DOC_RETAIN_PUBLISH;
	for (unsigned i = 0; i < s->doc->n_statements; i++) {
		const struct statement *st = &s->doc->statements[i];
		bool wide = false;
		for (unsigned k = 0; k < st->n_resources; k++)
			wide |= (st->resources[k].types & (DOC_TOPIC | DOC_TOPICFILTER)) &&
			        reaches_others(&st->resources[k].glob);
		if (!st->deny && (st->actions & data) && st->n_conditions == 0 && wide)
			object(s, i, "overlyPermissive",
			        "it opens the topics of every device to whoever has it, under no "
			        "condition");
	}
}

unsigned objections_find(const struct policy_doc *doc, json_t *list)
{
	struct search s = {.doc = doc, .list = list};
	find_wildcards_in_denials(&s);
	find_denied_filters(&s);
	find_permissive(&s);
	return s.n;
}
