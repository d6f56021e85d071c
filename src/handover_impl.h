/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handover_impl: what handover, outgoing, incoming, later, source, unfit and
 * work share.
 *
 * Private to these seven files.
 */
#ifndef SACIPED_HANDOVER_IMPL_H
#define SACIPED_HANDOVER_IMPL_H

#include "daemon.h"

/* What the core asks for may lead to another step; at most one does. */
struct follow_up {
	bool wanted, evaluate, untried;
	enum migrate_cause cause;
	struct locator candidate;
};

/* A step being carried out. */
struct work {
	TAILQ_ENTRY(work) entry;
	struct track *track;
	union {
		struct mover mover;
		struct follower follower;
	} before;
	struct migrate_actions out;
	unsigned int i; /* the action that is next */
	bool both; /* it, a HOLD, and the ACCEPT_ADD behind it are one */
	bool apart; /* they cannot be */
	bool own; /* not the core's */
	bool proved; /* what was unheard goes on with it */
	bool changed; /* flows may go on that were held */
	struct follow_up next;
	bool refuses;
	struct wire_refuse refusal; /* then: of its track */
};

/* ---- work.c ------------------------------------------------------------ */

/* A copy: it is gone on with in another turn. False without memory. */
bool work_keep(struct track *t, const struct work *w);
/* Takes it out. The caller frees it. */
struct work *work_take(struct track *t);

/* ---- handover.c -------------------------------------------------------- */

/* Holds the flows of a peer's track that track_holds() says are to be, or lets
 * them go. Where the kernel refuses, unheard_ms tells what they are. */
void handover_hold(struct track *t, bool hold, uint64_t now_ms);
/* Goes on with the track's work; `all`: until it is done. */
void handover_go_on(struct track *t, bool all, uint64_t now_ms);
/* One event into the core, its actions carried out; what they lead to
 * follows. */
void handover_step_mover(struct track *t, const struct mover_event *ev,
			 uint64_t now_ms);
void handover_step_follower(struct track *t, const struct follower_event *ev,
			    uint64_t now_ms);

/* ---- incoming.c -------------------------------------------------------- */

/* Answers the MOVEs that have waited for it. May free tracks. */
void incoming_step(struct assoc *a, uint64_t now_ms);

/* ---- later.c ----------------------------------------------------------- */

/* May this MOVE, whose number is new, be looked at now? */
bool later_may_answer(const struct track *t, const struct wire_move *m,
		      uint64_t now_ms);
/* It is about to be: takes a token of the peer's. False where another part of
 * it has had one. */
bool later_look(struct track *t, const struct wire_move *m, uint64_t now_ms);
/* It was: takes the number's token, or a copy's. */
void later_answered(struct track *t, const struct wire_move *m,
		    uint64_t now_ms);
/* Keeps it, where it is the newest, until there is a token. */
void later_keep(struct track *t, const struct peer_rx *rx);
/* When what is kept is due; UINT64_MAX: nothing is. */
uint64_t later_due_ms(const struct track *t);
/* Takes out what is kept. The caller frees it. */
struct later *later_take(struct track *t);
void later_drop(struct track *t);

/* ---- outgoing.c -------------------------------------------------------- */

/* A SEND of the core. */
void outgoing_send(struct track *t, const struct migrate_action *act,
		   uint64_t now_ms);
/* Every locator of the peer that a message about our track may go to; how
 * many, at most `max`. */
unsigned int outgoing_locators(const struct track *t, struct addr *to,
			       unsigned int max);

/* ---- source.c ---------------------------------------------------------- */

/* Where the peer is that the track's flows go to. */
const struct addr *source_peer_locator(const struct track *t);
/* May our side of this track be at `a`? */
bool source_is_allowed(struct track *t, const struct addr *a);
/* The source that the kernel would take for a new connection of these flows,
 * unset where there is none that may be used. */
void source_choose(struct track *t, struct addr *a);
/* Would packets of these flows from `a` leave by an interface that has it? */
bool source_leads_home(struct track *t, const struct addr *a);
/* A move to that address begins. */
void source_expect(struct track *t, const struct addr *next);
/* How what is sent from there gets to the peer now. A gateway that is not known
 * has something to forward: the kernel asks for it then. */
enum source_way source_way(struct track *t, const struct addr *from,
			   uint64_t now_ms);
/* Another usable one that reaches the peer, for when `target` fails: what comes
 * behind it in the kernel's order, but for what the peer has refused and for
 * paths that carry no flows. */
void source_next(struct track *t, const struct addr *target, struct addr *a);
/* Where the peer has refused *a, or its path carries no flows, the next one of
 * which that is not so. */
void source_unrefused(struct track *t, struct addr *a);
/* `a` with a choice of ports; unset where no port is free. */
struct locator source_locator(struct track *t, const struct addr *a);

#endif
