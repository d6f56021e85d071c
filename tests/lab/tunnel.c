/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tunnel: one end of a tunnel over UDP, for the zoo.
 *
 *   tunnel near DEV ADDR PORT MARK     sends to ADDR, with this mark
 *   tunnel far DEV ADDR PORT V4 V6     is bound to ADDR; learns where the near
 *                                      end is; takes packets from V4 and V6
 *
 * Owns a tun and a UDP socket, and carries packets between them as WireGuard
 * does: each datagram is one packet, what cannot be sent is lost, and the far
 * end follows the near one to wherever its last datagram came from. Stays on
 * one CPU, as the kernel keeps packets in order for each CPU alone. Says
 * "ready" once the tun is there; its end, when standard input ends, takes the
 * tun away before whoever waits for the process hears of it.
 *
 * Never encrypts, never makes an address, a route or a rule, never ends
 * because of what a network says.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX 65536
#define BATCH 64 /* packets of one direction before a look at the other */
#define ROOM (1 << 20) /* twice that for skbs: WireGuard's 1024 packets */
#define V4_LEN 20
#define V6_LEN 40

struct end {
	int tun, udp;
	struct sockaddr_in other; /* port 0: not known yet */
	bool is_far;
	struct in_addr v4; /* of the near end, inside; the far end's only */
	struct in6_addr v6;
};

static void die(const char *what)
{
	fprintf(stderr, "tunnel: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int tun_open(const char *name)
{
	struct ifreq r = { .ifr_flags = (short)(IFF_TUN | IFF_NO_PI |
						IFF_TUN_EXCL) };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r))
		die(name);
	return fd;
}

static int udp_open(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int room = ROOM;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room,
				 sizeof(room)))
		die("socket");
	return fd;
}

static struct sockaddr_in address(const char *addr, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)atoi(port)) };

	errno = EINVAL;
	if (inet_pton(AF_INET, addr, &a.sin_addr) != 1)
		die(addr);
	return a;
}

static void stay_here(void)
{
	cpu_set_t here;
	int cpu = sched_getcpu();

	if (cpu < 0)
		die("CPU");
	CPU_ZERO(&here);
	CPU_SET((size_t)cpu, &here);
	if (sched_setaffinity(0, sizeof(here), &here))
		die("CPU");
}

/* WireGuard's AllowedIPs. */
static bool is_allowed(const struct end *e, const unsigned char *p, size_t len)
{
	if (!e->is_far)
		return true;
	if (len >= V4_LEN && p[0] >> 4 == 4)
		return !memcmp(p + 12, &e->v4, sizeof(e->v4));
	return len >= V6_LEN && p[0] >> 4 == 6 &&
	       !memcmp(p + 8, &e->v6, sizeof(e->v6));
}

static void send_some(struct end *e)
{
	unsigned char p[PACKET_MAX];
	ssize_t n;

	for (int i = 0; i < BATCH; i++) {
		n = read(e->tun, p, sizeof(p));
		if (n <= 0)
			return;
		if (e->other.sin_port &&
		    sendto(e->udp, p, (size_t)n, 0,
			   (struct sockaddr *)&e->other, sizeof(e->other)) < 0)
			continue; /* an outage: it is lost */
	}
}

static void take_some(struct end *e)
{
	unsigned char p[PACKET_MAX];
	struct sockaddr_in from;
	socklen_t len;
	ssize_t n;

	for (int i = 0; i < BATCH; i++) {
		len = sizeof(from);
		n = recvfrom(e->udp, p, sizeof(p), 0, (struct sockaddr *)&from,
			     &len);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			continue; /* an ICMP error, which is now taken */
		if (e->is_far)
			e->other = from;
		if (is_allowed(e, p, (size_t)n) &&
		    write(e->tun, p, (size_t)n) < 0)
			continue; /* the tun is not up: it is lost */
	}
}

static void carry(struct end *e)
{
	struct pollfd f[] = { { .fd = STDIN_FILENO, .events = POLLIN },
			      { .fd = e->tun, .events = POLLIN },
			      { .fd = e->udp, .events = POLLIN } };
	char line[64];

	while (poll(f, 3, -1) >= 0 || errno == EINTR) {
		if (f[0].revents && read(STDIN_FILENO, line, sizeof(line)) <= 0)
			return;
		if (f[1].revents & POLLERR)
			return; /* another took the tun away */
		if (f[1].revents)
			send_some(e);
		if (f[2].revents)
			take_some(e);
	}
}

int main(int argc, char **argv)
{
	struct end e = { 0 };
	struct sockaddr_in a;
	int mark;

	e.is_far = argc == 7 && !strcmp(argv[1], "far");
	if (!e.is_far && (argc != 6 || strcmp(argv[1], "near"))) {
		fputs("usage: tunnel near DEV ADDR PORT MARK\n"
		      "       tunnel far DEV ADDR PORT V4 V6\n", stderr);
		return 2;
	}
	stay_here();
	a = address(argv[3], argv[4]);
	e.udp = udp_open();
	if (e.is_far) {
		if (inet_pton(AF_INET, argv[5], &e.v4) != 1 ||
		    inet_pton(AF_INET6, argv[6], &e.v6) != 1)
			die("an address of the near end");
		if (bind(e.udp, (struct sockaddr *)&a, sizeof(a)))
			die("bind");
	} else {
		e.other = a;
		mark = atoi(argv[5]);
		if (setsockopt(e.udp, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)))
			die("mark");
	}
	e.tun = tun_open(argv[2]);
	puts("ready");
	fflush(stdout);
	carry(&e);
	return 0;
}
