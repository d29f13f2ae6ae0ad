#include "server/watch.h"

#include "tests/unit/base/unit.h"

START_TEST(tells_a_loop_that_hangs)
{
	struct watch w = {0};
	uint64_t now = 1000000;

	ck_assert_uint_eq(watch_silent_ms(&w, 7, now), 0);
	for (unsigned i = 1; i <= 6; i++)
		ck_assert_uint_eq(
		        watch_silent_ms(&w, 7, now += WATCH_EVERY_MS), i * WATCH_EVERY_MS);
	ck_assert_uint_eq(watch_silent_ms(&w, 8, now += WATCH_EVERY_MS), 0);
}
END_TEST

/* SIGSTOP, a paused container, a machine that was saved and restored. */
START_TEST(forgives_a_process_that_stood_still)
{
	struct watch w = {0};
	uint64_t now = 1000000;

	watch_silent_ms(&w, 7, now);
	watch_silent_ms(&w, 7, now += WATCH_EVERY_MS);
	ck_assert_uint_eq(watch_silent_ms(&w, 7, now += 60000), 0);
	ck_assert_uint_eq(watch_silent_ms(&w, 7, now += WATCH_EVERY_MS), WATCH_EVERY_MS);
}
END_TEST

UNIT_MAIN("watch", tells_a_loop_that_hangs, forgives_a_process_that_stood_still)
