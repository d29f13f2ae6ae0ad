/*
 * Bans: nobody from an address, or nobody in a device's or key's name, or both together, for a
 * while. Documents in the store, so that every hub has them; the set in force is a part of the
 * rules. Private to the room.
 */
#ifndef HF_POLICY_BANS_H
#define HF_POLICY_BANS_H

#include "policy/ip_docs.h"
#include "policy/ip_scopes.h"
#include "policy/rules.h"

#define BAN_ID_LEN 24
#define BAN_REASON_MAX 128
#define BANS_GONE_MAX 256

struct ban {
	bool by_hand;    /* an administrator's: it ends who is connected */
	bool everywhere; /* whatever the address; net does not count */
	struct cidr net;
	char device[MODULE_ID_MAX + 1], key[KEY_NAME_MAX + 1]; /* at most one of them; "" */
	char reason[BAN_REASON_MAX + 1];
	int64_t expires_us; /* 0: never */
	unsigned step;      /* of the durations, 0 for the first ban */
};

/* One that has expired and is to be taken from the store, unless it was renewed. */
struct ban_gone {
	char id[POLICY_IP_ID_MAX + 1], etag[ETAG_LEN + 1];
};

struct bans {
	struct part part;
	struct ip_scopes *scopes; /* values: 1: by hand, 0: the hub's own */
	size_t n;
	bool any_by_hand;
	int64_t next_expiry_us; /* 0: none expires */
	unsigned n_gone;
	struct ban_gone gone[BANS_GONE_MAX];
};

/* rules.c: reads them. */
int bans_load(const struct document_store *documents, struct part **ret);
static inline const struct bans *bans_of(const struct rules *r)
{
	const struct part *p = r->parts[RULES_BANS];
	return p ? (const struct bans *)((const char *)p - offsetof(struct bans, part)) : NULL;
}

enum ban_kind { BAN_NONE, BAN_AUTOMATIC, BAN_BY_HAND };
/* Whether somebody from ip, of the scope and name, is banned; b NULL: nobody is. */
enum ban_kind bans_find(
        const struct bans *b, enum ip_scope scope, struct slice name, const struct ip_addr *ip);

/* Whom it hits decides on its id, so that all hubs find the same. */
void ban_id(const struct ban *b, char out[static BAN_ID_LEN + 1]);
/* Whether it is a device id, or "device/module". */
bool ban_identity_valid(struct slice id);
/* What the store is to have. NULL when out of memory. */
json_t *ban_body(const struct ban *b);
/* A document. 0 or ERR_INVALID with errors noted in c. stored: what ban_body made, else what an
 * administrator sent. */
int ban_read(struct doc_check *c, const json_t *doc, bool stored, struct ban *ret);

#endif
