/* Documents of authorities and revocation lists, and what the loops get of them. */
#include "registry/trust.h"

#include <time.h>

#include "server/base/err.h"
#include "server/base/log.h"
#include "tests/unit/base/unit.h"

static char folder[] = "/tmp/hf-trust-XXXXXX";

static struct slice file_read(const char *name)
{
	static char text[1 << 16];
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	ck_assert_msg(f, "%s", path);
	return slice_make(text, fread(text, 1, sizeof(text), f));
}

/* ---- a store of a few documents ---- */

#define ROWS_MAX 8
static struct document rows[ROWS_MAX];
static unsigned n_rows;
static int each_err;

static int each(HF_UNUSED void *ctx, enum entity kind,
        int (*row)(void *arg, const struct document *d), void *arg)
{
	ck_assert_int_eq(kind, ENTITY_AUTHORITY);
	int err = 0;
	for (unsigned i = 0; i < n_rows && err == 0; i++)
		err = row(arg, &rows[i]);
	return err ? err : each_err;
}
static const struct document_store store = {.each = each};

static struct document *add(const char *name, char *text)
{
	struct document *d = &rows[n_rows++];
	*d = (struct document){.kind = ENTITY_AUTHORITY, .text = text};
	snprintf(d->name, sizeof(d->name), "%s", name);
	snprintf(d->etag, sizeof(d->etag), "etag-%u", n_rows);
	return d;
}

static void forget_all(void)
{
	for (unsigned i = 0; i < n_rows; i++)
		document_done(&rows[i]);
	n_rows = 0;
	each_err = 0;
}

static json_t *body(const char *name, const char *cert)
{
	struct slice pem = file_read(cert);
	return json_pack(
	        "{s:s, s:s#}", "name", name, "certificate", (const char *)pem.p, (int)pem.n);
}

static void add_authority(const char *name, const char *cert, bool verified)
{
	_cleanup_json_ json_t *doc = body(name, cert), *errors = json_array();
	struct authority_doc d;
	ck_assert_int_eq(authority_doc_read(doc, time(NULL), errors, &d), 0);
	d.verified = verified;
	if (verified)
		d.status = AUTHORITY_ACTIVE;
	snprintf(d.crl_url, sizeof(d.crl_url), "http://crl.test/%s", name);
	add(name, authority_doc_text(&d));
	authority_doc_done(&d);
}

static struct document *add_list(const char *authority, const char *file)
{
	_cleanup_free_ uint8_t *der = NULL;
	char name[CRL_DOC_NAME_MAX];
	size_t n;
	ck_assert_int_eq(x509_crl_to_der(file_read(file), &der, &n), 0);
	crl_doc_name(authority, name);
	return add(name, crl_doc_text(slice_make(der, n), "upload"));
}

static struct trust *load(const struct trust *before)
{
	struct trust *t = NULL;
	ck_assert_int_eq(trust_load(&store, before, &t), 0);
	return t;
}

static const struct x509_authority *find(const struct trust *t, const char *cert)
{
	struct x509_st *x = NULL;
	uint8_t id[X509_ID_LEN];
	ck_assert_int_eq(x509_read_pem(file_read(cert), &x), 0);
	ck_assert_int_eq(x509_id(x, id), 0);
	x509_free(x);
	return x509_trust_find(t->x509, id);
}

/* ---- tests ---- */

START_TEST(what_cannot_be_read_is_nobodys_trust)
{
	add_authority("good", "root.pem", true);
	add("broken", strdup("{\"certificate\": \"no\"}"));
	add("text", strdup("not even JSON"));
	add_authority("later", "plain.pem", false);
	add("~crl/good", strdup("{\"der\": \"AAAA\"}"));
	struct trust *t = load(NULL);
	ck_assert_uint_eq(x509_trust_count(t->x509), 2);
	ck_assert_uint_eq(t->n_sources, 2);
	ck_assert_uint_eq(t->n_lists, 0);
	ck_assert_str_eq(find(t, "root.pem")->name, "good");
	ck_assert_int_eq(find(t, "root.pem")->status, AUTHORITY_ACTIVE);
	ck_assert(find(t, "root.pem")->crl_expected && !find(t, "root.pem")->crl);
	ck_assert_int_eq(find(t, "plain.pem")->status, AUTHORITY_UNVERIFIED);
	trust_unref(t);
	forget_all();
}
END_TEST

START_TEST(a_list_counts_for_its_authority_and_is_read_once)
{
	add_authority("root", "root.pem", true);
	add_authority("other", "other.pem", true); /* of the same subject */
	add_list("root", "root.crl");
	add_list("other", "root.crl");
	add_list("nobody", "root.crl");
	struct trust *before = load(NULL);
	ck_assert_uint_eq(before->n_lists, 1);
	ck_assert(find(before, "root.pem")->crl && !find(before, "other.pem")->crl);

	/* Unchanged: the same one. Changed: another one. */
	struct trust *after = load(before);
	ck_assert_ptr_eq(find(after, "root.pem")->crl, find(before, "root.pem")->crl);
	snprintf(rows[2].etag, sizeof(rows[2].etag), "new");
	struct trust *third = load(after);
	ck_assert_ptr_ne(find(third, "root.pem")->crl, find(before, "root.pem")->crl);

	/* The name goes to another certificate: what was read for the one before does not count. */
	snprintf(rows[0].name, sizeof(rows[0].name), "was-root");
	snprintf(rows[1].name, sizeof(rows[1].name), "root");
	struct trust *fourth = load(third);
	ck_assert(!find(fourth, "other.pem")->crl && !find(fourth, "root.pem")->crl);
	trust_unref(before);
	trust_unref(after);
	trust_unref(third);
	trust_unref(fourth);
	forget_all();
}
END_TEST

START_TEST(a_store_that_fails_changes_nothing)
{
	struct trust *t = NULL;
	add_authority("root", "root.pem", true);
	each_err = ERR_UNAVAILABLE;
	ck_assert_int_eq(trust_load(&store, NULL, &t), ERR_UNAVAILABLE);
	ck_assert_ptr_null(t);
	forget_all();
}
END_TEST

static const struct {
	const char *patch, *pointer; /* NULL: it is taken */
	bool verified;
} patches[] = {
        {"{}", NULL, true},
        {"{'status': 'inactive'}", NULL, true},
        {"{'status': 'revoked'}", NULL, true},
        {"{'status': 'unverified'}", "/status", true},
        {"{'status': 'active'}", "/status", false},
        {"{'status': 'revoked'}", "/status", false},
        {"{'status': null}", "/status", true},
        {"{'name': 'another'}", "/name", true},
        {"{'certificate': 'another'}", "/certificate", true},
        {"{'verified': true, 'challenge': 'mine'}", NULL, false},
        {"{'deviceIdFrom': 'san', 'autoRegister': true}", NULL, true},
        {"{'deviceIdFrom': 'ou'}", "/deviceIdFrom", true},
        {"{'autoRegister': 1}", "/autoRegister", true},
        {"{'crl': {'mode': 'hard', 'refreshSeconds': 60}}", NULL, true},
        {"{'crl': {'refreshSeconds': 59}}", "/crl/refreshSeconds", true},
        {"{'crl': {'mode': 'maybe'}}", "/crl/mode", true},
        {"{'crl': {'url': 'file:///etc/passwd'}}", "/crl/url", true},
        {"{'crl': {'url': 'http://x y'}}", "/crl/url", true},
        {"{'crl': {'more': 1}}", "/crl/more", true},
        {"{'more': 1}", "/more", true},
};

START_TEST(a_patch_changes_what_it_may)
{
	for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
		struct authority_doc d;
		char text[256];
		snprintf(text, sizeof(text), "%s", patches[i].patch);
		for (char *c = text; *c; c++)
			*c = *c == '\'' ? '"' : *c;
		add_authority("root", "root.pem", patches[i].verified);
		ck_assert_int_eq(authority_doc_load(&rows[0], &d), 0);
		_cleanup_json_ json_t *patch = json_loads(text, 0, NULL), *errors = json_array();
		int err = authority_doc_patch(patch, errors, &d);
		const char *at = json_string_value(
		        json_object_get(json_array_get(errors, 0), "pointer"));
		ck_assert_msg((err == 0) == !patches[i].pointer, "%s", text);
		if (patches[i].pointer)
			ck_assert_msg(
			        at && strcmp(at, patches[i].pointer) == 0, "%s: %s", text, at);
		ck_assert(d.verified == patches[i].verified && strcmp(d.challenge, "mine") != 0);
		authority_doc_done(&d);
		forget_all();
	}
}
END_TEST

static int shell(const char *command)
{
	char line[256];
	snprintf(line, sizeof(line), "%s %s", command, folder);
	return system(line);
}

int main(void)
{
	const TTest *const tests[] = {what_cannot_be_read_is_nobodys_trust,
	        a_list_counts_for_its_authority_and_is_read_once,
	        a_store_that_fails_changes_nothing, a_patch_changes_what_it_may};
	if (!mkdtemp(folder) || shell("python3 tests/lib/pki.py") != 0 || crypto_init() < 0)
		return EXIT_FAILURE;
	log_configure(LOG_ERROR, false);
	int failed = unit_run("trust", tests, ARRAY_LEN(tests));
	shell("rm -rf");
	return failed;
}
