/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pktq: the kernel's packet queues (NFQUEUE). See pktq.h.
 *
 * A packet is one datagram on the netlink socket: nlmsghdr, nfgenmsg and
 * attributes, NFQA_PAYLOAD last. Each of the PKTQ_BATCH buffers takes the
 * longest that the kernel can send. A verdict is
 *
 *	head: nlmsghdr nfgenmsg NFQA_VERDICT_HDR [NFQA_MARK] [payload's nlattr]
 *	payload, as it lies in its buffer
 *	pad to four bytes
 *
 * and many of them go out in one sendmmsg(). The kernel carries a verdict
 * out inside the call, transmission included, so nothing is ever pending.
 */
#include "pktq.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PKTQ_BATCH 32 /* packets in one read */
#define PKTQ_VERDICTS 64 /* collected before an early flush */
#define PKTQ_PAYLOAD_MAX (UINT16_MAX - sizeof(struct nlattr))
#define PKTQ_BUFFER (UINT16_MAX + 4097) /* payload, attributes, whole pages */
#define PKTQ_HEAD_MAX 64
#define PKTQ_SEND_BYTES 32768 /* of several verdicts in one message */
#define PKTQ_RCVBUF (64 << 20) /* bytes, as the kernel counts them */
#define PKTQ_SNDBUF (1 << 20) /* above the longest message */
#define PKTQ_SEQ_CONFIG 1 /* verdicts have 0 */

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

struct verdict {
	uint32_t id;
	uint32_t head_len;
	uint32_t payload_len;
	const uint8_t *payload; /* NULL: none */
	_Alignas(struct nlmsghdr) char head[PKTQ_HEAD_MAX];
};

struct pktq {
	int fd;
	uint16_t number;
	pktq_packet_cb *packet_cb;
	void *ctx;
	struct pktq_counters counters;

	uint8_t *buffers; /* PKTQ_BATCH of PKTQ_BUFFER bytes */
	struct mmsghdr rx[PKTQ_BATCH];
	struct iovec rx_iov[PKTQ_BATCH];
	struct sockaddr_nl rx_from[PKTQ_BATCH];

	unsigned int verdicts;
	struct verdict verdict[PKTQ_VERDICTS];
	struct mmsghdr tx[PKTQ_VERDICTS];
	struct iovec tx_iov[PKTQ_VERDICTS * 3];
};

static int send_message(int fd, const struct nlmsghdr *nlh)
{
	ssize_t n = send(fd, nlh, nlh->nlmsg_len, 0);

	return n < 0 ? -errno : 0;
}

/* The kernel answers inside the request, so there is nothing to wait for. */
static int receive_ack(int fd)
{
	_Alignas(struct nlmsghdr) char buf[1024];
	const struct nlmsghdr *nlh = (const void *)buf;
	const struct nlmsgerr *err;
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n < 0)
		return -errno;
	if (!mnl_nlmsg_ok(nlh, (int)n) || nlh->nlmsg_type != NLMSG_ERROR ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*err))
		return -EPROTO;
	err = mnl_nlmsg_get_payload(nlh);
	return err->error;
}

/*
 * Until its copy mode is set, a bound queue refuses packets: so the answer to
 * the first message is the first thing to read. The second cannot fail on a
 * queue that is ours, and pktq_read() would tell.
 */
static int configure(int fd, uint16_t number, uint32_t maxlen)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh;
	int err;

	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, number);
	nlh->nlmsg_flags |= NLM_F_ACK;
	nlh->nlmsg_seq = PKTQ_SEQ_CONFIG;
	nfq_nlmsg_cfg_put_cmd(nlh, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_qmaxlen(nlh, maxlen);
	/* Never fail open: naming it in the mask clears it. */
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK,
			 htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
	err = send_message(fd, nlh);
	if (!err)
		err = receive_ack(fd);
	if (err)
		return err;

	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, number);
	nlh->nlmsg_seq = PKTQ_SEQ_CONFIG;
	nfq_nlmsg_cfg_put_params(nlh, NFQNL_COPY_PACKET, UINT16_MAX);
	return send_message(fd, nlh);
}

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

static int open_socket(int *fd)
{
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int err = 0;

	*fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
		     NETLINK_NETFILTER);
	if (*fd < 0)
		return -errno;
	if (bind(*fd, (struct sockaddr *)&self, sizeof(self)))
		err = -errno;
	/* A verdict carries 64 KiB: an error must not quote it. */
	if (!err)
		err = set_option(*fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
	/* After one ENOBUFS the kernel would deliver nothing until the buffer
	 * has been read empty; we count the losses and go on instead. */
	if (!err)
		err = set_option(*fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
	if (!err)
		err = set_option(*fd, SOL_SOCKET, SO_RCVBUFFORCE, PKTQ_RCVBUF);
	if (!err)
		err = set_option(*fd, SOL_SOCKET, SO_SNDBUFFORCE, PKTQ_SNDBUF);
	if (err) {
		close(*fd);
		*fd = -1;
	}
	return err;
}

static int allocate_buffers(struct pktq *q)
{
	q->buffers = mmap(NULL, (size_t)PKTQ_BATCH * PKTQ_BUFFER,
			  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	if (q->buffers == MAP_FAILED) {
		q->buffers = NULL;
		return -ENOMEM;
	}
	for (size_t i = 0; i < PKTQ_BATCH; i++) {
		q->rx_iov[i] = (struct iovec){
			.iov_base = q->buffers + i * PKTQ_BUFFER,
			.iov_len = PKTQ_BUFFER,
		};
		q->rx[i].msg_hdr = (struct msghdr){
			.msg_name = &q->rx_from[i],
			.msg_namelen = sizeof(q->rx_from[i]),
			.msg_iov = &q->rx_iov[i],
			.msg_iovlen = 1,
		};
	}
	return 0;
}

int pktq_open(const struct pktq_config *config, struct pktq **q)
{
	struct pktq_stats stats;
	struct pktq *new;
	int err;

	if (!config->packet_cb)
		return -EINVAL;
	new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->number = config->number;
	new->packet_cb = config->packet_cb;
	new->ctx = config->ctx;
	new->fd = -1;
	err = allocate_buffers(new);
	if (!err)
		err = open_socket(&new->fd);
	if (!err) {
		err = configure(new->fd, config->number,
				config->maxlen ? config->maxlen :
						 PKTQ_MAXLEN_DEFAULT);
		/* The kernel says EPERM too where another socket has it; we
		 * hold the capability, or open_socket() had failed. */
		if (err == -EEXIST || (err == -EPERM &&
				       !pktq_stats(config->number, &stats)))
			err = -EBUSY;
	}
	if (err) {
		pktq_close(new);
		return err;
	}
	*q = new;
	return 0;
}

void pktq_close(struct pktq *q)
{
	if (!q)
		return;
	if (q->fd >= 0)
		close(q->fd);
	if (q->buffers)
		munmap(q->buffers, (size_t)PKTQ_BATCH * PKTQ_BUFFER);
	free(q);
}

int pktq_fd(const struct pktq *q)
{
	return q->fd;
}

uint16_t pktq_number(const struct pktq *q)
{
	return q->number;
}

const struct pktq_counters *pktq_counters(struct pktq *q)
{
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t len = sizeof(info);

	if (!getsockopt(q->fd, SOL_SOCKET, SO_MEMINFO, info, &len) &&
	    len >= (SK_MEMINFO_DROPS + 1) * sizeof(info[0])) {
		/* It counts in 32 bits and wraps. */
		uint32_t more = info[SK_MEMINFO_DROPS] -
				(uint32_t)q->counters.overflows;

		q->counters.overflows += more;
	}
	return &q->counters;
}

static bool get_u32(const struct nlattr *attr, uint32_t *v)
{
	if (mnl_attr_get_payload_len(attr) != sizeof(*v))
		return false;
	*v = ntohl(mnl_attr_get_u32(attr));
	return true;
}

/* One attribute of known name and exact size; others are skipped. */
static bool parse_attr(const struct nlattr *attr, struct pktq_packet *p,
		       uint32_t *skb_info)
{
	const struct nfqnl_msg_packet_hdr *hdr;

	switch (mnl_attr_get_type(attr)) {
	case NFQA_PACKET_HDR:
		if (mnl_attr_get_payload_len(attr) != sizeof(*hdr))
			return false;
		hdr = mnl_attr_get_payload(attr);
		p->id = ntohl(hdr->packet_id);
		p->hook = hdr->hook;
		return true;
	case NFQA_MARK:
		return get_u32(attr, &p->mark);
	case NFQA_IFINDEX_INDEV:
		return get_u32(attr, &p->in_ifindex);
	case NFQA_IFINDEX_OUTDEV:
		return get_u32(attr, &p->out_ifindex);
	case NFQA_SKB_INFO:
		return get_u32(attr, skb_info);
	case NFQA_CAP_LEN:
		return get_u32(attr, &p->full_len);
	case NFQA_PAYLOAD:
		p->data = mnl_attr_get_payload(attr);
		p->len = mnl_attr_get_payload_len(attr);
		return true;
	default:
		return true;
	}
}

/* False where the message breaks the format, or has no id (0 is never one)
 * or no payload. */
static bool parse_packet(const struct nlmsghdr *nlh, struct pktq_packet *p)
{
	const char *end = (const char *)nlh + nlh->nlmsg_len;
	const struct nlattr *attr;
	uint32_t skb_info = 0;

	*p = (struct pktq_packet){ 0 };
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nfgenmsg))
		return false;
	for (attr = mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg));
	     mnl_attr_ok(attr, (int)(end - (const char *)attr));
	     attr = mnl_attr_next(attr)) {
		if (!parse_attr(attr, p, &skb_info))
			return false;
	}
	if ((const char *)attr < end || p->id == 0 || !p->data)
		return false;
	/* CAP_LEN comes only where the payload is cut. */
	if (p->full_len < p->len)
		p->full_len = p->len;
	p->gso = (skb_info & NFQA_SKB_GSO) != 0;
	if (!(skb_info & NFQA_SKB_CSUMNOTREADY))
		p->csum = CSUM_READY;
	else if (p->gso && p->hook == NF_INET_LOCAL_OUT)
		p->csum = CSUM_GSO_OUT;
	else
		p->csum = CSUM_NOT_READY;
	return true;
}

/* 1 if it was a packet, 0 if not, -errno if the queue was refused. */
static int handle_message(struct pktq *q, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err;
	struct pktq_packet p;

	if (nlh->nlmsg_type == NLMSG_ERROR &&
	    mnl_nlmsg_get_payload_len(nlh) >= sizeof(*err)) {
		err = mnl_nlmsg_get_payload(nlh);
		if (err->error && nlh->nlmsg_seq == PKTQ_SEQ_CONFIG)
			return err->error;
		q->counters.verdict_errors += err->error != 0;
		return 0;
	}
	if (nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) ||
	    !parse_packet(nlh, &p)) {
		q->counters.malformed++;
		return 0;
	}
	q->counters.packets++;
	q->counters.bytes += p.full_len;
	q->counters.cut += p.full_len > p.len;
	q->packet_cb(q->ctx, q, &p);
	return 1;
}

static int handle_datagram(struct pktq *q, unsigned int i)
{
	const struct nlmsghdr *nlh = q->rx_iov[i].iov_base;
	int left = (int)q->rx[i].msg_len, packets = 0, n;

	if (q->rx_from[i].nl_pid != 0) /* not from the kernel */
		return 0;
	if (q->rx[i].msg_hdr.msg_flags & MSG_TRUNC) {
		q->counters.malformed++;
		return 0;
	}
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		n = handle_message(q, nlh);
		if (n < 0)
			return n;
		packets += n;
	}
	return packets;
}

int pktq_read(struct pktq *q)
{
	int n, packets = 0, err = 0;

	for (unsigned int i = 0; i < PKTQ_BATCH; i++)
		q->rx[i].msg_hdr.msg_namelen = sizeof(q->rx_from[i]);
	n = recvmmsg(q->fd, q->rx, PKTQ_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ?
		       0 : -errno;
	q->counters.reads++;
	for (int i = 0; i < n; i++) {
		int more = handle_datagram(q, (unsigned int)i);

		if (more < 0)
			err = more;
		else
			packets += more;
	}
	pktq_flush(q); /* what could not be sent is counted */
	return err ? err : packets;
}

/* A fresh verdict, room made for it where there is none. */
static struct verdict *verdict_start(struct pktq *q, uint32_t id,
				     int netfilter_verdict,
				     const uint32_t *mark, int *err)
{
	struct nlmsghdr *nlh;
	struct verdict *v;

	*err = q->verdicts == PKTQ_VERDICTS ? pktq_flush(q) : 0;
	v = &q->verdict[q->verdicts++];
	nlh = nfq_nlmsg_put(v->head, NFQNL_MSG_VERDICT, q->number);
	nlh->nlmsg_seq = 0;
	nfq_nlmsg_verdict_put(nlh, (int)id, netfilter_verdict);
	if (mark)
		nfq_nlmsg_verdict_put_mark(nlh, *mark);
	v->id = id;
	v->head_len = nlh->nlmsg_len;
	v->payload = NULL;
	v->payload_len = 0;
	q->counters.verdicts++;
	return v;
}

int pktq_accept(struct pktq *q, uint32_t id, const uint32_t *mark)
{
	int err;

	verdict_start(q, id, NF_ACCEPT, mark, &err);
	return err;
}

int pktq_drop(struct pktq *q, uint32_t id)
{
	int err;

	verdict_start(q, id, NF_DROP, NULL, &err);
	return err;
}

int pktq_accept_payload(struct pktq *q, uint32_t id, const uint8_t *data,
			uint32_t len, const uint32_t *mark)
{
	struct nlmsghdr *nlh;
	struct nlattr *attr;
	struct verdict *v;
	int err;

	if (len > PKTQ_PAYLOAD_MAX)
		return -EMSGSIZE;
	v = verdict_start(q, id, NF_ACCEPT, mark, &err);
	nlh = (void *)v->head;
	attr = mnl_nlmsg_get_payload_tail(nlh);
	attr->nla_type = NFQA_PAYLOAD;
	attr->nla_len = (uint16_t)(sizeof(*attr) + len);
	v->head_len += (uint32_t)sizeof(*attr);
	v->payload = data;
	v->payload_len = len;
	nlh->nlmsg_len += (uint32_t)sizeof(*attr) + len;
	return err;
}

/* Adds a verdict to a message; returns its bytes. */
static size_t append_verdict(struct msghdr *msg, struct verdict *v)
{
	static const char zero[NLMSG_ALIGNTO];
	struct iovec *iov = &msg->msg_iov[msg->msg_iovlen];
	size_t pad = NLMSG_ALIGN(v->payload_len) - v->payload_len;

	*iov++ = (struct iovec){ v->head, v->head_len };
	if (v->payload_len)
		*iov++ = (struct iovec){ (void *)(uintptr_t)v->payload,
					 v->payload_len };
	if (pad)
		*iov++ = (struct iovec){ (void *)(uintptr_t)zero, pad };
	msg->msg_iovlen = (size_t)(iov - msg->msg_iov);
	return v->head_len + v->payload_len + pad;
}

/* Spreads the verdicts over messages: short ones share one, for which the
 * kernel needs no more than a few pages. Returns how many messages. */
static unsigned int pack_verdicts(struct pktq *q,
				  unsigned int first[PKTQ_VERDICTS + 1])
{
	struct iovec *iov = q->tx_iov;
	struct msghdr *msg = NULL;
	size_t bytes = 0;
	unsigned int n = 0;

	for (unsigned int i = 0; i < q->verdicts; i++) {
		struct verdict *v = &q->verdict[i];

		if (!msg || bytes + v->payload_len > PKTQ_SEND_BYTES) {
			if (msg)
				iov += msg->msg_iovlen;
			first[n] = i;
			msg = &q->tx[n++].msg_hdr;
			*msg = (struct msghdr){ .msg_iov = iov };
			bytes = 0;
		}
		bytes += append_verdict(msg, v);
	}
	first[n] = q->verdicts;
	return n;
}

/* The verdicts from `first` to before `end` could not be sent, for want of
 * memory as it seems: a drop needs little of it. */
static void drop_instead(struct pktq *q, unsigned int first, unsigned int end)
{
	for (; first < end; first++) {
		struct nlmsghdr *nlh;

		nlh = nfq_nlmsg_put(q->verdict[first].head, NFQNL_MSG_VERDICT,
				    q->number);
		nlh->nlmsg_seq = 0;
		nfq_nlmsg_verdict_put(nlh, (int)q->verdict[first].id, NF_DROP);
		q->counters.verdict_errors++;
		send_message(q->fd, nlh);
	}
}

int pktq_flush(struct pktq *q)
{
	unsigned int first[PKTQ_VERDICTS + 1], done = 0;
	unsigned int n = pack_verdicts(q, first);
	int sent, err = 0;

	while (done < n) {
		sent = sendmmsg(q->fd, q->tx + done, n - done, 0);
		if (sent > 0) {
			done += (unsigned int)sent;
			continue;
		}
		if (sent < 0 && errno == EINTR)
			continue;
		if (!err)
			err = sent < 0 ? -errno : -EIO;
		drop_instead(q, first[done], first[done + 1]);
		done++;
	}
	q->verdicts = 0;
	return err;
}

int pktq_stats(uint16_t number, struct pktq_stats *stats)
{
	FILE *f = fopen("/proc/net/netfilter/nfnetlink_queue", "re");
	int err = -ENOENT;
	char line[128];

	if (!f)
		return -errno;
	/* seq_show() in nfnetlink_queue.c: number, portid, waiting, copy mode,
	 * copy range, dropped by length, dropped by buffer, last id, 1. */
	while (err && fgets(line, sizeof(line), f)) {
		struct pktq_stats s;
		unsigned int queue;

		if (sscanf(line, "%u %u %u %*u %*u %u %u %u", &queue,
			   &s.portid, &s.waiting, &s.dropped_full,
			   &s.dropped_user, &s.last_id) != 6 ||
		    queue != number)
			continue;
		*stats = s;
		err = 0;
	}
	fclose(f);
	return err;
}
