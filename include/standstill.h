/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * standstill: does a TCP sender stand still, and what makes it go on?
 *
 * Owns that rule, which sees nothing but what SOCK_DIAG tells of a socket, and
 * the numbers that follow from it. Never asks the kernel, never sends.
 *
 * A sender stands still that waits for an acknowledgment and has nothing to do
 * before its timer runs out. How long that is says the timer, not the backoff:
 * after a slow path, or a false sample, the first timeout takes as long as the
 * fifth of another sender. What Linux listens to (6.18, measured):
 *
 *	in backoff	an ICMP error that quotes the first number not
 *			acknowledged undoes one step (RFC 6069). The timer
 *			itself stays: what was sent last is repeated when that
 *			is over
 *	before that	acknowledgments that say that something came behind
 *			what is missing. With SACK that is a block, and the
 *			last segment in one is enough (RFC 8985); without, it
 *			is as many duplicates as packets are reordered
 *
 * Nothing makes it repeat the only segment under way, and a bare duplicate
 * means nothing where SACK was agreed on. The block claims what has not come.
 * TCP must not rely on it (RFC 2018, 8), keeps that segment, and sends it again
 * once all before it is acknowledged; so a block is for who would stand still.
 */
#ifndef SACIPED_STANDSTILL_H
#define SACIPED_STANDSTILL_H

#include <stdbool.h>
#include <stdint.h>

#include "sockdiag.h"

#define STANDSTILL_MIN_MS 200 /* TCP_RTO_MIN: no timer runs out before */
#define STANDSTILL_DUPLICATES_MAX 16 /* as above, and no train of them */

enum standstill_cure {
	STANDSTILL_NONE, /* it does not stand still, or nothing helps */
	STANDSTILL_REVERT, /* an ICMP error for each step of the backoff */
	STANDSTILL_BLOCK, /* an acknowledgment with standstill_block() */
	STANDSTILL_DUPLICATES, /* info->reordering of them */
};

/* Its timer, without any backoff. */
uint32_t standstill_base_ms(const struct sockdiag_info *info);
/* When the whole backoff is undone, it repeats its first segment in so much
 * time; 0: at once. */
uint32_t standstill_revert_ms(const struct sockdiag_info *info);
/*
 * Data is not acknowledged, and repeated later than about a round trip from
 * now. TCP's own round trip counts up to STANDSTILL_MIN_MS, since that of the
 * path that is gone may be a long one.
 */
enum standstill_cure standstill_cure(const struct sockdiag_info *info);

struct standstill_block {
	uint32_t start, end; /* as in the SACK option */
};

/* The last of several segments, where `rcv_nxt` is what its receiver expects
 * and `snd_nxt` is sent next. None, `start` is `end`, where no two bytes are
 * missing. */
struct standstill_block standstill_block(uint32_t mss, uint32_t rcv_nxt,
					 uint32_t snd_nxt);

#endif
