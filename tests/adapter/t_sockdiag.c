/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of sockdiag: what is seen of real sockets, and their end. */
#include "sockdiag.h"

#include "host.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

struct seen {
	struct tuple want;
	struct sockdiag_entry entry;
	unsigned times, all;
};

static int find(const struct sockdiag_entry *e, void *arg)
{
	struct seen *s = arg;

	s->all++;
	if (tuple_equal(&e->tuple, &s->want)) {
		s->entry = *e;
		s->times++;
	}
	return 0;
}

static void note_end(const struct sockdiag_entry *e, void *arg)
{
	(void)find(e, arg);
}

static struct sockdiag *open_diag(struct seen *ended)
{
	struct sockdiag *sd;

	memset(ended, 0, sizeof(*ended));
	assert_int_equal(sockdiag_open(&sd, note_end, ended), 0);
	return sd;
}

static struct sockdiag_entry dump_for(struct sockdiag *sd, unsigned what,
				      const struct tuple *t)
{
	struct seen s = { .want = *t };

	assert_int_equal(sockdiag_dump(sd, what, find, &s), 0);
	assert_int_equal(s.times, 1);
	return s.entry;
}

static void wait_end(struct sockdiag *sd, const struct seen *ended)
{
	while (ended->times == 0) {
		assert_true(host_readable(sockdiag_fd(sd), HOST_WAIT_MS));
		assert_int_equal(sockdiag_receive(sd), 0);
	}
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len),
			 0);
	return cookie;
}

/* What the socket asked for is told by the kernel since Linux 5.8. */
static void check_recverr(struct sockdiag *sd, int fd, const struct tuple *t)
{
	const int one = 1;
	struct sockdiag_entry e;

	assert_int_equal(setsockopt(fd, SOL_IP, IP_RECVERR, &one,
				    sizeof(one)), 0);
	assert_int_equal(sockdiag_lookup(sd, t, 0, &e), 0);
	assert_true(e.recverr);
}

static void check_tcp(const struct hosts *h, const char *a, const char *b)
{
	const int mark = 0x77;
	struct sockdiag_entry e;
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);
	struct tuple t;
	int fd, peer;
	char byte;

	host_pair(h, a, b, &fd, &peer);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark,
				    sizeof(mark)), 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(peer, &byte, 1), 1);
	t = host_tuple(fd, IPPROTO_TCP);
	e = dump_for(sd, SOCKDIAG_TCP | SOCKDIAG_UDP | SOCKDIAG_INFO, &t);
	assert_int_equal(e.state, SOCKDIAG_OPEN);
	assert_int_equal(e.cookie, cookie_of(fd));
	assert_int_equal(e.mark, mark);
	assert_int_equal(e.uid, 0);
	assert_int_equal(e.ifindex, 0);
	assert_true(e.inode != 0);
	assert_false(e.mptcp);
	assert_false(e.md5);
	assert_false(e.recverr);
	assert_true(e.info.rtt_us > 0);
	assert_true(e.info.snd_wnd > 0);
	assert_true(e.info.snd_mss > 0);
	assert_int_equal(e.info.reordering, 3);
	assert_true(e.info.sack);
	assert_false(e.info.retransmits); /* all was acknowledged */
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), 0);
	assert_int_equal(e.cookie, cookie_of(fd));
	check_recverr(sd, fd, &t);
	t.remote.port ^= 1;
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), -ENOENT);
	close(fd);
	close(peer);
	sockdiag_close(sd);
}

static void tcp_is_seen_whole(void **state)
{
	const struct hosts *h = HOSTS(state);

	check_tcp(h, HOST_A4, HOST_B4);
	check_tcp(h, HOST_A6, HOST_B6);
}

static unsigned count_at(struct sockdiag *sd, unsigned what, const char *at,
			 bool remote, const struct tuple *want)
{
	struct seen s = { .want = *want };
	struct endpoint e = host_endpoint(at, 0);

	assert_int_equal(sockdiag_dump_at(sd, what, &e.addr, remote, find, &s),
			 0);
	return s.times;
}

/* An IPv6 listener that takes IPv4: its connection is an IPv4 flow. */
static void mapped_sockets_are_ipv4_flows(void **state)
{
	const struct hosts *h = HOSTS(state);
	const int off = 0;
	struct sockdiag_entry e;
	struct seen ended;
	struct sockdiag *sd;
	int listener, fd, peer, udp;
	struct endpoint to;
	struct tuple t;

	listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off,
				    sizeof(off)), 0);
	assert_int_equal(listen(listener, 1), 0);
	to = host_endpoint(HOST_A4, host_name(listener, false).port);
	sd = open_diag(&ended);
	host_enter(h->b);
	peer = host_bind(HOST_B4, 0, SOCK_STREAM);
	host_connect(peer, &to);
	host_enter(h->a);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	t = tuple_reverse(&(struct tuple){ host_name(peer, false), to,
					   IPPROTO_TCP });
	assert_int_equal(t.local.addr.family, 4);
	e = dump_for(sd, SOCKDIAG_TCP, &t);
	assert_int_equal(e.cookie, cookie_of(fd));
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), 0);
	assert_int_equal(e.cookie, cookie_of(fd));
	assert_int_equal(count_at(sd, SOCKDIAG_TCP, HOST_A4, false, &t), 1);

	/* UDP likewise, connected. */
	udp = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	{
		struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6,
					     .sin6_port = htons(7) };
		struct endpoint b = host_endpoint(HOST_B4, 7);

		addr_to_mapped(&b.addr, sin6.sin6_addr.s6_addr);
		assert_int_equal(connect(udp, (struct sockaddr *)&sin6,
					 sizeof(sin6)), 0);
	}
	t = host_tuple(udp, IPPROTO_UDP);
	assert_int_equal(t.local.addr.family, 4);
	e = dump_for(sd, SOCKDIAG_UDP, &t);
	assert_int_equal(e.cookie, cookie_of(udp));
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), 0);

	/* Its end is told under the same tuple. */
	t = host_tuple(fd, IPPROTO_TCP);
	ended.want = t;
	e = dump_for(sd, SOCKDIAG_TCP, &t);
	assert_int_equal(sockdiag_destroy(sd, &t, 0, e.cookie), 0);
	close(fd);
	wait_end(sd, &ended);
	assert_int_equal(ended.entry.cookie, e.cookie);
	close(udp);
	close(peer);
	close(listener);
	sockdiag_close(sd);
}

static void check_udp(const char *a, const char *b)
{
	struct sockdiag_entry e;
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);
	struct endpoint to = host_endpoint(b, 9);
	struct tuple t;
	int other, fd = host_bind(a, 0, SOCK_DGRAM);

	memset(&t, 0, sizeof(t));
	t.local = host_name(fd, false);
	t.proto = IPPROTO_UDP;
	e = dump_for(sd, SOCKDIAG_UDP, &t);
	assert_int_equal(e.state, SOCKDIAG_UNCONNECTED);
	/* It would take the datagrams, but it is not the flow's socket. */
	t.remote = to;
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), -ENOENT);

	host_connect(fd, &to);
	e = dump_for(sd, SOCKDIAG_UDP, &t);
	assert_int_equal(e.state, SOCKDIAG_OPEN);
	assert_int_equal(e.cookie, cookie_of(fd));
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), 0);
	assert_int_equal(e.cookie, cookie_of(fd));

	ended.want = t;
	assert_int_equal(sockdiag_listen(sd, false), 0);
	other = host_bind(a, 0, SOCK_DGRAM);
	host_connect(other, &to);
	close(other);
	assert_false(host_readable(sockdiag_fd(sd), 20));
	assert_int_equal(sockdiag_listen(sd, true), 0);
	close(fd);
	wait_end(sd, &ended);
	assert_int_equal(ended.entry.tuple.proto, IPPROTO_UDP);
	assert_int_equal(ended.entry.cookie, e.cookie);
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), -ENOENT);
	sockdiag_close(sd);
}

static void udp_is_seen_whole(void **state)
{
	(void)HOSTS(state);
	check_udp(HOST_A4, HOST_B4);
	check_udp(HOST_A6, HOST_B6);
}

/* The destroy event comes while FIN_WAIT2 or TIME_WAIT goes on. */
static void time_wait_outlives_the_event(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct sockdiag_entry e;
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);
	int fd, peer;
	char byte;

	host_pair(h, HOST_A4, HOST_B4, &fd, &peer);
	ended.want = host_tuple(fd, IPPROTO_TCP);
	close(fd);
	assert_int_equal(read(peer, &byte, 1), 0);
	wait_end(sd, &ended);
	assert_int_equal(sockdiag_lookup(sd, &ended.want, 0, &e), 0);
	assert_int_equal(e.state, SOCKDIAG_CLOSING); /* FIN_WAIT2 */
	close(peer);
	/* Nobody tells when the peer's FIN is here. */
	for (int ms = 0; ms < HOST_WAIT_MS && e.state != SOCKDIAG_TIME_WAIT;
	     ms++) {
		poll(NULL, 0, 1);
		assert_int_equal(sockdiag_lookup(sd, &ended.want, 0, &e), 0);
	}
	assert_int_equal(e.state, SOCKDIAG_TIME_WAIT);
	e = dump_for(sd, SOCKDIAG_TCP, &ended.want);
	assert_int_equal(e.state, SOCKDIAG_TIME_WAIT);
	assert_int_equal(sockdiag_port_taken(IPPROTO_TCP,
					     &ended.want.local.addr,
					     ended.want.local.port), 1);
	sockdiag_close(sd);
}

/* After shutdown() the other direction goes on for as long as a process holds
 * the socket; after close() nothing does. */
static void check_half_closed(const struct hosts *h, const char *a,
			      const char *b)
{
	struct sockdiag_entry e;
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);
	int fd, peer;
	char byte;

	host_pair(h, a, b, &fd, &peer);
	ended.want = host_tuple(fd, IPPROTO_TCP);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(read(peer, &byte, 1), 0);
	e = dump_for(sd, SOCKDIAG_TCP, &ended.want);
	assert_int_equal(e.state, SOCKDIAG_OPEN);
	close(fd);
	wait_end(sd, &ended);
	e = dump_for(sd, SOCKDIAG_TCP, &ended.want);
	assert_int_equal(e.state, SOCKDIAG_CLOSING);
	close(peer);
	sockdiag_close(sd);
}

static void half_closed_is_open_while_it_is_held(void **state)
{
	const struct hosts *h = HOSTS(state);

	check_half_closed(h, HOST_A4, HOST_B4);
	check_half_closed(h, HOST_A6, HOST_B6);
}

static void check_destroy(const struct hosts *h, const char *a, const char *b)
{
	struct sockdiag_entry e;
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);
	int fd, peer, err = 0;
	socklen_t len = sizeof(err);
	struct tuple t;

	host_pair(h, a, b, &fd, &peer);
	t = ended.want = host_tuple(fd, IPPROTO_TCP);
	e = dump_for(sd, SOCKDIAG_TCP, &t);
	assert_int_equal(sockdiag_destroy(sd, &t, 0, e.cookie + 1), -ENOENT);
	assert_int_equal(sockdiag_lookup(sd, &t, 0, NULL), 0);
	assert_int_equal(sockdiag_destroy(sd, &t, 0, UINT64_MAX), -EINVAL);
	assert_int_equal(sockdiag_destroy(sd, &t, 0, e.cookie), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	assert_int_equal(err, ECONNABORTED);
	assert_int_equal(sockdiag_lookup(sd, &t, 0, NULL), -ENOENT);
	assert_int_equal(sockdiag_destroy(sd, &t, 0, e.cookie), -ENOENT);
	close(fd);
	wait_end(sd, &ended);
	assert_int_equal(ended.entry.cookie, e.cookie);
	close(peer);

	fd = host_bind(a, 0, SOCK_DGRAM);
	host_connect(fd, &t.remote);
	t = host_tuple(fd, IPPROTO_UDP);
	e = dump_for(sd, SOCKDIAG_UDP, &t);
	assert_int_equal(sockdiag_destroy(sd, &t, 0, e.cookie), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	assert_int_equal(err, ECONNABORTED);
	close(fd);
	sockdiag_close(sd);
}

static void sockets_can_be_ended(void **state)
{
	const struct hosts *h = HOSTS(state);

	check_destroy(h, HOST_A4, HOST_B4);
	check_destroy(h, HOST_A6, HOST_B6);
}

static void mptcp_is_recognised(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct seen ended;
	struct sockdiag *sd;
	struct endpoint to;
	int listener, fd, peer, plain, plain_peer;
	struct sockdiag_entry e;
	struct tuple t;

	host_enter(h->b);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	if (listener < 0) {
		host_enter(h->a);
		SKIP_BECAUSE("the kernel has no MPTCP");
	}
	assert_int_equal(listen(listener, 2), 0);
	to = host_endpoint(HOST_B4, host_name(listener, false).port);
	sd = open_diag(&ended); /* looks at b */
	host_enter(h->a);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	host_connect(fd, &to);
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	host_connect(plain, &to);
	plain_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(peer >= 0 && plain_peer >= 0);

	t = host_tuple(fd, IPPROTO_TCP);
	t = tuple_reverse(&t);
	assert_true(dump_for(sd, SOCKDIAG_TCP | SOCKDIAG_INFO, &t).mptcp);
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), 0);
	assert_true(e.mptcp);
	/* What fell back to TCP at once is a TCP flow. */
	t = host_tuple(plain, IPPROTO_TCP);
	t = tuple_reverse(&t);
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), 0);
	assert_false(e.mptcp);
	close(plain_peer);
	close(plain);
	close(peer);
	close(fd);
	close(listener);
	sockdiag_close(sd);
}

static int sign(int fd, const char *remote)
{
	struct tcp_md5sig key = { .tcpm_keylen = 6, .tcpm_key = "sealed" };
	struct endpoint e = host_endpoint(remote, 0);
	struct sockaddr_storage ss;

	endpoint_to_sockaddr(&e, &ss);
	memcpy(&key.tcpm_addr, &ss, sizeof(ss));
	return setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key));
}

static void md5_is_recognised(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);
	int listener, fd, peer;
	struct sockdiag_entry e;
	struct endpoint to;
	struct tuple t;

	host_enter(h->b);
	listener = host_bind(HOST_B4, 0, SOCK_STREAM);
	if (sign(listener, HOST_A4) < 0) {
		close(listener);
		sockdiag_close(sd);
		host_enter(h->a);
		SKIP_BECAUSE("the kernel has no CONFIG_TCP_MD5SIG");
	}
	assert_int_equal(listen(listener, 1), 0);
	to = host_name(listener, false);
	host_enter(h->a);
	fd = host_bind(HOST_A4, 0, SOCK_STREAM);
	assert_int_equal(sign(fd, HOST_B4), 0);
	host_connect(fd, &to);
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	t = host_tuple(fd, IPPROTO_TCP);
	assert_true(dump_for(sd, SOCKDIAG_TCP | SOCKDIAG_INFO, &t).md5);
	assert_int_equal(sockdiag_lookup(sd, &t, 0, &e), 0);
	assert_true(e.md5);
	close(peer);
	close(fd);
	close(listener);
	sockdiag_close(sd);
}

static void a_bound_device_is_told(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);
	int listener, fd, peer;
	struct endpoint to;
	struct sockdiag_entry e;
	struct tuple t;

	host_enter(h->b);
	listener = host_bind(HOST_B4, 0, SOCK_STREAM);
	assert_int_equal(listen(listener, 1), 0);
	to = host_name(listener, false);
	host_enter(h->a);
	fd = host_bind(HOST_A4, 0, SOCK_STREAM);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "va", 2),
			 0);
	host_connect(fd, &to);
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	t = host_tuple(fd, IPPROTO_TCP);
	e = dump_for(sd, SOCKDIAG_TCP, &t);
	assert_true(e.ifindex != 0);
	assert_int_equal(sockdiag_lookup(sd, &t, e.ifindex, NULL), 0);
	close(peer);
	close(fd);
	close(listener);
	sockdiag_close(sd);
}

/* A SYN that nobody answers: young; nothing else would tell of it. */
static void a_handshake_is_young(void **state)
{
	struct seen ended;
	struct sockdiag *sd;
	struct endpoint to;
	struct sockaddr_storage ss;
	struct tuple t;
	int fd;

	(void)HOSTS(state);
	sd = open_diag(&ended);
	to = host_endpoint("10.9.0.99", 5);
	fd = host_bind(HOST_A4, 0, SOCK_STREAM | SOCK_NONBLOCK);
	assert_int_equal(connect(fd, (struct sockaddr *)&ss,
				 endpoint_to_sockaddr(&to, &ss)), -1);
	assert_int_equal(errno, EINPROGRESS);
	memset(&t, 0, sizeof(t));
	t.local = host_name(fd, false);
	t.remote = to;
	t.proto = IPPROTO_TCP;
	assert_int_equal(dump_for(sd, SOCKDIAG_TCP, &t).state, SOCKDIAG_YOUNG);
	close(fd);
	sockdiag_close(sd);
}

static void check_port(const char *a, int type, uint8_t proto)
{
	struct addr local = host_addr(a);
	int fd = host_bind(a, 0, type);
	uint16_t port = host_name(fd, false).port;

	assert_int_equal(sockdiag_port_taken(proto, &local, port), 1);
	close(fd);
	assert_int_equal(sockdiag_port_taken(proto, &local, port), 0);
	/* An address that is not (yet) here. */
	local.byte[addr_size(&local) - 1] ^= 0x40;
	assert_int_equal(sockdiag_port_taken(proto, &local, port), 0);
}

static void taken_ports_are_found(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct addr local = host_addr(HOST_A4);
	struct endpoint to = host_endpoint(HOST_B4, 11);
	int fd, peer;

	check_port(HOST_A4, SOCK_STREAM, IPPROTO_TCP);
	check_port(HOST_A6, SOCK_STREAM, IPPROTO_TCP);
	check_port(HOST_A4, SOCK_DGRAM, IPPROTO_UDP);
	check_port(HOST_A6, SOCK_DGRAM, IPPROTO_UDP);
	/* A port that connect() chose. */
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	host_connect(fd, &to);
	assert_int_equal(sockdiag_port_taken(IPPROTO_UDP, &local,
					     host_name(fd, false).port), 1);
	close(fd);
	host_pair(h, HOST_A4, HOST_B4, &fd, &peer);
	assert_int_equal(sockdiag_port_taken(IPPROTO_TCP, &local,
					     host_name(fd, false).port), 1);
	close(fd);
	close(peer);
	assert_int_equal(sockdiag_port_taken(IPPROTO_TCP, &local, 0), -EINVAL);
}

/* A callback's error ends the dump, and the socket stays good. */
static int refuse(const struct sockdiag_entry *e, void *arg)
{
	(void)e;
	++*(unsigned *)arg;
	return -ECANCELED;
}

static void a_dump_can_be_ended(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct seen ended, all = { 0 };
	struct sockdiag *sd = open_diag(&ended);
	unsigned calls = 0;
	int fd[3], peer[3];

	for (int i = 0; i < 3; i++)
		host_pair(h, HOST_A4, HOST_B4, &fd[i], &peer[i]);
	assert_int_equal(sockdiag_dump(sd, SOCKDIAG_TCP, refuse, &calls),
			 -ECANCELED);
	assert_int_equal(calls, 1);
	assert_int_equal(sockdiag_dump(sd, SOCKDIAG_TCP, find, &all), 0);
	assert_true(all.all >= 3);
	for (int i = 0; i < 3; i++) {
		close(fd[i]);
		close(peer[i]);
	}
	sockdiag_close(sd);
}

static void check_at(const struct hosts *h, const char *a, const char *b)
{
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);
	struct tuple t;
	int fd, peer;

	host_pair(h, a, b, &fd, &peer);
	t = host_tuple(fd, IPPROTO_TCP);
	assert_int_equal(count_at(sd, SOCKDIAG_TCP, a, false, &t), 1);
	assert_int_equal(count_at(sd, SOCKDIAG_TCP, b, true, &t), 1);
	assert_int_equal(count_at(sd, SOCKDIAG_TCP, a, true, &t), 0);
	assert_int_equal(count_at(sd, SOCKDIAG_TCP, b, false, &t), 0);
	assert_int_equal(count_at(sd, SOCKDIAG_UDP, a, false, &t), 0);
	/* Open ones only. */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(count_at(sd, SOCKDIAG_TCP, a, false, &t), 1);
	close(fd);
	assert_int_equal(count_at(sd, SOCKDIAG_TCP, a, false, &t), 0);
	close(peer);
	sockdiag_close(sd);
}

static void those_at_an_address_are_found(void **state)
{
	const struct hosts *h = HOSTS(state);
	const struct addr none = { 0 };
	struct seen ended;
	struct sockdiag *sd = open_diag(&ended);

	check_at(h, HOST_A4, HOST_B4);
	check_at(h, HOST_A6, HOST_B6);
	assert_int_equal(sockdiag_dump_at(sd, SOCKDIAG_TCP, &none, false, find,
					  &ended), -EINVAL);
	sockdiag_close(sd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_is_seen_whole),
		cmocka_unit_test(mapped_sockets_are_ipv4_flows),
		cmocka_unit_test(udp_is_seen_whole),
		cmocka_unit_test(time_wait_outlives_the_event),
		cmocka_unit_test(half_closed_is_open_while_it_is_held),
		cmocka_unit_test(sockets_can_be_ended),
		cmocka_unit_test(mptcp_is_recognised),
		cmocka_unit_test(md5_is_recognised),
		cmocka_unit_test(a_bound_device_is_told),
		cmocka_unit_test(a_handshake_is_young),
		cmocka_unit_test(taken_ports_are_found),
		cmocka_unit_test(a_dump_can_be_ended),
		cmocka_unit_test(those_at_an_address_are_found),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("sockdiag", tests, hosts_open,
					   hosts_close);
}
