/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * traffic: the applications of the lab and of the benchmark.
 *
 *   traffic [options] tcp-serve ADDR PORT
 *   traffic [options] tcp ADDR PORT echo PACE_US [BUSY [IDLE]]
 *   traffic [options] tcp ADDR PORT up|down PACE_US [BYTES]
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
 * in an orderly way and report; so does its end) and "echo" (one message on
 * every connection, report when the last one was answered).
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
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MSG 64 /* bytes of one paced message */
#define HELLO 32 /* bytes that open a TCP connection */
#define CHUNK (256 * 1024) /* bytes of one unpaced write */
#define PACED_MAX 64 /* messages sent at once after a pause */
#define MSG_MAX 65536
#define CONNS_MAX 4096
#define NS_PER_MS 1000000ull
#define BYE_MS 100 /* between two UDP "bye" */
#define BYE_TRIES 100
#define DIGEST 16

/* Shared with whoever watches; the watcher sets `reset` to forget `gap_ns`. */
struct watch {
	uint64_t rx_bytes;
	uint64_t tx_bytes;
	uint64_t gap_ns; /* longest time between two arrivals on a connection */
	uint64_t last_rx_ns;
	uint64_t reset;
	uint64_t rtt_ns; /* longest request to answer since reset */
	uint64_t repeats; /* UDP requests sent again */
	uint64_t errors;
};

struct gen {
	uint64_t s[4];
};

struct conn {
	int fd;
	char kind; /* 'e'cho, 'u'p, 'd'own; 0 before the hello */
	bool idle; /* sends only when told */
	bool probe; /* a stranger's: echoed and not counted */
	bool stopping, sent_fin, done, waiting;
	bool connected;
	struct gen gen;
	crypto_generichash_state tx, rx;
	uint64_t tx_bytes, rx_bytes, answered;
	uint64_t want; /* bytes to send; 0: until told */
	uint32_t msg; /* bytes of a message */
	uint64_t pace_ns, next_ns, last_rx_ns, asked_ns;
	unsigned char *out;
	size_t out_size, out_len, out_off;
	unsigned char hello[HELLO];
	size_t hello_len;
	uint32_t events;
	int err;
	unsigned local_port, remote_port;
};

struct app {
	int epoll;
	bool server, stop;
	struct conn *conn;
	size_t conns, open;
	struct watch *watch, own_watch;
	uint64_t pace_ns, repeat_ns;
	uint32_t msg;
	uint64_t echo_ns; /* when "echo" was asked, 0 if not */
	size_t echo_left;
	const char *bind_addr;
	unsigned bind_port;
	int first_err;
	bool reset_seen;
};

static unsigned char scratch[CHUNK];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	printf("{\"error\":\"%s: %s\"}\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

/* --- data that both ends can make, and its digest ----------------------- */

static uint64_t gen_mix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static void gen_seed(struct gen *g, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		g->s[i] = gen_mix(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static void gen_fill(struct gen *g, unsigned char *to, size_t len)
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

static void hash_hex(const unsigned char d[DIGEST], char to[2 * DIGEST + 1])
{
	sodium_bin2hex(to, 2 * DIGEST + 1, d, DIGEST);
}

/* Of many connections: the digests of all, in any order. */
static void hash_add(unsigned char sum[DIGEST],
		     const crypto_generichash_state *st)
{
	crypto_generichash_state copy = *st;
	unsigned char d[DIGEST];

	crypto_generichash_final(&copy, d, DIGEST);
	for (int i = 0; i < DIGEST; i++)
		sum[i] ^= d[i];
}

/* --- counters for the watcher ------------------------------------------- */

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

static void watch_rx(struct app *a, uint64_t *last_ns, uint64_t len)
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

static void watch_rtt(struct app *a, uint64_t rtt_ns)
{
	if (rtt_ns > a->watch->rtt_ns)
		a->watch->rtt_ns = rtt_ns;
}

/* --- sockets ------------------------------------------------------------ */

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

static int socket_open(const struct app *a, const char *addr, unsigned port,
		       int type, struct sockaddr_storage *ss, socklen_t *len)
{
	int one = 1, fd;

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

static void socket_ports(int fd, unsigned *local, unsigned *remote)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);

	if (!getsockname(fd, (struct sockaddr *)&ss, &n))
		*local = port_of(&ss);
	n = sizeof(ss);
	if (!getpeername(fd, (struct sockaddr *)&ss, &n))
		*remote = port_of(&ss);
}

/* --- TCP connections ---------------------------------------------------- */

static void conn_init(struct conn *c, int fd)
{
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	crypto_generichash_init(&c->tx, NULL, 0, DIGEST);
	crypto_generichash_init(&c->rx, NULL, 0, DIGEST);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void conn_watch(struct app *a, struct conn *c, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	if (c->events == events || c->done)
		return;
	epoll_ctl(a->epoll, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd,
		  &ev);
	c->events = events;
}

static void conn_end(struct app *a, struct conn *c, int err)
{
	if (c->done)
		return;
	c->done = true;
	c->err = err;
	if (err) {
		a->watch->errors++;
		if (!a->first_err)
			a->first_err = err;
	}
	epoll_ctl(a->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	close(c->fd);
	free(c->out);
	c->out = NULL;
	a->open--;
	if (a->echo_ns && c->waiting)
		a->echo_left--;
}

/* Does this end of the connection make data of its own? */
static bool conn_makes(const struct app *a, const struct conn *c)
{
	return c->kind == (a->server ? 'd' : 'u');
}

static void conn_put(struct app *a, struct conn *c, const unsigned char *from,
		     size_t len)
{
	memcpy(c->out + c->out_len, from, len);
	c->out_len += len;
	crypto_generichash_update(&c->tx, from, len);
	c->tx_bytes += len;
	__atomic_fetch_add(&a->watch->tx_bytes, len, __ATOMIC_RELEASE);
}

static void conn_make(struct app *a, struct conn *c)
{
	size_t len = CHUNK;

	if (c->stopping || (c->want && c->tx_bytes >= c->want))
		return;
	if (c->pace_ns) {
		uint64_t t = now_ns(), due = 0;

		while (c->next_ns <= t && due < PACED_MAX &&
		       (due + 1) * c->msg <= CHUNK) {
			due++;
			c->next_ns += c->pace_ns;
		}
		len = due * c->msg;
	}
	if (c->want && len > c->want - c->tx_bytes)
		len = (size_t)(c->want - c->tx_bytes);
	if (!len)
		return;
	gen_fill(&c->gen, scratch, (len + 7) & ~7ul);
	conn_put(a, c, scratch, len);
}

static void conn_ask(struct app *a, struct conn *c)
{
	unsigned char msg[MSG];

	gen_fill(&c->gen, msg, MSG);
	conn_put(a, c, msg, MSG);
	c->waiting = true;
	c->asked_ns = now_ns();
}

static bool conn_finished(const struct app *a, const struct conn *c)
{
	if (c->out_len > c->out_off || !c->kind)
		return false;
	if (c->want && conn_makes(a, c))
		return c->tx_bytes >= c->want || c->stopping;
	return c->stopping && !(c->kind == 'e' && c->waiting);
}

/* Sends what is due and no more than the socket takes. */
static void conn_pump(struct app *a, struct conn *c)
{
	while (!c->done) {
		ssize_t n;

		if (c->out_off == c->out_len) {
			c->out_off = c->out_len = 0;
			if (conn_makes(a, c) && !c->sent_fin)
				conn_make(a, c);
			if (!c->out_len)
				break;
		}
		n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off,
			 MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			conn_watch(a, c, EPOLLIN | EPOLLOUT);
			return;
		}
		if (n < 0) {
			conn_end(a, c, errno);
			return;
		}
		c->out_off += (size_t)n;
	}
	if (c->done)
		return;
	if (conn_finished(a, c) && !c->sent_fin) {
		c->sent_fin = true;
		shutdown(c->fd, SHUT_WR);
	}
	conn_watch(a, c, EPOLLIN);
}

static void conn_start(struct conn *c, const unsigned char hello[HELLO])
{
	uint64_t v[3];

	memcpy(v, hello + 8, sizeof(v));
	memcpy(&c->msg, hello + 4, sizeof(c->msg));
	c->probe = hello[0] == 'p';
	c->kind = c->probe ? 'e' : (char)hello[0];
	c->pace_ns = v[0];
	c->want = v[1];
	gen_seed(&c->gen, v[2]);
	c->next_ns = now_ns();
	c->out_size = c->kind == 'e' ? 2 * PACED_MAX * MSG : CHUNK;
	c->out = malloc(c->out_size + HELLO);
	if (!c->out)
		die("malloc");
}

static void conn_got(struct app *a, struct conn *c, const unsigned char *data,
		     size_t len)
{
	if (c->idle)
		c->last_rx_ns = 0; /* silence is its nature */
	if (!c->probe)
		watch_rx(a, &c->last_rx_ns, len);
	crypto_generichash_update(&c->rx, data, len);
	c->rx_bytes += len;
	if (c->kind != 'e')
		return;
	if (a->server) {
		conn_put(a, c, data, len);
	} else if (c->rx_bytes == c->tx_bytes && c->waiting) {
		uint64_t t = now_ns();

		c->waiting = false;
		c->answered++;
		watch_rtt(a, t - c->asked_ns);
		c->next_ns = c->next_ns + c->pace_ns > t ?
				     c->next_ns + c->pace_ns : t + c->pace_ns;
		if (a->echo_ns && !--a->echo_left) {
			printf("{\"echoed\":%zu,\"of\":%zu,\"last_ms\":%.3f}\n",
			       a->open, a->conns,
			       (double)(t - a->echo_ns) / NS_PER_MS);
			fflush(stdout);
			a->echo_ns = 0;
		}
	}
}

static void conn_read(struct app *a, struct conn *c)
{
	for (int round = 0; round < 16 && !c->done; round++) {
		size_t room = sizeof(scratch);
		unsigned char *data = scratch;
		ssize_t n;

		if (a->server && c->kind == 'e') { /* answer before more */
			room = c->out_size - (c->out_len - c->out_off);
			if (room > c->out_size - c->out_len) {
				memmove(c->out, c->out + c->out_off,
					c->out_len - c->out_off);
				c->out_len -= c->out_off;
				c->out_off = 0;
			}
			if (!room)
				return;
		}
		if (!c->kind)
			room = HELLO - c->hello_len;
		n = recv(c->fd, data, room, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			conn_end(a, c, errno);
		} else if (!n) {
			if (!a->server || c->sent_fin || !c->kind) {
				conn_end(a, c, c->sent_fin ? 0 : EPIPE);
				return;
			}
			c->stopping = true;
			c->want = 0;
			conn_pump(a, c);
			if (c->sent_fin)
				conn_end(a, c, 0);
			return;
		} else if (!c->kind) {
			memcpy(c->hello + c->hello_len, data, (size_t)n);
			c->hello_len += (size_t)n;
			if (c->hello_len == HELLO)
				conn_start(c, c->hello);
		} else {
			conn_got(a, c, data, (size_t)n);
		}
	}
}

static void conn_event(struct app *a, struct conn *c, uint32_t events)
{
	if (!c->connected) {
		int err = 0;
		socklen_t n = sizeof(err);

		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &n);
		if (err) {
			conn_end(a, c, err);
			return;
		}
		c->connected = true;
		socket_ports(c->fd, &c->local_port, &c->remote_port);
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		conn_read(a, c);
	if (!c->done && c->kind)
		conn_pump(a, c);
}

/* --- the TCP programs --------------------------------------------------- */

static void report(struct app *a, const char *role, const char *more)
{
	unsigned char tx[DIGEST] = { 0 }, rx[DIGEST] = { 0 };
	char txs[2 * DIGEST + 1], rxs[2 * DIGEST + 1];
	uint64_t tx_bytes = 0, rx_bytes = 0;
	size_t failed = 0;

	for (size_t i = 0; i < a->conns; i++) {
		struct conn *c = &a->conn[i];

		if (c->probe)
			continue;
		tx_bytes += c->tx_bytes;
		rx_bytes += c->rx_bytes;
		hash_add(tx, &c->tx);
		hash_add(rx, &c->rx);
		failed += c->err != 0;
	}
	hash_hex(tx, txs);
	hash_hex(rx, rxs);
	printf("{\"role\":\"%s\",\"conns\":%zu,\"failed\":%zu,"
	       "\"error\":%s%s%s,\"tx_bytes\":%ju,\"rx_bytes\":%ju,"
	       "\"tx_hash\":\"%s\",\"rx_hash\":\"%s\",\"gap_ms\":%.3f,"
	       "\"rtt_max_ms\":%.3f%s}\n", role, a->conns, failed,
	       a->first_err ? "\"" : "",
	       a->first_err ? strerrorname_np(a->first_err) : "null",
	       a->first_err ? "\"" : "", (uintmax_t)tx_bytes,
	       (uintmax_t)rx_bytes, txs, rxs,
	       (double)a->watch->gap_ns / NS_PER_MS,
	       (double)a->watch->rtt_ns / NS_PER_MS, more);
	fflush(stdout);
}

static void hear_echo(struct app *a)
{
	a->echo_left = 0;
	a->echo_ns = now_ns();
	for (size_t i = 0; i < a->conns; i++) {
		struct conn *c = &a->conn[i];

		if (c->done || c->kind != 'e')
			continue;
		a->echo_left++;
		if (!c->waiting)
			conn_ask(a, c);
	}
	for (size_t i = 0; i < a->conns; i++)
		if (!a->conn[i].done)
			conn_pump(a, &a->conn[i]);
}

/* Returns false where standard input has ended or says stop. */
static bool hear(struct app *a)
{
	char line[64];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line));

	if (n <= 0 || memmem(line, (size_t)n, "stop", 4)) {
		a->stop = true;
		return false;
	}
	if (memmem(line, (size_t)n, "echo", 4) && a->conn && !a->server)
		hear_echo(a);
	return true;
}

static int wait_ms(uint64_t until_ns)
{
	uint64_t t = now_ns();

	if (until_ns == UINT64_MAX)
		return -1;
	return until_ns <= t ? 0 :
			       (int)((until_ns - t + NS_PER_MS - 1) / NS_PER_MS);
}

static int wait_events(struct app *a, struct epoll_event *ev, int max,
		       uint64_t until_ns)
{
	struct pollfd p = { .fd = a->epoll, .events = POLLIN };
	uint64_t t = now_ns(), d = until_ns > t ? until_ns - t : 0;
	struct timespec ts = { .tv_sec = (time_t)(d / 1000000000ull),
			       .tv_nsec = (long)(d % 1000000000ull) };

	/* epoll_wait() counts whole milliseconds: too coarse for a pace */
	if (ppoll(&p, 1, until_ns == UINT64_MAX ? NULL : &ts, NULL) <= 0)
		return 0;
	return epoll_wait(a->epoll, ev, max, 0);
}

static void serve_accept(struct app *a, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), one = 1;
		struct conn *c = &a->conn[a->conns];

		if (fd < 0)
			return;
		if (a->conns == CONNS_MAX) {
			close(fd);
			return;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		conn_init(c, fd);
		c->connected = true;
		a->conns++;
		a->open++;
		conn_watch(a, c, EPOLLIN);
	}
}

static void tick(struct app *a, uint64_t *until_ns)
{
	uint64_t t = now_ns();

	*until_ns = UINT64_MAX;
	for (size_t i = 0; i < a->conns; i++) {
		struct conn *c = &a->conn[i];
		bool asks;

		if (c->done || !c->kind)
			continue;
		if (a->stop && !a->server)
			c->stopping = true;
		asks = !a->server && c->kind == 'e' && !c->idle &&
		       !c->waiting && !c->stopping && c->connected;
		if (asks && c->next_ns <= t)
			conn_ask(a, c);
		/* a socket that takes no more wakes us by itself */
		if (!(c->events & EPOLLOUT) && c->connected)
			conn_pump(a, c);
		if (c->done || c->stopping || c->events & EPOLLOUT)
			continue;
		if ((asks && !c->waiting) || (c->pace_ns && conn_makes(a, c)))
			if (c->next_ns < *until_ns)
				*until_ns = c->next_ns;
	}
}

static void tcp_loop(struct app *a, int listener)
{
	struct epoll_event ev[64],
		in = { .events = EPOLLIN, .data.ptr = &a->stop },
		acc = { .events = EPOLLIN, .data.ptr = a };
	uint64_t until_ns = 0;

	epoll_ctl(a->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &in);
	if (listener >= 0)
		epoll_ctl(a->epoll, EPOLL_CTL_ADD, listener, &acc);
	while (a->server ? !a->stop : a->open > 0) {
		int n = wait_events(a, ev, 64, until_ns);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == a)
				serve_accept(a, listener);
			else if (ev[i].data.ptr != &a->stop)
				conn_event(a, ev[i].data.ptr, ev[i].events);
			else if (!hear(a))
				epoll_ctl(a->epoll, EPOLL_CTL_DEL,
					  STDIN_FILENO, NULL);
		}
		tick(a, &until_ns);
	}
}

static void tcp_serve(struct app *a, const char *addr, unsigned port)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd = socket_open(a, addr, port, SOCK_STREAM, &ss, &len);

	if (bind(fd, (struct sockaddr *)&ss, len))
		die("bind");
	if (listen(fd, CONNS_MAX))
		die("listen");
	fcntl(fd, F_SETFL, O_NONBLOCK);
	printf("{\"ready\":%u}\n", port);
	fflush(stdout);
	tcp_loop(a, fd);
	report(a, "server", "");
}

static void tcp_client(struct app *a, const char *addr, unsigned port,
		       char kind, uint64_t want, size_t busy, size_t idle)
{
	uint64_t seed = ((uint64_t)getpid() << 32) ^ now_ns();
	char more[64];

	for (size_t i = 0; i < busy + idle; i++) {
		struct sockaddr_storage ss;
		struct conn *c = &a->conn[i];
		unsigned char hello[HELLO] = { (unsigned char)kind };
		uint64_t v[3] = { a->pace_ns, want, seed + i };
		socklen_t len;
		int fd = socket_open(a, addr, port, SOCK_STREAM, &ss, &len);

		if (connect(fd, (struct sockaddr *)&ss, len))
			die("connect");
		conn_init(c, fd);
		memcpy(hello + 4, &a->msg, sizeof(a->msg));
		memcpy(hello + 8, v, sizeof(v));
		conn_start(c, hello);
		c->connected = true;
		c->idle = i >= busy;
		socket_ports(fd, &c->local_port, &c->remote_port);
		memcpy(c->out, hello, HELLO);
		c->out_len = HELLO;
		/* spread them over the pace */
		c->next_ns += busy ? a->pace_ns * i / busy : 0;
		a->conns++;
		a->open++;
		if (c->idle)
			conn_ask(a, c); /* it carries data once */
		conn_pump(a, c);
	}
	printf("{\"ready\":%u}\n", a->conn[0].local_port);
	fflush(stdout);
	tcp_loop(a, -1);
	snprintf(more, sizeof(more), ",\"port\":%u", a->conn[0].local_port);
	report(a, "client", more);
}

/* --- UDP ---------------------------------------------------------------- */

/* One datagram; values in this machine's order: both ends run on it. */
struct datagram {
	char type; /* 'h'ello 'H', 'q'uestion 'a'nswer, 'd'ata, 'b'ye 'B' */
	char kind;
	char zero[6];
	uint64_t seq, pace_ns;
	unsigned char body[40];
};

struct udp {
	int fd;
	char kind;
	struct gen gen;
	crypto_generichash_state tx, rx;
	uint64_t next; /* sequence expected (or asked) next, from 1 */
	uint64_t sent, received, duplicates, reordered, repeats, total;
	uint64_t last_rx_ns, asked_ns;
	struct datagram last; /* as answered or asked */
	int send_err, recv_err;
	uint64_t send_errs;
};

static void udp_put(struct app *a, struct udp *u, const struct datagram *d)
{
	/* blocks like an ordinary program while the socket takes no more */
	if (send(u->fd, d, sizeof(*d), 0) >= 0) {
		a->watch->tx_bytes += sizeof(*d);
		return;
	}
	if (!u->send_err)
		u->send_err = errno;
	u->send_errs++;
	a->watch->errors++;
}

static void udp_make(struct app *a, struct udp *u, char type, uint64_t seq)
{
	memset(&u->last, 0, sizeof(u->last));
	u->last.type = type;
	u->last.kind = u->kind;
	u->last.seq = seq;
	u->last.pace_ns = a->pace_ns;
	gen_fill(&u->gen, u->last.body, sizeof(u->last.body));
	crypto_generichash_update(&u->tx, u->last.body, sizeof(u->last.body));
	u->sent++;
	udp_put(a, u, &u->last);
}

static void udp_plain(struct app *a, struct udp *u, char type, uint64_t seq)
{
	struct datagram d = { .type = type, .kind = u->kind, .seq = seq,
			      .pace_ns = a->pace_ns };

	udp_put(a, u, &d);
}

static void udp_count(struct app *a, struct udp *u, const struct datagram *d)
{
	watch_rx(a, &u->last_rx_ns, sizeof(*d));
	crypto_generichash_update(&u->rx, d->body, sizeof(d->body));
	u->received++;
}

/* Data one way: holes are counted at the end, from the sender's total. */
static void udp_data(struct app *a, struct udp *u, const struct datagram *d)
{
	if (d->seq == u->next - 1 && u->received) {
		u->duplicates++;
		return;
	}
	if (d->seq < u->next)
		u->reordered++;
	else
		u->next = d->seq + 1;
	udp_count(a, u, d);
}

/* Returns 1 with a datagram, 0 where there is none now. */
static int udp_get(struct app *a, struct udp *u, struct datagram *d)
{
	ssize_t n = recv(u->fd, d, sizeof(*d), MSG_DONTWAIT);

	if (n == (ssize_t)sizeof(*d))
		return 1;
	if (n < 0 && errno != EAGAIN) {
		if (!u->recv_err)
			u->recv_err = errno;
		a->watch->errors++;
	}
	return 0;
}

static void udp_report(struct app *a, struct udp *u, const char *role)
{
	unsigned char tx[DIGEST], rx[DIGEST];
	char txs[2 * DIGEST + 1], rxs[2 * DIGEST + 1];
	unsigned local = 0, remote = 0;
	int err = u->send_err ? u->send_err : u->recv_err;

	crypto_generichash_final(&u->tx, tx, DIGEST);
	crypto_generichash_final(&u->rx, rx, DIGEST);
	hash_hex(tx, txs);
	hash_hex(rx, rxs);
	socket_ports(u->fd, &local, &remote);
	printf("{\"role\":\"%s\",\"port\":%u,\"error\":%s%s%s,"
	       "\"send_errors\":%ju,\"sent\":%ju,\"received\":%ju,"
	       "\"total\":%ju,\"duplicates\":%ju,\"reordered\":%ju,"
	       "\"repeats\":%ju,\"tx_bytes\":%ju,\"rx_bytes\":%ju,"
	       "\"tx_hash\":\"%s\",\"rx_hash\":\"%s\",\"gap_ms\":%.3f,"
	       "\"rtt_max_ms\":%.3f}\n", role, local, err ? "\"" : "",
	       err ? strerrorname_np(err) : "null", err ? "\"" : "",
	       (uintmax_t)u->send_errs, (uintmax_t)u->sent,
	       (uintmax_t)u->received, (uintmax_t)u->total,
	       (uintmax_t)u->duplicates, (uintmax_t)u->reordered,
	       (uintmax_t)u->repeats,
	       (uintmax_t)(u->sent * sizeof(u->last.body)),
	       (uintmax_t)(u->received * sizeof(u->last.body)), txs, rxs,
	       (double)a->watch->gap_ns / NS_PER_MS,
	       (double)a->watch->rtt_ns / NS_PER_MS);
	fflush(stdout);
}

static void udp_serve_one(struct app *a, struct udp *u,
			  const struct datagram *d)
{
	switch (d->type) {
	case 'h':
		u->kind = d->kind;
		a->pace_ns = d->pace_ns;
		udp_plain(a, u, 'H', 0);
		break;
	case 'q':
		if (d->seq == u->next) {
			u->next++;
			udp_count(a, u, d);
			udp_make(a, u, 'a', d->seq);
		} else if (d->seq + 1 == u->next) {
			u->duplicates++;
			udp_put(a, u, &u->last); /* the answer was lost */
		}
		break;
	case 'd':
		udp_data(a, u, d);
		break;
	case 'b':
		u->total = d->seq;
		udp_plain(a, u, 'B', u->sent);
		u->kind = 0; /* sends no more */
		break;
	}
}

static void udp_init(struct udp *u, int fd)
{
	memset(u, 0, sizeof(*u));
	u->fd = fd;
	u->next = 1;
	gen_seed(&u->gen, ((uint64_t)getpid() << 32) ^ now_ns());
	crypto_generichash_init(&u->tx, NULL, 0, DIGEST);
	crypto_generichash_init(&u->rx, NULL, 0, DIGEST);
}

/* Waits for a datagram, for standard input or until `until_ns`. */
static void udp_wait(struct app *a, struct udp *u, uint64_t until_ns)
{
	struct pollfd p[2] = { { .fd = u->fd, .events = POLLIN },
			       { .fd = a->stop ? -1 : STDIN_FILENO,
				 .events = POLLIN } };
	uint64_t t = now_ns(), d = until_ns > t ? until_ns - t : 0;
	struct timespec ts = { .tv_sec = (time_t)(d / 1000000000ull),
			       .tv_nsec = (long)(d % 1000000000ull) };

	ppoll(p, 2, until_ns == UINT64_MAX ? NULL : &ts, NULL);
	if (p[1].revents)
		hear(a);
}

static void udp_serve(struct app *a, const char *addr, unsigned port)
{
	struct sockaddr_storage ss;
	socklen_t len;
	struct udp u;
	struct datagram d;
	uint64_t due_ns = UINT64_MAX;

	udp_init(&u, socket_open(a, addr, port, SOCK_DGRAM, &ss, &len));
	if (bind(u.fd, (struct sockaddr *)&ss, len))
		die("bind");
	printf("{\"ready\":%u}\n", port);
	fflush(stdout);
	len = sizeof(ss);
	/* the first datagram makes the other end; it is read again below */
	while (!a->stop && recvfrom(u.fd, &d, sizeof(d),
				    MSG_PEEK | MSG_DONTWAIT,
				    (struct sockaddr *)&ss, &len) < 0) {
		udp_wait(a, &u, UINT64_MAX);
		len = sizeof(ss);
	}
	if (!a->stop && connect(u.fd, (struct sockaddr *)&ss, len))
		die("connect");
	while (!a->stop) {
		udp_wait(a, &u, due_ns);
		while (udp_get(a, &u, &d))
			udp_serve_one(a, &u, &d);
		if (u.kind != 'd') {
			due_ns = UINT64_MAX;
		} else if (due_ns == UINT64_MAX || due_ns <= now_ns()) {
			if (due_ns == UINT64_MAX)
				due_ns = now_ns();
			udp_make(a, &u, 'd', u.sent + 1);
			due_ns += a->pace_ns;
		}
	}
	udp_report(a, &u, "server");
}

static void udp_hello(struct app *a, struct udp *u)
{
	struct datagram d;

	for (int i = 0; i < BYE_TRIES; i++) {
		udp_plain(a, u, 'h', 0);
		udp_wait(a, u, now_ns() + BYE_MS * NS_PER_MS);
		while (udp_get(a, u, &d))
			if (d.type == 'H')
				return;
	}
	errno = ETIMEDOUT;
	die("no server");
}

static void udp_bye(struct app *a, struct udp *u)
{
	struct datagram d;

	for (int i = 0; i < BYE_TRIES; i++) {
		uint64_t until_ns = now_ns() + BYE_MS * NS_PER_MS;

		udp_plain(a, u, 'b', u->sent);
		while (now_ns() < until_ns) {
			udp_wait(a, u, until_ns);
			while (udp_get(a, u, &d)) {
				if (d.type == 'd')
					udp_data(a, u, &d);
				if (d.type == 'B') {
					u->total = d.seq;
					return;
				}
			}
		}
	}
	u->recv_err = ETIMEDOUT;
}

/* One question at a time; asked again until it is answered. */
static void udp_echo(struct app *a, struct udp *u)
{
	bool waiting = false;
	uint64_t due_ns = now_ns(), again_ns = 0;
	struct datagram d;

	while (!a->stop || waiting) {
		uint64_t t = now_ns();

		if (!waiting && due_ns <= t && !a->stop) {
			udp_make(a, u, 'q', u->next);
			waiting = true;
			u->asked_ns = t;
			again_ns = t + a->repeat_ns;
		} else if (waiting && again_ns <= t) {
			u->repeats++;
			a->watch->repeats++;
			udp_put(a, u, &u->last);
			again_ns = now_ns() + a->repeat_ns;
		}
		udp_wait(a, u, waiting ? again_ns : due_ns);
		while (udp_get(a, u, &d)) {
			if (d.type != 'a' || !waiting || d.seq != u->next) {
				u->duplicates++;
				continue;
			}
			udp_count(a, u, &d);
			watch_rtt(a, now_ns() - u->asked_ns);
			u->next++;
			waiting = false;
			due_ns = u->asked_ns + a->pace_ns;
		}
		if (u->repeats > 1000 && a->stop)
			break;
	}
}

static void udp_client(struct app *a, const char *addr, unsigned port,
		       char kind)
{
	struct sockaddr_storage ss;
	socklen_t len;
	struct udp u;
	struct datagram d;
	unsigned local = 0, remote = 0;
	uint64_t due_ns;

	udp_init(&u, socket_open(a, addr, port, SOCK_DGRAM, &ss, &len));
	u.kind = kind;
	if (connect(u.fd, (struct sockaddr *)&ss, len))
		die("connect");
	socket_ports(u.fd, &local, &remote);
	udp_hello(a, &u);
	printf("{\"ready\":%u}\n", local);
	fflush(stdout);
	due_ns = now_ns();
	if (kind == 'e')
		udp_echo(a, &u);
	while (!a->stop) {
		if (kind == 'u' && due_ns <= now_ns()) {
			udp_make(a, &u, 'd', u.sent + 1);
			due_ns += a->pace_ns;
		}
		udp_wait(a, &u, kind == 'u' ? due_ns : UINT64_MAX);
		while (udp_get(a, &u, &d))
			if (d.type == 'd')
				udp_data(a, &u, &d);
	}
	udp_bye(a, &u);
	udp_report(a, &u, "client");
}

/* --- a command that prints ---------------------------------------------- */

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

/* --- the command line --------------------------------------------------- */

static int usage(void)
{
	fputs("usage: traffic [-s FILE] [-b ADDR] [-p PORT] [-r MS] [-m BYTES] COMMAND\n"
	      "  tcp-serve ADDR PORT | udp-serve ADDR PORT | ticker MS\n"
	      "  tcp ADDR PORT echo US [BUSY [IDLE]] | up|down US [BYTES]\n"
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
	if (argc < 5 || !strchr("eud", argv[3][0]))
		return usage();
	kind = argv[3][0];
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
	int opt, rc;

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
	a.conn = calloc(CONNS_MAX, sizeof(*a.conn));
	a.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!a.conn || a.epoll < 0)
		die("start");
	rc = run(&a, argc - optind, argv + optind);
	free(a.conn);
	return rc;
}
