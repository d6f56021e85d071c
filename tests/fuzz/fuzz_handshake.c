/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_handshake: any bytes in place of each handshake datagram.
 *
 * Each of three ends, waiting for INIT, RESP and FIN, is given the input.
 * What is refused must leave the state as it was; only the genuine RESP and
 * FIN, which stand in the corpus, may be taken.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "handshake_setup.h"

#include "fuzz.h"

static const uint8_t ephemeral[CRYPTO_KEY_SIZE] = { 40 };

static void try_init(const struct setup *s, const uint8_t *data, size_t size)
{
	uint8_t payload[WIRE_INIT_PAYLOAD_SIZE], key[CRYPTO_KEY_SIZE];
	uint8_t answer[WIRE_HS_PAYLOAD_SIZE] = { 0 };
	uint8_t noise[WIRE_NOISE_RESP_SIZE];
	struct noise_handshake hs = s->fresh, before;
	struct wire_init_payload versions;
	struct wire_init init;
	enum noise_result result;
	size_t len;

	if (wire_decode_init(data, size, &init) != WIRE_OK)
		return;
	cookie_mac1_key(s->key[1].public_key, key);
	if (cookie_mac1_is_valid(key, data))
		/* Nobody guesses a MAC: it is the one of the corpus, whose
		 * cookie alone may differ. */
		setup_must(!memcmp(data + WIRE_INIT_MAC1_AT,
				   s->init + WIRE_INIT_MAC1_AT,
				   size - WIRE_INIT_MAC1_AT));
	setup_must(noise_init_consume(&hs, init.noise, sizeof init.noise,
				      payload, sizeof payload,
				      &len) == NOISE_OK);
	if (wire_decode_init_payload(payload, len, &versions) != WIRE_OK)
		return;
	before = hs;
	result = noise_resp_create(&hs, ephemeral, answer, sizeof answer,
				   noise, sizeof noise, &len);
	setup_must(result == NOISE_OK || result == NOISE_DH);
	if (result)
		setup_must(!memcmp(&hs, &before, sizeof hs));
}

static void try_resp(const struct setup *s, const uint8_t *data, size_t size)
{
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE];
	struct noise_handshake hs = s->asked;
	const uint8_t *noise;
	uint32_t index;
	size_t len;

	if (wire_decode_resp(data, size, &index, &noise) != WIRE_OK)
		return;
	if (noise_resp_consume(&hs, noise, WIRE_NOISE_RESP_SIZE, payload,
			       sizeof payload, &len) == NOISE_OK)
		setup_must(!memcmp(noise, s->resp + WIRE_HEADER_SIZE,
				   WIRE_NOISE_RESP_SIZE));
	else
		setup_must(!memcmp(&hs, &s->asked, sizeof hs));
}

static void try_fin(const struct setup *s, const uint8_t *data, size_t size)
{
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE];
	struct noise_handshake hs = s->answered;
	const uint8_t *noise;
	uint32_t index;
	size_t len;

	if (wire_decode_fin(data, size, &index, &noise) != WIRE_OK)
		return;
	if (noise_fin_consume(&hs, noise, WIRE_NOISE_FIN_SIZE, payload,
			      sizeof payload, &len) == NOISE_OK)
		setup_must(!memcmp(noise, s->fin + WIRE_HEADER_SIZE,
				   WIRE_NOISE_FIN_SIZE));
	else
		setup_must(!memcmp(&hs, &s->answered, sizeof hs));
}

/* Any length, without the datagram around it. */
static void try_raw(const struct setup *s, const uint8_t *data, size_t size)
{
	uint8_t payload[NOISE_PAYLOAD_MAX];
	struct noise_handshake hs = s->fresh;
	size_t len;

	if (noise_init_consume(&hs, data, size, payload, sizeof payload,
			       &len) == NOISE_OK)
		setup_must(len + NOISE_INIT_OVERHEAD == size);
	hs = s->asked;
	if (noise_resp_consume(&hs, data, size, payload, sizeof payload,
			       &len))
		setup_must(!memcmp(&hs, &s->asked, sizeof hs));
	hs = s->answered;
	if (noise_fin_consume(&hs, data, size, payload, sizeof payload, &len))
		setup_must(!memcmp(&hs, &s->answered, sizeof hs));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct setup setup;

	if (!setup.init[0]) {
		setup_must(crypto_init() == 0);
		setup_make(&setup);
	}
	try_init(&setup, data, size);
	try_resp(&setup, data, size);
	try_fin(&setup, data, size);
	if (size >= WIRE_HEADER_SIZE)
		try_raw(&setup, data + WIRE_HEADER_SIZE,
			size - WIRE_HEADER_SIZE);
	return 0;
}
