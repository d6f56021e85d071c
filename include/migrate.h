/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrate: the handover of one track, as two independent pure objects.
 *
 * A `mover` is the mover half of one of our own tracks: which of our
 * locators we send from and accept on. A `follower` is the peer half of one
 * of the peer's tracks: which of its locators we send to and accept from.
 * Each turns (state, event, now) into (state, ordered actions).
 *
 * It knows locators, sequence numbers and messages; never flows, ports,
 * sockets or sessions, no fd, clock, randomness, allocation or logging. Both
 * structs are plain data without pointers: embed them, copy them, journal
 * them byte by byte (times are CLOCK_BOOTTIME, valid until the next boot).
 *
 * How the owner uses it, for either object:
 *
 *	struct mover before = *m;
 *	mover_step(m, &event, now_ms, &actions);
 *	for (i = 0; i < actions.n; i++)
 *		if (carry_out(&actions.action[i]) < 0)
 *			break;
 *	if (i < actions.n)
 *		mover_rollback(m, &before, &actions, i, now_ms);
 *	arm a timer for mover_deadline_ms(m)
 *
 * - Actions are carried out in order, up to the first that fails. Those that
 *   may fail come before everything that goes on the wire (I2, I7). SEND and
 *   all that follow it never count as failed: a datagram may always be lost.
 * - The views show the new state while the actions are carried out.
 * - When a deadline has passed, TIMER goes in before any message or packet
 *   of that moment: after a suspend, a permission to send may have run out.
 * - A flow of own track m and peer's track f is held while mover_holds(m) or
 *   follower_holds(f); else it goes out on (mover_locator, follower_locator).
 *   Its accepted set is accepted(m) x accepted(f), at every addition (I3).
 *
 * sacip(7), "Moves" and "States"; what was changed in it and why:
 * doc/protocol-notes.md.
 */
#ifndef SACIPED_MIGRATE_H
#define SACIPED_MIGRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "bucket.h"
#include "reason.h"
#include "refusals.h"

#define MIGRATE_CHALLENGE_SIZE 16
#define MIGRATE_ACCEPTED_MAX 8 /* locators accepted per object */
#define MIGRATE_UNPROVED_MAX 2 /* of these, at the peer's: what it has offered */
#define MIGRATE_ACTIONS_MAX 24
#define MIGRATE_ACCEPT_REPEATS_MAX 16 /* ACCEPTs per sequence number */
#define MIGRATE_COPY_MS 10 /* copies of a MOVE within it count once */

#define MIGRATE_PTO_MIN_MS 20
#define MIGRATE_PTO_MAX_MS 1000
#define MIGRATE_PTO_UNKNOWN_MS 250
#define MIGRATE_BACKOFF_MAX_MS 8000
#define MIGRATE_HOLD_MAX_MS 2000 /* then the newest packet is dropped */
#define MIGRATE_DRAIN_MIN_MS 2000
#define MIGRATE_LEASE_MS 30000
#define MIGRATE_LOST_MS 10000 /* to be proved anew, where a peer forgot */
#define MIGRATE_GIVE_UP_MS (MIGRATE_LEASE_MS / 2)
#define MIGRATE_TRY_MIN_MS 250 /* a nonce has that long to cross, or 2 PTO */
#define MIGRATE_TRY_MAX_MS (2 * MIGRATE_PTO_MAX_MS) /* no trial lasts longer */
#define MIGRATE_TOMBSTONE_MS 60000 /* for the executor of ACCEPT_DEL */
#define MIGRATE_KERNEL_RETRY_MS 1000

/* Numbers of one track: a token for each, at either end alike, so that whoever
 * keeps to it never waits for the other. */
#define MIGRATE_BURST 20
#define MIGRATE_RESERVE 4
#define MIGRATE_TOKEN_MS 500
extern const struct bucket_kind migrate_numbers;
/* MOVEs of one peer that are looked at, of all its tracks. */
#define MIGRATE_PEER_BURST 64
#define MIGRATE_PEER_TOKEN_MS 125
extern const struct bucket_kind migrate_peer;

/* A peer's number is not further ahead of the last one that was seen: nobody
 * uses up so many, and one that was taken would make all that follow old. */
#define MIGRATE_JUMP_MAX ((uint64_t)1 << 32)

#define MIGRATE_NEVER UINT64_MAX

/*
 * A locator: an address, and which set of wire ports the flows use with it.
 * `ports` is a name given by the owner of the object, opaque here: 0 is the
 * identity ports, any other value one choice of ports for the whole track. A
 * flow's port is a function of (flow, ports). Two locators with the same
 * address and other ports are different: a change of ports alone is a move.
 */
struct locator {
	struct addr addr;
	uint64_t ports;
};

bool locator_equal(const struct locator *a, const struct locator *b);

/* Round-trip times of answered, unrepeated requests (RFC 6298). */
struct rtt {
	uint32_t srtt_ms; /* 0: no sample yet */
	uint32_t rttvar_ms;
};

/* Also fed by the owner with the round trip of a PROBE. */
void rtt_add_sample(struct rtt *r, uint64_t sample_ms);
/* clamp(2 srtt + 4 rttvar, 20 ms, 1 s); 250 ms while unknown. */
uint32_t rtt_pto_ms(const struct rtt *r);

enum locator_role {
	LOCATOR_CURRENT, /* the last committed one */
	LOCATOR_PENDING, /* of the move under way */
	LOCATOR_DRAINING, /* of an older move: packets may still come */
};

/* One locator on which (mover) or from which (follower) we accept. */
struct accepted {
	struct locator locator;
	/* mover: PROVE sent, no answer: the peer may use it; follower: offered by
	 * that number, and nobody has proved to be there. 0: neither */
	uint64_t proved_seq;
	uint64_t until_ms; /* end of its drain or lease */
	/* mover: of the last PROVE for it; zeros: none was sent */
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE];
};

/* ------------------------------------------------------------- actions */

/* In the order in which one step may contain them. */
enum migrate_action_type {
	/* May fail: the executor stops and calls *_rollback(). */
	MIGRATE_JOURNAL, /* write the object down (I7) */
	MIGRATE_HOLD, /* this half holds from now on, until RELEASE */
	MIGRATE_ACCEPT_ADD, /* locator: all its tuples, x the other half;
			     * lifts tombstones; acknowledged by the kernel */
	MIGRATE_ACCEPT_DEL, /* locator: all its tuples to tombstones */
	MIGRATE_RELEASE, /* this half holds no longer: if neither does, held
			  * packets go to (send_from, send_to), in order */
	MIGRATE_SWITCH, /* nothing held: outbound to (send_from, send_to) */
	/* Never fail. */
	MIGRATE_SEND, /* message and the fields below it */
	MIGRATE_TRY, /* seq, to: a nonce on a flow of the track, from `to`; when
		      * the peer's has come NONCE, where none can be sent
		      * UNTRIED */
	MIGRATE_CHOOSE_PORTS, /* tuples taken at the peer: choose other ports,
			       * then SITUATION with cause RETRY; none left:
			       * REFUSE with reason LIMIT */
	MIGRATE_SEND_FLOWS, /* FLOWS complete; when acknowledged, SITUATION
			     * with cause RETRY and the same candidate */
	MIGRATE_HANDSHAKE, /* the session may be dead: try a new one */
	MIGRATE_NEXT_CANDIDATE, /* SITUATION with cause NEXT: the best source
				 * other than mover_target() that
				 * mover_was_refused() does not name; unset
				 * where none */
	MIGRATE_EVALUATE, /* SITUATION as after an address event: something
			   * failed, or what is up is unknown */
	MIGRATE_NOTE, /* counter, reason, locator: to count, log, monitor */
};

enum migrate_message {
	MIGRATE_MOVE, /* seq, from, to, from_gone */
	MIGRATE_ACCEPT, /* seq, challenge */
	MIGRATE_REFUSE, /* seq, reason */
	MIGRATE_PROVE, /* seq, challenge, to */
	MIGRATE_DONE, /* seq */
};

struct migrate_action {
	enum migrate_action_type type;
	/* SEND */
	enum migrate_message message;
	bool from_gone;
	enum reason reason; /* SEND REFUSE, NOTE */
	enum counter_id counter; /* NOTE */
	uint64_t seq;
	struct addr source; /* unset: where the datagram answered arrived */
	struct addr dest; /* unset: every locator that a follower of this
			   * peer accepts and that is not declared gone */
	struct addr from;
	struct locator to; /* also the locator of ACCEPT_*, RELEASE, SWITCH,
			    * NOTE: with RELEASE and SWITCH the new one */
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE];
};

struct migrate_actions {
	unsigned int n;
	struct migrate_action action[MIGRATE_ACTIONS_MAX];
};

/* --------------------------------------------------------------- mover */

enum mover_state {
	MOVER_STEADY, /* one locator, nothing asked */
	MOVER_HELD, /* it is gone, no other usable */
	MOVER_ASKED, /* MOVE sent */
	MOVER_SWITCHED, /* ACCEPT came: sending on the new one, PROVE sent */
	MOVER_STATES
};

enum mover_event_type {
	MOVER_SITUATION, /* local addresses or routes, or an operator's wish */
	MOVER_ACCEPT,
	MOVER_REFUSE,
	MOVER_DONE,
	MOVER_TIMER, /* mover_deadline_ms() has passed */
	MOVER_SYNC, /* seq: what the peer says it last committed (0: none) */
	MOVER_SESSION, /* a new session is confirmed: repeat at once */
	MOVER_NONCE, /* seq: a nonce has crossed each way */
	MOVER_UNTRIED, /* seq: none can be sent now, or not of each protocol, or
			* none has left the host until now */
	MOVER_EVENTS
};

enum migrate_cause {
	MIGRATE_CAUSE_REFRESH, /* the flags only; moves only if it must */
	MIGRATE_CAUSE_GONE,
	MIGRATE_CAUSE_DEPRECATED,
	MIGRATE_CAUSE_BETTER_ROUTE,
	MIGRATE_CAUSE_OPERATOR,
	MIGRATE_CAUSE_PORTS, /* candidate: another `ports`, often same address */
	MIGRATE_CAUSE_NEXT, /* answer to NEXT_CANDIDATE */
	MIGRATE_CAUSE_RETRY, /* answer to CHOOSE_PORTS or SEND_FLOWS: ask anew
			      * under the next number, same candidate or not */
	MIGRATE_CAUSE_TRY, /* mover_current() has not carried the flows: does it
			    * now? No candidate; only where nothing is asked */
	MIGRATE_CAUSES
};

struct mover_event {
	enum mover_event_type type;
	uint32_t random; /* any event: jitter of the next repetition */

	/* SITUATION. "up": the address is ours, usable as a source, not
	 * tentative. Of mover_current(), mover_locator(), mover_target();
	 * target_up is ignored where there is no target. */
	enum migrate_cause cause;
	bool current_up;
	bool sending_up;
	bool target_up;
	struct locator candidate; /* best usable source; unset: none */

	/* ACCEPT, REFUSE, DONE, SYNC */
	uint64_t seq;
	enum reason reason; /* REFUSE; an ACCEPT that refuses every flow is
			     * given as REFUSE */
	struct addr arrived_on; /* ACCEPT: its local address (IP_PKTINFO) */
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE];
	bool pilot; /* ACCEPT: some flow can show that the path carries it;
		     * without one a move that can wait is not made */
};

struct mover {
	enum mover_state state;
	uint32_t track;
	uint64_t seq; /* last one used */
	uint64_t committed; /* last one that the peer is known to have */
	struct locator current; /* that of `committed` */
	struct locator target; /* of `seq`, while ASKED or SWITCHED */
	struct locator sending; /* outbound source */
	bool current_up, sending_up, target_up;
	bool from_gone; /* as `seq` says it */
	bool declared_gone; /* the peer may be holding on our word */
	bool peer_lost; /* it forgot what it had accepted */
	bool holding;
	bool refused; /* `seq` was refused: nothing repeats it */
	bool unsent; /* `seq` waits for a token */
	bool trying; /* a nonce for `seq` is on its way: before PROVE (ASKED),
		      * or beside it, or behind the DONE of one where ... */
	bool again; /* ... `seq` asks for a trial where the track is */
	unsigned int repeats; /* of the outstanding message */
	unsigned int retries; /* RETRYs in a row at this address */
	uint32_t backoff_ms;
	uint64_t hold_since_ms;
	uint64_t repeat_ms; /* next repetition, while ASKED or SWITCHED */
	uint64_t evaluate_ms; /* EVALUATE then */
	uint64_t retry_ms; /* a kernel action failed: nothing before */
	uint64_t give_up_ms; /* while ASKED or SWITCHED */
	uint64_t permit_ms; /* may send from an uncommitted one until then */
	uint64_t permit_seq; /* the number that it is for: nothing goes by it */
	uint64_t sent_ms; /* outstanding message first sent */
	uint64_t try_ms, try_end_ms; /* while trying: the next nonce, the end */
	uint32_t answer_ms; /* that MOVE of `seq` took to be answered, repeated
			     * or not; 0 where it was not yet */
	struct rtt rtt;
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE]; /* of `seq`: PROVE, nonces */
	unsigned int n_accepted;
	struct accepted accepted[MIGRATE_ACCEPTED_MAX];
	/* Not in the journal. */
	struct bucket numbers; /* a token for each that is sent, and for
				* each session that it is repeated for */
	struct refusals refusals;
};

/* A track at rest at `current`, which is up. The accepted set holds it
 * already: the owner needs to do nothing where it is the identity. `track` is
 * a number never used with this peer before: where the journal is lost, the
 * numbers in it are too, and the flows are offered under new ones. */
void mover_init(struct mover *m, uint32_t track, const struct locator *current);
/* Where the peer may be holding on our word although the track rests
 * (declared_gone was set by the caller): a MOVE to where it is follows. */
void mover_settle(struct mover *m, uint64_t now_ms);
/* Never fails; `out` is emptied first. */
void mover_step(struct mover *m, const struct mover_event *ev, uint64_t now_ms,
		struct migrate_actions *out);
/* Actions [0, done) of a step were carried out, `done` failed: puts `m` back
 * to what is true now and sets a deadline for another attempt. */
void mover_rollback(struct mover *m, const struct mover *before,
		    const struct migrate_actions *ran, unsigned int done,
		    uint64_t now_ms);
/* MIGRATE_NEVER where nothing is due. */
uint64_t mover_deadline_ms(const struct mover *m);

bool mover_holds(const struct mover *m);
/* Outbound source: what packets carry when not held. */
const struct locator *mover_locator(const struct mover *m);
/* Last committed; the one it goes to (NULL where none). */
const struct locator *mover_current(const struct mover *m);
const struct locator *mover_target(const struct mover *m);
bool mover_accepts(const struct mover *m, const struct addr *a);
/* Has the peer refused that source in this round? */
bool mover_was_refused(const struct mover *m, const struct addr *a);
/* Was PROVE sent for where it is, ever? By no other challenge can nonces be made
 * that no ACCEPT comes before. */
bool mover_was_proved(const struct mover *m);
/* A flow cannot bear its first nonce yet, or only now: while trying, the end is
 * as far away as at the beginning. */
void mover_extend_trial(struct mover *m, uint64_t now_ms);
/* No nonce has come in time. With MOVER_TIMER the path is to blame for it, with
 * MOVER_UNTRIED it is not. */
bool mover_trial_ends(const struct mover *m, uint64_t now_ms);
/* The network is another one: why a move that could wait was refused, of which
 * no round is under way, is no longer of interest. */
void mover_forget_refusal(struct mover *m);
/* The last move could wait, and nothing could show that its path carries the
 * flows. They rest, and the pause after it is over. */
bool mover_left_untried(const struct mover *m);
/* Would MOVE leave at once? Where not, a wish that can wait shall. */
bool mover_may_begin(const struct mover *m, uint64_t now_ms);
enum locator_role mover_role(const struct mover *m, unsigned int i);

/* ------------------------------------------------------------ follower */

enum follower_state {
	FOLLOWER_STEADY,
	FOLLOWER_OFFERED, /* ACCEPT sent, lease running */
	FOLLOWER_STATES
};

enum follower_event_type {
	FOLLOWER_MOVE,
	FOLLOWER_PROVE,
	FOLLOWER_TIMER,
	FOLLOWER_SYNC, /* seq, to.addr: what the peer says is its own */
	FOLLOWER_GONE, /* of a MOVE that is looked at later: seq, source, to,
			* from_gone */
	FOLLOWER_EVENTS
};

enum follower_class {
	FOLLOWER_SEQ_STALE, /* ignored, counted */
	FOLLOWER_SEQ_COMMITTED, /* DONE is repeated */
	FOLLOWER_SEQ_PENDING, /* ACCEPT is repeated */
	FOLLOWER_SEQ_FAR, /* ignored, counted: past MIGRATE_JUMP_MAX */
	FOLLOWER_SEQ_NEW, /* `check` and `to.ports` of the event count */
};

struct follower_event {
	enum follower_event_type type;
	uint64_t seq;
	struct addr source; /* MOVE: of the datagram; must equal `to` */
	struct addr from; /* MOVE */
	struct locator to; /* MOVE, PROVE (address), SYNC (address) */
	bool from_gone; /* MOVE */
	enum reason check; /* MOVE: NONE, or why not (policy, family, digest,
			    * tuple_taken, limit) */
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE]; /* PROVE: the answer;
						    * MOVE: 16 random bytes */
};

struct follower {
	enum follower_state state;
	uint32_t track; /* the peer's number */
	uint64_t committed;
	uint64_t done_ms; /* DONE was said last, in this run; 0 never */
	uint64_t pending; /* while OFFERED; later what `challenge` is for */
	uint64_t floor; /* lower ones that are not `committed` are stale */
	struct locator sending; /* outbound destination */
	bool gone; /* its owner declared it gone (I5) */
	bool holding; /* it is gone, or SYNC has it elsewhere: for a while */
	struct locator offer; /* while OFFERED */
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE];
	uint8_t proved[MIGRATE_CHALLENGE_SIZE]; /* of the last PROVE that was
						 * right; zeros: none */
	unsigned int accepts; /* ACCEPTs sent for `pending` */
	uint64_t accept_ms; /* the last of them */
	uint64_t lease_ms; /* its end */
	uint64_t hold_since_ms;
	uint64_t retry_ms; /* a kernel action failed: not before */
	struct rtt rtt;
	unsigned int n_accepted;
	struct accepted accepted[MIGRATE_ACCEPTED_MAX];
};

void follower_init(struct follower *f, uint32_t track,
		   const struct locator *current);
/* What a MOVE with that number is: the expensive checks (digest, tuples) are
 * needed only where NEW. */
enum follower_class follower_classify(const struct follower *f, uint64_t seq);
/* Past MIGRATE_JUMP_MAX. `f` is NULL for a track that is not known. */
bool follower_is_far(const struct follower *f, uint64_t seq);
void follower_step(struct follower *f, const struct follower_event *ev,
		   uint64_t now_ms, struct migrate_actions *out);
void follower_rollback(struct follower *f, const struct follower *before,
		       const struct migrate_actions *ran, unsigned int done,
		       uint64_t now_ms);
uint64_t follower_deadline_ms(const struct follower *f);

bool follower_holds(const struct follower *f);
/* Outbound destination. NULL where its owner declared it gone and no other
 * has been proven: nothing may be sent to it (I5). */
const struct locator *follower_locator(const struct follower *f);
bool follower_accepts(const struct follower *f, const struct addr *a);
/* The number that a nonce from there is for, with f->challenge: of the offer, or
 * of what it has become a moment ago; false where there is none. */
bool follower_nonce_seq(const struct follower *f, const struct addr *from,
			uint64_t now_ms, uint64_t *seq);
enum locator_role follower_role(const struct follower *f, unsigned int i);

#endif
