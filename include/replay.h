/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay: the sliding window over the counters of one receiving key.
 *
 * Owns which counters were taken. Checking changes nothing: only
 * replay_commit() does, after the datagram proved authentic and its
 * addresses right, or a forger could close the window. Pure.
 */
#ifndef SACIPED_REPLAY_H
#define SACIPED_REPLAY_H

#include <stdint.h>

#define REPLAY_WINDOW 2048 /* counters behind the highest one, inclusive */
/* The last counter that is ever taken: Noise reserves 2^64-1. */
#define REPLAY_COUNTER_MAX (UINT64_MAX - 1)

enum replay_result {
	REPLAY_FRESH,
	REPLAY_SEEN,
	REPLAY_OLD, /* behind the window: seen or not, nobody knows */
	REPLAY_EXHAUSTED, /* past REPLAY_COUNTER_MAX */
};

/* All zero is the state of a new key. */
struct replay {
	uint64_t next; /* highest taken + 1; 0 none yet */
	uint64_t bitmap[REPLAY_WINDOW / 64]; /* ring, bit = counter % window */
};

void replay_reset(struct replay *r);
enum replay_result replay_check(const struct replay *r, uint64_t counter);
/* Takes `counter`. Does nothing unless replay_check() says it is fresh. */
void replay_commit(struct replay *r, uint64_t counter);

#endif
