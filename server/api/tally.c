#include "server/api/tally.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"

enum kind { COUNT, MIN, MAX, AVG, SUM, FIRST, LAST, PERCENTILE };

static const char *const names[] = {
        [COUNT] = "count",
        [MIN] = "min",
        [MAX] = "max",
        [AVG] = "avg",
        [SUM] = "sum",
        [FIRST] = "first",
        [LAST] = "last",
};

/* p0 to p100, with at most three places behind the point. */
static bool read_percentile(const char *name, double *ret)
{
	size_t whole = name[0] == 'p' ? strspn(name + 1, "0123456789") : 0;
	if (whole == 0 || whole > 3)
		return false;
	const char *rest = name + 1 + whole;
	size_t places = rest[0] == '.' ? strspn(rest + 1, "0123456789") : 0;
	if (rest[0] && (places == 0 || places > 3 || rest[1 + places]))
		return false;
	*ret = strtod(name + 1, NULL);
	return *ret <= 100;
}

static bool read_function(struct slice text, struct api_tally_function *f)
{
	if (text.n == 0 || text.n >= sizeof(f->name))
		return false;
	memcpy(f->name, text.p, text.n);
	f->name[text.n] = '\0';
	f->kind = PERCENTILE;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (slice_eq_str(text, names[i]))
			f->kind = i;
	return f->kind != PERCENTILE || read_percentile(f->name, &f->percentile);
}

static bool is_there(const struct api_tally *t, const char *name)
{
	for (unsigned i = 0; i < t->n_functions; i++)
		if (strcmp(t->functions[i].name, name) == 0)
			return true;
	return false;
}

bool api_tally_read(struct slice text, struct api_tally *ret)
{
	struct api_tally t = {0};
	for (bool more = true; more;) {
		const uint8_t *comma = text.n ? memchr(text.p, ',', text.n) : NULL;
		size_t n = comma ? (size_t)(comma - text.p) : text.n;
		struct api_tally_function f = {0};
		if (t.n_functions == API_TALLY_FUNCTIONS ||
		        !read_function(slice_make(text.p, n), &f) || is_there(&t, f.name))
			return false;
		t.functions[t.n_functions++] = f;
		t.needs_value |= f.kind != COUNT;
		t.keeps |= f.kind == PERCENTILE;
		more = comma != NULL;
		text = slice_from(text, n + (more ? 1 : 0));
	}
	*ret = t;
	return true;
}

void api_tally_done(struct api_tally *t)
{
	free(t->values);
	t->values = NULL;
}

void api_tally_begin(struct api_tally *t)
{
	t->count = 0;
	t->sum = t->lost = 0;
	t->min = INFINITY;
	t->max = -INFINITY;
}

static int keep(struct api_tally *t, double value)
{
	if (t->count == API_TALLY_VALUES)
		return ERR_TOO_BIG;
	if (t->count == t->size) {
		size_t size = t->size ? 2 * t->size : 1024;
		double *more = realloc(t->values, size * sizeof(*more));
		if (!more)
			return ERR_NOMEM;
		t->values = more;
		t->size = size;
	}
	t->values[t->count] = value;
	return 0;
}

/* Neumaier's sum: what the addition rounds off is added up by itself. */
static void add_to_sum(struct api_tally *t, double value)
{
	double sum = t->sum + value;
	if (fabs(t->sum) >= fabs(value))
		t->lost += t->sum - sum + value;
	else
		t->lost += value - sum + t->sum;
	t->sum = sum;
}

int api_tally_add(struct api_tally *t, double value)
{
	int r = t->keeps ? keep(t, value) : 0;
	if (r < 0)
		return r;
	if (t->count == 0)
		t->first = value;
	t->last = value;
	t->min = value < t->min ? value : t->min;
	t->max = value > t->max ? value : t->max;
	add_to_sum(t, value);
	t->count++;
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Between two values as much as the place lies between theirs, as percentile_cont of SQL. */
static double percentile(const struct api_tally *t, double p)
{
	double place = p / 100 * (double)(t->count - 1);
	size_t i = (size_t)place;
	double part = place - (double)i, low = t->values[i];
	return part > 0 ? low + part * (t->values[i + 1] - low) : low;
}

static double value_of(const struct api_tally *t, const struct api_tally_function *f)
{
	switch ((enum kind)f->kind) {
	case MIN: return t->min;
	case MAX: return t->max;
	case AVG: return (t->sum + t->lost) / (double)t->count;
	case SUM: return t->sum + t->lost;
	case FIRST: return t->first;
	case LAST: return t->last;
	case COUNT: return (double)t->count;
	case PERCENTILE: break;
	}
	return percentile(t, f->percentile);
}

/* As short as it can be read back. */
static int write_number(struct buf *out, const char *name, double value)
{
	char text[32];
	if (!isfinite(value))
		return buf_printf(out, ",\"%s\":null", name);
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	return buf_printf(out, ",\"%s\":%s", name, text);
}

int api_tally_write(struct api_tally *t, struct buf *out)
{
	int r = 0;
	if (t->keeps && t->count > 0)
		qsort(t->values, t->count, sizeof(*t->values), compare);
	for (unsigned i = 0; r == 0 && i < t->n_functions; i++) {
		const struct api_tally_function *f = &t->functions[i];
		double value = t->count > 0 ? value_of(t, f) : f->kind == COUNT ? 0 : NAN;
		r = write_number(out, f->name, value);
	}
	return r;
}
