#include "policy/policy_json.h"

#include "server/base/cleanup.h"
#include "server/base/err.h"

const struct json_limits policy_json_limits = {
        .bytes = DOCUMENT_TEXT_MAX, .depth = 32, .values = 65536};

json_t *policy_json_version(const json_t *policy, unsigned version)
{
	const json_t *versions = json_object_get(policy, "versions");
	for (size_t i = 0; i < json_array_size(versions); i++) {
		json_t *v = json_array_get(versions, i);
		if (json_integer_value(json_object_get(v, "version")) == (json_int_t)version)
			return v;
	}
	return NULL;
}

int policy_json_compile(const struct document *d, struct policy_doc **ret)
{
	_cleanup_json_ json_t *policy = NULL;
	struct doc_check check = {0};
	char error[JSON_ERROR_LEN];
	int err = json_read(slice_str(d->text), &policy_json_limits, &policy, error);
	if (err < 0)
		return err == ERR_NOMEM ? err : ERR_INVALID;
	unsigned version = (unsigned)json_integer_value(json_object_get(policy, "default"));
	const json_t *document = json_object_get(policy_json_version(policy, version), "document");
	err = policy_doc_read(document, &check, slice_str(d->name), ret);
	if (err == 0)
		(*ret)->version = version;
	return err;
}
