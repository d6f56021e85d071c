/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtmon_router: routers that answer again.
 *
 * IPv6 passes over a route whose router has a neighbour entry that failed
 * (rt6_check_neigh()), and nothing tells that the route is another one when
 * the router answers but the entry itself. Owns the filter that lets only
 * routers' entries through, so that however many neighbours a host has, they
 * do not wake us or overrun the events; and which routers had an answer last.
 * Never asks the kernel.
 */
#include "rtmon_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

/* The kernel's NUD_VALID, which it does not export. */
#define VALID                                                          \
	(NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | \
	 NUD_DELAY)

static int take_addr(const struct nlattr *attr, void *arg)
{
	struct in6_addr in6;

	if (mnl_attr_get_type(attr) != NDA_DST ||
	    mnl_attr_get_payload_len(attr) != sizeof(in6))
		return MNL_CB_OK;
	memcpy(&in6, mnl_attr_get_payload(attr), sizeof(in6));
	*(struct addr *)arg = addr_from_in6(&in6);
	return MNL_CB_OK;
}

/* NULL where it is not known to answer. */
static struct rtmon_router *find(struct rtmon *rt, const struct rtmon_router *r)
{
	for (unsigned int i = 0; i < rt->n_routers; i++)
		if (rt->routers[i].ifindex == r->ifindex &&
		    addr_equal(&rt->routers[i].addr, &r->addr))
			return &rt->routers[i];
	return NULL;
}

/* Past the bound the oldest is forgotten: it is told of once more. */
static void add(struct rtmon *rt, const struct rtmon_router *r)
{
	if (rt->n_routers < RTMON_ROUTERS_MAX) {
		rt->routers[rt->n_routers++] = *r;
		return;
	}
	rt->routers[rt->next_router] = *r;
	rt->next_router = (rt->next_router + 1) % RTMON_ROUTERS_MAX;
}

bool rtmon_router_answers(struct rtmon *rt, const struct nlmsghdr *nlh)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct rtmon_router r, *known;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ndm) ||
	    ndm->ndm_family != AF_INET6 || !(ndm->ndm_flags & NTF_ROUTER))
		return false;
	memset(&r, 0, sizeof(r));
	r.ifindex = (uint32_t)ndm->ndm_ifindex;
	(void)mnl_attr_parse(nlh, sizeof(*ndm), take_addr, &r.addr);
	if (!addr_is_set(&r.addr))
		return false;
	known = find(rt, &r);
	if (nlh->nlmsg_type == RTM_NEWNEIGH && ndm->ndm_state & VALID) {
		if (!known)
			add(rt, &r);
		return !known;
	}
	if (known)
		*known = rt->routers[--rt->n_routers];
	return false;
}

int rtmon_hear_routers(struct rtmon *rt)
{
	enum { TAKE = 7, LEAVE = 8 }; /* at the end of the program */
	const uint8_t family_at = NLMSG_HDRLEN +
				  offsetof(struct ndmsg, ndm_family);
	const uint8_t flags_at = NLMSG_HDRLEN +
				 offsetof(struct ndmsg, ndm_flags);
	/* Loads are big-endian, and this type is in the host's own order. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS,
			 offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWNEIGH), 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELNEIGH), 0,
			 TAKE - 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, family_at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, LEAVE - 5),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_at),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NTF_ROUTER, 0, LEAVE - 7),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	return setsockopt(netlink_fd(rt->events), SOL_SOCKET, SO_ATTACH_FILTER,
			  &program, sizeof(program)) < 0 ? -errno : 0;
}
