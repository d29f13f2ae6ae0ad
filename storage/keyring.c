#include "storage/keyring.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "storage/envelope.h"

#define HEX_LEN (2 * CRYPTO_KEY_LEN)
static const char check_text[] = "holdfast master key";

struct keyring {
	uint8_t master[CRYPTO_KEY_LEN];
	uint8_t mac[CRYPTO_KEY_LEN];    /* of secrets, tokens */
	uint8_t qos2[CRYPTO_KEY_LEN];   /* of QoS 2 tags, derived from mac */
	uint8_t seal[CRYPTO_KEY_LEN];   /* of what belongs to no device */
	uint8_t record[CRYPTO_KEY_LEN]; /* of records of no device, derived from seal */
};

static int fail(int err, char *error, size_t size, const char *what, const char *file)
{
	snprintf(error, size, "the master key %s %s", file, what);
	return err;
}

static int read_hex(int fd, const char *file, uint8_t *key, char *error, size_t size)
{
	char text[HEX_LEN + 8];
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fail(ERR_IO, error, size, "is not a file", file);
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return fail(ERR_INVALID, error, size,
		        "can be read or changed by others: its mode must be 0600", file);
	ssize_t n = read(fd, text, sizeof(text));
	while (n > HEX_LEN && isspace((unsigned char)text[n - 1]))
		n--;
	err = n == HEX_LEN ? crypto_hex_decode(slice_make(text, HEX_LEN), key, CRYPTO_KEY_LEN)
	                   : ERR_INVALID;
	crypto_wipe(text, sizeof(text));
	return err < 0 ? fail(ERR_INVALID, error, size, "must be 64 hex digits", file) : 0;
}

/* Locked memory of its own page: where the limit on locked memory is reached, it still works. */
static struct keyring *keyring_alloc(void)
{
	struct keyring *k = mmap(
	        NULL, sizeof(*k), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (k == MAP_FAILED)
		return NULL;
	(void)mlock(k, sizeof(*k));
	(void)madvise(k, sizeof(*k), MADV_DONTDUMP);
	return k;
}

int keyring_load(const char *file, struct keyring **ret, char *error, size_t size)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return fail(ERR_IO, error, size, strerror(errno), file);
	struct keyring *k = keyring_alloc();
	if (!k)
		return fail(ERR_NOMEM, error, size, "finds no memory", file);
	int err = read_hex(fd, file, k->master, error, size);
	if (err < 0) {
		keyring_free(k);
		return err;
	}
	*ret = k;
	return 0;
}

void keyring_free(struct keyring *k)
{
	if (!k)
		return;
	crypto_wipe(k, sizeof(*k));
	munmap(k, sizeof(*k));
}

/* Keys for other uses are derived, so that one use's values tell nothing to another's. */
static void derive(struct keyring *k)
{
	crypto_hmac_sha256(
	        slice_make(k->mac, sizeof(k->mac)), SLICE_LIT("qos2"), SLICE_LIT(""), k->qos2);
	crypto_hmac_sha256(slice_make(k->seal, sizeof(k->seal)), SLICE_LIT("record"), SLICE_LIT(""),
	        k->record);
}

void keyring_make_hub_keys(struct keyring *k)
{
	crypto_random(k->mac, sizeof(k->mac));
	crypto_random(k->seal, sizeof(k->seal));
	derive(k);
}

int keyring_wrap_hub(const struct keyring *k, struct keyring_hub *ret)
{
	int err = keyring_wrap(
	        k, &(struct wrap_owner){.purpose = "check"}, slice_str(check_text), ret->check);

	if (err == 0)
		err = keyring_wrap(k, &(struct wrap_owner){.purpose = "hub-mac"},
		        slice_make(k->mac, sizeof(k->mac)), ret->mac);
	if (err == 0)
		err = keyring_wrap(k, &(struct wrap_owner){.purpose = "hub-seal"},
		        slice_make(k->seal, sizeof(k->seal)), ret->seal);
	ret->check_len = sizeof(check_text) - 1 + WRAP_OVERHEAD;
	ret->mac_len = ret->seal_len = CRYPTO_KEY_LEN + WRAP_OVERHEAD;
	return err;
}

int keyring_unwrap_hub(struct keyring *k, const struct keyring_hub *hub)
{
	uint8_t text[WRAP_MAX];

	if (keyring_unwrap(k, &(struct wrap_owner){.purpose = "check"},
	            slice_make(hub->check, hub->check_len), text) < 0)
		return ERR_CONFLICT;
	if (hub->mac_len != CRYPTO_KEY_LEN + WRAP_OVERHEAD || hub->seal_len != hub->mac_len ||
	        keyring_unwrap(k, &(struct wrap_owner){.purpose = "hub-mac"},
	                slice_make(hub->mac, hub->mac_len), k->mac) < 0 ||
	        keyring_unwrap(k, &(struct wrap_owner){.purpose = "hub-seal"},
	                slice_make(hub->seal, hub->seal_len), k->seal) < 0)
		return ERR_CORRUPT;
	derive(k);
	return 0;
}

int keyring_wrap(
        const struct keyring *k, const struct wrap_owner *owner, struct slice plain, uint8_t *out)
{
	if (plain.n > WRAP_MAX - WRAP_OVERHEAD)
		return ERR_TOO_BIG;
	return envelope_seal(k->master, owner, plain, out);
}

int keyring_unwrap(
        const struct keyring *k, const struct wrap_owner *owner, struct slice wrapped, uint8_t *out)
{
	if (wrapped.n > WRAP_MAX)
		return ERR_CORRUPT;
	return envelope_open(k->master, owner, wrapped, out);
}

void keyring_mac(const struct keyring *k, const char *purpose, struct slice in,
        uint8_t out[static CRYPTO_HASH_LEN])
{
	crypto_hmac_sha256(slice_make(k->mac, sizeof(k->mac)),
	        slice_make(purpose, strlen(purpose) + 1), in, out);
}

void keyring_qos2_tag(
        const struct keyring *k, struct slice topic, struct slice payload, uint8_t tag[static 8])
{
	/* The topic's length is part of the key: where it ends cannot be moved. */
	uint8_t key[CRYPTO_KEY_LEN + 2], mac[CRYPTO_HASH_LEN];

	memcpy(key, k->qos2, CRYPTO_KEY_LEN);
	key[CRYPTO_KEY_LEN] = (uint8_t)(topic.n >> 8);
	key[CRYPTO_KEY_LEN + 1] = (uint8_t)topic.n;
	crypto_hmac_sha256(slice_make(key, sizeof(key)), topic, payload, mac);
	memcpy(tag, mac, 8);
	crypto_wipe(key, sizeof(key));
}

const uint8_t *keyring_record_key(const struct keyring *k)
{
	return k->record;
}

int keyring_seal(
        const struct keyring *k, const struct wrap_owner *owner, struct slice plain, uint8_t *out)
{
	return envelope_seal(k->seal, owner, plain, out);
}

int keyring_open(
        const struct keyring *k, const struct wrap_owner *owner, struct slice sealed, uint8_t *out)
{
	return envelope_open(k->seal, owner, sealed, out);
}
