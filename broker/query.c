/* What the API asks: each shard answers by mail for its own clients; the asking worker waits. */
#include "broker/client.h"
#include "broker/mem.h"
#include "server/base/clock.h"
#include "server/base/err.h"

struct ask {
	struct mail mail;
	struct shard *shard;
	struct mail_wait *wait;
	void (*run)(struct ask *a);
	void *arg;
	/* connections */
	struct broker_connection *list;
	unsigned n;
	int err;
};

static void ask_arrived(struct mail *mail)
{
	struct ask *a = container_of(mail, struct ask, mail);
	a->run(a);
	mail_wait_done(a->wait); /* a is the waiter's again */
}

/* Runs run on each shard of asks and waits for all. */
static int ask_shards(struct broker *b, struct ask *asks, void (*run)(struct ask *a), void *arg)
{
	struct mail_wait wait;
	int err = mail_wait_init(&wait, (int)b->n);
	if (err)
		return err;
	for (unsigned i = 0; i < b->n; i++) {
		asks[i] = (struct ask){
		        .mail.deliver = ask_arrived,
		        .shard = &b->shards[i],
		        .wait = &wait,
		        .run = run,
		        .arg = arg,
		};
		mail_send(b->shards[i].box, &asks[i].mail);
	}
	mail_wait_for(&wait, -1);
	mail_wait_free(&wait);
	return 0;
}

/* ---- connections ---- */

struct page {
	struct slice after;
	bool from_start;
	unsigned limit;
};

static int id_compare(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static int client_compare(const struct broker_client *a, const struct broker_client *b)
{
	return id_compare(session_client_id(a->session), session_client_id(b->session));
}

/* Keeps the smallest ids in a heap with the largest of them on top. */
static void heap_sift(const struct broker_client **heap, unsigned n, unsigned i)
{
	for (;;) {
		unsigned big = i;
		for (unsigned kid = 2 * i + 1; kid <= 2 * i + 2 && kid < n; kid++) {
			if (client_compare(heap[kid], heap[big]) > 0)
				big = kid;
		}
		if (big == i)
			return;
		const struct broker_client *t = heap[i];
		heap[i] = heap[big];
		heap[big] = t;
		i = big;
	}
}

static unsigned smallest_clients(
        const struct shard *sh, const struct page *page, const struct broker_client **heap)
{
	const struct broker_client *c = NULL;
	unsigned n = 0;
	LIST_FOREACH (c, &sh->clients, all) {
		if (c->state != CLIENT_ON)
			continue;
		if (!page->from_start &&
		        id_compare(session_client_id(c->session), page->after) <= 0)
			continue;
		if (n < page->limit) {
			heap[n++] = c;
			if (n == page->limit) {
				for (unsigned i = n / 2; i-- > 0;)
					heap_sift(heap, n, i);
			}
		} else if (client_compare(c, heap[0]) < 0) {
			heap[0] = c;
			heap_sift(heap, n, 0);
		}
	}
	return n;
}

static char *slice_dup(struct slice s)
{
	return strndup((const char *)s.p, s.n);
}

static int describe(const struct broker_client *c, struct broker_connection *ret)
{
	const struct session *s = c->session;
	*ret = (struct broker_connection){
	        .client_id = slice_dup(session_client_id(s)),
	        .principal = slice_dup(principal_id(s->principal)),
	        .kind = principal_kind_name(s->principal->kind),
	        .protocol = c->protocol,
	        .tls_version = c->tls_version,
	        .mqtt_version = c->version,
	        .conn_id = c->conn_id,
	        .keep_alive = c->keep_alive,
	        .subscriptions = s->n_subs,
	        .inflight = s->out.live,
	        .queued = s->out.queue.count,
	        .clean_start = c->clean_start,
	        .connected_us = c->connected_us,
	        .last_activity_us = client_activity_us(c),
	};
	snprintf(ret->address, sizeof(ret->address), "%s", c->address);
	return ret->client_id && ret->principal ? 0 : ERR_NOMEM;
}

static void list_connections(struct ask *a)
{
	const struct page *page = a->arg;
	_cleanup_free_ const struct broker_client **heap = calloc(page->limit, sizeof(void *));
	if (!heap) {
		a->err = ERR_NOMEM;
		return;
	}
	unsigned n = smallest_clients(a->shard, page, heap);
	if (n == 0)
		return;
	a->list = calloc(n, sizeof(*a->list));
	if (!a->list) {
		a->err = ERR_NOMEM;
		return;
	}
	for (a->n = 0; a->n < n && !a->err; a->n++)
		a->err = describe(heap[a->n], &a->list[a->n]);
}

static int connection_compare(const void *a, const void *b)
{
	const struct broker_connection *x = a, *y = b;
	int c = strcmp(x->client_id, y->client_id);
	return c ? c : x->conn_id < y->conn_id ? -1 : x->conn_id > y->conn_id;
}

/* All shards' lists as one; on failure they stay the caller's. */
static struct broker_connection *merge(struct ask *asks, unsigned n_asks, unsigned *ret_n)
{
	unsigned n = 0;
	for (unsigned i = 0; i < n_asks; i++)
		n += asks[i].n;
	struct broker_connection *all = calloc(n + 1u, sizeof(*all));
	if (!all)
		return NULL;
	n = 0;
	for (unsigned i = 0; i < n_asks; i++) {
		if (asks[i].n > 0)
			memcpy(all + n, asks[i].list, asks[i].n * sizeof(*all));
		n += asks[i].n;
		free(asks[i].list);
	}
	qsort(all, n, sizeof(*all), connection_compare);
	*ret_n = n;
	return all;
}

int broker_connections(struct broker *b, const char *after, unsigned limit,
        struct broker_connection **ret, unsigned *ret_n)
{
	struct ask asks[SHARDS_MAX];
	struct page page = {slice_str(after), !after, limit ? limit : 1};
	unsigned n = 0;
	int err = ask_shards(b, asks, list_connections, &page);
	if (err)
		return err;
	for (unsigned i = 0; i < b->n; i++)
		err = asks[i].err ? asks[i].err : err;
	struct broker_connection *all = err ? NULL : merge(asks, b->n, &n);
	if (!all) {
		for (unsigned i = 0; i < b->n; i++)
			broker_connections_free(asks[i].list, asks[i].n);
		return ERR_NOMEM;
	}
	for (; n > limit; n--) {
		free(all[n - 1].client_id);
		free(all[n - 1].principal);
	}
	*ret = all;
	*ret_n = n;
	return 0;
}

void broker_connections_free(struct broker_connection *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		free(list[i].client_id);
		free(list[i].principal);
	}
	free(list);
}

/* ---- ending them ---- */

static void disconnect_here(struct ask *a)
{
	const struct slice *id = a->arg;
	struct broker_client *c = NULL;
	LIST_FOREACH (c, &a->shard->clients, all) {
		if (c->state != CLIENT_ON || !slice_eq(session_client_id(c->session), *id))
			continue;
		client_end(c, END_ADMINISTRATIVE);
		a->n++;
	}
}

unsigned broker_disconnect(struct broker *b, struct slice client_id)
{
	struct ask asks[SHARDS_MAX];
	unsigned n = 0;
	if (ask_shards(b, asks, disconnect_here, &client_id) != 0)
		return 0;
	for (unsigned i = 0; i < b->n; i++)
		n += asks[i].n;
	return n;
}

/* ---- presence ---- */

struct presence_query {
	const struct slice *ids;
	unsigned n;
	struct broker_presence *ret; /* each entry is written by its device's home alone */
};

static void presence_here(struct ask *a)
{
	const struct presence_query *q = a->arg;
	for (unsigned i = 0; i < q->n; i++) {
		if (broker_home_client(a->shard->b, q->ids[i]) != a->shard)
			continue;
		struct broker_presence *p = &q->ret[i];
		const struct session *s = session_find_device(a->shard, q->ids[i]);
		const struct broker_client *c = s ? session_writable(s) : NULL;
		*p = (struct broker_presence){0};
		if (c) {
			p->connected = true;
			p->since_us = c->connected_us;
			p->last_activity_us = client_activity_us(c);
		} else if (s) {
			p->since_us = s->gone_us;
			p->last_activity_us = s->last_activity_us;
		}
	}
}

void broker_presence(
        struct broker *b, const struct slice *device_ids, unsigned n, struct broker_presence *ret)
{
	struct ask asks[SHARDS_MAX];
	struct presence_query q = {device_ids, n, ret};
	memset(ret, 0, n * sizeof(*ret));
	ask_shards(b, asks, presence_here, &q);
}
