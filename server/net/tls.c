#include "server/net/tls.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "server/net/tls_ticket.h"

/* Forward-secret AEAD suites alone. */
#define SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SUITES_12                                                    \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define GROUPS "X25519:P-256:P-384"
#define SECURITY_LEVEL 2 /* RSA keys of 2048 bits or more, no SHA-1 signatures */
#define MAX_CLIENT_CHAIN 32768

struct tls {
	pthread_mutex_t lock; /* over ctx: taken at accept and at reload, never for a record */
	SSL_CTX *ctx;
	struct ticket_keys *tickets;
	BIO_METHOD *bio;
};

/* ---- the BIO: records from the loop's stage, and to the connection ---- */

static int bio_read(BIO *b, char *out, size_t cap, size_t *ret_n)
{
	struct conn *c = BIO_get_data(b);
	struct slice *stage = &c->nl->stage;
	BIO_clear_retry_flags(b);
	if (stage->n == 0) {
		BIO_set_retry_read(b);
		return 0;
	}
	size_t n = cap < stage->n ? cap : stage->n;
	memcpy(out, stage->p, n);
	*stage = slice_from(*stage, n);
	*ret_n = n;
	return 1;
}

static int bio_write(BIO *b, const char *p, size_t n, size_t *ret_n)
{
	struct conn *c = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (conn_wire_send(c, (const uint8_t *)p, n) < 0)
		return 0;
	*ret_n = n;
	return 1;
}

static long bio_ctrl(HF_UNUSED BIO *b, int cmd, HF_UNUSED long num, HF_UNUSED void *ptr)
{
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static int bio_create(BIO *b)
{
	BIO_set_init(b, 1);
	return 1;
}

static BIO_METHOD *bio_method_new(void)
{
	int type = BIO_get_new_index();
	BIO_METHOD *m = type < 0 ? NULL : BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "holdfast");
	if (!m)
		return NULL;
	BIO_meth_set_read_ex(m, bio_read);
	BIO_meth_set_write_ex(m, bio_write);
	BIO_meth_set_ctrl(m, bio_ctrl);
	BIO_meth_set_create(m, bio_create);
	return m;
}

/* ---- certificate and context ---- */

/* OpenSSL's first reason, which is the one nearest to the cause; its queue is emptied. */
static const char *ssl_reason(void)
{
	unsigned long e = ERR_peek_error();
	const char *text = e ? ERR_reason_error_string(e) : NULL;
	ERR_clear_error();
	return text ? text : "unknown error";
}

/* Without a callback OpenSSL would ask for the passphrase on the terminal. */
static int no_passphrase(
        HF_UNUSED char *buf, HF_UNUSED int size, HF_UNUSED int rw, HF_UNUSED void *arg)
{
	return -1;
}

/* A client certificate is taken as it is: possession of its key is proven by the handshake, and
 * whether anybody trusts it is the registry's question. */
static int accept_certificate(X509_STORE_CTX *store, HF_UNUSED void *arg)
{
	if (sk_X509_num(X509_STORE_CTX_get0_untrusted(store)) > CERT_CHAIN_MAX) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_CHAIN_TOO_LONG);
		return 0;
	}
	/* No session ticket either, so that a revoked certificate is no way in for as long as the
	 * ticket lasts; with TLS 1.2 ticket_keys_install's callback sees to it. */
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	SSL_set_num_tickets(ssl, 0);
	return 1;
}

/* The protocol that a name of ALPN stands for; NET_PROTOCOL_ANY: none of ours. */
static enum net_protocol alpn_protocol(struct slice name)
{
	if (slice_eq_str(name, "mqtt") || slice_eq_str(name, "x-amzn-mqtt-ca"))
		return NET_PROTOCOL_MQTT;
	if (slice_eq_str(name, "http/1.1") || slice_eq_str(name, "x-amzn-http-ca"))
		return NET_PROTOCOL_HTTP;
	return NET_PROTOCOL_ANY;
}

/* The first name in the client's list that stands for the protocol; empty: none does. */
static struct slice alpn_find(struct slice list, enum net_protocol protocol)
{
	for (size_t i = 0; i < list.n && list.p[i] < list.n - i; i += list.p[i] + 1U) {
		struct slice name = slice_make(list.p + i + 1, list.p[i]);
		if (alpn_protocol(name) == protocol)
			return name;
	}
	return (struct slice){NULL, 0};
}

/*
 * The port's own protocol if it is in the client's list, else the other one. Where neither is RFC
 * 7301 section 3.2 would have an alert, but devices offer names that their makers chose, and the
 * clouds let them in: the port's own protocol is spoken then and no name is answered.
 */
static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_n,
        const unsigned char *in, unsigned in_n, HF_UNUSED void *arg)
{
	struct conn *c = SSL_get_app_data(ssl);
	enum net_protocol protocol = listener_protocol(c->listener);
	struct slice list = slice_make(in, in_n);
	if (protocol == NET_PROTOCOL_ANY)
		return SSL_TLSEXT_ERR_NOACK;
	struct slice name = alpn_find(list, protocol);
	if (name.n == 0) {
		protocol = protocol == NET_PROTOCOL_MQTT ? NET_PROTOCOL_HTTP : NET_PROTOCOL_MQTT;
		name = alpn_find(list, protocol);
	}
	if (name.n == 0)
		return SSL_TLSEXT_ERR_NOACK;
	c->protocol = (uint8_t)protocol;
	*out = name.p;
	*out_n = (unsigned char)name.n;
	return SSL_TLSEXT_ERR_OK;
}

static int ctx_configure(SSL_CTX *ctx, struct tls *tls)
{
	static const unsigned char context[] = "holdfast";
	SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
	SSL_CTX_set_options(ctx,
	        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
	                SSL_OP_PRIORITIZE_CHACHA);
	/* What is sent is what the certificate's file holds: no chain is looked for in a handshake.
	 */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_max_cert_list(ctx, MAX_CLIENT_CHAIN);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, accept_certificate, NULL);
	SSL_CTX_set_alpn_select_cb(ctx, alpn_select, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	ticket_keys_install(tls->tickets, ctx);
	bool ok = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) &&
	        SSL_CTX_set_ciphersuites(ctx, SUITES_13) &&
	        SSL_CTX_set_cipher_list(ctx, SUITES_12) && SSL_CTX_set1_groups_list(ctx, GROUPS) &&
	        SSL_CTX_set_num_tickets(ctx, 1) &&
	        SSL_CTX_set_session_id_context(ctx, context, sizeof(context) - 1);
	return ok ? 0 : ERR_CRYPTO;
}

static int file_error(char error[static NET_ERROR_LEN], const char *what, const char *file)
{
	_cleanup_fclose_ FILE *f = fopen(file, "re");
	if (!f)
		snprintf(error, NET_ERROR_LEN, "%s %s: %s", what, file, strerror(errno));
	else
		snprintf(error, NET_ERROR_LEN, "%s %s: %s", what, file, ssl_reason());
	ERR_clear_error();
	return ERR_INVALID;
}

static int ctx_load_files(
        SSL_CTX *ctx, const char *cert_file, const char *key_file, char error[static NET_ERROR_LEN])
{
	if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
		return file_error(error, "certificate", cert_file);
	/* This also compares the key with the certificate. */
	if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1) {
		if (ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH &&
		        ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_TYPE_MISMATCH)
			return file_error(error, "private key", key_file);
	} else if (SSL_CTX_check_private_key(ctx) == 1) {
		return 0;
	}
	ERR_clear_error();
	snprintf(error, NET_ERROR_LEN, "private key %s does not belong to certificate %s", key_file,
	        cert_file);
	return ERR_INVALID;
}

static void warn_of_dates(const SSL_CTX *ctx, const char *cert_file)
{
	const X509 *cert = SSL_CTX_get0_certificate(ctx);
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		log_warn("the server certificate has expired", F_STR("file", cert_file));
	else if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		log_warn("the server certificate is not valid yet", F_STR("file", cert_file));
}

int tls_load(struct tls *tls, const char *cert_file, const char *key_file, unsigned rotation_s,
        char error[static NET_ERROR_LEN])
{
	ERR_clear_error();
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx || ctx_configure(ctx, tls) < 0) {
		snprintf(error, NET_ERROR_LEN, "TLS: %s", ssl_reason());
		SSL_CTX_free(ctx);
		return ERR_INVALID;
	}
	if (ctx_load_files(ctx, cert_file, key_file, error) < 0) {
		SSL_CTX_free(ctx);
		return ERR_INVALID;
	}
	warn_of_dates(ctx, cert_file);
	ticket_keys_set_rotation(tls->tickets, rotation_s);
	/* Sealed until its key is forgotten, at most the 7 days of RFC 8446 section 4.6.1. */
	SSL_CTX_set_timeout(ctx, rotation_s < 302400 ? 2L * (long)rotation_s : 604800L);
	pthread_mutex_lock(&tls->lock);
	SSL_CTX *old = tls->ctx;
	tls->ctx = ctx;
	pthread_mutex_unlock(&tls->lock);
	SSL_CTX_free(old); /* connections keep references of their own */
	return 0;
}

struct tls *tls_new(void)
{
	struct tls *tls = calloc(1, sizeof(*tls));
	if (!tls)
		return NULL;
	pthread_mutex_init(&tls->lock, NULL);
	tls->tickets = ticket_keys_new();
	tls->bio = bio_method_new();
	return tls->tickets && tls->bio ? tls : tls_free(tls);
}

struct tls *tls_free(struct tls *tls)
{
	if (!tls)
		return NULL;
	SSL_CTX_free(tls->ctx);
	BIO_meth_free(tls->bio);
	ticket_keys_free(tls->tickets);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
	return NULL;
}

struct ticket_keys *tls_ticket_keys(struct tls *tls)
{
	return tls->tickets;
}

/* ---- a connection ---- */

int tls_conn_init(struct conn *c)
{
	struct tls *tls = c->nl->net->tls;
	pthread_mutex_lock(&tls->lock);
	SSL_CTX *ctx = tls->ctx;
	SSL *ssl = ctx ? SSL_new(ctx) : NULL; /* takes a reference on ctx */
	pthread_mutex_unlock(&tls->lock);
	BIO *bio = ssl ? BIO_new(tls->bio) : NULL;
	if (!bio) {
		SSL_free(ssl);
		ERR_clear_error();
		return ctx ? ERR_NOMEM : ERR_UNAVAILABLE;
	}
	BIO_set_data(bio, c);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_app_data(ssl, c);
	SSL_set_accept_state(ssl);
	c->ssl = ssl;
	return 0;
}

void tls_conn_free(struct conn *c)
{
	SSL_free(c->ssl);
	c->ssl = NULL;
}

int tls_handshake(struct conn *c)
{
	SSL *ssl = c->ssl;
	int r = SSL_do_handshake(ssl);
	if (r == 1) {
		metric_inc(METRIC_TLS_HANDSHAKES);
		if (SSL_session_reused(ssl))
			metric_inc(METRIC_TLS_RESUMED);
		return 1;
	}
	int e = SSL_get_error(ssl, r);
	if (e == SSL_ERROR_WANT_READ)
		return 0;
	c->notified = true; /* OpenSSL has sent its alert; nothing more may follow */
	char peer[CONN_PEER_LEN];
	conn_peer(c, peer);
	log_info("TLS handshake failed", F_U64("conn", c->id), F_STR("peer", peer),
	        F_STR("error", ssl_reason()));
	return ERR_CRYPTO;
}

/* The records end here: by close_notify, or by what OpenSSL does not accept. */
static void read_ended(struct conn *c, int e)
{
	if (c->gone)
		return;
	c->gone = true;
	enum end_reason why = END_PEER_CLOSED;
	if (e != SSL_ERROR_ZERO_RETURN) {
		why = END_TLS_ERROR;
		c->notified = true;
		char peer[CONN_PEER_LEN];
		conn_peer(c, peer);
		log_info("TLS error", F_U64("conn", c->id), F_STR("peer", peer),
		        F_STR("error", ssl_reason()));
	}
	if (c->state < CONN_FLUSHING)
		c->why = (uint8_t)why;
}

size_t tls_read(struct conn *c, uint8_t *p, size_t cap)
{
	SSL *ssl = c->ssl;
	const struct slice *stage = &c->nl->stage;
	size_t total = 0;
	/* OpenSSL takes from the stage exactly the record that it works on, so when the stage is
	 * empty and nothing of a record is pending, there is nothing to ask for. */
	while (stage->n > 0 || SSL_pending(ssl) > 0) {
		assert(total < cap);
		size_t n = 0;
		int r = SSL_read_ex(ssl, p + total, cap - total, &n);
		if (r == 1) {
			total += n;
			continue;
		}
		int e = SSL_get_error(ssl, r);
		if (e == SSL_ERROR_WANT_READ && stage->n == 0)
			break;
		if (e != SSL_ERROR_WANT_READ) {
			read_ended(c, e);
			break;
		}
	}
	return total;
}

int tls_write(struct conn *c, const uint8_t *p, size_t n)
{
	/* All or nothing: partial writes are not enabled, and our BIO takes everything. */
	size_t written;
	if (SSL_write_ex(c->ssl, p, n, &written) == 1)
		return 0;
	c->notified = true;
	ERR_clear_error();
	return ERR_CRYPTO;
}

void tls_close_notify(struct conn *c)
{
	if (SSL_is_init_finished(c->ssl))
		SSL_shutdown(c->ssl);
	ERR_clear_error();
}

/* One of the chain; an empty slice: out of memory, or longer than all of them may be. */
static struct slice certificate_der(const X509 *cert)
{
	unsigned char *der = NULL;
	int n = i2d_X509(cert, &der);
	return n > 0 ? slice_make(der, (size_t)n) : (struct slice){NULL, 0};
}

static void read_free(void *cert)
{
	X509_free(cert);
}

static void keep_read(struct cert_chain *chain, X509 *const *certs)
{
	chain->read_free = read_free;
	for (unsigned i = 0; i < chain->n; i++)
		if (X509_up_ref(certs[i]) == 1)
			chain->read[i] = certs[i];
}

struct cert_chain *tls_peer_chain(const struct conn *c)
{
	X509 *own = c->ssl ? SSL_get0_peer_certificate(c->ssl) : NULL;
	struct slice der[CERT_CHAIN_MAX];
	X509 *certs[CERT_CHAIN_MAX];
	if (!own)
		return NULL;
	/* A server's list of what the peer sent is without the peer's own. */
	STACK_OF(X509) *sent = SSL_get_peer_cert_chain(c->ssl);
	unsigned n = 0;
	certs[n++] = own;
	for (int i = 0; i < sk_X509_num(sent) && n < CERT_CHAIN_MAX; i++)
		certs[n++] = sk_X509_value(sent, i);
	bool whole = true;
	for (unsigned i = 0; i < n; i++) {
		der[i] = certificate_der(certs[i]);
		whole &= der[i].n > 0;
	}
	struct cert_chain *chain = whole ? cert_chain_new(der, n) : NULL;
	for (unsigned i = 0; i < n; i++)
		OPENSSL_free((void *)der[i].p);
	ERR_clear_error();
	if (chain)
		keep_read(chain, certs);
	return chain;
}

struct slice tls_server_name(const struct conn *c)
{
	const char *name = c->ssl ? SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
	size_t n = name ? strlen(name) : 0;
	return n <= CONN_NAME_MAX ? slice_make(name, n) : (struct slice){NULL, 0};
}

const char *tls_version(const struct conn *c)
{
	return c->ssl ? SSL_get_version(c->ssl) : NULL;
}
