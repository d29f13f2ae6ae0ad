/*
 * Cursors of lists: base64url of a short MAC and the position. The MAC is under the hub's key, over
 * what the list is (scope) as well, so that a cursor serves only the list that gave it, in every
 * process of the hub. Any thread that may block.
 */
#ifndef HF_API_CURSOR_H
#define HF_API_CURSOR_H

#include "registry/registry.h"
#include "server/base/buf.h"

#define API_CURSOR_POSITION_MAX CLIENT_ID_MAX
#define API_CURSOR_TAG_LEN 8
#define API_CURSOR_LEN ((API_CURSOR_TAG_LEN + API_CURSOR_POSITION_MAX + 2) / 3 * 4)

/* Writes the text of the cursor; position at most API_CURSOR_POSITION_MAX bytes. */
void api_cursor_make(const struct registry_store *key, struct slice scope, struct slice position,
        char ret[static API_CURSOR_LEN + 1]);
/* 0 with the position in ret; ERR_INVALID: not one of ours, or of another list. */
int api_cursor_read(const struct registry_store *key, struct slice scope, struct slice text,
        uint8_t ret[static API_CURSOR_POSITION_MAX], size_t *ret_len);

#endif
