/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cookie: RETRY cookies and mac1.
 *
 * Owns the two rotating secrets and both MACs. Keeps nothing per source,
 * reads no clock, draws no random bytes.
 */
#include "cookie.h"

#include <errno.h>
#include <string.h>

#include "buf.h"

static bool is_younger(const struct cookie_jar *jar, int i, uint64_t now_ms,
		       uint64_t age_ms)
{
	return jar->set[i] && now_ms - jar->made_ms[i] < age_ms;
}

bool cookie_rotate_due(const struct cookie_jar *jar, uint64_t now_ms)
{
	return !is_younger(jar, 0, now_ms, COOKIE_SECRET_LIFE_MS);
}

void cookie_rotate(struct cookie_jar *jar, uint64_t now_ms,
		   const uint8_t fresh[COOKIE_SECRET_SIZE])
{
	memcpy(jar->secret[1], jar->secret[0], COOKIE_SECRET_SIZE);
	jar->made_ms[1] = jar->made_ms[0];
	jar->set[1] = jar->set[0];
	memcpy(jar->secret[0], fresh, COOKIE_SECRET_SIZE);
	jar->made_ms[0] = now_ms;
	jar->set[0] = true;
}

static void compute(const uint8_t secret[COOKIE_SECRET_SIZE],
		    const struct endpoint *source, uint32_t sender_index,
		    const uint8_t ephemeral[CRYPTO_KEY_SIZE],
		    uint8_t cookie[WIRE_COOKIE_SIZE])
{
	uint8_t text[WIRE_ENDPOINT_SIZE + 4 + CRYPTO_KEY_SIZE];
	const struct crypto_part part = { text, sizeof text };
	uint8_t mapped[16];
	struct buf_writer w;

	addr_to_mapped(&source->addr, mapped);
	buf_writer_init(&w, text, sizeof text);
	buf_put_bytes(&w, mapped, sizeof mapped);
	buf_put_be16(&w, source->port);
	buf_put_be32(&w, sender_index);
	buf_put_bytes(&w, ephemeral, CRYPTO_KEY_SIZE);
	crypto_blake2b(cookie, WIRE_COOKIE_SIZE, secret, COOKIE_SECRET_SIZE,
		       &part, 1);
}

int cookie_make(const struct cookie_jar *jar, uint64_t now_ms,
		const struct endpoint *source, uint32_t sender_index,
		const uint8_t ephemeral[CRYPTO_KEY_SIZE],
		uint8_t cookie[WIRE_COOKIE_SIZE])
{
	if (cookie_rotate_due(jar, now_ms))
		return -EAGAIN;
	compute(jar->secret[0], source, sender_index, ephemeral, cookie);
	return 0;
}

bool cookie_is_valid(const struct cookie_jar *jar, uint64_t now_ms,
		     const struct endpoint *source, uint32_t sender_index,
		     const uint8_t ephemeral[CRYPTO_KEY_SIZE],
		     const uint8_t cookie[WIRE_COOKIE_SIZE])
{
	uint8_t want[WIRE_COOKIE_SIZE];
	bool valid = false;

	for (int i = 0; i < 2; i++) {
		/* Made at the end of the secret's life, a cookie has one
		 * more life to come back in. */
		if (!is_younger(jar, i, now_ms, 2 * COOKIE_SECRET_LIFE_MS))
			continue;
		compute(jar->secret[i], source, sender_index, ephemeral, want);
		valid |= crypto_equal(want, cookie, sizeof want);
	}
	crypto_wipe(want, sizeof want);
	return valid;
}

void cookie_wipe(struct cookie_jar *jar)
{
	crypto_wipe(jar, sizeof *jar);
}

void cookie_mac1_key(const uint8_t responder_static[CRYPTO_KEY_SIZE],
		     uint8_t key[CRYPTO_KEY_SIZE])
{
	static const char label[] = "sacip mac1";
	const struct crypto_part parts[2] = {
		{ label, sizeof label - 1 },
		{ responder_static, CRYPTO_KEY_SIZE },
	};

	crypto_blake2b(key, CRYPTO_KEY_SIZE, NULL, 0, parts, 2);
}

void cookie_mac1(const uint8_t key[CRYPTO_KEY_SIZE],
		 const uint8_t init[WIRE_INIT_SIZE],
		 uint8_t mac1[WIRE_MAC1_SIZE])
{
	/* The cookie changes in the repetition, so it stays outside. */
	const struct crypto_part parts[2] = {
		{ init, WIRE_INIT_COOKIE_AT },
		{ init + WIRE_INIT_NOISE_AT,
		  WIRE_INIT_SIZE - WIRE_INIT_NOISE_AT },
	};

	crypto_blake2b(mac1, WIRE_MAC1_SIZE, key, CRYPTO_KEY_SIZE, parts, 2);
}

void cookie_mac1_set(const uint8_t key[CRYPTO_KEY_SIZE],
		     uint8_t init[WIRE_INIT_SIZE])
{
	cookie_mac1(key, init, init + WIRE_INIT_MAC1_AT);
}

bool cookie_mac1_is_valid(const uint8_t key[CRYPTO_KEY_SIZE],
			  const uint8_t init[WIRE_INIT_SIZE])
{
	uint8_t want[WIRE_MAC1_SIZE];

	cookie_mac1(key, init, want);
	return crypto_equal(want, init + WIRE_INIT_MAC1_AT, sizeof want);
}
