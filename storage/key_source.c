#include "storage/key_source.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"

#define TEXT_MAX (2 * KEY_SEALED_LEN + 8)
_Static_assert(MASTER_KEY_LINE_MAX >= 2 * KEY_SEALED_LEN + 2, "a line holds either form");

/* Where errors go. */
struct reading {
	const struct key_source *source;
	char *error;
	size_t size;
};

static int fail(const struct reading *r, int err, const char *what, const char *file)
{
	snprintf(r->error, r->size, "the master key %s %s", file, what);
	return err;
}

/* ---- files ---- */

static int read_text(
        const struct reading *r, int fd, const char *file, char text[static TEXT_MAX], size_t *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fail(r, ERR_IO, "is not a file", file);
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return fail(r, ERR_INVALID,
		        "can be read or changed by others: its mode must be 0600", file);
	ssize_t n = read(fd, text, TEXT_MAX);
	if (n < 0)
		return fail(r, ERR_IO, strerror(errno), file);
	while (n > 0 && isspace((unsigned char)text[n - 1]))
		n--;
	*ret = (size_t)n;
	return 0;
}

static int decode_plain(const struct reading *r, const char *file, struct slice text, uint8_t *key)
{
	if (text.n != KEY_HEX_LEN || crypto_hex_decode(text, key, CRYPTO_KEY_LEN) < 0)
		return fail(r, ERR_INVALID, "must be 64 hex digits", file);
	return 0;
}

static int decode_sealed(const struct reading *r, const char *file, struct slice text, uint8_t *key)
{
	uint8_t sealed[KEY_SEALED_LEN];

	if (text.n != 2 * sizeof(sealed) || crypto_hex_decode(text, sealed, sizeof(sealed)) < 0)
		return fail(r, ERR_INVALID,
		        "must be 120 hex digits: a key that the PKCS#11 token encrypted", file);
	return key_token_open(r->source, sealed, key, r->error, r->size);
}

/* 0; ERR_NOT_FOUND: there is no such file; ERR_IO, ERR_INVALID. */
static int read_file(const struct reading *r, const char *file, uint8_t *key)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char text[TEXT_MAX];
	size_t n = 0;

	if (fd < 0)
		return fail(r, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, strerror(errno), file);
	int err = read_text(r, fd, file, text, &n);
	if (err == 0)
		err = (key_source_has_token(r->source) ? decode_sealed : decode_plain)(
		        r, file, slice_make(text, n), key);
	crypto_wipe(text, sizeof(text));
	return err;
}

/* The next one first: whoever puts it in the place of the current one meanwhile takes none from us.
 */
static int read_files(const struct reading *r, struct masters *ret)
{
	_cleanup_free_ char *next = NULL;
	const char *file = r->source->file;

	if (asprintf(&next, "%s" NEXT_SUFFIX, file) < 0) {
		next = NULL;
		return fail(r, ERR_NOMEM, "finds no memory", file);
	}
	int err = read_file(r, next, ret->key[1]);
	if (err < 0 && err != ERR_NOT_FOUND)
		return err;
	ret->has_next = err == 0;
	err = read_file(r, file, ret->key[0]);
	return err == ERR_NOT_FOUND ? ERR_IO : err;
}

/* ---- commands ---- */

/* *ret_has false: it had nothing to say. */
static int run(
        const struct reading *r, const char *setting, const char *line, uint8_t *key, bool *ret_has)
{
	char text[TEXT_MAX], why[160];
	size_t n = 0;
	int err = key_command_run(line, text, sizeof(text), &n, why, sizeof(why));

	if (err < 0)
		snprintf(r->error, r->size, "%s: %s", setting, why);
	else if (n > 0 &&
	        (n != KEY_HEX_LEN ||
	                crypto_hex_decode(slice_make(text, n), key, CRYPTO_KEY_LEN) < 0))
		err = ERR_INVALID;
	if (err == ERR_INVALID)
		snprintf(r->error, r->size, "%s: it must print 64 hex digits", setting);
	crypto_wipe(text, sizeof(text));
	if (err == 0)
		*ret_has = n > 0;
	return err;
}

static int run_commands(const struct reading *r, struct masters *ret)
{
	const char *next = r->source->next_command;
	bool has = false;
	int err = next && next[0]
	        ? run(r, "secrets.master_key_next_command", next, ret->key[1], &ret->has_next)
	        : 0;

	if (err == 0)
		err = run(r, "secrets.master_key_command", r->source->command, ret->key[0], &has);
	if (err == 0 && !has) {
		snprintf(r->error, r->size, "secrets.master_key_command: it prints nothing");
		err = ERR_INVALID;
	}
	return err;
}

/* ---- either ---- */

int key_source_read(const struct key_source *s, struct masters *ret, char *error, size_t size)
{
	const struct reading r = {s, error, size};
	struct masters m = {0};
	int err = key_source_has_command(s) ? run_commands(&r, &m) : read_files(&r, &m);

	if (m.has_next && crypto_equal(m.key[0], m.key[1], CRYPTO_KEY_LEN))
		m.has_next = false;
	if (err == 0)
		*ret = m;
	crypto_wipe(&m, sizeof(m));
	return err;
}

int storage_make_master_key(const struct key_source *s, char ret_line[static MASTER_KEY_LINE_MAX],
        char error[static STORAGE_ERROR_LEN])
{
	uint8_t key[CRYPTO_KEY_LEN], sealed[KEY_SEALED_LEN];
	struct slice text = slice_make(key, sizeof(key));
	int err = 0;

	crypto_random(key, sizeof(key));
	if (key_source_has_token(s)) {
		err = key_token_seal(s, key, sealed, error, STORAGE_ERROR_LEN);
		text = slice_make(sealed, sizeof(sealed));
	}
	if (err == 0) {
		crypto_hex_encode(text, ret_line);
		memcpy(ret_line + 2 * text.n, "\n", 2);
	}
	crypto_wipe(key, sizeof(key));
	return err;
}
