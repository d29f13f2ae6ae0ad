#include "tests/unit/base/unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/log.h"
#include "server/base/log_line.h"
#include "server/base/metrics.h"

/* ---- lines ---- */

static void line(struct log_line *l, bool json, const struct log_field *fields, size_t n)
{
	log_line_begin(l, json, 1795372826123000, LOG_INFO, "device created");
	for (size_t i = 0; i < n; i++)
		log_line_add(l, &fields[i]);
	log_line_end(l);
}
#define LINE(l, json, ...)                                        \
	do {                                                      \
		const struct log_field fields_[] = {__VA_ARGS__}; \
		line(l, json, fields_, ARRAY_LEN(fields_));       \
	} while (0)

static void assert_line(const struct log_line *l, const char *want)
{
	assert_slice(slice_make(l->text, l->n), want);
}

START_TEST(the_shape_of_a_line)
{
	struct log_line l;
	LINE(&l, false, F_STR("device", "d1"), F_U64("n", 7), F_I64("i", -7), F_MS("took", 12));
	assert_line(&l,
	        "ts=2026-11-22T18:40:26.123Z level=info msg=\"device created\" device=d1 "
	        "n=7 i=-7 took=12ms\n");
	LINE(&l, true, F_STR("device", "d1"), F_U64("n", 7), F_I64("i", -7), F_MS("took", 12));
	assert_line(&l,
	        "{\"ts\":\"2026-11-22T18:40:26.123Z\",\"level\":\"info\",\"msg\":\"device "
	        "created\",\"device\":\"d1\",\"n\":7,\"i\":-7,\"took\":12}\n");
}
END_TEST

START_TEST(values_cannot_forge)
{
	const char *hostile[] = {"a\nlevel=error msg=\"x\"", "a\" b=\"c", "a\\", "\x1b[31mred", "",
	        "a b", "a=b", "\x7f", "\xc2\x9b",
	        "\xe2\x80\xae"
	        "abc",
	        "\xe2\x80\xa8", "\xff\xfe", "\r", "\t"};
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		struct log_line l;
		LINE(&l, false, F_STR("v", hostile[i]), F_STR("end", "x"));
		/* One line, one quoted value, nothing a terminal would obey. */
		ck_assert_ptr_eq(memchr(l.text, '\n', l.n), l.text + l.n - 1);
		const char *v = strstr(l.text, " v=\"");
		ck_assert_ptr_nonnull(v);
		const char *p = v + 4;
		for (; *p != '"'; p++) {
			ck_assert((unsigned char)*p >= ' ' && (unsigned char)*p < 0x7f);
			if (*p == '\\')
				p++;
		}
		ck_assert(strncmp(p, "\" end=x\n", 8) == 0);
		LINE(&l, true, F_STR("v", hostile[i]));
		json_t *j = json_loadb(l.text, l.n, JSON_REJECT_DUPLICATES, NULL);
		ck_assert_ptr_nonnull(j);
		json_decref(j);
	}
	struct log_line l;
	LINE(&l, false, F_SLICE("v", SLICE_LIT("a\0b")), F_STR("null", NULL));
	ck_assert_ptr_nonnull(strstr(l.text, "v=\"a\\u0000b\" null=\"\""));
}
END_TEST

START_TEST(long_lines_stay_well_formed)
{
	static char text[3000];
	for (size_t n = 850; n < 1100; n++) {
		for (size_t i = 0; i < n; i++)
			text[i] = "a\"\x01\xc3\xa4"[i % 5];
		text[n] = '\0';
		struct log_line l;
		LINE(&l, true, F_STR("v", text), F_STR("w", text), F_U64("n", UINT64_MAX));
		ck_assert_uint_le(l.n, LOG_LINE_MAX);
		json_t *j = json_loadb(l.text, l.n, JSON_REJECT_DUPLICATES, NULL);
		ck_assert_ptr_nonnull(j);
		json_decref(j);
		memset(text, 'x', n);
		LINE(&l, false, F_STR("v", text), F_STR("w", text), F_I64("n", INT64_MIN));
		ck_assert_uint_le(l.n, LOG_LINE_MAX);
		ck_assert_int_eq(l.text[l.n - 1], '\n');
		LINE(&l, true, F_STR("v", text), F_STR("w", "w"), F_I64("n", INT64_MIN));
		j = json_loadb(l.text, l.n, JSON_REJECT_DUPLICATES, NULL);
		ck_assert_ptr_nonnull(j);
		json_decref(j);
	}
}
END_TEST

/* ---- the log; standard error goes to a file here ---- */

static int capture(void)
{
	char name[] = "/tmp/holdfast-log-XXXXXX";
	int fd = mkstemp(name);
	ck_assert_int_ge(fd, 0);
	unlink(name);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	return fd;
}

static char *captured(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)size + 1);
	ck_assert_int_eq(pread(fd, text, (size_t)size, 0), size);
	return text;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;
	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

START_TEST(levels_and_formats)
{
	int fd = capture();
	ck_assert(log_enabled(LOG_INFO) && !log_enabled(LOG_DEBUG));
	log_debug("too fine");
	log_info("one");
	log_configure(LOG_WARN, true);
	log_info("not now");
	log_warn("two", F_STR("k", "v"));
	log_configure(LOG_DEBUG, false);
	log_debug("three");
	char *text = captured(fd);
	ck_assert_uint_eq(count(text, "\n"), 3);
	ck_assert_ptr_nonnull(strstr(text, "level=info msg=\"one\"\n"));
	ck_assert_ptr_nonnull(strstr(text, "\"level\":\"warn\",\"msg\":\"two\",\"k\":\"v\"}\n"));
	ck_assert_ptr_nonnull(strstr(text, "level=debug msg=\"three\"\n"));
	free(text);
}
END_TEST

static void chatter(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		log_info("chatter");
}

START_TEST(one_place_cannot_flood)
{
	int fd = capture();
	chatter(1000);
	log_info("from elsewhere");
	char *text = captured(fd);
	/* 20 a second; the thousand may have met the edge of a second. */
	ck_assert_uint_ge(count(text, "chatter"), 20);
	ck_assert_uint_le(count(text, "chatter"), 40);
	ck_assert_uint_eq(count(text, "from elsewhere"), 1);
	free(text);
}
END_TEST

START_TEST(what_was_suppressed_is_said)
{
	int fd = capture();
	struct log_site site = {0};
	for (int i = 0; i < 25; i++)
		log_write(&site, LOG_INFO, "event", NULL, 0);
	unsigned suppressed = site.suppressed;
	ck_assert_uint_le(suppressed, 5);
	site.window = 0; /* as in a later second */
	site.suppressed = 5;
	log_write(&site, LOG_INFO, "event", NULL, 0);
	char *text = captured(fd);
	ck_assert_ptr_nonnull(strstr(text, "msg=\"event\" suppressed=5\n"));
	ck_assert_uint_eq(site.suppressed, 0);
	free(text);
}
END_TEST

#define WRITERS 4
#define EACH 200

static void *write_some(void *arg)
{
	struct log_site sites[EACH / 10] = {0};
	for (unsigned i = 0; i < EACH; i++) {
		const struct log_field f[] = {F_STR("writer", arg), F_U64("i", i)};
		log_write(&sites[i / 10], LOG_INFO, "line", f, 2);
	}
	return NULL;
}

START_TEST(the_thread_writes_whole_lines_in_order)
{
	int fd = capture();
	pthread_t threads[WRITERS];
	char *names[WRITERS] = {"w0", "w1", "w2", "w3"};
	ck_assert_int_eq(log_start(), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_create(&threads[i], NULL, write_some, names[i]);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	log_stop();
	log_stop();
	log_info("after the stop");
	char *text = captured(fd), *rest = text, *l;
	unsigned next[WRITERS] = {0}, lines = 0;
	while ((l = strsep(&rest, "\n")) && *l) {
		const char *w = strstr(l, "writer=w"), *i = strstr(l, " i=");
		if (w && i)
			ck_assert_uint_eq(strtoul(i + 3, NULL, 10), next[w[8] - '0']++);
		lines++;
	}
	ck_assert_uint_eq(lines, WRITERS * EACH + 1);
	free(text);
}
END_TEST

/* Nobody reads the pipe: the ring fills, the rest is dropped, nobody waits, and the stop ends. */
START_TEST(an_output_that_is_stuck_holds_nobody_up)
{
	int pipes[2];
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	int back = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(pipes[1], STDERR_FILENO), 0);
	static char text[900];
	memset(text, 'x', sizeof(text) - 1);
	ck_assert_int_eq(log_start(), 0);
	for (unsigned i = 0; i < 3000; i++) {
		struct log_site site = {0};
		const struct log_field f = F_STR("v", text);
		log_write(&site, LOG_INFO, "line", &f, 1);
	}
	ck_assert_int_gt(metric_read(METRIC_LOG_DROPPED), 1000);
	log_stop();
	ck_assert_int_ge(dup2(back, STDERR_FILENO), 0);
	close(back);
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

START_TEST(what_was_dropped_is_said)
{
	int pipes[2];
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	int back = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(pipes[1], STDERR_FILENO), 0);
	static char text[900];
	memset(text, 'x', sizeof(text) - 1);
	const struct log_field f = F_STR("v", text);
	struct log_site sites[3] = {0};
	ck_assert_int_eq(log_start(), 0);
	while (metric_read(METRIC_LOG_DROPPED) < 10) {
		sites[0] = (struct log_site){0};
		log_write(&sites[0], LOG_INFO, "line", &f, 1);
	}
	/* Now somebody reads; when there is room again, the next line says what was lost. */
	char got[8192] = "";
	bool said = false;
	while (!said) {
		ssize_t n = read(pipes[0], got, sizeof(got) - 1);
		ck_assert_int_gt(n, 0);
		got[n] = '\0';
		said = strstr(got, "msg=\"log lines dropped\" lines=") != NULL;
		sites[1] = (struct log_site){0};
		log_write(&sites[1], LOG_INFO, "probe", NULL, 0);
	}
	ck_assert_int_ge(dup2(back, STDERR_FILENO), 0);
	close(back);
	close(pipes[1]);
	close(pipes[0]);
	log_stop();
}
END_TEST

UNIT_MAIN("log", the_shape_of_a_line, values_cannot_forge, long_lines_stay_well_formed,
        levels_and_formats, one_place_cannot_flood, what_was_suppressed_is_said,
        the_thread_writes_whole_lines_in_order, an_output_that_is_stuck_holds_nobody_up,
        what_was_dropped_is_said)
