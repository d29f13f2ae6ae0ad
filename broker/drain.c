/* The hub stops: no new clients, and those that are here leave when their tickets are settled. */
#include "broker/client.h"
#include "broker/mem.h"

#define DRAIN_SLICE                                                                   \
	500 /* clients told to go in one turn of the timer, so that others are served \
	     */

struct drain_mail {
	struct mail mail;
	struct shard *shard;
	uint64_t by;
};

void drain_client(struct broker_client *c)
{
	switch (c->state) {
	case CLIENT_NEW: client_end(c, END_SHUTDOWN); break;
	case CLIENT_CONNECTING: connect_refuse(c, MQTT_UNAVAILABLE, END_SHUTDOWN); break;
	case CLIENT_ON:
		if (!c->tickets || shard_now(c->shard) >= c->shard->drain_by)
			client_end(c, END_SHUTDOWN);
		else
			client_pause(c, PAUSE_DRAIN);
		break;
	default: break;
	}
}

static void drain_step(struct shard *sh)
{
	struct broker_client *c, *next;
	unsigned told = 0;
	bool late = shard_now(sh) >= sh->drain_by, left = false;
	for (c = LIST_FIRST(&sh->clients); c; c = next) {
		next = LIST_NEXT(c, all);
		if (c->state == CLIENT_ENDING)
			continue;
		if (told < DRAIN_SLICE || late) {
			drain_client(c);
			told += c->state == CLIENT_ENDING;
		} else {
			client_pause(c, PAUSE_DRAIN);
		}
		left |= c->state != CLIENT_ENDING;
	}
	if (left)
		loop_timer_set(sh->loop, &sh->drain_timer, DRAIN_STEP_MS);
}

static void on_drain(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	drain_step(container_of(t, struct shard, drain_timer));
}

static void drain_arrived(struct mail *mail)
{
	struct drain_mail *m = container_of(mail, struct drain_mail, mail);
	struct shard *sh = m->shard;
	sh->draining = true;
	sh->drain_by = m->by;
	sh->drain_timer.fire = on_drain;
	drain_step(sh);
	free(m);
}

void broker_drain(struct broker *b, uint64_t deadline_ms)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct drain_mail *m = mem_new(sizeof(*m));
		m->mail.deliver = drain_arrived;
		m->shard = &b->shards[i];
		m->by = deadline_ms;
		mail_send(b->shards[i].box, &m->mail);
	}
}

size_t broker_busy(const struct broker *b)
{
	size_t n = atomic_load_explicit(&b->clients, memory_order_relaxed);
	for (unsigned i = 0; i < b->n; i++)
		n += atomic_load_explicit(&b->shards[i].tickets, memory_order_relaxed);
	return n;
}
