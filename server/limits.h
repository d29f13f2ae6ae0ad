/* The settings as each room takes them. Borrowed from c. */
#ifndef HF_SERVER_LIMITS_H
#define HF_SERVER_LIMITS_H

#include "broker/broker.h"
#include "registry/registry.h"
#include "server/config.h"
#include "server/net/http.h"
#include "server/net/net.h"
#include "server/outbound/outbound.h"

struct broker_limits broker_limits_of(const struct config *c);
struct registry_limits registry_limits_of(const struct config *c);
struct http_limits http_limits_of(const struct config *c);
struct net_limits net_limits_of(const struct config *c);
struct outbound_limits outbound_limits_of(const struct config *c);

#endif
