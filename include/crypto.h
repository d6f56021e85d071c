/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crypto: the primitives, and the only user of libsodium.
 *
 * Owns which algorithms there are and how a counter becomes a nonce. Never
 * keeps a key, never chooses what is signed or sealed. All functions are
 * total: for arguments of the stated sizes they return, and where a result
 * can be bad they say so; outputs are wiped or zero on failure.
 */
#ifndef SACIPED_CRYPTO_H
#define SACIPED_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPTO_KEY_SIZE 32 /* X25519 and ChaCha20-Poly1305 alike */
#define CRYPTO_TAG_SIZE 16
#define CRYPTO_HASH_SIZE 64 /* BLAKE2b-512 */
#define CRYPTO_MAC_SIZE 16
#define CRYPTO_HASH_PARTS_MAX 4
#define CRYPTO_SHORT_KEY_SIZE 16
/* base64 with padding and NUL: 44 + 1 */
#define CRYPTO_KEY_TEXT_SIZE 45
/* "B2:" and base64 without padding (43), NUL */
#define CRYPTO_FINGERPRINT_SIZE 47

struct crypto_keypair {
	uint8_t private_key[CRYPTO_KEY_SIZE];
	uint8_t public_key[CRYPTO_KEY_SIZE];
};

/* A piece of what is hashed; `data` may be NULL where `len` is 0. */
struct crypto_part {
	const void *data;
	size_t len;
};

/* Once, before anything else, from main(); 0 or -EIO where the system has
 * no randomness to give. */
int crypto_init(void);

void crypto_random(void *to, size_t len);
uint32_t crypto_random_u32(void);
/* Not removed by the compiler. */
void crypto_wipe(void *p, size_t len);
/* In constant time for a given `len`. */
bool crypto_equal(const void *a, const void *b, size_t len);

/* The public key of a private one; RFC 7748 (clamping at use). */
void crypto_keypair_from_private(struct crypto_keypair *kp,
				 const uint8_t private_key[CRYPTO_KEY_SIZE]);
void crypto_keypair_generate(struct crypto_keypair *kp);
/* 0; -EBADMSG where the result is all zero (RFC 7748, 6.1: a public key of
 * small order), `shared` is zero then. */
int crypto_dh(const uint8_t private_key[CRYPTO_KEY_SIZE],
	      const uint8_t public_key[CRYPTO_KEY_SIZE],
	      uint8_t shared[CRYPTO_KEY_SIZE]);

/*
 * ChaCha20-Poly1305 (RFC 8439), nonce = 4 zero bytes, then the counter as 8
 * bytes little-endian (Noise, section 12.3). `out` of seal holds len + 16
 * bytes; `out` of open len - 16. In place (out == in) is fine.
 * A key never seals twice under one counter: that is the caller's duty.
 */
void crypto_seal(const uint8_t key[CRYPTO_KEY_SIZE], uint64_t counter,
		 const void *ad, size_t ad_len, const uint8_t *plain,
		 size_t len, uint8_t *out);
/* 0; -EBADMSG where it is not authentic or shorter than a tag: `out` is
 * then untouched or zero. */
int crypto_open(const uint8_t key[CRYPTO_KEY_SIZE], uint64_t counter,
		const void *ad, size_t ad_len, const uint8_t *sealed,
		size_t len, uint8_t *out);

/* BLAKE2b (RFC 7693) over the parts in turn: out_len 1 to 64 (it is hashed
 * too: a short one is not the head of a longer one), key_len 0 (not keyed)
 * or 16 to 64; other lengths are a bug and end in assert(). */
void crypto_blake2b(uint8_t *out, size_t out_len, const uint8_t *key,
		    size_t key_len, const struct crypto_part *parts,
		    size_t n_parts);
/* HMAC-BLAKE2b-512, block 128 (RFC 2104): what Noise builds HKDF from. It
 * is not BLAKE2b's own keyed mode. key_len <= 128. */
void crypto_hmac(const uint8_t *key, size_t key_len,
		 const struct crypto_part *parts, size_t n_parts,
		 uint8_t out[CRYPTO_HASH_SIZE]);
/* HKDF of Noise, section 4.3, with 2 or 3 outputs of 64 bytes; out3 may be
 * NULL. The first two do not depend on whether the third is asked for. */
void crypto_hkdf(const uint8_t chaining_key[CRYPTO_HASH_SIZE],
		 const uint8_t *input, size_t input_len,
		 uint8_t out1[CRYPTO_HASH_SIZE],
		 uint8_t out2[CRYPTO_HASH_SIZE],
		 uint8_t out3[CRYPTO_HASH_SIZE]);

/* SipHash-2-4: fast, and no collisions for who lacks the key. For tables, not
 * for messages. */
uint64_t crypto_short_hash(const uint8_t key[CRYPTO_SHORT_KEY_SIZE],
			   const void *data, size_t len);

/* Standard alphabet, padded: 44 characters, as in `peers` and `key`. */
void crypto_key_to_text(const uint8_t key[CRYPTO_KEY_SIZE],
			char to[CRYPTO_KEY_TEXT_SIZE]);
/* 0 or -EINVAL: anything but 44 characters that encode 32 bytes. */
int crypto_key_from_text(const char *text, uint8_t key[CRYPTO_KEY_SIZE]);
/* "B2:" and the unpadded base64 of BLAKE2b-256 of the public key: 46
 * characters, in the style of OpenSSH's "SHA256:...". */
void crypto_fingerprint(const uint8_t public_key[CRYPTO_KEY_SIZE],
			char to[CRYPTO_FINGERPRINT_SIZE]);

#endif
