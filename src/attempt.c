/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * attempt: the initiator's half of a handshake, and when to try at all.
 *
 * Owns the attempts under way, one per address pair, and the backoff per
 * remote address: a host that does not run the daemon sees one datagram per
 * step. A known peer whose session does not answer is asked by PTO instead.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peer_impl.h"

#define URGENT_TRIES_MAX 32
#define FLAG_STRICT 0x100 /* beside PEER_*: no other key will do */
#define FLAG_GREETING 0x200 /* PEER_GREETINGS_MAX */

/* ---- backoff ---------------------------------------------------------- */

static struct backoff *backoff_find(const struct peer_table *t,
				    const struct addr *remote)
{
	struct backoff *b;

	HASH_FIND(hh, t->backoffs, remote, sizeof(*remote), b);
	return b;
}

void backoff_free(struct peer_table *t, struct backoff *b)
{
	HASH_DELETE(hh, t->backoffs, b);
	TAILQ_REMOVE(&t->backoff_list, b, entry);
	free(b);
}

static struct backoff *backoff_obtain(struct peer_table *t,
				      const struct addr *remote)
{
	struct backoff *b = backoff_find(t, remote);

	if (b)
		return b;
	if (HASH_COUNT(t->backoffs) >= PEER_BACKOFFS_MAX)
		backoff_free(t, TAILQ_FIRST(&t->backoff_list));
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->addr = *remote;
	HASH_ADD(hh, t->backoffs, addr, sizeof(b->addr), b);
	if (!b->hh.tbl) {
		free(b);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&t->backoff_list, b, entry);
	return b;
}

/* Until when the attempt that begins now has the remote to itself. */
static uint64_t backoff_advance(struct peer_table *t, uint64_t now_ms,
				const struct addr *remote)
{
	struct backoff *b = backoff_obtain(t, remote);

	if (!b)
		return now_ms + PEER_BACKOFF_MIN_MS;
	b->step_ms = b->step_ms ? 2 * b->step_ms : PEER_BACKOFF_MIN_MS;
	if (b->step_ms > PEER_BACKOFF_MAX_MS)
		b->step_ms = PEER_BACKOFF_MAX_MS;
	b->next_ms = now_ms + b->step_ms;
	TAILQ_REMOVE(&t->backoff_list, b, entry);
	TAILQ_INSERT_TAIL(&t->backoff_list, b, entry);
	return b->next_ms;
}

uint64_t peer_retry_ms(const struct peer_table *t, const struct addr *remote)
{
	const struct backoff *b = backoff_find(t, remote);

	return b ? b->next_ms : 0;
}

void peer_retry_reset(struct peer_table *t, const struct addr *remote)
{
	struct backoff *b = backoff_find(t, remote);

	if (b)
		backoff_free(t, b);
}

/* ---- attempts --------------------------------------------------------- */

static struct attempt *attempt_find(const struct peer_table *t,
				    const struct addr *local,
				    const struct addr *remote)
{
	struct attempt_key pair;
	struct attempt *a;

	memset(&pair, 0, sizeof(pair));
	pair.local = *local;
	pair.remote = *remote;
	HASH_FIND(by_pair, t->attempts, &pair, sizeof(pair), a);
	return a;
}

bool peer_is_initiating(const struct peer_table *t, const struct addr *local,
			const struct addr *remote)
{
	return attempt_find(t, local, remote);
}

void attempt_free(struct peer_table *t, struct attempt *a)
{
	slot_remove(t, &a->slot);
	HASH_DELETE(by_pair, t->attempts, a);
	t->attempts_of[a->counts_for]--;
	TAILQ_REMOVE(&t->attempt_list, a, entry);
	session_free(t, a->session);
	noise_wipe(&a->noise);
	free(a);
}

static void attempt_fail(struct peer_table *t, uint64_t now_ms,
			 struct attempt *a, enum reason why)
{
	struct endpoint local = a->local, remote = a->remote;
	uint8_t key[CRYPTO_KEY_SIZE];
	bool named = why != REASON_NO_PEER;

	/* Nobody else answered. */
	if (!named && a->mismatch)
		why = REASON_KEY_MISMATCH;
	memcpy(key, a->noise.remote_static, sizeof(key));
	if (a->session)
		memcpy(key, a->session->keys.remote_static, sizeof(key));
	table_count(t, why == REASON_NO_PEER ? COUNTER_HS_TIMEOUT :
					       COUNTER_HS_FAILED);
	attempt_free(t, a);
	handshake_report(t, now_ms, true, &local, &remote,
			 named ? key : NULL, why);
}

void attempt_cancel(struct peer_table *t, const struct addr *local,
		    const struct addr *remote)
{
	struct attempt *a = attempt_find(t, local, remote);

	/* One whose FIN is out may be confirmed yet, at the other end. */
	if (a && a->state != ATTEMPT_FIN)
		attempt_free(t, a);
}

static uint64_t attempt_pto_ms(struct peer_table *t, const struct attempt *a)
{
	const struct peer *p = a->known ? peer_find_key(t, a->remote_key) :
					  NULL;
	uint64_t ms = PEER_PTO_UNKNOWN_MS;

	if (p)
		ms = peer_pto_ms(p, &a->local.addr, &a->remote.addr);
	if (a->state == ATTEMPT_FIN && a->rtt_ms < PEER_PTO_MAX_MS)
		ms = 3 * a->rtt_ms + PEER_PTO_MIN_MS;
	ms <<= a->tries < 10 ? a->tries : 10;
	if (ms > PEER_PTO_BACKOFF_MAX_MS)
		ms = PEER_PTO_BACKOFF_MAX_MS;
	return table_jitter(t, ms);
}

static void attempt_set_due(struct peer_table *t, struct attempt *a,
			    uint64_t ms)
{
	a->due_ms = ms < a->end_ms ? ms : a->end_ms;
	table_due(t, a->due_ms);
}

/* Whom a handshake is opened with was chosen by us. */
static int attempt_transmit(struct peer_table *t, uint64_t now_ms,
			    const struct attempt *a, const uint8_t *data,
			    size_t len)
{
	const struct peer *p = a->known ? peer_find_key(t, a->remote_key) :
					  NULL;
	bool valid = p && remote_is_valid(p, now_ms, &a->remote.addr);

	return table_transmit(t, now_ms,
			      valid ? STANDING_VALID : STANDING_OWN,
			      &a->local, &a->remote, data, len);
}

static int attempt_send_init(struct peer_table *t, uint64_t now_ms,
			     struct attempt *a)
{
	attempt_set_due(t, a, a->urgent ? now_ms + attempt_pto_ms(t, a) :
					  a->end_ms);
	a->tries++;
	a->late_retries = 0;
	a->sent_ms = now_ms;
	return attempt_transmit(t, now_ms, a, a->init, sizeof(a->init));
}

/* Noise 1 and the datagram around it. */
static int attempt_make_init(struct peer_table *t, struct attempt *a)
{
	struct wire_init m;
	struct wire_init_payload own = { .version_min = WIRE_VERSION,
					 .version_max = WIRE_VERSION,
					 .sender_index = a->slot.index };
	uint8_t payload[WIRE_INIT_PAYLOAD_SIZE], mac1_key[CRYPTO_KEY_SIZE];
	uint8_t ephemeral[CRYPTO_KEY_SIZE];
	enum noise_result result;
	size_t len;

	memset(&m, 0, sizeof(m));
	wire_encode_init_payload(&own, payload);
	noise_begin_sacip(&a->noise, true, WIRE_VERSION, &t->key);
	t->ops.random(t->arg, ephemeral, sizeof(ephemeral));
	result = noise_init_create(&a->noise, ephemeral, payload,
				   sizeof(payload), m.noise, sizeof(m.noise),
				   &len);
	crypto_wipe(ephemeral, sizeof(ephemeral));
	if (result != NOISE_OK)
		return -EIO;
	wire_encode_init(&m, a->init);
	if (a->known) {
		cookie_mac1_key(a->remote_key, mac1_key);
		cookie_mac1_set(mac1_key, a->init);
	}
	return 0;
}

static int attempt_begin(struct peer_table *t, uint64_t now_ms,
			 struct attempt *a)
{
	int ret = slot_add(t, &a->slot, SLOT_ATTEMPT);

	if (ret == 0)
		ret = attempt_make_init(t, a);
	if (ret < 0) {
		attempt_free(t, a);
		return ret;
	}
	a->state = ATTEMPT_INIT;
	a->begun_ms = now_ms;
	if (a->urgent) {
		a->end_ms = now_ms + URGENT_LIFE_MS;
	} else {
		a->end_ms = backoff_advance(t, now_ms, &a->remote.addr);
		if (a->end_ms > now_ms + ATTEMPT_LIFE_MS)
			a->end_ms = now_ms + ATTEMPT_LIFE_MS;
	}
	table_count(t, COUNTER_HS_ATTEMPTS);
	ret = attempt_send_init(t, now_ms, a);
	/* The urgent one goes on: the network may come back. */
	if (ret < 0 && !a->urgent)
		attempt_free(t, a);
	return ret;
}

/* Where those with that key are counted; without one, with that source. Hashed,
 * as buckets are: this is asked for each flow. */
static uint32_t counted_at(const struct peer_table *t,
			   const struct addr *remote, const uint8_t *key)
{
	const struct crypto_part part[] = {
		{ key ? key : remote->byte,
		  key ? CRYPTO_KEY_SIZE : remote->family == 4 ? 4 : 8 },
		{ &remote->family, key ? 0 : 1 },
	};
	uint32_t at;

	crypto_blake2b((uint8_t *)&at, sizeof(at), t->source_key,
		       sizeof(t->source_key), part, 2);
	return at % PEER_SOURCES;
}

static struct attempt *attempt_new(struct peer_table *t,
				   const struct endpoint *local,
				   const struct endpoint *remote,
				   const uint8_t *key)
{
	struct attempt *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->local = *local;
	a->remote = *remote;
	a->pair.local = local->addr;
	a->pair.remote = remote->addr;
	a->rtt_ms = UINT64_MAX;
	a->end_ms = UINT64_MAX;
	if (key) {
		memcpy(a->remote_key, key, sizeof(a->remote_key));
		a->known = true;
	}
	HASH_ADD(by_pair, t->attempts, pair, sizeof(a->pair), a);
	if (!a->by_pair.tbl) {
		free(a);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&t->attempt_list, a, entry);
	a->counts_for = counted_at(t, &remote->addr, key);
	t->attempts_of[a->counts_for]++;
	return a;
}

/* There is one already; an urgent wish makes it urgent. */
static int attempt_hurry(struct peer_table *t, uint64_t now_ms,
			 struct attempt *a, const struct endpoint *remote,
			 const uint8_t *key, unsigned int flags)
{
	if (a->urgent || a->state == ATTEMPT_FIN)
		return -EALREADY;
	if (key) {
		memcpy(a->remote_key, key, sizeof(a->remote_key));
		a->known = true;
		a->remote = *remote;
	}
	a->urgent = true;
	a->strict = flags & FLAG_STRICT;
	a->greeting = flags & FLAG_GREETING;
	if (a->state == ATTEMPT_YIELDING)
		return attempt_begin(t, now_ms, a);
	a->end_ms = now_ms + URGENT_LIFE_MS;
	attempt_send_init(t, now_ms, a);
	return -EALREADY;
}

/* Addresses of flows cost who connects from them nothing: with a peer that is
 * not known yet there are a share of one source's at most, and none in the
 * reserve, of which each known peer has a share. */
static bool has_room(const struct peer_table *t, const struct addr *remote,
		     const uint8_t *key)
{
	struct share s = { .chosen = key && t->ops.key_configured(t->arg, key) };
	struct share_pool pool;

	share_pool_init(&pool, PEER_ATTEMPTS_MAX);
	pool.used = HASH_CNT(by_pair, t->attempts);
	if (!key && share_ask(&pool, NULL, 1) != SHARE_TAKEN)
		return false;
	s.used = t->attempts_of[counted_at(t, remote, key)];
	return key ? share_ask(&pool, &s, 1) == SHARE_TAKEN :
		     s.used < pool.share;
}

static int initiate(struct peer_table *t, uint64_t now_ms,
		    const struct endpoint *local,
		    const struct endpoint *remote, const uint8_t *key,
		    unsigned int flags)
{
	struct attempt *a = attempt_find(t, &local->addr, &remote->addr);
	bool urgent = flags & PEER_URGENT;

	if (a)
		return urgent ? attempt_hurry(t, now_ms, a, remote, key, flags) :
				-EALREADY;
	if (!urgent && now_ms < peer_retry_ms(t, &remote->addr))
		return -EAGAIN;
	if (half_open_fresh(t, now_ms, &local->addr, &remote->addr))
		return -EALREADY;
	if (!has_room(t, &remote->addr, key)) {
		table_refuse(t, REASON_LIMIT);
		return -ENOBUFS;
	}
	a = attempt_new(t, local, remote, key);
	if (!a)
		return -ENOMEM;
	a->urgent = urgent;
	a->strict = flags & FLAG_STRICT;
	a->greeting = flags & FLAG_GREETING;
	if (!(flags & PEER_YIELD))
		return attempt_begin(t, now_ms, a);
	a->state = ATTEMPT_YIELDING;
	attempt_set_due(t, a, now_ms + PEER_YIELD_MS +
				      table_random_u32(t) %
					      PEER_YIELD_JITTER_MS);
	return 0;
}

/* The other end may be unable to reach us, or to know who we are to be. */
static bool goes_first(const struct addr *local, const uint8_t *configured)
{
	return configured || addr_classify(local) == ADDR_PRIVATE;
}

/* Several keys may speak from one address, each from a port of its own: it is
 * the last one seen, or, where that did not answer, now and then whoever is at
 * the port of all. NULL: that one. */
static const struct peer *whom_to_ask(struct peer_table *t,
				      const struct addr *remote,
				      unsigned int flags)
{
	const struct peer *p = peer_find_addr(t, remote);

	if (!p || p->port == t->port)
		return p;
	if (flags & PEER_OTHERS ||
	    (backoff_find(t, remote) && table_random_u32(t) % 2))
		return NULL;
	return p;
}

int peer_initiate(struct peer_table *t, uint64_t now_ms,
		  const struct addr *local, const struct addr *remote,
		  unsigned int flags)
{
	const uint8_t *key = t->ops.key_of_addr(t->arg, remote);
	const struct peer *p = key ? peer_find_key(t, key) :
				     whom_to_ask(t, remote, flags);
	const unsigned int strict = key ? FLAG_STRICT : 0;
	struct endpoint from = { .addr = *local, .port = t->port };
	struct endpoint to = { .addr = *remote, .port = t->port };

	if (flags & PEER_OTHERS && peer_port_taken(t, remote))
		return -EALREADY;
	if (goes_first(local, key))
		flags &= ~(unsigned int)PEER_YIELD;
	if (p && !key)
		key = p->key;
	if (p)
		to.port = p->port;
	return initiate(t, now_ms, &from, &to, key, flags | strict);
}

int peer_rehandshake(struct peer *p, uint64_t now_ms,
		     const struct addr *local, const struct addr *remote)
{
	struct endpoint from = { .addr = *local, .port = p->table->port };
	struct endpoint to = { .addr = *remote, .port = p->port };

	return initiate(p->table, now_ms, &from, &to, p->key,
			PEER_URGENT | FLAG_STRICT);
}

int peer_greet(struct peer *p, uint64_t now_ms, const struct addr *local,
	       const struct addr *remote)
{
	struct endpoint from = { .addr = *local, .port = p->table->port };
	struct endpoint to = { .addr = *remote, .port = p->port };

	return initiate(p->table, now_ms, &from, &to, p->key,
			PEER_URGENT | FLAG_STRICT | FLAG_GREETING);
}

/* No INIT more. */
static bool is_exhausted(const struct attempt *a)
{
	if (a->state == ATTEMPT_FIN)
		return a->tries >= FIN_TRIES;
	return a->tries >= (a->greeting ? PEER_GREETINGS_MAX :
					  URGENT_TRIES_MAX);
}

/* The handshake hash of an INIT that came; false where it is none. */
static bool hash_of_init(const struct peer_table *t,
			 const struct wire_init *m,
			 uint8_t hash[CRYPTO_HASH_SIZE])
{
	uint8_t payload[WIRE_INIT_PAYLOAD_SIZE];
	struct noise_handshake theirs;
	enum noise_result result;
	size_t len;

	noise_begin_sacip(&theirs, false, WIRE_VERSION, &t->key);
	result = noise_init_consume(&theirs, m->noise, sizeof(m->noise),
				    payload, sizeof(payload), &len);
	memcpy(hash, theirs.hash, CRYPTO_HASH_SIZE);
	noise_wipe(&theirs);
	return result == NOISE_OK;
}

bool attempt_crosses(struct peer_table *t, uint64_t now_ms,
		     const struct endpoint *local,
		     const struct endpoint *remote, const struct wire_init *m)
{
	struct attempt *a = attempt_find(t, &local->addr, &remote->addr);
	uint8_t theirs[CRYPTO_HASH_SIZE];

	if (!a || a->state != ATTEMPT_INIT)
		return false;
	/* Theirs is smaller: answer it, but let ours stand until theirs is
	 * complete, or a forged INIT could end it. Nothing in it depends on
	 * addresses, which the ends may see differently. */
	if (!hash_of_init(t, m, theirs) ||
	    memcmp(a->noise.hash, theirs, sizeof(theirs)) > 0)
		return false;
	/* Ours may have been lost; the other end waits for it now. */
	if (!is_exhausted(a) && a->cross_copies < INIT_CROSS_COPIES_MAX) {
		a->cross_copies++;
		attempt_transmit(t, now_ms, a, a->init, sizeof(a->init));
		a->rtt_ms = UINT64_MAX;
		a->tries++;
	}
	return true;
}

/* ---- RETRY, RESP ------------------------------------------------------ */

/* The attempt that waits for an answer under that index from there. */
static struct attempt *attempt_of_answer(struct peer_table *t, uint32_t index,
					 const struct endpoint *local,
					 const struct endpoint *remote)
{
	struct slot *slot = slot_find(t, index);
	struct attempt *a;

	if (!slot || slot->kind != SLOT_ATTEMPT) {
		table_count(t, slot ? COUNTER_RX_UNEXPECTED :
				      COUNTER_RX_UNKNOWN_INDEX);
		return NULL;
	}
	a = (struct attempt *)slot;
	if (!endpoint_equal(&a->local, local) ||
	    !endpoint_equal(&a->remote, remote)) {
		table_count(t, COUNTER_RX_PATH_MISMATCH);
		return NULL;
	}
	return a;
}

void attempt_retry_consume(struct peer_table *t, uint64_t now_ms,
			   const struct endpoint *local,
			   const struct endpoint *remote,
			   const uint8_t *data, size_t len)
{
	uint8_t cookie[WIRE_COOKIE_SIZE];
	struct attempt *a;
	uint32_t index;
	uint8_t tries;

	if (wire_decode_retry(data, len, &index, cookie) != WIRE_OK) {
		table_count(t, COUNTER_RX_MALFORMED);
		return;
	}
	a = attempt_of_answer(t, index, local, remote);
	if (!a)
		return;
	/* Who saw INIT can be faster with one of his own: R's answer to the
	 * INIT with that cookie is the right one. A copy says nothing new. */
	if (memcmp(a->init + WIRE_INIT_COOKIE_AT, cookie,
		   sizeof(cookie)) == 0) {
		table_count(t, COUNTER_RX_UNEXPECTED);
		return;
	}
	/* Where INIT is repeated, it bears one of those that came since, each as
	 * likely as the other: he cannot be the last one for sure. */
	if (a->retries >= RETRIES_MAX) {
		table_count(t, COUNTER_RX_UNEXPECTED);
		if (table_random_u32(t) % ++a->late_retries == 0)
			memcpy(a->init + WIRE_INIT_COOKIE_AT, cookie,
			       sizeof(cookie));
		return;
	}
	table_count(t, COUNTER_HS_RETRY_RX);
	a->retries++;
	tries = a->tries;
	/* mac1 does not cover it. */
	memcpy(a->init + WIRE_INIT_COOKIE_AT, cookie, sizeof(cookie));
	attempt_send_init(t, now_ms, a);
	a->tries = tries;
}

static void attempt_send_fin(struct peer_table *t, uint64_t now_ms,
			     struct attempt *a)
{
	attempt_set_due(t, a, now_ms + attempt_pto_ms(t, a));
	a->tries++;
	attempt_transmit(t, now_ms, a, a->fin, sizeof(a->fin));
}

/* Noise 3, and the session that waits to be confirmed. */
static int attempt_make_fin(struct peer_table *t, struct attempt *a,
			    uint32_t remote_index)
{
	struct wire_hs_payload own = { .sender_index = a->slot.index,
				       .src = a->local,
				       .dst = a->remote };
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE], noise[WIRE_NOISE_FIN_SIZE];
	size_t len;

	wire_encode_hs_payload(&own, payload);
	if (noise_fin_create(&a->noise, payload, sizeof(payload), noise,
			     sizeof(noise), &len) != NOISE_OK)
		return -EIO;
	wire_encode_fin(remote_index, noise, a->fin);
	slot_remove(t, &a->slot);
	a->session = handshake_session(t, &a->noise, a->slot.index,
				       remote_index, &a->local, &a->remote);
	if (!a->session)
		return -ENOMEM;
	a->session->attempt = a;
	return 0;
}

void attempt_resp_consume(struct peer_table *t, uint64_t now_ms,
			  const struct endpoint *local,
			  const struct endpoint *remote, const uint8_t *data,
			  size_t len)
{
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE];
	struct noise_handshake before;
	struct wire_hs_payload said;
	enum noise_result result;
	struct attempt *a;
	const uint8_t *noise, *who;
	enum reason why;
	uint32_t index;
	size_t n;

	if (wire_decode_resp(data, len, &index, &noise) != WIRE_OK) {
		table_count(t, COUNTER_RX_MALFORMED);
		return;
	}
	a = attempt_of_answer(t, index, local, remote);
	if (!a)
		return;
	before = a->noise;
	result = noise_resp_consume(&a->noise, noise, WIRE_NOISE_RESP_SIZE,
				    payload, sizeof(payload), &n);
	/* Who saw INIT can answer it faster than the peer that is meant, and
	 * say that he is we. */
	who = result == NOISE_SELF ? t->key.public_key :
				     a->noise.remote_static;
	if (a->strict && (result == NOISE_OK || result == NOISE_SELF) &&
	    memcmp(who, a->remote_key, CRYPTO_KEY_SIZE) != 0) {
		a->noise = before;
		a->mismatch = t->ops.key_of_addr(t->arg, &remote->addr);
		result = NOISE_DECRYPT;
	}
	crypto_wipe(&before, sizeof(before));
	if (result == NOISE_SELF) {
		attempt_fail(t, now_ms, a, REASON_LOOPBACK);
		return;
	}
	if (result != NOISE_OK) {
		table_count(t, COUNTER_RX_DECRYPT);
		return;
	}
	if (wire_decode_hs_payload(payload, n, &said) != WIRE_OK)
		why = REASON_SYSTEM;
	else
		why = handshake_judge(t, a->noise.remote_static, remote);
	if (why == REASON_NONE &&
	    attempt_make_fin(t, a, said.sender_index) < 0)
		why = REASON_SYSTEM;
	if (why != REASON_NONE) {
		attempt_fail(t, now_ms, a, why);
		return;
	}
	/* Or it is unclear which INIT was answered. */
	if (a->tries == 1 && a->retries <= 1)
		a->rtt_ms = now_ms - a->sent_ms;
	a->nat = handshake_has_nat(&said, local, remote);
	a->state = ATTEMPT_FIN;
	a->mismatch = false;
	a->tries = 0;
	a->end_ms = now_ms + ATTEMPT_LIFE_MS;
	attempt_send_fin(t, now_ms, a);
}

struct peer *attempt_confirm(struct peer_table *t, uint64_t now_ms,
			     struct attempt *a)
{
	struct session *s = a->session;
	uint64_t rtt_ms = a->rtt_ms;
	bool nat = a->nat;
	struct peer *p = peer_obtain(t, s->keys.remote_static,
				     &a->remote.addr);

	if (!p) {
		attempt_fail(t, now_ms, a, REASON_LIMIT);
		return NULL;
	}
	s->attempt = NULL;
	a->session = NULL;
	attempt_free(t, a);
	handshake_complete(p, s, now_ms, nat, rtt_ms);
	return p;
}

/* ---- time ------------------------------------------------------------- */

/* False where an event was told: the list may be another one. */
static bool attempt_step_one(struct peer_table *t, uint64_t now_ms,
			     struct attempt *a)
{
	if (a->due_ms > now_ms) {
		table_due(t, a->due_ms);
		return true;
	}
	if (a->state == ATTEMPT_YIELDING) {
		a->end_ms = UINT64_MAX;
		attempt_begin(t, now_ms, a);
		return false;
	}
	if (now_ms >= a->end_ms || is_exhausted(a)) {
		attempt_fail(t, now_ms, a, REASON_NO_PEER);
		return false;
	}
	if (a->state == ATTEMPT_FIN)
		attempt_send_fin(t, now_ms, a);
	else
		attempt_send_init(t, now_ms, a);
	return true;
}

void attempt_step(struct peer_table *t, uint64_t now_ms)
{
	struct attempt *a = TAILQ_FIRST(&t->attempt_list), *next;

	while (a) {
		next = TAILQ_NEXT(a, entry);
		a = attempt_step_one(t, now_ms, a) ?
			    next :
			    TAILQ_FIRST(&t->attempt_list);
	}
}
