/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrate_parts: what the two halves of the handover share.
 *
 * Owns the helpers on action lists and accepted sets. Included by
 * migrate.c, mover.c and follower.c alone.
 */
#ifndef SACIPED_MIGRATE_PARTS_H
#define SACIPED_MIGRATE_PARTS_H

#include "migrate.h"
#include "mutant.h"

/* Adds an action of that type, zeroed, behind those of its type and before
 * those of later ones. The pointer is good until the next addition. */
struct migrate_action *actions_add(struct migrate_actions *out,
				   enum migrate_action_type type);
/* One JOURNAL per step, however many reasons there are for it. */
void actions_journal(struct migrate_actions *out);
void actions_note(struct migrate_actions *out, enum counter_id counter,
		  enum reason reason, uint64_t seq, const struct locator *l);

/* NULL where it is not in the list. */
struct accepted *accepted_find(struct accepted *list, unsigned int n,
			       const struct locator *l);
void accepted_remove(struct accepted *list, unsigned int *n, unsigned int i);
bool accepted_has_addr(const struct accepted *list, unsigned int n,
		       const struct addr *a);

/* Zeros stand for none: of 16 random bytes nobody meets them. */
bool challenge_is_set(const uint8_t challenge[MIGRATE_CHALLENGE_SIZE]);

/* How long packets of the past may still come: max(3 PTO, 2 s). */
uint64_t migrate_drain_ms(const struct rtt *r);

#endif
