/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * place: where a track is, and whether a flow may enter it there.
 *
 * Owns one question of the end that hears a track of the peer's named for a
 * flow: do both ends agree on where that track is? Only then may the flow
 * enter, since from that moment on it is sent to where we believe that the
 * track is, and its owner accepts it where it says. Pure; never changes a
 * follower, never knows a flow.
 *
 * Who names a track says: "I accept this flow at the locator of number `seq`
 * of that track". It may be late, or the track be about to leave.
 */
#ifndef SACIPED_PLACE_H
#define SACIPED_PLACE_H

#include <stdbool.h>

#include "migrate.h"

struct wire_place;

enum place_answer {
	PLACE_AGREED, /* it may enter, or is there */
	PLACE_HOME, /* it may enter at its identity address: it was moved, and
		     * has been proved anew there by who forgot that */
	PLACE_LATER, /* not yet: the track moves, or one end is behind */
	PLACE_REFUSED, /* it would move without MOVE and challenge */
};

/* What the end that hears the name knows. */
struct place_entry {
	const struct follower *track; /* as we follow it; NULL: new to us, so
				       * that it begins where the flow is */
	const struct follower *from; /* the one that the flow is in; NULL none */
	struct locator here; /* to which the flow is sent now */
	struct addr home; /* of its identity */
	bool proved; /* just now; else only named */
	bool home_met; /* the peer has answered from home lately, and since
			* `from` was declared gone */
};

/* What the owner says of its own track. */
void place_fill(const struct mover *m, struct wire_place *named);
/* With nothing on offer, at a locator to which it is sent. */
bool place_is_settled(const struct follower *f);
enum place_answer place_judge(const struct place_entry *e,
			      const struct wire_place *named);

#endif
