/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * elements: how long the kernel takes for the map elements of moved flows.
 *
 *   elements N...   for each N one line of JSON: N elements in by one
 *                   transaction, and out by another, in ms
 *
 * Through the daemon's own `steer`, in the network namespace that it is
 * started in, where no daemon may run. Takes its table away at the end.
 */
#define _GNU_SOURCE
#include "steer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define FLOWS_PER_REMOTE 32768u

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct addr address(uint32_t host)
{
	uint8_t be32[4] = { 10, (uint8_t)(host >> 16), (uint8_t)(host >> 8),
			    (uint8_t)host };
	struct addr a = { .family = 4 };

	memcpy(a.byte, be32, sizeof(be32));
	return a;
}

static struct tuple tuple(uint32_t n, uint32_t local)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = IPPROTO_TCP;
	t.local.addr = address(local);
	t.local.port = (uint16_t)(1024 + n % FLOWS_PER_REMOTE);
	t.remote.addr = address(0x10000 + n / FLOWS_PER_REMOTE);
	t.remote.port = 443;
	return t;
}

static int change(struct steer *s, uint32_t count, bool in)
{
	steer_begin(s);
	for (uint32_t n = 0; n < count; n++) {
		struct tuple from = tuple(n, 1), to = tuple(n, 2);

		if (in)
			steer_map_add(s, STEER_SEND, &from, &to);
		else
			steer_map_del(s, STEER_SEND, &from, &to);
	}
	return steer_commit(s);
}

static int measure(struct steer *s, uint32_t count)
{
	double began = now_ms(), in, out;
	int err = change(s, count, true);

	in = now_ms();
	if (!err)
		err = change(s, count, false);
	out = now_ms();
	if (err) {
		printf("{\"error\":\"%u elements: %s %s\"}\n", count,
		       strerror(-err), steer_error_text(s));
		return err;
	}
	printf("{\"elements\":%u,\"in_ms\":%.2f,\"out_ms\":%.2f}\n", count,
	       in - began, out - in);
	return 0;
}

int main(int argc, char **argv)
{
	struct steer_conf conf = { .mark = STEER_MARK_DEFAULT,
				   .queue_in = STEER_QUEUE_DEFAULT,
				   .queue_out = STEER_QUEUE_DEFAULT + 1 };
	struct steer_info info;
	struct steer *s;
	int err = steer_open(&s, &conf, &info);

	if (!err) {
		steer_begin(s);
		steer_build(s);
		err = steer_commit(s);
		if (!err && !info.maps)
			err = -EOPNOTSUPP;
	}
	if (err) {
		printf("{\"error\":\"steer: %s\"}\n", strerror(-err));
		return 1;
	}
	for (int i = 1; i < argc && !err; i++)
		err = measure(s, (uint32_t)strtoul(argv[i], NULL, 10));
	steer_close(s, false);
	return err ? 1 : 0;
}
