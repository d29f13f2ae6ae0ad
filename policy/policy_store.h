/*
 * What policy asks of the store: the documents that it decides by (policies, groups, IP rules,
 * bans) and what hangs on devices.
 */
#ifndef HF_POLICY_STORE_H
#define HF_POLICY_STORE_H

#include "server/base/document_store.h"

struct policy_store {
	struct document_store documents;
};

#endif
