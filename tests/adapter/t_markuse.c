/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of markuse: which rules use our bit, and who is named. */
#include "markuse.h"

#include "host.h"
#include "steer.h"

#define BIT STEER_MARK_DEFAULT

static void expect(const char *rule, bool yes)
{
	struct markuse use;

	assert_int_equal(markuse_look(BIT, &use), 0);
	if (!!use.rules != yes)
		fail_msg("%s: %u rules", rule, use.rules);
}

static void test_nft(void **state)
{
	static const struct {
		const char *rule;
		bool yes;
	} rules[] = {
		{ "meta mark and 0x10000000 == 0x10000000 accept", true },
		{ "meta mark and 0x30000000 == 0x20000000 accept", true },
		{ "meta mark and 0xf0000000 != 0 accept", true },
		{ "meta mark 0x10000005 accept", true },
		{ "meta mark set meta mark or 0x10000000", true },
		{ "meta mark set 0x1ca6c", false },
		{ "meta mark set 0x1001ca6c", true },
		{ "meta mark set 0x51820 accept", false },
		{ "meta mark 0xca6c accept", false },
		{ "meta mark != 0 accept", false },
		{ "meta mark and 0xff0000 == 0x80000 accept", false },
		{ "meta mark set ct mark", false },
		{ "ct mark set meta mark", false },
		{ "meta mark set meta mark and 0xefffffff", false },
		{ "ip saddr 16.0.0.0 accept", false },
		{ "ip saddr and 0.0.0.16 == 0.0.0.16 accept", false },
	};

	(void)HOSTS(state);
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		host_run("nft 'table ip x { chain c { %s; }; }'",
			 rules[i].rule);
		expect(rules[i].rule, rules[i].yes);
		host_run("nft delete table ip x");
	}
	expect("none", false);
}

static void test_iptables(void **state)
{
	static const struct {
		const char *rule;
		bool yes;
	} rules[] = {
		{ "-m mark --mark 0x10000000/0x10000000", true },
		{ "-m mark ! --mark 0x0/0xf0000000", true },
		{ "-m mark --mark 0x40000/0xff0000 -j RETURN", false },
		{ "-j MARK --set-xmark 0x10000000/0x10000000", true },
		{ "-j MARK --set-xmark 0x4000/0x4000", false },
		{ "-j CONNMARK --restore-mark", false },
	};

	(void)HOSTS(state);
	if (host_try("iptables-nft -t mangle -N probe 2>/dev/null"))
		SKIP_BECAUSE("no iptables-nft that works here");
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		host_run("iptables-nft -t mangle -A PREROUTING %s",
			 rules[i].rule);
		expect(rules[i].rule, rules[i].yes);
		host_run("iptables-nft -t mangle -F PREROUTING");
	}
}

static void test_names_the_first(void **state)
{
	const struct steer_conf conf = { .mark = BIT,
					 .queue_in = 21,
					 .queue_out = 22 };
	struct markuse use;
	struct tuple t;
	struct steer *s;

	(void)HOSTS(state);
	/* Our own does not count. */
	assert_int_equal(steer_open(&s, &conf, NULL), 0);
	memset(&t, 0, sizeof(t));
	t.local = host_endpoint(HOST_A4, 1);
	t.remote = host_endpoint(HOST_B4, 1);
	t.proto = IPPROTO_TCP;
	steer_begin(s);
	steer_build(s);
	steer_add(s, STEER_IN, &t, 0);
	assert_int_equal(steer_commit(s), 0);
	expect("our own", false);
	host_run("nft 'table ip6 cloud { chain uplinks { counter; "
		 "meta mark set 0x10000000; meta mark set 0x30000000; }; }'");
	assert_int_equal(markuse_look(BIT, &use), 0);
	assert_int_equal(use.rules, 2);
	assert_string_equal(use.family, "ip6");
	assert_string_equal(use.table, "cloud");
	assert_string_equal(use.chain, "uplinks");
	host_run("nft -a list chain ip6 cloud uplinks | "
		 "grep -q '0x10000000 # handle %lu'",
		 (unsigned long)use.handle);
	assert_int_equal(steer_close(s, false), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nft, hosts_open,
						hosts_close),
		cmocka_unit_test_setup_teardown(test_iptables, hosts_open,
						hosts_close),
		cmocka_unit_test_setup_teardown(test_names_the_first,
						hosts_open, hosts_close),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("markuse", tests, NULL, NULL);
}
