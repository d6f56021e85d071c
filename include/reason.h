/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reason: the names of every refusal and every counter, in one place.
 *
 * Owns two enums and their texts. The same names index the counters of
 * `sacipctl status`, stand in `sacipctl list` and in the log, and travel in
 * REFUSE, ACCEPT and FLOWS_ACK: numbers are part of the protocol (sacip(7)),
 * so new ones are appended, none is ever reused. Never decides anything.
 */
#ifndef SACIPED_REASON_H
#define SACIPED_REASON_H

#include <stdint.h>

/* X(NAME, name, what it means to a person) */
#define REASON_LIST(X)                                                        \
	X(NONE, none, "not refused")                                          \
	X(YOUNG, young, "has not lived long enough yet")                      \
	X(NO_PEER, no_peer, "nobody answers at the other end")                \
	X(POLICY, policy, "the configuration leaves it alone")                \
	X(UNCONNECTED, unconnected, "UDP socket not connected at an end")     \
	X(NAT, nat, "an address is translated on the path")                   \
	X(BOUND, bound, "socket is bound to a device")                        \
	X(TCP_MD5, tcp_md5, "TCP-MD5 or TCP-AO signs the addresses")          \
	X(MPTCP, mptcp, "MPTCP subflow: it moves by itself")                  \
	X(LOOPBACK, loopback, "does not leave this host")                     \
	X(MULTICAST, multicast, "multicast or broadcast")                     \
	X(LINK_LOCAL, link_local, "link-local address")                       \
	X(PROOF_FAILED, proof_failed, "the peer could not prove it holds it") \
	X(FLOW_OWNED, flow_owned, "belongs to another key")                   \
	X(TUPLE_TAKEN, tuple_taken, "the tuple on the wire is in use")        \
	X(RETRY, retry, "not seen yet; asked again")                          \
	X(RECORDING, recording, "datagrams are being recorded")               \
	X(UNKNOWN_FLOW, unknown_flow, "no such flow at the other end")        \
	X(DIGEST, digest, "both ends name different flows")                   \
	X(FAMILY, family, "address of another family")                        \
	X(LIMIT, limit, "a bound is reached")                                 \
	X(KEY_MISMATCH, key_mismatch, "not the configured key")               \
	X(KEY_REVOKED, key_revoked, "the key is revoked")                     \
	X(UNPRIVILEGED_PORT, unprivileged_port, "handshake from a port >= 1024") \
	X(SYSTEM, system, "the kernel refused; see the log")                  \
	X(ENDED, ended, "the socket is gone")

enum reason {
#define X(N, n, t) REASON_##N,
	REASON_LIST(X)
#undef X
		REASON_MAX
};

/* Counters that are no refusal. Append freely: they are not on the wire. */
#define COUNTER_LIST(X)                                                       \
	/* control messages */                                                \
	X(RX_FRAMES) X(TX_FRAMES) X(RX_MALFORMED) X(RX_VERSION) X(RX_RESERVED) \
	X(RX_UNKNOWN_INDEX) X(RX_DECRYPT) X(RX_REPLAY) X(RX_PATH_MISMATCH)    \
	X(RX_STALE) X(RX_UNEXPECTED) X(RX_SOURCE_NOT_TO) X(TX_ERRORS)         \
	/* handshakes */                                                      \
	X(HS_INIT_RX) X(HS_INIT_SILENT) X(HS_RATE_LIMITED) X(HS_RETRY_TX)     \
	X(HS_RETRY_RX) X(HS_COOKIE_BAD) X(HS_HALF_OPEN_FULL) X(HS_RESP_TX)    \
	X(HS_DONE) X(HS_FAILED) X(HS_TIMEOUT) X(HS_SELF) X(HS_ATTEMPTS)       \
	/* ownership */                                                       \
	X(FLOWS_TX) X(FLOWS_RX) X(FLOWS_CONFIRMED) X(FLOWS_ENDED)             \
	X(PROOFS_SENT) X(PROOFS_WRONG)                                        \
	/* moves */                                                           \
	X(MOVES_STARTED) X(MOVES_DONE) X(MOVES_ABANDONED) X(MOVES_ACCEPTED)   \
	X(MOVES_COMMITTED) X(MOVES_REFUSED) X(LEASES_EXPIRED)                 \
	X(CHALLENGE_WRONG) X(TOMBSTONES) X(TOMBSTONES_FULL)                   \
	/* packets */                                                         \
	X(PKT_QUEUED) X(PKT_REWRITTEN_IN) X(PKT_REWRITTEN_OUT) X(PKT_PASSED)  \
	X(PKT_HELD) X(PKT_RELEASED) X(PKT_HOLD_DROPPED) X(PKT_DROPPED)        \
	X(PKT_MALFORMED) X(PKT_STRANGER_SYN) X(PKT_UNTRANSLATED)              \
	X(ICMP_TRANSLATED) X(ICMP_RST_DROPPED_WHILE_ASKED)                    \
	X(QUEUE_OVERFLOW) X(QUEUE_ERRORS)                                     \
	/* kernel state */                                                    \
	X(NFT_BATCHES) X(NFT_ERRORS) X(NL_RESYNCS) X(DUMPS) X(ROUTE_LOOKUPS)  \
	X(TABLE_RESTORED) X(CTL_CLIENTS) X(CTL_REFUSED) X(FLOWS_FULL)

enum counter_id {
#define X(N) COUNTER_##N,
	COUNTER_LIST(X)
#undef X
		COUNTER_MAX
};

struct counters {
	uint64_t refused[REASON_MAX];
	uint64_t value[COUNTER_MAX];
};

/* Lower-case name ("no_peer"); "unknown" past the end. */
const char *reason_name(enum reason r);
/* A sentence fragment for people. */
const char *reason_text(enum reason r);
/* Lower-case name ("rx_replay"); "unknown" past the end. */
const char *counter_name(enum counter_id c);

#endif
