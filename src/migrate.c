/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrate: what mover and follower share.
 *
 * Owns locators, round-trip estimation, action lists and accepted sets as
 * values. Never decides anything about a handover.
 */
#include "migrate_parts.h"

#include <assert.h>
#include <string.h>

const struct bucket_kind migrate_numbers = {
	.burst = MIGRATE_BURST,
	.reserve = MIGRATE_RESERVE,
	.token_ms = MIGRATE_TOKEN_MS,
};

const struct bucket_kind migrate_peer = {
	.burst = MIGRATE_PEER_BURST,
	.token_ms = MIGRATE_PEER_TOKEN_MS,
};

bool locator_equal(const struct locator *a, const struct locator *b)
{
	return a->ports == b->ports && addr_equal(&a->addr, &b->addr);
}

void rtt_add_sample(struct rtt *r, uint64_t sample_ms)
{
	/* Rounded up: 0 stands for "none yet". */
	uint32_t s = sample_ms < 1 ? 1 : sample_ms > 60000 ? 60000 :
		     (uint32_t)sample_ms;
	uint32_t off;

	if (r->srtt_ms == 0) {
		r->srtt_ms = s;
		r->rttvar_ms = s / 2;
		return;
	}
	off = s > r->srtt_ms ? s - r->srtt_ms : r->srtt_ms - s;
	r->rttvar_ms = (3 * r->rttvar_ms + off + 2) / 4;
	r->srtt_ms = (7 * r->srtt_ms + s + 4) / 8;
}

uint32_t rtt_pto_ms(const struct rtt *r)
{
	uint32_t pto = 2 * r->srtt_ms + 4 * r->rttvar_ms;

	if (r->srtt_ms == 0)
		return MIGRATE_PTO_UNKNOWN_MS;
	if (pto < MIGRATE_PTO_MIN_MS)
		return MIGRATE_PTO_MIN_MS;
	return pto > MIGRATE_PTO_MAX_MS ? MIGRATE_PTO_MAX_MS : pto;
}

bool challenge_is_set(const uint8_t challenge[MIGRATE_CHALLENGE_SIZE])
{
	static const uint8_t none[MIGRATE_CHALLENGE_SIZE];

	return memcmp(challenge, none, sizeof(none)) != 0;
}

uint64_t migrate_drain_ms(const struct rtt *r)
{
	uint64_t drain = 3 * (uint64_t)rtt_pto_ms(r);

	if (MUTANT(drain_zero))
		return 0;
	return drain < MIGRATE_DRAIN_MIN_MS ? MIGRATE_DRAIN_MIN_MS : drain;
}

struct migrate_action *actions_add(struct migrate_actions *out,
				   enum migrate_action_type type)
{
	unsigned int i = out->n;

	/* One step adds at most one of most types, and one ACCEPT_DEL per
	 * accepted locator: a full list is a bug of ours. */
	assert(out->n < MIGRATE_ACTIONS_MAX);
	for (; i > 0 && out->action[i - 1].type > type; i--)
		out->action[i] = out->action[i - 1];
	out->n++;
	memset(&out->action[i], 0, sizeof(out->action[i]));
	out->action[i].type = type;
	return &out->action[i];
}

void actions_journal(struct migrate_actions *out)
{
	if (MUTANT(no_journal))
		return;
	if (out->n == 0 || out->action[0].type != MIGRATE_JOURNAL)
		actions_add(out, MIGRATE_JOURNAL);
}

void actions_note(struct migrate_actions *out, enum counter_id counter,
		  enum reason reason, uint64_t seq, const struct locator *l)
{
	struct migrate_action *a = actions_add(out, MIGRATE_NOTE);

	a->counter = counter;
	a->reason = reason;
	a->seq = seq;
	if (l)
		a->to = *l;
}

struct accepted *accepted_find(struct accepted *list, unsigned int n,
			       const struct locator *l)
{
	for (unsigned int i = 0; i < n; i++)
		if (locator_equal(&list[i].locator, l))
			return &list[i];
	return NULL;
}

void accepted_remove(struct accepted *list, unsigned int *n, unsigned int i)
{
	(*n)--;
	memmove(&list[i], &list[i + 1], (*n - i) * sizeof(*list));
	memset(&list[*n], 0, sizeof(*list));
}

bool accepted_has_addr(const struct accepted *list, unsigned int n,
		       const struct addr *a)
{
	for (unsigned int i = 0; i < n; i++)
		if (addr_equal(&list[i].locator.addr, a))
			return true;
	return false;
}
