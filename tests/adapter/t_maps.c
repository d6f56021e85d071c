/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel makes of packets by the maps of steer: each must be, byte
 * by byte, the one that would have been built for the other tuple.
 *
 * Host a has the table. A flow has its identity on the addresses of host.h,
 * and its wire tuple on these:
 *
 *     a  10.9.0.11  fd09::11  ---  b  10.9.0.12  fd09::12
 */
#include "steer.h"

#include "host.h"
#include "pktq.h"

#include "../unit/packet.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_NO_CHECK6_TX
#define UDP_NO_CHECK6_TX 101
#define UDP_NO_CHECK6_RX 102
#endif

#define QUEUE_IN 21
#define QUEUE_OUT 22
#define STREAM_BYTES (1u << 20)
#define PACKETS 24 /* of each kind */
#define AHEAD 400 /* datagrams that may be on their way */

static const struct steer_conf conf = {
	.mark = STEER_MARK_DEFAULT,
	.queue_in = QUEUE_IN,
	.queue_out = QUEUE_OUT,
};

struct family {
	uint8_t number;
	const char *identity[2], *wire[2]; /* of a, of b */
};

static const struct family families[] = {
	{ 4, { HOST_A4, HOST_B4 }, { "10.9.0.11", "10.9.0.12" } },
	{ 6, { HOST_A6, HOST_B6 }, { "fd09::11", "fd09::12" } },
};
static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };

/* What changes: both addresses, and ports (bit 0 ours, bit 1 theirs); or one
 * address alone. */
#define PORTED_ALL 4
#define OUR_ADDR 4
#define THEIR_ADDR 5
#define CHANGES_ALL 6

struct scene {
	struct hosts *hosts;
	struct steer *steer;
	struct tuple identity, wire; /* as host a sees them */
	int capture; /* at b, what comes on the wire */
};

static struct tuple tuple_at(const struct family *f, uint8_t proto, bool wire,
			     unsigned int changes)
{
	const unsigned int ported = wire && changes < PORTED_ALL ? changes : 0;
	const bool ours = wire && changes != THEIR_ADDR;
	const bool theirs = wire && changes != OUR_ADDR;
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.local = host_endpoint(ours ? f->wire[0] : f->identity[0],
				ported & 1 ? 6400 : 5400);
	t.remote = host_endpoint(theirs ? f->wire[1] : f->identity[1],
				 ported & 2 ? 6300 : 5300);
	t.proto = proto;
	return t;
}

static void map_both(struct steer *s, const struct tuple *identity,
		     const struct tuple *wire, bool add)
{
	void (*change)(struct steer *, enum steer_map, const struct tuple *,
		       const struct tuple *) = add ? steer_map_add :
						     steer_map_del;

	steer_begin(s);
	change(s, STEER_SEND, identity, wire);
	change(s, STEER_RECV, wire, identity);
	assert_int_equal(steer_commit(s), 0);
}

/* The sets behind the maps, as for every moved flow. */
static void sets_add(struct steer *s, const struct tuple *identity,
		     const struct tuple *wire)
{
	steer_begin(s);
	steer_add(s, STEER_PROT, identity, 0);
	steer_add(s, STEER_OUT, identity, 0);
	steer_add(s, STEER_DROP, identity, 0);
	steer_add(s, STEER_IN, wire, 0);
	steer_add_addr(s, STEER_SRC, &identity->local.addr);
	steer_add_addr(s, STEER_WIRE, &wire->local.addr);
	assert_int_equal(steer_commit(s), 0);
}

static void sets_del(struct steer *s, const struct tuple *identity,
		     const struct tuple *wire)
{
	steer_begin(s);
	steer_del(s, STEER_PROT, identity);
	steer_del(s, STEER_OUT, identity);
	steer_del(s, STEER_DROP, identity);
	steer_del(s, STEER_IN, wire);
	assert_int_equal(steer_commit(s), 0);
}

static int capture_open(void)
{
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC,
			htons(ETH_P_ALL));

	assert_true(fd >= 0);
	return fd;
}

static void addr_add(const struct family *f, int me, const char *dev)
{
	bool v6 = f->number == 6;

	host_run("ip addr add %s/%d dev %s %s", f->wire[me], v6 ? 64 : 24,
		 dev, v6 ? "nodad" : "");
	host_settle(f->wire[me]);
}

/* False where the kernel cannot rewrite. */
static bool scene_open(struct scene *s, void **state)
{
	struct steer_info info;

	s->hosts = HOSTS(state);
	for (int i = 0; i < 2; i++) {
		host_enter(s->hosts->b);
		addr_add(&families[i], 1, "vb");
		host_enter(s->hosts->a);
		addr_add(&families[i], 0, "va");
	}
	assert_int_equal(steer_open(&s->steer, &conf, &info), 0);
	if (!info.maps) {
		assert_int_equal(steer_close(s->steer, false), 0);
		return false;
	}
	steer_begin(s->steer);
	steer_build(s->steer);
	assert_int_equal(steer_commit(s->steer), 0);
	host_enter(s->hosts->b);
	s->capture = capture_open();
	host_enter(s->hosts->a);
	return true;
}

#define SCENE(s, state)                                                 \
	do {                                                            \
		if (!scene_open(s, state))                              \
			SKIP_BECAUSE("this kernel cannot rewrite by maps"); \
	} while (0)

static void scene_close(struct scene *s)
{
	host_enter(s->hosts->a);
	close(s->capture);
	assert_int_equal(steer_close(s->steer, false), 0);
}

static void scene_flow(struct scene *s, const struct family *f, uint8_t proto,
		       unsigned int changes)
{
	s->identity = tuple_at(f, proto, false, 0);
	s->wire = tuple_at(f, proto, true, changes);
	sets_add(s->steer, &s->identity, &s->wire);
	map_both(s->steer, &s->identity, &s->wire, true);
}

static void scene_no_flow(struct scene *s)
{
	map_both(s->steer, &s->identity, &s->wire, false);
	sets_del(s->steer, &s->identity, &s->wire);
}

/* --- packets by hand ------------------------------------------------------ */

/* What random bytes must not say on a real network. */
static uint32_t build(const struct packet_spec *spec, uint8_t *p)
{
	uint32_t len = packet_build(spec, p), at = 40;

	if (spec->family == 4) {
		p[4] |= 1; /* 0: the kernel chooses one */
		p[8] = 64;
		memset(p + 20, 1, spec->words * 4u); /* no operation */
		packet_put(p + 10, 0, 2);
		at = 20u + spec->words * 4u;
		packet_put(p + 10, (uint16_t)~packet_sum(0, p, at), 2);
		return len;
	}
	p[7] = 64;
	for (unsigned int i = 0; i < spec->exts; i++, at += spec->ext_len) {
		memset(p + at + 2, 0, spec->ext_len - 2u);
		p[at + 2] = 0x1e; /* an option that nobody knows, nor minds */
		p[at + 3] = (uint8_t)(spec->ext_len - 4);
	}
	return len;
}

static struct packet_spec spec_of(const struct tuple *t, bool out,
				  uint64_t seed)
{
	struct packet_spec s;

	memset(&s, 0, sizeof(s));
	s.family = t->local.addr.family;
	s.proto = t->proto;
	s.src = out ? t->local : t->remote;
	s.dst = out ? t->remote : t->local;
	s.flags = 0x10;
	s.payload = 31 + (uint32_t)seed * 7 % 600;
	s.seed = seed;
	return s;
}

static void inject(const uint8_t *p, uint32_t len, const struct packet_spec *s)
{
	struct endpoint to = s->dst;
	struct sockaddr_storage ss;
	socklen_t ss_len;
	int fd = socket(s->family == 4 ? AF_INET : AF_INET6,
			SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

	assert_true(fd >= 0);
	to.port = 0;
	ss_len = endpoint_to_sockaddr(&to, &ss);
	assert_int_equal(sendto(fd, p, len, 0, (struct sockaddr *)&ss, ss_len),
			 len);
	close(fd);
}

/* The next one of that length must be that. */
static void expect_captured(int fd, const uint8_t *want, uint32_t len)
{
	static uint8_t got[PACKET_MAX];

	for (;;) {
		ssize_t n;

		if (!host_readable(fd, HOST_WAIT_MS))
			fail_msg("no packet of %u bytes came", len);
		n = recv(fd, got, sizeof(got), 0);
		if (n != (ssize_t)len)
			continue; /* an answer of the stack's */
		assert_memory_equal(got, want, len);
		return;
	}
}

/* What a raw socket of a's gets: for IPv6 without the network header. */
static void expect_delivered(int fd, const struct packet_spec *s,
			     const uint8_t *want, uint32_t len)
{
	uint32_t skip = s->family == 6 ? packet_l3_len(s) : 0;
	static uint8_t got[PACKET_MAX];

	for (;;) {
		struct sockaddr_storage ss;
		socklen_t ss_len = sizeof(ss);
		struct endpoint from;
		ssize_t n;

		if (!host_readable(fd, HOST_WAIT_MS))
			fail_msg("no packet of %u bytes was delivered", len);
		n = recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *)&ss,
			     &ss_len);
		if (n != (ssize_t)(len - skip))
			continue;
		assert_memory_equal(got, want + skip, len - skip);
		assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&ss,
							&from), 0);
		assert_true(addr_equal(&from.addr, &s->src.addr));
		return;
	}
}

static int raw_open(const struct tuple *t)
{
	bool v4 = t->local.addr.family == 4;
	struct endpoint at = t->local;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC,
			t->proto);

	assert_true(fd >= 0);
	at.port = 0;
	len = endpoint_to_sockaddr(&at, &ss);
	/* Nothing that has another destination. */
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

/* `change` as the case needs it, on what is sent and on what is to come. */
typedef void vary(struct packet_spec *s, uint64_t seed);

static void check_out(struct scene *s, vary *change, uint64_t seed)
{
	struct packet_spec from = spec_of(&s->identity, true, seed);
	struct packet_spec to = spec_of(&s->wire, true, seed);
	uint8_t sent[2048], want[2048];
	uint32_t len;

	change(&from, seed);
	change(&to, seed);
	len = build(&from, sent);
	assert_int_equal(build(&to, want), len);
	inject(sent, len, &from);
	expect_captured(s->capture, want, len);
}

static void check_in(struct scene *s, int raw, vary *change, uint64_t seed)
{
	struct packet_spec from = spec_of(&s->wire, false, seed);
	struct packet_spec to = spec_of(&s->identity, false, seed);
	uint8_t sent[2048], want[2048];
	uint32_t len;

	change(&from, seed);
	change(&to, seed);
	len = build(&from, sent);
	assert_int_equal(build(&to, want), len);
	host_enter(s->hosts->b);
	inject(sent, len, &from);
	host_enter(s->hosts->a);
	expect_delivered(raw, &to, want, len);
}

/* To host a, on a tuple that is nobody's. */
static void check_plain(struct scene *s, int raw, const struct tuple *t,
			uint64_t seed)
{
	struct packet_spec spec = spec_of(t, false, seed);
	uint8_t sent[2048];
	uint32_t len = build(&spec, sent);

	host_enter(s->hosts->b);
	inject(sent, len, &spec);
	host_enter(s->hosts->a);
	expect_delivered(raw, &spec, sent, len);
}

static void check_varied(void **state, vary *change, const uint8_t *proto,
			 size_t n_protos)
{
	struct scene s;

	SCENE(&s, state);
	for (size_t i = 0; i < 2 * n_protos * CHANGES_ALL; i++) {
		const struct family *f = &families[i & 1];
		int raw;

		scene_flow(&s, f, proto[i / 2 % n_protos],
			   (unsigned int)(i / 2 / n_protos));
		raw = raw_open(&s.identity);
		for (uint64_t seed = 1; seed <= PACKETS; seed++) {
			check_out(&s, change, seed);
			check_in(&s, raw, change, seed);
		}
		close(raw);
		scene_no_flow(&s);
	}
	scene_close(&s);
}

static void as_it_is(struct packet_spec *s, uint64_t seed)
{
	(void)s, (void)seed;
}

static void test_complete_checksums(void **state)
{
	check_varied(state, as_it_is, protos, 2);
}

static void without_checksum(struct packet_spec *s, uint64_t seed)
{
	(void)seed;
	s->check = PACKET_CHECK_NONE;
}

static void test_no_checksum_stays_none(void **state)
{
	check_varied(state, without_checksum, &protos[1], 1);
}

static void with_options(struct packet_spec *s, uint64_t seed)
{
	if (s->family == 4) {
		s->words = (uint8_t)(1 + seed % 10);
	} else {
		s->ext[0] = seed & 1 ? IPPROTO_HOPOPTS : IPPROTO_DSTOPTS;
		s->ext[1] = IPPROTO_DSTOPTS;
		s->exts = (uint8_t)(1 + seed / 2 % 2);
		s->ext_len = (uint16_t)(8 * (1 + seed % 4));
	}
	if (s->proto == IPPROTO_TCP)
		s->tcp_words = (uint8_t)(seed % 11);
}

static void test_options_and_extension_headers(void **state)
{
	check_varied(state, with_options, protos, 2);
}

/* Without payload, so that one word decides: `word` is where the sum of all
 * others is, so that the checksum of the packet with it is 0. */
static void check_to_zero(struct scene *s, bool out, int raw)
{
	const struct tuple *before = out ? &s->identity : &s->wire;
	const struct tuple *after = out ? &s->wire : &s->identity;
	struct packet_spec from = spec_of(before, out, 9);
	struct packet_spec to = spec_of(after, out, 9);
	uint8_t sent[256], want[256], *word;
	uint32_t len, l4;
	uint16_t sum;

	from.payload = to.payload = 2;
	l4 = packet_l3_len(&to);
	len = build(&to, want);
	assert_int_equal(build(&from, sent), len);
	word = want + l4 + 8;
	packet_put(word, 0, 2);
	packet_put(want + l4 + 6, 0, 2);
	sum = packet_sum(packet_pseudo(&to.src.addr, &to.dst.addr, to.proto,
				       10), want + l4, 10);
	packet_put(word, (uint16_t)~sum, 2);
	packet_fill_check(&to, want + l4, 10, 6);
	assert_int_equal(want[l4 + 6] << 8 | want[l4 + 7], 0xffff);
	memcpy(sent + l4 + 8, word, 2);
	packet_fill_check(&from, sent + l4, 10, 6);
	if (out) {
		inject(sent, len, &from);
		expect_captured(s->capture, want, len);
		return;
	}
	host_enter(s->hosts->b);
	inject(sent, len, &from);
	host_enter(s->hosts->a);
	expect_delivered(raw, &to, want, len);
}

/* RFC 768: a sum of 0 is sent as 0xffff. */
static void test_a_sum_of_zero_is_no_missing_one(void **state)
{
	struct scene s;

	SCENE(&s, state);
	for (unsigned int i = 0; i < 2 * CHANGES_ALL; i++) {
		int raw;

		scene_flow(&s, &families[i & 1], IPPROTO_UDP, i / 2);
		raw = raw_open(&s.identity);
		check_to_zero(&s, true, raw);
		check_to_zero(&s, false, raw);
		close(raw);
		scene_no_flow(&s);
	}
	scene_close(&s);
}

/* --- sockets: sums that the device, or nobody, completes ------------------ */

static void set_int(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)),
			 0);
}

static int socket_at(const struct endpoint *at, const struct endpoint *to,
		     int type)
{
	char text[ADDR_TEXT_MAX];
	int fd = host_bind(addr_format(&at->addr, text), at->port, type);

	if (to)
		host_connect(fd, to);
	return fd;
}

/* At a by the identity, at b by the wire tuple. */
static void udp_open(const struct scene *s, int *at_a, int *at_b)
{
	host_enter(s->hosts->b);
	*at_b = socket_at(&s->wire.remote, &s->wire.local, SOCK_DGRAM);
	host_enter(s->hosts->a);
	*at_a = socket_at(&s->identity.local, &s->identity.remote, SOCK_DGRAM);
}

static void fill(uint8_t *to, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)((at + i) * 2654435761u >> 13);
}

static void send_datagram(int fd, size_t len)
{
	static uint8_t data[65536];

	fill(data, len, len);
	assert_int_equal(send(fd, data, len, 0), len);
}

static void expect_datagram(int fd, size_t at, size_t len)
{
	static uint8_t data[65536], want[65536];

	if (!host_readable(fd, HOST_WAIT_MS))
		fail_msg("the datagram of %zu bytes did not come", len);
	assert_int_equal(recv(fd, data, sizeof(data), 0), len);
	fill(want, at, len);
	assert_memory_equal(data, want, len);
}

static void set_offloads(const struct hosts *h, const char *value)
{
	if (host_try("ethtool --version >/dev/null 2>&1"))
		SKIP_BECAUSE("needs ethtool");
	host_enter(h->b);
	host_run("ethtool -K vb tx %s tso %s gso %s gro off >/dev/null", value,
		 value, value);
	host_enter(h->a);
	host_run("ethtool -K va tx %s tso %s gso %s gro off >/dev/null", value,
		 value, value);
}

/* Small ones, odd ones, up to the MTU, and longer: these leave, and come, in
 * fragments. */
static void check_datagrams(struct scene *s, bool checked)
{
	static const size_t size[] = { 1, 2, 3, 64, 99, 1400, 1452, 1472,
				       1473, 4000, 9001, 60000 };
	int at_a, at_b;

	udp_open(s, &at_a, &at_b);
	if (!checked && s->identity.local.addr.family == 4) {
		set_int(at_a, SOL_SOCKET, SO_NO_CHECK, 1);
		set_int(at_b, SOL_SOCKET, SO_NO_CHECK, 1);
	} else if (!checked) {
		set_int(at_a, IPPROTO_UDP, UDP_NO_CHECK6_TX, 1);
		set_int(at_a, IPPROTO_UDP, UDP_NO_CHECK6_RX, 1);
		set_int(at_b, IPPROTO_UDP, UDP_NO_CHECK6_TX, 1);
		set_int(at_b, IPPROTO_UDP, UDP_NO_CHECK6_RX, 1);
	}
	for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) {
		send_datagram(at_a, size[i]);
		expect_datagram(at_b, size[i], size[i]);
		send_datagram(at_b, size[i]);
		expect_datagram(at_a, size[i], size[i]);
	}
	close(at_a);
	close(at_b);
}

/*
 * Only where the device completes sums. Else, since 6.11, such a packet has
 * half a sum and is not said to have one (ip_summed is CHECKSUM_NONE): every
 * rewriting in the kernel, NAT's too, makes a wrong one of it. Before 6.11 it
 * could not be sent at all.
 */
static void check_super_packet(struct scene *s)
{
	const size_t segment = 1000, all = 40 * segment + 77;
	int fd[2];

	udp_open(s, &fd[0], &fd[1]);
	for (int way = 0; way < 2; way++) {
		set_int(fd[way], IPPROTO_UDP, UDP_SEGMENT, (int)segment);
		send_datagram(fd[way], all);
		for (size_t i = 0; i < 40; i++)
			expect_datagram(fd[!way], all + i * segment, segment);
		expect_datagram(fd[!way], all + 40 * segment, 77);
	}
	close(fd[0]);
	close(fd[1]);
}

static void check_stream(int from, int to)
{
	static uint8_t data[65536], want[65536];
	size_t sent = 0, got = 0;

	while (got < STREAM_BYTES) {
		struct pollfd p[2] = { { .fd = to, .events = POLLIN },
				       { .fd = from, .events = POLLOUT } };
		ssize_t n;

		assert_true(poll(p, sent < STREAM_BYTES ? 2 : 1,
				 HOST_WAIT_MS) > 0);
		if (p[1].revents && sent < STREAM_BYTES) {
			size_t len = STREAM_BYTES - sent;

			if (len > sizeof(data))
				len = sizeof(data);
			fill(data, sent, len);
			n = send(from, data, len, MSG_DONTWAIT);
			assert_true(n > 0);
			sent += (size_t)n;
		}
		if (p[0].revents) {
			n = recv(to, data, sizeof(data), MSG_DONTWAIT);
			assert_true(n > 0);
			fill(want, got, (size_t)n);
			assert_memory_equal(data, want, (size_t)n);
			got += (size_t)n;
		}
	}
}

/* Leaves no TIME_WAIT: the next one has the same ports. */
static void abort_connection(int fd)
{
	const struct linger none = { .l_onoff = 1 };

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none,
				    sizeof(none)), 0);
	close(fd);
}

static void check_connection(struct scene *s)
{
	int listener, at_a, at_b;

	host_enter(s->hosts->b);
	listener = socket_at(&s->wire.remote, NULL, SOCK_STREAM);
	assert_int_equal(listen(listener, 1), 0);
	host_enter(s->hosts->a);
	at_a = socket_at(&s->identity.local, &s->identity.remote,
			 SOCK_STREAM);
	assert_true(host_readable(listener, HOST_WAIT_MS));
	at_b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(at_b >= 0);
	close(listener);
	check_stream(at_a, at_b);
	check_stream(at_b, at_a);
	abort_connection(at_a);
	abort_connection(at_b);
}

static void check_sockets(void **state, const char *offloads)
{
	struct scene s;

	SCENE(&s, state);
	set_offloads(s.hosts, offloads);
	host_enter(s.hosts->a);
	for (unsigned int i = 0; i < 2 * CHANGES_ALL; i++) {
		scene_flow(&s, &families[i & 1], IPPROTO_UDP, i / 2);
		check_datagrams(&s, true);
		check_datagrams(&s, false);
		if (strcmp(offloads, "on") == 0)
			check_super_packet(&s);
		scene_no_flow(&s);
		scene_flow(&s, &families[i & 1], IPPROTO_TCP, i / 2);
		check_connection(&s);
		scene_no_flow(&s);
	}
	scene_close(&s);
}

static void test_sockets_with_offloads(void **state)
{
	check_sockets(state, "on");
}

static void test_sockets_without(void **state)
{
	check_sockets(state, "off");
}

/* --- what is not rewritten ------------------------------------------------ */

struct got {
	unsigned int packets;
	struct endpoint src, dst;
};

static void take(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	struct got *g = ctx;
	bool v4 = p->data[0] >> 4 == 4;
	size_t len = v4 ? 4 : 16, at = v4 ? 12 : 8;

	g->packets++;
	memset(&g->src, 0, sizeof(g->src));
	memset(&g->dst, 0, sizeof(g->dst));
	g->src.addr.family = g->dst.addr.family = v4 ? 4 : 6;
	memcpy(g->src.addr.byte, p->data + at, len);
	memcpy(g->dst.addr.byte, p->data + at + len, len);
	at += 2 * len;
	g->src.port = (uint16_t)(p->data[at] << 8 | p->data[at + 1]);
	g->dst.port = (uint16_t)(p->data[at + 2] << 8 | p->data[at + 3]);
	assert_int_equal(pktq_drop(q, p->id), 0);
}

static struct pktq *queue_open(uint16_t number, struct got *g)
{
	const struct pktq_config c = { .number = number,
				       .packet_cb = take,
				       .ctx = g };
	struct pktq *q;

	memset(g, 0, sizeof(*g));
	assert_int_equal(pktq_open(&c, &q), 0);
	return q;
}

static void expect_queued(struct pktq *q, const struct got *g,
			  const struct endpoint *src,
			  const struct endpoint *dst)
{
	unsigned int before = g->packets;

	assert_true(host_readable(pktq_fd(q), HOST_WAIT_MS));
	assert_int_equal(pktq_read(q), 1);
	assert_int_equal(g->packets, before + 1);
	assert_true(endpoint_equal(&g->src, src));
	assert_true(endpoint_equal(&g->dst, dst));
}

/* Somebody opens a connection on the wire tuple, or resets it: the daemon is
 * asked. */
static void test_strangers_are_not_translated(void **state)
{
	static const uint8_t flags[] = { 0x02, 0x12, 0x10, 0x04, 0xc2 };
	struct scene s;
	struct got got;
	struct pktq *q;

	SCENE(&s, state);
	q = queue_open(QUEUE_IN, &got);
	for (unsigned int i = 0; i < 2 * CHANGES_ALL; i++) {
		int raw;

		scene_flow(&s, &families[i & 1], IPPROTO_TCP, i / 2);
		raw = raw_open(&s.identity);
		for (size_t k = 0; k < sizeof(flags); k++) {
			struct packet_spec from = spec_of(&s.wire, false, k);
			struct packet_spec to = spec_of(&s.identity, false, k);
			uint8_t sent[2048], want[2048];
			uint32_t len;

			from.flags = to.flags = flags[k];
			len = build(&from, sent);
			(void)build(&to, want);
			host_enter(s.hosts->b);
			inject(sent, len, &from);
			host_enter(s.hosts->a);
			if ((flags[k] & 0x12) == 0x02 || flags[k] & 0x04)
				expect_queued(q, &got, &s.wire.remote,
					      &s.wire.local);
			else
				expect_delivered(raw, &to, want, len);
		}
		close(raw);
		scene_no_flow(&s);
	}
	assert_int_equal(pktq_read(q), 0);
	pktq_close(q);
	scene_close(&s);
}

/* The source went after the packet was rewritten: the daemon holds it. */
static void test_a_source_that_is_gone_is_queued(void **state)
{
	struct steer_counters c;
	struct scene s;
	struct got got;
	struct pktq *q;
	unsigned int n = 0;

	SCENE(&s, state);
	q = queue_open(QUEUE_OUT, &got);
	for (unsigned int i = 0; i < 2 * 2 * PORTED_ALL; i++) {
		const struct family *f = &families[i & 1];
		struct packet_spec spec;
		uint8_t sent[2048];
		uint32_t len;

		scene_flow(&s, f, protos[i / 2 & 1], i / 4);
		check_out(&s, as_it_is, 77);
		host_run("ip addr del %s/%d dev va", f->wire[0],
			 f->number == 4 ? 24 : 64);
		spec = spec_of(&s.identity, true, 5);
		len = build(&spec, sent);
		inject(sent, len, &spec);
		expect_queued(q, &got, &s.wire.local, &s.wire.remote);
		addr_add(f, 0, "va");
		assert_int_equal(steer_counters(s.steer, &c), 0);
		assert_int_equal(c.tripwire_out, ++n);
		assert_int_equal(c.reserved, 0);
		/* The one in between did not leave: the next one is there. */
		check_out(&s, as_it_is, 78);
		scene_no_flow(&s);
	}
	pktq_close(q);
	scene_close(&s);
}

/* --- once ----------------------------------------------------------------- */

/* A second flow starts where the first one leads to, or swaps the two. */
static void check_once(struct scene *s, const struct family *f, uint8_t proto,
		       unsigned int ported, unsigned int other, bool swap)
{
	struct tuple second, to;
	int raw;

	scene_flow(s, f, proto, ported);
	second = s->wire;
	to = swap ? s->identity : s->wire;
	if (!swap) {
		to.local.addr = s->identity.local.addr;
		to.local.port = (uint16_t)(to.local.port + 1);
		to.remote.port = (uint16_t)(to.remote.port + (other & 1));
	}
	map_both(s->steer, &second, &to, true);
	raw = raw_open(&s->identity);
	for (uint64_t seed = 1; seed < 4; seed++) {
		check_out(s, as_it_is, seed);
		check_in(s, raw, as_it_is, seed);
	}
	close(raw);
	map_both(s->steer, &second, &to, false);
	scene_no_flow(s);
}

static void test_nothing_is_translated_twice(void **state)
{
	struct scene s;

	SCENE(&s, state);
	for (unsigned int i = 0; i < 2 * 2 * PORTED_ALL * 2; i++) {
		const struct family *f = &families[i & 1];
		uint8_t proto = protos[i / 2 & 1];

		check_once(&s, f, proto, i / 4 & 3, i / 16, false);
		check_once(&s, f, proto, i / 4 & 3, i / 16, true);
	}
	scene_close(&s);
}

/* --- marks ---------------------------------------------------------------- */

static unsigned long marked(void)
{
	char line[64] = "";
	FILE *f = popen("nft list counter inet probe marked | sed -n "
			"'s/.*packets \\([0-9]*\\) .*/\\1/p'", "r");

	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	pclose(f);
	return strtoul(line, NULL, 10);
}

static void test_other_bits_of_the_mark_stay(void **state)
{
	struct scene s;
	unsigned long n = 0;

	SCENE(&s, state);
	host_run("nft 'table inet probe { counter marked { }; "
		 "chain early { type filter hook prerouting priority -350; "
		 "  meta mark set 0x80000501; }; "
		 "chain late { type filter hook input priority 0; "
		 "  meta mark 0x90000501 counter name marked; }; }'");
	for (unsigned int i = 0; i < 2 * 2 * PORTED_ALL; i++) {
		int raw;

		scene_flow(&s, &families[i & 1], protos[i / 2 & 1], i / 4);
		raw = raw_open(&s.identity);
		check_in(&s, raw, as_it_is, i + 1);
		assert_int_equal(marked(), ++n);
		close(raw);
		scene_no_flow(&s);
	}
	host_run("nft delete table inet probe");
	scene_close(&s);
}

/*
 * Rules as clouds, load balancers and VPNs have them: the mark of a connection
 * becomes that of its packets. `late` counts what has our bit at last.
 */
static void probe_wipes(const char *chain)
{
	host_run("nft 'table inet probe { counter marked { }; %s; "
		 "chain late { type filter hook input priority 0; "
		 "  meta mark & 0x90000005 == 0x90000005 "
		 "    counter name marked; }; }'", chain);
}

static void test_our_bit_outlives_a_restored_mark(void **state)
{
	static const char *const wipes[] = {
		"chain wipe { type filter hook prerouting priority mangle; "
		"meta mark set ct mark; meta mark set 0x80000005; }",
		"chain wipe { type filter hook prerouting priority 2147483647; "
		"meta mark set 0x80000005; }",
	};
	struct scene s;

	SCENE(&s, state);
	for (unsigned int i = 0; i < 2 * 2 * PORTED_ALL * 2; i++) {
		int raw;

		scene_flow(&s, &families[i & 1], protos[i / 2 & 1], i / 4 & 3);
		probe_wipes(wipes[i / 16]);
		raw = raw_open(&s.identity);
		check_in(&s, raw, as_it_is, i + 1);
		assert_int_equal(marked(), 1);
		close(raw);
		host_run("nft delete table inet probe");
		scene_no_flow(&s);
	}
	scene_close(&s);
}

/* It is not on what does not move. */
static void test_nobody_else_gets_our_bit(void **state)
{
	struct scene s;

	SCENE(&s, state);
	probe_wipes("chain wipe { type filter hook prerouting priority -350; "
		    "meta mark set 0x80000005; }");
	for (unsigned int i = 0; i < 2 * 2; i++) {
		struct tuple other;
		int raw;

		scene_flow(&s, &families[i & 1], protos[i / 2], 0);
		other = s.identity;
		other.local.port++;
		raw = raw_open(&other);
		check_plain(&s, raw, &other, i);
		assert_int_equal(marked(), 0);
		close(raw);
		scene_no_flow(&s);
	}
	host_run("nft delete table inet probe");
	scene_close(&s);
}

/* Where our bit was saved with the connection's mark, it comes back on what is
 * sent: the way there must not depend on it. */
static void test_our_bit_is_not_sent_by(void **state)
{
	struct scene s;

	SCENE(&s, state);
	host_run("nft 'table inet probe { counter marked { }; "
		 "chain restore { type route hook output priority 0; "
		 "  meta mark set 0x90000005; }; "
		 "chain late { type filter hook postrouting priority 0; "
		 "  meta mark 0x80000005 counter name marked; }; }'");
	for (unsigned int i = 0; i < 2 * 2 * PORTED_ALL; i++) {
		scene_flow(&s, &families[i & 1], protos[i / 2 & 1], i / 4);
		check_out(&s, as_it_is, i + 1);
		assert_int_equal(marked(), i + 1);
		scene_no_flow(&s);
	}
	host_run("nft delete table inet probe");
	scene_close(&s);
}

/* What the daemon itself sends to a flow's socket comes over lo by our mark
 * alone where the address is gone, whatever others make of it on the way. */
static void test_what_is_injected_keeps_our_bit(void **state)
{
	struct scene s;

	SCENE(&s, state);
	for (unsigned int i = 0; i < 2 * 2; i++) {
		struct packet_spec spec;
		uint8_t sent[2048];
		uint32_t len;
		int raw;

		scene_flow(&s, &families[i & 1], protos[i / 2], 0);
		probe_wipes("chain out { type route hook output priority 0; "
			    "meta mark set 0; }; "
			    "chain wipe { type filter hook prerouting "
			    "priority 0; meta mark set 0x80000005; }");
		raw = raw_open(&s.identity);
		spec = spec_of(&s.identity, false, i + 1);
		len = build(&spec, sent);
		inject(sent, len, &spec);
		expect_delivered(raw, &spec, sent, len);
		assert_int_equal(marked(), 1);
		close(raw);
		host_run("nft delete table inet probe");
		scene_no_flow(&s);
	}
	scene_close(&s);
}

/* --- counts --------------------------------------------------------------- */

struct counts {
	const struct scene *scene;
	uint64_t packets[2], bytes[2]; /* by enum steer_map */
	unsigned int elements;
};

static void on_rewritten(const struct steer_rewritten *r, void *arg)
{
	struct counts *c = arg;

	c->elements++;
	assert_true(tuple_equal(&r->tuple, r->map == STEER_SEND ?
						   &c->scene->identity :
						   &c->scene->wire));
	c->packets[r->map] += r->packets;
	c->bytes[r->map] += r->bytes;
}

static void test_elements_count(void **state)
{
	struct scene s;

	SCENE(&s, state);
	for (unsigned int i = 0; i < 2 * 2 * CHANGES_ALL; i++) {
		struct counts c = { .scene = &s };
		uint64_t bytes = 0;
		int raw, err;

		scene_flow(&s, &families[i & 1], protos[i / 2 & 1], i / 4);
		raw = raw_open(&s.identity);
		for (uint64_t seed = 1; seed <= 5; seed++) {
			struct packet_spec spec = spec_of(&s.wire, true, seed);

			check_out(&s, as_it_is, seed);
			check_in(&s, raw, as_it_is, seed);
			bytes += packet_len(&spec);
		}
		close(raw);
		err = steer_rewritten(s.steer, on_rewritten, &c);
		if (err == -EOPNOTSUPP) {
			printf("# this kernel's elements do not count\n");
		} else {
			assert_int_equal(err, 0);
			assert_int_equal(c.elements, 2);
			/* The stack answers what it does not know. */
			assert_true(c.packets[STEER_SEND] >= 5);
			assert_true(c.bytes[STEER_SEND] >= bytes);
			assert_true(c.packets[STEER_RECV] >= 5);
			assert_true(c.bytes[STEER_RECV] >= bytes);
			if (s.identity.proto == IPPROTO_UDP) {
				assert_int_equal(c.packets[STEER_SEND], 5);
				assert_int_equal(c.bytes[STEER_SEND], bytes);
				assert_int_equal(c.packets[STEER_RECV], 5);
				assert_int_equal(c.bytes[STEER_RECV], bytes);
			}
		}
		scene_no_flow(&s);
	}
	scene_close(&s);
}

/* --- under a stream ------------------------------------------------------- */

struct stream {
	unsigned long sent, seen;
};

static pid_t stream_start(int fd, volatile struct stream *n)
{
	pid_t pid = fork();
	cpu_set_t other;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	CPU_ZERO(&other);
	CPU_SET(1, &other);
	(void)sched_setaffinity(0, sizeof(other), &other);
	for (;;) {
		if (n->sent - n->seen >= AHEAD)
			sched_yield();
		else if (send(fd, "x", 1, 0) == 1)
			n->sent++;
	}
}

static unsigned int read_all(int fd)
{
	unsigned int n = 0;
	char byte;

	while (recv(fd, &byte, 1, MSG_DONTWAIT) == 1)
		n++;
	return n;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Each packet is rewritten or queued, whatever changes while it is in the
 * chain; `leak` hears what bears the wrong tuple. */
static void check_changes(struct scene *s, enum steer_map map, int from,
			  int to, int leak)
{
	volatile struct stream *n = mmap(NULL, sizeof(*n),
					 PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool send = map == STEER_SEND;
	const struct tuple *key = send ? &s->identity : &s->wire;
	const struct tuple *data = send ? &s->wire : &s->identity;
	unsigned int changes = 0, direct = 0;
	struct got got;
	struct pktq *q = queue_open(send ? QUEUE_OUT : QUEUE_IN, &got);
	double end = seconds() + 0.7;
	pid_t pid;

	assert_ptr_not_equal((void *)n, MAP_FAILED);
	pid = stream_start(from, n);
	while (seconds() < end) {
		steer_begin(s->steer);
		if (changes++ & 1)
			steer_map_add(s->steer, map, key, data);
		else
			steer_map_del(s->steer, map, key, data);
		assert_int_equal(steer_commit(s->steer), 0);
		for (int i = 0; i < 20; i++) {
			(void)pktq_read(q);
			direct += read_all(to);
			n->seen = got.packets + direct;
		}
	}
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	while (direct + got.packets < n->sent &&
	       (host_readable(to, 200) || host_readable(pktq_fd(q), 0))) {
		(void)pktq_read(q);
		direct += read_all(to);
	}
	/* It may have been stopped behind a send() that it did not count. */
	assert_in_range(direct + got.packets, n->sent, n->sent + 1);
	assert_true(direct > 0 && got.packets > 0);
	assert_int_equal(read_all(leak), 0);
	printf("# %u changes under %lu packets: %u rewritten, %u queued\n",
	       changes, n->sent, direct, got.packets);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	steer_begin(s->steer);
	if (changes & 1)
		steer_map_add(s->steer, map, key, data);
	assert_int_equal(steer_commit(s->steer), 0);
	pktq_close(q);
	munmap((void *)n, sizeof(*n));
}

static void test_nothing_is_lost_or_leaks_between(void **state)
{
	cpu_set_t one;
	struct scene s;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
	SCENE(&s, state);
	for (unsigned int i = 0; i < 2 * 4; i++) {
		static const unsigned int changes[] = { 0, 3, OUR_ADDR,
							THEIR_ADDR };
		int at_a, at_b, plain_a, plain_b;

		scene_flow(&s, &families[i & 1], IPPROTO_UDP, changes[i / 2]);
		udp_open(&s, &at_a, &at_b);
		set_int(at_a, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
		set_int(at_b, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
		/* Who would hear what is not translated. */
		plain_a = socket_at(&s.wire.local, NULL, SOCK_DGRAM);
		host_enter(s.hosts->b);
		plain_b = socket_at(&s.identity.remote, NULL, SOCK_DGRAM);
		host_enter(s.hosts->a);
		check_changes(&s, STEER_SEND, at_a, at_b, plain_b);
		check_changes(&s, STEER_RECV, at_b, at_a, plain_a);
		close(at_a);
		close(at_b);
		close(plain_a);
		close(plain_b);
		scene_no_flow(&s);
	}
	scene_close(&s);
}

/* Each in namespaces of its own: a failure does not spoil the next one. */
#define TEST(f) cmocka_unit_test_setup_teardown(f, hosts_open, hosts_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_complete_checksums),
		TEST(test_no_checksum_stays_none),
		TEST(test_options_and_extension_headers),
		TEST(test_a_sum_of_zero_is_no_missing_one),
		TEST(test_sockets_with_offloads),
		TEST(test_sockets_without),
		TEST(test_strangers_are_not_translated),
		TEST(test_a_source_that_is_gone_is_queued),
		TEST(test_nothing_is_translated_twice),
		TEST(test_other_bits_of_the_mark_stay),
		TEST(test_our_bit_outlives_a_restored_mark),
		TEST(test_nobody_else_gets_our_bit),
		TEST(test_our_bit_is_not_sent_by),
		TEST(test_what_is_injected_keeps_our_bit),
		TEST(test_elements_count),
		TEST(test_nothing_is_lost_or_leaks_between),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("maps", tests, NULL, NULL);
}
