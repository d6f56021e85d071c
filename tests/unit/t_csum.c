/* SPDX-License-Identifier: GPL-2.0-or-later */
/* csum: sums and updates against the sum by the letter of RFC 1071. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "csum.h"
#include "packet.h"

#define SEED 1071

/* As a number: csum keeps the byte order of memory. */
static uint16_t number(uint16_t be16)
{
	return ntohs(be16);
}

/* RFC 1071, section 3. */
static void sums_the_example_of_the_rfc(void **state)
{
	const uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03,
				 0xf4, 0xf5, 0xf6, 0xf7 };

	(void)state;
	assert_int_equal(number(csum_fold(csum_add(0, data, 8))), 0xddf2);
	assert_int_equal(number(csum_finish(csum_add(0, data, 8))), 0x220d);
}

static void sums_every_length_at_every_alignment(void **state)
{
	uint64_t r = SEED;
	uint8_t data[256 + 16];

	(void)state;
	random_fill(&r, data, sizeof(data));
	for (size_t off = 0; off < 16; off++) {
		for (size_t len = 0; len <= 256; len++) {
			uint16_t want = packet_sum(0, data + off, len);
			uint64_t sum = csum_add(0, data + off, len);

			assert_int_equal(number(csum_fold(sum)), want);
		}
	}
}

static void reads_no_byte_too_many(void **state)
{
	(void)state;
	for (size_t len = 1; len < 64; len++) {
		uint8_t *exact = malloc(len);

		assert_non_null(exact);
		memset(exact, 0xff, len);
		assert_int_equal(number(csum_fold(csum_add(0, exact, len))),
				 packet_sum(0, exact, len));
		free(exact);
	}
}

static void sums_the_longest_packet_of_ones(void **state)
{
	uint8_t *data = malloc(1 << 20);
	uint64_t sum = 0;

	(void)state;
	assert_non_null(data);
	memset(data, 0xff, 1 << 20);
	for (int i = 0; i < 64; i++)
		sum = csum_add(sum, data, 1 << 20);
	assert_int_equal(csum_fold(sum), 0xffff);
	assert_int_equal(csum_finish(sum), 0);
	free(data);
}

static void sums_in_pieces_as_in_one(void **state)
{
	uint64_t r = SEED;
	uint8_t data[4096];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		size_t len = random_below(&r, sizeof(data) + 1), at = 0;
		uint64_t sum = 0;

		random_fill(&r, data, len);
		while (at < len) {
			size_t n = 2 * (1 + random_below(&r, 200));

			if (n > len - at)
				n = len - at;
			sum = csum_add(sum, data + at, n);
			at += n;
		}
		assert_int_equal(number(csum_fold(sum)),
				 packet_sum(0, data, len));
	}
}

static void folds_every_carry(void **state)
{
	(void)state;
	assert_int_equal(csum_fold(0), 0);
	assert_int_equal(csum_fold(0x1ffff), 1);
	assert_int_equal(csum_fold(UINT64_MAX), 0xffff);
	assert_int_equal(csum_fold(UINT64_MAX - 1), 0xfffe);
	assert_int_equal(csum_fold(0xffffffff00000001), 1);
}

static void adds_both_pseudo_headers(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint8_t family = i % 2 ? 4 : 6;
		struct endpoint a = packet_random_endpoint(&r, family);
		struct endpoint b = packet_random_endpoint(&r, family);
		uint32_t len = (uint32_t)random_below(&r, 70000);
		uint8_t proto = (uint8_t)random_next(&r);

		assert_int_equal(number(csum_fold(csum_add_pseudo(
					 0, &a.addr, &b.addr, proto, len))),
				 packet_pseudo(&a.addr, &b.addr, proto, len));
	}
}

/* RFC 1624, section 4: equation 2 goes wrong here, equation 3 does not. */
static void updates_the_example_of_the_rfc(void **state)
{
	const uint8_t old[] = { 0x55, 0x55 }, now[] = { 0x32, 0x85 };

	(void)state;
	assert_int_equal(number(csum_update(htons(0xdd2f), old, now, 2)), 0);
}

static void updates_as_if_summed_anew(void **state)
{
	uint64_t r = SEED;
	uint8_t data[64], old[64];

	(void)state;
	for (int i = 0; i < 100000; i++) {
		size_t at = 2 * random_below(&r, 32);
		size_t len = 2 * random_below(&r, (64 - at) / 2 + 1);
		uint16_t check;

		random_fill(&r, data, sizeof(data));
		data[1] |= 1; /* a sum of nothing but zeroes has two forms */
		if (random_below(&r, 4) == 0)
			memset(data + at, 0xff, len);
		check = csum_finish(csum_add(0, data, sizeof(data)));
		memcpy(old, data, sizeof(data));
		random_fill(&r, data + at, len);
		if (random_below(&r, 4) == 0)
			memset(data + at, random_below(&r, 2) ? 0xff : 0, len);
		data[1] |= 1;
		check = csum_update(check, old, data, sizeof(data));
		assert_int_equal(check,
				 csum_finish(csum_add(0, data, sizeof(data))));
	}
}

static void updates_back_to_where_it_was(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (uint32_t check = 0; check < 0xffff; check++) {
		uint8_t old[36], now[36];
		uint16_t there;

		random_fill(&r, old, sizeof(old));
		random_fill(&r, now, sizeof(now));
		there = csum_update((uint16_t)check, old, now, sizeof(old));
		assert_int_equal(csum_update(there, now, old, sizeof(old)),
				 check);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_the_example_of_the_rfc),
		cmocka_unit_test(sums_every_length_at_every_alignment),
		cmocka_unit_test(reads_no_byte_too_many),
		cmocka_unit_test(sums_the_longest_packet_of_ones),
		cmocka_unit_test(sums_in_pieces_as_in_one),
		cmocka_unit_test(folds_every_carry),
		cmocka_unit_test(adds_both_pseudo_headers),
		cmocka_unit_test(updates_the_example_of_the_rfc),
		cmocka_unit_test(updates_as_if_summed_anew),
		cmocka_unit_test(updates_back_to_where_it_was),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
