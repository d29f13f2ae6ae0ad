/* Addresses seen, on their way into the database. */
#ifndef HF_STORAGE_ADDRESSES_H
#define HF_STORAGE_ADDRESSES_H

#include "storage/merge.h"
#include "storage/private.h"

#define ADDRESSES_KEPT "30 days"
#define ADDRESSES_MOST "1000000" /* the ones seen last */

int addresses_init(struct merge *m); /* 0 or ERR_NOMEM */
/* Upkeep's thread: writes some of what was noted. 0 or pg_exec's error. */
int addresses_write(struct storage *s, struct pg *pg);

#endif
