/*
 * A view of bytes that somebody else owns. Never NUL-terminated by promise; print it with
 * "%.*s", SLICE_ARG(s) only after it was checked to be text.
 */
#ifndef HF_BASE_SLICE_H
#define HF_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *p;
	size_t n;
};

#define SLICE_ARG(s) (int)(s).n, (const char *)(s).p
/* A slice of a string literal, its NUL left out. */
#define SLICE_LIT(lit) ((struct slice){(const uint8_t *)(lit), sizeof(lit) - 1})

static inline struct slice slice_make(const void *p, size_t n)
{
	return (struct slice){(const uint8_t *)p, n};
}

static inline struct slice slice_str(const char *s)
{
	return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
	return slice_eq(a, slice_str(s));
}

static inline bool slice_has_prefix(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* The rest of s from offset off on (empty where off is past the end). */
static inline struct slice slice_from(struct slice s, size_t off)
{
	if (s.n == 0)
		return s;
	return off >= s.n ? (struct slice){s.p + s.n, 0} : (struct slice){s.p + off, s.n - off};
}

#endif
