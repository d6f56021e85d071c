/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a follower is brought into each state of sacip(7)'s table, and how each
 * event of it comes about. */
#ifndef SACIPED_TEST_STATES_FOLLOWER_H
#define SACIPED_TEST_STATES_FOLLOWER_H

#include "states.h"

static struct follower f;

static void hear(enum follower_event_type type, uint64_t seq, int source,
		 int to, bool gone, enum reason check)
{
	const struct follower_event ev = {
		.type = type, .seq = seq, .source = at(source).addr,
		.from = f.sending.addr, .to = at(to), .from_gone = gone,
		.check = check, .challenge = { 0xc5 } };

	follower_step(&f, &ev, now, &out);
}

static void hear_move(uint64_t seq, int to, bool gone)
{
	hear(FOLLOWER_MOVE, seq, to, to, gone, REASON_NONE);
}

static void hear_prove(uint64_t seq, int to)
{
	hear(FOLLOWER_PROVE, seq, to, to, false, REASON_NONE);
}

static void pass(uint64_t ms)
{
	now += ms;
	hear(FOLLOWER_TIMER, 0, O, O, false, REASON_NONE);
}

#define MOVED 1 /* the number that brought it to O */
#define OFFER 2
#define NEWER 5

static bool seen; /* the number OFFER */

static void peer_s(void)
{
	const struct locator k = at(K);

	seen = false;
	now = T0;
	follower_init(&f, 7, &k);
	hear_move(MOVED, O, false);
	hear_prove(MOVED, O);
	pass(2 * MIGRATE_DRAIN_MIN_MS);
}

static void peer_g(void)
{
	peer_s();
	seen = true;
	hear(FOLLOWER_MOVE, OFFER, N, N, true, REASON_POLICY);
}

static void peer_o(void)
{
	peer_s();
	seen = true;
	hear_move(OFFER, N, false);
}

static void peer_q(void)
{
	peer_s();
	seen = true;
	hear_move(OFFER, N, true);
}

static void peer_d(void)
{
	peer_o();
	hear_prove(OFFER, N);
}

static void peer_e(void)
{
	peer_o();
	pass(MIGRATE_LEASE_MS);
}

static void peer_y(void)
{
	peer_s();
	hear(FOLLOWER_SYNC, 4, O, X, false, REASON_NONE);
}

static int peer_at(void)
{
	return is_at(&f.sending.addr, N) ? N : O;
}

static bool on_move(void)
{
	hear_move(NEWER, X, false);
	return true;
}

static bool on_move_gone(void)
{
	hear_move(NEWER, X, true);
	return true;
}

static bool on_move_bad(void)
{
	hear(FOLLOWER_MOVE, NEWER, X, X, false, REASON_POLICY);
	return true;
}

static bool on_move_bad_gone(void)
{
	hear(FOLLOWER_MOVE, NEWER, X, X, true, REASON_POLICY);
	return true;
}

static bool on_move_home(void)
{
	hear_move(NEWER, peer_at(), false);
	return true;
}

/* A copy of the last MOVE, when the first one is answered. */
static bool on_move_copy(void)
{
	if (!seen)
		return false;
	now += MIGRATE_COPY_MS;
	hear_move(OFFER, N, false);
	return true;
}

static bool on_move_to_other(void)
{
	if (!seen)
		return false;
	now += MIGRATE_COPY_MS;
	hear_move(OFFER, X, false);
	return true;
}

static bool on_move_committed(void)
{
	hear_move(f.committed, peer_at(), false);
	return true;
}

static bool on_move_old(void)
{
	hear_move(0, X, true);
	return true;
}

static bool on_move_far(void)
{
	hear_move(NEWER + MIGRATE_JUMP_MAX, X, true);
	return true;
}

static bool on_move_relayed(void)
{
	hear(FOLLOWER_MOVE, NEWER, N, X, true, REASON_NONE);
	return true;
}

static bool on_prove(void)
{
	hear_prove(OFFER, N);
	return true;
}

static bool on_prove_wrong(void)
{
	const struct follower_event ev = {
		.type = FOLLOWER_PROVE, .seq = OFFER, .source = at(N).addr,
		.to = at(N), .challenge = { 0xff } };

	if (f.committed == OFFER)
		return false; /* it is not looked at any more */
	follower_step(&f, &ev, now, &out);
	return true;
}

static bool on_prove_committed(void)
{
	hear_prove(f.committed, peer_at());
	return true;
}

static bool on_prove_other(void)
{
	hear_prove(NEWER, X);
	return true;
}

static bool on_lease(void)
{
	if (f.state != FOLLOWER_OFFERED)
		return false;
	pass(MIGRATE_LEASE_MS - 1);
	if (out.n)
		return false;
	pass(1);
	return true;
}

static bool on_peer_drain(void)
{
	if (f.state == FOLLOWER_OFFERED)
		return false;
	pass(MIGRATE_DRAIN_MIN_MS - 1);
	if (out.n)
		return false;
	pass(1);
	return true;
}

static bool on_peer_doubt(void)
{
	if (f.state == FOLLOWER_OFFERED || f.n_accepted > 1)
		return false;
	pass(MIGRATE_LEASE_MS);
	return true;
}

static bool on_peer_sync_same(void)
{
	hear(FOLLOWER_SYNC, f.committed, O, peer_at(), false, REASON_NONE);
	return true;
}

static bool on_peer_sync_later(void)
{
	hear(FOLLOWER_SYNC, NEWER, O, X, false, REASON_NONE);
	return true;
}

static bool on_peer_sync_far(void)
{
	hear(FOLLOWER_SYNC, NEWER + MIGRATE_JUMP_MAX, O, X, false,
	     REASON_NONE);
	return true;
}

static bool on_paced_gone(void)
{
	hear(FOLLOWER_GONE, NEWER, X, X, true, REASON_NONE);
	return true;
}

static bool never_again(void)
{
	return false;
}

static void follower_then(char *to)
{
	strcpy(to, f.state == FOLLOWER_STEADY ? "STEADY" : "OFFERED");
}

static const struct in follower_in[] = {
	{ 'S', FOLLOWER_STEADY, peer_s },  { 'G', FOLLOWER_STEADY, peer_g },
	{ 'D', FOLLOWER_STEADY, peer_d },  { 'E', FOLLOWER_STEADY, peer_e },
	{ 'Y', FOLLOWER_STEADY, peer_y },  { 'O', FOLLOWER_OFFERED, peer_o },
	{ 'Q', FOLLOWER_OFFERED, peer_q }, { 0 },
};

static const struct on follower_on[] = {
	{ "MOVE", FOLLOWER_MOVE, on_move },
	{ "MOVE gone", FOLLOWER_MOVE, on_move_gone },
	{ "MOVE bad", FOLLOWER_MOVE, on_move_bad },
	{ "MOVE bad, gone", FOLLOWER_MOVE, on_move_bad_gone },
	{ "MOVE home", FOLLOWER_MOVE, on_move_home },
	{ "MOVE again", FOLLOWER_MOVE, on_move_copy },
	{ "MOVE again, other to", FOLLOWER_MOVE, on_move_to_other },
	{ "MOVE committed", FOLLOWER_MOVE, on_move_committed },
	{ "MOVE old", FOLLOWER_MOVE, on_move_old },
	{ "MOVE far", FOLLOWER_MOVE, on_move_far },
	{ "MOVE relayed", FOLLOWER_MOVE, on_move_relayed },
	{ "MOVE gone, no token", FOLLOWER_GONE, on_paced_gone },
	{ "PROVE", FOLLOWER_PROVE, on_prove },
	{ "PROVE wrong", FOLLOWER_PROVE, on_prove_wrong },
	{ "PROVE committed", FOLLOWER_PROVE, on_prove_committed },
	{ "PROVE of another", FOLLOWER_PROVE, on_prove_other },
	{ "SYNC same", FOLLOWER_SYNC, on_peer_sync_same },
	{ "SYNC later", FOLLOWER_SYNC, on_peer_sync_later },
	{ "SYNC far", FOLLOWER_SYNC, on_peer_sync_far },
	{ "lease ends", FOLLOWER_TIMER, on_lease },
	{ "drain ends", FOLLOWER_TIMER, on_peer_drain },
	{ "doubt ends", FOLLOWER_TIMER, on_peer_doubt },
	{ 0 },
};

#endif
