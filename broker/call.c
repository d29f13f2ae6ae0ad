/* Messages from elsewhere in the hub (HTTPS ingest): published as a client of that principal would.
 */
#include "broker/client.h"
#include "broker/denied.h"
#include "broker/mem.h"
#include "broker/receive.h"
#include "broker/topic.h"
#include "server/base/err.h"
#include "server/base/metrics.h"

static void finish(struct broker_publish *p, int err)
{
	p->err = err;
	p->done(p);
}

void broker_publish(struct broker *b, struct loop *here, struct broker_publish *p)
{
	struct shard *sh = broker_shard(b, here);
	struct slice topic = msg_topic(p->msg);
	if (!topic_name_valid(topic, shard_limits(sh)->max_topic_levels)) {
		finish(p, ERR_INVALID);
		return;
	}
	if (sh->draining) {
		finish(p, ERR_CLOSED);
		return;
	}
	struct topic_rule rule = publish_judge(sh, p->principal, topic, p->msg->retain);
	if (!rule.allowed) {
		denied_publish(p->principal, topic);
		finish(p, ERR_DENIED);
		return;
	}
	if (rule.stored_off != UINT32_MAX && shard_store_full(sh)) {
		finish(p, ERR_UNAVAILABLE);
		return;
	}
	metric_inc(METRIC_PUBLISH_IN);
	p->msg->device_key = p->principal->device_key;
	receive_sign(sh, p->msg, p->principal);
	struct ticket *t = ticket_new(sh, p->principal, rule.stored_off != UINT32_MAX);
	t->call = p;
	publish_accept(sh, p->msg, &rule, NULL, t);
	ticket_settle(t, 0);
}
