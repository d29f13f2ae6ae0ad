/* The frame of every unit test of the base: one suite, one case, a list of tests. */
#ifndef HF_TESTS_UNIT_BASE_UNIT_H
#define HF_TESTS_UNIT_BASE_UNIT_H

#include <check.h>
#include <stdlib.h>

#include "server/base/slice.h"

/* Sanitizers are slow, and two cores may be busy. */
#define UNIT_TIMEOUT_S 60

static inline int unit_run(const char *name, const TTest *const *tests, size_t n)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	tcase_set_timeout(tcase, UNIT_TIMEOUT_S);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define UNIT_MAIN(name, ...)                                                    \
	int main(void)                                                          \
	{                                                                       \
		const TTest *const tests[] = {__VA_ARGS__};                     \
		return unit_run(name, tests, sizeof(tests) / sizeof(tests[0])); \
	}

#define assert_slice(s, text)                                                        \
	do {                                                                         \
		struct slice got_ = (s);                                             \
		ck_assert_msg(slice_eq_str(got_, text), "got \"%.*s\", want \"%s\"", \
		        SLICE_ARG(got_), text);                                      \
	} while (0)

#endif
