/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of ruleset share; nobody else includes it.
 */
#ifndef SACIPED_RULESET_IMPL_H
#define SACIPED_RULESET_IMPL_H

#include "ruleset.h"

struct maker;

#define RULESET_LO_IFINDEX 1 /* in every network namespace */

static const uint8_t families[] = { 4, 6 };

static inline uint32_t ruleset_addr_len(uint8_t family)
{
	return family == 4 ? 4 : 16;
}

const char *ruleset_icmp_set_name(uint8_t family);
/* How much came that looks like a nonce. */
enum ruleset_rate {
	RULESET_RATE_TUPLE, /* of each tuple of a flow */
	RULESET_RATE_FROM, /* of each peer's address, on flows that are owned */
	RULESET_RATE_CLAIM_FROM, /* the same, on those that are claimed */
	RULESET_RATES
};
const char *ruleset_rate_set_name(enum ruleset_rate rate, uint8_t family);
/* All of them, and the counters, empty but for the types of ICMP errors. */
void ruleset_put_sets(struct maker *m, const struct ruleset_conf *conf);
void ruleset_put_rate_sets(struct maker *m);
/* Of those only the maps that rewrite. */
void ruleset_put_maps(struct maker *m, bool counted);
/* Takes out whatever the daemon has put in. */
void ruleset_put_set_flushes(struct maker *m, const struct ruleset_conf *conf);

/* Parts of rules. `way`: of the packet, seen from us. */
void ruleset_match_family(struct maker *m, uint8_t family);
/* Loads our own address of the packet, or the remote one. */
void ruleset_load_addr(struct maker *m, uint8_t family, enum steer_map way,
		       bool remote, uint32_t reg);
void ruleset_look_up_tuple(struct maker *m, enum steer_set set,
			   uint8_t family, enum steer_map way);
/* A protected flow whose local address is not on this host any more. */
void ruleset_match_tripwire(struct maker *m, uint8_t family,
			    enum steer_map way);
/* Do any flows between these two addresses need more than a look? */
void ruleset_match_pair(struct maker *m, uint8_t family, enum steer_map way);
void ruleset_mark_and_accept(struct maker *m, uint32_t mark);

/* ruleset_marks.c: the hooks behind all others, from one shape to another. */
void ruleset_put_marks(struct maker *m, const struct ruleset_conf *conf,
		       unsigned int from, unsigned int to);

/* ruleset_unveil.c: the rule for a family; its hook, from one shape to
 * another. */
void ruleset_fill_unveil(struct maker *m, const struct ruleset_conf *conf,
			 const char *chain, uint8_t family);
void ruleset_put_unveil(struct maker *m, const struct ruleset_conf *conf,
			unsigned int from, unsigned int to);

#endif
