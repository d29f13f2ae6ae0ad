/*
 * From headers to stored properties to the REST item, and to the topic of a command. Input: lines
 * "name:value", an empty line, the payload; the device id of the topic is fixed. The same bytes are
 * tried as a topic, too.
 */
#include <stdlib.h>

#include "server/api/item.h"
#include "server/base/json.h"
#include "server/ingest/map_command.h"
#include "server/ingest/map_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice take_until(struct slice *in, char end)
{
	const uint8_t *at = in->n ? memchr(in->p, end, in->n) : NULL;
	struct slice head = slice_make(in->p, at ? (size_t)(at - in->p) : in->n);
	*in = slice_from(*in, head.n + (at ? 1 : 0));
	return head;
}

static void render(struct slice topic, struct slice props, struct slice payload)
{
	struct telemetry_item it = {.topic = topic, .props = props, .payload = payload};
	struct buf _cleanup_(buf_free) out;
	buf_init(&out, (size_t)64 << 20);
	if (api_item_write(&out, &it, 1) < 0 || !json_is_valid(buf_slice(&out)))
		abort();
}

/* No header makes another level, a wildcard or a byte that a topic may not have. */
static void check_command(const struct msg *m)
{
	struct slice topic = msg_topic(m);
	unsigned levels = 1;
	for (size_t i = 0; i < topic.n; i++) {
		if (topic.p[i] <= ' ' || topic.p[i] > '~' || strchr("+#$", topic.p[i]))
			abort();
		levels += topic.p[i] == '/';
	}
	if (levels != 5)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice all = slice_make(data, size), in = all;
	struct http_request r = {0};
	while (in.n > 0 && r.n_headers < HTTP_MAX_HEADERS) {
		struct slice line = take_until(&in, '\n');
		if (line.n == 0)
			break;
		struct slice name = take_until(&line, ':');
		r.headers[r.n_headers++] = (struct http_header){name, line};
	}
	r.body = in;
	struct msg *m = NULL;
	const char *why = NULL;
	if (size <= 65536 && ingest_map_message(&r, "d", &m, &why) == 0) {
		render(msg_topic(m), msg_props(m), msg_payload(m));
		msg_unref(m);
	}
	if (size <= 65536 && ingest_map_command(&r, "d", &m, &why) == 0) {
		check_command(m);
		render(msg_topic(m), msg_props(m), msg_payload(m));
		msg_unref(m);
	}
	render(all, all, all);
	return 0;
}
