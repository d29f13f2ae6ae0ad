#include "server/api/route.h"

#include "server/api/handlers.h"
#include "server/base/cleanup.h"

static const struct {
	enum http_method method;
	const char *path;
} patterns[] = {
#define REST(op, method, path, needs, summary) [POLICY_OP_##op] = {HTTP_METHOD_##method, path},
#include "policy/access.def"
#undef REST
};

/* An operation that access.def lacks does not compile, nor does one that is here twice
 * (-Woverride-init); the count finds those that are missing. */
static const struct api_route routes[] = {
#define IF_MATCH API_IF_MATCH
#define IF_NONE_MATCH API_IF_NONE_MATCH
#define IDEMPOTENT API_IDEMPOTENT
#define DESTRUCTIVE API_DESTRUCTIVE
#define ROUTE(op, handler, where, body_kind, route_flags) \
	[POLICY_OP_##op] = {                              \
	        .on_##where = (handler), .body = API_BODY_##body_kind, .flags = (route_flags)},
#include "server/api/routes.def"
#undef ROUTE
};

enum {
	N_ROUTES = 0
#define ROUTE(op, handler, where, body_kind, route_flags) +1
#include "server/api/routes.def"
#undef ROUTE
};
#undef IF_MATCH
#undef IF_NONE_MATCH
#undef IDEMPOTENT
#undef DESTRUCTIVE
_Static_assert((int)N_ROUTES == (int)POLICY_OP_COUNT,
        "routes.def and policy/access.def name the same operations");
_Static_assert(ARRAY_LEN(patterns) == POLICY_OP_COUNT, "access.def is indexed by enum policy_op");

const struct api_route *api_route(enum policy_op op)
{
	return &routes[op];
}

/* Takes the first segment off *path, which begins with '/'. */
static struct slice segment_take(struct slice *path)
{
	size_t n = 1;
	while (n < path->n && path->p[n] != '/')
		n++;
	struct slice segment = slice_make(path->p + 1, n - 1);
	*path = slice_from(*path, n);
	return segment;
}

#define LITERAL_MAX 32 /* bytes of the longest fixed segment of a path */

static bool segment_is(struct slice sent, struct slice literal)
{
	if (!memchr(sent.p, '%', sent.n))
		return slice_eq(sent, literal);
	char decoded[3 * LITERAL_MAX];
	size_t n;
	return sent.n <= sizeof(decoded) && http_percent_decode(sent, decoded, &n) == 0 &&
	        slice_eq(slice_make(decoded, n), literal);
}

static bool path_fits(const char *pattern, struct slice path, struct api_match *m)
{
	struct slice want = slice_str(pattern);
	m->n_params = 0;
	while (want.n > 0) {
		if (path.n == 0 || path.p[0] != '/')
			return false;
		struct slice segment = segment_take(&path);
		struct slice literal = segment_take(&want);
		if (segment.n == 0)
			return false;
		if (literal.p[0] == '{')
			m->params[m->n_params++] = segment;
		else if (!segment_is(segment, literal))
			return false;
	}
	return path.n == 0;
}

int api_route_find(
        enum http_method method, struct slice path, struct api_match *ret, unsigned *ret_allowed)
{
	unsigned allowed = 0;
	if (method == HTTP_METHOD_HEAD)
		method = HTTP_METHOD_GET;
	for (unsigned op = 0; op < POLICY_OP_COUNT; op++) {
		struct api_match m = {.op = op, .route = &routes[op]};
		if (!path_fits(patterns[op].path, path, &m))
			continue;
		if (patterns[op].method == method) {
			*ret = m;
			return 0;
		}
		allowed |= 1u << patterns[op].method;
	}
	if (allowed & 1u << HTTP_METHOD_GET)
		allowed |= 1u << HTTP_METHOD_HEAD;
	*ret_allowed = allowed;
	return allowed ? 405 : 404;
}

void api_route_allow(unsigned allowed, char out[static API_ALLOW_LEN])
{
	static const char *const names[] = {
	        [HTTP_METHOD_GET] = "GET",
	        [HTTP_METHOD_HEAD] = "HEAD",
	        [HTTP_METHOD_POST] = "POST",
	        [HTTP_METHOD_PUT] = "PUT",
	        [HTTP_METHOD_PATCH] = "PATCH",
	        [HTTP_METHOD_DELETE] = "DELETE",
	};
	size_t n = 0;
	out[0] = '\0';
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (allowed & 1u << i)
			n += (size_t)snprintf(
			        out + n, API_ALLOW_LEN - n, "%s%s", n ? ", " : "", names[i]);
}
