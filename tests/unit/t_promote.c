/* SPDX-License-Identifier: GPL-2.0-or-later */
/* promote: when flows go from the queues to the maps, and back; by whole
 * daemons on kernels of paper. */
#include "world.h"

#define WIRE "10.0.0.9"
#define NEXT "10.0.0.10"

struct ends {
	struct tuple t, r; /* identity, as the client and as the server see it */
};

static struct ends flow_open(uint8_t proto)
{
	struct ends e;

	e.t = tuple_of("10.0.0.1", 40000, "10.0.0.2", 22);
	e.t.proto = proto;
	e.r = tuple_reverse(&e.t);
	socket_add(&host[0], &e.t);
	socket_add(&host[1], &e.r);
	run(9000);
	assert_true(both_own(&e.t));
	return e;
}

/* The flow's tuple with these addresses, as host `i` sees it. */
static struct tuple wire_at(const struct ends *e, unsigned int i,
			    const char *client, const char *server)
{
	struct tuple w = e->t;

	w.local.addr = address(client);
	w.remote.addr = address(server);
	return i ? tuple_reverse(&w) : w;
}

static const struct tuple *identity_at(const struct ends *e, unsigned int i)
{
	return i ? &e->r : &e->t;
}

/* Is it rewritten to that tuple, and none other? */
static bool sends(const struct ends *e, unsigned int i, const char *client,
		  const char *server)
{
	struct element *x = element(&host[i], SET_SEND, identity_at(e, i));
	struct tuple w = wire_at(e, i, client, server);

	return x && tuple_equal(&x->to, &w);
}

static bool receives(const struct ends *e, unsigned int i, const char *client,
		     const char *server)
{
	struct tuple w = wire_at(e, i, client, server);
	struct element *x = element(&host[i], SET_RECV, &w);

	return x && tuple_equal(&x->to, identity_at(e, i));
}

static bool is_in(const struct ends *e, unsigned int i, int set,
		  const char *client, const char *server)
{
	struct tuple w = wire_at(e, i, client, server);

	return element(&host[i], set, &w);
}

static unsigned int in_maps(const struct host *h)
{
	unsigned int n = 0;

	for (size_t i = 0; i < h->n_set; i++)
		n += h->set[i].set >= STEER_SET_MAX;
	return n;
}

static bool is_queued(const struct ends *e, unsigned int i)
{
	return element(&host[i], STEER_OUT, identity_at(e, i));
}

/* Make before break. */
static void move(struct host *h, const char *from, const char *to)
{
	addr_add(h, to, 2);
	addr_remove(h, from);
}

static bool is_quiet_at(unsigned int i, const struct ends *e)
{
	return !flow_at(&host[i], identity_at(e, i))->settling;
}

static void settled(const struct ends *e)
{
	for (int i = 0; !is_quiet_at(0, e) || !is_quiet_at(1, e); i++) {
		assert_true(i < 6000);
		run(1);
	}
}

static void ended(const struct ends *e)
{
	socket_end(&host[0], &e->t);
	socket_end(&host[1], &e->r);
	run(3000);
	for (unsigned int i = 0; i < 2; i++) {
		check_empty(&host[i]);
		assert_int_equal(in_maps(&host[i]), 0);
	}
}

/* ---- the first move ------------------------------------------------------ */

/* The better route: nothing is lost, nothing is held. The client switches at
 * the ACCEPT, and is in the maps in that transaction; the server receives so
 * from its ACCEPT on, and sends so at once. */
static void nothing_waits_so_nothing_is_queued(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);
	uint64_t queued = host[0].d->counters.value[COUNTER_PKT_HELD];

	(void)state;
	addr_add(&host[0], WIRE, 3);
	while (!sends(&e, 0, WIRE, "10.0.0.2")) {
		assert_false(is_queued(&e, 0));
		clock_ms++;
		settle_once();
		assert_true(clock_ms < 1020000);
	}
	assert_true(receives(&e, 0, WIRE, "10.0.0.2"));
	assert_true(is_queued(&e, 0)); /* behind the map */
	assert_true(is_in(&e, 0, STEER_IN, WIRE, "10.0.0.2"));
	assert_true(is_quiet_at(0, &e));
	while (!sends(&e, 1, WIRE, "10.0.0.2")) {
		assert_false(is_queued(&e, 1));
		settle_once();
		assert_true(n_post > 0);
	}
	assert_true(is_in(&e, 1, STEER_IN, WIRE, "10.0.0.2"));
	assert_true(is_quiet_at(1, &e));
	settled(&e);
	assert_true(receives(&e, 1, WIRE, "10.0.0.2"));
	assert_int_equal(in_maps(&host[0]), 2);
	assert_int_equal(in_maps(&host[1]), 2);
	assert_int_equal(host[0].d->counters.value[COUNTER_PKT_HELD], queued);
	ended(&e);
}

static void a_kernel_without_maps_stays_on_the_queue(void **state)
{
	struct ends e;

	(void)state;
	host[0].d->steer_info.maps = false;
	host[0].without_maps = true;
	e = flow_open(IPPROTO_TCP);
	move(&host[0], "10.0.0.1", WIRE);
	run(5000);
	check_wire(&e.t, WIRE);
	assert_int_equal(in_maps(&host[0]), 0);
	assert_true(is_queued(&e, 0));
	assert_true(is_quiet_at(0, &e));
	assert_int_equal(in_maps(&host[1]), 2);
	ended(&e);
}

/* ---- hold and release ---------------------------------------------------- */

/* In the transaction that holds, what is sent leaves the map; what comes may
 * go on. */
static void a_hold_demotes(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);
	uint32_t id;

	(void)state;
	move(&host[0], "10.0.0.1", WIRE);
	run(5000);
	assert_true(sends(&e, 0, WIRE, "10.0.0.2"));
	addr_remove(&host[0], WIRE);
	assert_true(flow_at(&host[0], &e.t)->hold);
	assert_null(element(&host[0], SET_SEND, &e.t));
	assert_true(receives(&e, 0, WIRE, "10.0.0.2"));
	assert_true(is_queued(&e, 0));
	id = packet_queue(&host[0], &e.t, true);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[id], WAITS);
	/* Back where it was: behind what was held. */
	addr_add(&host[0], WIRE, 2);
	assert_int_equal(host[0].fate[id], REWRITTEN);
	assert_null(element(&host[0], SET_SEND, &e.t));
	settled(&e);
	assert_true(sends(&e, 0, WIRE, "10.0.0.2"));
	ended(&e);
}

/* What waits was sent first. */
static void held_packets_go_before_the_map(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);
	uint32_t id[20], last = 0;

	(void)state;
	addr_remove(&host[0], "10.0.0.1");
	for (int i = 0; i < 20; i++) {
		id[i] = packet_queue(&host[0], &e.t, true);
		on_queue_out(0, host[0].d);
		assert_int_equal(host[0].fate[id[i]], WAITS);
	}
	addr_add(&host[0], WIRE, 2);
	while (host[0].fate[id[0]] == WAITS) {
		assert_null(element(&host[0], SET_SEND, &e.t));
		settle_once();
		assert_true(n_post > 0);
	}
	/* The peer needs not wait for them to hear that we have switched. */
	for (size_t i = 0; i < n_post; i++)
		last = post[i].held ? post[i].held : last;
	assert_int_equal(last, 20);
	/* One that came meanwhile, and was not read yet. */
	id[0] = packet_queue(&host[0], &e.t, true);
	assert_null(element(&host[0], SET_SEND, &e.t));
	while (!element(&host[0], SET_SEND, &e.t))
		run(1);
	for (int i = 0; i < 20; i++)
		assert_int_equal(host[0].fate[id[i]], REWRITTEN);
	ended(&e);
}

/* ---- datagrams ----------------------------------------------------------- */

static void feed(struct host *h, const struct tuple *t)
{
	uint32_t id;

	h->next_id &= 127;
	h->fate[h->next_id + 1] = WAITS;
	id = packet_queue(h, t, true);
	on_queue_out(0, h->d);
	assert_int_equal(h->fate[id], REWRITTEN);
}

/* TCP puts in order what is on its way; datagrams wait for a quiet moment. */
static void datagrams_wait_for_quiet(void **state)
{
	struct ends e = flow_open(IPPROTO_UDP);

	(void)state;
	addr_remove(&host[0], "10.0.0.1");
	run(10);
	addr_add(&host[0], WIRE, 2);
	while (flow_at(&host[0], &e.t)->hold)
		run(1);
	for (int i = 0; i < 200; i++) {
		feed(&host[0], &e.t);
		run(10);
		assert_null(element(&host[0], SET_SEND, &e.t));
	}
	run(2 * SETTLE_QUIET_MS + 1);
	assert_true(sends(&e, 0, WIRE, "10.0.0.2"));
	ended(&e);
}

static void segments_do_not(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);

	(void)state;
	addr_remove(&host[0], "10.0.0.1");
	run(10);
	addr_add(&host[0], WIRE, 2);
	while (flow_at(&host[0], &e.t)->hold)
		run(1);
	for (int i = 0; i < 2 * SETTLE_QUIET_MS &&
			!element(&host[0], SET_SEND, &e.t); i++) {
		feed(&host[0], &e.t);
		run(1);
	}
	assert_true(sends(&e, 0, WIRE, "10.0.0.2"));
	ended(&e);
}

/* ---- from map to map ----------------------------------------------------- */

/* What still comes by the last locator must not wait in the queue: what comes
 * by the new one is rewritten by the kernel and would overtake it. */
static void the_last_way_in_stays_in_the_map(void **state)
{
	struct ends e = flow_open(IPPROTO_UDP);

	(void)state;
	move(&host[0], "10.0.0.1", WIRE);
	run(5000);
	addr_add(&host[0], NEXT, 2);
	addr_deprecate(&host[0], WIRE);
	while (!sends(&e, 0, NEXT, "10.0.0.2")) {
		assert_true(receives(&e, 0, WIRE, "10.0.0.2"));
		assert_true(sends(&e, 0, WIRE, "10.0.0.2"));
		clock_ms++;
		settle_once();
		assert_true(clock_ms < 1030000);
	}
	assert_true(receives(&e, 0, NEXT, "10.0.0.2"));
	assert_true(receives(&e, 0, WIRE, "10.0.0.2"));
	run(5000); /* drained */
	assert_false(receives(&e, 0, WIRE, "10.0.0.2"));
	assert_true(is_in(&e, 0, STEER_DROP, WIRE, "10.0.0.2"));
	assert_int_equal(in_maps(&host[0]), 2);
	/* And home again, where packets need no rewriting. */
	addr_add(&host[0], "10.0.0.1", 2);
	addr_deprecate(&host[0], NEXT);
	while (element(&host[0], SET_SEND, &e.t)) {
		clock_ms++;
		settle_once();
		assert_true(clock_ms < 1040000);
	}
	assert_true(receives(&e, 0, NEXT, "10.0.0.2"));
	run(5000);
	check_wire(&e.t, "10.0.0.1");
	assert_int_equal(in_maps(&host[0]), 0);
	assert_int_equal(in_maps(&host[1]), 0);
	ended(&e);
}

/* What comes by an offered locator never was in a queue, however busy it is;
 * what comes by the one before goes on as it did. */
static void what_is_offered_is_received_at_once(void **state)
{
	struct ends e = flow_open(IPPROTO_UDP);

	(void)state;
	addr_add(&host[0], WIRE, 2);
	addr_deprecate(&host[0], "10.0.0.1");
	while (!is_in(&e, 1, STEER_IN, WIRE, "10.0.0.2")) {
		assert_false(receives(&e, 1, WIRE, "10.0.0.2"));
		run(1);
	}
	assert_true(receives(&e, 1, WIRE, "10.0.0.2"));
	settled(&e);
	addr_add(&host[0], NEXT, 2);
	addr_deprecate(&host[0], WIRE);
	while (!is_in(&e, 1, STEER_IN, NEXT, "10.0.0.2")) {
		assert_false(receives(&e, 1, NEXT, "10.0.0.2"));
		run(1);
	}
	assert_true(receives(&e, 1, NEXT, "10.0.0.2"));
	assert_true(receives(&e, 1, WIRE, "10.0.0.2"));
	settled(&e);
	ended(&e);
}

/* The kernel had rewritten it when the address of the wire tuple went; when it
 * is let go the flow is home again, or elsewhere. */
static void what_the_kernel_rewrote_is_rewritten_again(void **state)
{
	struct ends e = flow_open(IPPROTO_UDP);
	struct tuple wire = wire_at(&e, 0, WIRE, "10.0.0.2");
	const struct addr home = address("10.0.0.1"), next = address(NEXT);
	uint32_t id;

	(void)state;
	move(&host[0], "10.0.0.1", WIRE);
	run(5000);
	addr_remove(&host[0], WIRE);
	id = packet_queue(&host[0], &wire, true);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[id], WAITS);
	addr_add(&host[0], "10.0.0.1", 2);
	run(1000);
	check_wire(&e.t, "10.0.0.1");
	assert_int_equal(host[0].fate[id], REWRITTEN);
	assert_memory_equal(host[0].verdict_data[id] + 12, home.byte, 4);
	/* One that the daemon reads late. */
	run(5000);
	move(&host[0], "10.0.0.1", WIRE);
	run(5000);
	addr_add(&host[0], NEXT, 2);
	addr_remove(&host[0], WIRE);
	id = packet_queue(&host[0], &wire, true);
	while (flow_at(&host[0], &e.t)->hold)
		settle_once();
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[id], REWRITTEN);
	assert_memory_equal(host[0].verdict_data[id] + 12, next.byte, 4);
	run(5000);
	ended(&e);
}

/* ---- failures ------------------------------------------------------------ */

static void a_failed_promotion_changes_nothing(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);
	unsigned int tried;

	(void)state;
	addr_remove(&host[0], "10.0.0.1");
	run(10);
	addr_add(&host[0], WIRE, 2);
	while (flow_at(&host[0], &e.t)->hold)
		settle_once();
	host[0].steer_error = -ENOBUFS;
	tried = host[0].commits;
	run(500);
	assert_in_range(host[0].commits, tried + 1, tried + 20);
	assert_null(element(&host[0], SET_SEND, &e.t));
	assert_true(is_queued(&e, 0));
	assert_false(is_quiet_at(0, &e));
	feed(&host[0], &e.t);
	host[0].steer_error = 0;
	settled(&e);
	assert_true(sends(&e, 0, WIRE, "10.0.0.2"));
	assert_true(receives(&e, 0, WIRE, "10.0.0.2"));
	ended(&e);
}

/* The switch itself fails: it goes on as it was, in the maps. */
static void a_failed_switch_leaves_the_maps(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);
	struct track *ours = track_of(flow_at(&host[0], &e.t), FLOW_OURS);

	(void)state;
	move(&host[0], "10.0.0.1", WIRE);
	run(5000);
	addr_add(&host[0], NEXT, 2);
	addr_deprecate(&host[0], WIRE);
	while (ours->mover.state != MOVER_ASKED) {
		clock_ms++;
		settle_once();
	}
	host[0].steer_error = -ENOBUFS;
	for (int i = 0; i < 50; i++) {
		clock_ms++;
		settle_once();
	}
	assert_true(sends(&e, 0, WIRE, "10.0.0.2"));
	assert_true(receives(&e, 0, WIRE, "10.0.0.2"));
	assert_int_equal(flow_at(&host[0], &e.t)->promoted, 3);
	host[0].steer_error = 0;
	run(9000);
	check_wire(&e.t, NEXT);
	assert_true(sends(&e, 0, NEXT, "10.0.0.2"));
	ended(&e);
}

/* As when its time is over. */
static void claimed_no_more(struct host *h)
{
	for (size_t i = 0; i < h->n_set;)
		if (h->set[i].set == STEER_CLAIM)
			element_take(h, &h->set[i]);
		else
			i++;
	for (struct flow *f = flow_first(&h->d->flows); f; f = flow_next(f))
		f->claim.take_ms = 0;
}

static void a_rebuild_restores_the_maps(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);
	struct element before[64];
	size_t n;

	(void)state;
	move(&host[0], "10.0.0.1", WIRE);
	run(500); /* in the drain */
	assert_true(in_maps(&host[0]) >= 2);
	claimed_no_more(&host[0]);
	n = host[0].n_set;
	assert_true(n <= 64);
	memcpy(before, host[0].set, n * sizeof(*before));
	for (int i = 0; i < 2; i++) {
		sets_forget(&host[0]);
		assert_int_equal(divert_rebuild(host[0].d, clock_ms), 0);
		assert_int_equal(host[0].n_set, n);
		for (size_t j = 0; j < n; j++) {
			struct element *x = element(&host[0], before[j].set,
						    &before[j].tuple);

			assert_non_null(x);
			assert_true(tuple_equal(&x->to, &before[j].to));
		}
	}
	ended(&e);
}

/* ---- both, and ports ----------------------------------------------------- */

static void both_ends_move_at_once(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);

	(void)state;
	addr_add(&host[0], WIRE, 2);
	addr_add(&host[1], "10.0.0.12", 2);
	addr_deprecate(&host[0], "10.0.0.1");
	addr_deprecate(&host[1], "10.0.0.2");
	run(9000);
	addr_remove(&host[0], "10.0.0.1");
	addr_remove(&host[1], "10.0.0.2");
	run(100);
	for (unsigned int i = 0; i < 2; i++) {
		assert_true(sends(&e, i, WIRE, "10.0.0.12"));
		assert_true(receives(&e, i, WIRE, "10.0.0.12"));
		assert_int_equal(in_maps(&host[i]), 2);
	}
	addr_add(&host[0], "10.0.0.1", 2);
	addr_add(&host[1], "10.0.0.2", 2);
	addr_deprecate(&host[0], WIRE);
	addr_deprecate(&host[1], "10.0.0.12");
	run(9000);
	check_wire(&e.t, "10.0.0.1");
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(in_maps(&host[i]), 0);
		assert_false(is_queued(&e, i));
	}
	ended(&e);
}

/* The wire tuple is another connection's: our port there is another one, in
 * the maps of both ends. */
static void check_ported(const struct ends *e, const char *client)
{
	struct element *x = element(&host[0], SET_SEND, &e->t);
	const struct addr at = address(client);
	struct tuple there;

	assert_non_null(x);
	assert_true(addr_equal(&x->to.local.addr, &at));
	assert_int_not_equal(x->to.local.port, e->t.local.port);
	assert_int_equal(x->to.remote.port, e->t.remote.port);
	there = x->to;
	x = element(&host[0], SET_RECV, &there);
	assert_non_null(x);
	assert_true(tuple_equal(&x->to, &e->t));
	there = tuple_reverse(&there);
	x = element(&host[1], SET_RECV, &there);
	assert_non_null(x);
	assert_true(tuple_equal(&x->to, &e->r));
	x = element(&host[1], SET_SEND, &e->r);
	assert_non_null(x);
	assert_true(tuple_equal(&x->to, &there));
}

static void ports_change_in_the_maps(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);
	static const char *const to[] = { WIRE, NEXT };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct tuple taken = wire_at(&e, 0, to[i], "10.0.0.2");

		socket_add(&host[0], &taken);
		taken = tuple_reverse(&taken);
		socket_add(&host[1], &taken);
	}
	addr_add(&host[0], WIRE, 2);
	addr_deprecate(&host[0], "10.0.0.1");
	run(9000);
	check_ported(&e, WIRE);
	addr_add(&host[0], NEXT, 2);
	addr_deprecate(&host[0], WIRE);
	run(9000);
	check_ported(&e, NEXT);
}

/* Back on a wire tuple that was left less than a minute ago: its tombstone is
 * lifted, and what comes by it is looked up for as long as it is accepted
 * (steer_del_pair() of fake_kernel.h). */
static void a_lifted_tombstone_closes_no_pair(void **state)
{
	struct ends e = flow_open(IPPROTO_TCP);

	(void)state;
	move(&host[0], "10.0.0.1", WIRE);
	run(9000);
	move(&host[0], WIRE, NEXT);
	run(9000);
	assert_true(is_in(&e, 0, STEER_DROP, WIRE, "10.0.0.2"));
	move(&host[0], NEXT, WIRE);
	run(70000);
	assert_true(receives(&e, 0, WIRE, "10.0.0.2"));
	assert_true(receives(&e, 1, WIRE, "10.0.0.2"));
	ended(&e);
	run(70000);
	for (unsigned int i = 0; i < 2; i++)
		assert_null(host[i].d->pairs.all);
}

/* The table is built anew while packets are on their way: some pass both the
 * old one and the new. They are no connection that wants the wire tuple. */
static void passes_twice_and_takes_no_port(uint8_t proto)
{
	struct ends e = flow_open(proto);
	struct tuple w = wire_at(&e, 0, WIRE, "10.0.0.2");
	uint32_t id;

	move(&host[0], "10.0.0.1", WIRE);
	run(9000);
	id = packet_queue(&host[0], &w, true);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[id], ACCEPTED);
	run(1000);
	assert_true(sends(&e, 0, WIRE, "10.0.0.2"));
	ended(&e);
}

static void what_passes_twice_takes_no_port(void **state)
{
	(void)state;
	passes_twice_and_takes_no_port(IPPROTO_TCP);
}

static void nor_does_a_datagram(void **state)
{
	(void)state;
	passes_twice_and_takes_no_port(IPPROTO_UDP);
}

static void a_socket_on_the_wire_tuple_gets_it(void **state)
{
	struct ends e = flow_open(IPPROTO_UDP);
	struct tuple w = wire_at(&e, 0, WIRE, "10.0.0.2");

	(void)state;
	move(&host[0], "10.0.0.1", WIRE);
	run(9000);
	socket_add(&host[0], &w);
	(void)packet_queue(&host[0], &w, true);
	on_queue_out(0, host[0].d);
	run(1000);
	assert_false(sends(&e, 0, WIRE, "10.0.0.2"));
}

/* One element that the kernel takes from nobody: the flow that needs it stays
 * on the queue, and it alone. */
static void one_poisoned_flow_keeps_no_other(void **state)
{
	struct tuple t[5];
	unsigned int queued = 0;

	(void)state;
	for (uint16_t i = 0; i < 5; i++)
		t[i] = connection((uint16_t)(40000 + i));
	run(4000);
	host[0].poison = t[2];
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(3000);
	for (int i = 0; i < 5; i++) {
		check_wire(&t[i], "10.0.0.9");
		queued += flow_at(&host[0], &t[i])->settling;
	}
	assert_int_equal(queued, 1);
	assert_true(flow_at(&host[0], &t[2])->settling);
	memset(&host[0].poison, 0, sizeof(host[0].poison));
	run(2000);
	assert_false(flow_at(&host[0], &t[2])->settling);
}

/* A packet is held, and 10.0.0.9 is the source that it is to be sent from:
 * does it go, before that is told to be gone? It may have `vanished`. */
static uint32_t release_one(const char *vanished)
{
	struct tuple t = connection(40000);
	uint32_t id;

	run(3000);
	addr_remove(&host[0], "10.0.0.1");
	id = packet_queue(&host[0], &t, true);
	run(1);
	assert_int_equal(host[0].fate[id], WAITS);
	addr_add(&host[0], "10.0.0.9", 2);
	while (track_of(flow_at(&host[0], &t), FLOW_OURS)->mover.state !=
	       MOVER_ASKED)
		settle_once();
	if (vanished)
		host[0].vanished = address(vanished);
	for (int i = 0; i < 20 && host[0].fate[id] == WAITS; i++)
		run(1);
	return id;
}

/* The kernel knows that it has gone, and nobody here has read it yet: its turn
 * has come, and it is lost. */
static void nothing_is_released_to_a_source_that_is_gone(void **state)
{
	uint32_t id = release_one("10.0.0.9");

	(void)state;
	assert_int_equal(host[0].fate[id], DROPPED);
}

static void what_is_held_is_released_to_one_that_is_there(void **state)
{
	uint32_t id = release_one(NULL);

	(void)state;
	assert_int_equal(host[0].fate[id], REWRITTEN);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(nothing_waits_so_nothing_is_queued),
		WORLD(a_kernel_without_maps_stays_on_the_queue),
		WORLD(a_hold_demotes),
		WORLD(held_packets_go_before_the_map),
		WORLD(datagrams_wait_for_quiet),
		WORLD(segments_do_not),
		WORLD(the_last_way_in_stays_in_the_map),
		WORLD(what_is_offered_is_received_at_once),
		WORLD(what_the_kernel_rewrote_is_rewritten_again),
		WORLD(a_failed_promotion_changes_nothing),
		WORLD(a_failed_switch_leaves_the_maps),
		WORLD(a_rebuild_restores_the_maps),
		WORLD(both_ends_move_at_once),
		WORLD(ports_change_in_the_maps),
		WORLD(one_poisoned_flow_keeps_no_other),
		WORLD(nothing_is_released_to_a_source_that_is_gone),
		WORLD(what_is_held_is_released_to_one_that_is_there),
		WORLD(a_lifted_tombstone_closes_no_pair),
		WORLD(what_passes_twice_takes_no_port),
		WORLD(nor_does_a_datagram),
		WORLD(a_socket_on_the_wire_tuple_gets_it),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
