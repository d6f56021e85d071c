/* SPDX-License-Identifier: GPL-2.0-or-later */
/* repair: what others take away is put back, and nobody fights at full
 * speed. */
#include "world.h"

#define PROMPT_MS 100 /* as promised */

static uint64_t count(const struct host *h, enum counter_id c)
{
	return h->d->counters.value[c];
}

/* The loop, for these two descriptors. */
static void watches_run(struct host *h)
{
	static const int fds[] = { FD_TABLE, FD_ROUTES };

	for (int what = 0; what < REPAIR_MAX; what++)
		for (size_t i = 0; h->lost[what] && i < h->n_source; i++)
			if (h->source[i].fd == fds[what]) {
				h->source[i].cb(0, h->source[i].arg);
				break;
			}
}

static void tick(struct host *h)
{
	watches_run(h);
	settle();
	clock_ms++;
}

static struct host *watched(void)
{
	struct host *h = host_make(2);

	h->watched = true;
	addr_add(h, "10.0.0.3", 2);
	assert_int_equal(host_start(h), 0);
	run(1000);
	return h;
}

/* One at a time, as `ip rule flush` does it. */
static void a_flush_is_repaired_at_once(void **state)
{
	struct host *h = watched();

	(void)state;
	for (int n = 0; n < 500; n++) {
		h->lost[REPAIR_ROUTES]++;
		if (n % 16 == 0)
			tick(h);
	}
	for (int ms = 0; ms < PROMPT_MS; ms++)
		tick(h);
	assert_int_equal(count(h, COUNTER_ROUTES_RESTORED), 500);
	assert_int_equal(h->lost[REPAIR_ROUTES], 0);
}

/* The kernel has carried out what is undone here. */
static void what_was_done_all_the_same_is_undone(void **state)
{
	struct tuple t = connection(40000), wire = tuple_reverse(&t);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	wire.remote.addr = address("10.0.0.9");
	addr_add(&host[0], "10.0.0.9", 2);
	host[1].steer_answer = -EIO;
	addr_remove(&host[0], "10.0.0.1");
	while (!count(&host[1], COUNTER_NFT_ERRORS))
		settle_once();
	host[1].steer_answer = 0;
	lose_post = true;
	assert_null(flow_find_wire(&host[1].d->flows, &wire));
	run(PROMPT_MS);
	assert_null(element(&host[1], STEER_IN, &wire));
	lose_post = false;
	run(5000);
	check_wire(&t, "10.0.0.9");
}

static void fight(struct host *h, enum repair_what what, enum counter_id c)
{
	uint64_t before = count(h, c), since_ms = clock_ms;

	while (clock_ms < since_ms + 10000) {
		h->lost[what] = 1;
		tick(h);
	}
	assert_in_range(count(h, c) - before, 15, 40);
	assert_true(count(h, COUNTER_REPAIRS_DELAYED) > 0);
	/* It is not left so. */
	for (since_ms = clock_ms; h->lost[what]; tick(h))
		assert_in_range(clock_ms, since_ms,
				since_ms + PACE_GAP_MAX_MS);
	run(60000);
	before = count(h, c);
	h->lost[what] = 1;
	tick(h);
	assert_int_equal(count(h, c), before + 1);
}

static void who_takes_routes_all_the_time_is_answered_slowly(void **state)
{
	(void)state;
	fight(watched(), REPAIR_ROUTES, COUNTER_ROUTES_RESTORED);
}

static void who_takes_the_table_all_the_time_is_answered_slowly(void **state)
{
	struct host *h = watched();
	unsigned int builds = h->builds;

	(void)state;
	fight(h, REPAIR_TABLE, COUNTER_TABLE_RESTORED);
	assert_true(h->builds - builds < 50);
}

/* A change of ours finds no table, before the event is read. */
static void a_missing_table_is_built_no_faster(void **state)
{
	struct tuple t = connection(40000);
	unsigned int builds;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	builds = host[0].builds;
	for (int i = 0; i < 2000; i++) {
		host[0].steer_error = -ENOENT;
		divert_undrop(host[0].d, &t);
		host[0].steer_error = 0;
		run(1);
	}
	assert_in_range(host[0].builds - builds, 10, 30);
}

static void event(struct host *h, enum rtmon_kind kind)
{
	tell(h, kind, &h->addr[0]);
	h->rt_ops->settled(h->d);
	settle();
}

/* What may bring a route back has the guard's forgotten, and at once. */
static void a_route_that_may_be_back_is_found(void **state)
{
	static const enum rtmon_kind better[] = {
		RTMON_ADDR_ADDED, RTMON_ADDR_CHANGED, RTMON_LINK_UP,
		RTMON_ROUTE_CHANGED, RTMON_RULE_CHANGED, RTMON_RESYNCED,
	};
	struct host *h = watched();

	(void)state;
	for (size_t i = 0; i < sizeof(better) / sizeof(*better); i++) {
		h->refreshes = 0;
		event(h, better[i]);
		assert_int_equal(h->refreshes, 1);
		run(100);
		assert_int_equal(h->refreshes, 1);
	}
	event(h, RTMON_ADDR_REMOVED);
	event(h, RTMON_LINK_DOWN);
	run(100);
	assert_int_equal(h->refreshes, 1);
}

/* Neither for every event where they never end, nor much later than the last;
 * and what failed is done once more. */
static void routes_that_flap_cost_little(void **state)
{
	struct host *h = watched();

	(void)state;
	h->refreshes = 0;
	for (int ms = 0; ms < 2000; ms++) {
		event(h, RTMON_ROUTE_CHANGED);
		clock_ms++;
	}
	assert_in_range(h->refreshes, 50, 110);
	run(100);
	h->refreshes = 0;
	event(h, RTMON_ROUTE_CHANGED);
	event(h, RTMON_ROUTE_CHANGED);
	assert_int_equal(h->refreshes, 1);
	run(25);
	assert_int_equal(h->refreshes, 2);
	h->refresh_error = -ENOBUFS;
	run(100);
	event(h, RTMON_ROUTE_CHANGED);
	assert_int_equal(h->refreshes, 3);
	h->refresh_error = 0;
	run(2000);
	assert_int_equal(h->refreshes, 4);
}

/* A firewall may have very many. */
static void others_rules_are_read_aside(void **state)
{
	struct daemon *d = host[0].d;
	unsigned int looks;

	(void)state;
	assert_true(pthread_equal(marks_looked_by, pthread_self()));
	repair_look_again(d);
	assert_non_null(d->marks);
	aside_close(d->aside); /* returns when they were read */
	assert_false(pthread_equal(marks_looked_by, pthread_self()));
	assert_int_equal(aside_open(&d->aside), 0);
	run(1);
	assert_null(d->marks);
	/* Who asks meanwhile gets an answer of his own. */
	looks = marks_looks;
	repair_look_again(d);
	repair_look_again(d);
	aside_close(d->aside);
	assert_int_equal(aside_open(&d->aside), 0);
	run(1);
	aside_close(d->aside);
	assert_int_equal(marks_looks, looks + 2);
	d->aside = NULL;
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(what_was_done_all_the_same_is_undone),
		WORLD(a_flush_is_repaired_at_once),
		WORLD(who_takes_routes_all_the_time_is_answered_slowly),
		WORLD(who_takes_the_table_all_the_time_is_answered_slowly),
		WORLD(a_missing_table_is_built_no_faster),
		WORLD(a_route_that_may_be_back_is_found),
		WORLD(routes_that_flap_cost_little),
		WORLD(others_rules_are_read_aside),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
