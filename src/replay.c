/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay: the sliding window over the counters of one receiving key.
 *
 * Owns which counters were taken: a ring of bits, like that of RFC 6479,
 * but cleared bit by bit where it slides, so that the whole window counts.
 * Never takes a counter by itself.
 */
#include "replay.h"

#include <string.h>

_Static_assert(REPLAY_WINDOW % 64 == 0, "the ring is made of words");

static uint64_t bit_of(uint64_t counter)
{
	return (uint64_t)1 << counter % 64;
}

static uint64_t word_of(uint64_t counter)
{
	return counter % REPLAY_WINDOW / 64;
}

void replay_reset(struct replay *r)
{
	memset(r, 0, sizeof *r);
}

enum replay_result replay_check(const struct replay *r, uint64_t counter)
{
	if (counter > REPLAY_COUNTER_MAX)
		return REPLAY_EXHAUSTED;
	if (counter >= r->next)
		return REPLAY_FRESH;
	if (r->next - counter > REPLAY_WINDOW)
		return REPLAY_OLD;
	if (r->bitmap[word_of(counter)] & bit_of(counter))
		return REPLAY_SEEN;
	return REPLAY_FRESH;
}

void replay_commit(struct replay *r, uint64_t counter)
{
	if (replay_check(r, counter) != REPLAY_FRESH)
		return;
	if (counter >= r->next) {
		/* The ring's bits from the old end to the new stand for
		 * counters that have left the window. */
		if (counter - r->next >= REPLAY_WINDOW)
			memset(r->bitmap, 0, sizeof r->bitmap);
		else
			for (uint64_t c = r->next; c < counter; c++)
				r->bitmap[word_of(c)] &= ~bit_of(c);
		r->next = counter + 1;
	}
	r->bitmap[word_of(counter)] |= bit_of(counter);
}
