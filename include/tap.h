/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap: copies of a flow's packets as they pass the interfaces, and the
 * injection of one packet into our own stack.
 *
 * Owns the AF_PACKET sockets that copy, their filters, and the sockets that
 * inject. Never delays or changes a packet, never judges a proof (that is
 * `claim`).
 *
 * Each open socket costs a look at every packet of the host. So many taps
 * share one, whose filter names their pairs of addresses and is replaced when
 * one comes or goes (some 20 us), and it is open only while a proof of
 * ownership is pending, and for TAP_IDLE_MS after. To close it takes as long
 * as RCU does, 5 to 30 ms, whether it was bound or not: that waits in a thread
 * of its own (aside.h), never in the caller. There is one list of taps for
 * each reader, who gets the copies of all of them and tells by the tuple whose
 * they are.
 */
#ifndef SACIPED_TAP_H
#define SACIPED_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

struct aside;
struct tap;
struct taps;
struct tap_injector;

#define TAP_SNAP_TCP 128 /* bytes from the IP header: all headers fit */
#define TAP_READS_PER_WAKE 256
/* Twice their program is less than 20 KiB, which an old kernel allows. */
#define TAP_PAIRS_PER_SOCKET 24
#define TAP_SOCKETS_MAX 64 /* of one reader */
/* A socket without pairs is kept for others, where all copies were read. */
#define TAP_IDLE_MS 1000

/* One TCP segment (or a GSO/GRO train of them) or one UDP datagram; those
 * are handed over one by one even where the kernel carries them in a train
 * (UDP_SEGMENT; before Linux 6.2 such trains are not seen at all). */
struct tap_packet {
	struct tuple tuple; /* as on the wire; local is our end */
	bool outgoing;
	uint32_t ifindex;
	uint64_t when_ms; /* CLOCK_BOOTTIME, of the reading */
	/* TCP: numbers of the (first) segment */
	uint32_t seq, ack;
	uint16_t window; /* unscaled */
	uint8_t flags; /* TH_FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32 */
	uint32_t payload_len; /* bytes of payload on the wire */
	bool stamped; /* it bears a time stamp (RFC 7323): */
	uint32_t tsval, tsecr;
	/* UDP: payload_len bytes, valid during the callback; TCP: NULL */
	const uint8_t *payload;
	/* what it bears where it has the form of a nonce (nonce.h), likewise */
	const uint8_t *mac;
};

typedef void tap_callback(const struct tap_packet *packet, void *arg);

/* Nothing is open yet. `aside` closes sockets; without one (NULL) the caller
 * waits. 0 or -errno. */
int taps_open(struct taps **taps, struct aside *aside);
/* With all that is open, at once. NULL is fine. */
void taps_close(struct taps *taps);
int taps_fd(const struct taps *taps); /* EPOLLIN, level-triggered; for ever */
/* At most TAP_READS_PER_WAKE packets of each socket; `cb` may open and close
 * taps. 0 or -errno. */
int taps_receive(struct taps *taps, tap_callback *cb, void *arg);
/* Copies that the kernel dropped for want of room, since the last call. */
uint64_t taps_lost(struct taps *taps);
/* Gives up sockets that nobody has needed for TAP_IDLE_MS. */
void taps_step(struct taps *taps, uint64_t now_ms);
uint64_t taps_due_ms(const struct taps *taps); /* 0: nothing to do */

/*
 * Copies the packets of `proto` (IPPROTO_TCP or IPPROTO_UDP) between exactly
 * these two addresses on every interface but lo, both directions, fragments
 * and IPv6 extension headers excluded. The pair is that on the wire: of a
 * moved flow, not its identity. Nothing from before the call is seen, but
 * where the pair is open already: it stays until all have closed it, and each
 * packet is seen once.
 * 0 or -errno (-EPERM without CAP_NET_RAW, -EINVAL, -ENOSPC).
 */
int tap_open(struct taps *taps, struct tap **tap, uint8_t proto,
	     const struct addr *local, const struct addr *remote);
void tap_close(struct tap *tap); /* NULL is fine */

int tap_injector_open(struct tap_injector **injector);
void tap_injector_close(struct tap_injector *injector); /* NULL is fine */
/*
 * Hands a complete IP packet, addressed to this host, to our own stack as if
 * it had come in by lo; no rp_filter looks at its source. `mark` rides along
 * (0: none) and chooses the route. The transport checksum must be right. The
 * socket that takes it keeps no device by it. 0 or -errno.
 *
 * An idle TCP socket is made to state its numbers by pkt_build_tcp_probe():
 * its ACK passes a tap that is open, goes to the peer and is ignored there.
 * One answer per socket and 500 ms (net.ipv4.tcp_invalid_ratelimit), per host
 * also net.ipv4.tcp_challenge_ack_limit a second (1000 before 6.x): where no
 * copy came within 600 ms, inject again.
 */
int tap_inject(struct tap_injector *injector, const uint8_t *packet,
	       size_t len, uint32_t mark);
/*
 * The same, veiled (pkt.h): for a host where a rule of others drops what comes
 * in by lo from an address that is not its own. A segment needs the hook of
 * steer_unveil(), and with IPv4 that rp_filter lets the peer's address come in
 * by lo: it is 0 or 2. Only what pkt_veil() takes.
 */
int tap_inject_veiled(struct tap_injector *injector, const uint8_t *packet,
		      size_t len, uint32_t mark);
/*
 * Sends a complete IP packet from an address of ours as it is, by the route
 * that its source and `mark` have. It passes the output hooks. 0 or -errno.
 */
int tap_send(struct tap_injector *injector, const uint8_t *packet, size_t len,
	     uint32_t mark);

#endif
