/* MQTT decisions against the safety that they are for, said without the table: a device gets into
 * no other device's topics, and a back end publishes nothing but commands. */
#include <assert.h>
#include <stdlib.h>

#include "policy/policy.h"
#include "server/base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether s is base itself or begins with base and a slash. */
static bool under(struct slice s, const char *base, struct slice id)
{
	size_t n = strlen(base);
	if (s.n < n + id.n || memcmp(s.p, base, n) != 0)
		return false;
	struct slice rest = slice_from(s, n);
	if (id.n > 0 && memcmp(rest.p, id.p, id.n) != 0)
		return false;
	return rest.n == id.n || rest.p[id.n] == '/';
}

static bool own(struct slice s, struct slice id)
{
	return under(s, "devices/", id) || under(s, "$aws/things/", id) ||
	        slice_has_prefix(s, SLICE_LIT("$iothub/"));
}

/* A module has a part of its device's topics. */
static bool module_own(struct slice s, struct slice device, struct slice module)
{
	char text[600];
	int n = snprintf(text, sizeof(text), "devices/%.*s/modules/", SLICE_ARG(device));
	struct slice root = slice_make(text, (size_t)n);
	return (slice_has_prefix(s, root) && under(slice_from(s, root.n), "", module)) ||
	        slice_has_prefix(s, SLICE_LIT("$iothub/"));
}

/* The filter behind "$share/{group}/"; empty where that form is broken. */
static struct slice unshared(struct slice filter)
{
	static const struct slice share = SLICE_LIT("$share");
	struct slice none = {0};
	if (!slice_eq(filter, share) && !slice_has_prefix(filter, SLICE_LIT("$share/")))
		return filter;
	struct slice rest = slice_from(filter, share.n + 1);
	const uint8_t *slash = rest.n > 0 ? memchr(rest.p, '/', rest.n) : NULL;
	return slash && slash > rest.p ? slice_from(rest, (size_t)(slash - rest.p) + 1) : none;
}

static void check_device(struct slice id, struct slice topic)
{
	struct principal *p = principal_new(PRINCIPAL_DEVICE, id, (struct slice){0});
	struct slice filter = unshared(topic);
	const uint8_t *slash = memchr(id.p, '/', id.n);
	bool plain = !memchr(id.p, '#', id.n) && !memchr(id.p, '+', id.n) &&
	        !memchr(id.p, '\0', id.n);
	assert(p);
	/* The ids that there can be hold no wildcard of MQTT and are not empty. */
	if (slash && plain) {
		struct slice module = slice_from(id, (size_t)(slash - id.p) + 1);
		id.n = (size_t)(slash - id.p);
		if (id.n > 0 && module.n > 0 && !memchr(module.p, '/', module.n)) {
			assert(policy_may_publish(p, topic, false) ==
			        module_own(topic, id, module));
			assert(policy_may_subscribe(p, topic) ==
			        (filter.n > 0 && module_own(filter, id, module)));
		}
	} else if (plain) {
		assert(policy_may_publish(p, topic, false) == own(topic, id));
		assert(policy_may_subscribe(p, topic) == (filter.n > 0 && own(filter, id)));
	}
	principal_unref(p);
}

/* What anonymous clients may use: all but what is under the hub's own roots. */
static bool open_to_all(struct slice topic)
{
	static const char *const roots[] = {"$SYS", "$aws", "$iothub", "$share"};
	const uint8_t *slash = topic.n > 0 ? memchr(topic.p, '/', topic.n) : NULL;
	struct slice root = slash ? slice_make(topic.p, (size_t)(slash - topic.p)) : topic;
	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		if (slice_eq_str(root, roots[i]))
			return false;
	}
	return topic.n > 0;
}

static void check_others(struct slice topic)
{
	struct slice none = {0}, filter = unshared(topic);
	struct principal *key = principal_new(PRINCIPAL_KEY, SLICE_LIT("k"), none);
	struct principal *anybody = principal_new(PRINCIPAL_ANONYMOUS, none, none);
	struct principal *token = principal_new(PRINCIPAL_TOKEN, SLICE_LIT("t"), none);
	bool plain_filter = filter.n > 0 && filter.p[0] != '$';
	assert(key && anybody && token);
	assert(policy_may_publish(anybody, topic, false) == open_to_all(topic));
	assert(policy_may_subscribe(anybody, topic) == open_to_all(filter));
	assert(policy_may_subscribe(key, topic) == plain_filter);
	assert(!policy_may_publish(token, topic, false) && !policy_may_subscribe(token, topic));
	if (policy_may_publish(key, topic, false)) {
		struct slice rest = slice_from(topic, sizeof("devices/") - 1);
		const uint8_t *slash = memchr(rest.p, '/', rest.n);
		assert(slice_has_prefix(topic, SLICE_LIT("devices/")) && slash);
		rest = slice_from(rest, (size_t)(slash - rest.p));
		assert(under(rest, "/messages/devicebound", none));
	}
	principal_unref(key);
	principal_unref(anybody);
	principal_unref(token);
}

/* Input: an id, a line feed, a topic or filter. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
	if (!end || end - data > 255)
		return 0;
	struct slice id = slice_make(data, (size_t)(end - data));
	struct slice topic = slice_from(slice_make(data, size), id.n + 1);
	if (id.n > 0)
		check_device(id, topic);
	check_others(topic);
	return 0;
}
