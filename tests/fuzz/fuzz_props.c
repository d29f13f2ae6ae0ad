/* MQTT 5 properties: the iterator goes over any bytes, and what it took is what is written. */
#include <assert.h>

#include "server/base/err.h"
#include "server/base/props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes the property again, by whichever kind gives the same bytes. */
static bool rewrites(const struct prop *p)
{
	struct buf b;
	buf_init(&b, p->raw.n);
	bool same = false;
	for (int kind = 0; kind < 6 && !same; kind++) {
		buf_free(&b);
		int r = kind == 0   ? prop_put_byte(&b, p->id, (uint8_t)p->number)
		        : kind == 1 ? prop_put_u16(&b, p->id, (uint16_t)p->number)
		        : kind == 2 ? prop_put_u32(&b, p->id, p->number)
		        : kind == 3 ? prop_put_varint(&b, p->id, p->number)
		        : kind == 4 ? prop_put_string(&b, p->id, p->value)
		                    : prop_put_user(&b, p->name, p->value);
		same = r == 0 && slice_eq(buf_slice(&b), p->raw);
	}
	buf_free(&b);
	return same;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_make(data, size);
	struct prop p;
	size_t taken = 0;
	int r;
	while ((r = prop_next(&in, &p)) > 0) {
		assert(p.raw.p == data + taken && p.raw.n >= 2);
		taken += p.raw.n;
		assert(taken + in.n == size);
		assert(rewrites(&p));
	}
	assert(r == ERR_MALFORMED || taken == size);
	return 0;
}
