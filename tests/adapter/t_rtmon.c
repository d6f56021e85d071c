/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of rtmon: what it tells, and what it knows afterwards. */
#include "rtmon.h"

#include "host.h"

#define EVENTS_MAX 4096
#define OWN_TABLE 1021

struct told {
	struct rtmon *rt;
	struct rtmon_event events[EVENTS_MAX];
	size_t n;
	bool only_removed; /* others are not noted */
	unsigned settled;
	size_t at_settled; /* events told when it settled */
};

static void on_event(const struct rtmon_event *e, void *arg)
{
	struct told *t = arg;

	if (t->only_removed && e->kind != RTMON_ADDR_REMOVED &&
	    e->kind != RTMON_LINK_DOWN)
		return;
	assert_true(t->n < EVENTS_MAX);
	t->events[t->n++] = *e;
	/* The tables show it already. */
	if (e->kind == RTMON_ADDR_ADDED)
		assert_true(rtmon_is_own(t->rt, &e->address.addr));
}

static void on_settled(void *arg)
{
	struct told *t = arg;

	t->settled++;
	t->at_settled = t->n;
}

static const struct rtmon_ops ops = { on_event, on_settled };

static struct told *watch(int event_buffer)
{
	const struct rtmon_config config = {
		.own_table_first = OWN_TABLE,
		.own_table_last = OWN_TABLE + 1,
		.event_buffer = event_buffer,
	};
	struct told *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	assert_int_equal(rtmon_open(&t->rt, &config, &ops, t), 0);
	assert_int_equal(t->n, 0);
	return t;
}

static void unwatch(struct told *t)
{
	rtmon_close(t->rt);
	free(t);
}

/* The kernel has queued an event when the command that caused it returns. */
static void pump(struct told *t)
{
	while (host_readable(rtmon_fd(t->rt), 0))
		assert_int_equal(rtmon_receive(t->rt), 0);
}

static const struct rtmon_event *find(const struct told *t,
				      enum rtmon_kind kind, const char *addr)
{
	for (size_t i = 0; i < t->n; i++) {
		char text[ADDR_TEXT_MAX];

		if (t->events[i].kind == kind &&
		    (!addr || strcmp(addr_format(&t->events[i].address.addr,
						 text), addr) == 0))
			return &t->events[i];
	}
	return NULL;
}

/* Reads on until it has been told; fails where it never is. */
static struct rtmon_event wait_for(struct told *t, enum rtmon_kind kind,
				   const char *addr)
{
	const struct rtmon_event *e;

	while ((e = find(t, kind, addr)) == NULL) {
		assert_true(host_readable(rtmon_fd(t->rt), HOST_WAIT_MS));
		assert_int_equal(rtmon_receive(t->rt), 0);
	}
	assert_true(t->settled > 0);
	assert_int_equal(t->at_settled, t->n);
	return *e;
}

static void forget(struct told *t)
{
	pump(t);
	t->n = t->settled = 0;
}

static bool usable(const struct told *t, const char *text)
{
	struct addr a = host_addr(text);

	return rtmon_usable(t->rt, &a);
}

static void the_first_state_is_read(void **state)
{
	struct rtmon_link link;
	struct addr a = host_addr(HOST_A4);
	const struct rtmon_address *x;
	struct told *t;
	size_t n;

	(void)HOSTS(state);
	t = watch(0);
	assert_non_null(rtmon_addresses(t->rt, &n));
	assert_true(n >= 4); /* 127.0.0.1, ::1 and ours */
	x = rtmon_find(t->rt, &a);
	assert_non_null(x);
	assert_int_equal(x->prefixlen, 24);
	assert_true(x->permanent && !x->deprecated && !x->on_lo);
	link = *rtmon_link(t->rt, x->ifindex);
	assert_string_equal(link.name, "va");
	assert_true(link.up && !link.tunnel && !link.loopback);
	assert_int_equal(link.mtu, 1500);
	assert_ptr_equal(rtmon_link_by_name(t->rt, "va"),
			 rtmon_link(t->rt, x->ifindex));
	assert_null(rtmon_link_by_name(t->rt, "nothing"));
	assert_true(rtmon_link_by_name(t->rt, "lo")->loopback);
	assert_true(usable(t, HOST_A4) && usable(t, HOST_A6));
	assert_false(usable(t, HOST_B4) || usable(t, "127.0.0.1"));
	a = host_addr("127.3.3.3");
	assert_true(rtmon_is_own(t->rt, &a));
	assert_null(rtmon_find(t->rt, &a));
	a = host_addr(HOST_B4);
	assert_false(rtmon_is_own(t->rt, &a));
	unwatch(t);
}

static void addresses_come_change_and_go(void **state)
{
	struct rtmon_event e;
	struct told *t;

	(void)HOSTS(state);
	t = watch(0);
	host_run("ip addr add 10.9.0.7/24 dev va");
	e = wait_for(t, RTMON_ADDR_ADDED, "10.9.0.7");
	assert_true(e.address.permanent);
	assert_true(usable(t, "10.9.0.7"));
	forget(t);
	/* A lifetime is no news, the end of it is. */
	host_run("ip addr change 10.9.0.7/24 dev va preferred_lft 0 "
		 "valid_lft 500");
	e = wait_for(t, RTMON_ADDR_CHANGED, "10.9.0.7");
	assert_true(e.address.deprecated && !e.before.deprecated);
	assert_true(e.before.permanent && !e.address.permanent);
	assert_true(usable(t, "10.9.0.7"));
	forget(t);
	host_run("ip addr change 10.9.0.7/24 dev va preferred_lft 0 "
		 "valid_lft 400");
	pump(t);
	assert_null(find(t, RTMON_ADDR_CHANGED, NULL));
	host_run("ip addr del 10.9.0.7/24 dev va");
	e = wait_for(t, RTMON_ADDR_REMOVED, "10.9.0.7");
	assert_true(e.address.deprecated);
	assert_false(usable(t, "10.9.0.7"));
	forget(t);

	host_run("ip addr add fd09::7/64 dev va nodad");
	e = wait_for(t, RTMON_ADDR_ADDED, "fd09::7");
	host_run("ip addr change fd09::7/64 dev va preferred_lft 0 "
		 "valid_lft 500");
	e = wait_for(t, RTMON_ADDR_CHANGED, "fd09::7");
	assert_true(e.address.deprecated);
	host_run("ip addr del fd09::7/64 dev va");
	(void)wait_for(t, RTMON_ADDR_REMOVED, "fd09::7");
	unwatch(t);
}

/* Without promote_secondaries the second goes with the first. */
static void the_second_address_goes_with_the_first(void **state)
{
	struct told *t;

	(void)HOSTS(state);
	host_run("sysctl -qw net.ipv4.conf.all.promote_secondaries=0 "
		 "net.ipv4.conf.va.promote_secondaries=0");
	host_run("ip addr add 10.8.0.1/24 dev va && "
		 "ip addr add 10.8.0.2/24 dev va");
	t = watch(0);
	host_run("ip addr del 10.8.0.1/24 dev va");
	(void)wait_for(t, RTMON_ADDR_REMOVED, "10.8.0.1");
	(void)wait_for(t, RTMON_ADDR_REMOVED, "10.8.0.2");
	unwatch(t);
}

static void duplicate_detection_is_told(void **state)
{
	struct rtmon_event e;
	struct told *t;

	(void)HOSTS(state);
	t = watch(0);
	host_run("ip addr add fd09::dad/64 dev va");
	e = wait_for(t, RTMON_ADDR_ADDED, "fd09::dad");
	assert_true(e.address.tentative);
	assert_false(usable(t, "fd09::dad"));
	e = wait_for(t, RTMON_ADDR_CHANGED, "fd09::dad");
	assert_false(e.address.tentative);
	assert_true(usable(t, "fd09::dad"));
	/* The other host has this one. */
	forget(t);
	host_run("ip addr add " HOST_B6 "/64 dev va");
	e = wait_for(t, RTMON_ADDR_CHANGED, HOST_B6);
	assert_true(e.address.dadfailed);
	assert_false(usable(t, HOST_B6));
	host_run("ip addr del " HOST_B6 "/64 dev va");
	host_run("ip addr del fd09::dad/64 dev va");
	unwatch(t);
}

static void links_go_down_and_up(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct rtmon_event e;
	struct told *t = watch(0);

	host_enter(h->b);
	host_run("ip link set vb down"); /* a's carrier goes */
	host_enter(h->a);
	e = wait_for(t, RTMON_LINK_DOWN, NULL);
	assert_string_equal(e.link.name, "va");
	assert_false(usable(t, HOST_A4));
	forget(t);
	host_enter(h->b);
	host_run("ip link set vb up && ip addr replace " HOST_B6
		 "/64 dev vb nodad");
	host_settle(HOST_B6);
	host_enter(h->a);
	(void)wait_for(t, RTMON_LINK_UP, NULL);
	assert_true(usable(t, HOST_A4));
	forget(t);

	host_run("ip link add gone type veth peer name gone2 && "
		 "ip addr add 10.7.0.1/24 dev gone && ip link set gone2 up && "
		 "ip link set gone up");
	(void)wait_for(t, RTMON_LINK_UP, NULL);
	assert_true(usable(t, "10.7.0.1"));
	host_run("ip link del gone");
	(void)wait_for(t, RTMON_ADDR_REMOVED, "10.7.0.1");
	(void)wait_for(t, RTMON_LINK_DOWN, NULL);
	assert_null(rtmon_link_by_name(t->rt, "gone"));
	e = wait_for(t, RTMON_LINK_GONE, NULL);
	assert_string_equal(e.link.name, "gone");
	unwatch(t);
}

static void routes_and_rules_are_told_once(void **state)
{
	struct told *t;
	unsigned n = 0;

	(void)HOSTS(state);
	t = watch(0);
	host_run("for i in 1 2 3 4 5 6 7 8 9; do "
		 "ip route add 10.77.$i.0/24 via " HOST_B4 "; done");
	pump(t);
	for (size_t i = 0; i < t->n; i++)
		n += t->events[i].kind == RTMON_ROUTE_CHANGED;
	assert_int_equal(n, 1);
	assert_int_equal(t->settled, 1);
	forget(t);
	assert_false(rtmon_has_mark_rules(t->rt));
	assert_false(rtmon_has_uid_rules(t->rt));
	host_run("ip rule add fwmark 0x40 lookup 77");
	(void)wait_for(t, RTMON_RULE_CHANGED, NULL);
	assert_true(rtmon_has_mark_rules(t->rt));
	assert_false(rtmon_has_uid_rules(t->rt));
	forget(t);
	host_run("ip -6 rule add uidrange 5-6 lookup 77");
	(void)wait_for(t, RTMON_RULE_CHANGED, NULL);
	assert_true(rtmon_has_uid_rules(t->rt));
	forget(t);
	host_run("ip rule del fwmark 0x40 && "
		 "ip -6 rule del uidrange 5-6 lookup 77");
	(void)wait_for(t, RTMON_RULE_CHANGED, NULL);
	assert_false(rtmon_has_mark_rules(t->rt));
	assert_false(rtmon_has_uid_rules(t->rt));
	host_run("for i in 1 2 3 4 5 6 7 8 9; do "
		 "ip route del 10.77.$i.0/24; done");
	unwatch(t);
}

/* What `retain` does must not make the host look for better routes. */
static void our_own_work_is_no_news(void **state)
{
	struct addr a = host_addr("10.66.0.1");
	struct rtmon_event e;
	struct told *t;

	(void)HOSTS(state);
	t = watch(0);
	host_run("ip rule add from 10.66.0.1 lookup 1021 pref 1022 && "
		 "ip rule add fwmark 0x1/0x1 lookup 1022 pref 1021 && "
		 "ip route add 10.9.0.2 dev lo table 1021 && "
		 "ip route add local 10.66.0.1 dev lo table 1022");
	pump(t);
	assert_int_equal(t->n, 0);
	assert_int_equal(t->settled, 0);
	assert_false(rtmon_has_mark_rules(t->rt));

	host_run("ip addr add 10.66.0.1 peer 127.66.0.1/32 dev lo "
		 "scope host label lo:sacip && "
		 "ip route del local 10.66.0.1 dev lo table local");
	e = wait_for(t, RTMON_ADDR_ADDED, "10.66.0.1");
	assert_true(e.address.on_lo && e.address.retained);
	assert_false(rtmon_usable(t->rt, &a));
	assert_null(rtmon_find(t->rt, &a));
	assert_true(rtmon_is_own(t->rt, &a));
	assert_null(find(t, RTMON_ROUTE_CHANGED, NULL));
	/* On its interface as well: that is the one that counts. */
	host_run("ip addr add 10.66.0.1/24 dev va");
	pump(t);
	assert_true(rtmon_usable(t->rt, &a));
	assert_false(rtmon_find(t->rt, &a)->retained);
	host_run("ip addr del 10.66.0.1/24 dev va");
	pump(t);
	assert_null(rtmon_find(t->rt, &a));
	/* An anycast address that the administrator has put there, whatever
	 * it looks like and whether we keep it or not. */
	forget(t);
	host_run("ip addr add 10.66.0.1/32 dev lo scope host");
	e = wait_for(t, RTMON_ADDR_ADDED, "10.66.0.1");
	assert_true(e.address.on_lo && !e.address.retained);
	assert_true(rtmon_usable(t->rt, &a));
	host_run("ip addr flush dev lo label lo:sacip");
	pump(t);
	assert_true(rtmon_usable(t->rt, &a));
	forget(t);
	host_run("ip addr del 10.66.0.1/32 dev lo");
	e = wait_for(t, RTMON_ADDR_REMOVED, "10.66.0.1");
	assert_true(e.address.on_lo && !e.address.retained);
	assert_null(rtmon_find(t->rt, &a));
	host_run("ip rule del pref 1021; ip rule del pref 1022; "
		 "ip route flush table 1021; ip route flush table 1022");
	unwatch(t);
}

static void broadcasts_are_known(void **state)
{
	struct addr net = host_addr("10.9.0.0"), all = host_addr("10.9.0.255"),
		    own = host_addr(HOST_A4), far = host_addr("10.10.0.255"),
		    six = host_addr("fd09::");
	struct told *t;

	(void)HOSTS(state);
	t = watch(0);
	assert_true(rtmon_is_broadcast(t->rt, &net));
	assert_true(rtmon_is_broadcast(t->rt, &all));
	assert_false(rtmon_is_broadcast(t->rt, &own));
	assert_false(rtmon_is_broadcast(t->rt, &far));
	assert_false(rtmon_is_broadcast(t->rt, &six));
	unwatch(t);
}

/* Addresses on lo come first in a dump, and leave no room for another. */
static void what_does_not_fit_is_not_gone(void **state)
{
	struct told *t;
	size_t n;

	(void)HOSTS(state);
	t = watch(0);
	t->only_removed = true;
	host_run("for i in $(seq 0 %d); do "
		 "echo addr add 10.$((64 + i / 65536)).$((i / 256 %% 256))."
		 "$((i %% 256))/32 dev lo; done | ip -batch -",
		 RTMON_ADDRESSES_MAX);
	assert_int_equal(rtmon_resync(t->rt), 0);
	assert_true(rtmon_overflows(t->rt) > 0);
	(void)rtmon_addresses(t->rt, &n);
	assert_int_equal(n, RTMON_ADDRESSES_MAX);
	assert_null(find(t, RTMON_ADDR_REMOVED, NULL));
	assert_true(usable(t, HOST_A4) && usable(t, HOST_A6));
	host_run("ip addr flush dev lo && ip addr add 127.0.0.1/8 dev lo && "
		 "ip addr add ::1/128 dev lo");
	rtmon_close(t->rt);
	free(t);
}

/* Far more events than the buffer holds: the tables are right all the same,
 * and every difference has been told. */
static void lost_events_are_made_up_for(void **state)
{
	struct told *t;
	struct addr a;

	(void)HOSTS(state);
	host_run("ip addr add 10.5.0.1/32 dev va");
	t = watch(2048);
	host_run("ip addr del 10.5.0.1/32 dev va");
	host_run("for i in $(seq 1 200); do "
		 "echo addr add 10.6.0.$i/32 dev va; done | ip -batch -");
	host_run("for i in $(seq 2 200); do "
		 "echo addr del 10.6.0.$i/32 dev va; done | ip -batch -");
	(void)wait_for(t, RTMON_RESYNCED, NULL);
	pump(t);
	assert_true(rtmon_resyncs(t->rt) >= 1);
	assert_int_equal(rtmon_overflows(t->rt), 0);
	assert_non_null(find(t, RTMON_ADDR_ADDED, "10.6.0.1"));
	assert_non_null(find(t, RTMON_ADDR_REMOVED, "10.5.0.1"));
	for (int i = 2; i <= 200; i++) {
		char text[ADDR_TEXT_MAX];

		snprintf(text, sizeof(text), "10.6.0.%d", i);
		a = host_addr(text);
		assert_false(rtmon_is_own(t->rt, &a));
		assert_true(!find(t, RTMON_ADDR_ADDED, text) ==
			    !find(t, RTMON_ADDR_REMOVED, text));
	}
	/* It goes on by events. */
	forget(t);
	host_run("ip addr del 10.6.0.1/32 dev va");
	(void)wait_for(t, RTMON_ADDR_REMOVED, "10.6.0.1");
	unwatch(t);
}

static struct rtmon_query query(const char *dst)
{
	struct rtmon_query q;

	memset(&q, 0, sizeof(q));
	q.dst = host_addr(dst);
	q.uid = UINT32_MAX;
	return q;
}

static void check_src(const struct rtmon_route *r, const char *want)
{
	char text[ADDR_TEXT_MAX];

	assert_string_equal(addr_format(&r->src, text), want);
}

static void look_ups_follow_the_rules(void **state)
{
	struct rtmon_route r;
	struct rtmon_query q;
	struct told *t;
	uint32_t va;

	(void)HOSTS(state);
	t = watch(0);
	va = rtmon_link_by_name(t->rt, "va")->ifindex;
	host_run("ip link add w0 type veth peer name w1 && "
		 "ip link set w1 up && ip link set w0 mtu 1400 up && "
		 "ip addr add 10.4.0.1/24 dev w0 && "
		 "ip addr add fd04::1/64 dev w0 nodad");
	host_settle("fd04::1");
	host_run("ip route add default via " HOST_B4 " && "
		 "ip -6 route add default via " HOST_B6 " mtu 1280 && "
		 "ip route add default via 10.4.0.9 table 77 && "
		 "ip -6 route add default via fd04::9 table 77 && "
		 "ip rule add fwmark 0x40/0x40 lookup 77 && "
		 "ip -6 rule add uidrange 4000-4001 lookup 77 && "
		 "ip rule add uidrange 4000-4001 lookup 77");
	pump(t);
	q = query("192.0.2.1");
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	check_src(&r, HOST_A4);
	assert_int_equal(r.ifindex, va);
	assert_int_equal(r.mtu, 1500);
	assert_int_equal(r.table, 254);
	assert_int_equal(r.gateway.family, 4);
	assert_false(r.local || r.tunnel);
	q.mark = 0x40;
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	check_src(&r, "10.4.0.1");
	assert_int_equal(r.mtu, 1400);
	assert_int_equal(r.table, 77);
	q.mark = 0;
	q.uid = 4001;
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	check_src(&r, "10.4.0.1");
	q.uid = 4002;
	q.oif = r.ifindex;
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	check_src(&r, "10.4.0.1");
	q = query("192.0.2.1");
	q.src = host_addr(HOST_A4);
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	check_src(&r, HOST_A4);

	q = query("2001:db8::1");
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	check_src(&r, HOST_A6);
	assert_int_equal(r.mtu, 1280);
	q.uid = 4000;
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	check_src(&r, "fd04::1");
	assert_int_equal(r.table, 77);

	q = query(HOST_A4);
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	assert_true(r.local);
	assert_int_equal(rtmon_choose_source(t->rt, &q, &r), -EADDRNOTAVAIL);
	q = query(HOST_A6);
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	assert_true(r.local);

	host_run("ip route add unreachable 198.51.100.0/24 && "
		 "ip route add prohibit 203.0.113.0/24");
	q = query("198.51.100.1");
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), -EHOSTUNREACH);
	q = query("203.0.113.1");
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), -EACCES);
	host_run("ip route del default && ip -6 route del default");
	q = query("192.0.2.1");
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), -ENETUNREACH);
	q = query("2001:db8::1");
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), -ENETUNREACH);
	host_run("ip link del w0; ip rule del fwmark 0x40/0x40; "
		 "ip rule del uidrange 4000-4001; "
		 "ip -6 rule del uidrange 4000-4001; "
		 "ip route del unreachable 198.51.100.0/24; "
		 "ip route del prohibit 203.0.113.0/24");
	unwatch(t);
}

/* Of packets from va's and from w0's address, to that destination. */
static void check_home(struct told *t, const char *dst, int of_va, int of_w0)
{
	struct rtmon_query q = query(dst);
	bool v4 = q.dst.family == 4;

	q.src = host_addr(v4 ? HOST_A4 : HOST_A6);
	assert_int_equal(rtmon_leads_home(t->rt, &q), of_va);
	q.src = host_addr(v4 ? "10.4.0.1" : "fd04::1");
	assert_int_equal(rtmon_leads_home(t->rt, &q), of_w0);
}

static void packets_leave_by_their_own_interface_or_not(void **state)
{
	static const char *const far[] = { "192.0.2.1", "2001:db8::1" };
	struct rtmon_query q;
	struct told *t;
	int home;

	(void)HOSTS(state);
	t = watch(0);
	host_run("ip link add w0 type veth peer name w1 && "
		 "ip link set w1 up && ip link set w0 up && "
		 "ip addr add 10.4.0.1/24 dev w0 && "
		 "ip addr add fd04::1/64 dev w0 nodad && "
		 "ip addr add 10.5.0.1/32 dev lo && "
		 "ip addr add fd05::1/128 dev lo");
	while (!usable(t, "10.4.0.1") || !usable(t, "fd04::1")) {
		assert_true(host_readable(rtmon_fd(t->rt), HOST_WAIT_MS));
		pump(t);
	}
	for (int i = 0; i < 2; i++)
		check_home(t, far[i], -ENETUNREACH, -ENETUNREACH);
	host_run("ip route add default via " HOST_B4 " && "
		 "ip -6 route add default via " HOST_B6);
	for (int i = 0; i < 2; i++)
		check_home(t, far[i], 1, 0);
	/* Source rules. */
	host_run("ip route add default via 10.4.0.9 table 77 && "
		 "ip rule add from 10.4.0.1 lookup 77 && "
		 "ip -6 route add default via fd04::9 table 77 && "
		 "ip -6 rule add from fd04::1 lookup 77");
	for (int i = 0; i < 2; i++)
		check_home(t, far[i], 1, 1);
	host_run("ip rule del from 10.4.0.1 lookup 77 && "
		 "ip -6 rule del from fd04::1 lookup 77");
	/* Both are hops: whichever a packet would get. */
	host_run("ip route replace default nexthop via " HOST_B4 " "
		 "nexthop via 10.4.0.9 && ip -6 route del default && "
		 "ip -6 route add default nexthop via " HOST_B6 " dev va "
		 "nexthop via fd04::9 dev w0");
	for (int i = 0; i < 2; i++)
		check_home(t, far[i], 1, 1);
	/* The same by objects, whose hops may be hidden. */
	if (!host_try("ip nexthop add id 1 via " HOST_B4 " dev va && "
		      "ip nexthop add id 2 via 10.4.0.9 dev w0 && "
		      "ip nexthop add id 3 group 1/2 && "
		      "ip route replace default nhid 3 2>/dev/null")) {
		check_home(t, far[0], 1, 1);
		host_run("echo 0 > /proc/sys/net/ipv4/nexthop_compat_mode");
		q = query(far[0]);
		q.src = host_addr(HOST_A4);
		home = rtmon_leads_home(t->rt, &q);
		assert_true(home == 1 || home == -ENODATA);
		host_run("echo 1 > /proc/sys/net/ipv4/nexthop_compat_mode");
	}
	q = query(far[0]);
	q.src = host_addr("10.5.0.1");
	assert_int_equal(rtmon_leads_home(t->rt, &q), 1);
	q = query(far[1]);
	q.src = host_addr("fd05::1");
	assert_int_equal(rtmon_leads_home(t->rt, &q), 1);
	/* To ourselves; and nobody's source. */
	check_home(t, "10.5.0.1", -ENETUNREACH, -ENETUNREACH);
	q = query(far[0]);
	assert_int_equal(rtmon_leads_home(t->rt, &q), -EINVAL);
	host_run("ip route del default; ip -6 route del default; "
		 "ip nexthop flush; ip link del w0; ip addr del 10.5.0.1/32 dev lo; "
		 "ip addr del fd05::1/128 dev lo");
	unwatch(t);
}

/* It answers, and one that did is no news; nor is what is no router. */
static void a_router_that_answers_again_is_told_of(void **state)
{
	struct told *t;

	(void)HOSTS(state);
	t = watch(0);
	host_run("ip -6 neigh add fd09::99 lladdr 02:00:00:00:00:99 dev va "
		 "nud reachable");
	host_run("ip neigh add 10.9.0.99 lladdr 02:00:00:00:00:99 dev va "
		 "nud reachable");
	assert_false(host_readable(rtmon_fd(t->rt), 0));
	host_run("ip -6 neigh replace fd09::99 lladdr 02:00:00:00:00:99 "
		 "dev va router nud reachable");
	pump(t);
	assert_int_equal(t->n, 1);
	assert_int_equal(t->events[0].kind, RTMON_ROUTER_ANSWERS);
	assert_int_equal(t->settled, 1);
	host_run("ip -6 neigh change fd09::99 lladdr 02:00:00:00:00:99 dev va "
		 "router nud stale");
	pump(t);
	assert_int_equal(t->n, 1);
	host_run("ip -6 neigh change fd09::99 dev va router nud failed");
	pump(t);
	assert_int_equal(t->n, 1);
	host_run("ip -6 neigh change fd09::99 lladdr 02:00:00:00:00:99 dev va "
		 "router nud stale");
	pump(t);
	assert_int_equal(t->n, 2);
	/* More than are remembered: the last ones are, and all are told of. */
	host_run("ip -6 neigh del fd09::99 dev va; for i in $(seq 70); do "
		 "echo \"neigh add fd09::1:$i lladdr 02:00:00:00:00:99 dev va "
		 "router nud stale\"; done | ip -6 -batch -");
	pump(t);
	assert_int_equal(t->n, 72);
	host_run("ip -6 neigh change fd09::1:70 lladdr 02:00:00:00:00:99 "
		 "dev va router nud reachable");
	pump(t);
	assert_int_equal(t->n, 72);
	host_run("ip -6 neigh flush dev va nud all; "
		 "ip neigh del 10.9.0.99 dev va");
	unwatch(t);
}

/* What our guards catch has no route. */
static void our_own_tables_answer_nothing(void **state)
{
	static const char *const far[] = { "192.0.2.1", "2001:db8::1" };
	struct rtmon_route r;
	struct rtmon_query q;
	struct told *t;

	(void)HOSTS(state);
	t = watch(0);
	host_run("ip route add 192.0.2.1 dev va table %d && "
		 "ip -6 route add 2001:db8::1 dev va table %d && "
		 "ip rule add from " HOST_A4 " lookup %d pref 32800 && "
		 "ip -6 rule add from " HOST_A6 " lookup %d pref 32800",
		 OWN_TABLE, OWN_TABLE, OWN_TABLE, OWN_TABLE);
	for (int i = 0; i < 2; i++) {
		q = query(far[i]);
		q.src = host_addr(i ? HOST_A6 : HOST_A4);
		assert_int_equal(rtmon_lookup(t->rt, &q, &r), -ENETUNREACH);
		assert_int_equal(rtmon_leads_home(t->rt, &q), -ENETUNREACH);
	}
	host_run("ip rule del pref 32800 && ip -6 rule del pref 32800 && "
		 "ip route flush table %d && ip -6 route flush table %d",
		 OWN_TABLE, OWN_TABLE);
	unwatch(t);
}

static void a_deprecated_source_is_not_chosen(void **state)
{
	struct rtmon_query q = query("192.0.2.1");
	struct rtmon_route r;
	struct told *t;

	(void)HOSTS(state);
	t = watch(0);
	host_run("ip route add default via " HOST_B4);
	host_run("ip addr change " HOST_A4 "/24 dev va preferred_lft 0 "
		 "valid_lft 500");
	pump(t);
	/* The kernel does not care in IPv4. */
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	check_src(&r, HOST_A4);
	assert_int_equal(rtmon_choose_source(t->rt, &q, &r), -EADDRNOTAVAIL);
	host_run("ip addr add 10.99.0.1/24 dev va && "
		 "ip addr add 10.9.0.8/24 dev va");
	pump(t);
	assert_int_equal(rtmon_choose_source(t->rt, &q, &r), 0);
	check_src(&r, "10.9.0.8"); /* the gateway's subnet */
	host_run("ip addr del 10.9.0.8/24 dev va");
	pump(t);
	assert_int_equal(rtmon_choose_source(t->rt, &q, &r), 0);
	check_src(&r, "10.99.0.1");
	host_run("ip addr del 10.99.0.1/24 dev va && "
		 "ip addr change " HOST_A4 "/24 dev va preferred_lft forever "
		 "valid_lft forever && ip route del default");

	host_run("ip -6 route add default via " HOST_B6 " && "
		 "ip addr change " HOST_A6 "/64 dev va preferred_lft 0 "
		 "valid_lft 500");
	pump(t);
	q = query("2001:db8::1");
	/* The link-local one that is left is for the link. */
	assert_int_equal(rtmon_choose_source(t->rt, &q, &r), -EADDRNOTAVAIL);
	host_run("ip addr add fd09::8/64 dev va nodad");
	host_settle("fd09::8");
	pump(t);
	assert_true(usable(t, "fd09::8"));
	assert_int_equal(rtmon_choose_source(t->rt, &q, &r), 0);
	check_src(&r, "fd09::8");
	host_run("ip addr del fd09::8/64 dev va && ip -6 route del default && "
		 "ip addr change " HOST_A6 "/64 dev va preferred_lft forever "
		 "valid_lft forever");
	unwatch(t);
}

/* Is the way by the one better than that by the other? */
static void check_better(struct told *t, const char *dst, uint32_t better,
			 uint32_t worse)
{
	struct rtmon_query q = query(dst);
	uint64_t first, second;

	q.oif = better;
	assert_int_equal(rtmon_rank(t->rt, &q, &first), 0);
	q.oif = worse;
	assert_int_equal(rtmon_rank(t->rt, &q, &second), 0);
	assert_true(first < second);
}

static void interfaces_have_a_rank(void **state)
{
	static const char *const far[] = { "192.0.2.1", "2001:db8::1" };
	struct rtmon_query q;
	uint64_t rank;
	struct told *t;
	uint32_t va, w0;

	(void)HOSTS(state);
	t = watch(0);
	host_run("ip link add w0 type veth peer name w1 && "
		 "ip link set w1 up && ip link set w0 up && "
		 "ip addr add 10.4.0.1/24 dev w0 && "
		 "ip addr add fd04::1/64 dev w0 nodad && "
		 "ip route add default via " HOST_B4 " metric 200 && "
		 "ip route add default via 10.4.0.9 metric 100 && "
		 "ip -6 route add default via " HOST_B6 " metric 200 && "
		 "ip -6 route add default via fd04::9 metric 100");
	host_settle("fd04::1");
	pump(t);
	va = rtmon_link_by_name(t->rt, "va")->ifindex;
	w0 = rtmon_link_by_name(t->rt, "w0")->ifindex;
	for (int i = 0; i < 2; i++)
		check_better(t, far[i], w0, va);
	host_run("ip route add 192.0.2.0/24 via " HOST_B4 " metric 9000 && "
		 "ip -6 route add 2001:db8::/64 via " HOST_B6 " metric 9000");
	for (int i = 0; i < 2; i++)
		check_better(t, far[i], va, w0);
	host_run("ip route del default via 10.4.0.9 && "
		 "ip -6 route del default via fd04::9");
	for (int i = 0; i < 2; i++) {
		q = query(far[i]);
		q.oif = w0;
		assert_int_not_equal(rtmon_rank(t->rt, &q, &rank), 0);
	}
	host_run("ip link del w0; ip route del 192.0.2.0/24; "
		 "ip route del default; ip -6 route del default; "
		 "ip -6 route del 2001:db8::/64");
	unwatch(t);
}

static void addresses_keep_their_order(void **state)
{
	const struct rtmon_address *list;
	struct told *t;
	unsigned int k = 0;
	size_t n;

	(void)HOSTS(state);
	t = watch(0);
	host_run("for i in 1 2 3 4 5; do ip addr add 10.98.0.$i/32 dev va; "
		 "done; ip addr del 10.98.0.2/32 dev va");
	pump(t);
	list = rtmon_addresses(t->rt, &n);
	for (size_t i = 0; i < n; i++) {
		const struct addr *a = &list[i].addr;

		if (a->family == 4 && a->byte[0] == 10 && a->byte[1] == 98)
			k = 10 * k + a->byte[3];
	}
	assert_int_equal(k, 1345);
	host_run("for i in 1 3 4 5; do ip addr del 10.98.0.$i/32 dev va; "
		 "done");
	unwatch(t);
}

static void tunnels_are_recognised(void **state)
{
	struct rtmon_query q = query("10.3.0.9");
	struct rtmon_route r;
	struct told *t;

	(void)HOSTS(state);
	if (host_try("ip tuntap add dev tun9 mode tun 2>/dev/null") != 0)
		SKIP_BECAUSE("the kernel has no TUN");
	t = watch(0);
	assert_true(rtmon_link_by_name(t->rt, "tun9")->tunnel);
	assert_false(rtmon_link_by_name(t->rt, "va")->tunnel);
	host_run("ip addr add 10.3.0.1/24 dev tun9 && ip link set tun9 up");
	pump(t);
	/* Nobody holds its other end. */
	assert_false(usable(t, "10.3.0.1"));
	assert_int_equal(rtmon_lookup(t->rt, &q, &r), 0);
	assert_true(r.tunnel);
	/* A service address's packets are abroad there, and there only. */
	host_run("ip addr add 10.5.0.1/32 dev lo");
	pump(t);
	q.src = host_addr("10.5.0.1");
	assert_int_equal(rtmon_leads_home(t->rt, &q), 0);
	q.dst = host_addr(HOST_B4);
	assert_int_equal(rtmon_leads_home(t->rt, &q), 1);
	host_run("ip addr del 10.5.0.1/32 dev lo; ip link del tun9");
	unwatch(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_state_is_read),
		cmocka_unit_test(addresses_come_change_and_go),
		cmocka_unit_test(the_second_address_goes_with_the_first),
		cmocka_unit_test(duplicate_detection_is_told),
		cmocka_unit_test(links_go_down_and_up),
		cmocka_unit_test(routes_and_rules_are_told_once),
		cmocka_unit_test(our_own_work_is_no_news),
		cmocka_unit_test(broadcasts_are_known),
		cmocka_unit_test(lost_events_are_made_up_for),
		cmocka_unit_test(what_does_not_fit_is_not_gone),
		cmocka_unit_test(look_ups_follow_the_rules),
		cmocka_unit_test(packets_leave_by_their_own_interface_or_not),
		cmocka_unit_test(our_own_tables_answer_nothing),
		cmocka_unit_test(a_router_that_answers_again_is_told_of),
		cmocka_unit_test(a_deprecated_source_is_not_chosen),
		cmocka_unit_test(interfaces_have_a_rank),
		cmocka_unit_test(addresses_keep_their_order),
		cmocka_unit_test(tunnels_are_recognised),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("rtmon", tests, hosts_open,
					   hosts_close);
}
