/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * traffic: the applications of the lab and of the benchmark.
 *
 *   traffic [options] tcp-serve ADDR PORT
 *   traffic [options] tcp ADDR PORT echo PACE_US [BUSY [IDLE]]
 *   traffic [options] tcp ADDR PORT up|down|half PACE_US [BYTES]
 *   traffic [options] udp-serve ADDR PORT
 *   traffic [options] udp ADDR PORT echo|up|down PACE_US
 *   traffic ticker PACE_MS
 *
 *   -s FILE   counters that others may watch while it runs (struct watch)
 *   -b ADDR   source address of a client, -p PORT source port
 *   -m BYTES  size of a paced TCP message (64; up and down only)
 *   -r MS     after this long without an answer a UDP request is repeated
 *
 * Plain sockets that know nothing of addresses that change: what an
 * unmodified program does. Each end hashes what it sent and what it got, and
 * prints one line of JSON when it ends. Standard input takes "stop" (finish
 * in an orderly way and report; so does its end), "echo" (one message on
 * every connection, report when the last one was answered) and "silent" (that
 * report now, with the local ports of those that have not answered).
 *
 * "half" is "down" by a client that ends its own direction at once; it is the
 * server that is to be told to stop.
 *
 * PACE_US is the time between two messages; 0 is as fast as the
 * connection goes, in large writes. A connection's first 32 bytes say what
 * the server shall do; they count for nothing. One that opens with 'p' is
 * echoed and left out of the report: the lab's own probes on a port in use.
 *
 * Never decides whether a result is good, never makes a namespace, address
 * or route. One thread, one clock: CLOCK_MONOTONIC, so that stamps of both
 * ends compare where they are on one machine.
 */
#define _GNU_SOURCE
#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void die(const char *what)
{
	printf("{\"error\":\"%s: %s\"}\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

/* --- data that both ends can make, and its digest -------------------------- */

static uint64_t gen_mix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void gen_seed(struct gen *g, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		g->s[i] = gen_mix(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void gen_fill(struct gen *g, unsigned char *to, size_t len)
{
	uint64_t *s = g->s;

	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t r = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;

		s[2] ^= s[0];
		s[3] ^= s[1];
		s[1] ^= s[2];
		s[0] ^= s[3];
		s[2] ^= t;
		s[3] = rotl(s[3], 45);
		memcpy(to + i, &r, 8);
	}
}

void hash_hex(const unsigned char d[DIGEST], char to[2 * DIGEST + 1])
{
	sodium_bin2hex(to, 2 * DIGEST + 1, d, DIGEST);
}

/* --- counters for the watcher ---------------------------------------------- */

static void watch_open(struct app *a, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(struct watch)))
		die(path);
	a->watch = mmap(NULL, sizeof(struct watch), PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, 0);
	if (a->watch == MAP_FAILED)
		die(path);
	close(fd);
}

void watch_rx(struct app *a, uint64_t *last_ns, uint64_t len)
{
	uint64_t t = now_ns();
	struct watch *w = a->watch;

	if (__atomic_exchange_n(&w->reset, 0, __ATOMIC_ACQ_REL)) {
		w->gap_ns = 0;
		w->rtt_ns = 0;
	}
	if (*last_ns && t - *last_ns > w->gap_ns)
		w->gap_ns = t - *last_ns;
	*last_ns = t;
	w->last_rx_ns = t;
	__atomic_fetch_add(&w->rx_bytes, len, __ATOMIC_RELEASE);
}

void watch_rtt(struct app *a, uint64_t rtt_ns)
{
	if (rtt_ns > a->watch->rtt_ns)
		a->watch->rtt_ns = rtt_ns;
}

/* --- sockets --------------------------------------------------------------- */

static socklen_t address(const char *addr, unsigned port,
			 struct sockaddr_storage *ss)
{
	struct sockaddr_in *v4 = (void *)ss;
	struct sockaddr_in6 *v6 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, addr, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return sizeof(*v4);
	}
	errno = EINVAL;
	if (inet_pton(AF_INET6, addr, &v6->sin6_addr) != 1)
		die(addr);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	return sizeof(*v6);
}

static unsigned port_of(const struct sockaddr_storage *ss)
{
	return ntohs(ss->ss_family == AF_INET ?
			     ((const struct sockaddr_in *)ss)->sin_port :
			     ((const struct sockaddr_in6 *)ss)->sin6_port);
}

int socket_open(const struct app *a, const char *addr, unsigned port,
		       int type, struct sockaddr_storage *ss, socklen_t *len)
{
	int one = 1, room = 8 << 20, fd;

	*len = address(addr, port, ss);
	fd = socket(ss->ss_family, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (type == SOCK_STREAM) {
		/* the same on every machine, so that figures compare */
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	/* what was held comes all at once, on a machine that is busy */
	if (type == SOCK_DGRAM)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room,
			   sizeof(room));
	if (!a->server && (a->bind_addr || a->bind_port)) {
		const char *any = ss->ss_family == AF_INET ? "0.0.0.0" : "::";
		struct sockaddr_storage src;
		socklen_t n = address(a->bind_addr ? a->bind_addr : any,
				      a->bind_port, &src);

		if (!a->bind_port)
			setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT,
				   &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&src, n))
			die("bind");
	}
	return fd;
}

void socket_ports(int fd, unsigned *local, unsigned *remote)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);

	if (!getsockname(fd, (struct sockaddr *)&ss, &n))
		*local = port_of(&ss);
	n = sizeof(ss);
	if (!getpeername(fd, (struct sockaddr *)&ss, &n))
		*remote = port_of(&ss);
}

void print_ready(int fd, unsigned port)
{
	char text[INET6_ADDRSTRLEN] = "";
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);

	if (!getsockname(fd, (struct sockaddr *)&ss, &n))
		inet_ntop(ss.ss_family, ss.ss_family == AF_INET ?
			  (void *)&((struct sockaddr_in *)&ss)->sin_addr :
			  (void *)&((struct sockaddr_in6 *)&ss)->sin6_addr,
			  text, sizeof(text));
	printf("{\"ready\":%u,\"addr\":\"%s\"}\n", port, text);
	fflush(stdout);
}

/* --- standard input -------------------------------------------------------- */

/* Returns false where standard input has ended or says stop. */
bool hear(struct app *a)
{
	char line[64];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line));

	if (n <= 0 || memmem(line, (size_t)n, "stop", 4)) {
		a->stop = true;
		return false;
	}
	if (memmem(line, (size_t)n, "echo", 4) && a->conn && !a->server)
		tcp_echo_all(a);
	if (memmem(line, (size_t)n, "silent", 6) && a->conn && !a->server)
		tcp_echo_give_up(a);
	return true;
}

/* --- a command that prints ------------------------------------------------- */

static int wait_ms(uint64_t until_ns)
{
	uint64_t t = now_ns();

	if (until_ns == UINT64_MAX)
		return -1;
	return until_ns <= t ? 0 :
			       (int)((until_ns - t + NS_PER_MS - 1) / NS_PER_MS);
}

/* Numbers, one a line, for a remote shell; the last line tells the digest
 * of all the others. A terminal must not mix in what is typed. */
static void ticker(uint64_t pace_ns)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	crypto_generichash_state st;
	unsigned char d[DIGEST];
	char hex[2 * DIGEST + 1], line[32];
	struct termios t;
	uint64_t due_ns = now_ns(), n = 0;

	if (!tcgetattr(STDIN_FILENO, &t)) {
		t.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSANOW, &t);
	}
	crypto_generichash_init(&st, NULL, 0, DIGEST);
	do {
		snprintf(line, sizeof(line), "%ju\n", (uintmax_t)++n);
		crypto_generichash_update(&st, (unsigned char *)line,
					  strlen(line));
		fputs(line, stdout);
		fflush(stdout);
		due_ns += pace_ns;
	} while (poll(&p, 1, wait_ms(due_ns)) == 0);
	crypto_generichash_final(&st, d, DIGEST);
	hash_hex(d, hex);
	printf("end %ju %s\n", (uintmax_t)n, hex);
	fflush(stdout);
	/* a terminal's end may overtake the last line: stay until it goes */
	while (poll(&p, 1, BYE_MS * BYE_TRIES) > 0 &&
	       read(STDIN_FILENO, line, sizeof(line)) > 0)
		;
}

/* --- the command line ------------------------------------------------------ */

static int usage(void)
{
	fputs("usage: traffic [-s FILE] [-b ADDR] [-p PORT] [-r MS] [-m BYTES] COMMAND\n"
	      "  tcp-serve ADDR PORT | udp-serve ADDR PORT | ticker MS\n"
	      "  tcp ADDR PORT echo US [BUSY [IDLE]] | up|down|half US [BYTES]\n"
	      "  udp ADDR PORT echo|up|down US\n", stderr);
	return 2;
}

static int run(struct app *a, int argc, char **argv)
{
	const char *what = argv[0];
	unsigned port;
	uint64_t n[2] = { 0, 0 };
	char kind;

	if (!strcmp(what, "ticker") && argc == 2) {
		ticker(strtoull(argv[1], NULL, 10) * NS_PER_MS);
		return 0;
	}
	if (argc < 3)
		return usage();
	port = (unsigned)strtoul(argv[2], NULL, 10);
	a->server = strstr(what, "-serve") != NULL;
	if (!strcmp(what, "tcp-serve"))
		tcp_serve(a, argv[1], port);
	else if (!strcmp(what, "udp-serve"))
		udp_serve(a, argv[1], port);
	if (a->server)
		return 0;
	kind = argc < 5 ? 0 : argv[3][0];
	if (!kind || !strchr(!strcmp(what, "udp") ? "eud" : "eudh", kind))
		return usage();
	a->pace_ns = strtoull(argv[4], NULL, 10) * 1000;
	for (int i = 5; i < argc && i < 7; i++)
		n[i - 5] = strtoull(argv[i], NULL, 10);
	if (!strcmp(what, "udp"))
		udp_client(a, argv[1], port, kind);
	else if (kind == 'e')
		tcp_client(a, argv[1], port, kind, 0, argc > 5 ? n[0] : 1,
			   n[1]);
	else
		tcp_client(a, argv[1], port, kind, n[0], 1, 0);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files = { CONNS_MAX + 64, CONNS_MAX + 64 };
	struct app a = { .repeat_ns = 100 * NS_PER_MS, .msg = MSG };
	int opt;

	a.watch = &a.own_watch;
	while ((opt = getopt(argc, argv, "+s:b:p:r:m:")) != -1) {
		switch (opt) {
		case 's': watch_open(&a, optarg); break;
		case 'b': a.bind_addr = optarg; break;
		case 'p': a.bind_port = (unsigned)atoi(optarg); break;
		case 'r':
			a.repeat_ns = strtoull(optarg, NULL, 10) * NS_PER_MS;
			break;
		case 'm': a.msg = (uint32_t)strtoul(optarg, NULL, 10); break;
		default: return usage();
		}
	}
	if (!a.msg || a.msg > MSG_MAX)
		return usage();
	if (optind >= argc)
		return usage();
	if (sodium_init() < 0)
		die("libsodium");
	setrlimit(RLIMIT_NOFILE, &files);
	prctl(PR_SET_TIMERSLACK, 1000);
	signal(SIGPIPE, SIG_IGN);
	return run(&a, argc - optind, argv + optind);
}
