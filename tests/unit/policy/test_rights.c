/* What hangs on identities: grants on every topic against an oracle, groups by hand and by
 * condition, scopes of access keys, modules; what cannot be read; and that a decision allocates
 * nothing. */
#include <regex.h>
#include <time.h>

#include "server/base/err.h"
#include "tests/unit/policy/rules_rig.h"

/* ---- counting allocations ---- */

static _Thread_local unsigned allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n)
{
	allocations++;
	return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
	allocations++;
	return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
	allocations++;
	return __libc_realloc(p, n);
}
#endif

/* ---- grants x topics ---- */

/* A filter as a regular expression over topics. */
static bool oracle(const char *filter, const char *topic)
{
	char text[256] = "^";
	regex_t re;
	size_t n = 1;
	if (topic[0] == '$')
		return false;
	for (const char *c = filter; *c; c++)
		if (strcmp(c, "/#") == 0) {
			n += (size_t)snprintf(text + n, sizeof(text) - n, "(/.*)?");
			break;
		} else {
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s",
			        *c == '+'           ? "[^/]*"
			                : *c == '#' ? ".*"
			                            : (char[]){'[', *c, ']', '\0'});
		}
	snprintf(text + n, sizeof(text) - n, "$");
	ck_assert_int_eq(regcomp(&re, text, REG_EXTENDED | REG_NOSUB), 0);
	bool fits = regexec(&re, topic, 0, NULL, 0) == 0;
	regfree(&re);
	return fits;
}

static const char *const grant_filters[] = {
        "a", "a/b", "a/+", "a/#", "+", "+/b", "#", "+/+/c", "a//b", "a/+/c/#", "/#"};
static const char *const topics[] = {"a", "a/b", "a/b/c", "a/b/c/d", "b", "b/b", "a/", "a//b", "/a",
        "/", "$SYS/x", "$aws/things/o/x", "$iothub/x", "devices/o/x", "A", "ab"};

START_TEST(grants_on_topics)
{
	static const char letters[] = "rwb";
	struct rig r;
	rig_open(&r, true);
	rig_start(&r);
	for (size_t f = 0; f < ARRAY_LEN(grant_filters); f++)
		for (const char *l = letters; *l; l++) {
			char links[64];
			snprintf(links, sizeof(links), "%c %s\n", *l, grant_filters[f]);
			_cleanup_principal_ struct principal *p = rig_device(&r, "d1", links, NULL);
			for (size_t t = 0; t < ARRAY_LEN(topics); t++) {
				struct slice topic = slice_str(topics[t]);
				bool fits = oracle(grant_filters[f], topics[t]);
				/* "$iothub/…" is the device's own by default. */
				bool own = strcmp(topics[t], "$iothub/x") == 0;
				ck_assert_msg(policy_may_publish(p, topic, t & 1) ==
				                (own || (fits && *l != 'r')),
				        "publish %s by %s", topics[t], links);
				ck_assert_msg(policy_may_subscribe(p, topic) ==
				                (own || (fits && *l != 'w')),
				        "subscribe %s by %s", topics[t], links);
				ck_assert_msg(policy_may_receive(p, topic, NULL) ==
				                (own || (fits && *l != 'w')),
				        "receive %s by %s", topics[t], links);
			}
			ck_assert(!policy_filters_receive(p));
		}
	rig_close(&r);
}
END_TEST

START_TEST(reserved_topics_are_never_granted)
{
	struct rig r;
	rig_open(&r, true);
	rig_start(&r);
	_cleanup_principal_ struct principal *p = rig_device(
	        &r, "d1", "b $SYS/#\nb $aws/#\nb $iothub\nb #\n", NULL);
	ck_assert(!policy_may_subscribe(p, SLICE_LIT("$SYS/#")));
	ck_assert(!policy_may_subscribe(p, SLICE_LIT("$share/g/$SYS/#")));
	ck_assert(!policy_may_publish(p, SLICE_LIT("$aws/things/d2/shadow/update"), false));
	ck_assert(!policy_may_publish(p, SLICE_LIT("$iothub"), false));
	ck_assert(policy_may_subscribe(p, SLICE_LIT("$share/g/#")));
	rig_close(&r);
}
END_TEST

/* ---- groups ---- */

static bool in_group(const struct principal *p, const char *group)
{
	struct slice name;
	for (unsigned pos = 0; policy_access_groups(p->access[0], &pos, &name);)
		if (slice_eq_str(name, group))
			return true;
	return false;
}

START_TEST(groups_carry_grants_and_policies)
{
	struct rig r;
	rig_open(&r, true);
	rig_document(&r, ENTITY_GROUP, "hand", "{}");
	struct document odd = {.kind = ENTITY_GROUP,
	        .name = "sas",
	        .text = strdup("{\"condition\": \"authenticationType = 'sas' AND status = "
	                       "'enabled' AND deviceId != 'd9'\"}")};
	ck_assert_int_eq(r.documents.insert(r.documents.ctx, &odd), 0);
	document_done(&odd);
	rig_policy(
	        &r, "shut", "{'Effect':'Deny','Action':'iot:Publish','Resource':'topic/h/shut'}");
	rig_group_link(&r, "hand", 'b', "h/#");
	rig_group_link(&r, "hand", 'p', "shut");
	rig_start(&r);
	_cleanup_principal_ struct principal *in = rig_device(&r, "d1", "g hand\ng gone\n", NULL);
	ck_assert(policy_may_publish(in, SLICE_LIT("h/x"), false));
	ck_assert(!policy_may_publish(in, SLICE_LIT("h/shut"), false));
	ck_assert(in_group(in, "hand") && in_group(in, "sas") && !in_group(in, "gone"));
	_cleanup_principal_ struct principal *out = rig_device(&r, "d9", "", NULL);
	ck_assert(!policy_may_publish(out, SLICE_LIT("h/x"), false));
	ck_assert(!in_group(out, "sas") && !in_group(out, "hand"));
	rig_close(&r);
}
END_TEST

/* ---- scopes of access keys ---- */

static struct principal *back_end(struct rig *r, const char *scope)
{
	struct principal *p = principal_new(PRINCIPAL_KEY, SLICE_LIT("k"), (struct slice){0});
	ck_assert_ptr_nonnull(p);
	p->access[0] = rig_access(r, ENTITY_KEY, "k", NULL, NULL, scope);
	p->has_source = ip_parse(SLICE_LIT("192.0.2.7"), &p->source) == 0;
	return p;
}

static const struct {
	const char *scope;
	bool connect, command, all, own, receive;
} scopes[] = {
        {"", true, true, true, true, true},
        {"{}", true, true, true, true, true},
        {"{'access':'r'}", true, false, true, true, true},
        {"{'access':'w'}", true, true, false, false, false},
        {"{'access':'rw'}", true, true, true, true, true},
        {"{'topicFilters':['devices/d1/#']}", true, true, false, true, true},
        {"{'topicFilters':['x/#']}", true, false, false, false, false},
        {"{'devices':['d1']}", true, true, true, true, true},
        {"{'devices':['d2']}", true, false, true, true, false},
        {"{'groups':['g']}", true, false, true, true, true},
        {"{'groups':['h']}", true, false, true, true, false},
        {"{'cidrs':['192.0.2.0/24']}", true, true, true, true, true},
        {"{'cidrs':['10.0.0.0/8']}", false, false, false, false, false},
        {"{'notAfter':'2020-01-01T00:00:00Z'}", false, false, false, false, false},
        {"{'notBefore':'2020-01-01T00:00:00Z'}", true, true, true, true, true},
        {"{'notBefore':'2999-01-01T00:00:00Z'}", false, false, false, false, false},
        /* what cannot be read narrows to nothing */
        {"{'device':['d1']}", false, false, false, false, false},
        {"{'access':'x'}", false, false, false, false, false},
        {"[", false, false, false, false, false},
};

START_TEST(scopes_narrow)
{
	struct rig r;
	rig_open(&r, true);
	rig_document(&r, ENTITY_GROUP, "g", "{}");
	rig_start(&r);
	struct access *d1 = rig_access(&r, ENTITY_DEVICE, "d1", "g g\n", NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(scopes); i++) {
		_cleanup_principal_ struct principal *p = back_end(&r, scopes[i].scope);
		const char *s = scopes[i].scope;
		ck_assert_msg(
		        (policy_may_connect(r.policy, p, NULL) == DENY_NONE) == scopes[i].connect,
		        "connect %s", s);
		ck_assert_msg(policy_may_publish(p, SLICE_LIT("devices/d1/messages/devicebound/"),
		                      false) == scopes[i].command,
		        "command %s", s);
		ck_assert_msg(policy_may_subscribe(p, SLICE_LIT("#")) == scopes[i].all, "# %s", s);
		ck_assert_msg(policy_may_subscribe(p, SLICE_LIT("devices/d1/+")) == scopes[i].own,
		        "own %s", s);
		ck_assert_msg(
		        policy_may_receive(p, SLICE_LIT("devices/d1/x"), d1) == scopes[i].receive,
		        "receive %s", s);
		/* A scope gives nothing. */
		ck_assert(!policy_may_publish(p, SLICE_LIT("devices/d1/x"), false));
		ck_assert(!policy_may_subscribe(p, SLICE_LIT("$SYS/#")));
	}
	access_unref(d1);
	rig_close(&r);
}
END_TEST

/* ---- what cannot be read ---- */

START_TEST(what_cannot_be_read_allows_nothing)
{
	struct rig r;
	rig_open(&r, true);
	rig_document(&r, ENTITY_POLICY, "broken", "{'versions': 1}");
	rig_start(&r);
	_cleanup_principal_ struct principal *broken = rig_device(&r, "d1", "p broken\n", NULL);
	_cleanup_principal_ struct principal *odd = rig_device(&r, "d1", "?\n", NULL);
	_cleanup_principal_ struct principal *missing = rig_device(&r, "d1", "p missing\n", NULL);
	ck_assert(!policy_may_publish(broken, SLICE_LIT("devices/d1/x"), false));
	ck_assert(policy_filters_receive(broken));
	ck_assert(policy_may_connect(r.policy, broken, NULL) == DENY_POLICY);
	ck_assert(!policy_may_publish(odd, SLICE_LIT("devices/d1/x"), false));
	/* One that the hub has not heard of yet is not there. */
	ck_assert(policy_may_publish(missing, SLICE_LIT("devices/d1/x"), false));
	rig_close(&r);
}
END_TEST

/* ---- cost ---- */

/* The thread's own time: the machine may have other work. */
static double cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Twenty statements with variables, of which the last one fits. */
static void twenty(struct rig *r)
{
	char text[16384];
	size_t n = 0;
	for (unsigned i = 0; i < 20; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
		        "%s{'Effect':'%s','Action':['iot:Publish','iot:Receive'],'Resource':["
		        "'arn:aws:iot:eu-west-1:1:topic/site/${iot:Connection.Thing.Attributes["
		        "site]}/%u/${iot:ClientId}/*']}",
		        i ? "," : "", i == 4 ? "Deny" : "Allow", i);
	rig_policy(r, "twenty", text);
}

START_TEST(a_decision_allocates_nothing)
{
	struct rig r;
	rig_open(&r, true);
	twenty(&r);
	rig_start(&r);
	_cleanup_principal_ struct principal *p = rig_device(
	        &r, "d1", "p twenty\nb g/+\n", "{'site':'berlin'}");
	struct slice topic = SLICE_LIT("site/berlin/19/d1/x");
	unsigned before = allocations;
	bool ok = policy_may_publish(p, topic, false) && policy_may_receive(p, topic, NULL) &&
	        !policy_may_publish(p, SLICE_LIT("site/berlin/4/d1/x"), false) &&
	        !policy_may_subscribe(p, SLICE_LIT("site/+/#")) &&
	        policy_may_connect(r.policy, p, NULL) == DENY_NONE;
	ck_assert_uint_eq(allocations, before);
	ck_assert(ok);
	const unsigned rounds = 200000;
	double begun = cpu_us();
	for (unsigned i = 0; i < rounds; i++)
		ok &= policy_may_publish(p, topic, false);
	double took = cpu_us() - begun;
	printf("a decision over 20 statements with variables: %.2f us\n", took / rounds);
	begun = cpu_us();
	const struct access_source source = {
	        .kind = ENTITY_DEVICE, .id = SLICE_LIT("d1"), .auth_type = "sas", .enabled = true};
	for (unsigned i = 0; i < rounds; i++)
		access_unref(policy_access_make(r.policy, &source));
	took = cpu_us() - begun;
	printf("making the part of a device on which nothing hangs: %.2f us\n", took / rounds);
	ck_assert(ok);
	rig_close(&r);
}
END_TEST

START_TEST(a_thousand_dynamic_groups)
{
	struct rig r;
	char name[16];
	rig_open(&r, true);
	for (unsigned i = 0; i < 1000; i++) {
		char text[128];
		snprintf(name, sizeof(name), "g%u", i);
		snprintf(text, sizeof(text), "{\"condition\": \"tags.site = 's%u'\"}", i);
		struct document d = {.kind = ENTITY_GROUP, .text = strdup(text)};
		memcpy(d.name, name, strlen(name) + 1);
		ck_assert_int_eq(r.documents.insert(r.documents.ctx, &d), 0);
		document_done(&d);
	}
	rig_start(&r);
	const unsigned rounds = 200;
	double begun = cpu_us();
	for (unsigned i = 0; i < rounds; i++)
		access_unref(rig_access(&r, ENTITY_DEVICE, "d1", "", "{'site':'s7'}", NULL));
	printf("each of 1,000 dynamic groups: %.3f us\n", (cpu_us() - begun) / rounds / 1000);
	_cleanup_principal_ struct principal *p = rig_device(&r, "d1", "", "{'site':'s7'}");
	ck_assert(in_group(p, "g7") && !in_group(p, "g8"));
	rig_close(&r);
}
END_TEST

UNIT_MAIN("rights", grants_on_topics, reserved_topics_are_never_granted,
        groups_carry_grants_and_policies, scopes_narrow, what_cannot_be_read_allows_nothing,
        a_decision_allocates_nothing, a_thousand_dynamic_groups)
