#include "tests/unit/broker/rig.h"

START_TEST(connects_in_both_versions)
{
	struct rig *rig = rig_new(3);
	for (int v = 4; v <= 5; v++) {
		struct peer *p = device(rig, v, v == 4 ? "dev4" : "dev5");
		peer_hex(p, "c0 00");
		expect_ack(p, MQTT_PINGRESP, 0, 0);
		peer_hex(p, "e0 00");
		expect_closed(p, END_NORMAL);
		expect_quiet(p);
	}
	ck_assert_uint_eq(rig->n_present, 2);
	ck_assert_uint_eq(rig->n_absent, 2);
	rig_free(rig);
}
END_TEST

START_TEST(goes_to_its_home_loop)
{
	struct rig *rig = rig_new(3);
	unsigned moved = 0;
	for (unsigned i = 0; i < 30; i++) {
		char id[16], module[32];
		snprintf(id, sizeof(id), "dev%u", i);
		snprintf(module, sizeof(module), "dev%u/mod", i);
		struct peer *a = connect_with(
		        rig, i % 3, &(struct connect_opts){.v = 5, .id = id, .user = id});
		struct peer *b = connect_with(rig, (i + 1) % 3,
		        &(struct connect_opts){.v = 5, .id = module, .user = module});
		ck_assert_int_eq(a->connack, 0);
		ck_assert_int_eq(b->connack, 0);
		ck_assert_ptr_eq(a->loop, b->loop); /* a module lives with its device */
		moved += a->moved;
	}
	ck_assert_uint_gt(moved, 5);
	rig_free(rig);
}
END_TEST

START_TEST(every_byte_alone)
{
	struct rig *rig = rig_new(2);
	struct peer *p = peer_open(rig, 0);
	static const char connect[] = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01"
	                              "a";
	static const char ping[] = "\xc0\x00";
	p->version = 4;
	for (size_t i = 0; i < sizeof(connect) - 1; i++) {
		expect_quiet(p);
		peer_bytes(p, connect + i, 1);
	}
	expect_ack(p, MQTT_CONNACK, 0, 0);
	peer_bytes(p, ping, 1);
	expect_quiet(p);
	peer_bytes(p, ping + 1, 1);
	expect_ack(p, MQTT_PINGRESP, 0, 0);
	rig_free(rig);
}
END_TEST

START_TEST(refusals)
{
	static const struct {
		int v, auth_err;
		const char *id, *user, *pass;
		bool keep;
		uint8_t code;
	} cases[] = {
	        {5, 0, "d", "d", "wrong", false, 0x87}, {4, 0, "d", "d", "wrong", false, 5},
	        {5, 0, "d", "other", NULL, false, 0x85}, {4, 0, "d", "other", NULL, false, 2},
	        {5, ERR_UNAVAILABLE, "d", "d", NULL, false, 0x88},
	        {4, ERR_UNAVAILABLE, "d", "d", NULL, false, 3},
	        {4, 0, "", NULL, NULL, true, 2},   /* [MQTT-3.1.3-8] */
	        {4, 0, "", "dev", NULL, false, 2}, /* a device names itself */
	};
	struct rig *rig = rig_new(2);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		rig->auth_err = cases[i].auth_err;
		struct peer *p = connect_with(rig, 0,
		        &(struct connect_opts){.v = cases[i].v,
		                .id = cases[i].id,
		                .user = cases[i].user,
		                .pass = cases[i].pass,
		                .keep = cases[i].keep});
		ck_assert_msg(p->connack == cases[i].code, "case %zu: %#x", i, p->connack);
		expect_quiet(p);
		expect_closed(p, END_REFUSED);
	}
	ck_assert_uint_eq(rig->n_present, 0);
	rig_free(rig);
}
END_TEST

START_TEST(bad_first_packets)
{
	static const struct {
		const char *hex, *answer; /* the whole answer */
		enum end_reason end;
	} cases[] = {
	        {"c0 00", "", END_PROTOCOL},
	        {"30", "", END_PROTOCOL}, /* not even whole */
	        {"00 00", "", END_PROTOCOL},
	        {"20 02 00 00", "", END_PROTOCOL},
	        {"10 0c 00 04 4d 51 54 54 03 02 00 00 00 00", "20 02 00 01", END_REFUSED},
	        {"10 0e 00 06 4d 51 49 73 64 70 03 02 00 00 00 00", "20 02 00 01", END_REFUSED},
	        {"10 0c 00 04 4d 51 54 58 04 02 00 00 00 00", "", END_PROTOCOL},
	        {"10 0c 00 04 4d 51 54 54 04 03 00 00 00 00", "", END_MALFORMED},
	        {"10 ff ff ff ff 01", "", END_MALFORMED},
	        {"10 ff ff ff 7f", "", END_TOO_LARGE},
	        {"12 0c 00 04 4d 51 54 54 04 02 00 00 00 00", "", END_MALFORMED},
	        /* authentication method "x" */
	        {"10 11 00 04 4d 51 54 54 05 02 00 00 04 15 00 01 78 00 00", "20 03 00 8c 00",
	                END_BAD_METHOD},
	};
	struct rig *rig = rig_new(2);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct peer *p = peer_open(rig, 1);
		peer_hex(p, cases[i].hex);
		char hex[256] = "";
		for (size_t k = 0; k < p->out_n; k++)
			sprintf(hex + strlen(hex), "%s%02x", k ? " " : "", p->out[k]);
		ck_assert_msg(strcmp(hex, cases[i].answer) == 0, "case %zu: %s", i, hex);
		ck_assert_msg(
		        p->closed && p->why == cases[i].end, "case %zu: %s", i, end_name(p->why));
	}
	rig_free(rig);
}
END_TEST

START_TEST(empty_client_ids)
{
	struct rig *rig = rig_new(3);
	/* MQTT 5: the device that the user name claims */
	struct peer *p = peer_open(rig, 1);
	struct got g;
	send_connect(p, &(struct connect_opts){.v = 5, .id = "", .user = "dev"});
	ck_assert(next(p, &g));
	ck_assert_int_eq(g.reason, 0);
	ck_assert_ptr_nonnull(memmem(g.raw, 64,
	        "\x12\x00\x03"
	        "dev",
	        6));
	/* somebody without a name gets a random one, for good */
	for (int v = 4; v <= 5; v++) {
		for (unsigned loop = 0; loop < 3; loop++) {
			struct peer *q = peer_open(rig, loop);
			send_connect(q, &(struct connect_opts){.v = v, .id = ""});
			ck_assert(next(q, &g));
			ck_assert_int_eq(g.reason, 0);
			ck_assert(!q->moved);
			ck_assert_int_eq(memmem(g.raw, 64, "auto-", 5) != NULL, v == 5);
		}
	}
	rig_free(rig);
}
END_TEST

START_TEST(connack_tells_the_terms)
{
	struct broker_limits l = {.max_keep_alive = 100, .max_session_expiry = 1000};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *p = peer_open(rig, 0);
	struct got g;
	send_connect(p,
	        &(struct connect_opts){
	                .v = 5, .id = "d", .user = "d", .keep_alive = 200, .expiry = 5000});
	ck_assert(next(p, &g));
	ck_assert_ptr_nonnull(memmem(g.raw, 64, "\x11\x00\x00\x03\xe8", 5)); /* session expiry */
	ck_assert_ptr_nonnull(memmem(g.raw, 64, "\x13\x00\x64", 3));         /* keep alive */
	ck_assert_ptr_nonnull(memmem(g.raw, 64, "\x21\x01\x00", 3));         /* receive maximum */
	ck_assert_ptr_nonnull(memmem(g.raw, 64, "\x22\x00\x10", 3));         /* topic aliases */
	ck_assert_ptr_nonnull(memmem(g.raw, 64, "\x27\x00\x04\x40\x00", 5)); /* packet size */
	rig_free(rig);
}
END_TEST

START_TEST(waits_for_the_registry)
{
	struct rig *rig = rig_new(2);
	rig->hold_auth = true;
	struct peer *p = peer_open(rig, 0);
	send_connect(p, &(struct connect_opts){.v = 4, .id = "d", .user = "d"});
	peer_hex(p, "c0 00 c0 00"); /* impatient */
	expect_quiet(p);
	ck_assert_int_eq(p->paused, 1);
	ck_assert_uint_eq(p->in_n, 4);
	rig_release_auths(rig);
	rig_step(rig);
	expect_ack(p, MQTT_CONNACK, 0, 0);
	expect_ack(p, MQTT_PINGRESP, 0, 0);
	expect_ack(p, MQTT_PINGRESP, 0, 0);
	ck_assert_int_eq(p->paused, 0);
	rig_free(rig);
}
END_TEST

START_TEST(closes_while_the_registry_thinks)
{
	struct rig *rig = rig_new(2);
	for (int refused = 0; refused < 2; refused++) {
		rig->hold_auth = true;
		struct peer *p = peer_open(rig, 0);
		send_connect(p,
		        &(struct connect_opts){.v = 5,
		                .id = "d",
		                .user = "d",
		                .pass = refused ? "wrong" : "right"});
		peer_close(p);
		rig_release_auths(rig);
		rig_step(rig);
		expect_quiet(p);
	}
	ck_assert_uint_eq(rig->n_present, 0);
	rig_free(rig);
}
END_TEST

START_TEST(closes_while_ids_are_loaded)
{
	struct rig *rig = rig_new(2);
	rig->hold_store = true;
	struct peer *p = peer_open(rig, 0);
	send_connect(p, &(struct connect_opts){.v = 5, .id = "d", .user = "d", .keep = true});
	expect_quiet(p);
	ck_assert_uint_eq(rig->n_ops, 1);
	peer_close(p);
	rig_commit(rig, 1);
	ck_assert_uint_eq(rig->n_present, 0);
	/* and the database is away */
	rig->load_err = ERR_UNAVAILABLE;
	p = peer_open(rig, 0);
	send_connect(p, &(struct connect_opts){.v = 4, .id = "d", .user = "d", .keep = true});
	rig_commit(rig, 1);
	expect_ack(p, MQTT_CONNACK, 0, 3);
	expect_closed(p, END_REFUSED);
	rig_free(rig);
}
END_TEST

START_TEST(closes_while_it_moves)
{
	struct rig *rig = rig_new(3);
	for (unsigned i = 0; i < 20; i++) {
		char id[16];
		snprintf(id, sizeof(id), "d%u", i);
		struct peer *p = peer_open(rig, 0);
		struct pk *k = pk_new();
		pk_str(k, "MQTT");
		pk_u8(k, 4);
		pk_u8(k, 2);
		pk_u16(k, 0);
		pk_str(k, id);
		uint8_t head[2] = {0x10, (uint8_t)k->n};
		bytes_add(&p->in, &p->in_n, &p->in_size, head, 2);
		bytes_add(&p->in, &p->in_n, &p->in_size, k->b, k->n);
		free(k);
		peer_turn(p); /* it may be on its way now */
		peer_close(p);
	}
	rig_free(rig);
}
END_TEST

START_TEST(second_connect_is_an_error)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d");
	send_connect(p, &(struct connect_opts){.v = 5, .id = "d", .user = "d"});
	expect_disconnect(p, 0x82);
	expect_closed(p, END_PROTOCOL);
	p = device(rig, 4, "d");
	send_connect(p, &(struct connect_opts){.v = 4, .id = "d", .user = "d"});
	expect_quiet(p);
	expect_closed(p, END_PROTOCOL);
	rig_free(rig);
}
END_TEST

START_TEST(packets_that_clients_do_not_send)
{
	static const char *const packets[] = {
	        "20 03 00 00 00", "90 04 00 01 00 00", "b0 04 00 01 00 00", "d0 00", "f0 00"};
	struct rig *rig = rig_new(1);
	for (size_t i = 0; i < ARRAY_LEN(packets); i++) {
		struct peer *p = device(rig, 5, "d");
		peer_hex(p, packets[i]);
		expect_disconnect(p, 0x82);
		expect_closed(p, END_PROTOCOL);
	}
	rig_free(rig);
}
END_TEST

START_TEST(too_many_sessions)
{
	struct broker_limits l = {.max_sessions = 3};
	struct rig *rig = rig_new_with(2, &l);
	device(rig, 5, "a");
	device(rig, 5, "b");
	struct peer *c = device(rig, 5, "c");
	struct peer *p = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "e", .user = "e"});
	ck_assert_int_eq(p->connack, 0x97);
	peer_close(c);
	device(rig, 5, "e");
	rig_free(rig);
}
END_TEST

static bool is_closed(void *arg)
{
	return ((struct peer *)arg)->closed;
}

START_TEST(times_out)
{
	struct broker_limits l = {.connect_ms = 300};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *silent = peer_open(rig, 0), *half = peer_open(rig, 0);
	uint64_t begin = clock_ms();
	peer_hex(half, "10 20 00 04");
	struct peer *p = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "d", .user = "d", .keep_alive = 1});
	rig_until(rig, is_closed, silent);
	rig_until(rig, is_closed, half);
	expect_closed(silent, END_CONNECT_TIMEOUT);
	expect_closed(half, END_CONNECT_TIMEOUT);
	ck_assert_uint_ge(clock_ms() - begin, 300);
	rig_until(rig, is_closed, p);
	expect_disconnect(p, 0x8d);
	expect_closed(p, END_KEEP_ALIVE);
	ck_assert_uint_ge(clock_ms() - begin, 1500);
	ck_assert_uint_le(clock_ms() - begin, 2500);
	rig_free(rig);
}
END_TEST

START_TEST(credential_expires)
{
	struct rig *rig = rig_new(1);
	rig->expires_at = clock_wall_us() / 1000000 + 1;
	struct peer *p = device(rig, 5, "d");
	rig_until(rig, is_closed, p);
	expect_disconnect(p, 0x87);
	expect_closed(p, END_EXPIRED);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/connect");
	TCase *t = tcase_create("connect");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, connects_in_both_versions);
	tcase_add_test(t, goes_to_its_home_loop);
	tcase_add_test(t, every_byte_alone);
	tcase_add_test(t, refusals);
	tcase_add_test(t, bad_first_packets);
	tcase_add_test(t, empty_client_ids);
	tcase_add_test(t, connack_tells_the_terms);
	tcase_add_test(t, waits_for_the_registry);
	tcase_add_test(t, closes_while_the_registry_thinks);
	tcase_add_test(t, closes_while_ids_are_loaded);
	tcase_add_test(t, closes_while_it_moves);
	tcase_add_test(t, second_connect_is_an_error);
	tcase_add_test(t, packets_that_clients_do_not_send);
	tcase_add_test(t, too_many_sessions);
	tcase_add_test(t, times_out);
	tcase_add_test(t, credential_expires);
	return run_suite(s);
}
