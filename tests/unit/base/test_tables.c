/* The small things: tables of errors, endings and refusals; slices, ids, principals, messages. */
#include "tests/unit/base/unit.h"

#include <ctype.h>

#include "server/base/deny.h"
#include "server/base/device_id.h"
#include "server/base/end.h"
#include "server/base/err.h"
#include "server/base/msg.h"
#include "server/base/principal.h"

START_TEST(errors_know_their_edges)
{
	ck_assert_int_eq(ERR_OK, 0);
	ck_assert_int_lt(ERR_NOMEM, 0);
	ck_assert_str_eq(err_name(ERR_NOT_FOUND), "NOT_FOUND");
	ck_assert_str_eq(err_text(ERR_NOT_FOUND), "not found");
	ck_assert_int_eq(err_http(ERR_NOT_FOUND), 404);
	ck_assert_int_eq(err_mqtt(ERR_TOO_BIG), 0x95);
	ck_assert_int_eq(err_http(ERR_OK), 200);
}
END_TEST

START_TEST(unknown_errors_are_internal)
{
	const int unknown[] = {1, 1000, -1000, -(int)ERR_COUNT, INT32_MIN, INT32_MAX};
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		ck_assert_str_eq(err_name(unknown[i]), "INTERNAL");
}
END_TEST

START_TEST(names_are_lower_case_words)
{
	for (unsigned i = 0; i < END_COUNT; i++)
		for (const char *c = end_name(i); *c; c++)
			ck_assert(islower((unsigned char)*c) || *c == '_');
	for (unsigned i = 0; i < DENY_COUNT; i++)
		for (const char *c = deny_name(i); *c; c++)
			ck_assert(islower((unsigned char)*c) || *c == '_');
	ck_assert_str_eq(end_name(END_KEEP_ALIVE), "keep_alive");
	ck_assert_str_eq(deny_name(DENY_TOKEN_EXPIRED), "token_expired");
}
END_TEST

START_TEST(endings_carry_their_reason)
{
	ck_assert_int_eq(end_mqtt(END_SHUTDOWN), 0x8b);
	ck_assert_int_eq(end_mqtt(END_PEER_CLOSED), 0);
	ck_assert(end_is_error(END_PROTOCOL));
	ck_assert(!end_is_error(END_NORMAL));
	ck_assert_str_eq(end_text(END_TAKEN_OVER), "session taken over");
	ck_assert_str_eq(end_name((enum end_reason)END_COUNT), "internal");
	ck_assert_str_eq(deny_name((enum deny_reason)DENY_COUNT), "unknown");
	ck_assert_str_eq(deny_text(DENY_SECRET), "the secret is wrong");
}
END_TEST

START_TEST(slices_compare_and_cut)
{
	struct slice none = {0};
	ck_assert(slice_eq(none, SLICE_LIT("")));
	ck_assert(!slice_eq(none, SLICE_LIT("a")));
	ck_assert(slice_has_prefix(SLICE_LIT("abc"), SLICE_LIT("ab")));
	ck_assert(slice_has_prefix(none, none));
	ck_assert(!slice_has_prefix(SLICE_LIT("a"), SLICE_LIT("ab")));
	assert_slice(slice_from(SLICE_LIT("abc"), 1), "bc");
	ck_assert_uint_eq(slice_from(SLICE_LIT("abc"), 9).n, 0);
	ck_assert_uint_eq(slice_from(none, 3).n, 0);
}
END_TEST

START_TEST(device_ids_of_the_contract)
{
	const char *good[] = {"a", "Z9", "-:._%*?!(),=@$'", "...", ".a", "urn:dev:1"};
	const char *bad[] = {
	        "", ".", "..", "a/b", "a+", "#", "a b", "a\n", "ü", "a\"b", "a&b", "~"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(device_id_valid(slice_str(good[i])), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!device_id_valid(slice_str(bad[i])), "%s", bad[i]);
	ck_assert(!device_id_valid(SLICE_LIT("a\0b")));
	char id[DEVICE_ID_MAX + 1];
	memset(id, 'x', sizeof(id));
	ck_assert(device_id_valid(slice_make(id, DEVICE_ID_MAX)));
	ck_assert(!device_id_valid(slice_make(id, DEVICE_ID_MAX + 1)));
	static const char *const either[] = {"d", "d/m", "$a/*"};
	static const char *const neither[] = {"", "/", "d/", "/m", "d/m/x", "d/..", "./m", "d/ "};
	for (size_t i = 0; i < sizeof(either) / sizeof(either[0]); i++)
		ck_assert_msg(device_or_module_id_valid(slice_str(either[i])), "%s", either[i]);
	for (size_t i = 0; i < sizeof(neither) / sizeof(neither[0]); i++)
		ck_assert_msg(!device_or_module_id_valid(slice_str(neither[i])), "%s", neither[i]);
	ck_assert(!device_or_module_id_valid((struct slice){0}));
}
END_TEST

START_TEST(a_principal_holds_both_names)
{
	struct principal *p = principal_new(
	        PRINCIPAL_DEVICE, SLICE_LIT("d1/module"), SLICE_LIT("device"));
	ck_assert_ptr_nonnull(p);
	assert_slice(principal_id(p), "d1/module");
	assert_slice(principal_key_name(p), "device");
	ck_assert_str_eq(p->text, "d1/module");
	ck_assert_uint_eq(p->perms, 0);
	ck_assert_ptr_eq(principal_ref(p), p);
	ck_assert_ptr_null(principal_unref(p));
	ck_assert_int_eq(p->refs, 1);
	ck_assert_ptr_null(principal_unref(p));
	ck_assert_ptr_null(principal_unref(NULL));
	p = principal_new(PRINCIPAL_ANONYMOUS, (struct slice){0}, (struct slice){0});
	ck_assert_uint_eq(principal_id(p).n + principal_key_name(p).n, 0);
	principal_unref(p);
	ck_assert_str_eq(principal_kind_name(PRINCIPAL_DEVICE), "device");
	ck_assert_str_eq(principal_kind_name(PRINCIPAL_TOKEN), "token");
}
END_TEST

START_TEST(a_message_is_one_allocation)
{
	struct msg *m = msg_new(SLICE_LIT("a/b"), SLICE_LIT("\x01\x01"), SLICE_LIT("payload"));
	ck_assert_ptr_nonnull(m);
	assert_slice(msg_topic(m), "a/b");
	assert_slice(msg_props(m), "\x01\x01");
	assert_slice(msg_payload(m), "payload");
	ck_assert_uint_eq(msg_size(m), sizeof(*m) + 12);
	ck_assert_int_eq(m->qos, 0);
	msg_ref(m);
	ck_assert_ptr_null(msg_unref(m));
	ck_assert_ptr_null(msg_unref(m));
	ck_assert_ptr_null(msg_unref(NULL));
	m = msg_new(SLICE_LIT("t"), (struct slice){0}, (struct slice){0});
	ck_assert_uint_eq(msg_payload(m).n, 0);
	msg_unref(m);
}
END_TEST

UNIT_MAIN("tables", errors_know_their_edges, unknown_errors_are_internal,
        names_are_lower_case_words, endings_carry_their_reason, slices_compare_and_cut,
        device_ids_of_the_contract, a_principal_holds_both_names, a_message_is_one_allocation)
