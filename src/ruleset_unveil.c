/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ruleset_unveil: the hook that gives veiled segments (pkt.h) their source.
 *
 * Owns that hook and its place: behind the one where others drop what bears a
 * stranger's address and comes from the wrong device (wg-quick's, at raw), in
 * front of conntrack, which finds the connection. Never touches what does not
 * come from lo, with our mark, and with an option that begins so.
 */
#include "ruleset_impl.h"

#include "pkt.h"
#include "rule.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>

#define PRIORITY_UNVEIL (NF_IP_PRI_RAW + 10)
#define IPV4_CHECKSUM 10 /* offset in the header */

void ruleset_fill_unveil(struct maker *m, const struct ruleset_conf *conf,
			 const char *chain, uint8_t family)
{
	const bool v4 = family == 4;

	rule_start(m, chain);
	rule_load_meta(m, NFT_META_IIF, NFT_REG_1);
	rule_compare_u32(m, NFT_CMP_EQ, RULESET_LO_IFINDEX);
	rule_match_mark(m, conf->mark, true);
	rule_load_meta(m, NFT_META_L4PROTO, NFT_REG_1);
	rule_compare_u8(m, IPPROTO_TCP);
	rule_load_payload(m, NFT_PAYLOAD_TRANSPORT_HEADER, PKT_VEIL_OFFSET,
			  PKT_VEIL_HEAD, NFT_REG_1);
	rule_compare_u32(m, NFT_CMP_EQ,
			 htonl(v4 ? PKT_VEIL_HEAD4 : PKT_VEIL_HEAD6));
	ruleset_match_family(m, family);
	rule_load_payload(m, NFT_PAYLOAD_TRANSPORT_HEADER,
			  PKT_VEIL_OFFSET + PKT_VEIL_HEAD,
			  ruleset_addr_len(family), NFT_REG_1);
	rule_write_payload(m, NFT_REG_1, NFT_PAYLOAD_NETWORK_HEADER,
			   v4 ? 12 : 8, ruleset_addr_len(family),
			   v4 ? IPV4_CHECKSUM : RULE_NO_CHECKSUM, true);
	rule_end(m);
}

/* It stays until nothing is protected, as the others do: when a hook goes, the
 * kernel drops what waits in anybody's queue. */
void ruleset_put_unveil(struct maker *m, const struct ruleset_conf *conf,
			unsigned int from, unsigned int to)
{
	const bool there = from & RULESET_UNVEIL;
	const bool unknown = from & RULESET_UNKNOWN_SHAPE;

	if (there && (unknown || !(to & RULESET_UNVEIL)))
		rule_put_chain_flush(m, RULESET_HOOK_UNVEIL);
	if (there && !(to & RULESET_UNVEIL))
		rule_put_chain_del(m, RULESET_HOOK_UNVEIL);
	if (!(to & RULESET_UNVEIL) || (there && !unknown))
		return;
	if (!there)
		rule_put_base_chain(m, RULESET_HOOK_UNVEIL, "filter",
				    NF_INET_PRE_ROUTING, PRIORITY_UNVEIL);
	for (int i = 0; i < 2; i++)
		ruleset_fill_unveil(m, conf, RULESET_HOOK_UNVEIL, families[i]);
}
