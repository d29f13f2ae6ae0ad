#include "server/base/doc_error.h"

#include "server/base/utf8.h"

/* Appends one character's bytes as RFC 6901 section 3 escapes them. */
static bool put(struct doc_check *c, const uint8_t *p, size_t n)
{
	char escaped[2] = {'~', *p == '~' ? '0' : '1'};
	if (*p == '~' || *p == '/') {
		p = (const uint8_t *)escaped;
		n = sizeof(escaped);
	}
	if (c->len + n >= sizeof(c->pointer))
		return false;
	memcpy(c->pointer + c->len, p, n);
	c->len += n;
	return true;
}

size_t doc_enter(struct doc_check *c, struct slice member)
{
	size_t mark = c->len;
	if (c->len + 1 >= sizeof(c->pointer))
		return mark;
	c->pointer[c->len++] = '/';
	for (size_t i = 0, n; i < member.n; i += n) {
		uint32_t code;
		n = utf8_next(member.p + i, member.n - i, &code);
		if (n == 0 || !put(c, member.p + i, n))
			break;
	}
	c->pointer[c->len] = '\0';
	return mark;
}

size_t doc_enter_index(struct doc_check *c, size_t index)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%zu", index);
	return doc_enter(c, slice_make(text, (size_t)n));
}

void doc_leave(struct doc_check *c, size_t mark)
{
	c->len = mark;
	c->pointer[mark] = '\0';
}

void doc_error(struct doc_check *c, const char *detail)
{
	c->failed = true;
	if (!c->errors || json_array_size(c->errors) >= DOC_ERRORS_MAX)
		return;
	json_array_append_new(
	        c->errors, json_pack("{s:s, s:s}", "pointer", c->pointer, "detail", detail));
}

void doc_member_error(struct doc_check *c, const char *member, const char *detail)
{
	size_t mark = doc_enter(c, slice_str(member));
	doc_error(c, detail);
	doc_leave(c, mark);
}
