/*
 * The documents of IP rules and bans in the store, as administrators see them. All calls block.
 * Private to the room.
 */
#ifndef HF_POLICY_IP_DOCS_H
#define HF_POLICY_IP_DOCS_H

#include "policy/policy_ip.h"
#include "server/base/doc_error.h"

/* With id, etag and times put to what the store has. NULL when out of memory, or unreadable. */
json_t *ip_doc_show(const struct document *d);
/* 0 with *ret; the store's error. */
int ip_doc_get(struct policy *p, enum entity kind, struct slice id, json_t **ret);
/* In order of id; ret_next: the last id where more may follow, else "". */
int ip_doc_list(struct policy *p, enum entity kind, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1]);
/* Makes it, or with put makes or replaces it as the condition of w has it. 0 with *ret as it is
 * shown; ERR_EXISTS, ERR_STALE, the store's. */
int ip_doc_insert(
        struct policy *p, enum entity kind, const char *id, const json_t *body, json_t **ret);
int ip_doc_put(struct policy *p, enum entity kind, const char *id, const json_t *body,
        const struct policy_ip_write *w, json_t **ret, bool *ret_created);
int ip_doc_delete(struct policy *p, enum entity kind, struct slice id, const char *if_match);

/* 1 to POLICY_IP_ID_MAX of A-Z a-z 0-9 - . _ and neither "." nor ".." nor "dry-run". */
bool ip_doc_id_valid(struct slice id);
/* The id as a C string, for the store; false: there can be no such document. */
bool ip_doc_id_text(struct slice id, char out[static POLICY_IP_ID_MAX + 1]);

/* ---- members that both have; errors are noted at where the check is ---- */
void ip_doc_read_cidr(struct doc_check *c, const json_t *value, struct cidr *ret);
/* RFC 3339; null leaves *ret_us as it is. */
void ip_doc_read_expiry(struct doc_check *c, const json_t *value, int64_t *ret_us);
/* A string of 1 to max bytes; out holds max + 1. */
void ip_doc_read_text(struct doc_check *c, const json_t *value, char *out, size_t max);

#endif
