/* Making grants. Workers. */
#include "policy/admin.h"
#include "policy/filter.h"
#include "server/base/device_id.h"
#include "server/base/err.h"

struct sent {
	enum entity kind;
	const char *subject;
	const char *filter;
	char letter;
};

static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

/* "device" or "device/module". */
static bool subject_valid(struct slice id)
{
	const uint8_t *slash = id.n > 0 ? memchr(id.p, '/', id.n) : NULL;
	if (!slash)
		return device_id_valid(id);
	size_t n = (size_t)(slash - id.p);
	return device_id_valid(slice_make(id.p, n)) && device_id_valid(slice_from(id, n + 1));
}

static void read_subject(struct doc_check *c, const json_t *doc, struct sent *s)
{
	const json_t *device = json_object_get(doc, "deviceId");
	const json_t *group = json_object_get(doc, "group");
	if (!device == !group)
		doc_error(c, "needs either \"deviceId\" or \"group\"");
	else if (device && !subject_valid(text_of(device)))
		doc_member_error(c, "deviceId", "is no device id, or device/module");
	else if (group && !admin_name_valid(text_of(group)))
		doc_member_error(c, "group", ADMIN_NAME_RULE);
	s->kind = device ? ENTITY_DEVICE : ENTITY_GROUP;
	s->subject = json_string_value(device ? device : group);
}

static void read_access(struct doc_check *c, const json_t *doc, struct sent *s)
{
	const json_t *value = json_object_get(doc, "access");
	const char *access = json_string_value(value);
	if (!value)
		doc_member_error(c, "access", "is required");
	else if (access && strcmp(access, "rw") == 0)
		s->letter = 'b';
	else if (access && (strcmp(access, "r") == 0 || strcmp(access, "w") == 0))
		s->letter = access[0];
	else
		doc_member_error(c, "access", "must be \"r\", \"w\" or \"rw\"");
}

static void read_filter(struct doc_check *c, const json_t *doc, struct sent *s)
{
	const json_t *value = json_object_get(doc, "topicFilter");
	if (!value)
		doc_member_error(c, "topicFilter", "is required");
	else if (!json_is_string(value) || !filter_grantable(text_of(value)))
		doc_member_error(c, "topicFilter",
		        "must be a topic filter of 1 to 1,024 bytes that does not begin with '$'");
	s->filter = json_string_value(value);
}

static int read_sent(struct policy_write *w, struct sent *s)
{
	static const char *const known[] = {
	        "id", "deviceId", "group", "topicFilter", "access", "createdTime"};
	struct doc_check c = {.errors = w->errors};
	const char *member;
	json_t *value;
	*s = (struct sent){0};
	if (!json_is_object(w->doc)) {
		doc_error(&c, "must be an object");
		return ERR_INVALID;
	}
	json_object_foreach((json_t *)w->doc, member, value)
	{
		bool ok = false;
		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			ok |= strcmp(known[i], member) == 0;
		if (!ok)
			doc_member_error(&c, member, "unknown member");
	}
	read_subject(&c, w->doc, s);
	read_filter(&c, w->doc, s);
	read_access(&c, w->doc, s);
	return c.failed ? ERR_INVALID : 0;
}

int policy_grant_create(struct policy *p, struct policy_write *w, json_t **ret)
{
	const struct document_store *store = &p->store.documents;
	struct sent s;
	uint64_t id = 0;
	int err = read_sent(w, &s);
	if (err == 0)
		err = store->link_add(store->ctx, s.kind, s.subject, s.letter, s.filter, &id);
	if (err < 0)
		return err;
	if (s.kind == ENTITY_GROUP)
		admin_settle(p, ENTITY_GROUP);
	return policy_grant_get(p, id, ret);
}
