/*
 * Private to the room: a session and what belongs to it. It lives on its home loop from its first
 * CONNECT until it expires, whether a client is connected or not.
 */
#ifndef HF_BROKER_SESSION_H
#define HF_BROKER_SESSION_H

#include "broker/durable.h"
#include "broker/out.h"
#include "broker/qos2.h"
#include "broker/shard.h"

/* A filter that sessions of this loop hold apart from the index, kept once: the whole of
 * "$share/g/f", or a silent one. */
struct filter {
	unsigned refs;
	uint16_t len;
	char text[];
};

struct sub {
	uint8_t kind; /* ROUTE_LOCAL */
	uint8_t qos;
	bool no_local : 1, retain_as_published : 1;
	bool shared : 1;
	bool silent : 1; /* "$iothub/…": granted, answered by the facade, never in the index */
	uint32_t id;     /* Subscription Identifier, 0: none */
	LIST_ENTRY(sub) entry;
	struct sub_key {
		struct session *session;
		union {
			struct index_place place;
			struct filter *filter; /* shared or silent: it stands apart */
		};
	} of;
};

/* Something under way that refers to a session: the session cuts the thread when it ends. */
enum tether_kind { TETHER_TICKET, TETHER_RELEASE, TETHER_STORE };
struct tether {
	LIST_ENTRY(tether) entry;
	enum tether_kind kind;
	struct session *session; /* NULL: it has ended, or it was never tied */
};
LIST_HEAD(tether_list, tether);

/*
 * What a session's shared groups know of it. The one thing that loops share without mail: a session
 * that is ready and busy in turns would have to tell each of its groups each time.
 */
enum share_state { SHARE_OFFLINE, SHARE_BUSY, SHARE_READY };
struct share_member {
	atomic_uint refs; /* of the session, of groups and of SUBSCRIBEs on their way to them */
	atomic_int state; /* enum share_state, set by the session's loop */
};

struct session {
	LIST_ENTRY(session) all;
	struct shard *shard;
	struct broker_client *client; /* NULL: nobody is connected */
	struct principal *principal;  /* of the last connection */
	LIST_HEAD(sub_list, sub) subs;
	struct tether_list tethers;
	struct recheck *recheck;
	struct verdicts *verdicts; /* with filters: see receive.h */
	struct out_box out;
	struct qos2_set qos2;
	struct session_will *will;
	struct durable *durable;     /* NULL: it is kept in memory alone */
	struct connecting *joining;  /* a CONNECT that waits until the session is kept */
	uint64_t will_at, expire_at; /* monotonic ms while offline; UINT64_MAX: never */
	struct loop_timer timer;
	int64_t last_activity_us, gone_us;
	uint64_t member; /* number in shared groups, 0: in none */
	uint32_t expiry; /* s; UINT32_MAX: never */
	unsigned n_subs, n_shared;
	bool commands_wait;         /* for room in the flight */
	bool filters;               /* policy is asked of each message that it gets */
	bool narrowed;              /* subscriptions of its were taken away once */
	bool unjudged;              /* restored, and its identity was not asked for yet */
	uint32_t sub_bytes;         /* what its subscriptions count for */
	unsigned match;             /* its place among the matches of the message being routed */
	struct share_member *share; /* NULL: it never was in a group */
	uint16_t key_len, id_off;
	char key[];
};

static inline struct slice session_client_id(const struct session *s)
{
	return slice_make(s->key + s->id_off, (size_t)(s->key_len - s->id_off));
}

/* The session of that principal and client id, or NULL. */
struct session *session_find(
        const struct shard *sh, const struct principal *p, struct slice client_id);
/* The session of a device or module by its id alone. */
struct session *session_find_device(const struct shard *sh, struct slice id);
/* A new one without a client; NULL when there are too many. */
struct session *session_new(struct shard *sh, struct principal *p, struct slice client_id);
/* One that the store knows, however many there are; nobody is connected. NULL: no memory, or the
 * row contradicts itself. */
struct session *session_restored(struct shard *sh, const struct session_row *row);
/* Since when nobody is connected and how the time goes on that the session and its will have. */
void session_resume_times(struct session *s, const struct session_row *row);
/* Ends it: its will goes out, its subscriptions and messages go, it is freed. A client must have
 * let go of it. */
void session_end(struct session *s);
/* The same without its will, and forgetting is final: its device does not exist any more. */
void session_forget(struct session *s);
/* Frees it and nothing else: neither will nor store nor groups hear of it. The hub is stopping. */
void session_discard(struct session *s);
/* A client takes it. */
void session_attach(struct session *s, struct broker_client *c, uint32_t expiry);
/* narrow.c: from here on it is p who has it: what p may not have of it goes. A reference is taken.
 */
void session_take(struct session *s, struct principal *p);
/* Its will goes, if its principal may not publish it. */
void session_judge_will(struct session *s);
/* Its client is gone: the will, and the expiry, begin to run. May end it. */
void session_detach(struct session *s);
/* The client that may be written to now, or NULL. */
struct broker_client *session_writable(const struct session *s);

void session_tie(struct session *s, struct tether *t, enum tether_kind kind);
void session_untie(struct tether *t);

/* Under which name the store has the QoS 2 packet ids of a session; without a text it has none. */
struct qos2_owner {
	uint64_t device_key;
	struct slice session; /* in the session's principal or in name */
};
#define QOS2_NAME_MAX 20
struct qos2_owner qos2_owner(const struct session *s, char name[static QOS2_NAME_MAX]);
/* release.c: what the store is to forget of a session's QoS 2 messages. */
void qos2_release_one(struct session *s, struct qos2_slot *q);
void qos2_release_all(struct session *s);

/* will.c */
struct session_will *will_free(struct shard *sh, struct session_will *w);
/* Makes this the session's will in place of the one it had, and takes over the reference on its
 * message. */
void will_set(struct session *s, const struct session_will *w);
/* Publishes the session's will and forgets it. False: its owner may not publish it any more. */
bool will_publish(struct session *s);
/* What a durable session's row has for a will. */
struct session_will will_of_row(const struct session *s);
/* The durable session ends and has nothing to do any more with its wills that are on their way
 * (then, if not NULL, waits until they are out). */
void wills_let_go(struct session *s, struct receipt *then);

/* subscribe.c */
/* One that the session had; before the loops run. 0, ERR_INVALID, ERR_DENIED, ERR_QUOTA. */
int subscription_restored(struct session *s, const struct sub_write *from);

/* subs.c */
/* The session's subscription to exactly this filter, NULL if it has none. */
struct sub *session_sub(struct session *s, struct slice text);
/* Whether a filter is granted, answered by the facade and never matched. */
bool sub_is_silent(struct slice filter);
/* Notes a new subscription that is shared or silent. False: no memory. */
bool sub_hold_apart(struct sub *sub, struct slice text);
/* Its filter, until the next call on this loop and no longer than it lives. */
struct slice sub_text(const struct sub *sub);
/* Takes it off its session, and out of the index or its group. */
void sub_leave(struct session *s, struct sub *sub);
/* The same for every one. */
void session_unsubscribe_all(struct session *s);
/* Frees all and nothing else: the hub is stopping, the index stays as it is. */
void session_discard_subs(struct session *s);
/* The filter of that text with a reference, made if needed; NULL: no memory. */
struct filter *filter_get(struct shard *sh, struct slice text);
struct filter *filter_ref(struct filter *f);
void filter_unref(struct shard *sh, struct filter *f);
static inline struct slice filter_text(const struct filter *f)
{
	return slice_make(f->text, f->len);
}

#endif
