/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * peer_impl: what peer.c, handshake.c, session.c and pins.c share. Nobody
 * else includes it; see peer.h for what the module is.
 *
 * One namespace of indices: an index names an attempt, a half-open record or
 * a session, and says so (struct slot). A handshake keeps its index when it
 * becomes a session.
 */
#ifndef SACIPED_PEER_IMPL_H
#define SACIPED_PEER_IMPL_H

#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "bucket.h"
#include "cookie.h"
#include "noise.h"
#include "peer.h"
#include "replay.h"
#include "share.h"

/* Two sessions made within this time may have crossed: both ends then agree
 * on one of them by their handshake hashes. */
#define CONCURRENT_MS 10000
#define HALF_OPEN_FRESH_MS 250
#define FIN_TRIES 8
#define RESP_COPIES_MAX 8 /* answers to copies of one INIT */
#define INIT_CROSS_COPIES_MAX 3
#define RETRIES_MAX 3 /* RETRYs heeded in one handshake */
#define URGENT_LIFE_MS 30000
#define ATTEMPT_LIFE_MS 5000
#define TOKEN_INDEX 0 /* byte of a probe token that counts its copies */
#define FIN_MARK_SIZE 16

enum slot_kind { SLOT_ATTEMPT, SLOT_HALF_OPEN, SLOT_SESSION };

/* First member of whatever an index may name. */
struct slot {
	UT_hash_handle hh;
	uint32_t index;
	enum slot_kind kind;
};

struct attempt;

struct session {
	struct slot slot;
	TAILQ_ENTRY(session) old; /* while it is the one before */
	struct peer *peer; /* NULL: an initiator's, not confirmed */
	struct attempt *attempt; /* whose FIN is still repeated */
	struct endpoint local; /* of the handshake */
	struct endpoint remote;
	uint32_t remote_index;
	struct noise_keys keys;
	uint64_t counter; /* next to send */
	struct replay replay;
	uint64_t made_ms;
	uint64_t superseded_ms;
	uint8_t fin_mark[FIN_MARK_SIZE]; /* of the FIN that made it */
	bool initiator;
	bool heard; /* a transport message came in it */
};

enum attempt_state {
	ATTEMPT_YIELDING, /* the other end goes first */
	ATTEMPT_INIT, /* INIT sent */
	ATTEMPT_FIN, /* FIN sent, session made */
};

struct attempt_key {
	struct addr local;
	struct addr remote;
};

/* A handshake that we opened. */
struct attempt {
	struct slot slot; /* in the index only in state INIT */
	UT_hash_handle by_pair;
	uint32_t counts_for; /* in attempts_of */
	struct attempt_key pair;
	uint8_t remote_key[CRYPTO_KEY_SIZE]; /* expected, for mac1 */
	TAILQ_ENTRY(attempt) entry;
	struct endpoint local;
	struct endpoint remote;
	enum attempt_state state;
	struct noise_handshake noise;
	struct session *session; /* state FIN */
	uint8_t init[WIRE_INIT_SIZE];
	uint8_t fin[WIRE_FIN_SIZE];
	uint64_t begun_ms; /* INIT first sent */
	uint64_t sent_ms;
	uint64_t due_ms; /* next step of any kind */
	uint64_t end_ms;
	uint64_t rtt_ms; /* INIT to RESP; UINT64_MAX where it is unclear */
	uint8_t tries; /* of INIT or FIN */
	uint8_t cross_copies;
	uint8_t retries; /* RETRYs heeded */
	uint32_t late_retries; /* others, since INIT was sent */
	bool urgent;
	bool known; /* remote_key is set */
	bool strict; /* and no other will do */
	bool mismatch; /* another one answered */
	bool greeting; /* the address may be nobody's: few datagrams */
	bool nat;
};

/* A handshake that another host opened. */
struct half_open {
	struct slot slot;
	TAILQ_ENTRY(half_open) entry; /* oldest first */
	struct endpoint local;
	struct endpoint remote;
	uint32_t remote_index;
	struct noise_handshake noise;
	uint8_t resp[WIRE_RESP_SIZE];
	uint64_t made_ms;
	uint16_t nth; /* of its source, when it came or since others went */
	uint8_t shares; /* of that source */
	bool known; /* the source is the address, else its whole /64 */
	uint8_t copies;
};

struct path {
	TAILQ_ENTRY(path) entry;
	TAILQ_ENTRY(path) probing; /* in the table's list while it lasts */
	struct peer *peer;
	struct endpoint local;
	struct endpoint remote;
	uint64_t validated_ms;
	uint64_t heard_ms;
	uint32_t srtt_us;
	uint32_t rttvar_us;
	uint8_t token[WIRE_PROBE_SIZE];
	uint64_t sent_ms[PEER_PROBE_TRIES];
	uint64_t due_ms;
	uint8_t tries;
	bool is_probing;
	bool is_put; /* that challenge: a copy of it got out, or may not */
	bool asked; /* not for what we say of our own accord */
	bool nat;
};

TAILQ_HEAD(path_list, path);

struct pin {
	struct addr addr;
	uint64_t proved_ms; /* last round trip, any path; 0 not in this life */
};

struct peer {
	UT_hash_handle hh;
	uint8_t key[CRYPTO_KEY_SIZE];
	struct peer_table *table;
	TAILQ_ENTRY(peer) idle; /* without flows, last heard at the end */
	struct session *session[2]; /* in use, the one before */
	struct path_list paths;
	unsigned int n_paths;
	struct pin pin[PEER_PIN_ADDRS_MAX]; /* last seen first */
	unsigned int n_pin;
	uint32_t srtt_us; /* last sample's path: a guess for new ones */
	uint32_t rttvar_us;
	int64_t first_seen_s;
	int64_t last_seen_s;
	uint64_t heard_ms;
	uint32_t flows;
	uint16_t port;
	bool configured;
	void *user;
};

/* Who was seen at an address. One per entry of a pin, at most. */
struct place {
	UT_hash_handle hh;
	struct addr addr;
	struct peer *last; /* seen */
	struct peer **peer; /* all whose pins name it, in the order of coming */
	unsigned int n, room;
};

struct backoff {
	UT_hash_handle hh;
	TAILQ_ENTRY(backoff) entry; /* oldest first */
	struct addr addr;
	uint64_t next_ms;
	uint32_t step_ms;
};

/* Of an address that is not valid: account.c. */
struct account {
	UT_hash_handle hh;
	TAILQ_ENTRY(account) entry; /* last used at the end */
	struct addr addr;
	uint64_t heard_ms;
	size_t credit; /* bytes that came, less those sent */
	uint64_t own_full_ms; /* when all of PEER_OWN_BURST are there again */
};

/* As what a datagram is sent to an address. */
enum standing {
	STANDING_VALID, /* it has answered a challenge lately */
	STANDING_OWN, /* of our own accord: few and small */
	STANDING_ASKED, /* the same on a peer's word, or a challenge: fewer */
	STANDING_OWED, /* no more bytes than came from there */
};

struct peer_table {
	struct peer_ops ops;
	void *arg;
	struct counters *counters;
	struct crypto_keypair key;
	uint8_t mac1_key[CRYPTO_KEY_SIZE];
	uint8_t source_key[16]; /* of the hash into `source` */
	uint16_t port;
	uint32_t peers_max; /* of those whose key is not configured */
	uint32_t n_met; /* of these there are */

	struct peer *peers; /* by key */
	TAILQ_HEAD(, peer) idle;
	struct place *places; /* by address */
	struct slot *slots; /* by index */

	struct attempt *attempts; /* by pair */
	TAILQ_HEAD(, attempt) attempt_list;
	uint16_t attempts_of[PEER_SOURCES]; /* of peers and sources: hashed */
	TAILQ_HEAD(, half_open) half_opens;
	unsigned int n_half_open;
	struct backoff *backoffs;
	TAILQ_HEAD(, backoff) backoff_list;
	TAILQ_HEAD(, path) probing;
	uint32_t n_probing;
	struct account *accounts; /* by address */
	TAILQ_HEAD(, account) account_list;
	/* Bytes of the datagram that is looked at, not answered yet. */
	size_t in_hand;
	struct addr in_hand_of;
	bool answering; /* the daemon is told of a message */
	TAILQ_HEAD(, session) old;

	struct cookie_jar jar;
	uint64_t rate_ms; /* begin of the second that is counted */
	uint32_t rate; /* INITs in it, and in the one before */
	uint32_t rate_before;
	/* [0] without a cookie, [1] with one: so that a forger who uses up
	 * a source's first bucket only makes it ask for a cookie. With one each
	 * address has its own; those that nobody knows share [2] besides. */
	struct bucket source[3][PEER_SOURCES];

	uint64_t scan_ms; /* attempts and probes: nothing due before */
};

static inline void table_count(struct peer_table *t, enum counter_id c)
{
	t->counters->value[c]++;
}

static inline void table_refuse(struct peer_table *t, enum reason r)
{
	t->counters->refused[r]++;
}

/* All attempts and probes are looked at for the first that is due: the more
 * they are, the fewer moments there are for it. */
#define SCAN_PER_MS 64

static inline void table_due(struct peer_table *t, uint64_t ms)
{
	uint64_t under_way = HASH_CNT(by_pair, t->attempts) + t->n_probing;
	uint64_t step_ms = 1 + under_way / SCAN_PER_MS;

	ms += step_ms - 1;
	ms -= ms % step_ms;
	if (ms < t->scan_ms)
		t->scan_ms = ms;
}

/* peer.c */
/* All that is sent passes here. -EACCES: the account of `remote` does not
 * allow it; or what send said. */
int table_transmit(struct peer_table *t, uint64_t now_ms, enum standing as,
		   const struct endpoint *local, const struct endpoint *remote,
		   const uint8_t *data, size_t len);
uint32_t table_random_u32(struct peer_table *t);
/* +-25 % of `ms`. */
uint64_t table_jitter(struct peer_table *t, uint64_t ms);
/* Gives `s` a fresh index; 0 or -ENOMEM. */
int slot_add(struct peer_table *t, struct slot *s, enum slot_kind kind);
/* Enters it under the index that it has. */
int slot_add_as(struct peer_table *t, struct slot *s, enum slot_kind kind,
		uint32_t index);
void slot_remove(struct peer_table *t, struct slot *s);
struct slot *slot_find(struct peer_table *t, uint32_t index);
/* As many are remembered as may be, and that key is not a configured one. */
bool peer_table_is_full(const struct peer_table *t,
			const uint8_t key[CRYPTO_KEY_SIZE]);
/* The record of that key, made where there is room; NULL at the bound, or past
 * the share of `source`, from where it speaks (NULL: it is remembered). */
struct peer *peer_obtain(struct peer_table *t,
			 const uint8_t key[CRYPTO_KEY_SIZE],
			 const struct addr *source);
void peer_touch(struct peer *p, uint64_t now_ms);

/* account.c */
/* So many bytes came from there; 0: they are dealt with. */
void account_came(struct peer_table *t, const struct addr *remote, size_t len);
/* They were authentic: what is not answered now may be later. */
void account_keep(struct peer_table *t, uint64_t now_ms);
/* What may be sent there as STANDING_OWED, in one datagram. */
size_t account_room(const struct peer_table *t, uint64_t now_ms,
		    const struct addr *remote);
/* 0, or -EACCES, which is counted, or -ENOMEM. */
int account_spend(struct peer_table *t, uint64_t now_ms,
		  const struct addr *remote, size_t len, enum standing as);
/* It has answered a challenge. */
void account_settle(struct peer_table *t, const struct addr *remote);
void account_free_all(struct peer_table *t);

/* pins.c */
/* It authenticated itself there now: pin, place, last seen. `proved`: by a
 * round trip that no NAT took part in. */
void peer_seen_at(struct peer *p, uint64_t now_ms, const struct addr *remote,
		  bool proved);
void peer_unpin_all(struct peer *p);
bool peer_pinned_at(const struct peer *p, const struct addr *remote);
/* Does one with a session speak from there, by the port of all? */
bool peer_port_taken(const struct peer_table *t, const struct addr *remote);

/* session.c */
struct session *session_new(void);
/* Out of the index, wiped, freed; NULL is fine. Not those of a peer. */
void session_free(struct peer_table *t, struct session *s);
/* `s` becomes the session in use of `p`. */
void session_adopt(struct peer *p, struct session *s, uint64_t now_ms);
void peer_drop_sessions(struct peer *p);
void session_expire(struct peer_table *t, uint64_t now_ms);
void transport_receive(struct peer_table *t, uint64_t now_ms,
		       const struct wire_header *h,
		       const struct endpoint *local,
		       const struct endpoint *remote, const uint8_t *data,
		       size_t len);
int session_send(struct session *s, uint64_t now_ms, enum standing as,
		 const struct endpoint *local, const struct endpoint *remote,
		 struct wire_message *m, size_t size);
/* One PROBE, outside any validation: makes the other end's FIN stop. */
void session_greet(struct peer *p, struct session *s, uint64_t now_ms);
/* A new one is made over that pair, where this one is old. */
void session_renew(struct peer *p, uint64_t now_ms, const struct addr *local,
		   const struct addr *remote);

/* path.c */
struct path *path_find(const struct peer *p, const struct addr *local,
		       const struct addr *remote);
/* Finds or makes; NULL without memory. */
struct path *path_obtain(struct peer *p, const struct endpoint *local,
			 const struct endpoint *remote);
void path_free(struct path *path);
void path_free_all(struct peer *p);
void path_sample_rtt(struct path *path, uint64_t rtt_ms);
/* A round trip was completed, with or without a NAT in it; no event. */
void path_mark(struct path *path, uint64_t now_ms, bool nat);
void path_report(struct path *path, uint64_t now_ms, bool ok);
/* A round trip was completed: event included. */
void path_validated(struct path *path, uint64_t now_ms);
void path_probe_acked(struct peer *p, uint64_t now_ms,
		      const struct peer_rx *rx);
void path_step(struct peer_table *t, uint64_t now_ms);
/* A challenge that nobody waits for, where one may be sent and none is on its
 * way: so that more can be said. `asked`: unless one that is on its way goes
 * before what we say of our own accord, leaves PEER_OWN_RESERVE behind. */
void path_ask(struct peer *p, uint64_t now_ms, const struct addr *local,
	      const struct addr *remote, bool asked);
/* Starts probing; see peer_validate_path(). `asked`: leaves PEER_OWN_RESERVE
 * behind. */
int path_probe(struct path *path, uint64_t now_ms, bool asked);
/* Has it answered a challenge there in the last PEER_VALID_MS? */
bool remote_is_valid(const struct peer *p, uint64_t now_ms,
		     const struct addr *remote);
/* As what a message of that type goes there now. */
enum standing path_standing(const struct peer *p, uint64_t now_ms,
			    const struct addr *local,
			    const struct addr *remote, uint8_t type);

/* handshake.c */
void handshake_init_consume(struct peer_table *t, uint64_t now_ms,
			    const struct endpoint *local,
			    const struct endpoint *remote,
			    const uint8_t *data, size_t len);
void handshake_fin_consume(struct peer_table *t, uint64_t now_ms,
			   const struct endpoint *local,
			   const struct endpoint *remote,
			   const uint8_t *data, size_t len);
void handshake_expire(struct peer_table *t, uint64_t now_ms);
void half_open_free(struct peer_table *t, struct half_open *h);
/* Did the other end open one just now? Not longer: anyone can forge that. */
bool half_open_fresh(const struct peer_table *t, uint64_t now_ms,
		     const struct addr *local, const struct addr *remote);
/* Why that key may not have a session over that pair; NONE: it may. */
enum reason handshake_judge(struct peer_table *t,
			    const uint8_t key[CRYPTO_KEY_SIZE],
			    const struct endpoint *remote);
/* After the split of either side: makes the session. */
struct session *handshake_session(struct peer_table *t,
				  struct noise_handshake *noise,
				  uint32_t index, uint32_t remote_index,
				  const struct endpoint *local,
				  const struct endpoint *remote);
/* `s` is confirmed: it becomes the session in use; events. rtt_ms:
 * UINT64_MAX where unknown. */
void handshake_complete(struct peer *p, struct session *s, uint64_t now_ms,
			bool nat, uint64_t rtt_ms);
bool handshake_has_nat(const struct wire_hs_payload *said,
		       const struct endpoint *local,
		       const struct endpoint *remote);
void handshake_report(struct peer_table *t, uint64_t now_ms, bool opened,
		      const struct endpoint *local,
		      const struct endpoint *remote, const uint8_t *key,
		      enum reason why);

/* attempt.c */
void attempt_retry_consume(struct peer_table *t, uint64_t now_ms,
			   const struct endpoint *local,
			   const struct endpoint *remote,
			   const uint8_t *data, size_t len);
void attempt_resp_consume(struct peer_table *t, uint64_t now_ms,
			  const struct endpoint *local,
			  const struct endpoint *remote, const uint8_t *data,
			  size_t len);
/* An INIT crossed ours: true where ours stands and theirs is ignored. */
bool attempt_crosses(struct peer_table *t, uint64_t now_ms,
		     const struct endpoint *local,
		     const struct endpoint *remote, const struct wire_init *m);
/* The first message of its session came. Frees the attempt. */
struct peer *attempt_confirm(struct peer_table *t, uint64_t now_ms,
			     struct attempt *a);
/* A session came up over that pair: what we tried there is moot. */
void attempt_cancel(struct peer_table *t, const struct addr *local,
		    const struct addr *remote);
void attempt_free(struct peer_table *t, struct attempt *a);
void attempt_step(struct peer_table *t, uint64_t now_ms);
void backoff_free(struct peer_table *t, struct backoff *b);

#endif
