/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of route share: route.c builds messages and sends one at a
 * time, route_batch.c many. Nobody else includes this.
 */
#ifndef SACIPED_ROUTE_IMPL_H
#define SACIPED_ROUTE_IMPL_H

#include "route.h"

#include <linux/netlink.h>

#define ROUTE_MESSAGE_MAX 512

union route_message {
	struct nlmsghdr nlh;
	char bytes[ROUTE_MESSAGE_MAX];
};

/* Replaces the route to the same address. 0 or -EINVAL. */
int route_build_entry(union route_message *m, const struct route_entry *r);

#endif
