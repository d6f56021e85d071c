/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of natrules: which rules take hold of a flow, which cannot. */
#include "natrules.h"

#include "host.h"

#include <net/if.h>

struct look {
	struct natrules *n;
	uint64_t now_ms;
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
	yes = natrules_match(l->n, t, if_nametoindex("va"), "va", l->now_ms);
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
		{ "meta mark 5 masquerade", true }, /* unknown: yes */
		{ "jump other", true },
		{ "meta mark 5 accept\nmasquerade", true },
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

static void test_no_rules(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct natrules *n;

	HOSTS(state);
	assert_int_equal(natrules_open(&n), 0);
	assert_false(natrules_match(n, &t, 1, "va", 1));
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
	assert_true(natrules_match(n, &t, 1, "va", 1));
	assert_false(natrules_match(n, &t, 1, "vb", 1));
	host_run("iptables-nft -t nat -F POSTROUTING");
	/* not looked at again before its time, then it is */
	assert_true(natrules_match(n, &t, 1, "va", 2));
	assert_false(natrules_match(n, &t, 1, "va", NATRULES_REFRESH_MS + 2));
	natrules_close(n);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_rules),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_iptables_is_seen),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("natrules", tests, hosts_open,
					   hosts_close);
}
