/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wake: makes a sender go on that stands still when the path is back.
 *
 * Where the host that moves only receives, nothing that it sends tells the
 * other end's TCP to try again: the next retransmission comes when the timer
 * says, after an outage of a second up to another second later, after a
 * minute up to another minute. So (sacip(7), PROVE):
 *
 *	mover	held for long enough that the peer's timer has run out:
 *		has its sockets say what they expect next, notes it from
 *		the segments that it holds, names it in PROVE
 *	peer	tells its own TCP by an ICMP error that quotes exactly the
 *		first number not acknowledged that the retransmission was not
 *		lost to congestion: each undoes one step of the backoff (RFC
 *		6069; tcp_ld_RTO_revert() of the kernel), and what is due by
 *		then goes out at once
 *
 * An acknowledgment may have been lost with the path: then the mover expects
 * more than the peer waits for, and its number is ignored. Worse, when the
 * acknowledgment arrives after all and the last retransmission was lost, Linux
 * takes its timeouts back as needless (Eifel, RFC 3522), forgets nothing of
 * the lost copy, and repeats it only when the long timer ends, whatever is
 * acknowledged selectively behind it (seen with 6.18). So the peer does not
 * wait for PROVE. Where it holds what it sends, since this MOVE or one before
 * that came to nothing, it asks its own sockets for the number before the
 * ACCEPT: a segment that one is made to send bears what it sends next,
 * SOCK_DIAG tells how much of what was sent before is not acknowledged. Where
 * that fails there is PROVE.
 *
 * Before its first timeout there is no backoff to undo. Where standstill.h
 * knows a cure, the peer gives its TCP the acknowledgment that the mover's would
 * send, by the number of PROVE, and claims that the last segment came behind it.
 * That has to wait for PROVE: where the acknowledgment was lost with the path,
 * TCP's own first number would be repeated in vain, the mover's answer be taken
 * for that to the first copy, and what is missing behind it be forgotten as
 * above. The mover is told no number, so a sender of its own is woken from
 * backoff only, and goes on otherwise by what it sent during the hold.
 *
 * What is said to our own TCP comes by lo and bears the peer's address. There
 * are rules that drop such a packet in front of everything (wg-quick's: its
 * addresses are for its own device). So a socket that does not answer is asked
 * the other way, veiled (tap.h), and the way that is answered is kept.
 *
 * A number that TCP does not wait for is ignored by it, so a late or wrong one
 * does nothing. Owns both halves. Never sends to the peer's host itself, never
 * makes a socket send what TCP would not.
 */
#include "daemon.h"

#include "pkt.h"
#include "standstill.h"

enum wake { /* of struct flow */
	WAKE_NOT,
	WAKE_ASKED, /* its socket was made to say what it sends next ... */
	WAKE_TOLD, /* ... and has, but only the other end's number helps */
	WAKE_DONE,
};

#define RECENT_MS 5000 /* flows that got data in so much time go first */
#define LOOKUPS_MAX 64 /* ACCEPT waits for these; the others go by PROVE */
#define ANSWERS_GAP_MS 600 /* tcp_invalid_ratelimit is 500: who is asked sooner
			    * after an answer, or a question, may be silent */
#define BACKOFF_MAX 16 /* above what tcp_retries2 leads to */

/* Where the kernel cannot unveil, or has not been told to, it goes as it is. */
static void inject(struct daemon *d, const struct flow *f,
		   const uint8_t *packet, int len)
{
	if (len <= 0)
		return;
	if (f->veiled && steer_is_unveiling(d->steer))
		tap_inject_veiled(d->injector, packet, (size_t)len,
				  d->conf->mark);
	else
		tap_inject(d->injector, packet, (size_t)len, d->conf->mark);
}

/* Nobody says which end has connected, and a firewall of this host may drop
 * what is invalid: one of each. A socket answers once (tcp_invalid_ratelimit,
 * 500 ms). */
void wake_poke(struct daemon *d, struct flow *f)
{
	uint8_t probe[PKT_PROBE_MAX];

	const uint64_t now_ms = loop_now_ms();

	if (f->veiled)
		divert_unveil(d);
	f->rested = now_ms >= f->poked_ms + ANSWERS_GAP_MS ||
		    (f->asked && f->rested);
	f->asked = true;
	f->poked_ms = now_ms;
	for (int answers = 0; answers < 2; answers++) {
		int len = pkt_build_tcp_probe(&f->identity, answers, probe,
					      sizeof(probe));

		inject(d, f, probe, len);
	}
}

bool wake_poke_again(struct daemon *d, struct flow *f)
{
	if (f->answers || !f->asked || !f->rested)
		return false;
	f->veiled = !f->veiled;
	wake_poke(d, f);
	return true;
}

void wake_begin(const struct daemon *d, struct flow *f)
{
	const struct addr *a = &f->identity.local.addr;

	f->veiled = addr_equal(a, &d->veiled[a->family == 6]);
}

void wake_seen(struct daemon *d, struct flow *f)
{
	const struct addr *a = &f->identity.local.addr;

	if (f->asked && f->veiled)
		d->veiled[a->family == 6] = *a;
	f->asked = false;
}

void wake_heard(struct flow *f, uint32_t payload_len)
{
	if (payload_len || !f->asked)
		return;
	f->answers = true;
	f->asked = false;
	f->poked_ms = loop_now_ms();
}

void wake_unheard(struct flow *f)
{
	if (f->asked && f->rested) {
		f->veiled = !f->veiled;
		f->answers = false;
	}
	f->asked = false;
}

/* A socket that wants to hear of ICMP errors would take ours for a real one. */
static enum standstill_cure look(struct daemon *d, const struct flow *f,
				 struct sockdiag_entry *e)
{
	enum standstill_cure cure;

	if (f->identity.proto != IPPROTO_TCP ||
	    sockdiag_lookup(d->sockdiag, &f->identity, 0, e))
		return STANDSTILL_NONE;
	cure = standstill_cure(&e->info);
	return cure == STANDSTILL_REVERT && e->recverr ? STANDSTILL_NONE : cure;
}

static uint32_t under_way(const struct sockdiag_info *info)
{
	return info->queued - info->notsent;
}

/* The first number that is not acknowledged, by the one that is sent next. */
static uint32_t unacknowledged(const struct flow *f,
			       const struct sockdiag_info *info)
{
	return f->transit->snd_nxt - under_way(info);
}

static void woken(struct daemon *d, struct flow *f)
{
	f->wake = WAKE_DONE;
	COUNT(d, SENDERS_WOKEN);
}

static void revert(struct daemon *d, const struct flow *f, uint32_t snd_una,
		   const struct sockdiag_entry *e)
{
	uint8_t error[PKT_UNREACHABLE_MAX];
	int len = pkt_build_tcp_unreachable(&f->identity, snd_una, error,
					    sizeof(error));

	for (unsigned int i = 0;
	     i < e->info.backoff && i < BACKOFF_MAX; i++)
		inject(d, f, error, len);
}

/* What is left of the window that the other end has offered, once it has
 * acknowledged up to `rcv_nxt`: an acknowledgment of ours offers no byte more. 0
 * as well where the number is none of what is under way. */
static uint32_t window_left(const struct flow *f, uint32_t rcv_nxt,
			    const struct sockdiag_info *info)
{
	uint32_t acked = rcv_nxt - unacknowledged(f, info);

	return acked <= under_way(info) && acked < info->snd_wnd ?
		       info->snd_wnd - acked : 0;
}

/* By the number that the other end expects. The first of several duplicates may
 * pass for news of the window. A socket whose window is not known (before Linux
 * 5.4), or closed, is left alone. */
static void acknowledge(struct daemon *d, const struct flow *f,
			uint32_t rcv_nxt, const struct sockdiag_info *info)
{
	struct standstill_block block = { 0 };
	struct pkt_ack a = {
		.seq = f->transit->rcv_nxt,
		.ack = rcv_nxt,
		.window = (uint16_t)(window_left(f, rcv_nxt, info) >>
				     info->snd_wscale),
	};
	unsigned int n = info->reordering + 1u;
	uint8_t ack[PKT_ACK_MAX];
	int len;

	if (!a.window)
		return;
	if (info->sack) {
		block = standstill_block(info->snd_mss, rcv_nxt,
					 f->transit->snd_nxt);
		n = 1;
	}
	a.start = block.start;
	a.end = block.end;
	len = pkt_build_tcp_ack(&f->identity, &a, ack, sizeof(ack));
	for (unsigned int i = 0; i < n; i++)
		inject(d, f, ack, len);
}

/*
 * In backoff, by the numbers that it told in this hold. What it sends next, and
 * how much of what it sent is not acknowledged, make the first number that is
 * not; where what was held is only a part of that, so does the segment that was
 * sent last, since in backoff nothing but the first is. The wrong one of the
 * two is ignored.
 */
static void wake(struct daemon *d, struct flow *f,
		 const struct sockdiag_entry *e)
{
	const struct flow_transit *t = f->transit;
	uint32_t snd_una = unacknowledged(f, &e->info);

	revert(d, f, snd_una, e);
	if (t->repeats && t->sent_seq != snd_una)
		revert(d, f, t->sent_seq, e);
	woken(d, f);
}

/* ---- mover ------------------------------------------------------------- */

/* What was noted when it was held before may be billions of bytes behind. One
 * that has nothing to send, or whose segments were on their way before, has
 * none that could go when it is let go: see wake_own(). */
static void note_sent(struct flow_transit *t, const struct pkt *p)
{
	uint32_t len = p->payload_len + !!(p->tcp_flags & PKT_TCP_FIN);
	uint32_t next = p->tcp_seq + len;
	bool empty = hold_flow_empty(&t->held);

	if (empty && !t->stale)
		t->repeats = false;
	if ((empty && !t->stale) || (int32_t)(next - t->snd_nxt) > 0)
		t->snd_nxt = next;
	if (len) {
		t->sent_seq = p->tcp_seq;
		t->repeats = true;
	} else if (empty) {
		t->stale = true;
	}
}

void wake_note(struct daemon *d, struct flow *f, const struct pkt *p,
	       uint64_t now_ms)
{
	struct sockdiag_entry e;
	enum standstill_cure cure;

	if (!f->transit || p->proto != IPPROTO_TCP ||
	    !(p->tcp_flags & PKT_TCP_ACK))
		return;
	note_sent(f->transit, p);
	wake_heard(f, p->payload_len);
	f->transit->rcv_nxt = p->tcp_ack;
	f->transit->rcv_nxt_ms = now_ms;
	/* What carries data is a retransmission, or was sent meanwhile. */
	if (f->wake != WAKE_ASKED || p->payload_len ||
	    p->tcp_flags & (PKT_TCP_SYN | PKT_TCP_FIN | PKT_TCP_RST))
		return;
	cure = look(d, f, &e);
	if (cure == STANDSTILL_REVERT)
		wake(d, f, &e);
	else if (cure != STANDSTILL_NONE)
		f->wake = WAKE_TOLD;
}

/* Said since this handover began to hold? */
static bool has_number(const struct track *t, const struct flow *f)
{
	return f->transit && f->transit->rcv_nxt_ms &&
	       f->transit->rcv_nxt_ms >= t->mover.hold_since_ms;
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
	    now_ms - t->mover.hold_since_ms < STANDSTILL_MIN_MS)
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
				wake_poke(t->assoc->d, f);
		}
}

void wake_ask_again(struct assoc *a)
{
	bool any = false;
	struct track *t;
	struct flow *f;

	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry) {
		if (!mover_holds(&t->mover) || t->asked_seq != t->mover.seq)
			continue;
		LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS])
			if (!has_number(t, f))
				any |= wake_poke_again(a->d, f);
	}
	if (any)
		divert_read_out(a->d);
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
			m->flow[m->n++].rcv_nxt = f->transit->rcv_nxt;
		}
}

/* ---- either, of what it held itself ------------------------------------- */

bool wake_can(struct daemon *d, const struct flow *f)
{
	struct sockdiag_entry e;

	return look(d, f, &e) == STANDSTILL_REVERT &&
	       standstill_revert_ms(&e.info) <= STANDSTILL_MIN_MS;
}

void wake_own(struct daemon *d, struct flow *f, uint32_t held_ms)
{
	struct sockdiag_entry e;

	if (!f->transit || !f->transit->stale)
		return;
	f->transit->stale = false;
	if (held_ms >= STANDSTILL_MIN_MS &&
	    look(d, f, &e) == STANDSTILL_REVERT)
		wake(d, f, &e);
}

/* ---- peer -------------------------------------------------------------- */

/* What was done about its senders was for the offer before. */
static void forget(struct track *t)
{
	struct flow *f;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS])
		f->wake = WAKE_NOT;
}

/* Those that have not answered. */
static bool ask_again(struct track *t)
{
	bool any = false;
	struct flow *f;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS])
		if (f->wake == WAKE_ASKED)
			any |= wake_poke_again(t->assoc->d, f);
	return any;
}

void wake_offered(struct track *t)
{
	struct daemon *d = t->assoc->d;
	struct sockdiag_entry e;
	unsigned int n = 0, asked = 0;
	struct flow *f;

	forget(t);
	if (!follower_holds(&t->follower))
		return;
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS]) {
		if (n == WIRE_PROVE_MAX || asked == LOOKUPS_MAX || !f->hold)
			continue;
		asked++;
		if (!look(d, f, &e))
			continue;
		n++;
		f->wake = WAKE_ASKED;
		wake_poke(d, f);
	}
	/* The answers are in the queue by now, ahead of what M sends. */
	if (n)
		divert_read_out(d);
	if (n && ask_again(t))
		divert_read_out(d);
}

static void wake_by(struct daemon *d, struct flow *f, uint32_t rcv_nxt)
{
	struct sockdiag_entry e;

	switch (look(d, f, &e)) {
	case STANDSTILL_NONE:
		return;
	case STANDSTILL_REVERT:
		revert(d, f, rcv_nxt, &e);
		break;
	case STANDSTILL_BLOCK:
	case STANDSTILL_DUPLICATES:
		if (f->wake != WAKE_TOLD)
			return;
		acknowledge(d, f, rcv_nxt, &e.info);
		break;
	}
	woken(d, f);
}

void wake_senders(struct track *t, const struct wire_prove *m)
{
	struct daemon *d = t->assoc->d;

	for (unsigned int i = 0; i < m->n; i++) {
		struct claim *c = claim_find(t->assoc->claims,
					     m->flow[i].flow_id);
		struct flow *f = c ? flow_of_claim(c) : NULL;

		if (f && f->group[FLOW_THEIRS] == &t->group && !f->hold &&
		    f->wake != WAKE_DONE)
			wake_by(d, f, m->flow[i].rcv_nxt);
	}
	forget(t);
}
