/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * network: what lies between the hosts.
 *
 * Owns the generator of random numbers, the clock, the queue of what is on its
 * way, and the attacker, who sees all of it. Never knows why anything is sent.
 */
#include "sim.h"

#include <string.h>

#define FLOOD_MS 100
#define ATTACK_MS 1000 /* what is seen is sent again */

/* splitmix64: every seed, 0 included, is as good as any other. */
uint64_t world_random(struct world *w)
{
	uint64_t z = (w->random_state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void world_sum(struct world *w, uint64_t what)
{
	w->sum = (w->sum ^ what) * 0x100000001b3;
}

unsigned int world_pick(struct world *w, unsigned int n)
{
	return (unsigned int)(world_random(w) % n);
}

bool world_chance(struct world *w, unsigned int per_mille)
{
	return world_pick(w, 1000) < per_mille;
}

/* --------------------------------------------------------------- queue */

static bool earlier(const struct world *w, uint16_t a, uint16_t b)
{
	return w->at[a] < w->at[b] ||
	       (w->at[a] == w->at[b] && w->order[a] < w->order[b]);
}

void world_post(struct world *w, uint64_t at, const struct dgram *d)
{
	unsigned int i, up;
	uint16_t slot;

	if (w->n_free == 0)
		return; /* the network drops it */
	slot = w->free[--w->n_free];
	w->dgram[slot] = *d;
	w->at[slot] = at;
	w->order[slot] = w->orders++;
	for (i = w->n_heap++; i > 0; i = up) {
		up = (i - 1) / 2;
		if (!earlier(w, slot, w->heap[up]))
			break;
		w->heap[i] = w->heap[up];
	}
	w->heap[i] = slot;
}

static struct dgram take(struct world *w)
{
	uint16_t top = w->heap[0], last = w->heap[--w->n_heap];
	unsigned int i = 0, child;

	while ((child = 2 * i + 1) < w->n_heap) {
		if (child + 1 < w->n_heap &&
		    earlier(w, w->heap[child + 1], w->heap[child]))
			child++;
		if (!earlier(w, w->heap[child], last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	w->free[w->n_free++] = top;
	return w->dgram[top];
}

/* At once to another address of the same host, or from another one. */
static void relay(struct world *w, const struct dgram *d)
{
	struct dgram r = *d;
	int other = d->dst / ADDRS == LIAR ?
			    NO_ADDR : random_own(w, &w->host[d->dst / ADDRS]);

	r.forged = true;
	if (w->has_liar && world_chance(w, 100))
		r.dst = PAIR_ADDRS + (int)world_pick(w, ADDRS);
	else if (d->kind == D_ACCEPT && other != NO_ADDR)
		r.dst = d->dst / ADDRS * ADDRS + other;
	else
		r.src = (int)world_pick(w, ALL_ADDRS);
	world_post(w, w->now, &r);
}

void world_send(struct world *w, struct dgram *d)
{
	unsigned int copies = 1 + world_chance(w, w->copies);
	uint64_t delay;

	d->sealed_src = d->src;
	d->sealed_dst = d->dst;
	if (d->kind <= D_DONE || d->kind == D_PROBE || d->kind == D_PROBE_ACK)
		w->history[w->n_history++ % HISTORY] = *d;
	if (d->kind <= D_PROBE_ACK && w->choked & 1u << d->kind)
		return;
	if (d->kind <= D_DONE && w->relayed) {
		relay(w, d);
		if (world_chance(w, 500))
			return;
	}
	if (w->blocked[d->src][d->dst])
		return;
	if ((d->kind == D_DATA || d->kind == D_NONCE ||
	     d->kind == D_NONCE_BACK) && w->unfit_ms[d->src][d->dst])
		return;
	while (copies-- > 0) {
		if (world_chance(w, w->loss))
			continue;
		delay = w->delay_ms + world_pick(w, w->delay_ms / 4 + 1);
		if (world_chance(w, w->reorder))
			delay += world_pick(w, 400);
		if (delay > DELAY_MAX_MS)
			delay = DELAY_MAX_MS;
		if (world_chance(w, w->late))
			delay += world_pick(w, LATE_MAX_MS - DELAY_MAX_MS);
		world_post(w, w->now + delay, d);
	}
}

static void deliver(struct world *w, const struct dgram *d)
{
	static const unsigned int liar_ms[] = { 20, 500, 5000, 20000 };
	struct dgram again = *d;

	switch (d->kind) {
	case D_TRAFFIC:
		kernel_traffic(w, &w->host[world_pick(w, HOSTS)],
			       world_pick(w, w->has_liar ? ALL_FLOWS :
							   FLOWS));
		world_post(w, w->now + 1 + world_pick(w, 2 * w->traffic_ms),
			   &again);
		break;
	case D_SITUATION:
	case D_NO_PORTS:
	case D_UNTRIED:
	case D_RESUME:
	case D_RESTART:
	case D_HELLO_TIMER:
	case D_CLAIM_TIMER:
	case D_RENEW:
	case D_CLOSE:
		host_event(w, &w->host[d->from_host], d);
		break;
	case D_LIAR:
		liar_act(w);
		world_post(w, w->now + 1 +
			      world_pick(w, w->liar.floods ? FLOOD_MS :
					 liar_ms[world_pick(w, 4)]), &again);
		break;
	case D_ATTACK:
		world_attack(w);
		world_post(w, w->now + 1 + world_pick(w, ATTACK_MS), &again);
		break;
	default:
		if (d->dst / ADDRS == LIAR)
			liar_receive(w, d);
		else if (w->host[d->dst / ADDRS].owned[d->dst % ADDRS] || d->queued)
			host_receive(w, &w->host[d->dst / ADDRS], d);
		else if (w->stranger[d->dst])
			w->stats.to_stranger++;
		break;
	}
}

bool world_run(struct world *w, uint64_t until)
{
	uint64_t due = 0, other;
	bool known = false;

	while (!w->failed) {
		uint64_t next;
		struct dgram d;

		if (!known) {
			due = host_deadline(w, &w->host[0]);
			other = host_deadline(w, &w->host[1]);
			due = other < due ? other : due;
			known = true;
		}
		next = w->n_heap > 0 ? w->at[w->heap[0]] : MIGRATE_NEVER;
		next = due < next ? due : next;
		if (next > until)
			break;
		if (next > w->now) {
			w->now = next;
			w->same_time_steps = 0;
		} else if (++w->same_time_steps > 5000) {
			fail(w, "time stands still");
			break;
		}
		/* A deadline that has passed comes before any packet. */
		if (due <= w->now) {
			host_timers(w, &w->host[0]);
			host_timers(w, &w->host[1]);
			known = false;
			continue;
		}
		d = take(w);
		known = d.kind == D_DATA || d.kind == D_TRAFFIC;
		world_sum(w, w->now ^ (uint64_t)d.kind << 48 ^ d.seq << 32 ^
				     d.number << 16);
		deliver(w, &d);
	}
	if (w->now < until)
		w->now = until;
	return !w->failed;
}

/* ------------------------------------------------------------ attacker */

/* What the peer itself would have to make up. */
static void guess(const struct host *victim, struct dgram *d)
{
	for (unsigned int t = 0; t < TRACKS; t++) {
		if (victim->follower[t].state != FOLLOWER_OFFERED)
			continue;
		d->kind = D_PROVE;
		d->track = t;
		d->track_number[t] = victim->follower[t].track;
		d->session = victim->session;
		d->seq = victim->follower[t].pending;
		d->to = victim->follower[t].offer;
		memset(d->challenge, 0x5a, sizeof(d->challenge));
		break;
	}
}

/* One of what was seen is sent once more. The last few are the ones that could
 * still matter. */
void world_attack(struct world *w)
{
	unsigned int n = w->n_history < HISTORY ? w->n_history : HISTORY;
	unsigned int age, stranger = world_pick(w, ALL_ADDRS);
	struct dgram d;
	struct host *victim;
	int other;

	if (n == 0)
		return;
	age = world_chance(w, 700) && n > 8 ? world_pick(w, 8) :
					      world_pick(w, n);
	d = w->history[(w->n_history - 1 - age) % HISTORY];
	victim = &w->host[d.dst / ADDRS % HOSTS];
	other = random_own(w, victim);
	d.forged = true;
	switch (world_pick(w, 6)) {
	case 0: /* as it was */
		break;
	case 1: /* from somewhere else */
		d.src = (int)stranger;
		break;
	case 2: /* to another address of the same host */
		if (other != NO_ADDR)
			d.dst = victim->id * ADDRS + other;
		break;
	case 3:
		guess(victim, &d);
		break;
	case 4: /* to another host */
		d.dst = (int)stranger;
		break;
	case 5: /* as if it were an answer */
		other = d.dst;
		d.dst = d.src;
		d.src = other;
		break;
	}
	trace(w, "attacker: kind %d from %d to %d", d.kind, d.src, d.dst);
	world_post(w, w->now + world_pick(w, 50), &d);
}

/* Nothing of one kind, or of two, passes for a while. */
void world_choke(struct world *w)
{
	w->choked = 0;
	if (world_chance(w, 300))
		return;
	w->choked = 1u << world_pick(w, D_PROBE_ACK + 1) |
		    1u << world_pick(w, D_DONE + 1);
	w->choked &= ~(1u << D_DATA);
	tell(w, "attacker: drops kinds %x", w->choked);
}
