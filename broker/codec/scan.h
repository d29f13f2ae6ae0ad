/*
 * Topics eight bytes at a time: nearly all are plain ASCII, and the broker looks at each of them on
 * the way of every message. Private to the broker.
 */
#ifndef HF_BROKER_CODEC_SCAN_H
#define HF_BROKER_CODEC_SCAN_H

#include "server/base/err.h"
#include "server/base/slice.h"
#include "server/base/utf8.h"

#define SCAN_LOW UINT64_C(0x0101010101010101)
#define SCAN_HIGH UINT64_C(0x8080808080808080)

static inline uint64_t scan_load(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

/* The high bit of each byte of v that equals c, exactly. */
static inline uint64_t scan_equal(uint64_t v, uint8_t c)
{
	uint64_t x = v ^ (SCAN_LOW * c);
	return ~(((x & ~SCAN_HIGH) + ~SCAN_HIGH) | x | ~SCAN_HIGH);
}

/* Whether v has a byte over 0x7E, one under the blank, a '+' or a '#'. Those two differ in one bit,
 * 0x08. A borrow or a carry can spill only out of a byte that is itself reported, so the answer is
 * exact. */
static inline bool scan_suspect(uint64_t v)
{
	uint64_t wild = (v | SCAN_LOW * 0x08) ^ SCAN_LOW * '+';
	uint64_t odd = v | (v + SCAN_LOW) | (v - SCAN_LOW * ' ') | (wild - SCAN_LOW);
	return (odd & SCAN_HIGH) != 0;
}

/* Whether s is ASCII without control characters and wildcards. */
static inline bool scan_plain(struct slice s)
{
	if (s.n < 8) {
		uint8_t word[8] = {'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'};
		if (s.n > 0)
			memcpy(word, s.p, s.n);
		return !scan_suspect(scan_load(word));
	}
	for (size_t i = 0; i + 8 <= s.n; i += 8) {
		if (scan_suspect(scan_load(s.p + i)))
			return false;
	}
	return !scan_suspect(scan_load(s.p + s.n - 8));
}

static inline bool scan_has_wildcard(struct slice s)
{
	return s.n > 0 && (memchr(s.p, '+', s.n) || memchr(s.p, '#', s.n));
}

/* How many bytes of s equal c. */
static inline size_t scan_count(struct slice s, uint8_t c)
{
	size_t count = 0, i = 0;
	for (; i + 8 <= s.n; i += 8)
		count += (size_t)(((scan_equal(scan_load(s.p + i), c) >> 7) * SCAN_LOW) >> 56);
	for (; i < s.n; i++)
		count += s.p[i] == c;
	return count;
}

/* Whether s, which is UTF-8, has one of U+0001 to U+001F or U+007F to U+009F, which section 1.5.4
 * lets a receiver refuse. The broker does so in names, where they only ever hide something: topics,
 * filters, client ids, user names. */
static inline bool scan_has_control(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < ' ' || s.p[i] == 0x7F)
			return true;
		if (s.p[i] == 0xC2 && i + 1 < s.n && s.p[i + 1] < 0xA0)
			return true;
	}
	return false;
}

/*
 * A topic name as it may stand in a packet: 0; ERR_MALFORMED: not UTF-8 ([MQTT-1.5.4-1]) or a
 * control character in it; ERR_INVALID: empty ([MQTT-4.7.3-1]), a NUL ([MQTT-4.7.3-2]) or a
 * wildcard ([MQTT-3.3.2-2]) in it.
 */
static inline int scan_topic_name(struct slice s)
{
	if (s.n == 0)
		return ERR_INVALID;
	if (scan_plain(s))
		return 0;
	if (!utf8_valid(s))
		return ERR_MALFORMED;
	if (memchr(s.p, 0, s.n) || scan_has_wildcard(s))
		return ERR_INVALID;
	return scan_has_control(s) ? ERR_MALFORMED : 0;
}

#endif
