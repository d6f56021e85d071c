/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Seeded numbers for tests (splitmix64): the same on every machine. */
#ifndef SACIPED_TEST_RANDOM_H
#define SACIPED_TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
	return random_next(state) % n;
}

static inline void random_fill(uint64_t *state, void *to, size_t len)
{
	uint8_t *p = to;

	while (len--)
		*p++ = (uint8_t)random_next(state);
}

#endif
