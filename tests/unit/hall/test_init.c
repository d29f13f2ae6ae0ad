/* The home folder: made whole, completed, never overwritten, never another user's, locked by one.
 */
#include <check.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/buf.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/init.h"
#include "server/init_cert.h"

static char base[64], home[128], error[INIT_ERROR_LEN];
static struct config *config;

static void run(const char *command)
{
	char line[512];

	snprintf(line, sizeof(line), "cd '%s' && %s", base, command);
	ck_assert_int_eq(system(line), 0); /* a test's own, constant words */
}

static void setup(void)
{
	const char *tmp = getenv("HF_TMP");
	char why[CONFIG_ERROR_LEN];

	snprintf(base, sizeof(base), "%s/init-XXXXXX", tmp && strlen(tmp) < 48 ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(base));
	snprintf(home, sizeof(home), "%s/a/home", base);
	setenv("HOLDFAST_HUB_NAME", "hub.example.com, 192.0.2.7", 1);
	ck_assert_int_eq(config_load(home, NULL, &config, why), 0);
	error[0] = '\0';
}

static void teardown(void)
{
	config = config_unref(config);
	run("rm -rf a");
	rmdir(base);
}

static void read_file(const char *name, char *out, size_t size)
{
	char path[256];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", home, name);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s", path);
	n = fread(out, 1, size - 1, f);
	out[n] = '\0';
	fclose(f);
}

static unsigned mode_of(const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", home, name);
	ck_assert_int_eq(lstat(path, &st), 0);
	return (unsigned)st.st_mode & 07777;
}

static X509 *read_cert(const char *name)
{
	char path[256];
	FILE *f;
	X509 *cert;

	snprintf(path, sizeof(path), "%s/tls/%s", home, name);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	ck_assert_ptr_nonnull(cert);
	return cert;
}

static bool chain_holds(void)
{
	_cleanup_cert_ X509 *ca = read_cert("ca.pem");
	_cleanup_cert_ X509 *server = read_cert("server.pem");
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	bool holds;

	X509_STORE_add_cert(store, ca);
	X509_STORE_set_flags(store, X509_V_FLAG_X509_STRICT);
	X509_STORE_CTX_init(ctx, store, server, NULL);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	holds = X509_verify_cert(ctx) == 1;
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return holds;
}

START_TEST(makes_everything)
{
	char text[1024], other[1024];

	ck_assert_int_eq(init_home(config, error), 0);
	ck_assert_uint_eq(mode_of("."), 0700);
	ck_assert_uint_eq(mode_of("tls"), 0700);
	ck_assert_uint_eq(mode_of("tls/server.key"), 0600);
	ck_assert_uint_eq(mode_of("tls/ca.key"), 0600);
	ck_assert_uint_eq(mode_of("secrets/master.key"), 0600);
	ck_assert_uint_eq(mode_of("secrets/owner.token"), 0600);
	ck_assert_uint_eq(mode_of("secrets/owner.connection"), 0600);

	read_file("secrets/master.key", text, sizeof(text));
	ck_assert_uint_eq(strspn(text, "0123456789abcdef"), 64);
	ck_assert_str_eq(text + 64, "\n");
	read_file("secrets/owner.token", text, sizeof(text));
	ck_assert_int_eq(strncmp(text, "hfo_", 4), 0);
	ck_assert_uint_eq(strcspn(text, "\n"), 4 + 43);
	ck_assert_ptr_null(strpbrk(text, "+/="));
	read_file("secrets/owner.connection", text, sizeof(text));
	snprintf(other, sizeof(other),
	        "HostName=hub.example.com;SharedAccessKeyName=iothubowner;SharedAccessKey=");
	ck_assert_int_eq(strncmp(text, other, strlen(other)), 0);
	ck_assert_uint_eq(strlen(text), strlen(other) + 88 + 1);
	read_file("holdfast.ini", text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "HOLDFAST_MQTT_TLS_LISTEN"));
}
END_TEST

START_TEST(certificate_names_the_hub)
{
	ck_assert_int_eq(init_home(config, error), 0);
	ck_assert(chain_holds());
	_cleanup_cert_ X509 *cert = read_cert("server.pem");
	ck_assert_int_eq(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
	ck_assert_int_eq(X509_check_host(cert, "hub.example.com", 0, 0, NULL), 1);
	ck_assert_int_eq(X509_check_host(cert, "example.com", 0, 0, NULL), 0);
	ck_assert_int_eq(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
	ck_assert_int_eq(X509_check_ip_asc(cert, "::1", 0), 1);
	ck_assert_int_eq(X509_check_ip_asc(cert, "192.0.2.7", 0), 1);
	ck_assert_int_eq(X509_check_ca(cert), 0);
	ck_assert_int_eq(EVP_PKEY_get_bits(X509_get0_pubkey(cert)), 256);
	_cleanup_cert_ X509 *ca = read_cert("ca.pem");
	ck_assert_int_eq(X509_check_ca(ca), 1);
	ck_assert_int_eq(X509_get_pathlen(ca), 0);
}
END_TEST

START_TEST(overwrites_nothing)
{
	ck_assert_int_eq(init_home(config, error), 0);
	run("echo mine > a/home/holdfast.ini && sha256sum a/home/*.ini a/home/*/* > sums");
	ck_assert_int_eq(init_home(config, error), 0);
	run("sha256sum --quiet -c sums && rm sums");
}
END_TEST

/* Whatever a killed run lacks is made by the next, and what it had is kept. */
START_TEST(completes)
{
	static const char *const lost[] = {"holdfast.ini", "tls/server.pem",
	        "tls/server.pem a/home/tls/server.key",
	        "tls/server.pem a/home/tls/server.key a/home/tls/ca.pem",
	        "tls/server.pem a/home/tls/ca.pem", "tls/*", "secrets/master.key",
	        "secrets/owner.token", "secrets/owner.connection", "secrets -r"};
	char command[256];

	for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
		ck_assert_int_eq(init_home(config, error), 0);
		snprintf(command, sizeof(command),
		        "cp -a a/home before && rm a/home/%s && touch a/home/.holdfast.ini.new",
		        lost[i]);
		run(command);
		ck_assert_msg(init_home(config, error) == 0, "%s: %s", lost[i], error);
		ck_assert(chain_holds());
		run("for f in $(cd before && find . -type f -name '[!.]*'); do test -s a/home/$f "
		    "|| exit 1; "
		    "done");
		run("rm -rf before");
	}
}
END_TEST

START_TEST(says_what_cannot_be_completed)
{
	ck_assert_int_eq(init_home(config, error), 0);
	run("mv a/home/tls/server.key .");
	ck_assert_int_eq(init_home(config, error), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error, "server.key"));
	run("mv server.key a/home/tls/ && rm a/home/tls/ca.key");
	ck_assert_int_eq(init_home(config, error), 0); /* kept elsewhere: all there */
	run("rm a/home/tls/server.pem");
	ck_assert_int_eq(init_home(config, error), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error, "ca.key"));
}
END_TEST

START_TEST(makes_no_second_master_key)
{
	ck_assert_int_eq(init_home(config, error), 0);
	run("mkdir a/home/postgres && rm a/home/secrets/master.key");
	ck_assert_int_eq(init_home(config, error), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(error, "master.key"));
	ck_assert_ptr_null(strchr(error, '\n'));
}
END_TEST

START_TEST(leaves_mounted_secrets_alone)
{
	char why[CONFIG_ERROR_LEN];

	config = config_unref(config);
	setenv("HOLDFAST_SECRETS_MASTER_KEY", "/run/secrets/master", 1);
	ck_assert_int_eq(config_load(home, NULL, &config, why), 0);
	ck_assert_int_eq(init_home(config, error), 0);
	run("test ! -e a/home/secrets/master.key && test -e a/home/secrets/owner.token");
}
END_TEST

START_TEST(closes_an_open_home)
{
	run("mkdir -p a/home && chmod 0755 a/home");
	ck_assert_int_eq(init_home(config, error), 0);
	ck_assert_uint_eq(mode_of("."), 0700);
}
END_TEST

START_TEST(refuses_what_is_no_folder_of_ours)
{
	char why[CONFIG_ERROR_LEN];

	run("mkdir a && echo x > a/home");
	ck_assert_int_lt(init_home(config, error), 0);
	ck_assert_ptr_nonnull(strstr(error, home));
	config = config_unref(config);
	if (geteuid() != 0) {
		ck_assert_int_eq(config_load("/usr", NULL, &config, why), 0);
		ck_assert_int_eq(init_home(config, error), ERR_DENIED);
		ck_assert_ptr_nonnull(strstr(error, "belongs to root"));
	}
}
END_TEST

/* What is used by others as well stays as open as it is. */
START_TEST(refuses_a_folder_of_others)
{
	run("mkdir -p a/home/precious && chmod 0755 a/home");
	ck_assert_int_eq(init_home(config, error), ERR_DENIED);
	ck_assert_ptr_nonnull(strstr(error, "holds other files"));
	ck_assert_ptr_null(strchr(error, '\n'));
	ck_assert_uint_eq(mode_of("."), 0755);
	run("rmdir a/home/precious && chmod 1777 a/home");
	ck_assert_int_eq(init_home(config, error), ERR_DENIED);
	ck_assert_ptr_nonnull(strstr(error, "sticky"));
	ck_assert_uint_eq(mode_of("."), 01777);
	run("test -z \"$(ls -A a/home)\"");
	if (geteuid() == 0) {
		char why[CONFIG_ERROR_LEN];

		config = config_unref(config);
		ck_assert_int_eq(config_load("/.", NULL, &config, why), 0);
		ck_assert_int_eq(init_home(config, error), ERR_DENIED);
		ck_assert_ptr_nonnull(strstr(error, "root folder"));
	}
}
END_TEST

/* Made and partly filled before init: a volume, mounted secrets, a cluster. */
START_TEST(takes_what_was_prepared)
{
	static const char *const prepared[] = {"lost+found", "tls", "secrets", ".run.lock other"};
	char command[128];

	for (size_t i = 0; i < ARRAY_LEN(prepared); i++) {
		snprintf(command, sizeof(command), "mkdir -p a/home && cd a/home && mkdir %s",
		        prepared[i]);
		run(command);
		ck_assert_msg(init_home(config, error) == 0, "%s: %s", prepared[i], error);
		run("rm -r a/home");
	}
}
END_TEST

START_TEST(one_process_has_the_lock)
{
	int fd = -1, status;

	ck_assert_int_eq(home_lock(home, &fd, error), ERR_NOT_FOUND);
	ck_assert_int_eq(init_home(config, error), 0);
	ck_assert_int_eq(home_lock(home, &fd, error), 0);
	pid_t child = fork();
	if (child == 0) {
		int other = -1;

		_exit(home_lock(home, &other, error) == ERR_EXISTS && strstr(error, "process") &&
		                        other == -1
		                ? 0
		                : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	close(fd);
	ck_assert_int_eq(home_lock(home, &fd, error), 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("init");
	TCase *tests = tcase_create("home");
	SRunner *runner;
	int failed;

	if (crypto_init() < 0)
		return 1;
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, makes_everything);
	tcase_add_test(tests, certificate_names_the_hub);
	tcase_add_test(tests, overwrites_nothing);
	tcase_add_test(tests, completes);
	tcase_add_test(tests, says_what_cannot_be_completed);
	tcase_add_test(tests, makes_no_second_master_key);
	tcase_add_test(tests, leaves_mounted_secrets_alone);
	tcase_add_test(tests, closes_an_open_home);
	tcase_add_test(tests, refuses_what_is_no_folder_of_ours);
	tcase_add_test(tests, refuses_a_folder_of_others);
	tcase_add_test(tests, takes_what_was_prepared);
	tcase_add_test(tests, one_process_has_the_lock);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
