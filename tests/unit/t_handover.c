/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handover: what a move waits for, between whole daemons on kernels of paper. */
#include "world.h"

#include "../../src/handover_impl.h"

#define MANY 40 /* flows that are not asked for one by one */

static struct track *own_track_of(const struct tuple *t)
{
	return track_of(flow_at(&host[0], t), FLOW_OURS);
}

static struct track *seen_track_of(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);

	return track_of(flow_at(&host[1], &r), FLOW_THEIRS);
}

/* A dump takes longer than a handover: neither end makes one before it is
 * over, and both do soon afterwards. */
static void waits_for_no_dump(unsigned int n_flows)
{
	uint64_t dumps[2];
	struct tuple t;

	for (unsigned int i = 0; i < n_flows; i++)
		t = connection((uint16_t)(40000 + i));
	run(4000);
	assert_true(both_own(&t));
	while (clock_ms - host[0].d->dumped_ms < 100 ||
	       clock_ms - host[1].d->dumped_ms < 100)
		run(1);
	for (int i = 0; i < 2; i++)
		dumps[i] = host[i].d->counters.value[COUNTER_DUMPS];
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	while (own_track_of(&t)->mover.committed != 1) {
		run(1);
		assert_true(clock_ms < 1010000);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(host[i].d->counters.value[COUNTER_DUMPS],
				 dumps[i]);
	run(100);
	for (int i = 0; i < 2; i++)
		assert_true(host[i].d->counters.value[COUNTER_DUMPS] >
			    dumps[i]);
}

static void a_few_flows_wait_for_no_dump(void **state)
{
	(void)state;
	waits_for_no_dump(1);
	assert_int_equal(host[0].looks_at + host[1].looks_at, 0);
}

static void nor_do_many(void **state)
{
	(void)state;
	waits_for_no_dump(MANY);
	assert_int_equal(host[0].looks_at, 1);
	assert_int_equal(host[1].looks_at, 1);
}

/* Younger than the last dump: its tuple is nobody else's all the same. */
static void young_socket(struct host *at, bool full)
{
	struct tuple t[MANY], young;

	for (unsigned int i = 0; i < MANY; i++)
		t[i] = connection((uint16_t)(40000 + i));
	run(4000);
	assert_true(both_own(&t[MANY - 1]));
	while (clock_ms - host[0].d->dumped_ms < 100 ||
	       clock_ms - host[1].d->dumped_ms < 100)
		run(1);
	/* At max_flows nobody new is known. */
	for (int i = 0; full && i < 2; i++)
		host[i].d->flows.max_flows = host[i].d->flows.by_identity.n;
	addr_add(&host[0], "10.0.0.9", 2);
	young = t[7];
	young.local.addr = address("10.0.0.9");
	if (at == &host[1]) /* where an earlier owner of the address left it */
		young = tuple_reverse(&young);
	socket_add(at, &young);
	addr_remove(&host[0], "10.0.0.1");
	while (own_track_of(&t[0])->mover.committed == 0) {
		run(1);
		assert_true(clock_ms < 1010000);
	}
	for (unsigned int i = 0; i < MANY; i++) {
		struct tuple wire =
			flow_wire_tuple(flow_at(&host[0], &t[i]));

		if (i == 7)
			assert_int_not_equal(wire.local.port, 40000 + i);
		else
			assert_int_equal(wire.local.port, 40000 + i);
	}
}

/* More sockets than its share has somebody at the address that flows move to.
 * Returns by how many questions the mover found out that none has their tuples. */
static unsigned int crowded_address(const char *from)
{
	struct tuple t[MANY], theirs, wire;
	unsigned int asked;

	for (unsigned int i = 0; i < MANY; i++)
		t[i] = connection((uint16_t)(40000 + i));
	run(4000);
	assert_true(both_own(&t[MANY - 1]));
	host[0].d->flows.max_flows = MANY + MANY / 2;
	addr_add(&host[0], "10.0.0.9", 2);
	theirs = tuple_of("10.0.0.9", 40007, from, 22);
	for (unsigned int i = 0; i < MANY; i++) {
		theirs.local.port = (uint16_t)(40000 + (i + 20) % MANY);
		socket_add(&host[0], &theirs);
	}
	run(1100);
	theirs.local.port = 40007;
	assert_null(flow_at(&host[0], &theirs));
	asked = host[0].lookups;
	addr_remove(&host[0], "10.0.0.1");
	while (own_track_of(&t[0])->mover.committed == 0) {
		run(1);
		assert_true(clock_ms < 1010000);
	}
	asked = host[0].lookups - asked;
	/* Nobody shares a tuple with a socket, known or not. */
	for (unsigned int i = 0; i < MANY; i++) {
		wire = flow_wire_tuple(flow_at(&host[0], &t[i]));
		assert_true(addr_equal(&wire.local.addr,
				       &theirs.local.addr));
		for (size_t k = 0; k < host[0].n_sock; k++)
			assert_false(tuple_equal(&wire,
						 &host[0].sock[k].tuple));
	}
	return asked;
}

/* What is not known of one remote concerns no flow to another. */
static void a_crowd_is_asked_about_alone(void **state)
{
	(void)state;
	assert_in_range(crowded_address("192.0.2.1"), 0, MANY / 2);
	teardown(state);
	world_make(state);
	assert_in_range(crowded_address("10.0.0.2"), MANY, 1000 * MANY);
}

static void a_young_socket_keeps_its_tuple(void **state)
{
	(void)state;
	young_socket(&host[0], false);
	teardown(state);
	world_make(state);
	young_socket(&host[0], true);
}

static void a_young_socket_at_the_peer_too(void **state)
{
	(void)state;
	young_socket(&host[1], false);
	teardown(state);
	world_make(state);
	young_socket(&host[1], true);
}

/* A peer that names one address after the other has us look at the sockets of
 * each; that takes a part of our time, not all of it. */
static void looks_for_a_peer_are_bounded(void **state)
{
	const char *at[] = { "10.0.0.9", "10.0.0.10", "10.0.0.1" };
	uint64_t since_ms;
	struct tuple t;
	struct addr to;

	(void)state;
	for (unsigned int i = 0; i < MANY; i++)
		t = connection((uint16_t)(40000 + i));
	run(4000);
	assert_true(both_own(&t));
	addr_add(&host[0], at[0], 2);
	addr_add(&host[0], at[1], 2);
	host[1].look_takes_ms = 30;
	since_ms = clock_ms;
	for (unsigned int i = 0; i < 60; i++) {
		to = address(at[i % 3]);
		(void)handover_move(own_track_of(&t), &to, clock_ms);
		run(5);
	}
	assert_true(seen_track_of(&t)->follower.floor >=
		    MIGRATE_BURST - MIGRATE_RESERVE);
	assert_in_range(host[1].looks_at * 30ull, 30,
			(clock_ms - since_ms) / 4 + 30);
}

/* What both ends do at once for a MOVE after an outage, is one transaction. */
static void a_hold_and_its_locator_go_together(void **state)
{
	struct tuple t = connection(40000);
	unsigned int before[2];

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	for (int i = 0; i < 2; i++)
		before[i] = host[i].commits;
	addr_remove(&host[0], "10.0.0.1");
	assert_int_equal(host[0].commits - before[0], 1);
	while (seen_track_of(&t)->follower.state != FOLLOWER_OFFERED)
		settle_once();
	assert_int_equal(host[1].commits - before[1], 1);
	assert_true(flow_at(&host[0], &t)->hold);
}

/* Where the kernel takes no new locator, what is sent is held all the same. */
static void a_refused_locator_ends_no_hold(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	host[1].no_room_in = true;
	addr_remove(&host[0], "10.0.0.1");
	run(50);
	assert_true(flow_at(&host[1], &r)->hold);
	assert_true(element(&host[1], STEER_OUT, &r));
	host[1].no_room_in = false;
	run(3000);
	check_wire(&t, "10.0.0.9");
}

/* A cable comes first, then addresses, then routes: what is held does not go
 * before the last, or it would end in the guard's device. */
static void a_hold_ends_when_a_route_leads(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	routes_change(&host[0], true);
	assert_false(flow_at(&host[0], &t)->hold);
	addr_remove(&host[0], "10.0.0.1");
	assert_true(flow_at(&host[0], &t)->hold);
	run(500);
	addr_add(&host[0], "10.0.0.1", 2);
	run(500);
	assert_true(flow_at(&host[0], &t)->hold);
	routes_change(&host[0], false);
	settle();
	assert_false(flow_at(&host[0], &t)->hold);
	check_wire(&t, "10.0.0.1");
}

/* Nor before the gateway is known, which takes a round trip on the link; but
 * if that is silent the kernel is left to it. */
static void a_hold_ends_when_the_gateway_answers(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	for (int answers = 1; answers >= 0; answers--) {
		addr_remove(&host[0], "10.0.0.1");
		host[0].no_gateway = true;
		addr_add(&host[0], "10.0.0.1", 2);
		run(40);
		assert_true(flow_at(&host[0], &t)->hold);
		host[0].no_gateway = !answers;
		run(20);
		assert_false(flow_at(&host[0], &t)->hold);
		host[0].no_gateway = false;
		run(1000);
	}
	check_wire(&t, "10.0.0.1");
}

/* Each time anew. */
static void a_route_is_awaited_at_each_return(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	routes_change(&host[0], true);
	for (int i = 0; i < 2; i++) {
		addr_remove(&host[0], "10.0.0.1");
		run(15000);
		addr_add(&host[0], "10.0.0.1", 2);
		run(2000);
		assert_true(flow_at(&host[0], &t)->hold);
	}
}

/* The sockets may have one that nobody who asks can see. */
static void a_route_is_not_awaited_for_ever(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	routes_change(&host[0], true);
	addr_remove(&host[0], "10.0.0.1");
	addr_add(&host[0], "10.0.0.1", 2);
	run(9000);
	assert_true(flow_at(&host[0], &t)->hold);
	run(2500);
	assert_false(flow_at(&host[0], &t)->hold);
}

/* ---- refusals ------------------------------------------------------------- */

/* The server's policy from now on. */
static void deny(const char *prefixes)
{
	char text[512], error[CONF_ERROR_MAX];
	struct host *h = &host[1];

	snprintf(text, sizeof(text), CONF "locator_deny = [ %s ];\n", h->dir,
		 h->dir, prefixes);
	conf_free(h->d->conf);
	assert_int_equal(conf_parse(text, "t", h->d->conf, error), 0);
}

static uint64_t asked(void)
{
	return host[0].d->counters.value[COUNTER_MOVES_STARTED];
}

static void the_allowed_address_is_found(const char *first, const char *second,
					 const char *third)
{
	struct tuple t = connection(40000);

	run(3000);
	deny("\"10.0.0.9/32\", \"10.0.0.11/32\"");
	addr_add(&host[0], first, 2);
	addr_add(&host[0], second, 2);
	addr_add(&host[0], third, 2);
	addr_remove(&host[0], "10.0.0.1");
	run(500);
	check_wire(&t, "10.0.0.10");
	assert_in_range(asked(), 1, 3);
}

static void the_allowed_address_is_found_first(void **state)
{
	(void)state;
	the_allowed_address_is_found("10.0.0.10", "10.0.0.9", "10.0.0.11");
}

static void the_allowed_address_is_found_between(void **state)
{
	(void)state;
	the_allowed_address_is_found("10.0.0.9", "10.0.0.10", "10.0.0.11");
}

static void the_allowed_address_is_found_last(void **state)
{
	(void)state;
	the_allowed_address_is_found("10.0.0.9", "10.0.0.11", "10.0.0.10");
}

/* Of three interfaces, as the metrics are, whatever came or went when. */
static void asked_for_in_the_kernels_order(const unsigned int added[3])
{
	static const char *const at[] = { "10.0.0.9", "10.0.0.10",
					  "10.0.0.11" };
	static const unsigned int order[] = { 1, 2, 0 };
	struct tuple t = connection(40000);
	const struct mover *m;
	unsigned int n = 0;

	host[0].source_rules = true;
	host[0].metric[3] = 300;
	host[0].metric[4] = 100;
	host[0].metric[5] = 200;
	run(3000);
	m = &own_track_of(&t)->mover;
	deny("\"10.0.0.9/32\", \"10.0.0.10/32\", \"10.0.0.11/32\"");
	for (unsigned int i = 0; i < 3; i++)
		addr_add(&host[0], at[added[i]], 3 + added[i]);
	addr_remove(&host[0], "10.0.0.1");
	for (int i = 0; i < 500; i++) {
		struct addr next = address(at[order[n % 3]]);

		if (m->seq > n) {
			assert_int_equal(m->seq, ++n);
			assert_true(addr_equal(&m->target.addr, &next));
		}
		settle_once();
		clock_ms += !n_post;
	}
	assert_int_equal(n, 3); /* and a pause */
}

static void sources_are_asked_for_in_the_kernels_order(void **state)
{
	static const unsigned int added[][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};

	for (unsigned int i = 0; i < 6; i++) {
		asked_for_in_the_kernels_order(added[i]);
		teardown(state);
		setup(state);
	}
}

static void denied_addresses_are_asked_for_now_and_then(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	uint64_t hellos;

	(void)state;
	run(3000);
	deny("\"10.0.0.9/32\", \"10.0.0.11/32\"");
	hellos = host[0].d->counters.value[COUNTER_HS_ATTEMPTS];
	addr_add(&host[0], "10.0.0.9", 2);
	addr_add(&host[0], "10.0.0.11", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000); /* rounds at 0, 1 and 3 s, of two addresses */
	assert_in_range(asked(), 6, 8);
	assert_int_equal(host[0].d->counters.value[COUNTER_HS_ATTEMPTS],
			 hellos);
	assert_int_equal(waiting_reason(flow_at(&host[0], &t)),
			 REASON_POLICY);
	assert_int_equal(waiting_reason(flow_at(&host[1], &r)),
			 REASON_POLICY);
	assert_true(own_track_of(&t)->told_refusals ==
		    (uint64_t)1 << REASON_POLICY);
	addr_add(&host[0], "10.0.0.10", 2);
	run(300);
	check_wire(&t, "10.0.0.10");
	assert_int_equal(waiting_reason(flow_at(&host[0], &t)), REASON_NONE);
	assert_int_equal(own_track_of(&t)->told_refusals, 0);
}

static enum reason shown(const struct tuple *t)
{
	return waiting_reason(flow_at(&host[0], t));
}

/* The operator's wish: whoever reads the list later sees why it is not there,
 * until the network is another one. */
static void a_denied_wish_is_shown(void **state)
{
	struct tuple t = connection(40000);
	const struct addr to = address("10.0.0.9");

	(void)state;
	run(3000);
	deny("\"10.0.0.9/32\"");
	addr_add(&host[0], "10.0.0.9", 2);
	run(3000);
	assert_int_equal(asked(), 0);
	assert_int_equal(handover_move(own_track_of(&t), &to, clock_ms), 0);
	run(100);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(own_track_of(&t)->mover.state, MOVER_STEADY);
		assert_int_equal(shown(&t), REASON_POLICY);
		run(1000);
	}
	check_wire(&t, "10.0.0.1");
	assert_int_equal(asked(), 1);
	routes_change(&host[0], false);
	run(QUIET_MS + 1);
	assert_int_equal(shown(&t), REASON_NONE);
}

/* A better route leads to where the peer does not want us, for as long as that
 * is so. */
static void a_denied_better_route_is_shown(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	deny("\"10.0.0.9/32\"");
	addr_add(&host[0], "10.0.0.9", 3);
	run(200);
	for (int i = 0; i < 400; i++) {
		if (i % 50 == 7)
			routes_change(&host[0], false);
		if (own_track_of(&t)->mover.state == MOVER_STEADY)
			assert_int_equal(shown(&t), REASON_POLICY);
		run(100);
	}
	check_wire(&t, "10.0.0.1");
	deny("\"10.0.0.8/32\"");
	run(60000);
	check_wire(&t, "10.0.0.9");
	assert_int_equal(shown(&t), REASON_NONE);
}

/* By the time that the move is done its packets leave by the old interface:
 * there is nothing later to tell that by. */
static void a_route_that_goes_back_meanwhile(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 3);
	for (int i = 0; own_track_of(&t)->mover.state == MOVER_STEADY; i++) {
		assert_true(i < 5000);
		settle_once();
		clock_ms += !n_post;
	}
	host[0].metric[3] = 1000;
	routes_change(&host[0], false);
	run(5000);
	check_wire(&t, "10.0.0.1");
}

static void who_moves_too_often_is_told(void **state)
{
	const char *at[] = { "10.0.0.9", "10.0.0.1" };
	struct tuple t = connection(40000);
	unsigned int n = 0;
	struct addr to;
	int err;

	(void)state;
	run(3000);
	addr_add(&host[0], at[0], 2);
	do {
		to = address(at[n % 2]);
		err = handover_move(own_track_of(&t), &to, clock_ms);
		n += !err;
		run(2);
	} while (!err);
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(n, MIGRATE_BURST - MIGRATE_RESERVE);
	run(MIGRATE_TOKEN_MS);
	assert_int_equal(handover_move(own_track_of(&t), &to, clock_ms), 0);
}

/* Neither end lets it wait for the tokens of those moves. */
static void an_address_that_goes_then_waits_for_nothing(void **state)
{
	const char *at[] = { "10.0.0.9", "10.0.0.1" };
	struct tuple t = connection(40000);
	unsigned int n = 0;
	struct addr to;

	(void)state;
	run(3000);
	addr_add(&host[0], at[0], 2);
	do {
		to = address(at[n++ % 2]);
		run(5);
	} while (!handover_move(own_track_of(&t), &to, clock_ms));
	to = mover_current(&own_track_of(&t)->mover)->addr;
	n = addr_equal(&to, &(struct addr){ .family = 4,
					     .byte = { 10, 0, 0, 1 } });
	addr_remove(&host[0], at[n]);
	run(20);
	check_wire(&t, at[!n]);
	assert_int_equal(host[1].d->counters.value[COUNTER_MOVES_PACED], 0);
}

/* A look asks for the route of every track. */
static void events_that_never_end_have_a_look_a_second(void **state)
{
	struct tuple t = connection(40000);
	uint64_t looks[2] = { 0, 0 }, last = 0, end;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	for (int i = 0; i < 2; i++)
		for (end = clock_ms + 30000; clock_ms < end;) {
			routes_change(&host[0], false);
			run(QUIET_MS + 10);
			looks[i] += host[0].d->looks.last_ms != last;
			last = host[0].d->looks.last_ms;
		}
	assert_in_range(looks[0], 30, 50); /* the first ones are free */
	assert_in_range(looks[1], 25, 31);
	/* Once there has been none for a while they are again. */
	run(60000);
	for (int i = 0; i < 3; i++) {
		routes_change(&host[0], false);
		run(QUIET_MS + 1);
		assert_true(clock_ms - host[0].d->looks.last_ms <= 1);
	}
}

/* The locator is gone, and no other comes. */
static void nothing_is_held_for_as_long_as_the_hold(void **state)
{
	struct tuple t = tuple_of("10.0.0.1", 40000, "10.0.0.2", 53);
	struct tuple r;
	uint32_t id;

	(void)state;
	t.proto = IPPROTO_UDP;
	r = tuple_reverse(&t);
	socket_add(&host[0], &t);
	socket_add(&host[1], &r);
	run(9000);
	assert_true(both_own(&t));
	addr_remove(&host[0], "10.0.0.1");
	assert_true(flow_at(&host[0], &t)->hold);
	id = packet_queue(&host[0], &t, true);
	on_queue_out(0, host[0].d);
	run(STALE_DATAGRAM_MS - 1000);
	assert_int_equal(host[0].fate[id], WAITS);
	assert_int_equal(host[0].d->hold.packets.used, 1);
	run(2000);
	assert_int_equal(host[0].fate[id], DROPPED);
	assert_int_equal(host[0].d->hold.packets.used, 0);
	assert_true(flow_at(&host[0], &t)->hold);
}

/* One word of the peer's, which nothing follows. */
static void the_word_of_a_sync_holds_for_a_while(void **state)
{
	struct tuple t = connection(40000);
	struct wire_sync said;
	struct flow *f;
	struct track *s;

	(void)state;
	run(4000);
	s = seen_track_of(&t);
	f = LIST_FIRST(&s->group.flows);
	handover_sync_fill(own_track_of(&t)->assoc, &said);
	assert_int_equal(said.n_own, 1);
	said.own[0].seq = 5;
	said.own[0].locator = address("10.0.0.66");
	handover_sync(s->assoc, clock_ms, &said);
	assert_true(f->hold);
	run(MIGRATE_LEASE_MS - 1000);
	assert_true(f->hold);
	run(2000);
	assert_false(f->hold);
	check_wire(&t, "10.0.0.1");
	assert_int_equal(host[1].d->counters.value[COUNTER_HOLDS_ENDED], 1);
	/* And it moves as ever. */
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(3000);
	check_wire(&t, "10.0.0.9");
}

/* One that nobody waits for is no word at all. */
static void an_unasked_sync_ack_says_nothing(void **state)
{
	struct tuple t = connection(40000);
	struct peer *p;
	struct addr from = t.remote.addr, to = t.local.addr;
	struct wire_message m = { .type = WIRE_SYNC_ACK };

	(void)state;
	run(4000);
	p = peer_next(host[1].d->peers, NULL);
	handover_sync_fill(seen_track_of(&t)->assoc, &m.sync);
	assert_int_equal(m.sync.n_own, 1);
	m.sync.own[0].seq = 5;
	m.sync.own[0].locator = address("10.0.0.66");
	assert_int_equal(peer_send(p, clock_ms, &from, &to, &m, 0), 0);
	run(10);
	assert_false(flow_at(&host[0], &t)->hold);
	/* As a question it counts. */
	m.type = WIRE_SYNC;
	assert_int_equal(peer_send(p, clock_ms, &from, &to, &m, 0), 0);
	run(10);
	assert_true(flow_at(&host[0], &t)->hold);
}

/* Two flows of one track of the peer's, at two locators of ours: what both
 * accept counts, not only what each is sent by. */
static void a_clash_where_one_drains_is_found(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t), u, v;
	struct addr at = address("10.0.0.12"), home = address("10.0.0.2");
	const struct locator to = { .addr = address("10.0.0.9"), .ports = 99 };
	struct flow *two[2];
	struct wire_refuse clash;

	(void)state;
	run(3000);
	addr_add(&host[1], "10.0.0.12", 2);
	assert_int_equal(handover_move(track_of(flow_at(&host[1], &r),
						FLOW_OURS), &at, clock_ms), 0);
	run(5000);
	u = connection(40001);
	v = tuple_reverse(&u);
	run(5000);
	assert_true(both_own(&u));
	two[0] = flow_at(&host[1], &r);
	two[1] = flow_at(&host[1], &v);
	assert_ptr_equal(track_of(two[0], FLOW_THEIRS),
			 track_of(two[1], FLOW_THEIRS));
	assert_ptr_not_equal(track_of(two[0], FLOW_OURS),
			     track_of(two[1], FLOW_OURS));
	for (int i = 0; i < 2; i++) {
		assert_non_null(flow_transit(two[i]));
		two[i]->transit->next[FLOW_THEIRS].ports = to.ports;
		two[i]->transit->next[FLOW_THEIRS].port = 50000;
	}
	memset(&clash, 0, sizeof(clash));
	assert_int_equal(track_clashes(seen_track_of(&t), &to, &clash), 0);
	assert_int_equal(clash.n, 0);
	assert_int_equal(flow_accept(two[0], FLOW_OURS, &home, 0), 0);
	assert_true(track_may_clash(seen_track_of(&t)));
	assert_int_equal(track_clashes(seen_track_of(&t), &to, &clash), 0);
	assert_int_equal(clash.n, 1);
	flow_unaccept(two[0], FLOW_OURS, &home, 0);
}

/* ---- what is offered and not proved ---------------------------------------- */

/* Client asks for 10.0.0.9, and hears nothing of it. */
static struct tuple offered(void)
{
	struct tuple t = connection(40000);

	run(3000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	while (seen_track_of(&t)->follower.state != FOLLOWER_OFFERED)
		settle_once();
	lose_post = true;
	return t;
}

static struct tuple offered_wire(const struct tuple *t)
{
	struct tuple wire = tuple_reverse(t);

	wire.remote.addr = address("10.0.0.9");
	return wire;
}

/* As it comes, and as it goes. */
static enum fate fate_of(const struct tuple *t, bool out, uint8_t flags)
{
	struct tuple sent = out ? *t : tuple_reverse(t);
	uint32_t id = packet_queue_flags(&host[1], &sent, out, flags);

	host[1].fate[id] = WAITS;
	(void)pktq_read(out ? host[1].d->queue_out : host[1].d->queue_in);
	return host[1].fate[id];
}

#define SYN 0x02
#define RST 0x04
#define ACK 0x10

/* Whoever asks for a connection is as near to the truth as who has asked for a
 * move: it reaches our stack, and so does what follows. */
static void a_syn_beats_an_offer(void **state)
{
	struct tuple t = offered(), wire = offered_wire(&t);
	struct tuple r = tuple_reverse(&t);

	(void)state;
	assert_int_equal(fate_of(&wire, false, ACK), REWRITTEN);
	assert_int_equal(fate_of(&wire, false, SYN), ACCEPTED);
	assert_int_equal(fate_of(&wire, true, SYN | ACK), ACCEPTED);
	assert_int_equal(fate_of(&wire, false, ACK), ACCEPTED);
	assert_null(element(&host[1], SET_RECV, &wire));
	/* Nobody lives there: what the flow's own packets draw stays here. */
	assert_int_equal(fate_of(&wire, true, RST), DROPPED);
	socket_add(&host[1], &wire);
	run(1100);
	assert_int_equal(fate_of(&wire, true, RST), ACCEPTED);
	assert_int_equal(host[1].d->counters.value[COUNTER_PKT_STRANGER_SYN],
			 0);
	(void)r;
}

/* Proved, the flow is translated again: nobody has answered that SYN. */
static void a_proof_beats_a_syn(void **state)
{
	struct tuple t = offered(), wire = offered_wire(&t);

	(void)state;
	assert_int_equal(fate_of(&wire, false, SYN), ACCEPTED);
	lose_post = false;
	run(3000);
	check_wire(&t, "10.0.0.9");
	assert_int_equal(fate_of(&wire, false, SYN), DROPPED);
	assert_int_equal(fate_of(&wire, false, ACK), REWRITTEN);
}

/* A socket that nobody knew of is left alone, and who is proved to be there
 * sends by another port. */
static void a_living_socket_beats_a_proof(void **state)
{
	struct tuple t = offered(), wire = offered_wire(&t), now;
	struct tuple r = tuple_reverse(&t);

	(void)state;
	socket_add(&host[1], &wire);
	run(1100);
	assert_int_equal(fate_of(&wire, false, ACK), ACCEPTED);
	lose_post = false;
	run(1);
	while (seen_track_of(&t)->follower.committed == 0) {
		run(1);
		assert_true(clock_ms < 1020000);
	}
	assert_int_equal(fate_of(&wire, false, ACK), ACCEPTED);
	run(5000);
	now = flow_wire_tuple(flow_at(&host[1], &r));
	assert_int_not_equal(now.local.port, 22);
	assert_int_equal(now.remote.port, 40000);
	assert_ptr_equal(flow_find_wire(&host[1].d->flows, &now),
			 flow_at(&host[1], &r));
	assert_int_equal(fate_of(&wire, false, ACK), ACCEPTED);
}

/* Found when the table has room for nobody. */
static void a_proved_tuple_is_moved_away(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t), wire, now;

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	host[1].d->flows.max_flows = host[1].d->flows.by_identity.n;
	wire = offered_wire(&t);
	socket_add(&host[1], &wire);
	run(10000);
	now = flow_wire_tuple(flow_at(&host[1], &r));
	assert_int_not_equal(now.local.port, 22);
	assert_null(flow_find_wire(&host[1].d->flows, &wire));
	run(70000);
	assert_null(element(&host[1], STEER_DROP, &wire));
}

/* One of the mover's own wants the tuple that it has asked for: other ports are
 * asked for. */
static void an_own_connection_beats_a_move(void **state)
{
	struct tuple t = offered(), wire = t, now;
	uint32_t id;

	(void)state;
	wire.local.addr = address("10.0.0.9");
	id = packet_queue_flags(&host[0], &wire, true, SYN);
	host[0].fate[id] = WAITS;
	(void)pktq_read(host[0].d->queue_out);
	assert_int_equal(host[0].fate[id], ACCEPTED);
	socket_add(&host[0], &wire);
	lose_post = false;
	run(3000);
	now = flow_wire_tuple(flow_at(&host[0], &t));
	assert_true(addr_equal(&now.local.addr, &wire.local.addr));
	assert_int_not_equal(now.local.port, 40000);
	assert_null(flow_find_wire(&host[0].d->flows, &wire));
}

/* What nobody has proved to have is nobody's when the offer is over. */
static void an_offer_leaves_no_tombstone(void **state)
{
	struct tuple t = offered(), wire = offered_wire(&t);

	(void)state;
	socket_end(&host[0], &t); /* it asks no more */
	run(MIGRATE_LEASE_MS + 100);
	assert_null(element(&host[1], STEER_DROP, &wire));
	assert_false(flow_tombstone_is(&host[1].d->flows, &wire));
	assert_int_equal(fate_of(&wire, false, SYN), ACCEPTED);
	assert_int_equal(fate_of(&wire, false, ACK), ACCEPTED);
	assert_int_equal(fate_of(&wire, true, RST), DROPPED);
	assert_non_null(element(&host[1], STEER_IN, &wire));
	run(FLOW_QUIET_MS);
	assert_null(element(&host[1], STEER_IN, &wire));
	assert_int_equal(host[1].d->flows.wires.n, 0);
}

/* The last of that type, from host 0 (`mover`) or host 1, went between N and P,
 * and there was one since the last look. */
static void check_way(bool mover, uint8_t type)
{
	struct host *h = &host[!mover];
	const struct addr n = address("10.0.0.9"), p = address("10.0.0.2");

	print_message("# host %d, %s\n", !mover, wire_type_name(type));
	assert_true(h->sent[type] > 0);
	assert_true(addr_equal(&h->way[type].from, mover ? &n : &p));
	assert_true(addr_equal(&h->way[type].to, mover ? &p : &n));
	h->sent[type] = 0;
}

static void forget_sent(void)
{
	for (int i = 0; i < 2; i++)
		memset(host[i].sent, 0, sizeof(host[i].sent));
}

/* sacip(7), "Paths": after a move to an address that is new to both. */
static void each_message_goes_its_way(void **state)
{
	static const uint8_t of_a_move[][2] = {
		{ true, WIRE_MOVE }, { false, WIRE_ACCEPT },
		{ true, WIRE_PROVE }, { false, WIRE_DONE },
		{ true, WIRE_PROBE }, { false, WIRE_PROBE_ACK },
	};
	struct tuple t = connection(40000), other = connection(40001);
	struct addr n = address("10.0.0.9");

	(void)state;
	run(4000);
	assert_true(both_own(&t) && both_own(&other));
	addr_add(&host[0], "10.0.0.9", 2);
	forget_sent();
	addr_remove(&host[0], "10.0.0.1");
	run(2000);
	for (size_t i = 0; i < sizeof(of_a_move) / sizeof(*of_a_move); i++)
		check_way(of_a_move[i][0], of_a_move[i][1]);

	forget_sent();
	for (int i = 0; i < 2; i++) {
		struct assoc *a = LIST_FIRST(&host[i].d->assocs);

		claim_table_announce(a->claims, clock_ms);
		assoc_touch(a);
	}
	run(2000);
	check_way(true, WIRE_FLOWS);
	check_way(false, WIRE_FLOWS_ACK);
	check_way(false, WIRE_FLOWS);
	check_way(true, WIRE_FLOWS_ACK);

	peer_rehandshake(peer_next(host[0].d->peers, NULL), clock_ms, &n,
			 &t.remote.addr);
	run(2000);
	check_way(true, WIRE_INIT);
	check_way(false, WIRE_RESP);
	check_way(true, WIRE_FIN);
	check_way(true, WIRE_SYNC);
	check_way(false, WIRE_SYNC_ACK);
	check_way(false, WIRE_SYNC);
	check_way(true, WIRE_SYNC_ACK);

	forget_sent();
	socket_end(&host[0], &t);
	run(2000);
	check_way(true, WIRE_FLOW_END);
	check_way(false, WIRE_FLOW_END_ACK);
	stop(host[0].d);
	check_way(true, WIRE_BYE);
}

/* Where flows have moved to nobody answers any more: another host may have that
 * address by now, and gets no more of them, until the peer answers there again.
 * A flow that is where it began goes on, whatever its peer says. */
static void what_has_moved_waits_for_an_answer(void **state)
{
	struct tuple t = connection(40000);
	struct tuple r = tuple_reverse(&t), rest[2];
	struct addr at = address("10.0.0.9");
	uint64_t valid_ms;
	struct flow *f;

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	addr_add(&host[0], "10.0.0.1", 2);
	rest[0] = connection(40001);
	rest[1] = tuple_reverse(&rest[0]);
	run(5000);
	assert_true(both_own(&rest[0]));
	f = flow_at(&host[1], &r);
	run(100000); /* it is renewed */
	assert_false(f->hold);
	valid_ms = peer_remote_validated_ms(f->peer, &at);
	assert_in_range(clock_ms - valid_ms, 0, PEER_RENEW_MS + 1000);
	lose_post = true;
	while (!f->hold) {
		run(100);
		assert_true(clock_ms - valid_ms < PEER_VALID_MS + 30000);
	}
	assert_true(clock_ms - valid_ms >= PEER_VALID_MS);
	assert_int_equal(waiting_reason(f), REASON_PEER_AWAY);
	assert_non_null(element(&host[1], STEER_OUT, &r));
	assert_null(element(&host[1], SET_SEND, &r));
	assert_false(flow_at(&host[1], &rest[1])->hold);
	run(60000);
	assert_true(f->hold);
	lose_post = false;
	run(61000);
	assert_false(f->hold);
	assert_int_equal(waiting_reason(f), REASON_NONE);
	run(1000);
	assert_non_null(element(&host[1], SET_SEND, &r));
}

/* Flows of both hosts that have moved once, and go unanswered. */
static struct tuple unanswered(bool acknowledged)
{
	struct tuple t = connection(40000);

	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	for (size_t i = 0; acknowledged && i < host[1].n_sock; i++)
		host[1].sock[i].info.last_ack_recv_ms = 0;
	lose_post = true;
	run(100000);
	return tuple_reverse(&t);
}

/* A daemon that has gone may leave a host behind that translates on: what that
 * acknowledges has it where it was. */
static void not_where_its_host_acknowledges(void **state)
{
	struct tuple r = unanswered(true);
	struct flow *f = flow_at(&host[1], &r);

	(void)state;
	assert_false(f->hold);
	host[1].sock[0].info.last_ack_recv_ms = PEER_VALID_MS + 1000;
	run(PEER_RENEW_MS + 20000);
	assert_true(f->hold);
	track_of(f, FLOW_THEIRS)->others_ms = clock_ms + 5000;
	host[1].sock[0].info.last_ack_recv_ms = 0; /* or from elsewhere */
	run(4000);
	assert_true(f->hold);
	run(2000); /* it came back */
	run(DUMP_INTERVAL_MS + 100);
	assert_false(f->hold);
}

/* Nobody sees a MOVE's source from elsewhere, and none is proved. */
static void nor_where_it_asks_for_what_it_has(void **state)
{
	struct tuple r = unanswered(false);
	struct flow *f = flow_at(&host[1], &r);
	struct track *t = track_of(f, FLOW_THEIRS);
	struct follower_event ev = {
		.type = FOLLOWER_MOVE,
		.seq = t->follower.committed + 1,
		.source = t->follower.sending.addr,
		.to = t->follower.sending,
	};

	(void)state;
	assert_true(f->hold);
	handover_step_follower(t, &ev, clock_ms);
	assert_int_equal(t->follower.committed, ev.seq);
	assert_true(f->hold);
	run(20000);
	assert_true(f->hold);
}

/* What was away is our own way: it is asked for when that changes. */
static void who_comes_back_himself_asks_at_once(void **state)
{
	struct tuple r = unanswered(false);
	struct flow *f = flow_at(&host[1], &r);

	(void)state;
	run(100000);
	assert_true(f->hold);
	run(1000 - clock_ms % 1000);
	lose_post = false;
	routes_change(&host[1], false);
	run(1000);
	assert_false(f->hold);
}

/* The kernel refuses for a while. */
static void what_cannot_go_on_is_tried_again(void **state)
{
	struct tuple r = unanswered(false);
	struct flow *f = flow_at(&host[1], &r);

	(void)state;
	assert_true(f->hold);
	host[1].steer_error = -ENOBUFS;
	lose_post = false;
	run(121000);
	assert_true(f->hold);
	host[1].steer_error = 0;
	run(61000);
	assert_false(f->hold);
	assert_int_equal(waiting_reason(f), REASON_NONE);
}

/* Or until it proves to be elsewhere. */
static void or_for_a_proof_elsewhere(void **state)
{
	struct tuple t = connection(40000);
	struct tuple r = tuple_reverse(&t);
	struct flow *f;

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	f = flow_at(&host[1], &r);
	lose_post = true;
	run(100000);
	assert_true(f->hold);
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(100);
	lose_post = false;
	run(20000);
	check_wire(&t, "10.0.0.10");
	assert_false(f->hold);
	assert_int_equal(waiting_reason(f), REASON_NONE);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(a_few_flows_wait_for_no_dump),
		WORLD(nor_do_many),
		WORLD(a_crowd_is_asked_about_alone),
		WORLD(a_young_socket_keeps_its_tuple),
		WORLD(a_young_socket_at_the_peer_too),
		WORLD(looks_for_a_peer_are_bounded),
		WORLD(a_clash_where_one_drains_is_found),
		WORLD(a_syn_beats_an_offer),
		WORLD(a_proof_beats_a_syn),
		WORLD(a_living_socket_beats_a_proof),
		WORLD(a_proved_tuple_is_moved_away),
		WORLD(an_own_connection_beats_a_move),
		WORLD(an_offer_leaves_no_tombstone),
		WORLD(what_has_moved_waits_for_an_answer),
		WORLD(or_for_a_proof_elsewhere),
		WORLD(not_where_its_host_acknowledges),
		WORLD(nor_where_it_asks_for_what_it_has),
		WORLD(who_comes_back_himself_asks_at_once),
		WORLD(what_cannot_go_on_is_tried_again),
		WORLD(a_hold_and_its_locator_go_together),
		WORLD(a_refused_locator_ends_no_hold),
		WORLD(a_hold_ends_when_a_route_leads),
		WORLD(a_hold_ends_when_the_gateway_answers),
		WORLD(a_route_is_awaited_at_each_return),
		WORLD(a_route_is_not_awaited_for_ever),
		WORLD(the_allowed_address_is_found_first),
		WORLD(the_allowed_address_is_found_between),
		WORLD(the_allowed_address_is_found_last),
		WORLD(sources_are_asked_for_in_the_kernels_order),
		WORLD(denied_addresses_are_asked_for_now_and_then),
		WORLD(a_denied_wish_is_shown),
		WORLD(a_denied_better_route_is_shown),
		WORLD(a_route_that_goes_back_meanwhile),
		WORLD(who_moves_too_often_is_told),
		WORLD(an_address_that_goes_then_waits_for_nothing),
		WORLD(events_that_never_end_have_a_look_a_second),
		WORLD(nothing_is_held_for_as_long_as_the_hold),
		WORLD(an_unasked_sync_ack_says_nothing),
		WORLD(each_message_goes_its_way),
		WORLD(the_word_of_a_sync_holds_for_a_while),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
