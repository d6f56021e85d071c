/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hold: packets that wait in the kernel's queue, and our copies of them. See
 * hold.h.
 */
#include "hold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pkt.h"

void hold_init(struct hold *h, const struct hold_limits *limits)
{
	*h = (struct hold){
		.limits = {
			.packets = HOLD_PACKETS_MAX,
			.bytes = HOLD_BYTES_MAX,
			.flow_packets = HOLD_FLOW_PACKETS_MAX,
			.flow_bytes = HOLD_FLOW_BYTES_MAX,
		},
	};
	LIST_INIT(&h->waiting);
	if (limits)
		h->limits = *limits;
	share_pool_init(&h->packets, h->limits.packets);
	share_pool_init(&h->bytes, h->limits.bytes);
}

void hold_flow_init(struct hold_flow *f, void *owner)
{
	STAILQ_INIT(&f->list);
	f->owner = owner;
	f->share = NULL;
	f->packets = 0;
	f->bytes = 0;
}

/* Whether one more packet of `len` bytes goes over a bound; written so that
 * no sum can wrap. */
static bool is_full(uint32_t packets, uint32_t bytes, uint32_t packets_max,
		    uint32_t bytes_max, uint32_t len)
{
	return packets >= packets_max || bytes > bytes_max ||
	       len > bytes_max - bytes;
}

/* Counts one more packet, or none. */
static enum share_result count(struct hold *h, struct hold_flow *f,
			       uint32_t len)
{
	struct share *packets = f->share ? &f->share->packets : NULL;
	struct share *bytes = f->share ? &f->share->bytes : NULL;
	enum share_result r = share_take(&h->packets, packets, 1);

	if (r != SHARE_TAKEN)
		return r;
	r = share_take(&h->bytes, bytes, len);
	if (r != SHARE_TAKEN) {
		share_give(&h->packets, packets, 1);
		return r;
	}
	f->packets++;
	f->bytes += len;
	return r;
}

static void uncount(struct hold *h, struct hold_flow *f, uint32_t len)
{
	share_give(&h->packets, f->share ? &f->share->packets : NULL, 1);
	share_give(&h->bytes, f->share ? &f->share->bytes : NULL, len);
	f->packets--;
	f->bytes -= len;
}

void hold_forget_share(struct hold *h, struct hold_share *share)
{
	struct hold_flow *f;

	LIST_FOREACH(f, &h->waiting, in_waiting)
		if (f->share == share)
			f->share = NULL;
}

int hold_push(struct hold *h, struct hold_flow *f, struct hold_share *share,
	      const struct hold_packet *meta, const uint8_t *data)
{
	const struct hold_limits *max = &h->limits;
	struct hold_packet *p;

	if (meta->len > PKT_LEN_MAX)
		return -EMSGSIZE;
	if (is_full(f->packets, f->bytes, max->flow_packets, max->flow_bytes,
		    meta->len)) {
		h->counters.flow_full++;
		return -ENOBUFS;
	}
	if (STAILQ_EMPTY(&f->list))
		f->share = share;
	switch (count(h, f, meta->len)) {
	case SHARE_TAKEN:
		break;
	case SHARE_ITS_OWN:
		h->counters.share_full++;
		return -ENOBUFS;
	case SHARE_ALL:
		h->counters.full++;
		return -ENOSPC;
	}
	p = malloc(sizeof(*p) + meta->len);
	if (!p) {
		uncount(h, f, meta->len);
		h->counters.full++;
		return -ENOMEM;
	}
	*p = *meta;
	memcpy(p->data, data, meta->len);
	if (STAILQ_EMPTY(&f->list))
		LIST_INSERT_HEAD(&h->waiting, f, in_waiting);
	STAILQ_INSERT_TAIL(&f->list, p, entry);
	h->counters.held++;
	return 0;
}

struct hold_packet *hold_pop(struct hold *h, struct hold_flow *f)
{
	struct hold_packet *p = STAILQ_FIRST(&f->list);

	if (!p)
		return NULL;
	STAILQ_REMOVE_HEAD(&f->list, entry);
	if (STAILQ_EMPTY(&f->list))
		LIST_REMOVE(f, in_waiting);
	uncount(h, f, p->len);
	h->counters.released++;
	return p;
}

const struct hold_packet *hold_peek(const struct hold_flow *f)
{
	return STAILQ_FIRST(&f->list);
}

bool hold_flow_empty(const struct hold_flow *f)
{
	return STAILQ_EMPTY(&f->list);
}

const struct hold_packet *hold_first_segment(const struct hold_flow *f)
{
	const struct hold_packet *first = NULL, *p;

	STAILQ_FOREACH(p, &f->list, entry)
		if (p->kind == HOLD_SEGMENT &&
		    (!first || (int32_t)(p->tcp_seq - first->tcp_seq) < 0))
			first = p;
	return first;
}

static bool is_stale(const struct hold_packet *p,
		     const struct hold_packet *keep)
{
	if (p->kind == HOLD_ACK)
		return STAILQ_NEXT(p, entry);
	return p->kind == HOLD_SEGMENT && p != keep;
}

/* Which packets are taken. */
struct taking {
	bool (*wants)(const struct hold_packet *p, const struct taking *t);
	uint64_t before_ms; /* those that came later all stay */
	uint64_t segments_ms;
	const struct hold_packet *keep;
	uint32_t ifindex;
	uint64_t *counter;
};

static bool wants_stale(const struct hold_packet *p, const struct taking *t)
{
	return is_stale(p, t->keep);
}

static bool wants_old(const struct hold_packet *p, const struct taking *t)
{
	return p->kind != HOLD_SEGMENT || p->at_ms < t->segments_ms;
}

static bool wants_link(const struct hold_packet *p, const struct taking *t)
{
	return p->ifindex == t->ifindex;
}

/* In order, to `out`; was a segment among them? */
static bool take(struct hold *h, struct hold_flow *f, const struct taking *t,
		 struct hold_list *out)
{
	bool waited = !STAILQ_EMPTY(&f->list), segment = false;
	struct hold_list stay = STAILQ_HEAD_INITIALIZER(stay);
	struct hold_packet *p;

	while ((p = STAILQ_FIRST(&f->list)) && p->at_ms < t->before_ms) {
		/* Whether it is wanted may depend on the next one. */
		bool wanted = t->wants(p, t);

		STAILQ_REMOVE_HEAD(&f->list, entry);
		if (!wanted) {
			STAILQ_INSERT_TAIL(&stay, p, entry);
			continue;
		}
		segment = segment || p->kind == HOLD_SEGMENT;
		STAILQ_INSERT_TAIL(out, p, entry);
		uncount(h, f, p->len);
		++*t->counter;
	}
	STAILQ_CONCAT(&stay, &f->list);
	STAILQ_CONCAT(&f->list, &stay);
	if (waited && STAILQ_EMPTY(&f->list))
		LIST_REMOVE(f, in_waiting);
	return segment;
}

bool hold_take_stale(struct hold *h, struct hold_flow *f, uint64_t before_ms,
		     bool first, struct hold_list *out)
{
	const struct taking t = {
		.wants = wants_stale,
		.before_ms = before_ms,
		.keep = first ? NULL : hold_first_segment(f),
		.counter = &h->counters.stale,
	};

	return take(h, f, &t, out);
}

bool hold_take_old(struct hold *h, struct hold_flow *f, uint64_t before_ms,
		   uint64_t segments_ms, struct hold_list *out)
{
	const struct taking t = {
		.wants = wants_old,
		.before_ms = before_ms,
		.segments_ms = segments_ms,
		.counter = &h->counters.stale,
	};

	return take(h, f, &t, out);
}

bool hold_take_link(struct hold *h, struct hold_flow *f, uint32_t ifindex,
		    struct hold_list *out)
{
	const struct taking t = {
		.wants = wants_link,
		.before_ms = UINT64_MAX,
		.ifindex = ifindex,
		.counter = &h->counters.gone,
	};

	return take(h, f, &t, out);
}
