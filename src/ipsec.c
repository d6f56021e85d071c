/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ipsec: asks for the policies of XFRM. See ipsec.h.
 *
 * Of those that match, one with the least priority number decides. How many
 * there are is asked first: mostly none.
 */
#include "ipsec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <stdlib.h>
#include <string.h>

#include "netlink.h"

struct ipsec {
	struct netlink *nl; /* NULL: no IPsec in this kernel */
};

struct question {
	const struct tuple *tuple;
	uint32_t mark, oif;
	bool found, takes;
	uint32_t priority;
};

struct attrs {
	bool transforms;
	uint32_t if_id;
	struct xfrm_mark mark;
};

static int take_attr(const struct nlattr *attr, void *arg)
{
	const uint16_t len = mnl_attr_get_payload_len(attr);
	struct attrs *a = arg;

	switch (mnl_attr_get_type(attr)) {
	case XFRMA_TMPL:
		a->transforms = len > 0;
		break;
	case XFRMA_IF_ID:
		if (len == sizeof(a->if_id))
			a->if_id = mnl_attr_get_u32(attr);
		break;
	case XFRMA_MARK:
		if (len == sizeof(a->mark))
			memcpy(&a->mark, mnl_attr_get_payload(attr), len);
		break;
	}
	return MNL_CB_OK;
}

static bool is_within(const xfrm_address_t *net, uint8_t len,
		      const struct addr *a)
{
	struct prefix p;

	memset(&p, 0, sizeof(p));
	p.addr.family = a->family;
	memcpy(p.addr.byte, net, addr_size(a));
	p.len = len;
	return prefix_contains(&p, a);
}

static bool is_port(uint16_t be16_port, uint16_t be16_mask, uint16_t port)
{
	return !((be16_port ^ htons(port)) & be16_mask);
}

static bool matches(const struct xfrm_selector *s, const struct question *q)
{
	const struct tuple *t = q->tuple;

	return s->family == addr_af(&t->local.addr) &&
	       is_within(&s->saddr, s->prefixlen_s, &t->local.addr) &&
	       is_within(&s->daddr, s->prefixlen_d, &t->remote.addr) &&
	       is_port(s->sport, s->sport_mask, t->local.port) &&
	       is_port(s->dport, s->dport_mask, t->remote.port) &&
	       (!s->proto || s->proto == t->proto) &&
	       (!s->ifindex || (uint32_t)s->ifindex == q->oif);
}

static int on_policy(const struct nlmsghdr *m, void *arg)
{
	struct xfrm_userpolicy_info p;
	struct attrs a = { 0 };
	struct question *q = arg;

	if (m->nlmsg_type != XFRM_MSG_NEWPOLICY ||
	    mnl_nlmsg_get_payload_len(m) < sizeof(p))
		return 0;
	/* It wants 8 bytes to lie on, and messages have 4. */
	memcpy(&p, mnl_nlmsg_get_payload(m), sizeof(p));
	if (p.dir != XFRM_POLICY_OUT || !matches(&p.sel, q))
		return 0;
	(void)mnl_attr_parse(m, sizeof(p), take_attr, &a);
	if (a.if_id || (q->mark & a.mark.m) != a.mark.v ||
	    (q->found && p.priority > q->priority))
		return 0;
	if (!q->found || p.priority < q->priority)
		q->takes = false;
	q->takes |= p.action == XFRM_POLICY_ALLOW && a.transforms;
	q->found = true;
	q->priority = p.priority;
	return 0;
}

static int on_count(const struct nlattr *attr, void *arg)
{
	struct xfrmu_spdinfo n;

	if (mnl_attr_get_type(attr) != XFRMA_SPD_INFO ||
	    mnl_attr_get_payload_len(attr) < sizeof(n))
		return MNL_CB_OK;
	memcpy(&n, mnl_attr_get_payload(attr), sizeof(n));
	*(uint32_t *)arg = n.outcnt;
	return MNL_CB_OK;
}

static int on_info(const struct nlmsghdr *m, void *arg)
{
	(void)mnl_attr_parse(m, sizeof(uint32_t), on_count, arg);
	return 0;
}

static int ask(struct ipsec *ip, uint16_t type, uint16_t flags, size_t body,
	       netlink_callback *cb, void *arg)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = flags;
	memset(mnl_nlmsg_put_extra_header(nlh, body), 0, body);
	return netlink_request(ip->nl, nlh, cb, arg);
}

int ipsec_open(struct ipsec **out)
{
	struct ipsec *ip = calloc(1, sizeof(*ip));
	int err;

	if (!ip)
		return -ENOMEM;
	err = netlink_open(&ip->nl, NETLINK_XFRM, NULL, 0);
	if (err && err != -EPROTONOSUPPORT) {
		free(ip);
		return err;
	}
	*out = ip;
	return 0;
}

void ipsec_close(struct ipsec *ip)
{
	if (!ip)
		return;
	netlink_close(ip->nl);
	free(ip);
}

bool ipsec_takes(struct ipsec *ip, const struct tuple *t, uint32_t mark,
		 uint32_t oif)
{
	struct question q = { .tuple = t, .mark = mark, .oif = oif };
	uint32_t n = 0;

	if (!ip->nl)
		return false;
	if (ask(ip, XFRM_MSG_GETSPDINFO, 0, sizeof(uint32_t), on_info, &n))
		return true;
	return n && (ask(ip, XFRM_MSG_GETPOLICY, NLM_F_DUMP,
			 sizeof(struct xfrm_userpolicy_id), on_policy, &q) ||
		     q.takes);
}
