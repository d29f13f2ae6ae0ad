/* A store of documents in an array, for what policy reads and writes of IP rules and bans. */
#ifndef HF_TESTS_UNIT_POLICY_DOCUMENTS_H
#define HF_TESTS_UNIT_POLICY_DOCUMENTS_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/cleanup.h"
#include "server/base/document_store.h"
#include "server/base/err.h"

#define DOCUMENTS_MAX 10100

struct documents {
	pthread_mutex_t mutex;
	unsigned n, next_etag;
	struct document list[DOCUMENTS_MAX];
};

static struct document *documents_find(struct documents *s, enum entity kind, const char *name)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->list[i].kind == kind && strcmp(s->list[i].name, name) == 0)
			return &s->list[i];
	return NULL;
}

static void documents_copy(struct document *to, const struct document *from)
{
	*to = *from;
	to->text = strdup(from->text);
	to->links = NULL;
}

static int documents_insert(void *ctx, struct document *d)
{
	struct documents *s = ctx;
	pthread_mutex_lock(&s->mutex);
	int r = documents_find(s, d->kind, d->name) ? ERR_EXISTS
	        : s->n == DOCUMENTS_MAX             ? ERR_QUOTA
	                                            : 0;
	if (r == 0) {
		snprintf(d->etag, sizeof(d->etag), "%u", ++s->next_etag);
		documents_copy(&s->list[s->n++], d);
	}
	pthread_mutex_unlock(&s->mutex);
	return r;
}

static int documents_get(void *ctx, enum entity kind, const char *name, struct document *ret)
{
	struct documents *s = ctx;
	pthread_mutex_lock(&s->mutex);
	const struct document *d = documents_find(s, kind, name);
	if (d)
		documents_copy(ret, d);
	pthread_mutex_unlock(&s->mutex);
	return d ? 0 : ERR_NOT_FOUND;
}

static int documents_list(void *ctx, enum entity kind, const char *after, unsigned limit,
        struct document **ret, unsigned *ret_n)
{
	struct documents *s = ctx;
	struct document *list = calloc(limit, sizeof(*list));
	pthread_mutex_lock(&s->mutex);
	*ret_n = 0;
	for (unsigned i = 0; i < s->n && *ret_n < limit; i++)
		if (s->list[i].kind == kind && (!after || strcmp(s->list[i].name, after) > 0))
			documents_copy(&list[(*ret_n)++], &s->list[i]);
	pthread_mutex_unlock(&s->mutex);
	*ret = list;
	return 0;
}

static int documents_update(void *ctx, struct document *d, struct store_match match)
{
	struct documents *s = ctx;
	pthread_mutex_lock(&s->mutex);
	struct document *old = documents_find(s, d->kind, d->name);
	bool stale = old && match.etag && strcmp(match.etag, "*") != 0 &&
	        strcmp(match.etag, old->etag) != 0;
	if (old && !stale) {
		snprintf(d->etag, sizeof(d->etag), "%u", ++s->next_etag);
		document_done(old);
		documents_copy(old, d);
	}
	pthread_mutex_unlock(&s->mutex);
	return !old ? ERR_NOT_FOUND : stale ? ERR_STALE : 0;
}

static int documents_remove(void *ctx, enum entity kind, const char *name, struct store_match match)
{
	struct documents *s = ctx;
	pthread_mutex_lock(&s->mutex);
	struct document *old = documents_find(s, kind, name);
	bool stale = old && match.etag && strcmp(match.etag, "*") != 0 &&
	        strcmp(match.etag, old->etag) != 0;
	if (old && !stale) {
		document_done(old);
		*old = s->list[--s->n];
	}
	pthread_mutex_unlock(&s->mutex);
	return !old ? ERR_NOT_FOUND : stale ? ERR_STALE : 0;
}

static int documents_each(
        void *ctx, enum entity kind, int (*row)(void *arg, const struct document *d), void *arg)
{
	struct documents *s = ctx;
	int r = 0;
	pthread_mutex_lock(&s->mutex);
	for (unsigned i = 0; i < s->n && r == 0; i++)
		if (s->list[i].kind == kind)
			r = row(arg, &s->list[i]);
	pthread_mutex_unlock(&s->mutex);
	return r;
}

HF_UNUSED static struct document_store documents_store(struct documents *s)
{
	pthread_mutex_init(&s->mutex, NULL);
	return (struct document_store){
	        .ctx = s,
	        .insert = documents_insert,
	        .get = documents_get,
	        .list = documents_list,
	        .update = documents_update,
	        .remove = documents_remove,
	        .each = documents_each,
	};
}

HF_UNUSED static void documents_done(struct documents *s)
{
	for (unsigned i = 0; i < s->n; i++)
		document_done(&s->list[i]);
	pthread_mutex_destroy(&s->mutex);
}

HF_UNUSED static unsigned documents_count(struct documents *s)
{
	pthread_mutex_lock(&s->mutex);
	unsigned n = s->n;
	pthread_mutex_unlock(&s->mutex);
	return n;
}

/* As somebody writes it past the hub. */
HF_UNUSED static void documents_put(
        struct documents *s, enum entity kind, const char *name, const char *text)
{
	struct document d = {.kind = kind, .text = strdup(text)};
	snprintf(d.name, sizeof(d.name), "%s", name);
	documents_insert(s, &d);
	free(d.text);
}

#endif
