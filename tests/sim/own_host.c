/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * own_host: what the claims of the simulation of ownership ask of a host, and the
 * network between hosts.
 *
 * Owns what is checked when something happens: who owns, by which path, what is
 * told to whom, and that nonces reach no socket. Never decides what happens next.
 */
#include <errno.h>
#include <string.h>

#include "own.h"

struct flow_end *own_end(const struct claim *c)
{
	return (struct flow_end *)(uintptr_t)c;
}

static bool is_posed(const struct flow_end *e)
{
	return e == &e->flow->posed[e->side];
}

static unsigned int far_host(const struct flow_end *e)
{
	return e->flow->host[!e->side];
}

/* ---- messages ------------------------------------------------------------ */

/* Does it name one flow, that is not its own, at an address at which the sender
 * was not met? */
static bool is_unmet(const struct link *l, const struct wire_message *m)
{
	const struct wire_flow *f = &m->flows.flow[0];
	const struct claim *c;

	if (m->type != WIRE_FLOWS || m->flows.n != 1)
		return false;
	c = claim_find(l->table, f->flow_id);
	return !l->met[f->src.addr.byte[3] - 1] && !(c && c->confirmed);
}

/* Whatever there is at that tuple, it hears the same. */
static void check_told(const struct link *l, const struct wire_message *m)
{
	for (int i = 0; m->type == WIRE_FLOWS_ACK && i < m->flows_ack.n; i++)
		if (l->unmet && m->flows_ack.flow[i].reason != REASON_RETRY)
			own_fail(l->w, "host %u tells host %u %s",
				 l->host, l->peer,
				 reason_name((enum reason)
					     m->flows_ack.flow[i].reason));
}

void own_send(struct link *l, struct wire_message *m)
{
	struct world *w = l->w;
	unsigned int copies = 1 + own_chance(w, w->dup);
	struct buf_writer b;

	m->src.addr = m->dst.addr = (struct addr){ .family = 4,
						   .byte = { 10, 0, 0, 1 } };
	m->src.port = m->dst.port = 1021;
	while (copies--) {
		struct letter *to = &w->letter[w->n_letters];

		if (own_chance(w, w->loss) || w->n_letters == LETTERS)
			continue;
		buf_writer_init(&b, to->plain, sizeof(to->plain));
		if (wire_encode_message(m, &b) < 0) {
			if (l->host != LIAR)
				own_fail(w, "host %u: no message", l->host);
			return;
		}
		to->len = b.len;
		to->type = m->type;
		to->order = ++w->n_sent;
		to->to = &w->link[l->peer][l->host];
		to->at_ms = w->now_ms + 5 + own_pick(w, w->spread_ms + 1);
		w->n_letters++;
	}
}

static int on_send(void *arg, uint64_t now_ms, struct wire_message *m)
{
	struct link *l = arg;

	(void)now_ms;
	if (l->down)
		return -ENOTCONN;
	if (l->host != LIAR)
		check_told(l, m);
	own_send(l, m);
	return 0;
}

void own_deliver(struct world *w, const struct letter *l)
{
	struct wire_message m;

	if (wire_decode_message(l->type, l->plain, l->len, &m) != WIRE_OK) {
		if (l->to->peer != LIAR)
			own_fail(w, "host %u: not a message", l->to->host);
		return;
	}
	m.sent_order = l->order;
	if (l->to->host == LIAR) {
		liar_hear(w, &m);
		if (liar_passes_on(l->to, &m))
			return;
	}
	l->to->unmet = l->to->host != LIAR && is_unmet(l->to, &m);
	claim_table_receive(l->to->table, w->now_ms, &m);
	l->to->unmet = false;
}

static void on_random(void *arg, void *to, size_t len)
{
	random_fill(&((struct link *)arg)->w->random, to, len);
}

static uint32_t on_pto(void *arg)
{
	(void)arg;
	return 60;
}

/* ---- flows --------------------------------------------------------------- */

static enum reason on_lookup(void *arg, uint64_t now_ms,
			     const struct tuple *tuple, struct claim **c)
{
	struct link *l = arg;

	(void)now_ms;
	for (int i = 0; i < 2 * FLOWS; i++) {
		struct flow *f = &l->w->flow[i / 2];
		struct flow_end *e = &f->real[i % 2];

		if (!tuple_equal(&e->tuple, tuple))
			continue;
		if (l->host == LIAR && f->host[i % 2] != LIAR) {
			if (f->host[!(i % 2)] != l->peer)
				continue;
			e = &f->posed[i % 2];
		}
		if (!e->open || (l->host != LIAR && f->host[i % 2] != l->host))
			return REASON_UNKNOWN_FLOW;
		*c = &e->claim;
		return REASON_NONE;
	}
	return REASON_UNKNOWN_FLOW;
}

static bool on_met(void *arg, uint64_t now_ms, const struct addr *remote)
{
	const struct link *l = arg;

	(void)now_ms;
	return l->host == LIAR || l->met[remote->byte[3] - 1];
}

static enum reason on_path(void *arg, uint64_t now_ms, struct claim *c)
{
	const struct link *l = arg;
	struct flow_end *e = own_end(c);

	(void)now_ms;
	if (l->host == LIAR)
		return REASON_NONE;
	if (!l->met[far_host(e)])
		return REASON_RETRY;
	e->flow->path_ok[e->side][l->peer] = true;
	return REASON_NONE;
}

static int on_watch(void *arg, struct claim *c, bool on, void **copies)
{
	struct flow_end *e = own_end(c);

	(void)arg, (void)copies;
	e->watched = on ? e->watched + 1 : e->watched - 1;
	return 0;
}

static void on_poke(void *arg, struct claim *c, bool first)
{
	struct world *w = ((struct link *)arg)->w;
	struct flow_end *e = own_end(c);
	const struct nonce_numbers n = {
		.seq = e->sent, .ack = 7, .window = 512,
		.stamped = true, .tsval = (uint32_t)w->now_ms, .tsecr = 9,
	};

	(void)first;
	if (own_chance(w, 30))
		return;
	e->sent += own_pick(w, 1000);
	claim_segment(c, w->now_ms, &n);
}

static int on_expect(void *arg, uint64_t now_ms, struct claim *const *c,
		     unsigned int n)
{
	(void)arg;
	while (n-- > 0)
		c[n]->take_ms = now_ms + CLAIM_TAKE_MS;
	return 0;
}

/* ---- nonces -------------------------------------------------------------- */

void own_post(struct world *w, const struct parcel *p)
{
	if (w->n_parcels < PARCELS)
		w->parcel[w->n_parcels++] = *p;
	/* Who cannot put things on the path cannot do so by a friend. */
	if (!w->attacker)
		return;
	w->seen[w->n_seen++ % HEARD] = *p;
}

/* He reads it before it arrives, and whoever it is for may never get it. */
static bool intercepted(struct world *w, const struct parcel *p)
{
	struct flow_end *e = &p->flow->posed[p->to];

	if (w->power != POWER_ALL || p->flow->host[p->to] == LIAR)
		return false;
	liar_know(w, p->nonce);
	return claim_nonce(&e->claim, w->now_ms, &e->tuple, p->nonce, &p->n) ||
	       own_chance(w, 30);
}

static int on_emit(void *arg, uint64_t now_ms, struct claim *c,
		   const struct tuple *at, unsigned int attempt,
		   const struct nonce_numbers *n,
		   const uint8_t nonce[WIRE_NONCE_SIZE])
{
	struct link *l = arg;
	struct world *w = l->w;
	struct flow_end *e = own_end(c);
	struct parcel p = {
		.at_ms = now_ms + 5 + own_pick(w, w->spread_ms + 1),
		.sent_ms = now_ms, .flow = e->flow, .to = !e->side,
		.honest = l->host != LIAR && l->peer == far_host(e) &&
			  l->peer != LIAR,
		.n = *n,
	};

	(void)at, (void)attempt;
	memcpy(p.nonce, nonce, sizeof(p.nonce));
	w->stats.nonces++;
	if (l->host == LIAR)
		liar_know(w, nonce);
	if (is_posed(e) && w->power != POWER_SENDS && w->power != POWER_ALL)
		return -EACCES;
	if (!is_posed(e)) {
		p.n.seq += e->flow->shift[e->side];
		if (intercepted(w, &p))
			return 0;
	}
	if (own_chance(w, w->loss))
		return 0;
	if (w->attacker && own_chance(w, 20))
		p.at_ms += own_pick(w, 4000);
	own_post(w, &p);
	return 0;
}

void own_arrive(struct world *w, const struct parcel *p)
{
	struct flow_end *e = &p->flow->real[p->to];

	if (e->open) {
		/* Whoever is there has been told, and for long enough. */
		if (p->honest && w->now_ms >= e->claim.take_ms &&
		    w->now_ms - p->sent_ms < CLAIM_LATE_MS)
			own_fail(w, "flow %u: a nonce reaches the socket",
				 p->flow->number);
		claim_nonce(&e->claim, w->now_ms, &e->tuple, p->nonce, &p->n);
	}
	if (p->flow->host[p->to] == LIAR)
		liar_know(w, p->nonce);
	if (w->power != POWER_SEES || p->flow->host[p->to] == LIAR)
		return;
	liar_sees(w, p);
	e = &p->flow->posed[p->to];
	claim_nonce(&e->claim, w->now_ms, &e->tuple, p->nonce, &p->n);
}

/* ---- what comes of it ---------------------------------------------------- */

static void on_confirmed(void *arg, uint64_t now_ms, struct claim *c)
{
	const struct link *l = arg;
	struct world *w = l->w;
	struct flow_end *e = own_end(c);
	struct flow *f = e->flow;

	(void)now_ms;
	own_tell(w, "host %u: flow %u is owned by host %u", l->host, f->number,
		 l->peer);
	if (l->host == LIAR)
		return;
	w->stats.confirmed++;
	if (l->peer != far_host(e) && !f->lost)
		own_fail(w, "host %u: flow %u with host %u is owned by host %u",
			 l->host, f->number, far_host(e), l->peer);
	if (l->peer != far_host(e))
		w->stats.liars++;
	if (!f->path_ok[e->side][l->peer])
		own_fail(w, "host %u: flow %u is owned by a path not looked at",
			 l->host, f->number);
}

static void on_lost(void *arg, uint64_t now_ms, struct claim *c)
{
	const struct link *l = arg;

	(void)now_ms;
	own_tell(l->w, "host %u: flow %u is nobody's", l->host,
		 own_end(c)->flow->number);
	claim_drop(c);
}

static void on_refused(void *arg, uint64_t now_ms, struct claim *c)
{
	const struct link *l = arg;

	(void)now_ms;
	own_tell(l->w, "host %u: flow %u with host %u: %s", l->host,
		 own_end(c)->flow->number, l->peer, reason_name(c->reason));
	l->w->stats.rewritten += c->reason == REASON_REWRITTEN;
}

const struct claim_ops own_ops = {
	.send = on_send,
	.random = on_random,
	.pto_ms = on_pto,
	.lookup = on_lookup,
	.met = on_met,
	.path = on_path,
	.watch = on_watch,
	.poke = on_poke,
	.expect = on_expect,
	.emit = on_emit,
	.confirmed = on_confirmed,
	.refused = on_refused,
	.ended_by_peer = on_lost,
};
