/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flow: the connection table, and what the kernel must do for each flow.
 *
 * Owns identity and wire tuples, the accepted sets, tombstones, the groups
 * in which flows move together, and the difference between what is steered
 * and what should be. Never talks to the kernel: changes are named to the
 * caller, who applies them and then says whether they took.
 *
 * A flow has two sides, ours and the peer's. Each side has accepted ends
 * (where packets may bear it) and one end that we send by. The accepted set
 * of the flow is the product of both sides (sacip(7), I3). A flow that
 * never moved has no state for this at all.
 */
#ifndef SACIPED_FLOW_H
#define SACIPED_FLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "addr.h"
#include "claim.h"
#include "hold.h"
#include "index.h"
#include "nonce.h"
#include "reason.h"
#include "share.h"

#define FLOW_ENDS_MAX 9 /* accepted ends of one side; migrate has 8 */
#define FLOW_TOMBSTONES_MAX 262144 /* two moves of all flows per minute */
#define FLOW_TOMBSTONE_MS 60000
#define FLOW_QUIET_MS 30000 /* a wire tuple that was never proved, instead */
#define FLOW_QUIET_MAX 4 /* of one flow; others are forgotten at once */

enum flow_side { FLOW_OURS, FLOW_THEIRS, FLOW_SIDES };

/* The sets of the nftables table that flows are put into; see steer.h. */
enum flow_steer {
	FLOW_STEER_OUT, /* identity: outbound to the queue */
	FLOW_STEER_IN, /* wire tuple: inbound to the queue, translated */
	FLOW_STEER_DROP, /* tombstone, or identity no longer accepted */
	FLOW_STEER_PROT, /* identity: tripwires */
	FLOW_STEER_SEND, /* identity to wire tuple: the kernel rewrites */
	FLOW_STEER_RECV, /* wire tuple to identity: the same */
};

struct flow_change {
	const struct flow *flow; /* whose; NULL of a tombstone */
	bool add; /* else delete */
	enum flow_steer set;
	uint32_t timeout_ms; /* 0: until deleted; of what is deleted, too */
	struct tuple tuple;
	struct tuple to; /* SEND, RECV: what it becomes */
};

/* 0, or -errno, which ends the walk and is returned. */
typedef int flow_change_cb(void *ctx, const struct flow_change *change);

/* Where packets may bear a side. `ports` names the choice of ports by which
 * the address is used (struct locator): 0 is that of the identity. */
struct flow_end {
	struct endpoint at;
	uint32_t ifindex; /* retain_reverse() was told of it; 0: not */
	uint64_t ports;
	bool proved; /* the flow is or was sent by it */
	bool ceded; /* not translated: another connection has a tuple of it */
};

/* Only flows that are moving or have moved have one. Most of them never have
 * more than two ends on a side, so there is room for these at first: a path
 * moves when it grows. */
struct flow_path {
	struct flow_end *end[FLOW_SIDES]; /* each `room` in `store` */
	uint8_t n[FLOW_SIDES];
	uint8_t room;
	struct endpoint send[FLOW_SIDES];
	struct flow_end store[];
};

struct flow;
struct flow_work;
struct peer;

/* Flows that move together: one side of a track. */
struct flow_group {
	LIST_HEAD(, flow) flows;
	struct claim_digest digest; /* its count is that of the flows */
	struct share *tombs; /* the peer's, of tombstones; NULL nobody's */
	struct flow *at; /* where who goes through `flows` in parts goes on */
};

/* An accepted wire tuple that is not the flow's identity. */
struct flow_wire {
	struct index_link by_tuple;
	SLIST_ENTRY(flow_wire) entry;
	struct flow *flow;
	struct tuple tuple;
	bool fresh; /* not in the kernel yet */
	bool stale; /* about to leave it */
	bool proved; /* both its ends are */
	bool quieten; /* about to be quiet */
	bool bury; /* about to be a tombstone */
	/* Not accepted any more, and never proved: not translated, but our
	 * stack's RST shall not get out. Until then; 0: accepted. */
	uint64_t quiet_ms;
	TAILQ_ENTRY(flow_wire) in_quiet;
	/* Bits by enum flow_side of who sends. */
	uint8_t mapped; /* the kernel rewrites to it, from it */
	uint8_t map_next; /* the same, prepared */
	bool counted; /* what it has rewritten was asked for: */
	uint64_t packets[FLOW_SIDES]; /* [OURS] sent */
	uint64_t bytes[FLOW_SIDES];
};

/* What a flow needs when it is held or moved, or is to be: most never are. It
 * stays to the flow's end, for its numbers. */
struct flow_transit {
	struct { /* a choice of ports that no accepted end has yet */
		uint64_t ports;
		uint32_t ifindex; /* of an end being taken away */
		uint16_t port;
	} next[FLOW_SIDES];
	struct tuple clash; /* sent by and not translated; all zero: none */
	struct hold_flow held;
	uint64_t held_ms; /* held since, by whichever half began; 0 not */
	struct flow_work *work; /* a worker's: crew.c; NULL none */
	LIST_ENTRY(flow) in_settling; /* while `settling` ... */
	uint64_t settling_ms; /* ... since then */
	uint64_t refused_ms; /* the kernel would not let it go then; 0 it did */
	uint64_t last_queued_ms;
	uint64_t rcv_nxt_ms; /* a held segment told it then; 0 never */
	uint32_t rcv_nxt; /* what our TCP expects next */
	uint32_t snd_nxt; /* what it sends next, of what was held */
	uint32_t sent_seq; /* its segment that was held last ... */
	uint32_t old_echo; /* TSecr of what was held last; 0 none */
	bool echo_is_old; /* it was held for long, nothing newer was heard */
	struct nonce_numbers sent; /* what its TCP sent last ... */
	uint64_t sent_ms; /* ... as was seen then; 0 never */
	uint64_t answered_ms; /* a nonce was, and its path was not heard of
			       * since; 0 none */
	bool repeats; /* ... there is one */
	bool stale; /* no segment of it is held that could go: they were given
		     * up, or all were sent before */
	uint64_t packets[FLOW_SIDES]; /* rewritten: [OURS] sent */
	uint64_t bytes[FLOW_SIDES];
};

/* There are as many as connections: small ones lie where they leave no gaps. */
struct flow {
	struct index_link by_identity;
	struct index_link by_id;
	TAILQ_ENTRY(flow) in_all;
	LIST_ENTRY(flow) in_group[FLOW_SIDES];
	struct flow_group *group[FLOW_SIDES];
	uint64_t group_id; /* flow id that their digests hold */
	struct flow_path *path; /* NULL while plain */
	struct flow_transit *transit; /* NULL while never held nor moved */
	SLIST_HEAD(, flow_wire) wires;
	struct tuple identity;
	uint8_t state; /* of the socket: TCP_* */
	uint8_t steered; /* bits of enum flow_steer that the kernel has */
	uint8_t wanted; /* the same, prepared */
	enum reason reason : 8; /* why it is not protected */
	bool bound : 1, mptcp : 1, md5 : 1; /* why it cannot be protected */
	bool seen : 1; /* by the dump that is under way */
	bool replaced : 1; /* ... which has seen another socket there */
	bool ended : 1; /* its socket is gone */
	bool willing : 1; /* counted as a flow that policy allows */
	bool protected : 1; /* both ends confirmed it */
	bool kept : 1; /* it stands in the journal */
	bool preferred : 1; /* so was its address when it was first seen */
	bool veiled : 1; /* how its socket is asked: wake.c */
	bool asked : 1; /* it has not answered yet */
	bool answers : 1; /* it has, when it was asked that way */
	bool rested : 1; /* it was free to answer when it was asked */
	bool reserved : 1; /* `peer` owns it and has stopped: assoc.c */
	uint64_t poked_ms; /* its socket was asked last, or answered */
	uint64_t id; /* on this host, for people */
	uint64_t cookie; /* of its socket; 0 once that is gone */
	uint64_t first_seen_ms;
	uint64_t retry_ms; /* protecting it failed: not claimed before */
	uint64_t turn_ms; /* the next of several keys has one then */
	uint32_t turn; /* so many there were */
	uint64_t received_ms; /* data, as the last dump told; 0 never */
	uint64_t heard_ms; /* TCP has taken an ACK, as it told; 0 never */
	uint64_t sent_ms; /* data, as is known; 0 never: trial.c */
	uint32_t uid;
	uint32_t mark; /* of its socket */
	uint32_t moves; /* committed, by either end */
	uint8_t wake; /* enum of wake.c: how far its sender is woken */
	uint8_t promoted; /* bits as in flow_wire.mapped: to be rewritten by the
			   * kernel; what comes, by whichever wire tuple */
	bool hold : 1; /* prepared or steered to be held */
	bool was_held : 1; /* before the change that is being prepared */
	bool stay_queued : 1; /* OUT stays although it is plain again ... */
	bool leave_queue : 1; /* ... until it is quiet: now */
	bool clashes : 1; /* another socket has what it is sent by */
	bool expiring : 1; /* a wire tuple is not quiet any more */
	bool settling : 1; /* waits to leave the queue: its path or the maps */
	struct peer *peer; /* the owner, or who may become it */
	struct claim claim;
};

struct flow_tombstone {
	struct index_link by_tuple;
	TAILQ_ENTRY(flow_tombstone) entry;
	struct tuple tuple;
	uint64_t flow_id; /* struct flow's id; 0: of an earlier run */
	uint64_t until_ms;
	struct share *share; /* it counts for; NULL nobody's */
};

struct flow_table {
	struct index by_identity;
	struct index by_id;
	TAILQ_HEAD(, flow) all; /* in the order of ids */
	struct index wires;
	struct index tombs;
	TAILQ_HEAD(flow_tombstones, flow_tombstone) tomb_order; /* oldest first */
	struct share_pool tomb_pool;
	TAILQ_HEAD(, flow_wire) quiet; /* oldest first */
	uint32_t max_flows;
	uint64_t next_id;
	struct counters *counters;
};

/* `seed` is random. */
void flow_table_init(struct flow_table *t, uint32_t max_flows,
		     const uint8_t seed[CRYPTO_SHORT_KEY_SIZE],
		     struct counters *counters);
/* Frees all. Held packets must have been taken out before. */
void flow_table_free(struct flow_table *t);

/* A new flow with that identity, or NULL at the bound (counted) or without
 * memory. It must not be in the table yet. */
struct flow *flow_add(struct flow_table *t, const struct tuple *identity,
		      uint64_t now_ms);
/* Takes it out of table and groups and frees it. What it steers must have
 * been taken from the kernel before. */
void flow_remove(struct flow_table *t, struct flow *f);
struct flow *flow_find(const struct flow_table *t, const struct tuple *id);
struct flow *flow_find_id(const struct flow_table *t, uint64_t id);
/* By an accepted wire tuple other than the identity. */
struct flow *flow_find_wire(const struct flow_table *t,
			    const struct tuple *wire);
/* By that, or by one that is quiet: what proves itself is taken there. */
struct flow *flow_find_steered(const struct flow_table *t,
			       const struct tuple *wire);
/* Was it one that was never proved, a moment ago? */
bool flow_wire_is_quiet(const struct flow_table *t, const struct tuple *wire);
/* In the order of ids: the first one with a greater id, or NULL. */
struct flow *flow_next_id(const struct flow_table *t, uint64_t id);
/* All, in that order; NULL at the end. What is added meanwhile comes last. */
struct flow *flow_first(const struct flow_table *t);
struct flow *flow_next(const struct flow *f);

/* Groups of confirmed flows. Entering one leaves the other; NULL only
 * leaves. The digests take f->claim.flow_id as it is at that moment: where
 * it changes, enter again. */
void flow_group_init(struct flow_group *g);
void flow_group_enter(struct flow *f, enum flow_side side,
		      struct flow_group *g);

/* True while wire and identity are one and nothing else is accepted. */
bool flow_is_plain(const struct flow *f);
/* By which it is sent, where the kernel rewrites that one; or NULL. */
struct flow_wire *flow_mapped(const struct flow *f);
/* What is sent now. */
struct tuple flow_wire_tuple(const struct flow *f);
/* Is that anything but the identity? */
bool flow_is_moved(const struct flow *f);
/* Is this tuple, seen from here, in the accepted set? */
bool flow_accepts(const struct flow *f, const struct tuple *wire);
/* This flow's port under a choice of ports: as accepted, as chosen next, that
 * of the identity for 0; a choice that does not name the flow leaves it the
 * port that is sent by. */
uint16_t flow_port(const struct flow *f, enum flow_side side, uint64_t ports);
/* The end accepted under (addr, ports), or NULL. */
struct flow_end *flow_end_find(const struct flow *f, enum flow_side side,
			       const struct addr *addr, uint64_t ports);

/* Its transit, made where there is none yet; NULL without memory. A flow that
 * has a path or is steered to us has one. */
struct flow_transit *flow_transit(struct flow *f);
/* Do packets of it wait with us? */
bool flow_is_waiting(const struct flow *f);

/* Adds the end at (addr, flow_port()); nothing where it is there. 0,
 * -ENOSPC (FLOW_ENDS_MAX) or -ENOMEM. */
int flow_accept(struct flow *f, enum flow_side side, const struct addr *addr,
		uint64_t ports);
/* Takes that end away; the end that is sent by stays. */
void flow_unaccept(struct flow *f, enum flow_side side,
		   const struct addr *addr, uint64_t ports);
/* Sends by (addr, flow_port()) from now on. 0 or -ENOMEM. */
int flow_send_by(struct flow *f, enum flow_side side, const struct addr *addr,
		 uint64_t ports);

/* Another connection begins on that wire tuple of the flow. What was never
 * proved is its, by the next change that is prepared; false where it was. */
bool flow_cede(struct flow *f, const struct tuple *wire);
/* Is what it is sent by ceded? The other is gone, or has it: then it is given
 * up until flow_take_back() once more. */
bool flow_is_ceded(const struct flow *f);
void flow_take_back(struct flow *f, bool gone);

/* Would this tuple collide with another flow's socket, wire or tombstone? */
bool flow_tuple_taken(const struct flow_table *t, const struct flow *f,
		      const struct tuple *wire);
/* The same for the whole product of a new end with the other side. */
bool flow_end_taken(const struct flow_table *t, const struct flow *f,
		    enum flow_side side, const struct endpoint *at);

/*
 * Names the changes that lead from what the kernel has to what the flow
 * needs now. `tombstone`: wire tuples that leave the accepted set are
 * dropped for FLOW_TOMBSTONE_MS instead of being forgotten, but for those on
 * which another socket of ours lives; those that were never proved are quiet
 * for FLOW_QUIET_MS instead. Afterwards
 * exactly one of flow_steer_commit() and flow_steer_abort(). 0, -ENOMEM,
 * -EADDRINUSE (another flow has a tuple of it on the wire), or what `cb`
 * returned; a failure is followed by flow_steer_abort() too.
 */
int flow_steer_prepare(struct flow_table *t, struct flow *f, bool tombstone,
		       uint64_t now_ms, flow_change_cb *cb, void *ctx);
void flow_steer_commit(struct flow_table *t, struct flow *f, bool tombstone,
		       uint64_t now_ms);
void flow_steer_abort(struct flow_table *t, struct flow *f);
/* Frees a path that says no more than the identity does: by flow_steer_commit(),
 * and where an end's ifindex was what it said. */
void flow_forget_plain(struct flow *f);
/* As if the kernel had nothing of it: before everything is built anew. */
void flow_steer_forget(struct flow_table *t, struct flow *f);
/* Names everything that the kernel should have, as additions: to restore a
 * table that was lost. */
int flow_steer_all(struct flow_table *t, uint64_t now_ms, flow_change_cb *cb,
		   void *ctx);

/* Was it a wire tuple, not long ago? */
bool flow_tombstone_is(const struct flow_table *t, const struct tuple *tuple);
/* May all flows of that group leave one more wire tuple behind? Where one may
 * not, it leaves no tombstone. */
bool flow_tombstones_fit(const struct flow_table *t,
			 const struct flow_group *g);
/* That peer is no more: its tombstones are nobody's. */
void flow_tombstones_forget_share(struct flow_table *t,
				  const struct share *share);
/* A new socket of ours lives on that tuple: true where there was a tombstone
 * on it, which the caller takes from the kernel's DROP set too. */
bool flow_tombstone_lift(struct flow_table *t, const struct tuple *tuple);
/* One of an earlier run, whose flow is not known: no other is kept from that
 * tuple. The one that ends first comes first. Nothing where a socket or a wire
 * tuple is there by now. */
void flow_tombstone_restore(struct flow_table *t, const struct tuple *tuple,
			    uint64_t until_ms);
/* Of the first wire tuple that is quiet, when it is so no longer, and whose it
 * is; 0 and NULL: there is none. A change of the flow forgets it then. */
uint64_t flow_quiet_due_ms(const struct flow_table *t);
/* Forgets tombstones past their time (the kernel's have a timeout). */
void flow_tombstones_expire(struct flow_table *t, uint64_t now_ms);

#endif
