/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ruleset: what stands in the table `inet sacip`, as netlink messages.
 *
 * Owns the names, chains and rules; nft/sacip.nft is the same thing for
 * people and a test compares the two. With steer the only user of libnftnl.
 * Never sends, never fills a set.
 *
 * All functions append to a batch and leave errors there.
 */
#ifndef SACIPED_RULESET_H
#define SACIPED_RULESET_H

#include <stdbool.h>
#include <stdint.h>

#include "steer.h"

struct batch;

/* Not in the headers of older systems. */
#define RULESET_TABLE_OWNER 0x2u /* NFT_TABLE_F_OWNER, Linux 5.12 */
#define RULESET_TABLE_PERSIST 0x4u /* NFT_TABLE_F_PERSIST, Linux 6.9 */

/* Named counters, in the order of struct steer_counters. */
#define RULESET_COUNTERS                                              \
	"untranslated", "tombstones", "tripwire_in", "tripwire_out", \
		"reserved", "unrouted"

#define RULESET_DEFRAG_CHAIN "defrag"
#define RULESET_HOOK_IN "prerouting"
#define RULESET_HOOK_OUT "output"
#define RULESET_HOOK_ROUTED "postrouting"
#define RULESET_HOOK_SENT "rewritten" /* where the kernel does not */
#define RULESET_HOOK_MARKS_IN "marks_in" /* behind all others */
#define RULESET_HOOK_MARKS_OUT "marks_out"
#define RULESET_HOOK_UNVEIL "unveil" /* in front of conntrack */

#define RULESET_TAG_SIZE 16

struct ruleset_conf {
	uint32_t mark;
	uint16_t queue_in;
	uint16_t queue_out;
	enum steer_queue_form queue_form;
	bool owned; /* with persistence */
	bool maps; /* for rewriting */
	bool counted; /* their elements count packets and bytes */
	bool limited; /* the kernel knows rates */
	unsigned int workers;
	uint16_t queue_worker[STEER_WORKERS_MAX];
	uint16_t queue_strays; /* of workers */
	uint8_t tag[RULESET_TAG_SIZE]; /* ruleset_tag()'s, of the others */
};

/* What a map leads to. One for each field of the packet: what writes two at
 * once nft 1.0.6 prints in a form that it does not read. Most flows change one,
 * and have one look-up more at the end that does not move. */
enum ruleset_part {
	RULESET_SADDR,
	RULESET_DADDR,
	RULESET_SPORT,
	RULESET_DPORT,
	RULESET_PARTS
};

enum ruleset_probe {
	RULESET_PROBE_BASE, /* tables of family inet, chains */
	RULESET_PROBE_FIB,
	RULESET_PROBE_OWNED,
	RULESET_PROBE_NATIVE,
	RULESET_PROBE_COMPAT,
	RULESET_PROBE_MAPS, /* look-ups that give what is written */
	RULESET_PROBE_COUNTED, /* the same, with elements that count */
	RULESET_PROBE_DEFRAG,
	RULESET_PROBE_LIMIT,
	RULESET_PROBE_UNVEIL,
};

/* Replaces whatever `inet sacip` is there, unless another process owns it. */
void ruleset_put_table(struct batch *b, const struct ruleset_conf *conf);
/* Keeps the table that is there, with all that stands in it but the elements
 * of its sets and maps: for one that bears the tag. */
void ruleset_put_adoption(struct batch *b, const struct ruleset_conf *conf);
/* A hash of all that ruleset_put_table() and ruleset_put_shape() may put there,
 * which the table bears, so that a later process knows it again; and how many
 * rules it has without those of the hooks. 0, -ENOMEM or -EMSGSIZE. */
int ruleset_tag(const struct ruleset_conf *conf, uint8_t tag[RULESET_TAG_SIZE],
		unsigned int *rules);
void ruleset_put_delete(struct batch *b);
/* A table that comes and goes in one transaction: only whether it succeeds
 * is of interest. Nobody else sees it. */
void ruleset_put_probe(struct batch *b, enum ruleset_probe what);

/*
 * What the hooks have: nothing while nothing is protected, the tripwires of a
 * family from its first protected flow on, and the way to the sets while they
 * hold anything. Only the latter costs more than a look at an address.
 */
#define RULESET_PROTECTED(family) ((family) == 4 ? 0x1u : 0x2u)
#define RULESET_MOVED(family) ((family) == 4 ? 0x4u : 0x8u)
/* The hooks behind all others are there: from the first that moves on. */
#define RULESET_MARKS 0x20u
/* What is injected comes veiled: from the first that has to on. */
#define RULESET_UNVEIL 0x40u
/* What looks like a nonce is looked at, whosever it is: while flows are claimed. */
#define RULESET_CLAIMED 0x80u
#define RULESET_CLAIMED_RULES 2 /* inbound: TCP, UDP */
/* These hooks stay until nothing is protected. */
#define RULESET_LASTING (RULESET_MARKS | RULESET_UNVEIL)
#define RULESET_WHOLE_SHAPE 0xefu
/* Of an earlier process, which hooks are there is known: put all rules anew. */
#define RULESET_UNKNOWN_SHAPE 0x10u

/* Leads from one shape, a set of these bits, to another. */
void ruleset_put_shape(struct batch *b, const struct ruleset_conf *conf,
		       unsigned int from, unsigned int to);
/* The inert rule whose presence makes the kernel defragment. */
void ruleset_put_defrag(struct batch *b);

/* Names for batch_element(), NULL for a family that is neither 4 nor 6. */
const char *ruleset_set_name(enum steer_set set, uint8_t family);
/* SADDR or DADDR of flows whose ports stay: of those of which only that changes,
 * or of those of which both do. */
const char *ruleset_map_name(enum steer_map map, bool both,
			     enum ruleset_part part, uint8_t family);
/* Of those whose ports change too, by protocol: its keys lack it, so that
 * registers are left for all four. */
const char *ruleset_ported_map_name(enum steer_map map, enum ruleset_part part,
				    uint8_t proto, uint8_t family);
/* Of pairs of addresses. */
const char *ruleset_pair_set_name(bool outbound, uint8_t family);
/* From tuples to ruleset_worker_chain(). */
const char *ruleset_worker_map_name(enum steer_map map, uint8_t family);
const char *ruleset_worker_chain(unsigned int worker);
const char *ruleset_addr_set_name(enum steer_addr_set set, uint8_t family);

#endif
