#include "registry/key_scope.h"

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/utf8.h"

static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

/* ---- reading a document ---- */

static const char *group_error(struct slice text)
{
	bool fits = text.n >= 1 && text.n <= DOCUMENT_NAME_MAX && utf8_valid(text);
	return fits ? NULL : "must be the name of a group, 1 to 128 bytes";
}

static const char *device_error(struct slice text)
{
	return device_id_valid(text) ? NULL : "must be a device id";
}

/* MQTT 5.0 section 4.7: '#' is a level of its own and the last one, '+' a level of its own. */
static const char *filter_error(struct slice text)
{
	if (text.n < 1 || text.n > SCOPE_FILTER_MAX || !utf8_valid(text))
		return "must be a topic filter of 1 to 1024 bytes";
	for (size_t i = 0; i < text.n; i++) {
		bool starts = i == 0 || text.p[i - 1] == '/';
		bool ends = i + 1 == text.n || text.p[i + 1] == '/';
		if (text.p[i] == '\0')
			return "holds the character 0";
		if (text.p[i] == '+' && !(starts && ends))
			return "a '+' must be a level of its own";
		if (text.p[i] == '#' && !(starts && i + 1 == text.n))
			return "a '#' must be the last level";
	}
	return NULL;
}

static const char *cidr_error(struct slice text)
{
	char copy[CIDR_TEXT_LEN];
	struct cidr net;
	if (text.n < sizeof(copy)) {
		snprintf(copy, sizeof(copy), "%.*s", SLICE_ARG(text));
		if (strlen(copy) == text.n && cidr_parse(copy, &net) == 0)
			return NULL;
	}
	return "must be a network such as \"10.0.0.0/8\", without bits behind its prefix";
}

static void check_array(struct doc_check *c, const json_t *value, size_t max,
        const char *(*wrong)(struct slice text))
{
	/* Whoever takes the last one out of a list does not mean "all": that has to be said. */
	if (!json_is_array(value) || json_array_size(value) == 0 || json_array_size(value) > max) {
		doc_error(c,
		        "must be an array that is neither empty nor too long; leave it out "
		        "where it narrows nothing");
		return;
	}
	for (size_t i = 0; i < json_array_size(value); i++) {
		const json_t *item = json_array_get(value, i);
		const char *why = json_is_string(item) ? wrong(text_of(item)) : "must be a string";
		size_t mark = doc_enter_index(c, i);
		if (why)
			doc_error(c, why);
		doc_leave(c, mark);
	}
}

static void check_groups(struct doc_check *c, const json_t *value)
{
	check_array(c, value, SCOPE_NAMES_MAX, group_error);
}

static void check_devices(struct doc_check *c, const json_t *value)
{
	check_array(c, value, SCOPE_NAMES_MAX, device_error);
}

static void check_filters(struct doc_check *c, const json_t *value)
{
	check_array(c, value, SCOPE_NAMES_MAX, filter_error);
}

static void check_cidrs(struct doc_check *c, const json_t *value)
{
	check_array(c, value, SCOPE_CIDRS_MAX, cidr_error);
}

static void check_access(struct doc_check *c, const json_t *value)
{
	struct slice text = text_of(value);
	if (!slice_eq_str(text, "r") && !slice_eq_str(text, "w") && !slice_eq_str(text, "rw"))
		doc_error(c, "must be \"r\", \"w\" or \"rw\"");
}

/* 0 for what is no time. */
static int64_t time_of(const json_t *value)
{
	int64_t us = 0;
	if (!json_is_string(value) ||
	        clock_parse_rfc3339(json_string_value(value), json_string_length(value), &us) < 0)
		return 0;
	return us / 1000000;
}

static void check_time(struct doc_check *c, const json_t *value)
{
	if (time_of(value) <= 0)
		doc_error(c, "must be a time as in RFC 3339");
}

static const struct {
	const char *name;
	void (*check)(struct doc_check *c, const json_t *value);
} members[] = {
        {"groups", check_groups},
        {"devices", check_devices},
        {"topicFilters", check_filters},
        {"access", check_access},
        {"cidrs", check_cidrs},
        {"notBefore", check_time},
        {"notAfter", check_time},
};

static void check_member(struct doc_check *c, const char *name, const json_t *value)
{
	for (unsigned i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i].name) == 0) {
			members[i].check(c, value);
			return;
		}
	doc_error(c, "unknown member");
}

void key_scope_read(struct doc_check *c, const json_t *value, char **ret_text)
{
	const char *name;
	json_t *member;
	*ret_text = NULL;
	if (!json_is_object(value)) {
		doc_error(c, "must be an object");
		return;
	}
	json_object_foreach((json_t *)value, name, member)
	{
		size_t mark = doc_enter(c, slice_str(name));
		check_member(c, name, member);
		doc_leave(c, mark);
	}
	int64_t from = time_of(json_object_get(value, "notBefore"));
	int64_t to = time_of(json_object_get(value, "notAfter"));
	if (from && to && from >= to)
		doc_member_error(c, "notAfter", "must be later than notBefore");
	if (c->failed || json_object_size(value) == 0)
		return;
	*ret_text = json_dumps(value, JSON_COMPACT);
	if (!*ret_text || strlen(*ret_text) > SCOPE_TEXT_MAX)
		doc_error(c, "is too long: at most 16384 bytes");
}

/* ---- what was stored ---- */

static void scope_free(struct proof *p)
{
	struct key_scope *s = container_of(p, struct key_scope, proof);
	json_decref(s->doc);
	free(s);
}

static bool parse(struct key_scope *s, struct slice text)
{
	s->doc = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(s->doc))
		return false;
	const json_t *from = json_object_get(s->doc, "notBefore");
	const json_t *to = json_object_get(s->doc, "notAfter");
	const json_t *cidrs = json_object_get(s->doc, "cidrs");
	s->not_before = time_of(from);
	s->not_after = time_of(to);
	if ((from && !s->not_before) || (to && !s->not_after))
		return false;
	for (size_t i = 0; i < json_array_size(cidrs); i++) {
		const char *net = json_string_value(json_array_get(cidrs, i));
		if (s->n_cidrs == SCOPE_CIDRS_MAX || !net ||
		        cidr_parse(net, &s->cidrs[s->n_cidrs++]) < 0)
			return false;
	}
	return true;
}

struct key_scope *key_scope_parse(struct slice text)
{
	struct key_scope *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	atomic_init(&s->proof.refs, 1);
	s->proof.free = scope_free;
	if (parse(s, text))
		return s;
	scope_free(&s->proof);
	return NULL;
}

bool key_scope_in_force(const struct key_scope *s, int64_t now_s, const char *peer)
{
	struct ip_addr source;
	if ((s->not_before && now_s < s->not_before) || (s->not_after && now_s >= s->not_after))
		return false;
	if (s->n_cidrs == 0)
		return true;
	if (ip_parse_peer(peer, &source) < 0)
		return false;
	for (unsigned i = 0; i < s->n_cidrs; i++)
		if (cidr_has(&s->cidrs[i], source.v6, source.bytes))
			return true;
	return false;
}

const json_t *registry_scope(const struct principal *p)
{
	if (p->kind != PRINCIPAL_KEY || p->method != AUTH_METHOD_ACCESS_KEY || !p->proof)
		return NULL;
	return ((const struct key_scope *)p->proof)->doc;
}
