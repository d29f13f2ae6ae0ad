/* What is counted against abuse, whom bans hit and whom they do not; what asking at accept costs.
 */
#include "policy/policy_ip.h"

#include <time.h>

#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/log.h"
#include "tests/unit/base/unit.h"
#include "tests/unit/policy/documents.h"

#define NONE ((struct slice){0})

static struct documents documents;
static struct policy *policy;
static struct loop *loop;

static const struct policy_abuse_limits limits = {
        .window = 60,
        .failures = 20,
        .identity_failures = 5,
        .flaps = 10,
        .attempts = 100,
        .handshakes = 50,
        .strangers = 200,
        .address_strangers = 20,
        .max_bans = 100,
        .ban_seconds = {60, 300},
        .n_ban_seconds = 2,
};

static void start(void)
{
	const struct policy_limits policy_limits = {.device_defaults = true};
	const struct policy_store store = {.documents = documents_store(&documents)};
	char *exempt[] = {(char[]){"127.0.0.0/8"}};
	log_configure(LOG_ERROR, false);
	crypto_init();
	loop = loop_new(0);
	policy = policy_new(&loop, 0, &store, &policy_limits);
	ck_assert_ptr_nonnull(policy);
	policy_set_abuse_limits(policy, &limits);
	ck_assert_int_eq(policy_set_exempt(policy, exempt, 1), 0);
	ck_assert_int_eq(policy_start(policy), 0);
}

static void stop(void)
{
	policy_stop(policy);
	policy_free(policy);
	loop_free(loop);
	documents_done(&documents);
}

static void limits_set(struct policy_abuse_limits l)
{
	policy_set_abuse_limits(policy, &l);
}

static void outcome(const char *peer, const char *id, enum deny_reason why)
{
	policy_outcome(policy, peer, slice_str(id), NONE, why);
}

static enum deny_reason attempt(const char *peer, const char *id)
{
	return policy_attempt(policy, peer, slice_str(id), NONE);
}

static enum end_reason admit(const char *text)
{
	struct ip_addr ip;
	ck_assert_int_eq(ip_parse(slice_str(text), &ip), 0);
	enum end_reason why = policy_admit(policy, &ip);
	if (why == END_NORMAL)
		policy_settle(policy, &ip);
	return why;
}

static json_t *bans_wait(size_t n)
{
	char next[DOCUMENT_NAME_MAX + 1];
	json_t *list = NULL;
	for (uint64_t until = clock_ms() + 10000; clock_ms() < until;) {
		json_decref(list);
		ck_assert_int_eq(policy_ban_list(policy, NULL, 1000, &list, next), 0);
		if (json_array_size(list) == n)
			return list;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	ck_abort_msg("%zu bans, not %zu", json_array_size(list), n);
	return NULL;
}

START_TEST(a_stranger_locks_nobody_out)
{
	for (unsigned i = 0; i < 1000; i++)
		outcome("192.0.2.1:1", "victim", DENY_TOKEN_SIGNATURE);
	ck_assert_int_eq(attempt("192.0.2.1:2", "victim"), DENY_BANNED);
	ck_assert_int_eq(attempt("192.0.2.2:1", "victim"), DENY_NONE);
	ck_assert_int_eq(attempt("192.0.2.1:1", "victim2"), DENY_BANNED); /* the address, by now */
	ck_assert_int_eq(admit("192.0.2.1"), END_BANNED);
	ck_assert_int_eq(admit("192.0.2.2"), END_NORMAL);
	/* From very many addresses: still only the pairs. */
	for (unsigned i = 0; i < 10000; i++) {
		char peer[64];
		snprintf(peer, sizeof(peer), "10.%u.%u.1:1", i / 256, i % 256);
		for (unsigned k = 0; k < 7; k++)
			outcome(peer, "victim", DENY_SECRET);
	}
	ck_assert_int_eq(attempt("203.0.113.1:1", "victim"), DENY_NONE);
}
END_TEST

/* Who is refused because it is banned already does not count. */
START_TEST(one_broken_device_does_not_ban_its_address)
{
	for (unsigned i = 0; i < 1000; i++) {
		enum deny_reason why = attempt("192.0.2.1:1", "broken");
		if (why == DENY_BUDGET)
			break;
		outcome("192.0.2.1:1", "broken", why == DENY_NONE ? DENY_SECRET : why);
	}
	ck_assert_int_eq(attempt("192.0.2.1:1", "broken"), DENY_BANNED);
	ck_assert_int_eq(admit("192.0.2.1"), END_NORMAL);
	json_decref(bans_wait(1));
}
END_TEST

START_TEST(many_names_ban_an_address)
{
	char name[32];
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		outcome("192.0.2.1:1", name, DENY_UNKNOWN_DEVICE);
	}
	ck_assert_int_eq(admit("192.0.2.1"), END_NORMAL);
	outcome("192.0.2.1:1", "", DENY_NO_CREDENTIAL);
	ck_assert_int_eq(admit("192.0.2.1"), END_BANNED);
	_cleanup_json_ json_t *list = bans_wait(1);
	const json_t *ban = json_array_get(list, 0);
	ck_assert_str_eq(json_string_value(json_object_get(ban, "cidr")), "192.0.2.1/32");
	ck_assert_str_eq(json_string_value(json_object_get(ban, "source")), "hub");
	ck_assert_int_eq(json_integer_value(json_object_get(ban, "step")), 0);
	/* It stays where the store has the word, and goes where that lets it off. */
	const char *id = json_string_value(json_object_get(ban, "id"));
	ck_assert_int_eq(admit("192.0.2.1"), END_BANNED);
	/* The keeper hands the word over once the rules are in force. */
	nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	ck_assert_int_eq(policy_ban_delete(policy, slice_str(id), NULL), 0);
	ck_assert(policy_settled(policy, 10000));
	ck_assert_int_eq(admit("192.0.2.1"), END_NORMAL);
}
END_TEST

START_TEST(what_is_no_failure)
{
	static const enum deny_reason none[] = {DENY_BANNED, DENY_BUDGET, DENY_UNAVAILABLE,
	        DENY_IP_RULE, DENY_POLICY, DENY_AUTHORIZER_FAILED, DENY_CRL_MISSING};
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		for (unsigned k = 0; k < 100; k++)
			outcome("192.0.2.1:1", "d", none[i]);
	ck_assert_int_eq(attempt("192.0.2.1:1", "d"), DENY_NONE);
	ck_assert_int_eq(admit("192.0.2.1"), END_NORMAL);
}
END_TEST

START_TEST(successes_and_exemptions)
{
	char name[32];
	for (unsigned i = 0; i < 10; i++)
		outcome("192.0.2.1:1", "good", DENY_NONE);
	for (unsigned i = 0; i < 120; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		outcome("192.0.2.1:1", name, DENY_SECRET);
		outcome("127.0.0.9:1", name, DENY_SECRET);
	}
	ck_assert_int_eq(admit("192.0.2.1"), END_NORMAL);
	outcome("192.0.2.1:1", "one more", DENY_SECRET);
	ck_assert_int_eq(admit("192.0.2.1"), END_BANNED);
	ck_assert_int_eq(admit("127.0.0.9"), END_NORMAL);
}
END_TEST

/* A host has a /64; who has a /48 gets all of it banned before its many /64s fill the table. */
START_TEST(ipv6_networks)
{
	struct policy_abuse_limits l = limits;
	l.handshakes = 0;
	limits_set(l);
	char name[32], peer[64];
	for (unsigned i = 0; i < 21; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		snprintf(peer, sizeof(peer), "[2001:db8::%x]:1", i + 1);
		outcome(peer, name, DENY_SECRET);
	}
	ck_assert_int_eq(admit("2001:db8::ffff:1"), END_BANNED);
	ck_assert_int_eq(admit("2001:db8:0:1::1"), END_NORMAL);
	for (unsigned i = 0; i < 1000 && admit("2001:db8:0:ffff::1") == END_NORMAL; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		snprintf(peer, sizeof(peer), "[2001:db8:0:%x::1]:1", i + 1);
		outcome(peer, name, DENY_SECRET);
	}
	ck_assert_int_eq(admit("2001:db8:0:ffff::1"), END_BANNED);
	ck_assert_int_eq(admit("2001:db8:1::1"), END_NORMAL);
	json_decref(bans_wait(2));
}
END_TEST

START_TEST(hostile_names)
{
	char longest[2000];
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	const char *const names[] = {longest, "a/b/c", "\n", "\xff", "+", "../x"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		for (unsigned k = 0; k < 3; k++)
			outcome("192.0.2.1:1", names[i], DENY_BAD_ID);
	for (unsigned k = 0; k < 6; k++)
		outcome("192.0.2.7:1", longest, DENY_BAD_ID);
	/* Banned here in that name, and no document that would hit more. */
	ck_assert_int_eq(attempt("192.0.2.7:1", longest), DENY_BANNED);
	ck_assert_int_eq(attempt("192.0.2.7:1", "d"), DENY_NONE);
	ck_assert_int_eq(admit("192.0.2.7"), END_NORMAL);
	json_decref(bans_wait(0));
	ck_assert_int_eq(attempt("nonsense", "d"), DENY_NONE);
	outcome("", "d", DENY_SECRET);
}
END_TEST

START_TEST(keys_too)
{
	for (unsigned i = 0; i < 6; i++)
		policy_outcome(policy, "192.0.2.1:1", NONE, SLICE_LIT("iothubowner"),
		        DENY_TOKEN_SIGNATURE);
	ck_assert_int_eq(
	        policy_attempt(policy, "192.0.2.1:1", NONE, SLICE_LIT("iothubowner")), DENY_BANNED);
	ck_assert_int_eq(
	        policy_attempt(policy, "192.0.2.1:1", NONE, SLICE_LIT("service")), DENY_NONE);
	ck_assert_int_eq(
	        policy_attempt(policy, "192.0.2.2:1", NONE, SLICE_LIT("iothubowner")), DENY_NONE);
	_cleanup_json_ json_t *list = bans_wait(1);
	ck_assert_str_eq(
	        json_string_value(json_object_get(json_array_get(list, 0), "key")), "iothubowner");
}
END_TEST

START_TEST(budgets)
{
	struct policy_abuse_limits l = limits;
	unsigned n = 0;
	while (n < 1000 && admit("192.0.2.1") == END_NORMAL)
		n++;
	ck_assert_uint_ge(n, 50);
	ck_assert_uint_lt(n, 200); /* a second may have passed */
	ck_assert_int_eq(admit("192.0.2.2"), END_NORMAL);
	for (n = 0; n < 1000 && attempt("192.0.2.3:1", "d") == DENY_NONE; n++)
		;
	ck_assert_uint_ge(n, 100);
	ck_assert_uint_lt(n, 400);
	/* Strangers that do not go: of one address, then in all. */
	struct ip_addr ip;
	l.handshakes = 0;
	limits_set(l);
	ck_assert_int_eq(ip_parse(SLICE_LIT("192.0.2.9"), &ip), 0);
	for (n = 0; policy_admit(policy, &ip) == END_NORMAL; n++)
		ck_assert_uint_lt(n, 1000);
	ck_assert_uint_eq(n, 20);
	for (unsigned i = 0; i < 180; i++) {
		ip.bytes[2] = (uint8_t)(i + 3);
		ck_assert_int_eq(policy_admit(policy, &ip), END_NORMAL);
	}
	ck_assert_int_eq(admit("198.51.100.1"), END_BUDGET);
	ck_assert_int_eq(admit("127.0.0.1"), END_NORMAL);
	policy_settle(policy, &ip);
	ck_assert_int_eq(admit("198.51.100.1"), END_NORMAL);
}
END_TEST

START_TEST(comers_and_goers)
{
	struct principal *p = principal_new(PRINCIPAL_DEVICE, SLICE_LIT("dev"), NONE);
	p->has_source = true;
	ck_assert_int_eq(ip_parse(SLICE_LIT("192.0.2.1"), &p->source), 0);
	for (unsigned i = 0; i < 10; i++)
		policy_note_connected(policy, p);
	ck_assert_int_eq(attempt("192.0.2.7:1", "dev"), DENY_NONE);
	policy_note_connected(policy, p);
	ck_assert_int_eq(attempt("192.0.2.7:1", "dev"), DENY_BANNED);
	ck_assert_int_eq(attempt("192.0.2.7:1", "dev2"), DENY_NONE);
	principal_unref(p);
	json_decref(bans_wait(1));
}
END_TEST

/* A ban that is over goes from the store by itself. */
START_TEST(bans_end)
{
	struct policy_abuse_limits l = limits;
	l.ban_seconds[0] = l.ban_seconds[1] = 1;
	limits_set(l);
	for (unsigned i = 0; i < 6; i++)
		outcome("192.0.2.1:1", "d", DENY_SECRET);
	ck_assert_int_eq(attempt("192.0.2.1:1", "d"), DENY_BANNED);
	json_decref(bans_wait(1));
	json_decref(bans_wait(0));
	for (uint64_t until = clock_ms() + 10000;
	        documents_count(&documents) > 0 && clock_ms() < until;)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	ck_assert_uint_eq(documents_count(&documents), 0);
	ck_assert_int_eq(attempt("192.0.2.1:1", "d"), DENY_NONE);
}
END_TEST

/* No more bans in the store than the setting says. */
START_TEST(bans_are_bounded)
{
	for (unsigned i = 0; i < 250; i++) {
		char peer[64];
		snprintf(peer, sizeof(peer), "10.0.%u.%u:1", i / 200, i % 200);
		for (unsigned k = 0; k < 6; k++)
			outcome(peer, "d", DENY_SECRET);
		ck_assert_int_eq(attempt(peer, "d"), DENY_BANNED);
	}
	json_decref(bans_wait(100));
	ck_assert_int_eq(attempt("10.0.1.49:1", "d"), DENY_BANNED); /* here */
}
END_TEST

static int64_t cost(void)
{
	enum { ROUNDS = 500000 };
	struct timespec a, b;
	struct ip_addr ip = {.bytes = {198, 51, 0, 0}};
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	for (unsigned i = 0; i < ROUNDS; i++) {
		ip.bytes[2] = (uint8_t)(i >> 8);
		ip.bytes[3] = (uint8_t)i;
		if (policy_admit(policy, &ip) == END_NORMAL)
			policy_settle(policy, &ip);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	return ((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec) / ROUNDS;
}

START_TEST(asking_at_accept_costs_little)
{
	struct policy_abuse_limits l = limits;
	l.handshakes = 0;
	limits_set(l);
	int64_t none = cost();
	for (unsigned i = 0; i < 10000; i++) {
		char name[16], text[128];
		snprintf(name, sizeof(name), "r%u", i);
		snprintf(text, sizeof(text),
		        "{\"action\":\"%s\",\"cidr\":\"%u.%u.%u.0/24\",\"scope\":\"hub\","
		        "\"priority\":%u}",
		        i % 2 ? "allow" : "deny", 1 + i % 190, i / 190, i % 251, i);
		documents_put(&documents, ENTITY_IP_RULE, name, text);
	}
	policy_changed(policy, ENTITY_IP_RULE);
	ck_assert(policy_settled(policy, 30000));
	int64_t many = cost();
	printf("asking at accept: %lld ns without rules, %lld ns with 10,000\n", (long long)none,
	        (long long)many);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
	ck_assert_int_lt(many, 3000);
#endif
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abuse");
	TCase *tcase = tcase_create("abuse");
	const TTest *const tests[] = {a_stranger_locks_nobody_out,
	        one_broken_device_does_not_ban_its_address, many_names_ban_an_address,
	        what_is_no_failure, successes_and_exemptions, ipv6_networks, hostile_names,
	        keys_too, budgets, comers_and_goers, bans_end, bans_are_bounded,
	        asking_at_accept_costs_little};
	tcase_set_timeout(tcase, UNIT_TIMEOUT_S);
	tcase_add_checked_fixture(tcase, start, stop);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
