/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hosts with a table of peers each, on a fake clock and a fake network that
 * loses, delays, reorders and duplicates by a seed. For t_peer, t_handshake.
 */
#ifndef SACIPED_TEST_FAKE_NET_H
#define SACIPED_TEST_FAKE_NET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer_impl.h"
#include "random.h"

#define NET_HOSTS 4
#define NET_QUEUE 8192
#define NET_KEEP 256 /* datagrams kept for replays */
#define HOST_ADDRS 4

struct datagram {
	uint64_t at_ms;
	struct endpoint src, dst;
	uint8_t data[WIRE_PAYLOAD_MAX];
	size_t len;
	bool used;
};

struct net;

struct host {
	struct net *net;
	struct peer_table *table;
	struct counters counters;
	struct crypto_keypair key;
	struct addr addr[HOST_ADDRS];
	unsigned int n_addrs;
	uint16_t port;
	/* policy */
	bool answers, locators, closed;
	struct addr gone; /* of the other end's, said to be; unset: none */
	const uint8_t *configured[2];
	struct addr conf_addr; /* of configured[0], if set */
	const uint8_t *revoked;
	uint32_t sockets; /* to `crowd` */
	struct addr crowd;
	/* what was told */
	unsigned int ups, firsts, downs, messages, forgotten, pins, failed;
	unsigned int path_ok, path_bad;
	enum reason why, down_why;
	bool opened;
	struct peer *peer; /* of the last event */
	struct wire_message last;
	struct peer_rx rx;
	uint64_t sent, sent_bytes;
	size_t sent_len; /* of the last datagram */
	uint8_t sent_type;
};

struct net {
	uint64_t now_ms, random;
	struct host host[NET_HOSTS];
	unsigned int n_hosts;
	unsigned int loss, dup; /* percent */
	uint64_t delay_ms, spread_ms;
	bool down; /* everything is lost */
	int error; /* of all that is sent */
	/* what a translator in the middle does to a datagram */
	void (*rewrite)(struct datagram *d);
	struct datagram *queue;
	unsigned int high; /* nothing is queued from here on */
	struct datagram *keep;
	unsigned int n_keep;
};

static inline struct addr net_addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static inline void net_put(struct net *n, const struct endpoint *src,
			   const struct endpoint *dst, const uint8_t *data,
			   size_t len)
{
	for (unsigned int i = 0; i < NET_QUEUE; i++) {
		struct datagram *d = &n->queue[i];

		if (d->used)
			continue;
		d->used = true;
		if (i >= n->high)
			n->high = i + 1;
		d->at_ms = n->now_ms + n->delay_ms +
			   random_below(&n->random, n->spread_ms + 1);
		d->src = *src;
		d->dst = *dst;
		d->len = len;
		memcpy(d->data, data, len);
		if (n->rewrite)
			n->rewrite(d);
		return;
	}
	fail_msg("the fake network is full");
}

static inline int host_send(void *arg, const struct endpoint *src,
			    const struct endpoint *dst, const uint8_t *data,
			    size_t len)
{
	struct host *h = arg;
	struct net *n = h->net;

	assert_true(len <= WIRE_PAYLOAD_MAX);
	if (n->error)
		return n->error;
	h->sent++;
	h->sent_bytes += len;
	h->sent_len = len;
	h->sent_type = data[0];
	if (n->n_keep < NET_KEEP) {
		struct datagram *d = &n->keep[n->n_keep++];

		d->src = *src;
		d->dst = *dst;
		d->len = len;
		memcpy(d->data, data, len);
	}
	if (n->down || random_below(&n->random, 100) < n->loss)
		return 0;
	net_put(n, src, dst, data, len);
	if (random_below(&n->random, 100) < n->dup)
		net_put(n, src, dst, data, len);
	return 0;
}

static inline void host_random(void *arg, void *to, size_t len)
{
	random_fill(&((struct host *)arg)->net->random, to, len);
}

static inline int64_t host_wall_s(void *arg)
{
	return 1700000000 + (int64_t)(((struct host *)arg)->net->now_ms / 1000);
}

static inline bool host_may_answer(void *arg, const struct addr *local,
				   const struct addr *remote)
{
	(void)local;
	(void)remote;
	return ((struct host *)arg)->answers;
}

static inline uint32_t host_sockets(void *arg, const struct addr *remote)
{
	struct host *h = arg;

	return addr_equal(remote, &h->crowd) ? h->sockets : 0;
}

static inline bool host_locator_allowed(void *arg, const struct addr *remote)
{
	(void)remote;
	return ((struct host *)arg)->locators;
}

static inline const uint8_t *host_key_of_addr(void *arg,
					      const struct addr *remote)
{
	struct host *h = arg;

	return addr_is_set(&h->conf_addr) &&
			       addr_equal(&h->conf_addr, remote) ?
		       h->configured[0] :
		       NULL;
}

static inline bool host_key_configured(void *arg, const uint8_t *key)
{
	struct host *h = arg;

	for (int i = 0; i < 2; i++)
		if (h->configured[i] &&
		    memcmp(h->configured[i], key, CRYPTO_KEY_SIZE) == 0)
			return true;
	return false;
}

static inline bool host_key_revoked(void *arg, const uint8_t *key)
{
	struct host *h = arg;

	return h->revoked && memcmp(h->revoked, key, CRYPTO_KEY_SIZE) == 0;
}

static inline bool host_closed(void *arg)
{
	return ((struct host *)arg)->closed;
}

static inline bool host_may_use(void *arg, const struct peer *p,
				const struct addr *local,
				const struct addr *remote)
{
	(void)p;
	(void)local;
	return !addr_equal(remote, &((struct host *)arg)->gone);
}

static inline void host_up(void *arg, struct peer *p, uint64_t now_ms,
			   bool first, const struct endpoint *local,
			   const struct endpoint *remote)
{
	struct host *h = arg;

	(void)now_ms;
	(void)local;
	(void)remote;
	h->ups++;
	h->firsts += first;
	h->peer = p;
}

static inline void host_down(void *arg, struct peer *p, uint64_t now_ms,
			     enum reason why)
{
	struct host *h = arg;

	(void)p;
	(void)now_ms;
	h->downs++;
	h->down_why = why;
}

static inline void host_message(void *arg, struct peer *p, uint64_t now_ms,
				const struct peer_rx *rx)
{
	struct host *h = arg;

	(void)now_ms;
	h->messages++;
	h->peer = p;
	h->last = *rx->message;
	h->rx = *rx;
}

static inline void host_forgotten(void *arg, struct peer *p)
{
	struct host *h = arg;

	h->forgotten++;
	if (h->peer == p)
		h->peer = NULL;
}

static inline void host_path(void *arg, struct peer *p, uint64_t now_ms,
			     const struct peer_path *path, bool ok)
{
	struct host *h = arg;

	(void)p;
	(void)now_ms;
	(void)path;
	if (ok)
		h->path_ok++;
	else
		h->path_bad++;
}

static inline void host_pins(void *arg)
{
	((struct host *)arg)->pins++;
}

static inline void host_failed(void *arg, uint64_t now_ms, bool opened,
			       const struct endpoint *local,
			       const struct endpoint *remote,
			       const uint8_t *key, enum reason why)
{
	struct host *h = arg;

	(void)now_ms;
	(void)local;
	(void)remote;
	(void)key;
	h->failed++;
	h->why = why;
	h->opened = opened;
}

static const struct peer_ops host_ops = {
	.send = host_send,
	.random = host_random,
	.wall_s = host_wall_s,
	.may_answer = host_may_answer,
	.sockets = host_sockets,
	.locator_allowed = host_locator_allowed,
	.key_of_addr = host_key_of_addr,
	.key_configured = host_key_configured,
	.key_revoked = host_key_revoked,
	.first_contact_closed = host_closed,
	.may_use = host_may_use,
	.session_up = host_up,
	.session_down = host_down,
	.message = host_message,
	.forgotten = host_forgotten,
	.path_result = host_path,
	.pins_changed = host_pins,
	.handshake_failed = host_failed,
};

/* A new table under the key that the host has: a (re)start. */
static inline void host_start(struct host *h, uint32_t peers_max)
{
	struct peer_config config = { .key = h->key,
				      .port = h->port,
				      .peers_max = peers_max };

	peer_table_free(h->table);
	h->peer = NULL;
	assert_int_equal(peer_table_new(&h->table, &host_ops, h, &config,
					&h->counters),
			 0);
}

static inline struct host *net_add(struct net *n, const char *addr)
{
	struct host *h = &n->host[n->n_hosts++];
	uint8_t key[CRYPTO_KEY_SIZE];

	random_fill(&n->random, key, sizeof(key));
	crypto_keypair_from_private(&h->key, key);
	h->net = n;
	h->addr[h->n_addrs++] = net_addr(addr);
	h->port = 1021;
	h->answers = true;
	h->locators = true;
	host_start(h, 100);
	return h;
}

static inline struct net *net_new(uint64_t seed)
{
	struct net *n = calloc(1, sizeof(*n));

	assert_non_null(n);
	n->queue = calloc(NET_QUEUE, sizeof(*n->queue));
	n->keep = calloc(NET_KEEP, sizeof(*n->keep));
	assert_non_null(n->queue);
	assert_non_null(n->keep);
	n->random = seed;
	n->now_ms = 1000;
	n->delay_ms = 5;
	return n;
}

static inline void net_free(struct net *n)
{
	for (unsigned int i = 0; i < n->n_hosts; i++)
		peer_table_free(n->host[i].table);
	free(n->queue);
	free(n->keep);
	free(n);
}

static inline struct host *net_host_at(struct net *n, const struct addr *a)
{
	for (unsigned int i = 0; i < n->n_hosts; i++)
		for (unsigned int j = 0; j < n->host[i].n_addrs; j++)
			if (addr_equal(&n->host[i].addr[j], a))
				return &n->host[i];
	return NULL;
}

static inline void net_inject(struct net *n, const struct datagram *d)
{
	struct host *h = net_host_at(n, &d->dst.addr);

	if (h)
		peer_receive(h->table, n->now_ms, &d->dst, &d->src, d->data,
			     d->len);
}

/* The next thing that happens, at most at `end_ms`; false: nothing. */
static inline bool net_step(struct net *n, uint64_t end_ms)
{
	struct datagram *first = NULL, copy;
	uint64_t next_ms = end_ms;

	while (n->high && !n->queue[n->high - 1].used)
		n->high--;
	for (unsigned int i = 0; i < n->high; i++)
		if (n->queue[i].used &&
		    (!first || n->queue[i].at_ms < first->at_ms))
			first = &n->queue[i];
	if (first && first->at_ms < next_ms)
		next_ms = first->at_ms;
	for (unsigned int i = 0; i < n->n_hosts; i++) {
		uint64_t ms = peer_table_deadline_ms(n->host[i].table);

		if (ms < next_ms)
			next_ms = ms;
	}
	if (next_ms > n->now_ms)
		n->now_ms = next_ms;
	for (unsigned int i = 0; i < n->n_hosts; i++)
		peer_table_step(n->host[i].table, n->now_ms);
	if (first && first->at_ms <= n->now_ms) {
		copy = *first;
		first->used = false;
		net_inject(n, &copy);
	}
	return n->now_ms < end_ms;
}

static inline void net_run(struct net *n, uint64_t ms)
{
	uint64_t end_ms = n->now_ms + ms;

	while (net_step(n, end_ms))
		;
}

static inline int host_call(struct host *a, struct host *b, unsigned int flags)
{
	return peer_initiate(a->table, a->net->now_ms, &a->addr[0],
			     &b->addr[0], flags);
}

static inline struct peer *host_knows(struct host *a, struct host *b)
{
	return peer_find_key(a->table, b->key.public_key);
}

/* A session, made without any trouble. */
static inline void net_meet(struct host *a, struct host *b)
{
	assert_int_equal(host_call(a, b, 0), 0);
	net_run(a->net, 500);
	assert_non_null(host_knows(a, b));
	assert_non_null(host_knows(b, a));
	assert_true(peer_has_session(host_knows(a, b)));
	assert_true(peer_has_session(host_knows(b, a)));
}

/* Something for the daemon: DONE with a number. */
static inline int host_say(struct host *a, struct host *b, uint64_t number)
{
	struct wire_message m;
	struct peer *p = host_knows(a, b);

	if (!p)
		return -ENOENT;
	memset(&m, 0, sizeof(m));
	m.type = WIRE_DONE;
	m.done.seq = number;
	return peer_send(p, a->net->now_ms, &a->addr[0], &b->addr[0], &m, 0);
}

static inline uint64_t host_counter(const struct host *h, enum counter_id c)
{
	return h->counters.value[c];
}

#endif
