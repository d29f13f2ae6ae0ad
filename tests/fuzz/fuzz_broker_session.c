/*
 * Packet sequences for several clients of one broker, with the store, the registry and the
 * transport answering at the input's pleasure. What is checked: nothing is touched after it is
 * gone, no assertion of the broker's fails, what comes out is well-formed, and when all have left
 * nothing is left.
 *
 * The input is a list of steps: an opcode and its operands (see step). Bytes go in raw, or as the
 * body of a packet whose header is made to fit.
 */
#define RIG_WITHOUT_CHECK
#define PK_MAX 1024
#define ck_assert(x)                      \
	do {                              \
		if (!(x))                 \
			__builtin_trap(); \
	} while (0)
#define ck_assert_msg(x, ...) ck_assert(x)
#define ck_assert_ptr_nonnull(p) ck_assert((p) != NULL)
#define ck_assert_int_eq(a, b) ck_assert((a) == (b))
#define ck_assert_uint_eq(a, b) ck_assert((a) == (b))
#define ck_assert_int_gt(a, b) ck_assert((a) > (b))
#define ck_assert_int_le(a, b) ck_assert((a) <= (b))
#define ck_assert_uint_le(a, b) ck_assert((a) <= (b))
#define ck_assert_str_eq(a, b) ck_assert(strcmp(a, b) == 0)
#include "tests/unit/broker/rig.h"

#define CLIENTS 4

struct fuzz {
	struct rig *rig;
	struct peer *peers[CLIENTS];
	unsigned at;
	struct slice in;
};

static unsigned take(struct fuzz *f)
{
	if (f->in.n == 0)
		return 0;
	unsigned v = f->in.p[0];
	f->in = slice_from(f->in, 1);
	return v;
}

static struct slice take_bytes(struct fuzz *f)
{
	size_t n = take(f);
	if (n > f->in.n)
		n = f->in.n;
	struct slice s = slice_make(f->in.p, n);
	f->in = slice_from(f->in, n);
	return s;
}

/* The client at hand, connected again when it has gone. */
static struct peer *current(struct fuzz *f)
{
	struct peer *p = f->peers[f->at];
	if (p && !p->closed)
		return p;
	p = f->peers[f->at] = peer_open(f->rig, f->at % f->rig->n);
	p->version = 0;
	return p;
}

/* Whole packets came out, and nothing else. */
static void check_output(struct peer *p)
{
	size_t at = 0;
	while (at < p->out_n) {
		uint32_t len;
		size_t used;
		int r = mqtt_varint_get(
		        slice_make(p->out + at + 1, p->out_n - at - 1), &len, &used);
		ck_assert(r == 1 && at + 1 + used + len <= p->out_n);
		ck_assert(p->out[at] >> 4 != 0);
		at += 1 + used + len;
	}
	if (!p->stuck)
		p->out_n = 0;
}

/* A good CONNECT with a few choices, so that the input gets past it. */
static void connect_well(struct fuzz *f, struct peer *p)
{
	static const char *const names[] = {"d", "d/m", "e", ""};
	unsigned c = take(f);
	struct connect_opts o = {
	        .v = c & 1 ? 5 : 4,
	        .id = names[c >> 1 & 3],
	        .keep = c & 8,
	        .expiry = c & 16 ? 100 : 0,
	        .will_topic = c & 32 ? "w/x" : NULL,
	        .will_retain = c & 64,
	        .will_qos = (c >> 6) % 3,
	        .receive_maximum = c & 128 ? 2 : 0,
	        .alias_maximum = 3,
	};
	o.user = c & 4 ? "key/k" : o.id;
	send_connect(p, &o);
}

static void send_body(struct peer *p, unsigned first, struct slice body)
{
	uint8_t packet[260] = {(uint8_t)first};
	size_t n = 1 + mqtt_varint_put(packet + 1, (uint32_t)body.n);
	if (body.n)
		memcpy(packet + n, body.p, body.n);
	peer_bytes(p, packet, n + body.n);
}

static void publish_well(struct fuzz *f, struct peer *p)
{
	static const char *const topics[] = {"a", "a/b", "devices/d/x", "w/x", "forbidden",
	        "$iothub/x", "$aws/rules/r/a", "$aws/things/d/x"};
	unsigned how = take(f), flags = take(f);
	const char *payload = how & 128 ? "" : how & 64 ? "payload" : "p";
	send_publish(p, topics[how % ARRAY_LEN(topics)], payload, (how >> 3) % 3, flags % 6 + 1,
	        (flags & 64 ? RETAIN : 0) | (flags & 128 && (how >> 3) % 3 ? DUP : 0));
}

static void subscribe_well(struct fuzz *f, struct peer *p)
{
	static const char *const filters[] = {
	        "#", "a/+", "devices/d/#", "$share/g/#", "$share/h/a/+", "$iothub/#", "a", "w/+"};
	unsigned how = take(f), options = take(f);
	const char *filter = filters[how % ARRAY_LEN(filters)];
	bool v5 = p->version == 5, shared = filter[0] == '$';
	if (how & 128)
		send_unsubscribe(p, 7, filter);
	else
		send_subscribe(p, 7, filter,
		        v5 ? options % 3 | (shared ? 0 : options & 0x0c) | (options & 0x10)
		           : options % 3,
		        v5 ? options >> 5 : 0);
}

static void ack_well(struct fuzz *f, struct peer *p)
{
	static const enum mqtt_type types[] = {MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBREL, MQTT_PUBCOMP};
	unsigned how = take(f), id = how >> 3 & 7;
	if (p->version == 5 && how & 64)
		send_ack_reason(p, types[how & 3], id ? id : 1, how & 128 ? 0x80 : 0);
	else
		send_ack(p, types[how & 3], id ? id : 1);
}

/* What the hub's surroundings do. */
static void surroundings(struct fuzz *f, struct peer *p, unsigned op)
{
	struct rig *rig = f->rig;
	switch (op) {
	case 8: rig->hold_store = take(f) & 1; break;
	case 9: rig_commit(rig, take(f)); break;
	case 10: rig->hold_auth = take(f) & 1; break;
	case 11: rig_release_auths(rig); break;
	case 12:
		p->stuck = take(f) & 1;
		if (!p->stuck && !p->closing)
			broker_client_drained(p->client);
		break;
	case 13:
		rig->row_err = (take(f) & 3) == 3 ? ERR_POISON : 0;
		rig->backlog = take(f) & 1 ? 2000000 : 0;
		break;
	case 14:
		rig->recheck_err = take(f) & 1 ? ERR_UNAUTHENTICATED : ERR_NOT_FOUND;
		broker_identity_changed(rig->broker, take(f) & 1, SLICE_LIT("d"));
		break;
	default:
		if (take(f) == 255)
			broker_drain(rig->broker, clock_ms() + 1000);
		else
			broker_recheck_all(rig->broker);
	}
}

static void run_step(struct fuzz *f)
{
	unsigned op = take(f) % 16;
	struct peer *p = current(f);
	switch (op) {
	case 0: f->at = take(f) % CLIENTS; break;
	case 1: connect_well(f, p); break;
	case 2: {
		struct slice raw = take_bytes(f);
		peer_bytes(p, raw.p, raw.n);
		break;
	}
	case 3: {
		unsigned first = take(f);
		send_body(p, first, take_bytes(f));
		break;
	}
	case 4: ack_well(f, p); break;
	case 5: publish_well(f, p); break;
	case 6: subscribe_well(f, p); break;
	case 7: peer_close(p); break;
	default: surroundings(f, p, op);
	}
	rig_step(f->rig);
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (f->peers[i])
			check_output(f->peers[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	const struct broker_limits limits = {
	        .max_subscriptions = 8,
	        .max_queued_messages = 6,
	        .max_inflight = 3,
	        .receive_maximum = 4,
	        .max_retained = 4,
	        .topic_alias_maximum = 3,
	        .output_soft_bytes = 200,
	        .output_hard_bytes = 600,
	        .max_payload = 100,
	        .max_packet_size = 250,
	};
	struct fuzz f = {.in = slice_make(data, size)};
	if (!ready) {
		ready = true;
		log_configure(LOG_ERROR, false);
		if (crypto_init() != 0)
			__builtin_trap();
	}
	f.rig = rig_new_with(2, &limits);
	while (f.in.n > 0)
		run_step(&f);
	rig_free(f.rig);
	ck_assert(metric_read(METRIC_MQTT_CLIENTS) == 0);
	ck_assert(metric_read(METRIC_SESSIONS) == 0);
	ck_assert(metric_read(METRIC_SUBSCRIPTIONS) == 0);
	return 0;
}
