/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crew: gives moved flows that the kernel does not rewrite to workers.
 *
 * Owns the workers, what each flow has with them, and the queue of packets
 * that they could not decide. promote.c says which flows; to the rest of the
 * daemon a worker's route is a map of the kernel's. Never rewrites a packet.
 *
 * Each flow goes to the worker that has the fewest, both ways: that spreads
 * the connections of one pair of hosts as well as any others, which the
 * kernel's own spreading over queues need not (the xt target's hash is over
 * addresses alone).
 *
 * A change is carried out while the workers that it concerns stand still:
 *
 *	pause, one nft transaction, forget and add routes, go on, settle
 *
 * So no packet meets a route that it should not: one that came before the
 * change and was still waiting goes by the new route, or where there is none
 * any more to the strays, which are read before all other queues.
 */
#include "daemon.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "crypto.h"

/* So long a worker without flows goes on reading its queue: a packet that an
 * element led there before it was deleted may still be on its way, with its
 * sender off the processor. */
#define GRACE_MS 1000

/* A route that is about to come or go. */
struct crew_change {
	STAILQ_ENTRY(crew_change) entry;
	bool add;
	struct flow *flow;
	struct work_route *route;
};

/* What a flow has with its worker; struct flow's `work`. */
struct flow_work {
	unsigned int worker;
	SLIST_HEAD(, work_route) routes;
};

static struct flow_work *work_of(const struct flow *f)
{
	return f->transit ? f->transit->work : NULL;
}

uint16_t crew_queue(const struct daemon *d, unsigned int i)
{
	/* Two objects side by side, then their cutters. */
	return (uint16_t)(d->conf->queue + 4 + 4 * (i / 2) + i % 2);
}

void crew_init(struct daemon *d)
{
	STAILQ_INIT(&d->crew.changes);
	d->crew.n = d->steer_info.workers;
	crypto_random(&d->crew.seed, sizeof(d->crew.seed));
}

/* ---- workers ----------------------------------------------------------- */

static void on_stray(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	if (p->hook == NF_INET_LOCAL_OUT)
		divert_packet_out(ctx, q, p);
	else
		divert_packet_in(ctx, q, p);
}

static void on_strays(uint32_t events, void *arg)
{
	struct daemon *d = arg;

	(void)events;
	handover_step(d, loop_now_ms());
	(void)pktq_read(d->crew.strays);
}

/* All that the workers had passed on when this is called. */
void crew_read_strays(struct daemon *d)
{
	if (!d->crew.strays)
		return;
	for (int i = 0; i < STRAYS_READS_MAX; i++)
		if (pktq_read(d->crew.strays) <= 0)
			return;
}

int crew_open(struct daemon *d)
{
	const struct pktq_config config = {
		.number = crew_queue(d, 0),
		.packet_cb = on_stray,
		.ctx = d,
	};
	int err;

	if (!d->crew.n)
		return 0;
	err = pktq_open(&config, &d->crew.strays);
	if (err)
		return err;
	err = loop_add(d->loop, pktq_fd(d->crew.strays), EPOLLIN, on_strays,
		       d);
	if (err) {
		pktq_close(d->crew.strays);
		d->crew.strays = NULL;
	}
	return err;
}

static int start_worker(struct daemon *d, unsigned int k)
{
	const struct worker_conf conf = {
		.number = crew_queue(d, k + 1),
		.strays = crew_queue(d, 0),
		.mark = d->conf->mark,
		.seed = d->crew.seed,
	};
	int err;

	if (d->crew.worker[k])
		return 0;
	err = worker_start(&d->crew.worker[k], &conf);
	if (!err)
		log_info(d->log, "worker %u reads queue %u", k, conf.number);
	return err;
}

static unsigned int least_busy(const struct crew *c)
{
	unsigned int best = 0;

	for (unsigned int k = 1; k < c->n; k++)
		if (c->flows[k] < c->flows[best])
			best = k;
	return best;
}

bool crew_take(struct daemon *d, struct flow *f)
{
	struct crew *c = &d->crew;
	unsigned int k = least_busy(c);
	struct flow_work *w;
	int err;

	if (work_of(f) || !c->n)
		return work_of(f);
	err = start_worker(d, k);
	if (err) {
		log_err(d->log, "worker %u: %s; the packets of moved flows "
			"are rewritten without workers", k, strerror(-err));
		c->n = 0; /* not again; those that work go on */
		return false;
	}
	w = flow_transit(f) ? calloc(1, sizeof(*w)) : NULL;
	if (!w)
		return false;
	w->worker = k;
	SLIST_INIT(&w->routes);
	f->transit->work = w;
	c->flows[k]++;
	c->idle_ms[k] = 0;
	return true;
}

/* ---- changes ----------------------------------------------------------- */

static struct flow *flow_of(const struct daemon *d,
			    const struct flow_change *c)
{
	return flow_find(&d->flows, c->set == FLOW_STEER_SEND ? &c->tuple :
								&c->to);
}

static struct rewrite_target target_of(const struct flow_change *c)
{
	return c->set == FLOW_STEER_SEND ? rewrite_target_out(&c->to) :
					   rewrite_target_in(&c->to);
}

/* NULL where there is none. */
static struct work_route *route_of(const struct flow *f,
				   const struct flow_change *c)
{
	struct rewrite_target to = target_of(c);
	struct work_route *r;

	SLIST_FOREACH(r, &work_of(f)->routes, entry)
		if (r->outbound == (c->set == FLOW_STEER_SEND) &&
		    tuple_equal(&r->tuple, &c->tuple) &&
		    endpoint_equal(&r->to.src, &to.src) &&
		    endpoint_equal(&r->to.dst, &to.dst))
			return r;
	return NULL;
}

static int note(struct daemon *d, struct flow *f, struct work_route *there,
		const struct flow_change *c)
{
	struct crew_change *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->add = c->add;
	n->flow = f;
	n->route = there;
	if (c->add) {
		n->route = calloc(1, sizeof(*n->route));
		if (!n->route) {
			free(n);
			return -ENOMEM;
		}
		n->route->tuple = c->tuple;
		n->route->outbound = c->set == FLOW_STEER_SEND;
		n->route->to = target_of(c);
	}
	STAILQ_INSERT_TAIL(&d->crew.changes, n, entry);
	return 0;
}

int crew_change(struct daemon *d, const struct flow_change *c)
{
	enum steer_map map = c->set == FLOW_STEER_SEND ? STEER_SEND :
							 STEER_RECV;
	struct flow *f = flow_of(d, c);
	struct work_route *there;

	if (!f || !work_of(f))
		return 0;
	there = route_of(f, c);
	if (!c->add && !there)
		return 0;
	if (c->add)
		steer_worker_add(d->steer, map, &c->tuple, work_of(f)->worker);
	else
		steer_worker_del(d->steer, map, &c->tuple, work_of(f)->worker);
	if (c->add && there) /* the table is being built anew */
		return 1;
	return note(d, f, there, c) ? -ENOMEM : 1;
}

static void drop_changes(struct crew *c, bool routes)
{
	struct crew_change *n;

	while ((n = STAILQ_FIRST(&c->changes))) {
		STAILQ_REMOVE_HEAD(&c->changes, entry);
		if (routes && n->add)
			free(n->route);
		free(n);
	}
}

void crew_begin(struct daemon *d)
{
	drop_changes(&d->crew, true);
}

static uint32_t concerned(const struct crew *c)
{
	const struct crew_change *n;
	uint32_t workers = 0;

	STAILQ_FOREACH(n, &c->changes, entry)
		workers |= 1u << work_of(n->flow)->worker;
	return workers;
}

/* Some may stand still already: for a change before this one. */
void crew_pause(struct daemon *d)
{
	uint32_t workers = concerned(&d->crew) & ~d->crew.paused;

	for (unsigned int k = 0; workers >> k; k++)
		if (workers >> k & 1)
			worker_pause(d->crew.worker[k]);
	d->crew.paused |= workers;
}

/* The numbers are its flow's from now on. */
static void free_route(struct flow *f, struct work_route *r)
{
	enum flow_side side = r->outbound ? FLOW_OURS : FLOW_THEIRS;

	f->transit->packets[side] += atomic_load_explicit(
		&r->packets, memory_order_relaxed);
	f->transit->bytes[side] += atomic_load_explicit(
		&r->bytes, memory_order_relaxed);
	SLIST_REMOVE(&work_of(f)->routes, r, work_route, entry);
	free(r);
}

/* Workers that were told to forget routes let go of them. */
static void settle(struct crew *c)
{
	struct crew_change *n;
	uint32_t workers = 0;

	STAILQ_FOREACH(n, &c->changes, entry)
		if (!n->add)
			workers |= 1u << work_of(n->flow)->worker;
	for (unsigned int k = 0; workers >> k; k++)
		if (workers >> k & 1)
			worker_settle(c->worker[k]);
	STAILQ_FOREACH(n, &c->changes, entry)
		if (!n->add)
			free_route(n->flow, n->route);
}

static void go_on(struct crew *c)
{
	for (unsigned int k = 0; c->paused >> k; k++)
		if (c->paused >> k & 1)
			worker_go_on(c->worker[k]);
	c->paused = 0;
}

static void free_work(struct daemon *d, struct flow *f)
{
	unsigned int k = work_of(f)->worker;

	free(work_of(f));
	f->transit->work = NULL;
	if (--d->crew.flows[k] == 0)
		d->crew.idle_ms[k] = loop_now_ms() + GRACE_MS;
}

static void add_report(struct worker *w, struct counters *to)
{
	struct worker_report r;

	worker_ask(w, &r);
	to->value[COUNTER_PKT_QUEUED] += r.queue.packets - r.strays;
	to->value[COUNTER_PKT_REWRITTEN_IN] += r.rewritten_in;
	to->value[COUNTER_PKT_REWRITTEN_OUT] += r.rewritten_out;
	to->value[COUNTER_QUEUE_OVERFLOW] += r.queue.overflows;
	to->value[COUNTER_QUEUE_ERRORS] += pktq_errors(&r.queue);
}

/* A worker without flows ends, when all that waited has a verdict. */
void crew_step(struct daemon *d, uint64_t now_ms)
{
	struct crew *c = &d->crew;

	for (unsigned int k = 0; k < STEER_WORKERS_MAX; k++) {
		if (!c->idle_ms[k] || now_ms < c->idle_ms[k])
			continue;
		c->idle_ms[k] = 0;
		worker_settle(c->worker[k]);
		add_report(c->worker[k], &c->ended);
		worker_stop(c->worker[k]);
		c->worker[k] = NULL;
		log_info(d->log, "worker %u has no flows and ends", k);
	}
}

uint64_t crew_deadline_ms(const struct daemon *d)
{
	uint64_t ms = 0;

	for (unsigned int k = 0; k < STEER_WORKERS_MAX; k++)
		if (d->crew.idle_ms[k] && (!ms || d->crew.idle_ms[k] < ms))
			ms = d->crew.idle_ms[k];
	return ms;
}

/* Home, and nothing is translated for it any more. */
static bool is_done(const struct flow *f)
{
	return work_of(f) && SLIST_EMPTY(&work_of(f)->routes) && !f->hold &&
	       !flow_is_moved(f);
}

void crew_commit(struct daemon *d, int err)
{
	struct crew *c = &d->crew;
	struct crew_change *n;

	STAILQ_FOREACH(n, &c->changes, entry) {
		struct worker *w = c->worker[work_of(n->flow)->worker];

		if (err)
			break;
		if (n->add)
			worker_add(w, n->route);
		else
			worker_forget(w, n->route);
	}
	if (!c->stand_still || err)
		go_on(c);
	if (!err) {
		settle(c);
		STAILQ_FOREACH(n, &c->changes, entry)
			if (n->add)
				SLIST_INSERT_HEAD(&work_of(n->flow)->routes,
						  n->route, entry);
		STAILQ_FOREACH(n, &c->changes, entry)
			if (is_done(n->flow))
				free_work(d, n->flow);
	}
	drop_changes(c, err);
}

void crew_go_on(struct daemon *d)
{
	go_on(&d->crew);
	d->crew.stand_still = false;
}

void crew_leave(struct daemon *d, struct flow *f)
{
	struct work_route *r;
	struct worker *w;

	if (!work_of(f))
		return;
	w = d->crew.worker[work_of(f)->worker];
	SLIST_FOREACH(r, &work_of(f)->routes, entry)
		worker_forget(w, r);
	if (crew_carries(f))
		worker_settle(w);
	while ((r = SLIST_FIRST(&work_of(f)->routes)))
		free_route(f, r);
	free_work(d, f);
}

/* ---- what is told of them ---------------------------------------------- */

bool crew_carries(const struct flow *f)
{
	return work_of(f) && !SLIST_EMPTY(&work_of(f)->routes);
}

void crew_add_traffic(const struct flow *f, enum flow_side side,
		      uint64_t *packets, uint64_t *bytes)
{
	const struct work_route *r;

	if (!work_of(f))
		return;
	SLIST_FOREACH(r, &work_of(f)->routes, entry) {
		if (r->outbound != (side == FLOW_OURS))
			continue;
		*packets += atomic_load_explicit(&r->packets,
						 memory_order_relaxed);
		*bytes += atomic_load_explicit(&r->bytes,
					       memory_order_relaxed);
	}
}

void crew_add_counters(struct daemon *d, struct counters *to)
{
	for (unsigned int k = 0; k < STEER_WORKERS_MAX; k++)
		if (d->crew.worker[k])
			add_report(d->crew.worker[k], to);
	for (int i = 0; i < COUNTER_MAX; i++)
		to->value[i] += d->crew.ended.value[i];
}

/* ---- the end ----------------------------------------------------------- */

void crew_close(struct daemon *d)
{
	struct crew *c = &d->crew;
	struct work_route *r;

	for (unsigned int k = 0; k < STEER_WORKERS_MAX; k++) {
		worker_stop(c->worker[k]);
		c->worker[k] = NULL;
	}
	drop_changes(c, true);
	for (struct flow *f = flow_first(&d->flows); f; f = flow_next(f)) {
		if (!work_of(f))
			continue;
		while ((r = SLIST_FIRST(&work_of(f)->routes))) {
			SLIST_REMOVE_HEAD(&work_of(f)->routes, entry);
			free(r);
		}
		free(work_of(f));
		f->transit->work = NULL;
	}
	pktq_close(c->strays);
	c->strays = NULL;
}
