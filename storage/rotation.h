/*
 * Rotation of the master key: what the command (rotate.c, rewrap.c) and the hubs that serve
 * meanwhile (rotation.c) have in common. The row of holdfast.rotation says how far it is; only the
 * command writes it. See "Rotation" in README.md.
 */
#ifndef HF_STORAGE_ROTATION_H
#define HF_STORAGE_ROTATION_H

#include "storage/private.h"

/* Shared while a hub notes what it holds, alone while the command goes to another stage: no hub
 * joins between its looking and its going. */
#define LOCK_ROTATION 0x686f6c6466617377LL
/* One command at a time; of its session. */
#define LOCK_ROTATE 0x686f6c6466617378LL

#define ROTATION_NOTICE "m" /* what hubs hear on the feed when there is something new */

enum rotation_stage {
	ROTATION_NONE,
	ROTATION_LOAD,   /* hubs load the next master key; all is wrapped with the old one */
	ROTATION_WRAP,   /* hubs wrap with the next one; the command re-wraps what is there */
	ROTATION_FINISH, /* nothing is left under the old one */
};

struct rotation {
	enum rotation_stage stage;
	uint8_t old_id[KEYRING_ID_LEN], new_id[KEYRING_ID_LEN]; /* stage NONE: new_id alone */
	bool known; /* stage NONE: what new_id is; a database that no rotation went over has none */
};

/* Reads how far it is. 0; ERR_CORRUPT; pg_exec's errors. */
int rotation_read(struct pg *pg, struct rotation *ret);

/* ---- rewrap.c: everything that a master key wraps ---- */

struct rewrap_count {
	uint64_t seen, changed;
	uint64_t altered; /* no master key opens them: left as they are */
	uint64_t missed;  /* changed by others meanwhile: the next walk sees them */
};
/*
 * Walks through all that is wrapped and wraps it with what the keyring wraps with now. On a
 * connection of the owner; slowly, so that those who serve keep their speed. Adds to *count. 0 or
 * pg_exec's error; ERR_NOMEM.
 */
int rewrap_all(struct pg *owner, const struct keyring *k, struct rewrap_count *count);
/* Whether the current master key opens the database, or the next one: ERR_CONFLICT: neither. */
int rewrap_which(struct pg *owner, struct keyring *k, bool *ret_next);

#endif
