/* argv, privileges, signals; the work is in init.c, hub.c and the rooms. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/crypto.h"
#include "server/base/log.h"
#include "server/config.h"
#include "server/hub.h"
#include "server/init.h"
#include "storage/storage.h"

#define EXIT_USAGE 2

struct options {
	const char *config_file;
	bool check;
};

static int fail(const char *text)
{
	fprintf(stderr, "holdfast: %s\n", text);
	return 1;
}

static int usage_error(const char *what, const char *word, const char *allowed)
{
	fprintf(stderr, "holdfast: unknown %s \"%s\": %s\n", what, word, allowed);
	return EXIT_USAGE;
}

static void config_unrefp(struct config **c)
{
	config_unref(*c);
}

/* Reads the settings; on failure says why and returns the exit status. */
static int load_settings(const struct options *o, struct config **ret)
{
	char error[CONFIG_ERROR_LEN];

	if (config_load(NULL, o->config_file, ret, error) < 0) {
		fprintf(stderr, "holdfast: %s\n", error);
		return EXIT_USAGE;
	}
	return 0;
}

static const char *owner_url(const struct config *cfg)
{
	return cfg->database_owner_url[0] ? cfg->database_owner_url : cfg->database_url;
}

static int cmd_init(const struct options *o)
{
	_cleanup_(config_unrefp) struct config *cfg = NULL;
	char error[INIT_ERROR_LEN];
	int status = load_settings(o, &cfg);

	if (status)
		return status;
	if (init_home(cfg, error) < 0)
		return fail(error);
	return 0;
}

/* Where the migrations are: beside the program's installation, or in the checkout. */
static const char *migrations_folder(char *out, size_t size)
{
	const char *candidates[] = {"%s/migrations", "%s/../migrations",
	        "%s/../share/holdfast/migrations", "%s/../lib/holdfast/migrations"};
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n <= 0)
		return NULL;
	exe[n] = '\0';
	slash = strrchr(exe, '/');
	*slash = '\0';
	for (size_t i = 0; i < ARRAY_LEN(candidates); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		int len = snprintf(out, size, candidates[i], exe);
#pragma GCC diagnostic pop

		if (len > 0 && (size_t)len < size && access(out, R_OK | X_OK) == 0)
			return out;
	}
	return NULL;
}

static int cmd_migrate(const struct options *o)
{
	_cleanup_(config_unrefp) struct config *cfg = NULL;
	char error[STORAGE_ERROR_LEN], folder[4200];
	int status = load_settings(o, &cfg);

	if (status)
		return status;
	if (!owner_url(cfg)[0])
		return fail("database.url is not set: give HOLDFAST_DATABASE_URL");
	if (!migrations_folder(folder, sizeof(folder)))
		return fail("the folder \"migrations\" is not beside the program");
	if (storage_migrate(owner_url(cfg), cfg->database_url, folder, error) < 0)
		return fail(error);
	return 0;
}

static int cmd_config(const struct options *o)
{
	_cleanup_(config_unrefp) struct config *cfg = NULL;
	int status = load_settings(o, &cfg);

	if (status)
		return status;
	if (!o->check)
		config_print(cfg, stdout);
	return 0;
}

/* Signals are taken by the main thread alone: every thread is started with them blocked. */
static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGQUIT);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void raise_file_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

static void supervise(struct hub *hub, const sigset_t *signals)
{
	const struct timespec second = {.tv_sec = 1};

	for (;;) {
		int sig = sigtimedwait(signals, NULL, &second);

		hub_watch(hub);
		if (sig == SIGHUP)
			hub_reload(hub);
		else if (sig > 0)
			return;
	}
}

static int serve(struct config *cfg)
{
	char error[HUB_ERROR_LEN];
	struct hub *hub = NULL;
	sigset_t signals;

	block_signals(&signals);
	raise_file_limit();
	/* Keys live in this memory: no core file, no other process of the user reads it. */
	prctl(PR_SET_DUMPABLE, 0);
	if (crypto_init() < 0)
		return fail("OpenSSL does not start");
	if (hub_start(cfg, &hub, error) < 0)
		return fail(error);
	log_start();
	hub_announce(hub);
	supervise(hub, &signals);
	hub_stop(hub);
	log_info("stopped");
	log_stop();
	crypto_thread_done();
	return 0;
}

static int cmd_serve(const struct options *o)
{
	_cleanup_(config_unrefp) struct config *cfg = NULL;
	_cleanup_close_ int lock = -1;
	char error[INIT_ERROR_LEN];
	int status = load_settings(o, &cfg);

	if (status)
		return status;
	if (geteuid() == 0)
		return fail("serve does not run as root: start it as the user holdfast");
	if (home_lock(cfg->home, &lock, error) < 0)
		return fail(error);
	return serve(cfg);
}

static int cmd_version(const struct options *o HF_UNUSED)
{
	puts("holdfast " HOLDFAST_VERSION);
	return 0;
}

static int cmd_help(const struct options *o);

static const struct command {
	const char *name;
	int (*run)(const struct options *o);
	const char *text;
} commands[] = {
        {"serve", cmd_serve, "run the hub in the foreground"},
        {"init", cmd_init, "make the home folder: certificates, keys, settings; never overwrites"},
        {"migrate", cmd_migrate, "bring the database up to date"},
        {"config", cmd_config, "print every setting; --check only checks"},
        {"version", cmd_version, "print the version"},
        {"help", cmd_help, "print this text"},
};

static int cmd_help(const struct options *o HF_UNUSED)
{
	puts("usage: holdfast COMMAND [--config FILE]\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].text);
	puts("\nSettings: $HOLDFAST_HOME/holdfast.ini and HOLDFAST_* variables; "
	     "see `holdfast config`.");
	return 0;
}

static int parse_options(int argc, char **argv, bool may_check, struct options *o)
{
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0) {
			if (++i == argc)
				return usage_error("use of", "--config", "it takes a file");
			o->config_file = argv[i];
		} else if (may_check && strcmp(argv[i], "--check") == 0) {
			o->check = true;
		} else {
			return usage_error("word", argv[i],
			        may_check ? "allowed are --config FILE and --check"
			                  : "allowed is --config FILE");
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	const char *word = argc > 1 ? argv[1] : "";

	if (argc < 2) {
		fputs("holdfast: no command given: try holdfast help\n", stderr);
		return EXIT_USAGE;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		word = "help";
	if (strcmp(word, "--version") == 0)
		word = "version";
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, word) == 0) {
			int status = parse_options(argc, argv, commands[i].run == cmd_config, &o);

			return status ? status : commands[i].run(&o);
		}
	}
	return usage_error(
	        "command", word, "allowed are serve, init, migrate, config, version, help");
}
