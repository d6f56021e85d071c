/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hold: order and bounds, against a plain array; memory running out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>

static bool out_of_memory;

static void *failing_malloc(size_t size)
{
	return out_of_memory ? NULL : malloc(size);
}

#define malloc failing_malloc
#include "../../src/hold.c"
#undef malloc

#include "pktq.h"
#include "random.h"

#define SEED 2012
#define FLOWS 5
#define MODEL_MAX 4096

static int push(struct hold *h, struct hold_flow *f, uint32_t id, uint32_t len)
{
	static uint8_t data[PKT_LEN_MAX + 1];
	const struct hold_packet meta = {
		.id = id,
		.queue = 7,
		.csum = CSUM_NOT_READY,
		.mark = ~id,
		.len = len,
	};

	memset(data, (int)id, len);
	return hold_push(h, f, NULL, &meta, data);
}

static void check_packet(const struct hold_packet *p, uint32_t id,
			 uint32_t len)
{
	assert_non_null(p);
	assert_int_equal(p->id, id);
	assert_int_equal(p->queue, 7);
	assert_int_equal(p->csum, CSUM_NOT_READY);
	assert_int_equal(p->mark, ~id);
	assert_int_equal(p->len, len);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(p->data[i], (uint8_t)id);
}

static void drain(struct hold *h, struct hold_flow *f)
{
	struct hold_packet *p;

	while ((p = hold_pop(h, f)))
		free(p);
}

static void releases_in_order_of_arrival(void **state)
{
	struct hold_flow f;
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	hold_flow_init(&f, NULL);
	assert_true(hold_flow_empty(&f));
	assert_null(hold_peek(&f));
	assert_null(hold_pop(&h, &f));
	for (uint32_t id = 1; id <= 100; id++)
		assert_int_equal(push(&h, &f, id, id * 3), 0);
	for (uint32_t id = 1; id <= 100; id++) {
		struct hold_packet *p;

		assert_false(hold_flow_empty(&f));
		assert_int_equal(hold_peek(&f)->id, id);
		p = hold_pop(&h, &f);
		check_packet(p, id, id * 3);
		free(p);
	}
	assert_true(hold_flow_empty(&f));
	assert_int_equal(h.packets.used, 0);
	assert_int_equal(h.bytes.used, 0);
	assert_int_equal(h.counters.held, 100);
	assert_int_equal(h.counters.released, 100);
}

static void keeps_a_copy_of_its_own(void **state)
{
	struct hold_packet meta = { .id = 1, .len = 4 };
	uint8_t data[4] = { 1, 2, 3, 4 };
	struct hold_packet *p;
	struct hold_flow f;
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	hold_flow_init(&f, NULL);
	assert_int_equal(hold_push(&h, &f, NULL, &meta, data), 0);
	memset(data, 0, sizeof(data));
	p = hold_pop(&h, &f);
	assert_memory_equal(p->data, "\1\2\3\4", 4);
	p->data[0] = 9; /* writable: the rewrite happens here */
	free(p);
}

static void turns_the_newest_away_at_each_bound(void **state)
{
	const struct hold_limits limits = {
		.packets = 5, .bytes = 1000, .flow_packets = 3,
		.flow_bytes = 600,
	};
	struct hold_flow a, b;
	struct hold h;

	(void)state;
	hold_init(&h, &limits);
	h.packets.reserve = h.bytes.reserve = 0;
	hold_flow_init(&a, NULL);
	hold_flow_init(&b, NULL);
	/* bytes of a flow, exactly reached */
	assert_int_equal(push(&h, &a, 1, 599), 0);
	assert_int_equal(push(&h, &a, 2, 2), -ENOBUFS);
	assert_int_equal(push(&h, &a, 3, 1), 0);
	assert_int_equal(h.counters.flow_full, 1);
	/* bytes of all */
	assert_int_equal(push(&h, &b, 4, 401), -ENOSPC);
	assert_int_equal(push(&h, &b, 5, 400), 0);
	assert_int_equal(h.counters.full, 1);
	/* packets of a flow: empty packets need no bytes */
	assert_int_equal(push(&h, &a, 6, 0), 0);
	assert_int_equal(push(&h, &a, 7, 0), -ENOBUFS);
	/* packets of all */
	assert_int_equal(push(&h, &b, 8, 0), 0);
	assert_int_equal(push(&h, &b, 9, 0), -ENOSPC);
	assert_int_equal(h.packets.used, 5);
	assert_int_equal(h.bytes.used, 1000);
	assert_int_equal(h.counters.held, 5);
	assert_int_equal(h.counters.full, 2);
	assert_int_equal(h.counters.flow_full, 2);
	/* what is held is untouched, the oldest first */
	assert_int_equal(hold_peek(&a)->id, 1);
	assert_int_equal(hold_peek(&b)->id, 5);
	drain(&h, &a);
	assert_int_equal(push(&h, &b, 10, 0), 0);
	drain(&h, &b);
	assert_int_equal(h.bytes.used, 0);
}

/* One peer's flows, each within its own bounds, would fill all there is. */
static void leaves_room_for_another_peer(void **state)
{
	const struct hold_limits limits = {
		.packets = 1600, .bytes = 160000, .flow_packets = 400,
		.flow_bytes = 40000,
	};
	static const uint8_t data[100];
	const struct hold_packet meta = { .len = sizeof(data) };
	struct hold_share one = { 0 }, another = { 0 };
	struct hold_flow f[5];
	struct hold h;
	int n = 0;

	(void)state;
	hold_init(&h, &limits);
	for (int i = 0; i < 5; i++)
		hold_flow_init(&f[i], NULL);
	for (int i = 0; i < 4; i++)
		while (!hold_push(&h, &f[i], &one, &meta, data))
			n++;
	assert_int_equal(n, 1200);
	assert_true(h.counters.share_full > 0);
	assert_int_equal(h.counters.full, 0);
	for (n = 0; !hold_push(&h, &f[4], &another, &meta, data);)
		n++;
	assert_int_equal(n, 100);
	assert_int_equal(another.bytes.used, 10000);
	/* A peer that is forgotten meanwhile. */
	hold_forget_share(&h, &one);
	for (int i = 0; i < 5; i++)
		drain(&h, &f[i]);
	assert_int_equal(h.packets.used, 0);
	assert_int_equal(h.bytes.used, 0);
	assert_int_equal(another.packets.used, 0);
	assert_int_equal(one.packets.used, 1200);
}

static void refuses_what_no_packet_can_be(void **state)
{
	struct hold_flow f;
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	hold_flow_init(&f, NULL);
	assert_int_equal(push(&h, &f, 1, PKT_LEN_MAX + 1), -EMSGSIZE);
	assert_int_equal(push(&h, &f, 1, PKT_LEN_MAX), 0);
	drain(&h, &f);
}

static void survives_without_memory(void **state)
{
	struct hold_flow f;
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	hold_flow_init(&f, NULL);
	assert_int_equal(push(&h, &f, 1, 10), 0);
	out_of_memory = true;
	assert_int_equal(push(&h, &f, 2, 10), -ENOMEM);
	out_of_memory = false;
	assert_int_equal(h.packets.used, 1);
	assert_int_equal(h.bytes.used, 10);
	assert_int_equal(h.counters.full, 1);
	assert_int_equal(push(&h, &f, 3, 10), 0);
	drain(&h, &f);
}

/* The kernel's queue must outlast ours: it is what drops at last. */
static void defaults_fit_the_kernel_queue(void **state)
{
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	assert_true(h.limits.packets < PKTQ_MAXLEN_DEFAULT);
	assert_true(h.limits.flow_packets < h.limits.packets);
	assert_true(h.limits.flow_bytes < h.limits.bytes);
}

struct model {
	uint32_t id[MODEL_MAX], len[MODEL_MAX];
	uint32_t first, end, bytes;
};

static uint32_t model_bytes(const struct model m[FLOWS])
{
	uint32_t bytes = 0;

	for (int i = 0; i < FLOWS; i++)
		bytes += m[i].bytes;
	return bytes;
}

static uint32_t model_packets(const struct model m[FLOWS])
{
	uint32_t packets = 0;

	for (int i = 0; i < FLOWS; i++)
		packets += m[i].end - m[i].first;
	return packets;
}

static int model_push(struct model m[FLOWS], unsigned int at, uint32_t id,
		      uint32_t len, const struct hold_limits *max)
{
	struct model *f = &m[at];

	if (f->end - f->first + 1 > max->flow_packets ||
	    f->bytes + len > max->flow_bytes)
		return -ENOBUFS;
	if (model_packets(m) + 1 > max->packets ||
	    model_bytes(m) + len > max->bytes)
		return -ENOSPC;
	f->id[f->end] = id;
	f->len[f->end++] = len;
	f->bytes += len;
	return 0;
}

static void agrees_with_the_model(void **state)
{
	static struct model m[FLOWS];
	const struct hold_limits limits = {
		.packets = 60, .bytes = 9000, .flow_packets = 20,
		.flow_bytes = 3000,
	};
	struct hold_flow f[FLOWS];
	struct hold h;
	uint64_t r = SEED;

	(void)state;
	hold_init(&h, &limits);
	h.packets.reserve = h.bytes.reserve = 0;
	for (int i = 0; i < FLOWS; i++)
		hold_flow_init(&f[i], NULL);
	for (uint32_t id = 1; id < MODEL_MAX; id++) {
		unsigned int at = (unsigned int)random_below(&r, FLOWS);
		uint32_t len = (uint32_t)random_below(&r, 300);
		struct hold_packet *p;

		assert_int_equal(push(&h, &f[at], id, len),
				 model_push(m, at, id, len, &limits));
		assert_int_equal(h.packets.used, model_packets(m));
		assert_int_equal(h.bytes.used, model_bytes(m));
		assert_int_equal(f[at].packets, m[at].end - m[at].first);
		assert_int_equal(f[at].bytes, m[at].bytes);
		at = (unsigned int)random_below(&r, FLOWS);
		if (random_below(&r, 10) < 7 || m[at].first == m[at].end)
			continue;
		p = hold_pop(&h, &f[at]);
		check_packet(p, m[at].id[m[at].first],
			     m[at].len[m[at].first]);
		m[at].bytes -= p->len;
		m[at].first++;
		free(p);
	}
	assert_true(h.counters.full > 0 && h.counters.flow_full > 0);
	for (int i = 0; i < FLOWS; i++)
		drain(&h, &f[i]);
	assert_int_equal(h.packets.used, 0);
	assert_int_equal(h.bytes.used, 0);
}

/* What is held at `at_ms`: a segment with that number, or a bare ACK. */
static void push_tcp(struct hold *h, struct hold_flow *f, uint64_t at_ms,
		     enum hold_kind kind, uint32_t seq)
{
	const struct hold_packet meta = {
		.id = seq,
		.at_ms = at_ms,
		.kind = kind,
		.tcp_seq = seq,
		.len = 4,
	};
	const uint8_t data[4] = { 0 };

	assert_int_equal(hold_push(h, f, NULL, &meta, data), 0);
}

static void check_ids(struct hold_list *list, const uint32_t *id, size_t n)
{
	struct hold_packet *p;

	for (size_t i = 0; i < n; i++) {
		p = STAILQ_FIRST(list);
		assert_non_null(p);
		assert_int_equal(p->id, id[i]);
		STAILQ_REMOVE_HEAD(list, entry);
		free(p);
	}
	assert_true(STAILQ_EMPTY(list));
}

static void old_segments_are_given_up(void **state)
{
	const uint32_t rest[] = { 11, 12 }, first[] = { UINT32_MAX };
	struct hold_list out = STAILQ_HEAD_INITIALIZER(out);
	struct hold_flow f;
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	hold_flow_init(&f, &h);
	push_tcp(&h, &f, 100, HOLD_SEGMENT, 11);
	push_tcp(&h, &f, 101, HOLD_SEGMENT, UINT32_MAX); /* the first to 11 */
	push_tcp(&h, &f, 102, HOLD_SEGMENT, 12);
	push_tcp(&h, &f, 200, HOLD_SEGMENT, 13); /* young */
	assert_ptr_equal(LIST_FIRST(&h.waiting), &f);
	assert_ptr_equal(f.owner, &h);
	assert_false(hold_take_stale(&h, &f, 100, true, &out));
	assert_true(hold_take_stale(&h, &f, 200, false, &out));
	check_ids(&out, rest, 2);
	assert_int_equal(hold_first_segment(&f)->id, UINT32_MAX);
	assert_int_equal(f.packets, 2);
	assert_int_equal(h.bytes.used, 8);
	assert_true(hold_take_stale(&h, &f, 200, true, &out));
	check_ids(&out, first, 1);
	assert_int_equal(hold_peek(&f)->id, 13);
	assert_int_equal(h.counters.stale, 3);
	drain(&h, &f);
	assert_true(LIST_EMPTY(&h.waiting));
	assert_null(hold_first_segment(&f));
}

/* The newest says what all say, and perhaps opens the window. */
static void the_last_ack_stays(void **state)
{
	const uint32_t gone[] = { 1, 2 }, all[] = { 3, 4 };
	struct hold_list out = STAILQ_HEAD_INITIALIZER(out);
	struct hold_flow f;
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	hold_flow_init(&f, NULL);
	for (uint32_t i = 1; i <= 3; i++)
		push_tcp(&h, &f, i, HOLD_ACK, i);
	assert_false(hold_take_stale(&h, &f, 100, true, &out));
	check_ids(&out, gone, 2);
	push_tcp(&h, &f, 50, HOLD_SEGMENT, 4);
	push_tcp(&h, &f, 60, HOLD_ANY, 5);
	assert_true(hold_take_stale(&h, &f, 100, true, &out));
	check_ids(&out, all, 2);
	assert_int_equal(hold_peek(&f)->id, 5);
	drain(&h, &f);
}

static void nothing_is_held_for_ever(void **state)
{
	const uint32_t gone[] = { 1, 3 }, rest[] = { 2, 4 };
	struct hold_list out = STAILQ_HEAD_INITIALIZER(out);
	struct hold_flow f;
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	hold_flow_init(&f, NULL);
	push_tcp(&h, &f, 1, HOLD_ANY, 1);
	push_tcp(&h, &f, 2, HOLD_SEGMENT, 2);
	push_tcp(&h, &f, 3, HOLD_ACK, 3);
	push_tcp(&h, &f, 50, HOLD_ANY, 4);
	assert_false(hold_take_old(&h, &f, 1, 1, &out));
	assert_false(hold_take_old(&h, &f, 50, 2, &out));
	check_ids(&out, gone, 2);
	assert_int_equal(f.packets, 2);
	assert_int_equal(hold_peek(&f)->id, 2);
	assert_false(LIST_EMPTY(&h.waiting));
	assert_true(hold_take_old(&h, &f, 51, 3, &out));
	check_ids(&out, rest, 2);
	assert_int_equal(h.packets.used, 0);
	assert_int_equal(h.bytes.used, 0);
	assert_true(LIST_EMPTY(&h.waiting));
}

/* Of the others, order and bounds stay. */
static void what_leaves_by_one_link_is_taken(void **state)
{
	const struct hold_packet to[] = {
		{ .id = 1, .ifindex = 3 },
		{ .id = 2, .ifindex = 4, .kind = HOLD_SEGMENT },
		{ .id = 3, .ifindex = 3, .kind = HOLD_ACK },
		{ .id = 4, .ifindex = 4 },
	};
	const uint32_t first[] = { 1, 3 }, rest[] = { 2, 4 };
	struct hold_list out = STAILQ_HEAD_INITIALIZER(out);
	struct hold_flow f;
	struct hold h;

	(void)state;
	hold_init(&h, NULL);
	hold_flow_init(&f, NULL);
	assert_false(hold_take_link(&h, &f, 3, &out));
	for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++)
		assert_int_equal(hold_push(&h, &f, NULL, &to[i],
					   (const uint8_t *)""), 0);
	assert_false(hold_take_link(&h, &f, 5, &out));
	assert_true(STAILQ_EMPTY(&out));
	assert_false(hold_take_link(&h, &f, 3, &out));
	check_ids(&out, first, 2);
	assert_int_equal(hold_peek(&f)->id, 2);
	assert_int_equal(f.packets, 2);
	assert_int_equal(h.packets.used, 2);
	assert_true(hold_take_link(&h, &f, 4, &out));
	check_ids(&out, rest, 2);
	assert_true(hold_flow_empty(&f));
	assert_true(LIST_EMPTY(&h.waiting));
	assert_int_equal(h.counters.gone, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(releases_in_order_of_arrival),
		cmocka_unit_test(keeps_a_copy_of_its_own),
		cmocka_unit_test(turns_the_newest_away_at_each_bound),
		cmocka_unit_test(leaves_room_for_another_peer),
		cmocka_unit_test(refuses_what_no_packet_can_be),
		cmocka_unit_test(survives_without_memory),
		cmocka_unit_test(defaults_fit_the_kernel_queue),
		cmocka_unit_test(agrees_with_the_model),
		cmocka_unit_test(old_segments_are_given_up),
		cmocka_unit_test(the_last_ack_stays),
		cmocka_unit_test(nothing_is_held_for_ever),
		cmocka_unit_test(what_leaves_by_one_link_is_taken),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
