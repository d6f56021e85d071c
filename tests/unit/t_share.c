/* SPDX-License-Identifier: GPL-2.0-or-later */
/* share: much for who is alone, enough for everybody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/share.c"

#define BOUND 1600
#define OPEN 1200
#define SHARE 100

static uint32_t take_all(struct share_pool *p, struct share *s,
			 enum share_result why)
{
	uint32_t n = 0;
	enum share_result r;

	while ((r = share_take(p, s, 1)) == SHARE_TAKEN)
		n++;
	assert_int_equal(r, why);
	return n;
}

static void who_is_alone_gets_all_but_the_reserve(void **state)
{
	struct share_pool p;
	struct share s = { 0 };

	(void)state;
	share_pool_init(&p, BOUND);
	assert_int_equal(take_all(&p, &s, SHARE_ITS_OWN), OPEN);
	assert_int_equal(s.used, OPEN);
	share_give(&p, &s, OPEN);
	assert_int_equal(p.used, 0);
	assert_int_equal(s.used, 0);
}

static void everybody_else_gets_a_share(void **state)
{
	struct share_pool p;
	struct share greedy = { 0 }, other[2] = { { 0 } }, last = { 0 };

	(void)state;
	share_pool_init(&p, BOUND);
	assert_int_equal(take_all(&p, &greedy, SHARE_ITS_OWN), OPEN);
	for (int i = 0; i < 2; i++)
		assert_int_equal(take_all(&p, &other[i], SHARE_ITS_OWN),
				 SHARE);
	assert_int_equal(take_all(&p, NULL, SHARE_ITS_OWN), 0);
	assert_int_equal(share_take(&p, &last, 1), SHARE_ITS_OWN);
	/* What one gives back is there for all again. */
	share_give(&p, &greedy, OPEN);
	assert_int_equal(take_all(&p, &last, SHARE_ITS_OWN), OPEN - 2 * SHARE);
}

/* Whoever makes keys without end gets all but what is theirs. */
static void the_chosen_always_get_theirs(void **state)
{
	struct share_pool p;
	struct share crowd[64] = { { 0 } };
	struct share chosen[3] = {
		{ .chosen = true }, { .chosen = true }, { .chosen = true },
	};

	(void)state;
	share_pool_init(&p, BOUND);
	for (int i = 0; i < 64; i++)
		take_all(&p, &crowd[i], SHARE_ITS_OWN);
	assert_int_equal(p.used, BOUND - (BOUND - OPEN) / 2);
	assert_int_equal(take_all(&p, &chosen[0], SHARE_ITS_OWN), SHARE);
	assert_int_equal(take_all(&p, &chosen[1], SHARE_ALL), SHARE);
	assert_int_equal(share_take(&p, &chosen[2], 1), SHARE_ALL);
}

static void nothing_wraps(void **state)
{
	struct share_pool p;
	struct share s = { 0 };

	(void)state;
	share_pool_init(&p, UINT32_MAX);
	assert_int_equal(share_take(&p, &s, UINT32_MAX), SHARE_ITS_OWN);
	assert_int_equal(share_take(&p, &s, 1), SHARE_TAKEN);
	assert_int_equal(share_take(&p, &s, UINT32_MAX), SHARE_ALL);
	assert_int_equal(p.used, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_alone_gets_all_but_the_reserve),
		cmocka_unit_test(everybody_else_gets_a_share),
		cmocka_unit_test(the_chosen_always_get_theirs),
		cmocka_unit_test(nothing_wraps),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
