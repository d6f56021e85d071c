/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place: who may enter a track, and whole daemons in which flows enter and
 * leave one that moves. */
#include "world.h"

#include <stdio.h>
#include <unistd.h>

#include "claim_impl.h"

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* ---- the question ------------------------------------------------------ */

static struct follower follower_at(const char *at, uint64_t committed)
{
	struct locator l = { .addr = address(at) };
	struct follower f;

	follower_init(&f, 7, &l);
	f.committed = committed;
	f.floor = committed + 1;
	return f;
}

static enum place_answer judge(const struct follower *to,
			       const struct follower *from, const char *here,
			       uint64_t seq, const char *at, bool ports)
{
	struct place_entry e = { .track = to, .from = from,
				 .here = { .addr = address(here) } };
	struct wire_place named = { 7, seq, address(at), ports };

	return place_judge(&e, &named);
}

static void both_ends_must_agree(void **state)
{
	struct follower f = follower_at("10.0.0.9", 3);

	(void)state;
	assert_int_equal(judge(NULL, NULL, "10.0.0.1", 0, "10.0.0.1", false),
			 PLACE_AGREED);
	/* It has moved; who names it knows, or not yet, or has missed that it
	 * has been away, or knows more than we do. */
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 3, "10.0.0.9", false),
			 PLACE_AGREED);
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 0, "10.0.0.1", false),
			 PLACE_LATER);
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 2, "10.0.0.9", false),
			 PLACE_AGREED);
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 4, "10.0.0.9", false),
			 PLACE_LATER);
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 3, "10.0.0.8", false),
			 PLACE_LATER);
	/* By which port it comes from there, no MOVE has told. */
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 3, "10.0.0.9", true),
			 PLACE_LATER);
	f.sending.ports = 3;
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 3, "10.0.0.9", false),
			 PLACE_LATER);
	/* We have lost what it had told us: its MOVE comes. */
	f = follower_at("10.0.0.1", 0);
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 3, "10.0.0.9", false),
			 PLACE_AGREED);
	assert_int_equal(judge(&f, NULL, "10.0.0.5", 3, "10.0.0.9", false),
			 PLACE_LATER);
}

static void no_place_is_numbered_beyond_all_moves(void **state)
{
	struct follower f = follower_at("10.0.0.1", 0);

	(void)state;
	assert_int_equal(judge(&f, NULL, "10.0.0.1", UINT64_MAX, "10.0.0.1",
			       false), PLACE_LATER);
	assert_int_equal(judge(NULL, NULL, "10.0.0.1", UINT64_MAX, "10.0.0.1",
			       false), PLACE_LATER);
	assert_int_equal(judge(NULL, NULL, "10.0.0.1", MIGRATE_JUMP_MAX,
			       "10.0.0.1", false), PLACE_AGREED);
}

static void nothing_enters_or_leaves_on_an_offer(void **state)
{
	struct follower f = follower_at("10.0.0.1", 0);
	struct follower from = follower_at("10.0.0.1", 0);

	(void)state;
	f.state = FOLLOWER_OFFERED;
	assert_int_equal(judge(&f, NULL, "10.0.0.1", 0, "10.0.0.1", false),
			 PLACE_LATER);
	assert_int_equal(judge(&f, &from, "10.0.0.1", 0, "10.0.0.1", false),
			 PLACE_LATER);
	assert_int_equal(judge(&from, &f, "10.0.0.1", 0, "10.0.0.1", false),
			 PLACE_LATER);
	assert_int_equal(judge(NULL, &f, "10.0.0.1", 0, "10.0.0.1", false),
			 PLACE_LATER);
	assert_int_equal(judge(&f, &f, "10.0.0.1", 0, "10.0.0.1", false),
			 PLACE_AGREED);
}

static void nobody_goes_home_by_a_name(void **state)
{
	struct follower to = follower_at("10.0.0.1", 0);
	struct follower from = follower_at("10.0.0.9", 1);
	struct place_entry e = { .from = &from,
				 .here = from.sending,
				 .home = address("10.0.0.1") };
	struct wire_place named = { 8, 0, address("10.0.0.1"), false };

	(void)state;
	/* A track that is new to us; the flow has been moved. */
	assert_int_equal(place_judge(&e, &named), PLACE_LATER);
	e.proved = true;
	assert_int_equal(place_judge(&e, &named), PLACE_LATER);
	e.home_met = true;
	assert_int_equal(place_judge(&e, &named), PLACE_HOME);
	/* The next one finds that track. */
	e.track = &to;
	assert_int_equal(place_judge(&e, &named), PLACE_HOME);
	to.gone = to.holding = true;
	assert_int_equal(place_judge(&e, &named), PLACE_LATER);
	/* Held where it is: only on fresh evidence does it go on. */
	e.track = NULL;
	from = follower_at("10.0.0.1", 0);
	from.gone = from.holding = true;
	e.here = from.sending;
	assert_int_equal(place_judge(&e, &named), PLACE_HOME);
	e.home_met = false;
	assert_int_equal(place_judge(&e, &named), PLACE_LATER);
	e.proved = false;
	assert_int_equal(place_judge(&e, &named), PLACE_AGREED);
}

static void a_change_of_tracks_changes_nothing_else(void **state)
{
	struct follower to = follower_at("10.0.0.9", 3);
	struct follower from = follower_at("10.0.0.1", 2);

	(void)state;
	assert_int_equal(judge(&to, &from, "10.0.0.1", 3, "10.0.0.9", false),
			 PLACE_REFUSED);
	from = follower_at("10.0.0.9", 5);
	assert_int_equal(judge(&to, &from, "10.0.0.9", 3, "10.0.0.9", false),
			 PLACE_AGREED);
	assert_int_equal(judge(&to, &from, "10.0.0.9", 4, "10.0.0.9", false),
			 PLACE_LATER);
	/* What is gone stays gone. */
	from.gone = from.holding = true;
	assert_int_equal(judge(&to, &from, "10.0.0.9", 3, "10.0.0.9", false),
			 PLACE_LATER);
	to.gone = to.holding = true;
	assert_int_equal(judge(&to, &from, "10.0.0.9", 3, "10.0.0.9", false),
			 PLACE_AGREED);
	assert_int_equal(judge(&to, NULL, "10.0.0.1", 3, "10.0.0.9", false),
			 PLACE_LATER);
}

/* ---- daemons ----------------------------------------------------------- */

/* What either end sends of the flow now, the other accepts for this flow. */
static void check_agreed(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);
	struct flow *f[2] = { flow_at(&host[0], t), flow_at(&host[1], &r) };

	for (int i = 0; i < 2 && f[0] && f[1]; i++) {
		struct tuple wire = flow_wire_tuple(f[i]);
		struct tuple there = tuple_reverse(&wire);

		if (f[i]->hold || flow_accepts(f[1 - i], &there))
			continue;
		print_message("# %llu: host %d sends port %u where the other does not accept it\n",
			      (unsigned long long)clock_ms, i, t->local.port);
		assert_true(false);
	}
}

static void run_checked(const struct tuple *t, unsigned int ms)
{
	while (ms--) {
		run(1);
		check_agreed(t);
	}
}

/* What is on its way for longer than all that comes after it. */
static struct letter late[64];
static size_t n_late;

static void keep_late(void)
{
	assert_in_range(n_post, 1, 64);
	n_late = n_post;
	memcpy(late, post, n_late * sizeof(*late));
	n_post = 0;
}

static void late_arrives(void)
{
	memcpy(post + n_post, late, n_late * sizeof(*late));
	n_post += n_late;
}

/* Until the flow's FLOWS is in the post. */
static void run_into_offer(const struct tuple *t)
{
	struct flow *f = NULL;

	while (!f || LIST_EMPTY(&f->claim.works) ||
	       LIST_FIRST(&f->claim.works)->stage != STAGE_SENT ||
	       LIST_FIRST(&f->claim.works)->kind != WIRE_PROOF_RECEIPT) {
		if (!n_post)
			clock_ms++;
		settle_once();
		f = flow_at(&host[0], t);
		assert_true(clock_ms < 1010000);
	}
}

static void move(const struct tuple *t, const char *to)
{
	struct track *ours = track_of(flow_at(&host[0], t), FLOW_OURS);
	struct addr a = address(to);

	addr_add(&host[0], to, 2);
	assert_int_equal(handover_move(ours, &a, clock_ms), 0);
}

/* It was named when the track was at its first address; FLOWS arrives when
 * that is about to move, has moved, or rests elsewhere. */
static void a_flow_enters_no_track_that_has_moved(void **state)
{
	static const unsigned int way_ms[] = { 0, 1, 20, 3000 };

	for (unsigned int i = 0; i < 8; i++) {
		struct tuple t, u;

		teardown(state);
		world_make(state);
		t = connection(40000);
		run(3000);
		assert_true(both_own(&t));
		u = connection(40001);
		run_into_offer(&u);
		keep_late();
		move(&t, "10.0.0.9");
		for (unsigned int n = i % 2 ? i : 0; n && n_post; n--)
			settle_once();
		if (i % 2 == 0)
			run_checked(&u, way_ms[i / 2]);
		late_arrives();
		run_checked(&u, 5000);
		check_wire(&t, "10.0.0.9");
		assert_true(both_own(&u));
	}
}

/* FLOWS names a track of the peer's that is elsewhere, for a flow that is
 * confirmed: no challenge was answered for this flow there. */
static void no_flow_moves_by_its_name(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t), u, v;
	struct flow *f, *other;
	struct wire_message m;

	(void)state;
	run(3000);
	move(&t, "10.0.0.9");
	run(5000);
	u = connection(40001);
	v = tuple_reverse(&u);
	run(3000);
	f = flow_at(&host[1], &v);
	other = flow_at(&host[1], &r);
	assert_true(both_own(&u));
	assert_ptr_not_equal(f->group[FLOW_THEIRS], other->group[FLOW_THEIRS]);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS;
	m.flows.parts = m.flows.n = 1;
	m.flows.flow[0].flow_id = f->claim.flow_id;
	m.flows.flow[0].place.track = other->claim.peer_track;
	m.flows.flow[0].place.seq =
		track_of(other, FLOW_THEIRS)->follower.committed;
	m.flows.flow[0].place.at = address("10.0.0.9");
	m.flows.flow[0].proto = IPPROTO_TCP;
	m.flows.flow[0].src = u.local;
	m.flows.flow[0].dst = u.remote;
	claim_table_receive(f->claim.table, clock_ms, &m);
	assert_int_equal(host[1].d->counters.value[COUNTER_RETRACKS_IGNORED],
			 1);
	check_wire(&u, "10.0.0.1");
	check_agreed(&u);
}

/* A flow that lives leaves the track that MOVE named it in: no PROVE. */
static void no_move_takes_along_who_stays(void **state)
{
	struct tuple t = connection(40000), u = connection(40001);
	struct tuple r = tuple_reverse(&t);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	assert_true(both_own(&u));
	move(&t, "10.0.0.9");
	settle_once(); /* MOVE arrives: ACCEPT is in the post */
	assert_int_equal(track_of(flow_at(&host[1], &r), FLOW_THEIRS)
				 ->follower.state, FOLLOWER_OFFERED);
	assoc_let_go(host[0].d, flow_at(&host[0], &u), clock_ms,
		     REASON_POLICY);
	run_checked(&u, 5000);
	check_wire(&t, "10.0.0.9");
}

/* One end has no journal and no table any more, but its sockets and its first
 * address. Either end may be the one that offers flows. */
struct forgetful {
	unsigned int who;
	bool moved; /* else its address was declared gone, and no more */
	bool stays; /* the address that it moved to */
};

static bool is_at_home(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);
	const struct tuple *identity[2] = { t, &r };

	for (int i = 0; i < 2; i++) {
		struct flow *f = flow_at(&host[i], identity[i]);
		struct tuple wire;

		if (!f || !f->protected || f->hold)
			return false;
		wire = flow_wire_tuple(f);
		if (!tuple_equal(&wire, identity[i]))
			return false;
	}
	return true;
}

static bool forget(const struct forgetful *how)
{
	const char *home = how->who ? "10.0.0.2" : "10.0.0.1";
	struct host *h = &host[how->who];
	struct tuple t = connection(40000), u = connection(40001);
	struct tuple seen = how->who ? t : tuple_reverse(&t);
	struct flow *f;
	char path[256];

	run(3000);
	assert_true(both_own(&t) && both_own(&u));
	addr_add(h, "10.0.0.9", 2);
	addr_remove(h, home);
	f = flow_at(&host[1 - how->who], &seen);
	for (int i = 0; i < 500 && !f->hold; i++)
		settle_once();
	assert_true(f->hold);
	if (how->moved)
		run(5000);
	n_post = 0;
	snprintf(path, sizeof(path), "%s/run/journal", h->dir);
	host_kill(h);
	assert_int_equal(unlink(path), 0);
	sets_forget(h);
	addr_add(h, home, 2);
	assert_int_equal(host_start(h), 0);
	if (!how->stays)
		addr_remove(h, "10.0.0.9");
	for (int i = 0; i < 60 && !(is_at_home(&t) && is_at_home(&u)); i++)
		run(1000);
	if (is_at_home(&t) && is_at_home(&u))
		return true;
	print_message("# host %u forgot, moved %d, stays %d: the ends differ\n",
		      how->who, how->moved, how->stays);
	return false;
}

static void who_forgot_a_move_is_followed_home(void **state)
{
	unsigned int n_split = 0;

	for (unsigned int i = 0; i < 8; i++) {
		const struct forgetful how = { .who = i & 1, .moved = i & 2,
					       .stays = i & 4 };

		teardown(state);
		world_make(state);
		n_split += !forget(&how);
	}
	assert_int_equal(n_split, 0);
}

/* It was proved while the track that was named for it was declared gone: its
 * own end has it in another one, which that never was. */
static void what_is_held_for_another_track_goes_on(void **state)
{
	struct tuple t = connection(40000), u, v;
	struct flow *f = NULL;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	u = connection(40001);
	v = tuple_reverse(&u);
	run_into_offer(&u);
	for (int i = 0; i < 500 && !(f && f->protected && n_post); i++) {
		if (!n_post)
			clock_ms++;
		settle_once();
		f = flow_at(&host[1], &v);
	}
	keep_late();
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	for (int i = 0; i < 500 && !f->hold; i++)
		settle_once();
	assert_true(f->hold);
	n_post = 0;
	addr_add(&host[0], "10.0.0.1", 2);
	addr_remove(&host[0], "10.0.0.9");
	n_post = 0;
	late_arrives();
	run(60000);
	assert_true(is_at_home(&t));
	assert_true(is_at_home(&u));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_must_agree),
		cmocka_unit_test(no_place_is_numbered_beyond_all_moves),
		cmocka_unit_test(nothing_enters_or_leaves_on_an_offer),
		cmocka_unit_test(nobody_goes_home_by_a_name),
		cmocka_unit_test(a_change_of_tracks_changes_nothing_else),
		WORLD(a_flow_enters_no_track_that_has_moved),
		WORLD(no_flow_moves_by_its_name),
		WORLD(no_move_takes_along_who_stays),
		WORLD(who_forgot_a_move_is_followed_home),
		WORLD(what_is_held_for_another_track_goes_on),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
