/*
 * PKCS#11 (OASIS, version 2.40): the master key stands in its file encrypted with AES-256-GCM under
 * a key that never leaves the token. The module is loaded, asked once and unloaded; the process
 * that does it ends right after (keyd_process.c).
 */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "storage/key_source.h"

#define PIN_MAX 256
#define SLOTS_MAX 64
#define LABEL_LEN 32 /* of a token: padded with blanks */

struct token {
	const struct key_source *source;
	void *library;
	CK_FUNCTION_LIST *p11;
	bool initialized;
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;
	char *error;
	size_t size;
};

HF_PRINTF(3, 4) static int fail(const struct token *t, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->error, t->size, fmt, ap);
	va_end(ap);
	return err;
}

static int refused(const struct token *t, const char *what, CK_RV rv)
{
	return fail(t, ERR_IO, "the PKCS#11 token does not %s (0x%lx)", what, rv);
}

/* ---- coming in ---- */

static int load(struct token *t)
{
	const char *module = t->source->module;
	CK_C_GetFunctionList get = NULL;

	t->library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
	if (t->library)
		*(void **)&get = dlsym(t->library, "C_GetFunctionList");
	if (!get || get(&t->p11) != CKR_OK)
		return fail(t, ERR_IO, "secrets.pkcs11_module: %s is no PKCS#11 module", module);
	CK_RV rv = t->p11->C_Initialize(NULL);
	if (rv != CKR_OK)
		return refused(t, "start", rv);
	t->initialized = true;
	return 0;
}

static bool has_label(const CK_TOKEN_INFO *info, const char *label)
{
	char padded[LABEL_LEN];
	size_t n = strlen(label);

	if (n > LABEL_LEN)
		return false;
	memset(padded, ' ', sizeof(padded));
	memcpy(padded, label, n);
	return memcmp(padded, info->label, LABEL_LEN) == 0;
}

static int find_slot(const struct token *t, CK_SLOT_ID *ret)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG n = SLOTS_MAX;
	CK_RV rv = t->p11->C_GetSlotList(CK_TRUE, slots, &n);

	if (rv != CKR_OK)
		return refused(t, "list its slots", rv);
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;

		if (t->p11->C_GetTokenInfo(slots[i], &info) != CKR_OK ||
		        !has_label(&info, t->source->token))
			continue;
		*ret = slots[i];
		return 0;
	}
	return fail(t, ERR_IO, "secrets.pkcs11_token: the module has no token \"%s\"",
	        t->source->token);
}

static int read_pin(const struct token *t, char pin[static PIN_MAX], size_t *ret_n)
{
	const char *file = t->source->pin_file;
	_cleanup_fclose_ FILE *f = fopen(file, "re");

	if (!f)
		return fail(t, ERR_IO, "secrets.pkcs11_pin_file: %s cannot be read", file);
	setvbuf(f, NULL, _IONBF, 0);
	size_t n = fread(pin, 1, PIN_MAX, f);
	while (n > 0 && strchr(" \t\r\n", pin[n - 1]))
		n--;
	*ret_n = n;
	return 0;
}

static int log_in(struct token *t, bool writes)
{
	CK_SLOT_ID slot = 0;
	char pin[PIN_MAX];
	size_t n = 0;
	int err = find_slot(t, &slot);

	if (err == 0)
		err = read_pin(t, pin, &n);
	if (err < 0)
		return err;
	CK_FLAGS flags = CKF_SERIAL_SESSION | (writes ? CKF_RW_SESSION : 0);
	CK_RV rv = t->p11->C_OpenSession(slot, flags, NULL, NULL, &t->session);
	if (rv == CKR_OK)
		rv = t->p11->C_Login(t->session, CKU_USER, (CK_UTF8CHAR *)pin, n);
	crypto_wipe(pin, sizeof(pin));
	if (rv == CKR_PIN_INCORRECT)
		return fail(t, ERR_INVALID, "the PKCS#11 token does not take the PIN of %s",
		        t->source->pin_file);
	return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? 0 : refused(t, "let in", rv);
}

static void leave(struct token *t)
{
	if (t->initialized) {
		if (t->session)
			(void)t->p11->C_CloseSession(t->session);
		(void)t->p11->C_Finalize(NULL);
	}
	if (t->library)
		dlclose(t->library);
}

/* ---- the key ---- */

static int find_key(struct token *t, bool *ret_found)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_ATTRIBUTE wanted[] = {
	        {CKA_CLASS, &class, sizeof(class)},
	        {CKA_KEY_TYPE, &type, sizeof(type)},
	        {CKA_LABEL, (void *)(uintptr_t)t->source->key, strlen(t->source->key)},
	};
	CK_ULONG n = 0;
	CK_RV rv = t->p11->C_FindObjectsInit(t->session, wanted, ARRAY_LEN(wanted));

	if (rv == CKR_OK)
		rv = t->p11->C_FindObjects(t->session, &t->key, 1, &n);
	(void)t->p11->C_FindObjectsFinal(t->session);
	*ret_found = rv == CKR_OK && n == 1;
	return rv == CKR_OK ? 0 : refused(t, "look for the key", rv);
}

static int make_key(struct token *t)
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG length = CRYPTO_KEY_LEN;
	CK_MECHANISM how = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ATTRIBUTE what[] = {
	        {CKA_LABEL, (void *)(uintptr_t)t->source->key, strlen(t->source->key)},
	        {CKA_VALUE_LEN, &length, sizeof(length)},
	        {CKA_TOKEN, &yes, sizeof(yes)},
	        {CKA_PRIVATE, &yes, sizeof(yes)},
	        {CKA_SENSITIVE, &yes, sizeof(yes)},
	        {CKA_EXTRACTABLE, &no, sizeof(no)},
	        {CKA_ENCRYPT, &yes, sizeof(yes)},
	        {CKA_DECRYPT, &yes, sizeof(yes)},
	};
	CK_RV rv = t->p11->C_GenerateKey(t->session, &how, what, ARRAY_LEN(what), &t->key);

	return rv == CKR_OK ? 0 : refused(t, "make a key", rv);
}

/* In, and the key found or, where it may be, made. */
static int enter(struct token *t, bool makes)
{
	bool found = false;
	int err = load(t);

	if (err == 0)
		err = log_in(t, makes);
	if (err == 0)
		err = find_key(t, &found);
	if (err < 0 || found)
		return err;
	return makes ? make_key(t)
	             : fail(t, ERR_IO, "secrets.pkcs11_key: the token has no AES key \"%s\"",
	                       t->source->key);
}

/* ---- using it ---- */

/* What the other uses of the token's key, should it have any, cannot be passed off as. */
static const char purpose[] = "holdfast master key";

static CK_GCM_PARAMS gcm_params(const uint8_t *nonce)
{
	return (CK_GCM_PARAMS){
	        .iv_ptr = (CK_BYTE *)(uintptr_t)nonce,
	        .iv_len = CRYPTO_NONCE_LEN,
	        .iv_bits = 8 * CRYPTO_NONCE_LEN,
	        .aad_ptr = (CK_BYTE *)(uintptr_t)purpose,
	        .aad_len = sizeof(purpose) - 1,
	        .tag_bits = 8 * CRYPTO_TAG_LEN,
	};
}

static int seal(const struct token *t, const uint8_t *key, uint8_t *out)
{
	CK_GCM_PARAMS gcm = gcm_params(out);
	CK_MECHANISM how = {CKM_AES_GCM, &gcm, sizeof(gcm)};
	CK_ULONG n = KEY_SEALED_LEN - CRYPTO_NONCE_LEN;
	CK_RV rv = t->p11->C_EncryptInit(t->session, &how, t->key);

	if (rv == CKR_OK)
		rv = t->p11->C_Encrypt(t->session, (CK_BYTE *)(uintptr_t)key, CRYPTO_KEY_LEN,
		        out + CRYPTO_NONCE_LEN, &n);
	return rv == CKR_OK && n == KEY_SEALED_LEN - CRYPTO_NONCE_LEN ? 0
	                                                              : refused(t, "encrypt", rv);
}

static int open_sealed(const struct token *t, const uint8_t *sealed, uint8_t *out)
{
	CK_GCM_PARAMS gcm = gcm_params(sealed);
	CK_MECHANISM how = {CKM_AES_GCM, &gcm, sizeof(gcm)};
	uint8_t plain[KEY_SEALED_LEN]; /* some modules count with the tag */
	CK_ULONG n = sizeof(plain);
	CK_RV rv = t->p11->C_DecryptInit(t->session, &how, t->key);

	if (rv == CKR_OK)
		rv = t->p11->C_Decrypt(t->session,
		        (CK_BYTE *)(uintptr_t)(sealed + CRYPTO_NONCE_LEN),
		        KEY_SEALED_LEN - CRYPTO_NONCE_LEN, plain, &n);
	bool good = rv == CKR_OK && n == CRYPTO_KEY_LEN;
	if (good)
		memcpy(out, plain, CRYPTO_KEY_LEN);
	crypto_wipe(plain, sizeof(plain));
	return good ? 0
	            : fail(t, ERR_CORRUPT,
	                      "the PKCS#11 token does not decrypt the master key %s (0x%lx)",
	                      t->source->file, rv);
}

int key_token_seal(const struct key_source *s, const uint8_t key[static CRYPTO_KEY_LEN],
        uint8_t ret[static KEY_SEALED_LEN], char *error, size_t size)
{
	struct token t = {.source = s, .error = error, .size = size};
	int err = enter(&t, true);

	crypto_random(ret, CRYPTO_NONCE_LEN);
	if (err == 0)
		err = seal(&t, key, ret);
	leave(&t);
	return err;
}

int key_token_open(const struct key_source *s, const uint8_t sealed[static KEY_SEALED_LEN],
        uint8_t ret[static CRYPTO_KEY_LEN], char *error, size_t size)
{
	struct token t = {.source = s, .error = error, .size = size};
	int err = enter(&t, false);

	if (err == 0)
		err = open_sealed(&t, sealed, ret);
	leave(&t);
	return err;
}
