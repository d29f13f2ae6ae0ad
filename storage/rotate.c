/*
 * `holdfast rotate-master-key`: another master key takes the place of the current one, while the
 * hubs serve. How far it is stands in the row of holdfast.rotation, so that a command that was
 * killed is simply run again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/rotation.h"

#define HUBS_MS (10 * 60 * 1000) /* for hubs to do what they are told */
#define GONE_MS 5000             /* for them to let the old key go */
#define LOOK_MS 50
#define SAY_MS 3000 /* who waits is told for whom */
#define MAX_WALKS 100
#define ID_TEXT_LEN (2 * KEYRING_ID_LEN + 1)
#define STATEMENT_MS 60000

struct rotate {
	const struct storage_settings *settings;
	struct pg pg; /* of the owner */
	struct keyring *keyring;
	struct rotation at;
	struct rewrap_count count;
	void (*say)(const char *line);
	char *error;
	const char *file;
	char *next, *made, *folder; /* made: the next one while it is written */
};

HF_PRINTF(3, 4) static int fail(const struct rotate *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->error, STORAGE_ERROR_LEN, fmt, ap);
	va_end(ap);
	return err;
}

static const char *id_text(const uint8_t *id, char out[static ID_TEXT_LEN])
{
	crypto_hex_encode(slice_make(id, KEYRING_ID_LEN), out);
	out[ID_TEXT_LEN - 1] = '\0';
	return out;
}

static struct slice id_slice(const uint8_t *id)
{
	return slice_make(id, KEYRING_ID_LEN);
}

HF_PRINTF(2, 3) static void tell(const struct rotate *r, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	r->say(line);
}

static int database_failed(struct rotate *r, int err)
{
	return fail(r, err == ERR_UNAVAILABLE ? err : ERR_IO,
	        "the database: %s (%s); nothing is lost: run it again", r->pg.message,
	        r->pg.sqlstate);
}

static int reload(struct rotate *r)
{
	return keyring_reload(r->keyring, r->error, STORAGE_ERROR_LEN);
}

/* ---- the files ---- */

static int file_failed(struct rotate *r, const char *what, const char *path)
{
	return fail(r, ERR_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

static int name_files(struct rotate *r)
{
	const char *file = r->settings->master_key.file, *slash = strrchr(file, '/');
	int folder = slash ? (int)(slash - file) + 1 : 0;

	r->file = file;
	r->folder = folder ? strndup(file, (size_t)folder) : strdup(".");
	if (asprintf(&r->next, "%s" NEXT_SUFFIX, file) < 0)
		r->next = NULL;
	if (asprintf(&r->made, "%s" NEXT_SUFFIX ".new", file) < 0)
		r->made = NULL;
	return r->folder && r->next && r->made ? 0 : fail(r, ERR_NOMEM, "out of memory");
}

static int sync_folder(struct rotate *r)
{
	_cleanup_close_ int fd = open(r->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return file_failed(r, "write", r->folder);
	return 0;
}

static int write_key(struct rotate *r, const char *path)
{
	_cleanup_close_ int fd = open(
	        path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	char line[MASTER_KEY_LINE_MAX];

	if (fd < 0)
		return file_failed(r, "make", path);
	int err = storage_make_master_key(&r->settings->master_key, line, r->error);
	if (err < 0)
		return err;
	size_t length = strlen(line);
	ssize_t n = write(fd, line, length);
	crypto_wipe(line, sizeof(line));
	if (n != (ssize_t)length || fsync(fd) < 0)
		return file_failed(r, "write", path);
	return 0;
}

/* Where commands print the master keys, others keep them. */
static bool by_command(const struct rotate *r)
{
	const char *command = r->settings->master_key.command;

	return command && command[0];
}

/* Whole or not at all: what a killed run left half is written over. */
static int make_next(struct rotate *r)
{
	if (by_command(r))
		return fail(r, ERR_NOT_FOUND,
		        "secrets.master_key_next_command gives no next master key: make one, in "
		        "the place where that finds it");
	int err = write_key(r, r->made);

	if (err == 0 && rename(r->made, r->next) < 0)
		err = file_failed(r, "rename", r->made);
	return err < 0 ? err : sync_folder(r);
}

/* ---- how far it is ---- */

static int run(struct rotate *r, const char *sql, const struct pg_params *p)
{
	return pg_exec(&r->pg, sql, p, clock_ms() + STATEMENT_MS, NULL);
}

static int take_lock(struct rotate *r)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_i64(&p, LOCK_ROTATE);
	int err = pg_exec(
	        &r->pg, "SELECT pg_try_advisory_lock($1)", &p, clock_ms() + STATEMENT_MS, &res);
	if (err < 0)
		return database_failed(r, err);
	if (!pg_get_bool(res, 0, 0))
		return fail(r, ERR_EXISTS, "another rotation of the master key is running");
	return 0;
}

/* Writes the stage, and the hubs hear of it. No hub notes meanwhile what it holds. */
static int write_stage(struct rotate *r, const char *sql, const struct pg_params *p)
{
	struct pg_params lock = {0};

	pg_put_i64(&lock, LOCK_ROTATION);
	int err = pg_script(&r->pg, "BEGIN", clock_ms() + STATEMENT_MS);
	if (err == 0)
		err = run(r, "SELECT pg_advisory_xact_lock($1)", &lock);
	if (err == 0)
		err = run(r, sql, p);
	if (err == 0)
		err = run(r, "SELECT pg_notify('holdfast_changes', '" ROTATION_NOTICE "')", NULL);
	if (err == 0)
		err = pg_script(&r->pg, "COMMIT", clock_ms() + STATEMENT_MS);
	return err < 0 ? database_failed(r, err) : 0;
}

static int begin(struct rotate *r, const struct keyring_ids *ids)
{
	struct pg_params p = {0};
	char old[ID_TEXT_LEN], new[ID_TEXT_LEN];

	pg_put_bytes(&p, id_slice(ids->current));
	pg_put_bytes(&p, id_slice(ids->next));
	int err = write_stage(
	        r, "INSERT INTO holdfast.rotation (stage, old_id, new_id) VALUES (1, $1, $2)", &p);
	if (err < 0)
		return err;
	r->at = (struct rotation){.stage = ROTATION_LOAD, .known = true};
	memcpy(r->at.old_id, ids->current, KEYRING_ID_LEN);
	memcpy(r->at.new_id, ids->next, KEYRING_ID_LEN);
	tell(r, "the master key %s is going to be replaced by %s", id_text(ids->current, old),
	        id_text(ids->next, new));
	return 0;
}

static int put_in_place(struct rotate *r);

/* A hub with a home of its own was given the new key by hand, in the last rotation, and has it in
 * the place of the next one still. */
static int settle_place(struct rotate *r, struct keyring_ids *ids)
{
	bool next = false;
	int err = rewrap_which(&r->pg, r->keyring, &next);

	if (err == ERR_CONFLICT)
		return fail(r, err,
		        "the master key %s is not the one that this database was made with",
		        r->file);
	if (err < 0)
		return database_failed(r, err);
	if (!next)
		return 0;
	err = put_in_place(r);
	return err < 0 ? err : keyring_ids(r->keyring, ids);
}

static int start(struct rotate *r)
{
	struct keyring_ids ids;
	int err = keyring_ids(r->keyring, &ids);

	if (err == 0)
		err = settle_place(r, &ids);
	if (err == 0 && !ids.has_next) {
		err = make_next(r);
		if (err == 0)
			err = reload(r);
		if (err == 0)
			err = keyring_ids(r->keyring, &ids);
	}
	return err < 0 ? err : begin(r, &ids);
}

/* ---- the hubs ---- */

/* One that ended without a word counts for a while; one whose lanes are connected always. */
#define LIVE_HUBS                                                                               \
	" FROM holdfast.hubs h WHERE (h.holds <> '{}' AND h.seen_at > now() - interval '15 s')" \
	" OR EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory'"           \
	" AND l.objsubid = 1 AND l.granted AND l.database = (SELECT oid FROM"                   \
	" pg_catalog.pg_database WHERE datname = current_database())"                           \
	" AND l.classid::bigint = (h.fence >> 32) & 4294967295"                                 \
	" AND l.objid::bigint = h.fence & 4294967295)"

static const char holds_sql[] = "SELECT h.hub_id FROM (SELECT h.hub_id, h.holds" LIVE_HUBS
                                ") h WHERE NOT $1 = ANY (h.holds)";
static const char wraps_sql[] = "SELECT h.hub_id FROM (SELECT h.hub_id, h.wraps" LIVE_HUBS
                                ") h WHERE h.wraps IS DISTINCT FROM $1";
static const char lets_go_sql[] = "SELECT h.hub_id FROM (SELECT h.hub_id, h.holds" LIVE_HUBS
                                  ") h WHERE $1 = ANY (h.holds)";

/* How many have not done it yet; the first one's name. */
static int ask_hubs(struct rotate *r, const char *sql, const uint8_t *id, int *ret_n,
        char first[static HUB_ID_LEN + 1])
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_bytes(&p, id_slice(id));
	int err = pg_exec(&r->pg, sql, &p, clock_ms() + STATEMENT_MS, &res);
	if (err < 0)
		return database_failed(r, err);
	*ret_n = PQntuples(res);
	if (*ret_n > 0 && !pg_get_text(res, 0, 0, first, HUB_ID_LEN + 1))
		snprintf(first, HUB_ID_LEN + 1, "?");
	return 0;
}

/* Until every hub has done what sql asks for, or time is over: ERR_TIMEOUT. */
static int await_hubs(
        struct rotate *r, const char *sql, const uint8_t *id, uint64_t ms, const char *what)
{
	uint64_t now = clock_ms(), until = now + ms, say = now + SAY_MS;
	char first[HUB_ID_LEN + 1] = "";
	int n = 0;

	for (;; now = clock_ms()) {
		int err = ask_hubs(r, sql, id, &n, first);
		if (err < 0 || n == 0)
			return err;
		if (now >= until)
			return fail(r, ERR_TIMEOUT,
			        "%d hubs (%s) do not %s; nothing is lost: run it again", n, first,
			        what);
		if (now >= say) {
			tell(r, "waiting for %d hubs (%s) to %s", n, first, what);
			say = now + 10 * SAY_MS;
		}
		(void)poll(NULL, 0, LOOK_MS);
	}
}

/* ---- the stages ---- */

/* Each asks the files first: without both keys nothing can go on. */
static int check_keys(struct rotate *r)
{
	struct keyring_ids ids;
	char id[ID_TEXT_LEN];
	int err = keyring_ids(r->keyring, &ids);

	if (err < 0)
		return fail(r, err, "the master keys do not tell what they are");
	bool old = memcmp(ids.current, r->at.old_id, KEYRING_ID_LEN) == 0;
	bool new = ids.has_next &&memcmp(ids.next, r->at.new_id, KEYRING_ID_LEN) == 0;
	if (!old)
		return fail(r, ERR_CONFLICT,
		        "%s is not the master key %s that this rotation began with", r->file,
		        id_text(r->at.old_id, id));
	if (!new)
		return fail(r, ERR_CONFLICT,
		        "%s is not the master key %s that this rotation leads to: put it back",
		        r->next, id_text(r->at.new_id, id));
	return 0;
}

static int load(struct rotate *r)
{
	int err = check_keys(r);

	if (err == 0)
		err = await_hubs(r, holds_sql, r->at.new_id, HUBS_MS,
		        "load the next master key: where a hub has a home of its own, it is to be "
		        "copied there");
	/* A hub that came meanwhile reads either stage, and is asked again below. */
	if (err == 0)
		err = write_stage(r, "UPDATE holdfast.rotation SET stage = 2", NULL);
	return err;
}

static int walk_until_clean(struct rotate *r)
{
	for (unsigned i = 0; i < MAX_WALKS; i++) {
		struct rewrap_count c = {0};
		int err = rewrap_all(&r->pg, r->keyring, &c);

		if (err == ERR_CORRUPT)
			return fail(r, err, "the hub's keys in the database were altered");
		if (err < 0)
			return database_failed(r, err);
		r->count.changed += c.changed;
		r->count.altered = c.altered;
		if (c.changed == 0 && c.missed == 0)
			return 0;
	}
	return fail(r, ERR_CONFLICT, "keys are changed faster than they are wrapped: run it again");
}

static int wrap(struct rotate *r)
{
	int err = check_keys(r);

	if (err == 0 && keyring_set_wrapping(r->keyring, true) < 0)
		err = fail(r, ERR_NOT_FOUND, "the next master key is gone");
	if (err == 0)
		err = await_hubs(r, wraps_sql, r->at.new_id, HUBS_MS, "wrap with the new one");
	if (err == 0)
		err = walk_until_clean(r);
	if (err == 0)
		err = write_stage(r, "UPDATE holdfast.rotation SET stage = 3", NULL);
	return err;
}

/* The next one becomes the current one, and the old one's file is gone. */
static int put_in_place(struct rotate *r)
{
	char id[ID_TEXT_LEN];

	if (by_command(r))
		return fail(r, ERR_CONFLICT,
		        "all is wrapped with the new master key %s: have "
		        "secrets.master_key_command print it, then run this again",
		        id_text(r->at.new_id, id));
	if (rename(r->next, r->file) < 0)
		return file_failed(r, "rename", r->next);
	int err = sync_folder(r);
	return err < 0 ? err : reload(r);
}

/* With the row of the audit log that all this makes. */
static int note_end(struct rotate *r)
{
	static const char sql[] =
	        "WITH d AS (DELETE FROM holdfast.rotation RETURNING old_id, new_id, started_at),"
	        " h AS (UPDATE holdfast.hub SET master_id = d.new_id FROM d)"
	        " INSERT INTO holdfast.audit (actor, actor_kind, operation, outcome, kind, name,"
	        " before, after) SELECT session_user, 'sql', 'rotate_master_key', 'done',"
	        " 'master-key', encode(d.new_id, 'hex'),"
	        " jsonb_build_object('masterKey', encode(d.old_id, 'hex')),"
	        " jsonb_build_object('masterKey', encode(d.new_id, 'hex'), 'startedTime',"
	        " d.started_at, 'altered', $1) FROM d";
	struct pg_params p = {0};

	pg_put_i64(&p, (int64_t)r->count.altered);
	return write_stage(r, sql, &p);
}

static void say_end(struct rotate *r)
{
	char old[ID_TEXT_LEN], new[ID_TEXT_LEN];

	tell(r, "the master key is %s; %llu keys were wrapped anew", id_text(r->at.new_id, new),
	        (unsigned long long)r->count.changed);
	if (r->count.altered)
		tell(r,
		        "%llu keys that somebody altered in the database open with neither and "
		        "were "
		        "left as they are",
		        (unsigned long long)r->count.altered);
	if (!by_command(r))
		tell(r, "back up %s, apart from the database", r->file);
	tell(r,
	        "backups of the database from before open with the old one, %s, alone: destroy "
	        "every copy of it, and they are unreadable for good",
	        id_text(r->at.old_id, old));
}

static int finish(struct rotate *r)
{
	struct keyring_ids ids;
	int err = keyring_ids(r->keyring, &ids);

	if (err == 0 && memcmp(ids.current, r->at.new_id, KEYRING_ID_LEN) != 0) {
		err = check_keys(r);
		if (err == 0)
			err = put_in_place(r);
	}
	if (err == 0)
		err = note_end(r);
	if (err < 0)
		return err;
	say_end(r);
	if (await_hubs(r, lets_go_sql, r->at.old_id, GONE_MS, "let the old master key go") < 0)
		tell(r, "note: %s", r->error);
	return 0;
}

static int step(struct rotate *r)
{
	switch (r->at.stage) {
	case ROTATION_NONE: return start(r);
	case ROTATION_LOAD: return load(r);
	case ROTATION_WRAP: return wrap(r);
	default: return finish(r);
	}
}

/* ---- the command ---- */

static int open_all(struct rotate *r)
{
	const struct pg_use use = {
	        .name = "holdfast rotate", .connect_timeout_s = r->settings->connect_timeout_s};
	char why[160] = "";
	int err = keyring_load(&r->settings->master_key, &r->keyring, r->error, STORAGE_ERROR_LEN);

	if (err < 0)
		return err;
	if (pg_open(&r->pg, r->settings->owner_url, &use, why, sizeof(why)) < 0)
		return fail(r, ERR_UNAVAILABLE, "the database cannot be reached: %s", why);
	err = storage_check_version(&r->pg, r->error);
	if (err < 0)
		return err;
	/* Triggers leave alone what is only wrapped anew. */
	if (run(r, "SELECT set_config('holdfast.rewrapping', 'yes', false)", NULL) < 0)
		return database_failed(r, ERR_IO);
	return take_lock(r);
}

static int rotate(struct rotate *r)
{
	int err = rotation_read(&r->pg, &r->at);

	if (err == 0 && r->at.stage != ROTATION_NONE)
		tell(r, "going on with the rotation that was begun");
	while (err == 0) {
		bool last = r->at.stage == ROTATION_FINISH;

		err = step(r);
		if (err < 0 || last)
			return err;
		err = rotation_read(&r->pg, &r->at);
	}
	return err == ERR_CORRUPT ? fail(r, err, "the row of holdfast.rotation makes no sense")
	                          : database_failed(r, err);
}

int storage_rotate(const struct storage_settings *settings, void (*say)(const char *line),
        char error[static STORAGE_ERROR_LEN])
{
	struct rotate r = {.settings = settings, .say = say, .error = error};
	int err = name_files(&r);

	if (err == 0)
		err = open_all(&r);
	if (err == 0)
		err = rotate(&r);
	pg_close(&r.pg); /* also lets the lock go */
	keyring_free(r.keyring);
	free(r.next);
	free(r.made);
	free(r.folder);
	return err;
}
