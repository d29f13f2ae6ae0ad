#include "server/base/wheel.h"

#include <assert.h>
#include <stddef.h>

void wheel_init(struct wheel *w, uint64_t now_ms)
{
	*w = (struct wheel){.tick = now_ms / WHEEL_TICK_MS};
}

/* Rounded up, so that nothing fires early. */
static uint64_t due_tick(const struct loop_timer *t)
{
	return (t->due_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
}

static void list_push(struct loop_timer **head, struct loop_timer *t)
{
	t->next = *head;
	t->prev = head;
	if (t->next)
		t->next->prev = &t->next;
	*head = t;
}

uint64_t wheel_add(struct wheel *w, struct loop_timer *t)
{
	assert(!t->prev);
	uint64_t tick = due_tick(t);
	if (tick <= w->tick)
		tick = w->tick + 1;
	list_push(&w->slots[tick % WHEEL_SLOTS], t);
	return tick * WHEEL_TICK_MS;
}

void wheel_remove(struct loop_timer *t)
{
	if (!t->prev)
		return;
	*t->prev = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->next = NULL;
	t->prev = NULL;
}

/* The slot's list is moved aside first: what a callback adds cannot get into it, and what a
 * callback cancels leaves it, because the list is linked both ways. */
static void slot_fire(struct wheel *w, uint64_t tick, struct loop *loop)
{
	struct loop_timer **slot = &w->slots[tick % WHEEL_SLOTS];
	struct loop_timer *aside = *slot;
	*slot = NULL;
	if (aside)
		aside->prev = &aside;
	while (aside) {
		struct loop_timer *t = aside;
		wheel_remove(t);
		if (due_tick(t) > w->tick)
			list_push(slot, t);
		else
			t->fire(t, loop);
	}
}

void wheel_advance(struct wheel *w, uint64_t now_ms, struct loop *loop)
{
	uint64_t now = now_ms / WHEEL_TICK_MS;
	if (now <= w->tick)
		return;
	uint64_t from = w->tick + 1;
	/* After a long stall one round over all slots reaches every timer. */
	bool stalled = now - w->tick > WHEEL_SLOTS;
	if (stalled)
		from = now - WHEEL_SLOTS + 1;
	for (uint64_t tick = from; tick <= now; tick++) {
		w->tick = stalled ? now : tick;
		slot_fire(w, tick, loop);
	}
}

uint64_t wheel_next_ms(const struct wheel *w, uint64_t limit_ms)
{
	uint64_t tick = w->tick + 1;
	for (; tick * WHEEL_TICK_MS < limit_ms; tick++)
		if (w->slots[tick % WHEEL_SLOTS])
			return tick * WHEEL_TICK_MS;
	return limit_ms;
}
