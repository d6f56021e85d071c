/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * way: by which interface a track's packets leave, and whether that has
 * changed.
 *
 * Owns the comparison. Never asks the kernel.
 */
#include "way.h"

static void note(struct way *w, const struct way_now *now)
{
	if (!addr_equal(&w->from, &now->from))
		*w = (struct way){ .from = now->from };
	if (!addr_equal(&w->to, &now->to))
		w->began = WAY_NOWHERE;
	w->to = now->to;
	if (w->began == WAY_NOWHERE || now->leads == WAY_HOME)
		w->began = now->leads;
	w->preferred = w->preferred || !now->deprecated;
}

enum migrate_cause way_look(struct way *w, const struct way_now *now)
{
	note(w, now);
	if (now->deprecated && w->preferred)
		return MIGRATE_CAUSE_DEPRECATED;
	if (now->leads == WAY_ABROAD && w->began == WAY_HOME)
		return MIGRATE_CAUSE_BETTER_ROUTE;
	return MIGRATE_CAUSE_REFRESH;
}
