/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verdict: encodes the verdicts for one queue and sends many at once.
 *
 * Part of pktq. Owns the messages until they are sent; never the payloads,
 * never the socket.
 */
#ifndef SACIPED_VERDICT_H
#define SACIPED_VERDICT_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define VERDICTS_MAX 64 /* collected before an early flush */
#define VERDICT_HEAD_MAX 64
#define VERDICT_PAYLOAD_MAX 65531 /* what fits one attribute */

struct nlmsghdr;

struct verdict {
	uint32_t id;
	uint32_t head_len;
	uint32_t payload_len;
	const uint8_t *payload; /* NULL: none */
	_Alignas(4) char head[VERDICT_HEAD_MAX];
};

struct verdicts {
	int fd;
	uint16_t number; /* of the queue */
	unsigned int n;
	uint64_t count; /* all that were put */
	uint64_t unsent;
	struct verdict item[VERDICTS_MAX];
	struct mmsghdr message[VERDICTS_MAX];
	struct iovec iov[VERDICTS_MAX * 3];
};

/* `what` is NF_ACCEPT, NF_DROP, or NF_QUEUE with a queue number in its upper
 * half; `mark` may be NULL. 0, or the error of an early flush. */
int verdict_put(struct verdicts *v, uint32_t id, uint32_t what,
		const uint32_t *mark);
/* Accepts with another payload, which stays until the flush; -EMSGSIZE above
 * VERDICT_PAYLOAD_MAX. */
int verdict_put_payload(struct verdicts *v, uint32_t id, const uint8_t *data,
			uint32_t len, const uint32_t *mark);
/* 0, or -errno of the first that could not be sent; see pktq_flush(). */
int verdict_flush(struct verdicts *v);

#endif
