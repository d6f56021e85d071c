/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sockdiag: the kernel's sockets, seen from outside.
 *
 * Owns the sock_diag dumps, look-ups, destroy events and socket destruction
 * of this network namespace (sockets in others are not seen). Addresses are
 * normalized: a v4-mapped socket is an IPv4 flow. Never keeps a table (that
 * is `flow`), never decides what may be protected.
 *
 * A destroy event is not the end of a TCP flow: FIN_WAIT2 and TIME_WAIT live
 * on without a socket. A flow has ended when its event came *and*
 * sockdiag_lookup() finds nothing.
 */
#ifndef SACIPED_SOCKDIAG_H
#define SACIPED_SOCKDIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

struct sockdiag;

enum sockdiag_state {
	SOCKDIAG_YOUNG, /* TCP SYN_SENT, SYN_RECV */
	SOCKDIAG_OPEN, /* TCP ESTABLISHED, CLOSE_WAIT, and the next ones while
			* a process holds the socket; connected UDP */
	SOCKDIAG_CLOSING, /* TCP FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING:
			   * nobody reads or writes any more */
	SOCKDIAG_TIME_WAIT,
	SOCKDIAG_UNCONNECTED, /* UDP; remote is unset, port 0 */
};

/* From struct tcp_info; all 0 where it was not asked for or not told. */
struct sockdiag_info {
	uint32_t rtt_us, rttvar_us;
	uint32_t rto_us;
	uint32_t unacked; /* segments in flight */
	/* bytes: written and not acknowledged, and of these not sent yet */
	uint32_t queued, notsent;
	uint32_t snd_wnd, rcv_wnd; /* bytes, scaled; 0 before 5.4/6.2 */
	uint8_t snd_wscale;
	uint8_t backoff;
	uint8_t reordering; /* packets; more duplicates mean a loss */
	bool sack; /* selective acknowledgments were agreed on */
	bool retransmits; /* a timer runs that leads to a retransmission ... */
	uint32_t expires_ms; /* ... in so much time */
	uint32_t snd_mss; /* bytes */
	uint64_t delivery_rate; /* bytes per second */
	uint32_t last_data_sent_ms, last_data_recv_ms;
	uint32_t last_ack_recv_ms; /* of what is in its window */
};

struct sockdiag_entry {
	struct tuple tuple; /* local: unset address where bound to any */
	enum sockdiag_state state;
	uint8_t tcp_state; /* TCP_ESTABLISHED, ... of netinet/tcp.h */
	uint64_t cookie; /* names the socket for its life; never 0 */
	uint32_t uid; /* 0 in TIME_WAIT */
	uint32_t inode; /* 0: no process holds it */
	uint32_t ifindex; /* 0, or bound to this device */
	uint32_t mark; /* SO_MARK; needs CAP_NET_ADMIN */
	/* Told with SOCKDIAG_INFO and by sockdiag_lookup() only: */
	bool mptcp; /* subflow of an MPTCP connection */
	bool md5; /* has TCP-MD5 keys (CAP_NET_ADMIN); the kernel does not
		   * tell of TCP-AO */
	bool recverr; /* IP_RECVERR: soft errors are told at once (5.8) */
	struct sockdiag_info info;
};

/* A negative errno ends the dump and becomes its result. An entry can come
 * twice, and a socket that comes or goes meanwhile once or never. */
typedef int sockdiag_callback(const struct sockdiag_entry *entry, void *arg);
/* A socket is gone: only tuple and cookie are told. A UDP socket that connects
 * to somebody else, or to nobody, lives on and makes no event. */
typedef void sockdiag_destroy_callback(const struct sockdiag_entry *entry,
				       void *arg);

enum sockdiag_what {
	SOCKDIAG_TCP = 1,
	SOCKDIAG_UDP = 2,
	/* Fill `info`, `mptcp` and `md5`: each socket is locked in turn. A dump
	 * of 100,000 sockets takes 130 ms without and 165 ms with it. */
	SOCKDIAG_INFO = 4,
};

/* 0 or -errno. Without CAP_NET_ADMIN there are no events: -EPERM. */
int sockdiag_open(struct sockdiag **sd, sockdiag_destroy_callback *destroyed,
		  void *arg);
void sockdiag_close(struct sockdiag *sd); /* NULL is fine */
/* Are destroy events wanted? They are from sockdiag_open() on. While anybody
 * listens the kernel tells of each socket that ends, which costs 8 us of CPU
 * time for a short connection: a fifth of all that it takes. 0 or -errno. */
int sockdiag_listen(struct sockdiag *sd, bool on);
/* Destroy events: for EPOLLIN, level-triggered. */
int sockdiag_fd(const struct sockdiag *sd);
/* 0; -ENOBUFS: events were lost, dump anew; other -errno. */
int sockdiag_receive(struct sockdiag *sd);

/* Every connected or unconnected socket of both families, listeners and
 * sockets that are merely bound aside; `what` is a set of sockdiag_what. */
int sockdiag_dump(struct sockdiag *sd, unsigned what, sockdiag_callback *cb,
		  void *arg);
/* The same of those alone that are SOCKDIAG_OPEN and have that address, ours
 * or (`remote`) the other end's: the kernel passes over most others. */
int sockdiag_dump_at(struct sockdiag *sd, unsigned what,
		     const struct addr *addr, bool remote,
		     sockdiag_callback *cb, void *arg);

/*
 * The socket on exactly this tuple (both ends set), whatever its state;
 * `ifindex` is that of a device-bound socket, else 0. `entry` (may be NULL)
 * is filled as with SOCKDIAG_INFO.
 * 0, -ENOENT, or -errno.
 */
int sockdiag_lookup(struct sockdiag *sd, const struct tuple *tuple,
		    uint32_t ifindex, struct sockdiag_entry *entry);
/*
 * Ends the socket: its owner sees ECONNABORTED, a TCP peer RST. 0; -ENOENT:
 * no such socket, or another cookie; -EOPNOTSUPP: the kernel lacks
 * CONFIG_INET_DIAG_DESTROY; -EPERM.
 */
int sockdiag_destroy(struct sockdiag *sd, const struct tuple *tuple,
		     uint32_t ifindex, uint64_t cookie);

/*
 * May a wire tuple not use this local port? Found by binding a socket to it
 * for a moment, which sees listeners, bound, connected and TIME_WAIT sockets
 * in one step of constant cost. `local` need not be on an interface.
 * 1 taken, 0 free, -errno (-EACCES: port below 1024, no capability).
 */
int sockdiag_port_taken(uint8_t proto, const struct addr *local,
			uint16_t port);

#endif
