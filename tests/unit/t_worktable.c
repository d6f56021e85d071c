/* SPDX-License-Identifier: GPL-2.0-or-later */
/* worktable: against a plain array, with gaps closed at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>

static bool out_of_memory;

static void *failing_calloc(size_t n, size_t size)
{
	return out_of_memory ? NULL : calloc(n, size);
}

#define calloc failing_calloc
#include "../../src/worktable.c"
#undef calloc

#include "random.h"

#define SEED 2026
#define ROUTES 500
#define STEPS 200000

static struct work_route route[ROUTES];
static bool in[ROUTES];

/* Neighbours share all but one field. */
static void make_routes(void)
{
	memset(route, 0, sizeof(route));
	for (unsigned int i = 0; i < ROUTES; i++) {
		struct tuple *t = &route[i].tuple;

		t->proto = i % 2 ? IPPROTO_TCP : IPPROTO_UDP;
		t->local.addr.family = i % 4 < 2 ? 4 : 6;
		t->remote.addr.family = t->local.addr.family;
		t->local.addr.byte[3] = (uint8_t)(i / 8 % 4);
		t->remote.addr.byte[0] = (uint8_t)(i / 32 % 4);
		t->local.port = (uint16_t)(i / 128);
		t->remote.port = 443;
		route[i].outbound = i / 4 % 2;
		in[i] = false;
	}
}

static void check_all(const struct worktable *t)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ROUTES; i++) {
		assert_ptr_equal(worktable_find(t, &route[i].tuple,
						route[i].outbound),
				 in[i] ? &route[i] : NULL);
		n += in[i];
	}
	assert_int_equal(t->n, n);
}

static void agrees_with_an_array(void **state)
{
	uint64_t r = SEED;
	struct worktable t;

	(void)state;
	make_routes();
	worktable_init(&t, SEED);
	check_all(&t);
	for (unsigned int step = 0; step < STEPS; step++) {
		uint64_t x = random_next(&r);
		unsigned int i = (unsigned int)(x >> 8) % ROUTES;

		if (x % 2) {
			assert_int_equal(worktable_add(&t, &route[i]),
					 in[i] ? -EEXIST : 0);
			in[i] = true;
		} else {
			assert_int_equal(worktable_remove(&t, &route[i]),
					 in[i]);
			in[i] = false;
		}
		if (step % 1000 == 0)
			check_all(&t);
	}
	check_all(&t);
	worktable_free(&t);
}

/* With eight slots every chain wraps and every gap is closed. */
static void closes_gaps_around_the_end(void **state)
{
	uint64_t r = SEED;
	struct worktable t;

	(void)state;
	make_routes();
	for (unsigned int round = 0; round < 20000; round++) {
		struct work_route *some[4];
		unsigned int gone = (unsigned int)random_next(&r) % 4;

		worktable_init(&t, random_next(&r));
		t.slot = calloc(8, sizeof(*t.slot));
		t.mask = 7;
		for (unsigned int i = 0; i < 4; i++) {
			some[i] = &route[i * 125 +
					 (unsigned int)random_next(&r) % 125];
			assert_int_equal(worktable_add(&t, some[i]), 0);
		}
		assert_int_equal(t.mask, 7);
		assert_true(worktable_remove(&t, some[gone]));
		for (unsigned int i = 0; i < 4; i++)
			assert_ptr_equal(worktable_find(&t, &some[i]->tuple,
							some[i]->outbound),
					 i == gone ? NULL : some[i]);
		worktable_free(&t);
	}
}

static void removes_only_the_very_route(void **state)
{
	struct work_route other;
	struct worktable t;

	(void)state;
	make_routes();
	memset(&other, 0, sizeof(other));
	other.tuple = route[0].tuple;
	other.outbound = route[0].outbound;
	worktable_init(&t, SEED);
	assert_false(worktable_remove(&t, &route[0]));
	assert_int_equal(worktable_add(&t, &route[0]), 0);
	assert_false(worktable_remove(&t, &other));
	assert_ptr_equal(worktable_find(&t, &other.tuple, other.outbound),
			 &route[0]);
	worktable_free(&t);
}

static void is_as_before_without_memory(void **state)
{
	struct worktable t;
	unsigned int n = 0;

	(void)state;
	make_routes();
	worktable_init(&t, SEED);
	out_of_memory = true;
	assert_int_equal(worktable_add(&t, &route[0]), -ENOMEM);
	out_of_memory = false;
	assert_int_equal(worktable_add(&t, &route[0]), 0);
	in[n++] = true;
	out_of_memory = true;
	while (worktable_add(&t, &route[n]) == 0)
		in[n++] = true;
	out_of_memory = false;
	assert_int_equal(n, SLOTS_FIRST / 2);
	check_all(&t);
	assert_int_equal(worktable_add(&t, &route[n]), 0);
	in[n] = true;
	check_all(&t);
	worktable_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_an_array),
		cmocka_unit_test(closes_gaps_around_the_end),
		cmocka_unit_test(removes_only_the_very_route),
		cmocka_unit_test(is_as_before_without_memory),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
