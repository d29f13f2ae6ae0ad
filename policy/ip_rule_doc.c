/* The document of an IP rule. */
#include <string.h>

#include "policy/ip_rules.h"
#include "server/base/clock.h"
#include "server/base/device_id.h"
#include "server/base/err.h"

#define PRIORITY_DEFAULT 1000
#define PRIORITY_MAX 1000000
#define COMMENT_MAX 256

struct reading {
	struct ip_rule *rule;
	char group[DOCUMENT_NAME_MAX + 1], device[DEVICE_ID_MAX + 1], comment[COMMENT_MAX + 1];
};

static void read_id(struct doc_check *c, const json_t *value, struct reading *r)
{
	struct slice id = slice_make(json_string_value(value), json_string_length(value));
	if (!json_is_string(value) || !ip_doc_id_valid(id))
		doc_error(c,
		        "must be 1 to 64 of A-Z a-z 0-9 - . _ and none of \".\", \"..\", "
		        "\"dry-run\"");
	else if (r->rule->id[0] && !slice_eq_str(id, r->rule->id))
		doc_error(c, "is not the rule of the path");
	else
		ip_doc_id_text(id, r->rule->id);
}

static void read_action(struct doc_check *c, const json_t *value, struct reading *r)
{
	const char *text = json_string_value(value);
	if (!text || (strcmp(text, "allow") != 0 && strcmp(text, "deny") != 0))
		doc_error(c, "must be \"allow\" or \"deny\"");
	else
		r->rule->allow = strcmp(text, "allow") == 0;
}

static void read_cidr(struct doc_check *c, const json_t *value, struct reading *r)
{
	ip_doc_read_cidr(c, value, &r->rule->net);
}

static const struct {
	const char *name;
	enum ip_scope scope;
} scopes[] = {{"hub", SCOPE_HUB}, {"group", SCOPE_GROUP}, {"device", SCOPE_DEVICE}};

static const char *scope_name(enum ip_scope scope)
{
	for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
		if (scopes[i].scope == scope)
			return scopes[i].name;
	return "";
}

static void read_scope(struct doc_check *c, const json_t *value, struct reading *r)
{
	const char *text = json_string_value(value);
	for (size_t i = 0; text && i < ARRAY_LEN(scopes); i++)
		if (strcmp(text, scopes[i].name) == 0) {
			r->rule->scope = scopes[i].scope;
			return;
		}
	doc_error(c, "must be \"hub\", \"group\" or \"device\"");
}

static void read_group(struct doc_check *c, const json_t *value, struct reading *r)
{
	ip_doc_read_text(c, value, r->group, DOCUMENT_NAME_MAX);
}

static void read_device(struct doc_check *c, const json_t *value, struct reading *r)
{
	struct slice id = slice_make(json_string_value(value), json_string_length(value));
	if (!json_is_string(value) || !device_id_valid(id))
		doc_error(c, "must be a device id");
	else
		ip_doc_read_text(c, value, r->device, DEVICE_ID_MAX);
}

static void read_priority(struct doc_check *c, const json_t *value, struct reading *r)
{
	json_int_t v = json_integer_value(value);
	if (!json_is_integer(value) || v < 0 || v > PRIORITY_MAX)
		doc_error(c, "must be an integer from 0 to 1000000");
	else
		r->rule->priority = (unsigned)v;
}

static void read_expiry(struct doc_check *c, const json_t *value, struct reading *r)
{
	ip_doc_read_expiry(c, value, &r->rule->expires_us);
}

static void read_comment(struct doc_check *c, const json_t *value, struct reading *r)
{
	ip_doc_read_text(c, value, r->comment, COMMENT_MAX);
}

static const struct {
	const char *name;
	void (*read)(struct doc_check *c, const json_t *value, struct reading *r);
} members[] = {
        {"id", read_id},
        {"action", read_action},
        {"cidr", read_cidr},
        {"scope", read_scope},
        {"group", read_group},
        {"deviceId", read_device},
        {"priority", read_priority},
        {"expiresAt", read_expiry},
        {"comment", read_comment},
        /* read-only */
        {"etag", NULL},
        {"createdTime", NULL},
        {"updatedTime", NULL},
};

static void read_member(
        struct doc_check *c, const char *name, const json_t *value, struct reading *r)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i].name) == 0) {
			if (members[i].read)
				members[i].read(c, value, r);
			return;
		}
	doc_error(c, "unknown member");
}

/* The scope's own member is there, and no other scope's. */
static void check_scope(struct doc_check *c, const json_t *doc, const struct reading *r)
{
	const struct {
		enum ip_scope scope;
		const char *member;
	} own[] = {{SCOPE_GROUP, "group"}, {SCOPE_DEVICE, "deviceId"}};
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		bool given = json_object_get(doc, own[i].member) != NULL;
		if (given && r->rule->scope != own[i].scope)
			doc_member_error(c, own[i].member, "does not belong to this scope");
		else if (!given && r->rule->scope == own[i].scope)
			doc_member_error(c, own[i].member, "is required in this scope");
	}
}

static void check_required(struct doc_check *c, const json_t *doc)
{
	static const char *const required[] = {"action", "cidr"};
	for (size_t i = 0; i < ARRAY_LEN(required); i++)
		if (!json_object_get(doc, required[i]))
			doc_member_error(c, required[i], "is required");
}

static json_t *body_of(const struct reading *r)
{
	const struct ip_rule *rule = r->rule;
	char net[CIDR_TEXT_LEN], expires[CLOCK_RFC3339_LEN];
	json_t *body = json_pack("{s:s, s:s, s:s, s:i}", "action", rule->allow ? "allow" : "deny",
	        "cidr", cidr_text(&rule->net, net), "scope", scope_name(rule->scope), "priority",
	        (int)rule->priority);
	if (r->group[0])
		json_object_set_new(body, "group", json_string(r->group));
	if (r->device[0])
		json_object_set_new(body, "deviceId", json_string(r->device));
	if (rule->expires_us)
		json_object_set_new(
		        body, "expiresAt", json_string(clock_rfc3339(rule->expires_us, expires)));
	if (r->comment[0])
		json_object_set_new(body, "comment", json_string(r->comment));
	return body;
}

int ip_rule_read(struct doc_check *c, const json_t *doc, struct slice id, struct ip_rule *ret,
        json_t **ret_body)
{
	struct reading r = {.rule = ret};
	bool failed = c->failed;
	const char *member;
	json_t *value;
	*ret = (struct ip_rule){.scope = SCOPE_HUB, .priority = PRIORITY_DEFAULT};
	c->failed = false;
	if (!json_is_object(doc)) {
		doc_error(c, "must be an object");
		return ERR_INVALID;
	}
	if (id.p && !ip_doc_id_text(id, ret->id))
		doc_member_error(c, "id", "the path names no possible rule");
	json_object_foreach((json_t *)doc, member, value)
	{
		size_t mark = doc_enter(c, slice_str(member));
		read_member(c, member, value, &r);
		doc_leave(c, mark);
	}
	check_required(c, doc);
	check_scope(c, doc, &r);
	memcpy(ret->name, r.group[0] ? r.group : r.device, sizeof(ret->name));
	int err = c->failed ? ERR_INVALID : 0;
	c->failed = c->failed || failed;
	if (err == 0 && ret_body) {
		*ret_body = body_of(&r);
		err = *ret_body ? 0 : ERR_NOMEM;
	}
	return err;
}
