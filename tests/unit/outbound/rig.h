/* A server to ask, certificates from the openssl command line, and a thread that waits for
 * answers. */
#ifndef HF_TESTS_UNIT_OUTBOUND_RIG_H
#define HF_TESTS_UNIT_OUTBOUND_RIG_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/outbound/outbound.h"

#define RIG_WAIT_MS 30000

struct peer {
	pid_t pid;
	int in; /* closed: it ends */
	unsigned port;
};

static char folder[64], ca_file[128];
static struct peer tls_peer, plain_peer;

static void run_shell(const char *command)
{
	ck_assert_int_eq(system(command), 0);
}

/* A private CA, and a certificate for localhost and 127.0.0.1 that it has signed. */
static void make_certificates(void)
{
	char command[2048];

	snprintf(folder, sizeof(folder), "/tmp/hf-outbound-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", folder);
	snprintf(command, sizeof(command),
	        "cd %s && new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes' && "
	        "$new -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem 2>/dev/null && "
	        "$new -x509 -days 2 -subj /CN=other -keyout other.key -out other.pem 2>/dev/null "
	        "&& $new -subj /CN=server -keyout server.key -out server.csr 2>/dev/null && "
	        "echo subjectAltName=DNS:localhost,IP:127.0.0.1 >ext && "
	        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
	        "-days 2 -extfile ext -out server.pem 2>/dev/null",
	        folder);
	run_shell(command);
}

static void peer_start(struct peer *p, const char *how)
{
	int in[2], out[2];
	char line[16] = "";

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	p->pid = fork();
	ck_assert_int_ge(p->pid, 0);
	if (p->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl("tests/unit/outbound/peer", "peer", folder, how, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	p->in = in[1];
	FILE *said = fdopen(out[0], "r");
	while (said && !fgets(line, sizeof(line), said) && errno == EINTR)
		clearerr(said);
	fclose(said);
	p->port = (unsigned)atoi(line);
	ck_assert_uint_gt(p->port, 0);
}

static void peer_stop(struct peer *p)
{
	close(p->in);
	waitpid(p->pid, NULL, 0);
}

static void setup_world(void)
{
	make_certificates();
	peer_start(&tls_peer, NULL);
	peer_start(&plain_peer, "plain");
}

static void teardown_world(void)
{
	char command[128];

	peer_stop(&tls_peer);
	peer_stop(&plain_peer);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	run_shell(command);
}

/* ---- asking ---- */

struct ask {
	struct fetch fetch;
	char url[FETCH_URL_MAX + 64];
	struct rig *rig;
	bool answered;
	unsigned nth; /* the how-manieth answer it was, from 1 */
};

struct rig {
	struct outbound *outbound;
	struct mailbox box;
	unsigned answers;
};

static void rig_open(struct rig *rig, struct outbound_limits limits)
{
	memset(rig, 0, sizeof(*rig));
	ck_assert_int_eq(mailbox_init(&rig->box), 0);
	rig->outbound = outbound_new(&limits);
	ck_assert_ptr_nonnull(rig->outbound);
	ck_assert_int_eq(outbound_start(rig->outbound), 0);
}

static void rig_close(struct rig *rig)
{
	outbound_free(rig->outbound);
	mailbox_done(&rig->box);
}

static void on_answer(struct mail *m)
{
	struct ask *a = container_of(m, struct ask, fetch.mail);

	ck_assert(!a->answered);
	a->answered = true;
	a->nth = ++a->rig->answers;
}

/* A GET of the path from the TLS peer, as its CA allows; the caller may change it before it is
 * sent. */
static void ask_init(struct rig *rig, struct ask *a, const char *path)
{
	memset(a, 0, sizeof(*a));
	a->rig = rig;
	snprintf(a->url, sizeof(a->url), "https://localhost:%u%s", tls_peer.port, path);
	a->fetch = (struct fetch){
	        .mail.deliver = on_answer,
	        .reply_to = &rig->box,
	        .url = a->url,
	        .ca_file = ca_file,
	        .timeout_ms = 20000,
	        .max_bytes = 4096,
	};
}

static void wait_answers(struct rig *rig, unsigned n)
{
	uint64_t until = clock_ms() + RIG_WAIT_MS;

	while (rig->answers < n) {
		ck_assert_uint_lt(clock_ms(), until);
		mailbox_wait(&rig->box, 100);
		mailbox_run(&rig->box);
	}
}

/* Sends it and waits. */
static void ask(struct ask *a)
{
	outbound_ask(a->rig->outbound, &a->fetch);
	wait_answers(a->rig, a->rig->answers + 1);
	ck_assert(a->answered);
}

static void ask_done(struct ask *a)
{
	buf_free(&a->fetch.body);
}

#endif
