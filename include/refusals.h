/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * refusals: which of our sources the peer has refused for a track, and when
 * they may be asked for again.
 *
 * A round asks for each usable source once; then there is a pause, twice as
 * long after each round. Owns the list of one round and its pause. Pure: time
 * is an argument. Never asks for anything, never chooses a source.
 */
#ifndef SACIPED_REFUSALS_H
#define SACIPED_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "reason.h"

#define REFUSALS_ROUND_MAX 32 /* sources; then the round is over */
#define REFUSALS_PAUSE_MIN_MS 1000
#define REFUSALS_PAUSE_MAX_MS 60000

/* All zero: nothing was refused. */
struct refusals {
	enum reason why; /* the last one; NONE: there is nothing to tell */
	unsigned int n;
	struct addr source[REFUSALS_ROUND_MAX]; /* refused in this round */
	uint32_t pause_ms; /* the last pause; 0: there was none */
	uint64_t until_ms; /* end of the one that is on; 0: none is */
};

/* The track has moved, or other locators of ours are up than before. */
void refusals_forget(struct refusals *r);
/* Refused for this round; a pause that is on lasts for the shortest at least. */
void refusals_add(struct refusals *r, const struct addr *a, uint64_t now_ms);
bool refusals_has(const struct refusals *r, const struct addr *a);
/* May no other source be asked for in this round? */
bool refusals_is_full(const struct refusals *r);
/* The round is over. Returns when the next one begins. */
uint64_t refusals_pause(struct refusals *r, uint64_t now_ms);
/* An address event: what is refused by now is asked for again within the
 * shortest pause; a pause begins where none is on. Returns its end. */
uint64_t refusals_shorten(struct refusals *r, uint64_t now_ms);
/* Where the pause is over, the next round begins. */
void refusals_tick(struct refusals *r, uint64_t now_ms);

#endif
