/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * udp: the sockets of the control port.
 *
 * Owns one socket per family that tells and chooses the local address of
 * every datagram. Never fragments, never reads what a datagram says.
 */
#include "udp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A flood is cut off here, in the kernel; a burst of 1000 peers fits. */
#define RECEIVE_BUFFER (2 * 1024 * 1024)
#define CONTROL_BYTES CMSG_SPACE(sizeof(struct in6_pktinfo))

enum { V4, V6 };

struct slot {
	struct sockaddr_storage from;
	struct iovec iov;
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
	uint8_t data[UDP_DATAGRAM_MAX];
};

struct udp {
	int fd[UDP_SOCKETS_MAX]; /* V4, V6; -1: none */
	uint16_t port;
	struct mmsghdr headers[UDP_BATCH];
	struct slot slots[UDP_BATCH];
};

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno :
									0;
}

/* DF on every datagram, and no belief in what the path is said to carry: the
 * size is bounded by the protocol, and a learned MTU would make sendmsg()
 * fail or the kernel fragment. */
static int set_options(int fd, int family)
{
	int err;

	if (family == V4) {
		err = set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
		if (!err)
			err = set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER,
					 IP_PMTUDISC_PROBE);
	} else {
		err = set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		if (!err)
			err = set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
					 IPV6_PMTUDISC_PROBE);
		if (!err)
			err = set_option(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
	}
	if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER) < 0)
		(void)set_option(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
	return err;
}

static int open_socket(struct udp *udp, int family)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_port = htons(udp->port),
	};
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(udp->port),
	};
	const struct sockaddr *sa = family == V4 ?
					    (const struct sockaddr *)&sin :
					    (const struct sockaddr *)&sin6;
	socklen_t len = family == V4 ? sizeof(sin) : sizeof(sin6);
	int fd = socket(sa->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			IPPROTO_UDP);
	int err;

	if (fd < 0)
		return -errno;
	err = set_options(fd, family);
	if (!err && family == V6)
		err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!err && bind(fd, sa, len) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	udp->fd[family] = fd;
	return 0;
}

static int get_option(int fd, int level, int name)
{
	socklen_t len;
	int value = 0;

	len = sizeof(value);
	return getsockopt(fd, level, name, &value, &len) < 0 ? -1 : value;
}

/* Which of our sockets this could be; -1: none. */
static int classify(const struct udp *udp, int fd)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct endpoint e;
	int family;

	if (get_option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_UDP ||
	    getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
	    endpoint_from_sockaddr((struct sockaddr *)&ss, &e) < 0 ||
	    e.port != udp->port)
		return -1;
	family = ss.ss_family == AF_INET ? V4 : V6;
	/* One that takes IPv4 too cannot be told not to any more. */
	if (family == V6 && get_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 1)
		return -1;
	return udp->fd[family] < 0 ? family : -1;
}

static int adopt(struct udp *udp, int fd)
{
	int family = classify(udp, fd);
	int flags, err;

	if (family < 0)
		return 0;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	err = set_options(fd, family);
	if (!err)
		udp->fd[family] = fd;
	return err;
}

int udp_open(struct udp **out, uint16_t port, const int *adopted, size_t n)
{
	struct udp *udp = calloc(1, sizeof(*udp));
	int err = 0;

	if (!udp)
		return -ENOMEM;
	udp->fd[V4] = udp->fd[V6] = -1;
	udp->port = port;
	for (size_t i = 0; i < n && !err; i++)
		err = adopt(udp, adopted[i]);
	if (!err && udp->fd[V4] < 0)
		err = open_socket(udp, V4);
	if (!err && udp->fd[V6] < 0) {
		err = open_socket(udp, V6);
		/* IPv6 not built in, or disabled at boot. */
		if (err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL)
			err = 0;
	}
	if (err) {
		udp_close(udp);
		return err;
	}
	*out = udp;
	return 0;
}

void udp_close(struct udp *udp)
{
	if (!udp)
		return;
	for (int i = 0; i < UDP_SOCKETS_MAX; i++)
		if (udp->fd[i] >= 0)
			close(udp->fd[i]);
	free(udp);
}

size_t udp_fds(const struct udp *udp, int fds[UDP_SOCKETS_MAX])
{
	size_t n = 0;

	for (int i = 0; i < UDP_SOCKETS_MAX; i++)
		if (udp->fd[i] >= 0)
			fds[n++] = udp->fd[i];
	return n;
}

static void prepare(struct udp *udp)
{
	for (size_t i = 0; i < UDP_BATCH; i++) {
		struct slot *s = &udp->slots[i];
		struct msghdr *m = &udp->headers[i].msg_hdr;

		s->iov.iov_base = s->data;
		s->iov.iov_len = sizeof(s->data);
		m->msg_name = &s->from;
		m->msg_namelen = sizeof(s->from);
		m->msg_iov = &s->iov;
		m->msg_iovlen = 1;
		m->msg_control = s->control;
		m->msg_controllen = sizeof(s->control);
	}
}

/* The local address and interface from pktinfo; false where it is missing. */
static bool read_pktinfo(struct msghdr *m, struct udp_datagram *d)
{
	struct in6_pktinfo info6;
	struct in_pktinfo info4;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP &&
		    c->cmsg_type == IP_PKTINFO) {
			memcpy(&info4, CMSG_DATA(c), sizeof(info4));
			d->dst.addr = addr_from_in4(info4.ipi_addr.s_addr);
			d->ifindex = (uint32_t)info4.ipi_ifindex;
			return true;
		}
		if (c->cmsg_level == IPPROTO_IPV6 &&
		    c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&info6, CMSG_DATA(c), sizeof(info6));
			d->dst.addr = addr_from_in6(&info6.ipi6_addr);
			d->ifindex = info6.ipi6_ifindex;
			return true;
		}
	}
	return false;
}

static void deliver(struct udp *udp, size_t i, udp_callback *cb, void *arg)
{
	struct udp_datagram d;

	memset(&d, 0, sizeof(d));
	if (endpoint_from_sockaddr((struct sockaddr *)&udp->slots[i].from,
				   &d.src) < 0 ||
	    !read_pktinfo(&udp->headers[i].msg_hdr, &d))
		return;
	d.dst.port = udp->port;
	d.data = udp->slots[i].data;
	d.len = udp->headers[i].msg_len;
	cb(&d, arg);
}

static int receive_from(struct udp *udp, int fd, udp_callback *cb, void *arg)
{
	for (int batch = 0; batch < UDP_BATCHES_PER_WAKE; batch++) {
		int n;

		prepare(udp);
		do {
			n = recvmmsg(fd, udp->headers, UDP_BATCH, 0, NULL);
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		for (int i = 0; i < n; i++)
			deliver(udp, (size_t)i, cb, arg);
		if (n < UDP_BATCH)
			return 0;
	}
	return 0;
}

int udp_receive(struct udp *udp, udp_callback *cb, void *arg)
{
	int err = 0;

	for (int i = 0; i < UDP_SOCKETS_MAX; i++) {
		int e = 0;

		if (udp->fd[i] >= 0)
			e = receive_from(udp, udp->fd[i], cb, arg);
		if (e && !err)
			err = e;
	}
	return err;
}

/* Puts the source into `m`, whose control buffer is zero and large enough. */
static void write_pktinfo(struct msghdr *m, const struct addr *src,
			  uint32_t ifindex, int family)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (family == V4) {
		struct in_pktinfo info = { .ipi_ifindex = (int)ifindex };

		memcpy(&info.ipi_spec_dst, src->byte, 4);
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in6_pktinfo info = { .ipi6_ifindex = ifindex };

		memcpy(&info.ipi6_addr, src->byte, 16);
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

int udp_send(struct udp *udp, const struct addr *src, uint32_t ifindex,
	     const struct endpoint *dst, const void *data, size_t len)
{
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES] = { 0 };
	int family = dst->addr.family == 4 ? V4 : V6;
	struct sockaddr_storage ss;
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr m = {
		.msg_name = &ss,
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	if (!addr_is_set(&dst->addr) || udp->fd[family] < 0 ||
	    (addr_is_set(src) && src->family != dst->addr.family))
		return -EAFNOSUPPORT;
	m.msg_namelen = endpoint_to_sockaddr(dst, &ss);
	write_pktinfo(&m, src, ifindex, family);
	do {
		n = sendmsg(udp->fd[family], &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
