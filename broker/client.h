/*
 * Private to the room: one MQTT connection. It is made on the loop that accepted it, moves once to
 * the home of its client id, and stays there.
 */
#ifndef HF_BROKER_CLIENT_H
#define HF_BROKER_CLIENT_H

#include "broker/alias.h"
#include "broker/codec/mqtt.h"
#include "broker/session.h"
#include "broker/ticket.h"

enum client_state {
	CLIENT_NEW,        /* CONNECT has not come */
	CLIENT_MOVING,     /* on its way to another loop */
	CLIENT_CONNECTING, /* somebody is asked who it is */
	CLIENT_ON,
	CLIENT_ENDING, /* the transport was told to close */
};

/* Why a connection is not read, a bit each. */
enum {
	PAUSE_CONNECT = 1,   /* until CONNACK */
	PAUSE_SUBSCRIBE = 2, /* until SUBACK */
	PAUSE_WINDOW = 4,    /* too many tickets, or too many bytes of theirs */
	PAUSE_STORE = 8,     /* too much waits for the store */
	PAUSE_DRAIN = 16,    /* the hub is stopping */
	PAUSE_OUTPUT = 32,   /* it does not read what we send */
	PAUSE_RATE = 64,     /* it sends more than it may */
};

/* What was decided for the topic that the client published to last. */
#define NOT_STORED UINT32_MAX
struct topic_rule {
	bool allowed, routed;
	const struct shard *home; /* see route_private_home */
	uint32_t stored_off; /* where the topic under which it is stored begins; NOT_STORED: it is
	                        not */
};
struct topic_cache {
	struct topic_rule rule;
	uint64_t decided_ms; /* see DECISION_MS */
	unsigned limits_version;
	uint16_t len;
	bool retain;            /* decided for messages with RETAIN, or for those without it */
	bool unwanted;          /* no entry of the index matched, when it had this version: */
	uint64_t index_version; /* 0: it was not asked yet */
	char topic[];
};

struct broker_client {
	LIST_ENTRY(broker_client) all, ending, starved;
	struct shard *shard;
	const struct broker_link *ops;
	void *link;
	struct session *session;
	struct connecting *connecting; /* while CLIENT_CONNECTING */
	struct sub_job *sub_job;       /* while a SUBSCRIBE waits for the other loops */
	struct topic_cache *cache;
	struct alias_in *aliases_in;
	struct alias_out *aliases_out;
	struct rate *rate; /* NULL: it may send as fast as it likes */
	struct ticket *tickets, **tickets_end;
	struct loop_timer timer; /* CONNECT deadline; then keep alive and expiry */
	union {
		uint64_t connect_by; /* until CONNECT came */
		uint64_t slow_by;    /* with PAUSE_OUTPUT: when progress is looked for */
	};
	uint64_t last_rx_ms;
	int64_t connected_us;
	uint32_t max_packet; /* the client's Maximum Packet Size */
	uint32_t n_tickets;
	uint32_t tickets_stored;  /* bytes of theirs that wait for the store */
	uint32_t slow_unsent;     /* with PAUSE_OUTPUT: what was unsent at the last look */
	uint32_t quota_used;      /* of the receive maximum that it was told */
	uint16_t receive_maximum; /* that it was told */
	uint16_t window;          /* unacknowledged messages towards it */
	uint16_t keep_alive, alias_in_max, alias_out_max;
	uint8_t version; /* MQTT_V311, MQTT_V5 */
	uint8_t state, pauses;
	bool clean_start;
	bool azure;     /* Azure's restrictions hold on Azure's topics */
	bool keep_will; /* it did not say goodbye in a way that cancels the will */
	bool taken_over, is_listed, is_ending_listed, is_starved, in_data;
	uint64_t conn_id;
	const char *protocol, *tls_version;
	bool anonymous_allowed;
	char address[]; /* of the peer */
};

/* Ends the connection: DISCONNECT where the client understands it, then the transport closes. The
 * session lets go of it in the next turn. Harmless when it is ending already. */
void client_end(struct broker_client *c, enum end_reason why);
/* The session lets go of it now. */
void client_detach(struct broker_client *c);
void client_pause(struct broker_client *c, uint8_t why);
void client_resume(struct broker_client *c, uint8_t why);
/* Not read until the store has caught up. */
void client_starve(struct broker_client *c);
/* The store has answered or time has passed: reads on where there is room again. */
void clients_feed(struct shard *sh);
/* The limits of rates have changed. */
void clients_rate(struct shard *sh);
/* Sends what b holds (one packet) and ends clients that never read. */
void client_send(struct broker_client *c, const struct buf *b);
void client_send_ack(
        struct broker_client *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason);
/* Hands the connection to another shard; nothing here may refer to it any more. */
void client_move(struct broker_client *c, struct shard *to);
/* Counts the packet and the unsent bytes after something was queued. */
void client_sent(struct broker_client *c);
/* Wall-clock us of the last packet. */
int64_t client_activity_us(const struct broker_client *c);
/* Arms the timer for keep alive and expiry of the credential. */
void client_watch(struct broker_client *c);

/* connect.c: the first packet. Returns false when it stays unread because the connection moves. */
bool connect_received(struct broker_client *c, const struct mqtt_frame *f);
/* Refuses before CONNACK. */
void connect_refuse(struct broker_client *c, uint8_t code, enum end_reason why);
/* The connection closed while somebody was asked. */
void connect_abandon(struct broker_client *c);
/* The session that a CONNECT waits for is kept now (or cannot be). May end it. */
void connect_kept(struct session *s, int err);
/* The session ends before it was kept. */
void connect_orphan(struct session *s);
/* The principals of those who are connecting may have changed: they are asked for again afterwards.
 */
void connect_note_change(struct shard *sh);

/* publish.c */
/* Whether Azure's restrictions hold for a topic or filter of this client, which policy has allowed.
 */
bool client_azure_topic(const struct broker_client *c, struct slice topic);
void publish_received(struct broker_client *c, const struct mqtt_frame *f);
void publish_released(struct broker_client *c, const struct mqtt_frame *f);
/* The PUBCOMP that it waited for leaves. */
void publish_completed(struct broker_client *c, const struct qos2_slot *q);
/* What may happen to a topic that who publishes to, with RETAIN or without it. */
struct topic_rule publish_judge(
        const struct shard *sh, const struct principal *who, struct slice topic, bool retain);
/* Stores, retains and routes m as the rule says; t (may be NULL when nothing is stored or retained
 * with an answer) gets what must be awaited. Returns whether anybody subscribed. */
bool publish_accept(struct shard *sh, struct msg *m, const struct topic_rule *rule,
        const struct session *from, struct ticket *t);

/* qos2_in.c */
/* Whether a QoS 2 message of that session waits until its packet id is committed. */
bool qos2_must_wait(const struct session *s, bool stored);
/* Asks for that, with its row if the rule says that it is stored; then the message goes to its
 * subscribers. t waits for all of it. */
void qos2_hold_back(
        struct session *s, struct msg *m, const struct topic_rule *rule, struct ticket *t);
/* The row with the id was answered. */
void held_back_row(struct held_back *h, int err);

/* subscribe.c */
void subscribe_received(struct broker_client *c, const struct mqtt_frame *f);
void unsubscribe_received(struct broker_client *c, const struct mqtt_frame *f);
/* The connection is gone: the answers of the other loops are for nobody. */
void subscribe_abandon(struct broker_client *c);

/* While its client waits for SUBACK, a session got a message that is (to be) retained: the copies
 * that the loops were asked for may be older. */
void subscribe_saw(struct sub_job *job, struct msg *m);
/* Meanwhile subscriptions were taken away, perhaps some of those that are asked for. */
void subscribe_narrowed(struct sub_job *job);

/* retained.c: sets (or, with an empty payload, clears) what is retained under m's topic, as by says
 * whose it is; who waits (may be NULL) is told when that is durable. */
void retained_set(struct shard *sh, struct msg *m, struct principal *by, struct receipt *waits);
/* Removes what is retained under a topic on this shard, in memory. */
void retained_drop(struct shard *sh, struct slice topic);
/* Drops what a device retained on this shard. */
void retained_forget(struct shard *sh, uint64_t device_key);
void retained_expire(struct shard *sh);
/* One that an earlier hub left; device_id: whose it is, empty: nobody's that is known. Before the
 * loops run. Whether there was room for it. */
bool retained_restored(struct broker *b, struct msg *m, struct slice device_id);

/* revoke.c: the publishers of what this shard retains are asked about: all, one that is an identity
 * (and the modules of a device), or one that was found. What they may not retain any more goes. */
void revoke_all(struct shard *sh);
void revoke_of(struct shard *sh, enum entity kind, struct slice id);
void revoke_ask(struct shard *sh, struct publisher *by);

/* recheck.c */
void recheck_session(struct session *s);
void recheck_abandon(struct session *s);

/* drain.c */
#define DRAIN_STEP_MS 100
/* During a drain: ends the client if nothing keeps it. */
void drain_client(struct broker_client *c);

#endif
