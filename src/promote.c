/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * promote: takes flows off the queues as soon as nothing of them waits there.
 *
 * A flow that has moved goes to the maps, by which the kernel itself rewrites
 * it, or where it may not to a worker (crew.c), which is the same from here;
 * one that is back where it was goes its own way again. Order decides: a
 * packet that is still in a queue must not be overtaken by one that goes past
 * it. The half of a flow of which nothing can be in a queue is taken at once,
 * in the very transaction that moves it. Any other waits until its queue is
 * empty (TCP, which sorts out the few that are on their way meanwhile) or
 * until it has been quiet for SETTLE_QUIET_MS (UDP).
 *
 * Owns the list of those that wait. Never puts a flow on the queues: whoever
 * needs to see what it sends holds it, and that half is not rewritten then.
 */
#include "daemon.h"

#define RETRY_MS 1000
#define PARTS_MAX 64 /* transactions more, where one was refused */
#define READS 16 /* of each queue, in a row */
/* The same while workers stand still for it: the bound of what can wait, so
 * that none of it is left where nothing is added. */
#define READS_ALL 4096

static void wait_to_leave(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	if (f->settling || !flow_transit(f))
		return; /* without memory it is not steered to us either */
	f->settling = true;
	f->transit->settling_ms = now_ms;
	LIST_INSERT_HEAD(&d->divert.settling, f, transit->in_settling);
	if (!d->settle_ms)
		d->settle_ms = now_ms + SETTLE_QUIET_MS;
}

void promote_forget(struct flow *f)
{
	if (f->settling)
		LIST_REMOVE(f, transit->in_settling);
	f->settling = false;
	f->stay_queued = false;
}

#define SEND (1u << FLOW_OURS)
#define RECV (1u << FLOW_THEIRS)

/* Can anything that came be in the queue? By the locator that we switch to
 * nothing has come yet, nor by one that the peer has just offered. */
static bool may_be_queued(const struct daemon *d, const struct flow *f,
			  const struct tuple *wire)
{
	const struct flow_wire *w;

	SLIST_FOREACH(w, &f->wires, entry)
		if (!(w->mapped & RECV) && !w->quiet_ms &&
		    !tuple_equal(&w->tuple, wire))
			return true;
	return !d->divert.we_switch && !d->divert.they_offer;
}

/* What can be taken off the queues at once: halves of which nothing was
 * diverted until now. */
static uint8_t free_halves(const struct daemon *d, const struct flow *f,
			   const struct tuple *wire)
{
	uint8_t free = 0;

	if (!flow_is_waiting(f) &&
	    (f->promoted & SEND || !(f->steered & (1u << FLOW_STEER_OUT))))
		free = SEND;
	if (!may_be_queued(d, f, wire))
		free |= RECV;
	return free;
}

static bool may_leave(struct daemon *d, struct flow *f)
{
	return d->steer_info.maps || crew_take(d, f);
}

static void consider_moved(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	const struct flow_wire *w = flow_mapped(f);
	struct tuple wire = flow_wire_tuple(f);
	bool stays = w && tuple_equal(&w->tuple, &wire);

	f->stay_queued = false;
	if (!may_leave(d, f))
		return;
	if (f->leave_queue)
		f->promoted = SEND | RECV;
	else
		f->promoted = (stays ? f->promoted : 0) |
			      free_halves(d, f, &wire);
	if (f->promoted != (SEND | RECV))
		wait_to_leave(d, f, now_ms);
}

static void consider_plain(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	/* With a worker some may still wait. */
	if (!f->leave_queue && !f->stay_queued &&
	    (!(f->promoted & SEND) || crew_carries(f)) &&
	    f->steered & (1u << FLOW_STEER_OUT)) {
		f->stay_queued = true;
		wait_to_leave(d, f, now_ms);
	}
	f->promoted &= RECV; /* by what it was moved to, for a while */
}

/* By a locator that the peer has just offered nothing has come yet: where
 * nothing else may be queued either, it never is. */
static void consider_offer(struct daemon *d, struct flow *f)
{
	struct tuple wire = flow_wire_tuple(f);

	if (d->divert.they_offer && !may_be_queued(d, f, &wire) &&
	    may_leave(d, f))
		f->promoted |= RECV;
}

void promote_consider(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	if (!f->protected) {
		f->promoted = 0;
		return;
	}
	consider_offer(d, f);
	if (f->hold && f->leave_queue && may_leave(d, f))
		f->promoted = RECV;
	else if (f->hold)
		f->promoted &= RECV;
	else if (flow_is_moved(f))
		consider_moved(d, f, now_ms);
	else
		consider_plain(d, f, now_ms);
}

/* ---- leaving the queue ------------------------------------------------- */

/* Workers stand still until our own queues are read: they need no quiet.
 * `gap`: nothing waits in the queues. Where something does, it may be this
 * flow's, behind others'. One that has come home and never is quiet leaves in
 * a gap after a while: its steering shall end. */
static bool is_quiet(const struct flow *f, bool gap, uint64_t now_ms)
{
	if (f->identity.proto == IPPROTO_TCP || (f->transit->work && flow_is_moved(f)))
		return true;
	if (!flow_is_moved(f) && gap && now_ms - f->transit->settling_ms >= SETTLE_FORCE_MS)
		return true;
	return gap && now_ms - f->transit->last_queued_ms >= SETTLE_QUIET_MS;
}

static void look_again(struct daemon *d, uint64_t at_ms)
{
	if (!d->settle_ms || at_ms < d->settle_ms)
		d->settle_ms = at_ms;
}

/* In one transaction: until it is done, nothing else is. Where the kernel refuses
 * it, each half by itself, so that what is wrong with one flow keeps no other on
 * the queues; `*parts` more of these. */
static void leave_queues(struct daemon *d, struct flow **f, size_t n,
			 unsigned int *parts, uint64_t now_ms)
{
	int err = 0;

	divert_begin(d);
	for (size_t i = 0; i < n; i++) {
		f[i]->stay_queued = false;
		f[i]->leave_queue = true;
		divert_add(d, f[i], false, now_ms, &err);
	}
	d->crew.stand_still = true; /* promote_step() reads what waits */
	err = divert_commit(d, err);
	for (size_t i = 0; i < n; i++) {
		f[i]->leave_queue = false;
		divert_settle(d, f[i], false, now_ms, err);
		if (err)
			f[i]->stay_queued = !flow_is_moved(f[i]);
		else
			promote_forget(f[i]);
	}
	if (!err)
		return;
	if (n == 1 || d->divert.rebuild_ms || *parts < 2) {
		for (size_t i = 0; i < n; i++)
			f[i]->transit->refused_ms = now_ms;
		look_again(d, now_ms + RETRY_MS);
		return;
	}
	*parts -= 2;
	leave_queues(d, f, n / 2, parts, now_ms);
	leave_queues(d, f + n / 2, n - n / 2, parts, now_ms);
}

/* Those that may leave now; the others are looked at again, and what is too
 * much for one transaction when messages have been heard. */
static size_t choose(struct daemon *d, struct flow *to[TRACK_PART], bool gap,
		     uint64_t now_ms)
{
	struct flow *f;
	size_t n = 0;

	LIST_FOREACH(f, &d->divert.settling, transit->in_settling) {
		if (n == TRACK_PART) {
			d->settle_ms = now_ms;
			break;
		}
		if (f->transit->refused_ms &&
		    now_ms - f->transit->refused_ms < RETRY_MS)
			look_again(d, f->transit->refused_ms + RETRY_MS);
		else if (!f->hold && !flow_is_waiting(f) &&
			 is_quiet(f, gap, now_ms))
			to[n++] = f;
		else
			look_again(d, now_ms + SETTLE_QUIET_MS);
	}
	return n;
}

static void leave_quiet(struct daemon *d, bool gap, uint64_t now_ms)
{
	unsigned int parts = PARTS_MAX;
	struct flow *list[TRACK_PART];
	size_t n = choose(d, list, gap, now_ms);

	if (n)
		leave_queues(d, list, n, &parts, now_ms);
}

/* Until nothing waits, or too much comes. */
static bool read_queues(struct daemon *d, int reads)
{
	int in = pktq_read(d->queue_in);
	int out = divert_read_out(d);

	for (int i = 1; i < reads && (in > 0 || out > 0); i++) {
		in = pktq_read(d->queue_in);
		out = divert_read_out(d);
	}
	return in == 0 && out == 0;
}

void promote_step(struct daemon *d, uint64_t now_ms)
{
	bool gap;

	if (!d->settle_ms || now_ms < d->settle_ms)
		return;
	d->settle_ms = 0;
	/* What waits was sent before anything that goes past. */
	gap = read_queues(d, READS);
	leave_quiet(d, gap, loop_now_ms()); /* later than what was read */
	(void)read_queues(d, d->crew.stand_still ? READS_ALL : READS);
	crew_go_on(d);
}
