/*
 * Two processes. One keeps the keys and can do nothing but answer. Reading keys takes files,
 * programs and modules, which that one must not have: the other one, its child, forks for each
 * reading a process that reads, hands over and ends, and keeps nothing itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "storage/key_source.h"
#include "storage/keyd.h"

#define READING_MAX_S (2 * KEY_COMMAND_S + 10)
#define EXIT_LOST 1

/* ---- the helper ---- */

HF_NORETURN static void read_source(const struct key_source *source, int fd)
{
	struct keyd_fetched f = {0};

	keyd_hide("holdfast-source");
	signal(SIGALRM, SIG_DFL);
	alarm(READING_MAX_S);
	f.err = key_source_read(source, &f.masters, f.error, sizeof(f.error));
	ssize_t n = send(fd, &f, sizeof(f), MSG_NOSIGNAL);
	crypto_wipe(&f, sizeof(f));
	_exit(n == (ssize_t)sizeof(f) ? 0 : EXIT_LOST);
}

static void answer_lost(int fd, const char *why)
{
	struct keyd_fetched f = {.err = ERR_IO};

	snprintf(f.error, sizeof(f.error), "the master key cannot be read: %s", why);
	(void)send(fd, &f, sizeof(f), MSG_NOSIGNAL);
}

/* For each byte that comes, one reading. */
HF_NORETURN static void help(const struct key_source *source, int fd)
{
	char byte;

	keyd_hide("holdfast-source");
	signal(SIGCHLD, SIG_DFL);
	while (recv(fd, &byte, 1, 0) == 1) {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0)
			read_source(source, fd);
		if (pid < 0) {
			answer_lost(fd, strerror(errno));
			continue;
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			answer_lost(fd, "the process that reads it was ended");
	}
	_exit(0);
}

static int start_helper(const struct key_source *source, int *ret)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return ERR_IO;
	pid_t pid = fork();
	if (pid == 0) {
		if (keyd_close_others(&ends[1], 1) == 0)
			help(source, ends[1]);
		_exit(EXIT_LOST);
	}
	close(ends[1]);
	if (pid < 0)
		return ERR_IO;
	*ret = ends[0];
	return 0;
}

/* ---- the one that keeps them ---- */

/* Memory of its own pages, not swapped, in no core file. */
static void *locked_pages(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)mlock(p, n);
	(void)madvise(p, n, MADV_DONTDUMP);
	return p;
}

struct keeper {
	struct keyd keyd;
	struct keyd_fetched fetched;
	struct buf reply;
	bool reading;
	unsigned reader; /* the channel that waits for it */
	/* The channels, then the helper. */
	struct pollfd fds[KEYD_CHANNELS + 1];
	uint8_t request[KEYD_PACKET_MAX];
};

static bool send_reply(struct keeper *k, int fd)
{
	struct slice reply = buf_slice(&k->reply);

	return send(fd, reply.p, reply.n, MSG_NOSIGNAL) == (ssize_t)reply.n;
}

static void wipe_reply(struct keeper *k)
{
	struct slice reply = buf_slice(&k->reply);

	if (reply.n > 0)
		crypto_wipe(k->reply.data + k->reply.start, reply.n);
}

/* One reading at a time: who asks while one goes on is told to ask again. */
static bool start_reading(struct keeper *k, unsigned channel)
{
	static const uint8_t busy = (uint8_t)-ERR_QUOTA;
	int fd = k->fds[channel].fd;

	if (k->reading)
		return send(fd, &busy, 1, MSG_NOSIGNAL) == 1;
	k->reading = true;
	k->reader = channel;
	return send(k->fds[KEYD_CHANNELS].fd, "r", 1, MSG_NOSIGNAL) == 1;
}

/* One request of a channel; false: its other end is closed. */
static bool serve_channel(struct keeper *k, unsigned i)
{
	int fd = k->fds[i].fd;
	ssize_t n = recv(fd, k->request, sizeof(k->request), MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	if (n == 1 && k->request[0] == KEYD_RELOAD)
		return start_reading(k, i);
	int err = keyd_answer(&k->keyd, slice_make(k->request, (size_t)n), &k->reply);
	bool sent = err == 0 && send_reply(k, fd);
	crypto_wipe(k->request, (size_t)n);
	wipe_reply(k);
	return sent;
}

/* What the helper has read, or that it is gone. */
static bool serve_helper(struct keeper *k)
{
	struct pollfd *helper = &k->fds[KEYD_CHANNELS];
	struct keyd_fetched *f = &k->fetched;

	if (recv(helper->fd, f, sizeof(*f), MSG_DONTWAIT) != sizeof(*f))
		return false;
	f->error[sizeof(f->error) - 1] = '\0';
	int err = keyd_take(&k->keyd, f, &k->reply);
	crypto_wipe(f, sizeof(*f));
	k->reading = false;
	return err == 0 && send_reply(k, k->fds[k->reader].fd);
}

static bool serve(struct keeper *k)
{
	for (unsigned i = 0; i < KEYD_CHANNELS; i++)
		if (k->fds[i].revents && !serve_channel(k, i))
			return false;
	return !k->fds[KEYD_CHANNELS].revents || serve_helper(k);
}

/* Until the other process closes its ends, in whatever way it does. */
HF_NORETURN static void keep(struct keeper *k)
{
	int ready;

	do
		ready = poll(k->fds, KEYD_CHANNELS + 1, -1);
	while (ready >= 0 ? serve(k) : errno == EINTR);
	crypto_wipe(k, sizeof(*k));
	_exit(0);
}

static int compare_fds(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

HF_NORETURN static void become_keyd(const struct key_source *source, int *fds)
{
	struct keeper *k = locked_pages(sizeof(*k));
	int helper = -1;

	qsort(fds, KEYD_CHANNELS, sizeof(*fds), compare_fds);
	keyd_hide("holdfast-keyd");
	if (!k || keyd_close_others(fds, KEYD_CHANNELS) < 0 || start_helper(source, &helper) < 0 ||
	        dup2(1, 2) < 0)
		_exit(EXIT_LOST);
	for (unsigned i = 0; i < KEYD_CHANNELS; i++)
		k->fds[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	k->fds[KEYD_CHANNELS] = (struct pollfd){.fd = helper, .events = POLLIN};
	buf_init(&k->reply, KEYD_PACKET_MAX);
	if (buf_ensure(&k->reply, KEYD_PACKET_MAX) < 0)
		_exit(EXIT_LOST);
	if (keyd_confine() < 0)
		_exit(KEYD_EXIT_UNCONFINED);
	keep(k);
}

/* ---- starting it ---- */

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

int keyd_start(const struct key_source *source, int ret_fds[static KEYD_CHANNELS], pid_t *ret_pid)
{
	int ours[KEYD_CHANNELS], theirs[KEYD_CHANNELS];
	pid_t pid = -1;
	unsigned n = 0;

	for (; n < KEYD_CHANNELS; n++) {
		int ends[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
			break;
		ours[n] = ends[0];
		theirs[n] = ends[1];
	}
	if (n == KEYD_CHANNELS)
		pid = fork();
	if (pid == 0) {
		close_all(ours, n);
		become_keyd(source, theirs);
	}
	close_all(theirs, n);
	if (pid < 0) {
		close_all(ours, n);
		return ERR_IO;
	}
	memcpy(ret_fds, ours, sizeof(ours));
	*ret_pid = pid;
	return 0;
}
