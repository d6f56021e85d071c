/* SPDX-License-Identifier: GPL-2.0-or-later */
/* index: against a plain array, through growth, collisions and no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool out_of_memory;

static void *failing_calloc(size_t n, size_t size)
{
	return out_of_memory ? NULL : calloc(n, size);
}

#define calloc failing_calloc
#include "../../src/index.c"
#undef calloc

#include "random.h"

#define SEED 2026
#define RECORDS 3000
#define STEPS 300000

struct record {
	uint64_t before;
	uint8_t key[6];
	struct index_link link;
	uint64_t after;
	bool in;
};

static struct record record[RECORDS];
static const uint8_t seed[CRYPTO_SHORT_KEY_SIZE] = "sixteen bytes...";

/* Neighbours share all but one byte. */
static void make(struct index *x)
{
	memset(record, 0, sizeof(record));
	for (unsigned int i = 0; i < RECORDS; i++) {
		record[i].before = record[i].after = i;
		record[i].key[1] = (uint8_t)i;
		record[i].key[4] = (uint8_t)(i >> 8);
	}
	index_init(x, offsetof(struct record, link),
		   offsetof(struct record, key), sizeof(record->key), seed);
}

static unsigned int longest_chain(const struct index *x)
{
	unsigned int longest = 0;

	for (uint32_t i = 0; i <= x->mask; i++) {
		unsigned int n = 0;

		for (void *r = x->bucket[i]; r; r = *next_of(x, r))
			n++;
		longest = n > longest ? n : longest;
	}
	return longest;
}

static void check(const struct index *x)
{
	uint32_t n = 0;

	for (unsigned int i = 0; i < RECORDS; i++) {
		assert_ptr_equal(index_find(x, record[i].key),
				 record[i].in ? &record[i] : NULL);
		assert_int_equal(record[i].before, i);
		assert_int_equal(record[i].after, i);
		n += record[i].in;
	}
	assert_int_equal(x->n, n);
}

static void add(struct index *x, struct record *r)
{
	assert_int_equal(index_add(x, r), 0);
	r->in = true;
}

static void nothing_is_in_an_empty_one(void **state)
{
	struct index x;

	(void)state;
	make(&x);
	check(&x);
	assert_false(index_remove(&x, &record[0]));
	index_free(&x);
}

/* In and out at random, about half of them in. */
static void an_array_says_the_same(void **state)
{
	uint64_t random = SEED;
	struct index x;

	(void)state;
	make(&x);
	for (unsigned int step = 0; step < STEPS; step++) {
		struct record *r = &record[random_below(&random, RECORDS)];

		if (r->in) {
			assert_true(index_remove(&x, r));
			r->in = false;
		}
		assert_false(index_remove(&x, r));
		assert_null(index_find(&x, r->key));
		if (random_below(&random, 2))
			add(&x, r);
		if (step % 5000 == 0)
			check(&x);
	}
	check(&x);
	index_free(&x);
}

static void it_grows_and_chains_stay_short(void **state)
{
	struct index x;

	(void)state;
	make(&x);
	for (unsigned int i = 0; i < RECORDS; i++) {
		add(&x, &record[i]);
		assert_true(x.n <= CHAIN * (x.mask + 1));
		if (i % 100 == 0)
			check(&x);
	}
	check(&x);
	assert_true(longest_chain(&x) < 16);
	index_free(&x);
	/* All of it can be used again. */
	make(&x);
	add(&x, &record[7]);
	check(&x);
	index_free(&x);
}

/* From either end of a chain and from its middle. */
static void any_of_a_chain_can_go(void **state)
{
	struct index x;

	(void)state;
	for (unsigned int gone = 0; gone < 40; gone++) {
		make(&x);
		out_of_memory = false;
		add(&x, &record[0]);
		out_of_memory = true; /* 16 buckets for all of them */
		for (unsigned int i = 1; i < 40; i++)
			add(&x, &record[i]);
		assert_int_equal(x.mask, BUCKETS_FIRST - 1);
		assert_true(index_remove(&x, &record[gone]));
		record[gone].in = false;
		check(&x);
		add(&x, &record[gone]);
		check(&x);
		out_of_memory = false;
		index_free(&x);
	}
}

/* Without memory for more buckets it is slower, and still right; it grows as
 * soon as it can. */
static void without_memory_chains_get_longer(void **state)
{
	struct index x;

	(void)state;
	make(&x);
	out_of_memory = true;
	assert_int_equal(index_add(&x, &record[0]), -ENOMEM);
	check(&x);
	out_of_memory = false;
	add(&x, &record[0]);
	out_of_memory = true;
	for (unsigned int i = 1; i < 1000; i++)
		add(&x, &record[i]);
	assert_int_equal(x.mask, BUCKETS_FIRST - 1);
	check(&x);
	out_of_memory = false;
	for (unsigned int i = 1000; i < 1010; i++)
		add(&x, &record[i]);
	assert_true(x.n <= CHAIN * (x.mask + 1));
	check(&x);
	index_free(&x);
}

/* The same keys lie elsewhere under another seed. */
static void the_seed_decides_who_collides(void **state)
{
	uint8_t other[CRYPTO_SHORT_KEY_SIZE] = "another of those";
	unsigned int same = 0;
	struct index x;

	(void)state;
	make(&x);
	for (unsigned int i = 0; i < RECORDS; i++)
		add(&x, &record[i]);
	for (unsigned int i = 0; i < RECORDS; i++) {
		void **at = bucket_of(&x, record[i].key);

		memcpy(x.seed, other, sizeof(x.seed));
		same += bucket_of(&x, record[i].key) == at;
		memcpy(x.seed, seed, sizeof(x.seed));
	}
	assert_true(same < RECORDS / 100);
	index_free(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_in_an_empty_one),
		cmocka_unit_test(an_array_says_the_same),
		cmocka_unit_test(it_grows_and_chains_stay_short),
		cmocka_unit_test(any_of_a_chain_can_go),
		cmocka_unit_test(without_memory_chains_get_longer),
		cmocka_unit_test(the_seed_decides_who_collides),
	};

	if (crypto_init())
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
