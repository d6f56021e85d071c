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
	X(NO_PEER, no_peer, "nobody answered, or nobody asked (initiate)")    \
	X(POLICY, policy, "the configuration leaves it alone")                \
	X(UNCONNECTED, unconnected, "UDP socket not connected at an end")     \
	X(NAT, nat, "an address is translated on the path")                   \
	X(BOUND, bound, "socket is bound to a device")                        \
	X(TCP_MD5, tcp_md5, "TCP-MD5 or TCP-AO signs the addresses")          \
	X(MPTCP, mptcp, "MPTCP subflow: it moves by itself")                  \
	X(LOOPBACK, loopback, "does not leave this host")                     \
	X(MULTICAST, multicast, "multicast or broadcast")                     \
	X(LINK_LOCAL, link_local, "link-local address")                       \
	X(REWRITTEN, rewritten, "the path rewrites its sequence numbers")    \
	X(FLOW_OWNED, flow_owned, "belongs to another key")                   \
	X(TUPLE_TAKEN, tuple_taken, "the tuple on the wire is in use")        \
	X(RETRY, retry, "not seen yet; asked again")                          \
	X(PROXY, proxy, "its packets do not reach the other end as sent")     \
	X(UNKNOWN_FLOW, unknown_flow, "no such flow at the other end")        \
	X(DIGEST, digest, "both ends name different flows")                   \
	X(FAMILY, family, "address of another family")                        \
	X(LIMIT, limit, "a bound is reached")                                 \
	X(KEY_MISMATCH, key_mismatch, "not the configured key")               \
	X(KEY_REVOKED, key_revoked, "the key is revoked")                     \
	X(UNPRIVILEGED_PORT, unprivileged_port, "handshake from a port >= 1024") \
	X(SYSTEM, system, "the kernel refused; see the log")                  \
	X(ENDED, ended, "the socket is gone")                                 \
	X(NO_ADDRESS, no_address, "its address is gone and no other can be used") \
	X(NO_ANSWER, no_answer, "the peer does not answer the move")          \
	X(PEER_AWAY, peer_away, "the peer's address is gone or silent, no other proved") \
	X(LATER, later, "its track is moving; asked again")                   \
	X(TUNNEL, tunnel, "the way leads into or out of a VPN: leave_tunnel") \
	X(PATH_BLOCKED, path_blocked, "the new path does not carry its packets") \
	X(PATH_UNTRIED, path_untried, "the new path cannot be tried now; tried again") \
	X(LOCAL_ROUTE, local_route, "its address is no interface's, but a route's")

enum reason {
#define X(N, n, t) REASON_##N,
	REASON_LIST(X)
#undef X
		REASON_MAX
};

/* X(NAME, name): counters that are no refusal. Append freely: they are not
 * on the wire. */
#define COUNTER_LIST(X)                                                       \
	/* control messages */                                                \
	X(RX_FRAMES, rx_frames)                                               \
	X(TX_FRAMES, tx_frames)                                               \
	X(RX_MALFORMED, rx_malformed)                                         \
	X(RX_VERSION, rx_version)                                             \
	X(RX_RESERVED, rx_reserved)                                           \
	X(RX_UNKNOWN_INDEX, rx_unknown_index)                                 \
	X(RX_DECRYPT, rx_decrypt)                                             \
	X(RX_REPLAY, rx_replay)                                               \
	X(RX_PATH_MISMATCH, rx_path_mismatch)                                 \
	X(RX_STALE, rx_stale)                                                 \
	X(RX_UNEXPECTED, rx_unexpected)                                       \
	X(RX_SOURCE_NOT_TO, rx_source_not_to)                                 \
	X(TX_ERRORS, tx_errors)                                               \
	/* handshakes */                                                      \
	X(HS_INIT_RX, hs_init_rx)                                             \
	X(HS_INIT_SILENT, hs_init_silent)                                     \
	X(HS_RATE_LIMITED, hs_rate_limited)                                   \
	X(HS_RETRY_TX, hs_retry_tx)                                           \
	X(HS_RETRY_RX, hs_retry_rx)                                           \
	X(HS_COOKIE_BAD, hs_cookie_bad)                                       \
	X(HS_HALF_OPEN_FULL, hs_half_open_full)                               \
	X(HS_RESP_TX, hs_resp_tx)                                             \
	X(HS_DONE, hs_done)                                                   \
	X(HS_FAILED, hs_failed)                                               \
	X(HS_TIMEOUT, hs_timeout)                                             \
	X(HS_SELF, hs_self)                                                   \
	X(HS_ATTEMPTS, hs_attempts)                                           \
	/* ownership */                                                       \
	X(FLOWS_TX, flows_tx)                                                 \
	X(FLOWS_RX, flows_rx)                                                 \
	X(FLOWS_CONFIRMED, flows_confirmed)                                   \
	X(FLOWS_ENDED, flows_ended)                                           \
	X(PROOFS_SENT, proofs_sent)                                           \
	X(PROOFS_RECEIVED, proofs_received)                                   \
	X(PROOFS_WRONG, proofs_wrong)                                         \
	X(RETRACKS_IGNORED, retracks_ignored)                                 \
	/* moves */                                                           \
	X(MOVES_STARTED, moves_started)                                       \
	X(MOVES_DONE, moves_done)                                             \
	X(MOVES_ABANDONED, moves_abandoned)                                   \
	X(MOVES_ACCEPTED, moves_accepted)                                     \
	X(MOVES_COMMITTED, moves_committed)                                   \
	X(MOVES_REFUSED, moves_refused)                                       \
	X(MOVES_BLOCKED, moves_blocked)                                       \
	X(NONCES_TX, nonces_tx)                                               \
	X(NONCES_RX, nonces_rx)                                               \
	X(LEASES_EXPIRED, leases_expired)                                     \
	X(CHALLENGE_WRONG, challenge_wrong)                                   \
	X(TOMBSTONES, tombstones)                                             \
	X(TOMBSTONES_FULL, tombstones_full)                                   \
	/* packets */                                                         \
	X(PKT_QUEUED, pkt_queued)                                             \
	X(PKT_REWRITTEN_IN, pkt_rewritten_in)                                 \
	X(PKT_REWRITTEN_OUT, pkt_rewritten_out)                               \
	X(PKT_PASSED, pkt_passed)                                             \
	X(PKT_HELD, pkt_held)                                                 \
	X(PKT_RELEASED, pkt_released)                                         \
	X(PKT_HOLD_DROPPED, pkt_hold_dropped)                                 \
	X(PKT_HOLD_STALE, pkt_hold_stale)                                     \
	X(PKT_DROPPED, pkt_dropped)                                           \
	X(PKT_MALFORMED, pkt_malformed)                                       \
	X(PKT_STRANGER_SYN, pkt_stranger_syn)                                 \
	X(PKT_UNTRANSLATED, pkt_untranslated)                                 \
	X(ICMP_TRANSLATED, icmp_translated)                                   \
	X(ICMP_RST_DROPPED_WHILE_ASKED, icmp_rst_dropped_while_asked)         \
	X(QUEUE_OVERFLOW, queue_overflow)                                     \
	X(QUEUE_ERRORS, queue_errors)                                         \
	/* kernel state */                                                    \
	X(NFT_BATCHES, nft_batches)                                           \
	X(NFT_ERRORS, nft_errors)                                             \
	X(NL_RESYNCS, nl_resyncs)                                             \
	X(DUMPS, dumps)                                                       \
	X(ROUTE_LOOKUPS, route_lookups)                                       \
	X(TABLE_RESTORED, table_restored)                                     \
	X(CTL_CLIENTS, ctl_clients)                                           \
	X(CTL_REFUSED, ctl_refused)                                           \
	X(FLOWS_FULL, flows_full)                                             \
	X(SENDERS_WOKEN, senders_woken)                                       \
	X(JOURNAL_ERRORS, journal_errors)                                     \
	X(ROUTES_RESTORED, routes_restored)                                   \
	X(REPAIRS_DELAYED, repairs_delayed)                                   \
	X(PAIRS_FULL, pairs_full)                                             \
	X(MOVES_PACED, moves_paced)                                           \
	X(TX_UNPAID, tx_unpaid)                                               \
	X(HOLDS_ENDED, holds_ended)                                           \
	X(TUPLES_CEDED, tuples_ceded)                                         \
	X(RST_KEPT_BACK, rst_kept_back)                                       \
	X(MOVES_UNTRIED, moves_untried)

enum counter_id {
#define X(N, n) COUNTER_##N,
	COUNTER_LIST(X)
#undef X
		COUNTER_MAX
};

struct counters {
	uint64_t refused[REASON_MAX];
	uint64_t value[COUNTER_MAX];
};

/* Why a peer refused, as the byte in its message says: POLICY where that is a
 * reason that we do not know, or none. Always an index of the counters. */
enum reason reason_from_wire(uint8_t byte);
/* Lower-case name ("no_peer"); "unknown" past the end. */
const char *reason_name(enum reason r);
/* A sentence fragment for people. */
const char *reason_text(enum reason r);
/* Lower-case name ("rx_replay"); "unknown" past the end. */
const char *counter_name(enum counter_id c);

#endif
