#include "server/base/loop.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/wheel.h"

#define HEARTBEAT_MS 500
/*
 * While turns come fast and each finds several sockets readable, they begin at least this far
 * apart: one wake-up then serves what would have been several. Where a pause brings no more than it
 * would have without (one client that waits for each answer), there is none for a while.
 */
#define BREATH_US 1000
#define GAIN_ONE 16 /* sockets read in a turn, in sixteenths, averaged over turns */
#define GAIN_MIN 24
#define GAIN_START 26
#define BREATH_REST 1024 /* turns without a pause after pauses that brought nothing */

struct loop {
	struct event_base *base;
	struct event *mail_event, *tick_event;
	struct mailbox box;
	struct wheel wheel;
	uint64_t wake_ms; /* when tick_event will fire */
	struct loop_hook *hooks, **last_hook;
	/* The time of this turn; not known before somebody asks for it (see turn_time). */
	bool time_known;
	uint64_t now_ms;
	int64_t wall_us;
	uint64_t breath_us; /* when the last turn began that could have been put off */
	unsigned gain, rest, work;
	_Atomic uint64_t heartbeat_ms;
	atomic_bool stopping;
	atomic_bool running;
	unsigned index;
};

static _Thread_local struct loop *here;

/*
 * The clocks are read by the first who asks in a turn: nothing of ours runs between the return of
 * epoll_wait and the first callback, and a turn in which nobody asks costs nothing. Outside of
 * loop_run there are no turns, and the time is always read.
 */
static void turn_time(struct loop *loop)
{
	if (loop->time_known)
		return;
	loop->now_ms = clock_ms();
	loop->wall_us = clock_wall_us();
	loop->time_known = here == loop;
	atomic_store_explicit(&loop->heartbeat_ms, loop->now_ms, memory_order_relaxed);
}

uint64_t loop_now_ms(const struct loop *loop)
{
	turn_time((struct loop *)loop);
	return loop->now_ms;
}

int64_t loop_wall_us(const struct loop *loop)
{
	turn_time((struct loop *)loop);
	return loop->wall_us;
}

uint64_t loop_heartbeat_ms(const struct loop *loop)
{
	return atomic_load_explicit(&loop->heartbeat_ms, memory_order_relaxed);
}

/* Arms the one libevent timer for the wheel's next slot with timers, or for the heartbeat. */
static void tick_arm(struct loop *loop)
{
	uint64_t now = loop_now_ms(loop);
	loop->wake_ms = wheel_next_ms(&loop->wheel, now + HEARTBEAT_MS);
	uint64_t delay = loop->wake_ms > now ? loop->wake_ms - now : 0;
	struct timeval tv = {
	        .tv_sec = (time_t)(delay / 1000),
	        .tv_usec = (suseconds_t)(delay % 1000) * 1000,
	};
	event_add(loop->tick_event, &tv);
}

static void on_tick(HF_UNUSED evutil_socket_t fd, HF_UNUSED short what, void *arg)
{
	struct loop *loop = arg;
	wheel_advance(&loop->wheel, loop_now_ms(loop), loop);
	tick_arm(loop);
}

/* Only wakes: the mail is taken once a turn, after the sockets, so that a batch that arrives while
 * sockets are read still belongs to this turn. Edge-triggered, so nobody has to read it. */
static void on_mail(HF_UNUSED evutil_socket_t fd, HF_UNUSED short what, HF_UNUSED void *arg)
{
}

static struct event_base *base_new(void)
{
	struct event_config *cfg = event_config_new();
	if (!cfg)
		return NULL;
	struct event_base *base = NULL;
	if (event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK) == 0 &&
	        event_config_require_features(cfg, EV_FEATURE_ET) == 0)
		base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

struct loop *loop_new(unsigned index)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	if (!loop)
		return NULL;
	loop->index = index;
	loop->last_hook = &loop->hooks;
	loop->gain = GAIN_START;
	if (mailbox_init(&loop->box) < 0)
		goto fail;
	loop->base = base_new();
	if (!loop->base)
		goto fail;
	loop->mail_event = event_new(
	        loop->base, loop->box.efd, EV_READ | EV_PERSIST | EV_ET, on_mail, loop);
	loop->tick_event = event_new(loop->base, -1, 0, on_tick, loop);
	if (!loop->mail_event || !loop->tick_event || event_add(loop->mail_event, NULL) < 0)
		goto fail;
	wheel_init(&loop->wheel, clock_ms());
	tick_arm(loop);
	return loop;
fail:
	loop_free(loop);
	return NULL;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	assert(!loop->running);
	/* Mail that came after the last turn finds nobody. */
	mailbox_take_uncleared(&loop->box);
	if (loop->mail_event)
		event_free(loop->mail_event);
	if (loop->tick_event)
		event_free(loop->tick_event);
	if (loop->base)
		event_base_free(loop->base);
	mailbox_done(&loop->box);
	free(loop);
}

/* Puts the turn off where that pays. Whether it did is for loop_turn to see: true if it was. */
static bool breathe(struct loop *loop)
{
	if (loop->rest > 0) {
		loop->rest--;
		return false;
	}
	uint64_t now = clock_us(), due = loop->breath_us + BREATH_US;
	loop->breath_us = now;
	if (now >= due)
		return false;
	struct timespec left = {.tv_nsec = (long)(due - now) * 1000};
	(void)nanosleep(&left, NULL);
	loop->breath_us = clock_us();
	return true;
}

static void count_gain(struct loop *loop)
{
	loop->gain = (loop->gain * 7 + loop->work * GAIN_ONE) / 8;
	if (loop->gain < GAIN_MIN) {
		loop->gain = GAIN_START;
		loop->rest = BREATH_REST;
	}
}

void loop_note_work(struct loop *loop)
{
	loop->work++;
}

static void loop_turn(struct loop *loop)
{
	bool breathed = breathe(loop);
	loop->work = 0;
	event_base_loop(loop->base, EVLOOP_ONCE);
	turn_time(loop);
	mail_deliver(mailbox_take_uncleared(&loop->box));
	for (struct loop_hook *h = loop->hooks; h; h = h->next)
		h->end_of_turn(h, loop);
	mail_flush();
	loop->time_known = false;
	if (breathed)
		count_gain(loop);
}

void loop_run(struct loop *loop)
{
	assert(!here);
	here = loop;
	loop->running = true;
	while (!loop->stopping)
		loop_turn(loop);
	loop->running = false;
	here = NULL;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
	mailbox_wake(&loop->box);
}

unsigned loop_index(const struct loop *loop)
{
	return loop->index;
}

struct event_base *loop_event_base(struct loop *loop)
{
	return loop->base;
}

struct mailbox *loop_mailbox(struct loop *loop)
{
	return &loop->box;
}

struct loop *loop_here(void)
{
	return here;
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
	loop_timer_cancel(t);
	uint64_t now = loop_now_ms(loop);
	t->due_ms = delay_ms < UINT64_MAX / 2 - now ? now + delay_ms : UINT64_MAX / 2;
	if (wheel_add(&loop->wheel, t) < loop->wake_ms)
		tick_arm(loop);
}

void loop_timer_cancel(struct loop_timer *t)
{
	wheel_remove(t);
}

bool loop_timer_armed(const struct loop_timer *t)
{
	return t->prev != NULL;
}

void loop_add_hook(struct loop *loop, struct loop_hook *h)
{
	h->next = NULL;
	*loop->last_hook = h;
	loop->last_hook = &h->next;
}

void loop_assert_here(const struct loop *loop)
{
	if (here == loop || !loop->running)
		return;
	fprintf(stderr, "holdfast: loop %u was used from a thread that does not own it\n",
	        loop->index);
	abort();
}
