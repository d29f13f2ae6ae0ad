#include "registry/authorizer_call.h"

#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"
#include "server/base/metrics.h"

/* An answer that is kept; in order of arrival. */
struct kept {
	struct kept *next;
	uint8_t question[CRYPTO_HASH_LEN];
	uint64_t until_ms;
	struct custom_answer *answer;
};

/* What a desk knows of an authoriser. */
struct line {
	char name[AUTHORIZER_NAME_MAX + 1];
	char etag[ETAG_LEN + 1]; /* another one: it is another authoriser */
	unsigned under_way, failures;
	struct authorizer_call *out[CALLS_MAX]; /* those under way */
	uint64_t shut_ms, shut_until_ms;        /* the breaker; 0: closed */
	bool trying;                            /* one call finds out whether it can be closed */
	struct authorizer_call *first, **last;  /* waiting */
	unsigned waiting;
};

struct authorizer_call {
	struct authorizer_call *next; /* waiting */
	struct desk *desk;
	struct line *line;
	struct authorizer *authorizer;
	struct authorizer_ask *asks;
	struct fetch fetch;
	struct buf event;
	bool under_way;
	bool has_source;
	struct ip_addr source;
	uint64_t came_ms;
	uint8_t question[CRYPTO_HASH_LEN];
};

struct desk {
	struct shard *shard;
	uint8_t key[CRYPTO_KEY_LEN]; /* of the questions' hashes: drawn at start */
	struct map lines, calls, kept;
	struct kept *first, **last;
	unsigned n_kept; /* of the list: it may hold two answers to one question for a while */
};

static uint64_t now_ms(const struct desk *d)
{
	return loop_now_ms(d->shard->loop);
}

/* ---- the cache ---- */

static void kept_drop_first(struct desk *d)
{
	struct kept *k = d->first;
	d->first = k->next;
	d->n_kept--;
	if (!d->first)
		d->last = &d->first;
	/* A newer answer to the same question may stand in its place. */
	if (map_get(&d->kept, slice_make(k->question, sizeof(k->question))) == k)
		map_remove(&d->kept, slice_make(k->question, sizeof(k->question)));
	custom_answer_unref(k->answer);
	crypto_wipe(k, sizeof(*k));
	free(k);
}

static struct custom_answer *kept_get(struct desk *d, const uint8_t *question)
{
	struct kept *k = map_get(&d->kept, slice_make(question, CRYPTO_HASH_LEN));
	return k && now_ms(d) < k->until_ms ? k->answer : NULL;
}

static void keep(struct desk *d, const struct authorizer_call *c, struct custom_answer *answer)
{
	unsigned seconds = c->authorizer->cache_s;
	if (!answer->allowed && seconds > ANSWER_NO_CACHE_S)
		seconds = ANSWER_NO_CACHE_S;
	if (seconds == 0)
		return;
	while (d->first && (d->n_kept >= ANSWERS_MAX || d->first->until_ms <= now_ms(d)))
		kept_drop_first(d);
	struct kept *k = calloc(1, sizeof(*k));
	if (!k)
		return;
	memcpy(k->question, c->question, sizeof(k->question));
	struct slice question = slice_make(k->question, sizeof(k->question));
	/* The key of an entry lives in its value: an older one goes first. */
	map_remove(&d->kept, question);
	if (map_put(&d->kept, question, k, NULL) < 0) {
		free(k);
		return;
	}
	k->until_ms = now_ms(d) + (uint64_t)seconds * 1000;
	k->answer = custom_answer_ref(answer);
	*d->last = k;
	d->last = &k->next;
	d->n_kept++;
}

/* ---- lines and their breakers ---- */

static void breaker_reset(struct line *l)
{
	if (l->shut_until_ms)
		metric_add(METRIC_AUTHORIZERS_SHUT, -1);
	l->failures = 0;
	l->shut_ms = l->shut_until_ms = 0;
	l->trying = false;
}

/* Lines are few: there is one for each authoriser that there was while the hub runs. */
static struct line *line_of(struct desk *d, const struct authorizer *au)
{
	struct line *l = map_get(&d->lines, slice_make(au->name, strlen(au->name)));
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l)
			return NULL;
		memcpy(l->name, au->name, sizeof(l->name));
		l->last = &l->first;
		if (map_put(&d->lines, slice_str(l->name), l, NULL) < 0) {
			free(l);
			return NULL;
		}
	}
	if (strcmp(l->etag, au->etag) != 0) {
		breaker_reset(l);
		memcpy(l->etag, au->etag, sizeof(l->etag));
	}
	return l;
}

static bool breaker_lets(const struct desk *d, struct line *l)
{
	if (!l->shut_until_ms)
		return true;
	if (l->trying || now_ms(d) < l->shut_until_ms)
		return false;
	l->trying = true;
	return true;
}

static void breaker_failed(const struct desk *d, struct line *l)
{
	bool was_trying = l->trying;
	l->trying = false;
	l->failures++;
	if (l->failures < BREAKER_FAILURES || (l->shut_until_ms && !was_trying))
		return;
	if (!l->shut_until_ms) {
		metric_add(METRIC_AUTHORIZERS_SHUT, 1);
		log_warn("a custom authoriser fails and is left alone for a while",
		        F_STR("name", l->name));
	}
	l->shut_ms = l->shut_ms ? l->shut_ms * 2 : BREAKER_MS;
	if (l->shut_ms > BREAKER_MS_MAX)
		l->shut_ms = BREAKER_MS_MAX;
	l->shut_until_ms = now_ms(d) + l->shut_ms;
}

static void breaker_answered(struct line *l)
{
	if (l->shut_until_ms)
		log_info("a custom authoriser answers again", F_STR("name", l->name));
	breaker_reset(l);
}

/* ---- the end of a call ---- */

static enum deny_reason verdict(const struct custom_answer *answer)
{
	return answer->allowed ? DENY_NONE : DENY_AUTHORIZER;
}

static void call_free(struct authorizer_call *c)
{
	buf_wipe(&c->event);
	buf_wipe(&c->fetch.body);
	authorizer_unref(c->authorizer);
	crypto_wipe(c->question, sizeof(c->question));
	free(c);
}

static void ask_leave(struct authorizer_ask *ask)
{
	*ask->prev = ask->next;
	if (ask->next)
		ask->next->prev = ask->prev;
	ask->next = NULL;
	ask->prev = NULL;
	ask->call = NULL;
}

/* Tells everybody who waits. What they do then may drop others of the list, or ask again. */
static void call_end(struct authorizer_call *c, enum deny_reason why, struct custom_answer *answer)
{
	map_remove(&c->desk->calls, slice_make(c->question, sizeof(c->question)));
	while (c->asks) {
		struct authorizer_ask *ask = c->asks;
		ask_leave(ask);
		ask->done(ask, why, answer);
	}
	call_free(c);
}

static void line_remove(struct line *l, const struct authorizer_call *c)
{
	unsigned i = 0;
	while (l->out[i] != c)
		i++;
	l->out[i] = l->out[--l->under_way];
}

static void start_waiting(struct desk *d, struct line *l);

static const char *read_answer(
        const struct authorizer_call *c, unsigned min_s, struct custom_answer **ret)
{
	const struct fetch *f = &c->fetch;
	const char *why = NULL;
	if (f->err < 0)
		return f->why;
	if (f->status != 200)
		return "its answer has another status than 200";
	int err = custom_answer_read(buf_slice(&f->body), min_s, ret, &why);
	return err == 0 ? NULL : err == ERR_NOMEM ? "out of memory" : why;
}

static void call_answered(struct mail *m)
{
	struct authorizer_call *c = container_of(m, struct authorizer_call, fetch.mail);
	struct desk *d = c->desk;
	struct line *l = c->line;
	struct custom_answer *answer = NULL;
	const char *why = read_answer(c, d->shard->settings->authorizer_min_s, &answer);
	line_remove(l, c);
	metric_observe_us(METRIC_AUTHORIZER_TIME, (now_ms(d) - c->came_ms) * 1000);
	if (answer) {
		breaker_answered(l);
		keep(d, c, answer);
		call_end(c, verdict(answer), answer);
		custom_answer_unref(answer);
	} else {
		metric_inc(METRIC_AUTHORIZER_FAILED);
		log_warn("a custom authoriser gave no usable answer", F_STR("name", l->name),
		        F_STR("why", why));
		breaker_failed(d, l);
		call_end(c, DENY_AUTHORIZER_FAILED, NULL);
	}
	start_waiting(d, l);
}

/* ---- the beginning ---- */

static unsigned lookup_ms(const struct desk *d)
{
	return d->shard->settings->lookup_ms;
}

static bool call_start(struct authorizer_call *c)
{
	const struct registry_hooks *hooks = &c->desk->shard->registry->hooks;
	const struct authorizer *au = c->authorizer;
	if (!hooks->fetch || custom_event_end(&c->event) < 0) {
		c->line->trying = false;
		return false;
	}
	unsigned ms = au->timeout_ms < lookup_ms(c->desk) ? au->timeout_ms : lookup_ms(c->desk);
	c->fetch = (struct fetch){
	        .mail.deliver = call_answered,
	        .reply_to = loop_mailbox(c->desk->shard->loop),
	        .url = au->url,
	        .post = buf_slice(&c->event),
	        .content_type = "application/json",
	        .ca_pem = slice_str(au->ca_pem),
	        .timeout_ms = ms,
	        .max_bytes = CUSTOM_ANSWER_MAX,
	};
	c->under_way = true;
	c->line->out[c->line->under_way++] = c;
	metric_inc(METRIC_AUTHORIZER_CALLS);
	hooks->fetch(hooks->ctx, &c->fetch);
	return true;
}

static bool same_address(const struct authorizer_call *a, const struct authorizer_call *b)
{
	return a->has_source && b->has_source && a->source.v6 == b->source.v6 &&
	        slice_eq(ip_shared(&a->source), ip_shared(&b->source));
}

/* An address on its own takes half of an authoriser's calls at most. */
static bool has_share(const struct authorizer_call *c)
{
	const struct line *l = c->line;
	unsigned n = 0;
	for (unsigned i = 0; i < l->under_way; i++)
		n += same_address(l->out[i], c);
	return n < CALLS_MAX / 2;
}

static struct authorizer_call *take_startable(struct line *l)
{
	for (struct authorizer_call **at = &l->first; *at; at = &(*at)->next) {
		struct authorizer_call *c = *at;
		if (c->asks && !has_share(c))
			continue;
		*at = c->next;
		if (!c->next)
			l->last = at;
		c->next = NULL;
		l->waiting--;
		return c;
	}
	return NULL;
}

/* Those who have waited too long have gone meanwhile, and their calls are not made. */
static void start_waiting(struct desk *d, struct line *l)
{
	struct authorizer_call *c;
	while (l->under_way < CALLS_MAX && (c = take_startable(l)) != NULL)
		if (!c->asks || !breaker_lets(d, l) || !call_start(c))
			call_end(c, DENY_AUTHORIZER_FAILED, NULL);
}

static void call_join(struct authorizer_call *c, struct authorizer_ask *ask)
{
	ask->call = c;
	ask->next = c->asks;
	ask->prev = &c->asks;
	if (ask->next)
		ask->next->prev = &ask->next;
	c->asks = ask;
}

static struct authorizer_call *call_new(struct desk *d, struct authorizer *au, struct buf *event,
        const char *peer, const uint8_t *question)
{
	struct authorizer_call *c = calloc(1, sizeof(*c));
	struct line *l = line_of(d, au);
	if (!c || !l) {
		free(c);
		return NULL;
	}
	c->desk = d;
	c->line = l;
	c->came_ms = now_ms(d);
	c->has_source = ip_parse_peer(peer, &c->source) == 0;
	memcpy(c->question, question, sizeof(c->question));
	if (map_put(&d->calls, slice_make(c->question, sizeof(c->question)), c, NULL) < 0) {
		free(c);
		return NULL;
	}
	c->authorizer = authorizer_ref(au);
	c->event = *event;
	buf_init(event, 0);
	return c;
}

static void call_begin(struct authorizer_call *c)
{
	struct desk *d = c->desk;
	struct line *l = c->line;
	if (l->under_way < CALLS_MAX && has_share(c)) {
		if (!breaker_lets(d, l)) {
			metric_inc(METRIC_AUTHORIZER_REFUSED);
			call_end(c, DENY_AUTHORIZER_FAILED, NULL);
		} else if (!call_start(c)) {
			call_end(c, DENY_AUTHORIZER_FAILED, NULL);
		}
	} else if (l->waiting < WAITING_MAX) {
		*l->last = c;
		l->last = &c->next;
		l->waiting++;
	} else {
		metric_inc(METRIC_AUTHORIZER_REFUSED);
		call_end(c, DENY_BUDGET, NULL);
	}
}

/* A question is what is asked of which state of an authoriser. */
static void question_of(const struct desk *d, const struct authorizer *au, const struct buf *event,
        uint8_t ret[static CRYPTO_HASH_LEN])
{
	char who[sizeof(au->name) + sizeof(au->etag)];
	int n = snprintf(who, sizeof(who), "%s/%s", au->name, au->etag);
	crypto_hmac_sha256(slice_make(d->key, sizeof(d->key)), slice_make(who, (size_t)n + 1),
	        buf_slice(event), ret);
}

void authorizer_ask(struct desk *d, struct authorizer *au, struct buf *event, const char *peer,
        bool afresh, struct authorizer_ask *ask)
{
	uint8_t question[CRYPTO_HASH_LEN];
	question_of(d, au, event, question);
	struct custom_answer *known = afresh ? NULL : kept_get(d, question);
	struct authorizer_call *c = map_get(&d->calls, slice_make(question, sizeof(question)));
	bool begin = !known && !c;
	if (begin)
		c = call_new(d, au, event, peer, question);
	buf_wipe(event);
	if (known) {
		metric_inc(METRIC_AUTHORIZER_CACHED);
		custom_answer_ref(known);
		ask->done(ask, verdict(known), known);
		custom_answer_unref(known);
	} else if (!c) {
		ask->done(ask, DENY_UNAVAILABLE, NULL);
	} else {
		call_join(c, ask);
		if (begin)
			call_begin(c);
	}
	crypto_wipe(question, sizeof(question));
}

void authorizer_ask_drop(struct authorizer_ask *ask)
{
	if (ask->call)
		ask_leave(ask);
}

/* ---- life ---- */

struct desk *desk_new(struct shard *s)
{
	struct desk *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->shard = s;
	d->last = &d->first;
	crypto_random(d->key, sizeof(d->key));
	map_init(&d->lines);
	map_init(&d->calls);
	map_init(&d->kept);
	return d;
}

/* A call that somebody else still has cannot be freed: it stays as it is, and nobody hears of it.
 */
void desk_free(struct desk *d)
{
	struct authorizer_call *c;
	struct line *l;
	if (!d)
		return;
	map_for_each (&d->calls, pos, c)
		if (!c->under_way)
			call_free(c);
	map_for_each (&d->lines, pos, l) {
		breaker_reset(l);
		free(l);
	}
	while (d->first)
		kept_drop_first(d);
	map_free(&d->lines);
	map_free(&d->calls);
	map_free(&d->kept);
	crypto_wipe(d, sizeof(*d));
	free(d);
}
