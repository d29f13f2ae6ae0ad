#include "broker/alias.h"

#include <stdlib.h>

#include "server/base/err.h"
#include "server/base/map.h"

/* Of all topics that a connection has aliases for, each way: as much as one topic can have. Aliases
 * are there to save bytes on the wire; topics of that length do not want to be kept sixteen times.
 */
#define ALIAS_BYTES_MAX 65536

/* ---- client to hub ---- */

struct alias_in {
	unsigned n;
	size_t bytes;
	struct {
		char *text;
		uint16_t len;
	} topics[]; /* alias - 1 */
};

int alias_in_set(struct alias_in **table, unsigned max, uint16_t alias, struct slice topic)
{
	if (!*table) {
		*table = calloc(1, sizeof(**table) + max * sizeof((*table)->topics[0]));
		if (!*table)
			return ERR_NOMEM;
		(*table)->n = max;
	}
	size_t old = alias <= (*table)->n ? (*table)->topics[alias - 1].len : 0;
	if (alias > (*table)->n || (*table)->bytes - old + topic.n > ALIAS_BYTES_MAX)
		return ERR_QUOTA;
	char *text = malloc(topic.n);
	if (!text)
		return ERR_NOMEM;
	memcpy(text, topic.p, topic.n);
	(*table)->bytes += topic.n - old;
	free((*table)->topics[alias - 1].text);
	(*table)->topics[alias - 1].text = text;
	(*table)->topics[alias - 1].len = (uint16_t)topic.n;
	return 0;
}

struct slice alias_in_get(const struct alias_in *table, uint16_t alias)
{
	if (!table || alias == 0 || alias > table->n)
		return slice_make(NULL, 0);
	return slice_make(table->topics[alias - 1].text, table->topics[alias - 1].len);
}

struct alias_in *alias_in_free(struct alias_in *table)
{
	for (unsigned i = 0; table && i < table->n; i++)
		free(table->topics[i].text);
	free(table);
	return NULL;
}

/* ---- hub to client: the first topics that come get an alias each, for good ---- */

#define ALIAS_OUT_MAX 16
#define ALIAS_TOPIC_MIN 4 /* a shorter topic is no longer than the property */

struct alias_out {
	unsigned n;
	size_t bytes;
	struct {
		uint64_t hash;
		char *text;
		uint16_t len;
	} topics[ALIAS_OUT_MAX];
};

uint16_t alias_out_get(struct alias_out **table, unsigned max, struct slice topic, bool *ret_new)
{
	*ret_new = false;
	if (max == 0 || topic.n < ALIAS_TOPIC_MIN)
		return 0;
	if (!*table) {
		*table = calloc(1, sizeof(**table));
		if (!*table)
			return 0;
	}
	struct alias_out *t = *table;
	uint64_t hash = hash_bytes(topic.p, topic.n);
	for (unsigned i = 0; i < t->n; i++) {
		struct slice known = slice_make(t->topics[i].text, t->topics[i].len);
		if (t->topics[i].hash == hash && slice_eq(known, topic))
			return (uint16_t)(i + 1);
	}
	if (t->n >= max || t->n >= ALIAS_OUT_MAX || t->bytes + topic.n > ALIAS_BYTES_MAX)
		return 0;
	*ret_new = true;
	return (uint16_t)(t->n + 1);
}

void alias_out_keep(struct alias_out *t, uint16_t alias, struct slice topic)
{
	char *text = malloc(topic.n);
	/* Without memory the client was told an alias that is told anew next time: harmless. */
	if (!text)
		return;
	memcpy(text, topic.p, topic.n);
	t->topics[alias - 1].hash = hash_bytes(topic.p, topic.n);
	t->topics[alias - 1].text = text;
	t->topics[alias - 1].len = (uint16_t)topic.n;
	t->bytes += topic.n;
	t->n = alias;
}

struct alias_out *alias_out_free(struct alias_out *t)
{
	for (unsigned i = 0; t && i < t->n; i++)
		free(t->topics[i].text);
	free(t);
	return NULL;
}
