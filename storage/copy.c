#include "storage/copy.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/err.h"

#define QUIET_MS                                                                                 \
	(60ULL * 60 * 1000)          /* a sort of a large day may take long before its first row \
	                              */
#define SIGNATURE "PGCOPY\n\377\r\n" /* and a byte 0 */
#define SIGNATURE_LEN 11

/* ---- bytes ---- */

static bool take(struct slice *from, size_t n, struct slice *ret)
{
	if (from->n < n)
		return false;
	*ret = slice_make(from->p, n);
	*from = slice_make(from->p + n, from->n - n);
	return true;
}

static bool take_u32(struct slice *from, uint32_t *ret)
{
	struct slice s;

	if (!take(from, 4, &s))
		return false;
	*ret = pg_load_u32(s.p);
	return true;
}

static bool take_start(struct copy *c)
{
	struct slice s;
	uint32_t flags, more;

	c->begun = true;
	return take(&c->rest, SIGNATURE_LEN, &s) && memcmp(s.p, SIGNATURE, SIGNATURE_LEN) == 0 &&
	        take_u32(&c->rest, &flags) && flags == 0 && take_u32(&c->rest, &more) &&
	        take(&c->rest, more, &s);
}

static bool take_field(struct copy *c, struct slice *ret)
{
	uint32_t n;

	if (!take_u32(&c->rest, &n))
		return false;
	if (n == UINT32_MAX) {
		*ret = slice_make(NULL, 0);
		return true;
	}
	return take(&c->rest, n, ret);
}

static int take_row(struct copy *c, unsigned n)
{
	struct slice count;

	if (!take(&c->rest, 2, &count))
		return ERR_CORRUPT;
	unsigned fields = (unsigned)count.p[0] << 8 | count.p[1];
	if (fields == UINT16_MAX)
		return c->rest.n == 0 ? 0 : ERR_CORRUPT;
	if (fields != n || n > COPY_FIELDS)
		return ERR_CORRUPT;
	for (unsigned i = 0; i < n; i++)
		if (!take_field(c, &c->fields[i]))
			return ERR_CORRUPT;
	return 1;
}

/* ---- from a connection ---- */

/* The statement's own end: 0 or why it failed. */
static int end_of_copy(struct copy *c)
{
	int err = 0;

	for (PGresult *r; (r = PQgetResult(c->pg->conn)); PQclear(r))
		if (PQresultStatus(r) != PGRES_COMMAND_OK && err == 0)
			err = pg_error(c->pg, r);
	return err;
}

/* A message, which holds whole rows. 1; 0: the statement has ended; or its error. */
static int next_message(struct copy *c)
{
	int n;

	PQfreemem(c->message);
	c->message = NULL;
	while ((n = PQgetCopyData(c->pg->conn, &c->message, 1)) == 0) {
		int err = pg_wait(c->pg, false, clock_ms() + QUIET_MS);
		if (err < 0)
			return ERR_UNAVAILABLE;
	}
	if (n < 0)
		return end_of_copy(c);
	if (c->note && fwrite(c->message, 1, (size_t)n, c->note) != (size_t)n)
		return ERR_IO;
	c->rest = slice_make(c->message, (size_t)n);
	return 1;
}

/* More bytes, where there are none at hand. */
static int have_bytes(struct copy *c)
{
	if (!c->pg || c->rest.n > 0)
		return 0;
	int r = next_message(c);
	return r == 0 ? ERR_CORRUPT : r;
}

int copy_open(struct copy *c, struct pg *pg, const char *select, const char *file)
{
	_cleanup_free_ char *sql = NULL;

	*c = (struct copy){.pg = pg};
	if (asprintf(&sql, "COPY (%s) TO STDOUT (FORMAT binary)", select) < 0) {
		sql = NULL;
		return ERR_NOMEM;
	}
	if (file && !(c->note = fopen(file, "wex")))
		return ERR_IO;
	if (!PQsendQuery(pg->conn, sql) || pg_flush(pg, clock_ms() + QUIET_MS) < 0 ||
	        pg_await(pg, clock_ms() + QUIET_MS) < 0)
		return ERR_UNAVAILABLE;
	_cleanup_result_ PGresult *r = PQgetResult(pg->conn);
	return PQresultStatus(r) == PGRES_COPY_OUT ? 0 : pg_error(pg, r);
}

/* ---- from a file ---- */

int copy_open_file(struct copy *c, const char *file)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;

	*c = (struct copy){0};
	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return ERR_IO;
	if (st.st_size == 0)
		return 0;
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return ERR_IO;
	(void)madvise(map, (size_t)st.st_size, MADV_SEQUENTIAL);
	c->map = map;
	c->map_len = (size_t)st.st_size;
	c->rest = slice_make(map, c->map_len);
	return 0;
}

int copy_next(struct copy *c, unsigned n)
{
	int r = have_bytes(c);

	if (r >= 0 && !c->begun && !take_start(c))
		r = ERR_CORRUPT;
	/* The head may be a message of its own. */
	if (r >= 0)
		r = have_bytes(c);
	if (r >= 0)
		r = take_row(c, n);
	if (r != 0 || !c->pg)
		return r;
	r = next_message(c);
	return r > 0 ? ERR_CORRUPT : r;
}

int copy_close(struct copy *c)
{
	int err = 0;

	if (c->note && (fflush(c->note) != 0 || fsync(fileno(c->note)) != 0))
		err = ERR_IO;
	if (c->note && fclose(c->note) != 0)
		err = ERR_IO;
	PQfreemem(c->message);
	if (c->map)
		munmap(c->map, c->map_len);
	if (c->pg && c->pg->conn)
		for (PGresult *r; (r = PQgetResult(c->pg->conn)); PQclear(r))
			if (PQresultStatus(r) == PGRES_COPY_OUT) {
				/* Left in the middle: the connection is of no more use. */
				PQclear(r);
				pg_close(c->pg);
				break;
			}
	*c = (struct copy){0};
	return err;
}

/* ---- fields ---- */

static const uint8_t *fixed(const struct copy *c, unsigned field, size_t n, bool *bad)
{
	static const uint8_t none[64];

	if (c->fields[field].p && c->fields[field].n == n)
		return c->fields[field].p;
	*bad = true;
	return none;
}

int64_t copy_i64(const struct copy *c, unsigned field, bool *bad)
{
	return (int64_t)pg_load_u64(fixed(c, field, 8, bad));
}

int32_t copy_i32(const struct copy *c, unsigned field, bool *bad)
{
	return (int32_t)pg_load_u32(fixed(c, field, 4, bad));
}

void copy_fixed(const struct copy *c, unsigned field, uint8_t *to, size_t n, bool *bad)
{
	assert(n <= 64);
	memcpy(to, fixed(c, field, n, bad), n);
}
