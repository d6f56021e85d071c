/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * route_known: is a neighbour's link address known?
 *
 * Owns nothing, changes nothing.
 */
#include "netlink.h"
#include "route_impl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#define NUD_KNOWN                                                       \
	(NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | \
	 NUD_PROBE)

static int on_neighbour(const struct nlmsghdr *nlh, void *arg)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(*nd))
		*(uint16_t *)arg = nd->ndm_state;
	return 0;
}

bool route_is_known(struct netlink *nl, const struct addr *a,
		    uint32_t ifindex)
{
	uint16_t state = NUD_NONE;
	union route_message m;
	struct ndmsg *nd;
	int err;

	mnl_nlmsg_put_header(&m);
	m.nlh.nlmsg_type = RTM_GETNEIGH;
	nd = mnl_nlmsg_put_extra_header(&m.nlh, sizeof(*nd));
	nd->ndm_family = (uint8_t)addr_af(a);
	nd->ndm_ifindex = (int)ifindex;
	mnl_attr_put(&m.nlh, NDA_DST, addr_size(a), a->byte);
	err = netlink_request(nl, &m.nlh, on_neighbour, &state);
	/* -EOPNOTSUPP: before Linux 5.0 one cannot be asked for alone. */
	return (err && err != -ENOENT) || state & NUD_KNOWN;
}
