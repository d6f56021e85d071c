/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * peer: the table itself: records and their eviction, indices, dispatch of
 * datagrams, deadlines. Never looks into a handshake or a sealed message
 * (handshake.c, attempt.c, session.c), never judges a key.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peer_impl.h"

int table_transmit(struct peer_table *t, uint64_t now_ms, enum standing as,
		   const struct endpoint *local, const struct endpoint *remote,
		   const uint8_t *data, size_t len)
{
	int ret = account_spend(t, now_ms, &remote->addr, len, as);

	if (ret < 0)
		return ret;
	ret = t->ops.send(t->arg, local, remote, data, len);
	table_count(t, ret < 0 ? COUNTER_TX_ERRORS : COUNTER_TX_FRAMES);
	return ret;
}

uint32_t table_random_u32(struct peer_table *t)
{
	uint32_t v;

	t->ops.random(t->arg, &v, sizeof(v));
	return v;
}

uint64_t table_jitter(struct peer_table *t, uint64_t ms)
{
	return ms - ms / 4 + table_random_u32(t) % (ms / 2 + 1);
}

/* ---- indices ---------------------------------------------------------- */

struct slot *slot_find(struct peer_table *t, uint32_t index)
{
	struct slot *s;

	HASH_FIND(hh, t->slots, &index, sizeof(index), s);
	return s;
}

int slot_add_as(struct peer_table *t, struct slot *s, enum slot_kind kind,
		uint32_t index)
{
	s->index = index;
	s->kind = kind;
	HASH_ADD(hh, t->slots, index, sizeof(s->index), s);
	return s->hh.tbl ? 0 : -ENOMEM;
}

int slot_add(struct peer_table *t, struct slot *s, enum slot_kind kind)
{
	uint32_t index;

	/* Random: whoever did not see it cannot name it. */
	do
		index = table_random_u32(t);
	while (index == 0 || slot_find(t, index));
	return slot_add_as(t, s, kind, index);
}

void slot_remove(struct peer_table *t, struct slot *s)
{
	if (!s->hh.tbl)
		return;
	HASH_DELETE(hh, t->slots, s);
	s->hh.tbl = NULL;
}

/* ---- records ---------------------------------------------------------- */

static void peer_free(struct peer *p)
{
	struct peer_table *t = p->table;

	if (t->ops.forgotten)
		t->ops.forgotten(t->arg, p);
	peer_drop_sessions(p);
	path_free_all(p);
	peer_unpin_all(p);
	if (p->flows == 0)
		TAILQ_REMOVE(&t->idle, p, idle);
	HASH_DELETE(hh, t->peers, p);
	t->n_met -= !p->configured;
	free(p);
}

/* Where it was last. */
static bool is_of_source(const struct peer *p, const struct addr *source)
{
	return p->n_pin && addr_same_source(&p->pin[0].addr, source);
}

static uint32_t count_of_source(const struct peer_table *t,
				const struct addr *source)
{
	const struct peer *p;
	uint32_t n = 0;

	for (p = t->peers; p; p = p->hh.next)
		n += !p->configured && is_of_source(p, source);
	return n;
}

/* Who goes when the table is full: never one with flows or a configured
 * key; first those that have no session, longest silent first. With
 * `source`: one of those that were there last. */
static struct peer *peer_victim(const struct peer_table *t,
				const struct addr *source)
{
	struct peer *p, *with_session = NULL;

	TAILQ_FOREACH(p, &t->idle, idle) {
		if (p->configured || (source && !is_of_source(p, source)))
			continue;
		if (!p->session[0])
			return p;
		if (!with_session)
			with_session = p;
	}
	return with_session;
}

bool peer_table_is_full(const struct peer_table *t,
			const uint8_t key[CRYPTO_KEY_SIZE])
{
	return t->n_met >= t->peers_max && !t->ops.key_configured(t->arg, key);
}

/* Keys cost nothing: who makes them at one address pushes out his own, past
 * its share. */
static bool make_room(struct peer_table *t, const struct addr *source)
{
	/* Those that the operator has chosen do not count here. */
	struct share s = { .chosen = true };
	struct share_pool met;
	enum share_result r;
	struct peer *p;

	share_pool_init(&met, t->peers_max);
	met.used = t->n_met;
	r = share_ask(&met, NULL, 1);
	if (r == SHARE_ITS_OWN) {
		s.used = source ? count_of_source(t, source) : 0;
		r = share_ask(&met, &s, 1);
	}
	if (r == SHARE_ALL && source &&
	    count_of_source(t, source) >= met.share)
		r = SHARE_ITS_OWN;
	if (r == SHARE_TAKEN)
		return true;
	p = peer_victim(t, r == SHARE_ITS_OWN ? source : NULL);
	if (p)
		peer_free(p);
	return p;
}

struct peer *peer_obtain(struct peer_table *t,
			 const uint8_t key[CRYPTO_KEY_SIZE],
			 const struct addr *source)
{
	struct peer *p = peer_find_key(t, key);

	if (p)
		return p;
	if (!t->ops.key_configured(t->arg, key) && !make_room(t, source))
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	memcpy(p->key, key, sizeof(p->key));
	HASH_ADD(hh, t->peers, key, sizeof(p->key), p);
	if (!p->hh.tbl) {
		free(p);
		return NULL;
	}
	p->table = t;
	p->port = t->port;
	p->configured = t->ops.key_configured(t->arg, key);
	t->n_met += !p->configured;
	TAILQ_INIT(&p->paths);
	TAILQ_INSERT_TAIL(&t->idle, p, idle);
	return p;
}

struct peer *peer_restore(struct peer_table *t,
			  const uint8_t key[CRYPTO_KEY_SIZE], uint16_t port)
{
	struct peer *p = peer_obtain(t, key, NULL);

	if (p)
		p->port = port;
	return p;
}

void peer_touch(struct peer *p, uint64_t now_ms)
{
	p->heard_ms = now_ms;
	p->last_seen_s = p->table->ops.wall_s(p->table->arg);
	if (p->flows)
		return;
	TAILQ_REMOVE(&p->table->idle, p, idle);
	TAILQ_INSERT_TAIL(&p->table->idle, p, idle);
}

void peer_flows_inc(struct peer *p)
{
	if (p->flows++ == 0)
		TAILQ_REMOVE(&p->table->idle, p, idle);
}

void peer_flows_dec(struct peer *p)
{
	assert(p->flows > 0);
	if (--p->flows == 0)
		TAILQ_INSERT_TAIL(&p->table->idle, p, idle);
}

void peer_forget(struct peer *p, uint64_t now_ms)
{
	struct peer_table *t = p->table;
	bool had = p->session[0];

	peer_drop_sessions(p);
	if (had && t->ops.session_down)
		t->ops.session_down(t->arg, p, now_ms, REASON_NONE);
	peer_free(p);
	if (t->ops.pins_changed)
		t->ops.pins_changed(t->arg);
}

struct peer *peer_find_key(const struct peer_table *t,
			   const uint8_t key[CRYPTO_KEY_SIZE])
{
	struct peer *p;

	HASH_FIND(hh, t->peers, key, CRYPTO_KEY_SIZE, p);
	return p;
}

struct peer *peer_next(const struct peer_table *t, const struct peer *p)
{
	return p ? p->hh.next : t->peers;
}

unsigned int peer_table_count(const struct peer_table *t)
{
	return HASH_COUNT(t->peers);
}

const uint8_t *peer_key(const struct peer *p)
{
	return p->key;
}

uint16_t peer_port(const struct peer *p)
{
	return p->port;
}

enum peer_trust peer_get_trust(const struct peer *p)
{
	return p->configured ? PEER_CONFIGURED : PEER_FIRST_CONTACT;
}

uint64_t peer_heard_ms(const struct peer *p)
{
	return p->heard_ms;
}

uint32_t peer_flows(const struct peer *p)
{
	return p->flows;
}

void *peer_user(const struct peer *p)
{
	return p->user;
}

void peer_set_user(struct peer *p, void *user)
{
	p->user = user;
}

/* ---- the table -------------------------------------------------------- */

int peer_table_new(struct peer_table **table, const struct peer_ops *ops,
		   void *arg, const struct peer_config *config,
		   struct counters *counters)
{
	struct peer_table *t;

	if (config->peers_max == 0 || config->peers_max > PEER_MAX ||
	    config->port == 0)
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->ops = *ops;
	t->arg = arg;
	t->counters = counters;
	t->key = config->key;
	t->port = config->port;
	t->peers_max = config->peers_max;
	t->scan_ms = UINT64_MAX;
	cookie_mac1_key(t->key.public_key, t->mac1_key);
	ops->random(arg, t->source_key, sizeof(t->source_key));
	TAILQ_INIT(&t->idle);
	TAILQ_INIT(&t->attempt_list);
	TAILQ_INIT(&t->half_opens);
	TAILQ_INIT(&t->backoff_list);
	TAILQ_INIT(&t->probing);
	TAILQ_INIT(&t->account_list);
	TAILQ_INIT(&t->old);
	*table = t;
	return 0;
}

void peer_table_free(struct peer_table *t)
{
	if (!t)
		return;
	t->ops.forgotten = NULL;
	while (!TAILQ_EMPTY(&t->attempt_list))
		attempt_free(t, TAILQ_FIRST(&t->attempt_list));
	while (!TAILQ_EMPTY(&t->half_opens))
		half_open_free(t, TAILQ_FIRST(&t->half_opens));
	while (!TAILQ_EMPTY(&t->backoff_list))
		backoff_free(t, TAILQ_FIRST(&t->backoff_list));
	while (t->peers)
		peer_free(t->peers);
	account_free_all(t);
	cookie_wipe(&t->jar);
	crypto_wipe(t, sizeof(*t));
	free(t);
}

void peer_receive(struct peer_table *t, uint64_t now_ms,
		  const struct endpoint *local, const struct endpoint *remote,
		  const uint8_t *data, size_t len)
{
	struct wire_header h;
	enum wire_result result;

	table_count(t, COUNTER_RX_FRAMES);
	result = wire_decode_header(data, len, &h);
	if (result != WIRE_OK && result != WIRE_RESERVED) {
		table_count(t, result == WIRE_BAD_VERSION ?
				       COUNTER_RX_VERSION :
				       COUNTER_RX_MALFORMED);
		return;
	}
	account_came(t, &remote->addr, len);
	switch (h.type) {
	case WIRE_INIT:
		handshake_init_consume(t, now_ms, local, remote, data, len);
		break;
	case WIRE_RETRY:
		attempt_retry_consume(t, now_ms, local, remote, data, len);
		break;
	case WIRE_RESP:
		attempt_resp_consume(t, now_ms, local, remote, data, len);
		break;
	case WIRE_FIN:
		handshake_fin_consume(t, now_ms, local, remote, data, len);
		break;
	default:
		transport_receive(t, now_ms, &h, local, remote, data, len);
	}
	account_came(t, &remote->addr, 0);
}

uint64_t peer_table_deadline_ms(const struct peer_table *t)
{
	const struct half_open *h = TAILQ_FIRST(&t->half_opens);
	const struct session *s = TAILQ_FIRST(&t->old);
	uint64_t due_ms = t->scan_ms;

	if (h && h->made_ms + PEER_HALF_OPEN_MS < due_ms)
		due_ms = h->made_ms + PEER_HALF_OPEN_MS;
	if (s && s->superseded_ms + PEER_OLD_SESSION_MS < due_ms)
		due_ms = s->superseded_ms + PEER_OLD_SESSION_MS;
	return due_ms;
}

void peer_table_step(struct peer_table *t, uint64_t now_ms)
{
	handshake_expire(t, now_ms);
	session_expire(t, now_ms);
	if (now_ms < t->scan_ms)
		return;
	/* Both put back what is still to come. */
	t->scan_ms = UINT64_MAX;
	attempt_step(t, now_ms);
	path_step(t, now_ms);
}

void peer_table_answers(struct peer_table *t, bool answering)
{
	t->answering = answering;
}

void peer_table_policy_changed(struct peer_table *t, uint64_t now_ms)
{
	struct peer *p, *next;

	t->n_met = 0;
	HASH_ITER(hh, t->peers, p, next) {
		p->configured = t->ops.key_configured(t->arg, p->key);
		t->n_met += !p->configured;
		if (!p->session[0] || !t->ops.key_revoked(t->arg, p->key))
			continue;
		table_refuse(t, REASON_KEY_REVOKED);
		peer_drop_sessions(p);
		if (t->ops.session_down)
			t->ops.session_down(t->arg, p, now_ms,
					    REASON_KEY_REVOKED);
	}
}

/* The pair validated last of those that may still be used. */
static bool bye_path(const struct peer *p, struct peer_path *best)
{
	const struct peer_table *t = p->table;
	struct peer_path path;
	bool found = false;

	for (unsigned int i = 0; peer_path_at(p, i, &path); i++) {
		if (!path.validated_ms ||
		    (found && path.validated_ms <= best->validated_ms) ||
		    (t->ops.may_use &&
		     !t->ops.may_use(t->arg, p, &path.local.addr,
				     &path.remote.addr)))
			continue;
		*best = path;
		found = true;
	}
	return found;
}

void peer_table_bye(struct peer_table *t, uint64_t now_ms, enum reason why)
{
	struct wire_message m;
	struct peer *p, *next;
	struct peer_path path;

	HASH_ITER(hh, t->peers, p, next) {
		if (p->session[0] && bye_path(p, &path)) {
			memset(&m, 0, sizeof(m));
			m.type = WIRE_BYE;
			m.bye.reason = (uint8_t)why;
			peer_send(p, now_ms, &path.local.addr,
				  &path.remote.addr, &m, 0);
		}
		peer_drop_sessions(p);
	}
}
