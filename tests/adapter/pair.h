/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pair: two hosts that translate one flow through their packet queues.
 *
 *     a  identity 10.9.0.1:5400  wire 10.9.1.1:6400   (fd09::1, fd09:1::1)
 *     b  identity 10.9.0.2:5300  wire 10.9.1.2:6300   (fd09::2, fd09:1::2)
 *
 * Each host queues what leaves with the identity tuple (queue 11, mangle
 * OUTPUT) and what arrives with the wire tuple or as an ICMP error (queue
 * 10, raw PREROUTING), and drops what arrives untranslated.
 */
#ifndef SACIPED_TESTS_PAIR_H
#define SACIPED_TESTS_PAIR_H

#include "host.h"

#include <linux/netfilter.h>
#include <sys/socket.h>

#include "hold.h"
#include "pkt.h"
#include "pktq.h"
#include "rewrite.h"

#define QUEUE_IN 10
#define QUEUE_OUT 11
#define DATAGRAM_MAX 65536

struct family {
	const char *iptables;
	int number; /* 4 or 6 */
	const char *identity[2], *wire[2]; /* of a, of b */
	const char *icmp_error; /* match */
};

static const struct family family4 = {
	"iptables-nft", 4, { HOST_A4, HOST_B4 }, { "10.9.1.1", "10.9.1.2" },
	"-p icmp --icmp-type destination-unreachable",
};
static const struct family family6 = {
	"ip6tables-nft", 6, { HOST_A6, HOST_B6 }, { "fd09:1::1", "fd09:1::2" },
	"-p icmpv6 --icmpv6-type destination-unreachable",
};

/* One host with its two queues. */
struct side {
	struct tuple identity, wire; /* local is this host's end */
	struct pktq *in, *out;
	bool holding; /* outbound */
	struct hold hold;
	struct hold_flow held;
	unsigned int rewritten[2][3]; /* in and out, by csum state */
	unsigned int super, quotes, stray;
};

struct pair {
	const struct hosts *h; /* NULL: not open */
	struct side a, b;
};

static inline int side_rewrite(struct side *s, bool out, uint8_t *data,
			       uint32_t len, enum csum_state csum)
{
	struct rewrite_target to = out ? rewrite_target_out(&s->wire) :
					 rewrite_target_in(&s->identity);
	enum pkt_result result;
	int err = -EINVAL;
	struct tuple t;
	struct pkt p;

	result = pkt_parse(data, len, &p);
	if (result == PKT_ICMP_ERROR) {
		t = pkt_tuple_quoted(&p);
		to = rewrite_target_out(&s->identity);
		if (tuple_equal(&t, &s->wire))
			err = rewrite_icmp_quote(&p, data, &to, csum);
		s->quotes += err == 0;
	} else if (result == PKT_OK) {
		t = out ? pkt_tuple_out(&p) : pkt_tuple_in(&p);
		if (tuple_equal(&t, out ? &s->identity : &s->wire))
			err = rewrite_packet(&p, data, &to, csum);
		s->rewritten[out][csum] += err == 0 && p.payload_len > 0;
	}
	s->stray += err != 0;
	return err;
}

static inline void side_take(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	bool out = p->hook == NF_INET_LOCAL_OUT;
	struct side *s = ctx;
	struct hold_packet meta = {
		.id = p->id,
		.queue = pktq_number(q),
		.csum = p->csum,
		.len = p->len,
	};

	s->super += p->gso;
	if (out && s->holding)
		assert_int_equal(hold_push(&s->hold, &s->held, NULL, &meta,
					   p->data), 0);
	else if (side_rewrite(s, out, p->data, p->len, p->csum))
		pktq_drop(q, p->id);
	else
		pktq_accept_payload(q, p->id, p->data, p->len, NULL);
}

static inline struct pktq *queue_open(uint16_t number, uint32_t maxlen,
				      pktq_packet_cb *cb, void *ctx)
{
	const struct pktq_config config = {
		.number = number,
		.maxlen = maxlen,
		.packet_cb = cb,
		.ctx = ctx,
	};
	struct pktq *q;

	assert_int_equal(pktq_open(&config, &q), 0);
	return q;
}

static inline struct tuple tuple_of(const char *local, uint16_t local_port,
				    const char *remote, uint16_t remote_port,
				    uint8_t proto)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.local = host_endpoint(local, local_port);
	t.remote = host_endpoint(remote, remote_port);
	t.proto = proto;
	return t;
}

/* Queues and rules of one host; `me` is 0 for a, 1 for b. */
static inline void side_open(struct side *s, const struct family *f, int me,
			     uint8_t proto)
{
	const char *p = proto == IPPROTO_TCP ? "tcp" : "udp";
	uint16_t port = me ? 300 : 400, other = me ? 400 : 300;

	memset(s, 0, sizeof(*s));
	hold_init(&s->hold, NULL);
	hold_flow_init(&s->held, NULL);
	s->identity = tuple_of(f->identity[me], (uint16_t)(5000 + port),
			       f->identity[!me], (uint16_t)(5000 + other),
			       proto);
	s->wire = tuple_of(f->wire[me], (uint16_t)(6000 + port), f->wire[!me],
			   (uint16_t)(6000 + other), proto);
	s->in = queue_open(QUEUE_IN, 0, side_take, s);
	s->out = queue_open(QUEUE_OUT, 0, side_take, s);
	host_run("ip addr replace %s/%d dev %s %s", f->wire[me],
		 f->number == 4 ? 24 : 64, me ? "vb" : "va",
		 f->number == 4 ? "" : "nodad");
	host_settle(f->wire[me]);
	host_run("nft flush ruleset");
	host_run("%s -t mangle -A OUTPUT -p %s -s %s -d %s --sport %u "
		 "--dport %u -j NFQUEUE --queue-num %d", f->iptables, p,
		 f->identity[me], f->identity[!me], 5000 + port, 5000 + other,
		 QUEUE_OUT);
	host_run("%s -t raw -A PREROUTING -p %s -s %s -d %s --sport %u "
		 "--dport %u -j NFQUEUE --queue-num %d", f->iptables, p,
		 f->wire[!me], f->wire[me], 6000 + other, 6000 + port,
		 QUEUE_IN);
	host_run("%s -t raw -A PREROUTING %s -d %s -j NFQUEUE --queue-num %d",
		 f->iptables, f->icmp_error, f->wire[me], QUEUE_IN);
	host_run("%s -t raw -A PREROUTING -p %s -s %s -d %s -j DROP",
		 f->iptables, p, f->identity[!me], f->identity[me]);
}

static inline void side_close(struct side *s)
{
	struct hold_packet *p;

	while ((p = hold_pop(&s->hold, &s->held)))
		free(p);
	pktq_close(s->in);
	pktq_close(s->out);
}

static inline void pair_close(struct pair *p)
{
	if (!p->h)
		return;
	side_close(&p->a);
	side_close(&p->b);
	p->h = NULL;
}

/* False where the NFQUEUE target cannot be had; in host a. `p` is static:
 * what a failed test left behind is closed first. */
static inline bool pair_open(struct pair *p, const struct hosts *h,
			     const struct family *f, uint8_t proto)
{
	pair_close(p);
	if (host_try("%s -t raw -A PREROUTING -j NFQUEUE --queue-num 1 "
		     "2>/dev/null", f->iptables))
		return false;
	p->h = h;
	host_enter(h->b);
	side_open(&p->b, f, 1, proto);
	host_enter(h->a);
	side_open(&p->a, f, 0, proto);
	return true;
}

#define PAIR_OPEN(p, h, f, proto)                                       \
	do {                                                            \
		if (!pair_open(p, h, f, proto))                         \
			SKIP_BECAUSE("no %s with an NFQUEUE target",    \
				     (f)->iptables);                    \
	} while (0)

/* Serves the four queues until `fd` has `events`; false after `ms` without
 * any packet. With -1 for `fd`: until nothing has come for `ms`. */
static inline bool pair_pump(struct pair *p, int fd, short events, int ms)
{
	struct pktq *const q[4] = { p->a.in, p->a.out, p->b.in, p->b.out };
	struct pollfd poll_fd[5] = { { .fd = fd, .events = events } };

	for (int i = 0; i < 4; i++)
		poll_fd[i + 1] = (struct pollfd){ .fd = pktq_fd(q[i]),
						  .events = POLLIN };
	while (poll(poll_fd, 5, ms) > 0) {
		for (int i = 0; i < 4; i++) {
			if (poll_fd[i + 1].revents)
				assert_true(pktq_read(q[i]) >= 0);
		}
		if (poll_fd[0].revents)
			return true;
	}
	return false;
}

static inline void set_int(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)),
			 0);
}

/* A socket at the identity end of a or b, non-blocking. */
static inline int side_socket(const struct side *s, int type)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&s->identity.local, &ss);
	int fd = socket(ss.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

static inline void side_connect(const struct side *s, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&s->identity.remote, &ss);
	int err = connect(fd, (struct sockaddr *)&ss, len);

	assert_true(err == 0 || errno == EINPROGRESS);
}

/* A TCP connection whose every packet is rewritten twice; in host a. */
static inline void connect_tcp(struct pair *p, int *at_a, int *at_b)
{
	int listener;

	host_enter(p->h->b);
	listener = side_socket(&p->b, SOCK_STREAM);
	assert_int_equal(listen(listener, 1), 0);
	host_enter(p->h->a);
	*at_a = side_socket(&p->a, SOCK_STREAM);
	side_connect(&p->a, *at_a);
	assert_true(pair_pump(p, listener, POLLIN, HOST_WAIT_MS));
	*at_b = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(*at_b >= 0);
	close(listener);
}

static inline void connect_udp(struct pair *p, int *at_a, int *at_b)
{
	host_enter(p->h->b);
	*at_b = side_socket(&p->b, SOCK_DGRAM);
	side_connect(&p->b, *at_b);
	host_enter(p->h->a);
	*at_a = side_socket(&p->a, SOCK_DGRAM);
	side_connect(&p->a, *at_a);
}

/* Every byte is known by its place, so one comparison is worth a hash. */
static inline void fill(uint8_t *to, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)((at + i) * 2654435761u >> 13);
}

static inline void send_datagram(int fd, size_t at, size_t len)
{
	static uint8_t data[DATAGRAM_MAX];

	fill(data, at, len);
	assert_int_equal(send(fd, data, len, 0), len);
}

static inline void expect_datagram(struct pair *p, int fd, size_t at,
				   size_t len)
{
	static uint8_t data[DATAGRAM_MAX], want[DATAGRAM_MAX];

	if (!pair_pump(p, fd, POLLIN, HOST_WAIT_MS))
		fail_msg("the datagram at %zu did not come", at);
	assert_int_equal(read(fd, data, sizeof(data)), len);
	fill(want, at, len);
	assert_memory_equal(data, want, len);
}

#endif
