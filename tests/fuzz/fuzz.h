/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz: what the harnesses share.
 *
 * Owns their face to libFuzzer and to the program that replays a corpus, how a
 * broken promise ends the run, and the face of the address sanitizer where it
 * is there. Never reads an input.
 */
#ifndef SACIPED_FUZZ_H
#define SACIPED_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(HAS_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void check(bool holds)
{
	if (!holds)
		abort();
}

#endif
