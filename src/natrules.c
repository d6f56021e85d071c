/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natrules: reads the chains and rules that decide about source NAT.
 *
 * Owns the copy and when it is read again. Never says what a rule does:
 * natrules_follow.c does, and natrules_legacy.c of those that it reads.
 */
#include "natrules_impl.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/rule.h>

#include "netlink.h"

#define REQUEST_SIZE 128 /* two headers without an attribute */

/* ---- reading ------------------------------------------------------------ */

static void forget(struct natrules *n)
{
	while (n->n_chains)
		nftnl_chain_free(n->chain[--n->n_chains].chain);
	while (n->n_rules)
		nftnl_rule_free(n->rule[--n->n_rules]);
	n->overflow = false;
}

static int on_chain(const struct nlmsghdr *m, void *arg)
{
	struct natrules *n = arg;
	struct nftnl_chain *c;

	if (n->n_chains == NATRULES_CHAINS_MAX) {
		n->overflow = true;
		return 0;
	}
	c = nftnl_chain_alloc();
	if (!c)
		return -ENOMEM;
	if (nftnl_chain_nlmsg_parse(m, c) < 0) {
		nftnl_chain_free(c);
		return 0;
	}
	n->chain[n->n_chains++] = (struct natrules_chain){ .chain = c };
	return 0;
}

static int on_rule(const struct nlmsghdr *m, void *arg)
{
	struct natrules *n = arg;
	struct nftnl_rule *r;

	if (n->n_rules == NATRULES_RULES_MAX) {
		n->overflow = true;
		return 0;
	}
	r = nftnl_rule_alloc();
	if (!r)
		return -ENOMEM;
	if (nftnl_rule_nlmsg_parse(m, r) < 0) {
		nftnl_rule_free(r);
		return 0;
	}
	n->rule[n->n_rules++] = r;
	return 0;
}

static int on_attribute(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == NFTA_GEN_ID &&
	    mnl_attr_get_payload_len(attr) == sizeof(uint32_t))
		*(uint32_t *)arg = ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

static int on_generation(const struct nlmsghdr *m, void *arg)
{
	return mnl_attr_parse(m, sizeof(struct nfgenmsg), on_attribute, arg) ==
			       MNL_CB_ERROR ? -EINVAL : 0;
}

static int ask(struct natrules *n, uint16_t type, uint16_t flags,
	       netlink_callback *cb, void *arg)
{
	char buf[REQUEST_SIZE];

	return netlink_request(n->nl,
			       nftnl_nlmsg_build_hdr(buf, type, AF_UNSPEC,
						     flags, 0), cb, arg);
}

bool natrules_is_source_nat(const struct nftnl_chain *c)
{
	const char *type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);

	return type && !strcmp(type, "nat") &&
	       nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
	       nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) ==
		       NF_INET_POST_ROUTING;
}

static bool has(const struct natrules_chain *c, const struct nftnl_rule *r)
{
	return nftnl_chain_get_u32(c->chain, NFTNL_CHAIN_FAMILY) ==
		       nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY) &&
	       !strcmp(nftnl_chain_get_str(c->chain, NFTNL_CHAIN_TABLE),
		       nftnl_rule_get_str(r, NFTNL_RULE_TABLE)) &&
	       !strcmp(nftnl_chain_get_str(c->chain, NFTNL_CHAIN_NAME),
		       nftnl_rule_get_str(r, NFTNL_RULE_CHAIN));
}

/* The kernel lists a chain's rules one after the other, and the chains in the
 * same order (nf_tables_dump_rules()); a change in between is a new
 * generation, and the rules are read again. */
static void assign_rules(struct natrules *n)
{
	struct natrules_chain *c = NULL;

	for (unsigned int i = 0; i < n->n_rules; i++) {
		if (!c || !has(c, n->rule[i])) {
			c = NULL;
			for (unsigned int j = 0; j < n->n_chains && !c; j++)
				if (has(&n->chain[j], n->rule[i]))
					c = &n->chain[j];
			if (!c || c->n) {
				n->overflow = true;
				return;
			}
			c->first = i;
		}
		c->n++;
	}
}

/* Where nothing translates, what sets marks does not matter. */
static int read_rules(struct natrules *n, bool any)
{
	int err;

	forget(n);
	err = ask(n, NFT_MSG_GETCHAIN, NLM_F_DUMP, on_chain, n);
	for (unsigned int i = 0; i < n->n_chains && !err; i++)
		any = any || natrules_is_source_nat(n->chain[i].chain);
	n->has_rules = any;
	if (!err && any)
		err = ask(n, NFT_MSG_GETRULE, NLM_F_DUMP, on_rule, n);
	if (!err && !n->overflow)
		assign_rules(n);
	return err;
}

/* The kernel counts a new generation before others see its rules
 * (nf_tables_commit()): what was read then is the old ones, or some of both, and
 * nothing would tell. So what is new is read once more, the next time. Without
 * an answer of the kernel everything may match. */
static void refresh(struct natrules *n, uint64_t now_ms)
{
	uint32_t generation = 0;
	bool needed, known;
	int err;

	if (n->read && now_ms - n->looked_ms < NATRULES_REFRESH_MS)
		return;
	n->looked_ms = now_ms;
	natrules_legacy_read(&n->legacy[0], 4);
	natrules_legacy_read(&n->legacy[1], 6);
	needed = natrules_legacy_translates(&n->legacy[0]) ||
		 natrules_legacy_translates(&n->legacy[1]);
	err = ask(n, NFT_MSG_GETGEN, 0, on_generation, &generation);
	known = !err && n->read && generation == n->generation;
	if (known && n->read_again && (n->has_rules || !needed))
		return;
	if (!err)
		err = read_rules(n, needed);
	if (err)
		n->overflow = true;
	n->read_again = known && !err;
	n->generation = generation;
	n->read = true;
}

/* ---- interface ----------------------------------------------------------- */

int natrules_open(struct natrules **out)
{
	struct natrules *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	err = netlink_open(&n->nl, NETLINK_NETFILTER, NULL, 0);
	if (err) {
		free(n);
		return err;
	}
	*out = n;
	return 0;
}

void natrules_close(struct natrules *n)
{
	if (!n)
		return;
	forget(n);
	natrules_legacy_forget(&n->legacy[0]);
	natrules_legacy_forget(&n->legacy[1]);
	netlink_close(n->nl);
	free(n);
}

/* A rule that sets a bit may open the way to another that sets one more, of
 * either kind: again until none is added, 32 times at most. */
bool natrules_match(struct natrules *n, const struct tuple *t, uint32_t mark,
		    uint32_t oif, const char *oifname, uint64_t now_ms)
{
	const struct natrules_legacy *l =
		&n->legacy[t->local.addr.family != 4];
	struct subject s = { .n = n, .tuple = t, .mark = mark, .oif = oif };
	uint32_t before;

	strncpy(s.oifname, oifname, sizeof(s.oifname) - 1);
	refresh(n, now_ms);
	if (n->overflow)
		return true;
	do {
		before = s.may_set;
		if (natrules_follow(&s) || natrules_legacy_follow(l, &s))
			return true;
	} while (s.may_set != before);
	return false;
}
