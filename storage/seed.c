/* The hub's keys, and what a new database starts with: access keys and the owner's token. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/private.h"

#define SEED_MS 30000
#define FILE_MAX 1024
#define MADE_KEY_LEN 64
#define TOKEN_MIN 16

#define FAIL(error, err, ...) (snprintf(error, STORAGE_ERROR_LEN, __VA_ARGS__), (err))

/* The access keys of CONTRACT section 4. */
static const struct preset {
	const char *name;
	int32_t perms;
} presets[] = {
        {"iothubowner", PERM_ALL_KEY},
        {"service", PERM_SERVICE_CONNECT},
        {"device", PERM_DEVICE_CONNECT},
        {"registryRead", PERM_REGISTRY_READ},
        {"registryReadWrite", PERM_REGISTRY_READ | PERM_REGISTRY_WRITE},
};

struct seed {
	struct storage *s;
	struct pg *pg;
	uint64_t deadline;
	char *error;
};

static int failed(struct seed *seed, int err, const char *what)
{
	return FAIL(seed->error, err == ERR_UNAVAILABLE ? err : ERR_IO, "%s: %s", what,
	        seed->pg->message);
}

/* One line of text from a file, without the white space at its end. */
static int read_line(const char *file, char out[static FILE_MAX], char *error)
{
	_cleanup_fclose_ FILE *f = fopen(file, "re");

	if (!f)
		return FAIL(error, ERR_IO, "%s: %s", file, strerror(errno));
	size_t n = fread(out, 1, FILE_MAX - 1, f);
	while (n > 0 && strchr(" \t\r\n", out[n - 1]))
		n--;
	out[n] = '\0';
	return n > 0 ? 0 : FAIL(error, ERR_INVALID, "%s is empty", file);
}

/* The SharedAccessKey of a connection string. */
static int read_owner_key(const char *file, struct sym_key *ret, char *error)
{
	static const char label[] = "SharedAccessKey=";
	char line[FILE_MAX];
	uint8_t key[FILE_MAX];
	size_t n = 0;
	int err = read_line(file, line, error);

	if (err < 0)
		return err;
	const char *at = strstr(line, label);
	/* Not the one of SharedAccessKeyName=. */
	err = at ? crypto_base64_decode(slice_str(at + strlen(label)), key, &n) : ERR_INVALID;
	if (err < 0 || n < SYM_KEY_MIN || n > SYM_KEY_MAX) {
		err = FAIL(error, ERR_INVALID, "%s holds no SharedAccessKey of %d to %d bytes",
		        file, SYM_KEY_MIN, SYM_KEY_MAX);
	} else {
		memcpy(ret->bytes, key, n);
		ret->len = (uint8_t)n;
	}
	crypto_wipe(line, sizeof(line));
	crypto_wipe(key, sizeof(key));
	return err;
}

static void make_key(struct sym_key *ret)
{
	crypto_random(ret->bytes, MADE_KEY_LEN);
	ret->len = MADE_KEY_LEN;
}

static int insert_key(struct seed *seed, const struct preset *preset, const struct sym_key *primary)
{
	struct access_key_record r = {.perms = (uint32_t)preset->perms};
	struct sym_key secondary;
	struct wrapped_key wrapped[2];
	struct pg_params p = {0};

	snprintf(r.name, sizeof(r.name), "%s", preset->name);
	make_key(&secondary);
	int err = access_key_wrap(seed->s, &r, primary, WHICH_PRIMARY, &wrapped[0]);
	if (err == 0)
		err = access_key_wrap(seed->s, &r, &secondary, WHICH_SECONDARY, &wrapped[1]);
	crypto_wipe(&secondary, sizeof(secondary));
	if (err < 0)
		return FAIL(seed->error, err, "a key cannot be wrapped");
	pg_put_text(&p, preset->name);
	pg_put_i32(&p, preset->perms);
	pg_put_bytes(&p, wrapped[0].slice);
	pg_put_bytes(&p, wrapped[1].slice);
	err = pg_exec(seed->pg,
	        "INSERT INTO holdfast.access_keys (name, perms, etag, primary_key, secondary_key)"
	        " VALUES ($1, $2, to_hex(nextval('holdfast.etag_seq')), $3, $4)",
	        &p, seed->deadline, NULL);
	return err < 0 ? failed(seed, err, "the access keys cannot be made") : 0;
}

static int seed_access_keys(struct seed *seed, const char *owner_connection_file)
{
	struct sym_key key;
	int err = read_owner_key(owner_connection_file, &key, seed->error);

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(presets); i++) {
		if (i > 0)
			make_key(&key);
		err = insert_key(seed, &presets[i], &key);
	}
	crypto_wipe(&key, sizeof(key));
	return err;
}

static int seed_token(struct seed *seed, const char *token_file)
{
	char token[FILE_MAX];
	uint8_t mac[CRYPTO_HASH_LEN];
	struct pg_params p = {0};
	int err = read_line(token_file, token, seed->error);

	if (err < 0)
		return err;
	if (strlen(token) < TOKEN_MIN)
		err = FAIL(seed->error, ERR_INVALID, "the token in %s is too short", token_file);
	keyring_mac(seed->s->keyring, "token", slice_str(token), mac);
	crypto_wipe(token, sizeof(token));
	if (err < 0)
		return err;
	pg_put_bytes(&p, slice_make(mac, sizeof(mac)));
	err = pg_exec(seed->pg,
	        "INSERT INTO holdfast.tokens (mac, name, role) VALUES ($1, 'owner', 'owner')", &p,
	        seed->deadline, NULL);
	return err < 0 ? failed(seed, err, "the owner's token cannot be kept") : 0;
}

static int seed_hub(struct seed *seed)
{
	struct keyring_hub hub;
	struct pg_params p = {0};

	keyring_make_hub_keys(seed->s->keyring);
	if (keyring_wrap_hub(seed->s->keyring, &hub) < 0)
		return FAIL(seed->error, ERR_CRYPTO, "the hub's keys cannot be wrapped");
	pg_put_bytes(&p, slice_make(hub.check, hub.check_len));
	pg_put_bytes(&p, slice_make(hub.mac, hub.mac_len));
	pg_put_bytes(&p, slice_make(hub.seal, hub.seal_len));
	int err = pg_exec(seed->pg,
	        "INSERT INTO holdfast.hub (master_check, mac_key, seal_key) VALUES ($1, $2, $3)",
	        &p, seed->deadline, NULL);
	return err < 0 ? failed(seed, err, "the hub's keys cannot be kept") : 0;
}

static int make(struct seed *seed, const struct storage_settings *settings)
{
	int err = seed_hub(seed);

	if (err == 0)
		err = seed_access_keys(seed, settings->owner_connection_file);
	if (err == 0)
		err = seed_token(seed, settings->owner_token_file);
	if (err == 0) {
		err = pg_script(seed->pg, "COMMIT", seed->deadline);
		if (err < 0)
			return failed(seed, err, "the new database cannot be set up");
		log_info("database set up");
	}
	return err;
}

static bool copy_column(const PGresult *r, int col, uint8_t out[static WRAP_MAX], size_t *ret_len)
{
	struct slice s = pg_get_bytes(r, 0, col);

	if (s.n > WRAP_MAX)
		return false;
	memcpy(out, s.p, s.n);
	*ret_len = s.n;
	return true;
}

static int unwrap(struct seed *seed, const PGresult *r, const char *master_key_file)
{
	struct keyring_hub hub;
	int err = ERR_CORRUPT;

	if (copy_column(r, 0, hub.check, &hub.check_len) &&
	        copy_column(r, 1, hub.mac, &hub.mac_len) &&
	        copy_column(r, 2, hub.seal, &hub.seal_len))
		err = keyring_unwrap_hub(seed->s->keyring, &hub);
	if (err == ERR_CONFLICT)
		return FAIL(seed->error, err,
		        "the master key %s is not the one that this database was made with",
		        master_key_file);
	if (err < 0)
		return FAIL(seed->error, err, "the hub's keys in the database were altered");
	return 0;
}

int seed_open(struct storage *s, struct pg *pg, const struct storage_settings *settings,
        char error[static STORAGE_ERROR_LEN])
{
	struct seed seed = {s, pg, clock_ms() + SEED_MS, error};
	struct pg_params p = {0};
	_cleanup_result_ PGresult *r = NULL;

	static const char actor_sql[] =
	        "SELECT set_config('holdfast.actor',"
	        " '{\"name\":\"hub\",\"kind\":\"hub\",\"operation\":\"init\"}', true)";

	/* Two hubs that start at once on a new database: the second finds it set up. */
	pg_put_i64(&p, LOCK_SEED);
	int err = pg_script(pg, "BEGIN", seed.deadline);
	if (err == 0)
		err = pg_exec(pg, actor_sql, NULL, seed.deadline, NULL);
	if (err == 0)
		err = pg_exec(pg, "SELECT pg_advisory_xact_lock($1)", &p, seed.deadline, NULL);
	if (err == 0)
		err = pg_exec(pg, "SELECT master_check, mac_key, seal_key FROM holdfast.hub", NULL,
		        seed.deadline, &r);
	if (err < 0)
		return failed(&seed, err, "the hub's keys cannot be read");
	err = PQntuples(r) > 0 ? unwrap(&seed, r, settings->master_key_file)
	                       : make(&seed, settings);
	/* After a COMMIT there is nothing to roll back, and it is harmless. */
	(void)pg_script(pg, "ROLLBACK", seed.deadline);
	return err;
}
