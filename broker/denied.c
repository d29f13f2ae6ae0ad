#include "broker/denied.h"

#include "server/base/audit.h"
#include "server/base/metrics.h"

static void note(const struct principal *p, const char *operation, struct slice target)
{
	char peer[IP_TEXT_LEN] = "";

	audit_denied(&(struct audit_denial){
	        .operation = operation,
	        .reason = "policy",
	        .who = principal_id(p),
	        .target = target,
	        .peer = p->has_source ? ip_text(&p->source, peer) : peer,
	});
}

void denied_publish(const struct principal *p, struct slice topic)
{
	metric_inc(METRIC_PUBLISH_DENIED);
	note(p, "publish", topic);
}

void denied_subscribe(const struct principal *p, struct slice filter)
{
	metric_inc(METRIC_SUBSCRIBE_DENIED);
	note(p, "subscribe", filter);
}
