/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * t_migrate: the transitions of sacip(7), "States", one test a line.
 *
 * The simulation (tests/sim) shows that they fit together; here each stands
 * by itself, with its actions in order.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "migrate.h"

#define T0 1000000
#define PTO_MAX_MS (MIGRATE_PTO_UNKNOWN_MS * 5 / 4 + 1)

static struct locator at(uint8_t n)
{
	struct locator l = { .addr = { .family = 4,
				       .byte = { 192, 0, 2, n } } };

	return l;
}

static struct locator with_ports(uint8_t n, uint64_t ports)
{
	struct locator l = at(n);

	l.ports = ports;
	return l;
}

#define O at(1)
#define N at(2)
#define N2 at(3)

static struct migrate_actions out;

static const struct migrate_action *has(enum migrate_action_type type)
{
	for (unsigned int i = 0; i < out.n; i++)
		if (out.action[i].type == type)
			return &out.action[i];
	return NULL;
}

static const struct migrate_action *sent(enum migrate_message message)
{
	for (unsigned int i = 0; i < out.n; i++)
		if (out.action[i].type == MIGRATE_SEND &&
		    out.action[i].message == message)
			return &out.action[i];
	return NULL;
}

static unsigned int count(enum migrate_action_type type)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < out.n; i++)
		n += out.action[i].type == type;
	return n;
}

static bool noted(enum counter_id counter)
{
	for (unsigned int i = 0; i < out.n; i++)
		if (out.action[i].type == MIGRATE_NOTE &&
		    out.action[i].counter == counter)
			return true;
	return false;
}

static void assert_locator(const struct locator *a, struct locator b)
{
	assert_non_null(a);
	assert_true(locator_equal(a, &b));
}

/* I7, I2: written down, then in the kernel, then on the wire. */
static void assert_order(void)
{
	for (unsigned int i = 1; i < out.n; i++)
		assert_true(out.action[i - 1].type <= out.action[i].type);
	if (out.n > 0 && (has(MIGRATE_ACCEPT_ADD) || has(MIGRATE_HOLD) ||
			  has(MIGRATE_RELEASE) || has(MIGRATE_SWITCH)))
		assert_int_equal(out.action[0].type, MIGRATE_JOURNAL);
}

/* --------------------------------------------------------------- mover */

static struct mover m;
static uint64_t now;

static int start(void **state)
{
	struct locator o = O;

	(void)state;
	now = T0;
	mover_init(&m, 7, &o);
	return 0;
}

static void mover_event(struct mover_event ev)
{
	ev.random = 64; /* a jitter of 0 */
	mover_step(&m, &ev, now, &out);
	assert_order();
}

/* `up` names those of current, sending and target that are. */
static void situation(enum migrate_cause cause, const char *up,
		      struct locator candidate)
{
	mover_event((struct mover_event){
		.type = MOVER_SITUATION, .cause = cause,
		.current_up = strchr(up, 'c') != NULL,
		.sending_up = strchr(up, 's') != NULL,
		.target_up = strchr(up, 't') != NULL,
		.candidate = candidate });
}

/* A path that is tried before it is taken carries the nonce, too. */
static void answer(enum mover_event_type type, uint64_t seq)
{
	struct mover_event ev = { .type = type, .seq = seq,
				  .arrived_on = m.target.addr,
				  .pilot = !mover_holds(&m) };

	memset(ev.challenge, 0xc5, sizeof(ev.challenge));
	mover_event(ev);
	if (type == MOVER_ACCEPT && m.state == MOVER_ASKED && m.trying)
		mover_event((struct mover_event){ .type = MOVER_NONCE,
						  .seq = seq });
}

static void refuse(uint64_t seq, enum reason reason)
{
	mover_event((struct mover_event){ .type = MOVER_REFUSE, .seq = seq,
					  .reason = reason });
}

static void wait_for_timer(void)
{
	now = mover_deadline_ms(&m);
	assert_true(now != MIGRATE_NEVER);
	mover_event((struct mover_event){ .type = MOVER_TIMER });
}

static const struct locator nowhere;

static void to_switched(void)
{
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	now += 40;
	answer(MOVER_ACCEPT, 1);
	assert_int_equal(m.state, MOVER_SWITCHED);
}

static void steady_gone_without_another_holds(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", nowhere);
	assert_int_equal(m.state, MOVER_HELD);
	assert_non_null(has(MIGRATE_HOLD));
	assert_null(has(MIGRATE_SEND));
	assert_true(mover_holds(&m));
	assert_int_equal(m.hold_since_ms, T0);
	assert_true(mover_deadline_ms(&m) == MIGRATE_NEVER);
}

static void held_old_back_releases_unasked(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", nowhere);
	now += 5000;
	situation(MIGRATE_CAUSE_REFRESH, "cs", O);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_locator(&has(MIGRATE_RELEASE)->to, O);
	assert_null(has(MIGRATE_SEND));
	assert_false(mover_holds(&m));
	assert_int_equal(m.seq, 0);
}

static void held_another_usable_asks_from_gone(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", nowhere);
	now += 3000;
	situation(MIGRATE_CAUSE_GONE, "", N);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_locator(&has(MIGRATE_ACCEPT_ADD)->to, N);
	assert_true(sent(MIGRATE_MOVE)->from_gone);
	assert_true(addr_equal(&sent(MIGRATE_MOVE)->from, &m.current.addr));
	assert_int_equal(m.hold_since_ms, T0);
	assert_true(mover_holds(&m));
}

static void steady_better_route_asks_without_hold(void **state)
{
	struct locator n = N;

	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_null(has(MIGRATE_HOLD));
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 1);
	assert_false(sent(MIGRATE_MOVE)->from_gone);
	assert_true(addr_equal(&sent(MIGRATE_MOVE)->source, &n.addr));
	assert_false(addr_is_set(&sent(MIGRATE_MOVE)->dest));
	assert_locator(mover_locator(&m), O); /* O carries data */
	assert_true(mover_accepts(&m, &n.addr));
	assert_int_equal(mover_role(&m, 0), LOCATOR_CURRENT);
	assert_int_equal(mover_role(&m, 1), LOCATOR_PENDING);
}

static void steady_added_address_is_no_reason(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_REFRESH, "cs", N);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_int_equal(out.n, 0);
	situation(MIGRATE_CAUSE_OPERATOR, "cs", O);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_int_equal(out.n, 0);
}

static void steady_gone_with_another_holds_and_asks(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_non_null(has(MIGRATE_HOLD));
	assert_true(sent(MIGRATE_MOVE)->from_gone);
}

static void asked_accept_switches_and_proves(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	now += 40;
	answer(MOVER_ACCEPT, 1);
	assert_int_equal(m.state, MOVER_SWITCHED);
	assert_locator(&has(MIGRATE_RELEASE)->to, N);
	assert_int_equal(sent(MIGRATE_PROVE)->seq, 1);
	assert_int_equal(sent(MIGRATE_PROVE)->challenge[15], 0xc5);
	assert_locator(&sent(MIGRATE_PROVE)->to, N);
	assert_locator(mover_locator(&m), N);
	assert_int_equal(m.rtt.srtt_ms, 40);
}

static void asked_accept_without_hold_switches(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	answer(MOVER_ACCEPT, 1);
	assert_null(has(MIGRATE_RELEASE));
	assert_locator(&has(MIGRATE_SWITCH)->to, N);
}

static void asked_accept_elsewhere_changes_nothing(void **state)
{
	struct mover_event ev = { .type = MOVER_ACCEPT, .seq = 1,
				  .arrived_on = O.addr };

	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	mover_event(ev);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_true(noted(COUNTER_RX_UNEXPECTED));
	assert_int_equal(out.n, 1);
}

static void asked_answer_to_another_number_changes_nothing(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", N2);
	assert_int_equal(m.seq, 2);
	answer(MOVER_ACCEPT, 1);
	assert_true(noted(COUNTER_RX_STALE));
	answer(MOVER_DONE, 1);
	assert_true(noted(COUNTER_RX_STALE));
	refuse(1, REASON_POLICY);
	assert_true(noted(COUNTER_RX_STALE));
	assert_int_equal(m.state, MOVER_ASKED);
	/* Nobody was told to answer for what was never asked for either. */
	answer(MOVER_DONE, 2);
	assert_int_equal(m.state, MOVER_ASKED);
}

static void asked_tuple_taken_chooses_ports(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	refuse(1, REASON_TUPLE_TAKEN);
	assert_non_null(has(MIGRATE_CHOOSE_PORTS));
	assert_int_equal(m.state, MOVER_ASKED);
	refuse(1, REASON_TUPLE_TAKEN); /* a copy */
	assert_int_equal(out.n, 0);
	situation(MIGRATE_CAUSE_RETRY, "cst", with_ports(2, 9));
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 2);
	assert_locator(&has(MIGRATE_ACCEPT_ADD)->to, with_ports(2, 9));
	/* The refused one goes at the next opportunity. */
	wait_for_timer();
	assert_locator(&has(MIGRATE_ACCEPT_DEL)->to, N);
}

static void asked_digest_sends_flows(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	refuse(1, REASON_DIGEST);
	assert_non_null(has(MIGRATE_SEND_FLOWS));
	situation(MIGRATE_CAUSE_RETRY, "cst", N);
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 2);
	/* An answer that comes after all is over asks for nothing. */
	answer(MOVER_ACCEPT, 2);
	situation(MIGRATE_CAUSE_RETRY, "cst", N);
	assert_int_equal(m.seq, 2);
	assert_null(has(MIGRATE_SEND));
}

static void asked_retries_are_bounded(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	for (uint64_t i = 1; i <= 3; i++) {
		refuse(i, REASON_TUPLE_TAKEN);
		assert_non_null(has(MIGRATE_CHOOSE_PORTS));
		situation(MIGRATE_CAUSE_RETRY, "cst", with_ports(2, i));
	}
	refuse(4, REASON_TUPLE_TAKEN);
	assert_null(has(MIGRATE_CHOOSE_PORTS));
	assert_int_equal(m.state, MOVER_STEADY);
}

static void asked_refused_stays_on_old(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	refuse(1, REASON_POLICY);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_true(noted(COUNTER_MOVES_REFUSED));
	assert_locator(mover_locator(&m), O);
	wait_for_timer();
	assert_locator(&has(MIGRATE_ACCEPT_DEL)->to, N);
	wait_for_timer();
	assert_int_equal(now, T0 + REFUSALS_PAUSE_MIN_MS);
	assert_non_null(has(MIGRATE_EVALUATE));
	assert_true(mover_deadline_ms(&m) == MIGRATE_NEVER);
}

/* What is noted indexes counters: nothing else may come out of a byte of the
 * peer's. */
static void asked_refused_for_an_unknown_reason_stays_on_old(void **state)
{
	static const unsigned int bytes[] = { REASON_NONE, REASON_MAX, 255 };

	for (unsigned int i = 0; i < 3; i++) {
		start(state);
		situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
		refuse(1, (enum reason)bytes[i]);
		assert_int_equal(m.state, MOVER_STEADY);
		for (unsigned int j = 0; j < out.n; j++)
			assert_in_range(out.action[j].reason, 0,
					REASON_MAX - 1);
		assert_true(noted(COUNTER_MOVES_REFUSED));
	}
}

static void asked_no_ports_left_is_a_refusal(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	refuse(1, REASON_TUPLE_TAKEN);
	refuse(1, REASON_LIMIT);
	assert_int_equal(m.state, MOVER_STEADY);
	wait_for_timer(); /* N goes */
	wait_for_timer(); /* what is at a bound may be looked at again */
	assert_int_equal(now, T0 + REFUSALS_PAUSE_MIN_MS);
	assert_non_null(has(MIGRATE_EVALUATE));
}

static void asked_refused_without_old_tries_the_next(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	refuse(1, REASON_POLICY);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_non_null(has(MIGRATE_NEXT_CANDIDATE));
	situation(MIGRATE_CAUSE_NEXT, "t", N2);
	assert_locator(&sent(MIGRATE_MOVE)->to, N2);
	assert_true(mover_holds(&m));
}

/* Each was proved, and of none is known that it was not committed. Then their
 * address goes: what nothing can come to makes room. */
static void undecided_locators_that_are_gone_make_room(void **state)
{
	uint64_t seq = 1;

	(void)state;
	to_switched();
	while (m.n_accepted < MIGRATE_ACCEPTED_MAX - 1) {
		situation(MIGRATE_CAUSE_PORTS, "cst", with_ports(2, ++seq));
		now += 40;
		answer(MOVER_ACCEPT, seq);
		assert_int_equal(m.state, MOVER_SWITCHED);
	}
	situation(MIGRATE_CAUSE_PORTS, "cst", with_ports(2, 99));
	assert_null(sent(MIGRATE_MOVE)); /* there is none */
	situation(MIGRATE_CAUSE_GONE, "c", at(9));
	assert_int_equal(m.state, MOVER_ASKED);
	assert_locator(&sent(MIGRATE_MOVE)->to, at(9));
	assert_locator(&has(MIGRATE_ACCEPT_DEL)->to, N); /* the first one */
	assert_locator(mover_current(&m), O);
	answer(MOVER_ACCEPT, seq + 1);
	answer(MOVER_DONE, seq + 1);
	assert_locator(mover_current(&m), at(9));
}

static void asked_refused_after_gone_was_said_takes_it_back(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	situation(MIGRATE_CAUSE_REFRESH, "cst", N); /* O is back */
	assert_locator(&has(MIGRATE_RELEASE)->to, O);
	refuse(1, REASON_POLICY);
	assert_int_equal(m.state, MOVER_ASKED); /* the peer still holds */
	assert_locator(&sent(MIGRATE_MOVE)->to, O);
	answer(MOVER_DONE, 2);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_true(noted(COUNTER_MOVES_ABANDONED));
}

static void asked_repeats_then_shakes_hands_then_tries_the_next(void **state)
{
	uint64_t before = T0, gap = 0;

	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	for (unsigned int i = 1; i <= 5; i++) {
		wait_for_timer();
		assert_int_equal(sent(MIGRATE_MOVE)->seq, 1);
		assert_true(now - before >= gap * 2 - gap / 4);
		gap = now - before;
		before = now;
		assert_int_equal(count(MIGRATE_HANDSHAKE), i == 2);
		assert_int_equal(count(MIGRATE_NEXT_CANDIDATE), i >= 4);
	}
	situation(MIGRATE_CAUSE_NEXT, "t", nowhere); /* there is none */
	assert_int_equal(m.seq, 1);
	situation(MIGRATE_CAUSE_NEXT, "t", N2);
	assert_int_equal(m.seq, 2);
	/* The clock goes on: no number outlives half a lease. */
	assert_int_equal(m.give_up_ms, T0 + MIGRATE_GIVE_UP_MS);
}

static void asked_address_event_restarts_patience(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	for (unsigned int i = 0; i < 4; i++)
		wait_for_timer();
	assert_true(m.backoff_ms > MIGRATE_PTO_UNKNOWN_MS);
	situation(MIGRATE_CAUSE_GONE, "t", N);
	assert_int_equal(m.seq, 1);
	assert_int_equal(m.backoff_ms, MIGRATE_PTO_UNKNOWN_MS);
	assert_true(m.repeat_ms <= now + PTO_MAX_MS);
}

static void asked_another_event_next_number(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", N2);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 2);
	assert_locator(&sent(MIGRATE_MOVE)->to, N2);
	assert_locator(mover_locator(&m), O);
}

static void asked_old_lost_holds_and_says_so(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	situation(MIGRATE_CAUSE_GONE, "t", N);
	assert_non_null(has(MIGRATE_HOLD));
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 2);
	assert_true(sent(MIGRATE_MOVE)->from_gone);
	assert_locator(&sent(MIGRATE_MOVE)->to, N);
}

static void asked_all_lost_holds(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	situation(MIGRATE_CAUSE_GONE, "", nowhere);
	assert_int_equal(m.state, MOVER_HELD);
	assert_null(mover_target(&m));
	situation(MIGRATE_CAUSE_REFRESH, "cs", O);
	assert_int_equal(m.state, MOVER_STEADY); /* nothing was proved */
	assert_non_null(has(MIGRATE_RELEASE));
}

static void asked_new_fails_goes_back(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	while (m.seq == 1)
		wait_for_timer();
	assert_int_equal(now, T0 + MIGRATE_GIVE_UP_MS);
	assert_locator(&sent(MIGRATE_MOVE)->to, O);
	assert_non_null(has(MIGRATE_HANDSHAKE));
	assert_locator(mover_locator(&m), O); /* never left it */
	assert_false(mover_holds(&m));
	answer(MOVER_DONE, 2);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_true(noted(COUNTER_MOVES_ABANDONED));
}

static void asked_new_fails_without_old_keeps_asking(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	while (m.seq == 1)
		wait_for_timer();
	assert_int_equal(now, T0 + MIGRATE_GIVE_UP_MS);
	assert_locator(&sent(MIGRATE_MOVE)->to, N);
	assert_non_null(has(MIGRATE_NEXT_CANDIDATE));
	assert_true(mover_holds(&m));
}

static void switched_accept_again_repeats_prove(void **state)
{
	(void)state;
	to_switched();
	answer(MOVER_ACCEPT, 1);
	assert_int_equal(m.state, MOVER_SWITCHED);
	assert_non_null(sent(MIGRATE_PROVE));
	assert_int_equal(out.n, 1);
	wait_for_timer();
	assert_non_null(sent(MIGRATE_PROVE));
}

static void switched_done_drains_old(void **state)
{
	struct locator o = O;
	uint64_t done;

	(void)state;
	to_switched();
	now += 40;
	done = now;
	answer(MOVER_DONE, 1);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_true(noted(COUNTER_MOVES_DONE));
	assert_locator(mover_current(&m), N);
	assert_true(mover_accepts(&m, &o.addr));
	assert_int_equal(mover_role(&m, 0), LOCATOR_DRAINING);
	wait_for_timer();
	assert_int_equal(now, done + MIGRATE_DRAIN_MIN_MS);
	assert_locator(&has(MIGRATE_ACCEPT_DEL)->to, O);
	assert_false(mover_accepts(&m, &o.addr));
	assert_true(mover_deadline_ms(&m) == MIGRATE_NEVER);
}

static void switched_no_done_holds_and_asks_for_old(void **state)
{
	struct locator n = N;
	uint64_t switched;

	(void)state;
	to_switched();
	switched = now;
	while (m.seq == 1)
		wait_for_timer();
	assert_int_equal(now, switched + MIGRATE_GIVE_UP_MS);
	/* The peer may have left O: nothing is sent before it says. */
	assert_non_null(has(MIGRATE_HOLD));
	assert_locator(&sent(MIGRATE_MOVE)->to, O);
	assert_true(mover_accepts(&m, &n.addr)); /* it may be there */
	answer(MOVER_DONE, 2); /* it was not */
	assert_locator(&has(MIGRATE_RELEASE)->to, O);
	assert_int_equal(m.state, MOVER_STEADY);
}

static void switched_no_done_without_old_asks_again(void **state)
{
	(void)state;
	to_switched();
	situation(MIGRATE_CAUSE_REFRESH, "st", N);
	assert_int_equal(m.state, MOVER_SWITCHED);
	while (m.seq == 1)
		wait_for_timer();
	assert_true(mover_holds(&m));
	assert_locator(&sent(MIGRATE_MOVE)->to, N);
	assert_true(sent(MIGRATE_MOVE)->from_gone);
	assert_non_null(has(MIGRATE_NEXT_CANDIDATE));
}

static void switched_another_event_keeps_what_was_proved(void **state)
{
	struct locator n = N;

	(void)state;
	to_switched();
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", N2);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 2);
	assert_true(mover_holds(&m)); /* no third may be needed */
	assert_true(mover_accepts(&m, &n.addr));
	answer(MOVER_DONE, 1);
	assert_locator(&has(MIGRATE_RELEASE)->to, N);
}

/* I5: it sends to where we are no more, and only we can tell. */
static void what_is_learned_to_be_gone_is_told(void **state)
{
	(void)state;
	to_switched();
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", N2);
	answer(MOVER_ACCEPT, 2);
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", at(4));
	assert_int_equal(m.seq, 3);
	mover_event((struct mover_event){ .type = MOVER_SYNC, .seq = 1 });
	assert_locator(mover_current(&m), N); /* which has gone meanwhile */
	assert_int_equal(mover_deadline_ms(&m), now);
	wait_for_timer();
	assert_non_null(has(MIGRATE_EVALUATE));
	situation(MIGRATE_CAUSE_REFRESH, "st", at(4));
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 4);
	assert_true(sent(MIGRATE_MOVE)->from_gone);
}

static void switched_late_done_of_an_older_number_is_learned(void **state)
{
	(void)state;
	to_switched();
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", N2);
	answer(MOVER_DONE, 1);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_locator(mover_current(&m), N);
	assert_int_equal(m.committed, 1);
	now = T0 + 3 * MIGRATE_GIVE_UP_MS; /* no lease needed any more */
	mover_event((struct mover_event){ .type = MOVER_TIMER });
	assert_false(mover_holds(&m));
}

static void switched_back_has_a_lease_too(void **state)
{
	(void)state;
	to_switched();
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", O);
	answer(MOVER_ACCEPT, 2); /* so the peer had left O */
	assert_int_equal(m.state, MOVER_SWITCHED);
	assert_locator(mover_locator(&m), O);
	while (!mover_holds(&m))
		wait_for_timer();
	assert_int_equal(now, T0 + 40 + MIGRATE_GIVE_UP_MS);
}

static void switched_back_then_another_event(void **state)
{
	(void)state;
	to_switched();
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", O);
	answer(MOVER_ACCEPT, 2);
	now += 1000;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", N2);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_true(mover_holds(&m));
	answer(MOVER_ACCEPT, 3);
	assert_locator(&has(MIGRATE_RELEASE)->to, N2);
}

static void switched_where_it_is_has_a_lease_too(void **state)
{
	(void)state;
	/* A peer that has forgotten, before SYNC can tell. */
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", O);
	answer(MOVER_ACCEPT, 2);
	assert_int_equal(m.state, MOVER_SWITCHED);
	while (m.seq == 2)
		wait_for_timer();
	assert_int_equal(now, T0 + MIGRATE_GIVE_UP_MS);
	assert_true(mover_holds(&m));
	answer(MOVER_DONE, 3);
	assert_locator(&has(MIGRATE_RELEASE)->to, O);
}

/* Nothing that happens meanwhile begins it anew. */
static void permit_is_one_timer(void **state)
{
	uint64_t end_ms;

	(void)state;
	to_switched();
	end_ms = now + MIGRATE_GIVE_UP_MS;
	while (now + 1000 < end_ms) {
		now += 1000;
		answer(MOVER_ACCEPT, 1);
		mover_event((struct mover_event){ .type = MOVER_SESSION });
		situation(MIGRATE_CAUSE_REFRESH, "cst", N);
		mover_event((struct mover_event){ .type = MOVER_TIMER });
		assert_int_equal(m.state, MOVER_SWITCHED);
		assert_false(mover_holds(&m));
	}
	now = end_ms;
	mover_event((struct mover_event){ .type = MOVER_TIMER });
	assert_true(mover_holds(&m));
	assert_int_equal(m.seq, 2);
}

/* Or the permit would last for longer than the lease. */
static void trial_ends_with_its_number(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	now = T0 + MIGRATE_GIVE_UP_MS - 1;
	mover_event((struct mover_event){ .type = MOVER_ACCEPT, .seq = 1,
					  .arrived_on = m.target.addr,
					  .challenge = { 1 },
					  .pilot = true });
	assert_true(m.trying);
	now++;
	mover_event((struct mover_event){ .type = MOVER_TIMER });
	assert_int_equal(m.seq, 2);
	assert_false(m.trying);
	mover_event((struct mover_event){ .type = MOVER_NONCE, .seq = 1 });
	assert_locator(mover_locator(&m), O);
}

static void switched_new_lost_holds(void **state)
{
	(void)state;
	to_switched();
	situation(MIGRATE_CAUSE_GONE, "c", O);
	assert_non_null(has(MIGRATE_HOLD));
	assert_locator(&sent(MIGRATE_MOVE)->to, O);
	assert_true(sent(MIGRATE_MOVE)->from_gone);
	assert_true(mover_holds(&m)); /* O is up, but is the peer there? */
	answer(MOVER_ACCEPT, 2);
	assert_locator(&has(MIGRATE_RELEASE)->to, O);
}

static void ports_alone_are_a_move(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_PORTS, "cs", with_ports(1, 4));
	assert_int_equal(m.state, MOVER_ASKED);
	assert_locator(&has(MIGRATE_ACCEPT_ADD)->to, with_ports(1, 4));
	assert_locator(mover_locator(&m), O);
	answer(MOVER_ACCEPT, 1);
	answer(MOVER_DONE, 1);
	assert_locator(mover_locator(&m), with_ports(1, 4));
	wait_for_timer();
	assert_locator(&has(MIGRATE_ACCEPT_DEL)->to, O);
}

static void sync_tells_of_a_lost_done(void **state)
{
	(void)state;
	to_switched();
	mover_event((struct mover_event){ .type = MOVER_SYNC, .seq = 1 });
	assert_int_equal(m.state, MOVER_STEADY);
	assert_locator(mover_current(&m), N);
}

static void sync_of_a_peer_that_forgot_asks_again(void **state)
{
	(void)state;
	to_switched();
	answer(MOVER_DONE, 1);
	mover_event((struct mover_event){ .type = MOVER_SYNC, .seq = 0 });
	assert_int_equal(m.state, MOVER_ASKED);
	assert_true(mover_holds(&m)); /* who knows what it accepts now */
	assert_locator(&sent(MIGRATE_MOVE)->to, N);
	answer(MOVER_ACCEPT, 2);
	assert_non_null(has(MIGRATE_RELEASE));
	answer(MOVER_DONE, 2);
	assert_int_equal(m.state, MOVER_STEADY);
}

/* It says so in each session, and answers nothing. */
static void a_peer_that_forgot_is_asked_once(void **state)
{
	uint64_t seq;

	(void)state;
	to_switched();
	answer(MOVER_DONE, 1);
	answer(MOVER_SYNC, 0);
	seq = m.seq;
	for (int i = 0; i < 100; i++)
		answer(MOVER_SYNC, 0);
	assert_int_equal(m.seq, seq);
	/* All that it says is no. */
	refuse(m.seq, REASON_POLICY);
	seq = m.seq;
	for (int i = 0; i < 100; i++)
		answer(MOVER_SYNC, 0);
	assert_int_equal(m.seq, seq);
}

/* What the daemon does about what a step asked for. */
static void follow_up(void)
{
	bool flows = has(MIGRATE_SEND_FLOWS);
	bool next = has(MIGRATE_NEXT_CANDIDATE);
	bool look = has(MIGRATE_EVALUATE);

	if (flows)
		situation(MIGRATE_CAUSE_RETRY, "cst", m.target);
	else if (next)
		situation(MIGRATE_CAUSE_NEXT, "cst", nowhere);
	else if (look)
		situation(MIGRATE_CAUSE_REFRESH, "cst", N);
}

/* It knows neither the track nor its flows, and never will. */
static void who_forgot_for_good_is_asked_for_seconds(void **state)
{
	uint64_t began, last = 0, seq, end;

	(void)state;
	to_switched();
	answer(MOVER_DONE, 1);
	while (m.n_accepted > 1)
		wait_for_timer();
	began = now;
	seq = m.seq;
	answer(MOVER_SYNC, 0);
	for (end = now + 600000; now < end;) {
		if (sent(MIGRATE_MOVE)) {
			last = now;
			now += 5;
			refuse(m.seq, REASON_DIGEST);
			follow_up();
			continue;
		}
		if (mover_deadline_ms(&m) > end)
			break;
		wait_for_timer();
		if (!sent(MIGRATE_MOVE))
			follow_up();
	}
	assert_int_equal(m.state, MOVER_STEADY);
	assert_false(mover_holds(&m));
	assert_locator(mover_locator(&m), N);
	assert_in_range(last - began, 0, MIGRATE_LOST_MS);
	assert_in_range(m.seq - seq, 1, MIGRATE_BURST);
}

static void who_forgot_and_is_silent_holds_nothing_for_ever(void **state)
{
	uint64_t since, end;
	bool released = false;

	(void)state;
	to_switched();
	answer(MOVER_DONE, 1);
	since = now;
	answer(MOVER_SYNC, 0);
	assert_true(mover_holds(&m));
	for (end = now + 2 * MIGRATE_LEASE_MS; now < end;) {
		wait_for_timer();
		released = released || has(MIGRATE_RELEASE);
		if (mover_holds(&m))
			assert_in_range(now, since,
					since + MIGRATE_LEASE_MS);
		if (released)
			assert_false(mover_holds(&m));
	}
	assert_true(released);
	assert_locator(mover_locator(&m), N);
	/* One that answers in the end is heard. */
	answer(MOVER_DONE, m.seq);
	assert_int_equal(m.state, MOVER_STEADY);
}

static void sync_of_numbers_never_used_is_ignored(void **state)
{
	(void)state;
	mover_event((struct mover_event){ .type = MOVER_SYNC,
					  .seq = UINT64_MAX });
	assert_int_equal(m.state, MOVER_STEADY);
	assert_int_equal(m.seq, 0);
	assert_true(noted(COUNTER_RX_UNEXPECTED));
}

static void session_repeats_what_is_outstanding(void **state)
{
	(void)state;
	mover_event((struct mover_event){ .type = MOVER_SESSION });
	assert_int_equal(out.n, 0);
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	mover_event((struct mover_event){ .type = MOVER_SESSION });
	assert_non_null(sent(MIGRATE_MOVE));
	answer(MOVER_ACCEPT, 1);
	assert_int_equal(m.rtt.srtt_ms, 0); /* Karn: which one was answered? */
	mover_event((struct mover_event){ .type = MOVER_SESSION });
	assert_non_null(sent(MIGRATE_PROVE));
}

/* With a new session a hundred times a second it is not repeated as often. */
static void sessions_without_end_are_paced(void **state)
{
	unsigned int n = 0;

	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	for (; now < T0 + MIGRATE_GIVE_UP_MS; now += 10) {
		mover_event((struct mover_event){ .type = MOVER_SESSION });
		n += sent(MIGRATE_MOVE) != NULL;
	}
	assert_in_range(n, 2, MIGRATE_BURST +
				      MIGRATE_GIVE_UP_MS / MIGRATE_TOKEN_MS);
	assert_int_equal(m.seq, 1);
}

/* ---- trial */

static void accept_with_pilot(uint64_t seq)
{
	mover_event((struct mover_event){ .type = MOVER_ACCEPT, .seq = seq,
					  .arrived_on = m.target.addr,
					  .pilot = true });
}

static void nonce(uint64_t seq)
{
	mover_event((struct mover_event){ .type = MOVER_NONCE, .seq = seq });
}

static void to_trial(void)
{
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	now += 40;
	accept_with_pilot(1);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_true(m.trying);
}

/* By a path that has become slower than any before, ACCEPT comes when MOVE was
 * repeated a few times, and nothing is learned from it about PTO. */
static void a_trial_waits_as_long_as_accept_took(void **state)
{
	const uint64_t slow_ms = 600, began = now;
	unsigned int nonces = 1;

	(void)state;
	rtt_add_sample(&m.rtt, 1);
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	while (mover_deadline_ms(&m) < began + slow_ms) {
		wait_for_timer();
		assert_int_equal(m.seq, 1);
	}
	now = began + slow_ms;
	accept_with_pilot(1);
	while (mover_deadline_ms(&m) < began + 2 * slow_ms) {
		wait_for_timer();
		nonces += count(MIGRATE_TRY);
	}
	assert_true(m.trying);
	assert_in_range(nonces, 2, 16); /* the peer answers no more of them */
	now = began + 2 * slow_ms;
	nonce(1);
	assert_int_equal(m.state, MOVER_SWITCHED);
}

static void a_trial_comes_before_prove(void **state)
{
	(void)state;
	to_trial();
	assert_int_equal(has(MIGRATE_TRY)->seq, 1);
	assert_locator(&has(MIGRATE_TRY)->to, N);
	assert_null(has(MIGRATE_SEND));
	assert_null(has(MIGRATE_SWITCH));
	assert_locator(mover_locator(&m), O);
	nonce(2);
	assert_int_equal(m.state, MOVER_ASKED);
	nonce(1);
	assert_int_equal(m.state, MOVER_SWITCHED);
	assert_locator(&has(MIGRATE_SWITCH)->to, N);
	assert_non_null(sent(MIGRATE_PROVE));
	assert_false(m.trying);
	nonce(1); /* a copy */
	assert_null(has(MIGRATE_SEND));
}

static void accept_with(uint64_t seq, uint8_t challenge)
{
	struct mover_event ev = { .type = MOVER_ACCEPT, .seq = seq,
				  .arrived_on = m.target.addr, .pilot = true };

	memset(ev.challenge, challenge, sizeof(ev.challenge));
	mover_event(ev);
}

static void accept_with_challenge(uint64_t seq)
{
	accept_with(seq, 0xc5);
}

/* One that has lost its memory answers the same number by another challenge. */
static void the_last_challenge_of_a_number_counts(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	accept_with(1, 0x11);
	assert_true(m.trying);
	accept_with(1, 0x22);
	assert_int_equal(out.n, 0);
	assert_int_equal(m.challenge[0], 0x22);
	nonce(1);
	assert_int_equal(sent(MIGRATE_PROVE)->challenge[0], 0x22);
	accept_with(1, 0x33);
	assert_int_equal(sent(MIGRATE_PROVE)->challenge[0], 0x33);
	answer(MOVER_DONE, 1);
	situation(MIGRATE_CAUSE_TRY, "cs", nowhere);
	answer(MOVER_DONE, 2);
	assert_int_equal(m.challenge[0], 0x33);
}

/* At N, which is not known to carry the flows. */
static void to_blocked(void)
{
	situation(MIGRATE_CAUSE_GONE, "", N);
	now += 40;
	accept_with_challenge(1);
	answer(MOVER_DONE, 1);
	assert_int_equal(m.state, MOVER_STEADY);
	while (m.trying || m.n_accepted > 1)
		wait_for_timer();
	assert_int_equal(mover_deadline_ms(&m), MIGRATE_NEVER);
}

static void where_it_is_a_trial_comes_after_done(void **state)
{
	(void)state;
	to_blocked();
	situation(MIGRATE_CAUSE_TRY, "cs", nowhere);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_locator(&sent(MIGRATE_MOVE)->to, N);
	assert_false(sent(MIGRATE_MOVE)->from_gone);
	assert_null(has(MIGRATE_HOLD));
	assert_null(has(MIGRATE_TRY)); /* the peer knows no such number */
	situation(MIGRATE_CAUSE_TRY, "cst", nowhere);
	assert_null(has(MIGRATE_SEND)); /* once is enough */
	now += 40;
	answer(MOVER_DONE, 2);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_int_equal(has(MIGRATE_TRY)->seq, 2);
	assert_locator(&has(MIGRATE_TRY)->to, N);
	nonce(2);
	assert_false(m.trying);
	assert_false(noted(COUNTER_MOVES_BLOCKED));
	assert_int_equal(mover_deadline_ms(&m), MIGRATE_NEVER);
}

static void where_none_comes_the_next_one_is_asked_for(void **state)
{
	(void)state;
	to_blocked();
	situation(MIGRATE_CAUSE_TRY, "cs", nowhere);
	answer(MOVER_DONE, 2);
	while (m.trying)
		wait_for_timer();
	assert_true(noted(COUNTER_MOVES_BLOCKED));
	assert_non_null(has(MIGRATE_NEXT_CANDIDATE));
	situation(MIGRATE_CAUSE_NEXT, "cs", nowhere);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_locator(mover_locator(&m), N);
	/* A move after it has its trial before PROVE. */
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", O);
	accept_with_challenge(3);
	assert_non_null(has(MIGRATE_TRY));
	nonce(3);
	assert_int_equal(m.state, MOVER_SWITCHED);
	answer(MOVER_DONE, 3);
	assert_null(has(MIGRATE_TRY));
}

/* While it has no address it sends none, and hears of none. */
static void what_is_held_is_not_blocked(void **state)
{
	(void)state;
	to_blocked();
	situation(MIGRATE_CAUSE_TRY, "cs", nowhere);
	answer(MOVER_DONE, 2);
	assert_true(m.trying);
	situation(MIGRATE_CAUSE_GONE, "", nowhere);
	assert_int_equal(m.state, MOVER_HELD);
	assert_false(m.trying);
	now += MIGRATE_TRY_MAX_MS;
	mover_event((struct mover_event){ .type = MOVER_TIMER });
	assert_false(noted(COUNTER_MOVES_BLOCKED));
	assert_null(has(MIGRATE_NEXT_CANDIDATE));
	situation(MIGRATE_CAUSE_REFRESH, "cs", N);
	assert_false(mover_holds(&m));
	assert_int_equal(m.state, MOVER_STEADY);
}

/* One that came of nothing may be unknown to the other end. */
static void its_nonces_are_made_by_the_last_prove(void **state)
{
	(void)state;
	to_blocked();
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", O);
	accept_with(2, 0x77);
	while (m.trying)
		wait_for_timer();
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 3);
	assert_locator(&sent(MIGRATE_MOVE)->to, N);
	answer(MOVER_DONE, 3);
	assert_int_equal(m.state, MOVER_STEADY);
	situation(MIGRATE_CAUSE_TRY, "cs", nowhere);
	answer(MOVER_DONE, 4);
	assert_int_equal(has(MIGRATE_TRY)->seq, 4);
	assert_int_equal(m.challenge[0], 0xc5);
}

/* The other end has forgotten it. */
static void nor_by_one_before_the_peer_was_lost(void **state)
{
	(void)state;
	to_blocked();
	assert_true(mover_was_proved(&m));
	mover_event((struct mover_event){ .type = MOVER_SYNC, .seq = 0 });
	assert_int_equal(m.state, MOVER_ASKED);
	answer(MOVER_DONE, 2);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_false(mover_was_proved(&m));
	situation(MIGRATE_CAUSE_TRY, "cs", nowhere);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_null(has(MIGRATE_SEND));
}

/* Anybody could make its nonces. */
static void without_a_challenge_there_is_no_trial(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_TRY, "cs", nowhere);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_int_equal(out.n, 0);
}

static void a_trial_repeats_the_nonce_alone(void **state)
{
	const uint64_t end = T0 + 40 + 2 * 160; /* 2 PTO of 2 * 40 + 4 * 20 */
	unsigned int n = 0;

	(void)state;
	to_trial();
	assert_int_equal(m.try_end_ms, end);
	accept_with_pilot(1); /* once more */
	assert_int_equal(out.n, 0);
	for (; mover_deadline_ms(&m) < end; n++) {
		wait_for_timer();
		assert_int_equal(count(MIGRATE_TRY), 1);
		assert_null(has(MIGRATE_SEND));
	}
	assert_int_equal(n, 3);
}

static void a_trial_without_an_answer_goes_back(void **state)
{
	(void)state;
	to_trial();
	while (m.trying)
		wait_for_timer();
	assert_true(noted(COUNTER_MOVES_BLOCKED));
	assert_int_equal(has(MIGRATE_NOTE)->reason, REASON_PATH_BLOCKED);
	assert_locator(&has(MIGRATE_NOTE)->to, N);
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 2);
	assert_locator(&sent(MIGRATE_MOVE)->to, O);
	assert_false(sent(MIGRATE_MOVE)->from_gone);
	assert_false(mover_holds(&m));
	assert_locator(mover_locator(&m), O);
	answer(MOVER_DONE, 2);
	assert_int_equal(m.state, MOVER_STEADY);
	nonce(1); /* too late */
	assert_int_equal(m.state, MOVER_STEADY);
	assert_null(has(MIGRATE_SEND));
}

static void a_trial_has_a_quarter_of_a_second(void **state)
{
	(void)state;
	m.rtt = (struct rtt){ .srtt_ms = 1 };
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	accept_with_pilot(1);
	assert_int_equal(m.try_end_ms, T0 + MIGRATE_TRY_MIN_MS);
}

static void accept_without_pilot(uint64_t seq)
{
	mover_event((struct mover_event){ .type = MOVER_ACCEPT, .seq = seq,
					  .arrived_on = m.target.addr });
}

static void none_sent(uint64_t seq)
{
	mover_event((struct mover_event){ .type = MOVER_UNTRIED, .seq = seq });
}

/* N was left untried: M goes back, and waits. Returns for how long. */
static uint64_t is_left_untried(void)
{
	const struct locator n = N;
	const uint64_t since = now;

	assert_true(noted(COUNTER_MOVES_UNTRIED));
	assert_false(noted(COUNTER_MOVES_BLOCKED));
	assert_null(sent(MIGRATE_PROVE));
	assert_null(has(MIGRATE_SWITCH));
	assert_null(has(MIGRATE_NEXT_CANDIDATE));
	assert_false(mover_holds(&m));
	assert_false(m.trying);
	assert_locator(mover_locator(&m), O);
	assert_locator(&sent(MIGRATE_MOVE)->to, O);
	assert_false(sent(MIGRATE_MOVE)->from_gone);
	assert_int_equal(m.refusals.why, REASON_PATH_UNTRIED);
	answer(MOVER_DONE, m.seq);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_int_equal(m.refusals.why, REASON_PATH_UNTRIED);
	assert_false(mover_was_refused(&m, &n.addr));
	while (!has(MIGRATE_EVALUATE))
		wait_for_timer();
	return now - since;
}

/* Nobody can show that N carries anything, and O does. */
static void without_a_pilot_the_flows_stay(void **state)
{
	uint64_t pause_ms = REFUSALS_PAUSE_MIN_MS;

	(void)state;
	for (int i = 0; i < 9; i++) {
		situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
		assert_locator(&sent(MIGRATE_MOVE)->to, N);
		accept_without_pilot(m.seq);
		assert_null(has(MIGRATE_TRY));
		assert_int_equal(is_left_untried(), pause_ms);
		pause_ms = pause_ms * 2 > REFUSALS_PAUSE_MAX_MS ?
				   REFUSALS_PAUSE_MAX_MS : pause_ms * 2;
	}
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	accept_with_pilot(m.seq);
	nonce(m.seq);
	answer(MOVER_DONE, m.seq);
	assert_locator(mover_current(&m), N);
	assert_int_equal(m.refusals.why, REASON_NONE);
}

static void where_none_can_be_sent_the_flows_stay(void **state)
{
	(void)state;
	to_trial();
	none_sent(2); /* of another number */
	assert_true(m.trying);
	none_sent(1);
	assert_int_equal(is_left_untried(), REFUSALS_PAUSE_MIN_MS);
}

/* Nor is anything else that can wait begun so long; what has changed shortens
 * the pause. */
static void what_was_left_untried_waits(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		situation(MIGRATE_CAUSE_OPERATOR, "cs", N); /* who need not wait */
		accept_without_pilot(m.seq);
		assert_true(noted(COUNTER_MOVES_UNTRIED));
		answer(MOVER_DONE, m.seq);
	}
	assert_int_equal(m.evaluate_ms, now + 4 * REFUSALS_PAUSE_MIN_MS);
	mover_forget_refusal(&m);
	situation(MIGRATE_CAUSE_DEPRECATED, "cs", at(3));
	assert_null(sent(MIGRATE_MOVE));
	assert_int_equal(m.refusals.why, REASON_PATH_UNTRIED);
	assert_int_equal(m.evaluate_ms, now + REFUSALS_PAUSE_MIN_MS);
	assert_false(mover_left_untried(&m));
	while (!has(MIGRATE_EVALUATE))
		wait_for_timer();
	assert_true(mover_left_untried(&m));
	situation(MIGRATE_CAUSE_DEPRECATED, "cs", N);
	assert_locator(&sent(MIGRATE_MOVE)->to, N);
	assert_false(mover_left_untried(&m));
}

/* In the pause, too: nothing speaks against it. */
static void where_the_old_one_goes_what_was_untried_is_taken(void **state)
{
	(void)state;
	to_trial();
	none_sent(1);
	answer(MOVER_DONE, 2);
	assert_int_equal(m.refusals.why, REASON_PATH_UNTRIED);
	situation(MIGRATE_CAUSE_GONE, "", N);
	assert_locator(&sent(MIGRATE_MOVE)->to, N);
	assert_true(sent(MIGRATE_MOVE)->from_gone);
	accept_without_pilot(3);
	assert_int_equal(m.state, MOVER_SWITCHED);
	assert_null(has(MIGRATE_TRY));
	assert_non_null(sent(MIGRATE_PROVE));
}

static void where_the_old_one_is_gone_none_needs_to_be_sent(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	accept_with_pilot(1);
	assert_int_equal(m.state, MOVER_SWITCHED);
	none_sent(1);
	assert_false(m.trying);
	answer(MOVER_DONE, 1);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_locator(mover_current(&m), N);
	assert_int_equal(m.refusals.why, REASON_NONE);
	while (mover_deadline_ms(&m) != MIGRATE_NEVER) {
		wait_for_timer();
		assert_false(noted(COUNTER_MOVES_BLOCKED));
		assert_false(noted(COUNTER_MOVES_UNTRIED));
	}
}

/* By now it was tried. */
static void what_is_blocked_is_not_untried(void **state)
{
	(void)state;
	to_trial();
	none_sent(1);
	(void)is_left_untried();
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	accept_with_pilot(3);
	while (m.trying)
		wait_for_timer();
	assert_true(noted(COUNTER_MOVES_BLOCKED));
	answer(MOVER_DONE, 4);
	assert_int_equal(m.refusals.why, REASON_NONE);
	assert_true(m.evaluate_ms == MIGRATE_NEVER);
}

/* It is no word of the peer's. */
static void what_was_left_untried_shortens_no_doubt(void **state)
{
	(void)state;
	to_trial();
	none_sent(1);
	(void)is_left_untried();
	mover_event((struct mover_event){ .type = MOVER_SYNC, .seq = 0 });
	assert_true(mover_holds(&m));
	m.give_up_ms = m.repeat_ms = MIGRATE_NEVER;
	now += MIGRATE_LOST_MS;
	mover_event((struct mover_event){ .type = MOVER_TIMER });
	assert_true(mover_holds(&m));
	now += MIGRATE_LEASE_MS - MIGRATE_LOST_MS;
	mover_event((struct mover_event){ .type = MOVER_TIMER });
	assert_false(mover_holds(&m));
}

/* And a way back to ports that are taken would be refused, and so on. */
static void other_ports_are_no_other_path(void **state)
{
	struct locator other = O;

	(void)state;
	other.ports = 7;
	situation(MIGRATE_CAUSE_PORTS, "cs", other);
	now += 40;
	accept_with_pilot(1);
	assert_int_equal(m.state, MOVER_SWITCHED);
	assert_null(has(MIGRATE_TRY));
	assert_non_null(sent(MIGRATE_PROVE));
}

static void a_trial_ends_where_the_old_one_goes(void **state)
{
	(void)state;
	to_trial();
	situation(MIGRATE_CAUSE_GONE, "t", N);
	assert_int_equal(m.state, MOVER_SWITCHED);
	assert_int_equal(sent(MIGRATE_PROVE)->seq, 1);
	assert_locator(&has(MIGRATE_RELEASE)->to, N);
	assert_false(mover_holds(&m));
	assert_true(m.trying); /* it tells the list */
}

static void where_the_old_one_is_gone_nothing_waits(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	now += 40;
	accept_with_pilot(1);
	assert_int_equal(m.state, MOVER_SWITCHED);
	assert_non_null(sent(MIGRATE_PROVE));
	assert_non_null(has(MIGRATE_TRY));
	answer(MOVER_DONE, 1);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_true(m.trying);
	while (m.trying)
		wait_for_timer();
	assert_true(noted(COUNTER_MOVES_BLOCKED));
	assert_non_null(has(MIGRATE_NEXT_CANDIDATE));
	assert_null(has(MIGRATE_SEND));
	/* The next has to carry a nonce first: N is as good as any. */
	situation(MIGRATE_CAUSE_NEXT, "cs", at(3));
	assert_int_equal(m.state, MOVER_ASKED);
	accept_with_pilot(2);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_null(has(MIGRATE_SWITCH));
}

/* The peer holds the flow until PROVE comes, and answers no nonce before. */
static void a_lost_prove_says_nothing_of_the_path(void **state)
{
	uint64_t end;

	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	now += 40;
	accept_with_pilot(1);
	assert_int_equal(m.state, MOVER_SWITCHED);
	for (end = now + 1000; mover_deadline_ms(&m) < end;) {
		wait_for_timer();
		assert_false(noted(COUNTER_MOVES_BLOCKED));
		assert_true(m.trying);
	}
	answer(MOVER_DONE, 1);
	assert_true(m.trying);
	assert_int_equal(m.try_end_ms, now + 2 * 160);
	nonce(1);
	assert_false(m.trying);
	assert_int_equal(m.state, MOVER_STEADY);
}

/* The kernel did not take it: that says nothing of the path. */
static void a_failed_switch_is_no_blocked_path(void **state)
{
	struct mover before;

	(void)state;
	to_trial();
	before = m;
	nonce(1);
	mover_rollback(&m, &before, &out, 1, now);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_false(m.trying);
	wait_for_timer();
	assert_false(noted(COUNTER_MOVES_BLOCKED));
	assert_int_equal(sent(MIGRATE_MOVE)->seq, 1);
}

static void a_doubt_about_the_old_one_is_no_reason_to_stay(void **state)
{
	(void)state;
	to_switched(); /* the peer may be at N */
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", at(3));
	accept_with_pilot(2);
	assert_int_equal(m.state, MOVER_SWITCHED);
}

/* A copy of MOVE may have been accepted that the first of them was not. */
static void an_accept_outlives_a_refusal(void **state)
{
	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	refuse(1, REASON_DIGEST);
	assert_true(m.refused);
	accept_with_pilot(1);
	assert_true(m.trying);
	nonce(1);
	assert_int_equal(m.state, MOVER_SWITCHED);
	wait_for_timer();
	assert_non_null(sent(MIGRATE_PROVE));
}

static void a_refusal_ends_a_trial(void **state)
{
	(void)state;
	to_trial();
	refuse(1, REASON_DIGEST); /* somebody has left: handover.c */
	assert_false(m.trying);
	assert_non_null(has(MIGRATE_SEND_FLOWS));
	nonce(1);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_locator(mover_locator(&m), O);
}

/* The old one lives all the same: nobody wanders, and nobody insists. */
static void a_way_back_that_is_refused_ends_at_the_old_one(void **state)
{
	(void)state;
	to_trial();
	while (m.trying)
		wait_for_timer();
	refuse(2, REASON_LIMIT);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_null(has(MIGRATE_NEXT_CANDIDATE));
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", at(3));
	accept_with_pilot(3);
	while (m.trying)
		wait_for_timer();
	assert_int_equal(m.state, MOVER_STEADY);
	assert_null(has(MIGRATE_SEND));
	assert_locator(mover_locator(&m), O);
}

static void bounded_list_waits_for_a_commit(void **state)
{
	uint64_t seq;

	(void)state;
	/* Each proved, none known to be committed. */
	for (uint8_t i = 2; i < 1 + MIGRATE_ACCEPTED_MAX - 1; i++) {
		situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", at(i));
		answer(MOVER_ACCEPT, m.seq);
		assert_int_equal(m.state, MOVER_SWITCHED);
	}
	seq = m.seq;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", at(99));
	assert_int_equal(m.seq, seq);
	assert_int_equal(m.state, MOVER_SWITCHED);
	answer(MOVER_DONE, seq);
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", at(99));
	assert_int_equal(m.seq, seq + 1);
	/* What only drains makes room. */
	assert_int_equal(count(MIGRATE_ACCEPT_DEL), 1);
	assert_true(m.n_accepted <= MIGRATE_ACCEPTED_MAX);
}

static void kernel_refused(const struct mover *before,
			   enum migrate_action_type type)
{
	unsigned int i = 0;

	while (i < out.n && out.action[i].type != type)
		i++;
	assert_true(i < out.n);
	mover_rollback(&m, before, &out, i, now);
}

static void rollback_of_an_addition_asks_nobody(void **state)
{
	struct mover before = m;

	(void)state;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	kernel_refused(&before, MIGRATE_ACCEPT_ADD);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_int_equal(m.seq, 0);
	assert_int_equal(m.n_accepted, 1);
	wait_for_timer();
	assert_int_equal(now, T0 + MIGRATE_KERNEL_RETRY_MS);
	assert_non_null(has(MIGRATE_EVALUATE));
}

static void rollback_keeps_the_hold_and_the_facts(void **state)
{
	struct mover before = m;

	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	kernel_refused(&before, MIGRATE_ACCEPT_ADD);
	assert_int_equal(m.state, MOVER_HELD);
	assert_true(mover_holds(&m));

	start(NULL);
	situation(MIGRATE_CAUSE_GONE, "", N);
	kernel_refused(&before, MIGRATE_JOURNAL);
	assert_int_equal(m.state, MOVER_STEADY);
	assert_true(mover_holds(&m)); /* the address is gone all the same */
	situation(MIGRATE_CAUSE_GONE, "", N);
	assert_non_null(has(MIGRATE_HOLD));
}

static void rollback_of_a_release_goes_on_holding(void **state)
{
	struct mover before;

	(void)state;
	situation(MIGRATE_CAUSE_GONE, "", N);
	before = m;
	answer(MOVER_ACCEPT, 1);
	kernel_refused(&before, MIGRATE_RELEASE);
	assert_int_equal(m.state, MOVER_ASKED);
	assert_true(mover_holds(&m));
	now = m.retry_ms;
	answer(MOVER_ACCEPT, 1);
	assert_int_equal(m.state, MOVER_SWITCHED);
}

static void rollback_after_an_addition_remembers_it(void **state)
{
	struct locator extra = at(99);
	struct mover before;

	(void)state;
	for (uint8_t i = 2; i < MIGRATE_ACCEPTED_MAX; i++) {
		situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", at(i));
		answer(MOVER_ACCEPT, m.seq);
		answer(MOVER_DONE, m.seq);
	}
	assert_int_equal(m.n_accepted, MIGRATE_ACCEPTED_MAX - 1);
	before = m;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", extra);
	kernel_refused(&before, MIGRATE_ACCEPT_DEL);
	assert_int_equal(m.n_accepted, MIGRATE_ACCEPTED_MAX);
	assert_true(mover_accepts(&m, &extra.addr));
	/* Full to the last slot: not even another attempt. */
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", at(98));
	assert_null(has(MIGRATE_ACCEPT_ADD));
	assert_int_equal(m.state, MOVER_STEADY);
}

static void rtt_gives_the_pto(void **state)
{
	struct rtt r = { 0 };

	(void)state;
	assert_int_equal(rtt_pto_ms(&r), MIGRATE_PTO_UNKNOWN_MS);
	rtt_add_sample(&r, 1);
	assert_int_equal(rtt_pto_ms(&r), MIGRATE_PTO_MIN_MS);
	rtt_add_sample(&r, 5000);
	assert_int_equal(rtt_pto_ms(&r), MIGRATE_PTO_MAX_MS);
	r = (struct rtt){ 0 };
	rtt_add_sample(&r, 100);
	assert_int_equal(rtt_pto_ms(&r), 2 * 100 + 4 * 50);
}

/* ------------------------------------------------------------ follower */

static struct follower f;

static int start_follower(void **state)
{
	struct locator o = O;

	(void)state;
	now = T0;
	follower_init(&f, 7, &o);
	return 0;
}

static void follower_event(struct follower_event ev)
{
	follower_step(&f, &ev, now, &out);
	assert_order();
}

static void move(uint64_t seq, struct locator to, bool gone, enum reason check)
{
	struct follower_event ev = { .type = FOLLOWER_MOVE, .seq = seq,
				     .source = to.addr, .from = O.addr,
				     .to = to, .from_gone = gone,
				     .check = check };

	memset(ev.challenge, (int)seq, sizeof(ev.challenge));
	follower_event(ev);
}

static void prove(uint64_t seq, struct locator to, int challenge)
{
	struct follower_event ev = { .type = FOLLOWER_PROVE, .seq = seq,
				     .to = to };

	memset(ev.challenge, challenge, sizeof(ev.challenge));
	follower_event(ev);
}

static void wait_for_follower(void)
{
	now = follower_deadline_ms(&f);
	assert_true(now != MIGRATE_NEVER);
	follower_event((struct follower_event){ .type = FOLLOWER_TIMER });
}

/* The peer makes room for a new locator by the oldest that it has not
 * committed: what is sent from until then must not be that. */
static void many_moves_end_the_permit(void **state)
{
	struct locator n = N;
	uint8_t next = 3;

	start(state);
	start_follower(state);
	/* Two are as many as it keeps when N is accepted. */
	for (uint8_t i = 10; i < 20; i++)
		move(f.floor, at(i), false, REASON_NONE);
	m.seq = f.floor;
	situation(MIGRATE_CAUSE_BETTER_ROUTE, "cs", N);
	move(m.seq, N, false, REASON_NONE);
	answer(MOVER_ACCEPT, m.seq);
	while (!mover_holds(&m)) {
		assert_true(follower_accepts(&f, &n.addr));
		now += 1000; /* PROVE and DONE are lost */
		situation(MIGRATE_CAUSE_BETTER_ROUTE, "cst", at(next));
		assert_int_equal(m.state, MOVER_ASKED);
		move(m.seq, at(next++), false, REASON_NONE);
	}
	assert_true(now < T0 + MIGRATE_GIVE_UP_MS);
	assert_true(follower_accepts(&f, &n.addr)); /* what is on its way */
	answer(MOVER_ACCEPT, m.seq);
	assert_locator(&has(MIGRATE_RELEASE)->to, m.target);
}

static void move_is_accepted_then_answered(void **state)
{
	struct locator n = N;

	(void)state;
	assert_int_equal(follower_classify(&f, 1), FOLLOWER_SEQ_NEW);
	move(1, N, false, REASON_NONE);
	assert_int_equal(f.state, FOLLOWER_OFFERED);
	assert_int_equal(follower_classify(&f, 1), FOLLOWER_SEQ_PENDING);
	assert_locator(&has(MIGRATE_ACCEPT_ADD)->to, N);
	assert_true(addr_equal(&sent(MIGRATE_ACCEPT)->dest, &n.addr));
	assert_int_equal(sent(MIGRATE_ACCEPT)->challenge[0], 1);
	assert_null(has(MIGRATE_HOLD));
	assert_locator(follower_locator(&f), O); /* until N has answered */
	assert_int_equal(follower_role(&f, 1), LOCATOR_PENDING);
}

static void move_back_may_be_tried_by_the_proved_challenge(void **state)
{
	const struct locator o = O, n = N;
	uint64_t seq;

	(void)state;
	move(1, O, false, REASON_NONE); /* nobody has a challenge */
	assert_non_null(sent(MIGRATE_DONE));
	assert_false(follower_nonce_seq(&f, &o.addr, now, &seq));
	move(2, N, false, REASON_NONE);
	prove(2, N, 2);
	now += MIGRATE_TRY_MAX_MS;
	assert_false(follower_nonce_seq(&f, &n.addr, now, &seq));
	move(3, N, false, REASON_NONE);
	assert_int_equal(sent(MIGRATE_DONE)->seq, 3);
	assert_true(follower_nonce_seq(&f, &n.addr, now, &seq));
	assert_int_equal(seq, 3);
	assert_int_equal(f.challenge[0], 2);
	assert_false(follower_nonce_seq(&f, &o.addr, now, &seq));
	now += MIGRATE_TRY_MAX_MS;
	assert_false(follower_nonce_seq(&f, &n.addr, now, &seq));
}

/* The mover waits for its answer from DONE on, which may come after others. */
static void nonces_are_taken_from_the_last_done_on(void **state)
{
	const struct locator n = N;
	uint64_t seq;

	(void)state;
	move(1, N, false, REASON_NONE);
	prove(1, N, 1);
	for (int i = 0; i < 3; i++) {
		now += MIGRATE_TRY_MAX_MS;
		assert_false(follower_nonce_seq(&f, &n.addr, now, &seq));
		prove(1, N, 1);
		assert_int_equal(sent(MIGRATE_DONE)->seq, 1);
		assert_true(follower_nonce_seq(&f, &n.addr, now, &seq));
		now += MIGRATE_TRY_MAX_MS;
		move(1, N, false, REASON_NONE);
		assert_int_equal(sent(MIGRATE_DONE)->seq, 1);
		assert_true(follower_nonce_seq(&f, &n.addr, now, &seq));
	}
}

/* Its ACCEPT may be lost. */
static void an_offer_that_came_of_nothing_tries_nothing(void **state)
{
	const struct locator o = O, n = N;
	uint64_t seq;

	(void)state;
	move(1, N, false, REASON_NONE);
	move(2, O, false, REASON_NONE);
	assert_int_equal(sent(MIGRATE_DONE)->seq, 2);
	assert_false(follower_nonce_seq(&f, &o.addr, now, &seq));
	move(3, N, false, REASON_NONE);
	prove(3, N, 3);
	move(4, O, false, REASON_NONE);
	assert_int_equal(f.challenge[0], 4);
	move(5, N, false, REASON_NONE);
	assert_int_equal(sent(MIGRATE_DONE)->seq, 5);
	assert_true(follower_nonce_seq(&f, &n.addr, now, &seq));
	assert_int_equal(seq, 5);
	assert_int_equal(f.challenge[0], 3);
}

static void move_from_gone_holds(void **state)
{
	(void)state;
	move(1, N, true, REASON_NONE);
	assert_non_null(has(MIGRATE_HOLD));
	assert_true(follower_holds(&f));
	assert_null(follower_locator(&f)); /* I5 */
}

static void move_relayed_is_ignored(void **state)
{
	struct follower_event ev = { .type = FOLLOWER_MOVE, .seq = 1,
				     .source = N2.addr, .to = N };

	(void)state;
	follower_event(ev);
	assert_int_equal(f.state, FOLLOWER_STEADY);
	assert_true(noted(COUNTER_RX_SOURCE_NOT_TO));
	assert_null(has(MIGRATE_SEND));
}

static void move_repeated_gets_the_same_challenge(void **state)
{
	unsigned int answers = 1;

	(void)state;
	move(1, N, false, REASON_NONE);
	now += MIGRATE_COPY_MS - 1;
	move(1, N, false, REASON_NONE);
	assert_int_equal(out.n, 0); /* a copy */
	move(1, N2, false, REASON_NONE);
	assert_int_equal(out.n, 0); /* another one under the same number */
	for (unsigned int i = 0; i < 40; i++) {
		now += 100;
		move(1, N, false, REASON_NONE);
		if (sent(MIGRATE_ACCEPT)) {
			assert_int_equal(sent(MIGRATE_ACCEPT)->challenge[0],
					 1);
			answers++;
		}
	}
	assert_int_equal(answers, MIGRATE_ACCEPT_REPEATS_MAX);
}

static void move_refused_leaves_no_state(void **state)
{
	(void)state;
	move(1, N, false, REASON_POLICY);
	assert_int_equal(f.state, FOLLOWER_STEADY);
	assert_int_equal(sent(MIGRATE_REFUSE)->reason, REASON_POLICY);
	assert_int_equal(f.n_accepted, 1);
	assert_int_equal(follower_classify(&f, 1), FOLLOWER_SEQ_NEW);
	move(1, N, false, REASON_NONE); /* the bound is reached no more */
	assert_int_equal(f.state, FOLLOWER_OFFERED);
}

static void move_refused_from_gone_holds_all_the_same(void **state)
{
	(void)state;
	move(1, N, true, REASON_POLICY);
	assert_non_null(sent(MIGRATE_REFUSE));
	assert_true(follower_holds(&f));
	assert_null(follower_locator(&f));
	move(2, O, false, REASON_NONE);
	assert_locator(&has(MIGRATE_RELEASE)->to, O);
}

/* The MOVE has to wait for its answer, which takes a while. */
static void gone_is_heard_before_the_answer(void **state)
{
	struct follower_event ev = { .type = FOLLOWER_GONE, .seq = 2,
				     .source = N2.addr, .to = N2 };

	(void)state;
	move(1, N, false, REASON_NONE);
	follower_event(ev);
	assert_int_equal(out.n, 0); /* nothing is gone */
	ev.from_gone = true;
	ev.source = N.addr;
	follower_event(ev);
	assert_int_equal(out.n, 0); /* relayed */
	ev.source = N2.addr;
	follower_event(ev);
	assert_non_null(has(MIGRATE_HOLD));
	assert_null(has(MIGRATE_SEND));
	assert_null(follower_locator(&f)); /* I5 */
	prove(1, N, 1);
	assert_true(noted(COUNTER_RX_STALE)); /* N may be what is gone */
	follower_event(ev);
	assert_int_equal(out.n, 0); /* once */
	assert_int_equal(follower_classify(&f, 2), FOLLOWER_SEQ_NEW);
	move(2, N2, true, REASON_NONE);
	assert_non_null(sent(MIGRATE_ACCEPT));
}

static void prove_commits_releases_and_drains(void **state)
{
	struct locator n = N;

	(void)state;
	move(1, N, true, REASON_NONE);
	now += 60;
	prove(1, N, 1);
	assert_int_equal(f.state, FOLLOWER_STEADY);
	assert_locator(&has(MIGRATE_RELEASE)->to, N);
	assert_true(addr_equal(&sent(MIGRATE_DONE)->dest, &n.addr));
	assert_true(noted(COUNTER_MOVES_COMMITTED));
	assert_locator(follower_locator(&f), N);
	assert_int_equal(f.rtt.srtt_ms, 60);
	assert_int_equal(follower_role(&f, 0), LOCATOR_DRAINING);
	wait_for_follower();
	assert_int_equal(now, T0 + 60 + MIGRATE_DRAIN_MIN_MS);
	assert_locator(&has(MIGRATE_ACCEPT_DEL)->to, O);
	assert_true(follower_deadline_ms(&f) == MIGRATE_NEVER);
}

static void prove_without_hold_switches(void **state)
{
	(void)state;
	move(1, N, false, REASON_NONE);
	prove(1, N, 1);
	assert_null(has(MIGRATE_RELEASE));
	assert_locator(&has(MIGRATE_SWITCH)->to, N);
}

static void prove_wrong_changes_nothing(void **state)
{
	(void)state;
	move(1, N, false, REASON_NONE);
	prove(1, N, 2);
	assert_true(noted(COUNTER_CHALLENGE_WRONG));
	prove(1, N2, 1);
	assert_true(noted(COUNTER_CHALLENGE_WRONG));
	prove(2, N, 1);
	assert_true(noted(COUNTER_RX_STALE));
	assert_int_equal(f.state, FOLLOWER_OFFERED);
	assert_locator(follower_locator(&f), O);
}

static void committed_number_repeats_done(void **state)
{
	(void)state;
	move(1, N, false, REASON_NONE);
	prove(1, N, 1);
	move(1, N, false, REASON_NONE);
	assert_non_null(sent(MIGRATE_DONE));
	assert_int_equal(out.n, 1);
	prove(1, N, 1);
	assert_non_null(sent(MIGRATE_DONE));
	assert_int_equal(out.n, 1);
}

static void stale_number_is_dropped(void **state)
{
	(void)state;
	move(5, N, false, REASON_NONE);
	prove(5, N, 5);
	move(4, O, false, REASON_NONE);
	assert_true(noted(COUNTER_RX_STALE));
	assert_null(has(MIGRATE_SEND));
	assert_locator(follower_locator(&f), N);
}

/* One that is taken makes all that follow old. */
static void a_number_that_jumps_is_dropped(void **state)
{
	struct follower before;

	(void)state;
	move(3, N, false, REASON_NONE);
	prove(3, N, 3);
	before = f;
	move(UINT64_MAX, O, true, REASON_NONE);
	assert_memory_equal(&f, &before, sizeof(f));
	assert_true(noted(COUNTER_RX_UNEXPECTED));
	assert_null(sent(MIGRATE_REFUSE));
	move(UINT64_MAX, O, true, REASON_POLICY);
	assert_memory_equal(&f, &before, sizeof(f));
	follower_event((struct follower_event){
		.type = FOLLOWER_GONE, .seq = UINT64_MAX, .source = O.addr,
		.to = O, .from_gone = true });
	assert_memory_equal(&f, &before, sizeof(f));
	move(f.floor + MIGRATE_JUMP_MAX + 1, O, false, REASON_NONE);
	assert_memory_equal(&f, &before, sizeof(f));
	move(f.floor + MIGRATE_JUMP_MAX, O, false, REASON_NONE);
	assert_int_equal(f.state, FOLLOWER_OFFERED);
}

static void sync_that_jumps_holds_nothing(void **state)
{
	(void)state;
	follower_event((struct follower_event){
		.type = FOLLOWER_SYNC, .seq = UINT64_MAX, .to = N });
	assert_false(follower_holds(&f));
	assert_true(noted(COUNTER_RX_UNEXPECTED));
}

static void move_to_where_it_sends_commits_at_once(void **state)
{
	struct locator n = N;

	(void)state;
	move(1, N, true, REASON_NONE);
	move(2, O, false, REASON_NONE); /* O is back */
	assert_int_equal(f.state, FOLLOWER_STEADY);
	assert_int_equal(f.committed, 2);
	assert_locator(&has(MIGRATE_RELEASE)->to, O);
	assert_non_null(sent(MIGRATE_DONE));
	assert_false(noted(COUNTER_MOVES_COMMITTED));
	/* The mover may use N until it hears that: not a drain, its lease. */
	assert_true(follower_accepts(&f, &n.addr));
	wait_for_follower();
	assert_int_equal(now, T0 + MIGRATE_LEASE_MS);
	assert_locator(&has(MIGRATE_ACCEPT_DEL)->to, N);
	prove(1, N, 1); /* of the cancelled one */
	assert_true(noted(COUNTER_RX_STALE));
}

static void move_of_ports_needs_a_prove(void **state)
{
	(void)state;
	move(1, with_ports(1, 4), false, REASON_NONE);
	assert_int_equal(f.state, FOLLOWER_OFFERED);
	assert_locator(follower_locator(&f), O);
	prove(1, with_ports(1, 4), 1);
	assert_locator(follower_locator(&f), with_ports(1, 4));
}

static void newer_move_cancels_the_pending_one(void **state)
{
	struct locator n = N;

	(void)state;
	move(1, N, false, REASON_NONE);
	now += 1000;
	move(2, N2, false, REASON_NONE);
	assert_int_equal(follower_classify(&f, 1), FOLLOWER_SEQ_STALE);
	assert_true(follower_accepts(&f, &n.addr));
	prove(2, N2, 2);
	/* Proved: the mover has left N as well as O. */
	wait_for_follower();
	assert_int_equal(now, T0 + 1000 + MIGRATE_DRAIN_MIN_MS);
	assert_int_equal(count(MIGRATE_ACCEPT_DEL), 2);
}

static void lease_ends(void **state)
{
	(void)state;
	move(1, N, false, REASON_NONE);
	for (int copies = 0; copies < 3; copies++) {
		now += 1000;
		move(1, N, false, REASON_NONE);
		assert_non_null(sent(MIGRATE_ACCEPT));
	}
	wait_for_follower();
	assert_int_equal(now, T0 + MIGRATE_LEASE_MS);
	assert_int_equal(f.state, FOLLOWER_STEADY);
	assert_true(noted(COUNTER_LEASES_EXPIRED));
	assert_locator(&has(MIGRATE_ACCEPT_DEL)->to, N);
	assert_locator(follower_locator(&f), O);
	assert_int_equal(follower_classify(&f, 1), FOLLOWER_SEQ_STALE);
	prove(1, N, 1);
	assert_true(noted(COUNTER_RX_STALE));
	assert_null(has(MIGRATE_SEND));
	/* The number is over, the next one is not. */
	move(1, N, false, REASON_NONE);
	assert_true(noted(COUNTER_RX_STALE));
	assert_null(has(MIGRATE_SEND));
	move(2, N, false, REASON_NONE);
	assert_non_null(sent(MIGRATE_ACCEPT));
}

static void lease_ends_while_gone_stays_held(void **state)
{
	(void)state;
	move(1, N, true, REASON_NONE);
	wait_for_follower();
	assert_true(follower_holds(&f));
	assert_null(follower_locator(&f));
}

static void list_evicts_what_drains(void **state)
{
	(void)state;
	for (uint8_t i = 1; i < 40; i++) {
		move(i, at((uint8_t)(i + 1)), false, REASON_NONE);
		assert_int_equal(f.state, FOLLOWER_OFFERED);
		assert_in_range(f.n_accepted, 1, 1 + MIGRATE_UNPROVED_MAX);
		assert_locator(follower_locator(&f), O);
	}
}

/* What was proved once drains, however much is offered meanwhile. */
static void offers_evict_no_proved_one(void **state)
{
	struct locator o = O;

	(void)state;
	move(1, N, false, REASON_NONE);
	prove(1, N, 1);
	assert_locator(follower_locator(&f), N);
	for (uint8_t i = 2; i < 10; i++)
		move(i, at((uint8_t)(i + 10)), false, REASON_NONE);
	assert_true(follower_accepts(&f, &o.addr));
	assert_int_equal(f.n_accepted, 2 + MIGRATE_UNPROVED_MAX);
}

static void sync_from_where_we_do_not_send_holds(void **state)
{
	(void)state;
	follower_event((struct follower_event){
		.type = FOLLOWER_SYNC, .seq = 0, .to = O });
	assert_int_equal(out.n, 0);
	follower_event((struct follower_event){
		.type = FOLLOWER_SYNC, .seq = 3, .to = N });
	assert_true(follower_holds(&f));
	assert_non_null(has(MIGRATE_HOLD));
}

/* No MOVE comes: nothing was said to be gone, and nothing proved elsewhere. */
static void what_sync_holds_goes_on_after_a_lease(void **state)
{
	(void)state;
	sync_from_where_we_do_not_send_holds(state);
	now += MIGRATE_LEASE_MS / 2;
	follower_event((struct follower_event){ /* repeated */
		.type = FOLLOWER_SYNC, .seq = 3, .to = N });
	wait_for_follower();
	assert_int_equal(now, T0 + MIGRATE_LEASE_MS);
	assert_false(follower_holds(&f));
	assert_locator(&has(MIGRATE_RELEASE)->to, O);
	assert_true(noted(COUNTER_HOLDS_ENDED));
	assert_true(follower_deadline_ms(&f) == MIGRATE_NEVER);
}

static void what_sync_holds_waits_for_an_offer(void **state)
{
	(void)state;
	sync_from_where_we_do_not_send_holds(state);
	now += MIGRATE_LEASE_MS - 1;
	move(3, N, false, REASON_NONE);
	now += 2;
	follower_event((struct follower_event){ .type = FOLLOWER_TIMER });
	assert_true(follower_holds(&f));
	prove(3, N, 3);
	assert_locator(&has(MIGRATE_RELEASE)->to, N);
	assert_false(follower_holds(&f));
}

/* I5 knows no timer. */
static void what_is_gone_too_stays_held(void **state)
{
	(void)state;
	sync_from_where_we_do_not_send_holds(state);
	move(4, N, true, REASON_POLICY);
	assert_null(follower_locator(&f));
	assert_true(follower_deadline_ms(&f) == MIGRATE_NEVER);
}

static void a_hold_that_failed_declares_nothing(void **state)
{
	struct follower before = f;

	(void)state;
	sync_from_where_we_do_not_send_holds(state);
	follower_rollback(&f, &before, &out, out.n, now);
	assert_true(follower_holds(&f));
	assert_non_null(follower_locator(&f));
}

static void follower_rollback_promises_nothing(void **state)
{
	struct follower before = f;
	unsigned int i = 0;

	(void)state;
	move(1, N, true, REASON_NONE);
	while (out.action[i].type != MIGRATE_ACCEPT_ADD)
		i++;
	follower_rollback(&f, &before, &out, i, now);
	assert_int_equal(f.state, FOLLOWER_STEADY);
	assert_int_equal(f.n_accepted, 1);
	assert_true(follower_holds(&f)); /* that was carried out */
	assert_int_equal(follower_classify(&f, 1), FOLLOWER_SEQ_NEW);
	move(1, N, true, REASON_NONE);
	assert_int_equal(f.state, FOLLOWER_OFFERED);
}

static void follower_rollback_of_a_release(void **state)
{
	struct follower before;
	unsigned int i = 0;

	(void)state;
	move(1, N, true, REASON_NONE);
	before = f;
	prove(1, N, 1);
	while (out.action[i].type != MIGRATE_RELEASE)
		i++;
	follower_rollback(&f, &before, &out, i, now);
	assert_int_equal(f.state, FOLLOWER_OFFERED);
	assert_true(follower_holds(&f));
	prove(1, N, 1); /* PROVE is repeated */
	assert_int_equal(f.state, FOLLOWER_STEADY);
}

#define MOVER(name) cmocka_unit_test_setup(name, start)
#define FOLLOWER(name) cmocka_unit_test_setup(name, start_follower)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		MOVER(steady_gone_without_another_holds),
		MOVER(held_old_back_releases_unasked),
		MOVER(held_another_usable_asks_from_gone),
		MOVER(steady_better_route_asks_without_hold),
		MOVER(steady_added_address_is_no_reason),
		MOVER(steady_gone_with_another_holds_and_asks),
		MOVER(asked_accept_switches_and_proves),
		MOVER(asked_accept_without_hold_switches),
		MOVER(asked_accept_elsewhere_changes_nothing),
		MOVER(asked_answer_to_another_number_changes_nothing),
		MOVER(asked_tuple_taken_chooses_ports),
		MOVER(asked_digest_sends_flows),
		MOVER(asked_retries_are_bounded),
		MOVER(asked_refused_stays_on_old),
		MOVER(asked_refused_for_an_unknown_reason_stays_on_old),
		MOVER(asked_no_ports_left_is_a_refusal),
		MOVER(asked_refused_without_old_tries_the_next),
		MOVER(asked_refused_after_gone_was_said_takes_it_back),
		MOVER(undecided_locators_that_are_gone_make_room),
		MOVER(asked_repeats_then_shakes_hands_then_tries_the_next),
		MOVER(asked_address_event_restarts_patience),
		MOVER(asked_another_event_next_number),
		MOVER(asked_old_lost_holds_and_says_so),
		MOVER(asked_all_lost_holds),
		MOVER(asked_new_fails_goes_back),
		MOVER(asked_new_fails_without_old_keeps_asking),
		MOVER(switched_accept_again_repeats_prove),
		MOVER(switched_done_drains_old),
		MOVER(switched_no_done_holds_and_asks_for_old),
		MOVER(switched_no_done_without_old_asks_again),
		MOVER(switched_another_event_keeps_what_was_proved),
		MOVER(what_is_learned_to_be_gone_is_told),
		MOVER(switched_late_done_of_an_older_number_is_learned),
		MOVER(switched_back_has_a_lease_too),
		MOVER(switched_back_then_another_event),
		MOVER(switched_where_it_is_has_a_lease_too),
		MOVER(permit_is_one_timer),
		MOVER(trial_ends_with_its_number),
		MOVER(switched_new_lost_holds),
		MOVER(ports_alone_are_a_move),
		MOVER(sync_tells_of_a_lost_done),
		MOVER(sync_of_a_peer_that_forgot_asks_again),
		MOVER(a_peer_that_forgot_is_asked_once),
		MOVER(who_forgot_for_good_is_asked_for_seconds),
		MOVER(who_forgot_and_is_silent_holds_nothing_for_ever),
		MOVER(sync_of_numbers_never_used_is_ignored),
		MOVER(session_repeats_what_is_outstanding),
		MOVER(sessions_without_end_are_paced),
		MOVER(a_trial_waits_as_long_as_accept_took),
		MOVER(a_trial_comes_before_prove),
		MOVER(where_it_is_a_trial_comes_after_done),
		MOVER(where_none_comes_the_next_one_is_asked_for),
		MOVER(the_last_challenge_of_a_number_counts),
		MOVER(what_is_held_is_not_blocked),
		MOVER(its_nonces_are_made_by_the_last_prove),
		MOVER(nor_by_one_before_the_peer_was_lost),
		MOVER(without_a_challenge_there_is_no_trial),
		MOVER(a_trial_repeats_the_nonce_alone),
		MOVER(a_trial_without_an_answer_goes_back),
		MOVER(a_trial_has_a_quarter_of_a_second),
		MOVER(without_a_pilot_the_flows_stay),
		MOVER(where_none_can_be_sent_the_flows_stay),
		MOVER(what_was_left_untried_waits),
		MOVER(where_the_old_one_goes_what_was_untried_is_taken),
		MOVER(where_the_old_one_is_gone_none_needs_to_be_sent),
		MOVER(what_is_blocked_is_not_untried),
		MOVER(what_was_left_untried_shortens_no_doubt),
		MOVER(other_ports_are_no_other_path),
		MOVER(a_trial_ends_where_the_old_one_goes),
		MOVER(where_the_old_one_is_gone_nothing_waits),
		MOVER(a_lost_prove_says_nothing_of_the_path),
		MOVER(a_failed_switch_is_no_blocked_path),
		MOVER(a_doubt_about_the_old_one_is_no_reason_to_stay),
		MOVER(an_accept_outlives_a_refusal),
		MOVER(a_refusal_ends_a_trial),
		MOVER(a_way_back_that_is_refused_ends_at_the_old_one),
		MOVER(bounded_list_waits_for_a_commit),
		MOVER(rollback_of_an_addition_asks_nobody),
		MOVER(rollback_keeps_the_hold_and_the_facts),
		MOVER(rollback_of_a_release_goes_on_holding),
		MOVER(rollback_after_an_addition_remembers_it),
		MOVER(rtt_gives_the_pto),
		FOLLOWER(many_moves_end_the_permit),
		FOLLOWER(move_is_accepted_then_answered),
		FOLLOWER(move_back_may_be_tried_by_the_proved_challenge),
		FOLLOWER(nonces_are_taken_from_the_last_done_on),
		FOLLOWER(an_offer_that_came_of_nothing_tries_nothing),
		FOLLOWER(move_from_gone_holds),
		FOLLOWER(move_relayed_is_ignored),
		FOLLOWER(move_repeated_gets_the_same_challenge),
		FOLLOWER(move_refused_leaves_no_state),
		FOLLOWER(move_refused_from_gone_holds_all_the_same),
		FOLLOWER(gone_is_heard_before_the_answer),
		FOLLOWER(prove_commits_releases_and_drains),
		FOLLOWER(prove_without_hold_switches),
		FOLLOWER(prove_wrong_changes_nothing),
		FOLLOWER(committed_number_repeats_done),
		FOLLOWER(stale_number_is_dropped),
		FOLLOWER(a_number_that_jumps_is_dropped),
		FOLLOWER(sync_that_jumps_holds_nothing),
		FOLLOWER(move_to_where_it_sends_commits_at_once),
		FOLLOWER(move_of_ports_needs_a_prove),
		FOLLOWER(newer_move_cancels_the_pending_one),
		FOLLOWER(lease_ends),
		FOLLOWER(lease_ends_while_gone_stays_held),
		FOLLOWER(list_evicts_what_drains),
		FOLLOWER(offers_evict_no_proved_one),
		FOLLOWER(sync_from_where_we_do_not_send_holds),
		FOLLOWER(what_sync_holds_goes_on_after_a_lease),
		FOLLOWER(what_sync_holds_waits_for_an_offer),
		FOLLOWER(what_is_gone_too_stays_held),
		FOLLOWER(a_hold_that_failed_declares_nothing),
		FOLLOWER(follower_rollback_promises_nothing),
		FOLLOWER(follower_rollback_of_a_release),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
