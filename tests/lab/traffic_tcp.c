/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * traffic_tcp: TCP connections, any number of them on one epoll.
 *
 * Owns the connections of the program. Never decides whether a result is
 * good.
 */
#define _GNU_SOURCE
#include "traffic.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define HELLO 32 /* bytes that open a TCP connection */
#define CHUNK (256 * 1024) /* bytes of one unpaced write */
#define ROUNDS 16 /* of writing, before others are looked after */
#define PACED_MAX 64 /* messages sent at once after a pause */

struct conn {
	int fd;
	char kind; /* 'e'cho, 'u'p, 'd'own, 'h'alf; 0 before the hello */
	bool idle; /* sends only when told */
	bool probe; /* a stranger's: echoed and not counted */
	bool stopping, sent_fin, done, waiting;
	bool connected;
	bool deaf; /* the client said all it had to say, and is sent on to */
	bool asked; /* by "echo", and has not answered since */
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

static unsigned char scratch[CHUNK];

/* --- connections ----------------------------------------------------------- */

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
	struct epoll_event ev = { .data.ptr = c };

	if (c->deaf) /* its end can be read for ever */
		events = (events & ~(uint32_t)EPOLLIN) | EPOLLPRI;
	if (c->events == events || c->done)
		return;
	ev.events = events;
	epoll_ctl(a->epoll, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd,
		  &ev);
	c->events = events;
}

/* One line for one "echo": who answered, and the ports of those that did
 * not. */
static void echo_report(struct app *a)
{
	const char *comma = "";
	size_t echoed = 0;

	for (size_t i = 0; i < a->conns; i++)
		echoed += !a->conn[i].asked && !a->conn[i].err;
	printf("{\"echoed\":%zu,\"of\":%zu,\"last_ms\":%.3f,\"silent\":[",
	       echoed, a->conns, (double)(now_ns() - a->echo_ns) / NS_PER_MS);
	for (size_t i = 0; i < a->conns; i++) {
		const struct conn *c = &a->conn[i];

		if (!c->asked && !c->err)
			continue;
		printf("%s%u", comma, c->local_port);
		comma = ",";
	}
	printf("]}\n");
	fflush(stdout);
	a->echo_ns = 0;
}

/* It has answered an "echo", or never will. */
static void echo_settled(struct app *a, struct conn *c)
{
	if (!a->echo_ns || !c->asked)
		return;
	c->asked = false;
	if (!--a->echo_left)
		echo_report(a);
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
	echo_settled(a, c);
}

/* Does this end of the connection make data of its own? */
static bool conn_makes(const struct app *a, const struct conn *c)
{
	return a->server ? c->kind == 'd' || c->kind == 'h' : c->kind == 'u';
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

/* Sends what is due and no more than the socket takes. On a machine that is
 * slower than the pace something is always due. */
static void conn_pump(struct app *a, struct conn *c)
{
	for (int round = 0; !c->done; round++) {
		ssize_t n;

		if (round == ROUNDS) {
			conn_watch(a, c, EPOLLIN | EPOLLOUT);
			return;
		}
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
		echo_settled(a, c);
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
		} else if (!n && a->server && c->kind == 'h') {
			c->deaf = true;
			conn_watch(a, c, c->events);
			return;
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
			if ((size_t)n < room) /* there was no more */
				return;
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

/* --- programs -------------------------------------------------------------- */

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

void tcp_echo_all(struct app *a)
{
	a->echo_left = 0;
	a->echo_ns = now_ns();
	for (size_t i = 0; i < a->conns; i++) {
		struct conn *c = &a->conn[i];

		if (c->done || c->kind != 'e')
			continue;
		c->asked = true;
		a->echo_left++;
		if (!c->waiting)
			conn_ask(a, c);
	}
	for (size_t i = 0; i < a->conns; i++)
		if (!a->conn[i].done)
			conn_pump(a, &a->conn[i]);
}

void tcp_echo_give_up(struct app *a)
{
	if (a->echo_ns)
		echo_report(a);
}

static int wait_events(struct app *a, struct epoll_event *ev, int max,
		       uint64_t until_ns)
{
	uint64_t t = now_ns(), d = until_ns > t ? until_ns - t : 0;
	struct timespec ts = { .tv_sec = (time_t)(d / 1000000000ull),
			       .tv_nsec = (long)(d % 1000000000ull) };

	/* epoll_wait() counts whole milliseconds: too coarse for a pace */
	return epoll_pwait2(a->epoll, ev, max,
			    until_ns == UINT64_MAX ? NULL : &ts, NULL);
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

static void start(struct app *a)
{
	a->conn = calloc(CONNS_MAX, sizeof(*a->conn));
	a->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!a->conn || a->epoll < 0)
		die("start");
}

static void finish(struct app *a)
{
	for (size_t i = 0; i < a->conns; i++)
		free(a->conn[i].out);
	free(a->conn);
	a->conn = NULL;
	close(a->epoll);
}

void tcp_serve(struct app *a, const char *addr, unsigned port)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd = socket_open(a, addr, port, SOCK_STREAM, &ss, &len);

	start(a);
	if (bind(fd, (struct sockaddr *)&ss, len))
		die("bind");
	if (listen(fd, CONNS_MAX))
		die("listen");
	fcntl(fd, F_SETFL, O_NONBLOCK);
	printf("{\"ready\":%u}\n", port);
	fflush(stdout);
	tcp_loop(a, fd);
	for (size_t i = 0; i < a->conns; i++) {
		struct conn *c = &a->conn[i];

		if (c->done || !c->deaf)
			continue;
		c->stopping = true;
		conn_pump(a, c);
	}
	report(a, "server", "");
	finish(a);
}

void tcp_client(struct app *a, const char *addr, unsigned port,
		       char kind, uint64_t want, size_t busy, size_t idle)
{
	uint64_t seed = ((uint64_t)getpid() << 32) ^ now_ns();
	char more[64];

	start(a);
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
		c->stopping = kind == 'h';
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
	print_ready(a->conn[0].fd, a->conn[0].local_port);
	tcp_loop(a, -1);
	snprintf(more, sizeof(more), ",\"port\":%u", a->conn[0].local_port);
	report(a, "client", more);
	finish(a);
}
