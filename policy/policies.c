/* The policies in force: of each the version that is its default, compiled. A part of the rules. */
#include <stdlib.h>

#include "policy/policy_json.h"
#include "policy/rights.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"

struct policy_entry {
	struct policy_doc *doc; /* NULL: it cannot be read */
	size_t len;
	char name[];
};

struct policies {
	struct part part; /* first */
	struct map by_name;
};

static void policies_free(struct part *part)
{
	struct policies *p = (struct policies *)part;
	struct policy_entry *e;
	map_for_each (&p->by_name, pos, e) {
		policy_doc_free(e->doc);
		free(e);
	}
	map_free(&p->by_name);
	free(p);
}

const struct policy_doc *policies_find(
        const struct part *policies, struct slice name, bool *ret_broken)
{
	const struct policies *p = (const struct policies *)policies;
	const struct policy_entry *e = p ? map_get(&p->by_name, name) : NULL;
	if (e && !e->doc)
		*ret_broken = true;
	return e ? e->doc : NULL;
}

/* One that cannot be read, though it was checked when it was written, stays known by its name: who
 * has it may nothing. */
static int add(void *arg, const struct document *d)
{
	struct policies *p = arg;
	size_t len = strlen(d->name);
	struct policy_entry *e = calloc(1, sizeof(*e) + len + 1);
	if (!e)
		return ERR_NOMEM;
	memcpy(e->name, d->name, len);
	e->len = len;
	int err = policy_json_compile(d, &e->doc);
	if (err == ERR_NOMEM || map_put(&p->by_name, slice_make(e->name, len), e, NULL) < 0) {
		policy_doc_free(e->doc);
		free(e);
		return ERR_NOMEM;
	}
	if (err < 0)
		log_error("a stored policy cannot be read: who has it may nothing",
		        F_STR("policy", d->name));
	return 0;
}

int policies_load(const struct document_store *documents, struct part **ret)
{
	struct policies *p = calloc(1, sizeof(*p));
	if (!p)
		return ERR_NOMEM;
	atomic_init(&p->part.refs, 1);
	p->part.free = policies_free;
	map_init(&p->by_name);
	int err = documents->each(documents->ctx, ENTITY_POLICY, add, p);
	if (err < 0) {
		policies_free(&p->part);
		return err;
	}
	*ret = &p->part;
	return 0;
}
