/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of steer: the table in the kernel, and what it does to packets.
 *
 * Host a has the table. A second table, "probe", stands behind it and counts
 * what came through. Two UDP connections join the hosts: `flow` is steered,
 * `other` is not; a datagram on `other` right behind one on `flow` tells when
 * the first would have arrived.
 */
#include "steer.h"

#include "host.h"
#include "netlink.h"
#include "nonce.h"
#include "pktq.h"
#include "route.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/tcp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define QUEUE_IN 21
#define QUEUE_OUT 22
#define MARK "0x10000000"
#define MANY 20000

struct pair {
	int a, b; /* connected UDP sockets */
	struct tuple tuple; /* as host a sees it */
};

struct scene {
	struct hosts *hosts;
	struct steer *steer;
	struct steer_info info;
	struct pair flow, other;
};

static const struct steer_conf conf = {
	.mark = STEER_MARK_DEFAULT,
	.queue_in = QUEUE_IN,
	.queue_out = QUEUE_OUT,
};

/* --- the scene ------------------------------------------------------------ */

static struct pair pair_from(const struct hosts *h, bool v6, const char *b)
{
	struct endpoint end;
	struct pair p;

	host_enter(h->b);
	p.b = host_bind(b, 0, SOCK_DGRAM);
	host_enter(h->a);
	p.a = host_bind(v6 ? HOST_A6 : HOST_A4, 0, SOCK_DGRAM);
	end = host_name(p.a, false);
	host_connect(p.b, &end);
	end = host_name(p.b, false);
	host_connect(p.a, &end);
	p.tuple = host_tuple(p.a, IPPROTO_UDP);
	return p;
}

static struct pair pair_open(const struct hosts *h, bool v6)
{
	return pair_from(h, v6, v6 ? HOST_B6 : HOST_B4);
}

static void pair_close(struct pair *p)
{
	close(p->a);
	close(p->b);
}

static int try_build(struct steer **s, const struct steer_conf *c,
		     struct steer_info *info)
{
	int err = steer_open(s, c, info);

	if (err)
		return err;
	steer_begin(*s);
	steer_build(*s);
	return steer_commit(*s);
}

static struct steer *build(const struct steer_conf *c, struct steer_info *info)
{
	struct steer *s;

	assert_int_equal(try_build(&s, c, info), 0);
	return s;
}

static struct scene open_scene(void **state, bool v6,
			       const struct steer_conf *c)
{
	struct scene s = { .hosts = HOSTS(state) };
	cpu_set_t one;

	/* What one CPU sends stays in order. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
	s.steer = build(c, &s.info);
	host_run("nft 'table inet probe { "
		 "counter marked { }; counter fragments { }; "
		 "chain early { type filter hook prerouting priority -350; "
		 "  ip frag-off & 0x1fff != 0 counter name fragments; }; "
		 "chain late { type filter hook input priority 0; "
		 "  meta mark & " MARK " != 0 counter name marked; }; }'");
	s.flow = pair_open(s.hosts, v6);
	s.other = pair_open(s.hosts, v6);
	return s;
}

static void close_scene(struct scene *s)
{
	host_enter(s->hosts->a);
	pair_close(&s->flow);
	pair_close(&s->other);
	host_run("nft delete table inet probe");
	assert_int_equal(steer_close(s->steer, false), 0);
	assert_int_not_equal(host_try("nft list table inet sacip 2>&1 | "
				      "grep -q chain"), 0);
}

/* Whether a datagram sent on `from` comes out of `to`. */
static bool passes(int from, int to, int other_from, int other_to)
{
	char byte;

	assert_int_equal(send(from, "f", 1, 0), 1);
	assert_int_equal(send(other_from, "o", 1, 0), 1);
	assert_true(host_readable(other_to, HOST_WAIT_MS));
	assert_int_equal(recv(other_to, &byte, 1, 0), 1);
	return recv(to, &byte, 1, MSG_DONTWAIT) == 1;
}

static bool inbound_passes(const struct scene *s)
{
	return passes(s->flow.b, s->flow.a, s->other.b, s->other.a);
}

static bool outbound_passes(const struct scene *s)
{
	return passes(s->flow.a, s->flow.b, s->other.a, s->other.b);
}

static unsigned long counted(const char *counter)
{
	char command[128], line[64] = "";
	FILE *f;

	snprintf(command, sizeof(command),
		 "nft list counter inet probe %s | sed -n "
		 "'s/.*packets \\([0-9]*\\) .*/\\1/p'", counter);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	pclose(f);
	return strtoul(line, NULL, 10);
}

static int count_element(const struct nlattr *attr, void *arg)
{
	(void)attr;
	++*(unsigned *)arg;
	return MNL_CB_OK;
}

static int count_list(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) != NFTA_SET_ELEM_LIST_ELEMENTS)
		return MNL_CB_OK;
	return mnl_attr_parse_nested(attr, count_element, arg);
}

static int count_message(const struct nlmsghdr *nlh, void *arg)
{
	(void)mnl_attr_parse(nlh, sizeof(struct nfgenmsg), count_list, arg);
	return 0;
}

/* How many there are. (nft(8) reads /etc/protocols for each of them.) */
static unsigned elements(const char *set)
{
	char buffer[256] = "";
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	struct netlink *nl;
	unsigned n = 0;

	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
	nlh->nlmsg_flags = NLM_F_DUMP;
	nfg->nfgen_family = NFPROTO_INET;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, STEER_TABLE);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	assert_int_equal(netlink_open(&nl, NETLINK_NETFILTER, NULL, 0), 0);
	assert_int_equal(netlink_request(nl, nlh, count_message, &n), 0);
	netlink_close(nl);
	return n;
}

static void add_one(struct steer *s, enum steer_set set, const struct tuple *t)
{
	steer_begin(s);
	steer_add(s, set, t, 0);
	assert_int_equal(steer_commit(s), 0);
}

static void del_one(struct steer *s, enum steer_set set, const struct tuple *t)
{
	steer_begin(s);
	steer_del(s, set, t);
	assert_int_equal(steer_commit(s), 0);
}

/* --- opening -------------------------------------------------------------- */

static void test_refuses_a_mark_of_two_bits(void **state)
{
	struct steer_conf c = conf;
	struct steer *s;

	(void)state;
	c.mark = 3;
	assert_int_equal(steer_open(&s, &c, NULL), -EINVAL);
	c.mark = 0;
	assert_int_equal(steer_open(&s, &c, NULL), -EINVAL);
}

/* Runs `body` in a child; its result is the child's exit status. */
static int in_child(int (*body)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(body());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int open_without_privilege(void)
{
	struct steer *s;

	if (setuid(65534))
		return 0;
	return -steer_open(&s, &conf, NULL);
}

static void test_needs_privilege(void **state)
{
	(void)HOSTS(state);
	assert_int_equal(in_child(open_without_privilege), EPERM);
}

/* `nft list ruleset > /etc/nftables.conf`: the next boot must be able to load
 * it, with what `has`, a pattern over all lines, finds in it. What it cannot
 * know here is `queue`, where the kernel has only the target NFQUEUE. */
static void check_listing(const struct steer_info *info, const char *has)
{
	host_run("nft list ruleset | sed '%s' >saved.$$ && "
		 "grep -qzE '%s' saved.$$ && unshare -n nft -f saved.$$; "
		 "err=$?; rm -f saved.$$; exit $err",
		 info->queue_form == STEER_QUEUE_NATIVE ?
			 "" :
			 "s/queue num [0-9]*/accept/",
		 has);
}

/* All that a moved flow may have, from its identity to that wire tuple. */
static void put_moved(struct steer *s, const struct tuple *t,
		      const struct tuple *wire)
{
	steer_begin(s);
	steer_add(s, STEER_OUT, t, 0);
	steer_add(s, STEER_DROP, t, 60);
	steer_add(s, STEER_IN, wire, 0);
	steer_add_addr(s, STEER_SRC, &t->local.addr);
	steer_add_addr(s, STEER_WIRE, &wire->local.addr);
	steer_map_add(s, STEER_SEND, t, wire);
	steer_map_add(s, STEER_RECV, wire, t);
	assert_int_equal(steer_commit(s), 0);
}

/* One address changes, both, both and a port. */
static void move_some(struct steer *s, const struct pair *p,
		      const struct steer_info *info)
{
	for (int i = 0; info->maps && i < 6; i++) {
		struct tuple t = p[i / 3].tuple, wire;

		t.local.port = (uint16_t)(t.local.port + i);
		wire = t;
		wire.local.addr.byte[3] ^= 0x55;
		wire.remote.addr.byte[2] ^= i % 3 ? 0xaa : 0;
		if (i % 3 == 2)
			wire.remote.port ^= 1;
		put_moved(s, &t, &wire);
	}
}

/* To a worker each. */
static void hand_out(struct steer *s, const struct pair *p,
		     const struct steer_info *info)
{
	steer_begin(s);
	for (unsigned int i = 0; i < info->workers; i++) {
		steer_add(s, STEER_OUT, &p[i].tuple, 0);
		steer_add(s, STEER_IN, &p[i].tuple, 0);
		steer_add_addr(s, STEER_SRC, &p[i].tuple.local.addr);
		steer_add_addr(s, STEER_WIRE, &p[i].tuple.local.addr);
		steer_worker_add(s, STEER_SEND, &p[i].tuple, i);
		steer_worker_add(s, STEER_RECV, &p[i].tuple, i);
	}
	assert_int_equal(steer_commit(s), 0);
}

/* Begins as a nonce does. */
static void send_like_nonce(int fd)
{
	const uint32_t head[6] = { htonl(NONCE_UDP_HEAD) };

	assert_int_equal(send(fd, head, sizeof(head), 0), sizeof(head));
}

/* Both are, and something like a nonce of each is counted; veiled segments may
 * come. */
static void claim_and_unveil(struct steer *s, const struct pair *p)
{
	steer_begin(s);
	for (int i = 0; i < 2; i++)
		steer_add(s, STEER_CLAIM, &p[i].tuple, 60);
	steer_unveil(s);
	assert_int_equal(steer_commit(s), 0);
	for (int i = 0; i < 2; i++)
		send_like_nonce(p[i].b);
}

#define FULL(set) "set " set " \\{[^}]*elements = "
#define FULL_MAP(map) "map " map " \\{[^}]*elements = "

static void check_listings(struct hosts *h, const struct steer_conf *c)
{
	struct steer_info info;
	struct pair p[2] = { pair_open(h, false), pair_open(h, true) };
	struct steer *s = build(c, &info);

	assert_int_equal(info.workers, c->workers);
	for (int i = 0; i < 2; i++)
		add_one(s, STEER_PROT, &p[i].tuple);
	check_listing(&info, "tripwire");
	move_some(s, p, &info);
	check_listing(&info, info.maps ? "ip6 saddr set [a-z0-9. @]*map" :
					 "tripwire");
	hand_out(s, p, &info);
	if (info.workers)
		check_listing(&info, FULL_MAP("work_out6") ".*"
			      FULL_MAP("work_in6") ".*vmap @work_in6");
	claim_and_unveil(s, p);
	check_listing(&info, FULL("claim4") ".*" FULL("claim6") ".*"
		      FULL("rate4") ".*" FULL("rate6") ".*"
		      "chain unveil \\{[^}]*ip6 saddr set");
	assert_int_equal(steer_close(s, false), 0);
	for (int i = 0; i < 2; i++)
		pair_close(&p[i]);
}

static void test_a_listing_can_be_loaded(void **state)
{
	check_listings(HOSTS(state), &conf);
}

/* As with rewrite=queue. */
static void test_a_listing_with_workers_can_be_loaded(void **state)
{
	struct steer_conf c = conf;

	c.avoid_maps = true;
	c.workers = 2;
	c.queue_worker[0] = 40;
	c.queue_worker[1] = 41;
	c.queue_strays = 42;
	check_listings(HOSTS(state), &c);
}

static void test_open_changes_nothing(void **state)
{
	struct steer_info info;
	struct steer *s;

	(void)HOSTS(state);
	host_run("nft add table inet sacip");
	assert_int_equal(steer_open(&s, &conf, &info), 0);
	printf("# table %s, queue %s, defragmentation %s\n",
	       info.owned ? "owned" : "not owned",
	       info.queue_form == STEER_QUEUE_NATIVE ? "native" : "compat",
	       info.defrag ? "there" : "not there");
	host_run("test \"$(nft list ruleset)\" = 'table inet sacip {\n}'");
	assert_int_equal(steer_verify(s), -ENOENT);
	/* Nothing was built: nothing is deleted either. */
	assert_int_equal(steer_close(s, false), 0);
	host_run("nft delete table inet sacip");
}

/* --- the text ------------------------------------------------------------- */

/*
 * Compares nft/sacip.nft with the table that is there. What may differ: what
 * the kernel counts, who owns it, comments (#= aside), the form of the queue
 * statement.
 */
#define NORMAL                                                              \
	"sed -E -e 's/^([[:space:]]*)#= /\\1/' -e 's/#.*//' -e 's/counter packets 0 bytes 0/counter/' "   \
	"-e '/^\\s*packets 0 bytes 0$/d' -e '/^\\s*flags owner/d' "        \
	"-e 's/queue to ([0-9])/queue num \\1/' -e 's/[[:space:]]+/ /g' "          \
	"-e ':a;/,$/{N;s/\\n[[:space:]]*/ /;ba}' "                        \
	"-e 's/^ //;s/ $//' -e '/^$/d' "

/* All that the hooks can have, and nothing in the sets. */
static void fill_hooks(struct steer *s)
{
	struct tuple t[2];

	memset(t, 0, sizeof(t));
	steer_begin(s);
	for (int v6 = 0; v6 <= 1; v6++) {
		t[v6].proto = IPPROTO_TCP;
		addr_parse(v6 ? "2001:db8::1" : "192.0.2.1",
			   &t[v6].local.addr);
		t[v6].remote = t[v6].local;
		steer_add(s, STEER_PROT, &t[v6], 0);
		steer_add(s, STEER_IN, &t[v6], 0);
		steer_add(s, STEER_CLAIM, &t[v6], 60);
	}
	assert_int_equal(steer_commit(s), 0);
	steer_begin(s);
	steer_unveil(s);
	assert_int_equal(steer_commit(s), 0);
	steer_begin(s);
	for (int v6 = 0; v6 <= 1; v6++) {
		steer_del(s, STEER_PROT, &t[v6]);
		steer_del(s, STEER_IN, &t[v6]);
		steer_del(s, STEER_CLAIM, &t[v6]);
		steer_del_pair(s, &t[v6].local.addr, &t[v6].remote.addr);
	}
	assert_int_equal(steer_commit(s), 0);
}

static void compare_text(const struct steer_conf *c)
{
	const char *srcdir = getenv("srcdir");
	struct steer *s = build(c, NULL);

	fill_hooks(s);

	if (!srcdir)
		srcdir = ".";
	host_run("test -s %s/nft/sacip.nft", srcdir);
	host_run("{ " NORMAL "%s/nft/sacip.nft >text.$$; "
		 "nft list table inet sacip 2>/dev/null | " NORMAL
		 ">table.$$; diff text.$$ table.$$ && test -s table.$$; "
		 "x=$?; rm -f text.$$ table.$$; exit $x; }", srcdir);
	assert_int_equal(steer_close(s, false), 0);
}

static void test_text_says_what_is_built(void **state)
{
	struct steer_conf c = { .mark = STEER_MARK_DEFAULT,
				.queue_in = STEER_QUEUE_DEFAULT,
				.queue_out = STEER_QUEUE_DEFAULT + 1 };

	(void)HOSTS(state);
	compare_text(&c);
	c.avoid_owner = true;
	compare_text(&c);
}

static void test_text_loads(void **state)
{
	const char *srcdir = getenv("srcdir");
	const char *edit = "cat";

	(void)HOSTS(state);
	if (!srcdir)
		srcdir = ".";
	if (host_try("nft 'table inet try { chain c { queue num 1; }; }' "
		     "2>/dev/null")) {
		printf("# this kernel has no `queue`: loaded with `drop`\n");
		edit = "sed 's/queue num [0-9]*/drop/'";
	} else {
		host_run("nft delete table inet try");
	}
	host_run("%s %s/nft/sacip.nft | nft -f -", edit, srcdir);
	/* Twice: a reload while it is there is no error. */
	host_run("nft flush ruleset && %s %s/nft/sacip.nft | nft -f -", edit,
		 srcdir);
	host_run("nft list table inet sacip | grep -q 'hook prerouting'");
	/* The daemon takes its place. */
	assert_int_equal(steer_close(build(&conf, NULL), false), 0);
	host_run("test -z \"$(nft list ruleset)\"");
}

static void test_firewall_snippet(void **state)
{
	const char *srcdir = getenv("srcdir");
	struct hosts *h = HOSTS(state);
	struct endpoint to = host_endpoint(HOST_A4, 1021);
	int control, other, at_b, from_b;

	host_run("{ cat %s/nft/sacip-firewall.nft && echo 'table inet filter { "
		 "chain input { type filter hook input priority filter; "
		 "policy drop; jump saciped; }; }'; } | nft -f -",
		 srcdir ? srcdir : ".");
	control = host_bind(HOST_A4, 1021, SOCK_DGRAM);
	other = host_bind(HOST_A4, 1022, SOCK_DGRAM);
	host_enter(h->b);
	at_b = host_bind(HOST_B4, 1021, SOCK_DGRAM);
	from_b = host_bind(HOST_B4, 1022, SOCK_DGRAM);
	host_connect(at_b, &to);
	to.port = 1022;
	host_connect(from_b, &to);
	host_enter(h->a);
	assert_false(passes(from_b, other, at_b, control));
	close(control);
	close(other);
	close(at_b);
	close(from_b);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Sends from b as fast as it can, for some seconds at most, and counts. A
 * packet goes through a's prerouting inside send(). */
static pid_t flood(const struct scene *s, volatile unsigned long *sent)
{
	pid_t pid = fork();
	double end;
	cpu_set_t other;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	CPU_ZERO(&other);
	CPU_SET(1, &other);
	(void)sched_setaffinity(0, sizeof(other), &other);
	for (end = seconds() + 5; seconds() < end; ++*sent)
		(void)send(s->flow.b, "x", 1, 0);
	_exit(0);
}

/* --- ownership ------------------------------------------------------------ */

static int open_second(void)
{
	struct steer *s;

	return -steer_open(&s, &conf, NULL);
}

static void test_owned_table_is_left_alone(void **state)
{
	struct steer_info info;
	struct steer *s;

	(void)HOSTS(state);
	s = build(&conf, &info);
	if (!info.owned) {
		steer_close(s, false);
		SKIP_BECAUSE("this kernel has no owned, persistent tables");
	}
	host_run("nft add table inet bystander && nft flush ruleset");
	assert_int_not_equal(host_try("nft list tables | grep -q bystander"),
			     0);
	host_run("nft list table inet sacip 2>/dev/null | "
		 "grep -q 'chain inbound'");
	assert_int_not_equal(
		host_try("nft delete table inet sacip 2>/dev/null"), 0);
	assert_int_equal(in_child(open_second), EBUSY);
	assert_int_equal(steer_watch_fd(s), -1);
	assert_int_equal(steer_verify(s), 0);
	assert_int_equal(steer_close(s, false), 0);
}

static int build_and_die(void)
{
	struct tuple t = { .local = host_endpoint("10.9.0.1", 1),
			   .remote = host_endpoint("10.9.0.2", 2),
			   .proto = IPPROTO_TCP };
	struct steer *s;

	if (try_build(&s, &conf, NULL))
		return 1;
	steer_begin(s);
	steer_add(s, STEER_DROP, &t, 0);
	if (steer_commit(s))
		return 2;
	return kill(getpid(), SIGKILL);
}

static void test_table_outlives_its_daemon(void **state)
{
	int status;
	pid_t pid;

	(void)HOSTS(state);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(build_and_die());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(elements("drop4"), 1);
	host_run("nft list table inet sacip 2>/dev/null | "
		 "grep -q 'hook prerouting'");
	/* The next one takes it over, anew. */
	assert_int_equal(steer_close(build(&conf, NULL), true), 0);
	assert_int_equal(elements("drop4"), 0);
	assert_int_equal(steer_close(build(&conf, NULL), false), 0);
	host_run("test -z \"$(nft list ruleset)\"");
}

/* The one of a process that has gone, taken over by the next. */
static void take_over(struct scene *s)
{
	assert_int_equal(steer_close(s->steer, true), 0);
	assert_int_equal(steer_open(&s->steer, &conf, NULL), 0);
	steer_begin(s->steer);
	steer_build(s->steer);
	steer_add(s->steer, STEER_IN, &s->flow.tuple, 0);
	assert_int_equal(steer_commit(s->steer), 0);
}

static unsigned long table_handle(void)
{
	unsigned long handle = 0;
	FILE *f = popen("nft -j list tables | sed 's/.*\"sacip\", "
			"\"handle\": \\([0-9]*\\).*/\\1/'", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &handle), 1);
	pclose(f);
	return handle;
}

static void on_tombstone(const struct tuple *t, uint64_t left_ms, void *arg)
{
	const struct scene *s = arg;

	assert_true(tuple_equal(t, &s->other.tuple));
	assert_in_range(left_ms, 50000, 60000);
}

static void test_a_table_is_taken_over(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	volatile unsigned long *sent = mmap(NULL, sizeof(*sent),
					    PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long handle, times = 0;
	double end;
	char byte;
	pid_t pid;

	assert_ptr_not_equal((void *)sent, MAP_FAILED);
	steer_begin(s.steer);
	steer_add(s.steer, STEER_IN, &s.flow.tuple, 0);
	steer_add(s.steer, STEER_DROP, &s.other.tuple, 60);
	assert_int_equal(steer_commit(s.steer), 0);
	handle = table_handle();
	assert_int_equal(steer_close(s.steer, true), 0);
	assert_int_equal(steer_open(&s.steer, &conf, NULL), 0);
	assert_int_equal(steer_elements(s.steer, STEER_DROP, on_tombstone, &s), 0);
	pid = flood(&s, sent);
	while (!*sent)
		sched_yield();
	/* Nothing passes, however often: each look-up finds the element. */
	for (end = seconds() + 1.5; seconds() < end; times++)
		take_over(&s);
	assert_int_equal(recv(s.flow.a, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(table_handle(), handle);
	assert_int_equal(elements("in4"), 1);
	assert_int_equal(elements("drop4"), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	printf("# taken over %lu times under %lu packets, none passed\n",
	       times, *sent);
	munmap((void *)sent, sizeof(*sent));
	close_scene(&s);
}

/* The tag stays when somebody takes rules away. */
static void test_a_table_that_was_changed_is_replaced(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	unsigned long handle;

	add_one(s.steer, STEER_IN, &s.flow.tuple);
	handle = table_handle();
	assert_int_equal(steer_close(s.steer, true), 0);
	host_run("nft flush chain inet sacip inbound_steered");
	assert_int_equal(steer_open(&s.steer, &conf, NULL), 0);
	take_over(&s);
	assert_int_not_equal(table_handle(), handle);
	assert_false(inbound_passes(&s));
	close_scene(&s);
}

/* Nothing has moved, or nothing does any more. */
static void test_tripwires_alone_are_taken_over(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	unsigned long handle;

	add_one(s.steer, STEER_PROT, &s.flow.tuple);
	handle = table_handle();
	for (int round = 0; round < 4; round++) {
		if (round == 2)
			add_one(s.steer, STEER_IN, &s.flow.tuple);
		assert_int_equal(steer_close(s.steer, true), 0);
		assert_int_equal(steer_open(&s.steer, &conf, NULL), 0);
		steer_begin(s.steer);
		steer_build(s.steer);
		steer_add(s.steer, STEER_PROT, &s.flow.tuple, 0);
		assert_int_equal(steer_commit(s.steer), 0);
		assert_int_equal(table_handle(), handle);
		host_run("test $(nft list chain inet sacip prerouting | "
			 "grep -c tripwire_in) = 1");
		/* Those of the marks stay, without rules. */
		host_run("%snft list chain inet sacip marks_in >/dev/null 2>&1",
			 round < 2 ? "! " : "");
	}
	/* Not so with a hook that somebody has deleted. */
	assert_int_equal(steer_close(s.steer, true), 0);
	host_run("nft delete chain inet sacip marks_in");
	s.steer = build(&conf, NULL);
	assert_int_not_equal(table_handle(), handle);
	close_scene(&s);
}

#define UNVEIL_RULES                                             \
	"test $(nft list chain inet sacip unveil 2>/dev/null | " \
	"grep -c 'set @th') = "

static void unveil(struct steer *s)
{
	steer_begin(s);
	steer_unveil(s);
	assert_int_equal(steer_commit(s), 0);
	assert_true(steer_is_unveiling(s));
	host_run(UNVEIL_RULES "2");
}

/* A hook that went would take with it what waits in a queue. */
static void test_unveiling_is_taken_over(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	unsigned long handle;

	assert_false(steer_is_unveiling(s.steer));
	unveil(s.steer); /* nothing is protected */
	host_run("nft list chain inet sacip prerouting >/dev/null 2>&1");
	add_one(s.steer, STEER_IN, &s.flow.tuple);
	unveil(s.steer);
	handle = table_handle();
	for (int i = 0; i < 2; i++) {
		take_over(&s);
		assert_int_equal(table_handle(), handle);
		assert_true(steer_is_unveiling(s.steer));
		host_run(UNVEIL_RULES "2");
	}
	steer_begin(s.steer);
	steer_rest(s.steer);
	assert_int_equal(steer_commit(s.steer), 0);
	assert_false(steer_is_unveiling(s.steer));
	host_run("! nft list chain inet sacip unveil 2>/dev/null");
	/* Without anything protected nothing waits. */
	unveil(s.steer);
	assert_int_equal(steer_close(s.steer, true), 0);
	s.steer = build(&conf, NULL);
	assert_int_equal(table_handle(), handle);
	assert_false(steer_is_unveiling(s.steer));
	host_run("! nft list chain inet sacip prerouting 2>/dev/null");
	host_run("! nft list chain inet sacip unveil 2>/dev/null");
	close_scene(&s);
}

/* --- batches -------------------------------------------------------------- */

static void test_adds_and_deletes_are_idempotent(void **state)
{
	struct tuple t = { .local = host_endpoint("10.9.0.1", 1),
			   .remote = host_endpoint("10.9.0.2", 2),
			   .proto = IPPROTO_TCP };
	struct steer *s;

	(void)HOSTS(state);
	s = build(&conf, NULL);
	for (int set = 0; set < STEER_SET_MAX; set++) {
		for (int round = 0; round < 2; round++) {
			steer_begin(s);
			steer_add(s, (enum steer_set)set, &t, 0);
			steer_add(s, (enum steer_set)set, &t, 0);
			assert_int_equal(steer_commit(s), 0);
		}
		for (int round = 0; round < 2; round++) {
			steer_begin(s);
			steer_del(s, (enum steer_set)set, &t);
			steer_del(s, (enum steer_set)set, &t);
			assert_int_equal(steer_commit(s), 0);
		}
	}
	for (int set = 0; set < STEER_ADDR_SET_MAX; set++) {
		enum steer_addr_set which = (enum steer_addr_set)set;

		steer_begin(s);
		steer_del_addr(s, which, &t.local.addr);
		steer_add_addr(s, which, &t.local.addr);
		steer_add_addr(s, which, &t.local.addr);
		assert_int_equal(steer_commit(s), 0);
		assert_int_equal(elements(set == STEER_SRC ? "src4" : "wire4"),
				 1);
		steer_begin(s);
		steer_del_addr(s, which, &t.local.addr);
		steer_del_addr(s, which, &t.local.addr);
		assert_int_equal(steer_commit(s), 0);
		assert_int_equal(elements(set == STEER_SRC ? "src4" : "wire4"),
				 0);
	}
	/* In whatever order it is said. */
	steer_begin(s);
	steer_add(s, STEER_IN, &t, 0);
	steer_del(s, STEER_IN, &t);
	assert_int_equal(steer_commit(s), 0);
	assert_int_equal(elements("in4"), 1);
	steer_begin(s);
	assert_int_equal(steer_commit(s), 0); /* an empty one */
	assert_int_equal(steer_close(s, false), 0);
}

static void test_a_failed_batch_applies_nothing(void **state)
{
	struct tuple t = { .local = host_endpoint("10.9.0.1", 1),
			   .remote = host_endpoint("10.9.0.2", 2),
			   .proto = IPPROTO_TCP };
	struct addr a = host_addr("10.0.0.0");
	struct steer *s;

	(void)HOSTS(state);
	s = build(&conf, NULL);
	steer_begin(s);
	steer_add(s, STEER_OUT, &t, 0);
	for (unsigned i = 0; i <= STEER_ADDRS_MAX; i++) {
		a.byte[2] = (uint8_t)(i >> 8);
		a.byte[3] = (uint8_t)i;
		steer_add_addr(s, STEER_SRC, &a);
	}
	assert_int_equal(steer_commit(s), -ENFILE);
	assert_int_equal(elements("out4"), 0);
	assert_int_equal(elements("pairs_out4"), 0);
	/* A tuple that is none spoils the batch before it is sent... */
	t.proto = IPPROTO_ICMP;
	steer_begin(s);
	steer_add_addr(s, STEER_SRC, &a);
	steer_add(s, STEER_OUT, &t, 0);
	assert_int_equal(steer_commit(s), -EINVAL);
	assert_int_equal(elements("src4"), 0);
	/* ... and is forgotten with it. */
	t.proto = IPPROTO_TCP;
	add_one(s, STEER_OUT, &t);
	assert_int_equal(elements("out4"), 1);
	assert_int_equal(elements("pairs_out4"), 1);
	steer_begin(s);
	steer_add(s, STEER_OUT, &t, 0);
	steer_build(s); /* must be first */
	assert_int_equal(steer_commit(s), -EINVAL);
	assert_int_equal(steer_close(s, false), 0);
}

static void many(struct steer *s, const char *local, const char *remote,
		 const char *in, const char *drop)
{
	struct tuple t = { .local = host_endpoint(local, 0),
			   .remote = host_endpoint(remote, 443),
			   .proto = IPPROTO_TCP };
	double start = seconds(), added, deleted;

	steer_begin(s);
	for (unsigned i = 0; i < MANY; i++) {
		t.local.port = (uint16_t)(10000 + i);
		steer_add(s, STEER_OUT, &t, 0);
		steer_add(s, STEER_IN, &t, 0);
	}
	assert_int_equal(steer_commit(s), 0);
	added = seconds() - start;
	assert_int_equal(elements(in), MANY);
	start = seconds();
	steer_begin(s);
	for (unsigned i = 0; i < MANY; i++) {
		t.local.port = (uint16_t)(10000 + i);
		steer_del(s, STEER_OUT, &t);
		steer_add(s, STEER_DROP, &t, 60);
		steer_del(s, STEER_IN, &t);
	}
	assert_int_equal(steer_commit(s), 0);
	deleted = seconds() - start;
	assert_int_equal(elements(in), 0);
	assert_int_equal(elements(drop), MANY);
	printf("# %s: %d flows into 2 sets %.0f ms; out of 2, into a third "
	       "%.0f ms\n", local, MANY, added * 1e3, deleted * 1e3);
}

static void test_tens_of_thousands(void **state)
{
	struct steer_conf c = conf;
	struct steer *s;

	(void)HOSTS(state);
	s = build(&c, NULL);
	many(s, "10.9.0.1", "10.9.0.2", "in4", "drop4");
	many(s, "fd09::1", "fd09::2", "in6", "drop6");
	assert_int_equal(steer_close(s, false), 0);
	/* Watched by a socket of our own, which must not drown in it. */
	c.avoid_owner = true;
	s = build(&c, NULL);
	many(s, "10.9.0.1", "10.9.0.2", "in4", "drop4");
	assert_int_equal(steer_watch(s), 0);
	assert_int_equal(steer_verify(s), 0);
	assert_int_equal(steer_close(s, false), 0);
}

/* All flows that there may be, moved, while what they left is still accepted:
 * a restart puts that into one transaction. */
static void test_the_greatest_table_fits(void **state)
{
	const struct addr now = host_addr("fd09::9"), left = host_addr("fd09::8");
	struct tuple t = { .local = host_endpoint("fd09::1", 0),
			   .remote = host_endpoint("fd09::2", 0),
			   .proto = IPPROTO_TCP };
	double start = seconds();
	struct steer_info info;
	struct steer *s;

	(void)HOSTS(state);
	s = build(&conf, &info);
	steer_begin(s);
	steer_build(s);
	for (unsigned i = 0; i < STEER_FLOWS_MAX; i++) {
		struct tuple wire, old;

		t.local.port = (uint16_t)(1 + i % 65535);
		t.remote.port = (uint16_t)(1 + i / 65535);
		wire = old = t;
		wire.local.addr = now;
		old.local.addr = left;
		steer_add(s, STEER_PROT, &t, 0);
		steer_add(s, STEER_OUT, &t, 0);
		steer_add(s, STEER_DROP, &t, 0);
		steer_add(s, STEER_IN, &wire, 0);
		steer_add(s, STEER_IN, &old, 0);
		if (!info.maps)
			continue;
		steer_map_add(s, STEER_SEND, &t, &wire);
		steer_map_add(s, STEER_RECV, &wire, &t);
		steer_map_add(s, STEER_RECV, &old, &t);
	}
	assert_int_equal(steer_commit(s), 0);
	printf("# %d moved flows in one transaction: %.0f ms\n",
	       STEER_FLOWS_MAX, 1e3 * (seconds() - start));
	assert_int_equal(elements("in6"), 2 * STEER_FLOWS_MAX);
	assert_int_equal(steer_close(s, false), 0);
}

/* --- packets -------------------------------------------------------------- */

static void check_sets(void **state, bool v6)
{
	struct scene s = open_scene(state, v6, &conf);
	const struct tuple *t = &s.flow.tuple;
	struct steer_counters c;

	/* Nothing moved, though protected: all pass, nothing is marked. */
	steer_begin(s.steer);
	steer_add(s.steer, STEER_PROT, t, 0);
	steer_add_addr(s.steer, STEER_SRC, &t->local.addr);
	assert_int_equal(steer_commit(s.steer), 0);
	assert_true(inbound_passes(&s));
	assert_true(outbound_passes(&s));
	assert_int_equal(elements("pairs_out4"), 0);

	/* Nobody reads the queues: closed, silently. */
	add_one(s.steer, STEER_OUT, t);
	assert_false(outbound_passes(&s));
	assert_true(inbound_passes(&s));
	del_one(s.steer, STEER_OUT, t);
	assert_true(outbound_passes(&s));

	/* Of a moved flow's identity, and a tombstone. */
	add_one(s.steer, STEER_DROP, t);
	assert_false(inbound_passes(&s));
	assert_int_equal(steer_counters(s.steer, &c), 0);
	assert_int_equal(c.untranslated, 1);
	assert_int_equal(c.tombstones, 0);
	del_one(s.steer, STEER_PROT, t);
	assert_false(inbound_passes(&s));
	assert_int_equal(steer_counters(s.steer, &c), 0);
	assert_int_equal(c.untranslated, 1);
	assert_int_equal(c.tombstones, 1);

	/* Drop wins over pass, in over pass. */
	assert_int_equal(counted("marked"), 0);
	add_one(s.steer, STEER_PASS, t);
	assert_false(inbound_passes(&s));
	del_one(s.steer, STEER_DROP, t);
	assert_true(inbound_passes(&s));
	assert_int_equal(counted("marked"), 1);
	add_one(s.steer, STEER_IN, t);
	assert_false(inbound_passes(&s));
	assert_int_equal(steer_counters(s.steer, &c), 0);
	assert_int_equal(c.tombstones, 2);
	assert_int_equal(c.reserved, 0);

	/* On this host's side a wire tuple is reserved. */
	assert_false(outbound_passes(&s));
	assert_int_equal(steer_counters(s.steer, &c), 0);
	assert_int_equal(c.reserved, 1);
	assert_int_equal(c.tripwire_in + c.tripwire_out, 0);
	close_scene(&s);
}

/* --- nonces --------------------------------------------------------------- */

static unsigned int drain(int fd)
{
	char bytes[64];
	unsigned int n = 0;

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		n++;
	return n;
}

/* Does one get there, both ways? Nobody reads the queues. */
static unsigned int nonces_pass(const struct scene *s, const struct pair *p)
{
	unsigned int ways = 0;

	send_like_nonce(p->b);
	if (inbound_passes(s))
		ways += drain(p->a);
	else
		fail();
	send_like_nonce(p->a);
	if (outbound_passes(s))
		ways += drain(p->b);
	else
		fail();
	return ways;
}

#define FLOOD 5000 /* many times what is taken out of a second's */

static void check_nonces(void **state, bool v6)
{
	struct scene s = open_scene(state, v6, &conf);
	const struct tuple moved = { .proto = IPPROTO_UDP,
		.local = { s.flow.tuple.local.addr, 9 },
		.remote = { s.flow.tuple.remote.addr, 9 } };
	struct pair mine = pair_open(s.hosts, v6);
	unsigned int n = 0;

	/* Another flow between these addresses is moved. */
	add_one(s.steer, STEER_IN, &moved);
	assert_int_equal(nonces_pass(&s, &s.flow), 2);
	assert_int_equal(nonces_pass(&s, &mine), 2);

	/* Of a flow they come to the daemon, and not those of others. */
	add_one(s.steer, STEER_PROT, &mine.tuple);
	assert_int_equal(nonces_pass(&s, &mine), 0);
	assert_int_equal(nonces_pass(&s, &s.flow), 2);

	/* Not as many as anybody likes: the others are the flow's. */
	for (int i = 0; i < FLOOD; i++) {
		send_like_nonce(mine.b);
		if (i % 100 == 0)
			n += drain(mine.a);
	}
	assert_true(inbound_passes(&s));
	n += drain(mine.a);
	assert_in_range(n, 1, FLOOD - 100);

	/* What is given up stays so. */
	add_one(s.steer, STEER_DROP, &mine.tuple);
	for (int i = 0; i < FLOOD; i++)
		send_like_nonce(mine.b);
	assert_true(inbound_passes(&s));
	assert_int_equal(drain(mine.a), 0);
	pair_close(&mine);
	close_scene(&s);
}

/* Of a flow that is claimed, though nothing is protected or moved. */
static void check_claimed(void **state, bool v6)
{
	struct scene s = open_scene(state, v6, &conf);
	struct pair mine = pair_open(s.hosts, v6);

	assert_int_equal(nonces_pass(&s, &mine), 2);
	steer_begin(s.steer);
	steer_add(s.steer, STEER_CLAIM, &mine.tuple, 2);
	assert_int_equal(steer_commit(s.steer), 0);
	/* Ours goes out, theirs does not come in; what else it sends does. */
	assert_int_equal(nonces_pass(&s, &mine), 1);
	assert_int_equal(nonces_pass(&s, &s.flow), 2);
	assert_int_equal(send(mine.b, "other", 5, 0), 5);
	assert_true(inbound_passes(&s));
	assert_int_equal(drain(mine.a), 1);
	/* However many there are. */
	for (int i = 0; i < 3 * FLOOD; i++)
		send_like_nonce(mine.b);
	assert_true(inbound_passes(&s));
	assert_int_equal(drain(mine.a), 0);
	/* Told again, it lasts as long again; then it is over. */
	usleep(1200000);
	steer_begin(s.steer);
	steer_add(s.steer, STEER_CLAIM, &mine.tuple, 2);
	assert_int_equal(steer_commit(s.steer), 0);
	usleep(1200000);
	assert_int_equal(nonces_pass(&s, &mine), 1);
	usleep(1200000);
	assert_int_equal(nonces_pass(&s, &mine), 2);
	pair_close(&mine);
	close_scene(&s);
}

/* What an earlier process has said of nonces holds on. */
static void test_claims_are_taken_over(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	struct pair mine = pair_open(s.hosts, false);
	unsigned long handle;

	steer_begin(s.steer);
	steer_add(s.steer, STEER_CLAIM, &mine.tuple, 20);
	steer_add(s.steer, STEER_PROT, &s.flow.tuple, 0);
	assert_int_equal(steer_commit(s.steer), 0);
	handle = table_handle();
	assert_int_equal(nonces_pass(&s, &mine), 1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(steer_close(s.steer, true), 0);
		assert_int_equal(nonces_pass(&s, &mine), 1);
		assert_int_equal(steer_open(&s.steer, &conf, NULL), 0);
		steer_begin(s.steer);
		steer_build(s.steer);
		if (i == 0) /* then there are claims alone */
			steer_add(s.steer, STEER_PROT, &s.flow.tuple, 0);
		assert_int_equal(steer_commit(s.steer), 0);
		assert_int_equal(table_handle(), handle);
		assert_int_equal(nonces_pass(&s, &mine), 1);
	}
	/* Until nothing can be late any more. */
	steer_begin(s.steer);
	steer_idle(s.steer);
	assert_int_equal(steer_commit(s.steer), 0);
	assert_int_equal(nonces_pass(&s, &mine), 2);
	pair_close(&mine);
	close_scene(&s);
}

static void test_claimed_ipv4(void **state)
{
	check_claimed(state, false);
}

static void test_claimed_ipv6(void **state)
{
	check_claimed(state, true);
}

/* By the port that it came from. */
struct taken {
	uint16_t port;
	unsigned int of_port, others;
};

static void take_packet(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	struct taken *taken = ctx;
	uint16_t be16_port;

	memcpy(&be16_port, p->data + (p->data[0] >> 4 == 4 ? 20 : 40),
	       sizeof(be16_port));
	if (ntohs(be16_port) == taken->port)
		taken->of_port++;
	else
		taken->others++;
	assert_int_equal(pktq_drop(q, p->id), 0);
}

static void read_taken(struct pktq *q)
{
	while (host_readable(pktq_fd(q), 0))
		assert_true(pktq_read(q) >= 0);
}

static void flood_pair(const struct pair *p, struct pktq *q, unsigned int n)
{
	for (unsigned int i = 1; i <= n; i++) {
		send_like_nonce(p->b);
		if (i % 64 == 0)
			read_taken(q);
	}
}

/* Whoever floods one tuple, the nonces of the others are taken out. */
static void check_flooded(void **state, enum steer_set set, bool v6)
{
	struct scene s = open_scene(state, v6, &conf);
	struct pair mine = pair_open(s.hosts, v6);
	const struct tuple moved = { .proto = IPPROTO_UDP,
		.local = { s.flow.tuple.local.addr, 9 },
		.remote = { s.flow.tuple.remote.addr, 9 } };
	struct taken taken = { .port = mine.tuple.remote.port };
	struct pktq_config qc = { .number = QUEUE_IN,
				  .packet_cb = take_packet, .ctx = &taken };
	const uint32_t lives_s = set == STEER_CLAIM ? 60 : 0;
	const unsigned int tries = 50;
	struct pktq *q;

	assert_int_equal(pktq_open(&qc, &q), 0);
	steer_begin(s.steer);
	steer_add(s.steer, STEER_IN, &moved, 0);
	steer_add(s.steer, set, &mine.tuple, lives_s);
	steer_add(s.steer, set, &s.flow.tuple, lives_s);
	assert_int_equal(steer_commit(s.steer), 0);
	flood_pair(&s.flow, q, 3 * FLOOD);
	for (unsigned int i = 0; i < tries; i++) {
		flood_pair(&s.flow, q, 64);
		send_like_nonce(mine.b);
	}
	assert_true(inbound_passes(&s));
	read_taken(q);
	assert_int_equal(taken.of_port, tries);
	assert_in_range(taken.others, 1, FLOOD);
	assert_int_equal(drain(mine.a), 0);
	assert_int_equal(drain(s.flow.a) > 0, set != STEER_CLAIM);
	pktq_close(q);
	pair_close(&mine);
	close_scene(&s);
}

static void test_flooded_ipv4(void **state)
{
	check_flooded(state, STEER_CLAIM, false);
	check_flooded(state, STEER_PROT, false);
}

static void test_flooded_ipv6(void **state)
{
	check_flooded(state, STEER_CLAIM, true);
	check_flooded(state, STEER_PROT, true);
}

/* Many connections of one peer, which has several addresses in its /64, and one
 * of another. Past so many of all of them their nonces would take what there is
 * for all. */
#define CROWD 100
#define CROWD_ADDRS 10
#define CROWD_EACH 120 /* a tuple has 100 at once */
#define OTHER_B4 "10.9.0.3"
#define OTHER_B6 "fd09:0:0:1::3"

static void more_addresses(const struct hosts *h, bool v6, const char *how)
{
	host_enter(h->b);
	host_run("ip addr %s %s dev vb %s", how,
		 v6 ? OTHER_B6 "/64" : OTHER_B4 "/24", v6 ? "nodad" : "");
	for (int i = 1; v6 && i < CROWD_ADDRS; i++)
		host_run("ip addr %s " HOST_B6 "%02d/64 dev vb nodad", how, i);
	if (strcmp(how, "add") == 0)
		host_settle("$(ip -br addr show dev vb | tr ' ' '\\n' | "
			    "sed -n 's,/.*,,p')");
	host_enter(h->a);
	if (v6)
		host_run("ip route %s fd09:0:0:1::/64 dev va", how);
}

static void open_crowd(const struct hosts *h, bool v6, struct pair *crowd)
{
	char addr[32] = HOST_B4;

	for (int i = 0; i < CROWD; i++) {
		if (v6)
			snprintf(addr, sizeof(addr), HOST_B6 "%.*d",
				 i % CROWD_ADDRS ? 2 : 0, i % CROWD_ADDRS);
		crowd[i] = pair_from(h, v6, addr);
	}
}

/* Another of that port, between its addresses, has moved. */
static void add_between(struct steer *s, enum steer_set set,
			const struct tuple *t, uint16_t port)
{
	struct tuple moved = *t;

	moved.local.port = moved.remote.port = port;
	steer_add(s, STEER_IN, &moved, 0);
	steer_add(s, set, t, set == STEER_CLAIM ? 60 : 0);
}

/* Nor is it of use to have many tuples. */
static void check_crowded(void **state, enum steer_set set, bool v6)
{
	struct scene s = open_scene(state, v6, &conf);
	struct pair crowd[CROWD], other;
	struct taken taken = { 0 };
	struct pktq_config qc = { .number = QUEUE_IN,
				  .packet_cb = take_packet, .ctx = &taken };
	const unsigned int tries = 50;
	struct pktq *q;

	more_addresses(s.hosts, v6, "add");
	open_crowd(s.hosts, v6, crowd);
	other = pair_from(s.hosts, v6, v6 ? OTHER_B6 : OTHER_B4);
	taken.port = other.tuple.remote.port;
	assert_int_equal(pktq_open(&qc, &q), 0);
	steer_begin(s.steer);
	for (uint16_t i = 0; i < CROWD; i++)
		add_between(s.steer, set, &crowd[i].tuple, 10 + i);
	add_between(s.steer, set, &other.tuple, 9);
	assert_int_equal(steer_commit(s.steer), 0);
	for (int i = 0; i < CROWD; i++)
		flood_pair(&crowd[i], q, CROWD_EACH);
	for (unsigned int i = 0; i < tries; i++) {
		for (int k = 0; k < CROWD; k++)
			flood_pair(&crowd[k], q, 1);
		send_like_nonce(other.b);
		read_taken(q);
	}
	assert_true(inbound_passes(&s));
	read_taken(q);
	assert_int_equal(taken.of_port, tries);
	assert_in_range(taken.others, CROWD, CROWD * CROWD_EACH);
	assert_int_equal(drain(other.a), 0);
	pktq_close(q);
	for (int i = 0; i < CROWD; i++)
		pair_close(&crowd[i]);
	pair_close(&other);
	more_addresses(s.hosts, v6, "del");
	close_scene(&s);
}

static void test_crowded_ipv4(void **state)
{
	check_crowded(state, STEER_CLAIM, false);
	check_crowded(state, STEER_PROT, false);
}

static void test_crowded_ipv6(void **state)
{
	check_crowded(state, STEER_CLAIM, true);
	check_crowded(state, STEER_PROT, true);
}

static void test_nonces_ipv4(void **state)
{
	check_nonces(state, false);
}

static void test_nonces_ipv6(void **state)
{
	check_nonces(state, true);
}

static void test_sets_ipv4(void **state)
{
	check_sets(state, false);
}

static void test_sets_ipv6(void **state)
{
	check_sets(state, true);
}

#define COUNT_RULES(chain)                                             \
	"test $(nft list chain inet sacip " chain                       \
	" 2>/dev/null | grep -c '^\t\t[^t]') = "

static void test_hooks_have_what_is_needed(void **state)
{
	struct scene s = open_scene(state, false, &conf);

	/* Nothing is protected. */
	host_run(COUNT_RULES("prerouting") "0");
	host_run("! nft list chain inet sacip prerouting 2>/dev/null");
	host_run("! nft list chain inet sacip output 2>/dev/null");
	add_one(s.steer, STEER_PROT, &s.flow.tuple);
	host_run(COUNT_RULES("prerouting") "1");
	host_run(COUNT_RULES("output") "1");
	host_run("! nft list chain inet sacip marks_in 2>/dev/null");
	host_run("! nft list chain inet sacip marks_out 2>/dev/null");
	add_one(s.steer, STEER_OUT, &s.flow.tuple);
	host_run(COUNT_RULES("prerouting") "3");
	host_run(COUNT_RULES("output") "2");
	host_run(COUNT_RULES("marks_in") "3");
	host_run(COUNT_RULES("marks_out") "2");
	assert_false(outbound_passes(&s));
	/* Told too early on purpose: only so it can be seen. */
	steer_begin(s.steer);
	steer_idle(s.steer);
	assert_int_equal(steer_commit(s.steer), 0);
	host_run(COUNT_RULES("prerouting") "1");
	host_run(COUNT_RULES("marks_in") "0");
	host_run(COUNT_RULES("marks_out") "0");
	assert_true(outbound_passes(&s));
	/* The next one that is added opens it. */
	add_one(s.steer, STEER_OUT, &s.flow.tuple);
	assert_false(outbound_passes(&s));
	/* A pair alone, the same. */
	steer_begin(s.steer);
	steer_del_pair(s.steer, &s.flow.tuple.local.addr,
		       &s.flow.tuple.remote.addr);
	assert_int_equal(steer_commit(s.steer), 0);
	assert_true(outbound_passes(&s));
	add_one(s.steer, STEER_OUT, &s.flow.tuple);
	assert_false(outbound_passes(&s));
	steer_begin(s.steer);
	steer_rest(s.steer);
	assert_int_equal(steer_commit(s.steer), 0);
	host_run("! nft list chain inet sacip output 2>/dev/null");
	host_run("! nft list chain inet sacip marks_in 2>/dev/null");
	host_run("! nft list chain inet sacip marks_out 2>/dev/null");
	assert_true(outbound_passes(&s));
	close_scene(&s);
}

/* Of a route to the guard's device TCP hears that it leads nowhere: what it
 * has sent is not on its way. A datagram goes as if it were. */
static void without_a_route(void **state, bool v6)
{
	struct scene s = open_scene(state, v6, &conf);
	struct steer_counters c;
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int fd, far;

	host_pair(s.hosts, v6 ? HOST_A6 : HOST_A4, v6 ? HOST_B6 : HOST_B4,
		  &fd, &far);
	add_one(s.steer, STEER_PROT, &s.flow.tuple);
	assert_true(outbound_passes(&s));
	host_run("ip link add " ROUTE_SINK " type bridge && "
		 "ip link set " ROUTE_SINK " arp off up && "
		 "ip route add %s dev " ROUTE_SINK, v6 ? HOST_B6 : HOST_B4);
	assert_int_equal(send(fd, "s", 1, 0), 1);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len),
			 0);
	assert_int_equal(info.tcpi_unacked, 0);
	assert_int_equal(info.tcpi_notsent_bytes, 1);
	assert_int_equal(steer_counters(s.steer, &c), 0);
	assert_int_equal(c.unrouted, 1);
	assert_int_equal(send(s.flow.a, "d", 1, 0), 1);
	assert_int_equal(steer_counters(s.steer, &c), 0);
	assert_int_equal(c.unrouted, 1);
	host_run("ip link del " ROUTE_SINK);
	close(fd);
	close(far);
	close_scene(&s);
}

static void test_tcp_hears_of_no_route(void **state)
{
	without_a_route(state, false);
}

static void test_tcp_hears_of_no_route_v6(void **state)
{
	without_a_route(state, true);
}

static void test_tombstones_end(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	double start;

	steer_begin(s.steer);
	steer_add(s.steer, STEER_DROP, &s.flow.tuple, 60);
	assert_int_equal(steer_commit(s.steer), 0);
	start = seconds();
	/* Adding again sets the time anew, down as well as up. */
	steer_begin(s.steer);
	steer_add(s.steer, STEER_DROP, &s.flow.tuple, 1);
	assert_int_equal(steer_commit(s.steer), 0);
	assert_false(inbound_passes(&s));
	while (!inbound_passes(&s)) {
		assert_true(seconds() - start < 5);
		usleep(10000);
	}
	assert_true(seconds() - start > 0.9);
	/* To delete what has timed out is fine. */
	del_one(s.steer, STEER_DROP, &s.flow.tuple);
	close_scene(&s);
}

/* From one set to the other under the flood; then waits until no packet is
 * left that has seen the state before. */
static void change(struct scene *s, enum steer_set from, enum steer_set to,
		   volatile unsigned long *sent)
{
	unsigned long before;
	char byte;

	steer_begin(s->steer);
	steer_add(s->steer, to, &s->flow.tuple, 0);
	steer_del(s->steer, from, &s->flow.tuple);
	assert_int_equal(steer_commit(s->steer), 0);
	for (before = *sent; *sent < before + 2;)
		sched_yield();
	assert_int_equal(recv(s->flow.a, &byte, 1, MSG_DONTWAIT), -1);
}

static void test_no_gap_between_in_and_drop(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	volatile unsigned long *sent = mmap(NULL, sizeof(*sent),
					    PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long changes = 0;
	double end;
	char byte;
	pid_t pid;

	assert_ptr_not_equal((void *)sent, MAP_FAILED);
	add_one(s.steer, STEER_DROP, &s.flow.tuple);
	pid = flood(&s, sent);
	for (end = seconds() + 1.5; seconds() < end; changes += 2) {
		change(&s, STEER_DROP, STEER_IN, sent);
		change(&s, STEER_IN, STEER_DROP, sent);
	}
	/* The control: it would have come. */
	del_one(s.steer, STEER_DROP, &s.flow.tuple);
	assert_true(host_readable(s.flow.a, HOST_WAIT_MS));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	printf("# %lu changes under %lu packets, none passed\n", changes,
	       *sent);
	while (recv(s.flow.a, &byte, 1, MSG_DONTWAIT) == 1)
		;
	munmap((void *)sent, sizeof(*sent));
	close_scene(&s);
}

static void test_icmp_errors_to_a_locator(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	struct tuple elsewhere = s.flow.tuple;
	char byte;

	/* The control: an error comes to the socket. */
	close(s.flow.b);
	assert_int_equal(send(s.flow.a, "x", 1, 0), 1);
	assert_true(host_readable(s.flow.a, HOST_WAIT_MS));
	assert_int_equal(recv(s.flow.a, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNREFUSED);
	/* Something else is moved, here. */
	elsewhere.local.port ^= 1;
	steer_begin(s.steer);
	steer_add(s.steer, STEER_IN, &elsewhere, 0);
	steer_add_addr(s.steer, STEER_WIRE, &elsewhere.local.addr);
	assert_int_equal(steer_commit(s.steer), 0);
	/* Now it goes to the queue, where nobody is. */
	assert_int_equal(send(s.flow.a, "x", 1, 0), 1);
	assert_true(passes(s.other.b, s.other.a, s.other.a, s.other.b));
	assert_int_equal(recv(s.flow.a, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	/* Other ICMP does not. */
	host_run("ping -q -c 1 -W 2 " HOST_B4 " >/dev/null");
	s.flow.b = dup(s.other.b);
	close_scene(&s);
}

/* --- fragments ------------------------------------------------------------ */

struct got {
	unsigned packets;
	uint32_t longest;
};

static void accept_packet(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	struct got *got = ctx;

	got->packets++;
	if (p->full_len > got->longest)
		got->longest = p->full_len;
	assert_int_equal(pktq_accept(q, p->id, NULL), 0);
}

static void big_arrives(const struct scene *s)
{
	static char big[4000];

	assert_int_equal(send(s->flow.b, big, sizeof(big), 0), sizeof(big));
	assert_true(host_readable(s->flow.a, HOST_WAIT_MS));
	assert_int_equal(recv(s->flow.a, big, sizeof(big), 0), sizeof(big));
}

static void test_fragments_come_whole(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	static char big[4000];
	struct got got = { 0 };
	struct pktq_config qc = { .number = QUEUE_IN,
				  .packet_cb = accept_packet,
				  .ctx = &got };
	unsigned long before;
	struct pktq *q;

	if (!s.info.defrag) {
		close_scene(&s);
		SKIP_BECAUSE("this kernel has no tproxy");
	}
	assert_int_equal(pktq_open(&qc, &q), 0);
	/* Nothing protected: fragments are not touched, except that 5.10 does
	 * not stop after steer_open() has asked whether it can. */
	big_arrives(&s);
	before = counted("fragments");
	if (!before)
		printf("# this kernel defragments once it was asked\n");
	else
		assert_int_equal(before, 2);
	add_one(s.steer, STEER_PROT, &s.flow.tuple);
	big_arrives(&s);
	assert_int_equal(counted("fragments"), before);
	add_one(s.steer, STEER_IN, &s.flow.tuple);
	assert_int_equal(send(s.flow.b, big, sizeof(big), 0), sizeof(big));
	assert_true(host_readable(pktq_fd(q), HOST_WAIT_MS));
	assert_int_equal(pktq_read(q), 1);
	assert_int_equal(got.packets, 1);
	assert_int_equal(got.longest, sizeof(big) + 28);
	assert_true(host_readable(s.flow.a, HOST_WAIT_MS));
	assert_int_equal(recv(s.flow.a, big, sizeof(big), 0), sizeof(big));
	assert_int_equal(counted("fragments"), before);
	/* Nothing moved any more; what is protected may move again. */
	steer_begin(s.steer);
	steer_del(s.steer, STEER_IN, &s.flow.tuple);
	steer_idle(s.steer);
	assert_int_equal(steer_commit(s.steer), 0);
	big_arrives(&s);
	assert_int_equal(counted("fragments"), before);
	assert_int_equal(got.packets, 1);
	pktq_close(q);
	close_scene(&s);
}

static void keep_packet(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	uint64_t *id = ctx;

	(void)q;
	*id = p->id;
}

/* A packet that the tripwire has queued before the first move goes on from
 * where it was: it does not pass the chain again. */
static void test_a_held_packet_passes_once(void **state)
{
	struct scene s = open_scene(state, false, &conf);
	uint64_t id = 0;
	struct pktq_config qc = { .number = QUEUE_OUT,
				  .packet_cb = keep_packet, .ctx = &id };
	struct pktq *q;
	char byte;

	assert_int_equal(pktq_open(&qc, &q), 0);
	steer_begin(s.steer);
	steer_add(s.steer, STEER_PROT, &s.flow.tuple, 0);
	steer_add_addr(s.steer, STEER_SRC, &s.flow.tuple.local.addr);
	assert_int_equal(steer_commit(s.steer), 0);
	/* What retain does: the socket can send, fib says not local. */
	host_run("ip addr add 10.9.0.9/24 dev va");
	host_run("ip addr add " HOST_A4 "/32 dev lo scope host");
	host_run("ip route del local " HOST_A4 " dev lo table local");
	host_run("ip addr del " HOST_A4 "/24 dev va");
	host_run("ip addr replace 10.9.0.9/24 dev va");
	assert_int_equal(send(s.flow.a, "h", 1, 0), 1);
	assert_true(host_readable(pktq_fd(q), HOST_WAIT_MS));
	assert_int_equal(pktq_read(q), 1);
	add_one(s.steer, STEER_IN, &s.other.tuple);
	assert_int_equal(pktq_accept(q, id, NULL), 0);
	assert_int_equal(pktq_flush(q), 0);
	assert_true(host_readable(s.flow.b, HOST_WAIT_MS));
	assert_int_equal(recv(s.flow.b, &byte, 1, 0), 1);
	assert_false(host_readable(pktq_fd(q), 0));
	pktq_close(q);
	close_scene(&s);
}

/* --- watching ------------------------------------------------------------- */

static void expect_loss(struct scene *s, const char *command)
{
	double start;

	host_run("%s", command);
	start = seconds();
	assert_true(host_readable(steer_watch_fd(s->steer), HOST_WAIT_MS));
	assert_int_equal(steer_watch(s->steer), 1);
	steer_begin(s->steer);
	steer_build(s->steer);
	steer_add(s->steer, STEER_OUT, &s->flow.tuple, 0);
	assert_int_equal(steer_commit(s->steer), 0);
	printf("# \"%s\": seen and mended in %.1f ms\n", command,
	       (seconds() - start) * 1e3);
	assert_int_equal(steer_verify(s->steer), 0);
	assert_int_equal(steer_watch(s->steer), 0);
	assert_false(outbound_passes(s));
	assert_int_equal(elements("out4"), 1);
}

static void test_watch_sees_a_loss(void **state)
{
	struct steer_conf c = conf;
	struct scene s;

	c.avoid_owner = true;
	s = open_scene(state, false, &c);
	assert_false(s.info.owned);
	add_one(s.steer, STEER_OUT, &s.flow.tuple);
	/* Our own changes and those of other tables are not of interest. */
	assert_int_equal(steer_watch(s.steer), 0); /* the scene's */
	add_one(s.steer, STEER_IN, &s.flow.tuple);
	assert_false(host_readable(steer_watch_fd(s.steer), 0));
	host_run("nft add table ip other && nft delete table ip other");
	assert_true(host_readable(steer_watch_fd(s.steer), HOST_WAIT_MS));
	assert_int_equal(steer_watch(s.steer), 0);

	expect_loss(&s, "nft delete table inet sacip");
	assert_false(outbound_passes(&s));
	host_run("nft flush chain inet sacip outbound");
	assert_int_equal(steer_verify(s.steer), -ENOENT);
	expect_loss(&s, "nft flush set inet sacip out4");
	host_run("nft delete table inet sacip");
	assert_int_equal(steer_verify(s.steer), -ENOENT);
	/* A batch into a table that is gone says so. */
	steer_begin(s.steer);
	steer_add(s.steer, STEER_IN, &s.flow.tuple, 0);
	assert_int_equal(steer_commit(s.steer), -ENOENT);
	expect_loss(&s, "nft add table inet sacip");
	close_scene(&s);
}

static void test_flush_of_all(void **state)
{
	struct steer_conf c = conf;
	struct scene s;

	c.avoid_owner = true;
	s = open_scene(state, false, &c);
	add_one(s.steer, STEER_OUT, &s.flow.tuple);
	expect_loss(&s, "nft flush ruleset");
	host_run("nft add table inet probe"); /* close_scene() deletes it */
	close_scene(&s);
}

/* Each in namespaces of its own: a failure does not spoil the next one. */
/* --- workers ---------------------------------------------------------------- */

/* In front of the sets, to the queue of that worker, whom nobody plays. */
static void leads_to_workers(void **state, bool v6)
{
	struct steer_conf c = conf;
	struct scene s;

	c.avoid_maps = true;
	c.workers = 2;
	c.queue_worker[0] = 40;
	c.queue_worker[1] = 41;
	s = open_scene(state, v6, &c);
	assert_int_equal(s.info.workers, 2);
	assert_true(passes(s.flow.a, s.flow.b, s.other.a, s.other.b));
	steer_begin(s.steer);
	steer_worker_add(s.steer, STEER_SEND, &s.flow.tuple, 1);
	steer_worker_add(s.steer, STEER_RECV, &s.flow.tuple, 0);
	assert_int_equal(steer_commit(s.steer), 0);
	host_run("nft list map inet sacip work_out%d | grep -q 'goto worker1'",
		 v6 ? 6 : 4);
	host_run("nft list map inet sacip work_in%d | grep -q 'goto worker0'",
		 v6 ? 6 : 4);
	host_run("nft list chain inet sacip worker1 | grep -qE '(num|to) 41'");
	assert_false(passes(s.flow.a, s.flow.b, s.other.a, s.other.b));
	assert_false(passes(s.flow.b, s.flow.a, s.other.b, s.other.a));
	/* Gone, it is the sets' turn, and here nobody's. */
	steer_begin(s.steer);
	steer_worker_del(s.steer, STEER_SEND, &s.flow.tuple, 1);
	steer_worker_del(s.steer, STEER_RECV, &s.flow.tuple, 0);
	assert_int_equal(steer_commit(s.steer), 0);
	assert_true(passes(s.flow.a, s.flow.b, s.other.a, s.other.b));
	assert_true(passes(s.flow.b, s.flow.a, s.other.b, s.other.a));
	steer_begin(s.steer);
	steer_worker_add(s.steer, STEER_SEND, &s.flow.tuple, 2);
	assert_int_equal(steer_commit(s.steer), -EINVAL);
	close_scene(&s);
}

static void test_leads_to_workers(void **state)
{
	leads_to_workers(state, false);
}

static void test_leads_to_workers_v6(void **state)
{
	leads_to_workers(state, true);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, hosts_open, hosts_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refuses_a_mark_of_two_bits),
		TEST(test_needs_privilege),
		TEST(test_open_changes_nothing),
		TEST(test_a_listing_can_be_loaded),
		TEST(test_a_listing_with_workers_can_be_loaded),
		TEST(test_leads_to_workers),
		TEST(test_leads_to_workers_v6),
		TEST(test_text_says_what_is_built),
		TEST(test_text_loads),
		TEST(test_firewall_snippet),
		TEST(test_owned_table_is_left_alone),
		TEST(test_table_outlives_its_daemon),
		TEST(test_a_table_is_taken_over),
		TEST(test_a_table_that_was_changed_is_replaced),
		TEST(test_tripwires_alone_are_taken_over),
		TEST(test_unveiling_is_taken_over),
		TEST(test_adds_and_deletes_are_idempotent),
		TEST(test_a_failed_batch_applies_nothing),
		TEST(test_tens_of_thousands),
		TEST(test_the_greatest_table_fits),
		TEST(test_sets_ipv4),
		TEST(test_sets_ipv6),
		TEST(test_claims_are_taken_over),
		TEST(test_claimed_ipv4),
		TEST(test_claimed_ipv6),
		TEST(test_flooded_ipv4),
		TEST(test_flooded_ipv6),
		TEST(test_crowded_ipv4),
		TEST(test_crowded_ipv6),
		TEST(test_nonces_ipv4),
		TEST(test_nonces_ipv6),
		TEST(test_hooks_have_what_is_needed),
		TEST(test_tcp_hears_of_no_route),
		TEST(test_tcp_hears_of_no_route_v6),
		TEST(test_tombstones_end),
		TEST(test_no_gap_between_in_and_drop),
		TEST(test_icmp_errors_to_a_locator),
		TEST(test_fragments_come_whole),
		TEST(test_a_held_packet_passes_once),
		TEST(test_watch_sees_a_loss),
		TEST(test_flush_of_all),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("steer", tests, NULL, NULL);
}
