#include "server/base/audit.h"

static _Thread_local const struct audit_actor *current;

static struct {
	void (*call)(void *ctx, const struct audit_denial *d);
	void *ctx;
} sink;

void audit_begin(const struct audit_actor *actor)
{
	current = actor;
}

void audit_end(void)
{
	current = NULL;
}

const struct audit_actor *audit_actor(void)
{
	return current;
}

void audit_set_sink(void (*call)(void *ctx, const struct audit_denial *d), void *ctx)
{
	sink.call = call;
	sink.ctx = ctx;
}

void audit_denied(const struct audit_denial *d)
{
	if (sink.call)
		sink.call(sink.ctx, d);
}
