/*
 * Who may connect by its address, and stay: the questions to net_admission. A stranger is who was
 * let in and has not proved yet who he is.
 */
#include "server/base/cleanup.h"
#include "server/base/log.h"
#include "server/net/private.h"

#define RECHECKS_A_TURN 512 /* some 100 ns each: nobody waits for it */

enum end_reason net_admit(struct net *net, const struct ip_addr *peer)
{
	const struct net_admission *a = &net->admission;
	return a->admit ? a->admit(a->ctx, peer) : END_NORMAL;
}

void net_settle(struct net *net, const struct ip_addr *peer)
{
	const struct net_admission *a = &net->admission;
	if (a->settled)
		a->settled(a->ctx, peer);
}

struct ip_addr conn_ip(const struct conn *c)
{
	struct ip_addr ip = {.v6 = c->peer_v6};
	memcpy(ip.bytes, c->peer_ip, c->peer_v6 ? 16 : 4);
	return ip;
}

void conn_known(struct conn *c)
{
	if (!c->stranger)
		return;
	struct ip_addr ip = conn_ip(c);
	c->stranger = false;
	net_settle(c->nl->net, &ip);
}

void net_set_admission(struct net *net, const struct net_admission *a)
{
	net->admission = *a;
}

/* ---- asking again ---- */

void conn_recheck(struct conn *c)
{
	const struct net_admission *a = &c->nl->net->admission;
	/* Through a balancer the address is not known before its header. */
	if (!a->still || c->state == CONN_PROXY || c->state >= CONN_FLUSHING)
		return;
	struct ip_addr ip = conn_ip(c);
	enum end_reason why = a->still(a->ctx, &ip);
	if (why == END_NORMAL)
		return;
	if (c->handler && c->handler->on_end)
		c->handler->on_end(c, c->arg, why);
	conn_close(c, why);
}

/* Who comes while the walk goes on is put in front of the list and was judged just now: by accept,
 * or on arrival from another loop. */
static void walk(struct net_loop *nl)
{
	if (atomic_exchange(&nl->recheck_wanted, false))
		nl->recheck_next = nl->conns;
	for (unsigned i = 0; nl->recheck_next && i < RECHECKS_A_TURN; i++) {
		struct conn *c = nl->recheck_next;
		nl->recheck_next = c->next;
		conn_recheck(c);
	}
}

void recheck_deliver(struct mail *m)
{
	struct net_loop *nl = container_of(m, struct net_loop, recheck_mail);
	walk(nl);
	if (!nl->recheck_next) {
		atomic_store(&nl->recheck_posted, false);
		/* Wanted again in between, and whoever wanted it saw the mail on its way. */
		if (!atomic_load(&nl->recheck_wanted) || atomic_exchange(&nl->recheck_posted, true))
			return;
	}
	mail_post(loop_mailbox(nl->loop), &nl->recheck_mail);
}

void net_recheck(struct net *net)
{
	for (unsigned i = 0; i < net->n_loops; i++) {
		struct net_loop *nl = net->loops[i];
		atomic_store(&nl->recheck_wanted, true);
		if (atomic_exchange(&nl->recheck_posted, true))
			continue;
		nl->recheck_mail.deliver = recheck_deliver;
		mail_send(loop_mailbox(nl->loop), &nl->recheck_mail);
	}
}
