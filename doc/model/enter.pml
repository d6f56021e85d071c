/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a flow enters a track, sacip(7), "Entering a track", from the page
 * alone: M with one track that goes between two locators, 0, where the flow's
 * socket is, and 1; and P, to whom M offers one flow into that track again
 * and again while it moves, and stops waiting for answers when it likes.
 *
 * It has: FLOWS and its answer with the place of the track (number, locator),
 * MOVE with a digest (whether the flow is in it), REFUSE for that, DONE; the
 * network loses, repeats and reorders: what was sent may arrive at any time,
 * any number of times, or never. MAX_SEQ bounds the numbers.
 *
 * It leaves out: proofs, that a commit takes ACCEPT and PROVE (handover.pml),
 * P's tracks, gone locators, lost memory, flows that change their track, other
 * flows in it (P knows the track beforehand, which others in it mean, or not).
 *
 * Asserted after each step: the flow is sent to no locator where M does not
 * accept it. MUTANT_x are faults that must be found; so must WITNESS, a flow
 * that has entered and moved.
 */
#ifndef MAX_SEQ
#define MAX_SEQ		5
#endif

#define BIT(x)		(1 << (x))
#define HAS(set, x)	(((set) >> (x)) & 1)

/* M: the newest number, the last that it knows as committed, and the locator
 * of that; to, with: bits by number, what its MOVE says. */
byte asked, known, m_at, to, with;
bool rests = true, m_has;

/* P: the newest number, the committed one and its locator, those refused. */
byte newest, committed, p_at, refused;
bool knows, p_has;

/* On their way for ever: bits by number. */
byte flows, confirmed, move, refuse, done;

/* Where M accepts the flow: the socket, or the track's locator and those that
 * it asked for since. */
#define ASKED_FOR(s, l)	(HAS(with, s) && (s) > known && HAS(to, s) == (l))
#define ACCEPTS(l)	((!m_has && (l) == 0) || (m_has && ((l) == m_at || \
			 ASKED_FOR(1, l) || ASKED_FOR(2, l) || \
			 ASKED_FOR(3, l) || ASKED_FOR(4, l) || \
			 ASKED_FOR(5, l))))

inline check()
{
	s = 0;
	assert(!p_has || ACCEPTS(p_at));
	assert(known <= committed && committed <= asked);
#ifdef WITNESS
	assert(!(m_has && p_has && rests && m_at == 1 && p_at == 1))
#endif
}

inline one_of(set)
{
	if
	:: HAS(set, 0) -> s = 0
	:: HAS(set, 1) -> s = 1
	:: HAS(set, 2) -> s = 2
	:: HAS(set, 3) -> s = 3
	:: HAS(set, 4) -> s = 4
	:: HAS(set, 5) -> s = 5
	fi
}

inline ask(l)
{
	asked++;
	to = to | (BIT(asked) * (l));
	with = with | (BIT(asked) * m_has);
	move = move | BIT(asked);
	rests = false
}

active proctype network()
{
	byte s;

	if
	:: knows = true
	:: knows = false
	fi;
end:	do
	/* M offers the flow at its own address, and begins moves. */
	:: atomic { rests && m_at == 0 -> flows = flows | BIT(known); check() }
	:: atomic { rests && asked < MAX_SEQ -> ask(1 - m_at); check() }
	:: atomic { !rests && asked < MAX_SEQ ->
		if
		:: ask(0)
		:: ask(1)
		fi;
		check() }
	/* P takes it, where both agree. */
	:: atomic { flows != 0 ->
		one_of(flows);
		if
		:: p_has || (!knows && committed == 0) ||
#ifdef MUTANT_ANYWHERE
		   true ->
#else
		   (p_at == 0 && s <= committed) ->
#endif
			knows = true;
			p_has = true;
			confirmed = confirmed | BIT(s)
		:: else	/* later */
		fi;
		check() }
	/* M takes it too, while it rests. */
	:: atomic { confirmed != 0 ->
		if
		:: rests && m_at == 0 -> m_has = true
		:: else
		fi;
		check() }
	/* P: MOVE. */
	:: atomic { move != 0 ->
		one_of(move);
		if
		:: s == committed -> done = done | BIT(s)
		:: s < newest || HAS(refused, s)
		:: s >= newest && s != committed && !HAS(refused, s) ->
			newest = s;
			if
#ifndef MUTANT_DIGEST
			:: !knows || HAS(with, s) != p_has ->
				refused = refused | BIT(s);
				refuse = refuse | BIT(s)
			:: knows && HAS(with, s) == p_has ->
#else
			:: true ->
#endif
				committed = s;
				p_at = HAS(to, s);
				done = done | BIT(s)
			fi
		fi;
		check() }
	/* M: where the number before is undecided, REFUSE leaves it asking. */
	:: atomic { HAS(refuse, asked) && !rests ->
		if
		:: known == asked - 1 || (refused >> (known + 1)) ==
		   (BIT(asked - known) - 1) -> rests = true
		:: else
		fi;
		check() }
	:: atomic { done != 0 ->
		one_of(done);
		if
		:: s > known ->
			known = s;
			m_at = HAS(to, s);
			rests = (s == asked)
		:: else
		fi;
		check() }
	od
}
