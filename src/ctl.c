/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl: the daemon's end of the Unix socket.
 *
 * Owns the socket file, up to CTL_CLIENTS_MAX clients and what each may
 * see. One packet per client waits for room at most; a listing is pulled
 * from the daemon as fast as its reader takes it. Never blocks, never
 * trusts a byte of a request, never knows what a flow is.
 */
#include "ctl_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 64
#define EVENTS_PER_CALL 32
#define ACCEPTS_PER_CALL 128
#define STEPS_PER_CALL 8 /* batches of a listing per client and call */
#define GROUPS_MAX 256

/* --- clients ------------------------------------------------------------ */

/* Only marked: an event that is being worked on, or a loop over all, may
 * still hold it (the daemon publishes events out of a request). */
static void client_drop(struct ctl *ctl, struct ctl_client *c)
{
	if (c->dead)
		return;
	c->dead = true;
	ctl->n_clients--;
	if (c->mode == MODE_MONITOR)
		ctl->n_monitors--;
	close(c->fd); /* leaves the epoll set by itself */
}

static void free_dead(struct ctl *ctl)
{
	struct ctl_client *c, *next;

	for (c = TAILQ_FIRST(&ctl->clients); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->dead) {
			TAILQ_REMOVE(&ctl->clients, c, link);
			free(c);
		}
	}
}

static int client_want(struct ctl *ctl, struct ctl_client *c, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	if (c->interest == events)
		return 0;
	if (epoll_ctl(ctl->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
		return -errno;
	c->interest = events;
	return 0;
}

/* 0 sent (or nothing there), -EAGAIN no room, or -errno. */
static int client_flush(struct ctl_client *c)
{
	if (c->out_len == 0)
		return 0;
	if (send(c->fd, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	c->out_len = 0;
	return 0;
}

/* --- permissions -------------------------------------------------------- */

static bool in_group(int fd, gid_t primary, gid_t wanted)
{
	gid_t list[GROUPS_MAX];
	socklen_t len = sizeof(list);

	if (primary == wanted)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(list[0]); i++)
		if (list[i] == wanted)
			return true;
	return false;
}

static int get_caller(const struct ctl *ctl, int fd, struct ctl_caller *to)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct stat st;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	to->uid = cred.uid;
	to->sees_all = cred.uid == 0;
	/* Asked each time, so that chgrp takes effect at once. */
	if (!to->sees_all && lstat(ctl->path, &st) == 0 &&
	    st.st_ino == ctl->ino && st.st_dev == ctl->dev)
		to->sees_all = in_group(fd, cred.gid, st.st_gid);
	return 0;
}

/* 0, or -errno where the client is to be dropped. */
static int client_read(struct ctl *ctl, struct ctl_client *c)
{
	uint8_t packet[CTL_REQUEST_MAX];
	struct ctl_request q;
	struct ctl_caller who;
	ssize_t n;
	int err;

	/* MSG_TRUNC: the true length of a packet that is too long. */
	n = recv(c->fd, packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0 || c->mode == MODE_MONITOR)
		return -ECONNRESET;
	err = get_caller(ctl, c->fd, &who);
	if (err)
		return err;
	err = (size_t)n > sizeof(packet)
		      ? -EINVAL
		      : ctlmsg_get_request(packet, (size_t)n, &q);
	if (err) {
		ctl_answer_refuse(
			ctl, c, CTL_USAGE,
			err == -EPROTO ? "sacipctl and saciped are of different"
					 " versions: restart saciped"
				       : "malformed request");
		c->closing = true;
		return 0;
	}
	ctl_answer_request(ctl, c, &who, &q);
	return 0;
}

/* Sends what waits and goes on with a listing, a bounded number of steps;
 * 0, or -errno where the client is to be dropped. */
static int client_write(struct ctl *ctl, struct ctl_client *c)
{
	bool more = true;
	int err;

	for (int i = 0; i < STEPS_PER_CALL && more; i++) {
		err = client_flush(c);
		if (err == -EAGAIN || err == -ENOBUFS)
			return client_want(ctl, c, EPOLLOUT);
		if (err)
			return err;
		if (c->closing)
			return -ECONNRESET;
		more = ctl_answer_step(ctl, c);
	}
	/* The rest of a listing waits for the next call: others first. */
	return client_want(ctl, c, more ? EPOLLOUT : EPOLLIN);
}

static void client_process(struct ctl *ctl, struct ctl_client *c,
			   uint32_t events)
{
	int err = 0;

	if (c->dead)
		return;
	/* The last request of a client that shut down is still answered. */
	if (events & EPOLLIN)
		err = client_read(ctl, c);
	else if (events & (EPOLLHUP | EPOLLERR))
		err = -ECONNRESET;
	if (!err)
		err = client_write(ctl, c);
	if (err)
		client_drop(ctl, c);
}

/* --- the listening socket ------------------------------------------------ */

/* Makes room for a client of `uid`; false where there is none to be had. */
static bool make_room(struct ctl *ctl, uid_t uid)
{
	unsigned int same = 0;
	struct ctl_client *c, *victim = NULL;

	TAILQ_FOREACH(c, &ctl->clients, link)
	{
		same += !c->dead && c->uid == uid;
		if (!victim && !c->dead && c->uid != 0)
			victim = c;
	}
	if (uid != 0 && same >= CTL_CLIENTS_PER_UID_MAX)
		return false;
	if (ctl->n_clients < CTL_CLIENTS_MAX)
		return true;
	/* Nobody can lock root out. */
	if (uid != 0 || !victim)
		return false;
	client_drop(ctl, victim);
	return true;
}

static void accept_one(struct ctl *ctl, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct ctl_caller who;
	struct ctl_client *c;
	uint8_t packet[CTL_REQUEST_MAX];
	size_t len;

	if (get_caller(ctl, fd, &who) < 0) {
		close(fd);
		return;
	}
	c = make_room(ctl, who.uid) ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		ctl->counters->value[COUNTER_CTL_REFUSED]++;
		len = ctlmsg_put_end(CTL_REFUSED, "too many clients", packet,
				     sizeof(packet));
		send(fd, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	c->fd = fd;
	c->uid = who.uid;
	c->interest = EPOLLIN;
	ev.data.ptr = c;
	if (epoll_ctl(ctl->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		close(fd);
		free(c);
		return;
	}
	TAILQ_INSERT_TAIL(&ctl->clients, c, link);
	ctl->n_clients++;
	ctl->counters->value[COUNTER_CTL_CLIENTS]++;
}

/* Edge-triggered, so that a full table of descriptors makes no busy loop:
 * the next connection tries again. */
static int arm_listener(struct ctl *ctl, int op)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };

	ev.data.ptr = NULL; /* tells it from a client */
	return epoll_ctl(ctl->epoll_fd, op, ctl->listen_fd, &ev) < 0 ? -errno
								     : 0;
}

static void accept_all(struct ctl *ctl)
{
	int fd;

	for (int i = 0; i < ACCEPTS_PER_CALL; i++) {
		fd = accept4(ctl->listen_fd, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
			continue;
		if (fd < 0)
			return;
		accept_one(ctl, fd);
	}
	arm_listener(ctl, EPOLL_CTL_MOD); /* there may be more */
}

/* Removes a socket file that nobody answers on. 0, or -errno. */
static int clear_path(const struct sockaddr_un *sun)
{
	struct stat st;
	int fd, err;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0
		      ? errno
		      : 0;
	close(fd);
	if (err != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(sun->sun_path) < 0 ? -errno : 0;
}

static int listen_on(struct ctl *ctl)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat st;
	mode_t mask;
	int err;

	memcpy(sun.sun_path, ctl->path, sizeof(sun.sun_path));
	err = clear_path(&sun);
	if (err)
		return err;
	ctl->listen_fd = socket(
		AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (ctl->listen_fd < 0)
		return -errno;
	/* Born with its mode: by name, another file could get it. */
	mask = umask(0111);
	err = bind(ctl->listen_fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ?
		      -errno :
		      0;
	umask(mask);
	if (err)
		return err;
	if (lstat(ctl->path, &st) < 0)
		return -errno;
	ctl->dev = st.st_dev;
	ctl->ino = st.st_ino;
	if (listen(ctl->listen_fd, BACKLOG) < 0)
		return -errno;
	return arm_listener(ctl, EPOLL_CTL_ADD);
}

/* --- the interface ------------------------------------------------------- */

int ctl_open(struct ctl **to, const char *path, const struct ctl_ops *ops,
	     void *ctx, struct counters *counters)
{
	struct ctl *ctl;
	int err;

	*to = NULL;
	if (strlen(path) >= sizeof(ctl->path))
		return -ENAMETOOLONG;
	ctl = calloc(1, sizeof(*ctl));
	if (!ctl)
		return -ENOMEM;
	strcpy(ctl->path, path);
	ctl->ops = ops;
	ctl->ctx = ctx;
	ctl->counters = counters;
	ctl->listen_fd = -1;
	TAILQ_INIT(&ctl->clients);
	ctl->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	err = ctl->epoll_fd < 0 ? -errno : listen_on(ctl);
	if (err) {
		ctl_close(ctl);
		return err;
	}
	*to = ctl;
	return 0;
}

int ctl_fd(const struct ctl *ctl)
{
	return ctl->epoll_fd;
}

bool ctl_monitored(const struct ctl *ctl)
{
	return ctl->n_monitors > 0;
}

void ctl_process(struct ctl *ctl)
{
	struct epoll_event ev[EVENTS_PER_CALL];
	int n;

	ctl->processing = true;
	n = epoll_wait(ctl->epoll_fd, ev, EVENTS_PER_CALL, 0);
	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr)
			client_process(ctl, ev[i].data.ptr, ev[i].events);
		else
			accept_all(ctl);
	}
	ctl->processing = false;
	free_dead(ctl);
}

void ctl_publish(struct ctl *ctl, const struct ctl_event *e)
{
	uint8_t packet[2 * CTL_TEXT_MAX];
	struct ctl_client *c;
	struct ctl_caller who;
	size_t len;
	int err;

	ctl->last_event_ms = e->time_ms;
	if (ctl->n_monitors == 0)
		return;
	len = ctlmsg_put_event(e, packet, sizeof(packet));
	TAILQ_FOREACH(c, &ctl->clients, link)
	{
		who = (struct ctl_caller){ c->uid, c->sees_all };
		if (c->dead || c->mode != MODE_MONITOR ||
		    !ctl_answer_visible(&who, e->uid))
			continue;
		err = 0;
		if (c->lost || c->out_len)
			c->lost++;
		else if (send(c->fd, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL) <
			 0)
			err = errno;
		if (err == EAGAIN || err == ENOBUFS) {
			c->lost++;
			err = -client_want(ctl, c, EPOLLOUT);
		}
		if (err)
			client_drop(ctl, c);
	}
	if (!ctl->processing)
		free_dead(ctl);
}

void ctl_close(struct ctl *ctl)
{
	struct ctl_client *c;
	struct stat st;

	if (!ctl)
		return;
	TAILQ_FOREACH(c, &ctl->clients, link)
	client_drop(ctl, c);
	free_dead(ctl);
	if (ctl->listen_fd >= 0)
		close(ctl->listen_fd);
	if (ctl->epoll_fd >= 0)
		close(ctl->epoll_fd);
	if (ctl->ino && lstat(ctl->path, &st) == 0 && st.st_ino == ctl->ino &&
	    st.st_dev == ctl->dev)
		unlink(ctl->path);
	free(ctl);
}
