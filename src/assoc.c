/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * assoc: one peer as the daemon sees it.
 *
 * Owns the glue between sessions (peer) and the flows, SYNC, and for how long
 * what a peer owns waits for it when it has stopped. What ownership asks is
 * answered in owner. Never decides a move (handover), never
 * looks for sockets (discover).
 */
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SYNC_TRIES 6
#define GREET_MS 30000 /* the life of an urgent handshake */
#define MOVE_SIZE PEER_OWN_SIZE
#define ACCEPT_SIZE 160 /* a MOVE of our own fits beside it */
/* Sessions that come up together share a look at all flows, the more the more
 * there are: it takes 0.05 us for each. */
#define REVIEW_MS 5
#define REVIEW_PER_MS 1000

/* ---- life --------------------------------------------------------------- */

void assoc_own(struct flow *f, struct peer *p)
{
	struct peer *before = f->peer;
	struct assoc *a = before ? peer_user(before) : NULL;

	if (f->reserved && a) {
		a->n_reserved--;
		keep_flow_end(a->d, f);
	}
	f->reserved = false;
	f->peer = p;
	if (p)
		peer_flows_inc(p);
	if (before)
		peer_flows_dec(before);
}

void assoc_let_go(struct daemon *d, struct flow *f, uint64_t now_ms,
		  enum reason why)
{
	track_leave(d, f, now_ms);
	claim_drop(&f->claim);
	assoc_own(f, NULL);
	f->reason = why;
	report_flow_event(d, f, "released", reason_name(why));
}

static int enter_agendas(struct assoc *a)
{
	struct daemon *d = a->d;

	if (agenda_enter(&d->agenda[AGENDA_CLAIMS], a, d->n_assocs + 1))
		return -ENOMEM;
	if (!agenda_enter(&d->agenda[AGENDA_MOVES], a, d->n_assocs + 1))
		return 0;
	agenda_leave(&d->agenda[AGENDA_CLAIMS], a);
	return -ENOMEM;
}

/* Where none is configured nothing is kept for those that are. */
static void choose(struct assoc *a)
{
	bool chosen = peer_get_trust(a->peer) == PEER_CONFIGURED ||
		      !a->d->conf->peers.n;

	a->held.packets.chosen = a->held.bytes.chosen = chosen;
	a->pairs.chosen = a->taps.chosen = a->tombs.chosen = chosen;
	for (int side = 0; side < FLOW_SIDES; side++)
		a->guards[side].used.chosen = chosen;
}

struct assoc *assoc_get(struct daemon *d, struct peer *p)
{
	struct assoc *a = peer_user(p);

	if (a)
		return a;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->d = d;
	a->peer = p;
	a->next_track = crypto_random_u32() | 1;
	TAILQ_INIT(&a->works);
	choose(a);
	for (int side = 0; side < FLOW_SIDES; side++)
		LIST_INIT(&a->tracks[side]);
	if (claim_table_new(&a->claims, &owner_claim_ops, a, d->key.public_key,
			    peer_key(p), &d->counters)) {
		free(a);
		return NULL;
	}
	if (enter_agendas(a)) {
		claim_table_free(a->claims);
		free(a);
		return NULL;
	}
	d->n_assocs++;
	crypto_fingerprint(peer_key(p), a->name);
	peer_set_user(p, a);
	LIST_INSERT_HEAD(&d->assocs, a, entry);
	return a;
}

/* Its owner has stopped: nobody would follow a move of it, and nobody else
 * shall have it. */
static void flow_reserve(struct assoc *a, struct flow *f, uint64_t now_ms)
{
	assoc_let_go(a->d, f, now_ms, REASON_NO_PEER);
	assoc_own(f, a->peer);
	f->reserved = true;
	a->n_reserved++;
	keep_flow_later(a->d, f);
}

/* ---- what a peer had that is gone ---------------------------------------- */

bool assoc_forgets(const struct assoc *a, const struct flow *f)
{
	return a->forget == FORGET_ALL ||
	       (a->forget != FORGET_NOT && flow_is_plain(f));
}

void assoc_forget(struct assoc *a, struct flow *f, uint64_t now_ms)
{
	if (!assoc_forgets(a, f))
		return;
	if (a->forget == FORGET_RESERVE && f->peer == a->peer && !f->ended &&
	    !f->claim.peer_ended && f->claim.table == a->claims) {
		flow_reserve(a, f, now_ms);
		return;
	}
	assoc_let_go(a->d, f, now_ms, REASON_NO_PEER);
	if (f->ended)
		discover_remove(a->d, f, now_ms);
}

static bool is_stray(const struct assoc *a, const struct flow *f)
{
	return f->peer == a->peer && f->claim.table != a->claims &&
	       !(f->reserved && a->forget == FORGET_RESERVE) &&
	       assoc_forgets(a, f);
}

/* Others' flows are not looked at, but where one of this peer's has lost its
 * claim. False: there are more of these than leave together. */
static bool forget_strays(struct assoc *a, uint64_t now_ms)
{
	uint32_t known = a->forget == FORGET_RESERVE ? a->n_reserved : 0;
	struct flow *f, *part[TRACK_PART];
	unsigned int n = 0;
	struct claim *c;

	for (c = claim_next(a->claims, NULL); c; c = claim_next(a->claims, c))
		known += flow_of_claim(c)->peer == a->peer;
	if (peer_flows(a->peer) == known)
		return true;
	for (f = flow_first(&a->d->flows); f && n < TRACK_PART;
	     f = flow_next(f))
		if (is_stray(a, f))
			part[n++] = f;
	track_leave_all(a->d, part, n, now_ms);
	for (unsigned int i = 0; i < n; i++)
		assoc_forget(a, part[i], now_ms);
	return n < TRACK_PART;
}

static void forget_all(struct assoc *a, uint64_t now_ms)
{
	struct claim *c, *next;

	a->forget = FORGET_ALL;
	for (c = claim_next(a->claims, NULL); c; c = next) {
		next = claim_next(a->claims, c);
		assoc_forget(a, flow_of_claim(c), now_ms);
	}
	while (!forget_strays(a, now_ms))
		;
}

/* What is held is as if it were translated: our address is gone, or the peer's,
 * and its packets are to go elsewhere. */
static void forget_begin(struct assoc *a, enum forget how)
{
	struct claim *c;

	a->forget = how;
	for (c = claim_next(a->claims, NULL); c; c = claim_next(a->claims, c)) {
		const struct flow *f = flow_of_claim(c);

		if (assoc_forgets(a, f) && !f->hold)
			claim_leave(c);
	}
}

/* ---- owners that have stopped ------------------------------------------- */

/* Nobody waits for it any longer. */
static void reserve_end(struct assoc *a)
{
	struct flow *f;

	a->reserve_ms = 0;
	for (f = flow_first(&a->d->flows); f && a->n_reserved;
	     f = flow_next(f)) {
		if (f->peer != a->peer || !f->reserved)
			continue;
		claim_drop(&f->claim);
		assoc_own(f, NULL);
		a->d->review_ms = 1; /* somebody else's, perhaps */
	}
}

static bool has_stopped(const struct assoc *a)
{
	return a->n_reserved && !a->forget && !peer_has_session(a->peer);
}

/* Where it was last: an address, or the network of one. */
static bool is_from_there(const struct assoc *a, const struct addr *there)
{
	struct addr at[PEER_PIN_ADDRS_MAX];

	return peer_pin_addrs(a->peer, at) && addr_same_source(at, there);
}

/* At most so many wait; of one source at most a part of these, or it could
 * take the records of all others with keys that cost it nothing. Who has waited
 * for longest goes first. Those in `peers` are bounded by the operator: they
 * count for nothing, so that no number of keys takes the place of one. */
static void reserve_bound(struct assoc *fresh)
{
	struct daemon *d = fresh->d;
	struct addr at[PEER_PIN_ADDRS_MAX] = { 0 };
	uint32_t most = d->conf->max_peers / STOPPED_SHARE + 1;
	uint32_t n[2] = { 0 };
	struct assoc *oldest[2] = { NULL, NULL };
	struct assoc *a;

	peer_pin_addrs(fresh->peer, at);
	LIST_FOREACH(a, &d->assocs, entry) {
		if (!has_stopped(a) ||
		    peer_get_trust(a->peer) == PEER_CONFIGURED)
			continue;
		for (int i = 0; i < 2; i++) {
			if (i && !is_from_there(a, at))
				continue;
			n[i]++;
			/* The list begins with the newest. */
			if (!oldest[i] ||
			    a->reserve_ms <= oldest[i]->reserve_ms)
				oldest[i] = a;
		}
	}
	if (n[1] > most / STOPPED_SOURCE_SHARE + 1)
		a = oldest[1];
	else if (n[0] > most)
		a = oldest[0];
	else
		return;
	REFUSED(d, LIMIT);
	reserve_end(a);
}

static void reserve_begin(struct assoc *a)
{
	if (!a->n_reserved)
		return;
	a->reserve_ms = peer_heard_ms(a->peer) + STOPPED_MS;
	reserve_bound(a);
	assoc_touch(a);
}

void assoc_reserve(struct assoc *a, struct flow *f, uint64_t now_ms)
{
	flow_reserve(a, f, now_ms);
	a->reserve_ms = now_ms + STOPPED_MS; /* when it spoke is not known */
	assoc_touch(a);
}

/* It may have been heard since, and not have taken them again. */
static void reserve_step(struct assoc *a, uint64_t now_ms)
{
	if (!a->reserve_ms || now_ms < a->reserve_ms)
		return;
	a->reserve_ms = peer_heard_ms(a->peer) + STOPPED_MS;
	if (now_ms >= a->reserve_ms || !a->n_reserved)
		reserve_end(a);
}

void assoc_policy_changed(struct daemon *d)
{
	struct assoc *a;

	LIST_FOREACH(a, &d->assocs, entry) {
		choose(a);
		if (!conf_key_revoked(d->conf, peer_key(a->peer)))
			continue;
		if (a->forget)
			a->forget = FORGET_PLAIN;
		if (a->n_reserved)
			reserve_end(a);
	}
}

/* It has stopped: the sockets of what had moved are gone. What we send draws an
 * error there at most. What is held stays so: it is to go to an address that is
 * not the peer's any more. */
static void end_moved(struct assoc *a)
{
	struct claim *c;

	for (c = claim_next(a->claims, NULL); c; c = claim_next(a->claims, c)) {
		const struct flow *f = flow_of_claim(c);

		if (flow_is_moved(f) && !f->hold)
			claim_end_there(c);
	}
}

static void assoc_free(struct assoc *a)
{
	track_free_all(a);
	work_leave_end(a);
	claim_table_free(a->claims);
	for (int i = 0; i < AGENDAS; i++)
		agenda_leave(&a->d->agenda[i], a);
	LIST_REMOVE(a, entry);
	a->d->n_assocs--;
	hold_forget_share(&a->d->hold, &a->held);
	pairs_forget_share(a->d, &a->pairs);
	for (int side = 0; side < FLOW_SIDES; side++)
		guards_forget_share(&a->guards[side]);
	flow_tombstones_forget_share(&a->d->flows, &a->tombs);
	free(a);
}

void assoc_free_all(struct daemon *d)
{
	struct assoc *a;

	while ((a = LIST_FIRST(&d->assocs))) {
		peer_set_user(a->peer, NULL);
		assoc_free(a);
	}
}

/* What these are answered by must not be larger, where they come from an
 * address that is not valid: REFUSE or ACCEPT, with a PROBE and a MOVE of the
 * other end's own; PROVE. */
static size_t padded_size(const struct assoc *a, uint64_t now_ms,
			  const struct addr *local, const struct addr *remote,
			  uint8_t type)
{
	size_t size = type == WIRE_MOVE ? MOVE_SIZE :
		      type == WIRE_ACCEPT ? ACCEPT_SIZE : 0;
	size_t limit;

	if (!size)
		return 0;
	limit = peer_send_limit(a->peer, now_ms, local, remote, type);
	return size < limit ? size : limit;
}

int assoc_send(struct assoc *a, uint64_t now_ms, const struct addr *local,
	       const struct addr *remote, struct wire_message *m)
{
	int err = peer_send(a->peer, now_ms, local, remote, m,
			    padded_size(a, now_ms, local, remote, m->type));
	char l[ADDR_TEXT_MAX];
	char r[ADDR_TEXT_MAX];

	if (err == -EACCES)
		a->unsaid = true;
	log_debug(a->d->log, "%s from %s to %s%s%s", wire_type_name(m->type),
		  addr_format(local, l), addr_format(remote, r),
		  err ? ": " : "", err ? strerror(-err) : "");
	return err;
}

/* ---- paths -------------------------------------------------------------- */

/* Nothing is sent to a locator that its owner has declared gone (I5), until it
 * answers from there again: who forgot that it was gone declares nothing. */
static bool is_gone(const struct assoc *a, const struct addr *remote)
{
	const struct track *t;

	LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry)
		if (t->follower.gone &&
		    addr_equal(&t->follower.sending.addr, remote) &&
		    !track_met_since(t, remote))
			return true;
	return false;
}

bool assoc_best_path(const struct assoc *a, struct peer_path *best)
{
	struct peer_path path;
	bool found = false;

	for (unsigned int i = 0; peer_path_at(a->peer, i, &path); i++) {
		/* Of a new address of ours nothing is known yet but that
		 * the peer is heard there. */
		if ((!path.validated_ms &&
		     !peer_remote_validated_ms(a->peer, &path.remote.addr)) ||
		    !rtmon_usable(a->d->rtmon, &path.local.addr) ||
		    is_gone(a, &path.remote.addr))
			continue;
		if (found && best->nat <= path.nat &&
		    best->validated_ms >= path.validated_ms)
			continue;
		*best = path;
		found = true;
	}
	return found;
}

/* An answer goes back the way that the question came, if that still is one. */
static int answer_back(struct assoc *a, uint64_t now_ms,
		       struct wire_message *m)
{
	const struct way_back *w = m->type == WIRE_FLOWS_ACK ? &a->flows_from :
							       &a->asked_from;

	if (!addr_is_set(&w->remote) || is_gone(a, &w->remote) ||
	    !rtmon_usable(a->d->rtmon, &w->local))
		return -EACCES;
	return assoc_send(a, now_ms, &w->local, &w->remote, m);
}

/* FLOW_END in as many parts as may go there without a round trip before. */
static int tell_ends(struct assoc *a, uint64_t now_ms,
		     const struct addr *local, const struct addr *remote,
		     struct wire_message *m)
{
	const struct wire_flow_end all = m->flow_end;
	size_t limit = peer_send_limit(a->peer, now_ms, local, remote,
				       WIRE_FLOW_END);
	unsigned int most = WIRE_FLOW_END_MAX, at, n;
	int err = 0;

	while (most && (size_t)WIRE_FLOW_END_SIZE(most) > limit)
		most--;
	if (!most) /* PROBE goes instead */
		most = WIRE_FLOW_END_MAX;
	for (at = 0; at < all.n && !err; at += n) {
		n = all.n - at < most ? all.n - at : most;
		m->flow_end.n = (uint8_t)n;
		memcpy(m->flow_end.flow_id, all.flow_id + at,
		       n * sizeof(*all.flow_id));
		err = assoc_send(a, now_ms, local, remote, m);
	}
	return err;
}

int assoc_tell(struct assoc *a, uint64_t now_ms, struct wire_message *m)
{
	struct peer_path path;
	int err = answer_back(a, now_ms, m);

	if (err != -EACCES)
		return err;
	if (!assoc_best_path(a, &path))
		return -ENOTCONN;
	if (m->type == WIRE_FLOW_END)
		return tell_ends(a, now_ms, &path.local.addr,
				 &path.remote.addr, m);
	return assoc_send(a, now_ms, &path.local.addr, &path.remote.addr, m);
}

uint32_t assoc_pto_ms(const struct assoc *a)
{
	struct peer_path path;

	if (!assoc_best_path(a, &path))
		return PEER_PTO_UNKNOWN_MS;
	return peer_pto_ms(a->peer, &path.local.addr, &path.remote.addr);
}

/* ---- renewal ------------------------------------------------------------ */

/* Does it send packets, as far as is known? Of UDP its socket says nothing. */
static bool is_busy(const struct flow *f, uint64_t now_ms)
{
	return !f->hold && !f->ended &&
	       (f->identity.proto != IPPROTO_TCP ||
		now_ms - f->sent_ms < PEER_RENEW_MS ||
		now_ms - f->received_ms < PEER_RENEW_MS);
}

/* One that is not valid any more has missed three: where flows have moved to it is
 * asked all the same, and they are held where it does not answer. */
static const struct flow *whom_to_ask(const struct track *t, bool valid,
				      uint64_t now_ms)
{
	const struct flow *f;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS])
		if ((valid || unheard_concerns(t, f)) &&
		    (t->unheard_ms || is_busy(f, now_ms)))
			return f;
	return NULL;
}

static void ask(struct track *t, const struct flow *f, uint64_t now_ms)
{
	struct peer *p = t->assoc->peer;
	struct tuple wire = flow_wire_tuple(f);
	int err;

	if (is_gone(t->assoc, &wire.remote.addr))
		return;
	err = peer_validate_path(p, now_ms, &wire.local.addr,
				 &wire.remote.addr);
	if (!err || err == -EALREADY)
		return;
	/* Without a session, or where it has never spoken as this peer. */
	if (err == -EACCES)
		peer_greet(p, now_ms, &wire.local.addr, &wire.remote.addr);
	unheard_missed(t, now_ms);
}

static void renew(struct track *t, uint64_t now_ms)
{
	const struct addr *to = &t->follower.sending.addr;
	uint64_t ms = peer_remote_validated_ms(t->assoc->peer, to);
	bool valid = ms && now_ms - ms < PEER_VALID_MS;
	const struct flow *f;

	if (t->known_ms < ms)
		t->known_ms = ms;
	if (valid ? now_ms - ms < PEER_RENEW_MS / 2 :
		    now_ms < unheard_due_ms(t, now_ms))
		return;
	f = whom_to_ask(t, valid, now_ms);
	if (!f)
		return;
	t->asked_ms = now_ms;
	ask(t, f, now_ms);
}

static void renew_step(struct assoc *a, uint64_t now_ms)
{
	struct track *t;
	uint64_t next_ms = 0, ms;

	if (!a->renew_ms || now_ms < a->renew_ms)
		return;
	LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry) {
		unheard_step(t, now_ms);
		renew(t, now_ms);
		ms = t->unheard_ms ? unheard_due_ms(t, now_ms) : 0;
		if (ms <= now_ms)
			ms = now_ms + PEER_RENEW_MS;
		if (!next_ms || ms < next_ms)
			next_ms = ms;
	}
	a->renew_ms = next_ms;
}

void assoc_renew(struct assoc *a, uint64_t now_ms)
{
	if (a->renew_ms)
		return;
	a->renew_ms = now_ms + PEER_RENEW_MS;
	assoc_touch(a);
}

/* ---- SYNC --------------------------------------------------------------- */

static void sync_send(struct assoc *a, uint64_t now_ms, uint8_t type)
{
	struct wire_message m;

	memset(&m, 0, sizeof(m));
	m.type = type;
	handover_sync_fill(a, &m.sync);
	assoc_tell(a, now_ms, &m);
}

static void sync_start(struct assoc *a, uint64_t now_ms)
{
	a->sync_tries = SYNC_TRIES;
	a->sync_ms = now_ms;
	assoc_touch(a);
}

static void sync_step(struct assoc *a, uint64_t now_ms)
{
	if (!a->sync_ms || now_ms < a->sync_ms)
		return;
	if (!a->sync_tries) {
		a->sync_ms = 0;
		return;
	}
	sync_send(a, now_ms, WIRE_SYNC);
	a->sync_ms = now_ms + ((uint64_t)assoc_pto_ms(a)
			       << (SYNC_TRIES - a->sync_tries));
	a->sync_tries--;
}

/* Taken up from an earlier run, it has no session. */
static void greet_step(struct assoc *a, uint64_t now_ms)
{
	if (!a->greet_ms || now_ms < a->greet_ms)
		return;
	a->greet_ms = 0;
	if (peer_has_session(a->peer) || LIST_EMPTY(&a->tracks[FLOW_OURS]))
		return;
	handover_greet(a, now_ms);
	a->greet_ms = now_ms + GREET_MS;
}

void assoc_step(struct daemon *d, uint64_t now_ms)
{
	struct agenda *g = &d->agenda[AGENDA_CLAIMS];
	struct assoc *a;

	peer_table_step(d->peers, now_ms);
	agenda_take_due(g, now_ms);
	while ((a = agenda_next_due(g))) {
		sync_step(a, now_ms);
		greet_step(a, now_ms);
		reserve_step(a, now_ms);
		renew_step(a, now_ms);
		if (now_ms >= claim_table_deadline_ms(a->claims))
			claim_table_step(a->claims, now_ms);
	}
}

uint64_t assoc_due_ms(const struct assoc *a)
{
	uint64_t ms = claim_table_deadline_ms(a->claims);

	if (a->sync_ms && a->sync_ms < ms)
		ms = a->sync_ms;
	if (a->greet_ms && a->greet_ms < ms)
		ms = a->greet_ms;
	if (a->reserve_ms && a->reserve_ms < ms)
		ms = a->reserve_ms;
	if (a->renew_ms && a->renew_ms < ms)
		ms = a->renew_ms;
	return ms;
}

void assoc_touch(struct assoc *a)
{
	agenda_touch(&a->d->agenda[AGENDA_CLAIMS], a);
}

void assoc_touch_claim(const struct claim *c)
{
	if (c->table)
		assoc_touch(claim_table_arg(c->table));
}

/* ---- callbacks of peer --------------------------------------------------- */

static void review_soon(struct daemon *d, uint64_t now_ms)
{
	uint64_t at_ms = now_ms + REVIEW_MS +
			 d->flows.by_identity.n / REVIEW_PER_MS;

	if (!d->review_ms || at_ms < d->review_ms)
		d->review_ms = at_ms;
}

static int on_send(void *arg, const struct endpoint *src,
		   const struct endpoint *dst, const uint8_t *data, size_t len)
{
	struct daemon *d = arg;

	return udp_send(d->udp, &src->addr, 0, dst, data, len);
}

static void on_random(void *arg, void *to, size_t len)
{
	(void)arg;
	crypto_random(to, len);
}

static int64_t on_wall_s(void *arg)
{
	(void)arg;
	return (int64_t)time(NULL);
}

static bool on_may_answer(void *arg, const struct addr *local,
			  const struct addr *remote)
{
	const struct remote *u = discover_remote(arg, remote);

	(void)local;
	return u && u->willing;
}

static uint32_t on_sockets(void *arg, const struct addr *remote)
{
	const struct remote *u = discover_remote(arg, remote);

	return u ? u->uses : 0;
}

static bool on_locator_allowed(void *arg, const struct addr *remote)
{
	struct daemon *d = arg;

	return conf_locator_check(d->conf, remote, NULL) == REASON_NONE;
}

static const uint8_t *on_key_of_addr(void *arg, const struct addr *remote)
{
	struct daemon *d = arg;
	const struct conf_peer *p = conf_find_peer_by_addr(d->conf, remote);

	return p ? p->public_key : NULL;
}

static bool on_key_configured(void *arg, const uint8_t key[CRYPTO_KEY_SIZE])
{
	struct daemon *d = arg;

	return conf_find_peer_by_key(d->conf, key) != NULL;
}

static bool on_key_revoked(void *arg, const uint8_t key[CRYPTO_KEY_SIZE])
{
	struct daemon *d = arg;

	return conf_key_revoked(d->conf, key);
}

static bool on_first_contact_closed(void *arg)
{
	struct daemon *d = arg;

	return d->conf->first_contact == CONF_FIRST_CONTACT_PINNED;
}

/* For BYE, which knows no tracks. */
static bool on_may_use(void *arg, const struct peer *p,
		       const struct addr *local, const struct addr *remote)
{
	struct daemon *d = arg;
	const struct assoc *a = peer_user(p);

	return rtmon_usable(d->rtmon, local) && (!a || !is_gone(a, remote));
}

static void session_begins(struct assoc *a, uint64_t now_ms)
{
	if (a->n_tracks[FLOW_OURS] || a->n_tracks[FLOW_THEIRS] ||
	    claim_table_digest(a->claims)->count)
		sync_start(a, now_ms);
	if (a->n_tracks[FLOW_THEIRS])
		assoc_renew(a, now_ms);
	claim_table_kick(a->claims, now_ms);
	handover_session(a, now_ms);
	assoc_touch(a);
	review_soon(a->d, now_ms);
}

/* What the peer had that is gone waits for it by now, or is nobody's; it may be
 * back already. */
static void forget_end(struct assoc *a, uint64_t now_ms)
{
	if (!forget_strays(a, now_ms)) {
		work_leave_later(a);
		return;
	}
	a->forget = FORGET_NOT;
	reserve_begin(a);
	if (peer_has_session(a->peer))
		session_begins(a, now_ms);
}

void assoc_leave(struct assoc *a, uint64_t now_ms, unsigned int n)
{
	n = work_leave(a, n);
	if (n)
		claim_table_leave(a->claims, now_ms, n);
}

void assoc_go_on(struct assoc *a, uint64_t now_ms)
{
	work_leave_end(a);
	assoc_leave(a, now_ms, claim_table_leaving(a->claims));
	if (a->forget && !a->leaving)
		forget_end(a, now_ms);
}

static void on_session_up(void *arg, struct peer *p, uint64_t now_ms,
			  bool first, const struct endpoint *local,
			  const struct endpoint *remote)
{
	struct daemon *d = arg;
	struct assoc *a = assoc_get(d, p);
	char l[ENDPOINT_TEXT_MAX];
	char r[ENDPOINT_TEXT_MAX];

	if (!a)
		return;
	assoc_log(a, first ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO,
		  "session with %s (%s): %s to %s", a->name,
		  peer_get_trust(p) == PEER_CONFIGURED ? "configured" :
							 "first-contact",
		  endpoint_format(local, l), endpoint_format(remote, r));
	report_event(d, a->name, "session", endpoint_format(remote, r));
	if (!a->forget)
		session_begins(a, now_ms);
}

static void on_session_down(void *arg, struct peer *p, uint64_t now_ms,
			    enum reason why)
{
	struct daemon *d = arg;
	struct assoc *a = peer_user(p);

	if (!a)
		return;
	if (why == REASON_ENDED)
		end_moved(a);
	/* Nobody would follow a move now: claimed anew when it is back, and by
	 * nobody else. What is translated already goes on to the end. */
	forget_begin(a, why == REASON_NONE || why == REASON_KEY_REVOKED ?
				FORGET_PLAIN : FORGET_RESERVE);
	assoc_leave(a, now_ms, claim_table_leaving(a->claims));
	if (!a->leaving)
		forget_end(a, now_ms);
	assoc_log(a, LOG_LEVEL_NOTICE, "session with %s ended: %s", a->name,
		  why == REASON_ENDED ? "it has stopped" :
		  why == REASON_NONE ? "it was forgotten" : reason_name(why));
	report_event(d, a->name, "session-ended", reason_name(why));
}

static void on_message(void *arg, struct peer *p, uint64_t now_ms,
		       const struct peer_rx *rx)
{
	struct daemon *d = arg;
	struct assoc *a = assoc_get(d, p);
	char r[ENDPOINT_TEXT_MAX];

	if (!a)
		return;
	assoc_touch(a);
	a->asked_from.local = rx->local.addr;
	a->asked_from.remote = rx->remote.addr;
	if (rx->message->type == WIRE_FLOWS)
		a->flows_from = a->asked_from;
	log_debug(d->log, "%s came from %s",
		  wire_type_name(rx->message->type),
		  endpoint_format(&rx->remote, r));
	if (a->forget)
		return; /* what it had is not what it has: it is said again */
	switch (rx->message->type) {
	case WIRE_FLOWS:
	case WIRE_FLOWS_ACK:
	case WIRE_FLOW_END:
	case WIRE_FLOW_END_ACK:
		claim_table_receive(a->claims, now_ms, rx->message);
		break;
	case WIRE_SYNC:
		if (!rx->newest) {
			COUNT(d, RX_STALE);
			break;
		}
		if (work_is_due(a))
			break; /* it is said again */
		sync_send(a, now_ms, WIRE_SYNC_ACK);
		handover_sync(a, now_ms, &rx->message->sync);
		break;
	case WIRE_SYNC_ACK:
		if (work_is_due(a))
			break; /* SYNC is repeated */
		if (a->sync_ms && rx->newest)
			handover_sync(a, now_ms, &rx->message->sync);
		a->sync_ms = 0;
		break;
	default:
		handover_message(a, now_ms, rx);
		break;
	}
	memset(&a->asked_from, 0, sizeof(a->asked_from));
}

static void on_forgotten(void *arg, struct peer *p)
{
	struct assoc *a = peer_user(p);

	(void)arg;
	if (!a)
		return;
	forget_all(a, loop_now_ms());
	peer_set_user(p, NULL);
	assoc_free(a);
}

static void on_path_result(void *arg, struct peer *p, uint64_t now_ms,
			   const struct peer_path *path, bool ok)
{
	struct daemon *d = arg;
	struct assoc *a = peer_user(p);

	if (a)
		assoc_touch(a);
	if (a)
		unheard_result(a, path, ok, now_ms);
	if (a && ok)
		claim_table_kick(a->claims, now_ms);
	if (a && ok && a->unsaid) {
		a->unsaid = false;
		handover_repeat(a, now_ms);
	}
	/* It may be another host that has this address now. */
	if (!ok && discover_remote(d, &path->remote.addr) &&
	    conf_initiate_allowed(d->conf, &path->remote.addr))
		peer_initiate(d->peers, now_ms, &path->local.addr,
			      &path->remote.addr, 0);
}

static void on_pins_changed(void *arg)
{
	struct daemon *d = arg;

	if (!d->pins_ms)
		d->pins_ms = loop_now_ms() + PINS_WRITE_MS;
}

static void on_handshake_failed(void *arg, uint64_t now_ms, bool opened,
				const struct endpoint *local,
				const struct endpoint *remote,
				const uint8_t *key, enum reason why)
{
	struct daemon *d = arg;
	struct remote *u = discover_remote(d, &remote->addr);
	bool named = on_key_of_addr(d, &remote->addr) ||
		     (key && on_key_configured(d, key));
	char r[ENDPOINT_TEXT_MAX], a[ADDR_TEXT_MAX];

	(void)local;
	if (u && opened)
		u->reason = why;
	review_soon(d, now_ms);
	if (why != REASON_NO_PEER)
		log_write_by(d->log, discover_lines(d, &remote->addr, named),
			     addr_format(&remote->addr, a), named,
			     LOG_LEVEL_WARN, "no session with %s: %s",
			     endpoint_format(remote, r), reason_text(why));
}

const struct peer_ops assoc_peer_ops = {
	.send = on_send,
	.random = on_random,
	.wall_s = on_wall_s,
	.may_answer = on_may_answer,
	.sockets = on_sockets,
	.locator_allowed = on_locator_allowed,
	.key_of_addr = on_key_of_addr,
	.key_configured = on_key_configured,
	.key_revoked = on_key_revoked,
	.first_contact_closed = on_first_contact_closed,
	.may_use = on_may_use,
	.session_up = on_session_up,
	.session_down = on_session_down,
	.message = on_message,
	.forgotten = on_forgotten,
	.path_result = on_path_result,
	.pins_changed = on_pins_changed,
	.handshake_failed = on_handshake_failed,
};
