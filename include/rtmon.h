/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtmon: what the kernel knows of links, addresses, routes and rules.
 *
 * Owns a bounded copy of the links and local addresses of this network
 * namespace, kept by rtnetlink events, and the route look-up. Never changes
 * anything in the kernel (that is `retain`), never decides when a host moves
 * (that is `migrate`).
 */
#ifndef SACIPED_RTMON_H
#define SACIPED_RTMON_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

struct netlink;
struct rtmon;

#define RTMON_ADDRESSES_MAX 8192
#define RTMON_LINKS_MAX 4096
#define RTMON_BUFFER_MAX (64 * 1024 * 1024)

struct rtmon_config {
	/* Routes and rules of these tables are our own work: no event. */
	uint32_t own_table_first, own_table_last;
	/* Receive buffer of the event socket; 0: the default. Doubled, up to
	 * RTMON_BUFFER_MAX, whenever it has overrun. */
	int event_buffer;
};

struct rtmon_link {
	uint32_t ifindex;
	uint32_t mtu;
	char name[IF_NAMESIZE];
	bool loopback;
	bool tunnel; /* tun, tap, wireguard, gre, ipip, sit, vti, xfrm, ... */
	bool up; /* IFF_UP, carrier, operstate up or unknown */
};

struct rtmon_address {
	struct addr addr;
	uint32_t ifindex;
	uint8_t prefixlen;
	bool tentative; /* duplicate address detection is not over */
	bool dadfailed;
	bool deprecated; /* preferred lifetime is over */
	bool temporary; /* RFC 8981 */
	bool permanent; /* no lifetime */
	bool on_lo; /* of the loopback interface, and of no other: not being
		     * on the best route's interface is no reason to move */
	bool retained; /* on lo, with the label of what `retain` keeps: no
			* address for new use */
};

enum rtmon_kind {
	RTMON_ADDR_ADDED, /* address */
	RTMON_ADDR_REMOVED, /* address, as it last was */
	RTMON_ADDR_CHANGED, /* address, before: a flag differs */
	RTMON_LINK_UP, /* link */
	RTMON_LINK_DOWN, /* link; also where it is gone */
	RTMON_LINK_GONE, /* link, as it last was; after LINK_DOWN */
	RTMON_ROUTE_CHANGED, /* once a batch; tables local and own don't count */
	RTMON_RULE_CHANGED, /* once a batch */
	RTMON_ROUTER_ANSWERS, /* one that did not: routes may be others (IPv6) */
	RTMON_RESYNCED, /* events were lost; the differences came before this */
};

struct rtmon_event {
	enum rtmon_kind kind;
	struct rtmon_address address, before;
	struct rtmon_link link;
};

/*
 * `event` once for each change, after the tables show it; `settled` once
 * after the events of one read, where there were any. Neither may close the
 * rtmon or call rtmon_receive(); look-ups are fine.
 */
struct rtmon_ops {
	void (*event)(const struct rtmon_event *event, void *arg);
	void (*settled)(void *arg);
};

/* Opens both sockets and reads the present state, without events. 0/-errno */
int rtmon_open(struct rtmon **rt, const struct rtmon_config *config,
	       const struct rtmon_ops *ops, void *arg);
void rtmon_close(struct rtmon *rt); /* NULL is fine */
/* For EPOLLIN, level-triggered. */
int rtmon_fd(const struct rtmon *rt);
/* Reads what waits; resyncs by itself where events were lost. 0 or -errno:
 * then nothing in the tables may be trusted any more. */
int rtmon_receive(struct rtmon *rt);
/* Reads the whole state anew; differences come as events, then RESYNCED. Where
 * it does not fit the tables, none that was known counts as gone. */
int rtmon_resync(struct rtmon *rt);
/* How often events were lost, and objects that did not fit a table. */
uint64_t rtmon_resyncs(const struct rtmon *rt);
uint64_t rtmon_overflows(const struct rtmon *rt);

/* All local addresses, `n` of them, those of an interface in the order in which
 * it got them; valid until the next receive/resync. */
const struct rtmon_address *rtmon_addresses(const struct rtmon *rt, size_t *n);
/* The address where it can be used, or is to be (tentative, deprecated, link
 * down); the best one where several interfaces have it. NULL where it is
 * nowhere, 127/8 or ::1, or only retained: gone from its interface. */
const struct rtmon_address *rtmon_find(const struct rtmon *rt,
				       const struct addr *a);
/* rtmon_find() knows it, its interface is up, and it is neither tentative nor
 * dadfailed. May be deprecated. */
bool rtmon_usable(const struct rtmon *rt, const struct addr *a);
/* Ours on any interface, lo included, whatever its state (127/8 too). */
bool rtmon_is_own(const struct rtmon *rt, const struct addr *a);
/* The broadcast or network address of a subnet of ours (IPv4). */
bool rtmon_is_broadcast(const struct rtmon *rt, const struct addr *a);

/* NULL where there is none. */
const struct rtmon_link *rtmon_link(const struct rtmon *rt, uint32_t ifindex);
const struct rtmon_link *rtmon_link_by_name(const struct rtmon *rt,
					    const char *name);

/* Rules by user exist: look-ups need the socket's uid, flows of two users may
 * go their own ways. Likewise for marks (rules of own tables don't count). */
bool rtmon_has_uid_rules(const struct rtmon *rt);
bool rtmon_has_mark_rules(const struct rtmon *rt);

struct rtmon_query {
	struct addr dst;
	struct addr src; /* unset: the kernel chooses */
	uint32_t mark;
	uint32_t uid; /* (uint32_t)-1: not given */
	uint32_t oif; /* 0: any */
};

struct rtmon_route {
	struct addr src; /* the source that the kernel would take; may be unset */
	struct addr gateway; /* unset: on link */
	uint32_t ifindex;
	uint32_t mtu; /* of the route, learned on the path, or the link's */
	uint32_t table;
	bool local; /* the destination is this host */
	bool tunnel; /* the interface is a tunnel */
};

/*
 * Asks the kernel for the route (RTM_GETROUTE). 0, or -errno as the route
 * says: -ENETUNREACH (also where only a table of our own has one),
 * -EHOSTUNREACH (unreachable), -EACCES (prohibit), -EINVAL (blackhole; or
 * families differ).
 */
int rtmon_lookup(struct rtmon *rt, const struct rtmon_query *query,
		 struct rtmon_route *route);
/*
 * Do packets from `query->src` leave by an interface that has it? By one hop
 * of a multipath route is enough, and an address on lo is on all of them but
 * tunnels. 1 yes, 0 no, -errno as above: no route, or to this host; -ENODATA:
 * the kernel names a nexthop object, and the hop that one packet takes is
 * another's.
 */
int rtmon_leads_home(struct rtmon *rt, const struct rtmon_query *query);
/*
 * How good is the way by the interface `query->oif`, without a source: the less
 * `*rank` is, the sooner the kernel takes it, the longest prefix first, then
 * the least metric. 0 or -errno as above.
 */
int rtmon_rank(struct rtmon *rt, const struct rtmon_query *query,
	       uint64_t *rank);
/*
 * rtmon_lookup() by anybody's routing socket: what only the links tell is left
 * out (`tunnel`; `mtu` is 0 where it is the link's). Where an interface was asked
 * for and no route leads out of it, the kernel takes IPv4 destinations to be
 * on its link: `table` is 0 then.
 */
int rtmon_ask_route(struct netlink *nl, const struct rtmon_query *query,
		    struct rtmon_route *route);
/*
 * As rtmon_lookup() without a source, but `route->src` is an address to move
 * to: usable, not deprecated, no link-local one for a destination that is not.
 * Where the kernel's choice is none such, another address of the same
 * interface is taken, one of the gateway's subnet first.
 * -EADDRNOTAVAIL where there is none, or where the destination is this host.
 */
int rtmon_choose_source(struct rtmon *rt, const struct rtmon_query *query,
			struct rtmon_route *route);

#endif
