/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cookie: lifetime, what a cookie is bound to, mac1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "cookie.h"
#include "hex.h"

#define LIFE COOKIE_SECRET_LIFE_MS

static const uint8_t secrets[3][COOKIE_SECRET_SIZE] = { { 1 }, { 2 }, { 3 } };

static const uint8_t e[CRYPTO_KEY_SIZE] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
};

static struct endpoint from(const char *text, uint16_t port)
{
	struct endpoint at;

	memset(&at, 0, sizeof at);
	assert_int_equal(addr_parse(text, &at.addr), 0);
	at.port = port;
	return at;
}

static void cookies_age(void **state)
{
	const struct endpoint source = from("192.0.2.1", 1021);
	struct cookie_jar jar = { 0 };
	uint8_t early[16], late[16], next[16];
	const uint64_t t = 5000;

	(void)state;
	assert_true(cookie_rotate_due(&jar, t));
	assert_int_equal(cookie_make(&jar, t, &source, 7, e, early), -EAGAIN);
	memset(early, 0, sizeof early);
	assert_false(cookie_is_valid(&jar, t, &source, 7, e, early));

	cookie_rotate(&jar, t, secrets[0]);
	assert_false(cookie_rotate_due(&jar, t + LIFE - 1));
	assert_int_equal(cookie_make(&jar, t, &source, 7, e, early), 0);
	assert_int_equal(cookie_make(&jar, t + LIFE - 1, &source, 7, e, late),
			 0);
	assert_memory_equal(early, late, sizeof early);
	assert_true(cookie_is_valid(&jar, t + LIFE - 1, &source, 7, e, late));

	assert_true(cookie_rotate_due(&jar, t + LIFE));
	assert_int_equal(cookie_make(&jar, t + LIFE, &source, 7, e, next),
			 -EAGAIN);
	/* Nobody rotated: it still ends in time. */
	assert_true(cookie_is_valid(&jar, t + 2 * LIFE - 1, &source, 7, e,
				    late));
	assert_false(cookie_is_valid(&jar, t + 2 * LIFE, &source, 7, e, late));

	cookie_rotate(&jar, t + LIFE, secrets[1]);
	assert_int_equal(cookie_make(&jar, t + LIFE, &source, 7, e, next), 0);
	assert_memory_not_equal(next, late, sizeof next);
	assert_true(cookie_is_valid(&jar, t + LIFE, &source, 7, e, late));
	assert_true(cookie_is_valid(&jar, t + LIFE, &source, 7, e, next));
	assert_false(cookie_is_valid(&jar, t + 2 * LIFE, &source, 7, e, late));
	assert_true(cookie_is_valid(&jar, t + 2 * LIFE, &source, 7, e, next));

	/* Two rotations at once leave the oldest behind. */
	cookie_rotate(&jar, t + LIFE + 1, secrets[2]);
	assert_false(cookie_is_valid(&jar, t + LIFE + 1, &source, 7, e, late));
	assert_true(cookie_is_valid(&jar, t + LIFE + 1, &source, 7, e, next));

	/* A clock that went back makes nothing young again. */
	assert_false(cookie_is_valid(&jar, t, &source, 7, e, next));
	assert_true(cookie_rotate_due(&jar, t));

	cookie_wipe(&jar);
	assert_false(cookie_is_valid(&jar, t + LIFE + 1, &source, 7, e, next));
}

static void cookies_are_bound(void **state)
{
	const struct endpoint source = from("192.0.2.1", 1021);
	const struct endpoint others[] = { from("192.0.2.2", 1021),
					   from("192.0.2.1", 1022),
					   from("::c000:201", 1021),
					   from("2001:db8::1", 1021) };
	struct cookie_jar jar = { 0 };
	uint8_t cookie[16], want[16];

	(void)state;
	cookie_rotate(&jar, 0, secrets[0]);
	assert_int_equal(cookie_make(&jar, 0, &source, 7, e, cookie), 0);
	/* BLAKE2b-128 keyed 01 00.., over ::ffff:192.0.2.1, 1021, 7
	 * and the key; computed with hashlib. */
	assert_int_equal(hex_to_bytes("da7873252c9959716e206ecd44975777",
				      want, sizeof want),
			 16);
	assert_memory_equal(cookie, want, sizeof want);
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		assert_false(cookie_is_valid(&jar, 0, &others[i], 7, e,
					     cookie));
	for (int bit = 0; bit < 32; bit++)
		assert_false(cookie_is_valid(&jar, 0, &source,
					     7 ^ (uint32_t)1 << bit, e,
					     cookie));
	for (int bit = 0; bit < 256; bit++) {
		uint8_t other[CRYPTO_KEY_SIZE];

		memcpy(other, e, sizeof other);
		other[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(cookie_is_valid(&jar, 0, &source, 7, other,
					     cookie));
	}
	for (int bit = 0; bit < 128; bit++) {
		cookie[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(cookie_is_valid(&jar, 0, &source, 7, e, cookie));
		cookie[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(cookie_is_valid(&jar, 0, &source, 7, e, cookie));
}

static void mac1_covers_all_but_the_cookie(void **state)
{
	uint8_t key[32], other[32], public_key[32], want[16];
	uint8_t init[WIRE_INIT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof public_key; i++)
		public_key[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof init; i++)
		init[i] = (uint8_t)i;
	cookie_mac1_key(public_key, key);
	public_key[0] ^= 1;
	cookie_mac1_key(public_key, other);
	assert_false(cookie_mac1_is_valid(key, init));
	cookie_mac1_set(key, init);
	/* Computed with hashlib. */
	assert_int_equal(hex_to_bytes("7d4be2215f443771863429729acf9083",
				      want, sizeof want),
			 16);
	assert_memory_equal(init + WIRE_INIT_MAC1_AT, want, sizeof want);
	assert_true(cookie_mac1_is_valid(key, init));
	assert_false(cookie_mac1_is_valid(other, init));
	for (size_t bit = 0; bit < sizeof init * 8; bit++) {
		size_t at = bit / 8;
		bool in_cookie = at >= WIRE_INIT_COOKIE_AT &&
				 at < WIRE_INIT_MAC1_AT;

		init[at] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(cookie_mac1_is_valid(key, init), in_cookie);
		init[at] ^= (uint8_t)(1 << bit % 8);
	}
	memset(init + WIRE_INIT_MAC1_AT, 0, WIRE_MAC1_SIZE);
	assert_false(cookie_mac1_is_valid(key, init));
}

static int setup(void **state)
{
	(void)state;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cookies_age),
		cmocka_unit_test(cookies_are_bound),
		cmocka_unit_test(mac1_covers_all_but_the_cookie),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("cookie", tests, setup, NULL);
}
