/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crypto: the primitives, and the only user of libsodium.
 *
 * Owns which algorithms there are and how a counter becomes a nonce. Never
 * keeps a key between calls.
 */
#include "crypto.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

#define HMAC_BLOCK 128 /* BLAKE2b's block, RFC 7693, section 2.1 */

_Static_assert(CRYPTO_KEY_SIZE == crypto_scalarmult_BYTES &&
	       CRYPTO_KEY_SIZE == crypto_aead_chacha20poly1305_ietf_KEYBYTES,
	       "one size for all keys");
_Static_assert(CRYPTO_TAG_SIZE == crypto_aead_chacha20poly1305_ietf_ABYTES,
	       "Poly1305");

int crypto_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

void crypto_random(void *to, size_t len)
{
	randombytes_buf(to, len);
}

uint32_t crypto_random_u32(void)
{
	return randombytes_random();
}

void crypto_wipe(void *p, size_t len)
{
	sodium_memzero(p, len);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

void crypto_keypair_from_private(struct crypto_keypair *kp,
				 const uint8_t private_key[CRYPTO_KEY_SIZE])
{
	memmove(kp->private_key, private_key, CRYPTO_KEY_SIZE);
	/* Fails for points of small order only, and the base is none. */
	(void)!crypto_scalarmult_base(kp->public_key, kp->private_key);
}

void crypto_keypair_generate(struct crypto_keypair *kp)
{
	uint8_t private_key[CRYPTO_KEY_SIZE];

	crypto_random(private_key, sizeof private_key);
	crypto_keypair_from_private(kp, private_key);
	crypto_wipe(private_key, sizeof private_key);
}

int crypto_dh(const uint8_t private_key[CRYPTO_KEY_SIZE],
	      const uint8_t public_key[CRYPTO_KEY_SIZE],
	      uint8_t shared[CRYPTO_KEY_SIZE])
{
	/* libsodium refuses keys of small order by a list and the all-zero
	 * result; our own look at the result does not rest on its version. */
	if (crypto_scalarmult(shared, private_key, public_key) ||
	    sodium_is_zero(shared, CRYPTO_KEY_SIZE)) {
		crypto_wipe(shared, CRYPTO_KEY_SIZE);
		return -EBADMSG;
	}
	return 0;
}

static void make_nonce(uint64_t counter,
		       uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
	memset(nonce, 0, 4);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(counter >> 8 * i);
}

void crypto_seal(const uint8_t key[CRYPTO_KEY_SIZE], uint64_t counter,
		 const void *ad, size_t ad_len, const uint8_t *plain,
		 size_t len, uint8_t *out)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

	make_nonce(counter, nonce);
	/* Cannot fail: the only limit is 256 GiB for one message. */
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, len, ad,
						  ad_len, NULL, nonce, key);
}

int crypto_open(const uint8_t key[CRYPTO_KEY_SIZE], uint64_t counter,
		const void *ad, size_t ad_len, const uint8_t *sealed,
		size_t len, uint8_t *out)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

	if (len < CRYPTO_TAG_SIZE)
		return -EBADMSG;
	make_nonce(counter, nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed,
						      len, ad, ad_len, nonce,
						      key))
		return -EBADMSG;
	return 0;
}

void crypto_blake2b(uint8_t *out, size_t out_len, const uint8_t *key,
		    size_t key_len, const struct crypto_part *parts,
		    size_t n_parts)
{
	crypto_generichash_blake2b_state state;

	/* The library's stated minimum is 16, what it takes is RFC 7693's:
	 * t_crypto would notice if that ever changed. */
	assert(out_len > 0);
	assert(out_len <= crypto_generichash_blake2b_BYTES_MAX);
	assert(key_len == 0 ||
	       key_len >= crypto_generichash_blake2b_KEYBYTES_MIN);
	assert(key_len <= crypto_generichash_blake2b_KEYBYTES_MAX);

	crypto_generichash_blake2b_init(&state, key_len ? key : NULL, key_len,
					out_len);
	for (size_t i = 0; i < n_parts; i++)
		crypto_generichash_blake2b_update(&state, parts[i].data,
						  parts[i].len);
	crypto_generichash_blake2b_final(&state, out, out_len);
	crypto_wipe(&state, sizeof state);
}

void crypto_hmac(const uint8_t *key, size_t key_len,
		 const struct crypto_part *parts, size_t n_parts,
		 uint8_t out[CRYPTO_HASH_SIZE])
{
	crypto_generichash_blake2b_state state;
	uint8_t pad[HMAC_BLOCK] = { 0 };

	assert(key_len <= HMAC_BLOCK);
	if (key_len)
		memcpy(pad, key, key_len);
	for (size_t i = 0; i < sizeof pad; i++)
		pad[i] ^= 0x36;
	crypto_generichash_blake2b_init(&state, NULL, 0, CRYPTO_HASH_SIZE);
	crypto_generichash_blake2b_update(&state, pad, sizeof pad);
	for (size_t i = 0; i < n_parts; i++)
		crypto_generichash_blake2b_update(&state, parts[i].data,
						  parts[i].len);
	crypto_generichash_blake2b_final(&state, out, CRYPTO_HASH_SIZE);

	for (size_t i = 0; i < sizeof pad; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	crypto_generichash_blake2b_init(&state, NULL, 0, CRYPTO_HASH_SIZE);
	crypto_generichash_blake2b_update(&state, pad, sizeof pad);
	crypto_generichash_blake2b_update(&state, out, CRYPTO_HASH_SIZE);
	crypto_generichash_blake2b_final(&state, out, CRYPTO_HASH_SIZE);
	crypto_wipe(&state, sizeof state);
	crypto_wipe(pad, sizeof pad);
}

uint64_t crypto_short_hash(const uint8_t key[CRYPTO_SHORT_KEY_SIZE],
			   const void *data, size_t len)
{
	uint64_t hash;

	static_assert(crypto_shorthash_BYTES == sizeof(hash),
		      "one word of hash");
	static_assert(crypto_shorthash_KEYBYTES == CRYPTO_SHORT_KEY_SIZE,
		      "key of SipHash");
	crypto_shorthash((unsigned char *)&hash, data, len, key);
	return hash;
}

void crypto_hkdf(const uint8_t chaining_key[CRYPTO_HASH_SIZE],
		 const uint8_t *input, size_t input_len,
		 uint8_t out1[CRYPTO_HASH_SIZE],
		 uint8_t out2[CRYPTO_HASH_SIZE],
		 uint8_t out3[CRYPTO_HASH_SIZE])
{
	static const uint8_t count[3] = { 1, 2, 3 };
	uint8_t temp[CRYPTO_HASH_SIZE];
	/* `temp` is made first: out1 may be the chaining key itself. */
	const struct crypto_part extract = { input, input_len };
	const struct crypto_part first = { &count[0], 1 };
	const struct crypto_part second[2] = { { out1, CRYPTO_HASH_SIZE },
					       { &count[1], 1 } };
	const struct crypto_part third[2] = { { out2, CRYPTO_HASH_SIZE },
					      { &count[2], 1 } };

	crypto_hmac(chaining_key, CRYPTO_HASH_SIZE, &extract, 1, temp);
	crypto_hmac(temp, sizeof temp, &first, 1, out1);
	crypto_hmac(temp, sizeof temp, second, 2, out2);
	if (out3)
		crypto_hmac(temp, sizeof temp, third, 2, out3);
	crypto_wipe(temp, sizeof temp);
}

void crypto_key_to_text(const uint8_t key[CRYPTO_KEY_SIZE],
			char to[CRYPTO_KEY_TEXT_SIZE])
{
	sodium_bin2base64(to, CRYPTO_KEY_TEXT_SIZE, key, CRYPTO_KEY_SIZE,
			  sodium_base64_VARIANT_ORIGINAL);
}

int crypto_key_from_text(const char *text, uint8_t key[CRYPTO_KEY_SIZE])
{
	uint8_t out[CRYPTO_KEY_SIZE];
	size_t len = 0;
	int err = 0;

	if (strlen(text) != CRYPTO_KEY_TEXT_SIZE - 1 ||
	    sodium_base642bin(out, sizeof out, text, CRYPTO_KEY_TEXT_SIZE - 1,
			      NULL, &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL) ||
	    len != sizeof out)
		err = -EINVAL;
	else
		memcpy(key, out, sizeof out);
	crypto_wipe(out, sizeof out); /* a private key is read so too */
	return err;
}

void crypto_fingerprint(const uint8_t public_key[CRYPTO_KEY_SIZE],
			char to[CRYPTO_FINGERPRINT_SIZE])
{
	const struct crypto_part part = { public_key, CRYPTO_KEY_SIZE };
	uint8_t hash[32];

	crypto_blake2b(hash, sizeof hash, NULL, 0, &part, 1);
	memcpy(to, "B2:", 3);
	sodium_bin2base64(to + 3, CRYPTO_FINGERPRINT_SIZE - 3, hash,
			  sizeof hash,
			  sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}
