/* /tokens: made, used, revoked. */
#include "tests/unit/api/hub.h"

#define TOKENS "/api/v1/tokens"

/* "Bearer hf_…" of a token just made. */
static void make(const char *body, char out[static 80])
{
	const json_t *doc = call(201, "POST", TOKENS, OWNER, NULL, body);
	const char *secret = text_at(doc, "token");
	ck_assert_int_eq(strncmp(secret, "hf_", 3), 0);
	ck_assert_uint_eq(strlen(secret), 46);
	snprintf(out, 80, "Bearer %s", secret);
}

START_TEST(from_birth_to_death)
{
	char token[80];
	make("{\"name\":\"t\",\"role\":\"analyst\"}", token);
	ck_assert_str_eq(header_of("Location"), TOKENS "/t");
	call(200, "GET", "/api/v1/devices", token, NULL, NULL);
	call(403, "GET", TOKENS, token, NULL, NULL);
	const json_t *doc = call(200, "GET", TOKENS "/t", OWNER, NULL, NULL);
	ck_assert_str_eq(text_at(doc, "role"), "analyst");
	ck_assert_str_eq(text_at(doc, "createdBy"), "owner");
	ck_assert_ptr_null(json_object_get(doc, "token"));
	call(409, "POST", TOKENS, OWNER, NULL, "{\"name\":\"t\",\"role\":\"analyst\"}");
	call(204, "DELETE", TOKENS "/t", OWNER, NULL, NULL);
	call(401, "GET", "/api/v1/devices", token, NULL, NULL);
	call(404, "GET", TOKENS "/t", OWNER, NULL, NULL);
	call(404, "DELETE", TOKENS "/t", OWNER, NULL, NULL);
}
END_TEST

START_TEST(only_from_its_networks)
{
	char token[80];
	make("{\"name\":\"near\",\"role\":\"analyst\",\"cidrs\":[\"127.0.0.0/8\"]}", token);
	call(200, "GET", "/api/v1/devices", token, NULL, NULL);
	make("{\"name\":\"far\",\"role\":\"analyst\",\"cidrs\":[\"10.0.0.0/8\",\"::/0\"]}", token);
	call(401, "GET", "/api/v1/devices", token, NULL, NULL);
}
END_TEST

START_TEST(owners_are_made_by_owners)
{
	char admin[80], second[80];
	make("{\"name\":\"admin\",\"role\":\"security-admin\"}", admin);
	call(403, "POST", TOKENS, admin, NULL, "{\"name\":\"x\",\"role\":\"owner\"}");
	call(403, "DELETE", TOKENS "/owner", admin, NULL, NULL);
	call(409, "DELETE", TOKENS "/owner", OWNER, NULL, NULL);
	/* One that expires is nobody to rely on. */
	make("{\"name\":\"brief\",\"role\":\"owner\",\"expiresAt\":\"2999-01-01T00:00:00Z\"}",
	        second);
	call(409, "DELETE", TOKENS "/owner", OWNER, NULL, NULL);
	make("{\"name\":\"second\",\"role\":\"owner\"}", second);
	call(204, "DELETE", TOKENS "/owner", second, NULL, NULL);
	call(409, "DELETE", TOKENS "/second", second, NULL, NULL);
	call(201, "POST", TOKENS, admin, NULL, "{\"name\":\"o\",\"role\":\"operator\"}");
	const json_t *list = call(200, "GET", TOKENS "?limit=2", admin, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(list, "items")), 2);
	ck_assert(json_is_string(json_object_get(list, "nextCursor")));
}
END_TEST

START_TEST(bad_documents)
{
	static const char *const bodies[] = {
	        "[]",
	        "{}",
	        "{\"name\":\"t\"}",
	        "{\"name\":\"t\",\"role\":\"root\"}",
	        "{\"name\":\"t\",\"role\":\"analyst\\u0000\"}",
	        "{\"name\":\"a b\",\"role\":\"analyst\"}",
	        "{\"name\":\"t\",\"role\":\"analyst\",\"expiresAt\":\"2001-01-01T00:00:00Z\"}",
	        "{\"name\":\"t\",\"role\":\"analyst\",\"expiresAt\":1}",
	        "{\"name\":\"t\",\"role\":\"analyst\",\"cidrs\":[\"10.0.0.1/8\"]}",
	        "{\"name\":\"t\",\"role\":\"analyst\",\"cidrs\":\"10.0.0.0/8\"}",
	        "{\"name\":\"t\",\"role\":\"analyst\",\"token\":\"mine\"}",
	};
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		call(400, "POST", TOKENS, OWNER, NULL, bodies[i]);
}
END_TEST

HUB_MAIN("api tokens", from_birth_to_death, only_from_its_networks, owners_are_made_by_owners,
        bad_documents)
