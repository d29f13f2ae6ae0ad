/* Retained messages. */
#include "broker/retain.h"

#include "broker/topic.h"
#include "tests/unit/broker/packets.h"

#define NO_LIMIT SIZE_MAX

/* Retains a message under topic; expires_ms 0: never. Returns what retain_put says. */
static int put(struct retain *r, const char *topic, uint64_t device, uint64_t expires_ms)
{
	struct msg *m = msg_new(slice_str(topic), slice_make(NULL, 0), slice_str("payload"));
	ck_assert_ptr_nonnull(m);
	m->expires = expires_ms != 0;
	m->expires_ms = expires_ms;
	int err = retain_put(r, m, device, NO_LIMIT, NO_LIMIT);
	msg_unref(m);
	return err;
}

struct found {
	unsigned n, stop_at;
	char topics[2000];
};

static bool found_one(const struct retained *m, void *arg)
{
	struct found *f = arg;
	struct slice topic = msg_topic(m->msg);
	size_t used = strlen(f->topics);
	snprintf(f->topics + used, sizeof(f->topics) - used, "[%.*s]", SLICE_ARG(topic));
	return ++f->n != f->stop_at;
}

static struct found match(const struct retain *r, const char *filter, uint64_t now_ms)
{
	struct found f = {0};
	retain_match(r, slice_str(filter), now_ms, found_one, &f);
	return f;
}

static const char *const topics[] = {"a", "b", "a/b", "a/b/c", "a/b/c/d", "a/x/c", "x/y/z", "/",
        "//", "/a", "a/", "a//c", "$SYS", "$SYS/a", "$SYS/b/c", "$x", "a/$b", "1", "2", "3", "4",
        "5", "6", "7", "8", "9"};
static const char *const filters[] = {"#", "+", "+/#", "+/+", "/+", "/#", "a", "a/#", "a/+",
        "a/+/c", "a/b", "a/b/#", "a/b/c", "+/b/c", "+/+/c", "+/+/+", "$SYS/#", "$SYS/+", "$SYS/a",
        "a//c", "/", "a/", "a/$b", "+/$b", "b", "nobody", "a/b/c/d/e/#"};

/* Every filter finds exactly the topics that topic_matches says, whatever has come and gone. */
START_TEST(same_as_topic_matches)
{
	struct retain *r = retain_new();
	for (size_t i = 0; i < ARRAY_LEN(topics); i++)
		ck_assert_int_eq(put(r, topics[i], 1 + i % 3, 0), 0);
	for (size_t gone = 0;; gone++) {
		ck_assert_uint_eq(retain_count(r), ARRAY_LEN(topics) - gone);
		for (size_t f = 0; f < ARRAY_LEN(filters); f++) {
			struct found got = match(r, filters[f], 0);
			unsigned want = 0;
			for (size_t i = gone; i < ARRAY_LEN(topics); i++) {
				struct slice topic = slice_str(topics[i]);
				if (!topic_matches(slice_str(filters[f]), topic))
					continue;
				char entry[50];
				snprintf(entry, sizeof(entry), "[%s]", topics[i]);
				ck_assert_msg(strstr(got.topics, entry), "%s in %s", topics[i],
				        filters[f]);
				want++;
			}
			ck_assert_msg(got.n == want, "%s: %s", filters[f], got.topics);
		}
		if (gone == ARRAY_LEN(topics))
			break;
		ck_assert(retain_remove(r, slice_str(topics[gone])));
		ck_assert(!retain_remove(r, slice_str(topics[gone])));
	}
	ck_assert_uint_eq(retain_bytes(r), 0);
	retain_free(r);
	retain_free(NULL);
}
END_TEST

START_TEST(replace)
{
	struct retain *r = retain_new();
	ck_assert_int_eq(put(r, "a/b", 1, 50), 0);
	size_t bytes = retain_bytes(r);
	ck_assert_int_eq(put(r, "a/b", 2, 0), 0);
	ck_assert(retain_count(r) == 1 && retain_bytes(r) == bytes);
	ck_assert_uint_eq(retain_remove_device(r, 1), 0);
	ck_assert_uint_eq(retain_expire(r, 100, 10), 0);
	ck_assert_uint_eq(match(r, "#", 100).n, 1);
	ck_assert_int_eq(put(r, "a/b", 0, 0), 0);
	ck_assert_uint_eq(retain_remove_device(r, 2), 0);
	ck_assert_uint_eq(retain_remove_device(r, 0), 0);
	ck_assert(!retain_remove(r, slice_str("a")) && !retain_remove(r, slice_str("a/b/c")));
	ck_assert(retain_remove(r, slice_str("a/b")) && retain_bytes(r) == 0);
	retain_free(r);
}
END_TEST

START_TEST(stop)
{
	struct retain *r = retain_new();
	for (size_t i = 0; i < ARRAY_LEN(topics); i++)
		put(r, topics[i], 1, 0);
	static const char *const over[] = {"#", "+", "+/+", "a/#"};
	for (size_t i = 0; i < ARRAY_LEN(over); i++) {
		for (unsigned stop_at = 1; stop_at <= 3; stop_at++) {
			struct found f = {.stop_at = stop_at};
			retain_match(r, slice_str(over[i]), 0, found_one, &f);
			ck_assert_uint_eq(f.n, stop_at);
		}
	}
	retain_free(r);
}
END_TEST

START_TEST(limits)
{
	struct retain *r = retain_new();
	ck_assert_int_eq(put(r, "a/b", 1, 0), 0);
	size_t bytes = retain_bytes(r);
	struct msg *same = msg_new(slice_str("a/b"), slice_make(NULL, 0), slice_str("new"));
	struct msg *other = msg_new(slice_str("a/c"), slice_make(NULL, 0), slice_str("new"));
	struct msg *large = msg_new(
	        slice_str("a/b"), slice_make(NULL, 0), slice_str("payload and more"));
	ck_assert_int_eq(retain_put(r, other, 1, 1, NO_LIMIT), ERR_QUOTA);
	ck_assert_int_eq(retain_put(r, other, 1, 2, bytes), ERR_QUOTA);
	ck_assert_int_eq(retain_put(r, large, 1, 1, bytes), ERR_QUOTA);
	ck_assert(retain_count(r) == 1 && retain_bytes(r) == bytes);
	ck_assert_uint_eq(match(r, "#", 0).n, 1);
	ck_assert_int_eq(retain_put(r, same, 2, 1, bytes), 0);
	ck_assert_int_eq(retain_put(r, other, 3, 2, NO_LIMIT), 0);
	/* What a topic of many levels costs is known before: the limit holds to the byte. */
	size_t before = retain_bytes(r);
	ck_assert_int_eq(put(r, "1/2/3/4/5", 1, 0), 0);
	size_t full = retain_bytes(r);
	ck_assert(retain_remove(r, slice_str("1/2/3/4/5")) && retain_bytes(r) == before);
	struct msg *deep = msg_new(
	        slice_str("1/2/3/4/5"), slice_make(NULL, 0), slice_str("payload"));
	ck_assert_int_eq(retain_put(r, deep, 1, 9, full - 1), ERR_QUOTA);
	ck_assert_uint_eq(retain_bytes(r), before);
	ck_assert_int_eq(retain_put(r, deep, 1, 9, full), 0);
	msg_unref(same);
	msg_unref(other);
	msg_unref(large);
	msg_unref(deep);
	retain_free(r);
}
END_TEST

START_TEST(by_device)
{
	struct retain *r = retain_new();
	char topic[40];
	for (unsigned i = 0; i < 300; i++) {
		snprintf(topic, sizeof(topic), "devices/d%u/%u", i % 3, i);
		ck_assert_int_eq(put(r, topic, 1 + i % 3, i % 2 ? 1000 : 0), 0);
	}
	ck_assert_int_eq(put(r, "other", 0, 0), 0);
	ck_assert_uint_eq(retain_remove_device(r, 2), 100);
	ck_assert_uint_eq(retain_remove_device(r, 2), 0);
	ck_assert_uint_eq(match(r, "devices/d1/#", 0).n, 0);
	ck_assert_uint_eq(match(r, "devices/d2/#", 0).n, 100);
	ck_assert(retain_remove(r, slice_str("devices/d0/0")));
	ck_assert_uint_eq(retain_remove_device(r, 1), 99);
	ck_assert_uint_eq(retain_remove_device(r, 3), 100);
	ck_assert_uint_eq(retain_count(r), 1);
	ck_assert_uint_eq(retain_expire(r, 5000, 1000), 0);
	retain_free(r);
}
END_TEST

START_TEST(expiry)
{
	struct retain *r = retain_new();
	char topic[40];
	for (unsigned i = 0; i < 100; i++) {
		snprintf(topic, sizeof(topic), "t/%u", i);
		ck_assert_int_eq(put(r, topic, 1, i % 10 ? 1000 + i : 0), 0);
	}
	/* [MQTT-3.3.2-5] what has expired is not found, swept or not */
	ck_assert_uint_eq(match(r, "t/+", 1001).n, 99);
	ck_assert_uint_eq(match(r, "#", 5000).n, 10);
	ck_assert_uint_eq(match(r, "t/5", 1005).n, 0);
	ck_assert_uint_eq(match(r, "t/5", 1004).n, 1);
	/* A limit, and going on where the last call stopped. */
	ck_assert_uint_eq(retain_expire(r, 1000, 1000), 0);
	ck_assert_uint_eq(retain_expire(r, 5000, 7), 7);
	size_t removed = 7;
	for (unsigned calls = 0; calls < 12; calls++)
		removed += retain_expire(r, 5000, 7);
	ck_assert_uint_eq(removed, 90);
	ck_assert_uint_eq(retain_count(r), 10);
	ck_assert_uint_eq(retain_expire(r, 50000, 100), 0);
	retain_free(r);
}
END_TEST

/* The living ones do not stand in the way of the expired ones behind them. */
START_TEST(expiry_goes_round)
{
	struct retain *r = retain_new();
	char topic[40];
	for (unsigned i = 0; i < 50; i++) {
		snprintf(topic, sizeof(topic), "t/%u", i);
		ck_assert_int_eq(put(r, topic, 1, i < 40 ? 9000 : 1000), 0);
	}
	size_t removed = 0;
	for (unsigned calls = 0; calls < 5; calls++)
		removed += retain_expire(r, 2000, 10);
	ck_assert_uint_eq(removed, 10);
	ck_assert_uint_eq(retain_count(r), 40);
	retain_free(r);
}
END_TEST

START_TEST(deep)
{
	enum { DEPTH = 1024 };
	struct retain *r = retain_new();
	char text[DEPTH + 1] = {0};
	memset(text, '/', DEPTH);
	ck_assert_int_eq(put(r, text, 1, 0), ERR_TOO_BIG);
	ck_assert_uint_eq(retain_bytes(r), 0);
	text[DEPTH - 1] = 0;
	ck_assert_int_eq(put(r, text, 1, 0), 0);
	ck_assert_uint_eq(match(r, "#", 0).n, 1);
	ck_assert_uint_eq(match(r, "+/+/#", 0).n, 1);
	ck_assert_uint_eq(match(r, text, 0).n, 1);
	ck_assert_uint_eq(retain_remove_device(r, 1), 1);
	ck_assert_uint_eq(retain_bytes(r), 0);
	retain_free(r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("retained messages");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, same_as_topic_matches);
	tcase_add_test(tc, replace);
	tcase_add_test(tc, stop);
	tcase_add_test(tc, limits);
	tcase_add_test(tc, by_device);
	tcase_add_test(tc, expiry);
	tcase_add_test(tc, expiry_goes_round);
	tcase_add_test(tc, deep);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
