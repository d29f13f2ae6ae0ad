#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "storage/keyd.h"

/* Sanitizers need more calls than the program itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

void keyd_hide(const char *name)
{
	/* Ctrl-C and a service manager's stop are for the hub, which drains first. */
	static const int deaf[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2};

	prctl(PR_SET_NAME, name);
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < ARRAY_LEN(deaf); i++)
		signal(deaf[i], SIG_IGN);
}

int keyd_close_others(const int *fds, unsigned n)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned from = 3;

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		return ERR_IO;
	for (unsigned i = 0; i < n; i++) {
		unsigned fd = (unsigned)fds[i];

		if (fd > from && close_range(from, fd - 1, 0) < 0)
			return ERR_IO;
		if (fd >= from)
			from = fd + 1;
	}
	null = -1; /* it is gone with the others */
	return close_range(from, ~0u, 0) < 0 ? ERR_IO : 0;
}

/* What memory, time, randomness and descriptors that are open take, and the end. */
static const int allowed[] = {
        SCMP_SYS(read),
        SCMP_SYS(write),
        SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(sendmsg),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(close),
        SCMP_SYS(futex),
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        SCMP_SYS(getrandom),
        SCMP_SYS(getpid),
        SCMP_SYS(gettid),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
};

/* Memory, but none that can be run. */
static const int data_only[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};

static int add_rules(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(allowed); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(data_only); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, data_only[i], 1,
		        SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

static int install_filter(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = filter ? add_rules(filter) : -ENOMEM;

	if (r == 0)
		r = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return r < 0 ? ERR_IO : 0;
}

int keyd_confine(void)
{
	const struct rlimit none = {0};

	(void)setrlimit(RLIMIT_CORE, &none);
	/* Where the limit on locked memory allows: the page of the keys is locked in any case. */
	(void)mlockall(MCL_CURRENT | MCL_FUTURE);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return ERR_IO;
	return SANITIZED ? 0 : install_filter();
}
