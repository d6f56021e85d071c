/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * discover: from the kernel's sockets to flows, and from flows to owners.
 *
 * Owns the life of every flow: seen in a dump, claimed when it is old enough
 * and policy wants it, ended with its socket. Never moves or steers one.
 */
#include "daemon.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

/* From this age on both ends' timers fire together, and one may be the better
 * (sacip(7), "Crossing"); a shorter one is set by who wants it at once. */
#define YIELD_FROM_S 4
#define FRESH_MS 10 /* a dump so young will do */
#define LATER_MS 50 /* after a handover has begun */
#define TURNS_MS 500ull /* between rounds of the keys at an address, doubling */
#define DUMP_LOAD 20 /* dumps take at most one part in so many of a core */

struct remote *discover_remote(const struct daemon *d,
			       const struct addr *remote)
{
	return index_find(&d->remotes, remote);
}

static struct addr source_addr(const struct addr *remote)
{
	struct addr a = *remote;

	if (a.family == 6)
		memset(a.byte + 8, 0, 8);
	return a;
}

struct log_share *discover_lines(struct daemon *d, const struct addr *remote,
				 bool named)
{
	const struct addr at = source_addr(remote);
	struct remote *r = discover_remote(d, remote);
	struct source *s = index_find(&d->sources, &at);

	if (named && r)
		return &r->lines;
	return !named && s ? &s->lines : &d->elsewhere[named];
}

static int source_use(struct daemon *d, const struct addr *remote)
{
	const struct addr at = source_addr(remote);
	struct source *s = index_find(&d->sources, &at);

	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return -ENOMEM;
		s->addr = at;
		if (index_add(&d->sources, s)) {
			free(s);
			return -ENOMEM;
		}
	}
	s->flows++;
	return 0;
}

static void source_unuse(struct daemon *d, const struct addr *remote)
{
	const struct addr at = source_addr(remote);
	struct source *s = index_find(&d->sources, &at);

	if (!s || --s->flows)
		return;
	if (s->unheld == d->counters.value[COUNTER_DUMPS])
		d->dump_sure = false;
	index_remove(&d->sources, s);
	free(s);
}

/* Who opens connections without end at us keeps none of others' from the
 * table, and none of those that are configured or were taken up. */
static bool has_room(struct daemon *d, const struct tuple *t)
{
	const struct addr at = source_addr(&t->remote.addr);
	const struct source *s = index_find(&d->sources, &at);
	const struct share has = {
		.used = s ? s->flows : 0,
		.chosen = !d->conf->peers.n,
	};
	struct share_pool pool;

	share_pool_init(&pool, d->flows.max_flows);
	pool.used = d->flows.by_identity.n;
	if (share_ask(&pool, &has, 1) != SHARE_ITS_OWN ||
	    conf_find_peer_by_addr(d->conf, &t->remote.addr) ||
	    adopt_book_flow(d, t))
		return true;
	COUNT(d, FLOWS_FULL);
	return false;
}

/* Its tuple may be wanted for a flow to the same remote, and for no other. */
static void leave_out(struct daemon *d, const struct addr *remote)
{
	const struct addr at = source_addr(remote);
	struct source *s = index_find(&d->sources, &at);

	if (s)
		s->unheld = d->counters.value[COUNTER_DUMPS];
	else
		d->unheld = true;
}

bool discover_is_unheld(const struct daemon *d, const struct addr *remote)
{
	const struct addr at = source_addr(remote);
	const struct source *s = index_find(&d->sources, &at);

	return s && s->unheld == d->counters.value[COUNTER_DUMPS];
}

static int remote_use(struct daemon *d, const struct addr *remote)
{
	struct remote *r = discover_remote(d, remote);

	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return -ENOMEM;
		r->addr = *remote;
		r->reason = REASON_NO_PEER;
		if (index_add(&d->remotes, r)) {
			free(r);
			return -ENOMEM;
		}
	}
	if (source_use(d, remote)) {
		if (r->uses == 0) {
			index_remove(&d->remotes, r);
			free(r);
		}
		return -ENOMEM;
	}
	r->uses++;
	return 0;
}

static void remote_unuse(struct daemon *d, const struct addr *remote)
{
	struct remote *r = discover_remote(d, remote);

	source_unuse(d, remote);
	if (!r || --r->uses)
		return;
	index_remove(&d->remotes, r);
	free(r);
}

void discover_init(struct daemon *d, const uint8_t seed[CRYPTO_SHORT_KEY_SIZE])
{
	index_init(&d->remotes, offsetof(struct remote, by_addr),
		   offsetof(struct remote, addr), sizeof(struct addr), seed);
	index_init(&d->sources, offsetof(struct source, by_addr),
		   offsetof(struct source, addr), sizeof(struct addr), seed);
}

void discover_free(struct daemon *d)
{
	struct flow *f;

	for (f = flow_first(&d->flows); f; f = flow_next(f))
		remote_unuse(d, &f->identity.remote.addr);
	index_free(&d->remotes);
	index_free(&d->sources);
}

/* Counts, for who asks from there (on_may_answer()). */
static void set_willing(struct daemon *d, struct flow *f, bool willing)
{
	struct remote *u = discover_remote(d, &f->identity.remote.addr);

	if (f->willing == willing || !u)
		return;
	f->willing = willing;
	if (willing)
		u->willing++;
	else
		u->willing--;
}

enum reason discover_policy(const struct daemon *d, const struct flow *f)
{
	const struct addr *local = &f->identity.local.addr;
	const struct addr *remote = &f->identity.remote.addr;
	enum addr_class class = addr_classify(remote);

	if (class == ADDR_LOOPBACK || addr_classify(local) == ADDR_LOOPBACK ||
	    (!f->protected && rtmon_is_own(d->rtmon, remote)))
		return REASON_LOOPBACK;
	if (class == ADDR_MULTICAST || class == ADDR_BROADCAST ||
	    rtmon_is_broadcast(d->rtmon, remote))
		return REASON_MULTICAST;
	if (class == ADDR_LINK_LOCAL || addr_classify(local) == ADDR_LINK_LOCAL)
		return REASON_LINK_LOCAL;
	if (f->bound)
		return REASON_BOUND;
	if (f->mptcp)
		return REASON_MPTCP;
	if (f->md5)
		return REASON_TCP_MD5;
	if (!conf_flow_allowed(d->conf, &f->identity))
		return REASON_POLICY;
	return REASON_NONE;
}

/* ---- ends --------------------------------------------------------------- */

void discover_remove(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	track_leave(d, f, now_ms);
	divert_drop_held(d, f);
	assoc_touch_claim(&f->claim);
	claim_drop(&f->claim);
	assoc_own(f, NULL);
	set_willing(d, f, false);
	remote_unuse(d, &f->identity.remote.addr);
	report_flow_event(d, f, "ended", "");
	flow_remove(&d->flows, f);
}

void discover_end(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	if (f->ended)
		return;
	f->ended = true;
	f->cookie = 0;
	f->reason = REASON_ENDED;
	set_willing(d, f, false);
	assoc_touch_claim(&f->claim);
	track_detach(d, f, now_ms);
	if (claim_end(&f->claim, now_ms))
		discover_remove(d, f, now_ms);
}

void discover_destroyed(const struct sockdiag_entry *e, void *ctx)
{
	struct daemon *d = ctx;
	struct flow *f = flow_find(&d->flows, &e->tuple);

	if (!f || f->ended || (f->cookie && f->cookie != e->cookie))
		return;
	/* FIN_WAIT2 and TIME_WAIT live on without a socket. */
	if (sockdiag_lookup(d->sockdiag, &e->tuple, 0, NULL) == -ENOENT)
		discover_end(d, f, loop_now_ms());
}

/* ---- dump --------------------------------------------------------------- */

void discover_note_sent(struct flow *f, const struct sockdiag_entry *e,
			uint64_t now_ms)
{
	const uint32_t ago_ms = e->info.last_data_sent_ms;

	if (f->identity.proto == IPPROTO_TCP)
		f->sent_ms = ago_ms < now_ms ? now_ms - ago_ms : 0;
}

static void update(struct flow *f, const struct sockdiag_entry *e,
		   uint64_t now_ms)
{
	f->seen = true;
	f->state = e->tcp_state;
	if (e->state == SOCKDIAG_TIME_WAIT)
		return; /* has neither owner nor mark any more */
	f->cookie = e->cookie;
	f->uid = e->uid;
	f->mark = e->mark;
	f->bound = e->ifindex != 0;
	f->mptcp = e->mptcp;
	f->md5 = e->md5;
	f->received_ms = now_ms - e->info.last_data_recv_ms;
	discover_note_sent(f, e, now_ms);
	unheard_note(f, e, now_ms);
}

static bool is_another_socket(const struct flow *f,
			      const struct sockdiag_entry *e)
{
	if (e->state != SOCKDIAG_OPEN)
		return false;
	return f->ended || (f->cookie && f->cookie != e->cookie);
}

/* A wire tuple of a flow, which nobody knew to be another's. What the flow is
 * sent by takes another port: discover_dump(). */
static void clash(struct daemon *d, const struct tuple *t, uint64_t now_ms)
{
	struct flow *f = flow_find_wire(&d->flows, t);
	struct tuple wire;

	if (!f)
		return;
	wire = flow_wire_tuple(f);
	f->clashes = divert_cede(d, f, t, now_ms) || f->clashes ||
		     tuple_equal(&wire, t);
}

/* What the flow is sent by, or shall be: has another socket that? */
static bool is_wanted(struct daemon *d, const struct flow *f,
		      struct tuple *wire)
{
	const struct track *t = track_of(f, FLOW_OURS);
	const struct locator *to = t ? mover_target(&t->mover) : NULL;

	*wire = flow_wire_tuple(f);
	if (flow_is_moved(f) &&
	    sockdiag_lookup(d->sockdiag, wire, 0, NULL) != -ENOENT)
		return true;
	if (!to)
		return false;
	wire->local.addr = to->addr;
	wire->local.port = flow_port(f, FLOW_OURS, to->ports);
	return !tuple_equal(wire, &f->identity) &&
	       sockdiag_lookup(d->sockdiag, wire, 0, NULL) != -ENOENT;
}

/* A flow that another socket's tuple is in the way of. */
static void evade(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	struct tuple wire;

	if (is_wanted(d, f, &wire)) {
		handover_yield_ports(d, f, &wire, now_ms);
		return;
	}
	f->clashes = false;
	if (!flow_is_ceded(f))
		return;
	flow_take_back(f, true);
	(void)divert_flow(d, f, now_ms);
}

/* A socket that is new to us. */
static int enter(struct daemon *d, const struct sockdiag_entry *e,
		 uint64_t now_ms)
{
	const struct rtmon_address *own =
		rtmon_find(d->rtmon, &e->tuple.local.addr);
	struct flow *f;

	clash(d, &e->tuple, now_ms);
	if (!has_room(d, &e->tuple)) {
		leave_out(d, &e->tuple.remote.addr);
		return 0;
	}
	if (remote_use(d, &e->tuple.remote.addr)) {
		d->unheld = true;
		return -ENOMEM;
	}
	/* Not now: who reviews it goes by the time at which this dump began. */
	f = flow_add(&d->flows, &e->tuple, d->dumped_ms);
	if (!f) {
		d->unheld = true;
		remote_unuse(d, &e->tuple.remote.addr);
		return 0;
	}
	if (flow_tombstone_lift(&d->flows, &f->identity))
		divert_undrop(d, &f->identity);
	claim_init(&f->claim, &f->identity, 0);
	wake_begin(d, f);
	f->preferred = own && !own->deprecated;
	update(f, e, now_ms);
	report_flow_event(d, f, "tracked", "");
	return 0;
}

static int on_entry(const struct sockdiag_entry *e, void *arg)
{
	struct daemon *d = arg;
	uint64_t now_ms = loop_now_ms();
	unsigned int port = e->tuple.local.port;
	struct flow *f;

	if (e->state == SOCKDIAG_UNCONNECTED) {
		for (int six = 0; six < 2; six++)
			if (e->tuple.local.addr.family == 0 ||
			    (e->tuple.local.addr.family == 6) == six)
				d->unconnected[six][port / 8] |=
					(uint8_t)(1u << port % 8);
		return 0;
	}
	if (e->state == SOCKDIAG_YOUNG ||
	    !addr_is_set(&e->tuple.local.addr))
		return 0;
	f = flow_find(&d->flows, &e->tuple);
	if (f && is_another_socket(f, e)) {
		f->replaced = true;
		return 0;
	}
	if (f) {
		update(f, e, now_ms);
		return 0;
	}
	if (e->state != SOCKDIAG_OPEN && !adopt_wants(d, e))
		return 0;
	return enter(d, e, now_ms);
}

/* Another socket has its tuple. Its own may have it as well (SO_REUSEPORT), and
 * then it comes in the same dump. */
static bool replace(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	const struct tuple t = f->identity;
	bool replaced = f->replaced && (f->ended || !f->seen);
	struct sockdiag_entry e;

	f->replaced = false;
	if (!replaced || sockdiag_lookup(d->sockdiag, &t, 0, &e) ||
	    !is_another_socket(f, &e))
		return false;
	discover_remove(d, f, now_ms);
	(void)enter(d, &e, now_ms); /* what it lacks is counted */
	f = flow_find(&d->flows, &t);
	if (f)
		f->seen = false;
	return true;
}

int discover_dump(struct daemon *d, uint64_t now_ms)
{
	bool ends_matter = false;
	uint64_t took_ms;
	struct flow *f;
	struct flow *next;
	int err;

	d->dumped_ms = now_ms;
	memset(d->unconnected, 0, sizeof(d->unconnected));
	d->unheld = false;
	COUNT(d, DUMPS);
	/* INFO: the kernel tells of MPTCP and MD5 with nothing less. */
	err = sockdiag_dump(d->sockdiag,
			    SOCKDIAG_TCP | SOCKDIAG_UDP | SOCKDIAG_INFO,
			    on_entry, d);
	d->dump_sure = !err && !d->unheld;
	d->dump_took_ms = loop_now_ms() - now_ms;
	took_ms = d->dump_took_ms * DUMP_LOAD;
	d->dump_ms = now_ms + (took_ms > DUMP_INTERVAL_MS ? took_ms :
							    DUMP_INTERVAL_MS);
	if (err) {
		log_warn(d->log, "socket dump: %s", strerror(-err));
		for (f = flow_first(&d->flows); f; f = flow_next(f))
			f->seen = false;
		return err;
	}
	for (f = flow_first(&d->flows); f; f = next) {
		next = flow_next(f);
		if (replace(d, f, now_ms))
			continue;
		ends_matter = ends_matter || !flow_is_plain(f) || f->hold;
		if (f->clashes && !f->ended)
			evade(d, f, now_ms);
		if (f->seen || f->ended) {
			f->seen = false;
			continue;
		}
		if (sockdiag_lookup(d->sockdiag, &f->identity, 0, NULL) ==
		    -ENOENT)
			discover_end(d, f, now_ms);
	}
	/* The end of others is soon enough known by the next dump. */
	if (!ends_matter && d->hearing && !sockdiag_listen(d->sockdiag, false))
		d->hearing = false;
	return 0;
}

int discover_hear_ends(struct daemon *d, uint64_t now_ms)
{
	int err;

	if (d->hearing)
		return 0;
	err = sockdiag_listen(d->sockdiag, true);
	if (err)
		return err;
	d->hearing = true;
	/* What has ended before is not told. */
	if (d->dump_ms > now_ms + LATER_MS)
		d->dump_ms = now_ms + LATER_MS;
	return 0;
}

void discover_soon(struct daemon *d)
{
	uint64_t pause_ms = d->dump_took_ms * DUMP_LOAD;
	uint64_t at_ms = d->dumped_ms +
			 (pause_ms > LATER_MS ? pause_ms : LATER_MS);

	if (at_ms < d->dump_ms)
		d->dump_ms = at_ms;
}

void discover_prepare(struct daemon *d, uint64_t now_ms)
{
	if (sockdiag_receive(d->sockdiag))
		discover_soon(d); /* what has ended since is not known */
	if (now_ms - d->dumped_ms >= FRESH_MS && d->dump_ms > now_ms + LATER_MS)
		d->dump_ms = now_ms + LATER_MS;
}

/* Who is known stays as he is: whoever asks has flows in his hands. */
static int on_entry_at(const struct sockdiag_entry *e, void *arg)
{
	struct daemon *d = arg;
	struct flow *f;
	int err;

	if (e->state != SOCKDIAG_OPEN || flow_find(&d->flows, &e->tuple))
		return 0;
	err = enter(d, e, loop_now_ms());
	f = err ? NULL : flow_find(&d->flows, &e->tuple);
	if (f)
		f->seen = false; /* in a dump: not yet */
	return err;
}

bool discover_at(struct daemon *d, unsigned int what, enum flow_side side,
		 const struct addr *a)
{
	struct looked *last = &d->looked[side];
	uint64_t now_ms = loop_now_ms();
	int err;

	if (now_ms - d->dumped_ms < FRESH_MS && d->dump_sure)
		return side == FLOW_OURS || !discover_is_unheld(d, a);
	if (now_ms - last->at_ms < FRESH_MS && !(what & ~last->what) &&
	    addr_equal(&last->addr, a))
		return last->sure;
	/* A peer may name one address after the other. */
	if (side == FLOW_THEIRS && now_ms < discover_rests_ms(d))
		return false;
	*last = (struct looked){ .addr = *a, .what = what, .at_ms = now_ms };
	d->unheld = false;
	err = sockdiag_dump_at(d->sockdiag, what | SOCKDIAG_INFO, a,
			       side == FLOW_THEIRS, on_entry_at, d);
	last->took_ms = loop_now_ms() - now_ms;
	last->sure = !err && !d->unheld &&
		     (side == FLOW_OURS || !discover_is_unheld(d, a));
	if (err)
		log_warn(d->log, "socket dump: %s", strerror(-err));
	return last->sure;
}

/* ---- review ------------------------------------------------------------- */

/* False: not wanted, or by an address that is gone: that reaches nobody, and the
 * attempt would keep one from an address that does from being made. */
static bool initiate(struct daemon *d, const struct flow *f, uint64_t now_ms,
		     unsigned int flags)
{
	const struct addr *remote = &f->identity.remote.addr;

	if (!conf_initiate_allowed(d->conf, remote) ||
	    !rtmon_find(d->rtmon, &f->identity.local.addr))
		return false;
	if (d->conf->long_lived_after_s >= YIELD_FROM_S)
		flags |= PEER_YIELD;
	peer_initiate(d->peers, now_ms, &f->identity.local.addr, remote,
		      flags);
	return true;
}

static void open_handshake(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	const struct remote *u =
		discover_remote(d, &f->identity.remote.addr);

	f->reason = REASON_NO_PEER;
	if (initiate(d, f, now_ms, 0) && u)
		f->reason = u->reason;
}

static void claim(struct daemon *d, struct flow *f, struct peer *p,
		  uint64_t now_ms)
{
	struct assoc *a = assoc_get(d, p);

	if (!a || a->forget || f->claim.state == CLAIM_WAITING ||
	    f->claim.state == CLAIM_WORKING)
		return;
	if (f->reserved && f->peer != p) {
		f->reason = REASON_FLOW_OWNED;
		return;
	}
	claim_set_track(&f->claim, now_ms, track_for(a, f));
	assoc_touch(a);
	switch (claim_start(a->claims, now_ms, &f->claim)) {
	case 0:
		if (f->reason == REASON_YOUNG || f->reason == REASON_NO_PEER ||
		    f->reason == REASON_POLICY)
			f->reason = REASON_RETRY;
		break;
	case -EBUSY:
		f->reason = REASON_FLOW_OWNED;
		break;
	case -ENOSPC:
		f->reason = REASON_LIMIT;
		break;
	default:
		break;
	}
}

/* Several keys may be at one address, and none of them keeps the flow from
 * another: what the first has not proved in a while the others are asked about
 * beside, in turn, and whoever has not been met there yet is called. After each
 * round there is a pause, longer each time. */
static void take_turns(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	unsigned int keys;
	struct assoc *a;
	struct peer *p;

	if (now_ms < f->turn_ms)
		return;
	p = peer_turn_at(d->peers, &f->identity.remote.addr, f->turn, &keys);
	if (!p)
		return;
	if (f->turn++ % keys == 0)
		f->turn_ms = now_ms + (TURNS_MS << (f->turn / keys < 6 ?
						    f->turn / keys : 6));
	if (f->turn == 1)
		return;
	(void)initiate(d, f, now_ms, PEER_OTHERS);
	a = assoc_get(d, p);
	if (a && !claim_start_beside(a->claims, now_ms, &f->claim))
		assoc_touch(a);
}

static void review(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	enum reason r = discover_policy(d, f);
	struct peer *p;

	set_willing(d, f, r == REASON_NONE);
	if (r != REASON_NONE) {
		f->reason = r;
		return;
	}
	if (now_ms - f->first_seen_ms <
	    (uint64_t)d->conf->long_lived_after_s * 1000) {
		f->reason = REASON_YOUNG;
		return;
	}
	if (now_ms < f->retry_ms)
		return;
	p = peer_find_addr(d->peers, &f->identity.remote.addr);
	if (f->reserved && peer_has_session(f->peer))
		p = f->peer; /* it is back, whoever was there last */
	if (p && peer_has_session(p))
		claim(d, f, p, now_ms);
	else
		open_handshake(d, f, now_ms);
	if (!f->reserved)
		take_turns(d, f, now_ms);
}

/* A flow that is protected is let go where policy forbids it by now, or where
 * its owner gave it up while it was away. */
static void review_owned(struct daemon *d, struct flow *f, bool policy,
			 uint64_t now_ms)
{
	enum reason r = policy ? discover_policy(d, f) : REASON_NONE;
	struct claim_table *claims = f->claim.table;

	if (policy)
		set_willing(d, f, r == REASON_NONE);
	if (!track_is_at_rest(d, f)) {
		d->policy = d->policy || r != REASON_NONE; /* later */
		return;
	}
	if (r != REASON_NONE) {
		assoc_touch_claim(&f->claim);
		assoc_let_go(d, f, now_ms, r);
		if (claims) /* so that the other end does as well */
			claim_table_announce(claims, now_ms);
	} else if (!f->group[FLOW_OURS]) {
		assoc_let_go(d, f, now_ms, f->reason);
	}
}

void discover_review(struct daemon *d, uint64_t now_ms)
{
	bool policy = d->policy;
	struct flow *f;
	struct flow *next;

	d->review_ms = 0;
	d->policy = false;
	for (f = flow_first(&d->flows); f; f = next) {
		next = flow_next(f);
		if (f->ended)
			continue;
		if (f->protected)
			review_owned(d, f, policy, now_ms);
		else
			review(d, f, now_ms);
	}
}
