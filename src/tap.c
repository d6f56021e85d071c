/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap: copies of a flow's packets as they pass the interfaces, and the
 * injection of one packet into our own stack.
 *
 * Owns the AF_PACKET socket of one address pair, its filter, and the sockets
 * that inject. Never delays or changes a packet, never judges a proof.
 */
#include "tap.h"

#include "nonce.h"
#include "pkt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IPV6_HDRINCL /* of <linux/in6.h>, which <netinet/in.h> excludes */
#define IPV6_HDRINCL 36
#endif

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define LOOPBACK_IFINDEX 1 /* of lo, in every network namespace */
#define RECEIVE_BUFFER (4 * 1024 * 1024)
#define LINK_HEADER_MAX 64 /* before the IP header, in a copy */
#define WHOLE 0x40000
#define FRAME_MAX (sizeof(struct virtio_net_hdr) + LINK_HEADER_MAX + 65536)
#define FILTER_MAX 64
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
struct tap {
	int fd;
	uint8_t proto;
	struct addr local, remote;
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

/* --- the filter ---------------------------------------------------------- */

/* Jump targets until the program is complete. */
enum { TO_NEXT = 0, TO_REVERSE = 254, TO_REJECT = 255 };

struct program {
	struct sock_filter code[FILTER_MAX];
	uint16_t n;
};

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t jf)
{
	p->code[p->n++] = (struct sock_filter){ code, 0, jf, k };
}

/* Loads with `code` from `k`; goes to `otherwise` if it is not `value`. */
static void need(struct program *p, uint16_t code, uint32_t k, uint32_t value,
		 uint8_t otherwise)
{
	emit(p, BPF_LD | BPF_ABS | code, k, 0);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, value, otherwise);
}

static void need_addr(struct program *p, uint32_t offset, const struct addr *a,
		      uint8_t otherwise)
{
	for (uint32_t i = 0; i < addr_size(a); i += 4) {
		uint32_t be32;

		memcpy(&be32, a->byte + i, sizeof(be32));
		need(p, BPF_W, offset + i, ntohl(be32), otherwise);
	}
}

static void aim(struct program *p, uint8_t mark, uint16_t target)
{
	for (uint16_t i = 0; i < p->n; i++)
		if (BPF_CLASS(p->code[i].code) == BPF_JMP &&
		    p->code[i].jf == mark)
			p->code[i].jf = (uint8_t)(target - i - 1);
}

/* Offsets are taken from the network header, whatever is in front of it. */
static void build_filter(struct program *p, uint8_t proto,
			 const struct addr *local, const struct addr *remote)
{
	const uint32_t net = (uint32_t)SKF_NET_OFF;
	const bool v4 = local->family == 4;
	const uint32_t src = net + (v4 ? 12 : 8), dst = src + (v4 ? 4 : 16);
	const uint32_t snap = proto == IPPROTO_TCP ?
				      TAP_SNAP_TCP + LINK_HEADER_MAX :
				      WHOLE;
	uint16_t reverse;

	memset(p, 0, sizeof(*p));
	need(p, BPF_H, (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL),
	     v4 ? ETH_P_IP : ETH_P_IPV6, TO_REJECT);
	need(p, BPF_B, net + (v4 ? 9 : 6), proto, TO_REJECT);
	if (v4) {
		/* No fragment: neither an offset nor "more to come". */
		emit(p, BPF_LD | BPF_ABS | BPF_H, net + 6, 0);
		emit(p, BPF_ALU | BPF_AND | BPF_K, 0x3fff, 0);
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, TO_REJECT);
	}
	/* Everything on lo has been or will be elsewhere, or is injected. */
	emit(p, BPF_LD | BPF_ABS | BPF_W,
	     (uint32_t)(SKF_AD_OFF + SKF_AD_IFINDEX), 0);
	emit(p, BPF_JMP | BPF_JGT | BPF_K, LOOPBACK_IFINDEX, TO_REJECT);

	need_addr(p, src, local, TO_REVERSE);
	need_addr(p, dst, remote, TO_REJECT);
	emit(p, BPF_RET | BPF_K, snap, 0);
	reverse = p->n;
	need_addr(p, src, remote, TO_REJECT);
	need_addr(p, dst, local, TO_REJECT);
	emit(p, BPF_RET | BPF_K, snap, 0);
	emit(p, BPF_RET | BPF_K, 0, 0);
	aim(p, TO_REVERSE, reverse);
	aim(p, TO_REJECT, (uint16_t)(p->n - 1));
}

/* --- life ---------------------------------------------------------------- */

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno :
									0;
}

/* The filter comes before the protocol, so that no other packet gets in. */
static int prepare(struct tap *tap)
{
	const struct sockaddr_ll all = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
	};
	struct program p;
	struct sock_fprog fprog = { .filter = p.code };
	int err;

	build_filter(&p, tap->proto, &tap->local, &tap->remote);
	fprog.len = p.n;
	if (setsockopt(tap->fd, SOL_SOCKET, SO_ATTACH_FILTER, &fprog,
		       sizeof(fprog)) < 0)
		return -errno;
	err = set_int(tap->fd, SOL_PACKET, PACKET_AUXDATA, 1);
	if (!err)
		err = set_int(tap->fd, SOL_PACKET, PACKET_VNET_HDR, 1);
	if (err)
		return err;
	if (set_int(tap->fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER) < 0)
		(void)set_int(tap->fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
	if (bind(tap->fd, (const struct sockaddr *)&all, sizeof(all)) < 0)
		return -errno;
	return 0;
}

int tap_open(struct tap **out, uint8_t proto, const struct addr *local,
	     const struct addr *remote)
{
	struct tap *tap;
	int err;

	if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) ||
	    !addr_is_set(local) || local->family != remote->family)
		return -EINVAL;
	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	tap->proto = proto;
	tap->local = *local;
	tap->remote = *remote;
	tap->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (tap->fd < 0) {
		err = -errno;
		free(tap);
		return err;
	}
	err = prepare(tap);
	if (err) {
		tap_close(tap);
		return err;
	}
	*out = tap;
	return 0;
}

void tap_close(struct tap *tap)
{
	if (!tap)
		return;
	close(tap->fd);
	free(tap);
}

int tap_fd(const struct tap *tap)
{
	return tap->fd;
}

uint64_t tap_lost(struct tap *tap)
{
	struct tpacket_stats stats = { 0 };
	socklen_t len = sizeof(stats);

	/* Reading sets it back to zero. */
	if (getsockopt(tap->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) <
	    0)
		return 0;
	return stats.tp_drops;
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
		cb(p, arg);
		p->payload += p->payload_len;
		len -= p->payload_len;
	} while (len);
}

static void hand_over(const struct tap *tap, struct copy *c, uint64_t now_ms,
		      tap_callback *cb, void *arg)
{
	struct addr src, dst;
	struct tap_packet p;
	size_t at = read_ip(c, &src, &dst);

	if (!at || c->len < at + 4)
		return;
	memset(&p, 0, sizeof(p));
	p.outgoing = c->from.sll_pkttype == PACKET_OUTGOING;
	/* One that comes in from our own address is somebody's forgery, one
	 * for another host (promiscuous mode) nothing to us. */
	if ((!p.outgoing && c->from.sll_pkttype != PACKET_HOST) ||
	    !addr_equal(p.outgoing ? &src : &dst, &tap->local))
		return;
	p.tuple.local = (struct endpoint){
		tap->local, get_be16(c->ip + at + (p.outgoing ? 0 : 2))
	};
	p.tuple.remote = (struct endpoint){
		tap->remote, get_be16(c->ip + at + (p.outgoing ? 2 : 0))
	};
	p.tuple.proto = tap->proto;
	p.ifindex = (uint32_t)c->from.sll_ifindex;
	p.when_ms = now_ms;
	if (tap->proto == IPPROTO_TCP)
		hand_tcp(c, at, &p, cb, arg);
	else
		hand_udp(c, at, &p, cb, arg);
}

/* 1 for a copy, 0 for one that cannot be used, -errno. */
static int read_copy(struct tap *tap, struct copy *c)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(c->aux))];
	struct iovec iov = { tap->frame, sizeof(tap->frame) };
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
		len = recvmsg(tap->fd, &m, 0);
	} while (len < 0 && errno == EINTR);
	/* EINVAL: a train that PACKET_VNET_HDR has no word for (UDP, before
	 * Linux 6.2). It is taken off the queue all the same. */
	if (len < 0)
		return errno == EINVAL ? 0 : -errno;
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
	memcpy(&c->vnet, tap->frame, head);
	c->ip = tap->frame + head + c->aux.tp_net;
	c->len = (size_t)len - head - c->aux.tp_net;
	c->len_on_wire = c->aux.tp_len - c->aux.tp_net;
	return 1;
}

int tap_receive(struct tap *tap, tap_callback *cb, void *arg)
{
	struct timespec ts;
	uint64_t now_ms;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	now_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	for (int i = 0; i < TAP_READS_PER_WAKE; i++) {
		struct copy c;
		int got = read_copy(tap, &c);

		if (got == -EAGAIN)
			return 0;
		if (got < 0)
			return got;
		if (got)
			hand_over(tap, &c, now_ms, cb, arg);
	}
	return 0;
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
