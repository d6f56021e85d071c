/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handover of sacip(7), MOVES and STATES, written from the page and not
 * from the source: two hosts, each mover of its own locators and peer of the
 * other's, both at once; one track each, two locators each.
 *
 * It has: the numbers, MOVE ACCEPT REFUSE PROVE DONE, accepted sets, drains
 * and leases, what is gone, what is held, giving up, SYNC after a crash.
 * The network loses (LOSSES), repeats (DUPS) and reorders as it likes.
 * Addresses go and come (EVENTS), a better source appears (WANTS), P refuses
 * (REFUSALS), M gives up for no reason (GIVEUPS), a daemon crashes and finds
 * its journal (CRASHES): so often in all, at any end and in any state.
 * A repetition is sent where nothing of its number is on its way any more, so
 * every run ends, and "every move ends" is about where runs end. The property
 * "ends" says so once more, and finds runs that do not.
 *
 * Time is a clock of half leases (TICKS). By the end of each a number that M
 * had begun is over, asked or switched to, and so is the permit to send from
 * its N; a lease that P had begun is half over, or may end. One thing is
 * assumed: a packet lives shorter than a drain, and than a tombstone.
 *
 * It leaves out: cryptography (no message is forged or crosses sessions; a
 * crash empties the network), ownership and how flows enter a track, nonces,
 * ports, digests, parts, several tracks, families, lost journals, buckets.
 * The challenge is the fact that it came back (answered).
 *
 * I1 to I6 are asserted: I2 where a message is sent, the others after each step;
 * of I3 what two locators allow, of I4 why acceptance ends, not what a tombstone
 * then does: what was ever accepted answers with no reset (NO_RESET). One is
 * caused by us where a flow packet goes to who never accepted its tuple.
 * MUTANT_x are faults that must be found; with ONLY by that one of I1 to I6.
 */
#ifndef LOSSES
#define LOSSES		1
#endif
#ifndef DUPS
#define DUPS		1
#endif
#ifndef EVENTS
#define EVENTS		2
#endif
#ifndef WANTS
#define WANTS		0
#endif
#ifndef REFUSALS
#define REFUSALS	0
#endif
#ifndef GIVEUPS
#define GIVEUPS		0
#endif
#ifndef CRASHES
#define CRASHES		0	/* of each side */
#endif
#ifndef TICKS
#define TICKS		0	/* half leases that pass; two end one */
#endif
#ifndef ONLY
#define ONLY		0	/* all */
#endif
#ifndef MOVERS
#define MOVERS		2	/* hosts whose addresses change */
#endif

#define MAX_SEQ		7	/* bits in a byte */
#define NOWHERE		2
#define STEADY		0
#define HELD		1
#define ASKED		2
#define SWITCHED	3

#define BIT(x)		(1 << (x))
#define HAS(set, x)	(((set) >> (x)) & 1)
#define ADD(set, x)	set = set | BIT(x)
#define DEL(set, x)	set = set & (255 - BIT(x))

byte ticks = TICKS, losses = LOSSES, dups = DUPS, events = EVENTS, wants = WANTS;
byte refusals = REFUSALS, giveups = GIVEUPS, crashes[2] = CRASHES;

/* Of each host as M. The sets up, in: bits by locator; to, from, gone, asked:
 * bits by number, what its MOVE says; proved: numbers that PROVE was sent for.
 */
byte up[2] = 3, in[2] = 1;
byte m_state[2], seq[2], cur[2], known[2], use[2], used_by[2];
bool hold[2], late[2];	/* late: 15 s since the number began, or N is sent from */
byte to[2], from[2], gone[2], proved[2];

/* Of each host as P, about the other's locators. */
byte committed[2], pending[2], newest[2], at[2], dest[2];
byte accepts[2] = 1, cancelled[2], p_gone[2];
/* Leases, of what is pending and of what was cancelled: half or all of it is
 * over. By locator. */
byte half[2], over[2];

/* For the assertions: locators that answered a challenge, or ever accepted. What
 * was accepted a step ago; what P may end, by a later number or a lease. */
byte answered[2] = 1, ever_in[2] = 1, ever_from[2] = 1;
byte was_in[2] = 1, was_accepts[2] = 1, may_end[2];

/* On their way: bits by number, of the moves of host i. MOVE and PROVE by the
 * locator of P that they go to. */
byte move0[2], move1[2], prove0[2], prove1[2], accept[2], refuse[2], done[2];

#define O		(1 - h)
#define N(i)		HAS(to[i], seq[i])
#define UP(i, l)	HAS(up[i], l)
/* Where the messages of M, host i, may go. */
#define REACH(i)	(accepts[i] & (255 - p_gone[i]))
#define LIVE(i)		(up[i] != 0 && (REACH(i) & up[1 - (i)]) != 0)
#define TO(i, l, set)	(UP(1 - (i), l) * (set))
#define FLYING(i)	(HAS(TO(i, 0, move0[i] | prove0[i]) | \
			     TO(i, 1, move1[i] | prove1[i]), seq[i]) || \
			 (HAS(accept[i] | refuse[i] | done[i], seq[i]) && \
			  UP(i, N(i))))
/* P may know a later number of the same locator: a copy of a MOVE that was
 * refused is checked anew, and passes when M has heard REFUSE already. */
#define RESTS(i)	(m_state[i] == STEADY && !hold[i] && \
			 UP(i, cur[i]) && use[i] == cur[i] && \
			 at[1 - (i)] == cur[i] && dest[1 - (i)] == cur[i] && \
			 known[i] <= committed[1 - (i)])
#ifdef MUTANT_HALF_A_LEASE
#define ENDED(i)	(half[i] | over[i])
#else
#define ENDED(i)	over[i]
#endif
/* Numbers whose N is up, so that what P sends there arrives. */
#define HEARD(i)	((UP(i, 1) * to[i]) | (UP(i, 0) * (255 - to[i])))
#ifdef MUTANT_CANCELLED
#define LEAVES(i)	0
#else
#define LEAVES(i)	cancelled[i]
#endif
#define KEPT(i)		(BIT(at[i]) | LEAVES(i) | ((pending[i] != 0) * \
			 BIT(HAS(to[1 - (i)], pending[i]))))
#define SETTLED(i)	(RESTS(i) || !LIVE(i))

/* What holds after every step, of what host i sends. */
#define SENDS(i)	(!hold[i] && dest[i] != NOWHERE)
#define I1(i)		(!SENDS(i) || (HAS(accepts[1 - (i)], use[i]) && \
			 HAS(in[1 - (i)], dest[i]) && \
			 HAS(answered[1 - (i)], dest[i])))
#define NO_RESET(i)	(!SENDS(i) || (HAS(ever_from[1 - (i)], use[i]) && \
			 HAS(ever_in[1 - (i)], dest[i])))
/* I3: the accepted sets hold current and pending, whatever drains. */
#define I3(i)		(HAS(in[i], cur[i]) && HAS(accepts[i], at[i]) && \
			 (m_state[i] < ASKED || HAS(in[i], N(i))) && \
			 (pending[i] == 0 || \
			  HAS(accepts[i], HAS(to[1 - (i)], pending[i]))))
/* I2: what ACCEPT or DONE for a number, or MOVE, promises. */
#define P_KEEPS(i, s)	HAS(accepts[i], HAS(to[1 - (i)], s))
#define M_KEEPS(i)	HAS(in[i], N(i))
/* I4: of P what may_end has; of M what a later number was confirmed for, than
 * all that asked for it. */
#define ASKS_0(i)	(((BIT(seq[i] + 1) - 1) & (255 - to[i])) >> (known[i] + 1))
#define ASKS_1(i)	(to[i] >> (known[i] + 1))
#define ENDS(was, set)	((was) & (255 - (set)))
#define I4(i)		(ENDS(was_accepts[i], accepts[i] | may_end[i]) == 0 && \
			 (!HAS(ENDS(was_in[i], in[i]), 0) || \
			  (cur[i] != 0 && ASKS_0(i) == 0)) && \
			 (!HAS(ENDS(was_in[i], in[i]), 1) || \
			  (cur[i] != 1 && ASKS_1(i) == 0)))
#define I5(i)		(dest[i] == NOWHERE || !HAS(p_gone[i], dest[i]))
#define I6(i)		(known[i] <= committed[1 - (i)] && \
			 committed[1 - (i)] <= seq[i] && \
			 (dest[i] == NOWHERE || dest[i] == at[i]))

inline keeps(number, holds)
{
	assert((ONLY != 0 && ONLY != number) || (holds))
}

inline check()
{
	keeps(1, I1(0) && I1(1));
	keeps(1, NO_RESET(0) && NO_RESET(1));
	keeps(3, I3(0) && I3(1));
	keeps(4, I4(0) && I4(1));
	keeps(5, I5(0) && I5(1));
	keeps(6, I6(0) && I6(1));
	was_in[0] = in[0]; was_in[1] = in[1];
	was_accepts[0] = accepts[0]; was_accepts[1] = accepts[1]
}

/* --- messages ------------------------------------------------------------- */

/* Each to every locator of P that is accepted and not gone. */
inline send_move(i)
{
	keeps(2, M_KEEPS(i));
	if
	:: HAS(REACH(i), 0) -> ADD(move0[i], seq[i])
	:: else
	fi;
	if
	:: HAS(REACH(i), 1) -> ADD(move1[i], seq[i])
	:: else
	fi
}

inline send_prove(i)
{
	keeps(2, M_KEEPS(i));
	ADD(proved[i], seq[i]);
	if
	:: HAS(REACH(i), 0) -> ADD(prove0[i], seq[i])
	:: else
	fi;
	if
	:: HAS(REACH(i), 1) -> ADD(prove1[i], seq[i])
	:: else
	fi
}

/* One of those that can arrive: lost now, received, or received once more. */
inline pick(set, mask)
{
	if
	:: HAS(set & (mask), 1) -> s = 1
	:: HAS(set & (mask), 2) -> s = 2
	:: HAS(set & (mask), 3) -> s = 3
	:: HAS(set & (mask), 4) -> s = 4
	:: HAS(set & (mask), 5) -> s = 5
	:: HAS(set & (mask), 6) -> s = 6
	:: HAS(set & (mask), 7) -> s = 7
	fi;
	if
	:: DEL(set, s)
	:: dups > 0 -> dups--
	:: losses > 0 -> losses--; DEL(set, s); s = 0
	fi
}

/* What has a lease, by locator. */
#define LEASED(i)	(cancelled[i] | ((pending[i] != 0) * \
			 BIT(HAS(to[1 - (i)], pending[i]))))

inline half_a_lease(i)
{
	over[i] = (over[i] | half[i]) & LEASED(i);
	may_end[i] = may_end[i] | over[i];
	half[i] = LEASED(i);
	if
	:: m_state[i] == ASKED -> late[i] = true
	:: m_state[i] == SWITCHED ->
		late[i] = true;
#ifndef MUTANT_PERMIT
		hold[i] = true
#endif
	:: else
	fi
}

/* The lease of l is a new one, or there is none. */
inline begin_lease(l)
{
	DEL(half[h], l);
	DEL(over[h], l)
}

inline clear(i)
{
	move0[i] = 0; move1[i] = 0; prove0[i] = 0; prove1[i] = 0;
	accept[i] = 0; refuse[i] = 0; done[i] = 0
}

/* --- mover ---------------------------------------------------------------- */

inline begin(where)
{
	l = where;	/* before the number, which it may depend on */
	assert(seq[h] < MAX_SEQ);	/* it comes to rest within so many */
	/* Sends from what nobody confirmed: no longer. */
	if
#if !defined MUTANT_PERMIT && !defined MUTANT_OLD_LOCATOR
	:: m_state[h] == SWITCHED -> hold[h] = true
#endif
	:: else
	fi;
	seq[h]++;
	if
	:: l == 1 -> ADD(to[h], seq[h])
	:: else
	fi;
	if
	:: use[h] == 1 -> ADD(from[h], seq[h])
	:: else
	fi;
	if
	:: !UP(h, use[h]) -> ADD(gone[h], seq[h]); hold[h] = true
	:: else
	fi;
#ifdef MUTANT_MOVE_FIRST
	send_move(h);
#endif
	ADD(in[h], l);
	ADD(ever_in[h], l);
	m_state[h] = ASKED;
	late[h] = false;
	l = 0;
#ifndef MUTANT_MOVE_FIRST
	send_move(h)
#endif
}

/* The next usable source, or none. */
inline begin_any(where)
{
	if
	:: UP(h, where) -> begin(where)
	:: !UP(h, where) && UP(h, 1 - (where)) -> begin(1 - (where))
	:: up[h] == 0 -> m_state[h] = HELD; late[h] = false
	fi
}

inline switch_to_n()
{
	use[h] = N(h);
	used_by[h] = seq[h];
	hold[h] = !UP(h, use[h]);
	m_state[h] = SWITCHED;
	send_prove(h)
}

/* DONE, or what SYNC says was committed. */
inline on_done(s)
{
	if
	:: s > known[h] && (HAS(proved[h], s) ||
			    (s == seq[h] && m_state[h] == ASKED)) ->
		known[h] = s;
		cur[h] = HAS(to[h], s);
		if
		:: used_by[h] < s ->
			use[h] = cur[h];
			used_by[h] = s;
			hold[h] = !UP(h, use[h])
		:: else
		fi;
		if
		:: s == seq[h] ->
			use[h] = cur[h];
			used_by[h] = s;
			hold[h] = !UP(h, use[h]);
			late[h] = false;
			m_state[h] = STEADY
		:: else
		fi
	:: else
	fi
}

/* Nothing that PROVE was sent for is undecided. */
#define DECIDED(h)	((proved[h] >> (known[h] + 1)) == 0)

inline on_refuse()
{
	if
#ifdef MUTANT_REST_UNDECIDED
	:: UP(h, use[h]) ->
		m_state[h] = STEADY; late[h] = false; hold[h] = false
#else
	:: UP(h, use[h]) && !hold[h] && DECIDED(h) ->
		m_state[h] = STEADY; late[h] = false
	/* P may not send there. */
	:: UP(h, use[h]) && !DECIDED(h) -> begin(use[h])
	:: UP(h, use[h]) && hold[h] && DECIDED(h) -> begin_any(1 - N(h))
#endif
	:: !UP(h, use[h]) -> begin_any(1 - N(h))
	fi
}

/* --- peer ----------------------------------------------------------------- */

inline send_accept(s)
{
	keeps(2, P_KEEPS(h, s));
	ADD(accept[O], s)
}

inline send_done(s)
{
	keeps(2, P_KEEPS(h, s));
	ADD(done[O], s)
}

inline commit(s)
{
	assert(s > committed[h]);	/* I6 */
	committed[h] = s;
	at[h] = HAS(to[O], s);
	dest[h] = at[h];
	pending[h] = 0;
	may_end[h] = (3 - BIT(at[h])) &
		     (may_end[h] | (255 - cancelled[h]));
	send_done(s)
}

inline on_move(s)
{
	if
	:: s == 0	/* lost */
#ifndef MUTANT_OLD_NUMBER
	:: s > 0 && s < newest[h]
#else
	:: s > 0 && s < committed[h]
#endif
	:: s > 0 && s == committed[h] && s == newest[h] ->
		if
		:: HAS(to[O], s) == dest[h] -> send_done(s)
		:: else
		fi
	:: s > 0 && s == pending[h] -> send_accept(s)
	:: else ->
		/* Cancelled, and accepted to the end of its lease. */
		if
		:: pending[h] != 0 ->
			ADD(cancelled[h], HAS(to[O], pending[h]));
			pending[h] = 0
		:: else
		fi;
		newest[h] = s;
		if
		:: HAS(gone[O], s) ->
			ADD(p_gone[h], HAS(from[O], s));
#ifndef MUTANT_GONE
			if
			:: dest[h] == HAS(from[O], s) -> dest[h] = NOWHERE
			:: else
			fi
#endif
		:: else
		fi;
		if
		:: refusals > 0 -> refusals--; ADD(refuse[O], s)
		:: true ->
			DEL(p_gone[h], HAS(to[O], s));
			if
			:: HAS(to[O], s) == at[h] -> commit(s)
			:: else ->
#ifndef MUTANT_ACCEPT_FIRST
				ADD(accepts[h], HAS(to[O], s));
#endif
				ADD(ever_from[h], HAS(to[O], s));
				DEL(may_end[h], HAS(to[O], s));
				pending[h] = s;
				DEL(cancelled[h], HAS(to[O], s));
				begin_lease(HAS(to[O], s));
#ifdef MUTANT_UNPROVED
				dest[h] = HAS(to[O], s);
				at[h] = dest[h];
#endif
				send_accept(s)
			fi
		fi
	fi
}

inline on_prove(s)
{
	if
	/* M has left what was cancelled: it drains. */
	:: s > 0 && s == pending[h] ->
		cancelled[h] = 0;
		ADD(answered[O], HAS(to[O], s));
		commit(s)
	:: s > 0 && s == committed[h] && s != pending[h] -> send_done(s)
	:: else
	fi
}

/* --- a host --------------------------------------------------------------- */

proctype host(byte h)
{
	byte s, l;

end:	do
	/* Addresses. The kernel holds what would leave from one that went. */
	:: atomic { events > 0 && h < MOVERS ->
		events--;
		if
		:: l = 0
		:: l = 1
		fi;
		up[h] = up[h] ^ BIT(l);
		if
		:: l == use[h] && !UP(h, l) -> hold[h] = true
		:: else
		fi;
		/* Another event: a new number. */
		if
		:: m_state[h] == SWITCHED && UP(h, N(h)) ->
			if
			:: begin(N(h))
			:: up[h] == 3 -> begin(1 - N(h))
			fi
		:: else
		fi;
		l = 0; check() }
	:: atomic { wants > 0 && h < MOVERS && m_state[h] == STEADY &&
		    up[h] == 3 ->
		wants--; begin(1 - cur[h]); check() }

	/* M: what addresses mean in each state. */
	:: atomic { m_state[h] == STEADY && (!UP(h, cur[h]) || hold[h]) ->
		if
		/* Back before any MOVE. */
		:: UP(h, cur[h]) && known[h] == seq[h] -> hold[h] = false
		:: else -> begin_any(1 - cur[h])
		fi;
		check() }
	:: atomic { m_state[h] == HELD && up[h] != 0 ->
		if
		:: UP(h, use[h]) && use[h] == cur[h] && known[h] == seq[h] ->
			hold[h] = false; m_state[h] = STEADY
		:: else -> begin_any(use[h])
		fi;
		check() }
	:: atomic { m_state[h] >= ASKED && !UP(h, N(h)) ->
		begin_any(1 - N(h)); check() }
	/* What was only left is gone now: P must hear it. */
	:: atomic { m_state[h] == ASKED && !UP(h, use[h]) && UP(h, N(h)) &&
		    !(HAS(gone[h], seq[h]) &&
		      HAS(from[h], seq[h]) == use[h]) ->
		begin(N(h)); check() }

	/* M: repetition and giving up. */
#ifndef MUTANT_NO_REPEAT
	:: atomic { m_state[h] == ASKED && UP(h, N(h)) && LIVE(h) &&
		    !FLYING(h) ->
		send_move(h); check() }
	:: atomic { m_state[h] == SWITCHED && UP(h, N(h)) && LIVE(h) &&
		    !FLYING(h) && (pending[O] == seq[h] ||
				   committed[O] == seq[h]) ->
		send_prove(h); check() }
#endif
	:: atomic { m_state[h] == ASKED && giveups > 0 && UP(h, N(h)) ->
		giveups--; begin_any(use[h]); check() }
	:: atomic { late[h] && m_state[h] == ASKED ->
		late[h] = false; begin_any(cur[h]); check() }
	/* In time, by chance, or because P has forgotten it. */
	:: atomic { m_state[h] == SWITCHED && UP(h, N(h)) && (late[h] ||
		    giveups > 0 || (!FLYING(h) && pending[O] != seq[h] &&
		     committed[O] != seq[h])) ->
		if
		:: late[h] || (pending[O] != seq[h] && committed[O] != seq[h])
		:: else -> giveups--
		fi;
		late[h] = false;
		hold[h] = true;
#ifdef MUTANT_OLD_LOCATOR
		use[h] = cur[h]; hold[h] = !UP(h, cur[h]);
#endif
		begin_any(cur[h]); check() }
	/* M: the drain ends. */
#ifdef MUTANT_NO_DRAIN
	:: atomic { m_state[h] == SWITCHED && in[h] != BIT(N(h)) ->
		in[h] = BIT(N(h)); check() }
#endif
	:: atomic { m_state[h] == STEADY && known[h] == seq[h] &&
		    in[h] != BIT(cur[h]) ->
		in[h] = BIT(cur[h]); check() }

	/* M hears P: on N, where these are sent to. */
	:: atomic { (accept[h] & HEARD(h)) != 0 ->
		pick(accept[h], HEARD(h));
		if
		:: s == seq[h] && m_state[h] == ASKED && !late[h] ->
			switch_to_n()
		:: s == seq[h] && m_state[h] == SWITCHED -> send_prove(h)
		:: else
		fi;
		s = 0; check() }
	:: atomic { (refuse[h] & HEARD(h)) != 0 ->
		pick(refuse[h], HEARD(h));
		if
		:: s == seq[h] && m_state[h] == ASKED -> on_refuse()
		:: else
		fi;
		s = 0; check() }
	:: atomic { (done[h] & HEARD(h)) != 0 ->
		pick(done[h], HEARD(h)); on_done(s); s = 0; check() }

	/* P hears M: on the locator that these went to. */
	:: atomic { UP(h, 0) && move0[O] != 0 ->
		pick(move0[O], 255); on_move(s); s = 0; check() }
	:: atomic { UP(h, 1) && move1[O] != 0 ->
		pick(move1[O], 255); on_move(s); s = 0; check() }
	:: atomic { UP(h, 0) && prove0[O] != 0 ->
		pick(prove0[O], 255); on_prove(s); s = 0; check() }
	:: atomic { UP(h, 1) && prove1[O] != 0 ->
		pick(prove1[O], 255); on_prove(s); s = 0; check() }

	/* P: drains and leases end. */
	:: atomic { accepts[h] != KEPT(h) -> accepts[h] = KEPT(h); check() }
	:: atomic { pending[h] != 0 && HAS(ENDED(h), HAS(to[O], pending[h])) ->
		newest[h] = pending[h] + 1;	/* that one is over */
		pending[h] = 0; check() }
	:: atomic { (cancelled[h] & over[h]) != 0 ->
		cancelled[h] = cancelled[h] & (255 - over[h]); check() }

	/* Half a lease, for both; who is late leaves his number first. Time may
	 * stand still from any moment on. */
	:: atomic { h == 0 && ticks > 0 && !late[0] && !late[1] ->
		ticks--; half_a_lease(0); half_a_lease(1); check() }
	:: atomic { h == 0 && ticks > 0 -> ticks = 0 }

	/* The daemon ends at any point, and the next one finds the journal, ends
	 * of timers included, and what the kernel has. A new session: the network
	 * is empty. SYNC. */
	:: atomic { crashes[h] > 0 ->
		crashes[h]--;
		clear(0); clear(1);
		if
		:: committed[h] > known[O] -> ADD(done[O], committed[h])
		:: else
		fi;
		if
		:: committed[O] > known[h] -> ADD(done[h], committed[O])
		:: else
		fi;
		check() }
	od
}

/* Where nothing can happen any more, every move has ended. */
active proctype at_the_end()
{
	timeout -> assert(SETTLED(0) && SETTLED(1))
}

init {
	atomic { run host(0); run host(1) }
}

#ifdef LIVENESS
ltl ends { [] <> (SETTLED(0) && SETTLED(1)) }
#endif
