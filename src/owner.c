/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * owner: what ownership (claim) asks of the daemon.
 *
 * Owns the answers: which path to a peer is good, which flow a tuple is, what
 * is translated on the way, who may see copies of its packets, by which tuple a
 * nonce goes; and what follows once a flow is confirmed or lost. Never sends by
 * itself.
 */
#include "daemon.h"

#include <errno.h>

static int on_send(void *arg, uint64_t now_ms, struct wire_message *m)
{
	return assoc_tell(arg, now_ms, m);
}

static void on_random(void *arg, void *to, size_t len)
{
	(void)arg;
	crypto_random(to, len);
}

static uint32_t on_pto_ms(void *arg)
{
	return assoc_pto_ms(arg);
}

static enum reason on_lookup(void *arg, uint64_t now_ms,
				const struct tuple *tuple, struct claim **c)
{
	struct assoc *a = arg;
	struct daemon *d = a->d;
	struct flow *f = flow_find(&d->flows, tuple);
	unsigned int port = tuple->local.port;
	enum reason r;

	(void)now_ms;
	if (!f) {
		const uint8_t *ports =
			d->unconnected[tuple->local.addr.family == 6];

		if (tuple->proto == IPPROTO_UDP &&
		    (ports[port / 8] & (1u << port % 8)))
			return REASON_UNCONNECTED;
		return REASON_UNKNOWN_FLOW;
	}
	if (f->ended)
		return REASON_ENDED;
	r = discover_policy(d, f);
	if (r != REASON_NONE)
		return r;
	if (f->reserved && f->peer != a->peer)
		return REASON_FLOW_OWNED;
	if (!f->protected && !f->claim.table)
		claim_set_track(&f->claim, now_ms, track_for(a, f));
	*c = &f->claim;
	return REASON_NONE;
}

/* Would our own host translate what leaves for this flow, or put it into IPsec?
 * NONE, NAT, RETRY (not known yet), TUNNEL. */
static enum reason ask_own_host(struct daemon *d, const struct flow *f,
				uint64_t now_ms)
{
	struct tuple wire = flow_wire_tuple(f);
	struct rtmon_query query = {
		.dst = wire.remote.addr,
		.src = wire.local.addr,
		.mark = f->mark,
		.uid = f->uid,
	};
	const struct rtmon_link *link;
	struct rtmon_route route;

	COUNT(d, ROUTE_LOOKUPS);
	if (rtmon_lookup(d->rtmon, &query, &route))
		return REASON_NONE;
	link = rtmon_link(d->rtmon, route.ifindex);
	if (!link)
		return REASON_NONE;
	if (!d->conf->leave_tunnel &&
	    ipsec_takes(d->ipsec, &wire, f->mark, link->ifindex))
		return REASON_TUNNEL;
	switch (natrules_match(d->natrules, &f->identity, f->mark,
			       link->ifindex, link->name, now_ms)) {
	case NATRULES_MAY:
		return REASON_NAT;
	case NATRULES_READING:
		return REASON_RETRY;
	case NATRULES_NONE:
		break;
	}
	return REASON_NONE;
}

/* By a route of type local alone, as clouds give a host the address of its load
 * balancer: nothing tells when it comes or goes, and it would be taken for one
 * that is gone. */
static bool is_only_routed_here(struct daemon *d, const struct addr *a)
{
	const struct rtmon_query query = { .dst = *a, .uid = (uint32_t)-1 };
	struct rtmon_route route;

	if (rtmon_is_own(d->rtmon, a))
		return false;
	COUNT(d, ROUTE_LOOKUPS);
	return !rtmon_lookup(d->rtmon, &query, &route) && route.local;
}

static bool is_met_at(const struct assoc *a, const struct addr *remote,
		      uint64_t now_ms)
{
	uint64_t ms = peer_remote_validated_ms(a->peer, remote);

	return ms && now_ms - ms < CLAIM_FRESH_MS;
}

static bool on_met(void *arg, uint64_t now_ms, const struct addr *remote)
{
	return is_met_at(arg, remote, now_ms);
}

/* A flow that is moved or held may be one whose peer has forgotten that, and is
 * at its identity address (PLACE_HOME): asked there too. */
static bool is_met_at_home(struct assoc *a, const struct flow *f,
			   const struct tuple *wire, uint64_t now_ms)
{
	const struct addr *home = &f->identity.remote.addr;

	if (!f->hold && addr_equal(home, &wire->remote.addr))
		return false; /* as it is there, or not */
	if (track_home_met(a, f, now_ms))
		return true;
	(void)peer_validate_path(a->peer, now_ms, &wire->local.addr, home);
	return false;
}

/* The peer has met us elsewhere only, maybe, and hears of no flow from an
 * address that it has not seen us at. */
static void show_address(struct assoc *a, const struct tuple *wire,
			 uint64_t now_ms)
{
	struct peer_path path;

	if (!peer_path_find(a->peer, &wire->local.addr, &wire->remote.addr,
			    &path))
		(void)peer_validate_path(a->peer, now_ms, &wire->local.addr,
					 &wire->remote.addr);
}

static enum reason on_path(void *arg, uint64_t now_ms, struct claim *c)
{
	struct assoc *a = arg;
	struct daemon *d = a->d;
	struct flow *f = flow_of_claim(c);
	struct tuple wire = flow_wire_tuple(f);
	struct peer_path path;
	enum reason own;
	int err;

	if (!f->protected && is_only_routed_here(d, &f->identity.local.addr))
		return REASON_LOCAL_ROUTE;
	if (peer_path_find(a->peer, &wire.local.addr, &wire.remote.addr,
			   &path) && path.nat)
		return REASON_NAT;
	own = ask_own_host(d, f, now_ms);
	if (own != REASON_NONE && own != REASON_RETRY)
		return own;
	if (is_met_at_home(a, f, &wire, now_ms))
		return own;
	if (is_met_at(a, &wire.remote.addr, now_ms)) {
		show_address(a, &wire, now_ms);
		return own;
	}
	err = peer_validate_path(a->peer, now_ms, &wire.local.addr,
				 &wire.remote.addr);
	/* An address at which this peer never spoke: its key decides. */
	if (err == -EACCES && conf_initiate_allowed(d->conf,
						    &wire.remote.addr))
		peer_initiate(d->peers, now_ms, &wire.local.addr,
			      &wire.remote.addr, 0);
	return REASON_RETRY;
}

static int on_watch(void *arg, struct claim *c, bool on, void **copies)
{
	struct assoc *a = arg;
	struct tuple wire = flow_wire_tuple(flow_of_claim(c));
	struct tap *tap;
	int err;

	if (!on) {
		tap_close(*copies);
		share_give(&a->d->tap_pool, &a->taps, 1);
		return 0;
	}
	/* Each may be between two addresses of its own. */
	if (share_take(&a->d->tap_pool, &a->taps, 1) != SHARE_TAKEN)
		return -ENOSPC;
	err = tap_open(a->d->taps, &tap, wire.proto, &wire.local.addr,
		       &wire.remote.addr);
	if (!err)
		*copies = tap;
	else
		share_give(&a->d->tap_pool, &a->taps, 1);
	return err;
}

static void on_poke(void *arg, struct claim *c, bool first)
{
	struct assoc *a = arg;

	if (first)
		wake_unheard(flow_of_claim(c));
	wake_poke(a->d, flow_of_claim(c));
}

static int on_expect(void *arg, uint64_t now_ms, struct claim *const *c,
		     unsigned int n)
{
	return divert_take_nonces(((struct assoc *)arg)->d, now_ms, c, n);
}

/* Where the peer may be: who has lost its memory is at home. Both are tried,
 * the more likely one first. */
static bool pick_tuple(struct assoc *a, const struct flow *f,
		       unsigned int attempt, uint64_t now_ms, struct tuple *at)
{
	const struct tuple wire = flow_wire_tuple(f);
	bool there = !f->hold && is_met_at(a, &wire.remote.addr, now_ms);
	bool home = !tuple_equal(&wire, &f->identity) &&
		    track_home_met(a, f, now_ms);

	*at = home && (!there || attempt % 2) ? f->identity : wire;
	return home || is_met_at(a, &wire.remote.addr, now_ms);
}

static int on_emit(void *arg, uint64_t now_ms, struct claim *c,
		   const struct tuple *at, unsigned int attempt,
		   const struct nonce_numbers *n,
		   const uint8_t nonce[WIRE_NONCE_SIZE])
{
	struct assoc *a = arg;
	const struct flow *f = flow_of_claim(c);
	uint8_t packet[NONCE_PACKET_MAX];
	struct tuple by;
	int ret;

	if (at) {
		by = *at;
		if (!is_met_at(a, &by.remote.addr, now_ms))
			return -EACCES;
	} else if (!pick_tuple(a, f, attempt, now_ms, &by)) {
		return -EACCES;
	}
	ret = nonce_build(&by, n, nonce, packet, sizeof(packet));
	return ret < 0 ? ret : tap_send(a->d->injector, packet, (size_t)ret,
					f->mark);
}

static void on_touch(void *arg)
{
	assoc_touch(arg);
}

static void on_place(void *arg, struct claim *c, struct wire_place *own)
{
	track_place(arg, flow_of_claim(c), own);
}

static enum place_answer on_judge(void *arg, uint64_t now_ms,
				  const struct claim *c,
				  const struct wire_place *peers, bool proved)
{
	return track_judge(arg, flow_of_claim((struct claim *)c), peers,
			   proved, now_ms);
}

static void on_confirmed(void *arg, uint64_t now_ms, struct claim *c)
{
	struct assoc *a = arg;
	struct flow *f = flow_of_claim(c);

	assoc_own(f, a->peer);
	track_enter(a->d, f, now_ms);
	assoc_renew(a, now_ms);
}

static void on_refused(void *arg, uint64_t now_ms, struct claim *c)
{
	struct assoc *a = arg;
	struct flow *f = flow_of_claim(c);

	(void)now_ms;
	if (f->reason != c->reason)
		report_flow_event(a->d, f, "refused", reason_name(c->reason));
	f->reason = c->reason;
}

static void on_retracked(void *arg, uint64_t now_ms, struct claim *c)
{
	struct assoc *a = arg;

	track_enter(a->d, flow_of_claim(c), now_ms);
}

/* Its moves would be followed by nobody. Where nothing is translated the flow
 * is as it was before, and perhaps the peer opens a socket there again; else
 * what is translated must be, to the end. */
static void on_ended_by_peer(void *arg, uint64_t now_ms, struct claim *c)
{
	struct assoc *a = arg;
	struct flow *f = flow_of_claim(c);

	if (track_assoc(f)) /* else it was done together with others */
		track_detach(a->d, f, now_ms);
	f->reason = c->reason;
	if (!f->protected || track_is_at_rest(a->d, f))
		assoc_let_go(a->d, f, now_ms, c->reason);
}

static void on_released(void *arg, uint64_t now_ms, struct claim *c)
{
	struct assoc *a = arg;

	discover_remove(a->d, flow_of_claim(c), now_ms);
}

static void on_left(void *arg, uint64_t now_ms, struct claim *c)
{
	assoc_forget(arg, flow_of_claim(c), now_ms);
}

static void on_leaving(void *arg, uint64_t now_ms, unsigned int n)
{
	assoc_leave(arg, now_ms, n);
}

/* Will nothing of it be steered when its event is over? */
static bool will_leave(const struct assoc *a, const struct claim *c,
		       const struct flow *f)
{
	if (c->state == CLAIM_ENDED)
		return true;
	if (c->confirmed && c->peer_ended)
		return flow_is_plain(f) &&
		       rtmon_usable(a->d->rtmon, &f->identity.local.addr);
	return assoc_forgets(a, f);
}

/* What each would do by itself, in two transactions: then nothing is left to be
 * done to the kernel. */
static void on_together(void *arg, uint64_t now_ms, struct claim *const *c,
			unsigned int n)
{
	struct flow *leave[CLAIM_PART], *detach[CLAIM_PART];
	unsigned int n_leave = 0, n_detach = 0;
	struct assoc *a = arg;

	for (unsigned int i = 0; i < n; i++) {
		struct flow *f = flow_of_claim(c[i]);

		if (will_leave(a, c[i], f))
			leave[n_leave++] = f;
		else if (c[i]->confirmed && c[i]->peer_ended)
			detach[n_detach++] = f;
	}
	track_leave_all(a->d, leave, n_leave, now_ms);
	track_detach_all(a->d, detach, n_detach, now_ms);
}

static void on_unanswered(void *arg, uint64_t now_ms)
{
	struct assoc *a = arg;
	struct peer_path path;

	if (assoc_best_path(a, &path))
		peer_rehandshake(a->peer, now_ms, &path.local.addr,
				 &path.remote.addr);
}

const struct claim_ops owner_claim_ops = {
	.send = on_send,
	.random = on_random,
	.pto_ms = on_pto_ms,
	.lookup = on_lookup,
	.met = on_met,
	.path = on_path,
	.watch = on_watch,
	.poke = on_poke,
	.expect = on_expect,
	.emit = on_emit,
	.touch = on_touch,
	.place = on_place,
	.judge = on_judge,
	.confirmed = on_confirmed,
	.refused = on_refused,
	.retracked = on_retracked,
	.ended_by_peer = on_ended_by_peer,
	.released = on_released,
	.left = on_left,
	.leaving = on_leaving,
	.together = on_together,
	.unanswered = on_unanswered,
};
