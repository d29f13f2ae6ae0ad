/*
 * The process that keeps the master keys and the key to sign with, and only wraps, unwraps and
 * signs: forked by whoever loads a keyring, it hears nobody else, and ends when he does.
 *   keyd.c           what it answers; no system call
 *   keyd_process.c   the process, and its helper that fetches keys from their source
 *   keyd_confine.c   what is taken away from it
 */
#ifndef HF_STORAGE_KEYD_H
#define HF_STORAGE_KEYD_H

#include <sys/types.h>

#include "server/base/buf.h"
#include "storage/keyd_wire.h"
#include "storage/masters.h"
#include "storage/storage.h"

/* ---- keyd.c ---- */

/* All that is secret, in one place. Whoever makes one, zeroed, locks and wipes its memory. */
struct keyd {
	struct masters masters;
	bool loaded, can_sign;
	uint8_t sign[CRYPTO_SIGN_KEY_LEN];
};

/* What reading the source brought: err, and the keys or one line of text. */
struct keyd_fetched {
	int err;
	struct masters masters;
	char error[STORAGE_ERROR_LEN];
};

/* Answers one request, which may be anything but KEYD_RELOAD, with a reply of KEYD_PACKET_MAX bytes
 * at most. 0 or ERR_NOMEM. */
int keyd_answer(struct keyd *k, struct slice request, struct buf *reply);
/* Takes the keys that were read; the reply to KEYD_RELOAD. On a failure all stays as it was. 0 or
 * ERR_NOMEM. */
int keyd_take(struct keyd *k, const struct keyd_fetched *f, struct buf *reply);

/* ---- keyd_process.c ---- */

#define KEYD_CHANNELS 8 /* callers that do not wait for each other */
/*
 * Starts it: *ret_pid and our ends of the channels. It has no key yet: KEYD_RELOAD comes first. 0;
 * ERR_IO with errno. Before there are threads.
 */
int keyd_start(const struct key_source *source, int ret_fds[static KEYD_CHANNELS], pid_t *ret_pid);
#define KEYD_EXIT_UNCONFINED 3 /* its status where it could not be confined */

/* ---- keyd_confine.c ---- */

/* Not to be read by others, named name, deaf to the signals that end its parent, ended with it. */
void keyd_hide(const char *name);
/* No descriptor but those n, sorted, and the standard three; 0 and 1 lead nowhere. */
int keyd_close_others(const int *fds, unsigned n);
/* No file, no socket, no other program from now on: memory and the descriptors that it has. 0 or
 * ERR_IO: then it must not go on. */
int keyd_confine(void);

#endif
