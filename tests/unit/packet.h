/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * packet: whole packets made from a description, with slow checksums.
 *
 * The reference of the packet tests: a packet rewritten from one pair of
 * endpoints to another must equal, byte by byte, the one that is built for
 * the other pair. Shares no code with src/.
 */
#ifndef SACIPED_TEST_PACKET_H
#define SACIPED_TEST_PACKET_H

#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "addr.h"
#include "random.h"

#define PACKET_MAX 65535

enum packet_check {
	PACKET_CHECK_WHOLE, /* as on the wire */
	PACKET_CHECK_PARTIAL, /* pseudo header only, not inverted */
	PACKET_CHECK_NONE, /* UDP 0 */
};

struct packet_spec {
	uint8_t family;
	uint8_t proto;
	struct endpoint src, dst;
	uint8_t words; /* IPv4 options or TCP options, in 32-bit words */
	uint8_t tcp_words;
	uint8_t ext[8]; /* IPv6 extension headers, by number */
	uint8_t exts;
	uint16_t ext_len; /* bytes of each but the fragment header */
	uint16_t fragment; /* offset and flags as in IPv4, in 8-byte units */
	uint8_t flags; /* TCP */
	uint32_t payload;
	uint32_t trailer; /* UDP: bytes behind its length */
	enum packet_check check;
	uint64_t seed; /* of all other bytes */
};

static inline uint32_t packet_put(uint8_t *p, uint64_t v, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
	return bytes;
}

/* RFC 1071 by the letter: 16-bit words, carry added at once. */
static inline uint16_t packet_sum(uint16_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i += 2) {
		uint32_t word = (uint32_t)p[i] << 8;

		if (i + 1 < len)
			word |= p[i + 1];
		word += sum;
		sum = (uint16_t)(word > 0xffff ? word - 0xffff : word);
	}
	return sum;
}

static inline uint16_t packet_pseudo(const struct addr *src,
				     const struct addr *dst, uint8_t proto,
				     uint32_t len)
{
	size_t size = src->family == 4 ? 4 : 16;
	uint8_t tail[8] = { 0 };
	uint16_t sum;

	packet_put(tail, len, 4);
	tail[7] = proto;
	sum = packet_sum(0, src->byte, size);
	sum = packet_sum(sum, dst->byte, size);
	return packet_sum(sum, tail, sizeof(tail));
}

/* Fills the checksum at `at` of the `len` bytes at `l4`. */
static inline void packet_fill_check(const struct packet_spec *s, uint8_t *l4,
				     uint32_t len, uint32_t at)
{
	uint16_t sum = packet_pseudo(&s->src.addr, &s->dst.addr, s->proto,
				     len), check;

	packet_put(l4 + at, 0, 2);
	if (s->check == PACKET_CHECK_NONE)
		return;
	if (s->check == PACKET_CHECK_PARTIAL) {
		packet_put(l4 + at, sum, 2);
		return;
	}
	check = (uint16_t)~packet_sum(sum, l4, len);
	if (s->proto == IPPROTO_UDP && check == 0)
		check = 0xffff;
	packet_put(l4 + at, check, 2);
}

static inline uint32_t packet_l4_len(const struct packet_spec *s)
{
	switch (s->proto) {
	case IPPROTO_TCP:
		return 20u + 4u * s->tcp_words + s->payload;
	case IPPROTO_UDP:
		return 8u + s->payload + s->trailer;
	default:
		return s->payload;
	}
}

static inline uint32_t packet_l3_len(const struct packet_spec *s)
{
	uint32_t len = 40;

	if (s->family == 4)
		return 20u + 4u * s->words;
	for (unsigned int i = 0; i < s->exts; i++)
		len += s->ext[i] == IPPROTO_FRAGMENT ? 8 : s->ext_len;
	return len;
}

static inline uint32_t packet_len(const struct packet_spec *s)
{
	return packet_l3_len(s) + packet_l4_len(s);
}

static inline void packet_put_ipv4(const struct packet_spec *s, uint8_t *p)
{
	uint32_t len = packet_l3_len(s);

	p[0] = (uint8_t)(0x40 | (5 + s->words));
	packet_put(p + 2, packet_len(s), 2);
	packet_put(p + 6, s->fragment, 2);
	p[9] = s->proto;
	memcpy(p + 12, s->src.addr.byte, 4);
	memcpy(p + 16, s->dst.addr.byte, 4);
	packet_put(p + 10, 0, 2);
	packet_put(p + 10, (uint16_t)~packet_sum(0, p, len), 2);
}

static inline void packet_put_ipv6(const struct packet_spec *s, uint8_t *p)
{
	uint8_t *next = p + 6;

	p[0] = (uint8_t)(0x60 | (p[0] & 0x0f));
	packet_put(p + 4, packet_len(s) - 40, 2);
	memcpy(p + 8, s->src.addr.byte, 16);
	memcpy(p + 24, s->dst.addr.byte, 16);
	p += 40;
	for (unsigned int i = 0; i < s->exts; i++) {
		*next = s->ext[i];
		next = p;
		if (s->ext[i] == IPPROTO_FRAGMENT) {
			packet_put(p + 2, (uint64_t)(s->fragment & 0x1fff)
						  << 3 |
					  (s->fragment >> 13 & 1), 2);
			p += 8;
			continue;
		}
		p[1] = (uint8_t)(s->ext_len / 8 - 1);
		if (s->ext[i] == IPPROTO_ROUTING)
			p[3] = 0; /* segments left */
		p += s->ext_len;
	}
	*next = s->proto;
}

/* Builds the packet and returns its length, at most PACKET_MAX. */
static inline uint32_t packet_build(const struct packet_spec *s, uint8_t *p)
{
	uint32_t len = packet_len(s), l4_len = packet_l4_len(s);
	uint8_t *l4 = p + packet_l3_len(s);
	uint64_t seed = s->seed;

	assert(len <= PACKET_MAX);
	random_fill(&seed, p, len);
	if (s->family == 4)
		packet_put_ipv4(s, p);
	else
		packet_put_ipv6(s, p);
	if (s->proto != IPPROTO_TCP && s->proto != IPPROTO_UDP)
		return len;
	packet_put(l4, s->src.port, 2);
	packet_put(l4 + 2, s->dst.port, 2);
	if (s->proto == IPPROTO_TCP) {
		l4[12] = (uint8_t)((5 + s->tcp_words) << 4);
		l4[13] = s->flags;
		packet_fill_check(s, l4, l4_len, 16);
	} else {
		packet_put(l4 + 4, 8 + s->payload, 2);
		packet_fill_check(s, l4, 8 + s->payload, 6);
	}
	return len;
}

/*
 * An ICMP or ICMPv6 error of `type` from `s->src` to `s->dst` (`s` gives the
 * network header; its proto is set here) that quotes `cut` bytes at `quote`.
 */
static inline uint32_t packet_build_icmp(struct packet_spec *s, uint8_t type,
					 const uint8_t *quote, uint32_t cut,
					 uint8_t *p)
{
	uint8_t *icmp = p + packet_l3_len(s);
	uint16_t sum = 0;
	uint32_t len;

	s->proto = s->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	s->payload = 8 + cut;
	len = packet_build(s, p);
	icmp[0] = type;
	memcpy(icmp + 8, quote, cut);
	packet_put(icmp + 2, 0, 2);
	if (s->family == 6)
		sum = packet_pseudo(&s->src.addr, &s->dst.addr, s->proto,
				    s->payload);
	packet_put(icmp + 2, (uint16_t)~packet_sum(sum, icmp, s->payload), 2);
	return len;
}

static inline struct endpoint packet_random_endpoint(uint64_t *r,
						     uint8_t family)
{
	struct endpoint e;

	memset(&e, 0, sizeof(e));
	e.addr.family = family;
	random_fill(r, e.addr.byte, family == 4 ? 4 : 16);
	/* Checksums are most easily wrong where words are all 0 or 1. */
	switch (random_below(r, 8)) {
	case 0:
		memset(e.addr.byte, 0xff, family == 4 ? 4 : 16);
		break;
	case 1:
		memset(e.addr.byte, 0, 16);
		break;
	default:
		break;
	}
	e.port = (uint16_t)random_below(r, 4) == 0 ?
			 (uint16_t)(random_below(r, 2) * 0xffff) :
			 (uint16_t)random_next(r);
	return e;
}

/* A whole TCP or UDP packet with up to `payload_max` bytes. */
static inline struct packet_spec packet_random(uint64_t *r,
					       uint32_t payload_max)
{
	static const uint8_t ext[] = { IPPROTO_HOPOPTS, IPPROTO_DSTOPTS,
				       IPPROTO_ROUTING };
	struct packet_spec s;

	memset(&s, 0, sizeof(s));
	s.family = random_below(r, 2) ? 4 : 6;
	s.proto = random_below(r, 2) ? IPPROTO_TCP : IPPROTO_UDP;
	s.src = packet_random_endpoint(r, s.family);
	s.dst = packet_random_endpoint(r, s.family);
	s.ext_len = (uint16_t)(8 * (1 + random_below(r, 4)));
	if (s.family == 4)
		s.words = (uint8_t)(random_below(r, 4) ? 0 :
				    random_below(r, 11));
	else if (random_below(r, 4) == 0)
		s.exts = (uint8_t)random_below(r, 5);
	for (unsigned int i = 0; i < s.exts; i++)
		s.ext[i] = ext[random_below(r, 3)];
	if (s.proto == IPPROTO_TCP) {
		s.tcp_words = (uint8_t)random_below(r, 11);
		s.flags = (uint8_t)random_next(r);
	} else if (random_below(r, 8) == 0) {
		s.check = PACKET_CHECK_NONE;
	}
	s.payload = (uint32_t)random_below(r, payload_max + 1);
	if (s.proto == IPPROTO_UDP && random_below(r, 8) == 0)
		s.trailer = (uint32_t)random_below(r, 16);
	s.seed = random_next(r);
	return s;
}

#endif
