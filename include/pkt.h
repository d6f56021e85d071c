/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pkt: finds its way in an IP packet, and builds the one that we send.
 *
 * Owns the offsets: IPv4 with options, IPv6 with a bounded chain of
 * extension headers, TCP, UDP, and the packet quoted in an ICMP or ICMPv6
 * error. Never changes a packet (rewrite does), never verifies a checksum
 * (the stack does, behind us), never trusts a length beyond the buffer.
 *
 * Packets come as NFQUEUE delivers them: no link layer, possibly a GSO
 * super-packet of nearly 64 KiB.
 */
#ifndef SACIPED_PKT_H
#define SACIPED_PKT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

#define PKT_LEN_MAX 65535 /* bytes; NFQUEUE carries no more */
#define PKT_EXTENSIONS_MAX 8 /* IPv6 extension headers in one chain */
#define PKT_PROBE_MAX 60 /* IPv6 and TCP without options */
#define PKT_ACK_MAX 72 /* the same with one SACK block, aligned */
#define PKT_UNREACHABLE_MAX 96 /* two IPv6 headers, two of eight bytes */
#define PKT_VEILED_MAX 96 /* the longer of that and PKT_ACK_MAX + 20 */

#define PKT_TCP_FIN 0x01
#define PKT_TCP_SYN 0x02
#define PKT_TCP_RST 0x04
#define PKT_TCP_ACK 0x10

/* X(NAME, name) */
#define PKT_RESULT_LIST(X)                                                   \
	X(OK, ok) /* TCP or UDP, whole: everything is set */                 \
	X(ICMP_ERROR, icmp_error) /* quotes TCP or UDP: quote is set */      \
	X(FIRST_FRAGMENT, first_fragment) /* as OK, payload is cut */        \
	X(LATER_FRAGMENT, later_fragment) /* addresses and proto only */     \
	X(OTHER, other) /* sound, nothing of ours: addresses, proto */       \
	/* from here on: refusals */                                         \
	X(SHORT, short) /* ends within a header */                           \
	X(VERSION, version) /* neither IPv4 nor IPv6 */                      \
	X(LENGTH, length) /* lengths contradict each other or the buffer */  \
	X(EXTENSIONS, extensions) /* too many IPv6 extension headers */      \
	X(ROUTING, routing) /* routing header with segments left */

enum pkt_result {
#define X(N, n) PKT_##N,
	PKT_RESULT_LIST(X)
#undef X
		PKT_RESULT_MAX
};

/* The packet quoted by an ICMP error; offsets are from the outer packet's
 * first byte. Only the first 8 bytes of layer 4 are certain to be there. */
struct pkt_quote {
	struct endpoint src;
	struct endpoint dst;
	uint8_t proto; /* IPPROTO_TCP or IPPROTO_UDP */
	uint32_t l3_off;
	uint32_t l4_off;
	uint32_t end; /* first byte after what is quoted */
	uint32_t tcp_seq;
};

struct pkt {
	struct endpoint src; /* ports 0 where there are none */
	struct endpoint dst;
	uint8_t family; /* 4 or 6 */
	uint8_t proto; /* upper-layer protocol, behind all extensions */
	bool fragment; /* first or later */
	uint8_t tcp_flags; /* PKT_TCP_*; 0 unless TCP */
	uint8_t icmp_type; /* 0 unless ICMP or ICMPv6 */
	uint8_t icmp_code;
	uint32_t len; /* IP packet; the buffer may be longer */
	uint32_t l4_off;
	uint32_t payload_off;
	uint32_t payload_len; /* bytes behind the TCP or UDP header */
	uint32_t tcp_seq; /* host order, as are all here */
	uint32_t tcp_ack;
	struct pkt_quote quote; /* PKT_ICMP_ERROR only */
};

/*
 * Fills `p` (zeroed first) from `len` bytes at `buf`. Results up to
 * PKT_OTHER are sound packets; the rest are refusals, in which `p` must not
 * be used. A datagram cut short by the queue's copy range is PKT_LENGTH.
 * ICMP errors that quote anything but TCP or UDP with its ports, redirects,
 * and all other ICMP are PKT_OTHER.
 */
enum pkt_result pkt_parse(const uint8_t *buf, size_t len, struct pkt *p);
/* Lower-case name ("first_fragment"); "unknown" past the end. */
const char *pkt_result_name(enum pkt_result r);

/* The tuple of a packet that this host sends (local is its source) or
 * receives (local is its destination). */
struct tuple pkt_tuple_out(const struct pkt *p);
struct tuple pkt_tuple_in(const struct pkt *p);
/* The tuple of the quoted packet, which this host sent, in an ICMP error
 * that it received. */
struct tuple pkt_tuple_quoted(const struct pkt *p);

/* Writes a network header without options (DF set, hop limit 255) and returns
 * its length, at most 40; both addresses are of one family. */
size_t pkt_build_ip(const struct addr *src, const struct addr *dst,
		    uint8_t proto, size_t payload_len, uint8_t *ip);

/* Where the time stamp option is in a TCP header of that length; 0: there is
 * none, or what comes before it is malformed (RFC 9293, 3.1; RFC 7323, 3.2). */
uint32_t pkt_timestamp_off(const uint8_t *tcp, uint32_t header);

/*
 * Builds a bare TCP SYN from t->remote to t->local, as if the peer had sent
 * it, or, with `answers`, a SYN-ACK: both numbers 0, no options, no data, window 0, hop limit 255 (for
 * IP_MINTTL sockets), complete checksums. Every synchronized state drops it
 * whatever its number and answers with one ACK that tells exact snd_nxt and
 * rcv_nxt (RFC 5961, 4.2; tcp_validate_incoming()): unlike a segment that must
 * be outside the window, it can neither add data nor acknowledge any. Measured
 * by t_tap. A connection tracker on this host lets pass the SYN to who was
 * connected to and the SYN-ACK to who has connected; the other one is invalid
 * to it (tcp_conntracks[]). Returns the length, at most PKT_PROBE_MAX, or -EINVAL where `t` is
 * not TCP in one family, or -EMSGSIZE where `size` is too small.
 */
int pkt_build_tcp_probe(const struct tuple *t, bool answers, uint8_t *buf,
			size_t size);

/*
 * Builds an ICMP or ICMPv6 error from t->remote to t->local, "no route to the
 * network", which quotes a segment that t->local sent with sequence number
 * `seq`: to the sender's TCP a sign that its last retransmission was not lost
 * to congestion (RFC 6069). Complete checksums. Returns the length, at most
 * PKT_UNREACHABLE_MAX, or an error as above.
 */
int pkt_build_tcp_unreachable(const struct tuple *t, uint32_t seq,
			      uint8_t *buf, size_t size);

struct pkt_ack {
	uint32_t seq, ack;
	uint16_t window; /* as it stands in the header */
	uint32_t start, end; /* of a SACK block; equal: there is none */
};

/*
 * Builds a bare acknowledgment from t->remote to t->local, as if the peer had
 * sent it; without a time stamp, which Linux does not miss. Complete checksums.
 * Returns the length, at most PKT_ACK_MAX, or an error as above.
 */
int pkt_build_tcp_ack(const struct tuple *t, const struct pkt_ack *a,
		      uint8_t *buf, size_t size);

/*
 * A packet that our own stack gets by lo as if from the peer is dropped by who
 * wants no strangers' addresses there. Veiled, it comes from the loopback
 * address. A segment names its real source in its first option
 *	| 254 | length | "SB" | address |		RFC 4727, RFC 6994
 * and rules of ours give it back (ruleset_unveil.c); of an ICMP error any
 * source will do.
 */
#define PKT_VEIL_OFFSET 20 /* of the option, behind the start of the header */
#define PKT_VEIL_HEAD4 0xfe085342u /* its first bytes */
#define PKT_VEIL_HEAD6 0xfe145342u
#define PKT_VEIL_HEAD 4 /* so many; the address is behind them */

/* Veils what the functions above have built. Complete checksums. Returns the
 * length, at most PKT_VEILED_MAX; -EINVAL for any other packet; -EMSGSIZE. */
int pkt_veil(const uint8_t *packet, size_t len, uint8_t *buf, size_t size);

#endif
