#include "registry/auth/custom_answer.h"

#include <stdlib.h>

#include "server/base/device_id.h"
#include "server/base/err.h"
#include "server/base/json.h"

static const struct json_limits limits = {.bytes = CUSTOM_ANSWER_MAX, .depth = 16, .values = 4096};

struct custom_answer *custom_answer_ref(struct custom_answer *a)
{
	atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}

struct custom_answer *custom_answer_unref(struct custom_answer *a)
{
	if (!a || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	free(a->documents);
	free(a);
	return NULL;
}

/* ---- members; each NULL, or what is wrong with it ---- */

static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

static bool is_alphanumeric(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
			return false;
	}
	return true;
}

static const char *read_principal(const json_t *value, struct custom_answer *ret)
{
	struct slice id = text_of(value);
	if (!json_is_string(value) || id.n < 1 || id.n > CUSTOM_PRINCIPAL_MAX ||
	        !is_alphanumeric(id))
		return "principalId is not 1 to 128 letters and digits";
	memcpy(ret->principal, id.p, id.n);
	return NULL;
}

static const char *read_device(const json_t *value, struct custom_answer *ret)
{
	struct slice id = text_of(value);
	if (!value || json_is_null(value))
		return NULL;
	if (!json_is_string(value) || !device_or_module_id_valid(id))
		return "deviceId is no device's";
	memcpy(ret->device, id.p, id.n);
	return NULL;
}

/* A document as such, or its text: *ret is the document, a reference. */
static const char *read_policy(const json_t *value, json_t **ret)
{
	char error[JSON_ERROR_LEN];
	json_t *doc = NULL;
	if (json_is_object(value))
		doc = json_incref((json_t *)value);
	else if (json_is_string(value))
		(void)json_read(text_of(value), &limits, &doc, error);
	*ret = doc;
	if (!json_is_object(doc))
		return "a policy document is not a JSON object";
	return json_dumpb(doc, NULL, 0, JSON_COMPACT) > CUSTOM_POLICY_MAX
	        ? "a policy document is longer than 2048 characters"
	        : NULL;
}

static const char *read_policies(const json_t *value, struct custom_answer *ret)
{
	_cleanup_json_ json_t *all = json_array();
	const char *why = NULL;
	if (!value && ret->device[0])
		return NULL;
	if (!json_is_array(value) || json_array_size(value) > CUSTOM_POLICIES_MAX)
		return "policyDocuments is not a list of at most 10";
	for (size_t i = 0; i < json_array_size(value) && !why; i++) {
		json_t *doc = NULL;
		why = read_policy(json_array_get(value, i), &doc);
		if (json_array_append_new(all, doc) < 0 && !why)
			why = "out of memory";
	}
	if (!why && json_array_size(all) > 0) {
		ret->documents = json_dumps(all, JSON_COMPACT);
		if (!ret->documents)
			why = "out of memory";
	}
	return why;
}

static bool read_seconds(const json_t *value, unsigned min_s, unsigned *ret)
{
	json_int_t n = json_integer_value(value);
	if (!value || json_is_null(value))
		return true;
	if (!json_is_integer(value) || n < (json_int_t)min_s || n > CUSTOM_SECONDS_MAX)
		return false;
	*ret = (unsigned)n;
	return true;
}

static const char *read_members(const json_t *doc, unsigned min_s, struct custom_answer *ret)
{
	const json_t *authenticated = json_object_get(doc, "isAuthenticated");
	const char *why;
	if (!json_is_boolean(authenticated))
		return "isAuthenticated is not true or false";
	if (json_is_false(authenticated))
		return NULL;
	why = read_principal(json_object_get(doc, "principalId"), ret);
	if (!why)
		why = read_device(json_object_get(doc, "deviceId"), ret);
	if (!why)
		why = read_policies(json_object_get(doc, "policyDocuments"), ret);
	ret->disconnect_s = CUSTOM_SECONDS_MAX;
	if (!why &&
	        !read_seconds(json_object_get(doc, "disconnectAfterInSeconds"), min_s,
	                &ret->disconnect_s))
		why = "disconnectAfterInSeconds is not an integer from 300 to 86400";
	if (!why &&
	        !read_seconds(
	                json_object_get(doc, "refreshAfterInSeconds"), min_s, &ret->refresh_s))
		why = "refreshAfterInSeconds is not an integer from 300 to 86400";
	ret->allowed = !why;
	return why;
}

int custom_answer_read(
        struct slice body, unsigned min_s, struct custom_answer **ret, const char **ret_why)
{
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	*ret_why = "the body is not a JSON object";
	if (json_read(body, &limits, &doc, error) < 0 || !json_is_object(doc))
		return ERR_INVALID;
	struct custom_answer *a = calloc(1, sizeof(*a));
	if (!a)
		return ERR_NOMEM;
	atomic_init(&a->refs, 1);
	*ret_why = read_members(doc, min_s, a);
	if (*ret_why) {
		custom_answer_unref(a);
		return ERR_INVALID;
	}
	*ret = a;
	return 0;
}
