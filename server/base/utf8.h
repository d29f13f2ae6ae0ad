/* UTF-8 as MQTT wants it. Any thread. */
#ifndef HF_BASE_UTF8_H
#define HF_BASE_UTF8_H

#include "server/base/slice.h"

/* Well-formed UTF-8 without U+0000 and surrogates (MQTT 5.0 section 1.5.4, [MQTT-1.5.4-1, -2]).
 * Fast for ASCII. */
bool utf8_valid_mqtt(struct slice s);
/* Well-formed UTF-8, U+0000 allowed (for payloads that are to be shown as text). */
bool utf8_valid(struct slice s);
/* Takes one code point off n > 0 bytes: how many bytes it has, 0 where they are not well-formed. */
size_t utf8_next(const uint8_t *p, size_t n, uint32_t *ret_code);

#endif
