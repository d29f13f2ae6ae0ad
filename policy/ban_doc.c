/* The document of a ban. */
#include <string.h>

#include "policy/bans.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/device_id.h"
#include "server/base/err.h"

#define SECONDS_MAX 315360000 /* ten years */

static void read_cidr(struct doc_check *c, const json_t *value, struct ban *b)
{
	b->everywhere = false;
	ip_doc_read_cidr(c, value, &b->net);
}

bool ban_identity_valid(struct slice id)
{
	const uint8_t *slash = id.n > 0 ? memchr(id.p, '/', id.n) : NULL;
	size_t n = slash ? (size_t)(slash - id.p) : id.n;
	return device_id_valid(slice_make(id.p, n)) &&
	        (!slash || device_id_valid(slice_from(id, n + 1)));
}

static void read_device(struct doc_check *c, const json_t *value, struct ban *b)
{
	struct slice id = slice_make(json_string_value(value), json_string_length(value));
	if (!json_is_string(value) || !ban_identity_valid(id))
		doc_error(c, "must be a device id");
	else
		ip_doc_read_text(c, value, b->device, MODULE_ID_MAX);
}

static void read_key(struct doc_check *c, const json_t *value, struct ban *b)
{
	ip_doc_read_text(c, value, b->key, KEY_NAME_MAX);
}

static void read_reason(struct doc_check *c, const json_t *value, struct ban *b)
{
	ip_doc_read_text(c, value, b->reason, BAN_REASON_MAX);
}

static void read_expiry(struct doc_check *c, const json_t *value, struct ban *b)
{
	ip_doc_read_expiry(c, value, &b->expires_us);
}

static void read_seconds(struct doc_check *c, const json_t *value, struct ban *b)
{
	json_int_t v = json_integer_value(value);
	if (!json_is_integer(value) || v < 1 || v > SECONDS_MAX)
		doc_error(c, "must be an integer from 1 to 315360000");
	else
		b->expires_us = clock_wall_us() + (int64_t)v * 1000000;
}

/* The store's own. */
static void read_source(struct doc_check *c HF_UNUSED, const json_t *value, struct ban *b)
{
	const char *text = json_string_value(value);
	b->by_hand = !text || strcmp(text, "hub") != 0;
}

static void read_step(struct doc_check *c HF_UNUSED, const json_t *value, struct ban *b)
{
	json_int_t v = json_integer_value(value);
	b->step = v > 0 && v < POLICY_BAN_STEPS ? (unsigned)v : 0;
}

static const struct {
	const char *name;
	void (*read)(struct doc_check *c, const json_t *value, struct ban *b);
	bool stored; /* of what the store has; administrators do not send it */
} members[] = {
        {"address", read_cidr, false},
        {"cidr", read_cidr, false},
        {"deviceId", read_device, false},
        {"key", read_key, false},
        {"reason", read_reason, false},
        {"expiresAt", read_expiry, false},
        {"seconds", read_seconds, false},
        {"source", read_source, true},
        {"step", read_step, true},
};

static void read_member(
        struct doc_check *c, const char *name, const json_t *value, bool stored, struct ban *b)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i].name) == 0 && (stored || !members[i].stored)) {
			members[i].read(c, value, b);
			return;
		}
	doc_error(c, "unknown member");
}

static void check_together(struct doc_check *c, const json_t *doc, const struct ban *b)
{
	static const char *const pairs[][2] = {
	        {"address", "cidr"}, {"deviceId", "key"}, {"expiresAt", "seconds"}};
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		if (json_object_get(doc, pairs[i][0]) && json_object_get(doc, pairs[i][1]))
			doc_member_error(c, pairs[i][1], "does not go together with the other");
	if (b->everywhere && !b->device[0] && !b->key[0])
		doc_error(c, "must have one of cidr, deviceId and key");
}

int ban_read(struct doc_check *c, const json_t *doc, bool stored, struct ban *ret)
{
	const char *member;
	json_t *value;
	*ret = (struct ban){.everywhere = true, .by_hand = true};
	if (!json_is_object(doc)) {
		doc_error(c, "must be an object");
		return ERR_INVALID;
	}
	json_object_foreach((json_t *)doc, member, value)
	{
		size_t mark = doc_enter(c, slice_str(member));
		read_member(c, member, value, stored, ret);
		doc_leave(c, mark);
	}
	if (!c->failed)
		check_together(c, doc, ret);
	return c->failed ? ERR_INVALID : 0;
}

json_t *ban_body(const struct ban *b)
{
	char net[CIDR_TEXT_LEN], expires[CLOCK_RFC3339_LEN];
	json_t *body = json_pack(
	        "{s:s, s:i}", "source", b->by_hand ? "administrator" : "hub", "step", (int)b->step);
	if (!b->everywhere)
		json_object_set_new(body, "cidr", json_string(cidr_text(&b->net, net)));
	if (b->device[0])
		json_object_set_new(body, "deviceId", json_string(b->device));
	if (b->key[0])
		json_object_set_new(body, "key", json_string(b->key));
	if (b->reason[0])
		json_object_set_new(body, "reason", json_string(b->reason));
	if (b->expires_us)
		json_object_set_new(
		        body, "expiresAt", json_string(clock_rfc3339(b->expires_us, expires)));
	return body;
}

void ban_id(const struct ban *b, char out[static BAN_ID_LEN + 1])
{
	char net[CIDR_TEXT_LEN] = "", text[CIDR_TEXT_LEN + MODULE_ID_MAX + KEY_NAME_MAX + 8];
	uint8_t hash[CRYPTO_HASH_LEN];
	int n = snprintf(text, sizeof(text), "%s\nd%s\nk%s",
	        b->everywhere ? "" : cidr_text(&b->net, net), b->device, b->key);
	crypto_sha256(slice_make(text, (size_t)n), hash);
	crypto_hex_encode(slice_make(hash, BAN_ID_LEN / 2), out);
}
