/*
 * The question "who is this?", as one asynchronous request: asked by the MQTT front end (broker)
 * and by device HTTPS (ingest), answered by the registry. Everything on the asking loop.
 */
#ifndef HF_BASE_AUTH_H
#define HF_BASE_AUTH_H

#include "server/base/cert_chain.h"
#include "server/base/deny.h"
#include "server/base/end.h"
#include "server/base/http_header.h"
#include "server/base/loop.h"
#include "server/base/principal.h"

struct auth_request {
	/* In; the slices must live until done is called. */
	struct loop *loop;
	bool https;             /* Authorization header for a device id, else an MQTT CONNECT */
	bool anonymous_allowed; /* the listener lets in clients without credentials */
	struct slice client_id; /* MQTT: the client id (assigned when it was empty) */
	bool has_username, has_password;
	struct slice username, password;
	struct slice device_id;     /* HTTPS: from the path, decoded; with "/module" for modules */
	struct slice authorization; /* HTTPS: the header's value */
	/* What the transport knows. */
	char peer[64];                  /* "203.0.113.7:4711" */
	const char *protocol;           /* "mqtt", "mqtts", "wss", "https"; NULL: not said */
	struct slice server_name;       /* SNI; empty: none */
	struct cert_chain *certificate; /* borrowed; NULL: the client has shown none */
	/* HTTPS, and the request that opened the WebSocket: its query as sent, and its headers. */
	struct slice query;
	const struct http_header *headers;
	unsigned n_headers;
	/* MQTT: what a policy may ask of a CONNECT (iot:ConnectAttributes, iot:LastWillTopic). */
	bool persistent, has_will;
	struct slice will_topic;
	void (*done)(struct auth_request *r); /* called exactly once, on loop, maybe at once */
	void *user;

	/* Out. */
	int err; /* 0; ERR_UNAUTHENTICATED; ERR_INVALID: client id is not the device's (0x85 / 2);
	          * ERR_UNAVAILABLE: not known in time (0x88 / 3, 503) */
	enum deny_reason reason;
	struct principal *principal; /* with 0: the asker's reference */

	/* The answerer's. */
	struct auth_request *next;
	struct loop_timer timer;
	void *state;
};

/* Does a principal that was let in before still stand? (its identity has changed) */
struct recheck_request {
	struct loop *loop;
	struct principal *principal; /* borrowed until done */
	/* Asked for what it may, as whose message is retained: whether its credential still stands,
	 * and where it may connect from, does not matter. */
	bool identity_alone;
	void (*done)(struct recheck_request *r); /* exactly once, on loop, maybe at once */
	void *user;
	/* Out. 0: as before. ERR_UNAUTHENTICATED: end it, for the reason in end. ERR_NOT_FOUND: the
	 * identity (this generation) is gone: end it and forget its session and retained messages.
	 * ERR_UNAVAILABLE: not known now; it will be asked again by the next resync. */
	int err;
	enum end_reason end;
	/* With 0: the same somebody with what it may now, to be used from here on; the asker's
	 * reference. NULL: nothing has changed. */
	struct principal *fresh;
	struct recheck_request *next; /* the answerer's */
	void *state;
};

#endif
