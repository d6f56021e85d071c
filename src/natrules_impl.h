/* SPDX-License-Identifier: GPL-2.0-or-later */
/* natrules_impl: what reading and following the rules share. */
#ifndef SACIPED_NATRULES_IMPL_H
#define SACIPED_NATRULES_IMPL_H

#include "natrules.h"

struct nftnl_chain;
struct nftnl_rule;

struct natrules {
	struct netlink *nl;
	uint64_t looked_ms;
	uint32_t generation;
	bool read; /* ever */
	bool overflow; /* more than we keep: everything may match */
	struct natrules_chain {
		struct nftnl_chain *chain;
		unsigned int first, n; /* its rules, which lie together */
	} chain[NATRULES_CHAINS_MAX];
	unsigned int n_chains;
	struct nftnl_rule *rule[NATRULES_RULES_MAX];
	unsigned int n_rules;
};

/* Is this a chain of source NAT at postrouting? */
bool natrules_is_source_nat(const struct nftnl_chain *c);

/*
 * True where the rules may translate the first packet of `t`, sent by a
 * socket with this mark out of this interface. Asks the kernel nothing.
 */
bool natrules_follow(const struct natrules *n, const struct tuple *t,
		     uint32_t mark, uint32_t oif, const char *oifname);

#endif
