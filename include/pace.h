/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pace: how soon what others undo, or cause, is done again.
 *
 * At once at first; whoever undoes it all the time is answered ever more
 * slowly, or two programs would keep a machine busy with nothing. Pure: time
 * is an argument.
 */
#ifndef SACIPED_PACE_H
#define SACIPED_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_FREE 10 /* repairs in a row, PACE_GAP_MS apart; then doubling */
#define PACE_GAP_MS 4
#define PACE_GAP_MAX_MS 1000
#define PACE_FORGIVE_MS 1000 /* one repair is forgotten in that time */

/* All zero: nothing has been repaired yet. */
struct pace {
	uint64_t last_ms;
	unsigned int level;
};

/* When the next repair may be, `now_ms` at the soonest. */
uint64_t pace_next_ms(const struct pace *p, uint64_t now_ms);
/* One was made. */
void pace_note(struct pace *p, uint64_t now_ms);
/* Is the gap by now the longest? */
bool pace_is_slow(const struct pace *p);

#endif
