/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * index: finds a record by a key that lies in it. See index.h.
 */
#include "index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 16
#define CHAIN 2 /* records per bucket, when there are to be twice as many */

void index_init(struct index *x, size_t link, size_t key, size_t key_size,
		const uint8_t seed[CRYPTO_SHORT_KEY_SIZE])
{
	*x = (struct index){
		.link = (uint32_t)link,
		.key = (uint32_t)key,
		.key_size = (uint32_t)key_size,
	};
	memcpy(x->seed, seed, sizeof(x->seed));
}

void index_free(struct index *x)
{
	free(x->bucket);
	x->bucket = NULL;
	x->mask = x->n = 0;
}

/* The place that leads to the record behind this one. */
static void **next_of(const struct index *x, void *record)
{
	struct index_link *link =
		(struct index_link *)(void *)((char *)record + x->link);

	return &link->next;
}

static const void *key_of(const struct index *x, const void *record)
{
	return (const char *)record + x->key;
}

static void **bucket_of(const struct index *x, const void *key)
{
	return &x->bucket[crypto_short_hash(x->seed, key, x->key_size) &
			  x->mask];
}

static void put(struct index *x, void *record)
{
	void **bucket = bucket_of(x, key_of(x, record));

	*next_of(x, record) = *bucket;
	*bucket = record;
}

static int grow(struct index *x, uint32_t buckets)
{
	struct index old = *x;

	x->bucket = calloc(buckets, sizeof(*x->bucket));
	if (!x->bucket) {
		x->bucket = old.bucket;
		return -ENOMEM;
	}
	x->mask = buckets - 1;
	for (uint32_t i = 0; old.bucket && i <= old.mask; i++) {
		void *record = old.bucket[i];

		while (record) {
			void *next = *next_of(x, record);

			put(x, record);
			record = next;
		}
	}
	free(old.bucket);
	return 0;
}

int index_add(struct index *x, void *record)
{
	if (!x->bucket) {
		if (grow(x, BUCKETS_FIRST))
			return -ENOMEM;
	} else if (x->n / CHAIN > x->mask && x->mask < INDEX_BUCKETS_MAX - 1) {
		(void)grow(x, 2 * (x->mask + 1));
	}
	put(x, record);
	x->n++;
	return 0;
}

bool index_remove(struct index *x, void *record)
{
	void **at;

	if (!x->n)
		return false;
	for (at = bucket_of(x, key_of(x, record)); *at; at = next_of(x, *at))
		if (*at == record) {
			*at = *next_of(x, record);
			x->n--;
			return true;
		}
	return false;
}

void *index_find(const struct index *x, const void *key)
{
	void *record;

	if (!x->n)
		return NULL;
	for (record = *bucket_of(x, key); record;
	     record = *next_of(x, record))
		if (memcmp(key_of(x, record), key, x->key_size) == 0)
			return record;
	return NULL;
}
