#include "tests/unit/base/unit.h"

#include <pthread.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/loop.h"
#include "server/base/wheel.h"

/* ---- the wheel, on a time of its own ---- */

struct alarm {
	struct loop_timer timer;
	struct wheel *wheel;
	uint64_t fired_at, again_after;
	unsigned fired;
	struct alarm *cancels;
};

static uint64_t now;

static void ring(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	struct alarm *a = container_of(t, struct alarm, timer);
	ck_assert(!loop_timer_armed(t));
	ck_assert_uint_ge(now, t->due_ms);
	a->fired++;
	a->fired_at = now;
	if (a->cancels)
		wheel_remove(&a->cancels->timer);
	if (a->again_after) {
		t->due_ms = now + a->again_after;
		wheel_add(a->wheel, t);
	}
}

static void set(struct wheel *w, struct alarm *a, uint64_t due)
{
	a->wheel = w;
	a->timer.fire = ring;
	a->timer.due_ms = due;
	wheel_add(w, &a->timer);
}

static void advance(struct wheel *w, uint64_t to, uint64_t step)
{
	while (now < to) {
		now = now + step < to ? now + step : to;
		wheel_advance(w, now, NULL);
	}
}

START_TEST(timers_fire_at_or_after_their_time)
{
	struct wheel w;
	now = 123456;
	wheel_init(&w, now);
	const uint64_t delays[] = {0, 1, 99, 100, 101, 5000, 51199, 51200, 51300, 200000};
	struct alarm alarms[ARRAY_LEN(delays)] = {0};
	for (size_t i = 0; i < ARRAY_LEN(delays); i++)
		set(&w, &alarms[i], now + delays[i]);
	uint64_t start = now;
	advance(&w, start + 250000, 37);
	for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
		ck_assert_uint_eq(alarms[i].fired, 1);
		ck_assert_uint_le(alarms[i].fired_at, start + delays[i] + 100 + 37);
	}
}
END_TEST

START_TEST(a_cancelled_timer_is_silent)
{
	struct wheel w;
	now = 1000;
	wheel_init(&w, now);
	struct alarm a = {0}, b = {0}, c = {0};
	set(&w, &a, 1500);
	set(&w, &b, 1500);
	set(&w, &c, 1500);
	wheel_remove(&b.timer);
	wheel_remove(&b.timer);
	ck_assert(!loop_timer_armed(&b.timer));
	advance(&w, 3000, 10);
	ck_assert_uint_eq(a.fired, 1);
	ck_assert_uint_eq(b.fired, 0);
	ck_assert_uint_eq(c.fired, 1);
}
END_TEST

/* Whichever of the two fires first takes the other off the list that is being worked on. */
START_TEST(a_timer_may_cancel_its_neighbour)
{
	struct wheel w;
	now = 0;
	wheel_init(&w, now);
	struct alarm a = {0}, b = {0};
	a.cancels = &b;
	b.cancels = &a;
	set(&w, &a, 500);
	set(&w, &b, 500);
	advance(&w, 1000, 100);
	ck_assert_uint_eq(a.fired + b.fired, 1);
	ck_assert(!loop_timer_armed(&a.timer) && !loop_timer_armed(&b.timer));
}
END_TEST

START_TEST(a_timer_may_arm_itself_again)
{
	struct wheel w;
	now = 0;
	wheel_init(&w, now);
	/* Again at once, in the next tick, and exactly one round later: the same slot. */
	struct alarm a = {.again_after = 1}, b = {.again_after = 100}, c = {.again_after = 51200};
	set(&w, &a, 100);
	set(&w, &b, 100);
	set(&w, &c, 100);
	advance(&w, 52000, 100);
	ck_assert_uint_eq(a.fired, 520);
	ck_assert_uint_eq(b.fired, 520);
	ck_assert_uint_eq(c.fired, 2);
}
END_TEST

START_TEST(a_long_stall_loses_nothing)
{
	struct wheel w;
	now = 0;
	wheel_init(&w, now);
	struct alarm alarms[1000] = {0};
	for (unsigned i = 0; i < 1000; i++)
		set(&w, &alarms[i], i * 130);
	now = 100000;
	wheel_advance(&w, now, NULL);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_uint_eq(alarms[i].fired, i * 130 <= 100000 ? 1 : 0);
	advance(&w, 200000, 100);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_uint_eq(alarms[i].fired, 1);
}
END_TEST

START_TEST(the_next_slot_is_known)
{
	struct wheel w;
	wheel_init(&w, 0);
	ck_assert_uint_eq(wheel_next_ms(&w, 500), 500);
	struct alarm a = {0};
	set(&w, &a, 220);
	ck_assert_uint_eq(wheel_next_ms(&w, 500), 300);
	wheel_remove(&a.timer);
	ck_assert_uint_eq(wheel_next_ms(&w, 500), 500);
}
END_TEST

/* ---- the loop ---- */

struct visit {
	struct mail mail;
	struct loop *loop;
	struct loop_timer timer;
	struct loop_hook hook;
	unsigned mails, timers, turns;
	uint64_t armed_at, fired_at;
};

static void on_timer(struct loop_timer *t, struct loop *loop)
{
	struct visit *v = container_of(t, struct visit, timer);
	ck_assert_ptr_eq(loop_here(), loop);
	loop_assert_here(loop);
	v->fired_at = clock_ms();
	ck_assert_uint_le(loop_now_ms(loop), v->fired_at);
	if (++v->timers < 3)
		loop_timer_set(loop, t, 50);
	else
		loop_stop(loop);
}

static void count_turn(struct loop_hook *h, HF_UNUSED struct loop *loop)
{
	container_of(h, struct visit, hook)->turns++;
}

START_TEST(a_loop_runs_timers_and_hooks)
{
	struct loop *loop = loop_new(3);
	ck_assert_ptr_nonnull(loop);
	struct visit v = {.timer.fire = on_timer, .hook.end_of_turn = count_turn};
	ck_assert_uint_eq(loop_index(loop), 3);
	ck_assert_ptr_null(loop_here());
	loop_add_hook(loop, &v.hook);
	v.armed_at = clock_ms();
	loop_timer_set(loop, &v.timer, 50);
	ck_assert(loop_timer_armed(&v.timer));
	loop_run(loop);
	ck_assert_ptr_null(loop_here());
	ck_assert_uint_eq(v.timers, 3);
	ck_assert_uint_ge(v.fired_at - v.armed_at, 150);
	ck_assert_uint_ge(v.turns, 3);
	ck_assert(!loop_timer_armed(&v.timer));
	loop_free(loop);
	loop_free(NULL);
}
END_TEST

static void *run(void *arg)
{
	loop_run(arg);
	return NULL;
}

#define ROUNDS 2000

static struct loop *ping_loop, *pong_loop;

/* Goes from one loop to the other and back; what one turn posts leaves at its end. */
static void bounce(struct mail *m)
{
	struct visit *v = container_of(m, struct visit, mail);
	struct loop *other = loop_here() == ping_loop ? pong_loop : ping_loop;
	if (++v->mails == ROUNDS) {
		loop_stop(ping_loop);
		loop_stop(pong_loop);
	} else {
		mail_post(loop_mailbox(other), m);
	}
}

START_TEST(two_loops_play_with_a_mail)
{
	pthread_t threads[2];
	ping_loop = loop_new(0);
	pong_loop = loop_new(1);
	pthread_create(&threads[0], NULL, run, ping_loop);
	pthread_create(&threads[1], NULL, run, pong_loop);
	struct visit v = {.mail.deliver = bounce};
	mail_send(loop_mailbox(ping_loop), &v.mail);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	ck_assert_uint_eq(v.mails, ROUNDS);
	loop_free(ping_loop);
	loop_free(pong_loop);
}
END_TEST

START_TEST(an_idle_loop_has_a_heartbeat)
{
	struct loop *loop = loop_new(0);
	pthread_t thread;
	pthread_create(&thread, NULL, run, loop);
	uint64_t first = loop_heartbeat_ms(loop), start = clock_ms();
	while (loop_heartbeat_ms(loop) < first + 1000 && clock_ms() < start + 20000)
		sched_yield();
	ck_assert_uint_ge(loop_heartbeat_ms(loop), first + 1000);
	loop_stop(loop);
	pthread_join(thread, NULL);
	loop_free(loop);
}
END_TEST

START_TEST(a_stop_before_the_start_is_kept)
{
	struct loop *loop = loop_new(0);
	loop_stop(loop);
	loop_run(loop);
	loop_free(loop);
}
END_TEST

static void note_thread(struct mail *m)
{
	struct visit *v = container_of(m, struct visit, mail);
	ck_assert_ptr_eq(loop_here(), v->loop);
	int64_t wall = loop_wall_us(v->loop), real = clock_wall_us();
	ck_assert_int_le(llabs(real - wall), 5000000);
	loop_stop(v->loop);
}

START_TEST(mail_is_delivered_on_the_loop)
{
	struct loop *loop = loop_new(0);
	struct visit v = {.loop = loop, .mail.deliver = note_thread};
	pthread_t thread;
	pthread_create(&thread, NULL, run, loop);
	mail_send(loop_mailbox(loop), &v.mail);
	pthread_join(thread, NULL);
	loop_free(loop);
}
END_TEST

/* Sockets that are read in every turn, as long as the turns are looked at. */
struct traffic {
	struct mail mail;
	struct loop *loop;
	unsigned sockets, turns, most_turns;
	uint8_t marks[64];
	uint64_t from_us, first_us, turn_us, shortest_us;
};

static void read_sockets(struct mail *m)
{
	struct traffic *t = container_of(m, struct traffic, mail);
	uint64_t at = clock_us();
	for (unsigned i = 0; i < t->sockets; i++)
		loop_note_work(t->loop, &t->marks[i]);
	if (at - t->from_us > 100000) { /* by now the loop knows */
		if (t->turns++ > 0 && at - t->turn_us < t->shortest_us)
			t->shortest_us = at - t->turn_us;
		if (t->turns == 1)
			t->first_us = at;
		t->turn_us = at;
	}
	if (t->turns < t->most_turns && (t->sockets > 4 || t->shortest_us >= 500))
		mail_post(loop_mailbox(t->loop), m);
	else
		loop_stop(t->loop);
}

static struct traffic traffic_run(unsigned sockets)
{
	struct traffic t = {
	        .mail.deliver = read_sockets,
	        .loop = loop_new(0),
	        .sockets = sockets,
	        .most_turns = 100000,
	        .from_us = clock_us(),
	        .shortest_us = UINT64_MAX,
	};
	if (sockets > 4)
		t.most_turns = 100;
	mail_send(loop_mailbox(t.loop), &t.mail);
	loop_run(t.loop);
	loop_free(t.loop);
	return t;
}

START_TEST(a_busy_loop_puts_its_turns_off)
{
	struct traffic t = traffic_run(64);
	ck_assert_uint_eq(t.turns, 100);
	ck_assert_uint_ge(t.turn_us - t.first_us, 80000);
	/* A few clients, however much they say, do not make it busy. */
	t = traffic_run(2);
	ck_assert_uint_lt(t.shortest_us, 500);
}
END_TEST

UNIT_MAIN("loop", timers_fire_at_or_after_their_time, a_cancelled_timer_is_silent,
        a_timer_may_cancel_its_neighbour, a_timer_may_arm_itself_again, a_long_stall_loses_nothing,
        the_next_slot_is_known, a_loop_runs_timers_and_hooks, two_loops_play_with_a_mail,
        an_idle_loop_has_a_heartbeat, a_stop_before_the_start_is_kept,
        mail_is_delivered_on_the_loop, a_busy_loop_puts_its_turns_off)
