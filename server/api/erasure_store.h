/*
 * The port through which the API destroys what a device has said, and reads the receipts; storage
 * implements it. On threads that may block (API workers).
 */
#ifndef HF_API_ERASURE_STORE_H
#define HF_API_ERASURE_STORE_H

#include "server/base/slice.h"

#define ERASURE_SIGNATURE_LEN 64
#define ERASURE_PUBLIC_KEY_LEN 32

/* A receipt. Signed is the word "erasure", a byte 0, and text: Ed25519 by the hub's key. */
struct erasure {
	int64_t id;
	/* JSON: erasureId, deviceId, generationId, keysDestroyed (ids, as strings), erasedAt,
	 * erasedBy.
	 */
	struct slice text;
	struct slice signature, public_key;
};

struct erasure_store {
	void *ctx;
	/*
	 * Destroys all data keys of the device, and its retained, queued and command copies; it
	 * gets a new key and lives on. After the 0 nothing that it had sent before can be read, on
	 * any hub within a second; what is acknowledged afterwards is kept. On behalf of
	 * audit_actor(). got is called once, with slices valid during the call; its error is
	 * returned, the erasure stands. 0; ERR_NOT_FOUND; ERR_UNAVAILABLE; ERR_INTERNAL.
	 */
	int (*erase)(void *ctx, const char *device_id,
	        int (*got)(const struct erasure *e, void *arg), void *arg);
	/* Receipts, newest first, with ids below `before`; device_id NULL: of all devices, else of
	 * every generation of that name. */
	int (*list)(void *ctx, const char *device_id, int64_t before, unsigned limit,
	        int (*got)(const struct erasure *e, void *arg), void *arg);
	/* 0; ERR_NOT_FOUND. */
	int (*get)(
	        void *ctx, int64_t id, int (*got)(const struct erasure *e, void *arg), void *arg);
};

#endif
