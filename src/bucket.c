/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bucket: how often one track may move. See bucket.h.
 */
#include "bucket.h"

/* What is missing of a full bucket, as time, where one token is left. */
#define LAST_MS ((BUCKET_BURST - 1) * (uint64_t)BUCKET_TOKEN_MS)

uint64_t bucket_next_ms(const struct bucket *b, uint64_t now_ms)
{
	return b->full_ms > now_ms + LAST_MS ? b->full_ms - LAST_MS : now_ms;
}

bool bucket_take(struct bucket *b, uint64_t now_ms)
{
	if (bucket_next_ms(b, now_ms) > now_ms)
		return false;
	if (b->full_ms < now_ms)
		b->full_ms = now_ms;
	b->full_ms += BUCKET_TOKEN_MS;
	return true;
}
