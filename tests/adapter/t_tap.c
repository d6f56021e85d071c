/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of tap: copies of real packets, and the probe of an idle socket. */
#include "tap.h"

#include "aside.h"
#include "host.h"
#include "nonce.h"
#include "pkt.h"
#include "steer.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define COPIES_MAX 256
#define TEXT_MAX 64
/* net.ipv4.tcp_invalid_ratelimit, and some more. */
#define PROBE_AGAIN_MS 600

struct copies {
	struct tap_packet packet[COPIES_MAX];
	char text[COPIES_MAX][TEXT_MAX];
	uint8_t mac[NONCE_MAC_SIZE]; /* of the last nonce */
	size_t n, nonces;
};

static void keep(const struct tap_packet *p, void *arg)
{
	struct copies *c = arg;

	assert_true(c->n < COPIES_MAX);
	c->packet[c->n] = *p;
	if (p->payload && p->payload_len < TEXT_MAX)
		memcpy(c->text[c->n], p->payload, p->payload_len);
	if (p->mac) {
		memcpy(c->mac, p->mac, NONCE_MAC_SIZE);
		c->nonces++;
	}
	c->n++;
}

/* One tap, by itself. */
static struct taps *tap_pair(uint8_t proto, const char *local,
			     const char *remote)
{
	struct addr l = host_addr(local), r = host_addr(remote);
	struct taps *taps;
	struct tap *tap;

	assert_int_equal(taps_open(&taps, NULL), 0);
	assert_int_equal(tap_open(taps, &tap, proto, &l, &r), 0);
	return taps;
}

/* Reads until there are `n`. */
static void collect(struct taps *tap, struct copies *c, size_t n)
{
	while (c->n < n) {
		assert_true(host_readable(taps_fd(tap), HOST_WAIT_MS));
		assert_int_equal(taps_receive(tap, keep, c), 0);
	}
}

/* What the socket itself would say: TCP_REPAIR stops it for a moment. */
static void read_numbers(int fd, uint32_t *snd_nxt, uint32_t *rcv_nxt)
{
	const int queues[] = { TCP_SEND_QUEUE, TCP_RECV_QUEUE };
	uint32_t *to[] = { snd_nxt, rcv_nxt };
	int repair = TCP_REPAIR_ON;

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &repair,
				    sizeof(repair)), 0);
	for (int i = 0; i < 2; i++) {
		socklen_t len = sizeof(**to);

		assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE,
					    &queues[i], sizeof(queues[i])), 0);
		assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ,
					    to[i], &len), 0);
	}
	repair = TCP_REPAIR_OFF_NO_WP;
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &repair,
				    sizeof(repair)), 0);
}

static void say(int from, int to, const char *text)
{
	char got[TEXT_MAX];
	ssize_t len = (ssize_t)strlen(text);

	assert_int_equal(send(from, text, (size_t)len, 0), len);
	assert_int_equal(recv(to, got, sizeof(got), 0), len);
	assert_memory_equal(got, text, (size_t)len);
}

static void check_tcp(const struct hosts *h, const char *a, const char *b)
{
	struct copies c = { 0 };
	const struct tap_packet *p;
	uint32_t snd_nxt, rcv_nxt;
	struct taps *tap;
	struct tuple t;
	int fd, peer;

	host_pair(h, a, b, &fd, &peer);
	t = host_tuple(fd, IPPROTO_TCP);
	say(peer, fd, "before the tap");
	read_numbers(fd, &snd_nxt, &rcv_nxt);
	tap = tap_pair(IPPROTO_TCP, a, b);
	say(fd, peer, "hello");
	say(peer, fd, "hi");
	/* Data out, its ACK with or without data in, data in, ACK out. */
	collect(tap, &c, 3);
	p = &c.packet[0];
	assert_true(p->outgoing);
	assert_true(tuple_equal(&p->tuple, &t));
	assert_int_equal(p->seq, snd_nxt);
	assert_int_equal(p->ack, rcv_nxt);
	assert_int_equal(p->payload_len, 5);
	assert_int_equal(p->flags, 0x18); /* PSH, ACK */
	assert_true(p->window > 0);
	assert_null(p->payload);
	assert_int_equal(c.nonces, 0);
	assert_true(p->when_ms > 0);
	assert_true(p->ifindex > 1);
	assert_true(p->stamped);
	p = &c.packet[1];
	assert_false(p->outgoing);
	assert_true(tuple_equal(&p->tuple, &t));
	assert_int_equal(p->seq, rcv_nxt);
	assert_int_equal(p->ack, snd_nxt + 5);
	assert_true(p->stamped);
	assert_int_equal(p->tsecr, c.packet[0].tsval);
	assert_int_equal(taps_lost(tap), 0);
	taps_close(tap);
	close(fd);
	close(peer);
}

static void tcp_is_copied_both_ways(void **state)
{
	const struct hosts *h = HOSTS(state);

	check_tcp(h, HOST_A4, HOST_B4);
	check_tcp(h, HOST_A6, HOST_B6);
}

/* A train of segments is one copy, with the length that it has in all. */
static void trains_of_tcp_are_measured(void **state)
{
	static const char bulk[60000];
	const struct hosts *h = HOSTS(state);
	uint32_t before, after, rcv_nxt, end = 0, sum = 0, longest = 0;
	struct copies c = { 0 };
	struct taps *tap;
	int fd, peer;

	host_pair(h, HOST_A4, HOST_B4, &fd, &peer);
	read_numbers(fd, &before, &rcv_nxt);
	tap = tap_pair(IPPROTO_TCP, HOST_A4, HOST_B4);
	assert_int_equal(send(fd, bulk, sizeof(bulk), 0), sizeof(bulk));
	for (size_t i = 0; sum < sizeof(bulk); i++) {
		const struct tap_packet *p = &c.packet[i];

		collect(tap, &c, i + 1);
		if (!p->outgoing)
			continue;
		sum += p->payload_len;
		end = p->seq + p->payload_len;
		if (p->payload_len > longest)
			longest = p->payload_len;
	}
	read_numbers(fd, &after, &rcv_nxt);
	assert_int_equal(sum, sizeof(bulk));
	assert_int_equal(end, after);
	assert_int_equal(after, before + sizeof(bulk));
	assert_true(longest > 1448);
	taps_close(tap);
	close(fd);
	close(peer);
}

static void check_udp(const struct hosts *h, const char *a, const char *b)
{
	struct copies c = { 0 };
	struct endpoint at_a, at_b;
	struct taps *tap;
	int fd, peer;

	host_enter(h->b);
	peer = host_bind(b, 0, SOCK_DGRAM);
	at_b = host_name(peer, false);
	host_enter(h->a);
	fd = host_bind(a, 0, SOCK_DGRAM);
	at_a = host_name(fd, false);
	host_connect(fd, &at_b);
	host_connect(peer, &at_a);
	tap = tap_pair(IPPROTO_UDP, a, b);
	say(fd, peer, "question");
	say(peer, fd, "answer");
	collect(tap, &c, 2);
	assert_int_equal(c.n, 2);
	assert_true(c.packet[0].outgoing);
	assert_false(c.packet[1].outgoing);
	for (int i = 0; i < 2; i++) {
		assert_true(endpoint_equal(&c.packet[i].tuple.local, &at_a));
		assert_true(endpoint_equal(&c.packet[i].tuple.remote, &at_b));
		assert_int_equal(c.packet[i].tuple.proto, IPPROTO_UDP);
	}
	assert_int_equal(c.packet[0].payload_len, 8);
	assert_string_equal(c.text[0], "question");
	assert_int_equal(c.packet[1].payload_len, 6);
	assert_string_equal(c.text[1], "answer");
	/* The shortest there is: padded on the wire, not in the copy. */
	assert_int_equal(send(peer, "", 0, 0), 0);
	collect(tap, &c, 3);
	assert_int_equal(c.packet[2].payload_len, 0);
	taps_close(tap);
	close(fd);
	close(peer);
}

static void udp_is_copied_both_ways(void **state)
{
	const struct hosts *h = HOSTS(state);

	check_udp(h, HOST_A4, HOST_B4);
	check_udp(h, HOST_A6, HOST_B6);
}

/* UDP_SEGMENT: both ends must see the same datagrams. */
static void trains_of_udp_are_taken_apart(void **state)
{
	const struct hosts *h = HOSTS(state);
	const int size = 4;
	struct copies here = { 0 }, there = { 0 };
	struct endpoint at_b;
	struct taps *tap_a, *tap_b;
	int fd, peer;

	host_enter(h->b);
	peer = host_bind(HOST_B4, 0, SOCK_DGRAM);
	at_b = host_name(peer, false);
	tap_b = tap_pair(IPPROTO_UDP, HOST_B4, HOST_A4);
	host_enter(h->a);
	fd = host_bind(HOST_A4, 0, SOCK_DGRAM);
	host_connect(fd, &at_b);
	tap_a = tap_pair(IPPROTO_UDP, HOST_A4, HOST_B4);
	if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0) {
		taps_close(tap_a);
		taps_close(tap_b);
		close(fd);
		close(peer);
		SKIP_BECAUSE("the kernel has no UDP_SEGMENT");
	}
	assert_int_equal(send(fd, "aaaabbbbcc", 10, 0), 10);
	/* One that the kernel has no word for is left out (before 6.2). */
	if (!host_readable(taps_fd(tap_a), HOST_WAIT_MS) ||
	    taps_receive(tap_a, keep, &here) < 0 || here.n == 0) {
		taps_close(tap_a);
		taps_close(tap_b);
		close(fd);
		close(peer);
		SKIP_BECAUSE("PACKET_VNET_HDR does not tell of UDP trains");
	}
	collect(tap_a, &here, 3);
	collect(tap_b, &there, 3);
	assert_int_equal(here.n, 3);
	for (int i = 0; i < 3; i++) {
		static const char *const want[] = { "aaaa", "bbbb", "cc" };

		assert_true(here.packet[i].outgoing);
		assert_false(there.packet[i].outgoing);
		assert_string_equal(here.text[i], want[i]);
		assert_string_equal(there.text[i], want[i]);
	}
	taps_close(tap_a);
	taps_close(tap_b);
	close(fd);
	close(peer);
}

/* Neither another pair's packets, nor lo's, nor fragments. */
static void nothing_else_is_copied(void **state)
{
	static const char big[4000];
	const struct hosts *h = HOSTS(state);
	struct copies c = { 0 };
	struct endpoint at_b, at_a;
	struct taps *tap, *own;
	int fd, peer, other;

	host_run("ip addr add 10.9.0.11/24 dev va");
	host_enter(h->b);
	peer = host_bind(HOST_B4, 0, SOCK_DGRAM);
	at_b = host_name(peer, false);
	host_enter(h->a);
	tap = tap_pair(IPPROTO_UDP, HOST_A4, HOST_B4);
	own = tap_pair(IPPROTO_UDP, HOST_A4, "10.9.0.11");
	other = host_bind("10.9.0.11", 0, SOCK_DGRAM);
	host_connect(other, &at_b);
	say(other, peer, "from another address");
	close(other);
	fd = host_bind(HOST_A4, 0, SOCK_DGRAM);
	at_a = host_name(fd, false);
	other = host_bind("10.9.0.11", 0, SOCK_DGRAM);
	host_connect(other, &at_a);
	say(other, fd, "over lo");
	host_connect(fd, &at_b);
	assert_int_equal(send(fd, big, sizeof(big), 0), sizeof(big));
	assert_int_equal(send(fd, "", 0, 0), 0);
	collect(tap, &c, 1);
	assert_int_equal(c.n, 1);
	assert_int_equal(c.packet[0].payload_len, 0);
	assert_false(host_readable(taps_fd(tap), 0));
	assert_false(host_readable(taps_fd(own), 0));
	host_run("ip addr del 10.9.0.11/24 dev va");
	taps_close(tap);
	taps_close(own);
	close(other);
	close(fd);
	close(peer);
}

static void set_rp_filter(int value)
{
	host_run("for i in all default lo va; do "
		 "sysctl -qw net.ipv4.conf.$i.rp_filter=%d; done", value);
}

/* One probe, one ACK out, with exactly what the socket has; and nothing that
 * the application or the peer would notice. */
static void check_probe(const struct hosts *h, const char *a, const char *b,
			uint32_t mark, void (*before_probe)(void))
{
	struct tap_injector *injector;
	struct copies c = { 0 };
	uint8_t probe[PKT_PROBE_MAX];
	uint32_t snd_nxt, rcv_nxt;
	struct taps *tap;
	struct tuple t;
	int fd, peer, len;
	char byte;

	assert_int_equal(tap_injector_open(&injector), 0);
	host_pair(h, a, b, &fd, &peer);
	t = host_tuple(fd, IPPROTO_TCP);
	say(fd, peer, "some");
	say(peer, fd, "traffic before");
	read_numbers(fd, &snd_nxt, &rcv_nxt);
	if (before_probe)
		before_probe();
	tap = tap_pair(IPPROTO_TCP, a, b);
	len = pkt_build_tcp_probe(&t, false, probe, sizeof(probe));
	assert_true(len > 0);
	assert_int_equal(tap_inject(injector, probe, (size_t)len, mark), 0);
	/* A delayed ACK of "traffic before" may come first. */
	do
		collect(tap, &c, c.n + 1);
	while (!c.packet[c.n - 1].outgoing);
	for (size_t i = 0; i < c.n; i++) {
		assert_true(tuple_equal(&c.packet[i].tuple, &t));
		assert_int_equal(c.packet[i].flags, 0x10);
		assert_int_equal(c.packet[i].payload_len, 0);
	}
	assert_int_equal(c.packet[c.n - 1].seq, snd_nxt);
	assert_int_equal(c.packet[c.n - 1].ack, rcv_nxt);
	/* A second one within the limit may stay unanswered, a later one not. */
	c.n = 0;
	assert_int_equal(tap_inject(injector, probe, (size_t)len, mark), 0);
	if (!host_readable(taps_fd(tap), PROBE_AGAIN_MS)) {
		assert_int_equal(tap_inject(injector, probe, (size_t)len, mark),
				 0);
	}
	collect(tap, &c, 1);
	assert_int_equal(c.packet[0].seq, snd_nxt);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	say(fd, peer, "afterwards");
	say(peer, fd, "as before");
	taps_close(tap);
	tap_injector_close(injector);
	close(fd);
	close(peer);
}

static void an_idle_socket_states_its_numbers(void **state)
{
	const struct hosts *h = HOSTS(state);

	for (int rp_filter = 0; rp_filter <= 2; rp_filter++) {
		set_rp_filter(rp_filter);
		check_probe(h, HOST_A4, HOST_B4, 0, NULL);
	}
	check_probe(h, HOST_A6, HOST_B6, 0, NULL);
}

/* A firewall that drops what the tracker takes for invalid: of the two probes
 * only that passes which whom the socket has connected to might have sent. */
static void a_firewall_passes_one_of_two(void **state)
{
	const struct hosts *h = HOSTS(state);
	static const char *const addrs[][2] = { { HOST_A4, HOST_B4 },
						{ HOST_A6, HOST_B6 } };
	struct tap_injector *injector;

	if (host_try("nft 'table inet fw { chain in { type filter hook input "
		     "priority 0; ct state invalid drop; }; chain out { type "
		     "filter hook output priority 0; ct state invalid drop; "
		     "}; }'"))
		SKIP_BECAUSE("no connection tracking here");
	assert_int_equal(tap_injector_open(&injector), 0);
	for (int i = 0; i < 2; i++) {
		struct copies c = { 0 };
		uint8_t probe[PKT_PROBE_MAX];
		struct taps *tap;
		struct tuple t;
		int fd, peer, len;

		host_pair(h, addrs[i][0], addrs[i][1], &fd, &peer);
		t = host_tuple(fd, IPPROTO_TCP);
		tap = tap_pair(IPPROTO_TCP, addrs[i][0], addrs[i][1]);
		say(fd, peer, "some");
		say(peer, fd, "traffic before");
		for (; host_readable(taps_fd(tap), PROBE_AGAIN_MS); c.n = 0)
			collect(tap, &c, 1); /* a delayed ACK, too */
		len = pkt_build_tcp_probe(&t, false, probe, sizeof(probe));
		(void)tap_inject(injector, probe, (size_t)len, 0);
		assert_false(host_readable(taps_fd(tap), PROBE_AGAIN_MS));
		len = pkt_build_tcp_probe(&t, true, probe, sizeof(probe));
		assert_int_equal(tap_inject(injector, probe, (size_t)len, 0),
				 0);
		collect(tap, &c, 1);
		assert_true(c.packet[0].outgoing);
		assert_int_equal(c.packet[0].flags, 0x10);
		say(fd, peer, "afterwards");
		taps_close(tap);
		close(fd);
		close(peer);
	}
	tap_injector_close(injector);
	host_run("nft delete table inet fw");
}

/* As wg-quick does where it takes over the default route, and a firewall that
 * lets in nothing but answers. */
static void build_walls(bool v6, const char *a)
{
	const char *family = v6 ? "ip6" : "ip";

	host_run("nft 'table %s wg { chain preraw { type filter hook "
		 "prerouting priority raw; iifname != \"va\" %s daddr %s "
		 "fib saddr type != local drop; }; }; table inet fw { "
		 "chain in { type filter hook input priority 0; "
		 "ct state established,related accept; "
		 "meta l4proto { tcp, icmp } drop; "
		 "icmpv6 type destination-unreachable drop; }; }'",
		 family, family, a);
}

static void take_down_walls(bool v6)
{
	host_run("nft delete table %s wg && nft delete table inet fw",
		 v6 ? "ip6" : "ip");
}

static struct steer *table(uint32_t mark)
{
	const struct steer_conf conf = { .mark = mark };
	struct steer_info info;
	struct steer *s;

	assert_int_equal(steer_open(&s, &conf, &info), 0);
	assert_true(info.unveils);
	steer_begin(s);
	steer_build(s);
	assert_int_equal(steer_commit(s), 0);
	return s;
}

static struct steer *unveil(uint32_t mark)
{
	struct steer *s = table(mark);

	steer_begin(s);
	steer_unveil(s);
	assert_int_equal(steer_commit(s), 0);
	return s;
}

static void quiet(struct taps *tap)
{
	struct copies c = { 0 };

	/* A delayed ACK, too. */
	for (; host_readable(taps_fd(tap), PROBE_AGAIN_MS); c.n = 0)
		collect(tap, &c, 1);
}

typedef int inject(struct tap_injector *injector, const uint8_t *packet,
		   size_t len, uint32_t mark);

static void probe_by(inject *by, struct tap_injector *injector,
		     const struct tuple *t, uint32_t mark)
{
	uint8_t probe[PKT_PROBE_MAX];

	for (int answers = 0; answers < 2; answers++) {
		int len = pkt_build_tcp_probe(t, answers, probe, sizeof(probe));

		assert_int_equal(by(injector, probe, (size_t)len, mark), 0);
	}
}

/* One that has answered a stray copy of a segment just before, as happens on a
 * slow host, answers nothing of its kind for half a second (tap.h). */
static void collect_answer(struct taps *tap, struct copies *c, inject *by,
			   struct tap_injector *injector,
			   const struct tuple *t, uint32_t mark)
{
	for (int left_ms = HOST_WAIT_MS; left_ms > 0; left_ms -= PROBE_AGAIN_MS) {
		probe_by(by, injector, t, mark);
		if (host_readable(taps_fd(tap), PROBE_AGAIN_MS))
			break;
	}
	collect(tap, c, 1);
}

/* What a socket that asks for them is told of ICMP errors. */
static int error_by(inject *by, struct tap_injector *injector, int fd,
		    const struct tuple *t, uint32_t seq)
{
	uint8_t error[PKT_UNREACHABLE_MAX];
	int len = pkt_build_tcp_unreachable(t, seq, error, sizeof(error));
	int told = 0;
	socklen_t size = sizeof(told);

	assert_int_equal(by(injector, error, (size_t)len, STEER_MARK_DEFAULT),
			 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &told, &size), 0);
	return told;
}

static void check_veiled(const struct hosts *h, struct steer *steer, bool v6)
{
	const char *a = v6 ? HOST_A6 : HOST_A4, *b = v6 ? HOST_B6 : HOST_B4;
	struct tap_injector *injector;
	struct copies c = { 0 };
	uint32_t snd_nxt, rcv_nxt;
	struct taps *tap;
	struct tuple t;
	int fd, peer, on = 1;

	build_walls(v6, a);
	assert_int_equal(tap_injector_open(&injector), 0);
	host_pair(h, a, b, &fd, &peer);
	assert_int_equal(setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
				    v6 ? IPV6_RECVERR : IP_RECVERR, &on,
				    sizeof(on)), 0);
	t = host_tuple(fd, IPPROTO_TCP);
	tap = tap_pair(IPPROTO_TCP, a, b);
	say(fd, peer, "some");
	say(peer, fd, "traffic before");
	quiet(tap);
	read_numbers(fd, &snd_nxt, &rcv_nxt);
	probe_by(tap_inject, injector, &t, STEER_MARK_DEFAULT);
	assert_int_equal(error_by(tap_inject, injector, fd, &t, snd_nxt), 0);
	assert_false(host_readable(taps_fd(tap), PROBE_AGAIN_MS));
	/* Without the hook nobody knows whose segment it is. */
	if (!steer_is_unveiling(steer)) {
		probe_by(tap_inject_veiled, injector, &t, STEER_MARK_DEFAULT);
		assert_false(host_readable(taps_fd(tap), PROBE_AGAIN_MS));
		steer_begin(steer);
		steer_unveil(steer);
		assert_int_equal(steer_commit(steer), 0);
		assert_true(steer_is_unveiling(steer));
	}
	collect_answer(tap, &c, tap_inject_veiled, injector, &t,
		       STEER_MARK_DEFAULT);
	assert_true(c.packet[0].outgoing);
	assert_int_equal(c.packet[0].flags, 0x10);
	assert_int_equal(c.packet[0].seq, snd_nxt);
	assert_int_equal(c.packet[0].ack, rcv_nxt);
	assert_true(error_by(tap_inject_veiled, injector, fd, &t, snd_nxt));
	say(fd, peer, "afterwards");
	say(peer, fd, "as before");
	taps_close(tap);
	tap_injector_close(injector);
	close(fd);
	close(peer);
	take_down_walls(v6);
}

static void a_wall_against_strangers_passes_the_veiled(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct steer *steer;

	if (host_try("nft 'table inet try { chain c { ct state invalid drop; "
		     "}; }' && nft delete table inet try"))
		SKIP_BECAUSE("no connection tracking here");
	set_rp_filter(2);
	steer = table(STEER_MARK_DEFAULT);
	check_veiled(h, steer, false);
	check_veiled(h, steer, true);
	steer_begin(steer);
	steer_rest(steer);
	assert_int_equal(steer_commit(steer), 0);
	assert_false(steer_is_unveiling(steer));
	host_run("! nft list chain inet sacip unveil 2>/dev/null");
	assert_int_equal(steer_close(steer, false), 0);
}

#define MARK 0x100000
#define OLD4 "10.9.0.21"
#define OLD6 "fd09::21"

/* As `retain` leaves an address that its interface has lost. */
static void lose_both(void)
{
	host_run("ip addr add " OLD4 "/32 dev lo scope host && "
		 "ip route del local " OLD4 " dev lo table local && "
		 "ip rule add fwmark 0x100000/0x100000 lookup 1022 && "
		 "ip -6 rule add fwmark 0x100000/0x100000 lookup 1022 && "
		 "ip route add local " OLD4 " dev lo table 1022 && "
		 "ip -6 route add local " OLD6 " dev lo table 1022 && "
		 "ip addr del " OLD4 "/24 dev va && "
		 "ip addr del " OLD6 "/64 dev va");
}

static void take_back_both(void)
{
	host_run("ip rule del fwmark 0x100000/0x100000; "
		 "ip -6 rule del fwmark 0x100000/0x100000; "
		 "ip route flush table 1022; ip -6 route flush table 1022; "
		 "ip addr del " OLD4 "/32 dev lo");
}

/* Without a FIN, which would be sent again when an address is back, into what
 * the next tap is to see. */
static void abort_both(int fd, int peer)
{
	const struct linger abort_it = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
	setsockopt(peer, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
	close(fd);
	close(peer);
}

/* The numbers are still to be had; and data that comes in so, marked as after
 * a translation, reaches the socket. */
static void check_retained(const struct hosts *h, const char *a, const char *b,
			   int rp_filter, inject *by)
{
	struct tap_injector *injector;
	struct copies c = { 0 };
	uint32_t snd_nxt, rcv_nxt;
	struct taps *tap;
	struct tuple t;
	int fd, peer;

	set_rp_filter(rp_filter);
	host_run("ip addr add " OLD4 "/24 dev va && "
		 "ip addr add " OLD6 "/64 dev va nodad");
	host_settle(OLD6);
	assert_int_equal(tap_injector_open(&injector), 0);
	host_pair(h, a, b, &fd, &peer);
	t = host_tuple(fd, IPPROTO_TCP);
	say(fd, peer, "some");
	read_numbers(fd, &snd_nxt, &rcv_nxt);
	lose_both();
	tap = tap_pair(IPPROTO_TCP, a, b);
	collect_answer(tap, &c, by, injector, &t, MARK);
	assert_true(c.packet[0].outgoing);
	assert_int_equal(c.packet[0].seq, snd_nxt);
	assert_int_equal(c.packet[0].ack, rcv_nxt);
	take_back_both();
	taps_close(tap);
	tap_injector_close(injector);
	abort_both(fd, peer);
}

static void a_retained_address_is_reached_by_the_mark(void **state)
{
	const struct hosts *h = HOSTS(state);

	for (int rp_filter = 0; rp_filter <= 2; rp_filter++)
		check_retained(h, OLD4, HOST_B4, rp_filter, tap_inject);
	check_retained(h, OLD6, HOST_B6, 1, tap_inject);
}

/* No host has its source for its own by then: only with our mark. */
static void a_retained_address_is_reached_veiled(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct steer *steer = unveil(MARK);

	for (int rp_filter = 0; rp_filter <= 2; rp_filter += 2) {
		build_walls(false, OLD4);
		check_retained(h, OLD4, HOST_B4, rp_filter, tap_inject_veiled);
		take_down_walls(false);
	}
	build_walls(true, OLD6);
	check_retained(h, OLD6, HOST_B6, 1, tap_inject_veiled);
	take_down_walls(true);
	assert_int_equal(steer_close(steer, false), 0);
}

/* Seen where it leaves, with its own source, which the route follows. */
static void check_sent(const char *a, const char *b, uint8_t proto)
{
	const struct nonce_numbers n = { .seq = 9, .ack = 8, .window = 7,
					 .stamped = true, .tsval = 6,
					 .tsecr = 5 };
	static const uint8_t mac[NONCE_MAC_SIZE] = { 1, 2, 3 };
	const struct endpoint from = host_endpoint(a, 4000);
	const struct endpoint to = host_endpoint(b, 5000);
	uint8_t packet[NONCE_PACKET_MAX];
	struct tap_injector *j;
	struct copies c = { 0 };
	struct taps *tap;
	struct tuple t;
	int len;

	memset(&t, 0, sizeof(t));
	t.local = from;
	t.remote = to;
	t.proto = proto;
	len = nonce_build(&t, &n, mac, packet, sizeof(packet));
	assert_true(len > 0);
	tap = tap_pair(proto, a, b);
	assert_int_equal(tap_injector_open(&j), 0);
	assert_int_equal(tap_send(j, packet, (size_t)len, 0), 0);
	collect(tap, &c, 1);
	assert_true(c.packet[0].outgoing);
	assert_true(tuple_equal(&c.packet[0].tuple, &t));
	if (proto == IPPROTO_TCP)
		assert_int_equal(c.packet[0].tsecr, 5);
	assert_int_equal(c.nonces, 1);
	assert_memory_equal(c.mac, mac, sizeof(mac));
	assert_int_equal(tap_send(j, packet, 1, 0), -EINVAL);
	tap_injector_close(j);
	taps_close(tap);
}

static void a_packet_is_sent_as_it_is(void **state)
{
	const struct hosts *h = *state;

	host_enter(h->a);
	check_sent("10.9.0.1", "10.9.0.2", IPPROTO_TCP);
	check_sent("10.9.0.1", "10.9.0.2", IPPROTO_UDP);
	check_sent("fd09::1", "fd09::2", IPPROTO_TCP);
	check_sent("fd09::1", "fd09::2", IPPROTO_UDP);
}

#define VPN4 "10.9.3.1"
#define VPN6 "fd09:3::1"

/* A socket keeps the route of the last segment that it took (sk_rx_dst), and
 * an idle one takes none after the probe. */
static void check_device_goes(const struct hosts *h, const char *a,
			      const char *b, inject *by)
{
	struct tap_injector *injector;
	struct copies c = { 0 };
	struct taps *tap;
	struct tuple t;
	int fd, peer;
	FILE *deletion;
	bool gone;

	host_run("ip link add vpn type veth peer name vpn_end && "
		 "ip addr add " VPN4 "/32 dev vpn && "
		 "ip addr add " VPN6 "/128 dev vpn nodad && "
		 "ip link set vpn up && ip link set vpn_end up");
	host_settle(VPN6);
	assert_int_equal(tap_injector_open(&injector), 0);
	host_pair(h, a, b, &fd, &peer);
	t = host_tuple(fd, IPPROTO_TCP);
	say(fd, peer, "some");
	tap = tap_pair(IPPROTO_TCP, a, b);
	collect_answer(tap, &c, by, injector, &t, MARK);
	taps_close(tap);
	tap_injector_close(injector);
	deletion = popen("ip link del vpn", "r");
	assert_non_null(deletion);
	gone = host_readable(fileno(deletion), HOST_WAIT_MS);
	abort_both(fd, peer);
	assert_int_equal(pclose(deletion), 0);
	assert_true(gone);
}

static void a_device_goes_whose_address_was_probed(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct steer *steer;

	host_enter(h->b);
	host_run("ip route add " VPN4 " via " HOST_A4 " && "
		 "ip -6 route add " VPN6 " via " HOST_A6);
	host_enter(h->a);
	set_rp_filter(1);
	check_device_goes(h, VPN4, HOST_B4, tap_inject);
	check_device_goes(h, VPN6, HOST_B6, tap_inject);
	set_rp_filter(2);
	steer = unveil(MARK);
	check_device_goes(h, VPN4, HOST_B4, tap_inject_veiled);
	check_device_goes(h, VPN6, HOST_B6, tap_inject_veiled);
	assert_int_equal(steer_close(steer, false), 0);
}

/* More pairs than a socket takes, of both families. */
#define MANY 60

static void open_many(struct taps *taps, struct tap *tap[2][MANY])
{
	static const char *const form[] = { "10.9.2.%d", "fd09:2::%d" };
	const struct addr own[] = { host_addr(HOST_A4), host_addr(HOST_A6) };

	for (int v6 = 0; v6 < 2; v6++)
		for (int i = 0; i < MANY; i++) {
			char text[ADDR_TEXT_MAX];
			struct addr a;

			snprintf(text, sizeof(text), form[v6], i + 1);
			a = host_addr(text);
			assert_int_equal(tap_open(taps, &tap[v6][i],
						  IPPROTO_UDP, &own[v6], &a),
					 0);
		}
}

static void send_many(void)
{
	static const char *const form[] = { "10.9.2.%d", "fd09:2::%d" };

	for (int v6 = 0; v6 < 2; v6++)
		for (int i = 0; i < MANY; i++) {
			char text[ADDR_TEXT_MAX];
			struct endpoint to;
			int fd;

			snprintf(text, sizeof(text), form[v6], i + 1);
			to = (struct endpoint){ host_addr(text), 5000 };
			fd = host_bind(v6 ? HOST_A6 : HOST_A4, 0, SOCK_DGRAM);
			host_connect(fd, &to);
			assert_int_equal(send(fd, text, strlen(text), 0),
					 strlen(text));
			close(fd);
		}
}

static void route_many(const struct hosts *h, const char *what)
{
	host_enter(h->a);
	host_run("ip route %s 10.9.2.0/24 via " HOST_B4 " && "
		 "ip -6 route %s fd09:2::/64 via " HOST_B6, what, what);
}

/* Each packet once, of those pairs alone that are open. */
static void many_pairs_share_a_filter(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct copies c = { 0 };
	struct tap *tap[2][MANY];
	struct taps *taps;
	size_t want = 0;

	route_many(h, "add");
	assert_int_equal(taps_open(&taps, NULL), 0);
	open_many(taps, tap);
	for (int v6 = 0; v6 < 2; v6++)
		for (int i = 0; i < MANY; i++) {
			want += i % 3 != 0;
			if (i % 3 == 0)
				tap_close(tap[v6][i]);
		}
	send_many();
	collect(taps, &c, want);
	assert_false(host_readable(taps_fd(taps), 0));
	assert_int_equal(c.n, want);
	for (size_t i = 0; i < c.n; i++) {
		char text[ADDR_TEXT_MAX];
		const struct addr *to = &c.packet[i].tuple.remote.addr;

		assert_true(c.packet[i].outgoing);
		addr_format(to, text);
		assert_string_equal(c.text[i], text);
		if (to->family == 4)
			assert_int_not_equal((to->byte[3] - 1) % 3, 0);
	}
	for (int v6 = 0; v6 < 2; v6++)
		for (int i = 0; i < MANY; i++)
			if (i % 3)
				tap_close(tap[v6][i]);
	send_many();
	assert_false(host_readable(taps_fd(taps), 0));
	taps_close(taps);
	route_many(h, "del");
}

/* What is read late is not taken for new. */
static void what_came_before_is_not_seen(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct addr a = host_addr(HOST_A4), b = host_addr(HOST_B4);
	struct addr other = host_addr("10.9.0.99");
	struct copies c = { 0 };
	struct endpoint at_b;
	struct tap *tap, *stays;
	struct taps *taps;
	int fd, peer;

	host_enter(h->b);
	peer = host_bind(HOST_B4, 0, SOCK_DGRAM);
	at_b = host_name(peer, false);
	host_enter(h->a);
	fd = host_bind(HOST_A4, 0, SOCK_DGRAM);
	host_connect(fd, &at_b);
	assert_int_equal(taps_open(&taps, NULL), 0);
	for (int shared = 0; shared < 2; shared++) {
		stays = NULL;
		if (shared)
			assert_int_equal(tap_open(taps, &stays, IPPROTO_TCP, &a,
						  &other), 0);
		assert_int_equal(tap_open(taps, &tap, IPPROTO_UDP, &a, &b), 0);
		assert_int_equal(send(fd, "old", 3, 0), 3);
		tap_close(tap);
		/* Nobody has to read it: the socket goes with it. */
		assert_int_equal(taps_due_ms(taps), 0);
		assert_int_equal(send(fd, "unseen", 6, 0), 6);
		assert_int_equal(tap_open(taps, &tap, IPPROTO_UDP, &a, &b), 0);
		assert_int_equal(send(fd, "new", 3, 0), 3);
		c.n = 0;
		collect(taps, &c, 1);
		assert_int_equal(c.n, 1);
		assert_string_equal(c.text[0], "new");
		tap_close(tap);
		tap_close(stays);
	}
	taps_close(taps);
	close(fd);
	close(peer);
}

/* Who closed packet sockets: the kernel makes him wait for RCU. */
static struct {
	pthread_t here;
	int others; /* counts, to be waited for */
	atomic_uint by_us;
} closed = { .others = -1 };

int close(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);
	bool counts = closed.others >= 0 &&
		      !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) &&
		      domain == AF_PACKET;
	int ret = (int)syscall(SYS_close, fd);

	if (counts && pthread_equal(pthread_self(), closed.here))
		atomic_fetch_add(&closed.by_us, 1);
	else if (counts)
		(void)!eventfd_write(closed.others, 1);
	return ret;
}

static unsigned int closed_by_others(unsigned int n)
{
	eventfd_t sum = 0, more;

	while (sum < n) {
		assert_true(host_readable(closed.others, HOST_WAIT_MS));
		assert_int_equal(eventfd_read(closed.others, &more), 0);
		sum += more;
	}
	return (unsigned int)sum;
}

static void no_close_makes_the_caller_wait(void **state)
{
	struct tap *tap[2][MANY], *again;
	struct addr a = host_addr(HOST_A4), b = host_addr(HOST_B4);
	const unsigned int sockets = (2 * MANY + TAP_PAIRS_PER_SOCKET - 1) /
				     TAP_PAIRS_PER_SOCKET;
	struct aside *aside;
	struct taps *taps;

	host_enter(HOSTS(state)->a);
	closed.here = pthread_self();
	closed.others = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(aside_open(&aside), 0);
	assert_int_equal(taps_open(&taps, aside), 0);
	open_many(taps, tap);
	assert_int_equal(taps_due_ms(taps), 0);
	for (int v6 = 0; v6 < 2; v6++)
		for (int i = 0; i < MANY; i++)
			tap_close(tap[v6][i]);
	/* One after the other: an idle socket serves them all. */
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(tap_open(taps, &again, IPPROTO_TCP, &a, &b),
				 0);
		tap_close(again);
	}
	taps_step(taps, taps_due_ms(taps) - 1);
	assert_false(host_readable(closed.others, 0));
	while (taps_due_ms(taps))
		taps_step(taps, taps_due_ms(taps));
	assert_int_equal(closed_by_others(sockets), sockets);
	assert_int_equal(atomic_load(&closed.by_us), 0);
	taps_close(taps);
	aside_close(aside);
	assert_int_equal(atomic_load(&closed.by_us), 0);
	closed.here = 0;
	syscall(SYS_close, closed.others);
	closed.others = -1;
}

static void bad_calls_are_refused(void **state)
{
	struct addr a = host_addr(HOST_A4), b = host_addr(HOST_B6);
	struct tap_injector *injector;
	struct taps *taps;
	struct tap *tap;

	(void)HOSTS(state);
	assert_int_equal(taps_open(&taps, NULL), 0);
	assert_int_equal(tap_open(taps, &tap, IPPROTO_TCP, &a, &b), -EINVAL);
	assert_int_equal(tap_open(taps, &tap, IPPROTO_ICMP, &a, &a), -EINVAL);
	taps_close(taps);
	assert_int_equal(tap_injector_open(&injector), 0);
	assert_int_equal(tap_inject(injector, (const uint8_t *)"E", 1, 0),
			 -EINVAL);
	tap_injector_close(injector);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_is_copied_both_ways),
		cmocka_unit_test(trains_of_tcp_are_measured),
		cmocka_unit_test(udp_is_copied_both_ways),
		cmocka_unit_test(trains_of_udp_are_taken_apart),
		cmocka_unit_test(nothing_else_is_copied),
		cmocka_unit_test(an_idle_socket_states_its_numbers),
		cmocka_unit_test(a_firewall_passes_one_of_two),
		cmocka_unit_test(a_wall_against_strangers_passes_the_veiled),
		cmocka_unit_test(a_retained_address_is_reached_by_the_mark),
		cmocka_unit_test(a_retained_address_is_reached_veiled),
		cmocka_unit_test(a_packet_is_sent_as_it_is),
		cmocka_unit_test(a_device_goes_whose_address_was_probed),
		cmocka_unit_test(many_pairs_share_a_filter),
		cmocka_unit_test(what_came_before_is_not_seen),
		cmocka_unit_test(no_close_makes_the_caller_wait),
		cmocka_unit_test(bad_calls_are_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("tap", tests, hosts_open,
					   hosts_close);
}
