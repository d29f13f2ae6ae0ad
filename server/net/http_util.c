#include <strings.h>

#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/net/http.h"

struct slice http_header_get(const struct http_request *r, const char *name, bool *ret_many)
{
	struct slice found = {NULL, 0};
	size_t n = strlen(name);
	bool many = false;
	for (unsigned i = 0; i < r->n_headers; i++) {
		const struct http_header *h = &r->headers[i];
		if (h->name.n != n || strncasecmp((const char *)h->name.p, name, n) != 0)
			continue;
		many = many || found.p;
		found = h->value;
	}
	if (ret_many)
		*ret_many = many;
	return many ? (struct slice){NULL, 0} : found;
}

int http_percent_decode(struct slice s, char *out, size_t *ret_len)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			out[n++] = (char)s.p[i];
			continue;
		}
		uint8_t byte;
		if (s.n - i < 3 || crypto_hex_decode(slice_make(s.p + i + 1, 2), &byte, 1) < 0)
			return ERR_INVALID;
		if (byte == 0)
			return ERR_INVALID;
		out[n++] = (char)byte;
		i += 2;
	}
	*ret_len = n;
	return 0;
}

bool http_query_get(struct slice query, const char *name, struct slice *ret)
{
	size_t n = strlen(name);
	while (query.n > 0) {
		const uint8_t *amp = memchr(query.p, '&', query.n);
		struct slice pair = slice_make(query.p, amp ? (size_t)(amp - query.p) : query.n);
		query = slice_from(query, amp ? pair.n + 1 : pair.n);
		if (pair.n < n || memcmp(pair.p, name, n) != 0)
			continue;
		if (pair.n > n && pair.p[n] != '=')
			continue;
		*ret = slice_from(pair, pair.n > n ? n + 1 : n);
		return true;
	}
	return false;
}
