#include "server/net/http_upgrade.h"

#include <openssl/evp.h>
#include <strings.h>

#include "server/base/crypto.h"

#define KEY_TEXT_LEN 24 /* of 16 bytes in base64 */
#define SHA1_LEN 20
#define PATH_MAX_LEN 64

static bool eq_nocase(struct slice a, const char *b)
{
	return a.n == strlen(b) && strncasecmp((const char *)a.p, b, a.n) == 0;
}

/* Takes the next member of a list (RFC 9110 section 5.6.1) from *list; false: none is left. */
static bool list_next(struct slice *list, struct slice *ret)
{
	while (list->n > 0) {
		const uint8_t *comma = memchr(list->p, ',', list->n);
		struct slice s = slice_make(list->p, comma ? (size_t)(comma - list->p) : list->n);
		*list = slice_from(*list, comma ? s.n + 1 : s.n);
		while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
			s = slice_from(s, 1);
		while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
			s.n--;
		if (s.n > 0) {
			*ret = s;
			return true;
		}
	}
	return false;
}

/* Whether a header, which may stand there more than once, has the token; case counts in value
 * where exact. */
static bool has_token(const struct http_request *r, const char *name, const char *token, bool exact)
{
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct slice member, list = r->headers[i].value;
		if (!eq_nocase(r->headers[i].name, name))
			continue;
		while (list_next(&list, &member))
			if (exact ? slice_eq_str(member, token) : eq_nocase(member, token))
				return true;
	}
	return false;
}

const struct ws_route *upgrade_route(const struct ws_server *ws, const struct http_request *r)
{
	char path[PATH_MAX_LEN];
	size_t n;
	if (r->path.n > sizeof(path) || http_percent_decode(r->path, path, &n) < 0)
		return NULL;
	for (unsigned i = 0; i < ws->n_routes; i++)
		if (slice_eq_str(slice_make(path, n), ws->routes[i].path))
			return &ws->routes[i];
	return NULL;
}

/* The client's choice counts by our order. */
static const char *choose_protocol(const struct http_request *r, const struct ws_route *route)
{
	for (unsigned i = 0; i < ARRAY_LEN(route->protocols) && route->protocols[i]; i++)
		if (has_token(r, "Sec-WebSocket-Protocol", route->protocols[i], true))
			return route->protocols[i];
	return NULL;
}

/* Sec-WebSocket-Accept (RFC 6455 section 4.2.2). ret holds 4 * 7 + 1 bytes. */
static bool accept_value(struct slice key, char *ret)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[KEY_TEXT_LEN + sizeof(guid)];
	uint8_t hash[SHA1_LEN];
	memcpy(text, key.p, KEY_TEXT_LEN);
	memcpy(text + KEY_TEXT_LEN, guid, sizeof(guid));
	if (EVP_Digest(text, sizeof(text) - 1, hash, NULL, EVP_sha1(), NULL) != 1)
		return false;
	crypto_base64_encode(slice_make(hash, sizeof(hash)), ret);
	return true;
}

static bool key_valid(struct slice key)
{
	uint8_t bytes[KEY_TEXT_LEN];
	size_t n;
	return key.n == KEY_TEXT_LEN && crypto_base64_decode(key, bytes, &n) == 0 && n == 16;
}

int upgrade_answer(const struct http_exchange *x, const struct ws_route *route, struct buf *answer,
        const char **ret_why)
{
	const struct http_request *r = &x->r;
	struct slice key = http_header_get(r, "Sec-WebSocket-Key", NULL);
	struct slice version = http_header_get(r, "Sec-WebSocket-Version", NULL);
	const char *protocol = choose_protocol(r, route);
	char accept[32];

	*ret_why = "a WebSocket is opened with GET";
	if (r->method != HTTP_METHOD_GET)
		return 405;
	*ret_why = "this path takes WebSocket connections, version 13";
	if (x->guard.http10 || !has_token(r, "Upgrade", "websocket", false) ||
	        !has_token(r, "Connection", "upgrade", false) || !slice_eq_str(version, "13"))
		return 426;
	*ret_why = "a malformed Sec-WebSocket-Key";
	if (!key_valid(key))
		return 400;
	*ret_why = "a body with a WebSocket's opening handshake";
	if (!x->complete)
		return 400;
	*ret_why = "no subprotocol that is spoken here: mqtt";
	if (!protocol)
		return 400;
	*ret_why = "out of memory";
	if (!accept_value(key, accept) ||
	        buf_printf(answer,
	                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
	                "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
	                "Sec-WebSocket-Protocol: %s\r\n\r\n",
	                accept, protocol) < 0)
		return 503;
	return 0;
}
