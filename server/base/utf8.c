#include "server/base/utf8.h"

#define ONES 0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL

size_t utf8_next(const uint8_t *p, size_t n, uint32_t *ret_code)
{
	/* For each length: the least code point, so that overlong forms are refused. */
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t first = p[0];
	if (first < 0x80) {
		*ret_code = first;
		return 1;
	}
	size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	if (first < 0xc2 || first > 0xf4 || len > n)
		return 0;
	uint32_t code = first & (0xffU >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret_code = code;
	return len;
}

/* Eight bytes of ASCII at once, and none of them NUL where that is not allowed. */
static bool word_is_plain(const uint8_t *p, bool nul_allowed)
{
	uint64_t w;
	memcpy(&w, p, sizeof(w));
	if (w & HIGHS)
		return false;
	return nul_allowed || ((w - ONES) & HIGHS) == 0;
}

static bool valid(struct slice s, bool nul_allowed)
{
	size_t i = 0;
	while (i < s.n) {
		if (s.n - i >= 8 && word_is_plain(s.p + i, nul_allowed)) {
			i += 8;
			continue;
		}
		uint32_t code;
		size_t len = utf8_next(s.p + i, s.n - i, &code);
		if (len == 0 || (code == 0 && !nul_allowed))
			return false;
		i += len;
	}
	return true;
}

bool utf8_valid_mqtt(struct slice s)
{
	return valid(s, false);
}

bool utf8_valid(struct slice s)
{
	return valid(s, true);
}
