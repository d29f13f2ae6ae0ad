/*
 * An event loop: one thread, one libevent base (without locks), one mailbox, a timer wheel.
 * A turn is: sockets and timers, then mail, mail_flush, then the end-of-turn hooks (flush
 * connections), mail_flush. All of it is for the loop's own thread, except where "any thread" is
 * said.
 */
#ifndef HF_BASE_LOOP_H
#define HF_BASE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/mail.h"

struct event_base;
struct loop;
struct metrics;

/* A timer on the wheel: embed it; 100 ms resolution, fires at or after its time, once. */
struct loop_timer {
	struct loop_timer *next, **prev; /* private */
	uint64_t due_ms;
	void (*fire)(struct loop_timer *t, struct loop *loop);
};

struct loop_hook {
	struct loop_hook *next;
	void (*end_of_turn)(struct loop_hook *h, struct loop *loop);
};

/* The number of loops is fixed at start. index counts from 0. NULL when out of resources. */
struct loop *loop_new(unsigned index);
void loop_free(struct loop *loop); /* after loop_run has returned */
/* Runs until loop_stop; the calling thread becomes the owner. */
void loop_run(struct loop *loop);
/* Any thread: the loop finishes its turn and returns from loop_run. */
void loop_stop(struct loop *loop);

unsigned loop_index(const struct loop *loop);
struct event_base *loop_event_base(struct loop *loop);
struct mailbox *loop_mailbox(struct loop *loop); /* any thread may post to it */
/* The loop that the calling thread runs, NULL on other threads. */
struct loop *loop_here(void);
/* Monotonic milliseconds, read once a turn. */
uint64_t loop_now_ms(const struct loop *loop);
/* Wall-clock microseconds since 1970, read once a turn. */
int64_t loop_wall_us(const struct loop *loop);
/* Any thread: monotonic ms of the start of the last turn, for the watchdog; a loop that has nothing
 * to do still turns at least every 500 ms. */
uint64_t loop_heartbeat_ms(const struct loop *loop);

/* Arms (or re-arms) the timer. loop_timer_cancel is harmless on an unarmed one; a timer must be
 * zeroed before its first use. */
void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t delay_ms);
void loop_timer_cancel(struct loop_timer *t);
bool loop_timer_armed(const struct loop_timer *t);

/* Registers a hook for the end of each turn, in the order of registration; stays for good. */
void loop_add_hook(struct loop *loop, struct loop_hook *h);

/* A socket is being read; *seen is its mark, which is 0 at first and then the loop's. While many
 * are read in each millisecond the loop puts its turns off by up to one. */
void loop_note_work(struct loop *loop, uint8_t *seen);

/* Aborts when the caller is not on the loop's thread (once it runs): ownership, checked. */
void loop_assert_here(const struct loop *loop);

#endif
