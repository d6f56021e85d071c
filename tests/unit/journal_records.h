/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of a journal, one of each kind: for its tests and its corpus. */
#ifndef SACIPED_TEST_JOURNAL_RECORDS_H
#define SACIPED_TEST_JOURNAL_RECORDS_H

#include <stdlib.h>
#include <string.h>

#include "journal.h"

static inline void records_must(bool condition)
{
	if (!condition)
		abort();
}

static inline struct addr address(const char *text)
{
	struct addr a;

	memset(&a, 0, sizeof(a));
	records_must(!addr_parse(text, &a));
	return a;
}

static inline struct locator locator(const char *text, uint64_t ports)
{
	struct locator l;

	memset(&l, 0, sizeof(l));
	l.addr = address(text);
	l.ports = ports;
	return l;
}

/* ---- one of each ----------------------------------------------------------- */

static inline struct journal_record start_record(void)
{
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_START;
	memset(r.start.boot_id, 0xb0, sizeof(r.start.boot_id));
	return r;
}

static inline struct journal_record peer_record(void)
{
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_PEER;
	r.peer.number = 3;
	r.peer.port = 1021;
	memset(r.peer.key, 0xee, sizeof(r.peer.key));
	return r;
}

static inline struct journal_track_key track_key(enum flow_side side)
{
	struct journal_track_key k;

	memset(&k, 0, sizeof(k));
	k.peer = 3;
	k.id = 0xfffffffe;
	k.side = side;
	return k;
}

static inline struct journal_record mover_record(void)
{
	struct locator current = locator("192.0.2.1", 0);
	struct locator next = locator("198.51.100.7", 5);
	struct mover_event ev;
	struct migrate_actions out;
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	memset(&ev, 0, sizeof(ev));
	r.type = JOURNAL_TRACK;
	r.track.key = track_key(FLOW_OURS);
	r.track.remote = address("203.0.113.5");
	r.track.mark = 0x77;
	r.track.uid = (uint32_t)-1;
	memcpy(r.track.ifname, "eth0", 5);
	r.track.tunnel = true;
	r.track.way.from = current.addr;
	r.track.way.to = r.track.remote;
	r.track.way.began = WAY_HOME;
	r.track.way.preferred = true;
	r.track.ports = 5;
	r.track.moves = 12;
	r.track.wish = next.addr;
	mover_init(&r.track.mover, r.track.key.id, &current);
	ev.type = MOVER_SITUATION;
	ev.cause = MIGRATE_CAUSE_GONE;
	ev.candidate = next;
	mover_step(&r.track.mover, &ev, 123456789, &out);
	records_must(r.track.mover.state == MOVER_ASKED);
	records_must(r.track.mover.n_accepted == 2);
	memset(r.track.mover.accepted[0].challenge, 0xc3,
	       sizeof(r.track.mover.accepted[0].challenge));
	memset(&r.track.mover.numbers, 0, sizeof(r.track.mover.numbers));
	return r;
}

static inline struct journal_record follower_record(void)
{
	struct locator current = locator("2001:db8::1", 0);
	struct follower_event ev;
	struct migrate_actions out;
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	memset(&ev, 0, sizeof(ev));
	r.type = JOURNAL_TRACK;
	r.track.key = track_key(FLOW_THEIRS);
	r.track.remote = current.addr;
	follower_init(&r.track.follower, r.track.key.id, &current);
	ev.type = FOLLOWER_MOVE;
	ev.seq = MIGRATE_JUMP_MAX;
	ev.to = locator("2001:db8::2", 0);
	ev.source = ev.to.addr;
	ev.from_gone = true;
	memset(ev.challenge, 0xcc, sizeof(ev.challenge));
	follower_step(&r.track.follower, &ev, 987654321, &out);
	records_must(r.track.follower.state == FOLLOWER_OFFERED);
	records_must(follower_holds(&r.track.follower));
	memset(r.track.follower.proved, 0x3c, sizeof(r.track.follower.proved));
	return r;
}

static inline struct tuple identity(uint16_t port)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = IPPROTO_TCP;
	t.local.addr = address("192.0.2.1");
	t.local.port = port;
	t.remote.addr = address("203.0.113.5");
	t.remote.port = 22;
	return t;
}

static inline struct journal_record flow_record(uint16_t port)
{
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_FLOW;
	r.flow.identity = identity(port);
	r.flow.peer = 3;
	r.flow.cookie = 0x1234567890abcdef;
	r.flow.flow_id = UINT64_MAX - port;
	r.flow.moves = 9;
	r.flow.tracked = true;
	r.flow.track[FLOW_OURS] = 0xfffffffe;
	r.flow.track[FLOW_THEIRS] = 17;
	return r;
}

static inline struct journal_record orphan_record(void)
{
	struct journal_record r = flow_record(2000);

	r.flow.tracked = false;
	r.flow.peer = 0;
	memset(r.flow.track, 0, sizeof(r.flow.track));
	for (int side = 0; side < FLOW_SIDES; side++) {
		r.flow.n[side] = FLOW_ENDS_MAX;
		for (uint16_t i = 0; i < FLOW_ENDS_MAX; i++) {
			r.flow.end[side][i].at.addr = address("10.0.0.1");
			r.flow.end[side][i].at.port = (uint16_t)(i + 1);
			r.flow.end[side][i].ports = i;
		}
		r.flow.send[side] = r.flow.end[side][4].at;
	}
	return r;
}

static inline struct journal_record ports_record(uint64_t first, uint16_t n)
{
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_PORTS;
	r.ports.key = track_key(FLOW_OURS);
	r.ports.ports = 5;
	r.ports.n = n;
	for (uint16_t i = 0; i < n; i++) {
		r.ports.port[i].flow_id = first + i;
		r.ports.port[i].port = (uint16_t)(40000 + i);
	}
	return r;
}

static inline struct journal_record flow_end_record(uint16_t port)
{
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_FLOW_END;
	r.flow_end = identity(port);
	return r;
}

static inline struct journal_record track_end_record(void)
{
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_TRACK_END;
	r.track_end = track_key(FLOW_OURS);
	return r;
}

#endif
