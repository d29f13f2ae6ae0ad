/*
 * Errors. A function that can fail returns int: 0 or a negative ERR_ code; outputs named ret_x are
 * untouched on failure. Lower code returns, the edge (a handler, a thread's main) logs once.
 */
#ifndef HF_BASE_ERR_H
#define HF_BASE_ERR_H

#include <stdint.h>

enum err_number {
#define X(name, text, http, mqtt) ERRNO_##name,
#include "server/base/err.def"
#undef X
	ERR_COUNT
};

/* ERR_OK is 0, every other code is negative. */
enum err {
#define X(name, text, http, mqtt) ERR_##name = -(int)ERRNO_##name,
#include "server/base/err.def"
#undef X
};

/* The name ("NOT_FOUND"), the text, the HTTP status and the MQTT 5 reason code of a code.
 * Unknown codes are treated as ERR_INTERNAL. Any thread. */
const char *err_name(int err);
const char *err_text(int err);
int err_http(int err);
uint8_t err_mqtt(int err);

#endif
