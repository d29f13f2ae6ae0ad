/*
 * Heads: at an interval one hub of the database writes down, and signs, what every chain has come
 * to (head.h). Each hub keeps a copy of all of them in a file of its home, a line for each:
 *
 *   {"number":N,"time":"RFC 3339","body":"the text of head.h","signature":"base64"}
 *
 * so that a database that was cut off or set back can be told from it. Upkeep's thread, but for
 * what says otherwise.
 */
#ifndef HF_STORAGE_HEADS_H
#define HF_STORAGE_HEADS_H

#include "storage/head.h"
#include "storage/private.h"

#define HEADS_FILE "heads.ndjson" /* in the folder of proof */

/* How far upkeep is. */
struct heads {
	uint64_t due_ms;
	int64_t in_file; /* the number of the last head in the file */
	bool file_read;  /* in_file counts */
};

/* Writes a head when one is due and something has changed since the last one; copies what is new to
 * the file. now: it is due. 0; pg_exec's errors; ERR_IO: the file; ERR_CRYPTO. */
int heads_turn(struct storage *s, struct pg *pg, struct heads *h, bool now);

/* The last head in the file; freed by head_done. Its signature is not checked. Any thread. 0;
 * ERR_NOT_FOUND: no file, or none in it; ERR_CORRUPT; ERR_IO; ERR_NOMEM. */
int heads_file_last(const char *folder, struct head *ret);

#endif
