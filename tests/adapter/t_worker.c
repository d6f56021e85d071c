/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker: what it rewrites, what it leaves to others, and that its orders
 * are obeyed between packets, under load. Also run under ThreadSanitizer.
 */
#include "host.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "pkt.h"
#include "pktq.h"
#include "worker.h"

#define STRAYS 30
#define WORKER 34
#define WORKERS 3
#define PORT 5500
#define PORT_TO 5600 /* what the worker makes of it */
#define MARK 0x10000000u
#define ROUNDS 300
#define SEED 1987

struct strays {
	unsigned int n;
	uint16_t last_port;
};

static struct fixture {
	struct worker *w;
	struct pktq *strays_queue;
	struct strays strays;
	int at_a, at_b, at_b_to; /* UDP; b hears both ports */
	struct work_route route;
} fixture = { .at_a = -1, .at_b = -1, .at_b_to = -1 };

static void note(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	struct strays *s = ctx;
	struct pkt k;

	assert_true(pkt_parse(p->data, p->len, &k) <= PKT_OTHER);
	s->n++;
	s->last_port = k.dst.port;
	pktq_accept(q, p->id, NULL);
}

static void fixture_close(struct fixture *f)
{
	worker_stop(f->w);
	pktq_close(f->strays_queue);
	for (int *fd = &f->at_a; fd <= &f->at_b_to; fd++)
		if (*fd >= 0)
			close(*fd);
	memset(f, 0, sizeof(*f));
	f->at_a = f->at_b = f->at_b_to = -1;
}

static int start(struct worker **w, unsigned int k)
{
	const struct worker_conf conf = {
		.number = (uint16_t)(WORKER + 4 * k),
		.strays = STRAYS,
		.mark = MARK,
		.seed = SEED,
	};

	return worker_start(w, &conf);
}

/* What a sends to PORT goes to the worker, who knows no route yet. */
static bool fixture_open(struct fixture *f, const struct hosts *h,
			 const char *proto)
{
	const struct pktq_config config = {
		.number = STRAYS,
		.packet_cb = note,
		.ctx = &f->strays,
	};
	struct endpoint to = host_endpoint(HOST_B4, PORT);

	fixture_close(f);
	host_run("nft flush ruleset");
	if (host_try("iptables-nft -t mangle -A OUTPUT -p %s --dport %d "
		     "-j NFQUEUE --queue-num %d 2>/dev/null", proto, PORT,
		     WORKER))
		return false;
	assert_int_equal(pktq_open(&config, &f->strays_queue), 0);
	assert_int_equal(start(&f->w, 0), 0);
	host_enter(h->b);
	f->at_b = host_bind(HOST_B4, PORT, SOCK_DGRAM);
	f->at_b_to = host_bind(HOST_B4, PORT_TO, SOCK_DGRAM);
	host_enter(h->a);
	f->at_a = host_bind(HOST_A4, 0, SOCK_DGRAM);
	host_connect(f->at_a, &to);
	f->route.tuple = host_tuple(f->at_a, IPPROTO_UDP);
	f->route.outbound = true;
	f->route.to.src = f->route.tuple.local;
	f->route.to.dst = host_endpoint(HOST_B4, PORT_TO);
	return true;
}

#define FIXTURE(h, proto)                                               \
	do {                                                            \
		if (!fixture_open(&fixture, h, proto))                  \
			SKIP_BECAUSE("no NFQUEUE target in iptables");  \
	} while (0)

static void send_one(char c)
{
	assert_int_equal(send(fixture.at_a, &c, 1, 0), 1);
}

static void expect_at(int fd, char wanted)
{
	char c;

	assert_true(host_readable(fd, HOST_WAIT_MS));
	assert_int_equal(recv(fd, &c, 1, 0), 1);
	assert_int_equal(c, wanted);
}

static void expect_nothing(void)
{
	char c;

	assert_int_equal(recv(fixture.at_b, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(recv(fixture.at_b_to, &c, 1, MSG_DONTWAIT), -1);
}

static void read_strays(unsigned int n)
{
	struct fixture *f = &fixture;

	while (f->strays.n < n) {
		assert_true(host_readable(pktq_fd(f->strays_queue),
					  HOST_WAIT_MS));
		assert_true(pktq_read(f->strays_queue) >= 0);
	}
	assert_int_equal(f->strays.n, n);
}

static void rewrites_by_route_and_leaves_the_rest(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct worker_report report;
	struct fixture *f = &fixture;

	FIXTURE(h, "udp");
	send_one('a');
	read_strays(1);
	assert_int_equal(f->strays.last_port, PORT);
	expect_at(f->at_b, 'a');
	worker_add(f->w, &f->route);
	send_one('b');
	expect_at(f->at_b_to, 'b');
	worker_forget(f->w, &f->route);
	worker_settle(f->w);
	assert_int_equal(f->route.packets, 1);
	assert_int_equal(f->route.bytes, 29);
	send_one('c');
	read_strays(2);
	expect_at(f->at_b, 'c');
	expect_nothing();
	worker_ask(f->w, &report);
	assert_int_equal(report.rewritten_out, 1);
	assert_int_equal(report.rewritten_in, 0);
	assert_int_equal(report.strays, 2);
	assert_int_equal(report.routes, 0);
	assert_int_equal(report.queue.packets, 3);
	assert_int_equal(report.queue.refused + report.queue.unsent, 0);
}

/* Marked, and by the tuple of the other direction. */
static void rewrites_what_comes_in(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct fixture *f = &fixture;
	struct endpoint to;
	int from;

	FIXTURE(h, "udp");
	host_run("nft flush ruleset");
	worker_stop(f->w); /* it lives in the other host now */
	f->w = NULL;
	host_enter(h->b);
	assert_int_equal(start(&f->w, 0), 0);
	host_run("iptables-nft -t raw -A PREROUTING -p udp --dport %d "
		 "-j NFQUEUE --queue-num %d", PORT, WORKER);
	host_run("iptables-nft -A INPUT -p udp --dport %d -m mark "
		 "! --mark 0x%x/0x%x -j DROP", PORT_TO, MARK, MARK);
	host_enter(h->a);
	from = host_bind(HOST_A4, 0, SOCK_DGRAM);
	to = host_endpoint(HOST_B4, PORT);
	host_connect(from, &to);
	f->route.tuple = host_tuple(from, IPPROTO_UDP);
	f->route.tuple = tuple_reverse(&f->route.tuple);
	f->route.outbound = false;
	f->route.to.src = f->route.tuple.remote;
	f->route.to.dst = host_endpoint(HOST_B4, PORT_TO);
	worker_add(f->w, &f->route);
	assert_int_equal(send(from, "x", 1, 0), 1);
	expect_at(f->at_b_to, 'x');
	close(from);
	host_enter(h->b);
	host_run("nft flush ruleset");
	host_enter(h->a);
}

/* A SYN on a tuple that has a route. */
static void does_not_judge_a_new_connection(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct endpoint to = host_endpoint(HOST_B4, PORT);
	struct fixture *f = &fixture;
	int listener, from, at_b;

	FIXTURE(h, "tcp");
	host_enter(h->b);
	listener = host_bind(HOST_B4, PORT, SOCK_STREAM);
	assert_int_equal(listen(listener, 1), 0);
	host_enter(h->a);
	from = host_bind(HOST_A4, 0, SOCK_STREAM | SOCK_NONBLOCK);
	f->route.tuple.local = host_name(from, false);
	f->route.tuple.remote = to;
	f->route.tuple.proto = IPPROTO_TCP;
	f->route.to.src = f->route.tuple.local;
	f->route.to.dst = to; /* what follows stays as it is */
	worker_add(f->w, &f->route);
	{
		struct sockaddr_storage ss;
		socklen_t len = endpoint_to_sockaddr(&to, &ss);

		assert_int_equal(connect(from, (struct sockaddr *)&ss, len),
				 -1);
		assert_int_equal(errno, EINPROGRESS);
	}
	read_strays(1);
	at_b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(at_b >= 0);
	assert_int_equal(send(from, "x", 1, 0), 1);
	expect_at(at_b, 'x');
	worker_forget(f->w, &f->route);
	worker_settle(f->w);
	assert_true(f->route.packets >= 1);
	assert_int_equal(f->strays.n, 1);
	close(listener);
	close(from);
	close(at_b);
}

/* What waits while it is paused comes out in order, and before what was
 * sent behind the pause. */
static void stands_still_when_told(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct fixture *f = &fixture;

	FIXTURE(h, "udp");
	for (int i = 0; i < 3; i++) {
		worker_pause(f->w);
		send_one('1');
		send_one('2');
		worker_add(f->w, &f->route); /* in time for both */
		assert_false(host_readable(f->at_b_to, 5));
		worker_go_on(f->w);
		send_one('3');
		expect_at(f->at_b_to, '1');
		expect_at(f->at_b_to, '2');
		expect_at(f->at_b_to, '3');
		worker_forget(f->w, &f->route);
		worker_settle(f->w);
	}
	assert_int_equal(f->route.packets, 9);
	assert_int_equal(f->strays.n, 0);
}

/* After settle nothing of the flow is with the worker: what was sent before
 * is rewritten or among the strays. */
static void leaves_nothing_behind_when_it_settles(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct pktq_stats stats;
	struct fixture *f = &fixture;
	unsigned int sent = 0;

	FIXTURE(h, "udp");
	for (int i = 0; i < ROUNDS; i++) {
		worker_add(f->w, &f->route);
		for (int k = 0; k < i % 20; k++, sent++)
			send_one('x');
		worker_forget(f->w, &f->route);
		worker_settle(f->w);
		assert_int_equal(pktq_stats(WORKER, &stats), 0);
		assert_int_equal(stats.waiting, 0);
		while (pktq_read(f->strays_queue) > 0)
			;
		assert_int_equal(f->strays.n + f->route.packets, sent);
	}
	assert_true(f->route.packets > 0);
}

/* Many more than the ring holds, while packets come. */
static void obeys_any_number_of_orders(void **state)
{
	static struct work_route many[4 * WORKER_ORDERS_MAX];
	const unsigned int n = sizeof(many) / sizeof(many[0]);
	const struct hosts *h = HOSTS(state);
	struct worker_report report;
	struct fixture *f = &fixture;

	FIXTURE(h, "udp");
	memset(many, 0, sizeof(many));
	for (unsigned int i = 0; i < n; i++) {
		many[i].tuple = f->route.tuple;
		many[i].tuple.remote.port = (uint16_t)(PORT + 1 + i);
		many[i].outbound = true;
		if (i % 64 == 0)
			send_one('x');
		worker_add(f->w, &many[i]);
	}
	worker_ask(f->w, &report);
	assert_int_equal(report.routes, n);
	for (unsigned int i = 0; i < n; i++)
		worker_forget(f->w, &many[i]);
	worker_settle(f->w);
	worker_ask(f->w, &report);
	assert_int_equal(report.routes, 0);
	read_strays(n / 64);
}

/* Signals are the daemon's thread's, whoever runs. */
static void takes_no_signal(void **state)
{
	const struct hosts *h = HOSTS(state);
	sigset_t set, before;
	siginfo_t info;

	FIXTURE(h, "udp");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &before), 0);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	assert_int_equal(sigtimedwait(&set, &info, &(struct timespec){ 5, 0 }),
			 SIGUSR1);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

static void shares_no_queue(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct worker *w[WORKERS] = { NULL };
	struct worker *second = NULL;

	FIXTURE(h, "udp");
	assert_int_equal(start(&second, 0), -EBUSY);
	assert_null(second);
	for (unsigned int k = 1; k < WORKERS; k++)
		assert_int_equal(start(&w[k], k), 0);
	for (unsigned int k = 1; k < WORKERS; k++) {
		assert_int_equal(worker_number(w[k]), WORKER + 4 * k);
		worker_stop(w[k]);
	}
	worker_stop(NULL);
}

static int teardown(void **state)
{
	fixture_close(&fixture);
	return hosts_close(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rewrites_by_route_and_leaves_the_rest),
		cmocka_unit_test(rewrites_what_comes_in),
		cmocka_unit_test(does_not_judge_a_new_connection),
		cmocka_unit_test(stands_still_when_told),
		cmocka_unit_test(leaves_nothing_behind_when_it_settles),
		cmocka_unit_test(obeys_any_number_of_orders),
		cmocka_unit_test(takes_no_signal),
		cmocka_unit_test(shares_no_queue),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, hosts_open, teardown);
}
