/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a mover is brought into each state of sacip(7)'s table, and how each
 * event of it comes about. */
#ifndef SACIPED_TEST_STATES_MOVER_H
#define SACIPED_TEST_STATES_MOVER_H

#include "states.h"

static struct mover m;
static bool up[PLACES];

static bool is_up(const struct locator *l)
{
	int i = place_of(&l->addr);

	return i < PLACES && up[i];
}

static void mover_event(struct mover_event ev)
{
	ev.random = 64; /* a jitter of 0 */
	mover_step(&m, &ev, now, &out);
}

static void situation(enum migrate_cause cause, struct locator candidate)
{
	mover_event((struct mover_event){
		.type = MOVER_SITUATION, .cause = cause,
		.current_up = is_up(&m.current), .sending_up = is_up(&m.sending),
		.target_up = is_up(&m.target), .candidate = candidate });
}

static void accept_at(struct addr arrived_on, uint64_t seq, bool pilot)
{
	mover_event((struct mover_event){
		.type = MOVER_ACCEPT, .seq = seq, .arrived_on = arrived_on,
		.challenge = { 0xc5 }, .pilot = pilot });
}

static void told(enum mover_event_type type, uint64_t seq, enum reason reason)
{
	mover_event((struct mover_event){ .type = type, .seq = seq,
					  .reason = reason });
}

static void tick(uint64_t at_ms)
{
	now = at_ms;
	mover_event((struct mover_event){ .type = MOVER_TIMER });
}

static bool asking(void)
{
	return m.state == MOVER_ASKED || m.state == MOVER_SWITCHED;
}

/* It has moved once, from K, which is over. */
static void in_s(void)
{
	const struct locator k = at(K);

	now = T0;
	for (int i = 0; i < PLACES; i++)
		up[i] = true;
	mover_init(&m, 7, &k);
	situation(MIGRATE_CAUSE_DEPRECATED, at(O));
	accept_at(m.target.addr, m.seq, true);
	told(MOVER_NONCE, m.seq, REASON_NONE);
	told(MOVER_DONE, m.seq, REASON_NONE);
	tick(now + 2 * MIGRATE_DRAIN_MIN_MS);
	up[K] = false;
}

static void in_h(void)
{
	in_s();
	up[O] = up[N] = up[X] = false;
	situation(MIGRATE_CAUSE_GONE, nowhere);
}

static void in_a(void)
{
	in_s();
	situation(MIGRATE_CAUSE_DEPRECATED, at(N));
}

static void in_g(void)
{
	in_s();
	up[O] = false;
	situation(MIGRATE_CAUSE_GONE, at(N));
}

static void in_t(void)
{
	in_a();
	accept_at(m.target.addr, m.seq, true);
}

static void in_r(void)
{
	in_a();
	told(MOVER_REFUSE, m.seq, REASON_DIGEST);
}

static void in_p(void)
{
	in_a();
	told(MOVER_REFUSE, m.seq, REASON_POLICY);
}

static void in_w(void)
{
	in_t();
	told(MOVER_NONCE, m.seq, REASON_NONE);
}

static void in_d(void)
{
	in_w();
	told(MOVER_DONE, m.seq, REASON_NONE);
}

static void in_u(void)
{
	in_w();
	situation(MIGRATE_CAUSE_OPERATOR, at(X));
}

static void in_l(void)
{
	in_s();
	told(MOVER_SYNC, 0, REASON_NONE);
}

/* Each returns false where it cannot happen in that state. */
static bool on_gone(void)
{
	struct locator next = nowhere;

	if (!is_up(&m.sending))
		return false;
	up[place_of(&m.sending.addr)] = false;
	if (asking() && is_up(&m.target))
		next = m.target;
	for (int i = 0; i < PLACES && !addr_is_set(&next.addr); i++)
		if (up[i])
			next = at(i);
	situation(MIGRATE_CAUSE_GONE, next);
	return true;
}

static bool on_none(void)
{
	memset(up, 0, sizeof(up));
	situation(MIGRATE_CAUSE_GONE, nowhere);
	return true;
}

static bool on_target_gone(void)
{
	if (!asking() || addr_equal(&m.target.addr, &m.sending.addr))
		return false;
	up[place_of(&m.target.addr)] = false;
	situation(is_up(&m.current) ? MIGRATE_CAUSE_REFRESH :
				      MIGRATE_CAUSE_GONE,
		  at(up[X] ? X : O));
	return true;
}

static bool on_back(void)
{
	if (is_up(&m.current))
		return false;
	up[place_of(&m.current.addr)] = true;
	situation(MIGRATE_CAUSE_REFRESH, m.current);
	return true;
}

static bool on_usable(void)
{
	if (m.state != MOVER_HELD)
		return false;
	up[N] = true;
	situation(MIGRATE_CAUSE_GONE, at(N));
	return true;
}

static bool on_better(void)
{
	if (!is_up(&m.current) || !is_up(&m.sending) ||
	    is_at(&m.target.addr, X))
		return false;
	situation(MIGRATE_CAUSE_DEPRECATED, at(X));
	return true;
}

static bool on_ports(void)
{
	struct locator other = m.current;

	if (m.state != MOVER_STEADY)
		return false;
	other.ports = 5;
	situation(MIGRATE_CAUSE_PORTS, other);
	return true;
}

static bool on_blocked(void)
{
	if (m.state != MOVER_STEADY)
		return false;
	situation(MIGRATE_CAUSE_TRY, nowhere);
	return true;
}

static bool on_next(void)
{
	if (m.state != MOVER_ASKED || m.trying || is_at(&m.target.addr, X))
		return false;
	situation(MIGRATE_CAUSE_NEXT, at(X));
	return true;
}

static bool on_no_next(void)
{
	if (m.state != MOVER_ASKED || m.trying)
		return false;
	situation(MIGRATE_CAUSE_NEXT, nowhere);
	return true;
}

static bool on_again(void)
{
	if (!asking())
		return false;
	situation(MIGRATE_CAUSE_RETRY, m.target);
	return true;
}

static bool on_accept(void)
{
	accept_at(asking() ? m.target.addr : m.current.addr, m.seq, true);
	return true;
}

static bool on_accept_bare(void)
{
	accept_at(asking() ? m.target.addr : m.current.addr, m.seq, false);
	return true;
}

static bool on_accept_elsewhere(void)
{
	accept_at(at(K).addr, m.seq, true);
	return true;
}

static bool on_accept_other(void)
{
	accept_at(m.target.addr, m.seq - 1, true);
	return true;
}

static bool on_refuse_digest(void)
{
	told(MOVER_REFUSE, m.seq, REASON_DIGEST);
	return true;
}

static bool on_refuse_taken(void)
{
	told(MOVER_REFUSE, m.seq, REASON_TUPLE_TAKEN);
	return true;
}

static bool on_refuse(void)
{
	told(MOVER_REFUSE, m.seq, REASON_POLICY);
	return true;
}

static bool on_refuse_other(void)
{
	told(MOVER_REFUSE, m.seq - 1, REASON_POLICY);
	return true;
}

static bool on_done(void)
{
	told(MOVER_DONE, m.seq, REASON_NONE);
	return true;
}

/* The number before the one that is asked for, which PROVE was sent for. */
static bool on_done_earlier(void)
{
	if (!asking() || m.committed == m.seq - 1)
		return false;
	told(MOVER_DONE, m.seq - 1, REASON_NONE);
	return true;
}

static bool on_done_other(void)
{
	told(MOVER_DONE, m.seq + 1, REASON_NONE);
	return true;
}

static bool on_sync_same(void)
{
	told(MOVER_SYNC, m.committed, REASON_NONE);
	return true;
}

static bool on_sync_done(void)
{
	if (!asking())
		return false;
	told(MOVER_SYNC, m.seq, REASON_NONE);
	return true;
}

static bool on_sync_lost(void)
{
	told(MOVER_SYNC, 0, REASON_NONE);
	return true;
}

static bool on_sync_unused(void)
{
	told(MOVER_SYNC, m.seq + 1, REASON_NONE);
	return true;
}

static bool on_session(void)
{
	told(MOVER_SESSION, 0, REASON_NONE);
	return true;
}

static bool on_nonce(void)
{
	told(MOVER_NONCE, m.seq, REASON_NONE);
	return true;
}

static bool on_untried(void)
{
	told(MOVER_UNTRIED, m.seq, REASON_NONE);
	return true;
}

/* The first repetition, the one after which a handshake goes beside it, and
 * the one after which another source is asked for. */
static bool repetition(unsigned int before)
{
	if (!asking() || m.trying)
		return false;
	m.repeats = before;
	tick(now + MIGRATE_PTO_UNKNOWN_MS);
	return true;
}

static bool on_pto(void)
{
	return repetition(0);
}

static bool on_pto_2(void)
{
	return repetition(1);
}

static bool on_pto_4(void)
{
	return repetition(3);
}

static bool on_no_nonce(void)
{
	if (!m.trying)
		return false;
	tick(now + 2 * MIGRATE_PTO_UNKNOWN_MS);
	return true;
}

static bool on_give_up(void)
{
	if (!asking() || m.trying)
		return false;
	tick(now + MIGRATE_GIVE_UP_MS);
	return true;
}

static bool on_pause(void)
{
	if (m.state != MOVER_STEADY || m.evaluate_ms == MIGRATE_NEVER)
		return false;
	tick(m.evaluate_ms);
	return true;
}

static bool on_drain(void)
{
	if (m.state != MOVER_STEADY || m.evaluate_ms != MIGRATE_NEVER)
		return false;
	tick(now + MIGRATE_DRAIN_MIN_MS - 1);
	if (out.n) /* too early */
		return false;
	tick(now + 1);
	return true;
}

/* Where nothing better comes: what happens at that moment alone. */
static bool on_doubt(void)
{
	const uint64_t end_ms = m.hold_since_ms + MIGRATE_LEASE_MS;

	if (!m.peer_lost)
		return false;
	m.give_up_ms = m.repeat_ms = end_ms + 1;
	tick(end_ms);
	return true;
}

static void mover_then(char *to)
{
	static const char *const names[MOVER_STATES] = {
		[MOVER_STEADY] = "STEADY", [MOVER_HELD] = "HELD",
		[MOVER_ASKED] = "ASKED", [MOVER_SWITCHED] = "SWITCHED",
	};

	strcpy(to, names[m.state]);
}

/* The number and what is said of it are those that the state came with. */
static uint64_t said_seq;
static enum mover_state said_in;

static bool asks_again(void)
{
	return m.seq == said_seq && m.state == said_in;
}

static const struct in mover_in[] = {
	{ 'S', MOVER_STEADY, in_s }, { 'P', MOVER_STEADY, in_p },
	{ 'D', MOVER_STEADY, in_d }, { 'H', MOVER_HELD, in_h },
	{ 'A', MOVER_ASKED, in_a },  { 'G', MOVER_ASKED, in_g },
	{ 'T', MOVER_ASKED, in_t },  { 'R', MOVER_ASKED, in_r },
	{ 'U', MOVER_ASKED, in_u },  { 'L', MOVER_ASKED, in_l },
	{ 'W', MOVER_SWITCHED, in_w }, { 0 },
};

static const struct on mover_on[] = {
	{ "gone", MOVER_SITUATION, on_gone },
	{ "gone, no other", MOVER_SITUATION, on_none },
	{ "N gone", MOVER_SITUATION, on_target_gone },
	{ "back", MOVER_SITUATION, on_back },
	{ "N usable", MOVER_SITUATION, on_usable },
	{ "better source", MOVER_SITUATION, on_better },
	{ "ports wanted", MOVER_SITUATION, on_ports },
	{ "trial due", MOVER_SITUATION, on_blocked },
	{ "next source", MOVER_SITUATION, on_next },
	{ "no next source", MOVER_SITUATION, on_no_next },
	{ "ready again", MOVER_SITUATION, on_again },
	{ "ACCEPT", MOVER_ACCEPT, on_accept },
	{ "ACCEPT, no nonce", MOVER_ACCEPT, on_accept_bare },
	{ "ACCEPT elsewhere", MOVER_ACCEPT, on_accept_elsewhere },
	{ "ACCEPT of another", MOVER_ACCEPT, on_accept_other },
	{ "REFUSE digest", MOVER_REFUSE, on_refuse_digest },
	{ "REFUSE taken", MOVER_REFUSE, on_refuse_taken },
	{ "REFUSE", MOVER_REFUSE, on_refuse },
	{ "REFUSE of another", MOVER_REFUSE, on_refuse_other },
	{ "DONE", MOVER_DONE, on_done },
	{ "DONE of a proved", MOVER_DONE, on_done_earlier },
	{ "DONE of another", MOVER_DONE, on_done_other },
	{ "SYNC same", MOVER_SYNC, on_sync_same },
	{ "SYNC asked", MOVER_SYNC, on_sync_done },
	{ "SYNC earlier", MOVER_SYNC, on_sync_lost },
	{ "SYNC unused", MOVER_SYNC, on_sync_unused },
	{ "session", MOVER_SESSION, on_session },
	{ "nonce", MOVER_NONCE, on_nonce },
	{ "none sent", MOVER_UNTRIED, on_untried },
	{ "PTO", MOVER_TIMER, on_pto },
	{ "second PTO", MOVER_TIMER, on_pto_2 },
	{ "fourth PTO", MOVER_TIMER, on_pto_4 },
	{ "no nonce", MOVER_TIMER, on_no_nonce },
	{ "15 s", MOVER_TIMER, on_give_up },
	{ "pause ends", MOVER_TIMER, on_pause },
	{ "drain ends", MOVER_TIMER, on_drain },
	{ "doubt ends", MOVER_TIMER, on_doubt },
	{ 0 },
};

#endif
