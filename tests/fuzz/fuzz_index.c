/*
 * The trees over topics, the subscription index and the retained messages, against a list: random
 * filters and topics of a small alphabet come and go, and after each step a topic must find the
 * filters, and a filter the topics, that topic_matches says.
 */
#include <stdlib.h>

#include "broker/index.h"
#include "broker/retain.h"
#include "broker/topic.h"

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)
#define MANY 64
#define TEXT 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct model {
	struct index *ix;
	struct retain *retain;
	struct {
		char filter[TEXT];
		void *value;
		struct index_place at;
		bool there;
	} subs[MANY];
	struct {
		char topic[TEXT];
		uint64_t device, expires_ms;
		bool there;
	} msgs[MANY];
	uint64_t now_ms;
	uint8_t found[MANY];
	unsigned n_found;
};

/* Text from the input: each byte one character of a few, so that they meet often. */
static struct slice take_text(const uint8_t **p, size_t *n, char out[TEXT])
{
	static const char alphabet[] = "aab/c/+#/$d+/efghijkl";
	size_t len = 0;
	while (*n > 0 && len < TEXT - 1) {
		uint8_t c = *(*p)++;
		(*n)--;
		if (c % 32 >= sizeof(alphabet) - 1)
			break;
		out[len++] = alphabet[c % 32];
	}
	out[len] = 0;
	return slice_make(out, len);
}

/* A value is twice its place, counted from 1; it is its own key, and even places do not count. */
static const void *value_key(const void *value)
{
	return value;
}

static bool value_counts(const void *value)
{
	return (uintptr_t)value / 2 % 2 == 1;
}

static const struct index_values values = {value_key, value_counts};

static void found_sub(void *value, void *arg)
{
	struct model *m = arg;
	m->found[(uintptr_t)value / 2 - 1]++;
	m->n_found++;
}

static bool found_msg(const struct retained *r, void *arg)
{
	struct model *m = arg;
	m->n_found++;
	for (unsigned i = 0; i < MANY; i++) {
		if (m->msgs[i].there && slice_eq_str(msg_topic(r->msg), m->msgs[i].topic)) {
			MUST(r->device_key == m->msgs[i].device);
			m->found[i]++;
		}
	}
	return true;
}

static void check_topic(struct model *m, struct slice topic)
{
	memset(m->found, 0, sizeof(m->found));
	m->n_found = 0;
	index_match(m->ix, topic, found_sub, m);
	for (unsigned i = 0; i < MANY; i++) {
		bool want = m->subs[i].there && topic_matches(slice_str(m->subs[i].filter), topic);
		MUST(m->found[i] == want);
	}
}

static void check_filter(struct model *m, struct slice filter)
{
	memset(m->found, 0, sizeof(m->found));
	m->n_found = 0;
	retain_match(m->retain, filter, m->now_ms, found_msg, m);
	unsigned n = 0;
	for (unsigned i = 0; i < MANY; i++) {
		bool want = m->msgs[i].there &&
		        topic_matches(filter, slice_str(m->msgs[i].topic)) &&
		        (!m->msgs[i].expires_ms || m->msgs[i].expires_ms > m->now_ms);
		MUST(m->found[i] == want);
		n += want;
	}
	MUST(n == m->n_found);
}

/* Whether another place has a subscription to filter; counted: one that counts. */
static bool others_have(const struct model *m, struct slice filter, bool counted)
{
	for (unsigned i = 0; i < MANY; i++) {
		if (m->subs[i].there && slice_eq_str(filter, m->subs[i].filter) &&
		        (!counted || value_counts(m->subs[i].value)))
			return true;
	}
	return false;
}

/* Puts the subscription of a place, or removes the one that is there. */
static void subscribe(struct model *m, unsigned place, struct slice filter)
{
	bool flag = false;
	void *value = (void *)(uintptr_t)(2 * (place + 1));
	if (m->subs[place].there) {
		struct slice old = slice_str(m->subs[place].filter);
		struct index_place at = m->subs[place].at;
		uint8_t text[INDEX_TEXT_MAX];
		m->subs[place].there = false;
		MUST(slice_eq(index_text(at, text), old));
		MUST(index_get(m->ix, old, value) == value);
		void *was = place % 3 ? index_remove(m->ix, old, value, &flag)
		                      : index_take(m->ix, at, value, &flag);
		MUST(was == value && !index_get(m->ix, old, value));
		MUST(flag == (value_counts(value) && !others_have(m, old, true)));
		MUST(index_has(m->ix, old) == others_have(m, old, false));
		return;
	}
	if (!topic_filter_valid(filter, TEXT))
		return;
	MUST(index_put(m->ix, filter, value, &m->subs[place].at, &flag) == 0);
	MUST(flag == !others_have(m, filter, true));
	memcpy(m->subs[place].filter, filter.p, filter.n);
	m->subs[place].filter[filter.n] = 0;
	m->subs[place].value = value;
	m->subs[place].there = true;
}

/* The place of a retained topic, or a free one, or -1. */
static int msg_place(const struct model *m, struct slice topic)
{
	int place = -1;
	for (int i = 0; i < MANY; i++) {
		if (m->msgs[i].there && slice_eq_str(topic, m->msgs[i].topic))
			return i;
		if (!m->msgs[i].there)
			place = i;
	}
	return place;
}

static void retain(struct model *m, struct slice topic, uint64_t device, uint64_t expires_ms)
{
	int place = msg_place(m, topic);
	if (place < 0 || !topic_name_valid(topic, TEXT))
		return;
	struct msg *msg = msg_new(topic, slice_make(NULL, 0), topic);
	MUST(msg);
	msg->expires = expires_ms > 0;
	msg->expires_ms = expires_ms;
	MUST(retain_put(m->retain, msg, device, MANY, SIZE_MAX) == 0);
	msg_unref(msg);
	memcpy(m->msgs[place].topic, topic.p, topic.n);
	m->msgs[place].topic[topic.n] = 0;
	m->msgs[place].device = device;
	m->msgs[place].expires_ms = expires_ms;
	m->msgs[place].there = true;
}

static void unretain(struct model *m, struct slice topic)
{
	int place = msg_place(m, topic);
	bool there = place >= 0 && m->msgs[place].there;
	MUST(retain_remove(m->retain, topic) == there);
	if (there)
		m->msgs[place].there = false;
}

static void unretain_device(struct model *m, uint64_t device)
{
	size_t n = 0;
	for (unsigned i = 0; device != 0 && i < MANY; i++) {
		if (m->msgs[i].there && m->msgs[i].device == device) {
			m->msgs[i].there = false;
			n++;
		}
	}
	MUST(retain_remove_device(m->retain, device) == n);
}

static void expire(struct model *m, uint8_t ms)
{
	size_t n = 0;
	m->now_ms += ms;
	for (unsigned i = 0; i < MANY; i++) {
		if (m->msgs[i].there && m->msgs[i].expires_ms &&
		        m->msgs[i].expires_ms <= m->now_ms) {
			m->msgs[i].there = false;
			n++;
		}
	}
	MUST(retain_expire(m->retain, m->now_ms, MANY) == n);
}

static void step(struct model *m, uint8_t op, uint8_t arg, struct slice text)
{
	switch (op % 8) {
	case 0:
	case 1: subscribe(m, arg % MANY, text); break;
	case 2: retain(m, text, arg % 4, 0); break;
	case 3: retain(m, text, arg % 4, m->now_ms + arg); break;
	case 4: unretain(m, text); break;
	case 5: unretain_device(m, arg % 4); break;
	case 6: expire(m, arg); break;
	default: m->now_ms += arg; break;
	}
	if (topic_name_valid(text, TEXT))
		check_topic(m, text);
	if (topic_filter_valid(text, TEXT))
		check_filter(m, text);
	size_t subs = 0, msgs = 0;
	for (unsigned i = 0; i < MANY; i++) {
		subs += m->subs[i].there;
		msgs += m->msgs[i].there;
	}
	MUST(index_count(m->ix) == subs && retain_count(m->retain) == msgs);
	MUST((retain_bytes(m->retain) == 0) == (msgs == 0));
}

/* Input: steps of an operation, its argument and a text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model m = {.ix = index_new(&values), .retain = retain_new(), .now_ms = 1};
	while (size >= 2) {
		char text[TEXT];
		uint8_t op = data[0], arg = data[1];
		data += 2;
		size -= 2;
		step(&m, op, arg, take_text(&data, &size, text));
	}
	index_free(m.ix);
	retain_free(m.retain);
	return 0;
}
