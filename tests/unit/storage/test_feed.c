/* The change feed: what it tells, when it is fresh, what follows a gap. */
#include "tests/unit/storage/pg_fixture.h"

#include <pthread.h>

struct heard {
	pthread_mutex_t mutex;
	char text[32768]; /* "d:id:changed " … */
	unsigned resyncs;
};

static void on_changed(void *ctx, enum entity kind, struct slice id, uint64_t device_key, bool gone)
{
	struct heard *h = ctx;

	pthread_mutex_lock(&h->mutex);
	size_t at = strlen(h->text);
	snprintf(h->text + at, sizeof(h->text) - at, "%c:%.*s:%s%s ", (char)kind, SLICE_ARG(id),
	        gone ? "gone" : "changed",
	        kind == ENTITY_DEVICE && device_key == 0 ? ":nokey" : "");
	pthread_mutex_unlock(&h->mutex);
}

static void on_resync(void *ctx)
{
	struct heard *h = ctx;

	pthread_mutex_lock(&h->mutex);
	h->resyncs++;
	pthread_mutex_unlock(&h->mutex);
}

static bool heard_now(struct heard *h, const char *what)
{
	pthread_mutex_lock(&h->mutex);
	bool found = strstr(h->text, what);
	pthread_mutex_unlock(&h->mutex);
	return found;
}

static unsigned resyncs(struct heard *h)
{
	pthread_mutex_lock(&h->mutex);
	unsigned n = h->resyncs;
	pthread_mutex_unlock(&h->mutex);
	return n;
}

static bool heard(struct heard *h, const char *what, unsigned ms)
{
	for (uint64_t until = clock_ms() + ms; clock_ms() < until; (void)poll(NULL, 0, 5))
		if (heard_now(h, what))
			return true;
	return false;
}

static bool resynced(struct heard *h, unsigned n, unsigned ms)
{
	for (uint64_t until = clock_ms() + ms; clock_ms() < until; (void)poll(NULL, 0, 5))
		if (resyncs(h) >= n)
			return true;
	return false;
}

static bool fresh(const struct fx_store *f)
{
	return f->registry.feed_fresh_until_ms(f->registry.ctx) > clock_ms();
}

static bool fresh_is(const struct fx_store *f, bool wanted, unsigned ms)
{
	for (uint64_t until = clock_ms() + ms; clock_ms() < until; (void)poll(NULL, 0, 5))
		if (fresh(f) == wanted)
			return true;
	return false;
}

static void start(struct fx_store *f, struct heard *h)
{
	const struct storage_changes changes = {h, on_changed, on_resync};

	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->mutex, NULL);
	fx_store_start(f, &changes);
	ck_assert(fresh_is(f, true, 5000));
	ck_assert_uint_eq(f->registry.feed_epoch(f->registry.ctx), 1);
	/* What was read whole before the feed heard anything is read again. */
	ck_assert_uint_eq(resyncs(h), 1);
	pthread_mutex_lock(&h->mutex);
	h->resyncs = 0;
	pthread_mutex_unlock(&h->mutex);
}

static int feed_pid(const struct fx_store *f)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
	        "SELECT pid FROM pg_stat_activity WHERE application_name = 'holdfast feed'"
	        " AND datname = '%s'",
	        f->database);
	return (int)strtol(fx_sql(f->admin_url, sql), NULL, 10);
}

START_TEST(tells_changes)
{
	struct fx_store f;
	struct heard h;
	struct device_record d;
	struct access_key_record k = {.perms = 1};
	struct store_match any = {0};

	start(&f, &h);
	fx_device(&f, "dev 1", &d); /* any text that gets there comes through */
	ck_assert(heard(&h, "d:dev 1:changed ", 1000));
	ck_assert_int_eq(f.registry.device_delete(f.registry.ctx, "dev 1", any), 0);
	ck_assert(heard(&h, "d:dev 1:gone ", 1000));
	strcpy(k.name, "app");
	k.primary.len = k.secondary.len = 16;
	ck_assert_int_eq(f.registry.access_key_insert(f.registry.ctx, &k), 0);
	ck_assert(heard(&h, "k:app:changed ", 1000));
	ck_assert_int_eq(f.registry.access_key_delete(f.registry.ctx, "app", any), 0);
	ck_assert(heard(&h, "k:app:gone ", 1000));
	/* What is no message of ours is left alone. */
	fx_sql(f.admin_url,
	        "NOTIFY holdfast_changes; NOTIFY holdfast_changes, 'gd x y';"
	        "NOTIFY holdfast_changes, 'zd 1 y'; NOTIFY holdfast_changes, 'cd 5';"
	        "NOTIFY holdfast_changes, 'cd 5 last'");
	ck_assert(heard(&h, "d:last:changed ", 1000));
	ck_assert(!heard_now(&h, "y:"));
	ck_assert_uint_eq(resyncs(&h), 0);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

/* Whoever may connect may notify, but ends nobody's session by it. */
/* Documents of each kind, what is put on things, tokens, modules that go with their device. */
START_TEST(tells_every_kind)
{
	static const char kinds[] = "pgibaucv";
	static const struct store_match any = {0};
	struct fx_store f;
	struct heard h;
	struct device_record d;
	struct token_record token = {.name = "t", .role = "auditor", .mac = {1}};

	start(&f, &h);
	const struct document_store *s = &f.registry.documents;
	fx_device(&f, "d", &d);
	device_record_done(&d);
	fx_device(&f, "d/m", &d);
	device_record_done(&d);
	for (const char *kind = kinds; *kind; kind++) {
		struct document doc = {.kind = (enum entity) * kind, .name = "n", .text = "{}"};
		char what[16];

		ck_assert_int_eq(s->insert(s->ctx, &doc), 0);
		snprintf(what, sizeof(what), "%c:n:changed ", *kind);
		ck_assert_msg(heard(&h, what, 1000), "%s in %s", what, h.text);
	}
	h.text[0] = '\0';
	ck_assert_int_eq(s->link_add(s->ctx, ENTITY_DEVICE, "d", 'g', "n", NULL), 0);
	ck_assert(heard(&h, "d:d:changed ", 1000));
	ck_assert_int_eq(s->link_add(s->ctx, ENTITY_CERTIFICATE, "n", 'p', "n", NULL), 0);
	ck_assert(heard(&h, "c:n:changed ", 1000));
	h.text[0] = '\0';
	/* Who was in it is in it no more. */
	ck_assert_int_eq(s->remove(s->ctx, ENTITY_GROUP, "n", any), 0);
	ck_assert(heard(&h, "g:n:gone ", 1000));
	ck_assert(heard(&h, "d:d:changed ", 1000));
	ck_assert_int_eq(f.registry.token_insert(f.registry.ctx, &token), 0);
	ck_assert_int_eq(f.registry.token_delete(f.registry.ctx, "t"), 0);
	ck_assert(heard(&h, "t:t:gone ", 1000));
	ck_assert_int_eq(f.registry.device_delete(f.registry.ctx, "d", any), 0);
	ck_assert(heard(&h, "d:d:gone ", 1000));
	ck_assert(heard(&h, "d:d/m:gone ", 1000));
	fx_close(&f);
}
END_TEST

START_TEST(believes_no_forged_end)
{
	struct fx_store f;
	struct heard h;
	struct device_record d;
	char sql[256];

	start(&f, &h);
	fx_device(&f, "victim", &d);
	ck_assert(heard(&h, "d:victim:changed ", 1000));
	snprintf(sql, sizeof(sql), "NOTIFY holdfast_changes, 'gd %llu victim'",
	        (unsigned long long)d.device_key);
	fx_sql(f.hub_url, sql);
	/* More than one question takes. */
	fx_sql(f.hub_url,
	        "SELECT pg_notify('holdfast_changes', 'gd ' || 1000000 + n || ' n') FROM"
	        " generate_series(1, 300) n");
	fx_sql(f.hub_url, "NOTIFY holdfast_changes, 'gd 2000000 last'");
	ck_assert(heard(&h, "d:last:gone ", 2000));
	ck_assert(!heard_now(&h, "d:victim:gone "));
	/* By hand, without a tombstone. */
	fx_sql(f.owner_url, "DELETE FROM holdfast.devices WHERE id = 'victim'");
	ck_assert(heard(&h, "d:victim:gone ", 1000));
	ck_assert(fresh(&f));
	ck_assert_uint_eq(resyncs(&h), 0);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(asks_anew_after_a_lost_connection)
{
	struct fx_store f;
	struct heard h;
	struct device_record d;
	char sql[128];

	start(&f, &h);
	fx_device(&f, "d1", &d);
	/* Gone without a word: as if it had been deleted while the feed was down. */
	fx_sql(f.admin_url, "INSERT INTO holdfast.device_tombstones VALUES (4711, 'missed')");
	ck_assert(!heard_now(&h, "missed"));
	snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)", feed_pid(&f));
	fx_sql(f.admin_url, sql);
	ck_assert(resynced(&h, 1, 5000));
	ck_assert(fresh_is(&f, true, 2000));
	ck_assert_uint_eq(f.registry.feed_epoch(f.registry.ctx), 2);
	ck_assert(heard(&h, "d:missed:gone ", 10));
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(is_stale_when_the_server_is_silent)
{
	struct fx_store f;
	struct heard h;

	start(&f, &h);
	int pid = feed_pid(&f);
	ck_assert_int_gt(pid, 1);
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	uint64_t stopped = clock_ms();
	ck_assert(fresh_is(&f, false, 3000));
	ck_assert_uint_le(clock_ms() - stopped, 1100);
	kill(pid, SIGCONT);
	ck_assert(fresh_is(&f, true, 5000));
	ck_assert(resynced(&h, 1, 1000));
	ck_assert_uint_ge(f.registry.feed_epoch(f.registry.ctx), 2);
	fx_close(&f);
}
END_TEST

START_TEST(tells_its_health)
{
	struct fx_store f;
	struct heard h;
	struct storage_health health;

	start(&f, &h);
	for (uint64_t until = clock_ms() + 5000; clock_ms() < until; (void)poll(NULL, 0, 5)) {
		storage_health(f.storage, &health);
		if (health.lanes_up)
			break;
	}
	ck_assert(health.lanes_up && health.feed_fresh && health.maintenance_ok);
	ck_assert(!health.one_role);
	fx_close(&f);
}
END_TEST

/* The whole server goes and comes back. */
START_TEST(survives_a_restart_of_the_server)
{
	struct fx_store f;
	struct heard h;
	struct device_record d;
	struct fx_row r;
	struct fx_read rd;
	struct storage_health health;

	start(&f, &h);
	fx_device(&f, "d1", &d);
	ck_assert_int_eq(fx_store_one(&f, d.device_key, "before"), 0);
	pid_t pid = fork();
	if (pid == 0) { /* this process is not the postmaster's parent: its data folder knows */
		char data[80];
		snprintf(data, sizeof(data), "%s/data", fx.dir);
		fx_become_unprivileged();
		execl(FX_BIN "/pg_ctl", "pg_ctl", "-D", data, "-m", "immediate", "-s", "-w", "stop",
		        NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	ck_assert(fresh_is(&f, false, 2000));
	f.answered = 0;
	fx_row_init(&f, &r, d.device_key, "meanwhile");
	f.telemetry.append(f.telemetry.ctx, &r.row);
	ck_assert(!fx_wait(&f, &f.answered, 1, 300));
	storage_health(f.storage, &health);
	ck_assert(!health.lanes_up && !health.feed_fresh);
	fx.postmaster = fx_run_postmaster();
	ck_assert(fx_wait(&f, &f.answered, 1, 5000));
	ck_assert_int_eq(r.row.err, 0);
	ck_assert(fresh_is(&f, true, 5000));
	ck_assert_str_eq(fx_read(&f, d.device_key, true, &rd), "before|meanwhile");
	fx_row_done(&r);
	device_record_done(&d);
	fx_close(&f);
	fx_kill(SIGINT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("feed");
	TCase *tc = tcase_create("feed");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, tells_changes);
	tcase_add_test(tc, tells_every_kind);
	tcase_add_test(tc, believes_no_forged_end);
	tcase_add_test(tc, asks_anew_after_a_lost_connection);
	tcase_add_test(tc, is_stale_when_the_server_is_silent);
	tcase_add_test(tc, tells_its_health);
	tcase_add_test(tc, survives_a_restart_of_the_server); /* the last: it stops the server */
	suite_add_tcase(suite, tc);
	return fx_main(suite);
}
