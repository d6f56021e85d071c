/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtmon_impl: what the parts of rtmon share: rtmon.c watches, rtmon_table.c
 * reads messages and keeps the tables, rtmon_router.c hears of routers,
 * rtmon_route.c answers questions. Nobody else includes this.
 */
#ifndef SACIPED_RTMON_IMPL_H
#define SACIPED_RTMON_IMPL_H

#include "netlink.h"
#include "rtmon.h"

/* One state of the tables; a resync reads a second one to compare with. */
struct rtmon_table {
	struct rtmon_link *links;
	struct rtmon_address *addresses;
	size_t n_links, max_links;
	size_t n_addresses, max_addresses;
	uint64_t overflows;
	bool lacks_links, lacks_addresses; /* had no room for one */
	bool uid_rules, mark_rules;
};

#define RTMON_ROUTERS_MAX 64

/* Which have an entry that is valid, as far as events told: IPv6. */
struct rtmon_router {
	struct addr addr;
	uint32_t ifindex;
};

struct rtmon {
	struct netlink *command, *events;
	struct rtmon_config config;
	const struct rtmon_ops *ops;
	void *arg;
	struct rtmon_table now;
	struct rtmon_router routers[RTMON_ROUTERS_MAX]; /* that answer */
	unsigned int n_routers, next_router;
	uint64_t resyncs;
	int event_buffer;
	/* Noted in the course of one batch. */
	bool routes_changed, rules_changed, said;
};

struct nlmsghdr;

/* False where the message is short, or not about a link (bridge ports) or an
 * address with a family of ours. The table tells which link is lo. */
bool rtmon_read_link(const struct nlmsghdr *nlh, struct rtmon_link *link);
bool rtmon_read_address(const struct rtmon_table *t,
			const struct nlmsghdr *nlh, struct rtmon_address *to);
/* Notes in the table what kind of rule this is. */
void rtmon_read_rule(const struct rtmon *rt, const struct nlmsghdr *nlh,
		     struct rtmon_table *t);
/* Neither our own nor one that only follows an address. */
bool rtmon_rule_counts(const struct rtmon *rt, const struct nlmsghdr *nlh);
bool rtmon_is_own_table(const struct rtmon *rt, uint32_t table);
bool rtmon_route_counts(const struct rtmon *rt, const struct nlmsghdr *nlh);

const struct rtmon_link *rtmon_find_link(const struct rtmon_table *t,
					 uint32_t ifindex);
/* The place of this link, a zeroed one where it is new; NULL: no room. */
struct rtmon_link *rtmon_place_link(struct rtmon_table *t, uint32_t ifindex);
struct rtmon_address *rtmon_find_address(const struct rtmon_table *t,
					 const struct rtmon_address *a);
bool rtmon_add_address(struct rtmon_table *t, const struct rtmon_address *a);
bool rtmon_same_flags(const struct rtmon_address *a,
		      const struct rtmon_address *b);

/* rtmon_router.c: only routers' neighbour entries are told. 0 or -errno. */
int rtmon_hear_routers(struct rtmon *rt);
/* Is it a router's that did not answer, or was not known to? */
bool rtmon_router_answers(struct rtmon *rt, const struct nlmsghdr *nlh);

void rtmon_free_table(struct rtmon_table *t);

#endif
