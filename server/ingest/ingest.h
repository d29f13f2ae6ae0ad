/*
 * A device's messages over HTTPS: POST /devices/{id}/messages/events, and a module's (CONTRACT
 * section 6). Runs on
 * the connection's loop from start to end; answers 204 after the commit.
 */
#ifndef HF_INGEST_INGEST_H
#define HF_INGEST_INGEST_H

#include "broker/broker.h"
#include "registry/registry.h"
#include "server/net/http.h"

struct ingest;

/* n_loops: how many there are. problem: makes the body of an error. NULL when out of memory. */
struct ingest *ingest_new(struct registry *r, struct broker *b, unsigned n_loops,
        void (*problem)(struct buf *out, int status, const char *detail, const char *trace_id));
void ingest_free(struct ingest *in);
void ingest_set_inflight(struct ingest *in, unsigned per_device); /* any thread */
/* Takes the request over and answers it. device, module (empty: the device itself): the path's
 * segments, still encoded. On r->loop. */
void ingest_handle(
        struct ingest *in, struct http_request *r, struct slice device, struct slice module);

#endif
