/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay: the window against a model that remembers everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "random.h"
#include "replay.h"

static void edges_of_the_window(void **state)
{
	struct replay r;

	(void)state;
	replay_reset(&r);
	assert_int_equal(replay_check(&r, 0), REPLAY_FRESH);
	replay_commit(&r, 0);
	assert_int_equal(replay_check(&r, 0), REPLAY_SEEN);

	replay_commit(&r, REPLAY_WINDOW - 1);
	assert_int_equal(replay_check(&r, 0), REPLAY_SEEN);
	assert_int_equal(replay_check(&r, 1), REPLAY_FRESH);
	replay_commit(&r, REPLAY_WINDOW);
	assert_int_equal(replay_check(&r, 0), REPLAY_OLD);
	assert_int_equal(replay_check(&r, 1), REPLAY_FRESH);
	replay_commit(&r, 1);
	assert_int_equal(replay_check(&r, 1), REPLAY_SEEN);

	/* A leap over the whole ring forgets it all. */
	replay_commit(&r, 1000000);
	assert_int_equal(replay_check(&r, 1000000 - REPLAY_WINDOW),
			 REPLAY_OLD);
	for (uint64_t c = 1000000 - REPLAY_WINDOW + 1; c < 1000000; c++)
		assert_int_equal(replay_check(&r, c), REPLAY_FRESH);

	replay_commit(&r, REPLAY_COUNTER_MAX);
	assert_int_equal(replay_check(&r, REPLAY_COUNTER_MAX), REPLAY_SEEN);
	assert_int_equal(replay_check(&r, UINT64_MAX), REPLAY_EXHAUSTED);
	replay_commit(&r, UINT64_MAX);
	assert_int_equal(replay_check(&r, REPLAY_COUNTER_MAX - 1),
			 REPLAY_FRESH);
	assert_int_equal(replay_check(&r, 5), REPLAY_OLD);
}

static void leaps_of_every_size(void **state)
{
	(void)state;
	for (uint64_t leap = 1; leap <= REPLAY_WINDOW + 65; leap++) {
		struct replay r;

		replay_reset(&r);
		for (uint64_t c = 0; c < 100; c++)
			replay_commit(&r, c);
		replay_commit(&r, 99 + leap);
		for (uint64_t c = 0; c < 99 + leap; c++) {
			enum replay_result want = REPLAY_FRESH;

			if (100 + leap - c > REPLAY_WINDOW)
				want = REPLAY_OLD;
			else if (c < 100)
				want = REPLAY_SEEN;
			if (replay_check(&r, c) != want)
				fail_msg("leap %u, counter %u",
					 (unsigned int)leap, (unsigned int)c);
		}
	}
}

static void checking_changes_nothing(void **state)
{
	struct replay r, before;
	uint64_t seed = 7;

	(void)state;
	replay_reset(&r);
	for (int i = 0; i < 5000; i++) {
		before = r;
		replay_check(&r, random_next(&seed));
		replay_check(&r, random_below(&seed, 4096));
		assert_memory_equal(&r, &before, sizeof r);
		replay_commit(&r, random_below(&seed, 3000));
	}
	before = r;
	for (uint64_t c = 0; c < 3000; c++)
		if (replay_check(&r, c) != REPLAY_FRESH)
			replay_commit(&r, c); /* refused: nothing */
	assert_memory_equal(&r, &before, sizeof r);
}

static void agrees_with_a_model(void **state)
{
	enum { SPAN = 20000 };
	static uint8_t taken[SPAN];

	(void)state;
	for (uint64_t run = 0; run < 20; run++) {
		uint64_t seed = run, highest = 0;
		struct replay r;

		memset(taken, 0, sizeof taken);
		replay_reset(&r);
		replay_commit(&r, 0);
		taken[0] = 1;
		for (int i = 0; i < 5000; i++) {
			uint64_t spread = 1 + random_below(&seed, 3000);
			uint64_t c = highest + random_below(&seed, 8);
			enum replay_result want = REPLAY_FRESH;

			c -= c < spread ? 0 : random_below(&seed, spread);
			if (random_below(&seed, 500) == 0)
				c = highest + random_below(&seed, 4000);
			if (c >= SPAN)
				break;
			if (c + REPLAY_WINDOW <= highest)
				want = REPLAY_OLD;
			else if (taken[c])
				want = REPLAY_SEEN;
			if (replay_check(&r, c) != want)
				fail_msg("run %u step %d", (unsigned int)run,
					 i);
			replay_commit(&r, c);
			if (want == REPLAY_FRESH)
				taken[c] = 1;
			if (c > highest)
				highest = c;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges_of_the_window),
		cmocka_unit_test(leaps_of_every_size),
		cmocka_unit_test(checking_changes_nothing),
		cmocka_unit_test(agrees_with_a_model),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
