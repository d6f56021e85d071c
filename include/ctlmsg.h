/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctlmsg: what saciped and sacipctl say to each other on the Unix socket.
 *
 * Owns the values as plain structs and their form as messages. Shared by
 * the daemon (ctl) and sacipctl. Never opens a socket, never prints.
 *
 * The socket is SOCK_SEQPACKET: one message is one packet, whole or not at
 * all. Every message starts with
 *	u8 version, u8 type, u16 length of the whole message
 * in network byte order; the bodies are in src/ctlmsg.c. Both programs come
 * from one build: another version is refused with a sentence, not parsed.
 */
#ifndef SACIPED_CTLMSG_H
#define SACIPED_CTLMSG_H

#include "addr.h"
#include "reason.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CTL_VERSION 1
#define CTL_SOCKET_NAME "saciped.sock"
#define CTL_HEADER_SIZE 4
#define CTL_REQUEST_MAX 256
#define CTL_MESSAGE_MAX 16384
#define CTL_NAME_MAX 64 /* a peer's name, fingerprint or key as text */
#define CTL_TEXT_MAX 256
#define CTL_KEY_SIZE 32
#define CTL_PEER_ADDRS_MAX 8
#define CTL_UID_NONE UINT32_MAX
#define CTL_GAP_NONE UINT32_MAX

enum ctl_type {
	/* requests */
	CTL_LIST = 1,
	CTL_SHOW,
	CTL_PEERS,
	CTL_STATUS,
	CTL_KEY,
	CTL_FORGET,
	CTL_MOVE,
	CTL_MONITOR,
	CTL_TYPE_MAX,
	/* answers */
	CTL_END = 128, /* result and a sentence: the last one of an answer */
	CTL_FLOW_RECORDS,
	CTL_PEER_RECORDS,
	CTL_STATUS_RECORD,
	CTL_KEY_RECORD,
	CTL_EVENT,
};

/* The exit codes of sacipctl are these. */
enum ctl_result {
	CTL_DONE = 0,
	CTL_REFUSED = 1,   /* or not found */
	CTL_USAGE = 2,	   /* malformed, unknown, another version */
	CTL_NO_DAEMON = 3, /* said by sacipctl only */
	CTL_NOT_PERMITTED = 4,
};

enum ctl_flow_state {
	CTL_TRACKED,   /* not owned, for whatever reason */
	CTL_PROTECTED, /* owned, wire equals identity */
	CTL_MOVING,    /* held, asked, switched or offered, at either end */
	CTL_MOVED,     /* settled, wire differs */
	CTL_FLOW_STATES,
};

enum ctl_trust {
	CTL_TRUST_NONE, /* no peer */
	CTL_TRUST_CONFIGURED,
	CTL_TRUST_FIRST_CONTACT,
	CTL_TRUSTS,
};

enum ctl_path {
	CTL_PATH_DIRECT, /* as it was sent: nobody looks at it */
	CTL_PATH_QUEUE,	 /* through the daemon */
	CTL_PATH_KERNEL, /* rewritten by nftables */
	CTL_PATHS,
};

struct ctl_traffic {
	uint64_t packets_out, packets_in;
	uint64_t bytes_out, bytes_in;
};

struct ctl_flow {
	uint64_t id; /* not 0; stable for the flow's life on this host */
	enum ctl_flow_state state;
	enum ctl_trust trust;
	enum reason reason; /* REASON_NONE where it is protected */
	struct tuple identity;
	struct tuple wire;	      /* what is sent now */
	char peer[CTL_NAME_MAX];      /* fingerprint, "" = none */
	char peer_name[CTL_NAME_MAX]; /* of the configuration, or "" */
	uint32_t age_s;		      /* since first seen */
	uint32_t moves;		      /* committed, by either end */
	uint32_t uid;	/* owner of the socket, CTL_UID_NONE unknown */
	uint32_t track; /* our own track */
	uint64_t seq;	/* our track's last committed move */
	enum ctl_path path;
	bool counted; /* `kernel` is known */
	struct ctl_traffic queue; /* rewritten by the daemon */
	struct ctl_traffic kernel; /* by nftables, since it was promoted */
	uint32_t held_packets, held_bytes; /* now */
	/* How long it is held, or was in its last move; CTL_GAP_NONE: has
	 * never moved. */
	uint32_t gap_ms;
};

struct ctl_peer {
	char fingerprint[CTL_NAME_MAX];
	char name[CTL_NAME_MAX]; /* "" where the configuration names none */
	uint8_t public_key[CTL_KEY_SIZE];
	enum ctl_trust trust;
	bool session;				 /* a live one */
	struct addr address[CTL_PEER_ADDRS_MAX]; /* best first */
	uint32_t n_addresses;
	uint32_t flows;			    /* owned */
	uint32_t srtt_us;		    /* 0 unknown */
	uint64_t first_seen_s, last_seen_s; /* wall clock; 0 never */
};

struct ctl_status {
	char version[CTL_NAME_MAX];
	char fingerprint[CTL_NAME_MAX];
	uint32_t pid;
	uint64_t uptime_s;
	uint16_t port;
	uint32_t flows[CTL_FLOW_STATES];
	uint32_t max_flows;
	uint32_t peers, sessions, max_peers;
	uint32_t retained; /* old addresses kept for their sockets */
	uint32_t held_packets, held_bytes;
	uint32_t tombstones;
	bool native_queue; /* nft `queue` statement, else compat */
	bool owned_table;  /* the kernel guards our table */
	struct counters counters;
};

struct ctl_event {
	uint64_t time_ms; /* wall clock */
	uint64_t flow;	  /* id, or 0 */
	uint32_t uid;	  /* owner of the flow; CTL_UID_NONE = root and group */
	char what[CTL_NAME_MAX]; /* one word: "moved", "protected", ... */
	char peer[CTL_NAME_MAX]; /* fingerprint, or "" */
	char text[CTL_TEXT_MAX]; /* for people, one line */
};

struct ctl_move {
	char scope[CTL_NAME_MAX]; /* flow id, or peer; "" = every flow */
	struct addr from;	  /* unset: any */
	struct addr to;		  /* unset: to_ifname says it */
	char to_ifname[IF_NAMESIZE];
};

/* A request, as sent and as checked by the daemon. */
struct ctl_request {
	enum ctl_type type;
	uint64_t flow;		 /* CTL_SHOW */
	char peer[CTL_NAME_MAX]; /* CTL_FORGET: name, fingerprint or key */
	struct ctl_move move;	 /* CTL_MOVE */
};

/* One answer packet. Records come one by one by ctlmsg_next_*(). */
struct ctl_answer {
	enum ctl_type type;
	enum ctl_result result;	 /* CTL_END */
	char text[CTL_TEXT_MAX]; /* CTL_END */
	unsigned int n;		 /* records in it */
	const uint8_t *body;
	size_t size;
};

/* Encoders write one whole message to `to` and return its length, or 0
 * where it does not fit (for the two record lists: as many as fit, how many
 * in *n). Text is cut at its field's length, never past a NUL. */
size_t ctlmsg_put_request(const struct ctl_request *r,
			  uint8_t to[CTL_REQUEST_MAX]);
size_t ctlmsg_put_end(enum ctl_result result, const char *text, uint8_t *to,
		      size_t size);
size_t ctlmsg_put_flows(const struct ctl_flow *f, unsigned int *n, uint8_t *to,
			size_t size);
size_t ctlmsg_put_peers(const struct ctl_peer *p, unsigned int *n, uint8_t *to,
			size_t size);
size_t ctlmsg_put_status(const struct ctl_status *s, uint8_t *to, size_t size);
size_t ctlmsg_put_key(const char *fingerprint,
		      const uint8_t public_key[CTL_KEY_SIZE], uint8_t *to,
		      size_t size);
size_t ctlmsg_put_event(const struct ctl_event *e, uint8_t *to, size_t size);

/* Decoders: 0, or -EPROTO (another version), -EINVAL (unknown or
 * malformed: too short, too long, text without an end, enum out of range).
 * Every byte of a message must be accounted for. */
int ctlmsg_get_request(const uint8_t *from, size_t size, struct ctl_request *r);
int ctlmsg_get_answer(const uint8_t *from, size_t size, struct ctl_answer *a);
/* Take the next record of `a`: 1, 0 at the end, -EINVAL. */
int ctlmsg_next_flow(struct ctl_answer *a, struct ctl_flow *f);
int ctlmsg_next_peer(struct ctl_answer *a, struct ctl_peer *p);
int ctlmsg_get_status(const struct ctl_answer *a, struct ctl_status *s);
int ctlmsg_get_key(const struct ctl_answer *a, char fingerprint[CTL_NAME_MAX],
		   uint8_t public_key[CTL_KEY_SIZE]);
int ctlmsg_get_event(const struct ctl_answer *a, struct ctl_event *e);

/* "tracked", "protected", "moving", "moved"; "configured" and
 * "first-contact" (NULL for none). */
const char *ctlmsg_state_name(enum ctl_flow_state s);
const char *ctlmsg_path_name(enum ctl_path p);
const char *ctlmsg_trust_name(enum ctl_trust t);

#endif
