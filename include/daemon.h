/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * daemon: everything that one running saciped owns, and who works on it.
 *
 * Private to the daemon layer: daemon.c (life, loop, timers), assoc.c (one
 * peer: messages, claims, taps), discover.c (sockets to flows), handover.c
 * (tracks, moves), agenda.c (whose turn it is), divert.c (packets, steering),
 * wake.c (senders in backoff), repair.c (what others undo), report.c (ctl),
 * store.c (key and pins on disk), keep.c (the journal), adopt.c (what an
 * earlier run has left). Nobody below includes it.
 */
#ifndef SACIPED_DAEMON_H
#define SACIPED_DAEMON_H

#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "aside.h"
#include "conf.h"
#include "crypto.h"
#include "ctl.h"
#include "flow.h"
#include "hold.h"
#include "index.h"
#include "journal.h"
#include "log.h"
#include "loop.h"
#include "migrate.h"
#include "markuse.h"
#include "ipsec.h"
#include "natrules.h"
#include "pace.h"
#include "peer.h"
#include "pktq.h"
#include "retain.h"
#include "rtmon.h"
#include "sockdiag.h"
#include "steer.h"
#include "tap.h"
#include "udp.h"
#include "worker.h"

#define TRACKS_MAX 64 /* of one peer and side */
#define TRACK_PART CLAIM_PART /* flows in a transaction: about 5 ms */
#define TRACK_FEW 32 /* flows of a track that are asked for one by one ... */
#define TRACK_ASK_MAX 1024 /* ... where nothing else is sure: 10 us each */
#define PAIRS_MAX (STEER_PAIRS_MAX - 1) /* a full set takes no more */
#define GUARDED_OURS_MAX RETAIN_ADDRS_MAX
/* What is on the wire has the other part. */
#define GUARDED_THEIRS_MAX \
	(RETAIN_PEERS_MAX - RETAIN_PEERS_MAX / RETAIN_WIRES_PART)
#define STOPPED_MS 86400000 /* flows wait for an owner that has stopped */
#define STOPPED_SHARE 4 /* it is one in so many peers, at most ... */
#define STOPPED_SOURCE_SHARE 4 /* ... of whom one in so many has one source */
#define UNFIT_MAX 8 /* paths of a peer that carry no flows */
#define UNFIT_MS 600000 /* for so long, unless something changes there */
#define QUIET_MS 100 /* of address events, before a move that can wait ... */
#define UNQUIET_MAX_MS 1000 /* ... and so long after the first at most */
#define DIVERT_RELEASE_BATCH 64
#define DUMP_INTERVAL_MS 1000
#define PEER_LOOKS_BURST 4 /* at all sockets, for moves of one peer ... */
#define PEER_LOOKS_TOKEN_MS 250 /* ... and one more in this time */
#define DISCOVER_PAUSE 4 /* a look for others: at most one part in so many */
#define SETTLE_QUIET_MS 20 /* UDP leaves the queue after this */
#define SETTLE_FORCE_MS 4000 /* or, never so quiet, in a gap after this */
#define PINS_WRITE_MS 1000 /* changes wait for company */
#define STRAYS_READS_MAX 1024 /* in a row */
#define DESTROY_WAIT_MS 500 /* for the sockets that end with us, and nonces */

#define KEEP_PATH_MAX (CONF_DIR_MAX + 16)
#define KEEP_PORTS MIGRATE_ACCEPTED_MAX

struct adopt;
struct daemon;
struct assoc;
struct pkt;
struct trial;
struct work;

/* By which hop packets leave; all zero: by none. */
struct unfit_way {
	uint32_t ifindex;
	struct addr gateway; /* unset: on link */
};

/* A MOVE that comes in parts. */
struct move_parts {
	uint64_t seq;
	uint32_t got; /* parts */
	uint16_t parts;
	uint8_t seen[(WIRE_PARTS_MAX + 7) / 8];
	uint32_t n;
	struct wire_move_port *port;
};

/* From our locator to the peer's. */
enum source_way {
	SOURCE_WAY_OPEN,
	SOURCE_WAY_UNRESOLVED, /* its first hop is being asked for */
	SOURCE_WAY_NONE, /* no route, or only the guard's */
};

/* The newest MOVE that waits for its answer: later.c. */
struct later {
	struct endpoint local, remote; /* of its datagram */
	struct wire_message message;
};

/* Flows that move together, from one of the two ends. */
struct track {
	LIST_ENTRY(track) entry;
	struct assoc *assoc;
	enum flow_side side;
	uint32_t id; /* the mover's number */
	struct flow_group group;
	uint64_t held_ms; /* its flows are held since; 0 not */
	uint64_t gap_end_ms; /* it switched last; 0 never */
	uint32_t gap_ms; /* that its flows had then */
	struct mover mover; /* FLOW_OURS */
	struct follower follower; /* FLOW_THEIRS */
	/* FLOW_OURS: the route choice that its flows share */
	struct addr remote; /* identity address at the other end */
	uint32_t mark, uid;
	char ifname[IF_NAMESIZE]; /* where its locator is, or was last */
	bool tunnel; /* and what that is */
	struct way way; /* by which its packets leave (source_look()) */
	bool fresh; /* not looked at since it is, or since an end moved */
	bool ask_each; /* whether a tuple of its flows is taken: track_look() */
	uint64_t ports; /* names given to choices of ports so far */
	uint32_t moves; /* committed */
	enum source_way open; /* while it is held, ... */
	uint64_t open_ms; /* ... since */
	uint64_t left_seq; /* a flow that lives on left while it was asked */
	struct trial *trial; /* nonces of a move: trial.c; NULL none */
	uint64_t tried_seq; /* the nonces of that move ... */
	struct unfit_way tried_way; /* ... have left so */
	uint64_t asked_seq; /* of the move that follows an outage (wake.c) */
	struct addr wish; /* of the operator; unset: none */
	struct addr untried; /* a move there was left last, as no flow could
			      * show what its path carries */
	enum reason stays; /* why it may not be where its packets would go */
	uint64_t waits_ms; /* its flows wait since; 0 they do not (waiting.c) */
	enum reason told; /* in the log, of that */
	const struct wire_refuse *refusal; /* while it is worked on */
	uint64_t told_refusals; /* in the log, since it moved: a bit a reason */
	uint64_t announce_ms; /* mover waits for FLOWS complete: look again */
	bool kept; /* it stands in the journal ... */
	uint64_t kept_ports[KEEP_PORTS]; /* ... and these choices of ports */
	const struct book_track *book; /* while it is taken up: its ports */
	/* FLOW_THEIRS */
	uint64_t nonces_seq; /* of that move ... */
	unsigned int nonces; /* ... so many were looked into ... */
	bool nonces_tcp; /* ... and one of TCP answered */
	uint64_t greeted_seq; /* from where that move was offered */
	struct bucket answers; /* a token for each number */
	uint64_t answered_seq, answered_ms; /* that has had one last */
	uint64_t looked_seq; /* that has had one of the peer's */
	enum reason refused; /* its newest number was; NONE: it was not */
	uint64_t known_ms; /* where its flows go was its peer's; 0 never */
	uint64_t silent_ms; /* no answer from there, since; 0 */
	uint64_t unheard_ms; /* the same, and its flows are held; 0 */
	uint64_t asked_ms; /* PROBE was to go there last; 0: it goes soon */
	uint64_t unheard_look_ms; /* a socket was asked then */
	uint64_t others_ms; /* the peer could send from elsewhere, too; 0 never */
	struct work *work; /* of a step, that is not done yet: work.c */
	bool walking; /* track_apply() goes on with group.at, ... */
	uint32_t walk_ifindex; /* ... which come in by it */
	struct later *later;
	struct move_parts parts;
	struct endpoint answer_local, answer_remote; /* of the datagram */
	size_t answer_len;
};

LIST_HEAD(track_list, track);

static inline struct track *track_of_group(struct flow_group *g)
{
	return g ? (struct track *)((char *)g - offsetof(struct track, group)) :
		   NULL;
}

static inline struct track *track_of(const struct flow *f, enum flow_side side)
{
	return track_of_group(f->group[side]);
}

/* Of the peer that it has a track with; NULL where there is none. */
static inline struct assoc *track_assoc(const struct flow *f)
{
	const struct track *t = track_of(f, FLOW_OURS);

	if (!t)
		t = track_of(f, FLOW_THEIRS);
	return t ? t->assoc : NULL;
}

static inline struct flow *flow_of_claim(struct claim *c)
{
	return (struct flow *)((char *)c - offsetof(struct flow, claim));
}

/* When a peer has something to do: agenda.c. */
enum agenda_of { AGENDA_CLAIMS, AGENDA_MOVES, AGENDAS };

enum agenda_state {
	AGENDA_ABSENT,
	AGENDA_WAITS, /* for due_ms, in the heap */
	AGENDA_TOUCHED, /* due_ms is to be found anew */
	AGENDA_TAKEN, /* it is due, and about to be served */
};

struct agenda_entry {
	LIST_ENTRY(agenda_entry) entry;
	struct assoc *assoc;
	uint64_t due_ms;
	uint32_t at; /* in the heap */
	enum agenda_state state;
};

typedef uint64_t agenda_due(const struct assoc *a);

struct agenda {
	enum agenda_of of;
	agenda_due *due;
	struct assoc **heap; /* the nearest first */
	uint32_t n, room;
	LIST_HEAD(, agenda_entry) touched, taken;
};

/* What carries no packets of flows: unfit.c. */
struct unfit_path {
	struct addr own, remote;
	uint32_t ifindex; /* of `own` */
	struct unfit_way way; /* of what was not carried, ... */
	uint32_t mark, uid; /* ... and whose that was */
	uint64_t noted_ms;
	uint64_t until_ms;
	bool due; /* in use: a track shall try it again */
	bool over; /* its time is: what is told of it is all that is known */
	bool told; /* to people, and no other path since */
};

/* Between which addresses an answer goes; unset: none is owed. */
struct way_back {
	struct addr local, remote;
};

/* Protected flows at an identity address: guards.c. */
struct guard {
	struct index_link by_addr;
	LIST_ENTRY(guard) in_share;
	struct guard_share *share; /* it counts for; NULL nobody's */
	struct addr addr;
	uint32_t flows;
};

struct guard_share {
	struct share used;
	LIST_HEAD(, guard) all;
};

struct guards {
	struct guards_of {
		struct index by_addr;
		struct share_pool pool;
	} of[FLOW_SIDES];
};

/* What becomes of the flows of a peer that is gone: assoc.c. */
enum forget {
	FORGET_NOT,
	FORGET_PLAIN, /* those that need no translation are nobody's */
	FORGET_RESERVE, /* these wait for it */
	FORGET_ALL, /* all are nobody's */
};

/* One peer that has or had a session: hangs on peer_user(). */
struct assoc {
	LIST_ENTRY(assoc) entry;
	struct daemon *d;
	struct peer *peer;
	struct claim_table *claims;
	struct track_list tracks[FLOW_SIDES];
	unsigned int n_tracks[FLOW_SIDES];
	struct agenda_entry agenda[AGENDAS];
	uint32_t next_track;
	uint64_t sync_ms; /* SYNC unanswered: when to repeat; 0 none */
	unsigned int sync_tries;
	uint64_t greet_ms; /* taken up, no session yet: ask then; 0 none */
	uint64_t renew_ms; /* look who is challenged again then; 0 never */
	bool unsaid; /* something, to an address that is not valid */
	struct way_back asked_from; /* by the message being handled */
	struct way_back flows_from; /* by the last FLOWS */
	uint32_t kept; /* its number in the journal; 0 none */
	struct log_share lines; /* of the log */
	struct hold_share held; /* of its flows' packets */
	struct share pairs; /* that its flows were the first of */
	struct share taps; /* that its claims watch */
	struct share tombs; /* that its flows left behind */
	struct guard_share guards[FLOW_SIDES]; /* its flows were the first of */
	uint32_t n_reserved; /* flows that it owns and has no session for */
	uint64_t reserve_ms; /* until when at the latest; 0 there are none */
	enum forget forget; /* is under way, and nothing is heard meanwhile */
	bool leaving; /* claims of it wait to be lost, or the like */
	TAILQ_HEAD(, work) works; /* of its tracks */
	TAILQ_ENTRY(assoc) in_busy; /* where there are any, or it is leaving */
	uint64_t turn; /* of the loop, when it had its last transaction, ... */
	uint32_t turn_flows; /* ... and of how many flows those were */
	struct bucket moves; /* a token for each MOVE that is looked at */
	struct bucket looks; /* a token for each look at all sockets, for it */
	struct bucket unpaid; /* a token for each REFUSE that no number of a
			       * track has paid for */
	struct unfit_path unfit[UNFIT_MAX];
	unsigned int n_unfit;
	char name[CTL_NAME_MAX]; /* fingerprint */
};

/* A remote address of flows, whoever they are. */
struct remote {
	struct index_link by_addr;
	struct addr addr;
	uint32_t uses;
	uint32_t willing; /* of the uses: flows that policy allows */
	enum reason reason; /* how the last handshake ended */
	struct log_share lines; /* of the log, where it is in `peers` */
};

/* Where they come from: an IPv4 address, or an IPv6 /64. */
struct source {
	struct index_link by_addr;
	struct addr addr;
	uint32_t flows;
	uint64_t unheld; /* not all of its sockets are known, by that dump */
	struct log_share lines; /* of the log, of those not in `peers` */
};

/* How many elements need an address in a set of addresses. */
struct addr_use {
	UT_hash_handle hh;
	struct addr addr;
	uint32_t uses;
	LIST_ENTRY(addr_use) in_touched; /* by the batch being prepared: */
	int32_t delta;
	bool touched;
};

/* Counts in the kernel's sets what lies between two addresses: pairs.c. */
struct pair_key {
	struct addr local, remote;
};

struct pair_use {
	UT_hash_handle hh;
	LIST_ENTRY(pair_use) in_touched; /* by the batch being prepared */
	TAILQ_ENTRY(pair_use) in_lingering; /* until until_ms */
	struct pair_key key;
	uint64_t until_ms; /* 0: in use */
	struct share *share; /* it counts for; NULL nobody's */
	uint32_t uses;
	int32_t delta;
	bool touched;
	bool wired; /* retain_wire() */
};

struct pairs {
	struct pair_use *all;
	LIST_HEAD(, pair_use) touched;
	TAILQ_HEAD(, pair_use) lingering; /* oldest first */
	struct share_pool pool;
};

struct divert {
	struct addr_use *use[STEER_ADDR_SET_MAX];
	LIST_HEAD(, addr_use) touched[STEER_ADDR_SET_MAX];
	LIST_HEAD(, flow) settling; /* still queued: promote.c */
	uint32_t steered; /* flows in OUT or DROP */
	uint64_t idle_ms; /* the kernel's tombstones are gone by then */
	uint64_t rest_ms; /* nothing protected until then: no hooks; 0 none */
	uint64_t rebuild_ms; /* the kernel differs: all anew then; 0 no */
	bool idle; /* steer_idle() was told */
	bool we_switch; /* what is being prepared changes our own end */
	bool they_offer; /* it accepts an end that the peer will send from */
};

struct crew_change;

/* The workers, and what is about to change for them: crew.c. */
struct crew {
	unsigned int n; /* there may be so many; 0: no flow goes to any */
	struct worker *worker[STEER_WORKERS_MAX]; /* started when needed */
	uint32_t flows[STEER_WORKERS_MAX];
	uint64_t idle_ms[STEER_WORKERS_MAX]; /* ends then; 0 does not */
	struct pktq *strays; /* where there may be workers */
	uint64_t seed;
	struct counters ended; /* what those counted that are no more */
	STAILQ_HEAD(, crew_change) changes;
	uint32_t paused; /* workers, by bits */
	bool stand_still; /* until crew_go_on(), not only for the commit */
};

/* The journal being written. */
struct keep {
	int fd; /* -1: there is none */
	int lock; /* runtime_dir, locked; -1: not */
	bool ours; /* the file there is what this process has written */
	size_t len; /* in `buffer` */
	size_t size; /* of the file */
	size_t rewrite_at;
	uint64_t retry_ms; /* it could not be written: again then; 0 no */
	uint32_t numbers; /* given to peers */
	uint8_t buffer[4 * JOURNAL_RECORD_MAX];
};

/* When the sockets at an address were looked at. */
struct looked {
	struct addr addr;
	unsigned int what;
	uint64_t at_ms, took_ms;
	bool sure; /* all that are there are known */
};

/* Packets whose verdicts are on their way. */
struct divert_released {
	bool late; /* what came was held for so long that its echo is old */
	unsigned int n;
	struct hold_packet *spent[DIVERT_RELEASE_BATCH];
};

/* What is put back where others take it away: repair.c. */
enum repair_what { REPAIR_TABLE, REPAIR_ROUTES, REPAIR_MAX };

struct repair {
	struct pace pace;
	uint64_t deaf_ms; /* its events wait until then; 0: they do not */
	bool late; /* they did */
};

/* The looks at all tracks that follow events: look.c. */
struct looks {
	uint64_t last_ms; /* 0 never */
	uint64_t events_ms; /* the first since then, while quiet_ms is set */
	uint64_t again_ms; /* the next one, unless events come; 0 none */
	unsigned int n; /* that were planned since events came */
	struct pace pace; /* of those that follow events */
};

struct daemon {
	struct log *log;
	struct conf *conf;
	const char *conf_path;
	struct loop *loop;
	struct counters counters;
	struct crypto_keypair key;
	char fingerprint[CTL_NAME_MAX];
	int key_made; /* see store_key() */
	uint64_t started_ms;

	struct rtmon *rtmon;
	struct sockdiag *sockdiag;
	struct natrules *natrules;
	struct ipsec *ipsec;
	struct steer *steer;
	struct steer_info steer_info;
	struct retain *retain;
	struct pktq *queue_in, *queue_out;
	struct udp *udp;
	struct tap_injector *injector;
	struct addr veiled[2]; /* IPv4, IPv6: where sockets answer so, lately */
	struct ctl *ctl;
	struct aside *aside;
	struct taps *taps, *trial_taps; /* watch.c, trial.c */
	uint64_t trial_lost_ms; /* copies of trial_taps, last seen to be so */
	struct share_pool tap_pool; /* of the former */

	struct flow_table flows;
	struct index remotes; /* struct remote, by address: others choose it */
	struct index sources; /* struct source, the same */
	struct log_share elsewhere[2]; /* of neither; in `peers` */
	struct guards guards;
	struct hold hold;
	uint64_t stale_ms; /* stale_step() is due then; 0: nothing is held */
	struct divert divert;
	struct pairs pairs;
	struct crew crew;
	struct peer_table *peers;
	LIST_HEAD(, assoc) assocs;
	uint32_t n_assocs;
	struct agenda agenda[AGENDAS];
	struct keep keep;
	struct repair repair[REPAIR_MAX];
	struct repair_marks *marks; /* are being looked for; NULL: not */
	uint64_t refresh_ms; /* retain_refresh() then; 0: nothing to do */
	uint64_t refresh_next_ms; /* not before */
	struct adopt *adopt; /* at the start, where there is a journal */

	uint64_t quiet_ms; /* events are over then, or have their look all the
			    * same; 0: nothing waits for that */
	struct looks looks;
	uint64_t await_ms; /* look then at what is held at home; 0 none */
	uint64_t dump_ms; /* next */
	uint64_t dumped_ms; /* last */
	uint64_t dump_took_ms;
	struct looked looked[FLOW_SIDES]; /* last */
	bool unheld; /* there was no room for a socket of anybody's, ... */
	bool dump_sure; /* ... for none of the last dump, nor did that fail */
	bool hearing; /* of sockets that end */
	bool look; /* the address or route events of this read matter */
	TAILQ_HEAD(, assoc) busy; /* who has works, or claims that leave */
	uint64_t turn; /* of the loop */
	uint64_t left_turn; /* the last one in which flows left, ... */
	uint32_t left; /* ... and how many */
	unsigned int steps; /* of tracks, under way: none may go meanwhile */
	bool fresh; /* there are tracks that were not looked at yet */
	bool policy; /* changed: look at flows that are owned, too */
	uint64_t resync_ms; /* ask for all addresses then; 0 none */
	uint64_t review_ms; /* look at flows without an owner; 0 none */
	uint64_t settle_ms; /* flows that leave the queue; 0 none */
	uint64_t count_ms; /* what the kernel rewrote is not asked for before */
	uint64_t pins_ms; /* write them then; 0 none */
	struct store_pins *pins_writes; /* under way */
	uint8_t unconnected[2][65536 / 8]; /* local UDP ports, by family */
	bool stopping;
	bool detaching; /* what is in the kernel stays */
	uint64_t watchdog_ms; /* tell the service manager then; 0 never ... */
	uint64_t watchdog_every_ms;
};

/* ---- divert.c: steering and packets --------------------------------- */

/* One transaction over several flows: begin, add each, then commit. */
void divert_begin(struct daemon *d);
/* `tombstone`: see flow_steer_prepare(). */
void divert_add(struct daemon *d, struct flow *f, bool tombstone,
		uint64_t now_ms, int *err);
/* Settles (err 0) or undoes what divert_add() prepared for these flows;
 * the caller walks them again by divert_settle(). Returns 0 or -errno. */
int divert_commit(struct daemon *d, int err);
void divert_settle(struct daemon *d, struct flow *f, bool tombstone,
		   uint64_t now_ms, int err);
/* begin, add, commit and settle for one flow. */
int divert_flow(struct daemon *d, struct flow *f, uint64_t now_ms);
/* What looks like a nonce on these flows reaches no socket, in one transaction,
 * until CLAIM_LATE_MS after a proof that begins now. -errno. */
int divert_take_nonces(struct daemon *d, uint64_t now_ms,
		       struct claim *const *c, unsigned int n);
/* The same, one transaction, for some that are to leave the kernel altogether:
 * never fails for the caller, what the kernel refuses is made good later. */
void divert_leave(struct daemon *d, struct flow *const *f, unsigned int n,
		  uint64_t now_ms);
/* What is injected may go veiled from now on, where the kernel can: for as
 * long as anything is protected, or for a minute. Not between begin and
 * commit. */
void divert_unveil(struct daemon *d);
/* Another connection begins on that wire tuple of the flow: from now on it is
 * not translated. False where it is proved, or the kernel refuses. */
bool divert_cede(struct daemon *d, struct flow *f, const struct tuple *wire,
		 uint64_t now_ms);
/* A tombstone was lifted for a socket of ours. */
void divert_undrop(struct daemon *d, const struct tuple *t);
/* The whole table anew, from what the flows say. 0 or -errno. */
int divert_rebuild(struct daemon *d, uint64_t now_ms);
/* Lets the held packets of a flow go by its wire tuple, in order; `r` (zeroed
 * at first) collects over several flows, until divert_released(). */
void divert_release(struct daemon *d, struct flow *f,
		    struct divert_released *r);
void divert_released(struct daemon *d, struct divert_released *r);
/* Gives back what waits in vain (hold_take_stale()). Was a segment among it? */
bool divert_drop_stale(struct daemon *d, struct flow *f, uint64_t before_ms,
		       bool first);
/* And what is too old (hold_take_old()). Was a segment among it? */
bool divert_drop_old(struct daemon *d, struct flow *f, uint64_t before_ms,
		     uint64_t segments_ms);
/* Gives back what was to leave by an interface that is gone. */
void divert_drop_link(struct daemon *d, uint32_t ifindex);
/* Gives back the kernel's packets of a flow that ends. */
void divert_drop_held(struct daemon *d, struct flow *f);
/* Reads what was sent before this call, or a batch of it. */
int divert_read_out(struct daemon *d);
void divert_packet_in(void *ctx, struct pktq *q, struct pktq_packet *p);
void divert_packet_out(void *ctx, struct pktq *q, struct pktq_packet *p);
/* What is due: flows that leave the queues, repairs, the gate. */
void divert_step(struct daemon *d, uint64_t now_ms);
void divert_free(struct daemon *d);
/* Uses of an identity address by protected flows. */
uint32_t divert_sources(const struct daemon *d, const struct addr *a);

/* ---- pairs.c ---------------------------------------------------------- */

void pairs_init(struct daemon *d);
void pairs_free(struct daemon *d);
/* Part of a batch being prepared; pairs_settle() follows. 0, or -ENOSPC
 * (PAIRS_MAX, the peer's share of them, or no memory). */
int pairs_change(struct daemon *d, const struct flow_change *c);
/* That peer is no more: its pairs, which linger, are nobody's. */
void pairs_forget_share(struct daemon *d, const struct share *share);
/* Before all is told anew. */
void pairs_recount(struct daemon *d);
void pairs_settle(struct daemon *d, int err, uint64_t now_ms);
/* Closes pairs of which nothing is left. */
void pairs_step(struct daemon *d, uint64_t now_ms);
uint64_t pairs_deadline_ms(const struct daemon *d); /* 0: none */

/* ---- guards.c ---------------------------------------------------------- */

void guards_init(struct daemon *d, const uint8_t seed[CRYPTO_SHORT_KEY_SIZE]);
/* Before the flows. */
void guards_free(struct daemon *d);
/* The flow, which is in its tracks, is protected: retain_protect() at both its
 * addresses. 0, -ENOSPC (a bound, the peer's share), or what that says. */
int guards_add(struct daemon *d, const struct flow *f, uint32_t mtu);
void guards_remove(struct daemon *d, const struct flow *f);
/* That peer is no more: its guards are nobody's. */
void guards_forget_share(struct guard_share *share);

/* ---- promote.c -------------------------------------------------------- */

/* Before a change is prepared: may the kernel rewrite the flow? */
void promote_consider(struct daemon *d, struct flow *f, uint64_t now_ms);
/* Flows leave the queues when nothing of them waits there. */
void promote_step(struct daemon *d, uint64_t now_ms);
/* It waits for nothing any more. */
void promote_forget(struct flow *f);

/* ---- crew.c ------------------------------------------------------------ */

/* After d->steer_info is known. */
void crew_init(struct daemon *d);
/* The strays' queue, before rules lead to it. 0 or -errno. */
int crew_open(struct daemon *d);
/* The number of the strays' queue (0) or of worker i - 1. */
uint16_t crew_queue(const struct daemon *d, unsigned int i);
/* Finds a worker for the flow, and starts it. False where there is none: it
 * stays on our own queues. */
bool crew_take(struct daemon *d, struct flow *f);
/* The flow needs no worker any more. */
void crew_leave(struct daemon *d, struct flow *f);
/*
 * A change to the maps, as part of the transaction that is being prepared: 1
 * where it is one of workers, who take the map's place; 0 where it is not;
 * -ENOMEM. The transaction is then framed by the others: begin before the
 * first change, pause and commit (with its result) around it.
 */
int crew_change(struct daemon *d, const struct flow_change *c);
void crew_begin(struct daemon *d);
void crew_pause(struct daemon *d);
void crew_commit(struct daemon *d, int err);
/* Where `stand_still` was set before the commit. */
void crew_go_on(struct daemon *d);
/* Packets that workers left to us; before any other queue is read. */
void crew_read_strays(struct daemon *d);
/* Is it on a worker? */
bool crew_carries(const struct flow *f);
/* Adds what workers have rewritten. */
void crew_add_traffic(const struct flow *f, enum flow_side side,
		      uint64_t *packets, uint64_t *bytes);
void crew_add_counters(struct daemon *d, struct counters *to);
/* Workers that have had no flows for a while end. */
void crew_step(struct daemon *d, uint64_t now_ms);
uint64_t crew_deadline_ms(const struct daemon *d); /* 0: none */
/* Ends the threads. */
void crew_close(struct daemon *d);

/* ---- agenda.c ---------------------------------------------------------- */

void agenda_init(struct agenda *g, enum agenda_of of, agenda_due *due);
/* After all peers have left. */
void agenda_free(struct agenda *g);
/* A new peer, one of so many. 0 or -ENOMEM. */
int agenda_enter(struct agenda *g, struct assoc *a, uint32_t peers);
void agenda_leave(struct agenda *g, struct assoc *a);
/* Its deadline may be another one by now. */
void agenda_touch(struct agenda *g, struct assoc *a);
/* The nearest deadline; UINT64_MAX: none. */
uint64_t agenda_next_ms(struct agenda *g);
/* Those that are due now are served each once, by agenda_next_due() until it
 * says NULL; peers may leave meanwhile. */
void agenda_take_due(struct agenda *g, uint64_t now_ms);
struct assoc *agenda_next_due(struct agenda *g);

/* ---- assoc.c --------------------------------------------------------- */

extern const struct peer_ops assoc_peer_ops;
/* The peer's, made where it has none; NULL without memory. */
struct assoc *assoc_get(struct daemon *d, struct peer *p);
void assoc_step(struct daemon *d, uint64_t now_ms);
uint64_t assoc_due_ms(const struct assoc *a); /* for the agenda */
/* The peer's claims may be due at another time by now; or those that a claim
 * belongs to, if any. */
void assoc_touch(struct assoc *a);
void assoc_touch_claim(const struct claim *c);
/* From the journal: `a` owns it and has stopped. */
void assoc_reserve(struct assoc *a, struct flow *f, uint64_t now_ms);
/* The configuration is another one: keys may be revoked. */
void assoc_policy_changed(struct daemon *d);
void assoc_free_all(struct daemon *d);
/* Whose flow it is, NULL nobody's: peers count theirs. */
void assoc_own(struct flow *f, struct peer *p);
/* The flow is nobody's again: neither steered nor claimed. */
void assoc_let_go(struct daemon *d, struct flow *f, uint64_t now_ms,
		  enum reason why);
/* So many claims of the peer's are to leave: some do now, and the others when
 * it has its turn. */
void assoc_leave(struct assoc *a, uint64_t now_ms, unsigned int n);
/* It has it. */
void assoc_go_on(struct assoc *a, uint64_t now_ms);
/* The peer is gone, and this is a flow of its: does it not stay as it is, because
 * it is translated? */
bool assoc_forgets(const struct assoc *a, const struct flow *f);
/* Then it is nobody's, or waits for the peer. */
void assoc_forget(struct assoc *a, struct flow *f, uint64_t now_ms);
/* Sends to the peer over (local, remote); counts errors. */
int assoc_send(struct assoc *a, uint64_t now_ms, const struct addr *local,
	       const struct addr *remote, struct wire_message *m);
/* The path validated last whose local end still is ours; false: none. */
bool assoc_best_path(const struct assoc *a, struct peer_path *best);
/* Sends over it; -ENOTCONN without. What answers a message goes back between
 * the addresses that this came by, while that may be. */
int assoc_tell(struct assoc *a, uint64_t now_ms, struct wire_message *m);
/* From now on the addresses that its flows go to are kept valid. */
void assoc_renew(struct assoc *a, uint64_t now_ms);
/* A line for the log that the peer brings about. */
#define assoc_log(a, level, ...) \
	log_write_by((a)->d->log, &(a)->lines, (a)->name, \
		     peer_get_trust((a)->peer) == PEER_CONFIGURED, level, \
		     __VA_ARGS__)
/* Its probe timeout. */
uint32_t assoc_pto_ms(const struct assoc *a);

/* ---- owner.c --------------------------------------------------------- */

/* For claim_table_new(), with the association. */
extern const struct claim_ops owner_claim_ops;

/* ---- watch.c ---------------------------------------------------------- */

/* What is copied between addresses (d->taps) goes to the claims of its flows
 * from now on. 0 or -errno. */
int watch_listen(struct daemon *d);
/* A packet of a flow that is held, which no tap sees. */
void watch_note(struct daemon *d, struct flow *f, const struct pkt *p,
		const uint8_t *data, uint64_t now_ms);
/* What has the form of a nonce came by that tuple: was it of a proof? */
bool watch_take(struct daemon *d, const struct tuple *at, const struct pkt *p,
		const uint8_t *data, const uint8_t *nonce);
/* Is the flow of that tuple claimed, or was a moment ago, or one at the same
 * tuple before it? What looks like a nonce then reaches no socket. */
bool watch_is_late(const struct daemon *d, const struct tuple *at);
/* Has a proof sent it? */
bool watch_is_ours(const struct daemon *d, const struct tuple *at,
		   const uint8_t *nonce);
/* Sockets that nothing is copied by any longer are given up, here and those of
 * trial.c. */
void watch_step(struct daemon *d, uint64_t now_ms);
uint64_t watch_due_ms(const struct daemon *d); /* 0: none */

/* ---- discover.c ------------------------------------------------------ */

/* `seed` is random. Freed before the flows are. */
void discover_init(struct daemon *d, const uint8_t seed[CRYPTO_SHORT_KEY_SIZE]);
void discover_free(struct daemon *d);
/* Dumps the sockets now. 0 or -errno. */
int discover_dump(struct daemon *d, uint64_t now_ms);
/* Events of ends were lost: brings the dump forward, but no dump may cost more
 * than its share, or losses would make dumps, and dumps losses. */
void discover_soon(struct daemon *d);
/* Before a handover: what has ended is known afterwards, and what has begun
 * soon, by a dump that nobody waits for. Flows may go. */
void discover_prepare(struct daemon *d, uint64_t now_ms);
/* From now on the end of a socket is told at once, as long as any flow has been
 * touched: the kernel then tells of all that end, which short connections
 * would pay for. 0 or -errno. */
int discover_hear_ends(struct daemon *d, uint64_t now_ms);
/* Sockets younger than the last dump may have the tuples that flows are about
 * to move to: finds those of `what` (enum sockdiag_what) that have the address
 * at that end. No flow goes. A dump would find them as well, but it takes
 * the kernel 1 us for each socket that it tells of. At their end, which is for
 * a peer, not soon after one that took long (discover_rests_ms()). False where
 * some may be there that are not known afterwards. */
bool discover_at(struct daemon *d, unsigned int what, enum flow_side side,
		 const struct addr *a);
/* May there be sockets to there that are not known, because their source is past
 * its share? discover_at() at our end leaves them out. */
bool discover_is_unheld(const struct daemon *d, const struct addr *remote);
/* Until then no look at the peers' end. */
static inline uint64_t discover_rests_ms(const struct daemon *d)
{
	const struct looked *last = &d->looked[FLOW_THEIRS];

	return last->at_ms + DISCOVER_PAUSE * last->took_ms;
}
/* Looks at the flows that nobody owns: claims, handshakes, reasons. */
void discover_review(struct daemon *d, uint64_t now_ms);
/* What its socket says of when it sent data last; of UDP it says nothing. */
void discover_note_sent(struct flow *f, const struct sockdiag_entry *e,
			uint64_t now_ms);
void discover_destroyed(const struct sockdiag_entry *e, void *ctx);
/* Why it may not be protected at all; NONE where it may. */
enum reason discover_policy(const struct daemon *d, const struct flow *f);
/* Its socket is gone, for good. May free it. */
void discover_end(struct daemon *d, struct flow *f, uint64_t now_ms);
/* Takes the flow out of everything and frees it. */
void discover_remove(struct daemon *d, struct flow *f, uint64_t now_ms);
/* Flows to that remote address, or NULL. */
struct remote *discover_remote(const struct daemon *d,
				 const struct addr *remote);
/* Its share of the log's lines: one of its own where it is configured
 * (`named`), otherwise that of its source. Never NULL: those that no flow goes
 * to have one together. */
struct log_share *discover_lines(struct daemon *d, const struct addr *remote,
				 bool named);

/* ---- track.c --------------------------------------------------------- */

struct track *track_find(const struct assoc *a, enum flow_side side,
			 uint32_t id);
/* The number of one of our tracks that the flow, not moved, may join. */
uint32_t track_for(struct assoc *a, const struct flow *f);
/* That one, or the one that it is in, and where it is. */
void track_place(struct assoc *a, struct flow *f, struct wire_place *own);
/* May it enter that track of the peer's, where the peer says it is? */
enum place_answer track_judge(const struct assoc *a, const struct flow *f,
			      const struct wire_place *named, bool proved,
			      uint64_t now_ms);
/* Has the peer answered from that address since its track was held? */
bool track_met_since(const struct track *t, const struct addr *remote);
/* Has the peer answered from the flow's identity address lately, and since its
 * track was declared gone? */
bool track_home_met(const struct assoc *a, const struct flow *f,
		    uint64_t now_ms);
/* The flow was confirmed: joins its tracks and is protected. */
void track_enter(struct daemon *d, struct flow *f, uint64_t now_ms);
/* It is owned no longer: what it steers is taken away. */
void track_leave(struct daemon *d, struct flow *f, uint64_t now_ms);
/* The same for as many as fit into one transaction: TRACK_PART. */
void track_leave_all(struct daemon *d, struct flow *const *f, unsigned int n,
		     uint64_t now_ms);
/* Its socket, or the peer's, is gone: it moves no more; what it steers
 * stays until track_leave(). */
void track_detach(struct daemon *d, struct flow *f, uint64_t now_ms);
void track_detach_all(struct daemon *d, struct flow *const *f, unsigned int n,
		      uint64_t now_ms);
/* It takes no part in the move of its track: as it was before, and without
 * an owner to tell. */
void track_stay(struct daemon *d, struct flow *f, uint64_t now_ms);
/* Neither moved nor held, its address is usable: it would go on by itself. */
bool track_is_at_rest(const struct daemon *d, const struct flow *f);
/* Is either half holding this flow? */
bool track_holds(const struct flow *f);
/*
 * Carries out a HOLD, ACCEPT_*, RELEASE or SWITCH on all flows of the track, in
 * transactions of TRACK_PART; `hold`: a HOLD with it. `sending` is the locator
 * sent by until now. Without `all` no more than one in a turn of the loop for
 * one peer: TRACK_MORE where it is to be called again, with the same, and
 * nothing else is done to the track meanwhile but that flows come and go. 0 or
 * -errno: nothing changed. track_let_go() follows.
 */
#define TRACK_MORE 1
int track_apply(struct track *t, const struct migrate_action *action,
		bool hold, const struct locator *sending, bool all,
		uint64_t now_ms);
/* Sends what was held of flows that are held no longer, in order. */
void track_let_go(struct track *t);
/* Before track_end_taken(): looks for the sockets at that address, where the
 * track has many flows. False where that is not to be known: then nothing of
 * the peer's may go there. */
bool track_look(struct track *t, const struct addr *a);
/* Would the flow, with that end on this track's side, have a tuple that is
 * another's on this host? */
bool track_end_taken(const struct track *t, const struct flow *f,
		     const struct endpoint *at);
/* May that be? Not where all come from one address by ports of their own, each
 * to an end that is not accepted for any other. */
bool track_may_clash(const struct track *t);
/* Those of its flows that would have, at that locator, the tuple of another of
 * the track: as many as fit into `clash`. 0 or -ENOMEM. */
int track_clashes(const struct track *t, const struct locator *to,
		  struct wire_refuse *clash);
/* A choice of ports for `addr` under which no flow of ours collides; flows
 * that t->refusal names change theirs. 0, or -EADDRINUSE. */
int track_choose_ports(struct track *t, const struct addr *addr,
		       uint64_t *ports);
/* What MOVE says about the ports at `ports`: how many entries, and from this
 * flow of the track on at most WIRE_MOVE_MAX; the flow to go on with. */
unsigned int track_count_ports(const struct track *t, uint64_t ports);
const struct flow *track_list_ports(uint64_t ports, const struct flow *f,
				    struct wire_move *m);
/* One of an earlier run, as its journal tells; NULL at a bound. */
struct track *track_restore(struct assoc *a, const struct book_track *b);
/* Tells retain by which interface the packets of that end come, and between
 * which addresses; the end remembers it. */
void track_way_back(struct daemon *d, struct flow *f, enum flow_side side,
		    struct flow_end *e, uint32_t ifindex);
/* A flow of an earlier run is protected again: in these tracks (of both
 * sides), or in none (NULL) by the path that it has. What it needs in the
 * nftables table is left to divert_rebuild(). 0 or -errno: nothing changed
 * but its path, which is gone. */
int track_take(struct daemon *d, struct flow *f,
	       struct track *const t[FLOW_SIDES], uint64_t now_ms);
/* Frees the tracks of an association; flows have left. */
void track_free_all(struct assoc *a);

/* ---- handover.c ------------------------------------------------------ */

/* MOVE, ACCEPT, REFUSE, PROVE, DONE. */
void handover_message(struct assoc *a, uint64_t now_ms,
		      const struct peer_rx *rx);
void handover_sync_fill(const struct assoc *a, struct wire_sync *s);
void handover_sync(struct assoc *a, uint64_t now_ms,
		   const struct wire_sync *s);
/* A session came up: what is outstanding is repeated. */
void handover_session(struct assoc *a, uint64_t now_ms);
/* What our tracks have asked, and is not answered, is said again. */
void handover_repeat(struct assoc *a, uint64_t now_ms);
/* Looks at every track after an address or route event; `quiet`: they have
 * settled, moves that can wait are due. */
void handover_evaluate(struct daemon *d, uint64_t now_ms, bool quiet);
void handover_step(struct daemon *d, uint64_t now_ms);
uint64_t handover_due_ms(const struct assoc *a); /* for the agenda */
/* Looks at the tracks that are new, or of which an end has moved. */
void handover_evaluate_fresh(struct daemon *d, uint64_t now_ms);
/* When it is time for those that wait at home for a route or a gateway. */
void handover_evaluate_awaiting(struct daemon *d, uint64_t now_ms);
/* Asks the peer for a session where its locators and ours are by now. */
void handover_greet(struct assoc *a, uint64_t now_ms);
/* The operator's wish for a track. 0 or -errno. */
int handover_move(struct track *t, const struct addr *to, uint64_t now_ms);
/* A new connection of this host wants the flow's wire tuple, or the one that a
 * MOVE has asked for: the flow takes other ports. */
void handover_yield_ports(struct daemon *d, struct flow *f,
			  const struct tuple *wanted, uint64_t now_ms);

/* ---- unheard.c --------------------------------------------------------- */

/* Is the flow one that goes where its peer has named? */
bool unheard_concerns(const struct track *t, const struct flow *f);
/* PROBE was answered between those addresses, or was not in the end. */
void unheard_result(struct assoc *a, const struct peer_path *path, bool ok,
		    uint64_t now_ms);
/* The same where nobody can be asked. */
void unheard_missed(struct track *t, uint64_t now_ms);
/* The peer has proved itself anew. */
void unheard_end(struct track *t, uint64_t now_ms);
/* Asks soon. */
void unheard_ask(struct track *t, uint64_t now_ms);
/* The same of all: our own way may have been what was away. */
void unheard_ask_all(struct daemon *d, uint64_t now_ms);
/* When to ask there again, where it is not valid; the past: now. */
uint64_t unheard_due_ms(const struct track *t, uint64_t now_ms);
/* What its socket tells of a flow: the other end's TCP may be heard there, where
 * its daemon is not. */
void unheard_note(struct flow *f, const struct sockdiag_entry *e,
		  uint64_t now_ms);
/* The flow is held, and its socket has sent something: an answer, maybe. */
void unheard_look(struct daemon *d, struct flow *f, uint64_t now_ms);
/* It is to be seen whether the track's flows go on. */
void unheard_step(struct track *t, uint64_t now_ms);

/* ---- work.c ---------------------------------------------------------- */

/* Goes on with one of what is not done yet; of each peer in turn. */
void work_step(struct daemon *d, uint64_t now_ms);
/* Of `n` claims that are to leave so many may now; for the others the peer
 * waits for its turn: assoc_go_on(). */
unsigned int work_leave(struct assoc *a, unsigned int n);
void work_leave_later(struct assoc *a);
/* It waits for that no longer. */
void work_leave_end(struct assoc *a);
/* The track goes, and with it what was to be done. */
void work_drop(struct track *t);
/* Has any of its tracks something to be done, or do claims of it leave? */
static inline bool work_is_due(const struct assoc *a)
{
	return a->leaving || !TAILQ_EMPTY(&a->works);
}

/* ---- source.c -------------------------------------------------------- */

/* Looks how packets of our track leave now, and remembers it: way_look(). */
enum migrate_cause source_look(struct track *t, uint64_t now_ms);

/* ---- look.c ---------------------------------------------------------- */

/* Addresses, links, routes or rules have changed. */
void look_after_events(struct daemon *d, uint64_t now_ms);
/* A router answers that did not. */
void look_for_router(struct daemon *d, uint64_t now_ms);
uint64_t look_due_ms(const struct daemon *d); /* 0: not */
void look_step(struct daemon *d, uint64_t now_ms);

/* ---- trial.c ----------------------------------------------------------- */

/* An ACCEPT has come: can any flow of the track bear a nonce? */
bool trial_ready(struct track *t);
/* A TRY of the core. False where none is under way or waited for, and not all
 * that are needed have crossed. */
bool trial_send(struct track *t, const struct migrate_action *act,
		uint64_t now_ms);
/* What has the form of a nonce came on that tuple, seen from here. True where it
 * goes no further: it is one, or a flow is there that may still get some. */
bool trial_take(struct daemon *d, const struct tuple *at, const struct pkt *p,
		const uint8_t *data, const uint8_t *mac);
/* One leaves on it: is it ours, and not only like it? */
bool trial_is_ours(struct daemon *d, const struct tuple *at,
		   const struct pkt *p, const uint8_t *data,
		   const uint8_t *mac);
/* Somebody resets the flow, from where the peer was offered to be: may that be
 * a box, because of a nonce? */
bool trial_may_be_rejected(const struct flow *f, uint64_t now_ms);
/* Another packet of the flow came from there. */
void trial_heard(struct flow *f);
/* A segment of the flow is held: what its TCP says in it. */
void trial_note(struct flow *f, const struct pkt *p, const uint8_t *data,
		uint64_t now_ms);
/* Nonces have crossed: the core is to hear of it. */
bool trial_is_over(const struct track *t);
/* The time for it has passed, and of no protocol that none has crossed of has
 * one left the host: nor have those that the kernel took. */
bool trial_has_not_left(struct track *t, uint64_t now_ms);
void trial_step(struct track *t, uint64_t now_ms);
uint64_t trial_due_ms(const struct track *t);
void trial_end(struct track *t);

/* ---- unfit.c ----------------------------------------------------------- */

/* Did no nonce of this track's flows come over that address? Of any? */
bool unfit_is(const struct track *t, const struct addr *own);
bool unfit_concerns(const struct track *t);
/* False where people know that. */
bool unfit_note(struct track *t, const struct addr *own, uint64_t now_ms);
/* A nonce of the move `seq` is about to go from there. */
void unfit_begin(struct track *t, const struct addr *own, uint64_t seq);
/* Where the track is: shall it be tried again? It will be. It carries them. */
bool unfit_is_due(const struct track *t, const struct addr *own);
/* Can nonces of the track's own flows tell whether they are carried where they
 * are? Not before its first ACCEPT, nor at home, where the kernel of neither end
 * looks into what passes untranslated. */
bool unfit_may_try(const struct track *t);
void unfit_tried(struct track *t, const struct addr *own, uint64_t now_ms);
void unfit_forget(struct track *t, const struct addr *own);
/* Something has changed: paths on which it did are tried again. Of routes and
 * rules it is not heard, but seen when all tracks are looked at. */
void unfit_hear(struct daemon *d, const struct rtmon_event *e);
void unfit_look(struct daemon *d, uint64_t now_ms);
/* True where the time of one is over. */
bool unfit_step(struct assoc *a, uint64_t now_ms);
uint64_t unfit_due_ms(const struct assoc *a);

/* ---- waiting.c -------------------------------------------------------- */

/* Why a flow that is moving is not there yet; NONE: it is, or soon will be. */
enum reason waiting_reason(const struct flow *f);
/* Tells the log of tracks that wait. With each dump. */
void waiting_step(struct daemon *d, uint64_t now_ms);

/* ---- stale.c ---------------------------------------------------------- */

#define STALE_MS 1000 /* a segment is not held for longer */
#define STALE_DATAGRAM_MS 20000 /* nor is what is no segment for this, ... */
#define STALE_MOST_MS 120000 /* ... and nothing for TCP's longest timer */
#define STALE_LOOKUPS_MAX 256 /* of sockets in one step: 10 us each */

enum hold_kind stale_kind(const struct pkt *p);
/* Something is held from now on. */
void stale_begin(struct daemon *d, uint64_t now_ms);
/* A hold of more than STALE_MS is over: before what was held is released.
 * `*lookups` of sockets are left. */
void stale_end(struct daemon *d, struct flow *f, unsigned int *lookups);
/* Does the packet give back a time stamp from before such a hold? */
bool stale_echo(struct flow *f, const struct pkt *p, const uint8_t *data);
/* Gives up what was held for too long. */
void stale_step(struct daemon *d, uint64_t now_ms);

/* ---- wake.c ----------------------------------------------------------- */

/* Makes the flow's TCP socket send one segment. */
void wake_poke(struct daemon *d, struct flow *f);
/* The same the other way (tap.h), where it has not answered and no way is known
 * by which it does; otherwise false. */
bool wake_poke_again(struct daemon *d, struct flow *f);
/* It is new: asked as others at its address were, who have answered. */
void wake_begin(const struct daemon *d, struct flow *f);
/* While it is proved: a segment that its socket sent, asked or not. */
void wake_seen(struct daemon *d, struct flow *f);
/* Its socket has sent such a segment, at another time. Only a bare one can be
 * an answer. */
void wake_heard(struct flow *f, uint32_t payload_len);
/* Nobody waits for an answer any longer: where there was none, the next time
 * it is asked the other way. */
void wake_unheard(struct flow *f);
/* A segment of the flow was held. */
void wake_note(struct daemon *d, struct flow *f, const struct pkt *p,
	       uint64_t now_ms);
/* MOVE is on its way after an outage: what do our sockets expect next? */
void wake_ask(struct track *t, uint64_t now_ms);
/* ACCEPT has come, and what they said before was read: those that said nothing
 * are asked the other way. */
void wake_ask_again(struct assoc *a);
/* What is known of that, for PROVE. */
void wake_fill(const struct track *t, struct wire_prove *m);
/* A MOVE of the peer after an outage is being accepted, what we send is held:
 * senders in backoff repeat what was lost, before an acknowledgment comes. */
void wake_offered(struct track *t);
/* Does its TCP repeat at once what it has sent, when it is woken? */
bool wake_can(struct daemon *d, const struct flow *f);
/* The flow, which was held for so long, is held no longer, and no segment of
 * it went: its sender goes on. */
void wake_own(struct daemon *d, struct flow *f, uint32_t held_ms);
/* The peer's PROVE was committed: our other senders go on. */
void wake_senders(struct track *t, const struct wire_prove *m);

/* ---- repair.c --------------------------------------------------------- */

/* Has our rules stand in front of others', and names those that use our bit of
 * the mark. At the start; later these are looked for aside, and named with some
 * later wake-up. */
void repair_look(struct daemon *d);
void repair_look_again(struct daemon *d);
/* Hears of the losses from now on. 0 or -errno. */
int repair_listen(struct daemon *d);
/* When a repair may be made, now or later: who undoes all of them makes us
 * slow. */
uint64_t repair_next_ms(const struct daemon *d, enum repair_what what,
			uint64_t now_ms);
/* One was made. */
void repair_note(struct daemon *d, enum repair_what what, uint64_t now_ms);
/* A route may be back: retain_refresh() follows, at once or, where that was a
 * moment ago, a little later. */
void repair_refresh_soon(struct daemon *d);
void repair_step(struct daemon *d, uint64_t now_ms);
uint64_t repair_deadline_ms(const struct daemon *d); /* 0: none */

/* ---- report.c -------------------------------------------------------- */

extern const struct ctl_ops report_ops;
void report_flow_event(struct daemon *d, const struct flow *f,
		       const char *what, const char *text);
void report_event(struct daemon *d, const char *peer, const char *what,
		  const char *text);

/* ---- store.c --------------------------------------------------------- */

/* Makes it where it is not there. Nobody else may write in it, or what we
 * make there could be exchanged under our hands. 0 or -errno with a
 * sentence. */
int store_directory(const char *path, mode_t mode,
		    char error[CONF_ERROR_MAX]);
/* Reads <state_dir>/key, or makes one. 0 or -errno with a sentence. */
int store_key(const char *state_dir, struct crypto_keypair *key,
	      char error[CONF_ERROR_MAX]);
int store_pins_load(struct daemon *d);
/* Begins to write them, aside: a disk may take its time. 0 or -errno. */
int store_pins_save(struct daemon *d);
/* Tells of those that could not be written; is nothing being written? */
bool store_pins_check(struct daemon *d);

/* ---- keep.c ------------------------------------------------------------ */

/* <runtime_dir>/journal and a suffix. 0 or -ENAMETOOLONG. */
int keep_path(const struct daemon *d, const char *suffix,
	      char path[KEEP_PATH_MAX]);
void keep_boot_id(uint8_t id[JOURNAL_BOOT_ID_SIZE]);
/* runtime_dir is this process's until it ends (flock(2)): before anything in it
 * is read or written. 0, -EWOULDBLOCK where another has it, or -errno. */
int keep_lock(struct daemon *d);
/* Writes all that is known to a new file, in place of an old one. */
void keep_open(struct daemon *d);
/* The file goes, or stays for the next run. One that this process has not
 * written stays: a start that failed leaves it to the next. */
void keep_close(struct daemon *d, bool remove);
/* These reach the file before they return: they come before the kernel and
 * the wire (sacip(7), I7). Errors are logged, and end the journal. */
void keep_track(struct track *t);
/* The flow as it is or is about to be; tracks that are new before it. */
void keep_flow(struct daemon *d, struct flow *f);
/* These may wait for keep_flush(). */
void keep_track_later(struct track *t);
void keep_track_end(struct track *t);
void keep_flow_later(struct daemon *d, struct flow *f);
void keep_flow_end(struct daemon *d, struct flow *f);
void keep_flush(struct daemon *d);
/* After every wake-up: writes what waits, and all anew where the file has
 * grown. */
void keep_step(struct daemon *d, uint64_t now_ms);

/* ---- adopt.c ----------------------------------------------------------- */

/* Reads the journal, if there is one: d->adopt. */
void adopt_begin(struct daemon *d);
/* Is this socket, no new connection any more, one that the journal names? */
bool adopt_wants(const struct daemon *d, const struct sockdiag_entry *e);
/* What the journal says of that tuple, or NULL; and of the flow's socket? */
const struct book_flow *adopt_book_flow(const struct daemon *d,
					const struct tuple *t);
bool adopt_is_same_socket(const struct book_flow *b, const struct flow *f);
/* The ways back of a flow that is in no track. */
void adopt_way_back(struct daemon *d, struct flow *f);
/* After the first dump: takes up the flows whose sockets live. */
void adopt_flows(struct daemon *d, uint64_t now_ms);
/* Ends the sockets that an earlier run had moved and that were not taken up:
 * without it they would send by addresses that are over. How many. */
unsigned int adopt_end_orphans(struct daemon *d);
/* What must not reach a socket for a while, as the kernel has it; `wires`:
 * what was translated for flows that have ended, too. */
void adopt_tombstones(struct daemon *d, bool wires, uint64_t now_ms);
/* Forgets the journal that was read. NULL is fine. */
void adopt_finish(struct daemon *d);
/* Asks the peers of what was taken up for sessions. */
void adopt_greet(struct daemon *d, uint64_t now_ms);

/* ---- events.c -------------------------------------------------------- */

/* For rtmon_open(). */
extern const struct rtmon_ops events_route_ops;
/* What waits in it, up to a bound. */
void events_read_queue(struct daemon *d, struct pktq *q);
/* Lets the loop watch all that is open. 0 or -errno. */
int events_open(struct daemon *d);

/* ---- salvage.c --------------------------------------------------------- */

/* Then: takes up what the kernel still rewrites and the journal has not. */
void salvage_flows(struct daemon *d, uint64_t now_ms);

/* ---- daemon.c -------------------------------------------------------- */

struct daemon_options {
	const char *conf_path;
	bool debug;
};

/* Runs until told to stop. The exit code. */
int daemon_run(const struct daemon_options *options, struct log *log,
	       struct conf *conf);

#define COUNT(d, name) ((d)->counters.value[COUNTER_##name]++)
#define REFUSED(d, name) ((d)->counters.refused[REASON_##name]++)

#endif
