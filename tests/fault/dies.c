/*
 * A program that dies where a test wants it: preloaded, it ends by SIGKILL just before the n-th of
 * those calls that change something outside of it (HF_DIES_AT): a statement to PostgreSQL, a file
 * made, renamed, written down.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static long left;

__attribute__((constructor)) static void dies_open(void)
{
	const char *text = getenv("HF_DIES_AT");

	left = text ? strtol(text, NULL, 10) : 0;
}

static void count(void)
{
	if (left > 0 && --left == 0)
		kill(getpid(), SIGKILL);
}

int rename(const char *from, const char *to)
{
	count();
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int fsync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

	count();
	return real(fd);
}

ssize_t write(int fd, const void *p, size_t n)
{
	ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(
	        RTLD_NEXT, "write");

	if (fd > 2)
		count();
	return real(fd, p, n);
}

/* libpq's, by their shape: the test needs none of its headers. */
int PQsendQueryParams(void *conn, const char *sql, int n, const unsigned *types,
        const char *const *values, const int *lengths, const int *formats, int result);
int PQsendQueryParams(void *conn, const char *sql, int n, const unsigned *types,
        const char *const *values, const int *lengths, const int *formats, int result)
{
	int (*real)(void *, const char *, int, const unsigned *, const char *const *, const int *,
	        const int *,
	        int) = (int (*)(void *, const char *, int, const unsigned *, const char *const *,
	        const int *, const int *, int))dlsym(RTLD_NEXT, "PQsendQueryParams");

	count();
	return real(conn, sql, n, types, values, lengths, formats, result);
}

int PQsendQuery(void *conn, const char *sql);
int PQsendQuery(void *conn, const char *sql)
{
	int (*real)(void *, const char *) = (int (*)(void *, const char *))dlsym(
	        RTLD_NEXT, "PQsendQuery");

	count();
	return real(conn, sql);
}
