/* What is known of certificates, of whom and of what somebody is, and the names of things. */
#include "server/base/cert_chain.h"
#include "server/base/cleanup.h"
#include "server/base/entity.h"
#include "server/base/facts.h"
#include "server/base/principal.h"
#include "unit.h"

#define CN "iot:Certificate.Subject.CommonName"
#define DNS "iot:Certificate.SubjectAlternativeName.DNSName"

START_TEST(keeps_facts)
{
	const struct fact list[] = {
	        {CN, SLICE_LIT("d1")}, {DNS, SLICE_LIT("a")}, {DNS, SLICE_LIT("")}};
	struct facts *f = facts_new(list, ARRAY_LEN(list));
	struct slice value = SLICE_LIT("untouched");
	struct fact each;
	unsigned pos = 0, n = 0;
	ck_assert(facts_get(f, SLICE_LIT(CN), &value));
	assert_slice(value, "d1");
	ck_assert(facts_get(f, SLICE_LIT(DNS), &value));
	assert_slice(value, "a");
	ck_assert(!facts_get(f, SLICE_LIT("iot:Other"), &value));
	assert_slice(value, "a");
	while (facts_next(f, &pos, &each))
		ck_assert(slice_eq(each.value, list[n++].value));
	ck_assert_uint_eq(n, 3);
	facts_free(f);
}
END_TEST

START_TEST(bounds_facts)
{
	static uint8_t longest[FACT_VALUE_MAX + 1];
	struct fact list[FACTS_MAX + 2] = {{"long", slice_make(longest, sizeof(longest))}};
	struct slice value;
	struct fact each;
	unsigned pos = 0, n = 0;
	ck_assert_ptr_null(facts_new(list, 0));
	ck_assert_ptr_null(facts_new(list, 1));
	ck_assert(!facts_get(NULL, SLICE_LIT("long"), &value));
	list[1] = (struct fact){"most", slice_make(longest, FACT_VALUE_MAX)};
	for (unsigned i = 2; i < ARRAY_LEN(list); i++)
		list[i] = (struct fact){"more", SLICE_LIT("x")};
	struct facts *f = facts_new(list, ARRAY_LEN(list));
	ck_assert(!facts_get(f, SLICE_LIT("long"), &value));
	ck_assert(facts_get(f, SLICE_LIT("most"), &value));
	while (facts_next(f, &pos, &each))
		n++;
	ck_assert_uint_eq(n, FACTS_MAX);
	facts_free(f);
}
END_TEST

START_TEST(keeps_chains)
{
	const struct slice der[] = {SLICE_LIT("leaf"), SLICE_LIT(""), SLICE_LIT("root")};
	static uint8_t much[CERT_CHAIN_BYTES_MAX + 1];
	const struct slice large = slice_make(much, sizeof(much));
	struct slice many[CERT_CHAIN_MAX + 1] = {{0}};
	struct cert_chain *c = cert_chain_new(der, 3);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->n, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(slice_eq(c->der[i], der[i]));
	ck_assert_ptr_eq(cert_chain_ref(c), c);
	ck_assert_ptr_null(cert_chain_unref(c));
	ck_assert_ptr_null(cert_chain_unref(c));
	ck_assert_ptr_null(cert_chain_new(der, 0));
	ck_assert_ptr_null(cert_chain_new(&large, 1));
	ck_assert_ptr_null(cert_chain_new(many, ARRAY_LEN(many)));
}
END_TEST

START_TEST(names_things)
{
	static const char letters[] = "dkcpgibautv";
	for (int letter = 0; letter < 256; letter++) {
		bool known = letter && strchr(letters, letter);
		ck_assert_int_eq(entity_valid((char)letter), known);
		if (known)
			ck_assert_int_eq(entity_by_name(entity_name((enum entity)letter)), letter);
	}
	ck_assert_str_eq(entity_name((enum entity)'?'), "unknown");
	ck_assert_int_eq(entity_by_name("unknown"), 0);
}
END_TEST

static unsigned freed;

static void note_freed(HF_UNUSED struct access *a)
{
	freed++;
}

static void note_proof(HF_UNUSED void *proof)
{
	freed += 100;
}

START_TEST(gives_back_what_a_principal_holds)
{
	struct access a = {.free = note_freed}, b = {.free = note_freed};
	const struct fact fact = {CN, SLICE_LIT("d1")};
	char longest[MODULE_ID_MAX], client[CLIENT_ID_MAX];
	atomic_init(&a.refs, 1);
	atomic_init(&b.refs, 2);
	memset(longest, 'x', sizeof(longest));
	longest[DEVICE_ID_MAX] = '/';
	memset(client, 'c', sizeof(client));
	struct principal *p = principal_new_client(PRINCIPAL_DEVICE,
	        slice_make(longest, sizeof(longest)), SLICE_LIT("key"),
	        slice_make(client, sizeof(client)));
	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(principal_id(p).n, MODULE_ID_MAX);
	ck_assert_uint_eq(principal_device_id(p).n, DEVICE_ID_MAX);
	assert_slice(principal_key_name(p), "key");
	ck_assert(slice_eq(principal_client_id(p), slice_make(client, sizeof(client))));
	p->access[0] = &a;
	p->access[2] = &b;
	p->facts = facts_new(&fact, 1);
	p->proof = &freed;
	p->proof_free = note_proof;
	principal_ref(p);
	principal_unref(p);
	ck_assert_uint_eq(freed, 0);
	principal_unref(p);
	ck_assert_uint_eq(freed, 101);
	p = principal_new(PRINCIPAL_CUSTOM, SLICE_LIT("someone"), (struct slice){0});
	assert_slice(principal_client_id(p), "someone");
	assert_slice(principal_device_id(p), "someone");
	ck_assert_str_eq(principal_kind_name(p->kind), "custom");
	principal_unref(p);
}
END_TEST

UNIT_MAIN("facts", keeps_facts, bounds_facts, keeps_chains, names_things,
        gives_back_what_a_principal_holds)
