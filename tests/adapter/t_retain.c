/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of retain: what an address does after it has left its interface.
 *
 * Host a loses HOST_A4 and HOST_A6 ("OLD") and may have 10.9.0.3, fd09::3
 * ("NEW") by then. Host b is the peer, or the stranger that takes OLD.
 */
#include "retain.h"
#include "route.h"

#include "host.h"
#include "netlink.h"
#include "steer.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define NEW4 "10.9.0.3"
#define NEW6 "fd09::3"
#define TABLE 7000
#define DUMP_MAX 65536
#define PACE_US 1000
#define CROWD 2000

static const struct retain_conf conf = { .table = TABLE,
					 .mark = STEER_MARK_DEFAULT };
static const struct steer_conf steering = { .mark = STEER_MARK_DEFAULT,
					    .queue_in = 21,
					    .queue_out = 22 };

struct names {
	const char *family, *ip, *old, *new, *peer;
	int bits;
	uint8_t number;
};

static const struct names names[] = {
	{ "-4", "ip", HOST_A4, NEW4, HOST_B4, 24, 4 },
	{ "-6", "ip6", HOST_A6, NEW6, HOST_B6, 64, 6 },
};

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* All that retain could change, as text. Link-local IPv6 comes when it likes. */
static char *dump(void)
{
	char *text = calloc(1, DUMP_MAX);
	size_t len;
	FILE *f = popen("{ ip rule; ip -6 rule; ip route show table all; "
			"ip -6 route show table all | sort; "
			"ip -o addr | sed 's/ tentative//'; "
			"ip -br link | cut -d' ' -f1; } | "
			"grep -v 'fe80::\\|ff00::'", "r");

	assert_non_null(text);
	assert_non_null(f);
	len = fread(text, 1, DUMP_MAX - 1, f);
	assert_true(len > 0 && len < DUMP_MAX - 1);
	pclose(f);
	return text;
}

static void expect_dump(char *before)
{
	char *after = dump();

	assert_string_equal(before, after);
	free(before);
	free(after);
}

static struct retain *open_retain(struct retain_info *info)
{
	struct retain_info unused;
	struct retain *r;

	assert_int_equal(retain_open(&r, &conf, info ? info : &unused), 0);
	return r;
}

/* Both families' OLD, towards both families' peer. */
static void protect(struct retain *r, uint32_t mtu)
{
	for (int i = 0; i < 2; i++) {
		struct addr old = host_addr(names[i].old);
		struct addr peer = host_addr(names[i].peer);

		assert_int_equal(retain_protect(r, &old, &peer, mtu), 0);
	}
}

static void unprotect(struct retain *r)
{
	for (int i = 0; i < 2; i++) {
		struct addr old = host_addr(names[i].old);
		struct addr peer = host_addr(names[i].peer);

		assert_int_equal(retain_unprotect(r, &old, &peer), 0);
	}
}

static void gone(struct retain *r, const struct names *n)
{
	struct addr old = host_addr(n->old);

	assert_int_equal(retain_gone(r, &old), 0);
}

static void add_address(const char *text, int bits)
{
	host_run("ip addr add %s/%d dev va %s", text, bits,
		 strchr(text, ':') ? "nodad" : "");
	host_settle(text);
}

/* Without a process: returns at the moment when the kernel is done. */
static void remove_address(const char *text, int bits)
{
	char buffer[256] = "";
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct ifaddrmsg *ifa =
		mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	struct addr a = host_addr(text);
	struct netlink *nl;

	nlh->nlmsg_type = RTM_DELADDR;
	ifa->ifa_family = (uint8_t)addr_af(&a);
	ifa->ifa_prefixlen = (uint8_t)bits;
	ifa->ifa_index = if_nametoindex("va");
	mnl_attr_put(nlh, IFA_LOCAL, addr_size(&a), a.byte);
	assert_int_equal(netlink_open(&nl, NETLINK_ROUTE, NULL, 0), 0);
	assert_int_equal(netlink_request(nl, nlh, NULL, NULL), 0);
	netlink_close(nl);
}

/* In host a, once both families reach b: IPv6 takes a moment on a new link. */
static struct hosts *ready(void **state)
{
	struct hosts *h = HOSTS(state);

	/* NEW is to outlive OLD though it came second. */
	host_run("sysctl -qw net.ipv4.conf.all.promote_secondaries=1");
	for (int i = 0; i < 2; i++)
		host_run("for i in 1 2 3 4 5 6 7 8 9; do ping -q -c 1 -W 1 %s "
			 ">/dev/null && exit; done; exit 1", names[i].peer);
	return h;
}

/* --- opening, counting, leaving ------------------------------------------- */

static void test_refuses_bad_settings(void **state)
{
	static const uint32_t bad[] = { 0, 252, 253, 254, 255, 0x7fffffff,
					0xffffffff };
	struct retain_conf c = conf;
	struct retain *r;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		c.table = bad[i];
		assert_int_equal(retain_open(&r, &c, NULL), -EINVAL);
	}
	c = conf;
	c.mark = 0;
	assert_int_equal(retain_open(&r, &c, NULL), -EINVAL);
	c.mark = 6;
	assert_int_equal(retain_open(&r, &c, NULL), -EINVAL);
}

static int open_without_privilege(void)
{
	struct retain *r;

	return setuid(65534) ? 0 : -retain_open(&r, &conf, NULL);
}

static void test_needs_privilege(void **state)
{
	int status;
	pid_t pid;

	(void)HOSTS(state);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(open_without_privilege());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EPERM);
}

static void test_leaves_nothing_behind(void **state)
{
	struct addr a4, b4, b6;
	struct retain_info info;
	struct retain *r;
	char *before, *open, *full;

	(void)ready(state);
	a4 = host_addr(HOST_A4);
	b4 = host_addr(HOST_B4);
	b6 = host_addr(HOST_B6);
	before = dump();
	r = open_retain(&info);
	assert_true(info.src_valid_mark);
	assert_true(info.ipv6);
	open = dump();
	assert_null(strstr(before, "1021"));
	assert_non_null(strstr(open, "1021:\tfrom all fwmark 0x10000000/"
				     "0x10000000 lookup 7001"));
	protect(r, 1400);
	full = dump();
	assert_non_null(strstr(full, "32800:\tfrom " HOST_A4 " lookup 7000"));
	assert_non_null(strstr(full, "32800:\tfrom " HOST_A6 " lookup 7000"));
	assert_null(strstr(full, "1022:"));
	/* Counted: the second and the first of two change nothing. */
	protect(r, 1400);
	unprotect(r);
	expect_dump(full);
	for (int i = 0; i < 4; i++)
		gone(r, &names[i % 2]);
	full = dump();
	assert_non_null(strstr(full, "1022:\tfrom " HOST_A4 " lookup 7000"));
	assert_non_null(strstr(full, "1022:\tfrom " HOST_A6 " lookup 7000"));
	free(full);
	/* The last takes all of it, the gone rule too. */
	unprotect(r);
	expect_dump(open);
	assert_int_equal(retain_unprotect(r, &a4, &b4), -ENOENT);
	assert_int_equal(retain_gone(r, &a4), -ENOENT);
	assert_int_equal(retain_back(r, &a4), -ENOENT);
	assert_int_equal(retain_set_mtu(r, &b4, 1300), -ENOENT);
	assert_int_equal(retain_protect(r, &a4, &b6, 0), -EINVAL);
	assert_int_equal(retain_close(r, false), 0);
	expect_dump(before);
}

/* A way back between the addresses of both ends as they are. */
static int reverse(struct retain *r, const struct addr *peer, uint32_t ifindex)
{
	const struct retain_way way = {
		.ifindex = ifindex,
		.own = host_addr(peer->family == 4 ? HOST_A4 : HOST_A6),
		.remote = *peer,
	};

	return retain_reverse(r, peer, &way);
}

static int protect_and_die(void)
{
	struct addr old = host_addr(HOST_A4), peer = host_addr(HOST_B4);
	struct addr old6 = host_addr(HOST_A6), peer6 = host_addr(HOST_B6);
	struct retain *r;

	if (retain_open(&r, &conf, NULL) ||
	    retain_protect(r, &old, &peer, 1400) ||
	    retain_protect(r, &old6, &peer6, 1400) || retain_gone(r, &old) ||
	    retain_gone(r, &old6) ||
	    reverse(r, &peer, if_nametoindex("va")))
		return 1;
	return kill(getpid(), SIGKILL);
}

static void test_sweeps_after_a_crash(void **state)
{
	struct addr old, peer;
	struct retain *r;
	char *before, *kept;
	int status;
	pid_t pid;

	(void)ready(state);
	before = dump();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(protect_and_die());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	/* A route of someone else's in our tables, and a rule into them. */
	host_run("ip route add 192.0.2.1 dev va table %d && "
		 "ip rule add from 192.0.2.2 lookup %d pref 1022", TABLE,
		 TABLE);
	/* The new run opens, takes up one of two flows, then sweeps. */
	kept = dump();
	r = open_retain(NULL);
	expect_dump(kept);
	old = host_addr(HOST_A4);
	peer = host_addr(HOST_B4);
	assert_int_equal(retain_protect(r, &old, &peer, 1400), 0);
	assert_int_equal(retain_gone(r, &old), 0);
	assert_int_equal(retain_sweep(r), 0);
	kept = dump();
	assert_non_null(strstr(kept, "1022:\tfrom " HOST_A4));
	assert_non_null(strstr(kept, "32800:\tfrom " HOST_A4));
	assert_non_null(strstr(kept, "lo:sacip"));
	assert_null(strstr(kept, "from " HOST_A6));
	assert_null(strstr(kept, HOST_B4 " dev va table 7001"));
	assert_non_null(strstr(kept, "192.0.2.1 dev va table 7000"));
	assert_non_null(strstr(kept, "from 192.0.2.2 lookup 7000"));
	free(kept);
	assert_int_equal(retain_close(r, false), 0);
	host_run("ip route del 192.0.2.1 dev va table %d && "
		 "ip rule del from 192.0.2.2 lookup %d pref 1022", TABLE,
		 TABLE);
	expect_dump(before);
}

/* Somebody runs `command`; what it took is there again. */
static void expect_restored(struct retain *r, const char *command)
{
	struct retain_lost lost;
	char *before = dump();
	double start;

	host_run("%s", command);
	start = seconds();
	assert_true(host_readable(retain_watch_fd(r), HOST_WAIT_MS));
	while (host_readable(retain_watch_fd(r), 0))
		assert_true(retain_watch(r, &lost) > 0);
	printf("# \"%s\": put back in %.1f ms\n", command,
	       (seconds() - start) * 1e3);
	expect_dump(before);
}

/* Wire addresses: a rule and a route, shared with what is protected. */
static void test_wires_are_counted(void **state)
{
	struct retain *r;
	char *before, *protected;

	(void)ready(state);
	r = open_retain(NULL);
	before = dump();
	for (int i = 0; i < 2; i++) {
		struct addr local = host_addr(names[i].old);
		struct addr peer = host_addr(names[i].peer);

		assert_int_equal(retain_unwire(r, &local, &peer), -ENOENT);
		assert_int_equal(retain_wire(r, &local, &peer), 0);
		assert_int_equal(retain_wire(r, &local, &peer), 0);
		assert_int_equal(retain_gone(r, &local), -ENOENT);
		host_run("ip %s rule | grep -q 'from %s lookup %d'",
			 names[i].family, names[i].old, TABLE);
		host_run("ip %s route show table %d | grep -q '^%s '",
			 names[i].family, TABLE, names[i].peer);
	}
	protected = dump();
	protect(r, 0);
	unprotect(r);
	expect_dump(protected);
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < 2; i++) {
			struct addr local = host_addr(names[i].old);
			struct addr peer = host_addr(names[i].peer);

			assert_int_equal(retain_unwire(r, &local, &peer), 0);
		}
	expect_dump(before);
	assert_int_equal(retain_close(r, false), 0);
}

static void test_puts_back_what_others_take(void **state)
{
	struct retain_lost lost;
	struct retain *r;
	struct addr peer;

	(void)ready(state);
	r = open_retain(NULL);
	protect(r, 1400);
	for (int i = 0; i < 2; i++)
		gone(r, &names[i]);
	peer = host_addr(names[0].peer);
	assert_int_equal(reverse(r, &peer, if_nametoindex("va")), 0);
	/* What we do ourselves, and what is others', is not told. */
	host_run("ip rule add from 192.0.2.2 lookup %d && "
		 "ip rule del from 192.0.2.2 lookup %d", TABLE, TABLE);
	if (host_readable(retain_watch_fd(r), 0))
		assert_int_equal(retain_watch(r, &lost), 0);
	expect_restored(r, "ip rule flush && "
			   "ip rule add pref 32766 lookup main && "
			   "ip rule add pref 32767 lookup default");
	expect_restored(r, "ip -6 rule flush && "
			   "ip -6 rule add pref 32766 lookup main");
	expect_restored(r, "ip route flush table 7000");
	expect_restored(r, "ip route flush table 7001");
	expect_restored(r, "ip -6 route flush table 7000");
	expect_restored(r, "ip -6 route flush table 7001");
	expect_restored(r, "ip addr flush dev lo label lo:sacip");
	expect_restored(r, "ip link del " ROUTE_SINK);
	unprotect(r);
	assert_false(host_readable(retain_watch_fd(r), 0));
	assert_int_equal(retain_close(r, false), 0);
}

/* --- rules of others ------------------------------------------------------ */

/* The preferences that our two rules in front have now. */
static void expect_place(const struct names *n, unsigned int mark)
{
	host_run("ip %s rule | grep -q '^%u:.*fwmark .* lookup %d'", n->family,
		 mark, TABLE + 1);
	host_run("ip %s rule | grep -q '^%u:.*from %s lookup %d'", n->family,
		 mark + 1, n->old, TABLE);
	host_run("test $(ip %s rule | grep -c 'fwmark .* lookup %d') = 1",
		 n->family, TABLE + 1);
	host_run("test $(ip %s rule | grep -c 'from %s lookup %d') = 2",
		 n->family, n->old, TABLE);
}

static struct retain_placed displaced(struct retain *r)
{
	struct retain_placed p;
	struct retain_lost lost;

	assert_true(host_readable(retain_watch_fd(r), HOST_WAIT_MS));
	assert_int_equal(retain_watch(r, &lost), 0);
	assert_true(lost.displaced);
	assert_int_equal(retain_place(r, &p), 0);
	return p;
}

/* As wg-quick does it: the second one is to come before the first. */
#define VPN_UP(n)                                             \
	"ip %s rule add not fwmark 51820 table 51820 && "    \
	"ip %s rule add table main suppress_prefixlength 0", \
		(n)->family, (n)->family
#define VPN_DOWN(n)                                              \
	"ip %s rule del table main suppress_prefixlength 0; " \
	"ip %s rule del not fwmark 51820 table 51820",        \
		(n)->family, (n)->family

static void test_stays_in_front_of_others(void **state)
{
	struct retain_placed p;
	struct retain_lost lost;
	struct retain *r;
	char *before, *full;

	(void)ready(state);
	before = dump();
	r = open_retain(NULL);
	assert_int_equal(retain_place(r, &p), 0);
	assert_int_equal(p.moved, 0);
	protect(r, 0);
	for (int i = 0; i < 2; i++)
		gone(r, &names[i]);
	full = dump();
	for (int i = 0; i < 2; i++) {
		expect_place(&names[i], RETAIN_PREF_MARK);
		host_run(VPN_UP(&names[i]));
		p = displaced(r);
		assert_int_equal(p.moved, 1);
		assert_false(p.blocked);
		assert_int_equal(p.first.preference, 1019);
		assert_int_equal(p.first.table, 254);
		expect_place(&names[i], 1017);
		/* Nothing of that is news, and one more is in front of it. */
		assert_int_equal(retain_place(r, &p), 0);
		assert_int_equal(p.moved, 0);
		host_run("ip %s rule add fwmark 5 table 5", names[i].family);
		assert_int_equal(displaced(r).moved, 1);
		expect_place(&names[i], 1014);
		host_run("ip %s rule del fwmark 5 table 5", names[i].family);
		assert_int_equal(displaced(r).moved, 1);
		expect_place(&names[i], 1017);
		/* Those behind are nobody's business. */
		host_run("ip %s rule add pref 1023 table 5 && "
			 "ip %s rule del pref 1023", names[i].family,
			 names[i].family);
		assert_true(host_readable(retain_watch_fd(r), HOST_WAIT_MS));
		assert_int_equal(retain_watch(r, &lost), 0);
		assert_false(lost.displaced);
		/* What others take away comes back where it was. */
		host_run("ip %s rule del pref 1017 && ip %s rule del pref 1018",
			 names[i].family, names[i].family);
		assert_true(host_readable(retain_watch_fd(r), HOST_WAIT_MS));
		assert_int_equal(retain_watch(r, &lost), 2);
		expect_place(&names[i], 1017);
		assert_int_equal(retain_sweep(r), 0);
		expect_place(&names[i], 1017);
		host_run(VPN_DOWN(&names[i]));
		assert_int_equal(displaced(r).moved, 1);
	}
	expect_dump(full);
	unprotect(r);
	assert_int_equal(retain_close(r, false), 0);
	expect_dump(before);
}

static void test_leaves_room_for_others(void **state)
{
	struct retain_placed p;
	struct retain *r;
	char *before;

	(void)ready(state);
	host_run("ip rule add pref 18 table 5 && ip rule add pref 17 table 7");
	before = dump();
	r = open_retain(NULL);
	protect(r, 0);
	gone(r, &names[0]);
	assert_int_equal(retain_place(r, &p), 0);
	assert_int_equal(p.moved, 1);
	expect_place(&names[0], 16);
	assert_true(p.blocked);
	assert_int_equal(p.blocking.preference, 17);
	assert_int_equal(p.blocking.table, 7);
	/* Told once. */
	assert_int_equal(retain_place(r, &p), 0);
	assert_false(p.blocked);
	unprotect(r);
	assert_int_equal(retain_close(r, false), 0);
	expect_dump(before);
}

/* Calico's eBPF or a VPN may have the bit; it is said once, for each. */
static void test_names_who_uses_our_bit(void **state)
{
	static const char *const harmless[] = { "0x51820", "0x80000/0xff0000",
						"0x1/0x1" };
	struct retain_placed p;
	struct retain_lost lost;
	struct retain *r;

	(void)ready(state);
	r = open_retain(NULL);
	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		host_run("ip rule add pref 5210 fwmark %s lookup 5",
			 harmless[i]);
	assert_true(host_readable(retain_watch_fd(r), HOST_WAIT_MS));
	assert_int_equal(retain_place(r, &p), 0);
	assert_false(p.marked);
	assert_int_equal(retain_watch(r, &lost), 0);
	assert_false(lost.displaced);
	host_run("ip -6 rule add pref 5211 fwmark 0x30000000/0xf0000000 "
		 "lookup 5");
	p = displaced(r);
	assert_int_equal(p.moved, 0);
	assert_true(p.marked);
	assert_int_equal(p.marking.preference, 5211);
	assert_int_equal(p.marking.mark, 0x30000000);
	assert_int_equal(p.marking.mask, 0xf0000000);
	assert_int_equal(retain_place(r, &p), 0);
	assert_false(p.marked);
	host_run("ip -6 rule del pref 5211");
	assert_false(displaced(r).marked);
	assert_int_equal(retain_close(r, false), 0);
}

/* Another that wants to be the first too: both come to rest. */
static void test_a_fight_has_an_end(void **state)
{
	unsigned int times = 0;
	struct retain_placed p;
	struct retain *r;

	(void)ready(state);
	r = open_retain(NULL);
	protect(r, 0);
	gone(r, &names[0]);
	for (bool over = false; !over; times++) {
		host_run("ip rule add table 5");
		p = displaced(r);
		over = p.blocked;
		assert_in_range(times, 0, 400);
	}
	printf("# over after %u times\n", times);
	host_run("while ip rule del table 5 2>/dev/null; do :; done");
	(void)displaced(r);
	expect_place(&names[0], RETAIN_PREF_MARK);
	assert_int_equal(retain_close(r, false), 0);
}

static void test_many_peers_are_swept(void **state)
{
	struct addr old, peer;
	struct retain *r;
	char *before;
	double start;

	(void)ready(state);
	before = dump();
	r = open_retain(NULL);
	old = host_addr(HOST_A4);
	peer = host_addr("198.18.0.0");
	start = seconds();
	for (int i = 0; i < 1000; i++) {
		peer.byte[2] = (uint8_t)(i >> 8);
		peer.byte[3] = (uint8_t)i;
		assert_int_equal(retain_protect(r, &old, &peer, 0), 0);
	}
	printf("# 1000 peers protected in %.0f ms\n",
	       (seconds() - start) * 1e3);
	start = seconds();
	assert_int_equal(retain_close(r, false), 0);
	printf("# and swept in %.0f ms\n", (seconds() - start) * 1e3);
	expect_dump(before);
}

static void test_an_address_on_lo_stays_its_owners(void **state)
{
	struct addr old, peer;
	struct retain *r;
	char *before, *during;

	(void)ready(state);
	host_run("ip addr add 192.0.2.7/32 dev lo");
	before = dump();
	r = open_retain(NULL);
	old = host_addr("192.0.2.7");
	peer = host_addr(HOST_B4);
	assert_int_equal(retain_protect(r, &old, &peer, 0), 0);
	during = dump();
	assert_null(strstr(during, "lo:sacip"));
	assert_non_null(strstr(during, "local 192.0.2.7 dev lo table local"));
	free(during);
	assert_int_equal(retain_unprotect(r, &old, &peer), 0);
	assert_int_equal(retain_close(r, false), 0);
	expect_dump(before);
}

/* An earlier version made copies whose far end is the address itself; and
 * somebody else may use our protocol's number. */
static void test_what_is_in_another_form_is_swept(void **state)
{
	struct retain *r;
	char *before;

	(void)ready(state);
	host_run("ip route add blackhole 192.0.2.64/26 proto 221 table 99 && "
		 "ip rule add pref 77 to 192.0.2.64/26 blackhole proto 221");
	before = dump();
	host_run("ip addr add 192.0.2.7/32 dev lo scope host label lo:sacip");
	r = open_retain(NULL);
	assert_int_equal(retain_sweep(r), 0);
	assert_int_equal(retain_close(r, false), 0);
	expect_dump(before);
	host_run("ip route flush table 99; ip rule del pref 77");
}

/* Of two with the same far end the second would be secondary, and go with the
 * first. */
static void test_copies_go_one_by_one(void **state)
{
	struct addr old[2], peer = host_addr(HOST_B4);
	struct retain *r;
	char *before, *one;

	(void)ready(state);
	before = dump();
	old[0] = host_addr("10.98.1.20");
	old[1] = host_addr("192.168.1.20");
	r = open_retain(NULL);
	assert_int_equal(retain_protect(r, &old[1], &peer, 0), 0);
	one = dump();
	assert_int_equal(retain_protect(r, &old[0], &peer, 0), 0);
	assert_int_equal(retain_unprotect(r, &old[0], &peer), 0);
	expect_dump(one);
	assert_int_equal(retain_protect(r, &old[0], &peer, 0), 0);
	assert_int_equal(retain_unprotect(r, &old[1], &peer), 0);
	host_run("ip addr show dev lo | grep -q 'inet 10.98.1.20 '");
	assert_int_equal(retain_unprotect(r, &old[0], &peer), 0);
	assert_int_equal(retain_close(r, false), 0);
	expect_dump(before);
}

/* A service address, announced and withdrawn and announced again. */
static void test_a_copy_is_in_nobodys_way(void **state)
{
	const char *add = "ip addr add 192.0.2.7/32 dev lo";
	const char *del = "ip addr del 192.0.2.7/32 dev lo";
	struct addr old, peer;
	struct retain *r;
	char *without, *with, *kept, *yielded;

	(void)ready(state);
	without = dump();
	host_run("%s", add);
	with = dump();
	r = open_retain(NULL);
	old = host_addr("192.0.2.7");
	peer = host_addr(HOST_B4);
	assert_int_equal(retain_on_lo(r, &old), -ENOENT);
	assert_int_equal(retain_protect(r, &old, &peer, 0), 0);
	yielded = dump();
	for (int i = 0; i < 2; i++) {
		host_run("%s", del);
		assert_int_equal(retain_on_lo(r, &old), 0);
		kept = dump();
		assert_non_null(strstr(kept, "lo:sacip"));
		assert_null(strstr(kept, "local 192.0.2.7 dev lo table local"));
		assert_int_equal(retain_on_lo(r, &old), 0);
		expect_dump(kept);
		/* Not "File exists": this one is his. */
		host_run("%s", add);
		assert_int_equal(retain_on_lo(r, &old), 0);
		assert_int_equal(retain_on_lo(r, &old), 0);
		kept = dump();
		assert_string_equal(kept, yielded);
		free(kept);
	}
	/* Both, at the end: what is left is all of his. */
	host_run("%s", del);
	assert_int_equal(retain_on_lo(r, &old), 0);
	host_run("%s", add);
	assert_int_equal(retain_close(r, false), 0);
	expect_dump(with);
	host_run("%s", del);
	expect_dump(without);
	free(yielded);
}

/* Nobody is there to hear that he has put it there again. */
static void test_a_copy_of_the_dead_goes(void **state)
{
	struct addr old, peer;
	struct retain *r;
	char *with;
	int status;
	pid_t pid;

	(void)ready(state);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(protect_and_die());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	host_run("ip addr add " HOST_A4 "/32 dev lo");
	r = open_retain(NULL);
	old = host_addr(HOST_A4);
	peer = host_addr(HOST_B4);
	assert_int_equal(retain_protect(r, &old, &peer, 1400), 0);
	assert_int_equal(retain_sweep(r), 0);
	with = dump();
	assert_null(strstr(with, "lo:sacip"));
	assert_non_null(strstr(with, "local " HOST_A4 " dev lo table local"));
	free(with);
	assert_int_equal(retain_close(r, false), 0);
}

static void test_the_interfaces_route_survives(void **state)
{
	struct hosts *h = ready(state);
	struct retain *r;

	r = open_retain(NULL);
	protect(r, 0);
	host_run("test \"$(ip route show table local " HOST_A4
		 " | grep -c .)\" = 1");
	host_run("ip route show table local " HOST_A4 " | grep -q 'dev va'");
	host_enter(h->b);
	host_run("ping -q -c 1 -W 2 " HOST_A4 " >/dev/null");
	host_enter(h->a);
	/* Away and back again; then only the copy goes. */
	remove_address(HOST_A4, 24);
	host_run("test -z \"$(ip route show table local " HOST_A4 ")\"");
	add_address(HOST_A4, 24);
	unprotect(r);
	host_run("ip route show table local " HOST_A4 " | grep -q 'dev va'");
	host_enter(h->b);
	host_run("ip neigh flush all && "
		 "ping -q -c 1 -W 2 " HOST_A4 " >/dev/null");
	host_enter(h->a);
	assert_int_equal(retain_close(r, false), 0);
}

/* --- the moment of removal ------------------------------------------------ */

/* Shared with the process that sends one datagram, numbered, each PACE_US. */
struct sender {
	volatile uint32_t sent; /* number of the last one */
	volatile uint32_t errors;
	volatile int last_error;
	volatile bool stop;
};

static pid_t sender_start(struct sender *s, int fd)
{
	pid_t pid = fork();
	double end = seconds() + 10;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	while (!s->stop && seconds() < end) {
		uint32_t number = ++s->sent;

		if (send(fd, &number, sizeof(number), MSG_DONTWAIT) < 0 &&
		    errno != EAGAIN) {
			s->errors++;
			s->last_error = errno;
		}
		usleep(PACE_US);
	}
	_exit(0);
}

static void sender_wait(const struct sender *s, uint32_t more)
{
	uint32_t until = s->sent + more;
	double end = seconds() + 10;

	while (s->sent < until) {
		assert_true(seconds() < end);
		usleep(PACE_US);
	}
}

struct outcome {
	uint32_t before, after; /* datagrams that b got */
	uint32_t tried; /* after the removal */
	uint32_t errors;
	int last_error;
	double until_gone_ms;
};

enum guard { NONE, ROUTES, TABLE_ONLY, BOTH };

static struct steer *steer_for(const struct tuple *t)
{
	struct steer *s;

	assert_int_equal(steer_open(&s, &steering, NULL), 0);
	steer_begin(s);
	steer_build(s);
	steer_add(s, STEER_PROT, t, 0);
	steer_add_addr(s, STEER_SRC, &t->local.addr);
	assert_int_equal(steer_commit(s), 0);
	return s;
}

/*
 * A sender each millisecond; OLD is removed under it, NEW (if `with_new`) and
 * a default route stay, so that what is not held back finds a way out.
 */
static struct outcome remove_under_sender(struct hosts *h,
					  const struct names *n,
					  enum guard guard, bool with_new)
{
	struct sender *sender = mmap(NULL, sizeof(*sender),
				     PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const int room = 1 << 22;
	struct outcome o = { 0 };
	struct retain *r = NULL;
	struct steer *s = NULL;
	struct addr old = host_addr(n->old);
	struct addr peer = host_addr(n->peer);
	struct endpoint to;
	struct tuple t;
	uint32_t number, mark;
	int a, b;
	pid_t pid;

	assert_ptr_not_equal(sender, MAP_FAILED);
	host_enter(h->b);
	b = host_bind(n->peer, 0, SOCK_DGRAM);
	assert_int_equal(setsockopt(b, SOL_SOCKET, SO_RCVBUFFORCE, &room,
				    sizeof(room)), 0);
	to = host_name(b, false);
	host_enter(h->a);
	if (with_new) {
		add_address(n->new, n->bits);
		host_run("ip %s route add default via %s dev va", n->family,
			 n->peer);
	}
	a = host_bind(n->old, 0, SOCK_DGRAM);
	host_connect(a, &to);
	t = host_tuple(a, IPPROTO_UDP);
	if (guard == ROUTES || guard == BOTH) {
		r = open_retain(NULL);
		assert_int_equal(retain_protect(r, &old, &peer, 1500), 0);
	}
	if (guard == TABLE_ONLY || guard == BOTH)
		s = steer_for(&t);
	pid = sender_start(sender, a);
	sender_wait(sender, 100);

	/* What the daemon does at the event. With routes alone the first
	 * moment counts for nothing: then the clock starts when they stand. */
	remove_address(n->old, n->bits);
	if (!s && r)
		assert_int_equal(retain_gone(r, &old), 0);
	mark = sender->sent + 1; /* that one may be under way */
	if (s && r)
		assert_int_equal(retain_gone(r, &old), 0);
	sender_wait(sender, 300);
	sender->stop = true;
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	while (recv(b, &number, sizeof(number), MSG_DONTWAIT) ==
	       sizeof(number))
		if (number <= mark)
			o.before++;
		else
			o.after++;
	o.tried = sender->sent - mark;
	o.errors = sender->errors;
	o.last_error = sender->last_error;
	munmap(sender, sizeof(*sender));
	close(a);
	close(b);
	assert_int_equal(steer_close(s, false), 0);
	assert_int_equal(retain_close(r, false), 0);
	return o;
}

static void check_outcome(const char *what, const struct outcome *o)
{
	printf("# %s: %u arrived before; of %u sent after the removal %u "
	       "arrived, %u errors%s%s\n", what, o->before, o->tried, o->after,
	       o->errors, o->errors ? ": " : "",
	       o->errors ? strerror(o->last_error) : "");
	assert_true(o->before >= 90);
	assert_true(o->tried >= 250);
}

static void test_ipv4_without_us(void **state)
{
	struct outcome o =
		remove_under_sender(ready(state), &names[0], NONE, true);

	check_outcome("IPv4, control", &o);
	assert_true(o.errors > 200);
}

static void test_ipv6_without_us(void **state)
{
	struct outcome o =
		remove_under_sender(ready(state), &names[1], NONE, true);

	check_outcome("IPv6, control", &o);
	assert_true(o.after > 200);
}

static void check_guard(void **state, int family, enum guard guard,
			bool with_new, const char *what)
{
	struct outcome o = remove_under_sender(ready(state), &names[family],
					       guard, with_new);

	check_outcome(what, &o);
	assert_int_equal(o.after, 0);
	assert_int_equal(o.errors, 0);
}

static void test_ipv4_both_guards(void **state)
{
	check_guard(state, 0, BOTH, true, "IPv4, both guards");
}

static void test_ipv6_both_guards(void **state)
{
	check_guard(state, 1, BOTH, true, "IPv6, both guards");
}

static void test_ipv4_routes_alone(void **state)
{
	check_guard(state, 0, ROUTES, true, "IPv4, routes alone");
}

static void test_ipv6_routes_alone(void **state)
{
	check_guard(state, 1, ROUTES, true, "IPv6, routes alone");
}

static void test_ipv6_table_alone(void **state)
{
	check_guard(state, 1, TABLE_ONLY, true, "IPv6, table alone");
}

static void test_ipv4_no_other_address(void **state)
{
	check_guard(state, 0, BOTH, false, "IPv4, no other address");
}

static void test_ipv6_no_other_address(void **state)
{
	check_guard(state, 1, BOTH, false, "IPv6, no other address");
}

/*
 * The guard of routes alone: nothing comes to b, who has OLD by now, no ICMP
 * error about it either; and nothing to a local socket that listens on the
 * peer's port on all addresses.
 */
static void test_untranslated_packets_die_silently(void **state)
{
	struct hosts *h = ready(state);
	struct retain_info info;
	struct retain *r = open_retain(&info);

	if (!info.sink) {
		retain_close(r, false);
		SKIP_BECAUSE("this kernel has neither dummy nor bridge");
	}
	protect(r, 0);
	for (int i = 0; i < 2; i++) {
		const struct names *n = &names[i];
		struct endpoint to = host_endpoint(n->peer, 9);
		int fd, any;
		char byte;

		host_enter(h->a);
		any = host_bind(n->number == 4 ? "0.0.0.0" : "::", 9,
				SOCK_DGRAM);
		add_address(n->new, n->bits);
		fd = host_bind(n->old, 0, SOCK_DGRAM);
		host_connect(fd, &to);
		remove_address(n->old, n->bits);
		gone(r, n);
		host_enter(h->b);
		host_run("ip addr add %s/%d dev vb %s", n->old,
			 n->number == 4 ? 32 : 128,
			 n->number == 4 ? "" : "nodad");
		host_settle(n->old);
		host_run("nft 'table inet seen { chain c { type filter hook "
			 "prerouting priority 0; %s saddr %s counter; "
			 "%s daddr %s counter; udp dport 9 counter; }; }'",
			 n->ip, n->old, n->ip, n->old);
		host_enter(h->a);
		for (int j = 0; j < 20; j++)
			assert_int_equal(send(fd, "x", 1, 0), 1);
		assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
		assert_int_equal(errno, EAGAIN);
		assert_int_equal(recv(any, &byte, 1, MSG_DONTWAIT), -1);
		host_enter(h->b);
		host_run("test $(nft list chain inet seen c | "
			 "grep -c 'counter packets 0 ') = 3");
		/* The control: what does go to OLD is seen. */
		host_enter(h->a);
		host_run("ping -q -c 1 -W 2 %s >/dev/null", n->old);
		host_enter(h->b);
		host_run("test $(nft list chain inet seen c | "
			 "grep -c 'counter packets 0 ') = 2");
		host_run("nft delete table inet seen");
		close(fd);
		close(any);
	}
	host_enter(h->a);
	assert_int_equal(retain_close(r, false), 0);
}

/* --- nobody else's business ----------------------------------------------- */

static void test_does_not_answer_for_it(void **state)
{
	struct hosts *h = ready(state);
	struct retain *r = open_retain(NULL);

	protect(r, 0);
	for (int i = 0; i < 2; i++) {
		const struct names *n = &names[i];

		host_enter(h->b);
		host_run("ping -q -c 1 -W 2 %s >/dev/null", n->old);
		host_enter(h->a);
		add_address(n->new, n->bits);
		remove_address(n->old, n->bits);
		gone(r, n);
		host_enter(h->b);
		host_run("ip neigh flush all");
		assert_int_not_equal(
			host_try("ping -q -c 1 -W 1 %s >/dev/null", n->old),
			0);
		host_run("ip neigh show %s | grep -Eq 'FAILED|INCOMPLETE'",
			 n->old);
		host_run("ping -q -c 1 -W 2 %s >/dev/null", n->new);
	}
	host_enter(h->a);
	assert_int_equal(retain_close(r, false), 0);
}

static void test_reaches_a_stranger_that_has_it(void **state)
{
	struct hosts *h = ready(state);
	struct retain *r = open_retain(NULL);

	protect(r, 0);
	for (int i = 0; i < 2; i++) {
		const struct names *n = &names[i];
		struct endpoint peer = host_endpoint(n->peer, 9), to, from;
		struct addr new = host_addr(n->new);
		int kept, listener, fd, at_b;

		host_enter(h->a);
		kept = host_bind(n->old, 0, SOCK_DGRAM);
		host_connect(kept, &peer);
		add_address(n->new, n->bits);
		remove_address(n->old, n->bits);
		gone(r, n);
		host_enter(h->b);
		host_run("ip addr add %s/%d dev vb %s", n->old,
			 n->number == 4 ? 32 : 128,
			 n->number == 4 ? "" : "nodad");
		host_settle(n->old);
		listener = host_bind(n->old, 0, SOCK_STREAM);
		assert_int_equal(listen(listener, 1), 0);
		to = host_name(listener, false);
		host_enter(h->a);
		fd = socket(addr_af(&to.addr), SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(fd >= 0);
		host_connect(fd, &to);
		from = host_name(fd, false);
		assert_true(addr_equal(&from.addr, &new));
		at_b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		assert_true(at_b >= 0);
		/* And the old socket can still send: into the guard. */
		assert_int_equal(send(kept, "x", 1, 0), 1);
		close(at_b);
		close(fd);
		close(listener);
		close(kept);
	}
	host_enter(h->a);
	assert_int_equal(retain_close(r, false), 0);
}

static void test_is_no_source_for_new_connections(void **state)
{
	struct retain *r;

	(void)HOSTS(state);
	r = open_retain(NULL);
	protect(r, 0);
	for (int i = 0; i < 2; i++) {
		const struct names *n = &names[i];
		struct endpoint to = host_endpoint(n->peer, 9), from;
		struct addr new = host_addr(n->new);
		struct sockaddr_storage ss;
		socklen_t len = endpoint_to_sockaddr(&to, &ss);
		int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		assert_true(fd >= 0);
		remove_address(n->old, n->bits);
		gone(r, n);
		/* No other address, no route: no connection either. (IPv6
		 * would take a link-local one on the link's own route.) */
		assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), -1);
		assert_int_equal(errno, ENETUNREACH);
		add_address(n->new, n->bits);
		assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
		from = host_name(fd, false);
		assert_true(addr_equal(&from.addr, &new));
		close(fd);
	}
	assert_int_equal(retain_close(r, false), 0);
}

/* --- delivery ------------------------------------------------------------- */

/* A connected socket remembers how its packets came in, and they are not
 * checked again until routes change: so "change" them. */
static void set_rp_filter(int value)
{
	host_run("sysctl -qw net.ipv4.conf.all.rp_filter=%d && "
		 "sysctl -qw net.ipv4.conf.va.rp_filter=%d && "
		 "ip route flush cache", value, value);
}

/* One datagram from b to OLD at a, whose neighbour entry b still has. */
static bool delivered(struct hosts *h, int at_b, int at_a)
{
	char byte;

	host_enter(h->b);
	assert_int_equal(send(at_b, "x", 1, 0), 1);
	host_enter(h->a);
	return host_readable(at_a, 200) && recv(at_a, &byte, 1, 0) == 1;
}

/* What each family is checked by: IPv6 as firewalld does it by default. */
static void filter_strictly(int number)
{
	if (number == 4)
		set_rp_filter(1);
	else
		host_run("nft 'table ip6 rp { chain in { type filter hook "
			 "prerouting priority mangle + 10; "
			 "icmpv6 type { nd-router-advert, nd-neighbor-solicit } "
			 "accept; fib saddr . mark . iif oif missing drop; "
			 "}; }'");
}

/* The table's tripwire marks what comes in for an address that is gone; the
 * mark brings it to the socket. */
static void check_delivery(void **state, const struct names *n)
{
	struct hosts *h = ready(state);
	struct addr old = host_addr(n->old), peer = host_addr(n->peer);
	struct retain *r = open_retain(NULL);
	struct endpoint to;
	struct tuple t;
	struct steer *s;
	char mac[32] = "";
	int at_a, at_b;
	FILE *f;

	/* b goes on sending there, like a router that has not noticed. */
	f = popen("ip -o link show dev va | sed 's/.*ether //;s/ .*//'", "r");
	assert_non_null(f);
	assert_non_null(fgets(mac, sizeof(mac), f));
	pclose(f);
	mac[strcspn(mac, "\n")] = '\0';
	host_enter(h->b);
	host_run("ip neigh replace %s dev vb lladdr %s nud permanent", n->old,
		 mac);
	at_b = host_bind(n->peer, 0, SOCK_DGRAM);
	to = host_name(at_b, false);
	host_enter(h->a);
	at_a = host_bind(n->old, 0, SOCK_DGRAM);
	host_connect(at_a, &to);
	to = host_name(at_a, false);
	host_enter(h->b);
	host_connect(at_b, &to);
	host_enter(h->a);
	t = host_tuple(at_a, IPPROTO_UDP);
	assert_int_equal(retain_protect(r, &old, &peer, 0), 0);
	set_rp_filter(0);
	assert_true(delivered(h, at_b, at_a));
	add_address(n->new, n->bits);
	remove_address(n->old, n->bits);
	assert_int_equal(retain_gone(r, &old), 0);
	/* Without the mark nothing is delivered. */
	assert_false(delivered(h, at_b, at_a));
	s = steer_for(&t);
	assert_true(delivered(h, at_b, at_a));
	set_rp_filter(2);
	assert_true(delivered(h, at_b, at_a));
	filter_strictly(n->number);
	assert_false(delivered(h, at_b, at_a));
	assert_int_equal(
		reverse(r, &peer, if_nametoindex("va")), 0);
	assert_true(delivered(h, at_b, at_a));
	assert_int_equal(
		retain_unreverse(r, &peer, if_nametoindex("va")), 0);
	assert_false(delivered(h, at_b, at_a));
	close(at_a);
	close(at_b);
	assert_int_equal(steer_close(s, false), 0);
	assert_int_equal(retain_close(r, false), 0);
}

static void test_delivery_ipv4(void **state)
{
	check_delivery(state, &names[0]);
}

static void test_delivery_ipv6(void **state)
{
	check_delivery(state, &names[1]);
}

static void test_reverse_over_two_interfaces(void **state)
{
	uint32_t va, second;
	struct addr peer;
	struct retain *r;
	char *before;

	(void)ready(state);
	host_run("ip link add vc type veth peer name vd && "
		 "ip link set vc up && ip link set vd up");
	before = dump();
	r = open_retain(NULL);
	va = if_nametoindex("va");
	second = if_nametoindex("vc");
	peer = host_addr(HOST_B4);
	assert_int_equal(retain_unreverse(r, &peer, va), -ENOENT);
	assert_int_equal(reverse(r, &peer, va), 0);
	assert_int_equal(reverse(r, &peer, va), 0);
	assert_int_equal(reverse(r, &peer, second), 0);
	host_run("ip route show table %d | grep -c nexthop | grep -qx 2",
		 TABLE + 1);
	assert_int_equal(retain_unreverse(r, &peer, va), 0);
	host_run("ip route show table %d | grep -c nexthop | grep -qx 2",
		 TABLE + 1);
	/* What goes with the link comes back with it. */
	host_run("ip link set vc down");
	host_run("ip link set vc up");
	assert_int_equal(retain_link_up(r, second), 0);
	host_run("ip route show table %d | grep -c nexthop | grep -qx 2",
		 TABLE + 1);
	assert_int_equal(retain_unreverse(r, &peer, va), 0);
	host_run("ip route show table %d | grep -q 'dev vc'", TABLE + 1);
	/* One that is down does not keep another from its route. */
	host_run("ip link set vc down");
	assert_int_equal(reverse(r, &peer, va), 0);
	host_run("ip route show table %d | grep -q 'dev va'", TABLE + 1);
	host_run("ip link set vc up");
	assert_int_equal(retain_unreverse(r, &peer, va), 0);
	assert_int_equal(retain_unreverse(r, &peer, second), 0);
	host_run("test -z \"$(ip route show table %d)\"", TABLE + 1);
	assert_int_equal(retain_close(r, false), 0);
	expect_dump(before);
}

/* Says table N+1 this of the peer? */
static void expect_way(const char *peer, const char *pattern)
{
	const char *fam = strchr(peer, ':') ? "-6" : "-4";

	host_run("ip %s route show table %d %s | tr -d '\n\t' | tr -s ' ' | "
		 "grep -q -- '^%s %s' || { ip %s route show table %d; exit 1; }",
		 fam, TABLE + 1, peer, peer, pattern, fam, TABLE + 1);
}

/* Host a has a second interface, vc, with 10.8.0.1/24. */
static struct retain *ready_for_ways(void **state)
{
	(void)ready(state);
	host_run("ip link add vc type veth peer name vd && ip link set vc up && "
		 "ip link set vd up && ip addr add 10.8.0.1/24 dev vc");
	return open_retain(NULL);
}

/* The route to the peer's identity is as the real one to where it is. */
static void test_the_way_back_is_the_real_one(void **state)
{
	struct retain *r = ready_for_ways(state);
	const struct addr peer = host_addr("192.0.2.7");
	const struct retain_way way = { .ifindex = if_nametoindex("va"),
					.own = host_addr(HOST_A4),
					.remote = host_addr("192.0.2.9") };

	/* None yet: reached on the link, as the kernel takes it. */
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	expect_way("192.0.2.7", "dev va");
	host_run("ip route add 192.0.2.9 via " HOST_B4 " dev va mtu 1300");
	assert_int_equal(retain_refresh(r), 0);
	expect_way("192.0.2.7", "via " HOST_B4 " dev va .*src " HOST_A4
				".* mtu 1300");
	host_run("ip route replace 192.0.2.9 via 10.9.0.77 dev va");
	assert_int_equal(retain_refresh(r), 0);
	expect_way("192.0.2.7", "via 10.9.0.77 dev va [^m]*$");
	host_run("ip route replace 192.0.2.9 via inet6 fd09::77 dev va");
	assert_int_equal(retain_refresh(r), 0);
	expect_way("192.0.2.7", "via inet6 fd09::77 dev va");
	/* Gone: the last one stands. */
	host_run("ip route del 192.0.2.9");
	assert_int_equal(retain_refresh(r), 0);
	expect_way("192.0.2.7", "via inet6 fd09::77 dev va");
	/* By the source, from another table, and not on any subnet. */
	host_run("ip route add default via 10.7.7.7 dev va onlink table 108 && "
		 "ip rule add from " HOST_A4 " lookup 108 pref 900");
	assert_int_equal(retain_refresh(r), 0);
	expect_way("192.0.2.7", "via 10.7.7.7 dev va");
	assert_int_equal(retain_unreverse(r, &peer, way.ifindex), 0);
	assert_int_equal(retain_close(r, false), 0);
}

static void test_ways_over_two_interfaces(void **state)
{
	struct retain *r = ready_for_ways(state);
	const struct addr peer = host_addr("192.0.2.7");
	const uint32_t va = if_nametoindex("va");
	struct retain_way way = { .ifindex = va,
				  .own = host_addr(HOST_A4),
				  .remote = peer };

	host_run("ip route add default via " HOST_B4 " dev va && "
		 "ip route add default via 10.8.0.9 dev vc metric 9");
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	way.ifindex = if_nametoindex("vc");
	way.own = host_addr("10.8.0.1");
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	expect_way("192.0.2.7", ".*nexthop via " HOST_B4 " dev va .*"
				"nexthop via 10.8.0.9 dev vc");
	assert_int_equal(retain_unreverse(r, &peer, va), 0);
	expect_way("192.0.2.7", "via 10.8.0.9 dev vc .*src 10.8.0.1");
	/* Without a source that is gone the kernel takes it again. */
	host_run("ip addr add 10.8.0.2/24 dev vc && "
		 "ip addr del 10.8.0.1/24 dev vc && "
		 "ip route flush table %d", TABLE + 1);
	assert_int_equal(retain_refresh(r), 0);
	expect_way("192.0.2.7", "via 10.8.0.9 dev vc [^s]*$");
	/* The newest way over an interface is the one. */
	way.own = host_addr("10.8.0.2");
	host_run("ip route replace default via 10.8.0.10 dev vc metric 9");
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	expect_way("192.0.2.7", "via 10.8.0.10 dev vc .*src 10.8.0.2");
	for (int i = 0; i < 2; i++)
		assert_int_equal(retain_unreverse(r, &peer, way.ifindex), 0);
	assert_int_equal(retain_close(r, false), 0);
}

/* Where nothing changed nothing is written, and no listener hears of it. */
static void test_refresh_writes_what_changed(void **state)
{
	static const unsigned groups[] = { RTNLGRP_IPV6_ROUTE };
	struct retain *r = ready_for_ways(state);
	const struct addr peer = host_addr("2001:db8::7");
	const struct retain_way way = { .ifindex = if_nametoindex("va"),
					.own = host_addr(HOST_A6),
					.remote = host_addr("2001:db8::9") };
	struct netlink *nl;

	host_run("ip -6 route add 2001:db8::9 via " HOST_B6 " dev va");
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	assert_int_equal(netlink_open(&nl, NETLINK_ROUTE, groups, 1), 0);
	assert_int_equal(retain_refresh(r), 0);
	assert_false(host_readable(netlink_fd(nl), 0));
	host_run("ip -6 route del 2001:db8::9 && "
		 "ip -6 route add 2001:db8::9 via fd09::77 dev va");
	assert_int_equal(netlink_discard(nl), 0);
	assert_int_equal(retain_refresh(r), 0);
	assert_true(host_readable(netlink_fd(nl), 0));
	expect_way("2001:db8::7", "via fd09::77 dev va");
	netlink_close(nl);
	assert_int_equal(retain_unreverse(r, &peer, way.ifindex), 0);
	assert_int_equal(retain_close(r, false), 0);
}

/* With an address the kernel drops IPv4 routes, and tells nobody. */
static void test_a_way_that_went_unheard_is_written(void **state)
{
	struct retain *r = ready_for_ways(state);
	const struct addr peer = host_addr("192.0.2.7");
	const struct retain_way way = { .ifindex = if_nametoindex("vc"),
					.own = host_addr("10.8.0.1"),
					.remote = host_addr("192.0.2.9") };

	host_run("ip route add 192.0.2.9 via 10.8.0.9 dev vc");
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	/* Gone and back before anybody looks. */
	host_run("ip addr del 10.8.0.1/24 dev vc && "
		 "ip addr add 10.8.0.1/24 dev vc && "
		 "ip route add 192.0.2.9 via 10.8.0.9 dev vc && "
		 "test -z \"$(ip route show table %d)\"", TABLE + 1);
	retain_doubt(r, if_nametoindex("va"));
	assert_int_equal(retain_refresh(r), 0);
	host_run("test -z \"$(ip route show table %d)\"", TABLE + 1);
	retain_doubt(r, way.ifindex);
	assert_int_equal(retain_refresh(r), 0);
	expect_way("192.0.2.7", "via 10.8.0.9 dev vc .*src 10.8.0.1");
	/* Its link comes back before the route does. */
	host_run("ip link set vc down && ip link set vc up");
	(void)retain_link_up(r, way.ifindex);
	host_run("ip route add 192.0.2.9 via 10.8.0.9 dev vc && "
		 "ip route flush table %d", TABLE + 1);
	assert_int_equal(retain_refresh(r), 0);
	expect_way("192.0.2.7", "via 10.8.0.9 dev vc .*src 10.8.0.1");
	assert_int_equal(retain_unreverse(r, &peer, way.ifindex), 0);
	assert_int_equal(retain_close(r, false), 0);
}

/* IPv6: each has a route, the newest way's is the first one. */
static void test_ways_of_ipv6(void **state)
{
	struct retain *r = ready_for_ways(state);
	const char *id = "2001:db8::7";
	const struct addr peer = host_addr(id);
	struct retain_lost lost;
	struct retain_way way = { .ifindex = if_nametoindex("va"),
				  .own = host_addr(HOST_A6),
				  .remote = peer };

	host_run("ip addr add fd08::1/64 dev vc nodad");
	host_settle("fd08::1");
	host_run("ip -6 route add default via " HOST_B6 " dev va mtu 1400 && "
		 "ip -6 route add default via fe80::9 dev vc metric 2000");
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	expect_way(id, "via " HOST_B6 " dev va .*src " HOST_A6
		       " metric 1 .*mtu 1400");
	way.ifindex = if_nametoindex("vc");
	way.own = host_addr("fd08::1");
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	expect_way(id, "via fe80::9 dev vc .*src fd08::1 metric 1 .*"
		       "via " HOST_B6 " dev va .*metric 2");
	/* The older interface has a new way: it is the newest. */
	way.ifindex = if_nametoindex("va");
	way.own = host_addr(HOST_A6);
	way.remote = host_addr(HOST_B6);
	assert_int_equal(retain_reverse(r, &peer, &way), 0);
	expect_way(id, "dev va .*metric 1 .*via fe80::9 dev vc .*metric 2");
	/* Used again, without another use. */
	way.ifindex = if_nametoindex("vc");
	assert_int_equal(retain_prefer(r, &peer, &way), 0);
	expect_way(id, "via fe80::9 dev vc .*metric 1 .*dev va .*metric 2");
	way.ifindex = if_nametoindex("va");
	assert_int_equal(retain_prefer(r, &peer, &way), 0);
	expect_way(id, "dev va .*metric 1 .*via fe80::9 dev vc .*metric 2");
	way.ifindex = 999;
	assert_int_equal(retain_prefer(r, &peer, &way), -ENOENT);
	way.ifindex = if_nametoindex("va");
	/* One that goes with its link leaves the other, and comes back. */
	host_run("ip link set va down");
	assert_true(host_readable(retain_watch_fd(r), HOST_WAIT_MS));
	assert_int_equal(retain_watch(r, &lost), 0);
	assert_int_equal(lost.routes, 0);
	expect_way(id, "via fe80::9 dev vc .*metric 1 [^v]*$");
	host_run("ip link set va up");
	assert_int_equal(retain_link_up(r, way.ifindex), 0);
	expect_way(id, "dev va .*metric 1 .*via fe80::9 dev vc .*metric 2");
	for (int i = 0; i < 2; i++)
		assert_int_equal(retain_unreverse(r, &peer, way.ifindex), 0);
	expect_way(id, "via fe80::9 dev vc .*metric 1 [^v]*$");
	way.ifindex = if_nametoindex("vc");
	assert_int_equal(retain_unreverse(r, &peer, way.ifindex), 0);
	host_run("test -z \"$(ip -6 route show table %d)\"", TABLE + 1);
	assert_int_equal(retain_close(r, false), 0);
}

static void test_mtu_of_the_wire_path(void **state)
{
	struct retain *r;

	(void)HOSTS(state);
	r = open_retain(NULL);
	protect(r, 1400);
	for (int i = 0; i < 2; i++) {
		const struct names *n = &names[i];
		struct addr peer = host_addr(n->peer);

		remove_address(n->old, n->bits);
		gone(r, n);
		host_run("ip -o route get %s from %s | grep -q 'dev sacip-sink.*mtu 1400'",
			 n->peer, n->old);
		assert_int_equal(retain_set_mtu(r, &peer, 1300), 0);
		host_run("ip -o route get %s from %s | grep -q 'dev sacip-sink.*mtu 1300'",
			 n->peer, n->old);
		host_run("test \"$(ip %s route show table %d | grep -c .)\" = 1",
			 n->family, TABLE);
	}
	assert_int_equal(retain_close(r, false), 0);
}

/* What host a reaches over va, in the order of `names`. */
static const struct far {
	const char *net, *peer, *others;
} far[] = {
	{ "198.18.0.0/24", "198.18.0.1", "198.19.0.0" },
	{ "2001:db8:99::/64", "2001:db8:99::1", "2001:db8:98::" },
};

/* Of the test's own datagrams: others were seen in the device's counter. */
static void expect_swallowed(const struct names *n, unsigned int packets)
{
	host_run("nft list table %s swallowed | grep -q 'packets %u '", n->ip,
		 packets);
}

/* Others' routes, so that it takes more than one call to write all anew. */
static void crowd(struct retain *r, const struct addr *old,
		  struct addr peer, bool protect)
{
	uint8_t *end = peer.byte + addr_size(&peer);

	for (int i = 0; i < CROWD; i++) {
		end[-2] = (uint8_t)(i >> 8);
		end[-1] = (uint8_t)i;
		assert_int_equal(protect ? retain_protect(r, old, &peer, 1400) :
					   retain_unprotect(r, old, &peer), 0);
	}
}

static int guards(const struct names *n)
{
	char command[128];
	FILE *f;
	int count = -1;

	snprintf(command, sizeof(command),
		 "ip %s route show table %d | grep -c ' mtu 1400'", n->family,
		 TABLE);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &count), 1);
	pclose(f);
	return count;
}

static void send_both(int connected, int loose, const struct endpoint *to)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(to, &ss);

	assert_int_equal(send(connected, "a", 1, 0), 1);
	assert_int_equal(sendto(loose, "b", 1, 0, (struct sockaddr *)&ss, len),
			 1);
}

/* A connected socket sends into the sink while its route is away; that of IPv6
 * keeps that route when its own is back, until it is told. One that is not
 * connected looks for a route each time. */
static void check_back(struct retain *r, const struct names *n,
		       const struct far *to)
{
	const struct addr old = host_addr(n->old), peer = host_addr(to->peer);
	const struct endpoint end = host_endpoint(to->peer, 7);
	double start;
	int fd = host_bind(n->old, 0, SOCK_DGRAM);
	int loose = host_bind(n->old, 0, SOCK_DGRAM);

	host_run("nft 'table %s swallowed { chain out { type filter hook "
		 "postrouting priority 0; oifname %s udp dport 7 counter; }; }'",
		 n->ip, ROUTE_SINK);
	host_run("ip route add %s dev va", to->net);
	crowd(r, &old, host_addr(to->others), true);
	assert_int_equal(retain_protect(r, &old, &peer, 0), 0);
	host_connect(fd, &end);
	send_both(fd, loose, &end);
	expect_swallowed(n, 0);
	host_run("ip route del %s dev va", to->net);
	send_both(fd, loose, &end);
	expect_swallowed(n, 2);
	host_run("ip route add %s dev va", to->net);
	if (n->number == 4) {
		/* Any route that comes has its sockets look again. */
		send_both(fd, loose, &end);
		expect_swallowed(n, 2);
	}
	start = seconds();
	assert_int_equal(retain_refresh(r), 0);
	printf("# IPv%d: %d routes, refreshed in %.1f ms\n", n->number,
	       CROWD + 1, (seconds() - start) * 1e3);
	send_both(fd, loose, &end);
	expect_swallowed(n, 2);
	assert_int_equal(guards(n), CROWD);
	/* The rule for an address that is gone ends by itself. */
	assert_int_equal(retain_gone(r, &old), 0);
	send_both(fd, loose, &end);
	expect_swallowed(n, 4);
	assert_int_equal(retain_back(r, &old), 0);
	send_both(fd, loose, &end);
	expect_swallowed(n, 4);
	close(loose);
	close(fd);
	crowd(r, &old, host_addr(to->others), false);
	assert_int_equal(retain_unprotect(r, &old, &peer), 0);
	host_run("ip route del %s dev va", to->net);
	host_run("nft delete table %s swallowed", n->ip);
}

static void test_a_route_that_is_back_is_found(void **state)
{
	struct retain *r;

	(void)ready(state);
	r = open_retain(NULL);
	for (int i = 0; i < 2; i++)
		check_back(r, &names[i], &far[i]);
	assert_int_equal(retain_close(r, false), 0);
}

/* What waits for a link address that nobody tells goes when told to; known
 * ones, and those of the administrator, stay. */
static void test_drops_what_waits_for_a_neighbour(void **state)
{
	static const char *const nobody[] = { "10.9.0.77", "fd09::77" };
	static const char *const fixed[] = { "10.9.0.78", "fd09::78" };
	struct retain *r;
	uint32_t va;

	(void)ready(state);
	va = if_nametoindex("va");
	r = open_retain(NULL);
	for (int i = 0; i < 2; i++) {
		struct addr a = host_addr(nobody[i]);
		const char *family = names[i].family;

		assert_int_equal(retain_drop_unresolved(r, &a, va), 0);
		assert_false(retain_is_known(r, &a, va));
		/* One packet, and no wait for its answer. */
		host_run("bash -c 'echo > /dev/udp/%s/9'", nobody[i]);
		host_run("ip %s neigh show %s | grep -q INCOMPLETE", family,
			 nobody[i]);
		assert_false(retain_is_known(r, &a, va));
		assert_int_equal(retain_drop_unresolved(r, &a, va), 0);
		host_run("test -z \"$(ip %s neigh show %s nud incomplete)\"",
			 family, nobody[i]);
		host_run("ip neigh add %s lladdr 02:00:00:00:00:01 dev va",
			 fixed[i]);
		a = host_addr(fixed[i]);
		assert_true(retain_is_known(r, &a, va));
		assert_int_equal(retain_drop_unresolved(r, &a, va), 0);
		host_run("ip %s neigh show %s | grep -q PERMANENT", family,
			 fixed[i]);
		a = host_addr(names[i].peer);
		assert_int_equal(retain_drop_unresolved(r, &a, va), 0);
		host_run("ip %s neigh show %s | grep -q lladdr", family,
			 names[i].peer);
		assert_true(retain_is_known(r, &a, va));
	}
	assert_int_equal(retain_close(r, false), 0);
}

/* An address would make it a link like others: for networkd, which waits for
 * such ones at boot, and for programs that look for networks. */
static void test_the_sink_has_no_address(void **state)
{
	struct retain *r;

	(void)HOSTS(state);
	host_run("ip link add up0 type veth peer name up1");
	host_run("ip link set up1 up; ip link set up0 up");
	r = open_retain(NULL);
	/* What the kernel gives it would be there at once: NETDEV_UP. */
	host_run("ip link show sacip-sink | grep -q UP");
	host_run("test -z \"$(ip addr show dev sacip-sink | grep inet)\"");
	host_run("ip addr show dev up0 | grep -q 'inet6 fe80'"); /* control */
	assert_int_equal(retain_close(r, false), 0);
}

/* Each in namespaces of its own: a failure does not spoil the next one. */
#define TEST(f) cmocka_unit_test_setup_teardown(f, hosts_open, hosts_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refuses_bad_settings),
		TEST(test_needs_privilege),
		TEST(test_leaves_nothing_behind),
		TEST(test_the_sink_has_no_address),
		TEST(test_sweeps_after_a_crash),
		TEST(test_wires_are_counted),
		TEST(test_puts_back_what_others_take),
		TEST(test_stays_in_front_of_others),
		TEST(test_leaves_room_for_others),
		TEST(test_names_who_uses_our_bit),
		TEST(test_a_fight_has_an_end),
		TEST(test_many_peers_are_swept),
		TEST(test_an_address_on_lo_stays_its_owners),
		TEST(test_what_is_in_another_form_is_swept),
		TEST(test_copies_go_one_by_one),
		TEST(test_a_copy_is_in_nobodys_way),
		TEST(test_a_copy_of_the_dead_goes),
		TEST(test_the_interfaces_route_survives),
		TEST(test_ipv4_without_us),
		TEST(test_ipv6_without_us),
		TEST(test_ipv4_both_guards),
		TEST(test_ipv6_both_guards),
		TEST(test_ipv4_routes_alone),
		TEST(test_ipv6_routes_alone),
		TEST(test_ipv6_table_alone),
		TEST(test_ipv4_no_other_address),
		TEST(test_ipv6_no_other_address),
		TEST(test_untranslated_packets_die_silently),
		TEST(test_does_not_answer_for_it),
		TEST(test_reaches_a_stranger_that_has_it),
		TEST(test_is_no_source_for_new_connections),
		TEST(test_delivery_ipv4),
		TEST(test_delivery_ipv6),
		TEST(test_reverse_over_two_interfaces),
		TEST(test_the_way_back_is_the_real_one),
		TEST(test_ways_over_two_interfaces),
		TEST(test_ways_of_ipv6),
		TEST(test_refresh_writes_what_changed),
		TEST(test_a_way_that_went_unheard_is_written),
		TEST(test_mtu_of_the_wire_path),
		TEST(test_a_route_that_is_back_is_found),
		TEST(test_drops_what_waits_for_a_neighbour),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("retain", tests, NULL, NULL);
}
