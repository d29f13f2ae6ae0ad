#include "registry/access_key_doc.h"

#include "registry/key_scope.h"
#include "registry/sym_key.h"
#include "server/base/clock.h"
#include "server/base/err.h"

static const struct {
	uint32_t perm;
	const char *name;
} permissions[] = {
        {PERM_REGISTRY_READ, "RegistryRead"},
        {PERM_REGISTRY_WRITE, "RegistryWrite"},
        {PERM_SERVICE_CONNECT, "ServiceConnect"},
        {PERM_DEVICE_CONNECT, "DeviceConnect"},
};

bool access_key_name_valid(struct slice name)
{
	if (name.n < 1 || name.n > KEY_NAME_MAX || slice_eq_str(name, ".") ||
	        slice_eq_str(name, ".."))
		return false;
	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];
		bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		        (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
		if (!ok)
			return false;
	}
	return true;
}

/* ---- reading ---- */

static void read_name(struct doc_check *c, const json_t *value, struct access_key_doc *ret)
{
	struct slice name = slice_make(json_string_value(value), json_string_length(value));
	if (!json_is_string(value))
		doc_error(c, "must be a string");
	else if (!access_key_name_valid(name))
		doc_error(c, "must be 1 to 64 of A-Z a-z 0-9 - . _ and neither \".\" nor \"..\"");
	else if (ret->name[0] && !slice_eq_str(name, ret->name))
		doc_error(c, "is not the key of the path");
	else
		memcpy(ret->name, name.p, name.n);
}

static uint32_t permission_of(const json_t *value)
{
	struct slice name = slice_make(json_string_value(value), json_string_length(value));
	for (unsigned i = 0; i < ARRAY_LEN(permissions); i++)
		if (slice_eq_str(name, permissions[i].name))
			return permissions[i].perm;
	return 0;
}

static void read_permissions(struct doc_check *c, const json_t *value, struct access_key_doc *ret)
{
	if (!json_is_array(value) || json_array_size(value) == 0) {
		doc_error(c, "must be an array of at least one permission");
		return;
	}
	for (size_t i = 0; i < json_array_size(value); i++) {
		uint32_t perm = permission_of(json_array_get(value, i));
		size_t mark = doc_enter_index(c, i);
		if (!perm)
			doc_error(c,
			        "must be \"RegistryRead\", \"RegistryWrite\", "
			        "\"ServiceConnect\" or \"DeviceConnect\"");
		else if (ret->perms & perm)
			doc_error(c, "is there twice");
		ret->perms |= perm;
		doc_leave(c, mark);
	}
}

static void read_primary(struct doc_check *c, const json_t *value, struct access_key_doc *ret)
{
	sym_key_read(c, value, &ret->primary);
}

static void read_secondary(struct doc_check *c, const json_t *value, struct access_key_doc *ret)
{
	sym_key_read(c, value, &ret->secondary);
}

static void read_scope(struct doc_check *c, const json_t *value, struct access_key_doc *ret)
{
	ret->has_scope = true;
	free(ret->scope);
	key_scope_read(c, value, &ret->scope);
}

static const struct {
	const char *name;
	void (*read)(struct doc_check *c, const json_t *value, struct access_key_doc *ret);
} members[] = {
        {"name", read_name},
        {"permissions", read_permissions},
        {"primaryKey", read_primary},
        {"secondaryKey", read_secondary},
        {"scope", read_scope},
        /* read-only */
        {"etag", NULL},
        {"createdTime", NULL},
};

static void read_member(
        struct doc_check *c, const char *name, const json_t *value, struct access_key_doc *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i].name) == 0) {
			if (members[i].read)
				members[i].read(c, value, ret);
			return;
		}
	doc_error(c, "unknown member");
}

int access_key_doc_read(
        const json_t *doc, struct slice name, json_t *errors, struct access_key_doc *ret)
{
	struct doc_check c = {.errors = errors};
	*ret = (struct access_key_doc){0};
	if (!json_is_object(doc)) {
		doc_error(&c, "must be an object");
		return ERR_INVALID;
	}
	if (access_key_name_valid(name))
		memcpy(ret->name, name.p, name.n);
	else if (name.p)
		doc_member_error(&c, "name", "the path names no possible key");
	const char *member;
	json_t *value;
	json_object_foreach((json_t *)doc, member, value)
	{
		size_t mark = doc_enter(&c, slice_str(member));
		read_member(&c, member, value, ret);
		doc_leave(&c, mark);
	}
	if (!name.p && !json_object_get(doc, "name"))
		doc_member_error(&c, "name", "is required");
	if (!json_object_get(doc, "permissions"))
		doc_member_error(&c, "permissions", "is required");
	return c.failed ? ERR_INVALID : 0;
}

void access_key_doc_done(struct access_key_doc *d)
{
	free(d->scope);
	crypto_wipe(d, sizeof(*d));
}

/* ---- showing ---- */

static json_t *permissions_json(uint32_t perms)
{
	_cleanup_json_ json_t *list = json_array();
	if (!list)
		return NULL;
	for (unsigned i = 0; i < ARRAY_LEN(permissions); i++)
		if ((perms & permissions[i].perm) &&
		        json_array_append_new(list, json_string(permissions[i].name)) < 0)
			return NULL;
	return TAKE_PTR(list);
}

static json_t *scope_json(const struct access_key_record *r)
{
	return r->scope ? json_loads(r->scope, 0, NULL) : json_object();
}

static int add_keys(json_t *doc, const struct access_key_record *r)
{
	char text[SYM_KEY_TEXT_MAX];
	int err = json_object_set_new(
	        doc, "primaryKey", json_string(sym_key_text(&r->primary, text)));
	err |= json_object_set_new(
	        doc, "secondaryKey", json_string(sym_key_text(&r->secondary, text)));
	crypto_wipe(text, sizeof(text));
	return err;
}

json_t *access_key_doc_render(const struct access_key_record *r, bool keys)
{
	char created[CLOCK_RFC3339_LEN];
	if (r->altered)
		return json_pack("{s:s, s:s}", "name", r->name, "error", "integrity check failed");
	_cleanup_json_ json_t *doc = json_pack("{s:s, s:o, s:o, s:s, s:s}", "name", r->name,
	        "permissions", permissions_json(r->perms), "scope", scope_json(r), "etag", r->etag,
	        "createdTime", clock_rfc3339(r->created_us, created));
	if (!doc || (keys && add_keys(doc, r) < 0))
		return NULL;
	return TAKE_PTR(doc);
}
