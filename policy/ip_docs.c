#include "policy/ip_docs.h"

#include <stdlib.h>
#include <string.h>

#include "policy/rules.h"
#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/utf8.h"

static struct document_store *store_of(struct policy *p)
{
	return &p->store.documents;
}

bool ip_doc_id_valid(struct slice id)
{
	if (id.n < 1 || id.n > POLICY_IP_ID_MAX || slice_eq_str(id, ".") ||
	        slice_eq_str(id, "..") || slice_eq_str(id, "dry-run"))
		return false;
	for (size_t i = 0; i < id.n; i++) {
		uint8_t c = id.p[i];
		bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		        (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
		if (!ok)
			return false;
	}
	return true;
}

bool ip_doc_id_text(struct slice id, char out[static POLICY_IP_ID_MAX + 1])
{
	if (!ip_doc_id_valid(id))
		return false;
	memcpy(out, id.p, id.n);
	out[id.n] = '\0';
	return true;
}

/* ---- showing ---- */

json_t *ip_doc_show(const struct document *d)
{
	char error[JSON_ERROR_LEN], created[CLOCK_RFC3339_LEN], updated[CLOCK_RFC3339_LEN];
	_cleanup_json_ json_t *body = NULL;
	if (json_read(slice_str(d->text), &json_limits_body, &body, error) < 0)
		return NULL;
	json_t *doc = json_pack("{s:s}", "id", d->name);
	if (!doc || json_object_update(doc, body) < 0) {
		json_decref(doc);
		return NULL;
	}
	json_object_set_new(doc, "etag", json_string(d->etag));
	json_object_set_new(doc, "createdTime", json_string(clock_rfc3339(d->created_us, created)));
	json_object_set_new(doc, "updatedTime", json_string(clock_rfc3339(d->updated_us, updated)));
	return doc;
}

static int show(const struct document *d, json_t **ret)
{
	json_t *doc = ip_doc_show(d);
	if (!doc)
		return ERR_INTERNAL;
	*ret = doc;
	return 0;
}

int ip_doc_get(struct policy *p, enum entity kind, struct slice id, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	char text[POLICY_IP_ID_MAX + 1];
	if (!ip_doc_id_text(id, text))
		return ERR_NOT_FOUND;
	int r = store_of(p)->get(store_of(p)->ctx, kind, text, &d);
	return r < 0 ? r : show(&d, ret);
}

static int show_all(const struct document *list, unsigned n, json_t **ret)
{
	_cleanup_json_ json_t *items = json_array();
	for (unsigned i = 0; i < n; i++) {
		json_t *doc = ip_doc_show(&list[i]);
		/* What cannot be read is shown by name, to be taken away. */
		if (!doc)
			doc = json_pack("{s:s, s:s}", "id", list[i].name, "error", "unreadable");
		if (!items || json_array_append_new(items, doc) < 0)
			return ERR_NOMEM;
	}
	*ret = TAKE_PTR(items);
	return *ret ? 0 : ERR_NOMEM;
}

int ip_doc_list(struct policy *p, enum entity kind, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1])
{
	struct document *list = NULL;
	unsigned n = 0;
	int r = store_of(p)->list(
	        store_of(p)->ctx, kind, after && after[0] ? after : NULL, limit + 1, &list, &n);
	if (r < 0)
		return r;
	unsigned shown = n > limit ? limit : n;
	r = show_all(list, shown, ret);
	if (r == 0)
		snprintf(ret_next, DOCUMENT_NAME_MAX + 1, "%s",
		        n > limit && shown > 0 ? list[shown - 1].name : "");
	for (unsigned i = 0; i < n; i++)
		document_done(&list[i]);
	free(list);
	return r;
}

/* ---- writing ---- */

static int document_of(enum entity kind, const char *id, const json_t *body, struct document *ret)
{
	*ret = (struct document){.kind = kind, .text = json_dumps(body, JSON_COMPACT)};
	snprintf(ret->name, sizeof(ret->name), "%s", id);
	return ret->text ? 0 : ERR_NOMEM;
}

static int finish(struct policy *p, const struct document *d, json_t **ret)
{
	policy_changed(p, d->kind);
	return show(d, ret);
}

int ip_doc_insert(
        struct policy *p, enum entity kind, const char *id, const json_t *body, json_t **ret)
{
	_cleanup_(document_done) struct document d;
	int r = document_of(kind, id, body, &d);
	if (r == 0)
		r = store_of(p)->insert(store_of(p)->ctx, &d);
	return r < 0 ? r : finish(p, &d, ret);
}

int ip_doc_put(struct policy *p, enum entity kind, const char *id, const json_t *body,
        const struct policy_ip_write *w, json_t **ret, bool *ret_created)
{
	_cleanup_(document_done) struct document d;
	bool created = false;
	int r = document_of(kind, id, body, &d);
	if (r == 0)
		r = w->if_none_match_any ? ERR_NOT_FOUND
		                         : store_of(p)->update(store_of(p)->ctx, &d,
		                                   (struct store_match){.etag = w->if_match});
	if (r == ERR_NOT_FOUND) {
		r = w->if_match ? ERR_STALE : store_of(p)->insert(store_of(p)->ctx, &d);
		if (r == ERR_EXISTS) /* of two that make it, one was first */
			r = w->if_none_match_any ? ERR_STALE : ERR_CONFLICT;
		created = r == 0;
	}
	if (r == 0)
		r = finish(p, &d, ret);
	if (r == 0)
		*ret_created = created;
	return r;
}

int ip_doc_delete(struct policy *p, enum entity kind, struct slice id, const char *if_match)
{
	char text[POLICY_IP_ID_MAX + 1];
	if (!ip_doc_id_text(id, text))
		return ERR_NOT_FOUND;
	int r = store_of(p)->remove(
	        store_of(p)->ctx, kind, text, (struct store_match){.etag = if_match});
	if (r == 0)
		policy_changed(p, kind);
	return r;
}

/* ---- members ---- */

/* What was written for IPv4 in IPv6's clothes would match nobody. */
static bool is_mapped(const struct cidr *net)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	return net->v6 && net->bits >= 96 && memcmp(net->ip, mapped, sizeof(mapped)) == 0;
}

void ip_doc_read_cidr(struct doc_check *c, const json_t *value, struct cidr *ret)
{
	const char *text = json_string_value(value);
	struct cidr net;
	if (!text || strlen(text) != json_string_length(value) || cidr_parse(text, &net) < 0)
		doc_error(c,
		        "must be a network or an address, as in \"10.0.0.0/8\" or \"2001:db8::1\", "
		        "without bits behind the prefix");
	else if (is_mapped(&net))
		doc_error(c, "is an IPv4 network: write it as one");
	else
		*ret = net;
}

void ip_doc_read_expiry(struct doc_check *c, const json_t *value, int64_t *ret_us)
{
	int64_t us;
	if (json_is_null(value))
		return;
	if (!json_is_string(value) ||
	        clock_parse_rfc3339(json_string_value(value), json_string_length(value), &us) < 0)
		doc_error(c, "must be a time as in \"2026-11-22T18:40:26Z\"");
	else if (us <= 0)
		doc_error(c, "must be after 1970");
	else
		*ret_us = us;
}

void ip_doc_read_text(struct doc_check *c, const json_t *value, char *out, size_t max)
{
	char detail[64];
	size_t n = json_string_length(value);
	snprintf(detail, sizeof(detail), "must be a string of 1 to %zu bytes", max);
	if (!json_is_string(value) || n < 1 || n > max || memchr(json_string_value(value), 0, n)) {
		doc_error(c, detail);
		return;
	}
	memcpy(out, json_string_value(value), n);
	out[n] = '\0';
}
