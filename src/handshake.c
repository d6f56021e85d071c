/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handshake: the responder's half, and what both halves share: the judgment
 * of keys, and what a finished handshake sets up.
 *
 * Owns half-open records, load, cookies and the limit per source. Order of
 * an INIT: may its source be answered at all; then load; only then state and
 * cryptography. A failed handshake changes nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peer_impl.h"

#define PRIVILEGED_PORTS 1024

#define SOURCE_TOKEN_MS 1000

static const struct bucket_kind source_handshakes = {
	.burst = PEER_SOURCE_BURST,
	.token_ms = SOURCE_TOKEN_MS,
};

static const struct bucket_kind strangers_handshakes = {
	.burst = PEER_STRANGERS_BURST,
	.token_ms = SOURCE_TOKEN_MS / 4,
};

/* ---- shared ----------------------------------------------------------- */

enum reason handshake_judge(struct peer_table *t,
			    const uint8_t key[CRYPTO_KEY_SIZE],
			    const struct endpoint *remote)
{
	const uint8_t *expected = t->ops.key_of_addr(t->arg, &remote->addr);
	bool configured = t->ops.key_configured(t->arg, key);
	const struct peer *p;

	if (memcmp(key, t->key.public_key, CRYPTO_KEY_SIZE) == 0)
		return REASON_LOOPBACK;
	if (t->ops.key_revoked(t->arg, key))
		return REASON_KEY_REVOKED;
	if (configured)
		return REASON_NONE;
	if (expected && memcmp(key, expected, CRYPTO_KEY_SIZE) != 0)
		return REASON_KEY_MISMATCH;
	/* Any user of a host without the daemon could speak for it. */
	if (remote->port >= PRIVILEGED_PORTS && remote->port != t->port)
		return REASON_UNPRIVILEGED_PORT;
	if (t->ops.first_contact_closed(t->arg)) {
		p = peer_find_key(t, key);
		if (!p || !peer_pinned_at(p, &remote->addr))
			return REASON_POLICY;
	}
	return REASON_NONE;
}

void handshake_report(struct peer_table *t, uint64_t now_ms, bool opened,
		      const struct endpoint *local,
		      const struct endpoint *remote, const uint8_t *key,
		      enum reason why)
{
	if (why == REASON_LOOPBACK)
		table_count(t, COUNTER_HS_SELF);
	else if (why != REASON_NO_PEER)
		table_refuse(t, why);
	if (t->ops.handshake_failed)
		t->ops.handshake_failed(t->arg, now_ms, opened, local, remote,
					key, why);
}

bool handshake_has_nat(const struct wire_hs_payload *said,
		       const struct endpoint *local,
		       const struct endpoint *remote)
{
	return !endpoint_equal(&said->src, remote) ||
	       !endpoint_equal(&said->dst, local);
}

struct session *handshake_session(struct peer_table *t,
				  struct noise_handshake *noise,
				  uint32_t index, uint32_t remote_index,
				  const struct endpoint *local,
				  const struct endpoint *remote)
{
	struct session *s = session_new();

	if (!s)
		return NULL;
	s->initiator = noise->initiator;
	s->local = *local;
	s->remote = *remote;
	s->remote_index = remote_index;
	if (noise_split(noise, &s->keys) != NOISE_OK ||
	    slot_add_as(t, &s->slot, SLOT_SESSION, index) < 0) {
		session_free(t, s);
		return NULL;
	}
	return s;
}

void handshake_complete(struct peer *p, struct session *s, uint64_t now_ms,
			bool nat, uint64_t rtt_ms)
{
	struct peer_table *t = p->table;
	struct endpoint local = s->local, remote = s->remote;
	bool first = !p->session[0];
	struct path *path;

	session_adopt(p, s, now_ms);
	table_count(t, COUNTER_HS_DONE);
	p->port = remote.port;
	peer_touch(p, now_ms);
	peer_retry_reset(t, &remote.addr);
	attempt_cancel(t, &local.addr, &remote.addr);
	path = path_obtain(p, &local, &remote);
	if (path) {
		path_mark(path, now_ms, nat);
		if (rtt_ms != UINT64_MAX)
			path_sample_rtt(path, rtt_ms);
	}
	/* The first transport message, at once: it stops the FINs. */
	if (!s->initiator) {
		if (path && !nat)
			path_probe(path, now_ms, true);
		else
			session_greet(p, s, now_ms);
	}
	if (t->ops.session_up)
		t->ops.session_up(t->arg, p, now_ms, first, &local, &remote);
	path = path_find(p, &local.addr, &remote.addr);
	if (path && !nat)
		path_report(path, now_ms, true);
}

/* ---- half-open records ------------------------------------------------ */

static bool half_open_akin(const struct half_open *a,
			   const struct half_open *b)
{
	if (a->known != b->known)
		return false;
	return a->known ? addr_equal(&a->remote.addr, &b->remote.addr) :
			  addr_same_source(&a->remote.addr, &b->remote.addr);
}

/* The oldest of the source that has most for its shares. */
static struct half_open *half_open_victim(const struct peer_table *t)
{
	struct half_open *h, *most = NULL;

	TAILQ_FOREACH(h, &t->half_opens, entry)
		if (!most || h->nth * most->shares > most->nth * h->shares)
			most = h;
	TAILQ_FOREACH(h, &t->half_opens, entry)
		if (half_open_akin(h, most))
			break;
	return h;
}

void half_open_free(struct peer_table *t, struct half_open *h)
{
	struct half_open *later = h;

	while ((later = TAILQ_NEXT(later, entry)) != NULL)
		later->nth = (uint16_t)(later->nth - half_open_akin(later, h));
	slot_remove(t, &h->slot);
	TAILQ_REMOVE(&t->half_opens, h, entry);
	t->n_half_open--;
	noise_wipe(&h->noise);
	free(h);
}

void handshake_expire(struct peer_table *t, uint64_t now_ms)
{
	struct half_open *h;

	while ((h = TAILQ_FIRST(&t->half_opens)) != NULL &&
	       h->made_ms + PEER_HALF_OPEN_MS <= now_ms) {
		table_count(t, COUNTER_HS_TIMEOUT);
		half_open_free(t, h);
	}
}

bool half_open_fresh(const struct peer_table *t, uint64_t now_ms,
		     const struct addr *local, const struct addr *remote)
{
	const struct half_open *h;

	TAILQ_FOREACH(h, &t->half_opens, entry)
		if (now_ms - h->made_ms < HALF_OPEN_FRESH_MS &&
		    addr_equal(&h->local.addr, local) &&
		    addr_equal(&h->remote.addr, remote))
			return true;
	return false;
}

/* The record that a copy of the same INIT made. */
static struct half_open *half_open_of(struct peer_table *t,
				      const struct endpoint *local,
				      const struct endpoint *remote,
				      uint32_t remote_index,
				      const struct wire_init *m)
{
	struct half_open *h;

	TAILQ_FOREACH(h, &t->half_opens, entry)
		if (h->remote_index == remote_index &&
		    endpoint_equal(&h->remote, remote) &&
		    endpoint_equal(&h->local, local) &&
		    memcmp(h->noise.remote_ephemeral, m->noise,
			   CRYPTO_KEY_SIZE) == 0)
			return h;
	return NULL;
}

/* ---- load ------------------------------------------------------------- */

static bool under_load(struct peer_table *t, uint64_t now_ms)
{
	if (now_ms - t->rate_ms >= 1000) {
		t->rate_before = now_ms - t->rate_ms < 2000 ? t->rate : 0;
		t->rate = 0;
		t->rate_ms = now_ms;
	}
	if (t->rate < UINT32_MAX)
		t->rate++;
	return t->rate > PEER_LOAD_RATE || t->rate_before > PEER_LOAD_RATE ||
	       t->n_half_open >= PEER_LOAD_HALF_OPEN;
}

/* The bucket of an address, or of its /64 where it is IPv6. */
static struct bucket *bucket_of(struct peer_table *t, struct bucket *buckets,
				const struct addr *source, bool whole)
{
	size_t len = source->family == 4 ? 4 : whole ? 8 : 16;
	struct crypto_part part[] = { { &source->family, 1 },
				      { source->byte, len } };
	uint32_t at;

	crypto_blake2b((uint8_t *)&at, sizeof(at), t->source_key,
		       sizeof(t->source_key), part, 2);
	return &buckets[at % PEER_SOURCES];
}

static uint32_t sockets_to(struct peer_table *t, const struct addr *remote)
{
	return t->ops.sockets ? t->ops.sockets(t->arg, remote) : 0;
}

/* Many hosts may be behind one address. */
static unsigned int shares_of(struct peer_table *t, const struct addr *remote)
{
	uint32_t n = 1 + sockets_to(t, remote) / PEER_SOURCE_SOCKETS;

	return n < PEER_SOURCE_SHARES ? n : PEER_SOURCE_SHARES;
}

/* An address that its neighbours in a /64 do not speak for. */
static bool source_known(struct peer_table *t, const struct addr *remote)
{
	return t->ops.key_of_addr(t->arg, remote) ||
	       peer_find_addr(t, remote) || sockets_to(t, remote);
}

/* It has shown that it receives there. */
static bool source_take(struct peer_table *t, uint64_t now_ms,
			const struct addr *source)
{
	const unsigned int shares = shares_of(t, source);
	const struct bucket_kind kind = {
		.burst = PEER_SOURCE_BURST * shares,
		.token_ms = SOURCE_TOKEN_MS / shares,
	};

	if (!source_known(t, source) &&
	    !bucket_take(bucket_of(t, t->source[2], source, true),
			 &strangers_handshakes, now_ms))
		return false;
	return bucket_take(bucket_of(t, t->source[1], source, false), &kind,
			   now_ms);
}

static void retry_send(struct peer_table *t, uint64_t now_ms,
		       const struct endpoint *local,
		       const struct endpoint *remote, uint32_t remote_index,
		       const struct wire_init *m)
{
	uint8_t out[WIRE_RETRY_SIZE], cookie[WIRE_COOKIE_SIZE];
	uint8_t fresh[COOKIE_SECRET_SIZE];

	if (cookie_rotate_due(&t->jar, now_ms)) {
		t->ops.random(t->arg, fresh, sizeof(fresh));
		cookie_rotate(&t->jar, now_ms, fresh);
		crypto_wipe(fresh, sizeof(fresh));
	}
	if (cookie_make(&t->jar, now_ms, remote, remote_index, m->noise,
			cookie) < 0)
		return;
	wire_encode_retry(remote_index, cookie, out);
	table_count(t, COUNTER_HS_RETRY_TX);
	table_transmit(t, now_ms, STANDING_OWED, local, remote, out,
		       sizeof(out));
}

/*
 * Is there room for this one? Past its share, a source is asked for a
 * cookie even without load: whoever forged those INITs cannot answer.
 */
static bool load_admits(struct peer_table *t, uint64_t now_ms,
			const struct endpoint *local,
			const struct endpoint *remote, uint32_t remote_index,
			const struct wire_init *m)
{
	static const uint8_t none[WIRE_COOKIE_SIZE];
	bool load = under_load(t, now_ms);

	if (cookie_is_valid(&t->jar, now_ms, remote, remote_index, m->noise,
			    m->cookie)) {
		if (source_take(t, now_ms, &remote->addr))
			return true;
		table_count(t, COUNTER_HS_RATE_LIMITED);
		return false;
	}
	if (memcmp(m->cookie, none, sizeof(none)) != 0)
		table_count(t, COUNTER_HS_COOKIE_BAD);
	if (!load &&
	    bucket_take(bucket_of(t, t->source[0], &remote->addr, true),
			&source_handshakes, now_ms))
		return true;
	retry_send(t, now_ms, local, remote, remote_index, m);
	return false;
}

/* ---- INIT ------------------------------------------------------------- */

/* Else silence: scanners learn no static key. Look-ups come first. */
static bool source_admitted(struct peer_table *t,
			    const struct endpoint *local,
			    const struct endpoint *remote,
			    const uint8_t *data)
{
	bool configured = t->ops.key_of_addr(t->arg, &remote->addr);
	bool low = remote->port < PRIVILEGED_PORTS ||
		   remote->port == t->port;

	if (configured)
		return true;
	if (t->ops.may_answer(t->arg, &local->addr, &remote->addr)) {
		/* From a high port only a configured key may come, which
		 * FIN will tell: who knows our key has that chance. */
		if (low || cookie_mac1_is_valid(t->mac1_key, data))
			return true;
		table_refuse(t, REASON_UNPRIVILEGED_PORT);
		return false;
	}
	if (cookie_mac1_is_valid(t->mac1_key, data) &&
	    t->ops.locator_allowed(t->arg, &remote->addr))
		return true;
	table_count(t, COUNTER_HS_INIT_SILENT);
	return false;
}

static enum noise_result resp_create(struct peer_table *t,
				     struct half_open *h,
				     const struct wire_init *m)
{
	struct wire_hs_payload own = { .sender_index = h->slot.index,
				       .src = h->local,
				       .dst = h->remote };
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE], noise[WIRE_NOISE_RESP_SIZE];
	uint8_t ephemeral[CRYPTO_KEY_SIZE];
	enum noise_result result;
	size_t len;

	noise_begin_sacip(&h->noise, false, WIRE_VERSION, &t->key);
	result = noise_init_consume(&h->noise, m->noise, sizeof(m->noise),
				    payload, sizeof(payload), &len);
	if (result != NOISE_OK)
		return result;
	wire_encode_hs_payload(&own, payload);
	t->ops.random(t->arg, ephemeral, sizeof(ephemeral));
	result = noise_resp_create(&h->noise, ephemeral, payload,
				   sizeof(payload), noise, sizeof(noise),
				   &len);
	crypto_wipe(ephemeral, sizeof(ephemeral));
	if (result == NOISE_OK)
		wire_encode_resp(h->remote_index, noise, h->resp);
	return result;
}

static void half_open_begin(struct peer_table *t, uint64_t now_ms,
			    const struct endpoint *local,
			    const struct endpoint *remote,
			    uint32_t remote_index, const struct wire_init *m)
{
	struct half_open *h, *other;

	if (t->n_half_open >= PEER_HALF_OPEN_MAX) {
		table_count(t, COUNTER_HS_HALF_OPEN_FULL);
		half_open_free(t, half_open_victim(t));
	}
	h = calloc(1, sizeof(*h));
	if (!h)
		return;
	h->local = *local;
	h->remote = *remote;
	h->remote_index = remote_index;
	h->made_ms = now_ms;
	h->shares = (uint8_t)shares_of(t, &remote->addr);
	h->known = source_known(t, &remote->addr);
	h->nth = 1;
	TAILQ_FOREACH(other, &t->half_opens, entry)
		h->nth = (uint16_t)(h->nth + half_open_akin(other, h));
	TAILQ_INSERT_TAIL(&t->half_opens, h, entry);
	t->n_half_open++;
	if (slot_add(t, &h->slot, SLOT_HALF_OPEN) < 0 ||
	    resp_create(t, h, m) != NOISE_OK) {
		table_count(t, COUNTER_HS_FAILED);
		half_open_free(t, h);
		return;
	}
	table_count(t, COUNTER_HS_RESP_TX);
	table_transmit(t, now_ms, STANDING_OWED, local, remote, h->resp,
		       sizeof(h->resp));
}

void handshake_init_consume(struct peer_table *t, uint64_t now_ms,
			    const struct endpoint *local,
			    const struct endpoint *remote,
			    const uint8_t *data, size_t len)
{
	struct wire_init m;
	struct wire_init_payload p;
	struct half_open *h;

	table_count(t, COUNTER_HS_INIT_RX);
	if (wire_decode_init(data, len, &m) != WIRE_OK ||
	    wire_decode_init_payload(m.noise + NOISE_INIT_OVERHEAD,
				     WIRE_INIT_PAYLOAD_SIZE, &p) != WIRE_OK) {
		table_count(t, COUNTER_RX_MALFORMED);
		return;
	}
	if (p.version_min > WIRE_VERSION || p.version_max < WIRE_VERSION) {
		table_count(t, COUNTER_RX_VERSION);
		return;
	}
	if (!source_admitted(t, local, remote, data))
		return;
	h = half_open_of(t, local, remote, p.sender_index, &m);
	if (h) {
		if (h->copies++ < RESP_COPIES_MAX)
			table_transmit(t, now_ms, STANDING_OWED, local, remote,
				       h->resp, sizeof(h->resp));
		else
			h->copies = RESP_COPIES_MAX;
		return;
	}
	if (!load_admits(t, now_ms, local, remote, p.sender_index, &m) ||
	    attempt_crosses(t, now_ms, local, remote, &m))
		return;
	half_open_begin(t, now_ms, local, remote, p.sender_index, &m);
}

/* ---- FIN -------------------------------------------------------------- */

static void fin_mark(const uint8_t *data, size_t len,
		     uint8_t mark[FIN_MARK_SIZE])
{
	struct crypto_part part = { data, len };

	crypto_blake2b(mark, FIN_MARK_SIZE, NULL, 0, &part, 1);
}

/* The same FIN once more: our first message was lost. */
static void fin_again(struct peer_table *t, uint64_t now_ms, struct session *s,
		      const struct endpoint *local,
		      const struct endpoint *remote, const uint8_t *data,
		      size_t len)
{
	uint8_t mark[FIN_MARK_SIZE];

	fin_mark(data, len, mark);
	if (!s->peer || s->initiator || s->heard ||
	    !endpoint_equal(local, &s->local) ||
	    !endpoint_equal(remote, &s->remote) ||
	    memcmp(mark, s->fin_mark, sizeof(mark)) != 0) {
		table_count(t, COUNTER_RX_REPLAY);
		return;
	}
	session_greet(s->peer, s, now_ms);
}

/* The other end is who it says, and hears us. Takes over from `h`. */
static void fin_accept(struct peer_table *t, uint64_t now_ms,
		       struct half_open *h, bool nat, const uint8_t *data,
		       size_t len)
{
	/* Copies of RESP make it unclear which one was answered. */
	uint64_t rtt_ms = h->copies ? UINT64_MAX : now_ms - h->made_ms;
	uint32_t index = h->slot.index;
	struct session *s;
	struct peer *p;

	p = peer_obtain(t, h->noise.remote_static, &h->remote.addr);
	if (!p) {
		handshake_report(t, now_ms, false, &h->local, &h->remote,
				 h->noise.remote_static, REASON_LIMIT);
		half_open_free(t, h);
		return;
	}
	slot_remove(t, &h->slot);
	s = handshake_session(t, &h->noise, index, h->remote_index, &h->local,
			      &h->remote);
	half_open_free(t, h);
	if (!s) {
		table_count(t, COUNTER_HS_FAILED);
		return;
	}
	fin_mark(data, len, s->fin_mark);
	handshake_complete(p, s, now_ms, nat, rtt_ms);
}

void handshake_fin_consume(struct peer_table *t, uint64_t now_ms,
			   const struct endpoint *local,
			   const struct endpoint *remote,
			   const uint8_t *data, size_t len)
{
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE];
	struct wire_hs_payload said;
	struct half_open *h;
	struct slot *slot;
	const uint8_t *noise;
	enum noise_result result;
	enum reason why;
	uint32_t index;
	size_t n;

	if (wire_decode_fin(data, len, &index, &noise) != WIRE_OK) {
		table_count(t, COUNTER_RX_MALFORMED);
		return;
	}
	slot = slot_find(t, index);
	if (slot && slot->kind == SLOT_SESSION) {
		fin_again(t, now_ms, (struct session *)slot, local, remote,
			  data, len);
		return;
	}
	if (!slot || slot->kind != SLOT_HALF_OPEN) {
		table_count(t, COUNTER_RX_UNKNOWN_INDEX);
		return;
	}
	h = (struct half_open *)slot;
	if (!endpoint_equal(local, &h->local) ||
	    !endpoint_equal(remote, &h->remote)) {
		table_count(t, COUNTER_RX_PATH_MISMATCH);
		return;
	}
	result = noise_fin_consume(&h->noise, noise, WIRE_NOISE_FIN_SIZE,
				   payload, sizeof(payload), &n);
	if (result != NOISE_OK && result != NOISE_SELF) {
		table_count(t, COUNTER_RX_DECRYPT);
		return;
	}
	if (result == NOISE_SELF)
		why = REASON_LOOPBACK;
	else if (wire_decode_hs_payload(payload, n, &said) != WIRE_OK ||
		 said.sender_index != h->remote_index)
		why = REASON_SYSTEM;
	else
		why = handshake_judge(t, h->noise.remote_static, remote);
	if (why == REASON_NONE) {
		fin_accept(t, now_ms, h,
			   handshake_has_nat(&said, local, remote), data,
			   len);
		return;
	}
	table_count(t, COUNTER_HS_FAILED);
	handshake_report(t, now_ms, false, local, remote,
			 result == NOISE_OK ? h->noise.remote_static :
					      t->key.public_key,
			 why);
	half_open_free(t, h);
}
