/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * salvage: flows that the kernel rewrites, and that no journal names.
 *
 * Owns what is read from the maps that an earlier run has left, where its
 * journal was lost (a full disk, a directory that was cleared): such flows
 * are translated on to their end, are nobody's and do not move. Never takes
 * one whose ports have changed: that the maps do not tell in one place. What
 * goes by queues is known to the journal alone.
 */
#include "daemon.h"

#include <string.h>

struct salvage {
	struct daemon *d;
	unsigned int taken;
};

/* A socket lives on it, the journal did not take it up, nor does it say that
 * this was another socket's. */
static struct flow *flow_lost(const struct daemon *d, const struct tuple *t)
{
	struct flow *f = flow_find(&d->flows, t);
	const struct book_flow *b;

	if (!f || f->protected || f->ended)
		return NULL;
	b = adopt_book_flow(d, t);
	return b && !adopt_is_same_socket(b, f) ? NULL : f;
}

static bool has_ports_of(const struct tuple *a, const struct tuple *b)
{
	return a->local.port == b->local.port &&
	       a->remote.port == b->remote.port;
}

static void on_sent(const struct tuple *t, const struct tuple *to, void *arg)
{
	struct salvage *s = arg;
	struct flow *f = flow_lost(s->d, t);

	if (!f || f->path || !has_ports_of(t, to))
		return;
	if (!flow_accept(f, FLOW_OURS, &to->local.addr, 0) &&
	    !flow_accept(f, FLOW_THEIRS, &to->remote.addr, 0) &&
	    !flow_send_by(f, FLOW_OURS, &to->local.addr, 0))
		(void)flow_send_by(f, FLOW_THEIRS, &to->remote.addr, 0);
}

/* Ends that we do not send by: of a handover, or draining. At a bound they
 * are left out. */
static void on_received(const struct tuple *t, const struct tuple *to,
			void *arg)
{
	struct salvage *s = arg;
	struct flow *f = flow_lost(s->d, to);

	if (!f || !f->path || !has_ports_of(t, to))
		return;
	(void)flow_accept(f, FLOW_OURS, &t->local.addr, 0);
	(void)flow_accept(f, FLOW_THEIRS, &t->remote.addr, 0);
}

static void take(struct salvage *s, struct flow *f, uint64_t now_ms)
{
	/* A path begins with the identity's end, which is over. */
	if (!addr_equal(&f->path->send[FLOW_OURS].addr,
			&f->identity.local.addr))
		flow_unaccept(f, FLOW_OURS, &f->identity.local.addr, 0);
	if (!addr_equal(&f->path->send[FLOW_THEIRS].addr,
			&f->identity.remote.addr))
		flow_unaccept(f, FLOW_THEIRS, &f->identity.remote.addr, 0);
	if (track_take(s->d, f, NULL, now_ms))
		return; /* it has no path any more, and ends */
	adopt_way_back(s->d, f);
	f->reason = REASON_NO_PEER;
	s->taken++;
}

void salvage_flows(struct daemon *d, uint64_t now_ms)
{
	struct salvage s = { .d = d };
	int err = steer_mapped(d->steer, STEER_SEND, on_sent, &s);

	if (!err)
		err = steer_mapped(d->steer, STEER_RECV, on_received, &s);
	if (err)
		log_warn(d->log, "what the kernel rewrites: %s",
			 strerror(-err));
	for (struct flow *f = flow_first(&d->flows); f; f = flow_next(f))
		if (f->path && !f->protected)
			take(&s, f, now_ms);
	if (s.taken)
		log_warn(d->log, "translates %u connections on that no "
				 "journal names; they move no more", s.taken);
}
