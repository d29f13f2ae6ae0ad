/* Private to the room: topic aliases (MQTT 5.0 section 3.3.2.3.4), tables made on first use. */
#ifndef HF_BROKER_ALIAS_H
#define HF_BROKER_ALIAS_H

#include "server/base/slice.h"

struct alias_in;
struct alias_out;

/* Client to hub. Sets alias (1 to max, checked by the caller) to topic; 0, ERR_NOMEM, ERR_QUOTA
 * when the topics are too long together. */
int alias_in_set(struct alias_in **table, unsigned max, uint16_t alias, struct slice topic);
/* The topic of an alias, empty if it has none. */
struct slice alias_in_get(const struct alias_in *table, uint16_t alias);
struct alias_in *alias_in_free(struct alias_in *table);

/* Hub to client: the alias of topic, 0: none. max: what the client allows. *ret_new: the client
 * does not know it yet, so that the topic goes along; it counts as known only after alias_out_keep.
 */
uint16_t alias_out_get(struct alias_out **table, unsigned max, struct slice topic, bool *ret_new);
void alias_out_keep(struct alias_out *table, uint16_t alias, struct slice topic);
struct alias_out *alias_out_free(struct alias_out *table);

#endif
