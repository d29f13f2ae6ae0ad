/* The home folder itself: whose it is, what it may be, its lock. */
#include "server/init_home.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/init.h"

int init_fail(char *error, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, INIT_ERROR_LEN, fmt, ap);
	va_end(ap);
	return err;
}

int init_fail_errno(char *error, const char *what, const char *path)
{
	return init_fail(error, errno == EACCES || errno == EPERM ? ERR_DENIED : ERR_IO,
	        "%s %s: %s", what, path, strerror(errno));
}

static const char *user_name(uid_t uid, char buf[static 32])
{
	const struct passwd *user = getpwuid(uid);

	if (user)
		snprintf(buf, 32, "%s", user->pw_name);
	else
		snprintf(buf, 32, "user %u", (unsigned)uid);
	return buf;
}

/* ---- opening ---- */

/* mkdir -p for what is above the home. */
static int make_parents(const char *path, char *error)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return init_fail(error, ERR_NOMEM, "out of memory");
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return init_fail_errno(error, "cannot make the folder", copy);
		*slash = '/';
	}
	return 0;
}

/* A home of somebody else is never touched: with its keys it is not ours to open or to complete. */
static int check_owner(const char *path, int fd, char *error)
{
	char owner[32], self[32];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return init_fail_errno(error, "cannot look at the home folder", path);
	if (st.st_uid == geteuid())
		return 0;
	return init_fail(error, ERR_DENIED,
	        "the home folder %s belongs to %s, not to %s: set HOLDFAST_HOME to another", path,
	        user_name(st.st_uid, owner), user_name(geteuid(), self));
}

/* What a home may hold before it is complete. */
static bool is_own_name(const char *name)
{
	static const char *const names[] = {
	        "holdfast.ini", "secrets", "tls", "postgres", ".lock", ".run.lock"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* Whether the folder is empty, as a new volume is too, or has been a home before. */
static int is_empty_or_home(const char *path, int fd, bool *ret, char *error)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	bool others = false, own = false;

	if (!dir) {
		int err = init_fail_errno(error, "cannot list the home folder", path);

		if (copy >= 0)
			close(copy);
		return err;
	}
	while (!own && (entry = readdir(dir))) {
		const char *name = entry->d_name;

		own = is_own_name(name);
		others |= strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
		        strcmp(name, "lost+found") != 0;
	}
	closedir(dir);
	*ret = own || !others;
	return 0;
}

/* The home is closed to everybody else: a folder that others use as well must not become it. */
static int check_purpose(const char *path, int fd, char *error)
{
	struct stat st, root;
	bool fits = false;
	int err;

	if (fstat(fd, &st) < 0 || stat("/", &root) < 0)
		return init_fail_errno(error, "cannot look at the home folder", path);
	if (st.st_dev == root.st_dev && st.st_ino == root.st_ino)
		return init_fail(error, ERR_DENIED,
		        "the home folder %s is the root folder: set HOLDFAST_HOME to another",
		        path);
	if (st.st_mode & S_ISVTX)
		return init_fail(error, ERR_DENIED,
		        "the home folder %s is one that users share (its sticky bit is set): set "
		        "HOLDFAST_HOME to another",
		        path);
	err = is_empty_or_home(path, fd, &fits, error);
	if (err == 0 && !fits)
		err = init_fail(error, ERR_DENIED,
		        "the home folder %s holds other files and none of a hub: set "
		        "HOLDFAST_HOME to a folder of its own",
		        path);
	return err;
}

int init_home_open(const char *path, int *ret, char *error)
{
	_cleanup_close_ int path_fd = -1;
	_cleanup_close_ int fd = -1;
	int err;

	err = make_parents(path, error);
	if (err < 0)
		return err;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return init_fail_errno(error, "cannot make the home folder", path);
	/* Whose it is comes before whether it can be opened: the clearer of the two messages. */
	path_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (path_fd < 0)
		return init_fail_errno(error, "cannot reach the home folder", path);
	err = check_owner(path, path_fd, error);
	if (err < 0)
		return err;
	fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return init_fail_errno(error, "cannot open the home folder", path);
	err = check_purpose(path, fd, error);
	if (err < 0)
		return err;
	if (fchmod(fd, 0700) < 0)
		return init_fail_errno(error, "cannot close to others the home folder", path);
	*ret = fd;
	fd = -1;
	return 0;
}

/* ---- the lock ---- */

int home_lock(const char *home, int *ret_fd, char error[static INIT_ERROR_LEN])
{
	_cleanup_close_ int dir = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = -1;
	char pid[16] = "";
	int err;

	if (dir < 0)
		return init_fail(error, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
		        "the home folder %s cannot be opened: %s%s", home, strerror(errno),
		        errno == ENOENT ? "; make it with `holdfast init`" : "");
	err = check_owner(home, dir, error);
	if (err < 0)
		return err;
	fd = openat(dir, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return init_fail_errno(error, "cannot open the lock of", home);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = errno == EWOULDBLOCK ? pread(fd, pid, sizeof(pid) - 1, 0) : -1;

		if (n < 0)
			return init_fail_errno(error, "cannot lock", home);
		pid[strspn(pid, "0123456789")] = '\0';
		return init_fail(error, ERR_EXISTS,
		        "another hub (process %s) uses the home folder %s",
		        pid[0] ? pid : "unknown", home);
	}
	/* For the message above only; the lock itself is the kernel's. */
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, strlen(pid), 0) < 0)
		return init_fail_errno(error, "cannot write the lock of", home);
	*ret_fd = fd;
	fd = -1;
	return 0;
}
