/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * way: by which interface a track's packets leave, and whether that has
 * changed.
 *
 * A host may send from an address by an interface that is not the address's
 * own, or from one that was never preferred, and mean it: a client inside the
 * LAN that knows the server's uplink address; a service address that
 * keepalived adds with preferred_lft 0. So only a change is a reason to move.
 * Pure: what the kernel says is an argument.
 */
#ifndef SACIPED_WAY_H
#define SACIPED_WAY_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "migrate.h"

enum way_leads {
	WAY_NOWHERE, /* no route, or not looked at yet */
	WAY_HOME, /* out of an interface that has the source */
	WAY_ABROAD, /* only out of others */
	WAY_LEADS
};

/* All zero: nothing was seen yet. */
struct way {
	struct addr from, to;
	enum way_leads began; /* HOME: they have led there, however long ago */
	bool preferred; /* `from` was seen so */
	struct addr left; /* the last one whose packets left by its own */
	uint64_t left_ms; /* interface, and until when; 0 none yet */
	struct addr next; /* where a move goes */
	enum way_leads next_leads; /* when it was chosen */
};

/* What the kernel says now of packets of one track. */
struct way_now {
	struct addr from, to;
	enum way_leads leads;
	bool deprecated; /* `from` */
	uint64_t ms;
};

/*
 * Notes what is seen. DEPRECATED: the address was preferred before;
 * BETTER_ROUTE: its packets left by its own interface before, and leave by
 * another one; else REFRESH: no reason. Another source begins anew, another
 * destination too, except that it is no news of the source itself.
 */
enum migrate_cause way_look(struct way *w, const struct way_now *now);

/*
 * A move begins, to `next->from`. Routes may change again before it is done: then
 * its first look at the new source is not what the flows have begun with there.
 */
void way_expect(struct way *w, const struct way_now *next);

/*
 * A flow that is seen since `since_ms` has come into `w`, which was first
 * looked at later. What another track of the same route choice saw of this
 * source between the two is `w`'s too: without it a connection that was a
 * second old when the route changed would count as one that began like this.
 */
void way_inherit(struct way *w, const struct way *other, uint64_t since_ms);

#endif
