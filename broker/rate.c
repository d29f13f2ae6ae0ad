#include "broker/rate.h"

#include "broker/mem.h"

#define SECOND_US 1000000u
#define MINUTE_US 60000000u
#define SWEEP_STEP 1000

/*
 * A bucket is the time at which it is paid for what it took: each take moves it on by its cost, and
 * it never lies further back than the burst that may come at once, a second's or minute's worth.
 */
struct rate {
	TAILQ_ENTRY(rate) entry; /* of the shard's, the one looked at longest ago first */
	unsigned refs;           /* clients */
	bool known;              /* stands in the map: a device's */
	uint8_t id_len;
	uint64_t messages, bytes, connects; /* us */
	char id[];
};

static uint64_t now_us(const struct shard *sh)
{
	return shard_now(sh) * 1000;
}

/* True while it is in debt. */
static bool take(uint64_t *bucket, uint64_t now, uint64_t burst, uint64_t cost)
{
	uint64_t least = now > burst ? now - burst : 0;
	*bucket = (*bucket > least ? *bucket : least) + cost;
	return *bucket > now;
}

/* ---- records ---- */

static struct rate *rate_new(struct shard *sh, struct slice id)
{
	struct rate *r = mem_new(sizeof(*r) + id.n);
	r->known = id.n > 0;
	r->id_len = (uint8_t)id.n;
	if (r->known) {
		memcpy(r->id, id.p, id.n);
		if (map_put(&sh->rates, slice_make(r->id, r->id_len), r, NULL) != 0)
			abort(); /* a slot */
	}
	TAILQ_INSERT_TAIL(&sh->rate_list, r, entry);
	return r;
}

static void rate_free(struct shard *sh, struct rate *r)
{
	if (r->known)
		map_remove(&sh->rates, slice_make(r->id, r->id_len));
	TAILQ_REMOVE(&sh->rate_list, r, entry);
	free(r);
}

/* A module counts with its device. */
static struct slice device_of(const struct principal *who)
{
	struct slice id = principal_id(who);
	const uint8_t *slash = id.n ? memchr(id.p, '/', id.n) : NULL;
	if (slash)
		id.n = (size_t)(slash - id.p);
	return id;
}

static struct rate *record(struct shard *sh, const struct principal *who)
{
	if (who->kind != PRINCIPAL_DEVICE)
		return rate_new(sh, slice_make(NULL, 0));
	struct slice id = device_of(who);
	struct rate *r = map_get(&sh->rates, id);
	return r ? r : rate_new(sh, id);
}

bool rate_connect(struct shard *sh, const struct principal *who)
{
	unsigned most = shard_limits(sh)->max_connect_rate;
	if (most == 0 || who->kind != PRINCIPAL_DEVICE)
		return true;
	struct rate *r = record(sh, who);
	uint64_t before = r->connects;
	if (!take(&r->connects, now_us(sh), MINUTE_US, MINUTE_US / most))
		return true;
	r->connects = before; /* who tries on and on gets in as often as who waits */
	return false;
}

struct rate *rate_get(struct shard *sh, const struct principal *who)
{
	const struct broker_limits *lim = shard_limits(sh);
	if (lim->max_message_rate == 0 && lim->max_byte_rate == 0)
		return NULL;
	struct rate *r = record(sh, who);
	r->refs++;
	return r;
}

struct rate *rate_unref(struct shard *sh, struct rate *r)
{
	if (r && --r->refs == 0 && !r->known)
		rate_free(sh, r);
	return NULL;
}

/* ---- what is sent ---- */

static bool is_answer(const struct mqtt_frame *f)
{
	return f->type == MQTT_PUBACK || f->type == MQTT_PUBREC || f->type == MQTT_PUBREL ||
	        f->type == MQTT_PUBCOMP;
}

bool rate_note(struct shard *sh, struct rate *r, const struct mqtt_frame *f)
{
	const struct broker_limits *lim = shard_limits(sh);
	uint64_t now = now_us(sh);
	bool over = false;
	if (lim->max_message_rate && !is_answer(f))
		over = take(&r->messages, now, SECOND_US, SECOND_US / lim->max_message_rate);
	if (lim->max_byte_rate)
		over |= take(&r->bytes, now, SECOND_US, f->size * SECOND_US / lim->max_byte_rate);
	return over;
}

uint64_t rate_wait(const struct shard *sh, const struct rate *r)
{
	const struct broker_limits *lim = shard_limits(sh);
	uint64_t due = lim->max_message_rate ? r->messages : 0, now = now_us(sh);
	if (lim->max_byte_rate && r->bytes > due)
		due = r->bytes;
	return due > now ? (due - now + 999) / 1000 : 0;
}

/* ---- forgetting ---- */

static bool is_blank(const struct rate *r, uint64_t now)
{
	return r->messages + SECOND_US <= now && r->bytes + SECOND_US <= now &&
	        r->connects + MINUTE_US <= now;
}

void rates_sweep(struct shard *sh)
{
	size_t n = map_count(&sh->rates);
	for (n = n < SWEEP_STEP ? n : SWEEP_STEP; n > 0; n--) {
		struct rate *r = TAILQ_FIRST(&sh->rate_list);
		if (r->refs == 0 && is_blank(r, now_us(sh))) {
			rate_free(sh, r);
		} else {
			TAILQ_REMOVE(&sh->rate_list, r, entry);
			TAILQ_INSERT_TAIL(&sh->rate_list, r, entry);
		}
	}
}

void rates_free(struct shard *sh)
{
	struct rate *r;
	while ((r = TAILQ_FIRST(&sh->rate_list)) != NULL)
		rate_free(sh, r);
	map_free(&sh->rates);
}
