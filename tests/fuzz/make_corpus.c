/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * make_corpus: writes what fuzz_wire, fuzz_handshake and fuzz_journal start
 * from.
 *
 *	make_corpus DIRECTORY	fills wire, handshake and journal in it
 *
 * Run by hand when a layout changes; its output is kept in the repository.
 * The numbers are seeded, so that it writes the same files everywhere.
 */
#include <stdio.h>

#include "../unit/journal_records.h"
#include "../unit/wire_random.h"
#include "handshake_setup.h"

static int save(const char *dir, const char *sub, const char *name,
		const uint8_t *data, size_t len)
{
	char path[4096];
	FILE *f;
	int err;

	snprintf(path, sizeof path, "%s/%s/%s", dir, sub, name);
	f = fopen(path, "wb");
	if (!f) {
		perror(path);
		return 1;
	}
	err = fwrite(data, 1, len, f) != len;
	return fclose(f) || err;
}

static int save_message(const char *dir, const char *name,
			const struct wire_message *m, size_t pad_to)
{
	const struct wire_header h = { m->type, SETUP_INDEX_R, 7 };
	uint8_t data[WIRE_PAYLOAD_MAX];
	struct buf_writer w;

	wire_encode_header(&h, data);
	buf_writer_init(&w, data + WIRE_HEADER_SIZE, WIRE_PLAIN_MAX);
	setup_must(wire_encode_message(m, &w) == 0);
	setup_must(wire_pad(&w, pad_to) == 0);
	return save(dir, "wire", name, data, WIRE_HEADER_SIZE + w.len);
}

static int save_messages(const char *dir)
{
	static const uint8_t types[] = {
		WIRE_FLOWS,  WIRE_FLOWS_ACK, WIRE_FLOW_END, WIRE_FLOW_END_ACK,
		WIRE_PROBE,  WIRE_PROBE_ACK, WIRE_MOVE,	    WIRE_ACCEPT,
		WIRE_REFUSE, WIRE_PROVE,     WIRE_DONE,	    WIRE_SYNC,
		WIRE_SYNC_ACK, WIRE_BYE,
	};
	int err = 0;

	for (size_t i = 0; i < sizeof types; i++) {
		const char *type = wire_type_name(types[i]);
		struct wire_message m;
		uint64_t seed = i;
		char name[64];

		wire_random_empty(&seed, types[i], &m);
		snprintf(name, sizeof name, "%s-empty", type);
		err |= save_message(dir, name, &m, 0);
		snprintf(name, sizeof name, "%s-padded", type);
		err |= save_message(dir, name, &m, 400);
		wire_random_full(&seed, types[i], &m);
		snprintf(name, sizeof name, "%s-full", type);
		err |= save_message(dir, name, &m, 0);
		for (int k = 0; k < 2; k++) {
			wire_random_message(&seed, types[i], &m);
			snprintf(name, sizeof name, "%s-%d", type, k);
			err |= save_message(dir, name, &m, 0);
		}
	}
	return err;
}

/* One whole journal, and each record behind a START. */
static int save_journals(const char *dir)
{
	const struct journal_record r[] = {
		start_record(),	      peer_record(),	mover_record(),
		follower_record(),    ports_record(1, 3), flow_record(1000),
		orphan_record(),      flow_end_record(1000),
		track_end_record(),
	};
	uint8_t all[16 * JOURNAL_RECORD_MAX];
	size_t first = journal_encode(&r[0], all, sizeof(all));
	size_t len = first;
	int err = 0;

	for (size_t i = 1; i < sizeof(r) / sizeof(*r); i++) {
		uint8_t two[2 * JOURNAL_RECORD_MAX];
		char name[16];
		size_t n = journal_encode(&r[i], all + len, sizeof(all) - len);

		memcpy(two, all, first);
		memcpy(two + first, all + len, n);
		snprintf(name, sizeof(name), "%d-%zu", (int)r[i].type, i);
		err |= save(dir, "journal", name, two, first + n);
		len += n;
	}
	return err | save(dir, "journal", "all", all, len);
}

int main(int argc, char **argv)
{
	uint8_t retry[WIRE_RETRY_SIZE];
	struct setup s;
	int err;

	if (argc != 2 || crypto_init()) {
		fprintf(stderr, "usage: make_corpus DIRECTORY\n");
		return 2;
	}
	setup_make(&s);
	wire_encode_retry(SETUP_INDEX_I, s.init + WIRE_INIT_NOISE_AT, retry);
	err = save_messages(argv[1]);
	err |= save_journals(argv[1]);
	for (int i = 0; i < 2; i++) {
		const char *sub = i ? "wire" : "handshake";

		err |= save(argv[1], sub, "INIT", s.init, sizeof s.init);
		err |= save(argv[1], sub, "RETRY", retry, sizeof retry);
		err |= save(argv[1], sub, "RESP", s.resp, sizeof s.resp);
		err |= save(argv[1], sub, "FIN", s.fin, sizeof s.fin);
	}
	return err;
}
