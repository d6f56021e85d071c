/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pktq: the kernel's packet queues (NFQUEUE), one object per rule's number.
 *
 * Owns the sockets, their buffers and the encoding of verdicts. Never decides
 * one, never lets the kernel fail open, and looks into a packet only to see
 * whether it is a UDP super-packet: these are cut into their datagrams first
 * (see pktq.c), in a queue of their own, PKTQ_CUTTER_OFFSET above.
 *
 * Packets are read many at a time into fixed buffers and handed up in place;
 * the callback may change them there and give the verdict at once or, having
 * copied them, later. Verdicts are collected and sent together; a payload is
 * sent from where it lies, so it must stay until pktq_flush().
 *
 * Kernel side: net/netfilter/nfnetlink_queue.c.
 */
#ifndef SACIPED_PKTQ_H
#define SACIPED_PKTQ_H

#include <stdbool.h>
#include <stdint.h>

#include "csum.h"

#define PKTQ_MAXLEN_DEFAULT 16384 /* packets that wait in the kernel */
#define PKTQ_CUTTER_OFFSET 2 /* so `n` and `n + 1` use `n` to `n + 3` */

struct pktq;

struct pktq_packet {
	uint64_t id; /* for the verdict; unique within the object */
	uint8_t hook; /* NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT, ... */
	bool gso; /* TCP super-packet: longer than the MTU */
	enum csum_state csum;
	uint32_t mark;
	uint32_t in_ifindex; /* 0 where there is none */
	uint32_t out_ifindex;
	uint32_t len; /* bytes at `data` */
	uint32_t full_len; /* the packet's; above `len` where the kernel
			    * could hand over no more: it cannot be rewritten */
	uint8_t *data; /* writable; valid until the callback returns, or
			* until the flush if given to a verdict */
};

typedef void pktq_packet_cb(void *ctx, struct pktq *q, struct pktq_packet *p);

struct pktq_config {
	uint16_t number;
	uint32_t maxlen; /* 0: PKTQ_MAXLEN_DEFAULT */
	pktq_packet_cb *packet_cb;
	void *ctx;
};

/* Counted since pktq_open(). */
struct pktq_counters {
	uint64_t packets;
	uint64_t bytes;
	uint64_t reads; /* system calls that brought any packet */
	uint64_t verdicts;
	uint64_t overflows; /* packets lost: our socket buffer was full */
	uint64_t truncated; /* longer than the kernel can hand over */
	uint64_t cut; /* super-packets; only their parts are packets */
	uint64_t damaged; /* parts that the kernel cut wrongly: dropped */
	uint64_t malformed; /* messages that break the format */
	uint64_t refused; /* verdicts that the kernel did not take */
	uint64_t unsent; /* verdicts that could not be sent: dropped */
};

/* All that should not be but for overflows. */
static inline uint64_t pktq_errors(const struct pktq_counters *c)
{
	return c->refused + c->unsent + c->malformed + c->truncated +
	       c->damaged;
}

/* One line of /proc/net/netfilter/nfnetlink_queue: the kernel's view. */
struct pktq_stats {
	uint32_t portid; /* of the socket that reads it */
	uint32_t waiting; /* packets without a verdict */
	uint32_t dropped_full; /* queue was at its length */
	uint32_t dropped_user; /* socket buffer was full */
	uint32_t last_id;
};

/*
 * Opens queue `number` in the network namespace of the caller; needs
 * CAP_NET_ADMIN. 0; -EBUSY where another socket reads it or its cutter; -EPERM
 * without the capability; -EINVAL without callback, or where the number leaves
 * none for the cutter; else what the kernel says. *q is set on success only
 * and freed by pktq_close() (NULL is fine), after which the kernel drops
 * whatever waits.
 */
int pktq_open(const struct pktq_config *config, struct pktq **q);
void pktq_close(struct pktq *q);
/* For epoll: readable means pktq_read(). */
int pktq_fd(const struct pktq *q);
uint16_t pktq_number(const struct pktq *q);
/* Brought up to date by the call; valid until the close. */
const struct pktq_counters *pktq_counters(struct pktq *q);

/*
 * Reads one batch without blocking, calls back per packet, then flushes.
 * Returns how many packets were handed up, 0 where none waited, or -errno
 * where the queue is of no use any more. Lost packets, malformed messages and
 * refused verdicts are counted, not errors. Poll again afterwards rather than
 * read until 0, so that other work is done in between. -EBUSY from within a
 * callback: the buffers are in use.
 */
int pktq_read(struct pktq *q);

/*
 * Verdicts; each packet takes exactly one, in any order, at any time. `mark`
 * is the packet's new mark, or NULL to leave it. 0; -EMSGSIZE where `len`
 * exceeds what a verdict can carry; or the error of an early flush.
 *
 * pktq_accept_payload() replaces the whole packet: a shorter one would be
 * trimmed, so `len` is the full length.
 */
int pktq_accept(struct pktq *q, uint64_t id, const uint32_t *mark);
int pktq_accept_payload(struct pktq *q, uint64_t id, const uint8_t *data,
			uint32_t len, const uint32_t *mark);
int pktq_drop(struct pktq *q, uint64_t id);
/* To the end of queue `number`, as it came; dropped where nobody reads it. */
int pktq_pass_on(struct pktq *q, uint64_t id, uint16_t number);
/* Sends what was collected. 0, or -errno of the first that could not be sent:
 * those are counted and their packets dropped, since one without any verdict
 * would stall its flow for ever (TCP sees it queued and does not repeat it). */
int pktq_flush(struct pktq *q);

/* 0, -ENOENT where nobody reads that queue, or -errno. */
int pktq_stats(uint16_t number, struct pktq_stats *stats);

#endif
