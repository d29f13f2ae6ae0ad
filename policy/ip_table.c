#include "policy/ip_table.h"

#include <stdlib.h>

#include "server/base/cleanup.h"

/* An address as a number, so that a network is an interval; IPv4 uses the low 32 bits. */
typedef unsigned __int128 ip_key;

/* Interval i goes from starts[i] to before starts[i + 1], the last one to the end of the family. */
struct family {
	size_t n;
	ip_key *starts;
	uint32_t *values;
};

struct ip_table {
	struct family v4, v6;
};

static ip_key key_of(bool v6, const uint8_t *bytes)
{
	ip_key key = 0;
	for (unsigned i = 0; i < (v6 ? 16 : 4); i++)
		key = key << 8 | bytes[i];
	return key;
}

/* ---- compiling ---- */

/* A network on its way into the table; rank: its place in the order, lower wins. */
struct span {
	ip_key first, last;
	size_t rank;
};

/* Networks are disjoint or nested: those that are open at a point form a stack, each with the best
 * rank of itself and all around it. No two on it are of one length. */
struct sweep {
	struct family *to;
	const struct ip_net *nets;
	unsigned depth;
	struct span open[129];
};

static int span_compare(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	if (x->last != y->last) /* the wider one first */
		return x->last > y->last ? -1 : 1;
	return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* From here on, what is at the top of the stack counts. */
static void sweep_mark(struct sweep *s, ip_key start)
{
	struct family *f = s->to;
	uint32_t value = s->depth > 0 ? s->nets[s->open[s->depth - 1].rank].value : IP_TABLE_NONE;
	if (f->n > 0 && f->starts[f->n - 1] == start)
		f->n--;
	if (f->n > 0 && f->values[f->n - 1] == value)
		return;
	f->starts[f->n] = start;
	f->values[f->n++] = value;
}

/* Closes what ends before the key, or everything. */
static void sweep_close(struct sweep *s, const ip_key *before, ip_key end)
{
	while (s->depth > 0) {
		ip_key last = s->open[s->depth - 1].last;
		if (before && last >= *before)
			return;
		s->depth--;
		if (last != end)
			sweep_mark(s, last + 1);
	}
}

static void sweep_open(struct sweep *s, const struct span *span)
{
	const struct span *around = s->depth > 0 ? &s->open[s->depth - 1] : NULL;
	/* The same network a second time comes later in the order, and counts for nothing. */
	if (around && around->last == span->last && around->first == span->first)
		return;
	s->open[s->depth] = *span;
	if (around && around->rank < span->rank)
		s->open[s->depth].rank = around->rank;
	s->depth++;
	sweep_mark(s, span->first);
}

static size_t spans_of(const struct ip_net *nets, size_t n, bool v6, struct span *ret)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++) {
		if (nets[i].net.v6 != v6)
			continue;
		unsigned host = (v6 ? 128u : 32u) - nets[i].net.bits;
		ip_key hosts = host == 128 ? ~(ip_key)0 : ((ip_key)1 << host) - 1;
		ip_key first = key_of(v6, nets[i].net.ip);
		ret[count++] = (struct span){.first = first, .last = first | hosts, .rank = i};
	}
	qsort(ret, count, sizeof(*ret), span_compare);
	return count;
}

static int family_make(struct family *f, const struct ip_net *nets, size_t n, bool v6)
{
	_cleanup_free_ struct span *spans = calloc(n + 1, sizeof(*spans));
	size_t count = spans ? spans_of(nets, n, v6, spans) : 0;
	struct sweep s = {.to = f, .nets = nets};
	f->starts = calloc(2 * count + 1, sizeof(*f->starts));
	f->values = calloc(2 * count + 1, sizeof(*f->values));
	if (!spans || !f->starts || !f->values)
		return -1;
	ip_key end = v6 ? ~(ip_key)0 : UINT32_MAX;
	sweep_mark(&s, 0);
	for (size_t i = 0; i < count; i++) {
		sweep_close(&s, &spans[i].first, end);
		sweep_open(&s, &spans[i]);
	}
	sweep_close(&s, NULL, end);
	return 0;
}

static void family_done(struct family *f)
{
	free(f->starts);
	free(f->values);
}

struct ip_table *ip_table_new(const struct ip_net *nets, size_t n)
{
	struct ip_table *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	if (family_make(&t->v4, nets, n, false) < 0 || family_make(&t->v6, nets, n, true) < 0)
		return ip_table_free(t);
	return t;
}

struct ip_table *ip_table_free(struct ip_table *t)
{
	if (!t)
		return NULL;
	family_done(&t->v4);
	family_done(&t->v6);
	free(t);
	return NULL;
}

/* ---- asking ---- */

uint32_t ip_table_find(const struct ip_table *t, const struct ip_addr *ip)
{
	const struct family *f = ip->v6 ? &t->v6 : &t->v4;
	ip_key key = key_of(ip->v6, ip->bytes);
	size_t low = 0;
	/* The first interval begins at 0: there is always one that does not begin behind key. */
	for (size_t n = f->n; n > 1;) {
		size_t half = n / 2;
		low = f->starts[low + half] <= key ? low + half : low;
		n -= half;
	}
	return f->values[low];
}

static bool family_all(
        const struct family *f, bool (*fits)(const void *ctx, uint32_t value), const void *ctx)
{
	for (size_t i = 0; i < f->n; i++)
		if (!fits(ctx, f->values[i]))
			return false;
	return true;
}

bool ip_table_all(
        const struct ip_table *t, bool (*fits)(const void *ctx, uint32_t value), const void *ctx)
{
	return family_all(&t->v4, fits, ctx) && family_all(&t->v6, fits, ctx);
}
