#include "server/init.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/init_cert.h"
#include "server/init_home.h"

#define MASTER_KEY_LEN CRYPTO_KEY_LEN
#define OWNER_TOKEN_LEN 32
#define OWNER_KEY_LEN 64
#define BASE64_LEN(n) (4 * (((n) + 2) / 3) + 1)
#define HOST_NAME_MAX_LEN 256
#define CERT_NAMES_MAX 64

/* One run of init: where it writes, and where it says what went wrong. */
struct init {
	const struct config *config;
	int home, tls, secrets; /* descriptors of the folders */
	char *error;            /* INIT_ERROR_LEN bytes */
};

static void bio_freep(BIO **bio)
{
	BIO_free(*bio);
}

/* ---- folders ---- */

static int open_folder(const struct init *in, const char *name, int *ret)
{
	int fd;

	if (mkdirat(in->home, name, 0700) < 0 && errno != EEXIST)
		return init_fail_errno(in->error, "cannot make the folder", name);
	fd = openat(in->home, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return init_fail_errno(in->error, "cannot open the folder", name);
	*ret = fd;
	return 0;
}

/* ---- files ---- */

static bool exists(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int write_all(int fd, struct slice data)
{
	while (data.n > 0) {
		ssize_t n = write(fd, data.p, data.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_IO;
		data = slice_make(data.p + n, data.n - (size_t)n);
	}
	return 0;
}

/*
 * The whole file or none: written beside its place, flushed, then renamed. The lock on the home
 * makes the name of the half-written one ours alone; one that a killed init left is dropped.
 */
static int write_file(
        const struct init *in, int dir, const char *name, mode_t mode, struct slice data)
{
	_cleanup_close_ int fd = -1;
	char tmp[64];

	snprintf(tmp, sizeof(tmp), ".%s.new", name);
	if (unlinkat(dir, tmp, 0) < 0 && errno != ENOENT)
		return init_fail_errno(in->error, "cannot remove the left-over file", tmp);
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return init_fail_errno(in->error, "cannot make the file", name);
	if (fchmod(fd, mode) < 0 || write_all(fd, data) < 0 || fsync(fd) < 0 ||
	        renameat(dir, tmp, dir, name) < 0 || fsync(dir) < 0) {
		int err = init_fail_errno(in->error, "cannot write the file", name);

		unlinkat(dir, tmp, 0);
		return err;
	}
	return 0;
}

static int write_bio(const struct init *in, int dir, const char *name, mode_t mode, BIO *pem)
{
	char *data;
	long n;

	if (!pem)
		return init_fail(in->error, ERR_CRYPTO, "cannot encode %s", name);
	n = BIO_get_mem_data(pem, &data);
	return write_file(in, dir, name, mode, slice_make(data, (size_t)n));
}

/* ---- holdfast.ini ---- */

static int make_settings(const struct init *in)
{
	_cleanup_free_ char *text = NULL;
	size_t n = 0;
	FILE *out;

	if (exists(in->home, "holdfast.ini"))
		return 0;
	out = open_memstream(&text, &n);
	if (!out)
		return init_fail(in->error, ERR_NOMEM, "out of memory");
	config_print_template(out);
	if (fclose(out) != 0)
		return init_fail(in->error, ERR_NOMEM, "out of memory");
	return write_file(in, in->home, "holdfast.ini", 0600, slice_make(text, n));
}

/* ---- certificates ---- */

static int open_pem(const struct init *in, const char *name, FILE **ret)
{
	int fd = openat(in->tls, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (!f) {
		int err = init_fail(
		        in->error, ERR_IO, "cannot read tls/%s: %s", name, strerror(errno));

		if (fd >= 0)
			close(fd);
		return err;
	}
	*ret = f;
	return 0;
}

static int read_key(const struct init *in, const char *name, EVP_PKEY **ret)
{
	/* Given as the password of a key that has one; without it OpenSSL would ask the terminal.
	 */
	char none[] = "";
	_cleanup_fclose_ FILE *f = NULL;
	EVP_PKEY *key;
	int err = open_pem(in, name, &f);

	if (err < 0)
		return err;
	key = PEM_read_PrivateKey(f, NULL, NULL, none);
	if (!key)
		return init_fail(
		        in->error, ERR_INVALID, "tls/%s is not a private key in PEM", name);
	*ret = key;
	return 0;
}

static int read_cert(const struct init *in, const char *name, X509 **ret)
{
	_cleanup_fclose_ FILE *f = NULL;
	X509 *cert;
	int err = open_pem(in, name, &f);

	if (err < 0)
		return err;
	cert = PEM_read_X509(f, NULL, NULL, NULL);
	if (!cert)
		return init_fail(
		        in->error, ERR_INVALID, "tls/%s is not a certificate in PEM", name);
	*ret = cert;
	return 0;
}

/* Reads the key if it is there, else makes it: a killed init leaves a key without certificate. */
static int read_or_make_key(const struct init *in, const char *name, EVP_PKEY **ret)
{
	_cleanup_key_ EVP_PKEY *key = NULL;
	_cleanup_(bio_freep) BIO *pem = NULL;
	int err;

	if (exists(in->tls, name))
		return read_key(in, name, ret);
	err = init_cert_key(&key);
	if (err < 0)
		return init_fail(in->error, err, "cannot make a key: %s", err_text(err));
	pem = init_cert_key_pem(key);
	err = write_bio(in, in->tls, name, 0600, pem);
	if (err < 0)
		return err;
	*ret = TAKE_PTR(key);
	return 0;
}

static int make_authority(const struct init *in, EVP_PKEY **ret_key, X509 **ret_cert)
{
	_cleanup_key_ EVP_PKEY *key = NULL;
	_cleanup_cert_ X509 *cert = NULL;
	_cleanup_(bio_freep) BIO *pem = NULL;
	int err;

	err = read_or_make_key(in, "ca.key", &key);
	if (err < 0)
		return err;
	if (exists(in->tls, "ca.pem")) {
		err = read_cert(in, "ca.pem", &cert);
		if (err < 0)
			return err;
		if (X509_check_private_key(cert, key) != 1)
			return init_fail(in->error, ERR_INVALID,
			        "tls/ca.key is not the key of tls/ca.pem: put the right one there, "
			        "or remove both");
	} else {
		err = init_cert_authority(key, &cert);
		if (err < 0)
			return init_fail(
			        in->error, err, "cannot make tls/ca.pem: %s", err_text(err));
		pem = init_cert_pem(cert);
		err = write_bio(in, in->tls, "ca.pem", 0644, pem);
		if (err < 0)
			return err;
	}
	*ret_key = TAKE_PTR(key);
	*ret_cert = TAKE_PTR(cert);
	return 0;
}

/* What the certificate is for: this machine by its usual names, and every name of the hub. */
static size_t list_names(const struct config *c, char host[static HOST_NAME_MAX_LEN],
        const char *names[static CERT_NAMES_MAX + 1])
{
	size_t n = 0;

	names[n++] = "localhost";
	names[n++] = "127.0.0.1";
	names[n++] = "::1";
	if (gethostname(host, HOST_NAME_MAX_LEN) == 0) {
		host[HOST_NAME_MAX_LEN - 1] = '\0';
		names[n++] = host;
	}
	for (unsigned i = 0; i < c->hub_name.n && n < CERT_NAMES_MAX; i++)
		names[n++] = c->hub_name.items[i];
	names[n] = NULL;
	return n;
}

/*
 * In the order authority's key, authority, server's key, server: each is made from those before it,
 * so that a later run can complete what an earlier one began. With the server's certificate there,
 * nothing is missing: an operator may keep the authority's key, or all of the authority, elsewhere.
 */
static int make_certificates(const struct init *in)
{
	const char *names[CERT_NAMES_MAX + 1];
	char host[HOST_NAME_MAX_LEN];
	_cleanup_key_ EVP_PKEY *ca_key = NULL;
	_cleanup_key_ EVP_PKEY *key = NULL;
	_cleanup_cert_ X509 *ca = NULL;
	_cleanup_cert_ X509 *cert = NULL;
	_cleanup_(bio_freep) BIO *pem = NULL;
	int err;

	if (exists(in->tls, "server.pem")) {
		if (exists(in->tls, "server.key"))
			return 0;
		return init_fail(in->error, ERR_INVALID,
		        "tls/server.pem is there but its key, tls/server.key, is not: put it back, "
		        "or remove the certificate");
	}
	if (exists(in->tls, "ca.pem") && !exists(in->tls, "ca.key"))
		return init_fail(in->error, ERR_INVALID,
		        "tls/server.pem is missing, and so is tls/ca.key, which would sign a new "
		        "one");
	err = make_authority(in, &ca_key, &ca);
	if (err < 0)
		return err;
	err = read_or_make_key(in, "server.key", &key);
	if (err < 0)
		return err;
	list_names(in->config, host, names);
	err = init_cert_server(key, ca, ca_key, names, &cert);
	if (err < 0)
		return init_fail(in->error, err, "cannot make tls/server.pem: %s", err_text(err));
	pem = init_cert_pem(cert);
	return write_bio(in, in->tls, "server.pem", 0644, pem);
}

/* ---- secrets ---- */

/* Is the file this home's own, that is, does the setting still point to where init puts it? */
static bool is_ours(const struct init *in, const char *setting, const char *name)
{
	const char *home = in->config->home;
	size_t n = strlen(home);

	return strncmp(setting, home, n) == 0 && strncmp(setting + n, "/secrets/", 9) == 0 &&
	        strcmp(setting + n + 9, name) == 0;
}

static int make_master_key(const struct init *in)
{
	uint8_t key[MASTER_KEY_LEN];
	char line[2 * MASTER_KEY_LEN + 2];
	int err;

	if (!is_ours(in, in->config->secrets_master_key, "master.key") ||
	        exists(in->secrets, "master.key"))
		return 0;
	/* What is in the database opens with the key that was lost, and with no other. */
	if (exists(in->home, "postgres"))
		return init_fail(in->error, ERR_CONFLICT,
		        "secrets/master.key is missing, but postgres/ holds data that it opens: "
		        "put it "
		        "back, or remove both");
	crypto_random(key, sizeof(key));
	crypto_hex_encode(slice_make(key, sizeof(key)), line);
	line[2 * sizeof(key)] = '\n';
	err = write_file(
	        in, in->secrets, "master.key", 0600, slice_make(line, 2 * sizeof(key) + 1));
	crypto_wipe(key, sizeof(key));
	crypto_wipe(line, sizeof(line));
	return err;
}

static int make_owner_token(const struct init *in)
{
	uint8_t random[OWNER_TOKEN_LEN];
	char line[8 + BASE64_LEN(OWNER_TOKEN_LEN)] = "hfo_";
	size_t n;
	int err;

	if (!is_ours(in, in->config->secrets_owner_token, "owner.token") ||
	        exists(in->secrets, "owner.token"))
		return 0;
	crypto_random(random, sizeof(random));
	n = 4 + crypto_base64_encode(slice_make(random, sizeof(random)), line + 4);
	/* Base64 to its form for URLs: other last letters, no padding. */
	while (line[n - 1] == '=')
		n--;
	for (size_t i = 4; i < n; i++)
		line[i] = line[i] == '+' ? '-' : line[i] == '/' ? '_' : line[i];
	line[n++] = '\n';
	err = write_file(in, in->secrets, "owner.token", 0600, slice_make(line, n));
	crypto_wipe(random, sizeof(random));
	crypto_wipe(line, sizeof(line));
	return err;
}

static int make_owner_connection(const struct init *in)
{
	uint8_t key[OWNER_KEY_LEN];
	char key_text[BASE64_LEN(OWNER_KEY_LEN)];
	_cleanup_free_ char *line = NULL;
	int n, err;

	if (!is_ours(in, in->config->secrets_owner_connection, "owner.connection") ||
	        exists(in->secrets, "owner.connection"))
		return 0;
	if (in->config->hub_name.n == 0)
		return init_fail(in->error, ERR_INVALID,
		        "hub.name is empty: it needs a host name for the connection strings");
	crypto_random(key, sizeof(key));
	crypto_base64_encode(slice_make(key, sizeof(key)), key_text);
	n = asprintf(&line, "HostName=%s;SharedAccessKeyName=iothubowner;SharedAccessKey=%s\n",
	        in->config->hub_name.items[0], key_text);
	if (n < 0) {
		line = NULL;
		err = init_fail(in->error, ERR_NOMEM, "out of memory");
	} else {
		err = write_file(
		        in, in->secrets, "owner.connection", 0600, slice_make(line, (size_t)n));
		crypto_wipe(line, (size_t)n);
	}
	crypto_wipe(key, sizeof(key));
	crypto_wipe(key_text, sizeof(key_text));
	return err;
}

/* ---- the doors ---- */

int init_home(const struct config *c, char error[static INIT_ERROR_LEN])
{
	static int (*const steps[])(const struct init *) = {make_settings, make_certificates,
	        make_master_key, make_owner_token, make_owner_connection};
	_cleanup_close_ int home = -1;
	_cleanup_close_ int tls = -1;
	_cleanup_close_ int secrets = -1;
	struct init in = {.config = c, .error = error};
	int err;

	err = init_home_open(c->home, &home, error);
	if (err < 0)
		return err;
	in.home = home;
	/* Two inits at once: the second waits, then finds all there. Not the lock of serve, so that
	 * init also works beside a running hub. */
	if (flock(home, LOCK_EX) < 0)
		return init_fail_errno(error, "cannot lock the home folder", c->home);
	if ((err = open_folder(&in, "tls", &tls)) < 0 ||
	        (err = open_folder(&in, "secrets", &secrets)) < 0)
		return err;
	in.tls = tls;
	in.secrets = secrets;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		err = steps[i](&in);
		if (err < 0)
			return err;
	}
	return fsync(home) < 0 ? init_fail_errno(error, "cannot flush the home folder", c->home)
	                       : 0;
}
