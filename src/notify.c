/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * notify: a datagram to the service manager, and sockets from it.
 */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FIRST_SOCKET 3 /* SD_LISTEN_FDS_START */

int notify_send(const char *state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len;
	int fd, err = 1;

	if (!path || !path[0])
		return 0;
	len = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(sun.sun_path))
		return -EINVAL;
	memcpy(sun.sun_path, path, len);
	if (path[0] == '@')
		sun.sun_path[0] = '\0'; /* the abstract namespace */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	len += offsetof(struct sockaddr_un, sun_path);
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL,
		   (struct sockaddr *)&sun, (socklen_t)len) < 0)
		err = -errno;
	close(fd);
	return err;
}

static bool read_number(const char *name, long *n)
{
	const char *text = getenv(name);
	char *end;

	if (!text || !*text)
		return false;
	*n = strtol(text, &end, 10);
	return !*end && *n > 0 && *n <= INT_MAX;
}

size_t notify_sockets(int *fds, size_t max)
{
	long pid, count;
	size_t n = 0;

	if (read_number("LISTEN_PID", &pid) && pid == getpid() &&
	    read_number("LISTEN_FDS", &count))
		for (int fd = FIRST_SOCKET; fd - FIRST_SOCKET < count &&
		     n < max; fd++)
			if (!fcntl(fd, F_SETFD, FD_CLOEXEC))
				fds[n++] = fd;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return n;
}

uint64_t notify_watchdog_usec(void)
{
	const char *text = getenv("WATCHDOG_USEC");
	unsigned long long usec;
	long pid;
	char *end;

	if (!text || *text < '0' || *text > '9' ||
	    (read_number("WATCHDOG_PID", &pid) && pid != getpid()))
		return 0;
	errno = 0;
	usec = strtoull(text, &end, 10);
	return *end || errno ? 0 : usec;
}

int notify_reloading(void)
{
	struct timespec now;
	char text[80];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof(text),
		 "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		 (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	return notify_send(text);
}
