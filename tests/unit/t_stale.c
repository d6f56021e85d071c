/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stale: what a whole daemon gives up of what it holds, and when. */
#include "world.h"

#include "../../src/handover_impl.h"

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#define SEQ_AT 24 /* behind an IPv4 header without options */
#define LATER_MS 200 /* two looks */

static struct sockdiag_entry *socket_of(const struct tuple *t)
{
	return sock_at(&host[0], t);
}

/* An address goes and no other is there: the client's timer is so long. */
static struct tuple hold_begins(uint32_t rto_ms)
{
	struct tuple t = connection(40000);

	run(3000);
	assert_true(both_own(&t));
	socket_of(&t)->info.rto_us = rto_ms * 1000;
	addr_remove(&host[0], "10.0.0.1");
	settle();
	assert_true(flow_at(&host[0], &t)->hold);
	return t;
}

static uint32_t segment(const struct tuple *t, uint32_t seq, uint8_t flags)
{
	uint32_t id = packet_queue_flags(&host[0], t, true, flags);

	packet_put(host[0].in_queue[host[0].n_in_queue - 1].data + SEQ_AT, seq,
		   4);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[id], WAITS);
	return id;
}

static void check_fates(const uint32_t *id, size_t n, enum fate fate)
{
	while (n--)
		assert_int_equal(host[0].fate[id[n]], fate);
}

static uint64_t given_up(void)
{
	return host[0].d->counters.value[COUNTER_PKT_HOLD_STALE];
}

/* The order is that of TCP's numbers; a copy is none but the first. */
static void after_a_second_the_first_is_kept(void **state)
{
	struct tuple t = hold_begins(60000);
	uint32_t rest[3], first, young;

	(void)state;
	rest[0] = segment(&t, 0x10, 0x10);
	first = segment(&t, 0xfffffff0, 0x10);
	rest[1] = segment(&t, 0x20, 0x11); /* FIN */
	rest[2] = segment(&t, 0xfffffff0, 0x10);
	run(STALE_MS / 3);
	young = segment(&t, 0x30, 0x10);
	run(STALE_MS / 2);
	check_fates(rest, 3, WAITS);
	assert_int_equal(given_up(), 0);
	run(STALE_MS / 6 + LATER_MS);
	check_fates(rest, 3, DROPPED);
	check_fates(&first, 1, WAITS);
	check_fates(&young, 1, WAITS);
	assert_int_equal(given_up(), 3);
	run(STALE_MS);
	check_fates(&young, 1, DROPPED);
	run(20000);
	check_fates(&first, 1, WAITS);
	assert_int_equal(given_up(), 4);
}

/* Once the sender has tried again itself it does so until it is answered. */
static void the_first_is_kept_until_its_timer_runs_out(void **state)
{
	struct tuple t = hold_begins(3000);
	uint32_t first = segment(&t, 1, 0x10), copy;

	(void)state;
	run(2900);
	check_fates(&first, 1, WAITS);
	run(LATER_MS);
	check_fates(&first, 1, DROPPED);
	copy = segment(&t, 1, 0x10);
	/* Twice as long now; a wake-up undoes that, and no more. */
	socket_of(&t)->info.backoff = 1;
	socket_of(&t)->info.rto_us = 6000 * 1000;
	run(2900);
	check_fates(&copy, 1, WAITS);
	run(LATER_MS);
	check_fates(&copy, 1, DROPPED);
	assert_int_equal(given_up(), 2);
}

/* Nothing would start it again but what is held. */
static void the_first_is_kept_where_nobody_can_wake_it(void **state)
{
	struct tuple t = hold_begins(200);
	uint32_t first, rest;

	(void)state;
	socket_of(&t)->recverr = true;
	socket_of(&t)->info.backoff = 5;
	first = segment(&t, 1, 0x10);
	rest = segment(&t, 2, 0x10);
	run(20000);
	check_fates(&first, 1, WAITS);
	check_fates(&rest, 1, DROPPED);
	assert_int_equal(given_up(), 1);
}

/* A reset is for whoever hears it, whenever. */
static void no_reset_is_given_up(void **state)
{
	struct tuple t = hold_begins(200);
	uint32_t reset = segment(&t, 1, 0x14), rest = segment(&t, 2, 0x10);

	(void)state;
	socket_of(&t)->info.backoff = 5;
	run(5000);
	check_fates(&reset, 1, WAITS);
	check_fates(&rest, 1, DROPPED);
}

/* In backoff, so that it is woken by an ICMP error. */
static void backs_off(const struct tuple *t)
{
	socket_of(t)->info = (struct sockdiag_info){
		.unacked = 1,
		.retransmits = true,
		.backoff = 2,
		.rto_us = 816000,
		.expires_ms = 600,
		.last_data_sent_ms = 500,
	};
}

/* For five seconds by our own half, and for a moment more by the peer's. */
static void both_halves_hold_it_for_one_time(void **state)
{
	struct tuple t = hold_begins(60000);
	struct track *theirs = track_of(flow_at(&host[0], &t), FLOW_THEIRS);
	struct follower_event ev = { .type = FOLLOWER_SYNC, .seq = 5 };
	uint32_t young;
	uint64_t woken;

	(void)state;
	run(5000);
	ev.to.addr = address("10.0.0.77");
	handover_step_follower(theirs, &ev, clock_ms);
	young = segment(&t, 1, 0x10);
	backs_off(&t);
	addr_add(&host[0], "10.0.0.1", 2);
	run(STALE_MS / 2);
	assert_false(mover_holds(&track_of(flow_at(&host[0], &t),
					   FLOW_OURS)->mover));
	assert_true(flow_at(&host[0], &t)->hold);
	check_fates(&young, 1, WAITS);
	woken = host[0].d->counters.value[COUNTER_SENDERS_WOKEN];
	ev.type = FOLLOWER_MOVE;
	ev.to = theirs->follower.sending;
	ev.source = ev.to.addr;
	handover_step_follower(theirs, &ev, clock_ms);
	assert_false(flow_at(&host[0], &t)->hold);
	check_fates(&young, 1, DROPPED); /* its copy is fresh */
	assert_int_equal(host[0].d->counters.value[COUNTER_SENDERS_WOKEN],
			 woken + 1);
	assert_int_equal(flow_at(&host[0], &t)->transit->held_ms, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(after_a_second_the_first_is_kept),
		WORLD(the_first_is_kept_until_its_timer_runs_out),
		WORLD(the_first_is_kept_where_nobody_can_wake_it),
		WORLD(no_reset_is_given_up),
		WORLD(both_halves_hold_it_for_one_time),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("stale", tests, NULL, NULL);
}
