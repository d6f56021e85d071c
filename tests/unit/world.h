/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole daemons on kernels of paper, the clock and the post between them: for
 * the tests that include it. */
#ifndef SACIPED_TEST_WORLD_H
#define SACIPED_TEST_WORLD_H

#include "fake_kernel.h"

#include <sys/stat.h>

#undef fail /* cmocka's */
#include "../../src/daemon.c"
#include "../../src/events.c"

#ifndef CONF
#define CONF \
	"runtime_dir = \"%s/run\";\nstate_dir = \"%s/state\";\n" \
	"long_lived_after_s = 0;\ninitiate = [ \"0.0.0.0/0\" ];\n"
#endif

/* ---- the world ------------------------------------------------------------ */

static inline struct addr address(const char *text)
{
	struct addr a;

	memset(&a, 0, sizeof(a));
	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

/* Of two hosts the first one offers flows: it has the lower key. */
static inline void host_give_key(const struct host *h, unsigned int i)
{
	uint8_t private_key[CRYPTO_KEY_SIZE] = { 0 };
	char path[256], text[CRYPTO_KEY_TEXT_SIZE];
	struct crypto_keypair key;
	FILE *f;

	assert_true(i < 4);
	do {
		private_key[1]++;
		crypto_keypair_from_private(&key, private_key);
	} while (key.public_key[0] / 64 != i);
	crypto_key_to_text(key.private_key, text);
	snprintf(path, sizeof(path), "%s/state", h->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/state/key", h->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fchmod(fileno(f), 0600), 0);
	fprintf(f, "%s\n-\n", text);
	assert_int_equal(fclose(f), 0);
}

static inline struct host *host_make(unsigned int i)
{
	struct host *h = &host[i];
	char text[512], error[CONF_ERROR_MAX];

	memset(h, 0, sizeof(*h));
	snprintf(h->dir, sizeof(h->dir), "/tmp/t_daemon.XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	host_give_key(h, i);
	h->d = calloc(1, sizeof(*h->d));
	h->d->conf = calloc(1, sizeof(*h->d->conf));
	snprintf(text, sizeof(text), CONF, h->dir, h->dir);
	assert_int_equal(conf_parse(text, "t", h->d->conf, error), 0);
	return h;
}

static inline int host_start(struct host *h)
{
	starting = h;
	return start(h->d);
}

static inline void host_end(struct host *h)
{
	char command[128];

	if (!h->d)
		return;
	remove_all(h->d);
	conf_free(h->d->conf);
	free(h->d->conf);
	free(h->d);
	h->d = NULL;
	assert_false(h->ctl_open);
	assert_false(h->steer_open);
	assert_false(h->retain_open);
	snprintf(command, sizeof(command), "%s/run", h->dir);
	assert_int_not_equal(access(command, F_OK), 0);
	give_back(h->sock, h->sock_room, sizeof(*h->sock));
	give_back(h->set, h->set_room, sizeof(*h->set));
	give_back(h->todo, h->todo_room, sizeof(*h->todo));
	give_back(h->todo_add, h->todo_add_room, sizeof(*h->todo_add));
	places_forget(&h->places);
	places_forget(&h->sock_places);
	pairs_forget(&h->kept);
	pairs_forget(&h->reverse);
	pairs_forget(&h->gone);
	pairs_forget(&h->wired);
	snprintf(command, sizeof(command), "rm -rf %s", h->dir);
	assert_int_equal(system(command), 0);
}

/* As SIGKILL ends it: what is in the kernel and on the disk stays. */
static inline void host_kill(struct host *h)
{
	struct conf *conf = h->d->conf;

	h->d->detaching = true;
	remove_all(h->d);
	free(h->d);
	h->n_source = 0;
	h->rt_ops = NULL;
	h->deadline_ms = 0; /* the next one's loop begins with a turn */
	h->d = calloc(1, sizeof(*h->d));
	h->d->conf = conf;
}

static inline int host_restart(struct host *h)
{
	host_kill(h);
	return host_start(h);
}

static inline void link_add(struct host *h, uint32_t ifindex, bool tunnel)
{
	struct rtmon_link *l = &h->link[h->n_link++];

	memset(l, 0, sizeof(*l));
	l->ifindex = ifindex;
	l->tunnel = tunnel;
	l->up = true;
	snprintf(l->name, sizeof(l->name), "if%u", ifindex);
}

/* Before the start, or with an event. */
static inline void addr_add(struct host *h, const char *text, uint32_t ifindex)
{
	struct rtmon_address *a = &h->addr[h->n_addr++];

	if (!rtmon_link(&(struct rtmon){ h }, ifindex))
		link_add(h, ifindex, false);
	memset(a, 0, sizeof(*a));
	a->addr = address(text);
	a->ifindex = ifindex;
	if (!h->rt_ops)
		return;
	tell(h, RTMON_ADDR_ADDED, a);
	h->rt_ops->settled(h->d);
}

static inline void addr_remove(struct host *h, const char *text)
{
	struct addr a = address(text);

	forget_address(h, &a);
	h->rt_ops->settled(h->d);
}

static inline void routes_change(struct host *h, bool away)
{
	h->no_route = away;
	tell(h, RTMON_ROUTE_CHANGED, NULL);
	h->rt_ops->settled(h->d);
}

static inline void addr_deprecate(struct host *h, const char *text)
{
	struct addr a = address(text);

	for (size_t i = 0; i < h->n_addr; i++) {
		if (!addr_equal(&h->addr[i].addr, &a))
			continue;
		h->addr[i].deprecated = true;
		tell(h, RTMON_ADDR_CHANGED, &h->addr[i]);
		h->rt_ops->settled(h->d);
	}
}

static inline void deliver(const struct letter *l)
{
	struct host *h = host_at(&l->dst.addr);
	struct udp_datagram u = {
		.src = l->src,
		.dst = l->dst,
		.data = l->data,
		.len = l->len,
	};

	if (h && h->d)
		on_datagram(&u, h->d);
}

static inline void taps_run(struct host *h)
{
	for (size_t i = 0; i < TAPS; i++) {
		int fd = h->tap[i] && h->tap[i]->ready ? h->tap[i]->of->fd : -1;

		for (size_t j = 0; fd >= 0 && j < h->n_source; j++)
			if (h->source[j].fd == fd) {
				h->source[j].cb(0, h->source[j].arg);
				break;
			}
	}
}

/* What is in the post arrives, once. */
static inline bool settle_once(void)
{
	static struct letter now[4096];
	size_t n = n_post;
	bool more_comes = false;

	memcpy(now, post, n * sizeof(*now));
	n_post = 0;
	for (size_t i = 0; i < n; i++)
		deliver(&now[i]);
	for (size_t i = 0; i < HOSTS; i++) {
		if (!host[i].d)
			continue;
		taps_run(&host[i]);
		more_comes |= claimed_read(&host[i]);
		on_settled(clock_ms, host[i].d);
	}
	return more_comes || n_post;
}

/* Is there more to be done now? */
static inline bool is_busy(void)
{
	for (size_t i = 0; i < HOSTS; i++) {
		const struct daemon *d = host[i].d;

		if (d && (!TAILQ_EMPTY(&d->busy) ||
			  (d->settle_ms && d->settle_ms <= clock_ms)))
			return true;
	}
	return n_post;
}

/* Everything that happens at this very moment. */
static inline void settle(void)
{
	bool more;

	do
		more = settle_once();
	while (more || is_busy());
}

static inline void run(uint64_t ms)
{
	uint64_t end_ms = clock_ms + ms;

	for (settle(); clock_ms < end_ms; settle())
		clock_ms++;
}

static inline struct tuple tuple_of(const char *l, uint16_t lp, const char *r,
			     uint16_t rp)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = IPPROTO_TCP;
	t.local.addr = address(l);
	t.local.port = lp;
	t.remote.addr = address(r);
	t.remote.port = rp;
	return t;
}

static inline void socket_add(struct host *h, const struct tuple *t)
{
	static uint64_t cookie = 1;
	struct sockdiag_entry *e;

	h->sock = more(h->sock, &h->sock_room, h->n_sock, sizeof(*h->sock));
	e = &h->sock[h->n_sock++];
	memset(e, 0, sizeof(*e));
	e->tuple = *t;
	e->state = SOCKDIAG_OPEN;
	e->tcp_state = 1; /* TCP_ESTABLISHED */
	e->cookie = cookie++;
	e->info.last_ack_recv_ms = UINT32_MAX; /* the other end is silent */
}

static inline void socket_end(struct host *h, const struct tuple *t)
{
	for (size_t i = 0; i < h->n_sock; i++)
		if (tuple_equal(&h->sock[i].tuple, t)) {
			struct sockdiag_entry e = h->sock[i];

			h->sock[i] = h->sock[--h->n_sock];
			if (h->ends_told)
				h->destroyed(&e, h->d);
			return;
		}
}

static inline struct flow *flow_at(struct host *h, const struct tuple *t)
{
	return flow_find(&h->d->flows, t);
}

/* Client is host 0 at 10.0.0.1, server host 1 at 10.0.0.2. */
static inline struct tuple connection_of(uint8_t proto, uint16_t port)
{
	struct tuple t = tuple_of("10.0.0.1", port, "10.0.0.2", 22);
	struct tuple r;

	t.proto = proto;
	r = tuple_reverse(&t);
	socket_add(&host[0], &t);
	socket_add(&host[1], &r);
	return t;
}

static inline struct tuple connection(uint16_t port)
{
	return connection_of(IPPROTO_TCP, port);
}

static inline bool both_own(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);
	struct flow *a = flow_at(&host[0], t);
	struct flow *b = flow_at(&host[1], &r);

	return a && b && a->protected && b->protected &&
	       a->claim.confirmed && b->claim.confirmed;
}

static inline void world_make(void **state)
{
	(void)state;
	clock_ms = 1000000;
	n_post = 0;
	lose_post = false;
	memset(&lost_at, 0, sizeof(lost_at));
	for (unsigned int i = 0; i < HOSTS; i++)
		memset(&host[i], 0, sizeof(host[i]));
	host_make(0);
	addr_add(&host[0], "10.0.0.1", 2);
	assert_int_equal(host_start(&host[0]), 0);
	host_make(1);
	addr_add(&host[1], "10.0.0.2", 2);
	assert_int_equal(host_start(&host[1]), 0);
}

/* Nothing may be left of what was counted once all flows are gone. */
static inline void check_empty(struct host *h)
{
	assert_int_equal(h->d->flows.by_identity.n, 0);
	assert_int_equal(h->kept.n, 0);
	assert_int_equal(h->reverse.n, 0);
	assert_int_equal(h->wired.n, 0);
	assert_int_equal(h->d->divert.steered, 0);
	assert_null(h->d->divert.use[STEER_SRC]);
	assert_null(h->d->divert.use[STEER_WIRE]);
	assert_int_equal(h->d->remotes.n, 0);
	assert_true(LIST_EMPTY(&h->d->divert.settling));
	for (size_t i = 0; i < TAPS; i++)
		assert_null(h->tap[i]);
	for (size_t i = 0; i < h->n_set; i++)
		assert_int_not_equal(h->set[i].timeout_s, 0);
	for (struct peer *p = peer_next(h->d->peers, NULL); p;
	     p = peer_next(h->d->peers, p)) {
		struct assoc *a = peer_user(p);

		assert_int_equal(peer_flows(p), 0);
		/* Tracks that were only named may be there still. */
		for (int side = 0; a && side < FLOW_SIDES; side++) {
			struct track *t;

			LIST_FOREACH(t, &a->tracks[side], entry)
				assert_true(LIST_EMPTY(&t->group.flows));
		}
	}
}

static inline int setup(void **state)
{
	world_make(state);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < HOSTS; i++)
		host_end(&host[i]);
	return 0;
}

/* Client at `addr` sends by it, and the server to it. */
static inline void check_wire(const struct tuple *t, const char *addr)
{
	struct tuple r = tuple_reverse(t);
	struct tuple w = flow_wire_tuple(flow_at(&host[0], t));
	struct addr a = address(addr);

	assert_true(addr_equal(&w.local.addr, &a));
	w = flow_wire_tuple(flow_at(&host[1], &r));
	assert_true(addr_equal(&w.remote.addr, &a));
}

/* ---- packets --------------------------------------------------------------- */

static inline uint32_t packet_queue_flags(struct host *h,
					  const struct tuple *t, bool out,
					  uint8_t flags)
{
	struct parcel *p = &h->in_queue[h->n_in_queue++];
	struct packet_spec spec;
	uint8_t data[PACKET_MAX];

	memset(&spec, 0, sizeof(spec));
	spec.family = t->local.addr.family;
	spec.proto = t->proto;
	spec.src = t->local;
	spec.dst = t->remote;
	spec.flags = flags;
	spec.payload = 10;
	p->len = packet_build(&spec, data);
	memcpy(p->data, data, p->len);
	p->id = ++h->next_id;
	p->out = out;
	return p->id;
}

static inline uint32_t packet_queue(struct host *h, const struct tuple *t,
				    bool out)
{
	return packet_queue_flags(h, t, out, 0x10); /* ACK */
}

#endif
