/*
 * What is too old goes, and a signed record (head.h) of what was taken from the chains stays, in
 * one transaction with the taking. On a connection of the owner; upkeep's thread.
 */
#ifndef HF_STORAGE_RETENTION_H
#define HF_STORAGE_RETENTION_H

#include "storage/private.h"

/* Drops the tables of a day, YYYYMMDD, that are partitions no more. 0; pg_exec's errors;
 * ERR_CORRUPT, ERR_TOO_BIG: no record can be made, and nothing is dropped. */
int retention_drop_day(struct storage *s, struct pg *owner, const char *day);

/* Deletes the first rows of the audit log, as far as they are older than that many days by both
 * clocks; 0 days: none. Its last row stays, for the next one to follow. As above. */
int retention_expire_audit(struct storage *s, struct pg *owner, unsigned days);

#endif
