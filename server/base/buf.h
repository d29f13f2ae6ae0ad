/*
 * A growable byte buffer with a hard cap that it is born with. Bytes are appended at the end and
 * consumed at the front. Owned by one thread.
 */
#ifndef HF_BASE_BUF_H
#define HF_BASE_BUF_H

#include <stdarg.h>

#include "server/base/cleanup.h"
#include "server/base/slice.h"

struct buf {
	uint8_t *data; /* NULL while empty: an idle connection's buffer costs nothing */
	uint32_t start, end, size;
	uint32_t cap; /* never holds more than this */
};

/* An empty buffer that will never hold more than cap bytes. Allocates nothing. */
void buf_init(struct buf *b, size_t cap);
/* Frees the memory; the buffer is empty and may be used again. buf_wipe also cleanses it. */
void buf_free(struct buf *b);
void buf_wipe(struct buf *b);

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}
static inline struct slice buf_slice(const struct buf *b)
{
	return slice_make(b->data ? b->data + b->start : NULL, b->end - b->start);
}

/* Makes room for n more bytes and returns where they go, NULL past the cap or out of memory;
 * buf_added tells how many of them were written. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_added(struct buf *b, size_t n);
/* Makes room for n more bytes: 0, ERR_TOO_BIG past the cap, ERR_NOMEM. */
int buf_ensure(struct buf *b, size_t n);
/* Append: 0, ERR_TOO_BIG past the cap, ERR_NOMEM. On failure nothing was appended. */
int buf_append(struct buf *b, const void *p, size_t n);
int buf_append_str(struct buf *b, const char *s);
int buf_append_byte(struct buf *b, uint8_t byte);
int buf_printf(struct buf *b, const char *fmt, ...) HF_PRINTF(2, 3);
/* Drops n bytes from the front; frees the memory when nothing is left. */
void buf_consume(struct buf *b, size_t n);
/* Drops everything behind the first len bytes. */
void buf_truncate(struct buf *b, size_t len);
/* Hands the content over as a malloc'ed NUL-terminated string (NUL not counted in *ret_len, which
 * may be NULL) and leaves the buffer empty. NULL when out of memory. */
char *buf_steal(struct buf *b, size_t *ret_len);

#endif
