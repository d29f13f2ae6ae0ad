/* A client of the REST API for tests: requests over a blocking socket, replies whole. */
#ifndef HF_TESTS_UNIT_API_CLIENT_H
#define HF_TESTS_UNIT_API_CLIENT_H

#include "tests/unit/net/rig.h"

#include "server/api/openapi.h"
#include "server/base/clock.h"
#include "server/base/json.h"

HF_UNUSED static unsigned client_port;

struct reply {
	int status;
	char head[8192];
	char *body;
	size_t body_len;
	json_t *json; /* the body, where it is JSON */
};

HF_UNUSED static int client_connect(unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval limit = {.tv_sec = RIG_WAIT_S};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void send_all(int fd, const void *p, size_t n)
{
	const char *at = p;
	while (n > 0) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
		ck_assert_int_gt(sent, 0);
		at += sent;
		n -= (size_t)sent;
	}
}

/* headers: whole lines, or NULL. */
HF_UNUSED static void request_send(int fd, const char *method, const char *target, const char *auth,
        const char *headers, struct slice body)
{
	char head[8192];
	int n = snprintf(head, sizeof(head),
	        "%s %s HTTP/1.1\r\nHost: hub.example\r\n%s%s%s%sContent-Length: %zu\r\n\r\n",
	        method, target, auth ? "Authorization: " : "", auth ? auth : "", auth ? "\r\n" : "",
	        headers ? headers : "", body.n);
	ck_assert_int_lt(n, (int)sizeof(head));
	send_all(fd, head, (size_t)n);
	send_all(fd, body.p, body.n);
}

static void reply_head(int fd, struct reply *r)
{
	size_t n = 0;
	while (n < 4 || memcmp(r->head + n - 4, "\r\n\r\n", 4) != 0) {
		ck_assert_uint_lt(n, sizeof(r->head) - 1);
		ck_assert_msg(
		        recv(fd, r->head + n, 1, 0) == 1, "no whole head: %.*s", (int)n, r->head);
		n++;
	}
	r->head[n] = '\0';
	r->status = atoi(r->head + strlen("HTTP/1.1 "));
}

HF_UNUSED static void reply_read(int fd, bool head_only, struct reply *r)
{
	*r = (struct reply){0};
	reply_head(fd, r);
	const char *length = strcasestr(r->head, "\r\nContent-Length: ");
	r->body_len = length && !head_only ? strtoul(length + 18, NULL, 10) : 0;
	r->body = calloc(1, r->body_len + 1);
	for (size_t n = 0; n < r->body_len;) {
		ssize_t got = recv(fd, r->body + n, r->body_len - n, 0);
		ck_assert_int_gt(got, 0);
		n += (size_t)got;
	}
	r->json = json_loadb(r->body, r->body_len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

HF_UNUSED static void reply_done(struct reply *r)
{
	json_decref(r->json);
	free(r->body);
	*r = (struct reply){0};
}

/* One request on a connection of its own. */
HF_UNUSED static void call_with(struct reply *r, const char *method, const char *target,
        const char *auth, const char *headers, const char *body)
{
	int fd = client_connect(client_port);
	request_send(fd, method, target, auth, headers, slice_str(body ? body : ""));
	reply_read(fd, strcmp(method, "HEAD") == 0, r);
	close(fd);
}

/* The same, with an expected status; the reply is the last one of this thread. */
HF_UNUSED static struct reply last;
HF_UNUSED static json_t *call(int status, const char *method, const char *target, const char *auth,
        const char *headers, const char *body)
{
	reply_done(&last);
	call_with(&last, method, target, auth, headers, body);
	ck_assert_msg(last.status == status, "%s %s: %d, not %d: %s", method, target, last.status,
	        status, last.body);
	if (status >= 400)
		ck_assert_msg(strcasestr(last.head,
		                      "\r\nContent-Type: application/problem+json\r\n") != NULL,
		        "%s", last.head);
	return last.json;
}

HF_UNUSED static const char *text_at(const json_t *doc, const char *name)
{
	return json_string_value(json_object_get(doc, name));
}

/* errors[i].pointer, or .parameter */
HF_UNUSED static const char *error_at(const json_t *problem, size_t i, const char *member)
{
	return text_at(json_array_get(json_object_get(problem, "errors"), i), member);
}

/* The value of a header of the last reply, "" if it isn't there. */
HF_UNUSED static const char *header_of(const char *name)
{
	static char value[4096];
	char line[128];
	snprintf(line, sizeof(line), "\r\n%s: ", name);
	const char *at = strcasestr(last.head, line);
	if (!at)
		return "";
	at += strlen(line);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
	return value;
}

/* Every member of the answer is in the schema of that name, and all that are required are there. */
HF_UNUSED static void documented(const json_t *value, const char *schema)
{
	_cleanup_json_ json_t *doc = api_openapi_build("1");
	const json_t *schemas = json_object_get(json_object_get(doc, "components"), "schemas");
	const json_t *s = json_object_get(schemas, schema), *required;
	const char *name;
	json_t *member;
	size_t i;
	ck_assert(json_is_object(value) && json_is_object(s));
	json_object_foreach((json_t *)value, name, member)
	        ck_assert_msg(json_object_get(json_object_get(s, "properties"), name) != NULL,
	                "%s is not in %s", name, schema);
	json_array_foreach(json_object_get(s, "required"), i, required)
	        ck_assert_msg(json_object_get(value, json_string_value(required)) != NULL,
	                "%s has no %s", schema, json_string_value(required));
}

/* A SAS token for resource (percent-encoded already), signed with the Base64 key. */
HF_UNUSED static const char *sas_token(const char *resource, const char *key, const char *skn)
{
	static char token[2048];
	uint8_t raw[256], mac[32];
	char text[512], sig[64];
	size_t n;
	ck_assert_int_eq(crypto_base64_decode(slice_str(key), raw, &n), 0);
	int64_t expires = clock_wall_us() / 1000000 + 3600;
	snprintf(text, sizeof(text), "%s\n%lld", resource, (long long)expires);
	crypto_hmac_sha256(slice_make(raw, n), slice_str(text), (struct slice){0}, mac);
	crypto_base64_encode(slice_make(mac, sizeof(mac)), sig);
	int len = snprintf(token, sizeof(token), "SharedAccessSignature sr=%s&sig=", resource);
	for (const char *s = sig; *s; s++)
		len += snprintf(token + len, sizeof(token) - (size_t)len,
		        *s == '+' || *s == '/' || *s == '=' ? "%%%02X" : "%c", *s);
	len += snprintf(token + len, sizeof(token) - (size_t)len, "&se=%lld", (long long)expires);
	if (skn)
		snprintf(token + len, sizeof(token) - (size_t)len, "&skn=%s", skn);
	return token;
}

#endif
