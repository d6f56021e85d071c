/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host: what the daemon and the kernel do around migrate, in small.
 *
 * Owns the executor of actions, the accepted tuples and tombstones, held
 * packets, control messages and a stand-in for sessions. Keeps I2 and I7 as
 * the real executor must: in order, up to the first failure.
 */
#include "sim.h"

#include <stddef.h>
#include <string.h>

static unsigned int own_track(const struct host *h, unsigned int flow)
{
	return h->id == 0 ? flow & 1 : flow >> 1;
}

static unsigned int peer_track(const struct host *h, unsigned int flow)
{
	return h->id == 0 ? flow >> 1 : flow & 1;
}

static struct host *peer_of(struct world *w, const struct host *h)
{
	return &w->host[1 - h->id];
}

static bool owns(const struct host *h, const struct addr *a)
{
	int n = sim_addr_number(a);

	return n != NO_ADDR && n / ADDRS == h->id && h->owned[n % ADDRS];
}

static void disturb(struct world *w, struct host *h)
{
	h->disturbed_until_ms = w->now + MIGRATE_LEASE_MS + 2 * DELAY_MAX_MS;
}

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

static void kernel_accept(struct world *w, struct flow_end *e,
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

static void accept_locator(struct world *w, struct host *h, bool mover,
			   unsigned int track, const struct locator *l)
{
	for (unsigned int f = 0; f < FLOWS; f++) {
		struct mover *m = &h->mover[own_track(h, f)];
		struct follower *p = &h->follower[peer_track(h, f)];

		if (mover && own_track(h, f) == track)
			for (unsigned int i = 0; i < p->n_accepted; i++)
				kernel_accept(w, &h->flow[f], l,
					      &p->accepted[i].locator);
		if (!mover && peer_track(h, f) == track)
			for (unsigned int i = 0; i < m->n_accepted; i++)
				kernel_accept(w, &h->flow[f],
					      &m->accepted[i].locator, l);
	}
}

static void unaccept_locator(struct world *w, struct host *h, bool mover,
			     unsigned int track, const struct locator *l)
{
	for (unsigned int f = 0; f < FLOWS; f++) {
		struct flow_end *e = &h->flow[f];

		if ((mover ? own_track(h, f) : peer_track(h, f)) != track)
			continue;
		for (unsigned int i = 0; i < e->n; i++)
			if (locator_equal(mover ? &e->tuple[i].own :
						  &e->tuple[i].peer, l))
				kernel_drop(w, &e->tuple[i]);
	}
}

/* After a restart: what is in the kernel is made to be what is in the
 * journal; what is too much there goes the way of all acceptance. */
static void kernel_reconcile(struct world *w, struct host *h)
{
	for (unsigned int f = 0; f < FLOWS; f++) {
		struct flow_end *e = &h->flow[f];
		struct mover *m = &h->mover[own_track(h, f)];
		struct follower *p = &h->follower[peer_track(h, f)];

		for (unsigned int i = 0; i < e->n; i++) {
			struct kernel_tuple *t = &e->tuple[i];
			bool own = false, peer = false;

			for (unsigned int k = 0; k < m->n_accepted; k++)
				own |= locator_equal(&t->own,
						     &m->accepted[k].locator);
			for (unsigned int k = 0; k < p->n_accepted; k++)
				peer |= locator_equal(&t->peer,
						      &p->accepted[k].locator);
			if (!own || !peer)
				kernel_drop(w, t);
		}
		for (unsigned int i = 0; i < m->n_accepted; i++)
			for (unsigned int k = 0; k < p->n_accepted; k++)
				kernel_accept(w, e, &m->accepted[i].locator,
					      &p->accepted[k].locator);
	}
}

/* ---------------------------------------------------------------- data */

static bool flow_held(const struct host *h, unsigned int f)
{
	return mover_holds(&h->mover[own_track(h, f)]) ||
	       follower_holds(&h->follower[peer_track(h, f)]);
}

static void data_emit(struct world *w, struct host *h, unsigned int f,
		      uint64_t number)
{
	const struct locator *src = mover_locator(&h->mover[own_track(h, f)]);
	const struct locator *dst =
		follower_locator(&h->follower[peer_track(h, f)]);
	struct dgram d = { .kind = D_DATA, .from_host = h->id, .flow = f,
			   .number = number, .sent_ms = w->now };

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

static void data_flush(struct world *w, struct host *h, unsigned int f)
{
	struct flow_end *e = &h->flow[f];

	if (flow_held(h, f) || h->stopped || !h->up || h->asleep || h->waking)
		return;
	for (unsigned int i = 0; i < e->n_held && !w->failed; i++)
		data_emit(w, h, f, e->held[i]);
	e->n_held = 0;
}

/* Not steered: the way back is, until it is committed. */
static bool unmoved(const struct host *h, unsigned int f)
{
	const struct flow_end *e = &h->flow[f];
	const struct mover *m = &h->mover[own_track(h, f)];
	const struct locator *src = mover_locator(m);
	const struct locator *dst =
		follower_locator(&h->follower[peer_track(h, f)]);

	return dst && locator_equal(src, &e->own) &&
	       locator_equal(src, mover_current(m)) &&
	       locator_equal(dst, &e->peer);
}

void host_traffic(struct world *w, struct host *h, unsigned int f)
{
	struct flow_end *e = &h->flow[f];
	bool held = flow_held(h, f) || e->n_held > 0;
	uint64_t number;

	if (h->asleep)
		return;
	number = ++e->next_number;
	/* Without the daemon the kernel goes on for what has not moved; the
	 * tripwire holds what has lost its address. */
	if (!h->up || h->stopped)
		held |= !unmoved(h, f) ||
			!owns(h, &h->mover[own_track(h, f)].sending.addr);
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

static void data_receive(struct world *w, struct host *h, const struct dgram *d)
{
	struct flow_end *e = &h->flow[d->flow];
	struct locator own = { sim_addr(d->dst), d->dst_ports };
	struct locator peer = { sim_addr(d->src), d->src_ports };
	struct kernel_tuple *t = kernel_find(e, &own, &peer);
	bool identity = locator_equal(&own, &e->own) &&
			locator_equal(&peer, &e->peer);

	struct dgram queued = *d;

	if (t && !t->tombstone) {
		if (!h->up && !identity)
			return; /* a queue without a reader */
		if (h->stopped && !unmoved(h, d->flow)) {
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
		    w->now > peer_of(w, h)->disturbed_until_ms)
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

/* ------------------------------------------------------------ executor */

/* Where the peer may be heard: what we accept it at, and have not been told to
 * be gone; at the very worst what the configuration says. */
bool host_knows(const struct host *h, int a)
{
	struct addr addr = sim_addr(a);
	bool known = a == h->configured;

	for (unsigned int t = 0; t < TRACKS; t++) {
		const struct follower *f = &h->follower[t];

		known |= follower_accepts(f, &addr) &&
			 !(f->gone && addr_equal(&f->sending.addr, &addr));
	}
	return known;
}

static void send_known(struct world *w, struct host *h, struct dgram *d)
{
	for (int a = 0; a < ALL_ADDRS; a++) {
		if (a / ADDRS == h->id || !host_knows(h, a))
			continue;
		d->dst = a;
		w->stats.controls++;
		world_send(w, d);
	}
}

static void execute_send(struct world *w, struct host *h, bool mover,
			 unsigned int track, const struct migrate_action *a,
			 const struct dgram *answered)
{
	struct dgram d = { .kind = (enum dgram_kind)a->message,
			   .from_host = h->id, .track = track,
			   .session = h->session, .seq = a->seq,
			   .from = a->from, .to = a->to,
			   .from_gone = a->from_gone, .reason = a->reason,
			   .truly_gone = NO_ADDR, .accepted_addr = NO_ADDR };
	struct challenge_record *c;

	memcpy(d.challenge, a->challenge, sizeof(d.challenge));
	d.track_number[track] = mover ? h->mover[track].track :
					h->follower[track].track;
	check_written_down(w, h, mover, track);
	trace(w, "host %d %s %u: send %s seq %llu", h->id,
	      mover ? "mover" : "follower", track,
	      (const char *const[]){ "MOVE", "ACCEPT", "REFUSE", "PROVE",
				     "DONE" }[a->message],
	      (unsigned long long)a->seq);
	if (mover) {
		d.src = sim_addr_number(&a->source);
		/* Said or not: where the kernel failed, it may be late. */
		if (a->message == MIGRATE_MOVE &&
		    (a->from_gone || w->now > h->disturbed_until_ms) &&
		    !owns(h, &h->mover[track].current.addr))
			d.truly_gone = sim_addr_number(
				&h->mover[track].current.addr);
		if (owns(h, &a->source))
			send_known(w, h, &d);
		return;
	}
	check_answer(w, h, a, answered);
	if (!answered)
		return;
	d.src = answered->dst;
	d.dst = sim_addr_number(&a->dest);
	if (a->message == MIGRATE_ACCEPT) {
		d.accepted_addr =
			sim_addr_number(&h->follower[track].offer.addr);
		c = &h->challenge[h->n_challenges++ % CHALLENGES];
		memcpy(c->challenge, a->challenge, sizeof(c->challenge));
		c->dest = d.dst;
		c->heard_at = NO_ADDR;
	} else if (a->message == MIGRATE_DONE) {
		d.accepted_addr =
			sim_addr_number(&h->follower[track].sending.addr);
	}
	w->stats.controls++;
	world_send(w, &d);
}

static void post_situation(struct world *w, struct host *h, unsigned int track,
			   uint64_t at, enum migrate_cause cause,
			   const struct locator *candidate)
{
	struct dgram d = { .kind = D_SITUATION, .from_host = h->id,
			   .track = track, .cause = cause };

	if (candidate) {
		d.to = *candidate;
		d.has_candidate = true;
	}
	world_post(w, at, &d);
}

static void execute_other(struct world *w, struct host *h, unsigned int track,
			  const struct migrate_action *a)
{
	struct dgram none = { .kind = D_NO_PORTS, .from_host = h->id,
			      .track = track };
	struct locator l = h->mover[track].target;

	switch (a->type) {
	case MIGRATE_CHOOSE_PORTS:
		if (world_chance(w, 100)) {
			none.seq = h->mover[track].seq;
			world_post(w, w->now, &none);
			break;
		}
		l.ports = ++h->ports_made;
		post_situation(w, h, track, w->now, MIGRATE_CAUSE_RETRY, &l);
		break;
	case MIGRATE_SEND_FLOWS:
		post_situation(w, h, track,
			       w->now + 2 * w->delay_ms + world_pick(w, 300),
			       MIGRATE_CAUSE_RETRY, &l);
		break;
	case MIGRATE_HANDSHAKE:
		host_hello(w, h);
		break;
	case MIGRATE_NEXT_CANDIDATE:
		post_situation(w, h, track, w->now, MIGRATE_CAUSE_NEXT, NULL);
		break;
	case MIGRATE_EVALUATE:
		post_situation(w, h, track, w->now,
			       MIGRATE_CAUSE_BETTER_ROUTE, NULL);
		break;
	default:
		break;
	}
}

/* Returns how many were carried out. */
static unsigned int execute(struct world *w, struct host *h, bool mover,
			    unsigned int track,
			    const struct migrate_actions *acts, bool timer,
			    const struct dgram *answered)
{
	unsigned int i;

	for (i = 0; i < acts->n && !w->failed; i++) {
		const struct migrate_action *a = &acts->action[i];

		if (i > 0 && a->type < acts->action[i - 1].type)
			fail(w, "actions out of order");
		if (a->type <= MIGRATE_SWITCH && h->kernel_fails > 0 &&
		    world_pick(w, h->kernel_fails) == 0) {
			trace(w, "host %d: kernel fails at action %u of %u",
			      h->id, i, acts->n);
			disturb(w, h);
			break;
		}
		switch (a->type) {
		case MIGRATE_JOURNAL:
			if (mover) {
				h->mover_journal[track] = h->mover[track];
				h->mover_ahead[track] = false;
			} else {
				h->follower_journal[track] =
					h->follower[track];
				h->follower_ahead[track] = false;
			}
			break;
		case MIGRATE_HOLD:
			break; /* flow_held() */
		case MIGRATE_ACCEPT_ADD:
			accept_locator(w, h, mover, track, &a->to);
			break;
		case MIGRATE_ACCEPT_DEL:
			if (!timer) /* to make room, before its time */
				disturb(w, h);
			unaccept_locator(w, h, mover, track, &a->to);
			break;
		case MIGRATE_RELEASE:
		case MIGRATE_SWITCH:
			for (unsigned int f = 0; f < FLOWS; f++)
				data_flush(w, h, f);
			break;
		case MIGRATE_SEND:
			execute_send(w, h, mover, track, a, answered);
			break;
		case MIGRATE_NOTE:
			if (a->counter == COUNTER_MOVES_DONE)
				w->stats.moves++;
			trace(w, "host %d %s %u: %s %s", h->id,
			      mover ? "mover" : "follower", track,
			      counter_name(a->counter), reason_name(a->reason));
			break;
		default:
			execute_other(w, h, track, a);
			break;
		}
	}
	return i;
}

/* --------------------------------------------------------------- steps */

static unsigned int mover_column_of(const struct mover *m,
				    const struct mover_event *ev)
{
	switch (ev->type) {
	case MOVER_SITUATION:
		return (unsigned int)ev->cause;
	case MOVER_ACCEPT:
		return ev->seq != m->seq ? 9 :
		       mover_target(m) &&
			       !addr_equal(&ev->arrived_on, &m->target.addr) ?
					   10 : 8;
	case MOVER_REFUSE:
		return ev->seq != m->seq ? 13 :
		       ev->reason == REASON_TUPLE_TAKEN ||
			       ev->reason == REASON_DIGEST ? 11 : 12;
	case MOVER_DONE:
		return ev->seq == m->seq ? 14 : 15;
	case MOVER_TIMER:
		return 16;
	case MOVER_SYNC:
		return ev->seq == m->committed ? 17 : 18;
	default:
		return 19;
	}
}

static unsigned int follower_column_of(const struct follower *f,
				       const struct follower_event *ev)
{
	switch (ev->type) {
	case FOLLOWER_MOVE:
		if (!addr_equal(&ev->source, &ev->to.addr))
			return 0;
		switch (follower_classify(f, ev->seq)) {
		case FOLLOWER_SEQ_STALE:
			return 1;
		case FOLLOWER_SEQ_COMMITTED:
			return 2;
		case FOLLOWER_SEQ_PENDING:
			return 3;
		case FOLLOWER_SEQ_NEW:
			break;
		}
		return ev->check != REASON_NONE ? 6 :
		       locator_equal(&ev->to, &f->sending) ? 5 : 4;
	case FOLLOWER_PROVE:
		if (ev->seq == f->committed)
			return 9;
		if (f->state != FOLLOWER_OFFERED || ev->seq != f->pending)
			return 10;
		return memcmp(ev->challenge, f->challenge,
			      sizeof(f->challenge)) == 0 ? 7 : 8;
	case FOLLOWER_TIMER:
		return 11;
	default:
		return 12;
	}
}

static void step_mover(struct world *w, struct host *h, unsigned int track,
		       struct mover_event *ev, const struct dgram *cause)
{
	struct mover *m = &h->mover[track];
	struct mover before = *m;
	struct migrate_actions acts;
	unsigned int column = mover_column_of(m, ev), done;

	ev->random = (uint32_t)world_random(w);
	coverage.mover[m->state][column]++;
	w->stats.steps++;
	mover_step(m, ev, w->now, &acts);
	trace(w, "host %d mover %u: %s: %s -> %s%s, seq %llu, %d -> %d",
	      h->id, track, mover_column[column],
	      (const char *const[]){ "STEADY", "HELD", "ASKED", "SWITCHED" }
		      [before.state],
	      (const char *const[]){ "STEADY", "HELD", "ASKED", "SWITCHED" }
		      [m->state],
	      m->holding ? " (holding)" : "", (unsigned long long)m->seq,
	      sim_addr_number(&m->sending.addr),
	      mover_target(m) ? sim_addr_number(&m->target.addr) : NO_ADDR);
	done = execute(w, h, true, track, &acts, ev->type == MOVER_TIMER,
		       cause);
	if (done < acts.n) {
		coverage.mover[before.state][MOVER_COLUMNS - 1]++;
		mover_rollback(m, &before, &acts, done, w->now);
		h->mover_ahead[track] = true;
	}
	check_host(w, h);
}

static void step_follower(struct world *w, struct host *h, unsigned int track,
			  const struct follower_event *ev,
			  const struct dgram *cause)
{
	struct follower *f = &h->follower[track];
	struct follower before = *f;
	struct migrate_actions acts;
	unsigned int column = follower_column_of(f, ev), done;
	bool was_new = ev->type == FOLLOWER_MOVE && column >= 4;

	coverage.follower[f->state][column]++;
	w->stats.steps++;
	follower_step(f, ev, w->now, &acts);
	trace(w, "host %d follower %u: %s: %s -> %s%s, seq %llu, %d",
	      h->id, track, follower_column[column],
	      (const char *const[]){ "STEADY", "OFFERED" }[before.state],
	      (const char *const[]){ "STEADY", "OFFERED" }[f->state],
	      f->holding ? " (holding)" : "", (unsigned long long)f->committed,
	      sim_addr_number(&f->sending.addr));
	/* Known before the packets that this step may release. */
	if (f->committed != before.committed) {
		int to = sim_addr_number(&f->sending.addr);

		h->gone[track][to] = false;
	}
	done = execute(w, h, false, track, &acts, ev->type == FOLLOWER_TIMER,
		       cause);
	if (done < acts.n) {
		coverage.follower[before.state][FOLLOWER_COLUMNS - 1]++;
		follower_rollback(f, &before, &acts, done, w->now);
		h->follower_ahead[track] = true;
	} else if (was_new && cause && cause->truly_gone != NO_ADDR &&
		   f->committed == before.committed) {
		h->gone[track][cause->truly_gone] = true;
	}
	check_host(w, h);
}

void host_situation(struct world *w, struct host *h, unsigned int track,
		    enum migrate_cause cause, const struct locator *candidate)
{
	struct mover *m = &h->mover[track];
	const struct locator *target = mover_target(m);
	struct mover_event ev = { .type = MOVER_SITUATION, .cause = cause };
	int except = NO_ADDR;

	if (!h->up || h->stopped || h->asleep)
		return; /* host_resume() and host_restart() catch up */
	ev.current_up = owns(h, &mover_current(m)->addr);
	ev.sending_up = owns(h, &mover_locator(m)->addr);
	ev.target_up = target && owns(h, &target->addr);
	if (candidate && owns(h, &candidate->addr)) {
		ev.candidate = *candidate;
	} else {
		if (cause == MIGRATE_CAUSE_NEXT && target)
			except = sim_addr_number(&target->addr);
		ev.candidate = host_candidate(w, h, track, except);
	}
	step_mover(w, h, track, &ev, NULL);
}

struct locator host_candidate(const struct world *w, const struct host *h,
			      unsigned int track, int except)
{
	const struct mover *m = &h->mover[track];
	struct locator l = { 0 };
	int found = NO_ADDR;

	(void)w;
	if (h->unroutable[track])
		return l;
	for (unsigned int i = 0; i < 2 * ADDRS && found == NO_ADDR; i++) {
		int a = h->preference[track][i % ADDRS];

		/* Deprecated ones only where there is nothing else. */
		if (h->owned[a] && (i >= ADDRS || !h->deprecated[a]) &&
		    h->id * ADDRS + a != except)
			found = h->id * ADDRS + a;
	}
	if (found == NO_ADDR)
		return l;
	l.addr = sim_addr(found);
	if (addr_equal(&l.addr, &m->current.addr))
		return m->current;
	if (mover_target(m) && addr_equal(&l.addr, &m->target.addr))
		return m->target;
	/* Flow f of either host has its identity on that of its track. */
	for (unsigned int f = 0; f < FLOWS; f++)
		if (own_track(h, f) == track &&
		    addr_equal(&l.addr, &h->flow[f].own.addr))
			return l;
	l.ports = m->sending.ports;
	return l;
}

uint64_t host_deadline(const struct world *w, const struct host *h)
{
	uint64_t at = MIGRATE_NEVER, d;

	(void)w;
	if (!h->up || h->stopped || h->asleep)
		return at;
	for (unsigned int t = 0; t < TRACKS; t++) {
		d = mover_deadline_ms(&h->mover[t]);
		at = d < at ? d : at;
		d = follower_deadline_ms(&h->follower[t]);
		at = d < at ? d : at;
	}
	return at;
}

void host_timers(struct world *w, struct host *h)
{
	struct mover_event m = { .type = MOVER_TIMER };
	struct follower_event f = { .type = FOLLOWER_TIMER };

	if (host_deadline(w, h) > w->now)
		return;
	for (unsigned int t = 0; t < TRACKS && !w->failed; t++) {
		if (mover_deadline_ms(&h->mover[t]) <= w->now)
			step_mover(w, h, t, &m, NULL);
		if (follower_deadline_ms(&h->follower[t]) <= w->now)
			step_follower(w, h, t, &f, NULL);
	}
}

/* ------------------------------------------------------------ messages */

static void send_sync(struct world *w, struct host *h, const struct dgram *to,
		      bool answer)
{
	struct dgram d = { .kind = D_SYNC, .from_host = h->id, .src = to->dst,
			   .dst = to->src, .session = h->session,
			   .answer = answer };

	for (unsigned int t = 0; t < TRACKS; t++) {
		d.own[t].committed = h->mover[t].committed;
		d.own[t].locator = h->mover[t].current.addr;
		d.theirs[t] = h->follower[t].committed;
		d.track_number[t] = h->mover[t].track;
		d.their_number[t] = h->follower[t].track;
	}
	world_send(w, &d);
}

static void session_confirmed(struct world *w, struct host *h)
{
	struct mover_event ev = { .type = MOVER_SESSION };

	trace(w, "host %d: session %llu", h->id, (unsigned long long)h->session);
	for (unsigned int t = 0; t < TRACKS; t++)
		step_mover(w, h, t, &ev, NULL);
}

void host_hello(struct world *w, struct host *h)
{
	struct dgram d = { .kind = D_HELLO, .from_host = h->id };
	struct dgram again = { .kind = D_HELLO_TIMER, .from_host = h->id };

	if (!h->hello_waits) { /* until SYNC is answered */
		h->hello_waits = true;
		world_post(w, w->now + 1000 + world_pick(w, 1000), &again);
	}
	h->hello_session = ++w->sessions;
	d.session = h->hello_session;
	for (int i = 0; i < ADDRS; i++) {
		if (!h->owned[i])
			continue;
		d.src = h->id * ADDRS + i;
		send_known(w, h, &d);
	}
}

static void receive_move(struct world *w, struct host *h,
			 const struct dgram *d)
{
	struct follower *f = &h->follower[d->track];
	struct follower_event ev = { .type = FOLLOWER_MOVE, .seq = d->seq,
				     .source = sim_addr(d->src),
				     .from = d->from, .to = d->to,
				     .from_gone = d->from_gone,
				     .check = REASON_NONE };
	int to = sim_addr_number(&d->to.addr);
	bool identity = false;

	for (unsigned int i = 0; i < FLOWS; i++)
		identity |= peer_track(h, i) == d->track &&
			    addr_equal(&d->to.addr, &h->flow[i].peer.addr);
	for (unsigned int i = 0; i < sizeof(ev.challenge); i++)
		ev.challenge[i] = (uint8_t)world_random(w);
	if (follower_classify(f, d->seq) == FOLLOWER_SEQ_NEW) {
		if (h->denied[to])
			ev.check = REASON_POLICY;
		else if (h->taken[to] && d->to.ports == 0 && !identity)
			ev.check = REASON_TUPLE_TAKEN;
		else if (h->digest_differs[d->track])
			ev.check = REASON_DIGEST;
		else if (h->at_limit && world_chance(w, 700))
			ev.check = REASON_LIMIT;
		if (ev.check == REASON_DIGEST && world_chance(w, 500))
			h->digest_differs[d->track] = false; /* FLOWS came */
	}
	step_follower(w, h, d->track, &ev, d);
}

static void receive_prove(struct world *w, struct host *h,
			  const struct dgram *d)
{
	struct follower_event ev = { .type = FOLLOWER_PROVE, .seq = d->seq,
				     .to = d->to };
	int to = sim_addr_number(&d->to.addr);

	memcpy(ev.challenge, d->challenge, sizeof(ev.challenge));
	for (unsigned int i = 0; i < CHALLENGES; i++) {
		const struct challenge_record *c = &h->challenge[i];

		if (i < h->n_challenges && c->dest == to && c->heard_at == to &&
		    memcmp(c->challenge, d->challenge,
			   sizeof(c->challenge)) == 0)
			h->answered[d->track][to] = true;
	}
	step_follower(w, h, d->track, &ev, d);
}

static void receive_accept(struct world *w, struct host *h,
			   const struct dgram *d)
{
	struct mover_event ev = { .type = MOVER_ACCEPT, .seq = d->seq,
				  .arrived_on = sim_addr(d->dst) };
	struct host *p = peer_of(w, h);

	memcpy(ev.challenge, d->challenge, sizeof(ev.challenge));
	for (unsigned int i = 0; i < CHALLENGES; i++)
		if (memcmp(p->challenge[i].challenge, d->challenge,
			   sizeof(d->challenge)) == 0 &&
		    p->challenge[i].heard_at != p->challenge[i].dest)
			p->challenge[i].heard_at = d->dst;
	h->said[d->track][d->accepted_addr % ADDRS] = true;
	step_mover(w, h, d->track, &ev, d);
}

static void receive_sync(struct world *w, struct host *h,
			 const struct dgram *d)
{
	struct mover_event m = { .type = MOVER_SYNC };
	struct follower_event f = { .type = FOLLOWER_SYNC };

	for (unsigned int t = 0; t < TRACKS; t++) {
		m.seq = d->theirs[t];
		if (d->their_number[t] == h->mover[t].track)
			step_mover(w, h, t, &m, d);
		f.seq = d->own[t].committed;
		f.to.addr = d->own[t].locator;
		if (d->track_number[t] == h->follower[t].track)
			step_follower(w, h, t, &f, d);
	}
	if (d->session == h->session) {
		h->hello_waits = false;
		if (!d->answer)
			send_sync(w, h, d, true);
	}
}

static bool sessions_concurrent(const struct host *h)
{
	return h->previous_session != 0 &&
	       h->made_ms - h->previous_made_ms < CONCURRENT_MS;
}

static void session_begin(struct world *w, struct host *h, uint64_t session)
{
	h->previous_session = h->session;
	h->previous_made_ms = h->made_ms;
	h->session = session;
	h->made_ms = w->now;
	session_confirmed(w, h);
}

/* True where the session layer would hand it up. I6: on the newest session
 * only; an answer of a peer that has forgotten since would be taken for one
 * of now. Handshakes may cross, and which is newer then is settled by what
 * both ends see alike. */
static bool session_opens(struct world *w, struct host *h,
			  const struct dgram *d)
{
	uint64_t made;

	if (d->session == 0)
		return false;
	if (d->session == h->next_session) {
		h->next_session = 0;
		session_begin(w, h, d->session);
		return true;
	}
	if (d->session == h->session)
		return true;
	if (d->session != h->previous_session || !sessions_concurrent(h))
		return false;
	if (d->session < h->session) {
		h->previous_session = h->session;
		h->session = d->session;
		made = h->previous_made_ms;
		h->previous_made_ms = h->made_ms;
		h->made_ms = made;
	}
	return true;
}

void host_receive(struct world *w, struct host *h, const struct dgram *d)
{
	struct mover_event ev = { .seq = d->seq, .reason = d->reason };
	struct dgram answer, queued = *d;

	if (h->asleep)
		return;
	if (h->stopped && d->kind != D_DATA) {
		queued.queued = true;
		world_post(w, h->resume_ms, &queued);
		return;
	}
	if (d->kind == D_DATA) {
		data_receive(w, h, d);
		return;
	}
	if (!h->up)
		return;
	switch (d->kind) {
	case D_HELLO:
		h->next_session = d->session;
		answer = (struct dgram){ .kind = D_WELCOME, .from_host = h->id,
					 .src = d->dst, .dst = d->src,
					 .session = d->session };
		world_send(w, &answer);
		return;
	case D_WELCOME:
		if (d->session != h->hello_session)
			return;
		h->hello_session = 0;
		session_begin(w, h, d->session);
		send_sync(w, h, d, false);
		return;
	default:
		break;
	}
	if (!session_opens(w, h, d))
		return;
	if (d->kind <= D_DONE && d->track_number[d->track] !=
	    (d->kind == D_MOVE || d->kind == D_PROVE ?
		     h->follower[d->track].track : h->mover[d->track].track))
		return; /* of a track that is no more */
	switch (d->kind) {
	case D_MOVE:
		receive_move(w, h, d);
		break;
	case D_ACCEPT:
		receive_accept(w, h, d);
		break;
	case D_REFUSE:
		ev.type = MOVER_REFUSE;
		step_mover(w, h, d->track, &ev, d);
		break;
	case D_PROVE:
		receive_prove(w, h, d);
		break;
	case D_DONE:
		ev.type = MOVER_DONE;
		h->said[d->track][d->accepted_addr % ADDRS] = true;
		step_mover(w, h, d->track, &ev, d);
		break;
	case D_SYNC:
		receive_sync(w, h, d);
		break;
	default:
		break;
	}
}

/* -------------------------------------------------------- life of a host */

static void catch_up(struct world *w, struct host *h)
{
	h->waking = true;
	host_timers(w, h);
	for (unsigned int t = 0; t < TRACKS && !w->failed; t++)
		host_situation(w, h, t,
			       owns(h, &h->mover[t].sending.addr) ?
				       MIGRATE_CAUSE_REFRESH :
				       MIGRATE_CAUSE_GONE, NULL);
	h->waking = false;
	for (unsigned int f = 0; f < FLOWS && !w->failed; f++)
		data_flush(w, h, f);
}

void host_event(struct world *w, struct host *h, const struct dgram *d)
{
	struct mover_event refuse = { .type = MOVER_REFUSE,
				      .reason = REASON_LIMIT, .seq = d->seq };

	switch (d->kind) {
	case D_SITUATION:
		if (d->cause == MIGRATE_CAUSE_RETRY)
			peer_of(w, h)->digest_differs[d->track] = false;
		host_situation(w, h, d->track, d->cause,
			       d->has_candidate ? &d->to : NULL);
		break;
	case D_NO_PORTS:
		if (h->up && !h->stopped && !h->asleep)
			step_mover(w, h, d->track, &refuse, NULL);
		break;
	case D_RESUME:
		if (w->now < h->resume_ms || (!h->stopped && !h->asleep))
			break;
		h->stopped = false;
		h->asleep = false;
		disturb(w, h);
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
			host_hello(w, h);
		} else if (h->up) {
			h->hello_waits = true;
			world_post(w, w->now + 1000, d);
		}
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
	h->previous_session = 0;
	h->next_session = 0;
	h->hello_session = 0;
	h->hello_waits = false;
	disturb(w, h);
	for (unsigned int f = 0; f < FLOWS; f++)
		h->flow[f].n_held = 0;
	world_post(w, w->now + for_ms, &d);
}

/* Without its journal a host begins new tracks, which its peer follows from
 * the beginning, and knows nothing about the peer's. */
static void forget_everything(struct world *w, struct host *h)
{
	struct host *p = peer_of(w, h);

	for (unsigned int t = 0; t < TRACKS; t++) {
		unsigned int own = 0, theirs = 0;

		while (own_track(h, own) != t)
			own++;
		while (peer_track(h, theirs) != t)
			theirs++;
		mover_init(&h->mover_journal[t], ++w->track_numbers,
			   &h->flow[own].own);
		follower_init(&p->follower[t], w->track_numbers,
			      &h->flow[own].own);
		p->follower_journal[t] = p->follower[t];
		follower_init(&h->follower_journal[t], p->mover[t].track,
			      &h->flow[theirs].peer);
		h->last_seq[t] = 0;
		h->last_committed[t] = 0;
		h->last_pending[t] = 0;
		p->last_committed[t] = 0;
		p->last_pending[t] = 0;
	}
	kernel_reconcile(w, p);
	for (unsigned int f = 0; f < FLOWS; f++) {
		h->flow[f].n = 0;
		data_flush(w, p, f);
	}
}

void host_restart(struct world *w, struct host *h, bool amnesia)
{
	h->up = true;
	if (amnesia) {
		w->amnesia = true;
		forget_everything(w, h);
	}
	for (unsigned int t = 0; t < TRACKS; t++) {
		h->mover[t] = h->mover_journal[t];
		h->follower[t] = h->follower_journal[t];
	}
	disturb(w, h);
	kernel_reconcile(w, h);
	if (h->stopped || h->asleep)
		return; /* D_RESUME does the rest */
	catch_up(w, h);
	host_hello(w, h);
}

void host_init(struct world *w, int id, const uint8_t first[TRACKS],
	       const uint8_t peer_first[TRACKS])
{
	struct host *h = &w->host[id];
	struct locator own[TRACKS] = { 0 }, peer[TRACKS] = { 0 };

	h->id = id;
	h->up = true;
	h->configured = NO_ADDR;
	h->session = 1;
	w->sessions = 1;
	w->track_numbers = TRACKS;
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
		h->flow[f].own = own[own_track(h, f)];
		h->flow[f].peer = peer[peer_track(h, f)];
		kernel_accept(w, &h->flow[f], &h->flow[f].own,
			      &h->flow[f].peer);
	}
}
