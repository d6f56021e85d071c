/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of udp: local addresses told and chosen, sockets adopted. */
#include "udp.h"

#include "host.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define PORT 1021
#define GOT_MAX 512

struct got {
	struct udp_datagram d[GOT_MAX];
	char text[GOT_MAX][16];
	size_t n;
};

static void keep(const struct udp_datagram *d, void *arg)
{
	struct got *g = arg;

	assert_true(g->n < GOT_MAX);
	g->d[g->n] = *d;
	memcpy(g->text[g->n], d->data, d->len < 15 ? d->len : 15);
	g->n++;
}

static void collect(struct udp *udp, struct got *g, size_t n)
{
	while (g->n < n) {
		int fds[UDP_SOCKETS_MAX];
		struct pollfd p[UDP_SOCKETS_MAX];
		size_t k = udp_fds(udp, fds);

		for (size_t i = 0; i < k; i++)
			p[i] = (struct pollfd){ .fd = fds[i],
						.events = POLLIN };
		assert_true(poll(p, k, HOST_WAIT_MS) > 0);
		assert_int_equal(udp_receive(udp, keep, g), 0);
	}
}

/* One daemon's socket in each host. */
static void open_both(const struct hosts *h, struct udp **a, struct udp **b)
{
	host_enter(h->b);
	assert_int_equal(udp_open(b, PORT, NULL, 0), 0);
	host_enter(h->a);
	assert_int_equal(udp_open(a, PORT, NULL, 0), 0);
}

static int send_text(struct udp *udp, const char *src, const char *dst,
		     const char *text)
{
	struct endpoint to = host_endpoint(dst, PORT);
	struct addr from = { 0 };

	if (src)
		from = host_addr(src);
	return udp_send(udp, &from, 0, &to, text, strlen(text));
}

static void check_addresses(const struct hosts *h, const char *a,
			    const char *a2, const char *b)
{
	struct got at_b = { 0 }, at_a = { 0 };
	struct addr own = host_addr(b), second = host_addr(a2);
	struct udp *ua, *ub;

	open_both(h, &ua, &ub);
	assert_int_equal(send_text(ua, a, b, "from a"), 0);
	assert_int_equal(send_text(ua, a2, b, "from a2"), 0);
	assert_int_equal(send_text(ua, NULL, b, "from any"), 0);
	collect(ub, &at_b, 3);
	assert_string_equal(at_b.text[0], "from a");
	assert_string_equal(at_b.text[1], "from a2");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(at_b.d[i].src.port, PORT);
		assert_int_equal(at_b.d[i].dst.port, PORT);
		assert_true(addr_equal(&at_b.d[i].dst.addr, &own));
		assert_true(at_b.d[i].ifindex > 1);
	}
	assert_true(addr_equal(&at_b.d[1].src.addr, &second));
	/* The answer goes to where it came from, from where it went to. */
	assert_int_equal(udp_send(ub, &at_b.d[1].dst.addr, at_b.d[1].ifindex,
				  &at_b.d[1].src, "re", 2), 0);
	collect(ua, &at_a, 1);
	assert_true(addr_equal(&at_a.d[0].dst.addr, &second));
	assert_true(addr_equal(&at_a.d[0].src.addr, &own));
	udp_close(ua);
	udp_close(ub);
}

static void local_addresses_are_told_and_chosen(void **state)
{
	const struct hosts *h = HOSTS(state);

	host_run("ip addr add 10.9.0.31/24 dev va && "
		 "ip addr add fd09::31/64 dev va nodad");
	host_settle("fd09::31");
	check_addresses(h, HOST_A4, "10.9.0.31", HOST_B4);
	check_addresses(h, HOST_A6, "fd09::31", HOST_B6);
	host_run("ip addr del 10.9.0.31/24 dev va && "
		 "ip addr del fd09::31/64 dev va");
}

/* The address may come and go under the open socket. */
static void sources_come_and_go(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct got at_b = { 0 };
	struct udp *ua, *ub;

	open_both(h, &ua, &ub);
	assert_true(send_text(ua, "10.9.0.32", HOST_B4, "not yet") < 0);
	assert_true(send_text(ua, "fd09::32", HOST_B6, "not yet") < 0);
	host_run("ip addr add 10.9.0.32/24 dev va && "
		 "ip addr add fd09::32/64 dev va nodad");
	host_settle("fd09::32");
	assert_int_equal(send_text(ua, "10.9.0.32", HOST_B4, "now"), 0);
	assert_int_equal(send_text(ua, "fd09::32", HOST_B6, "now"), 0);
	collect(ub, &at_b, 2);
	assert_string_equal(at_b.text[0], "now");
	host_run("ip addr del 10.9.0.32/24 dev va && "
		 "ip addr del fd09::32/64 dev va");
	assert_true(send_text(ua, "10.9.0.32", HOST_B4, "gone") < 0);
	assert_true(send_text(ua, "fd09::32", HOST_B6, "gone") < 0);
	udp_close(ua);
	udp_close(ub);
}

/* The interface can be named against the routes. */
static void the_interface_can_be_named(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct endpoint to = host_endpoint(HOST_B4, PORT);
	struct addr from = host_addr(HOST_A4);
	struct got at_b = { 0 };
	struct udp *ua, *ub;
	unsigned va, w0;

	host_run("ip link add w0 type veth peer name w1 && "
		 "ip link set w0 up && ip link set w1 up && "
		 "ip route add " HOST_B4 "/32 dev w0");
	open_both(h, &ua, &ub);
	va = if_nametoindex("va");
	w0 = if_nametoindex("w0");
	assert_int_equal(udp_send(ua, &from, w0, &to, "lost", 4), 0);
	assert_int_equal(udp_send(ua, &from, va, &to, "right", 5), 0);
	collect(ub, &at_b, 1);
	assert_string_equal(at_b.text[0], "right");
	host_run("ip link del w0");
	udp_close(ua);
	udp_close(ub);
}

static void errors_are_told(void **state)
{
	static const char big[2000];
	const struct hosts *h = HOSTS(state);
	struct endpoint to = host_endpoint(HOST_B4, PORT);
	struct addr none = { 0 }, six = host_addr(HOST_A6);
	struct udp *ua, *ub, *again;

	open_both(h, &ua, &ub);
	/* Never fragmented. */
	assert_int_equal(udp_send(ua, &none, 0, &to, big, sizeof(big)),
			 -EMSGSIZE);
	assert_int_equal(udp_send(ua, &six, 0, &to, "x", 1), -EAFNOSUPPORT);
	assert_int_equal(send_text(ua, NULL, "192.0.2.1", "x"), -ENETUNREACH);
	assert_int_equal(udp_open(&again, PORT, NULL, 0), -EADDRINUSE);
	udp_close(ua);
	udp_close(ub);
	/* Refused datagrams (ICMP) do not spoil the socket. */
	assert_int_equal(udp_open(&ua, PORT, NULL, 0), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_text(ua, NULL, HOST_B4, "nobody"), 0);
	udp_close(ua);
}

/* DF is on the wire even where the path is said to be narrow. */
static void the_path_mtu_is_not_believed(void **state)
{
	static const char text[1200];
	const struct hosts *h = HOSTS(state);
	struct endpoint to = host_endpoint(HOST_B4, PORT);
	struct addr none = { 0 };
	struct got at_b = { 0 };
	struct udp *ua, *ub;

	host_run("ip route add " HOST_B4 "/32 dev va mtu 600");
	open_both(h, &ua, &ub);
	assert_int_equal(udp_send(ua, &none, 0, &to, text, sizeof(text)), 0);
	collect(ub, &at_b, 1);
	assert_int_equal(at_b.d[0].len, sizeof(text));
	host_run("ip route del " HOST_B4 "/32 dev va");
	udp_close(ua);
	udp_close(ub);
}

static void many_are_read_at_once(void **state)
{
	const struct hosts *h = HOSTS(state);
	const size_t n = UDP_BATCH * UDP_BATCHES_PER_WAKE + 10;
	struct got at_b = { 0 };
	struct udp *ua, *ub;

	open_both(h, &ua, &ub);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(send_text(ua, NULL, HOST_B4, "again"), 0);
	collect(ub, &at_b, n);
	assert_int_equal(at_b.n, n);
	udp_close(ua);
	udp_close(ub);
}

static void sockets_are_adopted(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct got at_a = { 0 };
	struct udp *ua, *ub;
	int other, given[3], fds[UDP_SOCKETS_MAX];
	struct addr own = host_addr(HOST_A4);

	host_enter(h->b);
	assert_int_equal(udp_open(&ub, PORT, NULL, 0), 0);
	host_enter(h->a);
	given[0] = other = host_bind("0.0.0.0", 0, SOCK_DGRAM);
	given[1] = host_bind("0.0.0.0", PORT, SOCK_DGRAM);
	given[2] = host_bind("0.0.0.0", PORT, SOCK_STREAM);
	assert_int_equal(udp_open(&ua, PORT, given, 3), 0);
	assert_int_equal(udp_fds(ua, fds), 2);
	assert_int_equal(fds[0], given[1]);
	assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	assert_int_equal(send_text(ub, NULL, HOST_A4, "hello"), 0);
	collect(ua, &at_a, 1);
	assert_true(addr_equal(&at_a.d[0].dst.addr, &own));
	udp_close(ua);
	assert_int_equal(fcntl(given[1], F_GETFD), -1);
	assert_int_equal(close(other), 0);
	assert_int_equal(close(given[2]), 0);
	udp_close(ub);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(local_addresses_are_told_and_chosen),
		cmocka_unit_test(sources_come_and_go),
		cmocka_unit_test(the_interface_can_be_named),
		cmocka_unit_test(errors_are_told),
		cmocka_unit_test(the_path_mtu_is_not_believed),
		cmocka_unit_test(many_are_read_at_once),
		cmocka_unit_test(sockets_are_adopted),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("udp", tests, hosts_open,
					   hosts_close);
}
