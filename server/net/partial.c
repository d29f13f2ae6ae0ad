/*
 * What has come in part: packets and heads of requests whose rest is still to come. Each connection
 * may keep as much of one as its handler says, and all of a loop's together have a bound. Past it
 * the one that began first ends: who sends at all is done with a packet long before it is the
 * oldest.
 */
#include <stdlib.h>

#include "server/base/log.h"
#include "server/net/private.h"

#define PARTIAL_FREE 2048 /* bytes of a connection that nobody counts */

struct partial {
	struct partial *next, **prev; /* of the loop, in the order in which they began */
	struct conn *c;
	size_t bytes;
};

static struct partial *partial_begin(struct conn *c)
{
	struct net_loop *nl = c->nl;
	struct partial *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->c = c;
	p->prev = nl->partials_last;
	*nl->partials_last = p;
	nl->partials_last = &p->next;
	return p;
}

void partial_end(struct conn *c)
{
	struct partial *p = c->partial;
	if (!p)
		return;
	c->nl->partial_bytes -= p->bytes;
	*p->prev = p->next;
	if (p->next)
		p->next->prev = p->prev;
	else
		c->nl->partials_last = p->prev;
	free(p);
	c->partial = NULL;
}

static void oldest_end(struct net_loop *nl)
{
	struct conn *c = nl->partials->c;
	char peer[CONN_PEER_LEN];
	conn_peer(c, peer);
	log_warn("too much has come in part, the oldest ends", F_U64("conn", c->id),
	        F_STR("peer", peer), F_U64("bytes", nl->partials->bytes));
	partial_end(c);
	buf_wipe(&c->tail);
	conn_abort(c, END_PARTIAL);
}

void partial_note(struct conn *c)
{
	struct net_loop *nl = c->nl;
	/* What waits in a pause of ours is nobody's fault, and little: one read. */
	size_t bytes = c->state == CONN_OPEN && c->pauses == 0 ? c->tail.size : 0;
	if (bytes <= PARTIAL_FREE) {
		partial_end(c);
		return;
	}
	if (!c->partial && !(c->partial = partial_begin(c))) {
		conn_abort(c, END_INTERNAL);
		return;
	}
	nl->partial_bytes += bytes - c->partial->bytes;
	c->partial->bytes = bytes;
	size_t most = atomic_load_explicit(&nl->net->partial_bytes, memory_order_relaxed);
	while (nl->partials && nl->partial_bytes > most / nl->net->n_loops)
		oldest_end(nl);
}
