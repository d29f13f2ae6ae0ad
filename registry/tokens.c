/* Bearer tokens of people and programs as administrators see them. Worker threads. */
#include "registry/access_key_doc.h"
#include "registry/private.h"
#include "server/base/clock.h"
#include "server/base/err.h"

#define SECRET_BYTES 32
#define PREFIX "hf_"
/* Base64 without padding, for URLs (RFC 4648 section 5). */
#define SECRET_TEXT_MAX (sizeof(PREFIX) + 4 * ((SECRET_BYTES + 2) / 3))

/* ---- reading ---- */

static void read_name(struct doc_check *c, const json_t *value, struct token_record *ret)
{
	struct slice name = slice_make(json_string_value(value), json_string_length(value));
	if (!json_is_string(value) || !access_key_name_valid(name))
		doc_error(c, "must be 1 to 64 of A-Z a-z 0-9 - . _ and neither \".\" nor \"..\"");
	else
		memcpy(ret->name, name.p, name.n);
}

static void read_role(struct doc_check *c, const json_t *value, struct token_record *ret)
{
	struct slice name = slice_make(json_string_value(value), json_string_length(value));
	const struct role *role = role_by_name(name);
	if (role)
		snprintf(ret->role, sizeof(ret->role), "%s", role->name);
	else
		doc_error(c,
		        "must be \"owner\", \"security-admin\", \"operator\", \"provisioner\", "
		        "\"analyst\" or \"auditor\"");
}

static void read_expires(struct doc_check *c, const json_t *value, struct token_record *ret)
{
	int64_t us;
	if (json_is_null(value))
		return;
	if (!json_is_string(value) ||
	        clock_parse_rfc3339(json_string_value(value), json_string_length(value), &us) < 0)
		doc_error(c, "must be a time as in RFC 3339");
	else if (us <= clock_wall_us())
		doc_error(c, "must be in the future");
	else
		ret->expires_at = us / 1000000;
}

static void read_cidrs(struct doc_check *c, const json_t *value, struct token_record *ret)
{
	if (!json_is_array(value) || json_array_size(value) > TOKEN_CIDRS_MAX) {
		doc_error(c, "must be an array of at most 16 networks");
		return;
	}
	for (size_t i = 0; i < json_array_size(value); i++) {
		const char *text = json_string_value(json_array_get(value, i));
		size_t mark = doc_enter_index(c, i);
		if (!text || cidr_parse(text, &ret->cidrs[ret->n_cidrs++]) < 0)
			doc_error(c,
			        "must be a network such as \"10.0.0.0/8\", without bits behind "
			        "its prefix");
		doc_leave(c, mark);
	}
}

static const struct {
	const char *name;
	void (*read)(struct doc_check *c, const json_t *value, struct token_record *ret);
	bool required;
} members[] = {
        {"name", read_name, true},
        {"role", read_role, true},
        {"expiresAt", read_expires, false},
        {"cidrs", read_cidrs, false},
};

static void read_member(
        struct doc_check *c, const char *name, const json_t *value, struct token_record *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i].name) == 0) {
			members[i].read(c, value, ret);
			return;
		}
	doc_error(c, "unknown member");
}

static int read_doc(const json_t *doc, json_t *errors, struct token_record *ret)
{
	struct doc_check c = {.errors = errors};
	const char *name;
	json_t *value;
	*ret = (struct token_record){0};
	if (!json_is_object(doc)) {
		doc_error(&c, "must be an object");
		return ERR_INVALID;
	}
	json_object_foreach((json_t *)doc, name, value)
	{
		size_t mark = doc_enter(&c, slice_str(name));
		read_member(&c, name, value, ret);
		doc_leave(&c, mark);
	}
	for (unsigned i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].required && !json_object_get(doc, members[i].name))
			doc_member_error(&c, members[i].name, "is required");
	return c.failed ? ERR_INVALID : 0;
}

/* ---- showing ---- */

static json_t *time_json(int64_t us)
{
	char text[CLOCK_RFC3339_LEN];
	return us ? json_string(clock_rfc3339(us, text)) : json_null();
}

static json_t *cidrs_json(const struct token_record *r)
{
	_cleanup_json_ json_t *list = json_array();
	char text[CIDR_TEXT_LEN];
	if (!list)
		return NULL;
	for (unsigned i = 0; i < r->n_cidrs; i++)
		if (json_array_append_new(list, json_string(cidr_text(&r->cidrs[i], text))) < 0)
			return NULL;
	return TAKE_PTR(list);
}

/* secret: just made, to be shown once; or NULL. */
static json_t *render(const struct token_record *r, const char *secret)
{
	_cleanup_json_ json_t *doc = json_pack("{s:s, s:s, s:o, s:o, s:s, s:o}", "name", r->name,
	        "role", r->role, "expiresAt", time_json(r->expires_at * 1000000), "cidrs",
	        cidrs_json(r), "createdBy", r->created_by, "createdTime", time_json(r->created_us));
	if (!doc || (secret && json_object_set_new(doc, "token", json_string(secret)) < 0))
		return NULL;
	return TAKE_PTR(doc);
}

/* ---- making, reading, revoking ---- */

static void make_secret(char out[static SECRET_TEXT_MAX])
{
	uint8_t bytes[SECRET_BYTES];
	crypto_random(bytes, sizeof(bytes));
	memcpy(out, PREFIX, sizeof(PREFIX) - 1);
	crypto_base64_encode(slice_make(bytes, sizeof(bytes)), out + sizeof(PREFIX) - 1);
	crypto_wipe(bytes, sizeof(bytes));
	for (char *c = out; *c; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? '\0' : *c;
}

int registry_token_create(struct registry *r, const json_t *doc, struct slice created_by,
        json_t *errors, json_t **ret)
{
	struct token_record rec;
	char secret[SECRET_TEXT_MAX];
	int err = read_doc(doc, errors, &rec);
	if (err < 0)
		return err;
	snprintf(rec.created_by, sizeof(rec.created_by), "%.*s", SLICE_ARG(created_by));
	make_secret(secret);
	r->store.mac(r->store.ctx, "token", slice_str(secret), rec.mac);
	err = r->store.token_insert(r->store.ctx, &rec);
	json_t *shown = err == 0 ? render(&rec, secret) : NULL;
	crypto_wipe(secret, sizeof(secret));
	if (err < 0)
		return err;
	if (!shown)
		return ERR_NOMEM;
	*ret = shown;
	return 0;
}

static bool name_text(struct slice name, char ret[static KEY_NAME_MAX + 1])
{
	if (!access_key_name_valid(name))
		return false;
	memcpy(ret, name.p, name.n);
	ret[name.n] = '\0';
	return true;
}

int registry_token_get(struct registry *r, struct slice name, json_t **ret)
{
	struct token_record rec;
	char text[KEY_NAME_MAX + 1];
	if (!name_text(name, text))
		return ERR_NOT_FOUND;
	int err = r->store.token_get(r->store.ctx, text, &rec);
	if (err < 0)
		return err;
	json_t *doc = render(&rec, NULL);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

int registry_token_list(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static KEY_NAME_MAX + 1])
{
	_cleanup_free_ struct token_record *list = NULL;
	unsigned n = 0;
	int err = r->store.token_list(
	        r->store.ctx, after && after[0] ? after : NULL, limit + 1, &list, &n);
	if (err < 0)
		return err;
	_cleanup_json_ json_t *items = json_array();
	unsigned shown = n > limit ? limit : n;
	if (!items)
		return ERR_NOMEM;
	for (unsigned i = 0; i < shown; i++)
		if (json_array_append_new(items, render(&list[i], NULL)) < 0)
			return ERR_NOMEM;
	snprintf(ret_next, KEY_NAME_MAX + 1, "%s",
	        n > limit && shown > 0 ? list[shown - 1].name : "");
	*ret = TAKE_PTR(items);
	return 0;
}

int registry_token_delete(struct registry *r, struct slice name)
{
	char text[KEY_NAME_MAX + 1];
	return name_text(name, text) ? r->store.token_delete(r->store.ctx, text) : ERR_NOT_FOUND;
}
