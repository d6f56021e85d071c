/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * udp: the sockets of the control port.
 *
 * Owns one socket per family, bound to any address, that tells and chooses
 * the local address of every datagram. Never fragments, never reads what a
 * datagram says, never retries.
 */
#ifndef SACIPED_UDP_H
#define SACIPED_UDP_H

#include <stddef.h>
#include <stdint.h>

#include "addr.h"

struct udp;

/* Longer datagrams arrive cut to this; it is more than any message has. */
#define UDP_DATAGRAM_MAX 1500
#define UDP_BATCH 32 /* datagrams per recvmmsg() */
#define UDP_BATCHES_PER_WAKE 8
#define UDP_SOCKETS_MAX 2

struct udp_datagram {
	struct endpoint src;
	struct endpoint dst; /* the local address it came to, our port */
	uint32_t ifindex; /* it came in here */
	const uint8_t *data; /* valid during the callback */
	size_t len;
};

typedef void udp_callback(const struct udp_datagram *datagram, void *arg);

/*
 * Opens both families on `port`. `adopted` (may be NULL, `n` entries) are
 * sockets that the service manager has bound: those that are UDP, of a family
 * not seen yet and on `port` are taken over and closed in the end. The others
 * stay the caller's, an IPv6 one that takes IPv4 as well among them: have it
 * bound IPv6-only. A kernel without IPv6 gives IPv4 alone.
 *
 * 0; -EADDRINUSE: somebody has the port; -EACCES: port below 1024 and no
 * CAP_NET_BIND_SERVICE; other -errno.
 */
int udp_open(struct udp **udp, uint16_t port, const int *adopted, size_t n);
void udp_close(struct udp *udp); /* NULL is fine */
/* The descriptors for EPOLLIN, level-triggered; returns how many. */
size_t udp_fds(const struct udp *udp, int fds[UDP_SOCKETS_MAX]);
/* Reads from both, bounded. 0 or -errno. */
int udp_receive(struct udp *udp, udp_callback *cb, void *arg);
/*
 * Sends one datagram from `src` (unset: the kernel chooses) and our port to
 * `dst`, through `ifindex` (0: as routed). Never blocks. 0, or the kernel's
 * -errno: -EINVAL or -EADDRNOTAVAIL: `src` is not (yet) ours, -ENETUNREACH,
 * -EAGAIN, -EMSGSIZE, -EAFNOSUPPORT.
 */
int udp_send(struct udp *udp, const struct addr *src, uint32_t ifindex,
	     const struct endpoint *dst, const void *data, size_t len);

#endif
