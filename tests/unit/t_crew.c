/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crew: moved flows at workers, where the kernel does not rewrite; by whole
 * daemons on kernels of paper, whose workers check the order of what they are
 * told. */
#include "world.h"

#define WIRE "10.0.0.9"
#define NEXT "10.0.0.10"
#define FLOWS 6

static bool is_target(const struct work_route *r, const struct tuple *to)
{
	const struct endpoint *src = r->outbound ? &to->local : &to->remote;
	const struct endpoint *dst = r->outbound ? &to->remote : &to->local;

	return endpoint_equal(&r->to.src, src) &&
	       endpoint_equal(&r->to.dst, dst);
}

/* Where that tuple leads, to be rewritten to `to`. */
static bool is_worked(struct host *h, bool outbound, const struct tuple *t,
		      const struct tuple *to)
{
	struct element *e = element(h, outbound ? SET_WORK_OUT : SET_WORK_IN,
				    t);
	const struct worker *w = e ? &h->worker[e->to.local.port] : NULL;

	for (size_t i = 0; w && i < w->n_route; i++)
		if (w->route[i]->outbound == outbound &&
		    tuple_equal(&w->route[i]->tuple, t))
			return is_target(w->route[i], to);
	return false;
}

/* Elements and routes are the same in number, and nobody stands still. */
static unsigned int routes(struct host *h)
{
	unsigned int elements = 0, n = 0;

	for (size_t i = 0; i < h->n_set; i++)
		elements += h->set[i].set >= SET_WORK_OUT;
	for (unsigned int k = 0; k < STEER_WORKERS_MAX; k++) {
		assert_false(h->worker[k].paused);
		assert_int_equal(h->worker[k].n_forgotten, 0);
		n += (unsigned int)h->worker[k].n_route;
	}
	assert_int_equal(elements, n);
	return n;
}

static struct tuple wire_of(const struct tuple *t, const char *local)
{
	struct tuple w = *t;

	w.local.addr = address(local);
	return w;
}

/* Both ends have the flow at workers, by that address of the client's. */
static void check_worked(const struct tuple *t, const char *local)
{
	struct tuple r = tuple_reverse(t), w = wire_of(t, local);
	struct tuple rw = tuple_reverse(&w);

	assert_true(is_worked(&host[0], true, t, &w));
	assert_true(is_worked(&host[0], false, &w, t));
	assert_true(is_worked(&host[1], true, &r, &rw));
	assert_true(is_worked(&host[1], false, &rw, &r));
}

static int without_maps(void **state)
{
	setup(state);
	for (unsigned int i = 0; i < 2; i++) {
		host[i].without_maps = true;
		assert_int_equal(host_restart(&host[i]), 0);
	}
	return 0;
}

static struct tuple flow_open(uint16_t port)
{
	struct tuple t = connection(port);

	run(9000);
	assert_true(both_own(&t));
	return t;
}

static void move(const char *from, const char *to)
{
	addr_add(&host[0], to, 2);
	addr_remove(&host[0], from);
	run(5000);
}

static void all_ended(const struct tuple t[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct tuple r = tuple_reverse(&t[i]);

		socket_end(&host[0], &t[i]);
		socket_end(&host[1], &r);
	}
	run(70000);
	check_empty(&host[0]);
	check_empty(&host[1]);
	assert_int_equal(routes(&host[0]), 0);
	assert_int_equal(routes(&host[1]), 0);
}

static void ended(const struct tuple *t)
{
	all_ended(t, 1);
}

static void nobody_works_before_a_move(void **state)
{
	struct tuple t = flow_open(40000);

	(void)state;
	assert_int_equal(routes(&host[0]), 0);
	assert_null(host[0].worker[0].h);
	ended(&t);
}

static void each_move_goes_to_the_same_worker(void **state)
{
	struct tuple t = flow_open(40000);

	(void)state;
	move("10.0.0.1", WIRE);
	check_worked(&t, WIRE);
	assert_int_equal(routes(&host[0]), 2);
	move(WIRE, NEXT);
	check_worked(&t, NEXT);
	assert_int_equal(routes(&host[0]), 2);
	assert_int_equal(host[0].worker[0].n_route, 2);
	assert_null(host[0].worker[1].h);
	move(NEXT, "10.0.0.1");
	assert_int_equal(routes(&host[0]), 0);
	assert_null(host[0].worker[0].h); /* it has ended */
	ended(&t);
}

/* What the element led to its queue a moment ago finds a reader there. */
static void a_worker_outlives_its_last_flow(void **state)
{
	struct tuple t = flow_open(40000);
	unsigned int ms = 0;

	(void)state;
	move("10.0.0.1", WIRE);
	addr_add(&host[0], "10.0.0.1", 2);
	addr_remove(&host[0], WIRE);
	while (host[0].d->crew.flows[0]) {
		run(1);
		assert_in_range(++ms, 1, 5000);
	}
	assert_int_equal(host[0].worker[0].n_route, 0);
	assert_non_null(host[0].worker[0].h);
	run(500);
	assert_non_null(host[0].worker[0].h);
	run(1000);
	assert_null(host[0].worker[0].h);
	/* It may be needed again before. */
	addr_add(&host[0], WIRE, 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_worked(&t, WIRE);
	ended(&t);
}

static void flows_of_one_pair_are_spread(void **state)
{
	struct tuple t[FLOWS];
	const struct daemon *d = host[0].d;

	(void)state;
	for (unsigned int i = 0; i < FLOWS; i++)
		t[i] = flow_open((uint16_t)(40000 + i));
	move("10.0.0.1", WIRE);
	assert_int_equal(routes(&host[0]), 2 * FLOWS);
	assert_int_equal(d->crew.n, 4);
	for (unsigned int k = 0; k < d->crew.n; k++)
		assert_in_range(host[0].worker[k].n_route, 2, 4);
	for (unsigned int i = 0; i < FLOWS; i++)
		check_worked(&t[i], WIRE);
	all_ended(t, FLOWS);
}

/* The worker has nothing of it any more when it is held. */
static void a_hold_takes_it_away(void **state)
{
	struct tuple t = flow_open(40000);

	(void)state;
	move("10.0.0.1", WIRE);
	host[0].worker[0].route[0]->packets = 5;
	host[0].worker[0].route[1]->packets = 7;
	addr_remove(&host[0], WIRE);
	settle();
	assert_true(flow_at(&host[0], &t)->hold);
	assert_null(element(&host[0], SET_WORK_OUT, &t));
	for (size_t i = 0; i < host[0].worker[0].n_route; i++)
		assert_false(host[0].worker[0].route[i]->outbound);
	addr_add(&host[0], NEXT, 2);
	run(5000);
	check_worked(&t, NEXT);
	/* What it has rewritten is not forgotten; one more is settle()'s. */
	assert_int_equal(flow_at(&host[0], &t)->transit->packets[FLOW_OURS] +
			 flow_at(&host[0], &t)->transit->packets[FLOW_THEIRS],
			 5 + 7 + 2);
	ended(&t);
}

/* Rules lead to the strays' queue before any worker is there. */
static void nothing_starts_without_the_strays_queue(void **state)
{
	struct host *h = host_make(2);

	(void)state;
	assert_non_null(host[0].d->crew.strays);
	addr_add(h, "10.0.0.3", 2);
	h->without_maps = true;
	h->fail_strays = -EBUSY;
	assert_int_equal(host_start(h), -EBUSY);
	host_end(h);
}

static void a_refused_change_leaves_the_routes(void **state)
{
	struct tuple t = flow_open(40000);

	(void)state;
	move("10.0.0.1", WIRE);
	host[0].steer_error = -ENOMEM;
	addr_add(&host[0], NEXT, 2);
	addr_deprecate(&host[0], WIRE);
	settle();
	check_worked(&t, WIRE);
	host[0].steer_error = 0;
	run(20000);
	check_worked(&t, NEXT);
	ended(&t);
}

static void a_rebuild_restores_them(void **state)
{
	struct tuple t = flow_open(40000);

	(void)state;
	move("10.0.0.1", WIRE);
	sets_forget(&host[0]); /* somebody flushed the ruleset */
	assert_int_equal(divert_rebuild(host[0].d, loop_now_ms()), 0);
	check_worked(&t, WIRE);
	ended(&t);
}

/* What an earlier run had moved is given to workers while the table is built,
 * and they must learn of it. */
static void a_restart_gives_them_anew(void **state)
{
	struct tuple t = flow_open(40000);

	(void)state;
	move("10.0.0.1", WIRE);
	assert_int_equal(host_restart(&host[0]), 0);
	run(5000);
	check_worked(&t, WIRE);
	move(WIRE, NEXT);
	check_worked(&t, NEXT);
	ended(&t);
}

static void without_threads_the_daemon_does_it(void **state)
{
	struct tuple t = flow_open(40000);

	(void)state;
	host[0].worker_error = -EAGAIN;
	move("10.0.0.1", WIRE);
	check_wire(&t, WIRE);
	assert_int_equal(routes(&host[0]), 0);
	assert_non_null(element(&host[0], STEER_OUT, &t));
	assert_int_equal(routes(&host[1]), 2);
	host[0].worker_error = 0;
	ended(&t);
}

/* While workers stand still until the queues are read, what is read there may
 * be the news of a lost address: that changes other flows, and these again. */
static void a_change_meanwhile_lets_all_go_on(void **state)
{
	struct tuple t[2];
	struct daemon *d = host[0].d;
	struct flow *f;

	(void)state;
	for (unsigned int i = 0; i < 2; i++)
		t[i] = flow_open((uint16_t)(40000 + i));
	move("10.0.0.1", WIRE);
	d->crew.stand_still = true;
	for (unsigned int i = 0; i < 4; i++) {
		f = flow_at(&host[0], &t[i % 2]);
		f->hold = !f->hold;
		assert_int_equal(divert_flow(d, f, clock_ms), 0);
	}
	crew_go_on(d);
	assert_int_not_equal(routes(&host[0]), 0); /* none is paused */
	run(5000);
	for (unsigned int i = 0; i < 2; i++)
		check_worked(&t[i], WIRE);
	all_ended(t, 2);
}

static void what_a_worker_counted_outlives_it(void **state)
{
	struct tuple t = flow_open(40000);
	struct counters all;

	(void)state;
	move("10.0.0.1", WIRE);
	check_worked(&t, WIRE);
	host[0].worker[0].report = (struct worker_report){
		.queue = { .packets = 12, .overflows = 1 },
		.rewritten_in = 5, .rewritten_out = 4, .strays = 3,
	};
	for (int i = 0; i < 2; i++) {
		memset(&all, 0, sizeof(all));
		crew_add_counters(host[0].d, &all);
		assert_int_equal(all.value[COUNTER_PKT_QUEUED], 9);
		assert_int_equal(all.value[COUNTER_PKT_REWRITTEN_IN], 5);
		assert_int_equal(all.value[COUNTER_PKT_REWRITTEN_OUT], 4);
		assert_int_equal(all.value[COUNTER_QUEUE_OVERFLOW], 1);
		if (i == 0)
			ended(&t);
	}
	assert_null(host[0].worker[0].h);
}

/* A flow that is to enter a track that has moved, and the kernel refuses. */
static void who_cannot_enter_waits_for_nothing(void **state)
{
	struct tuple t[2], r;
	struct daemon *d = host[1].d;
	struct flow *f;

	(void)state;
	t[0] = flow_open(40000);
	addr_add(&host[0], WIRE, 2);
	addr_deprecate(&host[0], "10.0.0.1");
	run(5000);
	check_worked(&t[0], WIRE);
	t[1] = flow_open(40001);
	r = tuple_reverse(&t[0]);
	f = flow_at(&host[1], &r);
	r = tuple_reverse(&t[1]);
	flow_at(&host[1], &r)->claim.peer_track = f->claim.peer_track;
	f = flow_at(&host[1], &r);
	track_leave(d, f, clock_ms);
	assert_false(f->protected);
	host[1].steer_error = -ENFILE;
	track_enter(d, f, clock_ms);
	host[1].steer_error = 0;
	assert_false(f->protected);
	assert_null(f->transit->work);
	assert_false(f->settling);
	assert_true(LIST_EMPTY(&d->divert.settling));
	all_ended(t, 2);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, without_maps, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(nobody_works_before_a_move),
		WORLD(each_move_goes_to_the_same_worker),
		WORLD(a_worker_outlives_its_last_flow),
		WORLD(flows_of_one_pair_are_spread),
		WORLD(a_hold_takes_it_away),
		WORLD(nothing_starts_without_the_strays_queue),
		WORLD(a_refused_change_leaves_the_routes),
		WORLD(a_rebuild_restores_them),
		WORLD(a_restart_gives_them_anew),
		WORLD(without_threads_the_daemon_does_it),
		WORLD(a_change_meanwhile_lets_all_go_on),
		WORLD(what_a_worker_counted_outlives_it),
		WORLD(who_cannot_enter_waits_for_nothing),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
