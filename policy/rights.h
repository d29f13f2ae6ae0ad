/*
 * What hangs on one identity, compiled: the struct access that only policy can look into. Private
 * to the room.
 */
#ifndef HF_POLICY_RIGHTS_H
#define HF_POLICY_RIGHTS_H

#include "policy/rules.h"

struct rights {
	struct access access; /* first */
	enum entity kind;     /* ENTITY_DEVICE, ENTITY_KEY, ENTITY_CERTIFICATE */
	struct slice id;      /* in bytes */
	uint8_t bytes[];
};

static inline const struct rights *rights_of(const struct access *a)
{
	return (const struct rights *)a;
}

#endif
