/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * share: how much of what is bounded one peer may have.
 *
 * Owns the arithmetic. The last part of a pool is a reserve, for those who have
 * less than a share: who has much may have the rest of the pool where nobody
 * else wants it, and never keeps another from what that one needs. Half of it is
 * for those only whom the operator has chosen: keys cost nothing, and a few of
 * them have shares enough for the other half. Pure. Never knows what is counted,
 * nor who has it.
 */
#ifndef SACIPED_SHARE_H
#define SACIPED_SHARE_H

#include <stdbool.h>
#include <stdint.h>

struct share_pool {
	uint32_t bound; /* of all */
	uint32_t reserve; /* part of it; 0 none */
	uint32_t share; /* of one: so much it may have from the reserve, too */
	uint32_t used; /* by all */
};

/* What one has of a pool. All zero: nothing. */
struct share {
	uint32_t used;
	bool chosen; /* by the operator: the whole reserve is open to it */
};

enum share_result {
	SHARE_TAKEN,
	SHARE_ITS_OWN, /* refused: it has its share, and the rest is reserved */
	SHARE_ALL, /* refused: nothing is left for anybody */
};

/* Empty: a quarter of the bound is the reserve, a sixteenth a share. */
void share_pool_init(struct share_pool *p, uint32_t bound);
/* May `s` take `n` more? For who counts himself; NULL is nobody in particular,
 * who has no share of the reserve. Nothing changes. */
enum share_result share_ask(const struct share_pool *p, const struct share *s,
			    uint32_t n);
/* Takes them. Where it is refused nothing has changed. */
enum share_result share_take(struct share_pool *p, struct share *s, uint32_t n);
/* Takes them whatever the shares say: for what must be, or was asked before. */
void share_force(struct share_pool *p, struct share *s, uint32_t n);
/* Gives back what was taken for `s`. */
void share_give(struct share_pool *p, struct share *s, uint32_t n);

#endif
