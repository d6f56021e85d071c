/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * session: sealing and opening of transport messages, and which of a peer's
 * sessions is used.
 *
 * Owns counters, the replay window and rekeying. Nothing is believed, and
 * nothing changes, before a datagram is authentic and names the addresses
 * that it was seen with (peer.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peer_impl.h"

struct session *session_new(void)
{
	return calloc(1, sizeof(struct session));
}

void session_free(struct peer_table *t, struct session *s)
{
	if (!s)
		return;
	slot_remove(t, &s->slot);
	crypto_wipe(s, sizeof(*s));
	free(s);
}

/* Out of the peer's second place. */
static void session_retire(struct peer *p)
{
	struct session *s = p->session[1];

	if (!s)
		return;
	TAILQ_REMOVE(&p->table->old, s, old);
	p->session[1] = NULL;
	session_free(p->table, s);
}

static void session_supersede(struct peer *p, uint64_t now_ms)
{
	struct session *s = p->session[0];

	session_retire(p);
	p->session[1] = s;
	p->session[0] = NULL;
	if (!s)
		return;
	s->superseded_ms = now_ms;
	TAILQ_INSERT_TAIL(&p->table->old, s, old);
}

void session_adopt(struct peer *p, struct session *s, uint64_t now_ms)
{
	session_supersede(p, now_ms);
	s->peer = p;
	s->made_ms = now_ms;
	p->session[0] = s;
}

void peer_drop_sessions(struct peer *p)
{
	session_retire(p);
	session_free(p->table, p->session[0]);
	p->session[0] = NULL;
	path_free_all(p);
	for (unsigned int i = 0; i < p->n_pin; i++)
		p->pin[i].proved_ms = 0;
}

void session_expire(struct peer_table *t, uint64_t now_ms)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&t->old)) != NULL &&
	       s->superseded_ms + PEER_OLD_SESSION_MS <= now_ms)
		session_retire(s->peer);
}

static bool sessions_concurrent(const struct peer *p)
{
	const struct session *a = p->session[0], *b = p->session[1];

	return a && b && a->made_ms - b->made_ms < CONCURRENT_MS;
}

/*
 * Handshakes that cross on different address pairs are not seen to cross,
 * and their order may differ at the two ends. Both then go by the smaller
 * handshake hash: but only once the other end is heard in that session, for
 * it may have lost it by a restart.
 */
static void session_settle(struct peer *p, struct session *heard,
			   uint64_t now_ms)
{
	struct session *other = p->session[0];

	if (heard != p->session[1] || !sessions_concurrent(p) ||
	    memcmp(heard->keys.hash, other->keys.hash,
		   sizeof(heard->keys.hash)) > 0)
		return;
	TAILQ_REMOVE(&p->table->old, heard, old);
	p->session[0] = heard;
	p->session[1] = other;
	heard->made_ms = other->made_ms;
	other->superseded_ms = now_ms;
	TAILQ_INSERT_TAIL(&p->table->old, other, old);
}

/* ---- sending ---------------------------------------------------------- */

static int session_seal(struct session *s, const struct endpoint *local,
			const struct endpoint *remote, struct wire_message *m,
			size_t size, uint8_t out[WIRE_PAYLOAD_MAX],
			size_t *len)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct buf_writer w;
	struct wire_header h = { .type = m->type, .index = s->remote_index };
	int ret;

	if (s->counter >= PEER_COUNTER_LIMIT)
		return -EKEYREJECTED;
	m->src = *local;
	m->dst = *remote;
	buf_writer_init(&w, plain, sizeof(plain));
	ret = wire_encode_message(m, &w);
	if (ret == 0 && size > WIRE_HEADER_SIZE + CRYPTO_TAG_SIZE)
		ret = wire_pad(&w, size - WIRE_HEADER_SIZE - CRYPTO_TAG_SIZE);
	if (ret < 0)
		return ret;
	h.counter = s->counter++;
	wire_encode_header(&h, out);
	crypto_seal(s->keys.send, h.counter, out, WIRE_HEADER_SIZE, plain,
		    w.len, out + WIRE_HEADER_SIZE);
	*len = WIRE_HEADER_SIZE + w.len + CRYPTO_TAG_SIZE;
	return 0;
}

int session_send(struct session *s, uint64_t now_ms, enum standing as,
		 const struct endpoint *local, const struct endpoint *remote,
		 struct wire_message *m, size_t size)
{
	uint8_t out[WIRE_PAYLOAD_MAX];
	size_t len = 0;
	int ret = session_seal(s, local, remote, m, size, out, &len);

	if (ret < 0)
		return ret;
	return table_transmit(s->peer->table, now_ms, as, local, remote, out,
			      len);
}

void session_greet(struct peer *p, struct session *s, uint64_t now_ms)
{
	struct wire_message m;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_PROBE;
	p->table->ops.random(p->table->arg, m.probe.token,
			     sizeof(m.probe.token));
	session_send(s, now_ms, STANDING_OWED, &s->local, &s->remote, &m, 0);
}

/* Lazily, at a use; the initiator of the old session comes first. */
static bool rekey_due(const struct session *s, uint64_t now_ms)
{
	uint64_t age_ms = now_ms - s->made_ms;

	if (s->counter >= PEER_REKEY_COUNT)
		return true;
	return age_ms >=
	       PEER_REKEY_MS + (s->initiator ? 0 : PEER_YIELD_MS);
}

void session_renew(struct peer *p, uint64_t now_ms, const struct addr *local,
		   const struct addr *remote)
{
	if (rekey_due(p->session[0], now_ms) &&
	    remote_is_valid(p, now_ms, remote))
		peer_rehandshake(p, now_ms, local, remote);
}

static struct endpoint remote_endpoint(const struct peer *p,
				       const struct addr *remote)
{
	struct endpoint e = { .addr = *remote, .port = p->port };
	const struct path *path;

	TAILQ_FOREACH(path, &p->paths, entry)
		if (addr_equal(&path->remote.addr, remote))
			e.port = path->remote.port;
	return e;
}

int peer_send(struct peer *p, uint64_t now_ms, const struct addr *local,
	      const struct addr *remote, struct wire_message *m, size_t size)
{
	struct session *s = p->session[0];
	struct endpoint from = { .addr = *local, .port = p->table->port };
	struct endpoint to = remote_endpoint(p, remote);
	enum standing as = path_standing(p, now_ms, local, remote, m->type);
	/* What is owed is a peer's doing, though a timer may repeat it. */
	bool asked = as != STANDING_OWN || m->type == WIRE_BYE;
	uint8_t out[WIRE_PAYLOAD_MAX];
	size_t len = 0;
	int ret;

	if (!s)
		return -ENOTCONN;
	/* First, so that it is valid when the answer comes: what follows may
	 * be more. */
	if ((as == STANDING_OWN || as == STANDING_ASKED) &&
	    m->type != WIRE_BYE)
		path_ask(p, now_ms, local, remote, asked);
	ret = session_seal(s, &from, &to, m, size, out, &len);
	if (ret == 0)
		ret = table_transmit(p->table, now_ms, as, &from, &to, out,
				     len);
	if (ret == -EACCES)
		path_ask(p, now_ms, local, remote, asked);
	session_renew(p, now_ms, local, remote);
	return ret;
}

/* ---- receiving -------------------------------------------------------- */

static int session_open(struct session *s, const struct wire_header *h,
			const uint8_t *data, size_t len,
			uint8_t plain[WIRE_PLAIN_MAX], size_t *plain_len)
{
	if (len < WIRE_HEADER_SIZE + WIRE_PATH_SIZE + CRYPTO_TAG_SIZE ||
	    len > WIRE_PAYLOAD_MAX)
		return -EMSGSIZE;
	*plain_len = len - WIRE_HEADER_SIZE - CRYPTO_TAG_SIZE;
	return crypto_open(s->keys.receive, h->counter, data, WIRE_HEADER_SIZE,
			   data + WIRE_HEADER_SIZE, len - WIRE_HEADER_SIZE,
			   plain);
}

static bool endpoint_is(const uint8_t *from, const struct endpoint *e)
{
	uint8_t to[WIRE_ENDPOINT_SIZE];

	addr_to_mapped(&e->addr, to);
	to[16] = (uint8_t)(e->port >> 8);
	to[17] = (uint8_t)e->port;
	return memcmp(from, to, sizeof(to)) == 0;
}

/* The other end has the session: it is confirmed. NULL: it may not be. */
static struct peer *session_confirm(struct peer_table *t, struct session *s,
				    uint64_t now_ms)
{
	if (s->attempt)
		return attempt_confirm(t, now_ms, s->attempt);
	return s->peer;
}

static void bye_consume(struct peer *p, uint64_t now_ms,
			const struct wire_message *m)
{
	struct peer_table *t = p->table;
	enum reason why = m->bye.reason < REASON_MAX ?
				  (enum reason)m->bye.reason :
				  REASON_NONE;

	if (m->bye.reason == REASON_NONE)
		why = REASON_ENDED;
	peer_drop_sessions(p);
	if (t->ops.session_down)
		t->ops.session_down(t->arg, p, now_ms, why);
}

static void probe_consume(struct peer *p, uint64_t now_ms,
			  const struct peer_rx *rx)
{
	struct wire_message m;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_PROBE_ACK;
	m.probe = rx->message->probe;
	peer_send(p, now_ms, &rx->local.addr, &rx->remote.addr, &m, 0);
}

/*
 * A BYE from before a restart may come late: it says nothing about the session
 * since, in which the other end was heard, and is no sign that it uses the old
 * one.
 */
static bool bye_counts(const struct peer *p, const struct session *s,
		       const struct peer_rx *rx)
{
	return s == p->session[0] ||
	       (rx->newest && !p->session[0]->heard);
}

static void transport_dispatch(struct peer *p, uint64_t now_ms,
			       const struct session *s,
			       const struct peer_rx *rx)
{
	struct peer_table *t = p->table;

	switch (rx->message->type) {
	case WIRE_PROBE:
		probe_consume(p, now_ms, rx);
		break;
	case WIRE_PROBE_ACK:
		path_probe_acked(p, now_ms, rx);
		break;
	case WIRE_BYE:
		if (bye_counts(p, s, rx))
			bye_consume(p, now_ms, rx->message);
		else
			table_count(t, COUNTER_RX_STALE);
		break;
	default:
		t->answering = true;
		if (t->ops.message)
			t->ops.message(t->arg, p, now_ms, rx);
		t->answering = false;
	}
}

/* By the session, then by the number in it; the numbers from 2^23 on count as
 * one. */
static uint64_t sent_order(const struct session *s, uint64_t counter)
{
	const uint64_t last = ((uint64_t)1 << 23) - 1;

	return s->made_ms << 23 | (counter < last ? counter : last);
}

/* Authentic, fresh, and its addresses agree. */
static void transport_accept(struct session *s, uint64_t now_ms,
			     const struct wire_header *h, struct peer_rx *rx,
			     const uint8_t *plain, size_t plain_len)
{
	struct peer *p = s->peer;
	struct peer_table *t = p->table;
	struct wire_message m;
	struct path *path;
	enum wire_result result;

	s->heard = true;
	if (h->type != WIRE_BYE)
		session_settle(p, s, now_ms);
	peer_touch(p, now_ms);
	path = path_obtain(p, &rx->local, &rx->remote);
	if (path)
		path->heard_ms = now_ms;
	if (!remote_is_valid(p, now_ms, &rx->remote.addr))
		account_keep(t, now_ms);
	result = wire_decode_message(h->type, plain, plain_len, &m);
	if (result != WIRE_OK) {
		table_count(t, result == WIRE_RESERVED ?
				       COUNTER_RX_RESERVED :
				       COUNTER_RX_MALFORMED);
		return;
	}
	rx->newest = s == p->session[0] || sessions_concurrent(p);
	m.sent_order = sent_order(s, h->counter);
	rx->message = &m;
	transport_dispatch(p, now_ms, s, rx);
}

void transport_receive(struct peer_table *t, uint64_t now_ms,
		       const struct wire_header *h,
		       const struct endpoint *local,
		       const struct endpoint *remote, const uint8_t *data,
		       size_t len)
{
	struct peer_rx rx = { .local = *local, .remote = *remote, .len = len };
	struct slot *slot = slot_find(t, h->index);
	uint8_t plain[WIRE_PLAIN_MAX];
	size_t plain_len;
	struct session *s;

	if (!slot || slot->kind != SLOT_SESSION) {
		table_count(t, COUNTER_RX_UNKNOWN_INDEX);
		return;
	}
	s = (struct session *)slot;
	if (replay_check(&s->replay, h->counter) != REPLAY_FRESH) {
		table_count(t, COUNTER_RX_REPLAY);
		return;
	}
	if (session_open(s, h, data, len, plain, &plain_len) < 0) {
		table_count(t, COUNTER_RX_DECRYPT);
		return;
	}
	if (!endpoint_is(plain, remote) ||
	    !endpoint_is(plain + WIRE_ENDPOINT_SIZE, local)) {
		table_count(t, COUNTER_RX_PATH_MISMATCH);
		/* Behind a NAT nothing else can ever confirm it, and the
		 * handshake has said already that there is one. */
		if (s->attempt && s->attempt->nat)
			session_confirm(t, s, now_ms);
		return;
	}
	replay_commit(&s->replay, h->counter);
	if (!session_confirm(t, s, now_ms))
		return;
	transport_accept(s, now_ms, h, &rx, plain, plain_len);
}

/* ---- questions -------------------------------------------------------- */

bool peer_has_session(const struct peer *p)
{
	return p->session[0];
}

uint64_t peer_session_age_ms(const struct peer *p, uint64_t now_ms)
{
	return p->session[0] ? now_ms - p->session[0]->made_ms : 0;
}
