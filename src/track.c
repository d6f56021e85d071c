/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * track: flows that move together.
 *
 * Owns the tracks of both ends, who is in them, and the protection of their
 * flows. Never decides a move, never sends a message.
 */
#include "track_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROTECT_AGAIN_MS 60000 /* after a failure */
#define OVERTAKEN_MS 1000 /* an answer, by the word that it is gone there */

struct track *track_find(const struct assoc *a, enum flow_side side,
			 uint32_t id)
{
	struct track *t;

	LIST_FOREACH(t, &a->tracks[side], entry)
		if (t->id == id)
			return t;
	return NULL;
}

static void track_free(struct track *t)
{
	keep_track_end(t);
	work_drop(t);
	LIST_REMOVE(t, entry);
	t->assoc->n_tracks[t->side]--;
	agenda_touch(&t->assoc->d->agenda[AGENDA_MOVES], t->assoc);
	free(t->parts.port);
	free(t->later);
	trial_end(t);
	free(t);
}

/* Tracks that were named for flows that never came. */
static void free_unused(struct assoc *a, enum flow_side side)
{
	struct track *t;
	struct track *next;

	for (t = LIST_FIRST(&a->tracks[side]); t; t = next) {
		next = LIST_NEXT(t, entry);
		if (LIST_EMPTY(&t->group.flows))
			track_free(t);
	}
}

static struct track *track_new(struct assoc *a, enum flow_side side,
			       uint32_t id, const struct locator *at)
{
	struct track *t;

	if (a->n_tracks[side] >= TRACKS_MAX)
		free_unused(a, side);
	if (a->n_tracks[side] >= TRACKS_MAX) {
		REFUSED(a->d, LIMIT);
		return NULL;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->assoc = a;
	t->side = side;
	t->id = id;
	flow_group_init(&t->group);
	t->group.tombs = &a->tombs;
	if (side == FLOW_OURS)
		mover_init(&t->mover, id, at);
	else
		follower_init(&t->follower, id, at);
	LIST_INSERT_HEAD(&a->tracks[side], t, entry);
	a->n_tracks[side]++;
	agenda_touch(&a->d->agenda[AGENDA_MOVES], a);
	return t;
}

void track_free_all(struct assoc *a)
{
	for (int side = 0; side < FLOW_SIDES; side++)
		while (!LIST_EMPTY(&a->tracks[side]))
			track_free(LIST_FIRST(&a->tracks[side]));
}

static uint32_t route_uid(const struct daemon *d, const struct flow *f)
{
	return rtmon_has_uid_rules(d->rtmon) ? f->uid : (uint32_t)-1;
}

/* Only a track that rests on the flow's own locator by identity ports: then
 * the flow needs no state to be a part of it. */
static bool is_joinable(const struct track *t, const struct flow *f,
			uint32_t uid)
{
	const struct locator *at = mover_current(&t->mover);

	return !t->work && t->mover.state == MOVER_STEADY &&
	       t->mover.n_accepted == 1 &&
	       !at->ports && addr_equal(&at->addr, &f->identity.local.addr) &&
	       addr_equal(&t->remote, &f->identity.remote.addr) &&
	       t->mark == f->mark && t->uid == uid;
}

/* What the flow may have seen of this route before its track was there. */
static void inherit_way(struct track *t, const struct flow *f)
{
	struct track *o;

	LIST_FOREACH(o, &t->assoc->tracks[FLOW_OURS], entry)
		if (o != t && addr_equal(&o->remote, &t->remote) &&
		    o->mark == t->mark && o->uid == t->uid)
			way_inherit(&t->way, &o->way, f->first_seen_ms);
}

static struct track *track_get(struct assoc *a, const struct flow *f)
{
	const struct locator at = { .addr = f->identity.local.addr };
	uint32_t uid = route_uid(a->d, f);
	struct track *t;

	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
		if (is_joinable(t, f, uid))
			break;
	if (!t) {
		t = track_new(a, FLOW_OURS, a->next_track, &at);
		if (!t)
			return NULL;
		a->next_track++;
		t->remote = f->identity.remote.addr;
		t->mark = f->mark;
		t->uid = uid;
		t->fresh = true;
		(void)source_look(t, f->first_seen_ms); /* no change yet */
	}
	inherit_way(t, f);
	t->way.preferred = t->way.preferred || f->preferred;
	return t;
}

uint32_t track_for(struct assoc *a, const struct flow *f)
{
	struct track *t = track_get(a, f);

	return t ? t->id : 0;
}

/* The peer may hold the flow on our word about the track that was named for it.
 * Now it hears of another one, which it then holds for that. */
static void owe_move(struct track *t, const struct flow *f)
{
	const struct track *named = track_find(t->assoc, FLOW_OURS,
					       f->claim.own_track);

	if (named && named != t && named->mover.declared_gone)
		t->mover.declared_gone = true;
}

/* The track that it is in, else one to which its coming changes nothing. */
void track_place(struct assoc *a, struct flow *f, struct wire_place *own)
{
	struct track *t = track_of(f, FLOW_OURS);

	if (!t) {
		t = track_get(a, f);
		if (t)
			owe_move(t, f);
	}
	if (t)
		place_fill(&t->mover, own);
}

/* To where it is sent now. */
static struct locator sent_to(const struct flow *f)
{
	const struct track *theirs = track_of(f, FLOW_THEIRS);
	struct locator at = { .addr = f->identity.remote.addr };

	if (theirs)
		return theirs->follower.sending;
	if (!f->path)
		return at;
	at.addr = f->path->send[FLOW_THEIRS].addr;
	for (unsigned int i = 0; i < f->path->n[FLOW_THEIRS]; i++)
		if (endpoint_equal(&f->path->end[FLOW_THEIRS][i].at,
				   &f->path->send[FLOW_THEIRS]))
			at.ports = f->path->end[FLOW_THEIRS][i].ports;
	return at;
}

bool track_met_since(const struct track *t, const struct addr *remote)
{
	return peer_remote_validated_ms(t->assoc->peer, remote) >
	       t->follower.hold_since_ms + OVERTAKEN_MS;
}

bool track_home_met(const struct assoc *a, const struct flow *f,
		    uint64_t now_ms)
{
	const struct track *from = track_of(f, FLOW_THEIRS);
	uint64_t ms = peer_remote_validated_ms(a->peer,
					       &f->identity.remote.addr);

	return ms && now_ms - ms < CLAIM_FRESH_MS &&
	       !(from && from->follower.holding &&
		 !track_met_since(from, &f->identity.remote.addr));
}

enum place_answer track_judge(const struct assoc *a, const struct flow *f,
			      const struct wire_place *named, bool proved,
			      uint64_t now_ms)
{
	const struct track *to = track_find(a, FLOW_THEIRS, named->track);
	const struct track *from = track_of(f, FLOW_THEIRS);
	const struct place_entry e = {
		.track = to ? &to->follower : NULL,
		.from = from ? &from->follower : NULL,
		.here = sent_to(f),
		.home = f->identity.remote.addr,
		.proved = proved,
		.home_met = track_home_met(a, f, now_ms),
	};

	return place_judge(&e, named);
}

bool track_holds(const struct flow *f)
{
	const struct track *ours = track_of(f, FLOW_OURS);
	const struct track *theirs = track_of(f, FLOW_THEIRS);

	return (ours && mover_holds(&ours->mover)) ||
	       (theirs && (follower_holds(&theirs->follower) ||
			   (theirs->unheard_ms &&
			    unheard_concerns(theirs, f))));
}

bool track_is_at_rest(const struct daemon *d, const struct flow *f)
{
	const struct track *ours = track_of(f, FLOW_OURS);
	const struct track *theirs = track_of(f, FLOW_THEIRS);

	return flow_is_plain(f) && !f->hold &&
	       rtmon_usable(d->rtmon, &f->identity.local.addr) &&
	       (!ours || ours->mover.state == MOVER_STEADY) &&
	       (!theirs || theirs->follower.state == FOLLOWER_STEADY);
}

/* ---- entering and leaving -------------------------------------------- */

static void unreverse(struct daemon *d, const struct flow *f,
		      struct flow_end *e)
{
	if (!e->ifindex)
		return;
	retain_unreverse(d->retain, &f->identity.remote.addr, e->ifindex);
	e->ifindex = 0;
}

static void forget_ways_back(struct daemon *d, struct flow *f)
{
	for (int side = 0; f->path && side < FLOW_SIDES; side++)
		for (unsigned int i = 0; i < f->path->n[side]; i++)
			unreverse(d, f, &f->path->end[side][i]);
}

uint32_t track_ifindex(struct track *t, const struct addr *addr)
{
	struct daemon *d = t->assoc->d;
	const struct rtmon_address *own;
	const struct rtmon_link *link;
	struct rtmon_query query = {
		.dst = *addr,
		.uid = (uint32_t)-1,
	};
	struct rtmon_route route;

	if (t->side == FLOW_OURS) {
		own = rtmon_find(d->rtmon, addr);
		if (own)
			return own->ifindex;
		/* Of an earlier run's: it may come back there. */
		link = rtmon_link_by_name(d->rtmon, t->ifname);
		return link ? link->ifindex : 0;
	}
	COUNT(d, ROUTE_LOOKUPS);
	return rtmon_lookup(d->rtmon, &query, &route) ? 0 : route.ifindex;
}

void track_way_back(struct daemon *d, struct flow *f, enum flow_side side,
		    struct flow_end *e, uint32_t ifindex)
{
	struct tuple wire = flow_wire_tuple(f);
	struct retain_way way = {
		.ifindex = ifindex,
		.mark = f->mark,
		.own = side == FLOW_OURS ? e->at.addr : wire.local.addr,
		.remote = side == FLOW_OURS ? wire.remote.addr : e->at.addr,
	};

	if (e->ifindex == ifindex)
		retain_prefer(d->retain, &f->identity.remote.addr, &way);
	else if (!retain_reverse(d->retain, &f->identity.remote.addr, &way))
		e->ifindex = ifindex;
}

static bool has_way_back(const struct flow *f)
{
	for (int side = 0; f->path && side < FLOW_SIDES; side++)
		for (unsigned int i = 0; i < f->path->n[side]; i++)
			if (f->path->end[side][i].ifindex)
				return true;
	return false;
}

/* Packets of the identity need none, unless there is another that would not
 * let them in: home again, while the way there drains. */
void track_reverse(struct track *t, struct flow *f,
		   const struct locator *at, uint32_t ifindex)
{
	struct flow_end *e = flow_end_find(f, t->side, &at->addr, at->ports);
	const struct addr *identity = t->side == FLOW_OURS ?
		&f->identity.local.addr : &f->identity.remote.addr;

	if (!e || !ifindex || (e->ifindex && e->ifindex != ifindex) ||
	    (addr_equal(&at->addr, identity) && !has_way_back(f)))
		return;
	track_way_back(t->assoc->d, f, t->side, e, ifindex);
}

static int adopt_end(struct track *t, struct flow *f,
		     const struct locator *l)
{
	struct endpoint at;
	int err;

	if (t->book && l->ports) {
		uint16_t port = book_port(t->book, l->ports, f->claim.flow_id);

		if (!flow_transit(f))
			return -ENOMEM;
		f->transit->next[t->side].ports = l->ports;
		f->transit->next[t->side].port = port ? port :
			t->side == FLOW_OURS ? f->identity.local.port :
					       f->identity.remote.port;
	}
	memset(&at, 0, sizeof(at));
	at.addr = l->addr;
	at.port = flow_port(f, t->side, l->ports);
	if (flow_end_taken(&t->assoc->d->flows, f, t->side, &at))
		return -EADDRINUSE;
	err = flow_accept(f, t->side, &l->addr, l->ports);
	if (!err)
		track_reverse(t, f, l, track_ifindex(t, &l->addr));
	return err;
}

/* Gives the flow the ends of its track's side: of a track that has moved
 * already, where the peer restarted and proves its flows anew. */
static int adopt(struct track *t, struct flow *f)
{
	const struct accepted *acc = t->side == FLOW_OURS ?
		t->mover.accepted : t->follower.accepted;
	unsigned int n = t->side == FLOW_OURS ? t->mover.n_accepted :
						t->follower.n_accepted;
	const struct locator *send = t->side == FLOW_OURS ?
		mover_locator(&t->mover) : &t->follower.sending;
	const struct addr *identity = t->side == FLOW_OURS ?
		&f->identity.local.addr : &f->identity.remote.addr;
	int err = 0;

	if (n == 1 && !acc[0].locator.ports && !f->path &&
	    addr_equal(&acc[0].locator.addr, identity))
		return 0;
	for (unsigned int i = 0; i < n && !err; i++)
		err = adopt_end(t, f, &acc[i].locator);
	if (!err)
		err = flow_send_by(f, t->side, &send->addr, send->ports);
	for (unsigned int i = f->path ? f->path->n[t->side] : 0; i && !err;
	     i--) {
		struct flow_end *e = &f->path->end[t->side][i - 1];
		bool known = false;

		for (unsigned int j = 0; j < n; j++)
			known = known ||
				(acc[j].locator.ports == e->ports &&
				 addr_equal(&acc[j].locator.addr,
					    &e->at.addr));
		if (known)
			continue;
		unreverse(t->assoc->d, f, e);
		*e = f->path->end[t->side][--f->path->n[t->side]];
	}
	if (!err && flow_is_plain(f))
		forget_ways_back(t->assoc->d, f);
	return err;
}

/* It enters a track that holds, or does not, unlike the one that it left. */
static int divert_again(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	bool held = f->hold;
	int err;

	f->hold = track_holds(f);
	err = divert_flow(d, f, now_ms);
	if (err)
		return err;
	if (!f->hold)
		track_let_flow_go(d, f);
	else if (!held && f->transit)
		f->transit->held_ms = now_ms;
	return 0;
}

static int guard(struct daemon *d, const struct flow *f)
{
	struct rtmon_query query = {
		.dst = f->identity.remote.addr,
		.src = f->identity.local.addr,
		.mark = f->mark,
		.uid = (uint32_t)-1,
	};
	struct rtmon_route route;
	int err;

	COUNT(d, ROUTE_LOOKUPS);
	if (rtmon_lookup(d->rtmon, &query, &route))
		route.mtu = 0;
	err = guards_add(d, f, route.mtu);
	if (err)
		return err;
	/* Gone while it was proved: no event tells of that again. */
	if (!rtmon_find(d->rtmon, &f->identity.local.addr))
		retain_gone(d->retain, &f->identity.local.addr);
	return 0;
}

static int protect(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	int err = guard(d, f);

	if (err)
		return err;
	f->protected = true;
	err = divert_again(d, f, now_ms);
	if (err) {
		f->protected = false;
		promote_forget(f);
		crew_leave(d, f);
		guards_remove(d, f);
	}
	return err;
}

void track_at_home(struct daemon *d, struct flow *f)
{
	if (!f->path || !flow_is_plain(f))
		return;
	forget_ways_back(d, f);
	flow_forget_plain(f);
}

static void forget_path(struct daemon *d, struct flow *f)
{
	forget_ways_back(d, f);
	free(f->path);
	f->path = NULL;
}

static void release_tracks(struct flow *f)
{
	for (int side = 0; side < FLOW_SIDES; side++) {
		struct track *t = track_of(f, (enum flow_side)side);

		flow_group_enter(f, (enum flow_side)side, NULL);
		if (t && side == FLOW_OURS && !f->ended &&
		    t->mover.state == MOVER_ASKED)
			t->left_seq = t->mover.seq;
		if (t && LIST_EMPTY(&t->group.flows))
			track_free(t);
	}
}

/* At home, or where the flow is and held as it is. The latter ends with a MOVE
 * of that track: who declared the flow gone owes it (owe_move()). */
static struct track *begin_theirs(struct assoc *a, const struct flow *f)
{
	const struct locator home = { .addr = f->identity.remote.addr };
	const struct locator here = f->claim.home ? home : sent_to(f);
	const struct track *from = track_of(f, FLOW_THEIRS);
	struct track *t = track_new(a, FLOW_THEIRS, f->claim.peer_track, &here);

	if (!t || !from || f->claim.home)
		return t;
	t->follower.gone = from->follower.gone;
	t->follower.holding = from->follower.holding;
	t->follower.hold_since_ms = from->follower.hold_since_ms;
	return t;
}

static int join(struct assoc *a, struct flow *f, uint64_t now_ms)
{
	struct track *ours = track_of(f, FLOW_OURS);
	struct track *theirs = track_find(a, FLOW_THEIRS, f->claim.peer_track);
	struct track *left = track_of(f, FLOW_THEIRS);

	if (!ours)
		ours = track_find(a, FLOW_OURS, f->claim.own_track);
	if (!ours || !(is_joinable(ours, f, route_uid(a->d, f)) ||
		       f->group[FLOW_OURS] == &ours->group)) {
		/* It has left while the flow was proved. */
		ours = track_get(a, f);
		if (!ours)
			return -ENOSPC;
		owe_move(ours, f);
		claim_set_track(&f->claim, now_ms, ours->id);
	}
	if (!theirs)
		theirs = begin_theirs(a, f);
	if (!theirs)
		return -ENOSPC;
	if (theirs->follower.sending.addr.family !=
	    f->identity.remote.addr.family)
		return -EAFNOSUPPORT;
	flow_group_enter(f, FLOW_OURS, &ours->group);
	flow_group_enter(f, FLOW_THEIRS, &theirs->group);
	mover_settle(&ours->mover, now_ms);
	agenda_touch(&a->d->agenda[AGENDA_MOVES], a);
	if (left && LIST_EMPTY(&left->group.flows))
		track_free(left);
	a->d->fresh = a->d->fresh || ours->fresh;
	return 0;
}

void track_enter(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	struct assoc *a = claim_table_arg(f->claim.table);
	int err;

	err = join(a, f, now_ms);
	if (!err)
		err = adopt(track_of(f, FLOW_OURS), f);
	if (!err)
		err = adopt(track_of(f, FLOW_THEIRS), f);
	if (!err) {
		keep_flow(d, f);
		err = f->protected ? divert_again(d, f, now_ms) :
				     protect(d, f, now_ms);
	}
	if (err) {
		char text[TUPLE_TEXT_MAX];

		assoc_log(a, LOG_LEVEL_WARN, "cannot protect %s: %s",
			  tuple_format(&f->identity, text), strerror(-err));
		f->reason = err == -ENOSPC ? REASON_LIMIT : REASON_SYSTEM;
		d->counters.refused[f->reason]++;
		f->retry_ms = now_ms + PROTECT_AGAIN_MS;
		forget_path(d, f);
		track_leave(d, f, now_ms);
		keep_flow_end(d, f);
		release_tracks(f);
		claim_drop(&f->claim);
		assoc_own(f, NULL);
		return;
	}
	f->reason = REASON_NONE;
	report_flow_event(d, f, "protected", "");
}

/* It goes no longer where its tracks go. True: keep_flush() is to follow. */
static bool keep_again(struct daemon *d, struct flow *f)
{
	if (f->ended)
		keep_flow_end(d, f);
	else if (f->kept)
		keep_flow_later(d, f);
	return f->kept;
}

static void hold_no_more(struct flow *f)
{
	f->hold = false;
	if (f->transit)
		f->transit->held_ms = 0;
}

static void stop_holding(struct daemon *d, struct flow *const *f,
			 unsigned int n, uint64_t now_ms)
{
	int err = 0;

	divert_begin(d);
	for (unsigned int i = 0; i < n; i++)
		divert_add(d, f[i], false, now_ms, &err);
	err = divert_commit(d, err);
	for (unsigned int i = 0; i < n; i++)
		divert_settle(d, f[i], false, now_ms, err);
}

void track_detach_all(struct daemon *d, struct flow *const *f, unsigned int n,
		      uint64_t now_ms)
{
	struct flow *held[TRACK_PART];
	unsigned int n_held = 0;
	bool kept = false;

	for (unsigned int i = 0; i < n; i++) {
		if (f[i]->hold)
			held[n_held++] = f[i];
		release_tracks(f[i]);
		hold_no_more(f[i]);
		kept |= keep_again(d, f[i]);
	}
	if (kept)
		keep_flush(d);
	for (unsigned int i = 0; i < n_held; i++)
		divert_drop_held(d, held[i]);
	if (n_held)
		stop_holding(d, held, n_held, now_ms);
}

void track_detach(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	track_detach_all(d, &f, 1, now_ms);
}

void track_stay(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	release_tracks(f);
	hold_no_more(f);
	divert_drop_held(d, f);
	forget_path(d, f);
	if (keep_again(d, f))
		keep_flush(d);
	divert_flow(d, f, now_ms);
}

void track_leave_all(struct daemon *d, struct flow *const *f, unsigned int n,
		     uint64_t now_ms)
{
	struct flow *gone[TRACK_PART];
	unsigned int n_gone = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (!f[i]->protected)
			continue;
		gone[n_gone++] = f[i];
		f[i]->protected = false;
		hold_no_more(f[i]);
		divert_drop_held(d, f[i]);
		promote_forget(f[i]);
		forget_path(d, f[i]);
	}
	if (!n_gone)
		return;
	divert_leave(d, gone, n_gone, now_ms);
	for (unsigned int i = 0; i < n_gone; i++) {
		guards_remove(d, gone[i]);
		keep_flow_end(d, gone[i]);
		release_tracks(gone[i]);
	}
}

void track_leave(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	track_leave_all(d, &f, 1, now_ms);
}

/* ---- an earlier run's --------------------------------------------------- */

static void restore_mover(struct track *t, const struct mover *m)
{
	t->mover = *m;
	/* What a refused number was to be followed by went with the run. */
	t->mover.refused = false;
	t->mover.again = false;
	if (t->mover.repeat_ms == MIGRATE_NEVER) /* so did a trial */
		t->mover.repeat_ms = 0;
}

struct track *track_restore(struct assoc *a, const struct book_track *b)
{
	const struct journal_track *is = &b->is;
	enum flow_side side = (enum flow_side)is->key.side;
	const struct locator at = { .addr = is->remote };
	struct track *t = track_new(a, side, is->key.id, &at);

	if (!t)
		return NULL;
	if (side == FLOW_OURS)
		restore_mover(t, &is->mover);
	else
		t->follower = is->follower;
	t->remote = is->remote;
	t->mark = is->mark;
	t->uid = is->uid;
	memcpy(t->ifname, is->ifname, sizeof(t->ifname));
	t->tunnel = is->tunnel;
	t->ports = is->ports;
	t->moves = is->moves;
	t->wish = is->wish;
	t->way = is->way;
	t->book = b;
	/* Who has left since MOVE was sent is not in the journal. */
	if (side == FLOW_OURS && t->mover.state == MOVER_ASKED)
		t->left_seq = t->mover.seq;
	return t;
}

/* It may have been held for long when that run ended. */
static uint64_t held_since_ms(struct track *const t[FLOW_SIDES],
			      uint64_t now_ms)
{
	uint64_t ms = now_ms;

	if (mover_holds(&t[FLOW_OURS]->mover) &&
	    t[FLOW_OURS]->mover.hold_since_ms < ms)
		ms = t[FLOW_OURS]->mover.hold_since_ms;
	if (follower_holds(&t[FLOW_THEIRS]->follower) &&
	    t[FLOW_THEIRS]->follower.hold_since_ms < ms)
		ms = t[FLOW_THEIRS]->follower.hold_since_ms;
	return ms;
}

static int no_change(void *ctx, const struct flow_change *c)
{
	(void)ctx;
	(void)c;
	return 0;
}

int track_take(struct daemon *d, struct flow *f,
	       struct track *const t[FLOW_SIDES], uint64_t now_ms)
{
	int err = 0;

	for (int side = 0; t && side < FLOW_SIDES; side++) {
		flow_group_enter(f, (enum flow_side)side, &t[side]->group);
		if (!err)
			err = adopt(t[side], f);
		if (f->transit)
			f->transit->next[side].ports = 0;
	}
	if (!err)
		err = guard(d, f);
	f->protected = !err;
	f->hold = track_holds(f);
	/* As if it had been told to the kernel, which divert_rebuild() does.
	 * What waited in the queues went with who read them. */
	f->leave_queue = true;
	promote_consider(d, f, now_ms);
	f->leave_queue = false;
	if (!err)
		err = flow_steer_prepare(&d->flows, f, false, now_ms,
					 no_change, NULL);
	if (!err) {
		flow_steer_commit(&d->flows, f, false, now_ms);
		if (f->hold && f->transit)
			f->transit->held_ms = held_since_ms(t, now_ms);
		if (!flow_is_plain(f) || f->hold)
			(void)discover_hear_ends(d, now_ms); /* else by dumps */
		return 0;
	}
	flow_steer_forget(&d->flows, f);
	promote_forget(f);
	crew_leave(d, f);
	if (f->protected)
		guards_remove(d, f);
	f->protected = f->hold = false;
	forget_path(d, f);
	release_tracks(f);
	return err;
}
