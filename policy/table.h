/* What everybody of a kind may on MQTT: the rows of access.def. Private to the room. */
#ifndef HF_POLICY_TABLE_H
#define HF_POLICY_TABLE_H

#include "server/base/principal.h"

enum table_action { TABLE_PUBLISH, TABLE_SUBSCRIBE };

/* The first row that fits decides: false with *ret_pattern empty where none does. A message that is
 * received is judged by the rows of SUBSCRIBE. ret_pattern may be NULL. */
bool table_allows(const struct principal *p, enum table_action action, struct slice topic,
        struct slice *ret_pattern);

#endif
