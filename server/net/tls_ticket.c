#include "server/net/tls_ticket.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/crypto.h"

#define KEY_NAME_LEN 16

struct ticket_key {
	unsigned char name[KEY_NAME_LEN];
	unsigned char aes[32], hmac[32];
};

struct ticket_keys {
	pthread_mutex_t lock; /* once a handshake */
	struct ticket_key current, before;
	uint64_t made_ms; /* current */
	uint64_t rotation_ms;
	uint64_t aged_ms; /* ticket_keys_age */
	EVP_CIPHER *cipher;
};

static void key_make(struct ticket_key *key)
{
	crypto_random(key, sizeof(*key));
}

struct ticket_keys *ticket_keys_new(void)
{
	struct ticket_keys *keys = calloc(1, sizeof(*keys));
	if (!keys)
		return NULL;
	pthread_mutex_init(&keys->lock, NULL);
	keys->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	if (!keys->cipher)
		return ticket_keys_free(keys);
	/* The one before is random too and never was in use: no ticket fits it. */
	key_make(&keys->current);
	key_make(&keys->before);
	keys->made_ms = clock_ms();
	keys->rotation_ms = 3600 * 1000;
	return keys;
}

struct ticket_keys *ticket_keys_free(struct ticket_keys *keys)
{
	if (!keys)
		return NULL;
	EVP_CIPHER_free(keys->cipher);
	pthread_mutex_destroy(&keys->lock);
	crypto_wipe(keys, sizeof(*keys));
	free(keys);
	return NULL;
}

void ticket_keys_set_rotation(struct ticket_keys *keys, unsigned rotation_s)
{
	pthread_mutex_lock(&keys->lock);
	keys->rotation_ms = (uint64_t)(rotation_s ? rotation_s : 1) * 1000;
	pthread_mutex_unlock(&keys->lock);
}

void ticket_keys_age(struct ticket_keys *keys, unsigned seconds)
{
	pthread_mutex_lock(&keys->lock);
	keys->aged_ms += (uint64_t)seconds * 1000;
	pthread_mutex_unlock(&keys->lock);
}

/* Under the lock. Keys that nobody asked for in time are as old as if somebody had. */
static void keys_rotate(struct ticket_keys *keys)
{
	uint64_t now = clock_ms() + keys->aged_ms;
	if (now - keys->made_ms < keys->rotation_ms)
		return;
	keys->before = keys->current;
	if (now - keys->made_ms >= 2 * keys->rotation_ms)
		key_make(&keys->before);
	key_make(&keys->current);
	keys->made_ms = now;
}

/* 1: the current key, 2: the one before (a new ticket is due), 0: neither. */
static int key_find(struct ticket_keys *keys, const unsigned char *name, struct ticket_key *ret)
{
	int found = 0;
	pthread_mutex_lock(&keys->lock);
	keys_rotate(keys);
	if (!name || memcmp(name, keys->current.name, KEY_NAME_LEN) == 0)
		found = 1;
	else if (memcmp(name, keys->before.name, KEY_NAME_LEN) == 0)
		found = 2;
	if (found)
		*ret = found == 1 ? keys->current : keys->before;
	pthread_mutex_unlock(&keys->lock);
	return found;
}

static int keys_ex_index = -1;
static pthread_once_t keys_ex_once = PTHREAD_ONCE_INIT;

static void keys_ex_make(void)
{
	keys_ex_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) has it. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
        EVP_MAC_CTX *mac, int seal)
{
	/* TLS 1.2 has promised a ticket by now: an empty one is sent (RFC 5077 section 3.3). */
	if (seal && SSL_get0_peer_certificate(ssl))
		return 0;
	struct ticket_keys *keys = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), keys_ex_index);
	struct ticket_key key;
	int found = key_find(keys, seal ? NULL : name, &key);
	if (!found)
		return 0;
	/* In TLS 1.3 clients use a ticket once (RFC 8446 appendix C.4) and need the next one. */
	if (!seal && SSL_version(ssl) == TLS1_3_VERSION)
		found = 2;
	if (seal) {
		memcpy(name, key.name, KEY_NAME_LEN);
		crypto_random(iv, (size_t)EVP_CIPHER_get_iv_length(keys->cipher));
	}
	OSSL_PARAM params[] = {
	        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.hmac, sizeof(key.hmac)),
	        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
	        OSSL_PARAM_construct_end(),
	};
	bool ok = EVP_CipherInit_ex2(cipher, keys->cipher, key.aes, iv, seal, NULL) == 1 &&
	        EVP_MAC_CTX_set_params(mac, params) == 1;
	crypto_wipe(&key, sizeof(key));
	return ok ? found : -1;
}

void ticket_keys_install(struct ticket_keys *keys, SSL_CTX *ctx)
{
	pthread_once(&keys_ex_once, keys_ex_make);
	SSL_CTX_set_ex_data(ctx, keys_ex_index, keys);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}
