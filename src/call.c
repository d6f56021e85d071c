/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * call: asks saciped and waits for what it says. See call.h.
 */
#include "call.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int call_fail(struct call *c, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(c->error, sizeof(c->error), format, ap);
	va_end(ap);
	return code;
}

int call_malformed(struct call *c)
{
	return call_fail(c, CTL_REFUSED, "saciped's answer is malformed");
}

static int no_daemon(struct call *c, int err)
{
	if (err == EACCES || err == EPERM)
		return call_fail(c, CTL_NOT_PERMITTED, "%s: %s", c->path,
				     strerror(err));
	if (err == EAGAIN || err == ETIMEDOUT)
		return call_fail(c, CTL_NO_DAEMON,
				     "saciped at %s does not answer", c->path);
	if (err == ECONNRESET || err == EPIPE)
		return call_fail(c, CTL_NO_DAEMON, "saciped at %s hung up",
				     c->path);
	return call_fail(c, CTL_NO_DAEMON,
			     "no saciped at %s (%s): start it, or name its"
			     " socket with -s",
			     c->path, strerror(err));
}

int call_open(struct call *c)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const struct timeval limit = { .tv_sec = CALL_TIMEOUT_MS / 1000 };
	size_t len = strlen(c->path);

	if (len >= sizeof(sun.sun_path))
		return call_fail(c, CTL_USAGE, "-s: the path is too long");
	memcpy(sun.sun_path, c->path, len + 1);
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return call_fail(c, CTL_REFUSED, "socket: %s",
				     strerror(errno));
	/* Where too many wait already, connect() does too. */
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(c->fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return no_daemon(c, errno);
	return CTL_DONE;
}

void call_close(struct call *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

int call_ask(struct call *c, const struct ctl_request *r)
{
	uint8_t request[CTL_REQUEST_MAX];
	size_t len = ctlmsg_put_request(r, request);

	if (send(c->fd, request, len, MSG_NOSIGNAL) < 0)
		return no_daemon(c, errno);
	return CTL_DONE;
}

/* 0 readable, CALL_STOPPED, or the exit code. */
static int wait_readable(struct call *c)
{
	struct pollfd p[2] = {
		{ .fd = c->fd, .events = POLLIN },
		{ .fd = c->stop_fd, .events = POLLIN },
	};
	int n;

	do
		n = poll(p, 2, c->timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return no_daemon(c, n < 0 ? errno : ETIMEDOUT);
	return p[1].revents ? CALL_STOPPED : CTL_DONE;
}

int call_receive(struct call *c, struct ctl_answer *a)
{
	ssize_t n;
	int err = wait_readable(c);

	if (err)
		return err;
	n = recv(c->fd, c->packet, sizeof(c->packet), 0);
	if (n <= 0)
		return no_daemon(c, n < 0 ? errno : ECONNRESET);
	err = ctlmsg_get_answer(c->packet, (size_t)n, a);
	if (err)
		return call_fail(c, CTL_REFUSED,
				     "saciped and sacipctl are of different"
				     " versions: restart saciped");
	if (a->type == CTL_END && a->result != CTL_DONE)
		return call_fail(c, (int)a->result, "%s", a->text);
	return CTL_DONE;
}
