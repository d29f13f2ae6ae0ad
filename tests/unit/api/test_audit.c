/* The audit log over REST: who reads it, filters, pages; what is noted without a row of a table. */
#include "tests/unit/api/hub.h"

#define AUDIT "/api/v1/audit"

static const char *at(size_t i, const char *member)
{
	const char *text = json_string_value(
	        json_object_get(json_array_get(json_object_get(last.json, "items"), i), member));
	return text ? text : "";
}

static size_t read_log(const char *query)
{
	char path[512];
	snprintf(path, sizeof(path), AUDIT "%s", query);
	call(200, "GET", path, OWNER, NULL, NULL);
	documented(last.json, "AuditList");
	return json_array_size(json_object_get(last.json, "items"));
}

START_TEST(notes_who_reads_it)
{
	ck_assert_uint_eq(read_log("?actor=owner&outcome=done"), 1);
	ck_assert_str_eq(at(0, "operation"), "audit_list");
	ck_assert_str_eq(at(0, "actor"), "owner");
	ck_assert_str_eq(at(0, "role"), "owner");
	ck_assert_str_eq(
	        json_string_value(json_object_get(
	                json_object_get(
	                        json_array_get(json_object_get(last.json, "items"), 0), "after"),
	                "actor")),
	        "owner");
	ck_assert_uint_eq(read_log("?outcome=denied"), 0);
	call(403, "GET", AUDIT, SERVICE, NULL, NULL);
	call(403, "GET", AUDIT, READER, NULL, NULL);
}
END_TEST

START_TEST(notes_what_is_no_row)
{
	call(404, "DELETE", "/api/v1/connections/c%2F1", SERVICE, NULL, NULL);
	call(404, "DELETE", "/api/v1/sessions/s", SERVICE, NULL, NULL);
	ck_assert_uint_eq(read_log("?kind=connection"), 1);
	ck_assert_str_eq(at(0, "name"), "c/1");
	ck_assert_str_eq(at(0, "operation"), "connection_end");
	ck_assert_str_eq(at(0, "actor"), "service");
	ck_assert_uint_eq(read_log("?operation=session_delete&name=s"), 1);
	ram_set_available(hub.ram, false);
	call(503, "DELETE", "/api/v1/connections/x", OWNER, NULL, NULL);
	ram_set_available(hub.ram, true);
}
END_TEST

START_TEST(pages)
{
	char query[512];
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_gt(read_log(""), 0);
	ck_assert_uint_eq(read_log("?limit=2&order=asc"), 2);
	json_int_t first = json_integer_value(
	        json_object_get(json_array_get(json_object_get(last.json, "items"), 0), "id"));
	_cleanup_free_ char *cursor = strdup(
	        json_string_value(json_object_get(last.json, "nextCursor")));
	snprintf(query, sizeof(query), "?limit=2&order=asc&cursor=%s", cursor);
	ck_assert_uint_eq(read_log(query), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(
	                         json_array_get(json_object_get(last.json, "items"), 0), "id")),
	        first + 2);
	/* A cursor of one order is none of the other. */
	snprintf(query, sizeof(query), AUDIT "?limit=2&order=desc&cursor=%s", cursor);
	call(400, "GET", query, OWNER, NULL, NULL);
}
END_TEST

START_TEST(says_what_is_wrong)
{
	static const char *const bad[] = {"?from=yesterday", "?order=up", "?limit=0", "?actor=%00",
	        "?who=me", "?outcome=maybe", "?cursor=x"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char path[64];
		snprintf(path, sizeof(path), AUDIT "%s", bad[i]);
		call(400, "GET", path, OWNER, NULL, NULL);
	}
}
END_TEST

HUB_MAIN("audit", notes_who_reads_it, notes_what_is_no_row, pages, says_what_is_wrong)
