/* A policy over documents in memory, and principals whose parts it has compiled. */
#ifndef HF_TEST_RULES_RIG_H
#define HF_TEST_RULES_RIG_H

#include <stdlib.h>

#include "policy/policy.h"
#include "server/base/cleanup.h"
#include "server/base/json.h"
#include "storage/ram/ram.h"
#include "tests/unit/base/unit.h"

struct rig {
	struct ram_store *ram;
	struct document_store documents;
	struct policy *policy;
};

static inline void rig_open(struct rig *r, bool device_defaults)
{
	r->ram = ram_new();
	ck_assert_ptr_nonnull(r->ram);
	r->documents = ram_documents(r->ram);
	const struct policy_store store = {.documents = r->documents};
	const struct policy_limits limits = {.device_defaults = device_defaults};
	r->policy = policy_new(NULL, 0, &store, &limits);
	ck_assert_ptr_nonnull(r->policy);
}

/* Once the documents are there. */
static inline void rig_start(struct rig *r)
{
	ck_assert_int_eq(policy_start(r->policy), 0);
}

static inline void rig_close(struct rig *r)
{
	policy_stop(r->policy);
	policy_free(r->policy);
	ram_free(r->ram);
}

/* Text that is written with ' in place of ". */
static inline char *quoted(const char *text)
{
	char *copy = strdup(text);
	ck_assert_ptr_nonnull(copy);
	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	return copy;
}

static inline void rig_document(struct rig *r, enum entity kind, const char *name, const char *text)
{
	struct document d = {.kind = kind, .text = quoted(text)};
	snprintf(d.name, sizeof(d.name), "%s", name);
	ck_assert_int_eq(r->documents.insert(r->documents.ctx, &d), 0);
	document_done(&d);
}

/* statements: a JSON array's inside. */
static inline void rig_policy(struct rig *r, const char *name, const char *statements)
{
	char text[20000];
	snprintf(text, sizeof(text),
	        "{'versions': [{'version': 1, 'createdTime': '2026-01-01T00:00:00.000Z', "
	        "'document': "
	        "{'Version': '2012-10-17', 'Statement': [%s]}}], 'default': 1, 'next': 2}",
	        statements);
	rig_document(r, ENTITY_POLICY, name, text);
}

static inline void rig_group_link(struct rig *r, const char *group, char letter, const char *value)
{
	ck_assert_int_eq(
	        r->documents.link_add(r->documents.ctx, ENTITY_GROUP, group, letter, value, NULL),
	        0);
}

static inline struct access *rig_access(struct rig *r, enum entity kind, const char *id,
        const char *links, const char *tags, const char *scope)
{
	_cleanup_free_ char *tags_text = quoted(tags ? tags : ""),
	                    *scope_text = quoted(scope ? scope : "");
	const struct access_source source = {.kind = kind,
	        .id = slice_str(id),
	        .links = slice_str(links ? links : ""),
	        .tags = slice_str(tags_text),
	        .scope = slice_str(scope_text),
	        .auth_type = kind == ENTITY_DEVICE ? "sas" : NULL,
	        .enabled = true};
	struct access *a = policy_access_make(r->policy, &source);
	ck_assert_ptr_nonnull(a);
	return a;
}

static inline struct principal *rig_device(
        struct rig *r, const char *id, const char *links, const char *tags)
{
	struct principal *p = principal_new(PRINCIPAL_DEVICE, slice_str(id), (struct slice){0});
	ck_assert_ptr_nonnull(p);
	p->access[0] = rig_access(r, ENTITY_DEVICE, id, links, tags, NULL);
	p->has_source = ip_parse(SLICE_LIT("192.0.2.7"), &p->source) == 0;
	return p;
}

static inline void principal_done(struct principal **p)
{
	principal_unref(*p);
}
#define _cleanup_principal_ _cleanup_(principal_done)

#endif
