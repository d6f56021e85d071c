/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * place: where a track is, and whether a flow may enter it there (place.h).
 */
#include "place.h"

#include "migrate_parts.h"
#include "wire.h"

void place_fill(const struct mover *m, struct wire_place *named)
{
	const struct locator *at = mover_current(m);

	named->track = m->track;
	named->seq = m->committed;
	named->at = at->addr;
	named->ports = at->ports != 0;
}

bool place_is_settled(const struct follower *f)
{
	return f->state == FOLLOWER_STEADY && !f->holding;
}

/* We follow it to where its owner is; whoever has missed the DONE of its way
 * back is there with a lower number. Of one that never moved as far as we know,
 * its MOVE will tell more. */
static bool is_agreed(const struct follower *f, const struct wire_place *named)
{
	return f->committed == 0 ||
	       (f->committed >= named->seq &&
		addr_equal(&f->sending.addr, &named->at));
}

/* Elsewhere than now it is sent only where the owner has proved the locator
 * for that track; a flow's ports there only a MOVE tells. */
static bool may_jump(const struct follower *to, const struct wire_place *named)
{
	return to->committed > 0 && !to->holding && !to->sending.ports &&
	       !named->ports;
}

/* Nobody accepts what is moved or held on the word of a track that its owner
 * has forgotten, and no MOVE will follow for one that rests at home. */
static bool is_left_behind(const struct place_entry *e,
			   const struct wire_place *named)
{
	return e->proved && !named->ports &&
	       addr_equal(&named->at, &e->home) &&
	       (e->here.ports || !addr_equal(&e->here.addr, &e->home) ||
		(e->from && e->from->holding));
}

static enum place_answer judge_home(const struct place_entry *e)
{
	if (e->track &&
	    (e->track->holding || e->track->sending.ports ||
	     !addr_equal(&e->track->sending.addr, &e->home)))
		return PLACE_LATER;
	return e->home_met ? PLACE_HOME : PLACE_LATER;
}

enum place_answer place_judge(const struct place_entry *e,
			      const struct wire_place *named)
{
	const struct follower *to = e->track;
	const struct follower *from = e->from;

	if ((to && to == from) || MUTANT(place_unchecked))
		return PLACE_AGREED;
	if (follower_is_far(to, named->seq))
		return PLACE_LATER;
	/* A MOVE under way names the flows that it found. */
	if (from && from->state != FOLLOWER_STEADY)
		return PLACE_LATER;
	if (to && (to->state != FOLLOWER_STEADY || !is_agreed(to, named)))
		return PLACE_LATER;
	if (is_left_behind(e, named))
		return judge_home(e);
	if (!to) /* it begins where the flow is */
		return from && !addr_equal(&e->here.addr, &named->at) ?
			PLACE_LATER : PLACE_AGREED;
	/* What was declared gone is gone for this flow too (I5). */
	if (from && from->holding && !to->holding)
		return PLACE_LATER;
	if (locator_equal(&to->sending, &e->here))
		return PLACE_AGREED;
	if (from)
		return PLACE_REFUSED;
	return may_jump(to, named) ? PLACE_AGREED : PLACE_LATER;
}
