/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nonce: a packet on a flow that shows who is at its other end, or that its path
 * carries the flow.
 *
 * What goes on a flow reaches its end and nobody else. And control messages may
 * pass where a flow's own packets do not: a firewall that never saw the SYN
 * drops its segments. So each end sends one packet with the flow's wire tuple,
 * which no box in between can tell from the flow's own, and which the other end
 * takes by its content, before any socket:
 *
 *	TCP	a pure ACK with the flow's last numbers, window and time stamp;
 *		its first option:
 *		| 254 | 22 | "SACI" | MAC x16 |		RFC 4727, RFC 6994
 *	UDP	a datagram with this payload:
 *		| magic x8 | MAC x16 |
 *
 * In a move the MAC is keyed by a challenge of ACCEPT, which only both ends know,
 * and differs by direction: nobody else can make one, none can be sent back. It
 * is over the numbers of the packet, too, so it is wrong where they came as
 * others: such a path would corrupt what moves to it. Where
 * a flow is to be owned (claim.h) fresh bytes are in its place: the offerer's are
 * random, and told before by their tag; the answer begins with what shows that
 * these have come, and the rest of it is random.
 *
 * Owns that layout. Pure: never sends, never decides what a nonce means.
 */
#ifndef SACIPED_NONCE_H
#define SACIPED_NONCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "crypto.h"

struct pkt;

#define NONCE_KEY_SIZE 16 /* a challenge */
#define NONCE_MAC_SIZE 16
#define NONCE_ANSWER_SIZE 8 /* bytes that an answer to fresh ones begins with */
#define NONCE_PACKET_MAX (40 + 20 + 32) /* IPv6, TCP, its options */

/* What the rules in the kernel look for, these bytes behind the start of the
 * transport header; the rest is for nonce_find(). */
#define NONCE_TCP_OFFSET 20
#define NONCE_TCP_HEAD 0xfe165341u
#define NONCE_UDP_OFFSET 8
#define NONCE_UDP_HEAD 0xd35ac1b0u

enum nonce_way {
	NONCE_FROM_MOVER = 1,
	NONCE_FROM_PEER = 2,
};

/* What a MAC speaks of. */
struct nonce_about {
	enum nonce_way way;
	uint32_t track; /* the mover's number */
	uint64_t seq; /* of the move */
	uint64_t flow_id;
};

/* Static public keys: who stands between two hosts with a key of his own, and
 * has a session with each, can pass nothing on. */
struct nonce_ends {
	uint8_t offers[CRYPTO_KEY_SIZE], answers[CRYPTO_KEY_SIZE];
};

/* As the flow's own TCP sent them last. */
struct nonce_numbers {
	uint32_t seq; /* what it sends next */
	uint32_t ack;
	uint32_t tsval, tsecr;
	uint16_t window; /* unscaled */
	bool stamped; /* tsval and tsecr are there */
};

/* `n` as in the packet, zeros where it is one of UDP: a path that gives a flow
 * other numbers or time stamps makes it a wrong MAC. The window is for boxes to
 * change. */
void nonce_mac(const uint8_t key[NONCE_KEY_SIZE],
	       const struct nonce_about *about, const struct nonce_numbers *n,
	       uint8_t mac[NONCE_MAC_SIZE]);
/* Of fresh bytes: names them beforehand, between these two alone. */
void nonce_tag(const struct nonce_ends *ends,
	       const uint8_t fresh[NONCE_MAC_SIZE], uint8_t tag[NONCE_MAC_SIZE]);
/* ... and begins the answer to them. */
void nonce_answer(const struct nonce_ends *ends,
		  const uint8_t fresh[NONCE_MAC_SIZE],
		  uint8_t to[NONCE_ANSWER_SIZE]);
/* A complete packet from t->local to t->remote, checksums included; `n` is for
 * TCP alone. The length, at most NONCE_PACKET_MAX; -EINVAL where the tuple is
 * of two families or neither TCP nor UDP, -EMSGSIZE where `size` is too
 * small. */
int nonce_build(const struct tuple *t, const struct nonce_numbers *n,
		const uint8_t mac[NONCE_MAC_SIZE], uint8_t *buf, size_t size);
/* The MAC in a packet that pkt_parse() found to be PKT_OK; NULL where it has
 * not the form of a nonce. */
const uint8_t *nonce_find(const struct pkt *p, const uint8_t *buf);
/* The same of an ACK without data or another flag, of whose header `header` bytes
 * are there, and of what a datagram carries. */
const uint8_t *nonce_in_header(const uint8_t *tcp, size_t header);
const uint8_t *nonce_in_datagram(const uint8_t *payload, size_t len);
/* What a TCP header says at `tcp`, of `header` bytes, options included; seq is
 * that of the segment itself. */
void nonce_read_numbers(const uint8_t *tcp, size_t header,
			struct nonce_numbers *n);
/* The same of a packet that pkt_parse() found to be PKT_OK; zeros of UDP. */
void nonce_numbers_in(const struct pkt *p, const uint8_t *buf,
		      struct nonce_numbers *n);

#endif
