/*
 * What somebody attempts and may not: counted, and noted in the audit log (who, on what, from
 * where). On a loop or any other thread; never waits.
 */
#ifndef HF_BROKER_DENIED_H
#define HF_BROKER_DENIED_H

#include "server/base/principal.h"

/* A publish; a will is one, too. */
void denied_publish(const struct principal *p, struct slice topic);
void denied_subscribe(const struct principal *p, struct slice filter);

#endif
