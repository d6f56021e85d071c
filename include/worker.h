/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker: a thread that rewrites the packets of settled flows.
 *
 * Owns the thread, the kernel queue that it reads and the table of routes by
 * which it rewrites. Never decides anything: a packet for which it has no
 * route, that opens or resets a connection or that cannot be rewritten goes
 * on to another queue, the strays', where the daemon's own thread meets it in
 * the order of its arrival. Never passes one untranslated.
 *
 * The daemon's thread gives orders through a bounded ring, which the worker
 * looks into before each batch; there is no lock. Where it must be certain
 * that they were carried out it waits for the answer: a thread that works
 * answers after the batch that it is in, one that sleeps at once. Not even a
 * route is shared: it is the worker's from worker_add() until the
 * worker_settle() that follows worker_forget(), its numbers excepted. There is
 * no bound to that wait: a route that somebody may still read can neither be
 * freed nor replaced. The watchdog ends a process that is stuck in it.
 *
 * All of these are for one thread, the one that started it.
 */
#ifndef SACIPED_WORKER_H
#define SACIPED_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "pktq.h"
#include "worktable.h"

#define WORKER_ORDERS_MAX 1024 /* not carried out yet; a power of two */

struct worker;

struct worker_conf {
	uint16_t number; /* of its queue; see PKTQ_CUTTER_OFFSET */
	uint16_t strays; /* of the queue for what it cannot decide */
	uint32_t mark; /* set on inbound packets */
	uint64_t seed; /* random */
};

struct worker_report {
	struct pktq_counters queue;
	uint64_t rewritten_in; /* packets */
	uint64_t rewritten_out;
	uint64_t strays;
	uint32_t routes;
};

/*
 * Opens the queue and starts the thread, with all signals blocked and the
 * capabilities of the caller (CAP_NET_ADMIN is needed). 0; -EBUSY where
 * another socket reads the queue; -EAGAIN where there can be no more threads;
 * else see pktq_open().
 */
int worker_start(struct worker **out, const struct worker_conf *conf);
/* Ends the thread, then frees it; the kernel drops what waits in its queue.
 * NULL is fine. */
void worker_stop(struct worker *w);
uint16_t worker_number(const struct worker *w);

/* In force before the first packet that comes after this call. Where the
 * worker has no room its packets are strays. */
void worker_add(struct worker *w, struct work_route *r);
/* From some later moment on its packets are strays. */
void worker_forget(struct worker *w, struct work_route *r);
/*
 * Returns when all earlier orders are carried out, and every packet that was
 * in the worker's queue before the call has got its verdict. So after the
 * kernel steers a flow there no more, forget and settle leave nothing of it
 * with the worker: what was behind the order waits among the strays.
 */
void worker_settle(struct worker *w);
/* Returns when the worker has stopped reading; it obeys all the same. Flows
 * that are led to it between these two wait until it goes on. */
void worker_pause(struct worker *w);
void worker_go_on(struct worker *w);
/* Numbers since the start. */
void worker_ask(struct worker *w, struct worker_report *to);

#endif
