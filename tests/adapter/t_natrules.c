/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of natrules: which rules take hold of a flow, which cannot. */
#include "natrules.h"

#include "host.h"

#include <net/if.h>

struct look {
	struct natrules *n;
	uint64_t now_ms;
	uint32_t mark;
};

/* One chain with these rules; then: may the flow match? */
static bool matches(struct look *l, const char *family, const char *rules,
		    const struct tuple *t)
{
	bool yes;

	if (host_try("printf 'table %s x { chain other {\\n%%s\\n}\\n"
		     "chain post { type nat hook postrouting priority 100;\\n"
		     "%%s\\n}\\n}\\n' '%s' '%s' | nft -f -", family,
		     "ip daddr 10.9.0.2 masquerade", rules))
		fail_msg("nft refuses: %s", rules);
	l->now_ms += NATRULES_REFRESH_MS;
	yes = natrules_match(l->n, t, l->mark, if_nametoindex("va"), "va",
			     l->now_ms);
	host_run("nft delete table %s x", family);
	return yes;
}

static struct tuple flow(const char *local, const char *remote)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.local = host_endpoint(local, 40000);
	t.remote = host_endpoint(remote, 22);
	t.proto = IPPROTO_TCP;
	return t;
}

static void test_rules(void **state)
{
	static const struct {
		const char *rule;
		bool yes;
	} v4[] = {
		{ "masquerade", true },
		{ "oifname \"va\" masquerade", true },
		{ "oifname \"v*\" masquerade", true },
		{ "oifname != \"vb\" counter masquerade", true },
		{ "ip saddr 10.9.0.0/24 snat to 10.9.0.7", true },
		{ "ip saddr 10.9.0.0/20 snat to 10.9.0.7", true },
		{ "tcp dport 22 masquerade", true },
		{ "tcp dport { 22, 23 } masquerade", true }, /* a set: yes */
		{ "oifname \"va\" ct mark 5 masquerade", true },
		{ "jump other", true },
		{ "ct mark 5 accept\nmasquerade", true },
		{ "ip daddr vmap { 10.9.0.2 : jump other }", true },
		{ "oifname \"vb\" masquerade", false },
		{ "oifname != \"va\" masquerade", false },
		{ "ip saddr 172.17.0.0/16 oifname != \"docker0\" masquerade",
		  false },
		{ "ip daddr 10.9.0.3 masquerade", false },
		{ "tcp dport 23 masquerade", false },
		{ "udp dport 22 masquerade", false },
		{ "ip saddr 10.9.0.1 return\nmasquerade", false },
		{ "oifname \"va\" accept\nmasquerade", false },
		{ "oifname \"vb\" jump other", false },
		{ "counter", false },
		{ "meta mark 5 masquerade", false },
		{ "meta mark != 5 masquerade", true },
		{ "meta mark and 0xf0 != 0x40 masquerade", true },
		{ "meta mark set meta mark or 0x40\nmeta mark 0x41 return\n"
		  "meta mark and 0x1 == 1 masquerade", false },
		{ "meta mark set meta mark or 0x40\n"
		  "meta mark and 0x40 != 0x40 return\nmasquerade", true },
		{ "meta mark set ct mark\nmeta mark 5 masquerade", true },
	};
	struct tuple t4 = flow(HOST_A4, HOST_B4);
	struct tuple t6 = flow(HOST_A6, HOST_B6);
	struct look l = { .now_ms = 1 };

	HOSTS(state);
	assert_int_equal(natrules_open(&l.n), 0);
	for (size_t i = 0; i < sizeof(v4) / sizeof(*v4); i++)
		if (matches(&l, "ip", v4[i].rule, &t4) != v4[i].yes)
			fail_msg("%s", v4[i].rule);
	/* another family's table, and one for both */
	assert_false(matches(&l, "ip", "masquerade", &t6));
	assert_true(matches(&l, "inet", "masquerade", &t6));
	assert_false(matches(&l, "inet", "ip6 saddr fd08::/16 masquerade",
			     &t4));
	assert_false(matches(&l, "inet", "ip6 daddr fd09::3 masquerade", &t6));
	natrules_close(l.n);
}

/* What Kubernetes and Tailscale do: a masquerade for marked packets, and the
 * mark for packets to a few destinations only. `at` are rules at output. */
static bool marked(struct look *l, const char *at, const struct tuple *t)
{
	bool yes;

	host_run("printf 'table ip y { chain never { meta mark set meta mark "
		 "or 0x4000\n}\nchain o { type nat hook output priority -100;"
		 "\n%s\n}\n}\n' | nft -f -", at);
	yes = matches(l, "ip", "meta mark and 0x4000 != 0x4000 return\n"
		      "meta mark set meta mark xor 0x4000\n"
		      "masquerade fully-random", t);
	host_run("nft delete table ip y");
	return yes;
}

static void test_masquerade_by_mark(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct look l = { .now_ms = 1 };

	HOSTS(state);
	assert_int_equal(natrules_open(&l.n), 0);
	assert_false(marked(&l, "ip daddr 10.9.0.3 jump never", &t));
	assert_true(marked(&l, "ip daddr 10.9.0.2 jump never", &t));
	assert_false(marked(&l, "", &t));
	/* a bit that opens the way to another */
	assert_true(marked(&l, "meta mark and 1 == 1 jump never\n"
			   "meta mark set meta mark or 1", &t));
	assert_true(marked(&l, "ct mark 7 jump never", &t));
	assert_true(marked(&l, "ip daddr vmap { 10.9.0.9 : jump never }",
			   &t));
	/* the socket's own */
	l.mark = 0x4000;
	assert_true(marked(&l, "ip daddr 10.9.0.3 jump never", &t));
	natrules_close(l.n);
}

static void test_no_rules(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct natrules *n;

	HOSTS(state);
	assert_int_equal(natrules_open(&n), 0);
	assert_false(natrules_match(n, &t, 0, 1, "va", 1));
	natrules_close(n);
}

static void test_iptables_is_seen(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct natrules *n;

	HOSTS(state);
	if (host_try("iptables-nft -t nat -A POSTROUTING -o va -j MASQUERADE"))
		SKIP_BECAUSE("no iptables-nft that works here");
	assert_int_equal(natrules_open(&n), 0);
	assert_true(natrules_match(n, &t, 0, 1, "va", 1));
	assert_false(natrules_match(n, &t, 0, 1, "vb", 1));
	host_run("iptables-nft -t nat -F POSTROUTING");
	/* not looked at again before its time, then it is */
	assert_true(natrules_match(n, &t, 0, 1, "va", 2));
	assert_false(natrules_match(n, &t, 0, 1, "va",
				    NATRULES_REFRESH_MS + 2));
	natrules_close(n);
}

/* The flow leaves by va: may iptables' MASQUERADE of marked packets, with
 * this rule at OUTPUT? */
static bool iptables_marked(struct look *l, const char *at, uint32_t mark)
{
	struct tuple t = flow(HOST_A4, HOST_B4);

	host_run("iptables-nft -t mangle -F OUTPUT");
	host_run("iptables-nft -t mangle -A OUTPUT %s", at);
	l->now_ms += NATRULES_REFRESH_MS;
	return natrules_match(l->n, &t, mark, 1, "va", l->now_ms);
}

static void test_iptables_marks(void **state)
{
	struct look l = { .now_ms = 1 };

	HOSTS(state);
	if (host_try("iptables-nft -t nat -A POSTROUTING -m mark ! --mark 4/4 "
		     "-j RETURN"))
		SKIP_BECAUSE("no iptables-nft that works here");
	host_run("iptables-nft -t nat -A POSTROUTING -j MASQUERADE");
	assert_int_equal(natrules_open(&l.n), 0);
	assert_false(iptables_marked(&l, "-j ACCEPT", 0));
	assert_true(iptables_marked(&l, "-j ACCEPT", 4));
	assert_false(iptables_marked(&l, "-j MARK --set-xmark 8/8", 0));
	assert_true(iptables_marked(&l, "-j MARK --or-mark 0xc", 0));
	assert_false(iptables_marked(&l, "-d 10.9.0.3 -j MARK --or-mark 4",
				     0));
	assert_true(iptables_marked(&l, "-j CONNMARK --restore-mark "
				    "--nfmask 0xff --ctmask 0xff", 0));
	assert_false(iptables_marked(&l, "-j CONNMARK --restore-mark "
				     "--nfmask 0xf0 --ctmask 0xf0", 0));
	assert_false(iptables_marked(&l, "-j CONNMARK --save-mark", 0));
	host_run("iptables-nft -t mangle -F OUTPUT");
	host_run("iptables-nft -t nat -F POSTROUTING");
	natrules_close(l.n);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_rules),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_masquerade_by_mark),
		cmocka_unit_test(test_iptables_is_seen),
		cmocka_unit_test(test_iptables_marks),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("natrules", tests, hosts_open,
					   hosts_close);
}
