/* What the process that keeps the keys answers, the keyring over it, and where keys come from. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/err.h"
#include "storage/key_source.h"
#include "storage/keyd.h"

static struct keyd keyd;
static struct buf reply;
static char folder[64], file[96], next[104], error[STORAGE_ERROR_LEN];

static void setup(void)
{
	struct keyd_fetched f = {.masters = {.key = {{1, 2, 3}}}};

	crypto_init();
	buf_init(&reply, KEYD_PACKET_MAX);
	keyd = (struct keyd){0};
	ck_assert_int_eq(keyd_take(&keyd, &f, &reply), 0);
	snprintf(folder, sizeof(folder), "/tmp/hf-keyd-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/key", folder);
	snprintf(next, sizeof(next), "%s" NEXT_SUFFIX, file);
}

static void teardown(void)
{
	buf_free(&reply);
	(void)unlink(file);
	(void)unlink(next);
	(void)rmdir(folder);
}

static void write_text(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static void write_key(const char *path, char digit)
{
	char text[KEY_HEX_LEN + 2];

	memset(text, digit, KEY_HEX_LEN);
	snprintf(text + KEY_HEX_LEN, 2, "\n");
	write_text(path, text, 0600);
}

/* ---- what it answers ---- */

static int answer(const void *p, size_t n)
{
	ck_assert_int_eq(keyd_answer(&keyd, slice_make(p, n), &reply), 0);
	return -(int)reply.data[reply.start];
}

static const struct {
	const char *bytes;
	size_t n;
	int err;
} requests[] = {
        {"", 0, ERR_MALFORMED}, {"\0", 1, ERR_MALFORMED}, {"\xff", 1, ERR_MALFORMED},
        {"\1", 1, ERR_MALFORMED},                /* RELOAD is the process's own */
        {"\2", 1, ERR_MALFORMED},                /* SET_WRAPPING without a word */
        {"\2\2", 2, ERR_MALFORMED},              /* neither of the two */
        {"\2\1", 2, ERR_NOT_FOUND},              /* there is no next one */
        {"\2\0\0", 3, ERR_MALFORMED},            /* something behind it */
        {"\3", 1, 0},                            /* IDS */
        {"\4\0\1", 3, ERR_MALFORMED},            /* an item that is not there */
        {"\4\xff\xff", 3, ERR_MALFORMED},        /* more than there may be */
        {"\4\0\1\0", 4, ERR_MALFORMED},          /* no purpose */
        {"\4\0\1\2a\0\0\0", 8, ERR_MALFORMED},   /* a purpose with a NUL */
        {"\4\0\1\1a\xff\xff", 7, ERR_MALFORMED}, /* a name that is not there */
        {"\5\0\0", 3, 0},                        /* nothing to unwrap */
        {"\11", 1, ERR_NOT_FOUND},               /* no key to sign with: none to wrap */
        {"\12x", 2, ERR_MALFORMED},              /* SIGN without a purpose's end */
        {"\12\0x", 3, ERR_MALFORMED},            /* SIGN without a purpose */
        {"\12x\0y", 4, ERR_NOT_FOUND},           /* no key to sign with */
        {"\10short", 6, ERR_CORRUPT},            /* SIGN_LOAD */
};

START_TEST(refuses_what_makes_no_sense)
{
	ck_assert_int_eq(answer(requests[_i].bytes, requests[_i].n), requests[_i].err);
}
END_TEST

START_TEST(has_nothing_before_it_loaded)
{
	keyd.loaded = false;
	ck_assert_int_eq(answer("\3", 1), ERR_UNAVAILABLE);
}
END_TEST

/* One item of that op and purpose with no name and 61 bytes of zeros. */
static int item_status(uint8_t op, const char *purpose)
{
	uint8_t request[256] = {op, 0, 1, (uint8_t)strlen(purpose)};
	size_t n = 4;

	memcpy(request + n, purpose, strlen(purpose));
	n += strlen(purpose) + 2 + 16;
	request[n + 1] = CRYPTO_KEY_LEN + WRAP_OVERHEAD;
	n += 2 + CRYPTO_KEY_LEN + WRAP_OVERHEAD;
	ck_assert_int_eq(answer(request, n), 0);
	return -(int)reply.data[reply.start + 1];
}

START_TEST(never_tells_the_signing_key)
{
	ck_assert_int_eq(item_status(KEYD_UNWRAP, KEYD_SIGN_PURPOSE), ERR_DENIED);
	ck_assert_int_eq(item_status(KEYD_WRAP, KEYD_SIGN_PURPOSE), ERR_DENIED);
	ck_assert_int_eq(item_status(KEYD_UNWRAP, "dek"), ERR_CORRUPT);
	ck_assert_int_eq(item_status(KEYD_WRAP, "dek"), 0);
}
END_TEST

/* ---- the keyring ---- */

static const struct wrap_owner dek = {.purpose = "dek", .number = 7, .which = 8};

static struct keyring *load(const struct key_source *source)
{
	struct keyring *k = NULL;

	ck_assert_msg(keyring_load(source, &k, error, sizeof(error)) == 0, "%s", error);
	return k;
}

START_TEST(unwraps_many)
{
	enum { MANY = 3000 };
	static uint8_t wrapped[MANY][4 + WRAP_OVERHEAD], out[MANY][4];
	static struct wrap_item items[MANY];

	write_key(file, '1');
	struct keyring *k = load(&(struct key_source){.file = file});
	for (uint32_t i = 0; i < MANY; i++) {
		struct wrap_owner owner = {.purpose = "dek", .number = i};

		ck_assert_int_eq(keyring_wrap(k, &owner, slice_make(&i, 4), wrapped[i]), 0);
		items[i] = (struct wrap_item){.owner = owner,
		        .in = slice_make(wrapped[i], sizeof(wrapped[i])),
		        .out = out[i]};
	}
	wrapped[5][20] ^= 1;
	items[1500].in.n = 3;
	keyring_unwrap_many(k, items, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		ck_assert_int_eq(items[i].err, i == 5 || i == 1500 ? ERR_CORRUPT : 0);
		if (items[i].err == 0)
			ck_assert_mem_eq(out[i], &i, 4);
	}
	keyring_free(k);
}
END_TEST

START_TEST(goes_from_one_key_to_the_next)
{
	uint8_t old[CRYPTO_KEY_LEN + WRAP_OVERHEAD], fresh[sizeof(old)], out[CRYPTO_KEY_LEN];
	const uint8_t plain[CRYPTO_KEY_LEN] = {42};
	struct keyring_ids ids;
	bool changed = true;

	write_key(file, '1');
	struct keyring *k = load(&(struct key_source){.file = file});
	ck_assert_int_eq(keyring_wrap(k, &dek, slice_make(plain, sizeof(plain)), old), 0);
	ck_assert_int_eq(keyring_set_wrapping(k, true), ERR_NOT_FOUND);
	write_key(next, '2');
	ck_assert_int_eq(keyring_reload(k, error, sizeof(error)), 0);
	ck_assert_int_eq(keyring_ids(k, &ids), 0);
	ck_assert(ids.has_next && !ids.wraps_next);
	ck_assert_int_eq(keyring_rewrap(k, &dek, slice_make(old, sizeof(old)), fresh, &changed), 0);
	ck_assert(!changed);
	ck_assert_int_eq(keyring_set_wrapping(k, true), 0);
	ck_assert_int_eq(keyring_rewrap(k, &dek, slice_make(old, sizeof(old)), fresh, &changed), 0);
	ck_assert(changed);
	ck_assert_int_eq(rename(next, file), 0);
	ck_assert_int_eq(keyring_reload(k, error, sizeof(error)), 0);
	ck_assert_int_eq(keyring_unwrap(k, &dek, slice_make(old, sizeof(old)), out), ERR_CORRUPT);
	ck_assert_int_eq(keyring_unwrap(k, &dek, slice_make(fresh, sizeof(fresh)), out), 0);
	ck_assert_mem_eq(out, plain, sizeof(plain));
	/* What cannot be read changes nothing. */
	write_text(file, "no key", 0600);
	ck_assert_int_eq(keyring_reload(k, error, sizeof(error)), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error, "64 hex digits"));
	ck_assert_int_eq(keyring_unwrap(k, &dek, slice_make(fresh, sizeof(fresh)), out), 0);
	keyring_free(k);
}
END_TEST

START_TEST(signs)
{
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
	static uint8_t big[KEYD_PACKET_MAX];
	struct keyring_hub hub;

	write_key(file, '1');
	struct keyring *k = load(&(struct key_source){.file = file});
	ck_assert_int_eq(keyring_make_hub_keys(k), 0);
	ck_assert_int_eq(keyring_sign(k, "head", SLICE_LIT("text"), signature), 0);
	ck_assert(crypto_verify(keyring_public(k), SLICE_LIT("head\0text"), signature));
	ck_assert_int_eq(
	        keyring_sign(k, "head", slice_make(big, sizeof(big)), signature), ERR_TOO_BIG);
	ck_assert_int_eq(keyring_wrap_hub(k, &hub), 0);
	struct keyring *other = load(&(struct key_source){.file = file});
	ck_assert_int_eq(keyring_unwrap_hub(other, &hub), 0);
	ck_assert_mem_eq(keyring_public(other), keyring_public(k), CRYPTO_SIGN_KEY_LEN);
	keyring_free(other);
	hub.sign[30] ^= 1;
	other = load(&(struct key_source){.file = file});
	ck_assert_int_eq(keyring_unwrap_hub(other, &hub), ERR_CORRUPT);
	keyring_free(other);
	keyring_free(k);
}
END_TEST

/* ---- sources ---- */

#define HEX16 "0123456789abcdef"
#define HEX64 HEX16 HEX16 HEX16 HEX16

static const struct {
	const char *line;
	int err;
	const char *says;
} commands[] = {
        {"echo " HEX64, 0, ""},
        {"  printf '%s\\n'  \"" HEX64 "\" ", 0, ""},
        {"sh -c 'echo " HEX16 HEX16 "\"" HEX16 HEX16 "\"'", 0, ""},
        {"echo 1234", ERR_INVALID, "64 hex digits"},
        {"true", ERR_INVALID, "prints nothing"},
        {"false", ERR_IO, "status 1"},
        {"sh -c 'kill -9 $$'", ERR_IO, "signal 9"},
        {"/nowhere/program", ERR_IO, "cannot be run"},
        {"yes", ERR_INVALID, ""},
        {"echo '", ERR_INVALID, ""},
        {" ", ERR_INVALID, ""},
};

START_TEST(takes_a_commands_output)
{
	const struct key_source source = {.file = file, .command = commands[_i].line};
	struct masters m = {0};
	int err = key_source_read(&source, &m, error, sizeof(error));

	ck_assert_msg(err == commands[_i].err, "%d: %s", err, error);
	if (err == 0)
		ck_assert_int_eq(m.key[0][31], 0xef);
	else
		ck_assert_msg(strstr(error, commands[_i].says), "%s", error);
	ck_assert(!strstr(error, HEX16));
}
END_TEST

START_TEST(takes_no_file_that_others_read)
{
	struct masters m;

	write_key(file, '1');
	ck_assert_int_eq(chmod(file, 0640), 0);
	ck_assert_int_eq(
	        key_source_read(&(struct key_source){.file = file}, &m, error, sizeof(error)),
	        ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error, "0600"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("keyd");
	TCase *tc = tcase_create("keyd");
	SRunner *r = srunner_create(s);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, refuses_what_makes_no_sense, 0, (int)ARRAY_LEN(requests));
	tcase_add_test(tc, has_nothing_before_it_loaded);
	tcase_add_test(tc, never_tells_the_signing_key);
	tcase_add_test(tc, unwraps_many);
	tcase_add_test(tc, goes_from_one_key_to_the_next);
	tcase_add_test(tc, signs);
	tcase_add_loop_test(tc, takes_a_commands_output, 0, (int)ARRAY_LEN(commands));
	tcase_add_test(tc, takes_no_file_that_others_read);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
