/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hold: packets that wait in the kernel's queue, and our copies of them.
 *
 * Owns the order and the bounds: what came first is released first, and at a
 * bound the newest is turned away (TCP sends it again; what a receiver needs
 * next is the oldest). Says what has waited for too long to be worth sending.
 * Never gives a verdict, never looks into a packet.
 */
#ifndef SACIPED_HOLD_H
#define SACIPED_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "csum.h"
#include "share.h"

/* Defaults. The kernel queue must be longer than HOLD_PACKETS_MAX, or it
 * drops what we would hold. A TCP socket keeps at most tcp_limit_output_bytes
 * (4 MiB by default) below it, a UDP socket its send buffer. */
#define HOLD_PACKETS_MAX 12288
#define HOLD_BYTES_MAX (128u << 20)
#define HOLD_FLOW_PACKETS_MAX 4096
#define HOLD_FLOW_BYTES_MAX (8u << 20)

enum hold_kind {
	HOLD_ANY, /* datagram, RST: is never stale */
	HOLD_SEGMENT, /* TCP that takes sequence numbers: is sent again */
	HOLD_ACK, /* TCP that takes none: whatever follows says the same */
};

struct hold_packet {
	STAILQ_ENTRY(hold_packet) entry;
	uint64_t at_ms; /* came then */
	enum hold_kind kind;
	uint32_t tcp_seq; /* HOLD_SEGMENT */
	uint64_t id; /* for the verdict */
	uint16_t queue; /* queue number */
	enum csum_state csum;
	uint32_t mark;
	uint32_t ifindex; /* was to leave by it; the kernel keeps it for this */
	uint32_t len;
	uint8_t data[];
};

STAILQ_HEAD(hold_list, hold_packet);

/* What is held of all flows of one peer. All zero: nothing. */
struct hold_share {
	struct share packets;
	struct share bytes;
};

/* Embedded in a flow; zeroed memory is not a valid one: hold_flow_init(). */
struct hold_flow {
	struct hold_list list;
	LIST_ENTRY(hold_flow) in_waiting; /* while the list is not empty */
	void *owner; /* of hold_flow_init() */
	struct hold_share *share; /* of what is in the list; NULL nobody's */
	uint32_t packets;
	uint32_t bytes;
};

struct hold_limits {
	uint32_t packets; /* all flows */
	uint32_t bytes;
	uint32_t flow_packets; /* one flow */
	uint32_t flow_bytes;
};

struct hold_counters {
	uint64_t held; /* accepted by hold_push() */
	uint64_t released; /* taken by hold_pop() */
	uint64_t stale; /* taken by hold_take_stale() or hold_take_old() */
	uint64_t gone; /* taken by hold_take_link() */
	uint64_t full; /* turned away: a bound of all flows, or no memory */
	uint64_t share_full; /* turned away: its peer has its share */
	uint64_t flow_full; /* turned away: a bound of its flow */
};

struct hold {
	struct hold_limits limits;
	LIST_HEAD(, hold_flow) waiting; /* that have packets */
	struct share_pool packets;
	struct share_pool bytes;
	struct hold_counters counters;
};

/* NULL for the defaults above. */
void hold_init(struct hold *h, const struct hold_limits *limits);
void hold_flow_init(struct hold_flow *f, void *owner);

/*
 * Appends a copy of a packet. It counts for `share`, that of the flow's peer;
 * NULL where it has none. 0; -ENOBUFS where its flow or its peer, -ENOSPC where
 * the whole is at its bound; -ENOMEM; -EMSGSIZE above PKT_LEN_MAX. On failure it
 * is not held, and the caller drops it.
 */
int hold_push(struct hold *h, struct hold_flow *f, struct hold_share *share,
	      const struct hold_packet *meta, const uint8_t *data);
/* The peer is no more: what is held of its flows is nobody's. */
void hold_forget_share(struct hold *h, struct hold_share *share);
/* The oldest packet, now the caller's (free() it), or NULL. `meta->data` is
 * writable. */
struct hold_packet *hold_pop(struct hold *h, struct hold_flow *f);
/* The oldest packet, still held, or NULL. */
const struct hold_packet *hold_peek(const struct hold_flow *f);
bool hold_flow_empty(const struct hold_flow *f);

/*
 * The segment that its receiver needs next: of those held the lowest number, and
 * of copies the oldest. NULL: no segment is held.
 */
const struct hold_packet *hold_first_segment(const struct hold_flow *f);
/*
 * Moves to `out` (initialized), in order, what came before `before_ms` and is
 * stale: segments, but for hold_first_segment() where `first` is false, and
 * bare acknowledgments that anything follows. They are the caller's then.
 * Returns whether a segment was among them.
 */
bool hold_take_stale(struct hold *h, struct hold_flow *f, uint64_t before_ms,
		     bool first, struct hold_list *out);
/* Moves to `out` (initialized), in order, what came before `before_ms`, but of
 * segments only what came before `segments_ms`, which is not later. Returns
 * whether a segment was among them. */
bool hold_take_old(struct hold *h, struct hold_flow *f, uint64_t before_ms,
		   uint64_t segments_ms, struct hold_list *out);
/* Moves to `out` (initialized), in order, what was to leave by this interface.
 * Returns whether a segment was among them. */
bool hold_take_link(struct hold *h, struct hold_flow *f, uint32_t ifindex,
		    struct hold_list *out);

#endif
