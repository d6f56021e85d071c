/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * peer: who the other hosts are, and the sealed association with each.
 *
 * Owns the table of peers keyed by static public key, their pins, the
 * handshakes under way, sessions, paths and probes, and the policy on keys.
 * Pure: time is an argument, sending, randomness and policy are callbacks
 * given at creation. Never knows a flow (only how many a peer has), never
 * moves a locator, never touches a file: pins are text in and text out.
 *
 * Endpoints are control endpoints (the daemons' UDP sockets). Every address
 * pair that a peer spoke over is a path; a session serves all of them.
 *
 * Callbacks run inside peer_receive(), peer_table_step(), peer_initiate(),
 * peer_validate_path() and peer_forget(). They may call anything here but
 * peer_table_free() and peer_forget().
 *
 * sacip(7), "Datagrams" to "Paths", and "Policy".
 */
#ifndef SACIPED_PEER_H
#define SACIPED_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "crypto.h"
#include "reason.h"
#include "wire.h"

#define PEER_MAX 10000 /* peer_config.peers_max is at most this */
#define PEER_PATHS_MAX 16 /* per peer */
#define PEER_PIN_ADDRS_MAX 8 /* per peer, the last ones seen */
#define PEER_ATTEMPTS_MAX 1024 /* handshakes opened by us, under way */
#define PEER_HALF_OPEN_MAX 256 /* handshakes opened by others */
#define PEER_BACKOFFS_MAX 16384 /* remote addresses that gave no answer */
#define PEER_SOURCES 4096 /* buckets of the limit per source */

#define PEER_HALF_OPEN_MS 5000
#define PEER_BACKOFF_MIN_MS 1000
#define PEER_BACKOFF_MAX_MS 600000
#define PEER_YIELD_MS 3000 /* + up to PEER_YIELD_JITTER_MS */
#define PEER_YIELD_JITTER_MS 1000
#define PEER_REKEY_MS 600000
#define PEER_REKEY_COUNT ((uint64_t)1 << 32)
#define PEER_COUNTER_LIMIT ((uint64_t)1 << 60) /* then nothing is sealed */
#define PEER_OLD_SESSION_MS 30000 /* the one before still receives */
#define PEER_LOAD_RATE 100 /* INITs per second past which cookies start */
#define PEER_LOAD_HALF_OPEN 64 /* half-open records, the same */
#define PEER_SOURCE_BURST 8 /* handshakes of one source, then 1 per s */
#define PEER_SOURCE_SOCKETS 8 /* as many to it: its share once more ... */
#define PEER_SOURCE_SHARES 16 /* ... and so often at most */
#define PEER_STRANGERS_BURST 32 /* of a /64's unknown addresses; 4 per s */
#define PEER_PTO_UNKNOWN_MS 250
#define PEER_PTO_MIN_MS 20
#define PEER_PTO_MAX_MS 1000
#define PEER_PTO_BACKOFF_MAX_MS 8000
#define PEER_GREETINGS_MAX 3 /* sacip(7), "Paths" */
#define PEER_PROBE_TRIES 6
#define PEER_VALID_MS 60000 /* since an address has answered a challenge */
#define PEER_RENEW_MS 20000 /* challenged again, where flow packets go */
#define PEER_ACCOUNTS_MAX 16384 /* addresses that are not valid */
#define PEER_CREDIT_MAX 4800 /* bytes that such a one may be owed */
#define PEER_OWN_SIZE 300 /* bytes sent there of our own accord, */
#define PEER_OWN_BURST 24 /* so many times: 8 steps of three exchanges, */
#define PEER_OWN_REFILL_MS 2000 /* then once in this time; */
#define PEER_OWN_RESERVE 8 /* of which a PROBE alone leaves so many behind, and
			    * what goes where only others are known to be */
/* One line of a pin: key, two times, addresses. */
#define PEER_PIN_LINE_MAX \
	(CRYPTO_KEY_TEXT_SIZE + 44 + PEER_PIN_ADDRS_MAX * (ADDR_TEXT_MAX + 1))

struct peer;
struct peer_table;

enum peer_trust {
	PEER_FIRST_CONTACT, /* met by its address only: "first-contact" */
	PEER_CONFIGURED, /* its key is in `peers`: "configured" */
};

/* A transport message that was opened: authentic, fresh, its addresses are
 * those that we saw. Valid during the callback. */
struct peer_rx {
	struct endpoint local; /* where it arrived */
	struct endpoint remote; /* where it came from */
	size_t len; /* of the datagram */
	bool newest; /* on the newest confirmed session; MOVE needs that */
	const struct wire_message *message;
};

struct peer_path {
	struct endpoint local;
	struct endpoint remote;
	uint64_t validated_ms; /* last answered challenge; 0 never */
	uint32_t srtt_us; /* 0 unknown */
	uint32_t rttvar_us;
	bool nat; /* handshake payloads and datagrams named other addresses */
	bool probing;
};

struct peer_ops {
	/* Sends a UDP datagram from `src` to `dst`; 0 or -errno, counted. */
	int (*send)(void *arg, const struct endpoint *src,
		    const struct endpoint *dst, const uint8_t *data,
		    size_t len);
	void (*random)(void *arg, void *to, size_t len);
	/* Wall clock, seconds: for pins only. */
	int64_t (*wall_s)(void *arg);

	/* May a handshake from there be answered: is `remote` the remote of a
	 * live flow that policy allows? A set look-up; runs before any
	 * cryptography, for every INIT of an address not in `peers`. */
	bool (*may_answer)(void *arg, const struct addr *local,
			   const struct addr *remote);
	/* How many live sockets of ours have it as remote? NULL: none. */
	uint32_t (*sockets)(void *arg, const struct addr *remote);
	/* May a host that knows our key (mac1) speak from there? locator_*. */
	bool (*locator_allowed)(void *arg, const struct addr *remote);
	/* The key that `peers` gives for this address, or NULL. */
	const uint8_t *(*key_of_addr)(void *arg, const struct addr *remote);
	/* Is this key in `peers`? In `revoked_keys`? */
	bool (*key_configured)(void *arg,
			       const uint8_t key[CRYPTO_KEY_SIZE]);
	bool (*key_revoked)(void *arg, const uint8_t key[CRYPTO_KEY_SIZE]);
	/* first_contact = "pinned"? */
	bool (*first_contact_closed)(void *arg);

	/* May that pair of a peer's still be used: is the own address there, and
	 * was the remote one not said to be gone? NULL: yes. */
	bool (*may_use)(void *arg, const struct peer *p,
			const struct addr *local, const struct addr *remote);

	/* Events; any of them may be NULL. */

	/* A session is usable over (local, remote). `first`: there was none.
	 * Otherwise a rekey, or the peer has restarted: send SYNC. */
	void (*session_up)(void *arg, struct peer *p, uint64_t now_ms,
			   bool first, const struct endpoint *local,
			   const struct endpoint *remote);
	/* No session is left: BYE (its reason; ENDED: the peer has stopped),
	 * peer_forget() (NONE), revoked (KEY_REVOKED), or its keys are used up
	 * (LIMIT). */
	void (*session_down)(void *arg, struct peer *p, uint64_t now_ms,
			     enum reason why);
	/* FLOWS and later types of this release, but PROBE* and BYE. */
	void (*message)(void *arg, struct peer *p, uint64_t now_ms,
			const struct peer_rx *rx);
	/* The record goes, by eviction or peer_forget(): drop pointers. */
	void (*forgotten)(void *arg, struct peer *p);
	/* Outcome of peer_validate_path(); also ok=true whenever a handshake
	 * or peer_path_proved() validates a path. */
	void (*path_result)(void *arg, struct peer *p, uint64_t now_ms,
			    const struct peer_path *path, bool ok);
	/* Pins differ from what was last written: write them, lazily. */
	void (*pins_changed)(void *arg);
	/* A handshake opened by us came to nothing. `why`: NO_PEER (silence),
	 * KEY_MISMATCH (nobody but another key than that in `peers`
	 * answered), KEY_REVOKED, POLICY (first contact is closed),
	 * UNPRIVILEGED_PORT, LOOPBACK (ourselves), LIMIT. Also, `opened`
	 * false, for one opened by the other end that its key ended. */
	void (*handshake_failed)(void *arg, uint64_t now_ms, bool opened,
				 const struct endpoint *local,
				 const struct endpoint *remote,
				 const uint8_t *key, enum reason why);
};

struct peer_config {
	struct crypto_keypair key;
	uint16_t port; /* own control port, and what others are called at */
	/* 1 .. PEER_MAX: records of keys that are not configured. However many
	 * of these have flows, one that is has a place. */
	uint32_t peers_max;
};

/* `counters` is borrowed and outlives the table. 0, -EINVAL or -ENOMEM. */
int peer_table_new(struct peer_table **table, const struct peer_ops *ops,
		   void *arg, const struct peer_config *config,
		   struct counters *counters);
/* Wipes and frees; no events, nothing is sent (see peer_table_bye()). */
void peer_table_free(struct peer_table *t);

/* A datagram came from `remote` to `local`. Never fails: what is wrong is
 * counted. */
void peer_receive(struct peer_table *t, uint64_t now_ms,
		  const struct endpoint *local, const struct endpoint *remote,
		  const uint8_t *data, size_t len);
/* When peer_table_step() is due at the latest; UINT64_MAX: never. May be
 * early, never late. */
uint64_t peer_table_deadline_ms(const struct peer_table *t);
void peer_table_step(struct peer_table *t, uint64_t now_ms);
/* The policy callbacks may answer otherwise now (SIGHUP): sessions of
 * revoked keys end. */
void peer_table_policy_changed(struct peer_table *t, uint64_t now_ms);
/* What is sent from now on, until the other is said, is in answer to a message
 * that had to wait; while one is looked at that goes without saying. */
void peer_table_answers(struct peer_table *t, bool answering);
/* An own address is gone: its paths too. */
void peer_table_local_gone(struct peer_table *t, const struct addr *local);

#define PEER_YIELD 0x1 /* the other end may initiate too: give it 3 s, if ours
			* is no private address, nor its key configured */
#define PEER_URGENT 0x2 /* a known peer: repeat by PTO, heed no backoff */
#define PEER_OTHERS 0x4 /* whoever is at the port of all, where none of those
			 * with a session is: -EALREADY: one of them is */

/* Opens a handshake from `local` to `remote` (addresses; ports are the
 * configured one, or where that peer was last heard). 0: sent or waiting.
 * -EALREADY: one is under way to there. -EAGAIN: before peer_retry_ms().
 * -ENOBUFS: a bound. Or what send said. Costs a look-up when it is refused,
 * so it may be called for every flow at every tick. */
int peer_initiate(struct peer_table *t, uint64_t now_ms,
		  const struct addr *local, const struct addr *remote,
		  unsigned int flags);
/* peer_initiate(PEER_URGENT), with mac1 for this peer, beside the session
 * that does not answer. */
int peer_rehandshake(struct peer *p, uint64_t now_ms,
		     const struct addr *local, const struct addr *remote);
/* The same where the address may not be that peer's: PEER_GREETINGS_MAX
 * datagrams, until it answers. */
int peer_greet(struct peer *p, uint64_t now_ms, const struct addr *local,
	       const struct addr *remote);
/* When peer_initiate() to there would be heard again; 0: now. */
uint64_t peer_retry_ms(const struct peer_table *t, const struct addr *remote);
/* Forget that `remote` did not answer (an address event, SIGHUP). */
void peer_retry_reset(struct peer_table *t, const struct addr *remote);
bool peer_is_initiating(const struct peer_table *t, const struct addr *local,
			const struct addr *remote);

/* The peer that last authenticated itself at that address, or whose pin
 * alone names it; NULL. With and without a session. */
struct peer *peer_find_addr(const struct peer_table *t,
			    const struct addr *remote);
/* The `nth` (any number, from 0 on) in the round of those that authenticated
 * themselves at that address and have a session; NULL. keys: so many they are. */
struct peer *peer_turn_at(const struct peer_table *t,
			  const struct addr *remote, uint32_t nth,
			  unsigned int *keys);
struct peer *peer_find_key(const struct peer_table *t,
			   const uint8_t key[CRYPTO_KEY_SIZE]);
/* From the journal: the peer with that key, made where there is none, whose
 * daemon is reached at `port`; NULL at the bound or without memory. */
struct peer *peer_restore(struct peer_table *t,
			  const uint8_t key[CRYPTO_KEY_SIZE], uint16_t port);
/* All records: peer_next(t, NULL) is the first; NULL ends. */
struct peer *peer_next(const struct peer_table *t, const struct peer *p);
unsigned int peer_table_count(const struct peer_table *t);

const uint8_t *peer_key(const struct peer *p);
uint16_t peer_port(const struct peer *p); /* where its daemon is reached */
enum peer_trust peer_get_trust(const struct peer *p); /* asks key_configured */
bool peer_has_session(const struct peer *p);
/* Age of the session in use; 0 without one. */
uint64_t peer_session_age_ms(const struct peer *p, uint64_t now_ms);
/* Last authentic datagram; 0 never. */
uint64_t peer_heard_ms(const struct peer *p);
/* By the wall clock; last: that datagram, of an earlier run where there was none
 * in this one. */
int64_t peer_first_seen_s(const struct peer *p);
int64_t peer_last_seen_s(const struct peer *p);
unsigned int peer_pin_addrs(const struct peer *p,
			    struct addr addrs[PEER_PIN_ADDRS_MAX]);
void *peer_user(const struct peer *p); /* the daemon's own, NULL at first */
void peer_set_user(struct peer *p, void *user);

/* Flows owned by or in common with this peer: a record that has any is
 * never evicted. */
void peer_flows_inc(struct peer *p);
void peer_flows_dec(struct peer *p);
uint32_t peer_flows(const struct peer *p);

/* Paths, in no order; false past the last. */
bool peer_path_at(const struct peer *p, unsigned int i,
		  struct peer_path *path);
bool peer_path_find(const struct peer *p, const struct addr *local,
		    const struct addr *remote, struct peer_path *path);
/* The path validated last (one with a NAT never is); false where none is. */
bool peer_path_best(const struct peer *p, struct peer_path *path);
/* When an authenticated round trip with that remote address was last
 * completed, over any path; 0 never. Condition (a) of ownership. */
uint64_t peer_remote_validated_ms(const struct peer *p,
				  const struct addr *remote);
/* Probe timeout of that path (or, where it is new, of the last one that was
 * measured, or 250 ms), without backoff or jitter: clamp(2 srtt + 4 rttvar, 20 ms, 1 s). */
uint32_t peer_pto_ms(const struct peer *p, const struct addr *local,
		     const struct addr *remote);
/* Sends PROBE until it is answered over the same pair, or 6 times; then
 * path_result, unless no copy could be sent. To an address that is not valid it
 * leaves PEER_OWN_RESERVE behind, as what makes us ask may be a peer's doing.
 * -EALREADY while that is under way (starts over after a PTO), -ENOTCONN
 * without a session, -EACCES where `remote` never spoke to us as this peer
 * (peer_initiate() to it instead: a handshake names its key). */
int peer_validate_path(struct peer *p, uint64_t now_ms,
		       const struct addr *local, const struct addr *remote);
/* A round trip proved otherwise: PROVE with our challenge from there, or
 * an ACCEPT that answers our MOVE on it. */
void peer_path_proved(struct peer *p, uint64_t now_ms,
		      const struct endpoint *local,
		      const struct endpoint *remote);

/*
 * Seals `m` (its src and dst are filled in here) on the session in use and
 * sends it over that pair; every copy takes its own counter. `size`: the
 * datagram is padded to at least that many bytes; 0 for none.
 * To an address that has not answered a challenge within PEER_VALID_MS go no
 * more bytes than came from it; or, of our own accord (MOVE, FLOW_END, BYE,
 * outside of the event `message`) where it is configured, a flow's remote, or
 * was validated before, PEER_OWN_SIZE at a time. Else -EACCES, and PROBE goes
 * there if that may, leaving PEER_OWN_RESERVE behind for want of what is owed,
 * whoever has it sent: path_result then tells when more can be said.
 * -ENOTCONN: no session. -EMSGSIZE, -EINVAL: see wire_encode_message().
 * -EKEYREJECTED: the session's counters are used up. Or what send said.
 * May start a rekey, where the address is valid.
 */
int peer_send(struct peer *p, uint64_t now_ms, const struct addr *local,
	      const struct addr *remote, struct wire_message *m,
	      size_t size);
/* Size that peer_send() may use to there now for a message of that type:
 * WIRE_PAYLOAD_MAX where it is valid, 0 where nothing may be sent. */
size_t peer_send_limit(const struct peer *p, uint64_t now_ms,
		       const struct addr *local, const struct addr *remote,
		       uint8_t type);

/* BYE to every peer with a session (over its best path), sessions wiped. */
void peer_table_bye(struct peer_table *t, uint64_t now_ms, enum reason why);
/* The operator's `forget`: sessions, pin, record. */
void peer_forget(struct peer *p, uint64_t now_ms);

/* Pins as text: "KEY FIRST LAST [ADDR ...]" per line, '#' comments. */
/* Reads lines into records; returns how many lines were bad (skipped), or
 * -ENOSPC once the table is full. */
int peer_pins_load(struct peer_table *t, const char *text, size_t len);
/* Writes at most `size` bytes, NUL included; returns the length without
 * NUL, or -ENOSPC. Size for all: peer_pins_size(). */
long peer_pins_save(const struct peer_table *t, char *to, size_t size);
size_t peer_pins_size(const struct peer_table *t);

#endif
