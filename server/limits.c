#include "server/limits.h"

#include <string.h>

static const char *const over_rate_words[] = {"pause", "disconnect"};

struct broker_limits broker_limits_of(const struct config *c)
{
	return (struct broker_limits){
	        .connect_ms = (unsigned)c->mqtt_connect_timeout * 1000,
	        .slow_reader_ms = (unsigned)c->mqtt_slow_reader_timeout * 1000,
	        .max_packet_size = (size_t)c->mqtt_max_packet_size,
	        .max_payload = (size_t)c->mqtt_max_payload,
	        .max_keep_alive = (unsigned)c->mqtt_max_keep_alive,
	        .receive_maximum = (unsigned)c->mqtt_receive_maximum,
	        .max_inflight = (unsigned)c->mqtt_max_inflight,
	        .topic_alias_maximum = (unsigned)c->mqtt_topic_alias_maximum,
	        .max_topic_levels = (unsigned)c->mqtt_max_topic_levels,
	        .max_subscriptions = (size_t)c->mqtt_max_subscriptions,
	        .max_queued_messages = (size_t)c->mqtt_max_queued_messages,
	        .max_queued_bytes = (size_t)c->mqtt_max_queued_bytes,
	        .queue_memory = (size_t)c->mqtt_queue_memory,
	        .max_message_rate = (unsigned)c->mqtt_max_message_rate,
	        .max_byte_rate = (size_t)c->mqtt_max_byte_rate,
	        .end_over_rate = strcmp(over_rate_words[c->mqtt_over_rate], "disconnect") == 0,
	        .max_connect_rate = (unsigned)c->mqtt_max_connect_rate,
	        .subscription_memory = (size_t)c->mqtt_subscription_memory,
	        .will_memory = (size_t)c->mqtt_will_memory,
	        .max_session_expiry = (uint32_t)c->mqtt_max_session_expiry,
	        .max_sessions = (size_t)c->mqtt_max_sessions,
	        .max_retained = (size_t)c->mqtt_max_retained,
	        .max_retained_bytes = (size_t)c->mqtt_max_retained_bytes,
	        .device_retained = (size_t)c->mqtt_max_device_retained,
	        .device_retained_bytes = (size_t)c->mqtt_max_device_retained_bytes,
	        .output_soft_bytes = (size_t)c->mqtt_output_soft_bytes,
	        .output_hard_bytes = (size_t)c->mqtt_output_hard_bytes,
	        .store_queue_bytes = (size_t)c->storage_queue_bytes,
	        .lookup_ms = (unsigned)c->registry_lookup_timeout * 1000,
	        .command_depth = (unsigned)c->commands_max_depth,
	        .command_ttl = (unsigned)c->commands_ttl,
	        .max_queued_age = (unsigned)c->mqtt_max_queued_age,
	        .store_filters = c->telemetry_store.items,
	        .n_store_filters = c->telemetry_store.n,
	};
}

struct registry_limits registry_limits_of(const struct config *c)
{
	return (struct registry_limits){
	        .lookup_ms = (unsigned)c->registry_lookup_timeout * 1000,
	        .cache_entries = (size_t)c->registry_cache_entries,
	        .auto_register_rate = (unsigned)c->registry_auto_register_rate,
	        .hub_names = c->hub_name.items,
	        .n_hub_names = c->hub_name.n,
	        .oidc = {.issuer = c->oidc_issuer,
	                .audience = c->oidc_audience,
	                .jwks_url = c->oidc_jwks_url,
	                .ca_file = c->oidc_ca_file,
	                .role_claim = c->oidc_role_claim,
	                .roles = c->oidc_roles.items,
	                .n_roles = c->oidc_roles.n,
	                .skew_s = (unsigned)c->jwt_clock_skew,
	                .max_stale_s = (unsigned)c->oidc_max_stale},
	        .jwt_skew_s = (unsigned)c->jwt_clock_skew,
	        .jwt_max_lifetime_s = (unsigned)c->jwt_max_lifetime,
	        .authorizer_min_s = (unsigned)c->registry_authorizer_min_seconds,
	};
}

struct http_limits http_limits_of(const struct config *c)
{
	return (struct http_limits){
	        .head_bytes = (size_t)c->https_max_head_bytes,
	        .body_bytes = (size_t)c->https_max_body_bytes,
	        .head_ms = (unsigned)c->https_head_timeout * 1000,
	        .body_ms = (unsigned)c->https_body_timeout * 1000,
	        .idle_ms = (unsigned)c->https_idle_timeout * 1000,
	};
}

struct net_limits net_limits_of(const struct config *c)
{
	return (struct net_limits){
	        .handshake_ms = (unsigned)c->mqtt_connect_timeout * 1000,
	        .partial_bytes = (size_t)c->net_partial_bytes,
	        .max_connections = (size_t)c->hub_max_connections,
	        .listener_connections = (size_t)c->hub_max_listener_connections,
	        .address_connections = (size_t)c->hub_max_address_connections,
	};
}

struct outbound_limits outbound_limits_of(const struct config *c)
{
	return (struct outbound_limits){
	        .max_requests = (unsigned)c->outbound_max_requests,
	        .max_waiting = (unsigned)c->outbound_max_waiting,
	        .allow_private = c->outbound_allow_private,
	};
}
