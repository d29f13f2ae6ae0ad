/* A value that every loop holds: loads, switches, changes while it loads, loads that fail. */
#include <pthread.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/replica.h"
#include "unit.h"

#define N_LOOPS 3

struct value {
	atomic_uint refs;
	unsigned number;
	uint64_t what;
};

static struct world {
	struct loop *loops[N_LOOPS];
	pthread_t threads[N_LOOPS];
	struct replica *replica;
	atomic_int fail;  /* as many loads fail */
	atomic_int pass;  /* loads that go on although they are to wait */
	atomic_bool hold; /* loads wait */
	atomic_uint loads, alive, applied, switched;
	atomic_uint seen[N_LOOPS]; /* number of the value in force there */
	_Atomic uint64_t applied_what;
} w;

static void pause_a_moment(void)
{
	usleep(500);
}

#define wait_until(condition)                                         \
	for (uint64_t end_ = clock_ms() + 20000; !(condition);) {     \
		ck_assert_msg(clock_ms() < end_, "not: " #condition); \
		pause_a_moment();                                     \
	}

static int load(void *ctx, void *old, uint64_t what, void **ret)
{
	ck_assert_ptr_eq(ctx, &w);
	atomic_fetch_add(&w.loads, 1);
	while (atomic_load(&w.hold) && atomic_load(&w.pass) == 0)
		pause_a_moment();
	if (atomic_load(&w.pass) > 0)
		atomic_fetch_sub(&w.pass, 1);
	if (atomic_load(&w.fail) > 0) {
		atomic_fetch_sub(&w.fail, 1);
		return ERR_UNAVAILABLE;
	}
	struct value *v = calloc(1, sizeof(*v));
	ck_assert_ptr_nonnull(v);
	atomic_init(&v->refs, 1);
	v->number = old ? ((struct value *)old)->number + 1 : 1;
	v->what = what;
	atomic_fetch_add(&w.alive, 1);
	*ret = v;
	return 0;
}

static void *ref(void *value)
{
	atomic_fetch_add(&((struct value *)value)->refs, 1);
	return value;
}

static void *unref(void *value)
{
	struct value *v = value;
	if (v && atomic_fetch_sub(&v->refs, 1) == 1) {
		atomic_fetch_sub(&w.alive, 1);
		free(v);
	}
	return NULL;
}

static void switched(HF_UNUSED void *ctx, struct loop *here, void *value, HF_UNUSED uint64_t what)
{
	ck_assert_ptr_eq(loop_here(), here);
	ck_assert_ptr_eq(replica_here(w.replica), value);
	atomic_store(&w.seen[loop_index(here)], ((struct value *)value)->number);
	atomic_fetch_add(&w.switched, 1);
}

/* Whoever hears that a value is applied finds it on every loop. */
static void applied(HF_UNUSED void *ctx, void *value, uint64_t what)
{
	for (unsigned i = 0; i < N_LOOPS; i++)
		ck_assert_uint_eq(atomic_load(&w.seen[i]), ((struct value *)value)->number);
	atomic_fetch_or(&w.applied_what, what);
	atomic_fetch_add(&w.applied, 1);
}

static const struct replica_ops ops = {"test", load, ref, unref, switched, applied};

static void *loop_main(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void start(void)
{
	memset(&w, 0, sizeof(w));
	for (unsigned i = 0; i < N_LOOPS; i++)
		w.loops[i] = loop_new(i);
	w.replica = replica_new(w.loops, N_LOOPS, &ops, &w);
	ck_assert_ptr_nonnull(w.replica);
	ck_assert_int_eq(replica_start(w.replica), 0);
	for (unsigned i = 0; i < N_LOOPS; i++)
		ck_assert_int_eq(pthread_create(&w.threads[i], NULL, loop_main, w.loops[i]), 0);
}

static void stop(void)
{
	replica_stop(w.replica);
	for (unsigned i = 0; i < N_LOOPS; i++)
		loop_stop(w.loops[i]);
	for (unsigned i = 0; i < N_LOOPS; i++)
		pthread_join(w.threads[i], NULL);
	replica_free(w.replica);
	for (unsigned i = 0; i < N_LOOPS; i++)
		loop_free(w.loops[i]);
	ck_assert_uint_eq(atomic_load(&w.alive), 0);
}

static unsigned newest(void)
{
	struct value *v = replica_take(w.replica);
	unsigned number = v->number;
	unref(v);
	return number;
}

START_TEST(loads_and_switches)
{
	start();
	ck_assert_uint_eq(newest(), 1);
	ck_assert(replica_fresh(w.replica));
	replica_changed(w.replica, 4);
	ck_assert(replica_wait(w.replica, 20000));
	ck_assert_uint_eq(newest(), 2);
	for (unsigned i = 0; i < N_LOOPS; i++)
		ck_assert_uint_eq(atomic_load(&w.seen[i]), 2);
	wait_until(atomic_load(&w.applied) == 1);
	ck_assert_uint_eq(atomic_load(&w.applied_what), 4);
	stop();
}
END_TEST

/* What is told while a load is under way is not in it: another one follows, and one is enough. */
START_TEST(loads_again_what_changed_meanwhile)
{
	start();
	atomic_store(&w.hold, true);
	replica_changed(w.replica, 1);
	wait_until(atomic_load(&w.loads) == 2);
	for (unsigned i = 0; i < 100; i++)
		replica_changed(w.replica, 2);
	ck_assert(!replica_wait(w.replica, 1));
	atomic_store(&w.hold, false);
	ck_assert(replica_wait(w.replica, 20000));
	ck_assert_uint_eq(newest(), 3);
	ck_assert_uint_eq(atomic_load(&w.loads), 3);
	wait_until(atomic_load(&w.applied_what) == 3);
	stop();
}
END_TEST

/* Something changes during every load: what is in force is never older than the last of them, and
 * nobody has to wait. */
START_TEST(steady_changes_make_nothing_stale)
{
	start();
	atomic_store(&w.hold, true);
	replica_changed(w.replica, 1);
	wait_until(atomic_load(&w.loads) == 2);
	for (unsigned i = 0; i < 8; i++) {
		replica_changed(w.replica, 1);
		usleep(150000);
		atomic_store(&w.pass, 1);
		wait_until(atomic_load(&w.loads) == 3 + i); /* the load before is in force */
	}
	ck_assert(replica_fresh(w.replica));
	wait_until(!replica_fresh(w.replica)); /* this one takes too long */
	atomic_store(&w.hold, false);
	wait_until(replica_fresh(w.replica));
	stop();
}
END_TEST

START_TEST(tries_again_and_says_that_it_is_stale)
{
	start();
	atomic_store(&w.fail, 8);
	replica_changed(w.replica, 1);
	ck_assert(replica_fresh(w.replica)); /* a second is what was promised */
	wait_until(!replica_fresh(w.replica));
	ck_assert_uint_eq(newest(), 1);
	ck_assert(replica_wait(w.replica, 20000));
	wait_until(replica_fresh(w.replica));
	ck_assert_uint_eq(newest(), 2);
	stop();
}
END_TEST

START_TEST(says_when_it_cannot_begin)
{
	memset(&w, 0, sizeof(w));
	atomic_store(&w.fail, 1);
	w.loops[0] = loop_new(0);
	w.replica = replica_new(w.loops, 1, &ops, &w);
	ck_assert_int_eq(replica_start(w.replica), ERR_UNAVAILABLE);
	replica_stop(w.replica);
	replica_free(w.replica);
	replica_free(NULL);
	loop_free(w.loops[0]);
}
END_TEST

static void *teller(HF_UNUSED void *arg)
{
	for (unsigned i = 0; i < 200; i++) {
		replica_changed(w.replica, 1u << i % 8);
		unref(replica_take(w.replica));
		if (i % 50 == 0)
			ck_assert(replica_wait(w.replica, 20000));
	}
	return NULL;
}

START_TEST(hears_many_threads)
{
	pthread_t threads[4];
	start();
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, teller, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert(replica_wait(w.replica, 20000));
	ck_assert_uint_eq(newest(), atomic_load(&w.loads));
	stop();
}
END_TEST

/* With a value on its way to loops that never run. */
START_TEST(ends_in_the_middle)
{
	memset(&w, 0, sizeof(w));
	w.loops[0] = loop_new(0);
	w.replica = replica_new(w.loops, 1, &ops, &w);
	ck_assert_int_eq(replica_start(w.replica), 0);
	replica_changed(w.replica, 1);
	wait_until(newest() == 2);
	replica_stop(w.replica);
	replica_free(w.replica);
	loop_free(w.loops[0]);
	ck_assert_uint_eq(atomic_load(&w.alive), 0);
}
END_TEST

UNIT_MAIN("replica", loads_and_switches, loads_again_what_changed_meanwhile,
        steady_changes_make_nothing_stale, tries_again_and_says_that_it_is_stale,
        says_when_it_cannot_begin, hears_many_threads, ends_in_the_middle)
