/* Attempts that were denied, on their way into the audit log. */
#ifndef HF_STORAGE_AUDIT_H
#define HF_STORAGE_AUDIT_H

#include "server/base/audit.h"
#include "storage/merge.h"
#include "storage/private.h"

int denials_new(struct denials **ret); /* 0 or ERR_NOMEM */
void denials_free(struct denials *d);
/* The sink of audit_denied; any thread, never waits. ctx: the denials. */
void denials_note(void *ctx, const struct audit_denial *d);
/* Upkeep's thread: writes some of what was noted; what cannot be written stays. 0 or pg_exec's
 * error. */
int denials_write(struct denials *d, struct pg *pg);

#endif
