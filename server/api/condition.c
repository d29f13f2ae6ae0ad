#include "server/api/condition.h"

#include <strings.h>

#include "server/base/err.h"

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static void skip_separators(struct slice *in)
{
	while (in->n > 0 && (is_space(in->p[0]) || in->p[0] == ','))
		*in = slice_from(*in, 1);
}

/* The characters of an opaque tag, and of one that came without quotes. */
static size_t tag_len(struct slice in, bool quoted)
{
	size_t n = 0;
	while (n < in.n && in.p[n] > ' ' && in.p[n] != '"' && in.p[n] != 0x7f &&
	        (quoted || in.p[n] != ','))
		n++;
	return n;
}

static int take_tag(struct slice *in, struct slice *ret, bool *ret_weak)
{
	bool weak = in->n >= 2 && in->p[0] == 'W' && in->p[1] == '/';
	if (weak)
		*in = slice_from(*in, 2);
	bool quoted = in->n > 0 && in->p[0] == '"';
	if (quoted)
		*in = slice_from(*in, 1);
	size_t n = tag_len(*in, quoted);
	if (quoted ? n == in->n || in->p[n] != '"' : n == 0)
		return ERR_INVALID;
	*ret = slice_make(in->p, n);
	*ret_weak = weak;
	*in = slice_from(*in, n + (quoted ? 1 : 0));
	if (in->n > 0 && !is_space(in->p[0]) && in->p[0] != ',')
		return ERR_INVALID;
	return 0;
}

static int read_line(struct slice in, bool strong, struct api_tags *t)
{
	t->given = true;
	for (skip_separators(&in); in.n > 0; skip_separators(&in)) {
		struct slice tag;
		bool weak;
		if (take_tag(&in, &tag, &weak) < 0)
			return ERR_INVALID;
		if (slice_eq_str(tag, "*") && !weak) {
			t->any = true;
			continue;
		}
		if (tag.n == 0 || tag.n > ETAG_LEN || (strong && weak))
			continue; /* well-formed, but never equal to one of ours */
		if (t->n == API_TAGS_MAX)
			return ERR_INVALID;
		memcpy(t->tags[t->n], tag.p, tag.n);
		t->tags[t->n++][tag.n] = '\0';
	}
	return 0;
}

int api_condition_read(const struct http_request *r, struct api_condition *ret)
{
	struct api_condition c = {0};
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct slice name = r->headers[i].name, value = r->headers[i].value;
		int err = 0;
		if (name.n == 8 && strncasecmp((const char *)name.p, "If-Match", 8) == 0)
			err = read_line(value, true, &c.match);
		else if (name.n == 13 &&
		        strncasecmp((const char *)name.p, "If-None-Match", 13) == 0)
			err = read_line(value, false, &c.none_match);
		if (err < 0)
			return err;
	}
	*ret = c;
	return 0;
}

bool api_tags_has(const struct api_tags *t, const char *etag)
{
	for (unsigned i = 0; i < t->n; i++)
		if (strcmp(t->tags[i], etag) == 0)
			return true;
	return t->any;
}
