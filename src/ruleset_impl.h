/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of ruleset share; nobody else includes it.
 */
#ifndef SACIPED_RULESET_IMPL_H
#define SACIPED_RULESET_IMPL_H

#include "ruleset.h"

struct maker;

static const uint8_t families[] = { 4, 6 };

static inline uint32_t ruleset_addr_len(uint8_t family)
{
	return family == 4 ? 4 : 16;
}

const char *ruleset_icmp_set_name(uint8_t family);
/* All of them, and the counters, empty but for the types of ICMP errors. */
void ruleset_put_sets(struct maker *m, const struct ruleset_conf *conf);
/* Of those only the maps that rewrite. */
void ruleset_put_maps(struct maker *m, bool counted);
/* Takes out whatever the daemon has put in. */
void ruleset_put_set_flushes(struct maker *m, const struct ruleset_conf *conf);

#endif
