#include "tests/unit/base/unit.h"

#include <pthread.h>
#include <stdio.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/metrics.h"

static char *render(void)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	ck_assert_int_eq(metrics_render(&b), 0);
	char *text = buf_steal(&b, NULL);
	ck_assert_ptr_nonnull(text);
	return text;
}

static void assert_line(const char *line)
{
	char want[200], *text = render();
	snprintf(want, sizeof(want), "\n%s\n", line);
	ck_assert_msg(strstr(text, want) != NULL, "no line %s in\n%s", line, text);
	free(text);
}

START_TEST(counters_and_gauges)
{
	metric_inc(METRIC_AUTH_OK);
	metric_add(METRIC_AUTH_OK, 41);
	metric_add(METRIC_CONNECTIONS, 3);
	metric_add(METRIC_CONNECTIONS, -5);
	metric_set(METRIC_DB_UP, 2);
	metric_set(METRIC_DB_UP, 1);
	ck_assert_int_eq(metric_read(METRIC_AUTH_OK), 42);
	assert_line("holdfast_auth_allowed_total 42");
	assert_line("# TYPE holdfast_auth_allowed_total counter");
	assert_line("holdfast_connections -2");
	assert_line("# TYPE holdfast_connections gauge");
	assert_line("holdfast_database_up 1");
}
END_TEST

START_TEST(labels_come_from_the_tables)
{
	metric_inc_by(METRIC_CONNECTIONS_ENDED, END_KEEP_ALIVE);
	metric_inc_by(METRIC_CONNECTIONS_ENDED, END_INTERNAL);
	metric_inc_by(METRIC_AUTH_DENIED, DENY_TOKEN_EXPIRED);
	metric_inc_by(METRIC_AUTH_DENIED, UINT32_MAX / 2);
	ck_assert_int_eq(END_INTERNAL, END_COUNT - 1);
	ck_assert_int_eq(METRIC_CONNECTIONS_ENDED_last, METRIC_CONNECTIONS_ENDED + END_INTERNAL);
	assert_line("holdfast_connections_ended_total{reason=\"keep_alive\"} 1");
	assert_line("holdfast_connections_ended_total{reason=\"internal\"} 1");
	assert_line("holdfast_connections_ended_total{reason=\"normal\"} 0");
	assert_line("holdfast_auth_denied_total{reason=\"token_expired\"} 1");
}
END_TEST

START_TEST(histograms_add_up)
{
	const uint64_t us[] = {0, 100, 101, 200, 201, 1638400, 1638401, 99999999};
	for (size_t i = 0; i < ARRAY_LEN(us); i++)
		metric_observe_us(METRIC_COMMIT_TIME, us[i]);
	assert_line("holdfast_store_commit_seconds_bucket{le=\"0.0001\"} 2");
	assert_line("holdfast_store_commit_seconds_bucket{le=\"0.0002\"} 4");
	assert_line("holdfast_store_commit_seconds_bucket{le=\"0.0004\"} 5");
	assert_line("holdfast_store_commit_seconds_bucket{le=\"1.6384\"} 6");
	assert_line("holdfast_store_commit_seconds_bucket{le=\"+Inf\"} 8");
	assert_line("holdfast_store_commit_seconds_count 8");
	assert_line("holdfast_store_commit_seconds_sum 103.277402");
}
END_TEST

START_TEST(the_process_is_described)
{
	char *text = render();
	const char *names[] = {"cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes",
	        "open_fds", "max_fds", "start_time_seconds"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char line[80];
		snprintf(line, sizeof(line), "\nprocess_%s ", names[i]);
		const char *p = strstr(text, line);
		ck_assert_msg(p != NULL, "%s", names[i]);
		double v = strtod(p + strlen(line), NULL);
		ck_assert_msg(v >= 0, "%s", names[i]);
		if (strcmp(names[i], "start_time_seconds") == 0)
			ck_assert(llabs((long long)v - (long long)time(NULL)) < 3600);
	}
	free(text);
}
END_TEST

/* Prometheus text format: each sample belongs to the family whose TYPE came last. */
START_TEST(the_text_is_well_formed)
{
	char *text = render(), *rest = text, *line, family[100] = "";
	unsigned samples = 0;
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
	while ((line = strsep(&rest, "\n")) && *line) {
		if (strncmp(line, "# TYPE ", 7) == 0) {
			snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "),
			        line + 7);
		} else if (*line != '#') {
			ck_assert(strncmp(line, family, strlen(family)) == 0);
			char *end;
			strtod(strrchr(line, ' ') + 1, &end);
			ck_assert_int_eq(*end, '\0');
			samples++;
		}
	}
	ck_assert_uint_gt(samples, 80);
	free(text);
	struct buf small;
	buf_init(&small, 1000);
	ck_assert_int_eq(metrics_render(&small), ERR_TOO_BIG);
	buf_free(&small);
}
END_TEST

static void *count(HF_UNUSED void *arg)
{
	for (int i = 0; i < 10000; i++)
		metric_inc(METRIC_PUBLISH_IN);
	return NULL;
}

START_TEST(threads_come_and_go)
{
	for (int round = 0; round < 10; round++) {
		pthread_t threads[4];
		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, count, NULL);
		ck_assert_int_ge(metric_read(METRIC_PUBLISH_IN), round * 40000);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
		ck_assert_int_eq(metric_read(METRIC_PUBLISH_IN), (round + 1) * 40000);
	}
}
END_TEST

UNIT_MAIN("metrics", counters_and_gauges, labels_come_from_the_tables, histograms_add_up,
        the_process_is_described, the_text_is_well_formed, threads_come_and_go)
