/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire: the plaintext of transport datagrams.
 *
 * Owns the layout of src, dst, bodies and TLVs. Each body has a put and a
 * get that read like its line in sacip(7). Whatever a put takes, the get
 * gives back; whatever a get refuses, the put refuses too. Never seals,
 * never judges what it read.
 */
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

/* Entries of one size must fit their bound into one datagram. */
#define BODY_MAX (WIRE_PLAIN_MAX - WIRE_PATH_SIZE)
#define TAG_SIZE WIRE_NONCE_SIZE /* behind the kind */
#define RECEIPT_SIZE (WIRE_NONCE_SIZE + 16)
#define FLOW_MIN 75
#define FLOW_ACK_MIN 39
_Static_assert(WIRE_FLOWS_FIXED + WIRE_FLOWS_MAX * FLOW_MIN <= BODY_MAX,
	       "fits");
_Static_assert(WIRE_FLOWS_FIXED +
			       WIRE_FLOWS_FIT * (FLOW_MIN + RECEIPT_SIZE) <=
		       BODY_MAX,
	       "fits");
_Static_assert(WIRE_FLOWS_FIXED +
			       WIRE_FLOWS_ACK_MAX * (FLOW_ACK_MIN + TAG_SIZE) <=
		       BODY_MAX,
	       "fits");
_Static_assert(WIRE_FLOWS_FIXED + WIRE_FLOWS_ACK_FIT *
					  (FLOW_ACK_MIN + RECEIPT_SIZE) <=
		       BODY_MAX,
	       "fits");
_Static_assert(1 + WIRE_FLOW_END_MAX * 8 <= BODY_MAX, "fits");
_Static_assert(70 + WIRE_MOVE_MAX * 10 <= BODY_MAX, "fits");
_Static_assert(31 + WIRE_ACCEPT_MAX * 9 <= BODY_MAX, "fits");
_Static_assert(14 + WIRE_REFUSE_MAX * 8 <= BODY_MAX, "fits");
_Static_assert(45 + WIRE_PROVE_MAX * 12 <= BODY_MAX, "fits");
_Static_assert(22 + WIRE_SYNC_MAX * (28 + 12) <= BODY_MAX, "fits");

/* ---- reading and writing with one sticky result each ------------------ */

struct decoder {
	struct buf_reader r;
	enum wire_result result;
};

struct encoder {
	struct buf_writer *w;
	bool bad; /* a value that no decoder would take */
};

static void refuse(struct decoder *d, bool when, enum wire_result why)
{
	/* What was read past the end is zeros: the end is what is wrong. */
	if (!d->result && !buf_reader_ok(&d->r))
		d->result = WIRE_SHORT;
	if (!d->result && when)
		d->result = why;
}

static void must(struct encoder *e, bool condition)
{
	e->bad |= !condition;
}

static void put_addr(struct encoder *e, const struct addr *a)
{
	uint8_t mapped[16];

	must(e, wire_addr_is_valid(a));
	addr_to_mapped(a, mapped);
	buf_put_bytes(e->w, mapped, sizeof mapped);
}

static void get_addr(struct decoder *d, struct addr *a)
{
	uint8_t mapped[16];

	buf_get_bytes(&d->r, mapped, sizeof mapped);
	*a = addr_from_mapped(mapped);
	refuse(d, !wire_addr_is_valid(a), WIRE_BAD_ADDR);
}

static void put_endpoint(struct encoder *e, const struct endpoint *p)
{
	put_addr(e, &p->addr);
	must(e, p->port);
	buf_put_be16(e->w, p->port);
}

static void get_endpoint(struct decoder *d, struct endpoint *p)
{
	get_addr(d, &p->addr);
	p->port = buf_get_be16(&d->r);
	refuse(d, p->port == 0, WIRE_BAD_ADDR);
}

/* A count and whether that many entries can follow. Returns what may be
 * looped over: 0 once anything is wrong. */
static uint8_t put_count(struct encoder *e, uint8_t n, size_t max)
{
	must(e, n <= max);
	buf_put_u8(e->w, n);
	return e->bad ? 0 : n;
}

static uint8_t get_count(struct decoder *d, size_t max, size_t entry_min)
{
	uint8_t n = buf_get_u8(&d->r);

	refuse(d, n > max || n * entry_min > buf_left(&d->r),
	       WIRE_BAD_COUNT);
	return d->result ? 0 : n;
}

static void put_part(struct encoder *e, uint16_t part, uint16_t parts)
{
	must(e, part < parts && parts <= WIRE_PARTS_MAX);
	buf_put_be16(e->w, part);
	buf_put_be16(e->w, parts);
}

static void get_part(struct decoder *d, uint16_t *part, uint16_t *parts)
{
	*part = buf_get_be16(&d->r);
	*parts = buf_get_be16(&d->r);
	refuse(d, *part >= *parts || *parts > WIRE_PARTS_MAX, WIRE_BAD_VALUE);
}

static void put_flags(struct encoder *e, uint8_t flags, uint8_t known)
{
	must(e, !(flags & ~known));
	buf_put_u8(e->w, flags);
}

static uint8_t get_flags(struct decoder *d, uint8_t known)
{
	uint8_t flags = buf_get_u8(&d->r);

	refuse(d, flags & ~known, WIRE_BAD_VALUE);
	return flags;
}

static bool proto_is_valid(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

/* ---- flows ------------------------------------------------------------ */

static void put_proof(struct encoder *e, const struct wire_proof *p)
{
	buf_put_u8(e->w, p->kind);
	must(e, p->kind <= WIRE_PROOF_RECEIPT);
	if (p->kind == WIRE_PROOF_NONE)
		return;
	buf_put_bytes(e->w, p->nonce, sizeof(p->nonce));
	if (p->kind != WIRE_PROOF_RECEIPT)
		return;
	buf_put_be32(e->w, p->seq);
	buf_put_be32(e->w, p->ack);
	buf_put_be32(e->w, p->tsval);
	buf_put_be32(e->w, p->tsecr);
}

static void get_proof(struct decoder *d, struct wire_proof *p)
{
	p->kind = buf_get_u8(&d->r);
	refuse(d, p->kind > WIRE_PROOF_RECEIPT, WIRE_BAD_VALUE);
	if (p->kind != WIRE_PROOF_TAG && p->kind != WIRE_PROOF_RECEIPT)
		return;
	buf_get_bytes(&d->r, p->nonce, sizeof(p->nonce));
	if (p->kind != WIRE_PROOF_RECEIPT)
		return;
	p->seq = buf_get_be32(&d->r);
	p->ack = buf_get_be32(&d->r);
	p->tsval = buf_get_be32(&d->r);
	p->tsecr = buf_get_be32(&d->r);
}

static void put_place(struct encoder *e, const struct wire_place *p)
{
	buf_put_be32(e->w, p->track);
	buf_put_be64(e->w, p->seq);
	put_addr(e, &p->at);
	buf_put_u8(e->w, p->ports ? WIRE_PLACE_PORTS : 0);
}

static void get_place(struct decoder *d, struct wire_place *p)
{
	p->track = buf_get_be32(&d->r);
	p->seq = buf_get_be64(&d->r);
	get_addr(d, &p->at);
	p->ports = get_flags(d, WIRE_PLACE_PORTS);
}

static void put_flows(struct encoder *e, const struct wire_flows *m)
{
	uint8_t n;

	buf_put_be32(e->w, m->batch);
	put_part(e, m->part, m->parts);
	put_flags(e, m->flags, WIRE_FLOWS_COMPLETE);
	n = put_count(e, m->n, WIRE_FLOWS_MAX);
	for (const struct wire_flow *f = m->flow; f < m->flow + n; f++) {
		buf_put_be64(e->w, f->flow_id);
		put_place(e, &f->place);
		must(e, proto_is_valid(f->proto));
		buf_put_u8(e->w, f->proto);
		put_endpoint(e, &f->src);
		put_endpoint(e, &f->dst);
		put_proof(e, &f->proof);
	}
}

static void get_flows(struct decoder *d, struct wire_flows *m)
{
	m->batch = buf_get_be32(&d->r);
	get_part(d, &m->part, &m->parts);
	m->flags = get_flags(d, WIRE_FLOWS_COMPLETE);
	m->n = get_count(d, WIRE_FLOWS_MAX, FLOW_MIN);
	for (struct wire_flow *f = m->flow; f < m->flow + m->n; f++) {
		f->flow_id = buf_get_be64(&d->r);
		get_place(d, &f->place);
		f->proto = buf_get_u8(&d->r);
		refuse(d, !proto_is_valid(f->proto), WIRE_BAD_VALUE);
		get_endpoint(d, &f->src);
		get_endpoint(d, &f->dst);
		get_proof(d, &f->proof);
	}
}

static void put_flows_ack(struct encoder *e, const struct wire_flows_ack *m)
{
	uint8_t n;

	buf_put_be32(e->w, m->batch);
	put_part(e, m->part, m->parts);
	n = put_count(e, m->n, WIRE_FLOWS_ACK_MAX);
	buf_put_u8(e->w, 0);
	for (const struct wire_flow_ack *f = m->flow; f < m->flow + n; f++) {
		buf_put_be64(e->w, f->flow_id);
		put_place(e, &f->place);
		buf_put_u8(e->w, f->reason);
		put_proof(e, &f->proof);
	}
}

static void get_flows_ack(struct decoder *d, struct wire_flows_ack *m)
{
	m->batch = buf_get_be32(&d->r);
	get_part(d, &m->part, &m->parts);
	m->n = get_count(d, WIRE_FLOWS_ACK_MAX, FLOW_ACK_MIN);
	refuse(d, buf_get_u8(&d->r) != 0, WIRE_NOT_ZERO);
	for (struct wire_flow_ack *f = m->flow; f < m->flow + m->n; f++) {
		f->flow_id = buf_get_be64(&d->r);
		get_place(d, &f->place);
		f->reason = buf_get_u8(&d->r);
		get_proof(d, &f->proof);
	}
}

static void put_flow_end(struct encoder *e, const struct wire_flow_end *m)
{
	uint8_t n = put_count(e, m->n, WIRE_FLOW_END_MAX);

	for (uint8_t i = 0; i < n; i++)
		buf_put_be64(e->w, m->flow_id[i]);
}

static void get_flow_end(struct decoder *d, struct wire_flow_end *m)
{
	m->n = get_count(d, WIRE_FLOW_END_MAX, 8);
	for (uint8_t i = 0; i < m->n; i++)
		m->flow_id[i] = buf_get_be64(&d->r);
}

/* ---- moves ------------------------------------------------------------ */

static void put_move(struct encoder *e, const struct wire_move *m)
{
	uint8_t n;

	buf_put_be32(e->w, m->track);
	buf_put_be64(e->w, m->seq);
	put_addr(e, &m->from);
	put_addr(e, &m->to);
	put_flags(e, m->flags, WIRE_MOVE_FROM_GONE);
	buf_put_be32(e->w, m->count);
	buf_put_bytes(e->w, m->digest, sizeof m->digest);
	put_part(e, m->part, m->parts);
	n = put_count(e, m->n, WIRE_MOVE_MAX);
	for (uint8_t i = 0; i < n; i++) {
		buf_put_be64(e->w, m->port[i].flow_id);
		must(e, m->port[i].port);
		buf_put_be16(e->w, m->port[i].port);
	}
}

static void get_move(struct decoder *d, struct wire_move *m)
{
	m->track = buf_get_be32(&d->r);
	m->seq = buf_get_be64(&d->r);
	get_addr(d, &m->from);
	get_addr(d, &m->to);
	m->flags = get_flags(d, WIRE_MOVE_FROM_GONE);
	m->count = buf_get_be32(&d->r);
	buf_get_bytes(&d->r, m->digest, sizeof m->digest);
	get_part(d, &m->part, &m->parts);
	m->n = get_count(d, WIRE_MOVE_MAX, 10);
	for (uint8_t i = 0; i < m->n; i++) {
		m->port[i].flow_id = buf_get_be64(&d->r);
		m->port[i].port = buf_get_be16(&d->r);
		refuse(d, m->port[i].port == 0, WIRE_BAD_VALUE);
	}
}

static void put_accept(struct encoder *e, const struct wire_accept *m)
{
	uint8_t n;

	buf_put_be32(e->w, m->track);
	buf_put_be64(e->w, m->seq);
	buf_put_bytes(e->w, m->challenge, sizeof m->challenge);
	buf_put_be16(e->w, m->lease_s);
	n = put_count(e, m->n, WIRE_ACCEPT_MAX);
	for (uint8_t i = 0; i < n; i++) {
		buf_put_be64(e->w, m->refused[i].flow_id);
		buf_put_u8(e->w, m->refused[i].reason);
	}
}

static void get_accept(struct decoder *d, struct wire_accept *m)
{
	m->track = buf_get_be32(&d->r);
	m->seq = buf_get_be64(&d->r);
	buf_get_bytes(&d->r, m->challenge, sizeof m->challenge);
	m->lease_s = buf_get_be16(&d->r);
	m->n = get_count(d, WIRE_ACCEPT_MAX, 9);
	for (uint8_t i = 0; i < m->n; i++) {
		m->refused[i].flow_id = buf_get_be64(&d->r);
		m->refused[i].reason = buf_get_u8(&d->r);
	}
}

static void put_refuse(struct encoder *e, const struct wire_refuse *m)
{
	uint8_t n;

	buf_put_be32(e->w, m->track);
	buf_put_be64(e->w, m->seq);
	buf_put_u8(e->w, m->reason);
	n = put_count(e, m->n, WIRE_REFUSE_MAX);
	for (uint8_t i = 0; i < n; i++)
		buf_put_be64(e->w, m->flow_id[i]);
}

static void get_refuse(struct decoder *d, struct wire_refuse *m)
{
	m->track = buf_get_be32(&d->r);
	m->seq = buf_get_be64(&d->r);
	m->reason = buf_get_u8(&d->r);
	m->n = get_count(d, WIRE_REFUSE_MAX, 8);
	for (uint8_t i = 0; i < m->n; i++)
		m->flow_id[i] = buf_get_be64(&d->r);
}

static void put_prove(struct encoder *e, const struct wire_prove *m)
{
	uint8_t n;

	buf_put_be32(e->w, m->track);
	buf_put_be64(e->w, m->seq);
	buf_put_bytes(e->w, m->challenge, sizeof m->challenge);
	put_addr(e, &m->to);
	n = put_count(e, m->n, WIRE_PROVE_MAX);
	for (uint8_t i = 0; i < n; i++) {
		buf_put_be64(e->w, m->flow[i].flow_id);
		buf_put_be32(e->w, m->flow[i].rcv_nxt);
	}
}

static void get_prove(struct decoder *d, struct wire_prove *m)
{
	m->track = buf_get_be32(&d->r);
	m->seq = buf_get_be64(&d->r);
	buf_get_bytes(&d->r, m->challenge, sizeof m->challenge);
	get_addr(d, &m->to);
	m->n = get_count(d, WIRE_PROVE_MAX, 12);
	for (uint8_t i = 0; i < m->n; i++) {
		m->flow[i].flow_id = buf_get_be64(&d->r);
		m->flow[i].rcv_nxt = buf_get_be32(&d->r);
	}
}

static void put_sync(struct encoder *e, const struct wire_sync *m)
{
	uint8_t n = put_count(e, m->n_own, WIRE_SYNC_MAX);

	for (uint8_t i = 0; i < n; i++) {
		buf_put_be32(e->w, m->own[i].track);
		buf_put_be64(e->w, m->own[i].seq);
		put_addr(e, &m->own[i].locator);
	}
	n = put_count(e, m->n_theirs, WIRE_SYNC_MAX);
	for (uint8_t i = 0; i < n; i++) {
		buf_put_be32(e->w, m->theirs[i].track);
		buf_put_be64(e->w, m->theirs[i].committed);
	}
	buf_put_be32(e->w, m->flow_count);
	buf_put_bytes(e->w, m->digest, sizeof m->digest);
}

static void get_sync(struct decoder *d, struct wire_sync *m)
{
	m->n_own = get_count(d, WIRE_SYNC_MAX, 28);
	for (uint8_t i = 0; i < m->n_own; i++) {
		m->own[i].track = buf_get_be32(&d->r);
		m->own[i].seq = buf_get_be64(&d->r);
		get_addr(d, &m->own[i].locator);
	}
	m->n_theirs = get_count(d, WIRE_SYNC_MAX, 12);
	for (uint8_t i = 0; i < m->n_theirs; i++) {
		m->theirs[i].track = buf_get_be32(&d->r);
		m->theirs[i].committed = buf_get_be64(&d->r);
	}
	m->flow_count = buf_get_be32(&d->r);
	buf_get_bytes(&d->r, m->digest, sizeof m->digest);
}

/* ---- any message ------------------------------------------------------ */

static void put_body(struct encoder *e, const struct wire_message *m)
{
	switch (m->type) {
	case WIRE_FLOWS:
		put_flows(e, &m->flows);
		break;
	case WIRE_FLOWS_ACK:
		put_flows_ack(e, &m->flows_ack);
		break;
	case WIRE_FLOW_END:
	case WIRE_FLOW_END_ACK:
		put_flow_end(e, &m->flow_end);
		break;
	case WIRE_PROBE:
	case WIRE_PROBE_ACK:
		buf_put_bytes(e->w, m->probe.token, sizeof m->probe.token);
		break;
	case WIRE_MOVE:
		put_move(e, &m->move);
		break;
	case WIRE_ACCEPT:
		put_accept(e, &m->accept);
		break;
	case WIRE_REFUSE:
		put_refuse(e, &m->refuse);
		break;
	case WIRE_PROVE:
		put_prove(e, &m->prove);
		break;
	case WIRE_DONE:
		buf_put_be32(e->w, m->done.track);
		buf_put_be64(e->w, m->done.seq);
		break;
	case WIRE_SYNC:
	case WIRE_SYNC_ACK:
		put_sync(e, &m->sync);
		break;
	case WIRE_BYE:
		buf_put_u8(e->w, m->bye.reason);
		break;
	default:
		e->bad = true;
	}
}

static void get_body(struct decoder *d, struct wire_message *m)
{
	switch (m->type) {
	case WIRE_FLOWS:
		get_flows(d, &m->flows);
		break;
	case WIRE_FLOWS_ACK:
		get_flows_ack(d, &m->flows_ack);
		break;
	case WIRE_FLOW_END:
	case WIRE_FLOW_END_ACK:
		get_flow_end(d, &m->flow_end);
		break;
	case WIRE_PROBE:
	case WIRE_PROBE_ACK:
		buf_get_bytes(&d->r, m->probe.token, sizeof m->probe.token);
		break;
	case WIRE_MOVE:
		get_move(d, &m->move);
		break;
	case WIRE_ACCEPT:
		get_accept(d, &m->accept);
		break;
	case WIRE_REFUSE:
		get_refuse(d, &m->refuse);
		break;
	case WIRE_PROVE:
		get_prove(d, &m->prove);
		break;
	case WIRE_DONE:
		m->done.track = buf_get_be32(&d->r);
		m->done.seq = buf_get_be64(&d->r);
		break;
	case WIRE_SYNC:
	case WIRE_SYNC_ACK:
		get_sync(d, &m->sync);
		break;
	case WIRE_BYE:
		m->bye.reason = buf_get_u8(&d->r);
		break;
	case WIRE_ADDRS:
	case WIRE_ADDRS_ACK:
	case WIRE_ASK:
	case WIRE_TELL:
	case WIRE_KEY_NEXT:
	case WIRE_HINT:
		refuse(d, true, WIRE_RESERVED);
		break;
	default:
		refuse(d, true, WIRE_BAD_TYPE);
	}
}

/* No TLV means anything yet: what is not critical is skipped, padding
 * with it; what is critical was meant for a later version. */
static void get_tlvs(struct decoder *d)
{
	while (!d->result && buf_left(&d->r)) {
		uint8_t type = buf_get_u8(&d->r);

		if (buf_left(&d->r) == 0) {
			refuse(d, true, WIRE_TRAILING);
			break;
		}
		if (!buf_get_view(&d->r, buf_get_u8(&d->r)))
			refuse(d, true, WIRE_SHORT);
		refuse(d, type & WIRE_TLV_CRITICAL, WIRE_CRITICAL);
	}
}

int wire_encode_message(const struct wire_message *m, struct buf_writer *w)
{
	struct encoder e = { .w = w };

	put_endpoint(&e, &m->src);
	put_endpoint(&e, &m->dst);
	put_body(&e, m);
	if (e.bad)
		return -EINVAL;
	return buf_writer_ok(w) ? 0 : -EMSGSIZE;
}

int wire_pad(struct buf_writer *w, size_t size)
{
	while (buf_writer_ok(w) && w->len < size) {
		size_t want = size - w->len;
		size_t value = want < 2 ? 0 : want - 2;

		if (value > 255)
			/* never leave one byte, which no TLV can fill */
			value = value == 256 ? 254 : 255;
		buf_put_u8(w, WIRE_TLV_PADDING);
		buf_put_u8(w, (uint8_t)value);
		buf_put_zeros(w, value);
	}
	return buf_writer_ok(w) ? 0 : -EMSGSIZE;
}

enum wire_result wire_decode_message(uint8_t type, const uint8_t *plain,
				     size_t len, struct wire_message *m)
{
	struct decoder d = { .result = WIRE_OK };

	memset(m, 0, sizeof *m);
	m->type = type;
	if (len > WIRE_PLAIN_MAX)
		return WIRE_LONG;
	buf_reader_init(&d.r, plain, len);
	get_endpoint(&d, &m->src);
	get_endpoint(&d, &m->dst);
	get_body(&d, m);
	refuse(&d, false, WIRE_OK);
	get_tlvs(&d);
	return d.result;
}
