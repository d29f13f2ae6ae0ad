/*
 * The timer wheel of a loop: hashed by due time, 100 ms a tick, one intrusive list per slot.
 * Timers of later rounds stay in their slot until their round comes. Private to loop.c and tests.
 */
#ifndef HF_BASE_WHEEL_H
#define HF_BASE_WHEEL_H

#include "server/base/loop.h"

#define WHEEL_TICK_MS 100
#define WHEEL_SLOTS 512

struct wheel {
	uint64_t tick; /* the last one that was worked off */
	struct loop_timer *slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now_ms);
/* Adds a timer that is on no wheel, by its due_ms. Returns the ms at which its slot is due. */
uint64_t wheel_add(struct wheel *w, struct loop_timer *t);
/* Takes the timer off; harmless where it is on none. */
void wheel_remove(struct loop_timer *t);
/* Fires what is due at now_ms, slot by slot; a fired timer is off the wheel. Timers may be added
 * and removed from inside: what is added fires in a later tick. */
void wheel_advance(struct wheel *w, uint64_t now_ms, struct loop *loop);
/* The ms at which the next slot with timers is due, at most limit_ms. */
uint64_t wheel_next_ms(const struct wheel *w, uint64_t limit_ms);

#endif
