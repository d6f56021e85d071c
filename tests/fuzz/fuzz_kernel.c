/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_kernel: what is read from the kernel by netlink, against any bytes.
 *
 * The first byte says who reads; behind it stand datagrams, each after its
 * length in two bytes, the low one first. The system calls that netlink.c
 * makes are taken over: who waits for an answer gets these datagrams, with the
 * number of his request where they have none, and after the last one the end
 * of a dump; who reads events gets them as they are. A length of 0xffff stands
 * for events that were lost.
 *
 * The corpus holds what a kernel said in the adapters' tests, without those
 * numbers. Rules of others are not here: libnftnl reads them, which ends the
 * program where an expression has no name.
 */
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/steer_impl.h"
#include "netlink.h"
#include "route.h"
#include "rtmon.h"
#include "rule.h"
#include "sockdiag.h"

#include "fuzz.h"

#define LOST 0xffffu
#define SOCKETS_MAX 64

/* What the kernel still has to say, and to whom. */
static struct {
	const uint8_t *at;
	size_t left;
	uint32_t asked[SOCKETS_MAX]; /* number of the last request; 0: none */
	const uint8_t *tag; /* of the table that we would build; or NULL */
} kernel;

/* --- the system calls of netlink.c ---------------------------------------- */

int socket(int domain, int type, int protocol)
{
	int fd;

	(void)type;
	(void)protocol;
	check(domain == AF_NETLINK);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	check(fd >= 0 && fd < SOCKETS_MAX);
	kernel.asked[fd] = 0;
	return fd;
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	(void)fd;
	(void)addr;
	(void)len;
	return 0;
}

int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
	const struct sockaddr_nl is = { .nl_family = AF_NETLINK, .nl_pid = 7 };

	(void)fd;
	check(*len >= sizeof(is));
	memcpy(addr, &is, sizeof(is));
	*len = sizeof(is);
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

ssize_t sendto(int fd, const void *data, size_t len, int flags,
	       const struct sockaddr *to, socklen_t to_len)
{
	struct nlmsghdr nlh;

	(void)flags;
	(void)to;
	(void)to_len;
	check(len >= sizeof(nlh));
	memcpy(&nlh, data, sizeof(nlh));
	kernel.asked[fd] = nlh.nlmsg_seq;
	return (ssize_t)len;
}

int recvmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags,
	     struct timespec *timeout)
{
	(void)fd;
	(void)m;
	(void)n;
	(void)flags;
	(void)timeout;
	errno = EAGAIN;
	return -1;
}

/* The number of the request where there is none. */
static void answer(char *data, size_t len, uint32_t seq)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)data;
	int left = (int)len;

	for (; netlink_has_message(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		if (!nlh->nlmsg_seq)
			nlh->nlmsg_seq = seq;
}

/* A table with the tag of another is no more than looked at. */
static void make_right(char *data, size_t len)
{
	static const uint8_t head[] = { RULE_TAG_TYPE, RULESET_TAG_SIZE };
	char *at = memmem(data, len, head, sizeof(head));

	if (at && len - (size_t)(at - data) >= sizeof(head) + RULESET_TAG_SIZE)
		memcpy(at + sizeof(head), kernel.tag, RULESET_TAG_SIZE);
}

static size_t end_of_dump(char *to)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(to);

	nlh->nlmsg_type = NLMSG_DONE;
	memset(mnl_nlmsg_put_extra_header(nlh, sizeof(int)), 0, sizeof(int));
	return nlh->nlmsg_len;
}

/* False where the next datagram says that some were lost. */
static bool next_datagram(char *to, size_t room, size_t *len)
{
	size_t n = kernel.at[0] | (size_t)kernel.at[1] << 8;

	kernel.at += 2;
	kernel.left -= 2;
	if (n == LOST)
		return false;
	if (n > kernel.left)
		n = kernel.left;
	*len = n < room ? n : room;
	memcpy(to, kernel.at, *len);
	kernel.at += n;
	kernel.left -= n;
	return true;
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	const struct sockaddr_nl from = { .nl_family = AF_NETLINK };
	char *to = m->msg_iov[0].iov_base;
	size_t room = m->msg_iov[0].iov_len, len = 0;

	(void)flags;
	ASAN_UNPOISON_MEMORY_REGION(to, room);
	if (kernel.left < 2 && !kernel.asked[fd]) {
		errno = EAGAIN;
		return -1;
	}
	if (kernel.left < 2) {
		len = end_of_dump(to);
	} else if (!next_datagram(to, room, &len)) {
		errno = ENOBUFS;
		return -1;
	}
	if (kernel.asked[fd])
		answer(to, len, kernel.asked[fd]);
	if (kernel.tag)
		make_right(to, len);
	/* What is behind the datagram nobody may read. */
	ASAN_POISON_MEMORY_REGION(to + len, room - len);
	memcpy(m->msg_name, &from, sizeof(from));
	m->msg_namelen = sizeof(from);
	m->msg_flags = 0;
	return (ssize_t)len;
}

/* An answer there always is. */
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	(void)fds;
	(void)n;
	(void)timeout;
	abort();
}

/* --- who reads ------------------------------------------------------------ */

static struct addr some_addr(uint8_t family)
{
	static const char *const text[] = { "192.0.2.9", "2001:db8::9" };
	struct addr a;

	check(addr_parse(text[family == 6], &a) == 0);
	return a;
}

static void check_addr(const struct addr *a)
{
	check(a->family == 0 || a->family == 4 || a->family == 6);
}

static void check_tuple(const struct tuple *t)
{
	check(t->proto == IPPROTO_TCP || t->proto == IPPROTO_UDP);
	check_addr(&t->local.addr);
	check_addr(&t->remote.addr);
}

static void on_destroyed(const struct sockdiag_entry *e, void *arg)
{
	(void)arg;
	check_tuple(&e->tuple);
}

static int on_socket(const struct sockdiag_entry *e, void *arg)
{
	(void)arg;
	check_tuple(&e->tuple);
	check(e->state <= SOCKDIAG_UNCONNECTED);
	return 0;
}

static void read_sockets(bool events)
{
	const struct tuple t = {
		.proto = IPPROTO_TCP,
		.local = { .addr = some_addr(4), .port = 40000 },
		.remote = { .addr = some_addr(4), .port = 443 },
	};
	struct sockdiag_entry e;
	struct sockdiag *sd;

	check(!sockdiag_open(&sd, on_destroyed, NULL));
	if (events) {
		(void)sockdiag_receive(sd);
	} else {
		(void)sockdiag_dump(sd, SOCKDIAG_TCP | SOCKDIAG_UDP |
					SOCKDIAG_INFO, on_socket, NULL);
		if (!sockdiag_lookup(sd, &t, 0, &e))
			check(tuple_equal(&e.tuple, &t));
	}
	sockdiag_close(sd);
}

static void on_rtmon(const struct rtmon_event *e, void *arg)
{
	(void)arg;
	check_addr(&e->address.addr);
	check(memchr(e->link.name, 0, sizeof(e->link.name)));
}

static void on_settled(void *arg)
{
	(void)arg;
}

static void ask_of_routes(struct rtmon *rt, uint8_t family)
{
	struct rtmon_query q = {
		.dst = some_addr(family),
		.uid = UINT32_MAX,
	};
	struct rtmon_route r;
	uint64_t rank;

	(void)rtmon_rank(rt, &q, &rank);
	if (!rtmon_choose_source(rt, &q, &r)) {
		check_addr(&r.src);
		check_addr(&r.gateway);
	}
	q.src = some_addr(family);
	(void)rtmon_leads_home(rt, &q);
	(void)rtmon_is_broadcast(rt, &q.dst);
}

static void read_routes(bool events)
{
	static const struct rtmon_ops ops = { on_rtmon, on_settled };
	const struct rtmon_config config = { 1021, 1022, 0 };
	const struct rtmon_address *a;
	struct rtmon *rt;
	size_t n;

	if (rtmon_open(&rt, &config, &ops, NULL))
		return;
	if (events)
		(void)rtmon_receive(rt);
	else
		for (uint8_t family = 4; family <= 6; family += 2)
			ask_of_routes(rt, family);
	a = rtmon_addresses(rt, &n);
	for (size_t i = 0; i < n; i++) {
		check(a[i].addr.family == 4 || a[i].addr.family == 6);
		(void)rtmon_usable(rt, &a[i].addr);
	}
	rtmon_close(rt);
}

static void on_tuple(const struct tuple *t, uint64_t left_ms, void *arg)
{
	(void)left_ms;
	(void)arg;
	check_addr(&t->local.addr);
}

static void on_mapped(const struct tuple *t, const struct tuple *to, void *arg)
{
	(void)arg;
	check(t->local.addr.family == to->local.addr.family);
}

static void on_rewritten(const struct steer_rewritten *r, void *arg)
{
	(void)arg;
	check_addr(&r->tuple.local.addr);
}

static void read_table(bool elements)
{
	struct steer s = { .conf = { .counted = true, .maps = true,
				     .limited = true, .mark = 0x10000 } };
	struct steer_counters counters;
	struct print print;
	unsigned int rules;

	check(!netlink_open(&s.nl, NETLINK_NETFILTER, NULL, 0));
	if (elements) {
		(void)steer_elements(&s, STEER_DROP, on_tuple, NULL);
		for (int map = STEER_SEND; map <= STEER_RECV; map++)
			(void)steer_mapped(&s, (enum steer_map)map, on_mapped,
					   NULL);
		(void)steer_rewritten(&s, on_rewritten, NULL);
	} else {
		(void)steer_counters(&s, &counters);
		check(!ruleset_tag(&s.conf, s.conf.tag, &rules));
		kernel.tag = s.conf.tag;
		(void)steer_look_for_own(&s);
		kernel.tag = NULL;
		if (!steer_take_print(&s, &print))
			check(print.rules <= RULES_MAX);
	}
	netlink_close(s.nl);
}

static int on_retained(const struct nlmsghdr *nlh, void *arg)
{
	struct route_object o;
	struct route_other other;

	(void)arg;
	if (route_read_lost(nlh, &o) && o.kind == ROUTE_ENTRY)
		check(o.entry.hops <= ROUTE_HOPS_MAX);
	(void)route_read_lost_link(nlh);
	if (route_read_other(nlh, &other))
		check(other.family == AF_INET || other.family == AF_INET6);
	return 0;
}

static bool keep_some(const struct route_object *o, void *arg)
{
	(void)arg;
	check(o->kind <= ROUTE_COPY);
	return o->kind == ROUTE_RULE;
}

static void read_retained(bool events)
{
	const struct addr a = some_addr(6);
	struct netlink *nl;

	check(!netlink_open(&nl, NETLINK_ROUTE, NULL, 0));
	if (events) {
		(void)netlink_receive(nl, on_retained, NULL);
	} else {
		(void)route_is_known(nl, &a, 3);
		(void)route_drop_unresolved(nl, &a, 3);
		(void)route_sweep(nl, keep_some, NULL);
	}
	check(memchr(netlink_error_text(nl), 0, NETLINK_ERROR_TEXT_MAX));
	netlink_close(nl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { SOCKETS, ROUTES = 2, TABLE = 4, RETAINED = 6, READERS = 8 };
	uint8_t who;

	if (!size)
		return 0;
	who = data[0] % READERS;
	kernel.at = data + 1;
	kernel.left = size - 1;
	switch (who & ~1u) {
	case SOCKETS:
		read_sockets(who & 1);
		break;
	case ROUTES:
		read_routes(who & 1);
		break;
	case TABLE:
		read_table(who & 1);
		break;
	default:
		read_retained(who & 1);
	}
	return 0;
}
