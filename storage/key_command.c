/* The output of a command as a key: for vaults and key services that have a program to ask. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/key_source.h"

#define LINE_MAX_LEN 4096
#define WORDS_MAX 64

struct words {
	char text[LINE_MAX_LEN]; /* each ends in a NUL */
	char *list[WORDS_MAX + 1];
	unsigned n;
};

struct told {
	char *error;
	size_t size;
};

HF_PRINTF(3, 4) static int fail(const struct told *t, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->error, t->size, fmt, ap);
	va_end(ap);
	return err;
}

/* ---- the line ---- */

/* One word from *line on to *at; false: a quote has no end. */
static bool take_word(const char **line, char **at)
{
	char quote = 0;
	const char *p = *line;

	for (; *p && (quote || !isspace((unsigned char)*p)); p++) {
		if (quote ? *p == quote : *p == '"' || *p == '\'')
			quote = quote ? 0 : *p;
		else
			*(*at)++ = *p;
	}
	*(*at)++ = '\0';
	*line = p;
	return !quote;
}

static int split(const struct told *t, const char *line, struct words *w)
{
	char *at = w->text;

	w->n = 0;
	/* What comes out of a line is never longer than it is, but for the NUL at the end. */
	if (strlen(line) >= sizeof(w->text) - 1)
		return fail(t, ERR_INVALID, "the command is too long");
	for (;;) {
		while (isspace((unsigned char)*line))
			line++;
		if (!*line)
			break;
		if (w->n == WORDS_MAX)
			return fail(t, ERR_INVALID, "the command has over %d words", WORDS_MAX);
		w->list[w->n++] = at;
		if (!take_word(&line, &at))
			return fail(t, ERR_INVALID, "a quote in the command has no end");
	}
	w->list[w->n] = NULL;
	return w->n > 0 ? 0 : fail(t, ERR_INVALID, "the command is empty");
}

/* ---- the process ---- */

HF_NORETURN static void become(const struct words *w, int out)
{
	static const int usual[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGALRM};
	sigset_t none;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_LEN(usual); i++)
		signal(usual[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0)
		_exit(126);
	execvp(w->list[0], w->list);
	_exit(127);
}

/* Until it closes its output. ERR_TOO_BIG, ERR_TIMEOUT, ERR_IO. */
static int collect(int fd, char *out, size_t size, size_t *ret_n)
{
	uint64_t until = clock_ms() + KEY_COMMAND_S * 1000, now;
	size_t n = 0;

	while ((now = clock_ms()) < until) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char more;

		if (poll(&p, 1, (int)(until - now)) <= 0)
			continue;
		ssize_t got = n < size ? read(fd, out + n, size - n) : read(fd, &more, 1);
		if (got == 0) {
			*ret_n = n;
			return 0;
		}
		if (got < 0 && errno != EINTR)
			return ERR_IO;
		if (got > 0 && n == size)
			return ERR_TOO_BIG;
		n += got > 0 ? (size_t)got : 0;
	}
	return ERR_TIMEOUT;
}

/* It and what it started are gone after this. */
static int reap(pid_t pid, bool kill_it, int *ret_status)
{
	if (kill_it)
		(void)kill(-pid, SIGKILL);
	while (waitpid(pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return ERR_IO;
	return 0;
}

static int judge(const struct told *t, const struct words *w, int err, int status)
{
	if (err == ERR_TIMEOUT)
		return fail(t, ERR_IO, "%s took over %d s", w->list[0], KEY_COMMAND_S);
	if (err == ERR_TOO_BIG)
		return fail(t, ERR_INVALID, "%s prints too much", w->list[0]);
	if (err < 0)
		return fail(t, ERR_IO, "the output of %s cannot be read", w->list[0]);
	if (WIFSIGNALED(status))
		return fail(t, ERR_IO, "%s was ended by signal %d", w->list[0], WTERMSIG(status));
	if (WEXITSTATUS(status) == 127)
		return fail(t, ERR_IO, "%s cannot be run", w->list[0]);
	if (WEXITSTATUS(status) != 0)
		return fail(t, ERR_IO, "%s failed with status %d", w->list[0], WEXITSTATUS(status));
	return 0;
}

static int run(const struct told *t, const struct words *w, char *out, size_t n, size_t *ret_n)
{
	int ends[2], status = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail(t, ERR_IO, "no pipe for the command: %s", strerror(errno));
	pid_t pid = fork();
	if (pid == 0)
		become(w, ends[1]);
	close(ends[1]);
	int err = pid < 0 ? ERR_IO : collect(ends[0], out, n, ret_n);
	close(ends[0]);
	if (pid < 0)
		return fail(t, ERR_IO, "no process for the command: %s", strerror(errno));
	if (reap(pid, err < 0, &status) < 0)
		err = ERR_IO;
	return judge(t, w, err, status);
}

int key_command_run(const char *line, char *out, size_t n, size_t *ret_n, char *error, size_t size)
{
	const struct told t = {error, size};
	struct words w;
	size_t got = 0;
	int err = split(&t, line, &w);

	if (err == 0)
		err = run(&t, &w, out, n, &got);
	while (got > 0 && isspace((unsigned char)out[got - 1]))
		got--;
	if (err == 0)
		*ret_n = got;
	return err;
}
