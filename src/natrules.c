/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natrules: reads the chains and rules that decide about source NAT.
 *
 * Owns the copies and when they are read again: aside, since 16,000 rules take
 * a third of a second. Never says what a rule does: natrules_follow.c does, and
 * natrules_legacy.c of those that it reads.
 */
#include "natrules_impl.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/rule.h>

#include "aside.h"
#include "netlink.h"

#define REQUEST_SIZE 128 /* two headers without an attribute */

/* The thread's, until it is done. */
struct reading {
	struct natrules_copy *copy;
	bool again; /* of the generation of the copy, which answers meanwhile */
	atomic_bool done; /* the last thing that the thread touches */
};

/* ---- reading ------------------------------------------------------------ */

static void drop_chains(struct natrules_copy *c)
{
	while (c->n_chains)
		nftnl_chain_free(c->chain[--c->n_chains].chain);
}

static void drop_rules(struct natrules_copy *c)
{
	while (c->n_rules)
		nftnl_rule_free(c->rule[--c->n_rules].rule);
}

static void copy_free(struct natrules_copy *c)
{
	if (!c)
		return;
	drop_chains(c);
	drop_rules(c);
	natrules_legacy_forget(&c->legacy[0]);
	natrules_legacy_forget(&c->legacy[1]);
	free(c);
}

/* A list that was torn is asked for again, under another number: what has come
 * of it counts no more. */
static int on_chain(const struct nlmsghdr *m, void *arg)
{
	struct natrules_copy *n = arg;
	struct nftnl_chain *c;

	if (m->nlmsg_seq != n->chains_seq)
		drop_chains(n);
	n->chains_seq = m->nlmsg_seq;
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
	struct natrules_copy *n = arg;
	struct nftnl_rule *r;

	if (m->nlmsg_seq != n->rules_seq)
		drop_rules(n);
	n->rules_seq = m->nlmsg_seq;
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
	natrules_first_address(r, &n->rule[n->n_rules].first);
	n->rule[n->n_rules++].rule = r;
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

static int ask(struct netlink *nl, uint16_t type, uint16_t flags,
	       netlink_callback *cb, void *arg)
{
	char buf[REQUEST_SIZE];

	return netlink_request(nl,
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
static void assign_rules(struct natrules_copy *n)
{
	struct natrules_chain *c = NULL;

	for (unsigned int i = 0; i < n->n_rules; i++) {
		if (!c || !has(c, n->rule[i].rule)) {
			c = NULL;
			for (unsigned int j = 0; j < n->n_chains && !c; j++)
				if (has(&n->chain[j], n->rule[i].rule))
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

static int ask_generation(struct netlink *nl, uint32_t *generation)
{
	return ask(nl, NFT_MSG_GETGEN, 0, on_generation, generation);
}

/* Rules that are of no chain have come, or gone, in between. */
static int assign_whole(struct netlink *nl, struct natrules_copy *to)
{
	uint32_t generation = to->generation;
	int err;

	assign_rules(to);
	err = to->overflow ? ask_generation(nl, &generation) : 0;
	return !err && generation != to->generation ? -EAGAIN : err;
}

/* Where nothing translates, what sets marks does not matter. */
static int read_rules(struct netlink *nl, struct natrules_copy *to)
{
	bool any = natrules_legacy_translates(&to->legacy[0]) ||
		   natrules_legacy_translates(&to->legacy[1]);
	int err = ask(nl, NFT_MSG_GETCHAIN, NLM_F_DUMP, on_chain, to);

	for (unsigned int i = 0; i < to->n_chains && !err; i++)
		any = any || natrules_is_source_nat(to->chain[i].chain);
	if (!err && any)
		err = ask(nl, NFT_MSG_GETRULE, NLM_F_DUMP, on_rule, to);
	return err || to->overflow ? err : assign_whole(nl, to);
}

/* Without an answer of the kernel everything may match. */
static void read_all(struct natrules_copy *to)
{
	struct netlink *nl = NULL;
	int err;

	natrules_legacy_read(&to->legacy[0], 4);
	natrules_legacy_read(&to->legacy[1], 6);
	err = netlink_open(&nl, NETLINK_NETFILTER, NULL, 0);
	if (!err)
		err = ask_generation(nl, &to->generation);
	if (!err)
		err = read_rules(nl, to);
	if (err)
		to->overflow = true;
	to->torn = err == -EAGAIN;
	to->failed = err != 0;
	netlink_close(nl);
}

static void read_aside(void *arg)
{
	struct reading *r = arg;

	read_all(r->copy);
	atomic_store(&r->done, true);
}

static bool begin_reading(struct natrules *n, bool again)
{
	struct reading *r = calloc(1, sizeof(*r));

	if (r)
		r->copy = calloc(1, sizeof(*r->copy));
	if (r && r->copy && !aside_do(n->aside, read_aside, r)) {
		r->again = again;
		n->reading = r;
		return true;
	}
	if (r)
		free(r->copy);
	free(r);
	return false;
}

/* Takes over what the thread has read. Of what was torn nothing is known: it is
 * read again, and nobody is told that he is translated. */
static void end_reading(struct natrules *n, uint64_t now_ms)
{
	struct reading *r = n->reading;
	struct natrules_copy *old = n->copy;

	if (!r || !atomic_load(&r->done))
		return;
	n->torn = r->copy->torn;
	if (n->torn) {
		old = r->copy;
	} else {
		r->copy->settled = !r->copy->failed && !old->failed &&
				   r->copy->generation == old->generation;
		n->copy = r->copy;
		n->looked_ms = now_ms;
	}
	copy_free(old);
	n->reading = NULL;
	free(r);
}

static bool has_legacy(const struct natrules_copy *c)
{
	return natrules_legacy_is_any(&c->legacy[0]) ||
	       natrules_legacy_is_any(&c->legacy[1]) ||
	       natrules_legacy_is_listed();
}

/* The kernel counts a new generation before others see its rules
 * (nf_tables_commit()): what was read then is the old ones, or some of both, and
 * nothing would tell. So what is new is read once more, the next time. */
static bool is_current(struct natrules *n, uint64_t now_ms)
{
	uint32_t generation = 0;
	bool same;

	end_reading(n, now_ms);
	if (n->reading)
		return n->reading->again;
	if (!n->torn && now_ms - n->looked_ms < NATRULES_REFRESH_MS)
		return true;
	same = !n->torn && !has_legacy(n->copy) && !n->copy->failed &&
	       !ask_generation(n->nl, &generation) &&
	       generation == n->copy->generation;
	if ((same && n->copy->settled) || begin_reading(n, same))
		n->looked_ms = now_ms;
	return same;
}

/* ---- interface ----------------------------------------------------------- */

int natrules_open(struct natrules **out, struct aside *aside)
{
	struct natrules *n = calloc(1, sizeof(*n));
	int err = -ENOMEM;

	if (!n)
		return err;
	n->aside = aside;
	n->copy = calloc(1, sizeof(*n->copy));
	if (n->copy)
		err = netlink_open(&n->nl, NETLINK_NETFILTER, NULL, 0);
	if (err) {
		free(n->copy);
		free(n);
		return err;
	}
	read_all(n->copy);
	*out = n;
	return 0;
}

void natrules_close(struct natrules *n)
{
	if (!n)
		return;
	end_reading(n, 0);
	copy_free(n->copy);
	netlink_close(n->nl);
	free(n);
}

/* A rule that sets a bit may open the way to another that sets one more, of
 * either kind: again until none is added, 32 times at most. */
static bool may_match(struct subject *s)
{
	const struct natrules_legacy *l =
		&s->n->legacy[s->tuple->local.addr.family != 4];
	uint32_t before;

	if (s->n->overflow)
		return true;
	do {
		before = s->may_set;
		if (natrules_follow(s) || natrules_legacy_follow(l, s))
			return true;
	} while (s->may_set != before);
	return false;
}

enum natrules_answer natrules_match(struct natrules *n, const struct tuple *t,
				    uint32_t mark, uint32_t oif,
				    const char *oifname, uint64_t now_ms)
{
	struct subject s = { .tuple = t, .mark = mark, .oif = oif };

	if (!is_current(n, now_ms))
		return NATRULES_READING;
	s.n = n->copy;
	strncpy(s.oifname, oifname, sizeof(s.oifname) - 1);
	return may_match(&s) ? NATRULES_MAY : NATRULES_NONE;
}
