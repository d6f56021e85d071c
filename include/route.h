/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * route: one change of addresses, rules or routes by rtnetlink per call.
 *
 * Owns the form of the messages and our sign on what they make: protocol
 * RETAIN_PROTO on rules and routes, label RETAIN_LABEL on addresses. Knows no
 * reasons and keeps nothing.
 *
 * Every call returns after the kernel's answer; to add what is there, or to
 * delete what is not, is success. Else the kernel's -errno.
 */
#ifndef SACIPED_ROUTE_H
#define SACIPED_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

#define ROUTE_LO_IFINDEX 1 /* in every network namespace */
#define ROUTE_HOPS_MAX 8
#define ROUTE_SINK "sacip-sink"

struct netlink;
struct nlmsghdr;

struct route_rule {
	int family; /* AF_INET, AF_INET6 */
	struct addr from; /* unset: any */
	uint32_t mark; /* 0: any; is the mask, too */
	uint32_t table;
	uint32_t preference;
};
int route_put_rule(struct netlink *nl, const struct route_rule *r);
int route_del_rule(struct netlink *nl, const struct route_rule *r);

struct route_hop {
	uint32_t ifindex;
	struct addr gateway; /* of either family; unset: reached on the link */
};
struct route_entry {
	struct addr to; /* one address */
	uint32_t table;
	uint32_t metric; /* 0: the kernel's; routes differ by it */
	bool local; /* delivered here; else by its hops */
	uint32_t mtu; /* 0: the interface's */
	struct addr src; /* for what has none yet; unset: the kernel's choice */
	struct route_hop hop[ROUTE_HOPS_MAX]; /* of IPv4's the last one is
						* taken 256 times as often */
	unsigned int hops; /* at least one for route_put_entry() */
};
/* Replaces the one to the same address in that table, of that metric. */
int route_put_entry(struct netlink *nl, const struct route_entry *r);
/* Metric 0: one of them, whichever. */
int route_del_entry(struct netlink *nl, const struct route_entry *r);
/* The same for many, a few hundred in one system call: `next` fills in one, or
 * says that there is none. Goes on past errors; 0 or the first -errno. */
typedef bool route_next(struct route_entry *r, void *arg);
int route_put_entries(struct netlink *nl, route_next *next, void *arg);

/*
 * Puts a copy of an IPv4 address on lo: scope host, and without the `local`
 * route that the kernel makes for it. It is in nobody's way who puts the same
 * address there. -EEXIST where lo has it already from someone else: then
 * nothing is done, as the route is his.
 */
int route_put_copy(struct netlink *nl, const struct addr *a);
int route_del_copy(struct netlink *nl, const struct addr *a);

/*
 * The device ROUTE_SINK, which swallows what is sent to it: made and brought
 * up where it is not there. A bridge without ports does where the kernel has
 * no `dummy`. -EOPNOTSUPP where it has neither.
 */
int route_put_sink(struct netlink *nl, uint32_t *ifindex);
int route_del_sink(struct netlink *nl);

/*
 * Drops what waits for the link address of a neighbour that has not answered
 * yet; the senders are told, as when the kernel gives up. Nothing happens
 * where the address is known, or nobody asks for it. 0 or -errno.
 */
int route_drop_unresolved(struct netlink *nl, const struct addr *a,
			  uint32_t ifindex);

/* Is this neighbour's link address known? Also true where nobody can tell. */
bool route_is_known(struct netlink *nl, const struct addr *a,
		    uint32_t ifindex);

enum route_kind { ROUTE_RULE, ROUTE_ENTRY, ROUTE_COPY };

struct route_object {
	enum route_kind kind;
	union {
		struct route_rule rule;
		struct route_entry entry; /* where it is, no more */
		struct addr copy;
	};
};
/* Does this event tell that something with our sign is gone? */
bool route_read_lost(const struct nlmsghdr *nlh, struct route_object *o);
/* The device that went with it, or 0. */
uint32_t route_read_lost_link(const struct nlmsghdr *nlh);
/*
 * Makes an event socket hear only of what may be ours and was deleted by
 * another than `own_port` (whose netlink port that is), and of rules: other
 * people's routes come and go by the thousand. 0 or -errno.
 */
int route_hear_losses(struct netlink *events, uint32_t own_port);

/* A policy rule of somebody else; not the one to table local. */
struct route_other {
	int family;
	uint32_t preference, table;
	uint32_t mark, mask; /* both 0: any */
};
/* Does this event, or message of a dump, tell of one? */
bool route_read_other(const struct nlmsghdr *nlh, struct route_other *o);
typedef void route_other_cb(const struct route_other *o, void *arg);
/* All of them, first ones first. 0 or -errno. */
int route_others(struct netlink *nl, int family, route_other_cb *cb,
		 void *arg);

typedef bool route_keep(const struct route_object *o, void *arg);

/* Removes whatever bears our sign, IPv4 and IPv6, and is not to be kept
 * (`keep` NULL: all). 0 or -errno: some may be left then. */
int route_sweep(struct netlink *nl, route_keep *keep, void *arg);

#endif
