/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * incoming: the messages of a handover and of SYNC, brought to its core.
 *
 * Owns the checks that a MOVE must pass before the core hears of it, and the
 * parts that it may come in. Never changes a flow.
 */
#include "daemon.h"

#include <stdlib.h>
#include <string.h>

#include "handover_impl.h"

/* A peer that sends one MOVE after the other shall not keep us at looking for
 * sockets: of the time that this takes, the multiple in between. */
#define DUMP_PAUSE 4

/* ---- messages ---------------------------------------------------------- */

static void move_parts_drop(struct track *t)
{
	free(t->parts.port);
	memset(&t->parts, 0, sizeof(t->parts));
}

/* Collects the parts of a MOVE. True once all are there. More ports than the
 * track has flows are not kept. */
static bool move_collect(struct track *t, const struct wire_move *m)
{
	const uint32_t max = t->group.digest.count;
	struct move_parts *p = &t->parts;

	if (p->seq != m->seq || p->parts != m->parts) {
		move_parts_drop(t);
		p->seq = m->seq;
		p->parts = m->parts;
	}
	if (p->seen[m->part / 8] & (1u << m->part % 8))
		return p->got == p->parts;
	if (m->n) {
		struct wire_move_port *port;

		if (p->n + m->n > max)
			return false;
		port = realloc(p->port, (p->n + m->n) * sizeof(*port));
		if (!port)
			return false;
		memcpy(port + p->n, m->port, m->n * sizeof(*port));
		p->port = port;
		p->n += m->n;
	}
	p->seen[m->part / 8] |= (uint8_t)(1u << m->part % 8);
	p->got++;
	return p->got == p->parts;
}

/* Gives the flows the ports that the MOVE names, the identity's where it
 * names none; 0 as their name where all are the identity's, the present name
 * where nothing differs. */
static enum reason move_ports(struct track *t, uint64_t seq, uint64_t *name)
{
	uint64_t sending = t->follower.sending.ports;
	bool same = true;
	bool plain = true;
	struct flow *f;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS]) {
		if (!flow_transit(f))
			return REASON_SYSTEM;
		f->transit->next[FLOW_THEIRS].ports = seq;
		f->transit->next[FLOW_THEIRS].port = f->identity.remote.port;
	}
	for (uint32_t i = 0; i < t->parts.n; i++) {
		struct claim *c = claim_find(t->assoc->claims,
					     t->parts.port[i].flow_id);

		if (!c)
			continue;
		f = flow_of_claim(c);
		if (f->group[FLOW_THEIRS] == &t->group)
			f->transit->next[FLOW_THEIRS].port =
				t->parts.port[i].port;
	}
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS]) {
		uint16_t port = f->transit->next[FLOW_THEIRS].port;

		same = same && port == flow_port(f, FLOW_THEIRS, sending);
		plain = plain && port == f->identity.remote.port;
	}
	*name = same ? sending : plain ? 0 : seq;
	return REASON_NONE;
}

static enum reason move_tuples(struct track *t, const struct locator *to,
			       struct wire_refuse *taken)
{
	struct flow *f;

	if ((t->parts.n || track_may_clash(t)) && track_clashes(t, to, taken))
		return REASON_SYSTEM;
	if (taken->n)
		return REASON_TUPLE_TAKEN;
	if (!track_look(t, &to->addr))
		return REASON_LIMIT;
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS]) {
		struct endpoint at;

		memset(&at, 0, sizeof(at));
		at.addr = to->addr;
		at.port = flow_port(f, FLOW_THEIRS, to->ports);
		if (!track_end_taken(t, f, &at))
			continue;
		taken->flow_id[taken->n++] = f->claim.flow_id;
		if (taken->n == WIRE_REFUSE_MAX)
			break;
	}
	return taken->n ? REASON_TUPLE_TAKEN : REASON_NONE;
}

/* What can be said before the ports are known. */
static enum reason move_check(struct track *t, const struct wire_move *m)
{
	struct daemon *d = t->assoc->d;
	enum reason r;

	if (m->to.family != t->follower.sending.addr.family)
		return REASON_FAMILY;
	if (rtmon_is_own(d->rtmon, &m->to) ||
	    rtmon_is_broadcast(d->rtmon, &m->to))
		return REASON_POLICY;
	r = conf_locator_check(d->conf, &m->to, &t->follower.sending.addr);
	if (r != REASON_NONE)
		return r;
	if (!claim_digest_equal(&t->group.digest, m->count, m->digest))
		return REASON_DIGEST;
	/* What it has left behind goes, a minute later. */
	if (!flow_tombstones_fit(&d->flows, &t->group))
		return REASON_LIMIT;
	return REASON_NONE;
}

/* False where other parts are waited for. */
static bool move_judge(struct track *t, const struct wire_move *m,
		       struct follower_event *ev, struct wire_refuse *taken)
{
	if (!addr_equal(&ev->source, &m->to))
		return true; /* the core counts it */
	ev->check = move_check(t, m);
	if (ev->check != REASON_NONE)
		return m->part + 1 == m->parts; /* refused once */
	if (!move_collect(t, m))
		return false;
	ev->check = move_ports(t, m->seq, &ev->to.ports);
	if (ev->check == REASON_NONE)
		ev->check = move_tuples(t, &ev->to, taken);
	move_parts_drop(t);
	return true;
}

/* FLOWS will come from there, and we answer it only where the peer has proved
 * to be. */
static void expect_flows(struct assoc *a, uint64_t now_ms,
			 const struct peer_rx *rx)
{
	uint64_t ms = peer_remote_validated_ms(a->peer, &rx->remote.addr);

	if (!ms || now_ms - ms >= PEER_VALID_MS)
		(void)peer_validate_path(a->peer, now_ms, &rx->local.addr,
					 &rx->remote.addr);
}

static void refuse_unknown(struct assoc *a, uint64_t now_ms,
			   const struct peer_rx *rx,
			   const struct wire_move *m)
{
	struct wire_message answer;

	memset(&answer, 0, sizeof(answer));
	answer.type = WIRE_REFUSE;
	answer.refuse.track = m->track;
	answer.refuse.seq = m->seq;
	answer.refuse.reason = REASON_DIGEST;
	REFUSED(a->d, DIGEST);
	assoc_send(a, now_ms, &rx->local.addr, &rx->remote.addr, &answer);
	expect_flows(a, now_ms, rx);
}

/* It is answered when there is a token. That it declares is heard now. */
static void move_later(struct track *t, uint64_t now_ms,
		       const struct peer_rx *rx)
{
	const struct wire_move *m = &rx->message->move;
	struct follower_event ev;

	if (t->answered_seq == m->seq)
		return; /* a copy */
	COUNT(t->assoc->d, MOVES_PACED);
	memset(&ev, 0, sizeof(ev));
	ev.type = FOLLOWER_GONE;
	ev.seq = m->seq;
	ev.source = rx->remote.addr;
	ev.to.addr = m->to;
	ev.from_gone = m->flags & WIRE_MOVE_FROM_GONE;
	handover_step_follower(t, &ev, now_ms);
	if (t->later && t->later->message.move.seq > m->seq)
		return;
	if (m->parts == 1 || move_collect(t, m))
		later_keep(t, rx);
}

/* Its last one is being carried out. Of a copy nothing is owed: its answer is
 * about to come. */
static void move_while_busy(struct track *t, const struct peer_rx *rx)
{
	const struct wire_move *m = &rx->message->move;

	if (!addr_equal(&rx->remote.addr, &m->to) ||
	    follower_classify(&t->follower, m->seq) != FOLLOWER_SEQ_NEW ||
	    (t->later && t->later->message.move.seq > m->seq))
		return;
	if (m->parts == 1 || move_collect(t, m))
		later_keep(t, rx);
}

static void on_move(struct assoc *a, uint64_t now_ms,
		    const struct peer_rx *rx)
{
	const struct wire_move *m = &rx->message->move;
	struct track *t = track_find(a, FLOW_THEIRS, m->track);
	struct follower_event ev;
	struct wire_refuse taken;
	enum follower_class class;

	if (t && t->work) {
		move_while_busy(t, rx);
		return;
	}
	/* One that was relayed costs nothing: the core counts it. */
	if (t && addr_equal(&rx->remote.addr, &m->to) &&
	    follower_classify(&t->follower, m->seq) == FOLLOWER_SEQ_NEW) {
		if (!later_may_answer(t, m, now_ms)) {
			move_later(t, now_ms, rx);
			return;
		}
		/* Sockets first: they may be gone and the track with them. */
		if (later_look(t, m, now_ms) &&
		    now_ms - a->d->dumped_ms > DUMP_PAUSE * a->d->dump_took_ms)
			discover_prepare(a->d, now_ms);
		t = track_find(a, FLOW_THEIRS, m->track);
	}
	if (!t) {
		if (follower_is_far(NULL, m->seq))
			COUNT(a->d, RX_UNEXPECTED);
		else if (addr_equal(&rx->remote.addr, &m->to) &&
		    bucket_take(&a->unpaid, &migrate_numbers, now_ms))
			refuse_unknown(a, now_ms, rx, m);
		return;
	}
	memset(&ev, 0, sizeof(ev));
	memset(&taken, 0, sizeof(taken));
	ev.type = FOLLOWER_MOVE;
	ev.seq = m->seq;
	ev.source = rx->remote.addr;
	ev.from = m->from;
	ev.to.addr = m->to;
	ev.from_gone = m->flags & WIRE_MOVE_FROM_GONE;
	class = follower_classify(&t->follower, m->seq);
	if (class == FOLLOWER_SEQ_NEW) {
		if (!move_judge(t, m, &ev, &taken))
			return;
		if (addr_equal(&ev.source, &m->to)) {
			later_answered(t, m, now_ms);
			t->refused = ev.check;
		}
		taken.track = t->id;
		taken.seq = m->seq;
		taken.reason = (uint8_t)ev.check;
	} else if (m->part + 1 != m->parts) {
		return; /* answered once, for the last part */
	}
	crypto_random(ev.challenge, sizeof(ev.challenge));
	t->answer_local = rx->local;
	t->answer_remote = rx->remote;
	t->refusal = &taken;
	handover_step_follower(t, &ev, now_ms);
	t->refusal = NULL;
	if (taken.reason == REASON_DIGEST)
		expect_flows(a, now_ms, rx);
}

void incoming_step(struct assoc *a, uint64_t now_ms)
{
	struct peer_rx rx;
	struct track *t = LIST_FIRST(&a->tracks[FLOW_THEIRS]);
	struct later *l;

	while (t) {
		if (now_ms < later_due_ms(t)) {
			t = LIST_NEXT(t, entry);
			continue;
		}
		l = later_take(t);
		memset(&rx, 0, sizeof(rx));
		rx.local = l->local;
		rx.remote = l->remote;
		rx.newest = true;
		rx.message = &l->message;
		peer_table_answers(a->d->peers, true);
		on_move(a, now_ms, &rx);
		peer_table_answers(a->d->peers, false);
		free(l);
		t = LIST_FIRST(&a->tracks[FLOW_THEIRS]); /* some may be gone */
	}
}

static void on_prove(struct assoc *a, uint64_t now_ms,
		     const struct peer_rx *rx)
{
	const struct wire_prove *m = &rx->message->prove;
	struct track *t = track_find(a, FLOW_THEIRS, m->track);
	struct follower_event ev;
	uint64_t committed;
	struct flow *f;

	if (!t) {
		COUNT(a->d, RX_UNEXPECTED);
		return;
	}
	if (t->work)
		return; /* it comes again */
	memset(&ev, 0, sizeof(ev));
	ev.type = FOLLOWER_PROVE;
	ev.seq = m->seq;
	ev.to.addr = m->to;
	memcpy(ev.challenge, m->challenge, sizeof(ev.challenge));
	t->answer_local = rx->local;
	t->answer_remote = rx->remote;
	committed = t->follower.committed;
	handover_step_follower(t, &ev, now_ms);
	/* Once more it is no proof: its challenge is not looked at. */
	if (t->follower.committed == committed)
		return;
	/* The path carries them: what resets one there means it. */
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS])
		trial_heard(f);
	wake_senders(t, m);
	if (addr_equal(&rx->remote.addr, &t->follower.sending.addr))
		peer_path_proved(a->peer, now_ms, &rx->local, &rx->remote);
}

static void on_answer(struct assoc *a, uint64_t now_ms,
		      const struct peer_rx *rx)
{
	const struct wire_message *m = rx->message;
	uint32_t id = m->type == WIRE_ACCEPT ? m->accept.track :
		      m->type == WIRE_REFUSE ? m->refuse.track :
					       m->done.track;
	struct track *t = track_find(a, FLOW_OURS, id);
	struct mover_event ev;
	bool asked = false;

	if (!t) {
		COUNT(a->d, RX_UNEXPECTED);
		return;
	}
	if (t->work)
		return; /* what it answers is repeated */
	memset(&ev, 0, sizeof(ev));
	ev.random = crypto_random_u32();
	switch (m->type) {
	case WIRE_ACCEPT:
		ev.type = MOVER_ACCEPT;
		ev.seq = m->accept.seq;
		/* A track moves whole or not at all. */
		if (m->accept.n) {
			ev.type = MOVER_REFUSE;
			ev.reason = reason_from_wire(
				m->accept.refused[0].reason);
			break;
		}
		/* The peer would take along who stays: asked anew. */
		if (t->left_seq && t->left_seq == m->accept.seq) {
			ev.type = MOVER_REFUSE;
			ev.reason = REASON_DIGEST;
			break;
		}
		ev.arrived_on = rx->local.addr;
		memcpy(ev.challenge, m->accept.challenge,
		       sizeof(ev.challenge));
		asked = t->mover.state == MOVER_ASKED && !t->mover.trying;
		ev.pilot = asked && ev.seq == t->mover.seq &&
			   trial_ready(t);
		break;
	case WIRE_REFUSE:
		ev.type = MOVER_REFUSE;
		ev.seq = m->refuse.seq;
		ev.reason = reason_from_wire(m->refuse.reason);
		t->refusal = &m->refuse;
		break;
	default:
		ev.type = MOVER_DONE;
		ev.seq = m->done.seq;
		break;
	}
	handover_step_mover(t, &ev, now_ms);
	t->refusal = NULL;
	/* The peer knew the number before we asked, so the answer does not
	 * show that it is where it came from. */
	if (asked && (t->mover.state == MOVER_SWITCHED || t->mover.trying))
		peer_validate_path(a->peer, now_ms, &rx->local.addr,
				   &rx->remote.addr);
}

void handover_message(struct assoc *a, uint64_t now_ms,
		      const struct peer_rx *rx)
{
	/* I6. The answers as well: one that a peer gave before it restarted
	 * and forgot must not pass for one of now. */
	if (!rx->newest) {
		COUNT(a->d, RX_STALE);
		return;
	}
	switch (rx->message->type) {
	case WIRE_MOVE:
		on_move(a, now_ms, rx);
		break;
	case WIRE_PROVE:
		on_prove(a, now_ms, rx);
		break;
	default:
		/* Segments that wake_ask() brought about are to be held and
		 * noted before PROVE. */
		if (rx->message->type == WIRE_ACCEPT) {
			divert_read_out(a->d);
			wake_ask_again(a);
		}
		on_answer(a, now_ms, rx);
		break;
	}
}

/* ---- sessions ---------------------------------------------------------- */

void handover_sync_fill(const struct assoc *a, struct wire_sync *s)
{
	const struct claim_digest *digest = claim_table_digest(a->claims);
	const struct track *t;

	memset(s, 0, sizeof(*s));
	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry) {
		if (s->n_own == WIRE_SYNC_MAX)
			break;
		s->own[s->n_own].track = t->id;
		s->own[s->n_own].seq = t->mover.committed;
		s->own[s->n_own++].locator = mover_current(&t->mover)->addr;
	}
	LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry) {
		if (s->n_theirs == WIRE_SYNC_MAX)
			break;
		s->theirs[s->n_theirs].track = t->id;
		s->theirs[s->n_theirs++].committed = t->follower.committed;
	}
	s->flow_count = digest->count;
	memcpy(s->digest, digest->sum, WIRE_DIGEST_SIZE);
}

static void sync_mover(struct track *t, uint64_t committed, uint64_t now_ms)
{
	struct mover_event ev;

	memset(&ev, 0, sizeof(ev));
	ev.type = MOVER_SYNC;
	ev.random = crypto_random_u32();
	ev.seq = committed;
	handover_step_mover(t, &ev, now_ms);
}

void handover_sync(struct assoc *a, uint64_t now_ms,
		   const struct wire_sync *s)
{
	struct track *t;

	for (unsigned int i = 0; i < s->n_own; i++) {
		struct follower_event ev;

		t = track_find(a, FLOW_THEIRS, s->own[i].track);
		if (!t)
			continue;
		memset(&ev, 0, sizeof(ev));
		ev.type = FOLLOWER_SYNC;
		ev.seq = s->own[i].seq;
		ev.to.addr = s->own[i].locator;
		handover_step_follower(t, &ev, now_ms);
	}
	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry) {
		uint64_t committed = 0;
		bool named = false;

		for (unsigned int i = 0; i < s->n_theirs; i++) {
			if (s->theirs[i].track != t->id)
				continue;
			committed = s->theirs[i].committed;
			named = true;
		}
		if (named || s->n_theirs < WIRE_SYNC_MAX)
			sync_mover(t, committed, now_ms);
	}
	if (!claim_digest_equal(claim_table_digest(a->claims), s->flow_count,
				s->digest))
		claim_table_announce(a->claims, now_ms);
}

void handover_session(struct assoc *a, uint64_t now_ms)
{
	struct track *t;

	/* I6: the mover repeats what it wants. */
	LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry)
		later_drop(t);
	handover_repeat(a, now_ms);
}

void handover_repeat(struct assoc *a, uint64_t now_ms)
{
	struct track *t;

	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry) {
		struct mover_event ev;

		if (t->work)
			continue; /* it ends with what is to be said */
		memset(&ev, 0, sizeof(ev));
		ev.type = MOVER_SESSION;
		ev.random = crypto_random_u32();
		handover_step_mover(t, &ev, now_ms);
	}
}
