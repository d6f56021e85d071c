/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_pkt: any bytes as a packet. The first byte says what the queue would
 * say of the checksum, the rest is the packet. What is found must lie within
 * it; a rewrite must keep its shape, and its way back restore every byte.
 */
#include "nonce.h"
#include "pkt.h"
#include "rewrite.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static struct endpoint other_end(uint8_t family, uint8_t fill, uint16_t port)
{
	struct endpoint e;

	memset(&e, 0, sizeof(e));
	e.addr.family = family;
	memset(e.addr.byte, fill, family == 4 ? 4 : 16);
	e.port = port;
	return e;
}

static void check_bounds(enum pkt_result result, const struct pkt *p,
			 size_t len)
{
	check(p->len <= len && p->l4_off <= p->len);
	check(p->family == 4 || p->family == 6);
	check(p->src.addr.family == p->family);
	check(p->dst.addr.family == p->family);
	if (result == PKT_OK || result == PKT_FIRST_FRAGMENT) {
		check(p->fragment == (result == PKT_FIRST_FRAGMENT));
		check(p->payload_off > p->l4_off);
		check(p->payload_off + p->payload_len <= p->len);
	} else {
		check(p->payload_off == 0);
	}
	if (result != PKT_ICMP_ERROR) {
		check(p->quote.l4_off == 0);
		return;
	}
	check(p->quote.l3_off == p->l4_off + 8);
	check(p->quote.l4_off > p->quote.l3_off);
	check(p->quote.l4_off + 8 <= p->quote.end && p->quote.end <= p->len);
}

/* The same packet is found, at its new endpoints. */
static void check_shape(enum pkt_result result, const struct pkt *p,
			const uint8_t *packet, size_t len)
{
	struct pkt again;

	check(pkt_parse(packet, len, &again) == result);
	check(memcmp(p, &again, sizeof(*p)) == 0);
}

/* UDP 0xffff is a 0 that was computed, and no field of one's complement
 * has a way back from its second zero. */
static bool is_ambiguous(const uint8_t *at)
{
	return at[0] == at[1] && (at[0] == 0 || at[0] == 0xff);
}

static bool has_way_back(enum pkt_result result, const struct pkt *p,
			 const uint8_t *packet)
{
	bool quoted = result == PKT_ICMP_ERROR;
	uint8_t proto = quoted ? p->quote.proto : p->proto;
	uint32_t l3 = quoted ? p->quote.l3_off : 0;
	uint32_t at = (quoted ? p->quote.l4_off : p->l4_off) +
		      (proto == IPPROTO_TCP ? 16 : 6);

	if (p->family == 4 && is_ambiguous(packet + l3 + 10))
		return false;
	if (quoted && is_ambiguous(packet + p->l4_off + 2))
		return false;
	return at + 2 > (quoted ? p->quote.end : p->len) ||
	       !is_ambiguous(packet + at);
}

static int rewrite(enum pkt_result result, struct pkt *p, uint8_t *packet,
		   const struct rewrite_target *to, enum csum_state csum)
{
	return result == PKT_ICMP_ERROR ?
	       rewrite_icmp_quote(p, packet, to, csum) :
	       rewrite_packet(p, packet, to, csum);
}

static void check_rewrite(enum pkt_result result, struct pkt *p,
			  uint8_t *packet, size_t len, enum csum_state csum)
{
	const struct rewrite_target to = {
		.src = other_end(p->family, 0x11, 1021),
		.dst = other_end(p->family, 0xee, 65535),
	}, back = {
		.src = result == PKT_ICMP_ERROR ? p->quote.src : p->src,
		.dst = result == PKT_ICMP_ERROR ? p->quote.dst : p->dst,
	};
	bool returns = csum == CSUM_READY && has_way_back(result, p, packet);
	uint8_t *before = malloc(len);

	check(before);
	memcpy(before, packet, len);
	if (rewrite(result, p, packet, &to, csum)) {
		check(result == PKT_LATER_FRAGMENT || result == PKT_OTHER ||
		      (p->fragment && csum != CSUM_READY));
		check(memcmp(packet, before, len) == 0);
	} else {
		check_shape(result, p, packet, len);
		returns = returns && has_way_back(result, p, packet);
		check(rewrite(result, p, packet, &back, csum) == 0);
		check_shape(result, p, packet, len);
		if (returns)
			check(memcmp(packet, before, len) == 0);
	}
	free(before);
}

/* What is read of a nonce, and of options, lies within. */
static void check_nonce(const struct pkt *p, const uint8_t *packet, size_t len)
{
	const uint8_t *mac = nonce_find(p, packet);
	struct nonce_numbers n;

	check(!mac || (mac > packet && mac + NONCE_MAC_SIZE <= packet + len));
	if (p->proto == IPPROTO_TCP && p->payload_off)
		nonce_read_numbers(packet + p->l4_off,
				   p->payload_off - p->l4_off, &n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum csum_state csum;
	enum pkt_result result;
	uint8_t *packet;
	struct pkt p;

	if (size < 1)
		return 0;
	csum = (enum csum_state)(data[0] % 3);
	size--;
	packet = malloc(size ? size : 1);
	check(packet);
	memcpy(packet, data + 1, size);
	result = pkt_parse(packet, size, &p);
	check((unsigned int)result < PKT_RESULT_MAX);
	if (result <= PKT_OTHER) {
		check_bounds(result, &p, size);
		check_nonce(&p, packet, size);
		check_rewrite(result, &p, packet, size, csum);
	}
	free(packet);
	return 0;
}
