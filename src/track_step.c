/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * track_step: what a step of the handover does to every flow of a track.
 *
 * Owns the transaction: it carries out on the flows what the handover core
 * decided for the track, or leaves them as they were. Never decides a move,
 * never sends a message.
 */
#include "track_impl.h"

#include <errno.h>
#include <string.h>

#define TRANSACTION 4 /* costs as much as so many flows in it */

/* What is taken away keeps its port, and the way back, until it is certain:
 * end_forgotten() or end_restored(). */
static void forget_end(struct track *t, struct flow *f,
		       const struct locator *at)
{
	struct flow_end *e = flow_end_find(f, t->side, &at->addr, at->ports);

	if (!e)
		return;
	f->transit->next[t->side].ports = at->ports;
	f->transit->next[t->side].port = e->at.port;
	f->transit->next[t->side].ifindex = e->ifindex;
	flow_unaccept(f, t->side, &at->addr, at->ports);
}

static void end_forgotten(struct track *t, struct flow *f)
{
	struct flow_transit *way = f->transit;

	if (!way)
		return;
	if (way->next[t->side].ifindex)
		retain_unreverse(t->assoc->d->retain,
				 &f->identity.remote.addr,
				 way->next[t->side].ifindex);
	way->next[t->side].ifindex = 0;
}

static void end_restored(struct track *t, struct flow *f,
			 const struct locator *at)
{
	struct flow_end *e;

	flow_accept(f, t->side, &at->addr, at->ports);
	e = flow_end_find(f, t->side, &at->addr, at->ports);
	if (!e || !f->transit->next[t->side].ifindex)
		return;
	e->ifindex = f->transit->next[t->side].ifindex;
	f->transit->next[t->side].ifindex = 0;
}

static int change(struct track *t, struct flow *f,
		  enum migrate_action_type type, const struct locator *at)
{
	switch (type) {
	case MIGRATE_ACCEPT_ADD:
		return flow_accept(f, t->side, &at->addr, at->ports);
	case MIGRATE_ACCEPT_DEL:
		forget_end(t, f, at);
		return 0;
	case MIGRATE_RELEASE:
	case MIGRATE_SWITCH:
		return flow_send_by(f, t->side, &at->addr, at->ports);
	default:
		return 0;
	}
}

static void change_back(struct track *t, struct flow *f,
			enum migrate_action_type type,
			const struct locator *at,
			const struct locator *sending)
{
	switch (type) {
	case MIGRATE_ACCEPT_ADD:
		forget_end(t, f, at);
		end_forgotten(t, f);
		break;
	case MIGRATE_ACCEPT_DEL:
		end_restored(t, f, at);
		break;
	case MIGRATE_RELEASE:
	case MIGRATE_SWITCH:
		flow_send_by(f, t->side, &sending->addr, sending->ports);
		break;
	default:
		break;
	}
}

/* The socket's own route may be the guard's by now: it gets the MTU of the
 * path that the packets really take. */
static void tell_mtu(struct track *t)
{
	struct daemon *d = t->assoc->d;
	const struct flow *f = LIST_FIRST(&t->group.flows);
	struct tuple wire;
	struct rtmon_query query = { .uid = (uint32_t)-1 };
	struct rtmon_route route;

	if (!f)
		return;
	wire = flow_wire_tuple(f);
	query.dst = wire.remote.addr;
	query.src = wire.local.addr;
	query.mark = f->mark;
	COUNT(d, ROUTE_LOOKUPS);
	if (!rtmon_lookup(d->rtmon, &query, &route) && !route.local)
		retain_set_mtu(d->retain, &f->identity.remote.addr, route.mtu);
}

/*
 * What the kernel still keeps for the link address of the locator that the
 * peer has left would go to whoever has it next; and TCP does not repeat a
 * segment that it sees queued (skb_still_in_host_queue()), so without this
 * it stands for the three seconds until the kernel gives up.
 */
static void forget_neighbour(struct track *t, const struct addr *left)
{
	struct daemon *d = t->assoc->d;
	struct rtmon_query query = { .dst = *left, .uid = (uint32_t)-1 };
	struct rtmon_route route;

	COUNT(d, ROUTE_LOOKUPS);
	if (!rtmon_lookup(d->rtmon, &query, &route) && !route.local &&
	    !addr_is_set(&route.gateway))
		retain_drop_unresolved(d->retain, left, route.ifindex);
}

static void switched(struct track *t, const struct addr *from,
		     const struct addr *to)
{
	tell_mtu(t);
	if (t->side == FLOW_THEIRS && !addr_equal(from, to))
		forget_neighbour(t, from);
}

/* Ports alone changed: a new connection of the mover's host waits for these
 * tuples, so they are free at both ends once the drain is over. */
static bool is_yielded(const struct track *t, const struct locator *at)
{
	const struct locator *now = t->side == FLOW_OURS ?
		mover_current(&t->mover) : &t->follower.sending;

	return at->ports != now->ports && addr_equal(&at->addr, &now->addr);
}

/* What the flows of this track went without, for people. */
static void note_gap(struct track *t, enum migrate_action_type type,
		     uint64_t now_ms)
{
	if (type == MIGRATE_HOLD && !t->held_ms)
		t->held_ms = now_ms;
	if (type != MIGRATE_RELEASE && type != MIGRATE_SWITCH)
		return;
	t->gap_ms = t->held_ms ? (uint32_t)(now_ms - t->held_ms) : 0;
	t->gap_end_ms = now_ms;
	t->held_ms = 0;
}

static bool decides_hold(enum migrate_action_type type)
{
	return type == MIGRATE_HOLD || type == MIGRATE_RELEASE ||
	       type == MIGRATE_SWITCH;
}

static bool sends_by(enum migrate_action_type type)
{
	return type == MIGRATE_RELEASE || type == MIGRATE_SWITCH;
}

/* It was offered while another connection began there. The proof counts for
 * more, but never takes what lives: that end of ours uses another port. */
static void settle_ceded(struct daemon *d, struct flow *f)
{
	const struct tuple wire = flow_wire_tuple(f);

	if (!flow_is_ceded(f))
		return;
	f->clashes = sockdiag_lookup(d->sockdiag, &wire, 0, NULL) != -ENOENT;
	flow_take_back(f, !f->clashes);
	if (f->clashes)
		discover_soon(d);
}

/* Both halves may have held it, one after the other: its sender has waited since
 * the first of them began. */
static uint32_t held_for_ms(const struct flow *f)
{
	return f->transit && f->transit->held_ms ?
		       (uint32_t)(loop_now_ms() - f->transit->held_ms) : 0;
}

static void release(struct daemon *d, struct flow *f,
		    struct divert_released *r, unsigned int *lookups)
{
	r->late = held_for_ms(f) > STALE_MS;
	if (r->late)
		stale_end(d, f, lookups);
	if (flow_is_waiting(f))
		divert_release(d, f, r);
}

static void released(struct daemon *d, struct flow *f)
{
	wake_own(d, f, held_for_ms(f));
	if (f->transit)
		f->transit->held_ms = 0;
}

void track_let_flow_go(struct daemon *d, struct flow *f)
{
	struct divert_released r = { .n = 0 };
	unsigned int lookups = 1;

	release(d, f, &r, &lookups);
	divert_released(d, &r);
	released(d, f);
}

static void let_go(struct track *t, struct flow *from, const struct flow *end)
{
	struct divert_released r = { .n = 0 };
	unsigned int lookups = STALE_LOOKUPS_MAX;
	struct flow *f;

	for (f = from; f != end; f = LIST_NEXT(f, in_group[t->side]))
		if (!f->hold)
			release(t->assoc->d, f, &r, &lookups);
	divert_released(t->assoc->d, &r);
	for (f = from; f != end; f = LIST_NEXT(f, in_group[t->side]))
		if (!f->hold)
			released(t->assoc->d, f);
}

void track_let_go(struct track *t)
{
	let_go(t, LIST_FIRST(&t->group.flows), NULL);
}

/* One transaction, of the flows from group.at on: that is then the next of them,
 * NULL behind the last. */
static int apply_part(struct track *t, const struct migrate_action *action,
		      bool hold, const struct locator *sending,
		      uint64_t now_ms)
{
	struct daemon *d = t->assoc->d;
	const struct locator *at = &action->to;
	bool tombstone = action->type == MIGRATE_ACCEPT_DEL &&
			 !is_yielded(t, at);
	struct flow *first = t->group.at, *end, *f;
	uint32_t n = 0;
	int err = 0;

	divert_begin(d);
	d->divert.they_offer = t->side == FLOW_THEIRS &&
			       action->type == MIGRATE_ACCEPT_ADD;
	d->divert.we_switch = t->side == FLOW_OURS &&
			      action->type == MIGRATE_SWITCH;
	for (f = first; f && n < TRACK_PART;
	     f = LIST_NEXT(f, in_group[t->side]), n++) {
		bool held = f->hold;

		if (!err)
			err = change(t, f, action->type, at);
		if (!err && sends_by(action->type))
			settle_ceded(d, f);
		if (t->walk_ifindex && !err)
			track_reverse(t, f, at, t->walk_ifindex);
		if (hold || decides_hold(action->type))
			f->hold = track_holds(f);
		divert_add(d, f, tombstone, now_ms, &err);
		f->was_held = held;
	}
	end = f;
	d->divert.we_switch = d->divert.they_offer = false;
	err = divert_commit(d, err);
	for (f = first; f != end; f = LIST_NEXT(f, in_group[t->side])) {
		divert_settle(d, f, tombstone, now_ms, err);
		if (err) {
			change_back(t, f, action->type, at, sending);
			f->hold = f->was_held;
		} else if (f->hold && !f->was_held && f->transit) {
			f->transit->held_ms = now_ms;
		}
	}
	if (!err)
		t->group.at = end;
	t->assoc->turn_flows += n + TRANSACTION;
	return err;
}

/* What was done before another part failed: up to `end`. */
static void undo(struct track *t, const struct migrate_action *action,
		 const struct locator *sending, const struct flow *end,
		 uint64_t now_ms)
{
	struct daemon *d = t->assoc->d;
	struct flow *first, *f = LIST_FIRST(&t->group.flows);
	int err;

	while (f != end) {
		unsigned int n = 0;

		err = 0;
		divert_begin(d);
		for (first = f; f != end && n < TRACK_PART;
		     f = LIST_NEXT(f, in_group[t->side]), n++) {
			change_back(t, f, action->type, &action->to, sending);
			f->hold = f->was_held;
			divert_add(d, f, false, now_ms, &err);
		}
		err = divert_commit(d, err);
		for (; first != f; first = LIST_NEXT(first, in_group[t->side]))
			divert_settle(d, first, false, now_ms, err);
	}
}

/* A peer whose flows have had theirs in this turn waits for the next: others'
 * messages come before. */
static bool has_turn(struct assoc *a, uint32_t flows)
{
	if (a->turn != a->d->turn) {
		a->turn = a->d->turn;
		a->turn_flows = 0;
	}
	return !a->turn_flows ||
	       a->turn_flows + (flows < TRACK_PART ? flows : TRACK_PART) <=
		       TRACK_PART;
}

static int walk_begin(struct track *t, const struct migrate_action *action,
		      uint64_t now_ms)
{
	int err = discover_hear_ends(t->assoc->d, now_ms);

	if (err)
		return err;
	t->walk_ifindex = action->type == MIGRATE_ACCEPT_ADD ||
					  sends_by(action->type) ?
		track_ifindex(t, &action->to.addr) : 0;
	t->group.at = LIST_FIRST(&t->group.flows);
	t->walking = true;
	return 0;
}

static void walk_end(struct track *t, enum migrate_action_type type)
{
	struct flow *f;

	if (type != MIGRATE_ACCEPT_DEL)
		return;
	LIST_FOREACH(f, &t->group.flows, in_group[t->side]) {
		end_forgotten(t, f);
		track_at_home(t->assoc->d, f);
		if (f->transit)
			f->transit->next[t->side].ports = 0;
	}
}

int track_apply(struct track *t, const struct migrate_action *action,
		bool hold, const struct locator *sending, bool all,
		uint64_t now_ms)
{
	int err = t->walking ? 0 : walk_begin(t, action, now_ms);
	struct flow *from;

	if (err)
		return err;
	hold = hold || action->type == MIGRATE_HOLD;
	do {
		from = t->group.at;
		if (!has_turn(t->assoc, t->group.digest.count) && !all)
			return TRACK_MORE;
		err = apply_part(t, action, hold, sending, now_ms);
		if (err)
			break;
		/* What comes from now on must not overtake what was held. */
		if (t->group.at && sends_by(action->type))
			let_go(t, from, t->group.at);
	} while (t->group.at);
	t->walking = false;
	t->group.at = NULL;
	if (err) {
		undo(t, action, sending, from, now_ms);
		return err;
	}
	walk_end(t, action->type);
	note_gap(t, hold ? MIGRATE_HOLD : action->type, now_ms);
	if (sends_by(action->type))
		switched(t, &sending->addr, &action->to.addr);
	return 0;
}
