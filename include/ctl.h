/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl: the daemon's end of <runtime_dir>/saciped.sock.
 *
 * Owns the listening socket, its clients, their permissions and their
 * bounds. What the answers say comes from the daemon through struct
 * ctl_ops. Never blocks, never logs, never looks into a flow.
 *
 * Who may what (credentials of the peer, asked of the kernel at every
 * request): list, show and monitor of other users' flows: uid 0 and
 * members of the socket's group; everyone else sees the flows of his own
 * sockets. peers, status: uid 0 and the group. key, forget, move: uid 0.
 */
#ifndef SACIPED_CTL_H
#define SACIPED_CTL_H

#include "ctlmsg.h"

#define CTL_CLIENTS_MAX 64
#define CTL_CLIENTS_PER_UID_MAX 8 /* of any user but root, of the group too */

struct ctl;

/* Filled by the daemon; every member is needed. All are called from
 * ctl_process() only. */
struct ctl_ops {
	/* The next flows of a listing: at most `max` to `to`; returns how
	 * many, 0 at the end. *cursor is 0 at first and is the callee's to
	 * change. A flow that lives through the whole listing is named
	 * exactly once; calls of one listing may be seconds apart. */
	size_t (*flows)(void *ctx, uint64_t *cursor, struct ctl_flow *to,
			size_t max);
	/* 0, or -ENOENT. */
	int (*flow)(void *ctx, uint64_t id, struct ctl_flow *to);
	size_t (*peers)(void *ctx, uint64_t *cursor, struct ctl_peer *to,
			size_t max);
	void (*status)(void *ctx, struct ctl_status *to);
	void (*key)(void *ctx, char fingerprint[CTL_NAME_MAX],
		    uint8_t public_key[CTL_KEY_SIZE]);
	/* These two: 0, or -errno and a sentence in `text` (why, and what
	 * to do); on success `text` may say what was done. */
	int (*forget)(void *ctx, const char *peer, char text[CTL_TEXT_MAX]);
	int (*move)(void *ctx, const struct ctl_move *m,
		    char text[CTL_TEXT_MAX]);
};

/* Binds `path` (mode 0666 by chmod: permissions are the kernel's word on
 * the client, not the file's). A socket file that nobody answers on is
 * replaced. 0, or -errno: -EADDRINUSE where a daemon answers there,
 * -ENAMETOOLONG. `ops`, `ctx` and `counters` (CTL_CLIENTS, CTL_REFUSED)
 * outlive it. */
int ctl_open(struct ctl **ctl, const char *path, const struct ctl_ops *ops,
	     void *ctx, struct counters *counters);
/* One descriptor for the caller's epoll set (it is itself an epoll):
 * readable when ctl_process() has something to do. */
int ctl_fd(const struct ctl *ctl);
/* Takes and answers what is there, a bounded amount of work per call: a
 * longer listing goes on at the next one. */
void ctl_process(struct ctl *ctl);
/* Tells every monitor that may see it; never blocks: a client that reads
 * too slowly loses events, and is told how many. */
void ctl_publish(struct ctl *ctl, const struct ctl_event *e);
/* True while somebody monitors: else no event need be made. */
bool ctl_monitored(const struct ctl *ctl);
/* Ends every client and removes the socket file. NULL is fine. */
void ctl_close(struct ctl *ctl);

#endif
