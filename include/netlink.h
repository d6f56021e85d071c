/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netlink: one netlink socket, requests and events, over libmnl.
 *
 * Owns the socket, its buffers, sequence numbers, acknowledgements and the
 * kernel's last words about an error. Knows no bus: who builds a message
 * knows what it means. Never logs, never keeps an object.
 *
 * Use one socket for commands and another for events: an event that overruns
 * a shared buffer would take an answer with it. The kernel works through
 * every request inside sendmsg() (dumps: inside recvmsg()), so a command
 * socket is answered at once; the wait is bounded all the same.
 */
#ifndef SACIPED_NETLINK_H
#define SACIPED_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netlink;
struct nlmsghdr;

#define NETLINK_ERROR_TEXT_MAX 128
#define NETLINK_GROUPS_MAX 32
#define NETLINK_DUMP_TRIES 8 /* of one that the kernel says was torn */
#define NETLINK_WAIT_MS 5000 /* for an answer: then -ETIMEDOUT */
#define NETLINK_READS_PER_WAKE 64 /* datagrams in one netlink_receive() */

/*
 * One message: an object of an answer or dump, or an event; never NLMSG_ERROR
 * or NLMSG_DONE. A negative errno ends the delivery and becomes the result;
 * anything else goes on.
 */
typedef int netlink_callback(const struct nlmsghdr *message, void *arg);

/* Is there a whole message in the `left` bytes? As mnl_nlmsg_ok(), which takes
 * a length past INT_MAX for a negative one, and so for one that fits. */
bool netlink_has_message(const struct nlmsghdr *nlh, int left);

/*
 * Opens a socket on `bus` (NETLINK_ROUTE, ...), close-on-exec, non-blocking,
 * member of `n` multicast groups (numbers, not bits). 0, or -errno: -EINVAL
 * past NETLINK_GROUPS_MAX, -EPERM for a group that needs CAP_NET_ADMIN.
 */
int netlink_open(struct netlink **nl, int bus, const unsigned *groups,
		 size_t n);
/* Enters (or leaves) these groups later on. 0 or -errno; entering some of
 * them may have failed then. */
int netlink_listen(struct netlink *nl, const unsigned *groups, size_t n,
		   bool on);
/* NULL is fine. */
void netlink_close(struct netlink *nl);

/* To be polled for input; stays owned by `nl`. */
int netlink_fd(const struct netlink *nl);
/* The address that the kernel gave this socket (nlmsg_pid of our tables). */
uint32_t netlink_port(const struct netlink *nl);
/* Sets the receive buffer, past rmem_max where allowed. 0 or -errno. */
int netlink_set_buffer(struct netlink *nl, int bytes);

/*
 * Sends `req` (built with libmnl; NLM_F_REQUEST, NLM_F_ACK and the sequence
 * number are put in here) and waits for the acknowledgement, or with
 * NLM_F_DUMP for the end of the dump; `cb` (may be NULL) gets each object.
 * A dump that the kernel calls inconsistent is taken again, up to
 * NETLINK_DUMP_TRIES, and so is one with lost messages: `cb` may see an
 * object twice, and must bear it.
 *
 * 0, the kernel's -errno, the callback's, -EAGAIN where no dump came out
 * whole, -ETIMEDOUT.
 */
int netlink_request(struct netlink *nl, struct nlmsghdr *req,
		    netlink_callback *cb, void *arg);

/*
 * Sends `len` bytes of complete messages in one sendmsg(): an nfnetlink batch
 * or any number of independent requests. Sequence numbers and flags are the
 * caller's (netlink_next_seq()); NLM_F_ACK is not needed and costs buffer
 * space: no answer is success. `cb` (may be NULL) gets the objects of
 * NLM_F_ECHO.
 *
 * 0, or the first error among them; `failed_seq` (may be NULL) then says
 * whose it was, 0 where it belongs to none.
 */
int netlink_send_batch(struct netlink *nl, const void *batch, size_t len,
		       uint32_t *failed_seq, netlink_callback *cb, void *arg);
/* A fresh sequence number, never 0. */
uint32_t netlink_next_seq(struct netlink *nl);

/*
 * Hands over waiting events without blocking, at most NETLINK_READS_PER_WAKE
 * datagrams: poll level-triggered. Only the kernel's messages count.
 * 0 also where there was nothing; -ENOBUFS: events were lost, the caller must
 * resync by a dump (on a command socket), then go on reading here; other
 * -errno as the socket or the callback says.
 */
int netlink_receive(struct netlink *nl, netlink_callback *cb, void *arg);

/*
 * Throws away every waiting event: what stands in front of a dump that
 * replaces them must not be applied after it. 0, or -errno of the socket.
 */
int netlink_discard(struct netlink *nl);

/* What the kernel said about the last failed request: "" where nothing.
 * Valid until the next request. */
const char *netlink_error_text(const struct netlink *nl);

#endif
