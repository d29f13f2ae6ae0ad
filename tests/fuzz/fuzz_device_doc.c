/* Documents of devices and access keys: what is taken can be shown, and what is shown is taken
 * again and says the same. */
#include <assert.h>

#include "registry/access_key_doc.h"
#include "registry/device_doc.h"
#include "registry/sym_key.h"
#include "registry/tags.h"
#include "server/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_errors(const json_t *errors, int err)
{
	assert((err == ERR_INVALID) == (json_array_size(errors) > 0));
	assert(json_array_size(errors) <= DOC_ERRORS_MAX);
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const json_t *e = json_array_get(errors, i);
		const char *pointer = json_string_value(json_object_get(e, "pointer"));
		assert(pointer && (pointer[0] == '\0' || pointer[0] == '/'));
		assert(strlen(pointer) < DOC_POINTER_MAX);
	}
}

static void fill_record(const struct device_doc *d, struct device_record *r)
{
	memcpy(r->id, d->id, sizeof(r->id));
	memcpy(r->status_reason, d->status_reason, sizeof(r->status_reason));
	r->enabled = d->enabled;
	r->auth = d->auth;
	r->tags = strdup(d->tags);
	r->primary = d->primary;
	r->secondary = d->secondary;
	if (!r->primary.len)
		sym_key_make(&r->primary);
	if (!r->secondary.len)
		sym_key_make(&r->secondary);
}

static void check_round_trip(const struct device_doc *d)
{
	_cleanup_(device_record_done) struct device_record r = {0};
	_cleanup_(device_doc_done) struct device_doc again = {0};
	fill_record(d, &r);
	_cleanup_json_ json_t *shown = device_doc_render(
	        &r, (struct device_doc_view){.keys = true, .hub_name = "hub"});
	assert(shown);
	assert(device_doc_read(
	               shown, (struct doc_owner){.device = slice_str(d->id)}, NULL, &again) == 0);
	assert(strcmp(again.id, d->id) == 0 && again.enabled == d->enabled);
	assert(strcmp(again.status_reason, d->status_reason) == 0);
	assert(strcmp(again.tags, d->tags) == 0 && strlen(d->tags) <= TAGS_BYTES_MAX);
	assert(again.has_auth && again.auth == d->auth);
	if (d->auth == DEVICE_AUTH_SAS)
		assert(memcmp(&again.primary, &r.primary, sizeof(r.primary)) == 0);
}

static void check_device(const json_t *in)
{
	_cleanup_(device_doc_done) struct device_doc d = {0};
	_cleanup_json_ json_t *errors = json_array();
	int err = device_doc_read(in, (struct doc_owner){0}, errors, &d);
	check_errors(errors, err);
	if (err == 0)
		check_round_trip(&d);

	_cleanup_(device_record_done) struct device_record r = {.enabled = true, .id = "d1"};
	_cleanup_(device_doc_done) struct device_doc patched = {0};
	_cleanup_json_ json_t *merged = device_doc_merge(&r, in), *more = json_array();
	assert(merged);
	err = device_doc_read(
	        merged, (struct doc_owner){.device = SLICE_LIT("d1")}, more, &patched);
	check_errors(more, err);
}

static void check_access_key(const json_t *in)
{
	_cleanup_(access_key_doc_done) struct access_key_doc d = {0};
	_cleanup_json_ json_t *errors = json_array();
	int err = access_key_doc_read(in, (struct slice){0}, errors, &d);
	check_errors(errors, err);
	if (err < 0)
		return;
	assert(d.perms && !(d.perms & ~(uint32_t)PERM_ALL_KEY));
	assert(access_key_name_valid(slice_str(d.name)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_error_t error;
	/* More than REST lets through: NULs in texts. */
	_cleanup_json_ json_t *in = json_loadb((const char *)data, size,
	        JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	if (!in)
		return 0;
	check_device(in);
	check_access_key(in);
	return 0;
}
