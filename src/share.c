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
		.share = bound < SHARE_PARTS ? 1 : bound / SHARE_PARTS,
	};
}

/* `n` more are within `bound`; no sum can wrap. */
static bool fits(uint32_t used, uint32_t n, uint32_t bound)
{
	return used <= bound && n <= bound - used;
}

enum share_result share_ask(const struct share_pool *p, const struct share *s,
			    uint32_t n)
{
	uint32_t open = p->bound - p->reserve;

	if (!fits(p->used, n, p->bound))
		return SHARE_ALL;
	if (s && fits(s->used, n, p->share))
		open = s->chosen ? p->bound : p->bound - p->reserve / 2;
	return fits(p->used, n, open) ? SHARE_TAKEN : SHARE_ITS_OWN;
}

void share_force(struct share_pool *p, struct share *s, uint32_t n)
{
	p->used += n;
	if (s)
		s->used += n;
}

enum share_result share_take(struct share_pool *p, struct share *s, uint32_t n)
{
	enum share_result r = share_ask(p, s, n);

	if (r == SHARE_TAKEN)
		share_force(p, s, n);
	return r;
}

void share_give(struct share_pool *p, struct share *s, uint32_t n)
{
	p->used -= n;
	if (s)
		s->used -= n;
}
