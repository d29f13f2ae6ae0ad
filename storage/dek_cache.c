#include "storage/dek_cache.h"

#include <sys/mman.h>

#include "server/base/err.h"

#define HEAD 0

int dek_cache_init(struct dek_cache *c)
{
	map_init(&c->map);
	/* Pages come as they are used. */
	c->bytes = (DEK_CACHE_MAX + 1) * sizeof(*c->slab);
	void *p = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE,
	        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return ERR_NOMEM;
	c->slab = p;
	c->n = 1;
	(void)madvise(p, c->bytes, MADV_DONTDUMP);
	return 0;
}

void dek_cache_done(struct dek_cache *c)
{
	map_free(&c->map);
	if (!c->slab)
		return;
	crypto_wipe(c->slab, c->n * sizeof(*c->slab));
	munmap(c->slab, c->bytes);
	c->slab = NULL;
}

static struct slice key_of(const uint64_t *device_key)
{
	return slice_make(device_key, sizeof(*device_key));
}

static void unlink_dek(struct dek_cache *c, struct dek *d)
{
	c->slab[d->newer].older = d->older;
	c->slab[d->older].newer = d->newer;
}

static void link_newest(struct dek_cache *c, struct dek *d)
{
	uint32_t place = (uint32_t)(d - c->slab);

	d->newer = HEAD;
	d->older = c->slab[HEAD].older;
	c->slab[d->older].newer = place;
	c->slab[HEAD].older = place;
}

const struct dek *dek_cache_get(struct dek_cache *c, uint64_t device_key)
{
	struct dek *d = map_get(&c->map, key_of(&device_key));

	if (d && d->newer != HEAD) {
		unlink_dek(c, d);
		link_newest(c, d);
	}
	return d;
}

/* A place to use: one that was given back, a new one, or the least recently used one's. */
static struct dek *take_place(struct dek_cache *c)
{
	struct dek *d = &c->slab[c->free];

	if (c->free != HEAD) {
		c->free = d->older;
		return d;
	}
	if (c->n > DEK_CACHE_MAX) {
		d = &c->slab[c->slab[HEAD].newer];
		map_remove(&c->map, key_of(&d->device_key));
		unlink_dek(c, d);
		return d;
	}
	return &c->slab[c->n++];
}

static void give_place(struct dek_cache *c, struct dek *d)
{
	crypto_wipe(d, sizeof(*d));
	d->older = c->free;
	c->free = (uint32_t)(d - c->slab);
}

int dek_cache_put(struct dek_cache *c, uint64_t device_key, int64_t key_id,
        const uint8_t key[static CRYPTO_KEY_LEN])
{
	dek_cache_drop(c, device_key);

	struct dek *d = take_place(c);
	d->device_key = device_key;
	d->key_id = key_id;
	if (map_put(&c->map, key_of(&d->device_key), d, NULL) < 0) {
		give_place(c, d);
		return ERR_NOMEM;
	}
	memcpy(d->key, key, CRYPTO_KEY_LEN);
	link_newest(c, d);
	return 0;
}

void dek_cache_drop(struct dek_cache *c, uint64_t device_key)
{
	struct dek *d = map_remove(&c->map, key_of(&device_key));

	if (!d)
		return;
	unlink_dek(c, d);
	give_place(c, d);
}

void dek_cache_drop_all(struct dek_cache *c)
{
	map_free(&c->map);
	map_init(&c->map);
	crypto_wipe(c->slab, c->n * sizeof(*c->slab));
	c->n = 1;
	c->free = HEAD;
}
