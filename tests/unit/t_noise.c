/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * noise: public vectors, and everything that a handshake must refuse.
 *
 * Vectors are read from $SACIPED_VECTORS, or from shared/vectors beside the
 * source tree: every *.json there. None is kept in this repository. Those
 * of other patterns are skipped by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>

#include "hex.h"
#include "noise.h"
#include "vectors.h"

/* ---- two ends and their messages -------------------------------------- */

/* Private keys lose their low three bits when they are used. */
static const uint8_t eph[2][32] = { { 0x20 }, { 0x28 } };
static const uint8_t payload[3][20] = { "first, in clear", "second",
					"third" };
enum { PAYLOAD = sizeof payload[0] };
enum {
	INIT = PAYLOAD + NOISE_INIT_OVERHEAD,
	RESP = PAYLOAD + NOISE_RESP_OVERHEAD,
	FIN = PAYLOAD + NOISE_FIN_OVERHEAD,
};

struct pair {
	struct crypto_keypair key[2];
	struct noise_handshake i, r;
	uint8_t init[INIT], resp[RESP], fin[FIN];
	uint8_t got[64];
	size_t len, got_len;
};

static void pair_begin(struct pair *p)
{
	static const uint8_t statics[2][32] = { { 0x40 }, { 0x48 } };

	memset(p, 0, sizeof *p);
	for (int i = 0; i < 2; i++)
		crypto_keypair_from_private(&p->key[i], statics[i]);
	noise_begin_sacip(&p->i, true, 1, &p->key[0]);
	noise_begin_sacip(&p->r, false, 1, &p->key[1]);
}

#define CREATE(p, verb, hs, e, n, out)                                        \
	noise_##verb##_create(hs, e, payload[n], PAYLOAD, out, sizeof out,    \
			      &(p)->len)
#define CONSUME(p, verb, hs, msg, msg_len)                                    \
	noise_##verb##_consume(hs, msg, msg_len, (p)->got, sizeof (p)->got,   \
			       &(p)->got_len)
#define FIN_CREATE(p)                                                         \
	noise_fin_create(&(p)->i, payload[2], PAYLOAD, (p)->fin,              \
			 sizeof (p)->fin, &(p)->len)

static enum noise_result make_init(struct pair *p)
{
	return CREATE(p, init, &p->i, eph[0], 0, p->init);
}

static enum noise_result take_init(struct pair *p)
{
	return CONSUME(p, init, &p->r, p->init, INIT);
}

static enum noise_result make_resp(struct pair *p)
{
	return CREATE(p, resp, &p->r, eph[1], 1, p->resp);
}

static enum noise_result take_resp(struct pair *p)
{
	return CONSUME(p, resp, &p->i, p->resp, RESP);
}

static enum noise_result take_fin(struct pair *p)
{
	return CONSUME(p, fin, &p->r, p->fin, FIN);
}

/* Up to and with the creation of the given message (0 INIT .. 2 FIN). */
static void pair_until(struct pair *p, int message)
{
	pair_begin(p);
	assert_int_equal(make_init(p), NOISE_OK);
	if (message == 0)
		return;
	assert_int_equal(take_init(p), NOISE_OK);
	assert_int_equal(make_resp(p), NOISE_OK);
	if (message == 1)
		return;
	assert_int_equal(take_resp(p), NOISE_OK);
	assert_int_equal(FIN_CREATE(p), NOISE_OK);
}

static void assert_unchanged(const struct noise_handshake *a,
			     const struct noise_handshake *b)
{
	assert_memory_equal(a, b, sizeof *a);
}

/* ---- the whole handshake ----------------------------------------------- */

static void both_ends_agree(void **state)
{
	struct pair p;
	struct noise_keys a, b;
	static const struct noise_handshake wiped;

	(void)state;
	pair_begin(&p);
	assert_int_equal(make_init(&p), NOISE_OK);
	assert_int_equal(p.len, INIT);
	assert_int_equal(take_init(&p), NOISE_OK);
	assert_int_equal(p.got_len, PAYLOAD);
	assert_memory_equal(p.got, payload[0], PAYLOAD);
	assert_int_equal(make_resp(&p), NOISE_OK);
	assert_int_equal(p.len, RESP);
	assert_int_equal(take_resp(&p), NOISE_OK);
	assert_int_equal(p.got_len, PAYLOAD);
	assert_memory_equal(p.got, payload[1], PAYLOAD);
	assert_memory_equal(p.i.remote_static, p.key[1].public_key, 32);
	assert_int_equal(FIN_CREATE(&p), NOISE_OK);
	assert_int_equal(p.len, FIN);
	assert_int_equal(take_fin(&p), NOISE_OK);
	assert_int_equal(p.got_len, PAYLOAD);
	assert_memory_equal(p.got, payload[2], PAYLOAD);
	assert_int_equal(noise_split(&p.i, &a), NOISE_OK);
	assert_int_equal(noise_split(&p.r, &b), NOISE_OK);

	assert_memory_equal(a.send, b.receive, 32);
	assert_memory_equal(a.receive, b.send, 32);
	assert_memory_equal(a.hash, b.hash, 64);
	assert_memory_equal(a.remote_static, p.key[1].public_key, 32);
	assert_memory_equal(b.remote_static, p.key[0].public_key, 32);
	assert_memory_not_equal(a.send, a.receive, 32);
	assert_unchanged(&p.i, &wiped);
	assert_unchanged(&p.r, &wiped);
}

/* ---- what is refused ---------------------------------------------------- */

/* INIT is in clear: a change shows when the answer comes. */
static void every_bit_of_init_matters(void **state)
{
	struct pair p;

	(void)state;
	for (size_t bit = 0; bit < INIT * 8; bit++) {
		pair_until(&p, 0);
		p.init[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(take_init(&p), NOISE_OK);
		assert_int_equal(make_resp(&p), NOISE_OK);
		assert_int_equal(take_resp(&p), NOISE_DECRYPT);
	}
	for (size_t len = 0; len < INIT; len++) {
		pair_until(&p, 0);
		assert_int_equal(CONSUME(&p, init, &p.r, p.init, len),
				 len < NOISE_INIT_OVERHEAD ? NOISE_LENGTH :
							     NOISE_OK);
		if (len < NOISE_INIT_OVERHEAD)
			continue;
		assert_int_equal(make_resp(&p), NOISE_OK);
		assert_int_equal(take_resp(&p), NOISE_DECRYPT);
	}
}

static void every_bit_of_resp_matters(void **state)
{
	struct noise_handshake before;
	uint8_t longer[RESP + 1] = { 0 };
	struct pair p;

	(void)state;
	pair_until(&p, 1);
	before = p.i;
	for (size_t bit = 0; bit < RESP * 8; bit++) {
		p.resp[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(take_resp(&p), NOISE_DECRYPT);
		assert_unchanged(&p.i, &before);
		p.resp[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < RESP; len++) {
		assert_int_not_equal(CONSUME(&p, resp, &p.i, p.resp, len),
				     NOISE_OK);
		assert_unchanged(&p.i, &before);
	}
	memcpy(longer, p.resp, RESP);
	assert_int_equal(CONSUME(&p, resp, &p.i, longer, sizeof longer),
			 NOISE_DECRYPT);
	/* After all that the genuine one still does. */
	assert_int_equal(take_resp(&p), NOISE_OK);
}

static void every_bit_of_fin_matters(void **state)
{
	struct noise_handshake before;
	uint8_t longer[FIN + 1] = { 0 };
	struct noise_keys keys;
	struct pair p;

	(void)state;
	pair_until(&p, 2);
	before = p.r;
	for (size_t bit = 0; bit < FIN * 8; bit++) {
		p.fin[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(take_fin(&p), NOISE_DECRYPT);
		assert_unchanged(&p.r, &before);
		p.fin[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < FIN; len++) {
		assert_int_not_equal(CONSUME(&p, fin, &p.r, p.fin, len),
				     NOISE_OK);
		assert_unchanged(&p.r, &before);
	}
	memcpy(longer, p.fin, FIN);
	assert_int_equal(CONSUME(&p, fin, &p.r, longer, sizeof longer),
			 NOISE_DECRYPT);
	assert_int_equal(noise_split(&p.r, &keys), NOISE_ORDER);
	assert_int_equal(take_fin(&p), NOISE_OK);
	assert_int_equal(noise_split(&p.r, &keys), NOISE_OK);
}

/* At each stage of each role all verbs but one are out of order. */
static void verbs_have_one_place(void **state)
{
	static const char allowed[2][4] = { { 'I', 'r', 'F', 0 },
					    { 'i', 'R', 'f', 0 } };
	struct noise_keys keys;
	struct pair p;

	(void)state;
	for (int role = 0; role < 2; role++)
		for (int stage = 0; stage < 4; stage++) {
			struct noise_handshake *hs, before, copy;
			uint8_t out[256];

			pair_until(&p, 2);
			assert_int_equal(take_fin(&p), NOISE_OK);
			before = role ? p.r : p.i;
			before.stage = (enum noise_stage)stage;
			hs = &copy;
#define TRY(letter, call)                                                     \
	do {                                                                  \
		enum noise_result result;                                     \
		copy = before;                                                \
		result = call;                                                \
		if (allowed[role][stage] == letter) {                         \
			assert_int_not_equal(result, NOISE_ORDER);            \
		} else {                                                      \
			assert_int_equal(result, NOISE_ORDER);                \
			assert_unchanged(&copy, &before);                     \
		}                                                             \
	} while (0)
			TRY('I', CREATE(&p, init, hs, eph[0], 0, out));
			TRY('i', CONSUME(&p, init, hs, p.init, INIT));
			TRY('R', CREATE(&p, resp, hs, eph[1], 1, out));
			TRY('r', CONSUME(&p, resp, hs, p.resp, RESP));
			TRY('F', noise_fin_create(hs, payload[2], PAYLOAD, out,
						  sizeof out, &p.len));
			TRY('f', CONSUME(&p, fin, hs, p.fin, FIN));
#undef TRY
			copy = before;
			assert_int_equal(noise_split(hs, &keys),
					 stage == NOISE_FIN_DONE ? NOISE_OK :
								   NOISE_ORDER);
		}
}

/* A datagram of another handshake, same keys, is as good as none. */
static void messages_do_not_cross(void **state)
{
	static const uint8_t other_eph[32] = { 0x60 };
	struct pair p, q;

	(void)state;
	pair_until(&p, 2);
	pair_begin(&q);
	assert_int_equal(CREATE(&q, init, &q.i, other_eph, 0, q.init),
			 NOISE_OK);
	assert_int_equal(take_init(&q), NOISE_OK);
	assert_int_equal(make_resp(&q), NOISE_OK);
	assert_int_equal(CONSUME(&q, resp, &q.i, p.resp, RESP),
			 NOISE_DECRYPT);
	assert_int_equal(take_resp(&q), NOISE_OK);
	assert_int_equal(FIN_CREATE(&q), NOISE_OK);
	assert_int_equal(CONSUME(&q, fin, &q.r, p.fin, FIN), NOISE_DECRYPT);
	/* An answer of the same length that is an echo, and RESP as FIN. */
	assert_int_equal(CONSUME(&q, fin, &q.r, q.resp, FIN), NOISE_DECRYPT);
	pair_until(&p, 1);
	memcpy(p.resp, p.init, INIT);
	assert_int_equal(take_resp(&p), NOISE_DECRYPT);
	assert_int_equal(take_fin(&q), NOISE_OK);
}

static void versions_do_not_mix(void **state)
{
	struct pair p;

	(void)state;
	pair_begin(&p);
	noise_begin_sacip(&p.r, false, 2, &p.key[1]);
	assert_int_equal(make_init(&p), NOISE_OK);
	assert_int_equal(take_init(&p), NOISE_OK);
	assert_int_equal(make_resp(&p), NOISE_OK);
	assert_int_equal(take_resp(&p), NOISE_DECRYPT);

	/* The prologue is SACIP and the byte of the version. */
	pair_begin(&p);
	noise_begin(&p.r, false, "SACIP\1", 6, &p.key[1]);
	assert_int_equal(make_init(&p), NOISE_OK);
	assert_int_equal(take_init(&p), NOISE_OK);
	assert_int_equal(make_resp(&p), NOISE_OK);
	assert_int_equal(take_resp(&p), NOISE_OK);
}

static void small_order_keys_are_refused(void **state)
{
	struct noise_handshake before;
	struct pair p;

	(void)state;
	pair_until(&p, 0); /* e of INIT */
	memset(p.init, 0, 32);
	assert_int_equal(take_init(&p), NOISE_OK);
	before = p.r;
	assert_int_equal(make_resp(&p), NOISE_DH);
	assert_unchanged(&p.r, &before);

	pair_until(&p, 1); /* e of RESP */
	before = p.i;
	memset(p.resp, 0, 32);
	assert_int_equal(take_resp(&p), NOISE_DH);
	assert_unchanged(&p.i, &before);

	pair_until(&p, 0); /* s of RESP, sealed as it should be */
	assert_int_equal(take_init(&p), NOISE_OK);
	memset(p.r.own_static.public_key, 0, 32);
	assert_int_equal(make_resp(&p), NOISE_OK);
	before = p.i;
	assert_int_equal(take_resp(&p), NOISE_DH);
	assert_unchanged(&p.i, &before);

	pair_until(&p, 1); /* s of FIN */
	assert_int_equal(take_resp(&p), NOISE_OK);
	memset(p.i.own_static.public_key, 0, 32);
	assert_int_equal(FIN_CREATE(&p), NOISE_OK);
	before = p.r;
	assert_int_equal(take_fin(&p), NOISE_DH);
	assert_unchanged(&p.r, &before);
}

static void own_key_is_refused(void **state)
{
	struct pair p;

	(void)state;
	pair_begin(&p);
	noise_begin_sacip(&p.r, false, 1, &p.key[0]);
	assert_int_equal(make_init(&p), NOISE_OK);
	assert_int_equal(take_init(&p), NOISE_OK);
	assert_int_equal(make_resp(&p), NOISE_OK);
	assert_int_equal(take_resp(&p), NOISE_SELF);

	/* The responder finds it in FIN. */
	pair_until(&p, 2);
	memcpy(&p.r.own_static, &p.key[0], sizeof p.key[0]);
	assert_int_equal(take_fin(&p), NOISE_SELF);
}

/* Knowing a public key is not holding its private one. */
static void a_stolen_name_does_not_do(void **state)
{
	struct pair p;

	(void)state;
	pair_begin(&p);
	memcpy(p.r.own_static.private_key, eph[0], 32);
	assert_int_equal(make_init(&p), NOISE_OK);
	assert_int_equal(take_init(&p), NOISE_OK);
	assert_int_equal(make_resp(&p), NOISE_OK);
	assert_int_equal(take_resp(&p), NOISE_DECRYPT);

	pair_until(&p, 1);
	assert_int_equal(take_resp(&p), NOISE_OK);
	memcpy(p.i.own_static.private_key, eph[0], 32);
	assert_int_equal(FIN_CREATE(&p), NOISE_OK);
	assert_int_equal(take_fin(&p), NOISE_DECRYPT);
}

static void sizes_are_bounded(void **state)
{
	static uint8_t big[NOISE_PAYLOAD_MAX + 1 + NOISE_RESP_OVERHEAD];
	struct pair p;
	uint8_t small[8];

	(void)state;
	pair_begin(&p);
	assert_int_equal(noise_init_create(&p.i, eph[0], big,
					   NOISE_PAYLOAD_MAX + 1, big,
					   sizeof big, &p.len),
			 NOISE_LENGTH);
	assert_int_equal(noise_init_create(&p.i, eph[0], payload[0], PAYLOAD,
					   p.init, INIT - 1, &p.len),
			 NOISE_LENGTH);
	assert_int_equal(make_init(&p), NOISE_OK);
	assert_int_equal(noise_init_consume(&p.r, p.init, INIT, small,
					    sizeof small, &p.got_len),
			 NOISE_LENGTH);
	assert_int_equal(CONSUME(&p, init, &p.r, big, sizeof big),
			 NOISE_LENGTH);
	assert_int_equal(take_init(&p), NOISE_OK);
}

/* ---- vectors ------------------------------------------------------------ */

struct party {
	struct noise_handshake hs;
	struct noise_keys keys;
	uint64_t sent, received;
};

static size_t bytes(const char *text, void *to, size_t size)
{
	int n = hex_to_bytes(text, to, size);

	assert_true(n >= 0);
	return (size_t)n;
}

static void vector_handshake(const struct vector *v, int n,
			     struct party *from, struct party *to)
{
	static const uint8_t none[32];
	uint8_t plain[512], want[512], out[512], got[512], e[32];
	size_t plain_len = bytes(v->message[n].payload, plain, sizeof plain);
	size_t want_len = bytes(v->message[n].ciphertext, want, sizeof want);
	size_t len = 0, got_len = 0;

	if (n < 2)
		assert_int_equal(bytes(v->ephemeral[n], e, sizeof e), 32);
	else
		memcpy(e, none, sizeof e);
	switch (n) {
	case 0:
		assert_int_equal(noise_init_create(&from->hs, e, plain,
						   plain_len, out, sizeof out,
						   &len),
				 NOISE_OK);
		assert_int_equal(noise_init_consume(&to->hs, out, len, got,
						    sizeof got, &got_len),
				 NOISE_OK);
		break;
	case 1:
		assert_int_equal(noise_resp_create(&from->hs, e, plain,
						   plain_len, out, sizeof out,
						   &len),
				 NOISE_OK);
		assert_int_equal(noise_resp_consume(&to->hs, out, len, got,
						    sizeof got, &got_len),
				 NOISE_OK);
		break;
	default:
		assert_int_equal(noise_fin_create(&from->hs, plain, plain_len,
						  out, sizeof out, &len),
				 NOISE_OK);
		assert_int_equal(noise_fin_consume(&to->hs, out, len, got,
						   sizeof got, &got_len),
				 NOISE_OK);
	}
	assert_int_equal(len, want_len);
	assert_memory_equal(out, want, len);
	assert_int_equal(got_len, plain_len);
	assert_memory_equal(got, plain, plain_len);
}

static void vector_transport(const struct vector *v, unsigned int n,
			     struct party *from, struct party *to)
{
	uint8_t plain[512], want[512], out[512];
	size_t len = bytes(v->message[n].payload, plain, sizeof plain - 16);
	size_t want_len = bytes(v->message[n].ciphertext, want, sizeof want);

	crypto_seal(from->keys.send, from->sent++, NULL, 0, plain, len, out);
	assert_int_equal(want_len, len + CRYPTO_TAG_SIZE);
	assert_memory_equal(out, want, want_len);
	assert_int_equal(crypto_open(to->keys.receive, to->received++, NULL, 0,
				     want, want_len, out),
			 0);
	assert_memory_equal(out, plain, len);
}

static void vector_passes(void **state)
{
	const struct vector *v = *state;
	struct party party[2] = { 0 };
	uint8_t prologue[512], key[32], hash[64];

	if (strcmp(v->protocol_name, "Noise_XX_25519_ChaChaPoly_BLAKE2b")) {
		print_message("# the product does not use this pattern\n");
		skip();
	}
	assert_true(v->n_messages > 3);
	for (int i = 0; i < 2; i++) {
		struct crypto_keypair own;
		size_t len = bytes(v->prologue[i], prologue, sizeof prologue);

		assert_int_equal(bytes(v->static_key[i], key, sizeof key), 32);
		crypto_keypair_from_private(&own, key);
		noise_begin(&party[i].hs, i == 0, prologue, len, &own);
	}
	for (int n = 0; n < 3; n++)
		vector_handshake(v, n, &party[n % 2], &party[(n + 1) % 2]);
	for (int i = 0; i < 2; i++)
		assert_int_equal(noise_split(&party[i].hs, &party[i].keys),
				 NOISE_OK);
	if (v->handshake_hash[0]) {
		assert_int_equal(bytes(v->handshake_hash, hash, sizeof hash),
				 64);
		assert_memory_equal(party[0].keys.hash, hash, sizeof hash);
	}
	for (unsigned int n = 3; n < v->n_messages; n++)
		vector_transport(v, n, &party[n % 2], &party[(n + 1) % 2]);
}

static void vector_file_is_read(void **state)
{
	fail_msg("%s is not a file of vectors", (const char *)*state);
}

static void vectors_are_there(void **state)
{
	(void)state;
	print_message("# no vectors: set SACIPED_VECTORS to their directory\n");
	skip();
}

static char *read_whole(const char *path)
{
	char *text = malloc(VECTOR_FILE_MAX + 1);
	FILE *f = fopen(path, "rb");
	size_t len = 0;

	if (text && f)
		len = fread(text, 1, VECTOR_FILE_MAX, f);
	if (f)
		fclose(f);
	if (text)
		text[len] = '\0';
	return text;
}

static int is_json(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return len > 5 && !strcmp(e->d_name + len - 5, ".json");
}

#define NAME_MAX_ 128
static struct vector vectors[VECTORS_MAX];
static char names[VECTORS_MAX][NAME_MAX_];

/* Adds one test per vector to tests[*n..]. */
static void add_file(const char *path, const char *name,
		     struct CMUnitTest *tests, int *n, int room)
{
	char *text = read_whole(path);
	int got = text ? vectors_read(text, vectors + *n, room) : -1;

	free(text);
	if (got < 0) {
		snprintf(names[*n], NAME_MAX_, "%.60s", name);
		tests[*n] = (struct CMUnitTest){ names[*n],
						 vector_file_is_read, NULL,
						 NULL, names[*n] };
		++*n;
		return;
	}
	for (int i = 0; i < got; i++, ++*n) {
		snprintf(names[*n], NAME_MAX_, "%.60s: %.64s", name,
			 vectors[*n].protocol_name);
		tests[*n] = (struct CMUnitTest){ names[*n], vector_passes,
						 NULL, NULL, &vectors[*n] };
	}
}

static int add_vectors(struct CMUnitTest *tests)
{
	const char *dir = getenv("SACIPED_VECTORS");
	const char *srcdir = getenv("srcdir");
	struct dirent **list = NULL;
	char beside[2048], path[4096];
	int files, n = 0;

	snprintf(beside, sizeof beside, "%s/../shared/vectors",
		 srcdir ? srcdir : ".");
	if (!dir)
		dir = beside;
	files = scandir(dir, &list, is_json, alphasort);
	for (int i = 0; i < files; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
		if (n < VECTORS_MAX)
			add_file(path, list[i]->d_name, tests, &n,
				 VECTORS_MAX - n);
		free(list[i]);
	}
	free(list);
	if (n == 0)
		tests[n++] = (struct CMUnitTest)
			cmocka_unit_test(vectors_are_there);
	return n;
}

int main(void)
{
	static const struct CMUnitTest own[] = {
		cmocka_unit_test(both_ends_agree),
		cmocka_unit_test(every_bit_of_init_matters),
		cmocka_unit_test(every_bit_of_resp_matters),
		cmocka_unit_test(every_bit_of_fin_matters),
		cmocka_unit_test(verbs_have_one_place),
		cmocka_unit_test(messages_do_not_cross),
		cmocka_unit_test(versions_do_not_mix),
		cmocka_unit_test(small_order_keys_are_refused),
		cmocka_unit_test(own_key_is_refused),
		cmocka_unit_test(a_stolen_name_does_not_do),
		cmocka_unit_test(sizes_are_bounded),
	};
	enum { OWN = sizeof own / sizeof own[0] };
	static struct CMUnitTest tests[OWN + VECTORS_MAX];
	size_t n;

	if (crypto_init())
		return 1;
	memcpy(tests, own, sizeof own);
	n = OWN + (size_t)add_vectors(tests + OWN);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	/* The macro wants an array of constant size; this is what it calls. */
	return _cmocka_run_group_tests("noise", tests, n, NULL, NULL);
}
