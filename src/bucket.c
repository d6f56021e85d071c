/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bucket: how often one track may move. See bucket.h.
 */
#include "bucket.h"

/* When there is one that leaves `behind`. */
static uint64_t next_ms(const struct bucket *b, unsigned int behind,
			uint64_t now_ms)
{
	/* What is missing of a full bucket then, as time. */
	const uint64_t last_ms = (BUCKET_BURST - 1 - behind) *
				 (uint64_t)BUCKET_TOKEN_MS;

	return b->full_ms > now_ms + last_ms ? b->full_ms - last_ms : now_ms;
}

static bool take(struct bucket *b, unsigned int behind, uint64_t now_ms)
{
	if (next_ms(b, behind, now_ms) > now_ms)
		return false;
	if (b->full_ms < now_ms)
		b->full_ms = now_ms;
	b->full_ms += BUCKET_TOKEN_MS;
	return true;
}

uint64_t bucket_next_ms(const struct bucket *b, uint64_t now_ms)
{
	return next_ms(b, 0, now_ms);
}

bool bucket_take(struct bucket *b, uint64_t now_ms)
{
	return take(b, 0, now_ms);
}

uint64_t bucket_next_spare_ms(const struct bucket *b, uint64_t now_ms)
{
	return next_ms(b, BUCKET_RESERVE, now_ms);
}

bool bucket_take_spare(struct bucket *b, uint64_t now_ms)
{
	return take(b, BUCKET_RESERVE, now_ms);
}
