/* The handlers that routes.def names. */
#ifndef HF_API_HANDLERS_H
#define HF_API_HANDLERS_H

#include "server/api/call.h"

/* On the connection's loop: never block, answer by http_respond. */
void api_health(struct api *api, struct http_request *r, const struct api_match *m);
void api_ready(struct api *api, struct http_request *r, const struct api_match *m);
void api_openapi(struct api *api, struct http_request *r, const struct api_match *m);
void api_device_send(struct api *api, struct http_request *r, const struct api_match *m);

/* On a worker: may block, leave the answer in the call. The caller is known and allowed, parameters
 * and body are read. */
void api_metrics(struct api_call *c);
void api_device_create(struct api_call *c);
void api_device_list(struct api_call *c);
void api_device_get(struct api_call *c);
void api_device_put(struct api_call *c);
void api_device_patch(struct api_call *c);
void api_device_delete(struct api_call *c);
void api_device_regenerate(struct api_call *c);
void api_audit_list(struct api_call *c);
void api_telemetry_query(struct api_call *c);
void api_telemetry_latest(struct api_call *c);
void api_module_create(struct api_call *c);
void api_module_list(struct api_call *c);
void api_module_get(struct api_call *c);
void api_module_put(struct api_call *c);
void api_module_patch(struct api_call *c);
void api_module_delete(struct api_call *c);
void api_module_regenerate(struct api_call *c);
void api_approval_list(struct api_call *c);
void api_approval_get(struct api_call *c);
void api_approval_approve(struct api_call *c);
void api_token_create(struct api_call *c);
void api_token_list(struct api_call *c);
void api_token_get(struct api_call *c);
void api_token_delete(struct api_call *c);
void api_access_key_create(struct api_call *c);
void api_access_key_list(struct api_call *c);
void api_access_key_get(struct api_call *c);
void api_access_key_put(struct api_call *c);
void api_access_key_delete(struct api_call *c);
void api_access_key_regenerate(struct api_call *c);
void api_access_key_regenerate_named(struct api_call *c);
void api_authorizer_create(struct api_call *c);
void api_authorizer_list(struct api_call *c);
void api_authorizer_get(struct api_call *c);
void api_authorizer_put(struct api_call *c);
void api_authorizer_delete(struct api_call *c);
void api_authorizer_test(struct api_call *c);
void api_authority_create(struct api_call *c);
void api_authority_list(struct api_call *c);
void api_authority_get(struct api_call *c);
void api_authority_patch(struct api_call *c);
void api_authority_delete(struct api_call *c);
void api_authority_verify(struct api_call *c);
void api_authority_crl(struct api_call *c);
void api_certificate_create(struct api_call *c);
void api_certificate_list(struct api_call *c);
void api_certificate_get(struct api_call *c);
void api_certificate_patch(struct api_call *c);
void api_certificate_delete(struct api_call *c);
void api_ip_rule_create(struct api_call *c);
void api_ip_rule_dry_run(struct api_call *c);
void api_ip_rule_list(struct api_call *c);
void api_ip_rule_get(struct api_call *c);
void api_ip_rule_put(struct api_call *c);
void api_ip_rule_delete(struct api_call *c);
void api_ban_create(struct api_call *c);
void api_ban_list(struct api_call *c);
void api_ban_get(struct api_call *c);
void api_ban_delete(struct api_call *c);
void api_policy_create(struct api_call *c);
void api_policy_list(struct api_call *c);
void api_policy_simulate(struct api_call *c);
void api_policy_check(struct api_call *c);
void api_policy_get(struct api_call *c);
void api_policy_put(struct api_call *c);
void api_policy_patch(struct api_call *c);
void api_policy_delete(struct api_call *c);
void api_policy_version_create(struct api_call *c);
void api_policy_version_list(struct api_call *c);
void api_policy_version_get(struct api_call *c);
void api_policy_version_delete(struct api_call *c);
void api_policy_attachments(struct api_call *c);
void api_group_create(struct api_call *c);
void api_group_list(struct api_call *c);
void api_group_get(struct api_call *c);
void api_group_put(struct api_call *c);
void api_group_delete(struct api_call *c);
void api_group_member_list(struct api_call *c);
void api_group_member_put(struct api_call *c);
void api_group_member_delete(struct api_call *c);
void api_group_policy_list(struct api_call *c);
void api_group_policy_put(struct api_call *c);
void api_group_policy_delete(struct api_call *c);
void api_device_group_list(struct api_call *c);
void api_device_policy_list(struct api_call *c);
void api_device_policy_put(struct api_call *c);
void api_device_policy_delete(struct api_call *c);
void api_certificate_policy_list(struct api_call *c);
void api_certificate_policy_put(struct api_call *c);
void api_certificate_policy_delete(struct api_call *c);
void api_grant_create(struct api_call *c);
void api_grant_list(struct api_call *c);
void api_grant_get(struct api_call *c);
void api_grant_delete(struct api_call *c);
void api_connection_list(struct api_call *c);
void api_connection_end(struct api_call *c);
void api_session_get(struct api_call *c);
void api_session_delete(struct api_call *c);
void api_command_send(struct api_call *c);
void api_stats(struct api_call *c);

#endif
