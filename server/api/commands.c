#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/base/err.h"
#include "server/ingest/map_command.h"

/*
 * Messages for devices. Who asks and which device is meant is read on a worker; the commit is
 * waited for on the loop, so that no worker waits for the store. A disabled device's queue takes
 * messages, too: what it may not do is connect, and they have an expiry.
 */

struct command {
	struct api_call *call;
	struct broker_command ask;
};

static void command_free(struct command *d)
{
	msg_unref(d->ask.msg);
	free(d);
}

static void answer(struct api_call *c, int err)
{
	switch (err) {
	case 0: api_call_empty(c, 204); break;
	case ERR_QUOTA:
		api_call_problem(c, API_PROBLEM_QUEUE_FULL,
		        "the device has not taken the messages that are queued");
		break;
	/* The broker knows one reason to be unavailable: the store's queue is full. */
	case ERR_UNAVAILABLE:
		api_call_problem(c, API_PROBLEM_QUOTA, "too many messages wait for the store");
		break;
	default: api_call_err(c, err);
	}
}

static void on_committed(struct broker_command *ask)
{
	struct command *d = ask->user;
	struct api_call *c = d->call;
	answer(c, ask->err);
	command_free(d);
	api_call_answer(c);
}

static void queue(struct api_call *c)
{
	struct command *d = c->state;
	broker_command(c->api->deps.broker, c->r->loop, &d->ask);
}

void api_command_send(struct api_call *c)
{
	uint64_t device_key;
	const char *why = NULL;
	if (!api_call_ok(
	            c, registry_device_key(c->api->deps.registry, c->params[0], &device_key), NULL))
		return;
	struct command *d = calloc(1, sizeof(*d));
	int err = d ? ingest_map_command(c->r, c->param_text[0], &d->ask.msg, &why) : ERR_NOMEM;
	if (err < 0) {
		free(d);
		if (why)
			api_call_problem(c, api_problem_of_err(err), why);
		else
			api_call_err(c, err);
		return;
	}
	d->call = c;
	d->ask.device_key = device_key;
	d->ask.device_id = c->params[0];
	d->ask.done = on_committed;
	d->ask.user = d;
	c->state = d;
	c->resume = queue;
}
