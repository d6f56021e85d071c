/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * divert: steers flows to the queues, and handles what comes out of them.
 *
 * Owns the nftables transactions over flows, the counts of addresses that
 * stand in sets, and every verdict. Never decides that a flow moves.
 */
#include "daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nonce.h"
#include "pkt.h"
#include "rewrite.h"

#define REST_MS 60000 /* without a protected flow: no hooks */
#define REBUILD_MS 1000 /* after the kernel has refused something */
#define STEER_BITS ((1u << FLOW_STEER_OUT) | (1u << FLOW_STEER_DROP))

/* ---- steering -------------------------------------------------------- */

static struct addr_use *use_get(struct divert *v, enum steer_addr_set set,
				const struct addr *a)
{
	struct addr_use *u;

	HASH_FIND(hh, v->use[set], a, sizeof(*a), u);
	if (u)
		return u;
	u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->addr = *a;
	HASH_ADD(hh, v->use[set], addr, sizeof(u->addr), u);
	if (!u->hh.tbl) {
		free(u);
		return NULL;
	}
	return u;
}

static void use_touch(struct divert *v, enum steer_addr_set set,
		      struct addr_use *u, int32_t delta)
{
	if (!u->touched)
		LIST_INSERT_HEAD(&v->touched[set], u, in_touched);
	u->touched = true;
	u->delta += delta;
}

uint32_t divert_sources(const struct daemon *d, const struct addr *a)
{
	struct addr_use *u;

	HASH_FIND(hh, d->divert.use[STEER_SRC], a, sizeof(*a), u);
	return u ? u->uses : 0;
}

static int use_change(struct daemon *d, const struct flow_change *c)
{
	enum steer_addr_set set = c->set == FLOW_STEER_PROT ? STEER_SRC :
							      STEER_WIRE;
	struct addr_use *u;

	if (c->set != FLOW_STEER_PROT && c->set != FLOW_STEER_IN)
		return 0;
	u = use_get(&d->divert, set, &c->tuple.local.addr);
	if (!u)
		return -ENOMEM;
	use_touch(&d->divert, set, u, c->add ? 1 : -1);
	return 0;
}

static void steer_map(struct steer *s, const struct flow_change *c)
{
	enum steer_map map = c->set == FLOW_STEER_SEND ? STEER_SEND :
							 STEER_RECV;

	if (c->add)
		steer_map_add(s, map, &c->tuple, &c->to);
	else
		steer_map_del(s, map, &c->tuple, &c->to);
}

static void steer_change(struct daemon *d, const struct flow_change *c)
{
	static const enum steer_set sets[] = {
		[FLOW_STEER_OUT] = STEER_OUT,
		[FLOW_STEER_IN] = STEER_IN,
		[FLOW_STEER_DROP] = STEER_DROP,
		[FLOW_STEER_PROT] = STEER_PROT,
	};

	if (c->set == FLOW_STEER_SEND || c->set == FLOW_STEER_RECV)
		steer_map(d->steer, c);
	else if (c->add)
		steer_add(d->steer, sets[c->set], &c->tuple,
			  (c->timeout_ms + 999) / 1000);
	else
		steer_del(d->steer, sets[c->set], &c->tuple);
}

static int on_change(void *ctx, const struct flow_change *c)
{
	struct daemon *d = ctx;
	int taken = 0, err;

	if (c->set == FLOW_STEER_SEND || c->set == FLOW_STEER_RECV)
		taken = crew_change(d, c);
	if (taken < 0)
		return taken;
	err = use_change(d, c);
	if (!taken)
		steer_change(d, c);
	return err ? err : pairs_change(d, c);
}

void divert_begin(struct daemon *d)
{
	crew_begin(d);
	steer_begin(d->steer);
}

void divert_add(struct daemon *d, struct flow *f, bool tombstone,
		uint64_t now_ms, int *err)
{
	promote_consider(d, f, now_ms);
	if (!*err)
		*err = flow_steer_prepare(&d->flows, f, tombstone, now_ms,
					  on_change, d);
}

static void uses_commit(struct daemon *d)
{
	for (int i = 0; i < STEER_ADDR_SET_MAX; i++) {
		enum steer_addr_set set = (enum steer_addr_set)i;
		const struct addr_use *u;

		LIST_FOREACH(u, &d->divert.touched[set], in_touched) {
			bool before = u->uses > 0;
			bool after = (int64_t)u->uses + u->delta > 0;

			if (after && !before)
				steer_add_addr(d->steer, set, &u->addr);
			else if (before && !after)
				steer_del_addr(d->steer, set, &u->addr);
		}
	}
}

static void uses_settle(struct daemon *d, int err)
{
	for (int set = 0; set < STEER_ADDR_SET_MAX; set++) {
		struct addr_use *u;

		while ((u = LIST_FIRST(&d->divert.touched[set]))) {
			LIST_REMOVE(u, in_touched);
			u->touched = false;
			if (!err)
				u->uses = (uint32_t)((int64_t)u->uses +
						     u->delta);
			u->delta = 0;
			if (u->uses)
				continue;
			HASH_DELETE(hh, d->divert.use[set], u);
			free(u);
		}
	}
}

static void rebuild_at(struct daemon *d, uint64_t when_ms)
{
	if (!d->divert.rebuild_ms || when_ms < d->divert.rebuild_ms)
		d->divert.rebuild_ms = when_ms ? when_ms : 1;
}

int divert_commit(struct daemon *d, int err)
{
	if (!err) {
		uses_commit(d);
		crew_pause(d);
		err = steer_commit(d->steer);
		COUNT(d, NFT_BATCHES);
	}
	crew_commit(d, err);
	uses_settle(d, err);
	pairs_settle(d, err, loop_now_ms());
	d->divert.rest_ms = d->divert.use[STEER_SRC] ? 0 : loop_now_ms() +
								   REST_MS;
	if (err) {
		/* Somebody took the table away, or the kernel has done what is
		 * being undone here. */
		if (err == -ENOENT || err == -EIO)
			rebuild_at(d, repair_next_ms(d, REPAIR_TABLE,
						     loop_now_ms()));
		COUNT(d, NFT_ERRORS);
		REFUSED(d, SYSTEM);
		log_err(d->log, "nftables refused a change: %s",
			strerror(-err));
	}
	return err;
}

void divert_settle(struct daemon *d, struct flow *f, bool tombstone,
		   uint64_t now_ms, int err)
{
	bool before = f->steered & STEER_BITS;
	bool after;

	if (err) {
		flow_steer_abort(&d->flows, f);
		return;
	}
	flow_steer_commit(&d->flows, f, tombstone, now_ms);
	after = f->steered & STEER_BITS;
	if (after && !before)
		d->divert.steered++;
	else if (before && !after)
		d->divert.steered--;
	if (tombstone)
		d->divert.idle_ms = now_ms + FLOW_TOMBSTONE_MS + 1000;
	d->divert.idle = false;
}

void divert_unveil(struct daemon *d)
{
	if (!d->steer_info.unveils)
		return;
	if (!steer_is_unveiling(d->steer)) {
		divert_begin(d);
		steer_unveil(d->steer);
		divert_commit(d, 0);
	}
	if (d->divert.rest_ms)
		d->divert.rest_ms = loop_now_ms() + REST_MS;
}

int divert_flow(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	int err = 0;

	divert_begin(d);
	divert_add(d, f, false, now_ms, &err);
	err = divert_commit(d, err);
	divert_settle(d, f, false, now_ms, err);
	return err;
}

/* What it may come by later, as the flow moves, is in IN for as long: of that
 * nonces are taken without being told. */
static void take_nonces(struct daemon *d, const struct flow *f)
{
	const struct tuple wire = flow_wire_tuple(f);

	steer_add(d->steer, STEER_CLAIM, &f->identity, CLAIM_TAKE_MS / 1000);
	if (!tuple_equal(&wire, &f->identity))
		steer_add(d->steer, STEER_CLAIM, &wire, CLAIM_TAKE_MS / 1000);
}

int divert_take_nonces(struct daemon *d, uint64_t now_ms,
		       struct claim *const *c, unsigned int n)
{
	const uint64_t least_ms = now_ms + CLAIM_EXPECT_MS + CLAIM_LATE_MS;
	unsigned int told = 0;
	int err;

	/* Who tries one flow on and on costs no transaction for each try. */
	for (unsigned int i = 0; i < n; i++) {
		if (c[i]->take_ms >= least_ms)
			continue;
		if (!told++)
			divert_begin(d);
		take_nonces(d, flow_of_claim(c[i]));
	}
	if (!told)
		return 0;
	err = divert_commit(d, 0);
	for (unsigned int i = 0; i < n && !err; i++)
		if (c[i]->take_ms < least_ms)
			c[i]->take_ms = now_ms + CLAIM_TAKE_MS;
	if (!err) {
		d->divert.idle = false;
		if (d->divert.idle_ms < now_ms + CLAIM_TAKE_MS)
			d->divert.idle_ms = now_ms + CLAIM_TAKE_MS;
	}
	return err;
}

bool divert_cede(struct daemon *d, struct flow *f, const struct tuple *wire,
		 uint64_t now_ms)
{
	if (!flow_cede(f, wire))
		return false;
	COUNT(d, TUPLES_CEDED);
	return !divert_flow(d, f, now_ms);
}

void divert_undrop(struct daemon *d, const struct tuple *t)
{
	divert_begin(d);
	steer_del(d->steer, STEER_DROP, t);
	divert_commit(d, 0);
}

void divert_leave(struct daemon *d, struct flow *const *f, unsigned int n,
		  uint64_t now_ms)
{
	int err = 0;

	divert_begin(d);
	for (unsigned int i = 0; i < n; i++)
		divert_add(d, f[i], false, now_ms, &err);
	err = divert_commit(d, err);
	for (unsigned int i = 0; i < n; i++) {
		divert_settle(d, f[i], false, now_ms, err);
		if (err)
			flow_steer_forget(&d->flows, f[i]);
		crew_leave(d, f[i]);
	}
	if (err)
		rebuild_at(d, now_ms + REBUILD_MS);
}

/* Counts anew as well. */
int divert_rebuild(struct daemon *d, uint64_t now_ms)
{
	int err;

	crew_begin(d);
	steer_begin(d->steer);
	steer_build(d->steer);
	for (int set = 0; set < STEER_ADDR_SET_MAX; set++)
		for (struct addr_use *u = d->divert.use[set]; u;
		     u = u->hh.next)
			use_touch(&d->divert, (enum steer_addr_set)set, u,
				  -(int32_t)u->uses);
	pairs_recount(d);
	err = flow_steer_all(&d->flows, now_ms, on_change, d);
	for (struct flow *f = flow_first(&d->flows); f; f = flow_next(f))
		if (now_ms < f->claim.take_ms)
			take_nonces(d, f);
	for (int set = 0; set < STEER_ADDR_SET_MAX; set++)
		for (struct addr_use *u = d->divert.use[set]; u;
		     u = u->hh.next)
			if ((int64_t)u->uses + u->delta > 0)
				steer_add_addr(d->steer,
					       (enum steer_addr_set)set,
					       &u->addr);
	if (!err) {
		crew_pause(d);
		err = steer_commit(d->steer);
	}
	crew_commit(d, err);
	uses_settle(d, err);
	pairs_settle(d, err, now_ms);
	d->divert.idle = false;
	d->divert.rebuild_ms = 0;
	repair_note(d, REPAIR_TABLE, loop_now_ms());
	if (err) {
		rebuild_at(d, now_ms + REBUILD_MS);
		return err;
	}
	d->divert.steered = 0;
	for (struct flow *f = flow_first(&d->flows); f; f = flow_next(f))
		d->divert.steered += !!(f->steered & STEER_BITS);
	return 0;
}

void divert_free(struct daemon *d)
{
	for (int set = 0; set < STEER_ADDR_SET_MAX; set++) {
		struct addr_use *u;
		struct addr_use *next;

		HASH_ITER(hh, d->divert.use[set], u, next) {
			HASH_DELETE(hh, d->divert.use[set], u);
			free(u);
		}
	}
}

/* ---- time --------------------------------------------------------------- */

/* Wire tuples that need not be quiet any more, as many as go in one
 * transaction. */
static void end_quiet(struct daemon *d, uint64_t now_ms)
{
	struct flow_wire *w;
	struct flow_wire *next;
	unsigned int n = 0;
	int err = 0;

	if (d->divert.rebuild_ms) /* then all is told anew, some of it twice */
		return;
	divert_begin(d);
	TAILQ_FOREACH(w, &d->flows.quiet, in_quiet) {
		if (w->quiet_ms > now_ms || n == TRACK_PART)
			break;
		if (w->flow->expiring)
			continue;
		n++;
		w->flow->expiring = true;
		divert_add(d, w->flow, false, now_ms, &err);
	}
	err = divert_commit(d, err);
	for (w = TAILQ_FIRST(&d->flows.quiet);
	     w && w->quiet_ms <= now_ms && n; w = next) {
		struct flow *f = w->flow;

		/* What is settled takes its own with it. */
		for (next = TAILQ_NEXT(w, in_quiet); next && next->flow == f;
		     next = TAILQ_NEXT(next, in_quiet))
			;
		if (!f->expiring)
			continue;
		f->expiring = false;
		n--;
		divert_settle(d, f, false, now_ms, err);
	}
	if (err)
		rebuild_at(d, now_ms + REBUILD_MS);
}

void divert_step(struct daemon *d, uint64_t now_ms)
{
	if (d->divert.rebuild_ms && now_ms >= d->divert.rebuild_ms &&
	    divert_rebuild(d, now_ms))
		COUNT(d, NFT_ERRORS);
	if (flow_quiet_due_ms(&d->flows) &&
	    now_ms >= flow_quiet_due_ms(&d->flows))
		end_quiet(d, now_ms);
	promote_step(d, now_ms);
	pairs_step(d, now_ms);
	if (!d->divert.idle && !d->divert.steered && !d->flows.wires.n &&
	    now_ms >= d->divert.idle_ms) {
		steer_begin(d->steer);
		steer_idle(d->steer);
		if (!steer_commit(d->steer))
			d->divert.idle = true;
		else
			d->divert.idle_ms = now_ms + REBUILD_MS;
	}
	if (d->divert.rest_ms && now_ms >= d->divert.rest_ms) {
		d->divert.rest_ms = 0;
		steer_begin(d->steer);
		steer_rest(d->steer);
		if (steer_commit(d->steer))
			COUNT(d, NFT_ERRORS); /* it costs time only */
	}
}

int divert_read_out(struct daemon *d)
{
	crew_read_strays(d);
	return pktq_read(d->queue_out);
}

/* ---- packets --------------------------------------------------------- */

static void drop(struct daemon *d, struct pktq *q, uint64_t id)
{
	COUNT(d, PKT_DROPPED);
	pktq_drop(q, id);
}

static bool hold_is_over(const struct flow *f, uint64_t now_ms)
{
	const struct track *ours = track_of(f, FLOW_OURS);
	const struct track *theirs = track_of(f, FLOW_THEIRS);

	if (ours && mover_holds(&ours->mover) &&
	    now_ms - ours->mover.hold_since_ms > MIGRATE_HOLD_MAX_MS)
		return true;
	if (theirs && theirs->unheard_ms &&
	    now_ms - theirs->unheard_ms > MIGRATE_HOLD_MAX_MS)
		return true;
	return theirs && follower_holds(&theirs->follower) &&
	       now_ms - theirs->follower.hold_since_ms > MIGRATE_HOLD_MAX_MS;
}

/* See drop_link(). An interface that the table has no room for may be there. */
static bool is_link_gone(const struct daemon *d, uint32_t ifindex)
{
	return ifindex && !rtmon_link(d->rtmon, ifindex) &&
	       !rtmon_overflows(d->rtmon);
}

/* Past hold_max the datagrams that are held stay and the newest goes. Segments
 * are held on: those before are given up meanwhile (stale.c), and one of them
 * starts the flow again. */
static void hold_packet(struct daemon *d, struct flow *f, struct pktq *q,
			struct pktq_packet *p, const struct pkt *pkt)
{
	uint64_t now_ms = loop_now_ms();
	struct assoc *a = track_assoc(f);
	struct hold_packet meta = {
		.at_ms = now_ms,
		.kind = stale_kind(pkt),
		.tcp_seq = pkt->tcp_seq,
		.id = p->id,
		.queue = pktq_number(q),
		.csum = p->csum,
		.mark = p->mark,
		.ifindex = p->out_ifindex,
		.len = p->len,
	};

	if (!f->transit || is_link_gone(d, p->out_ifindex) ||
	    (meta.kind == HOLD_ANY && hold_is_over(f, now_ms) &&
	     flow_is_waiting(f)) ||
	    hold_push(&d->hold, &f->transit->held, a ? &a->held : NULL, &meta,
		      p->data)) {
		COUNT(d, PKT_HOLD_DROPPED);
		pktq_drop(q, p->id);
		return;
	}
	COUNT(d, PKT_HELD);
	f->transit->old_echo = rewrite_echo(pkt, p->data);
	stale_begin(d, now_ms);
}

static void note_queued(struct flow *f, uint64_t now_ms)
{
	if (f->transit)
		f->transit->last_queued_ms = now_ms;
}

static void note_rewritten(struct flow *f, enum flow_side side, uint32_t len)
{
	if (!f->transit)
		return;
	f->transit->packets[side]++;
	f->transit->bytes[side] += len;
}

static int rewrite_out(struct daemon *d, struct flow *f, uint8_t *data,
		       uint32_t len, enum csum_state csum, bool late)
{
	struct tuple wire = flow_wire_tuple(f);
	struct rewrite_target to = rewrite_target_out(&wire);
	struct pkt pkt;
	enum pkt_result r = pkt_parse(data, len, &pkt);

	if (r != PKT_OK && r != PKT_FIRST_FRAGMENT) {
		COUNT(d, PKT_MALFORMED);
		return -EINVAL;
	}
	note_rewritten(f, FLOW_OURS, len);
	COUNT(d, PKT_REWRITTEN_OUT);
	if (late || stale_echo(f, &pkt, data))
		rewrite_forget_echo(&pkt, data, csum);
	return rewrite_packet(&pkt, data, &to, csum);
}

/*
 * Lets a packet go as it is. One that came while its address was gone has the
 * guard's route, to nowhere, and one that was held may have a dead one: the
 * kernel looks for another only where the verdict changed the packet, or its
 * mark (nf_ip_reroute()). Ours means nothing on the way out, but while a way
 * there drains it leads by its route.
 */
static void accept_rerouted(struct daemon *d, struct pktq *q, uint64_t id,
			    uint32_t mark)
{
	mark ^= d->conf->mark;
	pktq_accept(q, id, &mark);
}

/* The same just after it was sent: a route out of the interface that has its
 * source is the socket's own, and stays. */
static void accept_plain(struct daemon *d, struct pktq *q,
			 const struct pktq_packet *p, const struct addr *local)
{
	const struct rtmon_address *own = rtmon_find(d->rtmon, local);

	if (own && own->ifindex == p->out_ifindex)
		pktq_accept(q, p->id, NULL);
	else
		accept_rerouted(d, q, p->id, p->mark);
}

/* One of a flow that is home again. Rewritten to what it is, since a verdict
 * with a payload needs the whole checksum. */
static void pass_plain(struct daemon *d, struct flow *f, struct pktq *q,
		       struct pktq_packet *p, const struct pkt *pkt)
{
	uint32_t mark = p->mark ^ d->conf->mark;

	if (p->full_len > p->len || !stale_echo(f, pkt, p->data)) {
		accept_plain(d, q, p, &f->identity.local.addr);
		return;
	}
	if (rewrite_out(d, f, p->data, p->len, p->csum, true))
		drop(d, q, p->id);
	else
		pktq_accept_payload(q, p->id, p->data, p->len, &mark);
}

/* That which the packet waits in. */
static struct pktq *queue_of(const struct daemon *d,
			     const struct hold_packet *h)
{
	return h->queue == pktq_number(d->queue_out) ? d->queue_out :
						       d->crew.strays;
}

/* Strays come before what was sent behind them. */
static void flush_held(struct daemon *d)
{
	if (d->crew.strays)
		pktq_flush(d->crew.strays);
	if (d->queue_out) /* else the daemon is about to start */
		pktq_flush(d->queue_out);
}

static void release_flush(struct daemon *d, struct divert_released *r)
{
	flush_held(d);
	while (r->n)
		free(r->spent[--r->n]);
}

/* Most bear the identity; not what the kernel had rewritten before the wire
 * tuple's address went. */
static bool bears(const struct hold_packet *h, const struct tuple *wire)
{
	struct tuple t;
	struct pkt pkt;
	enum pkt_result r = pkt_parse(h->data, h->len, &pkt);

	if (r != PKT_OK && r != PKT_FIRST_FRAGMENT)
		return false;
	t = pkt_tuple_out(&pkt);
	return tuple_equal(&t, wire);
}

static struct hold_packet *next_held(struct daemon *d, struct flow *f)
{
	return f->transit ? hold_pop(&d->hold, &f->transit->held) : NULL;
}

static bool is_gone(struct daemon *d, const struct addr *local)
{
	if (rtmon_usable(d->rtmon, local))
		rtmon_receive(d->rtmon);
	return !rtmon_usable(d->rtmon, local);
}

/* The maps ask before they write a source; what is rewritten here is sent
 * whatever has become of it. What is heard now changes no flow. */
static bool is_source_gone(struct daemon *d, const struct tuple *wire)
{
	bool gone;

	d->steps++;
	gone = is_gone(d, &wire->local.addr);
	d->steps--;
	return gone;
}

void divert_release(struct daemon *d, struct flow *f,
		    struct divert_released *r)
{
	struct tuple wire = flow_wire_tuple(f);
	bool plain = !flow_is_moved(f);
	bool gone = is_source_gone(d, &wire);
	struct hold_packet *h;

	while ((h = next_held(d, f))) {
		struct pktq *q = queue_of(d, h);
		bool late = r->late && h->kind != HOLD_ANY;
		uint32_t mark = h->mark ^ d->conf->mark;

		COUNT(d, PKT_RELEASED);
		if (h->kind == HOLD_SEGMENT)
			f->transit->stale = false;
		if (gone)
			drop(d, q, h->id);
		else if (plain && !late && bears(h, &wire))
			accept_rerouted(d, q, h->id, h->mark);
		else if (rewrite_out(d, f, h->data, h->len, h->csum, late))
			drop(d, q, h->id);
		else /* see accept_rerouted() */
			pktq_accept_payload(q, h->id, h->data, h->len,
					    plain ? &mark : NULL);
		r->spent[r->n++] = h;
		if (r->n == DIVERT_RELEASE_BATCH)
			release_flush(d, r);
	}
}

void divert_released(struct daemon *d, struct divert_released *r)
{
	release_flush(d, r);
}

static void drop_stale(struct daemon *d, struct hold_list *stale)
{
	struct hold_packet *h;

	if (STAILQ_EMPTY(stale))
		return;
	while ((h = STAILQ_FIRST(stale))) {
		STAILQ_REMOVE_HEAD(stale, entry);
		drop(d, queue_of(d, h), h->id);
		COUNT(d, PKT_HOLD_STALE);
		free(h);
	}
	flush_held(d);
}

bool divert_drop_stale(struct daemon *d, struct flow *f, uint64_t before_ms,
		       bool first)
{
	struct hold_list stale = STAILQ_HEAD_INITIALIZER(stale);
	bool segment = hold_take_stale(&d->hold, &f->transit->held, before_ms,
				       first, &stale);

	drop_stale(d, &stale);
	return segment;
}

bool divert_drop_old(struct daemon *d, struct flow *f, uint64_t before_ms,
		     uint64_t segments_ms)
{
	struct hold_list old = STAILQ_HEAD_INITIALIZER(old);
	bool segment = hold_take_old(&d->hold, &f->transit->held, before_ms,
				     segments_ms, &old);

	drop_stale(d, &old);
	return segment;
}

/*
 * Who removes a device waits until no packet in a queue was to leave by it any
 * more (nf_queue_entry_get_refs()), and would wait for as long as we hold one.
 * The kernel gives them up itself when the device goes down (nfqnl_dev_drop()),
 * and then others come to the queue that were on their way.
 */
static void drop_link(struct daemon *d, struct flow *f, uint32_t ifindex)
{
	struct hold_list gone = STAILQ_HEAD_INITIALIZER(gone);
	struct hold_packet *h;

	if (hold_take_link(&d->hold, &f->transit->held, ifindex, &gone))
		f->transit->stale = true;
	while ((h = STAILQ_FIRST(&gone))) {
		STAILQ_REMOVE_HEAD(&gone, entry);
		drop(d, queue_of(d, h), h->id);
		COUNT(d, PKT_HOLD_DROPPED);
		free(h);
	}
}

void divert_drop_link(struct daemon *d, uint32_t ifindex)
{
	struct hold_flow *h, *next;

	for (h = LIST_FIRST(&d->hold.waiting); h; h = next) {
		next = LIST_NEXT(h, in_waiting);
		drop_link(d, h->owner, ifindex);
	}
	flush_held(d);
}

void divert_drop_held(struct daemon *d, struct flow *f)
{
	struct hold_packet *h;

	while ((h = next_held(d, f))) {
		drop(d, queue_of(d, h), h->id);
		free(h);
	}
	flush_held(d);
}

/* Before a packet passes: perhaps the address that it is sent by is gone from
 * its interface, and the routing socket has not been read yet (the kernel
 * tells before the tripwire can see it). Hearing it may end flows. */
static struct flow *look_again(struct daemon *d, const struct flow *f)
{
	const struct tuple identity = f->identity;
	const struct tuple wire = flow_wire_tuple(f);

	if (rtmon_usable(d->rtmon, &wire.local.addr))
		rtmon_receive(d->rtmon);
	return flow_find(&d->flows, &identity);
}

static void out_of_flow(struct daemon *d, struct flow *f, struct pktq *q,
			struct pktq_packet *p, const struct pkt *pkt)
{
	struct tuple sent = pkt_tuple_out(pkt);
	uint64_t now_ms = loop_now_ms();
	struct tuple wire;

	if (!f->hold) {
		f = look_again(d, f);
		if (!f || !f->protected) {
			drop(d, q, p->id);
			return;
		}
	}
	note_queued(f, now_ms);
	if (pkt->proto == IPPROTO_UDP)
		f->sent_ms = now_ms;
	if (f->hold) {
		wake_note(d, f, pkt, now_ms);
		trial_note(f, pkt, p->data, now_ms);
		watch_note(d, f, pkt, p->data, now_ms);
		unheard_look(d, f, now_ms);
		hold_packet(d, f, q, p, pkt);
		return;
	}
	wire = flow_wire_tuple(f);
	if (tuple_equal(&wire, &sent)) {
		if (rtmon_usable(d->rtmon, &wire.local.addr)) {
			COUNT(d, PKT_PASSED);
			pass_plain(d, f, q, p, pkt);
		} else {
			drop(d, q, p->id);
		}
		return;
	}
	/* Heard in a step: it is not held before that is over. */
	if (p->full_len > p->len ||
	    (d->steps && !rtmon_usable(d->rtmon, &wire.local.addr)) ||
	    rewrite_out(d, f, p->data, p->len, p->csum, false))
		drop(d, q, p->id);
	else
		pktq_accept_payload(q, p->id, p->data, p->len, NULL);
}

/* Of what the kernel had rewritten to a wire tuple nothing begins a
 * connection, and no socket is there. One that is may go on sending from an
 * address that is gone (IPv6): that is not the flow's. */
static bool is_of_another(struct daemon *d, const struct tuple *tuple,
			  const struct pkt *pkt)
{
	if (tuple->proto == IPPROTO_TCP)
		return pkt->tcp_flags & PKT_TCP_SYN;
	/* One that is not connected is bound there; the flow's own is bound to
	 * the address that it began with. */
	return flow_find(&d->flows, tuple) ||
	       !sockdiag_lookup(d->sockdiag, tuple, 0, NULL) ||
	       sockdiag_port_taken(tuple->proto, &tuple->local.addr,
				   tuple->local.port);
}

/* Rewritten already: it was on its way through the old table when the new one
 * came, or in a queue when a hook appeared before it. */
static bool passes_again(struct daemon *d, const struct flow *f,
			 const struct tuple *tuple, const struct pkt *pkt)
{
	struct tuple wire = flow_wire_tuple(f);

	return !f->hold && tuple_equal(&wire, tuple) &&
	       !is_of_another(d, tuple, pkt);
}

/* Our stack answers so to a packet on the wire tuple that nobody translated:
 * it was between two hooks when one table took another's place. The flow's own
 * socket lives, and resets nothing. */
static bool is_answer_to_a_stray(const struct flow *f,
				 const struct tuple *tuple,
				 const struct pkt *pkt)
{
	return (pkt->tcp_flags & PKT_TCP_RST) && !f->ended &&
	       !tuple_equal(&f->identity, tuple);
}

/* A nonce goes by the tuple that it was made for. What only looks like one is a
 * packet like others, where it can be a flow's. */
static bool out_of_trial(struct daemon *d, struct pktq *q,
			 struct pktq_packet *p, const struct pkt *pkt)
{
	const uint8_t *mac = nonce_find(pkt, p->data);
	struct tuple tuple = pkt_tuple_out(pkt);

	if (!mac)
		return false;
	if (watch_is_ours(d, &tuple, mac) ||
	    trial_is_ours(d, &tuple, pkt, p->data, mac))
		pktq_accept(q, p->id, NULL);
	else if (flow_find_wire(&d->flows, &tuple))
		drop(d, q, p->id);
	else
		return false;
	return true;
}

void divert_packet_out(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	struct daemon *d = ctx;
	struct tuple tuple;
	struct flow *f;
	struct pkt pkt;
	enum pkt_result r;
	bool gone = false;

	COUNT(d, PKT_QUEUED);
	r = pkt_parse(p->data, p->len, &pkt);
	if (r != PKT_OK && r != PKT_FIRST_FRAGMENT) {
		COUNT(d, PKT_MALFORMED);
		drop(d, q, p->id);
		return;
	}
	if (out_of_trial(d, q, p, &pkt))
		return;
	tuple = pkt_tuple_out(&pkt);
	f = flow_find(&d->flows, &tuple);
	if (f && f->protected) {
		out_of_flow(d, f, q, p, &pkt);
		return;
	}
	if (flow_wire_is_quiet(&d->flows, &tuple) && !f &&
	    pkt.tcp_flags & PKT_TCP_RST) {
		COUNT(d, RST_KEPT_BACK);
		drop(d, q, p->id);
		return;
	}
	f = flow_find_wire(&d->flows, &tuple);
	if (f) {
		gone = is_gone(d, &tuple.local.addr);
		f = flow_find_wire(&d->flows, &tuple); /* hearing may end it */
	}
	if (gone) {
		/* The kernel had rewritten it to a source that is gone. */
		if (f && f->protected && !is_of_another(d, &tuple, &pkt))
			out_of_flow(d, f, q, p, &pkt);
		else
			drop(d, q, p->id);
		return;
	}
	if (f && is_answer_to_a_stray(f, &tuple, &pkt)) {
		drop(d, q, p->id);
		return;
	}
	if (f && passes_again(d, f, &tuple, &pkt)) {
		COUNT(d, PKT_PASSED);
		accept_plain(d, q, p, &tuple.local.addr);
		return;
	}
	if (f && divert_cede(d, f, &tuple, loop_now_ms())) {
		COUNT(d, PKT_PASSED);
		accept_plain(d, q, p, &tuple.local.addr);
		handover_yield_ports(d, f, &tuple, loop_now_ms());
		return;
	}
	if (f) {
		/* A new connection of ours wants this wire tuple. It asks
		 * again; meanwhile the moved flow takes another port. */
		REFUSED(d, TUPLE_TAKEN);
		handover_yield_ports(d, f, &tuple, loop_now_ms());
		drop(d, q, p->id);
		return;
	}
	/* Steered a moment ago, and not any more. */
	if (rtmon_usable(d->rtmon, &tuple.local.addr)) {
		COUNT(d, PKT_PASSED);
		accept_plain(d, q, p, &tuple.local.addr);
		return;
	}
	drop(d, q, p->id);
}

/* While the peer has not agreed to our new locator, somebody else's RST or
 * ICMP error there must not reach the socket (sacip(7), ASKED); nor what a nonce
 * may draw where we are and no flow is carried. */
static bool is_asked_end(const struct flow *f, const struct addr *local)
{
	const struct track *t = track_of(f, FLOW_OURS);
	const struct locator *target;

	if (!t)
		return false;
	if (t->mover.trying && t->mover.again)
		return addr_equal(&t->mover.target.addr, local);
	target = mover_target(&t->mover);
	return t->mover.state == MOVER_ASKED && target &&
	       addr_equal(&target->addr, local) &&
	       !addr_equal(&mover_locator(&t->mover)->addr, local);
}

/* The peer wants to be there, or asks whether its flows are carried. */
static bool is_tried_end(const struct flow *f, const struct addr *remote)
{
	const struct track *t = track_of(f, FLOW_THEIRS);

	if (!t)
		return false;
	if (t->follower.state != FOLLOWER_OFFERED)
		return addr_equal(&t->follower.sending.addr, remote);
	return addr_equal(&t->follower.offer.addr, remote) &&
	       !addr_equal(&t->follower.sending.addr, remote);
}

static void in_icmp(struct daemon *d, struct pktq *q, struct pktq_packet *p,
		    struct pkt *pkt)
{
	struct tuple quoted = pkt_tuple_quoted(pkt);
	struct flow *f = flow_find_wire(&d->flows, &quoted);
	struct rewrite_target to;

	if (!f) {
		COUNT(d, PKT_PASSED);
		pktq_accept(q, p->id, NULL);
		return;
	}
	if (is_asked_end(f, &quoted.local.addr) ||
	    (is_tried_end(f, &quoted.remote.addr) &&
	     trial_may_be_rejected(f, loop_now_ms()))) {
		COUNT(d, ICMP_RST_DROPPED_WHILE_ASKED);
		drop(d, q, p->id);
		return;
	}
	to = rewrite_target_out(&f->identity);
	if (p->full_len > p->len ||
	    rewrite_icmp_quote(pkt, p->data, &to, p->csum)) {
		COUNT(d, PKT_MALFORMED);
		drop(d, q, p->id);
		return;
	}
	COUNT(d, ICMP_TRANSLATED);
	pktq_accept_payload(q, p->id, p->data, p->len, NULL);
}

static void in_of_flow(struct daemon *d, struct flow *f, struct pktq *q,
		       struct pktq_packet *p, struct pkt *pkt)
{
	struct rewrite_target to = rewrite_target_in(&f->identity);
	uint32_t mark = p->mark | d->conf->mark;
	bool offered = is_tried_end(f, &pkt->src.addr);

	if ((pkt->tcp_flags & (PKT_TCP_SYN | PKT_TCP_ACK)) == PKT_TCP_SYN) {
		const struct tuple wire = pkt_tuple_in(pkt);

		/* Nobody has shown to be there but who sends it. */
		if (divert_cede(d, f, &wire, loop_now_ms())) {
			COUNT(d, PKT_PASSED);
			pktq_accept(q, p->id, NULL);
			return;
		}
		COUNT(d, PKT_STRANGER_SYN);
		drop(d, q, p->id);
		return;
	}
	if ((pkt->tcp_flags & PKT_TCP_RST) &&
	    (is_asked_end(f, &pkt->dst.addr) ||
	     (offered && trial_may_be_rejected(f, loop_now_ms())))) {
		COUNT(d, ICMP_RST_DROPPED_WHILE_ASKED);
		drop(d, q, p->id);
		return;
	}
	if (offered)
		trial_heard(f);
	note_queued(f, loop_now_ms());
	note_rewritten(f, FLOW_THEIRS, p->len);
	if (p->full_len > p->len || rewrite_packet(pkt, p->data, &to, p->csum)) {
		COUNT(d, PKT_MALFORMED);
		drop(d, q, p->id);
		return;
	}
	COUNT(d, PKT_REWRITTEN_IN);
	pktq_accept_payload(q, p->id, p->data, p->len, &mark);
}

/* What looks like a nonce comes from where nothing is translated: it goes on as
 * it would have without the look. The rules only take what comes on a flow: where
 * there is none any more, another socket may be, which must not read it. */
static void in_like_nonce(struct daemon *d, const struct flow *f,
			  struct pktq *q, struct pktq_packet *p)
{
	if (!f || f->steered & (1u << FLOW_STEER_DROP)) {
		drop(d, q, p->id);
		return;
	}
	COUNT(d, PKT_PASSED);
	pktq_accept(q, p->id, NULL);
}

/* It is not the flow's, or comes too late. A datagram that nobody here would
 * have is answered by ICMP, which is no RST that could be kept back. */
static bool is_passed_quiet(struct daemon *d, const struct tuple *t)
{
	const unsigned int port = t->local.port;

	return t->proto == IPPROTO_TCP || flow_find(&d->flows, t) ||
	       d->unconnected[t->local.addr.family == 6][port / 8] &
		       (1u << port % 8) ||
	       !sockdiag_lookup(d->sockdiag, t, 0, NULL);
}

static void in_quiet(struct daemon *d, struct pktq *q, struct pktq_packet *p,
		     const struct tuple *tuple)
{
	if (!is_passed_quiet(d, tuple)) {
		drop(d, q, p->id);
		return;
	}
	COUNT(d, PKT_PASSED);
	pktq_accept(q, p->id, NULL);
}

void divert_packet_in(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	struct daemon *d = ctx;
	const uint8_t *mac;
	struct tuple tuple;
	struct flow *f;
	struct pkt pkt;
	enum pkt_result r;

	COUNT(d, PKT_QUEUED);
	r = pkt_parse(p->data, p->len, &pkt);
	switch (r) {
	case PKT_OK:
	case PKT_FIRST_FRAGMENT:
		break;
	case PKT_ICMP_ERROR:
		in_icmp(d, q, p, &pkt);
		return;
	case PKT_OTHER:
		COUNT(d, PKT_PASSED);
		pktq_accept(q, p->id, NULL);
		return;
	default:
		COUNT(d, PKT_MALFORMED);
		drop(d, q, p->id);
		return;
	}
	tuple = pkt_tuple_in(&pkt);
	mac = nonce_find(&pkt, p->data);
	if (mac && (watch_take(d, &tuple, &pkt, p->data, mac) ||
		    trial_take(d, &tuple, &pkt, p->data, mac) ||
		    watch_is_late(d, &tuple))) {
		pktq_drop(q, p->id);
		return;
	}
	f = flow_find_wire(&d->flows, &tuple);
	if (f) {
		in_of_flow(d, f, q, p, &pkt);
		return;
	}
	if (flow_wire_is_quiet(&d->flows, &tuple)) {
		in_quiet(d, q, p, &tuple);
		return;
	}
	/* Of what is no flow's: steered a moment ago, never untranslated. */
	in_like_nonce(d, flow_find(&d->flows, &tuple), q, p);
}
