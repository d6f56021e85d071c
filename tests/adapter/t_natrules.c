/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of natrules: which rules take hold of a flow, which cannot. */
#include <net/if.h> /* before linux/if.h, which leaves out what it has */

#include "../../src/natrules_impl.h"

#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "aside.h"
#include "host.h"

struct look {
	struct aside *aside;
	struct natrules *n;
	uint64_t now_ms;
	uint32_t mark;
};

static struct look look_open(void)
{
	struct look l = { .now_ms = 1 };

	assert_int_equal(aside_open(&l.aside), 0);
	assert_int_equal(natrules_open(&l.n, l.aside), 0);
	return l;
}

static void look_close(struct look *l)
{
	aside_close(l->aside);
	natrules_close(l->n);
}

static void post(void *arg)
{
	sem_post(arg);
}

/* Until the thread has read what it was to read. */
static void look_wait(struct look *l)
{
	sem_t done;

	sem_init(&done, 0, 0);
	assert_int_equal(aside_do(l->aside, post, &done), 0);
	while (sem_wait(&done) < 0)
		;
	sem_destroy(&done);
}

static enum natrules_answer ask(struct look *l, const struct tuple *t,
				const char *oif)
{
	return natrules_match(l->n, t, l->mark, if_nametoindex(oif), oif,
			      l->now_ms);
}

/* May the flow match? As the daemon asks: again, where the rules are read. */
static bool may(struct look *l, const struct tuple *t, const char *oif)
{
	enum natrules_answer is = ask(l, t, oif);

	if (is == NATRULES_READING) {
		look_wait(l);
		is = ask(l, t, oif);
	}
	assert_int_not_equal(is, NATRULES_READING);
	return is == NATRULES_MAY;
}

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
	yes = may(l, t, "va");
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
	struct look l;

	HOSTS(state);
	l = look_open();
	for (size_t i = 0; i < sizeof(v4) / sizeof(*v4); i++)
		if (matches(&l, "ip", v4[i].rule, &t4) != v4[i].yes)
			fail_msg("%s", v4[i].rule);
	/* another family's table, and one for both */
	assert_false(matches(&l, "ip", "masquerade", &t6));
	assert_true(matches(&l, "inet", "masquerade", &t6));
	assert_false(matches(&l, "inet", "ip6 saddr fd08::/16 masquerade",
			     &t4));
	assert_false(matches(&l, "inet", "ip6 daddr fd09::3 masquerade", &t6));
	look_close(&l);
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
	struct look l;

	HOSTS(state);
	l = look_open();
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
	look_close(&l);
}

static void test_iptables_is_seen(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct look l;

	HOSTS(state);
	if (host_try("iptables-nft -t nat -A POSTROUTING -o va -j MASQUERADE"))
		SKIP_BECAUSE("no iptables-nft that works here");
	l = look_open();
	assert_true(may(&l, &t, "va"));
	assert_false(may(&l, &t, "lo"));
	host_run("iptables-nft -t nat -F POSTROUTING");
	/* not looked at again before its time, then it is */
	l.now_ms++;
	assert_true(may(&l, &t, "va"));
	l.now_ms += NATRULES_REFRESH_MS;
	assert_false(may(&l, &t, "va"));
	look_close(&l);
}

/* What is read while the kernel changes its rules may be wrong, be it of the
 * generation that stays: it is read a second time, and no third. */
static void test_a_new_generation_is_read_twice(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct look l;

	HOSTS(state);
	l = look_open();
	for (int i = 0; i < 2; i++) {
		assert_false(may(&l, &t, "va"));
		l.n->copy->overflow = true;
		assert_true(may(&l, &t, "va"));
		l.now_ms += NATRULES_REFRESH_MS;
		assert_int_not_equal(ask(&l, &t, "va"), NATRULES_READING);
		look_wait(&l);
		assert_false(may(&l, &t, "va"));
		l.n->copy->overflow = true;
		l.now_ms += NATRULES_REFRESH_MS;
		assert_true(may(&l, &t, "va"));
		host_run("nft add table inet other%d", i);
		l.now_ms += NATRULES_REFRESH_MS;
	}
	look_close(&l);
}

static void wait_aside(void *arg)
{
	while (sem_wait(arg) < 0)
		;
}

/* However long it takes to read them: who asks does not wait, and hears nothing
 * of rules that are not there any more. */
static void test_who_asks_does_not_wait(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct look l;
	sem_t go;

	HOSTS(state);
	host_run("nft flush ruleset");
	l = look_open();
	l.now_ms += NATRULES_REFRESH_MS;
	assert_false(may(&l, &t, "va")); /* the second time */
	look_wait(&l);
	sem_init(&go, 0, 0);
	assert_int_equal(aside_do(l.aside, wait_aside, &go), 0);
	l.now_ms += NATRULES_REFRESH_MS;
	assert_int_equal(ask(&l, &t, "va"), NATRULES_NONE);
	host_run("printf 'table ip x { chain post { type nat hook postrouting "
		 "priority 100;\nmasquerade\n}\n}\n' | nft -f -");
	for (int i = 0; i < 3; i++) {
		l.now_ms += NATRULES_REFRESH_MS;
		assert_int_equal(ask(&l, &t, "va"), NATRULES_READING);
	}
	sem_post(&go);
	look_wait(&l);
	assert_int_equal(ask(&l, &t, "va"), NATRULES_MAY);
	/* It is read once more: what is known answers. */
	l.now_ms += NATRULES_REFRESH_MS;
	assert_int_equal(aside_do(l.aside, wait_aside, &go), 0);
	assert_int_equal(ask(&l, &t, "va"), NATRULES_MAY);
	sem_post(&go);
	look_wait(&l);
	host_run("nft delete table ip x");
	look_close(&l);
	sem_destroy(&go);
}

/* Where they change all the time, as they do with each connection that is proved,
 * and to read them takes longer than what is read may be old. */
static void test_rules_that_change_on_and_on(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct look l;

	HOSTS(state);
	host_run("nft flush ruleset");
	l = look_open();
	for (int i = 0; i < 2; i++) {
		host_run("nft add table inet more%d", i);
		l.now_ms += NATRULES_REFRESH_MS;
		assert_int_equal(ask(&l, &t, "va"), NATRULES_READING);
		look_wait(&l);
		host_run("nft add table inet again%d", i);
		l.now_ms += 2 * NATRULES_REFRESH_MS;
		assert_int_equal(ask(&l, &t, "va"), NATRULES_NONE);
		l.now_ms += NATRULES_REFRESH_MS - 1;
		assert_int_equal(ask(&l, &t, "va"), NATRULES_NONE);
	}
	look_close(&l);
}

/* A list that is torn is taken again, and again: what comes twice is there once,
 * and who asks meanwhile hears of no rule that would translate him. */
static void test_rules_that_change_while_they_are_read(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct look l;
	pid_t child;

	HOSTS(state);
	host_run("nft flush ruleset");
	host_run("(echo 'table ip x { chain other { counter; }; "
		 "chain post { type nat hook postrouting "
		 "priority 100;'; for i in $(seq 2000); do "
		 "echo \"ip saddr 10.8.$((i / 250)).$((i %% 250)) masquerade\"; "
		 "done; echo '}; }') | nft -f -");
	l = look_open();
	assert_false(may(&l, &t, "va"));
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)!system("nft 'add table inet y; "
				      "delete table inet y'");
	}
	for (int i = 0; i < 10; i++) {
		l.now_ms += NATRULES_REFRESH_MS;
		assert_int_not_equal(ask(&l, &t, "va"), NATRULES_MAY);
		look_wait(&l);
		assert_int_not_equal(ask(&l, &t, "va"), NATRULES_MAY);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	l.now_ms += NATRULES_REFRESH_MS;
	for (int i = 0; i < 3; i++) {
		(void)ask(&l, &t, "va");
		look_wait(&l);
	}
	assert_int_equal(ask(&l, &t, "va"), NATRULES_NONE);
	host_run("nft flush ruleset");
	look_close(&l);
}

/* The flow leaves by va: may iptables' MASQUERADE of marked packets, with
 * this rule at OUTPUT? */
static bool iptables_marked(struct look *l, const char *at, uint32_t mark)
{
	struct tuple t = flow(HOST_A4, HOST_B4);

	host_run("iptables-nft -t mangle -F OUTPUT");
	host_run("iptables-nft -t mangle -A OUTPUT %s", at);
	l->now_ms += NATRULES_REFRESH_MS;
	l->mark = mark;
	return may(l, &t, "va");
}

static void test_iptables_marks(void **state)
{
	struct look l;

	HOSTS(state);
	if (host_try("iptables-nft -t nat -A POSTROUTING -m mark ! --mark 4/4 "
		     "-j RETURN"))
		SKIP_BECAUSE("no iptables-nft that works here");
	host_run("iptables-nft -t nat -A POSTROUTING -j MASQUERADE");
	l = look_open();
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
	look_close(&l);
}

/* With one more rule of iptables-legacy: may the flow match? */
static bool legacy(struct look *l, const char *tool, const char *rule,
		   const struct tuple *t)
{
	bool yes;

	host_run("%s -t nat -A POSTROUTING %s", tool, rule);
	l->now_ms += NATRULES_REFRESH_MS;
	yes = may(l, t, "va");
	host_run("%s -t nat -D POSTROUTING %s", tool, rule);
	return yes;
}

static const struct {
	const char *rule;
	bool yes;
} of_legacy[] = {
	{ "-j MASQUERADE", true },
	{ "-o va -j MASQUERADE", true },
	{ "-o v+ -j MASQUERADE", true },
	{ "! -o vb -j MASQUERADE", true },
	{ "-p tcp -j MASQUERADE", true },
	{ "-p tcp --dport 23 -j MASQUERADE", true }, /* not known */
	{ "-p tcp --dport 23 -j theirs", true },
	{ "-m comment --comment x -j MASQUERADE", true },
	{ "-m mark ! --mark 4 -j MASQUERADE", true },
	{ "-m mark --mark 4 -j MASQUERADE", false },
	{ "-m comment --comment x -m mark --mark 4 -j MASQUERADE", false },
	{ "-m mark --mark 4 -m comment --comment x -j theirs", false },
	{ "-j inside", true },
	{ "-j theirs", true },
	{ "-g theirs", true },
	{ "-o vb -j MASQUERADE", false },
	{ "! -o va -j MASQUERADE", false },
	{ "-o vaa -j MASQUERADE", false },
	{ "! -p tcp -j MASQUERADE", false },
	{ "-p udp -j MASQUERADE", false },
	{ "-o vb -j theirs", false },
	{ "-j MARK --set-mark 5", false },
	{ "-j ACCEPT", false },
	{ "-j empty", false },
	{ "-g empty", false },
	{ "-p tcp", false },
};

static void test_iptables_legacy(void **state)
{
	const struct {
		const char *tool;
		struct tuple t;
		const char *hit, *other, *net;
	} f[] = {
		{ "iptables-legacy", flow(HOST_A4, HOST_B4), "10.9.0.0/20",
		  "10.9.16.0/20", "! -s 10.9.0.0/20" },
		{ "ip6tables-legacy", flow(HOST_A6, HOST_B6), HOST_A6 "/60",
		  "fd77::/60", "! -s " HOST_A6 "/60" },
	};
	struct look l = { .now_ms = 1 };
	char rule[128];

	HOSTS(state);
	for (size_t i = 0; i < 2; i++)
		if (host_try("printf '*nat\n:theirs -\n:empty -\n:inside -\n"
			     "-A theirs -j MASQUERADE\n"
			     "-A inside -i va -j RETURN\n"
			     "-A inside -j MASQUERADE\nCOMMIT\n' | %s-restore",
			     f[i].tool))
			SKIP_BECAUSE("no iptables-legacy that works here");
	l = look_open();
	for (size_t i = 0; i < 2; i++) {
		assert_false(may(&l, &f[i].t, "va"));
		for (size_t j = 0; j < sizeof(of_legacy) / sizeof(*of_legacy);
		     j++)
			if (legacy(&l, f[i].tool, of_legacy[j].rule,
				   &f[i].t) != of_legacy[j].yes)
				fail_msg("%s %s", f[i].tool, of_legacy[j].rule);
		snprintf(rule, sizeof(rule), "-s %s -j MASQUERADE", f[i].hit);
		assert_true(legacy(&l, f[i].tool, rule, &f[i].t));
		assert_false(legacy(&l, f[i].tool, rule, &f[!i].t));
		snprintf(rule, sizeof(rule), "-s %s ! -o docker0 -j MASQUERADE",
			 f[i].other);
		assert_false(legacy(&l, f[i].tool, rule, &f[i].t));
		snprintf(rule, sizeof(rule), "%s -j MASQUERADE", f[i].net);
		assert_false(legacy(&l, f[i].tool, rule, &f[i].t));
		/* one that may end it, and one that surely does */
		host_run("%s -t nat -A POSTROUTING -p tcp --dport 23 -j ACCEPT",
			 f[i].tool);
		assert_true(legacy(&l, f[i].tool, "-j MASQUERADE", &f[i].t));
		host_run("%s -t nat -A POSTROUTING -o va -m comment --comment "
			 "x -m mark --mark 0 -j ACCEPT", f[i].tool);
		assert_false(legacy(&l, f[i].tool, "-j MASQUERADE", &f[i].t));
		host_run("%s -t nat -F && %s -t nat -X", f[i].tool, f[i].tool);
	}
	look_close(&l);
}

static const struct family {
	const char *tool, *remote, *other;
	const char *nft; /* its name there */
} families[] = {
	{ "iptables-legacy", HOST_B4, "10.9.0.3", "ip" },
	{ "ip6tables-legacy", HOST_B6, "fd09::3", "ip6" },
};

/* With these rules of kube-proxy for what is marked, or none: a service at
 * `other` whose packets are, and one that only others may reach. */
static int kube(const struct family *f, const char *postrouting)
{
	return host_try("printf '*nat\n:MARK-MASQ -\n:SVC -\n:KUBE -\n"
			"-A MARK-MASQ -j MARK --or-mark 0x4000\n"
			"-A OUTPUT -m comment --comment x -j SVC\n"
			"-A SVC -d %s -m comment --comment x -j MARK-MASQ\n"
			"-A POSTROUTING -m comment --comment x -j KUBE\n"
			"%sCOMMIT\n' | %s-restore", f->other, postrouting,
			f->tool);
}

static const char *const kube_rules[] = {
	"-A KUBE -m comment --comment x -m mark ! --mark 0x4000/0x4000 -j "
	"RETURN\n-A KUBE -j MARK --xor-mark 0x4000\n"
	"-A KUBE -m comment --comment x -j MASQUERADE --random-fully\n",
	"-A KUBE -m comment --comment x -m mark --mark 0x4000/0x4000 -j "
	"MASQUERADE\n",
};

/* A flow to this address, of a socket with this mark. */
static bool goes(struct look *l, const struct family *f, const char *to,
		 uint32_t mark)
{
	struct tuple t = flow(f == families ? HOST_A4 : HOST_A6, to);

	l->now_ms += NATRULES_REFRESH_MS;
	l->mark = mark;
	return may(l, &t, "va");
}

/* Likewise with one more rule that may mark it. */
static bool goes_by(struct look *l, const struct family *f, const char *table,
		    const char *rule)
{
	bool yes;

	host_run("%s -w -t %s -A %s", f->tool, table, rule);
	yes = goes(l, f, f->remote, 0);
	host_run("%s -w -t %s -D %s", f->tool, table, rule);
	return yes;
}

static void test_legacy_marks(void **state)
{
	static const struct {
		const char *table, *rule;
		bool yes;
	} by[] = {
		{ "mangle", "OUTPUT -j MARK --set-mark 5", true },
		{ "mangle", "OUTPUT -j MARK --set-xmark 0x4000/0x4000", true },
		{ "mangle", "OUTPUT -j MARK --or-mark 0x2000", false },
		{ "mangle", "OUTPUT -o vb -j MARK --set-mark 5", false },
		{ "mangle", "OUTPUT -m mark --mark 1 -j MARK --set-mark 5",
		  false },
		{ "mangle", "OUTPUT -m mark ! --mark 1 -j MARK --set-mark 5",
		  true },
		{ "mangle", "OUTPUT -p tcp --dport 23 -j MARK --set-mark 5",
		  true },
		{ "mangle", "POSTROUTING -j MARK --set-mark 5", true },
		{ "mangle", "FORWARD -j MARK --set-mark 5", false },
		{ "mangle", "OUTPUT -j CONNMARK --restore-mark", true },
		{ "mangle", "OUTPUT -j CONNMARK --restore-mark --mask 0xff",
		  false },
		{ "mangle", "OUTPUT -j CONNMARK --save-mark", false },
		{ "mangle", "OUTPUT -j ACCEPT", false },
		{ "mangle", "POSTROUTING -p tcp --tcp-flags SYN,RST SYN -j "
		  "TCPMSS --clamp-mss-to-pmtu", false },
		{ "raw", "OUTPUT -j MARK --set-mark 5", true },
		{ "filter", "OUTPUT -j MARK --set-mark 5", true },
		{ "nat", "OUTPUT -j MARK-MASQ", true },
	};
	struct look l;

	HOSTS(state);
	for (size_t i = 0; i < 2; i++)
		if (kube(&families[i], ""))
			SKIP_BECAUSE("no iptables-legacy that works here");
	l = look_open();
	for (size_t i = 0; i < 4; i++) {
		const struct family *f = &families[i % 2];

		assert_int_equal(kube(f, kube_rules[i / 2]), 0);
		assert_false(goes(&l, f, f->remote, 0));
		assert_false(goes(&l, f, f->remote, 0x2000));
		assert_true(goes(&l, f, f->remote, 0x4000));
		assert_true(goes(&l, f, f->other, 0));
		for (size_t j = 0; j < sizeof(by) / sizeof(*by); j++)
			if (goes_by(&l, f, by[j].table, by[j].rule) !=
			    by[j].yes)
				fail_msg("%s %s", f->tool, by[j].rule);
		/* not every kernel has it */
		if (!host_try("%s -t mangle -A OUTPUT -j HMARK --hmark-tuple "
			      "src --hmark-mod 9 --hmark-rnd 1", f->tool)) {
			assert_true(goes(&l, f, f->remote, 0));
			host_run("%s -t mangle -F OUTPUT", f->tool);
		}
	}
	for (size_t i = 0; i < 2; i++)
		host_run("%s -t nat -F && %s -t nat -X", families[i].tool,
			 families[i].tool);
	look_close(&l);
}

/* One kind's mark for the other's masquerade. */
static void test_marks_of_both_kinds(void **state)
{
	struct look l;

	HOSTS(state);
	for (size_t i = 0; i < 2; i++)
		if (host_try("%s -t nat -F && %s -t mangle -F",
			     families[i].tool, families[i].tool))
			SKIP_BECAUSE("no iptables-legacy that works here");
	host_run("nft flush ruleset");
	l = look_open();
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];

		host_run("printf 'table %s y { chain o { type route hook output"
			 " priority 0;\nmeta mark set meta mark or 0x4000\n"
			 "}\n}\n' | nft -f -", f->nft);
		/* its rules matter only now: read, though none changed */
		assert_false(goes(&l, f, f->remote, 0));
		host_run("%s -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000"
			 " -j MASQUERADE", f->tool);
		assert_true(goes(&l, f, f->remote, 0));
		host_run("nft delete table %s y", f->nft);
		assert_false(goes(&l, f, f->remote, 0));
		host_run("%s -t nat -F", f->tool);

		host_run("printf 'table %s y { chain p { type nat hook "
			 "postrouting priority 100;\nmeta mark and 0x4000 == "
			 "0x4000 masquerade\n}\n}\n' | nft -f -", f->nft);
		assert_false(goes(&l, f, f->remote, 0));
		assert_true(goes_by(&l, f, "mangle", "OUTPUT -j MARK "
				    "--or-mark 0x4000"));
		host_run("nft delete table %s y", f->nft);
	}
	look_close(&l);
}

/* To look creates no table, whose hooks every packet would pass. */
static void test_nothing_is_created(void **state)
{
	struct tuple t = flow(HOST_A4, HOST_B4);
	struct look l;

	HOSTS(state);
	l = look_open();
	assert_false(may(&l, &t, "va"));
	look_close(&l);
	assert_int_not_equal(host_try("grep -q nat "
				      "/proc/self/net/ip_tables_names"), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_masquerade_by_mark),
		cmocka_unit_test(test_iptables_is_seen),
		cmocka_unit_test(test_a_new_generation_is_read_twice),
		cmocka_unit_test(test_who_asks_does_not_wait),
		cmocka_unit_test(test_rules_that_change_on_and_on),
		cmocka_unit_test(test_rules_that_change_while_they_are_read),
		cmocka_unit_test(test_iptables_marks),
		cmocka_unit_test(test_nothing_is_created),
		cmocka_unit_test(test_iptables_legacy),
		cmocka_unit_test(test_legacy_marks),
		cmocka_unit_test(test_marks_of_both_kinds),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("natrules", tests, hosts_open,
					   hosts_close);
}
