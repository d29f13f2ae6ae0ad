/* Why a connection ended: one table for log, metrics, REST and the DISCONNECT packet. */
#ifndef HF_BASE_END_H
#define HF_BASE_END_H

#include <stdbool.h>
#include <stdint.h>

enum end_reason {
#define X(name, mqtt, error, text) END_##name,
#include "server/base/end.def"
#undef X
	END_COUNT
};

/* The reason's name in lower case ("keep_alive"), its text, its MQTT 5 reason code (0: none is
 * sent) and whether it counts as an error. Any thread. */
const char *end_name(enum end_reason why);
const char *end_text(enum end_reason why);
uint8_t end_mqtt(enum end_reason why);
bool end_is_error(enum end_reason why);

#endif
