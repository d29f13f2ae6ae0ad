/* Look-ups of identities, and a main of many tests, for the tests of the registry's port. */
#ifndef HF_TESTS_LOOKUP_FIXTURE_H
#define HF_TESTS_LOOKUP_FIXTURE_H

#include <inttypes.h>

#include "tests/unit/storage/pg_fixture.h"

struct fx_lookup {
	struct identity_lookup l;
	struct fx_store *f;
};

static void fx_lookup_answered(struct mail *m)
{
	container_of(m, struct fx_lookup, l.mail)->f->answered++;
}

HF_UNUSED static void fx_ask(
        struct fx_store *f, struct fx_lookup *l, enum entity kind, const char *id)
{
	memset(l, 0, sizeof(*l));
	l->f = f;
	l->l.mail.deliver = fx_lookup_answered;
	l->l.reply_to = &f->box;
	l->l.kind = kind;
	snprintf(l->l.id, sizeof(l->l.id), "%s", id);
	f->registry.lookup(f->registry.ctx, &l->l);
}

static int fx_run_tests(const char *name, const TTest *const tests[], size_t n)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	return fx_main(suite);
}

#define FX_MAIN(name, ...)                                          \
	int main(void)                                              \
	{                                                           \
		const TTest *const tests[] = {__VA_ARGS__};         \
		return fx_run_tests(name, tests, ARRAY_LEN(tests)); \
	}

#endif
