#include "server/base/crypto.h"
#include "server/base/err.h"

/* Base64 and hex. */

static const char base64_digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t crypto_base64_encode(struct slice in, char *out)
{
	char *o = out;
	for (size_t i = 0; i < in.n; i += 3) {
		size_t left = in.n - i;
		uint32_t w = (uint32_t)in.p[i] << 16;
		if (left > 1)
			w |= (uint32_t)in.p[i + 1] << 8;
		if (left > 2)
			w |= in.p[i + 2];
		*o++ = base64_digits[w >> 18];
		*o++ = base64_digits[w >> 12 & 63];
		*o++ = left > 1 ? base64_digits[w >> 6 & 63] : '=';
		*o++ = left > 2 ? base64_digits[w & 63] : '=';
	}
	*o = '\0';
	return (size_t)(o - out);
}

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int crypto_base64_decode(struct slice s, uint8_t *out, size_t *ret_len)
{
	if (s.n % 4 != 0)
		return ERR_INVALID;
	size_t pad = 0;
	if (s.n > 0 && s.p[s.n - 1] == '=')
		pad = s.p[s.n - 2] == '=' ? 2 : 1;
	size_t len = s.n / 4 * 3 - pad, o = 0;
	for (size_t i = 0; i < s.n; i += 4) {
		uint32_t w = 0;
		for (size_t j = i; j < i + 4; j++) {
			int v = j >= s.n - pad ? 0 : base64_value(s.p[j]);
			if (v < 0)
				return ERR_INVALID;
			w = w << 6 | (uint32_t)v;
		}
		/* The bits behind the last byte are zero, or one value had several texts. */
		if (i + 4 == s.n && pad > 0 && (w & (pad == 1 ? 0xff : 0xffff)) != 0)
			return ERR_INVALID;
		for (int shift = 16; shift >= 0 && o < len; shift -= 8)
			out[o++] = (uint8_t)(w >> shift);
	}
	*ret_len = len;
	return 0;
}

void crypto_hex_encode(struct slice in, char *out)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < in.n; i++) {
		*out++ = digits[in.p[i] >> 4];
		*out++ = digits[in.p[i] & 15];
	}
	*out = '\0';
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int crypto_hex_decode(struct slice s, uint8_t *out, size_t n)
{
	if (s.n / 2 != n || s.n % 2 != 0)
		return ERR_INVALID;
	for (size_t i = 0; i < n; i++) {
		int high = hex_value(s.p[2 * i]), low = hex_value(s.p[2 * i + 1]);
		if (high < 0 || low < 0)
			return ERR_INVALID;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}
