/*
 * The connection is the broker's link and the broker's client is the connection's argument, so that
 * an idle device costs no third object between the two.
 */
#include "server/front.h"

#include <stdio.h>

static void link_send(void *link, const void *p, size_t n)
{
	conn_send(link, p, n);
}

static void link_send_msg(void *link, struct slice head, struct msg *m, struct slice body)
{
	conn_send_msg(link, head, m, body);
}

static size_t link_unsent(void *link)
{
	return conn_unsent(link);
}

static void link_pause(void *link)
{
	conn_pause(link);
}

static void link_resume(void *link)
{
	conn_resume(link);
}

static void link_close(void *link, enum end_reason why, bool hard)
{
	if (hard)
		conn_abort(link, why);
	else
		conn_close(link, why);
}

static void front_moved(struct conn *c, void *arg)
{
	broker_client_moved(arg, conn_loop(c));
}

static void link_move(void *link, struct loop *to)
{
	conn_move(link, to, front_moved);
}

static void link_known(void *link)
{
	conn_known(link);
}

static struct cert_chain *link_certificate(void *link)
{
	return conn_certificate(link);
}

static struct slice link_server_name(void *link)
{
	return conn_server_name(link);
}

static struct http_opening *link_take_opening(void *link)
{
	return conn_take_opening(link);
}

static const struct broker_link front_link = {
        .send = link_send,
        .send_msg = link_send_msg,
        .unsent = link_unsent,
        .pause = link_pause,
        .resume = link_resume,
        .close = link_close,
        .move = link_move,
        .known = link_known,
        .certificate = link_certificate,
        .server_name = link_server_name,
        .take_opening = link_take_opening,
};

static ssize_t front_on_data(struct conn *c HF_UNUSED, void *arg, struct slice in, size_t *ret_need)
{
	return broker_client_data(arg, in, ret_need);
}

static void front_on_drained(struct conn *c HF_UNUSED, void *arg)
{
	broker_client_drained(arg);
}

static void front_on_end(struct conn *c HF_UNUSED, void *arg, enum end_reason why)
{
	broker_client_end(arg, why);
}

static void front_on_closed(struct conn *c HF_UNUSED, void *arg, enum end_reason why)
{
	broker_client_closed(arg, why);
}

static const struct conn_handler front_handler = {
        .on_data = front_on_data,
        .on_drained = front_on_drained,
        .on_end = front_on_end,
        .on_closed = front_on_closed,
};

void front_accept(struct conn *c, void *arg)
{
	const struct front *front = arg;
	struct broker_peer peer = {
	        .conn_id = conn_id(c),
	        .protocol = front->protocol,
	        .tls_version = conn_tls_version(c),
	        .anonymous_allowed = front->anonymous_allowed && conn_is_loopback_plain(c),
	};
	struct broker_client *client;

	conn_peer(c, peer.address);
	client = broker_client_new(front->broker, conn_loop(c), &front_link, c, &peer);
	if (!client) {
		conn_abort(c, END_INTERNAL);
		return;
	}
	/* The fixed header comes on top of what a packet may hold. */
	conn_set_handler(c, &front_handler, client, front->max_packet_size + 5);
}
