/* SPDX-License-Identifier: GPL-2.0-or-later */
/* claim: ownership between hosts with model flows, on a lossy network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "claim_impl.h"
#include "random.h"

#define LETTERS 4096
#define SEEDS 30

struct world;
struct end;

/* One half of a session: what a daemon keeps of one peer. */
struct link {
	struct end *end;
	struct link *far;
	struct claim_table *table;
	struct link *passes; /* what comes goes on there, untouched but for: */
	bool retags; /* it knows the bytes, and makes tags of its own */
	unsigned int unanswered;
	bool down;
};

struct end {
	struct world *w;
	struct counters counters;
	uint8_t key[CRYPTO_KEY_SIZE];
	unsigned int confirmed, refused, retracked, lost, released, left;
	unsigned int together; /* of these */
	enum reason path; /* what conditions (a) and (b) say */
	bool deaf; /* its kernel refuses */
	bool stranger; /* the others never proved themselves to it */
	enum reason deny; /* policy */
	unsigned int looks; /* at paths: each asks the kernel */
	bool crowded; /* copies of packets are others' */
	bool drops; /* it gives up at once what is confirmed */
	bool lets_go; /* ... and what the other end has ended */
	bool waits; /* with what is to be lost */
	bool keeps; /* what it is to leave */
	unsigned int ends_lost; /* the next FLOW_ENDs that are */
};

/* A connection between two ends, with the numbers of both. */
struct model {
	struct claim claim[2];
	struct tuple tuple[2];
	struct end *end[2];
	bool alive[2];
	unsigned int watched[2];
	uint32_t isn[2];
	uint64_t rate[2]; /* bytes (or datagrams) per ms that each sends */
	uint32_t shift[2]; /* added to its numbers on the way */
	bool cut[2]; /* its nonces do not arrive */
	bool mute[2]; /* its socket does not answer who wants its numbers */
	unsigned int pokes, nonces[2];
	uint8_t nonce[2][WIRE_NONCE_SIZE]; /* that it sent last */
};

struct letter {
	bool used;
	uint64_t at_ms;
	struct link *to;
	uint8_t type;
	uint64_t order; /* of sending */
	uint8_t plain[WIRE_PLAIN_MAX];
	size_t len;
};

/* A nonce on its way. */
struct parcel {
	uint64_t at_ms;
	struct model *m;
	int to;
	uint8_t nonce[WIRE_NONCE_SIZE];
	struct nonce_numbers n;
};

struct world {
	uint64_t now_ms, random, delay_ms, spread_ms;
	uint32_t pto_ms;
	unsigned int loss, dup;
	bool busy; /* some flow has traffic */
	struct model *model;
	unsigned int n_models;
	struct letter *letter;
	unsigned int n_letters; /* in use */
	uint64_t n_sent;
	struct link *link[2 + 2 * 16];
	unsigned int n_links;
	uint64_t sent, sent_flows;
	struct parcel parcel[LETTERS];
	unsigned int n_parcels, nonce_loss, transactions;
};

/* ---- flows ------------------------------------------------------------ */

static struct model *model_of(const struct claim *c, int *side)
{
	const struct tuple *t = c->tuple;
	/* the claim is in an array of two at the begin of its model */
	*side = t->local.port == 7 ? 1 : 0;
	return (struct model *)((uintptr_t)(c - *side));
}

static uint32_t snd_nxt(const struct model *m, int side, uint64_t ms)
{
	return m->isn[side] + (uint32_t)(m->rate[side] * ms);
}

/* What an own segment at `side` says now. */
static void sample(struct world *w, struct model *m, int side)
{
	const struct nonce_numbers n = {
		.seq = snd_nxt(m, side, w->now_ms),
		.ack = snd_nxt(m, !side, w->now_ms - w->delay_ms),
		.window = 512, .stamped = true,
		.tsval = (uint32_t)w->now_ms, .tsecr = 7,
	};

	if (m->alive[side] && !m->mute[side])
		claim_segment(&m->claim[side], w->now_ms, &n);
}

/* A millisecond of traffic. */
static void traffic(struct world *w)
{
	for (unsigned int i = 0; i < w->n_models; i++) {
		struct model *m = &w->model[i];

		for (int side = 0; side < 2; side++) {
			if (m->watched[side] && (m->rate[0] || m->rate[1]))
				sample(w, m, side);
		}
	}
}

/* ---- callbacks -------------------------------------------------------- */

static int on_send(void *arg, uint64_t now_ms, struct wire_message *m)
{
	struct link *l = arg;
	struct world *w = l->end->w;
	struct buf_writer b;
	unsigned int copies, i = 0;

	w->sent++;
	w->sent_flows += m->type == WIRE_FLOWS;
	m->src.addr = m->dst.addr = addr_from_in4(htonl(0x0a000001));
	m->src.port = m->dst.port = 1021;
	if (l->down)
		return -ENOTCONN;
	if (m->type == WIRE_FLOW_END && l->end->ends_lost) {
		l->end->ends_lost--;
		return 0;
	}
	copies = 1 + (random_below(&w->random, 100) < w->dup);
	while (copies--) {
		struct letter *to;

		if (random_below(&w->random, 100) < w->loss)
			continue;
		while (i < LETTERS && w->letter[i].used)
			i++;
		assert_true(i < LETTERS);
		to = &w->letter[i];
		to->used = true;
		w->n_letters++;
		to->at_ms = now_ms + w->delay_ms +
			    random_below(&w->random, w->spread_ms + 1);
		to->to = l->far;
		to->type = m->type;
		to->order = ++w->n_sent;
		buf_writer_init(&b, to->plain, sizeof(to->plain));
		/* It fits, and is what a decoder takes. */
		assert_int_equal(wire_encode_message(m, &b), 0);
		to->len = b.len;
	}
	return 0;
}

static void on_random(void *arg, void *to, size_t len)
{
	random_fill(&((struct link *)arg)->end->w->random, to, len);
}

static uint32_t on_pto(void *arg)
{
	return ((struct link *)arg)->end->w->pto_ms;
}

static enum reason on_lookup(void *arg, uint64_t now_ms,
			     const struct tuple *tuple, struct claim **c)
{
	struct end *e = ((struct link *)arg)->end;
	struct world *w = e->w;

	(void)now_ms;
	if (e->deny)
		return e->deny;
	for (unsigned int i = 0; i < w->n_models; i++)
		for (int side = 0; side < 2; side++) {
			struct model *m = &w->model[i];

			if (m->end[side] != e || !m->alive[side] ||
			    !tuple_equal(&m->tuple[side], tuple))
				continue;
			*c = &m->claim[side];
			return REASON_NONE;
		}
	return REASON_UNKNOWN_FLOW;
}

static bool on_met(void *arg, uint64_t now_ms, const struct addr *remote)
{
	(void)now_ms, (void)remote;
	return !((struct link *)arg)->end->stranger;
}

static enum reason on_path(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	(void)c;
	((struct link *)arg)->end->looks++;
	return ((struct link *)arg)->end->path;
}

static int on_watch(void *arg, struct claim *c, bool on, void **copies)
{
	int side;
	struct model *m = model_of(c, &side);

	assert_int_equal(c->tuple->proto, IPPROTO_TCP);
	if (on && ((struct link *)arg)->end->crowded)
		return -ENOSPC;
	if (on) {
		m->watched[side]++;
		*copies = &m->watched[side];
	} else {
		assert_true(m->watched[side]-- > 0);
		assert_ptr_equal(*copies, &m->watched[side]);
	}
	return 0;
}

static void on_poke(void *arg, struct claim *c, bool first)
{
	int side;
	struct model *m = model_of(c, &side);

	(void)first;
	assert_true(m->watched[side] > 0);
	m->pokes++;
	sample(((struct link *)arg)->end->w, m, side);
}

static int on_expect(void *arg, uint64_t now_ms, struct claim *const *c,
		     unsigned int n)
{
	struct end *e = ((struct link *)arg)->end;

	assert_in_range(n, 1, CLAIM_ANSWERS_MAX);
	e->w->transactions++;
	if (e->deaf)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++)
		c[i]->take_ms = now_ms + CLAIM_TAKE_MS;
	return 0;
}

static int on_emit(void *arg, uint64_t now_ms, struct claim *c,
		   const struct tuple *at, unsigned int attempt,
		   const struct nonce_numbers *n,
		   const uint8_t nonce[WIRE_NONCE_SIZE])
{
	struct link *l = arg;
	struct world *w = l->end->w;
	int side;
	struct model *m = model_of(c, &side);
	struct parcel *p;

	(void)attempt;
	/* The offerer begins; what answers it takes the same way back. */
	assert_true(claim_table_offers(l->table) == !at);
	if (at)
		assert_true(tuple_equal(at, &m->tuple[side]));
	assert_memory_not_equal(nonce, m->nonce[side], WIRE_NONCE_SIZE);
	memcpy(m->nonce[side], nonce, WIRE_NONCE_SIZE);
	m->nonces[side]++;
	if (m->cut[side] || m->end[side] != l->end ||
	    random_below(&w->random, 100) < w->nonce_loss)
		return 0;
	assert_true(w->n_parcels < LETTERS);
	p = &w->parcel[w->n_parcels++];
	p->at_ms = now_ms + w->delay_ms;
	p->m = m;
	p->to = !side;
	p->n = *n;
	p->n.seq += m->shift[side];
	memcpy(p->nonce, nonce, WIRE_NONCE_SIZE);
	return 0;
}

/* None may reach a socket: whoever is there has been told. */
static void arrive(struct world *w, unsigned int i)
{
	const struct parcel p = w->parcel[i];
	struct claim *c = &p.m->claim[p.to];

	w->parcel[i] = w->parcel[--w->n_parcels];
	if (!p.m->alive[p.to])
		return;
	assert_true(w->now_ms < c->take_ms);
	claim_nonce(c, w->now_ms, &p.m->tuple[p.to], p.nonce, &p.n);
}

static void on_confirmed(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	assert_true(c->confirmed);
	assert_int_equal(c->reason, REASON_NONE);
	((struct link *)arg)->end->confirmed++;
	if (((struct link *)arg)->end->drops)
		claim_drop(c);
}

static void on_refused(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	assert_false(c->confirmed);
	assert_int_not_equal(c->reason, REASON_NONE);
	((struct link *)arg)->end->refused++;
}

static void on_retracked(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	(void)c;
	((struct link *)arg)->end->retracked++;
}

static void on_lost(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	assert_false(c->confirmed);
	((struct link *)arg)->end->lost++;
	if (((struct link *)arg)->end->lets_go)
		claim_drop(c);
}

static void on_released(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	assert_null(c->table);
	((struct link *)arg)->end->released++;
}

static void on_left(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	((struct link *)arg)->end->left++;
	if (!((struct link *)arg)->end->keeps)
		claim_drop(c);
}

static void on_leaving(void *arg, uint64_t now_ms, unsigned int n)
{
	const struct link *l = arg;

	assert_int_equal(n, claim_table_leaving(l->table));
	if (!l->end->waits)
		claim_table_leave(l->table, now_ms, n);
}

static void on_together(void *arg, uint64_t now_ms, struct claim *const *c,
			unsigned int n)
{
	const struct link *l = arg;

	(void)now_ms;
	assert_in_range(n, 1, CLAIM_PART);
	for (unsigned int i = 0; i < n; i++)
		assert_ptr_equal(c[i]->table, l->table);
	l->end->together += n;
}

static void on_unanswered(void *arg, uint64_t now_ms)
{
	(void)now_ms;
	((struct link *)arg)->unanswered++;
}

static const struct claim_ops ops = {
	.send = on_send,
	.random = on_random,
	.pto_ms = on_pto,
	.lookup = on_lookup,
	.met = on_met,
	.path = on_path,
	.watch = on_watch,
	.poke = on_poke,
	.expect = on_expect,
	.emit = on_emit,
	.confirmed = on_confirmed,
	.refused = on_refused,
	.retracked = on_retracked,
	.ended_by_peer = on_lost,
	.released = on_released,
	.left = on_left,
	.leaving = on_leaving,
	.together = on_together,
	.unanswered = on_unanswered,
};

/* ---- the world -------------------------------------------------------- */

static void link_start(struct link *l)
{
	claim_table_free(l->table);
	assert_int_equal(claim_table_new(&l->table, &ops, l, l->end->key,
					 l->far->end->key,
					 &l->end->counters),
			 0);
}

static void connect_ends(struct world *w, struct end *a, struct end *b)
{
	struct link *l[2];

	for (int i = 0; i < 2; i++) {
		l[i] = calloc(1, sizeof(*l[i]));
		assert_non_null(l[i]);
		l[i]->end = i ? b : a;
		w->link[w->n_links++] = l[i];
	}
	l[0]->far = l[1];
	l[1]->far = l[0];
	link_start(l[0]);
	link_start(l[1]);
}

/* `flows` between a and b, of which a has the lower key. */
static void world_init(struct world *w, uint64_t seed, unsigned int flows,
		       struct end *a, struct end *b)
{
	memset(w, 0, sizeof(*w));
	memset(a, 0, sizeof(*a));
	memset(b, 0, sizeof(*b));
	w->random = seed;
	w->now_ms = 100000;
	w->delay_ms = 5;
	w->pto_ms = 30;
	w->letter = calloc(LETTERS, sizeof(*w->letter));
	w->model = calloc(flows, sizeof(*w->model));
	assert_non_null(w->letter);
	assert_non_null(w->model);
	w->n_models = flows;
	a->w = b->w = w;
	random_fill(&w->random, a->key, sizeof(a->key));
	random_fill(&w->random, b->key, sizeof(b->key));
	a->key[0] = 10;
	b->key[0] = 20;
	for (unsigned int i = 0; i < flows; i++) {
		struct model *m = &w->model[i];
		struct tuple *t = &m->tuple[0];

		t->local.addr = addr_from_in4(htonl(0x0a000001));
		t->remote.addr = addr_from_in4(htonl(0x0a000002));
		t->local.port = (uint16_t)(10000 + i);
		t->remote.port = 7;
		t->proto = IPPROTO_TCP;
		m->tuple[1] = tuple_reverse(t);
		m->end[0] = a;
		m->end[1] = b;
		for (int side = 0; side < 2; side++) {
			m->alive[side] = true;
			m->isn[side] = (uint32_t)random_next(&w->random);
			claim_init(&m->claim[side], &m->tuple[side], 1);
		}
	}
	connect_ends(w, a, b);
}

static void world_udp(struct world *w)
{
	for (unsigned int i = 0; i < w->n_models; i++) {
		struct model *m = &w->model[i];

		for (int side = 0; side < 2; side++) {
			m->tuple[side].proto = IPPROTO_UDP;
			claim_init(&m->claim[side], &m->tuple[side], 1);
		}
	}
}

static void world_free(struct world *w)
{
	for (unsigned int i = 0; i < w->n_links; i++) {
		claim_table_free(w->link[i]->table);
		free(w->link[i]);
	}
	for (unsigned int i = 0; i < w->n_models; i++)
		assert_false(w->model[i].watched[0] ||
			     w->model[i].watched[1]);
	free(w->model);
	free(w->letter);
}

/* Of the bytes of the first flow that a tag from `from` names, the tag that is
 * right where it goes on to. */
static void retag(struct world *w, const struct link *from,
		  const struct link *to, struct wire_proof *p)
{
	const struct claim_work *o = LIST_FIRST(&w->model[0].claim[0].works);
	uint8_t right[WIRE_NONCE_SIZE];

	if (p->kind != WIRE_PROOF_TAG || !o)
		return;
	nonce_tag(&from->table->ends, o->out, right);
	if (!memcmp(p->nonce, right, sizeof(right)))
		nonce_tag(&to->table->ends, o->out, p->nonce);
}

static void pass_on(struct world *w, const struct link *from,
		    struct wire_message *m)
{
	struct link *to = from->passes;

	for (int i = 0; from->retags && i < WIRE_FLOWS_MAX; i++) {
		if (m->type == WIRE_FLOWS && i < m->flows.n)
			retag(w, from, to, &m->flows.flow[i].proof);
		if (m->type == WIRE_FLOWS_ACK && i < m->flows_ack.n)
			retag(w, from, to, &m->flows_ack.flow[i].proof);
	}
	assert_int_equal(on_send(to, w->now_ms, m), 0);
}

static void deliver(struct world *w, struct letter *l)
{
	struct wire_message m;

	l->used = false;
	w->n_letters--;
	assert_int_equal(wire_decode_message(l->type, l->plain, l->len, &m),
			 WIRE_OK);
	m.sent_order = l->order;
	if (l->to->passes)
		pass_on(w, l->to, &m);
	else
		claim_table_receive(l->to->table, w->now_ms, &m);
}

/* Skips the milliseconds in which nothing can happen. */
static void tick(struct world *w, uint64_t end_ms)
{
	uint64_t next_ms = end_ms;

	w->now_ms++;
	if (w->n_letters || w->n_parcels || w->busy)
		return;
	for (unsigned int i = 0; i < w->n_links; i++) {
		uint64_t ms = claim_table_deadline_ms(w->link[i]->table);

		if (ms < next_ms)
			next_ms = ms;
	}
	if (next_ms > w->now_ms)
		w->now_ms = next_ms;
}

static void run(struct world *w, uint64_t ms)
{
	uint64_t end_ms = w->now_ms + ms;

	w->busy = false;
	for (unsigned int i = 0; i < w->n_models; i++)
		w->busy |= w->model[i].rate[0] || w->model[i].rate[1];
	while (w->now_ms < end_ms) {
		tick(w, end_ms);
		traffic(w);
		for (unsigned int i = 0; i < LETTERS && w->n_letters; i++)
			if (w->letter[i].used &&
			    w->letter[i].at_ms <= w->now_ms)
				deliver(w, &w->letter[i]);
		for (unsigned int i = 0; i < w->n_parcels;)
			if (w->parcel[i].at_ms <= w->now_ms)
				arrive(w, i);
			else
				i++;
		for (unsigned int i = 0; i < w->n_links; i++)
			if (claim_table_deadline_ms(w->link[i]->table) <=
			    w->now_ms)
				claim_table_step(w->link[i]->table,
						 w->now_ms);
	}
}

static void start_all(struct world *w, int side)
{
	for (unsigned int i = 0; i < w->n_models; i++)
		assert_int_equal(claim_start(w->link[side]->table, w->now_ms,
					     &w->model[i].claim[side]),
				 0);
}

static unsigned int owned(const struct world *w)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < w->n_models; i++)
		n += w->model[i].claim[0].confirmed &&
		     w->model[i].claim[1].confirmed &&
		     w->model[i].claim[0].flow_id ==
			     w->model[i].claim[1].flow_id;
	return n;
}

static void check_agreed(const struct world *w, unsigned int flows)
{
	const struct claim_digest *a = claim_table_digest(w->link[0]->table);
	const struct claim_digest *b = claim_table_digest(w->link[1]->table);

	assert_int_equal(owned(w), flows);
	assert_int_equal(a->count, flows);
	assert_true(claim_digest_equal(a, b->count, b->sum));
}

/* Nothing is under way, nothing will wake anybody. */
static void check_quiet(struct world *w)
{
	run(w, 2 * LINGER_MS);
	for (unsigned int i = 0; i < w->n_links; i++) {
		const struct claim_table *t = w->link[i]->table;

		assert_int_equal(t->n_mine, 0);
		assert_int_equal(t->n_theirs, 0);
		assert_int_equal(t->n_lingering, 0);
		assert_true(claim_table_deadline_ms(t) == UINT64_MAX);
	}
}

/* ---- TCP -------------------------------------------------------------- */

static void test_one(void **state)
{
	(void)state;
	/* The lower end wants it, the higher one, both. */
	for (int who = 1; who <= 3; who++) {
		struct world w;
		struct end a, b;

		world_init(&w, 1, 1, &a, &b);
		w.model[0].claim[0].own_track = 11;
		w.model[0].claim[1].own_track = 22;
		for (int side = 0; side < 2; side++)
			if (who & 1 << side)
				start_all(&w, side);
		run(&w, 200);
		check_agreed(&w, 1);
		assert_int_equal(a.confirmed, 1);
		assert_int_equal(b.confirmed, 1);
		assert_int_equal(w.model[0].claim[0].peer_track, 22);
		assert_int_equal(w.model[0].claim[1].peer_track, 11);
		assert_true(w.model[0].pokes >= 2); /* it is idle */
		assert_int_equal(claim_start(w.link[0]->table, w.now_ms,
					     &w.model[0].claim[0]),
				 -EALREADY);
		run(&w, 10000);
		check_quiet(&w);
		assert_int_equal(w.sent, who == 1 ? 4 : 6);
		assert_int_equal(w.model[0].nonces[0], 1);
		assert_int_equal(w.model[0].nonces[1], 1);
		assert_int_equal(w.transactions, 2);
		world_free(&w);
	}
}

static void test_lossy(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct world w;
		struct end a, b;

		world_init(&w, seed, 60, &a, &b);
		w.loss = 30;
		w.dup = 20;
		w.spread_ms = 60;
		w.nonce_loss = 10;
		for (unsigned int i = 0; i < 60; i += 2) {
			w.model[i].rate[0] = 100 * i;
			w.model[i].rate[1] = 1000;
		}
		start_all(&w, 0);
		start_all(&w, 1);
		run(&w, 20000);
		w.loss = w.nonce_loss = 0;
		for (unsigned int i = 0; i < 60; i++)
			w.model[i].rate[0] = w.model[i].rate[1] = 0;
		run(&w, CLAIM_PROXY_MS + 60000);
		if (owned(&w) != 60)
			fail_msg("seed %llu: %u of 60",
				 (unsigned long long)seed, owned(&w));
		check_agreed(&w, 60);
		check_quiet(&w);
		world_free(&w);
	}
}

static void test_thousands(void **state)
{
	enum { FLOWS = 3000 };
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 2, FLOWS, &a, &b);
	start_all(&w, 0);
	/* Packed, and a window's worth at a time. */
	for (int i = 0; i < 3000 && owned(&w) < FLOWS; i++) {
		run(&w, 1);
		assert_true(w.link[0]->table->n_mine <= CLAIM_WINDOW);
		assert_true(w.link[1]->table->n_theirs <= CLAIM_WINDOW);
		assert_true(w.link[1]->table->n_lingering <=
			    CLAIM_LINGER_MAX);
	}
	check_agreed(&w, FLOWS);
	assert_true(w.sent < FLOWS / 2);
	assert_true(w.transactions < FLOWS / 8);
	print_message("# %d flows: %llu datagrams, %llu ms\n", FLOWS,
		      (unsigned long long)w.sent,
		      (unsigned long long)w.now_ms - 100000);
	/* And told again, as a whole. */
	w.sent = 0;
	assert_int_equal(claim_table_announce(w.link[0]->table, w.now_ms), 0);
	assert_int_equal(claim_table_announce(w.link[0]->table, w.now_ms),
			 -EALREADY);
	run(&w, 1000);
	assert_false(claim_table_announcing(w.link[0]->table));
	assert_int_equal(w.sent, 2 * ((FLOWS + WIRE_FLOWS_MAX - 1) /
				      WIRE_FLOWS_MAX));
	check_agreed(&w, FLOWS);
	/* All end at once. */
	for (unsigned int i = 0; i < FLOWS; i++)
		for (int side = 0; side < 2; side++)
			assert_false(claim_end(&w.model[i].claim[side],
					       w.now_ms));
	run(&w, 2000);
	assert_int_equal(a.released, FLOWS);
	assert_int_equal(b.released, FLOWS);
	check_agreed(&w, 0);
	check_quiet(&w);
	world_free(&w);
}

/* From idle to 10 Gbit/s each way, one round trip of 10 ms. */
static void test_rates(void **state)
{
	static const uint64_t rate[] = { 0,	 1,	  1000,
					 100000, 1250000, 5000000 };

	(void)state;
	for (size_t i = 0; i < sizeof(rate) / sizeof(rate[0]); i++) {
		struct world w;
		struct end a, b;

		world_init(&w, i, 1, &a, &b);
		w.model[0].rate[0] = rate[i];
		w.model[0].rate[1] = rate[i] / 2;
		start_all(&w, 0);
		run(&w, 100);
		check_agreed(&w, 1);
		assert_int_equal(a.counters.value[COUNTER_PROOFS_WRONG] +
					 b.counters.value[COUNTER_PROOFS_WRONG],
				 0);
		world_free(&w);
	}
}

/* A path that changes numbers, in either direction: found before the flow is
 * owned, and looked at again when ten minutes are over. */
static void test_rewritten(void **state)
{
	(void)state;
	for (int way = 0; way < 2; way++) {
		struct world w;
		struct end a, b;

		world_init(&w, 3, 1, &a, &b);
		w.model[0].shift[way] = 1000;
		start_all(&w, 0);
		start_all(&w, 1);
		run(&w, 60000);
		check_agreed(&w, 0);
		assert_int_equal(w.model[0].claim[0].reason, REASON_REWRITTEN);
		assert_int_equal(w.model[0].nonces[0], 1);
		run(&w, 500000);
		assert_int_equal(w.model[0].nonces[0], 1);
		w.model[0].shift[way] = 0;
		run(&w, 200000);
		check_agreed(&w, 1);
		world_free(&w);
	}
}

/* The offerer finds it when the other end has confirmed: that is told until it
 * has come, and what the other end says to that changes nothing. */
static void test_rewritten_denied(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct world w;
		struct end a, b;
		struct model *m;

		world_init(&w, 3, 1, &a, &b);
		m = &w.model[0];
		m->shift[0] = 1000;
		b.lets_go = i % 2;
		a.ends_lost = i / 2 ? 2 : 0;
		start_all(&w, 0);
		run(&w, 2000);
		assert_int_equal(a.ends_lost, 0);
		assert_int_equal(b.confirmed, 1);
		assert_int_equal(b.lost, 1);
		check_agreed(&w, 0);
		assert_int_equal(m->claim[0].reason, REASON_REWRITTEN);
		assert_int_equal(m->claim[0].list, CLAIM_BACKOFF);
		assert_null(proof_find(&m->claim[0], w.link[0]->table));
		m->shift[0] = 0;
		run(&w, CLAIM_PROXY_MS);
		check_agreed(&w, 1);
		world_free(&w);
	}
}

/* ... or not for ever. */
static void test_rewritten_undenied(void **state)
{
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 3, 1, &a, &b);
	w.model[0].shift[0] = 1000;
	a.ends_lost = 100;
	start_all(&w, 0);
	run(&w, 60000);
	assert_int_equal(a.ends_lost, 100 - CLAIM_TRIES);
	assert_true(LIST_EMPTY(&w.model[0].claim[0].works));
	assert_int_equal(w.model[0].claim[0].reason, REASON_REWRITTEN);
	world_free(&w);
}

/* Who is in between ends the connection there: what goes on it does not come
 * through, either way. Three tries in ten minutes, whoever asks. */
static void test_proxy(void **state)
{
	(void)state;
	for (int way = 0; way < 2; way++)
		for (int udp = 0; udp < 2; udp++) {
			struct world w;
			struct end a, b;

			world_init(&w, 3, 1, &a, &b);
			if (udp)
				world_udp(&w);
			w.model[0].cut[way] = true;
			start_all(&w, 0);
			start_all(&w, 1);
			run(&w, 60000);
			check_agreed(&w, 0);
			assert_int_equal(w.model[0].claim[0].reason,
					 REASON_PROXY);
			assert_int_equal(w.model[0].nonces[0], CLAIM_NONCES);
			run(&w, 500000);
			assert_int_equal(w.model[0].nonces[0], CLAIM_NONCES);
			/* Whoever asks for the offer hears why not. */
			assert_int_equal(w.model[0].claim[1].reason,
					 REASON_PROXY);
			w.model[0].cut[way] = false;
			run(&w, 700000);
			check_agreed(&w, 1);
			world_free(&w);
		}
}

/* A socket that tells its numbers late is no box in between. */
static void test_mute(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct world w;
		struct end a, b;

		world_init(&w, 3, 1, &a, &b);
		w.model[0].mute[side] = true;
		start_all(&w, 0);
		run(&w, 8000);
		assert_int_equal(w.model[0].claim[0].reason, REASON_RETRY);
		assert_int_equal(w.model[0].nonces[0], 0);
		w.model[0].mute[side] = false;
		run(&w, 10000);
		check_agreed(&w, 1);
		assert_int_equal(w.model[0].nonces[0], 1);
		world_free(&w);
	}
}

/* What others use up for a moment costs no half minute. */
static void test_crowded(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct world w;
		struct end a, b;
		struct end *e = side ? &b : &a;

		world_init(&w, 3, 1, &a, &b);
		e->crowded = true;
		start_all(&w, 0);
		run(&w, 500);
		check_agreed(&w, 0);
		assert_int_equal(w.model[0].claim[0].reason, REASON_LIMIT);
		e->crowded = false;
		run(&w, 2000);
		check_agreed(&w, 1);
		world_free(&w);
	}
}

/* The kernel does not take what would come: nothing goes on the flow. */
static void test_deaf(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct world w;
		struct end a, b;

		world_init(&w, 3, 3, &a, &b);
		(side ? &b : &a)->deaf = true;
		start_all(&w, 0);
		run(&w, 5000);
		check_agreed(&w, 0);
		assert_int_equal(w.model[0].nonces[0], 0);
		assert_int_equal(w.model[0].claim[0].reason, REASON_SYSTEM);
		a.deaf = b.deaf = false;
		claim_table_kick(w.link[0]->table, w.now_ms);
		run(&w, 60000);
		check_agreed(&w, 3);
		world_free(&w);
	}
}

/* What a peer says of a flow that it may be the end of. */
static void say_of(struct world *w, struct link *from, const struct model *m,
		   int side, uint64_t flow_id, const struct wire_proof *proof)
{
	struct wire_message msg;
	struct wire_flow *f = &msg.flows.flow[0];

	memset(&msg, 0, sizeof(msg));
	msg.type = WIRE_FLOWS;
	msg.flows.parts = 1;
	msg.flows.n = 1;
	f->flow_id = flow_id;
	f->proto = m->tuple[side].proto;
	f->src = m->tuple[side].local;
	f->place.at = m->tuple[side].local.addr;
	f->dst = m->tuple[side].remote;
	f->proof = *proof;
	assert_int_equal(on_send(from, w->now_ms, &msg), 0);
}

static void say(struct world *w, struct link *from, const struct model *m,
		uint64_t flow_id, const struct wire_proof *proof)
{
	say_of(w, from, m, 0, flow_id, proof);
}

static void add_thief(struct world *w, struct end *c, struct end *b,
		      uint8_t key)
{
	memset(c, 0, sizeof(*c));
	c->w = w;
	random_fill(&w->random, c->key, sizeof(c->key));
	c->key[0] = key;
	connect_ends(w, c, b);
}

/* Another one offers a flow that is not its own, again and again, and names
 * what it knows: what it has sent itself, and anything. */
static void test_thief(void **state)
{
	(void)state;
	for (int udp = 0; udp < 2; udp++) {
		struct world w;
		struct end a, b, c;
		struct model *m;
		struct wire_proof p;
		struct nonce_numbers n = { .seq = 1 };
		uint8_t mine[WIRE_NONCE_SIZE] = { 9 };

		world_init(&w, 3, 1, &a, &b);
		if (udp)
			world_udp(&w);
		add_thief(&w, &c, &b, 5);
		m = &w.model[0];
		m->cut[1] = true; /* it does not see what b sends */
		for (int i = 0; i < 2000; i++) {
			memset(&p, 0, sizeof(p));
			p.kind = WIRE_PROOF_TAG;
			mine[1] = (uint8_t)i;
			mine[2] = (uint8_t)(i >> 8);
			nonce_tag(&w.link[2]->table->ends, mine, p.nonce);
			say(&w, w.link[2], m, 99, &p);
			run(&w, 10);
			/* It can send there, as from any address. */
			claim_nonce(&m->claim[1], w.now_ms, &m->tuple[1],
				    mine, &n);
			p.kind = WIRE_PROOF_RECEIPT;
			if (i % 2)
				memcpy(p.nonce, mine, sizeof(mine));
			else
				random_fill(&w.random, p.nonce,
					    sizeof(p.nonce));
			say(&w, w.link[2], m, 99, &p);
			run(&w, 10);
			assert_false(m->claim[1].confirmed);
		}
		/* Tries that lead to nothing are few. */
		assert_in_range(m->nonces[1], CLAIM_TOKENS,
				CLAIM_TOKENS + 40000 / CLAIM_TOKEN_MS + 1);
		/* It has delayed nobody. */
		m->cut[1] = false;
		start_all(&w, 0);
		run(&w, 100);
		check_agreed(&w, 1);
		assert_ptr_equal(m->claim[1].table, w.link[1]->table);
		world_free(&w);
	}
}

/* One that stands between the two with a key of its own, and has a session with
 * each, passes on what they say; the flow itself it does not touch. */
static void test_relay(void **state)
{
	(void)state;
	for (int retags = 0; retags < 2; retags++) {
		struct world w;
		struct end a, b, c;
		struct link *to_a, *to_b;
		struct model *m;

		world_init(&w, 3, 1, &a, &b);
		add_thief(&w, &c, &b, 15);
		connect_ends(&w, &a, &c);
		to_b = w.link[2];
		to_a = w.link[5];
		to_a->passes = to_b;
		to_b->passes = to_a;
		to_a->retags = to_b->retags = retags;
		m = &w.model[0];
		assert_int_equal(claim_start(w.link[4]->table, w.now_ms,
					     &m->claim[0]),
				 0);
		run(&w, 10000);
		/* Nobody knows the first one's bytes for what the relay's tag
		 * has named, nor the answer for one to them. */
		assert_in_range(m->nonces[0], 1, CLAIM_NONCES);
		assert_int_equal(m->nonces[1], retags ? m->nonces[0] : 0);
		assert_false(m->claim[0].confirmed);
		assert_false(m->claim[1].confirmed);
		assert_int_equal(m->claim[0].reason, REASON_PROXY);
		/* The two themselves. */
		start_all(&w, 0);
		run(&w, 1000);
		check_agreed(&w, 1);
		assert_ptr_equal(m->claim[1].table, w.link[1]->table);
		world_free(&w);
	}
}

/* What the answerer has sent on the flow is known to who receives it alone;
 * what it says in the session, to the offerer. */
static void test_echo(void **state)
{
	struct world w;
	struct end a, b;
	struct claim_work *w1;
	struct wire_proof p = { 0 };
	struct model *m;

	(void)state;
	world_init(&w, 3, 1, &a, &b);
	m = &w.model[0];
	m->cut[1] = true;
	start_all(&w, 0);
	for (int i = 0; i < 100 && !m->nonces[1]; i++)
		run(&w, 1);
	w1 = proof_find(&m->claim[1], w.link[1]->table);
	assert_non_null(w1);
	/* Their own nonce, sent back to them. */
	memcpy(p.nonce, m->nonce[0], sizeof(p.nonce));
	assert_int_equal(proof_check(w1, &p), REASON_RETRY);
	memset(p.nonce, 0, sizeof(p.nonce));
	assert_int_equal(proof_check(w1, &p), REASON_RETRY);
	/* The right one with other numbers is no better. */
	memcpy(p.nonce, m->nonce[1], sizeof(p.nonce));
	assert_int_equal(proof_check(w1, &p), REASON_REWRITTEN);
	p.seq = w1->out_numbers.seq;
	p.ack = w1->out_numbers.ack;
	p.tsval = w1->out_numbers.tsval;
	p.tsecr = w1->out_numbers.tsecr;
	assert_int_equal(proof_check(w1, &p), REASON_NONE);
	p.tsval++;
	assert_int_equal(proof_check(w1, &p), REASON_REWRITTEN);
	/* A copy of what was answered is not answered again. */
	assert_int_equal(m->nonces[1], 1);
	assert_false(claim_nonce(&m->claim[1], w.now_ms, &m->tuple[1],
				 m->nonce[0], &w1->in_numbers));
	assert_int_equal(m->nonces[1], 1);
	world_free(&w);
}

/* A liar is at it all the time, in either role, and the honest one takes no
 * longer. */
static void test_two_keys(void **state)
{
	static const uint8_t key[] = { 5, 30 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		uint64_t took_ms[2];

		for (int liar = 0; liar < 2; liar++) {
			struct world w;
			struct end a, b, c;
			struct wire_proof p = { 0 };
			struct model *m;

			world_init(&w, 3, 1, &a, &b);
			add_thief(&w, &c, &b, key[i]);
			m = &w.model[0];
			for (int k = 0; liar && k < 100; k++) {
				/* An offer, or an ask. */
				p.kind = i ? WIRE_PROOF_NONE : WIRE_PROOF_TAG;
				p.nonce[0] = (uint8_t)k;
				say(&w, w.link[2], m, i ? 0 : 99, &p);
				run(&w, 10);
			}
			start_all(&w, 0);
			start_all(&w, 1);
			took_ms[liar] = w.now_ms;
			for (int k = 0; k < 2000 && owned(&w) < 1; k++) {
				if (liar && k % 10 == 0)
					say(&w, w.link[2], m, i ? 0 : 99, &p);
				run(&w, 1);
			}
			took_ms[liar] = w.now_ms - took_ms[liar];
			check_agreed(&w, 1);
			assert_ptr_equal(m->claim[1].table,
					 w.link[1]->table);
			world_free(&w);
		}
		assert_in_range(took_ms[1], 1, took_ms[0] + 2);
	}
}

/* What was sent on the flow is named to who has sent it, by one who saw it there
 * and was met at its other end: under the id of the claim, under another, as an
 * ask. */
static void name_nonces(struct world *w, struct model *m, unsigned int named[2])
{
	const uint64_t id[] = { m->claim[0].flow_id, 99, 0 };
	struct wire_proof p = { .kind = WIRE_PROOF_RECEIPT };

	for (int side = 0; side < 2; side++) {
		if (named[side] == m->nonces[side])
			continue;
		named[side] = m->nonces[side];
		memcpy(p.nonce, m->nonce[side], sizeof(p.nonce));
		for (int i = 0; i < 3; i++)
			say_of(w, w->link[side ? 2 : 5], m, !side, id[i], &p);
	}
}

/* If a claim were refused because somebody else names what it has asked for,
 * whoever sees the flow and was met at its other end could keep that from owning
 * it. He is always the first here: the two need as many nonces as without him,
 * and no longer. */
static void test_watcher(void **state)
{
	static const uint8_t key[] = { 5, 30 };

	(void)state;
	for (int i = 0; i < 4; i++) {
		uint64_t took_ms[2];

		for (int watches = 0; watches < 2; watches++) {
			unsigned int named[2] = { 0, 0 };
			struct world w;
			struct end a, b, c;
			struct model *m;

			world_init(&w, 3, 1, &a, &b);
			if (i / 2)
				world_udp(&w);
			add_thief(&w, &c, &b, key[i % 2]);
			connect_ends(&w, &a, &c);
			m = &w.model[0];
			start_all(&w, 0);
			took_ms[watches] = w.now_ms;
			for (int k = 0; k < 1000 && owned(&w) < 1; k++) {
				run(&w, 1);
				if (watches)
					name_nonces(&w, m, named);
			}
			took_ms[watches] = w.now_ms - took_ms[watches];
			check_agreed(&w, 1);
			assert_ptr_equal(m->claim[1].table, w.link[1]->table);
			assert_int_equal(named[0] + named[1], 2 * watches);
			assert_int_equal(m->nonces[0] + m->nonces[1], 2);
			assert_int_equal(a.refused + b.refused, 0);
			world_free(&w);
		}
		assert_int_equal(took_ms[0], took_ms[1]);
	}
}

/* Who sees what goes on a flow and can send on it is its end to all who can be
 * told. So the first one has it: the other hears whose it is not, and gets it as
 * soon as it is given up. */
static void test_first(void **state)
{
	struct wire_proof p = { .kind = WIRE_PROOF_TAG };
	const struct nonce_numbers n = { .seq = 1 };
	const uint8_t mine[WIRE_NONCE_SIZE] = { 9 };
	struct wire_message over = { .type = WIRE_FLOW_END };
	struct world w;
	struct end a, b, c;
	struct model *m;

	(void)state;
	world_init(&w, 3, 1, &a, &b);
	world_udp(&w);
	add_thief(&w, &c, &b, 5);
	m = &w.model[0];
	m->cut[1] = true; /* what comes to a is nothing to it yet */
	nonce_tag(&w.link[2]->table->ends, mine, p.nonce);
	say(&w, w.link[2], m, 99, &p);
	run(&w, 20);
	claim_nonce(&m->claim[1], w.now_ms, &m->tuple[1], mine, &n);
	assert_int_equal(m->nonces[1], 1);
	p.kind = WIRE_PROOF_RECEIPT;
	memcpy(p.nonce, m->nonce[1], sizeof(p.nonce));
	say(&w, w.link[2], m, 99, &p);
	w.link[2]->down = true; /* it says no more of it */
	run(&w, 20);
	assert_ptr_equal(m->claim[1].table, w.link[3]->table);
	assert_true(m->claim[1].confirmed);
	m->cut[1] = false;
	for (int side = 0; side < 2; side++) {
		claim_start(w.link[side]->table, w.now_ms, &m->claim[side]);
		run(&w, 1000);
	}
	check_agreed(&w, 0);
	assert_int_equal(m->claim[0].reason, REASON_FLOW_OWNED);
	assert_true(m->claim[1].confirmed);
	over.flow_end.n = 1;
	over.flow_end.flow_id[0] = 99;
	w.link[2]->down = false;
	assert_int_equal(on_send(w.link[2], w.now_ms, &over), 0);
	run(&w, 60000);
	check_agreed(&w, 1);
	world_free(&w);
}

/* ---- conditions and refusals ------------------------------------------ */

static void test_conditions(void **state)
{
	static const struct {
		enum reason path, deny;
	} bad[] = {
		{ REASON_NAT, 0 },
		{ REASON_RETRY, 0 },
		{ 0, REASON_POLICY },
		{ 0, REASON_UNCONNECTED },
	};

	(void)state;
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			struct world w;
			struct end a, b;
			struct end *strict = side ? &b : &a;

			world_init(&w, i, 1, &a, &b);
			strict->path = bad[i].path;
			strict->deny = bad[i].deny;
			start_all(&w, !side);
			run(&w, 60000);
			check_agreed(&w, 0);
			assert_int_equal(w.model[0].claim[!side].reason,
					 bad[i].path ? bad[i].path :
						       bad[i].deny);
			assert_true((side ? &a : &b)->refused > 0);
			/* It is not asked about all the time. */
			assert_true(w.sent < 100);
			/* It changes; a path is validated. */
			strict->path = strict->deny = 0;
			claim_table_kick(w.link[0]->table, w.now_ms);
			claim_table_kick(w.link[1]->table, w.now_ms);
			run(&w, 40000);
			check_agreed(&w, 1);
			world_free(&w);
		}
}

static void test_unknown(void **state)
{
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 4, 1, &a, &b);
	w.model[0].alive[1] = false; /* not dumped yet */
	start_all(&w, 0);
	run(&w, 900);
	assert_int_equal(w.model[0].claim[0].reason, REASON_UNKNOWN_FLOW);
	w.model[0].alive[1] = true;
	run(&w, 1100);
	check_agreed(&w, 1);
	world_free(&w);
}

static void test_unanswered(void **state)
{
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 5, 3, &a, &b);
	w.loss = 100;
	start_all(&w, 0);
	run(&w, 30000);
	assert_true(w.link[0]->unanswered > 0);
	assert_true(w.sent <= 6 * CLAIM_TRIES);
	assert_int_equal(w.model[0].claim[0].reason, REASON_NO_PEER);
	w.loss = 0;
	claim_table_kick(w.link[0]->table, w.now_ms);
	run(&w, 500);
	check_agreed(&w, 3);
	world_free(&w);
}

/* Who never was at an address does not learn what is spoken with it: not
 * that there is a flow, not whose it is, nor why it is not wanted. */
static void test_oracle(void **state)
{
	struct world w;
	struct end a, b, c;
	struct wire_message msg;

	(void)state;
	world_init(&w, 6, 1, &a, &b);
	add_thief(&w, &c, &b, 5);
	start_all(&w, 0);
	run(&w, 300);
	check_agreed(&w, 1);
	b.stranger = true;
	for (int i = 0; i < 6; i++) {
		memset(&msg, 0, sizeof(msg));
		msg.type = WIRE_FLOWS;
		msg.flows.batch = (uint32_t)i;
		msg.flows.parts = 1;
		msg.flows.n = 1;
		msg.flows.flow[0].flow_id = i & 1 ? 99 : 0;
		msg.flows.flow[0].proto = IPPROTO_TCP;
		msg.flows.flow[0].src = w.model[0].tuple[0].local;
		msg.flows.flow[0].place.at = w.model[0].tuple[0].local.addr;
		msg.flows.flow[0].dst = w.model[0].tuple[0].remote;
		/* owned by a; not there; not wanted */
		if (i / 2 == 1)
			msg.flows.flow[0].src.port ^= 1;
		b.deny = i / 2 == 2 ? REASON_POLICY : REASON_NONE;
		assert_int_equal(on_send(w.link[2], w.now_ms, &msg), 0);
		run(&w, 300);
	}
	for (int r = 1; r < REASON_MAX; r++)
		assert_int_equal(b.counters.refused[r],
				 r == REASON_RETRY ? 6 : 0);
	b.deny = REASON_NONE;
	/* The owner is heard wherever it is. */
	claim_set_track(&w.model[0].claim[0], w.now_ms, 77);
	run(&w, 300);
	check_agreed(&w, 1);
	assert_int_equal(w.model[0].claim[1].peer_track, 77);
	world_free(&w);
}

/* Keys cost nothing: more of them than a flow has room for, all the time. */
static void test_many_keys(void **state)
{
	enum { THIEVES = CLAIM_KEYS_MAX + 4 };
	struct world w;
	struct end a, b, c[THIEVES];
	struct wire_proof p = { .kind = WIRE_PROOF_TAG };
	struct claim_work *x;
	unsigned int n = 0;

	(void)state;
	world_init(&w, 3, 1, &a, &b);
	for (unsigned int i = 0; i < THIEVES; i++)
		add_thief(&w, &c[i], &b, (uint8_t)(1 + i / 2));
	for (unsigned int ms = 0; ms < 300; ms++) {
		if (ms == 200)
			start_all(&w, 0);
		p.nonce[0] = (uint8_t)ms;
		p.nonce[1] = (uint8_t)(ms >> 8);
		if (ms % 10 == 0)
			say(&w, w.link[2 + 2 * (ms / 10 % THIEVES)],
			    &w.model[0], 99, &p);
		run(&w, 1);
	}
	check_agreed(&w, 1);
	assert_int_equal(w.model[0].nonces[0], 1);
	LIST_FOREACH(x, &w.model[0].claim[1].works, of_claim)
		n++;
	assert_in_range(n, 0, CLAIM_KEYS_MAX);
	world_free(&w);
}

/* They come again as soon as they had to give way, and who holds the flow has a
 * round trip that is longer than that takes. */
static void test_crowd(void **state)
{
	enum { THIEVES = CLAIM_KEYS_MAX + 4 };
	struct wire_proof p = { 0 };

	(void)state;
	for (int asks = 0; asks < 2; asks++) {
		struct world w;
		struct end a, b, c[THIEVES];
		struct link *from;

		/* They have lower keys than b, or higher ones than a. */
		world_init(&w, 3, 1, &a, &b);
		w.delay_ms = 100;
		for (unsigned int i = 0; i < THIEVES; i++)
			add_thief(&w, &c[i], asks ? &a : &b,
				  (uint8_t)(asks ? 200 + i / 2 : 1 + i / 2));
		p.kind = asks ? WIRE_PROOF_NONE : WIRE_PROOF_TAG;
		for (unsigned int ms = 0; ms < 5000; ms++) {
			if (ms == 2000)
				start_all(&w, asks);
			p.nonce[0] = (uint8_t)ms;
			p.nonce[1] = (uint8_t)(ms >> 8);
			from = w.link[2 + 2 * (ms / 10 % THIEVES)];
			from->down = false;
			if (ms % 10 == 0)
				say_of(&w, from, &w.model[0], asks,
				       asks ? 0 : 99, &p);
			from->down = true; /* it answers nothing */
			run(&w, 1);
		}
		check_agreed(&w, 1);
		world_free(&w);
	}
}

/* They can send on the flow, as from any address, so what each of them has named
 * comes: it is no nearer to a proof than before. */
static void test_crowd_that_sends(void **state)
{
	enum { THIEVES = CLAIM_KEYS_MAX };
	struct wire_proof p = { .kind = WIRE_PROOF_TAG };
	const struct nonce_numbers n = { .seq = 1 };
	uint8_t fresh[WIRE_NONCE_SIZE] = { 9 };
	struct world w;
	struct end a, b, c[THIEVES];
	struct model *m;

	(void)state;
	world_init(&w, 3, 1, &a, &b);
	w.delay_ms = 100;
	m = &w.model[0];
	for (unsigned int i = 0; i < THIEVES; i++)
		add_thief(&w, &c[i], &b, (uint8_t)(1 + i / 2));
	for (unsigned int ms = 0; ms < 10000; ms++) {
		struct link *from = w.link[2 + 2 * (ms / 50 % THIEVES)];

		m->cut[1] = ms < 2000; /* nobody waits there */
		if (ms == 2000)
			start_all(&w, 0);
		if (ms % 50 == 0) {
			fresh[1] = (uint8_t)(ms / 50);
			nonce_tag(&from->table->ends, fresh, p.nonce);
			from->down = false;
			say(&w, from, m, 99, &p);
			from->down = true; /* it answers nothing */
		}
		run(&w, 1);
		if (ms % 50 == 49 && !m->claim[1].confirmed)
			for (unsigned int i = 0; i < THIEVES; i++) {
				fresh[1] = (uint8_t)(ms / 50 - i);
				claim_nonce(&m->claim[1], w.now_ms,
					    &m->tuple[1], fresh, &n);
			}
	}
	check_agreed(&w, 1);
	assert_ptr_equal(m->claim[1].table, w.link[1]->table);
	world_free(&w);
}

/* What a list can name is all that a peer may own, by whichever way. */
static void test_full(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct world w;
		struct end a, b, c;
		struct claim_table *t;
		struct wire_proof p = { 0 };

		world_init(&w, 3, 1, &a, &b);
		/* Another peer is to be asked for it, or to be offered it. */
		add_thief(&w, &c, side ? &b : &a, 15);
		c.deny = REASON_YOUNG;
		claim_start(w.link[3]->table, w.now_ms,
			    &w.model[0].claim[side]);
		t = w.link[side]->table;
		if (side)
			start_all(&w, 0);
		else
			say_of(&w, w.link[1], &w.model[0], 1, 0, &p);
		while (!t->n_mine && !t->n_theirs)
			run(&w, 1);
		t->n_attached += CLAIM_FLOWS_MAX;
		run(&w, 300);
		t->n_attached -= CLAIM_FLOWS_MAX;
		assert_ptr_not_equal(w.model[0].claim[side].table, t);
		check_agreed(&w, 0);
		world_free(&w);
	}
}

/* An event may give up what it is about. */
static void test_drop_confirmed(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct world w;
		struct end a, b;

		world_init(&w, 3, 1, &a, &b);
		(side ? &b : &a)->drops = true;
		start_all(&w, 0);
		run(&w, 300);
		assert_null(w.model[0].claim[side].table);
		assert_true((side ? &b : &a)->confirmed > 0);
		world_free(&w);
	}
}

/* Whatever it says, and however often: the kernel is asked no more than it may
 * try. */
static void test_flood(void **state)
{
	enum { FLOOD = 5000, TIMES = 5 };

	(void)state;
	for (int kind = 0; kind < 3; kind++)
		for (int bad = 0; bad < 3; bad++) {
			struct world w;
			struct end a, b, c;
			struct end *e = kind ? &b : &a;
			struct wire_proof p = { .kind = (uint8_t)kind };

			world_init(&w, 3, 1, &a, &b);
			add_thief(&w, &c, e, kind ? 5 : 30);
			if (bad == 1)
				e->path = REASON_RETRY;
			e->stranger = bad == 2;
			for (int i = 0; i < FLOOD; i++) {
				w.link[2]->down = false;
				p.nonce[0] = (uint8_t)i;
				p.nonce[1] = (uint8_t)(i >> 8);
				say_of(&w, w.link[2], &w.model[0], !kind,
				       kind ? 99 : 0, &p);
				w.link[2]->down = true;
				if (i % TIMES == 0)
					run(&w, 1);
			}
			assert_in_range(e->looks, 0,
					2 * (CLAIM_TOKENS + FLOOD / TIMES /
						     CLAIM_TOKEN_MS + 2));
			world_free(&w);
		}
}

/* Condition (d): the first owner keeps it until its socket ends. */
static void test_owned(void **state)
{
	struct world w;
	struct end a, b, c;
	struct model *m;
	struct wire_message msg;
	struct claim mine;

	(void)state;
	world_init(&w, 6, 1, &a, &b);
	add_thief(&w, &c, &b, 5);
	m = &w.model[0];
	start_all(&w, 0);
	run(&w, 300);
	check_agreed(&w, 1);
	/* c is on the path and would see the nonces: too late. */
	memset(&msg, 0, sizeof(msg));
	msg.type = WIRE_FLOWS;
	msg.flows.parts = 1;
	msg.flows.n = 1;
	msg.flows.flow[0].flow_id = 99;
	msg.flows.flow[0].proto = IPPROTO_TCP;
	msg.flows.flow[0].src = m->tuple[0].local;
	msg.flows.flow[0].place.at = m->tuple[0].local.addr;
	msg.flows.flow[0].dst = m->tuple[0].remote;
	msg.flows.flow[0].proof.kind = WIRE_PROOF_TAG;
	assert_int_equal(on_send(w.link[2], w.now_ms, &msg), 0);
	run(&w, 300);
	assert_int_equal(b.counters.refused[REASON_FLOW_OWNED], 1);
	check_agreed(&w, 1);
	assert_ptr_equal(m->claim[1].table, w.link[1]->table);
	assert_int_equal(claim_start(w.link[3]->table, w.now_ms,
				     &m->claim[1]),
			 -EBUSY);
	/* Nor does its FLOW_END, its ask, its list or a new track count. */
	msg.type = WIRE_FLOW_END;
	memset(&msg.flow_end, 0, sizeof(msg.flow_end));
	msg.flow_end.n = 1;
	msg.flow_end.flow_id[0] = m->claim[0].flow_id;
	on_send(w.link[2], w.now_ms, &msg);
	claim_table_announce(w.link[2]->table, w.now_ms);
	run(&w, 300);
	check_agreed(&w, 1);
	/* The socket ends; the same tuple anew is a new flow. */
	assert_false(claim_end(&m->claim[1], w.now_ms));
	run(&w, 100);
	assert_int_equal(a.lost, 1);
	assert_false(claim_end(&m->claim[0], w.now_ms));
	run(&w, 100);
	assert_int_equal(a.released, 1);
	assert_int_equal(b.released, 1);
	claim_init(&m->claim[1], &m->tuple[1], 1);
	claim_init(&mine, &m->tuple[0], 1);
	m->claim[0] = mine;
	m->end[0] = &c;
	assert_int_equal(claim_start(w.link[2]->table, w.now_ms,
				     &m->claim[0]),
			 0);
	run(&w, 300);
	assert_true(m->claim[1].confirmed);
	assert_ptr_equal(m->claim[1].table, w.link[3]->table);
	world_free(&w);
}

/* A claim that waits on the wrong peer goes to the one that proves it. */
static void test_taken_over(void **state)
{
	struct world w;
	struct end a, b, c;
	struct model *m;

	(void)state;
	world_init(&w, 7, 1, &a, &b);
	add_thief(&w, &c, &b, 5);
	m = &w.model[0];
	m->end[0] = &c;
	start_all(&w, 1); /* b asks a, which knows nothing of it */
	run(&w, 1000);
	assert_int_equal(m->claim[1].reason, REASON_UNKNOWN_FLOW);
	assert_int_equal(claim_start(w.link[2]->table, w.now_ms,
				     &m->claim[0]),
			 0);
	run(&w, 1000);
	assert_true(m->claim[0].confirmed);
	assert_true(m->claim[1].confirmed);
	assert_ptr_equal(m->claim[1].table, w.link[3]->table);
	world_free(&w);
}

/* ---- UDP -------------------------------------------------------------- */

/* Idle ones, as soon as TCP. */
static void test_udp(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct world w;
		struct end a, b;

		world_init(&w, seed, 20, &a, &b);
		world_udp(&w);
		if (seed % 2) {
			w.loss = 20;
			w.spread_ms = 30;
		}
		start_all(&w, (int)(seed / 2 % 2));
		run(&w, seed % 2 ? 60000 : 100);
		if (owned(&w) != 20)
			fail_msg("seed %llu: %u of 20",
				 (unsigned long long)seed, owned(&w));
		check_agreed(&w, 20);
		for (unsigned int i = 0; i < 20; i++)
			assert_int_equal(w.model[i].pokes, 0);
		run(&w, 10000);
		check_quiet(&w);
		world_free(&w);
	}
}

/* The answers were lost for longer than what looks like a nonce is taken out:
 * arrive() fails where none is told anew. */
static void test_late(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		for (int kicks = 0; kicks < 2; kicks++) {
			struct world w;
			struct end a, b;

			world_init(&w, seed, 20, &a, &b);
			world_udp(&w);
			w.pto_ms = 300;
			w.link[1]->down = true;
			start_all(&w, 0);
			for (uint64_t s = 0; s < 10; s++) {
				run(&w, 1000 + seed * 5);
				if (kicks)
					claim_table_kick(w.link[0]->table,
							 w.now_ms);
			}
			w.link[1]->down = false;
			w.delay_ms = 150;
			run(&w, 20000);
			check_agreed(&w, 20);
			world_free(&w);
		}
}

/* ---- keeping both ends the same --------------------------------------- */

static void test_ends(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct world w;
		struct end a, b;

		world_init(&w, seed, 50, &a, &b);
		start_all(&w, 0);
		run(&w, 1000);
		check_agreed(&w, 50);
		w.loss = 30;
		w.dup = 30;
		w.spread_ms = 100;
		/* 10 end at both ends, 10 at one, 10 at the other */
		for (unsigned int i = 0; i < 20; i++)
			assert_false(claim_end(&w.model[i].claim[0],
					       w.now_ms));
		for (unsigned int i = 10; i < 30; i++)
			claim_end(&w.model[i].claim[1], w.now_ms);
		run(&w, 30000);
		check_agreed(&w, 20);
		assert_int_equal(a.released, 10);
		assert_int_equal(b.released, 10);
		assert_int_equal(a.lost + b.lost, 20 + (a.lost + b.lost - 20));
		assert_true(a.lost >= 10 && b.lost >= 10);
		/* The rest goes when a minute is over. */
		run(&w, CLAIM_RELEASE_MS);
		assert_int_equal(a.released, 20);
		assert_int_equal(b.released, 20);
		world_free(&w);
	}
}

/* All of them at once: no step looks at more than a part, and each is told of. */
static void test_many_ends(void **state)
{
	enum { FLOWS = 6000 };
	struct world w;
	struct end a, b;
	unsigned int looked = 0;

	(void)state;
	world_init(&w, 7, FLOWS, &a, &b);
	for (unsigned int i = 0; i < FLOWS; i++)
		for (int side = 0; side < 2; side++)
			assert_int_equal(claim_restore(
				w.link[side]->table, &w.model[i].claim[side],
				1 + i, 1), 0);
	for (unsigned int i = 0; i < FLOWS; i++) {
		w.model[i].alive[0] = false;
		assert_false(claim_end(&w.model[i].claim[0], w.now_ms));
	}
	claim_table_step(w.link[0]->table, w.now_ms);
	for (unsigned int i = 0; i < FLOWS; i++)
		looked += w.model[i].claim[0].due_ms != w.now_ms;
	assert_in_range(looked, 1, FLOWS / 2);
	run(&w, 1000);
	assert_int_equal(b.lost, FLOWS);
	for (unsigned int i = 0; i < FLOWS; i++) {
		w.model[i].alive[1] = false;
		claim_end(&w.model[i].claim[1], w.now_ms);
	}
	run(&w, 1000);
	assert_int_equal(a.released, FLOWS);
	run(&w, CLAIM_RELEASE_MS);
	check_quiet(&w);
	world_free(&w);
}

static uint32_t count_of(const struct link *l)
{
	return claim_table_digest(l->table)->count;
}

/* What is to be lost is not yet, and all else is as if it were to come. */
static void test_leaving(void **state)
{
	enum { FLOWS = 2 * CLAIM_PART, HALF = FLOWS / 2 };
	struct wire_message m = { 0 };
	struct claim_table *t;
	struct world w;
	struct end a, b;
	struct claim *c;
	uint64_t refused;

	(void)state;
	world_init(&w, 11, FLOWS, &a, &b);
	for (unsigned int i = 0; i < FLOWS; i++)
		for (int side = 0; side < 2; side++)
			assert_int_equal(claim_restore(
				w.link[side]->table, &w.model[i].claim[side],
				1 + i, 1), 0);
	t = w.link[1]->table;
	b.waits = true;
	for (unsigned int i = 0; i < HALF; i++) {
		w.model[i].alive[0] = false;
		assert_false(claim_end(&w.model[i].claim[0], w.now_ms));
	}
	run(&w, 1000);
	assert_int_equal(claim_table_leaving(t), HALF);
	assert_int_equal(b.lost, 0);
	assert_int_equal(count_of(w.link[1]), FLOWS);
	for (unsigned int i = 0; i < HALF; i++)
		assert_true(w.model[i].claim[0].end_acked);
	/* No answer is heard of such a flow, a new track of our own is not
	 * told, and it is not begun anew; its socket may end. */
	c = &w.model[0].claim[1];
	m.type = WIRE_FLOWS_ACK;
	m.flows_ack.parts = 1;
	m.flows_ack.n = 1;
	m.flows_ack.flow[0].flow_id = c->flow_id;
	m.flows_ack.flow[0].place.at = c->tuple->remote.addr;
	m.flows_ack.flow[0].reason = REASON_RETRY;
	assert_int_equal(on_send(w.link[0], w.now_ms, &m), 0);
	run(&w, 10);
	claim_set_track(c, w.now_ms, 2);
	assert_int_equal(claim_start(t, w.now_ms, c), -EALREADY);
	claim_table_kick(t, w.now_ms);
	assert_int_equal(claim_table_leaving(t), HALF);
	assert_int_equal(c->own_track, 2);
	w.model[1].alive[1] = false;
	assert_false(claim_end(&w.model[1].claim[1], w.now_ms));
	assert_int_equal(claim_table_leaving(t), HALF - 1);
	/* A list is answered when what it leaves out is no more. */
	claim_table_announce(w.link[0]->table, w.now_ms);
	run(&w, 2000);
	assert_true(claim_table_announcing(w.link[0]->table));
	claim_table_leave(t, w.now_ms, 10);
	assert_int_equal(b.lost + b.released, 10);
	assert_int_equal(b.together, 10);
	run(&w, 2000);
	assert_true(claim_table_announcing(w.link[0]->table));
	while (claim_table_leaving(t))
		claim_table_leave(t, w.now_ms, FLOWS);
	run(&w, 10000);
	assert_false(claim_table_announcing(w.link[0]->table));
	assert_int_equal(b.lost, HALF - 1);
	assert_int_equal(b.together, HALF);
	check_agreed(&w, HALF);
	/* One that is named before its turn is nobody's for who names it. */
	c = &w.model[HALF].claim[1];
	claim_end_there(c);
	refused = b.counters.refused[REASON_RETRY];
	claim_set_track(&w.model[HALF].claim[0], w.now_ms, 3);
	run(&w, 10);
	assert_true(c->confirmed);
	assert_int_equal(c->peer_track, 1);
	assert_int_equal(b.counters.refused[REASON_RETRY], refused + 1);
	claim_table_leave(t, w.now_ms, 1);
	run(&w, 10000);
	assert_true(c->confirmed); /* proved anew */
	assert_int_equal(b.lost, HALF);
	check_agreed(&w, HALF);
	/* All of them, and half of these are to stay. */
	b.keeps = true;
	for (unsigned int i = HALF; i < FLOWS; i++)
		claim_leave(&w.model[i].claim[1]);
	assert_int_equal(claim_table_leaving(t), HALF);
	claim_table_leave(t, w.now_ms, HALF / 2);
	assert_int_equal(count_of(w.link[1]), HALF);
	b.keeps = false;
	claim_table_leave(t, w.now_ms, FLOWS);
	assert_int_equal(b.left, HALF);
	assert_int_equal(count_of(w.link[1]), HALF / 2);
	assert_int_equal(claim_table_leaving(t), 0);
	world_free(&w);
}

static void test_end_early(void **state)
{
	(void)state;
	/* The socket goes at every moment of the proof. */
	for (uint64_t at = 0; at < 120; at += 3)
		for (int side = 0; side < 2; side++) {
			struct world w;
			struct end a, b;
			struct claim *c;

			world_init(&w, at, 1, &a, &b);
			c = &w.model[0].claim[side];
			start_all(&w, 0);
			run(&w, at);
			w.model[0].alive[side] = false;
			if (!claim_end(c, w.now_ms))
				assert_int_equal(c->state, CLAIM_ENDED);
			run(&w, 5000);
			assert_int_equal(owned(&w), 0);
			check_agreed(&w, 0);
			claim_end(&w.model[0].claim[!side], w.now_ms);
			w.model[0].alive[!side] = false;
			run(&w, CLAIM_RELEASE_MS + 1000);
			assert_null(w.model[0].claim[0].table);
			assert_null(w.model[0].claim[1].table);
			check_quiet(&w);
			world_free(&w);
		}
}

static void test_drop(void **state)
{
	(void)state;
	for (uint64_t at = 0; at < 120; at += 3) {
		struct world w;
		struct end a, b;

		world_init(&w, at, 1, &a, &b);
		start_all(&w, 0);
		start_all(&w, 1);
		run(&w, at);
		for (int side = 0; side < 2; side++) {
			claim_drop(&w.model[0].claim[side]);
			w.model[0].alive[side] = false;
			assert_null(w.model[0].claim[side].table);
			assert_false(w.model[0].watched[side]);
		}
		run(&w, 5000);
		check_quiet(&w);
		world_free(&w);
	}
}

static void test_tracks(void **state)
{
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 11, 100, &a, &b);
	start_all(&w, 0);
	run(&w, 2000);
	check_agreed(&w, 100);
	w.loss = 30;
	w.sent = 0;
	for (unsigned int i = 0; i < 100; i++) {
		claim_set_track(&w.model[i].claim[0], w.now_ms, 5);
		claim_set_track(&w.model[i].claim[1], w.now_ms, 6);
	}
	run(&w, 20000);
	for (unsigned int i = 0; i < 100; i++) {
		assert_int_equal(w.model[i].claim[0].peer_track, 6);
		assert_int_equal(w.model[i].claim[1].peer_track, 5);
	}
	assert_int_equal(a.retracked, 100);
	assert_int_equal(b.retracked, 100);
	assert_int_equal(a.confirmed, 100);
	check_agreed(&w, 100);
	check_quiet(&w);
	world_free(&w);
}

/* One end lost its memory, or some flows, or the other did. */
static void test_lists(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct world w;
		struct end a, b;
		int restarts = (int)(seed % 2);
		int tells = (int)(seed / 2 % 2);

		world_init(&w, seed, 90, &a, &b);
		start_all(&w, 0);
		run(&w, 2000);
		check_agreed(&w, 90);
		/* It restarts without a journal; ten sockets are gone. */
		for (unsigned int i = 0; i < 90; i++) {
			struct claim *c = &w.model[i].claim[restarts];

			claim_drop(c);
			claim_init(c, &w.model[i].tuple[restarts], 1);
			if (i < 10)
				w.model[i].alive[restarts] = false;
		}
		link_start(w.link[restarts]);
		w.loss = 20;
		w.dup = 20;
		w.spread_ms = 50;
		if (tells == restarts)
			for (unsigned int i = 10; i < 90; i++)
				claim_start(w.link[restarts]->table,
					    w.now_ms,
					    &w.model[i].claim[restarts]);
		else
			assert_int_equal(
				claim_table_announce(w.link[tells]->table,
						     w.now_ms),
				0);
		run(&w, 60000);
		assert_int_equal(claim_table_announce(w.link[restarts]->table,
						      w.now_ms),
				 0);
		run(&w, 60000);
		if (owned(&w) != 80)
			fail_msg("seed %llu: %u of 80",
				 (unsigned long long)seed, owned(&w));
		check_agreed(&w, 80);
		check_quiet(&w);
		world_free(&w);
	}
}

/* A list that was made before a flow was proved and comes after it says nothing
 * of it: it took long, or its first copies were lost. */
static void test_list_from_before(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		const int tells = i & 1;
		struct claim_table *t;
		struct world w;
		struct end a, b;

		world_init(&w, 17, 1, &a, &b);
		t = w.link[tells]->table;
		assert_int_equal(claim_table_announce(t, w.now_ms), 0);
		if (i & 2) {
			w.loss = 100;
			run(&w, 100);
			w.loss = 0;
			assert_true(t->announce.active);
		} else {
			uint64_t usual_ms = w.delay_ms;

			w.delay_ms = 3000;
			run(&w, 1);
			w.delay_ms = usual_ms;
			t->announce.active = false; /* that copy alone */
		}
		start_all(&w, 0);
		run(&w, 100);
		check_agreed(&w, 1);
		run(&w, 10000);
		check_agreed(&w, 1);
		assert_int_equal(a.lost + b.lost, 0);
		check_quiet(&w);
		world_free(&w);
	}
}

/* What is confirmed while a list is on its way stays. */
static void test_list_and_new(void **state)
{
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 17, 40, &a, &b);
	for (unsigned int i = 0; i < 30; i++)
		claim_start(w.link[0]->table, w.now_ms,
			    &w.model[i].claim[0]);
	run(&w, 1000);
	check_agreed(&w, 30);
	claim_table_announce(w.link[0]->table, w.now_ms);
	claim_table_step(w.link[0]->table, w.now_ms);
	assert_int_equal(w.n_letters, 3);
	w.letter[1].used = false; /* the second part is lost */
	w.n_letters--;
	w.loss = 0;
	for (unsigned int i = 30; i < 40; i++)
		claim_start(w.link[0]->table, w.now_ms,
			    &w.model[i].claim[0]);
	w.link[0]->table->announce.due_ms = w.now_ms + 500;
	run(&w, 400);
	assert_true(claim_table_announcing(w.link[0]->table));
	check_agreed(&w, 40);
	run(&w, 2000);
	assert_false(claim_table_announcing(w.link[0]->table));
	assert_int_equal(b.lost, 0);
	check_agreed(&w, 40);
	world_free(&w);
}

/* The answerer has confirmed, and the offerer's address goes before it can:
 * its list, which a move waits for, must make both ends agree at once. The
 * flow comes back under the same id. */
static void test_half_confirmed(void **state)
{
	struct world w;
	struct end a, b;
	struct model *m;
	int offers;

	(void)state;
	world_init(&w, 21, 1, &a, &b);
	m = &w.model[0];
	offers = 0;
	start_all(&w, 0);
	for (int i = 0; i < 1000 && !m->claim[!offers].confirmed; i++)
		run(&w, 1);
	assert_true(m->claim[!offers].confirmed);
	assert_false(m->claim[offers].confirmed);
	claim_table_announce(w.link[offers]->table, w.now_ms);
	run(&w, 200);
	check_agreed(&w, 0);
	run(&w, 10000);
	check_agreed(&w, 1);
	world_free(&w);
}

/* The peer has forgotten it, and its socket goes before it is proved. */
static void test_reproof_unknown(void **state)
{
	struct world w;
	struct end a, b;
	struct model *m;

	(void)state;
	world_init(&w, 18, 1, &a, &b);
	m = &w.model[0];
	start_all(&w, 0);
	run(&w, 1000);
	check_agreed(&w, 1);
	claim_drop(&m->claim[1]);
	claim_table_announce(w.link[0]->table, w.now_ms);
	for (int i = 0; i < 1000 && m->claim[0].state == CLAIM_IDLE; i++)
		run(&w, 1);
	m->alive[1] = false;
	run(&w, 2000);
	assert_int_equal(a.lost, 0); /* it may just not have looked yet */
	assert_true(m->claim[0].confirmed);
	run(&w, 10000);
	assert_int_equal(a.lost, 1);
	assert_int_equal(m->claim[0].reason, REASON_UNKNOWN_FLOW);
	check_agreed(&w, 0);
	world_free(&w);
}

static unsigned int ends_said(struct world *w, struct link *from,
			      uint64_t flow_id)
{
	struct wire_message m;
	unsigned int before = from->far->end->lost;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOW_END;
	m.flow_end.n = 1;
	m.flow_end.flow_id[0] = flow_id;
	assert_int_equal(on_send(from, w->now_ms, &m), 0);
	run(w, 100);
	return from->far->end->lost - before;
}

/* The owner has lost its memory: the flow has its first id until it is proved
 * under the next one, and then that alone. */
static void test_renamed(void **state)
{
	struct world w;
	struct end a, b;
	struct claim_digest one = { 0 };
	struct model *m;
	uint64_t first;

	(void)state;
	world_init(&w, 19, 1, &a, &b);
	m = &w.model[0];
	start_all(&w, 0);
	run(&w, 1000);
	check_agreed(&w, 1);
	first = m->claim[1].flow_id;
	claim_drop(&m->claim[0]);
	claim_init(&m->claim[0], &m->tuple[0], 1);
	link_start(w.link[0]);
	m->cut[1] = true;
	start_all(&w, 0);
	run(&w, 100);
	assert_int_not_equal(m->claim[0].flow_id, first);
	assert_int_equal(m->claim[1].flow_id, first);
	assert_true(m->claim[1].confirmed);
	m->cut[1] = false;
	run(&w, 5000);
	check_agreed(&w, 1);
	assert_int_equal(m->claim[1].flow_id, m->claim[0].flow_id);
	assert_int_not_equal(m->claim[1].flow_id, first);
	claim_digest_add(&one, m->claim[0].flow_id);
	assert_true(claim_digest_equal(claim_table_digest(w.link[1]->table), 1,
				       one.sum));
	assert_int_equal(b.confirmed, 2);
	assert_int_equal(b.lost, 0);
	assert_int_equal(ends_said(&w, w.link[0], first), 0);
	assert_int_equal(ends_said(&w, w.link[0], m->claim[0].flow_id), 1);
	world_free(&w);
}

/* One id for two flows is refused. */
static void test_id_taken(void **state)
{
	struct world w;
	struct end a, b;
	struct wire_message m;

	(void)state;
	world_init(&w, 19, 2, &a, &b);
	claim_start(w.link[0]->table, w.now_ms, &w.model[0].claim[0]);
	run(&w, 1000);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS;
	m.flows.parts = 1;
	m.flows.n = 1;
	m.flows.flow[0].flow_id = w.model[0].claim[0].flow_id;
	m.flows.flow[0].proto = IPPROTO_TCP;
	m.flows.flow[0].src = w.model[1].tuple[0].local;
	m.flows.flow[0].place.at = w.model[1].tuple[0].local.addr;
	m.flows.flow[0].dst = w.model[1].tuple[0].remote;
	m.flows.flow[0].proof.kind = WIRE_PROOF_TAG;
	on_send(w.link[0], w.now_ms, &m);
	run(&w, 1000);
	assert_false(w.model[1].claim[1].confirmed);
	assert_true(w.model[0].claim[1].confirmed);
	assert_int_equal(claim_table_digest(w.link[1]->table)->count, 1);
	world_free(&w);
}

static void test_empty_list(void **state)
{
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 12, 5, &a, &b);
	start_all(&w, 0);
	run(&w, 1000);
	for (unsigned int i = 0; i < 5; i++)
		claim_drop(&w.model[i].claim[0]);
	assert_int_equal(claim_table_announce(w.link[0]->table, w.now_ms), 0);
	run(&w, 1000);
	assert_int_equal(b.lost, 5);
	check_agreed(&w, 0);
	assert_false(claim_table_announcing(w.link[0]->table));
	world_free(&w);
}

static void test_restore(void **state)
{
	struct world w;
	struct end a, b;
	uint64_t id[3];

	(void)state;
	world_init(&w, 13, 3, &a, &b);
	start_all(&w, 0);
	run(&w, 1000);
	for (unsigned int i = 0; i < 3; i++)
		id[i] = w.model[i].claim[0].flow_id;
	link_start(w.link[0]);
	for (unsigned int i = 0; i < 3; i++) {
		struct claim *c = &w.model[i].claim[0];

		claim_init(c, &w.model[i].tuple[0], 1);
		assert_int_equal(claim_restore(w.link[0]->table, c, id[i], 1),
				 0);
	}
	check_agreed(&w, 3);
	assert_int_equal(claim_restore(w.link[0]->table,
				       &w.model[0].claim[0], 5, 1),
			 -EBUSY);
	assert_ptr_equal(claim_find(w.link[0]->table, id[1]),
			 &w.model[1].claim[0]);
	/* Lists agree: nothing is proved anew, nobody is told anything. */
	a.confirmed = b.confirmed = 0;
	claim_table_announce(w.link[0]->table, w.now_ms);
	claim_table_announce(w.link[1]->table, w.now_ms);
	run(&w, 5000);
	assert_int_equal(a.confirmed + b.confirmed + a.lost + b.lost, 0);
	check_agreed(&w, 3);
	check_quiet(&w);
	world_free(&w);
}

static void test_digest(void **state)
{
	struct claim_digest d = { 0 }, e = { 0 };
	static const uint8_t zero[WIRE_DIGEST_SIZE];
	/* BLAKE2b-128 of 00 00 00 00 00 00 00 01 */
	uint8_t one[] = { 0, 0, 0, 0, 0, 0, 0, 1 }, hash[16];
	struct crypto_part part = { one, 8 };

	(void)state;
	crypto_blake2b(hash, 16, NULL, 0, &part, 1);
	claim_digest_add(&d, 1);
	assert_memory_equal(d.sum, hash, 16);
	claim_digest_add(&d, 2);
	claim_digest_add(&d, 3);
	claim_digest_add(&e, 3);
	claim_digest_add(&e, 1);
	assert_false(claim_digest_equal(&d, e.count, e.sum));
	claim_digest_add(&e, 2);
	assert_true(claim_digest_equal(&d, e.count, e.sum));
	for (uint64_t id = 1; id <= 3; id++)
		claim_digest_remove(&d, id);
	assert_true(claim_digest_equal(&d, 0, zero));
}

/* ---- hostile peers ---------------------------------------------------- */

/* Anything that decodes may come from a peer that holds a session. */
static void test_garbage(void **state)
{
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 14, 30, &a, &b);
	start_all(&w, 0);
	start_all(&w, 1);
	for (int i = 0; i < 20000; i++) {
		struct wire_message m;
		struct link *from = w.link[i % 2];

		memset(&m, 0, sizeof(m));
		m.type = (uint8_t)(WIRE_FLOWS + random_below(&w.random, 4));
		if (m.type == WIRE_FLOWS) {
			m.flows.batch = (uint32_t)random_below(&w.random, 3);
			m.flows.parts = 3;
			m.flows.part =
				(uint8_t)random_below(&w.random, 3);
			m.flows.flags =
				(uint8_t)random_below(&w.random, 2);
			m.flows.n = (uint8_t)random_below(&w.random, 5);
		} else if (m.type == WIRE_FLOWS_ACK) {
			m.flows_ack.batch =
				from->far->table->batch -
				(uint32_t)random_below(&w.random, 2);
			m.flows_ack.parts = 3;
			m.flows_ack.part =
				(uint8_t)random_below(&w.random, 3);
			m.flows_ack.n = (uint8_t)random_below(&w.random, 5);
		} else {
			m.flow_end.n = (uint8_t)random_below(&w.random, 3);
		}
		for (int k = 0; k < 5; k++) {
			struct model *any = &w.model[random_below(
				&w.random, w.n_models)];
			uint64_t id = any->claim[0].flow_id;
			struct wire_proof p = { 0 };

			if (random_below(&w.random, 4) == 0)
				id = random_below(&w.random, 3);
			p.kind = (uint8_t)random_below(&w.random, 3);
			if (m.type == WIRE_FLOWS) {
				struct wire_flow *f = &m.flows.flow[k];
				int side = from == w.link[1];

				f->flow_id = id;
				f->place.at = any->tuple[side].local.addr;
				f->proto = IPPROTO_TCP;
				f->src = any->tuple[side].local;
				f->dst = any->tuple[side].remote;
				f->proof = p;
			} else if (m.type == WIRE_FLOWS_ACK) {
				m.flows_ack.flow[k].flow_id = id;
				m.flows_ack.flow[k].place.at =
					any->tuple[0].local.addr;
				m.flows_ack.flow[k].reason =
					(uint8_t)random_below(&w.random, 40);
				m.flows_ack.flow[k].proof = p;
			} else {
				m.flow_end.flow_id[k] = id;
			}
		}
		if (i % 50 == 0)
			claim_table_announce(from->table, w.now_ms);
		if (i % 100 == 0) {
			struct claim *c =
				&w.model[random_below(&w.random, 30)]
					 .claim[i / 100 % 2];

			if (c->state == CLAIM_IDLE && !c->confirmed)
				claim_start(w.link[i / 100 % 2]->table,
					    w.now_ms, c);
		}
		on_send(from, w.now_ms, &m);
		run(&w, 1);
		for (int side = 0; side < 2; side++) {
			struct claim_table *t = w.link[side]->table;
			unsigned int n = 0;

			for (unsigned int k = 0; k < w.n_models; k++)
				n += w.model[k].claim[side].confirmed;
			assert_int_equal(n, t->digest.count);
			assert_true(t->n_mine <= CLAIM_WINDOW &&
				    t->n_theirs <= CLAIM_ANSWERS_MAX &&
				    t->n_lingering <= CLAIM_LINGER_MAX);
		}
	}
	world_free(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_one),
		cmocka_unit_test(test_lossy),
		cmocka_unit_test(test_thousands),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_rewritten),
		cmocka_unit_test(test_rewritten_denied),
		cmocka_unit_test(test_rewritten_undenied),
		cmocka_unit_test(test_proxy),
		cmocka_unit_test(test_mute),
		cmocka_unit_test(test_crowded),
		cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_thief),
		cmocka_unit_test(test_relay),
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_two_keys),
		cmocka_unit_test(test_watcher),
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_many_keys),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_crowd_that_sends),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_unanswered),
		cmocka_unit_test(test_oracle),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_drop_confirmed),
		cmocka_unit_test(test_owned),
		cmocka_unit_test(test_taken_over),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_many_ends),
		cmocka_unit_test(test_leaving),
		cmocka_unit_test(test_end_early),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_tracks),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_empty_list),
		cmocka_unit_test(test_list_from_before),
		cmocka_unit_test(test_list_and_new),
		cmocka_unit_test(test_half_confirmed),
		cmocka_unit_test(test_reproof_unknown),
		cmocka_unit_test(test_renamed),
		cmocka_unit_test(test_id_taken),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_garbage),
	};

	if (crypto_init() < 0)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
