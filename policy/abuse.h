/*
 * What is counted against abuse, in fixed memory and without a lock: failures and attempts of
 * addresses, of addresses in somebody's name, connections, comings and goings. Past a limit a ban
 * is made: in force here at once (ban_slots.h), for the other hubs by the keeper. Private to the
 * room.
 */
#ifndef HF_POLICY_ABUSE_H
#define HF_POLICY_ABUSE_H

#include "policy/ban_slots.h"
#include "policy/bans.h"
#include "policy/policy_ip.h"

struct abuse;
struct keeper;

/* What bans come to; kept. NULL when out of memory. */
struct abuse *abuse_new(struct keeper *keeper);
struct abuse *abuse_free(struct abuse *a); /* NULL is fine; returns NULL */
struct ban_slots *abuse_slots(struct abuse *a);
unsigned abuse_max_bans(const struct abuse *a);

#endif
