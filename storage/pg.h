/*
 * A thin layer over libpq that never blocks past a deadline: the socket is polled, not libpq. A
 * struct pg belongs to one thread at a time. Values travel in the binary format, as parameters,
 * never inside of the SQL text.
 */
#ifndef HF_STORAGE_PG_H
#define HF_STORAGE_PG_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "server/base/buf.h"
#include "server/base/cleanup.h"
#include "server/base/slice.h"

#define PG_EPOCH_US 946684800000000LL /* 2000-01-01 in microseconds since 1970 */
#define PG_SQLSTATE_LEN 5

/* Type numbers of PostgreSQL (pg_type.dat): fixed for good. */
enum pg_type {
	PG_BOOL = 16,
	PG_BYTEA = 17,
	PG_INT8 = 20,
	PG_INT4 = 23,
	PG_TEXT = 25,
	PG_TIMESTAMPTZ = 1184,
};

/* When waiting has to end although the database does not answer. */
struct pg_stop {
	atomic_bool stopping;
	_Atomic uint64_t deadline_ms; /* monotonic; counts once stopping */
};
bool pg_stop_due(const struct pg_stop *stop); /* NULL: never */

struct pg {
	PGconn *conn;
	const struct pg_stop *stop; /* may be NULL */
	void (*tick)(void *arg);    /* called now and then while it waits; may be NULL */
	void *tick_arg;
	char sqlstate[PG_SQLSTATE_LEN + 1];
	bool missing_partition; /* of the last error: the row's day has none */
	char message[160];      /* of the last error, for logs: never of statements with data */
};

#define PG_FOR_EVER UINT64_MAX
/* What a connection is for: name for pg_stat_activity, time-outs. */
struct pg_use {
	const char *name;
	unsigned connect_timeout_s;
	unsigned statement_timeout_ms; /* 0: none */
};

/* Connects and sets the session up. 0; ERR_UNAVAILABLE with libpq's text, one line, in error (may
 * be NULL). */
int pg_open(struct pg *pg, const char *url, const struct pg_use *use, char *error, size_t size);
void pg_close(struct pg *pg);
/* Whether the connection stands as far as the socket tells; does not wait. */
bool pg_alive(struct pg *pg);
/* Waits for the socket: 0; ERR_UNAVAILABLE when the connection is gone; ERR_TIMEOUT at deadline_ms
 * (monotonic) or when a stop is due. */
int pg_wait(struct pg *pg, bool also_write, uint64_t deadline_ms);
/* Sends what libpq has buffered, reading meanwhile. As pg_wait. */
int pg_flush(struct pg *pg, uint64_t deadline_ms);
/* Waits until PQgetResult does not block. As pg_wait. */
int pg_await(struct pg *pg, uint64_t deadline_ms);

/* Parameters of one statement. The bytes must live until it is sent. */
#define PG_MAX_PARAMS 16
struct pg_params {
	int n;
	Oid types[PG_MAX_PARAMS];
	const char *values[PG_MAX_PARAMS];
	int lengths[PG_MAX_PARAMS];
	uint8_t store[PG_MAX_PARAMS][8];
};
void pg_put_i64(struct pg_params *p, int64_t v);
void pg_put_i32(struct pg_params *p, int32_t v);
void pg_put_bool(struct pg_params *p, bool v);
void pg_put_time(struct pg_params *p, int64_t us);      /* microseconds since 1970 */
void pg_put_text(struct pg_params *p, const char *s);   /* NULL: null */
void pg_put_bytes(struct pg_params *p, struct slice s); /* p NULL: null */
void pg_put_array(struct pg_params *p, Oid array_type, const struct buf *array);
void pg_put_null(struct pg_params *p, enum pg_type type);
extern const int pg_binary[PG_MAX_PARAMS]; /* formats: all binary */

/*
 * One statement, outside of pipelines. *ret (may be NULL) is the caller's to clear. 0;
 * ERR_UNAVAILABLE (connection gone or time-out: the connection is closed); ERR_EXISTS (unique);
 * ERR_INTERNAL (any other refusal; sqlstate tells).
 */
int pg_exec(struct pg *pg, const char *sql, const struct pg_params *params, uint64_t deadline_ms,
        PGresult **ret);
/* Several statements as a text of ours, without parameters or results. As pg_exec. */
int pg_script(struct pg *pg, const char *sql, uint64_t deadline_ms);
/* Notes the SQLSTATE of a failed result and what it means: the codes of pg_exec. */
int pg_error(struct pg *pg, const PGresult *r);

/* Results, binary. The column must not be null where a value is returned. */
int64_t pg_get_i64(const PGresult *r, int row, int col);
int32_t pg_get_i32(const PGresult *r, int row, int col);
bool pg_get_bool(const PGresult *r, int row, int col);
int64_t pg_get_time(const PGresult *r, int row, int col); /* microseconds since 1970 */
struct slice pg_get_bytes(const PGresult *r, int row, int col);
/* Copies text; false where it does not fit. */
bool pg_get_text(const PGresult *r, int row, int col, char *out, size_t size);

/*
 * A one-dimensional array in the binary format, built in place in a buffer: start, then for each
 * element its bytes, then finish. Elements of earlier calls stay where they are.
 */
#define PG_ARRAY_HEAD 20
enum pg_array_type {
	PG_BYTEA_ARRAY = 1001,
	PG_TEXT_ARRAY = 1009,
	PG_INT4_ARRAY = 1007,
	PG_INT8_ARRAY = 1016,
	PG_TIMESTAMPTZ_ARRAY = 1185,
	PG_BOOL_ARRAY = 1000,
};
int pg_array_start(struct buf *b);
int pg_array_i64(struct buf *b, int64_t v);
int pg_array_i32(struct buf *b, int32_t v);
int pg_array_bool(struct buf *b, bool v);
int pg_array_bytes(struct buf *b, struct slice s);
int pg_array_null(struct buf *b);
/* Writes the head at the front. */
void pg_array_finish(struct buf *b, enum pg_type element, uint32_t n);

static inline void pg_store_u64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}
static inline void pg_store_u32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}
static inline uint64_t pg_load_u64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}
static inline uint32_t pg_load_u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline void pg_clearp(PGresult **r)
{
	PQclear(*r);
}
#define _cleanup_result_ _cleanup_(pg_clearp)

#endif
