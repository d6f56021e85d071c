/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handover: brings local events to the handover core, and carries out what
 * it answers to these and to messages.
 *
 * Owns the reasons to move (sacip(7), "Policy") and the order of
 * what is done. Never changes a flow itself (track does), never keeps state
 * that belongs to the core.
 */
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover_impl.h"

#define ANNOUNCE_POLL_MS 20 /* is FLOWS complete acknowledged? */
#define UNROUTED_MAX_MS 10000 /* an address without a route */
#define UNROUTED_LOOK_MS 1000
#define UNRESOLVED_MAX_MS 50 /* and one whose gateway does not answer */
#define UNRESOLVED_LOOK_MS 5

static void evaluate(struct track *t, uint64_t now_ms, bool quiet);
static void situation(struct track *t, enum migrate_cause cause,
		      const struct locator *candidate, uint64_t now_ms);

/* ---- carrying out ------------------------------------------------------ */

/* Another way begins, and how is seen before it can change. */
static void look_anew(struct flow *f)
{
	struct track *ours = track_of(f, FLOW_OURS);

	if (ours)
		ours->fresh = ours->assoc->d->fresh = true;
}

/* Of this reason, since the track moved last: the others say nothing new. Nor
 * does a hold that has ended by itself once more. */
static bool is_first_refusal(struct track *t, const struct migrate_action *act)
{
	uint64_t bit = (uint64_t)1 << act->reason;

	_Static_assert(REASON_MAX <= 64, "a bit for each");
	if ((act->counter != COUNTER_MOVES_REFUSED &&
	     act->counter != COUNTER_MOVES_UNTRIED &&
	     act->counter != COUNTER_HOLDS_ENDED) ||
	    t->told_refusals & bit)
		return false;
	t->told_refusals |= bit;
	return true;
}

/* The flows stay at the address that they were to have other ports of. */
static bool is_at_other_ports(const struct track *t,
			      const struct migrate_action *act)
{
	const struct locator *at = mover_locator(&t->mover);

	return addr_equal(&act->to.addr, &at->addr) &&
	       act->to.ports != at->ports;
}

/* Where no nonce has come the path is to blame, but not for ports. */
static bool is_new_block(struct track *t, const struct migrate_action *act)
{
	if (act->counter != COUNTER_MOVES_BLOCKED)
		return false;
	return is_at_other_ports(t, act) ||
	       unfit_note(t, &act->to.addr, loop_now_ms());
}

static void note(struct track *t, const struct migrate_action *act)
{
	struct daemon *d = t->assoc->d;
	char a[ADDR_TEXT_MAX];
	char text[CTL_TEXT_MAX];
	bool committed = act->counter == COUNTER_MOVES_DONE ||
			 act->counter == COUNTER_MOVES_COMMITTED;
	bool news = committed || is_new_block(t, act) ||
		    is_first_refusal(t, act);
	struct flow *f;

	d->counters.value[act->counter]++;
	if (act->reason != REASON_NONE)
		d->counters.refused[act->reason]++;
	if (act->counter == COUNTER_MOVES_UNTRIED)
		t->untried = act->to.addr;
	snprintf(text, sizeof(text), "track %u move %llu at %s%s%s", t->id,
		 (unsigned long long)act->seq, addr_format(&act->to.addr, a),
		 act->reason != REASON_NONE ? ": " : "",
		 act->reason != REASON_NONE ? reason_text(act->reason) : "");
	assoc_log(t->assoc, news ? LOG_LEVEL_NOTICE : LOG_LEVEL_DEBUG,
		  "%s: %s, %u flows with %s, %s", counter_name(act->counter),
		  t->side == FLOW_OURS ? "we" : "peer", t->group.digest.count,
		  t->assoc->name, text);
	report_event(d, t->assoc->name, counter_name(act->counter), text);
	if (!committed)
		return;
	t->told_refusals = 0;
	t->moves++;
	/* What has changed while it was on its way. */
	if (t->side == FLOW_OURS)
		t->fresh = d->fresh = true;
	keep_track_later(t);
	LIST_FOREACH(f, &t->group.flows, in_group[t->side]) {
		f->moves++;
		look_anew(f);
		report_flow_event(d, f, "moved", text);
	}
}

static void choose_ports(struct track *t, struct follow_up *next)
{
	const struct locator *target = mover_target(&t->mover);

	next->wanted = true;
	next->cause = MIGRATE_CAUSE_RETRY;
	next->candidate = source_locator(t, target ? &target->addr :
				      &mover_current(&t->mover)->addr);
}

static void handshakes(struct track *t, uint64_t now_ms)
{
	const struct locator *target = mover_target(&t->mover);
	struct addr to[MIGRATE_ACCEPTED_MAX * 2];
	unsigned int n = outgoing_locators(t, to, sizeof(to) / sizeof(*to));

	if (!target)
		target = mover_current(&t->mover);
	for (unsigned int i = 0; i < n; i++)
		peer_rehandshake(t->assoc->peer, now_ms, &target->addr, &to[i]);
}

static int carry_out(struct track *t, const struct migrate_action *act,
		     const struct locator *sending, struct follow_up *next,
		     bool all, uint64_t now_ms)
{
	const struct locator *target;

	switch (act->type) {
	case MIGRATE_JOURNAL:
		keep_track(t);
		return 0;
	case MIGRATE_HOLD:
	case MIGRATE_ACCEPT_DEL:
	case MIGRATE_ACCEPT_ADD:
	case MIGRATE_RELEASE:
	case MIGRATE_SWITCH:
		return track_apply(t, act, false, sending, all, now_ms);
	case MIGRATE_SEND:
		/* Before it leaves: what comes by the new locator then does
		 * not wait for us. */
		if (act->message == MIGRATE_ACCEPT && t->follower.accepts == 1)
			wake_offered(t);
		outgoing_send(t, act, now_ms);
		break;
	case MIGRATE_TRY:
		unfit_begin(t, &act->to.addr, act->seq);
		next->untried = !trial_send(t, act, now_ms);
		break;
	case MIGRATE_CHOOSE_PORTS:
		choose_ports(t, next);
		break;
	case MIGRATE_SEND_FLOWS:
		claim_table_announce(t->assoc->claims, now_ms);
		assoc_touch(t->assoc);
		t->announce_ms = now_ms + ANNOUNCE_POLL_MS;
		break;
	case MIGRATE_HANDSHAKE:
		handshakes(t, now_ms);
		break;
	case MIGRATE_NEXT_CANDIDATE:
		target = mover_target(&t->mover);
		next->wanted = true;
		next->cause = MIGRATE_CAUSE_NEXT;
		source_next(t, target ? &target->addr :
			    &mover_current(&t->mover)->addr,
			    &next->candidate.addr);
		next->candidate = source_locator(t, &next->candidate.addr);
		break;
	case MIGRATE_EVALUATE:
		next->evaluate = true;
		break;
	case MIGRATE_NOTE:
		note(t, act);
		break;
	}
	return 0;
}

/* HOLD and the ACCEPT_ADD behind it go in one transaction. Where the kernel
 * takes none, or refuses: one after the other, so that what can be done is. */
static bool are_both(const struct work *w)
{
	const struct migrate_action *act = &w->out.action[w->i];

	return !w->apart && w->i + 1 < w->out.n && act->type == MIGRATE_HOLD &&
	       act[1].type == MIGRATE_ACCEPT_ADD;
}

static const struct locator *sent_by(const struct track *t,
				     const struct work *w)
{
	return t->side == FLOW_OURS ? &w->before.mover.sending :
				      &w->before.follower.sending;
}

/* The next action, or two of them. */
static int carry_out_next(struct track *t, struct work *w, bool all,
			  uint64_t now_ms)
{
	const struct migrate_action *act = &w->out.action[w->i];
	bool both = are_both(w);
	int ret = both ? track_apply(t, act + 1, true, sent_by(t, w), all,
				     now_ms) :
			 carry_out(t, act, sent_by(t, w), &w->next, all,
				   now_ms);

	if (ret < 0 && both) {
		w->apart = true;
		return 0;
	}
	if (!ret)
		w->i += both ? 2 : 1;
	return ret;
}

/* False where it is not done: work.c. Then `i` tells how many were carried out.
 * The messages go before the packets that were held: the other end waits for
 * them, and releases its own meanwhile. */
static bool carry_out_all(struct track *t, struct work *w, bool all,
			  uint64_t now_ms)
{
	int ret = 0;

	while (w->i < w->out.n && !ret) {
		enum migrate_action_type type = w->out.action[w->i].type;

		if (w->changed && type > MIGRATE_SEND) {
			track_let_go(t);
			w->changed = false;
		}
		w->changed = w->changed || (type > MIGRATE_JOURNAL &&
					    type < MIGRATE_SEND);
		ret = carry_out_next(t, w, all, now_ms);
	}
	if (ret == TRACK_MORE)
		return false;
	if (w->changed)
		track_let_go(t);
	return true;
}

static bool mover_rests(const struct mover *m)
{
	return m->state == MOVER_STEADY && m->n_accepted == 1;
}

static bool asks(const struct migrate_actions *out)
{
	for (unsigned int i = 0; i < out->n; i++)
		if (out->action[i].type == MIGRATE_SEND &&
		    out->action[i].message == MIGRATE_MOVE)
			return true;
	return false;
}

/* The kernel has refused: the journal tells of a step that was not taken. */
static void mover_back(struct track *t, const struct mover *before,
		       const struct migrate_actions *ran, unsigned int done,
		       uint64_t now_ms)
{
	mover_rollback(&t->mover, before, ran, done, now_ms);
	keep_track(t);
}

static void follower_back(struct track *t, const struct follower *before,
			  const struct migrate_actions *ran,
			  unsigned int done, uint64_t now_ms)
{
	follower_rollback(&t->follower, before, ran, done, now_ms);
	keep_track(t);
}

/* What ends by time alone is written down when it is done: until then the
 * journal tells of a locator that is over, which ends once more. */
static void keep_ends(struct track *t, const struct migrate_actions *ran)
{
	for (unsigned int i = 0; i < ran->n; i++)
		if (ran->action[i].type == MIGRATE_ACCEPT_DEL) {
			keep_track_later(t);
			return;
		}
}

/* What could not enter it yet is tried again. */
static void settled(struct track *t, uint64_t now_ms)
{
	claim_table_settled(t->assoc->claims, now_ms);
	assoc_touch(t->assoc);
}

/* MOVER_NONCE, MOVER_UNTRIED. */
static void tried(struct track *t, enum mover_event_type type, uint64_t now_ms)
{
	const struct mover_event ev = {
		.type = type,
		.seq = t->mover.seq,
		.random = crypto_random_u32(),
	};

	handover_step_mover(t, &ev, now_ms);
}

/* A flow has left since its ACCEPT, while nonces are on their way: the peer
 * would take it along. */
static void leave_trial(struct track *t, uint64_t now_ms)
{
	const struct mover_event ev = {
		.type = MOVER_REFUSE,
		.reason = REASON_DIGEST,
		.seq = t->mover.seq,
		.random = crypto_random_u32(),
	};

	handover_step_mover(t, &ev, now_ms);
}

static bool is_left_in_trial(const struct track *t)
{
	return t->mover.state == MOVER_ASKED && t->mover.trying &&
	       t->left_seq == t->mover.seq;
}

static void end_mover_step(struct track *t, const struct work *w,
			   uint64_t now_ms)
{
	const struct mover *before = &w->before.mover;

	if (w->i < w->out.n)
		mover_back(t, before, &w->out, w->i, now_ms);
	else if (asks(&w->out))
		wake_ask(t, now_ms);
	keep_ends(t, &w->out);
	if (!mover_rests(before) && mover_rests(&t->mover))
		settled(t, now_ms);
	agenda_touch(&t->assoc->d->agenda[AGENDA_MOVES], t->assoc);
	if (w->next.untried)
		tried(t, MOVER_UNTRIED, now_ms);
	else if (w->next.wanted)
		situation(t, w->next.cause, &w->next.candidate, now_ms);
	else if (w->next.evaluate)
		evaluate(t, now_ms, true);
}

static void end_follower_step(struct track *t, const struct work *w,
			      uint64_t now_ms)
{
	const struct follower *before = &w->before.follower;

	/* What is held stays so until it answers once more. */
	if (w->i < w->out.n && (w->own || w->proved))
		t->unheard_ms = w->own && w->out.action[0].type == MIGRATE_HOLD ?
					0 : now_ms;
	if (w->i < w->out.n && !w->own)
		follower_back(t, before, &w->out, w->i, now_ms);
	keep_ends(t, &w->out);
	if (!place_is_settled(before) && place_is_settled(&t->follower))
		settled(t, now_ms);
	agenda_touch(&t->assoc->d->agenda[AGENDA_MOVES], t->assoc);
}

static void go_on(struct track *t, struct work *w, bool all, uint64_t now_ms)
{
	bool done;

	t->assoc->d->steps++;
	done = carry_out_all(t, w, all, now_ms);
	if (!done && !work_keep(t, w))
		done = carry_out_all(t, w, true, now_ms);
	t->assoc->d->steps--;
	if (!done)
		return;
	if (t->side == FLOW_OURS)
		end_mover_step(t, w, now_ms);
	else
		end_follower_step(t, w, now_ms);
}

void handover_go_on(struct track *t, bool all, uint64_t now_ms)
{
	const struct wire_refuse *refusal = t->refusal;
	struct work *w = work_take(t);

	t->refusal = w->refuses ? &w->refusal : NULL;
	go_on(t, w, all, now_ms);
	t->refusal = refusal;
	free(w);
}

/* What we see ourselves waits for nothing. */
static void finish(struct track *t, uint64_t now_ms)
{
	while (t->work)
		handover_go_on(t, true, now_ms);
}

/* Packets of a flow that is not held yet would be dropped: nothing else is
 * done before all are. */
static bool begins_hold(const struct migrate_actions *out)
{
	for (unsigned int i = 0; i < out->n; i++)
		if (out->action[i].type == MIGRATE_HOLD)
			return true;
	return false;
}

void handover_step_mover(struct track *t, const struct mover_event *ev,
		       uint64_t now_ms)
{
	struct work w;

	finish(t, now_ms);
	if (ev->type != MOVER_REFUSE && is_left_in_trial(t)) {
		leave_trial(t, now_ms);
		finish(t, now_ms);
	}
	memset(&w, 0, sizeof(w));
	w.before.mover = t->mover;
	mover_step(&t->mover, ev, now_ms, &w.out);
	go_on(t, &w, begins_hold(&w.out), now_ms);
}

void handover_step_follower(struct track *t, const struct follower_event *ev,
			  uint64_t now_ms)
{
	struct work w;
	bool news;

	finish(t, now_ms);
	memset(&w, 0, sizeof(w));
	w.before.follower = t->follower;
	follower_step(&t->follower, ev, now_ms, &w.out);
	if (t->follower.n_accepted > 1 || w.before.follower.n_accepted > 1)
		t->others_ms = now_ms;
	news = t->unheard_ms &&
	       t->follower.committed != w.before.follower.committed;
	/* Who asks for what he has proves nothing by it. */
	w.proved = news && ev->type == FOLLOWER_PROVE;
	if (w.proved)
		t->unheard_ms = 0;
	else if (news)
		unheard_ask(t, now_ms);
	go_on(t, &w, false, now_ms);
}

void handover_hold(struct track *t, bool hold, uint64_t now_ms)
{
	struct work w;

	finish(t, now_ms);
	memset(&w, 0, sizeof(w));
	w.own = true;
	w.before.follower = t->follower;
	w.out.n = 1;
	w.out.action[0].type = hold ? MIGRATE_HOLD : MIGRATE_RELEASE;
	w.out.action[0].to = t->follower.sending;
	go_on(t, &w, false, now_ms);
}

/* ---- local events ------------------------------------------------------ */

static void situation(struct track *t, enum migrate_cause cause,
		      const struct locator *candidate, uint64_t now_ms)
{
	struct rtmon *rt = t->assoc->d->rtmon;
	const struct locator *target = mover_target(&t->mover);
	struct mover_event ev;

	memset(&ev, 0, sizeof(ev));
	ev.type = MOVER_SITUATION;
	ev.random = crypto_random_u32();
	ev.cause = cause;
	ev.current_up = rtmon_usable(rt, &mover_current(&t->mover)->addr);
	ev.sending_up = rtmon_usable(rt, &mover_locator(&t->mover)->addr);
	ev.target_up = target && rtmon_usable(rt, &target->addr);
	ev.candidate = *candidate;
	if (addr_is_set(&candidate->addr) &&
	    !addr_equal(&candidate->addr, &t->way.from))
		source_expect(t, &candidate->addr);
	handover_step_mover(t, &ev, now_ms);
}

/* (ii) deprecated and (iii) its packets leave by another interface now, or are
 * not carried where they are. */
static enum migrate_cause cause_to_move(struct track *t, uint64_t now_ms)
{
	const struct addr *current = &mover_current(&t->mover)->addr;
	enum migrate_cause cause = source_look(t, now_ms);

	if (unfit_is(t, current) && mover_was_proved(&t->mover))
		return cause == MIGRATE_CAUSE_REFRESH ?
			       MIGRATE_CAUSE_BETTER_ROUTE : cause;
	if (cause == MIGRATE_CAUSE_BETTER_ROUTE &&
	    addr_equal(&t->wish, current)) /* the operator knows better */
		return MIGRATE_CAUSE_REFRESH;
	return cause;
}

/* A move that can wait is to another address which carries flows, for all we
 * know, and where the packets leave by another interface than before, to one of
 * that interface. */
static bool is_better(struct track *t, enum migrate_cause cause,
		      const struct addr *source)
{
	if (!addr_is_set(source) ||
	    addr_equal(source, &mover_current(&t->mover)->addr) ||
	    unfit_is(t, source))
		return false;
	return cause != MIGRATE_CAUSE_BETTER_ROUTE ||
	       source_leads_home(t, source);
}

static void look_again(struct daemon *d, uint64_t at_ms)
{
	if (!d->await_ms || at_ms < d->await_ms)
		d->await_ms = at_ms;
}

/*
 * The address is back, and what is held cannot leave yet: a cable comes first,
 * then addresses, then routes, then the gateway's link address. Without a route
 * all of it would end in the sink; while a gateway is asked for, a hundred
 * packets wait for its answer, and push out those before them
 * (__neigh_event_send()). The route's own event tells; but one that only ports
 * lead to (ip-rule(8)) is not seen from here, so not for ever.
 */
static bool awaits_way(struct track *t, uint64_t now_ms)
{
	struct daemon *d = t->assoc->d;
	const struct addr *from = &mover_current(&t->mover)->addr;
	enum source_way way = SOURCE_WAY_OPEN;
	uint64_t most_ms;

	if (mover_holds(&t->mover))
		way = source_way(t, from, now_ms);
	if (way != t->open) {
		t->open = way;
		t->open_ms = now_ms;
	}
	most_ms = way == SOURCE_WAY_NONE ? UNROUTED_MAX_MS : UNRESOLVED_MAX_MS;
	if (way == SOURCE_WAY_OPEN || now_ms - t->open_ms >= most_ms)
		return false;
	look_again(d, now_ms + (way == SOURCE_WAY_NONE ? UNROUTED_LOOK_MS :
							 UNRESOLVED_LOOK_MS));
	return true;
}

/* There is nowhere better to go. */
static void stay(struct track *t, uint64_t now_ms, bool quiet)
{
	const struct addr *current = &mover_current(&t->mover)->addr;
	const struct locator nowhere = { 0 };

	if (quiet && mover_left_untried(&t->mover))
		mover_forget_refusal(&t->mover);
	if (!quiet || t->mover.trying || !unfit_may_try(t) ||
	    !unfit_is_due(t, current) || !mover_may_begin(&t->mover, now_ms))
		return;
	unfit_tried(t, current, now_ms);
	situation(t, MIGRATE_CAUSE_TRY, &nowhere, now_ms);
}

/* The operator has said so once; that nothing could show whether the path
 * carries the flows is no answer. */
static bool is_still_wished(struct track *t)
{
	return mover_left_untried(&t->mover) && addr_is_set(&t->wish) &&
	       addr_equal(&t->wish, &t->untried) &&
	       !addr_equal(&t->wish, &mover_current(&t->mover)->addr) &&
	       source_is_allowed(t, &t->wish);
}

static void evaluate(struct track *t, uint64_t now_ms, bool quiet)
{
	struct daemon *d = t->assoc->d;
	const struct addr *current = &mover_current(&t->mover)->addr;
	enum migrate_cause cause = MIGRATE_CAUSE_REFRESH;
	struct locator candidate;
	struct addr source;

	if (LIST_EMPTY(&t->group.flows))
		return;
	if (addr_is_set(&t->wish) && !rtmon_usable(d->rtmon, &t->wish))
		memset(&t->wish, 0, sizeof(t->wish));
	t->fresh = false;
	if (!rtmon_usable(d->rtmon, current)) {
		cause = MIGRATE_CAUSE_GONE;
		t->open = SOURCE_WAY_OPEN; /* what was awaited is over */
	} else if (quiet) {
		cause = cause_to_move(t, now_ms);
	}
	if (quiet)
		t->stays = REASON_NONE;
	if (quiet && cause != MIGRATE_CAUSE_GONE && is_still_wished(t)) {
		candidate = source_locator(t, &t->wish);
		situation(t, MIGRATE_CAUSE_OPERATOR, &candidate, now_ms);
		return;
	}
	if (cause == MIGRATE_CAUSE_REFRESH &&
	    t->mover.state == MOVER_STEADY) {
		stay(t, now_ms, quiet);
		return;
	}
	source_choose(t, &source);
	if (cause == MIGRATE_CAUSE_GONE)
		source_unrefused(t, &source);
	else if (!is_better(t, cause, &source))
		cause = MIGRATE_CAUSE_REFRESH;
	if (cause == MIGRATE_CAUSE_REFRESH &&
	    t->mover.state == MOVER_STEADY) {
		stay(t, now_ms, quiet);
		return;
	}
	if (cause == MIGRATE_CAUSE_REFRESH && awaits_way(t, now_ms))
		return;
	if (cause == MIGRATE_CAUSE_REFRESH &&
	    addr_equal(&source, current))
		candidate = *mover_current(&t->mover);
	else
		candidate = source_locator(t, &source);
	situation(t, cause, &candidate, now_ms);
}

void handover_evaluate(struct daemon *d, uint64_t now_ms, bool quiet)
{
	struct assoc *a;
	struct track *t;

	LIST_FOREACH(a, &d->assocs, entry)
		LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
			evaluate(t, now_ms, quiet);
}

void handover_evaluate_awaiting(struct daemon *d, uint64_t now_ms)
{
	if (!d->await_ms || now_ms < d->await_ms)
		return;
	d->await_ms = 0;
	handover_evaluate(d, now_ms, false);
}

/* While events come in, a move that can wait does; and one that is under way
 * is not asked again. */
static void evaluate_fresh(struct track *t, uint64_t now_ms)
{
	bool steady = t->mover.state == MOVER_STEADY;

	t->fresh = false;
	if (!steady || t->assoc->d->quiet_ms)
		(void)source_look(t, now_ms);
	if (steady)
		evaluate(t, now_ms, !t->assoc->d->quiet_ms);
}

void handover_evaluate_fresh(struct daemon *d, uint64_t now_ms)
{
	struct assoc *a;
	struct track *t;

	d->fresh = false;
	LIST_FOREACH(a, &d->assocs, entry)
		LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
			if (t->fresh)
				evaluate_fresh(t, now_ms);
}

/* Where it was last, and where it is about to be: not what drains (I5). */
static void greet(struct track *t, struct track *theirs, uint64_t now_ms)
{
	const struct follower *f = &theirs->follower;
	const struct locator *target = mover_target(&t->mover);
	const struct addr *from = target ? &target->addr :
					   &mover_locator(&t->mover)->addr;

	if (follower_locator(f))
		peer_rehandshake(t->assoc->peer, now_ms, from,
				 &follower_locator(f)->addr);
	/* That one has not proved itself: once. */
	if (f->state != FOLLOWER_OFFERED || theirs->greeted_seq == f->pending)
		return;
	theirs->greeted_seq = f->pending;
	peer_greet(t->assoc->peer, now_ms, from, &f->offer.addr);
}

void handover_greet(struct assoc *a, uint64_t now_ms)
{
	const struct track *last = NULL;
	struct track *theirs;
	struct track *t;
	struct flow *f;

	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
		LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
			theirs = track_of(f, FLOW_THEIRS);
			if (!theirs || theirs == last)
				continue;
			last = theirs;
			greet(t, theirs, now_ms);
		}
}

int handover_move(struct track *t, const struct addr *to, uint64_t now_ms)
{
	struct locator candidate;

	if (!source_is_allowed(t, to))
		return -EADDRNOTAVAIL;
	if (addr_equal(to, &mover_current(&t->mover)->addr))
		return -EALREADY;
	if (!mover_may_begin(&t->mover, now_ms))
		return -EAGAIN;
	candidate = source_locator(t, to);
	if (!addr_is_set(&candidate.addr))
		return -EADDRINUSE;
	t->wish = *to;
	situation(t, MIGRATE_CAUSE_OPERATOR, &candidate, now_ms);
	return 0;
}

static bool asks_for(const struct track *t, const struct flow *f,
		     const struct endpoint *at)
{
	const struct locator *target = mover_target(&t->mover);

	return t->mover.state == MOVER_ASKED && target &&
	       addr_equal(&target->addr, &at->addr) &&
	       flow_port(f, FLOW_OURS, target->ports) == at->port;
}

/* As if the peer had refused it, and named this flow. */
static void ask_for_others(struct track *t, const struct flow *f,
			   uint64_t now_ms)
{
	const struct wire_refuse named = {
		.n = 1,
		.flow_id = { f->claim.flow_id },
	};
	const struct mover_event ev = {
		.type = MOVER_REFUSE,
		.seq = t->mover.seq,
		.reason = REASON_TUPLE_TAKEN,
		.random = crypto_random_u32(),
	};

	t->refusal = &named;
	handover_step_mover(t, &ev, now_ms);
	t->refusal = NULL;
}

/* The new connection asks again (a SYN after a second); until then its
 * tuple shall be free. */
void handover_yield_ports(struct daemon *d, struct flow *f,
			  const struct tuple *wanted, uint64_t now_ms)
{
	struct track *t = track_of(f, FLOW_OURS);
	struct tuple wire = flow_wire_tuple(f);
	struct wire_refuse named;
	struct locator candidate;

	(void)d;
	if (t && asks_for(t, f, &wanted->local)) {
		ask_for_others(t, f, now_ms);
		return;
	}
	if (!t || t->mover.state != MOVER_STEADY ||
	    !mover_may_begin(&t->mover, now_ms) ||
	    !endpoint_equal(&wire.local, &wanted->local))
		return;
	memset(&named, 0, sizeof(named));
	named.n = 1;
	named.flow_id[0] = f->claim.flow_id;
	t->refusal = &named;
	candidate = source_locator(t, &mover_current(&t->mover)->addr);
	t->refusal = NULL;
	if (!addr_is_set(&candidate.addr))
		return;
	situation(t, MIGRATE_CAUSE_PORTS, &candidate, now_ms);
}

/* ---- time --------------------------------------------------------------- */

/* Flows that the peer has asked to be proved anew are not in its track: with
 * them ours would be refused as long as they cannot be, which may be for ever
 * as their address is gone. Those that are not moved stay behind. */
static void leave_unproved(struct track *t, uint64_t now_ms)
{
	struct daemon *d = t->assoc->d;
	struct flow *f;
	struct flow *next;

	for (f = LIST_FIRST(&t->group.flows); f; f = next) {
		next = LIST_NEXT(f, in_group[FLOW_OURS]);
		if (!f->claim.doubted || flow_is_moved(f))
			continue;
		claim_drop(&f->claim);
		f->reason = REASON_RETRY;
		track_stay(d, f, now_ms); /* the last one takes the track */
	}
}

/* May free it. */
static void step_ours(struct track *t, uint64_t now_ms)
{
	struct assoc *a = t->assoc;
	uint32_t id = t->id;
	const struct locator *target = mover_target(&t->mover);
	struct mover_event ev;

	if (t->work)
		return;
	if (trial_is_over(t)) {
		unfit_forget(t, &t->mover.target.addr);
		tried(t, MOVER_NONCE, now_ms);
	} else if (trial_has_not_left(t, now_ms)) {
		tried(t, MOVER_UNTRIED, now_ms);
	}
	trial_step(t, now_ms);
	if (now_ms >= mover_deadline_ms(&t->mover)) {
		memset(&ev, 0, sizeof(ev));
		ev.type = MOVER_TIMER;
		ev.random = crypto_random_u32();
		handover_step_mover(t, &ev, now_ms);
	}
	if (!t->announce_ms || now_ms < t->announce_ms)
		return;
	agenda_touch(&t->assoc->d->agenda[AGENDA_MOVES], t->assoc);
	if (claim_table_announcing(t->assoc->claims)) {
		t->announce_ms = now_ms + ANNOUNCE_POLL_MS;
		return;
	}
	t->announce_ms = 0;
	leave_unproved(t, now_ms);
	if (!track_find(a, FLOW_OURS, id))
		return;
	target = mover_target(&t->mover);
	if (target) {
		struct locator candidate = *target;

		situation(t, MIGRATE_CAUSE_RETRY, &candidate, now_ms);
	}
}

static void step_tracks(struct assoc *a, uint64_t now_ms)
{
	const struct follower_event ev = { .type = FOLLOWER_TIMER };
	struct track *t;
	struct track *next;

	for (t = LIST_FIRST(&a->tracks[FLOW_OURS]); t; t = next) {
		next = LIST_NEXT(t, entry);
		step_ours(t, now_ms);
	}
	LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry) {
		if (t->work)
			continue;
		trial_step(t, now_ms);
		if (now_ms >= follower_deadline_ms(&t->follower))
			handover_step_follower(t, &ev, now_ms);
	}
	if (unfit_step(a, now_ms))
		LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
			evaluate(t, now_ms, true);
	incoming_step(a, now_ms);
}

void handover_step(struct daemon *d, uint64_t now_ms)
{
	struct agenda *g = &d->agenda[AGENDA_MOVES];
	struct assoc *a;

	agenda_take_due(g, now_ms);
	while ((a = agenda_next_due(g)))
		step_tracks(a, now_ms);
}

uint64_t handover_due_ms(const struct assoc *a)
{
	const struct track *t;
	uint64_t ms = unfit_due_ms(a);

	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry) {
		uint64_t due = mover_deadline_ms(&t->mover);

		ms = due < ms ? due : ms;
		due = trial_due_ms(t);
		ms = due < ms ? due : ms;
		if (t->announce_ms && t->announce_ms < ms)
			ms = t->announce_ms;
	}
	LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry) {
		uint64_t due = follower_deadline_ms(&t->follower);

		ms = due < ms ? due : ms;
		due = later_due_ms(t);
		ms = due < ms ? due : ms;
		due = trial_due_ms(t);
		ms = due < ms ? due : ms;
	}
	return ms;
}
