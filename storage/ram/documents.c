/* The port of documents and links. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/ram/private.h"

static struct document *document_at(struct ram_store *s, size_t i)
{
	return (struct document *)s->documents.items + i;
}

static struct link_row *link_at(struct ram_store *s, size_t i)
{
	return (struct link_row *)s->links.items + i;
}

/* Whether it is there; *ret: where it is or belongs (by kind and name). */
static bool find(struct ram_store *s, enum entity kind, const char *name, size_t *ret)
{
	size_t i = 0;
	int order = 1;

	for (; i < s->documents.n && order > 0; i++) {
		const struct document *d = document_at(s, i);

		order = (int)kind - (int)d->kind;
		if (order == 0)
			order = strcmp(name, d->name);
		if (order <= 0)
			break;
	}
	*ret = i;
	return i < s->documents.n && order == 0;
}

static int by_line(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool hangs_on(const struct link_row *l, enum entity kind, const char *subject)
{
	return l->subject_kind == kind && strcmp(l->subject, subject) == 0;
}

char *ram_links(struct ram_store *s, enum entity kind, const char *subject)
{
	char **lines = calloc(s->links.n + 1, sizeof(*lines));
	size_t n = 0, len = 0;

	for (size_t i = 0; lines && i < s->links.n; i++) {
		const struct link_row *l = link_at(s, i);

		if (hangs_on(l, kind, subject) &&
		        asprintf(&lines[n], "%c %s\n", l->letter, l->value) >= 0)
			len += strlen(lines[n++]);
	}
	char *text = n > 0 ? calloc(1, len + 1) : NULL;
	if (n > 0)
		qsort(lines, n, sizeof(*lines), by_line);
	for (size_t i = 0, at = 0; i < n; i++) {
		if (text)
			at += (size_t)snprintf(text + at, len + 1 - at, "%s", lines[i]);
		free(lines[i]);
	}
	free(lines);
	return text;
}

void ram_links_gone(struct ram_store *s, enum entity kind, const char *subject)
{
	for (size_t i = s->links.n; i-- > 0;)
		if (hangs_on(link_at(s, i), kind, subject))
			ram_array_remove(&s->links, i, sizeof(struct link_row));
}

static int copy(struct ram_store *s, const struct document *from, struct document *ret)
{
	struct document d = *from;

	d.text = strdup(from->text ? from->text : "{}");
	if (!d.text)
		return ERR_NOMEM;
	d.links = ram_links(s, d.kind, d.name);
	*ret = d;
	return 0;
}

int ram_document_get(struct ram_store *s, enum entity kind, const char *name, struct document *ret)
{
	size_t i;

	return find(s, kind, name, &i) ? copy(s, document_at(s, i), ret) : ERR_NOT_FOUND;
}

/* ---- writing ---- */

static int replace_text(struct document *slot, const char *text)
{
	char *fresh = strdup(text ? text : "{}");

	if (!fresh)
		return ERR_NOMEM;
	free(slot->text);
	slot->text = fresh;
	return 0;
}

static void give(struct ram_store *s, struct document *slot, struct document *d)
{
	slot->updated_us = clock_wall_us();
	ram_give_etag(s, slot->etag);
	memcpy(d->etag, slot->etag, sizeof(d->etag));
	d->created_us = slot->created_us;
	d->updated_us = slot->updated_us;
}

static int insert_at(struct ram_store *s, size_t i, struct document *d)
{
	struct document *slot = ram_array_insert(&s->documents, i, sizeof(*slot));

	if (!slot)
		return ERR_NOMEM;
	if (replace_text(slot, d->text) < 0) {
		ram_array_remove(&s->documents, i, sizeof(*slot));
		return ERR_NOMEM;
	}
	slot->kind = d->kind;
	memcpy(slot->name, d->name, sizeof(slot->name));
	slot->created_us = clock_wall_us();
	give(s, slot, d);
	return 0;
}

static int document_insert(void *ctx, struct document *d)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s))
		err = find(s, d->kind, d->name, &i) ? ERR_EXISTS : insert_at(s, i, d);
	return ram_leave(s, err);
}

static int document_update(void *ctx, struct document *d, struct store_match match)
{
	struct ram_store *s = ctx;
	int err = 0;
	size_t i;

	if (ram_enter(s)) {
		if (!find(s, d->kind, d->name, &i))
			err = ERR_NOT_FOUND;
		else if (!ram_matches(match, document_at(s, i)->etag))
			err = ERR_STALE;
		else
			err = replace_text(document_at(s, i), d->text);
		if (err == 0)
			give(s, document_at(s, i), d);
	}
	return ram_leave(s, err);
}

/* Removes the links of a letter and value of whatever they hang on; how many there were. */
static size_t drop_links_to(struct ram_store *s, char letter, const char *value, bool drop)
{
	size_t n = 0;

	for (size_t i = s->links.n; i-- > 0;) {
		const struct link_row *l = link_at(s, i);

		if (l->letter != letter || strcmp(l->value, value) != 0)
			continue;
		n++;
		if (drop)
			ram_array_remove(&s->links, i, sizeof(struct link_row));
	}
	return n;
}

static int remove_it(
        struct ram_store *s, enum entity kind, const char *name, struct store_match match)
{
	size_t i;

	if (!find(s, kind, name, &i))
		return ERR_NOT_FOUND;
	if (!ram_matches(match, document_at(s, i)->etag))
		return ERR_STALE;
	if (kind == ENTITY_POLICY && drop_links_to(s, 'p', name, false) > 0)
		return ERR_CONFLICT;
	document_done(document_at(s, i));
	ram_array_remove(&s->documents, i, sizeof(struct document));
	ram_links_gone(s, kind, name);
	if (kind == ENTITY_GROUP)
		drop_links_to(s, 'g', name, true);
	return 0;
}

static int document_remove(void *ctx, enum entity kind, const char *name, struct store_match match)
{
	struct ram_store *s = ctx;
	int err = 0;

	if (ram_enter(s))
		err = remove_it(s, kind, name, match);
	return ram_leave(s, err);
}

/* ---- reading ---- */

static int document_get(void *ctx, enum entity kind, const char *name, struct document *ret)
{
	struct ram_store *s = ctx;
	int err = 0;

	if (ram_enter(s))
		err = ram_document_get(s, kind, name, ret);
	return ram_leave(s, err);
}

static void free_list(struct document *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		document_done(&list[i]);
	free(list);
}

static int document_list(void *ctx, enum entity kind, const char *after, unsigned limit,
        struct document **ret, unsigned *ret_n)
{
	struct ram_store *s = ctx;
	struct document *list = NULL;
	unsigned n = 0;
	int err = 0;

	if (ram_enter(s)) {
		list = calloc(s->documents.n + 1, sizeof(*list));
		err = list ? 0 : ERR_NOMEM;
		for (size_t i = 0; err == 0 && i < s->documents.n && n < limit; i++) {
			const struct document *d = document_at(s, i);

			if (d->kind != kind || (after && strcmp(d->name, after) <= 0))
				continue;
			err = copy(s, d, &list[n]);
			n += err == 0;
		}
	}
	err = ram_leave(s, err);
	if (err < 0) {
		free_list(list, n);
		return err;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

/* Without the lock: the row may ask the store. */
static int document_each(
        void *ctx, enum entity kind, int (*row)(void *arg, const struct document *d), void *arg)
{
	struct document *list;
	unsigned n;
	int err = document_list(ctx, kind, NULL, UINT32_MAX, &list, &n);

	if (err < 0)
		return err;
	for (unsigned i = 0; err == 0 && i < n; i++)
		err = row(arg, &list[i]);
	free_list(list, n);
	return err;
}

/* ---- links ---- */

static bool is_there(struct ram_store *s, enum entity kind, const char *name)
{
	size_t i;

	return kind == ENTITY_DEVICE ? ram_has_device(s, name) : find(s, kind, name, &i);
}

static bool find_link(struct ram_store *s, const struct link_row *like, size_t *ret)
{
	for (size_t i = 0; i < s->links.n; i++) {
		const struct link_row *l = link_at(s, i);

		if (hangs_on(l, like->subject_kind, like->subject) && l->letter == like->letter &&
		        strcmp(l->value, like->value) == 0) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static int make_link(enum entity subject_kind, const char *subject, char letter, const char *value,
        struct link_row *ret)
{
	*ret = (struct link_row){.subject_kind = subject_kind, .letter = letter};
	if (strchr(value, '\n') || strlen(value) >= sizeof(ret->value))
		return ERR_INVALID;
	if (strlen(subject) >= sizeof(ret->subject))
		return ERR_NOT_FOUND;
	snprintf(ret->subject, sizeof(ret->subject), "%s", subject);
	snprintf(ret->value, sizeof(ret->value), "%s", value);
	return 0;
}

static int add_link(struct ram_store *s, struct link_row *l, uint64_t *ret_id)
{
	bool named = l->letter == 'p' || l->letter == 'g';
	size_t i;

	if (!is_there(s, l->subject_kind, l->subject) ||
	        (named && !find(s, (enum entity)l->letter, l->value, &i)))
		return ERR_NOT_FOUND;
	if (find_link(s, l, &i))
		return ERR_EXISTS;
	struct link_row *slot = ram_array_add(&s->links, sizeof(*slot));
	if (!slot)
		return ERR_NOMEM;
	l->id = ++s->next_link;
	l->created_us = clock_wall_us();
	*slot = *l;
	if (ret_id)
		*ret_id = l->id;
	return 0;
}

static int link_add(void *ctx, enum entity subject_kind, const char *subject, char letter,
        const char *value, uint64_t *ret_id)
{
	struct ram_store *s = ctx;
	struct link_row l;
	int err = make_link(subject_kind, subject, letter, value, &l);

	if (ram_enter(s) && err == 0)
		err = add_link(s, &l, ret_id);
	return ram_leave(s, err);
}

static int link_remove(
        void *ctx, enum entity subject_kind, const char *subject, char letter, const char *value)
{
	struct ram_store *s = ctx;
	struct link_row l;
	int err = make_link(subject_kind, subject, letter, value, &l);
	size_t i;

	if (ram_enter(s) && err == 0) {
		if (find_link(s, &l, &i))
			ram_array_remove(&s->links, i, sizeof(l));
		else
			err = ERR_NOT_FOUND;
	}
	return ram_leave(s, err);
}

static int link_get(void *ctx, uint64_t id, struct link_row *ret)
{
	struct ram_store *s = ctx;
	int err = ERR_NOT_FOUND;

	if (ram_enter(s)) {
		for (size_t i = 0; i < s->links.n; i++) {
			if (link_at(s, i)->id != id)
				continue;
			*ret = *link_at(s, i);
			err = 0;
		}
	}
	return ram_leave(s, err);
}

static bool is_asked(const struct link_query *q, const struct link_row *l)
{
	return l->id > q->after && (!q->subject_kind || l->subject_kind == q->subject_kind) &&
	        (!q->subject || !*q->subject || strcmp(l->subject, q->subject) == 0) &&
	        (!q->letters || !*q->letters || strchr(q->letters, l->letter)) &&
	        (!q->value || !*q->value || strcmp(l->value, q->value) == 0);
}

static int link_list(void *ctx, const struct link_query *q, struct link_row **ret, unsigned *ret_n)
{
	struct ram_store *s = ctx;
	struct link_row *list = NULL;
	unsigned n = 0;
	int err = 0;

	if (ram_enter(s)) {
		list = calloc(s->links.n + 1, sizeof(*list));
		err = list ? 0 : ERR_NOMEM;
		for (size_t i = 0; err == 0 && i < s->links.n && n < q->limit; i++)
			if (is_asked(q, link_at(s, i)))
				list[n++] = *link_at(s, i);
	}
	err = ram_leave(s, err);
	if (err < 0) {
		free(list);
		return err;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

void ram_documents_free(struct ram_store *s)
{
	for (size_t i = 0; i < s->documents.n; i++)
		document_done(document_at(s, i));
	free(s->documents.items);
	free(s->links.items);
}

struct document_store ram_documents(struct ram_store *s)
{
	return (struct document_store){
	        .ctx = s,
	        .insert = document_insert,
	        .get = document_get,
	        .list = document_list,
	        .update = document_update,
	        .remove = document_remove,
	        .each = document_each,
	        .link_add = link_add,
	        .link_remove = link_remove,
	        .link_get = link_get,
	        .link_list = link_list,
	};
}
