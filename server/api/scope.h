/* What an access key that is narrowed may ask for. Worker threads. */
#ifndef HF_API_SCOPE_H
#define HF_API_SCOPE_H

#include "server/api/call.h"

/* Whether the caller's scope covers the operation and its device; false: answered (403, or an
 * error). After the parameters were read. */
bool api_scope_allows(struct api_call *c);
/* Whether it covers the device: 1, 0, or a store's error. */
int api_scope_covers(struct api_call *c, struct slice device);

#endif
