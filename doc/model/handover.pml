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
 * Time is in it by three assumptions: a packet lives shorter than a drain,
 * and than a tombstone; M stops sending from an N that nobody confirmed
 * before P's lease of it ends; a lease ends only after M has left its number.
 *
 * It leaves out: cryptography (no message is forged or crosses sessions; a
 * crash empties the network), ownership and how flows enter a track, nonces,
 * ports, digests, parts, several tracks, families, lost journals, buckets.
 * The challenge is the fact that it came back (answered).
 *
 * I1 to I6 are asserted after each step; of I3 what two locators allow.
 * A reset caused by us is a flow packet on a tuple that its receiver neither
 * accepts nor has as a tombstone. MUTANT_x are faults that must be found.
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

byte losses = LOSSES, dups = DUPS, events = EVENTS, wants = WANTS;
byte refusals = REFUSALS, giveups = GIVEUPS, crashes[2] = CRASHES;

/* Of each host as M. The sets up, in: bits by locator; to, from, gone, asked:
 * bits by number, what its MOVE says; proved: numbers that PROVE was sent for.
 */
byte up[2] = 3, in[2] = 1;
byte m_state[2], seq[2], cur[2], known[2], use[2], used_by[2];
bool hold[2];
byte to[2], from[2], gone[2], proved[2];

/* Of each host as P, about the other's locators. */
byte committed[2], pending[2], newest[2], at[2], dest[2];
byte accepts[2] = 1, cancelled[2], p_gone[2];

/* For the assertions: locators that answered a challenge, or ever accepted. */
byte answered[2] = 1, ever_in[2] = 1, ever_from[2] = 1;

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
/* Numbers whose N is up, so that what P sends there arrives. */
#define HEARD(i)	((UP(i, 1) * to[i]) | (UP(i, 0) * (255 - to[i])))
#define SENDS_FROM(i, l) (!hold[i] && use[i] == (l))
#define KEPT(i)		(BIT(at[i]) | cancelled[i] | ((pending[i] != 0) * \
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
#define I5(i)		(dest[i] == NOWHERE || !HAS(p_gone[i], dest[i]))
#define I6(i)		(known[i] <= committed[1 - (i)] && \
			 committed[1 - (i)] <= seq[i] && \
			 (dest[i] == NOWHERE || dest[i] == at[i]))

inline check()
{
	assert(I1(0) && I1(1));
	assert(NO_RESET(0) && NO_RESET(1));
	assert(I3(0) && I3(1));
	assert(I5(0) && I5(1));
	assert(I6(0) && I6(1));
}

/* --- messages ------------------------------------------------------------- */

/* Each to every locator of P that is accepted and not gone. */
inline send_move(i)
{
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
	ADD(in[h], l);
	ADD(ever_in[h], l);
	m_state[h] = ASKED;
	l = 0;
	send_move(h)
}

/* The next usable source, or none. */
inline begin_any(where)
{
	if
	:: UP(h, where) -> begin(where)
	:: !UP(h, where) && UP(h, 1 - (where)) -> begin(1 - (where))
	:: up[h] == 0 -> m_state[h] = HELD
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
	:: UP(h, use[h]) && !hold[h] -> m_state[h] = STEADY
#else
	:: UP(h, use[h]) && !hold[h] && DECIDED(h) -> m_state[h] = STEADY
	/* P may not send there. */
	:: UP(h, use[h]) && !hold[h] && !DECIDED(h) -> begin(use[h])
#endif
	:: !UP(h, use[h]) || hold[h] -> begin_any(1 - N(h))
	fi
}

/* --- peer ----------------------------------------------------------------- */

inline commit(s)
{
	assert(s > committed[h]);	/* I6 */
	committed[h] = s;
	at[h] = HAS(to[O], s);
	dest[h] = at[h];
	pending[h] = 0;
	ADD(done[O], s)
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
		:: HAS(to[O], s) == dest[h] -> ADD(done[O], s)
		:: else
		fi
	:: s > 0 && s == pending[h] -> ADD(accept[O], s)
	:: else ->
		/* Cancelled, and accepted to the end of its lease. */
		if
		:: pending[h] != 0 ->
#ifndef MUTANT_CANCEL
			ADD(cancelled[h], HAS(to[O], pending[h]));
#endif
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
				pending[h] = s;
#ifdef MUTANT_UNPROVED
				dest[h] = HAS(to[O], s);
				at[h] = dest[h];
#endif
				ADD(accept[O], s)
			fi
		fi
	fi
}

inline on_prove(s)
{
	if
	:: s > 0 && s == pending[h] ->
		ADD(answered[O], HAS(to[O], s));
		commit(s)
	:: s > 0 && s == committed[h] && s != pending[h] -> ADD(done[O], s)
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
		/* Another event: a new number, while N goes on sending. */
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
	/* By chance, or because P has forgotten it. */
	:: atomic { m_state[h] == SWITCHED && UP(h, N(h)) && (giveups > 0 ||
		    (!FLYING(h) && pending[O] != seq[h] &&
		     committed[O] != seq[h])) ->
		if
		:: pending[O] != seq[h] && committed[O] != seq[h]
		:: else -> giveups--
		fi;
		hold[h] = true;
#ifdef MUTANT_OLD_LOCATOR
		use[h] = cur[h]; hold[h] = !UP(h, cur[h]);
#endif
		begin_any(cur[h]); check() }
	/* M: the drain ends. */
	:: atomic { m_state[h] == STEADY && known[h] == seq[h] &&
		    in[h] != BIT(cur[h]) ->
		in[h] = BIT(cur[h]); check() }

	/* M hears P: on N, where these are sent to. */
	:: atomic { (accept[h] & HEARD(h)) != 0 ->
		pick(accept[h], HEARD(h));
		if
		:: s == seq[h] && m_state[h] == ASKED -> switch_to_n()
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
	:: atomic { pending[h] != 0 && !SENDS_FROM(O, HAS(to[O], pending[h])) &&
		    (pending[h] != seq[O] || m_state[O] < ASKED) ->
		pending[h] = 0; check() }
	:: atomic { HAS(cancelled[h], 0) && !SENDS_FROM(O, 0) ->
		DEL(cancelled[h], 0); check() }
	:: atomic { HAS(cancelled[h], 1) && !SENDS_FROM(O, 1) ->
		DEL(cancelled[h], 1); check() }

	/* The daemon ends at any point, and the next one finds the journal and
	 * what the kernel has. A new session: the network is empty. SYNC. */
	:: atomic { crashes[h] > 0 ->
		crashes[h]--;
		clear(0); clear(1);
		if
		:: m_state[h] >= ASKED -> m_state[h] = HELD
		:: else
		fi;
		if
		:: pending[h] != 0 ->
			ADD(cancelled[h], HAS(to[O], pending[h]));
			pending[h] = 0
		:: else
		fi;
		newest[h] = committed[h];
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
