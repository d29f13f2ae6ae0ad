/* /sessions/{clientId}, with MQTT clients on a listener of their own. */
#include "tests/unit/api/mqtt.h"

#define SESSIONS "/api/v1/sessions/"

static json_t *session_at(size_t i)
{
	json_t *session = json_array_get(json_object_get(last.json, "sessions"), i);
	documented(session, "Session");
	return session;
}

static long number_at(const json_t *doc, const char *name)
{
	ck_assert_msg(json_is_integer(json_object_get(doc, name)), "%s", name);
	return (long)json_integer_value(json_object_get(doc, name));
}

static bool offline(const char *target)
{
	json_t *s;
	call(200, "GET", target, SERVICE, NULL, NULL);
	s = session_at(0);
	return json_is_false(json_object_get(s, "connected"));
}

START_TEST(a_kept_session)
{
	const char *const target = SESSIONS "a%2Fb%20%C3%A4";
	call(404, "GET", target, SERVICE, NULL, NULL);
	int fd = mqtt_open("a/b \xc3\xa4", NULL, NULL, true);
	mqtt_subscribe(fd, "x/\"quoted\"/#");
	mqtt_subscribe(fd, "y/+");
	call(200, "GET", target, SERVICE, NULL, NULL);
	documented(last.json, "Sessions");
	json_t *s = session_at(0);
	ck_assert_str_eq(text_at(s, "clientId"), "a/b \xc3\xa4");
	ck_assert_str_eq(text_at(s, "kind"), "anonymous");
	ck_assert(json_is_true(json_object_get(s, "connected")));
	ck_assert(json_is_null(json_object_get(s, "offlineSince")));
	ck_assert(json_is_null(json_object_get(s, "expiresTime")));
	ck_assert_int_eq(number_at(s, "expiryInterval"), 3600);
	ck_assert_int_eq(number_at(s, "queued"), 0);
	ck_assert_int_eq(number_at(s, "subscriptionCount"), 2);
	size_t i;
	json_t *sub;
	json_array_foreach(json_object_get(s, "subscriptions"), i, sub)
	{
		documented(sub, "Subscription");
		ck_assert_int_eq(number_at(sub, "qos"), 1);
		const char *filter = text_at(sub, "filter");
		ck_assert(strcmp(filter, "x/\"quoted\"/#") == 0 || strcmp(filter, "y/+") == 0);
	}
	ck_assert_uint_eq(i, 2);
	close(fd);
	while (!offline(target))
		usleep(1000);
	s = session_at(0);
	ck_assert_ptr_nonnull(text_at(s, "offlineSince"));
	ck_assert_ptr_nonnull(text_at(s, "expiresTime"));
	call(204, "DELETE", target, SERVICE, NULL, NULL);
	call(404, "GET", target, SERVICE, NULL, NULL);
	call(404, "DELETE", target, SERVICE, NULL, NULL);
}
END_TEST

START_TEST(all_of_one_client_id)
{
	json_t *doc = call(201, "POST", "/api/v1/devices", OWNER, NULL, "{\"deviceId\":\"b\"}");
	const char *key = text_at(json_object_get(doc, "auth"), "primaryKey");
	const char *token = sas_token("hub.example%2Fdevices%2Fb", key, NULL);
	int fds[] = {mqtt_connect("b", NULL, NULL), mqtt_open("b", "b", token, true)};
	doc = call(200, "GET", SESSIONS "b", SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(doc, "sessions")), 2);
	ck_assert_str_ne(text_at(session_at(0), "kind"), text_at(session_at(1), "kind"));
	call(204, "DELETE", SESSIONS "b", SERVICE, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		uint8_t byte;
		ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 0);
		close(fds[i]);
	}
	call(404, "GET", SESSIONS "b", SERVICE, NULL, NULL);
}
END_TEST

START_TEST(hostile_ids)
{
	char target[sizeof(SESSIONS) + 1025 + 1] = SESSIONS;
	call(400, "GET", SESSIONS "%00", SERVICE, NULL, NULL);
	call(400, "GET", SESSIONS "%ff", SERVICE, NULL, NULL);
	call(404, "DELETE", SESSIONS "..", SERVICE, NULL, NULL);
	memset(target + strlen(SESSIONS), 'x', 1025);
	call(404, "DELETE", target, SERVICE, NULL, NULL);
	call(403, "DELETE", SESSIONS "x", READER, NULL, NULL);
}
END_TEST

HUB_MAIN_WITH(mqtt_hub_start, "api sessions", a_kept_session, all_of_one_client_id, hostile_ids)
