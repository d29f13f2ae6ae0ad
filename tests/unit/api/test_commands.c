/* POST /devices/{id}/messages/deviceBound, with a device that listens. */
#include "tests/unit/api/mqtt.h"

#define SEND "/devices/d/messages/deviceBound?api-version=2021-04-12"
#define TOPIC "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound"

static const char *new_device(void)
{
	static char key[256];
	json_t *doc = call(201, "POST", "/api/v1/devices", OWNER, NULL, "{\"deviceId\":\"d\"}");
	snprintf(key, sizeof(key), "%s", text_at(json_object_get(doc, "auth"), "primaryKey"));
	return key;
}

static int listen_for(const char *key)
{
	int fd = mqtt_connect("d", "d", sas_token("hub.example%2Fdevices%2Fd", key, NULL));
	mqtt_subscribe(fd, "devices/d/messages/devicebound/#");
	return fd;
}

START_TEST(queued_and_delivered)
{
	const char *key = new_device();
	call(204, "POST", SEND, SERVICE, "iothub-app-n: 1\r\n", "first");
	int fd = listen_for(key);
	ck_assert_str_eq(mqtt_message(fd), TOPIC "&n=1 first");
	call(204, "POST", SEND, OWNER, "Content-Type: text/plain\r\n", "");
	ck_assert_str_eq(mqtt_message(fd), TOPIC "&%24.ct=text%2Fplain ");
	/* The second one is here: the first is done with and does not come again. */
	close(fd);
}
END_TEST

START_TEST(refused)
{
	call(404, "POST", SEND, SERVICE, NULL, "x");
	call(403, "POST", SEND, READER, NULL, "x");
	call(401, "POST", SEND, NULL, NULL, "x");
	new_device();
	call(400, "POST", SEND "&x=y", SERVICE, NULL, "x");
	call(400, "POST", SEND, SERVICE, "iothub-ack: perhaps\r\n", "x");
	call(400, "POST", SEND, SERVICE, "iothub-app-$.mid: 1\r\n", "x");
	ck_assert_str_eq(
	        text_at(last.json, "detail"), "a property has no name, or one that the hub gives");
	call(405, "GET", SEND, SERVICE, NULL, NULL);
}
END_TEST

START_TEST(a_full_queue)
{
	const char *key = new_device();
	unsigned n = 0;
	struct reply r;
	for (;; n++) {
		ck_assert_uint_le(n, 50);
		call_with(&r, "POST", SEND, SERVICE, NULL, "x");
		if (r.status != 204)
			break;
		reply_done(&r);
	}
	ck_assert_uint_eq(n, 50);
	ck_assert_int_eq(r.status, 403);
	ck_assert_str_eq(text_at(r.json, "type"), "urn:holdfast:problem:queue-full");
	reply_done(&r);
	int fd = listen_for(key);
	for (unsigned i = 0; i < n; i++)
		ck_assert_str_eq(mqtt_message(fd), TOPIC " x");
	call(204, "POST", SEND, SERVICE, NULL, "again");
	ck_assert_str_eq(mqtt_message(fd), TOPIC " again");
	close(fd);
}
END_TEST

HUB_MAIN_WITH(mqtt_hub_start, "api commands", queued_and_delivered, refused, a_full_queue)
