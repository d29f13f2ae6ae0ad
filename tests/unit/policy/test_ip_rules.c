/* IP rules: their documents, their order against the naive search, who would be shut out. */
#include "policy/ip_rules.h"

#include <stdlib.h>

#include "policy/policy_ip.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/log.h"
#include "tests/unit/base/unit.h"
#include "tests/unit/policy/documents.h"

static struct ip_addr address(const char *text)
{
	struct ip_addr ip;
	ck_assert_msg(ip_parse(slice_str(text), &ip) == 0, "%s", text);
	return ip;
}

/* ---- documents ---- */

START_TEST(documents_are_checked)
{
	static const struct {
		const char *doc, *pointer; /* NULL: fine */
	} table[] = {
	        {"{\"action\":\"allow\",\"cidr\":\"10.0.0.0/8\"}", NULL},
	        {"{\"action\":\"deny\",\"cidr\":\"::/0\",\"priority\":0,\"comment\":\"x\"}", NULL},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"expiresAt\":null}", NULL},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"etag\":\"1\",\"createdTime\":1}", NULL},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"scope\":\"group\",\"group\":\"g h\"}",
	                NULL},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"scope\":\"device\",\"deviceId\":\"d\"}",
	                NULL},
	        {"[]", ""},
	        {"{\"cidr\":\"::1\"}", "/action"},
	        {"{\"action\":\"deny\"}", "/cidr"},
	        {"{\"action\":\"Deny\",\"cidr\":\"::1\"}", "/action"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1/64\"}", "/cidr"},
	        {"{\"action\":\"deny\",\"cidr\":7}", "/cidr"},
	        {"{\"action\":\"deny\",\"cidr\":\"::ffff:10.0.0.0/104\"}", "/cidr"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"scope\":\"hub\",\"group\":\"g\"}",
	                "/group"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"scope\":\"device\"}", "/deviceId"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"scope\":\"device\",\"deviceId\":\"a/b\"}",
	                "/deviceId"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"scope\":\"x\"}", "/scope"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"priority\":1000001}", "/priority"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"priority\":\"1\"}", "/priority"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"comment\":\"\"}", "/comment"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"expiresAt\":\"x\"}", "/expiresAt"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"id\":\"a b\"}", "/id"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"id\":\"..\"}", "/id"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"id\":\"dry-run\"}", "/id"},
	        {"{\"action\":\"deny\",\"cidr\":\"::1\",\"more\":1}", "/more"},
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char error[JSON_ERROR_LEN];
		_cleanup_json_ json_t *doc = NULL, *errors = json_array(), *body = NULL;
		struct doc_check c = {.errors = errors};
		struct ip_rule rule;
		ck_assert_int_eq(
		        json_read(slice_str(table[i].doc), &json_limits_body, &doc, error), 0);
		int r = ip_rule_read(&c, doc, (struct slice){0}, &rule, &body);
		ck_assert_msg(r == (table[i].pointer ? ERR_INVALID : 0), "%s", table[i].doc);
		if (r == 0)
			continue;
		ck_assert_ptr_null(body);
		ck_assert_str_eq(
		        json_string_value(json_object_get(json_array_get(errors, 0), "pointer")),
		        table[i].pointer);
	}
}
END_TEST

/* What the store is to have reads as the same rule. */
START_TEST(what_is_stored_reads_the_same)
{
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL, *body = NULL;
	struct doc_check c = {0};
	struct ip_rule one, two;
	const struct slice text = SLICE_LIT(
	        "{\"id\":\"r\",\"action\":\"allow\",\"cidr\":\"2001:DB8::/32\",\"scope\":\"group\","
	        "\"group\":\"plant "
	        "1\",\"priority\":7,\"expiresAt\":\"2036-01-01T00:00:00+01:00\"}");
	ck_assert_int_eq(json_read(text, &json_limits_body, &doc, error), 0);
	ck_assert_int_eq(ip_rule_read(&c, doc, (struct slice){0}, &one, &body), 0);
	ck_assert_int_eq(ip_rule_read(&c, body, SLICE_LIT("r"), &two, NULL), 0);
	ck_assert_int_eq(memcmp(&one, &two, sizeof(one)), 0);
	ck_assert_str_eq(two.name, "plant 1");
	ck_assert(ip_rule_read(&c, doc, SLICE_LIT("q"), &two, NULL) == ERR_INVALID);
}
END_TEST

/* ---- the set ---- */

static struct ip_rule rule(const char *id, bool allow, const char *net, unsigned priority)
{
	struct ip_rule r = {.allow = allow, .scope = SCOPE_HUB, .priority = priority};
	snprintf(r.id, sizeof(r.id), "%s", id);
	ck_assert_int_eq(cidr_parse(net, &r.net), 0);
	return r;
}

static struct ip_rules *set_of(const struct ip_rule *rules, size_t n, int64_t now_us)
{
	struct ip_rule *list = calloc(n + 1, sizeof(*list));
	memcpy(list, rules, n * sizeof(*list));
	struct ip_rules *set = ip_rules_new(list, n, now_us);
	ck_assert_ptr_nonnull(set);
	return set;
}

START_TEST(order_and_default)
{
	struct ip_rule rules[] = {rule("b", false, "10.0.0.0/8", 1),
	        rule("a", true, "10.0.0.0/8", 1), rule("z", false, "10.9.0.0/16", 0),
	        rule("late", false, "0.0.0.0/0", 1000000)};
	struct ip_rules *set = set_of(rules, 4, 0);
	struct ip_addr in = address("10.1.1.1"), low = address("10.9.1.1"),
	               out = address("192.0.2.1"), six = address("::1");
	ck_assert(ip_rules_admit(set, &in, false));
	ck_assert_str_eq(ip_rules_find(set, &in)->id, "a");
	ck_assert(!ip_rules_admit(set, &low, false));
	ck_assert(!ip_rules_admit(set, &out, false));
	ck_assert(ip_rules_admit(set, &six, false));
	ck_assert(!ip_rules_admit(set, &six, true));
	ck_assert(ip_rules_admit(NULL, &six, false) && !ip_rules_admit(NULL, &six, true));
	ip_rules_unref(set);
}
END_TEST

START_TEST(expired_ones_do_not_count)
{
	struct ip_rule rules[] = {rule("a", false, "10.0.0.0/8", 1),
	        rule("b", false, "11.0.0.0/8", 1), rule("c", false, "12.0.0.0/8", 1)};
	struct ip_addr a = address("10.0.0.1"), b = address("11.0.0.1");
	rules[0].expires_us = 100;
	rules[1].expires_us = 200;
	rules[2].expires_us = 300;
	struct ip_rules *set = set_of(rules, 3, 100);
	ck_assert(ip_rules_admit(set, &a, false));
	ck_assert(!ip_rules_admit(set, &b, false));
	ck_assert_int_eq(set->next_expiry_us, 200);
	ck_assert_uint_eq(set->n, 2);
	ip_rules_unref(set);
}
END_TEST

START_TEST(groups_and_devices)
{
	struct ip_rule rules[] = {rule("a", true, "10.0.0.0/8", 1),
	        rule("b", false, "11.0.0.0/8", 1), rule("c", false, "0.0.0.0/0", 1)};
	struct ip_addr in = address("10.0.0.1"), out = address("11.0.0.1"), far = address("::1");
	rules[0].scope = SCOPE_GROUP;
	strcpy(rules[0].name, "g");
	rules[1].scope = SCOPE_DEVICE;
	strcpy(rules[1].name, "d");
	struct ip_rules *set = set_of(rules, 2, 0);
	const struct {
		enum ip_scope scope;
		const char *name;
		const struct ip_addr *ip;
		bool admitted;
	} table[] = {
	        {SCOPE_GROUP, "g", &in, true},
	        {SCOPE_GROUP, "g", &out, false}, /* it allows some */
	        {SCOPE_GROUP, "g", &far, false},
	        {SCOPE_GROUP, "G", &out, true},
	        {SCOPE_DEVICE, "d", &out, false},
	        {SCOPE_DEVICE, "d", &in, true},
	        {SCOPE_DEVICE, "g", &out, true},
	        {SCOPE_GROUP, "g", NULL, false},
	        {SCOPE_GROUP, "x", NULL, true},
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		ck_assert_msg(ip_rules_admit_named(set, table[i].scope, slice_str(table[i].name),
		                      table[i].ip) == table[i].admitted,
		        "%zu", i);
	ck_assert(ip_rules_admit(set, &out, false));
	ip_rules_unref(set);
}
END_TEST

START_TEST(denies_all)
{
	struct ip_rule rules[] = {rule("a", false, "0.0.0.0/0", 5), rule("b", false, "::/0", 5),
	        rule("c", true, "2001:db8::1", 1)};
	const struct {
		size_t from, n;
		bool deny, all;
	} table[] = {{0, 0, false, false}, {0, 0, true, true}, {0, 1, false, false},
	        {0, 1, true, true}, {0, 2, false, true}, {0, 3, false, false}, {2, 1, true, false}};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct ip_rules *set = set_of(rules + table[i].from, table[i].n, 0);
		ck_assert_msg(ip_rules_deny_all(set, table[i].deny) == table[i].all, "%zu", i);
		ip_rules_unref(set);
	}
}
END_TEST

/* ---- through the store ---- */

static struct documents store;
static struct policy *policy;
static struct loop *loop;

static const struct seen_address seen[] = {
        {.ip = {.bytes = {192, 0, 2, 1}}, .allowed = 3},
        {.ip = {.bytes = {192, 0, 2, 2}}, .allowed = 1},
        {.ip = {.bytes = {203, 0, 113, 9}}, .denied = 100},
};

static int each_address(void *ctx HF_UNUSED, int64_t since_us,
        int (*row)(void *arg, const struct seen_address *a), void *arg)
{
	ck_assert(llabs(clock_wall_us() - since_us - (int64_t)30 * 86400 * 1000000) < 60000000);
	for (size_t i = 0; i < ARRAY_LEN(seen); i++)
		if (row(arg, &seen[i]) < 0)
			return ERR_NOMEM;
	return 0;
}

static void start(void)
{
	const struct policy_limits limits = {.device_defaults = true};
	const struct policy_store stores = {
	        .documents = documents_store(&store), .each_address = each_address};
	log_configure(LOG_ERROR, false);
	crypto_init();
	loop = loop_new(0);
	policy = policy_new(&loop, 0, &stores, &limits);
	ck_assert(policy && policy_start(policy) == 0);
}

static void stop(void)
{
	policy_stop(policy);
	policy_free(policy);
	loop_free(loop);
	documents_done(&store);
}

/* What creating a rule comes to for somebody at 192.0.2.1. */
static int create(const char *text, bool force)
{
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL, *made = NULL, *errors = json_array();
	struct policy_ip_write w = {.peer = "192.0.2.1:1", .force = force, .errors = errors};
	ck_assert_int_eq(json_read(slice_str(text), &json_limits_body, &doc, error), 0);
	w.doc = doc;
	int r = policy_ip_rule_create(policy, &w, &made);
	ck_assert((r == ERR_DENIED) == (w.objection != NULL));
	return r;
}

static int erase(const char *id, bool force)
{
	struct policy_ip_write w = {.peer = "192.0.2.1:1", .force = force};
	return policy_ip_rule_delete(policy, slice_str(id), &w);
}

START_TEST(nobody_shuts_himself_out)
{
	struct ip_addr me = address("192.0.2.1");
	ck_assert_int_eq(
	        create("{\"action\":\"deny\",\"cidr\":\"192.0.2.0/24\"}", false), ERR_DENIED);
	ck_assert_int_eq(create("{\"action\":\"deny\",\"cidr\":\"0.0.0.0/0\"}", false), ERR_DENIED);
	ck_assert_uint_eq(store.n, 0);
	ck_assert_int_eq(create("{\"id\":\"me\",\"action\":\"allow\",\"cidr\":\"192.0.2.1\","
	                        "\"priority\":1}",
	                         false),
	        0);
	ck_assert_int_eq(
	        create("{\"id\":\"all\",\"action\":\"deny\",\"cidr\":\"0.0.0.0/0\"}", false), 0);
	ck_assert_int_eq(erase("me", false), ERR_DENIED);
	/* A device's own rules shut nobody out of the hub. */
	ck_assert_int_eq(create("{\"action\":\"deny\",\"cidr\":\"0.0.0.0/0\",\"scope\":\"device\","
	                        "\"deviceId\":\"d\"}",
	                         false),
	        0);
	ck_assert(policy_settled(policy, 10000));
	ck_assert_int_eq(policy_admit(policy, &me), END_NORMAL);
	policy_settle(policy, &me);
	ck_assert_int_eq(policy_may_stay(policy, &me), END_NORMAL);
	ck_assert_int_eq(erase("me", true), 0);
	ck_assert(policy_settled(policy, 10000));
	ck_assert_int_eq(policy_admit(policy, &me), END_IP_RULE);
	ck_assert_int_eq(policy_may_stay(policy, &me), END_IP_RULE);
	ck_assert_int_eq(erase("none", true), ERR_NOT_FOUND);
	ck_assert_int_eq(erase("all", false), 0);
}
END_TEST

START_TEST(a_rule_expires_by_itself)
{
	char at[CLOCK_RFC3339_LEN], text[128];
	struct ip_addr ip = address("198.51.100.1");
	snprintf(text, sizeof(text),
	        "{\"action\":\"deny\",\"cidr\":\"198.51.100.1\",\"expiresAt\":\"%s\"}",
	        clock_rfc3339(clock_wall_us() + 1000000, at));
	ck_assert_int_eq(create(text, false), 0);
	ck_assert(policy_settled(policy, 10000));
	ck_assert_int_eq(policy_may_stay(policy, &ip), END_IP_RULE);
	uint64_t until = clock_ms() + 10000;
	while (policy_may_stay(policy, &ip) != END_NORMAL)
		ck_assert(clock_ms() < until);
}
END_TEST

/* What somebody wrote into the database by hand and cannot be read keeps the others in force. */
START_TEST(unreadable_ones_do_not_count)
{
	struct ip_addr ip = address("198.51.100.1");
	documents_put(&store, ENTITY_IP_RULE, "bad", "{\"action\":1}");
	documents_put(&store, ENTITY_IP_RULE, "worse", "not json");
	documents_put(&store, ENTITY_IP_RULE, "good",
	        "{\"action\":\"deny\",\"cidr\":\"198.51.100.0/24\"}");
	policy_changed(policy, ENTITY_IP_RULE);
	ck_assert(policy_settled(policy, 10000));
	ck_assert_int_eq(policy_may_stay(policy, &ip), END_IP_RULE);
	char next[DOCUMENT_NAME_MAX + 1];
	_cleanup_json_ json_t *list = NULL;
	ck_assert_int_eq(policy_ip_rule_list(policy, NULL, 10, &list, next), 0);
	ck_assert_uint_eq(json_array_size(list), 3);
}
END_TEST

START_TEST(trying_out)
{
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL, *report = NULL;
	struct policy_ip_write w = {.peer = "192.0.2.1:1"};
	documents_put(
	        &store, ENTITY_IP_RULE, "now", "{\"action\":\"deny\",\"cidr\":\"203.0.113.9\"}");
	const struct slice text = SLICE_LIT(
	        "{\"add\":[{\"action\":\"deny\",\"cidr\":\"192.0.2.1\"}],"
	        "\"remove\":[\"now\"]}");
	ck_assert_int_eq(json_read(text, &json_limits_body, &doc, error), 0);
	w.doc = doc;
	ck_assert_int_eq(policy_ip_rule_dry_run(policy, &w, &report), 0);
	const struct {
		const char *member;
		json_int_t value;
	} table[] = {{"addresses", 3}, {"refused", 1}, {"admitted", 1}, {"refusedInAll", 1}};
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		ck_assert_int_eq(json_integer_value(json_object_get(report, table[i].member)),
		        table[i].value);
	ck_assert_str_eq(json_string_value(json_object_get(report, "you")), "deny");
	ck_assert_uint_eq(json_array_size(json_object_get(report, "changes")), 2);
	/* Who was never let in is no reason to let its network in. */
	ck_assert_uint_eq(json_array_size(json_object_get(report, "suggest")), 2);
	ck_assert_uint_eq(store.n, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ip_rules");
	TCase *tcase = tcase_create("ip_rules");
	const TTest *const tests[] = {documents_are_checked, what_is_stored_reads_the_same,
	        order_and_default, expired_ones_do_not_count, groups_and_devices, denies_all,
	        nobody_shuts_himself_out, a_rule_expires_by_itself, unreadable_ones_do_not_count,
	        trying_out};
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
