/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * route_others: policy rules of others, as the kernel tells of them.
 *
 * Owns the reading. Never changes one.
 */
#include "route.h"

#include "netlink.h"
#include "retain.h"

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

struct look {
	route_other_cb *cb;
	void *arg;
};

static int on_attr(const struct nlattr *attr, void *arg)
{
	const struct nlattr **tb = arg;
	uint16_t type = mnl_attr_get_type(attr);

	if (type <= FRA_PROTOCOL)
		tb[type] = attr;
	return MNL_CB_OK;
}

static uint32_t u32_of(const struct nlattr *attr, uint32_t otherwise)
{
	return attr && mnl_attr_get_payload_len(attr) >= sizeof(uint32_t) ?
		       mnl_attr_get_u32(attr) : otherwise;
}

bool route_read_other(const struct nlmsghdr *nlh, struct route_other *o)
{
	const struct nlattr *tb[FRA_PROTOCOL + 1] = { NULL };
	const struct fib_rule_hdr *hdr = mnl_nlmsg_get_payload(nlh);

	if ((nlh->nlmsg_type != RTM_NEWRULE && nlh->nlmsg_type != RTM_DELRULE) ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*hdr) ||
	    (hdr->family != AF_INET && hdr->family != AF_INET6))
		return false;
	(void)mnl_attr_parse(nlh, sizeof(*hdr), on_attr, tb);
	if (tb[FRA_PROTOCOL] && mnl_attr_get_payload_len(tb[FRA_PROTOCOL]) &&
	    mnl_attr_get_u8(tb[FRA_PROTOCOL]) == RETAIN_PROTO)
		return false;
	memset(o, 0, sizeof(*o));
	o->family = hdr->family;
	o->table = u32_of(tb[FRA_TABLE], hdr->table);
	o->preference = u32_of(tb[FRA_PRIORITY], 0);
	o->mark = u32_of(tb[FRA_FWMARK], 0);
	o->mask = u32_of(tb[FRA_FWMASK], o->mark ? UINT32_MAX : 0);
	return hdr->action != FR_ACT_TO_TBL || o->table != RT_TABLE_LOCAL;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	const struct look *look = arg;
	struct route_other o;

	if (route_read_other(nlh, &o))
		look->cb(&o, look->arg);
	return 0;
}

int route_others(struct netlink *nl, int family, route_other_cb *cb, void *arg)
{
	struct look look = { cb, arg };
	_Alignas(struct nlmsghdr) char buf[64];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct fib_rule_hdr *hdr;

	nlh->nlmsg_type = RTM_GETRULE;
	nlh->nlmsg_flags = NLM_F_DUMP;
	hdr = mnl_nlmsg_put_extra_header(nlh, sizeof(*hdr));
	hdr->family = (uint8_t)family;
	return netlink_request(nl, nlh, on_rule, &look);
}
