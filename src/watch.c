/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch: the packet copies that proofs of ownership need.
 *
 * Owns the taps, one per address pair and protocol, open while a proof needs
 * it. Never judges what it sees (claim does).
 */
#include "daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "pkt.h"

static void on_copy(const struct tap_packet *p, void *arg)
{
	struct tap_ref *ref = arg;
	struct flow *f = flow_find(&ref->d->flows, &p->tuple);
	uint64_t now_ms = p->when_ms;

	if (!f)
		f = flow_find_wire(&ref->d->flows, &p->tuple);
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

		wake_seen(ref->d, f);
		claim_segment(&f->claim, now_ms, &s);
	}
}

static void tap_free(struct tap_ref *ref)
{
	loop_remove(ref->d->loop, tap_fd(ref->tap));
	tap_close(ref->tap);
	LIST_REMOVE(ref, entry);
	free(ref);
}

static void on_tap(uint32_t events, void *arg)
{
	struct tap_ref *ref = arg;

	(void)events;
	/* The last proof may close the tap in this very call. */
	ref->uses++;
	tap_receive(ref->tap, on_copy, ref);
	watch_close(ref);
}

static struct tap_ref *tap_find(struct daemon *d, const struct tuple *t)
{
	struct tap_ref *ref;

	LIST_FOREACH(ref, &d->taps, entry)
		if (ref->proto == t->proto &&
		    addr_equal(&ref->local, &t->local.addr) &&
		    addr_equal(&ref->remote, &t->remote.addr))
			return ref;
	return NULL;
}

int watch_open(struct daemon *d, const struct tuple *t, struct tap_ref **to)
{
	struct tap_ref *ref = tap_find(d, t);
	int err;

	if (ref) {
		ref->uses++;
		*to = ref;
		return 0;
	}
	ref = calloc(1, sizeof(*ref));
	if (!ref)
		return -ENOMEM;
	ref->d = d;
	ref->proto = t->proto;
	ref->local = t->local.addr;
	ref->remote = t->remote.addr;
	ref->uses = 1;
	err = tap_open(&ref->tap, t->proto, &ref->local, &ref->remote);
	if (err) {
		free(ref);
		return err;
	}
	err = loop_add(d->loop, tap_fd(ref->tap), EPOLLIN, on_tap, ref);
	if (err) {
		tap_close(ref->tap);
		free(ref);
		return err;
	}
	LIST_INSERT_HEAD(&d->taps, ref, entry);
	*to = ref;
	return 0;
}

void watch_close(struct tap_ref *ref)
{
	if (--ref->uses == 0)
		tap_free(ref);
}
