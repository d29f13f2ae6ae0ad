/* `holdfast verify`: the database at one moment, or an export of it; what is found is told. */
#include "storage/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/private.h"

#define FOUND_LINES 20 /* of findings that are told one by one */
#define LINE_MAX_LEN 400
#define SET_UP_MS 30000

#define FAIL(v, err, ...) (snprintf((v)->error, STORAGE_ERROR_LEN, __VA_ARGS__), (err))

void verify_found(struct verify *v, const char *format, ...)
{
	char line[LINE_MAX_LEN];
	va_list args;

	if (++v->findings > FOUND_LINES)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	v->say(line);
}

/* ---- sources ---- */

static int file_of(struct verify *v, const char *folder, const char *name, char **ret)
{
	if (asprintf(ret, "%s/%s.bin", folder, name) < 0) {
		*ret = NULL;
		return FAIL(v, ERR_NOMEM, "out of memory");
	}
	return 0;
}

static int from_file(struct verify *v, struct copy *c, const char *name)
{
	_cleanup_free_ char *file = NULL;
	int err = file_of(v, v->settings->from, name, &file);

	if (err < 0)
		return err;
	err = copy_open_file(c, file);
	if (err == ERR_NOT_FOUND)
		return FAIL(v, err, "%s is not there: the export is not whole", file);
	return err < 0 ? FAIL(v, err, "%s: %s", file, strerror(errno)) : 0;
}

int verify_open(
        struct verify *v, struct copy *c, unsigned which, const char *name, const char *select)
{
	_cleanup_free_ char *file = NULL;

	if (v->settings->from)
		return from_file(v, c, name);
	int err = v->settings->export_to ? file_of(v, v->settings->export_to, name, &file) : 0;
	if (err < 0)
		return err;
	err = copy_open(c, &v->pg[which], select, file);
	if (err == ERR_IO)
		return FAIL(v, err, "%s: %s", file, strerror(errno));
	return err < 0
	        ? FAIL(v, err, "the database does not tell (%s): %s", name, v->pg[which].message)
	        : 0;
}

int verify_next(struct verify *v, struct copy *c, unsigned fields)
{
	int r = copy_next(c, fields);

	if (r == ERR_IO)
		return FAIL(v, r, "the export cannot be written: %s", strerror(errno));
	if (r == ERR_CORRUPT)
		return verify_bad(v, "it is cut off, or not of its form");
	return r < 0 ? FAIL(v, r, "the database does not go on: %s", c->pg->message) : r;
}

int verify_close(struct verify *v, struct copy *c)
{
	return copy_close(c) < 0
	        ? FAIL(v, ERR_IO, "the export cannot be written: %s", strerror(errno))
	        : 0;
}

int verify_bad(struct verify *v, const char *what)
{
	return FAIL(v, ERR_CORRUPT, "%s cannot be read: %s",
	        v->settings->from ? "the export" : "what the database tells", what);
}

/* ---- one moment, on both connections ---- */

static const char begin_sql[] =
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL work_mem = '256MB'";

static int begin(struct verify *v, struct pg *pg)
{
	const struct pg_use use = {
	        .name = "holdfast verify", .connect_timeout_s = v->settings->connect_timeout_s};
	char why[160] = "";

	if (pg_open(pg, v->settings->url, &use, why, sizeof(why)) < 0)
		return FAIL(v, ERR_UNAVAILABLE, "the database: %s", why);
	int err = storage_check_version(pg, v->error);
	if (err < 0)
		return err;
	return pg_script(pg, begin_sql, clock_ms() + SET_UP_MS) < 0
	        ? FAIL(v, ERR_UNAVAILABLE, "the database: %s", pg->message)
	        : 0;
}

static int same_moment(struct verify *v)
{
	_cleanup_result_ PGresult *r = NULL;
	char id[64], sql[100];
	int err = pg_exec(&v->pg[0], "SELECT pg_catalog.pg_export_snapshot()", NULL,
	        clock_ms() + SET_UP_MS, &r);

	if (err == 0 && !pg_get_text(r, 0, 0, id, sizeof(id)))
		err = ERR_INTERNAL;
	if (err == 0 && strspn(id, "0123456789ABCDEF-") != strlen(id))
		err = ERR_INTERNAL;
	if (err == 0) {
		snprintf(sql, sizeof(sql), "SET TRANSACTION SNAPSHOT '%s'", id);
		err = pg_script(&v->pg[1], sql, clock_ms() + SET_UP_MS);
	}
	return err < 0 ? FAIL(v, err, "the database gives no snapshot") : 0;
}

static int open_database(struct verify *v)
{
	const char *folder = v->settings->export_to;

	if (v->settings->from)
		return 0;
	int err = begin(v, &v->pg[0]);
	if (err == 0)
		err = begin(v, &v->pg[1]);
	if (err == 0)
		err = same_moment(v);
	if (err == 0 && folder && mkdir(folder, 0700) < 0)
		return FAIL(v, ERR_IO, "%s: %s", folder,
		        errno == EEXIST ? "it is there already: an export makes its folder"
		                        : strerror(errno));
	return err;
}

/* ---- the report ---- */

static void report(struct verify *v)
{
	char line[LINE_MAX_LEN], when[CLOCK_RFC3339_LEN];

	snprintf(line, sizeof(line),
	        "%llu rows of telemetry in %llu rows of chains, %llu rows of the audit log, %llu "
	        "heads",
	        (unsigned long long)v->rows, (unsigned long long)v->links,
	        (unsigned long long)v->audit_rows, (unsigned long long)v->heads);
	v->say(line);
	if (v->unproved > 0 && v->last_head > 0) {
		snprintf(line, sizeof(line),
		        "unprovable so far: %llu rows of chains came after head %lld of %s; what "
		        "was cut off behind them since would not show",
		        (unsigned long long)v->unproved, (long long)v->last_head,
		        clock_rfc3339(v->last_head_us, when));
		v->say(line);
	} else if (v->last_head == 0) {
		v->say("unprovable: there is no signed head; what was cut off the end would not "
		       "show");
	}
	if (v->findings > FOUND_LINES) {
		snprintf(line, sizeof(line), "and %llu more",
		        (unsigned long long)(v->findings - FOUND_LINES));
		v->say(line);
	}
	v->say(v->findings == 0 ? "verified: nothing was altered, removed, inserted or cut off"
	                        : "NOT as it was written");
}

int storage_verify(const struct verify_settings *settings, void (*say)(const char *line),
        char error[static STORAGE_ERROR_LEN])
{
	struct verify v = {.settings = settings, .say = say, .error = error, .chain = -1};

	error[0] = '\0';
	int err = verify_kept_heads(&v);
	if (err == 0)
		err = open_database(&v);
	if (err == 0)
		err = verify_proofs(&v);
	if (err == 0)
		err = verify_audit(&v);
	if (err == 0)
		err = verify_chains(&v);
	if (err == 0)
		err = verify_days(&v);
	if (err == 0)
		report(&v);
	if (err == 0 && v.findings > 0)
		err = FAIL(&v, ERR_CORRUPT, "%llu findings", (unsigned long long)v.findings);
	verify_proofs_done(&v);
	pg_close(&v.pg[0]);
	pg_close(&v.pg[1]);
	return err;
}
