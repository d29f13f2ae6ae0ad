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
 * A loop that is busy begins its turns at least BREATH_US apart: one wake-up then serves what would
 * have been several, and what a client sent in several pieces is read and answered at once. Busy is
 * counted in sockets with something to read, each once a millisecond, so that a few clients that
 * talk a lot and wait for each answer are never held up; two limits keep it from flickering. Below
 * them nothing waits for anything.
 */
#define BREATH_US 1000
#define LOOK_MS 16   /* how long is counted before it is decided again */
#define BUSY_FROM 72 /* sockets read in LOOK_MS: 4.5 a millisecond */
#define BUSY_UNTIL 56

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
	uint64_t breath_us;  /* when the last turn began that could have been put off */
	uint64_t counted_ms; /* work is counted from here on */
	unsigned work;
	bool busy;
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
	mailbox_forget(&loop->box);
	if (loop->mail_event)
		event_free(loop->mail_event);
	if (loop->tick_event)
		event_free(loop->tick_event);
	if (loop->base)
		event_base_free(loop->base);
	mailbox_done(&loop->box);
	free(loop);
}

static void breathe(struct loop *loop)
{
	uint64_t now = clock_us(), due = loop->breath_us + BREATH_US;
	loop->breath_us = now;
	if (now >= due)
		return;
	struct timespec left = {.tv_nsec = (long)(due - now) * 1000};
	(void)nanosleep(&left, NULL);
	loop->breath_us = clock_us();
}

void loop_note_work(struct loop *loop, uint8_t *seen)
{
	uint8_t now = (uint8_t)(loop_now_ms(loop) + 1); /* a mark that was never set is 0 */
	loop->work += *seen != now;
	*seen = now;
}

static void decide_busy(struct loop *loop)
{
	uint64_t ms = loop->now_ms - loop->counted_ms;
	if (ms < LOOK_MS)
		return;
	loop->busy = loop->work * LOOK_MS >= ms * (loop->busy ? BUSY_UNTIL : BUSY_FROM);
	loop->work = 0;
	loop->counted_ms = loop->now_ms;
}

static void loop_turn(struct loop *loop)
{
	if (loop->busy)
		breathe(loop);
	/* Mail from this loop to itself has woken nobody. */
	bool stay = mailbox_has_mail(&loop->box);
	event_base_loop(loop->base, stay ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
	turn_time(loop);
	mail_deliver(mailbox_take_uncleared(&loop->box));
	/* Other loops go on with their part while this one writes. */
	mail_flush();
	for (struct loop_hook *h = loop->hooks; h; h = h->next)
		h->end_of_turn(h, loop);
	mail_flush();
	decide_busy(loop);
	loop->time_known = false;
}

void loop_run(struct loop *loop)
{
	assert(!here);
	here = loop;
	mail_own(&loop->box);
	loop->running = true;
	while (!loop->stopping)
		loop_turn(loop);
	loop->running = false;
	mail_own(NULL);
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
