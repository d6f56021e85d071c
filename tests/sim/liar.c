/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * liar: a third host with a valid key.
 *
 * Owns what it says: it has a session and a flow with each of the two, sends
 * from any address, knows what anyone could see or guess (numbers, locators,
 * flows), and of what is secret only what has come to it. Never touches the
 * others' state, never uses a session that is not its own.
 */
#include "sim.h"

#include <string.h>

#define LATE_ANSWER_MS 100000

static int own_addr(struct world *w)
{
	return PAIR_ADDRS + (int)world_pick(w, ADDRS);
}

static int addr_of(struct world *w, int id)
{
	return id * ADDRS + (int)world_pick(w, ADDRS);
}

void liar_start(struct world *w)
{
	struct liar *l = &w->liar;

	for (int id = 0; id < HOSTS; id++) {
		l->manner[id] = (enum manner)world_pick(w, MANNERS);
		l->session[id] = LIAR_SESSION | ++w->sessions;
		l->at[id] = own_addr(w);
	}
}

/* Authentic, as its own; the addresses are what it says they are. */
static void say(struct world *w, int id, struct dgram *d, uint64_t after_ms)
{
	d->from_host = LIAR;
	d->session = d->kind == D_HELLO ? w->liar.asked[id] :
					  w->liar.session[id];
	d->truly_gone = NO_ADDR;
	d->len = post_size(d);
	d->forged = true;
	w->stats.lies++;
	if (after_ms == 0) {
		world_send(w, d);
		return;
	}
	d->sealed_src = d->src;
	d->sealed_dst = d->dst;
	world_post(w, w->now + after_ms, d);
}

/* To where it comes from, as whoever was asked: what was relayed to it is
 * answered in the name of the address that it went to. */
static void answer(struct world *w, const struct dgram *d, struct dgram *a)
{
	int id = d->from_host;
	uint64_t after_ms = 0;

	a->src = d->sealed_dst;
	a->dst = d->src;
	switch (w->liar.manner[id]) {
	case MANNER_SILENT:
		if (world_chance(w, 900))
			return;
		break;
	case MANNER_LATE:
		after_ms = 1 + world_pick(w, LATE_ANSWER_MS);
		break;
	case MANNER_FLIPS:
		if (world_chance(w, 500))
			a->src = own_addr(w);
		if (world_chance(w, 300))
			a->dst = addr_of(w, id);
		break;
	case MANNER_WRONG:
		if (world_chance(w, 500))
			a->challenge[0] ^= 1;
		if (world_chance(w, 300))
			a->seq += world_pick(w, 3);
		break;
	default:
		break;
	}
	say(w, id, a, after_ms);
}

static void name_track(const struct world *w, int id, struct dgram *d,
		       unsigned int track, bool own)
{
	const struct host *h = &w->host[id];

	d->track = track;
	d->track_number[track] = own ? h->follower[track].track :
				       h->mover[track].track;
}

/* The host has a locator of its own to change. */
static void answer_move(struct world *w, const struct dgram *d)
{
	const struct host *h = &w->host[d->from_host];
	struct dgram a = { .kind = D_ACCEPT, .seq = d->seq };

	name_track(w, d->from_host, &a, LIAR_TRACK, false);
	a.accepted_addr = sim_addr_number(&h->mover[LIAR_TRACK].target.addr);
	for (unsigned int i = 0; i < sizeof(a.challenge); i++)
		a.challenge[i] = (uint8_t)world_random(w);
	if (world_chance(w, 200)) {
		a.kind = D_REFUSE;
		a.reason = (enum reason)world_pick(w, REASON_MAX + 5);
	} else if (world_chance(w, 100)) {
		a.kind = D_DONE;
	}
	answer(w, d, &a);
}

static void answer_accept(struct world *w, const struct dgram *d)
{
	struct liar *l = &w->liar;
	int id = d->from_host;
	struct dgram a = { .kind = D_PROVE, .seq = d->seq };

	memcpy(l->challenge[id], d->challenge, sizeof(d->challenge));
	memcpy(a.challenge, d->challenge, sizeof(a.challenge));
	name_track(w, id, &a, LIAR_TRACK, true);
	a.to = w->host[id].follower[LIAR_TRACK].offer;
	answer(w, d, &a);
}

void liar_receive(struct world *w, const struct dgram *d)
{
	struct dgram a = { .kind = D_DONE, .seq = d->seq };
	struct liar *l = &w->liar;
	int id = d->from_host;

	/* What is not sealed for it is noise. */
	if (!w->has_liar || id == LIAR ||
	    (d->kind != D_NONCE && host_whose(d->session) != OTHER_LIAR))
		return;
	/* Of a challenge it knows from whom it is. */
	for (unsigned int i = 0; i < CHALLENGES; i++) {
		struct challenge_record *c = &w->host[id].challenge[i];

		if (d->kind == D_ACCEPT && !memcmp(c->challenge, d->challenge,
						   sizeof(c->challenge)))
			c->heard_at = d->sealed_dst;
	}
	switch (d->kind) {
	case D_WELCOME:
		if (d->session != l->asked[id])
			break;
		l->session[id] = d->session;
		a.kind = D_PROBE;
		answer(w, d, &a);
		break;
	case D_PROBE:
		a.kind = D_PROBE_ACK;
		memcpy(a.challenge, d->challenge, sizeof(a.challenge));
		answer(w, d, &a);
		break;
	case D_MOVE:
		answer_move(w, d);
		break;
	case D_ACCEPT:
		answer_accept(w, d);
		break;
	case D_PROVE:
		name_track(w, id, &a, LIAR_TRACK, false);
		a.accepted_addr = sim_addr_number(
			&w->host[id].mover[LIAR_TRACK].target.addr);
		answer(w, d, &a);
		break;
	case D_DONE:
		l->at[id] = sim_addr_number(
			&w->host[id].follower[LIAR_TRACK].sending.addr);
		break;
	case D_NONCE:
		if (d->track != LIAR_TRACK)
			break;
		a = *d;
		a.kind = D_NONCE_BACK;
		answer(w, d, &a);
		break;
	default:
		break;
	}
}

/* ---- of its own accord -------------------------------------------------- */

/* Where it would have others sent to: itself, one of the two, or nobody. */
static int anywhere(struct world *w)
{
	if (w->liar.floods)
		return w->liar.flood_from;
	return world_chance(w, 500) ? own_addr(w) :
				      (int)world_pick(w, ALL_ADDRS);
}

static uint64_t next_seq(struct world *w, int id)
{
	static const uint64_t jumps[] = { (uint64_t)1 << 32,
					  ((uint64_t)1 << 32) + 2,
					  (uint64_t)1 << 63, UINT64_MAX };
	uint64_t *seq = &w->liar.seq[id];

	if (world_chance(w, 100)) /* once more */
		return *seq - world_pick(w, 3);
	if (world_chance(w, 50))
		return *seq + jumps[world_pick(w, 4)];
	return ++*seq;
}

static void say_move(struct world *w, int id)
{
	const struct host *h = &w->host[id];
	unsigned int track = world_chance(w, 700) ? LIAR_TRACK :
						    world_pick(w, TRACKS);
	struct dgram d = { .kind = D_MOVE, .seq = next_seq(w, id) };
	int to = anywhere(w);

	name_track(w, id, &d, track, true);
	if (track != LIAR_TRACK) /* whose numbers it can guess */
		d.seq = h->follower[track].floor + world_pick(w, 3);
	d.src = world_chance(w, 800) ? to : anywhere(w);
	d.dst = addr_of(w, id);
	d.from = h->follower[track].sending.addr;
	d.to.addr = sim_addr(to);
	d.to.ports = world_chance(w, 200) ? world_pick(w, 5) : 0;
	d.from_gone = world_chance(w, 300);
	d.digest = member_digest(h, false, track) +
		   (w->liar.floods || world_chance(w, 100));
	say(w, id, &d, 0);
}

/* With a challenge that it was given once, for one that it was not. */
static void say_prove(struct world *w, int id)
{
	const struct host *h = &w->host[id];
	unsigned int track = world_pick(w, MOVERS);
	const struct follower *f = &h->follower[track];
	struct dgram d = { .kind = D_PROVE, .to = f->offer };

	name_track(w, id, &d, track, true);
	d.seq = f->state == FOLLOWER_OFFERED ? f->pending : f->committed;
	d.src = world_chance(w, 500) ? sim_addr_number(&d.to.addr) :
				       anywhere(w);
	d.src = d.src == NO_ADDR ? own_addr(w) : d.src;
	d.dst = addr_of(w, id);
	memcpy(d.challenge, w->liar.challenge[id], sizeof(d.challenge));
	say(w, id, &d, 0);
}

/* What the host has not asked, or has asked somebody else. */
static void say_answer(struct world *w, int id)
{
	const struct host *h = &w->host[id];
	unsigned int track = world_pick(w, MOVERS);
	struct dgram d = { .kind = (enum dgram_kind)(
				   D_ACCEPT + (int)world_pick(w, 4)) };

	if (d.kind == D_PROVE)
		d.kind = D_DONE;
	name_track(w, id, &d, track, false);
	d.seq = h->mover[track].seq - world_chance(w, 200);
	d.reason = (enum reason)world_pick(w, REASON_MAX);
	d.accepted_addr = sim_addr_number(&h->mover[track].target.addr);
	d.src = anywhere(w);
	d.dst = d.accepted_addr != NO_ADDR ? d.accepted_addr : addr_of(w, id);
	say(w, id, &d, 0);
}

static void say_sync(struct world *w, int id)
{
	const struct host *h = &w->host[id];
	struct dgram d = { .kind = D_SYNC, .answer = world_chance(w, 300) };

	for (unsigned int t = 0; t < MOVERS; t++) {
		d.track_number[t] = h->follower[t].track;
		d.their_number[t] = h->mover[t].track;
		d.own[t].committed = world_chance(w, 300) ?
			(uint64_t)1 << world_pick(w, 64) :
			h->follower[t].committed + world_pick(w, 3);
		d.own[t].locator = sim_addr(anywhere(w));
		d.theirs[t] = world_chance(w, 500) ? 0 :
			      h->mover[t].committed + world_pick(w, 3);
	}
	d.digest = world_random(w);
	d.src = anywhere(w);
	d.dst = addr_of(w, id);
	say(w, id, &d, 0);
}

/* Whoever sees a flow's packets may claim it while nobody owns it (sacip(7),
 * "Security Considerations"): so it shows a right proof only where that must
 * not help it. */
static void say_flows(struct world *w, int id)
{
	struct dgram d = { .kind = world_chance(w, 700) ? D_FLOWS : D_LIST,
			   .flow = world_pick(w, FLOWS) };
	const struct flow_end *e = &w->host[id].flow[d.flow];

	d.generation = e->generation;
	d.proof = e->owner != OWNER_NONE && world_chance(w, 500);
	d.src = world_chance(w, 500) ? sim_addr_number(&e->peer.addr) :
				       anywhere(w);
	d.src = d.src == NO_ADDR ? own_addr(w) : d.src;
	d.dst = addr_of(w, id);
	for (unsigned int f = 0; f < FLOWS; f++) {
		d.member[f].generation = w->host[id].flow[f].generation;
		d.member[f].open = world_chance(w, 500);
	}
	say(w, id, &d, 0);
}

/* So small that their answers are what counts. */
static void say_small(struct world *w, int id)
{
	struct dgram d = { .kind = world_chance(w, 700) ? D_PROBE :
							  D_PROBE_ACK };

	d.src = anywhere(w);
	d.dst = addr_of(w, id);
	d.challenge[0] = (uint8_t)world_pick(w, 6);
	say(w, id, &d, 0);
}

static void say_hello(struct world *w, int id)
{
	struct dgram d = { .kind = D_HELLO };

	w->liar.asked[id] = LIAR_SESSION | ++w->sessions;
	d.src = anywhere(w);
	d.dst = addr_of(w, id);
	say(w, id, &d, 0);
}

void liar_begin_flood(struct world *w)
{
	const struct host *h = &w->host[world_pick(w, HOSTS)];

	if (w->liar.floods)
		return;
	w->liar.floods = true;
	w->liar.flood = world_pick(w, 100);
	w->liar.flood_from = sim_addr_number(
		&h->mover[world_pick(w, TRACKS)].sending.addr);
	tell(w, "the third host floods, from %d, by %u", w->liar.flood_from,
	     w->liar.flood);
}

void liar_act(struct world *w)
{
	int id = (int)world_pick(w, HOSTS);
	unsigned int n = world_chance(w, 50) ? world_pick(w, 60) : 1;
	unsigned int what = world_pick(w, 100);

	if (w->liar.floods) {
		what = w->liar.flood;
		id = 1 - w->liar.flood_from / ADDRS;
		n = 1;
	}
	if (world_chance(w, 50))
		w->liar.manner[id] = (enum manner)world_pick(w, MANNERS);
	for (; n > 0; n--) {
		if (what < 40)
			say_move(w, id);
		else if (what < 50)
			say_prove(w, id);
		else if (what < 60)
			say_answer(w, id);
		else if (what < 70)
			say_sync(w, id);
		else if (what < 80)
			say_flows(w, id);
		else if (what < 92)
			say_small(w, id);
		else
			say_hello(w, id);
	}
}
