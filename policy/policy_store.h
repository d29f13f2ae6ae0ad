/*
 * What policy asks of the store: the documents that it decides by (policies, groups, IP rules,
 * bans) and what hangs on devices.
 */
#ifndef HF_POLICY_STORE_H
#define HF_POLICY_STORE_H

#include "server/base/document_store.h"
#include "server/base/ip.h"

/* An address that somebody came from. */
struct seen_address {
	struct ip_addr ip;
	int64_t first_seen_us, last_seen_us;
	uint64_t allowed, denied; /* how often it was let in, and was not */
};

struct policy_store {
	struct document_store documents;
	/* Those last seen at since_us or later, in no order, as of one moment; row's result other
	 * than 0 ends it and is returned. Blocks. NULL: none are kept. 0, ERR_UNAVAILABLE. */
	int (*each_address)(void *ctx, int64_t since_us,
	        int (*row)(void *arg, const struct seen_address *a), void *arg);
	void *addresses_ctx; /* of each_address */
};

#endif
