/* The question that a custom authoriser is asked. */
#include "registry/auth/custom.h"

#include <strings.h>

#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/ip.h"
#include "server/base/json.h"

/* ,"name":"value", the comma only where something stands before it. */
static int add_text(struct buf *out, const char *name, struct slice value)
{
	struct slice so_far = buf_slice(out);
	bool first = so_far.p && so_far.n > 0 && so_far.p[so_far.n - 1] == '{';
	int r = first ? 0 : buf_append_byte(out, ',');
	if (r == 0)
		r = json_append_string(out, slice_str(name));
	if (r == 0)
		r = buf_append_byte(out, ':');
	return r < 0 ? r : json_append_string(out, value);
}

static int add_password(struct buf *out, struct slice password)
{
	int r = buf_append_str(out, ",\"password\":\"");
	if (r < 0)
		return r;
	uint8_t *at = buf_reserve(out, 4 * ((password.n + 2) / 3) + 1);
	if (!at)
		return ERR_TOO_BIG;
	buf_added(out, crypto_base64_encode(password, (char *)at));
	return buf_append_byte(out, '"');
}

static int add_mqtt(struct buf *out, const struct auth_request *req)
{
	int r = buf_append_str(out, "\"mqtt\":{");
	if (r == 0)
		r = add_text(out, "clientId", req->client_id);
	if (r == 0 && req->has_username)
		r = add_text(out, "username", req->username);
	if (r == 0 && req->has_password)
		r = add_password(out, req->password);
	return r < 0 ? r : buf_append_byte(out, '}');
}

/* Names in lower case, so that the authoriser finds them; of a repeated one each is there, and a
 * JSON parser takes the last. */
static int add_header(struct buf *out, const struct http_header *h)
{
	char name[256];
	size_t n = h->name.n < sizeof(name) ? h->name.n : sizeof(name) - 1;
	for (size_t i = 0; i < n; i++)
		name[i] = (char)(h->name.p[i] >= 'A' && h->name.p[i] <= 'Z' ? h->name.p[i] + 32
		                                                            : h->name.p[i]);
	name[n] = '\0';
	return add_text(out, name, h->value);
}

static bool repeated(const struct auth_request *req, unsigned i)
{
	for (unsigned k = i + 1; k < req->n_headers; k++)
		if (req->headers[k].name.n == req->headers[i].name.n &&
		        strncasecmp((const char *)req->headers[k].name.p,
		                (const char *)req->headers[i].name.p, req->headers[i].name.n) == 0)
			return true;
	return false;
}

static int add_http(struct buf *out, const struct auth_request *req)
{
	int r = buf_append_str(out, "\"http\":{\"headers\":{");
	for (unsigned i = 0; r == 0 && i < req->n_headers; i++)
		if (!repeated(req, i))
			r = add_header(out, &req->headers[i]);
	if (r == 0)
		r = buf_append_byte(out, '}');
	if (r == 0 && req->query.n > 0)
		r = add_text(out, "queryString", req->query);
	return r < 0 ? r : buf_append_byte(out, '}');
}

static bool has_http(const struct auth_request *req)
{
	return req->https || req->n_headers > 0;
}

static int add_protocol_data(struct buf *out, const struct auth_request *req)
{
	bool plain = req->protocol && strcmp(req->protocol, "mqtt") == 0;
	int r = buf_printf(out, ",\"protocols\":[%s%s%s],\"protocolData\":{",
	        plain ? "" : "\"tls\",", has_http(req) ? "\"http\"" : "",
	        req->https ? "" : (has_http(req) ? ",\"mqtt\"" : "\"mqtt\""));
	if (r == 0 && !plain) {
		r = buf_append_str(out, "\"tls\":{");
		if (r == 0)
			r = add_text(out, "serverName", req->server_name);
		if (r == 0)
			r = buf_append_str(out, "},");
	}
	if (r == 0 && has_http(req))
		r = add_http(out, req);
	if (r == 0 && has_http(req) && !req->https)
		r = buf_append_byte(out, ',');
	if (r == 0 && !req->https)
		r = add_mqtt(out, req);
	return r < 0 ? r : buf_append_byte(out, '}');
}

int custom_event_begin(
        struct buf *out, const struct auth_request *req, struct slice token, bool verified)
{
	char text[IP_TEXT_LEN] = "";
	struct ip_addr ip;
	/* Room for all of it at once: growing would leave copies of secrets behind. */
	size_t room = 1024 +
	        2 * (token.n + req->username.n + req->password.n + req->query.n + req->client_id.n);
	for (unsigned i = 0; i < req->n_headers; i++)
		room += 16 + 2 * (req->headers[i].name.n + req->headers[i].value.n);
	int r = buf_ensure(out, room < CUSTOM_EVENT_MAX ? room : CUSTOM_EVENT_MAX);
	if (r == 0)
		r = buf_append_byte(out, '{');
	if (r == 0 && token.p)
		r = add_text(out, "token", token);
	if (r == 0)
		r = buf_printf(out, "%s\"signatureVerified\":%s", token.p ? "," : "",
		        verified ? "true" : "false");
	if (r == 0)
		r = add_protocol_data(out, req);
	if (r == 0 && ip_parse_peer(req->peer, &ip) == 0)
		r = add_text(out, "address", slice_str(ip_text(&ip, text)));
	if (r == 0 && req->https)
		r = add_text(out, "deviceId", req->device_id);
	return r;
}

/* A random version 4 UUID (RFC 9562 section 5.4). */
int custom_event_end(struct buf *out)
{
	uint8_t id[16];
	char hex[33];
	crypto_random(id, sizeof(id));
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
	crypto_hex_encode(slice_make(id, sizeof(id)), hex);
	return buf_printf(out, ",\"connectionMetadata\":{\"id\":\"%.8s-%.4s-%.4s-%.4s-%.12s\"}}",
	        hex, hex + 8, hex + 12, hex + 16, hex + 20);
}
