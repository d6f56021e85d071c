/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire: the layout of every datagram, sacip(7) in C.
 *
 * Owns types, limits, encoding and decoding. A decoder takes exactly what
 * the layout says: fixed parts whole, counts that fit what is left, then
 * TLVs to the last byte. Pure; never seals, never judges what it read
 * (ranges of the layout aside), never keeps anything.
 *
 *	datagram   header 16 | handshake body              types 1 to 4
 *	           header 16 | sealed plaintext | tag 16   types from 16
 *	header     type u8, version u8, zero u16, index be32, counter be64
 *	plaintext  src endpoint, dst endpoint, body, TLVs
 *	endpoint   address 16 (IPv4 as v4-mapped), port be16
 *	TLV        type u8 (0x80: critical), length u8, value
 */
#ifndef SACIPED_WIRE_H
#define SACIPED_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "buf.h"
#include "crypto.h"
#include "noise.h"

#define WIRE_VERSION 1
#define WIRE_PAYLOAD_MAX 1200 /* UDP payload, never fragmented */
#define WIRE_HEADER_SIZE 16
#define WIRE_ENDPOINT_SIZE 18
#define WIRE_PATH_SIZE (2 * WIRE_ENDPOINT_SIZE) /* src and dst */
#define WIRE_PLACE_SIZE 29 /* of struct wire_place */
#define WIRE_COOKIE_SIZE 16
#define WIRE_MAC1_SIZE 16
#define WIRE_CHALLENGE_SIZE 16
#define WIRE_DIGEST_SIZE 16
#define WIRE_PROBE_SIZE 16
#define WIRE_NONCE_SIZE 16 /* what goes on a flow, and its tag */
/* What header and tag leave for src, dst, body and TLVs. */
#define WIRE_PLAIN_MAX \
	(WIRE_PAYLOAD_MAX - WIRE_HEADER_SIZE - CRYPTO_TAG_SIZE) /* 1168 */

/* Handshake. Noise payloads: see struct wire_init_payload, wire_hs_payload. */
#define WIRE_INIT_PAYLOAD_SIZE 8
#define WIRE_HS_PAYLOAD_SIZE (8 + WIRE_PATH_SIZE) /* 44 */
#define WIRE_NOISE_INIT_SIZE (NOISE_INIT_OVERHEAD + WIRE_INIT_PAYLOAD_SIZE)
#define WIRE_NOISE_RESP_SIZE (NOISE_RESP_OVERHEAD + WIRE_HS_PAYLOAD_SIZE)
#define WIRE_NOISE_FIN_SIZE (NOISE_FIN_OVERHEAD + WIRE_HS_PAYLOAD_SIZE)
#define WIRE_RESP_SIZE (WIRE_HEADER_SIZE + WIRE_NOISE_RESP_SIZE) /* 156 */
#define WIRE_INIT_SIZE WIRE_RESP_SIZE /* padded: no amplification */
#define WIRE_RETRY_SIZE (WIRE_HEADER_SIZE + WIRE_COOKIE_SIZE) /* 32 */
#define WIRE_FIN_SIZE (WIRE_HEADER_SIZE + WIRE_NOISE_FIN_SIZE) /* 124 */
#define WIRE_INIT_COOKIE_AT WIRE_HEADER_SIZE
#define WIRE_INIT_MAC1_AT (WIRE_INIT_COOKIE_AT + WIRE_COOKIE_SIZE)
#define WIRE_INIT_NOISE_AT (WIRE_INIT_MAC1_AT + WIRE_MAC1_SIZE) /* 48 */

/*
 * Entries per message. _MAX is the bound of the array and of what a decoder
 * takes; _FIT is how many fit into one datagram whatever they hold (equal
 * to _MAX where entries have one size).
 */
#define WIRE_FLOWS_FIXED 10 /* FLOWS, FLOWS_ACK: before the entries */
#define WIRE_FLOWS_MAX 14 /* 14 without a proof fit */
#define WIRE_FLOWS_FIT 10 /* 10 with receipts fit */
#define WIRE_FLOWS_ACK_MAX 20 /* 20 with tags fit */
#define WIRE_FLOWS_ACK_FIT 15
#define WIRE_FLOW_END_MAX 128
#define WIRE_MOVE_MAX 100
#define WIRE_ACCEPT_MAX 120
#define WIRE_REFUSE_MAX 128
#define WIRE_PROVE_MAX 64
/* Whole datagram of a REFUSE with n flows: it may not be larger than the
 * MOVE that it answers. */
#define WIRE_FLOW_END_SIZE(n) \
	(WIRE_HEADER_SIZE + WIRE_PATH_SIZE + 1 + 8 * (n) + CRYPTO_TAG_SIZE)
#define WIRE_REFUSE_SIZE(n) \
	(WIRE_HEADER_SIZE + WIRE_PATH_SIZE + 14 + 8 * (n) + CRYPTO_TAG_SIZE)
#define WIRE_PROVE_SIZE(n) \
	(WIRE_HEADER_SIZE + WIRE_PATH_SIZE + 45 + 12 * (n) + CRYPTO_TAG_SIZE)
#define WIRE_SYNC_MAX 24 /* tracks, of either side */
#define WIRE_PARTS_MAX 8192 /* 163,840 flows in one complete list */

enum wire_type {
	WIRE_INIT = 1,
	WIRE_RETRY = 2,
	WIRE_RESP = 3,
	WIRE_FIN = 4,
	WIRE_FLOWS = 16,
	WIRE_FLOWS_ACK = 17,
	WIRE_FLOW_END = 18,
	WIRE_FLOW_END_ACK = 19,
	WIRE_ADDRS = 20, /* later */
	WIRE_ADDRS_ACK = 21, /* later */
	WIRE_PROBE = 22,
	WIRE_PROBE_ACK = 23,
	WIRE_MOVE = 32,
	WIRE_ACCEPT = 33,
	WIRE_REFUSE = 34,
	WIRE_PROVE = 35,
	WIRE_DONE = 36,
	WIRE_SYNC = 37,
	WIRE_SYNC_ACK = 38,
	WIRE_ASK = 39, /* later */
	WIRE_TELL = 40, /* later */
	WIRE_KEY_NEXT = 41, /* later */
	WIRE_BYE = 42,
	WIRE_HINT = 43, /* later */
};

enum wire_result {
	WIRE_OK,
	WIRE_SHORT, /* ends before its fixed part or a value does */
	WIRE_LONG, /* more than a datagram may have */
	WIRE_TRAILING, /* bytes after the last part */
	WIRE_BAD_VERSION,
	WIRE_NOT_ZERO, /* a field or padding that must be zero is not */
	WIRE_BAD_TYPE, /* no such type, or not here */
	WIRE_RESERVED, /* a type of a later release */
	WIRE_BAD_COUNT, /* more entries than are allowed or left */
	WIRE_BAD_VALUE, /* a field out of its range */
	WIRE_BAD_ADDR, /* unspecified address or port 0 */
	WIRE_CRITICAL, /* an unknown TLV that must be understood */
};

#define WIRE_TLV_CRITICAL 0x80
#define WIRE_TLV_PADDING 0x01 /* zeros; see wire_pad() */

struct wire_header {
	uint8_t type; /* enum wire_type */
	uint32_t index; /* the receiver's; 0 in INIT */
	uint64_t counter; /* 0 in the handshake */
};

/* ---- handshake ------------------------------------------------------ */

struct wire_init {
	uint8_t cookie[WIRE_COOKIE_SIZE]; /* zero where none was asked */
	uint8_t mac1[WIRE_MAC1_SIZE]; /* zero where R is unknown */
	uint8_t noise[WIRE_NOISE_INIT_SIZE];
};

/* Noise payload of INIT: readable by anyone, but bound by the handshake. */
struct wire_init_payload {
	uint16_t version_min;
	uint16_t version_max;
	uint32_t sender_index; /* not 0 */
};

/* Noise payload of RESP and FIN: sealed. */
struct wire_hs_payload {
	uint32_t sender_index; /* not 0; in FIN the same as in INIT */
	uint32_t caps; /* 0 in this version; unknown bits are ignored */
	struct endpoint src; /* of this datagram, as its sender sees it */
	struct endpoint dst;
};

/* ---- transport ------------------------------------------------------ */

enum wire_proof_kind {
	WIRE_PROOF_NONE = 0,
	WIRE_PROOF_TAG = 1, /* of what will go on the flow; "it may come" */
	WIRE_PROOF_RECEIPT = 2, /* what came on the flow */
};

struct wire_proof {
	uint8_t kind; /* enum wire_proof_kind */
	uint8_t nonce[WIRE_NONCE_SIZE]; /* or its tag */
	/* RECEIPT: of the packet as it came; zero where it has none */
	uint32_t seq, ack, tsval, tsecr;
};

/* One of the sender's own tracks, and where it is (place.h). */
struct wire_place {
	uint32_t track;
	uint64_t seq; /* committed */
	struct addr at; /* the locator of that number */
	bool ports; /* its flows have other ports there than by identity */
};

#define WIRE_FLOWS_COMPLETE 0x01 /* what no part names is ended */
#define WIRE_PLACE_PORTS 0x01

struct wire_flow {
	uint64_t flow_id; /* 0: please offer it */
	struct wire_place place;
	uint8_t proto; /* IPPROTO_TCP or IPPROTO_UDP */
	struct endpoint src; /* identity: the sender's end */
	struct endpoint dst;
	struct wire_proof proof;
};

struct wire_flows {
	uint32_t batch;
	uint16_t part; /* 0 .. parts - 1 */
	uint16_t parts; /* 1 .. WIRE_PARTS_MAX */
	uint8_t flags; /* WIRE_FLOWS_COMPLETE */
	uint8_t n;
	struct wire_flow flow[WIRE_FLOWS_MAX];
};

struct wire_flow_ack {
	uint64_t flow_id;
	struct wire_place place;
	uint8_t reason; /* enum reason; 0 = confirmed */
	struct wire_proof proof;
};

struct wire_flows_ack {
	uint32_t batch; /* those of the FLOWS that is answered */
	uint16_t part;
	uint16_t parts;
	uint8_t n;
	struct wire_flow_ack flow[WIRE_FLOWS_ACK_MAX];
};

struct wire_flow_end { /* FLOW_END, FLOW_END_ACK */
	uint8_t n;
	uint64_t flow_id[WIRE_FLOW_END_MAX];
};

struct wire_probe { /* PROBE, PROBE_ACK */
	uint8_t token[WIRE_PROBE_SIZE];
};

/* `track` in all that follow is the mover's number. */

#define WIRE_MOVE_FROM_GONE 0x01

struct wire_move_port {
	uint64_t flow_id;
	uint16_t port; /* M's new wire port, not 0 */
};

struct wire_move {
	uint32_t track;
	uint64_t seq;
	struct addr from;
	struct addr to;
	uint8_t flags; /* WIRE_MOVE_FROM_GONE */
	uint32_t count; /* flows of the track */
	uint8_t digest[WIRE_DIGEST_SIZE]; /* XOR of BLAKE2b-128(id be64) */
	uint16_t part;
	uint16_t parts;
	uint8_t n;
	struct wire_move_port port[WIRE_MOVE_MAX];
};

struct wire_refused {
	uint64_t flow_id;
	uint8_t reason; /* enum reason */
};

struct wire_accept {
	uint32_t track;
	uint64_t seq;
	uint8_t challenge[WIRE_CHALLENGE_SIZE];
	uint16_t lease_s;
	uint8_t n;
	struct wire_refused refused[WIRE_ACCEPT_MAX];
};

struct wire_refuse {
	uint32_t track;
	uint64_t seq;
	uint8_t reason; /* enum reason */
	uint8_t n;
	uint64_t flow_id[WIRE_REFUSE_MAX];
};

struct wire_rcv_nxt {
	uint64_t flow_id;
	uint32_t rcv_nxt; /* M's = P's snd_una */
};

struct wire_prove {
	uint32_t track;
	uint64_t seq;
	uint8_t challenge[WIRE_CHALLENGE_SIZE];
	struct addr to;
	uint8_t n;
	struct wire_rcv_nxt flow[WIRE_PROVE_MAX];
};

struct wire_done {
	uint32_t track;
	uint64_t seq;
};

struct wire_sync_own {
	uint32_t track; /* sender's own */
	uint64_t seq; /* committed */
	struct addr locator;
};

struct wire_sync_theirs {
	uint32_t track; /* receiver's own */
	uint64_t committed;
};

struct wire_sync { /* SYNC, SYNC_ACK */
	uint8_t n_own;
	struct wire_sync_own own[WIRE_SYNC_MAX];
	uint8_t n_theirs;
	struct wire_sync_theirs theirs[WIRE_SYNC_MAX];
	uint32_t flow_count; /* owned in common with the receiver */
	uint8_t digest[WIRE_DIGEST_SIZE];
};

struct wire_bye {
	uint8_t reason; /* enum reason */
};

/* About 4 KiB: mind the stack. Never in an array. */
struct wire_message {
	uint8_t type; /* enum wire_type, from 16 */
	/* Not on the wire: of two that came from one peer, which was sent
	 * later? The one with the higher number; its session knows. */
	uint64_t sent_order;
	struct endpoint src; /* as the sender sees them */
	struct endpoint dst;
	union {
		struct wire_flows flows;
		struct wire_flows_ack flows_ack;
		struct wire_flow_end flow_end;
		struct wire_probe probe;
		struct wire_move move;
		struct wire_accept accept;
		struct wire_refuse refuse;
		struct wire_prove prove;
		struct wire_done done;
		struct wire_sync sync;
		struct wire_bye bye;
	};
};

/* ---- functions ------------------------------------------------------ */

void wire_encode_header(const struct wire_header *h,
			uint8_t to[WIRE_HEADER_SIZE]);
/* Checks the first 16 bytes of a datagram of `len` bytes: version, zero,
 * known type, length within what the type allows. WIRE_RESERVED still fills
 * `h`: such a frame is opened (to count it) and ignored. */
enum wire_result wire_decode_header(const uint8_t *data, size_t len,
				    struct wire_header *h);
bool wire_type_is_handshake(uint8_t type);

/* Whole datagrams, header included; encoders write exactly WIRE_*_SIZE.
 * INIT: index 0. RETRY: index = the initiator's. RESP: the initiator's.
 * FIN: the responder's. mac1 is set afterwards: cookie_mac1_set(). */
void wire_encode_init(const struct wire_init *m, uint8_t to[WIRE_INIT_SIZE]);
enum wire_result wire_decode_init(const uint8_t *data, size_t len,
				  struct wire_init *m);
void wire_encode_retry(uint32_t index, const uint8_t cookie[WIRE_COOKIE_SIZE],
		       uint8_t to[WIRE_RETRY_SIZE]);
enum wire_result wire_decode_retry(const uint8_t *data, size_t len,
				   uint32_t *index,
				   uint8_t cookie[WIRE_COOKIE_SIZE]);
void wire_encode_resp(uint32_t index,
		      const uint8_t noise[WIRE_NOISE_RESP_SIZE],
		      uint8_t to[WIRE_RESP_SIZE]);
/* *noise points into `data`, WIRE_NOISE_RESP_SIZE bytes. */
enum wire_result wire_decode_resp(const uint8_t *data, size_t len,
				  uint32_t *index, const uint8_t **noise);
void wire_encode_fin(uint32_t index, const uint8_t noise[WIRE_NOISE_FIN_SIZE],
		     uint8_t to[WIRE_FIN_SIZE]);
enum wire_result wire_decode_fin(const uint8_t *data, size_t len,
				 uint32_t *index, const uint8_t **noise);

/* Noise payloads. */
void wire_encode_init_payload(const struct wire_init_payload *p,
			      uint8_t to[WIRE_INIT_PAYLOAD_SIZE]);
/* Also refuses min > max and a zero index. Whether WIRE_VERSION is in the
 * range is for the caller to ask. */
enum wire_result wire_decode_init_payload(const uint8_t *data, size_t len,
					  struct wire_init_payload *p);
void wire_encode_hs_payload(const struct wire_hs_payload *p,
			    uint8_t to[WIRE_HS_PAYLOAD_SIZE]);
enum wire_result wire_decode_hs_payload(const uint8_t *data, size_t len,
					struct wire_hs_payload *p);

/*
 * Transport plaintext (src, dst, body; TLVs by wire_pad()). Encoding fails
 * by -EMSGSIZE (does not fit into `w`: give it WIRE_PLAIN_MAX bytes) or
 * -EINVAL (a count over its bound, a value that no decoder would take).
 */
int wire_encode_message(const struct wire_message *m, struct buf_writer *w);
/* Appends padding TLVs until at least `size` bytes are written (one more
 * where it cannot be exact): ACCEPT may never be larger than its MOVE, so a
 * mover pads MOVE to leave room for refusals. 0 or -EMSGSIZE. */
int wire_pad(struct buf_writer *w, size_t size);
/* `m` is zeroed first: equal messages are equal bytes. Reserved types give
 * WIRE_RESERVED, handshake types WIRE_BAD_TYPE. */
enum wire_result wire_decode_message(uint8_t type, const uint8_t *plain,
				     size_t len, struct wire_message *m);

/* What every address and endpoint on the wire must be: set, not 0.0.0.0 or
 * ::, port not 0. */
bool wire_addr_is_valid(const struct addr *a);
bool wire_endpoint_is_valid(const struct endpoint *e);

/* "MOVE"; "?" where there is no such type. */
const char *wire_type_name(uint8_t type);
/* "short", "bad_count", ...; for logs. */
const char *wire_result_name(enum wire_result r);

#endif
