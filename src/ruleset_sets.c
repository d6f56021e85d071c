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

/* How often the kernel sweeps away elements that have timed out. */
#define GC_INTERVAL_MS 10000

/* Numbers by which nft(8) prints the keys; the kernel only stores them. */
enum {
	TYPE_IPADDR = 7,
	TYPE_IP6ADDR = 8,
	TYPE_INET_PROTOCOL = 12,
	TYPE_INET_SERVICE = 13,
	TYPE_ICMP_TYPE = 14,
	TYPE_MARK = 19, /* a number of 32 bits */
	TYPE_ICMPV6_TYPE = 29,
};

/* What a map leads to: steer_map.c. */
enum part {
	ADDRESSES, /* of flows whose ports stay */
	PORTED, /* addresses of flows whose ports change */
	PORTS, /* and these: source << 16 | destination */
	PARTS
};

static const char *const tuple_map[2][PARTS][2] = {
	[STEER_RECV] = {
		[ADDRESSES] = { "recv4", "recv6" },
		[PORTED] = { "recv_ported4", "recv_ported6" },
		[PORTS] = { "recv_ports4", "recv_ports6" },
	},
	[STEER_SEND] = {
		[ADDRESSES] = { "send4", "send6" },
		[PORTED] = { "send_ported4", "send_ported6" },
		[PORTS] = { "send_ports4", "send_ports6" },
	},
};

static const char *const tuple_set[STEER_SET_MAX][2] = {
	[STEER_OUT] = { "out4", "out6" },
	[STEER_IN] = { "in4", "in6" },
	[STEER_PASS] = { "pass4", "pass6" },
	[STEER_DROP] = { "drop4", "drop6" },
	[STEER_PROT] = { "prot4", "prot6" },
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

const char *ruleset_addr_set_name(enum steer_addr_set set, uint8_t family)
{
	if (set >= STEER_ADDR_SET_MAX || (family != 4 && family != 6))
		return NULL;
	return addr_set[set][family == 6];
}

const char *ruleset_map_name(enum steer_map map, uint8_t family)
{
	if (family != 4 && family != 6)
		return NULL;
	return tuple_map[map][ADDRESSES][family == 6];
}

const char *ruleset_ported_map_name(enum steer_map map, bool ports,
				    uint8_t family)
{
	if (family != 4 && family != 6)
		return NULL;
	return tuple_map[map][ports ? PORTS : PORTED][family == 6];
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

static uint32_t map_data_type(enum part part, uint8_t family)
{
	return part == PORTS ? TYPE_MARK : pair_type(family);
}

void ruleset_put_maps(struct maker *m, bool counted)
{
	for (int way = STEER_RECV; way >= STEER_SEND; way--)
		for (int part = 0; part < PARTS; part++)
			for (int i = 0; i < 2; i++)
				rule_put_map(m, tuple_map[way][part][i],
					     tuple_type(families[i]),
					     tuple_len(families[i]),
					     map_data_type((enum part)part,
							   families[i]),
					     part == PORTS ?
						     4 : pair_len(families[i]),
					     STEER_TUPLES_MAX,
					     counted && part != PORTS);
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

void ruleset_put_set_flushes(struct maker *m, const struct ruleset_conf *conf)
{
	for (int i = 0; i < 2; i++) {
		for (int set = 0; set < STEER_SET_MAX; set++)
			rule_put_set_flush(m, tuple_set[set][i]);
		for (int set = 0; set < STEER_ADDR_SET_MAX; set++)
			rule_put_set_flush(m, addr_set[set][i]);
		for (int way = STEER_SEND; way <= STEER_RECV; way++) {
			rule_put_set_flush(m, pair_set[way][i]);
			for (int part = 0; conf->maps && part < PARTS; part++)
				rule_put_set_flush(m, tuple_map[way][part][i]);
			if (conf->workers)
				rule_put_set_flush(m, worker_map[way][i]);
		}
	}
}
