/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ruleset_sets: the sets and maps of the table `inet sacip`.
 *
 * Owns their names, types and sizes. Never knows which rule looks into them.
 */
#include "ruleset_impl.h"

#include "batch.h"
#include "rule.h"

#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/netfilter/nf_tables.h>
#include <netinet/in.h>

/* How often the kernel sweeps away elements that have timed out. */
#define GC_INTERVAL_MS 10000

/* By then a bucket of a second is full again, so to forget it gives nothing. */
#define RATE_TIMEOUT_MS 10000

/* Numbers by which nft(8) prints the keys; the kernel only stores them. */
enum {
	TYPE_IPADDR = 7,
	TYPE_IP6ADDR = 8,
	TYPE_INET_PROTOCOL = 12,
	TYPE_INET_SERVICE = 13,
	TYPE_ICMP_TYPE = 14,
	TYPE_ICMPV6_TYPE = 29,
};

#define ADDRS(way) { { way "_saddr4", way "_saddr6" }, \
		     { way "_daddr4", way "_daddr6" } }

/* One of them, both; in the order of enum ruleset_part. */
static const char *const addr_map[2][2][2][2] = {
	[STEER_RECV] = { ADDRS("recv"), ADDRS("recv_both") },
	[STEER_SEND] = { ADDRS("send"), ADDRS("send_both") },
};

#define PORTED(way_proto)                                     \
	{                                                     \
		{ way_proto "_saddr4", way_proto "_saddr6" }, \
		{ way_proto "_daddr4", way_proto "_daddr6" }, \
		{ way_proto "_sport4", way_proto "_sport6" }, \
		{ way_proto "_dport4", way_proto "_dport6" }, \
	}

/* TCP, UDP. */
static const char *const ported_map[2][2][RULESET_PARTS][2] = {
	[STEER_RECV] = { PORTED("recv_tcp"), PORTED("recv_udp") },
	[STEER_SEND] = { PORTED("send_tcp"), PORTED("send_udp") },
};

static const char *const tuple_set[STEER_SET_MAX][2] = {
	[STEER_OUT] = { "out4", "out6" },
	[STEER_IN] = { "in4", "in6" },
	[STEER_PASS] = { "pass4", "pass6" },
	[STEER_DROP] = { "drop4", "drop6" },
	[STEER_PROT] = { "prot4", "prot6" },
	[STEER_CLAIM] = { "claim4", "claim6" },
};

static const char *const rate_set[RULESET_RATES][2] = {
	[RULESET_RATE_TUPLE] = { "rate4", "rate6" },
	[RULESET_RATE_FROM] = { "rate_from4", "rate_from6" },
	[RULESET_RATE_CLAIM_FROM] = { "claim_from4", "claim_from6" },
};

static const char *const addr_set[STEER_ADDR_SET_MAX][2] = {
	[STEER_SRC] = { "src4", "src6" },
	[STEER_WIRE] = { "wire4", "wire6" },
};

static const char *const worker_map[2][2] = {
	[STEER_SEND] = { "work_out4", "work_out6" },
	[STEER_RECV] = { "work_in4", "work_in6" },
};

static const char *const worker_chain[STEER_WORKERS_MAX] = {
	"worker0", "worker1", "worker2", "worker3", "worker4", "worker5",
	"worker6", "worker7", "worker8", "worker9", "worker10", "worker11",
	"worker12", "worker13", "worker14", "worker15",
};

static const char *const icmp_set[2] = { "icmp_errors", "icmpv6_errors" };
static const char *const pair_set[2][2] = {
	[STEER_RECV] = { "pairs_in4", "pairs_in6" },
	[STEER_SEND] = { "pairs_out4", "pairs_out6" },
};

static const uint8_t icmp_errors[] = {
	ICMP_DEST_UNREACH,
	ICMP_TIME_EXCEEDED,
	ICMP_PARAMETERPROB,
};

static const uint8_t icmpv6_errors[] = {
	ICMPV6_DEST_UNREACH,
	ICMPV6_PKT_TOOBIG,
	ICMPV6_TIME_EXCEED,
	ICMPV6_PARAMPROB,
};

static const char *const counters[] = { RULESET_COUNTERS };

const char *ruleset_set_name(enum steer_set set, uint8_t family)
{
	if (set >= STEER_SET_MAX || (family != 4 && family != 6))
		return NULL;
	return tuple_set[set][family == 6];
}

const char *ruleset_rate_set_name(enum ruleset_rate rate, uint8_t family)
{
	return rate_set[rate][family == 6];
}

const char *ruleset_addr_set_name(enum steer_addr_set set, uint8_t family)
{
	if (set >= STEER_ADDR_SET_MAX || (family != 4 && family != 6))
		return NULL;
	return addr_set[set][family == 6];
}

const char *ruleset_map_name(enum steer_map map, bool both,
			     enum ruleset_part part, uint8_t family)
{
	if (family != 4 && family != 6)
		return NULL;
	return addr_map[map][both][part][family == 6];
}

const char *ruleset_ported_map_name(enum steer_map map, enum ruleset_part part,
				    uint8_t proto, uint8_t family)
{
	if (family != 4 && family != 6)
		return NULL;
	return ported_map[map][proto == IPPROTO_UDP][part][family == 6];
}

const char *ruleset_pair_set_name(bool outbound, uint8_t family)
{
	if (family != 4 && family != 6)
		return NULL;
	return pair_set[outbound ? STEER_SEND : STEER_RECV][family == 6];
}

const char *ruleset_worker_map_name(enum steer_map map, uint8_t family)
{
	return worker_map[map][family == 6];
}

const char *ruleset_worker_chain(unsigned int worker)
{
	return worker_chain[worker];
}

const char *ruleset_icmp_set_name(uint8_t family)
{
	return icmp_set[family == 6];
}

/* --- sets ----------------------------------------------------------------- */

static uint32_t ported_type(uint8_t family)
{
	const uint32_t ip = family == 4 ? TYPE_IPADDR : TYPE_IP6ADDR;

	return ((ip << 6 | ip) << 6 | TYPE_INET_SERVICE) << 6 |
	       TYPE_INET_SERVICE;
}

static uint32_t tuple_type(uint8_t family)
{
	const uint32_t ip = family == 4 ? TYPE_IPADDR : TYPE_IP6ADDR;
	const uint32_t part[] = { ip, ip, TYPE_INET_PROTOCOL,
				  TYPE_INET_SERVICE, TYPE_INET_SERVICE };
	uint32_t type = 0;

	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		type = type << 6 | part[i];
	return type;
}

static uint32_t pair_type(uint8_t family)
{
	const uint32_t ip = family == 4 ? TYPE_IPADDR : TYPE_IP6ADDR;

	return ip << 6 | ip;
}

static uint32_t pair_len(uint8_t family)
{
	return 2 * ruleset_addr_len(family);
}

/* Protocol and ports take 32 bits each. */
static uint32_t tuple_len(uint8_t family)
{
	return pair_len(family) + 12;
}

static uint32_t ported_len(uint8_t family)
{
	return pair_len(family) + 8;
}

static void put_map(struct maker *m, const char *name, bool ported,
		    enum ruleset_part part, uint8_t family, bool counted)
{
	const bool addr = part == RULESET_SADDR || part == RULESET_DADDR;
	const uint32_t ip = family == 4 ? TYPE_IPADDR : TYPE_IP6ADDR;

	rule_put_map(m, name, ported ? ported_type(family) : tuple_type(family),
		     ported ? ported_len(family) : tuple_len(family),
		     addr ? ip : TYPE_INET_SERVICE,
		     addr ? ruleset_addr_len(family) : 2, STEER_TUPLES_MAX,
		     counted);
}

/* Of what is looked up together one counts. */
static void put_addr_maps(struct maker *m, enum steer_map way, bool both,
			  bool counted)
{
	for (int part = RULESET_SADDR; part <= RULESET_DADDR; part++)
		for (int i = 0; i < 2; i++)
			put_map(m, addr_map[way][both][part][i], false,
				(enum ruleset_part)part, families[i],
				counted && (!both || part == RULESET_SADDR));
}

static void put_ported_maps(struct maker *m, enum steer_map way, int proto,
			    bool counted)
{
	for (int part = 0; part < RULESET_PARTS; part++)
		for (int i = 0; i < 2; i++)
			put_map(m, ported_map[way][proto][part][i], true,
				(enum ruleset_part)part, families[i],
				counted && part == RULESET_SADDR);
}

void ruleset_put_maps(struct maker *m, bool counted)
{
	for (int way = STEER_RECV; way >= STEER_SEND; way--) {
		put_addr_maps(m, (enum steer_map)way, false, counted);
		put_addr_maps(m, (enum steer_map)way, true, counted);
		put_ported_maps(m, (enum steer_map)way, 0, counted);
		put_ported_maps(m, (enum steer_map)way, 1, counted);
	}
}

static void put_icmp_set(struct maker *m, uint8_t family)
{
	const uint8_t *error = family == 4 ? icmp_errors : icmpv6_errors;
	uint32_t n = family == 4 ? sizeof(icmp_errors) : sizeof(icmpv6_errors);
	const char *name = icmp_set[family == 6];

	rule_put_set(m, name,
		     family == 4 ? TYPE_ICMP_TYPE : TYPE_ICMPV6_TYPE, 1, n, 0);
	for (uint32_t i = 0; i < n; i++)
		batch_element(m->batch, name, &error[i], 1, 0);
}

void ruleset_put_rate_sets(struct maker *m)
{
	for (int i = 0; i < 2; i++)
		rule_put_rate_set(m, rate_set[RULESET_RATE_TUPLE][i],
				  tuple_type(families[i]),
				  tuple_len(families[i]), STEER_TUPLES_MAX,
				  RATE_TIMEOUT_MS);
	for (int rate = RULESET_RATE_FROM; rate < RULESET_RATES; rate++)
		for (int i = 0; i < 2; i++)
			rule_put_rate_set(m, rate_set[rate][i],
					  i ? TYPE_IP6ADDR : TYPE_IPADDR,
					  ruleset_addr_len(families[i]),
					  STEER_PAIRS_MAX, RATE_TIMEOUT_MS);
}

void ruleset_put_sets(struct maker *m, const struct ruleset_conf *conf)
{
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		rule_put_counter(m, counters[i]);
	for (int way = STEER_RECV; way >= STEER_SEND; way--)
		for (int i = 0; i < 2; i++)
			rule_put_set(m, pair_set[way][i],
				     pair_type(families[i]),
				     pair_len(families[i]),
				     STEER_PAIRS_MAX, GC_INTERVAL_MS);
	put_icmp_set(m, 4);
	put_icmp_set(m, 6);
	/* Sets with timeouts grow with what is in them; without, the kernel
	 * would allocate for all of STEER_TUPLES_MAX at once. */
	for (int set = 0; set < STEER_SET_MAX; set++)
		for (int i = 0; i < 2; i++)
			rule_put_set(m, tuple_set[set][i],
				     tuple_type(families[i]),
				     tuple_len(families[i]),
				     STEER_TUPLES_MAX, GC_INTERVAL_MS);
	if (conf->limited)
		ruleset_put_rate_sets(m);
	for (int set = 0; set < STEER_ADDR_SET_MAX; set++)
		for (int i = 0; i < 2; i++)
			rule_put_set(m, addr_set[set][i],
				     i ? TYPE_IP6ADDR : TYPE_IPADDR,
				     ruleset_addr_len(families[i]),
				     STEER_ADDRS_MAX, 0);
	if (conf->maps)
		ruleset_put_maps(m, conf->counted);
	for (int map = STEER_SEND; conf->workers && map <= STEER_RECV; map++)
		for (int i = 0; i < 2; i++)
			rule_put_verdict_map(m, worker_map[map][i],
					     tuple_type(families[i]),
					     tuple_len(families[i]),
					     STEER_TUPLES_MAX);
}

static void put_map_flushes(struct maker *m, enum steer_map way, int family)
{
	for (int both = 0; both < 2; both++)
		for (int part = RULESET_SADDR; part <= RULESET_DADDR; part++)
			rule_put_set_flush(m,
					   addr_map[way][both][part][family]);
	for (int proto = 0; proto < 2; proto++)
		for (int part = 0; part < RULESET_PARTS; part++)
			rule_put_set_flush(m,
					   ported_map[way][proto][part][family]);
}

void ruleset_put_set_flushes(struct maker *m, const struct ruleset_conf *conf)
{
	for (int i = 0; i < 2; i++) {
		/* A nonce of an earlier run's proofs may be on its way: what
		 * takes it out ends by itself. */
		for (int set = 0; set < STEER_SET_MAX; set++)
			if (set != STEER_CLAIM)
				rule_put_set_flush(m, tuple_set[set][i]);
		for (int rate = 0; conf->limited && rate < RULESET_RATES;
		     rate++)
			rule_put_set_flush(m, rate_set[rate][i]);
		for (int set = 0; set < STEER_ADDR_SET_MAX; set++)
			rule_put_set_flush(m, addr_set[set][i]);
		for (int way = STEER_SEND; way <= STEER_RECV; way++) {
			rule_put_set_flush(m, pair_set[way][i]);
			if (conf->maps)
				put_map_flushes(m, (enum steer_map)way, i);
			if (conf->workers)
				rule_put_set_flush(m, worker_map[way][i]);
		}
	}
}
