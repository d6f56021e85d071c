/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natrules: would this host's own source NAT take hold of a flow?
 *
 * A flow that matches `masquerade` or `snat` here looks as if nothing were
 * translated (its source is the address that it would get), but after a move
 * conntrack, whose entry the vanished address took along, translates what we
 * have translated, and the connection dies (seen). Such a flow is refused.
 *
 * Owns a copy of the nat chains at postrouting, read by netlink and read
 * again when the ruleset has changed, and of what iptables-legacy has there,
 * read anew at each look, since nothing tells of a change. Never changes a
 * rule, and reads them aside: there may be thousands. What a rule asks that cannot be answered for a flow (a set, most
 * xtables matches) counts as answered with yes. Of the mark each bit is known
 * that no rule of either kind, at output or postrouting, which the flow may
 * reach sets: it is the socket's.
 *
 * Kernel: nf_nat_masquerade_inet_register_notifiers(), nf_nat_inet_fn().
 */
#ifndef SACIPED_NATRULES_H
#define SACIPED_NATRULES_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

struct aside;
struct natrules;

#define NATRULES_CHAINS_MAX 1024
#define NATRULES_RULES_MAX 16384 /* more: every flow may match */
#define NATRULES_DEPTH_MAX 16 /* of jumps, as the kernel's */
#define NATRULES_APPLIED_MAX 100000 /* rules for one question; more: it may */
#define NATRULES_REFRESH_MS 1000 /* between two looks for changes */

enum natrules_answer {
	NATRULES_NONE, /* no rule of source NAT takes hold of it */
	NATRULES_MAY,
	NATRULES_READING, /* the rules have changed: ask again in a moment */
};

/* Reads the rules, and waits for that. `aside`: which reads what changes; not
 * owned. 0 or -errno. */
int natrules_open(struct natrules **out, struct aside *aside);
void natrules_close(struct natrules *n); /* after `aside`; NULL is fine */

/*
 * May a source NAT rule match the first packet of `t`, of a socket with this
 * mark, going out of the interface `oif` named `oifname`? Looks for changes at
 * most once per NATRULES_REFRESH_MS. Where the kernel does not tell its rules,
 * any may.
 */
enum natrules_answer natrules_match(struct natrules *n, const struct tuple *t,
				    uint32_t mark, uint32_t oif,
				    const char *oifname, uint64_t now_ms);

#endif
