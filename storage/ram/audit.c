/* The port of the audit log: what was appended, no changes of rows. */
#include <stdio.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/ram/private.h"

struct ram_audit {
	int64_t at_us, id;
	char actor[KEY_NAME_MAX + 1], role[32], operation[64], kind[32], name[CLIENT_ID_MAX + 1];
	char detail[1024];
};

static int append(void *ctx, const char *kind, const char *name, const char *detail)
{
	const struct audit_actor *who = audit_actor();
	struct ram_store *s = ctx;
	int err = 0;

	if (ram_enter(s)) {
		struct ram_audit *a = ram_array_add(&s->audit, sizeof(*a));

		err = a ? 0 : ERR_NOMEM;
		if (a) {
			a->at_us = clock_wall_us();
			a->id = (int64_t)s->audit.n;
			snprintf(a->actor, sizeof(a->actor), "%s", who ? who->name : "hub");
			snprintf(a->role, sizeof(a->role), "%s", who ? who->role : "");
			snprintf(a->operation, sizeof(a->operation), "%s",
			        who ? who->operation : "");
			snprintf(a->kind, sizeof(a->kind), "%s", kind);
			snprintf(a->name, sizeof(a->name), "%s", name);
			snprintf(a->detail, sizeof(a->detail), "%s", detail ? detail : "");
		}
	}
	return ram_leave(s, err);
}

static bool fits(const char *asked, const char *is)
{
	return !asked || strcmp(asked, is) == 0;
}

static bool is_asked(const struct audit_query *q, const struct ram_audit *a)
{
	bool behind = q->ascending ? a->id > q->after_id : a->id < q->after_id;

	return a->at_us >= q->from_us && a->at_us < q->to_us && (!q->has_after || behind) &&
	        fits(q->actor, a->actor) && fits(q->operation, a->operation) &&
	        fits(q->outcome, "done") && fits(q->reason, "") && fits(q->kind, a->kind) &&
	        fits(q->name, a->name);
}

static int tell(
        const struct ram_audit *a, int (*row)(const struct audit_row *r, void *arg), void *arg)
{
	const struct audit_row r = {.id = a->id,
	        .at_us = a->at_us,
	        .actor = slice_str(a->actor),
	        .role = slice_str(a->role),
	        .operation = slice_str(a->operation),
	        .outcome = SLICE_LIT("done"),
	        .kind = slice_str(a->kind),
	        .name = slice_str(a->name),
	        .count = 1,
	        .after = a->detail[0] ? slice_str(a->detail) : (struct slice){0}};

	return row(&r, arg);
}

static int query(void *ctx, const struct audit_query *q,
        int (*row)(const struct audit_row *r, void *arg), void *arg)
{
	struct ram_store *s = ctx;
	unsigned told = 0;
	int err = 0;

	if (ram_enter(s)) {
		for (size_t i = 0; err == 0 && i < s->audit.n && told < q->limit; i++) {
			const struct ram_audit *all = s->audit.items;
			const struct ram_audit *a = &all[q->ascending ? i : s->audit.n - 1 - i];

			if (!is_asked(q, a))
				continue;
			told++;
			err = tell(a, row, arg);
		}
	}
	return ram_leave(s, err);
}

struct audit_store ram_audit(struct ram_store *s)
{
	return (struct audit_store){.ctx = s, .query = query, .append = append};
}
