/* SPDX-License-Identifier: GPL-2.0-or-later */
/* t_notify: what a service manager would hear. */
#include "notify.h"

#include <errno.h>
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

int main(void)
{
	const struct CMUnitTest notify[] = {
		cmocka_unit_test(a_manager_hears_it),
		cmocka_unit_test(without_a_manager_nothing_happens),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(notify, NULL, NULL);
}
