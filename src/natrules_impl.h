/* SPDX-License-Identifier: GPL-2.0-or-later */
/* natrules_impl: what reading and following the rules share. */
#ifndef SACIPED_NATRULES_IMPL_H
#define SACIPED_NATRULES_IMPL_H

#include "natrules.h"

#include <linux/if.h>
#include <linux/netfilter.h>

#define NATRULES_ALL_BITS UINT32_MAX
#define NATRULES_NO_HOOK UINT32_MAX
#define NATRULES_TABLES 5 /* that iptables-legacy may have */

struct nftnl_chain;
struct nftnl_rule;

/* What iptables-legacy has of one family at output and postrouting. */
struct natrules_legacy {
	struct natrules_table {
		void *copy; /* NULL: no rules there */
		const uint8_t *entries; /* in it */
		uint32_t size;
		uint32_t begin[NF_INET_NUMHOOKS]; /* NATRULES_NO_HOOK: none */
		bool unknown; /* it is there, but has not been told */
	} table[NATRULES_TABLES];
};

/* The rules as they were read. */
struct natrules_copy {
	uint32_t generation;
	bool settled; /* read twice in this generation */
	bool failed; /* the generation is not known */
	bool overflow; /* more than we keep: everything may match */
	bool torn; /* they changed meanwhile, whatever was tried */
	uint32_t chains_seq, rules_seq; /* of the tries that these are of */
	struct natrules_chain {
		struct nftnl_chain *chain;
		unsigned int first, n; /* its rules, which lie together */
	} chain[NATRULES_CHAINS_MAX];
	unsigned int n_chains;
	struct natrules_rule {
		struct nftnl_rule *rule;
		struct natrules_address {
			uint8_t family; /* 4, 6; 0: it asks for none */
			bool is_remote;
			uint8_t len, byte[16]; /* so it begins */
		} first; /* what it asks first */
	} rule[NATRULES_RULES_MAX];
	unsigned int n_rules;
	struct natrules_legacy legacy[2]; /* IPv4, IPv6 */
};

struct natrules {
	struct aside *aside;
	struct netlink *nl; /* asks for the generation */
	uint64_t looked_ms;
	bool torn; /* so was what was read last */
	struct natrules_copy *copy; /* never NULL */
	struct reading *reading; /* NULL: none is under way */
};

/* Is this a chain of source NAT at postrouting? */
bool natrules_is_source_nat(const struct nftnl_chain *c);

/* The address that a rule asks for before all else: where there are thousands,
 * for services mostly, nearly all are done with when it is another. */
void natrules_first_address(const struct nftnl_rule *r,
			    struct natrules_address *a);

/* What a packet of the flow would show. */
struct subject {
	const struct natrules_copy *n;
	const struct tuple *tuple;
	uint32_t mark; /* its socket's: what every packet starts with */
	uint32_t may_set; /* bits of it that a rule may have changed */
	uint32_t oif;
	char oifname[IFNAMSIZ];
	unsigned int n_applied; /* rules */
};

/*
 * True where the rules may translate the first packet. Adds to may_set what
 * they may set; a bit that is new may open the way to more: ask again. Asks the
 * kernel nothing.
 */
bool natrules_follow(struct subject *s);

/* True where the packet surely fails this match of x_tables; *certain becomes
 * false where that cannot be told. */
bool natrules_fails_match(const struct subject *s, const char *name,
			  uint32_t rev, const void *data, uint32_t len,
			  bool *certain);

/* The bits of the mark that this target of x_tables may set. */
uint32_t natrules_target_sets(const char *name, uint32_t rev,
			      const void *data, uint32_t len);

/* Of the tables as they are now; family 4 or 6. */
void natrules_legacy_read(struct natrules_legacy *l, uint8_t family);
void natrules_legacy_forget(struct natrules_legacy *l);
/* Is there a table, of either family? Asks /proc, and makes none. */
bool natrules_legacy_is_listed(void);
/* Was there a rule, or what could not be read? */
bool natrules_legacy_is_any(const struct natrules_legacy *l);
/* Could any flow be translated? */
bool natrules_legacy_translates(const struct natrules_legacy *l);
/* As natrules_follow(). */
bool natrules_legacy_follow(const struct natrules_legacy *l, struct subject *s);

#endif
