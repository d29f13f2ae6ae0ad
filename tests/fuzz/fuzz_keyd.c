/* What the hub may ask of the process that keeps its keys, as any bytes: a broken-in hub asks so.
 */
#include <stdlib.h>

#include "storage/keyd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct keyd k = {
	        .loaded = true, .masters = {.key = {{1, 2, 3}, {4, 5, 6}}, .has_next = true}};
	struct buf reply;

	if (size > KEYD_PACKET_MAX)
		return 0;
	buf_init(&reply, KEYD_PACKET_MAX);
	if (keyd_answer(&k, slice_make(data, size), &reply) < 0 || buf_len(&reply) < 1)
		abort();
	struct slice said = buf_slice(&reply);
	if (memmem(said.p, said.n, k.masters.key[0], CRYPTO_KEY_LEN) ||
	        (k.can_sign && memmem(said.p, said.n, k.sign, sizeof(k.sign))))
		abort();
	buf_free(&reply);
	return 0;
}
