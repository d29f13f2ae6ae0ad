/*
 * The kinds of things that are looked up, cached, announced by the change feed and named in the
 * audit log. The letters stand in the database (migrations) and in the feed's payloads: they stay.
 */
#ifndef HF_BASE_ENTITY_H
#define HF_BASE_ENTITY_H

#include <stdbool.h>

enum entity {
	/* read one by one when somebody connects (registry) */
	ENTITY_DEVICE = 'd',      /* a device, or "device/module" */
	ENTITY_KEY = 'k',         /* an access key */
	ENTITY_CERTIFICATE = 'c', /* by its id: SHA-256 of the DER form, lower-case hex */
	/* read whole: what policy decides by */
	ENTITY_POLICY = 'p',
	ENTITY_GROUP = 'g', /* its grants and policies with it */
	ENTITY_IP_RULE = 'i',
	ENTITY_BAN = 'b',
	/* read whole: whom the registry trusts */
	ENTITY_AUTHORITY = 'a', /* its CRL with it */
	ENTITY_AUTHORIZER = 'u',
	/* read each time */
	ENTITY_TOKEN = 't',
	ENTITY_APPROVAL = 'v',
};

/* Whether the letter is one of them. */
bool entity_valid(char letter);
/* "device", "access-key", "ip-rule", … as the audit log has it; "unknown". */
const char *entity_name(enum entity kind);
/* By that name; 0: none. */
enum entity entity_by_name(const char *name);

#endif
