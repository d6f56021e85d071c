/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * account: what goes to an address that has answered no challenge lately, by
 * whole daemons on kernels of paper. The peer of host 0, host 1, was at the
 * address NOWHERE, and speaks in its name when it is there no longer; bytes
 * are counted in both directions.
 */
#include "world.h"

#define place peer_place
#include "peer_impl.h"
#undef place

#define NOWHERE "10.0.0.77"
#define HOUR_MS 3600000

static uint64_t spoken; /* bytes in its name */
static struct letter forged;

static int catch(void *arg, const struct endpoint *src,
		 const struct endpoint *dst, const uint8_t *data, size_t len)
{
	(void)arg;
	memset(&forged, 0, sizeof(forged));
	forged.src = *src;
	forged.dst = *dst;
	forged.len = len;
	memcpy(forged.data, data, len);
	return 0;
}

/* Host 1 says so from NOWHERE, in the session that it has. */
static void forge(struct wire_message *m)
{
	struct peer *p = peer_next(host[1].d->peers, NULL);
	struct endpoint from = { address(NOWHERE), 1021 };
	struct endpoint to = { address("10.0.0.1"), 1021 };
	int (*send)(void *, const struct endpoint *, const struct endpoint *,
		    const uint8_t *, size_t) = p->table->ops.send;

	p->table->ops.send = catch;
	assert_int_equal(session_send(p->session[0], clock_ms, STANDING_VALID,
				      &from, &to, m, 0), 0);
	p->table->ops.send = send;
	spoken += forged.len;
	deliver(&forged);
	settle();
	assert_in_range(lost_bytes, 0, spoken);
}

/* A flow that is owned; then the peer is seen at NOWHERE, last of all, and an
 * hour passes in which nobody says anything. */
static struct tuple meet(void)
{
	struct tuple t = connection(40000);
	struct addr nowhere = address(NOWHERE);
	struct peer_path best;

	run(5000);
	assert_true(both_own(&t));
	addr_add(&host[1], NOWHERE, 2);
	run(3000);
	peer_rehandshake(peer_next(host[1].d->peers, NULL), clock_ms, &nowhere,
			 &t.local.addr);
	run(10);
	lost_at = nowhere;
	addr_remove(&host[1], NOWHERE);
	run(2000);
	clock_ms += HOUR_MS;
	run(3000);
	assert_true(assoc_best_path(peer_user(peer_next(host[0].d->peers, NULL)),
				    &best));
	assert_true(addr_equal(&best.remote.addr, &nowhere));
	lost_bytes = lost_letters = lost_asked = spoken = 0;
	return t;
}

/* Since meet(), so many seconds ago: what is owed, and what we may ask. */
static void check_asked(unsigned int seconds)
{
	assert_in_range(lost_bytes, 0, spoken);
	assert_in_range(lost_asked, 0,
			PEER_OWN_BURST + seconds * 1000 / PEER_OWN_REFILL_MS);
}

/* Of our own accord, while it is not valid: for a minute it is. */
static void check_said(unsigned int seconds)
{
	print_message("# %llu datagrams in %u s\n",
		      (unsigned long long)(lost_asked + lost_letters),
		      seconds);
	assert_in_range(lost_asked + lost_letters, 10,
			100 + PEER_OWN_BURST +
				seconds * 1000 / PEER_OWN_REFILL_MS);
}

/* ---- attacks ----------------------------------------------------------- */

static void flows_ack_from_elsewhere(void **state)
{
	struct wire_message m;

	(void)state;
	meet();
	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS_ACK;
	m.flows_ack.parts = 1;
	m.flows_ack.n = WIRE_FLOWS_ACK_MAX;
	for (unsigned int i = 0; i < WIRE_FLOWS_ACK_MAX; i++) {
		m.flows_ack.flow[i].flow_id = 1000 + i;
		m.flows_ack.flow[i].place.track = 1;
		m.flows_ack.flow[i].place.at = address(NOWHERE);
	}
	forge(&m);
	/* One answer for all of them. */
	assert_int_equal(lost_letters, 1);
	run(60000);
	check_asked(0);
	assert_int_equal(host[0].sent[WIRE_FLOW_END], 1);
}

#define ENDED 100

/* The peer's address is not valid any more, nor does it answer: of our own
 * accord all ends are told at once, in datagrams of PEER_OWN_SIZE. */
static void ends_wait_for_no_answer(void **state)
{
	const unsigned int each =
		(PEER_OWN_SIZE - WIRE_FLOW_END_SIZE(0)) / 8;
	struct tuple t[ENDED];
	unsigned int before;

	(void)state;
	for (uint16_t i = 0; i < ENDED; i++)
		t[i] = connection((uint16_t)(40000 + i));
	for (unsigned int tries = 0; !both_own(&t[ENDED - 1]); tries++) {
		run(1000);
		assert_true(tries < 100);
	}
	for (size_t i = 0; i < host[0].n_sock; i++)
		host[0].sock[i].info.last_data_sent_ms =
			host[0].sock[i].info.last_data_recv_ms = HOUR_MS / 10;
	run(2 * PEER_VALID_MS);
	lose_post = true;
	before = host[0].sent[WIRE_FLOW_END];
	for (unsigned int i = 0; i < ENDED; i++)
		socket_end(&host[0], &t[i]);
	assert_int_equal(discover_dump(host[0].d, clock_ms), 0);
	run(2);
	assert_int_equal(host[0].sent[WIRE_FLOW_END] - before,
			 (ENDED + each - 1) / each);
}

static void sync_from_elsewhere(void **state)
{
	struct wire_message m;

	(void)state;
	meet();
	memset(&m, 0, sizeof(m));
	m.type = WIRE_SYNC;
	m.sync.flow_count = 7;
	for (unsigned int i = 0; i < 60; i++) {
		forge(&m);
		run(1000);
		check_asked(i + 1);
	}
	run(60000);
	check_asked(120);
}

static void probe_in_an_old_session(void **state)
{
	uint64_t attempts;
	struct wire_message m;

	(void)state;
	meet();
	attempts = host[0].d->counters.value[COUNTER_HS_ATTEMPTS];
	memset(&m, 0, sizeof(m));
	m.type = WIRE_PROBE;
	for (int i = 0; i < 35; i++) {
		m.probe.token[3] = (uint8_t)i;
		forge(&m);
	}
	/* Answered they are. */
	assert_int_equal(lost_bytes, spoken);
	run(60000);
	assert_int_equal(lost_bytes, spoken);
	assert_int_equal(lost_asked, 0);
	assert_int_equal(host[0].d->counters.value[COUNTER_HS_ATTEMPTS],
			 attempts);
}

/* What it asks for is answered by no more than it said, nor later by us. */
static void every_message_from_elsewhere(void **state)
{
	static const uint8_t types[] = {
		WIRE_FLOWS, WIRE_FLOW_END, WIRE_FLOW_END_ACK, WIRE_PROBE_ACK,
		WIRE_MOVE, WIRE_ACCEPT, WIRE_REFUSE, WIRE_PROVE, WIRE_DONE,
		WIRE_SYNC_ACK,
	};
	struct tuple t = meet(), r = tuple_reverse(&t);
	struct flow *f = flow_at(&host[0], &t);
	const struct track *ours = track_of(f, FLOW_OURS);
	const struct track *theirs = track_of(f, FLOW_THEIRS);
	struct wire_message m;

	(void)state;
	for (size_t i = 0; i < sizeof(types); i++) {
		memset(&m, 0, sizeof(m));
		m.type = types[i];
		switch (m.type) {
		case WIRE_FLOWS:
			m.flows.parts = 1;
			m.flows.n = 1;
			m.flows.flow[0].flow_id = f->claim.flow_id;
			m.flows.flow[0].place.track = theirs->id;
			m.flows.flow[0].place.at = r.local.addr;
			m.flows.flow[0].proto = t.proto;
			m.flows.flow[0].src = r.local;
			m.flows.flow[0].dst = r.remote;
			break;
		case WIRE_FLOW_END:
		case WIRE_FLOW_END_ACK:
			m.flow_end.n = 1;
			m.flow_end.flow_id[0] = 4711;
			break;
		case WIRE_MOVE:
			m.move.track = theirs->id;
			m.move.seq = theirs->follower.committed + 1;
			m.move.from = r.local.addr;
			m.move.to = address(NOWHERE);
			m.move.parts = 1;
			m.move.count = theirs->group.digest.count;
			memcpy(m.move.digest, theirs->group.digest.sum,
			       WIRE_DIGEST_SIZE);
			break;
		case WIRE_ACCEPT:
			m.accept.track = ours->id;
			m.accept.seq = 1;
			m.accept.lease_s = 30;
			break;
		case WIRE_REFUSE:
			m.refuse.track = ours->id;
			m.refuse.seq = 1;
			m.refuse.reason = REASON_DIGEST;
			break;
		case WIRE_PROVE:
			m.prove.track = theirs->id;
			m.prove.seq = 1;
			m.prove.to = address(NOWHERE);
			break;
		case WIRE_DONE:
			m.done.track = ours->id;
			m.done.seq = 1;
			break;
		default:
			break;
		}
		for (int k = 0; k < 3; k++) {
			forge(&m);
			run(20);
		}
		run(10000);
		check_asked(10 * (unsigned int)(i + 1));
	}
	assert_true(lost_bytes > 0);
}

/* Nobody can use up what is to be said there to others: not by MOVEs that are
 * refused, and answered by a challenge, at once or when there is a token. */
static void moves_from_elsewhere_leave_some(void **state)
{
	struct tuple t = meet();
	struct flow *f = flow_at(&host[0], &t);
	const struct track *theirs = track_of(f, FLOW_THEIRS);
	struct peer_table *table = host[0].d->peers;
	const struct addr nowhere = address(NOWHERE);
	struct account *a;
	struct wire_message m;
	uint64_t most_ms = 0;

	(void)state;
	for (unsigned int i = 0; i < 600; i++) {
		memset(&m, 0, sizeof(m));
		m.type = WIRE_MOVE;
		m.move.track = theirs->id;
		m.move.seq = theirs->follower.floor + 1;
		m.move.from = m.move.to = nowhere;
		m.move.parts = 1;
		m.move.count = 4711;
		forge(&m);
		run(100);
		HASH_FIND(hh, table->accounts, &nowhere, sizeof(nowhere), a);
		if (a && a->own_full_ms > clock_ms + most_ms)
			most_ms = a->own_full_ms - clock_ms;
	}
	check_asked(60);
	print_message("# up to %llu of %d used\n",
		      (unsigned long long)most_ms / PEER_OWN_REFILL_MS,
		      PEER_OWN_BURST);
	assert_in_range(most_ms, PEER_OWN_REFILL_MS,
			(PEER_OWN_BURST - PEER_OWN_RESERVE) *
				PEER_OWN_REFILL_MS);
}

/* ---- who behaves ------------------------------------------------------- */

/* As fast as one that was spoken to just now. */
static void who_was_silent_for_an_hour_moves(void **state)
{
	struct tuple t = connection(40000);
	uint64_t took[2];

	(void)state;
	run(5000);
	for (int i = 0; i < 2; i++) {
		const char *to = i ? "10.0.0.8" : "10.0.0.9";

		if (i)
			clock_ms += HOUR_MS;
		run(100);
		addr_add(&host[0], to, 2);
		took[i] = clock_ms;
		addr_remove(&host[0], i ? "10.0.0.9" : "10.0.0.1");
		while (track_of(flow_at(&host[0], &t), FLOW_OURS)->moves <=
		       (uint64_t)i) {
			run(1);
			assert_true(clock_ms - took[i] < 5000);
		}
		took[i] = clock_ms - took[i];
		check_wire(&t, to);
		run(5000);
	}
	print_message("# after %llu ms, and after an hour %llu ms\n",
		      (unsigned long long)took[0],
		      (unsigned long long)took[1]);
	assert_in_range(took[1], 0, took[0] + 1);
}

/* Until the flow has moved to that address, from the one before. */
static uint64_t move_takes_ms(const struct tuple *t, const char *from,
			      const char *to)
{
	struct track *ours = track_of(flow_at(&host[0], t), FLOW_OURS);
	const uint64_t moves = ours->moves, began_ms = clock_ms;

	addr_add(&host[0], to, 2);
	addr_remove(&host[0], from);
	while (ours->moves == moves) {
		run(1);
		assert_true(clock_ms - began_ms < 60000);
	}
	return clock_ms - began_ms;
}

#define LOSSY_MOVES 300

/* The same where three of ten datagrams are lost: half of them wait for one
 * timer at least. */
static void a_lossy_path_takes_no_longer(void **state)
{
	struct tuple t = connection(40000);
	uint64_t took[2] = { 0, 0 };

	(void)state;
	run(5000);
	lose_seed = 1;
	for (int i = 0; i < LOSSY_MOVES; i++) {
		/* In turn, after a second and after an hour. */
		clock_ms += i % 2 ? HOUR_MS : 1000;
		run(100);
		lose_percent = 30;
		took[i % 2] += move_takes_ms(&t,
					     i % 2 ? "10.0.0.9" : "10.0.0.1",
					     i % 2 ? "10.0.0.1" : "10.0.0.9");
		lose_percent = 0;
		run(10000);
	}
	print_message("# on average %llu ms, and after an hour %llu ms\n",
		      (unsigned long long)took[0] / (LOSSY_MOVES / 2),
		      (unsigned long long)took[1] / (LOSSY_MOVES / 2));
	assert_in_range(took[1], 0, 2 * took[0]);
}

/* Nothing passes for five minutes: what we may say by then is little, and it
 * is enough. */
static void the_end_of_an_outage_is_noticed(void **state)
{
	struct tuple t = connection(40000);
	struct track *ours;
	uint64_t ended_ms;

	(void)state;
	run(5000);
	ours = track_of(flow_at(&host[0], &t), FLOW_OURS);
	lost_at = t.remote.addr;
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(300000);
	assert_int_equal(ours->moves, 0);
	check_said(300);
	memset(&lost_at, 0, sizeof(lost_at));
	ended_ms = clock_ms;
	while (!ours->moves) {
		run(1);
		assert_true(clock_ms - ended_ms < 60000);
	}
	print_message("# %llu ms after an outage\n",
		      (unsigned long long)(clock_ms - ended_ms));
	assert_in_range(clock_ms - ended_ms, 0, 20000);
	run(100);
	check_wire(&t, "10.0.0.9");
}

/* Both at once, to addresses that neither knows of the other. */
static void both_were_silent_for_an_hour_and_move(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	uint64_t began_ms;

	(void)state;
	run(5000);
	clock_ms += HOUR_MS;
	run(100);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_add(&host[1], "10.0.0.6", 2);
	addr_deprecate(&host[0], "10.0.0.1");
	addr_deprecate(&host[1], "10.0.0.2");
	began_ms = clock_ms;
	while (!track_of(flow_at(&host[0], &t), FLOW_OURS)->moves ||
	       !track_of(flow_at(&host[1], &r), FLOW_OURS)->moves) {
		run(1);
		assert_true(clock_ms - began_ms < 10000);
	}
	print_message("# both after %llu ms\n",
		      (unsigned long long)(clock_ms - began_ms));
	check_wire(&t, "10.0.0.9");
}

static void a_flow_of_an_hour_later_is_owned(void **state)
{
	struct tuple t = connection(40000), u;

	(void)state;
	run(5000);
	assert_true(both_own(&t));
	clock_ms += HOUR_MS;
	run(100);
	u = connection(40001);
	run(5000);
	assert_true(both_own(&u));
	/* The session that had grown old was replaced meanwhile. */
	assert_true(peer_session_age_ms(peer_next(host[0].d->peers, NULL),
					clock_ms) < 10000);
}

static void an_end_of_an_hour_later_is_told(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);

	(void)state;
	run(5000);
	clock_ms += HOUR_MS;
	run(100);
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	run(3000);
	check_empty(&host[0]);
	check_empty(&host[1]);
}

/* As of when the address of the other end is known to be valid. */
static uint64_t age_ms(unsigned int i)
{
	struct addr to = address(i ? "10.0.0.1" : "10.0.0.2");

	return clock_ms - peer_remote_validated_ms(
				  peer_next(host[i].d->peers, NULL), &to);
}

static void say_silent(bool silent)
{
	for (int i = 0; i < 2; i++) {
		host[i].sock[0].info.last_data_sent_ms = silent ? HOUR_MS : 0;
		host[i].sock[0].info.last_data_recv_ms = silent ? HOUR_MS : 0;
	}
}

static void where_packets_go_stays_valid(void **state)
{
	struct tuple t = connection(40000);
	uint32_t probes;

	(void)state;
	say_silent(false);
	run(5000);
	assert_true(both_own(&t));
	for (int s = 0; s < 200; s++) {
		run(1000);
		assert_true(age_ms(0) < PEER_VALID_MS);
		assert_true(age_ms(1) < PEER_VALID_MS);
	}
	assert_in_range(age_ms(0), 0, PEER_RENEW_MS + 1000);
	/* Without packets nobody asks. */
	say_silent(true);
	run(2 * PEER_RENEW_MS);
	probes = host[0].sent[WIRE_PROBE];
	run(4 * PEER_RENEW_MS);
	assert_int_equal(host[0].sent[WIRE_PROBE], probes);
	assert_true(age_ms(0) >= PEER_VALID_MS);
}

/* Who does not answer is asked three times. */
static void three_misses_end_it(void **state)
{
	struct tuple t = connection(40000);
	uint64_t asked;

	(void)state;
	say_silent(false);
	run(30000);
	assert_true(both_own(&t));
	assert_true(age_ms(0) < PEER_RENEW_MS);
	lost_at = t.remote.addr;
	run(PEER_VALID_MS + PEER_RENEW_MS);
	asked = lost_asked;
	assert_in_range(asked, 3, 100);
	run(10 * PEER_RENEW_MS);
	assert_in_range(lost_asked, asked, asked + 10);
}

/* A flow of the peer's that has moved to NOWHERE, from where the peer speaks on
 * and hears nothing. */
static struct flow *left(void)
{
	struct tuple t = connection(40000), wire;
	struct addr nowhere = address(NOWHERE);

	say_silent(false);
	run(5000);
	assert_true(both_own(&t));
	addr_add(&host[1], NOWHERE, 2);
	addr_remove(&host[1], "10.0.0.2");
	run(5000);
	wire = flow_wire_tuple(flow_at(&host[0], &t));
	assert_true(addr_equal(&wire.remote.addr, &nowhere));
	lost_at = nowhere;
	return flow_at(&host[0], &t);
}

/* Its host translates on without the daemon: it is asked ever less, and as soon
 * as its TCP is not heard any more, at once. */
static void whose_tcp_answers_is_asked_less(void **state)
{
	struct flow *f = left();
	uint64_t asked;

	(void)state;
	host[0].sock[0].info.last_ack_recv_ms = 0;
	run(PEER_VALID_MS + 600000);
	asked = lost_asked;
	run(600000);
	print_message("# %llu more in ten minutes\n",
		      (unsigned long long)(lost_asked - asked));
	assert_in_range(lost_asked - asked, PEER_PROBE_TRIES,
			6 * PEER_PROBE_TRIES);
	assert_false(f->hold);
	host[0].sock[0].info.last_ack_recv_ms = PEER_VALID_MS;
	run(2 * PEER_RENEW_MS);
	assert_true(f->hold);
}

/* It ends the session, but says not that it has stopped. */
static void without_a_session_it_is_held_as_well(void **state)
{
	struct flow *f = left();

	(void)state;
	run(PEER_RENEW_MS);
	peer_table_bye(host[1].d->peers, clock_ms, REASON_LIMIT);
	run(1000);
	assert_false(peer_has_session(peer_next(host[0].d->peers, NULL)));
	assert_false(f->hold);
	run(PEER_VALID_MS + PEER_RENEW_MS);
	assert_true(f->hold);
}

/* As if it had never spoken there: a handshake asks, and its answer ends it. */
static void where_it_never_spoke_it_is_greeted(void **state)
{
	struct peer *p;
	struct flow *f = left();
	uint64_t asked;

	(void)state;
	p = peer_next(host[0].d->peers, NULL);
	lose_post = true; /* it is silent, too */
	path_free_all(p);
	peer_unpin_all(p);
	run(PEER_VALID_MS + PEER_RENEW_MS);
	assert_true(peer_has_session(p));
	assert_true(f->hold);
	asked = lost_asked;
	run(PEER_VALID_MS);
	assert_in_range(lost_asked - asked, 1, 4 * PEER_GREETINGS_MAX);
	lose_post = false;
	memset(&lost_at, 0, sizeof(lost_at));
	run(2 * PEER_VALID_MS);
	assert_false(f->hold);
}

static int begin(void **state)
{
	lost_bytes = lost_letters = lost_asked = spoken = 0;
	return setup(state);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, begin, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(flows_ack_from_elsewhere),
		WORLD(sync_from_elsewhere),
		WORLD(ends_wait_for_no_answer),
		WORLD(probe_in_an_old_session),
		WORLD(every_message_from_elsewhere),
		WORLD(moves_from_elsewhere_leave_some),
		WORLD(who_was_silent_for_an_hour_moves),
		WORLD(a_lossy_path_takes_no_longer),
		WORLD(the_end_of_an_outage_is_noticed),
		WORLD(both_were_silent_for_an_hour_and_move),
		WORLD(a_flow_of_an_hour_later_is_owned),
		WORLD(an_end_of_an_hour_later_is_told),
		WORLD(where_packets_go_stays_valid),
		WORLD(three_misses_end_it),
		WORLD(whose_tcp_answers_is_asked_less),
		WORLD(without_a_session_it_is_held_as_well),
		WORLD(where_it_never_spoke_it_is_greeted),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
