/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * csum: the Internet checksum, over buffers and by difference.
 *
 * Owns the arithmetic of RFC 1071 (sum), RFC 1624 (update, equation 3) and
 * the pseudo headers of RFC 9293, RFC 768 and RFC 8200, section 8.1. Never
 * looks for a header: offsets are the caller's (pkt finds them).
 *
 * Running sums are one's complement sums of 16-bit words as they lie in
 * memory, so they need no byte swapping (RFC 1071, 2(B)); a stored checksum
 * is therefore a plain uint16_t copied from or to the packet, called be16.
 */
#ifndef SACIPED_CSUM_H
#define SACIPED_CSUM_H

#include <stddef.h>
#include <stdint.h>

struct addr;

/* What the layer-4 checksum of a packet needs after a change. */
enum csum_state {
	CSUM_READY, /* it is complete: update it by difference */
	CSUM_NOT_READY, /* it holds a pseudo header sum: sum everything */
	CSUM_GSO_OUT, /* as above, but a super-packet on its way out: the
		       * kernel sums each TCP segment anew when it cuts it
		       * (tcp4_gso_segment); UDP is summed all the same */
};

/* Adds `len` bytes to a running sum that starts as 0. All buffers but the
 * last of one sum must have an even length. */
uint64_t csum_add(uint64_t sum, const void *data, size_t len);
/* Adds the pseudo header of an upper-layer packet of `len` bytes; both
 * addresses of one family. */
uint64_t csum_add_pseudo(uint64_t sum, const struct addr *src,
			 const struct addr *dst, uint8_t proto, uint32_t len);
/* The folded sum, not inverted. */
uint16_t csum_fold(uint64_t sum);
/* The checksum field for a sum: folded and inverted. */
uint16_t csum_finish(uint64_t sum);
/*
 * The checksum after `len` bytes (even) at an even offset changed from `old`
 * to `now`. Exact by RFC 1624: never turns a correct field into 0xffff where
 * 0x0000 is meant or back.
 */
uint16_t csum_update(uint16_t be16_check, const void *old, const void *now,
		     size_t len);

#endif
