/* Bytes as a connection brings them: frames are cut off and decoded until something is wrong. */
#include "tests/fuzz/mqtt_check.h"

#define MAX_PACKET 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_make(data, size);
	struct mqtt_frame f;
	size_t need = 0;
	int got;
	while ((got = mqtt_frame_next(in, MAX_PACKET, &f, &need)) == 1) {
		MUST(f.size >= 2 && f.size <= in.n && f.size <= MAX_PACKET);
		MUST(f.body.p + f.body.n == in.p + f.size);
		/* One byte less, and it is incomplete and asks for no more than the packet. */
		struct mqtt_frame same;
		MUST(mqtt_frame_next(slice_make(in.p, f.size - 1), MAX_PACKET, &same, &need) == 0);
		MUST(need >= f.size - 1 && need <= f.size);
		check_frame(&f, MQTT_V5);
		check_frame(&f, MQTT_V311);
		in = slice_from(in, f.size);
	}
	if (got == 0)
		MUST(need > in.n && need <= MAX_PACKET + 5);
	return 0;
}
