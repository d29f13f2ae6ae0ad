/* Every cell of policy/access.def, allowed and refused, asked of policy.c and of an oracle that
 * reads the same table in another way. */
#include "policy/policy.h"

#include <regex.h>
#include <stdlib.h>

#include "server/base/cleanup.h"
#include "tests/unit/base/unit.h"

static void principal_done(struct principal **p)
{
	principal_unref(*p);
}
#define _cleanup_principal_ _cleanup_(principal_done)

static struct principal *someone(enum principal_kind kind, const char *id, uint32_t perms)
{
	struct principal *p = principal_new(kind, slice_str(id), (struct slice){0});
	ck_assert_ptr_nonnull(p);
	p->perms = perms;
	return p;
}

/* ---- REST ---- */

#define NOBODY 0
#define DEVICE UINT32_MAX
static const struct {
	const char *name, *method, *path;
	uint32_t needs;
} rest[] = {
#define REST(op, method, path, needs, summary) {#op, #method, path, needs},
#include "policy/access.def"
#undef REST
};
#undef DEVICE

#define PERMS_END (PERM_ALL + 1)

static bool rest_expected(uint32_t needs, const struct principal *p)
{
	if (needs == NOBODY)
		return true;
	if (!p)
		return false;
	if (needs == UINT32_MAX)
		return p->kind == PRINCIPAL_DEVICE;
	if (p->kind == PRINCIPAL_KEY)
		return p->perms & needs & PERM_ALL_KEY;
	return p->kind == PRINCIPAL_TOKEN && (p->perms & needs);
}

START_TEST(every_route_for_everybody)
{
	static const enum principal_kind kinds[] = {
	        PRINCIPAL_ANONYMOUS, PRINCIPAL_DEVICE, PRINCIPAL_KEY, PRINCIPAL_TOKEN};
	unsigned allowed = 0, refused = 0;

	for (unsigned op = 0; op < POLICY_OP_COUNT; op++) {
		ck_assert_msg(policy_may(NULL, op) == (rest[op].needs == NOBODY), "%s, nobody",
		        rest[op].name);
		for (unsigned k = 0; k < ARRAY_LEN(kinds); k++)
			for (uint32_t perms = 0; perms < PERMS_END; perms++) {
				_cleanup_principal_ struct principal *p = someone(
				        kinds[k], "x", perms);
				bool want = rest_expected(rest[op].needs, p);
				ck_assert_msg(policy_may(p, op) == want, "%s, %s, perms %x",
				        rest[op].name, principal_kind_name(kinds[k]), perms);
				allowed += want;
				refused += !want;
			}
	}
	ck_assert_uint_gt(allowed, 100);
	ck_assert_uint_gt(refused, 100);
	ck_assert(!policy_may(NULL, POLICY_OP_COUNT));
}
END_TEST

START_TEST(routes_are_the_table)
{
	const struct policy_route *routes = policy_routes();

	ck_assert_uint_eq(ARRAY_LEN(rest), POLICY_OP_COUNT);
	for (unsigned op = 0; op < POLICY_OP_COUNT; op++) {
		ck_assert_uint_eq(routes[op].op, op);
		ck_assert_str_eq(routes[op].name, rest[op].name);
		ck_assert_str_eq(routes[op].method, rest[op].method);
		ck_assert_str_eq(routes[op].path, rest[op].path);
		if (routes[op].need == POLICY_NEED_PERMISSION)
			ck_assert_uint_eq(routes[op].perm, rest[op].needs);
		else
			ck_assert_uint_eq(routes[op].perm, 0);
	}
}
END_TEST

/* ---- MQTT: the oracle turns the table's patterns into regular expressions ---- */

#define ANY ""
#define DOLLAR "$"
#define PRINCIPAL_MODULE (PRINCIPAL_CUSTOM + 1)
enum { PUBLISH, SUBSCRIBE };
static const struct {
	int action;
	unsigned kind;
	const char *pattern;
	bool allowed;
} mqtt[] = {
#define MQTT(action, principal, pattern, allowed) {action, PRINCIPAL_##principal, pattern, allowed},
#include "policy/access.def"
#undef MQTT
};

static size_t regex_of_id(const char *id, size_t len, char *out, size_t size)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++)
		n += (size_t)snprintf(out + n, size - n, "[%c]", id[i]);
	return n;
}

static void regex_of(const char *pattern, const char *id, char *out, size_t size)
{
	size_t n = 0, device = strcspn(id, "/");

	out[n++] = '^';
	for (const char *p = pattern; *p && n + 4 * strlen(id) + 8 < size; p++) {
		if (strcmp(p, "/#") == 0) {
			n += (size_t)snprintf(out + n, size - n, "(/.*)?");
			break;
		}
		if (*p == '*') {
			n += (size_t)snprintf(out + n, size - n, "[^/]*");
		} else if (strncmp(p, "{id}", 4) == 0) {
			n += regex_of_id(id, device, out + n, size - n);
			p += 3;
		} else if (strncmp(p, "{module}", 8) == 0) {
			n += regex_of_id(
			        id + device + 1, strlen(id + device + 1), out + n, size - n);
			p += 7;
		} else {
			n += (size_t)snprintf(out + n, size - n, "[%c]", *p);
		}
	}
	snprintf(out + n, size - n, "%s",
	        strcmp(pattern, ANY) == 0 || strcmp(pattern, DOLLAR) == 0 ? ".*$" : "$");
}

/* The rows for one id; compiling takes most of the time, so those of the last id are kept. */
static const regex_t *rows_of(const char *id)
{
	static regex_t rows[ARRAY_LEN(mqtt)];
	static char of[64];
	static bool filled;
	char text[1024];
	if (filled && strcmp(of, id) == 0)
		return rows;
	for (unsigned i = 0; i < ARRAY_LEN(mqtt); i++) {
		if (filled)
			regfree(&rows[i]);
		bool of_module = strstr(mqtt[i].pattern, "{module}") && !strchr(id, '/');
		regex_of(of_module ? "-" : mqtt[i].pattern, id, text, sizeof(text));
		ck_assert_int_eq(regcomp(&rows[i], text, REG_EXTENDED | REG_NOSUB), 0);
	}
	snprintf(of, sizeof(of), "%s", id);
	filled = true;
	return rows;
}

static bool mqtt_expected(int action, enum principal_kind kind, const char *id, const char *topic)
{
	static regex_t share;
	static bool compiled;
	regmatch_t filter[2];
	if (!compiled)
		ck_assert_int_eq(regcomp(&share, "^[$]share/[^/]+/(.*)$", REG_EXTENDED), 0);
	compiled = true;
	if (action == SUBSCRIBE && regexec(&share, topic, 2, filter, 0) == 0)
		topic += filter[1].rm_so;
	else if (action == SUBSCRIBE &&
	        (strncmp(topic, "$share/", 7) == 0 || strcmp(topic, "$share") == 0))
		topic = "";
	if (topic[0] == '\0')
		return false;
	bool module = kind == PRINCIPAL_DEVICE && strchr(id, '/');
	const regex_t *rows = rows_of(id);
	for (unsigned i = 0; i < ARRAY_LEN(mqtt); i++) {
		if (mqtt[i].action != action || mqtt[i].kind != (module ? PRINCIPAL_MODULE : kind))
			continue;
		if (regexec(&rows[i], topic, 0, NULL, 0) == 0)
			return mqtt[i].allowed;
	}
	return false;
}

static bool ask(int action, const struct principal *p, const char *topic)
{
	return action == PUBLISH ? policy_may_publish(p, slice_str(topic), false)
	                         : policy_may_subscribe(p, slice_str(topic));
}

static const enum principal_kind kinds[] = {
        PRINCIPAL_ANONYMOUS, PRINCIPAL_DEVICE, PRINCIPAL_KEY, PRINCIPAL_TOKEN};

static void check_topic(const char *id, const char *topic)
{
	for (unsigned k = 0; k < ARRAY_LEN(kinds); k++)
		for (int action = PUBLISH; action <= SUBSCRIBE; action++) {
			_cleanup_principal_ struct principal *p = someone(kinds[k], id, 0);
			ck_assert_msg(
			        ask(action, p, topic) == mqtt_expected(action, kinds[k], id, topic),
			        "%s %s '%s' as %s", action == PUBLISH ? "publish" : "subscribe",
			        principal_kind_name(kinds[k]), topic, id);
		}
}

/* Each pattern of the table, filled in with the own id and with another one, cut short and grown,
 * for every kind of principal and both actions. */
START_TEST(every_pattern_for_everybody)
{
	static const char *const ids[] = {
	        "d", "device1", "*", ".*", "a:b", "a=b", "(x)", "%", "?", "d/m", "d/d"};
	static const char *const tails[] = {"", "x", "a/b/c", "/", "/x"};

	for (unsigned mine = 0; mine < ARRAY_LEN(ids); mine++)
		for (unsigned row = 0; row < ARRAY_LEN(mqtt); row++)
			for (unsigned other = 0; other < ARRAY_LEN(ids); other++)
				for (unsigned t = 0; t < ARRAY_LEN(tails); t++) {
					char topic[256];
					const char *p = mqtt[row].pattern;
					size_t n = 0;
					for (; *p; p++) {
						const char *put = (char[]){*p, '\0'};
						if (strncmp(p, "{id}", 4) == 0) {
							put = ids[other];
							p += 3;
						} else if (strncmp(p, "{module}", 8) == 0) {
							put = ids[other];
							p += 7;
						} else if (*p == '*') {
							put = ids[other];
						} else if (*p == '#') {
							put = tails[t];
						}
						n += (size_t)snprintf(
						        topic + n, sizeof(topic) - n, "%s", put);
					}
					if (n == 0 || mqtt[row].pattern[1] == '\0')
						n += (size_t)snprintf(topic + n, sizeof(topic) - n,
						        "t%s", tails[t]);
					check_topic(ids[mine], topic);
					topic[n - 1] = '\0';
					if (n > 1)
						check_topic(ids[mine], topic);
				}
}
END_TEST

/* ---- MQTT: what the table means, spelled out ---- */

static const struct {
	enum principal_kind kind;
	const char *id, *filter;
	bool allowed;
} filters[] = {
        {PRINCIPAL_DEVICE, "d", "devices/d/#", true},
        {PRINCIPAL_DEVICE, "d", "devices/d", true},
        {PRINCIPAL_DEVICE, "d", "devices/d/+/x", true},
        {PRINCIPAL_DEVICE, "d", "devices/d/", true},
        {PRINCIPAL_DEVICE, "d", "devices/+/x", false},
        {PRINCIPAL_DEVICE, "d", "devices/#", false},
        {PRINCIPAL_DEVICE, "d", "+/d/#", false},
        {PRINCIPAL_DEVICE, "d", "#", false},
        {PRINCIPAL_DEVICE, "d", "+", false},
        {PRINCIPAL_DEVICE, "d", "devices", false},
        {PRINCIPAL_DEVICE, "d", "devices/d2/#", false},
        {PRINCIPAL_DEVICE, "d2", "devices/d/#", false},
        {PRINCIPAL_DEVICE, "d", "/devices/d/#", false},
        {PRINCIPAL_DEVICE, "d", "devices//d/#", false},
        {PRINCIPAL_DEVICE, "d", "Devices/d/#", false},
        {PRINCIPAL_DEVICE, "d/m", "devices/d/modules/m/#", true},
        {PRINCIPAL_DEVICE, "d/m", "devices/d/modules/m", true},
        {PRINCIPAL_DEVICE, "d/m", "devices/d/m", false},
        {PRINCIPAL_DEVICE, "d/m", "devices/d/#", false},
        {PRINCIPAL_DEVICE, "d/m", "devices/d/modules/n/#", false},
        {PRINCIPAL_DEVICE, "d/m", "devices/d/modules/+/#", false},
        {PRINCIPAL_DEVICE, "d/m", "devices/e/modules/m/#", false},
        {PRINCIPAL_DEVICE, "d/m", "$iothub/#", true},
        {PRINCIPAL_DEVICE, "d/m", "$aws/things/d/shadow/#", false},
        {PRINCIPAL_DEVICE, "d", "devices/d/modules/m/#", true},
        {PRINCIPAL_DEVICE, "d/m", "devices/m/#", false},
        {PRINCIPAL_DEVICE, "d", "$iothub/twin/res/#", true},
        {PRINCIPAL_DEVICE, "d", "$iothub/#", true},
        {PRINCIPAL_DEVICE, "d", "$iothub", false},
        {PRINCIPAL_DEVICE, "d", "$share/g/$iothub", false},
        {PRINCIPAL_DEVICE, "d", "$iothub2/#", false},
        {PRINCIPAL_DEVICE, "d", "$aws/things/d/shadow/+", true},
        {PRINCIPAL_DEVICE, "d", "$aws/things/+/shadow", false},
        {PRINCIPAL_DEVICE, "d", "$aws/#", false},
        {PRINCIPAL_DEVICE, "d", "$SYS/#", false},
        {PRINCIPAL_DEVICE, "d", "$share/g/devices/d/x", true},
        {PRINCIPAL_DEVICE, "d", "$share/g/#", false},
        {PRINCIPAL_DEVICE, "d", "$share/g/devices/e/x", false},
        {PRINCIPAL_DEVICE, "d", "$share/devices/d/x", false},
        {PRINCIPAL_DEVICE, "d", "$share//devices/d/x", false},
        {PRINCIPAL_DEVICE, "d", "$share/g", false},
        {PRINCIPAL_DEVICE, "d", "$share", false},
        {PRINCIPAL_DEVICE, "d", "", false},
        {PRINCIPAL_KEY, "service", "#", true},
        {PRINCIPAL_KEY, "service", "+/x", true},
        {PRINCIPAL_KEY, "service", "devices/d/#", true},
        {PRINCIPAL_KEY, "service", "$SYS/#", false},
        {PRINCIPAL_KEY, "service", "$iothub/#", false},
        {PRINCIPAL_KEY, "service", "$share/g/#", true},
        {PRINCIPAL_KEY, "service", "$share/g/$SYS/#", false},
        {PRINCIPAL_KEY, "service", "$share/g/$share/h/x", false},
        {PRINCIPAL_KEY, "service", "$share/g/", false},
        {PRINCIPAL_ANONYMOUS, "", "#", true},
        {PRINCIPAL_ANONYMOUS, "", "$SYS/#", false},
        {PRINCIPAL_ANONYMOUS, "", "$aws/things/+/shadow/#", false},
        {PRINCIPAL_ANONYMOUS, "", "$iothub/#", false},
        {PRINCIPAL_ANONYMOUS, "", "$share/g/$iothub/x", false},
        {PRINCIPAL_ANONYMOUS, "", "$share/g/$share/h/x", false},
        {PRINCIPAL_ANONYMOUS, "", "$x/#", true},
        {PRINCIPAL_ANONYMOUS, "", "$share/g/x", true},
        {PRINCIPAL_TOKEN, "owner", "x", false},
};

START_TEST(filters_are_judged_by_what_they_match)
{
	for (unsigned i = 0; i < ARRAY_LEN(filters); i++) {
		_cleanup_principal_ struct principal *p = someone(
		        filters[i].kind, filters[i].id, PERM_ALL_KEY | PERM_OWNER);
		ck_assert_msg(
		        policy_may_subscribe(p, slice_str(filters[i].filter)) == filters[i].allowed,
		        "'%s' as %s", filters[i].filter, filters[i].id);
	}
	ck_assert(!policy_may_subscribe(NULL, SLICE_LIT("x")));
	ck_assert(!policy_may_publish(NULL, SLICE_LIT("x"), false));
}
END_TEST

static const struct {
	enum principal_kind kind;
	const char *topic;
	bool allowed;
} topics[] = {
        {PRINCIPAL_DEVICE, "devices/d/messages/events/", true},
        {PRINCIPAL_DEVICE, "devices/d", true},
        {PRINCIPAL_DEVICE, "devices/d2", false},
        {PRINCIPAL_DEVICE, "devices", false},
        {PRINCIPAL_DEVICE, "x", false},
        {PRINCIPAL_DEVICE, "$iothub/twin/GET/?$rid=1", true},
        {PRINCIPAL_DEVICE, "$iothub", false},
        {PRINCIPAL_KEY, "devices/d/messages/devicebound/", true},
        {PRINCIPAL_KEY, "devices/d/messages/devicebound", true},
        {PRINCIPAL_KEY, "devices/d/messages/deviceboundx", false},
        {PRINCIPAL_KEY, "devices/d/messages/events/", false},
        {PRINCIPAL_KEY, "devices/messages/devicebound/x", false},
        {PRINCIPAL_KEY, "devices/a/b/messages/devicebound/x", false},
        {PRINCIPAL_KEY, "x", false},
        {PRINCIPAL_ANONYMOUS, "x", true},
        {PRINCIPAL_ANONYMOUS, "$x", true},
        {PRINCIPAL_ANONYMOUS, "$SYS", false},
        {PRINCIPAL_ANONYMOUS, "$SYS/x", false},
        {PRINCIPAL_ANONYMOUS, "$aws/things/d/shadow", false},
        {PRINCIPAL_ANONYMOUS, "$iothub/twin/res", false},
        {PRINCIPAL_ANONYMOUS, "$share/g/x", false},
        {PRINCIPAL_TOKEN, "devices/d/x", false},
};

START_TEST(topics_are_judged)
{
	for (unsigned i = 0; i < ARRAY_LEN(topics); i++) {
		_cleanup_principal_ struct principal *p = someone(topics[i].kind, "d", 0xff);
		ck_assert_msg(policy_may_publish(p, slice_str(topics[i].topic), false) ==
		                topics[i].allowed,
		        "'%s' as %s", topics[i].topic, principal_kind_name(topics[i].kind));
	}
}
END_TEST

START_TEST(permission_names)
{
	static const char *const names[] = {"RegistryRead", "RegistryWrite", "ServiceConnect",
	        "DeviceConnect", "Owner", "SecurityRead", "SecurityWrite", "AuditRead",
	        "TelemetryRead", "GroupWrite"};

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		ck_assert_str_eq(policy_permission_name(1u << i), names[i]);
		ck_assert_uint_eq(policy_permission_parse(slice_str(names[i])), 1u << i);
	}
	ck_assert_ptr_null(policy_permission_name(3));
	ck_assert_uint_eq(policy_permission_parse(SLICE_LIT("registryread")), 0);
	ck_assert_uint_eq(policy_permission_parse(SLICE_LIT("")), 0);
}
END_TEST

UNIT_MAIN("policy", routes_are_the_table, every_route_for_everybody, every_pattern_for_everybody,
        filters_are_judged_by_what_they_match, topics_are_judged, permission_names)
