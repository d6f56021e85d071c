/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mover: the mover half of the handover (migrate.h).
 *
 * Owns which of our locators one track sends from and accepts on, and the
 * questions it puts to the peer about that. Never knows what the peer's own
 * locators are: that is the follower's business.
 *
 * What may be sent from where rests on three facts about the peer:
 * - It accepts `current` until it commits a later number, which it does only
 *   on our PROVE, or on a MOVE to the locator that it sends to already.
 * - It accepts what it answered with ACCEPT for a lease at least, unless it
 *   needs the room for what it answered later. A number lives for half a lease
 *   as ASKED and half a lease as SWITCHED, so that we stop sending (permit_ms)
 *   before the peer stops accepting.
 * - Once PROVE has been sent it may have committed, whatever we hear. Such a
 *   locator (proved_seq) stays accepted until a later commit is known, and
 *   the old one is not used again before the peer has answered for it.
 */
#include "migrate_parts.h"

#include <string.h>

#define HANDSHAKE_AFTER 2 /* repetitions */
#define NEXT_AFTER 4
#define RETRIES_MAX 3
/* Half of it, and of a PTO, lie between two nonces. */
#define TRY_EVERY_MS MIGRATE_PTO_MIN_MS

static bool asking(const struct mover *m)
{
	return m->state == MOVER_ASKED || m->state == MOVER_SWITCHED;
}

static struct accepted *entry(struct mover *m, const struct locator *l)
{
	return accepted_find(m->accepted, m->n_accepted, l);
}

/* False while the peer may have committed something it has not told us. */
static bool certain(const struct mover *m)
{
	for (unsigned int i = 0; i < m->n_accepted; i++)
		if (m->accepted[i].proved_seq > 0 &&
		    !locator_equal(&m->accepted[i].locator, &m->current))
			return false;
	return true;
}

/* Sending from what the peer has accepted, but not committed for all we know:
 * until permit_ms. Even from `current`, on the way back to it: the peer may
 * have left it meanwhile. */
static bool on_permit(const struct mover *m)
{
	return (m->state == MOVER_SWITCHED || !certain(m) ||
		!locator_equal(&m->sending, &m->current)) &&
	       !MUTANT(permit_unlimited);
}

/* Stays accepted whatever the clock says. */
static bool needed(const struct mover *m, const struct accepted *a)
{
	return locator_equal(&a->locator, &m->current) ||
	       (asking(m) && locator_equal(&a->locator, &m->target)) ||
	       (a->proved_seq > 0 && !MUTANT(proved_forgotten));
}

static void hold(struct mover *m, uint64_t now, struct migrate_actions *out)
{
	if (m->holding || MUTANT(hold_skipped))
		return;
	m->holding = true;
	m->hold_since_ms = now;
	if (m->state == MOVER_STEADY)
		m->state = MOVER_HELD;
	actions_journal(out);
	actions_add(out, MIGRATE_HOLD);
}

static void outbound(struct mover *m, const struct locator *l,
		     struct migrate_actions *out)
{
	if (MUTANT(hold_not_released) && m->holding)
		return;
	if (mover_holds(m))
		actions_add(out, MIGRATE_RELEASE)->to = *l;
	else if (!locator_equal(&m->sending, l))
		actions_add(out, MIGRATE_SWITCH)->to = *l;
	m->sending = *l;
	m->holding = false;
}

/* Flow packets wait for nothing: they go on by O until N is known to carry
 * them. The peer has answered MOVE, so nothing is repeated but the nonce. */
static bool tries_first(const struct mover *m)
{
	return m->trying && m->state == MOVER_ASKED;
}

/* +-25 %: two hosts that failed together must not go on in step. */
static void schedule(struct mover *m, uint32_t random, uint64_t now)
{
	if (tries_first(m)) {
		m->repeat_ms = MIGRATE_NEVER;
		return;
	}
	m->repeat_ms = now + m->backoff_ms * (192 + random % 129) / 256;
}

static void send_outstanding(struct mover *m, struct migrate_actions *out)
{
	struct migrate_action *a = actions_add(out, MIGRATE_SEND);

	a->seq = m->seq;
	a->source = m->target.addr;
	a->to = m->target;
	if (m->state == MOVER_ASKED) {
		a->message = MIGRATE_MOVE;
		a->from = m->from_gone && !m->current_up ? m->current.addr :
							   m->sending.addr;
		a->from_gone = m->from_gone && !MUTANT(gone_not_said);
	} else {
		a->message = MIGRATE_PROVE;
		memcpy(a->challenge, m->challenge, sizeof(a->challenge));
	}
}

static bool owes(const struct mover *m)
{
	return m->declared_gone || m->peer_lost || !certain(m);
}

/* The flows go on where they are, whether we are answered or not. */
static bool can_wait(const struct mover *m)
{
	return !mover_holds(m) && !owes(m);
}

/* The MOVE of a number costs a token; without one it waits. */
static void send_first(struct mover *m, uint32_t random, uint64_t now,
		       struct migrate_actions *out)
{
	const bool spare = can_wait(m);
	const bool paid =
		spare ? bucket_take_spare(&m->numbers, &migrate_numbers, now) :
			bucket_take(&m->numbers, &migrate_numbers, now);

	if (!paid && !MUTANT(numbers_unpaced)) {
		m->repeat_ms =
			spare ? bucket_next_spare_ms(&m->numbers,
						     &migrate_numbers, now) :
				bucket_next_ms(&m->numbers, &migrate_numbers,
					       now);
		return;
	}
	m->unsent = false;
	m->sent_ms = now;
	send_outstanding(m, out);
	schedule(m, random, now);
}

static bool is_known_gone(const struct mover *m, const struct addr *a)
{
	return (!m->sending_up && addr_equal(a, &m->sending.addr)) ||
	       (!m->current_up && addr_equal(a, &m->current.addr)) ||
	       (asking(m) && !m->target_up && addr_equal(a, &m->target.addr));
}

/* Where all must stay, as the peer may have committed any of them: at an address
 * that is not ours nothing comes anyhow. MIGRATE_ACCEPTED_MAX where none is. */
static unsigned int oldest_gone(const struct mover *m)
{
	unsigned int oldest = MIGRATE_ACCEPTED_MAX;
	const struct accepted *a;

	for (unsigned int i = 0; i < m->n_accepted; i++) {
		a = &m->accepted[i];
		if (!is_known_gone(m, &a->locator.addr) ||
		    locator_equal(&a->locator, &m->current) ||
		    locator_equal(&a->locator, &m->sending))
			continue;
		if (oldest == MIGRATE_ACCEPTED_MAX ||
		    a->proved_seq < m->accepted[oldest].proved_seq)
			oldest = i;
	}
	return oldest;
}

/* Makes `l` accepted. False where the list is full of locators that must
 * stay: then nothing has changed. */
static bool accept_locator(struct mover *m, const struct locator *l,
			   struct migrate_actions *out)
{
	unsigned int oldest = MIGRATE_ACCEPTED_MAX;

	if (entry(m, l))
		return true;
	/* The last slot is for a rollback that has to remember an addition
	 * and could not carry out the removal that made room. */
	if (m->n_accepted == MIGRATE_ACCEPTED_MAX)
		return false;
	if (m->n_accepted == MIGRATE_ACCEPTED_MAX - 1) {
		for (unsigned int i = 0; i < m->n_accepted; i++)
			if (!needed(m, &m->accepted[i]) &&
			    (oldest == MIGRATE_ACCEPTED_MAX ||
			     m->accepted[i].until_ms <
				     m->accepted[oldest].until_ms))
				oldest = i;
		if (oldest == MIGRATE_ACCEPTED_MAX)
			oldest = oldest_gone(m);
		if (oldest == MIGRATE_ACCEPTED_MAX)
			return false;
		actions_add(out, MIGRATE_ACCEPT_DEL)->to =
			m->accepted[oldest].locator;
		accepted_remove(m->accepted, &m->n_accepted, oldest);
	}
	m->accepted[m->n_accepted].locator = *l;
	m->n_accepted++;
	if (!MUTANT(accept_skipped))
		actions_add(out, MIGRATE_ACCEPT_ADD)->to = *l;
	return true;
}

/* A new number, and MOVE. `fresh`: the world has changed, so patience starts
 * anew; otherwise the track goes on asking where it was. */
static bool begin(struct mover *m, const struct locator *where, bool fresh,
		  uint32_t random, uint64_t now, struct migrate_actions *out)
{
	const struct locator to = *where; /* may lie in *m */
	struct accepted *e;

	if (!accept_locator(m, &to, out))
		return false;
	actions_journal(out);
	/* The peer keeps the two that it has accepted last: this one will be the
	 * other, and what is on its way from the first arrives. */
	if (on_permit(m))
		hold(m, now, out);
	if (fresh || !asking(m) || !addr_equal(&m->target.addr, &to.addr))
		m->retries = 0;
	if (fresh || !asking(m) || m->refused) {
		m->backoff_ms = rtt_pto_ms(&m->rtt);
		m->give_up_ms = now + MIGRATE_GIVE_UP_MS;
	}
	m->state = MOVER_ASKED;
	m->seq++;
	m->target = to;
	m->target_up = true;
	/* The peer commits at once where it sends to that one already. */
	e = entry(m, &to);
	if (e->proved_seq > 0 || locator_equal(&to, &m->current))
		e->proved_seq = m->seq;
	m->refused = false;
	m->trying = false;
	m->again = false;
	m->answer_ms = 0;
	m->from_gone = !m->current_up || !m->sending_up;
	m->declared_gone = m->declared_gone || m->from_gone;
	m->repeats = 0;
	m->evaluate_ms = MIGRATE_NEVER;
	if (MUTANT(switch_before_accept))
		outbound(m, &to, out);
	m->unsent = true;
	send_first(m, random, now, out);
	if (m->unsent)
		actions_note(out, COUNTER_MOVES_PACED, REASON_NONE, m->seq,
			     &to);
	actions_note(out, COUNTER_MOVES_STARTED, REASON_NONE, m->seq, &to);
	return true;
}

/* What no longer must stay accepted begins to drain. */
static void drain(struct mover *m, uint64_t upto_seq, uint64_t now)
{
	uint64_t until = now + migrate_drain_ms(&m->rtt);
	struct accepted *a;

	for (unsigned int i = 0; i < m->n_accepted; i++) {
		a = &m->accepted[i];
		if (a->proved_seq > 0 && a->proved_seq <= upto_seq) {
			a->proved_seq = 0;
			a->until_ms = until;
		}
		if (locator_equal(&a->locator, &m->current))
			a->until_ms = until;
	}
}

/* How long MOVE took to be answered says something about the path where it was
 * repeated, too. */
static void note_answer(struct mover *m, uint64_t now)
{
	const uint64_t took = now - m->sent_ms;

	m->answer_ms = took < MIGRATE_PTO_MAX_MS ? (uint32_t)took :
						   MIGRATE_PTO_MAX_MS;
}

/* For how long a nonce is waited for: by a path that is slower than those
 * before, the answer to MOVE was repeated for, and no PTO knows of it. */
static uint32_t trial_ms(const struct mover *m)
{
	uint32_t most = 2 * rtt_pto_ms(&m->rtt);

	if (most < 2 * m->answer_ms)
		most = 2 * m->answer_ms;
	return most > MIGRATE_TRY_MIN_MS ? most : MIGRATE_TRY_MIN_MS;
}

/* Before PROVE has come the peer may hold the flow, and answers no nonce: that
 * of a PROVE which was lost says nothing about the path. */
static bool trial_may_end(const struct mover *m)
{
	return m->trying && m->state != MOVER_SWITCHED;
}

bool mover_trial_ends(const struct mover *m, uint64_t now_ms)
{
	return trial_may_end(m) && now_ms >= m->try_end_ms;
}

static void send_nonce(struct mover *m, uint64_t now,
		       struct migrate_actions *out)
{
	struct migrate_action *a = actions_add(out, MIGRATE_TRY);
	const uint32_t every = (rtt_pto_ms(&m->rtt) + TRY_EVERY_MS) / 2;
	const uint32_t least = trial_ms(m) /
			       MIGRATE_ACCEPT_REPEATS_MAX; /* all P answers */

	a->seq = m->seq;
	a->to = m->target;
	m->try_ms = now + (every > least ? every : least);
}

void mover_extend_trial(struct mover *m, uint64_t now)
{
	const uint64_t end_ms = now + trial_ms(m);

	if (m->trying && m->try_end_ms < end_ms)
		m->try_end_ms = end_ms;
}

/* The challenge, which the nonces are made with, is known. */
static void begin_trial(struct mover *m, uint64_t now,
			struct migrate_actions *out)
{
	m->trying = true;
	m->try_end_ms = now + trial_ms(m);
	send_nonce(m, now, out);
}

/* The peer has committed `seq`: it sends to `target` and accepts from it. */
static void commit(struct mover *m, uint64_t now, struct migrate_actions *out)
{
	bool moved = !locator_equal(&m->current, &m->target);

	if (m->repeats == 0)
		rtt_add_sample(&m->rtt, now - m->sent_ms);
	if (m->again)
		note_answer(m, now);
	actions_journal(out);
	drain(m, m->seq, now);
	m->current = m->target;
	m->current_up = m->target_up;
	m->committed = m->seq;
	m->from_gone = false;
	m->declared_gone = false;
	m->peer_lost = false;
	m->state = MOVER_STEADY;
	if (m->trying)
		m->try_end_ms = now + trial_ms(m);
	if (moved || m->refusals.why != REASON_PATH_UNTRIED)
		refusals_forget(&m->refusals);
	else /* back from there */
		m->evaluate_ms = m->refusals.until_ms > now ?
					 m->refusals.until_ms : now;
	if (m->current_up) {
		outbound(m, &m->current, out);
	} else {
		m->sending = m->current;
		m->state = MOVER_HELD;
		hold(m, now, out);
		m->evaluate_ms = now;
	}
	m->sending_up = m->current_up;
	if (m->again && m->current_up) {
		memcpy(m->challenge, entry(m, &m->current)->challenge,
		       sizeof(m->challenge));
		begin_trial(m, now, out);
	}
	actions_note(out, moved ? COUNTER_MOVES_DONE : COUNTER_MOVES_ABANDONED,
		     REASON_NONE, m->seq, &m->current);
}

/* What `told` knows about the address of `l`. */
static bool is_up(const struct mover *told, const struct locator *l,
		  bool otherwise)
{
	if (addr_equal(&l->addr, &told->sending.addr))
		return told->sending_up;
	if (addr_equal(&l->addr, &told->current.addr))
		return told->current_up;
	if (addr_equal(&l->addr, &told->target.addr))
		return told->target_up;
	return otherwise;
}

/* The peer has committed an earlier number than the one we wait for. False
 * where we never gave it a reason to. */
static bool learn(struct mover *m, uint64_t seq, uint64_t now,
		  struct migrate_actions *out)
{
	struct accepted *a = NULL;
	bool newer;

	for (unsigned int i = 0; i < m->n_accepted; i++)
		if (m->accepted[i].proved_seq == seq && seq > m->committed)
			a = &m->accepted[i];
	if (!a)
		return false;
	newer = entry(m, &m->sending)->proved_seq > seq;
	m->current_up = is_up(m, &a->locator, false);
	actions_journal(out);
	drain(m, seq, now);
	m->committed = seq;
	m->current = a->locator;
	if (newer || locator_equal(&m->sending, &m->current)) {
		if (!m->current_up) /* as far as we know; it may need a word */
			m->evaluate_ms = now;
		return true;
	}
	/* Only the lease of a move it has cancelled allows the other. */
	if (m->current_up && !mover_holds(m)) {
		outbound(m, &m->current, out);
	} else {
		hold(m, now, out);
		m->sending = m->current;
		m->evaluate_ms = now; /* perhaps it is up */
	}
	m->sending_up = m->current_up;
	return true;
}

/* Can the peer have committed what we are asking for? */
static bool may_be_done(struct mover *m, uint64_t seq)
{
	return asking(m) && !m->unsent &&
	       ((seq == m->seq &&
		 (m->peer_lost || entry(m, &m->target)->proved_seq == seq)) ||
		MUTANT(seq_ignored));
}

/* --------------------------------------------------------------- trial */

/* Nothing is lost by giving up N: the flows go by O, and the peer knows that. */
static bool may_stay(const struct mover *m)
{
	return m->current_up && !mover_holds(m) && !owes(m) &&
	       locator_equal(&m->sending, &m->current);
}

/* Nothing more is asked for until a pause is over; what P has on offer ends with
 * its lease. */
static void rest(struct mover *m, uint64_t now, struct migrate_actions *out)
{
	actions_journal(out);
	m->state = MOVER_STEADY;
	m->evaluate_ms = refusals_pause(&m->refusals, now);
}

/* The peer accepts the target: sends from there, and proves it. */
static void switch_over(struct mover *m, uint32_t random, uint64_t now,
			struct migrate_actions *out)
{
	struct accepted *at = entry(m, &m->target);

	actions_journal(out);
	m->state = MOVER_SWITCHED;
	m->permit_ms = now + MIGRATE_GIVE_UP_MS;
	m->permit_seq = m->seq;
	m->give_up_ms = m->permit_ms;
	m->backoff_ms = rtt_pto_ms(&m->rtt);
	m->repeats = 0;
	m->sent_ms = now;
	at->proved_seq = m->seq;
	memcpy(at->challenge, m->challenge, sizeof(at->challenge));
	outbound(m, &m->target, out);
	m->sending_up = true;
	send_outstanding(m, out);
	schedule(m, random, now);
}

static void on_nonce(struct mover *m, const struct mover_event *ev,
		     uint64_t now, struct migrate_actions *out)
{
	const bool first = tries_first(m);

	if (!m->trying || ev->seq != m->seq) {
		actions_note(out, COUNTER_RX_STALE, REASON_NONE, ev->seq,
			     NULL);
		return;
	}
	m->trying = false;
	if (first)
		switch_over(m, ev->random, now, out);
}

/* What P has accepted is taken back (I6). */
static void go_back(struct mover *m, uint32_t random, uint64_t now,
		    struct migrate_actions *out)
{
	if (mover_was_refused(m, &m->current.addr))
		rest(m, now, out);
	else
		begin(m, &m->current, true, random, now, out);
}

/* Nothing was learnt of N, good or bad: the flows stay, and it is asked for
 * again after a pause. */
static void leave_untried(struct mover *m, uint32_t random, uint64_t now,
			  struct migrate_actions *out)
{
	m->refusals.why = REASON_PATH_UNTRIED;
	actions_note(out, COUNTER_MOVES_UNTRIED, REASON_PATH_UNTRIED, m->seq,
		     &m->target);
	go_back(m, random, now, out);
	if (m->state == MOVER_ASKED) /* the pause counts from now on */
		refusals_pause(&m->refusals, now);
}

static void on_untried(struct mover *m, const struct mover_event *ev,
		       uint64_t now, struct migrate_actions *out)
{
	if (!m->trying || ev->seq != m->seq || !tries_first(m) ||
	    !may_stay(m) || MUTANT(untried_taken)) {
		on_nonce(m, ev, now, out); /* as good as it gets */
		return;
	}
	m->trying = false;
	leave_untried(m, ev->random, now, out);
}

/* No nonce has come. Where the flows have gone to N all the same, because O is
 * gone, another source may do better. */
static void give_up_trial(struct mover *m, uint32_t random, uint64_t now,
			  struct migrate_actions *out)
{
	const bool first = tries_first(m);

	m->trying = false;
	if (first && !may_stay(m)) {
		m->repeat_ms = now; /* MOVE, and what follows from ACCEPT */
		return;
	}
	actions_note(out, COUNTER_MOVES_BLOCKED, REASON_PATH_BLOCKED, m->seq,
		     &m->target);
	if (m->refusals.why == REASON_PATH_UNTRIED)
		m->refusals.why = REASON_NONE; /* by now it was tried */
	if (!first)
		actions_add(out, MIGRATE_NEXT_CANDIDATE);
	else
		go_back(m, random, now, out);
}

/* -------------------------------------------------------------- events */

/* All that can be asked for was refused: the next round begins at `at_ms`. */
static void wait_for_round(struct mover *m, uint64_t at_ms)
{
	if (m->evaluate_ms > at_ms)
		m->evaluate_ms = at_ms;
}

bool mover_was_proved(const struct mover *m)
{
	for (unsigned int i = 0; i < m->n_accepted; i++)
		if (locator_equal(&m->accepted[i].locator, &m->current))
			return challenge_is_set(m->accepted[i].challenge);
	return false;
}

/* MOVE to where the track is has no ACCEPT: its nonces are made with the
 * challenge that the peer has moved it there for. Every later one was for a
 * locator that it sends to no more, or has never sent to. */
static bool may_try_again(const struct mover *m)
{
	return m->state == MOVER_STEADY && may_stay(m) && mover_was_proved(m);
}

static void situation_resting(struct mover *m, enum migrate_cause cause,
			      const struct locator *candidate, uint32_t random,
			      uint64_t now, struct migrate_actions *out)
{
	const struct locator *want = NULL;
	enum mover_state next;

	if (candidate && !locator_equal(candidate, &m->current) &&
	    (!m->current_up || (cause != MIGRATE_CAUSE_REFRESH &&
				cause != MIGRATE_CAUSE_TRY)))
		want = candidate;
	else if (m->current_up && owes(m) &&
		 !mover_was_refused(m, &m->current.addr))
		want = &m->current;
	if (want) {
		if (begin(m, want, true, random, now, out))
			return;
		m->evaluate_ms = now + MIGRATE_KERNEL_RETRY_MS;
	} else if (cause == MIGRATE_CAUSE_TRY && may_try_again(m) &&
		   begin(m, &m->current, true, random, now, out)) {
		m->again = true;
		return;
	}
	next = m->current_up && !owes(m) ? MOVER_STEADY : MOVER_HELD;
	if (next != m->state)
		actions_journal(out);
	m->state = next;
}

/* Where there is no further source, a pause. False where the target may yet
 * answer: that ends the round, but not the asking. */
static bool end_round(struct mover *m, const struct locator *next,
			  uint64_t now)
{
	if (next && !(m->refused && refusals_is_full(&m->refusals)))
		return false;
	if (m->refused || (m->refusals.n && !m->refusals.until_ms))
		refusals_pause(&m->refusals, now);
	return m->refused;
}

static void situation_asking(struct mover *m, enum migrate_cause cause,
			     const struct locator *candidate, uint32_t random,
			     uint64_t now, struct migrate_actions *out)
{
	bool again = cause == MIGRATE_CAUSE_RETRY;
	bool fresh = !again && cause != MIGRATE_CAUSE_NEXT;
	const struct locator *want =
		candidate && cause != MIGRATE_CAUSE_REFRESH ? candidate :
		m->target_up ? &m->target :
		candidate ? candidate :
		m->sending_up ? &m->sending :
		m->current_up ? &m->current : NULL;

	if (cause == MIGRATE_CAUSE_NEXT && end_round(m, candidate, now))
		want = NULL;
	if (!want) {
		/* Nowhere to ask from. What was proved stays accepted. */
		actions_journal(out);
		m->state = MOVER_HELD;
		m->trying = false;
		if (m->refusals.n)
			wait_for_round(m, m->refusals.until_ms ?
				       m->refusals.until_ms :
				       refusals_shorten(&m->refusals, now));
		return;
	}
	if (tries_first(m) && !may_stay(m) && m->target_up &&
	    locator_equal(want, &m->target)) {
		switch_over(m, random, now, out);
		return;
	}
	if (locator_equal(want, &m->target) && m->target_up &&
	    (m->state == MOVER_SWITCHED ||
	     (!again && (m->from_gone || (m->current_up && m->sending_up))))) {
		if (fresh && cause != MIGRATE_CAUSE_REFRESH) {
			m->backoff_ms = rtt_pto_ms(&m->rtt);
			schedule(m, random, now);
		}
		return;
	}
	begin(m, want, fresh, random, now, out);
}

/* After a move that could wait and came to nothing. */
static bool is_paused(const struct mover *m, enum migrate_cause cause)
{
	return (cause == MIGRATE_CAUSE_DEPRECATED ||
		cause == MIGRATE_CAUSE_BETTER_ROUTE) &&
	       m->refusals.why == REASON_PATH_UNTRIED && m->refusals.until_ms;
}

/* What the peer refused in this round waits for the next one, whatever else
 * is new here; but not for the operator. */
static bool is_held_back(const struct mover *m,
			 const struct locator *candidate,
			 enum migrate_cause cause)
{
	return is_paused(m, cause) ||
	       (cause != MIGRATE_CAUSE_OPERATOR &&
		cause != MIGRATE_CAUSE_PORTS &&
		cause != MIGRATE_CAUSE_RETRY &&
		mover_was_refused(m, &candidate->addr));
}

static void on_situation(struct mover *m, const struct mover_event *ev,
			 uint64_t now, struct migrate_actions *out)
{
	const struct locator *candidate =
		addr_is_set(&ev->candidate.addr) ? &ev->candidate : NULL;
	enum migrate_cause cause = ev->cause;

	refusals_tick(&m->refusals, now);
	if (m->current_up != ev->current_up || m->sending_up != ev->sending_up)
		refusals_forget(&m->refusals);
	if (!candidate && cause != MIGRATE_CAUSE_NEXT)
		m->refusals.why = REASON_NONE; /* something else is wrong */
	/* What was refused may have been overtaken meanwhile. */
	if (cause == MIGRATE_CAUSE_RETRY &&
	    (m->state != MOVER_ASKED || !m->refused))
		cause = MIGRATE_CAUSE_REFRESH;
	if (cause == MIGRATE_CAUSE_TRY && asking(m))
		cause = MIGRATE_CAUSE_REFRESH;
	if (candidate && is_held_back(m, candidate, cause)) {
		if (!asking(m))
			wait_for_round(m, refusals_shorten(&m->refusals, now));
		candidate = NULL;
	}
	if (mover_holds(m)) /* HOLD may have failed */
		hold(m, now, out);
	m->current_up = ev->current_up;
	m->sending_up = ev->sending_up;
	m->target_up = asking(m) && ev->target_up;
	if (!m->sending_up || m->peer_lost)
		hold(m, now, out);
	if (asking(m))
		situation_asking(m, cause, candidate, ev->random, now, out);
	else
		situation_resting(m, cause, candidate, ev->random, now, out);
}

static void on_accept(struct mover *m, const struct mover_event *ev,
		      uint64_t now, struct migrate_actions *out)
{
	bool other;

	if (!asking(m) || m->unsent ||
	    (ev->seq != m->seq && !MUTANT(seq_ignored))) {
		actions_note(out, COUNTER_RX_STALE, REASON_NONE, ev->seq,
			     NULL);
		return;
	}
	/* Whoever hears it elsewhere has not shown that N reaches us. */
	if ((!addr_equal(&ev->arrived_on, &m->target.addr) &&
	     !MUTANT(arrived_on_unchecked)) || !m->target_up) {
		actions_note(out, COUNTER_RX_UNEXPECTED, REASON_NONE, ev->seq,
			     NULL);
		return;
	}
	/* A copy has the same one, unless the peer has lost its memory. */
	memcpy(m->challenge, ev->challenge, sizeof(m->challenge));
	if (m->state == MOVER_SWITCHED) {
		memcpy(entry(m, &m->target)->challenge, m->challenge,
		       sizeof(m->challenge));
		m->repeats++; /* its answer would measure nothing */
		send_outstanding(m, out);
		return;
	}
	if (m->trying) /* a copy */
		return;
	m->refused = false; /* not for ever */
	if (m->repeats == 0)
		rtt_add_sample(&m->rtt, now - m->sent_ms);
	note_answer(m, now);
	/* Where it is said to be already, and it wants a proof? */
	if (certain(m) && locator_equal(&m->target, &m->current))
		m->peer_lost = true;
	/* Other ports at the same address are no other path. */
	other = !addr_equal(&m->target.addr, &m->current.addr);
	if (ev->pilot && other)
		begin_trial(m, now, out);
	if (!may_stay(m) || !other || MUTANT(try_skipped) ||
	    (!m->trying && MUTANT(untried_taken)))
		switch_over(m, ev->random, now, out);
	else if (m->trying)
		schedule(m, ev->random, now);
	else
		leave_untried(m, ev->random, now, out);
}

/* Not the target, then: what we send from, the next source, or a pause. */
static void turn_away(struct mover *m, uint32_t random, uint64_t now,
		      struct migrate_actions *out)
{
	/* A choice of ports alone says nothing about the address. */
	if (locator_equal(&m->target, &m->sending) ||
	    !addr_equal(&m->target.addr, &m->sending.addr))
		refusals_add(&m->refusals, &m->target.addr, now);
	m->refused = true;
	m->give_up_ms = now + MIGRATE_GIVE_UP_MS;
	if (!m->sending_up ||
	    (mover_was_refused(m, &m->sending.addr) && !may_stay(m)))
		actions_add(out, MIGRATE_NEXT_CANDIDATE);
	else if (owes(m))
		begin(m, &m->sending, true, random, now, out);
	else
		rest(m, now, out);
}

static void on_refuse(struct mover *m, const struct mover_event *ev,
		      uint64_t now, struct migrate_actions *out)
{
	/* The peer's byte: one that we do not know is a refusal like others,
	 * and so is "not refused". */
	const bool known = ev->reason > REASON_NONE &&
			   ev->reason < REASON_MAX;
	enum reason why = known ? ev->reason : REASON_POLICY;

	if (m->state != MOVER_ASKED || m->unsent || ev->seq != m->seq) {
		actions_note(out, COUNTER_RX_STALE, REASON_NONE, ev->seq,
			     NULL);
		return;
	}
	/* One answer per number: copies start nothing twice. But LIMIT may
	 * follow from ourselves, when no ports are left to choose. */
	if (m->refused && why != REASON_LIMIT)
		return;
	m->refused = true;
	m->refusals.why = why;
	m->trying = false;
	actions_note(out, COUNTER_MOVES_REFUSED, why, ev->seq, &m->target);
	if ((why == REASON_TUPLE_TAKEN || why == REASON_DIGEST) &&
	    m->retries < RETRIES_MAX) {
		m->retries++;
		actions_add(out, why == REASON_DIGEST ?
					 MIGRATE_SEND_FLOWS :
					 MIGRATE_CHOOSE_PORTS);
		return;
	}
	turn_away(m, ev->random, now, out);
}

static void on_done(struct mover *m, const struct mover_event *ev,
		    uint64_t now, struct migrate_actions *out)
{
	if (may_be_done(m, ev->seq))
		commit(m, now, out);
	else if (!learn(m, ev->seq, now, out))
		actions_note(out, COUNTER_RX_STALE, REASON_NONE, ev->seq,
			     NULL);
}

static void on_sync(struct mover *m, const struct mover_event *ev,
		    uint64_t now, struct migrate_actions *out)
{
	if (ev->seq == m->committed)
		return;
	if (may_be_done(m, ev->seq)) {
		commit(m, now, out);
		return;
	}
	if (learn(m, ev->seq, now, out))
		return;
	if (ev->seq > m->seq) {
		actions_note(out, COUNTER_RX_UNEXPECTED, REASON_NONE, ev->seq,
			     NULL);
		return;
	}
	/* It restarted without its journal. What it accepts from us is
	 * unknown, where we are is not: say it again. But not for each SYNC
	 * until it has answered. */
	hold(m, now, out);
	if (m->peer_lost && (m->state == MOVER_ASKED ||
			     mover_was_refused(m, &m->current.addr)))
		return;
	m->peer_lost = true;
	for (unsigned int i = 0; i < m->n_accepted; i++)
		memset(m->accepted[i].challenge, 0,
		       sizeof(m->accepted[i].challenge));
	if (asking(m))
		begin(m, &m->target, true, ev->random, now, out);
	else if (m->current_up)
		begin(m, &m->current, true, ev->random, now, out);
}

static void repeat(struct mover *m, uint32_t random, uint64_t now,
		   struct migrate_actions *out)
{
	if (m->unsent) {
		send_first(m, random, now, out);
		return;
	}
	m->repeats++;
	m->backoff_ms = m->backoff_ms * 2 > MIGRATE_BACKOFF_MAX_MS ?
				MIGRATE_BACKOFF_MAX_MS :
				m->backoff_ms * 2;
	send_outstanding(m, out);
	schedule(m, random, now);
	if (m->repeats == HANDSHAKE_AFTER)
		actions_add(out, MIGRATE_HANDSHAKE);
	if (m->repeats >= NEXT_AFTER && m->state == MOVER_ASKED)
		actions_add(out, MIGRATE_NEXT_CANDIDATE);
}

static void give_up(struct mover *m, uint32_t random, uint64_t now,
		    struct migrate_actions *out)
{
	bool back = m->current_up && !locator_equal(&m->target, &m->current);

	/* From SWITCHED the hold has begun with the end of the permit: the
	 * peer may have committed and drained the old locator by now. */
	if (m->state == MOVER_SWITCHED && MUTANT(give_up_sends)) {
		m->state = MOVER_STEADY;
		outbound(m, &m->current, out);
		return;
	}
	begin(m, back ? &m->current : &m->target, false, random, now, out);
	m->give_up_ms = now + MIGRATE_GIVE_UP_MS;
	actions_add(out, MIGRATE_HANDSHAKE);
	if (!back)
		actions_add(out, MIGRATE_NEXT_CANDIDATE);
}

/* Of what is asked, not of a move that came to nothing before. */
static bool is_refused(const struct mover *m)
{
	return m->refusals.why != REASON_NONE &&
	       m->refusals.why != REASON_PATH_UNTRIED;
}

/* What is held because the peer said that it has lost its memory. One that has
 * answered since, and still does not know the flows, will not for longer. */
static uint64_t doubt_ends_ms(const struct mover *m)
{
	if (!m->holding || !m->peer_lost || !m->current_up || !certain(m) ||
	    !locator_equal(&m->sending, &m->current) ||
	    m->state == MOVER_SWITCHED || MUTANT(doubt_never_ends))
		return MIGRATE_NEVER;
	return m->hold_since_ms + (is_refused(m) ? MIGRATE_LOST_MS :
						   MIGRATE_LEASE_MS);
}

/* The last word that it has proved counts. What is asked is asked on. */
static void end_doubt(struct mover *m, struct migrate_actions *out)
{
	actions_journal(out);
	m->peer_lost = false;
	outbound(m, &m->current, out);
	if (m->state == MOVER_HELD && !owes(m))
		m->state = MOVER_STEADY;
	actions_note(out, COUNTER_HOLDS_ENDED, REASON_NO_ANSWER, m->committed,
		     &m->current);
}

static void on_timer(struct mover *m, uint32_t random, uint64_t now,
		     struct migrate_actions *out)
{
	for (unsigned int i = m->n_accepted; i-- > 0;) {
		if (needed(m, &m->accepted[i]) ||
		    now < m->accepted[i].until_ms)
			continue;
		actions_add(out, MIGRATE_ACCEPT_DEL)->to =
			m->accepted[i].locator;
		accepted_remove(m->accepted, &m->n_accepted, i);
	}
	if (on_permit(m) && now >= m->permit_ms)
		hold(m, now, out);
	if (now >= doubt_ends_ms(m))
		end_doubt(m, out);
	if (mover_trial_ends(m, now))
		give_up_trial(m, random, now, out);
	else if (m->trying && now >= m->try_ms)
		send_nonce(m, now, out);
	refusals_tick(&m->refusals, now);
	if (asking(m) && m->refused) {
		/* Neither other ports nor FLOWS have come of it. */
		if (now >= m->give_up_ms)
			turn_away(m, random, now, out);
	} else if (asking(m) && now >= m->give_up_ms) {
		give_up(m, random, now, out);
	} else if (asking(m) && now >= m->repeat_ms) {
		repeat(m, random, now, out);
	}
	if (now >= m->evaluate_ms) {
		m->evaluate_ms = MIGRATE_NEVER;
		actions_add(out, MIGRATE_EVALUATE);
	}
}

/* ----------------------------------------------------------- interface */

void mover_init(struct mover *m, uint32_t track, const struct locator *current)
{
	memset(m, 0, sizeof(*m));
	m->state = MOVER_STEADY;
	m->track = track;
	m->current = *current;
	m->sending = *current;
	m->current_up = true;
	m->sending_up = true;
	m->evaluate_ms = MIGRATE_NEVER;
	m->accepted[0].locator = *current;
	m->n_accepted = 1;
}

void mover_settle(struct mover *m, uint64_t now_ms)
{
	if (m->state != MOVER_STEADY || !m->declared_gone)
		return;
	m->state = MOVER_HELD;
	m->evaluate_ms = now_ms;
}

void mover_step(struct mover *m, const struct mover_event *ev, uint64_t now_ms,
		struct migrate_actions *out)
{
	out->n = 0;
	switch (ev->type) {
	case MOVER_SITUATION:
		on_situation(m, ev, now_ms, out);
		break;
	case MOVER_ACCEPT:
		on_accept(m, ev, now_ms, out);
		break;
	case MOVER_REFUSE:
		on_refuse(m, ev, now_ms, out);
		break;
	case MOVER_DONE:
		on_done(m, ev, now_ms, out);
		break;
	case MOVER_TIMER:
		on_timer(m, ev->random, now_ms, out);
		break;
	case MOVER_SYNC:
		on_sync(m, ev, now_ms, out);
		break;
	case MOVER_SESSION:
		/* The peer makes as many sessions as it likes. */
		if (!asking(m) || m->refused || m->unsent ||
		    !bucket_take_spare(&m->numbers, &migrate_numbers, now_ms))
			break;
		m->repeats++;
		m->backoff_ms = rtt_pto_ms(&m->rtt);
		send_outstanding(m, out);
		schedule(m, ev->random, now_ms);
		break;
	case MOVER_NONCE:
		on_nonce(m, ev, now_ms, out);
		break;
	case MOVER_UNTRIED:
		on_untried(m, ev, now_ms, out);
		break;
	case MOVER_EVENTS:
		break;
	}
	/* The old locator came back, or was shown to be the current one. */
	if (m->holding && m->current_up && !m->peer_lost && certain(m) &&
	    locator_equal(&m->sending, &m->current)) {
		actions_journal(out);
		outbound(m, &m->current, out);
	}
	/* What is held bears no nonce: none says nothing of the path. */
	if (m->state == MOVER_HELD)
		m->trying = false;
}

void mover_rollback(struct mover *m, const struct mover *before,
		    const struct migrate_actions *ran, unsigned int done,
		    uint64_t now_ms)
{
	const struct mover failed = *m;
	const struct migrate_action *a;
	struct accepted *e;

	*m = *before;
	/* The move is undone, the facts are not; nor is its token back. */
	m->numbers = failed.numbers;
	m->peer_lost = before->peer_lost || failed.peer_lost;
	m->current_up = is_up(&failed, &m->current, before->current_up);
	m->sending_up = is_up(&failed, &m->sending, before->sending_up);
	m->target_up = is_up(&failed, &m->target, false);
	if (m->trying && !failed.trying) { /* it has ended all the same */
		m->trying = false;
		m->repeat_ms = now_ms; /* MOVE, and what follows from ACCEPT */
	}
	if (mover_holds(before) && !mover_holds(m))
		m->holding = true; /* nothing was released */
	if (mover_holds(m) && !mover_holds(before))
		m->hold_since_ms = now_ms;
	for (unsigned int i = 0; i < done; i++) {
		a = &ran->action[i];
		e = entry(m, &a->to);
		if (a->type == MIGRATE_HOLD) {
			m->holding = true;
		} else if (a->type == MIGRATE_ACCEPT_ADD && !e) {
			/* Drains at once; accept_locator() left this slot. */
			m->accepted[m->n_accepted++].locator = a->to;
		} else if (a->type == MIGRATE_ACCEPT_DEL && e) {
			accepted_remove(m->accepted, &m->n_accepted,
					(unsigned int)(e - m->accepted));
		}
	}
	if (m->holding && m->state == MOVER_STEADY)
		m->state = MOVER_HELD;
	m->retry_ms = now_ms + MIGRATE_KERNEL_RETRY_MS;
	m->evaluate_ms = m->retry_ms;
}

uint64_t mover_deadline_ms(const struct mover *m)
{
	uint64_t at = m->evaluate_ms;
	const uint64_t doubt_ms = doubt_ends_ms(m);

	at = doubt_ms < at ? doubt_ms : at;
	for (unsigned int i = 0; i < m->n_accepted; i++)
		if (!needed(m, &m->accepted[i]) &&
		    m->accepted[i].until_ms < at)
			at = m->accepted[i].until_ms;
	if (asking(m)) {
		at = m->repeat_ms < at && !m->refused ? m->repeat_ms : at;
		at = m->give_up_ms < at ? m->give_up_ms : at;
	}
	if (m->trying) {
		at = m->try_ms < at ? m->try_ms : at;
		at = trial_may_end(m) && m->try_end_ms < at ? m->try_end_ms :
							      at;
	}
	if (on_permit(m) && !m->holding)
		at = m->permit_ms < at ? m->permit_ms : at;
	return at < m->retry_ms ? m->retry_ms : at;
}

bool mover_holds(const struct mover *m)
{
	/* Even where HOLD has not succeeded yet. */
	return m->holding || !m->sending_up;
}

const struct locator *mover_locator(const struct mover *m)
{
	return &m->sending;
}

const struct locator *mover_current(const struct mover *m)
{
	return &m->current;
}

const struct locator *mover_target(const struct mover *m)
{
	return asking(m) ? &m->target : NULL;
}

bool mover_accepts(const struct mover *m, const struct addr *a)
{
	return accepted_has_addr(m->accepted, m->n_accepted, a);
}

bool mover_was_refused(const struct mover *m, const struct addr *a)
{
	return refusals_has(&m->refusals, a) && !MUTANT(pause_skipped);
}

void mover_forget_refusal(struct mover *m)
{
	if (m->state == MOVER_STEADY && !m->refusals.n &&
	    !m->refusals.until_ms)
		m->refusals.why = REASON_NONE;
}

bool mover_left_untried(const struct mover *m)
{
	return m->state == MOVER_STEADY && !m->refusals.until_ms &&
	       m->refusals.why == REASON_PATH_UNTRIED;
}

bool mover_may_begin(const struct mover *m, uint64_t now_ms)
{
	return bucket_next_spare_ms(&m->numbers, &migrate_numbers, now_ms) <=
	       now_ms;
}

enum locator_role mover_role(const struct mover *m, unsigned int i)
{
	const struct locator *l = &m->accepted[i].locator;

	if (locator_equal(l, &m->current))
		return LOCATOR_CURRENT;
	if (asking(m) && locator_equal(l, &m->target))
		return LOCATOR_PENDING;
	return LOCATOR_DRAINING;
}
