#include "server/api/problem.h"

#include "server/base/err.h"

static const struct {
	int status;
	const char *slug, *title;
} kinds[API_PROBLEM_COUNT] = {
#define PROBLEM(id, status, slug, title) {status, slug, title},
#include "server/api/problem.def"
#undef PROBLEM
};

int api_problem_status(enum api_problem kind)
{
	return kinds[kind].status;
}

enum api_problem api_problem_of_status(int status)
{
	for (unsigned i = 0; i < API_PROBLEM_COUNT; i++)
		if (kinds[i].status == status)
			return i;
	return status < 500 ? API_PROBLEM_INVALID : API_PROBLEM_INTERNAL;
}

enum api_problem api_problem_of_err(int err)
{
	switch (err) {
	case ERR_EXISTS: return API_PROBLEM_EXISTS;
	case ERR_CORRUPT: return API_PROBLEM_CORRUPT;
	default: return api_problem_of_status(err_http(err));
	}
}

static int dump_to_buf(const char *text, size_t n, void *arg)
{
	return buf_append(arg, text, n) == 0 ? 0 : -1;
}

int api_json_append(struct buf *out, const json_t *value)
{
	const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
	return json_dump_callback(value, dump_to_buf, out, flags) == 0 ? 0 : ERR_NOMEM;
}

int api_problem_write(struct buf *out, enum api_problem kind, const char *detail,
        const char *trace_id, const json_t *errors)
{
	int r = buf_printf(out,
	        "{\"type\":\"urn:holdfast:problem:%s\",\"title\":\"%s\",\"status\":%d",
	        kinds[kind].slug, kinds[kind].title, kinds[kind].status);
	if (r == 0)
		r = buf_append_str(out, ",\"detail\":");
	/* Every problem has one (CONTRACT section 4): where nothing more can be said, the title. */
	if (r == 0)
		r = json_append_string(out, slice_str(detail ? detail : kinds[kind].title));
	if (r == 0 && trace_id)
		r = buf_printf(out, ",\"traceId\":\"%s\"", trace_id);
	if (r == 0 && errors) {
		r = buf_append_str(out, ",\"errors\":");
		if (r == 0)
			r = api_json_append(out, errors);
	}
	return r == 0 ? buf_append_byte(out, '}') : r;
}

void api_problem_append(struct buf *out, int status, const char *detail, const char *trace_id)
{
	api_problem_write(out, api_problem_of_status(status), detail, trace_id, NULL);
}
