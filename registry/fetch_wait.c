/* Asking somebody else from a thread that may block. */
#include "registry/private.h"
#include "server/base/err.h"

struct waiting {
	struct fetch fetch;
	struct mail_wait wait;
};

static void answered(struct mail *m)
{
	mail_wait_done(&container_of(m, struct waiting, fetch.mail)->wait);
}

/* Whoever fetches answers, at the latest after its time-out; by way of a loop, whose mailbox
 * outlives it. */
int registry_fetch(struct registry *r, struct fetch *f)
{
	struct waiting w = {.fetch = *f};
	if (!r->hooks.fetch || mail_wait_init(&w.wait, 1) < 0) {
		snprintf(f->why, sizeof(f->why), "nobody can be asked");
		return f->err = ERR_UNAVAILABLE;
	}
	w.fetch.mail.deliver = answered;
	w.fetch.reply_to = loop_mailbox(r->shards[0].loop);
	r->hooks.fetch(r->hooks.ctx, &w.fetch);
	mail_wait_for(&w.wait, -1);
	mail_wait_free(&w.wait);
	*f = w.fetch;
	return f->err;
}
