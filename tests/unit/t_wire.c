/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire: what is encoded is decoded again; everything else is refused.
 *
 * Random messages of every type carry the properties: identity, every
 * truncation refused, any byte changed never read past the end and, where
 * it is taken, encoded again to the same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "wire.h"
#include "wire_random.h"

#define ROUNDS 400 /* of each type */

static const uint8_t types[] = {
	WIRE_FLOWS, WIRE_FLOWS_ACK, WIRE_FLOW_END, WIRE_FLOW_END_ACK,
	WIRE_PROBE, WIRE_PROBE_ACK, WIRE_MOVE,	   WIRE_ACCEPT,
	WIRE_REFUSE, WIRE_PROVE,    WIRE_DONE,	   WIRE_SYNC,
	WIRE_SYNC_ACK, WIRE_BYE,
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static const uint8_t later[] = { WIRE_ADDRS, WIRE_ADDRS_ACK, WIRE_ASK,
				 WIRE_TELL,  WIRE_KEY_NEXT,  WIRE_HINT };

/* Offsets from the start of the plaintext. */
enum { BODY = WIRE_PATH_SIZE };

static size_t encode(const struct wire_message *m,
		     uint8_t to[WIRE_PLAIN_MAX])
{
	struct buf_writer w;

	buf_writer_init(&w, to, WIRE_PLAIN_MAX);
	assert_int_equal(wire_encode_message(m, &w), 0);
	return w.len;
}

/* From memory of exactly that size, so that sanitizers see its end. */
static enum wire_result decode(uint8_t type, const uint8_t *plain,
			       size_t len, struct wire_message *m)
{
	uint8_t *exact = malloc(len ? len : 1);
	enum wire_result result;

	assert_non_null(exact);
	memcpy(exact, plain, len);
	result = wire_decode_message(type, exact, len, m);
	free(exact);
	return result;
}

static struct wire_message sample(uint8_t type, uint64_t seed)
{
	struct wire_message m;

	wire_random_message(&seed, type, &m);
	return m;
}

/* ---- properties of every type ------------------------------------------ */

static void encoding_is_undone(void **state)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct wire_message m, back;

	(void)state;
	for (int t = 0; t < N_TYPES; t++)
		for (uint64_t seed = 0; seed < ROUNDS; seed++) {
			size_t len;

			m = sample(types[t], seed);
			len = encode(&m, plain);
			assert_int_equal(decode(types[t], plain, len, &back),
					 WIRE_OK);
			if (memcmp(&m, &back, sizeof m))
				fail_msg("%s, seed %u",
					 wire_type_name(types[t]),
					 (unsigned int)seed);
		}
}

static void every_truncation_is_refused(void **state)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct wire_message m, back;

	(void)state;
	for (int t = 0; t < N_TYPES; t++)
		for (uint64_t seed = 0; seed < 40; seed++) {
			size_t len;

			m = sample(types[t], seed);
			len = encode(&m, plain);
			for (size_t cut = 0; cut < len; cut++) {
				enum wire_result r = decode(types[t], plain,
							    cut, &back);

				if (r != WIRE_SHORT && r != WIRE_BAD_COUNT)
					fail_msg("%s, seed %u, cut %u: %s",
						 wire_type_name(types[t]),
						 (unsigned int)seed,
						 (unsigned int)cut,
						 wire_result_name(r));
			}
		}
}

static void what_is_taken_is_canonical(void **state)
{
	uint8_t plain[WIRE_PLAIN_MAX], again[WIRE_PLAIN_MAX];
	struct wire_message m, back;
	unsigned int taken = 0;

	(void)state;
	for (int t = 0; t < N_TYPES; t++)
		for (uint64_t seed = 0; seed < ROUNDS; seed++) {
			uint64_t dice = seed;
			size_t len, at;

			m = sample(types[t], seed);
			len = encode(&m, plain);
			at = random_below(&dice, len);
			plain[at] = (uint8_t)random_next(&dice);
			if (decode(types[t], plain, len, &back) != WIRE_OK)
				continue;
			/* A count made smaller leaves what may pass as a
			 * TLV; so only the head is the same. */
			taken++;
			assert_true(encode(&back, again) <= len);
			assert_memory_equal(plain, again,
					    encode(&back, again));
		}
	assert_true(taken > N_TYPES * ROUNDS / 4);
}

static void full_messages_fit(void **state)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct wire_message m;

	(void)state;
	for (int t = 0; t < N_TYPES; t++) {
		uint64_t seed = 1;

		wire_random_full(&seed, types[t], &m);
		assert_in_range(encode(&m, plain), WIRE_PATH_SIZE + 1,
				WIRE_PLAIN_MAX);
		if (types[t] == WIRE_REFUSE)
			assert_int_equal(WIRE_REFUSE_SIZE(WIRE_REFUSE_MAX),
					 WIRE_HEADER_SIZE +
						 encode(&m, plain) +
						 CRYPTO_TAG_SIZE);
	}
	/* The bound of the array does not promise room: the encoder says. */
	m = sample(WIRE_FLOWS, 1);
	m.flows.n = WIRE_FLOWS_MAX;
	for (int i = 0; i < WIRE_FLOWS_MAX; i++) {
		m.flows.flow[i] = m.flows.flow[0];
		m.flows.flow[i].proto = IPPROTO_UDP;
		m.flows.flow[i].src = m.src;
		m.flows.flow[i].dst = m.dst;
		m.flows.flow[i].proof.kind = WIRE_PROOF_RECEIPT;
	}
	struct buf_writer w;
	buf_writer_init(&w, plain, sizeof plain);
	assert_int_equal(wire_encode_message(&m, &w), -EMSGSIZE);
}

static void foreign_types_are_refused(void **state)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct wire_message m = sample(WIRE_DONE, 1), back;
	size_t len = encode(&m, plain);
	struct buf_writer w;

	(void)state;
	for (int type = 0; type < 256; type++) {
		enum wire_result want = WIRE_BAD_TYPE;

		if (memchr(types, type, sizeof types))
			continue;
		if (memchr(later, type, sizeof later))
			want = WIRE_RESERVED;
		assert_int_equal(decode((uint8_t)type, plain, len, &back),
				 want);
		m.type = (uint8_t)type;
		buf_writer_init(&w, plain, sizeof plain);
		assert_int_equal(wire_encode_message(&m, &w), -EINVAL);
		m.type = WIRE_DONE;
		encode(&m, plain);
	}
	assert_int_equal(wire_decode_message(WIRE_DONE, plain,
					     WIRE_PLAIN_MAX + 1, &back),
			 WIRE_LONG);
}

/* ---- TLVs ---------------------------------------------------------------- */

static void tlvs_are_skipped_unless_critical(void **state)
{
	static const struct {
		uint8_t bytes[8];
		size_t len;
		enum wire_result want;
	} cases[] = {
		{ { 0x01, 0 }, 2, WIRE_OK },
		{ { 0x01, 2, 0, 0 }, 4, WIRE_OK },
		{ { 0x7f, 3, 9, 9, 9 }, 5, WIRE_OK },
		{ { 0x7f, 1, 9, 0x01, 0 }, 5, WIRE_OK },
		{ { 0x80, 0 }, 2, WIRE_CRITICAL },
		{ { 0x81, 1, 0 }, 3, WIRE_CRITICAL },
		{ { 0x01, 0, 0xff, 0 }, 4, WIRE_CRITICAL },
		{ { 0x01 }, 1, WIRE_TRAILING },
		{ { 0x01, 0, 0 }, 3, WIRE_TRAILING },
		{ { 0x01, 1 }, 2, WIRE_SHORT },
		{ { 0x01, 3, 0, 0 }, 4, WIRE_SHORT },
		{ { 0x81, 3, 0, 0 }, 4, WIRE_SHORT },
	};
	uint8_t plain[WIRE_PLAIN_MAX + 8];
	struct wire_message m, back;

	(void)state;
	for (int t = 0; t < N_TYPES; t++)
		for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
			size_t len;

			m = sample(types[t], 3);
			len = encode(&m, plain);
			if (len + cases[i].len > WIRE_PLAIN_MAX)
				continue;
			memcpy(plain + len, cases[i].bytes, cases[i].len);
			assert_int_equal(decode(types[t], plain,
						len + cases[i].len, &back),
					 cases[i].want);
			if (cases[i].want == WIRE_OK)
				assert_memory_equal(&m, &back, sizeof m);
		}
}

static void padding_is_exact_or_one_more(void **state)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct wire_message m = sample(WIRE_DONE, 1), back;

	(void)state;
	for (size_t size = 0; size <= WIRE_PLAIN_MAX; size++) {
		struct buf_writer w;
		size_t len;

		buf_writer_init(&w, plain, sizeof plain);
		assert_int_equal(wire_encode_message(&m, &w), 0);
		len = w.len;
		assert_int_equal(wire_pad(&w, size), 0);
		assert_int_equal(w.len, size <= len	? len :
					size == len + 1 ? len + 2 :
							  size);
		assert_int_equal(decode(WIRE_DONE, plain, w.len, &back),
				 WIRE_OK);
		assert_memory_equal(&m, &back, sizeof m);
	}
	struct buf_writer w;
	buf_writer_init(&w, plain, sizeof plain);
	assert_int_equal(wire_encode_message(&m, &w), 0);
	assert_int_equal(wire_pad(&w, WIRE_PLAIN_MAX + 1), -EMSGSIZE);
}

/* ---- fields out of their range ------------------------------------------ */

/* Where a count lies in the body of a message, and its bound. */
static const struct {
	uint8_t type;
	size_t at;
	uint8_t max;
} counts[] = {
	{ WIRE_FLOWS, 9, WIRE_FLOWS_MAX },
	{ WIRE_FLOWS_ACK, 8, WIRE_FLOWS_ACK_MAX },
	{ WIRE_FLOW_END, 0, WIRE_FLOW_END_MAX },
	{ WIRE_FLOW_END_ACK, 0, WIRE_FLOW_END_MAX },
	{ WIRE_MOVE, 69, WIRE_MOVE_MAX },
	{ WIRE_ACCEPT, 30, WIRE_ACCEPT_MAX },
	{ WIRE_REFUSE, 13, WIRE_REFUSE_MAX },
	{ WIRE_PROVE, 44, WIRE_PROVE_MAX },
	{ WIRE_SYNC, 0, WIRE_SYNC_MAX },
	{ WIRE_SYNC_ACK, 0, WIRE_SYNC_MAX },
};

static void lying_counts_are_refused(void **state)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct wire_message m, back;

	(void)state;
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		uint64_t seed = 5;
		size_t len;
		uint8_t n;

		wire_random_full(&seed, counts[i].type, &m);
		len = encode(&m, plain);
		n = plain[BODY + counts[i].at];
		assert_in_range(n, 1, counts[i].max);
		/* Full, without padding: no more entries can be there, and
		 * none beyond the bound would be taken if they were. */
		for (int lie = n + 1; lie < 256; lie++) {
			plain[BODY + counts[i].at] = (uint8_t)lie;
			assert_int_not_equal(decode(counts[i].type, plain, len,
						    &back),
					     WIRE_OK);
		}
		memset(plain + len, 0, sizeof plain - len);
		for (int lie = counts[i].max + 1; lie < 256; lie++) {
			plain[BODY + counts[i].at] = (uint8_t)lie;
			assert_int_equal(decode(counts[i].type, plain,
						sizeof plain, &back),
					 WIRE_BAD_COUNT);
		}
	}
}

/* Writes `len` bytes at `at` of the body of a sample: refused as `want`,
 * and the same value is refused by the encoder, through `back`. */
static void assert_body_refused(const struct wire_message *m, size_t at,
				const char *bytes, size_t len,
				enum wire_result want)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct wire_message back;
	size_t size = encode(m, plain);

	assert_true(BODY + at + len <= size);
	memcpy(plain + BODY + at, bytes, len);
	assert_int_equal(decode(m->type, plain, size, &back), want);
}

static void assert_not_encoded(const struct wire_message *m)
{
	uint8_t plain[WIRE_PLAIN_MAX];
	struct buf_writer w;

	buf_writer_init(&w, plain, sizeof plain);
	assert_int_equal(wire_encode_message(m, &w), -EINVAL);
}

static void values_out_of_range_are_refused(void **state)
{
	static const char zero[16];
	static const char zero4[16] = { [10] = (char)0xff, (char)0xff };
	struct wire_message m, bad;
	uint64_t seed = 9;

	(void)state;
	wire_random_full(&seed, WIRE_FLOWS, &m);
	assert_body_refused(&m, 4, "\0\3\0\3", 4, WIRE_BAD_VALUE); /* part */
	assert_body_refused(&m, 4, zero, 4, WIRE_BAD_VALUE); /* parts */
	assert_body_refused(&m, 4, "\0\0\40\1", 4, WIRE_BAD_VALUE);
	assert_body_refused(&m, 8, "\2", 1, WIRE_BAD_VALUE); /* flags */
	assert_body_refused(&m, 10 + 20, zero, 16, WIRE_BAD_ADDR); /* at */
	assert_body_refused(&m, 10 + 36, "\2", 1, WIRE_BAD_VALUE); /* flags */
	assert_body_refused(&m, 10 + 37, "\1", 1, WIRE_BAD_VALUE); /* proto */
	assert_body_refused(&m, 10 + 38, zero, 16, WIRE_BAD_ADDR);
	assert_body_refused(&m, 10 + 38, zero4, 16, WIRE_BAD_ADDR);
	assert_body_refused(&m, 10 + 54, zero, 2, WIRE_BAD_ADDR); /* port */
	assert_body_refused(&m, 10 + 74, "\3", 1, WIRE_BAD_VALUE); /* proof */
	bad = m;
	bad.flows.part = bad.flows.parts;
	assert_not_encoded(&bad);
	bad = m;
	bad.flows.part = 0;
	bad.flows.parts = WIRE_PARTS_MAX + 1;
	assert_not_encoded(&bad);
	bad = m;
	bad.flows.flags = 0x80;
	assert_not_encoded(&bad);
	bad = m;
	bad.flows.flow[0].proto = IPPROTO_SCTP;
	assert_not_encoded(&bad);
	bad = m;
	bad.flows.flow[0].src.port = 0;
	assert_not_encoded(&bad);
	bad = m;
	memset(&bad.flows.flow[0].dst.addr, 0, sizeof(struct addr));
	assert_not_encoded(&bad);
	bad = m;
	memset(&bad.flows.flow[0].place.at, 0, sizeof(struct addr));
	assert_not_encoded(&bad);
	bad = m;
	bad.flows.flow[0].proof.kind = WIRE_PROOF_RECEIPT + 1;
	assert_not_encoded(&bad);
	bad = m;
	bad.flows.n = WIRE_FLOWS_MAX + 1;
	assert_not_encoded(&bad);
	bad = m;
	bad.src.port = 0;
	assert_not_encoded(&bad);

	wire_random_full(&seed, WIRE_FLOWS_ACK, &m);
	assert_body_refused(&m, 4, "\0\1\0\1", 4, WIRE_BAD_VALUE);
	assert_body_refused(&m, 9, "\1", 1, WIRE_NOT_ZERO);
	assert_body_refused(&m, 10 + 20, zero4, 16, WIRE_BAD_ADDR); /* at */
	assert_body_refused(&m, 10 + 36, "\2", 1, WIRE_BAD_VALUE); /* flags */

	wire_random_full(&seed, WIRE_MOVE, &m);
	assert_body_refused(&m, 12, zero, 16, WIRE_BAD_ADDR); /* from */
	assert_body_refused(&m, 28, zero4, 16, WIRE_BAD_ADDR); /* to */
	assert_body_refused(&m, 44, "\2", 1, WIRE_BAD_VALUE); /* flags */
	assert_body_refused(&m, 65, "\0\1\0\1", 4, WIRE_BAD_VALUE); /* part */
	assert_body_refused(&m, 70 + 8, zero, 2, WIRE_BAD_VALUE); /* port */
	bad = m;
	bad.move.port[0].port = 0;
	assert_not_encoded(&bad);
	bad = m;
	bad.move.n = WIRE_MOVE_MAX + 1;
	assert_not_encoded(&bad);

	wire_random_full(&seed, WIRE_PROVE, &m);
	assert_body_refused(&m, 28, zero, 16, WIRE_BAD_ADDR);
	wire_random_full(&seed, WIRE_SYNC, &m);
	assert_body_refused(&m, 1 + 12, zero4, 16, WIRE_BAD_ADDR);
}

/* ---- exact bytes --------------------------------------------------------- */

static void move_is_byte_exact(void **state)
{
	static const uint8_t want[] = {
		/* src 192.0.2.2:1021 */
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 2,
		0x03, 0xfd,
		/* dst [2001:db8::9]:1021 */
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
		0x03, 0xfd,
		/* track, seq */
		0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0x01, 0x02,
		/* from, to */
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 2,
		/* flags, count, digest */
		1, 0, 0, 0, 2,
		0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
		0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
		/* part, parts, n, one flow with its port */
		0, 0, 0, 1, 1,
		1, 2, 3, 4, 5, 6, 7, 8, 0xc3, 0x50,
	};
	uint8_t plain[WIRE_PLAIN_MAX];
	struct wire_message m;

	(void)state;
	memset(&m, 0, sizeof m);
	m.type = WIRE_MOVE;
	assert_int_equal(addr_parse("192.0.2.2", &m.src.addr), 0);
	assert_int_equal(addr_parse("2001:db8::9", &m.dst.addr), 0);
	m.src.port = m.dst.port = 1021;
	m.move.track = 5;
	m.move.seq = 0x102;
	assert_int_equal(addr_parse("192.0.2.1", &m.move.from), 0);
	m.move.to = m.src.addr;
	m.move.flags = WIRE_MOVE_FROM_GONE;
	m.move.count = 2;
	for (int i = 0; i < WIRE_DIGEST_SIZE; i++)
		m.move.digest[i] = (uint8_t)(0xa0 + i);
	m.move.parts = 1;
	m.move.n = 1;
	m.move.port[0].flow_id = 0x0102030405060708;
	m.move.port[0].port = 50000;
	assert_int_equal(encode(&m, plain), sizeof want);
	assert_memory_equal(plain, want, sizeof want);
}

/* Sizes of the bodies with nothing in their lists, as in sacip(7). */
static void fixed_parts_have_their_size(void **state)
{
	static const struct {
		uint8_t type;
		size_t size;
	} fixed[] = {
		{ WIRE_FLOWS, 10 },	 { WIRE_FLOWS_ACK, 10 },
		{ WIRE_FLOW_END, 1 },	 { WIRE_FLOW_END_ACK, 1 },
		{ WIRE_PROBE, 16 },	 { WIRE_PROBE_ACK, 16 },
		{ WIRE_MOVE, 70 },	 { WIRE_ACCEPT, 31 },
		{ WIRE_REFUSE, 14 },	 { WIRE_PROVE, 45 },
		{ WIRE_DONE, 12 },	 { WIRE_SYNC, 22 },
		{ WIRE_SYNC_ACK, 22 },	 { WIRE_BYE, 1 },
	};
	uint8_t plain[WIRE_PLAIN_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
		struct wire_message m;
		uint64_t seed = 2;

		wire_random_empty(&seed, fixed[i].type, &m);
		assert_int_equal(encode(&m, plain), BODY + fixed[i].size);
	}
}

/* ---- header and handshake ------------------------------------------------ */

static void headers_are_exact(void **state)
{
	static const uint8_t want[16] = { 32, 1, 0, 0, 1, 2, 3, 4,
					  5,  6, 7, 8, 9, 10, 11, 12 };
	const struct wire_header h = { WIRE_MOVE, 0x01020304,
				       0x05060708090a0b0c };
	uint8_t data[WIRE_PAYLOAD_MAX + 1] = { 0 };
	struct wire_header back;

	(void)state;
	wire_encode_header(&h, data);
	assert_memory_equal(data, want, sizeof want);
	for (size_t len = 0; len <= sizeof data; len++)
		assert_int_equal(wire_decode_header(data, len, &back),
				 len < 68		? WIRE_SHORT :
				 len > WIRE_PAYLOAD_MAX ? WIRE_LONG :
							  WIRE_OK);
	assert_int_equal(wire_decode_header(data, 100, &back), WIRE_OK);
	assert_int_equal(back.type, h.type);
	assert_int_equal(back.index, h.index);
	assert_true(back.counter == h.counter);

	for (int type = 0; type < 256; type++) {
		enum wire_result want_type = WIRE_BAD_TYPE;

		data[0] = (uint8_t)type;
		if (memchr(types, type, sizeof types))
			want_type = WIRE_OK;
		else if (memchr(later, type, sizeof later))
			want_type = WIRE_RESERVED;
		if (wire_type_is_handshake((uint8_t)type))
			continue; /* another test */
		assert_int_equal(wire_decode_header(data, 100, &back),
				 want_type);
		if (want_type == WIRE_RESERVED)
			assert_int_equal(back.index, h.index);
		assert_int_equal(wire_type_name((uint8_t)type)[0] == '?',
				 want_type == WIRE_BAD_TYPE);
	}
	data[0] = WIRE_MOVE;
	for (int version = 0; version < 256; version++) {
		data[1] = (uint8_t)version;
		assert_int_equal(wire_decode_header(data, 100, &back),
				 version == 1 ? WIRE_OK : WIRE_BAD_VERSION);
	}
	data[1] = 1;
	for (int bit = 0; bit < 16; bit++) {
		data[2 + bit / 8] = (uint8_t)(1 << bit % 8);
		assert_int_equal(wire_decode_header(data, 100, &back),
				 WIRE_NOT_ZERO);
		data[2 + bit / 8] = 0;
	}
	memset(data + 4, 0, 4);
	assert_int_equal(wire_decode_header(data, 100, &back),
			 WIRE_BAD_VALUE);
}

/* What every handshake datagram is refused for. `size`: its own. */
static void assert_handshake_strict(uint8_t *data, size_t size)
{
	struct wire_header h;
	uint8_t longer[WIRE_INIT_SIZE + 1] = { 0 };

	assert_int_equal(wire_decode_header(data, size, &h), WIRE_OK);
	for (size_t len = 0; len < size; len++)
		assert_int_equal(wire_decode_header(data, len, &h),
				 WIRE_SHORT);
	memcpy(longer, data, size);
	assert_int_equal(wire_decode_header(longer, size + 1, &h), WIRE_LONG);
	data[15] = 1;
	assert_int_equal(wire_decode_header(data, size, &h), WIRE_NOT_ZERO);
	data[15] = 0;
	data[7] ^= 1; /* index: 0 in INIT only */
	assert_int_equal(wire_decode_header(data, size, &h), WIRE_BAD_VALUE);
	data[7] ^= 1;
}

static void handshakes_go_both_ways(void **state)
{
	uint8_t data[WIRE_INIT_SIZE], noise[WIRE_NOISE_RESP_SIZE], cookie[16];
	struct wire_init init, back;
	const uint8_t *view;
	uint64_t seed = 3;
	uint32_t index;

	(void)state;
	random_fill(&seed, &init, sizeof init);
	wire_encode_init(&init, data);
	assert_int_equal(wire_decode_init(data, sizeof data, &back), WIRE_OK);
	assert_memory_equal(&init, &back, sizeof init);
	assert_memory_equal(data + 16, init.cookie, 16);
	assert_memory_equal(data + 32, init.mac1, 16);
	assert_memory_equal(data + 48, init.noise, 40);
	for (size_t at = 88; at < WIRE_INIT_SIZE; at++) {
		data[at] = 1;
		assert_int_equal(wire_decode_init(data, sizeof data, &back),
				 WIRE_NOT_ZERO);
		data[at] = 0;
	}
	assert_handshake_strict(data, WIRE_INIT_SIZE);
	assert_int_equal(wire_decode_resp(data, WIRE_RESP_SIZE, &index, &view),
			 WIRE_BAD_TYPE);

	wire_encode_retry(1, init.cookie, data);
	assert_int_equal(wire_decode_retry(data, WIRE_RETRY_SIZE, &index,
					   cookie),
			 WIRE_OK);
	assert_int_equal(index, 1);
	assert_memory_equal(cookie, init.cookie, 16);
	assert_handshake_strict(data, WIRE_RETRY_SIZE);
	assert_int_equal(wire_decode_init(data, WIRE_RETRY_SIZE, &back),
			 WIRE_BAD_TYPE);

	random_fill(&seed, noise, sizeof noise);
	wire_encode_resp(1, noise, data);
	assert_int_equal(wire_decode_resp(data, WIRE_RESP_SIZE, &index, &view),
			 WIRE_OK);
	assert_int_equal(index, 1);
	assert_ptr_equal(view, data + 16);
	assert_memory_equal(view, noise, WIRE_NOISE_RESP_SIZE);
	assert_handshake_strict(data, WIRE_RESP_SIZE);

	wire_encode_fin(1, noise, data);
	assert_int_equal(wire_decode_fin(data, WIRE_FIN_SIZE, &index, &view),
			 WIRE_OK);
	assert_int_equal(index, 1);
	assert_memory_equal(view, noise, WIRE_NOISE_FIN_SIZE);
	assert_handshake_strict(data, WIRE_FIN_SIZE);
	assert_int_equal(wire_decode_retry(data, WIRE_FIN_SIZE, &index,
					   cookie),
			 WIRE_BAD_TYPE);
	assert_int_equal(WIRE_INIT_SIZE, 156);
	assert_int_equal(WIRE_RETRY_SIZE, 32);
	assert_int_equal(WIRE_RESP_SIZE, 156);
	assert_int_equal(WIRE_FIN_SIZE, 124);
}

static void noise_payloads_go_both_ways(void **state)
{
	const struct wire_init_payload init = { 1, 3, 0x01020304 };
	static const uint8_t init_bytes[] = { 0, 1, 0, 3, 1, 2, 3, 4 };
	uint8_t data[WIRE_HS_PAYLOAD_SIZE + 1] = { 0 };
	struct wire_init_payload init_back;
	struct wire_hs_payload hs, hs_back;
	struct wire_message m = sample(WIRE_DONE, 4);

	(void)state;
	wire_encode_init_payload(&init, data);
	assert_memory_equal(data, init_bytes, sizeof init_bytes);
	for (size_t len = 0; len <= sizeof data; len++)
		assert_int_equal(wire_decode_init_payload(data, len,
							  &init_back),
				 len < 8 ? WIRE_SHORT :
				 len > 8 ? WIRE_LONG :
					   WIRE_OK);
	wire_decode_init_payload(data, 8, &init_back);
	assert_memory_equal(&init, &init_back, sizeof init);
	data[3] = 0;
	assert_int_equal(wire_decode_init_payload(data, 8, &init_back),
			 WIRE_BAD_VALUE);
	data[3] = 1;
	memset(data + 4, 0, 4);
	assert_int_equal(wire_decode_init_payload(data, 8, &init_back),
			 WIRE_BAD_VALUE);

	memset(&hs, 0, sizeof hs);
	hs.sender_index = 7;
	hs.caps = 0x80000001;
	memcpy(&hs.src, &m.src, sizeof hs.src);
	memcpy(&hs.dst, &m.dst, sizeof hs.dst);
	wire_encode_hs_payload(&hs, data);
	for (size_t len = 0; len <= sizeof data; len++)
		assert_int_equal(wire_decode_hs_payload(data, len, &hs_back),
				 len < 44 ? WIRE_SHORT :
				 len > 44 ? WIRE_LONG :
					    WIRE_OK);
	wire_decode_hs_payload(data, 44, &hs_back);
	assert_memory_equal(&hs, &hs_back, sizeof hs);
	memset(data + 42, 0, 2);
	assert_int_equal(wire_decode_hs_payload(data, 44, &hs_back),
			 WIRE_BAD_ADDR);
	wire_encode_hs_payload(&hs, data);
	memset(data + 8, 0, 16);
	assert_int_equal(wire_decode_hs_payload(data, 44, &hs_back),
			 WIRE_BAD_ADDR);
	hs.sender_index = 0;
	wire_encode_hs_payload(&hs, data);
	assert_int_equal(wire_decode_hs_payload(data, 44, &hs_back),
			 WIRE_BAD_VALUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encoding_is_undone),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(what_is_taken_is_canonical),
		cmocka_unit_test(full_messages_fit),
		cmocka_unit_test(foreign_types_are_refused),
		cmocka_unit_test(tlvs_are_skipped_unless_critical),
		cmocka_unit_test(padding_is_exact_or_one_more),
		cmocka_unit_test(lying_counts_are_refused),
		cmocka_unit_test(values_out_of_range_are_refused),
		cmocka_unit_test(move_is_byte_exact),
		cmocka_unit_test(fixed_parts_have_their_size),
		cmocka_unit_test(headers_are_exact),
		cmocka_unit_test(handshakes_go_both_ways),
		cmocka_unit_test(noise_payloads_go_both_ways),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
