/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes from hexadecimal text, for known answers. */
#ifndef SACIPED_TEST_HEX_H
#define SACIPED_TEST_HEX_H

#include <stddef.h>
#include <stdint.h>

static inline int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
	       c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The number of bytes, or -1 where it is not hex or does not fit. */
static inline int hex_to_bytes(const char *text, void *to, size_t size)
{
	uint8_t *out = to;
	size_t n = 0;

	for (; text[0]; text += 2, n++) {
		int high = hex_digit(text[0]);
		int low = high < 0 ? -1 : hex_digit(text[1]);

		if (low < 0 || n == size)
			return -1;
		out[n] = (uint8_t)(high * 16 + low);
	}
	return (int)n;
}

#endif
