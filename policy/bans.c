#include "policy/bans.h"

#include <stdlib.h>
#include <string.h>

#include "policy/ip_admin.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

/* ---- reading ---- */

static void bans_free(struct part *p)
{
	struct bans *b = container_of(p, struct bans, part);
	ip_scopes_free(b->scopes);
	free(b);
}

struct loading {
	struct bans *bans;
	struct ban *list;
	size_t n, cap;
	int64_t now_us;
};

static int grow(struct loading *l)
{
	size_t cap = l->cap ? 2 * l->cap : 16;
	struct ban *list = l->n < l->cap ? l->list : realloc(l->list, cap * sizeof(*list));
	if (!list)
		return ERR_NOMEM;
	if (l->n == l->cap)
		l->cap = cap;
	l->list = list;
	return 0;
}

/* Whether it still counts; else it is noted to be taken away. */
static bool is_in_force(struct loading *l, const struct document *d, const struct ban *b)
{
	struct bans *bans = l->bans;
	if (b->expires_us && b->expires_us <= l->now_us) {
		if (bans->n_gone == BANS_GONE_MAX || strlen(d->name) > POLICY_IP_ID_MAX)
			return false;
		struct ban_gone *gone = &bans->gone[bans->n_gone++];
		snprintf(gone->id, sizeof(gone->id), "%.*s", POLICY_IP_ID_MAX, d->name);
		memcpy(gone->etag, d->etag, sizeof(gone->etag));
		return false;
	}
	if (b->expires_us && (!bans->next_expiry_us || b->expires_us < bans->next_expiry_us))
		bans->next_expiry_us = b->expires_us;
	bans->any_by_hand = bans->any_by_hand || b->by_hand;
	return true;
}

static int load_row(void *arg, const struct document *d)
{
	struct loading *l = arg;
	struct doc_check c = {0};
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	if (grow(l) < 0)
		return ERR_NOMEM;
	if (json_read(slice_str(d->text), &json_limits_body, &doc, error) < 0 ||
	        ban_read(&c, doc, true, &l->list[l->n]) < 0)
		log_error("a ban cannot be read and does not count", F_STR("ban", d->name));
	else if (is_in_force(l, d, &l->list[l->n]))
		l->n++;
	return 0;
}

static struct ip_entry entry_of(const struct ban *b)
{
	return (struct ip_entry){
	        .scope = b->device[0] ? SCOPE_DEVICE
	                : b->key[0]   ? SCOPE_KEY
	                              : SCOPE_HUB,
	        .name = b->device[0] ? b->device : b->key,
	        .net = b->net,
	        .everywhere = b->everywhere,
	        .value = b->by_hand,
	};
}

/* Those by hand first: they count where others hit the same. */
static struct ip_scopes *compile(const struct ban *list, size_t n)
{
	_cleanup_free_ struct ip_entry *entries = calloc(n + 1, sizeof(*entries));
	size_t count = 0;
	if (!entries)
		return NULL;
	for (int by_hand = 1; by_hand >= 0; by_hand--)
		for (size_t i = 0; i < n; i++)
			if (list[i].by_hand == by_hand)
				entries[count++] = entry_of(&list[i]);
	return ip_scopes_new(entries, count);
}

int bans_load(const struct document_store *documents, struct part **ret)
{
	struct bans *b = calloc(1, sizeof(*b));
	struct loading l = {.bans = b, .now_us = clock_wall_us()};
	if (!b)
		return ERR_NOMEM;
	int r = documents->each ? documents->each(documents->ctx, ENTITY_BAN, load_row, &l) : 0;
	atomic_init(&b->part.refs, 1);
	b->part.free = bans_free;
	b->n = l.n;
	if (r == 0) {
		b->scopes = compile(l.list, l.n);
		r = b->scopes ? 0 : ERR_NOMEM;
	}
	free(l.list);
	if (r < 0) {
		bans_free(&b->part);
		return r;
	}
	metric_set(METRIC_BANS, (int64_t)b->n);
	*ret = &b->part;
	return 0;
}

/* ---- asking ---- */

enum ban_kind bans_find(
        const struct bans *b, enum ip_scope scope, struct slice name, const struct ip_addr *ip)
{
	const struct ip_table *t = b ? ip_scopes_get(b->scopes, scope, name, NULL) : NULL;
	uint32_t value = t ? ip_table_find(t, ip) : IP_TABLE_NONE;
	if (value == IP_TABLE_NONE)
		return BAN_NONE;
	return value ? BAN_BY_HAND : BAN_AUTOMATIC;
}

/* ---- administrators ---- */

int policy_ban_create(struct policy *p, struct policy_ip_write *w, json_t **ret)
{
	struct doc_check c = {.errors = w->errors};
	struct ban b;
	struct ip_addr author;
	char id[BAN_ID_LEN + 1];
	int r = ban_read(&c, w->doc, false, &b);
	if (r < 0)
		return r;
	bool whole = !b.device[0] && !b.key[0];
	if (whole && !w->force &&
	        (ip_parse_peer(w->peer, &author) < 0 ||
	                cidr_has(&b.net, author.v6, author.bytes))) {
		w->objection = "the ban hits the address that asks for it; force=true insists";
		return ERR_DENIED;
	}
	_cleanup_json_ json_t *body = ban_body(&b);
	ban_id(&b, id);
	return body ? ip_doc_insert(p, ENTITY_BAN, id, body, ret) : ERR_NOMEM;
}

int policy_ban_get(struct policy *p, struct slice id, json_t **ret)
{
	return ip_doc_get(p, ENTITY_BAN, id, ret);
}

int policy_ban_delete(struct policy *p, struct slice id, const char *if_match)
{
	return ip_doc_delete(p, ENTITY_BAN, id, if_match);
}

static bool has_expired(const json_t *doc, int64_t now_us)
{
	const json_t *at = json_object_get(doc, "expiresAt");
	int64_t us;
	return json_is_string(at) &&
	        clock_parse_rfc3339(json_string_value(at), json_string_length(at), &us) == 0 &&
	        us <= now_us;
}

int policy_ban_list(struct policy *p, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1])
{
	json_t *list;
	int r = ip_doc_list(p, ENTITY_BAN, after, limit, &list, ret_next);
	if (r < 0)
		return r;
	for (size_t i = json_array_size(list); i-- > 0;)
		if (has_expired(json_array_get(list, i), clock_wall_us()))
			json_array_remove(list, i);
	*ret = list;
	return 0;
}
