#include "tests/unit/net/rig.h"

#include "server/net/private.h"
#include "server/net/tls.h"
#include "server/net/tls_ticket.h"

/* Echoes; the version is noted by the connection itself. */
struct echo {
	struct gate closed;
	enum end_reason why;
	char version[16];
	enum net_protocol protocol;
	uint8_t fingerprint[CRYPTO_HASH_LEN]; /* of the client's certificate, zeros: none */
	unsigned certificates;
	char server_name[256];
};

static ssize_t echo_data(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct echo *e = arg;
	if (!e->version[0])
		snprintf(e->version, sizeof(e->version), "%s", conn_tls_version(c));
	ck_assert(conn_is_tls(c) && !conn_is_loopback_plain(c));
	e->protocol = conn_protocol(c);
	struct slice name = conn_server_name(c);
	snprintf(e->server_name, sizeof(e->server_name), "%.*s", SLICE_ARG(name));
	struct cert_chain *chain = conn_certificate(c);
	ck_assert_ptr_eq(chain, conn_certificate(c));
	e->certificates = chain ? chain->n : 0;
	if (chain)
		crypto_sha256(chain->der[0], e->fingerprint);
	conn_send(c, in.p, in.n);
	return (ssize_t)in.n;
}

static void echo_closed(HF_UNUSED struct conn *c, void *arg, enum end_reason why)
{
	struct echo *e = arg;
	e->why = why;
	gate_add(&e->closed, 1);
}

static void echo_accept(struct conn *c, void *arg)
{
	static const struct conn_handler h = {.on_data = echo_data, .on_closed = echo_closed};
	conn_set_handler(c, &h, arg, 100000);
}

static void start(struct rig *rig, struct echo *e)
{
	*e = (struct echo){0};
	gate_init(&e->closed);
	rig_start(rig, 1, echo_accept, e);
}

/* Connects and has a byte come back (so a TLS 1.3 ticket has come too); false when refused. */
static bool greet(struct client *client, unsigned port, SSL_CTX *ctx, SSL_SESSION *session)
{
	*client = client_open(port);
	if (client_tls(client, ctx, session) != 1) {
		ERR_clear_error();
		return false;
	}
	char byte = 0;
	client_write(client, "x", 1);
	return client_read(client, &byte, 1) == 1 && byte == 'x';
}

static const char *greet_suite(unsigned port, SSL_CTX *ctx)
{
	static char name[64];
	struct client client;
	bool ok = greet(&client, port, ctx, NULL);
	snprintf(name, sizeof(name), "%s", ok ? SSL_get_cipher_name(client.ssl) : "refused");
	client_close(&client);
	return name;
}

START_TEST(only_forward_secret_aead_suites_are_taken)
{
	static const char *const good[] = {"ECDHE-ECDSA-AES128-GCM-SHA256",
	        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"};
	static const char *const bad[] = {"ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384",
	        "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256",
	        "AES256-SHA256", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM",
	        "ECDHE-ECDSA-NULL-SHA", "AECDH-AES128-SHA", "PSK-AES128-GCM-SHA256"};
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
		ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, good[i]), 1);
		ck_assert_str_eq(greet_suite(rig.tls, ctx), good[i]);
		SSL_CTX_free(ctx);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
		if (SSL_CTX_set_cipher_list(ctx, bad[i]) == 1)
			ck_assert_str_eq(greet_suite(rig.tls, ctx), "refused");
		SSL_CTX_free(ctx);
	}
	rig_stop(&rig);
}
END_TEST

START_TEST(the_rsa_suites_fit_an_rsa_certificate)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	EVP_PKEY *key = EVP_RSA_gen(2048);
	cert_write("rsa.pem", "rsa.key", key, 30);
	EVP_PKEY_free(key);
	rig_load(&rig, "rsa.pem", "rsa.key");
	SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
	ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, "ECDHE-RSA-AES256-GCM-SHA384"), 1);
	ck_assert_str_eq(greet_suite(rig.tls, ctx), "ECDHE-RSA-AES256-GCM-SHA384");
	ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, "AES256-GCM-SHA384"), 1);
	ck_assert_str_eq(greet_suite(rig.tls, ctx), "refused");
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

START_TEST(old_versions_are_refused)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION};
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);
		SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
		ck_assert_str_eq(greet_suite(rig.tls, ctx), "refused");
		SSL_CTX_free(ctx);
	}
	/* The listener lives. */
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	ck_assert_str_eq(greet_suite(rig.tls, ctx), "TLS_AES_128_GCM_SHA256");
	ck_assert_str_eq(e.version, "TLSv1.3");
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

START_TEST(what_is_not_tls_is_refused)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	static const char *const hellos[] = {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff\x01",
	        "\x10\x0c\0\x04MQTT", "\x80\x2e\x01\x03\x01"};
	for (size_t i = 0; i < ARRAY_LEN(hellos); i++) {
		struct client client = client_open(rig.tls);
		uint8_t hello[100] = {0};
		memcpy(hello, hellos[i], strlen(hellos[i]));
		client_write(&client, hello, sizeof(hello));
		char alert[64];
		ck_assert_uint_lt(client_read(&client, alert, sizeof(alert)), 10);
		client_close(&client);
	}
	ck_assert_int_eq(metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + END_TLS_HANDSHAKE)),
	        ARRAY_LEN(hellos));
	rig_stop(&rig);
}
END_TEST

START_TEST(a_slow_handshake_is_ended)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	const struct net_limits limits = {.handshake_ms = 300, .max_connections = 1000};
	net_set_limits(rig.net, &limits);
	struct client silent = client_open(rig.tls), half = client_open(rig.tls);
	client_write(&half, "\x16\x03\x01\x02\x00\x01\x00", 7);
	ck_assert(client_at_end(&silent));
	ck_assert(client_at_end(&half));
	client_close(&silent);
	client_close(&half);
	ck_assert_int_eq(
	        metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + END_HANDSHAKE_TIMEOUT)), 2);
	rig_stop(&rig);
}
END_TEST

START_TEST(broken_records_end_the_connection)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client client;
	ck_assert(greet(&client, rig.tls, ctx, NULL));
	uint8_t record[5 + 64] = {0x17, 3, 3, 0, 64};
	ck_assert_int_eq(send(client.fd, record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
	gate_wait(&e.closed, 1);
	ck_assert_int_eq(e.why, END_TLS_ERROR);
	client_close(&client);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

START_TEST(tls_12_is_not_renegotiated)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
	struct client client;
	ck_assert(greet(&client, rig.tls, ctx, NULL));
	ck_assert_int_eq(SSL_renegotiate(client.ssl), 1);
	ck_assert_int_ne(SSL_do_handshake(client.ssl), 1);
	client_close(&client);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

/* Many key updates that ask for an answer: each costs a record at most, and the bytes still come.
 */
START_TEST(key_updates_are_followed)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client client;
	ck_assert(greet(&client, rig.tls, ctx, NULL));
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		char byte = 0;
		client_write(&client, "y", 1);
		ck_assert_uint_eq(client_read(&client, &byte, 1), 1);
		ck_assert_int_eq(byte, 'y');
	}
	client_close(&client);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

/* Small records (RFC 6066 section 4): one write becomes many. */
START_TEST(small_fragments_are_written)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);
		SSL_CTX_set_tlsext_max_fragment_length(ctx, TLSEXT_max_fragment_length_512);
		struct client client;
		ck_assert(greet(&client, rig.tls, ctx, NULL));
		uint8_t out[50000], back[50000];
		pattern_fill(out, sizeof(out), 0);
		client_write(&client, out, sizeof(out));
		ck_assert_uint_eq(client_read(&client, back, sizeof(back)), sizeof(back));
		ck_assert(pattern_fits(back, sizeof(back), 0));
		client_close(&client);
		SSL_CTX_free(ctx);
	}
	rig_stop(&rig);
}
END_TEST

/* ---- tickets ---- */

static bool resumes(struct rig *rig, SSL_CTX *ctx, SSL_SESSION *session, SSL_SESSION **ret_new)
{
	struct client client;
	ck_assert(greet(&client, rig->tls, ctx, session));
	bool reused = SSL_session_reused(client.ssl);
	if (ret_new)
		*ret_new = SSL_get1_session(client.ssl);
	client_close(&client);
	return reused;
}

static bool same_ticket(const SSL_SESSION *a, const SSL_SESSION *b)
{
	const unsigned char *p, *q;
	size_t n, m;
	SSL_SESSION_get0_ticket(a, &p, &n);
	SSL_SESSION_get0_ticket(b, &q, &m);
	return n == m && memcmp(p, q, n) == 0;
}

static void tickets_rotate(int version)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	struct ticket_keys *keys = tls_ticket_keys(rig.net->tls);
	SSL_CTX *ctx = client_ctx(version);
	SSL_SESSION *first, *second;
	ck_assert(!resumes(&rig, ctx, NULL, &first));
	ck_assert_int_eq(SSL_SESSION_has_ticket(first), 1);
	ck_assert(resumes(&rig, ctx, first, &second));
	/* with TLS 1.3 there is another for the next time, because one is used once */
	ck_assert_int_eq(SSL_SESSION_has_ticket(second), 1);
	ck_assert_int_eq(same_ticket(first, second), version == TLS1_2_VERSION);
	SSL_SESSION_free(second);
	/* a new certificate leaves the keys */
	rig_load(&rig, "server.pem", "server.key");
	ck_assert(resumes(&rig, ctx, first, NULL));
	/* the key before: honoured, and what comes back is sealed with the new one */
	ticket_keys_age(keys, 3600);
	ck_assert(resumes(&rig, ctx, first, &second));
	/* two rotations on, the first is refused; the renewed one is the key before now */
	ticket_keys_age(keys, 3600);
	ck_assert(!resumes(&rig, ctx, first, NULL));
	ck_assert(resumes(&rig, ctx, second, NULL));
	ticket_keys_age(keys, 2 * 3600);
	ck_assert(!resumes(&rig, ctx, second, NULL));
	ck_assert_int_ge(metric_read(METRIC_TLS_RESUMED), 4);
	SSL_SESSION_free(first);
	SSL_SESSION_free(second);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}

START_TEST(tickets_rotate_12)
{
	tickets_rotate(TLS1_2_VERSION);
}
END_TEST

START_TEST(tickets_rotate_13)
{
	tickets_rotate(TLS1_3_VERSION);
}
END_TEST

static void send_all_of(BIO *b, int fd)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);
	ck_assert_int_eq(send(fd, p, (size_t)n, 0), n);
	ck_assert_int_eq(BIO_reset(b), 1);
}

static unsigned records_in(const uint8_t *p, size_t n)
{
	unsigned count = 0;
	for (size_t i = 0; i + 5 <= n; i += 5U + p[i + 3] * 256U + p[i + 4])
		count++;
	return count;
}

/* The client's Finished and its first byte come in one write, and so do ticket and answer. */
START_TEST(ticket_and_first_answer_go_out_together)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client client = client_open(rig.tls);
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	uint8_t buf[8192], byte = 0;
	SSL_set_bio(ssl, in, out);
	BIO_set_mem_eof_return(in, -1);
	while (SSL_connect(ssl) != 1) {
		if (BIO_pending(out) > 0)
			send_all_of(out, client.fd);
		ssize_t n = recv(client.fd, buf, sizeof(buf), 0);
		ck_assert_int_gt(n, 0);
		ck_assert_int_eq(BIO_write(in, buf, (int)n), n);
	}
	ck_assert_int_eq(SSL_write(ssl, "x", 1), 1);
	send_all_of(out, client.fd);
	ssize_t n = recv(client.fd, buf, sizeof(buf), 0);
	ck_assert_int_gt(n, 0);
	ck_assert_uint_eq(records_in(buf, (size_t)n), 2);
	ck_assert_int_eq(BIO_write(in, buf, (int)n), n);
	ck_assert_int_eq(SSL_read(ssl, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	ck_assert_int_eq(SSL_SESSION_has_ticket(SSL_get0_session(ssl)), 1);
	SSL_free(ssl);
	client_close(&client);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_ticket_of_another_server_is_no_harm)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	SSL_SESSION *session;
	resumes(&rig, ctx, NULL, &session);
	rig_stop(&rig);
	start(&rig, &e);
	ck_assert(!resumes(&rig, ctx, session, NULL));
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

/* ---- certificates ---- */

static void subject_is(struct client *client, const char *name)
{
	char cn[64] = "";
	X509 *cert = SSL_get0_peer_certificate(client->ssl);
	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
	ck_assert_str_eq(cn, name);
}

START_TEST(a_reload_changes_new_handshakes_alone)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	cert_write("other.pem", "other.key", key, 30);
	EVP_PKEY_free(key);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client before, after;
	ck_assert(greet(&before, rig.tls, ctx, NULL));
	rig_load(&rig, "other.pem", "other.key");
	ck_assert(greet(&after, rig.tls, ctx, NULL));
	subject_is(&before, "server.pem");
	subject_is(&after, "other.pem");
	char byte;
	client_write(&before, "x", 1);
	ck_assert_uint_eq(client_read(&before, &byte, 1), 1);
	client_close(&before);
	client_close(&after);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

static void *reload_often(void *arg)
{
	for (int i = 0; i < 50; i++)
		rig_load(arg, i % 2 ? "server.pem" : "other.pem",
		        i % 2 ? "server.key" : "other.key");
	return NULL;
}

START_TEST(reloads_and_handshakes_go_together)
{
	struct echo e = {0};
	gate_init(&e.closed);
	struct rig rig;
	rig_start(&rig, 2, echo_accept, &e);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	cert_write("other.pem", "other.key", key, 30);
	EVP_PKEY_free(key);
	pthread_t thread;
	pthread_create(&thread, NULL, reload_often, &rig);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	SSL_SESSION *session = NULL;
	for (int i = 0; i < 50; i++) {
		struct client client = client_open(rig.tls);
		ck_assert_int_eq(client_tls(&client, ctx, session), 1);
		if (i == 0)
			session = SSL_get1_session(client.ssl);
		client_close(&client);
	}
	pthread_join(thread, NULL);
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

static void load_fails(struct rig *rig, const char *cert, const char *key, const char *word)
{
	char cert_path[128], key_path[128], error[NET_ERROR_LEN] = "";
	rig_path(cert_path, cert);
	rig_path(key_path, key);
	ck_assert_int_eq(net_tls_load(rig->net, cert_path, key_path, 60, error), ERR_INVALID);
	ck_assert_msg(strstr(error, word) != NULL, "\"%s\" does not say \"%s\"", error, word);
}

START_TEST(a_bad_certificate_leaves_the_old_one)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	EVP_PKEY *other = EVP_EC_gen("P-256"), *rsa = EVP_RSA_gen(2048), *weak = EVP_RSA_gen(1024);
	cert_write("other.pem", "other.key", other, 30);
	cert_write("rsa.pem", "rsa.key", rsa, 30);
	cert_write("weak.pem", "weak.key", weak, 30);
	char path[128];
	rig_path(path, "empty.pem");
	fclose(fopen(path, "w"));
	rig_path(path, "locked.key");
	FILE *f = fopen(path, "w");
	PEM_write_PrivateKey(
	        f, other, EVP_aes_256_cbc(), (const unsigned char *)"pw", 2, NULL, NULL);
	fclose(f);
	EVP_PKEY_free(other);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(weak);

	load_fails(&rig, "none.pem", "server.key", "none.pem: No such file");
	load_fails(&rig, "server.pem", "none.key", "none.key: No such file");
	load_fails(&rig, "empty.pem", "server.key", "empty.pem: no start line");
	load_fails(&rig, "server.pem", "empty.pem", "private key");
	load_fails(&rig, "server.key", "server.key", "certificate");
	load_fails(&rig, "server.pem", "other.key", "does not belong");
	load_fails(&rig, "server.pem", "rsa.key", "does not belong");
	load_fails(&rig, "weak.pem", "weak.key", "too small");
	load_fails(&rig, "other.pem", "locked.key", "private key");

	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client client;
	ck_assert(greet(&client, rig.tls, ctx, NULL));
	subject_is(&client, "server.pem");
	client_close(&client);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

START_TEST(an_expired_certificate_is_only_warned_of)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	cert_write("old.pem", "old.key", key, -1);
	EVP_PKEY_free(key);
	rig_load(&rig, "old.pem", "old.key");
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client client;
	ck_assert(greet(&client, rig.tls, ctx, NULL));
	subject_is(&client, "old.pem");
	client_close(&client);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_client_certificate_is_taken_and_not_needed)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	char cert[128], key[128];
	rig_path(cert, "server.pem");
	rig_path(key, "server.key");
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);
		ck_assert_int_eq(SSL_CTX_use_certificate_file(ctx, cert, SSL_FILETYPE_PEM), 1);
		ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM), 1);
		struct client client;
		ck_assert(greet(&client, rig.tls, ctx, NULL));
		ck_assert_uint_eq(e.certificates, 1);
		client_close(&client);
		SSL_CTX_free(ctx);
	}
	rig_stop(&rig);
}
END_TEST

/* Whether a client is heard that shows its certificate and extra others. */
static bool shows(struct rig *rig, int version, unsigned extra)
{
	SSL_CTX *ctx = client_ctx(version);
	char cert[128], key[128];
	rig_path(cert, "server.pem");
	rig_path(key, "server.key");
	ck_assert_int_eq(SSL_CTX_use_certificate_file(ctx, cert, SSL_FILETYPE_PEM), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM), 1);
	for (unsigned i = 0; i < extra; i++)
		ck_assert_int_eq(SSL_CTX_add1_chain_cert(ctx, SSL_CTX_get0_certificate(ctx)), 1);
	struct client client;
	bool heard = greet(&client, rig->tls, ctx, NULL);
	client_close(&client);
	SSL_CTX_free(ctx);
	return heard;
}

START_TEST(what_is_sent_with_a_certificate_is_kept_within_a_bound)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		ck_assert(shows(&rig, versions[i], 2));
		ck_assert_uint_eq(e.certificates, 3);
		ck_assert(shows(&rig, versions[i], CERT_CHAIN_MAX - 1));
		ck_assert_uint_eq(e.certificates, CERT_CHAIN_MAX);
		ck_assert(!shows(&rig, versions[i], CERT_CHAIN_MAX));
	}
	rig_stop(&rig);
}
END_TEST

START_TEST(the_name_that_was_asked_for_is_known)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client client = client_open(rig.tls);
	client.ssl = SSL_new(ctx);
	SSL_set_fd(client.ssl, client.fd);
	SSL_set_tlsext_host_name(client.ssl, "Hub.example");
	ck_assert_int_eq(SSL_connect(client.ssl), 1);
	char byte = 0;
	client_write(&client, "x", 1);
	ck_assert_uint_eq(client_read(&client, &byte, 1), 1);
	ck_assert_str_eq(e.server_name, "Hub.example");
	client_close(&client);
	ck_assert(greet(&client, rig.tls, ctx, NULL));
	ck_assert_str_eq(e.server_name, "");
	client_close(&client);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

/* Or a revoked certificate would open the door for as long as its last ticket holds. */
START_TEST(a_client_certificate_gets_no_ticket)
{
	struct echo e;
	struct rig rig;
	start(&rig, &e);
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	char cert[128], key[128];
	rig_path(cert, "server.pem");
	rig_path(key, "server.key");
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);
		ck_assert_int_eq(SSL_CTX_use_certificate_file(ctx, cert, SSL_FILETYPE_PEM), 1);
		ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM), 1);
		SSL_SESSION *session;
		ck_assert(!resumes(&rig, ctx, NULL, &session));
		ck_assert_int_eq(SSL_SESSION_has_ticket(session), 0);
		ck_assert(!resumes(&rig, ctx, session, NULL));
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
	}
	ck_assert_int_eq(metric_read(METRIC_TLS_RESUMED), 0);
	rig_stop(&rig);
}
END_TEST

START_TEST(without_a_certificate_nobody_comes_in)
{
	struct echo e = {0};
	gate_init(&e.closed);
	struct rig rig;
	rig_new(&rig, 1);
	rig.tls = rig_listen(&rig, true, NET_PROTOCOL_MQTT, echo_accept, &e);
	rig_run(&rig);
	struct client client = client_open(rig.tls);
	client_write(&client, "\x16", 1);
	ck_assert(client_at_end(&client));
	client_close(&client);
	rig_stop(&rig);
}
END_TEST

/* ---- ALPN ---- */

/* Which name is answered and which protocol is spoken then. */
static void alpn_is(struct echo *e, unsigned port, const char *offer, const char *want,
        enum net_protocol spoken)
{
	e->protocol = NET_PROTOCOL_ANY;
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)offer, (unsigned)strlen(offer));
	struct client client;
	ck_assert(greet(&client, port, ctx, NULL));
	const unsigned char *got;
	unsigned n;
	SSL_get0_alpn_selected(client.ssl, &got, &n);
	ck_assert_msg(n == strlen(want) && (n == 0 || memcmp(got, want, n) == 0), "got \"%.*s\"",
	        (int)n, (const char *)got);
	ck_assert_int_eq(e->protocol, spoken);
	client_close(&client);
	SSL_CTX_free(ctx);
}

START_TEST(alpn_chooses_on_every_port)
{
	struct echo e = {0};
	gate_init(&e.closed);
	struct rig rig;
	rig_new(&rig, 1);
	rig_load(&rig, "server.pem", "server.key");
	unsigned mqtt = rig_listen(&rig, true, NET_PROTOCOL_MQTT, echo_accept, &e);
	unsigned http = rig_listen(&rig, true, NET_PROTOCOL_HTTP, echo_accept, &e);
	unsigned any = rig_listen(&rig, true, NET_PROTOCOL_ANY, echo_accept, &e);
	rig_run(&rig);
	alpn_is(&e, mqtt, "\x08http/1.1\x04mqtt", "mqtt", NET_PROTOCOL_MQTT);
	alpn_is(&e, mqtt, "\x0ex-amzn-mqtt-ca", "x-amzn-mqtt-ca", NET_PROTOCOL_MQTT);
	alpn_is(&e, mqtt, "\x02h2", "", NET_PROTOCOL_MQTT);
	alpn_is(&e, mqtt, "\x08http/1.1", "http/1.1", NET_PROTOCOL_HTTP);
	alpn_is(&e, mqtt, "\x0ex-amzn-http-ca", "x-amzn-http-ca", NET_PROTOCOL_HTTP);
	alpn_is(&e, http, "\x04mqtt\x02h2\x08http/1.1", "http/1.1", NET_PROTOCOL_HTTP);
	alpn_is(&e, http, "\x0ex-amzn-http-ca", "x-amzn-http-ca", NET_PROTOCOL_HTTP);
	alpn_is(&e, http, "\x04mqtt", "mqtt", NET_PROTOCOL_MQTT);
	alpn_is(&e, http, "\x05mqtt2\x0ex-amzn-mqtt-ca", "x-amzn-mqtt-ca", NET_PROTOCOL_MQTT);
	alpn_is(&e, http, "\x04MQTT\x03mqt", "", NET_PROTOCOL_HTTP);
	alpn_is(&e, any, "\x04mqtt\x08http/1.1", "", NET_PROTOCOL_ANY);
	rig_stop(&rig);
}
END_TEST

RIG_MAIN("tls", only_forward_secret_aead_suites_are_taken, the_rsa_suites_fit_an_rsa_certificate,
        old_versions_are_refused, what_is_not_tls_is_refused, a_slow_handshake_is_ended,
        broken_records_end_the_connection, tls_12_is_not_renegotiated, key_updates_are_followed,
        small_fragments_are_written, reloads_and_handshakes_go_together, tickets_rotate_12,
        tickets_rotate_13, ticket_and_first_answer_go_out_together,
        a_ticket_of_another_server_is_no_harm, a_reload_changes_new_handshakes_alone,
        a_bad_certificate_leaves_the_old_one, an_expired_certificate_is_only_warned_of,
        a_client_certificate_is_taken_and_not_needed, without_a_certificate_nobody_comes_in,
        what_is_sent_with_a_certificate_is_kept_within_a_bound,
        the_name_that_was_asked_for_is_known, a_client_certificate_gets_no_ticket,
        alpn_chooses_on_every_port)
