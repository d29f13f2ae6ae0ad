#include "registry/certificate_doc.h"

#include <string.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/device_id.h"
#include "server/base/err.h"

static const char *const status_names[] = {
        [CERTIFICATE_ACTIVE] = "active",
        [CERTIFICATE_INACTIVE] = "inactive",
        [CERTIFICATE_REVOKED] = "revoked",
};

static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

int certificate_doc_of(const struct x509_st *cert, struct certificate_doc *ret)
{
	uint8_t id[X509_ID_LEN], serial[X509_SERIAL_MAX], n;
	*ret = (struct certificate_doc){0};
	if (x509_id(cert, id) < 0 || x509_serial(cert, serial, &n) < 0 ||
	        x509_dates(cert, &ret->not_before, &ret->not_after) < 0)
		return ERR_INVALID;
	x509_id_text(id, ret->id);
	crypto_hex_encode(slice_make(serial, n), ret->serial);
	x509_subject(cert, ret->subject);
	x509_issuer(cert, ret->issuer);
	return 0;
}

/* ---- reading ---- */

static bool status_of(struct slice text, enum certificate_status *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(status_names); i++)
		if (slice_eq_str(text, status_names[i])) {
			*ret = (enum certificate_status)i;
			return true;
		}
	return false;
}

static void read_status(struct doc_check *c, const json_t *value, struct certificate_doc *ret)
{
	if (!status_of(text_of(value), &ret->status))
		doc_error(c, "must be \"active\", \"inactive\" or \"revoked\"");
}

static void read_device(struct doc_check *c, const json_t *value, struct certificate_doc *ret)
{
	struct slice id = text_of(value);
	if (json_is_null(value))
		ret->device[0] = '\0';
	else if (json_is_string(value) && device_or_module_id_valid(id))
		snprintf(ret->device, sizeof(ret->device), "%.*s", SLICE_ARG(id));
	else
		doc_error(c, "must be the id of a device, or of a module with its device");
}

/* Only at the beginning: a certificate is what its id says. */
static void read_certificate(struct doc_check *c, const json_t *value, struct certificate_doc *ret)
{
	struct certificate_doc from;
	_cleanup_x509_ struct x509_st *cert = NULL;
	if (ret->id[0]) {
		doc_error(c, "cannot be changed");
	} else if (x509_read_pem(text_of(value), &cert) < 0 ||
	        certificate_doc_of(cert, &from) < 0) {
		doc_error(c, "must be one certificate in PEM");
	} else {
		from.status = ret->status;
		memcpy(from.device, ret->device, sizeof(from.device));
		*ret = from;
	}
}

static const struct {
	const char *name;
	void (*read)(struct doc_check *c, const json_t *value, struct certificate_doc *ret);
} members[] = {
        {"certificate", read_certificate},
        {"status", read_status},
        {"deviceId", read_device},
        /* read-only */
        {"certificateId", NULL},
        {"authority", NULL},
        {"subject", NULL},
        {"issuer", NULL},
        {"serialNumber", NULL},
        {"notBefore", NULL},
        {"notAfter", NULL},
        {"etag", NULL},
        {"createdTime", NULL},
        {"updatedTime", NULL},
};

static void read_member(
        struct doc_check *c, const char *name, const json_t *value, struct certificate_doc *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i].name) == 0) {
			if (members[i].read)
				members[i].read(c, value, ret);
			return;
		}
	doc_error(c, "unknown member");
}

static void read_members(struct doc_check *c, const json_t *doc, struct certificate_doc *ret)
{
	const char *name;
	json_t *value;
	if (!json_is_object(doc)) {
		doc_error(c, "must be an object");
		return;
	}
	json_object_foreach((json_t *)doc, name, value)
	{
		size_t mark = doc_enter(c, slice_str(name));
		read_member(c, name, value, ret);
		doc_leave(c, mark);
	}
}

int certificate_doc_read(const json_t *doc, json_t *errors, struct certificate_doc *ret)
{
	struct doc_check c = {.errors = errors};
	*ret = (struct certificate_doc){0};
	read_members(&c, doc, ret);
	if (!json_object_get(doc, "certificate"))
		doc_member_error(&c, "certificate", "is required");
	return c.failed ? ERR_INVALID : 0;
}

int certificate_doc_patch(const json_t *patch, json_t *errors, struct certificate_doc *d)
{
	struct doc_check c = {.errors = errors};
	_cleanup_json_ json_t *before = certificate_doc_render(d, NULL);
	_cleanup_json_ json_t *after = before ? json_merge_patch(before, patch) : NULL;
	if (!after)
		return ERR_NOMEM;
	if (!json_object_get(after, "deviceId"))
		d->device[0] = '\0';
	read_members(&c, after, d);
	if (!json_object_get(after, "status"))
		doc_member_error(&c, "status", "cannot be removed");
	return c.failed ? ERR_INVALID : 0;
}

bool certificate_doc_glance(struct slice text, struct certificate_doc *ret)
{
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	if (json_read(text, &json_limits_body, &doc, error) < 0)
		return false;
	ret->device[0] = '\0';
	struct slice device = text_of(json_object_get(doc, "deviceId"));
	if (device.n < sizeof(ret->device))
		snprintf(ret->device, sizeof(ret->device), "%.*s", SLICE_ARG(device));
	return status_of(text_of(json_object_get(doc, "status")), &ret->status);
}

static int64_t seconds_of(const json_t *value)
{
	struct slice text = text_of(value);
	int64_t us = 0;
	if (text.n == 0 || clock_parse_rfc3339((const char *)text.p, text.n, &us) < 0)
		return 0;
	return us / 1000000;
}

static void load_text(const json_t *doc, const char *name, char *to, size_t size)
{
	snprintf(to, size, "%.*s", SLICE_ARG(text_of(json_object_get(doc, name))));
}

int certificate_doc_load(const struct document *from, struct certificate_doc *ret)
{
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	*ret = (struct certificate_doc){0};
	if (json_read(slice_str(from->text), &json_limits_body, &doc, error) < 0 ||
	        !certificate_doc_glance(slice_str(from->text), ret))
		return ERR_CORRUPT;
	snprintf(ret->id, sizeof(ret->id), "%.*s", X509_ID_TEXT, from->name);
	load_text(doc, "authority", ret->authority, sizeof(ret->authority));
	load_text(doc, "subject", ret->subject, sizeof(ret->subject));
	load_text(doc, "issuer", ret->issuer, sizeof(ret->issuer));
	load_text(doc, "serialNumber", ret->serial, sizeof(ret->serial));
	ret->not_before = seconds_of(json_object_get(doc, "notBefore"));
	ret->not_after = seconds_of(json_object_get(doc, "notAfter"));
	return 0;
}

/* ---- showing ---- */

static json_t *time_json(int64_t us)
{
	char text[CLOCK_RFC3339_LEN];
	return json_string(clock_rfc3339(us, text));
}

static json_t *text_json(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

json_t *certificate_doc_render(const struct certificate_doc *d, const struct document *stored)
{
	_cleanup_json_ json_t *doc = json_pack("{s:s, s:s, s:o, s:o, s:s, s:s, s:s, s:o, s:o}",
	        "certificateId", d->id, "status", status_names[d->status], "deviceId",
	        text_json(d->device), "authority", text_json(d->authority), "subject", d->subject,
	        "issuer", d->issuer, "serialNumber", d->serial, "notBefore",
	        time_json(d->not_before * 1000000), "notAfter", time_json(d->not_after * 1000000));
	if (!doc || !stored)
		return TAKE_PTR(doc);
	int err = json_object_set_new(doc, "etag", json_string(stored->etag));
	err |= json_object_set_new(doc, "createdTime", time_json(stored->created_us));
	err |= json_object_set_new(doc, "updatedTime", time_json(stored->updated_us));
	return err ? NULL : TAKE_PTR(doc);
}

int certificate_doc_insert(const struct document_store *store, const struct certificate_doc *d)
{
	_cleanup_(document_done) struct document to = {.kind = ENTITY_CERTIFICATE};
	_cleanup_json_ json_t *doc = certificate_doc_render(d, NULL);
	snprintf(to.name, sizeof(to.name), "%s", d->id);
	to.text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	return to.text ? store->insert(store->ctx, &to) : ERR_NOMEM;
}
