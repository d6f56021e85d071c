/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hooks: what the table `inet sacip` costs a packet.
 *
 *	sender 10.0.0.1, .11 ======== veth ======== 10.0.0.2 receiver
 *
 * One datagram after the other goes from a socket in one network namespace to
 * one in another, in one thread: once past the output hook of one host and the
 * prerouting hook of the other, with nothing else on the way. Prints the best
 * time of many short runs, which other load hardly changes, in rounds that
 * take the cases in turn: without a table; daemon there, nothing protected;
 * protected; something else has moved; moved, rewritten by the kernel.
 *
 * Owns two namespaces of its own. Needs root.
 */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "steer.h"

#define ROUNDS 30
#define RUNS 40 /* of a round and case */
#define DATAGRAMS 500 /* of a run */
#define FROM 5000
#define TO 7000

enum { NONE, RUNNING, PROTECTED, OTHERS, MOVED, CASES };

static const char *const names[CASES] = {
	[NONE] = "no table",
	[RUNNING] = "daemon runs",
	[PROTECTED] = "protected",
	[OTHERS] = "others have moved",
	[MOVED] = "moved, by the kernel",
};

struct host {
	int ns;
	struct steer *steer;
};

static void enter(const struct host *h)
{
	if (setns(h->ns, CLONE_NEWNET) < 0)
		err(1, "setns");
}

static void run(const char *command)
{
	if (system(command))
		errx(1, "%s", command);
}

static struct tuple tuple(const char *local, uint16_t local_port,
			  const char *remote, uint16_t remote_port)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = IPPROTO_UDP;
	addr_parse(local, &t.local.addr);
	addr_parse(remote, &t.remote.addr);
	t.local.port = local_port;
	t.remote.port = remote_port;
	return t;
}

static void make_hosts(struct host h[2])
{
	char command[128];

	for (int i = 0; i < 2; i++) {
		if (unshare(CLONE_NEWNET) < 0)
			err(1, "a network namespace");
		h[i].ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		run("ip link set lo up");
	}
	enter(&h[0]);
	snprintf(command, sizeof(command),
		 "ip link add e0 type veth peer name e1 netns /proc/%d/fd/%d",
		 getpid(), h[1].ns);
	run(command);
	run("ip address add 10.0.0.1/24 dev e0 && "
	    "ip address add 10.0.0.11/24 dev e0 && ip link set e0 up");
	enter(&h[1]);
	run("ip address add 10.0.0.2/24 dev e1 && ip link set e1 up");
}

static int open_socket(const struct host *h, const char *at, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port) };
	int s;

	enter(h);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, at, &a.sin_addr);
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) < 0)
		err(1, "%s", at);
	return s;
}

static void fill(struct host *h, int kind, const struct tuple *identity,
		 const struct tuple *wire)
{
	struct steer_conf conf = { .mark = STEER_MARK_DEFAULT,
				   .queue_in = STEER_QUEUE_DEFAULT,
				   .queue_out = STEER_QUEUE_DEFAULT + 1 };
	const struct tuple other = tuple("10.0.9.1", FROM, "10.0.9.2", TO);
	int error;

	enter(h);
	error = steer_open(&h->steer, &conf, NULL);
	if (error)
		errx(1, "nftables: %s", strerror(-error));
	steer_begin(h->steer);
	steer_build(h->steer);
	if (kind >= PROTECTED) {
		steer_add(h->steer, STEER_PROT, identity, 0);
		steer_add_addr(h->steer, STEER_SRC, &identity->local.addr);
	}
	if (kind == OTHERS)
		steer_add(h->steer, STEER_OUT, &other, 0);
	if (kind == MOVED) {
		steer_add(h->steer, STEER_OUT, identity, 0);
		steer_add(h->steer, STEER_IN, wire, 0);
		steer_add(h->steer, STEER_DROP, identity, 0);
		steer_add_addr(h->steer, STEER_WIRE, &wire->local.addr);
		steer_map_add(h->steer, STEER_SEND, identity, wire);
		steer_map_add(h->steer, STEER_RECV, wire, identity);
	}
	error = steer_commit(h->steer);
	if (error)
		errx(1, "nftables: %s", strerror(-error));
}

static void prepare(struct host h[2], int kind)
{
	const struct tuple sent = tuple("10.0.0.1", FROM, "10.0.0.2", TO);
	const struct tuple wire = tuple("10.0.0.11", FROM, "10.0.0.2", TO);
	struct tuple sent_back = tuple_reverse(&sent);
	struct tuple wire_back = tuple_reverse(&wire);

	if (kind == NONE)
		return;
	fill(&h[0], kind, &sent, &wire);
	fill(&h[1], kind, &sent_back, &wire_back);
}

static void take_down(struct host h[2], int kind)
{
	for (int i = 0; i < 2 && kind != NONE; i++) {
		enter(&h[i]);
		(void)steer_close(h[i].steer, false);
	}
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ns for a datagram, there and read. */
static double measure(int from, int to)
{
	double best = 1e18;
	char data[64] = "";

	for (int i = 0; i < RUNS; i++) {
		double took, began = now_ns();

		for (int n = 0; n < DATAGRAMS; n++)
			if (send(from, data, sizeof(data), 0) < 0 ||
			    recv(to, data, sizeof(data), MSG_DONTWAIT) < 0)
				err(1, "a datagram did not arrive");
		took = (now_ns() - began) / DATAGRAMS;
		if (took < best)
			best = took;
	}
	return best;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	static double took[CASES][ROUNDS];
	struct sockaddr_in to_addr = { .sin_family = AF_INET,
				       .sin_port = htons(TO) };
	struct host h[2];
	int from, to;

	make_hosts(h);
	from = open_socket(&h[0], "10.0.0.1", FROM);
	to = open_socket(&h[1], "10.0.0.2", TO);
	inet_pton(AF_INET, "10.0.0.2", &to_addr.sin_addr);
	if (connect(from, (struct sockaddr *)&to_addr, sizeof(to_addr)) < 0)
		err(1, "connect");
	for (int round = 0; round < ROUNDS; round++)
		for (int kind = 0; kind < CASES; kind++) {
			prepare(h, kind);
			took[kind][round] = measure(from, to);
			take_down(h, kind);
		}
	for (int kind = 0; kind < CASES; kind++) {
		qsort(took[kind], ROUNDS, sizeof(double), compare);
		printf("{\"case\": \"%s\", \"median_ns\": %.0f, "
		       "\"least_ns\": %.0f, \"most_ns\": %.0f}\n",
		       names[kind], took[kind][ROUNDS / 2], took[kind][0],
		       took[kind][ROUNDS - 1]);
	}
	return 0;
}
