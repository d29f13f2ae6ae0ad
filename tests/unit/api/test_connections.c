/* /connections and presence, with MQTT clients on a listener of their own. */
#include "tests/unit/api/hub.h"

#define CONNECTIONS "/api/v1/connections"

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
        link_send, link_send_msg, link_unsent, link_pause, link_resume, link_close, link_move};

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
	static const struct conn_handler handler = {on_data, on_drained, on_closed};
	struct broker_peer peer = {
	        .conn_id = conn_id(c), .protocol = "mqtt", .anonymous_allowed = true};
	conn_peer(c, peer.address);
	struct broker_client *client = broker_client_new(
	        hub.broker, conn_loop(c), &link_ops, c, &peer);
	conn_set_handler(c, &handler, client, 300000);
}

static void setup(void)
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

/* Connects by MQTT 3.1.1 and reads the CONNACK; without user name: anonymous. */
static int mqtt_connect(const char *client_id, const char *user, const char *password)
{
	uint8_t packet[2048] = {0x10}, *to = packet + 3;
	to = put_text(to, "MQTT");
	*to++ = 4;
	*to++ = (uint8_t)(user ? 0xc2 : 0x02);
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

static void expect_end(int fd)
{
	uint8_t byte;
	ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
	close(fd);
}

START_TEST(who_is_connected)
{
	int fds[5];
	char id[32];
	for (int i = 0; i < 5; i++) {
		snprintf(id, sizeof(id), "client/%d \xc3\xa4", i);
		fds[i] = mqtt_connect(id, NULL, NULL);
	}
	json_t *page = call(200, "GET", CONNECTIONS "?limit=2", SERVICE, NULL, NULL);
	const json_t *first = json_array_get(json_object_get(page, "items"), 0);
	ck_assert_str_eq(text_at(first, "clientId"), "client/0 \xc3\xa4");
	documented(first, "Connection");
	ck_assert_str_eq(text_at(first, "kind"), "anonymous");
	ck_assert_str_eq(text_at(first, "mqttVersion"), "3.1.1");
	ck_assert_str_eq(text_at(first, "protocol"), "mqtt");
	ck_assert(json_is_null(json_object_get(first, "tlsVersion")));
	ck_assert_int_eq(strncmp(text_at(first, "address"), "127.0.0.1:", 10), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(first, "keepAlive")), 60);
	ck_assert(json_is_true(json_object_get(first, "cleanStart")));
	ck_assert_ptr_nonnull(text_at(first, "connectedTime"));
	size_t seen = 2;
	for (const char *next = text_at(page, "nextCursor"); next;
	        next = text_at(page, "nextCursor")) {
		char target[512];
		snprintf(target, sizeof(target), CONNECTIONS "?limit=2&cursor=%s", next);
		page = call(200, "GET", target, SERVICE, NULL, NULL);
		seen += json_array_size(json_object_get(page, "items"));
	}
	ck_assert_uint_eq(seen, 5);
	call(204, "DELETE", CONNECTIONS "/client%2F0%20%C3%A4", SERVICE, NULL, NULL);
	expect_end(fds[0]);
	call(404, "DELETE", CONNECTIONS "/client%2F0%20%C3%A4", SERVICE, NULL, NULL);
	page = call(200, "GET", CONNECTIONS, SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 4);
	for (int i = 1; i < 5; i++)
		close(fds[i]);
}
END_TEST

START_TEST(one_client_id_of_two_principals)
{
	json_t *doc = call(201, "POST", "/api/v1/devices", OWNER, NULL, "{\"deviceId\":\"b\"}");
	const char *key = text_at(json_object_get(doc, "auth"), "primaryKey");
	const char *token = sas_token("hub.example%2Fdevices%2Fb", key, NULL);
	int fds[] = {mqtt_connect("a", NULL, NULL), mqtt_connect("b", NULL, NULL),
	        mqtt_connect("b", "b", token)};
	/* Both rows of "b" stay on one page. */
	json_t *page = call(200, "GET", CONNECTIONS "?limit=2", SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 1);
	char target[512];
	snprintf(target, sizeof(target), CONNECTIONS "?limit=2&cursor=%s",
	        text_at(page, "nextCursor"));
	page = call(200, "GET", target, SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 2);
	ck_assert(json_is_null(json_object_get(page, "nextCursor")));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}
END_TEST

START_TEST(presence_of_devices)
{
	json_t *doc = call(201, "POST", "/api/v1/devices", OWNER, NULL, "{\"deviceId\":\"d\"}");
	const char *key = text_at(json_object_get(doc, "auth"), "primaryKey");
	const char *token = sas_token("hub.example%2Fdevices%2Fd", key, NULL);
	ck_assert_str_eq(text_at(doc, "connectionState"), "Disconnected");
	int fd = mqtt_connect("d", "hub.example/d/?api-version=2021-04-12", token);
	doc = call(200, "GET", "/api/v1/devices/d", READER, NULL, NULL);
	ck_assert_str_eq(text_at(doc, "connectionState"), "Connected");
	ck_assert_ptr_nonnull(text_at(doc, "connectionStateUpdatedTime"));
	ck_assert_ptr_nonnull(text_at(doc, "lastActivityTime"));
	doc = call(200, "GET", "/api/v1/devices", READER, NULL, NULL);
	doc = json_array_get(json_object_get(doc, "items"), 0);
	ck_assert_str_eq(text_at(doc, "connectionState"), "Connected");
	call(204, "DELETE", CONNECTIONS "/d", SERVICE, NULL, NULL);
	expect_end(fd);
	doc = call(200, "GET", "/api/v1/devices/d", READER, NULL, NULL);
	ck_assert_str_eq(text_at(doc, "connectionState"), "Disconnected");
}
END_TEST

HUB_MAIN_WITH(setup, "api connections", who_is_connected, one_client_id_of_two_principals,
        presence_of_devices)
