#include "tests/unit/base/unit.h"

#include "server/api/cursor.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

static void mac(void *ctx, const char *purpose, struct slice in, uint8_t out[static 32])
{
	ck_assert_str_eq(purpose, "cursor");
	crypto_hmac_sha256(slice_str(ctx), in, (struct slice){0}, out);
}
static const struct registry_store hub = {.ctx = "one", .mac = mac};
static const struct registry_store other_hub = {.ctx = "two", .mac = mac};

static int read_back(const struct registry_store *s, const char *scope, const char *text,
        uint8_t position[static API_CURSOR_POSITION_MAX], size_t *n)
{
	return api_cursor_read(s, slice_str(scope), slice_str(text), position, n);
}

START_TEST(positions_come_back)
{
	uint8_t position[API_CURSOR_POSITION_MAX], got[API_CURSOR_POSITION_MAX];
	char text[API_CURSOR_LEN + 1];
	const size_t sizes[] = {0, 1, 2, 3, 16, 128, API_CURSOR_POSITION_MAX};
	crypto_random(position, sizeof(position));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = 99;
		api_cursor_make(&hub, SLICE_LIT("list"), slice_make(position, sizes[i]), text);
		ck_assert_uint_eq(strspn(text,
		                          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		                          "0123456789-_"),
		        strlen(text));
		ck_assert_int_eq(read_back(&hub, "list", text, got, &n), 0);
		ck_assert_uint_eq(n, sizes[i]);
		ck_assert_mem_eq(got, position, n);
	}
}
END_TEST

/* Lists of what belongs to something have its name in their scope. */
START_TEST(scopes_may_be_long)
{
	uint8_t got[API_CURSOR_POSITION_MAX];
	char scope[1024] = "", text[API_CURSOR_LEN + 1];
	size_t n;
	memset(scope, 'x', sizeof(scope) - 1);
	api_cursor_make(&hub, slice_str(scope), SLICE_LIT("position"), text);
	ck_assert_int_eq(read_back(&hub, scope, text, got, &n), 0);
	scope[sizeof(scope) - 2] = 'y';
	ck_assert_int_eq(read_back(&hub, scope, text, got, &n), ERR_INVALID);
}
END_TEST

START_TEST(forged_and_foreign_ones_are_refused)
{
	uint8_t got[API_CURSOR_POSITION_MAX];
	size_t n;
	char text[API_CURSOR_LEN + 1];
	api_cursor_make(&hub, SLICE_LIT("telemetry asc 1"), SLICE_LIT("position"), text);
	ck_assert_int_eq(read_back(&hub, "telemetry asc 1", text, got, &n), 0);
	ck_assert_int_eq(read_back(&hub, "telemetry desc 1", text, got, &n), ERR_INVALID);
	ck_assert_int_eq(read_back(&hub, "telemetry asc 2", text, got, &n), ERR_INVALID);
	ck_assert_int_eq(read_back(&other_hub, "telemetry asc 1", text, got, &n), ERR_INVALID);
	for (size_t i = 0; text[i]; i++) {
		char before = text[i];
		text[i] = before == 'A' ? 'B' : 'A';
		ck_assert_msg(read_back(&hub, "telemetry asc 1", text, got, &n) == ERR_INVALID,
		        "changed at %zu", i);
		text[i] = before;
	}
	strcat(text, "AAAA");
	ck_assert_int_eq(read_back(&hub, "telemetry asc 1", text, got, &n), ERR_INVALID);
}
END_TEST

START_TEST(nonsense_is_refused)
{
	uint8_t got[API_CURSOR_POSITION_MAX];
	size_t n;
	const char *texts[] = {"", "A", "AA", "AAAAAAAAAAA", "AAAAAAAAAAA=", "????????????",
	        "+/+/+/+/+/+/", "a b c d e f ", "\xff\xff\xff\xff"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_int_eq(read_back(&hub, "x", texts[i], got, &n), ERR_INVALID);
	char longest[API_CURSOR_LEN + 2];
	memset(longest, 'A', sizeof(longest));
	for (size_t len = API_CURSOR_LEN - 4; len <= sizeof(longest); len++)
		ck_assert_int_eq(
		        api_cursor_read(&hub, SLICE_LIT("x"), slice_make(longest, len), got, &n),
		        ERR_INVALID);
}
END_TEST

int main(void)
{
	crypto_init();
	const TTest *const tests[] = {positions_come_back, scopes_may_be_long,
	        forged_and_foreign_ones_are_refused, nonsense_is_refused};
	return unit_run("api cursor", tests, sizeof(tests) / sizeof(tests[0]));
}
