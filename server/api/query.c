#include "server/api/query.h"

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/utf8.h"
#include "server/net/http.h"

static const struct api_param params[] = {
#define QUERY(op, name, schema, text) {POLICY_OP_##op, name, schema, text},
#include "server/api/params.def"
#undef QUERY
};

const struct api_param *api_params(unsigned *ret_n)
{
	*ret_n = ARRAY_LEN(params);
	return params;
}

/* The table's own name, so that no byte of the request's outlives the parser. */
static const char *known_name(enum policy_op op, struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(params); i++)
		if (params[i].op == op && slice_eq_str(name, params[i].name))
			return params[i].name;
	return NULL;
}

static int refuse(struct api_query_error *e, struct slice name, const char *why)
{
	size_t n = name.n < API_QUERY_NAME_MAX ? name.n : API_QUERY_NAME_MAX;
	if (n > 0)
		memcpy(e->name, name.p, n);
	e->name[n] = '\0';
	e->why = why;
	return ERR_INVALID;
}

static struct slice take_until(struct slice *in, char end)
{
	const uint8_t *at = in->n ? memchr(in->p, end, in->n) : NULL;
	struct slice head = slice_make(in->p, at ? (size_t)(at - in->p) : in->n);
	*in = slice_from(*in, head.n + (at ? 1 : 0));
	return head;
}

static int take_param(
        enum policy_op op, struct slice value, struct api_query *q, struct api_query_error *e)
{
	struct slice sent = take_until(&value, '='), name = sent;
	char decoded[API_QUERY_NAME_MAX];
	size_t n;
	if (sent.n <= sizeof(decoded) && http_percent_decode(sent, decoded, &n) == 0)
		name = slice_make(decoded, n);
	const char *known = known_name(op, name);
	if (!known)
		return refuse(e, name, "this operation has no such parameter");
	struct slice before;
	if (api_query_get(q, known, &before))
		return refuse(e, name, "is given more than once");
	size_t used = 0;
	for (unsigned i = 0; i < q->n; i++)
		used += q->items[i].value.n;
	char *to = q->text + used;
	if (http_percent_decode(value, to, &n) < 0 || !utf8_valid(slice_make(to, n)))
		return refuse(e, name, "is not percent-encoded UTF-8");
	if (q->n == API_QUERY_MAX)
		return refuse(e, name, "is one parameter too many");
	q->items[q->n].name = known;
	q->items[q->n++].value = slice_make(to, n);
	return 0;
}

int api_query_read(enum policy_op op, struct slice query, struct api_query *ret,
        struct api_query_error *ret_error)
{
	struct api_query q = {.text = malloc(query.n + 1)};
	if (!q.text)
		return ERR_NOMEM;
	while (query.n > 0) {
		struct slice part = take_until(&query, '&');
		int r = part.n > 0 ? take_param(op, part, &q, ret_error) : 0;
		if (r < 0) {
			api_query_done(&q);
			return r;
		}
	}
	*ret = q;
	return 0;
}

void api_query_done(struct api_query *q)
{
	free(q->text);
	*q = (struct api_query){0};
}

bool api_query_get(const struct api_query *q, const char *name, struct slice *ret)
{
	for (unsigned i = 0; i < q->n; i++) {
		if (strcmp(q->items[i].name, name) == 0) {
			*ret = q->items[i].value;
			return true;
		}
	}
	return false;
}

int api_parse_uint(struct slice s, uint64_t min, uint64_t max, uint64_t *ret)
{
	if (s.n == 0 || s.n > 19) /* 19 digits always fit */
		return ERR_INVALID;
	uint64_t v = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return ERR_INVALID;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	if (v < min || v > max)
		return ERR_INVALID;
	*ret = v;
	return 0;
}
