/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bucket, refusals, and what a mover makes of them: how often it asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migrate.h"

#define T0 1000000

/* ---- the bucket -------------------------------------------------------- */

static void twenty_at_once_then_two_per_second(void **state)
{
	struct bucket b = { 0 };
	unsigned int n = 0;

	(void)state;
	while (bucket_take(&b, &migrate_numbers, T0))
		n++;
	assert_int_equal(n, MIGRATE_BURST);
	assert_int_equal(bucket_next_ms(&b, &migrate_numbers, T0),
			 T0 + MIGRATE_TOKEN_MS);
	for (uint64_t ms = T0; ms < T0 + 60000; ms++)
		n += bucket_take(&b, &migrate_numbers, ms);
	assert_in_range(n, MIGRATE_BURST + 119, MIGRATE_BURST + 120);
}

static void a_bucket_fills_and_overflows(void **state)
{
	struct bucket b = { 0 };
	unsigned int n = 0;

	(void)state;
	while (bucket_take(&b, &migrate_numbers, T0))
		;
	assert_false(bucket_take(&b, &migrate_numbers,
				 T0 + MIGRATE_TOKEN_MS - 1));
	assert_true(bucket_take(&b, &migrate_numbers, T0 + MIGRATE_TOKEN_MS));
	while (bucket_take(&b, &migrate_numbers, T0 + 3600000))
		n++;
	assert_int_equal(n, MIGRATE_BURST);
}

/* Each kind has its own numbers. */
static void a_bucket_is_as_large_as_its_kind(void **state)
{
	const struct bucket_kind small = { .burst = 3, .token_ms = 125 };
	struct bucket b = { 0 };
	unsigned int n = 0;

	(void)state;
	for (uint64_t ms = T0; ms < T0 + 1000; ms++)
		n += bucket_take(&b, &small, ms);
	assert_in_range(n, 10, 11);
	assert_true(bucket_take_spare(&b, &small, T0 + 1000));
	assert_false(bucket_take_spare(&b, &small, T0 + 1000));
}

/* ---- a mover with refusals --------------------------------------------- */

static struct mover m;
static struct migrate_actions out;
static uint64_t now;

static struct locator at(uint8_t n)
{
	struct locator l = { .addr = { .family = 4,
				       .byte = { 192, 0, 2, n } } };

	return l;
}

static int start(void **state)
{
	struct locator o = at(1);

	(void)state;
	now = T0;
	mover_init(&m, 7, &o);
	return 0;
}

static bool has(enum migrate_action_type type)
{
	for (unsigned int i = 0; i < out.n; i++)
		if (out.action[i].type == type)
			return true;
	return false;
}

/* The last byte of the address that MOVE asks for; 0: there is no MOVE. */
static unsigned int asked(void)
{
	for (unsigned int i = 0; i < out.n; i++)
		if (out.action[i].type == MIGRATE_SEND &&
		    out.action[i].message == MIGRATE_MOVE)
			return out.action[i].to.addr.byte[3];
	return 0;
}

static void step(struct mover_event ev)
{
	ev.random = 64;
	mover_step(&m, &ev, now, &out);
}

/* Nothing of ours is up but what we ask for; `n` 0: no source. */
static void gone(enum migrate_cause cause, uint8_t n)
{
	static const struct locator nowhere;

	step((struct mover_event){ .type = MOVER_SITUATION, .cause = cause,
				   .target_up = true,
				   .candidate = n ? at(n) : nowhere });
}

static void better(enum migrate_cause cause, uint8_t n)
{
	step((struct mover_event){ .type = MOVER_SITUATION, .cause = cause,
				   .current_up = true, .sending_up = true,
				   .target_up = true, .candidate = at(n) });
}

static void refuse(enum reason why)
{
	step((struct mover_event){ .type = MOVER_REFUSE, .seq = m.seq,
				   .reason = why });
}

static void timer(void)
{
	now = mover_deadline_ms(&m);
	assert_true(now != MIGRATE_NEVER);
	step((struct mover_event){ .type = MOVER_TIMER });
}

/* To the end of the pause: for how long it is, no MOVE and no handshake. */
static uint64_t pause(void)
{
	uint64_t since = now;

	do {
		timer();
		assert_int_equal(asked(), 0);
		assert_false(has(MIGRATE_HANDSHAKE));
	} while (!has(MIGRATE_EVALUATE));
	return now - since;
}

/* Sources 2 and 3 are all that is up, and refused. */
static void round_of_two(enum reason why)
{
	gone(MIGRATE_CAUSE_GONE, 2);
	assert_int_equal(asked(), 2);
	refuse(why);
	assert_int_equal(asked(), 0);
	assert_true(has(MIGRATE_NEXT_CANDIDATE));
	gone(MIGRATE_CAUSE_NEXT, 3);
	assert_int_equal(asked(), 3);
	refuse(why);
	assert_int_equal(asked(), 0);
	gone(MIGRATE_CAUSE_NEXT, 0);
	assert_int_equal(asked(), 0);
	assert_int_equal(m.state, MOVER_HELD);
	assert_true(mover_holds(&m));
}

/* Whatever is no reason to ask the same again. */
static void each_source_once_then_a_pause(void **state)
{
	static const enum reason whys[] = {
		REASON_POLICY, REASON_FAMILY, REASON_BOUND,
		REASON_LIMIT,  REASON_LINK_LOCAL,
	};
	static const uint64_t pauses[] = { 1000, 2000, 4000, 8000, 16000,
					   32000, 60000, 60000 };

	for (size_t k = 0; k < sizeof(whys) / sizeof(*whys); k++) {
		start(state);
		for (size_t i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
			round_of_two(whys[k]);
			assert_int_equal(pause(), pauses[i]);
		}
		assert_int_equal(m.seq, 16);
		assert_int_equal(m.refusals.why, whys[k]);
	}
}

static void what_was_refused_is_no_candidate(void **state)
{
	struct locator two = at(2), three = at(3);

	(void)state;
	gone(MIGRATE_CAUSE_GONE, 2);
	refuse(REASON_POLICY);
	assert_true(mover_was_refused(&m, &two.addr));
	gone(MIGRATE_CAUSE_NEXT, 3);
	/* An event while 3 is asked for: the kernel still prefers 2. */
	gone(MIGRATE_CAUSE_GONE, 2);
	assert_int_equal(asked(), 0);
	assert_true(locator_equal(mover_target(&m), &three));
}

static void an_event_shortens_the_pause(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		round_of_two(REASON_POLICY);
		pause();
	}
	round_of_two(REASON_POLICY); /* 32 s */
	now += 5000;
	gone(MIGRATE_CAUSE_GONE, 2);
	assert_int_equal(asked(), 0);
	now += 900;
	gone(MIGRATE_CAUSE_GONE, 2); /* many do not put it off */
	assert_int_equal(pause(), 100);
	gone(MIGRATE_CAUSE_GONE, 2);
	assert_int_equal(asked(), 2);
}

static void another_source_is_asked_for_at_once(void **state)
{
	(void)state;
	round_of_two(REASON_POLICY);
	now += 10;
	gone(MIGRATE_CAUSE_GONE, 4);
	assert_int_equal(asked(), 4);
}

static void old_locator_back_ends_the_round(void **state)
{
	struct locator two = at(2);

	(void)state;
	round_of_two(REASON_POLICY);
	step((struct mover_event){ .type = MOVER_SITUATION,
				   .cause = MIGRATE_CAUSE_REFRESH,
				   .current_up = true, .sending_up = true,
				   .candidate = at(1) });
	assert_false(mover_was_refused(&m, &two.addr));
	assert_int_equal(asked(), 1); /* the peer holds: we said it is gone */
}

static void a_better_route_that_is_refused_waits_too(void **state)
{
	(void)state;
	better(MIGRATE_CAUSE_BETTER_ROUTE, 2);
	refuse(REASON_POLICY);
	assert_int_equal(m.state, MOVER_STEADY);
	better(MIGRATE_CAUSE_BETTER_ROUTE, 2);
	assert_int_equal(asked(), 0);
	better(MIGRATE_CAUSE_OPERATOR, 2); /* whoever says so */
	assert_int_equal(asked(), 2);
}

static void a_refused_number_is_not_repeated(void **state)
{
	(void)state;
	gone(MIGRATE_CAUSE_GONE, 2);
	refuse(REASON_DIGEST);
	assert_true(has(MIGRATE_SEND_FLOWS));
	step((struct mover_event){ .type = MOVER_SESSION });
	assert_int_equal(asked(), 0);
	timer(); /* FLOWS never came through */
	assert_int_equal(now, T0 + MIGRATE_GIVE_UP_MS);
	assert_int_equal(asked(), 0);
	assert_false(has(MIGRATE_HANDSHAKE));
	assert_true(has(MIGRATE_NEXT_CANDIDATE));
}

/* At once, three in a row, with what `done` has made another of it. */
static void three_more_at_each_source(enum reason why,
				      enum migrate_action_type done)
{
	const bool ports = why == REASON_TUPLE_TAKEN;
	struct locator l;

	gone(MIGRATE_CAUSE_GONE, 2);
	for (uint8_t source = 2; source < 4; source++) {
		for (uint64_t i = 1; i <= 3; i++) {
			refuse(why);
			assert_true(has(done));
			assert_false(has(MIGRATE_NEXT_CANDIDATE));
			l = at(source);
			l.ports = ports ? i : 0;
			step((struct mover_event){ .type = MOVER_SITUATION,
						   .cause = MIGRATE_CAUSE_RETRY,
						   .target_up = true,
						   .candidate = l });
			assert_int_equal(asked(), source);
		}
		refuse(why);
		assert_false(has(done));
		assert_true(has(MIGRATE_NEXT_CANDIDATE));
		gone(MIGRATE_CAUSE_NEXT, (uint8_t)(source + 1));
	}
	assert_int_equal(asked(), 4);
	assert_int_equal(m.seq, 9);
	assert_int_equal(now, T0);
}

static void three_choices_of_ports_at_each_source(void **state)
{
	(void)state;
	three_more_at_each_source(REASON_TUPLE_TAKEN, MIGRATE_CHOOSE_PORTS);
}

static void three_lists_of_flows_at_each_source(void **state)
{
	(void)state;
	three_more_at_each_source(REASON_DIGEST, MIGRATE_SEND_FLOWS);
}

/* Whatever happens here: 16 numbers, then 2 per second. */
static void numbers_are_paced(void **state)
{
	unsigned int n = 0;

	(void)state;
	for (now = T0; now < T0 + 10000; now++) {
		better(MIGRATE_CAUSE_OPERATOR, (uint8_t)(2 + now % 2));
		n += asked() != 0;
		if (now < mover_deadline_ms(&m))
			continue;
		step((struct mover_event){ .type = MOVER_TIMER });
		n += asked() != 0;
	}
	n += MIGRATE_RESERVE;
	assert_in_range(n, MIGRATE_BURST + 18, MIGRATE_BURST + 20);
}

static void what_waits_for_a_token_is_asked_for_then(void **state)
{
	struct mover_event accept = { .type = MOVER_ACCEPT, .pilot = true,
				      .arrived_on = at(2).addr };

	(void)state;
	while (mover_may_begin(&m, now))
		better(MIGRATE_CAUSE_OPERATOR, (uint8_t)(2 + m.seq % 2));
	better(MIGRATE_CAUSE_OPERATOR, 2);
	assert_int_equal(asked(), 0);
	accept.seq = m.seq;
	step(accept);
	assert_false(m.trying); /* nobody can know it */
	do
		timer();
	while (!asked());
	assert_int_equal(now, T0 + MIGRATE_TOKEN_MS);
	assert_int_equal(asked(), 2);
	now += 30;
	step(accept);
	assert_true(m.trying);
	assert_int_equal(m.rtt.srtt_ms, 30); /* of what was sent then */
}

/* Whatever was moved for a better route: an address that goes then waits for
 * nothing, nor do the sources after it, where it is refused. */
static void what_can_wait_leaves_tokens_behind(void **state)
{
	unsigned int n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		better(MIGRATE_CAUSE_OPERATOR, (uint8_t)(2 + i % 2));
		n += asked() != 0;
	}
	assert_int_equal(n, MIGRATE_BURST - MIGRATE_RESERVE);
	assert_false(mover_may_begin(&m, now));
	for (uint8_t i = 0; i < MIGRATE_RESERVE; i++) {
		gone(i ? MIGRATE_CAUSE_NEXT : MIGRATE_CAUSE_GONE,
		     (uint8_t)(10 + i));
		assert_int_equal(asked(), 10 + i);
		refuse(REASON_POLICY);
	}
	gone(MIGRATE_CAUSE_NEXT, 20);
	assert_int_equal(asked(), 0);
	do
		timer();
	while (!asked());
	assert_int_equal(now, T0 + MIGRATE_TOKEN_MS);
	assert_int_equal(asked(), 20);
}

#define MOVER(name) cmocka_unit_test_setup(name, start)

/* The answer to FLOWS after `digest` comes when there is no such question any
 * more: what was refused meanwhile is not asked for again. */
static void a_late_retry_waits_for_the_round(void **state)
{
	(void)state;
	better(MIGRATE_CAUSE_OPERATOR, 2);
	assert_int_equal(asked(), 2);
	refuse(REASON_DIGEST);
	gone(MIGRATE_CAUSE_GONE, 2);
	assert_int_equal(asked(), 2);
	refuse(REASON_LIMIT);
	gone(MIGRATE_CAUSE_NEXT, 0);
	assert_int_equal(m.state, MOVER_HELD);
	now += 20;
	gone(MIGRATE_CAUSE_RETRY, 2);
	assert_int_equal(asked(), 0);
	assert_int_equal(m.state, MOVER_HELD);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(twenty_at_once_then_two_per_second),
		cmocka_unit_test(a_bucket_fills_and_overflows),
		cmocka_unit_test(a_bucket_is_as_large_as_its_kind),
		MOVER(each_source_once_then_a_pause),
		MOVER(what_was_refused_is_no_candidate),
		MOVER(an_event_shortens_the_pause),
		MOVER(another_source_is_asked_for_at_once),
		MOVER(old_locator_back_ends_the_round),
		MOVER(a_better_route_that_is_refused_waits_too),
		MOVER(a_refused_number_is_not_repeated),
		MOVER(three_choices_of_ports_at_each_source),
		MOVER(three_lists_of_flows_at_each_source),
		MOVER(numbers_are_paced),
		MOVER(what_waits_for_a_token_is_asked_for_then),
		MOVER(what_can_wait_leaves_tokens_behind),
		MOVER(a_late_retry_waits_for_the_round),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
