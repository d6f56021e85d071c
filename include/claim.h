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
 * How a flow gets owned (sacip(7), "Ownership"). The end with the
 * lower endpoint of the identity tuple offers, the other asks it to.
 *
 *	offering end                        answering end
 *	                  <- FLOWS id 0 --  claim_start()
 *	claim_start() or asked
 *	watch, sample
 *	            -- FLOWS id, proof ->   watch, sample, check
 *	watch, sample, check  <- FLOWS_ACK, proof   confirmed
 *	confirmed
 *
 * TCP: the proof is the sender's snd_nxt, checked against what the checker
 * expected (its own rcv_nxt) over the last half second, with a tolerance.
 * UDP: FLOWS with "I am recording" makes both ends record; then each names
 * datagrams that it sent, as MACs:
 *
 *	BLAKE2b-64, keyed with K, over "sacip udp" || src || dst || payload
 *
 * where src and dst are the identity endpoints of that datagram as in
 * FLOWS (address 16, port be16), and K is the third output of the split of
 * the session over which "I am recording" went (noise.h: `proof`; not the
 * handshake hash, which anyone on the path can compute). src and dst stop an
 * end from echoing what it received. One match proves. A MAC that was not
 * seen is a retry, never a wrong proof: datagrams get lost, and 64 bits are
 * not guessed.
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
#include "place.h"
#include "reason.h"
#include "wire.h"

#define CLAIM_WORK_MAX 256 /* proofs under way, per peer */
#define CLAIM_WINDOW 144 /* of them, offers of ours not answered yet */
#define CLAIM_RECORDINGS_MAX 64 /* of them, UDP recordings */
/* Claims of a peer: what one complete list can name. */
#define CLAIM_FLOWS_MAX (WIRE_PARTS_MAX * WIRE_FLOWS_MAX) /* 114688 */
#define CLAIM_WRONG_MAX 3 /* wrong proofs bar the key for the flow; a doubtful
			   * one (on a flow too fast to tell) counts half */
#define CLAIM_BARS 2 /* keys remembered per flow */
#define CLAIM_FRESH_MS 60000 /* condition (a) */
#define CLAIM_TOLERANCE 65536 /* bytes either way, or the window if larger */
#define CLAIM_RANGE_MAX (64u << 20) /* widest range of numbers accepted */
#define CLAIM_HISTORY 32 /* samples kept of a flow that is checked */
#define CLAIM_HISTORY_MS 500
#define CLAIM_PACK_MS 2 /* proofs wait this long for company */
#define CLAIM_POKE_MS 20 /* no segment seen: make the kernel send one */
#define CLAIM_SAMPLE_MS 1000 /* then "not seen" */
#define CLAIM_RECORD_MS 5000
#define CLAIM_RECORD_SETTLE_MS 50 /* both directions seen: end early */
#define CLAIM_RECORD_SEEN 256 /* datagrams of the other end remembered */
#define CLAIM_TRIES 6 /* FLOWS unanswered, then `unanswered` */
#define CLAIM_RELEASE_MS 60000 /* after our own end */
#define CLAIM_UNKNOWN_MS 3000 /* a peer that says so for that long means it */

struct claim_table;
struct claim_work;

/* What a claim waits for: the lists of its table. */
enum claim_list_name {
	CLAIM_NO_LIST,
	CLAIM_TURN_TCP,
	CLAIM_TURN_UDP,
	CLAIM_BACKOFF,
	CLAIM_WORK, /* a proof is under way */
	CLAIM_TELL, /* confirmed, the new track is not told */
	CLAIM_END,
	CLAIM_LISTS
};

enum claim_state {
	CLAIM_IDLE, /* nobody asked for it */
	CLAIM_WAITING, /* for its turn, a path, or the end of a backoff */
	CLAIM_WORKING, /* a proof is under way; it has `work` */
	CLAIM_BARRED, /* this key proved wrong three times */
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
	struct claim_work *work; /* while a proof is under way */
	const struct tuple *tuple; /* identity; its flow's */
	uint64_t flow_id; /* 0: none yet */
	uint64_t due_ms; /* next thing to do in this state */
	uint64_t confirmed_ms;
	uint64_t unknown_ms; /* confirmed, but the peer knows it not; 0 no */
	uint64_t bar_key[CLAIM_BARS]; /* first 8 bytes of the public key */
	uint32_t named_batch; /* complete list of the peer that named it last */
	uint32_t announce_batch; /* complete list of ours that names it */
	uint32_t own_track;
	uint32_t peer_track; /* valid once confirmed */
	uint8_t bar_demerits[CLAIM_BARS]; /* 2 wrong proof, 1 doubtful one */
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
	bool peer_ended : 1; /* FLOW_END came */
	bool end_acked : 1;
};

/* What an own outgoing TCP segment says. All in host order. */
struct claim_segment {
	uint32_t snd_nxt; /* seq + payload, + 1 for SYN, + 1 for FIN */
	uint32_t rcv_nxt; /* its acknowledgment number */
	uint32_t window; /* bytes it advertises; 0 where the scale is unknown */
};

struct claim_ops {
	/* Seals and sends to the peer, over the path of the daemon's choice;
	 * 0 or -errno (then it is tried again by timeout). */
	int (*send)(void *arg, uint64_t now_ms, struct wire_message *m);
	void (*random)(void *arg, void *to, size_t len);
	/* Probe timeout of the path in use, ms, no backoff. */
	uint32_t (*pto_ms)(void *arg);
	/* Keys UDP MACs: of the session that `send` would use; NULL: none. */
	const uint8_t *(*proof_key)(void *arg);

	/* The claim of the live, willing flow with that identity tuple (as we
	 * see it), attached to this or another peer or to none; or NULL and
	 * why: UNKNOWN_FLOW (also where a new dump is due), POLICY, BOUND,
	 * UNCONNECTED, ... */
	enum reason (*lookup)(void *arg, uint64_t now_ms,
			      const struct tuple *tuple, struct claim **c);
	/* Has the peer ever proved itself at that address? Otherwise it is told
	 * RETRY about flows from there, whether there are any or not: what
	 * others have with us is none of its business. NULL: it has. */
	bool (*met)(void *arg, const struct addr *remote);
	/* Conditions (a) and (b) for this flow's remote wire address: NONE,
	 * NAT, or RETRY where no round trip was completed within 60 s (start
	 * one: peer_validate_path(), and claim_table_kick() when it is done).
	 * POLICY and others refuse. */
	enum reason (*path)(void *arg, uint64_t now_ms, struct claim *c);
	/* Copies of this flow's packets are wanted (claim_segment(),
	 * claim_datagram()) or not any more. What is left in *copies is there
	 * again at the end. 0 or -errno. */
	int (*watch)(void *arg, struct claim *c, bool on, void **copies);
	/* Make the kernel send a segment on this idle TCP flow. `first`: of
	 * several, until a segment comes or CLAIM_SAMPLE_MS are over. */
	void (*poke)(void *arg, struct claim *c, bool first);
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
	/* Not owned, c->reason; tried again later unless c->state is BARRED. */
	void (*refused)(void *arg, uint64_t now_ms, struct claim *c);
	/* The peer moved it to its track c->peer_track. */
	void (*retracked)(void *arg, uint64_t now_ms, struct claim *c);
	/* Confirmed no more: the peer's socket is gone, or it does not know
	 * the flow. The claim stays attached until claim_end(). */
	void (*ended_by_peer)(void *arg, uint64_t now_ms, struct claim *c);
	/* After claim_end(): both ends said so, or 60 s are over. Detached:
	 * steering may go, the memory is the caller's again. */
	void (*released)(void *arg, uint64_t now_ms, struct claim *c);
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
/* Do we offer this flow (or ask for it)? The lower endpoint offers. */
bool claim_is_offerer(const struct tuple *tuple);
/* We want it owned by this peer. Attaches it (and detaches it from another
 * peer where it is not confirmed). 0; -EALREADY: confirmed by this peer, or
 * under way; -EBUSY: confirmed by another; -EACCES: barred; -ENOSPC. */
int claim_start(struct claim_table *t, uint64_t now_ms, struct claim *c);
/* From the journal: it was confirmed before we restarted. 0, -EEXIST (that
 * id is another flow's), -EBUSY, -ENOSPC. No event. */
int claim_restore(struct claim_table *t, struct claim *c, uint64_t flow_id,
		  uint32_t peer_track);
/* The peer's socket is gone, as is known otherwise than by FLOW_END. */
void claim_end_there(struct claim *c, uint64_t now_ms);
/* The socket is truly gone. Confirmed: tells the peer, `released` comes
 * later (never from inside this call). Else detached at once; returns true
 * where it was detached, so that the caller may free it. */
bool claim_end(struct claim *c, uint64_t now_ms);
/* Detaches whatever its state, tells nobody. Before freeing the flow. */
void claim_drop(struct claim *c);
/* Our own track of this flow is another one now; told to the peer. */
void claim_set_track(struct claim *c, uint64_t now_ms, uint32_t track);
/* A copy of an own outgoing segment, made now. */
void claim_segment(struct claim *c, uint64_t now_ms,
		   const struct claim_segment *s);
/* A copy of a datagram of this flow, whole payload. */
void claim_datagram(struct claim *c, uint64_t now_ms, bool outgoing,
		    const uint8_t *payload, size_t len);

/* ---- the claims of one peer ------------------------------------------ */

/* `key`: the peer's. `counters` borrowed. 0 or -ENOMEM. */
int claim_table_new(struct claim_table **t, const struct claim_ops *ops,
		    void *arg, const uint8_t key[CRYPTO_KEY_SIZE],
		    struct counters *counters);
/* Detaches every claim (no events) and frees. */
void claim_table_free(struct claim_table *t);
void *claim_table_arg(const struct claim_table *t);

/* FLOWS, FLOWS_ACK, FLOW_END or FLOW_END_ACK, opened by peer; `proof_key` is
 * that of the session over which it came (struct peer_rx). */
void claim_table_receive(struct claim_table *t, uint64_t now_ms,
			 const struct wire_message *m,
			 const uint8_t proof_key[CRYPTO_KEY_SIZE]);
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
/* All confirmed flows with this peer: for SYNC. */
const struct claim_digest *claim_table_digest(const struct claim_table *t);
/* All that are attached, in the order of coming: the first one after NULL,
 * NULL after the last one. */
struct claim *claim_next(const struct claim_table *t, const struct claim *c);
/* By flow id; NULL. */
struct claim *claim_find(const struct claim_table *t, uint64_t flow_id);

#endif
