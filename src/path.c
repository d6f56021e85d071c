/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * path: the address pairs over which a peer spoke, how long a round trip
 * takes there, and the challenges that validate them.
 *
 * Owns which address is valid, and as what a message goes to one that is not
 * (account.c). A path is made by an authentic datagram or a handshake, never
 * by a wish.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mutant.h"
#include "peer_impl.h"

/* Less than the clock can tell, but known. */
#define RTT_FLOOR_US 500

#define PROBE_SIZE \
	(WIRE_HEADER_SIZE + WIRE_PATH_SIZE + WIRE_PROBE_SIZE + CRYPTO_TAG_SIZE)

struct path *path_find(const struct peer *p, const struct addr *local,
		       const struct addr *remote)
{
	struct path *path;

	TAILQ_FOREACH(path, &p->paths, entry)
		if (addr_equal(&path->local.addr, local) &&
		    addr_equal(&path->remote.addr, remote))
			return path;
	return NULL;
}

static void path_stop_probing(struct path *path)
{
	if (!path->is_probing)
		return;
	path->is_probing = false;
	path->peer->table->n_probing--;
	TAILQ_REMOVE(&path->peer->table->probing, path, probing);
}

void path_free(struct path *path)
{
	path_stop_probing(path);
	TAILQ_REMOVE(&path->peer->paths, path, entry);
	path->peer->n_paths--;
	free(path);
}

void path_free_all(struct peer *p)
{
	while (!TAILQ_EMPTY(&p->paths))
		path_free(TAILQ_FIRST(&p->paths));
}

/* The one that was silent for longest; one that was validated goes after
 * those that were not, so that claimed addresses push out nothing. */
static void path_evict(struct peer *p)
{
	struct path *path, *worst = NULL;

	TAILQ_FOREACH(path, &p->paths, entry) {
		if (!worst || (!path->validated_ms && worst->validated_ms) ||
		    (!path->validated_ms == !worst->validated_ms &&
		     path->heard_ms < worst->heard_ms))
			worst = path;
	}
	if (worst)
		path_free(worst);
}

struct path *path_obtain(struct peer *p, const struct endpoint *local,
			 const struct endpoint *remote)
{
	struct path *path = path_find(p, &local->addr, &remote->addr);

	if (!path) {
		path = calloc(1, sizeof(*path));
		if (!path)
			return NULL;
		if (p->n_paths >= PEER_PATHS_MAX)
			path_evict(p);
		path->peer = p;
		TAILQ_INSERT_TAIL(&p->paths, path, entry);
		p->n_paths++;
	}
	path->local = *local;
	path->remote = *remote;
	return path;
}

/* ---- what may be sent ------------------------------------------------- */

bool remote_is_valid(const struct peer *p, uint64_t now_ms,
		     const struct addr *remote)
{
	uint64_t ms = peer_remote_validated_ms(p, remote);

	return ms && (now_ms - ms < PEER_VALID_MS || MUTANT(always_valid));
}

/* Whether it may be spoken to unasked: it is configured, is where a flow goes,
 * or has answered a challenge in this life. */
static bool is_familiar(const struct peer *p, const struct addr *local,
			const struct addr *remote)
{
	struct peer_table *t = p->table;

	return peer_remote_validated_ms(p, remote) ||
	       t->ops.key_of_addr(t->arg, remote) ||
	       t->ops.may_answer(t->arg, local, remote);
}

/* And whether it is so as that peer's, not by another's flow or key alone: a
 * peer may name any address. */
static bool is_its_own(const struct peer *p, const struct addr *remote)
{
	const struct peer_table *t = p->table;
	const uint8_t *key = t->ops.key_of_addr(t->arg, remote);

	return peer_remote_validated_ms(p, remote) ||
	       (key && memcmp(key, p->key, sizeof(p->key)) == 0);
}

/* Is that what begins an exchange, rather than its rest? What the peer makes
 * us say is owed, but for PROBE, which goes where its word is not taken. */
static bool is_own(const struct peer_table *t, uint8_t type)
{
	switch (type) {
	case WIRE_PROBE:
		return true;
	case WIRE_MOVE:
	case WIRE_FLOW_END:
	case WIRE_BYE:
		return !t->answering;
	default:
		return false;
	}
}

enum standing path_standing(const struct peer *p, uint64_t now_ms,
			    const struct addr *local,
			    const struct addr *remote, uint8_t type)
{
	if (remote_is_valid(p, now_ms, remote))
		return STANDING_VALID;
	if (!is_own(p->table, type) || !is_familiar(p, local, remote))
		return STANDING_OWED;
	return p->table->answering || !is_its_own(p, remote) ? STANDING_ASKED :
							       STANDING_OWN;
}

size_t peer_send_limit(const struct peer *p, uint64_t now_ms,
		       const struct addr *local, const struct addr *remote,
		       uint8_t type)
{
	if (!p->session[0])
		return 0;
	switch (path_standing(p, now_ms, local, remote, type)) {
	case STANDING_VALID:
		return WIRE_PAYLOAD_MAX;
	case STANDING_OWN:
	case STANDING_ASKED:
		return PEER_OWN_SIZE;
	default:
		return account_room(p->table, now_ms, remote);
	}
}

/* ---- round trips ------------------------------------------------------ */

/* RFC 6298, section 2, in microseconds. */
void path_sample_rtt(struct path *path, uint64_t rtt_ms)
{
	uint32_t us = rtt_ms < 60000 ? (uint32_t)rtt_ms * 1000 : 60000000;
	uint32_t error;

	if (us < RTT_FLOOR_US)
		us = RTT_FLOOR_US;
	if (path->srtt_us == 0) {
		path->srtt_us = us;
		path->rttvar_us = us / 2;
	} else {
		error = us > path->srtt_us ? us - path->srtt_us :
					     path->srtt_us - us;
		path->rttvar_us = (3 * path->rttvar_us + error) / 4;
		path->srtt_us = (7 * path->srtt_us + us) / 8;
	}
	path->peer->srtt_us = path->srtt_us;
	path->peer->rttvar_us = path->rttvar_us;
}

static uint32_t pto_from_rtt_ms(uint32_t srtt_us, uint32_t rttvar_us)
{
	uint32_t pto_ms;

	if (srtt_us == 0)
		return PEER_PTO_UNKNOWN_MS;
	pto_ms = (2 * srtt_us + 4 * rttvar_us + 999) / 1000;
	if (pto_ms < PEER_PTO_MIN_MS)
		return PEER_PTO_MIN_MS;
	return pto_ms > PEER_PTO_MAX_MS ? PEER_PTO_MAX_MS : pto_ms;
}

/* Of a new path nothing is known; the last one is the best guess, and too
 * short a timeout costs one datagram. */
static uint32_t path_pto_ms(const struct peer *p, const struct path *path)
{
	if (path && path->srtt_us)
		return pto_from_rtt_ms(path->srtt_us, path->rttvar_us);
	return pto_from_rtt_ms(p->srtt_us, p->rttvar_us);
}

static void path_export(const struct path *path, struct peer_path *to)
{
	memset(to, 0, sizeof(*to));
	to->local = path->local;
	to->remote = path->remote;
	to->validated_ms = path->validated_ms;
	to->srtt_us = path->srtt_us;
	to->rttvar_us = path->rttvar_us;
	to->nat = path->nat;
	to->probing = path->is_probing;
}

void path_report(struct path *path, uint64_t now_ms, bool ok)
{
	struct peer_table *t = path->peer->table;
	struct peer_path copy;

	path_export(path, &copy);
	if (t->ops.path_result)
		t->ops.path_result(t->arg, path->peer, now_ms, &copy, ok);
}

void path_mark(struct path *path, uint64_t now_ms, bool nat)
{
	path_stop_probing(path);
	path->nat = nat;
	path->heard_ms = now_ms;
	path->validated_ms = nat ? 0 : now_ms ? now_ms : 1; /* 0: never */
	if (!nat)
		account_settle(path->peer->table, &path->remote.addr);
	peer_seen_at(path->peer, now_ms, &path->remote.addr, !nat);
}

void path_validated(struct path *path, uint64_t now_ms)
{
	path_mark(path, now_ms, false);
	path_report(path, now_ms, true);
}

/* ---- probes ----------------------------------------------------------- */

static void probe_send(struct path *path, uint64_t now_ms)
{
	struct session *s = path->peer->session[0];
	struct wire_message m;
	enum standing as = path_standing(path->peer, now_ms, &path->local.addr,
					 &path->remote.addr, WIRE_PROBE);
	uint64_t wait_ms =
		(uint64_t)path_pto_ms(path->peer, path) << path->tries;
	int ret;

	if (wait_ms > PEER_PTO_BACKOFF_MAX_MS)
		wait_ms = PEER_PTO_BACKOFF_MAX_MS;
	path->sent_ms[path->tries] = now_ms;
	path->token[TOKEN_INDEX] = path->tries++;
	path->due_ms = now_ms + table_jitter(path->peer->table, wait_ms);
	table_due(path->peer->table, path->due_ms);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_PROBE;
	memcpy(m.probe.token, path->token, sizeof(m.probe.token));
	if (as == STANDING_OWN && path->asked)
		as = STANDING_ASKED;
	/* What we are not allowed to ask, by our account or a filter of our own,
	 * is missed all the same: flow packets may go there nevertheless. */
	ret = session_send(s, now_ms, as, &path->local, &path->remote, &m, 0);
	path->is_put |= !ret || ret == -EACCES || ret == -EPERM;
}

int path_probe(struct path *path, uint64_t now_ms, bool asked)
{
	struct peer_table *t = path->peer->table;
	bool again = path->is_probing;

	/* Whoever makes us ask for it shall not make us send more. */
	if (again && now_ms - path->sent_ms[path->tries - 1] <
			     path_pto_ms(path->peer, path))
		return -EALREADY;
	if (!again) {
		t->ops.random(t->arg, path->token, sizeof(path->token));
		path->is_probing = true;
		path->is_put = false;
		t->n_probing++;
		TAILQ_INSERT_TAIL(&t->probing, path, probing);
	}
	path->asked = asked;
	path->tries = 0;
	probe_send(path, now_ms);
	return again ? -EALREADY : 0;
}

void path_probe_acked(struct peer *p, uint64_t now_ms,
		      const struct peer_rx *rx)
{
	const uint8_t *token = rx->message->probe.token;
	struct path *path =
		path_find(p, &rx->local.addr, &rx->remote.addr);

	if (!path || !path->is_probing ||
	    token[TOKEN_INDEX] >= PEER_PROBE_TRIES ||
	    (!crypto_equal(token + 1, path->token + 1, WIRE_PROBE_SIZE - 1) &&
	     !MUTANT(token_unchecked))) {
		table_count(p->table, COUNTER_RX_UNEXPECTED);
		return;
	}
	/* Copies differ in one byte, so a late answer is no wrong sample. */
	if (token[TOKEN_INDEX] < path->tries)
		path_sample_rtt(path,
				now_ms - path->sent_ms[token[TOKEN_INDEX]]);
	path_validated(path, now_ms);
	if (p->session[0])
		session_renew(p, now_ms, &rx->local.addr, &rx->remote.addr);
}

void path_step(struct peer_table *t, uint64_t now_ms)
{
	struct path *path = TAILQ_FIRST(&t->probing);

	while (path) {
		if (path->due_ms > now_ms) {
			table_due(t, path->due_ms);
			path = TAILQ_NEXT(path, probing);
		} else if (path->tries < PEER_PROBE_TRIES) {
			probe_send(path, now_ms);
			path = TAILQ_NEXT(path, probing);
		} else {
			/* Where no copy got out nobody was asked. */
			path_stop_probing(path);
			if (path->is_put)
				path_report(path, now_ms, false);
			/* The event may have changed the list. */
			path = TAILQ_FIRST(&t->probing);
		}
	}
}

static int validate(struct peer *p, uint64_t now_ms, const struct addr *local,
		    const struct addr *remote, bool asked)
{
	struct endpoint from = { .addr = *local, .port = p->table->port };
	struct endpoint to = { .addr = *remote, .port = p->port };
	struct path *path;

	if (!p->session[0])
		return -ENOTCONN;
	path = path_find(p, local, remote);
	if (!path) {
		bool known = peer_pinned_at(p, remote);

		TAILQ_FOREACH(path, &p->paths, entry) {
			if (!addr_equal(&path->remote.addr, remote))
				continue;
			known = true;
			to = path->remote;
		}
		if (!known)
			return -EACCES;
		path = path_obtain(p, &from, &to);
		if (!path)
			return -ENOMEM;
		path->heard_ms = now_ms;
	}
	return path_probe(path, now_ms, asked);
}

int peer_validate_path(struct peer *p, uint64_t now_ms,
		       const struct addr *local, const struct addr *remote)
{
	return validate(p, now_ms, local, remote, true);
}

void path_ask(struct peer *p, uint64_t now_ms, const struct addr *local,
	      const struct addr *remote, bool asked)
{
	struct path *path = path_find(p, local, remote);

	if (path && path->is_probing)
		path->asked = path->asked && asked;
	if (path && (path->is_probing || path->nat))
		return;
	if (peer_send_limit(p, now_ms, local, remote, WIRE_PROBE) <
	    PROBE_SIZE)
		return;
	(void)validate(p, now_ms, local, remote, asked);
}

void peer_path_proved(struct peer *p, uint64_t now_ms,
		      const struct endpoint *local,
		      const struct endpoint *remote)
{
	struct path *path = path_obtain(p, local, remote);

	if (path)
		path_validated(path, now_ms);
}

void peer_table_local_gone(struct peer_table *t, const struct addr *local)
{
	struct peer *p, *next;
	struct path *path, *after;

	HASH_ITER(hh, t->peers, p, next) {
		for (path = TAILQ_FIRST(&p->paths); path; path = after) {
			after = TAILQ_NEXT(path, entry);
			if (addr_equal(&path->local.addr, local))
				path_free(path);
		}
	}
}

/* ---- questions -------------------------------------------------------- */

bool peer_path_at(const struct peer *p, unsigned int i,
		  struct peer_path *to)
{
	const struct path *path;

	TAILQ_FOREACH(path, &p->paths, entry) {
		if (i-- > 0)
			continue;
		path_export(path, to);
		return true;
	}
	return false;
}

bool peer_path_find(const struct peer *p, const struct addr *local,
		    const struct addr *remote, struct peer_path *to)
{
	const struct path *path = path_find(p, local, remote);

	if (path)
		path_export(path, to);
	return path;
}

bool peer_path_best(const struct peer *p, struct peer_path *to)
{
	const struct path *path, *best = NULL;

	TAILQ_FOREACH(path, &p->paths, entry)
		if (path->validated_ms &&
		    (!best || path->validated_ms > best->validated_ms))
			best = path;
	if (best)
		path_export(best, to);
	return best;
}

uint32_t peer_pto_ms(const struct peer *p, const struct addr *local,
		     const struct addr *remote)
{
	return path_pto_ms(p, path_find(p, local, remote));
}
