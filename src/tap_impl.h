/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of tap share: tap.c, tap_filter.c. */
#ifndef SACIPED_TAP_IMPL_H
#define SACIPED_TAP_IMPL_H

#include "tap.h"

#define LINK_HEADER_MAX 64 /* before the IP header, in a copy */
#define LOOPBACK_IFINDEX 1 /* of lo, in every network namespace */

struct tap_socket;

/* What is copied between two addresses. */
struct tap {
	struct tap_socket *socket;
	struct addr local, remote;
	uint8_t proto;
	unsigned int uses;
	uint64_t from; /* the socket's copies before this one are not for it */
};

/* Replaces the filter of a packet socket: no copies but those between the `n`
 * pairs of addresses, at most TAP_PAIRS_PER_SOCKET. Nothing waits for RCU.
 * 0 or -errno (-ENOMEM at net.core.optmem_max): the old one stays. */
int tap_filter(int fd, struct tap *const *pair, unsigned int n);

#endif
