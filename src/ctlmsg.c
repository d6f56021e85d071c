/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctlmsg: encodes and decodes the messages of the Unix socket.
 *
 * Owns their layout:
 *	header	u8 version, u8 type, u16 length
 *	text	u8 length, bytes (no NUL)
 *	addr	u8 family, 16 bytes as v4-mapped where family is not 0
 *	end	addr, u16 port
 * Requests: SHOW u64 id; FORGET text; MOVE text scope, addr from, addr to,
 * text interface; the others are a bare header. Answers: see put_*() below.
 * Lists start with u16 count.
 */
#include "ctlmsg.h"

#include "buf.h"

#include <errno.h>
#include <string.h>

#define LENGTH_AT 2

static const char *const state_names[CTL_FLOW_STATES] = {
	[CTL_TRACKED] = "tracked",
	[CTL_PROTECTED] = "protected",
	[CTL_MOVING] = "moving",
	[CTL_MOVED] = "moved",
};

const char *ctlmsg_state_name(enum ctl_flow_state s)
{
	return s < CTL_FLOW_STATES ? state_names[s] : "unknown";
}

const char *ctlmsg_path_name(enum ctl_path p)
{
	static const char *const names[CTL_PATHS] = {
		[CTL_PATH_DIRECT] = "direct",
		[CTL_PATH_QUEUE] = "queue",
		[CTL_PATH_KERNEL] = "kernel",
	};

	return p < CTL_PATHS ? names[p] : "unknown";
}

const char *ctlmsg_trust_name(enum ctl_trust t)
{
	switch (t) {
	case CTL_TRUST_CONFIGURED:
		return "configured";
	case CTL_TRUST_FIRST_CONTACT:
		return "first-contact";
	default:
		return NULL;
	}
}

/* --- pieces ------------------------------------------------------------ */

static void put_header(struct buf_writer *w, enum ctl_type type, uint8_t *to,
		       size_t size)
{
	buf_writer_init(w, to, size);
	buf_put_u8(w, CTL_VERSION);
	buf_put_u8(w, (uint8_t)type);
	buf_put_be16(w, 0);
}

/* Fills in the length; 0 where it did not fit. */
static size_t finish(struct buf_writer *w)
{
	if (!buf_writer_ok(w) || w->len > UINT16_MAX)
		return 0;
	w->data[LENGTH_AT] = (uint8_t)(w->len >> 8);
	w->data[LENGTH_AT + 1] = (uint8_t)w->len;
	return w->len;
}

/* `text` is a field of `field` bytes, with or without a NUL. */
static void put_text(struct buf_writer *w, const char *text, size_t field)
{
	size_t len = strnlen(text, field - 1);

	if (len > UINT8_MAX)
		len = UINT8_MAX;
	buf_put_u8(w, (uint8_t)len);
	buf_put_bytes(w, text, len);
}

static void get_text(struct buf_reader *r, char *to, size_t field)
{
	uint8_t len = buf_get_u8(r);
	const uint8_t *from = buf_get_view(r, len);

	memset(to, 0, field);
	if (!from)
		return;
	if (len >= field || memchr(from, 0, len))
		r->failed = true;
	else
		memcpy(to, from, len);
}

static void put_addr(struct buf_writer *w, const struct addr *a)
{
	uint8_t mapped[16] = { 0 };

	if (addr_is_set(a))
		addr_to_mapped(a, mapped);
	buf_put_u8(w, a->family);
	buf_put_bytes(w, mapped, sizeof(mapped));
}

static void get_addr(struct buf_reader *r, struct addr *a)
{
	uint8_t family = buf_get_u8(r), mapped[16];

	buf_get_bytes(r, mapped, sizeof(mapped));
	memset(a, 0, sizeof(*a));
	if (family)
		*a = addr_from_mapped(mapped);
	else if (memcmp(mapped, a->byte, sizeof(mapped)) != 0)
		r->failed = true; /* one form for "unset" */
	if (a->family != family)
		r->failed = true;
}

static void put_endpoint(struct buf_writer *w, const struct endpoint *e)
{
	put_addr(w, &e->addr);
	buf_put_be16(w, e->port);
}

static void get_endpoint(struct buf_reader *r, struct endpoint *e)
{
	memset(e, 0, sizeof(*e));
	get_addr(r, &e->addr);
	e->port = buf_get_be16(r);
}

/* An enum in one byte, below `end`. */
static unsigned int get_enum(struct buf_reader *r, unsigned int end)
{
	uint8_t v = buf_get_u8(r);

	if (v >= end) {
		r->failed = true;
		return 0;
	}
	return v;
}

static bool get_bool(struct buf_reader *r)
{
	return get_enum(r, 2) != 0;
}

/* The body of a message of which every byte must be there; *type is its
 * type. */
static int get_header(struct buf_reader *r, const uint8_t *from, size_t size,
		      uint8_t *type)
{
	uint8_t version;

	buf_reader_init(r, from, size);
	version = buf_get_u8(r);
	*type = buf_get_u8(r);
	if (buf_reader_ok(r) && version != CTL_VERSION)
		return -EPROTO;
	if (buf_get_be16(r) != size || !buf_reader_ok(r))
		return -EINVAL;
	return 0;
}

static int finish_reading(const struct buf_reader *r)
{
	return buf_reader_ok(r) && buf_left(r) == 0 ? 0 : -EINVAL;
}

/* --- requests ----------------------------------------------------------- */

size_t ctlmsg_put_request(const struct ctl_request *q,
			  uint8_t to[CTL_REQUEST_MAX])
{
	struct buf_writer w;

	put_header(&w, q->type, to, CTL_REQUEST_MAX);
	switch (q->type) {
	case CTL_SHOW:
		buf_put_be64(&w, q->flow);
		break;
	case CTL_FORGET:
		put_text(&w, q->peer, sizeof(q->peer));
		break;
	case CTL_MOVE:
		put_text(&w, q->move.scope, sizeof(q->move.scope));
		put_addr(&w, &q->move.from);
		put_addr(&w, &q->move.to);
		put_text(&w, q->move.to_ifname, sizeof(q->move.to_ifname));
		break;
	default:
		break;
	}
	return finish(&w);
}

int ctlmsg_get_request(const uint8_t *from, size_t size, struct ctl_request *q)
{
	struct buf_reader r;
	uint8_t type;
	int err;

	memset(q, 0, sizeof(*q));
	err = get_header(&r, from, size, &type);
	if (err)
		return err;
	switch (type) {
	case CTL_LIST:
	case CTL_PEERS:
	case CTL_STATUS:
	case CTL_KEY:
	case CTL_MONITOR:
		break;
	case CTL_SHOW:
		q->flow = buf_get_be64(&r);
		break;
	case CTL_FORGET:
		get_text(&r, q->peer, sizeof(q->peer));
		if (!q->peer[0])
			return -EINVAL;
		break;
	case CTL_MOVE:
		get_text(&r, q->move.scope, sizeof(q->move.scope));
		get_addr(&r, &q->move.from);
		get_addr(&r, &q->move.to);
		get_text(&r, q->move.to_ifname, sizeof(q->move.to_ifname));
		/* Exactly one of the two says where to. */
		if (addr_is_set(&q->move.to) == (q->move.to_ifname[0] != 0))
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	q->type = (enum ctl_type)type;
	return finish_reading(&r);
}

/* --- answers ------------------------------------------------------------ */

size_t ctlmsg_put_end(enum ctl_result result, const char *text, uint8_t *to,
		      size_t size)
{
	struct buf_writer w;

	put_header(&w, CTL_END, to, size);
	buf_put_u8(&w, (uint8_t)result);
	put_text(&w, text, CTL_TEXT_MAX);
	return finish(&w);
}

static void put_traffic(struct buf_writer *w, const struct ctl_traffic *t)
{
	buf_put_be64(w, t->packets_out);
	buf_put_be64(w, t->packets_in);
	buf_put_be64(w, t->bytes_out);
	buf_put_be64(w, t->bytes_in);
}

static void get_traffic(struct buf_reader *r, struct ctl_traffic *t)
{
	t->packets_out = buf_get_be64(r);
	t->packets_in = buf_get_be64(r);
	t->bytes_out = buf_get_be64(r);
	t->bytes_in = buf_get_be64(r);
}

static void put_flow(struct buf_writer *w, const struct ctl_flow *f)
{
	buf_put_be64(w, f->id);
	buf_put_u8(w, (uint8_t)f->state);
	buf_put_u8(w, (uint8_t)f->trust);
	buf_put_u8(w, (uint8_t)f->reason);
	buf_put_u8(w, f->identity.proto);
	put_endpoint(w, &f->identity.local);
	put_endpoint(w, &f->identity.remote);
	put_endpoint(w, &f->wire.local);
	put_endpoint(w, &f->wire.remote);
	put_text(w, f->peer, sizeof(f->peer));
	put_text(w, f->peer_name, sizeof(f->peer_name));
	buf_put_be32(w, f->age_s);
	buf_put_be32(w, f->moves);
	buf_put_be32(w, f->uid);
	buf_put_be32(w, f->track);
	buf_put_be64(w, f->seq);
	buf_put_u8(w, (uint8_t)f->path);
	buf_put_u8(w, f->counted);
	put_traffic(w, &f->queue);
	put_traffic(w, &f->kernel);
	buf_put_be32(w, f->held_packets);
	buf_put_be32(w, f->held_bytes);
	buf_put_be32(w, f->gap_ms);
}

static void get_flow(struct buf_reader *r, struct ctl_flow *f)
{
	memset(f, 0, sizeof(*f));
	f->id = buf_get_be64(r);
	f->state = (enum ctl_flow_state)get_enum(r, CTL_FLOW_STATES);
	f->trust = (enum ctl_trust)get_enum(r, CTL_TRUSTS);
	f->reason = (enum reason)get_enum(r, REASON_MAX);
	f->identity.proto = buf_get_u8(r);
	f->wire.proto = f->identity.proto;
	get_endpoint(r, &f->identity.local);
	get_endpoint(r, &f->identity.remote);
	get_endpoint(r, &f->wire.local);
	get_endpoint(r, &f->wire.remote);
	get_text(r, f->peer, sizeof(f->peer));
	get_text(r, f->peer_name, sizeof(f->peer_name));
	f->age_s = buf_get_be32(r);
	f->moves = buf_get_be32(r);
	f->uid = buf_get_be32(r);
	f->track = buf_get_be32(r);
	f->seq = buf_get_be64(r);
	f->path = (enum ctl_path)get_enum(r, CTL_PATHS);
	f->counted = get_enum(r, 2);
	get_traffic(r, &f->queue);
	get_traffic(r, &f->kernel);
	f->held_packets = buf_get_be32(r);
	f->held_bytes = buf_get_be32(r);
	f->gap_ms = buf_get_be32(r);
}

static void put_peer(struct buf_writer *w, const struct ctl_peer *p)
{
	uint32_t n = p->n_addresses < CTL_PEER_ADDRS_MAX ? p->n_addresses
							 : CTL_PEER_ADDRS_MAX;

	put_text(w, p->fingerprint, sizeof(p->fingerprint));
	put_text(w, p->name, sizeof(p->name));
	buf_put_bytes(w, p->public_key, sizeof(p->public_key));
	buf_put_u8(w, (uint8_t)p->trust);
	buf_put_u8(w, p->session);
	buf_put_u8(w, (uint8_t)n);
	for (uint32_t i = 0; i < n; i++)
		put_addr(w, &p->address[i]);
	buf_put_be32(w, p->flows);
	buf_put_be32(w, p->srtt_us);
	buf_put_be64(w, p->first_seen_s);
	buf_put_be64(w, p->last_seen_s);
}

static void get_peer(struct buf_reader *r, struct ctl_peer *p)
{
	memset(p, 0, sizeof(*p));
	get_text(r, p->fingerprint, sizeof(p->fingerprint));
	get_text(r, p->name, sizeof(p->name));
	buf_get_bytes(r, p->public_key, sizeof(p->public_key));
	p->trust = (enum ctl_trust)get_enum(r, CTL_TRUSTS);
	p->session = get_bool(r);
	p->n_addresses = get_enum(r, CTL_PEER_ADDRS_MAX + 1);
	for (uint32_t i = 0; i < p->n_addresses; i++)
		get_addr(r, &p->address[i]);
	p->flows = buf_get_be32(r);
	p->srtt_us = buf_get_be32(r);
	p->first_seen_s = buf_get_be64(r);
	p->last_seen_s = buf_get_be64(r);
}

/* The body of a list: u16 how many, then as many records as fit. `put_one`
 * writes number i. */
static size_t put_list(enum ctl_type type, const void *records, unsigned int *n,
		       uint8_t *to, size_t size,
		       void (*put_one)(struct buf_writer *, const void *,
				       unsigned int))
{
	struct buf_writer w, before;
	unsigned int i;

	put_header(&w, type, to, size);
	buf_put_be16(&w, 0);
	if (!buf_writer_ok(&w))
		return 0;
	for (i = 0; i < *n; i++) {
		before = w;
		put_one(&w, records, i);
		if (!buf_writer_ok(&w)) {
			w = before;
			break;
		}
	}
	to[CTL_HEADER_SIZE] = (uint8_t)(i >> 8);
	to[CTL_HEADER_SIZE + 1] = (uint8_t)i;
	*n = i;
	return finish(&w);
}

static void put_flow_of(struct buf_writer *w, const void *all, unsigned int i)
{
	put_flow(w, (const struct ctl_flow *)all + i);
}

static void put_peer_of(struct buf_writer *w, const void *all, unsigned int i)
{
	put_peer(w, (const struct ctl_peer *)all + i);
}

size_t ctlmsg_put_flows(const struct ctl_flow *f, unsigned int *n, uint8_t *to,
			size_t size)
{
	return put_list(CTL_FLOW_RECORDS, f, n, to, size, put_flow_of);
}

size_t ctlmsg_put_peers(const struct ctl_peer *p, unsigned int *n, uint8_t *to,
			size_t size)
{
	return put_list(CTL_PEER_RECORDS, p, n, to, size, put_peer_of);
}

size_t ctlmsg_put_status(const struct ctl_status *s, uint8_t *to, size_t size)
{
	struct buf_writer w;

	put_header(&w, CTL_STATUS_RECORD, to, size);
	put_text(&w, s->version, sizeof(s->version));
	put_text(&w, s->fingerprint, sizeof(s->fingerprint));
	buf_put_be32(&w, s->pid);
	buf_put_be64(&w, s->uptime_s);
	buf_put_be16(&w, s->port);
	for (int i = 0; i < CTL_FLOW_STATES; i++)
		buf_put_be32(&w, s->flows[i]);
	buf_put_be32(&w, s->max_flows);
	buf_put_be32(&w, s->peers);
	buf_put_be32(&w, s->sessions);
	buf_put_be32(&w, s->max_peers);
	buf_put_be32(&w, s->retained);
	buf_put_be32(&w, s->held_packets);
	buf_put_be32(&w, s->held_bytes);
	buf_put_be32(&w, s->tombstones);
	buf_put_u8(&w, s->native_queue);
	buf_put_u8(&w, s->owned_table);
	buf_put_u8(&w, REASON_MAX);
	for (int i = 0; i < REASON_MAX; i++)
		buf_put_be64(&w, s->counters.refused[i]);
	buf_put_u8(&w, COUNTER_MAX);
	for (int i = 0; i < COUNTER_MAX; i++)
		buf_put_be64(&w, s->counters.value[i]);
	return finish(&w);
}

size_t ctlmsg_put_key(const char *fingerprint,
		      const uint8_t public_key[CTL_KEY_SIZE], uint8_t *to,
		      size_t size)
{
	struct buf_writer w;

	put_header(&w, CTL_KEY_RECORD, to, size);
	put_text(&w, fingerprint, CTL_NAME_MAX);
	buf_put_bytes(&w, public_key, CTL_KEY_SIZE);
	return finish(&w);
}

size_t ctlmsg_put_event(const struct ctl_event *e, uint8_t *to, size_t size)
{
	struct buf_writer w;

	put_header(&w, CTL_EVENT, to, size);
	buf_put_be64(&w, e->time_ms);
	buf_put_be64(&w, e->flow);
	put_text(&w, e->what, sizeof(e->what));
	put_text(&w, e->peer, sizeof(e->peer));
	put_text(&w, e->text, sizeof(e->text));
	return finish(&w);
}

int ctlmsg_get_answer(const uint8_t *from, size_t size, struct ctl_answer *a)
{
	struct buf_reader r;
	uint8_t type;
	int err;

	memset(a, 0, sizeof(*a));
	err = get_header(&r, from, size, &type);
	if (err)
		return err;
	a->type = (enum ctl_type)type;
	switch (a->type) {
	case CTL_END:
		a->result =
			(enum ctl_result)get_enum(&r, CTL_NOT_PERMITTED + 1);
		get_text(&r, a->text, sizeof(a->text));
		return finish_reading(&r);
	case CTL_FLOW_RECORDS:
	case CTL_PEER_RECORDS:
		a->n = buf_get_be16(&r);
		break;
	case CTL_STATUS_RECORD:
	case CTL_KEY_RECORD:
	case CTL_EVENT:
		break;
	default:
		return -EINVAL;
	}
	a->size = buf_left(&r);
	a->body = buf_get_view(&r, a->size);
	return buf_reader_ok(&r) ? 0 : -EINVAL;
}

/* Moves `a` past a record that was read from it by `r`: 1, or -EINVAL. */
static int took_record(struct ctl_answer *a, const struct buf_reader *r)
{
	if (!buf_reader_ok(r))
		return -EINVAL;
	a->body += r->at;
	a->size -= r->at;
	a->n--;
	return 1;
}

int ctlmsg_next_flow(struct ctl_answer *a, struct ctl_flow *f)
{
	struct buf_reader r;

	if (a->type != CTL_FLOW_RECORDS)
		return -EINVAL;
	if (a->n == 0)
		return a->size ? -EINVAL : 0;
	buf_reader_init(&r, a->body, a->size);
	get_flow(&r, f);
	return took_record(a, &r);
}

int ctlmsg_next_peer(struct ctl_answer *a, struct ctl_peer *p)
{
	struct buf_reader r;

	if (a->type != CTL_PEER_RECORDS)
		return -EINVAL;
	if (a->n == 0)
		return a->size ? -EINVAL : 0;
	buf_reader_init(&r, a->body, a->size);
	get_peer(&r, p);
	return took_record(a, &r);
}

int ctlmsg_get_status(const struct ctl_answer *a, struct ctl_status *s)
{
	struct buf_reader r;

	memset(s, 0, sizeof(*s));
	if (a->type != CTL_STATUS_RECORD)
		return -EINVAL;
	buf_reader_init(&r, a->body, a->size);
	get_text(&r, s->version, sizeof(s->version));
	get_text(&r, s->fingerprint, sizeof(s->fingerprint));
	s->pid = buf_get_be32(&r);
	s->uptime_s = buf_get_be64(&r);
	s->port = buf_get_be16(&r);
	for (int i = 0; i < CTL_FLOW_STATES; i++)
		s->flows[i] = buf_get_be32(&r);
	s->max_flows = buf_get_be32(&r);
	s->peers = buf_get_be32(&r);
	s->sessions = buf_get_be32(&r);
	s->max_peers = buf_get_be32(&r);
	s->retained = buf_get_be32(&r);
	s->held_packets = buf_get_be32(&r);
	s->held_bytes = buf_get_be32(&r);
	s->tombstones = buf_get_be32(&r);
	s->native_queue = get_bool(&r);
	s->owned_table = get_bool(&r);
	/* Another count is another build: its names are not ours. */
	if (buf_get_u8(&r) != REASON_MAX)
		return -EINVAL;
	for (int i = 0; i < REASON_MAX; i++)
		s->counters.refused[i] = buf_get_be64(&r);
	if (buf_get_u8(&r) != COUNTER_MAX)
		return -EINVAL;
	for (int i = 0; i < COUNTER_MAX; i++)
		s->counters.value[i] = buf_get_be64(&r);
	return finish_reading(&r);
}

int ctlmsg_get_key(const struct ctl_answer *a, char fingerprint[CTL_NAME_MAX],
		   uint8_t public_key[CTL_KEY_SIZE])
{
	struct buf_reader r;

	if (a->type != CTL_KEY_RECORD)
		return -EINVAL;
	buf_reader_init(&r, a->body, a->size);
	get_text(&r, fingerprint, CTL_NAME_MAX);
	buf_get_bytes(&r, public_key, CTL_KEY_SIZE);
	return finish_reading(&r);
}

int ctlmsg_get_event(const struct ctl_answer *a, struct ctl_event *e)
{
	struct buf_reader r;

	memset(e, 0, sizeof(*e));
	e->uid = CTL_UID_NONE; /* not told */
	if (a->type != CTL_EVENT)
		return -EINVAL;
	buf_reader_init(&r, a->body, a->size);
	e->time_ms = buf_get_be64(&r);
	e->flow = buf_get_be64(&r);
	get_text(&r, e->what, sizeof(e->what));
	get_text(&r, e->peer, sizeof(e->peer));
	get_text(&r, e->text, sizeof(e->text));
	return finish_reading(&r);
}
