/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * way: by which interface a track's packets leave, and whether that has
 * changed.
 *
 * Owns the comparison. Never asks the kernel.
 */
#include "way.h"

static enum way_leads arrived(const struct way *w, const struct addr *at)
{
	return addr_equal(&w->next, at) ? w->next_leads : WAY_NOWHERE;
}

static void note(struct way *w, const struct way_now *now)
{
	if (!addr_equal(&w->from, &now->from))
		*w = (struct way){ .from = now->from, .to = w->to,
				   .began = arrived(w, &now->from),
				   .left = w->left, .left_ms = w->left_ms };
	if (!addr_equal(&w->to, &now->to)) {
		w->began = w->next_leads = WAY_NOWHERE;
		w->left_ms = 0;
	}
	w->to = now->to;
	if (w->began == WAY_NOWHERE || now->leads == WAY_HOME)
		w->began = now->leads;
	w->preferred = w->preferred || !now->deprecated;
}

static bool has_left(const struct way *w, const struct addr *from)
{
	return w->left_ms && addr_equal(&w->left, from);
}

static void note_left(struct way *w, const struct way_now *now)
{
	if (has_left(w, &now->from)) {
		if (now->leads == WAY_HOME)
			w->left_ms = 0;
	} else if (w->began == WAY_HOME && now->leads == WAY_ABROAD) {
		w->left = now->from;
		w->left_ms = now->ms;
	}
}

enum migrate_cause way_look(struct way *w, const struct way_now *now)
{
	note(w, now);
	note_left(w, now);
	if (now->deprecated && w->preferred)
		return MIGRATE_CAUSE_DEPRECATED;
	if (now->leads == WAY_ABROAD && w->began == WAY_HOME)
		return MIGRATE_CAUSE_BETTER_ROUTE;
	return MIGRATE_CAUSE_REFRESH;
}

void way_expect(struct way *w, const struct way_now *next)
{
	w->next = next->from;
	w->next_leads = addr_equal(&w->to, &next->to) ? next->leads :
							WAY_NOWHERE;
}

void way_inherit(struct way *w, const struct way *other, uint64_t since_ms)
{
	if (w->began != WAY_ABROAD || !addr_equal(&w->to, &other->to))
		return;
	if (has_left(other, &w->from) ? since_ms <= other->left_ms :
	    other->began == WAY_HOME && addr_equal(&other->from, &w->from))
		w->began = WAY_HOME;
}
