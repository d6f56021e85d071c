/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtmon_route: questions about addresses and routes.
 *
 * Owns the route look-up and the choice of a source address. Never changes
 * the tables, never keeps an answer.
 */
#include "rtmon_impl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <string.h>

static bool link_is_up(const struct rtmon *rt, uint32_t ifindex)
{
	const struct rtmon_link *link = rtmon_link(rt, ifindex);

	return link && link->up;
}

static bool is_usable(const struct rtmon *rt, const struct rtmon_address *a)
{
	return !a->tentative && !a->dadfailed && link_is_up(rt, a->ifindex);
}

/* Where one address is on several interfaces: the more, the better. */
static int rank(const struct rtmon *rt, const struct rtmon_address *a)
{
	if (!is_usable(rt, a))
		return 1;
	return a->deprecated ? 2 : 3;
}

const struct rtmon_address *rtmon_find(const struct rtmon *rt,
				       const struct addr *a)
{
	const struct rtmon_address *best = NULL;

	if (addr_classify(a) == ADDR_LOOPBACK)
		return NULL;
	for (size_t i = 0; i < rt->now.n_addresses; i++) {
		const struct rtmon_address *x = &rt->now.addresses[i];

		if (x->retained || !addr_equal(&x->addr, a))
			continue;
		if (!best || rank(rt, x) > rank(rt, best))
			best = x;
	}
	return best;
}

bool rtmon_usable(const struct rtmon *rt, const struct addr *a)
{
	const struct rtmon_address *x = rtmon_find(rt, a);

	return x && is_usable(rt, x);
}

bool rtmon_is_own(const struct rtmon *rt, const struct addr *a)
{
	if (addr_classify(a) == ADDR_LOOPBACK)
		return true;
	for (size_t i = 0; i < rt->now.n_addresses; i++)
		if (addr_equal(&rt->now.addresses[i].addr, a))
			return true;
	return false;
}

static uint32_t as_number(const struct addr *a)
{
	return (uint32_t)a->byte[0] << 24 | (uint32_t)a->byte[1] << 16 |
	       (uint32_t)a->byte[2] << 8 | a->byte[3];
}

bool rtmon_is_broadcast(const struct rtmon *rt, const struct addr *a)
{
	if (a->family != 4)
		return false;
	for (size_t i = 0; i < rt->now.n_addresses; i++) {
		const struct rtmon_address *x = &rt->now.addresses[i];
		uint32_t host;

		/* RFC 3021: both addresses of a /31 are hosts. */
		if (x->addr.family != 4 || x->prefixlen > 30 || x->on_lo)
			continue;
		host = UINT32_MAX >> x->prefixlen;
		if ((as_number(a) & ~host) != (as_number(&x->addr) & ~host))
			continue;
		if ((as_number(a) & host) == 0 || (as_number(a) & host) == host)
			return true;
	}
	return false;
}

/* --- look-up ------------------------------------------------------------- */

static void put_addr(struct nlmsghdr *nlh, uint16_t type, const struct addr *a)
{
	mnl_attr_put(nlh, type, addr_size(a), a->byte);
}

static void get_addr(const struct nlattr *attr, struct addr *a)
{
	size_t len = mnl_attr_get_payload_len(attr);

	if (len != 4 && len != 16)
		return;
	memset(a, 0, sizeof(*a));
	a->family = len == 4 ? 4 : 6;
	memcpy(a->byte, mnl_attr_get_payload(attr), len);
}

/* A gateway of the other family (RFC 5549). */
static void get_via(const struct nlattr *attr, struct addr *a)
{
	const struct rtvia *via = mnl_attr_get_payload(attr);
	size_t len = mnl_attr_get_payload_len(attr);

	if (len != sizeof(*via) + 4 && len != sizeof(*via) + 16)
		return;
	memset(a, 0, sizeof(*a));
	a->family = len == sizeof(*via) + 4 ? 4 : 6;
	memcpy(a->byte, via->rtvia_addr, len - sizeof(*via));
}

static int take_metric(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == RTAX_MTU &&
	    mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		*(uint32_t *)arg = mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static int take_route_attr(const struct nlattr *attr, void *arg)
{
	struct rtmon_route *r = arg;

	switch (mnl_attr_get_type(attr)) {
	case RTA_PREFSRC:
		get_addr(attr, &r->src);
		break;
	case RTA_GATEWAY:
		get_addr(attr, &r->gateway);
		break;
	case RTA_VIA:
		get_via(attr, &r->gateway);
		break;
	case RTA_OIF:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			r->ifindex = mnl_attr_get_u32(attr);
		break;
	case RTA_TABLE:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			r->table = mnl_attr_get_u32(attr);
		break;
	case RTA_METRICS:
		(void)mnl_attr_parse_nested(attr, take_metric, &r->mtu);
		break;
	}
	return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct rtmon_route *r = arg;

	if (nlh->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm))
		return 0;
	r->local = rtm->rtm_type == RTN_LOCAL;
	(void)mnl_attr_parse(nlh, sizeof(*rtm), take_route_attr, r);
	return 0;
}

/* `flags`: RTM_F_*. */
static int ask(struct netlink *nl, const struct rtmon_query *q, uint32_t flags,
	       netlink_callback *cb, void *arg)
{
	_Alignas(struct nlmsghdr) char buf[512];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;

	if (!addr_is_set(&q->dst) ||
	    (addr_is_set(&q->src) && q->src.family != q->dst.family))
		return -EINVAL;
	nlh->nlmsg_type = RTM_GETROUTE;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = (unsigned char)addr_af(&q->dst);
	rtm->rtm_dst_len = (unsigned char)(addr_size(&q->dst) * 8);
	/* IPv6 always names the table, and knows no such flag. */
	rtm->rtm_flags = flags;
	if (q->dst.family == 4)
		rtm->rtm_flags |= RTM_F_LOOKUP_TABLE;
	put_addr(nlh, RTA_DST, &q->dst);
	if (addr_is_set(&q->src)) {
		rtm->rtm_src_len = (unsigned char)(addr_size(&q->src) * 8);
		put_addr(nlh, RTA_SRC, &q->src);
	}
	if (q->mark)
		mnl_attr_put_u32(nlh, RTA_MARK, q->mark);
	if (q->uid != UINT32_MAX)
		mnl_attr_put_u32(nlh, RTA_UID, q->uid);
	if (q->oif)
		mnl_attr_put_u32(nlh, RTA_OIF, q->oif);
	return netlink_request(nl, nlh, cb, arg);
}

int rtmon_ask_route(struct netlink *nl, const struct rtmon_query *q,
		    struct rtmon_route *route)
{
	memset(route, 0, sizeof(*route));
	route->src = q->src;
	return ask(nl, q, 0, on_route, route);
}

int rtmon_lookup(struct rtmon *rt, const struct rtmon_query *q,
		 struct rtmon_route *route)
{
	const struct rtmon_link *link;
	int err = rtmon_ask_route(rt->command, q, route);

	if (err)
		return err;
	if (rtmon_is_own_table(rt, route->table))
		return -ENETUNREACH;
	link = rtmon_link(rt, route->ifindex);
	if (link) {
		route->tunnel = link->tunnel;
		if (!route->mtu)
			route->mtu = link->mtu;
	}
	return 0;
}

/* --- every hop ------------------------------------------------------------ */

struct hops {
	const struct rtmon *rt;
	const struct addr *src;
	uint32_t table;
	bool any, home;
};

/* An address on lo is at home on every interface, except that whoever reaches
 * it around a tunnel gets no answer through one. */
static void take_hop(struct hops *h, uint32_t ifindex)
{
	const struct rtmon *rt = h->rt;
	const struct rtmon_link *link = rtmon_link(rt, ifindex);
	bool tunnel = link && link->tunnel;

	h->any = true;
	for (size_t i = 0; i < rt->now.n_addresses && !h->home; i++) {
		const struct rtmon_address *a = &rt->now.addresses[i];

		h->home = !a->retained && is_usable(rt, a) &&
			  ((a->on_lo && !tunnel) || a->ifindex == ifindex) &&
			  addr_equal(&a->addr, h->src);
	}
}

static int take_hop_attr(const struct nlattr *attr, void *arg)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(attr);
	int left = mnl_attr_get_payload_len(attr);
	struct hops *h = arg;

	switch (mnl_attr_get_type(attr)) {
	case RTA_OIF:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			take_hop(h, mnl_attr_get_u32(attr));
		break;
	case RTA_TABLE:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			h->table = mnl_attr_get_u32(attr);
		break;
	case RTA_MULTIPATH:
		while (RTNH_OK(hop, left)) {
			take_hop(h, (uint32_t)hop->rtnh_ifindex);
			left -= RTNH_ALIGN(hop->rtnh_len);
			hop = RTNH_NEXT(hop);
		}
		break;
	}
	return MNL_CB_OK;
}

static int on_hops(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm) ||
	    rtm->rtm_type == RTN_LOCAL)
		return 0;
	(void)mnl_attr_parse(nlh, sizeof(*rtm), take_hop_attr, arg);
	return 0;
}

int rtmon_leads_home(struct rtmon *rt, const struct rtmon_query *q)
{
	struct hops h = { .rt = rt, .src = &q->src };
	bool hidden;
	int err;

	if (!addr_is_set(&q->src))
		return -EINVAL;
	/* The entry, not what one packet would get: all hops of it. With
	 * net.ipv4.nexthop_compat_mode 0 it names an object instead. */
	err = ask(rt->command, q, RTM_F_FIB_MATCH, on_hops, &h);
	hidden = !err && !h.any;
	if (hidden)
		err = ask(rt->command, q, 0, on_hops, &h);
	if (err)
		return err;
	if (!h.any || rtmon_is_own_table(rt, h.table))
		return -ENETUNREACH;
	return h.home || !hidden ? h.home : -ENODATA;
}

/* --- one interface or another --------------------------------------------- */

struct entry {
	uint32_t table, metric;
	uint8_t prefixlen;
	bool any;
};

static int take_entry_attr(const struct nlattr *attr, void *arg)
{
	struct entry *e = arg;

	if (mnl_attr_validate(attr, MNL_TYPE_U32))
		return MNL_CB_OK;
	if (mnl_attr_get_type(attr) == RTA_TABLE)
		e->table = mnl_attr_get_u32(attr);
	if (mnl_attr_get_type(attr) == RTA_PRIORITY)
		e->metric = mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static int on_entry(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct entry *e = arg;

	if (nlh->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm) ||
	    rtm->rtm_type == RTN_LOCAL)
		return 0;
	e->any = true;
	e->prefixlen = rtm->rtm_dst_len;
	(void)mnl_attr_parse(nlh, sizeof(*rtm), take_entry_attr, e);
	return 0;
}

int rtmon_rank(struct rtmon *rt, const struct rtmon_query *query,
	       uint64_t *rank)
{
	struct rtmon_query q = *query;
	struct entry e = { 0 };
	int err;

	memset(&q.src, 0, sizeof(q.src));
	err = ask(rt->command, &q, RTM_F_FIB_MATCH, on_entry, &e);
	if (err)
		return err;
	if (!e.any || rtmon_is_own_table(rt, e.table))
		return -ENETUNREACH;
	*rank = (uint64_t)(UINT8_MAX - e.prefixlen) << 32 | e.metric;
	return 0;
}

/* --- the choice of a source ---------------------------------------------- */

static bool may_move_to(const struct rtmon *rt, const struct rtmon_address *a,
			const struct addr *dst)
{
	if (!is_usable(rt, a) || a->deprecated || a->retained ||
	    a->addr.family != dst->family ||
	    addr_classify(&a->addr) == ADDR_LOOPBACK)
		return false;
	return addr_classify(&a->addr) != ADDR_LINK_LOCAL ||
	       addr_classify(dst) == ADDR_LINK_LOCAL;
}

static bool in_subnet(const struct rtmon_address *a, const struct addr *x)
{
	uint8_t left = a->prefixlen;

	if (a->addr.family != x->family)
		return false;
	for (size_t i = 0; left > 0 && i < sizeof(x->byte); i++) {
		unsigned bits = left < 8 ? left : 8;
		uint8_t mask = (uint8_t)(0xff00U >> bits);

		if ((a->addr.byte[i] ^ x->byte[i]) & mask)
			return false;
		left = (uint8_t)(left - bits);
	}
	return true;
}

int rtmon_choose_source(struct rtmon *rt, const struct rtmon_query *query,
			struct rtmon_route *route)
{
	const struct rtmon_address *chosen, *other = NULL;
	struct rtmon_query q = *query;
	const struct addr *next;
	int err;

	memset(&q.src, 0, sizeof(q.src));
	err = rtmon_lookup(rt, &q, route);
	if (err)
		return err;
	if (route->local)
		return -EADDRNOTAVAIL;
	chosen = rtmon_find(rt, &route->src);
	if (chosen && may_move_to(rt, chosen, &q.dst))
		return 0;
	next = addr_is_set(&route->gateway) ? &route->gateway : &q.dst;
	for (size_t i = 0; i < rt->now.n_addresses; i++) {
		const struct rtmon_address *a = &rt->now.addresses[i];

		if (a->ifindex != route->ifindex || !may_move_to(rt, a, &q.dst))
			continue;
		if (!other || (!in_subnet(other, next) && in_subnet(a, next)))
			other = a;
	}
	if (!other)
		return -EADDRNOTAVAIL;
	route->src = other->addr;
	return 0;
}
