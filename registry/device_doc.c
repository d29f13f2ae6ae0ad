#include "registry/device_doc.h"

#include "registry/auth/sas.h"
#include "registry/jwt_keys.h"
#include "registry/sym_key.h"
#include "registry/tags.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/* ---- reading ---- */

/* Empty for what is no string. A NUL inside counts as any other byte. */
static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

/* known: as the path has it; "": the path does not say. */
static void read_name(
        struct doc_check *c, const json_t *value, char known[static DEVICE_ID_MAX + 1])
{
	if (!json_is_string(value)) {
		doc_error(c, "must be a string");
		return;
	}
	struct slice id = text_of(value);
	if (!device_id_valid(id))
		doc_error(c,
		        "must be 1 to 128 of A-Z a-z 0-9 - : . _ % * ? ! ( ) , = @ $ ' and "
		        "neither \".\" nor \"..\"");
	else if (known[0] && !slice_eq_str(id, known))
		doc_error(c, "is not the one of the path");
	else
		memcpy(known, id.p, id.n);
}

static void read_id(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	read_name(c, value, ret->device_id);
}

static void read_module_id(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	if (ret->is_module)
		read_name(c, value, ret->module_id);
	else
		doc_error(c, "unknown member");
}

static void read_status(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	struct slice text = text_of(value);
	if (slice_eq_str(text, "enabled"))
		ret->enabled = true;
	else if (slice_eq_str(text, "disabled"))
		ret->enabled = false;
	else
		doc_error(c, "must be \"enabled\" or \"disabled\"");
}

static void read_status_reason(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	if (json_is_null(value))
		return;
	struct slice text = text_of(value);
	bool fits = json_is_string(value) && text.n <= STATUS_REASON_MAX;
	for (size_t i = 0; fits && i < text.n; i++)
		fits = text.p[i] >= ' ' && text.p[i] != 0x7f;
	if (fits)
		memcpy(ret->status_reason, text.p, text.n);
	else
		doc_error(c, "must be a string of at most 128 bytes without control characters");
}

static void read_tags(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	ret->tags = tags_read(c, value);
}

/* ---- auth ---- */

static bool read_auth_type(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	if (!value) {
		doc_member_error(c, "type", "is required");
		return false;
	}
	struct slice text = text_of(value);
	for (enum device_auth i = DEVICE_AUTH_SAS; i <= DEVICE_AUTH_JWT; i++)
		if (slice_eq_str(text, device_auth_name(i))) {
			ret->auth = i;
			return true;
		}
	doc_member_error(c, "type",
	        "must be \"sas\", \"secret\", \"x509Thumbprint\", \"x509Ca\" or \"jwt\"");
	return false;
}

static void read_primary(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	sym_key_read(c, value, &ret->primary);
}

static void read_secondary(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	sym_key_read(c, value, &ret->secondary);
}

/* A secret that looks like a token would be taken for one. */
static void read_secret(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	struct slice text = text_of(value);
	if (!json_is_string(value) || text.n < SECRET_MIN || text.n > SECRET_MAX) {
		doc_error(c, "must be a string of 16 to 256 bytes");
	} else if (sas_is(text) || jws_is(text)) {
		doc_error(c, "must not look like a token");
	} else {
		memcpy(ret->secret, text.p, text.n);
		ret->secret_len = text.n;
	}
}

static void read_primary_thumbprint(
        struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	if (!json_is_null(value))
		thumbprint_read(c, value, ret->thumbprints[0]);
}

static void read_secondary_thumbprint(
        struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	if (!json_is_null(value))
		thumbprint_read(c, value, ret->thumbprints[1]);
}

static void read_jwt_keys(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	jwt_keys_read(c, value, &ret->jwt_keys);
}

struct member {
	const char *name;
	void (*read)(struct doc_check *c, const json_t *value, struct device_doc *ret);
	enum device_auth auth; /* of members of auth: whose they are */
};

static const struct member auth_members[] = {
        {"primaryKey", read_primary, DEVICE_AUTH_SAS},
        {"secondaryKey", read_secondary, DEVICE_AUTH_SAS},
        {"secret", read_secret, DEVICE_AUTH_SECRET},
        {"primaryThumbprint", read_primary_thumbprint, DEVICE_AUTH_X509_THUMBPRINT},
        {"secondaryThumbprint", read_secondary_thumbprint, DEVICE_AUTH_X509_THUMBPRINT},
        {"warnings", NULL, DEVICE_AUTH_X509_THUMBPRINT}, /* read-only */
        {"keys", read_jwt_keys, DEVICE_AUTH_JWT},
};

static void read_auth_member(
        struct doc_check *c, const char *name, const json_t *value, struct device_doc *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(auth_members); i++) {
		if (strcmp(name, auth_members[i].name) != 0)
			continue;
		if (auth_members[i].auth != ret->auth)
			doc_error(c, "does not belong to this type");
		else if (auth_members[i].read)
			auth_members[i].read(c, value, ret);
		return;
	}
	doc_error(c, "unknown member");
}

static void read_auth(struct doc_check *c, const json_t *value, struct device_doc *ret)
{
	if (!json_is_object(value)) {
		doc_error(c, "must be an object");
		return;
	}
	ret->has_auth = true;
	if (!read_auth_type(c, json_object_get(value, "type"), ret))
		return;
	const char *name;
	json_t *member;
	json_object_foreach((json_t *)value, name, member)
	{
		size_t mark = doc_enter(c, slice_str(name));
		if (strcmp(name, "type") != 0)
			read_auth_member(c, name, member, ret);
		doc_leave(c, mark);
	}
	if (ret->auth == DEVICE_AUTH_X509_THUMBPRINT && !ret->thumbprints[0][0] &&
	        !ret->thumbprints[1][0] && !c->failed)
		doc_member_error(c, "primaryThumbprint", "is required, or secondaryThumbprint");
	if (ret->auth == DEVICE_AUTH_JWT && !ret->jwt_keys && !c->failed)
		doc_member_error(c, "keys", "is required");
}

/* ---- the whole ---- */

static const struct member members[] = {
        {"deviceId", read_id, 0},
        {"moduleId", read_module_id, 0},
        {"status", read_status, 0},
        {"statusReason", read_status_reason, 0},
        {"auth", read_auth, 0},
        {"tags", read_tags, 0},
        /* read-only */
        {"generationId", NULL, 0},
        {"etag", NULL, 0},
        {"createdTime", NULL, 0},
        {"connectionState", NULL, 0},
        {"connectionStateUpdatedTime", NULL, 0},
        {"lastActivityTime", NULL, 0},
        {"connectionString", NULL, 0},
};

static void read_member(
        struct doc_check *c, const char *name, const json_t *value, struct device_doc *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i].name) == 0) {
			if (members[i].read)
				members[i].read(c, value, ret);
			return;
		}
	doc_error(c, "unknown member");
}

/* A name as the path has it. */
static void take_name(struct doc_check *c, const char *member, struct slice name,
        char out[static DEVICE_ID_MAX + 1])
{
	if (device_id_valid(name))
		memcpy(out, name.p, name.n);
	else if (name.p)
		doc_member_error(c, member, "the path names no possible one");
}

static void require(struct doc_check *c, const json_t *doc, const char *member, struct slice name)
{
	if (!name.p && !json_object_get(doc, member))
		doc_member_error(c, member, "is required");
}

int device_doc_read(
        const json_t *doc, struct doc_owner owner, json_t *errors, struct device_doc *ret)
{
	struct doc_check c = {.errors = errors};
	*ret = (struct device_doc){.enabled = true, .is_module = owner.is_module};
	if (!json_is_object(doc)) {
		doc_error(&c, "must be an object");
		return ERR_INVALID;
	}
	take_name(&c, "deviceId", owner.device, ret->device_id);
	if (owner.is_module)
		take_name(&c, "moduleId", owner.module, ret->module_id);
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)doc, name, value)
	{
		size_t mark = doc_enter(&c, slice_str(name));
		read_member(&c, name, value, ret);
		doc_leave(&c, mark);
	}
	require(&c, doc, "deviceId", owner.device);
	if (owner.is_module)
		require(&c, doc, "moduleId", owner.module);
	if (c.failed)
		return ERR_INVALID;
	snprintf(ret->id, sizeof(ret->id), "%s%s%s", ret->device_id, owner.is_module ? "/" : "",
	        ret->module_id);
	if (!ret->tags)
		ret->tags = strdup("{}");
	return ret->tags ? 0 : ERR_NOMEM;
}

void device_doc_done(struct device_doc *d)
{
	free(d->tags);
	free(d->jwt_keys);
	crypto_wipe(d, sizeof(*d));
}

/* ---- showing ---- */

static json_t *time_json(int64_t us)
{
	char text[CLOCK_RFC3339_LEN];
	return us ? json_string(clock_rfc3339(us, text)) : json_null();
}

static int add_jwt_keys(json_t *auth, const struct device_record *r)
{
	_cleanup_json_ json_t *kept = r->auth_public ? json_loads(r->auth_public, 0, NULL) : NULL;
	return json_object_update(auth, kept);
}

/* The thumbprints, and what there is to say against them. */
static int add_thumbprints(json_t *auth, const struct device_record *r)
{
	_cleanup_json_ json_t *kept = r->auth_public ? json_loads(r->auth_public, 0, NULL) : NULL;
	if (json_object_update(auth, kept) < 0)
		return ERR_NOMEM;
	const char *name;
	json_t *value;
	bool old = false;
	json_object_foreach(kept, name, value)
	        old |= json_string_length(value) == THUMBPRINT_SHA1_TEXT;
	if (!old)
		return 0;
	return json_object_set_new(auth, "warnings",
	        json_pack("[s]", "a SHA-1 thumbprint is accepted and should give way to SHA-256"));
}

static json_t *auth_json(const struct device_record *r, struct device_doc_view view)
{
	json_t *auth = json_pack("{s:s}", "type", device_auth_name(r->auth));
	char text[SYM_KEY_TEXT_MAX];
	if (!auth)
		return NULL;
	int err = 0;
	if (r->auth == DEVICE_AUTH_SAS && view.keys) {
		err |= json_object_set_new(
		        auth, "primaryKey", json_string(sym_key_text(&r->primary, text)));
		err |= json_object_set_new(
		        auth, "secondaryKey", json_string(sym_key_text(&r->secondary, text)));
		crypto_wipe(text, sizeof(text));
	}
	if (r->auth == DEVICE_AUTH_SECRET && view.secret)
		err |= json_object_set_new(auth, "secret", json_string(view.secret));
	if (r->auth == DEVICE_AUTH_X509_THUMBPRINT)
		err |= add_thumbprints(auth, r);
	if (r->auth == DEVICE_AUTH_JWT)
		err |= add_jwt_keys(auth, r);
	if (err == 0)
		return auth;
	json_decref(auth);
	return NULL;
}

/* What of the id names the module; NULL: it is a device. */
static const char *module_of(const struct device_record *r)
{
	const char *slash = strchr(r->id, '/');
	return slash ? slash + 1 : NULL;
}

static int device_len(const struct device_record *r)
{
	return (int)strcspn(r->id, "/");
}

/* {"deviceId"} and, of a module, {"moduleId"}. */
static json_t *ids_json(const struct device_record *r)
{
	const char *module = module_of(r);
	if (!module)
		return json_pack("{s:s}", "deviceId", r->id);
	return json_pack("{s:s#, s:s}", "deviceId", r->id, device_len(r), "moduleId", module);
}

static int add_connection_string(json_t *doc, const struct device_record *r, const char *hub_name)
{
	char key[SYM_KEY_TEXT_MAX];
	const char *module = module_of(r);
	json_t *text = json_sprintf("HostName=%s;DeviceId=%.*s%s%s;SharedAccessKey=%s", hub_name,
	        device_len(r), r->id, module ? ";ModuleId=" : "", module ? module : "",
	        sym_key_text(&r->primary, key));
	crypto_wipe(key, sizeof(key));
	return json_object_set_new(doc, "connectionString", text);
}

static json_t *tags_json(const struct device_record *r)
{
	return r->tags ? json_loads(r->tags, JSON_ALLOW_NUL, NULL) : json_object();
}

json_t *device_doc_render(const struct device_record *r, struct device_doc_view view)
{
	_cleanup_json_ json_t *doc = ids_json(r);
	if (!doc)
		return NULL;
	if (r->altered)
		return json_object_set_new(doc, "error", json_string("integrity check failed")) < 0
		        ? NULL
		        : TAKE_PTR(doc);
	_cleanup_json_ json_t *rest = json_pack(
	        "{s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "generationId",
	        r->generation_id, "etag", r->etag, "status", r->enabled ? "enabled" : "disabled",
	        "statusReason", r->status_reason[0] ? json_string(r->status_reason) : json_null(),
	        "auth", auth_json(r, view), "tags", tags_json(r), "connectionState",
	        r->connected ? "Connected" : "Disconnected", "connectionStateUpdatedTime",
	        time_json(r->connected_us), "lastActivityTime", time_json(r->last_activity_us),
	        "createdTime", time_json(r->created_us));
	if (!rest || json_object_update(doc, rest) < 0)
		return NULL;
	if (r->auth == DEVICE_AUTH_SAS && view.keys &&
	        add_connection_string(doc, r, view.hub_name) < 0)
		return NULL;
	return TAKE_PTR(doc);
}

json_t *device_doc_merge(const struct device_record *r, const json_t *patch)
{
	_cleanup_json_ json_t *doc = device_doc_render(
	        r, (struct device_doc_view){.keys = true, .hub_name = ""});
	if (!doc)
		return NULL;
	const json_t *type = json_object_get(json_object_get(patch, "auth"), "type");
	if (type && !slice_eq_str(text_of(type), device_auth_name(r->auth)) &&
	        json_object_set_new(doc, "auth", json_object()) < 0)
		return NULL;
	return json_merge_patch(doc, patch);
}
