/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * refusals: which of our sources the peer has refused. See refusals.h.
 */
#include "refusals.h"

#include <string.h>

void refusals_forget(struct refusals *r)
{
	memset(r, 0, sizeof(*r));
}

bool refusals_has(const struct refusals *r, const struct addr *a)
{
	for (unsigned int i = 0; i < r->n; i++)
		if (addr_equal(&r->source[i], a))
			return true;
	return false;
}

bool refusals_is_full(const struct refusals *r)
{
	return r->n == REFUSALS_ROUND_MAX;
}

void refusals_add(struct refusals *r, const struct addr *a, uint64_t now_ms)
{
	if (r->until_ms && r->until_ms < now_ms + REFUSALS_PAUSE_MIN_MS)
		r->until_ms = now_ms + REFUSALS_PAUSE_MIN_MS;
	if (!refusals_is_full(r) && !refusals_has(r, a))
		r->source[r->n++] = *a;
}

uint64_t refusals_pause(struct refusals *r, uint64_t now_ms)
{
	r->pause_ms = r->pause_ms ? r->pause_ms * 2 : REFUSALS_PAUSE_MIN_MS;
	if (r->pause_ms > REFUSALS_PAUSE_MAX_MS)
		r->pause_ms = REFUSALS_PAUSE_MAX_MS;
	r->until_ms = now_ms + r->pause_ms;
	return r->until_ms;
}

uint64_t refusals_shorten(struct refusals *r, uint64_t now_ms)
{
	if (!r->until_ms || r->until_ms > now_ms + REFUSALS_PAUSE_MIN_MS)
		r->until_ms = now_ms + REFUSALS_PAUSE_MIN_MS;
	return r->until_ms;
}

void refusals_tick(struct refusals *r, uint64_t now_ms)
{
	if (!r->until_ms || now_ms < r->until_ms)
		return;
	r->until_ms = 0;
	r->n = 0;
}
