/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim_impl: what claim.c, claim_table.c, proof.c, offer.c, answer.c and
 * roster.c share. Nobody else includes it; see claim.h for what the module
 * is.
 */
#ifndef SACIPED_CLAIM_IMPL_H
#define SACIPED_CLAIM_IMPL_H

#include "claim.h"

#define DEMERITS_MAX (2 * CLAIM_WRONG_MAX)
#define ANSWER_MS 60 /* added to a PTO: the other end takes a sample first */
#define PTO_BACKOFF_MAX_MS 8000
#define QUICK_RETRIES 3 /* before a backoff, with the capture kept open */
#define QUICK_RETRY_MS 30
#define LINGER_MS 2000 /* an answerer's capture, for the next try */
#define ASKED_MS 5000 /* from "will offer" to the offer */
/* What FLOWS and FLOWS_ACK leave for entries. */
#define FLOWS_ROOM (WIRE_PLAIN_MAX - WIRE_PATH_SIZE - WIRE_FLOWS_FIXED)
#define OWN_MACS WIRE_PROOF_MACS_MAX

enum stage {
	STAGE_SAMPLE, /* offerer: waits for its own number */
	STAGE_PACK, /* FLOWS is to go */
	STAGE_SENT, /* FLOWS is out */
	STAGE_ASKED, /* the other end will offer */
	STAGE_RECORD, /* offerer: both ends record */
	STAGE_CHECK, /* offerer: has an answer, waits for a number */
	STAGE_PAUSE, /* offerer: quick retry */
	STAGE_VERIFY, /* answerer: has an offer, waits for a number */
	STAGE_ANSWER, /* answerer: FLOWS_ACK is to go */
	STAGE_LISTEN, /* answerer: records */
	STAGE_LINGER, /* answerer: answered, another try may come */
};

enum verdict { VERDICT_RIGHT, VERDICT_DOUBTFUL, VERDICT_WRONG };

struct sample {
	uint64_t at_ms;
	uint32_t rcv_nxt;
};

/* One proof under way. */
struct claim_work {
	enum stage stage;
	bool mine; /* counts as an offer or ask of ours */
	bool watching;
	void *copies; /* of the watch; its user's */
	bool recording;
	uint64_t watch_ms; /* since when */
	uint64_t since_ms; /* a sample must be this young */
	uint64_t packed_ms; /* since when it waits for company */
	uint8_t tries; /* FLOWS unanswered */
	uint8_t retries; /* quick ones */
	uint8_t pokes;
	/* what FLOWS or FLOWS_ACK is to say, or said */
	uint8_t kind; /* enum wire_proof_kind */
	enum reason answer;
	uint32_t batch; /* of the FLOWS that is answered, or that asks */
	uint16_t part, parts;
	uint8_t ask_at;
	/* of the other end */
	uint64_t flow_id;
	struct wire_place peers;
	uint32_t their_nxt;
	/* TCP: ring of samples, at most one per CLAIM_HISTORY_MS /
	 * CLAIM_HISTORY, and the newest */
	struct sample history[CLAIM_HISTORY];
	struct sample newest;
	unsigned int n_history; /* ever; ring index modulo */
	uint32_t snd_nxt;
	uint32_t window;
	/* UDP */
	uint8_t key[CRYPTO_KEY_SIZE];
	uint8_t own[OWN_MACS][WIRE_PROOF_MAC_SIZE];
	unsigned int n_own; /* ever */
	uint8_t (*seen)[WIRE_PROOF_MAC_SIZE]; /* CLAIM_RECORD_SEEN */
	unsigned int n_seen; /* ever */
};

/* A complete list that we send. */
struct announce {
	bool active;
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
};

struct claim_table {
	struct claim_ops ops;
	void *arg;
	struct counters *counters;
	uint64_t key; /* the peer's, its first 8 bytes */

	struct index by_id;
	struct claim_list attached; /* all, by `attached` */
	struct claim_list list[CLAIM_LISTS];
	unsigned int n_attached;
	unsigned int n_work, n_mine, n_recordings;

	struct claim_digest digest;
	struct announce announce;
	struct roll roll;
	uint32_t batch; /* last used */
	uint64_t unanswered_ms;

	/* Lower bounds of what is due; scanned then, and set anew. */
	uint64_t turn_ms; /* waiting */
	uint64_t backoff_ms;
	uint64_t work_ms;
	uint64_t tell_ms;
	uint64_t ended_ms;
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

static inline void claim_count(struct claim_table *t, enum counter_id c)
{
	t->counters->value[c]++;
}

/* claim.c */
void claim_enter(struct claim *c, enum claim_list_name list);
void claim_attach(struct claim_table *t, struct claim *c);
void claim_detach(struct claim *c);
int claim_set_id(struct claim *c, uint64_t flow_id);
void claim_work_free(struct claim *c);
/* Makes it, with `stage` and what is due; -ENOMEM, -ENOSPC. */
int claim_work_new(struct claim *c, uint64_t now_ms, bool mine);
void claim_stage(struct claim *c, enum stage stage, uint64_t due_ms);
/* The proof ended without success: event, and backoff by reason. */
void claim_refuse(struct claim *c, uint64_t now_ms, enum reason why);
/* Proved: event. The work is the caller's to free. -EEXIST: not confirmed,
 * that id is another flow's. */
int claim_confirm(struct claim *c, uint64_t now_ms, uint64_t flow_id,
		   uint32_t peer_track);
/* Confirmed no more; event. */
void claim_lose(struct claim *c, uint64_t now_ms, enum reason why);
/* The own track that the flow is in or would enter, to be told. */
void claim_place(struct claim *c, struct wire_place *own);
/* True where it may enter (or is in) that track of the peer; else counted.
 * `proved`: just now, not only named. */
bool claim_may_enter(struct claim *c, uint64_t now_ms,
		     const struct wire_place *peers, bool proved);
/* Offer it again although it is confirmed. */
void claim_reprove(struct claim *c, uint64_t now_ms);
/* True where this key is barred for the flow now. */
bool claim_demerit(struct claim *c, enum verdict v);
bool claim_is_barred(const struct claim *c, const struct claim_table *t);
/* Barred: event. */
void claim_bar(struct claim *c, uint64_t now_ms);
uint64_t claim_pto(struct claim_table *t, uint64_t base_ms,
		   unsigned int tries);

/* It waits for a turn: in the order of coming. */
void claim_wait_turn(struct claim *c, uint64_t now_ms);
/* A reason that time may mend; else it says that it is not theirs to own. */
bool claim_reason_passes(enum reason why);

/* claim_table.c */
void claim_tell_unanswered(struct claim_table *t, uint64_t now_ms);

/* proof.c */
int proof_watch(struct claim *c, uint64_t now_ms);
void proof_unwatch(struct claim *c);
/* From now on a fresh sample is wanted, in that stage. */
void proof_want_sample(struct claim *c, uint64_t now_ms, enum stage stage);
/* Pokes; -ETIMEDOUT after CLAIM_SAMPLE_MS. */
int proof_wait(struct claim *c, uint64_t now_ms);
enum verdict proof_check_tcp(const struct claim *c, uint32_t number);
int proof_record(struct claim *c, uint64_t now_ms,
		 const uint8_t key[CRYPTO_KEY_SIZE]);
bool proof_check_udp(const struct claim *c, const struct wire_proof *p);
/* Our own proof, of the kind of c->work. */
void proof_fill(const struct claim *c, struct wire_proof *p);
/* Its bytes behind the kind. */
size_t proof_size(const struct wire_proof *p);

/* offer.c */
/* A sample came for a stage that waits for one. */
void offer_sampled(struct claim *c, uint64_t now_ms);
/* Is one of that stage there whose wait for company is over? */
bool offer_pack_due(const struct claim_table *t, enum stage stage,
		    unsigned int full, uint64_t now_ms);
/* Packs and sends what waits, once the first has waited long enough. */
void offer_flush(struct claim_table *t, uint64_t now_ms);
void offer_answered(struct claim_table *t, uint64_t now_ms,
		    const struct wire_flows_ack *m);
void offer_timeout(struct claim *c, uint64_t now_ms);
/* Begins the turn of a waiting claim; false: no room, later. */
bool offer_begin(struct claim *c, uint64_t now_ms);

/* answer.c */
void answer_stage(struct claim *c, uint64_t now_ms, enum reason answer);
void answer_sampled(struct claim *c, uint64_t now_ms);
void answer_flush(struct claim_table *t, uint64_t now_ms);
void answer_receive(struct claim_table *t, uint64_t now_ms,
		    const struct wire_flows *m, const uint8_t *proof_key);

/* roster.c */
void roster_tell_step(struct claim_table *t, uint64_t now_ms);
void roster_announce_step(struct claim_table *t, uint64_t now_ms);
void roster_ended_step(struct claim_table *t, uint64_t now_ms);
/* A part of a complete list was read; ends what it leaves out. */
void roster_consume_part(struct claim_table *t, uint64_t now_ms,
			 const struct wire_flows *m);
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
