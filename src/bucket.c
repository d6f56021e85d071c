/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bucket: how often something may be done. See bucket.h.
 */
#include "bucket.h"

/* When there is one that leaves `behind`. */
static uint64_t next_ms(const struct bucket *b, const struct bucket_kind *kind,
			uint32_t behind, uint64_t now_ms)
{
	/* What is missing of a full bucket then, as time. */
	const uint64_t last_ms = (uint64_t)(kind->burst - 1 - behind) *
				 kind->token_ms;

	return b->full_ms > now_ms + last_ms ? b->full_ms - last_ms : now_ms;
}

static bool take(struct bucket *b, const struct bucket_kind *kind,
		 uint32_t behind, uint64_t now_ms)
{
	if (next_ms(b, kind, behind, now_ms) > now_ms)
		return false;
	if (b->full_ms < now_ms)
		b->full_ms = now_ms;
	b->full_ms += kind->token_ms;
	return true;
}

uint64_t bucket_next_ms(const struct bucket *b, const struct bucket_kind *kind,
			uint64_t now_ms)
{
	return next_ms(b, kind, 0, now_ms);
}

bool bucket_take(struct bucket *b, const struct bucket_kind *kind,
		 uint64_t now_ms)
{
	return take(b, kind, 0, now_ms);
}

uint64_t bucket_next_spare_ms(const struct bucket *b,
			      const struct bucket_kind *kind, uint64_t now_ms)
{
	return next_ms(b, kind, kind->reserve, now_ms);
}

bool bucket_take_spare(struct bucket *b, const struct bucket_kind *kind,
		       uint64_t now_ms)
{
	return take(b, kind, kind->reserve, now_ms);
}

void bucket_give(struct bucket *b, const struct bucket_kind *kind)
{
	b->full_ms = b->full_ms > kind->token_ms ? b->full_ms - kind->token_ms :
						   0;
}
