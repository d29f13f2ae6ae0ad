/* /devices over a real connection. */
#include "tests/unit/api/hub.h"

#define DEVICES "/api/v1/devices"
#define JSON_TYPE "Content-Type: application/json\r\n"

START_TEST(the_life_of_a_device)
{
	json_t *doc = call(201, "POST", DEVICES, OWNER, JSON_TYPE, "{\"deviceId\":\"a:%$1\"}");
	documented(doc, "Device");
	documented(json_object_get(doc, "auth"), "DeviceAuth");
	ck_assert_str_eq(text_at(doc, "deviceId"), "a:%$1");
	ck_assert_str_eq(text_at(doc, "status"), "enabled");
	ck_assert_str_eq(text_at(doc, "connectionState"), "Disconnected");
	const json_t *auth = json_object_get(doc, "auth");
	ck_assert_uint_eq(strlen(text_at(auth, "primaryKey")), 88);
	ck_assert_ptr_nonnull(strstr(text_at(doc, "connectionString"), "HostName=hub.example;"));
	ck_assert_str_eq(header_of("Location"), DEVICES "/a%3A%25%241");
	char etag[64], location[128];
	snprintf(etag, sizeof(etag), "\"%s\"", text_at(doc, "etag"));
	ck_assert_str_eq(header_of("ETag"), etag);
	snprintf(location, sizeof(location), "%s", header_of("Location"));

	call(409, "POST", DEVICES, OWNER, JSON_TYPE, "{\"deviceId\":\"a:%$1\"}");
	call(412, "POST", DEVICES, OWNER, JSON_TYPE "If-None-Match: *\r\n",
	        "{\"deviceId\":\"a:%$1\"}");
	doc = call(200, "GET", location, OWNER, NULL, NULL);
	ck_assert_str_eq(header_of("ETag"), etag);
	ck_assert_ptr_nonnull(text_at(json_object_get(doc, "auth"), "primaryKey"));
	/* Keys are for those who may write. */
	doc = call(200, "GET", location, READER, NULL, NULL);
	ck_assert_ptr_null(text_at(json_object_get(doc, "auth"), "primaryKey"));
	ck_assert_ptr_null(json_object_get(doc, "connectionString"));
	call(200, "HEAD", location, READER, NULL, NULL);

	doc = call(200, "PATCH", location, OWNER, "Content-Type: application/merge-patch+json\r\n",
	        "{\"status\":\"disabled\",\"tags\":{\"room\":7}}");
	ck_assert_str_eq(text_at(doc, "status"), "disabled");
	ck_assert_str_ne(header_of("ETag"), etag);
	call(204, "DELETE", location, OWNER, NULL, NULL);
	ck_assert_uint_eq(last.body_len, 0);
	call(404, "DELETE", location, OWNER, NULL, NULL);
	call(404, "GET", location, OWNER, NULL, NULL);
}
END_TEST

START_TEST(conditions)
{
	char headers[256], etag[64];
	call(201, "PUT", DEVICES "/d", OWNER, JSON_TYPE "If-None-Match: *\r\n",
	        "{\"deviceId\":\"d\"}");
	snprintf(etag, sizeof(etag), "%s", header_of("ETag"));
	call(412, "PUT", DEVICES "/d", OWNER, JSON_TYPE "If-None-Match: *\r\n", "{}");
	call(412, "PUT", DEVICES "/d", OWNER, JSON_TYPE "If-Match: \"stale\"\r\n", "{}");
	call(412, "PUT", DEVICES "/none", OWNER, JSON_TYPE "If-Match: *\r\n", "{}");
	snprintf(headers, sizeof(headers), JSON_TYPE "If-Match: W/%s\r\n", etag);
	call(412, "PUT", DEVICES "/d", OWNER, headers, "{}");
	snprintf(headers, sizeof(headers), JSON_TYPE "If-Match: \"x\", %s, \"y\"\r\n", etag);
	call(200, "PUT", DEVICES "/d", OWNER, headers, "{}");
	call(412, "PUT", DEVICES "/d", OWNER, headers, "{}");
	call(200, "PUT", DEVICES "/d", OWNER, JSON_TYPE "If-Match: \"*\"\r\n", "{}");
	snprintf(etag, sizeof(etag), "%s", header_of("ETag"));
	/* Unquoted, as some SDKs send it. */
	snprintf(headers, sizeof(headers), "If-Match: %.*s\r\n", (int)strlen(etag) - 2, etag + 1);
	call(200, "PATCH", DEVICES "/d", OWNER, headers, "{\"tags\":{}}");
	call(412, "DELETE", DEVICES "/d", OWNER, headers, NULL);
	call(400, "DELETE", DEVICES "/d", OWNER, "If-Match: \"open\r\n", NULL);
	call(400, "PUT", DEVICES "/d", OWNER, JSON_TYPE "If-None-Match: \"x\"\r\n", "{}");
	call(200, "GET", DEVICES "/d", OWNER, headers, NULL);
	snprintf(headers, sizeof(headers), "If-None-Match: W/%s\r\n", header_of("ETag"));
	call(304, "GET", DEVICES "/d", OWNER, headers, NULL);
	ck_assert_uint_eq(last.body_len, 0);
	call(200, "GET", DEVICES "/d", OWNER, "If-None-Match: \"x\"\r\n", NULL);
}
END_TEST

START_TEST(keys_are_made_anew)
{
	char before[2][128];
	json_t *auth = json_object_get(
	        call(201, "POST", DEVICES, OWNER, NULL, "{\"deviceId\":\"d\"}"), "auth");
	snprintf(before[0], sizeof(before[0]), "%s", text_at(auth, "primaryKey"));
	snprintf(before[1], sizeof(before[1]), "%s", text_at(auth, "secondaryKey"));
	auth = json_object_get(
	        call(200, "POST", DEVICES "/d/keys/secondary/regenerate", OWNER, NULL, NULL),
	        "auth");
	ck_assert_str_eq(text_at(auth, "primaryKey"), before[0]);
	ck_assert_str_ne(text_at(auth, "secondaryKey"), before[1]);
	auth = json_object_get(
	        call(200, "POST", DEVICES "/d/keys/primary/regenerate", OWNER, NULL, "{}"), "auth");
	ck_assert_str_ne(text_at(auth, "primaryKey"), before[0]);
	call(404, "POST", DEVICES "/d/keys/third/regenerate", OWNER, NULL, NULL);
	call(404, "POST", DEVICES "/none/keys/primary/regenerate", OWNER, NULL, NULL);
	json_t *p = call(
	        400, "POST", DEVICES "/d/keys/primary/regenerate", OWNER, NULL, "{\"a/b\":1}");
	ck_assert_str_eq(error_at(p, 0, "pointer"), "/a~1b");
}
END_TEST

START_TEST(pages)
{
	char target[2048] = DEVICES "?limit=7", body[64];
	for (int i = 0; i < 250; i++) {
		snprintf(body, sizeof(body), "{\"deviceId\":\"d%03d\"}", i);
		call(201, "POST", DEVICES, OWNER, NULL, body);
	}
	int seen = 0;
	for (const char *next = ""; next;) {
		const json_t *page = call(200, "GET", target, READER, NULL, NULL), *item;
		size_t i;
		json_array_foreach(json_object_get(page, "items"), i, item)
		{
			snprintf(body, sizeof(body), "d%03d", seen++);
			ck_assert_str_eq(text_at(item, "deviceId"), body);
		}
		next = text_at(page, "nextCursor");
		if (next)
			snprintf(target, sizeof(target), DEVICES "?limit=7&cursor=%s", next);
	}
	ck_assert_int_eq(seen, 250);
	/* One page over several reads of the registry. */
	json_t *page = call(200, "GET", DEVICES "?limit=1000", READER, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 250);
	ck_assert(json_is_null(json_object_get(page, "nextCursor")));
	page = call(200, "GET", DEVICES "?limit=250", READER, NULL, NULL);
	ck_assert(json_is_null(json_object_get(page, "nextCursor")));
	page = call(200, "GET", DEVICES, READER, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 100);
}
END_TEST

START_TEST(bad_input_is_named)
{
	static const struct {
		const char *body, *pointer;
	} bodies[] = {
	        {"", ""},
	        {"{", ""},
	        {"[]", ""},
	        {"7", ""},
	        {"{}", "/deviceId"},
	        {"{\"deviceId\":7}", "/deviceId"},
	        {"{\"deviceId\":\"a/b\"}", "/deviceId"},
	        {"{\"deviceId\":\"a\",\"x\":1}", "/x"},
	        {"{\"deviceId\":\"a\",\"status\":\"on\"}", "/status"},
	        {"{\"deviceId\":\"a\",\"auth\":{\"type\":\"sas\",\"primaryKey\":\"?\"}}",
	                "/auth/primaryKey"},
	        {"{\"deviceId\":\"a\",\"deviceId\":\"b\"}", ""},
	};
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		json_t *p = call(400, "POST", DEVICES, OWNER, JSON_TYPE, bodies[i].body);
		ck_assert_msg(
		        error_at(p, 0, "pointer") != NULL, "%s: %s", bodies[i].body, last.body);
		ck_assert_str_eq(error_at(p, 0, "pointer"), bodies[i].pointer);
	}
	static const struct {
		const char *target, *parameter;
	} targets[] = {
	        {DEVICES "?limit=0", "limit"},
	        {DEVICES "?limit=1001", "limit"},
	        {DEVICES "?limit=x", "limit"},
	        {DEVICES "?limit", "limit"},
	        {DEVICES "?cursor=abc", "cursor"},
	        {DEVICES "?cursor=", "cursor"},
	        {DEVICES "?colour=red", "colour"},
	        {DEVICES "/d?limit=1", "limit"},
	};
	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		json_t *p = call(400, "GET", targets[i].target, OWNER, NULL, NULL);
		ck_assert_str_eq(error_at(p, 0, "parameter"), targets[i].parameter);
	}
	const char *ids[] = {"a%2Fb", "..", "a%20b", "a%2Bb", "%23"};
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		char target[64];
		snprintf(target, sizeof(target), DEVICES "/%s", ids[i]);
		json_t *p = call(400, "PUT", target, OWNER, NULL, "{\"deviceId\":\"good\"}");
		ck_assert_str_eq(error_at(p, 0, "pointer"), "/deviceId");
		call(400, "GET", target, OWNER, NULL, NULL);
	}
	call(400, "GET", DEVICES "/%zz", OWNER, NULL, NULL);
	call(415, "POST", DEVICES, OWNER, "Content-Type: text/plain\r\n", "{}");
	call(415, "POST", DEVICES, OWNER, "Content-Type: application/merge-patch+json\r\n", "{}");
	call(415, "PATCH", DEVICES "/d", OWNER, "Content-Type: application/jsonx\r\n", "{}");
	call(400, "GET", DEVICES, OWNER, NULL, "{}");
}
END_TEST

START_TEST(deep_and_huge_bodies)
{
	size_t n = 200000;
	char *deep = malloc(n + 1);
	memset(deep, '[', n);
	deep[n] = '\0';
	json_t *p = call(400, "POST", DEVICES, OWNER, JSON_TYPE, deep);
	ck_assert_str_eq(error_at(p, 0, "pointer"), "");
	free(deep);
	n = (1 << 20) + 1;
	int fd = client_connect(client_port);
	char head[256];
	snprintf(head, sizeof(head),
	        "POST " DEVICES " HTTP/1.1\r\nHost: h\r\nAuthorization: " OWNER
	        "\r\nContent-Length: %zu\r\n\r\n",
	        n);
	send_all(fd, head, strlen(head));
	reply_done(&last);
	reply_read(fd, false, &last);
	ck_assert_int_eq(last.status, 413);
	close(fd);
}
END_TEST

START_TEST(idempotency)
{
	const char *headers = JSON_TYPE "Idempotency-Key: one\r\n";
	char first[4096], location[128], etag[64];
	call(201, "POST", DEVICES, OWNER, headers, "{\"deviceId\":\"d\"}");
	snprintf(first, sizeof(first), "%s", last.body);
	snprintf(location, sizeof(location), "%s", header_of("Location"));
	snprintf(etag, sizeof(etag), "%s", header_of("ETag"));
	ck_assert_str_eq(header_of("Idempotency-Replayed"), "");
	call(201, "POST", DEVICES, OWNER, headers, "{\"deviceId\":\"d\"}");
	ck_assert_str_eq(last.body, first);
	ck_assert_str_eq(header_of("Location"), location);
	ck_assert_str_eq(header_of("ETag"), etag);
	ck_assert_str_eq(header_of("Idempotency-Replayed"), "true");
	call(422, "POST", DEVICES, OWNER, headers, "{\"deviceId\":\"e\"}");
	call(409, "POST", DEVICES, OWNER, JSON_TYPE "Idempotency-Key: two\r\n",
	        "{\"deviceId\":\"d\"}");
	/* A refusal is not kept. */
	call(204, "DELETE", DEVICES "/d", OWNER, NULL, NULL);
	call(201, "POST", DEVICES, OWNER, JSON_TYPE "Idempotency-Key: two\r\n",
	        "{\"deviceId\":\"d\"}");
	call(400, "POST", DEVICES, OWNER, "Idempotency-Key: a b\r\n", "{\"deviceId\":\"f\"}");
	call(400, "POST", DEVICES, OWNER, "Idempotency-Key: a\r\nIdempotency-Key: a\r\n",
	        "{\"deviceId\":\"f\"}");
	/* Another caller's key is another key. */
	call(403, "POST", DEVICES, READER, headers, "{\"deviceId\":\"d\"}");
}
END_TEST

HUB_MAIN("api devices", the_life_of_a_device, conditions, keys_are_made_anew, pages,
        bad_input_is_named, deep_and_huge_bodies, idempotency)
