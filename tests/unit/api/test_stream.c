/* Stored messages as lines and as events, from their store to the socket. */
#include "tests/unit/api/hub.h"

#define STREAM "/api/v1/devices/d/telemetry/stream"
#define TAIL "/api/v1/devices/d/telemetry/tail"
#define EVENTS "/devices/d/messages/events?api-version=2021-04-12"

static char key[128];

static void make_device(void)
{
	json_t *doc = call(201, "POST", "/api/v1/devices", OWNER, NULL, "{\"deviceId\":\"d\"}");
	snprintf(key, sizeof(key), "%s", text_at(json_object_get(doc, "auth"), "primaryKey"));
}

static void send_body(const char *body)
{
	call(204, "POST", EVENTS, sas_token("hub.example%2Fdevices%2Fd", key, NULL), NULL, body);
}

static int open_stream(const char *target, const char *auth, const char *headers)
{
	static struct reply r;
	int fd = client_connect(client_port);
	request_send(fd, "GET", target, auth, headers, (struct slice){0});
	r = (struct reply){0};
	reply_head(fd, &r);
	ck_assert_msg(r.status == 200, "%s", r.head);
	ck_assert_ptr_nonnull(strcasestr(r.head, "\r\nTransfer-Encoding: chunked\r\n"));
	return fd;
}

/* The next chunk's text; NULL: the last one came, or the end without it (*ret_whole). */
static const char *hear(int fd, bool *ret_whole)
{
	static char text[65536];
	char line[16] = "";
	size_t n = 0, got = 0;
	while (n < 2 || memcmp(line + n - 2, "\r\n", 2) != 0) {
		ck_assert_uint_lt(n, sizeof(line) - 1);
		if (recv(fd, line + n, 1, 0) != 1) {
			*ret_whole = false;
			return NULL;
		}
		n++;
	}
	size_t size = strtoul(line, NULL, 16) + 2; /* with its CRLF */
	ck_assert_uint_lt(size, sizeof(text));
	while (got < size) {
		ssize_t part = recv(fd, text + got, size - got, 0);
		ck_assert_int_gt(part, 0);
		got += (size_t)part;
	}
	text[size - 2] = '\0';
	*ret_whole = true;
	return size > 2 ? text : NULL;
}

/* Reads on until the text has come; NULL waits for the end alone. What came. */
static const char *hear_until(int fd, const char *word, bool *ret_whole)
{
	static char all[65536];
	const char *part;
	all[0] = '\0';
	while (!word || !strstr(all, word)) {
		part = hear(fd, ret_whole);
		if (!part)
			break;
		ck_assert_uint_lt(strlen(all) + strlen(part), sizeof(all));
		strcat(all, part);
	}
	ck_assert_msg(!word || strstr(all, word), "no %s in %s", word, all);
	return all;
}

START_TEST(lines)
{
	bool whole;
	make_device();
	send_body("{\"n\":\n 1}");
	send_body("[2]");
	int fd = open_stream(STREAM, SERVICE, NULL);
	const char *text = hear_until(fd, NULL, &whole);
	ck_assert(whole);
	const char *second = strstr(text, "\n") + 1;
	ck_assert_ptr_nonnull(strstr(text, "\"payload\":{\"n\":  1}}\n"));
	ck_assert_ptr_nonnull(strstr(second, "\"payload\":[2]}\n"));
	json_t *item = json_loadb(text, (size_t)(second - text), 0, NULL);
	documented(item, "TelemetryItem");
	json_decref(item);
	close(fd);
	fd = open_stream(STREAM "?order=desc&format=csv", READER, NULL);
	text = hear_until(fd, NULL, &whole);
	ck_assert(whole && strncmp(text, "deviceId,seq,", 13) == 0);
	ck_assert(strstr(text, ",[2],,\r\n") < strstr(text, ",\"{\"\"n\"\":\n 1}\",,\r\n"));
	close(fd);
}
END_TEST

START_TEST(altered_rows_are_shown_as_such)
{
	bool whole;
	make_device();
	send_body("1");
	send_body("2");
	hub.corrupt = 1;
	int fd = open_stream(STREAM, SERVICE, NULL);
	const char *text = hear_until(fd, NULL, &whole);
	ck_assert_ptr_nonnull(strstr(text, "\"error\":\"integrity check failed\"}\n"));
	ck_assert_ptr_nonnull(strstr(text, "\"payload\":2}\n"));
	close(fd);
	fd = open_stream(STREAM, SERVICE, "Accept: text/csv\r\n");
	text = hear_until(fd, NULL, &whole);
	ck_assert_ptr_nonnull(strstr(text, ",,,,,,,,integrity check failed\r\n"));
	close(fd);
}
END_TEST

START_TEST(who_may_not_and_what_is_wrong)
{
	json_t *p;
	call(404, "GET", STREAM, SERVICE, NULL, NULL);
	make_device();
	call(401, "GET", STREAM, NULL, NULL, NULL);
	call(401, "GET", TAIL, "Bearer nobody", NULL, NULL);
	p = call(400, "GET", STREAM "?format=xml", SERVICE, NULL, NULL);
	ck_assert_str_eq(error_at(p, 0, "parameter"), "format");
	p = call(400, "GET", STREAM "?cursor=AAAA", SERVICE, NULL, NULL);
	ck_assert_str_eq(error_at(p, 0, "parameter"), "cursor");
	call(400, "GET", STREAM "?limit=1", SERVICE, NULL, NULL);
	call(400, "GET", TAIL "?order=asc", SERVICE, NULL, NULL);
	call(400, "GET", TAIL, SERVICE, "Last-Event-ID: AAAA\r\n", NULL);
}
END_TEST

START_TEST(a_tail_follows_and_goes_on)
{
	bool whole;
	char id[128], header[160];
	make_device();
	send_body("0");
	int fd = open_stream(TAIL, SERVICE, NULL);
	const char *text = hear_until(fd, "\n\n", &whole);
	ck_assert_int_eq(sscanf(text, "retry: 1000\nid: %127s\n\n", id), 1);
	snprintf(header, sizeof(header), "Last-Event-ID: %s\r\n", id);
	send_body("{\n\"n\": 1}");
	text = hear_until(fd, "data: \"n\": 1}", &whole);
	ck_assert_ptr_nonnull(strstr(text, "\"payload\":{\ndata: \"n\": 1}}\n\n"));
	close(fd);
	send_body("2");
	/* Behind what was said at the beginning there are both. */
	fd = open_stream(TAIL, SERVICE, header);
	text = hear_until(fd, "\"payload\":2}\n\n", &whole);
	ck_assert_ptr_nonnull(strstr(text, "\"n\": 1}}\n\n"));
	ck_assert_ptr_null(strstr(text, "\"payload\":0}"));
	close(fd);
}
END_TEST

START_TEST(no_more_than_there_are_threads)
{
	bool whole;
	int fds[2];
	make_device();
	for (int i = 0; i < 2; i++) {
		fds[i] = open_stream(TAIL, SERVICE, NULL);
		hear_until(fds[i], "\n\n", &whole);
	}
	call(429, "GET", TAIL, SERVICE, NULL, NULL);
	close(fds[0]);
	struct reply r = {0};
	do {
		reply_done(&r);
		call_with(&r, "HEAD", STREAM, SERVICE, NULL, NULL);
	} while (r.status == 429);
	ck_assert_int_eq(r.status, 200);
	reply_done(&r);
	close(fds[1]);
}
END_TEST

START_TEST(a_stop_ends_tails)
{
	bool whole;
	make_device();
	int fd = open_stream(TAIL, SERVICE, NULL);
	hear_until(fd, "\n\n", &whole);
	api_stop(hub.api);
	const char *text = hear_until(fd, NULL, &whole);
	ck_assert(whole);
	ck_assert_ptr_nonnull(strstr(text, "event: end\ndata: {\"reason\":\"stopping\"}\n\n"));
	close(fd);
}
END_TEST

HUB_MAIN("api stream", lines, altered_rows_are_shown_as_such, who_may_not_and_what_is_wrong,
        a_tail_follows_and_goes_on, no_more_than_there_are_threads, a_stop_ends_tails)
