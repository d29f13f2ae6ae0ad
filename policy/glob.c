#include "policy/glob.h"

/*
 * A pattern is cut at its asterisks into pieces. The first piece must stand at the start of the
 * text and the last at its end; each of the others is taken where it comes first, which leaves the
 * most for those behind it, so nothing is ever tried again. Where a piece begins with text, memmem,
 * which is linear, finds the places for it; what is compared at those is counted, and the match
 * given up once it is out of proportion.
 */
struct match {
	const struct glob *g;
	const struct glob_values *values;
	struct slice text;
	size_t pos, end; /* what of the text is still to be matched */
	size_t work;     /* bytes that may still be compared */
};
#define WORK_FACTOR 64
#define WORK_LEAST 4096

static bool value_of(const struct match *m, unsigned i, struct slice *ret)
{
	return m->values->get && m->values->get(m->values->ctx, m->g->atoms[i].var, ret);
}

static bool is_run(const struct match *m, unsigned i)
{
	const struct glob_atom *a = &m->g->atoms[i];
	struct slice value;
	return a->kind == GLOB_RUN ||
	        (a->kind == GLOB_VAR && m->values->broad && !value_of(m, i, &value));
}

/* The bytes that an atom stands for; false: none that are known. */
static bool bytes_of(const struct match *m, unsigned i, struct slice *ret)
{
	if (m->g->atoms[i].kind == GLOB_VAR)
		return value_of(m, i, ret);
	*ret = m->g->atoms[i].text;
	return true;
}

static bool continues(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

/* Matches atom i at *pos, and moves behind it. */
static bool atom_at(const struct match *m, unsigned i, size_t *pos)
{
	struct slice want;
	if (m->g->atoms[i].kind == GLOB_ONE) {
		if (*pos >= m->end)
			return false;
		do
			++*pos;
		while (*pos < m->end && continues(m->text.p[*pos]));
		return true;
	}
	if (!bytes_of(m, i, &want) || want.n > m->end - *pos ||
	        (want.n > 0 && memcmp(m->text.p + *pos, want.p, want.n) != 0))
		return false;
	*pos += want.n;
	return true;
}

/* Matches atom i in front of the end, and moves the end before it. */
static bool atom_before_end(struct match *m, unsigned i)
{
	struct slice want;
	if (m->g->atoms[i].kind == GLOB_ONE) {
		if (m->end <= m->pos)
			return false;
		do
			m->end--;
		while (m->end > m->pos && continues(m->text.p[m->end]));
		return true;
	}
	if (!bytes_of(m, i, &want) || want.n > m->end - m->pos ||
	        (want.n > 0 && memcmp(m->text.p + m->end - want.n, want.p, want.n) != 0))
		return false;
	m->end -= want.n;
	return true;
}

/* The next place at or behind pos where atom i could stand; false: none. */
static bool next_place(const struct match *m, unsigned i, size_t *pos)
{
	struct slice want;
	if (m->g->atoms[i].kind == GLOB_ONE) {
		while (*pos < m->end && continues(m->text.p[*pos]))
			++*pos;
		return *pos < m->end;
	}
	if (!bytes_of(m, i, &want))
		return false;
	if (want.n == 0)
		return true;
	const uint8_t *at = memmem(m->text.p + *pos, m->end - *pos, want.p, want.n);
	if (at)
		*pos = (size_t)(at - m->text.p);
	return at != NULL;
}

static size_t cost(const struct match *m, unsigned i)
{
	struct slice want = {0};
	return bytes_of(m, i, &want) ? want.n + 1 : 1;
}

enum found { FOUND, NOT_FOUND, TOO_HARD };

/* Finds the piece of the atoms [from, to) and moves behind it. */
static enum found find_piece(struct match *m, unsigned from, unsigned to)
{
	for (size_t start = m->pos; next_place(m, from, &start); start++) {
		size_t pos = start;
		unsigned i = from;
		while (i < to && atom_at(m, i, &pos)) {
			size_t c = i > from ? cost(m, i) : 1;
			if (c > m->work)
				return TOO_HARD;
			m->work -= c;
			i++;
		}
		if (i == to) {
			m->pos = pos;
			return FOUND;
		}
		size_t c = cost(m, i);
		if (c > m->work)
			return TOO_HARD;
		m->work -= c;
		if (start >= m->end)
			break;
	}
	return NOT_FOUND;
}

/* The pieces between the asterisks first and last. */
static bool find_pieces(struct match *m, unsigned first, unsigned last)
{
	for (unsigned i = first + 1; i < last; i++) {
		unsigned to = i;
		while (to < last && !is_run(m, to))
			to++;
		enum found found = to > i ? find_piece(m, i, to) : FOUND;
		if (found == TOO_HARD)
			return m->values->broad;
		if (found == NOT_FOUND)
			return false;
		i = to;
	}
	return true;
}

bool glob_match(const struct glob *g, struct slice text, const struct glob_values *values)
{
	struct match m = {.g = g, .values = values, .text = text, .end = text.n};
	unsigned first = 0, behind = g->n;
	m.work = WORK_FACTOR * text.n + WORK_LEAST;
	for (; first < g->n && !is_run(&m, first); first++)
		if (!atom_at(&m, first, &m.pos))
			return false;
	if (first == g->n)
		return m.pos == text.n;
	for (; !is_run(&m, behind - 1); behind--)
		if (!atom_before_end(&m, behind - 1))
			return false;
	return find_pieces(&m, first, behind - 1);
}

/* ---- a filter and a pattern: do they have a topic in common? ---- */

/*
 * The pattern as symbols, and the set of places in it that the topics of a filter can have reached;
 * the filter is read once, and the set goes along.
 */
#define SYMBOLS_MAX 1024
#define MEETS_WORK_MAX ((size_t)1 << 18)
enum { SYMBOL_ONE = 256, SYMBOL_RUN };

struct places {
	unsigned n; /* symbols */
	uint16_t symbols[SYMBOLS_MAX];
	bool at[SYMBOLS_MAX + 1];
};

static bool symbols_add(struct places *p, struct slice text)
{
	if (text.n > SYMBOLS_MAX - p->n)
		return false;
	for (size_t i = 0; i < text.n; i++)
		p->symbols[p->n++] = text.p[i];
	return true;
}

/* False: too long. */
static bool symbols_write(struct places *p, const struct glob *g, const struct glob_values *values)
{
	for (unsigned i = 0; i < g->n; i++) {
		const struct glob_atom *a = &g->atoms[i];
		struct slice text = a->text;
		bool known = a->kind == GLOB_TEXT ||
		        (a->kind == GLOB_VAR && values->get &&
		                values->get(values->ctx, a->var, &text));
		if (known ? !symbols_add(p, text) : p->n == SYMBOLS_MAX)
			return false;
		if (!known)
			p->symbols[p->n++] = a->kind == GLOB_ONE ? SYMBOL_ONE : SYMBOL_RUN;
	}
	return true;
}

/* What an asterisk matches may be nothing. */
static void skip_runs(struct places *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->at[i] && p->symbols[i] == SYMBOL_RUN)
			p->at[i + 1] = true;
}

/* '+': any text without a slash. */
static void step_level(struct places *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->at[i] && p->symbols[i] != '/')
			p->at[i + 1] = true;
}

/* One byte of text; false: nothing can have been reached. A character of several bytes stays where
 * its first byte went. */
static bool step_byte(struct places *p, uint8_t byte)
{
	bool any = false;
	for (unsigned i = p->n + 1; i-- > 0;) {
		bool stays = p->at[i] &&
		        ((i < p->n && p->symbols[i] == SYMBOL_RUN) ||
		                (i > 0 && continues(byte) && p->symbols[i - 1] == SYMBOL_ONE));
		bool comes = i > 0 && p->at[i - 1] &&
		        (p->symbols[i - 1] == byte || p->symbols[i - 1] == SYMBOL_ONE);
		p->at[i] = stays || comes;
		any |= p->at[i];
	}
	skip_runs(p);
	return any;
}

static bool is_wildcard(struct slice filter, size_t i, char c)
{
	return filter.p[i] == (uint8_t)c && (i == 0 || filter.p[i - 1] == '/') &&
	        (i + 1 == filter.n || filter.p[i + 1] == '/');
}

static bool any_topic(struct places *p, struct slice filter)
{
	p->at[0] = true;
	skip_runs(p);
	for (size_t i = 0; i < filter.n; i++) {
		if (is_wildcard(filter, i, '#'))
			return true; /* whatever is left of the pattern, some topic goes on so */
		if (is_wildcard(filter, i, '+')) {
			step_level(p);
			continue;
		}
		/* "a/#" is also "a". */
		if (i + 2 == filter.n && is_wildcard(filter, i + 1, '#') && p->at[p->n])
			return true;
		if (!step_byte(p, filter.p[i]))
			return false;
	}
	return p->at[p->n];
}

bool glob_meets(const struct glob *g, struct slice filter, const struct glob_values *values)
{
	if (glob_match(g, filter, values))
		return true;
	bool wild = filter.n > 0 &&
	        (memchr(filter.p, '+', filter.n) || memchr(filter.p, '#', filter.n));
	if (!wild)
		return false;
	/* Wildcards never match the first level of reserved topics: MQTT 5.0 section 4.7.2. */
	if ((filter.p[0] == '+' || filter.p[0] == '#') && g->n > 0 &&
	        g->atoms[0].kind == GLOB_TEXT && g->atoms[0].text.n > 0 &&
	        g->atoms[0].text.p[0] == '$')
		return false;
	struct places p = {.n = 0};
	if (!symbols_write(&p, g, values))
		return true;
	size_t work = (size_t)p.n * filter.n;
	if (work > MEETS_WORK_MAX || (values->work && work > *values->work))
		return true;
	if (values->work)
		*values->work -= work;
	return any_topic(&p, filter);
}
