/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap: copies of a flow's packets as they pass the interfaces, and the
 * injection of one packet into our own stack.
 *
 * Owns the AF_PACKET sockets, which pairs of addresses each has, and the
 * sockets that inject. Never delays or changes a packet, never judges a proof.
 */
#include "tap_impl.h"

#include "aside.h"
#include "nonce.h"
#include "pkt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IPV6_HDRINCL /* of <linux/in6.h>, which <netinet/in.h> excludes */
#define IPV6_HDRINCL 36
#endif

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define RECEIVE_BUFFER (4 * 1024 * 1024)
#define FRAME_MAX (sizeof(struct virtio_net_hdr) + LINK_HEADER_MAX + 65536)
#define IPV4_HEADER_MIN 20
#define IPV6_HEADER 40
#define TCP_HEADER_MIN 20
#define UDP_HEADER 8

/*
 * PACKET_VNET_HDR puts this in front of a copy and tells how long the
 * datagrams of a train are; it is to be had on SOCK_RAW alone, so that the
 * link's header comes before the IP header, PACKET_AUXDATA saying how much.
 *
 *     | virtio_net_hdr | link header | IP | TCP or UDP | payload
 *     0               10            10 + tp_net
 */
struct tap_socket {
	struct taps *taps;
	int fd; /* -1: none */
	unsigned int n;
	struct tap *pair[TAP_PAIRS_PER_SOCKET];
	uint64_t queued, read; /* copies, since it was opened */
	uint64_t idle_ms; /* without pairs since then */
};

struct taps {
	struct aside *aside;
	int epoll;
	uint64_t lost;
	struct tap_socket socket[TAP_SOCKETS_MAX];
	uint8_t frame[FRAME_MAX];
};

struct tap_injector {
	int fd4, fd6; /* with the header */
	int lo; /* into lo, as they come in */
};

/* One copy, while it is looked at. */
struct copy {
	struct sockaddr_ll from;
	struct tpacket_auxdata aux;
	struct virtio_net_hdr vnet;
	const uint8_t *ip; /* len of len_on_wire bytes from here */
	size_t len, len_on_wire;
};

/* --- life ---------------------------------------------------------------- */

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno :
									0;
}

static void close_now(void *arg)
{
	close((int)(intptr_t)arg);
}

/* packet_release() waits for RCU, which nobody but this thread may feel. */
static bool give_up(struct taps *taps, int fd)
{
	void *arg = (void *)(intptr_t)fd;

	if (taps->aside)
		return !aside_do(taps->aside, close_now, arg);
	close_now(arg);
	return true;
}

static int hear(struct tap_socket *s)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };

	return epoll_ctl(s->taps->epoll, EPOLL_CTL_ADD, s->fd, &ev) < 0 ?
		       -errno : 0;
}

/* No packet gets in before there is a filter. */
static int prepare(struct tap_socket *s)
{
	const struct sockaddr_ll all = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
	};
	int err = tap_filter(s->fd, NULL, 0);

	if (!err)
		err = set_int(s->fd, SOL_PACKET, PACKET_AUXDATA, 1);
	if (!err)
		err = set_int(s->fd, SOL_PACKET, PACKET_VNET_HDR, 1);
	if (err)
		return err;
	if (set_int(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER) < 0)
		(void)set_int(s->fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
	if (bind(s->fd, (const struct sockaddr *)&all, sizeof(all)) < 0)
		return -errno;
	return hear(s);
}

/* Without pairs. One that cannot be given up now stays, and copies nothing. */
static void drop_socket(struct tap_socket *s)
{
	(void)epoll_ctl(s->taps->epoll, EPOLL_CTL_DEL, s->fd, NULL);
	if (!give_up(s->taps, s->fd)) {
		s->idle_ms = clock_ms();
		if (!hear(s))
			return;
		close(s->fd);
	}
	s->fd = -1;
}

static int open_socket(struct tap_socket *s)
{
	int err;

	s->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	s->queued = s->read = 0;
	s->idle_ms = clock_ms();
	err = prepare(s);
	if (!err)
		return 0;
	if (!give_up(s->taps, s->fd))
		close(s->fd);
	s->fd = -1;
	return err;
}

int taps_open(struct taps **out, struct aside *aside)
{
	struct taps *taps = calloc(1, sizeof(*taps));

	if (!taps)
		return -ENOMEM;
	taps->aside = aside;
	taps->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (taps->epoll < 0) {
		int err = -errno;

		free(taps);
		return err;
	}
	for (int i = 0; i < TAP_SOCKETS_MAX; i++) {
		taps->socket[i].taps = taps;
		taps->socket[i].fd = -1;
	}
	*out = taps;
	return 0;
}

void taps_close(struct taps *taps)
{
	if (!taps)
		return;
	for (int i = 0; i < TAP_SOCKETS_MAX; i++) {
		struct tap_socket *s = &taps->socket[i];

		while (s->n)
			free(s->pair[--s->n]);
		if (s->fd >= 0)
			close(s->fd);
	}
	close(taps->epoll);
	free(taps);
}

int taps_fd(const struct taps *taps)
{
	return taps->epoll;
}

/* What was queued since the last call, and what was not. */
static void count_copies(struct tap_socket *s)
{
	struct tpacket_stats stats = { 0 };
	socklen_t len = sizeof(stats);

	/* Reading sets it back to zero; the drops are among the packets. */
	if (getsockopt(s->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) < 0)
		return;
	s->queued += stats.tp_packets - stats.tp_drops;
	s->taps->lost += stats.tp_drops;
}

uint64_t taps_lost(struct taps *taps)
{
	uint64_t lost;

	for (int i = 0; i < TAP_SOCKETS_MAX; i++)
		if (taps->socket[i].fd >= 0)
			count_copies(&taps->socket[i]);
	lost = taps->lost;
	taps->lost = 0;
	return lost;
}

static bool is_idle(const struct tap_socket *s)
{
	return s->fd >= 0 && !s->n;
}

void taps_step(struct taps *taps, uint64_t now_ms)
{
	for (int i = 0; i < TAP_SOCKETS_MAX; i++) {
		struct tap_socket *s = &taps->socket[i];

		if (is_idle(s) && now_ms >= s->idle_ms + TAP_IDLE_MS)
			drop_socket(s);
	}
}

uint64_t taps_due_ms(const struct taps *taps)
{
	uint64_t ms = 0;

	for (int i = 0; i < TAP_SOCKETS_MAX; i++) {
		const struct tap_socket *s = &taps->socket[i];

		if (is_idle(s) && (!ms || s->idle_ms + TAP_IDLE_MS < ms))
			ms = s->idle_ms + TAP_IDLE_MS;
	}
	return ms;
}

/* --- pairs --------------------------------------------------------------- */

static struct tap *pair_find(const struct tap_socket *s, uint8_t proto,
			     const struct addr *local,
			     const struct addr *remote)
{
	for (unsigned int i = 0; i < s->n; i++)
		if (s->pair[i]->proto == proto &&
		    addr_equal(&s->pair[i]->remote, remote) &&
		    addr_equal(&s->pair[i]->local, local))
			return s->pair[i];
	return NULL;
}

/* What is queued of an earlier tap for the same pair is older than `from`. */
static int pair_add(struct tap_socket *s, struct tap *tap)
{
	int err;

	count_copies(s);
	tap->from = s->queued;
	tap->socket = s;
	s->pair[s->n++] = tap;
	err = tap_filter(s->fd, s->pair, s->n);
	if (err)
		s->n--;
	return err;
}

static void pair_remove(struct tap *tap)
{
	struct tap_socket *s = tap->socket;
	unsigned int i = 0;

	while (s->pair[i] != tap)
		i++;
	s->pair[i] = s->pair[--s->n];
	/* Where it stays as it was, what it copies is not handed over. */
	(void)tap_filter(s->fd, s->pair, s->n);
	if (s->n)
		return;
	s->idle_ms = clock_ms();
	count_copies(s);
	if (s->queued != s->read) /* nobody wants to read them */
		drop_socket(s);
}

/* The first that has room is one that is in use, if any is. */
static int place(struct taps *taps, struct tap *tap)
{
	struct tap_socket *unused = NULL;
	int err = -ENOSPC;

	for (int i = 0; i < TAP_SOCKETS_MAX; i++) {
		struct tap_socket *s = &taps->socket[i];

		if (!s->n) {
			if (!unused || (unused->fd < 0 && s->fd >= 0))
				unused = s;
			continue;
		}
		if (s->n == TAP_PAIRS_PER_SOCKET)
			continue;
		err = pair_add(s, tap);
		if (!err)
			return 0;
	}
	if (!unused)
		return err;
	err = unused->fd < 0 ? open_socket(unused) : 0;
	return err ? err : pair_add(unused, tap);
}

int tap_open(struct taps *taps, struct tap **out, uint8_t proto,
	     const struct addr *local, const struct addr *remote)
{
	struct tap *tap;
	int err;

	if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) ||
	    !addr_is_set(local) || local->family != remote->family)
		return -EINVAL;
	for (int i = 0; i < TAP_SOCKETS_MAX; i++) {
		tap = pair_find(&taps->socket[i], proto, local, remote);
		if (tap) {
			tap->uses++;
			*out = tap;
			return 0;
		}
	}
	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	tap->proto = proto;
	tap->local = *local;
	tap->remote = *remote;
	tap->uses = 1;
	err = place(taps, tap);
	if (err)
		free(tap);
	else
		*out = tap;
	return err;
}

void tap_close(struct tap *tap)
{
	if (!tap || --tap->uses)
		return;
	pair_remove(tap);
	free(tap);
}

/* --- copies -------------------------------------------------------------- */

static uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static struct addr get_addr(const uint8_t *p, uint8_t family)
{
	struct addr a;

	memset(&a, 0, sizeof(a));
	a.family = family;
	memcpy(a.byte, p, family == 4 ? 4 : 16);
	return a;
}

/* Addresses and the length of the IP header; 0 where it is none. What is said
 * to be longer than it is, or carries padding, is cut. */
static size_t read_ip(struct copy *c, struct addr *src, struct addr *dst)
{
	size_t header, total;

	if (c->len >= IPV4_HEADER_MIN && c->ip[0] >> 4 == 4) {
		header = (size_t)(c->ip[0] & 15) * 4;
		total = get_be16(c->ip + 2);
		*src = get_addr(c->ip + 12, 4);
		*dst = get_addr(c->ip + 16, 4);
	} else if (c->len >= IPV6_HEADER && c->ip[0] >> 4 == 6) {
		header = IPV6_HEADER;
		total = get_be16(c->ip + 4);
		if (total)
			total += IPV6_HEADER;
		*src = get_addr(c->ip + 8, 6);
		*dst = get_addr(c->ip + 24, 6);
	} else {
		return 0;
	}
	/* Zero: more than 64 KiB in one train (BIG TCP). */
	if (total && total < c->len_on_wire)
		c->len_on_wire = total;
	if (c->len > c->len_on_wire)
		c->len = c->len_on_wire;
	return header >= IPV4_HEADER_MIN && header <= c->len ? header : 0;
}

static void hand_tcp(const struct copy *c, size_t at, struct tap_packet *p,
		     tap_callback *cb, void *arg)
{
	const uint8_t *tcp = c->ip + at;
	struct nonce_numbers n;
	size_t header;

	if (c->len < at + TCP_HEADER_MIN)
		return;
	header = (size_t)(tcp[12] >> 4) * 4;
	if (header < TCP_HEADER_MIN || at + header > c->len_on_wire)
		return;
	p->seq = get_be32(tcp + 4);
	p->ack = get_be32(tcp + 8);
	p->flags = tcp[13];
	p->window = get_be16(tcp + 14);
	p->payload_len = (uint32_t)(c->len_on_wire - at - header);
	if (at + header <= c->len) {
		nonce_read_numbers(tcp, header, &n);
		p->stamped = n.stamped;
		p->tsval = n.tsval;
		p->tsecr = n.tsecr;
		if (!p->payload_len && p->flags == PKT_TCP_ACK)
			p->mac = nonce_in_header(tcp, header);
	}
	cb(p, arg);
}

/* A train of UDP_SEGMENT is what the other end gets one by one, and the other
 * way round with UDP_GRO. */
static void hand_udp(const struct copy *c, size_t at, struct tap_packet *p,
		     tap_callback *cb, void *arg)
{
	const bool train = c->vnet.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 &&
			   c->vnet.gso_size;
	size_t len, step;

	if (c->len < at + UDP_HEADER || c->len != c->len_on_wire)
		return;
	len = c->len - at - UDP_HEADER;
	if (!train && c->vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return; /* another protocol's, tunnelled in UDP */
	step = train ? c->vnet.gso_size : len;
	p->payload = c->ip + at + UDP_HEADER;
	do {
		p->payload_len = (uint32_t)(len < step ? len : step);
		p->mac = nonce_in_datagram(p->payload, p->payload_len);
		cb(p, arg);
		p->payload += p->payload_len;
		len -= p->payload_len;
	} while (len);
}

/* The copy of that number of the socket, of whom it may still be for. */
static void hand_over(const struct tap_socket *s, uint64_t number,
		      struct copy *c, uint64_t now_ms, tap_callback *cb,
		      void *arg)
{
	const struct tap *tap;
	struct addr src, dst;
	struct tap_packet p;
	size_t at = read_ip(c, &src, &dst);

	if (!at || c->len < at + 4)
		return;
	memset(&p, 0, sizeof(p));
	p.outgoing = c->from.sll_pkttype == PACKET_OUTGOING;
	p.tuple.proto = c->ip[src.family == 4 ? 9 : 6];
	/* One that comes in from our own address is somebody's forgery, one
	 * for another host (promiscuous mode) nothing to us: the filter has
	 * passed neither. */
	tap = pair_find(s, p.tuple.proto, p.outgoing ? &src : &dst,
			p.outgoing ? &dst : &src);
	if (!tap || number < tap->from)
		return;
	p.tuple.local = (struct endpoint){
		tap->local, get_be16(c->ip + at + (p.outgoing ? 0 : 2))
	};
	p.tuple.remote = (struct endpoint){
		tap->remote, get_be16(c->ip + at + (p.outgoing ? 2 : 0))
	};
	p.ifindex = (uint32_t)c->from.sll_ifindex;
	p.when_ms = now_ms;
	if (p.tuple.proto == IPPROTO_TCP)
		hand_tcp(c, at, &p, cb, arg);
	else
		hand_udp(c, at, &p, cb, arg);
}

/* 1 for a copy, 0 for one that cannot be used, -errno. */
static int read_copy(struct tap_socket *s, struct copy *c)
{
	uint8_t *frame = s->taps->frame;
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(c->aux))];
	struct iovec iov = { frame, FRAME_MAX };
	struct msghdr m = {
		.msg_name = &c->from,
		.msg_namelen = sizeof(c->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	const size_t head = sizeof(c->vnet);
	bool told = false;
	ssize_t len;

	memset(c, 0, sizeof(*c));
	do {
		len = recvmsg(s->fd, &m, 0);
	} while (len < 0 && errno == EINTR);
	/* EINVAL: a train that PACKET_VNET_HDR has no word for (UDP, before
	 * Linux 6.2). It is taken off the queue all the same. */
	if (len < 0 && errno != EINVAL)
		return -errno;
	s->read++;
	if (len < 0)
		return 0;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level == SOL_PACKET &&
		    h->cmsg_type == PACKET_AUXDATA) {
			memcpy(&c->aux, CMSG_DATA(h), sizeof(c->aux));
			told = true;
		}
	}
	if (!told || (size_t)len < head + c->aux.tp_net ||
	    c->aux.tp_len < c->aux.tp_net)
		return 0;
	memcpy(&c->vnet, frame, head);
	c->ip = frame + head + c->aux.tp_net;
	c->len = (size_t)len - head - c->aux.tp_net;
	c->len_on_wire = c->aux.tp_len - c->aux.tp_net;
	return 1;
}

static int receive(struct tap_socket *s, uint64_t now_ms, tap_callback *cb,
		   void *arg)
{
	for (int i = 0; i < TAP_READS_PER_WAKE && s->fd >= 0; i++) {
		uint64_t number = s->read;
		struct copy c;
		int got = read_copy(s, &c);

		if (got == -EAGAIN)
			return 0;
		if (got < 0)
			return got;
		if (got)
			hand_over(s, number, &c, now_ms, cb, arg);
	}
	return 0;
}

int taps_receive(struct taps *taps, tap_callback *cb, void *arg)
{
	struct epoll_event ev[TAP_SOCKETS_MAX];
	uint64_t now_ms = clock_ms();
	int ret = 0, n;

	do {
		n = epoll_wait(taps->epoll, ev, TAP_SOCKETS_MAX, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		int err = receive(ev[i].data.ptr, now_ms, cb, arg);

		if (!ret)
			ret = err;
	}
	return ret;
}

/* --- injection ----------------------------------------------------------- */

/*
 * IPv4 packets go out by a raw socket, and their route comes with them: what
 * comes in from lo without one would have to pass rp_filter. IPv6 packets go
 * to lo by a packet socket and are routed as they come in. A raw socket that
 * writes the IPv6 header itself sends by a route of its own (rawv6_sendmsg()
 * says FLOWI_FLAG_KNOWN_NH, ip6_pol_route() clones). The socket that takes the
 * packet keeps it (sk_rx_dst), it keeps the FIB's entry (rt6_info.from), and
 * that one the device that has our address: so long as that socket was idle,
 * the device could not be removed (rt6_uncached_list_flush_dev() leaves
 * `from`; seen with 6.18).
 */
int tap_injector_open(struct tap_injector **out)
{
	const int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
	struct tap_injector *j = calloc(1, sizeof(*j));
	int err;

	if (!j)
		return -ENOMEM;
	/* IPPROTO_RAW and protocol 0: to be written to alone. */
	j->fd4 = socket(AF_INET, SOCK_RAW | flags, IPPROTO_RAW);
	j->fd6 = socket(AF_INET6, SOCK_RAW | flags, IPPROTO_RAW);
	err = j->fd4 < 0 || (j->fd6 < 0 && errno != EAFNOSUPPORT) ? -errno : 0;
	j->lo = socket(AF_PACKET, SOCK_DGRAM | flags, 0);
	if (!err && j->lo < 0)
		err = -errno;
	if (!err && j->fd6 >= 0)
		err = set_int(j->fd6, IPPROTO_IPV6, IPV6_HDRINCL, 1);
	if (err) {
		tap_injector_close(j);
		return err;
	}
	*out = j;
	return 0;
}

void tap_injector_close(struct tap_injector *j)
{
	if (!j)
		return;
	if (j->fd4 >= 0)
		close(j->fd4);
	if (j->fd6 >= 0)
		close(j->fd6);
	if (j->lo >= 0)
		close(j->lo);
	free(j);
}

/* The socket of the packet's family, and where the packet goes; or -errno. */
static int socket_of(const struct tap_injector *j, const uint8_t *packet,
		     size_t len, struct addr *from, struct endpoint *to)
{
	int fd;

	memset(to, 0, sizeof(*to));
	if (len >= IPV4_HEADER_MIN && packet[0] >> 4 == 4) {
		*from = get_addr(packet + 12, 4);
		to->addr = get_addr(packet + 16, 4);
		fd = j->fd4;
	} else if (len >= IPV6_HEADER && packet[0] >> 4 == 6) {
		*from = get_addr(packet + 8, 6);
		to->addr = get_addr(packet + 24, 6);
		fd = j->fd6;
	} else {
		return -EINVAL;
	}
	return fd < 0 ? -EAFNOSUPPORT : fd;
}

static int send_raw(int fd, const struct msghdr *m, uint32_t mark)
{
	ssize_t n;

	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		return -errno;
	do {
		n = sendmsg(fd, m, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static socklen_t fill_lo(struct sockaddr_storage *ss, uint8_t family)
{
	const struct sockaddr_ll lo = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(family == 4 ? ETH_P_IP : ETH_P_IPV6),
		.sll_ifindex = LOOPBACK_IFINDEX,
		.sll_halen = ETH_ALEN,
	};

	memcpy(ss, &lo, sizeof(lo));
	return sizeof(lo);
}

int tap_inject(struct tap_injector *j, const uint8_t *packet, size_t len,
	       uint32_t mark)
{
	struct iovec iov = { (void *)(uintptr_t)packet, len };
	struct sockaddr_storage ss;
	struct msghdr m = { .msg_name = &ss, .msg_iov = &iov, .msg_iovlen = 1 };
	struct endpoint to;
	struct addr from;
	int fd = socket_of(j, packet, len, &from, &to);

	if (fd < 0)
		return fd;
	if (from.family == 6) {
		fd = j->lo;
		m.msg_namelen = fill_lo(&ss, 6);
	} else {
		m.msg_namelen = endpoint_to_sockaddr(&to, &ss);
	}
	return send_raw(fd, &m, mark);
}

/* Conntrack is to see a segment behind our hook, with its real source: no
 * family may come from a raw socket, whose output hooks show it another. Of an
 * ICMP error it looks at what is quoted, and of IPv4 one from the loopback
 * address would not be let in without a route (a martian). */
int tap_inject_veiled(struct tap_injector *j, const uint8_t *packet, size_t len,
		      uint32_t mark)
{
	uint8_t veiled[PKT_VEILED_MAX];
	struct iovec iov = { veiled, 0 };
	struct sockaddr_storage ss;
	struct msghdr m = { .msg_name = &ss, .msg_iov = &iov, .msg_iovlen = 1 };
	struct pkt p;
	int ret = pkt_veil(packet, len, veiled, sizeof(veiled));

	if (ret < 0)
		return ret;
	iov.iov_len = (size_t)ret;
	if (pkt_parse(veiled, iov.iov_len, &p) != PKT_OK)
		return tap_inject(j, veiled, iov.iov_len, mark);
	m.msg_namelen = fill_lo(&ss, p.family);
	return send_raw(j->lo, &m, mark);
}

/* Of a packet that is complete the kernel takes no source for its route. */
static void name_source(struct msghdr *m, const struct addr *from)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (from->family == 4) {
		struct in_pktinfo info = { 0 };

		memcpy(&info.ipi_spec_dst, from->byte, 4);
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	} else {
		struct in6_pktinfo info = { 0 };

		memcpy(&info.ipi6_addr, from->byte, 16);
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	}
	m->msg_controllen = CMSG_ALIGN(c->cmsg_len);
}

int tap_send(struct tap_injector *j, const uint8_t *packet, size_t len,
	     uint32_t mark)
{
	_Alignas(struct cmsghdr) uint8_t
		control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)packet, len };
	struct sockaddr_storage ss;
	struct msghdr m = {
		.msg_name = &ss, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct endpoint to;
	struct addr from;
	int fd = socket_of(j, packet, len, &from, &to);

	if (fd < 0)
		return fd;
	m.msg_namelen = endpoint_to_sockaddr(&to, &ss);
	name_source(&m, &from);
	return send_raw(fd, &m, mark);
}
