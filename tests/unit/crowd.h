/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Very many connections between the two hosts of world.h, and what each
 * daemon does for them: time, transactions, datagrams. For the tests and the
 * benchmark that include it. Time goes on from one deadline to the next.
 */
#ifndef SACIPED_TEST_CROWD_H
#define SACIPED_TEST_CROWD_H

#define CONF \
	"runtime_dir = \"%s/run\";\nstate_dir = \"%s/state\";\n" \
	"long_lived_after_s = 0;\ninitiate = [ \"0.0.0.0/0\" ];\n" \
	"max_flows = 131072;\nmax_peers = 10000;\n"

#define POST 32768

#include "world.h"

#include <sys/stat.h>

#define CROWD_PORTS 50000 /* of the client, per port of the server */
#define CROWD_WAIT_MS (3600u * 1000)
#define CROWD_PER_PEER 10

struct work {
	double ms; /* of the processor, the daemon's own */
	unsigned int commits, letters;
	unsigned int sent[LETTER_TYPES]; /* datagrams by type */
	uint64_t changes; /* elements */
};

static struct work work[2]; /* since work_begin() */

static inline double processor_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static inline void work_begin(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		work[i].ms = 0;
		work[i].commits = host[i].commits;
		work[i].letters = host[i].letters;
		work[i].changes = host[i].changes;
		memcpy(work[i].sent, host[i].sent, sizeof(host[i].sent));
	}
}

static inline void work_end(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		work[i].commits = host[i].commits - work[i].commits;
		work[i].letters = host[i].letters - work[i].letters;
		work[i].changes = host[i].changes - work[i].changes;
		for (unsigned int j = 0; j < LETTER_TYPES; j++)
			work[i].sent[j] = host[i].sent[j] - work[i].sent[j];
	}
}

/* ---- time ---------------------------------------------------------------- */

/* What a host does, on its account: a datagram that came, or whatever is due.
 * What the kernel of paper takes is not. */
static inline void turn(unsigned int i, const struct letter *l)
{
	double began = processor_ms(), paper = paper_ms;

	if (l) {
		deliver(l);
	} else {
		taps_run(&host[i]);
		claimed_read(&host[i]);
		on_settled(clock_ms, host[i].d);
	}
	work[i].ms += processor_ms() - began - (paper_ms - paper);
}

/* All that happens now. What goes to nobody is lost. */
static inline void moment(void)
{
	static struct letter now[sizeof(post) / sizeof(*post)];

	do {
		size_t n = n_post;

		memcpy(now, post, n * sizeof(*now));
		n_post = 0;
		for (size_t i = 0; i < n; i++) {
			struct host *to = host_at(&now[i].dst.addr);

			if (to)
				turn((unsigned int)(to - host), &now[i]);
		}
		for (unsigned int i = 0; i < 2; i++)
			if (host[i].d)
				turn(i, NULL);
	} while (is_busy() || host[0].n_claimed || host[1].n_claimed);
}

static inline void next_moment(void)
{
	uint64_t ms = host[0].deadline_ms;

	if (host[1].d && host[1].deadline_ms < ms)
		ms = host[1].deadline_ms;
	clock_ms = ms > clock_ms ? ms : clock_ms + 1;
	moment();
}

/* ---- the crowd ------------------------------------------------------------ */

static inline struct tuple crowd_tuple(unsigned int i)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = IPPROTO_TCP;
	t.local.addr = address("10.0.0.1");
	t.local.port = (uint16_t)(10000 + i % CROWD_PORTS);
	t.remote.addr = address("10.0.0.2");
	t.remote.port = (uint16_t)(22 + i / CROWD_PORTS);
	return t;
}

/* So many sockets more, of which no daemon has heard. */
static inline void crowd_open(unsigned int flows)
{
	for (unsigned int i = 0; i < flows; i++) {
		struct tuple t = crowd_tuple(i), r = tuple_reverse(&t);

		socket_add(&host[0], &t);
		socket_add(&host[1], &r);
	}
}

static inline unsigned int crowd_owned(const struct host *h)
{
	const struct assoc *a;
	unsigned int n = 0;

	LIST_FOREACH(a, &h->d->assocs, entry)
		n += claim_table_digest(a->claims)->count;
	return n;
}

/* Until both ends own all of them; ms. */
static inline uint64_t crowd_protect(unsigned int flows)
{
	uint64_t began = clock_ms;

	work_begin();
	while (crowd_owned(&host[0]) < flows || crowd_owned(&host[1]) < flows) {
		next_moment();
		assert_true(clock_ms - began < CROWD_WAIT_MS);
	}
	work_end();
	return clock_ms - began;
}

static inline bool crowd_promoted(const struct host *h, const char *wire)
{
	struct addr at = address(wire);
	const struct flow *f;

	for (f = flow_first(&h->d->flows); f; f = flow_next(f)) {
		const struct flow_wire *w = flow_mapped(f);

		if (!f->protected)
			continue;
		if (f->hold || f->settling || !w ||
		    !addr_equal(h == &host[0] ? &w->tuple.local.addr :
						&w->tuple.remote.addr, &at))
			return false;
	}
	return true;
}

/* The client's address changes, break before make by no time at all: from
 * then until both kernels rewrite all. */
static inline void crowd_move(const char *from, const char *to)
{
	uint64_t since = clock_ms;
	double began, paper;

	clock_ms += 20; /* the last dump is not of this moment */
	work_begin();
	began = processor_ms();
	paper = paper_ms;
	addr_add(&host[0], to, 2);
	addr_remove(&host[0], from);
	work[0].ms += processor_ms() - began - (paper_ms - paper);
	moment();
	while (!crowd_promoted(&host[0], to) || !crowd_promoted(&host[1], to)) {
		next_moment();
		assert_true(clock_ms - since < CROWD_WAIT_MS);
	}
	work_end();
}

/* Until the old locator is no longer accepted by either. */
static inline void crowd_drain(void)
{
	const struct track *ours = track_of(flow_first(&host[0].d->flows),
					    FLOW_OURS);
	const struct track *theirs = track_of(flow_first(&host[1].d->flows),
					      FLOW_THEIRS);

	work_begin();
	while (ours->mover.n_accepted > 1 || theirs->follower.n_accepted > 1)
		next_moment();
	work_end();
}

/* All pages of a list; how many flows. */
static inline unsigned int crowd_list(struct host *h)
{
	static struct ctl_flow flow[40]; /* as ctl_answer.c */
	static uint8_t out[CTL_MESSAGE_MAX];
	unsigned int listed = 0, n;
	uint64_t cursor = 0;

	do {
		n = (unsigned int)report_ops.flows(h->d, &cursor, flow, 40);
		listed += n;
		if (n)
			assert_true(ctlmsg_put_flows(flow, &n, out,
						     sizeof(out)) > 0);
	} while (n);
	return listed;
}

/* ---- peers ---------------------------------------------------------------- */

static inline struct tuple crowd_peer_tuple(unsigned int peer, unsigned int i)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = IPPROTO_TCP;
	t.local.addr = address("10.0.0.1");
	t.local.port = (uint16_t)(20000 + i);
	t.remote.addr = address("10.1.0.0");
	t.remote.addr.byte[2] = (uint8_t)(peer >> 8);
	t.remote.addr.byte[3] = (uint8_t)peer;
	t.remote.port = 443;
	return t;
}

static inline void crowd_put(FILE *f, const struct journal_record *r)
{
	uint8_t data[JOURNAL_RECORD_MAX];
	size_t len = journal_encode(r, data, sizeof(data));

	assert_true(len && fwrite(data, len, 1, f) == 1);
}

static inline void crowd_put_track(FILE *f, unsigned int number,
				   enum flow_side side, const struct tuple *t)
{
	struct locator at = { .addr = side == FLOW_OURS ? t->local.addr :
							  t->remote.addr };
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_TRACK;
	r.track.key.peer = number;
	r.track.key.id = 1;
	r.track.key.side = side;
	r.track.remote = t->remote.addr;
	r.track.uid = (uint32_t)-1;
	if (side == FLOW_OURS)
		mover_init(&r.track.mover, 1, &at);
	else
		follower_init(&r.track.follower, 1, &at);
	crowd_put(f, &r);
}

/* What an earlier run would have left: so many peers, each with ten. */
static inline void crowd_put_peer(FILE *f, unsigned int peer)
{
	struct tuple t = crowd_peer_tuple(peer, 0);
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_PEER;
	r.peer.number = peer + 1;
	r.peer.port = host[0].d->conf->port;
	crypto_random(r.peer.key, sizeof(r.peer.key));
	crowd_put(f, &r);
	crowd_put_track(f, peer + 1, FLOW_OURS, &t);
	crowd_put_track(f, peer + 1, FLOW_THEIRS, &t);
	for (unsigned int i = 0; i < CROWD_PER_PEER; i++) {
		memset(&r, 0, sizeof(r));
		r.type = JOURNAL_FLOW;
		r.flow.identity = crowd_peer_tuple(peer, i);
		r.flow.peer = peer + 1;
		r.flow.flow_id = (uint64_t)peer * CROWD_PER_PEER + i + 1;
		r.flow.tracked = true;
		r.flow.track[FLOW_OURS] = r.flow.track[FLOW_THEIRS] = 1;
		socket_add(&host[0], &r.flow.identity);
		r.flow.cookie = host[0].sock[host[0].n_sock - 1].cookie;
		crowd_put(f, &r);
	}
}

static inline void crowd_write_journal(unsigned int peers)
{
	struct journal_record r;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/run", host[0].dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/run/journal", host[0].dir);
	umask(077);
	f = fopen(path, "w");
	assert_non_null(f);
	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_START;
	keep_boot_id(r.start.boot_id);
	crowd_put(f, &r);
	for (unsigned int i = 0; i < peers; i++)
		crowd_put_peer(f, i);
	assert_int_equal(fclose(f), 0);
}

/* A host by itself, whose daemon is about to find ten connections of each. */
static inline void crowd_make_alone(const char *at, unsigned int peers)
{
	memset(host, 0, sizeof(host));
	clock_ms = 1000000;
	n_post = 0;
	host_make(0);
	addr_add(&host[0], at, 2);
	crowd_write_journal(peers);
}

/* What nobody understands, from somebody, and what it makes us look at. */
static inline void crowd_stranger(const char *to)
{
	struct letter l;

	memset(&l, 0, sizeof(l));
	l.src.addr = address("10.9.9.9");
	l.src.port = l.dst.port = host[0].d->conf->port;
	l.dst.addr = address(to);
	l.len = 200;
	turn(0, &l);
	turn(0, NULL);
}

#endif
