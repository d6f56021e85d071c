/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ledger: sacip(7), "Paths", counted once more on the wire.
 *
 * Owns, of each host and address, what came from there and went there, and
 * which address has truly answered which challenge. Knows nothing of path.c and
 * account.c but what leaves the host.
 */
#include "sim.h"

#include <string.h>

#define VALID_MS 60000
#define CREDIT_MAX 4800
#define OWN_SIZE 300
#define OWN_EVERY_MS 2000
#define OWN_MS (24 * OWN_EVERY_MS)
#define OWN_SHARE_MS (7 * OWN_EVERY_MS) /* of 8, of which one is growing */

static bool is_valid(const struct world *w, const struct host *h,
		     unsigned int who, int a)
{
	uint64_t ms = h->ledger.valid_ms[who][a];

	return ms && w->now - ms < VALID_MS;
}

void ledger_valid(struct world *w, struct host *h, unsigned int who, int a)
{
	h->ledger.valid_ms[who][a] = w->now;
	h->ledger.own_ms[a] = 0;
}

static void expire(const struct world *w, struct ledger *l, int a)
{
	uint64_t since = w->now - l->own_at_ms[a];

	if (w->now - l->came_ms[a] >= VALID_MS)
		l->credit[a] = 0;
	l->own_ms[a] -= since < l->own_ms[a] ? since : l->own_ms[a];
	l->own_of_ms[a] -= since < l->own_of_ms[a] ? since : l->own_of_ms[a];
	l->own_at_ms[a] = w->now;
}

void ledger_came(const struct world *w, struct host *h, const struct dgram *d)
{
	struct ledger *l = &h->ledger;

	expire(w, l, d->src);
	l->in_hand = d->len;
	l->in_hand_of = d->src;
	l->is_authentic = false;
}

void ledger_authentic(struct host *h)
{
	h->ledger.is_authentic = true;
}

void ledger_dealt_with(const struct world *w, struct host *h)
{
	struct ledger *l = &h->ledger;
	int a = l->in_hand_of;

	if (l->is_authentic) {
		l->credit[a] += l->in_hand;
		l->came_ms[a] = w->now;
	}
	if (l->credit[a] > CREDIT_MAX)
		l->credit[a] = CREDIT_MAX;
	l->in_hand = 0;
}

static bool is_own(const struct host *h, unsigned int who,
		   const struct dgram *d, bool answering)
{
	if (d->kind == D_HELLO)
		return true;
	return (d->kind == D_PROBE || (d->kind == D_MOVE && !answering)) &&
	       (d->dst == h->configured || host_talks_to(h, d->dst) ||
		h->ledger.valid_ms[who][d->dst]);
}

static void check_own(struct world *w, struct host *h, const struct dgram *d)
{
	struct ledger *l = &h->ledger;

	if (d->len > OWN_SIZE)
		fail(w, "account: host %d: %zu bytes of its own accord to %d, which is not valid",
		     h->id, d->len, d->dst);
	l->own_ms[d->dst] += OWN_EVERY_MS;
	if (l->own_ms[d->dst] > OWN_MS)
		fail(w, "account: host %d: speaks to %d of its own accord too often",
		     h->id, d->dst);
}

void ledger_sent(struct world *w, struct host *h, unsigned int who,
		 const struct dgram *d, bool answering, bool owed)
{
	struct ledger *l = &h->ledger;
	struct token *t = &l->token[l->n_tokens % LEDGER_TOKENS];
	size_t in_hand = l->in_hand_of == d->dst ? l->in_hand : 0;

	if (d->kind == D_PROBE) {
		t->at = d->dst;
		t->who = who;
		memcpy(t->token, d->challenge, sizeof(t->token));
		l->n_tokens++;
	}
	expire(w, l, d->dst);
	if (is_own(h, who, d, answering) &&
	    (!answering || d->kind == D_HELLO)) {
		if (who == OTHER_PAIR)
			l->own_of_ms[d->dst] += OWN_EVERY_MS;
	}
	if (is_valid(w, h, who, d->dst))
		return;
	/* What might be of its own accord may be paid for as well. */
	if (is_own(h, who, d, answering) && !owed) {
		check_own(w, h, d);
		return;
	}
	if (d->len > in_hand + l->credit[d->dst]) {
		fail(w, "account: host %d: %zu bytes to %d, which is not valid and has sent %zu",
		     h->id, d->len, d->dst, in_hand + l->credit[d->dst]);
	} else if (d->len <= in_hand) {
		l->in_hand -= d->len;
	} else {
		l->credit[d->dst] -= d->len - in_hand;
		l->in_hand -= in_hand;
	}
}

/* What the third host makes one say to an address is not to keep it from what it
 * has to say there to the other, of which it has said little. */
void ledger_refused(struct world *w, struct host *h, unsigned int who,
		    const struct dgram *d, bool answering)
{
	struct ledger *l = &h->ledger;

	expire(w, l, d->dst);
	if (who != OTHER_PAIR || answering || !is_own(h, who, d, answering) ||
	    l->valid_ms[OTHER_LIAR][d->dst])
		return;
	if (l->own_of_ms[d->dst] + OWN_EVERY_MS <= OWN_SHARE_MS)
		fail(w, "account: host %d: others have used up what may be said to %d",
		     h->id, d->dst);
}

/* The first byte counts the copies of a PROBE: the others cannot be guessed. */
void ledger_answered(struct world *w, struct host *h, unsigned int who,
		     const struct dgram *d)
{
	const struct ledger *l = &h->ledger;

	for (unsigned int i = 0; i < LEDGER_TOKENS && i < l->n_tokens; i++)
		if (l->token[i].at == d->src && l->token[i].who == who &&
		    !memcmp(l->token[i].token + 1, d->challenge + 1,
			    sizeof(l->token[i].token) - 1)) {
			ledger_valid(w, h, who, d->src);
			return;
		}
}

void ledger_forget(struct host *h)
{
	memset(&h->ledger, 0, sizeof(h->ledger));
}
