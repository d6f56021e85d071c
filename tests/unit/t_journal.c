/* SPDX-License-Identifier: GPL-2.0-or-later */
/* journal: records there and back, what damage does, what they add up to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <errno.h>

#include <cmocka.h>

#include "journal_records.h"

/* ---- records ----------------------------------------------------------------- */

static void there_and_back(const struct journal_record *r)
{
	uint8_t data[JOURNAL_RECORD_MAX + 1];
	struct journal_record back;
	size_t used;
	size_t len = journal_encode(r, data, sizeof(data));

	assert_true(len > 0 && len <= JOURNAL_RECORD_MAX);
	memset(&back, 0xff, sizeof(back));
	assert_int_equal(journal_decode(data, len, &used, &back), JOURNAL_OK);
	assert_int_equal(used, len);
	assert_memory_equal(&back, r, sizeof(back));
	for (size_t room = 0; room < len; room++)
		assert_int_equal(journal_encode(r, data, room), 0);
}

static void records_come_back_as_they_were(void **state)
{
	const struct journal_record r[] = {
		start_record(),	   peer_record(),      mover_record(),
		follower_record(), track_end_record(), flow_record(1000),
		orphan_record(),   flow_end_record(7), ports_record(1, 0),
		ports_record(1, JOURNAL_PORTS_MAX),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(r) / sizeof(*r); i++)
		there_and_back(&r[i]);
}

static void damage_is_seen(void **state)
{
	const struct journal_record r = mover_record();
	uint8_t data[JOURNAL_RECORD_MAX];
	size_t len = journal_encode(&r, data, sizeof(data));
	struct journal_record back;
	size_t used;

	(void)state;
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(journal_decode(data, cut, &used, &back),
				 JOURNAL_CUT);
	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 8; bit++) {
			data[i] ^= (uint8_t)(1 << bit);
			assert_int_equal(journal_decode(data, len, &used,
							&back), JOURNAL_CUT);
			data[i] ^= (uint8_t)(1 << bit);
		}
}

/* What its code would trip over is not believed, even where it checks. */
static void senseless_tracks_are_refused(void **state)
{
	struct journal_record r = mover_record();
	uint8_t data[JOURNAL_RECORD_MAX];

	(void)state;
	r.track.mover.sending = locator("192.0.2.99", 0);
	assert_int_equal(journal_encode(&r, data, sizeof(data)), 0);
	r = mover_record();
	r.track.mover.target.ports++;
	assert_int_equal(journal_encode(&r, data, sizeof(data)), 0);
	r = mover_record();
	r.track.mover.n_accepted = MIGRATE_ACCEPTED_MAX + 1;
	assert_int_equal(journal_encode(&r, data, sizeof(data)), 0);
	r = mover_record();
	r.track.mover.accepted[1].locator = locator("2001:db8::9", 0);
	r.track.mover.target = r.track.mover.accepted[1].locator;
	assert_int_equal(journal_encode(&r, data, sizeof(data)), 0);
	r = follower_record();
	r.track.follower.offer = locator("2001:db8::9", 0);
	assert_int_equal(journal_encode(&r, data, sizeof(data)), 0);
	r = follower_record();
	r.track.follower.state = FOLLOWER_STATES;
	assert_int_equal(journal_encode(&r, data, sizeof(data)), 0);
	r = flow_record(1);
	r.flow.peer = 0;
	assert_int_equal(journal_encode(&r, data, sizeof(data)), 0);
}

/* ---- the book ------------------------------------------------------------------ */

struct file {
	uint8_t data[64 * 1024];
	size_t len;
};

static void file_add(struct file *f, struct journal_record r)
{
	size_t n = journal_encode(&r, f->data + f->len,
				  sizeof(f->data) - f->len);

	assert_true(n > 0);
	f->len += n;
}

/* A type of a later version: passed over, where it checks. */
static void file_add_unknown(struct file *f)
{
	uint8_t *at = f->data + f->len;
	struct crypto_part part = { at, 6 };
	const uint8_t head[] = { 0, 14, 200, 0, 1, 2 };

	memcpy(at, head, sizeof(head));
	crypto_blake2b(at + 6, 8, NULL, 0, &part, 1);
	f->len += 14;
}

static void the_last_word_counts(void **state)
{
	static struct file f;
	struct journal_record newer = flow_record(1000);
	struct tuple gone = identity(1001);
	struct journal_flow is;
	struct book b;

	(void)state;
	f.len = 0;
	newer.flow.track[FLOW_THEIRS] = 99;
	file_add(&f, start_record());
	file_add(&f, peer_record());
	file_add(&f, ports_record(UINT64_MAX - 1000, 2));
	file_add(&f, ports_record(1, 1));
	file_add(&f, mover_record());
	file_add(&f, follower_record());
	file_add_unknown(&f);
	file_add(&f, flow_record(1000));
	file_add(&f, flow_record(1001));
	file_add(&f, newer);
	file_add(&f, flow_end_record(1001));
	book_init(&b);
	assert_int_equal(book_read(&b, f.data, f.len), f.len);
	assert_int_equal(HASH_COUNT(b.peers), 1);
	assert_int_equal(HASH_COUNT(b.tracks), 2);
	assert_int_equal(HASH_COUNT(b.flows), 1);
	assert_null(book_find_flow(&b, &gone));
	book_flow_get(b.flows, &is);
	assert_int_equal(is.track[FLOW_THEIRS], 99);
	assert_int_equal(book_find_peer(&b, 3)->is.port, 1021);
	assert_null(book_find_peer(&b, 4));
	{
		struct journal_track_key key = track_key(FLOW_OURS);
		struct book_track *t = book_find_track(&b, &key);

		assert_true(t->known);
		assert_int_equal(t->is.mover.state, MOVER_ASKED);
		assert_int_equal(book_port(t, 5, UINT64_MAX - 1000), 40000);
		assert_int_equal(book_port(t, 5, 1), 40000);
		assert_int_equal(book_port(t, 6, 1), 0);
		assert_int_equal(book_port(t, 5, 2), 0);
	}
	book_free(&b);
	file_add(&f, track_end_record());
	assert_int_equal(book_read(&b, f.data, f.len), f.len);
	assert_int_equal(HASH_COUNT(b.tracks), 1);
	book_free(&b);
}

/* One peer's tracks are past its bound: they are left out, and nothing else. */
static void what_is_past_a_bound_is_skipped(void **state)
{
	static struct file f;
	struct journal_record track = mover_record(), other = peer_record();
	struct book b;

	(void)state;
	f.len = 0;
	other.peer.number = 4;
	other.peer.key[0] ^= 1;
	file_add(&f, start_record());
	file_add(&f, peer_record());
	file_add(&f, other);
	book_init(&b);
	assert_int_equal(book_read(&b, f.data, f.len), f.len);
	for (uint32_t i = 0; i < JOURNAL_PEER_TRACKS_MAX + 9; i++) {
		f.len = 0;
		track.track.key.id = 1000 + i;
		file_add(&f, track);
		assert_int_equal(book_read(&b, f.data, f.len), f.len);
	}
	f.len = 0;
	track.track.key.peer = 4;
	file_add(&f, track);
	file_add(&f, flow_record(1000));
	assert_int_equal(book_read(&b, f.data, f.len), f.len);
	assert_int_equal(b.skipped, 9);
	assert_int_equal(HASH_COUNT(b.tracks), JOURNAL_PEER_TRACKS_MAX + 1);
	assert_non_null(book_find_track(&b, &track.track.key));
	assert_int_equal(HASH_COUNT(b.flows), 1);
	book_free(&b);
}

static void a_torn_end_is_cut_off(void **state)
{
	static struct file f;
	size_t whole;
	struct book b;

	(void)state;
	f.len = 0;
	file_add(&f, start_record());
	file_add(&f, peer_record());
	file_add(&f, flow_record(1000));
	whole = f.len;
	file_add(&f, flow_end_record(1000));
	for (size_t len = whole; len < f.len; len++) {
		book_init(&b);
		assert_int_equal(book_read(&b, f.data, len), whole);
		assert_int_equal(HASH_COUNT(b.flows), 1);
		book_free(&b);
	}
	f.data[f.len - 1] ^= 1; /* a whole one that does not check */
	file_add(&f, flow_end_record(1000));
	assert_int_equal(book_read(&b, f.data, f.len), whole);
	book_free(&b);
}

static void a_strange_file_is_refused(void **state)
{
	static struct file f;
	struct book b;

	(void)state;
	book_init(&b);
	assert_int_equal(book_read(&b, f.data, 0), -EPROTO);
	f.len = 0;
	file_add(&f, peer_record());
	assert_int_equal(book_read(&b, f.data, f.len), -EPROTO);
	assert_int_equal(HASH_COUNT(b.peers), 0);
	f.len = 0;
	file_add_unknown(&f);
	assert_int_equal(book_read(&b, f.data, f.len), -EPROTO);
	memset(f.data, 0, sizeof(f.data));
	assert_int_equal(book_read(&b, f.data, sizeof(f.data)), -EPROTO);
	book_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_back_as_they_were),
		cmocka_unit_test(damage_is_seen),
		cmocka_unit_test(senseless_tracks_are_refused),
		cmocka_unit_test(the_last_word_counts),
		cmocka_unit_test(what_is_past_a_bound_is_skipped),
		cmocka_unit_test(a_torn_end_is_cut_off),
		cmocka_unit_test(a_strange_file_is_refused),
	};

	if (crypto_init())
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
