/* The PROXY protocol's header: what is taken has the length that its head says, and what was cut
 * off it is taken no more. */
#include <stdlib.h>

#include "server/base/err.h"
#include "server/net/proxyv2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_make(data, n);
	struct proxyv2_peer peer, again;
	size_t length = proxyv2_length(in);
	if (length > PROXYV2_MAX || (length > 0 && length < PROXYV2_HEAD))
		abort();
	int r = proxyv2_parse(in, &peer);
	if (r == 0 && (length != n || proxyv2_parse(slice_make(data, n - 1), &again) == 0))
		abort();
	if (r < 0 && peer.known)
		abort();
	return 0;
}
