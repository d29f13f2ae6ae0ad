/*
 * Where the master keys come from: a file, a command's output, or a file whose content a PKCS#11
 * token opens. Read by a process that lives for as long as that takes (keyd_process.c).
 */
#ifndef HF_STORAGE_KEY_SOURCE_H
#define HF_STORAGE_KEY_SOURCE_H

#include "storage/masters.h"
#include "storage/storage.h"

#define KEY_HEX_LEN (2 * CRYPTO_KEY_LEN)
/* A key that a token encrypted: nonce, ciphertext, tag. */
#define KEY_SEALED_LEN (CRYPTO_NONCE_LEN + CRYPTO_KEY_LEN + CRYPTO_TAG_LEN)

static inline bool key_source_has_command(const struct key_source *s)
{
	return s->command && s->command[0];
}

static inline bool key_source_has_token(const struct key_source *s)
{
	return s->module && s->module[0];
}

/* Reads the current master key, and the next one where there is one. May run a command, and blocks
 * for as long as that takes, KEY_COMMAND_S at most. 0; ERR_IO, ERR_INVALID, ERR_NOMEM with one line
 * in error. */
int key_source_read(const struct key_source *s, struct masters *ret, char *error, size_t size);

/* ---- key_command.c ---- */

#define KEY_COMMAND_S 30
/*
 * Runs a command line, without a shell: blanks separate its words, quotes ('…', "…") hold them
 * together. What it prints, n bytes at most, without the white space at the end, is its answer; its
 * standard error is ours. 0 with *ret_n; ERR_IO: it failed, took too long or printed more;
 * ERR_INVALID; one line in error, without anything that it printed.
 */
int key_command_run(const char *line, char *out, size_t n, size_t *ret_n, char *error, size_t size);

/* ---- key_token.c ---- */

/* Encrypts and decrypts one master key with the AES key of the token, which seal makes where there
 * is none yet. 0; ERR_IO, ERR_INVALID, ERR_CORRUPT with one line in error. */
int key_token_seal(const struct key_source *s, const uint8_t key[static CRYPTO_KEY_LEN],
        uint8_t ret[static KEY_SEALED_LEN], char *error, size_t size);
int key_token_open(const struct key_source *s, const uint8_t sealed[static KEY_SEALED_LEN],
        uint8_t ret[static CRYPTO_KEY_LEN], char *error, size_t size);

#endif
