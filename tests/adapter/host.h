/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host: network namespaces for the adapters' tests.
 *
 * Owns two namespaces joined by a veth pair and says why a test cannot run.
 * Never touches the namespace that the test was started in.
 *
 *     hosts.a  va  10.9.0.1/24  fd09::1/64  ---  vb  10.9.0.2, fd09::2  hosts.b
 */
#ifndef SACIPED_TESTS_HOST_H
#define SACIPED_TESTS_HOST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "addr.h"

#define HOST_WAIT_MS 5000 /* for what must come: then the test fails */
#define HOST_A4 "10.9.0.1"
#define HOST_B4 "10.9.0.2"
#define HOST_A6 "fd09::1"
#define HOST_B6 "fd09::2"

struct hosts {
	int home, a, b; /* namespaces; -1: not open */
};

/* The last comment before a skipped test is its reason. */
#define SKIP_BECAUSE(...)                 \
	do {                              \
		printf("# " __VA_ARGS__); \
		printf("\n");             \
		fflush(stdout);           \
		skip();                   \
	} while (0)

__attribute__((format(printf, 1, 2), unused)) static int
host_try(const char *format, ...)
{
	char command[1024];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(command))
		return -1;
	return system(command);
}

#define host_run(...) assert_int_equal(host_try(__VA_ARGS__), 0)

/*
 * Until the kernel uses the addresses of this namespace, which are given as
 * words: a worker of the kernel ends what is tentative of an IPv6 address, of
 * one with "nodad" too, and only then makes the local route to it, last.
 */
#define host_settle(addrs)                                               \
	host_run("for a in %s; do case $a in *:*) f=6;; *) f=4;; esac; "       \
		 "timeout %d sh -c \"until ip -$f -o route show table local "  \
		 "$a | grep -q local; do :; done\" || exit 1; done", addrs,   \
		 HOST_WAIT_MS / 1000)

__attribute__((unused)) static void host_enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

__attribute__((unused)) static int host_namespace(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Group set-up: never fails, hosts.a is -1 where there are no namespaces. */
__attribute__((unused)) static int hosts_open(void **state)
{
	struct hosts *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	*state = h;
	h->a = h->b = -1;
	h->home = host_namespace();
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		return 0;
	h->b = host_namespace();
	host_run("ip link set lo up");
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	h->a = host_namespace();
	host_run("ip link set lo up");
	host_run("ip link add va type veth peer name vb netns /proc/%d/fd/%d",
		 (int)getpid(), h->b);
	/* No address of the kernel's own, which comes a second or two late. */
	host_run("ip addr add " HOST_A4 "/24 dev va && "
		 "ip addr add " HOST_A6 "/64 dev va nodad && "
		 "ip link set va addrgenmode none up");
	host_enter(h->b);
	host_run("ip addr add " HOST_B4 "/24 dev vb && "
		 "ip addr add " HOST_B6 "/64 dev vb nodad && "
		 "ip link set vb addrgenmode none up");
	host_settle(HOST_B4 " " HOST_B6);
	host_enter(h->a);
	host_settle(HOST_A4 " " HOST_A6);
	return 0;
}

__attribute__((unused)) static int hosts_close(void **state)
{
	struct hosts *h = *state;

	host_enter(h->home);
	close(h->home);
	if (h->a >= 0)
		close(h->a);
	if (h->b >= 0)
		close(h->b);
	free(h);
	return 0;
}

/* Opens every test: in host a, or skipped. */
#define HOSTS(state)                                                     \
	({                                                               \
		struct hosts *hosts_ = *(state);                         \
		if (hosts_->a < 0)                                       \
			SKIP_BECAUSE("needs root and network namespaces"); \
		host_enter(hosts_->a);                                   \
		hosts_;                                                  \
	})

/* True once `fd` can be read; false after `ms`. */
__attribute__((unused)) static bool host_readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

__attribute__((unused)) static struct addr host_addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

__attribute__((unused)) static struct endpoint host_endpoint(const char *text,
							     uint16_t port)
{
	struct endpoint e = { .port = port };

	e.addr = host_addr(text);
	return e;
}

/* A socket of `type` bound to text:port (0: any), in the present namespace. */
__attribute__((unused)) static int host_bind(const char *text, uint16_t port,
					     int type)
{
	struct endpoint e = host_endpoint(text, port);
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&e, &ss);
	const int on = 1;
	int fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on,
				    sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

__attribute__((unused)) static struct endpoint host_name(int fd, bool peer)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct endpoint e;

	assert_int_equal(peer ? getpeername(fd, (struct sockaddr *)&ss, &len) :
				getsockname(fd, (struct sockaddr *)&ss, &len),
			 0);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&ss, &e), 0);
	return e;
}

__attribute__((unused)) static struct tuple host_tuple(int fd, uint8_t proto)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.local = host_name(fd, false);
	t.remote = host_name(fd, true);
	t.proto = proto;
	return t;
}

__attribute__((unused)) static void host_connect(int fd,
						 const struct endpoint *to)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(to, &ss);

	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
}

/* A TCP connection from a (whose address is `a`) to b; leaves in a. */
__attribute__((unused)) static void host_pair(const struct hosts *h,
					      const char *a, const char *b,
					      int *at_a, int *at_b)
{
	struct endpoint to;
	int listener;

	host_enter(h->b);
	listener = host_bind(b, 0, SOCK_STREAM);
	assert_int_equal(listen(listener, 1), 0);
	to = host_name(listener, false);
	host_enter(h->a);
	*at_a = host_bind(a, 0, SOCK_STREAM);
	host_connect(*at_a, &to);
	*at_b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(*at_b >= 0);
	close(listener);
}

#endif
