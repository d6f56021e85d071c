/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host: what the daemon does around migrate, in small.
 *
 * Owns the executor of actions and the steps. Keeps I2 and I7 as the real
 * executor must: in order, up to the first failure.
 */
#include "sim.h"

#include <stddef.h>
#include <string.h>

unsigned int host_own_track(const struct host *h, unsigned int flow)
{
	if (flow == LIAR_FLOW)
		return LIAR_TRACK;
	return h->id == 0 ? flow & 1 : flow >> 1;
}

unsigned int host_peer_track(const struct host *h, unsigned int flow)
{
	if (flow == LIAR_FLOW)
		return LIAR_TRACK;
	return h->id == 0 ? flow >> 1 : flow & 1;
}

struct host *host_peer(struct world *w, const struct host *h)
{
	return &w->host[1 - h->id];
}

bool host_owns(const struct host *h, const struct addr *a)
{
	int n = sim_addr_number(a);

	return n != NO_ADDR && n / ADDRS == h->id && h->owned[n % ADDRS];
}

void host_news(const struct world *w, struct host *h)
{
	for (unsigned int t = 0; t < MOVERS; t++)
		h->event_ms[t] = w->now;
}

void host_disturb(struct world *w, struct host *h)
{
	host_news(w, h);
	h->disturbed_until_ms = w->now + MIGRATE_LEASE_MS + 2 * DELAY_MAX_MS;
}

bool host_talks_to(const struct host *h, int a)
{
	struct addr addr = sim_addr(a);

	for (unsigned int f = 0; f < ALL_FLOWS; f++)
		if (h->flow[f].open && addr_equal(&h->flow[f].peer.addr, &addr))
			return true;
	return false;
}

unsigned int host_other(unsigned int track)
{
	return track == LIAR_TRACK ? OTHER_LIAR : OTHER_PAIR;
}

unsigned int host_whose(uint64_t session)
{
	return session & LIAR_SESSION ? OTHER_LIAR : OTHER_PAIR;
}

uint64_t host_session(const struct host *h, unsigned int who)
{
	return who == OTHER_LIAR ? h->liar_session : h->session;
}

void host_repeat(struct world *w, struct host *h, unsigned int who)
{
	struct mover_event ev = { .type = MOVER_SESSION };

	for (unsigned int t = 0; t < MOVERS; t++)
		if (host_other(t) == who)
			host_step_mover(w, h, t, &ev, NULL);
}

/* ------------------------------------------------------------ executor */

/* Where the peer may be heard: what we accept it at, and have not been told to
 * be gone; at the very worst what the configuration says. */
bool host_knows(const struct host *h, unsigned int who, int a)
{
	struct addr addr = sim_addr(a);
	bool known = who == OTHER_PAIR && a == h->configured;

	for (unsigned int t = 0; t < MOVERS; t++) {
		const struct follower *f = &h->follower[t];

		known |= host_other(t) == who && follower_accepts(f, &addr) &&
			 !(f->gone && addr_equal(&f->sending.addr, &addr));
	}
	return known;
}

/* One that is repeated is the same, and drives out no other. */
static void record_challenge(struct host *h, const uint8_t *challenge, int dest)
{
	struct challenge_record *c;

	for (unsigned int i = 0; i < CHALLENGES && i < h->n_challenges; i++) {
		c = &h->challenge[i];
		if (c->dest == dest && !memcmp(c->challenge, challenge,
					       sizeof(c->challenge)))
			return;
	}
	c = &h->challenge[h->n_challenges++ % CHALLENGES];
	memcpy(c->challenge, challenge, sizeof(c->challenge));
	c->dest = dest;
	c->heard_at = NO_ADDR;
}

void host_send_known(struct world *w, struct host *h, unsigned int who,
		     struct dgram *d)
{
	for (int a = 0; a < ALL_ADDRS; a++) {
		if (a / ADDRS == h->id || !host_knows(h, who, a))
			continue;
		d->dst = a;
		w->stats.controls++;
		post_send(w, h, who, d);
	}
}

static void execute_send(struct world *w, struct host *h, bool mover,
			 unsigned int track, const struct migrate_action *a,
			 const struct dgram *answered)
{
	const unsigned int who = host_other(track);
	struct dgram d = { .kind = (enum dgram_kind)a->message,
			   .from_host = h->id, .track = track,
			   .session = host_session(h, who), .seq = a->seq,
			   .from = a->from, .to = a->to,
			   .from_gone = a->from_gone, .reason = a->reason,
			   .truly_gone = NO_ADDR, .accepted_addr = NO_ADDR };

	memcpy(d.challenge, a->challenge, sizeof(d.challenge));
	d.digest = member_digest(h, mover, track);
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
		    !host_owns(h, &h->mover[track].current.addr))
			d.truly_gone = sim_addr_number(
				&h->mover[track].current.addr);
		if (a->message == MIGRATE_MOVE) {
			check_asked(w, h, track, a);
			h->named[track][a->seq % NUMBERS] =
				(struct named){ a->seq, a->to };
		}
		if (host_owns(h, &a->source))
			host_send_known(w, h, who, &d);
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
		record_challenge(h, a->challenge, d.dst);
	} else if (a->message == MIGRATE_DONE) {
		d.accepted_addr =
			sim_addr_number(&h->follower[track].sending.addr);
	}
	w->stats.controls++;
	post_send(w, h, who, &d);
	/* FLOWS will come from there, and is answered where it has proved to
	 * be. */
	if (a->reason == REASON_DIGEST && !post_is_valid(h, who, d.dst))
		post_validate(h, who, d.src, d.dst);
}

bool host_pilot(const struct host *h, unsigned int track, unsigned int *flow)
{
	for (*flow = 0; *flow < ALL_FLOWS; (*flow)++)
		if (host_own_track(h, *flow) == track)
			break;
	return !follower_holds(&h->follower[host_peer_track(h, *flow)]);
}

/* As a packet of the flow by its new locator. */
static void execute_try(struct world *w, struct host *h, unsigned int track,
			const struct migrate_action *a)
{
	struct dgram d = { .kind = D_NONCE, .from_host = h->id, .track = track,
			   .seq = a->seq, .src = sim_addr_number(&a->to.addr) };
	struct dgram untried = { .kind = D_UNTRIED, .from_host = h->id,
				 .track = track, .seq = a->seq };

	if (!host_pilot(h, track, &d.flow) ||
	    (!w->healing && world_chance(w, 20))) {
		h->pilot_seq[track] = 0;
		world_post(w, w->now, &untried);
		return;
	}
	if (!host_owns(h, &a->to.addr))
		return;
	d.dst = sim_addr_number(&h->follower[host_peer_track(h, d.flow)]
					 .sending.addr);
	memcpy(d.challenge, h->mover[track].challenge, sizeof(d.challenge));
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
		member_list(w, h);
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
			host_disturb(w, h);
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
			kernel_accept_locator(w, h, mover, track, &a->to);
			break;
		case MIGRATE_ACCEPT_DEL:
			if (!timer) /* to make room, before its time */
				host_disturb(w, h);
			kernel_unaccept_locator(w, h, mover, track, &a->to);
			break;
		case MIGRATE_RELEASE:
		case MIGRATE_SWITCH:
			for (unsigned int f = 0; f < ALL_FLOWS; f++)
				kernel_flush(w, h, f);
			break;
		case MIGRATE_SEND:
			execute_send(w, h, mover, track, a, answered);
			break;
		case MIGRATE_TRY:
			execute_try(w, h, track, a);
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
		return ev->seq != m->seq ? 10 :
		       mover_target(m) &&
			       !addr_equal(&ev->arrived_on, &m->target.addr) ?
					   11 : 9;
	case MOVER_REFUSE:
		return ev->seq != m->seq ? 14 :
		       ev->reason == REASON_TUPLE_TAKEN ||
			       ev->reason == REASON_DIGEST ? 12 : 13;
	case MOVER_DONE:
		return ev->seq == m->seq ? 15 : 16;
	case MOVER_TIMER:
		return 17;
	case MOVER_SYNC:
		return ev->seq == m->committed ? 18 : 19;
	case MOVER_NONCE:
		return 21;
	case MOVER_UNTRIED:
		return 22;
	default:
		return 20;
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
		case FOLLOWER_SEQ_FAR:
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

/* A flow has left since the ACCEPT: the peer would take it along. */
static void leave_trial(struct world *w, struct host *h, unsigned int track)
{
	const struct mover *m = &h->mover[track];
	struct mover_event ev = { .type = MOVER_REFUSE, .seq = m->seq,
				  .reason = REASON_DIGEST };

	if (m->state == MOVER_ASKED && m->trying &&
	    h->left_seq[track] == m->seq &&
	    migrate_mutant != MUTANT_left_taken_along)
		host_step_mover(w, h, track, &ev, NULL);
}

void host_step_mover(struct world *w, struct host *h, unsigned int track,
		       struct mover_event *ev, const struct dgram *cause)
{
	struct mover *m = &h->mover[track];
	struct mover before;
	struct migrate_actions acts;
	unsigned int column, done;

	if (ev->type != MOVER_REFUSE)
		leave_trial(w, h, track);
	before = *m;
	column = mover_column_of(m, ev);
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
	if (done == acts.n && track != LIAR_TRACK)
		check_tried(w, h, track, &before);
	if (done < acts.n) {
		coverage.mover[before.state][MOVER_COLUMNS - 1]++;
		mover_rollback(m, &before, &acts, done, w->now);
		h->mover_ahead[track] = true;
	}
	check_host(w, h);
}

void host_step_follower(struct world *w, struct host *h, unsigned int track,
			  const struct follower_event *ev,
			  const struct dgram *cause)
{
	struct follower *f = &h->follower[track];
	struct follower before = *f;
	struct migrate_actions acts;
	unsigned int column = follower_column_of(f, ev), done;
	bool was_new = ev->type == FOLLOWER_MOVE ? column >= 4 :
		ev->type == FOLLOWER_GONE && ev->from_gone &&
		!addr_equal(&ev->to.addr, &f->sending.addr);

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

/* In place of what the peer has refused, what it has not; where that is asked
 * for, or nothing. */
static void unrefused(const struct world *w, struct host *h,
		      unsigned int track, enum migrate_cause cause, int except,
		      struct locator *l)
{
	const struct mover *m = &h->mover[track];
	bool owned[ADDRS];
	struct locator other;

	memcpy(owned, h->owned, sizeof(owned));
	for (int i = 0; i < ADDRS; i++) {
		struct addr a = sim_addr(h->id * ADDRS + i);

		h->owned[i] = owned[i] && !mover_was_refused(m, &a);
	}
	other = host_candidate(w, h, track, except);
	memcpy(h->owned, owned, sizeof(owned));
	if (cause == MIGRATE_CAUSE_NEXT || addr_is_set(&other.addr))
		*l = other;
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
	ev.current_up = host_owns(h, &mover_current(m)->addr);
	ev.sending_up = host_owns(h, &mover_locator(m)->addr);
	ev.target_up = target && host_owns(h, &target->addr);
	if (candidate && host_owns(h, &candidate->addr)) {
		ev.candidate = *candidate;
	} else {
		if (cause == MIGRATE_CAUSE_NEXT && target)
			except = sim_addr_number(&target->addr);
		ev.candidate = host_candidate(w, h, track, except);
		if (cause == MIGRATE_CAUSE_NEXT || !ev.current_up)
			unrefused(w, h, track, cause, except, &ev.candidate);
	}
	host_step_mover(w, h, track, &ev, NULL);
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
	for (unsigned int f = 0; f < ALL_FLOWS; f++)
		if (h->flow[f].in && host_own_track(h, f) == track &&
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
	at = post_deadline(h);
	for (unsigned int t = 0; t < MOVERS; t++) {
		d = mover_deadline_ms(&h->mover[t]);
		at = d < at ? d : at;
		d = follower_deadline_ms(&h->follower[t]);
		at = d < at ? d : at;
		d = host_later_due(h, t);
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
	post_timers(w, h);
	for (unsigned int t = 0; t < MOVERS && !w->failed; t++) {
		if (mover_deadline_ms(&h->mover[t]) <= w->now)
			host_step_mover(w, h, t, &m, NULL);
		if (follower_deadline_ms(&h->follower[t]) <= w->now)
			host_step_follower(w, h, t, &f, NULL);
		if (host_later_due(h, t) <= w->now)
			host_answer_later(w, h, t);
	}
}
