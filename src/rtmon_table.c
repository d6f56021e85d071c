/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtmon_table: links and addresses as the kernel describes them.
 *
 * Owns the reading of rtnetlink messages and the bounded tables. Never asks
 * the kernel, never tells anybody.
 */
#include "retain.h" /* RETAIN_LABEL */
#include "rtmon_impl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#define GROW_BY 16

/* Highest attribute of each kind that is looked at, plus one. */
enum {
	LINK_ATTRS = IFLA_LINKINFO + 1,
	ADDRESS_ATTRS = IFA_FLAGS + 1,
	RULE_ATTRS = FRA_UID_RANGE + 1,
	ROUTE_ATTRS = RTA_TABLE + 1,
};

struct attrs {
	const struct nlattr **by_type;
	unsigned n;
};

static int take_attr(const struct nlattr *attr, void *arg)
{
	const struct attrs *a = arg;
	unsigned type = mnl_attr_get_type(attr);

	if (type < a->n)
		a->by_type[type] = attr;
	return MNL_CB_OK;
}

/* Fills by_type[n] from what follows a header of `header` bytes. */
static void read_attrs(const struct nlmsghdr *nlh, size_t header,
		       const struct nlattr **by_type, unsigned n)
{
	struct attrs a = { by_type, n };

	memset(by_type, 0, n * sizeof(*by_type));
	if (mnl_nlmsg_get_payload_len(nlh) >= header)
		(void)mnl_attr_parse(nlh, (unsigned)header, take_attr, &a);
}

static uint32_t get_u32(const struct nlattr *attr, uint32_t otherwise)
{
	if (!attr || mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
		return otherwise;
	return mnl_attr_get_u32(attr);
}

static bool get_addr(const struct nlattr *attr, uint8_t family, struct addr *a)
{
	struct in6_addr in6;
	uint32_t in4;

	if (!attr)
		return false;
	if (family == AF_INET && mnl_attr_get_payload_len(attr) == 4) {
		memcpy(&in4, mnl_attr_get_payload(attr), sizeof(in4));
		*a = addr_from_in4(in4);
		return true;
	}
	if (family == AF_INET6 && mnl_attr_get_payload_len(attr) == 16) {
		memcpy(&in6, mnl_attr_get_payload(attr), sizeof(in6));
		*a = addr_from_in6(&in6);
		return true;
	}
	return false;
}

bool rtmon_is_own_table(const struct rtmon *rt, uint32_t table)
{
	return table && table >= rt->config.own_table_first &&
	       table <= rt->config.own_table_last;
}

/* --- reading messages ---------------------------------------------------- */

static int kind_is_tunnel(const struct nlattr *attr, void *arg)
{
	static const char *const kinds[] = {
		"tun",	 "wireguard", "gre",  "gretap", "ip6gre", "ip6gretap",
		"erspan", "ip6erspan", "ipip", "ip6tnl", "sit",	  "vti",
		"vti6",	 "xfrm",      "ovpn", "geneve", "vxlan",
	};
	bool *tunnel = arg;

	if (mnl_attr_get_type(attr) != IFLA_INFO_KIND ||
	    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0)
		return MNL_CB_OK;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(mnl_attr_get_str(attr), kinds[i]) == 0)
			*tunnel = true;
	return MNL_CB_OK;
}

/* False for what is not about the link itself (bridge ports, ...). */
bool rtmon_read_link(const struct nlmsghdr *nlh, struct rtmon_link *link)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a[LINK_ATTRS];
	const unsigned need = IFF_UP | IFF_LOWER_UP;
	uint8_t state = IF_OPER_UNKNOWN;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi) ||
	    ifi->ifi_family != AF_UNSPEC || ifi->ifi_index <= 0)
		return false;
	read_attrs(nlh, sizeof(*ifi), a, LINK_ATTRS);
	memset(link, 0, sizeof(*link));
	link->ifindex = (uint32_t)ifi->ifi_index;
	link->mtu = get_u32(a[IFLA_MTU], 0);
	if (a[IFLA_IFNAME])
		strncpy(link->name, mnl_attr_get_str(a[IFLA_IFNAME]),
			sizeof(link->name) - 1);
	if (a[IFLA_OPERSTATE])
		state = mnl_attr_get_u8(a[IFLA_OPERSTATE]);
	if (a[IFLA_LINKINFO])
		(void)mnl_attr_parse_nested(a[IFLA_LINKINFO], kind_is_tunnel,
					    &link->tunnel);
	link->loopback = ifi->ifi_flags & IFF_LOOPBACK;
	link->up = (ifi->ifi_flags & need) == need &&
		   (state == IF_OPER_UP || state == IF_OPER_UNKNOWN);
	return true;
}

const struct rtmon_link *rtmon_find_link(const struct rtmon_table *t,
					  uint32_t ifindex)
{
	for (size_t i = 0; i < t->n_links; i++)
		if (t->links[i].ifindex == ifindex)
			return &t->links[i];
	return NULL;
}

bool rtmon_read_address(const struct rtmon_table *t,
			 const struct nlmsghdr *nlh, struct rtmon_address *to)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a[ADDRESS_ATTRS];
	const struct rtmon_link *link;
	uint32_t flags;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifa))
		return false;
	read_attrs(nlh, sizeof(*ifa), a, ADDRESS_ATTRS);
	memset(to, 0, sizeof(*to));
	/* With a point-to-point peer IFA_ADDRESS is the peer. */
	if (!get_addr(a[IFA_LOCAL], ifa->ifa_family, &to->addr) &&
	    !get_addr(a[IFA_ADDRESS], ifa->ifa_family, &to->addr))
		return false;
	flags = get_u32(a[IFA_FLAGS], ifa->ifa_flags);
	to->ifindex = ifa->ifa_index;
	to->prefixlen = ifa->ifa_prefixlen;
	to->tentative = flags & IFA_F_TENTATIVE;
	to->dadfailed = flags & IFA_F_DADFAILED;
	to->deprecated = flags & IFA_F_DEPRECATED;
	/* The same bit says "secondary" of an IPv4 address. */
	to->temporary = ifa->ifa_family == AF_INET6 && flags & IFA_F_TEMPORARY;
	to->permanent = flags & IFA_F_PERMANENT;
	link = rtmon_find_link(t, ifa->ifa_index);
	to->on_lo = link && link->loopback;
	to->retained = to->on_lo && a[IFA_LABEL] &&
		       mnl_attr_validate(a[IFA_LABEL],
					 MNL_TYPE_NUL_STRING) == 0 &&
		       !strcmp(mnl_attr_get_str(a[IFA_LABEL]), RETAIN_LABEL);
	return true;
}

/* Rules that make look-ups of two sockets differ. */
void rtmon_read_rule(const struct rtmon *rt, const struct nlmsghdr *nlh,
		      struct rtmon_table *t)
{
	const struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a[RULE_ATTRS];

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*frh) ||
	    (frh->family != AF_INET && frh->family != AF_INET6))
		return;
	read_attrs(nlh, sizeof(*frh), a, RULE_ATTRS);
	if (rtmon_is_own_table(rt, get_u32(a[FRA_TABLE], frh->table)))
		return;
	if (a[FRA_UID_RANGE])
		t->uid_rules = true;
	if (a[FRA_FWMARK] || a[FRA_FWMASK])
		t->mark_rules = true;
}

bool rtmon_rule_counts(const struct rtmon *rt, const struct nlmsghdr *nlh)
{
	const struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a[RULE_ATTRS];

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*frh))
		return false;
	read_attrs(nlh, sizeof(*frh), a, RULE_ATTRS);
	return !rtmon_is_own_table(rt, get_u32(a[FRA_TABLE], frh->table));
}

/* Table local follows the addresses, whose events tell more. */
bool rtmon_route_counts(const struct rtmon *rt, const struct nlmsghdr *nlh)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a[ROUTE_ATTRS];
	uint32_t table;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm) ||
	    rtm->rtm_flags & RTM_F_CLONED || rtm->rtm_type == RTN_MULTICAST)
		return false;
	read_attrs(nlh, sizeof(*rtm), a, ROUTE_ATTRS);
	table = get_u32(a[RTA_TABLE], rtm->rtm_table);
	return table != RT_TABLE_LOCAL && !rtmon_is_own_table(rt, table);
}

/* --- the tables ---------------------------------------------------------- */

/* Room for one more of `size` bytes, or -ENOSPC, -ENOMEM. */
static int grow(void **array, size_t n, size_t *max, size_t size, size_t bound)
{
	size_t want = *max ? *max * 2 : GROW_BY;
	void *larger;

	if (n < *max)
		return 0;
	if (n >= bound)
		return -ENOSPC;
	if (want > bound)
		want = bound;
	larger = reallocarray(*array, want, size);
	if (!larger)
		return -ENOMEM;
	*array = larger;
	*max = want;
	return 0;
}

/* The place of this link; NULL where the table is full. */
struct rtmon_link *rtmon_place_link(struct rtmon_table *t, uint32_t ifindex)
{
	void *array = t->links;
	struct rtmon_link *link;

	for (size_t i = 0; i < t->n_links; i++)
		if (t->links[i].ifindex == ifindex)
			return &t->links[i];
	if (grow(&array, t->n_links, &t->max_links, sizeof(*t->links),
		 RTMON_LINKS_MAX) < 0) {
		t->overflows++;
		t->lacks_links = true;
		return NULL;
	}
	t->links = array;
	link = &t->links[t->n_links++];
	memset(link, 0, sizeof(*link));
	return link;
}

/* An address may be on two interfaces, on one with two masks, and on lo as
 * another's and as retained. */
static bool same_address(const struct rtmon_address *a,
			 const struct rtmon_address *b)
{
	return a->ifindex == b->ifindex && a->prefixlen == b->prefixlen &&
	       a->retained == b->retained && addr_equal(&a->addr, &b->addr);
}

bool rtmon_same_flags(const struct rtmon_address *a,
		       const struct rtmon_address *b)
{
	return a->tentative == b->tentative && a->dadfailed == b->dadfailed &&
	       a->deprecated == b->deprecated &&
	       a->temporary == b->temporary && a->permanent == b->permanent;
}

struct rtmon_address *rtmon_find_address(const struct rtmon_table *t,
					  const struct rtmon_address *a)
{
	for (size_t i = 0; i < t->n_addresses; i++)
		if (same_address(&t->addresses[i], a))
			return &t->addresses[i];
	return NULL;
}

bool rtmon_add_address(struct rtmon_table *t, const struct rtmon_address *a)
{
	void *array = t->addresses;

	if (grow(&array, t->n_addresses, &t->max_addresses,
		 sizeof(*t->addresses), RTMON_ADDRESSES_MAX) < 0) {
		t->overflows++;
		t->lacks_addresses = true;
		return false;
	}
	t->addresses = array;
	t->addresses[t->n_addresses++] = *a;
	return true;
}

void rtmon_free_table(struct rtmon_table *t)
{
	free(t->links);
	free(t->addresses);
	memset(t, 0, sizeof(*t));
}
