/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cookie: what a responder under load asks for before it computes anything,
 * and mac1, by which a host that has met us is told from a scanner.
 *
 * Owns the two rotating secrets and both MACs. Keeps nothing per source.
 * Pure: time and random bytes are arguments. Never decides whether there is
 * load, or whether a source may speak.
 */
#ifndef SACIPED_COOKIE_H
#define SACIPED_COOKIE_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "crypto.h"
#include "wire.h"

#define COOKIE_SECRET_SIZE 32
#define COOKIE_SECRET_LIFE_MS 120000 /* a cookie is good for 2 to 4 min */

struct cookie_jar {
	/* [0] makes and checks, [1] (the one before) checks only */
	uint8_t secret[2][COOKIE_SECRET_SIZE];
	uint64_t made_ms[2];
	bool set[2];
};

/* Is a (first or next) secret wanted? Ask before cookie_make(). */
bool cookie_rotate_due(const struct cookie_jar *jar, uint64_t now_ms);
/* `fresh`: random bytes. A zeroed jar is a new one. */
void cookie_rotate(struct cookie_jar *jar, uint64_t now_ms,
		   const uint8_t fresh[COOKIE_SECRET_SIZE]);
/* The cookie for an INIT from `source` with that sender index and ephemeral
 * public key, so that it is good for one handshake: BLAKE2b-128 keyed with the
 * secret, over address (16, mapped), port, index and key. 0, or -EAGAIN while
 * cookie_rotate_due(). */
int cookie_make(const struct cookie_jar *jar, uint64_t now_ms,
		const struct endpoint *source, uint32_t sender_index,
		const uint8_t ephemeral[CRYPTO_KEY_SIZE],
		uint8_t cookie[WIRE_COOKIE_SIZE]);
/* Of this source, index and key, and not past its time? Constant time. */
bool cookie_is_valid(const struct cookie_jar *jar, uint64_t now_ms,
		     const struct endpoint *source, uint32_t sender_index,
		     const uint8_t ephemeral[CRYPTO_KEY_SIZE],
		     const uint8_t cookie[WIRE_COOKIE_SIZE]);
void cookie_wipe(struct cookie_jar *jar);

/* BLAKE2b-256("sacip mac1" || the responder's static public key). */
void cookie_mac1_key(const uint8_t responder_static[CRYPTO_KEY_SIZE],
		     uint8_t key[CRYPTO_KEY_SIZE]);
/* BLAKE2b-128 with that key over a whole INIT datagram without its cookie
 * and mac1 fields: bytes 0 to 15, then 48 to the end. */
void cookie_mac1(const uint8_t key[CRYPTO_KEY_SIZE],
		 const uint8_t init[WIRE_INIT_SIZE],
		 uint8_t mac1[WIRE_MAC1_SIZE]);
/* Writes it into an encoded INIT. */
void cookie_mac1_set(const uint8_t key[CRYPTO_KEY_SIZE],
		     uint8_t init[WIRE_INIT_SIZE]);
/* Constant time; a zero mac1 is no mac1. */
bool cookie_mac1_is_valid(const uint8_t key[CRYPTO_KEY_SIZE],
			  const uint8_t init[WIRE_INIT_SIZE]);

#endif
