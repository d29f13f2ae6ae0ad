#include "server/base/msg.h"

#include <assert.h>
#include <stdlib.h>

#include "server/base/metrics.h"

static void put(uint8_t *to, struct slice s)
{
	if (s.n > 0)
		memcpy(to, s.p, s.n);
}

struct msg *msg_new(struct slice topic, struct slice props, struct slice payload)
{
	assert(topic.n <= UINT16_MAX && props.n <= UINT32_MAX && payload.n <= UINT32_MAX);
	struct msg *m = malloc(sizeof(*m) + topic.n + props.n + payload.n);
	if (!m)
		return NULL;
	*m = (struct msg){
	        .refs = 1,
	        .topic_len = (uint16_t)topic.n,
	        .props_len = (uint32_t)props.n,
	        .payload_len = (uint32_t)payload.n,
	};
	metric_add(METRIC_MESSAGE_BYTES, (int64_t)msg_size(m));
	put(m->bytes, topic);
	put(m->bytes + topic.n, props);
	put(m->bytes + topic.n + props.n, payload);
	return m;
}

struct msg *msg_unref(struct msg *m)
{
	/* Release what this thread read or wrote, acquire what the others did before the last one
	 * frees it. */
	if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) {
		metric_add(METRIC_MESSAGE_BYTES, -(int64_t)msg_size(m));
		access_unref(m->from);
		free(m);
	}
	return NULL;
}
