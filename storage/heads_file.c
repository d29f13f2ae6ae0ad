#include "storage/heads_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/json.h"
#include "server/base/log.h"
#include "storage/heads.h"

#define BLOCK 4096

static const struct json_limits line_limits = {.bytes = HEAD_LINE_MAX, .depth = 2, .values = 16};

/* ---- a line ---- */

int heads_file_line(struct buf *out, const struct head_line *l)
{
	char when[CLOCK_RFC3339_LEN], signature[2 * CRYPTO_SIGNATURE_LEN];

	if (l->signature.n != CRYPTO_SIGNATURE_LEN)
		return ERR_INVALID;
	crypto_base64_encode(l->signature, signature);
	int err = buf_printf(out, "{\"number\":%" PRId64 ",\"time\":\"%s\",\"body\":", l->number,
	        clock_rfc3339(l->at_us, when));
	if (err == 0)
		err = json_append_string(out, l->body);
	return err < 0 ? err : buf_printf(out, ",\"signature\":\"%s\"}\n", signature);
}

static int read_line(struct slice line, struct head *ret)
{
	char why[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	int err = json_read(line, &line_limits, &doc, why);
	const json_t *body = err == 0 ? json_object_get(doc, "body") : NULL;

	if (err == ERR_NOMEM)
		return err;
	if (!json_is_string(body))
		return ERR_CORRUPT;
	err = head_decode(slice_make(json_string_value(body), json_string_length(body)), ret);
	return err < 0 && err != ERR_NOMEM ? ERR_CORRUPT : err;
}

/* ---- the file, from its end ---- */

static int file_open(const char *folder, int flags)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/" HEADS_FILE, folder);

	if (n < 0 || (size_t)n >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* *at moves to behind the last end of a line before it, or to 0. */
static int line_end_before(int fd, off_t *at)
{
	char block[BLOCK];

	while (*at > 0) {
		size_t n = *at < BLOCK ? (size_t)*at : BLOCK;

		if (pread(fd, block, n, *at - (off_t)n) != (ssize_t)n)
			return ERR_IO;
		const char *end = memrchr(block, '\n', n);
		if (end) {
			*at -= (off_t)(block + n - end - 1);
			return 0;
		}
		*at -= (off_t)n;
	}
	return 0;
}

static int read_last(int fd, struct head *ret)
{
	struct stat st;
	off_t start, end;

	if (fstat(fd, &st) < 0)
		return ERR_IO;
	end = st.st_size;
	int err = line_end_before(fd, &end);
	if (err < 0)
		return err;
	if (end == 0)
		return ERR_NOT_FOUND;
	start = end - 1;
	err = line_end_before(fd, &start);
	if (err < 0)
		return err;
	size_t n = (size_t)(end - start);
	_cleanup_free_ char *line = n <= HEAD_LINE_MAX ? malloc(n) : NULL;
	if (!line)
		return n <= HEAD_LINE_MAX ? ERR_NOMEM : ERR_CORRUPT;
	if (pread(fd, line, n, start) != (ssize_t)n)
		return ERR_IO;
	return read_line(slice_make(line, n - 1), ret);
}

int heads_file_last(const char *folder, struct head *ret)
{
	_cleanup_close_ int fd = file_open(folder, O_RDONLY);

	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	return read_last(fd, ret);
}

static int append_to(int fd, struct slice lines)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ERR_IO;
	off_t whole = st.st_size;
	if (line_end_before(fd, &whole) < 0 || (whole < st.st_size && ftruncate(fd, whole) < 0))
		return ERR_IO;
	for (size_t done = 0; done < lines.n;) {
		ssize_t n = write(fd, lines.p + done, lines.n - done);

		if (n < 0 && errno != EINTR)
			return ERR_IO;
		done += n > 0 ? (size_t)n : 0;
	}
	return fsync(fd) < 0 ? ERR_IO : 0;
}

int heads_file_append(const char *folder, struct slice lines)
{
	bool there = mkdir(folder, 0700) == 0 || errno == EEXIST;
	_cleanup_close_ int fd = there ? file_open(folder, O_RDWR | O_APPEND | O_CREAT) : -1;
	int err = fd >= 0 ? append_to(fd, lines) : ERR_IO;

	if (err < 0)
		log_warn("the file of signed heads cannot be written", F_STR("folder", folder),
		        F_STR("error", strerror(errno)));
	return err;
}
