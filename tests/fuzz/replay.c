/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay: feeds a stored corpus to one fuzz harness, without libFuzzer.
 *
 * Linked with each tests/fuzz/fuzz_NAME.c. One TAP point per file of
 * tests/fuzz/corpus/NAME, which is given to the harness as it is, cut at
 * every length (up to a bound) and with seeded mutations; those that libFuzzer
 * found (found-*), mutations themselves, as they are. A harness aborts
 * where something is wrong, the sanitizers do too: the missing points then
 * count as failures.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define FILES_MAX 4096
#define FILE_BYTES_MAX (256 * 1024)
#define CUTS_MAX 512
#define MUTATIONS 512

static uint64_t next_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* A copy of exactly `size` bytes, so that a read past its end is seen. */
static void feed(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void feed_mutations(const uint8_t *data, size_t size, uint64_t seed)
{
	uint8_t *copy = malloc(size);

	if (!copy)
		abort();
	for (int i = 0; i < MUTATIONS; i++) {
		unsigned int n = 1 + (unsigned int)(next_random(&seed) % 4);

		memcpy(copy, data, size);
		while (n--) {
			size_t at = (size_t)(next_random(&seed) % size);
			uint64_t r = next_random(&seed);

			if (r & 1)
				copy[at] ^= (uint8_t)(1u << (r >> 8) % 8);
			else
				copy[at] = (uint8_t)(r >> 16);
		}
		feed(copy, size);
	}
	free(copy);
}

static int replay(const char *path, const char *name, unsigned int number)
{
	static uint8_t data[FILE_BYTES_MAX];
	FILE *f = fopen(path, "rb");
	size_t size, cut;
	bool found;

	if (!f) {
		printf("not ok %u - %s: cannot be read\n", number, name);
		return 1;
	}
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	feed(data, size);
	found = strncmp(name, "found-", 6) == 0;
	for (cut = 0; !found && cut < size && cut < CUTS_MAX; cut++)
		feed(data, cut);
	if (size && !found)
		feed_mutations(data, size, number);
	printf("ok %u - %s\n", number, name);
	fflush(stdout);
	return 0;
}

static int is_file(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

int main(int argc, char **argv)
{
	const char *base = strrchr(argv[0], '/'), *srcdir = getenv("srcdir");
	struct dirent **list;
	char dir[2048], path[4096];
	int n, failed = 0;

	base = base ? base + 1 : argv[0];
	if (strncmp(base, "fuzz_", 5) == 0)
		base += 5;
	if (argc > 1)
		snprintf(dir, sizeof(dir), "%s", argv[1]);
	else
		snprintf(dir, sizeof(dir), "%s/tests/fuzz/corpus/%s",
			 srcdir ? srcdir : ".", base);
	n = scandir(dir, &list, is_file, alphasort);
	if (n <= 0 || n > FILES_MAX) {
		printf("1..1\nnot ok 1 - %s holds no corpus\n", dir);
		return 1;
	}
	printf("1..%d\n", n);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		failed += replay(path, list[i]->d_name, (unsigned int)i + 1);
		free(list[i]);
	}
	free(list);
	return failed != 0;
}
