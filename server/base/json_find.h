/*
 * Looks for values in JSON text without building it: no allocation but for names with escapes, no
 * recursion. The text must be one of which json_is_valid said yes. Any thread.
 */
#ifndef HF_BASE_JSON_FIND_H
#define HF_BASE_JSON_FIND_H

#include "server/base/slice.h"

/* The value without the space around it. */
struct slice json_find_root(struct slice text);
/* The object's member; of a repeated name the last. False: it is no object, or has none such. */
bool json_find_member(struct slice object, struct slice name, struct slice *ret);
/* The array's item, from 0. False: it is no array, or not that long. */
bool json_find_item(struct slice array, size_t index, struct slice *ret);
/* A number's value. False: it is none, or longer than any that means something. */
bool json_find_number(struct slice value, double *ret);

#endif
