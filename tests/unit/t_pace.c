/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pace: prompt for those who err, slow for those who fight. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/pace.c"

#define START_MS 1000000

static void the_first_repair_is_at_once(void **state)
{
	struct pace p = { 0 };

	(void)state;
	assert_int_equal(pace_next_ms(&p, START_MS), START_MS);
	pace_note(&p, START_MS);
	assert_int_equal(pace_next_ms(&p, START_MS), START_MS + PACE_GAP_MS);
	assert_false(pace_is_slow(&p));
}

/* As soon as it may be, again and again: the gap grows to the longest. */
static void who_fights_is_answered_once_per_second(void **state)
{
	struct pace p = { 0 };
	uint64_t now_ms = START_MS;
	unsigned int n = 0;

	(void)state;
	for (; now_ms < START_MS + 60000; n++) {
		now_ms = pace_next_ms(&p, now_ms);
		pace_note(&p, now_ms);
		assert_true(pace_next_ms(&p, now_ms) <=
			    now_ms + PACE_GAP_MAX_MS);
	}
	assert_in_range(n, 60, 60 + PACE_FREE + 10);
	assert_true(pace_is_slow(&p));
}

/* `systemctl reload` of a firewall twice a minute: never slow. */
static void now_and_then_is_forgiven(void **state)
{
	struct pace p = { 0 };
	uint64_t now_ms = START_MS;

	(void)state;
	for (int i = 0; i < 100; i++, now_ms += 30000) {
		assert_int_equal(pace_next_ms(&p, now_ms), now_ms);
		pace_note(&p, now_ms);
		pace_note(&p, now_ms + PACE_GAP_MS);
	}
	assert_false(pace_is_slow(&p));
}

static void a_fight_that_ends_is_forgotten(void **state)
{
	struct pace p = { 0 };
	uint64_t now_ms = START_MS;

	(void)state;
	while (!pace_is_slow(&p)) {
		now_ms = pace_next_ms(&p, now_ms);
		pace_note(&p, now_ms);
	}
	now_ms += 20 * PACE_FORGIVE_MS;
	pace_note(&p, now_ms);
	assert_int_equal(pace_next_ms(&p, now_ms), now_ms + PACE_GAP_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_repair_is_at_once),
		cmocka_unit_test(who_fights_is_answered_once_per_second),
		cmocka_unit_test(now_and_then_is_forgiven),
		cmocka_unit_test(a_fight_that_ends_is_forgotten),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
