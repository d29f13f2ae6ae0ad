/*
 * Bans that this process made, in force at once and in a fixed piece of memory: who is banned until
 * when, and how often it was before, by a hash of whom. Where there are more of them than places,
 * the one that ends first is forgotten. Asked by any thread without a lock. Private to the room.
 */
#ifndef HF_POLICY_BAN_SLOTS_H
#define HF_POLICY_BAN_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

struct ban_slots;

/* sets: a power of two, of four places each. NULL when out of memory. */
struct ban_slots *ban_slots_new(uint32_t sets);
struct ban_slots *ban_slots_free(struct ban_slots *s); /* NULL is fine; returns NULL */
bool ban_slots_has(const struct ban_slots *s, uint64_t whom, uint64_t now_ms);
/* Bans whom for as long as its step says, one further than the last time (of n; what has been
 * over for a day is forgotten). False: it is banned already. */
bool ban_slots_add(struct ban_slots *s, uint64_t whom, uint64_t now_ms, const unsigned *seconds,
        unsigned n, unsigned *ret_step);
/* The ban is kept elsewhere by now: only its step is remembered here. */
void ban_slots_release(struct ban_slots *s, uint64_t whom, uint64_t now_ms);

#endif
