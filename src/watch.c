/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch: the packet copies that proofs of ownership need.
 *
 * Owns who gets the copies, and when sockets that copied are given up; the taps
 * are the claims', open while a proof needs them. Never judges what it sees
 * (claim does).
 */
#include "daemon.h"

#include <sys/epoll.h>

#include "pkt.h"

static void on_copy(const struct tap_packet *p, void *arg)
{
	struct daemon *d = arg;
	struct flow *f = flow_find(&d->flows, &p->tuple);
	uint64_t now_ms = p->when_ms;

	if (!f)
		f = flow_find_wire(&d->flows, &p->tuple);
	if (!f)
		return;
	assoc_touch_claim(&f->claim);
	if (p->tuple.proto == IPPROTO_UDP) {
		claim_datagram(&f->claim, now_ms, p->outgoing, p->payload,
			       p->payload_len);
	} else if (p->outgoing && (p->flags & PKT_TCP_ACK)) {
		struct claim_segment s = {
			.snd_nxt = p->seq + p->payload_len +
				   !!(p->flags & PKT_TCP_SYN) +
				   !!(p->flags & PKT_TCP_FIN),
			.rcv_nxt = p->ack,
			.window = (uint32_t)p->window << f->rcv_wscale,
		};

		wake_seen(d, f);
		claim_segment(&f->claim, now_ms, &s);
	}
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
