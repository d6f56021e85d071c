/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verdict: encodes the verdicts for one queue and sends many at once. See
 * verdict.h. A verdict is
 *
 *	head: nlmsghdr nfgenmsg NFQA_VERDICT_HDR [NFQA_MARK] [payload's nlattr]
 *	payload, as it lies in its buffer
 *	pad to four bytes
 *
 * The kernel carries it out inside the system call, transmission included,
 * so nothing is ever pending.
 */
#include "verdict.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>

/* Bytes of several verdicts in one message: the kernel copies it to memory
 * that it allocates as a whole. */
#define MESSAGE_BYTES 32768

static struct nlmsghdr *put_head(struct verdicts *v, struct verdict *item,
				 uint32_t id, uint32_t what)
{
	struct nlmsghdr *nlh = nfq_nlmsg_put(item->head, NFQNL_MSG_VERDICT,
					     v->number);

	nlh->nlmsg_seq = 0; /* pktq tells verdicts from configuration by it */
	nfq_nlmsg_verdict_put(nlh, (int)id, (int)what);
	return nlh;
}

/* A fresh verdict; room is made for it where there is none. */
static struct verdict *start(struct verdicts *v, uint32_t id, uint32_t what,
			     const uint32_t *mark, int *err)
{
	struct nlmsghdr *nlh;
	struct verdict *item;

	*err = v->n == VERDICTS_MAX ? verdict_flush(v) : 0;
	item = &v->item[v->n++];
	nlh = put_head(v, item, id, what);
	if (mark)
		nfq_nlmsg_verdict_put_mark(nlh, *mark);
	item->id = id;
	item->head_len = nlh->nlmsg_len;
	item->payload = NULL;
	item->payload_len = 0;
	v->count++;
	return item;
}

int verdict_put(struct verdicts *v, uint32_t id, uint32_t what,
		const uint32_t *mark)
{
	int err;

	start(v, id, what, mark, &err);
	return err;
}

int verdict_put_payload(struct verdicts *v, uint32_t id, const uint8_t *data,
			uint32_t len, const uint32_t *mark)
{
	struct verdict *item;
	struct nlmsghdr *nlh;
	struct nlattr *attr;
	int err;

	if (len > VERDICT_PAYLOAD_MAX)
		return -EMSGSIZE;
	item = start(v, id, NF_ACCEPT, mark, &err);
	nlh = (void *)item->head;
	attr = mnl_nlmsg_get_payload_tail(nlh);
	attr->nla_type = NFQA_PAYLOAD;
	attr->nla_len = (uint16_t)(sizeof(*attr) + len);
	item->head_len += (uint32_t)sizeof(*attr);
	item->payload = data;
	item->payload_len = len;
	nlh->nlmsg_len += (uint32_t)sizeof(*attr) + len;
	return err;
}

/* Adds a verdict to a message; returns its bytes. */
static size_t append(struct msghdr *msg, struct verdict *item)
{
	static const char zero[NLMSG_ALIGNTO];
	struct iovec *iov = &msg->msg_iov[msg->msg_iovlen];
	size_t pad = NLMSG_ALIGN(item->payload_len) - item->payload_len;

	*iov++ = (struct iovec){ item->head, item->head_len };
	if (item->payload_len)
		*iov++ = (struct iovec){ (void *)(uintptr_t)item->payload,
					 item->payload_len };
	if (pad)
		*iov++ = (struct iovec){ (void *)(uintptr_t)zero, pad };
	msg->msg_iovlen = (size_t)(iov - msg->msg_iov);
	return item->head_len + item->payload_len + pad;
}

/* Spreads the verdicts over messages and returns how many there are; those
 * of message i are first[i] to before first[i + 1]. */
static unsigned int pack(struct verdicts *v,
			 unsigned int first[VERDICTS_MAX + 1])
{
	struct iovec *iov = v->iov;
	struct msghdr *msg = NULL;
	size_t bytes = 0;
	unsigned int n = 0;

	for (unsigned int i = 0; i < v->n; i++) {
		struct verdict *item = &v->item[i];

		if (!msg || bytes + item->payload_len > MESSAGE_BYTES) {
			if (msg)
				iov += msg->msg_iovlen;
			first[n] = i;
			msg = &v->message[n++].msg_hdr;
			*msg = (struct msghdr){ .msg_iov = iov };
			bytes = 0;
		}
		bytes += append(msg, item);
	}
	first[n] = v->n;
	return n;
}

/* The verdicts from `first` to before `end` could not be sent, for want of
 * memory as it seems: a drop needs little of it. */
static void drop_instead(struct verdicts *v, unsigned int first,
			 unsigned int end)
{
	for (; first < end; first++) {
		struct verdict *item = &v->item[first];
		struct nlmsghdr *nlh = put_head(v, item, item->id, NF_DROP);

		v->unsent++;
		/* If this fails too, nothing is left to try. */
		(void)!send(v->fd, nlh, nlh->nlmsg_len, 0);
	}
}

int verdict_flush(struct verdicts *v)
{
	unsigned int first[VERDICTS_MAX + 1], done = 0;
	unsigned int n = pack(v, first);
	int sent, err = 0;

	while (done < n) {
		sent = sendmmsg(v->fd, v->message + done, n - done, 0);
		if (sent > 0) {
			done += (unsigned int)sent;
			continue;
		}
		if (sent < 0 && errno == EINTR)
			continue;
		if (!err)
			err = sent < 0 ? -errno : -EIO;
		drop_instead(v, first[done], first[done + 1]);
		done++;
	}
	v->n = 0;
	return err;
}
