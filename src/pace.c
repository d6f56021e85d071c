/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pace: how soon what others undo is done again. See pace.h.
 */
#include "pace.h"

/* The level at which the gap is the longest. */
#define LEVEL_MAX (PACE_FREE + 8)

static uint64_t gap_ms(const struct pace *p)
{
	uint64_t ms = PACE_GAP_MS;

	if (!p->level)
		return 0;
	if (p->level > PACE_FREE)
		ms <<= p->level - PACE_FREE;
	return ms < PACE_GAP_MAX_MS ? ms : PACE_GAP_MAX_MS;
}

uint64_t pace_next_ms(const struct pace *p, uint64_t now_ms)
{
	uint64_t next_ms = p->last_ms + gap_ms(p);

	return next_ms > now_ms ? next_ms : now_ms;
}

void pace_note(struct pace *p, uint64_t now_ms)
{
	uint64_t forgiven = (now_ms - p->last_ms) / PACE_FORGIVE_MS;

	p->level -= forgiven < p->level ? (unsigned int)forgiven : p->level;
	if (p->level < LEVEL_MAX)
		p->level++;
	p->last_ms = now_ms;
}

bool pace_is_slow(const struct pace *p)
{
	return p->level == LEVEL_MAX;
}
