/* IP rules as administrators write them: no set without force that shuts out who writes it. Worker
 * threads. */
#include <stdlib.h>
#include <string.h>

#include "policy/ip_admin.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

int ip_rules_changed(struct policy *p, const struct ip_rule *add, size_t n_add,
        const json_t *remove, struct ip_rules **ret)
{
	struct ip_rules *now;
	int r = ip_rules_read(&p->store.documents, &now);
	if (r < 0)
		return r;
	struct ip_rule *list = calloc(now->n + n_add + 1, sizeof(*list));
	size_t n = 0;
	for (size_t i = 0; list && i < now->n; i++)
		if (!remove || !json_object_get(remove, now->list[i].id))
			list[n++] = now->list[i];
	if (list && n_add > 0)
		memcpy(list + n, add, n_add * sizeof(*list));
	*ret = list ? ip_rules_new(list, n + n_add, clock_wall_us()) : NULL;
	ip_rules_unref(now);
	return *ret ? 0 : ERR_NOMEM;
}

bool ip_default_deny(struct policy *p)
{
	return atomic_load_explicit(&p->ip_default_deny, memory_order_relaxed);
}

/* Whether the set may be: 0, or ERR_DENIED with w->objection. */
static int judge(struct policy *p, const struct ip_rules *set, struct policy_ip_write *w)
{
	struct ip_addr author;
	bool deny = ip_default_deny(p);
	if (set->n > POLICY_IP_RULES_MAX)
		return ERR_QUOTA;
	if (w->force)
		return 0;
	if (ip_rules_deny_all(set, deny))
		w->objection = "with this set no address at all may connect; force=true insists";
	else if (ip_parse_peer(w->peer, &author) < 0 || !ip_rules_admit(set, &author, deny))
		w->objection = "with this set the address that asks for it may not connect any "
		               "more; force=true insists";
	return w->objection ? ERR_DENIED : 0;
}

/* The set that the store has with rule put in, or (NULL) without id. */
static int judge_change(
        struct policy *p, const struct ip_rule *rule, const char *id, struct policy_ip_write *w)
{
	_cleanup_json_ json_t *remove = json_pack("{s:b}", id, 1);
	struct ip_rules *set = NULL;
	if (!remove)
		return ERR_NOMEM;
	int r = ip_rules_changed(p, rule, rule ? 1 : 0, remove, &set);
	if (r == 0)
		r = judge(p, set, w);
	ip_rules_unref(set);
	return r;
}

static void id_make(struct ip_rule *rule)
{
	uint8_t random[8];
	crypto_random(random, sizeof(random));
	crypto_hex_encode(slice_make(random, sizeof(random)), rule->id);
}

static int read_rule(
        struct policy_ip_write *w, struct slice id, struct ip_rule *ret, json_t **ret_body)
{
	struct doc_check c = {.errors = w->errors};
	int r = ip_rule_read(&c, w->doc, id, ret, ret_body);
	if (r == 0 && !ret->id[0])
		id_make(ret);
	return r;
}

int policy_ip_rule_create(struct policy *p, struct policy_ip_write *w, json_t **ret)
{
	_cleanup_json_ json_t *body = NULL;
	struct ip_rule rule;
	int r = read_rule(w, (struct slice){0}, &rule, &body);
	if (r == 0)
		r = judge_change(p, &rule, rule.id, w);
	return r < 0 ? r : ip_doc_insert(p, ENTITY_IP_RULE, rule.id, body, ret);
}

int policy_ip_rule_get(struct policy *p, struct slice id, json_t **ret)
{
	return ip_doc_get(p, ENTITY_IP_RULE, id, ret);
}

int policy_ip_rule_put(struct policy *p, struct slice id, struct policy_ip_write *w, json_t **ret,
        bool *ret_created)
{
	_cleanup_json_ json_t *body = NULL;
	struct ip_rule rule;
	int r = read_rule(w, id, &rule, &body);
	if (r == 0)
		r = judge_change(p, &rule, rule.id, w);
	return r < 0 ? r : ip_doc_put(p, ENTITY_IP_RULE, rule.id, body, w, ret, ret_created);
}

int policy_ip_rule_delete(struct policy *p, struct slice id, struct policy_ip_write *w)
{
	char text[POLICY_IP_ID_MAX + 1];
	if (!ip_doc_id_text(id, text))
		return ERR_NOT_FOUND;
	int r = judge_change(p, NULL, text, w);
	return r < 0 ? r : ip_doc_delete(p, ENTITY_IP_RULE, id, w->if_match);
}

int policy_ip_rule_list(struct policy *p, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1])
{
	return ip_doc_list(p, ENTITY_IP_RULE, after, limit, ret, ret_next);
}
