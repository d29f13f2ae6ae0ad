#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/outbound/private.h"

/* A body up to this size gets its room at once, so that growing leaves no copies of it behind. */
#define BODY_AT_ONCE 65536

/* ---- callbacks of curl's ---- */

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
	struct request *q = ctx;
	struct fetch *f = q->fetch;
	size_t len = size * n;

	if (buf_len(&f->body) == 0 && len > 0)
		(void)buf_ensure(
		        &f->body, f->max_bytes < BODY_AT_ONCE ? f->max_bytes : BODY_AT_ONCE);
	if (buf_append(&f->body, p, len) == 0)
		return len;
	q->too_big = true;
	return len + 1; /* anything but len ends the transfer */
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct request *q = ctx;

	if (purpose != CURLSOCKTYPE_IPCXN)
		return CURL_SOCKET_BAD;
	if (!address_allowed(&to->addr, q->outbound->limits.allow_private)) {
		q->not_allowed = true;
		return CURL_SOCKET_BAD;
	}
	return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* ---- the request ---- */

static bool is_line(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static int add_header(struct request *q, const char *line)
{
	struct curl_slist *more = curl_slist_append(q->headers, line);

	if (!more)
		return ERR_NOMEM;
	q->headers = more;
	return 0;
}

static int add_headers(struct request *q)
{
	const struct fetch *f = q->fetch;
	char type[128];
	int r = add_header(q, "Expect:"); /* nobody is asked beforehand */

	for (const char *const *h = f->headers; r == 0 && h && *h; h++)
		r = is_line(*h) ? add_header(q, *h) : ERR_INVALID;
	if (r == 0 && f->post.p) {
		int n = snprintf(type, sizeof(type), "Content-Type: %s", f->content_type);
		r = n >= (int)sizeof(type) || !is_line(type) ? ERR_INVALID : add_header(q, type);
	}
	return r;
}

static bool url_fits(const struct fetch *f)
{
	size_t n = strnlen(f->url, FETCH_URL_MAX + 1);

	if (n > FETCH_URL_MAX)
		return false;
	return strncmp(f->url, "https://", 8) == 0 ||
	        (f->plain && strncmp(f->url, "http://", 7) == 0);
}

/* Who may have signed the server's certificate: nobody but who is named. */
static void set_authorities(CURL *e, const struct fetch *f)
{
	struct curl_blob pem = {
	        .data = (void *)f->ca_pem.p, .len = f->ca_pem.n, .flags = CURL_BLOB_COPY};

	if (f->ca_pem.p)
		curl_easy_setopt(e, CURLOPT_CAINFO_BLOB, &pem);
	else if (f->ca_file)
		curl_easy_setopt(e, CURLOPT_CAINFO, f->ca_file);
	if (f->ca_pem.p || f->ca_file)
		curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	/* The file is read anew: it may have changed. */
	curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, f->ca_file ? 0L : 3600L);
}

static void set_options(struct request *q, unsigned timeout_ms)
{
	const struct fetch *f = q->fetch;
	CURL *e = q->easy;

	curl_easy_setopt(e, CURLOPT_PRIVATE, q);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, q->error);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	/* When time is up while a name is being resolved, the resolver's thread is left behind
	 * instead of waited for: it ends by itself. */
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, f->plain ? "https,http" : "https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(e, CURLOPT_PROXY, ""); /* whatever the environment says */
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
	set_authorities(e, f);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, q);
	curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->max_bytes);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, q);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "Holdfast");
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, q->headers);
	if (f->post.p) {
		curl_easy_setopt(e, CURLOPT_POST, 1L);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, f->post.p);
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->post.n);
	}
}

static void say(struct fetch *f, const char *why)
{
	snprintf(f->why, sizeof(f->why), "%.*s", (int)sizeof(f->why) - 1, why);
}

int transfer_begin(struct request *q, unsigned timeout_ms)
{
	struct fetch *f = q->fetch;
	int r;

	if (!url_fits(f)) {
		say(f,
		        f->plain ? "the URL is not one of https:// or http://"
		                 : "the URL is not one of https://");
		return ERR_INVALID;
	}
	r = add_headers(q);
	if (r < 0) {
		if (r == ERR_INVALID)
			say(f, "a header has a control character in it");
		return r;
	}
	q->easy = curl_easy_init();
	if (!q->easy)
		return ERR_NOMEM;
	set_options(q, timeout_ms);
	if (curl_easy_setopt(q->easy, CURLOPT_URL, f->url) != CURLE_OK)
		return ERR_NOMEM;
	return 0;
}

void transfer_free(struct request *q)
{
	if (q->easy)
		curl_easy_cleanup(q->easy);
	curl_slist_free_all(q->headers);
	q->easy = NULL;
	q->headers = NULL;
}

/* ---- the answer ---- */

/* RFC 9111 section 5.2: a directive's number of seconds, -1 where it is not there. */
static int64_t directive(const char *value, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = value; (p = strcasestr(p, name)) != NULL; p += n) {
		/* "s-maxage" and "x-max-age" are others. */
		if (p > value && !strchr(" \t,", p[-1]))
			continue;
		if (p[n] == '=')
			return strtoll(p + n + 1 + (p[n + 1] == '"'), NULL, 10);
		if (!p[n] || strchr(" \t,", p[n]))
			return 0;
	}
	return -1;
}

static int64_t max_age_of(CURL *e)
{
	struct curl_header *h;
	int64_t age = -1;

	for (size_t i = 0;
	        curl_easy_header(e, "Cache-Control", i, CURLH_HEADER, -1, &h) == CURLHE_OK; i++) {
		int64_t one = directive(h->value, "max-age");

		if (directive(h->value, "no-store") >= 0 || directive(h->value, "no-cache") >= 0)
			return 0;
		if (one >= 0 && (age < 0 || one < age))
			age = one;
	}
	return age;
}

static int err_of(const struct request *q, CURLcode result)
{
	if (q->too_big)
		return ERR_TOO_BIG;
	switch (result) {
	case CURLE_OK: return 0;
	case CURLE_FILESIZE_EXCEEDED: return ERR_TOO_BIG;
	case CURLE_OPERATION_TIMEDOUT: return ERR_TIMEOUT;
	case CURLE_URL_MALFORMAT:
	case CURLE_LOGIN_DENIED: return ERR_INVALID;
	default: return ERR_UNAVAILABLE;
	}
}

/* curl's own words may name the host, and so a part of the request: only what it says of the
 * certificate is taken, which does not. */
static void explain(struct request *q, CURLcode result)
{
	static const char certificate[] = "SSL certificate problem: ";

	if (q->too_big || result == CURLE_FILESIZE_EXCEEDED)
		say(q->fetch, "the answer is too large");
	else if (q->not_allowed)
		say(q->fetch, "its address may not be connected to");
	else if (result == CURLE_LOGIN_DENIED)
		say(q->fetch, "the URL has a user name in it");
	else if (strncmp(q->error, certificate, sizeof(certificate) - 1) == 0)
		say(q->fetch, q->error);
	else
		say(q->fetch, curl_easy_strerror(result));
}

void transfer_result(struct request *q, CURLcode result)
{
	struct fetch *f = q->fetch;
	long status = 0;

	f->err = err_of(q, result);
	if (f->err < 0) {
		explain(q, result);
		return;
	}
	curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
	f->status = (int)status;
	f->max_age_s = max_age_of(q->easy);
}
