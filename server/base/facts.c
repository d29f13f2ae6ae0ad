#include "server/base/facts.h"

#include <stdlib.h>

struct facts {
	unsigned n;
	struct {
		const char *name;
		uint32_t off, len;
	} entries[]; /* then the values */
};

static size_t head_size(unsigned n)
{
	const struct facts *f = NULL;
	return sizeof(*f) + n * sizeof(f->entries[0]);
}

struct facts *facts_new(const struct fact *list, unsigned n)
{
	unsigned kept = 0;
	size_t bytes = 0;
	for (unsigned i = 0; i < n && kept < FACTS_MAX; i++) {
		if (list[i].value.n > FACT_VALUE_MAX)
			continue;
		kept++;
		bytes += list[i].value.n;
	}
	struct facts *f = kept ? malloc(head_size(kept) + bytes) : NULL;
	if (!f)
		return NULL;
	f->n = 0;
	size_t at = head_size(kept);
	for (unsigned i = 0; i < n && f->n < kept; i++) {
		struct slice value = list[i].value;
		if (value.n > FACT_VALUE_MAX)
			continue;
		f->entries[f->n].name = list[i].name;
		f->entries[f->n].off = (uint32_t)at;
		f->entries[f->n++].len = (uint32_t)value.n;
		if (value.n > 0)
			memcpy((uint8_t *)f + at, value.p, value.n);
		at += value.n;
	}
	return f;
}

struct facts *facts_copy(const struct facts *f)
{
	struct fact list[FACTS_MAX];
	unsigned n = 0;
	for (unsigned pos = 0; facts_next(f, &pos, &list[n]);)
		n++;
	return facts_new(list, n);
}

void facts_free(struct facts *f)
{
	free(f);
}

bool facts_next(const struct facts *f, unsigned *pos, struct fact *ret)
{
	if (!f || *pos >= f->n)
		return false;
	ret->name = f->entries[*pos].name;
	ret->value = slice_make((const uint8_t *)f + f->entries[*pos].off, f->entries[*pos].len);
	++*pos;
	return true;
}

bool facts_get(const struct facts *f, struct slice name, struct slice *ret)
{
	struct fact fact;
	for (unsigned pos = 0; facts_next(f, &pos, &fact);)
		if (slice_eq_str(name, fact.name)) {
			*ret = fact.value;
			return true;
		}
	return false;
}
