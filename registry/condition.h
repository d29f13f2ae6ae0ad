/* Conditional writes as a loop: read, check, change, write against the etag that was read. Private
 * to the registry. */
#ifndef HF_REGISTRY_CONDITION_H
#define HF_REGISTRY_CONDITION_H

#include <string.h>

#include "registry/registry.h"
#include "server/base/err.h"

/* How often a write that lost against another one is tried again. */
#define WRITE_ROUNDS 8

/* etag: of what is there; NULL: nothing is. 0 or ERR_STALE. */
static inline int condition_check(struct registry_condition cond, const char *etag)
{
	if (!etag)
		return cond.if_match ? ERR_STALE : 0;
	if (cond.if_none_match_any)
		return ERR_STALE;
	bool binds = cond.if_match && strcmp(cond.if_match, "*") != 0;
	return binds && strcmp(cond.if_match, etag) != 0 ? ERR_STALE : 0;
}

/* Whether a write failed only because somebody else wrote between the read and it. */
static inline bool write_lost(int err)
{
	return err == ERR_STALE || err == ERR_NOT_FOUND || err == ERR_EXISTS;
}

#endif
