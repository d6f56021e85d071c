/* SPDX-License-Identifier: GPL-2.0-or-later */
/* t_notify: what a service manager would hear. */
#include "notify.h"

#include <errno.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* A socket that hears at `path`; "@" for the abstract namespace. */
static int manager(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t len = offsetof(struct sockaddr_un, sun_path) + strlen(path);

	assert_true(fd >= 0);
	strcpy(sun.sun_path, path);
	if (path[0] == '@')
		sun.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, (socklen_t)len), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
	return fd;
}

static void assert_hears(int fd, const char *what)
{
	char text[128];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(strncmp(text, what, strlen(what)), 0);
}

static void a_manager_hears_it(void **state)
{
	char path[64];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/t_notify.%d", (int)getpid());
	fd = manager(path);
	assert_int_equal(notify_send("READY=1"), 1);
	assert_hears(fd, "READY=1");
	assert_int_equal(notify_reloading(), 1);
	assert_hears(fd, "RELOADING=1\nMONOTONIC_USEC=");
	close(fd);
	unlink(path);
	/* Nobody there any more: told, and nothing else. */
	assert_int_equal(notify_send("READY=1"), -ENOENT);

	snprintf(path, sizeof(path), "@t_notify.%d", (int)getpid());
	fd = manager(path);
	assert_int_equal(notify_send("STOPPING=1"), 1);
	assert_hears(fd, "STOPPING=1");
	close(fd);
}

static void without_a_manager_nothing_happens(void **state)
{
	char longer[200];

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify_send("READY=1"), -EINVAL);
	memset(longer, '/', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longer, 1);
	assert_int_equal(notify_send("READY=1"), -EINVAL);
}

/* In a child, whose descriptors from 3 on are its own. */
static int child(void)
{
	char pid[16];
	int fds[4], spare = open("/dev/null", O_RDONLY);

	if (dup2(spare, 3) < 0 || dup2(spare, 4) < 0)
		return 1;
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_PID", "1", 1);
	if (notify_sockets(fds, 4) != 0 || getenv("LISTEN_PID"))
		return 2; /* meant for another process */
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "x2", 1);
	if (notify_sockets(fds, 4) != 0)
		return 3;
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", "a:b", 1);
	if (notify_sockets(fds, 4) != 2 || fds[0] != 3 || fds[1] != 4 ||
	    fcntl(4, F_GETFD) != FD_CLOEXEC)
		return 4;
	if (getenv("LISTEN_FDS") || getenv("LISTEN_FDNAMES") ||
	    notify_sockets(fds, 4) != 0)
		return 5;
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "2000000000", 1);
	return notify_sockets(fds, 1) == 1 ? 0 : 6;
}

static void sockets_of_the_manager_are_taken_once(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void the_watchdog_is_ours_or_none(void **state)
{
	char pid[16];

	(void)state;
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	assert_int_equal(notify_watchdog_usec(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(notify_watchdog_usec(), 30000000);
	setenv("WATCHDOG_PID", "1", 1); /* another's */
	assert_int_equal(notify_watchdog_usec(), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_usec(), 30000000);
	setenv("WATCHDOG_USEC", "-1", 1);
	assert_int_equal(notify_watchdog_usec(), 0);
	setenv("WATCHDOG_USEC", "3s", 1);
	assert_int_equal(notify_watchdog_usec(), 0);
	setenv("WATCHDOG_USEC", "99999999999999999999", 1);
	assert_int_equal(notify_watchdog_usec(), 0);
}

int main(void)
{
	const struct CMUnitTest notify[] = {
		cmocka_unit_test(a_manager_hears_it),
		cmocka_unit_test(without_a_manager_nothing_happens),
		cmocka_unit_test(sockets_of_the_manager_are_taken_once),
		cmocka_unit_test(the_watchdog_is_ours_or_none),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(notify, NULL, NULL);
}
