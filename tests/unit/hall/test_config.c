/* The settings: files, environment, rules, and what a bad value is told. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/config.h"
#include "server/config_table.h"

static char home[] = "/tmp/holdfast-config-XXXXXX";
static char file[64];
static char error[CONFIG_ERROR_LEN];

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(home));
	snprintf(file, sizeof(file), "%s/holdfast.ini", home);
}

static void tear_down(void)
{
	unlink(file);
	rmdir(home);
}

static void write_file(const char *text, size_t n)
{
	_cleanup_fclose_ FILE *f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text, 1, n, f), n);
}

static struct config *load(const char *text)
{
	struct config *c = NULL;
	if (text)
		write_file(text, strlen(text));
	int r = config_load(home, NULL, &c, error);
	ck_assert_msg(r == 0, "%s", error);
	ck_assert_str_eq(error, "");
	return c;
}

/* Loading must fail, in one line that holds all these words. */
static void fails(int want, const char *words[])
{
	struct config *c = NULL;
	ck_assert_int_eq(config_load(home, NULL, &c, error), want);
	ck_assert_ptr_null(c);
	ck_assert_ptr_null(strchr(error, '\n'));
	for (; *words; words++)
		ck_assert_msg(strstr(error, *words) != NULL, "no %s in: %s", *words, error);
}
#define FAILS(...) fails(ERR_INVALID, (const char *[]){__VA_ARGS__, NULL})
#define FILE_FAILS(text, ...)                       \
	do {                                        \
		write_file(text, sizeof(text) - 1); \
		FAILS(file, __VA_ARGS__);           \
	} while (0)
#define ENV_FAILS(name, value, ...)       \
	do {                              \
		setenv(name, value, 1);   \
		FAILS(name, __VA_ARGS__); \
		unsetenv(name);           \
	} while (0)

static char *printed(const struct config *c)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	config_print(c, f);
	fclose(f);
	return text;
}

static const char *origin_of(const struct config *c, const char *section, const char *key)
{
	for (unsigned i = 0; i < settings_count; i++)
		if (strcmp(settings[i].section, section) == 0 && strcmp(settings[i].key, key) == 0)
			return c->origins[i];
	ck_abort_msg("no setting %s.%s", section, key);
	return NULL;
}

START_TEST(balancers_are_checked)
{
	ENV_FAILS("HOLDFAST_NET_PROXY_PROTOCOL", "127.0.0.1:1", "net.proxy_protocol",
	        "none of the listen addresses");
	setenv("HOLDFAST_NET_PROXY_PROTOCOL", "127.0.0.1:8883", 1);
	FAILS("net.proxy_trusted", "not allowed with net.proxy_protocol");
	unsetenv("HOLDFAST_NET_PROXY_PROTOCOL");

	ENV_FAILS("HOLDFAST_NET_PROXY_TRUSTED", "10.0.0.1/8", "10.0.0.1/8", "no network");
	ENV_FAILS("HOLDFAST_NET_PROXY_TRUSTED", "localhost", "no network");
	struct config *c = load("[net]\nproxy_protocol = 127.0.0.1:8443\n"
	                        "proxy_trusted = 10.0.0.0/8, fd00::/8, 192.0.2.1\n");
	ck_assert(config_list_has(&c->net_proxy_protocol, "127.0.0.1:8443"));
	ck_assert(!config_list_has(&c->net_proxy_protocol, "127.0.0.1:8883"));
	ck_assert_uint_eq(c->net_proxy_trusted.n, 3);
	config_unref(c);
}
END_TEST

START_TEST(defaults_of_the_contract)
{
	struct config *c = load(NULL);
	ck_assert_str_eq(c->home, home);
	ck_assert_ptr_null(c->file);
	ck_assert_str_eq(c->mqtt_tls_listen.items[0], "127.0.0.1:8883");
	ck_assert_uint_eq(c->mqtt_plain_listen.n, 0);
	ck_assert_str_eq(c->https_listen.items[0], "127.0.0.1:8443");
	ck_assert_str_eq(c->hub_name.items[0], "localhost");
	ck_assert_str_eq(c->hub_name.items[2], "::1");
	ck_assert_str_eq(c->telemetry_store.items[0], "#");
	ck_assert_int_eq(c->telemetry_retention_days, 90);
	ck_assert_int_eq(c->mqtt_max_packet_size, 278528);
	ck_assert(!c->mqtt_anonymous);
	ck_assert_int_eq(c->log_level, 2);
	ck_assert_int_ge(c->hub_threads, 1);
	ck_assert_int_le(c->hub_threads, 16);
	char key[100];
	snprintf(key, sizeof(key), "%s/tls/server.key", home);
	ck_assert_str_eq(c->tls_key, key);
	ck_assert_str_eq(origin_of(c, "tls", "key"), "default");
	ck_assert_ptr_eq(config_ref(c), c);
	ck_assert_ptr_null(config_unref(c));
	ck_assert_ptr_null(config_unref(c));
	ck_assert_ptr_null(config_unref(NULL));
}
END_TEST

START_TEST(a_file_is_read)
{
	struct config *c = load(
	        "# comment\r\n; another\n\n[mqtt]\r\n  tls_listen=0.0.0.0:0 ,[::]:8883\n"
	        "anonymous = yes\nplain_listen = localhost:1883,127.9.9.9:0,[::1]:1\n"
	        "[ telemetry ]\nstore = devices/+/messages/#, a b/c\n"
	        "[log]\nlevel = debug\nformat=json\n[hub]\nthreads=7\nname = hub, HUB\n"
	        "[mqtt]\nmax_session_expiry = 4294967295");
	ck_assert_str_eq(c->file, file);
	ck_assert_uint_eq(c->mqtt_tls_listen.n, 2);
	ck_assert_str_eq(c->mqtt_tls_listen.items[0], "0.0.0.0:0");
	ck_assert_str_eq(c->mqtt_tls_listen.items[1], "[::]:8883");
	ck_assert_uint_eq(c->mqtt_plain_listen.n, 3);
	ck_assert(c->mqtt_anonymous);
	ck_assert_int_eq(c->log_level, 3);
	ck_assert_int_eq(c->log_format, 1);
	ck_assert_int_eq(c->hub_threads, 7);
	ck_assert_uint_eq(c->hub_name.n, 1);
	ck_assert_int_eq(c->mqtt_max_session_expiry, 4294967295);
	char origin[80];
	snprintf(origin, sizeof(origin), "%s:5", file);
	ck_assert_str_eq(origin_of(c, "mqtt", "tls_listen"), origin);
	config_unref(c);
}
END_TEST

START_TEST(the_environment_wins)
{
	setenv("HOLDFAST_MQTT_TLS_LISTEN", "127.0.0.1:1", 1);
	setenv("HOLDFAST_TELEMETRY_STORE", "", 1);
	setenv("HOLDFAST_TLS_KEY", "@home@/k", 1);
	struct config *c = load("[mqtt]\ntls_listen = 127.0.0.1:2\n[telemetry]\nstore = a\n");
	ck_assert_str_eq(c->mqtt_tls_listen.items[0], "127.0.0.1:1");
	ck_assert_str_eq(origin_of(c, "mqtt", "tls_listen"), "HOLDFAST_MQTT_TLS_LISTEN");
	ck_assert_uint_eq(c->telemetry_store.n, 0);
	char key[100];
	snprintf(key, sizeof(key), "%s/k", home);
	ck_assert_str_eq(c->tls_key, key);
	config_unref(c);
}
END_TEST

START_TEST(bad_variables_are_named)
{
	ENV_FAILS("HOLDFAST_FOO", "1", "names no setting", "holdfast config");
	ENV_FAILS("HOLDFAST_CONFIG", "x", "names no setting");
	ENV_FAILS("HOLDFAST_", "x", "names no setting");
	ENV_FAILS("HOLDFAST_MQTT_TLS_LISTE", "x", "names no setting");
	ENV_FAILS("HOLDFAST_MQTT_CONNECT_TIMEOUT", "0", "\"0\"", "1 to 300 s");
	ENV_FAILS("HOLDFAST_MQTT_CONNECT_TIMEOUT", "", "\"\"", "1 to 300 s");
	ENV_FAILS("HOLDFAST_MQTT_ANONYMOUS", "true", "yes or no");
	ENV_FAILS("HOLDFAST_LOG_LEVEL", "trace", "error or warn or info or debug");
	ENV_FAILS("HOLDFAST_LOG_LEVEL", "", "error or warn or info or debug");
	ENV_FAILS("HOLDFAST_LOG_LEVEL", "warn|info", "error or warn");
	ENV_FAILS("HOLDFAST_LOG_FORMAT", "json\nx", "control characters");
}
END_TEST

START_TEST(bad_numbers_are_refused)
{
	const char *bad[] = {"", " 1", "1 ", "+1", "-1", "0x10", "1.0", "1e1", "301", "1s",
	        "99999999999999999999", "-", "١"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ENV_FAILS("HOLDFAST_MQTT_CONNECT_TIMEOUT", bad[i], "1 to 300 s");
	setenv("HOLDFAST_MQTT_CONNECT_TIMEOUT", "300", 1);
	struct config *c = load(NULL);
	ck_assert_int_eq(c->mqtt_connect_timeout, 300);
	config_unref(c);
}
END_TEST

START_TEST(bad_lines_are_told_with_file_and_line)
{
	FILE_FAILS("\n[mqtt]\nfoo = 1\n", ":3:", "\"foo\"", "[mqtt]", "output_hard_bytes");
	FILE_FAILS("[nosuch]\na = 1\n", ":2:", "\"nosuch\"", "hub, mqtt, https", "secrets, log");
	FILE_FAILS("a = 1\n", ":1:", "before the first [section]");
	FILE_FAILS("[mqtt\n", ":1:", "no section");
	FILE_FAILS("[mqtt] x\n", ":1:", "no section");
	FILE_FAILS("[log]\nlevel\n", ":2:", "key = value");
	FILE_FAILS("[log]\n= info\n", ":2:", "no setting \"\"");
	FILE_FAILS("[log]\nlevel = loud\n", ":2:", "log.level", "\"loud\"", "error or warn");
	FILE_FAILS("[log]\nlevel = info\nlevel = warn\n", ":3:", "set twice", ":2");
	FILE_FAILS("[log]\nlevel = in\0fo\n", "NUL");
	FILE_FAILS("[log]\nlevel = \x1b[31m\n", ":2:", "control characters");
	FILE_FAILS("[hub]\nname = a,,b\n", ":2:", "empty");
	FILE_FAILS("[hub]\nname = a,\n", ":2:", "empty");
	FILE_FAILS("[hub]\nname = ,\n", ":2:", "empty");
	FILE_FAILS("[LOG]\nlevel = info\n", ":2:", "\"LOG\"");
	FILE_FAILS("[log]\nLevel = info\n", ":2:", "\"Level\"");
}
END_TEST

START_TEST(a_secret_is_never_quoted)
{
	FILE_FAILS("[database]\nurl postgresql://u:hunter2@h/d\n", ":2:");
	ck_assert_ptr_null(strstr(error, "hunter2"));
	FILE_FAILS("[database]\nurl = postgresql://u:hunter2@h/d\x01\n", ":2:", "database.url");
	ck_assert_ptr_null(strstr(error, "hunter2"));
}
END_TEST

START_TEST(files_are_bounded_and_must_be_there)
{
	struct config *c = NULL;
	ck_assert_int_eq(config_load(home, "/nonexistent/x.ini", &c, error), ERR_IO);
	ck_assert_ptr_nonnull(strstr(error, "/nonexistent/x.ini: no such file"));
	ck_assert_int_eq(config_load(home, home, &c, error), ERR_IO);
	ck_assert_ptr_nonnull(strstr(error, "cannot be read"));
	char *big = malloc((1 << 20) + 1);
	memset(big, '#', (1 << 20) + 1);
	write_file(big, (1 << 20) + 1);
	FAILS("larger than");
	memset(big, 'a', 5000);
	memcpy(big, "[hub]\nname=", 11);
	write_file(big, 5000);
	FAILS("too long");
	free(big);
	ck_assert_ptr_null(c);
}
END_TEST

START_TEST(addresses_to_listen_on)
{
	const char *good[] = {"127.0.0.1:0", "0.0.0.0:65535", "[::1]:8883", "[::]:0", "hub:1",
	        "my-host.example.org:443", "4you:1"};
	const char *bad[] = {"", ":1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
	        "127.0.0.1: 1", "127.0.0.1:000001", "256.0.0.1:1", "1.2.3:1", "::1:1", "[::1]",
	        "[::1]1", "[::1:1", "[nope]:1", "[127.0.0.1]:1", "a b:1", "*:1", "h/x:1",
	        "[fe80::1%eth0]:1", "host:http"};
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ck_assert_msg(!config_listen_problem(good[i], false), "%s", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(config_listen_problem(bad[i], false), "%s", bad[i]);
	char name[300];
	memset(name, 'a', sizeof(name));
	memcpy(name + 290, ":1", 3);
	ck_assert(config_listen_problem(name, false));
}
END_TEST

START_TEST(plain_mqtt_on_loopback_alone)
{
	const char *good[] = {"127.0.0.1:0", "127.255.255.254:1883", "[::1]:1", "localhost:1"};
	const char *bad[] = {"0.0.0.0:1", "[::]:1", "128.0.0.1:1", "hub:1", "[::ffff:10.0.0.1]:1",
	        "localhost.example.org:1", "10.0.0.1:1", "127.0.0.1:1, 10.0.0.1:1"};
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		setenv("HOLDFAST_MQTT_PLAIN_LISTEN", good[i], 1);
		config_unref(load(NULL));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ENV_FAILS("HOLDFAST_MQTT_PLAIN_LISTEN", bad[i], "mqtt.plain_listen", "loopback");
}
END_TEST

START_TEST(rules_between_and_beyond)
{
	ENV_FAILS("HOLDFAST_HUB_NAME", "", "hub.name", "one name or more");
	ENV_FAILS("HOLDFAST_HUB_NAME", "a/b", "hub.name", "no host name");
	ENV_FAILS("HOLDFAST_TELEMETRY_STORE", "a/#/b", "\"a/#/b\"", "last level");
	ENV_FAILS("HOLDFAST_TELEMETRY_STORE", "a#", "telemetry.store");
	ENV_FAILS("HOLDFAST_TELEMETRY_STORE", "a/+b", "telemetry.store");
	ENV_FAILS("HOLDFAST_TLS_KEY", "", "tls.key", "path of a file");
	ENV_FAILS("HOLDFAST_MQTT_OUTPUT_SOFT_BYTES", "8388609", "at most mqtt.output_hard_bytes");
	setenv("HOLDFAST_TELEMETRY_STORE", "#, +, +/+/#, /, a//b, $aws/x", 1);
	config_unref(load(NULL));
}
END_TEST

START_TEST(the_home_is_made_absolute)
{
	struct config *c = NULL;
	char want[4200], *here = getcwd(NULL, 0);
	ck_assert_int_eq(config_load(NULL, NULL, &c, error), 0);
	snprintf(want, sizeof(want), "%s/var", here);
	ck_assert_str_eq(c->home, want);
	c = config_unref(c);
	setenv("HOLDFAST_HOME", ".//some where", 1);
	ck_assert_int_eq(config_load(NULL, NULL, &c, error), 0);
	snprintf(want, sizeof(want), "%s/some where", here);
	ck_assert_str_eq(c->home, want);
	c = config_unref(c);
	ck_assert_int_eq(config_load("/else", NULL, &c, error), 0);
	ck_assert_str_eq(c->home, "/else");
	c = config_unref(c);
	setenv("HOLDFAST_HOME", "", 1);
	ck_assert_int_eq(config_load(NULL, NULL, &c, error), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error, "HOLDFAST_HOME is empty"));
	free(here);
}
END_TEST

START_TEST(passwords_are_masked)
{
	const char *urls[] = {"postgresql://u:s3cret@h/d", "postgresql://u:s3c@s3cret@h/d",
	        "postgresql:///d?host=/run&password=s3cret&x=1", "host=h password=s3cret dbname=d",
	        "host=h password = 's3 \\' s3cret' dbname=d", "postgresql://u:a/s3cret@h/d",
	        "postgresql://u:s3cret@h/d?sslpassword=s3cret&password=s3cret"};
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		setenv("HOLDFAST_DATABASE_URL", urls[i], 1);
		setenv("HOLDFAST_DATABASE_OWNER_URL", urls[i], 1);
		struct config *c = load(NULL);
		ck_assert_str_eq(c->database_url, urls[i]);
		char *text = printed(c);
		ck_assert_msg(!strstr(text, "s3c"), "%s: %s", urls[i], text);
		ck_assert_ptr_nonnull(strstr(text, "***"));
		free(text);
		config_unref(c);
	}
	setenv("HOLDFAST_DATABASE_URL", "postgresql://h:5432/d?sslmode=verify-full", 1);
	unsetenv("HOLDFAST_DATABASE_OWNER_URL");
	struct config *c = load(NULL);
	char *text = printed(c);
	ck_assert_ptr_nonnull(
	        strstr(text, "database.url = postgresql://h:5432/d?sslmode=verify-full\n"));
	free(text);
	config_unref(c);
}
END_TEST

START_TEST(everything_is_printed)
{
	struct config *c = load("[hub]\nthreads = 3\n");
	char *text = printed(c);
	for (unsigned i = 0; i < settings_count; i++) {
		char want[160], env[SETTING_ENV_LEN];
		snprintf(want, sizeof(want), "\n%s.%s = ", settings[i].section, settings[i].key);
		ck_assert_msg(strstr(text, want) != NULL, "%s", want);
		setting_env_name(&settings[i], env);
		ck_assert_msg(strstr(text, env) != NULL, "%s", env);
		ck_assert_uint_lt(strlen(env), SETTING_ENV_LEN - 1);
	}
	ck_assert_ptr_nonnull(strstr(text, "\nhub.threads = 3\n"));
	ck_assert_ptr_nonnull(
	        strstr(text, "0 to 16 threads; default: 0; a change needs a restart"));
	free(text);
	config_unref(c);
}
END_TEST

static void note(const char *name, bool needs_restart, void *arg)
{
	char *to = arg;
	snprintf(to + strlen(to), 200 - strlen(to), "%s:%d ", name, needs_restart);
}

/* Every setting of the template with its comment sign taken off gives what no file gives. */
START_TEST(the_template_says_the_defaults)
{
	struct config *defaults = load(NULL);
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	config_print_template(f);
	fclose(f);
	write_file(text, n);
	struct config *c = load(NULL);
	char changes[200] = "";
	config_diff(defaults, c, note, changes);
	ck_assert_str_eq(changes, "");
	ck_assert_str_eq(origin_of(c, "hub", "name"), "default");
	config_unref(c);
	unsigned keys = 0;
	for (char *p = text; (p = strstr(p, "\n#")); p++)
		if (p[2] != ' ') {
			p[1] = ' ';
			keys++;
		}
	ck_assert_uint_eq(keys, settings_count);
	write_file(text, n);
	c = load(NULL);
	config_diff(defaults, c, note, changes);
	ck_assert_str_eq(changes, "");
	for (unsigned i = 0; i < settings_count; i++)
		ck_assert_str_ne(c->origins[i], "default");
	config_unref(c);
	config_unref(defaults);
	free(text);
}
END_TEST

START_TEST(differences_are_told)
{
	struct config *a = load(NULL);
	struct config *b = load("[log]\nlevel=debug\n[mqtt]\nplain_listen=127.0.0.1:1\n");
	char changes[200] = "";
	config_diff(a, b, note, changes);
	ck_assert_str_eq(changes, "mqtt.plain_listen:1 log.level:0 ");
	config_unref(a);
	config_unref(b);
}
END_TEST

int main(void)
{
	/* What the caller's environment sets is not under test. */
	for (unsigned i = 0; i < settings_count; i++) {
		char env[SETTING_ENV_LEN];
		setting_env_name(&settings[i], env);
		unsetenv(env);
	}
	unsetenv("HOLDFAST_HOME");
	const TTest *const tests[] = {defaults_of_the_contract, balancers_are_checked,
	        a_file_is_read, the_environment_wins, bad_variables_are_named,
	        bad_numbers_are_refused, bad_lines_are_told_with_file_and_line,
	        a_secret_is_never_quoted, files_are_bounded_and_must_be_there,
	        addresses_to_listen_on, plain_mqtt_on_loopback_alone, rules_between_and_beyond,
	        the_home_is_made_absolute, passwords_are_masked, everything_is_printed,
	        the_template_says_the_defaults, differences_are_told};
	Suite *suite = suite_create("config");
	TCase *tcase = tcase_create("config");
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
