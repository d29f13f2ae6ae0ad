/*
 * The port for what administrators write and little of which there is: documents (policies, groups,
 * IP rules, authorities, …), each a JSON object under a kind and a name, and links: what hangs on a
 * device, a certificate or a group (access.h has their letters). Storage (PostgreSQL) and
 * storage/ram (tests) implement it. All calls block (API workers, threads that load rules): one
 * transaction each, with its row of the audit log; hubs hear of every change by the feed. 0, or
 * ERR_NOT_FOUND, ERR_EXISTS, ERR_STALE (match), ERR_CONFLICT, ERR_UNAVAILABLE (database away),
 * ERR_NOMEM, ERR_INTERNAL.
 */
#ifndef HF_BASE_DOCUMENT_STORE_H
#define HF_BASE_DOCUMENT_STORE_H

#include <stdlib.h>

#include "server/base/entity.h"
#include "server/base/slice.h"

#define ETAG_LEN 24
#define DOCUMENT_NAME_MAX 128
/* Of a document that somebody writes; the list of an authority, which is fetched, may be 24 MiB. */
#define DOCUMENT_TEXT_MAX ((size_t)1 << 20)
#define LINK_VALUE_MAX 1024

/* What a write may demand of what is there: etag NULL: nothing; "*": that it exists; else that
 * etag. */
struct store_match {
	const char *etag;
};

struct document {
	enum entity kind;
	char name[DOCUMENT_NAME_MAX + 1];
	char etag[ETAG_LEN + 1]; /* given on every write */
	char *text;              /* a JSON object, malloc'ed; no secret in it */
	char *links; /* of groups and certificates: as in access.h; malloc'ed, or NULL */
	int64_t created_us, updated_us;
};
static inline void document_done(struct document *d)
{
	free(d->text);
	free(d->links);
	d->text = d->links = NULL;
}

/* One link, as lists show it. */
struct link_row {
	uint64_t id;
	enum entity subject_kind;
	char subject[2 * DOCUMENT_NAME_MAX +
	        2]; /* device id ("device/module"), certificate id, group */
	char letter;
	char value[LINK_VALUE_MAX + 1];
	int64_t created_us;
};

/* Which links a list shows; what is 0, NULL or empty asks for nothing. */
struct link_query {
	enum entity subject_kind;
	const char *subject;
	const char *letters; /* any of them: "rwb" */
	const char *value;
	uint64_t after; /* link ids greater than this */
	unsigned limit;
};

struct document_store {
	void *ctx;

	/* kind, name and text are set; etag and times come back. */
	int (*insert)(void *ctx, struct document *d);
	/* *ret is to be done with. */
	int (*get)(void *ctx, enum entity kind, const char *name, struct document *ret);
	/* In order of name (bytewise), names greater than after (NULL: from the start); *ret_n <=
	 * limit; documents to be done with by the caller, the array freed. */
	int (*list)(void *ctx, enum entity kind, const char *after, unsigned limit,
	        struct document **ret, unsigned *ret_n);
	int (*update)(void *ctx, struct document *d, struct store_match match);
	/* Its own links, and with a group the memberships, go with it. ERR_CONFLICT: a policy that
	 * is still attached to something. */
	int (*remove)(void *ctx, enum entity kind, const char *name, struct store_match match);
	/* All of a kind in order of name, with their links, as of one moment; row's result other
	 * than 0 ends it and is returned. d is the store's. */
	int (*each)(void *ctx, enum entity kind, int (*row)(void *arg, const struct document *d),
	        void *arg);

	/* ERR_NOT_FOUND: no such subject; ERR_EXISTS: it has that link already. *ret_id may be
	 * NULL.
	 */
	int (*link_add)(void *ctx, enum entity subject_kind, const char *subject, char letter,
	        const char *value, uint64_t *ret_id);
	int (*link_remove)(void *ctx, enum entity subject_kind, const char *subject, char letter,
	        const char *value);
	/* The link's row: 0 with *ret, ERR_NOT_FOUND. */
	int (*link_get)(void *ctx, uint64_t id, struct link_row *ret);
	/* In order of id; the array is the caller's to free. */
	int (*link_list)(
	        void *ctx, const struct link_query *q, struct link_row **ret, unsigned *ret_n);
};

#endif
