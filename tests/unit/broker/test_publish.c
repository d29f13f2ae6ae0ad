#include "tests/unit/broker/rig.h"

START_TEST(puback_comes_after_the_commit)
{
	for (int v = 4; v <= 5; v++) {
		struct rig *rig = rig_new(2);
		struct peer *p = device(rig, v, "d");
		rig->hold_store = true;
		send_publish(p, "devices/d/x", "hello", 1, 7, 0);
		expect_quiet(p);
		ck_assert_uint_eq(rig->n_ops, 1);
		rig_commit(rig, 1);
		expect_ack(p, MQTT_PUBACK, 7, 0);
		ck_assert_uint_eq(rig->n_rows, 1);
		ck_assert_str_eq(rig->rows[0].topic, "devices/d/x");
		ck_assert_str_eq(rig->rows[0].payload, "hello");
		rig_free(rig);
	}
}
END_TEST

START_TEST(acks_leave_in_order_of_arrival)
{
	struct rig *rig = rig_new(3);
	struct peer *p = device(rig, 5, "d");
	rig->hold_store = true;
	send_publish(p, "a", "1", 1, 1, 0);
	send_publish(p, "forbidden", "2", 1, 2, 0); /* refused at once */
	send_publish(p, "b", "3", 2, 3, 0);
	send_publish(p, "$iothub/x", "4", 1, 4, 0); /* not stored */
	expect_quiet(p);
	rig_commit(rig, 1);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	expect_ack(p, MQTT_PUBACK, 2, 0x87);
	expect_quiet(p);
	rig_commit(rig, 1);
	expect_ack(p, MQTT_PUBREC, 3, 0);
	expect_ack(p, MQTT_PUBACK, 4, 0x10);
	rig_free(rig);
}
END_TEST

START_TEST(denied)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d");
	int64_t before = metric_read(METRIC_PUBLISH_DENIED);
	send_publish(p, "forbidden", "x", 0, 0, 0);
	send_publish(p, "forbidden", "x", 1, 1, 0);
	send_publish(p, "forbidden", "x", 2, 2, 0);
	send_publish(p, "$SYS/broker", "x", 1, 3, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0x87);
	expect_ack(p, MQTT_PUBREC, 2, 0x87);
	expect_ack(p, MQTT_PUBACK, 3, 0x87);
	expect_quiet(p);
	ck_assert_int_eq(metric_read(METRIC_PUBLISH_DENIED) - before, 4);
	/* the refused id is free again */
	send_publish(p, "fine", "x", 2, 2, 0);
	expect_ack(p, MQTT_PUBREC, 2, 0);
	for (unsigned qos = 0; qos <= 2; qos++) {
		struct peer *old = device(rig, 4, "old");
		send_publish(old, "forbidden", "x", qos, qos, 0);
		expect_quiet(old);
		expect_closed(old, END_NOT_AUTHORIZED);
	}
	ck_assert_uint_eq(rig->n_rows, 1);
	rig_free(rig);
}
END_TEST

START_TEST(what_is_stored)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d/m"), *b = backend(rig, 5, "ops"),
	            *all = backend(rig, 5, "all");
	struct got g;
	subscribe(all, "#", 0);
	subscribe(all, "$aws/#", 0);
	send_publish(p, "t", "qos0", 0, 0, 0);
	send_publish(p, "$aws/rules/r1/real/topic", "rule", 1, 1, 0);
	send_publish(p, "$aws/things/d/shadow", "thing", 1, 2, 0);
	send_publish(p, "$aws/rules/r1/$aws/x", "no", 1, 3, 0);
	send_publish(p, "$aws/rules/r1/forbidden", "no", 1, 4, 0);
	send_publish(p, "$aws/rules/r1", "no", 1, 5, 0);
	send_publish(b, "ops", "from a back end", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	expect_ack(p, MQTT_PUBACK, 2, 0);
	expect_ack(p, MQTT_PUBACK, 3, 0x87);
	expect_ack(p, MQTT_PUBACK, 4, 0x87);
	expect_ack(p, MQTT_PUBACK, 5, 0x87);
	expect_ack(b, MQTT_PUBACK, 1, 0);
	ck_assert_uint_eq(rig->n_rows, 2);
	ck_assert_str_eq(rig->rows[0].topic, "t");
	ck_assert_str_eq(rig->rows[0].module, "m");
	ck_assert_str_eq(rig->rows[1].topic, "real/topic");
	expect_publish(all, "t", "qos0", 0, &g);
	expect_publish(all, "$aws/things/d/shadow", "thing", 0, &g);
	expect_publish(all, "ops", "from a back end", 0, &g);
	expect_quiet(all);
	rig_free(rig);
}
END_TEST

START_TEST(store_filters_choose)
{
	static char one[] = "devices/+/messages/#", two[] = "x";
	static char *filters[] = {one, two};
	struct broker_limits l = {.store_filters = filters, .n_store_filters = 2};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 5, "d");
	send_publish(p, "devices/d/messages/events/", "1", 1, 1, 0);
	send_publish(p, "devices/d/other", "2", 1, 2, 0);
	send_publish(p, "x", "3", 1, 3, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	expect_ack(p, MQTT_PUBACK, 2, 0x10);
	expect_ack(p, MQTT_PUBACK, 3, 0);
	ck_assert_uint_eq(rig->n_rows, 2);
	/* a change of settings is seen by a client that has published before */
	l = rig->limits;
	l.n_store_filters = 1;
	ck_assert_int_eq(broker_set_limits(rig->broker, &l), 0);
	rig_step(rig);
	send_publish(p, "x", "4", 1, 4, 0);
	expect_ack(p, MQTT_PUBACK, 4, 0x10);
	ck_assert_uint_eq(rig->n_rows, 2);
	rig_free(rig);
}
END_TEST

/* One publisher, one topic, one message after the other: what is kept with the topic must not
 * outlive what it follows from. */
START_TEST(unwanted_until_somebody_subscribes)
{
	static char everything[] = "#";
	static char *filters[] = {everything};
	static const char *const texts[] = {"t", "+", "#", "$share/g/t"};
	struct broker_limits l = {.store_filters = filters};
	for (unsigned loops = 1; loops <= 3; loops += 2) {
		struct rig *rig = rig_new_with(loops, &l);
		struct peer *p = device(rig, 5, "d"), *old = device(rig, 4, "old");
		struct peer *s = backend(rig, 5, "s");
		struct got g;
		int64_t bytes = metric_read(METRIC_MESSAGE_BYTES);
		unsigned id = 1;
		for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
			send_publish(p, "t", "nobody", 1, id, 0);
			expect_ack(p, MQTT_PUBACK, id++, 0x10);
			send_publish(old, "t", "nobody", 1, id, 0);
			expect_ack(old, MQTT_PUBACK, id++, 0);
			send_publish(p, "t", "nobody", 0, 0, 0);
			subscribe(s, texts[i], 0);
			send_publish(p, "t", "one", 1, id, 0);
			expect_ack(p, MQTT_PUBACK, id++, 0);
			expect_publish(s, "t", "one", 0, &g);
			send_publish(old, "t", "two", 1, id, 0);
			expect_ack(old, MQTT_PUBACK, id++, 0);
			expect_publish(s, "t", "two", 0, &g);
			send_unsubscribe(s, 9, texts[i]);
			ck_assert(next(s, &g) && g.type == MQTT_UNSUBACK);
			rig_step(rig);
		}
		expect_quiet(s);
		ck_assert_int_eq(metric_read(METRIC_MESSAGE_BYTES), bytes);
		/* retained after all */
		send_publish(p, "t", "nobody", 1, 1, 0);
		expect_ack(p, MQTT_PUBACK, 1, 0x10);
		send_publish(p, "t", "kept", 1, 2, 1);
		expect_ack(p, MQTT_PUBACK, 2, 0x10);
		subscribe(s, "t", 0);
		expect_publish(s, "t", "kept", 0, &g);
		send_unsubscribe(s, 9, "t");
		ck_assert(next(s, &g) && g.type == MQTT_UNSUBACK);
		/* stored after all */
		send_publish(p, "t", "nobody", 1, 3, 0);
		expect_ack(p, MQTT_PUBACK, 3, 0x10);
		ck_assert_uint_eq(rig->n_rows, 0);
		struct broker_limits more = rig->limits;
		more.n_store_filters = 1;
		ck_assert_int_eq(broker_set_limits(rig->broker, &more), 0);
		rig_step(rig);
		send_publish(p, "t", "stored", 1, 4, 0);
		expect_ack(p, MQTT_PUBACK, 4, 0);
		ck_assert_uint_eq(rig->n_rows, 1);
		rig_free(rig);
	}
}
END_TEST

START_TEST(unwanted_waits_its_turn)
{
	static char one[] = "stored";
	static char *filters[] = {one};
	struct broker_limits l = {.store_filters = filters, .n_store_filters = 1};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *p = device(rig, 5, "d");
	rig->hold_store = true;
	send_publish(p, "nobody", "1", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0x10);
	send_publish(p, "stored", "2", 1, 2, 0);
	send_publish(p, "nobody", "3", 1, 3, 0);
	send_publish(p, "nobody", "4", 1, 4, 0);
	expect_quiet(p);
	rig_commit(rig, 1);
	expect_ack(p, MQTT_PUBACK, 2, 0);
	expect_ack(p, MQTT_PUBACK, 3, 0x10);
	expect_ack(p, MQTT_PUBACK, 4, 0x10);
	rig_free(rig);
}
END_TEST

/* The window counts what waits, also where the answer needs no waiting. */
START_TEST(unwanted_counts_in_the_window)
{
	static char *none[] = {NULL};
	struct broker_limits l = {.receive_maximum = 2, .store_filters = none};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *p = device(rig, 5, "d");
	for (unsigned id = 1; id <= 5; id++) {
		send_publish(p, "nobody", "x", 1, id, 0);
		expect_ack(p, MQTT_PUBACK, id, 0x10);
	}
	send_publish(p, "nobody", "x", 2, 6, 0);
	expect_ack(p, MQTT_PUBREC, 6, 0x10);
	send_publish(p, "nobody", "x", 2, 7, 0);
	expect_ack(p, MQTT_PUBREC, 7, 0x10);
	send_publish(p, "nobody", "x", 1, 8, 0);
	expect_disconnect(p, 0x93);
	expect_closed(p, END_RECEIVE_MAXIMUM);
	rig_free(rig);
}
END_TEST

START_TEST(bad_publishes)
{
	static const struct {
		const char *hex;
		enum end_reason end;
		int code;
	} cases[] = {
	        {"30 04 00 01 23 00", END_TOPIC_NAME, 0x90},       /* "#" */
	        {"30 06 00 03 61 2f 2b 00", END_TOPIC_NAME, 0x90}, /* "a/+" */
	        {"36 06 00 01 61 00 01 00", END_MALFORMED, 0x81},  /* QoS 3 */
	        {"30 05 00 02 c3 28 00", END_TOPIC_NAME, 0x90},    /* not UTF-8 */
	        {"30 04 00 01 00 00", END_TOPIC_NAME, 0x90},       /* NUL */
	        {"32 06 00 01 61 00 00 00", END_PROTOCOL, 0x82},   /* packet id 0 */
	        {"30 03 00 00 00", END_PROTOCOL, 0x82},            /* no topic */
	        {"30 07 00 01 61 03 23 00 00", END_TOPIC_ALIAS, 0x94},
	        {"30 07 00 01 61 03 23 00 11", END_TOPIC_ALIAS, 0x94}, /* 17 of 16 */
	        {"30 06 00 00 03 23 00 01", END_PROTOCOL, 0x82},       /* stands for nothing */
	};
	struct rig *rig = rig_new(1);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct peer *p = device(rig, 5, "d");
		struct got g;
		peer_hex(p, cases[i].hex);
		ck_assert_msg(
		        next(p, &g) && g.reason == cases[i].code, "case %zu: %#x", i, g.reason);
		ck_assert_msg(p->closed && p->why == cases[i].end, "case %zu", i);
	}
	ck_assert_uint_eq(rig->n_rows, 0);
	rig_free(rig);
}
END_TEST

START_TEST(too_large)
{
	struct broker_limits l = {.max_payload = 10, .max_packet_size = 100};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *p = device(rig, 5, "d");
	send_publish(p, "t", "0123456789", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	send_publish(p, "t", "0123456789a", 1, 2, 0);
	expect_disconnect(p, 0x95);
	expect_closed(p, END_TOO_LARGE);
	p = device(rig, 5, "d");
	peer_hex(p, "30 7f"); /* known from the header */
	expect_disconnect(p, 0x95);
	expect_closed(p, END_TOO_LARGE);
	rig_free(rig);
}
END_TEST

START_TEST(aliases_from_clients)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d"), *s = backend(rig, 4, "s");
	struct got g;
	subscribe(s, "#", 0);
	struct pk *props = pk_new();
	pk_u8(props, PROP_TOPIC_ALIAS);
	pk_u16(props, 3);
	send_publish_props(p, "one", "1", 0, 0, 0, props);
	send_publish_props(p, "", "2", 0, 0, 0, props);
	send_publish_props(p, "two", "3", 0, 0, 0, props);
	send_publish_props(p, "", "4", 0, 0, 0, props);
	free(props);
	expect_publish(s, "one", "1", 0, &g);
	expect_publish(s, "one", "2", 0, &g);
	expect_publish(s, "two", "3", 0, &g);
	expect_publish(s, "two", "4", 0, &g);
	rig_free(rig);
}
END_TEST

START_TEST(aliases_of_long_topics)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d");
	char topic[30001];
	for (uint16_t alias = 1; alias <= 3; alias++) {
		struct pk *props = pk_new();
		pk_u8(props, PROP_TOPIC_ALIAS);
		pk_u16(props, alias == 3 ? 1 : alias); /* the third takes the first one's place */
		memset(topic, 'a' + alias, sizeof(topic) - 1);
		topic[sizeof(topic) - 1] = '\0';
		send_publish_props(p, topic, "", 0, 0, 0, props);
		free(props);
		expect_open(p);
	}
	struct pk *props = pk_new();
	pk_u8(props, PROP_TOPIC_ALIAS);
	pk_u16(props, 3);
	send_publish_props(p, topic, "", 0, 0, 0, props);
	free(props);
	expect_disconnect(p, 0x97);
	rig_free(rig);
}
END_TEST

START_TEST(properties_travel_but_not_all)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d"), *s = backend(rig, 5, "s");
	struct got g;
	subscribe(s, "#", 0);
	struct pk *props = pk_new();
	pk_u8(props, PROP_CONTENT_TYPE);
	pk_str(props, "text");
	pk_u8(props, PROP_TOPIC_ALIAS);
	pk_u16(props, 3);
	pk_u8(props, PROP_MESSAGE_EXPIRY);
	pk_u32(props, 60);
	pk_u8(props, PROP_USER_PROPERTY);
	pk_str(props, "name");
	pk_str(props, "value");
	send_publish_props(p, "t", "x", 0, 0, 0, props);
	free(props);
	ck_assert(next(s, &g));
	ck_assert_int_eq(g.alias, 0);
	ck_assert(g.has_expiry);
	ck_assert_uint_eq(g.expiry, 60);
	ck_assert_ptr_nonnull(
	        memmem(g.raw, 100, "\x03\x00\x04text\x26\x00\x04name\x00\x05value", 21));
	rig_free(rig);
}
END_TEST

START_TEST(payload_format_is_checked)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d");
	struct pk *props = pk_new();
	pk_u8(props, PROP_PAYLOAD_FORMAT);
	pk_u8(props, 1);
	send_publish_props(p, "t", "gr\xc3\xbc", 1, 1, 0, props);
	send_publish_props(p, "t", "\xff", 1, 2, 0, props);
	free(props);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	expect_ack(p, MQTT_PUBACK, 2, 0x99);
	ck_assert_uint_eq(rig->n_rows, 1);
	rig_free(rig);
}
END_TEST

START_TEST(receive_maximum_v5)
{
	struct broker_limits l = {.receive_maximum = 3};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *p = device(rig, 5, "d");
	rig->hold_store = true;
	for (unsigned id = 1; id <= 3; id++)
		send_publish(p, "t", "x", 1, id, 0);
	rig_commit(rig, 1);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	send_publish(p, "t", "x", 1, 4, 0);
	expect_open(p);
	send_publish(p, "t", "x", 1, 5, 0);
	expect_disconnect(p, 0x93);
	expect_closed(p, END_RECEIVE_MAXIMUM);
	rig_free(rig);
}
END_TEST

START_TEST(qos2_counts_until_pubcomp)
{
	struct broker_limits l = {.receive_maximum = 2};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *p = device(rig, 5, "d");
	for (unsigned round = 0; round < 10; round++) {
		send_publish(p, "t", "x", 2, 1, 0);
		expect_ack(p, MQTT_PUBREC, 1, 0);
		send_publish(p, "t", "x", 2, 1, DUP); /* again: the same message */
		expect_ack(p, MQTT_PUBREC, 1, 0);
		send_ack(p, MQTT_PUBREL, 1);
		expect_ack(p, MQTT_PUBCOMP, 1, 0);
	}
	ck_assert_uint_eq(rig->n_rows, 10);
	send_publish(p, "t", "x", 2, 1, 0);
	send_publish(p, "t", "x", 2, 2, 0);
	send_publish(p, "t", "x", 2, 3, 0);
	expect_ack(p, MQTT_PUBREC, 1, 0);
	expect_ack(p, MQTT_PUBREC, 2, 0);
	expect_disconnect(p, 0x93);
	rig_free(rig);
}
END_TEST

START_TEST(window_v311_stops_reading)
{
	struct broker_limits l = {.receive_maximum = 4};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *p = device(rig, 4, "d");
	rig->hold_store = true;
	for (unsigned id = 1; id <= 10; id++)
		send_publish(p, "t", "x", 1, id, 0);
	ck_assert_uint_eq(rig->n_ops, 4);
	ck_assert_int_eq(p->paused, 1);
	for (unsigned id = 1; id <= 10; id++) {
		rig_commit(rig, 1);
		expect_ack(p, MQTT_PUBACK, id, 0);
	}
	ck_assert_int_eq(p->paused, 0);
	ck_assert_uint_eq(p->in_n, 0);
	rig_free(rig);
}
END_TEST

START_TEST(qos0_is_dropped_under_pressure)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 4, "d"), *s = backend(rig, 4, "s");
	struct got g;
	subscribe(s, "#", 0);
	int64_t before = metric_read(METRIC_DROPPED_QOS0);
	rig->backlog = rig->limits.store_queue_bytes + 1;
	send_publish(p, "t", "dropped", 0, 0, 0);
	ck_assert_int_eq(metric_read(METRIC_DROPPED_QOS0) - before, 1);
	ck_assert_uint_eq(rig->n_rows, 0);
	expect_publish(s, "t", "dropped", 0, &g); /* but not for those who listen */
	ck_assert_int_eq(p->paused, 0);
	rig_free(rig);
}
END_TEST

static bool reads_again(void *arg)
{
	return ((struct peer *)arg)->paused == 0;
}

START_TEST(pressure_stops_reading)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d"), *q = device(rig, 5, "e");
	rig->backlog = rig->limits.store_queue_bytes + 1;
	send_publish(p, "t", "1", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0); /* the one at hand is taken */
	ck_assert_int_eq(p->paused, 1);
	peer_hex(p, "c0 00");
	peer_hex(q, "c0 00"); /* pings of those who did not publish are answered */
	expect_quiet(p);
	expect_ack(q, MQTT_PINGRESP, 0, 0);
	rig->backlog = rig->limits.store_queue_bytes * 7 / 8; /* not yet */
	send_publish(q, "t", "2", 1, 1, 0);
	ck_assert_int_eq(p->paused, 1);
	rig->backlog = rig->limits.store_queue_bytes / 2;
	rig_until(rig, reads_again, p);
	expect_ack(p, MQTT_PINGRESP, 0, 0);
	/* and one that goes away while it is not read */
	rig->backlog = rig->limits.store_queue_bytes + 1;
	send_publish(p, "t", "3", 1, 3, 0);
	peer_close(p);
	rig->backlog = 0;
	rig_free(rig);
}
END_TEST

START_TEST(store_errors)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d"), *old = device(rig, 4, "old"),
	            *gone = device(rig, 5, "g");
	rig->row_err = ERR_POISON;
	send_publish(p, "t", "x", 1, 1, 0);
	send_publish(p, "t", "x", 2, 2, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0x83);
	expect_ack(p, MQTT_PUBREC, 2, 0x83);
	rig->row_err = 0;
	send_publish(p, "t", "x", 2, 2, 0); /* its id is free */
	expect_ack(p, MQTT_PUBREC, 2, 0);
	rig->row_err = ERR_POISON;
	send_publish(old, "t", "x", 1, 1, 0);
	expect_closed(old, END_STORE_FAILED);
	rig->row_err = ERR_NOT_FOUND;
	send_publish(gone, "t", "x", 1, 1, 0);
	expect_disconnect(gone, 0x87);
	expect_closed(gone, END_DISABLED);
	gone = device(rig, 5, "g");
	send_publish(gone, "t", "x", 0, 0, 0);
	expect_disconnect(gone, 0x87);
	expect_closed(gone, END_DISABLED);
	rig_free(rig);
}
END_TEST

START_TEST(tickets_outlive_their_connection)
{
	struct rig *rig = rig_new(2);
	for (int v = 4; v <= 5; v++) {
		rig->hold_store = true;
		struct peer *p = device(rig, v, "d");
		for (unsigned id = 1; id <= 6; id++)
			send_publish(p, id & 1 ? "t" : "$iothub/x", "x", 1 + id % 2, id, 0);
		if (v == 4)
			peer_close(p);
		else
			peer_hex(p, "e0 00");
		ck_assert_uint_gt(broker_busy(rig->broker), 0);
		rig_commit(rig, 100);
		ck_assert_uint_eq(broker_busy(rig->broker), 0);
	}
	rig_free(rig);
}
END_TEST

static void call_done(struct broker_publish *p)
{
	*(int *)p->user = p->err + 1000;
}

START_TEST(messages_from_elsewhere)
{
	struct rig *rig = rig_new(2);
	struct peer *s = backend(rig, 5, "s");
	struct got g;
	int answer = 0;
	subscribe(s, "#", 0);
	struct principal *d = principal_new(PRINCIPAL_DEVICE, SLICE_LIT("d"), SLICE_LIT(""));
	struct msg *m = msg_new(
	        SLICE_LIT("devices/d/messages/events/"), SLICE_LIT(""), SLICE_LIT("x"));
	d->device_key = 5;
	m->qos = 1;
	struct broker_publish call = {.principal = d, .msg = m, .done = call_done, .user = &answer};
	rig->hold_store = true;
	broker_publish(rig->broker, rig->loops[1], &call);
	rig_step(rig);
	ck_assert_int_eq(answer, 0);
	expect_publish(s, "devices/d/messages/events/", "x", 0, &g);
	rig_commit(rig, 1);
	ck_assert_int_eq(answer, 1000);
	rig->deny_all = true;
	broker_publish(rig->broker, rig->loops[0], &call);
	ck_assert_int_eq(answer, 1000 + ERR_DENIED);
	rig->deny_all = false;
	rig->backlog = rig->limits.store_queue_bytes + 1;
	broker_publish(rig->broker, rig->loops[0], &call);
	ck_assert_int_eq(answer, 1000 + ERR_UNAVAILABLE);
	msg_unref(m);
	principal_unref(d);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/publish");
	TCase *t = tcase_create("publish");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, puback_comes_after_the_commit);
	tcase_add_test(t, acks_leave_in_order_of_arrival);
	tcase_add_test(t, denied);
	tcase_add_test(t, what_is_stored);
	tcase_add_test(t, store_filters_choose);
	tcase_add_test(t, unwanted_until_somebody_subscribes);
	tcase_add_test(t, unwanted_waits_its_turn);
	tcase_add_test(t, unwanted_counts_in_the_window);
	tcase_add_test(t, bad_publishes);
	tcase_add_test(t, too_large);
	tcase_add_test(t, aliases_from_clients);
	tcase_add_test(t, aliases_of_long_topics);
	tcase_add_test(t, properties_travel_but_not_all);
	tcase_add_test(t, payload_format_is_checked);
	tcase_add_test(t, receive_maximum_v5);
	tcase_add_test(t, qos2_counts_until_pubcomp);
	tcase_add_test(t, window_v311_stops_reading);
	tcase_add_test(t, qos0_is_dropped_under_pressure);
	tcase_add_test(t, pressure_stops_reading);
	tcase_add_test(t, store_errors);
	tcase_add_test(t, tickets_outlive_their_connection);
	tcase_add_test(t, messages_from_elsewhere);
	return run_suite(s);
}
