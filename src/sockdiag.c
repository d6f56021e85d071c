/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sockdiag: the kernel's sockets, seen from outside.
 *
 * Owns the sock_diag dumps, look-ups, destroy events and socket destruction.
 * Never keeps a table, never decides what may be protected.
 */
#include "sockdiag.h"

#include "netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* include/net/tcp_states.h: <netinet/tcp.h> has them too, but cannot stand
 * beside <linux/tcp.h>, whose tcp_info is the newer one. */
enum {
	ST_ESTABLISHED = 1,
	ST_SYN_SENT,
	ST_SYN_RECV,
	ST_FIN_WAIT1,
	ST_FIN_WAIT2,
	ST_TIME_WAIT,
	ST_CLOSE,
	ST_CLOSE_WAIT,
	ST_LAST_ACK,
	ST_LISTEN,
	ST_CLOSING,
	ST_NEW_SYN_RECV, /* reported as SYN_RECV */
};

#define STATES_TCP                                                     \
	(1U << ST_ESTABLISHED | 1U << ST_SYN_SENT | 1U << ST_SYN_RECV | \
	 1U << ST_FIN_WAIT1 | 1U << ST_FIN_WAIT2 | 1U << ST_TIME_WAIT | \
	 1U << ST_CLOSE_WAIT | 1U << ST_LAST_ACK | 1U << ST_CLOSING |   \
	 1U << ST_NEW_SYN_RECV)
#define STATES_UDP (1U << ST_ESTABLISHED | 1U << ST_CLOSE)

/* Those that can be SOCKDIAG_OPEN, of TCP and UDP. */
#define STATES_OPEN                                                      \
	(1U << ST_ESTABLISHED | 1U << ST_CLOSE_WAIT | 1U << ST_FIN_WAIT1 | \
	 1U << ST_FIN_WAIT2 | 1U << ST_LAST_ACK | 1U << ST_CLOSING)

/* inet_diag_msg_sock_fill(): that one, and those of RACK and of loss probes.
 * 2 is a keepalive's, 4 that of a closed window. */
#define TIMER_RETRANSMIT 1

/* inet_sk_diag_fill() ties ULP and MD5 to this one as well. */
#define EXT_INFO (1 << (INET_DIAG_INFO - 1))

struct sockdiag {
	struct netlink *command, *events;
	sockdiag_destroy_callback *destroyed;
	void *arg;
	bool listening;
};

/* What one dump or look-up hands on. */
struct query {
	sockdiag_callback *cb;
	void *arg;
	uint8_t proto;
	bool open; /* no others */
};

struct attributes {
	const struct nlattr *mark, *info, *ulp, *md5, *protocol, *sockopt;
};

static const unsigned destroy_groups[] = {
	SKNLGRP_INET_TCP_DESTROY,
	SKNLGRP_INET_UDP_DESTROY,
	SKNLGRP_INET6_TCP_DESTROY,
	SKNLGRP_INET6_UDP_DESTROY,
};
#define N_GROUPS (sizeof(destroy_groups) / sizeof(destroy_groups[0]))

int sockdiag_open(struct sockdiag **out, sockdiag_destroy_callback *destroyed,
		  void *arg)
{
	struct sockdiag *sd = calloc(1, sizeof(*sd));
	int err;

	if (!sd)
		return -ENOMEM;
	sd->destroyed = destroyed;
	sd->arg = arg;
	err = netlink_open(&sd->command, NETLINK_SOCK_DIAG, NULL, 0);
	if (!err)
		err = netlink_open(&sd->events, NETLINK_SOCK_DIAG,
				   destroy_groups, N_GROUPS);
	if (err) {
		sockdiag_close(sd);
		return err;
	}
	sd->listening = true;
	*out = sd;
	return 0;
}

int sockdiag_listen(struct sockdiag *sd, bool on)
{
	int err = 0;

	if (sd->listening == on)
		return 0;
	err = netlink_listen(sd->events, destroy_groups, N_GROUPS, on);
	if (!err)
		sd->listening = on;
	return err;
}

void sockdiag_close(struct sockdiag *sd)
{
	if (!sd)
		return;
	netlink_close(sd->events);
	netlink_close(sd->command);
	free(sd);
}

int sockdiag_fd(const struct sockdiag *sd)
{
	return netlink_fd(sd->events);
}

static int take_attribute(const struct nlattr *attr, void *arg)
{
	struct attributes *a = arg;

	switch (mnl_attr_get_type(attr)) {
	case INET_DIAG_MARK:
		a->mark = attr;
		break;
	case INET_DIAG_INFO:
		a->info = attr;
		break;
	case INET_DIAG_ULP_INFO:
		a->ulp = attr;
		break;
	case INET_DIAG_MD5SIG:
		a->md5 = attr;
		break;
	case INET_DIAG_PROTOCOL:
		a->protocol = attr;
		break;
	case INET_DIAG_SOCKOPT:
		a->sockopt = attr;
		break;
	}
	return MNL_CB_OK;
}

/* MNL_CB_ERROR, which is -1, once the name is found: it ends the walk. */
static int is_mptcp(const struct nlattr *attr, void *arg)
{
	(void)arg;
	if (mnl_attr_get_type(attr) == INET_ULP_INFO_NAME &&
	    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 &&
	    strcmp(mnl_attr_get_str(attr), "mptcp") == 0)
		return MNL_CB_ERROR;
	return MNL_CB_OK;
}

/* The kernel's struct may be shorter or longer than ours. */
static void take_info(const struct nlattr *attr, struct sockdiag_info *to)
{
	/* tcpi_rcv_wnd, of 6.2, follows; older headers do not name it. */
	struct {
		struct tcp_info old;
		uint32_t more;
	} in = { 0 };
	size_t len = mnl_attr_get_payload_len(attr);

	memcpy(&in, mnl_attr_get_payload(attr),
	       len < sizeof(in) ? len : sizeof(in));
	to->rtt_us = in.old.tcpi_rtt;
	to->rttvar_us = in.old.tcpi_rttvar;
	to->rto_us = in.old.tcpi_rto;
	to->unacked = in.old.tcpi_unacked;
	to->notsent = in.old.tcpi_notsent_bytes;
	to->snd_wnd = in.old.tcpi_snd_wnd;
	memcpy(&to->rcv_wnd,
	       (const uint8_t *)&in + offsetof(struct tcp_info, tcpi_snd_wnd) +
		       sizeof(uint32_t),
	       sizeof(to->rcv_wnd));
	to->snd_wscale = in.old.tcpi_snd_wscale;
	to->snd_mss = in.old.tcpi_snd_mss;
	to->backoff = in.old.tcpi_backoff;
	to->reordering = in.old.tcpi_reordering < UINT8_MAX ?
				 (uint8_t)in.old.tcpi_reordering :
				 UINT8_MAX;
	to->sack = in.old.tcpi_options & TCPI_OPT_SACK;
	to->delivery_rate = in.old.tcpi_delivery_rate;
	to->last_data_sent_ms = in.old.tcpi_last_data_sent;
	to->last_data_recv_ms = in.old.tcpi_last_data_recv;
	to->last_ack_recv_ms = in.old.tcpi_last_ack_recv;
}

static struct addr take_addr(uint8_t family, const __be32 words[4])
{
	struct in6_addr in6;

	if (family == AF_INET)
		return addr_from_in4(words[0]);
	memcpy(&in6, words, sizeof(in6));
	return addr_normalize(addr_from_in6(&in6));
}

/* Bound to any, or not connected: as if there were no address. */
static void take_endpoint(uint8_t family, const __be32 words[4], uint16_t port,
			  struct endpoint *to)
{
	to->addr = take_addr(family, words);
	to->port = port;
	if (addr_classify(&to->addr) == ADDR_UNSPECIFIED)
		memset(&to->addr, 0, sizeof(to->addr));
}

/* After shutdown() the socket lives on, and while a process holds it the other
 * direction is used. With close() it loses its inode (sock_orphan()), and what
 * waits in FIN_WAIT2 for tcp_fin_timeout is a timewait sock, which has none.
 * (One that is not accepted yet has none either.) */
static enum sockdiag_state state_of(uint8_t proto, uint8_t state,
				    uint32_t inode)
{
	if (proto == IPPROTO_UDP)
		return state == ST_ESTABLISHED ? SOCKDIAG_OPEN :
						 SOCKDIAG_UNCONNECTED;
	switch (state) {
	case ST_ESTABLISHED:
	case ST_CLOSE_WAIT:
		return SOCKDIAG_OPEN;
	case ST_SYN_SENT:
	case ST_SYN_RECV:
	case ST_NEW_SYN_RECV:
		return SOCKDIAG_YOUNG;
	case ST_TIME_WAIT:
		return SOCKDIAG_TIME_WAIT;
	default:
		return inode ? SOCKDIAG_OPEN : SOCKDIAG_CLOSING;
	}
}

/* False where the message is none about a socket of ours. */
static bool read_entry(const struct nlmsghdr *nlh, uint8_t proto,
		       struct sockdiag_entry *e)
{
	struct attributes a = { 0 };
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*m))
		return false;
	(void)mnl_attr_parse(nlh, sizeof(*m), take_attribute, &a);
	if (a.protocol && mnl_attr_get_payload_len(a.protocol) >= 1)
		proto = mnl_attr_get_u8(a.protocol);
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return false;

	memset(e, 0, sizeof(*e));
	e->tuple.proto = proto;
	take_endpoint(m->idiag_family, m->id.idiag_src,
		      ntohs(m->id.idiag_sport), &e->tuple.local);
	take_endpoint(m->idiag_family, m->id.idiag_dst,
		      ntohs(m->id.idiag_dport), &e->tuple.remote);
	e->state = state_of(proto, m->idiag_state, m->idiag_inode);
	e->tcp_state = m->idiag_state;
	e->cookie = (uint64_t)m->id.idiag_cookie[1] << 32 |
		    m->id.idiag_cookie[0];
	e->uid = m->idiag_uid;
	e->inode = m->idiag_inode;
	e->ifindex = m->id.idiag_if;
	if (a.mark && mnl_attr_validate(a.mark, MNL_TYPE_U32) == 0)
		e->mark = mnl_attr_get_u32(a.mark);
	e->md5 = a.md5;
	if (a.sockopt && mnl_attr_get_payload_len(a.sockopt) >= 1)
		e->recverr = ((const struct inet_diag_sockopt *)
				      mnl_attr_get_payload(a.sockopt))->recverr;
	e->mptcp = a.ulp && mnl_attr_parse_nested(a.ulp, is_mptcp, NULL) < 0;
	/* UDP's "info" is something else. */
	if (a.info && proto == IPPROTO_TCP) {
		take_info(a.info, &e->info);
		e->info.queued = m->idiag_wqueue;
		e->info.retransmits = m->idiag_timer == TIMER_RETRANSMIT;
		e->info.expires_ms = m->idiag_expires;
	}
	return true;
}

static int on_object(const struct nlmsghdr *nlh, void *arg)
{
	const struct query *q = arg;
	struct sockdiag_entry e;

	if (!read_entry(nlh, q->proto, &e) ||
	    (q->open && e.state != SOCKDIAG_OPEN))
		return 0;
	return q->cb(&e, q->arg);
}

static int on_destroy(const struct nlmsghdr *nlh, void *arg)
{
	const struct sockdiag *sd = arg;
	struct sockdiag_entry e;

	if (read_entry(nlh, IPPROTO_NONE, &e))
		sd->destroyed(&e, sd->arg);
	return 0;
}

int sockdiag_receive(struct sockdiag *sd)
{
	return netlink_receive(sd->events, on_destroy, sd);
}

static struct inet_diag_req_v2 *put_request(struct nlmsghdr *nlh,
					    uint16_t type, uint8_t family,
					    uint8_t proto)
{
	struct inet_diag_req_v2 *req;

	nlh->nlmsg_type = type;
	req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	req->sdiag_family = family;
	req->sdiag_protocol = proto;
	return req;
}

/* A program for the kernel: go on where that address is, else leave it out. A
 * v4-mapped socket has an IPv4 address to it. */
static void put_filter(struct nlmsghdr *nlh, const struct addr *addr,
		       bool remote)
{
	const size_t len = addr_size(addr);
	const size_t end = sizeof(struct inet_diag_bc_op) +
			   sizeof(struct inet_diag_hostcond) + len;
	struct inet_diag_bc_op op = {
		.code = remote ? INET_DIAG_BC_D_COND : INET_DIAG_BC_S_COND,
		.yes = (uint8_t)end,
		.no = (uint16_t)(end + sizeof(op)),
	};
	struct inet_diag_hostcond cond = {
		.family = (uint8_t)addr_af(addr),
		.prefix_len = (uint8_t)(8 * len),
		.port = -1, /* any */
	};
	uint8_t code[sizeof(op) + sizeof(cond) + sizeof(addr->byte)];

	memcpy(code, &op, sizeof(op));
	memcpy(code + sizeof(op), &cond, sizeof(cond));
	memcpy(code + sizeof(op) + sizeof(cond), addr->byte, len);
	mnl_attr_put(nlh, INET_DIAG_REQ_BYTECODE, end, code);
}

/* What is asked of every socket of a kind. */
struct selection {
	bool info;
	const struct addr *addr; /* NULL: any */
	bool remote; /* at that end */
};

static int dump_one(struct sockdiag *sd, uint8_t family, uint8_t proto,
		    const struct selection *of, struct query *q)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req =
		put_request(nlh, SOCK_DIAG_BY_FAMILY, family, proto);

	q->proto = proto;
	nlh->nlmsg_flags = NLM_F_DUMP;
	req->idiag_states = proto == IPPROTO_TCP ? STATES_TCP : STATES_UDP;
	if (of->info && proto == IPPROTO_TCP)
		req->idiag_ext = EXT_INFO;
	if (of->addr) {
		req->idiag_states &= STATES_OPEN;
		put_filter(nlh, of->addr, of->remote);
	}
	return netlink_request(sd->command, nlh, on_object, q);
}

static int dump(struct sockdiag *sd, unsigned what,
		const struct selection *of, struct query *q)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	int err = 0;

	for (size_t i = 0; i < sizeof(families) && !err; i++) {
		/* An IPv4 socket has no IPv6 address. */
		if (of->addr && of->addr->family == 6 &&
		    families[i] == AF_INET)
			continue;
		if (what & SOCKDIAG_TCP)
			err = dump_one(sd, families[i], IPPROTO_TCP, of, q);
		if (!err && what & SOCKDIAG_UDP)
			err = dump_one(sd, families[i], IPPROTO_UDP, of, q);
		/* ENOENT: no handler, so no IPv6 in this kernel. */
		if (err == -ENOENT && families[i] == AF_INET6)
			err = 0;
	}
	return err;
}

int sockdiag_dump(struct sockdiag *sd, unsigned what, sockdiag_callback *cb,
		  void *arg)
{
	const struct selection all = { .info = what & SOCKDIAG_INFO };
	struct query q = { .cb = cb, .arg = arg };

	return dump(sd, what, &all, &q);
}

int sockdiag_dump_at(struct sockdiag *sd, unsigned what,
		     const struct addr *addr, bool remote,
		     sockdiag_callback *cb, void *arg)
{
	const struct selection some = {
		.info = what & SOCKDIAG_INFO,
		.addr = addr,
		.remote = remote,
	};
	struct query q = { .cb = cb, .arg = arg, .open = true };

	return addr_is_set(addr) ? dump(sd, what, &some, &q) : -EINVAL;
}

static void put_id(struct inet_diag_req_v2 *req, const struct endpoint *src,
		   const struct endpoint *dst, uint32_t ifindex,
		   uint64_t cookie)
{
	memcpy(req->id.idiag_src, src->addr.byte, addr_size(&src->addr));
	memcpy(req->id.idiag_dst, dst->addr.byte, addr_size(&dst->addr));
	req->id.idiag_sport = htons(src->port);
	req->id.idiag_dport = htons(dst->port);
	req->id.idiag_if = ifindex;
	req->id.idiag_cookie[0] = (uint32_t)cookie;
	req->id.idiag_cookie[1] = (uint32_t)(cookie >> 32);
	req->idiag_states = UINT32_MAX;
}

static bool is_exact(const struct tuple *t)
{
	return addr_is_set(&t->local.addr) && t->local.port &&
	       t->remote.port && t->local.addr.family == t->remote.addr.family;
}

static int keep_entry(const struct sockdiag_entry *e, void *arg)
{
	*(struct sockdiag_entry *)arg = *e;
	return 0;
}

/* A v4-mapped socket is found by its IPv4 tuple: the kernel hashes it so. */
int sockdiag_lookup(struct sockdiag *sd, const struct tuple *t,
		    uint32_t ifindex, struct sockdiag_entry *entry)
{
	struct sockdiag_entry found = { 0 };
	struct query q = { .cb = keep_entry, .arg = &found, .proto = t->proto };
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req;
	int err;

	if (!is_exact(t))
		return -EINVAL;
	req = put_request(nlh, SOCK_DIAG_BY_FAMILY,
			  (uint8_t)addr_af(&t->local.addr), t->proto);
	req->idiag_ext = EXT_INFO;
	/* udp_dump_one() takes source and destination as a packet to the
	 * socket has them; everything else as the socket has. */
	if (t->proto == IPPROTO_UDP)
		put_id(req, &t->remote, &t->local, ifindex, UINT64_MAX);
	else
		put_id(req, &t->local, &t->remote, ifindex, UINT64_MAX);
	err = netlink_request(sd->command, nlh, on_object, &q);
	if (err)
		return err;
	/* The kernel falls back to a listener or an unconnected socket. */
	if (!tuple_equal(&found.tuple, t))
		return -ENOENT;
	if (entry)
		*entry = found;
	return 0;
}

int sockdiag_destroy(struct sockdiag *sd, const struct tuple *t,
		     uint32_t ifindex, uint64_t cookie)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req;
	int err;

	/* Without a cookie the kernel would take any socket. */
	if (!is_exact(t) || cookie == UINT64_MAX)
		return -EINVAL;
	req = put_request(nlh, SOCK_DESTROY, (uint8_t)addr_af(&t->local.addr),
			  t->proto);
	put_id(req, &t->local, &t->remote, ifindex, cookie);
	err = netlink_request(sd->command, nlh, NULL, NULL);
	return err == -ESTALE ? -ENOENT : err;
}

int sockdiag_port_taken(uint8_t proto, const struct addr *local, uint16_t port)
{
	const struct endpoint e = { .addr = *local, .port = port };
	const int on = 1;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, err = 0;

	if (!addr_is_set(local) || !port ||
	    (proto != IPPROTO_TCP && proto != IPPROTO_UDP))
		return -EINVAL;
	len = endpoint_to_sockaddr(&e, &ss);
	fd = socket(ss.ss_family,
		    (proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM) |
			    SOCK_CLOEXEC,
		    proto);
	if (fd < 0)
		return -errno;
	if (local->family == 4)
		err = setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
	else
		err = setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on,
				 sizeof(on));
	if (err < 0 || bind(fd, (struct sockaddr *)&ss, len) < 0)
		err = -errno;
	close(fd);
	return err == -EADDRINUSE ? 1 : err;
}
