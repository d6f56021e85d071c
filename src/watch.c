/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch: what proofs of ownership need to see of packets.
 *
 * Owns who gets the copies of what a socket sends, when sockets that copied are
 * given up, and which nonces that were taken out are the claims'; the taps are
 * theirs, open while a proof needs them. Never judges what it sees (claim
 * does).
 */
#include "daemon.h"

#include <sys/epoll.h>

#include "nonce.h"
#include "pkt.h"

static void on_copy(const struct tap_packet *p, void *arg)
{
	struct daemon *d = arg;
	struct flow *f = flow_find(&d->flows, &p->tuple);

	if (!f)
		f = flow_find_wire(&d->flows, &p->tuple);
	if (!f)
		return;
	if (p->outgoing && (p->flags & PKT_TCP_ACK) &&
	    !(p->flags & PKT_TCP_RST)) {
		const struct nonce_numbers n = {
			.seq = p->seq + p->payload_len +
			       !!(p->flags & PKT_TCP_SYN) +
			       !!(p->flags & PKT_TCP_FIN),
			.ack = p->ack,
			.window = p->window,
			.stamped = p->stamped,
			.tsval = p->tsval,
			.tsecr = p->tsecr,
		};

		wake_seen(d, f);
		claim_segment(&f->claim, p->when_ms, &n);
	}
}

void watch_note(struct daemon *d, struct flow *f, const struct pkt *p,
		const uint8_t *data, uint64_t now_ms)
{
	struct nonce_numbers n;

	if (LIST_EMPTY(&f->claim.works) || p->proto != IPPROTO_TCP ||
	    p->fragment || !(p->tcp_flags & PKT_TCP_ACK) ||
	    p->tcp_flags & PKT_TCP_RST)
		return;
	nonce_numbers_in(p, data, &n);
	n.seq += p->payload_len + !!(p->tcp_flags & PKT_TCP_SYN) +
		 !!(p->tcp_flags & PKT_TCP_FIN);
	wake_seen(d, f);
	claim_segment(&f->claim, now_ms, &n);
}

bool watch_take(struct daemon *d, const struct tuple *at, const struct pkt *p,
		const uint8_t *data, const uint8_t *nonce)
{
	struct nonce_numbers n;
	struct flow *f = flow_find(&d->flows, at);

	if (!f)
		f = flow_find_steered(&d->flows, at);
	if (!f || LIST_EMPTY(&f->claim.works))
		return false;
	nonce_numbers_in(p, data, &n);
	return claim_nonce(&f->claim, loop_now_ms(), at, nonce, &n);
}

/* The kernel has been told by a flow before this one at the same tuple, maybe,
 * or by an earlier run. */
static uint64_t told_before_ms(const struct flow *f)
{
	return f->first_seen_ms + CLAIM_TAKE_MS;
}

bool watch_is_late(const struct daemon *d, const struct tuple *at)
{
	const struct flow *f = flow_find(&d->flows, at);
	const uint64_t now_ms = loop_now_ms();

	if (!f)
		f = flow_find_steered(&d->flows, at);
	return f && (now_ms < f->claim.take_ms || now_ms < told_before_ms(f));
}

bool watch_is_ours(const struct daemon *d, const struct tuple *at,
		   const uint8_t *nonce)
{
	const struct flow *f = flow_find(&d->flows, at);

	if (!f)
		f = flow_find_steered(&d->flows, at);
	return f && claim_nonce_is_ours(&f->claim, nonce);
}

static void on_taps(uint32_t events, void *arg)
{
	struct daemon *d = arg;

	(void)events;
	(void)taps_receive(d->taps, on_copy, d);
}

int watch_listen(struct daemon *d)
{
	return loop_add(d->loop, taps_fd(d->taps), EPOLLIN, on_taps, d);
}

void watch_step(struct daemon *d, uint64_t now_ms)
{
	taps_step(d->taps, now_ms);
	taps_step(d->trial_taps, now_ms);
}

uint64_t watch_due_ms(const struct daemon *d)
{
	uint64_t a = taps_due_ms(d->taps), b = taps_due_ms(d->trial_taps);

	return !a || (b && b < a) ? b : a;
}
