/* From a device's POST to what REST shows of it. */
#include <poll.h>

#include "tests/unit/api/hub.h"

#define TELEMETRY "/api/v1/devices/d/telemetry"
#define EVENTS "/devices/d/messages/events?api-version=2021-04-12"

static char key[128];

static const char *device_auth(void)
{
	return sas_token("hub.example%2Fdevices%2Fd", key, NULL);
}

static void make_device(void)
{
	json_t *doc = call(201, "POST", "/api/v1/devices", OWNER, NULL, "{\"deviceId\":\"d\"}");
	snprintf(key, sizeof(key), "%s", text_at(json_object_get(doc, "auth"), "primaryKey"));
}

static void send_numbers(int from, int to)
{
	char body[32];
	for (int i = from; i < to; i++) {
		snprintf(body, sizeof(body), "%d", i);
		call(204, "POST", EVENTS, device_auth(), NULL, body);
	}
}

START_TEST(a_message_comes_back)
{
	make_device();
	call(204, "POST", EVENTS, device_auth(),
	        "Content-Type: application/json\r\nContent-Encoding: utf-8\r\n"
	        "iothub-app-a: 1\r\niothub-app-A: 2\r\niothub-app-a: 3\r\n"
	        "IoTHub-MessageId: m\r\n",
	        "{ \"t\": 21.50 }");
	ck_assert_uint_eq(last.body_len, 0);
	json_t *page = call(200, "GET", TELEMETRY, SERVICE, NULL, NULL);
	const json_t *item = json_array_get(json_object_get(page, "items"), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 1);
	documented(page, "TelemetryList");
	documented(item, "TelemetryItem");
	ck_assert_str_eq(text_at(item, "topic"), "devices/d/messages/events/");
	ck_assert_int_eq(json_integer_value(json_object_get(item, "qos")), 1);
	ck_assert_str_eq(text_at(item, "contentType"), "application/json");
	ck_assert_str_eq(text_at(item, "contentEncoding"), "utf-8");
	ck_assert_str_eq(text_at(json_object_get(item, "properties"), "a"), "3");
	ck_assert_str_eq(text_at(json_object_get(item, "properties"), "A"), "2");
	ck_assert_str_eq(text_at(json_object_get(item, "properties"), "$.mid"), "m");
	ck_assert_uint_eq(json_object_size(json_object_get(item, "properties")), 3);
	ck_assert_ptr_nonnull(strstr(last.body, "\"payload\":{ \"t\": 21.50 }"));
	json_int_t seq = json_integer_value(json_object_get(item, "seq"));
	json_t *latest = call(200, "GET", TELEMETRY "/latest?maxAge=60", SERVICE, NULL, NULL);
	ck_assert(json_is_number(json_object_get(latest, "ageSeconds")));
	ck_assert_int_eq(json_integer_value(json_object_get(latest, "seq")), seq);
}
END_TEST

START_TEST(pages_both_ways)
{
	const char *const orders[] = {"asc", "desc"};
	make_device();
	send_numbers(0, 23);
	for (int o = 0; o < 2; o++) {
		char target[512];
		int seen = 0;
		snprintf(target, sizeof(target), TELEMETRY "?limit=5&order=%s", orders[o]);
		for (const char *next = ""; next;) {
			const json_t *page = call(200, "GET", target, SERVICE, NULL, NULL), *item;
			size_t i;
			json_array_foreach(json_object_get(page, "items"), i, item)
			{
				int want = o == 0 ? seen : 22 - seen;
				ck_assert_int_eq(
				        json_integer_value(json_object_get(item, "payload")), want);
				seen++;
			}
			next = text_at(page, "nextCursor");
			if (next)
				snprintf(target, sizeof(target),
				        TELEMETRY "?limit=5&order=%s&cursor=%s", orders[o], next);
		}
		ck_assert_int_eq(seen, 23);
	}
	/* A cursor is bound to order and generation. */
	char cursor[128], target[512];
	json_t *page = call(200, "GET", TELEMETRY "?limit=1&order=asc", SERVICE, NULL, NULL);
	snprintf(cursor, sizeof(cursor), "%s", text_at(page, "nextCursor"));
	snprintf(target, sizeof(target), TELEMETRY "?cursor=%s", cursor);
	json_t *p = call(400, "GET", target, SERVICE, NULL, NULL);
	ck_assert_str_eq(error_at(p, 0, "parameter"), "cursor");
	call(204, "DELETE", "/api/v1/devices/d", OWNER, NULL, NULL);
	call(401, "POST", EVENTS, device_auth(), NULL, "1");
	call(404, "GET", TELEMETRY, SERVICE, NULL, NULL);
	make_device();
	snprintf(target, sizeof(target), TELEMETRY "?order=asc&cursor=%s", cursor);
	call(400, "GET", target, SERVICE, NULL, NULL);
	page = call(200, "GET", TELEMETRY, SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 0);
}
END_TEST

START_TEST(from_is_inclusive_to_is_not)
{
	char at[64], target[512];
	make_device();
	send_numbers(0, 1);
	json_t *page = call(200, "GET", TELEMETRY, SERVICE, NULL, NULL);
	snprintf(at, sizeof(at), "%s",
	        text_at(json_array_get(json_object_get(page, "items"), 0), "receivedAt"));
	/* The row may be some microseconds younger than its time in milliseconds. */
	snprintf(target, sizeof(target), TELEMETRY "?from=%s", at);
	page = call(200, "GET", target, SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 1);
	snprintf(target, sizeof(target), TELEMETRY "?to=%s", at);
	page = call(200, "GET", target, SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 0);
	call(200, "GET", TELEMETRY "?from=2026-01-01T00:00:00+02:00&to=2026-01-02T00:00:00Z",
	        SERVICE, NULL, NULL);
	const char *const bad[] = {"from=yesterday", "to=2026-13-01T00:00:00Z", "order=up",
	        "limit=0", "from=", "limit=1&limit=1"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(target, sizeof(target), TELEMETRY "?%s", bad[i]);
		json_t *p = call(400, "GET", target, SERVICE, NULL, NULL);
		char name[16];
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(bad[i], "="), bad[i]);
		ck_assert_str_eq(error_at(p, 0, "parameter"), name);
	}
}
END_TEST

START_TEST(corrupt_rows_and_missing_ones)
{
	make_device();
	call(404, "GET", TELEMETRY "/latest", SERVICE, NULL, NULL);
	call(404, "GET", "/api/v1/devices/none/telemetry/latest", SERVICE, NULL, NULL);
	send_numbers(0, 3);
	hub.corrupt = 3;
	json_t *page = call(200, "GET", TELEMETRY, SERVICE, NULL, NULL);
	const json_t *items = json_object_get(page, "items");
	ck_assert_uint_eq(json_array_size(items), 3);
	ck_assert_str_eq(text_at(json_array_get(items, 0), "error"), "integrity check failed");
	ck_assert(!json_object_get(json_array_get(items, 0), "payload"));
	ck_assert_int_eq(
	        json_integer_value(json_object_get(json_array_get(items, 1), "payload")), 1);
	json_t *p = call(500, "GET", TELEMETRY "/latest", SERVICE, NULL, NULL);
	ck_assert_str_eq(text_at(p, "title"), "The stored data fails its integrity check");
	hub.corrupt = 0;
	const char *const bad[] = {"-1", "1.5", "", "x", "99999999999999999999"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char target[128];
		snprintf(target, sizeof(target), TELEMETRY "/latest?maxAge=%s", bad[i]);
		call(400, "GET", target, SERVICE, NULL, NULL);
	}
	p = call(409, "GET", TELEMETRY "/latest?maxAge=0", SERVICE, NULL, NULL);
	ck_assert_str_eq(text_at(p, "type"), "urn:holdfast:problem:too-old");
}
END_TEST

START_TEST(a_page_ends_at_eight_mebibytes)
{
	size_t n = 262144;
	char *body = malloc(n);
	make_device();
	memset(body, 'x', n);
	body[0] = body[n - 1] = '"';
	for (int i = 0; i < 40; i++) {
		int fd = client_connect(client_port);
		request_send(fd, "POST", EVENTS, device_auth(), NULL, slice_make(body, n));
		reply_done(&last);
		reply_read(fd, false, &last);
		ck_assert_int_eq(last.status, 204);
		close(fd);
	}
	free(body);
	json_t *page = call(200, "GET", TELEMETRY "?limit=1000", SERVICE, NULL, NULL);
	size_t shown = json_array_size(json_object_get(page, "items"));
	ck_assert_uint_eq(shown, 32);
	char target[512];
	snprintf(target, sizeof(target), TELEMETRY "?cursor=%s", text_at(page, "nextCursor"));
	page = call(200, "GET", target, SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 8);
	ck_assert(json_is_null(json_object_get(page, "nextCursor")));
}
END_TEST

START_TEST(who_may_send)
{
	make_device();
	call(201, "POST", "/api/v1/devices", OWNER, NULL, "{\"deviceId\":\"e\"}");
	const char *token = device_auth();
	call(401, "POST", "/devices/e/messages/events", token, NULL, "1");
	ck_assert_str_eq(header_of("WWW-Authenticate"), "Bearer, SharedAccessSignature");
	call(401, "POST", "/devices/none/messages/events", token, NULL, "1");
	call(401, "POST", EVENTS, NULL, NULL, "1");
	call(401, "POST", EVENTS, "SharedAccessSignature sr=x&sig=y&se=1", NULL, "1");
	call(400, "POST", "/devices/a%2Fb/messages/events", token, NULL, "1");
	call(400, "POST", EVENTS, token, "iothub-app-a: \xff\r\n", "1");
	call(405, "GET", EVENTS, token, NULL, NULL);
	call(200, "PATCH", "/api/v1/devices/d", OWNER, NULL, "{\"status\":\"disabled\"}");
	call(401, "POST", EVENTS, token, NULL, "1");
	ck_assert_uint_eq(ram_row_count(hub.ram), 0);
}
END_TEST

START_TEST(a_body_over_the_limit)
{
	make_device();
	int fd = client_connect(client_port);
	char head[2048];
	snprintf(head, sizeof(head),
	        "POST " EVENTS " HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n"
	        "Content-Length: 262145\r\n\r\n",
	        device_auth());
	send_all(fd, head, strlen(head));
	reply_done(&last);
	reply_read(fd, false, &last);
	ck_assert_int_eq(last.status, 413);
	close(fd);
}
END_TEST

#define WAITING 9 /* one more than four on each of two loops */

START_TEST(too_many_that_wait)
{
	struct pollfd fds[WAITING];
	int refused = 0;
	make_device();
	send_numbers(0, 32); /* so that each loop knows the device */
	ram_set_hold(hub.ram, true);
	for (int i = 0; i < WAITING; i++) {
		fds[i] = (struct pollfd){.fd = client_connect(client_port), .events = POLLIN};
		request_send(fds[i].fd, "POST", EVENTS, device_auth(), NULL, SLICE_LIT("2"));
	}
	/* Nothing is committed; what is answered now was refused. */
	ck_assert_int_gt(poll(fds, WAITING, RIG_WAIT_S * 1000), 0);
	ram_set_hold(hub.ram, false);
	mail_flush();
	for (int i = 0; i < WAITING; i++) {
		reply_done(&last);
		reply_read(fds[i].fd, false, &last);
		ck_assert_msg(last.status == (fds[i].revents ? 429 : 204) || last.status == 429,
		        "%d %s", last.status, last.body);
		if (last.status == 429)
			ck_assert_str_eq(header_of("Retry-After"), "1");
		refused += last.status == 429;
		close(fds[i].fd);
	}
	ck_assert_int_ge(refused, 1);
	ck_assert_uint_eq(ram_row_count(hub.ram), (size_t)(32 + WAITING - refused));
	/* Nothing of it is left. */
	send_numbers(0, 8);
}
END_TEST

HUB_MAIN("api telemetry", a_message_comes_back, pages_both_ways, from_is_inclusive_to_is_not,
        corrupt_rows_and_missing_ones, a_page_ends_at_eight_mebibytes, who_may_send,
        a_body_over_the_limit, too_many_that_wait)
