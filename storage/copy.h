/*
 * Rows of a query as PostgreSQL's COPY writes them in binary ("Binary Format", page COPY of its
 * manual): from a connection, which may be noted in a file at the same time, or from such a file,
 * without any database. One thread.
 */
#ifndef HF_STORAGE_COPY_H
#define HF_STORAGE_COPY_H

#include <stdio.h>

#include "storage/pg.h"

#define COPY_FIELDS 24

struct copy {
	struct pg *pg; /* NULL: from a file */
	FILE *note;    /* NULL: it is not noted */
	char *message; /* libpq's, of the row at hand */
	void *map;
	size_t map_len;
	struct slice rest; /* not read yet */
	bool begun;
	struct slice fields[COPY_FIELDS]; /* of the row at hand; p NULL: null */
};

/* Starts COPY (select) on a connection that does nothing else until the end; what comes is noted in
 * file, which is made, where file is not NULL. 0; ERR_IO (errno); pg_exec's errors. */
int copy_open(struct copy *c, struct pg *pg, const char *select, const char *file);
/* 0; ERR_NOT_FOUND; ERR_IO (errno). */
int copy_open_file(struct copy *c, const char *file);
/* The next row, which has n fields, valid until the next call. 1; 0: there is none; ERR_CORRUPT: it
 * is not of that form, or cut off; ERR_IO; ERR_UNAVAILABLE. */
int copy_next(struct copy *c, unsigned n);
/* 0, or ERR_IO: what was noted is not on the disk. */
int copy_close(struct copy *c);

/* A field of the row at hand; where it is null or of another size, *bad is set. */
int64_t copy_i64(const struct copy *c, unsigned field, bool *bad);
int32_t copy_i32(const struct copy *c, unsigned field, bool *bad);
void copy_fixed(const struct copy *c, unsigned field, uint8_t *to, size_t n, bool *bad);

#endif
