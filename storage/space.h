/*
 * Room for what comes in: before the disk is full, or the database as large as it may be, batches
 * slow down and then messages are refused, so that what was acknowledged never lacks room.
 */
#ifndef HF_STORAGE_SPACE_H
#define HF_STORAGE_SPACE_H

#include "storage/private.h"

/* Upkeep's thread, each turn: looks, and tells lanes_append and the lanes by s->space. pg: a
 * connection of the hub's role, or NULL: only the disk is looked at. */
void space_turn(struct storage *s, struct pg *pg);

#endif
