/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * member: flows that end, begin, enter tracks and leave them.
 *
 * Owns which flows are in the tracks of a host, and a stand-in for FLOWS:
 *
 *	host 0                                  host 1
 *	not in            <- ASK --             not in
 *	names a track     -- FLOWS, place ->    place_judge(): in
 *	place_judge(): in <- FLOWS_ACK, place
 *
 * The proof is left out: it only takes time. LIST stands for FLOWS complete.
 */
#include "sim.h"

#include <string.h>

#include "mutant.h"
#include "place.h"

#define CLAIM_MS 200
#define QUIET_MS 3000 /* after it was let go */
#define UNANSWERED 20 /* claims, then the session may be dead */

static struct mover *own_mover(struct host *h, unsigned int f)
{
	return &h->mover[host_own_track(h, f)];
}

static struct follower *peers_follower(struct host *h, unsigned int f)
{
	return &h->follower[host_peer_track(h, f)];
}

uint64_t member_digest(const struct host *h, bool mover, unsigned int track)
{
	uint64_t sum = 0;

	for (unsigned int f = 0; f < ALL_FLOWS; f++)
		if (h->flow[f].in &&
		    ((track == ALL_TRACKS && f < FLOWS) ||
		     (mover ? host_own_track(h, f) :
			      host_peer_track(h, f)) == track))
			sum += (h->flow[f].generation * FLOWS + f + 1) *
			       0x9e3779b97f4a7c15;
	return sum;
}

/* ---- entering and leaving ------------------------------------------------ */

static bool may_join(struct host *h, unsigned int f)
{
	const struct mover *m = own_mover(h, f);

	return m->state == MOVER_STEADY && m->n_accepted == 1 &&
	       locator_equal(&m->current, &h->flow[f].own);
}

static bool may_enter(struct host *h, unsigned int f,
		      const struct wire_place *named)
{
	const struct follower *to = peers_follower(h, f);
	const struct place_entry e = { .track = to,
				       .here = h->flow[f].peer };

	return may_join(h, f) && to->track == named->track &&
	       place_judge(&e, named) == PLACE_AGREED;
}

static void enter(struct world *w, struct host *h, unsigned int f,
		  uint64_t order)
{
	trace(w, "host %d: flow %u enters", h->id, f);
	h->flow[f].in = true;
	h->flow[f].proved_order = order;
	h->flow[f].owner = OWNER_PAIR;
	h->flow[f].anew = w->amnesia;
	w->stats.entered++;
	kernel_fit(w, h, f);
	check_host(w, h);
}

/* Sent as if there were no tracks: leaving them changes nothing. */
static bool is_not_moved(struct host *h, unsigned int f)
{
	return locator_equal(&own_mover(h, f)->sending, &h->flow[f].own) &&
	       locator_equal(&peers_follower(h, f)->sending, &h->flow[f].peer);
}

static void leave(struct world *w, struct host *h, unsigned int f)
{
	unsigned int track = host_own_track(h, f);

	trace(w, "host %d: flow %u leaves", h->id, f);
	h->flow[f].in = false;
	h->flow[f].owner = OWNER_NONE;
	h->flow[f].n_held = 0;
	h->flow[f].quiet_ms = w->now + QUIET_MS;
	if (h->mover[track].state == MOVER_ASKED)
		h->left_seq[track] = h->mover[track].seq;
	/* What drains is cut off. */
	host_disturb(w, h);
	kernel_fit(w, h, f);
	check_host(w, h);
}

/* By its own will: never with an offer of the peer's that names it. */
void member_let_go(struct world *w, struct host *h, unsigned int f)
{
	const struct mover *m = own_mover(h, f);

	if (!h->up || h->stopped || h->asleep || !h->flow[f].in ||
	    !is_not_moved(h, f) ||
	    !place_is_settled(peers_follower(h, f)) ||
	    (m->state != MOVER_STEADY && m->state != MOVER_ASKED))
		return;
	for (unsigned int i = 0; i < m->n_accepted; i++)
		if (m->accepted[i].proved_seq > 0 &&
		    !locator_equal(&m->accepted[i].locator, &m->current))
			return;
	leave(w, h, f);
}

/* ---- a flow's life ----------------------------------------------------- */

static void end_flow(struct world *w, struct host *h, unsigned int f)
{
	if (!h->flow[f].open)
		return;
	trace(w, "host %d: flow %u ends", h->id, f);
	h->flow[f].open = false;
	h->flow[f].in = false;
	h->flow[f].n = 0;
	h->flow[f].n_held = 0;
	check_host(w, h);
}

/* The other end hears of it a while later. */
static void end_both(struct world *w, struct host *first, unsigned int f)
{
	struct dgram later = { .kind = D_CLOSE, .flow = f,
			       .from_host = 1 - first->id,
			       .generation = first->flow[f].generation };

	end_flow(w, first, f);
	world_post(w, w->now + world_pick(w, 2000), &later);
}

void member_close(struct world *w, unsigned int f)
{
	if (w->host[0].flow[f].open && w->host[1].flow[f].open)
		end_both(w, &w->host[world_pick(w, HOSTS)], f);
}

/* Where the track is, if the flow is to have a chance to enter it. */
static struct locator first_locator(struct world *w, struct host *h,
				    unsigned int f)
{
	struct locator l = own_mover(h, f)->current;
	int i = sim_addr_number(&l.addr) % ADDRS;

	l.ports = 0;
	if (h->owned[i] && world_chance(w, 900))
		return l;
	i = random_own(w, h);
	memset(&l, 0, sizeof(l));
	if (i != NO_ADDR)
		l.addr = sim_addr(h->id * ADDRS + i);
	return l;
}

void member_open(struct world *w, unsigned int f)
{
	struct locator at[HOSTS];

	for (int id = 0; id < HOSTS; id++) {
		at[id] = first_locator(w, &w->host[id], f);
		if (w->host[id].flow[f].open || !addr_is_set(&at[id].addr))
			return;
	}
	trace(w, "flow %u begins, %d to %d", f,
	      sim_addr_number(&at[0].addr), sim_addr_number(&at[1].addr));
	for (int id = 0; id < HOSTS; id++) {
		struct flow_end *e = &w->host[id].flow[f];

		memset(e, 0, sizeof(*e));
		e->own = at[id];
		e->peer = at[1 - id];
		e->open = true;
		e->anew = w->amnesia;
		e->generation = w->generations + 1;
		kernel_fit(w, &w->host[id], f);
	}
	w->generations++;
}

/* ---- messages ---------------------------------------------------------- */

static void name_flow(struct world *w, struct host *h, enum dgram_kind kind,
		      unsigned int f, uint64_t nonce)
{
	const struct flow_end *e = &h->flow[f];
	struct dgram d = { .kind = kind, .from_host = h->id, .flow = f,
			   .session = h->session, .nonce = nonce,
			   .order = ++w->made, .generation = e->generation,
			   .src = sim_addr_number(&e->own.addr),
			   .dst = sim_addr_number(&e->peer.addr) };

	place_fill(own_mover(h, f), &d.place);
	if (host_owns(h, &e->own.addr))
		post_send(w, h, OTHER_PAIR, &d);
}

static void list_fill(struct world *w, const struct host *h, struct dgram *d)
{
	d->order = ++w->made;
	for (unsigned int f = 0; f < FLOWS; f++) {
		d->member[f].generation = h->flow[f].generation;
		d->member[f].open = h->flow[f].open;
		d->member[f].in = h->flow[f].in;
	}
}

void member_list(struct world *w, struct host *h)
{
	struct dgram d = { .kind = D_LIST, .from_host = h->id,
			   .session = h->session };

	/* What is being proved starts anew. */
	for (unsigned int f = 0; f < FLOWS; f++)
		h->flow[f].nonce++;
	list_fill(w, h, &d);
	for (int i = 0; i < ADDRS; i++) {
		d.src = h->id * ADDRS + i;
		if (h->owned[i])
			host_send_known(w, h, OTHER_PAIR, &d);
	}
}

/* One that was made before a flow was proved says nothing of it. */
static void receive_list(struct world *w, struct host *h,
			 const struct dgram *d)
{
	struct dgram answer = { .kind = D_LIST_ACK, .from_host = h->id,
				.session = h->session, .src = d->dst,
				.dst = d->src };

	for (unsigned int f = 0; f < FLOWS && !w->failed; f++) {
		struct flow_end *e = &h->flow[f];

		if (!e->open || d->member[f].generation < e->generation)
			continue;
		if (d->member[f].generation > e->generation ||
		    !d->member[f].open)
			end_flow(w, h, f);
		else if (!e->in || d->member[f].in ||
			 d->order < e->proved_order)
			continue;
		else if (is_not_moved(h, f))
			leave(w, h, f);
		else
			/* Let go by one that had not heard of the move, after a
			 * lease: nobody translates it there. */
			end_both(w, h, f);
	}
	if (d->kind != D_LIST || w->failed)
		return;
	list_fill(w, h, &answer);
	post_send(w, h, OTHER_PAIR, &answer);
}

void member_receive(struct world *w, struct host *h, const struct dgram *d)
{
	struct flow_end *e = &h->flow[d->flow];

	h->unanswered = 0;
	if (d->kind == D_LIST || d->kind == D_LIST_ACK) {
		receive_list(w, h, d);
		return;
	}
	if (!e->open || e->generation != d->generation)
		return;
	switch (d->kind) {
	case D_ASK:
		if (e->in || may_join(h, d->flow))
			name_flow(w, h, D_FLOWS, d->flow, e->nonce);
		break;
	case D_FLOWS:
		if (!e->in && w->now >= e->quiet_ms &&
		    may_enter(h, d->flow, &d->place))
			enter(w, h, d->flow, d->order);
		if (e->in)
			name_flow(w, h, D_FLOWS_ACK, d->flow, d->nonce);
		break;
	default:
		if (!e->in && d->nonce == e->nonce &&
		    may_enter(h, d->flow, &d->place))
			enter(w, h, d->flow, d->order);
		break;
	}
}

/* What is owned stays so, whatever is proved; what is not needs an address that
 * has answered, and a proof. Of what it lists only what is its own counts. */
void member_claimed(struct world *w, struct host *h, const struct dgram *d)
{
	struct flow_end *e = &h->flow[d->flow];
	struct dgram answer = { .kind = d->kind == D_LIST ? D_LIST_ACK :
							    D_FLOWS_ACK,
				.from_host = h->id, .session = h->liar_session,
				.flow = d->flow, .nonce = d->nonce,
				.src = d->dst, .dst = d->src };
	bool may = e->owner == OWNER_NONE && d->proof &&
		   post_is_valid(h, OTHER_LIAR, sim_addr_number(&e->peer.addr));

	if (d->kind == D_LIST_ACK || d->kind == D_FLOWS_ACK)
		return;
	if (d->kind == D_FLOWS && e->open && e->generation == d->generation &&
	    (may || (d->proof && MUTANT(owner_unchecked))))
		e->owner = OWNER_LIAR;
	if (d->kind == D_LIST && MUTANT(owner_unchecked))
		receive_list(w, h, d);
	post_send(w, h, OTHER_LIAR, &answer);
	check_host(w, h);
}

void member_event(struct world *w, struct host *h, const struct dgram *d)
{
	struct dgram again = *d;
	bool asks = false;

	if (d->kind == D_CLOSE) {
		if (h->flow[d->flow].generation == d->generation)
			end_flow(w, h, d->flow);
		return;
	}
	world_post(w, w->now + CLAIM_MS + world_pick(w, CLAIM_MS), &again);
	for (unsigned int f = 0; f < FLOWS && h->up && !h->stopped &&
				 !h->asleep; f++) {
		const struct flow_end *e = &h->flow[f];

		if (!e->open || e->in || w->now < e->quiet_ms)
			continue;
		asks = true;
		if (h->id == 1)
			name_flow(w, h, D_ASK, f, 0);
		else if (may_join(h, f))
			name_flow(w, h, D_FLOWS, f, e->nonce);
	}
	if (asks && ++h->unanswered == UNANSWERED) {
		h->unanswered = 0;
		host_hello(w, h);
	}
}
