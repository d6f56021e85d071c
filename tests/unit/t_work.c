/* SPDX-License-Identifier: GPL-2.0-or-later */
/* work: the moves of many flows, and their end, in transactions that nobody
 * waits for long; between whole daemons on kernels of paper. */
#include "world.h"

#include "../../src/handover_impl.h"

#define MANY (4 * TRACK_PART)
#define LOTS 5000u
/* Changes of one flow in one transaction. */
#define CHANGES 12

static struct tuple flows[LOTS];

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

/* ---- the end of many ------------------------------------------------------- */

static unsigned int lots(void)
{
	return getenv("TAP_WRAPPER") ? MANY : LOTS;
}

static struct assoc *other_end(int i)
{
	return LIST_FIRST(&host[i].d->assocs);
}

static struct flow *seen_by(int i, unsigned int n)
{
	struct tuple t = i ? tuple_reverse(&flows[n]) : flows[n];

	return flow_at(&host[i], &t);
}

static unsigned int protected_by(int i)
{
	unsigned int n = 0;

	for (const struct flow *f = flow_first(&host[i].d->flows); f;
	     f = flow_next(f))
		n += f->protected;
	return n;
}

static unsigned int owned_by(int i)
{
	return claim_table_digest(other_end(i)->claims)->count;
}

/* Nothing is half of what it was: what is protected is owned, and steered. */
static void check_halves(int i)
{
	unsigned int n = 0;

	for (const struct flow *f = flow_first(&host[i].d->flows); f;
	     f = flow_next(f)) {
		if (!f->protected) {
			assert_false(f->hold);
			assert_false(f->claim.confirmed);
			assert_null(track_assoc(f));
			assert_int_equal(f->steered, 0);
			continue;
		}
		n++;
		if (f->claim.confirmed)
			assert_ptr_equal(track_assoc(f), peer_user(f->peer));
		else /* our socket, or theirs, is gone */
			assert_null(track_assoc(f));
	}
	assert_int_equal(host[i].n_in_set[STEER_PROT], n);
}

/* A turn of both: one part for what has come, and one more for what waits. */
static void turn_in_parts(int i)
{
	unsigned int flows_before = host[i].d->flows.by_identity.n;
	unsigned int before = protected_by(i), owned_before = owned_by(i);

	assert_true(turn_commits(i) <= 4);
	assert_true(before - protected_by(i) <= 2 * TRACK_PART);
	assert_true(owned_before - owned_by(i) <= 2 * TRACK_PART);
	assert_true(flows_before - host[i].d->flows.by_identity.n <=
		    2 * TRACK_PART);
	assert_true(host[i].largest <= CHANGES * TRACK_PART);
	check_halves(i);
}

/* It stops, and with it all that it owns. */
static void stop_other(void)
{
	stop(host[1].d);
	host_end(&host[1]);
	host[0].largest = 0;
}

static unsigned int reserved(void)
{
	unsigned int n = 0;

	for (const struct flow *f = flow_first(&host[0].d->flows); f;
	     f = flow_next(f)) {
		assert_false(f->protected && f->reserved);
		n += f->reserved;
	}
	return n;
}

static void nobody_waits_for_a_bye(void **state)
{
	unsigned int turns = 0;

	(void)state;
	open_many(lots());
	stop_other();
	while (protected_by(0)) {
		turn_in_parts(0);
		assert_int_equal(reserved(), lots() - protected_by(0));
		turns++;
	}
	assert_in_range(turns, lots() / TRACK_PART / 2, lots() / TRACK_PART + 2);
	assert_int_equal(reserved(), lots());
	assert_int_equal(host[0].n_in_set[STEER_PROT], 0);
	assert_int_equal(host[0].kept.n, 0);
	assert_true(TAILQ_EMPTY(&host[0].d->busy));
	assert_int_equal(host[0].d->counters.value[COUNTER_NFT_ERRORS], 0);
	run(5000);
	assert_int_equal(reserved(), lots());
}

/* Two peers stop at the same moment: one part for both, by turns. */
static void peers_that_stop_take_turns(void **state)
{
	unsigned int has[2] = { 0 }, turns = 0;
	const struct flow *f;

	(void)state;
	host_make(2);
	addr_add(&host[2], "10.0.0.3", 2);
	assert_int_equal(host_start(&host[2]), 0);
	for (unsigned int i = 0; i < MANY; i++) {
		struct tuple t = tuple_of("10.0.0.1", (uint16_t)(30000 + i),
					  "10.0.0.3", 22);
		struct tuple r = tuple_reverse(&t);

		socket_add(&host[0], &t);
		socket_add(&host[2], &r);
	}
	open_many(MANY);
	run(5000);
	assert_int_equal(protected_by(0), 2 * MANY);
	stop(host[2].d);
	host_end(&host[2]);
	stop_other();
	while (protected_by(0)) {
		turn_in_parts(0);
		turns++;
		has[0] = has[1] = 0;
		for (f = flow_first(&host[0].d->flows); f; f = flow_next(f))
			has[f->identity.remote.addr.byte[3] & 1] +=
				f->protected;
		if (turns == 3) {
			assert_true(has[0] && has[1]);
			assert_true(has[0] < MANY && has[1] < MANY);
		}
	}
	assert_true(turns > 3);
	assert_int_equal(reserved(), 2 * MANY);
}

/* Who is not forgotten yet is not the one that has waited longest. */
static void who_is_being_forgotten_does_not_go_first(void **state)
{
	struct tuple t, r;

	(void)state;
	host_make(2);
	addr_add(&host[2], "10.0.0.3", 2);
	assert_int_equal(host_start(&host[2]), 0);
	t = tuple_of("10.0.0.1", 30000, "10.0.0.3", 22);
	r = tuple_reverse(&t);
	socket_add(&host[0], &t);
	socket_add(&host[2], &r);
	open_many(MANY);
	run(5000);
	assert_int_equal(protected_by(0), MANY + 1);
	host[0].d->conf->max_peers = 1;
	stop_other();
	stop(host[2].d);
	host_end(&host[2]);
	while (flow_at(&host[0], &t)->protected)
		turn_in_parts(0);
	assert_in_range(protected_by(0), 1, MANY - 1);
	assert_int_equal(reserved(), MANY + 1 - protected_by(0));
	run(10);
	assert_int_equal(protected_by(0), 0);
	assert_true(reserved() == 1 || reserved() == MANY);
}

/* Its key is revoked meanwhile: nothing waits for it. */
static void a_revoked_key_is_forgotten(void **state)
{
	char key[CRYPTO_KEY_TEXT_SIZE], path[128];
	FILE *f;

	(void)state;
	open_many(MANY);
	crypto_key_to_text(host[1].d->key.public_key, key);
	stop_other();
	turn_in_parts(0);
	assert_in_range(protected_by(0), 1, MANY - 1);
	snprintf(path, sizeof(path), "%s/conf", host[0].dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, CONF "revoked_keys = [ \"%s\" ];\n", host[0].dir,
		host[0].dir, key);
	assert_int_equal(fclose(f), 0);
	host[0].d->conf_path = path;
	reload(host[0].d);
	run(10);
	assert_int_equal(protected_by(0), 0);
	assert_int_equal(reserved(), 0);
}

/* Its address goes while they are forgotten: they are, all the same. */
static void what_goes_is_not_held(void **state)
{
	(void)state;
	open_many(MANY);
	stop_other();
	turn_in_parts(0);
	assert_in_range(protected_by(0), 1, MANY - TRACK_PART);
	addr_remove(&host[0], "10.0.0.1");
	run(10);
	assert_int_equal(protected_by(0), 0);
	assert_int_equal(reserved(), MANY);
}

/* A complete list that names nothing. */
static void send_empty_list(void)
{
	struct wire_message m;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS;
	m.flows.batch = 4711;
	m.flows.parts = 1;
	m.flows.flags = WIRE_FLOWS_COMPLETE;
	assert_int_equal(assoc_tell(other_end(1), clock_ms, &m), 0);
	host[0].largest = 0;
}

/* Nothing is begun of what waits for who is back, while there is more. */
static void check_waiting(void)
{
	discover_review(host[0].d, clock_ms);
	for (const struct flow *f = flow_first(&host[0].d->flows); f;
	     f = flow_next(f))
		assert_true(f->protected || !f->claim.table);
}

/* It is there again, and tells what it has: that is heard when all is forgotten,
 * or it would end what waits for it. */
static void who_is_back_gets_all_again(void **state)
{
	const struct addr from = address("10.0.0.2"), to = address("10.0.0.1");
	bool met = false;

	(void)state;
	open_many(lots());
	stop_other();
	turn_in_parts(0);
	host_make(1);
	addr_add(&host[1], "10.0.0.2", 2);
	for (unsigned int i = 0; i < lots(); i++) {
		struct tuple r = tuple_reverse(&flows[i]);

		socket_add(&host[1], &r);
	}
	assert_int_equal(host_start(&host[1]), 0);
	peer_initiate(host[1].d->peers, clock_ms, &from, &to, 0);
	while (protected_by(0)) {
		turn_in_parts(0);
		assert_int_equal(reserved(), lots() - protected_by(0));
		if (!protected_by(0) || !peer_has_session(other_end(0)->peer))
			continue;
		check_waiting();
		if (met || !other_end(1) ||
		    !peer_has_session(other_end(1)->peer))
			continue;
		send_empty_list();
		met = true;
	}
	assert_true(met);
	assert_in_range(host[0].d->review_ms, 1, clock_ms + 100);
	for (unsigned int i = 0; i < 100 && !both_own(&flows[lots() - 1]); i++)
		run(100);
	run(1000);
	for (unsigned int i = 0; i < lots(); i++)
		assert_true(both_own(&flows[i]));
	assert_int_equal(reserved(), 0);
	check_halves(0);
	check_halves(1);
}

static void nobody_waits_for_an_empty_list(void **state)
{
	unsigned int turns = 0, acks = host[0].sent[WIRE_FLOWS_ACK];

	(void)state;
	open_many(lots());
	acks = host[0].sent[WIRE_FLOWS_ACK];
	send_empty_list();
	while (protected_by(0)) {
		assert_int_equal(host[0].sent[WIRE_FLOWS_ACK], acks);
		turn_in_parts(0);
		turns++;
	}
	assert_in_range(turns, lots() / TRACK_PART / 2, lots() / TRACK_PART + 2);
	assert_int_equal(host[0].n_in_set[STEER_PROT], 0);
	/* The list is said again, and answered now. */
	send_empty_list();
	settle_once();
	assert_int_equal(host[0].sent[WIRE_FLOWS_ACK], acks + 1);
	assert_int_equal(host[0].d->counters.value[COUNTER_NFT_ERRORS], 0);
}

/* The same where all are held, */
static void held_ones_end_together(void **state)
{
	struct track *t;

	(void)state;
	open_many(MANY);
	t = track_of(seen_by(0, 0), FLOW_THEIRS);
	t->follower.holding = true;
	t->follower.hold_since_ms = clock_ms;
	handover_hold(t, true, clock_ms);
	settle();
	for (unsigned int i = 0; i < MANY; i++)
		assert_true(seen_by(0, i)->hold);
	send_empty_list();
	while (protected_by(0))
		turn_in_parts(0);
	assert_int_equal(host[0].n_in_set[STEER_OUT], 0);
}

/* ... where all have moved, */
static void moved_ones_end_together(void **state)
{
	(void)state;
	open_many(MANY);
	step_aside("10.0.0.9", "10.0.0.1");
	run(5000);
	check_wire(&flows[MANY - 1], "10.0.0.9");
	send_empty_list();
	while (owned_by(0))
		turn_in_parts(0);
	/* What is translated is to the end. */
	for (unsigned int i = 0; i < MANY; i++) {
		assert_true(seen_by(0, i)->protected);
		assert_true(flow_is_moved(seen_by(0, i)));
	}
	assert_true(TAILQ_EMPTY(&host[0].d->busy));
}

/* ... and where all have moved and are held. */
static void moved_and_held_ones_end_together(void **state)
{
	struct wire_message m;
	unsigned int held = 0, commits;
	struct track *t;

	(void)state;
	open_many(MANY);
	step_aside("10.0.0.9", "10.0.0.1");
	run(5000);
	t = track_seen();
	lose_post = true;
	while (!t->work) {
		settle_once();
		if (!t->work)
			clock_ms++;
	}
	settle();
	for (unsigned int i = 0; i < MANY; i++)
		assert_true(seen(i)->hold);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS;
	m.flows.batch = 4711;
	m.flows.parts = 1;
	m.flows.flags = WIRE_FLOWS_COMPLETE;
	host[1].largest = 0;
	commits = host[1].commits;
	m.sent_order = UINT64_MAX;
	claim_table_receive(other_end(1)->claims, clock_ms, &m);
	assert_int_equal(host[1].commits - commits, 1);
	assert_int_equal(owned_by(1), MANY - TRACK_PART);
	while (!TAILQ_EMPTY(&host[1].d->busy)) {
		assert_true(turn_commits(1) <= 2);
		assert_true(host[1].largest <= CHANGES * TRACK_PART);
	}
	assert_int_equal(owned_by(1), 0);
	for (unsigned int i = 0; i < MANY; i++)
		held += seen(i)->hold;
	assert_int_equal(held, 0);
}

/* So many datagrams of ends that the loop reads all of them at once. */
static void nobody_waits_for_ends(void **state)
{
	unsigned int told = 0;
	struct wire_message m;

	(void)state;
	open_many(lots());
	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOW_END;
	for (unsigned int i = 0; i < lots(); i++) {
		m.flow_end.flow_id[m.flow_end.n++] =
			seen_by(1, i)->claim.flow_id;
		if (m.flow_end.n < WIRE_FLOW_END_MAX && i < lots() - 1)
			continue;
		assert_int_equal(assoc_tell(other_end(1), clock_ms, &m), 0);
		m.flow_end.n = 0;
	}
	told = host[0].sent[WIRE_FLOW_END];
	host[0].largest = 0;
	while (protected_by(0))
		turn_in_parts(0);
	/* Nothing is kept of them, which is said as well. */
	told = host[0].sent[WIRE_FLOW_END] - told;
	assert_in_range(told, lots() / WIRE_FLOW_END_MAX,
			lots() / TRACK_PART * 3 + 3);
	settle();
	assert_int_equal(protected_by(1), 0);
}

/* Both sockets of each are gone, and both ends know it. */
static void nobody_waits_for_what_is_released(void **state)
{
	uint64_t before_ms;

	(void)state;
	open_many(lots());
	host[0].n_sock = host[1].n_sock = 0;
	for (int i = 0; i < 2; i++) {
		host[i].largest = 0;
		assert_int_equal(discover_dump(host[i].d, clock_ms), 0);
	}
	before_ms = clock_ms;
	while (flow_first(&host[0].d->flows) ||
	       flow_first(&host[1].d->flows)) {
		turn_in_parts(0);
		assert_true(host[1].largest <= CHANGES * TRACK_PART);
		if (!is_busy())
			clock_ms++;
		assert_true(clock_ms - before_ms < 10000);
	}
	run(100);
	for (int i = 0; i < 2; i++)
		check_empty(&host[i]);
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
		WORLD(nobody_waits_for_a_bye),
		WORLD(peers_that_stop_take_turns),
		WORLD(who_is_being_forgotten_does_not_go_first),
		WORLD(a_revoked_key_is_forgotten),
		WORLD(what_goes_is_not_held),
		WORLD(who_is_back_gets_all_again),
		WORLD(nobody_waits_for_an_empty_list),
		WORLD(held_ones_end_together),
		WORLD(moved_ones_end_together),
		WORLD(moved_and_held_ones_end_together),
		WORLD(nobody_waits_for_ends),
		WORLD(nobody_waits_for_what_is_released),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
