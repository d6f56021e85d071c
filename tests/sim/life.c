/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * life: how a daemon begins, stops, dies and comes back, in small.
 *
 * Owns what it knows then. Never decides anything about a handover.
 */
#include "sim.h"

#include <string.h>

#define RENEW_MS 20000

static void catch_up(struct world *w, struct host *h)
{
	h->waking = true;
	host_timers(w, h);
	for (unsigned int t = 0; t < MOVERS && !w->failed; t++)
		host_situation(w, h, t,
			       host_owns(h, &h->mover[t].sending.addr) ?
				       MIGRATE_CAUSE_REFRESH :
				       MIGRATE_CAUSE_GONE, NULL);
	h->waking = false;
	for (unsigned int f = 0; f < ALL_FLOWS && !w->failed; f++)
		kernel_flush(w, h, f);
}

/* Where flow packets go is asked to answer, while it is valid. */
static void renew(struct world *w, struct host *h, const struct dgram *d)
{
	struct dgram again = *d;

	world_post(w, w->now + RENEW_MS, &again);
	for (unsigned int f = 0; f < ALL_FLOWS && h->up && !h->stopped &&
				 !h->asleep; f++) {
		const struct mover *m = &h->mover[host_own_track(h, f)];
		const struct locator *to = follower_locator(
			&h->follower[host_peer_track(h, f)]);

		if (h->flow[f].in && to && !mover_holds(m))
			post_renew(h, host_other(host_own_track(h, f)),
				   sim_addr_number(&m->sending.addr),
				   sim_addr_number(&to->addr));
	}
}

void host_event(struct world *w, struct host *h, const struct dgram *d)
{
	struct mover_event refuse = { .type = MOVER_REFUSE,
				      .reason = REASON_LIMIT, .seq = d->seq };
	struct mover_event untried = { .type = MOVER_UNTRIED, .seq = d->seq };

	switch (d->kind) {
	case D_SITUATION:
		if (d->outside)
			host_news(w, h);
		if (d->cause == MIGRATE_CAUSE_RETRY)
			host_peer(w, h)->digest_differs[d->track] = false;
		host_situation(w, h, d->track, d->cause,
			       d->has_candidate ? &d->to : NULL);
		break;
	case D_NO_PORTS:
		if (h->up && !h->stopped && !h->asleep)
			host_step_mover(w, h, d->track, &refuse, NULL);
		break;
	case D_UNTRIED:
		if (h->up && !h->stopped && !h->asleep &&
		    h->mover[d->track].trying)
			host_step_mover(w, h, d->track, &untried, NULL);
		break;
	case D_RESUME:
		if (w->now < h->resume_ms || (!h->stopped && !h->asleep))
			break;
		h->stopped = false;
		h->asleep = false;
		host_disturb(w, h);
		if (h->up)
			catch_up(w, h);
		if (h->up && h->session == 0)
			host_hello(w, h);
		break;
	case D_RESTART:
		if (!h->up)
			host_restart(w, h, d->forged);
		break;
	case D_HELLO_TIMER:
		if (!h->hello_waits)
			break;
		h->hello_waits = false;
		if (h->up && !h->stopped && !h->asleep) {
			host_hello_again(w, h);
		} else if (h->up) {
			h->hello_waits = true;
			world_post(w, w->now + 1000, d);
		}
		break;
	case D_CLAIM_TIMER:
	case D_CLOSE:
		member_event(w, h, d);
		break;
	case D_RENEW:
		renew(w, h, d);
		break;
	default:
		break;
	}
}

void host_crash(struct world *w, struct host *h, uint64_t for_ms)
{
	struct dgram d = { .kind = D_RESTART, .from_host = h->id };

	(void)for_ms;
	h->up = false;
	h->session = 0;
	h->liar_session = h->liar_next = 0;
	h->previous_session = 0;
	h->next_session = 0;
	h->hello_session = 0;
	h->hello_waits = false;
	post_forget(h);
	host_disturb(w, h);
	for (unsigned int f = 0; f < ALL_FLOWS; f++)
		h->flow[f].n_held = 0;
	/* None of this is in the journal. */
	for (unsigned int t = 0; t < MOVERS; t++) {
		h->has_later[t] = false;
		h->answered_seq[t] = h->n_asked[t] = 0;
		memset(&h->answers[t], 0, sizeof(h->answers[t]));
	}
	world_post(w, w->now + for_ms, &d);
}

/* Where the flows of an owner's track begin that `h` has in it. */
static struct locator first_locator(const struct host *h,
				    const struct host *owner, unsigned int t)
{
	struct locator l = owner->mover[t].current;

	for (unsigned int f = 0; f < FLOWS; f++)
		if (h->flow[f].in && host_own_track(owner, f) == t)
			return owner == h ? h->flow[f].own : h->flow[f].peer;
	l.ports = 0;
	return l;
}

/* Without its journal a host begins new tracks, which its peer follows from
 * the beginning, and knows nothing about the peer's. */
static void forget_everything(struct world *w, struct host *h)
{
	struct host *p = host_peer(w, h);

	h->forgot_ms = w->now;
	for (unsigned int t = 0; t < TRACKS; t++) {
		const struct locator own = first_locator(h, h, t);
		const struct locator theirs = first_locator(h, p, t);

		mover_init(&h->mover_journal[t], ++w->track_numbers, &own);
		follower_init(&p->follower[t], w->track_numbers, &own);
		p->follower_journal[t] = p->follower[t];
		follower_init(&h->follower_journal[t], p->mover[t].track,
			      &theirs);
		h->last_seq[t] = 0;
		h->last_committed[t] = 0;
		h->last_pending[t] = h->last_floor[t] = 0;
		p->last_floor[t] = 0;
		memset(h->named[t], 0, sizeof(h->named[t]));
		p->last_committed[t] = 0;
		p->last_pending[t] = 0;
	}
	/* Who is elsewhere finds no track to be proved anew in. */
	for (unsigned int f = 0; f < FLOWS; f++) {
		struct flow_end *e = &h->flow[f];

		h->flow[f].n = 0;
		e->anew = p->flow[f].anew = false;
		e->in = p->flow[f].in = e->open && p->flow[f].open &&
			locator_equal(&e->own, &h->mover_journal[
				host_own_track(h, f)].current) &&
			locator_equal(&e->peer, &h->follower_journal[
				host_peer_track(h, f)].sending);
		e->open = p->flow[f].open = e->in;
		e->owner = p->flow[f].owner = e->in ? OWNER_PAIR : OWNER_NONE;
		if (!e->open)
			p->flow[f].n = p->flow[f].n_held = 0;
	}
	kernel_reconcile(w, p);
	for (unsigned int f = 0; f < FLOWS; f++)
		kernel_flush(w, p, f);
	/* Of the third host nobody waits for more. */
	memset(&h->flow[LIAR_FLOW], 0, sizeof(h->flow[LIAR_FLOW]));
}

void host_restart(struct world *w, struct host *h, bool amnesia)
{
	h->up = true;
	if (amnesia) {
		w->amnesia = true;
		forget_everything(w, h);
	}
	for (unsigned int t = 0; t < MOVERS; t++) {
		h->mover[t] = h->mover_journal[t];
		h->mover[t].refused = h->mover[t].unsent = false;
		h->mover[t].trying = h->mover[t].again = false;
		if (h->mover[t].repeat_ms == MIGRATE_NEVER)
			h->mover[t].repeat_ms = 0;
		memset(&h->mover[t].numbers, 0, sizeof(h->mover[t].numbers));
		refusals_forget(&h->mover[t].refusals);
		h->follower[t] = h->follower_journal[t];
		h->asked_seq[t] = h->mover[t].seq; /* costs nothing more */
		/* Who has left since is not in the journal. */
		h->left_seq[t] = h->mover[t].state == MOVER_ASKED ?
					 h->mover[t].seq : 0;
	}
	host_disturb(w, h);
	kernel_reconcile(w, h);
	if (h->stopped || h->asleep)
		return; /* D_RESUME does the rest */
	catch_up(w, h);
	host_hello(w, h);
}

/* It has a flow with each of the two, where the first of their own begin. */
static void meet_liar(struct world *w, struct host *h)
{
	struct flow_end *e = &h->flow[LIAR_FLOW];
	const unsigned int t = LIAR_TRACK;
	int at = w->liar.at[h->id];

	h->liar_session = w->liar.session[h->id];
	e->own = h->mover[0].current;
	e->peer.addr = sim_addr(at);
	e->open = e->in = true;
	e->owner = OWNER_LIAR;
	e->generation = (uint64_t)h->id + 1; /* not one flow: one of each */
	mover_init(&h->mover[t], t, &e->own);
	follower_init(&h->follower[t], t, &e->peer);
	h->mover_journal[t] = h->mover[t];
	h->follower_journal[t] = h->follower[t];
	h->said[t][sim_addr_number(&e->own.addr) % ADDRS] = true;
	h->answered[t][at] = true;
	kernel_accept(w, e, &e->own, &e->peer);
	post_session(w, h, OTHER_LIAR, sim_addr_number(&e->own.addr), at);
}

/* Who has none is as if it had: nothing happens to it. */
static void meet_nobody(struct host *h)
{
	const struct locator own = h->mover[0].current;
	const struct locator peer = { .addr = sim_addr(PAIR_ADDRS) };

	mover_init(&h->mover[LIAR_TRACK], LIAR_TRACK, &own);
	follower_init(&h->follower[LIAR_TRACK], LIAR_TRACK, &peer);
	h->mover_journal[LIAR_TRACK] = h->mover[LIAR_TRACK];
	h->follower_journal[LIAR_TRACK] = h->follower[LIAR_TRACK];
}

void host_init(struct world *w, int id, const uint8_t first[TRACKS],
	       const uint8_t peer_first[TRACKS])
{
	struct host *h = &w->host[id];
	struct locator own[TRACKS] = { 0 }, peer[TRACKS] = { 0 };

	h->id = id;
	h->post = w->post[id];
	post_start(w, h);
	h->up = true;
	h->configured = NO_ADDR;
	h->session = 1;
	w->sessions++;
	w->track_numbers = MOVERS;
	for (unsigned int t = 0; t < TRACKS; t++) {
		int p = (1 - id) * ADDRS + peer_first[t];

		own[t].addr = sim_addr(id * ADDRS + first[t]);
		peer[t].addr = sim_addr(p);
		h->owned[first[t]] = true;
		h->said[t][first[t]] = true;
		h->answered[t][p] = true;
		mover_init(&h->mover[t], t, &own[t]);
		follower_init(&h->follower[t], t, &peer[t]);
		h->mover_journal[t] = h->mover[t];
		h->follower_journal[t] = h->follower[t];
	}
	for (unsigned int f = 0; f < FLOWS; f++) {
		h->flow[f].own = own[host_own_track(h, f)];
		h->flow[f].peer = peer[host_peer_track(h, f)];
		h->flow[f].open = h->flow[f].in = true;
		h->flow[f].owner = OWNER_PAIR;
		kernel_accept(w, &h->flow[f], &h->flow[f].own,
			      &h->flow[f].peer);
		post_session(w, h, OTHER_PAIR,
			     sim_addr_number(&h->flow[f].own.addr),
			     sim_addr_number(&h->flow[f].peer.addr));
	}
	if (w->has_liar)
		meet_liar(w, h);
	else
		meet_nobody(h);
}
