/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_queue: packets as the kernel hands them over, against any bytes: by
 * NFQUEUE (pktq) and by packet sockets (tap).
 *
 * The first byte says who reads, and how the kernel is; behind it stand
 * records. The system calls of pktq.c, verdict.c and tap.c are taken over: each
 * read gets the next of them, and what is sent must be verdicts, one for each
 * packet. A record is
 *
 *	length (2 bytes, the low one first), how (1)
 *	for tap: struct sockaddr_ll, struct tpacket_auxdata
 *	`length` bytes: a datagram, or a copy
 *
 * `how` tells pktq's datagrams of the cutter from those of the main queue.
 *
 * The corpus holds what a kernel said in the adapters' tests.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_packet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netlink.h"
#include "pktq.h"
#include "tap.h"

#include "fuzz.h"

/* Of the first byte. */
#define WHO_TAP 1u
#define ANSWERED 2u /* the first records answer pktq's configuration */
#define BUSY 4u /* each third verdict cannot be sent */

/* Of a record; what fails does so with an error that its length chooses. */
#define FAILS 1u
#define CUTTER 2u
#define STRANGER 4u /* no kernel sent it */
#define TOO_LONG 8u
#define LAST 16u /* of those that one read gets */
#define UNTOLD 2u /* no PACKET_AUXDATA comes with it */
#define TURN 4u /* its callback closes a tap, and opens it again */
#define TURN_ALL 8u
#define MORE 16u /* one more waits behind it, when that is asked */
#define LEAVE 32u /* its callback closes all taps */

#define NUMBER 100
#define BUFFERS_MAX 64
#define HELD_MAX 64
#define VERDICT_MAX (70000u * 4)

struct record {
	uint8_t how;
	struct sockaddr_ll from;
	struct tpacket_auxdata aux;
	const uint8_t *data;
	size_t len;
};

/* The records that one socket has not read. */
struct records {
	const uint8_t *at;
	size_t left;
};

static struct {
	uint8_t flags;
	struct records main, cutter, copies;
	int last_fd[2]; /* of the sockets opened, the last and that before */
	struct {
		uint8_t *at;
		size_t len;
	} poisoned[BUFFERS_MAX];
	unsigned int n_poisoned;

	/* pktq */
	bool cutter_is_dry;
	uint64_t packets, verdicts, sends; /* handed over, taken, tried */
	uint64_t held[HELD_MAX];
	unsigned int n_held;

	/* tap */
	struct taps *taps;
	void *heard; /* of the socket that is waited for */
	int heard_fd;
	uint8_t how; /* of the copy that was read last */
	struct tpacket_auxdata aux;
	size_t frame_len, handed;
	uint32_t read, told; /* copies, and what PACKET_STATISTICS has said */
} kernel;

static const int errors[] = { EAGAIN, EINTR, ENOBUFS, EINVAL, ENETDOWN };

/* --- records -------------------------------------------------------------- */

/* What is too short is the end. */
static bool take(struct records *r, void *to, size_t len)
{
	if (r->left < len) {
		r->left = 0;
		return false;
	}
	memcpy(to, r->at, len);
	r->at += len;
	r->left -= len;
	return true;
}

static bool next_record(struct records *all, bool is_copy, struct record *r)
{
	uint8_t head[3];

	if (!take(all, head, sizeof(head)))
		return false;
	r->how = head[2];
	if (is_copy && !(take(all, &r->from, sizeof(r->from)) &&
			 take(all, &r->aux, sizeof(r->aux))))
		return false;
	r->len = head[0] | (size_t)head[1] << 8;
	if (r->len > all->left)
		r->len = all->left;
	r->data = all->at;
	all->at += r->len;
	all->left -= r->len;
	return true;
}

/* Of those of both queues, the next of this one. */
static bool next_of_queue(bool cutter, struct record *r)
{
	struct records *all = cutter ? &kernel.cutter : &kernel.main;

	do {
		if (!next_record(all, false, r))
			return false;
	} while (((r->how & CUTTER) != 0) != cutter);
	return true;
}

static int fail(const struct record *r)
{
	errno = errors[r->len % (sizeof(errors) / sizeof(*errors))];
	return -1;
}

/* What is behind the data nobody may read; nor what is `no_use`. */
static size_t fill(const struct iovec *iov, const struct record *r, bool no_use)
{
	size_t len = r->len < iov->iov_len ? r->len : iov->iov_len;
	uint8_t *to = iov->iov_base;
	unsigned int i = 0;

	ASAN_UNPOISON_MEMORY_REGION(to, iov->iov_len);
	memcpy(to, r->data, len);
	ASAN_POISON_MEMORY_REGION(to + len, iov->iov_len - len);
	if (no_use)
		ASAN_POISON_MEMORY_REGION(to, len);
	while (i < kernel.n_poisoned && kernel.poisoned[i].at != to)
		i++;
	check(i < BUFFERS_MAX);
	kernel.poisoned[i].at = to;
	kernel.poisoned[i].len = iov->iov_len;
	if (i == kernel.n_poisoned)
		kernel.n_poisoned++;
	return len;
}

/* The memory may become somebody else's. */
static void unpoison(void)
{
	for (unsigned int i = 0; i < kernel.n_poisoned; i++)
		ASAN_UNPOISON_MEMORY_REGION(kernel.poisoned[i].at,
					    kernel.poisoned[i].len);
}

/* --- the system calls ----------------------------------------------------- */

int socket(int domain, int type, int protocol)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)domain;
	(void)type;
	(void)protocol;
	check(fd >= 0);
	kernel.last_fd[0] = kernel.last_fd[1];
	kernel.last_fd[1] = fd;
	return fd;
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	(void)fd;
	(void)addr;
	(void)len;
	return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	(void)fd;
	(void)level;
	(void)name;
	(void)value;
	(void)len;
	return 0;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct tpacket_stats stats = { 0 };
	uint32_t now = kernel.read + ((kernel.how & MORE) != 0);

	(void)fd;
	if (level != SOL_PACKET || name != PACKET_STATISTICS) {
		memset(value, 0, *len);
		return 0;
	}
	if (now < kernel.told)
		now = kernel.told;
	stats.tp_packets = now - kernel.told;
	kernel.told = now;
	check(*len >= sizeof(stats));
	memcpy(value, &stats, sizeof(stats));
	return 0;
}

/* The cutter is opened after the main queue, and both stay. */
static bool is_cutter(int fd)
{
	return kernel.last_fd[0] >= 0 && fd == kernel.last_fd[1];
}

/* Of the verdicts, each third in a busy kernel. */
static bool is_busy(void)
{
	return (kernel.flags & BUSY) && ++kernel.sends % 3 == 0;
}

static void take_verdict(int fd, const struct nlmsghdr *nlh)
{
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	const char *end = (const char *)nlh + nlh->nlmsg_len;
	const struct nlattr *attr;
	unsigned int headers = 0;

	check(nlh->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT));
	check(ntohs(nfg->res_id) ==
	      NUMBER + (is_cutter(fd) ? PKTQ_CUTTER_OFFSET : 0));
	for (attr = mnl_nlmsg_get_payload_offset(nlh, sizeof(*nfg));
	     mnl_attr_ok(attr, (int)(end - (const char *)attr));
	     attr = mnl_attr_next(attr))
		headers += mnl_attr_get_type(attr) == NFQA_VERDICT_HDR;
	check((const char *)attr >= end && headers == 1);
	kernel.verdicts++;
}

static void take_verdicts(int fd, const uint8_t *data, size_t len)
{
	const struct nlmsghdr *nlh = (const void *)data;
	int left = (int)len;

	check(len > 0);
	for (; netlink_has_message(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		take_verdict(fd, nlh);
	check(left == 0);
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
	_Alignas(struct nlmsghdr) uint8_t copy[256];
	struct nlmsghdr nlh;

	(void)flags;
	check(len >= sizeof(nlh) && len <= sizeof(copy));
	memcpy(&nlh, data, sizeof(nlh));
	if (nlh.nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG))
		return (ssize_t)len;
	memcpy(copy, data, len);
	take_verdicts(fd, copy, len);
	return (ssize_t)len;
}

int sendmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags)
{
	static _Alignas(struct nlmsghdr) uint8_t copy[VERDICT_MAX];

	(void)flags;
	check(n > 0);
	if (is_busy()) {
		errno = ENOBUFS;
		return -1;
	}
	for (unsigned int i = 0; i < n; i++) {
		const struct msghdr *h = &m[i].msg_hdr;
		size_t len = 0;

		for (size_t k = 0; k < h->msg_iovlen; k++) {
			check(h->msg_iov[k].iov_len <= sizeof(copy) - len);
			memcpy(copy + len, h->msg_iov[k].iov_base,
			       h->msg_iov[k].iov_len);
			len += h->msg_iov[k].iov_len;
		}
		take_verdicts(fd, copy, len);
	}
	return (int)n;
}

/* What answers the configuration of a queue. */
ssize_t recv(int fd, void *to, size_t room, int flags)
{
	struct nlmsghdr *nlh = to;
	struct record r;

	(void)flags;
	check(room >= NLMSG_SPACE(sizeof(struct nlmsgerr)));
	if ((kernel.flags & ANSWERED) && next_of_queue(is_cutter(fd), &r)) {
		if (r.how & FAILS)
			return fail(&r);
		if (r.len > room)
			r.len = room;
		memcpy(to, r.data, r.len);
		return (ssize_t)r.len;
	}
	memset(to, 0, NLMSG_SPACE(sizeof(struct nlmsgerr)));
	nlh->nlmsg_len = NLMSG_LENGTH(sizeof(struct nlmsgerr));
	nlh->nlmsg_type = NLMSG_ERROR;
	return (ssize_t)nlh->nlmsg_len;
}

static void hand_datagram(struct mmsghdr *m, const struct record *r)
{
	const struct sockaddr_nl from = {
		.nl_family = AF_NETLINK,
		.nl_pid = (r->how & STRANGER) ? 7 : 0,
	};

	check(m->msg_hdr.msg_namelen >= sizeof(from));
	memcpy(m->msg_hdr.msg_name, &from, sizeof(from));
	m->msg_hdr.msg_namelen = sizeof(from);
	m->msg_len = (unsigned int)fill(m->msg_hdr.msg_iov, r,
					(r->how & (STRANGER | TOO_LONG)) != 0);
	m->msg_hdr.msg_flags = (r->how & TOO_LONG) ? MSG_TRUNC : 0;
}

int recvmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags,
	     struct timespec *timeout)
{
	const bool cutter = is_cutter(fd);
	struct records *all = cutter ? &kernel.cutter : &kernel.main;
	unsigned int i = 0;
	struct record r;

	(void)timeout;
	check(flags == MSG_DONTWAIT);
	while (i < n) {
		struct records here = *all;

		if (!next_of_queue(cutter, &r))
			break;
		if (r.how & FAILS) {
			if (!i) {
				kernel.cutter_is_dry |= cutter;
				return fail(&r);
			}
			*all = here; /* the next read fails */
			break;
		}
		hand_datagram(&m[i++], &r);
		if (r.how & LAST)
			break;
	}
	if (cutter)
		kernel.cutter_is_dry = !i;
	if (i)
		return (int)i;
	errno = EAGAIN;
	return -1;
}

static void tell_auxdata(struct msghdr *m, const struct record *r)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (r->how & UNTOLD) {
		m->msg_controllen = 0;
		return;
	}
	check(m->msg_controllen >= CMSG_SPACE(sizeof(r->aux)));
	c->cmsg_level = SOL_PACKET;
	c->cmsg_type = PACKET_AUXDATA;
	c->cmsg_len = CMSG_LEN(sizeof(r->aux));
	memcpy(CMSG_DATA(c), &r->aux, sizeof(r->aux));
	m->msg_controllen = CMSG_SPACE(sizeof(r->aux));
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	struct record r;

	(void)flags;
	check(kernel.heard && fd == kernel.heard_fd);
	if (!next_record(&kernel.copies, true, &r)) {
		errno = EAGAIN;
		return -1;
	}
	kernel.how = r.how;
	kernel.aux = r.aux;
	kernel.handed = 0;
	if (r.how & FAILS) {
		(void)fail(&r);
		kernel.read += errno == EINVAL; /* that one is taken off */
		return -1;
	}
	kernel.read++;
	check(m->msg_namelen >= sizeof(r.from));
	memcpy(m->msg_name, &r.from, sizeof(r.from));
	m->msg_namelen = sizeof(r.from);
	tell_auxdata(m, &r);
	m->msg_flags = 0;
	kernel.frame_len = fill(m->msg_iov, &r, (r.how & UNTOLD) != 0);
	return (ssize_t)kernel.frame_len;
}

int epoll_create1(int flags)
{
	(void)flags;
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* There are too few taps for two sockets at a time. */
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *ev)
{
	(void)epoll;
	if (op == EPOLL_CTL_DEL) {
		check(kernel.heard && fd == kernel.heard_fd);
		kernel.heard = NULL;
		return 0;
	}
	check(op == EPOLL_CTL_ADD && !kernel.heard);
	kernel.heard = ev->data.ptr;
	kernel.heard_fd = fd;
	return 0;
}

int epoll_wait(int epoll, struct epoll_event *ev, int n, int timeout)
{
	(void)epoll;
	(void)timeout;
	check(n > 0);
	if (!kernel.heard || !kernel.copies.left)
		return 0;
	ev->events = EPOLLIN;
	ev->data.ptr = kernel.heard;
	return 1;
}

/* --- who reads ------------------------------------------------------------ */

static void touch(const uint8_t *data, size_t len)
{
	volatile uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + data[i]);
}

static void change(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] ^= 0x55;
}

/* What its id says; that of the kernel's is any. */
static void decide(struct pktq *q, struct pktq_packet *p)
{
	const uint32_t mark = 0x77;

	switch (p->id & 7) {
	case 0:
		pktq_drop(q, p->id);
		break;
	case 1:
		pktq_accept(q, p->id, &mark);
		break;
	case 2:
		pktq_pass_on(q, p->id, NUMBER + 1);
		break;
	case 3:
		check(pktq_read(q) == -EBUSY);
		pktq_accept(q, p->id, NULL);
		break;
	case 4:
		if (kernel.n_held < HELD_MAX)
			kernel.held[kernel.n_held++] = p->id;
		else
			pktq_drop(q, p->id);
		break;
	default:
		change(p->data, p->len);
		if (pktq_accept_payload(q, p->id, p->data, p->len,
					p->id & 1 ? &mark : NULL) == -EMSGSIZE)
			pktq_drop(q, p->id);
	}
}

static void on_packet(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	(void)ctx;
	kernel.packets++;
	check((uint32_t)p->id != 0);
	check(p->id >> 32 == NUMBER ||
	      p->id >> 32 == NUMBER + PKTQ_CUTTER_OFFSET);
	check(p->data && p->full_len >= p->len);
	touch(p->data, p->len);
	decide(q, p);
}

/* Who cuts one reads on until the cutter is empty: nobody waits for it. */
static void read_main(struct pktq *q)
{
	int n;

	do {
		uint64_t before = kernel.packets +
				  pktq_counters(q)->damaged;

		kernel.cutter_is_dry = true;
		n = pktq_read(q);
		check(n < 0 || (kernel.cutter_is_dry &&
				(uint64_t)n == kernel.packets +
				pktq_counters(q)->damaged - before));
	} while (n >= 0 && kernel.main.left);
}

static void read_queue(void)
{
	const struct pktq_config config = {
		.number = NUMBER,
		.packet_cb = on_packet,
	};
	const struct pktq_counters *c;
	struct pktq *q;
	int err = pktq_open(&config, &q);

	check(err <= 0);
	if (err)
		return;
	read_main(q);
	while (kernel.n_held)
		pktq_accept(q, kernel.held[--kernel.n_held], NULL);
	pktq_flush(q);
	c = pktq_counters(q);
	check(c->packets == kernel.packets);
	check(c->verdicts == c->packets + c->cut + c->damaged);
	check(c->verdicts == kernel.verdicts);
	check((kernel.flags & BUSY) || !c->unsent);
	unpoison();
	pktq_close(q);
}

#define TAPS 8
static struct tap *taps[TAPS];

/* Tap `i` is of one of two protocols, families and directions. */
static void pair_of(unsigned int i, uint8_t *proto, struct addr *local,
		    struct addr *remote)
{
	static const char *const text[2][2] = { { "10.9.0.1", "10.9.0.2" },
						{ "fd09::1", "fd09::2" } };
	const char *const *end = text[i >> 1 & 1];

	*proto = i & 1 ? IPPROTO_TCP : IPPROTO_UDP;
	check(addr_parse(end[i >> 2], local) == 0);
	check(addr_parse(end[!(i >> 2)], remote) == 0);
}

static void open_tap(unsigned int i)
{
	struct addr local, remote;
	uint8_t proto;

	pair_of(i, &proto, &local, &remote);
	check(!tap_open(kernel.taps, &taps[i], proto, &local, &remote));
}

static unsigned int tap_of(const struct tuple *t)
{
	struct addr local, remote;
	uint8_t proto;

	for (unsigned int i = 0; i < TAPS; i++) {
		pair_of(i, &proto, &local, &remote);
		if (t->proto == proto && addr_equal(&t->local.addr, &local) &&
		    addr_equal(&t->remote.addr, &remote))
			return i;
	}
	abort();
}

static void close_taps(unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++) {
		tap_close(taps[i]);
		taps[i] = NULL;
	}
}

static void turn(unsigned int first, unsigned int n)
{
	close_taps(first, n);
	for (unsigned int i = first; i < first + n; i++)
		open_tap(i);
}

static void on_copy(const struct tap_packet *p, void *arg)
{
	unsigned int i = tap_of(&p->tuple);

	(void)arg;
	check((p->payload == NULL) == (p->tuple.proto == IPPROTO_TCP));
	check(p->payload_len < kernel.aux.tp_len);
	if (p->payload) {
		touch(p->payload, p->payload_len);
		kernel.handed += p->payload_len;
		check(kernel.handed <= kernel.frame_len);
	}
	if (kernel.how & LEAVE)
		close_taps(0, TAPS);
	else if (kernel.how & TURN_ALL)
		turn(0, TAPS);
	else if (kernel.how & TURN)
		turn(i, 1);
	kernel.how &= (uint8_t)~(LEAVE | TURN_ALL | TURN);
}

static void read_copies(void)
{
	kernel.heard = NULL;
	check(!taps_open(&kernel.taps, NULL));
	for (unsigned int i = 0; i < TAPS; i++)
		open_tap(i);
	while (kernel.copies.left && kernel.heard)
		(void)taps_receive(kernel.taps, on_copy, NULL);
	check(taps_lost(kernel.taps) == 0);
	taps_step(kernel.taps, taps_due_ms(kernel.taps));
	check(!kernel.heard == !taps[0]);
	unpoison();
	taps_close(kernel.taps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct records all;

	if (!size)
		return 0;
	all = (struct records){ data + 1, size - 1 };
	memset(&kernel, 0, sizeof(kernel));
	kernel.flags = data[0];
	kernel.main = kernel.cutter = kernel.copies = all;
	kernel.last_fd[0] = kernel.last_fd[1] = -1;
	if (kernel.flags & WHO_TAP)
		read_copies();
	else
		read_queue();
	return 0;
}
