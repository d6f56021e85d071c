/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim_impl: what claim.c, claim_table.c, proof.c, offer.c, answer.c and
 * roster.c share. Nobody else includes it; see claim.h for what the module
 * is.
 */
#ifndef SACIPED_CLAIM_IMPL_H
#define SACIPED_CLAIM_IMPL_H

#include "bucket.h"
#include "claim.h"
#include "mutant.h"

#define ANSWER_MS 60 /* added to a PTO: answers wait for company */
#define PTO_BACKOFF_MAX_MS 8000
#define QUICK_RETRIES 3 /* before a backoff */
#define QUICK_RETRY_MS 30
#define LINGER_MS 8000 /* for who has not heard that it is confirmed */
#define ASKED_MS 5000 /* from "will offer" to the offer */
/* What FLOWS and FLOWS_ACK leave for entries. */
#define FLOWS_ROOM (WIRE_PLAIN_MAX - WIRE_PATH_SIZE - WIRE_FLOWS_FIXED)

enum stage {
	STAGE_SAMPLE, /* waits for its own numbers */
	/* of what is ours: */
	STAGE_PACK, /* FLOWS is to go */
	STAGE_SENT, /* FLOWS is out */
	STAGE_ASKED, /* the other end will offer */
	STAGE_AWAIT, /* the nonce is out on the flow */
	STAGE_PAUSE, /* before another try */
	STAGE_DENY, /* over, but the other end may own it: FLOW_END is out */
	/* of what is theirs: */
	STAGE_EXPECT, /* for a nonce, or for the receipt of ours */
	STAGE_ANSWER, /* FLOWS_ACK is to go */
	STAGE_LINGER, /* confirmed, and said so */
};

/* One proof under way: of a flow, with a peer. */
struct claim_work {
	TAILQ_ENTRY(claim_work) entry; /* in the table's, by coming */
	LIST_ENTRY(claim_work) of_claim;
	struct claim_table *table;
	struct claim *claim;
	enum stage stage;
	uint64_t began_ms, due_ms;
	bool mine; /* an offer or ask of ours */
	bool asks; /* ... and an ask */
	bool watching;
	void *copies; /* of the watch; its user's */
	uint64_t flow_id;
	struct wire_place peers;
	uint8_t tries; /* FLOWS unanswered */
	uint8_t retries; /* quick ones */
	uint8_t attempts; /* nonces of ours that went on the flow */
	uint8_t unanswered; /* ... and stayed without one */
	uint8_t tokens; /* that it has cost */
	/* what FLOWS or FLOWS_ACK is to say, or said */
	uint8_t kind; /* enum wire_proof_kind */
	enum reason answer;
	uint64_t packed_ms; /* since when it waits for company */
	uint32_t batch; /* of the FLOWS that is answered, or that asks */
	uint16_t part, parts;
	uint8_t ask_at;
	/* what goes on the flow, and what has come */
	bool expected; /* the kernel was told, for this try */
	bool known; /* the own numbers; always with UDP */
	bool sent, received;
	uint8_t tag[WIRE_NONCE_SIZE]; /* of the offerer's nonce */
	uint8_t out[WIRE_NONCE_SIZE], in[WIRE_NONCE_SIZE];
	struct nonce_numbers now; /* of the socket */
	struct nonce_numbers out_numbers, in_numbers;
	struct tuple at; /* that theirs came by */
	uint64_t poke_ms, sample_end_ms;
	uint8_t pokes;
};

TAILQ_HEAD(claim_queue, claim_work);

/* A complete list that we send. */
struct announce {
	bool active;
	bool stale; /* a flow was confirmed since */
	uint32_t batch;
	unsigned int parts, n_acked;
	uint8_t acked[(WIRE_PARTS_MAX + 7) / 8];
	unsigned int in_flight; /* parts of this round not acked yet */
	uint64_t due_ms;
	uint8_t tries;
};

/* A complete list that we receive. */
struct roll {
	bool active;
	uint32_t batch, before; /* the one before: late parts of it */
	uint16_t parts;
	unsigned int n_seen;
	uint8_t seen[(WIRE_PARTS_MAX + 7) / 8];
	uint64_t since_ms;
	uint64_t sent_order; /* of the part that was sent first */
};

struct claim_table {
	struct claim_ops ops;
	void *arg;
	struct counters *counters;
	bool offers;
	struct nonce_ends ends;

	struct index by_id;
	struct claim_list attached; /* all, by `attached` */
	struct claim_list list[CLAIM_LISTS];
	unsigned int n_attached;
	struct claim_queue works, lingering;
	unsigned int n_mine, n_theirs, n_lingering;
	struct bucket tries, their_tries;
	struct bucket looks; /* at paths that were not good */
	unsigned int gave_way; /* proofs that did, more than were right since */

	struct claim_digest digest;
	struct announce announce;
	struct roll roll;
	uint32_t batch; /* last used */
	uint64_t heard_order; /* of the message that came last */
	uint64_t unanswered_ms;

	/* Lower bounds of what is due; scanned then, and set anew. */
	uint64_t turn_ms; /* waiting */
	uint64_t backoff_ms;
	uint64_t work_ms;
	uint64_t tell_ms;
	uint64_t ended_ms;
	unsigned int n_leaving;
	/* A pass over those that ended, a part at each step. */
	unsigned int n_ended, ended_left;
	uint64_t ended_next_ms; /* of what it has seen */
};

/* A list is walked whole for the first that is due: at few moments, however
 * many claims of their own times are in it. */
#define CLAIM_LOOK_MS 50

static inline uint64_t claim_look_ms(uint64_t due_ms)
{
	uint64_t last_ms = due_ms + CLAIM_LOOK_MS - 1;

	return last_ms - last_ms % CLAIM_LOOK_MS;
}

static inline void due_at(uint64_t *bound, uint64_t ms)
{
	if (ms < *bound)
		*bound = ms;
}

/* Nobody else proves it then. */
static inline bool claim_is_others(const struct claim *c,
				   const struct claim_table *t)
{
	return c->confirmed && c->table != t && !MUTANT(owner_unchecked);
}

static inline void claim_count(struct claim_table *t, enum counter_id c)
{
	t->counters->value[c]++;
}

static inline void ended_due(struct claim_table *t, uint64_t ms)
{
	due_at(&t->ended_ms, ms);
	due_at(&t->ended_next_ms, ms);
}

/* claim.c */
void claim_enter(struct claim *c, enum claim_list_name list);
void claim_attach(struct claim_table *t, struct claim *c);
void claim_detach(struct claim *c);
/* Is it attached, or may be? A list cannot name more. */
bool claim_has_room(const struct claim_table *t, const struct claim *c);
int claim_set_id(struct claim *c, uint64_t flow_id);
/* The offer or ask of ours ended without success: event, and backoff by
 * reason. */
void claim_refuse(struct claim *c, uint64_t now_ms, enum reason why);
/* Proved to that peer: attached to it, event. -EEXIST: not confirmed, that id
 * is another flow's; -ENOSPC: it has as many as a list can name. */
int claim_confirm(struct claim_table *t, struct claim *c, uint64_t now_ms,
		  uint64_t flow_id, uint32_t peer_track);
/* Confirmed no more, in its turn (CLAIM_LEAVES); then claim_lost(): event. */
void claim_lose(struct claim *c, enum reason why);
void claim_lost(struct claim *c, uint64_t now_ms);
/* Neither lost nor about to be. */
static inline bool claim_is_held(const struct claim *c)
{
	return c->confirmed && c->list != CLAIM_LEAVES;
}
/* The own track that the flow is in or would enter, to be told to that peer. */
void claim_place(struct claim_table *t, struct claim *c,
		 struct wire_place *own);
/* True where it may enter (or is in) that track of the peer; else counted.
 * `proved`: just now, not only named. */
bool claim_may_enter(struct claim_table *t, struct claim *c, uint64_t now_ms,
		     const struct wire_place *peers, bool proved);
/* Offer it again although it is confirmed. */
void claim_reprove(struct claim *c, uint64_t now_ms);
uint64_t claim_pto(struct claim_table *t, uint64_t base_ms,
		   unsigned int tries);
/* It waits for a turn: in the order of coming. */
void claim_wait_turn(struct claim *c, uint64_t now_ms);
/* A reason that time may mend; else it says that it is not theirs to own. */
bool claim_reason_passes(enum reason why);
/* One that is a matter of the path that the flow's packets take. */
bool claim_reason_is_path(enum reason why);

/* claim_table.c */
void claim_tell_unanswered(struct claim_table *t, uint64_t now_ms);

/* proof.c */
/* -ENOSPC, -ENOMEM. Its stage is for the caller to set. */
int proof_new(struct claim_table *t, struct claim *c, uint64_t now_ms,
	      bool mine, struct claim_work **w);
void proof_free(struct claim_work *w);
/* All of the claim, or those with others than that peer. */
void proof_free_all(struct claim *c, const struct claim_table *but);
/* That of the flow with that peer; NULL. */
struct claim_work *proof_find(const struct claim *c,
			      const struct claim_table *t);
/* That of ours under that id, which the flow may not have yet; NULL. */
struct claim_work *proof_find_id(const struct claim_table *t,
				 uint64_t flow_id);
void proof_stage(struct claim_work *w, enum stage stage, uint64_t due_ms);
/* A try costs a token of whose it is. False: there is none. */
bool proof_pay(struct claim_work *w, uint64_t now_ms);
/* Has the peer one for another offer? */
bool proof_can_answer(const struct claim_table *t, uint64_t now_ms);
/* May a path be looked at for what the peer says? It costs a token of its own,
 * which comes back where the path is good. */
bool proof_look(struct claim_table *t, uint64_t now_ms);
enum reason proof_looked(struct claim_table *t, enum reason why);
/* They come back. */
void proof_reward(struct claim_work *w);
/* The own numbers are wanted; NONE, or why not. */
enum reason proof_want_numbers(struct claim_work *w, uint64_t now_ms);
/* Pokes whose numbers are due; -ETIMEDOUT after CLAIM_SAMPLE_MS. */
int proof_poke(struct claim_work *w, uint64_t now_ms);
/* Draws an offerer's nonce, and its tag. */
void proof_draw(struct claim_work *w);
/* Sends what is drawn. -errno. */
int proof_emit(struct claim_work *w, uint64_t now_ms);
/* Is that a right receipt of what we sent? REWRITTEN, NONE; RETRY: it is
 * not. */
enum reason proof_check(const struct claim_work *w,
			const struct wire_proof *p);
/* Our own proof, of the kind of `w`. */
void proof_fill(const struct claim_work *w, struct wire_proof *p);
/* Its bytes behind the kind. */
size_t proof_size(const struct wire_proof *p);

/* offer.c */
/* Its own numbers are known. */
void offer_sampled(struct claim_work *w, uint64_t now_ms);
/* The nonce of the other end has come. */
void offer_received(struct claim_work *w, uint64_t now_ms);
/* Is one of that stage there whose wait for company is over? */
bool offer_pack_due(const struct claim_table *t, enum stage stage,
		    unsigned int full, uint64_t now_ms);
/* Has the kernel take out what comes on those of that stage that will bear
 * nonces. */
void offer_expect(struct claim_table *t, uint64_t now_ms, enum stage stage);
/* Packs and sends what waits, once the first has waited long enough. */
void offer_flush(struct claim_table *t, uint64_t now_ms);
void offer_answered(struct claim_table *t, uint64_t now_ms,
		    const struct wire_flows_ack *m);
void offer_timeout(struct claim_work *w, uint64_t now_ms);
/* Begins the turn of a waiting claim; false: no room, later. */
bool offer_begin(struct claim *c, uint64_t now_ms);
/* Of a flow that is another peer's to be proved, this one asks for an offer
 * too. False: no room. */
bool offer_beside(struct claim_table *t, struct claim *c, uint64_t now_ms);
/* The other end has heard FLOW_END for it. */
void offer_denied(struct claim_table *t, uint64_t flow_id);
/* Ends it; where it was what the claim waits for, that is refused. */
void offer_fail(struct claim_work *w, uint64_t now_ms, enum reason why);

/* answer.c */
void answer_timeout(struct claim_work *w, uint64_t now_ms);
/* Its own numbers are known, or cannot be. */
void answer_sampled(struct claim_work *w, uint64_t now_ms);
void answer_unknown(struct claim_work *w, uint64_t now_ms);
/* The nonce has come: answered, once. */
void answer_emit(struct claim_work *w, uint64_t now_ms);
void answer_flush(struct claim_table *t, uint64_t now_ms);
void answer_receive(struct claim_table *t, uint64_t now_ms,
		    const struct wire_flows *m);

/* roster.c */
void roster_tell_step(struct claim_table *t, uint64_t now_ms);
void roster_announce_step(struct claim_table *t, uint64_t now_ms);
void roster_ended_step(struct claim_table *t, uint64_t now_ms);
/* A part of a complete list was read; what this leaves out is to be lost. False
 * where that is not done yet: the part is answered when it comes again. */
bool roster_consume_part(struct claim_table *t, uint64_t now_ms,
			 const struct wire_flows *m);
/* Has those leave that are to: ops.leaving. */
void roster_leave(struct claim_table *t, uint64_t now_ms);
/* The answer to a part of ours, whatever it says of its flows. */
void roster_part_answered(struct claim_table *t, uint64_t now_ms,
			  const struct wire_flows_ack *m);
/* An entry of FLOWS_ACK about a confirmed flow. */
void roster_answered(struct claim *c, uint64_t now_ms, enum reason reason,
		     const struct wire_place *peers);
/* It is in that track of the peer. False: it stays where it was. */
bool roster_retrack(struct claim *c, uint64_t now_ms,
		    const struct wire_place *peers, bool proved);
void roster_end_consume(struct claim_table *t, uint64_t now_ms,
			const struct wire_flow_end *m);
void roster_end_acked(struct claim_table *t, uint64_t now_ms,
		      const struct wire_flow_end *m);
/* FLOW_END for one, or for all that are in `over`, if any. */
void roster_send_over(struct claim_table *t, uint64_t now_ms,
		      struct wire_message *over);
void roster_send_end(struct claim_table *t, uint64_t now_ms,
		     uint64_t flow_id);

#endif
