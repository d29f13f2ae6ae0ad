/*
 * A private PostgreSQL for one test program: a cluster in a temporary folder, on a Unix socket
 * only, run by an unprivileged user, with an owner role and a hub role; a database of its own for
 * each test; the files that `holdfast init` would make. Everything is gone when the program ends.
 */
#ifndef HF_TESTS_PG_FIXTURE_H
#define HF_TESTS_PG_FIXTURE_H

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/storage.h"

#define FX_BIN "/usr/lib/postgresql/15/bin"
#define FX_MIGRATIONS "migrations"
#define FX_TOKEN "hfo_a-token-of-the-owner-for-tests"
#define FX_OWNER_KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static struct {
	char dir[64];
	pid_t postmaster;
	unsigned databases;
} fx;

/* ---- the cluster ---- */

static void fx_become_unprivileged(void)
{
	const struct passwd *pw = getpwnam("postgres");

	if (geteuid() != 0)
		return;
	if (!pw || setgroups(0, NULL) || setgid(pw->pw_gid) || setuid(pw->pw_uid))
		_exit(127);
}

/* Runs a program of PostgreSQL in the background; its output goes to a file. */
static pid_t fx_spawn(char *const argv[])
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	char path[128], log[128];
	snprintf(path, sizeof(path), "%s/%s", FX_BIN, argv[0]);
	snprintf(log, sizeof(log), "%s/log", fx.dir);
	fx_become_unprivileged();
	prctl(PR_SET_PDEATHSIG, SIGINT);
	if (getppid() != parent)
		_exit(127);
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(fd, 1);
	dup2(fd, 2);
	execv(path, argv);
	_exit(127);
}

static void fx_fail(const char *what)
{
	fprintf(stderr, "fixture: %s\n", what);
	exit(1);
}

static void fx_run_tool(char *const argv[])
{
	int status;
	pid_t pid = fx_spawn(argv);

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		fx_fail(argv[0]);
}

/* One statement on a connection of its own; the first value of the result, "" if none. */
static const char *fx_sql(const char *url, const char *sql)
{
	static char value[4096];
	PGconn *conn = PQconnectdb(url);
	PGresult *r = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(r);

	value[0] = '\0';
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		fprintf(stderr, "fixture: %s: %s\n", sql, PQerrorMessage(conn));
		snprintf(value, sizeof(value), "error");
	} else if (PQntuples(r) > 0) {
		snprintf(value, sizeof(value), "%s", PQgetvalue(r, 0, 0));
	}
	PQclear(r);
	PQfinish(conn);
	return value;
}

/* Whether the server refuses a statement. */
HF_UNUSED static bool fx_refused(const char *url, const char *sql)
{
	PGconn *conn = PQconnectdb(url);
	PGresult *r = PQexec(conn, sql);
	bool refused = PQresultStatus(r) == PGRES_FATAL_ERROR && PQstatus(conn) == CONNECTION_OK;

	PQclear(r);
	PQfinish(conn);
	return refused;
}

static const char *fx_url(const char *database, const char *role)
{
	static char urls[4][200];
	static unsigned next;
	char *url = urls[next++ % 4];

	snprintf(url, sizeof(urls[0]), "postgresql:///%s?host=%s&user=%s", database, fx.dir, role);
	return url;
}

HF_UNUSED static pid_t fx_run_postmaster(void)
{
	char data[80];
	snprintf(data, sizeof(data), "%s/data", fx.dir);
	char *argv[] = {"postgres", "-D", data, "-k", fx.dir, "-c", "listen_addresses=", "-c",
	        "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB", NULL};
	pid_t pid = fx_spawn(argv);

	for (uint64_t until = clock_ms() + 30000; clock_ms() < until;) {
		PGPing ping = PQping(fx_url("postgres", "postgres"));

		if (ping == PQPING_OK)
			return pid;
		(void)poll(NULL, 0, 20);
	}
	fx_fail("PostgreSQL does not start");
	return -1;
}

static void fx_write(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", fx.dir, name);
	FILE *f = fopen(path, "we");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0 || chmod(path, 0600) != 0)
		fx_fail(path);
}

static void fx_start(void)
{
	char data[80];

	crypto_init();
	signal(SIGPIPE, SIG_IGN);
	snprintf(fx.dir, sizeof(fx.dir), "/tmp/hf-storage-XXXXXX");
	if (!mkdtemp(fx.dir))
		fx_fail("no temporary folder");
	const struct passwd *pw = getpwnam("postgres");
	if (geteuid() == 0 && (!pw || chown(fx.dir, pw->pw_uid, pw->pw_gid) != 0))
		fx_fail("the folder cannot be given away");
	snprintf(data, sizeof(data), "%s/data", fx.dir);
	char *argv[] = {"initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
	        "--locale=C", "--no-sync", NULL};
	fx_run_tool(argv);
	fx.postmaster = fx_run_postmaster();
	fx_sql(fx_url("postgres", "postgres"), "CREATE ROLE owner LOGIN CREATEROLE");
	fx_sql(fx_url("postgres", "postgres"), "CREATE ROLE hub LOGIN");
	fx_write(
	        "master.key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
	fx_write("owner.token", FX_TOKEN "\n");
	fx_write("owner.connection",
	        "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=" FX_OWNER_KEY
	        "\n");
}

static void fx_kill(int signal_number)
{
	if (fx.postmaster > 0) {
		kill(fx.postmaster, signal_number);
		waitpid(fx.postmaster, NULL, 0);
		fx.postmaster = 0;
	}
}

static void fx_stop(void)
{
	fx_kill(SIGINT);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", "--", fx.dir, NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

/* The body of each program's main: the suite with a cluster around it. */
HF_UNUSED static int fx_main(Suite *suite)
{
	fx_start();
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	fx_stop();
	crypto_thread_done();
	return failed == 0 ? 0 : 1;
}

/* ---- a database and an opened store ---- */

struct fx_store {
	char database[32], owner_url[200], hub_url[200], admin_url[200];
	char error[STORAGE_ERROR_LEN];
	char files[3][128];
	struct storage_settings settings;
	struct storage *storage;
	struct telemetry_store telemetry;
	struct registry_store registry;
	struct telemetry_query_store query;
	struct mailbox box; /* the asker's */
	unsigned answered;  /* mails that came to it, counted by their deliver functions */
};

static void fx_settings(struct fx_store *f)
{
	static const char *const names[] = {"master.key", "owner.token", "owner.connection"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		snprintf(f->files[i], sizeof(f->files[i]), "%s/%s", fx.dir, names[i]);
	f->settings = (struct storage_settings){
	        .url = f->hub_url,
	        .owner_url = f->owner_url,
	        .master_key_file = f->files[0],
	        .owner_token_file = f->files[1],
	        .owner_connection_file = f->files[2],
	        .connect_timeout_s = 5,
	        .lanes = 2,
	        .batch_rows = 1024,
	        .batch_bytes = 2 * 1024 * 1024,
	        .queue_bytes = 64 * 1024 * 1024,
	        .retention_days = 90,
	        .lookup_ms = 5000,
	};
}

/* An empty database. */
HF_UNUSED static void fx_database(struct fx_store *f)
{
	char sql[128];

	memset(f, 0, sizeof(*f));
	snprintf(f->database, sizeof(f->database), "t%d_%u", (int)getpid(), fx.databases++);
	snprintf(f->owner_url, sizeof(f->owner_url), "%s", fx_url(f->database, "owner"));
	snprintf(f->hub_url, sizeof(f->hub_url), "%s", fx_url(f->database, "hub"));
	snprintf(f->admin_url, sizeof(f->admin_url), "%s", fx_url(f->database, "postgres"));
	snprintf(sql, sizeof(sql), "CREATE DATABASE %s OWNER owner", f->database);
	ck_assert_str_ne(fx_sql(fx_url("postgres", "postgres"), sql), "error");
	ck_assert_int_eq(mailbox_init(&f->box), 0);
	fx_settings(f);
}

HF_UNUSED static void fx_migrate(struct fx_store *f)
{
	int err = storage_migrate(f->owner_url, f->hub_url, FX_MIGRATIONS, f->error);

	ck_assert_msg(err == 0, "migrate: %s", f->error);
}

HF_UNUSED static void fx_open(struct fx_store *f)
{
	int err = storage_open(&f->settings, &f->storage, f->error);

	ck_assert_msg(err == 0, "open: %s", f->error);
	f->telemetry = storage_telemetry(f->storage);
	f->registry = storage_registry(f->storage);
	f->query = storage_query(f->storage);
}

HF_UNUSED static void fx_close(struct fx_store *f)
{
	storage_stop(f->storage, clock_ms() + 5000);
	storage_free(f->storage);
	f->storage = NULL;
	mail_deliver(mailbox_take(&f->box));
	mailbox_done(&f->box);
}

/* Database, migrated, opened, started. */
HF_UNUSED static void fx_store_start(struct fx_store *f, const struct storage_changes *changes)
{
	static const struct storage_changes none;

	fx_database(f);
	fx_migrate(f);
	fx_open(f);
	ck_assert_int_eq(storage_start(f->storage, changes ? changes : &none), 0);
}

/* Runs the asker's mailbox until *count is n. */
HF_UNUSED static bool fx_wait(struct fx_store *f, const unsigned *count, unsigned n, unsigned ms)
{
	uint64_t until = clock_ms() + ms;

	mail_flush();
	while (*count < n) {
		uint64_t now = clock_ms();

		if (now >= until)
			return false;
		if (mailbox_wait(&f->box, (int)(until - now)))
			mailbox_run(&f->box);
	}
	return true;
}

/* Waits until the database has it: a condition that is a SELECT giving "t". */
HF_UNUSED static bool fx_eventually(const char *url, const char *sql, unsigned ms)
{
	for (uint64_t until = clock_ms() + ms; clock_ms() < until;) {
		if (strcmp(fx_sql(url, sql), "t") == 0)
			return true;
		(void)poll(NULL, 0, 10);
	}
	return false;
}

/* From now on commits are done and their answers never come (replication to nobody). The server's
 * processes hear of it one by one: it is so once a commit is seen to wait. */
HF_UNUSED static void fx_hold_commits(const struct fx_store *f)
{
	char url[240];
	bool held = false;

	snprintf(url, sizeof(url), "%s&application_name=probe", f->admin_url);
	fx_sql(f->admin_url, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
	fx_sql(f->admin_url, "SELECT pg_reload_conf()");
	for (unsigned i = 0; i < 20 && !held; i++) {
		PGconn *probe = PQconnectdb(url);

		PQsendQuery(probe, "SELECT pg_logical_emit_message(true, '', '')");
		held = fx_eventually(f->admin_url,
		        "SELECT count(*) > 0 FROM pg_stat_activity"
		        " WHERE wait_event = 'SyncRep' AND application_name = 'probe'",
		        500);
		fx_sql(f->admin_url,
		        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		        " WHERE application_name = 'probe'");
		PQfinish(probe);
	}
	ck_assert(held);
}

/* A lane waits for its commit: its connection is cut, and commits are answered again. */
HF_UNUSED static void fx_cut_commits(const struct fx_store *f)
{
	ck_assert(fx_eventually(f->admin_url,
	        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
	        " AND application_name = 'holdfast lane'",
	        10000));
	fx_sql(f->admin_url, "ALTER SYSTEM RESET synchronous_standby_names");
	fx_sql(f->admin_url,
	        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
	        " WHERE application_name = 'holdfast lane' AND wait_event = 'SyncRep'");
	fx_sql(f->admin_url, "SELECT pg_reload_conf()");
}

/* ---- devices and messages ---- */

HF_UNUSED static void fx_device(struct fx_store *f, const char *id, struct device_record *ret)
{
	memset(ret, 0, sizeof(*ret));
	snprintf(ret->id, sizeof(ret->id), "%s", id);
	ret->enabled = true;
	ret->primary.len = ret->secondary.len = 32;
	memset(ret->primary.bytes, 'p', 32);
	memset(ret->secondary.bytes, 's', 32);
	ck_assert_int_eq(f->registry.device_insert(f->registry.ctx, ret), 0);
}

struct fx_row {
	struct telemetry_row row; /* first: what the mail is embedded in */
	struct fx_store *f;
};

HF_UNUSED static void fx_row_answered(struct mail *m)
{
	struct fx_row *r = container_of(m, struct fx_row, row.mail);

	r->f->answered++;
}

/* A row of one device; the message is the row's until fx_row_done. */
HF_UNUSED static void fx_row_init(
        struct fx_store *f, struct fx_row *r, uint64_t device_key, const char *payload)
{
	memset(r, 0, sizeof(*r));
	r->f = f;
	r->row.mail.deliver = fx_row_answered;
	r->row.reply_to = &f->box;
	r->row.device_key = device_key;
	r->row.err = 1;
	r->row.msg = msg_new(
	        SLICE_LIT("devices/d/messages/events/"), SLICE_LIT("\x01\x01"), slice_str(payload));
	r->row.msg->qos = 1;
	r->row.msg->received_us = clock_wall_us();
	r->row.topic = msg_topic(r->row.msg);
}

HF_UNUSED static void fx_row_done(struct fx_row *r)
{
	r->row.msg = msg_unref(r->row.msg);
}

/* Stores one message and waits; its answer. */
HF_UNUSED static int fx_store_one(struct fx_store *f, uint64_t device_key, const char *payload)
{
	struct fx_row r;
	unsigned before = f->answered;

	fx_row_init(f, &r, device_key, payload);
	f->telemetry.append(f->telemetry.ctx, &r.row);
	ck_assert(fx_wait(f, &f->answered, before + 1, 10000));
	fx_row_done(&r);
	return r.row.err;
}

/* What a query gives: payloads joined by '|', "!" for a refused row. */
struct fx_read {
	char text[65536];
	unsigned n, corrupt;
	int64_t last_seq, last_us;
	bool rising;
};

HF_UNUSED static int fx_read_item(const struct telemetry_item *it, void *arg)
{
	struct fx_read *rd = arg;
	size_t at = strlen(rd->text);

	if (it->corrupt)
		snprintf(rd->text + at, sizeof(rd->text) - at, "%s!", rd->n ? "|" : "");
	else
		snprintf(rd->text + at, sizeof(rd->text) - at, "%s%.*s", rd->n ? "|" : "",
		        SLICE_ARG(it->payload));
	rd->rising = (rd->n == 0 || rd->rising) && (rd->n == 0 || it->seq > rd->last_seq);
	rd->corrupt += it->corrupt;
	rd->last_seq = it->seq;
	rd->last_us = it->received_us;
	rd->n++;
	return 0;
}

HF_UNUSED static const char *fx_read(
        struct fx_store *f, uint64_t device_key, bool ascending, struct fx_read *rd)
{
	const struct telemetry_query q = {.device_key = device_key,
	        .from_us = INT64_MIN,
	        .to_us = INT64_MAX,
	        .ascending = ascending,
	        .limit = 100000};

	memset(rd, 0, sizeof(*rd));
	ck_assert_int_eq(f->query.query(f->query.ctx, &q, fx_read_item, rd), 0);
	return rd->text;
}

#endif
