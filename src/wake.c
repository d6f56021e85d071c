/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wake: makes a sender go on that sits in retransmission backoff when the
 * path is back.
 *
 * Where the host that moves only receives, nothing that it sends tells the
 * other end's TCP to try again: the next retransmission comes when the timer
 * says, after an outage of a second up to another second later, after a
 * minute up to another minute. So (PROTOCOL, PROVE):
 *
 *	mover	held for long enough that the peer's timer has run out:
 *		has its sockets say what they expect next, notes it from
 *		the segments that it holds, names it in PROVE
 *	peer	tells its own TCP by an ICMP error that quotes exactly this
 *		number that the retransmission was not lost to congestion:
 *		each undoes one step of the backoff (RFC 6069;
 *		tcp_ld_RTO_revert() of the kernel), and what is due by then
 *		goes out at once
 *
 * A number that the peer's TCP does not wait for is ignored by it, so a late
 * or wrong one does nothing. Owns both halves. Never sends to the peer's host
 * itself, never makes a socket send what TCP would not.
 */
#include "daemon.h"

#include "pkt.h"

#define BACKED_OFF_MS 200 /* TCP_RTO_MIN: before, no timer has run out */
#define RECENT_MS 5000 /* flows that got data in so much time go first */
#define BACKOFF_MAX 16 /* above what tcp_retries2 leads to */

void wake_poke(struct daemon *d, const struct tuple *t)
{
	uint8_t probe[PKT_PROBE_MAX];
	int len = pkt_build_tcp_probe(t, probe, sizeof(probe));

	if (len > 0)
		tap_inject(d->injector, probe, (size_t)len, d->conf->mark);
}

/* ---- mover ------------------------------------------------------------- */

void wake_note(struct flow *f, const struct pkt *p, uint64_t now_ms)
{
	if (p->proto != IPPROTO_TCP || !(p->tcp_flags & PKT_TCP_ACK))
		return;
	f->rcv_nxt = p->tcp_ack;
	f->rcv_nxt_ms = now_ms;
}

/* Said since this handover began to hold? */
static bool has_number(const struct track *t, const struct flow *f)
{
	return f->rcv_nxt_ms && f->rcv_nxt_ms >= t->mover.hold_since_ms;
}

static bool got_data(const struct track *t, const struct flow *f)
{
	return f->received_ms + RECENT_MS >= t->mover.hold_since_ms;
}

/* Those that got data shortly before, then any others. Each probe makes one
 * segment, and a socket answers at most one in 500 ms. */
void wake_ask(struct track *t, uint64_t now_ms)
{
	unsigned int n = 0;
	struct flow *f;

	if (!mover_holds(&t->mover) ||
	    now_ms - t->mover.hold_since_ms < BACKED_OFF_MS)
		return;
	t->asked_seq = t->mover.seq;
	for (int recent = 1; recent >= 0; recent--)
		LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
			if (n == WIRE_PROVE_MAX)
				return;
			if (f->identity.proto != IPPROTO_TCP ||
			    got_data(t, f) != recent)
				continue;
			n++;
			if (!has_number(t, f))
				wake_poke(t->assoc->d, &f->identity);
		}
}


void wake_fill(const struct track *t, struct wire_prove *m)
{
	const struct flow *f;

	m->n = 0;
	if (t->asked_seq != m->seq)
		return;
	for (int recent = 1; recent >= 0; recent--)
		LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
			if (m->n == WIRE_PROVE_MAX)
				return;
			if (!has_number(t, f) || got_data(t, f) != recent)
				continue;
			m->flow[m->n].flow_id = f->claim.flow_id;
			m->flow[m->n++].rcv_nxt = f->rcv_nxt;
		}
}

/* ---- peer -------------------------------------------------------------- */

static void wake(struct daemon *d, const struct flow *f, uint32_t snd_una)
{
	uint8_t error[PKT_UNREACHABLE_MAX];
	struct sockdiag_entry e;
	int len;

	/* A socket that wants to hear of ICMP errors would take it for a
	 * real one. */
	if (f->hold || sockdiag_lookup(d->sockdiag, &f->identity, 0, &e) ||
	    !e.info.backoff || e.recverr)
		return;
	len = pkt_build_tcp_unreachable(&f->identity, snd_una, error,
					sizeof(error));
	for (unsigned int i = 0;
	     len > 0 && i < e.info.backoff && i < BACKOFF_MAX; i++)
		tap_inject(d->injector, error, (size_t)len, d->conf->mark);
	COUNT(d, SENDERS_WOKEN);
}

void wake_senders(struct track *t, const struct wire_prove *m)
{
	for (unsigned int i = 0; i < m->n; i++) {
		struct claim *c = claim_find(t->assoc->claims,
					     m->flow[i].flow_id);
		struct flow *f = c ? flow_of_claim(c) : NULL;

		if (f && f->group[FLOW_THEIRS] == &t->group &&
		    f->identity.proto == IPPROTO_TCP)
			wake(t->assoc->d, f, m->flow[i].rcv_nxt);
	}
}
