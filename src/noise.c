/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * noise: the handshake Noise_XX_25519_ChaChaPoly_BLAKE2b.
 *
 * Owns the symmetric state (chaining key, hash, key, nonce) and the order
 * of tokens; names follow the Noise specification, revision 34, section 5.
 * Never draws random bytes, never judges a static key.
 *
 * Each verb copies the state, works on the copy, and puts it back after its
 * last check; its one exit wipes the copy.
 */
#include "noise.h"

#include <string.h>

static const char protocol_name[] = "Noise_XX_25519_ChaChaPoly_BLAKE2b";
_Static_assert(sizeof protocol_name - 1 <= CRYPTO_HASH_SIZE,
	       "the name itself is the first hash");

#define SEALED_KEY_SIZE (CRYPTO_KEY_SIZE + CRYPTO_TAG_SIZE)

/* ---- symmetric state ------------------------------------------------ */

static void mix_hash(struct noise_handshake *hs, const void *data, size_t len)
{
	const struct crypto_part parts[2] = {
		{ hs->hash, sizeof hs->hash },
		{ data, len },
	};

	crypto_blake2b(hs->hash, sizeof hs->hash, NULL, 0, parts, 2);
}

static void mix_key(struct noise_handshake *hs,
		    const uint8_t input[CRYPTO_KEY_SIZE])
{
	uint8_t temp[CRYPTO_HASH_SIZE];

	crypto_hkdf(hs->chaining_key, input, CRYPTO_KEY_SIZE,
		    hs->chaining_key, temp, NULL);
	/* HASHLEN is 64: a cipher key is its first half (section 5.2). */
	memcpy(hs->key, temp, sizeof hs->key);
	hs->nonce = 0;
	hs->keyed = true;
	crypto_wipe(temp, sizeof temp);
}

static enum noise_result mix_dh(struct noise_handshake *hs,
				const struct crypto_keypair *own,
				const uint8_t theirs[CRYPTO_KEY_SIZE])
{
	uint8_t shared[CRYPTO_KEY_SIZE];

	if (crypto_dh(own->private_key, theirs, shared))
		return NOISE_DH;
	mix_key(hs, shared);
	crypto_wipe(shared, sizeof shared);
	return NOISE_OK;
}

/* Writes `len` bytes, and a tag once there is a key. Returns the length. */
static size_t encrypt_and_hash(struct noise_handshake *hs,
			       const uint8_t *plain, size_t len, uint8_t *out)
{
	if (hs->keyed) {
		crypto_seal(hs->key, hs->nonce++, hs->hash, sizeof hs->hash,
			    plain, len, out);
		len += CRYPTO_TAG_SIZE;
	} else if (len) {
		memcpy(out, plain, len);
	}
	mix_hash(hs, out, len);
	return len;
}

/* `len` counts the tag where there is a key; `out` gets the plain bytes. */
static enum noise_result decrypt_and_hash(struct noise_handshake *hs,
					  const uint8_t *data, size_t len,
					  uint8_t *out)
{
	if (!hs->keyed) {
		if (len)
			memcpy(out, data, len);
	} else if (crypto_open(hs->key, hs->nonce, hs->hash, sizeof hs->hash,
			       data, len, out)) {
		return NOISE_DECRYPT;
	} else {
		hs->nonce++;
	}
	mix_hash(hs, data, len);
	return NOISE_OK;
}

/* ---- life ----------------------------------------------------------- */

void noise_begin(struct noise_handshake *hs, bool initiator,
		 const void *prologue, size_t prologue_len,
		 const struct crypto_keypair *own_static)
{
	memset(hs, 0, sizeof *hs);
	memcpy(hs->hash, protocol_name, sizeof protocol_name - 1);
	memcpy(hs->chaining_key, hs->hash, sizeof hs->chaining_key);
	hs->own_static = *own_static;
	hs->initiator = initiator;
	hs->stage = NOISE_BEGUN;
	mix_hash(hs, prologue, prologue_len);
}

void noise_begin_sacip(struct noise_handshake *hs, bool initiator,
		       uint8_t version,
		       const struct crypto_keypair *own_static)
{
	uint8_t prologue[sizeof NOISE_PROLOGUE];

	/* The version takes the place of the string's NUL. */
	memcpy(prologue, NOISE_PROLOGUE, sizeof prologue);
	prologue[sizeof prologue - 1] = version;
	noise_begin(hs, initiator, prologue, sizeof prologue, own_static);
}

void noise_wipe(struct noise_handshake *hs)
{
	crypto_wipe(hs, sizeof *hs);
}

/* May this role do `stage` + 1 now, and do the sizes fit? */
static enum noise_result may_create(const struct noise_handshake *hs,
				    bool initiator, enum noise_stage stage,
				    size_t overhead, size_t payload_len,
				    size_t out_size)
{
	if (hs->initiator != initiator || hs->stage != stage)
		return NOISE_ORDER;
	if (payload_len > NOISE_PAYLOAD_MAX ||
	    out_size < overhead + payload_len)
		return NOISE_LENGTH;
	return NOISE_OK;
}

static enum noise_result may_consume(const struct noise_handshake *hs,
				     bool initiator, enum noise_stage stage,
				     size_t overhead, size_t len,
				     size_t payload_size)
{
	if (hs->initiator != initiator || hs->stage != stage)
		return NOISE_ORDER;
	if (len < overhead || len - overhead > NOISE_PAYLOAD_MAX ||
	    len - overhead > payload_size)
		return NOISE_LENGTH;
	return NOISE_OK;
}

/* The end of every verb: commit if all went well, wipe the copy. */
static enum noise_result finish(struct noise_handshake *hs,
				struct noise_handshake *next,
				enum noise_stage stage,
				enum noise_result result)
{
	if (result == NOISE_OK) {
		next->stage = stage;
		*hs = *next;
	}
	crypto_wipe(next, sizeof *next);
	return result;
}

/* ---- -> e ------------------------------------------------------------ */

enum noise_result noise_init_create(struct noise_handshake *hs,
				    const uint8_t ephemeral[CRYPTO_KEY_SIZE],
				    const uint8_t *payload, size_t payload_len,
				    uint8_t *out, size_t out_size,
				    size_t *out_len)
{
	struct noise_handshake next = *hs;
	enum noise_result result;

	result = may_create(hs, true, NOISE_BEGUN, NOISE_INIT_OVERHEAD,
			    payload_len, out_size);
	if (result)
		goto out;
	crypto_keypair_from_private(&next.own_ephemeral, ephemeral);
	memcpy(out, next.own_ephemeral.public_key, CRYPTO_KEY_SIZE);
	mix_hash(&next, out, CRYPTO_KEY_SIZE);
	*out_len = CRYPTO_KEY_SIZE;
	*out_len += encrypt_and_hash(&next, payload, payload_len,
				     out + *out_len);
out:
	return finish(hs, &next, NOISE_INIT_DONE, result);
}

enum noise_result noise_init_consume(struct noise_handshake *hs,
				     const uint8_t *msg, size_t len,
				     uint8_t *payload, size_t payload_size,
				     size_t *payload_len)
{
	struct noise_handshake next = *hs;
	enum noise_result result;

	result = may_consume(hs, false, NOISE_BEGUN, NOISE_INIT_OVERHEAD, len,
			     payload_size);
	if (result)
		goto out;
	memcpy(next.remote_ephemeral, msg, CRYPTO_KEY_SIZE);
	mix_hash(&next, msg, CRYPTO_KEY_SIZE);
	result = decrypt_and_hash(&next, msg + CRYPTO_KEY_SIZE,
				  len - CRYPTO_KEY_SIZE, payload);
	*payload_len = len - NOISE_INIT_OVERHEAD;
out:
	return finish(hs, &next, NOISE_INIT_DONE, result);
}

/* ---- <- e, ee, s, es -------------------------------------------------- */

enum noise_result noise_resp_create(struct noise_handshake *hs,
				    const uint8_t ephemeral[CRYPTO_KEY_SIZE],
				    const uint8_t *payload, size_t payload_len,
				    uint8_t *out, size_t out_size,
				    size_t *out_len)
{
	struct noise_handshake next = *hs;
	enum noise_result result;
	size_t at = CRYPTO_KEY_SIZE;

	result = may_create(hs, false, NOISE_INIT_DONE, NOISE_RESP_OVERHEAD,
			    payload_len, out_size);
	if (result)
		goto out;
	crypto_keypair_from_private(&next.own_ephemeral, ephemeral);
	memcpy(out, next.own_ephemeral.public_key, CRYPTO_KEY_SIZE);
	mix_hash(&next, out, CRYPTO_KEY_SIZE);
	result = mix_dh(&next, &next.own_ephemeral, next.remote_ephemeral);
	if (result)
		goto out;
	at += encrypt_and_hash(&next, next.own_static.public_key,
			       CRYPTO_KEY_SIZE, out + at);
	result = mix_dh(&next, &next.own_static, next.remote_ephemeral);
	if (result)
		goto out;
	at += encrypt_and_hash(&next, payload, payload_len, out + at);
	*out_len = at;
out:
	return finish(hs, &next, NOISE_RESP_DONE, result);
}

enum noise_result noise_resp_consume(struct noise_handshake *hs,
				     const uint8_t *msg, size_t len,
				     uint8_t *payload, size_t payload_size,
				     size_t *payload_len)
{
	struct noise_handshake next = *hs;
	const size_t payload_at = CRYPTO_KEY_SIZE + SEALED_KEY_SIZE;
	enum noise_result result;

	result = may_consume(hs, true, NOISE_INIT_DONE, NOISE_RESP_OVERHEAD,
			     len, payload_size);
	if (result)
		goto out;
	memcpy(next.remote_ephemeral, msg, CRYPTO_KEY_SIZE);
	mix_hash(&next, msg, CRYPTO_KEY_SIZE);
	result = mix_dh(&next, &next.own_ephemeral, next.remote_ephemeral);
	if (result)
		goto out;
	result = decrypt_and_hash(&next, msg + CRYPTO_KEY_SIZE,
				  SEALED_KEY_SIZE, next.remote_static);
	if (result)
		goto out;
	result = mix_dh(&next, &next.own_ephemeral, next.remote_static);
	if (result)
		goto out;
	result = decrypt_and_hash(&next, msg + payload_at, len - payload_at,
				  payload);
	if (result)
		goto out;
	*payload_len = len - NOISE_RESP_OVERHEAD;
	if (crypto_equal(next.remote_static, next.own_static.public_key,
			 CRYPTO_KEY_SIZE))
		result = NOISE_SELF;
out:
	return finish(hs, &next, NOISE_RESP_DONE, result);
}

/* ---- -> s, se --------------------------------------------------------- */

enum noise_result noise_fin_create(struct noise_handshake *hs,
				   const uint8_t *payload, size_t payload_len,
				   uint8_t *out, size_t out_size,
				   size_t *out_len)
{
	struct noise_handshake next = *hs;
	enum noise_result result;
	size_t at;

	result = may_create(hs, true, NOISE_RESP_DONE, NOISE_FIN_OVERHEAD,
			    payload_len, out_size);
	if (result)
		goto out;
	at = encrypt_and_hash(&next, next.own_static.public_key,
			      CRYPTO_KEY_SIZE, out);
	result = mix_dh(&next, &next.own_static, next.remote_ephemeral);
	if (result)
		goto out;
	at += encrypt_and_hash(&next, payload, payload_len, out + at);
	*out_len = at;
out:
	return finish(hs, &next, NOISE_FIN_DONE, result);
}

enum noise_result noise_fin_consume(struct noise_handshake *hs,
				    const uint8_t *msg, size_t len,
				    uint8_t *payload, size_t payload_size,
				    size_t *payload_len)
{
	struct noise_handshake next = *hs;
	enum noise_result result;

	result = may_consume(hs, false, NOISE_RESP_DONE, NOISE_FIN_OVERHEAD,
			     len, payload_size);
	if (result)
		goto out;
	result = decrypt_and_hash(&next, msg, SEALED_KEY_SIZE,
				  next.remote_static);
	if (result)
		goto out;
	result = mix_dh(&next, &next.own_ephemeral, next.remote_static);
	if (result)
		goto out;
	result = decrypt_and_hash(&next, msg + SEALED_KEY_SIZE,
				  len - SEALED_KEY_SIZE, payload);
	if (result)
		goto out;
	*payload_len = len - NOISE_FIN_OVERHEAD;
	if (crypto_equal(next.remote_static, next.own_static.public_key,
			 CRYPTO_KEY_SIZE))
		result = NOISE_SELF;
out:
	return finish(hs, &next, NOISE_FIN_DONE, result);
}

/* ---- the end ---------------------------------------------------------- */

enum noise_result noise_split(struct noise_handshake *hs,
			      struct noise_keys *keys)
{
	uint8_t out[2][CRYPTO_HASH_SIZE];
	bool initiator = hs->initiator;

	if (hs->stage != NOISE_FIN_DONE)
		return NOISE_ORDER;
	memset(keys, 0, sizeof *keys);
	crypto_hkdf(hs->chaining_key, NULL, 0, out[0], out[1], NULL);
	memcpy(keys->send, out[initiator ? 0 : 1], CRYPTO_KEY_SIZE);
	memcpy(keys->receive, out[initiator ? 1 : 0], CRYPTO_KEY_SIZE);
	memcpy(keys->hash, hs->hash, sizeof keys->hash);
	memcpy(keys->remote_static, hs->remote_static, CRYPTO_KEY_SIZE);
	crypto_wipe(out, sizeof out);
	noise_wipe(hs);
	return NOISE_OK;
}

const char *noise_result_name(enum noise_result r)
{
	switch (r) {
	case NOISE_OK:
		return "ok";
	case NOISE_ORDER:
		return "order";
	case NOISE_LENGTH:
		return "length";
	case NOISE_DH:
		return "dh";
	case NOISE_DECRYPT:
		return "decrypt";
	case NOISE_SELF:
		return "self";
	}
	return "?";
}
