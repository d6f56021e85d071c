/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * noise: the handshake Noise_XX_25519_ChaChaPoly_BLAKE2b (Noise rev. 34).
 *
 *	initiator                      responder
 *	noise_init_create  --- e ----> noise_init_consume
 *	noise_resp_consume <-- e,ee,s,es noise_resp_create
 *	noise_fin_create   --- s,se -> noise_fin_consume
 *	noise_split                    noise_split
 *
 * Owns the symmetric state and the order of messages. Pure: ephemerals are
 * arguments. Never judges a static key (the caller does, between consume
 * and the next create), never sees an address or a datagram header.
 *
 * Every verb works on a copy and commits it after its last check: what is
 * refused changes nothing, and the same state may try the next datagram.
 */
#ifndef SACIPED_NOISE_H
#define SACIPED_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto.h"

/* What each message adds to its payload. */
#define NOISE_INIT_OVERHEAD 32 /* e; payload in clear, but bound */
#define NOISE_RESP_OVERHEAD 96 /* e, s sealed, payload sealed */
#define NOISE_FIN_OVERHEAD 64 /* s sealed, payload sealed */
#define NOISE_PAYLOAD_MAX 1024

/* SACIP's prologue: these 5 bytes and the protocol version. */
#define NOISE_PROLOGUE "SACIP"

enum noise_result {
	NOISE_OK,
	NOISE_ORDER, /* not this verb's turn, or not this role's */
	NOISE_LENGTH, /* message too short, payload or output too long */
	NOISE_DH, /* a public key of small order */
	NOISE_DECRYPT, /* not authentic */
	NOISE_SELF, /* the other's static key is our own */
};

enum noise_stage {
	NOISE_BEGUN,
	NOISE_INIT_DONE,
	NOISE_RESP_DONE,
	NOISE_FIN_DONE,
};

/* Plain memory: copy, move and wipe it whole (noise_wipe()). Only these are
 * for callers to read: `remote_static`, after the verb that yields it
 * (resp_consume at the initiator, fin_consume at the responder); and `hash`,
 * which is public and the same at both ends after each message. */
struct noise_handshake {
	uint8_t hash[CRYPTO_HASH_SIZE];
	uint8_t chaining_key[CRYPTO_HASH_SIZE];
	uint8_t key[CRYPTO_KEY_SIZE];
	uint64_t nonce;
	struct crypto_keypair own_static;
	struct crypto_keypair own_ephemeral;
	uint8_t remote_static[CRYPTO_KEY_SIZE];
	uint8_t remote_ephemeral[CRYPTO_KEY_SIZE];
	enum noise_stage stage;
	bool initiator;
	bool keyed; /* `key` is set */
};

struct noise_keys {
	uint8_t send[CRYPTO_KEY_SIZE];
	uint8_t receive[CRYPTO_KEY_SIZE];
	uint8_t hash[CRYPTO_HASH_SIZE]; /* names this handshake, public */
	uint8_t remote_static[CRYPTO_KEY_SIZE];
};

/* Starts anew whatever was in `hs`; copies the static key pair. `prologue`
 * is any context both ends must agree on. */
void noise_begin(struct noise_handshake *hs, bool initiator,
		 const void *prologue, size_t prologue_len,
		 const struct crypto_keypair *own_static);
/* noise_begin() with SACIP's prologue for that protocol version. */
void noise_begin_sacip(struct noise_handshake *hs, bool initiator,
		       uint8_t version,
		       const struct crypto_keypair *own_static);

/*
 * create: writes payload_len + overhead bytes to `out` (which has at least
 * that) and sets *out_len. `ephemeral` is a fresh private key, 32 random
 * bytes, used for this handshake alone.
 * consume: takes a message of exactly `len` bytes, writes its payload
 * (len - overhead bytes) to `payload`, and sets *payload_len; refuses where
 * that is more than payload_size. On any result but NOISE_OK `out` and
 * `payload` are undefined or wiped and the state is as before.
 */
enum noise_result noise_init_create(struct noise_handshake *hs,
				    const uint8_t ephemeral[CRYPTO_KEY_SIZE],
				    const uint8_t *payload, size_t payload_len,
				    uint8_t *out, size_t out_size,
				    size_t *out_len);
enum noise_result noise_init_consume(struct noise_handshake *hs,
				     const uint8_t *msg, size_t len,
				     uint8_t *payload, size_t payload_size,
				     size_t *payload_len);
enum noise_result noise_resp_create(struct noise_handshake *hs,
				    const uint8_t ephemeral[CRYPTO_KEY_SIZE],
				    const uint8_t *payload, size_t payload_len,
				    uint8_t *out, size_t out_size,
				    size_t *out_len);
enum noise_result noise_resp_consume(struct noise_handshake *hs,
				     const uint8_t *msg, size_t len,
				     uint8_t *payload, size_t payload_size,
				     size_t *payload_len);
enum noise_result noise_fin_create(struct noise_handshake *hs,
				   const uint8_t *payload, size_t payload_len,
				   uint8_t *out, size_t out_size,
				   size_t *out_len);
enum noise_result noise_fin_consume(struct noise_handshake *hs,
				    const uint8_t *msg, size_t len,
				    uint8_t *payload, size_t payload_size,
				    size_t *payload_len);

/* After the third message; wipes `hs`. NOISE_ORDER before. */
enum noise_result noise_split(struct noise_handshake *hs,
			      struct noise_keys *keys);
void noise_wipe(struct noise_handshake *hs);
/* "decrypt", ...; for logs. */
const char *noise_result_name(enum noise_result r);

#endif
