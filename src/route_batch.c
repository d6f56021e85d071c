/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * route_batch: many routes in one system call.
 *
 * Owns how many go together. Never waits for an answer: the kernel has worked
 * through all of them when sendmsg() returns, and answers only what failed.
 */
#include "route_impl.h"

#include "netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <string.h>

#define PART_BYTES (32 * 1024) /* in one system call */

static int send_part(struct netlink *nl, const char *part, size_t len)
{
	return len ? netlink_send_batch(nl, part, len, NULL, NULL, NULL) : 0;
}

int route_put_entries(struct netlink *nl, route_next *next, void *arg)
{
	_Alignas(struct nlmsghdr) char part[PART_BYTES];
	struct route_entry entry;
	union route_message m;
	size_t len = 0;
	int err = 0, failed;

	while (next(&entry, arg)) {
		failed = route_build_entry(&m, &entry);
		if (failed) {
			err = err ? err : failed;
			continue;
		}
		m.nlh.nlmsg_flags |= NLM_F_REQUEST;
		m.nlh.nlmsg_seq = netlink_next_seq(nl);
		if (len + ROUTE_MESSAGE_MAX > sizeof(part)) {
			failed = send_part(nl, part, len);
			err = err ? err : failed;
			len = 0;
		}
		memcpy(part + len, &m, m.nlh.nlmsg_len);
		len += m.nlh.nlmsg_len; /* a multiple of four */
	}
	failed = send_part(nl, part, len);
	return err ? err : failed;
}
