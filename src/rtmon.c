/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtmon: what the kernel knows of links, addresses, routes and rules.
 *
 * Owns the sockets, the events that keep the tables, and what is told of
 * them. Never changes anything in the kernel, never decides when a host moves.
 */
#include "rtmon_impl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_BUFFER (8 * 1024 * 1024)

/* --- telling ------------------------------------------------------------- */

static void tell(struct rtmon *rt, enum rtmon_kind kind,
		 const struct rtmon_address *address,
		 const struct rtmon_address *before,
		 const struct rtmon_link *link)
{
	struct rtmon_event e;

	memset(&e, 0, sizeof(e));
	e.kind = kind;
	if (address)
		e.address = *address;
	if (before)
		e.before = *before;
	if (link)
		e.link = *link;
	rt->said = true;
	rt->ops->event(&e, rt->arg);
}

static void tell_address(struct rtmon *rt, const struct rtmon_address *now,
			 const struct rtmon_address *before)
{
	if (!before)
		tell(rt, RTMON_ADDR_ADDED, now, NULL, NULL);
	else if (!rtmon_same_flags(now, before))
		tell(rt, RTMON_ADDR_CHANGED, now, before, NULL);
}

static void tell_link(struct rtmon *rt, const struct rtmon_link *now,
		      bool was_up, uint32_t old_mtu)
{
	if (now->up != was_up)
		tell(rt, now->up ? RTMON_LINK_UP : RTMON_LINK_DOWN, NULL, NULL,
		     now);
	if (old_mtu && now->mtu != old_mtu)
		rt->routes_changed = true;
}

static void tell_gone(struct rtmon *rt, const struct rtmon_link *was)
{
	struct rtmon_link link = *was;

	link.up = false;
	if (was->up)
		tell(rt, RTMON_LINK_DOWN, NULL, NULL, &link);
	tell(rt, RTMON_LINK_GONE, NULL, NULL, &link);
}

/* --- events -------------------------------------------------------------- */

static void on_new_link(struct rtmon *rt, const struct nlmsghdr *nlh)
{
	struct rtmon_link link, before, *place;

	if (!rtmon_read_link(nlh, &link))
		return;
	place = rtmon_place_link(&rt->now, link.ifindex);
	if (!place)
		return;
	before = *place;
	*place = link;
	tell_link(rt, &link, before.up, before.mtu);
}

static void remove_address(struct rtmon *rt, struct rtmon_address *place)
{
	const struct rtmon_address gone = *place;
	struct rtmon_table *t = &rt->now;

	memmove(place, place + 1, (size_t)(t->addresses + --t->n_addresses -
					   place) * sizeof(*place));
	tell(rt, RTMON_ADDR_REMOVED, &gone, NULL, NULL);
}

static void on_del_link(struct rtmon *rt, const struct nlmsghdr *nlh)
{
	struct rtmon_table *t = &rt->now;
	struct rtmon_link link, *place;

	if (!rtmon_read_link(nlh, &link) || !rtmon_find_link(t, link.ifindex))
		return;
	place = rtmon_place_link(t, link.ifindex);
	link = *place;
	*place = t->links[--t->n_links];
	/* Their own events came first, but nobody promises it. */
	for (size_t i = t->n_addresses; i-- > 0;)
		if (t->addresses[i].ifindex == link.ifindex)
			remove_address(rt, &t->addresses[i]);
	tell_gone(rt, &link);
}

static void on_new_address(struct rtmon *rt, const struct nlmsghdr *nlh)
{
	struct rtmon_address now, before, *place;

	if (!rtmon_read_address(&rt->now, nlh, &now))
		return;
	place = rtmon_find_address(&rt->now, &now);
	if (place) {
		before = *place;
		*place = now;
		tell_address(rt, &now, &before);
	} else if (rtmon_add_address(&rt->now, &now)) {
		tell_address(rt, &now, NULL);
	}
}

static void on_del_address(struct rtmon *rt, const struct nlmsghdr *nlh)
{
	struct rtmon_address gone, *place;

	if (!rtmon_read_address(&rt->now, nlh, &gone))
		return;
	place = rtmon_find_address(&rt->now, &gone);
	if (place)
		remove_address(rt, place);
}

static int on_event(const struct nlmsghdr *nlh, void *arg)
{
	struct rtmon *rt = arg;

	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
		on_new_link(rt, nlh);
		break;
	case RTM_DELLINK:
		on_del_link(rt, nlh);
		break;
	case RTM_NEWADDR:
		on_new_address(rt, nlh);
		break;
	case RTM_DELADDR:
		on_del_address(rt, nlh);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (rtmon_route_counts(rt, nlh))
			rt->routes_changed = true;
		break;
	/* Routes through a nexthop object change with it, without a word. */
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		rt->routes_changed = true;
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		if (rtmon_router_answers(rt, nlh))
			tell(rt, RTMON_ROUTER_ANSWERS, NULL, NULL, NULL);
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		if (rtmon_rule_counts(rt, nlh))
			rt->rules_changed = true;
		break;
	}
	return 0;
}

/* --- dumps --------------------------------------------------------------- */

struct fill {
	struct rtmon *rt;
	struct rtmon_table *table;
};

static int on_object(const struct nlmsghdr *nlh, void *arg)
{
	const struct fill *f = arg;
	struct rtmon_address address, *known;
	struct rtmon_link link, *place;

	if (nlh->nlmsg_type == RTM_NEWLINK && rtmon_read_link(nlh, &link)) {
		place = rtmon_place_link(f->table, link.ifindex);
		if (place)
			*place = link;
	} else if (nlh->nlmsg_type == RTM_NEWADDR &&
		   rtmon_read_address(f->table, nlh, &address)) {
		/* A dump that was taken again shows it twice. */
		known = rtmon_find_address(f->table, &address);
		if (known)
			*known = address;
		else
			(void)rtmon_add_address(f->table, &address);
	} else if (nlh->nlmsg_type == RTM_NEWRULE) {
		rtmon_read_rule(f->rt, nlh, f->table);
	}
	return 0;
}

static int dump(struct rtmon *rt, uint16_t type, size_t header,
		struct rtmon_table *to)
{
	struct fill f = { rt, to };
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_DUMP;
	memset(mnl_nlmsg_put_extra_header(nlh, header), 0, header);
	if (type == RTM_GETLINK)
		mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return netlink_request(rt->command, nlh, on_object, &f);
}

static int dump_rules(struct rtmon *rt, struct rtmon_table *to)
{
	int err;

	to->uid_rules = to->mark_rules = false;
	err = dump(rt, RTM_GETRULE, sizeof(struct fib_rule_hdr), to);
	return err == -EOPNOTSUPP ? 0 : err; /* no policy routing here */
}

/* Links first: what lo is must be known for the addresses. */
static int dump_all(struct rtmon *rt, struct rtmon_table *to)
{
	int err = dump(rt, RTM_GETLINK, sizeof(struct ifinfomsg), to);

	if (!err)
		err = dump(rt, RTM_GETADDR, sizeof(struct ifaddrmsg), to);
	if (!err)
		err = dump_rules(rt, to);
	return err;
}

static void tell_differences(struct rtmon *rt, const struct rtmon_table *old)
{
	const struct rtmon_table *now = &rt->now;

	for (size_t i = 0; i < now->n_links; i++) {
		const struct rtmon_link *was =
			rtmon_find_link(old, now->links[i].ifindex);

		tell_link(rt, &now->links[i], was && was->up,
			  was ? was->mtu : 0);
	}
	for (size_t i = 0; i < now->n_addresses; i++)
		tell_address(rt, &now->addresses[i],
			     rtmon_find_address(old, &now->addresses[i]));
	for (size_t i = 0; i < old->n_addresses; i++)
		if (!rtmon_find_address(now, &old->addresses[i]))
			tell(rt, RTMON_ADDR_REMOVED, &old->addresses[i], NULL,
			     NULL);
	for (size_t i = 0; i < old->n_links; i++)
		if (!rtmon_find_link(now, old->links[i].ifindex))
			tell_gone(rt, &old->links[i]);
}

/* Those that `old` knows in place of those that it does not. */
static int keep_links(struct rtmon_table *fresh, const struct rtmon_table *old)
{
	size_t at = fresh->n_links;

	for (size_t i = 0; i < old->n_links; i++) {
		if (rtmon_find_link(fresh, old->links[i].ifindex))
			continue;
		while (at &&
		       rtmon_find_link(old, fresh->links[at - 1].ifindex))
			at--;
		if (!at)
			return -ENOMEM;
		fresh->links[--at] = old->links[i];
	}
	return 0;
}

static int keep_addresses(struct rtmon_table *fresh,
			  const struct rtmon_table *old)
{
	size_t at = fresh->n_addresses;

	for (size_t i = 0; i < old->n_addresses; i++) {
		const struct rtmon_address *a = &old->addresses[i];

		if (!rtmon_find_link(fresh, a->ifindex) ||
		    rtmon_find_address(fresh, a))
			continue;
		while (at && rtmon_find_address(
				       old, &fresh->addresses[at - 1]))
			at--;
		if (!at)
			return -ENOMEM;
		fresh->addresses[--at] = *a;
	}
	return 0;
}

/*
 * What a dump that did not fit lacks is not gone: what was known stays known,
 * until its own event says that it goes, or a dump that fits. A full table has
 * room for all of it; one that is smaller is short of memory.
 */
static int keep_known(struct rtmon_table *fresh, const struct rtmon_table *old)
{
	int err = fresh->lacks_links ? keep_links(fresh, old) : 0;

	if (!err && fresh->lacks_addresses)
		err = keep_addresses(fresh, old);
	return err;
}

/* What waits is older than the dump and must not be applied after it. */
static int read_anew(struct rtmon *rt)
{
	struct rtmon_table fresh = { .overflows = rt->now.overflows };
	struct rtmon_table old;
	int err = netlink_discard(rt->events);

	if (!err)
		err = dump_all(rt, &fresh);
	if (!err)
		err = keep_known(&fresh, &rt->now);
	if (err) {
		rtmon_free_table(&fresh);
		return err;
	}
	old = rt->now;
	rt->now = fresh;
	tell_differences(rt, &old);
	rtmon_free_table(&old);
	rt->routes_changed = rt->rules_changed = true;
	rt->n_routers = 0;
	return 0;
}

static int settle(struct rtmon *rt)
{
	int err = 0;

	if (rt->rules_changed) {
		err = dump_rules(rt, &rt->now);
		tell(rt, RTMON_RULE_CHANGED, NULL, NULL, NULL);
	}
	if (rt->routes_changed)
		tell(rt, RTMON_ROUTE_CHANGED, NULL, NULL, NULL);
	if (rt->said)
		rt->ops->settled(rt->arg);
	rt->routes_changed = rt->rules_changed = rt->said = false;
	return err;
}

int rtmon_resync(struct rtmon *rt)
{
	int err = read_anew(rt);

	if (err)
		return err;
	tell(rt, RTMON_RESYNCED, NULL, NULL, NULL);
	return settle(rt);
}

int rtmon_receive(struct rtmon *rt)
{
	int err = netlink_receive(rt->events, on_event, rt);

	/* ENOSPC: an event too long to be read is a lost one as well. */
	if (err != -ENOBUFS && err != -ENOSPC)
		return err ? err : settle(rt);
	rt->resyncs++;
	if (rt->event_buffer <= RTMON_BUFFER_MAX / 2) {
		rt->event_buffer *= 2;
		(void)netlink_set_buffer(rt->events, rt->event_buffer);
	}
	return rtmon_resync(rt);
}

/* --- life and questions -------------------------------------------------- */

int rtmon_open(struct rtmon **out, const struct rtmon_config *config,
	       const struct rtmon_ops *ops, void *arg)
{
	static const unsigned groups[] = {
		RTNLGRP_LINK,	     RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
		RTNLGRP_IPV4_ROUTE,  RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,
		RTNLGRP_IPV6_RULE,   RTNLGRP_NEXTHOP,	  RTNLGRP_NEIGH,
	};
	struct rtmon *rt = calloc(1, sizeof(*rt));
	int err;

	if (!rt)
		return -ENOMEM;
	rt->config = *config;
	rt->ops = ops;
	rt->arg = arg;
	rt->event_buffer = config->event_buffer ? config->event_buffer :
						  EVENT_BUFFER;
	err = netlink_open(&rt->command, NETLINK_ROUTE, NULL, 0);
	if (!err)
		err = netlink_open(&rt->events, NETLINK_ROUTE, groups,
				   sizeof(groups) / sizeof(groups[0]));
	if (!err)
		err = rtmon_hear_routers(rt);
	if (!err)
		err = netlink_set_buffer(rt->events, rt->event_buffer);
	if (!err)
		err = dump_all(rt, &rt->now);
	if (err) {
		rtmon_close(rt);
		return err;
	}
	*out = rt;
	return 0;
}

void rtmon_close(struct rtmon *rt)
{
	if (!rt)
		return;
	netlink_close(rt->events);
	netlink_close(rt->command);
	rtmon_free_table(&rt->now);
	free(rt);
}

int rtmon_fd(const struct rtmon *rt)
{
	return netlink_fd(rt->events);
}

uint64_t rtmon_resyncs(const struct rtmon *rt)
{
	return rt->resyncs;
}

uint64_t rtmon_overflows(const struct rtmon *rt)
{
	return rt->now.overflows;
}

bool rtmon_has_uid_rules(const struct rtmon *rt)
{
	return rt->now.uid_rules;
}

bool rtmon_has_mark_rules(const struct rtmon *rt)
{
	return rt->now.mark_rules;
}

const struct rtmon_address *rtmon_addresses(const struct rtmon *rt, size_t *n)
{
	*n = rt->now.n_addresses;
	return rt->now.addresses;
}

const struct rtmon_link *rtmon_link(const struct rtmon *rt, uint32_t ifindex)
{
	return rtmon_find_link(&rt->now, ifindex);
}

const struct rtmon_link *rtmon_link_by_name(const struct rtmon *rt,
					    const char *name)
{
	for (size_t i = 0; i < rt->now.n_links; i++)
		if (strcmp(rt->now.links[i].name, name) == 0)
			return &rt->now.links[i];
	return NULL;
}
