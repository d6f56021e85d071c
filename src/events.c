/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * events: what the loop calls.
 *
 * Owns the callbacks for descriptors, signals and time, the order of the work
 * after a wake-up, and the nearest deadline. Never decides anything about a
 * flow.
 */
#include "daemon.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>

#include "notify.h"

#define RESYNC_MS 1000
#define QUEUE_READS_MAX 8 /* batches of a queue before others get a turn */

/* ---- events -------------------------------------------------------------- */

static void on_route_event(const struct rtmon_event *e, void *arg)
{
	struct daemon *d = arg;
	const struct addr *a = &e->address.addr;
	char text[ADDR_TEXT_MAX];

	if (e->address.retained)
		return; /* our own copy */
	if (e->address.on_lo && divert_sources(d, a))
		retain_on_lo(d->retain, a);
	unfit_hear(d, e);
	if (e->address.ifindex || e->kind == RTMON_RESYNCED)
		retain_doubt(d->retain, e->address.ifindex);
	switch (e->kind) {
	case RTMON_ADDR_ADDED:
	case RTMON_ADDR_CHANGED:
		if (divert_sources(d, a) && rtmon_find(d->rtmon, a))
			retain_back(d->retain, a);
		break;
	case RTMON_ADDR_REMOVED:
		if (rtmon_find(d->rtmon, a))
			break;
		log_info(d->log, "%s has left its interface",
			 addr_format(a, text));
		peer_table_local_gone(d->peers, a);
		if (divert_sources(d, a))
			retain_gone(d->retain, a);
		break;
	case RTMON_ROUTER_ANSWERS:
		look_for_router(d, loop_now_ms());
		return;
	case RTMON_LINK_UP:
		retain_link_up(d->retain, e->link.ifindex);
		break;
	case RTMON_LINK_GONE:
		divert_drop_link(d, e->link.ifindex);
		return;
	default:
		break;
	}
	if (e->kind != RTMON_ADDR_REMOVED && e->kind != RTMON_LINK_DOWN)
		repair_refresh_soon(d);
	d->look = true;
}

static void on_route_settled(void *arg)
{
	struct daemon *d = arg;
	uint64_t now_ms = loop_now_ms();

	/* Heard by who reads the queue in a step: what follows may end flows
	 * and their tracks, and waits for on_settled(). */
	if (!d->look || d->steps)
		return;
	d->look = false;
	look_after_events(d, now_ms);
	handover_step(d, now_ms); /* time comes before events (migrate.h) */
	discover_prepare(d, now_ms);
	handover_evaluate(d, now_ms, false);
}

const struct rtmon_ops events_route_ops = {
	.event = on_route_event,
	.settled = on_route_settled,
};

static void on_rtmon(uint32_t events, void *arg)
{
	struct daemon *d = arg;
	int err = rtmon_receive(d->rtmon);

	(void)events;
	if (!err || d->resync_ms)
		return;
	log_err(d->log, "routing socket: %s", strerror(-err));
	d->resync_ms = loop_now_ms() + RESYNC_MS;
}

/* Nothing that is known of addresses may be trusted before this succeeds. */
static void resync(struct daemon *d, uint64_t now_ms)
{
	d->resync_ms = 0;
	if (rtmon_resync(d->rtmon))
		d->resync_ms = now_ms + RESYNC_MS;
}

static void on_sockdiag(uint32_t events, void *arg)
{
	struct daemon *d = arg;

	(void)events;
	if (sockdiag_receive(d->sockdiag))
		discover_soon(d);
}

void events_read_queue(struct daemon *d, struct pktq *q)
{
	/* After a suspend a permission to send may have run out. */
	handover_step(d, loop_now_ms());
	crew_read_strays(d);
	for (int i = 0; i < QUEUE_READS_MAX && pktq_read(q) > 0; i++)
		;
}

static void on_queue_in(uint32_t events, void *arg)
{
	(void)events;
	events_read_queue(arg, ((struct daemon *)arg)->queue_in);
}

static void on_queue_out(uint32_t events, void *arg)
{
	(void)events;
	events_read_queue(arg, ((struct daemon *)arg)->queue_out);
}

static void on_datagram(const struct udp_datagram *u, void *arg)
{
	struct daemon *d = arg;

	peer_receive(d->peers, loop_now_ms(), &u->dst, &u->src, u->data,
		     u->len);
}

static void on_udp(uint32_t events, void *arg)
{
	struct daemon *d = arg;

	(void)events;
	handover_step(d, loop_now_ms());
	udp_receive(d->udp, on_datagram, d);
}

static void on_ctl(uint32_t events, void *arg)
{
	(void)events;
	ctl_process(((struct daemon *)arg)->ctl);
}

/* ---- signals -------------------------------------------------------------- */

static void reload(struct daemon *d)
{
	struct conf *fresh = malloc(sizeof(*fresh));
	char names[CONF_KEYS_TEXT_MAX];
	char error[CONF_ERROR_MAX];

	if (!fresh)
		return;
	notify_reloading();
	if (conf_load(d->conf_path, fresh, error)) {
		log_err(d->log, "%s; the old configuration stays", error);
		free(fresh);
	} else {
		if (conf_keep_start_keys(d->conf, fresh, names))
			log_warn(d->log, "%s: only a restart changes this",
				 names);
		conf_free(d->conf);
		*d->conf = *fresh;
		free(fresh);
		peer_table_policy_changed(d->peers, loop_now_ms());
		assoc_policy_changed(d);
		repair_look_again(d);
		d->policy = true;
		d->review_ms = loop_now_ms();
		log_notice(d->log, "configuration read again");
	}
	notify_send("READY=1");
}

static void on_signal(int signo, void *arg)
{
	struct daemon *d = arg;

	if (signo == SIGHUP) {
		reload(d);
		return;
	}
	d->detaching = signo == SIGUSR2;
	loop_stop(d->loop);
}

/* ---- time ----------------------------------------------------------------- */

static uint64_t sooner(uint64_t a, uint64_t b_or_0)
{
	return b_or_0 && b_or_0 < a ? b_or_0 : a;
}

static uint64_t nearest_ms(struct daemon *d)
{
	uint64_t ms = peer_table_deadline_ms(d->peers);

	ms = sooner(ms, agenda_next_ms(&d->agenda[AGENDA_CLAIMS]));
	ms = sooner(ms, agenda_next_ms(&d->agenda[AGENDA_MOVES]));
	if (!TAILQ_EMPTY(&d->busy))
		return 0;
	ms = sooner(ms, d->dump_ms);
	ms = sooner(ms, d->review_ms);
	ms = sooner(ms, look_due_ms(d));
	ms = sooner(ms, d->await_ms);
	ms = sooner(ms, d->settle_ms);
	ms = sooner(ms, d->pins_ms);
	ms = sooner(ms, d->resync_ms);
	ms = sooner(ms, d->divert.rebuild_ms);
	if (!d->divert.rebuild_ms)
		ms = sooner(ms, flow_quiet_due_ms(&d->flows));
	ms = sooner(ms, d->divert.rest_ms);
	ms = sooner(ms, pairs_deadline_ms(d));
	ms = sooner(ms, repair_deadline_ms(d));
	ms = sooner(ms, crew_deadline_ms(d));
	ms = sooner(ms, d->keep.retry_ms);
	ms = sooner(ms, d->stale_ms);
	ms = sooner(ms, watch_due_ms(d));
	ms = sooner(ms, d->watchdog_ms);
	if (!d->divert.idle && !d->divert.steered && !d->flows.wires.n)
		ms = sooner(ms, d->divert.idle_ms);
	return ms;
}

static void look_for_flows(struct daemon *d, uint64_t now_ms)
{
	if (now_ms >= d->dump_ms) {
		discover_dump(d, now_ms);
		waiting_step(d, now_ms);
		d->review_ms = now_ms;
	}
	if (d->review_ms && now_ms >= d->review_ms)
		discover_review(d, now_ms);
}

/* One write at a time. */
static void save_pins(struct daemon *d, uint64_t now_ms)
{
	bool idle = store_pins_check(d);
	int err;

	if (!d->pins_ms || now_ms < d->pins_ms)
		return;
	d->pins_ms = now_ms + PINS_WRITE_MS;
	err = idle ? store_pins_save(d) : -EAGAIN;
	if (err == -EAGAIN)
		return;
	d->pins_ms = 0;
	if (err)
		log_warn(d->log, "cannot write pins: %s", strerror(-err));
}

/* After every wake-up. */
static void on_settled(uint64_t now_ms, void *arg)
{
	struct daemon *d = arg;

	if (d->resync_ms && now_ms >= d->resync_ms)
		resync(d, now_ms);
	d->turn++;
	work_step(d, now_ms);
	on_route_settled(d);
	handover_step(d, now_ms);
	look_step(d, now_ms);
	handover_evaluate_awaiting(d, now_ms);
	look_for_flows(d, now_ms);
	assoc_step(d, now_ms);
	if (d->fresh)
		handover_evaluate_fresh(d, now_ms);
	repair_step(d, now_ms);
	divert_step(d, now_ms);
	stale_step(d, now_ms);
	crew_step(d, now_ms);
	watch_step(d, now_ms);
	save_pins(d, now_ms);
	keep_step(d, now_ms);
	if (d->watchdog_ms && now_ms >= d->watchdog_ms) {
		notify_send("WATCHDOG=1");
		d->watchdog_ms = now_ms + d->watchdog_every_ms;
	}
	loop_set_deadline_ms(d->loop, nearest_ms(d));
}

static void on_timer(uint64_t now_ms, void *arg)
{
	(void)now_ms;
	(void)arg; /* on_settled() follows */
}

/* ---- start ---------------------------------------------------------------- */

int events_open(struct daemon *d)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR2 };
	int fds[UDP_SOCKETS_MAX];
	size_t n = udp_fds(d->udp, fds);
	int err;

	loop_on_timer(d->loop, on_timer, d);
	loop_on_settled(d->loop, on_settled, d);
	err = loop_on_signals(d->loop, signals,
			      sizeof(signals) / sizeof(*signals), on_signal,
			      d);
	if (!err)
		err = loop_add(d->loop, rtmon_fd(d->rtmon), EPOLLIN, on_rtmon,
			       d);
	if (!err)
		err = loop_add(d->loop, sockdiag_fd(d->sockdiag), EPOLLIN,
			       on_sockdiag, d);
	if (!err)
		err = loop_add(d->loop, pktq_fd(d->queue_in), EPOLLIN,
			       on_queue_in, d);
	if (!err)
		err = loop_add(d->loop, pktq_fd(d->queue_out), EPOLLIN,
			       on_queue_out, d);
	for (size_t i = 0; i < n && !err; i++)
		err = loop_add(d->loop, fds[i], EPOLLIN, on_udp, d);
	if (!err)
		err = loop_add(d->loop, ctl_fd(d->ctl), EPOLLIN, on_ctl, d);
	if (!err)
		err = watch_listen(d);
	if (!err)
		err = repair_listen(d);
	return err;
}
