/* MQTT clients for tests of the API, on a listener of their own beside the REST one. */
#ifndef HF_TESTS_UNIT_API_MQTT_H
#define HF_TESTS_UNIT_API_MQTT_H

#include "tests/unit/api/hub.h"

/* ---- the broker on connections ---- */

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
static void link_moved(struct conn *c, void *arg)
{
	broker_client_moved(arg, conn_loop(c));
}
static void link_move(void *link, struct loop *to)
{
	conn_move(link, to, link_moved);
}
static const struct broker_link link_ops = {
        .send = link_send,
        .send_msg = link_send_msg,
        .unsent = link_unsent,
        .pause = link_pause,
        .resume = link_resume,
        .close = link_close,
        .move = link_move,
};

static ssize_t on_data(struct conn *c HF_UNUSED, void *arg, struct slice in, size_t *ret_need)
{
	return broker_client_data(arg, in, ret_need);
}
static void on_drained(struct conn *c HF_UNUSED, void *arg)
{
	broker_client_drained(arg);
}
static void on_closed(struct conn *c HF_UNUSED, void *arg, enum end_reason why)
{
	broker_client_closed(arg, why);
}

static void on_accept(struct conn *c, void *arg HF_UNUSED)
{
	static const struct conn_handler handler = {
	        .on_data = on_data, .on_drained = on_drained, .on_closed = on_closed};
	struct broker_peer peer = {
	        .conn_id = conn_id(c), .protocol = "mqtt", .anonymous_allowed = true};
	conn_peer(c, peer.address);
	struct broker_client *client = broker_client_new(
	        hub.broker, conn_loop(c), &link_ops, c, &peer);
	conn_set_handler(c, &handler, client, 300000);
}

HF_UNUSED static void mqtt_hub_start(void)
{
	hub_extra = on_accept;
	hub_start();
}

/* ---- a client ---- */

static uint8_t *put_text(uint8_t *to, const char *text)
{
	size_t n = strlen(text);
	*to++ = (uint8_t)(n >> 8);
	*to++ = (uint8_t)n;
	memcpy(to, text, n);
	return to + n;
}

/* Connects by MQTT 3.1.1 and reads the CONNACK; without user name: anonymous. kept: the session
 * outlives the connection. */
static int mqtt_open(const char *client_id, const char *user, const char *password, bool kept)
{
	uint8_t packet[2048] = {0x10}, *to = packet + 3;
	to = put_text(to, "MQTT");
	*to++ = 4;
	*to++ = (uint8_t)((user ? 0xc0 : 0) | (kept ? 0 : 0x02));
	*to++ = 0;
	*to++ = 60;
	to = put_text(to, client_id);
	if (user)
		to = put_text(put_text(to, user), password);
	size_t left = (size_t)(to - packet) - 3;
	packet[1] = (uint8_t)(left | 0x80);
	packet[2] = (uint8_t)(left >> 7);
	if (left < 128) { /* a length must be as short as it can be */
		packet[1] = (uint8_t)left;
		memmove(packet + 2, packet + 3, left);
		to--;
	}
	int fd = client_connect(hub.extra_port);
	send_all(fd, packet, (size_t)(to - packet));
	uint8_t connack[4];
	ck_assert_int_eq(recv(fd, connack, 4, MSG_WAITALL), 4);
	ck_assert_uint_eq(connack[0], 0x20);
	ck_assert_uint_eq(connack[3], 0);
	return fd;
}

HF_UNUSED static int mqtt_connect(const char *client_id, const char *user, const char *password)
{
	return mqtt_open(client_id, user, password, false);
}

/* Subscribes with QoS 1 and reads the SUBACK. */
HF_UNUSED static void mqtt_subscribe(int fd, const char *filter)
{
	uint8_t packet[512] = {0x82, 0, 0, 1}, suback[5];
	uint8_t *to = put_text(packet + 4, filter);
	*to++ = 1;
	packet[1] = (uint8_t)(to - packet - 2);
	ck_assert_uint_lt(packet[1], 128);
	send_all(fd, packet, (size_t)(to - packet));
	ck_assert_int_eq(recv(fd, suback, 5, MSG_WAITALL), 5);
	ck_assert_uint_eq(suback[0], 0x90);
	ck_assert_uint_eq(suback[4], 1);
}

/* Reads a PUBLISH of QoS 1 and acknowledges it: "topic payload". */
HF_UNUSED static const char *mqtt_message(int fd)
{
	static char text[1024];
	uint8_t head[2], packet[1024];
	ck_assert_int_eq(recv(fd, head, 2, MSG_WAITALL), 2);
	ck_assert_uint_eq(head[0] & 0xf7, 0x32);
	size_t n = head[1] & 0x7f;
	if (head[1] & 0x80) {
		ck_assert_int_eq(recv(fd, packet, 1, MSG_WAITALL), 1);
		ck_assert_uint_lt(packet[0], 7);
		n |= (size_t)packet[0] << 7;
	}
	ck_assert_int_eq(recv(fd, packet, n, MSG_WAITALL), (ssize_t)n);
	size_t topic = (size_t)packet[0] << 8 | packet[1];
	ck_assert_uint_le(topic + 4, n);
	snprintf(text, sizeof(text), "%.*s %.*s", (int)topic, (char *)packet + 2,
	        (int)(n - topic - 4), (char *)packet + topic + 4);
	const uint8_t puback[] = {0x40, 2, packet[topic + 2], packet[topic + 3]};
	send_all(fd, puback, sizeof(puback));
	return text;
}

#endif
