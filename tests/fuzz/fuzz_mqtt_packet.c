/* One packet's body with a length that always fits: the first byte is the packet's, the rest its
 * body, so that a change anywhere reaches the decoders. */
#include "tests/fuzz/mqtt_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	struct slice body = slice_make(data + 1, size - 1);
	uint8_t varint[4];
	struct mqtt_frame f = {
	        .type = data[0] >> 4,
	        .flags = data[0] & 15,
	        .body = body,
	        .size = 1 + mqtt_varint_put(varint, (uint32_t)body.n) + body.n,
	};
	check_frame(&f, MQTT_V5);
	check_frame(&f, MQTT_V311);
	return 0;
}
