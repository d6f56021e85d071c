/* SPDX-License-Identifier: GPL-2.0-or-later */
/* work: the moves of many flows, in transactions that nobody waits for long;
 * between whole daemons on kernels of paper. */
#include "world.h"

#define MANY (4 * TRACK_PART)
/* Changes of one flow in one transaction. */
#define CHANGES 12

static struct tuple flows[MANY];

static void open_many(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		flows[i] = connection((uint16_t)(20000 + i));
	while (!both_own(&flows[n - 1]))
		run(100);
	for (unsigned int i = 0; i < n; i++)
		assert_true(both_own(&flows[i]));
}

static struct flow *seen(unsigned int i)
{
	struct tuple r = tuple_reverse(&flows[i]);

	return flow_at(&host[1], &r);
}

static struct track *track_seen(void)
{
	return track_of(seen(0), FLOW_THEIRS);
}

/* Of this turn of both, in transactions. */
static unsigned int turn_commits(int i)
{
	unsigned int before = host[i].commits;

	settle_once();
	return host[i].commits - before;
}

static void step_aside(const char *to, const char *from)
{
	for (int i = 0; i < 2; i++)
		host[i].largest = 0;
	addr_add(&host[0], to, 2);
	addr_remove(&host[0], from);
}

/* How many flows accept the peer at its new address. */
static unsigned int accepting(const char *at)
{
	struct addr a = address(at);
	unsigned int n = 0;

	for (unsigned int i = 0; i < MANY; i++)
		n += flow_end_find(seen(i), FLOW_THEIRS, &a, 0) != NULL;
	return n;
}

/* A MOVE and a PROVE each cost a turn one transaction of so many flows; what
 * comes meanwhile is heard, and no answer says what is not done. */
static void no_message_waits_for_all_flows(void **state)
{
	unsigned int turns = 0;
	bool offered = false, proved = false;

	(void)state;
	open_many(MANY);
	step_aside("10.0.0.9", "10.0.0.1");
	while (!(track_seen()->follower.committed == 1 &&
		 !track_seen()->work)) {
		unsigned int n = turn_commits(1);
		struct track *t = track_seen();

		assert_true(n <= 1 + HOSTS);
		if (t->work && t->follower.committed == 0) {
			unsigned int many = accepting("10.0.0.9");

			offered = true;
			assert_true(many && many < MANY);
			assert_int_equal(host[1].sent[WIRE_ACCEPT], 0);
		}
		if (t->work && t->follower.committed == 1) {
			proved = true;
			assert_int_equal(host[1].sent[WIRE_DONE], 0);
		}
		if (!n)
			clock_ms++;
		assert_true(++turns < 1000);
	}
	assert_true(offered && proved);
	run(1000);
	for (unsigned int i = 0; i < MANY; i++)
		check_wire(&flows[i], "10.0.0.9");
	run(200000); /* drained, and forgotten */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(host[i].d->counters.value[COUNTER_NFT_ERRORS],
				 0);
		assert_in_range(host[i].largest, TRACK_PART,
				CHANGES * TRACK_PART);
	}
	assert_int_equal(accepting("10.0.0.1"), 0);
}

/* The kernel refuses one flow behind many: all are as they were, until it does
 * not. */
static void a_part_that_fails_undoes_the_others(void **state)
{
	const struct flow *last = NULL, *f;

	(void)state;
	open_many(MANY);
	LIST_FOREACH(f, &track_seen()->group.flows, in_group[FLOW_THEIRS])
		last = f;
	host[1].refused = last->identity;
	host[1].refused.remote.addr = address("10.0.0.9");
	step_aside("10.0.0.9", "10.0.0.1");
	while (!track_seen()->work)
		settle_once();
	while (track_seen()->work)
		settle_once();
	assert_int_equal(host[1].sent[WIRE_ACCEPT], 0);
	assert_int_equal(accepting("10.0.0.9"), 0);
	assert_int_equal(host[1].n_in_set[STEER_IN], 0);
	assert_true(host[1].d->counters.value[COUNTER_NFT_ERRORS] > 0);
	memset(&host[1].refused, 0, sizeof(host[1].refused));
	run(10000);
	for (unsigned int i = 0; i < MANY; i++)
		check_wire(&flows[i], "10.0.0.9");
}

/* What such flows send meanwhile would be dropped. */
static void all_are_held_when_an_address_goes(void **state)
{
	(void)state;
	open_many(MANY);
	addr_remove(&host[0], "10.0.0.1");
	for (unsigned int i = 0; i < MANY; i++)
		assert_true(flow_at(&host[0], &flows[i])->hold);
	assert_true(TAILQ_EMPTY(&host[0].d->busy));
}

/* Flows end, and the track with them, while it is gone through. */
static void what_ends_meanwhile_is_forgotten(void **state)
{
	(void)state;
	open_many(MANY);
	step_aside("10.0.0.9", "10.0.0.1");
	while (!track_seen()->work)
		settle_once();
	for (unsigned int i = 0; i < MANY; i++) {
		struct tuple r = tuple_reverse(&flows[i]);

		socket_end(&host[1], &r);
		if (i == MANY / 2) {
			assert_non_null(track_of(seen(MANY - 1),
						 FLOW_THEIRS)->work);
			settle_once();
		}
	}
	assert_true(TAILQ_EMPTY(&host[1].d->busy));
	run(1000);
	assert_int_equal(host[1].d->counters.value[COUNTER_NFT_ERRORS], 0);
}

/* It is held in parts, as it does not answer, and does before the last one. */
static void an_answer_ends_a_hold_that_is_not_done(void **state)
{
	struct peer_path path = { .remote.addr = address("10.0.0.9") };
	unsigned int held = 0;
	struct track *t;

	(void)state;
	open_many(MANY);
	step_aside("10.0.0.9", "10.0.0.1");
	run(5000);
	check_wire(&flows[MANY - 1], "10.0.0.9");
	t = track_seen();
	lose_post = true;
	while (!t->work) {
		settle_once();
		if (!t->work)
			clock_ms++;
	}
	assert_true(t->unheard_ms);
	unheard_result(t->assoc, &path, true, clock_ms);
	for (unsigned int i = 0; i < 10; i++)
		settle_once();
	assert_null(t->work);
	for (unsigned int i = 0; i < MANY; i++)
		held += seen(i)->hold;
	assert_int_equal(held, 0);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(no_message_waits_for_all_flows),
		WORLD(a_part_that_fails_undoes_the_others),
		WORLD(all_are_held_when_an_address_goes),
		WORLD(what_ends_meanwhile_is_forgotten),
		WORLD(an_answer_ends_a_hold_that_is_not_done),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
