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
#define CONF \
	"runtime_dir = \"%s/run\";\nstate_dir = \"%s/state\";\n" \
	"long_lived_after_s = 0;\ninitiate = [ \"0.0.0.0/0\" ];\n" \
	"max_flows = 131072;\nmax_peers = 10000;\n"

#include "../tests/unit/world.h"

#include <malloc.h>

#define NEW "10.0.0.9"
#define PORTS 50000 /* of the client, per port of the server */
#define LIST_STEP 40 /* as in ctl_answer.c */
#define TIMES 5 /* that what changes nothing is repeated */

struct work {
	double ms;
	unsigned int commits, letters;
	uint64_t changes;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Since `w` was begun, less what the kernel of paper took. */
static void begin(struct work *w, const struct host *h)
{
	w->ms = 0;
	w->commits = h->commits;
	w->letters = h->letters;
	w->changes = h->changes;
}

static void end(struct work *w, const struct host *h)
{
	w->commits = h->commits - w->commits;
	w->letters = h->letters - w->letters;
	w->changes = h->changes - w->changes;
}

static size_t memory(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd - paper_bytes;
}

static struct tuple client(unsigned int i)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = IPPROTO_TCP;
	t.local.addr = address("10.0.0.1");
	t.local.port = (uint16_t)(10000 + i % PORTS);
	t.remote.addr = address("10.0.0.2");
	t.remote.port = (uint16_t)(22 + i / PORTS);
	return t;
}

/* ---- time ---------------------------------------------------------------- */

static struct work work[2];

/* What a host does, on its account. */
static void turn(unsigned int i, const struct letter *l)
{
	double began = now_ms(), paper = paper_ms;

	if (l) {
		deliver(l);
	} else {
		taps_run(&host[i]);
		on_settled(clock_ms, host[i].d);
	}
	work[i].ms += now_ms() - began - (paper_ms - paper);
}

/* All that happens at this moment. */
static void moment(void)
{
	static struct letter now[sizeof(post) / sizeof(*post)];

	do {
		size_t n = n_post;

		memcpy(now, post, n * sizeof(*now));
		n_post = 0;
		for (size_t i = 0; i < n; i++)
			turn((unsigned int)(host_at(&now[i].dst.addr) - host),
			     &now[i]);
		for (unsigned int i = 0; i < 2; i++)
			turn(i, NULL);
	} while (n_post);
}

/* The next at which something does. */
static void next_moment(void)
{
	uint64_t ms = host[0].deadline_ms < host[1].deadline_ms ?
			      host[0].deadline_ms : host[1].deadline_ms;

	clock_ms = ms > clock_ms ? ms : clock_ms + 1;
	moment();
}

static void work_begin(void)
{
	for (unsigned int i = 0; i < 2; i++)
		begin(&work[i], &host[i]);
}

static void work_end(void)
{
	for (unsigned int i = 0; i < 2; i++)
		end(&work[i], &host[i]);
}

/* ---- questions ----------------------------------------------------------- */

static unsigned int owned(const struct host *h)
{
	unsigned int n = 0;

	for (const struct flow *f = flow_first(&h->d->flows); f;
	     f = flow_next(f))
		n += f->protected;
	return n;
}

static bool is_promoted(const struct host *h)
{
	const struct flow *f;

	for (f = flow_first(&h->d->flows); f; f = flow_next(f))
		if (!flow_is_moved(f) || f->hold || f->settling ||
		    !flow_mapped(f))
			return false;
	return true;
}

/* The old locator is no longer accepted by either. */
static bool is_drained(const struct host *h, enum flow_side side)
{
	const struct flow *f = flow_first(&h->d->flows);
	const struct track *t = track_of(f, side);

	return (side == FLOW_OURS ? t->mover.n_accepted :
				    t->follower.n_accepted) == 1;
}

/* ---- what is measured ----------------------------------------------------- */

static double dump(void)
{
	double began = now_ms();

	assert_int_equal(discover_dump(host[0].d, clock_ms), 0);
	return now_ms() - began;
}

static double review(void)
{
	double began = now_ms();

	discover_review(host[0].d, clock_ms);
	return now_ms() - began;
}

static double list(unsigned int flows)
{
	static struct ctl_flow flow[LIST_STEP];
	static uint8_t out[CTL_MESSAGE_MAX];
	double began = now_ms();
	unsigned int listed = 0;
	uint64_t cursor = 0;

	for (;;) {
		unsigned int n = (unsigned int)report_ops.flows(
			host[0].d, &cursor, flow, LIST_STEP);

		listed += n;
		if (!n)
			break;
		assert_true(ctlmsg_put_flows(flow, &n, out, sizeof(out)) > 0);
	}
	assert_int_equal(listed, flows);
	return now_ms() - began;
}

static double journal(void)
{
	double began = now_ms();

	keep_open(host[0].d);
	return now_ms() - began;
}

static double restart(void)
{
	double began;
	double paper = paper_ms;

	host_kill(&host[0]);
	began = now_ms();
	assert_int_equal(host_start(&host[0]), 0);
	return now_ms() - began - (paper_ms - paper);
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

	for (unsigned int i = 0; i < flows; i++) {
		struct tuple t = client(i), r = tuple_reverse(&t);

		socket_add(&host[0], &t);
		socket_add(&host[1], &r);
	}
	for (unsigned int i = 0; i < 2; i++) {
		double began = now_ms();

		discover_dump(host[i].d, clock_ms);
		took[i] = now_ms() - began;
	}
	printf("\"flows\": %u, \"take_in_ms\": %.3f, ", flows, took[0]);
}

/* Until both ends own all of them. */
static void protect(unsigned int flows)
{
	uint64_t began = clock_ms;

	work_begin();
	for (unsigned int n = 0; n < flows;) {
		uint64_t look = clock_ms + 500;

		while (clock_ms < look)
			next_moment();
		assert_true(clock_ms - began < 3600 * 1000);
		n = owned(&host[0]) < owned(&host[1]) ? owned(&host[0]) :
							owned(&host[1]);
	}
	work_end();
	print_work("protect");
	printf("\"protect_s\": %.1f, ", (double)(clock_ms - began) / 1e3);
}

/* The old address goes: from then until the kernels rewrite all. */
static void move(void)
{
	double began, paper;

	clock_ms += 20; /* the last dump is not of this moment */
	work_begin();
	began = now_ms();
	paper = paper_ms;
	addr_add(&host[0], NEW, 2);
	addr_remove(&host[0], "10.0.0.1");
	work[0].ms += now_ms() - began - (paper_ms - paper);
	moment();
	while (!is_promoted(&host[0]) || !is_promoted(&host[1]))
		next_moment();
	work_end();
	print_work("move");
	work_begin();
	while (!is_drained(&host[0], FLOW_OURS) ||
	       !is_drained(&host[1], FLOW_THEIRS))
		next_moment();
	work_end();
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
	assert_int_equal(owned(&host[0]), flows);
	fflush(stdout);
	teardown(NULL);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		measure((unsigned int)strtoul(argv[i], NULL, 10));
	if (argc < 2)
		fprintf(stderr, "usage: growth COUNT...\n");
	return argc < 2 ? 2 : 0;
}
