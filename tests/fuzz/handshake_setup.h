/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two ends with fixed keys, for fuzz_handshake and the corpus it starts
 * from: the genuine messages of this handshake are in the corpus. */
#ifndef SACIPED_FUZZ_HANDSHAKE_H
#define SACIPED_FUZZ_HANDSHAKE_H

#include <stdlib.h>
#include <string.h>

#include "cookie.h"
#include "noise.h"
#include "wire.h"

struct setup {
	struct crypto_keypair key[2]; /* [0] initiator, [1] responder */
	struct noise_handshake fresh; /* responder, waits for INIT */
	struct noise_handshake asked; /* initiator, waits for RESP */
	struct noise_handshake answered; /* responder, waits for FIN */
	uint8_t init[WIRE_INIT_SIZE];
	uint8_t resp[WIRE_RESP_SIZE];
	uint8_t fin[WIRE_FIN_SIZE];
};

#define SETUP_INDEX_I 0x01020304u
#define SETUP_INDEX_R 0x05060708u

static inline void setup_must(int condition)
{
	if (!condition)
		abort();
}

static inline void setup_hs_payload(uint32_t index, const char *src,
				    const char *dst, uint8_t *to)
{
	struct wire_hs_payload p;

	memset(&p, 0, sizeof p);
	p.sender_index = index;
	setup_must(!addr_parse(src, &p.src.addr));
	setup_must(!addr_parse(dst, &p.dst.addr));
	p.src.port = p.dst.port = 1021;
	wire_encode_hs_payload(&p, to);
}

static inline void setup_make(struct setup *s)
{
	static const uint8_t seeds[4][32] = { { 8 }, { 16 }, { 24 }, { 32 } };
	const struct wire_init_payload versions = { 1, 1, SETUP_INDEX_I };
	struct noise_handshake done;
	struct wire_init init;
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE], got[WIRE_HS_PAYLOAD_SIZE];
	uint8_t noise[WIRE_NOISE_RESP_SIZE], mac1_key[CRYPTO_KEY_SIZE];
	size_t len;

	memset(s, 0, sizeof *s);
	memset(&init, 0, sizeof init);
	crypto_keypair_from_private(&s->key[0], seeds[0]);
	crypto_keypair_from_private(&s->key[1], seeds[1]);
	noise_begin_sacip(&s->asked, true, WIRE_VERSION, &s->key[0]);
	noise_begin_sacip(&s->fresh, false, WIRE_VERSION, &s->key[1]);

	wire_encode_init_payload(&versions, payload);
	setup_must(!noise_init_create(&s->asked, seeds[2], payload,
				      WIRE_INIT_PAYLOAD_SIZE, init.noise,
				      sizeof init.noise, &len));
	wire_encode_init(&init, s->init);
	cookie_mac1_key(s->key[1].public_key, mac1_key);
	cookie_mac1_set(mac1_key, s->init);

	s->answered = s->fresh;
	setup_must(!noise_init_consume(&s->answered, init.noise,
				       sizeof init.noise, got, sizeof got,
				       &len));
	setup_hs_payload(SETUP_INDEX_R, "192.0.2.9", "192.0.2.1", payload);
	setup_must(!noise_resp_create(&s->answered, seeds[3], payload,
				      sizeof payload, noise, sizeof noise,
				      &len));
	wire_encode_resp(SETUP_INDEX_I, noise, s->resp);

	done = s->asked;
	setup_must(!noise_resp_consume(&done, noise, sizeof noise, got,
				       sizeof got, &len));
	setup_hs_payload(SETUP_INDEX_I, "192.0.2.1", "192.0.2.9", payload);
	setup_must(!noise_fin_create(&done, payload, sizeof payload, noise,
				     sizeof noise, &len));
	wire_encode_fin(SETUP_INDEX_R, noise, s->fin);
}

#endif
