/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ruleset: what stands in the table `inet sacip`, as netlink messages.
 *
 * Owns the chains, the rules and what a table is put together from;
 * ruleset_sets has its sets, nft/sacip.nft says in words what all is for.
 * Never sends.
 *
 * A packet is matched from the registers: the fields of its tuple are loaded
 * one behind the other, each padded to 32 bits, and looked up as one key:
 *
 *   IPv4  local 8, remote 9, proto 10, local port 11, remote port 12
 *   IPv6  local 8-11, remote 12-15, proto 16, local port 17, remote port 18
 *
 * Loading a port breaks off the rule for fragments past the first one.
 */
#include "ruleset_impl.h"

#include "batch.h"
#include "crypto.h"
#include "nonce.h"
#include "route.h"
#include "rule.h"
#include "share.h"

#include <errno.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_TABLE "sacip-probe"
#define PRIORITY_PREROUTING (NF_IP_PRI_RAW - 10)
#define PRIORITY_OUTPUT NF_IP_PRI_MANGLE
#define IPV4_CHECKSUM 10 /* offsets in the headers */
#define TCP_CHECKSUM 16
#define UDP_CHECKSUM 6
#define TCP_FLAGS 13
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
/* Behind the key of IPv6, with its protocol or without. */
#define DADDR_REG NFT_REG32_11
static const uint32_t ported_reg[RULESET_PARTS] = {
	[RULESET_SADDR] = NFT_REG_1,
	[RULESET_DADDR] = NFT_REG32_10,
	[RULESET_SPORT] = NFT_REG32_14,
	[RULESET_DPORT] = NFT_REG32_15,
};
/* A nonce costs the daemon what a packet that it rewrites does. A host with a
 * thousand tracks that move at once needs no more, and no harm is done past it:
 * what is not taken out is what it looks like, a flow's packet. */
#define NONCES_PER_S 1000
/* Those of flows that are claimed: a peer's come as fast as round trips allow.
 * Past it they are lost; no socket shall have them. */
#define CLAIMS_PER_S 8000
/* Anybody can send what looks like either: past so many of one tuple its own are
 * not taken out, and nobody else's. */
#define NONCES_OF_ONE_PER_S 100
#define TPROXY_PORT 1 /* nothing ever gets there */
#define SOURCE6_BITS 64 /* as addr_same_source() has it */

/* Those that the hooks lead to, in the order of nft/sacip.nft. */
static const char *const inner_chains[] = {
	"inbound", "nonces_in", "inbound_ported", "inbound_steered", "dropped",
	"outbound", "nonces_out", "outbound_ported", "claimed",
};
#define N_INNER_CHAINS (sizeof(inner_chains) / sizeof(inner_chains[0]))

static uint8_t nfproto(uint8_t family)
{
	return family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

/* --- matches -------------------------------------------------------------- */

void ruleset_match_family(struct maker *m, uint8_t family)
{
	rule_load_meta(m, NFT_META_NFPROTO, NFT_REG_1);
	rule_compare_u8(m, nfproto(family));
}

void ruleset_load_addr(struct maker *m, uint8_t family, enum steer_map way,
		       bool remote, uint32_t reg)
{
	bool is_source = (way == STEER_SEND) != remote;
	uint32_t offset = family == 4 ? 12 : 8; /* of the source */

	if (!is_source)
		offset += ruleset_addr_len(family);
	rule_load_payload(m, NFT_PAYLOAD_NETWORK_HEADER, offset,
			  ruleset_addr_len(family), reg);
}

static void load_ports(struct maker *m, enum steer_map way, uint32_t reg)
{
	rule_load_payload(m, NFT_PAYLOAD_TRANSPORT_HEADER,
			  way == STEER_SEND ? 0 : 2, 2, reg);
	rule_load_payload(m, NFT_PAYLOAD_TRANSPORT_HEADER,
			  way == STEER_SEND ? 2 : 0, 2, reg + 1);
}

/* Returns the register behind them. */
static uint32_t load_addrs(struct maker *m, uint8_t family, enum steer_map way)
{
	uint32_t words = ruleset_addr_len(family) / 4;

	ruleset_load_addr(m, family, way, false, NFT_REG32_00);
	ruleset_load_addr(m, family, way, true, NFT_REG32_00 + words);
	return NFT_REG32_00 + 2 * words;
}

static void load_tuple(struct maker *m, uint8_t family, enum steer_map way)
{
	uint32_t reg = load_addrs(m, family, way);

	rule_load_meta(m, NFT_META_L4PROTO, reg);
	load_ports(m, way, reg + 1);
}

void ruleset_look_up_tuple(struct maker *m, enum steer_set set,
			   uint8_t family, enum steer_map way)
{
	load_tuple(m, family, way);
	rule_look_up(m, ruleset_set_name(set, family));
}

static void match_tuple(struct maker *m, enum steer_set set, uint8_t family,
			enum steer_map way)
{
	ruleset_match_family(m, family);
	ruleset_look_up_tuple(m, set, family, way);
}

void ruleset_match_tripwire(struct maker *m, uint8_t family,
			    enum steer_map way)
{
	ruleset_match_family(m, family);
	ruleset_load_addr(m, family, way, false, NFT_REG_1);
	rule_look_up(m, ruleset_addr_set_name(STEER_SRC, family));
	rule_load_fib_type(m, way == STEER_SEND, NFT_REG_1);
	rule_compare_u32(m, NFT_CMP_NEQ, RTN_LOCAL);
	ruleset_look_up_tuple(m, STEER_PROT, family, way);
}

/* The sender may be any router, but not ourselves (wake.c). */
static void match_icmp_error(struct maker *m, const struct ruleset_conf *conf,
			     uint8_t family)
{
	ruleset_match_family(m, family);
	rule_load_meta(m, NFT_META_L4PROTO, NFT_REG_1);
	rule_compare_u8(m, family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	ruleset_load_addr(m, family, STEER_RECV, false, NFT_REG_1);
	rule_look_up(m, ruleset_addr_set_name(STEER_WIRE, family));
	rule_load_payload(m, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, NFT_REG_1);
	rule_look_up(m, ruleset_icmp_set_name(family));
	rule_match_mark(m, conf->mark, false);
}

void ruleset_match_pair(struct maker *m, uint8_t family, enum steer_map way)
{
	ruleset_match_family(m, family);
	ruleset_load_addr(m, family, way, false, NFT_REG32_00);
	ruleset_load_addr(m, family, way, true,
			  NFT_REG32_00 + ruleset_addr_len(family) / 4);
	rule_look_up(m, ruleset_pair_set_name(way == STEER_SEND, family));
}

void ruleset_mark_and_accept(struct maker *m, uint32_t mark)
{
	rule_set_mark(m, mark);
	rule_verdict(m, NF_ACCEPT, NULL);
}

static void queue_to(struct maker *m, const struct ruleset_conf *conf,
		     uint16_t number)
{
	if (conf->queue_form == STEER_QUEUE_NATIVE)
		rule_queue_native(m, number);
	else
		rule_queue_compat(m, number);
}

static void queue(struct maker *m, const struct ruleset_conf *conf,
		  enum steer_map way)
{
	queue_to(m, conf, way == STEER_RECV ? conf->queue_in : conf->queue_out);
}

/* What begins as nonces do (nonce.h). */
static void fill_nonces(struct maker *m, const char *chain, const char *to)
{
	static const struct {
		uint8_t proto;
		uint32_t offset, head;
	} kind[] = {
		{ IPPROTO_TCP, NONCE_TCP_OFFSET, NONCE_TCP_HEAD },
		{ IPPROTO_UDP, NONCE_UDP_OFFSET, NONCE_UDP_HEAD },
	};

	for (size_t i = 0; i < sizeof(kind) / sizeof(*kind); i++) {
		rule_start(m, chain);
		rule_load_meta(m, NFT_META_L4PROTO, NFT_REG_1);
		rule_compare_u8(m, kind[i].proto);
		rule_load_payload(m, NFT_PAYLOAD_TRANSPORT_HEADER,
				  kind[i].offset, 4, NFT_REG_1);
		rule_compare_u32(m, NFT_CMP_EQ, htonl(kind[i].head));
		rule_verdict(m, NFT_JUMP, to);
		rule_end(m);
	}
}

/* How many are taken out, and what becomes of the others. */
struct nonce_rate {
	uint32_t per_s;
	enum ruleset_rate from;
	int past;
};

static const struct nonce_rate owned_rate = {
	NONCES_PER_S, RULESET_RATE_FROM, NFT_RETURN,
};
static const struct nonce_rate claimed_rate = {
	CLAIMS_PER_S, RULESET_RATE_CLAIM_FROM, NF_DROP,
};

/* What is past the rate of its own tuple takes nothing from what is there for
 * all. */
static void except_flood(struct maker *m, const struct nonce_rate *rate,
			 const char *chain, enum steer_set set, uint8_t family,
			 enum steer_map way)
{
	rule_start(m, chain);
	match_tuple(m, set, family, way);
	rule_limit_each(m, ruleset_rate_set_name(RULESET_RATE_TUPLE, family),
			NONCES_OF_ONE_PER_S);
	rule_verdict(m, rate->past, NULL);
	rule_end(m);
}

/* The peer's, whichever way the packet goes. */
static void limit_each_source(struct maker *m, enum ruleset_rate rate,
			      uint8_t family, enum steer_map way,
			      uint32_t per_s)
{
	ruleset_load_addr(m, family, way, true, NFT_REG_1);
	if (family == 6)
		rule_keep_prefix(m, ruleset_addr_len(family), SOURCE6_BITS);
	rule_limit_each(m, ruleset_rate_set_name(rate, family), per_s);
}

/* One with many tuples has its share, and past that the same as all others who
 * have used up theirs: what is reserved is left for whoever has not. */
static void except_source(struct maker *m, const struct nonce_rate *rate,
			  const char *chain, enum steer_set set,
			  uint8_t family, enum steer_map way)
{
	struct share_pool all;

	share_pool_init(&all, rate->per_s);
	rule_start(m, chain);
	match_tuple(m, set, family, way);
	limit_each_source(m, rate->from, family, way, all.share);
	rule_limit_over(m, all.bound - all.reserve - all.share);
	rule_verdict(m, rate->past, NULL);
	rule_end(m);
}

static void take_nonces(struct maker *m, const struct ruleset_conf *conf,
			const struct nonce_rate *rate, const char *chain,
			enum steer_set set, uint8_t family, enum steer_map way)
{
	if (conf->limited) {
		except_flood(m, rate, chain, set, family, way);
		except_source(m, rate, chain, set, family, way);
	}
	rule_start(m, chain);
	match_tuple(m, set, family, way);
	if (conf->limited)
		rule_limit(m, rate->per_s);
	queue(m, conf, way);
	rule_end(m);
}

/* Whatever the flow's tuple is otherwise. */
static void fill_claimed(struct maker *m, const struct ruleset_conf *conf)
{
	static const char chain[] = "claimed";

	for (int i = 0; i < 2; i++) {
		take_nonces(m, conf, &claimed_rate, chain, STEER_CLAIM,
			    families[i], STEER_RECV);
		rule_start(m, chain);
		match_tuple(m, STEER_CLAIM, families[i], STEER_RECV);
		rule_verdict(m, NF_DROP, NULL);
		rule_end(m);
	}
}

/* Of flows alone, by whichever tuple of theirs that is not given up: the daemon
 * looks at the rest. */
static void fill_taken(struct maker *m, const struct ruleset_conf *conf,
		       const char *chain, enum steer_map way)
{
	for (int i = 0; i < 2; i++)
		take_nonces(m, conf, &owned_rate, chain, STEER_IN,
			    families[i], way);
	for (int i = 0; way == STEER_RECV && i < 2; i++) {
		rule_start(m, chain);
		match_tuple(m, STEER_DROP, families[i], way);
		rule_verdict(m, NFT_RETURN, NULL);
		rule_end(m);
	}
	for (int i = 0; i < 2; i++)
		take_nonces(m, conf, &owned_rate, chain, STEER_PROT,
			    families[i], way);
}

/* --- rewriting ------------------------------------------------------------ */

static void write_addr(struct maker *m, uint8_t family, enum ruleset_part part,
		       uint32_t reg)
{
	const uint32_t len = ruleset_addr_len(family);

	rule_write_payload(m, reg, NFT_PAYLOAD_NETWORK_HEADER,
			   (family == 4 ? 12 : 8) +
				   (part == RULESET_DADDR ? len : 0), len,
			   family == 4 ? IPV4_CHECKSUM : RULE_NO_CHECKSUM, true);
}

/* The rest of a rule that has rewritten the packet. What left from an address
 * that is gone by now is none of this rule: fill_outbound(). */
static void end_rewriting(struct maker *m, const struct ruleset_conf *conf,
			  enum steer_map way)
{
	if (way == STEER_RECV) {
		ruleset_mark_and_accept(m, conf->mark);
		return;
	}
	rule_load_fib_type(m, true, NFT_REG_1);
	rule_compare_u32(m, NFT_CMP_EQ, RTN_LOCAL);
	rule_verdict(m, NF_ACCEPT, NULL);
}

static void fill_one_addr(struct maker *m, const struct ruleset_conf *conf,
			  const char *chain, enum steer_map way,
			  enum ruleset_part part)
{
	for (int i = 0; i < 2; i++) {
		rule_start(m, chain);
		ruleset_match_family(m, families[i]);
		load_tuple(m, families[i], way);
		rule_map(m, ruleset_map_name(way, false, part, families[i]));
		write_addr(m, families[i], part, NFT_REG_1);
		end_rewriting(m, conf, way);
		rule_end(m);
	}
}

/* All is looked up before anything is written, in any rule: a packet is
 * rewritten whole or not at all; where a transaction changes more than one field
 * at once, with some of the old ones. The last look-up writes over the key. */
static void fill_both_addrs(struct maker *m, const struct ruleset_conf *conf,
			    const char *chain, enum steer_map way)
{
	for (int i = 0; i < 2; i++) {
		rule_start(m, chain);
		ruleset_match_family(m, families[i]);
		load_tuple(m, families[i], way);
		rule_map_to(m, ruleset_map_name(way, true, RULESET_DADDR,
						families[i]), DADDR_REG);
		rule_map(m, ruleset_map_name(way, true, RULESET_SADDR,
					     families[i]));
		write_addr(m, families[i], RULESET_SADDR, NFT_REG_1);
		write_addr(m, families[i], RULESET_DADDR, DADDR_REG);
		end_rewriting(m, conf, way);
		rule_end(m);
	}
}

/* Our own address first: that is what has changed where a host moves. */
static void fill_rewriting(struct maker *m, const struct ruleset_conf *conf,
			   const char *chain, enum steer_map way)
{
	const bool sent = way == STEER_SEND;

	fill_one_addr(m, conf, chain, way, sent ? RULESET_SADDR :
						  RULESET_DADDR);
	fill_one_addr(m, conf, chain, way, sent ? RULESET_DADDR :
						  RULESET_SADDR);
	fill_both_addrs(m, conf, chain, way);
	rule_start(m, chain);
	rule_verdict(m, NFT_JUMP, sent ? "outbound_ported" : "inbound_ported");
	rule_end(m);
}

/* Of one protocol; `checksum` of its header, as for rule_write_payload(). */
static void fill_ported_rule(struct maker *m, const struct ruleset_conf *conf,
			     const char *chain, enum steer_map way, uint8_t family,
			     uint8_t proto, uint32_t checksum)
{
	rule_start(m, chain);
	ruleset_match_family(m, family);
	rule_load_meta(m, NFT_META_L4PROTO, NFT_REG_1);
	rule_compare_u8(m, proto);
	if (proto == IPPROTO_UDP && checksum == RULE_NO_CHECKSUM) {
		rule_load_payload(m, NFT_PAYLOAD_TRANSPORT_HEADER,
				  UDP_CHECKSUM, 2, NFT_REG_1);
		rule_compare_be16(m, 0);
	}
	load_ports(m, way, load_addrs(m, family, way));
	for (int part = RULESET_DPORT; part >= RULESET_SADDR; part--)
		rule_map_to(m, ruleset_ported_map_name(way,
						       (enum ruleset_part)part,
						       proto, family),
			    ported_reg[part]);
	for (int part = RULESET_SADDR; part <= RULESET_DADDR; part++)
		write_addr(m, family, (enum ruleset_part)part,
			   ported_reg[part]);
	for (int part = RULESET_SPORT; part <= RULESET_DPORT; part++)
		rule_write_payload(m, ported_reg[part],
				   NFT_PAYLOAD_TRANSPORT_HEADER,
				   part == RULESET_DPORT ? 2 : 0, 2, checksum,
				   false);
	end_rewriting(m, conf, way);
	rule_end(m);
}

/* A datagram without a checksum stays without. */
static void fill_ported(struct maker *m, const struct ruleset_conf *conf,
			const char *chain, enum steer_map way)
{
	for (int i = 0; i < 2; i++) {
		fill_ported_rule(m, conf, chain, way, families[i],
				 IPPROTO_TCP, TCP_CHECKSUM);
		fill_ported_rule(m, conf, chain, way, families[i],
				 IPPROTO_UDP, RULE_NO_CHECKSUM);
		fill_ported_rule(m, conf, chain, way, families[i],
				 IPPROTO_UDP, UDP_CHECKSUM);
	}
}

/* --- workers -------------------------------------------------------------- */

/* A chain with a queue for each. */
static void put_workers(struct maker *m, const struct ruleset_conf *conf)
{
	for (unsigned int k = 0; k < conf->workers; k++)
		rule_put_chain(m, ruleset_worker_chain(k));
	for (unsigned int k = 0; k < conf->workers; k++) {
		rule_start(m, ruleset_worker_chain(k));
		queue_to(m, conf, conf->queue_worker[k]);
		rule_end(m);
	}
}

static void fill_work(struct maker *m, const struct ruleset_conf *conf,
		      const char *chain, enum steer_map way)
{
	for (int i = 0; conf->workers && i < 2; i++) {
		rule_start(m, chain);
		ruleset_match_family(m, families[i]);
		load_tuple(m, families[i], way);
		rule_map_to(m, ruleset_worker_map_name(way, families[i]),
			    NFT_REG_VERDICT);
		rule_end(m);
	}
}

/* --- chains, in the order of nft/sacip.nft -------------------------------- */

static void fill_prerouting(struct maker *m, const struct ruleset_conf *conf,
			    unsigned int shape)
{
	static const char chain[] = RULESET_HOOK_IN;

	if (shape & RULESET_CLAIMED)
		fill_nonces(m, chain, "claimed");
	for (int i = 0; i < 2; i++) {
		if (!(shape & RULESET_MOVED(families[i])))
			continue;
		rule_start(m, chain);
		ruleset_match_pair(m, families[i], STEER_RECV);
		rule_verdict(m, NFT_JUMP, "inbound");
		rule_end(m);
		rule_start(m, chain);
		match_icmp_error(m, conf, families[i]);
		queue(m, conf, STEER_RECV);
		rule_end(m);
	}
	for (int i = 0; i < 2; i++) {
		if (!(shape & RULESET_PROTECTED(families[i])))
			continue;
		rule_start(m, chain);
		ruleset_match_tripwire(m, families[i], STEER_RECV);
		rule_count(m, "tripwire_in");
		ruleset_mark_and_accept(m, conf->mark);
		rule_end(m);
	}
}

static void fill_inbound_drop(struct maker *m)
{
	for (int i = 0; i < 2; i++) {
		rule_start(m, "inbound_steered");
		match_tuple(m, STEER_DROP, families[i], STEER_RECV);
		rule_verdict(m, NFT_GOTO, "dropped");
		rule_end(m);
	}
}

/* A tuple that changes between drop and the others while a packet is in this
 * chain is found all the same: coming from drop by the second look-up behind
 * it, going to drop by the one at the end. */
static void fill_inbound(struct maker *m, const struct ruleset_conf *conf)
{
	static const char chain[] = "inbound";

	rule_start(m, chain);
	rule_load_meta(m, NFT_META_IIF, NFT_REG_1);
	rule_compare_u32(m, NFT_CMP_EQ, RULESET_LO_IFINDEX);
	rule_match_mark(m, conf->mark, true);
	rule_verdict(m, NF_ACCEPT, NULL);
	rule_end(m);
	fill_nonces(m, chain, "nonces_in");
	/* Who opens a connection on a wire tuple is a stranger. */
	rule_start(m, chain);
	rule_load_meta(m, NFT_META_L4PROTO, NFT_REG_1);
	rule_compare_u8(m, IPPROTO_TCP);
	rule_match_transport_bits(m, TCP_FLAGS, TCP_SYN | TCP_ACK, TCP_SYN);
	rule_verdict(m, NFT_GOTO, "inbound_steered");
	rule_end(m);
	/* Who resets one may be a box in between that a nonce has met. */
	rule_start(m, chain);
	rule_load_meta(m, NFT_META_L4PROTO, NFT_REG_1);
	rule_compare_u8(m, IPPROTO_TCP);
	rule_match_transport_bits(m, TCP_FLAGS, TCP_RST, TCP_RST);
	rule_verdict(m, NFT_GOTO, "inbound_steered");
	rule_end(m);
	if (conf->maps)
		fill_rewriting(m, conf, chain, STEER_RECV);
	fill_work(m, conf, chain, STEER_RECV);
	rule_start(m, chain);
	rule_verdict(m, NFT_GOTO, "inbound_steered");
	rule_end(m);
}

static void fill_inbound_steered(struct maker *m,
				 const struct ruleset_conf *conf)
{
	static const char chain[] = "inbound_steered";

	fill_inbound_drop(m);
	for (int i = 0; i < 2; i++) {
		rule_start(m, chain);
		match_tuple(m, STEER_IN, families[i], STEER_RECV);
		queue(m, conf, STEER_RECV);
		rule_end(m);
	}
	for (int i = 0; i < 2; i++) {
		rule_start(m, chain);
		match_tuple(m, STEER_PASS, families[i], STEER_RECV);
		ruleset_mark_and_accept(m, conf->mark);
		rule_end(m);
	}
	fill_inbound_drop(m);
}

static void fill_dropped(struct maker *m)
{
	static const char chain[] = "dropped";

	for (int i = 0; i < 2; i++) {
		rule_start(m, chain);
		match_tuple(m, STEER_PROT, families[i], STEER_RECV);
		rule_count(m, "untranslated");
		rule_verdict(m, NF_DROP, NULL);
		rule_end(m);
	}
	rule_start(m, chain);
	rule_count(m, "tombstones");
	rule_verdict(m, NF_DROP, NULL);
	rule_end(m);
}

static void fill_output(struct maker *m, const struct ruleset_conf *conf,
			unsigned int shape)
{
	static const char chain[] = RULESET_HOOK_OUT;

	for (int i = 0; i < 2; i++) {
		if (!(shape & RULESET_MOVED(families[i])))
			continue;
		rule_start(m, chain);
		ruleset_match_pair(m, families[i], STEER_SEND);
		rule_verdict(m, NFT_JUMP, "outbound");
		rule_end(m);
	}
	for (int i = 0; i < 2; i++) {
		if (!(shape & RULESET_PROTECTED(families[i])))
			continue;
		rule_start(m, chain);
		ruleset_match_tripwire(m, families[i], STEER_SEND);
		rule_count(m, "tripwire_out");
		queue(m, conf, STEER_SEND);
		rule_end(m);
	}
}

/* A daemon hears of an address that goes after the kernel has taken it: what
 * was rewritten to it meanwhile comes back. The maps ask by themselves. */
static void fill_rewritten(struct maker *m, const struct ruleset_conf *conf,
			   unsigned int shape)
{
	for (int i = 0; i < 2; i++) {
		if (!(shape & RULESET_MOVED(families[i])))
			continue;
		rule_start(m, RULESET_HOOK_SENT);
		ruleset_match_family(m, families[i]);
		ruleset_load_addr(m, families[i], STEER_SEND, false, NFT_REG_1);
		rule_look_up(m, ruleset_addr_set_name(STEER_WIRE,
						      families[i]));
		rule_load_fib_type(m, true, NFT_REG_1);
		rule_compare_u32(m, NFT_CMP_NEQ, RTN_LOCAL);
		ruleset_look_up_tuple(m, STEER_IN, families[i], STEER_SEND);
		rule_count(m, "tripwire_out");
		queue_to(m, conf, conf->workers ? conf->queue_strays :
						  conf->queue_out);
		rule_end(m);
	}
}

/*
 * What has found no route but the guard's is lost. TCP has to know: a segment
 * that it takes for sent costs it a timeout, and each timeout doubles the next,
 * while one that fails in the host is sent again as if there were no guard
 * (tcp_write_xmit() does not advance). The error is seen by TCP alone, never
 * by who wrote the data. Not so that of a datagram: it goes the silent way.
 * (In the output hook oif stays that of before a packet was rewritten.)
 */
static void fill_postrouting(struct maker *m)
{
	rule_start(m, RULESET_HOOK_ROUTED);
	rule_load_meta(m, NFT_META_OIFNAME, NFT_REG_1);
	rule_compare_name(m, ROUTE_SINK);
	rule_load_meta(m, NFT_META_L4PROTO, NFT_REG_1);
	rule_compare_u8(m, IPPROTO_TCP);
	rule_count(m, "unrouted");
	rule_verdict(m, NF_DROP, NULL);
	rule_end(m);
}

static void fill_outbound(struct maker *m, const struct ruleset_conf *conf)
{
	static const char chain[] = "outbound";

	fill_nonces(m, chain, "nonces_out");
	if (conf->maps)
		fill_rewriting(m, conf, chain, STEER_SEND);
	/* Rewritten, and not accepted because its new source is gone too. */
	for (int i = 0; conf->maps && i < 2; i++) {
		rule_start(m, chain);
		ruleset_match_family(m, families[i]);
		rule_load_fib_type(m, true, NFT_REG_1);
		rule_compare_u32(m, NFT_CMP_NEQ, RTN_LOCAL);
		ruleset_look_up_tuple(m, STEER_IN, families[i], STEER_SEND);
		rule_count(m, "tripwire_out");
		queue(m, conf, STEER_SEND);
		rule_end(m);
	}
	fill_work(m, conf, chain, STEER_SEND);
	for (int i = 0; i < 2; i++) {
		rule_start(m, chain);
		match_tuple(m, STEER_OUT, families[i], STEER_SEND);
		queue(m, conf, STEER_SEND);
		rule_end(m);
	}
	for (int i = 0; i < 2; i++) {
		rule_start(m, chain);
		match_tuple(m, STEER_IN, families[i], STEER_SEND);
		rule_count(m, "reserved");
		queue(m, conf, STEER_SEND);
		rule_end(m);
	}
}

/* --- transactions --------------------------------------------------------- */

/* To add what exists is no error; so this is "delete if it is there" on all
 * kernels. */
void ruleset_put_delete(struct batch *b)
{
	struct maker m = { .batch = b, .table = STEER_TABLE };

	rule_put_table(&m, 0);
	rule_put_table_del(&m);
}

static void put_table(struct maker *m, const struct ruleset_conf *conf)
{
	rule_put_tagged_table(m, conf->owned ? RULESET_TABLE_OWNER |
						       RULESET_TABLE_PERSIST :
					       0,
			      conf->tag, sizeof(conf->tag));
}

/* In a look-up, a packet sees the old elements or the new ones: where the
 * same are put back in the transaction, it never finds none. */
void ruleset_put_adoption(struct batch *b, const struct ruleset_conf *conf)
{
	struct maker m = { .batch = b, .table = STEER_TABLE };

	put_table(&m, conf);
	ruleset_put_set_flushes(&m, conf);
}

static void put_inner_chains(struct maker *m, const struct ruleset_conf *conf)
{
	for (size_t i = 0; i < N_INNER_CHAINS; i++)
		rule_put_chain(m, inner_chains[i]);
	fill_inbound(m, conf);
	fill_taken(m, conf, "nonces_in", STEER_RECV);
	if (conf->maps)
		fill_ported(m, conf, "inbound_ported", STEER_RECV);
	fill_inbound_steered(m, conf);
	fill_dropped(m);
	fill_outbound(m, conf);
	fill_taken(m, conf, "nonces_out", STEER_SEND);
	fill_claimed(m, conf);
	if (conf->maps)
		fill_ported(m, conf, "outbound_ported", STEER_SEND);
}

#define TAG_BYTES (256u * 1024)

int ruleset_tag(const struct ruleset_conf *conf, uint8_t tag[RULESET_TAG_SIZE],
		unsigned int *rules)
{
	struct ruleset_conf untagged = *conf;
	struct crypto_part part;
	struct batch b;
	int err;

	memset(untagged.tag, 0, sizeof(untagged.tag));
	batch_init(&b, STEER_TABLE, TAG_BYTES);
	ruleset_put_table(&b, &untagged);
	*rules = batch_count(&b, NFT_MSG_NEWRULE);
	ruleset_put_shape(&b, &untagged, 0, RULESET_WHOLE_SHAPE);
	err = batch_finish(&b);
	part.data = b.bytes.data;
	part.len = b.bytes.len;
	if (!err)
		crypto_blake2b(tag, RULESET_TAG_SIZE, NULL, 0, &part, 1);
	batch_free(&b);
	return err;
}

void ruleset_put_table(struct batch *b, const struct ruleset_conf *conf)
{
	struct maker m = { .batch = b, .table = STEER_TABLE };

	ruleset_put_delete(b);
	put_table(&m, conf);
	ruleset_put_sets(&m, conf);
	put_workers(&m, conf);
	put_inner_chains(&m, conf);
	rule_put_chain(&m, RULESET_DEFRAG_CHAIN);
}

static void put_hooks(struct maker *m, const struct ruleset_conf *conf)
{
	rule_put_base_chain(m, RULESET_HOOK_IN, "filter", NF_INET_PRE_ROUTING,
			    PRIORITY_PREROUTING);
	rule_put_base_chain(m, RULESET_HOOK_OUT, "route", NF_INET_LOCAL_OUT,
			    PRIORITY_OUTPUT);
	rule_put_base_chain(m, RULESET_HOOK_ROUTED, "filter",
			    NF_INET_POST_ROUTING, PRIORITY_OUTPUT);
	if (!conf->maps)
		rule_put_base_chain(m, RULESET_HOOK_SENT, "filter",
				    NF_INET_LOCAL_OUT, PRIORITY_OUTPUT + 1);
}

void ruleset_put_shape(struct batch *b, const struct ruleset_conf *conf,
		       unsigned int from, unsigned int to)
{
	struct maker m = { .batch = b, .table = STEER_TABLE };

	if (from) {
		rule_put_chain_flush(&m, RULESET_HOOK_IN);
		rule_put_chain_flush(&m, RULESET_HOOK_OUT);
		rule_put_chain_flush(&m, RULESET_HOOK_ROUTED);
	}
	if (from && !conf->maps)
		rule_put_chain_flush(&m, RULESET_HOOK_SENT);
	if (from && !to) {
		rule_put_chain_del(&m, RULESET_HOOK_IN);
		rule_put_chain_del(&m, RULESET_HOOK_OUT);
		rule_put_chain_del(&m, RULESET_HOOK_ROUTED);
		if (!conf->maps)
			rule_put_chain_del(&m, RULESET_HOOK_SENT);
	}
	if (to && !from)
		put_hooks(&m, conf);
	ruleset_put_marks(&m, conf, from, to);
	ruleset_put_unveil(&m, conf, from, to);
	if (!to)
		return;
	fill_prerouting(&m, conf, to);
	fill_output(&m, conf, to);
	fill_postrouting(&m);
	if (!conf->maps)
		fill_rewritten(&m, conf, to);
}

static void put_tproxy_rule(struct maker *m)
{
	rule_start(m, RULESET_DEFRAG_CHAIN);
	rule_load_meta(m, NFT_META_L4PROTO, NFT_REG_1);
	rule_compare_u8(m, IPPROTO_UDP);
	rule_tproxy(m, TPROXY_PORT);
	rule_end(m);
}

void ruleset_put_defrag(struct batch *b)
{
	struct maker m = { .batch = b, .table = STEER_TABLE };

	put_tproxy_rule(&m);
}

void ruleset_put_probe(struct batch *b, enum ruleset_probe what)
{
	struct maker m = { .batch = b, .table = PROBE_TABLE };

	rule_put_table(&m, what == RULESET_PROBE_OWNED ?
				   RULESET_TABLE_OWNER | RULESET_TABLE_PERSIST :
				   0);
	rule_put_chain(&m, RULESET_DEFRAG_CHAIN);
	if (what == RULESET_PROBE_MAPS || what == RULESET_PROBE_COUNTED)
		rule_put_chain(&m, "inbound_ported");
	switch (what) {
	case RULESET_PROBE_BASE:
	case RULESET_PROBE_OWNED:
		break;
	case RULESET_PROBE_FIB:
		rule_start(&m, RULESET_DEFRAG_CHAIN);
		rule_load_fib_type(&m, false, NFT_REG_1);
		rule_compare_u32(&m, NFT_CMP_NEQ, RTN_LOCAL);
		rule_end(&m);
		break;
	case RULESET_PROBE_NATIVE:
		rule_start(&m, RULESET_DEFRAG_CHAIN);
		rule_queue_native(&m, 0);
		rule_end(&m);
		break;
	case RULESET_PROBE_COMPAT:
		rule_start(&m, RULESET_DEFRAG_CHAIN);
		rule_queue_compat(&m, 0);
		rule_end(&m);
		break;
	case RULESET_PROBE_MAPS:
	case RULESET_PROBE_COUNTED:
		ruleset_put_maps(&m, what == RULESET_PROBE_COUNTED);
		fill_rewriting(&m, &(struct ruleset_conf){ .mark = 1 },
			       RULESET_DEFRAG_CHAIN, STEER_RECV);
		break;
	case RULESET_PROBE_LIMIT:
		ruleset_put_rate_sets(&m);
		rule_start(&m, RULESET_DEFRAG_CHAIN);
		rule_limit(&m, NONCES_PER_S);
		rule_limit_over(&m, NONCES_PER_S);
		load_tuple(&m, 4, STEER_RECV);
		rule_limit_each(&m, ruleset_rate_set_name(RULESET_RATE_TUPLE, 4),
				NONCES_PER_S);
		limit_each_source(&m, RULESET_RATE_FROM, 6, STEER_RECV,
				  NONCES_PER_S);
		rule_end(&m);
		break;
	case RULESET_PROBE_UNVEIL:
		for (int i = 0; i < 2; i++)
			ruleset_fill_unveil(&m, &(struct ruleset_conf){
						.mark = 1 },
					    RULESET_DEFRAG_CHAIN, families[i]);
		break;
	case RULESET_PROBE_DEFRAG:
		put_tproxy_rule(&m);
		break;
	}
	rule_put_table_del(&m);
}
