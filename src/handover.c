/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handover: brings local events and messages to the handover core, and
 * carries out what it answers.
 *
 * Owns the reasons to move (PROTOCOL, "When a host moves") and the messages
 * MOVE, ACCEPT, REFUSE, PROVE, DONE and SYNC. Never changes a flow itself
 * (track does), never keeps state that belongs to the core.
 */
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANNOUNCE_POLL_MS 20 /* is FLOWS complete acknowledged? */

static void evaluate(struct track *t, uint64_t now_ms, bool quiet);
static void situation(struct track *t, enum migrate_cause cause,
		      const struct locator *candidate, uint64_t now_ms);

/* ---- sending ---------------------------------------------------------- */

/* Every locator of the peer that a message about our track may go to. */
static unsigned int peer_locators(const struct track *t, struct addr *to,
				  unsigned int max)
{
	const struct track *last = NULL;
	const struct flow *f;
	unsigned int n = 0;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
		const struct track *theirs = track_of(f, FLOW_THEIRS);

		if (!theirs || theirs == last)
			continue;
		last = theirs;
		for (unsigned int i = 0; i < theirs->follower.n_accepted; i++) {
			const struct addr *a =
				&theirs->follower.accepted[i].locator.addr;
			bool known = theirs->follower.gone &&
				     addr_equal(a, &theirs->follower.sending.addr);

			for (unsigned int j = 0; j < n; j++)
				known = known || addr_equal(&to[j], a);
			if (!known && n < max)
				to[n++] = *a;
		}
	}
	return n;
}

static void send_move(struct track *t, const struct migrate_action *act,
		      const struct addr *to, uint64_t now_ms)
{
	struct wire_message m;
	unsigned int from = 0;
	unsigned int total;
	unsigned int part = 0;

	memset(&m, 0, sizeof(m));
	do {
		m.type = WIRE_MOVE;
		m.move.track = t->id;
		m.move.seq = act->seq;
		m.move.from = act->from;
		m.move.to = act->to.addr;
		m.move.flags = act->from_gone ? WIRE_MOVE_FROM_GONE : 0;
		m.move.count = t->group.digest.count;
		memcpy(m.move.digest, t->group.digest.sum, WIRE_DIGEST_SIZE);
		total = track_list_ports(t, act->to.ports, from, &m.move);
		m.move.part = (uint16_t)part;
		m.move.parts = total ? (uint16_t)((total + WIRE_MOVE_MAX - 1) /
						 WIRE_MOVE_MAX) : 1;
		assoc_send(t->assoc, now_ms, &act->source, to, &m);
		from += WIRE_MOVE_MAX;
	} while (++part < m.move.parts);
}

static void fill_message(const struct track *t,
			 const struct migrate_action *act,
			 struct wire_message *m)
{
	memset(m, 0, sizeof(*m));
	switch (act->message) {
	case MIGRATE_ACCEPT:
		m->type = WIRE_ACCEPT;
		m->accept.track = t->id;
		m->accept.seq = act->seq;
		m->accept.lease_s = MIGRATE_LEASE_MS / 1000;
		memcpy(m->accept.challenge, act->challenge,
		       WIRE_CHALLENGE_SIZE);
		break;
	case MIGRATE_REFUSE:
		m->type = WIRE_REFUSE;
		m->refuse.track = t->id;
		m->refuse.seq = act->seq;
		m->refuse.reason = (uint8_t)act->reason;
		if (t->refusal && act->reason == REASON_TUPLE_TAKEN)
			m->refuse = *t->refusal;
		break;
	case MIGRATE_PROVE:
		m->type = WIRE_PROVE;
		m->prove.track = t->id;
		m->prove.seq = act->seq;
		m->prove.to = act->to.addr;
		memcpy(m->prove.challenge, act->challenge,
		       WIRE_CHALLENGE_SIZE);
		wake_fill(t, &m->prove);
		break;
	default:
		m->type = WIRE_DONE;
		m->done.track = t->id;
		m->done.seq = act->seq;
		break;
	}
}

/* An address that has not proved itself gets no more than it sent: name as
 * many flows as that allows, the next MOVE shows the others. */
static void fit_refusal(const struct track *t, const struct addr *source,
			const struct addr *to, struct wire_refuse *m)
{
	size_t limit = peer_send_limit(t->assoc->peer, source, to);

	while (m->n && (size_t)WIRE_REFUSE_SIZE(m->n) > limit)
		m->n--;
}

static void send_action(struct track *t, const struct migrate_action *act,
			uint64_t now_ms)
{
	struct addr to[MIGRATE_ACCEPTED_MAX * 2];
	struct addr source = act->source;
	struct wire_message m;
	unsigned int n = 1;

	if (t->side == FLOW_THEIRS) {
		/* Answers go where the datagram came from, if not said
		 * otherwise, and from where it arrived. */
		to[0] = addr_is_set(&act->dest) ? act->dest :
						  t->answer_remote.addr;
		source = t->answer_local.addr;
	} else if (addr_is_set(&act->dest)) {
		to[0] = act->dest;
	} else {
		n = peer_locators(t, to, sizeof(to) / sizeof(*to));
	}
	for (unsigned int i = 0; i < n; i++) {
		if (act->message == MIGRATE_MOVE) {
			send_move(t, act, &to[i], now_ms);
			continue;
		}
		fill_message(t, act, &m);
		if (m.type == WIRE_REFUSE)
			fit_refusal(t, &source, &to[i], &m.refuse);
		assoc_send(t->assoc, now_ms, &source, &to[i], &m);
	}
}

/* ---- sources ----------------------------------------------------------- */

static const struct addr *peer_locator(const struct track *t)
{
	const struct flow *f = LIST_FIRST(&t->group.flows);
	const struct track *theirs = f ? track_of(f, FLOW_THEIRS) : NULL;

	return theirs ? &theirs->follower.sending.addr : &t->remote;
}

/* May our side of this track be at `a`? */
static bool is_source_allowed(struct track *t, const struct addr *a,
			      bool tunnel)
{
	struct daemon *d = t->assoc->d;
	const struct addr *current = &mover_current(&t->mover)->addr;
	const struct rtmon_address *own = rtmon_find(d->rtmon, current);
	const struct rtmon_link *link =
		own ? rtmon_link(d->rtmon, own->ifindex) : NULL;
	const struct rtmon_address *to = rtmon_find(d->rtmon, a);

	if (!to || !rtmon_usable(d->rtmon, a))
		return false;
	if (link && link->tunnel && tunnel && to->ifindex != own->ifindex &&
	    !d->conf->leave_tunnel)
		return false;
	return conf_locator_check(d->conf, a, current) == REASON_NONE;
}

/* The source that the kernel would take for a new connection of these
 * flows; unset where there is none that may be used. */
static uint32_t choose_source(struct track *t, struct addr *a)
{
	struct daemon *d = t->assoc->d;
	struct rtmon_query query = {
		.dst = *peer_locator(t),
		.mark = t->mark,
		.uid = t->uid,
	};
	struct rtmon_route route;

	memset(a, 0, sizeof(*a));
	COUNT(d, ROUTE_LOOKUPS);
	if (rtmon_choose_source(d->rtmon, &query, &route) ||
	    !is_source_allowed(t, &route.src, route.tunnel))
		return 0;
	*a = route.src;
	return route.ifindex;
}

/* Another usable source that reaches the peer, for when `target` fails. */
static void next_source(struct track *t, const struct addr *target,
			struct addr *a)
{
	struct daemon *d = t->assoc->d;
	const struct rtmon_address *list;
	struct rtmon_query query = {
		.dst = *peer_locator(t),
		.mark = t->mark,
		.uid = t->uid,
	};
	struct rtmon_route route;
	size_t n;

	memset(a, 0, sizeof(*a));
	list = rtmon_addresses(d->rtmon, &n);
	for (size_t i = 0; i < n; i++) {
		if (list[i].on_lo || list[i].deprecated ||
		    list[i].addr.family != query.dst.family ||
		    addr_equal(&list[i].addr, target) ||
		    !is_source_allowed(t, &list[i].addr, false))
			continue;
		query.src = list[i].addr;
		COUNT(d, ROUTE_LOOKUPS);
		if (rtmon_lookup(d->rtmon, &query, &route) || route.local ||
		    route.ifindex != list[i].ifindex)
			continue;
		*a = list[i].addr;
		return;
	}
}

/* With its choice of ports; unset where no port is free. */
static struct locator locator_for(struct track *t, const struct addr *a)
{
	struct locator l;

	memset(&l, 0, sizeof(l));
	if (addr_is_set(a) && !track_choose_ports(t, a, &l.ports))
		l.addr = *a;
	return l;
}

/* ---- carrying out ------------------------------------------------------ */

static void note(struct track *t, const struct migrate_action *act)
{
	struct daemon *d = t->assoc->d;
	char a[ADDR_TEXT_MAX];
	char text[CTL_TEXT_MAX];
	bool committed = act->counter == COUNTER_MOVES_DONE ||
			 act->counter == COUNTER_MOVES_COMMITTED;
	struct flow *f;

	d->counters.value[act->counter]++;
	if (act->reason != REASON_NONE)
		d->counters.refused[act->reason]++;
	snprintf(text, sizeof(text), "track %u move %llu at %s%s%s", t->id,
		 (unsigned long long)act->seq, addr_format(&act->to.addr, a),
		 act->reason != REASON_NONE ? ": " : "",
		 act->reason != REASON_NONE ? reason_text(act->reason) : "");
	log_write(d->log, committed ? LOG_LEVEL_NOTICE : LOG_LEVEL_DEBUG,
		  "%s: %s, %u flows, %s", counter_name(act->counter),
		  t->side == FLOW_OURS ? "we" : "peer", t->group.digest.count,
		  text);
	report_event(d, t->assoc->name, counter_name(act->counter), text);
	if (!committed)
		return;
	LIST_FOREACH(f, &t->group.flows, in_group[t->side]) {
		f->moves++;
		report_flow_event(d, f, "moved", text);
	}
}

/* What the core asks for may lead to another step; at most one does. */
struct follow_up {
	bool wanted, evaluate;
	enum migrate_cause cause;
	struct locator candidate;
};

static void choose_ports(struct track *t, struct follow_up *next)
{
	const struct locator *target = mover_target(&t->mover);

	next->wanted = true;
	next->cause = MIGRATE_CAUSE_RETRY;
	next->candidate = locator_for(t, target ? &target->addr :
				      &mover_current(&t->mover)->addr);
}

static void handshakes(struct track *t, uint64_t now_ms)
{
	const struct locator *target = mover_target(&t->mover);
	struct addr to[MIGRATE_ACCEPTED_MAX * 2];
	unsigned int n = peer_locators(t, to, sizeof(to) / sizeof(*to));

	if (!target)
		target = mover_current(&t->mover);
	for (unsigned int i = 0; i < n; i++)
		peer_rehandshake(t->assoc->peer, now_ms, &target->addr, &to[i]);
}

static int carry_out(struct track *t, const struct migrate_action *act,
		     const struct locator *sending, struct follow_up *next,
		     uint64_t now_ms)
{
	const struct locator *target;

	switch (act->type) {
	case MIGRATE_JOURNAL:
		return 0;
	case MIGRATE_HOLD:
	case MIGRATE_ACCEPT_DEL:
	case MIGRATE_ACCEPT_ADD:
	case MIGRATE_RELEASE:
	case MIGRATE_SWITCH:
		return track_apply(t, act, sending, now_ms);
	case MIGRATE_SEND:
		send_action(t, act, now_ms);
		break;
	case MIGRATE_CHOOSE_PORTS:
		choose_ports(t, next);
		break;
	case MIGRATE_SEND_FLOWS:
		claim_table_announce(t->assoc->claims, now_ms);
		t->announce_ms = now_ms + ANNOUNCE_POLL_MS;
		break;
	case MIGRATE_HANDSHAKE:
		handshakes(t, now_ms);
		break;
	case MIGRATE_NEXT_CANDIDATE:
		target = mover_target(&t->mover);
		next->wanted = true;
		next->cause = MIGRATE_CAUSE_NEXT;
		next_source(t, target ? &target->addr :
			    &mover_current(&t->mover)->addr,
			    &next->candidate.addr);
		next->candidate = locator_for(t, &next->candidate.addr);
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

static bool asks(const struct migrate_actions *out)
{
	for (unsigned int i = 0; i < out->n; i++)
		if (out->action[i].type == MIGRATE_SEND &&
		    out->action[i].message == MIGRATE_MOVE)
			return true;
	return false;
}

static void step_mover(struct track *t, const struct mover_event *ev,
		       uint64_t now_ms)
{
	struct mover before = t->mover;
	struct migrate_actions out;
	struct follow_up next;
	unsigned int i;

	memset(&next, 0, sizeof(next));
	mover_step(&t->mover, ev, now_ms, &out);
	for (i = 0; i < out.n; i++)
		if (carry_out(t, &out.action[i], &before.sending, &next,
			      now_ms) < 0)
			break;
	if (i < out.n)
		mover_rollback(&t->mover, &before, &out, i, now_ms);
	else if (asks(&out))
		wake_ask(t, now_ms);
	t->assoc->d->handover_dirty = true;
	if (next.wanted)
		situation(t, next.cause, &next.candidate, now_ms);
	else if (next.evaluate)
		evaluate(t, now_ms, true);
}

static void step_follower(struct track *t, const struct follower_event *ev,
			  uint64_t now_ms)
{
	struct follower before = t->follower;
	struct migrate_actions out;
	struct follow_up next;
	unsigned int i;

	memset(&next, 0, sizeof(next));
	follower_step(&t->follower, ev, now_ms, &out);
	for (i = 0; i < out.n; i++)
		if (carry_out(t, &out.action[i], &before.sending, &next,
			      now_ms) < 0)
			break;
	if (i < out.n)
		follower_rollback(&t->follower, &before, &out, i, now_ms);
	t->assoc->d->handover_dirty = true;
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
	step_mover(t, &ev, now_ms);
}

static bool is_deprecated(struct daemon *d, const struct addr *a)
{
	const struct rtmon_address *own = rtmon_find(d->rtmon, a);

	return own && own->deprecated;
}

/* (ii) deprecated and (iii) off the interface of the best route. */
static enum migrate_cause cause_to_move(struct track *t,
					const struct addr *candidate,
					uint32_t ifindex)
{
	struct daemon *d = t->assoc->d;
	const struct addr *current = &mover_current(&t->mover)->addr;
	const struct rtmon_address *own = rtmon_find(d->rtmon, current);

	if (!addr_is_set(candidate) || addr_equal(candidate, current))
		return MIGRATE_CAUSE_REFRESH;
	if (is_deprecated(d, current))
		return MIGRATE_CAUSE_DEPRECATED;
	/* An address on lo belongs to every interface alike. */
	if (own && !own->on_lo && own->ifindex != ifindex)
		return MIGRATE_CAUSE_BETTER_ROUTE;
	return MIGRATE_CAUSE_REFRESH;
}

static void evaluate(struct track *t, uint64_t now_ms, bool quiet)
{
	struct daemon *d = t->assoc->d;
	const struct addr *current = &mover_current(&t->mover)->addr;
	enum migrate_cause cause = MIGRATE_CAUSE_REFRESH;
	struct locator candidate;
	struct addr source;
	uint32_t ifindex;

	if (LIST_EMPTY(&t->group.flows))
		return;
	if (addr_is_set(&t->wish) && !rtmon_usable(d->rtmon, &t->wish))
		memset(&t->wish, 0, sizeof(t->wish));
	ifindex = choose_source(t, &source);
	if (!rtmon_usable(d->rtmon, current))
		cause = MIGRATE_CAUSE_GONE;
	else if (quiet && !addr_is_set(&t->wish))
		cause = cause_to_move(t, &source, ifindex);
	if (cause == MIGRATE_CAUSE_REFRESH &&
	    t->mover.state == MOVER_STEADY)
		return;
	if (cause == MIGRATE_CAUSE_REFRESH &&
	    addr_equal(&source, current))
		candidate = *mover_current(&t->mover);
	else
		candidate = locator_for(t, &source);
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

int handover_move(struct track *t, const struct addr *to, uint64_t now_ms)
{
	struct locator candidate;

	if (!is_source_allowed(t, to, false))
		return -EADDRNOTAVAIL;
	if (addr_equal(to, &mover_current(&t->mover)->addr))
		return -EALREADY;
	candidate = locator_for(t, to);
	if (!addr_is_set(&candidate.addr))
		return -EADDRINUSE;
	t->wish = *to;
	situation(t, MIGRATE_CAUSE_OPERATOR, &candidate, now_ms);
	return 0;
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
	if (!t || t->mover.state != MOVER_STEADY ||
	    !endpoint_equal(&wire.local, &wanted->local))
		return;
	memset(&named, 0, sizeof(named));
	named.n = 1;
	named.flow_id[0] = f->claim.flow_id;
	t->refusal = &named;
	candidate = locator_for(t, &mover_current(&t->mover)->addr);
	t->refusal = NULL;
	if (!addr_is_set(&candidate.addr))
		return;
	situation(t, MIGRATE_CAUSE_PORTS, &candidate, now_ms);
}

/* ---- messages ---------------------------------------------------------- */

/* Collects the parts of a MOVE. True once all are there. */
static bool move_collect(struct track *t, const struct wire_move *m)
{
	struct move_parts *p = &t->parts;

	if (p->seq != m->seq || p->parts != m->parts) {
		memset(p->seen, 0, sizeof(p->seen));
		p->seq = m->seq;
		p->parts = m->parts;
		p->got = 0;
		p->n = 0;
	}
	if (p->seen[m->part / 8] & (1u << m->part % 8))
		return p->got == p->parts;
	if (m->n) {
		struct wire_move_port *port;

		if (p->n + m->n > MOVE_PORTS_MAX)
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
static uint64_t move_ports(struct track *t, uint64_t seq)
{
	uint64_t sending = t->follower.sending.ports;
	bool same = true;
	bool plain = true;
	struct flow *f;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS]) {
		f->next[FLOW_THEIRS].ports = seq;
		f->next[FLOW_THEIRS].port = f->identity.remote.port;
	}
	for (uint32_t i = 0; i < t->parts.n; i++) {
		struct claim *c = claim_find(t->assoc->claims,
					     t->parts.port[i].flow_id);

		if (!c)
			continue;
		f = flow_of_claim(c);
		if (f->group[FLOW_THEIRS] == &t->group)
			f->next[FLOW_THEIRS].port = t->parts.port[i].port;
	}
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS]) {
		uint16_t port = f->next[FLOW_THEIRS].port;

		same = same && port == flow_port(f, FLOW_THEIRS, sending);
		plain = plain && port == f->identity.remote.port;
	}
	if (same)
		return sending;
	return plain ? 0 : seq;
}

static enum reason move_tuples(struct track *t, const struct locator *to,
			       struct wire_refuse *taken)
{
	struct flow *f;

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

static enum reason move_check(struct track *t, const struct wire_move *m,
			      const struct locator *to,
			      struct wire_refuse *taken)
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
	return move_tuples(t, to, taken);
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
}

static void on_move(struct assoc *a, uint64_t now_ms,
		    const struct peer_rx *rx)
{
	const struct wire_move *m = &rx->message->move;
	struct track *t = track_find(a, FLOW_THEIRS, m->track);
	struct follower_event ev;
	struct wire_refuse taken;
	enum follower_class class;

	if (t && follower_classify(&t->follower, m->seq) ==
			 FOLLOWER_SEQ_NEW) {
		/* Sockets first: they may have the tuples, or be gone and
		 * the track with them. */
		discover_freshen(a->d, now_ms);
		t = track_find(a, FLOW_THEIRS, m->track);
	}
	if (!t) {
		if (addr_equal(&rx->remote.addr, &m->to))
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
		if (addr_equal(&ev.source, &m->to) && !move_collect(t, m))
			return;
		ev.to.ports = move_ports(t, m->seq);
		ev.check = move_check(t, m, &ev.to, &taken);
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
	step_follower(t, &ev, now_ms);
	t->refusal = NULL;
}

static void on_prove(struct assoc *a, uint64_t now_ms,
		     const struct peer_rx *rx)
{
	const struct wire_prove *m = &rx->message->prove;
	struct track *t = track_find(a, FLOW_THEIRS, m->track);
	struct follower_event ev;
	uint64_t committed;

	if (!t) {
		COUNT(a->d, RX_UNEXPECTED);
		return;
	}
	memset(&ev, 0, sizeof(ev));
	ev.type = FOLLOWER_PROVE;
	ev.seq = m->seq;
	ev.to.addr = m->to;
	memcpy(ev.challenge, m->challenge, sizeof(ev.challenge));
	t->answer_local = rx->local;
	t->answer_remote = rx->remote;
	committed = t->follower.committed;
	step_follower(t, &ev, now_ms);
	if (t->follower.committed != committed)
		wake_senders(t, m);
	if (t->follower.committed == m->seq &&
	    addr_equal(&rx->remote.addr, &t->follower.sending.addr))
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

	if (!t) {
		COUNT(a->d, RX_UNEXPECTED);
		return;
	}
	memset(&ev, 0, sizeof(ev));
	ev.random = crypto_random_u32();
	switch (m->type) {
	case WIRE_ACCEPT:
		ev.type = MOVER_ACCEPT;
		ev.seq = m->accept.seq;
		ev.arrived_on = rx->local.addr;
		memcpy(ev.challenge, m->accept.challenge,
		       sizeof(ev.challenge));
		if (ev.seq == t->mover.seq)
			peer_path_proved(a->peer, now_ms, &rx->local,
					 &rx->remote);
		break;
	case WIRE_REFUSE:
		ev.type = MOVER_REFUSE;
		ev.seq = m->refuse.seq;
		ev.reason = (enum reason)m->refuse.reason;
		t->refusal = &m->refuse;
		break;
	default:
		ev.type = MOVER_DONE;
		ev.seq = m->done.seq;
		break;
	}
	step_mover(t, &ev, now_ms);
	t->refusal = NULL;
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
		if (rx->message->type == WIRE_ACCEPT)
			pktq_read(a->d->queue_out);
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
	step_mover(t, &ev, now_ms);
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
		step_follower(t, &ev, now_ms);
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

	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry) {
		struct mover_event ev;

		memset(&ev, 0, sizeof(ev));
		ev.type = MOVER_SESSION;
		ev.random = crypto_random_u32();
		step_mover(t, &ev, now_ms);
	}
}

/* ---- time --------------------------------------------------------------- */

static void step_ours(struct track *t, uint64_t now_ms)
{
	const struct locator *target = mover_target(&t->mover);
	struct mover_event ev;

	if (now_ms >= mover_deadline_ms(&t->mover)) {
		memset(&ev, 0, sizeof(ev));
		ev.type = MOVER_TIMER;
		ev.random = crypto_random_u32();
		step_mover(t, &ev, now_ms);
	}
	if (!t->announce_ms || now_ms < t->announce_ms)
		return;
	t->assoc->d->handover_dirty = true;
	if (claim_table_announcing(t->assoc->claims)) {
		t->announce_ms = now_ms + ANNOUNCE_POLL_MS;
		return;
	}
	t->announce_ms = 0;
	target = mover_target(&t->mover);
	if (target) {
		struct locator candidate = *target;

		situation(t, MIGRATE_CAUSE_RETRY, &candidate, now_ms);
	}
}

void handover_step(struct daemon *d, uint64_t now_ms)
{
	struct follower_event ev;
	struct assoc *a;
	struct track *t;

	if (now_ms < handover_deadline_ms(d))
		return;
	memset(&ev, 0, sizeof(ev));
	ev.type = FOLLOWER_TIMER;
	LIST_FOREACH(a, &d->assocs, entry) {
		LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
			step_ours(t, now_ms);
		LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry)
			if (now_ms >= follower_deadline_ms(&t->follower))
				step_follower(t, &ev, now_ms);
	}
	d->handover_dirty = true;
}

uint64_t handover_deadline_ms(struct daemon *d)
{
	const struct assoc *a;
	const struct track *t;
	uint64_t ms = UINT64_MAX;

	if (!d->handover_dirty)
		return d->handover_ms;
	LIST_FOREACH(a, &d->assocs, entry) {
		LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry) {
			uint64_t due = mover_deadline_ms(&t->mover);

			ms = due < ms ? due : ms;
			if (t->announce_ms && t->announce_ms < ms)
				ms = t->announce_ms;
		}
		LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry) {
			uint64_t due = follower_deadline_ms(&t->follower);

			ms = due < ms ? due : ms;
		}
	}
	d->handover_ms = ms;
	d->handover_dirty = false;
	return ms;
}
