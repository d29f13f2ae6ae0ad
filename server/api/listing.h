/* Lists of documents that the registry has by name, as pages. */
#ifndef HF_API_LISTING_H
#define HF_API_LISTING_H

#include "server/api/call.h"

/* *ret: array of documents in order of name, those greater than after (NULL: from the start);
 * ret_next: the last name where more may follow, else "". */
typedef int (*api_list_read)(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static REGISTRY_NAME_MAX + 1]);

/* Answers a GET of the list. what: its name in cursors. */
void api_list(struct api_call *c, const char *what, api_list_read read);

#endif
