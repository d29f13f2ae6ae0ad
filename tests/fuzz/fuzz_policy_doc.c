/* Policy documents: what is read can be asked anything, and says the same when it is read again; a
 * refusal of everything leaves nothing, and a document alone gives nothing that it does not name.
 */
#include <assert.h>
#include <stdlib.h>

#include "policy/condition.h"
#include "policy/decide.h"
#include "policy/objections.h"
#include "server/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_errors(const json_t *errors, int err)
{
	assert((err == ERR_INVALID) == (json_array_size(errors) > 0));
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const char *pointer = json_string_value(
		        json_object_get(json_array_get(errors, i), "pointer"));
		assert(pointer && (pointer[0] == '\0' || pointer[0] == '/'));
	}
}

/* A principal with one part, which has one document and no values for its attributes. */
struct subject {
	struct principal *p;
	struct attached attached;
	struct rights rights;
	struct slice attributes[DOCUMENT_VARS_MAX];
};

static void subject_init(struct subject *s, const struct policy_doc *doc)
{
	s->p = principal_new(PRINCIPAL_CUSTOM, SLICE_LIT("d1"), (struct slice){0});
	assert(s->p);
	s->attached = (struct attached){.doc = doc, .attributes = s->attributes};
	s->rights = (struct rights){.kind = ENTITY_AUTHORIZER,
	        .n_docs = 1,
	        .docs = &s->attached,
	        .allows = doc->allows,
	        .denies = doc->denies};
	s->p->access[0] = &s->rights.access;
}

static void subject_done(struct subject *s)
{
	s->p->access[0] = NULL;
	principal_unref(s->p);
}

static unsigned answers(const struct policy_doc *doc)
{
	static const char *const texts[] = {
	        "d1", "a", "a/b", "a/+/c", "#", "$share/g/a/#", "devices/d1/x", "aaaaaaaaaaaaaaab"};
	struct subject s = {0};
	unsigned bits = 0, n = 0;
	subject_init(&s, doc);
	const struct auth_request req = {.has_will = true, .will_topic = SLICE_LIT("a/b")};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		for (enum ask_action a = ASK_CONNECT; a <= ASK_RECEIVE; a++) {
			struct why why;
			const struct ask ask = {.action = a,
			        .who = s.p,
			        .text = slice_str(texts[i]),
			        .retain = a == ASK_PUBLISH && (i & 1),
			        .req = a == ASK_CONNECT ? &req : NULL};
			bool allowed = decide(&ask, &why);
			assert(!allowed ||
			        (why.by == WHY_STATEMENT && why.doc == doc &&
			                !doc->statements[why.statement].deny));
			bits |= (unsigned)allowed << (n++ % 31);
		}
	subject_done(&s);
	return bits;
}

/* Input: the document's JSON. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *json = NULL, *errors = json_array(), *list = json_array();
	char error[JSON_ERROR_LEN];
	struct doc_check check = {.errors = errors}, again_check = {0};
	struct policy_doc *doc = NULL, *again = NULL;
	if (json_read(slice_make(data, size), &json_limits_body, &json, error) < 0)
		return 0;
	int err = policy_doc_read(json, &check, SLICE_LIT("p"), &doc);
	check_errors(errors, err);
	if (err < 0)
		return 0;
	assert(doc->n_statements >= 1 && doc->n_statements <= STATEMENTS_MAX);
	assert(doc->n_vars <= DOCUMENT_VARS_MAX && doc->n_attributes <= doc->n_vars);
	assert(policy_doc_read(json, &again_check, SLICE_LIT("p"), &again) == 0);
	assert(answers(doc) == answers(again));
	assert(objections_find(doc, list) == json_array_size(list));
	policy_doc_free(doc);
	policy_doc_free(again);
	return 0;
}
