/* SPDX-License-Identifier: GPL-2.0-or-later */
/* trial: whole daemons on kernels of paper, and paths that carry or do not. */
#include "world.h"

#include <sys/mman.h>

#include "nonce.h"
#include "pkt.h"

#define OLD "10.0.0.1"
#define NEW "10.0.0.9"
#define NEXT "10.0.0.10"
#define MINUTE 60000
#define STRIDE_MS 20

static int setup_raw(void **state)
{
	raw_fate = RAW_REFUSED;
	raw_kept_of = 0;
	memset(&raw_lost_at, 0, sizeof(raw_lost_at));
	memset(&raw_changed_from, 0, sizeof(raw_changed_from));
	return setup(state);
}

/* With what is in the queues. */
static void run_queues(uint64_t ms)
{
	for (uint64_t end = clock_ms + ms; clock_ms < end;) {
		run(1);
		for (unsigned int i = 0; i < 2; i++) {
			pktq_read(host[i].d->queue_in);
			pktq_read(host[i].d->queue_out);
		}
	}
}

/* Minutes in which little happens: the clock strides. */
static void pass(uint64_t ms)
{
	for (uint64_t end = clock_ms + ms; clock_ms < end;) {
		clock_ms += STRIDE_MS - 1;
		run_queues(1);
	}
}

static uint64_t counter(unsigned int i, enum counter_id c)
{
	return host[i].d->counters.value[c];
}

static enum reason reason_of(const struct tuple *t)
{
	struct ctl_flow told;

	assert_int_equal(report_ops.flow(host[0].d,
					 flow_at(&host[0], t)->id, &told), 0);
	return told.reason;
}

static const struct tuple *owned(void)
{
	static struct tuple t;

	t = connection(40000);
	run(3000);
	assert_true(both_own(&t));
	return &t;
}

static void what_carries_is_taken(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3); /* the last one is the best route */
	run_queues(3000);
	check_wire(t, NEW);
	assert_int_equal(counter(0, COUNTER_NONCES_TX), 1);
	assert_int_equal(counter(1, COUNTER_NONCES_RX), 1);
	assert_int_equal(counter(1, COUNTER_NONCES_TX), 1);
	assert_int_equal(counter(0, COUNTER_NONCES_RX), 1);
	/* Out and in, at each: the own one leaves, the other's is taken. */
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(host[i].fate[1], i ? DROPPED : ACCEPTED);
		assert_int_equal(host[i].fate[2], i ? ACCEPTED : DROPPED);
	}
	assert_int_equal(reason_of(t), REASON_NONE);
}

static void what_does_not_is_left_alone(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	check_wire(t, OLD);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	assert_int_equal(counter(0, COUNTER_MOVES_DONE), 0);
	assert_int_equal(counter(0, COUNTER_PKT_HELD), 0);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	assert_int_equal(track_of(flow_at(&host[0], t), FLOW_OURS)->mover.state,
			 MOVER_STEADY);
	/* Nor asked again before its time, whatever happens elsewhere. */
	addr_add(&host[0], NEXT, 2);
	run_queues(3000);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
}

static struct tuple datagrams_too(void)
{
	struct tuple t = connection_of(IPPROTO_UDP, 40100);

	run(3000);
	assert_true(both_own(&t));
	return t;
}

/* A move there would corrupt what the flow carries, or end it. The window is for
 * boxes to change. */
static void what_rewrites_numbers_is_left_alone(void **state)
{
	static const struct {
		const char *from; /* which way */
		uint32_t off;
		bool taken;
	} changes[] = {
		{ NEW, 4, false }, /* sequence number */
		{ NEW, 8, false }, /* acknowledgment */
		{ "10.0.0.2", 7, false },
		{ "10.0.0.2", 11, false },
		{ NEW, 15, true }, /* window */
	};

	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		const struct tuple *t = owned();

		datagrams_too(); /* have no numbers, and cross */
		raw_fate = RAW_CARRIED;
		raw_changed_from = address(changes[i].from);
		raw_changed_off = changes[i].off;
		addr_add(&host[0], NEW, 3);
		run_queues(3000);
		check_wire(t, changes[i].taken ? NEW : OLD);
		assert_int_equal(reason_of(t), changes[i].taken ?
				 REASON_NONE : REASON_PATH_BLOCKED);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED),
				 !changes[i].taken);
		teardown(state);
		setup_raw(state);
	}
}

/* Between two busy hosts, whose sockets' answers are seen late: nonces leave
 * at intervals of 285 ms and more, for 1.1 s. */
static void is_carried_between_slow_hosts(uint32_t ours_ms, uint32_t theirs_ms)
{
	const struct tuple *t = owned();
	struct mover *m = &track_of(flow_at(&host[0], t), FLOW_OURS)->mover;

	datagrams_too();
	m->rtt.srtt_ms = 200;
	m->rtt.rttvar_ms = 0;
	host[0].slow_ms = ours_ms;
	host[1].slow_ms = theirs_ms;
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(5000);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 0);
	check_wire(t, NEW);
	assert_true(host[1].raw[IPPROTO_TCP].local.port);
}

static void whose_numbers_are_seen_late_is_waited_for(void **state)
{
	(void)state;
	is_carried_between_slow_hosts(60, 60);
}

static void who_speaks_late_has_as_long_as_the_others(void **state)
{
	(void)state;
	is_carried_between_slow_hosts(800, 400);
}

/* Nobody else speaks for them. */
static void idle_ones_alone_are_waited_for(void **state)
{
	static const uint32_t slow_ms[] = { 60, 200, 450 };

	for (size_t i = 0; i < 2 * sizeof(slow_ms) / sizeof(*slow_ms); i++) {
		const bool carried = i % 2;
		const struct tuple *t = owned();

		host[0].slow_ms = slow_ms[i / 2];
		raw_fate = carried ? RAW_CARRIED : RAW_LOST;
		addr_add(&host[0], NEW, 3);
		run_queues(3000);
		check_wire(t, carried ? NEW : OLD);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), !carried);
		assert_true(counter(0, COUNTER_NONCES_TX) > 0);
		host[0].slow_ms = 0;
		teardown(state);
		setup_raw(state);
	}
}

/* Lines for people so far, with that word. */
static unsigned int told(int fd, const char *of)
{
	static char text[65536];
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
	unsigned int n = 0;

	assert_true(len >= 0);
	text[len] = '\0';
	for (const char *s = text; (s = strstr(s, of)); s++)
		n++;
	return n;
}

/* The flows stay, and nothing is said of the path. */
static void is_untried(const struct tuple *t)
{
	check_wire(t, OLD);
	assert_int_equal(counter(0, COUNTER_MOVES_DONE), 0);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 0);
	assert_true(counter(0, COUNTER_MOVES_UNTRIED) > 0);
	assert_int_equal(counter(0, COUNTER_PKT_HELD), 0);
	assert_int_equal(reason_of(t), REASON_PATH_UNTRIED);
}

/* Nor is it asked for as fast as it can be, and people are told once. */
static void where_none_can_be_sent_they_stay(void **state)
{
	const struct tuple *t = owned();
	int fd = memfd_create("log", 0);

	(void)state;
	assert_int_equal(log_open(&host[0].d->log, fd, LOG_LEVEL_NOTICE), 0);
	raw_fate = RAW_REFUSED;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	is_untried(t);
	pass(10 * MINUTE);
	is_untried(t);
	assert_in_range(counter(0, COUNTER_MOVES_UNTRIED), 10, 20);
	assert_int_equal(told(fd, "moves_untried"), 1);
	raw_fate = RAW_CARRIED;
	pass(MINUTE + 1000);
	check_wire(t, NEW);
	assert_int_equal(reason_of(t), REASON_NONE);
	log_close(host[0].d->log);
	host[0].d->log = NULL;
	close(fd);
}

/* And as soon as something has changed. */
static void an_event_shortens_the_pause(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_REFUSED;
	addr_add(&host[0], NEW, 3);
	pass(10 * MINUTE);
	is_untried(t);
	raw_fate = RAW_CARRIED;
	routes_change(&host[0], false);
	run_queues(2000);
	check_wire(t, NEW);
}

/* The kernel takes them, and a rule of the host's own drops them. */
static void what_the_host_keeps_back_shows_nothing(void **state)
{
	for (int i = 0; i < 4; i++) {
		const struct tuple *t = owned();

		if (i)
			datagrams_too();
		raw_fate = i == 1 ? RAW_KEPT : RAW_CARRIED;
		raw_kept_of = i % 2 ? 0 : IPPROTO_TCP;
		if (i == 3)
			raw_kept_of = IPPROTO_UDP;
		addr_add(&host[0], NEW, 3);
		run_queues(3000);
		assert_true(counter(0, COUNTER_NONCES_TX) > 1);
		is_untried(t);
		raw_fate = RAW_CARRIED;
		raw_kept_of = 0;
		pass(MINUTE + 1000);
		check_wire(t, NEW);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 0);
		assert_int_equal(reason_of(t), REASON_NONE);
		teardown(state);
		setup_raw(state);
	}
}

/* What left and did not cross speaks against the path, whatever else was kept;
 * and so does what may have left and was not seen. */
static void what_may_have_left_is_blamed(void **state)
{
	for (int i = 0; i < 2; i++) {
		const struct tuple *t = owned();

		datagrams_too();
		raw_fate = RAW_LOST;
		raw_kept_of = IPPROTO_TCP;
		if (i) {
			raw_fate = RAW_KEPT;
			addr_add(&host[0], NEW, 3);
			run_queues(100);
			host[0].tap_lost = 1;
		} else {
			addr_add(&host[0], NEW, 3);
		}
		run_queues(3000);
		check_wire(t, OLD);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
		assert_int_equal(counter(0, COUNTER_MOVES_UNTRIED), 0);
		assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
		teardown(state);
		setup_raw(state);
	}
}

/* Where there is no other the flows are on it, and leave it for none. */
static void what_is_kept_back_leads_nowhere_else(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	addr_add(&host[0], NEXT, 2);
	run_queues(1000);
	raw_fate = RAW_KEPT;
	addr_add(&host[0], NEW, 3);
	addr_remove(&host[0], OLD);
	run_queues(5000);
	check_wire(t, NEW);
	assert_true(counter(0, COUNTER_NONCES_TX) > 1);
	assert_int_equal(counter(0, COUNTER_MOVES_DONE), 1);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 0);
	assert_int_equal(reason_of(t), REASON_NONE);
}

static void where_the_old_one_goes_nothing_waits_for_a_nonce(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_REFUSED;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	is_untried(t);
	addr_remove(&host[0], OLD);
	run_queues(100);
	check_wire(t, NEW);
	run_queues(3000);
	check_wire(t, NEW);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 0);
	assert_int_equal(reason_of(t), REASON_NONE);
}

/* The better route is gone again. */
static void what_is_better_no_more_is_forgotten(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_REFUSED;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	is_untried(t);
	addr_remove(&host[0], NEW);
	pass(MINUTE + 1000);
	check_wire(t, OLD);
	assert_int_equal(reason_of(t), REASON_NONE);
}

/* Nothing but his word leads there. */
static void a_wish_that_was_not_tried_is_not_lost(void **state)
{
	const struct tuple *t = owned();
	const struct addr to = address(NEW);

	(void)state;
	raw_fate = RAW_REFUSED;
	addr_add(&host[0], NEW, 2);
	run_queues(2000);
	assert_int_equal(handover_move(track_of(flow_at(&host[0], t),
						FLOW_OURS), &to, clock_ms), 0);
	run_queues(3000);
	is_untried(t);
	assert_true(counter(0, COUNTER_MOVES_UNTRIED) > 1);
	raw_fate = RAW_CARRIED;
	pass(MINUTE);
	check_wire(t, NEW);
	assert_int_equal(reason_of(t), REASON_NONE);
	pass(10 * MINUTE);
	check_wire(t, NEW);
}

/* Sockets whose numbers come too late, or never, whatever crosses meanwhile. */
static void stays_until_it_speaks(bool late, bool with_datagrams)
{
	const struct tuple *t = owned();

	if (with_datagrams)
		datagrams_too();
	host[0].silent = !late;
	host[0].slow_ms = late ? 5000 : 0;
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(4000);
	is_untried(t);
	assert_int_equal(counter(1, COUNTER_NONCES_TX) > 0, with_datagrams);
	host[0].silent = false;
	host[0].slow_ms = 0;
	pass(MINUTE);
	check_wire(t, NEW);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 0);
	assert_int_equal(reason_of(t), REASON_NONE);
}

static void whose_numbers_are_not_seen_stays(void **state)
{
	for (int i = 0; i < 4; i++) {
		stays_until_it_speaks(i % 2, i / 2);
		teardown(state);
		setup_raw(state);
	}
}

/* Of what crosses, UDP does and TCP does not: as before the numbers are known. */
static void for_segments_no_datagram_speaks(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	datagrams_too();
	host[0].slow_ms = 300;
	raw_fate = RAW_CARRIED;
	raw_changed_from = address(NEW); /* TCP's numbers, on the way there */
	raw_changed_off = 4;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	check_wire(t, OLD);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	assert_int_equal(counter(0, COUNTER_MOVES_UNTRIED), 0);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
}

static void it_is_tried_again_after_ten_minutes(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	run_queues(1000);
	raw_fate = RAW_CARRIED;
	pass(9 * MINUTE);
	check_wire(t, OLD);
	pass(MINUTE);
	check_wire(t, NEW);
	assert_int_equal(reason_of(t), REASON_NONE);
}

static void and_every_ten_minutes_from_then_on(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	for (unsigned int i = 1; i < 4; i++) {
		run_queues(3000);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), i);
		pass(9 * MINUTE);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), i);
		assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
		check_wire(t, OLD);
		pass(MINUTE - 3000);
	}
	raw_fate = RAW_CARRIED;
	run_queues(3000);
	pass(9 * MINUTE);
	pass(MINUTE);
	check_wire(t, NEW);
	assert_int_equal(reason_of(t), REASON_NONE);
}

static void it_is_tried_again_when_the_address_comes_anew(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	run_queues(1000);
	check_wire(t, OLD);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	addr_remove(&host[0], NEW);
	run_queues(1000);
	assert_int_equal(reason_of(t), REASON_NONE);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(1000);
	check_wire(t, NEW);
}

static void where_the_old_one_is_gone_it_is_said(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 2);
	addr_remove(&host[0], OLD);
	run_queues(200);
	check_wire(t, NEW); /* it does not wait for that */
	run_queues(2000);
	check_wire(t, NEW);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
}

static const struct tuple *stuck(void)
{
	const struct tuple *t = owned();

	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 2);
	addr_remove(&host[0], OLD);
	run_queues(2000);
	check_wire(t, NEW);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	return t;
}

static const struct mover *mover_of(const struct tuple *t)
{
	return &track_of(flow_at(&host[0], t), FLOW_OURS)->mover;
}

/* That its time is over is not that it carries them. */
static void one_in_use_is_tried_again_after_ten_minutes(void **state)
{
	const struct tuple *t = stuck();
	uint64_t moved = counter(0, COUNTER_MOVES_DONE);

	(void)state;
	for (unsigned int i = 1; i < 4; i++) {
		pass(9 * MINUTE);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), i);
		pass(MINUTE + 1000);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), i + 1);
		assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
		check_wire(t, NEW);
	}
	raw_fate = RAW_CARRIED;
	pass(9 * MINUTE);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	pass(MINUTE);
	assert_int_equal(reason_of(t), REASON_NONE);
	check_wire(t, NEW);
	assert_int_equal(mover_of(t)->state, MOVER_STEADY);
	assert_int_equal(counter(0, COUNTER_MOVES_DONE), moved);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 4);
	assert_int_equal(counter(0, COUNTER_PKT_HELD), 0);
	/* And then no more. */
	moved = counter(0, COUNTER_NONCES_TX);
	pass(30 * MINUTE);
	assert_int_equal(counter(0, COUNTER_NONCES_TX), moved);
}

static void gateway_change(const char *to)
{
	host[0].gateway = address(to);
	routes_change(&host[0], false);
}

static void one_in_use_is_tried_again_when_its_route_changes(void **state)
{
	const struct tuple *t = stuck();

	(void)state;
	pass(10000);
	/* However often that is. */
	for (int i = 0; i < 30; i++) {
		gateway_change(i % 2 ? "10.0.0.253" : "10.0.0.254");
		run_queues(1000);
		assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	}
	assert_in_range(counter(0, COUNTER_MOVES_BLOCKED), 3, 4);
	raw_fate = RAW_CARRIED;
	pass(10000);
	gateway_change("10.0.0.252");
	run_queues(1000);
	assert_int_equal(reason_of(t), REASON_NONE);
	check_wire(t, NEW);
}

/* Somebody else's routes: what is known of this path is as true as before, and
 * the tokens are there when the address goes. */
static void events_elsewhere_try_nothing(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	for (int i = 0; i < 60; i++) {
		routes_change(&host[0], false);
		run_queues(500);
		assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	}
	check_wire(t, OLD);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	assert_int_equal(mover_of(t)->seq, 2); /* there and back */
	addr_remove(&host[0], OLD);
	run_queues(20);
	check_wire(t, NEW);
}

static void nor_do_they_where_flows_are(void **state)
{
	const struct tuple *t = stuck();

	(void)state;
	for (int i = 0; i < 60; i++) {
		routes_change(&host[0], false);
		run_queues(500);
	}
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
}

static void it_is_tried_again_when_its_route_changes(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	/* That there is none for a while is no other path. */
	routes_change(&host[0], true);
	run_queues(1000);
	routes_change(&host[0], false);
	run_queues(1000);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	raw_fate = RAW_CARRIED;
	gateway_change("10.0.0.254");
	run_queues(1000);
	check_wire(t, NEW);
	assert_int_equal(reason_of(t), REASON_NONE);
}

static void a_blocked_path_is_told_once_until_it_changes(void **state)
{
	const struct tuple *t = owned();
	int fd = memfd_create("log", 0);

	(void)state;
	assert_int_equal(log_open(&host[0].d->log, fd, LOG_LEVEL_NOTICE), 0);
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	for (unsigned int i = 1; i < 4; i++) {
		run_queues(3000);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), i);
		assert_int_equal(told(fd, "moves_blocked"), 1);
		pass(9 * MINUTE);
		pass(MINUTE - 3000);
	}
	run_queues(3000);
	gateway_change("10.0.0.254");
	run_queues(3000);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 5);
	assert_int_equal(told(fd, "moves_blocked"), 2);
	/* And where flows are on it. */
	addr_remove(&host[0], OLD);
	pass(20 * MINUTE);
	check_wire(t, NEW);
	assert_in_range(counter(0, COUNTER_MOVES_BLOCKED), 7, 8);
	assert_int_equal(told(fd, "moves_blocked"), 2);
	gateway_change("10.0.0.253");
	pass(15000);
	assert_int_equal(told(fd, "moves_blocked"), 3);
	log_close(host[0].d->log);
	host[0].d->log = NULL;
	close(fd);
}

/* Where the nonces went is what is known of. */
static void a_route_that_changes_during_a_trial_is_another(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	while (!mover_of(t)->trying)
		run_queues(1);
	run_queues(10);
	gateway_change("10.0.0.254");
	run_queues(1000);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	raw_fate = RAW_CARRIED;
	run_queues(5000); /* with the next look */
	check_wire(t, NEW);
}

static void one_in_use_that_comes_anew_is_tried_again(void **state)
{
	const struct tuple *t = stuck();

	(void)state;
	pass(10000);
	addr_remove(&host[0], NEW);
	run_queues(100);
	addr_add(&host[0], NEW, 2);
	run_queues(1000);
	check_wire(t, NEW);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 2);
}

/* It sends none: that is nothing new about the path. */
static void one_in_use_that_goes_meanwhile_is_not_blamed(void **state)
{
	const struct tuple *t = stuck();

	(void)state;
	pass(10 * MINUTE - 2500);
	while (!mover_of(t)->trying)
		run_queues(1);
	while (mover_of(t)->try_ms < mover_of(t)->try_end_ms)
		run_queues(1);
	addr_remove(&host[0], NEW); /* behind the last one of this trial */
	run_queues(5000);
	assert_int_equal(mover_of(t)->state, MOVER_HELD);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 2);
	pass(11000);
	check_wire(t, NEW);
	assert_int_equal(reason_of(t), REASON_NONE);
}

/* More of them than are remembered have been tried since. */
static void one_in_use_is_remembered_longest(void **state)
{
	const struct tuple *t = stuck();
	char own[ADDR_TEXT_MAX];

	(void)state;
	host[0].source_rules = true;
	for (unsigned int i = 0; i <= UNFIT_MAX; i++) {
		snprintf(own, sizeof(own), "10.0.0.%u", 20 + i);
		addr_add(&host[0], own, 3);
		run_queues(3000);
		assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), i + 2);
		check_wire(t, NEW);
		assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	}
}

/* None has carried them, and one does by now. */
static void the_others_are_tried_again_with_it(void **state)
{
	const struct tuple *t = stuck();

	(void)state;
	host[0].source_rules = true;
	addr_add(&host[0], NEXT, 3);
	run_queues(2000);
	check_wire(t, NEW);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 2);
	raw_fate = RAW_CARRIED;
	raw_lost_at = address(NEW);
	pass(9 * MINUTE);
	check_wire(t, NEW);
	pass(2 * MINUTE);
	check_wire(t, NEXT);
	assert_int_equal(mover_of(t)->state, MOVER_STEADY);
}

/* Its packets leave where they should, and get nowhere: reason enough. */
static void where_none_was_carried_the_old_one_is_better(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_LOST;
	host[0].source_rules = true;
	addr_add(&host[0], NEW, 2);
	addr_remove(&host[0], OLD);
	run_queues(2000);
	check_wire(t, NEW);
	addr_add(&host[0], NEXT, 3); /* carries none either */
	run_queues(2000);
	check_wire(t, NEW);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 2);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], OLD, 1);
	routes_change(&host[0], false);
	run_queues(2000);
	check_wire(t, OLD);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 2);
}

/* An operator asked for it, in vain, before it was the only one left. */
static void a_wish_is_no_reason_to_stay_where_nothing_passes(void **state)
{
	const struct tuple *t = owned();
	const struct addr to = address(NEW);

	(void)state;
	raw_fate = RAW_LOST;
	host[0].source_rules = true;
	addr_add(&host[0], NEW, 2);
	run_queues(2000);
	assert_int_equal(handover_move(track_of(flow_at(&host[0], t),
						FLOW_OURS), &to, clock_ms), 0);
	run_queues(2000);
	check_wire(t, OLD);
	assert_int_equal(counter(0, COUNTER_MOVES_BLOCKED), 1);
	addr_remove(&host[0], OLD);
	run_queues(2000);
	check_wire(t, NEW);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], OLD, 1);
	routes_change(&host[0], false);
	run_queues(2000);
	check_wire(t, OLD);
}

static void data_at(unsigned int i, const struct tuple *t, uint32_t sent_ms,
		    uint32_t received_ms)
{
	struct sockdiag_entry *e = sock_at(&host[i], t);

	assert_non_null(e);
	e->info.last_data_sent_ms = sent_ms;
	e->info.last_data_recv_ms = received_ms;
}

static uint16_t spoke(uint8_t proto)
{
	return host[0].raw[proto].local.port;
}

static void speaks_in_a_trial(const struct tuple *a, const struct tuple *b,
			      const struct tuple *who)
{
	const struct tuple *other = who == a ? b : a;

	run(3000);
	assert_true(both_own(a) && both_own(b));
	assert_ptr_equal(track_of(flow_at(&host[0], a), FLOW_OURS),
			 track_of(flow_at(&host[0], b), FLOW_OURS));
	data_at(0, other, 5000, 0);
	data_at(0, who, 10, 5000);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	check_wire(a, NEW);
	assert_int_equal(spoke(IPPROTO_TCP), who->local.port);
}

static void who_sent_last_speaks_for_all(void **state)
{
	struct tuple a = connection(40000), b = connection(40001);

	(void)state;
	speaks_in_a_trial(&a, &b, &a);
}

static void and_so_does_the_other(void **state)
{
	struct tuple a = connection(40000), b = connection(40001);

	(void)state;
	speaks_in_a_trial(&a, &b, &b);
}

/* The last dump says something else. */
static void when_it_sent_is_asked_now(void **state)
{
	struct tuple a = connection(40000), b = connection(40001);

	(void)state;
	data_at(0, &a, 10, 0);
	data_at(0, &b, 5000, 0);
	run(3000);
	assert_true(both_own(&a) && both_own(&b));
	data_at(0, &a, 5000, 0);
	data_at(0, &b, 10, 0);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 2);
	addr_remove(&host[0], OLD);
	for (int i = 0; i < 20 && !spoke(IPPROTO_TCP); i++)
		run_queues(1);
	assert_int_equal(spoke(IPPROTO_TCP), 40001);
	run_queues(3000);
	check_wire(&a, NEW);
}

/* Of many those alone that sent last by then. */
static void the_last_ones_are_asked_of_many(void **state)
{
	enum { MANY = 60 };
	struct tuple t[MANY];

	(void)state;
	for (uint16_t i = 0; i < MANY; i++) {
		t[i] = connection((uint16_t)(40000 + i));
		data_at(0, &t[i], 1000 + (i * 7u % MANY) * 100, 0);
	}
	run(5000);
	for (int i = 0; i < MANY; i++)
		assert_true(both_own(&t[i]));
	data_at(0, &t[2], 10, 0); /* 15th then */
	data_at(0, &t[11], 1, 0); /* 18th */
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 2);
	addr_remove(&host[0], OLD);
	for (int i = 0; i < 20 && !spoke(IPPROTO_TCP); i++)
		run_queues(1);
	assert_int_equal(spoke(IPPROTO_TCP), 40002);
}

static void of_datagrams_what_the_queue_saw_tells(void **state)
{
	struct tuple u[3];

	(void)state;
	for (uint16_t i = 0; i < 3; i++)
		u[i] = connection_of(IPPROTO_UDP, (uint16_t)(40000 + i));
	run(5000);
	for (int i = 0; i < 3; i++)
		assert_true(both_own(&u[i]));
	for (int i = 0; i < 3; i++) {
		run_queues(10);
		packet_queue(&host[0], &u[(i + 2) % 3], true);
	}
	run_queues(10);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(3000);
	check_wire(&u[0], NEW);
	assert_int_equal(spoke(IPPROTO_UDP), 40001);
}

/* After its ACCEPT: what crosses now proves nothing for those who stay. */
static void who_leaves_meanwhile_is_not_taken_along(void **state)
{
	struct tuple u = connection(40001), r = tuple_reverse(&u);
	const struct tuple *t = owned();
	const struct track *track = track_of(flow_at(&host[0], t), FLOW_OURS);
	const struct addr old = address(OLD);
	struct tuple wire;

	(void)state;
	assert_true(both_own(&u));
	assert_ptr_equal(track, track_of(flow_at(&host[0], &u), FLOW_OURS));
	raw_fate = RAW_LOST;
	addr_add(&host[0], NEW, 3);
	while (!track->mover.trying)
		run_queues(1);
	assoc_let_go(host[0].d, flow_at(&host[0], &u), clock_ms,
		     REASON_POLICY);
	raw_fate = RAW_CARRIED;
	for (int i = 0; i < 3000; i++) {
		run_queues(1);
		if (!flow_at(&host[1], &r))
			continue;
		wire = flow_wire_tuple(flow_at(&host[1], &r));
		/* Or by a move of its own: it is as old as the route. */
		assert_true(addr_equal(&wire.remote.addr, &old) ||
			    counter(0, COUNTER_MOVES_DONE) == 2);
	}
	assert_int_equal(host[0].d->counters.refused[REASON_DIGEST], 1);
	check_wire(t, NEW);
}

/* Neither is of use to who has not the challenge. */
static void a_wrong_nonce_draws_nothing(void **state)
{
	const struct tuple *t = owned();
	struct tuple wire = *t, seen;
	static const struct nonce_numbers n;
	uint8_t mac[NONCE_MAC_SIZE] = { 1 }, packet[NONCE_PACKET_MAX];
	uint64_t sent;
	int len;

	(void)state;
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(1000);
	check_wire(t, NEW);
	wire.local.addr = address(NEW);
	seen = tuple_reverse(&wire);
	sent = counter(1, COUNTER_NONCES_TX);
	len = nonce_build(&wire, &n, mac, packet, sizeof(packet));
	assert_true(len > 0);
	parcel_add(&host[1], packet, (size_t)len, false);
	run_queues(100);
	assert_int_equal(counter(1, COUNTER_NONCES_TX), sent);
	assert_int_equal(host[1].fate[host[1].next_id], DROPPED);
	assert_non_null(flow_find_wire(&host[1].d->flows, &seen));
	/* One that leaves takes the place of no flow. */
	parcel_add(&host[0], packet, (size_t)len, true);
	run_queues(100);
	assert_int_equal(host[0].fate[host[0].next_id], DROPPED);
	check_wire(t, NEW);
}

/* In the form of a nonce, from there to host 1. */
static enum fate like_a_nonce(uint8_t proto, const char *from, uint16_t port)
{
	struct tuple t = tuple_of(from, port, "10.0.0.2", 22);
	static const struct nonce_numbers n;
	uint8_t mac[NONCE_MAC_SIZE] = { 7 }, packet[NONCE_PACKET_MAX];
	int len;

	t.proto = proto;
	len = nonce_build(&t, &n, mac, packet, sizeof(packet));
	assert_true(len > 0);
	parcel_add(&host[1], packet, (size_t)len, false);
	pktq_read(host[1].d->queue_in);
	return host[1].fate[host[1].next_id];
}

/* The rules take it for a while longer than there is a flow: a socket that is
 * bound there must not read what was for one that was connected. */
static void of_no_flow_it_reaches_nobody(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	assert_int_equal(like_a_nonce(IPPROTO_UDP, OLD, 40001), DROPPED);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(1000);
	check_wire(t, NEW);
	assert_int_equal(like_a_nonce(IPPROTO_TCP, NEW, 5), DROPPED);
	assert_int_equal(like_a_nonce(IPPROTO_UDP, NEW, 5), DROPPED);
	assert_int_equal(like_a_nonce(IPPROTO_UDP, NEW, 40000), DROPPED);
	assert_int_equal(like_a_nonce(IPPROTO_TCP, NEW, 40000), DROPPED);
}

/* Longer than anything is on its way; then it is what it looks like. */
static void soon_after_a_trial_none_reaches_a_socket(void **state)
{
	struct tuple u = connection_of(IPPROTO_UDP, 40001);
	const struct tuple *t;

	(void)state;
	t = owned();
	run(2000 + CLAIM_TAKE_MS);
	assert_true(both_own(&u));
	/* Where none ever was, and nothing is translated. */
	assert_int_equal(like_a_nonce(IPPROTO_UDP, OLD, 40001), ACCEPTED);
	assert_int_equal(like_a_nonce(IPPROTO_TCP, OLD, 40000), ACCEPTED);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(1000);
	check_wire(t, NEW);
	check_wire(&u, NEW);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(like_a_nonce(IPPROTO_UDP, NEW, 40001),
				 DROPPED);
		run_queues(1000);
	}
	run_queues(4000);
	assert_int_equal(like_a_nonce(IPPROTO_UDP, NEW, 40001), REWRITTEN);
	assert_int_equal(like_a_nonce(IPPROTO_TCP, NEW, 40000), REWRITTEN);
	/* The identity that was given up stays so. */
	assert_int_equal(like_a_nonce(IPPROTO_UDP, OLD, 40001), DROPPED);
	assert_int_equal(like_a_nonce(IPPROTO_TCP, OLD, 40000), DROPPED);
}

/* The kernel was told of where the flow was: where it goes from there needs no
 * telling. */
static void nor_as_the_flow_moves_meanwhile(void **state)
{
	struct tuple u = connection_of(IPPROTO_UDP, 40001);
	struct tuple r = tuple_reverse(&u), wire;
	struct claim *c;
	struct flow *f;
	bool moved = false;

	(void)state;
	(void)owned();
	run(2000 + CLAIM_TAKE_MS);
	f = flow_at(&host[1], &r);
	c = &f->claim;
	assert_int_equal(divert_take_nonces(host[1].d, clock_ms, &c, 1), 0);
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	for (int i = 0; i < 1000; i++) {
		run_queues(1);
		wire = flow_wire_tuple(f);
		if (tuple_equal(&wire, &r))
			continue;
		moved = true;
		assert_false(element(&host[1], STEER_CLAIM, &wire));
		assert_true(element(&host[1], STEER_IN, &wire));
		if (i % 50)
			continue;
		assert_int_equal(like_a_nonce(IPPROTO_UDP, NEW, 40001),
				 DROPPED);
		assert_int_equal(like_a_nonce(IPPROTO_UDP, OLD, 40001),
				 DROPPED);
	}
	assert_true(moved);
	/* ... nor, past its trial, before the time that it was told. */
	run_queues(CLAIM_EXPECT_MS + CLAIM_LATE_MS - 2000);
	assert_int_equal(like_a_nonce(IPPROTO_UDP, NEW, 40001), DROPPED);
}

/* The next socket at a tuple is another flow, that nobody has proved yet: it
 * reads nothing which the rules take on account of the one before. */
static void nor_does_it_reach_the_next_socket(void **state)
{
	struct tuple u = connection_of(IPPROTO_UDP, 40001);
	struct tuple r = tuple_reverse(&u);

	(void)state;
	(void)owned();
	run(2000);
	assert_true(both_own(&u));
	socket_end(&host[1], &r);
	run(1500);
	assert_null(flow_at(&host[1], &r));
	socket_add(&host[1], &r);
	while (!flow_at(&host[1], &r))
		run(1);
	assert_int_equal(like_a_nonce(IPPROTO_UDP, OLD, 40001), DROPPED);
	run(CLAIM_TAKE_MS + CLAIM_LATE_MS);
	assert_int_equal(like_a_nonce(IPPROTO_UDP, OLD, 40001), ACCEPTED);
}

/* The mover's nonce, as the peer's track wants it now. */
static size_t question(const struct tuple *t, uint64_t seq, uint8_t *packet)
{
	static const struct nonce_numbers n;
	struct tuple r = tuple_reverse(t), wire = *t;
	const struct flow *f = flow_at(&host[1], &r);
	const struct track *theirs = track_of(f, FLOW_THEIRS);
	const struct nonce_about about = {
		.way = NONCE_FROM_MOVER, .track = theirs->id, .seq = seq,
		.flow_id = f->claim.flow_id,
	};
	uint8_t mac[NONCE_MAC_SIZE];
	int len;

	wire.local.addr = address(NEW);
	nonce_mac(theirs->follower.challenge, &about, &n, mac);
	len = nonce_build(&wire, &n, mac, packet, NONCE_PACKET_MAX);
	assert_true(len > 0);
	return (size_t)len;
}

static struct track *offered(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);
	struct track *theirs = track_of(flow_at(&host[1], &r), FLOW_THEIRS);

	addr_add(&host[0], NEW, 3);
	for (int i = 0; i < 1000; i++) {
		if (theirs->follower.state == FOLLOWER_OFFERED)
			break;
		settle_once();
		clock_ms += !n_post;
	}
	assert_int_equal(theirs->follower.state, FOLLOWER_OFFERED);
	n_post = 0;
	lose_post = true;
	return theirs;
}

/* Somebody has seen one, and sends it again and again. How often does the peer
 * listen to its socket? */
static int replay(const struct track *theirs, const uint8_t *packet,
		  size_t len, int copies)
{
	int open = 0;

	for (int i = 0; i < copies; i++) {
		parcel_add(&host[1], packet, len, false);
		run_queues(250);
		open += !!theirs->trial;
	}
	return open;
}

static void copies_draw_no_more_answers_than_that(void **state)
{
	const struct tuple *t = owned();
	uint8_t packet[NONCE_PACKET_MAX];
	const struct track *theirs = offered(t);
	size_t len = question(t, theirs->follower.pending, packet);
	uint64_t sent = counter(1, COUNTER_NONCES_TX);

	(void)state;
	raw_fate = RAW_LOST;
	replay(theirs, packet, len, 60);
	assert_int_equal(theirs->follower.state, FOLLOWER_OFFERED);
	assert_int_equal(counter(1, COUNTER_NONCES_TX) - sent,
			 MIGRATE_ACCEPT_REPEATS_MAX);
}

/* Each costs its socket two packets, answered or not. */
static void who_cannot_answer_is_not_asked_for_ever(void **state)
{
	const struct tuple *t = owned();
	uint8_t packet[NONCE_PACKET_MAX];
	const struct track *theirs = offered(t);
	size_t len = question(t, theirs->follower.pending, packet);
	unsigned int pokes = host[1].pokes;

	(void)state;
	raw_fate = RAW_LOST;
	host[1].silent = true;
	replay(theirs, packet, len, 60);
	assert_int_equal(host[1].pokes - pokes,
			 2 * MIGRATE_ACCEPT_REPEATS_MAX);
	assert_null(theirs->trial);
}

static void a_committed_number_is_soon_of_the_past(void **state)
{
	const struct tuple *t = owned();
	struct tuple r = tuple_reverse(t);
	const struct track *theirs = track_of(flow_at(&host[1], &r),
					      FLOW_THEIRS);
	uint8_t packet[NONCE_PACKET_MAX];
	uint64_t sent;
	size_t len;

	(void)state;
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	run_queues(1000);
	check_wire(t, NEW);
	raw_fate = RAW_LOST;
	sent = counter(1, COUNTER_NONCES_TX);
	len = question(t, theirs->follower.committed, packet);
	replay(theirs, packet, len, 1); /* where PROVE did not wait it may be late */
	assert_int_equal(counter(1, COUNTER_NONCES_TX) - sent, 1);
	run_queues(MIGRATE_TRY_MAX_MS);
	sent++;
	assert_int_equal(replay(theirs, packet, len, 40), 0);
	assert_int_equal(counter(1, COUNTER_NONCES_TX), sent);
}

static enum fate packet_at(unsigned int i, const struct tuple *t,
			   uint8_t flags)
{
	uint32_t id = packet_queue_flags(&host[i], t, false, flags);

	pktq_read(host[i].d->queue_in);
	return host[i].fate[id];
}

static enum fate reset_from(const char *own, uint16_t port, uint8_t flags)
{
	const struct tuple t = tuple_of(own, port, "10.0.0.2", 22);

	return packet_at(1, &t, flags);
}

#define RST PKT_TCP_RST
#define ACK PKT_TCP_ACK

/* Its own, of a flow that ends at the new address: there is no second one. */
static void who_is_there_may_reset(void **state)
{
	struct tuple u = connection(40001);
	const struct tuple *t = owned();
	struct track *theirs;

	(void)state;
	assert_true(both_own(&u));
	addr_remove(&host[0], OLD);
	theirs = offered(t);
	assert_true(follower_holds(&theirs->follower));
	assert_int_equal(reset_from(NEW, 40000, RST | ACK), REWRITTEN);
	assert_int_equal(reset_from(NEW, 40001, RST), REWRITTEN);
}

/* A box may send one for the answer; nothing else of ours can draw it. */
static void only_an_answer_may_be_rejected(void **state)
{
	struct tuple u = connection(40001);
	const struct tuple *t = owned();
	uint8_t packet[NONCE_PACKET_MAX];
	struct track *theirs;
	size_t len;

	(void)state;
	assert_true(both_own(&u));
	theirs = offered(t);
	raw_fate = RAW_LOST;
	len = question(t, theirs->follower.pending, packet);
	replay(theirs, packet, len, 1);
	assert_int_equal(counter(1, COUNTER_NONCES_TX), 1);
	assert_int_equal(reset_from(NEW, 40000, RST), DROPPED);
	assert_int_equal(reset_from(NEW, 40000, RST | ACK), DROPPED);
	assert_int_equal(reset_from(NEW, 40001, RST | ACK), REWRITTEN);
	/* The path carries it. */
	assert_int_equal(reset_from(NEW, 40000, ACK), REWRITTEN);
	assert_int_equal(reset_from(NEW, 40000, RST | ACK), REWRITTEN);
	/* Or nothing was heard, for longer than a box takes. */
	replay(theirs, packet, len, 1);
	assert_int_equal(reset_from(NEW, 40000, RST), DROPPED);
	run_queues(MIGRATE_PTO_MAX_MS);
	assert_int_equal(reset_from(NEW, 40000, RST | ACK), REWRITTEN);
	assert_int_equal(theirs->follower.state, FOLLOWER_OFFERED);
}

/* One that resets both ends when it sees a question, which comes no further:
 * where the old address lives the mover waits there for our answer. */
static void who_cannot_be_there_yet_resets_nothing(void **state)
{
	const struct tuple *t = owned();
	struct track *theirs = offered(t);

	(void)state;
	assert_false(follower_holds(&theirs->follower));
	assert_int_equal(reset_from(NEW, 40000, RST), DROPPED);
	run_queues(MIGRATE_TRY_MAX_MS);
	assert_int_equal(reset_from(NEW, 40000, RST), REWRITTEN);
	assert_int_equal(theirs->follower.state, FOLLOWER_OFFERED);
}

/* Flows that wait there for better times are not to end by our asking. */
static void what_rejects_a_nonce_in_use_resets_nothing(void **state)
{
	const struct tuple *t = stuck();
	const struct tuple back = tuple_of("10.0.0.2", 22, NEW, 40000);
	const struct mover *m = mover_of(t);
	uint64_t sent;

	(void)state;
	assert_int_equal(packet_at(0, &back, ACK), REWRITTEN);
	pass(10 * MINUTE - 2500);
	raw_fate = RAW_CARRIED;
	raw_lost_at = address("10.0.0.2"); /* asked, and not answered */
	assert_false(m->trying);
	while (!m->trying)
		run_queues(1);
	sent = counter(1, COUNTER_NONCES_TX);
	assert_int_equal(packet_at(0, &back, RST), DROPPED);
	assert_int_equal(packet_at(0, &back, RST | ACK), DROPPED);
	assert_int_equal(packet_at(0, &back, ACK), REWRITTEN);
	while (m->trying)
		run_queues(1);
	assert_int_equal(packet_at(0, &back, RST), REWRITTEN);
	/* The way there is open, and what comes back is rejected. */
	memset(&raw_lost_at, 0, sizeof(raw_lost_at));
	pass(10 * MINUTE - 2500);
	while (counter(1, COUNTER_NONCES_TX) == sent)
		run_queues(1);
	assert_int_equal(reset_from(NEW, 40000, RST), DROPPED);
	assert_int_equal(reset_from(NEW, 40000, ACK), REWRITTEN);
	assert_int_equal(reset_from(NEW, 40000, RST), REWRITTEN);
}

/* ---- tracks that are on the path of others ---- */

/* A connection that is opened at our second address. */
static struct tuple opened_at_new(void)
{
	struct tuple u = tuple_of(NEW, 50000, "10.0.0.2", 22);
	struct tuple r = tuple_reverse(&u);

	socket_add(&host[0], &u);
	socket_add(&host[1], &r);
	run(4000);
	assert_true(both_own(&u));
	return u;
}

/* Its path carries it, and for all we know not the other one, which had to go
 * there. */
static struct tuple stuck_beside(struct tuple *u)
{
	struct tuple t = *owned();

	addr_add(&host[0], NEW, 2); /* of the same interface: no better route */
	run(3000);
	check_wire(&t, OLD);
	*u = opened_at_new();
	raw_fate = RAW_LOST;
	addr_remove(&host[0], OLD);
	run_queues(3000);
	check_wire(&t, NEW);
	assert_int_equal(reason_of(&t), REASON_PATH_BLOCKED);
	raw_fate = RAW_CARRIED;
	return t;
}

static void who_never_moved_takes_nobodys_turn(void **state)
{
	struct tuple u, t = stuck_beside(&u);

	(void)state;
	pass(11 * MINUTE);
	assert_int_equal(reason_of(&t), REASON_NONE);
}

static void who_never_moved_keeps_no_path_blocked(void **state)
{
	struct tuple u, t = stuck_beside(&u), r = tuple_reverse(&t);

	(void)state;
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	pass(21 * MINUTE);
	assert_int_equal(reason_of(&u), REASON_NONE);
}

static void who_never_moved_stays_there(void **state)
{
	struct tuple u, t = stuck_beside(&u);

	(void)state;
	(void)t;
	host[0].source_rules = true;
	host[0].metric[3] = 1000;
	addr_add(&host[0], NEXT, 3); /* worse */
	run_queues(5000);
	check_wire(&u, NEW);
}

/* There the kernel of neither end looks into what passes. */
static void at_home_no_nonce_is_sent(void **state)
{
	const struct tuple *t = owned();
	uint64_t sent;

	(void)state;
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 2);
	addr_remove(&host[0], OLD);
	run_queues(3000);
	check_wire(t, NEW);
	raw_fate = RAW_LOST;
	addr_add(&host[0], OLD, 2);
	run_queues(10);
	addr_remove(&host[0], NEW);
	run_queues(5000);
	check_wire(t, OLD);
	assert_int_equal(reason_of(t), REASON_PATH_BLOCKED);
	sent = counter(0, COUNTER_NONCES_TX);
	pass(21 * MINUTE);
	assert_int_equal(counter(0, COUNTER_NONCES_TX), sent);
	assert_int_equal(reason_of(t), REASON_NONE);
}

/* ---- what resets a flow ---- */

/* What the kernel rewrites by then is not heard of here. */
static void after_a_move_a_reset_is_one(void **state)
{
	const struct tuple *t = owned();

	(void)state;
	raw_fate = RAW_CARRIED;
	addr_add(&host[0], NEW, 3);
	while (!counter(0, COUNTER_MOVES_DONE))
		run_queues(1);
	run_queues(300);
	check_wire(t, NEW);
	assert_int_equal(reset_from(NEW, 40000, RST), REWRITTEN);
}

/* We ask whether a flow is carried where it is, and the peer is silent. */
static void while_nobody_answers_a_reset_is_one(void **state)
{
	const struct tuple *t = stuck();
	const struct tuple back = tuple_of("10.0.0.2", 22, NEW, 40000);

	(void)state;
	run(10 * MINUTE - 2500);
	while (mover_of(t)->state == MOVER_STEADY) {
		lose_post = true;
		run_queues(1);
	}
	run_queues(2000);
	assert_int_equal(mover_of(t)->state, MOVER_ASKED);
	assert_int_equal(packet_at(0, &back, RST), REWRITTEN);
}

/* The kernel's rule sees less of it than the daemon. */
static void what_only_begins_like_a_nonce_passes(void **state)
{
	struct tuple u = connection_of(IPPROTO_UDP, 40001);
	static const struct nonce_numbers n;
	uint8_t mac[NONCE_MAC_SIZE] = { 7 };
	uint8_t packet[NONCE_PACKET_MAX + 1] = { 0 };
	int len;

	(void)state;
	(void)owned();
	run(2000);
	assert_true(both_own(&u));
	len = nonce_build(&u, &n, mac, packet, NONCE_PACKET_MAX);
	assert_true(len > 0);
	len++;
	packet[3] = (uint8_t)len; /* IPv4 */
	packet[25] = (uint8_t)(len - 20); /* UDP */
	parcel_add(&host[1], packet, (size_t)len, false);
	pktq_read(host[1].d->queue_in);
	assert_int_equal(host[1].fate[host[1].next_id], ACCEPTED);
}

#define TRIAL(f) cmocka_unit_test_setup_teardown(f, setup_raw, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TRIAL(who_never_moved_takes_nobodys_turn),
		TRIAL(who_never_moved_keeps_no_path_blocked),
		TRIAL(who_never_moved_stays_there),
		TRIAL(at_home_no_nonce_is_sent),
		TRIAL(after_a_move_a_reset_is_one),
		TRIAL(while_nobody_answers_a_reset_is_one),
		TRIAL(what_only_begins_like_a_nonce_passes),
		TRIAL(what_carries_is_taken),
		TRIAL(what_does_not_is_left_alone),
		TRIAL(what_rewrites_numbers_is_left_alone),
		TRIAL(idle_ones_alone_are_waited_for),
		TRIAL(whose_numbers_are_seen_late_is_waited_for),
		TRIAL(who_speaks_late_has_as_long_as_the_others),
		TRIAL(where_none_can_be_sent_they_stay),
		TRIAL(an_event_shortens_the_pause),
		TRIAL(what_the_host_keeps_back_shows_nothing),
		TRIAL(what_may_have_left_is_blamed),
		TRIAL(what_is_kept_back_leads_nowhere_else),
		TRIAL(where_the_old_one_goes_nothing_waits_for_a_nonce),
		TRIAL(what_is_better_no_more_is_forgotten),
		TRIAL(a_wish_that_was_not_tried_is_not_lost),
		TRIAL(whose_numbers_are_not_seen_stays),
		TRIAL(for_segments_no_datagram_speaks),
		TRIAL(it_is_tried_again_after_ten_minutes),
		TRIAL(and_every_ten_minutes_from_then_on),
		TRIAL(it_is_tried_again_when_the_address_comes_anew),
		TRIAL(where_the_old_one_is_gone_it_is_said),
		TRIAL(one_in_use_is_tried_again_after_ten_minutes),
		TRIAL(one_in_use_is_tried_again_when_its_route_changes),
		TRIAL(events_elsewhere_try_nothing),
		TRIAL(nor_do_they_where_flows_are),
		TRIAL(it_is_tried_again_when_its_route_changes),
		TRIAL(a_blocked_path_is_told_once_until_it_changes),
		TRIAL(a_route_that_changes_during_a_trial_is_another),
		TRIAL(one_in_use_that_comes_anew_is_tried_again),
		TRIAL(one_in_use_that_goes_meanwhile_is_not_blamed),
		TRIAL(one_in_use_is_remembered_longest),
		TRIAL(the_others_are_tried_again_with_it),
		TRIAL(where_none_was_carried_the_old_one_is_better),
		TRIAL(a_wish_is_no_reason_to_stay_where_nothing_passes),
		TRIAL(who_sent_last_speaks_for_all),
		TRIAL(and_so_does_the_other),
		TRIAL(when_it_sent_is_asked_now),
		TRIAL(the_last_ones_are_asked_of_many),
		TRIAL(of_datagrams_what_the_queue_saw_tells),
		TRIAL(who_leaves_meanwhile_is_not_taken_along),
		TRIAL(a_wrong_nonce_draws_nothing),
		TRIAL(of_no_flow_it_reaches_nobody),
		TRIAL(soon_after_a_trial_none_reaches_a_socket),
		TRIAL(nor_as_the_flow_moves_meanwhile),
		TRIAL(nor_does_it_reach_the_next_socket),
		TRIAL(copies_draw_no_more_answers_than_that),
		TRIAL(who_cannot_answer_is_not_asked_for_ever),
		TRIAL(a_committed_number_is_soon_of_the_past),
		TRIAL(who_is_there_may_reset),
		TRIAL(only_an_answer_may_be_rejected),
		TRIAL(who_cannot_be_there_yet_resets_nothing),
		TRIAL(what_rejects_a_nonce_in_use_resets_nothing),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
