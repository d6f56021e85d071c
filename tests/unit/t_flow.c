/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flow: what the kernel must hold, step by step through moves. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int allocations_left = -1; /* -1: any number */

static void *bounded_calloc(size_t n, size_t size)
{
	if (allocations_left == 0)
		return NULL;
	if (allocations_left > 0)
		allocations_left--;
	return calloc(n, size);
}

#define calloc bounded_calloc
#include "../../src/flow.c"
#include "../../src/flow_steer.c"
#undef calloc

#define NOW 1000

/* A kernel: one list of elements per set. */
struct kernel {
	struct tuple in[4][64];
	unsigned int n[4];
	unsigned int timeouts;
	int fail_after; /* changes; -1 never */
};

static struct tuple tuple(const char *l, uint16_t lp, const char *r,
			  uint16_t rp)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = IPPROTO_TCP;
	assert_int_equal(addr_parse(l, &t.local.addr), 0);
	assert_int_equal(addr_parse(r, &t.remote.addr), 0);
	t.local.port = lp;
	t.remote.port = rp;
	return t;
}

static struct addr address(const char *text)
{
	struct addr a;

	memset(&a, 0, sizeof(a));
	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static int find(const struct kernel *k, enum flow_steer set,
		const struct tuple *t)
{
	for (unsigned int i = 0; i < k->n[set]; i++)
		if (tuple_equal(&k->in[set][i], t))
			return (int)i;
	return -1;
}

static int on_change(void *ctx, const struct flow_change *c)
{
	struct kernel *k = ctx;
	int at = find(k, c->set, &c->tuple);

	if (k->fail_after == 0)
		return -ENOBUFS;
	if (k->fail_after > 0)
		k->fail_after--;
	k->timeouts += c->add && c->timeout_ms;
	if (c->add && at < 0)
		k->in[c->set][k->n[c->set]++] = c->tuple;
	if (!c->add && at >= 0)
		k->in[c->set][at] = k->in[c->set][--k->n[c->set]];
	return 0;
}

struct fixture {
	struct counters counters;
	struct flow_table t;
	struct kernel k;
	struct flow *f;
};

static void steer(struct fixture *x, bool tombstone)
{
	assert_int_equal(flow_steer_prepare(&x->t, x->f, tombstone, NOW,
					    on_change, &x->k), 0);
	flow_steer_commit(&x->t, x->f, tombstone, NOW);
}

static const uint8_t seed[CRYPTO_SHORT_KEY_SIZE] = "sixteen bytes...";

static int setup(void **state)
{
	static struct fixture x;
	struct tuple id = tuple("10.0.0.1", 40000, "10.0.0.2", 22);

	memset(&x, 0, sizeof(x));
	x.k.fail_after = -1;
	flow_table_init(&x.t, 4, seed, &x.counters);
	x.f = flow_add(&x.t, &id, NOW);
	assert_non_null(x.f);
	x.f->protected = true;
	steer(&x, false);
	*state = &x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	flow_table_free(&x->t);
	return 0;
}

static void test_protected_is_only_watched(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(x->k.n[FLOW_STEER_PROT], 1);
	assert_int_equal(x->k.n[FLOW_STEER_OUT], 0);
	assert_int_equal(x->k.n[FLOW_STEER_IN], 0);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
	assert_true(flow_is_plain(x->f));
	assert_null(x->f->path);
	assert_null(x->f->transit);
}

static void test_hold_queues_outbound(void **state)
{
	struct fixture *x = *state;

	x->f->hold = true;
	steer(x, false);
	assert_int_equal(x->k.n[FLOW_STEER_OUT], 1);
	assert_non_null(x->f->transit); /* before its first packet comes */
	assert_false(flow_is_waiting(x->f));
	x->f->hold = false;
	steer(x, false);
	assert_int_equal(x->k.n[FLOW_STEER_OUT], 0);
}

static void test_move_and_back(void **state)
{
	struct fixture *x = *state;
	struct addr o = address("10.0.0.1");
	struct addr n = address("10.0.1.9");
	struct tuple wire = tuple("10.0.1.9", 40000, "10.0.0.2", 22);

	/* accepted, not yet sent by: identity and N both come in */
	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	assert_int_equal(find(&x->k, FLOW_STEER_IN, &wire), 0);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
	assert_int_equal(x->k.n[FLOW_STEER_OUT], 0);
	assert_ptr_equal(flow_find_wire(&x->t, &wire), x->f);
	assert_true(flow_accepts(x->f, &wire));
	assert_true(flow_accepts(x->f, &x->f->identity));
	/* sent by N */
	assert_int_equal(flow_send_by(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	assert_int_equal(x->k.n[FLOW_STEER_OUT], 1);
	/* drained: a stranger on O is none of ours */
	flow_unaccept(x->f, FLOW_OURS, &o, 0);
	steer(x, true);
	assert_int_equal(find(&x->k, FLOW_STEER_DROP, &x->f->identity), 0);
	assert_false(flow_accepts(x->f, &x->f->identity));
	/* back to O */
	assert_int_equal(flow_accept(x->f, FLOW_OURS, &o, 0), 0);
	steer(x, false);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
	assert_int_equal(flow_send_by(x->f, FLOW_OURS, &o, 0), 0);
	steer(x, false);
	assert_int_equal(x->k.n[FLOW_STEER_OUT], 0);
	flow_unaccept(x->f, FLOW_OURS, &n, 0);
	steer(x, true);
	assert_int_equal(x->k.n[FLOW_STEER_IN], 0);
	assert_int_equal(find(&x->k, FLOW_STEER_DROP, &wire), 0);
	assert_int_equal(x->k.timeouts, 1);
	assert_int_equal(x->t.tombs.n, 1);
	assert_null(x->f->path);
	/* and to N once more: its tombstone is lifted */
	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	assert_int_equal(x->t.tombs.n, 0);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
	assert_int_equal(x->k.n[FLOW_STEER_IN], 1);
}

static void test_product_of_both_sides(void **state)
{
	struct fixture *x = *state;
	struct addr ours = address("10.0.1.9");
	struct addr theirs = address("10.0.2.9");
	struct tuple both = tuple("10.0.1.9", 40000, "10.0.2.9", 22);

	assert_int_equal(flow_accept(x->f, FLOW_OURS, &ours, 0), 0);
	assert_int_equal(flow_accept(x->f, FLOW_THEIRS, &theirs, 0), 0);
	steer(x, false);
	assert_int_equal(x->k.n[FLOW_STEER_IN], 3);
	assert_true(find(&x->k, FLOW_STEER_IN, &both) >= 0);
}

static void test_failure_changes_nothing(void **state)
{
	struct fixture *x = *state;
	struct addr n = address("10.0.1.9");
	struct tuple wire = tuple("10.0.1.9", 40000, "10.0.0.2", 22);
	uint8_t before = x->f->steered;

	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	assert_int_equal(flow_send_by(x->f, FLOW_OURS, &n, 0), 0);
	x->k.fail_after = 1;
	assert_int_equal(flow_steer_prepare(&x->t, x->f, false, NOW,
					    on_change, &x->k), -ENOBUFS);
	flow_steer_abort(&x->t, x->f);
	assert_null(flow_find_wire(&x->t, &wire));
	assert_int_equal(x->f->steered, before);
}

static int hold_and_move(struct fixture *x, const struct addr *to)
{
	int err;

	x->f->hold = true;
	err = flow_accept(x->f, FLOW_OURS, to, 0);
	if (!err)
		err = flow_send_by(x->f, FLOW_OURS, to, 0);
	if (!err)
		err = flow_steer_prepare(&x->t, x->f, false, NOW, on_change,
					 &x->k);
	return err;
}

/* Whichever allocation fails: what was there stays, and it can be done
 * later. */
static void test_no_memory_changes_nothing(void **state)
{
	struct fixture *x = *state;
	struct addr o = address("10.0.0.1");
	struct addr n = address("10.0.1.9");
	struct kernel before = x->k;
	int failures = 0;

	for (allocations_left = 0; hold_and_move(x, &n); failures++) {
		allocations_left = -1;
		flow_steer_abort(&x->t, x->f);
		x->k = before; /* nothing was committed */
		assert_int_equal(x->t.wires.n, 0);
		x->f->hold = false;
		flow_unaccept(x->f, FLOW_OURS, &n, 0);
		if (x->f->path)
			assert_int_equal(flow_send_by(x->f, FLOW_OURS, &o, 0),
					 0);
		assert_true(flow_is_plain(x->f));
		steer(x, false);
		assert_null(x->f->path);
		assert_memory_equal(&x->k, &before, sizeof(before));
		free(x->f->transit); /* as at first */
		x->f->transit = NULL;
		allocations_left = failures + 1;
	}
	allocations_left = -1;
	assert_in_range(failures, 3, 10); /* transit, path, wire */
	flow_steer_commit(&x->t, x->f, false, NOW);
	assert_true(flow_is_moved(x->f));
	assert_int_equal(x->k.n[FLOW_STEER_OUT], 1);
	assert_int_equal(x->k.n[FLOW_STEER_IN], 1);
}

static void test_ports_are_a_name(void **state)
{
	struct fixture *x = *state;
	struct addr n = address("10.0.1.9");
	struct tuple first = tuple("10.0.1.9", 40000, "10.0.0.2", 22);
	struct tuple second = tuple("10.0.1.9", 50000, "10.0.0.2", 22);

	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	assert_non_null(flow_transit(x->f));
	x->f->transit->next[FLOW_OURS].ports = 7;
	x->f->transit->next[FLOW_OURS].port = 50000;
	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 7), 0);
	steer(x, false);
	assert_true(find(&x->k, FLOW_STEER_IN, &first) >= 0);
	assert_true(find(&x->k, FLOW_STEER_IN, &second) >= 0);
	x->f->transit->next[FLOW_OURS].ports = 0; /* the accepted end remembers */
	assert_int_equal(flow_send_by(x->f, FLOW_OURS, &n, 7), 0);
	assert_int_equal(flow_wire_tuple(x->f).local.port, 50000);
	flow_unaccept(x->f, FLOW_OURS, &n, 0);
	steer(x, false);
	assert_true(find(&x->k, FLOW_STEER_IN, &first) < 0);
	assert_true(find(&x->k, FLOW_STEER_IN, &second) >= 0);
	assert_int_equal(flow_port(x->f, FLOW_OURS, 0), 40000);
}

/* It is sent by that end for a moment. */
static void there_and_back(struct fixture *x, const struct addr *n)
{
	struct addr o = x->f->identity.local.addr;

	assert_int_equal(flow_send_by(x->f, FLOW_OURS, n, 0), 0);
	steer(x, false);
	assert_int_equal(flow_send_by(x->f, FLOW_OURS, &o, 0), 0);
	steer(x, false);
}

/* An end that was never sent by. */
static void test_unproved_is_quiet(void **state)
{
	struct fixture *x = *state;
	struct addr n = address("10.0.1.9");
	struct tuple wire = tuple("10.0.1.9", 40000, "10.0.0.2", 22);

	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	flow_unaccept(x->f, FLOW_OURS, &n, 0);
	steer(x, true);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
	assert_int_equal(find(&x->k, FLOW_STEER_IN, &wire), 0);
	assert_true(flow_wire_is_quiet(&x->t, &wire));
	assert_null(flow_find_wire(&x->t, &wire));
	assert_int_equal(flow_quiet_due_ms(&x->t), NOW + FLOW_QUIET_MS);
	/* Offered again it is accepted as before, and quiet afterwards. */
	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	assert_ptr_equal(flow_find_wire(&x->t, &wire), x->f);
	assert_int_equal(flow_quiet_due_ms(&x->t), 0);
	flow_unaccept(x->f, FLOW_OURS, &n, 0);
	steer(x, true);
	assert_int_equal(flow_steer_prepare(&x->t, x->f, false,
					    NOW + FLOW_QUIET_MS, on_change,
					    &x->k), 0);
	flow_steer_commit(&x->t, x->f, false, NOW + FLOW_QUIET_MS);
	assert_int_equal(x->k.n[FLOW_STEER_IN], 0);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
	assert_int_equal(x->t.wires.n, 0);
}

static void test_quiet_tuples_are_bounded(void **state)
{
	struct fixture *x = *state;
	struct addr n = address("10.0.1.0");

	for (uint8_t i = 1; i < 20; i++) {
		n.byte[3] = i;
		assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
		steer(x, false);
		flow_unaccept(x->f, FLOW_OURS, &n, 0);
		steer(x, true);
	}
	assert_int_equal(x->t.wires.n, FLOW_QUIET_MAX);
	assert_int_equal(x->k.n[FLOW_STEER_IN], FLOW_QUIET_MAX);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
}

static void test_no_wire_is_two_flows(void **state)
{
	struct fixture *x = *state;
	struct addr n = address("10.0.1.9");
	struct tuple id = tuple("10.0.3.3", 40000, "10.0.0.2", 22);
	struct flow *f = x->f, *g = flow_add(&x->t, &id, NOW);

	g->protected = true;
	assert_int_equal(flow_accept(f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	assert_int_equal(flow_accept(g, FLOW_OURS, &n, 0), 0);
	assert_int_equal(flow_steer_prepare(&x->t, g, false, NOW, on_change,
					    &x->k), -EADDRINUSE);
	flow_steer_abort(&x->t, g);
	assert_int_equal(x->t.wires.n, 1);
}

static void test_taken(void **state)
{
	struct fixture *x = *state;
	struct addr n = address("10.0.1.9");
	struct tuple other = tuple("10.0.1.9", 40000, "10.0.0.2", 22);
	struct tuple third = tuple("10.0.3.3", 1, "10.0.0.2", 22);
	struct endpoint at = other.local;
	struct flow *g = flow_add(&x->t, &other, NOW);
	struct flow *h = flow_add(&x->t, &third, NOW);

	assert_true(flow_end_taken(&x->t, x->f, FLOW_OURS, &at));
	assert_false(flow_end_taken(&x->t, g, FLOW_OURS, &at));
	flow_remove(&x->t, g);
	assert_false(flow_end_taken(&x->t, x->f, FLOW_OURS, &at));
	/* another flow's wire, then its tombstone */
	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	assert_true(flow_tuple_taken(&x->t, h, &other));
	assert_false(flow_tuple_taken(&x->t, x->f, &other));
	there_and_back(x, &n);
	flow_unaccept(x->f, FLOW_OURS, &n, 0);
	steer(x, true);
	assert_true(flow_tuple_taken(&x->t, h, &other));
	assert_false(flow_tuple_taken(&x->t, x->f, &other));
	flow_tombstones_expire(&x->t, NOW + FLOW_TOMBSTONE_MS);
	assert_false(flow_tuple_taken(&x->t, h, &other));
}

/* To N and back, which leaves N behind. */
static void leave_behind(struct fixture *x)
{
	struct addr o = address("10.0.0.1");
	struct addr n = address("10.0.1.9");

	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	assert_int_equal(flow_send_by(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	assert_int_equal(flow_send_by(x->f, FLOW_OURS, &o, 0), 0);
	steer(x, false);
	flow_unaccept(x->f, FLOW_OURS, &n, 0);
	steer(x, true);
}

/* A peer that moves without end fills neither our table nor the kernel's set,
 * which a transaction of anybody would fail on. */
static void test_tombstones_are_shared(void **state)
{
	struct fixture *x = *state;
	struct share its = { 0 }, others = { 0 };
	struct flow_group g;

	flow_group_init(&g);
	g.tombs = &its;
	flow_group_enter(x->f, FLOW_THEIRS, &g);
	share_pool_init(&x->t.tomb_pool, 16);
	assert_int_equal(share_take(&x->t.tomb_pool, &others, 12),
			 SHARE_TAKEN);
	assert_true(flow_tombstones_fit(&x->t, &g));
	leave_behind(x);
	assert_int_equal(x->t.tombs.n, 1);
	assert_int_equal(its.used, 1);
	assert_int_equal(x->k.timeouts, 1);
	assert_false(flow_tombstones_fit(&x->t, &g));
	/* What it left is a share: it leaves no more. */
	share_give(&x->t.tomb_pool, &others, 1);
	its.used = x->t.tomb_pool.used = 13;
	x->k.n[FLOW_STEER_DROP] = 0;
	flow_tombstones_expire(&x->t, NOW + FLOW_TOMBSTONE_MS);
	x->t.tomb_pool.used++;
	its.used++;
	leave_behind(x);
	assert_int_equal(x->t.tombs.n, 0);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
	assert_true(x->counters.value[COUNTER_TOMBSTONES_FULL] > 0);
	/* Of one that is no more they are nobody's. */
	x->t.tomb_pool.used = its.used = 0;
	leave_behind(x);
	assert_int_equal(its.used, 1);
	flow_tombstones_forget_share(&x->t, &its);
	flow_tombstones_expire(&x->t, NOW + FLOW_TOMBSTONE_MS);
	assert_int_equal(its.used, 1);
	assert_int_equal(x->t.tomb_pool.used, 0);
	flow_group_enter(x->f, FLOW_THEIRS, NULL);
}

static void test_no_tombstone_on_a_living_socket(void **state)
{
	struct fixture *x = *state;
	struct addr n = address("10.0.1.9");
	struct tuple wire = tuple("10.0.1.9", 40000, "10.0.0.2", 22);
	struct flow *young;

	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	there_and_back(x, &n);
	young = flow_add(&x->t, &wire, NOW);
	assert_non_null(young);
	flow_unaccept(x->f, FLOW_OURS, &n, 0);
	steer(x, true);
	assert_int_equal(x->k.n[FLOW_STEER_DROP], 0);
	assert_int_equal(x->t.tombs.n, 0);
	/* the other way round: the socket comes after the tombstone */
	flow_remove(&x->t, young);
	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	there_and_back(x, &n);
	flow_unaccept(x->f, FLOW_OURS, &n, 0);
	steer(x, true);
	assert_int_equal(x->t.tombs.n, 1);
	assert_true(flow_tombstone_lift(&x->t, &wire));
	assert_false(flow_tombstone_lift(&x->t, &wire));
	assert_int_equal(x->t.tombs.n, 0);
}

static void test_bounds(void **state)
{
	struct fixture *x = *state;
	struct tuple id = tuple("10.0.0.1", 1, "10.0.0.2", 22);
	struct addr a = address("10.9.0.0");

	for (uint16_t i = 0; i < 3; i++) {
		id.local.port = (uint16_t)(100 + i);
		assert_non_null(flow_add(&x->t, &id, NOW));
	}
	id.local.port = 200;
	assert_null(flow_add(&x->t, &id, NOW));
	assert_int_equal(x->counters.value[COUNTER_FLOWS_FULL], 1);
	for (unsigned int i = 1; i < FLOW_ENDS_MAX; i++) {
		a.byte[3] = (uint8_t)i;
		assert_int_equal(flow_accept(x->f, FLOW_OURS, &a, 0), 0);
	}
	a.byte[3] = 200;
	assert_int_equal(flow_accept(x->f, FLOW_OURS, &a, 0), -ENOSPC);
}

/* A path moves when it grows: nothing in it may be lost. */
static void test_a_path_grows(void **state)
{
	struct fixture *x = *state;
	struct addr ours = address("10.9.0.0"), theirs = address("10.8.0.0");
	struct tuple wire;

	assert_int_equal(flow_accept(x->f, FLOW_THEIRS, &theirs, 0), 0);
	assert_int_equal(flow_send_by(x->f, FLOW_THEIRS, &theirs, 0), 0);
	for (uint8_t i = 1; i < FLOW_ENDS_MAX; i++) {
		ours.byte[3] = i;
		assert_int_equal(flow_accept(x->f, FLOW_OURS, &ours, 0), 0);
		flow_end_find(x->f, FLOW_OURS, &ours, 0)->ifindex = i;
		assert_int_equal(flow_send_by(x->f, FLOW_OURS, &ours, 0), 0);
		wire = flow_wire_tuple(x->f);
		assert_true(addr_equal(&wire.local.addr, &ours));
		assert_true(addr_equal(&wire.remote.addr, &theirs));
		for (uint8_t j = 1; j <= i; j++) {
			struct flow_end *e;

			ours.byte[3] = j;
			e = flow_end_find(x->f, FLOW_OURS, &ours, 0);
			assert_non_null(e);
			assert_int_equal(e->ifindex, j);
			wire.local.addr = ours;
			assert_true(flow_accepts(x->f, &wire));
		}
		assert_true(flow_accepts(x->f, &x->f->identity));
	}
}

static void test_restore_names_everything(void **state)
{
	struct fixture *x = *state;
	struct kernel again;
	struct addr n = address("10.0.1.9");

	assert_int_equal(flow_accept(x->f, FLOW_OURS, &n, 0), 0);
	assert_int_equal(flow_send_by(x->f, FLOW_OURS, &n, 0), 0);
	steer(x, false);
	memset(&again, 0, sizeof(again));
	again.fail_after = -1;
	assert_int_equal(flow_steer_all(&x->t, NOW, on_change, &again), 0);
	for (int set = 0; set < 4; set++)
		assert_int_equal(again.n[set], x->k.n[set]);
}

static void test_groups_keep_digests(void **state)
{
	struct fixture *x = *state;
	struct flow_group g, h;
	struct claim_digest six;
	static const uint8_t zero[WIRE_DIGEST_SIZE];

	flow_group_init(&g);
	x->f->claim.flow_id = 5;
	flow_group_enter(x->f, FLOW_OURS, &g);
	assert_int_equal(g.digest.count, 1);
	assert_memory_not_equal(g.digest.sum, zero, sizeof(zero));
	flow_group_init(&h);
	flow_group_enter(x->f, FLOW_THEIRS, &h);
	assert_memory_equal(g.digest.sum, h.digest.sum, sizeof(zero));
	x->f->claim.flow_id = 6; /* proved anew under another id */
	flow_group_enter(x->f, FLOW_OURS, &g);
	assert_int_equal(g.digest.count, 1);
	flow_group_enter(x->f, FLOW_THEIRS, &h);
	assert_memory_equal(g.digest.sum, h.digest.sum, sizeof(zero));
	memset(&six, 0, sizeof(six));
	claim_digest_add(&six, 6);
	assert_true(claim_digest_equal(&six, 1, g.digest.sum));
	x->f->claim.flow_id = 0; /* of the claim that is over */
	flow_group_enter(x->f, FLOW_OURS, NULL);
	assert_int_equal(g.digest.count, 0);
	assert_memory_equal(g.digest.sum, zero, sizeof(zero));
	assert_true(claim_digest_equal(&six, 1, h.digest.sum));
	flow_group_enter(x->f, FLOW_THEIRS, NULL);
	assert_memory_equal(h.digest.sum, zero, sizeof(zero));
}

static void test_listing_goes_by_id(void **state)
{
	struct fixture *x = *state;
	struct tuple id = tuple("10.0.0.1", 1, "10.0.0.2", 22);
	struct flow *g = flow_add(&x->t, &id, NOW);
	uint64_t first = x->f->id;
	uint64_t second = g->id;

	assert_ptr_equal(flow_next_id(&x->t, 0), x->f);
	assert_ptr_equal(flow_next_id(&x->t, first), g);
	flow_remove(&x->t, x->f);
	assert_ptr_equal(flow_next_id(&x->t, first), g);
	assert_null(flow_next_id(&x->t, second));
}

#define MANY 3000

/* As many as fit, and then each third of them goes while they are walked,
 * and others come. */
static void test_flows_come_and_go(void **state)
{
	static struct counters counters;
	struct flow_table t;
	struct flow *f, *next;
	uint64_t last = 0;
	unsigned int n = 0, gone = 0;

	(void)state;
	memset(&counters, 0, sizeof(counters));
	flow_table_init(&t, MANY, seed, &counters);
	for (uint16_t i = 1; i <= MANY; i++) {
		struct tuple id = tuple("10.0.0.1", i, "10.0.0.2", 22);

		f = flow_add(&t, &id, NOW);
		assert_non_null(f);
		assert_ptr_equal(flow_find_id(&t, f->id), f);
	}
	for (f = flow_first(&t); f; f = next) {
		struct tuple id = tuple("10.0.0.1", 1, "10.0.0.3", 22);

		next = flow_next(f);
		assert_true(f->id > last);
		last = f->id;
		id.local.port = (uint16_t)(1 + n);
		if (n++ % 3)
			continue;
		assert_null(flow_add(&t, &id, NOW));
		flow_remove(&t, f);
		gone++;
		assert_null(flow_find_id(&t, last));
		assert_non_null(flow_add(&t, &id, NOW));
	}
	assert_true(gone > MANY / 3); /* of those that came, too */
	assert_int_equal(counters.value[COUNTER_FLOWS_FULL], gone);
	assert_int_equal(t.by_identity.n, MANY);
	for (uint16_t i = 1; i <= MANY; i++) {
		struct tuple old = tuple("10.0.0.1", i, "10.0.0.2", 22);
		struct tuple new = tuple("10.0.0.1", i, "10.0.0.3", 22);

		assert_int_equal(flow_find(&t, &old) != NULL, i % 3 != 1);
		f = flow_find(&t, &new);
		assert_true(!f || tuple_equal(&f->identity, &new));
	}
	flow_table_free(&t);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		T(test_protected_is_only_watched),
		T(test_hold_queues_outbound),
		T(test_move_and_back),
		T(test_product_of_both_sides),
		T(test_failure_changes_nothing),
		T(test_no_memory_changes_nothing),
		T(test_ports_are_a_name),
		T(test_unproved_is_quiet),
		T(test_quiet_tuples_are_bounded),
		T(test_no_wire_is_two_flows),
		T(test_taken),
		T(test_tombstones_are_shared),
		T(test_no_tombstone_on_a_living_socket),
		T(test_bounds),
		T(test_a_path_grows),
		T(test_restore_names_everything),
		T(test_groups_keep_digests),
		T(test_listing_goes_by_id),
		T(test_flows_come_and_go),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
