/* What is wrong with a document is told, all of it, with a JSON Pointer each. */
#include "registry/access_key_doc.h"
#include "registry/device_doc.h"
#include "registry/sym_key.h"
#include "registry/tags.h"
#include "tests/unit/registry/documents.h"

static const struct slice from_doc = {0};

/* ---- devices ---- */

static const struct {
	const char *doc;
	const char *pointers; /* NULL: all is well */
} devices[] = {
        {"{'deviceId': 'd1'}", NULL},
        {"{'deviceId': '-:._%*?!(),=@$'}", NULL},
        {"{'deviceId': 'd1', 'status': 'disabled', 'statusReason': 'why', 'tags': {}}", NULL},
        {"{'deviceId': 'd1', 'statusReason': null}", NULL},
        {"{'deviceId': 'd1', 'generationId': 'x', 'etag': 1, 'createdTime': null, "
         "'connectionState': [], 'connectionStateUpdatedTime': {}, 'lastActivityTime': true, "
         "'connectionString': 'x'}",
                NULL},
        {"{'deviceId': 'd1', 'auth': {'type': 'sas'}}", NULL},
        {"{'deviceId': 'd1', 'auth': {'type': 'sas', 'primaryKey': 'MDEyMzQ1Njc4OWFiY2RlZg=='}}",
                NULL},
        {"{'deviceId': 'd1', 'auth': {'type': 'secret', 'secret': '0123456789abcdef'}}", NULL},
        {"[]", ""},
        {"1", ""},
        {"null", ""},
        {"{}", "/deviceId"},
        {"{'deviceId': ''}", "/deviceId"},
        {"{'deviceId': 7}", "/deviceId"},
        {"{'deviceId': null}", "/deviceId"},
        {"{'deviceId': 'a/b'}", "/deviceId"},
        {"{'deviceId': 'a+b'}", "/deviceId"},
        {"{'deviceId': 'a#'}", "/deviceId"},
        {"{'deviceId': '.'}", "/deviceId"},
        {"{'deviceId': '..'}", "/deviceId"},
        {"{'deviceId': 'a b'}", "/deviceId"},
        {"{'deviceId': 'ä'}", "/deviceId"},
        {"{'deviceId': 'a\\u0000b'}", "/deviceId"},
        {"{'deviceId': 'd1', 'color': 'red'}", "/color"},
        {"{'deviceId': 'd1', 'a~b/c': 1}", "/a~0b~1c"},
        {"{'deviceId': 'd1', 'DeviceId': 'd1'}", "/DeviceId"},
        {"{'deviceId': 'd1', 'status': 'on'}", "/status"},
        {"{'deviceId': 'd1', 'status': 'enabled\\u0000x'}", "/status"},
        {"{'deviceId': 'd1', 'status': null}", "/status"},
        {"{'deviceId': 'd1', 'statusReason': 7}", "/statusReason"},
        {"{'deviceId': 'd1', 'statusReason': 'a\\nb'}", "/statusReason"},
        {"{'deviceId': 'd1', 'statusReason': 'a\\u0000b'}", "/statusReason"},
        {"{'deviceId': 'd1', 'auth': 'sas'}", "/auth"},
        {"{'deviceId': 'd1', 'auth': null}", "/auth"},
        {"{'deviceId': 'd1', 'auth': {}}", "/auth/type"},
        {"{'deviceId': 'd1', 'auth': {'type': 1}}", "/auth/type"},
        {"{'deviceId': 'd1', 'auth': {'type': 'magic'}}", "/auth/type"},
        {"{'deviceId': 'd1', 'auth': {'type': 'x509Thumbprint'}}", "/auth/primaryThumbprint"},
        {"{'deviceId': 'd1', 'auth': {'type': 'x509Thumbprint', 'primaryThumbprint': 'ab'}}",
                "/auth/primaryThumbprint"},
        {"{'deviceId': 'd1', 'auth': {'type': 'x509Thumbprint', 'primaryKey': 'ab'}}",
                "/auth/primaryKey"},
        {"{'deviceId': 'd1', 'auth': {'type': 'x509Ca', 'primaryThumbprint': 'ab'}}",
                "/auth/primaryThumbprint"},
        {"{'deviceId': 'd1', 'auth': {'type': 'jwt'}}", "/auth/keys"},
        {"{'deviceId': 'd1', 'auth': {'type': 'sas', 'key': 1}}", "/auth/key"},
        {"{'deviceId': 'd1', 'auth': {'type': 'sas', 'secret': 'x'}}", "/auth/secret"},
        {"{'deviceId': 'd1', 'auth': {'type': 'sas', 'primaryKey': '!!'}}", "/auth/primaryKey"},
        {"{'deviceId': 'd1', 'auth': {'type': 'sas', 'primaryKey': null, 'secondaryKey': 1}}",
                "/auth/primaryKey /auth/secondaryKey"},
        {"{'deviceId': 'd1', 'auth': {'type': 'sas', 'primaryKey': 'MDEyMzQ1Njc4OWFiY2Rl'}}",
                "/auth/primaryKey"},
        {"{'deviceId': 'd1', 'auth': {'type': 'secret', 'secret': 'short'}}", "/auth/secret"},
        {"{'deviceId': 'd1', 'auth': {'type': 'secret', 'secret': null}}", "/auth/secret"},
        {"{'deviceId': 'd1', 'auth': {'type': 'secret', 'secret': "
         "'SharedAccessSignature sr=x'}}",
                "/auth/secret"},
        {"{'deviceId': 'd1', 'tags': []}", "/tags"},
        {"{'deviceId': 'd1', 'tags': null}", "/tags"},
        {"{'deviceId': 'd1', 'tags': {'$a': 1, 'b.c': 2, 'd': [{'e\\u0001': 'x\\u0000'}]}}",
                "/tags/$a /tags/b.c /tags/d/0/e\x01 /tags/d/0/e\x01"},
        {"{'deviceId': 1, 'status': 2, 'auth': {'type': 3}, 'tags': 4, 'x': 5, 'y': 6}",
                "/deviceId /status /auth/type /tags /x /y"},
};

static int read_device(const json_t *in, struct slice id, json_t *errors)
{
	struct device_doc d;
	int err = device_doc_read(in, (struct doc_owner){.device = id}, errors, &d);
	device_doc_done(&d);
	return err;
}

START_TEST(device_documents)
{
	for (unsigned i = 0; i < ARRAY_LEN(devices); i++) {
		_cleanup_json_ json_t *in = doc(devices[i].doc), *errors = json_array();
		int err = read_device(in, from_doc, errors);
		ck_assert_msg(err == (devices[i].pointers ? ERR_INVALID : 0), "%s", devices[i].doc);
		ck_assert_msg(strcmp(pointers(errors),
		                      devices[i].pointers ? devices[i].pointers : "") == 0,
		        "%s: %s", devices[i].doc, pointers(errors));
		ck_assert_int_eq(read_device(in, from_doc, NULL), err);
	}
}
END_TEST

START_TEST(the_path_names_the_device)
{
	_cleanup_json_ json_t *in = doc("{'deviceId': 'd1'}"), *none = doc("{}");
	_cleanup_json_ json_t *errors = json_array();
	ck_assert_int_eq(read_device(in, SLICE_LIT("d1"), errors), 0);
	ck_assert_int_eq(read_device(none, SLICE_LIT("d1"), errors), 0);
	ck_assert_int_eq(read_device(in, SLICE_LIT("d2"), errors), ERR_INVALID);
	ck_assert_int_eq(read_device(in, SLICE_LIT("d"), errors), ERR_INVALID);
	ck_assert_int_eq(read_device(none, SLICE_LIT("a/b"), errors), ERR_INVALID);
	ck_assert_int_eq(read_device(none, SLICE_LIT(""), errors), ERR_INVALID);
	ck_assert_str_eq(pointers(errors), "/deviceId /deviceId /deviceId /deviceId");
}
END_TEST

/* ---- bounds ---- */

/* {"deviceId": "d1", member: text of n bytes} */
static int read_with_text(const char *pointer, size_t n)
{
	_cleanup_json_ json_t *in = json_pack("{s:s, s:{s:s}}", "deviceId",
	        strcmp(pointer, "id") == 0 ? "" : "d1", "auth", "type",
	        strcmp(pointer, "secret") == 0 ? "secret" : "sas");
	char *text = calloc(1, n + 1);
	memset(text, 'A', n);
	if (strcmp(pointer, "id") == 0)
		json_object_set_new(in, "deviceId", json_string(text));
	else if (strcmp(pointer, "reason") == 0)
		json_object_set_new(in, "statusReason", json_string(text));
	else
		json_object_set_new(json_object_get(in, "auth"),
		        strcmp(pointer, "secret") == 0 ? "secret" : "primaryKey",
		        json_string(text));
	free(text);
	return read_device(in, from_doc, NULL);
}

START_TEST(lengths)
{
	static const struct {
		const char *what;
		size_t least, most, step;
	} bounds[] = {
	        {"id", 1, 128, 1}, {"reason", 0, 128, 1}, {"secret", 16, 256, 1},
	        {"key", 24, 84, 4}, /* 18 to 63 bytes */
	};
	for (unsigned i = 0; i < ARRAY_LEN(bounds); i++) {
		ck_assert_int_eq(read_with_text(bounds[i].what, bounds[i].least), 0);
		ck_assert_int_eq(read_with_text(bounds[i].what, bounds[i].most), 0);
		ck_assert_int_eq(read_with_text(bounds[i].what, bounds[i].most + bounds[i].step),
		        ERR_INVALID);
		if (bounds[i].least > 0)
			ck_assert_int_eq(
			        read_with_text(bounds[i].what, bounds[i].least - bounds[i].step),
			        ERR_INVALID);
	}
	ck_assert_int_eq(read_with_text("key", 100000), ERR_INVALID);
}
END_TEST

static char *read_tags(const char *text, json_t *errors)
{
	_cleanup_json_ json_t *in = doc(text);
	struct doc_check c = {.errors = errors};
	char *tags = tags_read(&c, in);
	ck_assert((tags != NULL) == !c.failed);
	return tags;
}

START_TEST(tags)
{
	static char text[TAGS_BYTES_MAX + 100];
	_cleanup_json_ json_t *errors = json_array();
	_cleanup_free_ char *ten = read_tags(
	        "{'1':{'2':{'3':{'4':{'5':[{'7':{'8':{'9':{'10':1}}}}]}}}}}", errors);
	ck_assert_ptr_nonnull(ten);
	ck_assert_ptr_null(read_tags(
	        "{'1':{'2':{'3':{'4':{'5':{'6':{'7':{'8':{'9':{'10':[]}}}}}}}}}}", errors));
	ck_assert_str_eq(pointers(errors), "/1/2/3/4/5/6/7/8/9/10");

	/* {"a":"…"} is 8 bytes and the text. */
	int n = snprintf(text, sizeof(text), "{'a':'%*s'}", TAGS_BYTES_MAX - 8, "");
	memset(text + 6, 'x', (size_t)n - 8);
	_cleanup_free_ char *most = read_tags(text, NULL);
	ck_assert_ptr_nonnull(most);
	ck_assert_uint_eq(strlen(most), TAGS_BYTES_MAX);
	n = snprintf(text, sizeof(text), "{'a':'%*s'}", TAGS_BYTES_MAX - 7, "");
	memset(text + 6, 'x', (size_t)n - 8);
	ck_assert_ptr_null(read_tags(text, NULL));
}
END_TEST

START_TEST(many_errors_are_bounded)
{
	_cleanup_json_ json_t *in = doc("{'deviceId': 'd1'}"), *errors = json_array();
	for (unsigned i = 0; i < 1000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "x%u", i);
		json_object_set_new(in, name, json_true());
	}
	ck_assert_int_eq(read_device(in, from_doc, errors), ERR_INVALID);
	ck_assert_uint_eq(json_array_size(errors), DOC_ERRORS_MAX);
}
END_TEST

START_TEST(long_pointers_are_cut)
{
	struct doc_check c = {.errors = json_array()};
	static char name[4096];
	for (size_t i = 0; i + 1 < sizeof(name); i += 2)
		memcpy(name + i, "é", 2);
	size_t mark = doc_enter(&c, slice_make(name, sizeof(name) - 2));
	doc_error(&c, "x");
	doc_enter(&c, SLICE_LIT("more"));
	doc_error(&c, "y");
	doc_leave(&c, mark);
	ck_assert_str_eq(c.pointer, "");
	ck_assert_uint_eq(json_array_size(c.errors), 2);
	for (size_t i = 0; i < 2; i++)
		ck_assert_uint_lt(
		        strlen(text_at(json_array_get(c.errors, i), "/pointer")), DOC_POINTER_MAX);
	json_decref(c.errors);
}
END_TEST

/* ---- access keys ---- */

static const struct {
	const char *doc, *pointers;
} access_keys[] = {
        {"{'name': 'a', 'permissions': ['RegistryRead']}", NULL},
        {"{'name': 'A-z_0.9', 'permissions': ['RegistryRead', 'RegistryWrite', 'ServiceConnect', "
         "'DeviceConnect'], 'scope': {}, 'etag': 'x', 'createdTime': 'x'}",
                NULL},
        {"[]", ""},
        {"{}", "/name /permissions"},
        {"{'name': '', 'permissions': ['RegistryRead']}", "/name"},
        {"{'name': 'a b', 'permissions': ['RegistryRead']}", "/name"},
        {"{'name': 'a/b', 'permissions': ['RegistryRead']}", "/name"},
        {"{'name': '..', 'permissions': ['RegistryRead']}", "/name"},
        {"{'name': 1, 'permissions': ['RegistryRead']}", "/name"},
        {"{'name': 'a', 'permissions': []}", "/permissions"},
        {"{'name': 'a', 'permissions': 'RegistryRead'}", "/permissions"},
        {"{'name': 'a', 'permissions': ['RegistryRead', 'Everything', 'Owner', 7, 'RegistryRead', "
         "'registryRead']}",
                "/permissions/1 /permissions/2 /permissions/3 /permissions/4 /permissions/5"},
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'scope': {'group': 'x'}}", "/scope/group"},
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'scope': {'groups': ['g'], 'devices': "
         "['d1', '*'], 'topicFilters': ['devices/+/x/#', '#'], 'access': 'r', 'cidrs': "
         "['10.0.0.0/8', '::1'], 'notBefore': '2020-01-01T00:00:00Z', 'notAfter': "
         "'2020-01-02T00:00:00Z'}}",
                NULL},
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'scope': {'groups': [''], 'devices': "
         "['a/b', 1], 'topicFilters': ['a/#/b', 'a+', '']}}",
                "/scope/groups/0 /scope/devices/0 /scope/devices/1 /scope/topicFilters/0 "
                "/scope/topicFilters/1 /scope/topicFilters/2"},
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'scope': {'access': 'x', 'cidrs': "
         "['10.0.0.1/8', 'x'], 'notBefore': 1, 'notAfter': 'x'}}",
                "/scope/access /scope/cidrs/0 /scope/cidrs/1 /scope/notBefore /scope/notAfter"},
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'scope': {'notBefore': "
         "'2020-01-02T00:00:00Z', 'notAfter': '2020-01-02T00:00:00Z'}}",
                "/scope/notAfter"},
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'scope': {'topicFilters': ['a\\u0000b'], "
         "'devices': 'd1'}}",
                "/scope/topicFilters/0 /scope/devices"},
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'scope': null}", "/scope"},
        /* An empty list is nobody, or everybody? */
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'scope': {'groups': [], 'devices': [], "
         "'topicFilters': [], 'cidrs': []}}",
                "/scope/groups /scope/devices /scope/topicFilters /scope/cidrs"},
        {"{'name': 'a', 'permissions': ['RegistryRead'], 'primaryKey': 'x', 'secondaryKey': 1, "
         "'x': 1}",
                "/primaryKey /secondaryKey /x"},
};

START_TEST(access_key_documents)
{
	for (unsigned i = 0; i < ARRAY_LEN(access_keys); i++) {
		_cleanup_json_ json_t *in = doc(access_keys[i].doc), *errors = json_array();
		struct access_key_doc d;
		int err = access_key_doc_read(in, from_doc, errors, &d);
		access_key_doc_done(&d);
		ck_assert_msg(err == (access_keys[i].pointers ? ERR_INVALID : 0), "%s",
		        access_keys[i].doc);
		ck_assert_str_eq(
		        pointers(errors), access_keys[i].pointers ? access_keys[i].pointers : "");
	}
}
END_TEST

START_TEST(access_key_names)
{
	char name[KEY_NAME_MAX + 2];
	memset(name, 'a', sizeof(name));
	ck_assert(access_key_name_valid(slice_make(name, KEY_NAME_MAX)));
	ck_assert(!access_key_name_valid(slice_make(name, KEY_NAME_MAX + 1)));
	ck_assert(!access_key_name_valid(SLICE_LIT("")));
	ck_assert(!access_key_name_valid(SLICE_LIT(".")));
	ck_assert(!access_key_name_valid(slice_make("a\0b", 3)));
}
END_TEST

UNIT_MAIN("documents", device_documents, the_path_names_the_device, lengths, tags,
        many_errors_are_bounded, long_pointers_are_cut, access_key_documents, access_key_names)
