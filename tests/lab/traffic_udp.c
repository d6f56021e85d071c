/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * traffic_udp: one connected UDP exchange, with repeats.
 *
 * Owns its socket. Counts what was lost, doubled or out of order; never
 * decides whether that is good.
 */
#define _GNU_SOURCE
#include "traffic.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORD_EVERY 50
#define STOP_TRIES 1000 /* of the last question, once told to stop */

/* One datagram; values in this machine's order: both ends run on it. */
struct datagram {
	char type; /* 'h'ello 'H', 'q'uestion 'a'nswer, 'd'ata 'k', 'b'ye 'B' */
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

/* Data one way: holes are counted at the end, from the sender's total. Now
 * and then the receiver says something too, as real ones do. */
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
	if (u->received % WORD_EVERY == 1)
		udp_plain(a, u, 'k', d->seq);
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

void udp_serve(struct app *a, const char *addr, unsigned port)
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
	unsigned tries = STOP_TRIES;
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
			if (a->stop && !tries--)
				break;
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
	}
}

void udp_client(struct app *a, const char *addr, unsigned port,
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
	print_ready(u.fd, local);
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
