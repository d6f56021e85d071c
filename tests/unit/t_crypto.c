/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crypto: known answers from the RFCs; where none has our parameters (HMAC
 * and HKDF over BLAKE2b), from an independent implementation (hashlib, hmac).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "crypto.h"
#include "hex.h"

#define BYTES(array, text) \
	assert_int_equal(hex_to_bytes(text, array, sizeof array), sizeof array)

static void assert_bytes(const uint8_t *got, size_t len, const char *text)
{
	uint8_t want[512];

	assert_int_equal(hex_to_bytes(text, want, sizeof want), len);
	assert_memory_equal(got, want, len);
}

static void count_up(uint8_t *to, size_t len, uint8_t from)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(from + i);
}

static void x25519_as_in_rfc_7748(void **state)
{
	struct crypto_keypair alice, bob;
	uint8_t k[32], u[32], shared[32];

	(void)state;
	/* section 5.2 */
	BYTES(k, "a546e36bf0527c9d3b16154b82465edd"
		 "62144c0ac1fc5a18506a2244ba449ac4");
	BYTES(u, "e6db6867583030db3594c1a424b15f7c"
		 "726624ec26b3353b10a903a6d0ab1c4c");
	assert_int_equal(crypto_dh(k, u, shared), 0);
	assert_bytes(shared, 32,
		     "c3da55379de9c6908e94ea4df28d084f"
		     "32eccf03491c71f754b4075577a28552");
	/* section 6.1 */
	BYTES(k, "77076d0a7318a57d3c16c17251b26645"
		 "df4c2f87ebc0992ab177fba51db92c2a");
	crypto_keypair_from_private(&alice, k);
	assert_memory_equal(alice.private_key, k, 32);
	assert_bytes(alice.public_key, 32,
		     "8520f0098930a754748b7ddcb43ef75a"
		     "0dbf3a0d26381af4eba4a98eaa9b4e6a");
	BYTES(k, "5dab087e624a8a4b79e17f8b83800ee6"
		 "6f3bb1292618b6fd1c2f8b27ff88e0eb");
	crypto_keypair_from_private(&bob, k);
	assert_bytes(bob.public_key, 32,
		     "de9edb7d7b7dc1b4d35b61c2ece43537"
		     "3f8343c85b78674dadfc7e146f882b4f");
	assert_int_equal(crypto_dh(alice.private_key, bob.public_key, shared),
			 0);
	assert_bytes(shared, 32,
		     "4a5d9d5ba4ce2de1728e3bf480350f25"
		     "e07e21c947d19e3376f09b3c1e161742");
	assert_int_equal(crypto_dh(bob.private_key, alice.public_key, u), 0);
	assert_memory_equal(shared, u, 32);

	crypto_keypair_generate(&alice);
	crypto_keypair_generate(&bob);
	assert_memory_not_equal(alice.private_key, bob.private_key, 32);
	assert_int_equal(crypto_dh(alice.private_key, bob.public_key, shared),
			 0);
	assert_int_equal(crypto_dh(bob.private_key, alice.public_key, u), 0);
	assert_memory_equal(shared, u, 32);
}

static void small_order_is_refused(void **state)
{
	/* The points of order 1, 2, 4 and 8, and their forms past p. */
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000"
		"000000",
		"0100000000000000000000000000000000000000000000000000000000"
		"000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f"
		"49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd0"
		"9f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
		"ffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
		"ffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
		"ffff7f",
		"0000000000000000000000000000000000000000000000000000000000"
		"000080",
	};
	static const uint8_t zero[32];
	struct crypto_keypair own;
	uint8_t point[32], shared[32];

	(void)state;
	crypto_keypair_generate(&own);
	for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
		BYTES(point, points[i]);
		memset(shared, 0xaa, sizeof shared);
		assert_int_equal(crypto_dh(own.private_key, point, shared),
				 -EBADMSG);
		assert_memory_equal(shared, zero, 32);
	}
}

/* RFC 8439, A.5: its nonce has four zero bytes, then our counter. */
static void aead_as_in_rfc_8439(void **state)
{
	static const char text[] =
		"Internet-Drafts are draft documents valid for a maximum of "
		"six months and may be updated, replaced, or obsoleted by "
		"other documents at any time. It is inappropriate to use "
		"Internet-Drafts as reference material or to cite them other "
		"than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d";
	enum { LEN = sizeof text - 1 };
	const uint64_t counter = 0x0807060504030201;
	uint8_t key[32], ad[12], sealed[LEN + 16], opened[LEN];

	(void)state;
	BYTES(key, "1c9240a5eb55d38af333888604f6b5f0"
		   "473917c1402b80099dca5cbc207075c0");
	BYTES(ad, "f33388860000000000004e91");
	assert_int_equal(LEN, 265);
	crypto_seal(key, counter, ad, sizeof ad, (const uint8_t *)text, LEN,
		    sealed);
	assert_bytes(sealed, 16, "64a0861575861af460f062c79be643bd");
	assert_bytes(sealed + LEN, 16, "eead9d67890cbb22392336fea1851f38");
	assert_int_equal(crypto_open(key, counter, ad, sizeof ad, sealed,
				     sizeof sealed, opened),
			 0);
	assert_memory_equal(opened, text, LEN);
}

static void aead_refuses_every_change(void **state)
{
	uint8_t key[32], ad[16], plain[40], sealed[56], out[56];

	(void)state;
	count_up(key, sizeof key, 1);
	count_up(ad, sizeof ad, 2);
	count_up(plain, sizeof plain, 3);
	crypto_seal(key, 5, ad, sizeof ad, plain, sizeof plain, sealed);
#define OPEN(counter, ad_len, len) \
	crypto_open(key, counter, ad, ad_len, sealed, len, out)
	assert_int_equal(OPEN(5, 16, 56), 0);
	assert_memory_equal(out, plain, sizeof plain);
	for (unsigned int bit = 0; bit < sizeof sealed * 8; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(OPEN(5, 16, 56), -EBADMSG);
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (unsigned int bit = 0; bit < sizeof ad * 8; bit++) {
		ad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(OPEN(5, 16, 56), -EBADMSG);
		ad[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (unsigned int bit = 0; bit < sizeof key * 8; bit++) {
		key[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(OPEN(5, 16, 56), -EBADMSG);
		key[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (unsigned int bit = 0; bit < 64; bit++)
		assert_int_equal(OPEN(5 ^ (uint64_t)1 << bit, 16, 56),
				 -EBADMSG);
	for (size_t len = 0; len < sizeof sealed; len++)
		assert_int_equal(OPEN(5, 16, len), -EBADMSG);
	assert_int_equal(OPEN(5, 15, 56), -EBADMSG);
	/* In place. */
	assert_int_equal(crypto_open(key, 5, ad, sizeof ad, sealed,
				     sizeof sealed, sealed),
			 0);
	assert_memory_equal(sealed, plain, sizeof plain);
	/* Nothing at all, sealed, is a tag. */
	crypto_seal(key, 0, NULL, 0, NULL, 0, sealed);
	assert_int_equal(crypto_open(key, 0, NULL, 0, sealed, 16, out), 0);
#undef OPEN
}

static void blake2b_as_in_rfc_7693(void **state)
{
	const struct crypto_part abc[] = { { "a", 1 }, { NULL, 0 },
					   { "bc", 2 } };
	const struct crypto_part part = { "sacip", 5 };
	uint8_t key[32], out[64];

	(void)state;
	crypto_blake2b(out, 64, NULL, 0, abc, 3);
	assert_bytes(out, 64,
		     "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b7"
		     "4b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc95"
		     "18d38aa8dbf1925ab92386edd4009923");
	crypto_blake2b(out, 16, NULL, 0, &part, 1);
	assert_bytes(out, 16, "7ecaa409b9d491795cffb253ad39f79c");
	count_up(key, sizeof key, 0);
	crypto_blake2b(out, 32, key, 32, &part, 1);
	assert_bytes(out, 32,
		     "ac9461b05eb902a47eb5228f83d7583c"
		     "c007e449fd4ebff426d640d32db3f98f");
	crypto_blake2b(out, 16, key, 32, &part, 1);
	assert_bytes(out, 16, "9cb11b8ff62c1760d1dabdc3c1bffaf8");
	crypto_blake2b(out, 8, key, 32, &part, 1);
	assert_bytes(out, 8, "4efe8dd6bac1aba5");
	crypto_blake2b(out, 1, NULL, 0, &part, 1);
	assert_bytes(out, 1, "ac");
}

static void hmac_and_hkdf_over_blake2b(void **state)
{
	const struct crypto_part parts[] = { { "sac", 3 }, { "ip", 2 } };
	uint8_t key[128], input[32], out[3][64], two[2][64];

	(void)state;
	count_up(key, sizeof key, 0);
	crypto_hmac(key, 64, parts, 2, out[0]);
	assert_bytes(out[0], 64,
		     "4e66d143835af4dc688944da2cddf036c069715cbf477b8e"
		     "3b430d8cf24b6987fda60c7c7d7108c2157872645eee6098"
		     "5776dc0c6f103864e1941e5cd9934e8e");
	crypto_hmac(key, 128, NULL, 0, out[0]);
	assert_bytes(out[0], 64,
		     "e79ec585fc83408cd654da61cc87457edd77cae194e6e472"
		     "7420fa21a001229ed67f1fb7bb03effaaaec05d2d7902f98"
		     "bfad11da65b4c08d197eefa96f314b31");

	count_up(input, sizeof input, 100);
	crypto_hkdf(key, input, sizeof input, out[0], out[1], out[2]);
	assert_bytes(out[0], 64,
		     "2262ed5f40c3324574d00a1e0849a7cc67fb5b6a80211c3c"
		     "59404bb8e47512b1cb95e73840718c5d68ca345f934f39a5"
		     "2f1f31e8f6d3ed521f0664f46feddae4");
	assert_bytes(out[1], 64,
		     "f6a6559fa2aaab64d3d2666b83fe3f4fed6fae1959537fed"
		     "d6a39b6f8d411e6132593234cc2a750244335da5021c27bf"
		     "7eacbb65cfa608457de6ecc144b90077");
	assert_bytes(out[2], 64,
		     "07c82c1301c70e885f4662f1f3f7b7bb9e04d81c94a6e188"
		     "2f812c02ffb69580c93095bb599ad2fced3d3cf38c9c17df"
		     "4fb3c0029f231247fca69b040e16449e");
	crypto_hkdf(key, input, sizeof input, two[0], two[1], NULL);
	assert_memory_equal(two, out, sizeof two);
	/* The chaining key may be replaced by what comes of it. */
	crypto_hkdf(key, input, sizeof input, key, two[1], NULL);
	assert_memory_equal(key, out[0], 64);
	assert_memory_equal(two[1], out[1], 64);
}

/* Of the paper (appendix A), and of the empty string. */
static void siphash_as_its_authors_say(void **state)
{
	uint8_t key[CRYPTO_SHORT_KEY_SIZE], in[15];

	(void)state;
	for (uint8_t i = 0; i < sizeof(key); i++)
		key[i] = i;
	for (uint8_t i = 0; i < sizeof(in); i++)
		in[i] = i;
	assert_true(le64toh(crypto_short_hash(key, in, sizeof(in))) ==
		    0xa129ca6149be45e5);
	assert_true(le64toh(crypto_short_hash(key, in, 0)) ==
		    0x726fdb47dd0e0e31);
}

static void keys_as_text(void **state)
{
	static const char *const bad[] = {
		"", "=", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8A",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka xwdHh8=",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka-_wdHh8=",
		" AECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
	};
	char text[CRYPTO_KEY_TEXT_SIZE], print[CRYPTO_FINGERPRINT_SIZE];
	uint8_t key[32], back[32];

	(void)state;
	count_up(key, sizeof key, 0);
	crypto_key_to_text(key, text);
	assert_string_equal(text,
			    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
	assert_int_equal(crypto_key_from_text(text, back), 0);
	assert_memory_equal(back, key, sizeof key);
	crypto_fingerprint(key, print);
	assert_string_equal(print, "B2:yy9RYPwffgWlXvSdNAtI2i5aeAmdUzkzUc1"
				   "XndQlA9Y");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (crypto_key_from_text(bad[i], back) != -EINVAL)
			fail_msg("\"%s\" is no key", bad[i]);
		assert_memory_equal(back, key, sizeof key);
	}
}

static void small_tools(void **state)
{
	uint8_t a[48] = { 0 }, b[48] = { 0 };

	(void)state;
	assert_true(crypto_equal(a, b, sizeof a));
	for (size_t i = 0; i < sizeof a; i++) {
		b[i] = 0x80;
		assert_false(crypto_equal(a, b, sizeof a));
		assert_true(crypto_equal(a, b, i));
		b[i] = 0;
	}
	crypto_random(a, sizeof a);
	assert_memory_not_equal(a, b, sizeof a);
	crypto_random(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	crypto_wipe(a, sizeof a);
	memset(b, 0, sizeof b);
	assert_memory_equal(a, b, sizeof a);
}

static int setup(void **state)
{
	(void)state;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(x25519_as_in_rfc_7748),
		cmocka_unit_test(small_order_is_refused),
		cmocka_unit_test(aead_as_in_rfc_8439),
		cmocka_unit_test(aead_refuses_every_change),
		cmocka_unit_test(blake2b_as_in_rfc_7693),
		cmocka_unit_test(hmac_and_hkdf_over_blake2b),
		cmocka_unit_test(siphash_as_its_authors_say),
		cmocka_unit_test(keys_as_text),
		cmocka_unit_test(small_tools),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("crypto", tests, setup, NULL);
}
