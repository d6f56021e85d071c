/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel: what the kernel and the queue do with a flow's packets, in small.
 *
 * Owns accepted tuples, tombstones and held packets. Knows migrate only by
 * its views.
 */
#include "sim.h"

#include <stddef.h>

/* -------------------------------------------------------------- kernel */

static struct kernel_tuple *kernel_find(struct flow_end *e,
					const struct locator *own,
					const struct locator *peer)
{
	for (unsigned int i = 0; i < e->n; i++)
		if (locator_equal(&e->tuple[i].own, own) &&
		    locator_equal(&e->tuple[i].peer, peer))
			return &e->tuple[i];
	return NULL;
}

void kernel_accept(struct world *w, struct flow_end *e,
			  const struct locator *own, const struct locator *peer)
{
	struct kernel_tuple *t = kernel_find(e, own, peer);

	for (unsigned int i = 0; !t && i < e->n; i++)
		if (e->tuple[i].tombstone && e->tuple[i].until_ms <= w->now)
			t = &e->tuple[i];
	if (!t && e->n < TUPLES)
		t = &e->tuple[e->n++];
	if (!t) {
		fail(w, "more than %d tuples for one flow", TUPLES);
		return;
	}
	t->own = *own;
	t->peer = *peer;
	t->tombstone = false;
}

static void kernel_drop(struct world *w, struct kernel_tuple *t)
{
	if (t->tombstone)
		return;
	t->tombstone = true;
	t->until_ms = w->now + MIGRATE_TOMBSTONE_MS;
	if (migrate_mutant == MUTANT_no_tombstone)
		t->until_ms = w->now;
}

void kernel_accept_locator(struct world *w, struct host *h, bool mover,
			   unsigned int track, const struct locator *l)
{
	for (unsigned int f = 0; f < ALL_FLOWS; f++) {
		struct mover *m = &h->mover[host_own_track(h, f)];
		struct follower *p = &h->follower[host_peer_track(h, f)];

		if (!h->flow[f].in)
			continue;
		if (mover && host_own_track(h, f) == track)
			for (unsigned int i = 0; i < p->n_accepted; i++)
				kernel_accept(w, &h->flow[f], l,
					      &p->accepted[i].locator);
		if (!mover && host_peer_track(h, f) == track)
			for (unsigned int i = 0; i < m->n_accepted; i++)
				kernel_accept(w, &h->flow[f],
					      &m->accepted[i].locator, l);
	}
}

void kernel_unaccept_locator(struct world *w, struct host *h, bool mover,
			     unsigned int track, const struct locator *l)
{
	for (unsigned int f = 0; f < ALL_FLOWS; f++) {
		struct flow_end *e = &h->flow[f];

		if (!e->in || (mover ? host_own_track(h, f) : host_peer_track(h, f)) != track)
			continue;
		for (unsigned int i = 0; i < e->n; i++)
			if (locator_equal(mover ? &e->tuple[i].own :
						  &e->tuple[i].peer, l))
				kernel_drop(w, &e->tuple[i]);
	}
}

static bool wanted(const struct host *h, unsigned int f,
		   const struct kernel_tuple *t)
{
	const struct flow_end *e = &h->flow[f];
	const struct mover *m = &h->mover[host_own_track(h, f)];
	const struct follower *p = &h->follower[host_peer_track(h, f)];
	bool own = false, peer = false;

	if (!e->in)
		return locator_equal(&t->own, &e->own) &&
		       locator_equal(&t->peer, &e->peer);
	for (unsigned int k = 0; k < m->n_accepted; k++)
		own |= locator_equal(&t->own, &m->accepted[k].locator);
	for (unsigned int k = 0; k < p->n_accepted; k++)
		peer |= locator_equal(&t->peer, &p->accepted[k].locator);
	return own && peer;
}

void kernel_fit(struct world *w, struct host *h, unsigned int f)
{
	struct flow_end *e = &h->flow[f];
	struct mover *m = &h->mover[host_own_track(h, f)];
	struct follower *p = &h->follower[host_peer_track(h, f)];

	if (!e->open)
		return;
	for (unsigned int i = 0; i < e->n; i++)
		if (!wanted(h, f, &e->tuple[i]))
			kernel_drop(w, &e->tuple[i]);
	if (!e->in)
		kernel_accept(w, e, &e->own, &e->peer);
	for (unsigned int i = 0; e->in && i < m->n_accepted; i++)
		for (unsigned int k = 0; k < p->n_accepted; k++)
			kernel_accept(w, e, &m->accepted[i].locator,
				      &p->accepted[k].locator);
}

/* After a restart: what is in the kernel is made to be what is in the
 * journal; what is too much there goes the way of all acceptance. */
void kernel_reconcile(struct world *w, struct host *h)
{
	for (unsigned int f = 0; f < ALL_FLOWS; f++)
		kernel_fit(w, h, f);
}

bool kernel_accepts(const struct flow_end *e, const struct locator *own)
{
	for (unsigned int i = 0; i < e->n; i++)
		if (!e->tuple[i].tombstone &&
		    locator_equal(&e->tuple[i].own, own))
			return true;
	return false;
}

/* ---------------------------------------------------------------- data */

static bool flow_held(const struct host *h, unsigned int f)
{
	return h->flow[f].in &&
	       (mover_holds(&h->mover[host_own_track(h, f)]) ||
		follower_holds(&h->follower[host_peer_track(h, f)]));
}

static void data_emit(struct world *w, struct host *h, unsigned int f,
		      uint64_t number)
{
	const struct locator *src = mover_locator(&h->mover[host_own_track(h, f)]);
	const struct locator *dst =
		follower_locator(&h->follower[host_peer_track(h, f)]);
	struct dgram d = { .kind = D_DATA, .from_host = h->id, .flow = f,
			   .generation = h->flow[f].generation,
			   .number = number, .sent_ms = w->now };

	if (!h->flow[f].in) {
		src = &h->flow[f].own;
		dst = &h->flow[f].peer;
	}
	if (!dst) {
		fail(w, "host %d flow %u: not held and nowhere to send",
		     h->id, f);
		return;
	}
	d.src = sim_addr_number(&src->addr);
	d.dst = sim_addr_number(&dst->addr);
	d.src_ports = src->ports;
	d.dst_ports = dst->ports;
	check_data_sent(w, h, &d);
	h->flow[f].last_sent = number;
	w->stats.data_sent++;
	world_send(w, &d);
}

void kernel_flush(struct world *w, struct host *h, unsigned int f)
{
	struct flow_end *e = &h->flow[f];

	if (flow_held(h, f) || h->stopped || !h->up || h->asleep || h->waking)
		return;
	for (unsigned int i = 0; i < e->n_held && !w->failed; i++)
		data_emit(w, h, f, e->held[i]);
	e->n_held = 0;
}

/* Not steered: the way back is, until it is committed. */
bool kernel_unmoved(const struct host *h, unsigned int f)
{
	const struct flow_end *e = &h->flow[f];
	const struct mover *m = &h->mover[host_own_track(h, f)];
	const struct locator *src = mover_locator(m);
	const struct locator *dst =
		follower_locator(&h->follower[host_peer_track(h, f)]);

	if (!e->in)
		return true;
	return dst && locator_equal(src, &e->own) &&
	       locator_equal(src, mover_current(m)) &&
	       locator_equal(dst, &e->peer);
}

void kernel_traffic(struct world *w, struct host *h, unsigned int f)
{
	struct flow_end *e = &h->flow[f];
	bool held = flow_held(h, f) || e->n_held > 0;
	uint64_t number;

	if (h->asleep || !e->open)
		return;
	/* Without a daemon's help it stands. */
	if (!e->in && !host_owns(h, &e->own.addr))
		return;
	number = ++e->next_number;
	/* Without the daemon the kernel goes on for what has not moved; the
	 * tripwire holds what has lost its address. */
	if (e->in && (!h->up || h->stopped))
		held |= !kernel_unmoved(h, f) ||
			!host_owns(h, &h->mover[host_own_track(h, f)].sending.addr);
	if (!held) {
		data_emit(w, h, f, number);
		return;
	}
	if (!h->up || e->n_held == HELD) {
		w->stats.hold_dropped++;
		return;
	}
	e->held[e->n_held++] = number;
	w->stats.held++;
}

void kernel_receive(struct world *w, struct host *h, const struct dgram *d)
{
	struct flow_end *e = &h->flow[d->flow];
	struct locator own = { sim_addr(d->dst), d->dst_ports };
	struct locator peer = { sim_addr(d->src), d->src_ports };
	struct kernel_tuple *t = kernel_find(e, &own, &peer);
	bool identity = locator_equal(&own, &e->own) &&
			locator_equal(&peer, &e->peer);

	struct dgram queued = *d;

	/* The third host sends none of its own: it has led ours to us. */
	if (!e->open || e->generation != d->generation ||
	    d->flow == LIAR_FLOW)
		return;
	if (t && !t->tombstone) {
		if (!h->up && !identity)
			return; /* a queue without a reader */
		if (h->stopped && !kernel_unmoved(h, d->flow)) {
			queued.queued = true;
			world_post(w, h->resume_ms, &queued);
			return;
		}
		e->received_any = true;
		e->last_received = d->number;
		w->stats.data_received++;
		return;
	}
	if (d->queued)
		return; /* the daemon drops what it does not know */
	/* A moved flow's identity tuple is always in the drop set. */
	if ((t && w->now < t->until_ms) || identity) {
		w->stats.tombstone_hits++;
		if (!w->amnesia && w->now <= d->sent_ms + DELAY_MAX_MS &&
		    w->now > h->disturbed_until_ms &&
		    w->now > host_peer(w, h)->disturbed_until_ms)
			fail(w, "host %d flow %u: packet sent %llu ms ago from %d to %d was dropped by a tombstone: lost by the hosts",
			     h->id, d->flow,
			     (unsigned long long)(w->now - d->sent_ms),
			     d->src, d->dst);
		return;
	}
	if (!w->amnesia)
		fail(w, "I4: host %d flow %u: packet sent %llu ms ago from %d/%llu to %d/%llu reaches the stack untranslated",
		     h->id, d->flow, (unsigned long long)(w->now - d->sent_ms),
		     d->src, (unsigned long long)d->src_ports, d->dst,
		     (unsigned long long)d->dst_ports);
}
