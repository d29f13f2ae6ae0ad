/* Devices and their modules as administrators see them. Worker threads. */
#include "registry/condition.h"
#include "registry/device_doc.h"
#include "registry/private.h"
#include "registry/sym_key.h"

/* ---- changing a record ---- */

/* What a document that names no key or secret means. */
enum apply_mode {
	APPLY_NEW,     /* a new device: make them */
	APPLY_REPLACE, /* PUT: keep them */
	APPLY_MERGED,  /* PATCH, with the present keys merged in: one that is not there was removed
	                */
};

/* A change of a device by a document. */
struct change {
	struct registry *registry;
	const json_t *patch; /* of PATCH, else NULL */
	struct doc_owner owner;
	json_t *errors;
	struct device_doc doc;
	bool secret_made; /* doc.secret is not the caller's and has to be shown */
};

static void change_done(struct change *c)
{
	device_doc_done(&c->doc);
}

static void apply_sas(const struct device_doc *doc, struct device_record *rec, bool make)
{
	if (doc->primary.len > 0)
		rec->primary = doc->primary;
	else if (make)
		sym_key_make(&rec->primary);
	if (doc->secondary.len > 0)
		rec->secondary = doc->secondary;
	else if (make)
		sym_key_make(&rec->secondary);
}

static void apply_secret(struct change *c, struct device_record *rec, bool make)
{
	struct device_doc *doc = &c->doc;
	if (doc->secret_len == 0 && make) {
		c->secret_made = true;
		secret_make(doc->secret);
		doc->secret_len = SECRET_MADE_LEN;
	}
	if (doc->secret_len > 0)
		secret_mac(&c->registry->store, slice_str(rec->id),
		        slice_make(doc->secret, doc->secret_len), rec->secret_mac);
}

/* A device that came to be without its thumbprints would be nobody's: without memory for these few
 * bytes nothing safe can go on. */
static void apply_thumbprints(const struct device_doc *doc, struct device_record *rec)
{
	_cleanup_json_ json_t *kept = json_object();
	static const char *const names[] = {"primaryThumbprint", "secondaryThumbprint"};
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (doc->thumbprints[i][0])
			json_object_set_new(kept, names[i], json_string(doc->thumbprints[i]));
	rec->auth_public = json_dumps(kept, JSON_COMPACT);
	if (!rec->auth_public)
		abort();
}

static void apply_jwt_keys(const struct device_doc *doc, struct device_record *rec)
{
	rec->auth_public = strdup(doc->jwt_keys);
	if (!rec->auth_public)
		abort(); /* as above */
}

static void apply_auth(struct change *c, struct device_record *rec, enum apply_mode mode)
{
	const struct device_doc *doc = &c->doc;
	bool fresh = mode == APPLY_NEW || (doc->has_auth && doc->auth != rec->auth);
	if (!fresh && !doc->has_auth)
		return;
	if (fresh) {
		crypto_wipe(&rec->primary, sizeof(rec->primary));
		crypto_wipe(&rec->secondary, sizeof(rec->secondary));
		crypto_wipe(rec->secret_mac, sizeof(rec->secret_mac));
		rec->auth = doc->auth;
	}
	free(TAKE_PTR(rec->auth_public));
	if (rec->auth == DEVICE_AUTH_SAS)
		apply_sas(doc, rec, fresh || mode == APPLY_MERGED);
	else if (rec->auth == DEVICE_AUTH_X509_THUMBPRINT)
		apply_thumbprints(doc, rec);
	else if (rec->auth == DEVICE_AUTH_JWT)
		apply_jwt_keys(doc, rec);
	if (rec->auth != DEVICE_AUTH_SECRET)
		return;
	/* A secret is never shown, so that a merged document never has it: the patch has to say. */
	const json_t *secret = json_object_get(json_object_get(c->patch, "auth"), "secret");
	apply_secret(c, rec, fresh || json_is_null(secret));
}

static void apply(struct change *c, struct device_record *rec, enum apply_mode mode)
{
	apply_auth(c, rec, mode);
	rec->enabled = c->doc.enabled;
	memcpy(rec->status_reason, c->doc.status_reason, sizeof(rec->status_reason));
	free(rec->tags);
	rec->tags = TAKE_PTR(c->doc.tags);
}

/* ---- reading and writing ---- */

static json_t *render(
        struct registry *r, const struct device_record *rec, bool show_keys, const char *secret)
{
	_cleanup_settings_ struct settings *settings = registry_settings(r);
	return device_doc_render(rec,
	        (struct device_doc_view){
	                .keys = show_keys,
	                .hub_name = settings->n_hub_names ? settings->hub_names[0] : "",
	                .secret = secret,
	        });
}

/* Whose record it is, by the path. */
struct subject {
	struct doc_owner owner;
	char id[MODULE_ID_MAX + 1]; /* as the store wants it; "": nobody is called so */
};

static struct subject device_subject(struct slice id)
{
	struct subject s = {.owner = {.device = id}};
	if (device_id_valid(id))
		memcpy(s.id, id.p, id.n);
	return s;
}

static struct subject module_subject(struct registry_module m)
{
	struct subject s = {.owner = {.is_module = true, .device = m.device, .module = m.module}};
	if (device_id_valid(m.device) && device_id_valid(m.module))
		snprintf(s.id, sizeof(s.id), "%.*s/%.*s", SLICE_ARG(m.device), SLICE_ARG(m.module));
	return s;
}

static int get(struct registry *r, const struct subject *s, struct device_record *ret)
{
	return s->id[0] ? r->store.device_get(r->store.ctx, s->id, ret) : ERR_NOT_FOUND;
}

/* The device was written: everybody forgets what it was, and the caller is shown what it is. */
static int finish(
        struct registry *r, const struct device_record *rec, const char *secret, json_t **ret)
{
	registry_wrote(r, ENTITY_DEVICE, slice_str(rec->id), rec->device_key, false);
	json_t *doc = render(r, rec, true, secret);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

static int insert(struct change *c, struct device_record *rec)
{
	*rec = (struct device_record){0};
	memcpy(rec->id, c->doc.id, sizeof(rec->id));
	apply(c, rec, APPLY_NEW);
	return c->registry->store.device_insert(c->registry->store.ctx, rec);
}

static const char *shown_secret(const struct change *c)
{
	return c->secret_made ? c->doc.secret : NULL;
}

static int create(
        struct registry *r, struct doc_owner owner, const json_t *doc, json_t *errors, json_t **ret)
{
	_cleanup_(change_done) struct change c = {.registry = r, .errors = errors};
	_cleanup_(device_record_done) struct device_record rec = {0};
	int err = device_doc_read(doc, owner, errors, &c.doc);
	if (err == 0)
		err = insert(&c, &rec);
	return err < 0 ? err : finish(r, &rec, shown_secret(&c), ret);
}

static int show(struct registry *r, struct subject s, bool show_keys, json_t **ret)
{
	_cleanup_(device_record_done) struct device_record rec = {0};
	int err = get(r, &s, &rec);
	if (err < 0)
		return err;
	json_t *doc = render(r, &rec, show_keys, NULL);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

static int render_list(struct registry *r, const struct device_record *list, unsigned n,
        bool show_keys, json_t **ret)
{
	_cleanup_json_ json_t *items = json_array();
	if (!items)
		return ERR_NOMEM;
	for (unsigned i = 0; i < n; i++)
		if (json_array_append_new(items, render(r, &list[i], show_keys, NULL)) < 0)
			return ERR_NOMEM;
	*ret = TAKE_PTR(items);
	return 0;
}

/* What the store has behind after: devices (parent NULL), or modules of a device. */
static int list(struct registry *r, const char *parent, const char *after, unsigned limit,
        struct device_record **ret, unsigned *ret_n)
{
	if (!after[0])
		after = NULL;
	if (parent)
		return r->store.module_list(r->store.ctx, parent, after, limit, ret, ret_n);
	return r->store.device_list(r->store.ctx, after, limit, ret, ret_n);
}

static int show_list(struct registry *r, const char *parent, struct registry_page *page,
        bool show_keys, json_t **ret)
{
	struct device_record *records = NULL;
	unsigned n = 0;
	/* One more than asked for tells whether there is more. */
	int err = list(r, parent, page->position, page->limit + 1, &records, &n);
	if (err < 0)
		return err;
	unsigned shown = n > page->limit ? page->limit : n;
	err = render_list(r, records, shown, show_keys, ret);
	if (err == 0)
		snprintf(page->position, sizeof(page->position), "%s",
		        n > page->limit && shown > 0 ? records[shown - 1].id : "");
	for (unsigned i = 0; i < n; i++)
		device_record_done(&records[i]);
	free(records);
	return err;
}

/* ---- PUT, PATCH, regenerate: read, check, change, write ---- */

struct write {
	struct registry *registry;
	struct subject subject;
	struct registry_condition cond;
	int (*apply)(void *arg, struct device_record *rec);
	void *arg;
};

static int write_once(const struct write *w, struct device_record *ret, bool *ret_lost)
{
	const struct registry_store *store = &w->registry->store;
	char etag[ETAG_LEN + 1];
	int err = get(w->registry, &w->subject, ret);
	if (err < 0)
		return err;
	err = condition_check(w->cond, ret->etag);
	if (err == 0)
		err = w->apply(w->arg, ret);
	if (err < 0)
		return err;
	memcpy(etag, ret->etag, sizeof(etag));
	err = store->device_update(store->ctx, ret, (struct store_match){.etag = etag});
	*ret_lost = write_lost(err);
	return err;
}

/* ERR_NOT_FOUND: it was not there when read. *ret: as written; to be done with in any case. */
static int write_device(const struct write *w, struct device_record *ret)
{
	for (unsigned round = 0; round < WRITE_ROUNDS; round++) {
		bool lost = false;
		device_record_done(ret);
		int err = write_once(w, ret, &lost);
		if (!lost)
			return err;
	}
	return ERR_CONFLICT;
}

static int apply_replacement(void *arg, struct device_record *rec)
{
	struct change *c = arg;
	/* The document is used once for each round: its tags stay. */
	char *tags = strdup(c->doc.tags);
	if (!tags)
		return ERR_NOMEM;
	apply(c, rec, APPLY_REPLACE);
	c->doc.tags = tags;
	return 0;
}

static int put(struct registry *r, struct subject s, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created)
{
	_cleanup_(change_done) struct change c = {.registry = r, .errors = errors};
	_cleanup_(device_record_done) struct device_record rec = {0};
	const struct write w = {r, s, cond, apply_replacement, &c};
	int err = device_doc_read(doc, s.owner, errors, &c.doc);
	if (err < 0)
		return err;
	bool created = false;
	err = write_device(&w, &rec);
	if (err == ERR_NOT_FOUND) {
		err = condition_check(cond, NULL);
		if (err == 0)
			err = insert(&c, &rec);
		created = err == 0;
		/* Somebody else was first. */
		if (err == ERR_EXISTS)
			err = cond.if_none_match_any ? ERR_STALE : ERR_CONFLICT;
	}
	if (err == 0)
		err = finish(r, &rec, shown_secret(&c), ret);
	if (err == 0)
		*ret_created = created;
	return err;
}

static int apply_patch(void *arg, struct device_record *rec)
{
	struct change *c = arg;
	_cleanup_json_ json_t *merged = device_doc_merge(rec, c->patch);
	if (!merged)
		return ERR_NOMEM;
	device_doc_done(&c->doc);
	c->secret_made = false;
	int err = device_doc_read(merged, c->owner, c->errors, &c->doc);
	if (err == 0)
		apply(c, rec, APPLY_MERGED);
	return err;
}

static int patch_record(struct registry *r, struct subject s, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret)
{
	_cleanup_(change_done) struct change c = {
	        .registry = r, .patch = patch, .owner = s.owner, .errors = errors};
	_cleanup_(device_record_done) struct device_record rec = {0};
	const struct write w = {r, s, cond, apply_patch, &c};
	if (json_is_null(json_object_get(patch, "auth"))) {
		struct doc_check check = {.errors = errors};
		doc_member_error(&check, "auth", "cannot be removed");
		return ERR_INVALID;
	}
	int err = write_device(&w, &rec);
	return err < 0 ? err : finish(r, &rec, shown_secret(&c), ret);
}

static int apply_regenerate(void *arg, struct device_record *rec)
{
	const bool *primary = arg;
	if (rec->auth != DEVICE_AUTH_SAS)
		return ERR_CONFLICT;
	sym_key_make(*primary ? &rec->primary : &rec->secondary);
	return 0;
}

static int regenerate(struct registry *r, struct subject s, bool primary,
        struct registry_condition cond, json_t **ret)
{
	_cleanup_(device_record_done) struct device_record rec = {0};
	const struct write w = {r, s, cond, apply_regenerate, &primary};
	int err = write_device(&w, &rec);
	return err < 0 ? err : finish(r, &rec, NULL, ret);
}

/* ---- deleting, counting ---- */

/* Deletes what was read and nothing newer, so that the generation told to the observer is the one
 * that went. */
static int delete_once(
        struct registry *r, struct subject s, struct registry_condition cond, bool *ret_lost)
{
	_cleanup_(device_record_done) struct device_record rec = {0};
	int err = get(r, &s, &rec);
	/* What was altered cannot be read, but taken away. Its generation is not known here: the
	 * change feed tells it. */
	bool altered = err == ERR_CORRUPT;
	if (altered) {
		memcpy(rec.id, s.id, sizeof(rec.id));
		err = 0;
	}
	if (err == 0)
		err = condition_check(cond, rec.etag);
	if (err < 0)
		return err;
	err = r->store.device_delete(
	        r->store.ctx, rec.id, (struct store_match){.etag = altered ? NULL : rec.etag});
	if (err == 0)
		registry_wrote(r, ENTITY_DEVICE, slice_str(rec.id), rec.device_key, true);
	*ret_lost = write_lost(err);
	return err;
}

static int delete (struct registry *r, struct subject s, struct registry_condition cond)
{
	for (unsigned round = 0; round < WRITE_ROUNDS; round++) {
		bool lost = false;
		int err = delete_once(r, s, cond, &lost);
		if (!lost)
			return err;
	}
	return ERR_CONFLICT;
}

int registry_device_key(struct registry *r, struct slice id, uint64_t *ret)
{
	struct subject s = device_subject(id);
	return s.id[0] ? r->store.device_key(r->store.ctx, s.id, ret) : ERR_NOT_FOUND;
}

int registry_device_access(struct registry *r, struct slice id, struct access **ret)
{
	_cleanup_(device_record_done) struct device_record rec = {0};
	const struct subject s = device_subject(id);
	int err = get(r, &s, &rec);
	if (err < 0)
		return err;
	const struct access_source source = {
	        .kind = ENTITY_DEVICE,
	        .id = slice_str(rec.id),
	        .links = slice_str(rec.links ? rec.links : ""),
	        .tags = slice_str(rec.tags ? rec.tags : ""),
	        .auth_type = device_auth_name(rec.auth),
	        .enabled = rec.enabled,
	};
	struct access *access = NULL;
	if (r->hooks.access_make) {
		access = r->hooks.access_make(r->hooks.ctx, &source);
		if (!access)
			return ERR_NOMEM;
	}
	*ret = access;
	return 0;
}

int registry_device_count(struct registry *r, uint64_t *ret_all, uint64_t *ret_disabled)
{
	return r->store.device_count(r->store.ctx, ret_all, ret_disabled);
}

/* ---- the door: devices ---- */

int registry_device_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret)
{
	return create(r, (struct doc_owner){0}, doc, errors, ret);
}

int registry_device_get(struct registry *r, struct slice id, bool show_keys, json_t **ret)
{
	return show(r, device_subject(id), show_keys, ret);
}

int registry_device_list(
        struct registry *r, struct registry_page *page, bool show_keys, json_t **ret)
{
	return show_list(r, NULL, page, show_keys, ret);
}

int registry_device_put(struct registry *r, struct slice id, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created)
{
	return put(r, device_subject(id), doc, cond, errors, ret, ret_created);
}

int registry_device_patch(struct registry *r, struct slice id, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret)
{
	return patch_record(r, device_subject(id), patch, cond, errors, ret);
}

int registry_device_regenerate(struct registry *r, struct slice id, bool primary,
        struct registry_condition cond, json_t **ret)
{
	return regenerate(r, device_subject(id), primary, cond, ret);
}

int registry_device_delete(struct registry *r, struct slice id, struct registry_condition cond)
{
	return delete (r, device_subject(id), cond);
}

/* ---- the door: modules ---- */

int registry_module_create(
        struct registry *r, struct slice device, const json_t *doc, json_t *errors, json_t **ret)
{
	return create(r, (struct doc_owner){.is_module = true, .device = device}, doc, errors, ret);
}

int registry_module_get(struct registry *r, struct registry_module m, bool show_keys, json_t **ret)
{
	return show(r, module_subject(m), show_keys, ret);
}

int registry_module_list(struct registry *r, struct slice device, struct registry_page *page,
        bool show_keys, json_t **ret)
{
	struct subject s = device_subject(device);
	uint64_t key;
	int err = registry_device_key(r, device, &key);
	return err < 0 ? err : show_list(r, s.id, page, show_keys, ret);
}

int registry_module_put(struct registry *r, struct registry_module m, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created)
{
	return put(r, module_subject(m), doc, cond, errors, ret, ret_created);
}

int registry_module_patch(struct registry *r, struct registry_module m, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret)
{
	return patch_record(r, module_subject(m), patch, cond, errors, ret);
}

int registry_module_regenerate(struct registry *r, struct registry_module m, bool primary,
        struct registry_condition cond, json_t **ret)
{
	return regenerate(r, module_subject(m), primary, cond, ret);
}

int registry_module_delete(
        struct registry *r, struct registry_module m, struct registry_condition cond)
{
	return delete (r, module_subject(m), cond);
}
