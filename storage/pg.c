#include "storage/pg.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/metrics.h"

#define POLL_SLICE_MS 100 /* how late a stop is seen */

/* What every session is set to. A role's default must not weaken the promise of an acknowledgement
 * (but may strengthen it), nor cut a batch that waits for a lock. */
static const char setup_sql[] =
        "SELECT pg_catalog.set_config('synchronous_commit', 'on', false)"
        " WHERE pg_catalog.current_setting('synchronous_commit') = 'off'"
        " UNION ALL SELECT pg_catalog.set_config('statement_timeout', $1, false)"
        " UNION ALL SELECT pg_catalog.set_config('lock_timeout', '0', false)"
        " UNION ALL SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', '0', false)"
        " UNION ALL SELECT pg_catalog.set_config('idle_session_timeout', '0', false)"
        " UNION ALL SELECT pg_catalog.set_config('search_path', 'pg_catalog', false)"
        " UNION ALL SELECT pg_catalog.set_config('client_min_messages', 'error', false)";

bool pg_stop_due(const struct pg_stop *stop)
{
	return stop && atomic_load(&stop->stopping) &&
	        clock_ms() >= atomic_load(&stop->deadline_ms);
}

/* Whether libpq cannot read the URL. What it says then quotes pieces of it: a password with a
 * character that should have been encoded can be one of them. */
static bool is_unreadable(const char *url, const char *text)
{
	PQconninfoOption *options = PQconninfoParse(url, NULL);
	bool readable = options != NULL;

	PQconninfoFree(options);
	return !readable || strncmp(text, "invalid ", sizeof("invalid ") - 1) == 0;
}

/* The first line of libpq's text, which must not hold the password. */
static void copy_error(const PGconn *conn, const char *url, char *error, size_t size)
{
	if (!error || size == 0)
		return;
	const char *text = conn ? PQerrorMessage(conn) : "the connection was lost";
	if (is_unreadable(url, text))
		text = "libpq cannot read its URL (is a character of the password not encoded?)";
	size_t n = strcspn(text, "\n");

	n = n < size ? n : size - 1;
	memcpy(error, text, n);
	error[n] = '\0';
}

static int poll_socket(const struct pg *pg, short events, uint64_t deadline_ms)
{
	struct pollfd pfd = {.fd = PQsocket(pg->conn), .events = events};

	if (pfd.fd < 0)
		return ERR_UNAVAILABLE;
	for (;;) {
		uint64_t now = clock_ms();

		if (now >= deadline_ms || pg_stop_due(pg->stop))
			return ERR_TIMEOUT;
		uint64_t left = deadline_ms - now;
		int r = poll(&pfd, 1, left < POLL_SLICE_MS ? (int)left : POLL_SLICE_MS);
		if (r > 0)
			return pfd.revents & (POLLIN | POLLERR | POLLHUP) ? POLLIN | pfd.revents
			                                                  : pfd.revents;
		if (r < 0 && errno != EINTR)
			return ERR_UNAVAILABLE;
		if (pg->tick)
			pg->tick(pg->tick_arg);
	}
}

int pg_wait(struct pg *pg, bool also_write, uint64_t deadline_ms)
{
	int r = poll_socket(pg, (short)(POLLIN | (also_write ? POLLOUT : 0)), deadline_ms);

	if (r < 0)
		return r;
	if (r & POLLIN && !PQconsumeInput(pg->conn))
		return ERR_UNAVAILABLE;
	return 0;
}

int pg_flush(struct pg *pg, uint64_t deadline_ms)
{
	for (;;) {
		int r = PQflush(pg->conn);

		if (r == 0)
			return 0;
		r = r < 0 ? ERR_UNAVAILABLE : pg_wait(pg, true, deadline_ms);
		if (r < 0)
			return r;
	}
}

int pg_await(struct pg *pg, uint64_t deadline_ms)
{
	while (PQisBusy(pg->conn)) {
		int r = pg_wait(pg, false, deadline_ms);

		if (r < 0)
			return r;
	}
	return 0;
}

static int connect_poll(struct pg *pg, uint64_t deadline_ms)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK) {
		int r = poll_socket(
		        pg, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ms);

		if (r < 0)
			return r;
		status = PQconnectPoll(pg->conn);
		if (status == PGRES_POLLING_FAILED)
			return ERR_UNAVAILABLE;
	}
	return 0;
}

static int set_up(struct pg *pg, const struct pg_use *use, uint64_t deadline_ms)
{
	struct pg_params params = {0};
	char timeout[16];

	snprintf(timeout, sizeof(timeout), "%u", use->statement_timeout_ms);
	pg_put_text(&params, timeout);
	if (PQsetnonblocking(pg->conn, 1) != 0)
		return ERR_UNAVAILABLE;
	return pg_exec(pg, setup_sql, &params, deadline_ms, NULL) < 0 ? ERR_UNAVAILABLE : 0;
}

static void ignore_notice(void *arg HF_UNUSED, const PGresult *r HF_UNUSED)
{
}

int pg_open(struct pg *pg, const char *url, const struct pg_use *use, char *error, size_t size)
{
	/* A dead peer is noticed within seconds even if it never says so. */
	const char *const keys[] = {"dbname", "fallback_application_name", "client_encoding",
	        "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
	        NULL};
	const char *const values[] = {url, use->name, "UTF8", "5", "2", "3", "10000", NULL};
	uint64_t deadline = clock_ms() + (uint64_t)use->connect_timeout_s * 1000;

	pg_close(pg);
	pg->conn = PQconnectStartParams(keys, values, 1);
	int r = pg->conn && PQstatus(pg->conn) != CONNECTION_BAD ? connect_poll(pg, deadline)
	                                                         : ERR_UNAVAILABLE;
	if (r == 0) {
		PQsetNoticeReceiver(pg->conn, ignore_notice, NULL);
		r = set_up(pg, use, deadline);
	}
	if (r == 0) {
		metric_inc(METRIC_DB_CONNECTS);
		return 0;
	}
	copy_error(pg->conn, url, error, size);
	if (r == ERR_TIMEOUT && error && size > 0)
		snprintf(error, size, "the database does not answer");
	pg_close(pg);
	return ERR_UNAVAILABLE;
}

void pg_close(struct pg *pg)
{
	PQfinish(pg->conn);
	pg->conn = NULL;
}

bool pg_alive(struct pg *pg)
{
	struct pollfd pfd = {.events = POLLIN};

	if (!pg->conn || PQstatus(pg->conn) != CONNECTION_OK)
		return false;
	pfd.fd = PQsocket(pg->conn);
	if (poll(&pfd, 1, 0) <= 0)
		return true;
	return PQconsumeInput(pg->conn) && PQstatus(pg->conn) == CONNECTION_OK;
}

/* ---- parameters ---- */

const int pg_binary[PG_MAX_PARAMS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

static void put(struct pg_params *p, Oid type, const void *value, size_t n)
{
	assert(p->n < PG_MAX_PARAMS);
	p->types[p->n] = type;
	p->values[p->n] = value;
	p->lengths[p->n] = (int)n;
	p->n++;
}

void pg_put_i64(struct pg_params *p, int64_t v)
{
	uint8_t *at = p->store[p->n];

	pg_store_u64(at, (uint64_t)v);
	put(p, PG_INT8, at, 8);
}

void pg_put_i32(struct pg_params *p, int32_t v)
{
	uint8_t *at = p->store[p->n];

	pg_store_u32(at, (uint32_t)v);
	put(p, PG_INT4, at, 4);
}

void pg_put_bool(struct pg_params *p, bool v)
{
	uint8_t *at = p->store[p->n];

	at[0] = v;
	put(p, PG_BOOL, at, 1);
}

void pg_put_time(struct pg_params *p, int64_t us)
{
	/* The ends of int64 are -infinity and infinity in PostgreSQL; times that it does not know
	 * are taken for them. */
	static const int64_t first = -210866803200000000LL, last = 9223371331200000000LL;
	uint8_t *at = p->store[p->n];
	int64_t v;

	if (us < first + PG_EPOCH_US)
		v = INT64_MIN;
	else
		v = us - PG_EPOCH_US >= last ? INT64_MAX : us - PG_EPOCH_US;
	pg_store_u64(at, (uint64_t)(us == INT64_MAX ? INT64_MAX : v));
	put(p, PG_TIMESTAMPTZ, at, 8);
}

void pg_put_text(struct pg_params *p, const char *s)
{
	put(p, PG_TEXT, s, s ? strlen(s) : 0);
}

void pg_put_bytes(struct pg_params *p, struct slice s)
{
	put(p, PG_BYTEA, s.p, s.n);
}

void pg_put_array(struct pg_params *p, Oid array_type, const struct buf *array)
{
	struct slice s = buf_slice(array);

	put(p, array_type, s.p, s.n);
}

void pg_put_null(struct pg_params *p, enum pg_type type)
{
	put(p, type, NULL, 0);
}

/* ---- statements ---- */

/* A row without a partition gets the SQLSTATE of a CHECK, but names no constraint. */
static bool is_missing_partition(const PGresult *r)
{
	const char *table = PQresultErrorField(r, PG_DIAG_TABLE_NAME);

	return !PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME) && table &&
	        strcmp(table, "telemetry") == 0;
}

int pg_error(struct pg *pg, const PGresult *r)
{
	const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;

	const char *text = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;

	snprintf(pg->sqlstate, sizeof(pg->sqlstate), "%s", state ? state : "08000");
	snprintf(pg->message, sizeof(pg->message), "%s", text ? text : "the connection is lost");
	pg->missing_partition = strcmp(pg->sqlstate, "23514") == 0 && is_missing_partition(r);
	if (strcmp(pg->sqlstate, "23505") == 0)
		return ERR_EXISTS;
	/* connection, resources, operator's intervention, system, time-out, read-only */
	static const char *const away[] = {"08", "53", "57", "58", "25006"};
	for (size_t i = 0; i < ARRAY_LEN(away); i++)
		if (strncmp(pg->sqlstate, away[i], strlen(away[i])) == 0)
			return ERR_UNAVAILABLE;
	return ERR_INTERNAL;
}

static int collect(struct pg *pg, uint64_t deadline_ms, PGresult **ret)
{
	_cleanup_result_ PGresult *kept = NULL;
	int err = 0;

	for (;;) {
		int r = pg_await(pg, deadline_ms);

		if (r < 0)
			return r;
		PGresult *next = PQgetResult(pg->conn);
		if (!next)
			break;
		ExecStatusType status = PQresultStatus(next);
		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && err == 0)
			err = pg_error(pg, next);
		PQclear(kept);
		kept = next;
	}
	if (PQstatus(pg->conn) != CONNECTION_OK)
		return ERR_TIMEOUT;
	if (err == 0 && !kept)
		return ERR_INTERNAL;
	if (err == 0 && ret)
		*ret = TAKE_PTR(kept);
	return err;
}

/* The second half of a statement: sends it, takes its results. */
static int finish(struct pg *pg, bool sent, uint64_t deadline_ms, PGresult **ret)
{
	int r = sent ? pg_flush(pg, deadline_ms) : ERR_TIMEOUT;

	if (r == 0)
		r = collect(pg, deadline_ms, ret);
	/* Without an answer nothing is known of the statement: the next one needs another
	 * connection. */
	if (r == ERR_TIMEOUT || PQstatus(pg->conn) != CONNECTION_OK) {
		pg_close(pg);
		return ERR_UNAVAILABLE;
	}
	return r;
}

int pg_exec(struct pg *pg, const char *sql, const struct pg_params *params, uint64_t deadline_ms,
        PGresult **ret)
{
	static const struct pg_params none;
	const struct pg_params *p = params ? params : &none;

	if (!pg->conn)
		return ERR_UNAVAILABLE;
	bool sent = PQsendQueryParams(
	        pg->conn, sql, p->n, p->types, p->values, p->lengths, pg_binary, 1);
	return finish(pg, sent, deadline_ms, ret);
}

int pg_script(struct pg *pg, const char *sql, uint64_t deadline_ms)
{
	if (!pg->conn)
		return ERR_UNAVAILABLE;
	return finish(pg, PQsendQuery(pg->conn, sql), deadline_ms, NULL);
}

/* ---- results ---- */

static const uint8_t *fixed(const PGresult *r, int row, int col, int n)
{
	/* The types of our own tables: a bug of ours where they do not fit. */
	assert(!PQgetisnull(r, row, col) && PQgetlength(r, row, col) == n);
	return (const uint8_t *)PQgetvalue(r, row, col);
}

int64_t pg_get_i64(const PGresult *r, int row, int col)
{
	return (int64_t)pg_load_u64(fixed(r, row, col, 8));
}

int32_t pg_get_i32(const PGresult *r, int row, int col)
{
	return (int32_t)pg_load_u32(fixed(r, row, col, 4));
}

bool pg_get_bool(const PGresult *r, int row, int col)
{
	return *fixed(r, row, col, 1) != 0;
}

int64_t pg_get_time(const PGresult *r, int row, int col)
{
	int64_t v = pg_get_i64(r, row, col);
	int64_t us;

	if (__builtin_add_overflow(v, PG_EPOCH_US, &us))
		return INT64_MAX;
	return us;
}

struct slice pg_get_bytes(const PGresult *r, int row, int col)
{
	if (PQgetisnull(r, row, col))
		return slice_make(NULL, 0);
	return slice_make(PQgetvalue(r, row, col), (size_t)PQgetlength(r, row, col));
}

bool pg_get_text(const PGresult *r, int row, int col, char *out, size_t size)
{
	struct slice s = pg_get_bytes(r, row, col);

	if (s.n >= size || (s.n > 0 && memchr(s.p, 0, s.n)))
		return false;
	if (s.n > 0)
		memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return true;
}

/* ---- arrays ---- */

int pg_array_start(struct buf *b)
{
	static const uint8_t head[PG_ARRAY_HEAD];

	buf_truncate(b, 0);
	return buf_append(b, head, sizeof(head));
}

int pg_array_i64(struct buf *b, int64_t v)
{
	uint8_t *at = buf_reserve(b, 12);

	if (!at)
		return ERR_NOMEM;
	pg_store_u32(at, 8);
	pg_store_u64(at + 4, (uint64_t)v);
	buf_added(b, 12);
	return 0;
}

int pg_array_i32(struct buf *b, int32_t v)
{
	uint8_t *at = buf_reserve(b, 8);

	if (!at)
		return ERR_NOMEM;
	pg_store_u32(at, 4);
	pg_store_u32(at + 4, (uint32_t)v);
	buf_added(b, 8);
	return 0;
}

int pg_array_bool(struct buf *b, bool v)
{
	const uint8_t element[5] = {0, 0, 0, 1, v};

	return buf_append(b, element, sizeof(element));
}

int pg_array_bytes(struct buf *b, struct slice s)
{
	uint8_t *at = buf_reserve(b, 4 + s.n);

	if (!at)
		return ERR_NOMEM;
	pg_store_u32(at, (uint32_t)s.n);
	if (s.n > 0)
		memcpy(at + 4, s.p, s.n);
	buf_added(b, 4 + s.n);
	return 0;
}

int pg_array_null(struct buf *b)
{
	const uint8_t element[4] = {0xff, 0xff, 0xff, 0xff};

	return buf_append(b, element, sizeof(element));
}

void pg_array_finish(struct buf *b, enum pg_type element, uint32_t n)
{
	uint8_t *at = b->data + b->start;

	pg_store_u32(at, 1);     /* dimensions */
	pg_store_u32(at + 4, 1); /* there may be nulls */
	pg_store_u32(at + 8, element);
	pg_store_u32(at + 12, n); /* elements */
	pg_store_u32(at + 16, 1); /* the first one's index */
}
