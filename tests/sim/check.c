/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check: the invariants of sacip(7), looked at from outside.
 *
 * Owns what must be true after every step, of every packet and at the end.
 * Sees both hosts and the truth about the world; changes nothing but the
 * verdict.
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void fail(struct world *w, const char *format, ...)
{
	va_list ap;

	if (w->failed)
		return; /* the first one counts */
	w->failed = true;
	w->failed_as = format;
	va_start(ap, format);
	vsnprintf(w->failure, sizeof(w->failure), format, ap);
	va_end(ap);
}

static void say(struct world *w, const char *format, va_list ap)
{
	printf("# %8llu.%03llu ", (unsigned long long)(w->now / 1000),
	       (unsigned long long)(w->now % 1000));
	vprintf(format, ap);
	putchar('\n');
}

void trace(struct world *w, const char *format, ...)
{
	va_list ap;

	if (w->loudness < STEPS_TOLD)
		return;
	va_start(ap, format);
	say(w, format, ap);
	va_end(ap);
}

void tell(struct world *w, const char *format, ...)
{
	va_list ap;

	if (w->loudness < EVENTS_TOLD)
		return;
	va_start(ap, format);
	say(w, format, ap);
	va_end(ap);
}

/* I3, I2: what the kernel accepts is the product of the two lists. */
static void check_product(struct world *w, const struct host *h,
			  unsigned int f)
{
	const struct flow_end *e = &h->flow[f];
	const struct mover *m = &h->mover[host_own_track(h, f)];
	const struct follower *p = &h->follower[host_peer_track(h, f)];
	unsigned int expected = m->n_accepted * p->n_accepted, found = 0;
	unsigned int accepted = 0;

	if (!e->open)
		return;
	if (!e->in)
		expected = 1;
	for (unsigned int i = 0; i < e->n; i++) {
		if (e->tuple[i].tombstone)
			continue;
		accepted++;
		if (!e->in)
			found += locator_equal(&e->tuple[i].own, &e->own) &&
				 locator_equal(&e->tuple[i].peer, &e->peer);
		for (unsigned int k = 0; e->in && k < expected; k++)
			found += locator_equal(&e->tuple[i].own,
					       &m->accepted[k / p->n_accepted]
							.locator) &&
				 locator_equal(&e->tuple[i].peer,
					       &p->accepted[k % p->n_accepted]
							.locator);
	}
	if (accepted != expected || found != expected)
		fail(w, "I3: host %d flow %u: %u tuples accepted, %u of %u x %u expected ones",
		     h->id, f, accepted, found, m->n_accepted, p->n_accepted);
}

static bool listed(const struct accepted *list, unsigned int n,
		   const struct locator *l)
{
	for (unsigned int i = 0; i < n; i++)
		if (locator_equal(&list[i].locator, l))
			return true;
	return false;
}

/* What a host follows is what the other has asked for, whoever else asks. */
static void check_named(struct world *w, struct host *h, unsigned int t)
{
	const struct host *p = host_peer(w, h);
	const struct follower *f = &h->follower[t];
	const struct named *at = &p->named[t][f->committed % NUMBERS];

	if (f->track != p->mover_journal[t].track)
		return; /* the other has forgotten it */
	if (f->committed > p->mover_journal[t].seq)
		fail(w, "I6: host %d follower %u: %llu was never asked for",
		     h->id, t, (unsigned long long)f->committed);
	if (f->committed > 0 && at->seq == f->committed &&
	    !locator_equal(&at->to, &f->sending))
		fail(w, "I6: host %d follower %u: %llu was asked for another locator than %d",
		     h->id, t, (unsigned long long)f->committed,
		     sim_addr_number(&f->sending.addr));
	at = &p->named[t][f->pending % NUMBERS];
	if (f->state == FOLLOWER_OFFERED && at->seq == f->pending &&
	    !locator_equal(&at->to, &f->offer))
		fail(w, "I6: host %d follower %u: %d is on offer, which %llu was not asked for",
		     h->id, t, sim_addr_number(&f->offer.addr),
		     (unsigned long long)f->pending);
}

/* Nobody uses up numbers so fast: all honest ones after it would be old. */
static void check_jump(struct world *w, struct host *h, unsigned int t)
{
	const struct follower *f = &h->follower[t];

	if (f->floor > h->last_floor[t] &&
	    f->floor - h->last_floor[t] > MIGRATE_JUMP_MAX + 1)
		fail(w, "host %d follower %u: %llu after %llu", h->id, t,
		     (unsigned long long)f->floor,
		     (unsigned long long)h->last_floor[t]);
	h->last_floor[t] = f->floor;
}

static void check_owners(struct world *w, const struct host *h)
{
	for (unsigned int f = 0; f < FLOWS; f++)
		if (h->flow[f].open &&
		    (h->flow[f].owner == OWNER_LIAR ||
		     (h->flow[f].in && h->flow[f].owner != OWNER_PAIR)))
			fail(w, "host %d flow %u: has changed its owner",
			     h->id, f);
}

void check_host(struct world *w, struct host *h)
{
	check_owners(w, h);
	for (unsigned int t = 0; t < TRACKS; t++)
		check_named(w, h, t);
	for (unsigned int t = 0; t < MOVERS; t++) {
		const struct mover *m = &h->mover[t];
		const struct follower *f = &h->follower[t];

		if (m->n_accepted > MIGRATE_ACCEPTED_MAX ||
		    f->n_accepted > MIGRATE_ACCEPTED_MAX)
			fail(w, "host %d: accepted list over its bound", h->id);
		if (!listed(m->accepted, m->n_accepted, &m->current) ||
		    !listed(m->accepted, m->n_accepted, &m->sending) ||
		    (mover_target(m) &&
		     !listed(m->accepted, m->n_accepted, &m->target)))
			fail(w, "host %d mover %u: own locator not accepted",
			     h->id, t);
		if (!listed(f->accepted, f->n_accepted, &f->sending))
			fail(w, "host %d follower %u: locator not accepted",
			     h->id, t);
		if (m->state == MOVER_STEADY && m->holding)
			fail(w, "host %d mover %u: steady and holding", h->id,
			     t);
		if (f->gone && !f->holding)
			fail(w, "host %d follower %u: gone and not held",
			     h->id, t);
		check_jump(w, h, t);
		/* I6 */
		if (m->committed > m->seq || m->committed < h->last_seq[t])
			fail(w, "I6: host %d mover %u: number went back",
			     h->id, t);
		if (f->committed < h->last_committed[t])
			fail(w, "I6: host %d follower %u: number went back",
			     h->id, t);
		if (f->state == FOLLOWER_OFFERED &&
		    f->pending < h->last_pending[t])
			fail(w, "I6: host %d follower %u: %llu offered after %llu",
			     h->id, t, (unsigned long long)f->pending,
			     (unsigned long long)h->last_pending[t]);
		h->last_seq[t] = m->committed;
		h->last_committed[t] = f->committed;
		if (f->state == FOLLOWER_OFFERED)
			h->last_pending[t] = f->pending;
		else if (f->committed > h->last_pending[t])
			h->last_pending[t] = f->committed;
	}
	for (unsigned int f = 0; f < ALL_FLOWS; f++) {
		check_product(w, h, f);
		if (h->flow[f].n_held > 0 && h->flow[f].in && h->up && !h->stopped &&
		    !h->asleep && !h->waking &&
		    !mover_holds(&h->mover[host_own_track(h, f)]) &&
		    !follower_holds(&h->follower[host_peer_track(h, f)]))
			fail(w, "host %d flow %u: held packets forgotten",
			     h->id, f);
	}
}

/* No flow packet to a locator that its owner has not accepted for this flow. */
static void check_owner(struct world *w, const struct host *h,
			const struct dgram *d)
{
	const struct flow_end *there = &host_peer(w, h)->flow[d->flow];
	const struct locator at = { sim_addr(d->dst), d->dst_ports };

	if (there->open && there->generation == d->generation &&
	    !kernel_accepts(there, &at))
		fail(w, "I1: host %d flow %u: sent to %d/%llu, which its owner does not accept for this flow",
		     h->id, d->flow, d->dst,
		     (unsigned long long)d->dst_ports);
}

void check_data_sent(struct world *w, struct host *h, const struct dgram *d)
{
	unsigned int own = host_own_track(h, d->flow), peer = host_peer_track(h, d->flow);

	if (!h->owned[d->src % ADDRS])
		fail(w, "host %d flow %u: sent from %d, which is gone", h->id,
		     d->flow, d->src);
	if (d->number <= h->flow[d->flow].last_sent)
		fail(w, "host %d flow %u: packet %llu after %llu", h->id,
		     d->flow, (unsigned long long)d->number,
		     (unsigned long long)h->flow[d->flow].last_sent);
	/* What was moved on the word of a lost journal is on its way home; what
	 * was proved since then is where both ends agree. */
	if (d->flow != LIAR_FLOW &&
	    (!w->amnesia || (h->flow[d->flow].anew &&
			    host_peer(w, h)->flow[d->flow].anew)))
		check_owner(w, h, d);
	if (w->amnesia || !h->flow[d->flow].in)
		return;
	if (!h->said[own][d->src % ADDRS] && own != LIAR_TRACK)
		fail(w, "I1: host %d flow %u: sent from %d, which the peer never accepted",
		     h->id, d->flow, d->src);
	if (!h->answered[peer][d->dst])
		fail(w, "I1: host %d flow %u: sent to %d, which answered no challenge",
		     h->id, d->flow, d->dst);
	if (h->gone[peer][d->dst])
		fail(w, "I5: host %d flow %u: sent to %d, which is declared gone",
		     h->id, d->flow, d->dst);
}

/* A burst, then a few per second; and what was refused is not asked for again
 * before a pause, or a reason. */
void check_asked(struct world *w, struct host *h, unsigned int track,
		 const struct migrate_action *a)
{
	uint64_t *at = h->asked_ms[track];
	uint64_t refused = h->refused_ms[track]
				[sim_addr_number(&a->to.addr) % ADDRS];
	unsigned int n = h->n_asked[track];

	if (a->seq == h->asked_seq[track])
		return; /* repeated */
	h->asked_seq[track] = a->seq;
	for (unsigned int i = MIGRATE_BURST; i <= n && i <= NUMBERS; i++)
		if (w->now - at[(n - i) % NUMBERS] <
		    (i + 1 - MIGRATE_BURST) * (uint64_t)MIGRATE_TOKEN_MS)
			fail(w, "host %d mover %u: %u numbers within %llu ms",
			     h->id, track, i + 1,
			     (unsigned long long)(w->now -
						  at[(n - i) % NUMBERS]));
	at[n % NUMBERS] = w->now;
	h->n_asked[track]++;
	if (refused && h->event_ms[track] < refused &&
	    w->now < refused + REFUSALS_PAUSE_MIN_MS)
		fail(w, "host %d mover %u: asks for %d, refused %llu ms ago",
		     h->id, track, sim_addr_number(&a->to.addr),
		     (unsigned long long)(w->now - refused));
}

void check_answer(struct world *w, struct host *h,
		  const struct migrate_action *a, const struct dgram *answered)
{
	int dest = sim_addr_number(&a->dest);

	if (!answered) {
		fail(w, "host %d: an answer to nothing", h->id);
		return;
	}
	/* Ours to an address that has not proved itself: only where it spoke.
	 * To a proven one it may go whoever asked. */
	if (dest == NO_ADDR ||
	    (!w->amnesia && dest != answered->src &&
	     !h->answered[answered->track][dest]))
		fail(w, "host %d: answer to %d, which did not ask", h->id,
		     dest);
	/* I2: before the message that promises it leaves. */
	for (unsigned int f = 0; f < ALL_FLOWS; f++)
		check_product(w, h, f);
}

void check_written_down(struct world *w, struct host *h, bool mover,
			unsigned int track)
{
	const struct mover *m = &h->mover[track];
	const struct mover *mj = &h->mover_journal[track];
	const struct follower *f = &h->follower[track];
	const struct follower *fj = &h->follower_journal[track];
	bool same;

	if (mover) {
		same = m->state == mj->state && m->seq == mj->seq &&
		       m->committed == mj->committed &&
		       m->holding == mj->holding &&
		       m->declared_gone == mj->declared_gone &&
		       locator_equal(&m->current, &mj->current) &&
		       (!mover_target(m) ||
			locator_equal(&m->target, &mj->target)) &&
		       locator_equal(&m->sending, &mj->sending);
		for (unsigned int i = 0; i < m->n_accepted; i++)
			same = same && listed(mj->accepted, mj->n_accepted,
					      &m->accepted[i].locator);
	} else {
		same = f->state == fj->state && f->committed == fj->committed &&
		       f->floor == fj->floor && f->holding == fj->holding &&
		       f->gone == fj->gone &&
		       (f->state == FOLLOWER_STEADY ||
			(f->pending == fj->pending &&
			 locator_equal(&f->offer, &fj->offer) &&
			 memcmp(f->challenge, fj->challenge,
				sizeof(f->challenge)) == 0)) &&
		       locator_equal(&f->sending, &fj->sending);
		for (unsigned int i = 0; i < f->n_accepted; i++)
			same = same && listed(fj->accepted, fj->n_accepted,
					      &f->accepted[i].locator);
	}
	if (!same && !(mover ? h->mover_ahead : h->follower_ahead)[track])
		fail(w, "I7: host %d %s %u: sent before it was written down",
		     h->id, mover ? "mover" : "follower", track);
}

#define UNFIT_MS 3000 /* a trial is over by then: no nonce was in time */

static bool is_unfit(const struct world *w, int a, int b)
{
	return (w->unfit_ms[a][b] && w->unfit_ms[a][b] + UNFIT_MS < w->now) ||
	       (w->unfit_ms[b][a] && w->unfit_ms[b][a] + UNFIT_MS < w->now);
}

/* While the old locator lives no flow leaves it for a path that has carried no
 * packet of it. */
void check_tried(struct world *w, const struct host *h, unsigned int track,
		 const struct mover *before)
{
	const struct mover *m = &h->mover[track];
	int from = sim_addr_number(&before->sending.addr);
	int to = sim_addr_number(&m->sending.addr), peer;
	unsigned int f;

	if (before->state != MOVER_ASKED || m->state != MOVER_SWITCHED ||
	    from == to || before->declared_gone || before->peer_lost ||
	    mover_holds(before) ||
	    !locator_equal(&before->sending, &before->current) ||
	    !h->owned[from % ADDRS])
		return;
	for (unsigned int i = 0; i < before->n_accepted; i++)
		if (before->accepted[i].proved_seq > 0 &&
		    !locator_equal(&before->accepted[i].locator,
				   &before->current))
			return; /* the peer may have left it */
	if (h->crossed_seq[track] != m->seq)
		fail(w, "host %d mover %u: leaves %d, which lives, for %d, where no nonce has crossed",
		     h->id, track, from, to);
	if (h->pilot_seq[track] != m->seq || !host_pilot(h, track, &f))
		return;
	peer = sim_addr_number(&h->follower[host_peer_track(h, f)]
					.sending.addr);
	if (is_unfit(w, to, peer) && !is_unfit(w, from, peer))
		fail(w, "host %d mover %u: leaves %d, which lives, for %d, which carries no flow to %d",
		     h->id, track, from, to, peer);
}

/* ----------------------------------------------------------------- end */

bool world_is_settled(const struct world *w, const char **why)
{
	for (int id = 0; id < HOSTS; id++) {
		const struct host *h = &w->host[id];
		const struct host *p = &w->host[1 - id];

		*why = "a daemon is not running";
		if (!h->up || h->stopped || h->asleep)
			return false;
		for (unsigned int t = 0; t < TRACKS; t++) {
			const struct mover *m = &h->mover[t];
			const struct follower *f = &p->follower[t];
			int a = sim_addr_number(&m->current.addr);

			*why = "a mover is not steady";
			if (m->state != MOVER_STEADY)
				return false;
			*why = "a follower is not steady";
			if (f->state != FOLLOWER_STEADY)
				return false;
			*why = "somebody holds";
			if (mover_holds(m) || follower_holds(f))
				return false;
			*why = "a mover rests where it has no address";
			if (!h->owned[a % ADDRS])
				return false;
			*why = "the two differ about a locator";
			if (!locator_equal(&m->current, &m->sending) ||
			    !locator_equal(&m->current, &f->sending) ||
			    f->gone)
				return false;
			/* It may have missed the DONE for a way back that it
			 * took anyhow. */
			*why = "the two differ about a number";
			if (m->committed > f->committed ||
			    f->committed > m->seq)
				return false;
			*why = "more than one locator is accepted";
			if (m->n_accepted != 1 || f->n_accepted != 1)
				return false;
			*why = "something is still due";
			if (mover_deadline_ms(m) != MIGRATE_NEVER ||
			    follower_deadline_ms(f) != MIGRATE_NEVER)
				return false;
		}
	}
	*why = "the two differ about who is in a track";
	for (unsigned int f = 0; f < FLOWS; f++)
		if (w->host[0].flow[f].open != w->host[1].flow[f].open ||
		    w->host[0].flow[f].in != w->host[1].flow[f].in)
			return false;
	*why = "nothing";
	return true;
}

/* One that is in no track needs its own addresses. */
static bool can_talk(const struct world *w, unsigned int f)
{
	const struct flow_end *e = &w->host[0].flow[f];

	return e->open && (e->in || (host_owns(&w->host[0], &e->own.addr) &&
				     host_owns(&w->host[1], &e->peer.addr)));
}

/* Data flows both ways, on every flow. */
void check_settled(struct world *w)
{
	for (int id = 0; id < HOSTS; id++)
		for (unsigned int f = 0; f < FLOWS; f++) {
			w->host[id].flow[f].received_any = false;
			kernel_traffic(w, &w->host[id], f);
		}
	world_run(w, w->now + DELAY_MAX_MS + 1);
	for (int id = 0; id < HOSTS; id++)
		for (unsigned int f = 0; f < FLOWS; f++)
			if (can_talk(w, f) &&
			    !w->host[id].flow[f].received_any)
				fail(w, "host %d flow %u: no data after all is settled",
				     id, f);
}
