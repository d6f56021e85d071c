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
	unsigned int unanswered;
	bool down;
};

struct end {
	struct world *w;
	struct counters counters;
	uint8_t key[CRYPTO_KEY_SIZE];
	unsigned int confirmed, refused, retracked, lost, released;
	enum reason path; /* what conditions (a) and (b) say */
	bool stranger; /* the others never proved themselves to it */
	enum reason deny; /* policy */
};

/* A connection between two ends, with the numbers of both. */
struct model {
	struct claim claim[2];
	struct tuple tuple[2];
	struct end *end[2];
	bool alive[2], watched[2];
	uint32_t isn[2];
	uint64_t rate[2]; /* bytes (or datagrams) per ms that each sends */
	uint32_t lie[2]; /* added to what that end claims to have sent */
	bool forge[2]; /* that end's application data is not what it says */
	unsigned int pokes;
};

struct letter {
	bool used;
	uint64_t at_ms;
	struct link *to;
	uint8_t type;
	uint8_t plain[WIRE_PLAIN_MAX];
	size_t len;
};

struct world {
	uint64_t now_ms, random, delay_ms, spread_ms;
	unsigned int loss, dup;
	bool busy; /* some flow has traffic */
	struct model *model;
	unsigned int n_models;
	struct letter *letter;
	unsigned int n_letters; /* in use */
	struct link *link[4];
	unsigned int n_links;
	uint64_t sent, sent_flows;
	uint8_t proof_key[CRYPTO_KEY_SIZE];
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

/* What an own segment at `side` would say now. */
static void sample(struct world *w, struct model *m, int side)
{
	struct claim_segment s;

	s.snd_nxt = snd_nxt(m, side, w->now_ms) + m->lie[side];
	s.rcv_nxt = snd_nxt(m, !side, w->now_ms - w->delay_ms);
	s.window = 0;
	if (m->alive[side])
		claim_segment(&m->claim[side], w->now_ms, &s);
}

static void datagram(struct world *w, struct model *m, int side)
{
	uint8_t payload[32];

	random_fill(&w->random, payload, sizeof(payload));
	if (m->alive[side] && m->watched[side])
		claim_datagram(&m->claim[side], w->now_ms, true, payload,
			       sizeof(payload));
	payload[0] = (uint8_t)(payload[0] + m->forge[side]);
	if (random_below(&w->random, 100) < w->loss)
		return;
	if (m->alive[!side] && m->watched[!side])
		claim_datagram(&m->claim[!side], w->now_ms, false, payload,
			       sizeof(payload));
}

/* A millisecond of traffic. */
static void traffic(struct world *w)
{
	for (unsigned int i = 0; i < w->n_models; i++) {
		struct model *m = &w->model[i];

		for (int side = 0; side < 2; side++) {
			if (m->tuple[0].proto == IPPROTO_UDP) {
				if (m->rate[side] &&
				    w->now_ms % m->rate[side] == 0)
					datagram(w, m, side);
			} else if (m->watched[side] &&
				   (m->rate[0] || m->rate[1])) {
				sample(w, m, side);
			}
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
	(void)arg;
	return 30;
}

static const uint8_t *on_proof_key(void *arg)
{
	return ((struct link *)arg)->end->w->proof_key;
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

static bool on_met(void *arg, const struct addr *remote)
{
	(void)remote;
	return !((struct link *)arg)->end->stranger;
}

static enum reason on_path(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	(void)c;
	return ((struct link *)arg)->end->path;
}

static int on_watch(void *arg, struct claim *c, bool on, void **copies)
{
	int side;
	struct model *m = model_of(c, &side);

	(void)arg;
	assert_true(m->watched[side] != on);
	m->watched[side] = on;
	if (on)
		*copies = &m->watched[side];
	else
		assert_ptr_equal(*copies, &m->watched[side]);
	return 0;
}

static void on_poke(void *arg, struct claim *c, bool first)
{
	int side;
	struct model *m = model_of(c, &side);

	(void)first;
	assert_true(m->watched[side]);
	m->pokes++;
	sample(((struct link *)arg)->end->w, m, side);
}

static void on_confirmed(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	assert_true(c->confirmed);
	assert_int_equal(c->reason, REASON_NONE);
	((struct link *)arg)->end->confirmed++;
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
}

static void on_released(void *arg, uint64_t now_ms, struct claim *c)
{
	(void)now_ms;
	assert_null(c->table);
	((struct link *)arg)->end->released++;
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
	.proof_key = on_proof_key,
	.lookup = on_lookup,
	.met = on_met,
	.path = on_path,
	.watch = on_watch,
	.poke = on_poke,
	.confirmed = on_confirmed,
	.refused = on_refused,
	.retracked = on_retracked,
	.ended_by_peer = on_lost,
	.released = on_released,
	.unanswered = on_unanswered,
};

/* ---- the world -------------------------------------------------------- */

static void link_start(struct link *l)
{
	claim_table_free(l->table);
	assert_int_equal(claim_table_new(&l->table, &ops, l, l->far->end->key,
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

/* `flows` between a and b; the end with port 7 is the higher one. */
static void world_init(struct world *w, uint64_t seed, unsigned int flows,
		       struct end *a, struct end *b)
{
	memset(w, 0, sizeof(*w));
	memset(a, 0, sizeof(*a));
	memset(b, 0, sizeof(*b));
	w->random = seed;
	w->now_ms = 100000;
	w->delay_ms = 5;
	w->letter = calloc(LETTERS, sizeof(*w->letter));
	w->model = calloc(flows, sizeof(*w->model));
	assert_non_null(w->letter);
	assert_non_null(w->model);
	w->n_models = flows;
	random_fill(&w->random, w->proof_key, sizeof(w->proof_key));
	a->w = b->w = w;
	random_fill(&w->random, a->key, sizeof(a->key));
	random_fill(&w->random, b->key, sizeof(b->key));
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

static void world_udp(struct world *w, uint64_t rate0, uint64_t rate1)
{
	for (unsigned int i = 0; i < w->n_models; i++) {
		struct model *m = &w->model[i];

		m->rate[0] = rate0;
		m->rate[1] = rate1;
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

static void deliver(struct world *w, struct letter *l)
{
	struct wire_message m;

	l->used = false;
	w->n_letters--;
	assert_int_equal(wire_decode_message(l->type, l->plain, l->len, &m),
			 WIRE_OK);
	claim_table_receive(l->to->table, w->now_ms, &m, w->proof_key);
}

/* Skips the milliseconds in which nothing can happen. */
static void tick(struct world *w, uint64_t end_ms)
{
	uint64_t next_ms = end_ms;

	w->now_ms++;
	if (w->n_letters || w->busy)
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
static void check_quiet(const struct world *w)
{
	for (unsigned int i = 0; i < w->n_links; i++) {
		const struct claim_table *t = w->link[i]->table;

		assert_int_equal(t->n_work, 0);
		assert_int_equal(t->n_mine, 0);
		assert_int_equal(t->n_recordings, 0);
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
		assert_int_equal(w.sent, who == 1 ? 2 : 4);
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
		for (unsigned int i = 0; i < 60; i += 2) {
			w.model[i].rate[0] = 100 * i;
			w.model[i].rate[1] = 1000;
		}
		start_all(&w, 0);
		start_all(&w, 1);
		run(&w, 60000);
		w.loss = 0;
		run(&w, 60000);
		if (owned(&w) != 60)
			fail_msg("seed %llu: %u of 60",
				 (unsigned long long)seed, owned(&w));
		check_agreed(&w, 60);
		assert_int_equal(a.counters.value[COUNTER_PROOFS_WRONG], 0);
		assert_int_equal(b.counters.value[COUNTER_PROOFS_WRONG], 0);
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
		assert_true(w.link[0]->table->n_work <= CLAIM_WORK_MAX);
		assert_true(w.link[1]->table->n_work <= CLAIM_WORK_MAX);
	}
	check_agreed(&w, FLOWS);
	assert_true(w.sent < FLOWS / 4);
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
		run(&w, 3000);
		check_agreed(&w, 1);
		assert_int_equal(a.counters.value[COUNTER_PROOFS_WRONG] +
					 b.counters.value[COUNTER_PROOFS_WRONG],
				 0);
		world_free(&w);
	}
}

/* A number that is not the flow's, from either role. */
static void test_wrong(void **state)
{
	static const uint32_t lie[] = { 0x40000000, 0x80000001, 0xc0000000,
					3 * CLAIM_TOLERANCE,
					0u - 3 * CLAIM_TOLERANCE };

	(void)state;
	for (int liar = 0; liar < 2; liar++)
		for (size_t i = 0; i < sizeof(lie) / sizeof(lie[0]); i++) {
			struct world w;
			struct end a, b;
			struct claim *honest, *other;
			struct end *judge;

			world_init(&w, i, 1, &a, &b);
			judge = liar ? &a : &b;
			honest = &w.model[0].claim[!liar];
			other = &w.model[0].claim[liar];
			w.model[0].lie[liar] = lie[i];
			start_all(&w, 0);
			start_all(&w, 1);
			run(&w, 120000);
			assert_false(honest->confirmed);
			assert_int_equal(honest->state, CLAIM_BARRED);
			assert_int_equal(honest->reason,
					 REASON_PROOF_FAILED);
			assert_in_range(
				judge->counters.value[COUNTER_PROOFS_WRONG],
				1, CLAIM_WRONG_MAX);
			/* Neither does the other end keep it. */
			assert_false(other->confirmed);
			check_agreed(&w, 0);
			/* The truth comes too late for this key. */
			w.model[0].lie[liar] = 0;
			assert_int_equal(claim_start(w.link[!liar]->table,
						     w.now_ms, honest),
					 -EACCES);
			run(&w, 700000);
			assert_false(honest->confirmed);
			world_free(&w);
		}
}

/* Nobody guesses: the share of all numbers that would be taken. */
static void test_range(void **state)
{
	struct world w;
	struct end a, b;
	struct claim *c;
	unsigned int right = 0;

	(void)state;
	world_init(&w, 3, 1, &a, &b);
	w.model[0].rate[0] = 5000000; /* 40 Gbit/s */
	c = &w.model[0].claim[1];
	claim_attach(w.link[1]->table, c);
	assert_int_equal(claim_work_new(c, w.now_ms, false), 0);
	assert_int_equal(proof_watch(c, w.now_ms), 0);
	claim_stage(c, STAGE_LINGER, UINT64_MAX);
	run(&w, 1000);
	for (uint32_t i = 0; i < 4096; i++)
		right += proof_check_tcp(c, i << 20) == VERDICT_RIGHT;
	assert_in_range(right, 1, 66);
	claim_drop(c);
	world_free(&w);
}

/* One sample, in a capture that has just begun or not. */
static void test_verdicts(void **state)
{
	struct world w;
	struct end a, b;
	struct claim *c;
	struct claim_segment s = { .snd_nxt = 5, .rcv_nxt = 1000 };
	const uint32_t t = CLAIM_TOLERANCE;

	(void)state;
	world_init(&w, 15, 1, &a, &b);
	c = &w.model[0].claim[1];
	claim_attach(w.link[1]->table, c);
	assert_int_equal(claim_work_new(c, w.now_ms, false), 0);
	assert_int_equal(proof_watch(c, w.now_ms), 0);
	c->work->their_nxt = 1000;
	c->work->flow_id = 77;
	c->work->peers.track = 3;
	proof_want_sample(c, w.now_ms, STAGE_VERIFY);
	/* A copy from before the number came decides nothing. */
	claim_segment(c, w.now_ms - 1, &s);
	assert_int_equal(c->work->stage, STAGE_VERIFY);
	assert_false(c->confirmed);
	assert_int_equal(proof_check_tcp(c, 1000 - t), VERDICT_RIGHT);
	assert_int_equal(proof_check_tcp(c, 1000 + t), VERDICT_RIGHT);
	assert_int_equal(proof_check_tcp(c, 1001 + t), VERDICT_WRONG);
	assert_int_equal(proof_check_tcp(c, 999 - t), VERDICT_DOUBTFUL);
	assert_int_equal(proof_check_tcp(c, 1000 + (1u << 31)),
			 VERDICT_DOUBTFUL);
	/* The same in one that was open for long enough. */
	c->work->watch_ms -= 200;
	assert_int_equal(proof_check_tcp(c, 999 - t), VERDICT_WRONG);
	/* A window scaled up is as wide as the tolerance. */
	c->work->window = 1000000;
	assert_int_equal(proof_check_tcp(c, 1000 + 1000000), VERDICT_RIGHT);
	assert_int_equal(proof_check_tcp(c, 1001 + 1000000), VERDICT_WRONG);
	claim_segment(c, w.now_ms, &s);
	assert_int_equal(c->work->stage, STAGE_ANSWER);
	assert_true(c->confirmed);
	claim_drop(c);
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
	memset(&c, 0, sizeof(c));
	c.w = &w;
	random_fill(&w.random, c.key, sizeof(c.key));
	connect_ends(&w, &c, &b);
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
	memset(&c, 0, sizeof(c));
	c.w = &w;
	random_fill(&w.random, c.key, sizeof(c.key));
	connect_ends(&w, &c, &b);
	m = &w.model[0];
	start_all(&w, 0);
	run(&w, 300);
	check_agreed(&w, 1);
	/* c was on the path and knows the number: too late. */
	memset(&msg, 0, sizeof(msg));
	msg.type = WIRE_FLOWS;
	msg.flows.parts = 1;
	msg.flows.n = 1;
	msg.flows.flow[0].flow_id = 99;
	msg.flows.flow[0].proto = IPPROTO_TCP;
	msg.flows.flow[0].src = m->tuple[0].local;
	msg.flows.flow[0].place.at = m->tuple[0].local.addr;
	msg.flows.flow[0].dst = m->tuple[0].remote;
	msg.flows.flow[0].proof.kind = WIRE_PROOF_TCP;
	msg.flows.flow[0].proof.snd_nxt = snd_nxt(m, 0, w.now_ms);
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
	memset(&c, 0, sizeof(c));
	c.w = &w;
	random_fill(&w.random, c.key, sizeof(c.key));
	connect_ends(&w, &c, &b);
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

static void test_udp(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct world w;
		struct end a, b;

		world_init(&w, seed, 20, &a, &b);
		/* a datagram every 10 and every 200 ms */
		world_udp(&w, 10, 200);
		if (seed % 2) {
			w.loss = 20;
			w.spread_ms = 30;
		}
		start_all(&w, (int)(seed / 2 % 2));
		run(&w, seed % 2 ? 60000 : 1200);
		if (owned(&w) != 20)
			fail_msg("seed %llu: %u of 20",
				 (unsigned long long)seed, owned(&w));
		check_agreed(&w, 20);
		run(&w, 10000);
		check_quiet(&w);
		world_free(&w);
	}
}

/* What the other end did not record yet is not named to it. */
static void test_udp_order(void **state)
{
	struct world w;
	struct end a, b;
	struct claim *c;

	(void)state;
	world_init(&w, 16, 1, &a, &b);
	world_udp(&w, 1, 100);
	c = &w.model[0].claim[0];
	start_all(&w, 0);
	for (int i = 0; i < 100 && !(c->work && c->work->stage == STAGE_SENT);
	     i++)
		run(&w, 1);
	assert_non_null(c->work);
	run(&w, 5);
	assert_true(c->work->n_own >= 5);
	for (int i = 0; i < 100 && c->work->stage != STAGE_RECORD; i++)
		run(&w, 1);
	assert_int_equal(c->work->stage, STAGE_RECORD);
	assert_true(c->work->n_own <= 1);
	run(&w, 1000);
	check_agreed(&w, 1);
	claim_end(c, w.now_ms);
	claim_end(&w.model[0].claim[1], w.now_ms);
	run(&w, 1000);
	world_free(&w);
}

static void test_udp_forged(void **state)
{
	(void)state;
	/* What one end names was never seen at the other. */
	for (int liar = 0; liar < 2; liar++) {
		struct world w;
		struct end a, b;

		world_init(&w, 8, 2, &a, &b);
		world_udp(&w, 20, 20);
		w.model[0].forge[liar] = true;
		start_all(&w, 0);
		run(&w, 60000);
		assert_false(w.model[0].claim[!liar].confirmed);
		assert_true(w.model[1].claim[0].confirmed);
		/* It was lost, for all we know: not a wrong proof. */
		assert_int_not_equal(w.model[0].claim[!liar].state,
				     CLAIM_BARRED);
		w.model[0].forge[liar] = false;
		run(&w, 60000);
		check_agreed(&w, 2);
		world_free(&w);
	}
}

/* An echo service: both directions carry the same bytes. */
static void test_udp_echoed(void **state)
{
	struct world w;
	struct end a, b;
	struct claim *c;
	struct wire_proof p = { 0 };
	uint8_t payload[] = "ping";

	(void)state;
	world_init(&w, 9, 1, &a, &b);
	world_udp(&w, 0, 0);
	c = &w.model[0].claim[0];
	claim_attach(w.link[0]->table, c);
	assert_int_equal(claim_work_new(c, w.now_ms, false), 0);
	assert_int_equal(proof_record(c, w.now_ms, w.proof_key), 0);
	claim_stage(c, STAGE_LISTEN, UINT64_MAX);
	c->work->kind = WIRE_PROOF_UDP_MACS;
	claim_datagram(c, w.now_ms, true, payload, sizeof(payload));
	claim_datagram(c, w.now_ms, false, payload, sizeof(payload));
	/* Our own MACs sent back to us prove nothing. */
	proof_fill(c, &p);
	assert_int_equal(p.n_macs, 1);
	assert_false(proof_check_udp(c, &p));
	memcpy(p.mac[0], c->work->seen[0], sizeof(p.mac[0]));
	assert_true(proof_check_udp(c, &p));
	/* A zero MAC is none. */
	memset(p.mac[0], 0, sizeof(p.mac[0]));
	assert_false(proof_check_udp(c, &p));
	claim_drop(c);
	world_free(&w);
}

static void test_udp_silent(void **state)
{
	struct world w;
	struct end a, b;

	(void)state;
	world_init(&w, 10, 200, &a, &b);
	world_udp(&w, 0, 0);
	start_all(&w, 0);
	for (int i = 0; i < 300; i++) {
		run(&w, 100);
		assert_true(w.link[0]->table->n_recordings <=
			    CLAIM_RECORDINGS_MAX);
		assert_true(w.link[1]->table->n_recordings <=
			    CLAIM_RECORDINGS_MAX);
	}
	check_agreed(&w, 0);
	assert_int_equal(w.model[0].claim[0].reason, REASON_RECORDING);
	world_free(&w);
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
	offers = claim_is_offerer(&m->tuple[0]) ? 0 : 1;
	start_all(&w, 0);
	for (int i = 0; i < 1000 && !m->claim[!offers].confirmed; i++)
		run(&w, 1);
	assert_true(m->claim[!offers].confirmed);
	assert_false(m->claim[offers].confirmed);
	m->alive[offers] = false; /* no segment tells it its number */
	claim_table_announce(w.link[offers]->table, w.now_ms);
	run(&w, 300);
	check_agreed(&w, 0);
	m->alive[offers] = true;
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
	m.flows.flow[0].proof.kind = WIRE_PROOF_TCP;
	m.flows.flow[0].proof.snd_nxt = snd_nxt(&w.model[1], 0, w.now_ms);
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
			p.kind = (uint8_t)random_below(&w.random, 4);
			if (p.kind == WIRE_PROOF_UDP_MACS)
				p.n_macs = (uint8_t)random_below(&w.random, 9);
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
			assert_true(t->n_work <= CLAIM_WORK_MAX);
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
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_unanswered),
		cmocka_unit_test(test_oracle),
		cmocka_unit_test(test_owned),
		cmocka_unit_test(test_taken_over),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_udp_order),
		cmocka_unit_test(test_udp_forged),
		cmocka_unit_test(test_udp_echoed),
		cmocka_unit_test(test_udp_silent),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_end_early),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_tracks),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_empty_list),
		cmocka_unit_test(test_list_and_new),
		cmocka_unit_test(test_half_confirmed),
		cmocka_unit_test(test_reproof_unknown),
		cmocka_unit_test(test_id_taken),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_garbage),
	};

	if (crypto_init() < 0)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
