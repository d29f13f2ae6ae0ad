/*
 * The master keys themselves: the current one, and while it is rotated the next one. Either
 * unwraps, one of them wraps. Nothing outside of the process that keeps the keys (keyd.h) holds
 * one. Owned by one thread; whoever has one wipes it.
 */
#ifndef HF_STORAGE_MASTERS_H
#define HF_STORAGE_MASTERS_H

#include "storage/keyring.h"

struct masters {
	uint8_t key[2][CRYPTO_KEY_LEN]; /* the current one, the next one */
	bool has_next, wraps_next;
};

/* keyring_wrap, keyring_unwrap, keyring_rewrap and keyring_ids, done. */
int masters_wrap(
        const struct masters *m, const struct wrap_owner *owner, struct slice plain, uint8_t *out);
int masters_unwrap(const struct masters *m, const struct wrap_owner *owner, struct slice wrapped,
        uint8_t *out);
int masters_rewrap(const struct masters *m, const struct wrap_owner *owner, struct slice wrapped,
        uint8_t *out, bool *ret_changed);
void masters_ids(const struct masters *m, struct keyring_ids *ret);
/* Takes those that were read again; what wrapped goes on to, as long as it is the next one still.
 */
void masters_replace(struct masters *m, const struct masters *fresh);

#endif
