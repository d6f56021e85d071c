/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * probe: the programs between which the benchmark measures.
 *
 *   probe serve ADDR PORT FILE   one connection after the other; its first
 *                                message says what to do with it
 *   probe pour ADDR PORT         'b': writes as fast as it goes, once told
 *   probe ping ADDR PORT         'p': 64 bytes there and back, one at a time
 *   probe connect ADDR PORT      'c': connect, 64 bytes there and back, close
 *   probe spin CPU               keeps that CPU awake, at the lowest priority
 *
 * FILE holds a counter of the bytes that `serve` got by 'b', for others to
 * read while it runs. The clients print a line of JSON when they are ready.
 * `pour` waits for a line and then runs until it is ended. The others take
 * lines with a number of seconds, measure that long and print a line each;
 * they end with standard input.
 *
 * Plain sockets, and cubic for each, so that figures of machines compare.
 * TCP_NODELAY for all but bulk data, as ordinary programs have it; with
 * PROBE_NODELAY in the environment for that too. Never makes data of meaning,
 * never checks it: tests/lab/traffic does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MSG 64
#define BLOCK (128 * 1024) /* of a bulk write or read, as iperf3 has it */
#define SAMPLES_MAX (1u << 22)
#define BACKLOG 128

static unsigned char block[BLOCK];

static void die(const char *what)
{
	printf("{\"error\":\"%s: %s\"}\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* --- sockets --------------------------------------------------------------- */

static struct sockaddr_in address(const char *addr, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	a.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	errno = EINVAL;
	if (inet_pton(AF_INET, addr, &a.sin_addr) != 1)
		die(addr);
	return a;
}

static void set(int fd, int level, int option)
{
	int one = 1;

	if (setsockopt(fd, level, option, &one, sizeof(one)))
		die("setsockopt");
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	set(fd, SOL_SOCKET, SO_REUSEADDR);
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5))
		die("cubic");
	return fd;
}

static int dial(const struct sockaddr_in *to, char kind)
{
	int fd = open_socket();

	if (kind != 'b' || getenv("PROBE_NODELAY"))
		set(fd, IPPROTO_TCP, TCP_NODELAY);
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		die("connect");
	return fd;
}

/* 0, or -1 where the connection ended or failed. */
static int put(int fd, const void *from, size_t len)
{
	while (len) {
		ssize_t n = send(fd, from, len, MSG_NOSIGNAL);

		if (n < 0)
			return -1;
		from = (const char *)from + n;
		len -= (size_t)n;
	}
	return 0;
}

static int get(int fd, void *to, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, to, len, 0);

		if (n <= 0)
			return -1;
		to = (char *)to + n;
		len -= (size_t)n;
	}
	return 0;
}

/* --- the server ------------------------------------------------------------ */

static uint64_t *counter(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p;

	if (fd < 0 || ftruncate(fd, sizeof(uint64_t)))
		die(path);
	p = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED,
		 fd, 0);
	if (p == MAP_FAILED)
		die(path);
	close(fd);
	return p;
}

static void serve_one(int fd, uint64_t *bytes)
{
	char msg[MSG];
	ssize_t n;

	while (!get(fd, msg, MSG)) {
		if (msg[0] == 'b')
			while ((n = recv(fd, block, BLOCK, 0)) > 0)
				__atomic_fetch_add(bytes, (uint64_t)n,
						   __ATOMIC_RELAXED);
		else if (put(fd, msg, MSG) || msg[0] == 'c')
			break; /* who closes first keeps the TIME_WAIT */
	}
}

static void serve(const char *addr, const char *port, const char *path)
{
	struct sockaddr_in a = address(addr, port);
	uint64_t *bytes = counter(path);
	int fd, listener = open_socket();

	if (bind(listener, (struct sockaddr *)&a, sizeof(a)))
		die("bind");
	if (listen(listener, BACKLOG))
		die("listen");
	printf("{\"ready\":%d}\n", ntohs(a.sin_port));
	fflush(stdout);
	for (;;) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		set(fd, IPPROTO_TCP, TCP_NODELAY);
		serve_one(fd, bytes);
		close(fd);
	}
}

/* --- the clients ----------------------------------------------------------- */

static void print_ready(int fd)
{
	struct sockaddr_in a = { 0 };
	socklen_t n = sizeof(a);
	char text[INET_ADDRSTRLEN] = "";

	if (fd >= 0 && !getsockname(fd, (struct sockaddr *)&a, &n))
		inet_ntop(AF_INET, &a.sin_addr, text, sizeof(text));
	printf("{\"ready\":%d,\"addr\":\"%s\"}\n", ntohs(a.sin_port), text);
	fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The samples are of one exchange each, in ns. */
static void print_samples(uint32_t *v, size_t n, uint64_t took_ns)
{
	if (!n) {
		printf("{\"error\":\"nothing was measured\"}\n");
	} else {
		qsort(v, n, sizeof(*v), by_size);
		printf("{\"n\":%zu,\"rate\":%.1f,\"p50_us\":%.2f,"
		       "\"p90_us\":%.2f,\"p99_us\":%.2f,\"max_us\":%.1f}\n", n,
		       (double)n * 1e9 / (double)took_ns, v[n / 2] / 1e3,
		       v[n * 9 / 10] / 1e3, v[n * 99 / 100] / 1e3,
		       v[n - 1] / 1e3);
	}
	fflush(stdout);
}

static void exchange(int fd, char kind)
{
	char msg[MSG] = { kind };

	if (put(fd, msg, MSG) || get(fd, msg, MSG))
		die("exchange");
}

static void pour(const struct sockaddr_in *to)
{
	char msg[MSG] = { 'b' }, line[64];
	int fd = dial(to, 'b');

	if (put(fd, msg, MSG))
		die("pour");
	print_ready(fd);
	if (!fgets(line, sizeof(line), stdin))
		return;
	while (!put(fd, block, BLOCK))
		;
	die("pour");
}

static void measure(const struct sockaddr_in *to, char kind)
{
	uint32_t *v = malloc(SAMPLES_MAX * sizeof(*v));
	int fd = -1;
	char line[64];

	if (!v)
		die("malloc");
	if (kind == 'p') {
		fd = dial(to, kind);
		exchange(fd, kind);
	}
	print_ready(fd);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t began = now_ns(), t = began, last;
		uint64_t end = began + (uint64_t)(strtod(line, NULL) * 1e9);
		size_t n = 0;

		while (t < end && n < SAMPLES_MAX) {
			if (kind == 'c')
				fd = dial(to, kind);
			exchange(fd, kind);
			if (kind == 'c')
				close(fd);
			last = t;
			t = now_ns();
			v[n++] = (uint32_t)(t - last);
		}
		print_samples(v, n, t - began);
	}
	free(v);
}

/* What a halted CPU needs to wake is another figure, and a noisy one. */
static void spin(const char *cpu)
{
	struct sched_param p = { 0 };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(strtoul(cpu, NULL, 10), &set);
	if (sched_setaffinity(0, sizeof(set), &set) ||
	    sched_setscheduler(0, SCHED_IDLE, &p))
		die("spin");
	for (;;)
		;
}

int main(int argc, char **argv)
{
	const char *what = argc > 3 ? argv[1] : "";
	struct sockaddr_in to;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "spin"))
		spin(argv[2]);
	if (!strcmp(what, "serve") && argc == 5) {
		serve(argv[2], argv[3], argv[4]);
		return 0;
	}
	if (argc != 4) {
		fputs("usage: probe serve ADDR PORT FILE\n"
		      "       probe pour|ping|connect ADDR PORT\n"
		      "       probe spin CPU\n", stderr);
		return 2;
	}
	to = address(argv[2], argv[3]);
	if (!strcmp(what, "pour"))
		pour(&to);
	else if (!strcmp(what, "ping"))
		measure(&to, 'p');
	else if (!strcmp(what, "connect"))
		measure(&to, 'c');
	else
		return 2;
	return 0;
}
