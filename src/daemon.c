/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * daemon: one running saciped, from start to stop.
 *
 * Owns the order in which everything is opened and closed. Never decides
 * anything about a flow.
 */
#include "daemon.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "notify.h"

#define ACTIVATED_MAX 8 /* sockets of the service manager that are looked at */

/* ---- start ---------------------------------------------------------------- */

static int fail(struct daemon *d, const char *what, int err)
{
	log_err(d->log, "%s: %s", what, strerror(-err));
	return err;
}

static int start_key(struct daemon *d)
{
	char error[CONF_ERROR_MAX];

	if (crypto_init())
		return fail(d, "libsodium", -EIO);
	d->key_made = store_key(d->conf->state_dir, &d->key, error);
	if (d->key_made < 0) {
		log_err(d->log, "%s", error);
		return d->key_made;
	}
	crypto_fingerprint(d->key.public_key, d->fingerprint);
	return 0;
}

/* Where there is something to take up and we cannot, the next one may. */
static int start_journal(struct daemon *d)
{
	char error[CONF_ERROR_MAX];
	int err = store_directory(d->conf->runtime_dir, 0755, error);

	if (err) {
		log_err(d->log, "%s", error);
		return err;
	}
	err = keep_lock(d);
	if (err == -EWOULDBLOCK) {
		log_err(d->log, "%s is locked: another saciped runs; nothing "
				"was changed", d->conf->runtime_dir);
		return err;
	}
	if (err)
		return fail(d, d->conf->runtime_dir, err);
	adopt_begin(d);
	d->detaching = d->adopt;
	return 0;
}

static int start_kernel(struct daemon *d)
{
	struct rtmon_config rt = {
		.own_table_first = d->conf->table,
		.own_table_last = d->conf->table + 1,
	};
	struct retain_conf retain = {
		.table = d->conf->table,
		.mark = d->conf->mark,
	};
	struct steer_conf steer = {
		.mark = d->conf->mark,
		.queue_in = d->conf->queue,
		.queue_out = (uint16_t)(d->conf->queue + 1),
		.workers = d->conf->queues,
		.queue_strays = crew_queue(d, 0),
		.avoid_maps = d->conf->rewrite == CONF_REWRITE_QUEUE,
	};
	struct retain_info info;
	int err;

	for (unsigned int k = 0; k < STEER_WORKERS_MAX; k++)
		steer.queue_worker[k] = crew_queue(d, k + 1);
	err = steer_open(&d->steer, &steer, &d->steer_info);
	if (err == -EPERM)
		return fail(d, "nftables: CAP_NET_ADMIN is missing; run as "
			       "root or by the unit", err);
	if (err == -EBUSY)
		return fail(d, "nftables: another saciped owns table inet "
			       "sacip here", err);
	if (err == -ENOENT || err == -EPROTONOSUPPORT)
		return fail(d, "this kernel has no nftables (inet family)",
			    err);
	if (err)
		return fail(d, "nftables", err);
	if (d->conf->rewrite == CONF_REWRITE_KERNEL && !d->steer_info.maps)
		return fail(d, "rewrite = \"kernel\": this kernel's nftables "
			       "cannot; take \"auto\"", -EOPNOTSUPP);
	crew_init(d);
	err = retain_open(&d->retain, &retain, &info);
	if (err)
		return fail(d, "routing rules", err);
	repair_look(d);
	if (!info.src_valid_mark)
		log_warn(d->log, "net.ipv4.conf.all.src_valid_mark is 0: with "
			 "rp_filter = 1 moved flows stop; see "
			 "/usr/lib/sysctl.d/50-saciped.conf");
	err = rtmon_open(&d->rtmon, &rt, &events_route_ops, d);
	if (err)
		return fail(d, "routing socket", err);
	err = sockdiag_open(&d->sockdiag, discover_destroyed, d);
	if (err)
		return fail(d, "sock_diag", err);
	d->hearing = true;
	err = aside_open(&d->aside);
	if (err)
		return fail(d, "memory for what is done aside", err);
	err = natrules_open(&d->natrules, d->aside);
	if (err)
		return fail(d, "nat rules", err);
	err = ipsec_open(&d->ipsec);
	if (err)
		return fail(d, "IPsec", err);
	err = taps_open(&d->taps, d->aside);
	if (!err)
		err = taps_open(&d->trial_taps, d->aside);
	if (err)
		return fail(d, "packet copies", err);
	err = tap_injector_open(&d->injector);
	if (err == -EPERM)
		return fail(d, "raw socket: CAP_NET_RAW is missing", err);
	return err ? fail(d, "raw socket", err) : 0;
}

static int queue_started(struct daemon *d, uint16_t number, int err)
{
	char what[64];

	snprintf(what, sizeof(what), "packet queue %u%s", number,
		 err == -EBUSY ? " is another program's; set `queue`" : "");
	return err ? fail(d, what, err) : 0;
}

static int start_queue(struct daemon *d, uint16_t number, pktq_packet_cb *cb,
		       struct pktq **q)
{
	struct pktq_config config = {
		.number = number,
		.packet_cb = cb,
		.ctx = d,
	};

	return queue_started(d, number, pktq_open(&config, q));
}

static int start_queues(struct daemon *d)
{
	int err = start_queue(d, d->conf->queue, divert_packet_in,
			      &d->queue_in);

	if (!err)
		err = start_queue(d, (uint16_t)(d->conf->queue + 1),
				  divert_packet_out, &d->queue_out);
	if (!err)
		err = queue_started(d, crew_queue(d, 0), crew_open(d));
	if (err)
		return err;
	/* What an earlier run has said of nonces holds on for so long. */
	if (d->divert.idle_ms < loop_now_ms() + CLAIM_TAKE_MS)
		d->divert.idle_ms = loop_now_ms() + CLAIM_TAKE_MS;
	err = divert_rebuild(d, loop_now_ms());
	if (err) /* an earlier run's could not be taken over: one of our own */
		err = divert_rebuild(d, loop_now_ms());
	return err ? fail(d, "nftables table inet sacip", err) : 0;
}

/* The port is bound: the capability for it is needed no more. */
static int drop_bind_capability(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	const uint32_t bit = ~(1u << CAP_NET_BIND_SERVICE);

	if (syscall(SYS_capget, &header, data))
		return -errno;
	data[0].effective &= bit;
	data[0].permitted &= bit;
	data[0].inheritable &= bit;
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

static int start_udp(struct daemon *d)
{
	int sockets[ACTIVATED_MAX];
	size_t n = notify_sockets(sockets, ACTIVATED_MAX);
	char what[80];
	int err = udp_open(&d->udp, d->conf->port, sockets, n);

	snprintf(what, sizeof(what), "UDP port %u%s", d->conf->port,
		 err == -EACCES ? ": CAP_NET_BIND_SERVICE is missing" :
		 err == -EADDRINUSE ? " is another program's; set `port`, at "
				      "both ends" : "");
	if (err)
		return fail(d, what, err);
	err = drop_bind_capability();
	if (err)
		log_warn(d->log, "cannot drop CAP_NET_BIND_SERVICE: %s",
			 strerror(-err));
	return 0;
}

static int start_network(struct daemon *d)
{
	struct peer_config config = {
		.key = d->key,
		.port = d->conf->port,
		.peers_max = d->conf->max_peers,
	};
	char path[CONF_DIR_MAX + sizeof(CTL_SOCKET_NAME) + 1];
	int err;

	err = peer_table_new(&d->peers, &assoc_peer_ops, d, &config,
			     &d->counters);
	crypto_wipe(&config, sizeof(config));
	if (err)
		return fail(d, "peers", err);
	err = store_pins_load(d);
	if (err)
		log_warn(d->log, "pins: %s", strerror(-err));
	snprintf(path, sizeof(path), "%s/%s", d->conf->runtime_dir,
		 CTL_SOCKET_NAME);
	err = ctl_open(&d->ctl, path, &report_ops, d, &d->counters);
	return err ? fail(d, path, err) : 0;
}

/* What an earlier run has left is taken up where its sockets live, and
 * removed where they do not. Until the table is built anew the old one stands,
 * and so do its guards. */
static int start_flows(struct daemon *d)
{
	unsigned int ended;
	int err;

	err = discover_dump(d, loop_now_ms());
	if (err)
		return err;
	adopt_flows(d, loop_now_ms());
	salvage_flows(d, loop_now_ms());
	ended = adopt_end_orphans(d);
	adopt_tombstones(d, !ended, loop_now_ms());
	err = start_queues(d);
	if (!err)
		err = retain_sweep(d->retain);
	if (err)
		return fail(d, "routing rules", err);
	if (d->adopt) {
		adopt_greet(d, loop_now_ms());
		d->policy = true; /* it may forbid by now what it allowed */
		d->review_ms = loop_now_ms();
	}
	keep_open(d);
	adopt_finish(d);
	return 0;
}

static int start(struct daemon *d)
{
	uint8_t seed[CRYPTO_SHORT_KEY_SIZE];
	uint64_t usec = notify_watchdog_usec();
	int err;

	d->started_ms = loop_now_ms();
	d->keep.fd = d->keep.lock = -1;
	d->watchdog_every_ms = usec / 2000;
	d->watchdog_ms = d->watchdog_every_ms ? d->started_ms : 0;
	hold_init(&d->hold, NULL);
	crypto_random(seed, sizeof(seed));
	flow_table_init(&d->flows, d->conf->max_flows, seed, &d->counters);
	discover_init(d, seed);
	LIST_INIT(&d->assocs);
	TAILQ_INIT(&d->busy);
	LIST_INIT(&d->divert.settling);
	pairs_init(d);
	share_pool_init(&d->tap_pool,
			TAP_SOCKETS_MAX * TAP_PAIRS_PER_SOCKET);
	guards_init(d, seed);
	agenda_init(&d->agenda[AGENDA_CLAIMS], AGENDA_CLAIMS, assoc_due_ms);
	agenda_init(&d->agenda[AGENDA_MOVES], AGENDA_MOVES, handover_due_ms);
	err = loop_open(&d->loop);
	if (err)
		return fail(d, "epoll", err);
	err = start_key(d);
	if (!err)
		err = start_journal(d);
	if (!err) /* the port first: who has it may have the kernel's state */
		err = start_udp(d);
	if (!err)
		err = start_kernel(d);
	if (!err)
		err = start_network(d);
	if (!err)
		err = start_flows(d);
	if (!err) {
		err = events_open(d);
		if (err)
			(void)fail(d, "epoll", err);
	}
	if (!err)
		handover_evaluate(d, loop_now_ms(), false);
	if (!err)
		d->detaching = false;
	return err;
}

/* ---- stop ----------------------------------------------------------------- */

/* Its socket cannot live without us. */
static bool is_moved(const struct daemon *d, const struct flow *f)
{
	return f->protected && !f->ended &&
	       (!flow_is_plain(f) ||
		!rtmon_find(d->rtmon, &f->identity.local.addr));
}

/* They are destroyed while their RSTs can still be translated, so that the
 * other end learns of it at once. */
static unsigned int destroy_moved(struct daemon *d)
{
	struct flow *f;
	unsigned int n = 0;

	for (f = flow_first(&d->flows); f; f = flow_next(f)) {
		if (!is_moved(d, f))
			continue;
		if (!sockdiag_destroy(d->sockdiag, &f->identity, 0, f->cookie))
			n++;
	}
	return n;
}

static unsigned int count_moved(const struct daemon *d)
{
	unsigned int n = 0;

	for (const struct flow *f = flow_first(&d->flows); f;
	     f = flow_next(f))
		n += is_moved(d, f);
	return n;
}

/* A nonce that comes when nobody takes it out is read as a datagram. */
static uint64_t nonces_ms(const struct daemon *d)
{
	uint64_t longest_ms = 0;

	for (const struct flow *f = flow_first(&d->flows); f;
	     f = flow_next(f)) {
		const uint64_t ms = f->identity.proto == IPPROTO_UDP ?
					    claim_awaits_ms(&f->claim) : 0;

		if (ms > longest_ms)
			longest_ms = ms;
	}
	return longest_ms < DESTROY_WAIT_MS ? longest_ms : DESTROY_WAIT_MS;
}

/* `ends`: sockets were told to. */
static void wait_for_last(struct daemon *d, bool ends, uint64_t nonces_end_ms)
{
	const uint64_t began_ms = loop_now_ms();
	struct pollfd fds[] = {
		{ .fd = sockdiag_fd(d->sockdiag), .events = POLLIN },
		{ .fd = pktq_fd(d->queue_out), .events = POLLIN },
		{ .fd = pktq_fd(d->queue_in), .events = POLLIN },
	};

	for (;;) {
		const uint64_t now_ms = loop_now_ms();
		const uint64_t until_ms = ends && count_moved(d) ?
						  began_ms + DESTROY_WAIT_MS :
						  nonces_end_ms;

		if (now_ms >= until_ms ||
		    poll(fds, 3, (int)(until_ms - now_ms)) < 0)
			break;
		events_read_queue(d, d->queue_out);
		events_read_queue(d, d->queue_in);
		if (sockdiag_receive(d->sockdiag))
			break;
	}
	events_read_queue(d, d->queue_out);
}

/* Another run takes over: nobody is told, no socket notices. How many go on
 * without us. */
static unsigned int detach(struct daemon *d)
{
	if (d->pins_ms && store_pins_save(d))
		log_warn(d->log, "cannot write pins");
	if (d->keep.fd < 0)
		keep_open(d); /* perhaps it can be written by now */
	return count_moved(d);
}

/* How many moved connections ended, or go on where we detach. */
static unsigned int stop(struct daemon *d)
{
	uint64_t nonces_end_ms;
	unsigned int n;

	if (d->detaching)
		return detach(d);
	/* The session tells how long, and ends. */
	nonces_end_ms = loop_now_ms() + nonces_ms(d);
	if (d->peers && d->udp)
		peer_table_bye(d->peers, loop_now_ms(), REASON_NONE);
	n = d->queue_out ? destroy_moved(d) : 0;
	if (d->queue_out)
		wait_for_last(d, n > 0, nonces_end_ms);
	if (d->pins_ms && store_pins_save(d))
		log_warn(d->log, "cannot write pins");
	return n;
}

static void say_end(struct log *log, bool detached, unsigned int moved,
		    bool removed)
{
	log_notice(log, "ended: %u moved connection%s %s, table inet sacip %s",
		   moved, moved == 1 ? "" : "s",
		   detached ? "left to the kernel" : "closed",
		   removed ? "removed" : "kept");
}

/* False where the table is still there, because it is to be or cannot go. */
static bool remove_all(struct daemon *d)
{
	bool removed;
	struct flow *f;
	int err;

	ctl_close(d->ctl);
	d->ctl = NULL; /* nobody is told of what goes now */
	keep_close(d, !d->detaching);
	adopt_finish(d);
	/* Addresses and routes, then the table: what still runs into it
	 * meanwhile waits in a queue that is about to close. */
	err = retain_close(d->retain, d->detaching);
	if (err)
		log_warn(d->log, "routing rules: %s", strerror(-err));
	err = steer_close(d->steer, d->detaching);
	removed = !d->detaching && (!err || err == -ENOENT);
	if (err && err != -ENOENT)
		log_warn(d->log, "nftables: %s", strerror(-err));
	crew_close(d);
	pktq_close(d->queue_in);
	pktq_close(d->queue_out);
	for (f = flow_first(&d->flows); f; f = flow_next(f))
		claim_drop(&f->claim);
	guards_free(d);
	discover_free(d);
	flow_table_free(&d->flows);
	assoc_free_all(d);
	for (int i = 0; i < AGENDAS; i++)
		agenda_free(&d->agenda[i]);
	taps_close(d->taps);
	taps_close(d->trial_taps);
	aside_close(d->aside);
	(void)store_pins_check(d);
	free(d->marks);
	divert_free(d);
	pairs_free(d);
	if (d->peers)
		peer_table_free(d->peers);
	udp_close(d->udp);
	tap_injector_close(d->injector);
	natrules_close(d->natrules);
	ipsec_close(d->ipsec);
	sockdiag_close(d->sockdiag);
	rtmon_close(d->rtmon);
	loop_close(d->loop);
	if (d->keep.lock >= 0) {
		rmdir(d->conf->runtime_dir); /* where it is empty and may go */
		close(d->keep.lock);
	}
	crypto_wipe(&d->key, sizeof(d->key));
	return removed;
}

int daemon_run(const struct daemon_options *options, struct log *log,
	       struct conf *conf)
{
	struct daemon *d = calloc(1, sizeof(*d));
	unsigned int moved = 0;
	bool ran, removed;
	int err;

	if (!d) {
		log_err(log, "no memory");
		return 1;
	}
	d->log = log;
	d->conf = conf;
	d->conf_path = options->conf_path;
	err = start(d);
	ran = !err;
	if (ran) {
		log_notice(log, "saciped %s, key %s, port %u, table %s, queue "
			   "%s", PACKAGE_VERSION, d->fingerprint, conf->port,
			   d->steer_info.owned ? "owned" : "watched",
			   d->steer_info.queue_form == STEER_QUEUE_NATIVE ?
			   "native" : "compat");
		if (d->key_made)
			log_notice(log, "the key is new%s", d->key_made == 2 ?
				   ": the old one was made on another machine" :
				   "");
		notify_send("READY=1");
		err = loop_run(d->loop);
		if (err)
			log_err(log, "epoll: %s", strerror(-err));
		notify_send("STOPPING=1");
		moved = stop(d);
	}
	removed = remove_all(d);
	if (ran)
		say_end(log, d->detaching, moved, removed);
	free(d);
	return err ? 1 : 0;
}
