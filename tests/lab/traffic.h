/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * traffic: what the parts of the traffic program share. See traffic.c.
 */
#ifndef TESTS_LAB_TRAFFIC_H
#define TESTS_LAB_TRAFFIC_H

#include <netinet/in.h>
#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define MSG 64 /* bytes of one paced message */
#define MSG_MAX 65536
#define NS_PER_MS 1000000ull
#define BYE_MS 100 /* between two UDP "bye" */
#define BYE_TRIES 100
#define DIGEST 16
#define CONNS_MAX 4096

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

struct conn; /* traffic_tcp.c */

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

uint64_t now_ns(void);
/* Prints the error as JSON and ends the program. */
void die(const char *what) __attribute__((noreturn));

/* Data from a seed; `len` is rounded down to whole 8 bytes. */
void gen_seed(struct gen *g, uint64_t seed);
void gen_fill(struct gen *g, unsigned char *to, size_t len);
void hash_hex(const unsigned char d[DIGEST], char to[2 * DIGEST + 1]);

/* Counts an arrival; *last_ns is the connection's last one, 0 for none. */
void watch_rx(struct app *a, uint64_t *last_ns, uint64_t len);
void watch_rtt(struct app *a, uint64_t rtt_ns);

/* A socket for numeric `addr`, bound where the client's options say so; the
 * address to bind or connect to in `ss`. */
int socket_open(const struct app *a, const char *addr, unsigned port,
		int type, struct sockaddr_storage *ss, socklen_t *len);
void socket_ports(int fd, unsigned *local, unsigned *remote);

/* Says that the client's (first) connection is open, and from where. */
void print_ready(int fd, unsigned port);

/* Takes a line of standard input. False where it has ended or says stop. */
bool hear(struct app *a);

/* "echo" was heard, or "silent". */
void tcp_echo_all(struct app *a);
void tcp_echo_give_up(struct app *a);
void tcp_serve(struct app *a, const char *addr, unsigned port);
void tcp_client(struct app *a, const char *addr, unsigned port, char kind,
		uint64_t want, size_t busy, size_t idle);
void udp_serve(struct app *a, const char *addr, unsigned port);
void udp_client(struct app *a, const char *addr, unsigned port, char kind);

#endif
