/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of netlink: answers, errors, torn dumps, lost events, strangers. */
#include "netlink.h"

#include "host.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

struct buffer {
	_Alignas(struct nlmsghdr) char bytes[1024];
};

static struct netlink *open_route(const unsigned *groups, size_t n)
{
	struct netlink *nl;

	assert_int_equal(netlink_open(&nl, NETLINK_ROUTE, groups, n), 0);
	return nl;
}

static struct nlmsghdr *get_addresses(struct buffer *b)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(b->bytes);
	struct ifaddrmsg *ifa;

	nlh->nlmsg_type = RTM_GETADDR;
	nlh->nlmsg_flags = NLM_F_DUMP;
	ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	ifa->ifa_family = AF_INET;
	return nlh;
}

/* 10.x.y.z/32 on va, to be created or deleted. */
static struct nlmsghdr *put_address(void *at, uint16_t type, uint32_t host)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(at);
	struct ifaddrmsg *ifa;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	if (type == RTM_NEWADDR)
		nlh->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
	ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 32;
	ifa->ifa_index = if_nametoindex("va");
	mnl_attr_put_u32(nlh, IFA_LOCAL, htonl(0x0a000000U + host));
	return nlh;
}

static int change(struct netlink *nl, uint16_t type, uint32_t host)
{
	struct buffer b;

	return netlink_request(nl, put_address(&b, type, host), NULL, NULL);
}

static int count(const struct nlmsghdr *nlh, void *arg)
{
	assert_true(nlh->nlmsg_type >= NLMSG_MIN_TYPE);
	++*(unsigned *)arg;
	return 0;
}

static void requests_are_answered(void **state)
{
	struct netlink *nl;
	struct buffer b;
	unsigned before = 0, after = 0;

	(void)HOSTS(state);
	nl = open_route(NULL, 0);
	assert_int_equal(netlink_request(nl, get_addresses(&b), count, &before),
			 0);
	assert_true(before >= 2);
	assert_int_equal(change(nl, RTM_NEWADDR, 1), 0);
	assert_string_equal(netlink_error_text(nl), "");
	assert_int_equal(change(nl, RTM_NEWADDR, 1), -EEXIST);
	assert_int_equal(netlink_request(nl, get_addresses(&b), count, &after),
			 0);
	assert_int_equal(after, before + 1);
	assert_int_equal(change(nl, RTM_DELADDR, 1), 0);
	assert_int_equal(change(nl, RTM_DELADDR, 1), -EADDRNOTAVAIL);
	assert_true(netlink_port(nl) != 0);
	netlink_close(nl);
}

static void the_kernel_says_why(void **state)
{
	struct netlink *nl;
	struct buffer b;
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;

	(void)HOSTS(state);
	nl = open_route(NULL, 0);
	nlh = mnl_nlmsg_put_header(b.bytes);
	nlh->nlmsg_type = RTM_NEWROUTE;
	nlh->nlmsg_flags = NLM_F_CREATE;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = AF_INET;
	rtm->rtm_dst_len = 32;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(nlh, RTA_DST, htonl(0xc0000201));
	mnl_attr_put_u32(nlh, RTA_GATEWAY, htonl(0xc6336401)); /* no way */
	assert_int_equal(netlink_request(nl, nlh, NULL, NULL), -ENETUNREACH);
	assert_string_equal(netlink_error_text(nl),
			    "Nexthop has invalid gateway");
	/* The next success forgets it. */
	assert_int_equal(change(nl, RTM_NEWADDR, 1), 0);
	assert_string_equal(netlink_error_text(nl), "");
	assert_int_equal(change(nl, RTM_DELADDR, 1), 0);
	netlink_close(nl);
}

static void batches_name_the_culprit(void **state)
{
	struct netlink *nl;
	struct buffer b;
	struct nlmsghdr *nlh;
	uint32_t seq[3], failed = 99;
	size_t len = 0;

	(void)HOSTS(state);
	nl = open_route(NULL, 0);
	assert_int_equal(change(nl, RTM_NEWADDR, 2), 0);
	for (uint32_t i = 0; i < 3; i++) {
		nlh = put_address(b.bytes + len, RTM_NEWADDR, i + 1);
		nlh->nlmsg_seq = seq[i] = netlink_next_seq(nl);
		len += nlh->nlmsg_len;
	}
	assert_int_equal(netlink_send_batch(nl, b.bytes, len, &failed, NULL,
					    NULL), -EEXIST);
	assert_int_equal(failed, seq[1]);
	/* The others stand: rtnetlink knows no transactions. */
	len = 0;
	for (uint32_t i = 0; i < 3; i++) {
		nlh = put_address(b.bytes + len, RTM_DELADDR, i + 1);
		nlh->nlmsg_seq = netlink_next_seq(nl);
		len += nlh->nlmsg_len;
	}
	assert_int_equal(netlink_send_batch(nl, b.bytes, len, &failed, NULL,
					    NULL), 0);
	assert_int_equal(failed, 0);
	netlink_close(nl);
}

static void large_batches_pass(void **state)
{
	const uint32_t n = 20000;
	struct netlink *nl;
	size_t len = 0;
	char *bytes;

	(void)HOSTS(state);
	bytes = calloc(n, 64);
	assert_non_null(bytes);
	nl = open_route(NULL, 0);
	/* More than the send buffer of a socket holds by default. */
	for (uint32_t i = 0; i < n; i++) {
		struct nlmsghdr *nlh = put_address(bytes + len, RTM_NEWADDR, 9);

		nlh->nlmsg_seq = i + 1;
		nlh->nlmsg_flags &= (uint16_t)~NLM_F_EXCL;
		nlh->nlmsg_flags |= NLM_F_REPLACE;
		len += nlh->nlmsg_len;
	}
	assert_true(len > 500000);
	assert_int_equal(netlink_send_batch(nl, bytes, len, NULL, NULL, NULL),
			 0);
	assert_int_equal(change(nl, RTM_DELADDR, 9), 0);
	free(bytes);
	netlink_close(nl);
}

static void fill_with_addresses(uint16_t type, uint32_t n)
{
	struct netlink *nl = open_route(NULL, 0);

	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(change(nl, type, 1000 + i), 0);
	netlink_close(nl);
}

struct tear {
	struct netlink *other;
	unsigned objects, tears, max;
	uint32_t host;
};

/* Changes the table under the dump: the kernel marks the rest. */
static int tear(const struct nlmsghdr *nlh, void *arg)
{
	struct tear *t = arg;

	(void)nlh;
	if (t->objects++ % 500 == 0 && t->tears < t->max) {
		t->tears++;
		assert_int_equal(change(t->other, RTM_NEWADDR, ++t->host), 0);
	}
	return 0;
}

static void torn_dumps_are_taken_again(void **state)
{
	const uint32_t n = 1500;
	struct tear t = { .max = 1 };
	struct netlink *nl;
	struct buffer b;

	(void)HOSTS(state);
	fill_with_addresses(RTM_NEWADDR, n);
	nl = open_route(NULL, 0);
	t.other = open_route(NULL, 0);
	assert_int_equal(netlink_request(nl, get_addresses(&b), tear, &t), 0);
	assert_int_equal(t.tears, 1);
	assert_true(t.objects > 2 * n); /* told twice */
	/* One that never comes out whole is given up. */
	t.max = 500;
	t.objects = 0;
	assert_int_equal(netlink_request(nl, get_addresses(&b), tear, &t),
			 -EAGAIN);
	assert_true(t.objects >= NETLINK_DUMP_TRIES * n);
	/* The socket is in order all the same. */
	assert_int_equal(change(nl, RTM_DELADDR, 1), 0);
	for (uint32_t host = 2; host <= t.host; host++)
		assert_int_equal(change(nl, RTM_DELADDR, host), 0);
	fill_with_addresses(RTM_DELADDR, n);
	netlink_close(t.other);
	netlink_close(nl);
}

static int refuse(const struct nlmsghdr *nlh, void *arg)
{
	(void)nlh;
	++*(unsigned *)arg;
	return -ECANCELED;
}

static void a_callback_can_end_it(void **state)
{
	struct netlink *nl;
	struct buffer b;
	unsigned n = 0;

	(void)HOSTS(state);
	nl = open_route(NULL, 0);
	assert_int_equal(netlink_request(nl, get_addresses(&b), refuse, &n),
			 -ECANCELED);
	assert_int_equal(n, 1);
	assert_int_equal(netlink_request(nl, get_addresses(&b), count, &n), 0);
	netlink_close(nl);
}

static void events_arrive_and_get_lost(void **state)
{
	const unsigned groups[] = { RTNLGRP_IPV4_IFADDR };
	struct netlink *events, *nl;
	unsigned n = 0;
	int err = 0;

	(void)HOSTS(state);
	nl = open_route(NULL, 0);
	events = open_route(groups, 1);
	assert_int_equal(netlink_receive(events, count, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(change(nl, RTM_NEWADDR, 1), 0);
	assert_int_equal(change(nl, RTM_DELADDR, 1), 0);
	assert_int_equal(netlink_receive(events, count, &n), 0);
	assert_int_equal(n, 2);

	assert_int_equal(netlink_set_buffer(events, 4096), 0);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(change(nl, RTM_NEWADDR, 1), 0);
		assert_int_equal(change(nl, RTM_DELADDR, 1), 0);
	}
	assert_int_equal(netlink_receive(events, count, &n), -ENOBUFS);
	assert_int_equal(netlink_discard(events), 0);
	n = 0;
	err = netlink_receive(events, count, &n);
	assert_int_equal(err, 0);
	assert_int_equal(n, 0);
	assert_int_equal(change(nl, RTM_NEWADDR, 1), 0);
	assert_int_equal(netlink_receive(events, count, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(change(nl, RTM_DELADDR, 1), 0);
	netlink_close(events);
	netlink_close(nl);
}

/* Any process may send to a netlink address. */
static void only_the_kernel_is_believed(void **state)
{
	const unsigned groups[] = { RTNLGRP_IPV4_IFADDR };
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	struct netlink *events;
	struct nlmsghdr *nlh;
	struct buffer b;
	unsigned n = 0;
	int liar;

	(void)HOSTS(state);
	events = open_route(groups, 1);
	liar = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	assert_true(liar >= 0);
	to.nl_pid = netlink_port(events);
	nlh = put_address(&b, RTM_DELADDR, 1);
	assert_int_equal(sendto(liar, nlh, nlh->nlmsg_len, 0,
				(struct sockaddr *)&to, sizeof(to)),
			 (ssize_t)nlh->nlmsg_len);
	assert_true(host_readable(netlink_fd(events), HOST_WAIT_MS));
	assert_int_equal(netlink_receive(events, count, &n), 0);
	assert_int_equal(n, 0);
	close(liar);
	netlink_close(events);
}

static void bad_calls_are_refused(void **state)
{
	unsigned groups[NETLINK_GROUPS_MAX + 1] = { 0 };
	struct netlink *nl;

	(void)HOSTS(state);
	assert_int_equal(netlink_open(&nl, NETLINK_ROUTE, groups,
				      NETLINK_GROUPS_MAX + 1), -EINVAL);
	groups[0] = 5000;
	assert_int_equal(netlink_open(&nl, NETLINK_ROUTE, groups, 1), -EINVAL);
	assert_int_equal(netlink_open(&nl, 77, NULL, 0), -EPROTONOSUPPORT);
	netlink_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_answered),
		cmocka_unit_test(the_kernel_says_why),
		cmocka_unit_test(batches_name_the_culprit),
		cmocka_unit_test(large_batches_pass),
		cmocka_unit_test(torn_dumps_are_taken_again),
		cmocka_unit_test(a_callback_can_end_it),
		cmocka_unit_test(events_arrive_and_get_lost),
		cmocka_unit_test(only_the_kernel_is_believed),
		cmocka_unit_test(bad_calls_are_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("netlink", tests, hosts_open,
					   hosts_close);
}
