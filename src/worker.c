/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker: a thread that rewrites the packets of settled flows. See worker.h.
 *
 * The ring has one writer, the daemon's thread, and one reader. `written` is
 * stored after the order that it counts, `done` after that has been carried
 * out: release and acquire make everything that was written before visible to
 * the other side, the routes included.
 */
#include "worker.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pkt.h"

#define RETRY_MS 100 /* after the queue could not be read */

enum order_kind {
	ORDER_ADD,
	ORDER_FORGET,
	ORDER_ANSWER, /* all before it is done */
	ORDER_SETTLE, /* the same, and the queue was empty */
	ORDER_REPORT,
	ORDER_PAUSE,
	ORDER_GO_ON,
	ORDER_STOP,
};

struct order {
	enum order_kind kind;
	union {
		struct work_route *route;
		struct worker_report *report;
	};
};

struct worker {
	/* Of both threads. */
	struct order ring[WORKER_ORDERS_MAX];
	_Alignas(64) _Atomic uint32_t written;
	_Alignas(64) _Atomic uint32_t done;
	int order_fd; /* there are orders */
	int answer_fd; /* one that asks for it was carried out */
	pthread_t thread;
	bool started;
	uint16_t number, strays;
	uint32_t mark;
	/* The worker's. */
	struct pktq *queue;
	struct worktable table;
	uint64_t rewritten_in, rewritten_out, n_strays;
	bool paused, stopping;
};

/* ---- the worker's thread: packets ------------------------------------- */

/* No other thread writes these: nothing needs to be locked. */
static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(
		to, atomic_load_explicit(to, memory_order_relaxed) + n,
		memory_order_relaxed);
}

/* Who opens a connection on this tuple, or resets it, is not for us to
 * judge. What we reset is the flow's own. */
static bool is_decision(const struct pkt *pkt, bool outbound)
{
	return (pkt->tcp_flags & PKT_TCP_SYN) ||
	       (!outbound && (pkt->tcp_flags & PKT_TCP_RST));
}

static bool rewrite(struct worker *w, struct pktq *q, struct pktq_packet *p)
{
	bool outbound = p->hook == NF_INET_LOCAL_OUT;
	uint32_t mark = p->mark | w->mark;
	struct work_route *r;
	enum pkt_result result;
	struct tuple tuple;
	struct pkt pkt;

	result = pkt_parse(p->data, p->len, &pkt);
	if ((result != PKT_OK && result != PKT_FIRST_FRAGMENT) ||
	    p->full_len > p->len || is_decision(&pkt, outbound))
		return false;
	tuple = outbound ? pkt_tuple_out(&pkt) : pkt_tuple_in(&pkt);
	r = worktable_find(&w->table, &tuple, outbound);
	if (!r || rewrite_packet(&pkt, p->data, &r->to, p->csum))
		return false;
	add(&r->packets, 1);
	add(&r->bytes, p->len);
	if (outbound)
		w->rewritten_out++;
	else
		w->rewritten_in++;
	pktq_accept_payload(q, p->id, p->data, p->len,
			    outbound ? NULL : &mark);
	return true;
}

static void on_packet(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	struct worker *w = ctx;

	if (rewrite(w, q, p))
		return;
	w->n_strays++;
	pktq_pass_on(q, p->id, w->strays);
}

/* ---- the worker's thread: orders -------------------------------------- */

/* What comes meanwhile may keep the queue from ever being empty; but it is
 * behind what was there, and that is no more than the queue holds. */
static void empty_queue(struct worker *w)
{
	int n;

	for (int left = PKTQ_MAXLEN_DEFAULT; left > 0; left -= n) {
		n = pktq_read(w->queue);
		if (n <= 0)
			break;
	}
}

static void fill_report(struct worker *w, struct worker_report *to)
{
	*to = (struct worker_report){
		.queue = *pktq_counters(w->queue),
		.rewritten_in = w->rewritten_in,
		.rewritten_out = w->rewritten_out,
		.strays = w->n_strays,
		.routes = w->table.n,
	};
}

/* True where the other side waits for it. */
static bool carry_out(struct worker *w, const struct order *o)
{
	switch (o->kind) {
	case ORDER_ADD:
		/* Without room for it, its packets are strays. */
		(void)worktable_add(&w->table, o->route);
		return false;
	case ORDER_FORGET:
		(void)worktable_remove(&w->table, o->route);
		return false;
	case ORDER_GO_ON:
		w->paused = false;
		return false;
	case ORDER_STOP:
		w->stopping = true;
		return false;
	case ORDER_SETTLE:
		empty_queue(w);
		return true;
	case ORDER_REPORT:
		fill_report(w, o->report);
		return true;
	case ORDER_PAUSE:
		w->paused = true;
		return true;
	case ORDER_ANSWER:
		return true;
	}
	return false;
}

static void carry_out_all(struct worker *w)
{
	uint32_t done = atomic_load_explicit(&w->done, memory_order_relaxed);
	uint32_t end = atomic_load_explicit(&w->written,
					    memory_order_acquire);

	while (done != end) {
		bool answer = carry_out(w, &w->ring[done % WORKER_ORDERS_MAX]);

		atomic_store_explicit(&w->done, ++done, memory_order_release);
		if (answer)
			(void)!eventfd_write(w->answer_fd, 1);
	}
}

static void wait_for_work(struct worker *w, int timeout_ms)
{
	struct pollfd fds[] = {
		{ .fd = w->order_fd, .events = POLLIN },
		{ .fd = pktq_fd(w->queue), .events = POLLIN },
	};
	eventfd_t ignored;
	bool deaf = w->paused || timeout_ms >= 0;

	if (poll(fds, deaf ? 1 : 2, timeout_ms) > 0 && fds[0].revents)
		(void)!eventfd_read(w->order_fd, &ignored);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (;;) {
		int n = 0;

		carry_out_all(w);
		if (w->stopping)
			return NULL;
		if (!w->paused)
			n = pktq_read(w->queue);
		if (n <= 0)
			wait_for_work(w, n < 0 ? RETRY_MS : -1);
	}
}

/* ---- the daemon's thread ---------------------------------------------- */

static void wake(struct worker *w)
{
	(void)!eventfd_write(w->order_fd, 1); /* full: it is awake */
}

static void put(struct worker *w, struct order o)
{
	uint32_t written = atomic_load_explicit(&w->written,
						memory_order_relaxed);

	w->ring[written % WORKER_ORDERS_MAX] = o;
	atomic_store_explicit(&w->written, written + 1, memory_order_release);
}

/* Places in the ring. */
static uint32_t room(const struct worker *w)
{
	uint32_t written = atomic_load_explicit(&w->written,
						memory_order_relaxed);

	return WORKER_ORDERS_MAX -
	       (written -
		atomic_load_explicit(&w->done, memory_order_acquire));
}

static void put_and_wait(struct worker *w, struct order o)
{
	eventfd_t n;

	put(w, o);
	wake(w);
	while (eventfd_read(w->answer_fd, &n) && errno == EINTR)
		;
}

/* One place stays free, for the order that waits until all are. */
static void make_room(struct worker *w)
{
	while (room(w) <= 1)
		put_and_wait(w, (struct order){ .kind = ORDER_ANSWER });
}

static void order(struct worker *w, struct order o)
{
	make_room(w);
	put(w, o);
}

static void ask(struct worker *w, struct order o)
{
	make_room(w);
	put_and_wait(w, o);
}

void worker_add(struct worker *w, struct work_route *r)
{
	order(w, (struct order){ .kind = ORDER_ADD, .route = r });
}

void worker_forget(struct worker *w, struct work_route *r)
{
	order(w, (struct order){ .kind = ORDER_FORGET, .route = r });
}

void worker_settle(struct worker *w)
{
	ask(w, (struct order){ .kind = ORDER_SETTLE });
}

void worker_pause(struct worker *w)
{
	ask(w, (struct order){ .kind = ORDER_PAUSE });
}

void worker_go_on(struct worker *w)
{
	order(w, (struct order){ .kind = ORDER_GO_ON });
	wake(w);
}

void worker_ask(struct worker *w, struct worker_report *to)
{
	ask(w, (struct order){ .kind = ORDER_REPORT, .report = to });
}

uint16_t worker_number(const struct worker *w)
{
	return w->number;
}

/* Signals are for the daemon's thread, which reads them from a descriptor. */
static int start_thread(struct worker *w)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	err = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (err)
		return -err;
	err = pthread_create(&w->thread, NULL, work, w);
	w->started = !err;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

int worker_start(struct worker **out, const struct worker_conf *conf)
{
	struct worker *w = aligned_alloc(_Alignof(struct worker), sizeof(*w));
	const struct pktq_config queue = {
		.number = conf->number,
		.packet_cb = on_packet,
		.ctx = w,
	};
	int err = 0;

	if (!w)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->number = conf->number;
	w->strays = conf->strays;
	w->mark = conf->mark;
	worktable_init(&w->table, conf->seed);
	w->order_fd = eventfd(0, EFD_CLOEXEC);
	w->answer_fd = eventfd(0, EFD_CLOEXEC);
	if (w->order_fd < 0 || w->answer_fd < 0)
		err = -errno;
	if (!err)
		err = pktq_open(&queue, &w->queue);
	if (!err)
		err = start_thread(w);
	if (err) {
		worker_stop(w);
		return err;
	}
	*out = w;
	return 0;
}

void worker_stop(struct worker *w)
{
	if (!w)
		return;
	if (w->started) {
		order(w, (struct order){ .kind = ORDER_STOP });
		wake(w);
		pthread_join(w->thread, NULL);
	}
	pktq_close(w->queue);
	if (w->order_fd >= 0)
		close(w->order_fd);
	if (w->answer_fd >= 0)
		close(w->answer_fd);
	worktable_free(&w->table);
	free(w);
}
