/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * route: one change of addresses, rules or routes by rtnetlink per call.
 *
 * Owns the form of the messages and our sign on them. Keeps nothing.
 */
#include "route.h"

#include "netlink.h"
#include "retain.h"
#include "route_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#define SINK_MTU 65535 /* that of the path is in the routes */
#define SWEEP_MAX 128 /* objects that one dump collects for removal */
#define SWEEP_ROUNDS 1024 /* dumps, at most, until none is left */
#define SWEEP_STUCK 64 /* of them that begin with the same: ways of a peer */
#define FAR_ENDS 16 /* of a copy, to choose from */

/* The body that follows the header, zeroed. */
static void *start(union route_message *m, uint16_t type, uint16_t flags,
		   size_t body)
{
	mnl_nlmsg_put_header(m);
	m->nlh.nlmsg_type = type;
	m->nlh.nlmsg_flags = flags;
	return mnl_nlmsg_put_extra_header(&m->nlh, body);
}

static void put_addr(union route_message *m, uint16_t type, const struct addr *a)
{
	mnl_attr_put(&m->nlh, type, addr_size(a), a->byte);
}

static int ask(struct netlink *nl, union route_message *m)
{
	int err = netlink_request(nl, &m->nlh, NULL, NULL);
	uint16_t type = m->nlh.nlmsg_type;

	switch (err) {
	case -ENOENT: /* rules */
	case -ESRCH: /* routes */
	case -EADDRNOTAVAIL: /* addresses */
	case -ENODEV: /* links; routes whose interface is gone */
		return type == RTM_DELRULE || type == RTM_DELROUTE ||
				       type == RTM_DELADDR ||
				       type == RTM_DELLINK ?
			       0 :
			       err;
	default:
		return err;
	}
}

/* --- rules ---------------------------------------------------------------- */

static int change_rule(struct netlink *nl, uint16_t type, uint16_t flags,
		       const struct route_rule *r)
{
	union route_message m;
	struct fib_rule_hdr *rule = start(&m, type, flags, sizeof(*rule));

	rule->family = (uint8_t)r->family;
	rule->action = FR_ACT_TO_TBL;
	rule->table = r->table < 256 ? (uint8_t)r->table : RT_TABLE_UNSPEC;
	mnl_attr_put_u32(&m.nlh, FRA_TABLE, r->table);
	mnl_attr_put_u32(&m.nlh, FRA_PRIORITY, r->preference);
	mnl_attr_put_u8(&m.nlh, FRA_PROTOCOL, RETAIN_PROTO);
	if (addr_is_set(&r->from)) {
		rule->src_len = (uint8_t)(addr_size(&r->from) * 8);
		put_addr(&m, FRA_SRC, &r->from);
	}
	if (r->mark) {
		mnl_attr_put_u32(&m.nlh, FRA_FWMARK, r->mark);
		mnl_attr_put_u32(&m.nlh, FRA_FWMASK, r->mark);
	}
	return ask(nl, &m);
}

int route_put_rule(struct netlink *nl, const struct route_rule *r)
{
	int err = change_rule(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, r);

	return err == -EEXIST ? 0 : err;
}

int route_del_rule(struct netlink *nl, const struct route_rule *r)
{
	return change_rule(nl, RTM_DELRULE, 0, r);
}

/* --- routes --------------------------------------------------------------- */

static struct rtmsg *start_route(union route_message *m, uint16_t type,
				 uint16_t flags, const struct addr *to,
				 uint32_t table)
{
	struct rtmsg *rt = start(m, type, flags, sizeof(*rt));

	rt->rtm_family = (uint8_t)addr_af(to);
	rt->rtm_dst_len = (uint8_t)(addr_size(to) * 8);
	rt->rtm_table = table < 256 ? (uint8_t)table : RT_TABLE_UNSPEC;
	mnl_attr_put_u32(&m->nlh, RTA_TABLE, table);
	put_addr(m, RTA_DST, to);
	return rt;
}

static void put_metric(union route_message *m, const struct route_entry *r)
{
	if (r->metric)
		mnl_attr_put_u32(&m->nlh, RTA_PRIORITY, r->metric);
}

static void put_gateway(union route_message *m, int family,
			const struct addr *a)
{
	uint8_t bytes[sizeof(struct rtvia) + sizeof(a->byte)];
	struct rtvia via = { .rtvia_family = (uint16_t)addr_af(a) };

	if (addr_af(a) == family) {
		put_addr(m, RTA_GATEWAY, a);
		return;
	}
	memcpy(bytes, &via, sizeof(via));
	memcpy(bytes + sizeof(via), a->byte, addr_size(a));
	mnl_attr_put(&m->nlh, RTA_VIA, sizeof(via) + addr_size(a), bytes);
}

/* A gateway is on the link: where no route in table main says so, the kernel
 * would refuse what another table's real route has. */
static void put_hops(union route_message *m, struct rtmsg *rt,
		     const struct route_entry *r)
{
	struct nlattr *nest;

	if (r->hops == 1) {
		mnl_attr_put_u32(&m->nlh, RTA_OIF, r->hop[0].ifindex);
		if (!addr_is_set(&r->hop[0].gateway))
			return;
		rt->rtm_flags |= RTNH_F_ONLINK;
		put_gateway(m, rt->rtm_family, &r->hop[0].gateway);
		return;
	}
	nest = mnl_attr_nest_start(&m->nlh, RTA_MULTIPATH);
	for (unsigned int i = 0; i < r->hops; i++) {
		struct rtnexthop *hop = mnl_nlmsg_get_payload_tail(&m->nlh);

		memset(hop, 0, sizeof(*hop));
		hop->rtnh_ifindex = (int)r->hop[i].ifindex;
		if (i + 1 == r->hops)
			hop->rtnh_hops = UINT8_MAX;
		m->nlh.nlmsg_len += (uint32_t)sizeof(*hop);
		if (addr_is_set(&r->hop[i].gateway)) {
			hop->rtnh_flags = RTNH_F_ONLINK;
			put_gateway(m, rt->rtm_family, &r->hop[i].gateway);
		}
		hop->rtnh_len = (uint16_t)((uint8_t *)mnl_nlmsg_get_payload_tail(
						   &m->nlh) - (uint8_t *)hop);
	}
	mnl_attr_nest_end(&m->nlh, nest);
}

static uint8_t scope_of(const struct route_entry *r)
{
	if (r->local)
		return RT_SCOPE_HOST;
	for (unsigned int i = 0; i < r->hops; i++)
		if (addr_is_set(&r->hop[i].gateway))
			return RT_SCOPE_UNIVERSE;
	return RT_SCOPE_LINK;
}

int route_build_entry(union route_message *m, const struct route_entry *r)
{
	struct rtmsg *rt;
	struct nlattr *nest;

	if (!r->hops || r->hops > ROUTE_HOPS_MAX)
		return -EINVAL;
	rt = start_route(m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE,
			 &r->to, r->table);
	rt->rtm_protocol = RETAIN_PROTO;
	rt->rtm_type = r->local ? RTN_LOCAL : RTN_UNICAST;
	rt->rtm_scope = scope_of(r);
	put_metric(m, r);
	put_hops(m, rt, r);
	if (addr_is_set(&r->src))
		put_addr(m, RTA_PREFSRC, &r->src);
	if (r->mtu) {
		nest = mnl_attr_nest_start(&m->nlh, RTA_METRICS);
		mnl_attr_put_u32(&m->nlh, RTAX_MTU, r->mtu);
		mnl_attr_nest_end(&m->nlh, nest);
	}
	return 0;
}

int route_put_entry(struct netlink *nl, const struct route_entry *r)
{
	union route_message m;
	int err = route_build_entry(&m, r);

	return err ? err : ask(nl, &m);
}

int route_del_entry(struct netlink *nl, const struct route_entry *r)
{
	union route_message m;
	struct rtmsg *rt = start_route(&m, RTM_DELROUTE, 0, &r->to, r->table);

	rt->rtm_protocol = RETAIN_PROTO;
	rt->rtm_type = r->local ? RTN_LOCAL : RTN_UNICAST;
	rt->rtm_scope = RT_SCOPE_NOWHERE; /* any */
	put_metric(&m, r);
	return ask(nl, &m);
}

/* --- copies of addresses on lo -------------------------------------------- */

/*
 * The kernel refuses an address that lo has already, from whoever comes second
 * (inet_insert_ifa()), and routing daemons announce what they find there. With
 * another far end ours is in nobody's way: by what is compared it differs, and
 * 127/8 is announced by none. It has to be one that no other address on lo has:
 * the second would be secondary, and go with the first.
 */
static struct addr far_end(const struct addr *a, unsigned int choice)
{
	struct addr far = { .family = 4, .byte = { 127 } };

	far.byte[1] = (uint8_t)((a->byte[1] ^ a->byte[0]) + choice);
	far.byte[2] = a->byte[2];
	far.byte[3] = a->byte[3];
	return far;
}

/* `far` NULL: whichever it has. */
static int change_copy(struct netlink *nl, uint16_t type, uint16_t flags,
		       const struct addr *a, const struct addr *far)
{
	union route_message m;
	struct ifaddrmsg *ifa = start(&m, type, flags, sizeof(*ifa));

	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 32;
	/* Wider than host: no source for anything that leaves this host. */
	ifa->ifa_scope = RT_SCOPE_HOST;
	ifa->ifa_index = ROUTE_LO_IFINDEX;
	put_addr(&m, IFA_LOCAL, a);
	if (far)
		put_addr(&m, IFA_ADDRESS, far);
	mnl_attr_put_u32(&m.nlh, IFA_FLAGS, IFA_F_PERMANENT |
						    IFA_F_NOPREFIXROUTE);
	mnl_attr_put_strz(&m.nlh, IFA_LABEL, RETAIN_LABEL);
	return ask(nl, &m);
}

/* What lo has already. */
struct lo_search {
	const struct addr *wanted;
	struct addr far;
	bool others, ours; /* the address wanted is theirs; there is a copy */
	bool far_taken;
};

static int on_lo_addr(const struct nlmsghdr *nlh, void *arg);

/* 0 or -errno where the kernel does not say. */
static int search_lo(struct netlink *nl, struct lo_search *search)
{
	union route_message m;
	struct ifaddrmsg *ifa = start(&m, RTM_GETADDR, NLM_F_DUMP,
				      sizeof(*ifa));

	search->others = search->ours = search->far_taken = false;
	ifa->ifa_family = AF_INET;
	return netlink_request(nl, &m.nlh, on_lo_addr, search);
}

/*
 * Without this route the address is not local: no ARP answer, and the host
 * can reach another one that has it. The copy only satisfies the check that a
 * socket's source is ours (__ip_dev_find()). An interface that has the address
 * keeps its own route: the device tells them apart.
 */
static int del_local_route(struct netlink *nl, const struct addr *a)
{
	union route_message m;
	struct rtmsg *rt =
		start_route(&m, RTM_DELROUTE, 0, a, RT_TABLE_LOCAL);

	rt->rtm_type = RTN_LOCAL;
	rt->rtm_scope = RT_SCOPE_HOST;
	mnl_attr_put_u32(&m.nlh, RTA_OIF, ROUTE_LO_IFINDEX);
	return ask(nl, &m);
}

int route_put_copy(struct netlink *nl, const struct addr *a)
{
	struct lo_search search = { .wanted = a };
	unsigned int choice = 0;
	int err;

	do {
		search.far = far_end(a, choice);
		err = search_lo(nl, &search);
	} while (!err && search.far_taken && ++choice < FAR_ENDS);
	if (err || search.others)
		return err ? err : -EEXIST;
	if (!search.ours)
		err = change_copy(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL,
				  a, &search.far);
	if (err)
		return err;
	err = del_local_route(nl, a);
	if (err)
		(void)route_del_copy(nl, a);
	return err;
}

int route_del_copy(struct netlink *nl, const struct addr *a)
{
	return change_copy(nl, RTM_DELADDR, 0, a, NULL);
}

/* --- neighbours ------------------------------------------------------------ */

static int on_neighbour(const struct nlmsghdr *nlh, void *arg)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(*nd))
		*(uint16_t *)arg = nd->ndm_state;
	return 0;
}

static void neighbour(union route_message *m, uint16_t type, const struct addr *a,
		      uint32_t ifindex)
{
	struct ndmsg *nd = start(m, type, 0, sizeof(*nd));

	nd->ndm_family = (uint8_t)addr_af(a);
	nd->ndm_ifindex = (int)ifindex;
	put_addr(m, NDA_DST, a);
}

int route_drop_unresolved(struct netlink *nl, const struct addr *a,
			  uint32_t ifindex)
{
	uint16_t state = NUD_NONE;
	union route_message m;
	int err;

	neighbour(&m, RTM_GETNEIGH, a, ifindex);
	err = netlink_request(nl, &m.nlh, on_neighbour, &state);
	/* -EOPNOTSUPP: before Linux 5.0 one cannot be asked for alone. */
	if (err)
		return err == -ENOENT ? 0 : err;
	if (!(state & NUD_INCOMPLETE))
		return 0;
	neighbour(&m, RTM_DELNEIGH, a, ifindex);
	err = netlink_request(nl, &m.nlh, NULL, NULL);
	return err == -ENOENT ? 0 : err;
}

/* --- the sink ------------------------------------------------------------- */

static int make_sink(struct netlink *nl, const char *kind)
{
	union route_message m;
	struct ifinfomsg *link = start(&m, RTM_NEWLINK,
				       NLM_F_CREATE | NLM_F_EXCL,
				       sizeof(*link));
	struct nlattr *info;
	int err;

	mnl_attr_put_strz(&m.nlh, IFLA_IFNAME, ROUTE_SINK);
	info = mnl_attr_nest_start(&m.nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(&m.nlh, IFLA_INFO_KIND, kind);
	mnl_attr_nest_end(&m.nlh, info);
	err = ask(nl, &m);
	return err == -EEXIST ? 0 : err;
}

/* Without addresses of its own, which IPv6 gives to a device that comes up: so
 * before that. In one request do_setlink() would bring it up first. */
static int mute_sink(struct netlink *nl)
{
	union route_message m;
	struct ifinfomsg *link = start(&m, RTM_NEWLINK, 0, sizeof(*link));
	struct nlattr *spec, *inet6;
	int err;

	mnl_attr_put_strz(&m.nlh, IFLA_IFNAME, ROUTE_SINK);
	spec = mnl_attr_nest_start(&m.nlh, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(&m.nlh, AF_INET6);
	mnl_attr_put_u8(&m.nlh, IFLA_INET6_ADDR_GEN_MODE,
			IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(&m.nlh, inet6);
	mnl_attr_nest_end(&m.nlh, spec);
	err = ask(nl, &m);
	return err == -EAFNOSUPPORT ? 0 : err; /* no IPv6: no address */
}

/* Up, but without neighbours to ask for. */
static int raise_sink(struct netlink *nl)
{
	const unsigned int flags = IFF_UP | IFF_NOARP;
	union route_message m;
	struct ifinfomsg *link = start(&m, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_flags = flags;
	link->ifi_change = flags;
	mnl_attr_put_strz(&m.nlh, IFLA_IFNAME, ROUTE_SINK);
	mnl_attr_put_u32(&m.nlh, IFLA_MTU, SINK_MTU);
	return ask(nl, &m);
}

int route_put_sink(struct netlink *nl, uint32_t *ifindex)
{
	int err = make_sink(nl, "dummy");

	if (err == -EOPNOTSUPP)
		err = make_sink(nl, "bridge");
	if (err)
		return err;
	err = mute_sink(nl);
	if (!err)
		err = raise_sink(nl);
	*ifindex = if_nametoindex(ROUTE_SINK);
	if (!err && !*ifindex)
		err = -errno;
	if (err)
		(void)route_del_sink(nl);
	return err;
}

int route_del_sink(struct netlink *nl)
{
	union route_message m;
	struct ifinfomsg *link = start(&m, RTM_DELLINK, 0, sizeof(*link));

	(void)link;
	mnl_attr_put_strz(&m.nlh, IFLA_IFNAME, ROUTE_SINK);
	return ask(nl, &m);
}

/* --- what is ours --------------------------------------------------------- */

/* What a dump showed to be ours. Removed after its end: the socket is busy
 * until then. */
struct sweep {
	route_keep *keep;
	void *arg;
	unsigned int n;
	struct route_object item[SWEEP_MAX];
};

static void collect(struct sweep *sweep, const struct route_object *o)
{
	if (sweep->keep && sweep->keep(o, sweep->arg))
		return;
	if (sweep->n < SWEEP_MAX)
		sweep->item[sweep->n++] = *o;
}

/* Attributes by type, up to `max`; others are passed over. */
struct attrs {
	const struct nlattr **tb;
	uint16_t max;
};

static int on_attr(const struct nlattr *attr, void *arg)
{
	struct attrs *attrs = arg;
	uint16_t type = mnl_attr_get_type(attr);

	if (type <= attrs->max)
		attrs->tb[type] = attr;
	return MNL_CB_OK;
}

/* Body of a message with its attributes; NULL where it is too short. */
static const void *parse(const struct nlmsghdr *nlh, size_t body,
			 const struct nlattr **tb, uint16_t max)
{
	struct attrs attrs = { .tb = tb, .max = max };

	if (mnl_nlmsg_get_payload_len(nlh) < body)
		return NULL;
	memset(tb, 0, (max + 1u) * sizeof(*tb));
	(void)mnl_attr_parse(nlh, (unsigned int)body, on_attr, &attrs);
	return mnl_nlmsg_get_payload(nlh);
}

static uint32_t u32_value(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) >= sizeof(uint32_t) ?
		       mnl_attr_get_u32(attr) :
		       0;
}

static struct addr addr_value(const struct nlattr *attr, int family)
{
	struct addr a;

	memset(&a, 0, sizeof(a));
	if (!attr || mnl_attr_get_payload_len(attr) !=
			     (family == AF_INET ? 4u : 16u))
		return a;
	a.family = family == AF_INET ? 4 : 6;
	memcpy(a.byte, mnl_attr_get_payload(attr),
	       mnl_attr_get_payload_len(attr));
	return a;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *tb[FRA_PROTOCOL + 1];
	const struct fib_rule_hdr *hdr =
		parse(nlh, sizeof(*hdr), tb, FRA_PROTOCOL);
	struct route_object o = { .kind = ROUTE_RULE };

	if (!hdr || !tb[FRA_PROTOCOL] ||
	    mnl_attr_get_u8(tb[FRA_PROTOCOL]) != RETAIN_PROTO)
		return 0;
	o.rule.family = hdr->family;
	o.rule.from = addr_value(tb[FRA_SRC], hdr->family);
	o.rule.mark = u32_value(tb[FRA_FWMARK]);
	o.rule.table = tb[FRA_TABLE] ? u32_value(tb[FRA_TABLE]) : hdr->table;
	o.rule.preference = u32_value(tb[FRA_PRIORITY]);
	collect(arg, &o);
	return 0;
}

static int on_entry(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *tb[RTA_TABLE + 1];
	const struct rtmsg *rt = parse(nlh, sizeof(*rt), tb, RTA_TABLE);
	struct route_object o = { .kind = ROUTE_ENTRY };

	if (!rt || rt->rtm_protocol != RETAIN_PROTO ||
	    rt->rtm_flags & RTM_F_CLONED)
		return 0;
	o.entry.to = addr_value(tb[RTA_DST], rt->rtm_family);
	o.entry.table = tb[RTA_TABLE] ? u32_value(tb[RTA_TABLE]) :
					rt->rtm_table;
	o.entry.local = rt->rtm_type == RTN_LOCAL;
	collect(arg, &o);
	return 0;
}

/* The address, where this one is on lo; unset else. */
static struct addr read_lo_addr(const struct nlmsghdr *nlh, bool *ours,
				struct addr *far)
{
	const struct nlattr *tb[IFA_LABEL + 1];
	const struct ifaddrmsg *ifa = parse(nlh, sizeof(*ifa), tb, IFA_LABEL);

	*ours = false;
	if (!ifa || ifa->ifa_family != AF_INET ||
	    ifa->ifa_index != ROUTE_LO_IFINDEX)
		return addr_value(NULL, AF_INET);
	*ours = tb[IFA_LABEL] &&
		mnl_attr_get_payload_len(tb[IFA_LABEL]) ==
			sizeof(RETAIN_LABEL) &&
		!memcmp(mnl_attr_get_payload(tb[IFA_LABEL]), RETAIN_LABEL,
			sizeof(RETAIN_LABEL));
	*far = addr_value(tb[IFA_ADDRESS], AF_INET);
	return addr_value(tb[IFA_LOCAL], AF_INET);
}

static int on_lo_addr(const struct nlmsghdr *nlh, void *arg)
{
	struct lo_search *search = arg;
	struct addr far;
	bool ours;
	struct addr a = read_lo_addr(nlh, &ours, &far);

	if (!addr_is_set(&a))
		return 0;
	if (addr_equal(&a, search->wanted))
		*(ours ? &search->ours : &search->others) = true;
	else if (addr_equal(&far, &search->far))
		search->far_taken = true;
	return 0;
}

static int on_copy(const struct nlmsghdr *nlh, void *arg)
{
	struct route_object o = { .kind = ROUTE_COPY };
	struct addr far;
	bool ours;

	o.copy = read_lo_addr(nlh, &ours, &far);
	if (ours)
		collect(arg, &o);
	return 0;
}

bool route_read_lost(const struct nlmsghdr *nlh, struct route_object *o)
{
	struct sweep one = { .keep = NULL };

	switch (nlh->nlmsg_type) {
	case RTM_DELRULE:
		(void)on_rule(nlh, &one);
		break;
	case RTM_DELROUTE:
		(void)on_entry(nlh, &one);
		break;
	case RTM_DELADDR:
		(void)on_copy(nlh, &one);
		break;
	}
	if (one.n)
		*o = one.item[0];
	return one.n;
}

uint32_t route_read_lost_link(const struct nlmsghdr *nlh)
{
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type != RTM_DELLINK ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*link) ||
	    link->ifi_family != AF_UNSPEC)
		return 0;
	return (uint32_t)link->ifi_index;
}

int route_hear_losses(struct netlink *events, uint32_t own_port)
{
	enum { TAKE = 10, LEAVE = 11 }; /* at the end of the program */
	const uint8_t protocol_at = NLMSG_HDRLEN +
				    offsetof(struct rtmsg, rtm_protocol);
	/* Loads are big-endian, and these fields are the host's own. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(own_port),
			 LEAVE - 2, 0),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS,
			 offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWRULE),
			 TAKE - 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELRULE),
			 TAKE - 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELADDR),
			 TAKE - 6, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELLINK),
			 TAKE - 7, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELROUTE), 0,
			 LEAVE - 8),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, protocol_at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RETAIN_PROTO, TAKE - 10,
			 LEAVE - 10),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	if (setsockopt(netlink_fd(events), SOL_SOCKET, SO_ATTACH_FILTER,
		       &program, sizeof(program)) < 0)
		return -errno;
	return 0;
}

/* One dump of what the kernel has of a kind. */
static int look(struct netlink *nl, enum route_kind kind, int family,
		struct sweep *sweep)
{
	static const struct {
		uint16_t type;
		size_t body;
		netlink_callback *cb;
	} dump[] = {
		[ROUTE_RULE] = { RTM_GETRULE, sizeof(struct fib_rule_hdr),
				 on_rule },
		[ROUTE_ENTRY] = { RTM_GETROUTE, sizeof(struct rtmsg),
				  on_entry },
		[ROUTE_COPY] = { RTM_GETADDR, sizeof(struct ifaddrmsg),
				 on_copy },
	};
	union route_message m;
	uint8_t *hdr = start(&m, dump[kind].type, NLM_F_DUMP, dump[kind].body);

	*hdr = (uint8_t)family; /* the first byte of all three */
	if (kind == ROUTE_ENTRY) /* a host may have a million others */
		((struct rtmsg *)(void *)hdr)->rtm_protocol = RETAIN_PROTO;
	sweep->n = 0;
	return netlink_request(nl, &m.nlh, dump[kind].cb, sweep);
}

static int remove_all(struct netlink *nl, const struct sweep *sweep)
{
	int first = 0;

	for (unsigned int i = 0; i < sweep->n; i++) {
		const struct route_object *o = &sweep->item[i];
		int err;

		if (o->kind == ROUTE_RULE)
			err = route_del_rule(nl, &o->rule);
		else if (o->kind == ROUTE_ENTRY)
			err = route_del_entry(nl, &o->entry);
		else
			err = route_del_copy(nl, &o->copy);
		if (!first)
			first = err;
	}
	return first;
}

static const struct addr *sweep_addr(const struct sweep *sweep)
{
	const struct route_object *o = &sweep->item[0];

	return o->kind == ROUTE_RULE ? &o->rule.from :
	       o->kind == ROUTE_ENTRY ? &o->entry.to : &o->copy;
}

/* Dumps of one kind, until one shows nothing that has to go. What the kernel
 * does not find by what we know of it is in a form that we never make: that of
 * somebody else who took our protocol number, and stays. */
static int sweep_kind(struct netlink *nl, enum route_kind kind, int family,
		      route_keep *keep, void *arg)
{
	struct sweep sweep = { .keep = keep, .arg = arg };
	unsigned int stuck = 0;
	struct addr last = { 0 };

	for (int round = 0; round < SWEEP_ROUNDS; round++) {
		int err = look(nl, kind, family, &sweep);

		if (err == -EOPNOTSUPP || err == -EAFNOSUPPORT)
			return 0; /* no such family here */
		if (err || !sweep.n)
			return err;
		stuck = addr_equal(&last, sweep_addr(&sweep)) ? stuck + 1 : 0;
		if (stuck == SWEEP_STUCK)
			return 0;
		last = *sweep_addr(&sweep);
		err = remove_all(nl, &sweep);
		if (err)
			return err;
	}
	return -ELOOP;
}

int route_sweep(struct netlink *nl, route_keep *keep, void *arg)
{
	/* Rules first: routes without them are without effect. */
	static const struct {
		enum route_kind kind;
		int family;
	} order[] = {
		{ ROUTE_RULE, AF_INET },   { ROUTE_RULE, AF_INET6 },
		{ ROUTE_ENTRY, AF_INET },  { ROUTE_ENTRY, AF_INET6 },
		{ ROUTE_COPY, AF_INET },
	};
	int first = 0;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		int err = sweep_kind(nl, order[i].kind, order[i].family, keep,
				     arg);

		if (!first)
			first = err;
	}
	return first;
}
