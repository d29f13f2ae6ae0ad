/* The tags of a device: a JSON object of bounded depth and size. Private to the registry. */
#ifndef HF_REGISTRY_TAGS_H
#define HF_REGISTRY_TAGS_H

#include "server/base/doc_error.h"

#define TAGS_DEPTH_MAX 10
#define TAGS_BYTES_MAX 8192

/* Checks the current value and returns it as compact text, malloc'ed; NULL: noted as an error. */
char *tags_read(struct doc_check *c, const json_t *value);

#endif
