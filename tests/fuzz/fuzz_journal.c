/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_journal: the journal's reader against any bytes.
 *
 * The checks of the records are made right first, or nothing but them would
 * be tried. Beyond not failing: a record that is taken is written again to
 * the same bytes, and what the book holds can be got.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"

#include "fuzz.h"

#define CHECK 8
#define LEAST (4 + CHECK)

static void make_right(uint8_t *data, size_t size)
{
	size_t at = 0;

	while (size - at >= LEAST) {
		size_t len = (size_t)data[at] << 8 | data[at + 1];
		struct crypto_part part = { data + at, len - CHECK };

		if (len < LEAST || len > size - at)
			return;
		crypto_blake2b(data + at + len - CHECK, CHECK, NULL, 0, &part,
			       1);
		at += len;
	}
}

static void try_records(const uint8_t *data, size_t size)
{
	uint8_t again[JOURNAL_RECORD_MAX];
	struct journal_record r;
	size_t at = 0;
	size_t used;

	for (;;) {
		enum journal_result result =
			journal_decode(data + at, size - at, &used, &r);

		if (result == JOURNAL_CUT)
			return;
		check(used >= LEAST && used <= size - at);
		if (result == JOURNAL_OK) {
			check(journal_encode(&r, again, sizeof again) == used);
			/* But for the byte that has no meaning. */
			check(memcmp(again, data + at, 3) == 0);
			check(data[at + 3] ||
			     memcmp(again, data + at, used) == 0);
		}
		at += used;
	}
}

static void try_book(const uint8_t *data, size_t size)
{
	struct journal_flow is;
	struct book b;
	long n;

	book_init(&b);
	n = book_read(&b, data, size);
	check(n <= (long)size);
	for (struct book_flow *f = b.flows; f; f = f->hh.next) {
		book_flow_get(f, &is);
		check(tuple_equal(&is.identity, &f->identity));
	}
	for (struct book_track *t = b.tracks; t; t = t->hh.next)
		(void)book_port(t, t->is.mover.current.ports, 1);
	book_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	check(copy != NULL);
	memcpy(copy, data, size);
	try_book(copy, size);
	make_right(copy, size);
	try_records(copy, size);
	try_book(copy, size);
	free(copy);
	return 0;
}
