/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * csum: the Internet checksum. See csum.h.
 */
#include "csum.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "addr.h"

/*
 * 32-bit words are added to 64-bit accumulators: no carry can be lost before
 * 2^32 of them (16 GiB), and the folding is left to the end (RFC 1071,
 * 2(C)). Four of them side by side become vector additions even at -O2.
 */
uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t lane[4] = { 0 };

	for (; len >= 16; len -= 16, p += 16) {
		uint32_t w[4];

		memcpy(w, p, 16);
		for (int i = 0; i < 4; i++)
			lane[i] += w[i];
	}
	for (; len >= 2; len -= 2, p += 2) {
		uint16_t w;

		memcpy(&w, p, 2);
		lane[0] += w;
	}
	if (len > 0) {
		const uint8_t padded[2] = { *p, 0 };
		uint16_t w;

		memcpy(&w, padded, 2);
		lane[0] += w;
	}
	/* Folded to 33 bits each, so that sums can be chained for ever. */
	sum = (sum & UINT32_MAX) + (sum >> 32);
	for (int i = 0; i < 4; i++)
		sum += (lane[i] & UINT32_MAX) + (lane[i] >> 32);
	return sum;
}

uint64_t csum_add_pseudo(uint64_t sum, const struct addr *src,
			 const struct addr *dst, uint8_t proto, uint32_t len)
{
	/* The IPv4 and IPv6 forms differ in the width of the length and in
	 * where the zeroes stand: neither changes the sum. */
	uint32_t tail[2] = { htonl(len), htonl(proto) };

	assert(addr_size(src) == addr_size(dst));
	sum = csum_add(sum, src->byte, addr_size(src));
	sum = csum_add(sum, dst->byte, addr_size(dst));
	return csum_add(sum, tail, sizeof(tail));
}

uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	return (uint16_t)sum;
}

uint16_t csum_finish(uint64_t sum)
{
	return (uint16_t)~csum_fold(sum);
}

uint16_t csum_update(uint16_t be16_check, const void *old, const void *now,
		     size_t len)
{
	const uint8_t *from = old, *to = now;
	uint64_t sum = (uint16_t)~be16_check;

	assert(len % 2 == 0);
	/* HC' = ~(~HC + ~m + m'), RFC 1624, equation 3. */
	for (size_t i = 0; i < len; i += 2) {
		uint16_t m;

		memcpy(&m, from + i, 2);
		sum += (uint16_t)~m;
		memcpy(&m, to + i, 2);
		sum += m;
	}
	return csum_finish(sum);
}
