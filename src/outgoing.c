/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * outgoing: the handover's messages, as its core asks for them.
 *
 * Owns where MOVE, ACCEPT, REFUSE, PROVE and DONE go and what stands in
 * them. Never decides that one is due.
 */
#include "daemon.h"

#include <string.h>

#include "handover_impl.h"

/* Every locator of the peer that a message about our track may go to. */
unsigned int outgoing_locators(const struct track *t, struct addr *to,
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
	unsigned int total = track_count_ports(t, act->to.ports);
	const struct flow *from = LIST_FIRST(&t->group.flows);
	struct wire_message m;
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
		from = track_list_ports(act->to.ports, from, &m.move);
		m.move.part = (uint16_t)part;
		m.move.parts = total ? (uint16_t)((total + WIRE_MOVE_MAX - 1) /
						 WIRE_MOVE_MAX) : 1;
		assoc_send(t->assoc, now_ms, &act->source, to, &m);
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

/* An address that is not valid gets no more than it sent: name as many flows
 * as that allows, the next MOVE, or PROVE, shows the others. */
static void fit(const struct track *t, uint64_t now_ms,
		const struct addr *source, const struct addr *to,
		struct wire_message *m)
{
	size_t limit;

	if (m->type != WIRE_REFUSE && m->type != WIRE_PROVE)
		return;
	limit = peer_send_limit(t->assoc->peer, now_ms, source, to, m->type);
	if (m->type == WIRE_REFUSE)
		while (m->refuse.n &&
		       (size_t)WIRE_REFUSE_SIZE(m->refuse.n) > limit)
			m->refuse.n--;
	else
		while (m->prove.n &&
		       (size_t)WIRE_PROVE_SIZE(m->prove.n) > limit)
			m->prove.n--;
}

void outgoing_send(struct track *t, const struct migrate_action *act,
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
		n = outgoing_locators(t, to, sizeof(to) / sizeof(*to));
	}
	for (unsigned int i = 0; i < n; i++) {
		if (act->message == MIGRATE_MOVE) {
			send_move(t, act, &to[i], now_ms);
			continue;
		}
		fill_message(t, act, &m);
		fit(t, now_ms, &source, &to[i], &m);
		assoc_send(t->assoc, now_ms, &source, &to[i], &m);
	}
}
