/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim: three hosts, a network and a clock, all of them made up.
 *
 *	host 0                                        host 1
 *	  mover[2], follower[2]  --- loss, delay, ---   mover[2], follower[2]
 *	  addresses 0..5         --- copies, order,---  addresses 6..11
 *	                         --- blocked paths, --
 *	                             a stranger, who may take an address that
 *	                             its host has given up, and an attacker, who
 *	                             drops, delays, replays, relays and forges
 *	                                  |
 *	                             host 2, with a key and flows of its own, lies:
 *	                             addresses 12..17
 *
 * sim.c: options, coverage, TAP. jobs.c: schedules in processes. script.c: what
 * happens to the world. network.c: what lies between the hosts, and who attacks
 * there. liar.c: the third host. shrink.c: how little of all that is needed for a
 * failure. host.c, life.c, message.c, member.c, kernel.c: the daemon's and the
 * kernel's part. post.c: which datagrams may leave; ledger.c: which may not.
 * check.c: the other invariants. Links the real migrate.c, mover.c, follower.c,
 * place.c, path.c and account.c.
 */
#ifndef SACIPED_SIM_H
#define SACIPED_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate.h"
#include "migrate_mutants.h"
#include "wire.h"

#define HOSTS 2 /* of the honest pair */
#define TRACKS 2
#define FLOWS 4 /* flow f: track f & 1 of host 0, f >> 1 of host 1 */
#define ADDRS 6 /* per host */
#define PAIR_ADDRS (HOSTS * ADDRS)
/* And what each of them has with the third. */
#define LIAR HOSTS /* as a host */
#define LIAR_TRACK TRACKS /* either end's */
#define MOVERS (TRACKS + 1)
#define LIAR_FLOW FLOWS
#define ALL_FLOWS (FLOWS + 1)
#define ALL_ADDRS (PAIR_ADDRS + ADDRS)
#define TUPLES 256 /* per host and flow: accepted and tombstones */
#define HELD 8 /* packets per host and flow */
#define DGRAMS 4096 /* in flight */
#define HISTORY 64 /* what the attacker remembers */
#define DELAY_MAX_MS 1000 /* longest way of a packet through the network */
#define LATE_MAX_MS 50000 /* but for those that got lost on it for a while */

#define NO_ADDR (-1)

enum dgram_kind {
	D_MOVE, /* as enum migrate_message */
	D_ACCEPT,
	D_REFUSE,
	D_PROVE,
	D_DONE,
	D_HELLO, /* stands for a handshake: one round trip */
	D_WELCOME,
	D_SYNC,
	D_DATA,
	D_ASK, /* member.c */
	D_FLOWS,
	D_FLOWS_ACK,
	D_LIST,
	D_LIST_ACK,
	D_NONCE, /* on a flow, as data is */
	D_NONCE_BACK,
	D_PROBE,
	D_PROBE_ACK,
	/* no datagrams, but things that a daemon does a little later */
	D_SITUATION,
	D_NO_PORTS,
	D_UNTRIED, /* no flow could bear a nonce */
	D_TRAFFIC,
	D_RESUME,
	D_RESTART,
	D_HELLO_TIMER,
	D_CLAIM_TIMER,
	D_RENEW,
	D_LIAR,
	D_ATTACK,
	D_CLOSE,
};

struct dgram {
	enum dgram_kind kind;
	int from_host; /* of events: the host itself */
	int src, dst; /* numbers of addresses */
	int sealed_src, sealed_dst; /* as its sender saw them */
	size_t len;
	unsigned int track;
	uint32_t track_number[MOVERS]; /* of the mover's journal */
	uint64_t session;
	uint64_t seq;
	struct addr from;
	struct locator to;
	bool from_gone;
	enum reason reason;
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE]; /* PROBE: its token */
	struct { /* SYNC */
		uint64_t committed;
		struct addr locator;
	} own[MOVERS];
	uint64_t theirs[MOVERS];
	uint32_t their_number[MOVERS];
	enum migrate_cause cause; /* SITUATION */
	bool has_candidate, outside; /* of a change, not of the mover's asking */
	uint64_t digest; /* MOVE: the flows of the track */
	struct wire_place place; /* FLOWS, FLOWS_ACK */
	uint64_t nonce; /* FLOWS; FLOWS_ACK answers it */
	uint64_t order; /* of making: FLOWS, LIST and their answers */
	struct { /* LIST */
		uint64_t generation;
		bool open, in;
	} member[FLOWS];
	/* DATA, FLOWS */
	unsigned int flow;
	uint64_t generation;
	uint64_t number;
	uint64_t src_ports, dst_ports;
	uint64_t sent_ms;
	/* what only the checks may look at */
	int truly_gone; /* MOVE: the mover's current address, where it is gone */
	int accepted_addr; /* ACCEPT, DONE: what the peer says it accepts */
	bool forged;
	bool answer; /* SYNC: it is one */
	bool proof; /* FLOWS of the liar: it is right */
	bool queued; /* has arrived, waits for a stopped daemon */
};

struct kernel_tuple {
	struct locator own, peer;
	bool tombstone;
	uint64_t until_ms; /* of a tombstone */
};

enum owner {
	OWNER_NONE,
	OWNER_PAIR, /* each other's */
	OWNER_LIAR,
};

struct flow_end {
	enum owner owner; /* of its other end, as far as is known */
	struct locator own, peer; /* identity */
	bool open; /* the socket is there */
	bool in; /* in a track of either side */
	bool anew; /* began or entered since a journal was lost */
	uint64_t generation; /* of what follows one another as this flow */
	uint64_t nonce;
	uint64_t proved_order; /* of what let it enter */
	uint64_t quiet_ms; /* not claimed before */
	unsigned int n;
	struct kernel_tuple tuple[TUPLES];
	unsigned int n_held;
	uint64_t held[HELD];
	uint64_t next_number; /* of packets from here */
	uint64_t last_sent;
	uint64_t last_received;
	bool received_any;
};

/* A challenge that a follower has sent out, for the checks. */
struct challenge_record {
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE];
	int dest; /* where it was sent to */
	int heard_at; /* where its owner received it */
};

#define CHALLENGES 64
#define NUMBERS 64 /* remembered: when they were first sent */

/* Who the other end is: a host has a record of each. */
enum other {
	OTHER_PAIR,
	OTHER_LIAR,
	OTHERS
};

/* What went to an address, and came from there. */
#define LEDGER_TOKENS 64
struct ledger {
	uint64_t valid_ms[OTHERS][ALL_ADDRS]; /* it has answered; 0 never */
	size_t credit[ALL_ADDRS];
	uint64_t came_ms[ALL_ADDRS];
	uint64_t own_ms[ALL_ADDRS]; /* that its own accord is in debt */
	uint64_t own_of_ms[ALL_ADDRS]; /* what is for the other of the pair */
	uint64_t own_at_ms[ALL_ADDRS];
	size_t in_hand;
	int in_hand_of;
	bool is_authentic;
	struct token {
		int at;
		unsigned int who;
		uint8_t token[MIGRATE_CHALLENGE_SIZE];
	} token[LEDGER_TOKENS];
	unsigned int n_tokens;
};

/* What was asked for: where a number led to. */
struct named {
	uint64_t seq;
	struct locator to;
};

struct post;

struct host {
	int id;
	struct post *post;
	bool owned[ADDRS];
	bool deprecated[ADDRS];
	bool unroutable[MOVERS]; /* no source for the peer, whatever we own */
	uint8_t preference[MOVERS][ADDRS]; /* the best route first */
	uint64_t ports_made; /* names for choices of ports */
	struct mover mover[MOVERS];
	struct follower follower[MOVERS];
	struct mover mover_journal[MOVERS];
	struct follower follower_journal[MOVERS];
	/* Rolled back: the journal tells of a step not taken, which
	 * a restart would take. */
	bool mover_ahead[MOVERS], follower_ahead[MOVERS];
	struct flow_end flow[ALL_FLOWS];
	unsigned int unanswered; /* claims */
	uint64_t left_seq[MOVERS]; /* MOVE that names who has left since */

	bool up; /* the daemon runs */
	bool stopped; /* the daemon does not get on */
	bool asleep; /* the whole host does not */
	bool waking; /* queued packets wait until it has caught up */
	uint64_t resume_ms; /* of a stop or a sleep */
	uint64_t liar_session, liar_next; /* as the two below */
	int liar_src, liar_dst;
	uint64_t session, previous_session; /* 0: none */
	uint64_t made_ms, previous_made_ms;
	uint64_t next_session; /* answered with WELCOME, not confirmed */
	uint64_t hello_session; /* asked for with HELLO */
	int next_src, next_dst; /* of that HELLO */
	bool hello_waits;
	unsigned int hello_tries;
	int configured; /* address of the peer, or NO_ADDR */
	unsigned int kernel_fails; /* one action in so many; 0 never */

	/* of the peer's tracks: when its numbers are answered */
	struct bucket answers[MOVERS];
	uint64_t answered_seq[MOVERS], answered_ms[MOVERS];
	struct dgram later[MOVERS]; /* the newest MOVE that waits */
	bool has_later[MOVERS];

	/* set by the script: how the daemon's own checks come out */
	bool denied[ALL_ADDRS]; /* policy */
	bool taken[ALL_ADDRS]; /* with the identity ports */
	bool digest_differs[MOVERS];
	uint64_t pilot_seq[MOVERS]; /* of a move that a nonce can be sent for */
	uint64_t crossed_seq[MOVERS]; /* of the last that one has crossed for */
	bool at_limit;

	/* what the checks know */
	bool said[MOVERS][ADDRS]; /* heard that the peer accepts it */
	bool answered[MOVERS][ALL_ADDRS]; /* peer's: challenged and proved */
	bool gone[MOVERS][ALL_ADDRS]; /* peer's: told that it is gone */
	uint64_t last_seq[MOVERS], last_committed[MOVERS];
	uint64_t last_pending[MOVERS];
	uint64_t asked_seq[MOVERS], asked_ms[MOVERS][NUMBERS];
	unsigned int n_asked[MOVERS];
	uint64_t refused_ms[MOVERS][ADDRS]; /* heard, for good; 0 not */
	uint64_t event_ms[MOVERS]; /* a reason to ask for it again */
	uint64_t forgot_ms; /* its journal was lost; 0 never */
	uint64_t disturbed_until_ms; /* then losing packets is its right */
	struct challenge_record challenge[CHALLENGES];
	unsigned int n_challenges;
	struct ledger ledger;
	struct named named[MOVERS][NUMBERS];
	uint64_t last_floor[MOVERS];
};

/* How the third host answers one of the others. */
enum manner {
	MANNER_ANSWERS,
	MANNER_SILENT,
	MANNER_LATE,
	MANNER_FLIPS,
	MANNER_WRONG,
	MANNERS
};

struct liar {
	enum manner manner[HOSTS];
	uint64_t session[HOSTS], asked[HOSTS]; /* made; HELLO was sent */
	uint64_t seq[HOSTS]; /* highest of its own track */
	int at[HOSTS]; /* where it says it is */
	uint8_t challenge[HOSTS][MIGRATE_CHALLENGE_SIZE]; /* heard last */
	bool floods; /* one thing again and again, as if from one address */
	unsigned int flood;
	int flood_from;
};

/* What a schedule is made of, and what of it is left out. Each part of it has
 * random numbers of its own, so that the others are much the same without it. */
#define SCRIPT_EVENTS 13 /* at most */
enum script_part {
	PART_EVENTS, /* a bit for each that happens */
	PART_COMINGS, /* that flows begin and end before it */
	PART_PAUSES, /* that time passes after it */
	PART_FAULTS, /* of the network, by enum fault */
	SCRIPT_PARTS
};
enum fault {
	FAULT_LOSS,
	FAULT_COPIES,
	FAULT_REORDER,
	FAULT_LATE,
	FAULT_LIAR,
	FAULT_ATTACKER,
	FAULTS
};
struct script {
	uint64_t seed;
	uint32_t part[SCRIPT_PARTS];
};

struct stats {
	uint64_t steps, data_sent, data_received, tombstone_hits, moves, controls,
		to_stranger, held, hold_dropped, entered, unpaid, lies,
		rest_ms, rest_seed; /* the longest way to rest, and whose */
};

enum loudness {
	SILENT,
	EVENTS_TOLD,
	STEPS_TOLD,
};

struct world {
	struct script script;
	uint64_t now, random_state;
	uint64_t sum; /* of all that came to pass: the same for a replay */
	uint64_t made; /* messages about who owns what */
	struct host host[HOSTS];
	struct liar liar;
	bool has_liar, has_attacker;
	bool stranger[ALL_ADDRS];
	bool blocked[ALL_ADDRS][ALL_ADDRS];
	uint64_t unfit_ms[ALL_ADDRS][ALL_ADDRS]; /* carries no flow packets
						  * since then; 0: it does */
	unsigned int loss, copies, reorder, late; /* per mille */
	bool comings; /* flows begin, end, enter and leave */
	bool relayed; /* an attacker on the path repeats things elsewhere */
	uint32_t choked; /* and drops these kinds */
	unsigned int delay_ms;
	uint64_t sessions;
	uint32_t track_numbers;
	uint64_t generations;
	bool amnesia; /* a journal was lost: recovery is checked, and what is
		       * proved since then */
	bool healing;
	enum loudness loudness;
	unsigned int same_time_steps;

	/* heap of indexes, by (time, order) */
	unsigned int n_heap, n_free;
	uint16_t heap[DGRAMS], free[DGRAMS];
	uint64_t at[DGRAMS], order[DGRAMS], orders;
	struct dgram history[HISTORY];
	unsigned int n_history;
	unsigned int traffic_ms;

	struct stats stats;
	bool failed;
	const char *failed_as; /* the format: which check it was */
	char failure[256];

	/* Not begun anew with each schedule. */
	struct post *post[HOSTS];
	/* Only what the queue holds is written before it is read. */
	struct dgram dgram[DGRAMS];
};

/* Coverage: what a step was given, finer than the event's type. */
#define MOVER_ROWS MOVER_STATES
#define MOVER_COLUMNS 24
#define FOLLOWER_ROWS FOLLOWER_STATES
#define FOLLOWER_COLUMNS 14
extern const char *const mover_column[MOVER_COLUMNS];
extern const char *const follower_column[FOLLOWER_COLUMNS];
struct coverage {
	uint64_t mover[MOVER_ROWS][MOVER_COLUMNS];
	uint64_t follower[FOLLOWER_ROWS][FOLLOWER_COLUMNS];
};
extern struct coverage coverage; /* the test program's, not the core's */

/* network.c, script.c */
uint64_t world_random(struct world *w);
unsigned int world_pick(struct world *w, unsigned int n); /* 0..n-1 */
bool world_chance(struct world *w, unsigned int per_mille);
void world_start(struct world *w, const struct script *script,
		 enum loudness loudness);
/* Events until time `until`; false where a check failed. */
bool world_run(struct world *w, uint64_t until);
/* One schedule from begin to end: trouble, then rest. False where a check
 * failed: see `failure`. */
bool world_schedule(struct world *w);
void world_post(struct world *w, uint64_t at, const struct dgram *d);
/* Through the network, which does to it what it does. */
void world_send(struct world *w, struct dgram *d);
/* One of the datagrams that were seen, once more; and some do not pass. */
void world_attack(struct world *w);
void world_choke(struct world *w);
/* Mixed into the sum of what came to pass. */
void world_sum(struct world *w, uint64_t what);
static inline struct addr sim_addr(int number)
{
	struct addr a = { .family = 4,
			  .byte = { 10, 0, (uint8_t)(number / ADDRS),
				    (uint8_t)(number % ADDRS + 1) } };

	return a;
}

/* NO_ADDR where it is not set. */
static inline int sim_addr_number(const struct addr *a)
{
	return a->family == 4 ? a->byte[2] * ADDRS + a->byte[3] - 1 : NO_ADDR;
}

int random_own(struct world *w, const struct host *h); /* NO_ADDR */

/* jobs.c */
struct jobs {
	uint64_t schedules, seed;
	unsigned int jobs; /* processes */
};
/* The number of the first schedule that failed, which `w` is left after;
 * `schedules` where none has. */
uint64_t jobs_run(struct world *w, const struct jobs *j, struct stats *total);

/* shrink.c */
/* All that a seed makes. */
void script_whole(struct script *s, uint64_t seed);
/* As --script takes it. */
#define SCRIPT_TEXT_MAX 80
void script_format(const struct script *s, char to[SCRIPT_TEXT_MAX]);
int script_parse(const char *text, struct script *s);
/* `s` has failed in `w`: leaves out whatever the same check fails without, and
 * is the shortest that was found. Returns how many schedules that took. */
unsigned int script_shrink(struct world *w, struct script *s);

/* host.c, life.c */
unsigned int host_own_track(const struct host *h, unsigned int flow);
unsigned int host_peer_track(const struct host *h, unsigned int flow);
struct host *host_peer(struct world *w, const struct host *h);
bool host_owns(const struct host *h, const struct addr *a);
/* From now on what was refused may be asked for again. */
void host_news(const struct world *w, struct host *h);
/* From now on it may lose packets for a while. */
void host_disturb(struct world *w, struct host *h);
void host_init(struct world *w, int id, const uint8_t first[TRACKS],
	       const uint8_t peer_first[TRACKS]);
void host_event(struct world *w, struct host *h, const struct dgram *d);
void host_situation(struct world *w, struct host *h, unsigned int track,
		    enum migrate_cause cause, const struct locator *candidate);
/* The kernel's own choice; `except` (or NO_ADDR) is left out. */
struct locator host_candidate(const struct world *w, const struct host *h,
			      unsigned int track, int except);
/* `cause`: the datagram that an answer goes to; NULL where there is none. */
void host_step_mover(struct world *w, struct host *h, unsigned int track,
		     struct mover_event *ev, const struct dgram *cause);
void host_step_follower(struct world *w, struct host *h, unsigned int track,
			const struct follower_event *ev,
			const struct dgram *cause);
bool host_knows(const struct host *h, unsigned int who, int a);
/* Whose track that is. */
unsigned int host_other(unsigned int track);
void host_send_known(struct world *w, struct host *h, unsigned int who,
		     struct dgram *d);
uint64_t host_deadline(const struct world *w, const struct host *h);
void host_timers(struct world *w, struct host *h);
/* Flow 0 or 1 of the track, that bears its nonces; false where what it sends
 * is held, or goes nowhere. */
bool host_pilot(const struct host *h, unsigned int track, unsigned int *flow);
void host_crash(struct world *w, struct host *h, uint64_t for_ms);
void host_restart(struct world *w, struct host *h, bool amnesia);

/* Has it a live connection with that address? */
bool host_talks_to(const struct host *h, int a);
/* Which record a session belongs to; the one in use with it. */
unsigned int host_whose(uint64_t session);
#define LIAR_SESSION ((uint64_t)1 << 63) /* a bit */
uint64_t host_session(const struct host *h, unsigned int who);
/* Its movers say again what they ask for. */
void host_repeat(struct world *w, struct host *h, unsigned int who);

/* post.c */
struct post *post_new(void);
void post_free(struct post *o);
void post_start(struct world *w, struct host *h);
void post_forget(struct host *h); /* a restart */
void post_addr_gone(struct host *h, int i);
uint64_t post_deadline(const struct host *h);
void post_timers(struct world *w, struct host *h);
/* How large it is where nothing forbids that. */
size_t post_size(const struct dgram *d);
/* Through the network, if the account of its address allows it; PROBE may go
 * instead. */
void post_send(struct world *w, struct host *h, unsigned int who,
	       struct dgram *d);
/* A datagram is looked at; it is authentic; that was all. */
void post_came(struct world *w, struct host *h, const struct dgram *d);
void post_authentic(struct world *w, struct host *h, unsigned int who,
		    const struct dgram *d);
/* What is said now answers one that came before. */
void post_answers(struct host *h, bool answering);
void post_dealt_with(struct host *h, const struct dgram *d);
void post_probe(struct world *w, struct host *h, unsigned int who,
		const struct dgram *d);
/* A handshake over that pair is done. */
void post_session(struct world *w, struct host *h, unsigned int who, int local,
		  int remote);
/* PROVE came from where it says it is. */
void post_proved(struct host *h, unsigned int who, const struct dgram *d);
void post_validate(struct host *h, unsigned int who, int local, int remote);
bool post_is_valid(const struct host *h, unsigned int who, int remote);
void post_renew(struct host *h, unsigned int who, int local, int remote);

/* ledger.c */
void ledger_came(const struct world *w, struct host *h, const struct dgram *d);
void ledger_authentic(struct host *h);
void ledger_dealt_with(const struct world *w, struct host *h);
void ledger_sent(struct world *w, struct host *h, unsigned int who,
		 const struct dgram *d, bool answering, bool owed);
/* It was not let out. */
void ledger_refused(struct world *w, struct host *h, unsigned int who,
		    const struct dgram *d, bool answering);
/* A token came from there; the address has answered a challenge. */
void ledger_answered(struct world *w, struct host *h, unsigned int who,
		     const struct dgram *d);
void ledger_valid(struct world *w, struct host *h, unsigned int who, int a);
void ledger_forget(struct host *h);

/* message.c */
void host_receive(struct world *w, struct host *h, const struct dgram *d);
void host_hello(struct world *w, struct host *h);
/* Nothing has come of it: less often. */
void host_hello_again(struct world *w, struct host *h);
/* The peer's MOVEs that have waited for an answer. */
uint64_t host_later_due(const struct host *h, unsigned int track);
void host_answer_later(struct world *w, struct host *h, unsigned int track);

/* liar.c */
void liar_start(struct world *w);
/* Came to one of its addresses, or was relayed to it. */
void liar_receive(struct world *w, const struct dgram *d);
void liar_act(struct world *w);
/* For as long as the others take to come to rest. */
void liar_begin_flood(struct world *w);

/* member.c */
#define ALL_TRACKS MOVERS /* of the pair */
/* Of the flows in one of its own tracks, or in one that it follows. */
uint64_t member_digest(const struct host *h, bool mover, unsigned int track);
void member_let_go(struct world *w, struct host *h, unsigned int f);
void member_close(struct world *w, unsigned int f);
void member_open(struct world *w, unsigned int f);
void member_list(struct world *w, struct host *h);
void member_receive(struct world *w, struct host *h, const struct dgram *d);
/* The third host names a flow. */
void member_claimed(struct world *w, struct host *h, const struct dgram *d);
void member_event(struct world *w, struct host *h, const struct dgram *d);

/* kernel.c */
void kernel_accept(struct world *w, struct flow_end *e,
		   const struct locator *own, const struct locator *peer);
void kernel_accept_locator(struct world *w, struct host *h, bool mover,
			   unsigned int track, const struct locator *l);
void kernel_unaccept_locator(struct world *w, struct host *h, bool mover,
			     unsigned int track, const struct locator *l);
/* Makes what one flow accepts what its tracks say, or its identity. */
void kernel_fit(struct world *w, struct host *h, unsigned int flow);
void kernel_reconcile(struct world *w, struct host *h);
/* Does it take this flow's packets at `own`? */
bool kernel_accepts(const struct flow_end *e, const struct locator *own);
bool kernel_unmoved(const struct host *h, unsigned int flow);
void kernel_flush(struct world *w, struct host *h, unsigned int flow);
void kernel_receive(struct world *w, struct host *h, const struct dgram *d);
void kernel_traffic(struct world *w, struct host *h, unsigned int flow);

/* check.c */
void fail(struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* What a host does; what happens to it. */
void trace(struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void tell(struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void check_host(struct world *w, struct host *h);
void check_data_sent(struct world *w, struct host *h, const struct dgram *d);
void check_asked(struct world *w, struct host *h, unsigned int track,
		 const struct migrate_action *a);
void check_answer(struct world *w, struct host *h,
		  const struct migrate_action *a, const struct dgram *answered);
void check_written_down(struct world *w, struct host *h, bool mover,
			unsigned int track);
void check_tried(struct world *w, const struct host *h, unsigned int track,
		 const struct mover *before);
void check_settled(struct world *w);
bool world_is_settled(const struct world *w, const char **why);

#endif
