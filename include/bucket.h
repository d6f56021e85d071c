/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bucket: how often something may be done.
 *
 * Owns the arithmetic of token buckets, and of each one number: when it will be
 * full again. How much it holds and how fast it fills is its kind, which is the
 * caller's. Pure: time is an argument. Never knows what a token is for.
 */
#ifndef SACIPED_BUCKET_H
#define SACIPED_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket_kind {
	uint32_t burst; /* tokens in a full one */
	uint32_t reserve; /* of these, what can wait leaves behind */
	uint32_t token_ms; /* for one more */
};

/* All zero: it is full. */
struct bucket {
	uint64_t full_ms;
};

/* When there is a token: `now_ms`, or later. */
uint64_t bucket_next_ms(const struct bucket *b, const struct bucket_kind *kind,
			uint64_t now_ms);
/* Takes one. False where there is none: nothing has changed. */
bool bucket_take(struct bucket *b, const struct bucket_kind *kind,
		 uint64_t now_ms);
/* One that was taken comes back: what it was for did no harm. */
void bucket_give(struct bucket *b, const struct bucket_kind *kind);
/* The same for what can wait: one more than the reserve. */
uint64_t bucket_next_spare_ms(const struct bucket *b,
			      const struct bucket_kind *kind, uint64_t now_ms);
bool bucket_take_spare(struct bucket *b, const struct bucket_kind *kind,
		       uint64_t now_ms);

#endif
