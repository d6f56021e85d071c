/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * report: what sacipctl sees, and what it may ask for.
 *
 * Owns the answers to ctl. Never changes anything but by the operator's
 * `move` and `forget`.
 */
#include "daemon.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT_EVERY_MS 200 /* at most */
#define COUNT_SHARE 10 /* and at most a tenth of our time */

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

/* Translated to its end, and in no track: the other end's socket is gone, and
 * ours is not; or it was taken up without what was known of it. */
static bool is_nobodys(const struct flow *f)
{
	return f->protected && !track_of(f, FLOW_OURS) &&
	       !track_of(f, FLOW_THEIRS);
}

static enum ctl_flow_state flow_state(const struct flow *f)
{
	const struct track *ours = track_of(f, FLOW_OURS);
	const struct track *theirs = track_of(f, FLOW_THEIRS);

	if (!f->protected || is_nobodys(f))
		return CTL_TRACKED;
	if (f->hold || (ours && ours->mover.state != MOVER_STEADY) ||
	    (theirs && theirs->follower.state != FOLLOWER_STEADY))
		return CTL_MOVING;
	return flow_is_moved(f) ? CTL_MOVED : CTL_PROTECTED;
}

static enum ctl_trust peer_trust_of(const struct peer *p)
{
	return peer_get_trust(p) == PEER_CONFIGURED ? CTL_TRUST_CONFIGURED :
						      CTL_TRUST_FIRST_CONTACT;
}

static void peer_names(struct daemon *d, const struct peer *p,
		       char *fingerprint, char *name)
{
	const struct conf_peer *c = conf_find_peer_by_key(d->conf, peer_key(p));

	crypto_fingerprint(peer_key(p), fingerprint);
	if (c)
		copy_text(name, CTL_NAME_MAX, c->name);
}

/* Of its own move or the peer's: that which lasts, or was the last one. */
static uint32_t flow_gap_ms(const struct flow *f, uint64_t now_ms)
{
	const struct track *last = NULL;

	for (int side = 0; side < FLOW_SIDES; side++) {
		const struct track *t = track_of(f, (enum flow_side)side);

		if (t && t->held_ms)
			return (uint32_t)(now_ms - t->held_ms);
		if (t && t->gap_end_ms &&
		    (!last || t->gap_end_ms > last->gap_end_ms))
			last = t;
	}
	return last && f->moves ? last->gap_ms : CTL_GAP_NONE;
}

static void fill_traffic(const struct flow *f, struct ctl_flow *to)
{
	const struct flow_wire *w = flow_mapped(f);
	const struct flow_transit *t = f->transit;

	if (!t)
		return; /* not yet through us */
	to->held_packets = t->held.packets;
	to->held_bytes = t->held.bytes;
	to->queue = (struct ctl_traffic){
		.packets_out = t->packets[FLOW_OURS],
		.packets_in = t->packets[FLOW_THEIRS],
		.bytes_out = t->bytes[FLOW_OURS],
		.bytes_in = t->bytes[FLOW_THEIRS],
	};
	crew_add_traffic(f, FLOW_OURS, &to->queue.packets_out,
			 &to->queue.bytes_out);
	crew_add_traffic(f, FLOW_THEIRS, &to->queue.packets_in,
			 &to->queue.bytes_in);
	if (w && w->mapped == (1u << FLOW_SIDES) - 1 && !crew_carries(f))
		to->path = CTL_PATH_KERNEL;
	else if (f->steered & (1u << FLOW_STEER_OUT))
		to->path = CTL_PATH_QUEUE;
	if (!w || !w->counted)
		return;
	to->counted = true;
	to->kernel = (struct ctl_traffic){
		.packets_out = w->packets[FLOW_OURS],
		.packets_in = w->packets[FLOW_THEIRS],
		.bytes_out = w->bytes[FLOW_OURS],
		.bytes_in = w->bytes[FLOW_THEIRS],
	};
}

static void on_rewritten(const struct steer_rewritten *r, void *arg)
{
	struct daemon *d = arg;
	enum flow_side side = r->map == STEER_SEND ? FLOW_OURS : FLOW_THEIRS;
	const struct flow *f = r->map == STEER_SEND ?
				       flow_find(&d->flows, &r->tuple) :
				       flow_find_wire(&d->flows, &r->tuple);
	struct flow_wire *w = f ? flow_mapped(f) : NULL;

	if (!w || (side == FLOW_THEIRS && !tuple_equal(&w->tuple, &r->tuple)))
		return;
	w->counted = true;
	w->packets[side] = r->packets;
	w->bytes[side] = r->bytes;
}

/* Asks the kernel what it has rewritten: all of it, so not for each flow, nor
 * for each of those who ask. */
static void count_rewritten(struct daemon *d)
{
	uint64_t now_ms = loop_now_ms();

	if (!d->divert.steered || !d->steer_info.counted ||
	    now_ms < d->count_ms)
		return;
	(void)steer_rewritten(d->steer, on_rewritten, d);
	d->count_ms = loop_now_ms() + COUNT_EVERY_MS +
		      COUNT_SHARE * (loop_now_ms() - now_ms);
}

static void fill_flow(struct daemon *d, const struct flow *f,
		      struct ctl_flow *to)
{
	const struct track *ours = track_of(f, FLOW_OURS);
	uint64_t now_ms = loop_now_ms();

	memset(to, 0, sizeof(*to));
	to->id = f->id;
	to->state = flow_state(f);
	to->reason = f->protected && !is_nobodys(f) ? waiting_reason(f) :
						      f->reason;
	to->identity = f->identity;
	to->wire = flow_wire_tuple(f);
	if (f->protected && f->peer) {
		to->trust = peer_trust_of(f->peer);
		peer_names(d, f->peer, to->peer, to->peer_name);
	}
	to->age_s = (uint32_t)((now_ms - f->first_seen_ms) / 1000);
	to->moves = f->moves;
	to->uid = f->uid;
	if (ours) {
		to->track = ours->id;
		to->seq = ours->mover.committed;
	}
	fill_traffic(f, to);
	to->gap_ms = flow_gap_ms(f, now_ms);
}

static size_t on_flows(void *ctx, uint64_t *cursor, struct ctl_flow *to,
		       size_t max)
{
	struct daemon *d = ctx;
	const struct flow *f = flow_next_id(&d->flows, *cursor);
	size_t n = 0;

	if (!*cursor)
		count_rewritten(d);
	for (; f && n < max; f = flow_next(f)) {
		*cursor = f->id;
		if (!f->ended)
			fill_flow(d, f, &to[n++]);
	}
	return n;
}

static int on_flow(void *ctx, uint64_t id, struct ctl_flow *to)
{
	struct daemon *d = ctx;
	const struct flow *f = flow_find_id(&d->flows, id);

	if (!f || f->ended)
		return -ENOENT;
	count_rewritten(d);
	fill_flow(d, f, to);
	return 0;
}

static void fill_peer(struct daemon *d, const struct peer *p,
		      struct ctl_peer *to)
{
	struct addr addrs[PEER_PIN_ADDRS_MAX];
	unsigned int n = peer_pin_addrs(p, addrs);
	struct peer_path path;

	memset(to, 0, sizeof(*to));
	peer_names(d, p, to->fingerprint, to->name);
	memcpy(to->public_key, peer_key(p), CTL_KEY_SIZE);
	to->trust = peer_trust_of(p);
	to->session = peer_has_session(p);
	for (unsigned int i = 0; i < n && i < CTL_PEER_ADDRS_MAX; i++)
		to->address[to->n_addresses++] = addrs[i];
	to->flows = peer_flows(p);
	if (peer_path_best(p, &path))
		to->srtt_us = path.srtt_us;
	to->first_seen_s = (uint64_t)peer_first_seen_s(p);
	to->last_seen_s = (uint64_t)peer_last_seen_s(p);
}

static size_t on_peers(void *ctx, uint64_t *cursor, struct ctl_peer *to,
		       size_t max)
{
	struct daemon *d = ctx;
	const struct peer *p = peer_next(d->peers, NULL);
	uint64_t skip = *cursor;
	size_t n = 0;

	for (; p && n < max; p = peer_next(d->peers, p)) {
		if (skip) {
			skip--;
			continue;
		}
		fill_peer(d, p, &to[n++]);
	}
	*cursor += n;
	return n;
}

static void count_peers(const struct daemon *d, struct ctl_status *to)
{
	const struct peer *p = NULL;

	while ((p = peer_next(d->peers, p))) {
		to->peers++;
		to->sessions += peer_has_session(p);
	}
}

static void add_kernel_counters(struct daemon *d, struct counters *c)
{
	const struct pktq_counters *in = pktq_counters(d->queue_in);
	const struct pktq_counters *out = pktq_counters(d->queue_out);
	struct steer_counters s;

	c->value[COUNTER_QUEUE_OVERFLOW] = in->overflows + out->overflows;
	c->value[COUNTER_QUEUE_ERRORS] = pktq_errors(in) + pktq_errors(out);
	crew_add_counters(d, c);
	c->value[COUNTER_NL_RESYNCS] = rtmon_resyncs(d->rtmon);
	if (!steer_counters(d->steer, &s))
		c->value[COUNTER_PKT_UNTRANSLATED] = s.untranslated;
}

static void on_status(void *ctx, struct ctl_status *to)
{
	struct daemon *d = ctx;

	memset(to, 0, sizeof(*to));
	copy_text(to->version, sizeof(to->version), PACKAGE_VERSION);
	copy_text(to->fingerprint, sizeof(to->fingerprint), d->fingerprint);
	to->pid = (uint32_t)getpid();
	to->uptime_s = (loop_now_ms() - d->started_ms) / 1000;
	to->port = d->conf->port;
	for (const struct flow *f = flow_first(&d->flows); f; f = flow_next(f))
		if (!f->ended)
			to->flows[flow_state(f)]++;
	to->max_flows = d->conf->max_flows;
	to->max_peers = d->conf->max_peers;
	count_peers(d, to);
	for (const struct addr_use *u = d->divert.use[STEER_SRC]; u;
	     u = u->hh.next)
		to->retained += !rtmon_find(d->rtmon, &u->addr);
	to->held_packets = d->hold.packets.used;
	to->held_bytes = d->hold.bytes.used;
	to->tombstones = d->flows.tombs.n;
	to->native_queue = d->steer_info.queue_form == STEER_QUEUE_NATIVE;
	to->owned_table = d->steer_info.owned;
	to->counters = d->counters;
	add_kernel_counters(d, &to->counters);
}

static void on_key(void *ctx, char fingerprint[CTL_NAME_MAX],
		   uint8_t public_key[CTL_KEY_SIZE])
{
	struct daemon *d = ctx;

	copy_text(fingerprint, CTL_NAME_MAX, d->fingerprint);
	memcpy(public_key, d->key.public_key, CTL_KEY_SIZE);
}

static struct peer *peer_by_text(struct daemon *d, const char *text)
{
	const struct conf_peer *c = conf_find_peer_by_name(d->conf, text);
	uint8_t key[CRYPTO_KEY_SIZE];
	struct peer *p = NULL;
	char fingerprint[CTL_NAME_MAX];

	if (c)
		return peer_find_key(d->peers, c->public_key);
	if (!crypto_key_from_text(text, key))
		return peer_find_key(d->peers, key);
	while ((p = peer_next(d->peers, p))) {
		crypto_fingerprint(peer_key(p), fingerprint);
		if (!strcmp(fingerprint, text))
			return p;
	}
	return NULL;
}

static int on_forget(void *ctx, const char *text, char answer[CTL_TEXT_MAX])
{
	struct daemon *d = ctx;
	struct peer *p = peer_by_text(d, text);
	const struct assoc *a;
	uint32_t n;

	if (!p) {
		copy_text(answer, CTL_TEXT_MAX,
			  "no such peer; see sacipctl peers");
		return -ENOENT;
	}
	a = peer_user(p);
	n = peer_flows(p) - (a ? a->n_reserved : 0);
	if (n) {
		snprintf(answer, CTL_TEXT_MAX,
			 "it owns %u flow%s, which could not move any more: "
			 "end %s first", n, n == 1 ? "" : "s",
			 n == 1 ? "it" : "them");
		return -EBUSY;
	}
	peer_forget(p, loop_now_ms());
	copy_text(answer, CTL_TEXT_MAX, "forgotten");
	return 0;
}

/* ---- move --------------------------------------------------------------- */

/* The address of that interface that a track may go to: the first usable
 * one of its family. */
static bool address_on(struct daemon *d, const char *ifname, uint8_t family,
		       struct addr *a)
{
	const struct rtmon_link *link = rtmon_link_by_name(d->rtmon, ifname);
	const struct rtmon_address *list;
	size_t n;

	if (!link)
		return false;
	list = rtmon_addresses(d->rtmon, &n);
	for (size_t i = 0; i < n; i++) {
		if (list[i].ifindex != link->ifindex || list[i].deprecated ||
		    list[i].addr.family != family ||
		    addr_classify(&list[i].addr) == ADDR_LINK_LOCAL ||
		    !rtmon_usable(d->rtmon, &list[i].addr))
			continue;
		*a = list[i].addr;
		return true;
	}
	return false;
}

struct move_result {
	unsigned int started, refused; /* flows */
	bool elsewhere, other_family; /* tracks that were not meant */
	int err;
};

static void move_refused(struct move_result *r, unsigned int flows, int err)
{
	r->refused += flows;
	r->err = err;
}

static void move_track(struct daemon *d, struct track *t,
		       const struct ctl_move *m, struct move_result *r)
{
	const struct addr *current = &mover_current(&t->mover)->addr;
	const unsigned int flows = t->group.digest.count;
	struct addr to = m->to;
	int err;

	if (LIST_EMPTY(&t->group.flows))
		return;
	if (addr_is_set(&m->from) && !addr_equal(&m->from, current)) {
		r->elsewhere = true;
		return;
	}
	if (!addr_is_set(&to) &&
	    !address_on(d, m->to_ifname, current->family, &to)) {
		move_refused(r, flows, -ENODEV);
		return;
	}
	if (to.family != current->family) {
		r->other_family = true;
		return;
	}
	err = handover_move(t, &to, loop_now_ms());
	if (err == -EADDRNOTAVAIL && !rtmon_find(d->rtmon, &to))
		err = -ENXIO;
	if (err)
		move_refused(r, flows, err);
	else
		r->started += flows;
}

static void move_peer(struct daemon *d, struct assoc *a,
		      const struct ctl_move *m, struct move_result *r)
{
	struct track *t;
	struct track *next;

	for (t = LIST_FIRST(&a->tracks[FLOW_OURS]); t; t = next) {
		next = LIST_NEXT(t, entry);
		move_track(d, t, m, r);
	}
}

/* Flow, peer or everything: 0, or -ENOENT. */
static int move_scope(struct daemon *d, const struct ctl_move *m,
		      struct move_result *r)
{
	struct assoc *a;
	struct peer *p;
	struct flow *f;
	char *end;
	unsigned long long id;

	if (!m->scope[0]) {
		LIST_FOREACH(a, &d->assocs, entry)
			move_peer(d, a, m, r);
		return 0;
	}
	id = strtoull(m->scope, &end, 10);
	f = *end ? NULL : flow_find_id(&d->flows, id);
	if (f) {
		if (!track_of(f, FLOW_OURS))
			return -ENOENT;
		move_track(d, track_of(f, FLOW_OURS), m, r);
		return 0;
	}
	p = peer_by_text(d, m->scope);
	a = p ? peer_user(p) : NULL;
	if (!a)
		return -ENOENT;
	move_peer(d, a, m, r);
	return 0;
}

static const char *why_no_move(const struct move_result *r)
{
	if (!r->refused)
		return r->other_family ?
			       "no protected flow of that address's family" :
		       r->elsewhere ? "no protected flow is at that --from" :
				      "no protected flow to move; see "
				      "sacipctl list";
	switch (r->err) {
	case -EALREADY:
		return "they are there already";
	case -EADDRINUSE:
		return "no port is free there";
	case -ENODEV:
		return "no such interface, or none of its addresses can be "
		       "used";
	case -ENXIO:
		return "that address is not on this host; see ip address";
	case -EAGAIN:
		return "moved too often just now; try again in a second";
	default:
		return "that address is not usable here, or policy refuses it";
	}
}

static int on_move(void *ctx, const struct ctl_move *m,
		   char text[CTL_TEXT_MAX])
{
	struct daemon *d = ctx;
	struct move_result r = { .err = 0 };
	int err = move_scope(d, m, &r), len;

	if (err) {
		copy_text(text, CTL_TEXT_MAX,
			  "no such protected flow or peer; see sacipctl list");
		return err;
	}
	if (r.started) {
		len = snprintf(text, CTL_TEXT_MAX, "%u flow%s asked to move",
			       r.started, r.started == 1 ? "" : "s");
		if (r.refused)
			snprintf(text + len, CTL_TEXT_MAX - (size_t)len,
				 ", %u not: %s", r.refused, why_no_move(&r));
		return 0;
	}
	copy_text(text, CTL_TEXT_MAX, why_no_move(&r));
	return r.refused ? r.err : -ENOENT;
}

/* ---- events ------------------------------------------------------------- */

static void publish(struct daemon *d, struct ctl_event *e)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	e->time_ms = (uint64_t)ts.tv_sec * 1000 +
		     (uint64_t)ts.tv_nsec / 1000000;
	ctl_publish(d->ctl, e);
}

void report_flow_event(struct daemon *d, const struct flow *f,
		       const char *what, const char *text)
{
	struct ctl_event e;
	char tuple[TUPLE_TEXT_MAX];

	if (!d->ctl || !ctl_monitored(d->ctl))
		return;
	memset(&e, 0, sizeof(e));
	e.flow = f->id;
	e.uid = f->uid;
	copy_text(e.what, sizeof(e.what), what);
	if (f->protected && f->peer)
		crypto_fingerprint(peer_key(f->peer), e.peer);
	tuple_format(&f->identity, tuple);
	snprintf(e.text, sizeof(e.text), "%.*s%s%.*s", TUPLE_TEXT_MAX, tuple,
		 *text ? " " : "", CTL_TEXT_MAX - TUPLE_TEXT_MAX - 2, text);
	publish(d, &e);
}

void report_event(struct daemon *d, const char *peer, const char *what,
		  const char *text)
{
	struct ctl_event e;

	if (!d->ctl || !ctl_monitored(d->ctl))
		return;
	memset(&e, 0, sizeof(e));
	e.uid = CTL_UID_NONE;
	copy_text(e.what, sizeof(e.what), what);
	copy_text(e.peer, sizeof(e.peer), peer);
	copy_text(e.text, sizeof(e.text), text);
	publish(d, &e);
}

const struct ctl_ops report_ops = {
	.flows = on_flows,
	.flow = on_flow,
	.peers = on_peers,
	.status = on_status,
	.key = on_key,
	.forget = on_forget,
	.move = on_move,
};
