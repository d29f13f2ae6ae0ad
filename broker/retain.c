#include "broker/retain.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "broker/levels.h"
#include "broker/publisher.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/map.h"

/* A topic or a part of one. It stands in its device's list and, if its message expires, in that of
 * the expiring ones. */
struct node {
	struct level level;
	struct retained is; /* msg NULL: only a step to longer topics */
	LIST_ENTRY(node) of_device;
	TAILQ_ENTRY(node) expiring;
};

/* What counts for a node beside its text: it, and its share of the parent's table of children. */
#define NODE_BYTES (sizeof(struct node) + LEVEL_SLOT_BYTES)

struct device {
	uint64_t key;
	LIST_HEAD(device_nodes, node) nodes;
};

struct retain {
	struct node *root;
	struct map devices;                        /* by key */
	TAILQ_HEAD(expiring_nodes, node) expiring; /* the one looked at longest ago first */
	size_t count, expiring_count, bytes;
	struct tally *device_count, *device_bytes; /* shared by the loops; NULL: nobody asks */
};

static struct node *node_of(struct level *l)
{
	return container_of(l, struct node, level);
}

static struct slice device_slice(const uint64_t *key)
{
	return slice_make(key, sizeof(*key));
}

struct retain *retain_new(void)
{
	struct retain *r = calloc(1, sizeof(*r));
	struct level *root = levels_new(sizeof(struct node));
	if (!r || !root) {
		free(r);
		free(root);
		return NULL;
	}
	r->root = node_of(root);
	map_init(&r->devices);
	TAILQ_INIT(&r->expiring);
	return r;
}

static void node_done(struct level *l, void *arg HF_UNUSED)
{
	publisher_drop(&node_of(l)->is);
	msg_unref(node_of(l)->is.msg);
}

void retain_free(struct retain *r)
{
	if (!r)
		return;
	levels_free(&r->root->level, node_done, NULL);
	struct device *d;
	map_for_each (&r->devices, pos, d)
		free(d);
	map_free(&r->devices);
	free(r);
}

/* ---- the lists that a node with a message stands in ---- */

/* The device's list, made if there is none; NULL when out of memory. */
static struct device *device_get(struct retain *r, uint64_t key)
{
	struct device *d = map_get(&r->devices, device_slice(&key));
	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->key = key;
	LIST_INIT(&d->nodes);
	if (map_put(&r->devices, device_slice(&d->key), d, NULL) < 0) {
		free(d);
		return NULL;
	}
	return d;
}

static void device_drop_empty(struct retain *r, uint64_t key)
{
	struct device *d = map_get(&r->devices, device_slice(&key));
	if (!d || !LIST_EMPTY(&d->nodes))
		return;
	map_remove(&r->devices, device_slice(&key));
	free(d);
}

void retain_tell(struct retain *r, struct tally *messages, struct tally *bytes)
{
	r->device_count = messages;
	r->device_bytes = bytes;
}

static void tell(struct retain *r, const struct node *n, int sign)
{
	uint64_t key = n->is.device_key;
	if (!key || !r->device_count)
		return;
	tally_add(r->device_count, device_slice(&key), sign);
	tally_add(r->device_bytes, device_slice(&key), sign * (int64_t)msg_size(n->is.msg));
}

/* Takes the message off a node. The node itself and its device's list may be left empty. */
static void node_clear(struct retain *r, struct node *n)
{
	if (n->is.device_key)
		LIST_REMOVE(n, of_device);
	if (n->is.msg->expires) {
		TAILQ_REMOVE(&r->expiring, n, expiring);
		r->expiring_count--;
	}
	tell(r, n, -1);
	r->bytes -= msg_size(n->is.msg);
	r->count--;
	publisher_drop(&n->is);
	msg_unref(n->is.msg);
	n->is = (struct retained){0};
}

static void node_fill(struct retain *r, struct node *n, struct msg *m, struct device *d)
{
	n->is = (struct retained){.msg = msg_ref(m), .device_key = d ? d->key : 0};
	if (d)
		LIST_INSERT_HEAD(&d->nodes, n, of_device);
	if (m->expires) {
		TAILQ_INSERT_TAIL(&r->expiring, n, expiring);
		r->expiring_count++;
	}
	tell(r, n, 1);
	r->bytes += msg_size(m);
	r->count++;
}

/* ---- the tree ---- */

static size_t node_cost(const struct node *n)
{
	return NODE_BYTES + n->level.text_len;
}

/* Removes n and those above it that hold nothing any more. */
static void prune(struct retain *r, struct node *n)
{
	while (n != r->root && n->level.n_kids == 0 && !n->is.msg) {
		r->bytes -= node_cost(n);
		n = node_of(level_drop(&n->level));
	}
}

/* How far the tree goes along a topic already. */
struct path {
	struct node *n;
	struct slice rest; /* the levels that are missing, if more */
	bool more;
	size_t cost;   /* bytes of the nodes that they would take */
	size_t levels; /* of the topic, up to LEVELS_MAX + 1 */
};

static struct path path_find(const struct retain *r, struct slice topic)
{
	struct path path = {.n = r->root, .rest = topic, .more = true};
	while (path.more) {
		struct slice rest = path.rest;
		bool more;
		struct level *kid = level_find(&path.n->level, level_cut(&rest, &more));
		if (!kid)
			break;
		path.n = node_of(kid);
		path.rest = rest;
		path.more = more;
		path.levels++;
	}
	struct slice rest = path.rest;
	for (bool more = path.more; more && path.levels <= LEVELS_MAX; path.levels++)
		path.cost += NODE_BYTES + level_cut(&rest, &more).n;
	return path;
}

/* Makes what is missing and returns the topic's node; NULL when out of memory, with nothing left
 * behind. */
static struct node *path_make(struct retain *r, struct path path)
{
	while (path.more) {
		struct slice text = level_cut(&path.rest, &path.more);
		struct level *kid = level_add(&path.n->level, text, sizeof(struct node));
		if (!kid) {
			prune(r, path.n);
			return NULL;
		}
		path.n = node_of(kid);
		r->bytes += node_cost(path.n);
	}
	return path.n;
}

int retain_put(
        struct retain *r, struct msg *m, uint64_t device_key, size_t max_count, size_t max_bytes)
{
	struct path path = path_find(r, msg_topic(m));
	if (path.levels > LEVELS_MAX)
		return ERR_TOO_BIG;
	const struct msg *old = path.more ? NULL : path.n->is.msg;
	size_t bytes = r->bytes + path.cost + msg_size(m) - (old ? msg_size(old) : 0);
	if (r->count + (old ? 0 : 1) > max_count || bytes > max_bytes)
		return ERR_QUOTA;
	struct device *d = NULL;
	if (device_key && !(d = device_get(r, device_key)))
		return ERR_NOMEM;
	struct node *n = path_make(r, path);
	if (!n) {
		device_drop_empty(r, device_key);
		return ERR_NOMEM;
	}
	uint64_t old_key = n->is.device_key;
	if (n->is.msg)
		node_clear(r, n);
	node_fill(r, n, m, d);
	if (old_key)
		device_drop_empty(r, old_key);
	return 0;
}

void retain_credit(struct retain *r, struct slice topic, struct publisher *by)
{
	struct path path = path_find(r, topic);
	if (!path.more && path.n->is.msg)
		publisher_add(by, &path.n->is);
}

const struct retained *retain_get(const struct retain *r, struct slice topic)
{
	struct path path = path_find(r, topic);
	return path.more || !path.n->is.msg ? NULL : &path.n->is;
}

static void node_remove(struct retain *r, struct node *n)
{
	uint64_t key = n->is.device_key;
	node_clear(r, n);
	if (key)
		device_drop_empty(r, key);
	prune(r, n);
}

bool retain_remove(struct retain *r, struct slice topic)
{
	struct path path = path_find(r, topic);
	if (path.more || !path.n->is.msg)
		return false;
	node_remove(r, path.n);
	return true;
}

size_t retain_remove_device(struct retain *r, uint64_t device_key)
{
	struct device *d = map_remove(&r->devices, device_slice(&device_key));
	if (!d)
		return 0;
	size_t removed = 0;
	struct node *n;
	while ((n = LIST_FIRST(&d->nodes)) != NULL) {
		node_clear(r, n);
		prune(r, n);
		removed++;
	}
	free(d);
	return removed;
}

size_t retain_expire(struct retain *r, uint64_t now_ms, size_t limit)
{
	size_t removed = 0;
	if (limit > r->expiring_count)
		limit = r->expiring_count;
	for (; limit > 0; limit--) {
		struct node *n = TAILQ_FIRST(&r->expiring);
		assert(n && n->is.msg);
		if (msg_expired(n->is.msg, now_ms)) {
			node_remove(r, n);
			removed++;
		} else {
			TAILQ_REMOVE(&r->expiring, n, expiring);
			TAILQ_INSERT_TAIL(&r->expiring, n, expiring);
		}
	}
	return removed;
}

size_t retain_count(const struct retain *r)
{
	return r->count;
}

size_t retain_bytes(const struct retain *r)
{
	return r->bytes;
}

/* ---- matching ---- */

struct walk {
	const struct retain *r;
	uint64_t now_ms;
	bool (*found)(const struct retained *m, void *arg);
	void *arg;
};

static bool walk_tell(const struct walk *w, const struct node *n)
{
	if (!n->is.msg || msg_expired(n->is.msg, w->now_ms))
		return true;
	return w->found(&n->is, w->arg);
}

/* The next child that a wildcard stands for: [MQTT-4.7.2-1] hides those with '$' at the root. */
static const struct node *next_kid(const struct walk *w, const struct node *n, size_t *pos)
{
	struct level *kid;
	while ((kid = level_next_kid(&n->level, pos)) != NULL) {
		struct slice text = level_text(kid);
		if (n != w->r->root || text.n == 0 || text.p[0] != '$')
			return node_of(kid);
	}
	return NULL;
}

/* Both recurse once a level of the tree, which has at most LEVELS_MAX; false: stop. */
static bool walk_all(const struct walk *w, const struct node *n)
{
	const struct node *kid;
	if (!walk_tell(w, n))
		return false;
	for (size_t pos = 0; (kid = next_kid(w, n, &pos)) != NULL;) {
		if (!walk_all(w, kid))
			return false;
	}
	return true;
}

static bool walk_filter(const struct walk *w, const struct node *n, struct slice filter, bool more)
{
	while (more) {
		struct slice level = level_cut(&filter, &more);
		if (!more && level_is(level, '#'))
			return walk_all(w, n);
		if (level_is(level, '+')) {
			const struct node *kid;
			for (size_t pos = 0; (kid = next_kid(w, n, &pos)) != NULL;) {
				if (!walk_filter(w, kid, filter, more))
					return false;
			}
			return true;
		}
		struct level *kid = level_find(&n->level, level);
		if (!kid)
			return true;
		n = node_of(kid);
	}
	return walk_tell(w, n);
}

void retain_match(const struct retain *r, struct slice filter, uint64_t now_ms,
        bool (*found)(const struct retained *m, void *arg), void *arg)
{
	struct walk w = {r, now_ms, found, arg};
	walk_filter(&w, r->root, filter, true);
}
