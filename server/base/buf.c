#include "server/base/buf.h"

#include <assert.h>

#include "server/base/crypto.h"
#include "server/base/err.h"

#define BUF_FIRST 64 /* bytes of the first allocation */

void buf_init(struct buf *b, size_t cap)
{
	/* One below the type's end: each allocation has a spare byte for a NUL. */
	*b = (struct buf){.cap = cap < UINT32_MAX ? (uint32_t)cap : UINT32_MAX - 1};
}

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){.cap = b->cap};
}

void buf_wipe(struct buf *b)
{
	if (b->data)
		crypto_wipe(b->data, (size_t)b->size + 1);
	buf_free(b);
}

/* Moves the content into a new allocation, big enough for need bytes of it. The old one is not
 * wiped: who gathers secrets makes room for all of them first. */
static int buf_grow(struct buf *b, uint32_t need)
{
	uint32_t size = b->size ? b->size : BUF_FIRST;
	while (size < need)
		size = size > b->cap / 2 ? b->cap : size * 2;
	if (size > b->cap)
		size = b->cap;
	uint8_t *data = malloc((size_t)size + 1);
	if (!data)
		return ERR_NOMEM;
	uint32_t len = b->end - b->start;
	if (b->data)
		memcpy(data, b->data + b->start, len);
	free(b->data);
	b->data = data;
	b->start = 0;
	b->end = len;
	b->size = size;
	return 0;
}

int buf_ensure(struct buf *b, size_t n)
{
	uint32_t len = b->end - b->start;
	if (n > b->cap - len)
		return ERR_TOO_BIG;
	if (b->data && n <= b->size - b->end)
		return 0;
	uint32_t need = len + (uint32_t)n;
	/* Sliding the content down pays only if at least as many bytes are won as are moved. */
	if (b->data && need <= b->size && b->start >= len) {
		memmove(b->data, b->data + b->start, len);
		b->start = 0;
		b->end = len;
		return 0;
	}
	return buf_grow(b, need);
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
	return buf_ensure(b, n) == 0 ? b->data + b->end : NULL;
}

void buf_added(struct buf *b, size_t n)
{
	assert(n <= b->size - b->end);
	b->end += (uint32_t)n;
}

int buf_append(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return 0;
	int r = buf_ensure(b, n);
	if (r < 0)
		return r;
	memcpy(b->data + b->end, p, n);
	b->end += (uint32_t)n;
	return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_append_byte(struct buf *b, uint8_t byte)
{
	return buf_append(b, &byte, 1);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return ERR_INVALID;
	int r = buf_ensure(b, (size_t)n);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->end, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->end += (uint32_t)n;
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= buf_len(b));
	b->start += (uint32_t)n;
	if (b->start == b->end)
		buf_free(b);
}

void buf_truncate(struct buf *b, size_t len)
{
	assert(len <= buf_len(b));
	b->end = b->start + (uint32_t)len;
	if (len == 0)
		buf_free(b);
}

char *buf_steal(struct buf *b, size_t *ret_len)
{
	if (!b->data && buf_grow(b, 0) < 0)
		return NULL;
	uint32_t len = b->end - b->start;
	if (b->start > 0)
		memmove(b->data, b->data + b->start, len);
	char *s = (char *)TAKE_PTR(b->data);
	s[len] = '\0';
	buf_free(b);
	if (ret_len)
		*ret_len = len;
	return s;
}
