/* What the broker knows of devices' connections, laid over the registry's documents. On workers. */
#ifndef HF_API_PRESENCE_H
#define HF_API_PRESENCE_H

#include "broker/broker.h"
#include "server/base/json.h"

/* docs: n device documents, at most 1000. Where this hub knows better than the database (connected
 * here, or gone since), connectionState, connectionStateUpdatedTime and lastActivityTime are set.
 */
void api_presence_overlay(struct broker *b, json_t *const *docs, unsigned n);
/* The same for one document. */
void api_presence_set(json_t *doc, const struct broker_presence *p);

#endif
