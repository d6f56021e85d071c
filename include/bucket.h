/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bucket: how often one track may move.
 *
 * Owns one number: when the bucket will be full again. Twenty at once, then
 * two per second, at either end alike, so that whoever keeps to it never waits
 * for the other; what can wait leaves a few of them behind. Pure: time is an
 * argument. Never knows what a token is for.
 */
#ifndef SACIPED_BUCKET_H
#define SACIPED_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define BUCKET_BURST 20
#define BUCKET_RESERVE 4 /* tokens that what can wait leaves behind */
#define BUCKET_TOKEN_MS 500 /* for one more */

/* All zero: it is full. */
struct bucket {
	uint64_t full_ms;
};

/* When there is a token: `now_ms`, or later. */
uint64_t bucket_next_ms(const struct bucket *b, uint64_t now_ms);
/* Takes one. False where there is none: nothing has changed. */
bool bucket_take(struct bucket *b, uint64_t now_ms);
/* The same for what can wait: one more than the reserve. */
uint64_t bucket_next_spare_ms(const struct bucket *b, uint64_t now_ms);
bool bucket_take_spare(struct bucket *b, uint64_t now_ms);

#endif
