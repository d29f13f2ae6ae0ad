/*
 * Packets as people write them down, for the tables of the codec's tests:
 *   10 0d       bytes in hexadecimal, spaces as you like
 *   'abc'       text as it is
 *   <abc>       text behind its length in two bytes, as MQTT's strings
 *   { ... }     what is in it behind its length as a variable byte integer: the body of a packet,
 *               a property block
 *   * n         the byte before, n times in all (decimal)
 */
#ifndef HF_TESTS_UNIT_BROKER_PACKETS_H
#define HF_TESTS_UNIT_BROKER_PACKETS_H

#include <check.h>
#include <ctype.h>
#include <stdlib.h>

#include "broker/codec/mqtt.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"

#define PACKET_MAX 400000

struct packet {
	uint8_t *p; /* of exactly n bytes, so that a sanitizer sees a read past the end */
	size_t n;
};

static inline void packet_done(struct packet *p)
{
	free(p->p);
}
#define _cleanup_packet_ _cleanup_(packet_done)

static inline size_t packet_write_text(const char **s, char end, uint8_t *out)
{
	size_t n = 0;
	for (; **s && **s != end; (*s)++)
		out[n++] = (uint8_t) * *s;
	ck_assert_msg(**s == end, "no end of text");
	(*s)++;
	return n;
}

static inline size_t packet_write(const char **s, uint8_t *out, bool nested)
{
	size_t n = 0;
	while (**s && **s != '}') {
		char c = *(*s)++;
		if (c == ' ')
			continue;
		if (c == '\'') {
			n += packet_write_text(s, '\'', out + n);
		} else if (c == '<') {
			size_t len = packet_write_text(s, '>', out + n + 2);
			out[n] = (uint8_t)(len >> 8);
			out[n + 1] = (uint8_t)len;
			n += 2 + len;
		} else if (c == '{') {
			uint8_t varint[4];
			size_t len = packet_write(s, out + n + 4, true);
			size_t head = mqtt_varint_put(varint, (uint32_t)len);
			memmove(out + n + head, out + n + 4, len);
			memcpy(out + n, varint, head);
			n += head + len;
		} else if (c == '*') {
			char *end;
			unsigned long times = strtoul(*s, &end, 10);
			ck_assert_msg(n > 0 && times > 0, "* without a byte");
			*s = end;
			memset(out + n, out[n - 1], times - 1);
			n += times - 1;
		} else {
			char hex[3] = {c, *(*s)++, 0};
			ck_assert_msg(isxdigit(hex[0]) && isxdigit(hex[1]), "not hex: %s", hex);
			out[n++] = (uint8_t)strtoul(hex, NULL, 16);
		}
	}
	ck_assert_msg(nested == (**s == '}'), "braces");
	if (nested)
		(*s)++;
	ck_assert_uint_le(n, PACKET_MAX);
	return n;
}

/* The bytes that text describes. */
static inline struct packet packet_make(const char *text)
{
	uint8_t *big = malloc(PACKET_MAX + 65536 * 2);
	ck_assert_ptr_nonnull(big);
	struct packet packet = {NULL, packet_write(&text, big, false)};
	packet.p = malloc(packet.n ? packet.n : 1);
	ck_assert_ptr_nonnull(packet.p);
	memcpy(packet.p, big, packet.n);
	free(big);
	return packet;
}

static inline struct slice packet_slice(const struct packet *p)
{
	return slice_make(p->p, p->n);
}

/* The whole packet as a frame; fails the test where it is none. */
static inline struct mqtt_frame packet_frame(const struct packet *p)
{
	struct mqtt_frame f = {0};
	size_t need;
	ck_assert_int_eq(mqtt_frame_next(packet_slice(p), SIZE_MAX, &f, &need), 1);
	ck_assert_uint_eq(f.size, p->n);
	return f;
}

static inline void check_slice(const char *name, struct slice s, const char *want)
{
	ck_assert_msg(
	        slice_eq_str(s, want), "%s: got \"%.*s\", want \"%s\"", name, SLICE_ARG(s), want);
}

/* Whether out holds exactly the bytes that text describes. */
static inline void check_bytes(const char *name, struct slice out, const char *text)
{
	_cleanup_packet_ struct packet want = packet_make(text);
	ck_assert_msg(out.n == want.n, "%s: %zu bytes, want %zu", name, out.n, want.n);
	for (size_t i = 0; i < out.n; i++)
		ck_assert_msg(out.p[i] == want.p[i], "%s: byte %zu is %02x, want %02x", name, i,
		        out.p[i], want.p[i]);
}

/* Runs one suite: what every main of these tests does. */
static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
