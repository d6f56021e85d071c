/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handshake, attempt, session: under loss, crossing, floods and forgery. */
#include "fake_net.h"

#include <arpa/inet.h>

#define SEEDS 60
#define FLOOD 100000

/* Of the session in use: what it is known by at both ends. */
static const uint8_t *session_hash(const struct peer *p)
{
	return p->session[0]->keys.hash;
}

static void check_talk(struct host *a, struct host *b, uint64_t number)
{
	uint64_t order = b->last.sent_order;
	unsigned int before = b->messages;

	assert_int_equal(host_say(a, b, number), 0);
	net_run(a->net, 200);
	assert_true(b->last.sent_order > order);
	assert_int_equal(b->messages, before + 1);
	assert_int_equal(b->last.done.seq, number);
	assert_true(b->rx.newest);
}

/* After a while nothing can be said before it has been asked for. */
static void check_again(struct host *a, struct host *b)
{
	assert_int_equal(host_say(a, b, 0), -EACCES);
	net_run(a->net, 200);
}

static void test_clean(void **state)
{
	struct net *n = net_new(1);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer_path path;

	(void)state;
	net_meet(a, b);
	assert_int_equal(a->ups, 1);
	assert_int_equal(b->ups, 1);
	assert_int_equal(a->firsts, 1);
	assert_int_equal(peer_get_trust(host_knows(a, b)),
			 PEER_FIRST_CONTACT);
	assert_memory_equal(session_hash(host_knows(a, b)),
			    session_hash(host_knows(b, a)), 32);
	assert_true(peer_path_best(host_knows(a, b), &path));
	assert_false(path.nat);
	assert_in_range(path.srtt_us, 9000, 11000);
	assert_true(peer_path_best(host_knows(b, a), &path));
	assert_in_range(path.srtt_us, 9000, 11000);
	/* 2 srtt + 4 rttvar of one or two equal samples */
	assert_in_range(peer_pto_ms(host_knows(a, b), &a->addr[0],
				    &b->addr[0]),
			30, 40);
	check_talk(a, b, 7);
	check_talk(b, a, 8);
	assert_ptr_equal(peer_find_addr(a->table, &b->addr[0]),
			 host_knows(a, b));
	/* Nothing stays under way, nothing wakes anybody. */
	net_run(n, 60000);
	assert_true(peer_table_deadline_ms(a->table) == UINT64_MAX);
	assert_true(peer_table_deadline_ms(b->table) == UINT64_MAX);
	assert_int_equal(host_counter(a, COUNTER_HS_ATTEMPTS), 1);
	net_free(n);
}

/* Both try whenever they may; both get there, on the same session. */
static void run_lossy(uint64_t seed, bool both, unsigned int flags)
{
	struct net *n = net_new(seed);
	struct host *a = net_add(n, "192.0.2.1"), *b = net_add(n, "192.0.2.2");
	unsigned int seconds = 0;
	uint64_t number = 100;

	n->loss = 25;
	n->dup = 20;
	n->spread_ms = 300;
	while (!a->ups || !b->ups) {
		if (!a->ups)
			host_call(a, b, flags);
		if (both && !b->ups)
			host_call(b, a, flags);
		net_run(n, 1000);
		if (seconds++ > 300)
			fail_msg("seed %llu: no session",
				 (unsigned long long)seed);
	}
	n->loss = n->dup = 0;
	n->spread_ms = 0;
	net_run(n, 20000);
	/* A round of messages, and both ends are of one mind. */
	host_say(a, b, number);
	host_say(b, a, number);
	net_run(n, 1000);
	a->messages = b->messages = 0;
	host_say(a, b, ++number);
	host_say(b, a, ++number);
	net_run(n, 1000);
	if (a->messages != 1 || b->messages != 1 || !a->rx.newest ||
	    !b->rx.newest ||
	    memcmp(session_hash(host_knows(a, b)),
		   session_hash(host_knows(b, a)), CRYPTO_KEY_SIZE) != 0)
		fail_msg("seed %llu: ends disagree",
			 (unsigned long long)seed);
	net_free(n);
}

static void test_loss(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_lossy(seed, false, 0);
}

/* One INIT is answered at most nine times: once, and eight copies. */
static void test_copies(void **state)
{
	struct net *n = net_new(2);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");

	(void)state;
	n->down = true;
	host_call(a, b, 0);
	for (int i = 0; i < 30; i++)
		net_inject(n, &n->keep[0]);
	assert_int_equal(b->sent, 1 + RESP_COPIES_MAX);
	net_free(n);
}

/* FIN is sent eight times in all. */
static void test_fins(void **state)
{
	struct net *n = net_new(2);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	unsigned int fins = 0;

	(void)state;
	n->delay_ms = 0; /* so that eight fit into them */
	host_call(a, b, 0);
	while (a->sent_type != WIRE_FIN) {
		net_step(n, n->now_ms + 1);
		n->down = b->sent > 0;
	}
	net_run(n, 10000);
	for (unsigned int i = 0; i < n->n_keep; i++)
		fins += n->keep[i].data[0] == WIRE_FIN;
	assert_int_equal(fins, FIN_TRIES);
	assert_int_equal(a->failed, 1);
	net_free(n);
}

static void test_crossing(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		run_lossy(seed, true, 0);
		run_lossy(seed, true, PEER_URGENT);
		run_lossy(seed, true, PEER_YIELD);
	}
}

static void test_crossing_exactly(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct net *n = net_new(seed);
		struct host *a = net_add(n, "10.0.0.1"),
			    *b = net_add(n, "10.0.0.2");

		host_call(a, b, 0);
		host_call(b, a, 0);
		net_run(n, 900);
		/* One of the two stood, without a second attempt. */
		assert_int_equal(a->ups, 1);
		assert_int_equal(b->ups, 1);
		assert_int_equal(host_counter(a, COUNTER_HS_RESP_TX) +
					 host_counter(b, COUNTER_HS_RESP_TX),
				 1);
		check_talk(a, b, 1);
		check_talk(b, a, 2);
		net_free(n);
	}
}

/* The handshake hash after a host's INIT, from the bytes of that datagram. */
static void init_hash(const struct net *n, const struct host *h,
		      uint8_t hash[CRYPTO_HASH_SIZE])
{
	const struct datagram *d = n->keep;
	uint8_t payload[WIRE_INIT_PAYLOAD_SIZE];
	struct noise_handshake hs;
	size_t len;

	while (d->data[0] != WIRE_INIT || !addr_equal(&d->src.addr, h->addr))
		assert_true(++d < n->keep + n->n_keep);
	noise_begin_sacip(&hs, false, WIRE_VERSION, &h->key);
	assert_int_equal(noise_init_consume(&hs, d->data + WIRE_INIT_NOISE_AT,
					    WIRE_NOISE_INIT_SIZE, payload,
					    sizeof(payload), &len),
			 NOISE_OK);
	memcpy(hash, hs.hash, sizeof(hs.hash));
}

/* The end in front of which the translator stands, by its own address and as
 * it is seen. */
static struct addr inside, outside;

static void translate(struct datagram *d)
{
	if (addr_equal(&d->src.addr, &inside))
		d->src.addr = outside;
	else if (addr_equal(&d->dst.addr, &outside))
		d->dst.addr = inside;
}

/* Both ends take themselves for the lower one, or for the higher one: their
 * addresses have no common order, the INITs have. */
static void cross_translated(uint64_t seed, const char *in, const char *out)
{
	struct net *n = net_new(seed);
	struct host *a = net_add(n, in), *b = net_add(n, "10.0.0.9");
	uint8_t of_a[CRYPTO_HASH_SIZE], of_b[CRYPTO_HASH_SIZE];
	struct endpoint seen = { .addr = net_addr(out), .port = 1021 };
	const struct host *first;

	inside = a->addr[0];
	outside = seen.addr;
	n->rewrite = translate;
	assert_int_equal(peer_initiate(a->table, n->now_ms, &a->addr[0],
				       &b->addr[0], PEER_YIELD), 0);
	assert_int_equal(peer_initiate(b->table, n->now_ms, &b->addr[0],
				       &outside, PEER_YIELD), 0);
	net_run(n, 900);
	assert_int_equal(a->ups, 1);
	assert_int_equal(b->ups, 1);
	assert_memory_equal(session_hash(host_knows(a, b)),
			    session_hash(host_knows(b, a)), CRYPTO_HASH_SIZE);
	init_hash(n, a, of_a);
	init_hash(n, b, of_b);
	first = memcmp(of_a, of_b, sizeof(of_a)) < 0 ? a : b;
	assert_int_equal(host_counter(a, COUNTER_HS_RESP_TX), first == b);
	assert_int_equal(host_counter(b, COUNTER_HS_RESP_TX), first == a);
	net_free(n);
}

static void test_crossing_translated(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		cross_translated(seed, "10.0.0.2", "10.0.0.200");
		cross_translated(seed, "10.0.0.200", "10.0.0.2");
	}
}

/* On two address pairs at once nobody sees them cross. */
static void test_crossing_pairs(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct net *n = net_new(seed);
		struct host *a = net_add(n, "10.0.0.1"),
			    *b = net_add(n, "10.0.0.2");

		a->addr[a->n_addrs++] = net_addr("fd00::1");
		b->addr[b->n_addrs++] = net_addr("fd00::2");
		n->spread_ms = 40;
		peer_initiate(a->table, n->now_ms, &a->addr[0], &b->addr[0],
			      0);
		peer_initiate(b->table, n->now_ms, &b->addr[1], &a->addr[1],
			      0);
		net_run(n, 1000);
		assert_int_equal(a->ups, 2);
		assert_int_equal(b->ups, 2);
		assert_int_equal(a->firsts, 1);
		host_say(a, b, 1);
		host_say(b, a, 2);
		net_run(n, 500);
		host_say(a, b, 3);
		host_say(b, a, 4);
		net_run(n, 500);
		if (memcmp(session_hash(host_knows(a, b)),
			   session_hash(host_knows(b, a)),
			   CRYPTO_KEY_SIZE) != 0)
			fail_msg("seed %llu: ends disagree",
				 (unsigned long long)seed);
		/* And they agree long after the other one went. */
		net_run(n, 60000);
		check_again(a, b);
		check_again(b, a);
		check_talk(a, b, 5);
		check_talk(b, a, 6);
		net_free(n);
	}
}

/* Whoever has no reason to go first waits, whatever its address. */
static void test_yield(void **state)
{
	struct net *n = net_new(3);
	struct host *a = net_add(n, "192.0.2.1"), *b = net_add(n, "192.0.2.2");

	(void)state;
	assert_int_equal(host_call(a, b, PEER_YIELD), 0);
	net_run(n, PEER_YIELD_MS - 1);
	assert_int_equal(a->sent, 0);
	host_start(a, 100);
	assert_int_equal(host_call(b, a, PEER_YIELD), 0);
	assert_int_equal(host_call(b, a, PEER_YIELD), -EALREADY);
	net_run(n, PEER_YIELD_MS - 1);
	assert_int_equal(b->sent, 0);
	net_run(n, PEER_YIELD_JITTER_MS + 500);
	assert_int_equal(b->ups, 1);
	/* One knows the other by key: it goes, and the other's turn is over. */
	host_start(a, 100);
	host_start(b, 100);
	a->ups = b->ups = 0;
	b->sent = 0;
	a->configured[0] = b->key.public_key;
	a->conf_addr = b->addr[0];
	assert_int_equal(host_call(b, a, PEER_YIELD), 0);
	assert_int_equal(host_call(a, b, PEER_YIELD), 0);
	net_run(n, 500);
	assert_int_equal(b->ups, 1);
	assert_false(peer_is_initiating(b->table, &b->addr[0], &a->addr[0]));
	net_free(n);
}

/* From a private address the other end may be unable to come back. */
static void test_private_goes_first(void **state)
{
	struct net *n = net_new(3);
	struct host *a = net_add(n, "192.168.0.1"), *b = net_add(n, "192.0.2.2");

	(void)state;
	assert_int_equal(host_call(a, b, PEER_YIELD), 0);
	assert_int_equal(a->sent, 1);
	net_run(n, 500);
	assert_int_equal(b->ups, 1);
	net_free(n);
}

static void test_backoff(void **state)
{
	struct net *n = net_new(4);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	uint64_t begin_ms = n->now_ms, last_ms = 0, step_ms = 0;

	(void)state;
	n->down = true;
	/* A daemon that asks every 100 ms, for two hours. */
	while (n->now_ms < begin_ms + 7200000) {
		uint64_t before = a->sent;

		host_call(a, b, 0);
		if (a->sent != before) {
			assert_int_equal(a->sent, before + 1);
			if (last_ms) {
				uint64_t gap_ms = n->now_ms - last_ms;

				assert_true(gap_ms >= step_ms);
				assert_true(gap_ms <= step_ms + 200);
			}
			last_ms = n->now_ms;
			step_ms = step_ms ? 2 * step_ms : PEER_BACKOFF_MIN_MS;
			if (step_ms > PEER_BACKOFF_MAX_MS)
				step_ms = PEER_BACKOFF_MAX_MS;
		}
		net_run(n, 100);
	}
	/* 1 + 2 + ... + 512 s, then one per 10 min */
	assert_in_range(a->sent, 20, 22);
	assert_int_equal(a->failed, a->sent);
	assert_int_equal(a->why, REASON_NO_PEER);
	assert_true(a->opened);
	/* An address event: now. A session: no backoff is left. */
	n->down = false;
	assert_int_equal(host_call(a, b, 0), -EAGAIN);
	peer_retry_reset(a->table, &b->addr[0]);
	net_meet(a, b);
	assert_int_equal(peer_retry_ms(a->table, &b->addr[0]), 0);
	net_free(n);
}

static void test_urgent(void **state)
{
	struct net *n = net_new(5);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer *p;
	uint64_t before;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	/* b restarts, and answers nobody but who has met it. */
	host_start(b, 100);
	b->answers = false;
	n->down = true;
	before = a->sent;
	assert_int_equal(peer_rehandshake(p, n->now_ms, &a->addr[0],
					  &b->addr[0]),
			 0);
	net_run(n, 3000);
	assert_in_range(a->sent - before, 4, 9);
	n->down = false;
	net_run(n, 8000);
	assert_int_equal(b->ups, 2);
	assert_int_equal(a->ups, 2);
	assert_int_equal(a->firsts, 1);
	check_talk(a, b, 1);
	check_talk(b, a, 2);
	net_free(n);
}

/* A host that sees INIT answers it faster than the peer that is meant, with a
 * key of its own. */
static void test_urgent_usurped(void **state)
{
	struct net *n = net_new(5);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct host *c = net_add(n, "10.0.0.3");
	struct datagram init;

	(void)state;
	net_meet(a, b);
	net_run(n, 20000);
	host_start(b, 100);
	n->n_keep = 0;
	assert_int_equal(peer_rehandshake(host_knows(a, b), n->now_ms,
					  &a->addr[0], &b->addr[0]),
			 0);
	init = n->keep[0];
	n->delay_ms = 1;
	peer_receive(c->table, n->now_ms, &init.dst, &init.src, init.data,
		     init.len);
	n->delay_ms = 5;
	net_run(n, 2000);
	assert_null(host_knows(a, c));
	assert_int_equal(a->ups, 2);
	check_talk(a, b, 1);
	net_free(n);
}

/* So where an address names a key: what another one says there, or whoever
 * says that he is we, ends nothing, and is told where nothing else came. */
static void test_configured_usurped(void **state)
{
	for (int self = 0; self < 2; self++) {
		struct net *n = net_new(5);
		struct host *a = net_add(n, "10.0.0.1"),
			    *b = net_add(n, "10.0.0.2"),
			    *c = net_add(n, "10.0.0.3");
		struct datagram init;

		(void)state;
		if (self) {
			c->key = a->key;
			host_start(c, 100);
		}
		a->configured[0] = b->key.public_key;
		a->conf_addr = b->addr[0];
		for (int there = 0; there < 2; there++) {
			n->down = !there;
			n->n_keep = 0;
			peer_retry_reset(a->table, &b->addr[0]);
			assert_int_equal(host_call(a, b, 0), 0);
			n->down = false;
			init = n->keep[0];
			n->delay_ms = 1;
			peer_receive(c->table, n->now_ms, &init.dst,
				     &init.src, init.data, init.len);
			n->delay_ms = 5;
			net_run(n, 3000);
			assert_int_equal(a->ups, there);
			assert_int_equal(a->failed, 1);
			assert_int_equal(a->why, REASON_KEY_MISMATCH);
		}
		assert_int_equal(a->counters.refused[REASON_KEY_MISMATCH], 1);
		assert_non_null(host_knows(a, b));
		assert_int_equal(peer_table_count(a->table), 1);
		check_talk(a, b, 1);
		net_free(n);
	}
}

/* The session that the peer forgot is given up for the one it has. */
static void test_restart(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct net *n = net_new(seed);
		struct host *a = net_add(n, "10.0.0.1"),
			    *b = net_add(n, "10.0.0.2");

		net_meet(a, b);
		net_run(n, random_below(&n->random, 20000));
		host_start(b, 100);
		assert_int_equal(host_call(b, a, 0), 0);
		net_run(n, 500);
		assert_int_equal(a->ups, 2);
		check_talk(b, a, 2);
		check_talk(a, b, 1);
		net_free(n);
	}
}

static void test_silence(void **state)
{
	struct net *n = net_new(6);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct datagram d;

	(void)state;
	b->answers = false;
	host_call(a, b, 0);
	net_run(n, 500);
	assert_int_equal(b->sent, 0);
	assert_int_equal(host_counter(b, COUNTER_HS_INIT_SILENT), 1);
	/* A zero, a wrong and a misplaced mac1 are as good as none. */
	d = n->keep[0];
	memset(d.data + WIRE_INIT_MAC1_AT, 0x5a, WIRE_MAC1_SIZE);
	net_inject(n, &d);
	assert_int_equal(b->sent, 0);
	/* With the right one it speaks, unless from a bad locator. */
	cookie_mac1_set(b->table->mac1_key, d.data);
	b->locators = false;
	net_inject(n, &d);
	assert_int_equal(b->sent, 0);
	b->locators = true;
	net_inject(n, &d);
	assert_int_equal(b->sent, 1);
	assert_int_equal(b->sent_type, WIRE_RESP);
	net_free(n);
}

static void test_ports(void **state)
{
	struct net *n = net_new(7);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct endpoint high = { .addr = a->addr[0], .port = 40000 };
	struct datagram d;

	(void)state;
	host_call(a, b, 0);
	d = n->keep[0];
	net_run(n, 500);
	d.src = high;
	net_inject(n, &d);
	assert_int_equal(b->counters.refused[REASON_UNPRIVILEGED_PORT], 1);
	/* It may come if its address is configured: its key will tell. */
	b->configured[0] = a->key.public_key;
	b->conf_addr = high.addr;
	net_inject(n, &d);
	assert_int_equal(b->sent_type, WIRE_RESP);
	assert_int_equal(handshake_judge(b->table, a->key.public_key, &high),
			 REASON_NONE);
	b->configured[0] = b->key.private_key;
	assert_int_equal(handshake_judge(b->table, a->key.public_key, &high),
			 REASON_KEY_MISMATCH);
	b->configured[0] = NULL;
	memset(&b->conf_addr, 0, sizeof(b->conf_addr));
	assert_int_equal(handshake_judge(b->table, a->key.public_key, &high),
			 REASON_UNPRIVILEGED_PORT);
	/* The same high port at both ends is agreed upon. */
	a->port = b->port = 40000;
	host_start(b, 100);
	host_start(a, 100);
	net_meet(a, b);
	net_free(n);
}


/* ---- keys ------------------------------------------------------------- */

/* a calls b and one of them refuses the other's key, for that reason. */
static void refused_meeting(struct host *a, struct host *b,
			    struct host *judge, enum reason why)
{
	struct host *other = judge == a ? b : a;

	a->failed = b->failed = a->ups = b->ups = 0;
	peer_retry_reset(a->table, &b->addr[0]);
	assert_int_equal(host_call(a, b, 0), 0);
	net_run(a->net, 10000);
	assert_int_equal(judge->why, why);
	assert_int_equal(judge->opened, judge == a);
	assert_int_equal(judge->failed, 1);
	assert_int_equal(judge->counters.refused[why], 1);
	assert_int_equal(judge->ups, 0);
	assert_int_equal(other->ups, 0);
	assert_null(host_knows(judge, other));
}

static void test_keys(void **state)
{
	for (int side = 0; side < 2; side++) {
		struct net *n = net_new(8);
		struct host *a = net_add(n, "10.0.0.1"),
			    *b = net_add(n, "10.0.0.2");
		struct host *judge = side ? a : b, *other = side ? b : a;

		(void)state;
		judge->revoked = other->key.public_key;
		refused_meeting(a, b, judge, REASON_KEY_REVOKED);
		judge->revoked = NULL;
		judge->configured[0] = judge->key.private_key;
		judge->conf_addr = other->addr[0];
		refused_meeting(a, b, judge, REASON_KEY_MISMATCH);
		judge->configured[0] = NULL;
		memset(&judge->conf_addr, 0, sizeof(judge->conf_addr));
		judge->closed = true;
		refused_meeting(a, b, judge, REASON_POLICY);
		/* Configured: welcome, first contact closed or not. */
		judge->configured[0] = other->key.public_key;
		a->failed = b->failed = 0;
		peer_retry_reset(a->table, &b->addr[0]);
		net_meet(a, b);
		assert_int_equal(peer_get_trust(host_knows(judge, other)),
				 PEER_CONFIGURED);
		/* Pinned there: also without the configuration. */
		judge->configured[0] = NULL;
		peer_table_policy_changed(judge->table, n->now_ms);
		host_start(other, 100);
		assert_int_equal(host_call(a, b, 0), 0);
		net_run(n, 500);
		assert_true(peer_has_session(host_knows(other, judge)));
		/* Revoked while it talks: cut off. */
		judge->revoked = other->key.public_key;
		peer_table_policy_changed(judge->table, n->now_ms);
		assert_int_equal(judge->downs, 1);
		assert_int_equal(judge->down_why, REASON_KEY_REVOKED);
		assert_int_equal(host_say(judge, other, 1), -ENOTCONN);
		net_free(n);
	}
}

static void test_self(void **state)
{
	struct net *n = net_new(9);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");

	(void)state;
	/* An address that leads back to us, and a clone of us. */
	a->addr[a->n_addrs++] = net_addr("10.0.0.9");
	peer_initiate(a->table, n->now_ms, &a->addr[0], &a->addr[1], 0);
	net_run(n, 8000);
	assert_true(host_counter(a, COUNTER_HS_SELF) >= 1);
	assert_int_equal(peer_table_count(a->table), 0);
	a->counters.value[COUNTER_HS_SELF] = 0;
	b->key = a->key;
	host_start(b, 100);
	assert_int_equal(host_call(a, b, 0), 0);
	net_run(n, 8000);
	assert_int_equal(host_counter(a, COUNTER_HS_SELF), 1);
	assert_int_equal(a->ups + b->ups, 0);
	assert_int_equal(peer_table_count(b->table), 0);
	net_free(n);
}

/* ---- a translator in between ------------------------------------------ */

static void masquerade(struct datagram *d)
{
	struct addr inside = net_addr("10.0.0.1");
	struct addr outside = net_addr("192.0.2.1");

	if (addr_equal(&d->src.addr, &inside))
		d->src.addr = outside;
	if (addr_equal(&d->dst.addr, &outside))
		d->dst.addr = inside;
}

static void test_nat(void **state)
{
	for (int caller = 0; caller < 2; caller++) {
		struct net *n = net_new(10);
		struct host *a = net_add(n, "10.0.0.1"),
			    *b = net_add(n, "10.0.0.2");
		struct addr outside = net_addr("192.0.2.1");
		struct peer_path path;

		(void)state;
		n->rewrite = masquerade;
		if (caller == 0)
			peer_initiate(a->table, n->now_ms, &a->addr[0],
				      &b->addr[0], 0);
		else
			peer_initiate(b->table, n->now_ms, &b->addr[0],
				      &outside, 0);
		net_run(n, 8000);
		/* They know each other, and that this path owns nothing. */
		assert_int_equal(a->ups, 1);
		assert_int_equal(b->ups, 1);
		assert_true(peer_path_at(host_knows(a, b), 0, &path));
		assert_true(path.nat);
		assert_true(path.validated_ms == 0);
		assert_true(peer_path_at(host_knows(b, a), 0, &path));
		assert_true(path.nat);
		assert_true(peer_remote_validated_ms(host_knows(b, a),
						     &outside) == 0);
		assert_true(peer_remote_validated_ms(host_knows(a, b),
						     &b->addr[0]) == 0);
		assert_false(peer_path_best(host_knows(a, b), &path));
		assert_int_equal(a->path_ok + b->path_ok, 0);
		assert_int_equal(a->messages + b->messages, 0);
		/* Without it, a new handshake clears the mark. */
		n->rewrite = NULL;
		net_run(n, 1000);
		assert_int_equal(peer_rehandshake(host_knows(a, b), n->now_ms,
						  &a->addr[0], &b->addr[0]),
				 0);
		net_run(n, 1000);
		assert_true(peer_path_find(host_knows(a, b), &a->addr[0],
					   &b->addr[0], &path));
		assert_false(path.nat);
		check_talk(a, b, 3);
		net_free(n);
	}
}

static void lose_all(struct net *n)
{
	for (unsigned int i = 0; i < n->high; i++)
		n->queue[i].used = false;
}

/* There the responder has one message only, and says it to each FIN. */
static void test_nat_lossy(void **state)
{
	struct net *n = net_new(19);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");

	(void)state;
	n->rewrite = masquerade;
	host_call(a, b, 0);
	for (int i = 0; i < 1000 && !b->ups; i++)
		net_step(n, n->now_ms + 10);
	for (int i = 0; i < 3; i++) {
		uint64_t before = b->sent;

		lose_all(n);
		for (int k = 0; k < 1000 && b->sent == before; k++)
			net_step(n, n->now_ms + 10);
		assert_int_equal(b->sent, before + 1);
	}
	net_run(n, 20);
	assert_int_equal(a->ups, 1);
	assert_int_equal(host_counter(a, COUNTER_HS_ATTEMPTS), 1);
	net_free(n);
}

/* ---- rekeying --------------------------------------------------------- */

static void test_rekey(void **state)
{
	struct net *n = net_new(11);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	uint64_t order;
	unsigned int before;

	(void)state;
	net_meet(a, b);
	net_run(n, PEER_REKEY_MS - 1000);
	check_again(a, b);
	check_talk(a, b, 1);
	assert_int_equal(a->ups, 1);
	net_run(n, 3600000); /* idle: nothing happens, nothing expires */
	assert_int_equal(a->ups, 1);
	check_again(a, b);
	check_talk(a, b, 2);
	assert_int_equal(a->ups, 2);
	assert_int_equal(a->firsts, 1);
	assert_int_equal(b->ups, 2);
	check_talk(a, b, 3);
	/* What was sealed before is still taken for a while. */
	before = b->messages;
	order = b->last.sent_order;
	{
		struct peer *p = host_knows(a, b);
		struct session *s = p->session[1];
		struct endpoint from = { a->addr[0], 1021 };
		struct endpoint to = { b->addr[0], 1021 };
		struct wire_message m;

		assert_non_null(s);
		memset(&m, 0, sizeof(m));
		m.type = WIRE_DONE;
		assert_int_equal(session_send(s, n->now_ms, STANDING_VALID,
					      &from, &to, &m, 0),
				 0);
		net_run(n, 100);
		assert_int_equal(b->messages, before + 1);
		assert_true(b->rx.newest == false);
		assert_true(b->last.sent_order < order);
	}
	net_run(n, PEER_OLD_SESSION_MS);
	assert_null(host_knows(a, b)->session[1]);
	assert_null(host_knows(b, a)->session[1]);
	net_free(n);
}

/* Whoever speaks in the name of an address makes no handshake go there. */
static void test_rekey_elsewhere(void **state)
{
	struct net *n = net_new(11);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct endpoint from = { net_addr("10.0.0.77"), 1021 };
	struct endpoint to = { a->addr[0], 1021 };
	struct wire_message m;
	uint64_t before;

	(void)state;
	net_meet(a, b);
	net_run(n, PEER_REKEY_MS + PEER_YIELD_MS);
	before = a->sent_bytes;
	memset(&m, 0, sizeof(m));
	m.type = WIRE_PROBE;
	for (int i = 0; i < 35; i++)
		assert_int_equal(session_send(host_knows(b, a)->session[0],
					      n->now_ms, STANDING_VALID,
					      &from, &to, &m, 0),
				 0);
	net_run(n, 60000);
	/* 84 bytes for 84. */
	assert_int_equal(a->sent_bytes - before, 35 * 84);
	assert_int_equal(host_counter(a, COUNTER_HS_ATTEMPTS), 1);
	assert_int_equal(HASH_CNT(by_pair, a->table->attempts), 0);
	/* Where it is valid there is one. */
	from.addr = b->addr[0];
	session_send(host_knows(b, a)->session[0], n->now_ms, STANDING_VALID,
		     &from, &to, &m, 0);
	net_run(n, 10);
	assert_int_equal(a->ups, 1);
	check_again(a, b);
	net_run(n, 100);
	assert_int_equal(a->ups, 2);
	assert_int_equal(b->ups, 2);
	net_free(n);
}

static void test_counters_used_up(void **state)
{
	struct net *n = net_new(12);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer *p;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	p->session[0]->counter = PEER_REKEY_COUNT - 1;
	check_talk(a, b, 1);
	net_run(n, 1000);
	assert_int_equal(a->ups, 2);
	assert_true(p->session[0]->counter < 100);
	p->session[0]->counter = PEER_COUNTER_LIMIT;
	n->down = true;
	assert_int_equal(host_say(a, b, 2), -EKEYREJECTED);
	assert_true(p->session[0]->counter == PEER_COUNTER_LIMIT);
	n->down = false;
	net_run(n, 5000);
	check_talk(a, b, 3);
	net_free(n);
}

/* ---- hostile datagrams ------------------------------------------------ */

struct census {
	unsigned int ups, messages, peers, paths, slots;
	uint8_t key[CRYPTO_KEY_SIZE];
	uint64_t next;
};

static struct census census_of(struct host *h, struct host *other)
{
	struct peer *p = host_knows(h, other);
	struct census c;

	memset(&c, 0, sizeof(c));
	c.ups = h->ups;
	c.messages = h->messages;
	c.peers = peer_table_count(h->table);
	c.slots = HASH_COUNT(h->table->slots) - h->table->n_half_open;
	if (p) {
		c.paths = p->n_paths;
		memcpy(c.key, session_hash(p), sizeof(c.key));
		c.next = p->session[0]->replay.next;
	}
	return c;
}

static uint64_t complaints(const struct host *h)
{
	static const enum counter_id named[] = {
		COUNTER_RX_MALFORMED,	  COUNTER_RX_VERSION,
		COUNTER_RX_UNKNOWN_INDEX, COUNTER_RX_DECRYPT,
		COUNTER_RX_REPLAY,	  COUNTER_RX_PATH_MISMATCH,
		COUNTER_RX_UNEXPECTED,	  COUNTER_HS_RESP_TX,
		COUNTER_HS_RETRY_TX,	  COUNTER_RX_RESERVED,
		COUNTER_HS_FAILED,	  COUNTER_HS_RATE_LIMITED,
	};
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		sum += h->counters.value[named[i]];
	return sum;
}

static void test_forgery(void **state)
{
	struct net *n = net_new(13);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct endpoint third = { net_addr("10.0.0.3"), 1021 };
	struct census ca, cb;
	unsigned int kept;

	(void)state;
	net_meet(a, b);
	check_talk(a, b, 1);
	check_talk(b, a, 2);
	kept = n->n_keep;
	assert_true(kept >= 7);
	ca = census_of(a, b);
	cb = census_of(b, a);
	for (unsigned int i = 0; i < kept; i++) {
		struct datagram whole = n->keep[i], d;
		struct host *at = net_host_at(n, &whole.dst.addr);
		uint64_t before;

		/* replayed, from where it came and from elsewhere */
		before = complaints(at);
		net_inject(n, &whole);
		d = whole;
		d.src = third;
		net_inject(n, &d);
		assert_int_equal(complaints(at), before + 2);
		/* cut */
		for (size_t len = 0; len < whole.len; len++) {
			d = whole;
			d.len = len;
			before = complaints(at);
			net_inject(n, &d);
			assert_int_equal(complaints(at), before + 1);
		}
		/* one bit flipped */
		for (size_t bit = 0; bit < 8 * whole.len; bit++) {
			d = whole;
			d.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			net_inject(n, &d);
			if (d.data[0] == WIRE_INIT)
				net_run(n, PEER_HALF_OPEN_MS / 100);
		}
		/* Whatever they made runs out by itself. */
		net_run(n, 2 * PEER_HALF_OPEN_MS);
	}
	net_run(n, 60000);
	{
		struct census a2 = census_of(a, b), b2 = census_of(b, a);

		assert_memory_equal(&ca, &a2, sizeof(ca));
		assert_memory_equal(&cb, &b2, sizeof(cb));
	}
	check_again(a, b);
	check_again(b, a);
	check_talk(a, b, 3);
	check_talk(b, a, 4);
	net_free(n);
}

/* A handshake whose every datagram has an evil twin that comes first. */
static void test_forgery_during(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct net *n = net_new(seed);
		struct host *a = net_add(n, "10.0.0.1"),
			    *b = net_add(n, "10.0.0.2");
		uint64_t end_ms;

		host_call(a, b, 0);
		end_ms = n->now_ms + 3000;
		do {
			for (unsigned int i = 0; i < n->high; i++) {
				struct datagram d = n->queue[i];

				/* An INIT in clear may be changed into
				 * another good one: not those. */
				if (!d.used || d.data[0] == WIRE_INIT)
					continue;
				d.data[random_below(&n->random, d.len)] ^= 4;
				net_inject(n, &d);
			}
		} while (net_step(n, end_ms));
		assert_int_equal(a->ups, 1);
		assert_int_equal(b->ups, 1);
		check_talk(a, b, seed);
		net_free(n);
	}
}

static void test_path_mismatch(void **state)
{
	struct net *n = net_new(14);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct datagram d;
	unsigned int before;

	(void)state;
	net_meet(a, b);
	n->n_keep = 0;
	n->down = true;
	host_say(a, b, 5);
	n->down = false;
	d = n->keep[0];
	before = b->messages;
	/* Relayed by a stranger: dropped, and the window stays open ... */
	d.src.addr = net_addr("10.0.0.3");
	net_inject(n, &d);
	d = n->keep[0];
	d.src.port++;
	net_inject(n, &d);
	assert_int_equal(host_counter(b, COUNTER_RX_PATH_MISMATCH), 2);
	assert_int_equal(b->messages, before);
	assert_int_equal(host_knows(b, a)->n_paths, 1);
	/* ... for the true one. */
	net_inject(n, &n->keep[0]);
	assert_int_equal(b->messages, before + 1);
	net_inject(n, &n->keep[0]);
	assert_int_equal(b->messages, before + 1);
	assert_int_equal(host_counter(b, COUNTER_RX_REPLAY), 1);
	net_free(n);
}

static void test_reserved(void **state)
{
	struct net *n = net_new(15);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct session *s;
	uint8_t plain[WIRE_PLAIN_MAX], out[WIRE_PAYLOAD_MAX];
	struct wire_header h = { .type = WIRE_HINT };
	struct datagram d = { 0 };
	unsigned int before;

	(void)state;
	net_meet(a, b);
	before = b->messages;
	s = host_knows(a, b)->session[0];
	memset(plain, 0, sizeof(plain));
	addr_to_mapped(&a->addr[0], plain);
	plain[16] = 1021 >> 8;
	plain[17] = 1021 & 0xff;
	addr_to_mapped(&b->addr[0], plain + 18);
	plain[34] = 1021 >> 8;
	plain[35] = 1021 & 0xff;
	h.index = s->remote_index;
	h.counter = s->counter++;
	wire_encode_header(&h, out);
	crypto_seal(s->keys.send, h.counter, out, 16, plain, 60, out + 16);
	d.src = s->local;
	d.dst = s->remote;
	d.len = 16 + 60 + 16;
	memcpy(d.data, out, d.len);
	net_inject(n, &d);
	assert_int_equal(host_counter(b, COUNTER_RX_RESERVED), 1);
	assert_int_equal(b->messages, before);
	net_free(n);
}

/* ---- floods ----------------------------------------------------------- */

static void flood_one(struct net *n, struct host *b, const uint8_t *init,
		      uint64_t i)
{
	struct datagram d = { 0 };

	d.len = WIRE_INIT_SIZE;
	memcpy(d.data, init, d.len);
	random_fill(&n->random, d.data + WIRE_INIT_NOISE_AT, 40);
	/* versions 1 to 1 are in clear behind the ephemeral */
	memcpy(d.data + WIRE_INIT_NOISE_AT + 32,
	       init + WIRE_INIT_NOISE_AT + 32, 4);
	d.src.addr = addr_from_in4(htonl(0x0b000000u + (uint32_t)i));
	d.src.port = 1021;
	d.dst.addr = b->addr[0];
	d.dst.port = 1021;
	net_inject(n, &d);
}

static void test_flood(void **state)
{
	struct net *n = net_new(16);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2"),
		    *c = net_add(n, "10.0.0.3");
	const uint8_t *init;
	uint8_t key[CRYPTO_KEY_SIZE];
	unsigned int most = 0;
	bool called = false;

	(void)state;
	host_call(a, c, 0); /* an INIT to model the others on */
	init = n->keep[0].data;
	net_run(n, 1000);
	net_meet(a, b);
	memcpy(key, session_hash(host_knows(b, a)), sizeof(key));
	for (unsigned int i = 0; i < FLOOD; i++) {
		flood_one(n, b, init, i);
		if (b->table->n_half_open > most)
			most = b->table->n_half_open;
		assert_true(b->sent_len <= WIRE_INIT_SIZE);
		if (i % 20 == 0)
			net_run(n, 1);
		if (i == FLOOD / 2) {
			called = true;
			check_talk(a, b, i);
			check_talk(b, a, i);
		}
		if (called && c->ups == 1)
			host_call(c, b, 0);
	}
	net_run(n, 3000);
	/* The innocent got through, by a cookie. */
	assert_int_equal(c->ups, 1 + 1);
	assert_true(host_counter(c, COUNTER_HS_RETRY_RX) >= 1);
	assert_true(host_counter(b, COUNTER_HS_RETRY_TX) > FLOOD / 2);
	assert_true(most <= PEER_LOAD_RATE + 1);
	assert_int_equal(peer_table_count(b->table), 2);
	assert_memory_equal(key, session_hash(host_knows(b, a)),
			    sizeof(key));
	check_talk(a, b, 1);
	check_talk(b, a, 2);
	net_run(n, 2 * PEER_HALF_OPEN_MS);
	assert_int_equal(b->table->n_half_open, 0);
	net_free(n);
}

/* One host that has cookies, and means harm. */
static void test_flood_one_source(void **state)
{
	struct net *n = net_new(17);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2"),
		    *c = net_add(n, "10.0.0.3");
	unsigned int resps = 0;

	(void)state;
	for (int i = 0; i < 600; i++) {
		host_start(a, 100);
		host_call(a, b, PEER_URGENT);
		net_run(n, 12);
		/* never a FIN */
		for (unsigned int j = 0; j < n->high; j++)
			if (n->queue[j].used &&
			    n->queue[j].data[0] == WIRE_FIN)
				n->queue[j].used = false;
	}
	resps = (unsigned int)host_counter(b, COUNTER_HS_RESP_TX);
	/* two bursts and one or two a second, over 8 s */
	assert_in_range(resps, 2 * PEER_SOURCE_BURST, 40);
	assert_true(host_counter(b, COUNTER_HS_RATE_LIMITED) > 100);
	assert_true(b->table->n_half_open <= PEER_HALF_OPEN_MAX);
	/* Nobody else notices. */
	net_meet(c, b);
	net_free(n);
}

/* One cookie per handshake: RETRY is not sealed. */
static void test_retry_once(void **state)
{
	struct net *n = net_new(20);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct datagram d = { 0 };
	uint8_t cookie[WIRE_COOKIE_SIZE] = { 1 };
	uint64_t sent;

	(void)state;
	n->down = true;
	host_call(a, b, 0);
	n->down = false;
	d.src.addr = b->addr[0];
	d.dst.addr = a->addr[0];
	d.src.port = d.dst.port = 1021;
	d.len = WIRE_RETRY_SIZE;
	/* Of another handshake, from elsewhere: nothing. */
	sent = a->sent;
	wire_encode_retry(1 + TAILQ_FIRST(&a->table->attempt_list)->slot.index,
			  cookie, d.data);
	net_inject(n, &d);
	wire_encode_retry(TAILQ_FIRST(&a->table->attempt_list)->slot.index,
			  cookie, d.data);
	d.src.addr = net_addr("10.0.0.3");
	net_inject(n, &d);
	assert_int_equal(a->sent, sent);
	d.src.addr = b->addr[0];
	net_inject(n, &d);
	assert_int_equal(a->sent, sent + 1);
	for (int i = 0; i < 5; i++)
		net_inject(n, &d);
	assert_int_equal(a->sent, sent + 1);
	assert_int_equal(host_counter(a, COUNTER_RX_UNEXPECTED), 5);
	net_run(n, 500);
	assert_int_equal(a->ups, 1);
	net_free(n);
}

/* An INIT with that ephemeral from there, and, where it is asked for, once more
 * with the cookie. True where it got a RESP. */
static bool init_from(struct net *n, struct host *b, struct datagram *d,
		      const char *from)
{
	uint64_t before = host_counter(b, COUNTER_HS_RESP_TX);

	d->src.addr = net_addr(from);
	random_fill(&n->random, d->data + WIRE_INIT_NOISE_AT, 32);
	memset(d->data + WIRE_INIT_COOKIE_AT, 0, WIRE_COOKIE_SIZE);
	n->n_keep = 0;
	net_inject(n, d);
	if (n->n_keep && n->keep[0].data[0] == WIRE_RETRY) {
		memcpy(d->data + WIRE_INIT_COOKIE_AT, n->keep[0].data + 16,
		       WIRE_COOKIE_SIZE);
		net_inject(n, d);
	}
	return host_counter(b, COUNTER_HS_RESP_TX) != before;
}

/* An INIT of a's, to be sent from elsewhere. */
static struct datagram init_model(struct net *n, struct host *a,
				  struct host *b)
{
	struct datagram d;

	n->n_keep = 0;
	n->down = true;
	assert_int_equal(host_call(a, b, 0), 0);
	n->down = false;
	d = n->keep[0];
	attempt_free(a->table, TAILQ_FIRST(&a->table->attempt_list));
	peer_retry_reset(a->table, &b->addr[0]);
	return d;
}

/* A cookie is good for one handshake, and a neighbour in the same /64 who gets
 * one for each takes what is his own. */
static void test_neighbour(void **state)
{
	struct net *n = net_new(22);
	struct host *a = net_add(n, "2001:db8::1"),
		    *b = net_add(n, "2001:db8:1::2");
	struct datagram d = init_model(n, a, b);
	char from[64];
	uint64_t before;

	(void)state;
	net_meet(a, b);
	b->table->rate_ms = n->now_ms;
	b->table->rate = PEER_LOAD_RATE + 1;
	assert_true(init_from(n, b, &d, "2001:db8::66"));
	before = host_counter(b, COUNTER_HS_RESP_TX);
	for (int i = 0; i < 1000; i++) {
		random_fill(&n->random, d.data + WIRE_INIT_NOISE_AT, 32);
		net_inject(n, &d);
	}
	assert_int_equal(host_counter(b, COUNTER_HS_RESP_TX), before);
	assert_int_equal(host_counter(b, COUNTER_HS_COOKIE_BAD), 1000);
	for (int i = 0; i < 200; i++) {
		snprintf(from, sizeof(from), "2001:db8::1:%x", i);
		init_from(n, b, &d, from);
	}
	assert_int_equal(host_counter(b, COUNTER_HS_RESP_TX),
			 before + PEER_STRANGERS_BURST - 1);
	for (int i = 0; i < PEER_SOURCE_BURST; i++)
		assert_true(init_from(n, b, &d, "2001:db8::1"));
	assert_false(init_from(n, b, &d, "2001:db8::1"));
	net_free(n);
}

/* An office behind one address has a share for as many. */
static void test_office(void **state)
{
	struct net *n = net_new(23);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct datagram d = init_model(n, a, b);
	unsigned int got = 0;

	(void)state;
	b->crowd = net_addr("11.0.0.1");
	b->sockets = 100;
	for (int i = 0; i < 100; i++)
		got += init_from(n, b, &d, "11.0.0.1");
	assert_int_equal(got, 100);
	got = 0;
	for (int i = 0; i < 100; i++)
		got += init_from(n, b, &d, "11.0.0.2");
	assert_int_equal(got, PEER_SOURCE_BURST);
	net_free(n);
}

/* Who has most makes room, for his share. */
static void test_half_open_shares(void **state)
{
	struct net *n = net_new(24);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct datagram d = init_model(n, a, b);
	char from[64];

	(void)state;
	n->spread_ms = 0;
	n->delay_ms = 200; /* a is far away */
	assert_int_equal(host_call(a, b, 0), 0);
	net_run(n, 201);
	assert_int_equal(b->table->n_half_open, 1);
	for (int i = 0; i < PEER_SOURCE_BURST; i++)
		assert_true(init_from(n, b, &d, "11.1.0.1"));
	for (int i = 0; b->table->n_half_open < PEER_HALF_OPEN_MAX; i++) {
		snprintf(from, sizeof(from), "11.2.%d.1", i);
		assert_true(init_from(n, b, &d, from));
	}
	for (int i = 1; i < PEER_SOURCE_BURST; i++) {
		snprintf(from, sizeof(from), "11.3.%d.1", i);
		assert_true(init_from(n, b, &d, from));
		assert_int_equal(b->table->n_half_open, PEER_HALF_OPEN_MAX);
	}
	assert_int_equal(host_counter(b, COUNTER_HS_HALF_OPEN_FULL),
			 PEER_SOURCE_BURST - 1);
	/* Its FIN is still welcome. */
	net_run(n, 2000);
	assert_int_equal(b->ups, 1);
	net_free(n);
}

static void retry_inject(struct net *n, struct host *a, struct host *b,
			 uint8_t number)
{
	struct datagram d = { 0 };
	uint8_t cookie[WIRE_COOKIE_SIZE] = { 1, number };

	d.src.addr = b->addr[0];
	d.dst.addr = a->addr[0];
	d.src.port = d.dst.port = 1021;
	d.len = WIRE_RETRY_SIZE;
	wire_encode_retry(TAILQ_FIRST(&a->table->attempt_list)->slot.index,
			  cookie, d.data);
	net_inject(n, &d);
}

/* Who sees INIT sends one that leads to nothing, before R's. */
static void test_retry_forged(void **state)
{
	struct net *n = net_new(20);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	uint64_t sent;

	(void)state;
	b->table->rate_ms = n->now_ms;
	b->table->rate = PEER_LOAD_RATE;
	host_call(a, b, 0);
	retry_inject(n, a, b, 1);
	net_run(n, 500);
	assert_true(host_counter(b, COUNTER_HS_RETRY_TX) >= 1);
	assert_int_equal(a->ups, 1);
	assert_int_equal(b->ups, 1);
	/* But it makes a host send no more than this. */
	peer_forget(host_knows(a, b), n->now_ms);
	n->down = true;
	assert_int_equal(host_call(a, b, 0), 0);
	sent = a->sent;
	for (uint8_t i = 0; i < 10; i++)
		retry_inject(n, a, b, i);
	assert_int_equal(a->sent, sent + RETRIES_MAX);
	net_free(n);
}

/* Three forged ones do not keep a peer that is known by key away until the
 * handshake ends. */
static void test_retries_forged(void **state)
{
	struct net *n = net_new(20);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer *p;
	uint64_t sent;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	a->ups = 0;
	b->table->rate_ms = n->now_ms;
	b->table->rate = b->table->rate_before = 100 * PEER_LOAD_RATE;
	peer_rehandshake(p, n->now_ms, &a->addr[0], &b->addr[0]);
	for (uint8_t i = 0; i < RETRIES_MAX; i++)
		retry_inject(n, a, b, i);
	sent = a->sent;
	for (int ms = 0; ms < 1900 && !a->ups; ms += 100) {
		net_run(n, 100);
		b->table->rate = 100 * PEER_LOAD_RATE;
	}
	assert_int_equal(a->ups, 1);
	/* By a repetition, not in answer to the fourth. */
	assert_in_range(a->sent, sent + 1, sent + 12);
	net_free(n);
}

static void test_half_open_bound(void **state)
{
	struct net *n = net_new(18);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct datagram d;
	unsigned int i;

	(void)state;
	host_call(a, b, 0);
	d = n->keep[0];
	/* Real hosts, all of them: each heeds its cookie. */
	for (i = 0; i < 2 * PEER_HALF_OPEN_MAX; i++) {
		d.src.addr = addr_from_in4(htonl(0x0b000000u + i));
		random_fill(&n->random, d.data + WIRE_INIT_NOISE_AT, 32);
		memset(d.data + WIRE_INIT_COOKIE_AT, 0, WIRE_COOKIE_SIZE);
		n->n_keep = 0;
		net_inject(n, &d);
		if (n->keep[0].data[0] != WIRE_RETRY)
			continue;
		memcpy(d.data + WIRE_INIT_COOKIE_AT, n->keep[0].data + 16,
		       WIRE_COOKIE_SIZE);
		net_inject(n, &d);
	}
	assert_int_equal(b->table->n_half_open, PEER_HALF_OPEN_MAX);
	assert_true(host_counter(b, COUNTER_HS_HALF_OPEN_FULL) > 0);
	net_run(n, PEER_HALF_OPEN_MS + 1);
	assert_int_equal(b->table->n_half_open, 0);
	net_free(n);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_fins),
		cmocka_unit_test(test_crossing),
		cmocka_unit_test(test_crossing_exactly),
		cmocka_unit_test(test_crossing_translated),
		cmocka_unit_test(test_crossing_pairs),
		cmocka_unit_test(test_yield),
		cmocka_unit_test(test_private_goes_first),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_urgent_usurped),
		cmocka_unit_test(test_configured_usurped),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_self),
		cmocka_unit_test(test_nat),
		cmocka_unit_test(test_nat_lossy),
		cmocka_unit_test(test_rekey),
		cmocka_unit_test(test_rekey_elsewhere),
		cmocka_unit_test(test_counters_used_up),
		cmocka_unit_test(test_forgery),
		cmocka_unit_test(test_forgery_during),
		cmocka_unit_test(test_path_mismatch),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_flood_one_source),
		cmocka_unit_test(test_retry_once),
		cmocka_unit_test(test_retry_forged),
		cmocka_unit_test(test_retries_forged),
		cmocka_unit_test(test_neighbour),
		cmocka_unit_test(test_office),
		cmocka_unit_test(test_half_open_shares),
		cmocka_unit_test(test_half_open_bound),
	};

	if (crypto_init() < 0)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
