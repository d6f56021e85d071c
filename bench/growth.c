/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * growth: how the cost of what the daemon does grows with the connections.
 *
 * Two whole daemons, all of their own code, on the kernels of paper that the
 * unit tests have: so a hundred thousand connections need no sockets, and what
 * the kernel itself takes is not in the figures (for its tables see
 * elements.c). Prints an object of JSON per count: milliseconds of processor
 * time, and what was sent and told to nftables meanwhile.
 *
 * Never talks to a network or a kernel's tables. Leaves nothing behind.
 */
#include "../tests/unit/crowd.h"

#include <malloc.h>

#define HERE "10.0.0.1"
#define THERE "10.0.0.9"
#define STRANGERS 200
#define TIMES 5 /* that what changes nothing is repeated */

static size_t memory(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd - paper_bytes;
}

/* ---- what is measured ----------------------------------------------------- */

static double dump(void)
{
	double began = processor_ms();

	assert_int_equal(discover_dump(host[0].d, clock_ms), 0);
	return processor_ms() - began;
}

static double review(void)
{
	double began = processor_ms();

	discover_review(host[0].d, clock_ms);
	return processor_ms() - began;
}

static double list(unsigned int flows)
{
	double began = processor_ms();

	assert_int_equal(crowd_list(&host[0]), flows);
	return processor_ms() - began;
}

static double journal(void)
{
	double began = processor_ms();

	keep_open(host[0].d);
	return processor_ms() - began;
}

static double restart(void)
{
	double began;
	double paper = paper_ms;

	host_kill(&host[0]);
	began = processor_ms();
	assert_int_equal(host_start(&host[0]), 0);
	return processor_ms() - began - (paper_ms - paper);
}

static double least(double (*measure)(void))
{
	double ms = measure();

	for (int i = 1; i < TIMES; i++) {
		double again = measure();

		ms = again < ms ? again : ms;
	}
	return ms;
}

/* ---- in order ------------------------------------------------------------- */

static void print_work(const char *what)
{
	for (unsigned int i = 0; i < 2; i++)
		printf("\"%s_%s\": {\"ms\": %.3f, \"transactions\": %u, "
		       "\"elements\": %llu, \"datagrams\": %u}, ", what,
		       i ? "peer" : "mover", work[i].ms, work[i].commits,
		       (unsigned long long)work[i].changes, work[i].letters);
}

static void take_in(unsigned int flows)
{
	double took[2];

	crowd_open(flows);
	for (unsigned int i = 0; i < 2; i++) {
		double began = processor_ms();

		discover_dump(host[i].d, clock_ms);
		took[i] = processor_ms() - began;
	}
	printf("\"flows\": %u, \"take_in_ms\": %.3f, ", flows, took[0]);
}

static void protect(unsigned int flows)
{
	uint64_t took_ms = crowd_protect(flows);

	print_work("protect");
	printf("\"protect_s\": %.1f, ", (double)took_ms / 1e3);
}

static void move(void)
{
	crowd_move(HERE, THERE);
	print_work("move");
	crowd_drain();
	print_work("drain");
}

static void measure(unsigned int flows)
{
	size_t before;

	world_make(NULL);
	next_moment();
	before = memory();
	printf("{");
	take_in(flows);
	printf("\"bytes_per_flow_seen\": %.0f, ",
	       (double)(memory() - before) / (2.0 * flows));
	protect(flows);
	printf("\"bytes_per_flow\": %.0f, ",
	       (double)(memory() - before) / (2.0 * flows));
	printf("\"dump_ms\": %.3f, \"review_ms\": %.3f, ", least(dump),
	       least(review));
	move();
	printf("\"bytes_per_flow_moved\": %.0f, ",
	       (double)(memory() - before) / (2.0 * flows));
	printf("\"list_ms\": %.3f, ", list(flows));
	printf("\"journal_ms\": %.3f, ", journal());
	printf("\"journal_bytes\": %zu, ", host[0].d->keep.size);
	printf("\"restart_ms\": %.3f}\n", restart());
	assert_int_equal(crowd_owned(&host[0]), flows);
	fflush(stdout);
	teardown(NULL);
}

/* ---- peers --------------------------------------------------------------- */

static double run_for(uint64_t ms)
{
	uint64_t until = clock_ms + ms;

	work_begin();
	while (clock_ms < until)
		next_moment();
	work_end();
	return work[0].ms;
}

static double strangers(void)
{
	work_begin();
	for (int i = 0; i < STRANGERS; i++)
		crowd_stranger(HERE);
	return work[0].ms;
}

/* They do not answer: what is here is one daemon. */
static void measure_peers(unsigned int peers)
{
	double began;

	crowd_make_alone(HERE, peers);
	began = processor_ms();
	assert_int_equal(host_start(&host[0]), 0);
	printf("{\"peers\": %u, \"restart_ms\": %.3f, ", peers,
	       processor_ms() - began);
	assert_int_equal(crowd_owned(&host[0]), peers * CROWD_PER_PEER);
	moment();
	printf("\"datagram_us\": %.3f, ", strangers() * 1000 / STRANGERS);
	printf("\"second_ms\": %.3f, ", run_for(5000) / 5);
	work_begin();
	began = processor_ms();
	addr_add(&host[0], THERE, 2);
	addr_remove(&host[0], HERE);
	moment();
	work_end();
	printf("\"gone_ms\": %.3f, \"transactions\": %u, ",
	       processor_ms() - began, work[0].commits);
	printf("\"second_gone_ms\": %.3f}\n", run_for(5000) / 5);
	fflush(stdout);
	teardown(NULL);
}

int main(int argc, char **argv)
{
	bool peers = argc > 1 && !strcmp(argv[1], "peers");

	for (int i = 1 + peers; i < argc; i++) {
		unsigned int n = (unsigned int)strtoul(argv[i], NULL, 10);

		if (peers)
			measure_peers(n);
		else
			measure(n);
	}
	if (argc < 2 + peers)
		fprintf(stderr, "usage: growth [peers] COUNT...\n");
	return argc < 2 + peers ? 2 : 0;
}
