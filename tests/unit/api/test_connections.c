/* /connections and presence, with MQTT clients on a listener of their own. */
#include "tests/unit/api/mqtt.h"

#define CONNECTIONS "/api/v1/connections"

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

HUB_MAIN_WITH(mqtt_hub_start, "api connections", who_is_connected, one_client_id_of_two_principals,
        presence_of_devices)
