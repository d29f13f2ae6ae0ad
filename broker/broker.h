/*
 * MQTT semantics without sockets and without SQL: bytes in, bytes out. One shard for each event
 * loop; a session lives on the loop that the hash of its client id chooses (home), and everything
 * about it happens there. CONTRACT section 5 says what users rely on.
 */
#ifndef HF_BROKER_BROKER_H
#define HF_BROKER_BROKER_H

#include <sys/types.h>

#include "broker/broker_hooks.h"
#include "broker/session_store.h"
#include "broker/telemetry_store.h"
#include "server/base/buf.h"

struct broker;
struct broker_client;

struct broker_limits {
	unsigned connect_ms, slow_reader_ms;
	size_t max_packet_size, max_payload;
	unsigned max_keep_alive, receive_maximum, max_inflight, topic_alias_maximum,
	        max_topic_levels;
	size_t max_subscriptions, max_queued_messages, max_queued_bytes;
	/* Of one device, its modules with it; 0: any. end_over_rate: its connection ends, else it
	 * is not read for a while. */
	unsigned max_message_rate, max_connect_rate; /* a second, a minute */
	size_t max_byte_rate;                        /* a second */
	bool end_over_rate;
	/* Over all sessions; 0: no limit. One session may take a 64th of subscription_memory. */
	size_t subscription_memory, will_memory;
	size_t queue_memory; /* messages waiting for clients, over all sessions; 0: no limit */
	uint32_t max_session_expiry;
	size_t max_sessions, max_retained, max_retained_bytes;
	size_t device_retained, device_retained_bytes; /* of one device; 0: no limit */
	size_t output_soft_bytes, output_hard_bytes;
	size_t store_queue_bytes;   /* past this backlog publishers are not read */
	unsigned lookup_ms;         /* for an answer of the store that somebody waits for */
	unsigned command_depth;     /* most commands that wait for a device */
	unsigned command_ttl;       /* s; expiry of commands that have none; 0: none */
	unsigned max_queued_age;    /* s; queued messages that are older are dropped; 0: none is */
	char *const *store_filters; /* telemetry.store; copied */
	unsigned n_store_filters;
};

struct broker_stores {
	const struct telemetry_store *telemetry;
	const struct session_store *sessions; /* NULL: sessions do not outlive the hub */
};
/* loops: n, not running. hooks and stores are copied. NULL when out of memory. Main thread. */
struct broker *broker_new(struct loop *const *loops, unsigned n, const struct broker_hooks *hooks,
        const struct broker_stores *stores, const struct broker_limits *limits);
/* Reads what an earlier hub left: sessions, subscriptions, retained messages; everybody is asked
 * about again. Once, before the loops run; blocks. 0, or what session_store.restore returned. Main
 * thread. */
int broker_restore(struct broker *b);
void broker_free(struct broker *b); /* after the loops have stopped */
/* Takes effect on each loop in its next turn. Any thread. 0, ERR_NOMEM. */
int broker_set_limits(struct broker *b, const struct broker_limits *limits);

/* ---- connections: what the broker needs from a transport, all on the connection's loop ---- */
struct broker_link {
	void (*send)(void *link, const void *p, size_t n); /* copies */
	void (*send_msg)(void *link, struct slice head, struct msg *m, struct slice body);
	size_t (*unsent)(void *link);
	void (*pause)(void *link); /* counted, as conn_pause */
	void (*resume)(void *link);
	/* Ends it: the broker gets broker_client_closed later, once. hard: drop unsent output. */
	void (*close)(void *link, enum end_reason why, bool hard);
	/* Moves to the other loop, where broker_client_moved is called (see conn_move). */
	void (*move)(void *link, struct loop *to);
	/* The client has proved who it is; may be NULL. */
	void (*known)(void *link);
	/* What the client has shown of itself in the TLS handshake, borrowed; NULL, and a member
	 * that is NULL: nothing. */
	struct cert_chain *(*certificate)(void *link);
	/* The host name that it asked for there (SNI); empty: none. */
	struct slice (*server_name)(void *link);
	/* The request that opened its WebSocket, once: the caller's. NULL: none. */
	struct http_opening *(*take_opening)(void *link);
};

struct broker_peer {
	uint64_t conn_id;
	char address[64];
	const char *protocol;    /* "mqtt", "mqtts", "wss"; lives for ever */
	const char *tls_version; /* or NULL; lives for ever */
	bool anonymous_allowed;
};

/* A new connection on here. NULL when out of memory (close it then). */
struct broker_client *broker_client_new(struct broker *b, struct loop *here,
        const struct broker_link *ops, void *link, const struct broker_peer *peer);
/* Bytes came in: as conn_handler.on_data. */
ssize_t broker_client_data(struct broker_client *c, struct slice in, size_t *ret_need);
void broker_client_drained(struct broker_client *c);
void broker_client_moved(struct broker_client *c, struct loop *here);
/* The transport has to end the connection: says goodbye and closes the link, as for a reason of
 * the broker's own. */
void broker_client_end(struct broker_client *c, enum end_reason why);
/* The connection is gone (why as the transport knows it): the last call, c is freed in it. */
void broker_client_closed(struct broker_client *c, enum end_reason why);

/* ---- messages from elsewhere (HTTPS ingest) ---- */
struct broker_publish {
	struct principal *principal; /* borrowed until done */
	struct msg *msg;             /* the caller's reference, until done; qos, received_us set */
	void (*done)(struct broker_publish *p); /* exactly once, on the loop that called */
	void *user;
	int err; /* out: 0: durable as CONTRACT section 5 says; else why not */
	void *state;
};
/* Policy was not asked yet: it is asked here (ERR_DENIED). On a loop. */
void broker_publish(struct broker *b, struct loop *here, struct broker_publish *p);

/* ---- commands (CONTRACT section 6) ---- */
struct broker_command {
	uint64_t device_key;    /* which generation of which device */
	struct slice device_id; /* valid until done */
	struct msg
	        *msg; /* the caller's reference, until done; topic devices/{id}/messages/
	                 devicebound/{bag}, qos 1, received_us set; its expiry is the command's */
	void (*done)(struct broker_command *p); /* exactly once, on the loop that called */
	void *user;
	int err; /* out: 0: committed to the device's command queue. ERR_QUOTA: that is full.
	            ERR_NOT_FOUND: the device is gone. */
	void *state;
};
/* Queues a command for a device; it is delivered to the device's own subscription that matches,
 * now or when there is one. On a loop. */
void broker_command(struct broker *b, struct loop *here, struct broker_command *p);

/* ---- changes of identities; from any thread, takes effect on every loop in its next turn ---- */
/* An identity changed: every live connection of device id (or access key name, kind) is asked for
 * by hooks.recheck; all of a device's: its modules too. */
void broker_identity_changed(struct broker *b, enum entity kind, struct slice id);
/* A generation of a device is gone: end its connections, forget sessions, commands and retained
 * messages. */
void broker_device_gone(struct broker *b, struct slice id, uint64_t device_key);
/* Changes may have been missed: ask for every session's principal again. */
void broker_recheck_all(struct broker *b);

/* ---- for the API; on threads that may block (workers), never on a loop ---- */
struct broker_connection {
	char *client_id, *principal;               /* malloc'ed */
	const char *kind, *protocol, *tls_version; /* constants; tls_version may be NULL */
	int mqtt_version;                          /* 4, 5 */
	char address[64];
	uint64_t conn_id;
	unsigned keep_alive, subscriptions, inflight, queued;
	bool clean_start;
	int64_t connected_us;     /* wall clock */
	int64_t last_activity_us; /* when the last packet came */
};
/* Those whose client id is greater than after (NULL: from the start), in order of client id, at
 * most limit. 0, ERR_NOMEM. Free with broker_connections_free. */
int broker_connections(struct broker *b, const char *after, unsigned limit,
        struct broker_connection **ret, unsigned *ret_n);
void broker_connections_free(struct broker_connection *list, unsigned n);
/* Ends every connection with that client id, as an administrator. Returns how many there were. */
unsigned broker_disconnect(struct broker *b, struct slice client_id);
/* The sessions with that client id (devices and back ends have keys of their own, so there may be
 * more than one), at most limit. Blocks. 0, ERR_NOMEM; free with broker_sessions_free. */
struct broker_session_sub {
	char *filter;
	unsigned qos;
	bool no_local, retain_as_published;
	uint32_t id;
};
struct broker_session {
	char *client_id, *principal; /* malloc'ed */
	const char *kind;
	bool connected, durable;
	uint32_t expiry;    /* s; UINT32_MAX: never */
	int64_t offline_us; /* since when nobody is connected; 0: somebody is */
	int64_t expires_us; /* 0: not while connected, or never */
	unsigned inflight;
	size_t queued, queued_bytes; /* messages waiting, here and in the store */
	bool has_will;
	struct broker_session_sub *subs;
	unsigned n_subs;
};
int broker_sessions(struct broker *b, struct slice client_id, unsigned limit,
        struct broker_session **ret, unsigned *ret_n);
void broker_sessions_free(struct broker_session *list, unsigned n);
/* Ends them: connections close as by an administrator, and all that was kept is forgotten, in the
 * store too when this returns 0. How many there were in *ret_n. ERR_UNAVAILABLE: the store did not
 * answer in time. Blocks. */
int broker_sessions_delete(struct broker *b, struct slice client_id, unsigned *ret_n);
/* For each device id: whether it is connected here and when its last packet came (0: never).
 * n at most 1000. */
struct broker_presence {
	bool connected;
	int64_t since_us, last_activity_us;
};
void broker_presence(
        struct broker *b, const struct slice *device_ids, unsigned n, struct broker_presence *ret);

/* ---- drain ---- */
/* Refuses new CONNECTs (0x88 … Server shutting down), sends DISCONNECT 0x8B to every client once
 * its tickets are settled, or at deadline_ms (monotonic) without; then closes. Any thread. */
void broker_drain(struct broker *b, uint64_t deadline_ms);
/* Clients and tickets that are left. Any thread. */
size_t broker_busy(const struct broker *b);

#endif
