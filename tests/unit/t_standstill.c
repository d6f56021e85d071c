/* SPDX-License-Identifier: GPL-2.0-or-later */
/* standstill: who stands still is told by the timer, not by the backoff. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/standstill.c"

/* Half of what was under way for three seconds is repeated in five. */
static struct sockdiag_info slow(void)
{
	return (struct sockdiag_info){
		.rtt_us = 20000,
		.rto_us = 8000000,
		.unacked = 10,
		.reordering = 3,
		.sack = true,
		.retransmits = true,
		.expires_ms = 5000,
		.last_data_sent_ms = 3000,
	};
}

/* The same after two timeouts of an ordinary timer. */
static struct sockdiag_info backed_off(void)
{
	struct sockdiag_info i = slow();

	i.backoff = 2;
	i.rto_us = 4 * 204000;
	i.expires_ms = 700;
	i.last_data_sent_ms = 116;
	return i;
}

static void who_waits_long_without_backoff_stands_still(void **state)
{
	struct sockdiag_info i = slow();

	(void)state;
	assert_int_equal(standstill_cure(&i), STANDSTILL_BLOCK);
	i.unacked = 2;
	assert_int_equal(standstill_cure(&i), STANDSTILL_BLOCK);
	i.sack = false;
	i.unacked = 4;
	assert_int_equal(standstill_cure(&i), STANDSTILL_DUPLICATES);
}

static void who_is_in_backoff_has_it_undone(void **state)
{
	struct sockdiag_info i = backed_off();

	(void)state;
	assert_int_equal(standstill_cure(&i), STANDSTILL_REVERT);
	i.sack = false;
	i.unacked = 1;
	assert_int_equal(standstill_cure(&i), STANDSTILL_REVERT);
}

/* Nothing under way; another timer; one that runs out by itself before an
 * answer could come; what may still be acknowledged. */
static void others_are_left_alone(void **state)
{
	struct sockdiag_info i = slow();

	(void)state;
	i.unacked = 0;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i = slow();
	i.retransmits = false;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i = slow();
	i.last_data_sent_ms = STANDSTILL_MIN_MS - 1;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i = slow();
	i.expires_ms = 20;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i.expires_ms = 21;
	assert_int_equal(standstill_cure(&i), STANDSTILL_BLOCK);
	i = backed_off();
	i.expires_ms = 20;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
}

static void the_round_trip_of_a_slow_path_is_none(void **state)
{
	struct sockdiag_info i = slow();

	(void)state;
	i.rtt_us = 6000000;
	assert_int_equal(standstill_cure(&i), STANDSTILL_BLOCK);
	i.expires_ms = STANDSTILL_MIN_MS;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i.expires_ms = STANDSTILL_MIN_MS + 1;
	assert_int_equal(standstill_cure(&i), STANDSTILL_BLOCK);
}

static void nothing_helps_a_single_segment(void **state)
{
	struct sockdiag_info i = slow();

	(void)state;
	i.unacked = 1;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i.sack = false;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i.unacked = 3; /* three duplicates take four */
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i.unacked = 100;
	i.reordering = STANDSTILL_DUPLICATES_MAX + 1;
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
	i.reordering = 0; /* not told */
	assert_int_equal(standstill_cure(&i), STANDSTILL_NONE);
}

/* What is left of the timer, once no backoff is. */
static void a_revert_leaves_the_timer_itself(void **state)
{
	struct sockdiag_info i = backed_off();

	(void)state;
	assert_int_equal(standstill_base_ms(&i), 204);
	assert_int_equal(standstill_revert_ms(&i), 204 - 116);
	i.last_data_sent_ms = 204;
	assert_int_equal(standstill_revert_ms(&i), 0);
	i.last_data_sent_ms = 60000;
	assert_int_equal(standstill_revert_ms(&i), 0);
	i.rto_us = 16000000;
	i.backoff = 1;
	i.last_data_sent_ms = 3000;
	assert_int_equal(standstill_revert_ms(&i), 5000);
	i.backoff = UINT8_MAX;
	assert_int_equal(standstill_base_ms(&i), 0);
}

static void check_block(uint32_t rcv_nxt, uint32_t missing, uint32_t len)
{
	struct standstill_block b =
		standstill_block(1448, rcv_nxt, rcv_nxt + missing);

	assert_int_equal(b.end - b.start, len);
	if (len)
		assert_int_equal(b.end, rcv_nxt + missing);
}

/* Neither the first byte nor what was not sent is ever in it. */
static void the_block_is_the_last_segment(void **state)
{
	const uint32_t at = UINT32_MAX - 1000; /* it wraps */

	(void)state;
	check_block(at, 14480, 1448);
	check_block(at, 1449, 1448);
	check_block(at, 1448, 1447);
	check_block(at, 2, 1);
	check_block(at, 1, 0);
	check_block(at, 0, 0);
	check_block(at, UINT32_MAX, 0); /* it expects what was never sent */
	assert_int_equal(standstill_block(0, at, at + 9).end, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_waits_long_without_backoff_stands_still),
		cmocka_unit_test(who_is_in_backoff_has_it_undone),
		cmocka_unit_test(others_are_left_alone),
		cmocka_unit_test(the_round_trip_of_a_slow_path_is_none),
		cmocka_unit_test(nothing_helps_a_single_segment),
		cmocka_unit_test(a_revert_leaves_the_timer_itself),
		cmocka_unit_test(the_block_is_the_last_segment),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("standstill", tests, NULL, NULL);
}
