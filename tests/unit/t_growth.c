/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * growth: that nothing grows faster than the number of connections; by whole
 * daemons on kernels of paper.
 *
 * Of all of their code each call of a function is counted, inlined ones too
 * (-finstrument-functions): a walk through all for each shows in that, and a
 * busy machine does not.
 */
#include "crowd.h"

#define HERE "10.0.0.1"
#define THERE "10.0.0.9"
#define FARTHER "10.0.0.10"
#define FEW 2500u
#define WRAPPED 10u /* part of it where each instruction is looked at */
#define PEERS 100u
#define PEERS_WRAPPED 20u
#define PORTS 400u
#define PORTS_WRAPPED 100u
#define TIMES 8u
/* A hash that grows by doubling costs a little more now and then. */
#define MARGIN 1.25

static uint64_t calls;

__attribute__((no_instrument_function)) void __cyg_profile_func_enter(void *f,
								      void *at);
__attribute__((no_instrument_function)) void __cyg_profile_func_exit(void *f,
								     void *at);

void __cyg_profile_func_enter(void *f, void *at)
{
	(void)f, (void)at;
	calls++;
}

void __cyg_profile_func_exit(void *f, void *at)
{
	(void)f, (void)at;
}

/* What was done for so many, in calls. */
enum what {
	TAKEN_IN,
	PROTECTED,
	DUMPED,
	REVIEWED,
	MOVED,
	MOVED_AGAIN,
	DRAINED,
	LISTED,
	WRITTEN,
	RESTARTED,
	ENDED,
	WHATS
};

static const char *const names[WHATS] = {
	"a dump that finds them", "protecting them", "a dump",
	"a look at all", "a move", "a move before the old one is drained",
	"the end of what they had", "a list", "the journal", "a restart",
	"their end",
};

struct cost {
	uint64_t calls[WHATS];
	struct work move[2], again[2];
};

static void count(struct cost *c, enum what what, uint64_t since)
{
	c->calls[what] = calls - since;
}

static void check_sets(const struct host *h, unsigned int flows)
{
	assert_int_equal(h->n_in_set[STEER_PROT], flows);
	assert_int_equal(h->n_in_set[STEER_OUT], flows);
	assert_int_equal(h->n_in_set[STEER_IN], flows);
	assert_int_equal(h->n_in_set[SET_SEND], flows);
	assert_int_equal(h->n_in_set[SET_RECV], flows);
	/* The identity, and one tombstone. */
	assert_int_equal(h->n_in_set[STEER_DROP], 2 * flows);
	assert_int_equal(h->d->counters.value[COUNTER_NFT_ERRORS], 0);
}

static void end_all(void)
{
	for (unsigned int i = 0; i < 2; i++)
		host[i].n_sock = 0;
	while (flow_first(&host[0].d->flows) || flow_first(&host[1].d->flows))
		next_moment();
	for (unsigned int i = 0; i < 2; i++)
		check_empty(&host[i]);
}

/* All that may happen to so many connections. */
static void live(unsigned int flows, struct cost *c)
{
	uint64_t since;

	crowd_open(flows);
	since = calls;
	assert_int_equal(discover_dump(host[0].d, clock_ms), 0);
	count(c, TAKEN_IN, since);
	assert_int_equal(discover_dump(host[1].d, clock_ms), 0);
	/* It takes a time in which there are so many dumps more. */
	host[0].d->dump_ms = host[1].d->dump_ms = clock_ms + CROWD_WAIT_MS;
	host[0].d->review_ms = host[1].d->review_ms = clock_ms;
	since = calls;
	crowd_protect(flows);
	count(c, PROTECTED, since);
	since = calls;
	assert_int_equal(discover_dump(host[0].d, clock_ms), 0);
	count(c, DUMPED, since);
	since = calls;
	discover_review(host[0].d, clock_ms);
	count(c, REVIEWED, since);
	since = calls;
	crowd_move(HERE, THERE);
	count(c, MOVED, since);
	memcpy(c->move, work, sizeof(work));
	since = calls;
	crowd_move(THERE, FARTHER);
	count(c, MOVED_AGAIN, since);
	memcpy(c->again, work, sizeof(work));
	since = calls;
	crowd_drain();
	count(c, DRAINED, since);
	check_sets(&host[0], flows);
	check_sets(&host[1], flows);
	since = calls;
	assert_int_equal(crowd_list(&host[0]), flows);
	count(c, LISTED, since);
	since = calls;
	keep_open(host[0].d);
	count(c, WRITTEN, since);
	host_kill(&host[0]);
	since = calls;
	assert_int_equal(host_start(&host[0]), 0);
	count(c, RESTARTED, since);
	assert_int_equal(crowd_owned(&host[0]), flows);
	assert_int_equal(host[0].n_in_set[SET_SEND], flows);
	since = calls;
	end_all();
	count(c, ENDED, since);
}

static bool in_proportion(const char *what, uint64_t few, uint64_t many)
{
	if ((double)many <= MARGIN * TIMES * (double)few)
		return true;
	printf("# %s: %llu calls, %llu for %u times as many\n", what,
	       (unsigned long long)few, (unsigned long long)many, TIMES);
	return false;
}

static void check_messages(const struct work *w)
{
	assert_int_equal(w[0].sent[WIRE_MOVE], 1);
	assert_int_equal(w[1].sent[WIRE_ACCEPT], 1);
	assert_int_equal(w[0].sent[WIRE_PROVE], 1);
	assert_int_equal(w[1].sent[WIRE_DONE], 1);
	assert_int_equal(w[0].sent[WIRE_FLOWS] + w[1].sent[WIRE_FLOWS], 0);
}

/* One for so many flows, and not the one for all that others would wait for. */
static void same_transactions(const struct work *few, const struct work *many,
			      unsigned int flows)
{
	const unsigned int parts = (TIMES * flows + TRACK_PART - 1) / TRACK_PART;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(few[i].letters, many[i].letters);
		assert_int_equal(few[i].changes * TIMES, many[i].changes);
		/* One for each step of the handover. */
		assert_in_range(many[i].commits, parts, 6 * parts);
	}
}

static void a_move_is_one_however_many_move(void **state)
{
	unsigned int flows = getenv("TAP_WRAPPER") ? FEW / WRAPPED : FEW;
	static struct cost few, many;
	bool grows = false;

	live(flows, &few);
	teardown(state);
	setup(state);
	live(TIMES * flows, &many);
	check_messages(few.move);
	check_messages(many.move);
	check_messages(few.again);
	check_messages(many.again);
	same_transactions(few.move, many.move, flows);
	same_transactions(few.again, many.again, flows);
	for (int i = 0; i < WHATS; i++)
		if (!in_proportion(names[i], few.calls[i], many.calls[i]))
			grows = true;
	assert_false(grows);
}

/* ---- ports --------------------------------------------------------------- */

/* Where they go, all their ports are taken by others. */
static void move_to_other_ports(unsigned int flows, uint64_t *moved,
				uint64_t *restarted)
{
	const struct addr there = address(THERE);

	crowd_open(flows);
	crowd_protect(flows);
	for (unsigned int i = 0; i < flows; i++) {
		struct tuple t = crowd_tuple(i);

		t.local.addr = there;
		socket_add(&host[0], &t);
		host[0].sock[host[0].n_sock - 1].mptcp = true; /* not ours */
	}
	assert_int_equal(discover_dump(host[0].d, clock_ms), 0);
	*moved = calls;
	crowd_move(HERE, THERE);
	*moved = calls - *moved;
	assert_int_equal(work[0].sent[WIRE_MOVE], flows / WIRE_MOVE_MAX);
	assert_int_equal(work[1].sent[WIRE_ACCEPT], 1);
	for (unsigned int i = 0; i < flows; i++) {
		struct tuple t = crowd_tuple(i), r = tuple_reverse(&t);
		struct tuple ours = flow_wire_tuple(flow_at(&host[0], &t));
		struct tuple theirs = flow_wire_tuple(flow_at(&host[1], &r));

		assert_int_not_equal(ours.local.port, t.local.port);
		ours = tuple_reverse(&ours);
		assert_true(tuple_equal(&ours, &theirs));
	}
	host_kill(&host[0]);
	*restarted = calls;
	assert_int_equal(host_start(&host[0]), 0);
	*restarted = calls - *restarted;
	assert_int_equal(crowd_owned(&host[0]), flows);
}

static void ports_are_named_once(void **state)
{
	unsigned int flows = getenv("TAP_WRAPPER") ? PORTS_WRAPPED : PORTS;
	uint64_t few[2], many[2];

	move_to_other_ports(flows, &few[0], &few[1]);
	teardown(state);
	setup(state);
	move_to_other_ports(TIMES * flows, &many[0], &many[1]);
	assert_true(in_proportion("a move to other ports", few[0], many[0]));
	assert_true(in_proportion("a restart behind it", few[1], many[1]));
}

/* ---- peers --------------------------------------------------------------- */

enum {
	TAKEN_UP,
	ONE_DATAGRAM,
	AT_REST,
	ADDRESS_GONE,
	WITHOUT,
	ONE_BYE,
	ONE_FORGOTTEN,
	PEER_WHATS
};

static void run_for(uint64_t ms)
{
	uint64_t until = clock_ms + ms;

	while (clock_ms < until)
		next_moment();
}

/* A daemon and peers that do not answer. */
static void live_alone(unsigned int peers, uint64_t cost[PEER_WHATS])
{
	crowd_make_alone(HERE, peers);
	cost[TAKEN_UP] = calls;
	assert_int_equal(host_start(&host[0]), 0);
	cost[TAKEN_UP] = calls - cost[TAKEN_UP];
	assert_int_equal(crowd_owned(&host[0]), peers * CROWD_PER_PEER);
	moment();
	cost[ONE_DATAGRAM] = calls;
	crowd_stranger(HERE);
	cost[ONE_DATAGRAM] = calls - cost[ONE_DATAGRAM];
	cost[AT_REST] = calls;
	run_for(5000);
	cost[AT_REST] = calls - cost[AT_REST];
	cost[ADDRESS_GONE] = calls;
	addr_remove(&host[0], HERE);
	moment();
	cost[ADDRESS_GONE] = calls - cost[ADDRESS_GONE];
	cost[WITHOUT] = calls;
	run_for(5000);
	cost[WITHOUT] = calls - cost[WITHOUT];
	for (const struct flow *f = flow_first(&host[0].d->flows); f;
	     f = flow_next(f))
		assert_true(f->hold);
	cost[ONE_BYE] = calls;
	assoc_peer_ops.session_down(host[0].d, peer_next(host[0].d->peers, NULL),
				    clock_ms, REASON_NONE);
	cost[ONE_BYE] = calls - cost[ONE_BYE];
	cost[ONE_FORGOTTEN] = calls;
	peer_forget(peer_next(host[0].d->peers, NULL), clock_ms);
	cost[ONE_FORGOTTEN] = calls - cost[ONE_FORGOTTEN];
	assert_int_equal(crowd_owned(&host[0]), (peers - 1) * CROWD_PER_PEER);
	teardown(NULL);
}

static void a_peer_costs_what_it_does(void **state)
{
	static const char *const what[PEER_WHATS] = {
		"taking them up", "a datagram", "five seconds",
		"the loss of an address", "five seconds without",
		"the end of a session", "a peer that is forgotten",
	};
	unsigned int peers = getenv("TAP_WRAPPER") ? PEERS_WRAPPED : PEERS;
	uint64_t few[PEER_WHATS], many[PEER_WHATS];
	bool grows = false;

	(void)state;
	live_alone(peers, few);
	live_alone(TIMES * peers, many);
	for (int i = 0; i < PEER_WHATS; i++)
		if (!in_proportion(what[i], few[i], many[i]))
			grows = true;
	/* Who is looked for, is found at once, and who goes, goes alone. */
	assert_true(many[ONE_DATAGRAM] <= 2 * few[ONE_DATAGRAM]);
	assert_true(many[ONE_BYE] <= 2 * few[ONE_BYE]);
	assert_true(many[ONE_FORGOTTEN] <= 2 * few[ONE_FORGOTTEN]);
	assert_false(grows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_peer_costs_what_it_does),
		cmocka_unit_test_setup_teardown(ports_are_named_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			a_move_is_one_however_many_move, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
