/* The OpenAPI 3.1 document, made from the tables of routes, parameters and schemas. Any thread. */
#ifndef HF_API_OPENAPI_H
#define HF_API_OPENAPI_H

#include <stddef.h>

#include "server/base/json.h"

/* A new document, or NULL when out of memory. */
json_t *api_openapi_build(const char *version);
/* Its text, malloc'ed. */
char *api_openapi_text(const char *version, size_t *ret_len);

/* "components" as JSON text (openapi_schemas.c). */
extern const char api_openapi_components[];
/* More of its schemas (openapi_access.c). */
extern const char api_openapi_access[];

#endif
