/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * journal: the form of its records.
 *
 * One list of fields serves both ways, so that reading and writing cannot
 * differ. Never adds records up (book.c), never opens a file.
 */
#include "journal.h"

#include <string.h>

#include "buf.h"

#define HEADER_SIZE 4
#define CHECK_SIZE 8

/* Writes to `w` or, where that is NULL, reads from `r`. */
struct coder {
	struct buf_writer *w;
	struct buf_reader *r;
	bool bad; /* read something that makes no sense */
};

/* ---- fields ------------------------------------------------------------ */

static void code_u8(struct coder *c, uint8_t *v)
{
	if (c->w)
		buf_put_u8(c->w, *v);
	else
		*v = buf_get_u8(c->r);
}

static void code_u16(struct coder *c, uint16_t *v)
{
	if (c->w)
		buf_put_be16(c->w, *v);
	else
		*v = buf_get_be16(c->r);
}

static void code_u32(struct coder *c, uint32_t *v)
{
	if (c->w)
		buf_put_be32(c->w, *v);
	else
		*v = buf_get_be32(c->r);
}

static void code_u64(struct coder *c, uint64_t *v)
{
	if (c->w)
		buf_put_be64(c->w, *v);
	else
		*v = buf_get_be64(c->r);
}

static void code_bytes(struct coder *c, void *v, size_t len)
{
	if (c->w)
		buf_put_bytes(c->w, v, len);
	else
		buf_get_bytes(c->r, v, len);
}

static void code_bool(struct coder *c, bool *v)
{
	uint8_t byte = *v;

	code_u8(c, &byte);
	*v = byte;
	c->bad |= byte > 1;
}

/* A number below `limit`. */
static void code_below(struct coder *c, unsigned int *v, unsigned int limit)
{
	uint32_t u = *v;

	code_u32(c, &u);
	*v = u;
	c->bad |= u >= limit;
}

static void code_addr(struct coder *c, struct addr *a)
{
	size_t len;

	code_u8(c, &a->family);
	len = addr_size(a);
	c->bad |= a->family && !len;
	code_bytes(c, a->byte, len);
}

static void code_endpoint(struct coder *c, struct endpoint *e)
{
	code_addr(c, &e->addr);
	code_u16(c, &e->port);
}

static void code_tuple(struct coder *c, struct tuple *t)
{
	code_u8(c, &t->proto);
	code_endpoint(c, &t->local);
	code_endpoint(c, &t->remote);
	c->bad |= !addr_is_set(&t->local.addr) ||
		  t->local.addr.family != t->remote.addr.family ||
		  (t->proto != IPPROTO_TCP && t->proto != IPPROTO_UDP);
}

static void code_locator(struct coder *c, struct locator *l)
{
	code_addr(c, &l->addr);
	code_u64(c, &l->ports);
}

/* ---- tracks ------------------------------------------------------------ */

static void code_accepted(struct coder *c, struct accepted *list,
			  unsigned int *n)
{
	code_below(c, n, MIGRATE_ACCEPTED_MAX + 1);
	if (c->bad)
		return;
	for (unsigned int i = 0; i < *n; i++) {
		code_locator(c, &list[i].locator);
		code_u64(c, &list[i].proved_seq);
		code_u64(c, &list[i].until_ms);
		code_bytes(c, list[i].challenge, sizeof(list[i].challenge));
	}
}

/* All that is accepted is of one family. */
static bool is_one_family(const struct accepted *list, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (list[i].locator.addr.family !=
		    list[0].locator.addr.family)
			return false;
	return true;
}

/* Its locators of use are accepted and set: what its code relies on. */
static bool is_accepted(const struct accepted *list, unsigned int n,
			const struct locator *l)
{
	for (unsigned int i = 0; i < n; i++)
		if (locator_equal(&list[i].locator, l))
			return addr_is_set(&l->addr);
	return false;
}

static void code_rtt(struct coder *c, struct rtt *r)
{
	code_u32(c, &r->srtt_ms);
	code_u32(c, &r->rttvar_ms);
}

static void code_mover(struct coder *c, struct mover *m)
{
	unsigned int state = m->state;

	code_below(c, &state, MOVER_STATES);
	m->state = (enum mover_state)state;
	code_u32(c, &m->track);
	code_u64(c, &m->seq);
	code_u64(c, &m->committed);
	code_locator(c, &m->current);
	code_locator(c, &m->target);
	code_locator(c, &m->sending);
	code_bool(c, &m->current_up);
	code_bool(c, &m->sending_up);
	code_bool(c, &m->target_up);
	code_bool(c, &m->from_gone);
	code_bool(c, &m->declared_gone);
	code_bool(c, &m->peer_lost);
	code_bool(c, &m->holding);
	code_bool(c, &m->refused);
	code_below(c, &m->repeats, UINT32_MAX);
	code_below(c, &m->retries, UINT32_MAX);
	code_u32(c, &m->backoff_ms);
	code_u64(c, &m->hold_since_ms);
	code_u64(c, &m->repeat_ms);
	code_u64(c, &m->evaluate_ms);
	code_u64(c, &m->retry_ms);
	code_u64(c, &m->give_up_ms);
	code_u64(c, &m->permit_ms);
	code_u64(c, &m->permit_seq);
	code_u64(c, &m->sent_ms);
	code_rtt(c, &m->rtt);
	code_bytes(c, m->challenge, sizeof(m->challenge));
	code_accepted(c, m->accepted, &m->n_accepted);
	if (c->bad)
		return;
	c->bad |= !is_one_family(m->accepted, m->n_accepted) ||
		  !is_accepted(m->accepted, m->n_accepted, &m->current) ||
		  !is_accepted(m->accepted, m->n_accepted, &m->sending) ||
		  (mover_target(m) &&
		   !is_accepted(m->accepted, m->n_accepted, &m->target));
}

static void code_follower(struct coder *c, struct follower *f)
{
	unsigned int state = f->state;

	code_below(c, &state, FOLLOWER_STATES);
	f->state = (enum follower_state)state;
	code_u32(c, &f->track);
	code_u64(c, &f->committed);
	code_u64(c, &f->pending);
	code_u64(c, &f->floor);
	code_locator(c, &f->sending);
	code_bool(c, &f->gone);
	code_bool(c, &f->holding);
	code_locator(c, &f->offer);
	code_bytes(c, f->challenge, sizeof(f->challenge));
	code_bytes(c, f->proved, sizeof(f->proved));
	code_below(c, &f->accepts, UINT32_MAX);
	code_u64(c, &f->accept_ms);
	code_u64(c, &f->lease_ms);
	code_u64(c, &f->hold_since_ms);
	code_u64(c, &f->retry_ms);
	code_rtt(c, &f->rtt);
	code_accepted(c, f->accepted, &f->n_accepted);
	if (c->bad)
		return;
	c->bad |= !is_one_family(f->accepted, f->n_accepted) ||
		  !is_accepted(f->accepted, f->n_accepted, &f->sending) ||
		  (f->state == FOLLOWER_OFFERED &&
		   !is_accepted(f->accepted, f->n_accepted, &f->offer));
}

static void code_track_key(struct coder *c, struct journal_track_key *k)
{
	code_u32(c, &k->peer);
	code_u32(c, &k->id);
	code_below(c, &k->side, FLOW_SIDES);
	c->bad |= !k->peer;
}

static void code_way(struct coder *c, struct way *w)
{
	unsigned int began = w->began;

	code_addr(c, &w->from);
	code_addr(c, &w->to);
	code_below(c, &began, WAY_LEADS);
	w->began = (enum way_leads)began;
	code_bool(c, &w->preferred);
}

static void code_track(struct coder *c, struct journal_track *t)
{
	code_track_key(c, &t->key);
	code_addr(c, &t->remote);
	code_u32(c, &t->mark);
	code_u32(c, &t->uid);
	code_bytes(c, t->ifname, sizeof(t->ifname));
	c->bad |= t->ifname[sizeof(t->ifname) - 1] != '\0';
	code_bool(c, &t->tunnel);
	code_u64(c, &t->ports);
	code_u32(c, &t->moves);
	code_addr(c, &t->wish);
	if (c->bad)
		return;
	if (t->key.side == FLOW_OURS) {
		code_way(c, &t->way);
		code_mover(c, &t->mover);
	} else {
		code_follower(c, &t->follower);
	}
}

static void code_ports(struct coder *c, struct journal_ports *p)
{
	code_track_key(c, &p->key);
	code_u64(c, &p->ports);
	code_u16(c, &p->n);
	c->bad |= p->n > JOURNAL_PORTS_MAX || !p->ports;
	for (unsigned int i = 0; i < p->n && !c->bad; i++) {
		code_u64(c, &p->port[i].flow_id);
		code_u16(c, &p->port[i].port);
	}
}

/* ---- others ------------------------------------------------------------ */

static void code_path(struct coder *c, struct journal_flow *f, int side)
{
	uint8_t family = f->identity.local.addr.family;

	code_u8(c, &f->n[side]);
	c->bad |= f->n[side] > FLOW_ENDS_MAX;
	for (unsigned int i = 0; i < f->n[side] && !c->bad; i++) {
		code_endpoint(c, &f->end[side][i].at);
		code_u64(c, &f->end[side][i].ports);
		c->bad |= f->end[side][i].at.addr.family != family;
	}
	if (!f->n[side] || c->bad)
		return;
	code_endpoint(c, &f->send[side]);
	c->bad |= f->send[side].addr.family != family;
}

static void code_flow(struct coder *c, struct journal_flow *f)
{
	code_tuple(c, &f->identity);
	code_u32(c, &f->peer);
	code_u64(c, &f->cookie);
	code_u64(c, &f->flow_id);
	code_u32(c, &f->moves);
	code_bool(c, &f->tracked);
	for (int side = 0; side < FLOW_SIDES; side++)
		code_u32(c, &f->track[side]);
	for (int side = 0; side < FLOW_SIDES && !c->bad; side++)
		code_path(c, f, side);
	c->bad |= !f->n[FLOW_OURS] != !f->n[FLOW_THEIRS] ||
		  (f->tracked && (!f->peer || !f->flow_id));
}

static void code_start(struct coder *c, struct journal_start *s)
{
	uint8_t magic[] = { 's', 'a', 'c', 'i', 'p', JOURNAL_VERSION };
	uint8_t read[sizeof(magic)];

	memcpy(read, magic, sizeof(magic));
	code_bytes(c, read, sizeof(read));
	c->bad |= memcmp(read, magic, sizeof(magic)) != 0;
	code_bytes(c, s->boot_id, sizeof(s->boot_id));
}

static void code_peer(struct coder *c, struct journal_peer *p)
{
	code_u32(c, &p->number);
	code_u16(c, &p->port);
	code_bytes(c, p->key, sizeof(p->key));
	c->bad |= !p->number || !p->port;
}

/* False: no such type. */
static bool code_body(struct coder *c, struct journal_record *r)
{
	switch (r->type) {
	case JOURNAL_START:
		code_start(c, &r->start);
		return true;
	case JOURNAL_PEER:
		code_peer(c, &r->peer);
		return true;
	case JOURNAL_TRACK:
		code_track(c, &r->track);
		return true;
	case JOURNAL_TRACK_END:
		code_track_key(c, &r->track_end);
		return true;
	case JOURNAL_PORTS:
		code_ports(c, &r->ports);
		return true;
	case JOURNAL_FLOW:
		code_flow(c, &r->flow);
		return true;
	case JOURNAL_FLOW_END:
		code_tuple(c, &r->flow_end);
		return true;
	}
	return false;
}

/* ---- records ------------------------------------------------------------ */

static void check_make(const uint8_t *data, size_t len,
		       uint8_t check[CHECK_SIZE])
{
	struct crypto_part part = { data, len };

	crypto_blake2b(check, CHECK_SIZE, NULL, 0, &part, 1);
}

size_t journal_encode(const struct journal_record *r, uint8_t *to, size_t size)
{
	struct journal_record copy = *r; /* the coder does not write it */
	struct buf_writer w;
	struct coder c = { .w = &w };
	uint8_t check[CHECK_SIZE];

	buf_writer_init(&w, to, size < JOURNAL_RECORD_MAX ?
				size : JOURNAL_RECORD_MAX);
	buf_put_be16(&w, 0);
	buf_put_u8(&w, (uint8_t)r->type);
	buf_put_u8(&w, 0);
	if (!code_body(&c, &copy) || c.bad || !buf_writer_ok(&w))
		return 0;
	to[0] = (uint8_t)((w.len + CHECK_SIZE) >> 8);
	to[1] = (uint8_t)(w.len + CHECK_SIZE);
	check_make(to, w.len, check);
	buf_put_bytes(&w, check, sizeof(check));
	return buf_writer_ok(&w) ? w.len : 0;
}

enum journal_result journal_decode(const uint8_t *data, size_t len,
				   size_t *used, struct journal_record *r)
{
	struct buf_reader in;
	struct coder c = { .r = &in };
	uint8_t check[CHECK_SIZE];
	size_t whole;

	if (len < HEADER_SIZE)
		return JOURNAL_CUT;
	whole = (size_t)data[0] << 8 | data[1];
	if (whole < HEADER_SIZE + CHECK_SIZE || whole > len ||
	    whole > JOURNAL_RECORD_MAX)
		return JOURNAL_CUT;
	check_make(data, whole - CHECK_SIZE, check);
	if (memcmp(check, data + whole - CHECK_SIZE, CHECK_SIZE) != 0)
		return JOURNAL_CUT;
	*used = whole;
	memset(r, 0, sizeof(*r));
	r->type = (enum journal_type)data[2];
	buf_reader_init(&in, data + HEADER_SIZE,
			whole - HEADER_SIZE - CHECK_SIZE);
	if (!code_body(&c, r))
		return JOURNAL_UNKNOWN;
	if (c.bad || !buf_reader_ok(&in) || buf_left(&in))
		return JOURNAL_CUT;
	return JOURNAL_OK;
}
