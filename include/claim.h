/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim: which peer owns a flow, proved by both ends before it may move.
 *
 * Owns, per peer, a table of claims: the exchange of FLOWS, FLOWS_ACK,
 * FLOW_END and FLOW_END_ACK, the proofs, flow ids, and the digest over what
 * both ends confirmed. A claim lies inside the flow that it is about (or
 * beside it): the caller owns its memory. Pure: time, packets and randomness
 * come in, messages and wishes go out by callbacks. Never opens a capture,
 * never steers, never decides whether policy wants a flow.
 *
 * How a flow gets owned (sacip(7), "Ownership"). The end with the lower static
 * key offers, the other asks it to. What shows that an end holds a flow is what
 * it received on it, 16 fresh random bytes each way (nonce.h):
 *
 *	offering end C                            answering end S
 *	                     <- FLOWS id 0 --     claim_start()
 *	claim_start() or asked
 *	draws N	             -- FLOWS id, tag ->  tag = BLAKE2b-128(C, S, N)
 *	             <- FLOWS_ACK tag --          takes N out before its stack
 *	             == N, on the flow =>         knows it by its tag
 *	             <= A, on the flow ==         A = BLAKE2b-64(C, S, N), and 8
 *	                                          random bytes
 *	             -- FLOWS id, receipt A ->    confirmed
 *	confirmed            <- FLOWS_ACK, receipt N --
 *
 * So the session does not tell what goes on the flow, and what arrives there is
 * known by what it is, whatever was translated. C and S are the static keys of
 * both: who passes on between two hosts, with a key of his own, passes on
 * nothing. Each end proves its own side by what went towards it alone: who
 * echoes what he got, or sees the session, proves nothing. A receipt of TCP also
 * tells the numbers that came with it: on a path that rewrites them
 * (REASON_REWRITTEN) a flow cannot move. Each try has bytes of its own. Nothing
 * can be guessed, so a wrong receipt bars nobody; but
 * a try costs a token of the peer's, which comes back when the flow is
 * confirmed: who holds his flows is as fast as his window of CLAIM_WINDOW and
 * the round trip allow, who does not has 20 tries a second.
 *
 * A proof is of a flow and a peer: several peers may be proving that they are
 * the end of one flow, side by side.
 *
 * FLOWS_ACK: an entry with a flow id answers that flow, whichever FLOWS it
 * came in. The k-th entry with id 0 answers the k-th ask (id 0) of the FLOWS
 * whose batch and part it names: NONE "will offer", or why not. A FLOWS entry
 * without proof only names what is confirmed (complete lists, a new track): the
 * answer is NONE without proof, LATER, or RETRY "prove it to me anew".
 */
#ifndef SACIPED_CLAIM_H
#define SACIPED_CLAIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "addr.h"
#include "crypto.h"
#include "index.h"
#include "nonce.h"
#include "place.h"
#include "reason.h"
#include "wire.h"

#define CLAIM_WINDOW 64 /* offers and asks of ours under way, per peer */
/* Offers of a peer under way; some are those that it has given up already. */
#define CLAIM_ANSWERS_MAX 128
#define CLAIM_LINGER_MAX 256 /* proved: an answer may be asked for again */
#define CLAIM_KEYS_MAX 8 /* peers that prove one flow at a time; one gives way */
#define CLAIM_TOKENS 64 /* tries; one more each CLAIM_TOKEN_MS */
#define CLAIM_TOKEN_MS 50
/* Claims of a peer: what one complete list can name. */
#define CLAIM_FLOWS_MAX (WIRE_PARTS_MAX * WIRE_FLOWS_MAX) /* 114688 */
#define CLAIM_FRESH_MS 60000 /* condition (a) */
#define CLAIM_PACK_MS 2 /* proofs wait this long for company */
#define CLAIM_POKE_MS 2 /* no segment seen: make the kernel send one */
#define CLAIM_SAMPLE_MS 1000 /* then "not seen" */
#define CLAIM_NONCES 3 /* unanswered on the flow, then `proxy` */
#define CLAIM_ANSWER_MS 250 /* added to 2 PTO, doubling */
#define CLAIM_EXPECT_MS 4000 /* S waits for the rest so long */
#define CLAIM_LATE_MS 10000 /* and no nonce reaches a socket so long after */
#define CLAIM_TAKE_MS 20000 /* the kernel is told so for this long at a time */
#define CLAIM_PROXY_MS 600000 /* `proxy`, `rewritten`: tried again */
#define CLAIM_TRIES 6 /* FLOWS unanswered, then `unanswered` */
#define CLAIM_RELEASE_MS 60000 /* after our own end */
#define CLAIM_UNKNOWN_MS 3000 /* a peer that says so for that long means it */
#define CLAIM_PART 256 /* claims that leave together: ops.together */

struct claim_table;
struct claim_work;
LIST_HEAD(claim_works, claim_work);

/* What a claim waits for: the lists of its table. */
enum claim_list_name {
	CLAIM_NO_LIST,
	CLAIM_TURN,
	CLAIM_BACKOFF,
	CLAIM_TELL, /* confirmed, the new track is not told */
	CLAIM_END,
	CLAIM_LEAVES, /* over, by what the peer has said: in its turn */
	CLAIM_LISTS
};

enum claim_state {
	CLAIM_IDLE, /* nobody asked for it */
	CLAIM_WAITING, /* for its turn, a path, or the end of a backoff */
	CLAIM_WORKING, /* an offer or ask of ours is under way */
	CLAIM_ENDED, /* our socket is gone; waits for the other end */
};

TAILQ_HEAD(claim_list, claim);

/* claim_init() first. Read only for others. There are as many as flows: what
 * only a few need is in `work`. */
struct claim {
	TAILQ_ENTRY(claim) entry; /* in `list`, by what it waits for */
	TAILQ_ENTRY(claim) attached; /* all of the table's */
	struct index_link by_id; /* flow_id */
	struct claim_table *table; /* NULL: attached to no peer */
	struct claim_works works; /* proofs under way, of any peer */
	const struct tuple *tuple; /* identity; its flow's */
	uint64_t flow_id; /* 0: none yet */
	uint64_t due_ms; /* next thing to do in this state */
	uint64_t confirmed_ms;
	uint64_t proved_order; /* of the peer's message that proved it last */
	uint64_t unknown_ms; /* confirmed, but the peer knows it not; 0 no */
	uint64_t take_ms; /* nonces on it reach no socket until then */
	uint32_t named_batch; /* complete list of the peer that named it last */
	uint32_t announce_batch; /* complete list of ours that names it */
	uint32_t own_track;
	uint32_t peer_track; /* valid once confirmed */
	uint16_t announce_part; /* of the complete list under way */
	uint8_t failures; /* in a row, for the backoff */
	enum claim_state state : 3;
	enum claim_list_name list : 3;
	enum reason reason : 8; /* why it is not confirmed; NONE: it is */
	bool wanted : 1; /* claim_start() was called */
	bool confirmed : 1; /* owned by the table's peer */
	bool doubted : 1; /* ... but the peer wants it proved anew */
	bool home : 1; /* it enters at its identity address (PLACE_HOME) */
	bool hashed : 1;
	bool peer_ended : 1; /* FLOW_END came, or a list left it out */
	bool end_heard : 1; /* by FLOW_END, while it was confirmed */
	bool end_acked : 1;
};

struct claim_ops {
	/* Seals and sends to the peer, over the path of the daemon's choice;
	 * 0 or -errno (then it is tried again by timeout). */
	int (*send)(void *arg, uint64_t now_ms, struct wire_message *m);
	void (*random)(void *arg, void *to, size_t len);
	/* Probe timeout of the path in use, ms, no backoff. */
	uint32_t (*pto_ms)(void *arg);

	/* The claim of the live, willing flow with that identity tuple (as we
	 * see it), attached to this or another peer or to none; or NULL and
	 * why: UNKNOWN_FLOW (also where a new dump is due), POLICY, BOUND,
	 * UNCONNECTED, ... */
	enum reason (*lookup)(void *arg, uint64_t now_ms,
			      const struct tuple *tuple, struct claim **c);
	/* Has the peer answered from that address within 60 s? Otherwise it is
	 * told RETRY about flows from there, whether there are any or not: what
	 * others have with us is none of its business. NULL: it has. */
	bool (*met)(void *arg, uint64_t now_ms, const struct addr *remote);
	/* Conditions (a) and (b) for this flow's remote wire address: NONE,
	 * NAT, or RETRY where no round trip was completed within 60 s (start
	 * one: peer_validate_path(), and claim_table_kick() when it is done).
	 * POLICY and others refuse. */
	enum reason (*path)(void *arg, uint64_t now_ms, struct claim *c);
	/* Copies of what this TCP flow sends are wanted (claim_segment()) or
	 * not any more. What is left in *copies is there again at the end. 0;
	 * -ENOSPC: not now; -errno. */
	int (*watch)(void *arg, struct claim *c, bool on, void **copies);
	/* Make the kernel send a segment on this idle TCP flow. `first`: of
	 * several, until a segment comes or CLAIM_SAMPLE_MS are over. */
	void (*poke)(void *arg, struct claim *c, bool first);
	/* From now on, until CLAIM_LATE_MS after the proof, what looks like a
	 * nonce on one of these flows goes to claim_nonce() and reaches no
	 * socket: done when this returns, with take_ms. 0 or -errno. */
	int (*expect)(void *arg, uint64_t now_ms, struct claim *const *c,
		      unsigned int n);
	/* Sends a nonce on the flow: from `at`, a tuple that one came by, only
	 * where its remote address was validated within 60 s; NULL: by the
	 * tuple that it is sent by, or its identity where the peer may be there
	 * (odd tries). 0 or -errno. */
	int (*emit)(void *arg, uint64_t now_ms, struct claim *c,
		    const struct tuple *at, unsigned int attempt,
		    const struct nonce_numbers *n,
		    const uint8_t nonce[WIRE_NONCE_SIZE]);
	/* The table's deadline may be another by now. NULL: nobody cares. */
	void (*touch)(void *arg);
	/* The own track that the flow is in or would enter now, and where it
	 * is: there we accept the flow. NULL: c->own_track, at the identity. */
	void (*place)(void *arg, struct claim *c, struct wire_place *own);
	/* May the flow enter the peer's track where the peer says that it is?
	 * (place.h; NULL: it may.) `proved`: just now, not only named. */
	enum place_answer (*judge)(void *arg, uint64_t now_ms,
				   const struct claim *c,
				   const struct wire_place *peers,
				   bool proved);

	/* Events; any may be NULL. Inside one, only the claim that it is about
	 * may be dropped or ended. */

	/* Owned: c->flow_id, c->peer_track. Once more where the other end
	 * restarted and proved it anew under another id. */
	void (*confirmed)(void *arg, uint64_t now_ms, struct claim *c);
	/* Not owned, c->reason; tried again later. */
	void (*refused)(void *arg, uint64_t now_ms, struct claim *c);
	/* The peer moved it to its track c->peer_track. */
	void (*retracked)(void *arg, uint64_t now_ms, struct claim *c);
	/* Confirmed no more: the peer's socket is gone, or it does not know
	 * the flow. The claim stays attached until claim_end(). */
	void (*ended_by_peer)(void *arg, uint64_t now_ms, struct claim *c);
	/* After claim_end(): both ends said so, or 60 s are over. Detached:
	 * steering may go, the memory is the caller's again. */
	void (*released)(void *arg, uint64_t now_ms, struct claim *c);
	/* After claim_leave(): to be dropped, or it stays as it is. */
	void (*left)(void *arg, uint64_t now_ms, struct claim *c);
	/* One message may end all that there is: so many are to be lost, to be
	 * released or to leave. claim_table_leave() has them do so, inside this
	 * or later. NULL: all of them do, now. */
	void (*leaving)(void *arg, uint64_t now_ms, unsigned int n);
	/* Of these, CLAIM_PART at most, each has such an event now, one after
	 * the other: what can be done for all at once is done here. None may be
	 * dropped. */
	void (*together)(void *arg, uint64_t now_ms, struct claim *const *c,
			 unsigned int n);
	/* The peer answers nothing any more: peer_rehandshake(). */
	void (*unanswered)(void *arg, uint64_t now_ms);
};

/* ---- digest ---------------------------------------------------------- */

/* A set of flows, as MOVE and SYNC name it. Zero is the empty set. */
struct claim_digest {
	uint32_t count;
	uint8_t sum[WIRE_DIGEST_SIZE]; /* XOR of BLAKE2b-128(flow_id be64) */
};

void claim_digest_add(struct claim_digest *d, uint64_t flow_id);
void claim_digest_remove(struct claim_digest *d, uint64_t flow_id);
bool claim_digest_equal(const struct claim_digest *d, uint32_t count,
			const uint8_t sum[WIRE_DIGEST_SIZE]);

/* ---- one claim -------------------------------------------------------- */

/* `tuple` is borrowed for the life of the claim. */
void claim_init(struct claim *c, const struct tuple *tuple,
		uint32_t own_track);
/* We want it owned by this peer. Attaches it (and detaches it from another
 * peer where it is not confirmed). 0; -EALREADY: confirmed by this peer, or
 * under way; -EBUSY: confirmed by another; -ENOSPC. */
int claim_start(struct claim_table *t, uint64_t now_ms, struct claim *c);
/* It is another peer's to be proved, and may be this one's: that is found out
 * beside, once. 0; -EBUSY: it is owned, or no other peer's; -ENOSPC; -EAGAIN: the
 * path is not known to be good. */
int claim_start_beside(struct claim_table *t, uint64_t now_ms,
		       struct claim *c);
/* From the journal: it was confirmed before we restarted. 0, -EEXIST (that
 * id is another flow's), -EBUSY, -ENOSPC. No event. */
int claim_restore(struct claim_table *t, struct claim *c, uint64_t flow_id,
		  uint32_t peer_track);
/* The peer's socket is gone, as is known otherwise than by FLOW_END. It is lost
 * by claim_table_leave(). */
void claim_end_there(struct claim *c);
/* The peer has nothing to do with it any more: ops.left, by
 * claim_table_leave(). */
void claim_leave(struct claim *c);
/* The socket is truly gone. Confirmed: tells the peer, `released` comes
 * later (never from inside this call). Else detached at once; returns true
 * where it was detached, so that the caller may free it. */
bool claim_end(struct claim *c, uint64_t now_ms);
/* Detaches whatever its state, tells nobody. Before freeing the flow. */
void claim_drop(struct claim *c);
/* Our own track of this flow is another one now; told to the peer. */
void claim_set_track(struct claim *c, uint64_t now_ms, uint32_t track);
/* Of an own outgoing segment, sent now: what its socket sends next (behind its
 * payload, SYN and FIN), and what it said besides. */
void claim_segment(struct claim *c, uint64_t now_ms,
		   const struct nonce_numbers *n);
/* What looks like a nonce came by `at`, a tuple of the flow's. True: it was one
 * of a proof. */
bool claim_nonce(struct claim *c, uint64_t now_ms, const struct tuple *at,
		 const uint8_t nonce[WIRE_NONCE_SIZE],
		 const struct nonce_numbers *n);
/* Is that what a proof has on its way out? */
bool claim_nonce_is_ours(const struct claim *c,
			 const uint8_t nonce[WIRE_NONCE_SIZE]);
/* How long a nonce may be on its way that a proof of it waits for; 0: there is
 * none. */
uint64_t claim_awaits_ms(const struct claim *c);
/* Its proofs may have other deadlines: ops.touch for each of their tables. */
void claim_touch(const struct claim *c);

/* ---- the claims of one peer ------------------------------------------ */

/* We offer where our static key is the lower one, `key` being the peer's.
 * `counters` borrowed. 0 or -ENOMEM. */
int claim_table_new(struct claim_table **t, const struct claim_ops *ops,
		    void *arg, const uint8_t own_key[CRYPTO_KEY_SIZE],
		    const uint8_t key[CRYPTO_KEY_SIZE],
		    struct counters *counters);
/* Do we offer flows to this peer, or ask it to? */
bool claim_table_offers(const struct claim_table *t);
/* Detaches every claim (no events) and frees. */
void claim_table_free(struct claim_table *t);
void *claim_table_arg(const struct claim_table *t);

/* FLOWS, FLOWS_ACK, FLOW_END or FLOW_END_ACK, opened by peer. */
void claim_table_receive(struct claim_table *t, uint64_t now_ms,
			 const struct wire_message *m);
uint64_t claim_table_deadline_ms(const struct claim_table *t);
void claim_table_step(struct claim_table *t, uint64_t now_ms);
/* A track rests again: what was put off for one is tried now. */
void claim_table_settled(struct claim_table *t, uint64_t now_ms);
/* A path was validated, or a session came up: what waits is tried now, and
 * unanswered exchanges start over. */
void claim_table_kick(struct claim_table *t, uint64_t now_ms);
/* Tells the peer every confirmed flow, as a complete list: what it does not
 * name is ended at the other end, what the other end lacks is proved anew.
 * After REFUSE digest, and where SYNC shows another digest. 0; -EALREADY. */
int claim_table_announce(struct claim_table *t, uint64_t now_ms);
/* Is such a list still on its way? */
bool claim_table_announcing(const struct claim_table *t);
/* So many claims wait for claim_table_leave(). Until then they are what they
 * were, but nothing is begun, told or heard of them. */
unsigned int claim_table_leaving(const struct claim_table *t);
/* Those that have waited for longest are lost, released or leave: `n` of them. */
void claim_table_leave(struct claim_table *t, uint64_t now_ms, unsigned int n);
/* All confirmed flows with this peer: for SYNC. */
const struct claim_digest *claim_table_digest(const struct claim_table *t);
/* All that are attached, in the order of coming: the first one after NULL,
 * NULL after the last one. */
struct claim *claim_next(const struct claim_table *t, const struct claim *c);
/* By flow id; NULL. */
struct claim *claim_find(const struct claim_table *t, uint64_t flow_id);

#endif
