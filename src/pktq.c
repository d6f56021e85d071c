/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pktq: the kernel's packet queues (NFQUEUE). See pktq.h.
 *
 * A packet is one datagram on the netlink socket: nlmsghdr, nfgenmsg and
 * attributes, NFQA_PAYLOAD last. Each of the BATCH buffers takes the longest
 * that the kernel can send.
 *
 * TCP super-packets come whole. UDP ones cannot be rewritten so: after a
 * verdict with a payload the kernel takes their checksum for what it is not,
 * and what must stand there differs between kernels and between the socket
 * and the wire. Nor can those that are too long for one attribute (BIG TCP).
 * So each pktq has a second kernel queue, the cutter, without the GSO flag:
 * such a super-packet is sent there by an NF_QUEUE verdict, the kernel cuts
 * it and sums each part on the way, and they are handed up before anything
 * else is.
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

#include "netlink.h"
#include "pkt.h"
#include "verdict.h"

#define BATCH 32 /* packets in one read */
#define BATCH_LONG 4 /* of long ones: still cached when their verdict is sent */
#define LONG_BYTES 16384
#define LONG_READS 16 /* short ones: as many later they are a batch again */
#define BUFFER (UINT16_MAX + 4097) /* payload, attributes; whole pages */
#define RECEIVE_BYTES (64 << 20) /* socket buffer, as the kernel counts */
#define SEND_BYTES (1 << 20) /* above the longest message */
#define SEQ_CONFIG 1 /* verdicts have 0 */
#define IPV6_HEADER 40
#define IPV6_NEXT_AT 6
#define PORTS_SIZE 4

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

/* One queue of the kernel's. */
struct queue {
	int fd;
	uint16_t number;
	unsigned int batch; /* of the next read */
	unsigned int long_reads; /* until it grows again */
	uint8_t *buffers; /* BATCH of BUFFER bytes */
	struct mmsghdr message[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_nl from[BATCH];
	struct verdicts verdicts;
};

struct pktq {
	pktq_packet_cb *packet_cb;
	void *ctx;
	bool reading;
	const uint8_t *whole; /* ports of what is being cut, or NULL */
	uint32_t drops[2]; /* of main and cutter, as read last */
	struct pktq_counters counters;
	struct queue main;
	struct queue cutter; /* number is main's + PKTQ_CUTTER_OFFSET */
};

static int send_message(int fd, const struct nlmsghdr *nlh)
{
	ssize_t n = send(fd, nlh, nlh->nlmsg_len, 0);

	return n < 0 ? -errno : 0;
}

/* What a message of NLMSG_ERROR says, which is no number of packets. */
static int error_of(const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*err) || err->error > 0)
		return -EPROTO;
	return err->error;
}

/* The kernel answers inside the request, so there is nothing to wait for. */
static int receive_ack(int fd)
{
	_Alignas(struct nlmsghdr) char buf[1024];
	const struct nlmsghdr *nlh = (const void *)buf;
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n < 0)
		return -errno;
	if (!netlink_has_message(nlh, (int)n) || nlh->nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return error_of(nlh);
}

/*
 * Until its copy mode is set, a bound queue refuses packets: so the answer to
 * the first message is the first thing to read. The second cannot fail on a
 * queue that is ours, and pktq_read() would tell.
 */
static int configure(int fd, uint16_t number, uint32_t maxlen, bool gso)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh;
	int err;

	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, number);
	nlh->nlmsg_flags |= NLM_F_ACK;
	nlh->nlmsg_seq = SEQ_CONFIG;
	nfq_nlmsg_cfg_put_cmd(nlh, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_qmaxlen(nlh, maxlen);
	/* Never fail open: naming it in the mask clears it. */
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK,
			 htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(gso ? NFQA_CFG_F_GSO : 0));
	err = send_message(fd, nlh);
	if (!err)
		err = receive_ack(fd);
	if (err)
		return err;

	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, number);
	nlh->nlmsg_seq = SEQ_CONFIG;
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
		err = set_option(*fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES);
	if (!err)
		err = set_option(*fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BYTES);
	if (err) {
		close(*fd);
		*fd = -1;
	}
	return err;
}

static int allocate_buffers(struct queue *k)
{
	void *buffers = mmap(NULL, (size_t)BATCH * BUFFER,
			     PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buffers == MAP_FAILED)
		return -ENOMEM;
	k->buffers = buffers;
	for (size_t i = 0; i < BATCH; i++) {
		k->iov[i] = (struct iovec){
			.iov_base = k->buffers + i * BUFFER,
			.iov_len = BUFFER,
		};
		k->message[i].msg_hdr = (struct msghdr){
			.msg_name = &k->from[i],
			.msg_namelen = sizeof(k->from[i]),
			.msg_iov = &k->iov[i],
			.msg_iovlen = 1,
		};
	}
	return 0;
}

static int queue_open(struct queue *k, uint16_t number, uint32_t maxlen,
		      bool gso)
{
	struct pktq_stats stats;
	int err = allocate_buffers(k);

	k->number = number;
	k->batch = BATCH;
	if (!err)
		err = open_socket(&k->fd);
	if (err)
		return err;
	k->verdicts.fd = k->fd;
	k->verdicts.number = number;
	err = configure(k->fd, number, maxlen, gso);
	/* The kernel says EPERM too where another socket has it; we hold the
	 * capability, or open_socket() had failed. */
	if (err == -EEXIST ||
	    (err == -EPERM && !pktq_stats(number, &stats)))
		return -EBUSY;
	return err;
}

static void queue_close(struct queue *k)
{
	if (k->fd >= 0)
		close(k->fd);
	if (k->buffers)
		munmap(k->buffers, (size_t)BATCH * BUFFER);
}

int pktq_open(const struct pktq_config *config, struct pktq **q)
{
	uint32_t maxlen = config->maxlen ? config->maxlen :
					   PKTQ_MAXLEN_DEFAULT;
	struct pktq *new;
	int err;

	if (!config->packet_cb ||
	    config->number > UINT16_MAX - PKTQ_CUTTER_OFFSET)
		return -EINVAL;
	new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->packet_cb = config->packet_cb;
	new->ctx = config->ctx;
	new->main.fd = new->cutter.fd = -1;
	err = queue_open(&new->main, config->number, maxlen, true);
	if (!err)
		err = queue_open(&new->cutter,
				 (uint16_t)(config->number +
					    PKTQ_CUTTER_OFFSET),
				 maxlen, false);
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
	queue_close(&q->main);
	queue_close(&q->cutter);
	free(q);
}

int pktq_fd(const struct pktq *q)
{
	return q->main.fd;
}

uint16_t pktq_number(const struct pktq *q)
{
	return q->main.number;
}

/* Packets that the kernel could not put into the socket's buffer since the
 * last call; it counts in 32 bits. */
static uint32_t new_drops(const struct queue *k, uint32_t *last)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 }, drops;
	socklen_t len = sizeof(info);

	if (getsockopt(k->fd, SOL_SOCKET, SO_MEMINFO, info, &len))
		return 0;
	drops = info[SK_MEMINFO_DROPS] - *last;
	*last = info[SK_MEMINFO_DROPS];
	return drops;
}

const struct pktq_counters *pktq_counters(struct pktq *q)
{
	q->counters.overflows += new_drops(&q->main, &q->drops[0]);
	q->counters.overflows += new_drops(&q->cutter, &q->drops[1]);
	q->counters.verdicts = q->main.verdicts.count +
			       q->cutter.verdicts.count;
	q->counters.unsent = q->main.verdicts.unsent +
			     q->cutter.verdicts.unsent;
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
		p->id |= ntohl(hdr->packet_id);
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

static int read_queue(struct pktq *q, struct queue *k);

/* Where the ports are, behind at most one header of options; NULL where that
 * is past the end. */
static const uint8_t *ports_of(const uint8_t *data, uint32_t len)
{
	uint32_t at = IPV6_HEADER;

	if (len && data[0] >> 4 == 4)
		at = (data[0] & 15u) * 4;
	else if (len > at + 1 && data[IPV6_NEXT_AT] == IPPROTO_HOPOPTS)
		at += (data[at + 1] + 1u) * 8;
	return len < at + PORTS_SIZE ? NULL : data + at;
}

/*
 * Linux 6.1 takes the jumbogram's header out of an IPv6 super-packet above
 * 64 KiB as if an Ethernet header stood before it. In a queue none does: the
 * parts come with the first bytes of TCP's header lost, and bear ports of
 * nobody, whose packets might be let go as they are.
 */
static bool is_part(const struct pktq *q, const struct pktq_packet *p)
{
	const uint8_t *ports = ports_of(p->data, p->len);

	return !q->whole || (ports && !memcmp(ports, q->whole, PORTS_SIZE));
}

static bool must_be_cut(const struct pktq_packet *p)
{
	struct pkt pkt;

	return p->gso && (p->full_len > p->len ||
			  (pkt_parse(p->data, p->len, &pkt) == PKT_OK &&
			   pkt.proto == IPPROTO_UDP));
}

/* The verdict puts every part of it into the cutter at once, so they are all
 * there to be read, and nothing that was sent later is before them. What was
 * refused there since the last time is: a read may bring no packets, and
 * nobody comes back for those behind it. */
static int cut_packet(struct pktq *q, const struct pktq_packet *p)
{
	int n, packets = 0;
	uint64_t reads;

	verdict_put(&q->main.verdicts, (uint32_t)p->id,
		    (uint32_t)q->cutter.number << 16 | NF_QUEUE, NULL);
	verdict_flush(&q->main.verdicts);
	q->counters.cut++;
	q->whole = ports_of(p->data, p->len);
	do {
		reads = q->counters.reads;
		n = read_queue(q, &q->cutter);
		if (n > 0)
			packets += n;
	} while (n >= 0 && q->counters.reads != reads);
	q->whole = NULL;
	return n < 0 ? n : packets;
}

/* How many packets it was, or -errno where the queue was refused. */
static int handle_message(struct pktq *q, struct queue *k,
			  const struct nlmsghdr *nlh)
{
	struct pktq_packet p;
	int err;

	if (nlh->nlmsg_type == NLMSG_ERROR) {
		err = error_of(nlh);
		if (err && nlh->nlmsg_seq == SEQ_CONFIG)
			return err;
		q->counters.refused += err != 0;
		return 0;
	}
	if (nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) ||
	    !parse_packet(nlh, &p)) {
		q->counters.malformed++;
		return 0;
	}
	if (must_be_cut(&p) && k == &q->main)
		return cut_packet(q, &p);
	if (k == &q->cutter && !is_part(q, &p)) {
		q->counters.damaged++;
		verdict_put(&k->verdicts, (uint32_t)p.id, NF_DROP, NULL);
		return 1;
	}
	p.id |= (uint64_t)k->number << 32;
	q->counters.packets++;
	q->counters.bytes += p.full_len;
	q->counters.truncated += p.full_len > p.len;
	q->packet_cb(q->ctx, q, &p);
	return 1;
}

static int handle_datagram(struct pktq *q, struct queue *k, unsigned int i)
{
	const struct nlmsghdr *nlh = k->iov[i].iov_base;
	int left = (int)k->message[i].msg_len, packets = 0, n;

	if (k->from[i].nl_pid != 0) /* not from the kernel */
		return 0;
	if (k->message[i].msg_hdr.msg_flags & MSG_TRUNC) {
		q->counters.malformed++;
		return 0;
	}
	for (; netlink_has_message(nlh, left);
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		n = handle_message(q, k, nlh);
		if (n < 0)
			return n;
		packets += n;
	}
	return packets;
}

/* One batch of one queue. */
static int read_queue(struct pktq *q, struct queue *k)
{
	int n, packets = 0, err = 0;
	bool has_long = false;

	for (unsigned int i = 0; i < k->batch; i++)
		k->message[i].msg_hdr.msg_namelen = sizeof(k->from[i]);
	n = recvmmsg(k->fd, k->message, k->batch, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ?
		       0 : -errno;
	q->counters.reads++;
	for (int i = 0; i < n; i++) {
		int more = handle_datagram(q, k, (unsigned int)i);

		has_long |= k->message[i].msg_len > LONG_BYTES;
		if (more < 0)
			err = more;
		else
			packets += more;
	}
	/* Acknowledgments between them do not make them fewer. */
	if (has_long)
		k->long_reads = LONG_READS;
	else if (k->long_reads)
		k->long_reads--;
	k->batch = k->long_reads ? BATCH_LONG : BATCH;
	pktq_flush(q); /* what could not be sent is counted */
	return err ? err : packets;
}

int pktq_read(struct pktq *q)
{
	int n;

	if (q->reading)
		return -EBUSY;
	q->reading = true;
	n = read_queue(q, &q->main);
	q->reading = false;
	return n;
}

/* The verdicts of the queue that `id` is in. Those that wait for the other
 * are sent first: so packets leave in the order of their verdicts. */
static struct verdicts *verdicts_for(struct pktq *q, uint64_t id)
{
	bool cutter = (uint16_t)(id >> 32) == q->cutter.number;
	struct verdicts *other = cutter ? &q->main.verdicts :
					  &q->cutter.verdicts;

	if (other->n)
		verdict_flush(other);
	return cutter ? &q->cutter.verdicts : &q->main.verdicts;
}

int pktq_accept(struct pktq *q, uint64_t id, const uint32_t *mark)
{
	return verdict_put(verdicts_for(q, id), (uint32_t)id, NF_ACCEPT, mark);
}

int pktq_drop(struct pktq *q, uint64_t id)
{
	return verdict_put(verdicts_for(q, id), (uint32_t)id, NF_DROP, NULL);
}

int pktq_pass_on(struct pktq *q, uint64_t id, uint16_t number)
{
	return verdict_put(verdicts_for(q, id), (uint32_t)id,
			   (uint32_t)number << 16 | NF_QUEUE, NULL);
}

int pktq_accept_payload(struct pktq *q, uint64_t id, const uint8_t *data,
			uint32_t len, const uint32_t *mark)
{
	return verdict_put_payload(verdicts_for(q, id), (uint32_t)id, data,
				   len, mark);
}

int pktq_flush(struct pktq *q)
{
	int err = verdict_flush(&q->main.verdicts);
	int err_cutter = verdict_flush(&q->cutter.verdicts);

	return err ? err : err_cutter;
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
