/* What a reading of telemetry holds. Private to query.c. */
#ifndef HF_STORAGE_QUERY_H
#define HF_STORAGE_QUERY_H

#include "storage/query_walk.h"
#include "storage/read_keys.h"
#include "storage/record.h"

/* Rows that wait for keys; how many, and how much before it is enough. */
#define HELD_ROWS 256
#define HELD_BYTES (1u << 20)

struct held {
	PGresult *rows[HELD_ROWS];
	unsigned n;
	size_t bytes;
};

struct reading {
	struct storage *s;
	const struct telemetry_query *q;
	int (*item)(const struct telemetry_item *it, void *arg);
	void *arg;
	struct pg pg;
	uint64_t begun_ms;
	struct query_walk walk;
	struct read_keys keys;
	struct held held;
	struct buf plain, devices;
	unsigned asked; /* rows, of the last statement */
	uint64_t rows;  /* that were given */
};

#endif
