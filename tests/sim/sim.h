/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim: two hosts, a network and a clock, all of them made up.
 *
 *	host 0                                        host 1
 *	  mover[2], follower[2]  --- loss, delay, ---   mover[2], follower[2]
 *	  addresses 0..5         --- copies, order,---  addresses 6..11
 *	                         --- blocked paths, --
 *	                             a stranger, who may take an address that
 *	                             its host has given up, and an attacker, who
 *	                             replays, relays and forges
 *
 * sim.c: options, schedules, coverage, TAP. script.c: what happens to the
 * world. host.c, message.c, member.c, kernel.c: the daemon's and the kernel's
 * part. check.c: the invariants. Links the real migrate.c, mover.c, follower.c
 * and place.c.
 */
#ifndef SACIPED_SIM_H
#define SACIPED_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate.h"
#include "migrate_mutants.h"
#include "wire.h"

#define HOSTS 2
#define TRACKS 2
#define FLOWS 4 /* flow f: track f & 1 of host 0, f >> 1 of host 1 */
#define ADDRS 6 /* per host */
#define ALL_ADDRS (HOSTS * ADDRS)
#define TUPLES 256 /* per host and flow: accepted and tombstones */
#define HELD 8 /* packets per host and flow */
#define DGRAMS 4096 /* in flight */
#define HISTORY 64 /* what the attacker remembers */
#define DELAY_MAX_MS 1000 /* longest way of a packet through the network */
#define LATE_MAX_MS 50000 /* but for those that got lost on it for a while */

#define CONCURRENT_MS 3000 /* sessions made so close together may cross */

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
	/* no datagrams, but things that a daemon does a little later */
	D_SITUATION,
	D_NO_PORTS,
	D_UNTRIED, /* no flow could bear a nonce */
	D_TRAFFIC,
	D_RESUME,
	D_RESTART,
	D_HELLO_TIMER,
	D_CLAIM_TIMER,
	D_CLOSE,
};

struct dgram {
	enum dgram_kind kind;
	int from_host; /* of events: the host itself */
	int src, dst; /* numbers of addresses */
	unsigned int track;
	uint32_t track_number[TRACKS]; /* of the mover's journal */
	uint64_t session;
	uint64_t seq;
	struct addr from;
	struct locator to;
	bool from_gone;
	enum reason reason;
	uint8_t challenge[MIGRATE_CHALLENGE_SIZE];
	struct { /* SYNC */
		uint64_t committed;
		struct addr locator;
	} own[TRACKS];
	uint64_t theirs[TRACKS];
	uint32_t their_number[TRACKS];
	enum migrate_cause cause; /* SITUATION */
	bool has_candidate, outside; /* of a change, not of the mover's asking */
	uint64_t digest; /* MOVE: the flows of the track */
	struct wire_place place; /* FLOWS, FLOWS_ACK */
	uint64_t nonce; /* FLOWS; FLOWS_ACK answers it */
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
	bool queued; /* has arrived, waits for a stopped daemon */
};

struct kernel_tuple {
	struct locator own, peer;
	bool tombstone;
	uint64_t until_ms; /* of a tombstone */
};

struct flow_end {
	struct locator own, peer; /* identity */
	bool open; /* the socket is there */
	bool in; /* in a track of either side */
	bool anew; /* began or entered since a journal was lost */
	uint64_t generation; /* of what follows one another as this flow */
	uint64_t nonce;
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

struct host {
	int id;
	bool owned[ADDRS];
	bool deprecated[ADDRS];
	bool unroutable[TRACKS]; /* no source for the peer, whatever we own */
	uint8_t preference[TRACKS][ADDRS]; /* the best route first */
	uint64_t ports_made; /* names for choices of ports */
	struct mover mover[TRACKS];
	struct follower follower[TRACKS];
	struct mover mover_journal[TRACKS];
	struct follower follower_journal[TRACKS];
	/* Rolled back: the journal tells of a step not taken, which
	 * a restart would take. */
	bool mover_ahead[TRACKS], follower_ahead[TRACKS];
	struct flow_end flow[FLOWS];
	unsigned int unanswered; /* claims */
	uint64_t left_seq[TRACKS]; /* MOVE that names who has left since */

	bool up; /* the daemon runs */
	bool stopped; /* the daemon does not get on */
	bool asleep; /* the whole host does not */
	bool waking; /* queued packets wait until it has caught up */
	uint64_t resume_ms; /* of a stop or a sleep */
	uint64_t session, previous_session; /* 0: none */
	uint64_t made_ms, previous_made_ms;
	uint64_t next_session; /* answered with WELCOME, not confirmed */
	uint64_t hello_session; /* asked for with HELLO */
	bool hello_waits;
	int configured; /* address of the peer, or NO_ADDR */
	unsigned int kernel_fails; /* one action in so many; 0 never */

	/* of the peer's tracks: when its numbers are answered */
	struct bucket answers[TRACKS];
	uint64_t answered_seq[TRACKS], answered_ms[TRACKS];
	struct dgram later[TRACKS]; /* the newest MOVE that waits */
	bool has_later[TRACKS];

	/* set by the script: how the daemon's own checks come out */
	bool denied[ALL_ADDRS]; /* policy */
	bool taken[ALL_ADDRS]; /* with the identity ports */
	bool digest_differs[TRACKS];
	uint64_t pilot_seq[TRACKS]; /* of a move that a nonce can be sent for */
	bool at_limit;

	/* what the checks know */
	bool said[TRACKS][ADDRS]; /* heard that the peer accepts it */
	bool answered[TRACKS][ALL_ADDRS]; /* peer's: challenged and proved */
	bool gone[TRACKS][ALL_ADDRS]; /* peer's: told that it is gone */
	uint64_t last_seq[TRACKS], last_committed[TRACKS];
	uint64_t last_pending[TRACKS];
	uint64_t asked_seq[TRACKS], asked_ms[TRACKS][NUMBERS];
	unsigned int n_asked[TRACKS];
	uint64_t refused_ms[TRACKS][ADDRS]; /* heard, for good; 0 not */
	uint64_t event_ms[TRACKS]; /* a reason to ask for it again */
	uint64_t forgot_ms; /* its journal was lost; 0 never */
	uint64_t disturbed_until_ms; /* then losing packets is its right */
	struct challenge_record challenge[CHALLENGES];
	unsigned int n_challenges;
};

struct stats {
	uint64_t steps, data_sent, data_received, tombstone_hits, moves, controls,
		to_stranger, held, hold_dropped, entered;
};

struct world {
	uint64_t now, random_state;
	struct host host[HOSTS];
	bool stranger[ALL_ADDRS];
	bool blocked[ALL_ADDRS][ALL_ADDRS];
	uint64_t unfit_ms[ALL_ADDRS][ALL_ADDRS]; /* carries no flow packets
						  * since then; 0: it does */
	unsigned int loss, copies, reorder, late; /* per mille */
	bool comings; /* flows begin, end, enter and leave */
	bool relayed; /* an attacker on the path repeats things elsewhere */
	unsigned int delay_ms;
	uint64_t sessions;
	uint32_t track_numbers;
	uint64_t generations;
	bool amnesia; /* a journal was lost: recovery is checked, and what is
		       * proved since then */
	bool healing;
	bool verbose;
	unsigned int same_time_steps;

	/* heap of indexes, by (time, order) */
	unsigned int n_heap, n_free;
	uint16_t heap[DGRAMS], free[DGRAMS];
	uint64_t at[DGRAMS], order[DGRAMS], orders;
	struct dgram dgram[DGRAMS];
	struct dgram history[HISTORY];
	unsigned int n_history;
	unsigned int traffic_ms;

	struct stats stats;
	bool failed;
	char failure[256];
};

/* Coverage: what a step was given, finer than the event's type. */
#define MOVER_ROWS MOVER_STATES
#define MOVER_COLUMNS 23
#define FOLLOWER_ROWS FOLLOWER_STATES
#define FOLLOWER_COLUMNS 14
extern const char *const mover_column[MOVER_COLUMNS];
extern const char *const follower_column[FOLLOWER_COLUMNS];
struct coverage {
	uint64_t mover[MOVER_ROWS][MOVER_COLUMNS];
	uint64_t follower[FOLLOWER_ROWS][FOLLOWER_COLUMNS];
};
extern struct coverage coverage; /* the test program's, not the core's */

/* script.c */
uint64_t world_random(struct world *w);
unsigned int world_pick(struct world *w, unsigned int n); /* 0..n-1 */
bool world_chance(struct world *w, unsigned int per_mille);
void world_start(struct world *w, uint64_t seed, bool verbose);
/* Events until time `until`; false where a check failed. */
bool world_run(struct world *w, uint64_t until);
/* One schedule from begin to end: trouble, then rest. False where a check
 * failed: see `failure`. */
bool world_schedule(struct world *w);
void world_post(struct world *w, uint64_t at, const struct dgram *d);
/* Through the network, which does to it what it does. */
void world_send(struct world *w, const struct dgram *d);
struct addr sim_addr(int number);
int random_own(struct world *w, const struct host *h); /* NO_ADDR */
int sim_addr_number(const struct addr *a); /* NO_ADDR */

/* host.c */
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
bool host_knows(const struct host *h, int a);
void host_send_known(struct world *w, struct host *h, struct dgram *d);
uint64_t host_deadline(const struct world *w, const struct host *h);
void host_timers(struct world *w, struct host *h);
/* Flow 0 or 1 of the track, that bears its nonces; false where what it sends
 * is held, or goes nowhere. */
bool host_pilot(const struct host *h, unsigned int track, unsigned int *flow);
void host_crash(struct world *w, struct host *h, uint64_t for_ms);
void host_restart(struct world *w, struct host *h, bool amnesia);

/* message.c */
void host_receive(struct world *w, struct host *h, const struct dgram *d);
void host_hello(struct world *w, struct host *h);
/* The peer's MOVEs that have waited for an answer. */
uint64_t host_later_due(const struct host *h, unsigned int track);
void host_answer_later(struct world *w, struct host *h, unsigned int track);

/* member.c */
#define ALL_TRACKS TRACKS
/* Of the flows in one of its own tracks, or in one that it follows. */
uint64_t member_digest(const struct host *h, bool mover, unsigned int track);
void member_let_go(struct world *w, struct host *h, unsigned int f);
void member_close(struct world *w, unsigned int f);
void member_open(struct world *w, unsigned int f);
void member_list(struct world *w, struct host *h);
void member_receive(struct world *w, struct host *h, const struct dgram *d);
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
void trace(struct world *w, const char *format, ...)
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
