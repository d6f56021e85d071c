/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_wire: the decoders of sacip(7) against any bytes.
 *
 * The input is a datagram, with the plaintext in place of what is sealed.
 * Beyond not failing: what is taken is encoded again to the same bytes, and
 * those decode to the same message.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#include "fuzz.h"

static void try_message(uint8_t type, const uint8_t *plain, size_t len)
{
	uint8_t again[WIRE_PLAIN_MAX];
	struct wire_message m, back;
	struct buf_writer w;

	if (wire_decode_message(type, plain, len, &m) != WIRE_OK)
		return;
	buf_writer_init(&w, again, sizeof again);
	check(wire_encode_message(&m, &w) == 0);
	check(w.len <= len && memcmp(again, plain, w.len) == 0);
	check(wire_decode_message(type, again, w.len, &back) == WIRE_OK);
	check(memcmp(&m, &back, sizeof m) == 0);
	check(wire_pad(&w, len) == 0 || len + 1 > WIRE_PLAIN_MAX);
}

static void try_handshake(const uint8_t *data, size_t size)
{
	uint8_t again[WIRE_INIT_SIZE], cookie[WIRE_COOKIE_SIZE];
	struct wire_init init;
	const uint8_t *noise;
	uint32_t index;

	if (wire_decode_init(data, size, &init) == WIRE_OK) {
		wire_encode_init(&init, again);
		check(memcmp(again, data, size) == 0);
	}
	if (wire_decode_retry(data, size, &index, cookie) == WIRE_OK) {
		wire_encode_retry(index, cookie, again);
		check(memcmp(again, data, size) == 0);
	}
	if (wire_decode_resp(data, size, &index, &noise) == WIRE_OK) {
		wire_encode_resp(index, noise, again);
		check(memcmp(again, data, size) == 0);
	}
	if (wire_decode_fin(data, size, &index, &noise) == WIRE_OK) {
		wire_encode_fin(index, noise, again);
		check(memcmp(again, data, size) == 0);
	}
}

static void try_payloads(const uint8_t *data, size_t size)
{
	uint8_t again[WIRE_HS_PAYLOAD_SIZE];
	struct wire_init_payload init;
	struct wire_hs_payload hs;

	if (wire_decode_init_payload(data, size, &init) == WIRE_OK) {
		wire_encode_init_payload(&init, again);
		check(memcmp(again, data, size) == 0);
	}
	if (wire_decode_hs_payload(data, size, &hs) == WIRE_OK) {
		wire_encode_hs_payload(&hs, again);
		check(memcmp(again, data, size) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[WIRE_HEADER_SIZE];
	struct wire_header h;
	enum wire_result result = wire_decode_header(data, size, &h);

	if (result == WIRE_OK || result == WIRE_RESERVED) {
		wire_encode_header(&h, again);
		check(memcmp(again, data, sizeof again) == 0);
	}
	try_handshake(data, size);
	if (size >= WIRE_HEADER_SIZE) {
		/* Whatever the header is worth: every body is reached. */
		try_message(data[0], data + WIRE_HEADER_SIZE,
			    size - WIRE_HEADER_SIZE);
		try_payloads(data + WIRE_HEADER_SIZE,
			     size - WIRE_HEADER_SIZE);
	}
	return 0;
}
