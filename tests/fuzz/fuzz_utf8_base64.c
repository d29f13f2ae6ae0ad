/* UTF-8, base64, hex, times, device ids and log lines: everything that reads short texts. */
#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/device_id.h"
#include "server/base/log_line.h"
#include "server/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_utf8(struct slice s)
{
	/* The fast path and the slow one agree. */
	bool valid = true, nul = false;
	for (size_t i = 0; valid && i < s.n;) {
		uint32_t code;
		size_t n = utf8_next(s.p + i, s.n - i, &code);
		valid = n > 0;
		nul = nul || (valid && code == 0);
		i += n;
	}
	assert(utf8_valid(s) == valid);
	assert(utf8_valid_mqtt(s) == (valid && !nul));
}

static void try_base64(struct slice s)
{
	uint8_t *bytes = malloc(3 * (s.n / 4) + 1);
	char *text = malloc(4 * ((s.n + 2) / 3) + 1);
	size_t n;
	/* What can be decoded has no other text. */
	if (crypto_base64_decode(s, bytes, &n) == 0) {
		size_t len = crypto_base64_encode(slice_make(bytes, n), text);
		assert(slice_eq(slice_make(text, len), s));
	}
	size_t len = crypto_base64_encode(s, text);
	uint8_t *back = malloc(3 * (len / 4) + 1);
	int r = crypto_base64_decode(slice_make(text, len), back, &n);
	assert(r == 0 && slice_eq(slice_make(back, n), s));
	free(back);
	free(bytes);
	free(text);
}

static void try_hex(struct slice s)
{
	uint8_t *bytes = malloc(s.n / 2 + 1);
	char *text = malloc(s.n + 2);
	if (crypto_hex_decode(s, bytes, s.n / 2) == 0) {
		crypto_hex_encode(slice_make(bytes, s.n / 2), text);
		assert(strncasecmp(text, (const char *)s.p, s.n) == 0);
	}
	free(bytes);
	free(text);
}

static void try_time(struct slice s)
{
	char out[CLOCK_RFC3339_LEN];
	int64_t us, again;
	if (clock_parse_rfc3339((const char *)s.p, s.n, &us) < 0)
		return;
	clock_rfc3339(us, out);
	int r = clock_parse_rfc3339(out, sizeof(out) - 1, &again);
	/* An offset may lead out of the years that can be written. */
	assert(r == 0 && (llabs(us - again) < 1000 || *out == '0' || *out == '9'));
}

static void try_log(struct slice s)
{
	for (int json = 0; json < 2; json++) {
		struct log_line l;
		log_line_begin(&l, json, 0, LOG_INFO, "fuzz");
		log_line_add(&l, &F_SLICE("value", s));
		log_line_add(&l, &F_U64("n", s.n));
		log_line_end(&l);
		assert(l.n <= LOG_LINE_MAX && l.text[l.n - 1] == '\n');
		assert(memchr(l.text, '\n', l.n) == l.text + l.n - 1);
		assert(utf8_valid(slice_make(l.text, l.n)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s = slice_make(data, size);
	try_utf8(s);
	try_base64(s);
	try_hex(s);
	try_time(s);
	try_log(s);
	assert(!device_id_valid(s) || utf8_valid_mqtt(s));
	return 0;
}
