/* What the API asks and orders about sessions: a worker waits while the loops go on. */
#include "tests/unit/broker/rig.h"

static struct ram_store *kept;

static void setup(void)
{
	kept = ram_new();
}
static void teardown(void)
{
	ram_free(kept);
}

static struct peer *lasting(struct rig *rig, const char *id, const char *user)
{
	return connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = id, .user = user, .keep = true, .expiry = 1000});
}

struct worker {
	pthread_t thread;
	struct broker *broker;
	const char *client_id;
	struct broker_session *list;
	unsigned n;
	int err;
	atomic_bool done;
};

static void *worker_list(void *arg)
{
	struct worker *w = arg;
	w->err = broker_sessions(w->broker, slice_str(w->client_id), 10, &w->list, &w->n);
	atomic_store(&w->done, true);
	return NULL;
}

static void *worker_delete(void *arg)
{
	struct worker *w = arg;
	w->err = broker_sessions_delete(w->broker, slice_str(w->client_id), &w->n);
	atomic_store(&w->done, true);
	return NULL;
}

static void begin(struct worker *w, struct rig *rig, const char *client_id, void *(*run)(void *arg))
{
	*w = (struct worker){.broker = rig->broker, .client_id = client_id};
	ck_assert_int_eq(pthread_create(&w->thread, NULL, run, w), 0);
}

static void finish(struct worker *w, struct rig *rig)
{
	uint64_t end = clock_ms() + 10000;
	while (!atomic_load(&w->done)) {
		ck_assert_msg(clock_ms() < end, "no answer");
		for (unsigned i = 0; i < rig->n; i++)
			event_base_loop(loop_event_base(rig->loops[i]), EVLOOP_NONBLOCK);
		rig_step(rig);
	}
	pthread_join(w->thread, NULL);
}

static unsigned ended(struct rig *rig, const char *client_id)
{
	struct worker w;
	begin(&w, rig, client_id, worker_delete);
	finish(&w, rig);
	ck_assert_int_eq(w.err, 0);
	return w.n;
}

START_TEST(sessions_of_one_client_id)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct worker w;
	struct peer *p = lasting(rig, "b", "key/ops");
	subscribe(p, "t/#", 2);
	subscribe(p, "$share/g/u", 1);
	connect_with(rig, 0, &(struct connect_opts){.v = 5, .id = "b", .user = "b"});
	begin(&w, rig, "b", worker_list);
	finish(&w, rig);
	ck_assert_int_eq(w.err, 0);
	ck_assert_uint_eq(w.n, 2);
	for (unsigned i = 0; i < w.n; i++) {
		const struct broker_session *s = &w.list[i];
		bool key = strcmp(s->kind, "key") == 0;
		ck_assert_str_eq(s->client_id, "b");
		ck_assert_str_eq(s->principal, key ? "ops" : "b");
		ck_assert(s->connected && s->durable == key);
		ck_assert_uint_eq(s->expiry, key ? 1000 : 0);
		ck_assert_uint_eq(s->n_subs, key ? 2 : 0);
		ck_assert(s->offline_us == 0 && s->expires_us == 0);
	}
	broker_sessions_free(w.list, w.n);
	peer_close(p);
	rig_step(rig);
	begin(&w, rig, "b", worker_list);
	finish(&w, rig);
	bool found = false;
	for (unsigned i = 0; i < w.n; i++) {
		if (!w.list[i].connected) {
			found = true;
			ck_assert_int_gt(w.list[i].offline_us, 0);
			ck_assert_int_gt(w.list[i].expires_us, w.list[i].offline_us);
		}
	}
	ck_assert(found);
	broker_sessions_free(w.list, w.n);
	rig_free(rig);
}
END_TEST

START_TEST(the_store_has_forgotten_them)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct peer *there = lasting(rig, "b", "key/ops"), *away = lasting(rig, "b", "b");
	subscribe(there, "t", 1);
	peer_close(away);
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).sessions, 2);
	ram_set_hold(kept, true);
	struct worker w;
	begin(&w, rig, "b", worker_delete);
	while (!there->closed)
		rig_step(rig);
	expect_closed(there, END_ADMINISTRATIVE);
	rig_step(rig);
	ck_assert(!atomic_load(&w.done));
	ram_set_hold(kept, false);
	finish(&w, rig);
	ck_assert_int_eq(w.err, 0);
	ck_assert_uint_eq(w.n, 2);
	ck_assert_uint_eq(ram_count(kept).sessions, 0);
	ck_assert_uint_eq(ended(rig, "b"), 0);
	ck_assert_uint_eq(ended(rig, ""), 0);
	there = lasting(rig, "b", "key/ops");
	ck_assert(!there->present);
	rig_free(rig);
}
END_TEST

START_TEST(nobody_waits_for_ever)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	lasting(rig, "b", "key/ops");
	ram_set_hold(kept, true);
	struct worker w;
	begin(&w, rig, "b", worker_delete);
	finish(&w, rig);
	ck_assert_int_eq(w.err, ERR_UNAVAILABLE);
	ram_set_hold(kept, false); /* its answer comes for nobody */
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).sessions, 0);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/sessions");
	TCase *t = tcase_create("sessions");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, sessions_of_one_client_id);
	tcase_add_test(t, the_store_has_forgotten_them);
	tcase_add_test(t, nobody_waits_for_ever);
	return run_suite(s);
}
