/* `holdfast migrate`: brings the database up to the files of a folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/private.h"

#define MAX_FILES 1000
#define MAX_FILE_BYTES (4 * 1024 * 1024)
#define MIGRATE_MS (30ULL * 60 * 1000) /* a long one is no hang */

struct file {
	unsigned version;
	char *name;
	char *text;
	uint8_t sum[CRYPTO_HASH_LEN];
};

struct folder {
	struct file files[MAX_FILES];
	unsigned n;
};

struct migration {
	const char *dir;
	char *error;
	struct folder *folder;
	struct pg pg;
	uint64_t deadline;
};

#define FAIL(m, err, ...) (snprintf((m)->error, STORAGE_ERROR_LEN, __VA_ARGS__), (err))

/* ---- the folder ---- */

/* NNNN_name.sql: the number, or 0. */
static unsigned file_version(const char *name)
{
	size_t n = strlen(name);

	if (n < 10 || strspn(name, "0123456789") != 4 || name[4] != '_' ||
	        strcmp(name + n - 4, ".sql") != 0)
		return 0;
	return (unsigned)strtoul(name, NULL, 10);
}

static int read_file(struct migration *m, struct file *f)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fclose_ FILE *in = NULL;
	struct stat st;

	if (asprintf(&path, "%s/%s", m->dir, f->name) < 0) {
		path = NULL;
		return FAIL(m, ERR_NOMEM, "out of memory");
	}
	in = fopen(path, "re");
	if (!in || fstat(fileno(in), &st) < 0)
		return FAIL(m, ERR_IO, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > MAX_FILE_BYTES)
		return FAIL(m, ERR_IO, "%s is not a migration: its size is wrong", path);
	f->text = calloc(1, (size_t)st.st_size + 1);
	if (!f->text)
		return FAIL(m, ERR_NOMEM, "out of memory");
	if (fread(f->text, 1, (size_t)st.st_size, in) != (size_t)st.st_size)
		return FAIL(m, ERR_IO, "%s cannot be read", path);
	crypto_sha256(slice_make(f->text, (size_t)st.st_size), f->sum);
	return 0;
}

static int by_version(const void *a, const void *b)
{
	const struct file *fa = a, *fb = b;

	return (fa->version > fb->version) - (fa->version < fb->version);
}

static int list_folder(struct migration *m)
{
	struct folder *folder = m->folder;
	DIR *dir = opendir(m->dir);
	int err = 0;

	if (!dir)
		return FAIL(m, ERR_IO, "the migrations' folder %s: %s", m->dir, strerror(errno));
	for (const struct dirent *e; err == 0 && (e = readdir(dir));) {
		unsigned version = file_version(e->d_name);

		if (version == 0)
			continue;
		if (folder->n == MAX_FILES)
			err = FAIL(m, ERR_IO, "too many files in %s", m->dir);
		else if (!(folder->files[folder->n].name = strdup(e->d_name)))
			err = FAIL(m, ERR_NOMEM, "out of memory");
		else
			folder->files[folder->n++].version = version;
	}
	closedir(dir);
	return err;
}

static int read_folder(struct migration *m)
{
	struct folder *folder = m->folder;
	int err = list_folder(m);

	if (err < 0)
		return err;
	qsort(folder->files, folder->n, sizeof(folder->files[0]), by_version);
	for (unsigned i = 0; err == 0 && i < folder->n; i++) {
		if (folder->files[i].version != i + 1)
			return FAIL(m, ERR_IO, "%s: migration %04u is missing or there twice",
			        m->dir, i + 1);
		err = read_file(m, &folder->files[i]);
	}
	if (err == 0 && folder->n != SCHEMA_VERSION)
		return FAIL(m, ERR_IO, "%s ends with migration %u, this program knows %u", m->dir,
		        folder->n, (unsigned)SCHEMA_VERSION);
	return err;
}

static void folder_freep(struct folder **f)
{
	for (unsigned i = 0; *f && i < (*f)->n; i++) {
		free((*f)->files[i].name);
		free((*f)->files[i].text);
	}
	free(*f);
}

/* ---- the database ---- */

static int database_failed(struct migration *m, int err, const char *what)
{
	return FAIL(m, err == ERR_UNAVAILABLE ? err : ERR_IO, "%s: %s (%s)", what, m->pg.message,
	        m->pg.sqlstate);
}

static int connect_owner(struct migration *m, const char *url)
{
	const struct pg_use use = {.name = "holdfast migrate", .connect_timeout_s = 10};
	char why[160] = "";

	if (pg_open(&m->pg, url, &use, why, sizeof(why)) < 0)
		return FAIL(m, ERR_UNAVAILABLE, "the database cannot be reached: %s", why);
	return 0;
}

/* Under the lock of the session: whoever comes second finds the work done. */
static int lock_and_prepare(struct migration *m)
{
	struct pg_params params = {0};

	pg_put_i64(&params, LOCK_MIGRATE);
	int err = pg_exec(
	        &m->pg, "SELECT pg_catalog.pg_advisory_lock($1)", &params, m->deadline, NULL);
	if (err == 0)
		err = pg_script(&m->pg,
		        "CREATE SCHEMA IF NOT EXISTS holdfast;"
		        "CREATE TABLE IF NOT EXISTS holdfast.migrations ("
		        " version integer PRIMARY KEY, name text NOT NULL, sha256 bytea NOT NULL,"
		        " applied_at timestamptz NOT NULL DEFAULT now());",
		        m->deadline);
	return err < 0 ? database_failed(m, err, "the schema cannot be made") : 0;
}

/* Compares what was applied with the files. *ret: how many are there. */
static int check_applied(struct migration *m, unsigned *ret)
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_exec(&m->pg,
	        "SELECT version, sha256 FROM holdfast.migrations ORDER BY version", NULL,
	        m->deadline, &r);

	if (err < 0)
		return database_failed(m, err, "the applied migrations cannot be read");
	int n = PQntuples(r);
	if (n > 0 && pg_get_i32(r, n - 1, 0) > (int32_t)m->folder->n)
		return FAIL(m, ERR_CONFLICT,
		        "the database is at version %d, this program knows %u: use a newer program",
		        pg_get_i32(r, n - 1, 0), m->folder->n);
	for (int i = 0; i < n; i++) {
		const struct file *f = &m->folder->files[i];

		if (pg_get_i32(r, i, 0) != i + 1)
			return FAIL(m, ERR_CONFLICT, "the database lacks migration %04d", i + 1);
		if (!slice_eq(pg_get_bytes(r, i, 1), slice_make(f->sum, sizeof(f->sum))))
			return FAIL(m, ERR_CONFLICT,
			        "migration %s is not the one that was applied: its checksum "
			        "differs",
			        f->name);
	}
	*ret = (unsigned)n;
	return 0;
}

static int apply(struct migration *m, const struct file *f)
{
	struct pg_params params = {0};

	pg_put_i32(&params, (int32_t)f->version);
	pg_put_text(&params, f->name);
	pg_put_bytes(&params, slice_make(f->sum, sizeof(f->sum)));
	int err = pg_script(&m->pg, "BEGIN", m->deadline);
	if (err == 0)
		err = pg_script(&m->pg, f->text, m->deadline);
	if (err == 0)
		err = pg_exec(&m->pg,
		        "INSERT INTO holdfast.migrations (version, name, sha256)"
		        " VALUES ($1, $2, $3)",
		        &params, m->deadline, NULL);
	if (err == 0)
		err = pg_script(&m->pg, "COMMIT", m->deadline);
	if (err < 0)
		return database_failed(m, err, f->name);
	log_info("migration applied", F_STR("file", f->name));
	return 0;
}

/* The hub's own role, by its URL. */
static int grant_hub(struct migration *m, const char *hub_url)
{
	const struct pg_use use = {.name = "holdfast migrate", .connect_timeout_s = 10};
	_cleanup_result_ PGresult *r = NULL;
	_cleanup_(pg_close) struct pg hub = {0};
	char role[256], why[160] = "";

	if (pg_open(&hub, hub_url, &use, why, sizeof(why)) < 0)
		return FAIL(m, ERR_UNAVAILABLE, "the hub's role cannot connect: %s", why);
	if (pg_exec(&hub, "SELECT current_user::text", NULL, m->deadline, &r) < 0 ||
	        !pg_get_text(r, 0, 0, role, sizeof(role)))
		return FAIL(m, ERR_UNAVAILABLE, "the hub's role cannot be read");
	int err = grants_apply(&m->pg, role);
	return err < 0 ? database_failed(m, err, "the hub's role gets no rights") : 0;
}

static int migrate(struct migration *m, const char *hub_url)
{
	unsigned applied = 0;
	int err = lock_and_prepare(m);

	if (err == 0)
		err = check_applied(m, &applied);
	for (unsigned i = applied; err == 0 && i < m->folder->n; i++)
		err = apply(m, &m->folder->files[i]);
	if (err < 0)
		return err;
	err = partitions_make_ahead(&m->pg);
	if (err < 0)
		return database_failed(m, err, "the partitions cannot be made");
	return grant_hub(m, hub_url);
}

int storage_migrate(const char *owner_url, const char *hub_url, const char *dir,
        char error[static STORAGE_ERROR_LEN])
{
	_cleanup_(folder_freep) struct folder *folder = calloc(1, sizeof(*folder));
	struct migration m = {
	        .dir = dir, .error = error, .folder = folder, .deadline = clock_ms() + MIGRATE_MS};

	if (!folder)
		return FAIL(&m, ERR_NOMEM, "out of memory");
	int err = read_folder(&m);
	if (err == 0)
		err = connect_owner(&m, owner_url);
	if (err == 0)
		err = migrate(&m, hub_url);
	pg_close(&m.pg); /* also lets the lock go */
	return err;
}
