/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rewrite: gives a packet other addresses and ports, in place.
 *
 * Owns which bytes change: addresses, ports and checksums, and an echo of a
 * time stamp that came too late; nothing else (the kernel validates that a
 * verdict leaves version, lengths, extension headers and fragment fields
 * alone). Never parses (pkt did), never changes a length, never repairs a
 * checksum that was wrong before.
 */
#ifndef SACIPED_REWRITE_H
#define SACIPED_REWRITE_H

#include <stdint.h>

#include "addr.h"
#include "csum.h"

struct pkt;

/* The endpoints that the packet shall have. */
struct rewrite_target {
	struct endpoint src;
	struct endpoint dst;
};

/* Targets for a packet of tuple `t` that this host sends or receives. A
 * quoted packet is one that it sent: rewrite_target_out(). */
struct rewrite_target rewrite_target_out(const struct tuple *t);
struct rewrite_target rewrite_target_in(const struct tuple *t);

/*
 * Rewrites the packet at `buf` (p->len bytes) that pkt_parse() found to be
 * PKT_OK or PKT_FIRST_FRAGMENT. The layer-4 checksum follows `csum`; UDP's 0
 * stays 0, and a computed 0 is sent as 0xffff (RFC 768). `p` is brought up to
 * date. 0, or -EINVAL where a target is of another family, the
 * packet has no ports, or a fragment's checksum would have to be summed: then
 * nothing has changed.
 */
int rewrite_packet(struct pkt *p, uint8_t *buf,
		   const struct rewrite_target *to, enum csum_state csum);

/*
 * Zeroes the echo reply of a TCP time stamp (RFC 7323; TSecr), before
 * rewrite_packet(): with no number in it, who receives it takes no round trip
 * time from it (tcp_ack_update_rtt()). Nothing where there is none.
 */
void rewrite_forget_echo(const struct pkt *p, uint8_t *buf,
			 enum csum_state csum);
/* The echo reply itself; 0 where there is none. */
uint32_t rewrite_echo(const struct pkt *p, const uint8_t *buf);

/*
 * Rewrites the packet quoted in an ICMP error (PKT_ICMP_ERROR) and leaves
 * the outer header as it is: with another destination the error would be
 * unroutable. Fixes the quote's own checksums as far as they are quoted, and
 * the ICMP checksum, all by difference; CSUM_NOT_READY sums the ICMP message
 * anew. 0 or -EINVAL as above.
 */
int rewrite_icmp_quote(struct pkt *p, uint8_t *buf,
		       const struct rewrite_target *to, enum csum_state csum);

#endif
