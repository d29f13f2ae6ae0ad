/*
 * What the unit tests of server/net share: loops in threads with a net over them, a certificate
 * made on the spot, clients with blocking sockets, and a gate that counts what happened.
 */
#ifndef HF_TESTS_UNIT_NET_RIG_H
#define HF_TESTS_UNIT_NET_RIG_H

#include <check.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "server/net/net.h"
#include "tests/unit/net/client.h"

#define RIG_LOOPS 2

/* ---- a gate: tests wait for counts, not for time ---- */

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned n;
};

HF_UNUSED static void gate_init(struct gate *g)
{
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	g->n = 0;
}

HF_UNUSED static void gate_add(struct gate *g, unsigned n)
{
	pthread_mutex_lock(&g->lock);
	g->n += n;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

HF_UNUSED static void gate_wait(struct gate *g, unsigned n)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += RIG_WAIT_S;
	pthread_mutex_lock(&g->lock);
	while (g->n < n)
		ck_assert_msg(pthread_cond_timedwait(&g->changed, &g->lock, &until) == 0,
		        "timed out: %u of %u", g->n, n);
	pthread_mutex_unlock(&g->lock);
}

/* ---- certificates ---- */

HF_UNUSED static char rig_dir[64];

HF_UNUSED static void rig_path(char out[static 128], const char *name)
{
	snprintf(out, 128, "%s/%s", rig_dir, name);
}

HF_UNUSED static void cert_write(
        const char *cert_name, const char *key_name, EVP_PKEY *key, long days)
{
	X509 *x = X509_new();
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), rand());
	X509_gmtime_adj(X509_getm_notBefore(x), -86400 * 2);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400 * days);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
	        (const unsigned char *)cert_name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
	char path[128];
	rig_path(path, cert_name);
	FILE *f = fopen(path, "w");
	ck_assert(f && PEM_write_X509(f, x));
	fclose(f);
	rig_path(path, key_name);
	f = fopen(path, "w");
	ck_assert(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	fclose(f);
	X509_free(x);
}

HF_UNUSED static void dir_make(void)
{
	snprintf(rig_dir, sizeof(rig_dir), "/tmp/holdfast-net-XXXXXX");
	ck_assert(mkdtemp(rig_dir));
}

HF_UNUSED static void dir_remove(void)
{
	static const char *const names[] = {"server.pem", "server.key", "other.pem", "other.key",
	        "rsa.pem", "rsa.key", "weak.pem", "weak.key", "old.pem", "old.key", "locked.key",
	        "empty.pem"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[128];
		rig_path(path, names[i]);
		unlink(path);
	}
	ck_assert_int_eq(rmdir(rig_dir), 0);
}

/* ---- loops and net ---- */

struct rig {
	unsigned n;
	struct loop *loops[RIG_LOOPS];
	pthread_t threads[RIG_LOOPS];
	struct net *net;
	unsigned plain, tls; /* ports */
	bool running;
};

HF_UNUSED static void *rig_thread(void *arg)
{
	loop_run(arg);
	crypto_thread_done();
	return NULL;
}

HF_UNUSED static void rig_new(struct rig *rig, unsigned n)
{
	*rig = (struct rig){.n = n};
	log_configure(LOG_ERROR, false);
	ck_assert_int_eq(crypto_init(), 0);
	dir_make();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	cert_write("server.pem", "server.key", key, 30);
	EVP_PKEY_free(key);
	for (unsigned i = 0; i < n; i++)
		ck_assert_ptr_nonnull(rig->loops[i] = loop_new(i));
	const struct net_limits limits = {.handshake_ms = 10000, .max_connections = 1000};
	rig->net = net_new(rig->loops, n, &limits);
	ck_assert_ptr_nonnull(rig->net);
}

HF_UNUSED static void rig_load(struct rig *rig, const char *cert, const char *key)
{
	char cert_path[128], key_path[128], error[NET_ERROR_LEN] = "";
	rig_path(cert_path, cert);
	rig_path(key_path, key);
	ck_assert_msg(net_tls_load(rig->net, cert_path, key_path, 3600, error) == 0, "%s", error);
}

HF_UNUSED static unsigned rig_listen(struct rig *rig, bool tls, enum net_protocol protocol,
        void (*on_accept)(struct conn *c, void *arg), void *arg)
{
	char error[NET_ERROR_LEN] = "";
	unsigned port = 0;
	const struct net_listener_spec spec = {
	        .address = "127.0.0.1:0",
	        .tls = tls,
	        .protocol = protocol,
	        .on_accept = on_accept,
	        .arg = arg,
	};
	ck_assert_msg(net_listen(rig->net, &spec, &port, error) == 0, "%s", error);
	ck_assert_uint_gt(port, 0);
	return port;
}

HF_UNUSED static void rig_run(struct rig *rig)
{
	for (unsigned i = 0; i < rig->n; i++)
		pthread_create(&rig->threads[i], NULL, rig_thread, rig->loops[i]);
	rig->running = true;
	net_accept(rig->net, true);
}

/* The usual: a plain and a TLS listener with the same owner, running. */
HF_UNUSED static void rig_start(
        struct rig *rig, unsigned n, void (*on_accept)(struct conn *c, void *arg), void *arg)
{
	rig_new(rig, n);
	rig_load(rig, "server.pem", "server.key");
	rig->plain = rig_listen(rig, false, NET_PROTOCOL_ANY, on_accept, arg);
	rig->tls = rig_listen(rig, true, NET_PROTOCOL_MQTT, on_accept, arg);
	rig_run(rig);
}

HF_UNUSED static void rig_halt(struct rig *rig)
{
	for (unsigned i = 0; rig->running && i < rig->n; i++) {
		loop_stop(rig->loops[i]);
		pthread_join(rig->threads[i], NULL);
	}
	rig->running = false;
}

HF_UNUSED static void rig_stop(struct rig *rig)
{
	rig_halt(rig);
	net_free(rig->net);
	for (unsigned i = 0; i < rig->n; i++)
		loop_free(rig->loops[i]);
	dir_remove();
	ck_assert_int_eq(metric_read(METRIC_CONNECTIONS), 0);
}

/* Runs f(arg) on a loop and waits for it. */
struct rig_call {
	struct mail mail;
	void (*f)(void *arg);
	void *arg;
	struct gate done;
};

HF_UNUSED static void rig_call_deliver(struct mail *m)
{
	struct rig_call *call = container_of(m, struct rig_call, mail);
	call->f(call->arg);
	gate_add(&call->done, 1);
}

HF_UNUSED static void rig_on_loop(struct loop *loop, void (*f)(void *arg), void *arg)
{
	struct rig_call call = {.mail.deliver = rig_call_deliver, .f = f, .arg = arg};
	gate_init(&call.done);
	mail_send(loop_mailbox(loop), &call.mail);
	gate_wait(&call.done, 1);
}

#define RIG_MAIN(name, ...)                                   \
	int main(void)                                        \
	{                                                     \
		Suite *suite = suite_create(name);            \
		TCase *tcase = tcase_create(name);            \
		tcase_set_timeout(tcase, 120);                \
		const TTest *const tests[] = {__VA_ARGS__};   \
		for (size_t i = 0; i < ARRAY_LEN(tests); i++) \
			tcase_add_test(tcase, tests[i]);      \
		suite_add_tcase(suite, tcase);                \
		SRunner *runner = srunner_create(suite);      \
		srunner_run_all(runner, CK_NORMAL);           \
		int failed = srunner_ntests_failed(runner);   \
		srunner_free(runner);                         \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;  \
	}

#endif
