/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * index: finds a record by a key that lies in it.
 *
 * Owns an array of buckets, and in each record one pointer, which leads to
 * the next record of its bucket. That makes 12 to 16 bytes per record. Never
 * owns a record, never orders them.
 *
 * The hash is keyed: others choose addresses and ports, and shall not choose
 * who collides.
 */
#ifndef SACIPED_INDEX_H
#define SACIPED_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto.h"

#define INDEX_BUCKETS_MAX (1u << 20) /* more records make longer chains */

struct index_link {
	void *next; /* record */
};

struct index {
	void **bucket; /* NULL: nothing was ever added */
	uint32_t mask; /* buckets less one */
	uint32_t n; /* records */
	uint32_t link, key, key_size; /* where in a record */
	uint8_t seed[CRYPTO_SHORT_KEY_SIZE];
};

/* For records that have their struct index_link at `link` and their key, of
 * `key_size` bytes without gaps, at `key`. `seed` is random. Nothing is
 * allocated yet. */
void index_init(struct index *x, size_t link, size_t key, size_t key_size,
		const uint8_t seed[CRYPTO_SHORT_KEY_SIZE]);
/* The records stay as they are. */
void index_free(struct index *x);
/* The record stays the caller's, and its key must not change while it is in;
 * none with that key may be in yet. 0, or -ENOMEM, which only the first one
 * can meet: without room to grow, chains get longer. */
int index_add(struct index *x, void *record);
/* False where it was not in. */
bool index_remove(struct index *x, void *record);
/* NULL where there is none. */
void *index_find(const struct index *x, const void *key);

#endif
