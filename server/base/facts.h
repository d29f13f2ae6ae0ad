/*
 * What is known of a connection's client certificate beyond its validity: names and values, for the
 * variables of policies ("iot:Certificate.Subject.CommonName"). One allocation, immutable, owned by
 * the principal that it was made for.
 */
#ifndef HF_BASE_FACTS_H
#define HF_BASE_FACTS_H

#include "server/base/slice.h"

#define FACTS_MAX 64 /* entries; more are left out */
#define FACT_VALUE_MAX \
	1024 /* a longer value is left out: it stands for nothing (wire-contract F.3) */

struct facts;

struct fact {
	const char *name; /* lives for ever: one of a table */
	struct slice value;
};
/* Copies. NULL when out of memory, or n is 0. */
struct facts *facts_new(const struct fact *list, unsigned n);
struct facts *facts_copy(const struct facts *f); /* NULL: out of memory, or f is */
void facts_free(struct facts *f);                /* NULL is fine */
/* The first value of that name; false: there is none. f may be NULL. */
bool facts_get(const struct facts *f, struct slice name, struct slice *ret);
/* The values one after the other, for names that have several (SubjectAlternativeName.*): starts
 * with *pos = 0; false at the end. */
bool facts_next(const struct facts *f, unsigned *pos, struct fact *ret);

#endif
