/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * account: what may be sent to an address that is not valid now.
 *
 * Owns one account per such address, for all peers and types of messages:
 * bytes that came from there and were not answered yet, and how often we may
 * speak there of our own accord. Never knows what is sent, nor for whom; an
 * address that answers a challenge needs no account (path.c).
 *
 * A stranger's datagram makes none: what it pays for is sent before the next
 * one is looked at.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mutant.h"
#include "peer_impl.h"

/* Not paid back after this, as whoever sent it has gone, maybe. */
#define CREDIT_LIFE_MS PEER_VALID_MS

static struct account *account_find(const struct peer_table *t,
				    const struct addr *remote)
{
	struct account *a;

	HASH_FIND(hh, t->accounts, remote, sizeof(*remote), a);
	return a;
}

static void account_free(struct peer_table *t, struct account *a)
{
	HASH_DELETE(hh, t->accounts, a);
	TAILQ_REMOVE(&t->account_list, a, entry);
	free(a);
}

/* The one that was not used for longest goes: who is forgotten has no credit,
 * and is spoken to by us a few times more. */
static struct account *account_obtain(struct peer_table *t,
				      const struct addr *remote)
{
	struct account *a = account_find(t, remote);

	if (a) {
		TAILQ_REMOVE(&t->account_list, a, entry);
		TAILQ_INSERT_TAIL(&t->account_list, a, entry);
		return a;
	}
	if (HASH_COUNT(t->accounts) >= PEER_ACCOUNTS_MAX)
		account_free(t, TAILQ_FIRST(&t->account_list));
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->addr = *remote;
	HASH_ADD(hh, t->accounts, addr, sizeof(a->addr), a);
	if (!a->hh.tbl) {
		free(a);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&t->account_list, a, entry);
	return a;
}

static size_t account_credit(const struct account *a, uint64_t now_ms)
{
	return a && now_ms - a->heard_ms < CREDIT_LIFE_MS ? a->credit : 0;
}

static bool is_in_hand(const struct peer_table *t, const struct addr *remote)
{
	return t->in_hand && addr_equal(&t->in_hand_of, remote);
}

void account_came(struct peer_table *t, const struct addr *remote, size_t len)
{
	t->in_hand = len;
	t->in_hand_of = *remote;
}

void account_keep(struct peer_table *t, uint64_t now_ms)
{
	struct account *a;

	if (!t->in_hand)
		return;
	a = account_obtain(t, &t->in_hand_of);
	if (!a)
		return;
	a->credit = account_credit(a, now_ms) + t->in_hand;
	if (a->credit > PEER_CREDIT_MAX)
		a->credit = PEER_CREDIT_MAX;
	a->heard_ms = now_ms;
	t->in_hand = 0;
}

size_t account_room(const struct peer_table *t, uint64_t now_ms,
		    const struct addr *remote)
{
	size_t room = account_credit(account_find(t, remote), now_ms);

	if (is_in_hand(t, remote))
		room += t->in_hand;
	return room < WIRE_PAYLOAD_MAX ? room : WIRE_PAYLOAD_MAX;
}

static int spend_credit(struct peer_table *t, uint64_t now_ms,
			const struct addr *remote, size_t len)
{
	struct account *a = account_find(t, remote);
	size_t credit = account_credit(a, now_ms);
	size_t in_hand = is_in_hand(t, remote) ? t->in_hand : 0;

	if (MUTANT(account_uncharged))
		return 0;
	if (len > in_hand + credit)
		return -EACCES;
	if (len <= in_hand) {
		t->in_hand -= len;
		return 0;
	}
	if (in_hand)
		t->in_hand = 0;
	a->credit = credit - (len - in_hand);
	return 0;
}

/* What one peer makes us say there leaves something for the others. */
static int spend_own(struct peer_table *t, uint64_t now_ms,
		     const struct addr *remote, size_t len, unsigned int behind)
{
	const uint64_t last_ms = (uint64_t)(PEER_OWN_BURST - 1 - behind) *
				 PEER_OWN_REFILL_MS;
	struct account *a;

	if (len > PEER_OWN_SIZE)
		return -EACCES;
	a = account_obtain(t, remote);
	if (!a)
		return -ENOMEM;
	if (a->own_full_ms > now_ms + last_ms && !MUTANT(own_unpaced))
		return -EACCES;
	if (a->own_full_ms < now_ms)
		a->own_full_ms = now_ms;
	a->own_full_ms += PEER_OWN_REFILL_MS;
	return 0;
}

int account_spend(struct peer_table *t, uint64_t now_ms,
		  const struct addr *remote, size_t len, enum standing as)
{
	int ret = 0;

	if (as == STANDING_OWED)
		ret = spend_credit(t, now_ms, remote, len);
	else if (as == STANDING_OWN)
		ret = spend_own(t, now_ms, remote, len, 0);
	else if (as == STANDING_ASKED)
		ret = spend_own(t, now_ms, remote, len,
				MUTANT(reserve_open) ? 0 : PEER_OWN_RESERVE);
	if (ret == -EACCES)
		table_count(t, COUNTER_TX_UNPAID);
	return ret;
}

void account_settle(struct peer_table *t, const struct addr *remote)
{
	struct account *a = account_find(t, remote);

	if (a)
		account_free(t, a);
}

void account_free_all(struct peer_table *t)
{
	while (!TAILQ_EMPTY(&t->account_list))
		account_free(t, TAILQ_FIRST(&t->account_list));
}
