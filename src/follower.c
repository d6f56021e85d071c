/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * follower: the peer half of the handover (migrate.h).
 *
 * Owns to which locator of the peer's track we send and from which we accept
 * it. Never sends a message of its own accord: every one answers a datagram,
 * so that an address that has not proved itself gets nothing else.
 */
#include "migrate_parts.h"

#include <string.h>

static struct accepted *entry(struct follower *f, const struct locator *l)
{
	return accepted_find(f->accepted, f->n_accepted, l);
}

static bool needed(const struct follower *f, const struct accepted *a)
{
	return locator_equal(&a->locator, &f->sending) ||
	       (f->state == FOLLOWER_OFFERED &&
		locator_equal(&a->locator, &f->offer));
}

static void hold(struct follower *f, uint64_t now, struct migrate_actions *out)
{
	actions_journal(out);
	if (f->holding)
		return;
	f->holding = true;
	f->hold_since_ms = now;
	actions_add(out, MIGRATE_HOLD);
}

/* Its owner says so: nothing is sent there any more (I5). */
static void hold_gone(struct follower *f, uint64_t now,
		      struct migrate_actions *out)
{
	if (MUTANT(gone_ignored))
		return;
	f->gone = true;
	hold(f, now, out);
}

/* What is held on the word of SYNC alone, which nobody has to follow by a MOVE,
 * ends by itself: nothing was said to be gone. MIGRATE_NEVER where none is. */
static uint64_t doubt_ends_ms(const struct follower *f)
{
	if (!f->holding || f->gone || f->state != FOLLOWER_STEADY ||
	    MUTANT(doubt_never_ends) || MUTANT(hold_not_released_by_peer))
		return MIGRATE_NEVER;
	return f->hold_since_ms + MIGRATE_LEASE_MS;
}

static struct migrate_action *send_answer(enum migrate_message message,
					   uint64_t seq,
					   const struct addr *dest,
					   struct migrate_actions *out)
{
	struct migrate_action *a = actions_add(out, MIGRATE_SEND);

	a->message = message;
	a->seq = seq;
	a->dest = *dest;
	return a;
}

static void send_accept(struct follower *f, uint64_t now,
			struct migrate_actions *out)
{
	const struct addr *dest = MUTANT(challenge_to_old) ? &f->sending.addr :
							     &f->offer.addr;

	memcpy(send_answer(MIGRATE_ACCEPT, f->pending, dest, out)->challenge,
	       f->challenge, sizeof(f->challenge));
	f->accepts++;
	f->accept_ms = now;
}

/* The mover tries the path from when it hears this. */
static void send_done(struct follower *f, uint64_t now,
		      struct migrate_actions *out)
{
	send_answer(MIGRATE_DONE, f->committed, &f->sending.addr, out);
	f->done_ms = now;
}

static void unaccept(struct follower *f, unsigned int i,
		     struct migrate_actions *out)
{
	actions_add(out, MIGRATE_ACCEPT_DEL)->to = f->accepted[i].locator;
	accepted_remove(f->accepted, &f->n_accepted, i);
}

/* Of what nobody has proved the mover uses one at most, and what it asks for.
 * The offer that was made before the others goes. */
static void bound_unproved(struct follower *f, struct migrate_actions *out)
{
	unsigned int oldest = MIGRATE_ACCEPTED_MAX;
	unsigned int n = 0;

	for (unsigned int i = 0; i < f->n_accepted; i++) {
		if (!f->accepted[i].proved_seq)
			continue;
		n++;
		if (oldest == MIGRATE_ACCEPTED_MAX ||
		    f->accepted[i].proved_seq < f->accepted[oldest].proved_seq)
			oldest = i;
	}
	if (n >= MIGRATE_UNPROVED_MAX)
		unaccept(f, oldest, out);
}

/* All but the current one and an offer may go to make room: tombstones last
 * longer than the mover may use what was cancelled. The last slot is for a
 * rollback that has to remember an addition and could not carry out the
 * removal that made room for it. */
static void accept_locator(struct follower *f, const struct locator *l,
			   uint64_t seq, struct migrate_actions *out)
{
	unsigned int oldest = MIGRATE_ACCEPTED_MAX;
	struct accepted *e = entry(f, l);

	if (e && e->proved_seq)
		e->proved_seq = seq; /* accepted last */
	if (e)
		return;
	bound_unproved(f, out);
	if (f->n_accepted == MIGRATE_ACCEPTED_MAX - 1) {
		for (unsigned int i = 0; i < f->n_accepted; i++)
			if (!needed(f, &f->accepted[i]) &&
			    (oldest == MIGRATE_ACCEPTED_MAX ||
			     f->accepted[i].until_ms <
				     f->accepted[oldest].until_ms))
				oldest = i;
		unaccept(f, oldest, out);
	}
	f->accepted[f->n_accepted].proved_seq = seq;
	f->accepted[f->n_accepted++].locator = *l;
	if (!MUTANT(offer_not_accepted))
		actions_add(out, MIGRATE_ACCEPT_ADD)->to = *l;
}

/* From now on outbound to `to`. `proved`: the mover has switched to it, so
 * that only packets in flight can still come from elsewhere. Where it was a
 * MOVE back to the locator in use, it may send from a cancelled one until it
 * hears our DONE: those keep their leases. */
static void commit(struct follower *f, uint64_t seq, const struct locator *to,
		   bool proved, uint64_t now, struct migrate_actions *out)
{
	uint64_t until = now + migrate_drain_ms(&f->rtt);
	bool moved = !locator_equal(&f->sending, to);
	struct locator target = *to; /* may be &f->offer */
	struct accepted *a;

	actions_journal(out);
	for (unsigned int i = 0; i < f->n_accepted; i++) {
		a = &f->accepted[i];
		if (needed(f, a) || (proved && a->until_ms > until))
			a->until_ms = until;
	}
	a = entry(f, to);
	if (a)
		a->proved_seq = 0;
	f->state = FOLLOWER_STEADY;
	f->committed = seq;
	f->floor = seq + 1;
	f->sending = target;
	f->gone = false;
	if (f->holding && !MUTANT(hold_not_released_by_peer)) {
		f->holding = false;
		actions_add(out, MIGRATE_RELEASE)->to = target;
	} else if (moved) {
		actions_add(out, MIGRATE_SWITCH)->to = target;
	}
	send_done(f, now, out);
	if (moved)
		actions_note(out, COUNTER_MOVES_COMMITTED, REASON_NONE,
			     seq, &target);
}

/* The offer under way is void, but the mover may be using it. */
static void cancel(struct follower *f, struct migrate_actions *out)
{
	struct accepted *a = entry(f, &f->offer);

	if (f->state != FOLLOWER_OFFERED)
		return;
	actions_journal(out);
	f->state = FOLLOWER_STEADY;
	f->floor = f->pending + 1;
	if (a && !MUTANT(cancelled_dropped))
		a->until_ms = f->lease_ms;
}

bool follower_is_far(const struct follower *f, uint64_t seq)
{
	const uint64_t seen = f ? f->floor : 0;

	return seq > seen && seq - seen > MIGRATE_JUMP_MAX &&
	       !MUTANT(jump_taken);
}

enum follower_class follower_classify(const struct follower *f, uint64_t seq)
{
	if (seq == f->committed)
		return FOLLOWER_SEQ_COMMITTED;
	if (f->state == FOLLOWER_OFFERED && seq == f->pending)
		return FOLLOWER_SEQ_PENDING;
	if (seq < f->floor && !MUTANT(stale_taken))
		return FOLLOWER_SEQ_STALE;
	return follower_is_far(f, seq) ? FOLLOWER_SEQ_FAR : FOLLOWER_SEQ_NEW;
}

static void move_new(struct follower *f, const struct follower_event *ev,
		     uint64_t now, struct migrate_actions *out)
{
	bool back = locator_equal(&ev->to, &f->sending);
	enum reason check = ev->check;

	/* The last slot is for a rollback (accept_locator()). */
	if (check == REASON_NONE && f->n_accepted == MIGRATE_ACCEPTED_MAX)
		check = REASON_LIMIT;
	actions_journal(out);
	cancel(f, out);
	f->floor = ev->seq;
	/* Even where the move is refused: I5 knows no exception. */
	if (ev->from_gone && !addr_equal(&ev->to.addr, &f->sending.addr))
		hold_gone(f, now, out);
	if (check != REASON_NONE) {
		send_answer(MIGRATE_REFUSE, ev->seq, &ev->to.addr, out)
			->reason = check;
		actions_note(out, COUNTER_MOVES_REFUSED, check, ev->seq,
			     &ev->to);
		return;
	}
	if (back) {
		/* The mover may want to know whether its flows are carried
		 * there. What was offered since it came may never have reached
		 * it: both know the challenge that it came with. */
		if (challenge_is_set(f->proved)) {
			f->pending = ev->seq;
			if (!MUTANT(key_of_last_offer))
				memcpy(f->challenge, f->proved,
				       sizeof(f->challenge));
		}
		commit(f, ev->seq, &ev->to, false, now, out);
		return;
	}
	accept_locator(f, &ev->to, ev->seq, out);
	f->state = FOLLOWER_OFFERED;
	f->pending = ev->seq;
	f->offer = ev->to;
	f->accepts = 0;
	f->lease_ms = MUTANT(lease_never_ends) ? MIGRATE_NEVER :
						 now + MIGRATE_LEASE_MS;
	memcpy(f->challenge, ev->challenge, sizeof(f->challenge));
	send_accept(f, now, out);
	actions_note(out, COUNTER_MOVES_ACCEPTED, REASON_NONE, ev->seq,
		     &ev->to);
}

/* The MOVE has to wait; that nothing reaches its owner where we send to does
 * not (I5). What is pending may be what is gone. */
static void on_gone(struct follower *f, const struct follower_event *ev,
		    uint64_t now, struct migrate_actions *out)
{
	if (MUTANT(gone_unheard))
		return;
	if (!ev->from_gone || !addr_equal(&ev->source, &ev->to.addr) ||
	    addr_equal(&ev->to.addr, &f->sending.addr) ||
	    follower_classify(f, ev->seq) != FOLLOWER_SEQ_NEW ||
	    (f->gone && f->state == FOLLOWER_STEADY))
		return;
	cancel(f, out);
	f->floor = ev->seq;
	hold_gone(f, now, out);
}

static void on_move(struct follower *f, const struct follower_event *ev,
		    uint64_t now, struct migrate_actions *out)
{
	if (!addr_equal(&ev->source, &ev->to.addr) &&
	    !MUTANT(source_unchecked)) {
		actions_note(out, COUNTER_RX_SOURCE_NOT_TO, REASON_NONE,
			     ev->seq, &ev->to);
		return;
	}
	switch (follower_classify(f, ev->seq)) {
	case FOLLOWER_SEQ_STALE:
		actions_note(out, COUNTER_RX_STALE, REASON_NONE, ev->seq,
			     &ev->to);
		break;
	case FOLLOWER_SEQ_FAR:
		actions_note(out, COUNTER_RX_UNEXPECTED, REASON_NONE, ev->seq,
			     &ev->to);
		break;
	case FOLLOWER_SEQ_COMMITTED:
		if (!f->gone && addr_equal(&ev->to.addr, &f->sending.addr))
			send_done(f, now, out);
		break;
	case FOLLOWER_SEQ_PENDING:
		/* Sent to every locator of ours, it arrives in copies. */
		if (addr_equal(&ev->to.addr, &f->offer.addr) &&
		    now >= f->accept_ms + MIGRATE_COPY_MS &&
		    f->accepts < MIGRATE_ACCEPT_REPEATS_MAX)
			send_accept(f, now, out);
		break;
	case FOLLOWER_SEQ_NEW:
		move_new(f, ev, now, out);
		break;
	}
}

static void on_prove(struct follower *f, const struct follower_event *ev,
		     uint64_t now, struct migrate_actions *out)
{
	if (ev->seq == f->committed) {
		if (!f->gone)
			send_done(f, now, out);
		return;
	}
	if (f->state != FOLLOWER_OFFERED || ev->seq != f->pending) {
		actions_note(out, COUNTER_RX_STALE, REASON_NONE, ev->seq,
			     &ev->to);
		return;
	}
	if ((!addr_equal(&ev->to.addr, &f->offer.addr) ||
	     memcmp(ev->challenge, f->challenge, sizeof(f->challenge)) != 0) &&
	    !MUTANT(prove_unchecked)) {
		actions_note(out, COUNTER_CHALLENGE_WRONG, REASON_NONE,
			     ev->seq, &ev->to);
		return;
	}
	if (f->accepts == 1)
		rtt_add_sample(&f->rtt, now - f->accept_ms);
	memcpy(f->proved, f->challenge, sizeof(f->proved));
	commit(f, ev->seq, &f->offer, true, now, out);
}

/* We lost what we had committed: where we send to is not where the peer is.
 * Its MOVE will come; where none does, the last word that was proved counts. */
static void on_sync(struct follower *f, const struct follower_event *ev,
		    uint64_t now, struct migrate_actions *out)
{
	if (ev->seq <= f->committed ||
	    addr_equal(&ev->to.addr, &f->sending.addr))
		return;
	if (follower_is_far(f, ev->seq))
		actions_note(out, COUNTER_RX_UNEXPECTED, REASON_NONE, ev->seq,
			     &ev->to);
	else
		hold(f, now, out);
}

static void on_timer(struct follower *f, uint64_t now,
		     struct migrate_actions *out)
{
	if (f->state == FOLLOWER_OFFERED && now >= f->lease_ms) {
		actions_note(out, COUNTER_LEASES_EXPIRED, REASON_NONE,
			     f->pending, &f->offer);
		cancel(f, out);
	}
	if (now >= doubt_ends_ms(f)) {
		actions_journal(out);
		f->holding = false;
		actions_add(out, MIGRATE_RELEASE)->to = f->sending;
		actions_note(out, COUNTER_HOLDS_ENDED, REASON_PEER_AWAY,
			     f->committed, &f->sending);
	}
	for (unsigned int i = f->n_accepted; i-- > 0;) {
		if (needed(f, &f->accepted[i]) ||
		    now < f->accepted[i].until_ms)
			continue;
		unaccept(f, i, out);
	}
}

void follower_init(struct follower *f, uint32_t track,
		   const struct locator *current)
{
	memset(f, 0, sizeof(*f));
	f->state = FOLLOWER_STEADY;
	f->track = track;
	f->floor = 1;
	f->sending = *current;
	f->accepted[0].locator = *current;
	f->n_accepted = 1;
}

void follower_step(struct follower *f, const struct follower_event *ev,
		   uint64_t now_ms, struct migrate_actions *out)
{
	out->n = 0;
	switch (ev->type) {
	case FOLLOWER_MOVE:
		on_move(f, ev, now_ms, out);
		break;
	case FOLLOWER_PROVE:
		on_prove(f, ev, now_ms, out);
		break;
	case FOLLOWER_TIMER:
		on_timer(f, now_ms, out);
		break;
	case FOLLOWER_SYNC:
		on_sync(f, ev, now_ms, out);
		break;
	case FOLLOWER_GONE:
		on_gone(f, ev, now_ms, out);
		break;
	case FOLLOWER_EVENTS:
		break;
	}
}

void follower_rollback(struct follower *f, const struct follower *before,
		       const struct migrate_actions *ran, unsigned int done,
		       uint64_t now_ms)
{
	const struct migrate_action *a;
	const bool gone = f->gone;
	struct accepted *e;

	*f = *before;
	for (unsigned int i = 0; i < done; i++) {
		a = &ran->action[i];
		e = entry(f, &a->to);
		if (a->type == MIGRATE_HOLD) {
			f->holding = true;
			f->gone = gone;
			f->hold_since_ms = now_ms;
		} else if (a->type == MIGRATE_ACCEPT_ADD && !e) {
			/* Drains at once. */
			f->accepted[f->n_accepted++].locator = a->to;
		} else if (a->type == MIGRATE_ACCEPT_DEL && e) {
			accepted_remove(f->accepted, &f->n_accepted,
					(unsigned int)(e - f->accepted));
		}
	}
	f->retry_ms = now_ms + MIGRATE_KERNEL_RETRY_MS;
}

uint64_t follower_deadline_ms(const struct follower *f)
{
	uint64_t at = doubt_ends_ms(f);

	if (f->state == FOLLOWER_OFFERED)
		at = f->lease_ms;
	for (unsigned int i = 0; i < f->n_accepted; i++)
		if (!needed(f, &f->accepted[i]) &&
		    f->accepted[i].until_ms < at)
			at = f->accepted[i].until_ms;
	return at != MIGRATE_NEVER && at < f->retry_ms ? f->retry_ms : at;
}

bool follower_holds(const struct follower *f)
{
	return f->holding;
}

const struct locator *follower_locator(const struct follower *f)
{
	return f->gone ? NULL : &f->sending;
}

bool follower_accepts(const struct follower *f, const struct addr *a)
{
	return accepted_has_addr(f->accepted, f->n_accepted, a);
}

bool follower_nonce_seq(const struct follower *f, const struct addr *from,
			uint64_t now_ms, uint64_t *seq)
{
	const bool offered = f->state == FOLLOWER_OFFERED;

	/* PROVE may be there before the nonce that did not hold it up. */
	if (!offered && (!f->done_ms ||
			 now_ms >= f->done_ms + MIGRATE_TRY_MAX_MS))
		return false;
	*seq = offered ? f->pending : f->committed;
	return f->pending == *seq && *seq > 0 &&
	       addr_equal(from, offered ? &f->offer.addr : &f->sending.addr);
}

enum locator_role follower_role(const struct follower *f, unsigned int i)
{
	const struct locator *l = &f->accepted[i].locator;

	if (locator_equal(l, &f->sending))
		return LOCATOR_CURRENT;
	if (f->state == FOLLOWER_OFFERED && locator_equal(l, &f->offer))
		return LOCATOR_PENDING;
	return LOCATOR_DRAINING;
}
