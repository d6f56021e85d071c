/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ruleset_marks: the two hooks behind everybody else's.
 *
 * Owns the last word on our bit of the mark. Rules that restore connection
 * marks write all bits of it: inbound they wipe ours, by which a moved flow's
 * packets are delivered; outbound, where it was saved, they put it on what
 * our tables must not route. Never drops, never rewrites.
 */
#include "ruleset_impl.h"

#include "rule.h"

#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

/* Of hooks with the same priority the newest comes first
 * (nf_hook_entries_grow()): nobody gets behind this one. */
#define PRIORITY_LAST INT_MAX

/* Sent to an address of ours by a raw socket of ours, as if by the peer: only
 * wake.c does so. */
static void fill_injected(struct maker *m, const struct ruleset_conf *conf,
			  uint8_t family, bool inbound)
{
	rule_start(m, inbound ? RULESET_HOOK_MARKS_IN :
				RULESET_HOOK_MARKS_OUT);
	if (inbound) {
		rule_load_meta(m, NFT_META_IIF, NFT_REG_1);
		rule_compare_u32(m, NFT_CMP_EQ, RULESET_LO_IFINDEX);
	}
	ruleset_match_family(m, family);
	ruleset_load_addr(m, family, STEER_RECV, false, NFT_REG_1);
	rule_look_up(m, ruleset_addr_set_name(STEER_SRC, family));
	rule_load_fib_type(m, true, NFT_REG_1);
	rule_compare_u32(m, NFT_CMP_NEQ, RTN_LOCAL);
	ruleset_mark_and_accept(m, conf->mark);
	rule_end(m);
}

/* What bears an identity that is not accepted was translated: else it has been
 * dropped in front of conntrack. Where the identity is accepted too, and its
 * address here, delivery needs no mark. */
static void fill_delivered(struct maker *m, const struct ruleset_conf *conf,
			   uint8_t family)
{
	rule_start(m, RULESET_HOOK_MARKS_IN);
	ruleset_match_pair(m, family, STEER_RECV);
	ruleset_look_up_tuple(m, STEER_DROP, family, STEER_RECV);
	ruleset_mark_and_accept(m, conf->mark);
	rule_end(m);
	rule_start(m, RULESET_HOOK_MARKS_IN);
	ruleset_match_tripwire(m, family, STEER_RECV);
	ruleset_mark_and_accept(m, conf->mark);
	rule_end(m);
}

/* Our bit came from a connection mark: the packet is routed again without. */
static void fill_sent(struct maker *m, const struct ruleset_conf *conf,
		      uint8_t family)
{
	rule_start(m, RULESET_HOOK_MARKS_OUT);
	rule_match_mark(m, conf->mark, true);
	ruleset_match_pair(m, family, STEER_SEND);
	rule_clear_mark(m, conf->mark);
	rule_end(m);
}

static void fill(struct maker *m, const struct ruleset_conf *conf,
		 unsigned int shape)
{
	for (int i = 0; i < 2; i++) {
		if (!(shape & RULESET_MOVED(families[i])))
			continue;
		fill_delivered(m, conf, families[i]);
		fill_injected(m, conf, families[i], true);
	}
	for (int i = 0; i < 2; i++) {
		if (!(shape & RULESET_MOVED(families[i])))
			continue;
		fill_sent(m, conf, families[i]);
		fill_injected(m, conf, families[i], false);
	}
}

/* They stay until nothing is protected: when a hook goes, the kernel drops what
 * waits in anybody's queue. */
void ruleset_put_marks(struct maker *m, const struct ruleset_conf *conf,
		       unsigned int from, unsigned int to)
{
	const bool there = from & RULESET_MARKS;

	if (!there && to & RULESET_MARKS) {
		rule_put_base_chain(m, RULESET_HOOK_MARKS_IN, "filter",
				    NF_INET_PRE_ROUTING, PRIORITY_LAST);
		rule_put_base_chain(m, RULESET_HOOK_MARKS_OUT, "route",
				    NF_INET_LOCAL_OUT, PRIORITY_LAST);
	}
	if (there) {
		rule_put_chain_flush(m, RULESET_HOOK_MARKS_IN);
		rule_put_chain_flush(m, RULESET_HOOK_MARKS_OUT);
	}
	if (to & RULESET_MARKS) {
		fill(m, conf, to);
	} else if (there) {
		rule_put_chain_del(m, RULESET_HOOK_MARKS_IN);
		rule_put_chain_del(m, RULESET_HOOK_MARKS_OUT);
	}
}
