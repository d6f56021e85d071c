/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * post: what a host may send to an address, and the challenges that make one
 * valid.
 *
 * Owns each host's table of peers: the paths of both, and the accounts of
 * addresses, which are all peers'. Links the real path.c and account.c; stands
 * in for what is around them (peer.c, session.c, pins.c). Of a datagram only
 * its size is made.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "peer_impl.h"

#define MOVE_SIZE 300 /* padded, as assoc.c does */
#define ACCEPT_SIZE 160
#define SEALED_SIZE (WIRE_HEADER_SIZE + WIRE_PATH_SIZE + CRYPTO_TAG_SIZE)
#define FLOWS_ENTRY 79 /* with a proof */
#define NAME_ENTRY 75
#define FLOWS_ACK_ENTRY 39

struct post {
	struct peer_table table;
	struct peer peer[OTHERS];
	struct session session[OTHERS]; /* stands for any */
	struct counters counters;
	bool unsaid[OTHERS], unlisted; /* for want of a valid address */
	struct world *w;
	struct host *h;
};

/* ---- what stands for other modules ------------------------------------- */

/* pins.c: the last few addresses, and when they answered. */
void peer_seen_at(struct peer *p, uint64_t now_ms, const struct addr *remote,
		  bool proved)
{
	struct pin pin = { .addr = *remote };
	unsigned int i = 0;

	while (i < p->n_pin && !addr_equal(&p->pin[i].addr, remote))
		i++;
	if (i < p->n_pin)
		pin = p->pin[i];
	else if (i < PEER_PIN_ADDRS_MAX)
		p->n_pin++;
	else
		i--;
	memmove(&p->pin[1], &p->pin[0], i * sizeof(p->pin[0]));
	if (proved)
		pin.proved_ms = now_ms;
	p->pin[0] = pin;
}

bool peer_pinned_at(const struct peer *p, const struct addr *remote)
{
	for (unsigned int i = 0; i < p->n_pin; i++)
		if (addr_equal(&p->pin[i].addr, remote))
			return true;
	return false;
}

uint64_t peer_remote_validated_ms(const struct peer *p,
				  const struct addr *remote)
{
	for (unsigned int i = 0; i < p->n_pin; i++)
		if (addr_equal(&p->pin[i].addr, remote))
			return p->pin[i].proved_ms;
	return 0;
}

uint64_t table_jitter(struct peer_table *t, uint64_t ms)
{
	const struct post *o = t->arg;

	return ms - ms / 4 + world_random(o->w) % (ms / 2 + 1);
}

/* No session grows old here. */
void session_renew(struct peer *p, uint64_t now_ms, const struct addr *local,
		   const struct addr *remote)
{
	(void)p;
	(void)now_ms;
	(void)local;
	(void)remote;
}

static void on_random(void *arg, void *to, size_t len)
{
	struct post *o = arg;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)to)[i] = (uint8_t)world_random(o->w);
}

static const uint8_t *on_key_of_addr(void *arg, const struct addr *remote)
{
	struct post *o = arg;

	return o->h->configured != NO_ADDR &&
	       o->h->configured == sim_addr_number(remote) ?
		       o->peer[OTHER_PAIR].key : NULL;
}

static bool on_may_answer(void *arg, const struct addr *local,
			  const struct addr *remote)
{
	const struct post *o = arg;

	(void)local;
	return host_talks_to(o->h, sim_addr_number(remote));
}

static void on_path_result(void *arg, struct peer *p, uint64_t now_ms,
			   const struct peer_path *path, bool ok)
{
	struct post *o = arg;
	unsigned int who = (unsigned int)(p - o->peer);

	(void)now_ms;
	(void)path;
	if (!ok || !o->unsaid[who])
		return;
	o->unsaid[who] = false;
	host_repeat(o->w, o->h, who);
	if (who == OTHER_PAIR && o->unlisted) {
		o->unlisted = false;
		member_list(o->w, o->h);
	}
}

/* ---- sending ------------------------------------------------------------ */

static uint8_t wire_type(const struct dgram *d)
{
	switch (d->kind) {
	case D_MOVE:
		return WIRE_MOVE;
	case D_PROBE:
		return WIRE_PROBE;
	default:
		return WIRE_SYNC; /* as others: never of our own accord */
	}
}

static size_t size_of(const struct dgram *d)
{
	switch (d->kind) {
	case D_MOVE:
		return SEALED_SIZE + 70;
	case D_ACCEPT:
		return SEALED_SIZE + 31;
	case D_REFUSE:
		return WIRE_REFUSE_SIZE(0);
	case D_PROVE:
		return WIRE_PROVE_SIZE(0);
	case D_DONE:
		return SEALED_SIZE + 12;
	case D_HELLO:
		return WIRE_INIT_SIZE;
	case D_WELCOME:
		return WIRE_RESP_SIZE;
	case D_SYNC:
		return SEALED_SIZE + 22 + TRACKS * (28 + 12);
	case D_ASK:
	case D_FLOWS:
		return SEALED_SIZE + WIRE_FLOWS_FIXED + FLOWS_ENTRY;
	case D_FLOWS_ACK:
		return SEALED_SIZE + WIRE_FLOWS_FIXED + FLOWS_ACK_ENTRY;
	case D_LIST:
		return SEALED_SIZE + WIRE_FLOWS_FIXED + FLOWS * NAME_ENTRY;
	case D_LIST_ACK:
		return SEALED_SIZE + WIRE_FLOWS_FIXED +
		       FLOWS * FLOWS_ACK_ENTRY;
	default:
		return SEALED_SIZE + WIRE_PROBE_SIZE;
	}
}

size_t post_size(const struct dgram *d)
{
	size_t size = size_of(d);

	return d->kind == D_MOVE ? MOVE_SIZE :
	       d->kind == D_ACCEPT ? ACCEPT_SIZE : size;
}

static size_t padded(const struct peer *p, uint64_t now,
		     const struct addr *local, const struct addr *remote,
		     const struct dgram *d)
{
	size_t size = size_of(d), most = post_size(d), limit;

	if (most == size)
		return size;
	limit = peer_send_limit(p, now, local, remote, wire_type(d));
	return limit < size ? size : limit < most ? limit : most;
}

static int emit(struct post *o, unsigned int who, enum standing as,
		struct dgram *d)
{
	const struct addr remote = sim_addr(d->dst);
	int ret = account_spend(&o->table, o->w->now, &remote, d->len, as);

	if (ret < 0) {
		trace(o->w, "host %d: %zu bytes to %d are not paid for",
		      o->h->id, d->len, d->dst);
		o->w->stats.unpaid++;
		if (as == STANDING_OWN)
			ledger_refused(o->w, o->h, who, d,
				       o->table.answering);
		return ret;
	}
	trace(o->w, "host %d: %zu bytes (kind %d) from %d to %d, %s", o->h->id,
	      d->len, d->kind, d->src, d->dst,
	      as == STANDING_VALID ? "valid" :
	      as == STANDING_OWED ? "owed" :
	      as == STANDING_OWN ? "unasked" : "on a peer's word");
	ledger_sent(o->w, o->h, who, d, o->table.answering,
		    as == STANDING_OWED);
	world_send(o->w, d);
	return 0;
}

void post_send(struct world *w, struct host *h, unsigned int who,
	       struct dgram *d)
{
	struct post *o = h->post;
	struct peer *p = &o->peer[who];
	const struct addr local = sim_addr(d->src), remote = sim_addr(d->dst);
	const bool sealed = d->kind != D_HELLO && d->kind != D_WELCOME;
	enum standing as = STANDING_OWED;

	if (sealed)
		as = path_standing(p, w->now, &local, &remote, wire_type(d));
	else if (d->kind == D_HELLO)
		as = remote_is_valid(p, w->now, &remote) ? STANDING_VALID :
							   STANDING_OWN;
	if (sealed && (as == STANDING_OWN || as == STANDING_ASKED))
		path_ask(p, w->now, &local, &remote, as != STANDING_OWN);
	d->len = padded(p, w->now, &local, &remote, d);
	if (emit(o, who, as, d) == 0 || !sealed)
		return;
	o->unsaid[who] = true;
	o->unlisted = o->unlisted || d->kind == D_LIST;
	path_ask(p, w->now, &local, &remote, as != STANDING_OWN);
}

/* session.c: of path.c, a PROBE. */
int session_send(struct session *s, uint64_t now_ms, enum standing as,
		 const struct endpoint *local, const struct endpoint *remote,
		 struct wire_message *m, size_t size)
{
	struct post *o = s->peer->table->arg;
	unsigned int who = (unsigned int)(s->peer - o->peer);
	struct dgram d = { .kind = D_PROBE, .from_host = o->h->id,
			   .session = host_session(o->h, who),
			   .src = sim_addr_number(&local->addr),
			   .dst = sim_addr_number(&remote->addr) };

	(void)now_ms;
	(void)size;
	memcpy(d.challenge, m->probe.token, sizeof(d.challenge));
	d.len = size_of(&d);
	if (o->h->owned[d.src % ADDRS])
		return emit(o, who, as, &d);
	return 0;
}

/* ---- receiving ---------------------------------------------------------- */

static struct endpoint at(int number)
{
	return (struct endpoint){ .addr = sim_addr(number), .port = 1021 };
}

static void mark(struct post *o, unsigned int who, int local, int remote)
{
	struct endpoint l = at(local), r = at(remote);
	struct path *path = path_obtain(&o->peer[who], &l, &r);

	if (path)
		path_validated(path, o->w->now);
}

void post_came(struct world *w, struct host *h, const struct dgram *d)
{
	const struct addr remote = sim_addr(d->src);

	trace(w, "host %d: %zu bytes (kind %d) at %d from %d", h->id, d->len,
	      d->kind, d->dst, d->src);
	account_came(&h->post->table, &remote, d->len);
	ledger_came(w, h, d);
}

void post_dealt_with(struct host *h, const struct dgram *d)
{
	const struct addr remote = sim_addr(d->src);

	h->post->table.answering = false;
	account_came(&h->post->table, &remote, 0);
}

void post_authentic(struct world *w, struct host *h, unsigned int who,
		    const struct dgram *d)
{
	struct post *o = h->post;
	struct peer *p = &o->peer[who];
	const struct endpoint local = at(d->dst), remote = at(d->src);
	struct path *path = path_obtain(p, &local, &remote);

	if (path)
		path->heard_ms = w->now;
	if (!remote_is_valid(p, w->now, &remote.addr))
		account_keep(&o->table, w->now);
	ledger_authentic(h);
	o->table.answering = d->kind != D_PROBE && d->kind != D_PROBE_ACK;
}

void post_answers(struct host *h, bool answering)
{
	h->post->table.answering = answering;
}

void post_probe(struct world *w, struct host *h, unsigned int who,
		const struct dgram *d)
{
	struct dgram back = { .kind = D_PROBE_ACK, .from_host = h->id,
			      .session = host_session(h, who),
			      .src = d->dst, .dst = d->src };
	struct wire_message m;
	struct peer_rx rx = { .local = at(d->dst), .remote = at(d->src),
			      .message = &m };

	if (d->kind == D_PROBE) {
		memcpy(back.challenge, d->challenge, sizeof(back.challenge));
		post_send(w, h, who, &back);
		return;
	}
	memcpy(m.probe.token, d->challenge, sizeof(m.probe.token));
	ledger_answered(w, h, who, d);
	path_probe_acked(&h->post->peer[who], w->now, &rx);
}

void post_session(struct world *w, struct host *h, unsigned int who, int local,
		  int remote)
{
	ledger_valid(w, h, who, remote);
	h->post->peer[who].session[0] = &h->post->session[who];
	mark(h->post, who, local, remote);
}

void post_proved(struct host *h, unsigned int who, const struct dgram *d)
{
	const struct endpoint local = at(d->dst), remote = at(d->src);

	peer_path_proved(&h->post->peer[who], h->post->w->now, &local,
			 &remote);
}

void post_validate(struct host *h, unsigned int who, int local, int remote)
{
	const struct addr l = sim_addr(local), r = sim_addr(remote);

	(void)peer_validate_path(&h->post->peer[who], h->post->w->now, &l, &r);
}

bool post_is_valid(const struct host *h, unsigned int who, int remote)
{
	const struct addr r = sim_addr(remote);

	return remote_is_valid(&h->post->peer[who], h->post->w->now, &r);
}

/* Where flow packets go: so that it stays valid. */
void post_renew(struct host *h, unsigned int who, int local, int remote)
{
	const struct post *o = h->post;
	const struct addr r = sim_addr(remote);
	const uint64_t ms = peer_remote_validated_ms(&o->peer[who], &r);

	if (ms && o->w->now - ms < PEER_VALID_MS &&
	    o->w->now - ms >= PEER_RENEW_MS / 2)
		post_validate(h, who, local, remote);
}

/* ---- life --------------------------------------------------------------- */

uint64_t post_deadline(const struct host *h)
{
	return h->post->table.scan_ms;
}

void post_timers(struct world *w, struct host *h)
{
	struct peer_table *t = &h->post->table;

	if (w->now < t->scan_ms)
		return;
	t->scan_ms = UINT64_MAX;
	path_step(t, w->now);
}

void post_addr_gone(struct host *h, int i)
{
	const struct addr local = sim_addr(h->id * ADDRS + i);

	for (unsigned int who = 0; who < OTHERS; who++) {
		struct path *path, *after;

		for (path = TAILQ_FIRST(&h->post->peer[who].paths); path;
		     path = after) {
			after = TAILQ_NEXT(path, entry);
			if (addr_equal(&path->local.addr, &local))
				path_free(path);
		}
	}
}

/* What a daemon that starts knows: nothing. */
void post_forget(struct host *h)
{
	struct post *o = h->post;

	for (unsigned int who = 0; who < OTHERS; who++) {
		struct peer *p = &o->peer[who];

		path_free_all(p);
		memset(p, 0, sizeof(*p));
		TAILQ_INIT(&p->paths);
		p->table = &o->table;
		p->key[0] = (uint8_t)(who + 1);
		p->port = 1021;
		o->session[who].peer = p;
		o->unsaid[who] = false;
	}
	o->unlisted = false;
	account_free_all(&o->table);
	account_came(&o->table, &(struct addr){ 0 }, 0);
	o->table.answering = false;
	o->table.scan_ms = UINT64_MAX;
	ledger_forget(h);
}

void post_start(struct world *w, struct host *h)
{
	struct post *o = h->post;

	o->w = w;
	o->h = h;
	post_forget(h);
}

struct post *post_new(void)
{
	struct post *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->table.ops.random = on_random;
	o->table.ops.key_of_addr = on_key_of_addr;
	o->table.ops.may_answer = on_may_answer;
	o->table.ops.path_result = on_path_result;
	o->table.arg = o;
	o->table.counters = &o->counters;
	o->table.port = 1021;
	TAILQ_INIT(&o->table.probing);
	TAILQ_INIT(&o->table.account_list);
	for (unsigned int who = 0; who < OTHERS; who++)
		TAILQ_INIT(&o->peer[who].paths);
	return o;
}

void post_free(struct post *o)
{
	if (!o)
		return;
	for (unsigned int who = 0; who < OTHERS; who++)
		path_free_all(&o->peer[who]);
	account_free_all(&o->table);
	free(o);
}
