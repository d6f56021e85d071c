/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * journal: what a daemon writes down, so that the next one can take over.
 *
 * Owns the form of the records and what a sequence of them adds up to (the
 * book). Pure: bytes in and out, no file. Never holds a key but a peer's
 * public one, never a counter or a secret of a session: these end with the
 * process (sacip(7), "Keys").
 *
 * A record:
 *
 *	length u16 (of all of it)  type u8  zero u8
 *	body
 *	check u64 (BLAKE2b-64 over what is before it)
 *
 * all big-endian. A file begins with START. A record that is cut off or does
 * not check ends the file: what a process was writing when it was killed. One
 * of an unknown type that checks is passed over. A later record about the
 * same thing takes the place of the earlier one.
 *
 * Times are CLOCK_BOOTTIME in ms: good until the next boot, as is the file.
 */
#ifndef SACIPED_JOURNAL_H
#define SACIPED_JOURNAL_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "addr.h"
#include "crypto.h"
#include "flow.h"
#include "migrate.h"
#include "way.h"

#define JOURNAL_VERSION 4
#define JOURNAL_RECORD_MAX 4096
#define JOURNAL_FILE_MAX (64u << 20)
#define JOURNAL_BOOT_ID_SIZE 16
#define JOURNAL_PORTS_MAX 256 /* in one record; more take several */
#define JOURNAL_PEERS_MAX 40000 /* PEER_MAX at a time: others come after */
#define JOURNAL_TRACKS_MAX 65536
#define JOURNAL_PEER_TRACKS_MAX 512 /* one peer's: of both sides, four times
				     * what it has at a time */
#define JOURNAL_FLOWS_MAX 131072

enum journal_type {
	JOURNAL_START = 1,
	JOURNAL_PEER,
	JOURNAL_TRACK,
	JOURNAL_TRACK_END,
	JOURNAL_PORTS,
	JOURNAL_FLOW,
	JOURNAL_FLOW_END,
};

struct journal_start {
	uint8_t boot_id[JOURNAL_BOOT_ID_SIZE];
};

/* Peers get numbers (not 0) for the other records. */
struct journal_peer {
	uint32_t number;
	uint16_t port; /* where its daemon is reached */
	uint8_t key[CRYPTO_KEY_SIZE];
};

/* What names a track. Nothing lies between its members: it is a key. */
struct journal_track_key {
	uint32_t peer;
	uint32_t id;
	uint32_t side; /* enum flow_side */
};

struct journal_track {
	struct journal_track_key key;
	struct addr remote;
	uint32_t mark, uid;
	char ifname[IF_NAMESIZE];
	bool tunnel;
	uint64_t ports; /* names given so far */
	uint32_t moves; /* committed */
	struct addr wish;
	struct way way; /* FLOW_OURS */
	struct mover mover; /* FLOW_OURS */
	struct follower follower; /* FLOW_THEIRS */
};

/* A choice of ports of a track: flows that are not named have the identity's.
 * Comes before the first TRACK that uses the name; further parts add. */
struct journal_ports {
	struct journal_track_key key;
	uint64_t ports; /* the name, not 0 */
	uint16_t n;
	struct {
		uint64_t flow_id;
		uint16_t port;
	} port[JOURNAL_PORTS_MAX];
};

/* A protected flow. In a track it goes where that goes, and has no path here;
 * one that is in no track any more keeps the path that it had. */
struct journal_flow {
	struct tuple identity;
	uint32_t peer; /* number of its owner; 0: none */
	uint64_t cookie; /* of its socket */
	uint64_t flow_id;
	uint32_t moves; /* beside those of its tracks, modulo 2^32 */
	bool tracked;
	uint32_t track[FLOW_SIDES]; /* where tracked */
	uint8_t n[FLOW_SIDES]; /* ends, where not tracked; 0: plain */
	struct flow_end end[FLOW_SIDES][FLOW_ENDS_MAX]; /* without ifindex */
	struct endpoint send[FLOW_SIDES];
};

struct journal_record {
	enum journal_type type;
	union {
		struct journal_start start;
		struct journal_peer peer;
		struct journal_track track;
		struct journal_track_key track_end;
		struct journal_ports ports;
		struct journal_flow flow;
		struct tuple flow_end;
	};
};

/* Writes at most `size` bytes; the length, or 0 where it does not fit. */
size_t journal_encode(const struct journal_record *r, uint8_t *to,
		      size_t size);

enum journal_result {
	JOURNAL_OK,
	JOURNAL_UNKNOWN, /* whole, but not for us: *used is skipped */
	JOURNAL_CUT, /* torn, damaged or senseless: nothing is read past it */
};

/* Reads one record from the head of `data`; *used is its length. */
enum journal_result journal_decode(const uint8_t *data, size_t len,
				   size_t *used, struct journal_record *r);

/* ---- the book --------------------------------------------------------- */

struct book_peer {
	UT_hash_handle hh;
	struct journal_peer is;
	uint32_t n_tracks;
	void *user;
};

/* Nothing lies between its members: it is a key. */
struct book_port_key {
	uint64_t ports, flow_id;
};

struct book_port {
	UT_hash_handle hh;
	struct book_port_key key;
	uint16_t port;
};

struct book_track {
	UT_hash_handle hh;
	struct journal_track_key key;
	bool known; /* a TRACK was read, not PORTS alone */
	struct journal_track is;
	struct book_port *ports;
	void *user;
};

struct book_flow {
	UT_hash_handle hh;
	struct tuple identity;
	const uint8_t *record; /* in what was read: book_flow_get() */
	uint16_t len;
};

struct book {
	struct journal_start start;
	bool started;
	struct book_peer *peers;
	struct book_track *tracks;
	struct book_flow *flows;
	size_t skipped; /* records that were past a bound */
};

void book_init(struct book *b);
void book_free(struct book *b);
/* Reads a whole file, which is borrowed until book_free(). How many bytes of
 * it make sense; -EPROTO where it does not begin with our START; -ENOMEM. What
 * is past a bound is skipped, and counted. Once. */
long book_read(struct book *b, const uint8_t *data, size_t len);
struct book_peer *book_find_peer(const struct book *b, uint32_t number);
struct book_track *book_find_track(const struct book *b,
				   const struct journal_track_key *key);
struct book_flow *book_find_flow(const struct book *b,
				 const struct tuple *identity);
void book_flow_get(const struct book_flow *f, struct journal_flow *is);
/* The port of a flow under a choice of ports of its track; 0: that of its
 * identity. */
uint16_t book_port(const struct book_track *t, uint64_t ports,
		   uint64_t flow_id);

#endif
