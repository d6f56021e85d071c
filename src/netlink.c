/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netlink: one netlink socket, requests and events, over libmnl.
 *
 * Owns the socket, its buffers, sequence numbers and the text of the last
 * error. Never logs, never interprets an object.
 */
#include "netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One datagram of a dump is 32 KiB at most (netlink_dump()). */
#define BUFFER_BYTES (64 * 1024)
#define RECEIVE_BUFFER (8 * 1024 * 1024)
#define SEND_BUFFER_SLACK 4096
#define DISCARDS 256 /* at once */

struct netlink {
	int fd;
	uint32_t port;
	uint32_t seq;
	char text[NETLINK_ERROR_TEXT_MAX];
	char buffer[BUFFER_BYTES];
};

/* One request that waits for its answers. */
struct wait {
	struct netlink *nl;
	netlink_callback *cb;
	void *arg;
	uint32_t seq; /* 0: take any, as batches do */
	uint32_t failed_seq;
	int callback_error;
	int error;
	bool done;
	bool torn;
};

bool netlink_has_message(const struct nlmsghdr *nlh, int left)
{
	return mnl_nlmsg_ok(nlh, left) && nlh->nlmsg_len <= (uint32_t)left;
}

int netlink_fd(const struct netlink *nl)
{
	return nl->fd;
}

uint32_t netlink_port(const struct netlink *nl)
{
	return nl->port;
}

const char *netlink_error_text(const struct netlink *nl)
{
	return nl->text;
}

uint32_t netlink_next_seq(struct netlink *nl)
{
	if (++nl->seq == 0)
		nl->seq = 1;
	return nl->seq;
}

int netlink_set_buffer(struct netlink *nl, int bytes)
{
	if (setsockopt(nl->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes,
		       sizeof(bytes)) == 0)
		return 0;
	if (setsockopt(nl->fd, SOL_SOCKET, SO_RCVBUF, &bytes,
		       sizeof(bytes)) == 0)
		return 0;
	return -errno;
}

int netlink_listen(struct netlink *nl, const unsigned *groups, size_t n,
		   bool on)
{
	int what = on ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP;

	for (size_t i = 0; i < n; i++) {
		int group = (int)groups[i];

		if (setsockopt(nl->fd, SOL_NETLINK, what, &group,
			       sizeof(group)) < 0)
			return -errno;
	}
	return 0;
}

static int bind_socket(struct netlink *nl)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof(sa);

	if (bind(nl->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    getsockname(nl->fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	nl->port = sa.nl_pid;
	return 0;
}

int netlink_open(struct netlink **out, int bus, const unsigned *groups,
		 size_t n)
{
	const int on = 1;
	struct netlink *nl;
	int err;

	if (n > NETLINK_GROUPS_MAX)
		return -EINVAL;
	nl = calloc(1, sizeof(*nl));
	if (!nl)
		return -ENOMEM;
	nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			bus);
	if (nl->fd < 0) {
		err = -errno;
		goto out_free;
	}
	/* Best effort: older kernels or no privilege mean less comfort only. */
	(void)setsockopt(nl->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)setsockopt(nl->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	/* Filters of dumps in the kernel, not "everything, sort it yourself". */
	(void)setsockopt(nl->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on,
			 sizeof(on));
	(void)netlink_set_buffer(nl, RECEIVE_BUFFER);
	err = bind_socket(nl);
	if (!err)
		err = netlink_listen(nl, groups, n, true);
	if (err)
		goto out_close;
	*out = nl;
	return 0;

out_close:
	close(nl->fd);
out_free:
	free(nl);
	return err;
}

void netlink_close(struct netlink *nl)
{
	if (!nl)
		return;
	close(nl->fd);
	free(nl);
}

/* Length of one datagram from the kernel; 0 for one that any process may
 * send to a netlink address; -errno. */
static ssize_t read_datagram(struct netlink *nl)
{
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { nl->buffer, sizeof(nl->buffer) };
	struct msghdr msg = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	ssize_t len;

	do {
		len = recvmsg(nl->fd, &msg, 0);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return -errno;
	if (msg.msg_namelen != sizeof(from) || from.nl_pid != 0)
		return 0;
	if (msg.msg_flags & MSG_TRUNC)
		return -ENOSPC;
	return len;
}

static int wait_readable(struct netlink *nl)
{
	struct pollfd pfd = { .fd = nl->fd, .events = POLLIN };
	int n;

	do {
		n = poll(&pfd, 1, NETLINK_WAIT_MS);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

static int text_attribute(const struct nlattr *attr, void *arg)
{
	struct netlink *nl = arg;
	size_t len = mnl_attr_get_payload_len(attr);

	if (mnl_attr_get_type(attr) != NLMSGERR_ATTR_MSG || len == 0)
		return MNL_CB_OK;
	if (len >= sizeof(nl->text))
		len = sizeof(nl->text) - 1;
	memcpy(nl->text, mnl_attr_get_payload(attr), len);
	nl->text[len] = '\0';
	return MNL_CB_OK;
}

/* Keeps NLMSGERR_ATTR_MSG of an NLMSG_ERROR or NLMSG_DONE. */
static void keep_text(struct netlink *nl, const struct nlmsghdr *nlh,
		      size_t offset)
{
	offset = (offset + 3) & ~(size_t)3;
	if (nlh->nlmsg_flags & NLM_F_ACK_TLVS &&
	    offset <= mnl_nlmsg_get_payload_len(nlh))
		(void)mnl_attr_parse(nlh, (unsigned)offset, text_attribute, nl);
}

static void take_error(struct wait *w, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *e;
	size_t offset = sizeof(*e);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*e))
		return;
	e = mnl_nlmsg_get_payload(nlh);
	w->done = true;
	if (!e->error || w->error)
		return;
	w->error = e->error;
	w->failed_seq = nlh->nlmsg_seq;
	/* The request is quoted in full unless the kernel capped it. */
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED) &&
	    e->msg.nlmsg_len > sizeof(e->msg))
		offset += e->msg.nlmsg_len - sizeof(e->msg);
	keep_text(w->nl, nlh, offset);
}

static void take_done(struct wait *w, const struct nlmsghdr *nlh)
{
	int code = 0;

	w->done = true;
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(code))
		return;
	memcpy(&code, mnl_nlmsg_get_payload(nlh), sizeof(code));
	if (code < 0 && !w->error) {
		w->error = code;
		w->failed_seq = nlh->nlmsg_seq;
		keep_text(w->nl, nlh, sizeof(code));
	}
}

/* An answer's datagram; messages of earlier, abandoned requests are skipped
 * by their sequence number. */
static void take_answers(struct wait *w, size_t bytes)
{
	const struct nlmsghdr *nlh = (const void *)w->nl->buffer;
	int left = (int)bytes;

	for (; netlink_has_message(nlh, left);
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		if (w->seq && nlh->nlmsg_seq != w->seq)
			continue;
		if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
			w->torn = true;
		if (nlh->nlmsg_type == NLMSG_ERROR) {
			take_error(w, nlh);
		} else if (nlh->nlmsg_type == NLMSG_DONE) {
			take_done(w, nlh);
		} else if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && w->cb &&
			   !w->callback_error) {
			int err = w->cb(nlh, w->arg);

			if (err < 0)
				w->callback_error = err;
		}
	}
}

static int send_bytes(struct netlink *nl, const void *bytes, size_t len)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t sent;

	do {
		sent = sendto(nl->fd, bytes, len, 0,
			      (const struct sockaddr *)&kernel,
			      sizeof(kernel));
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == len ? 0 : -EMSGSIZE;
}

/* One try. A callback's error does not stop the reading: what is left of a
 * dump would make the next one fail with EBUSY. */
static int request_once(struct wait *w, struct nlmsghdr *req)
{
	int err;

	w->seq = req->nlmsg_seq = netlink_next_seq(w->nl);
	w->done = w->torn = false;
	w->error = w->callback_error = 0;
	err = send_bytes(w->nl, req, req->nlmsg_len);
	while (!err && !w->done) {
		ssize_t len = read_datagram(w->nl);

		if (len == -EAGAIN) {
			err = wait_readable(w->nl);
		} else if (len == -ENOBUFS) {
			/* An answer may be the one that got lost; of a dump
			 * the end will still come. */
			w->torn = true;
			if (!(req->nlmsg_flags & NLM_F_DUMP))
				err = -ENOBUFS;
		} else if (len < 0) {
			err = (int)len;
		} else {
			take_answers(w, (size_t)len);
		}
	}
	if (err)
		return err;
	if (w->callback_error)
		return w->callback_error;
	if (w->error)
		return w->error;
	return w->torn ? -EAGAIN : 0;
}

int netlink_request(struct netlink *nl, struct nlmsghdr *req,
		    netlink_callback *cb, void *arg)
{
	struct wait w = { .nl = nl, .cb = cb, .arg = arg };
	int tries = 0;
	int err;

	nl->text[0] = '\0';
	req->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	do {
		err = request_once(&w, req);
		if (err == -EINTR)
			err = -EAGAIN;
	} while (err == -EAGAIN && !w.callback_error &&
		 ++tries < NETLINK_DUMP_TRIES);
	return err;
}

/* sendmsg() refuses what is larger than the send buffer. */
static int make_room(struct netlink *nl, size_t len)
{
	socklen_t size = sizeof(int);
	int have = 0;
	int want;

	if (len > INT32_MAX / 2 - SEND_BUFFER_SLACK)
		return -EMSGSIZE;
	want = (int)len + SEND_BUFFER_SLACK;
	if (getsockopt(nl->fd, SOL_SOCKET, SO_SNDBUF, &have, &size) == 0 &&
	    have >= want)
		return 0;
	if (setsockopt(nl->fd, SOL_SOCKET, SO_SNDBUFFORCE, &want,
		       sizeof(want)) == 0 ||
	    setsockopt(nl->fd, SOL_SOCKET, SO_SNDBUF, &want,
		       sizeof(want)) == 0)
		return 0;
	return -errno;
}

int netlink_send_batch(struct netlink *nl, const void *batch, size_t len,
		       uint32_t *failed_seq, netlink_callback *cb, void *arg)
{
	struct wait w = { .nl = nl, .cb = cb, .arg = arg };
	int lost = 0;
	int err;

	nl->text[0] = '\0';
	if (failed_seq)
		*failed_seq = 0;
	err = make_room(nl, len);
	if (!err)
		err = send_bytes(nl, batch, len);
	if (err)
		return err;
	/* All answers are there when sendto() returns. */
	for (;;) {
		ssize_t n = read_datagram(nl);

		if (n == -EAGAIN)
			break;
		if (n == -ENOBUFS)
			lost = -ENOBUFS;
		else if (n < 0)
			return (int)n;
		else
			take_answers(&w, (size_t)n);
	}
	if (failed_seq)
		*failed_seq = w.failed_seq;
	if (w.error)
		return w.error;
	return w.callback_error ? w.callback_error : lost;
}

static int take_events(struct netlink *nl, size_t bytes, netlink_callback *cb,
		       void *arg)
{
	const struct nlmsghdr *nlh = (const void *)nl->buffer;
	int left = (int)bytes;

	for (; netlink_has_message(nlh, left);
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		int err;

		if (nlh->nlmsg_type < NLMSG_MIN_TYPE)
			continue;
		err = cb(nlh, arg);
		if (err < 0)
			return err;
	}
	return 0;
}

int netlink_receive(struct netlink *nl, netlink_callback *cb, void *arg)
{
	for (int i = 0; i < NETLINK_READS_PER_WAKE; i++) {
		ssize_t len = read_datagram(nl);
		int err;

		if (len == -EAGAIN)
			return 0;
		if (len < 0)
			return (int)len;
		err = take_events(nl, (size_t)len, cb, arg);
		if (err < 0)
			return err;
	}
	return 0;
}

/* Ends: a socket that was overrun gets nothing new until it is empty. */
int netlink_discard(struct netlink *nl)
{
	struct mmsghdr m[DISCARDS] = { 0 }; /* no room: not even copied */
	int n;

	do {
		n = recvmmsg(nl->fd, m, DISCARDS, MSG_DONTWAIT, NULL);
	} while (n > 0 ||
		 (n < 0 && (errno == ENOBUFS || errno == EINTR)));
	return errno == EAGAIN ? 0 : -errno;
}
