/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * share: how much of what is bounded one peer may have. See share.h.
 */
#include "share.h"

#define RESERVE_PARTS 4
#define SHARE_PARTS 16

void share_pool_init(struct share_pool *p, uint32_t bound)
{
	*p = (struct share_pool){
		.bound = bound,
		.reserve = bound / RESERVE_PARTS,
		.share = bound / SHARE_PARTS,
	};
}

/* `n` more are within `bound`; no sum can wrap. */
static bool fits(uint32_t used, uint32_t n, uint32_t bound)
{
	return used <= bound && n <= bound - used;
}

enum share_result share_take(struct share_pool *p, struct share *s, uint32_t n)
{
	if (!fits(p->used, n, p->bound))
		return SHARE_ALL;
	if (!fits(p->used, n, p->bound - p->reserve) &&
	    (!s || !fits(s->used, n, p->share)))
		return SHARE_ITS_OWN;
	p->used += n;
	if (s)
		s->used += n;
	return SHARE_TAKEN;
}

void share_give(struct share_pool *p, struct share *s, uint32_t n)
{
	p->used -= n;
	if (s)
		s->used -= n;
}
