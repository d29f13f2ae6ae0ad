#include "server/net/net.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/net/private.h"
#include "server/net/tls.h"
#include "server/net/ws.h"

#define ADDRESS_SLOTS 16384 /* of the tally of connections by address */
/* What one pass over the connections makes others do is done in the same turn, so often. */
#define PASSES_A_TURN 4

static void on_wake(HF_UNUSED evutil_socket_t fd, HF_UNUSED short what, HF_UNUSED void *arg)
{
}

static void work_run(struct net_loop *nl)
{
	struct conn *c = nl->work;
	nl->work = NULL;
	nl->work_last = &nl->work;
	while (c) {
		struct conn *next = c->next_work;
		c->queued = false;
		conn_turn_end(c);
		c = next;
	}
}

static void end_of_turn(struct loop_hook *h, HF_UNUSED struct loop *loop)
{
	struct net_loop *nl = container_of(h, struct net_loop, hook);
	nl->handshakes = 0;
	for (int i = 0; i < PASSES_A_TURN && nl->work; i++)
		work_run(nl);
	if (nl->work)
		event_active(&nl->wake, EV_TIMEOUT, 1);
}

static struct net_loop *net_loop_new(struct net *net, struct loop *loop)
{
	struct net_loop *nl = calloc(1, sizeof(*nl));
	if (!nl)
		return NULL;
	nl->net = net;
	nl->loop = loop;
	nl->work_last = &nl->work;
	nl->partials_last = &nl->partials;
	nl->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	event_assign(&nl->wake, loop_event_base(loop), -1, 0, on_wake, nl);
	nl->hook.end_of_turn = end_of_turn;
	loop_add_hook(loop, &nl->hook);
	return nl;
}

struct net *net_new(struct loop *const *loops, unsigned n, const struct net_limits *limits)
{
	assert(n <= NET_LOOPS_MAX);
	struct net *net = calloc(1, sizeof(*net));
	if (!net)
		return NULL;
	net->tls = tls_new();
	net->addresses = tally_new(ADDRESS_SLOTS);
	atomic_init(&net->next_id, 1);
	net_set_limits(net, limits);
	for (unsigned i = 0; i < n; i++) {
		assert(loop_index(loops[i]) == i);
		net->loops[i] = net_loop_new(net, loops[i]);
		if (!net->loops[i])
			break;
		net->n_loops++;
	}
	if (net->tls && net->addresses && net->n_loops == n)
		return net;
	net_free(net);
	return NULL;
}

static void net_loop_free(struct net_loop *nl)
{
	for (struct conn *c = nl->conns; c; c = c->next)
		conn_abort(c, END_SHUTDOWN);
	while (nl->work)
		work_run(nl);
	assert(!nl->conns);
	event_del(&nl->wake);
	loop_timer_cancel(&nl->accept_timer);
	net_loop_free_pieces(nl);
	ws_loop_free(nl);
	if (nl->reserve_fd >= 0)
		close(nl->reserve_fd);
	free(nl);
}

void net_free(struct net *net)
{
	if (!net)
		return;
	for (unsigned i = 0; i < net->n_loops; i++)
		net_loop_free(net->loops[i]);
	listeners_free(net); /* connections count themselves there until their end */
	tls_free(net->tls);
	tally_free(net->addresses);
	free(net);
}

void net_set_limits(struct net *net, const struct net_limits *limits)
{
	atomic_store_explicit(&net->handshake_ms, limits->handshake_ms, memory_order_relaxed);
	atomic_store_explicit(&net->partial_bytes,
	        limits->partial_bytes ? limits->partial_bytes : SIZE_MAX, memory_order_relaxed);
	atomic_store_explicit(&net->max_connections, limits->max_connections, memory_order_relaxed);
	atomic_store_explicit(
	        &net->listener_connections, limits->listener_connections, memory_order_relaxed);
	atomic_store_explicit(
	        &net->address_connections, limits->address_connections, memory_order_relaxed);
}

int net_tls_load(struct net *net, const char *cert_file, const char *key_file,
        unsigned ticket_rotation_s, char error[static NET_ERROR_LEN])
{
	return tls_load(net->tls, cert_file, key_file, ticket_rotation_s, error);
}

static void accept_deliver(struct mail *m)
{
	struct net_loop *nl = container_of(m, struct net_loop, accept_mail);
	atomic_store(&nl->accept_posted, false);
	listeners_apply(nl, atomic_load(&nl->accept_wanted));
}

void net_accept(struct net *net, bool on)
{
	for (unsigned i = 0; i < net->n_loops; i++) {
		struct net_loop *nl = net->loops[i];
		atomic_store(&nl->accept_wanted, on);
		/* The mail is in one mailbox at a time, however often it is called. */
		if (atomic_exchange(&nl->accept_posted, true))
			continue;
		nl->accept_mail.deliver = accept_deliver;
		mail_send(loop_mailbox(nl->loop), &nl->accept_mail);
	}
}

size_t net_connections(const struct net *net)
{
	return atomic_load_explicit(&net->connections, memory_order_relaxed);
}
