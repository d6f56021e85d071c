/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * book: what a journal's records add up to (journal.h).
 *
 * Owns the last word on each peer, track and flow. Never judges whether it
 * is still true: that needs the kernel.
 */
#include "journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void book_init(struct book *b)
{
	memset(b, 0, sizeof(*b));
}

static void ports_free(struct book_track *t)
{
	struct book_port *p;
	struct book_port *next;

	HASH_ITER(hh, t->ports, p, next) {
		HASH_DELETE(hh, t->ports, p);
		free(p);
	}
}

static void track_free(struct book *b, struct book_track *t)
{
	struct book_peer *p = book_find_peer(b, t->key.peer);

	if (p)
		p->n_tracks--;
	ports_free(t);
	HASH_DELETE(hh, b->tracks, t);
	free(t);
}

void book_free(struct book *b)
{
	struct book_peer *p;
	struct book_peer *next_peer;
	struct book_flow *f;
	struct book_flow *next_flow;

	while (b->tracks)
		track_free(b, b->tracks);
	HASH_ITER(hh, b->peers, p, next_peer) {
		HASH_DELETE(hh, b->peers, p);
		free(p);
	}
	HASH_ITER(hh, b->flows, f, next_flow) {
		HASH_DELETE(hh, b->flows, f);
		free(f);
	}
	book_init(b);
}

struct book_peer *book_find_peer(const struct book *b, uint32_t number)
{
	struct book_peer *p;

	HASH_FIND(hh, b->peers, &number, sizeof(number), p);
	return p;
}

struct book_track *book_find_track(const struct book *b,
				   const struct journal_track_key *key)
{
	struct book_track *t;

	HASH_FIND(hh, b->tracks, key, sizeof(*key), t);
	return t;
}

struct book_flow *book_find_flow(const struct book *b,
				 const struct tuple *identity)
{
	struct book_flow *f;

	HASH_FIND(hh, b->flows, identity, sizeof(*identity), f);
	return f;
}

static int add_peer(struct book *b, const struct journal_peer *is)
{
	struct book_peer *p = book_find_peer(b, is->number);

	if (p) { /* its tracks stay */
		p->is = *is;
		return 0;
	}
	if (HASH_COUNT(b->peers) >= JOURNAL_PEERS_MAX)
		return -ENOSPC;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->is = *is;
	HASH_ADD(hh, b->peers, is.number, sizeof(p->is.number), p);
	if (p->hh.tbl)
		return 0;
	free(p);
	return -ENOMEM;
}

static int get_track(struct book *b, const struct journal_track_key *key,
		     struct book_track **out)
{
	struct book_track *t = book_find_track(b, key);
	struct book_peer *p = book_find_peer(b, key->peer);

	*out = t;
	if (t)
		return 0;
	if (HASH_COUNT(b->tracks) >= JOURNAL_TRACKS_MAX || !p ||
	    p->n_tracks >= JOURNAL_PEER_TRACKS_MAX)
		return -ENOSPC;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->key = *key;
	HASH_ADD(hh, b->tracks, key, sizeof(t->key), t);
	if (!t->hh.tbl) {
		free(t);
		return -ENOMEM;
	}
	p->n_tracks++;
	*out = t;
	return 0;
}

static int add_track(struct book *b, const struct journal_track *is)
{
	struct book_track *t;
	int err = get_track(b, &is->key, &t);

	if (err)
		return err;
	t->known = true;
	t->is = *is;
	return 0;
}

static struct book_port *find_port(const struct book_track *t, uint64_t ports,
				   uint64_t flow_id)
{
	const struct book_port_key key = { ports, flow_id };
	struct book_port *p;

	HASH_FIND(hh, t->ports, &key, sizeof(key), p);
	return p;
}

static int add_port(struct book_track *t, uint64_t ports, uint64_t flow_id,
		    uint16_t port)
{
	struct book_port *p = find_port(t, ports, flow_id);

	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		p->key = (struct book_port_key){ ports, flow_id };
		HASH_ADD(hh, t->ports, key, sizeof(p->key), p);
		if (!p->hh.tbl) {
			free(p);
			return -ENOMEM;
		}
	}
	p->port = port;
	return 0;
}

static int add_ports(struct book *b, const struct journal_ports *is)
{
	struct book_track *t;
	int err = get_track(b, &is->key, &t);

	for (unsigned int i = 0; i < is->n && !err; i++)
		err = add_port(t, is->ports, is->port[i].flow_id,
			       is->port[i].port);
	return err;
}

/* The record itself is kept where it lies: it has room for any path, which
 * hardly any flow has. */
static int add_flow(struct book *b, const struct tuple *identity,
		    const uint8_t *record, size_t len)
{
	struct book_flow *f = book_find_flow(b, identity);

	if (f) {
		f->record = record;
		f->len = (uint16_t)len;
		return 0;
	}
	if (HASH_COUNT(b->flows) >= JOURNAL_FLOWS_MAX)
		return -ENOSPC;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->identity = *identity;
	f->record = record;
	f->len = (uint16_t)len;
	HASH_ADD(hh, b->flows, identity, sizeof(f->identity), f);
	if (f->hh.tbl)
		return 0;
	free(f);
	return -ENOMEM;
}

void book_flow_get(const struct book_flow *f, struct journal_flow *is)
{
	struct journal_record r;
	size_t used;

	/* It was read before. */
	if (journal_decode(f->record, f->len, &used, &r) != JOURNAL_OK)
		memset(&r, 0, sizeof(r));
	*is = r.flow;
}

static int add(struct book *b, const struct journal_record *r,
	       const uint8_t *record, size_t len)
{
	struct book_track *t;
	struct book_flow *f;

	switch (r->type) {
	case JOURNAL_START:
		b->start = r->start;
		b->started = true;
		return 0;
	case JOURNAL_PEER:
		return add_peer(b, &r->peer);
	case JOURNAL_TRACK:
		return add_track(b, &r->track);
	case JOURNAL_TRACK_END:
		t = book_find_track(b, &r->track_end);
		if (t)
			track_free(b, t);
		return 0;
	case JOURNAL_PORTS:
		return add_ports(b, &r->ports);
	case JOURNAL_FLOW:
		return add_flow(b, &r->flow.identity, record, len);
	case JOURNAL_FLOW_END:
		f = book_find_flow(b, &r->flow_end);
		if (f) {
			HASH_DELETE(hh, b->flows, f);
			free(f);
		}
		return 0;
	}
	return 0;
}

long book_read(struct book *b, const uint8_t *data, size_t len)
{
	struct journal_record r;
	size_t at = 0;
	size_t used;

	while (at < len) {
		enum journal_result result =
			journal_decode(data + at, len - at, &used, &r);
		int err;

		if (result == JOURNAL_CUT)
			break;
		if (!b->started && (result != JOURNAL_OK ||
				    r.type != JOURNAL_START))
			return -EPROTO;
		err = result == JOURNAL_UNKNOWN ? 0 :
						  add(b, &r, data + at, used);
		if (err == -ENOSPC)
			b->skipped++;
		else if (err)
			return err;
		at += used;
	}
	return b->started ? (long)at : -EPROTO;
}

uint16_t book_port(const struct book_track *t, uint64_t ports,
		   uint64_t flow_id)
{
	const struct book_port *p = find_port(t, ports, flow_id);

	return p ? p->port : 0;
}
