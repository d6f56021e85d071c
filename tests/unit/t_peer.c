/* SPDX-License-Identifier: GPL-2.0-or-later */
/* peer, pins, path: records, eviction, pins as text, paths and probes. */
#include "fake_net.h"

#include <arpa/inet.h>

static void second_pair(struct host *a, struct host *b)
{
	a->addr[a->n_addrs++] = net_addr("fd00::1");
	b->addr[b->n_addrs++] = net_addr("fd00::2");
}

/* What `a` may send to an address of `b`. */
static size_t limit(struct host *a, struct host *b, unsigned int at,
		    uint8_t type)
{
	return peer_send_limit(host_knows(a, b), a->net->now_ms, &a->addr[0],
			       &b->addr[at], type);
}

static int meet_again(struct host *a, struct host *b, unsigned int at)
{
	int ret = peer_validate_path(host_knows(a, b), a->net->now_ms,
				     &a->addr[0], &b->addr[at]);

	net_run(a->net, 20);
	return ret;
}

/* ---- paths ------------------------------------------------------------ */

static void test_validate(void **state)
{
	struct net *n = net_new(1);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer_path path;
	struct peer *p;
	uint64_t at_ms;

	(void)state;
	net_meet(a, b);
	second_pair(a, b);
	p = host_knows(a, b);
	a->path_ok = 0;
	at_ms = n->now_ms;
	assert_int_equal(peer_validate_path(p, n->now_ms, &a->addr[0],
					    &b->addr[0]),
			 0);
	assert_int_equal(peer_validate_path(p, n->now_ms, &a->addr[0],
					    &b->addr[0]),
			 -EALREADY);
	net_run(n, 20);
	assert_int_equal(a->path_ok, 1);
	assert_true(peer_remote_validated_ms(p, &b->addr[0]) >= at_ms + 10);
	/* Nobody ever heard it speak from there: a handshake must tell. */
	assert_int_equal(peer_validate_path(p, n->now_ms, &a->addr[1],
					    &b->addr[1]),
			 -EACCES);
	assert_true(peer_remote_validated_ms(p, &b->addr[1]) == 0);
	assert_int_equal(peer_initiate(a->table, n->now_ms, &a->addr[1],
				       &b->addr[1], 0),
			 0);
	net_run(n, 100);
	assert_int_equal(peer_table_count(a->table), 1);
	assert_true(peer_path_find(p, &a->addr[1], &b->addr[1], &path));
	assert_true(path.validated_ms > 0);
	assert_true(peer_remote_validated_ms(p, &b->addr[1]) > 0);
	/* One session serves both. */
	assert_int_equal(peer_validate_path(p, n->now_ms, &a->addr[0],
					    &b->addr[0]),
			 0);
	net_run(n, 100);
	assert_true(peer_path_best(p, &path));
	assert_true(addr_equal(&path.remote.addr, &b->addr[0]));
	net_free(n);
}

static void test_validate_lossy(void **state)
{
	unsigned int ok = 0, bad = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct net *n = net_new(seed);
		struct host *a = net_add(n, "10.0.0.1"),
			    *b = net_add(n, "10.0.0.2");
		struct peer *p;

		net_meet(a, b);
		p = host_knows(a, b);
		net_run(n, 1000);
		a->path_ok = 0;
		n->loss = 30;
		n->dup = 30;
		n->spread_ms = 100;
		assert_int_equal(peer_validate_path(p, n->now_ms,
						    &a->addr[0], &b->addr[0]),
				 0);
		net_run(n, 30000);
		/* Exactly one outcome. */
		assert_int_equal(a->path_ok + a->path_bad, 1);
		ok += a->path_ok;
		bad += a->path_bad;
		net_free(n);
	}
	/* (1 - 0.49)^6: one or two of a hundred may fail */
	assert_true(ok >= 90);
	print_message("# %u validated, %u failed\n", ok, bad);
}

static void test_validate_dead(void **state)
{
	struct net *n = net_new(2);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	uint64_t sent, before_ms;
	struct peer *p;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	before_ms = peer_remote_validated_ms(p, &b->addr[0]);
	n->down = true;
	sent = a->sent;
	assert_int_equal(peer_validate_path(p, n->now_ms, &a->addr[0],
					    &b->addr[0]),
			 0);
	net_run(n, 60000);
	assert_int_equal(a->path_bad, 1);
	assert_int_equal(a->sent - sent, PEER_PROBE_TRIES);
	assert_true(peer_remote_validated_ms(p, &b->addr[0]) == before_ms);
	assert_true(peer_table_deadline_ms(a->table) == UINT64_MAX);
	net_free(n);
}

/* Without a route nobody is asked, and so nobody is silent; what a filter of
 * our own keeps back is missed. */
static void test_validate_unsent(void **state)
{
	struct net *n = net_new(2);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer *p;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	n->error = -ENETUNREACH;
	peer_validate_path(p, n->now_ms, &a->addr[0], &b->addr[0]);
	net_run(n, 60000);
	assert_int_equal(a->path_bad, 0);
	assert_true(peer_table_deadline_ms(a->table) == UINT64_MAX);
	n->error = -EPERM;
	peer_validate_path(p, n->now_ms, &a->addr[0], &b->addr[0]);
	net_run(n, 60000);
	assert_int_equal(a->path_bad, 1);
	/* Its first copies are kept back, the others get out. */
	n->error = -ENOBUFS;
	peer_validate_path(p, n->now_ms, &a->addr[0], &b->addr[0]);
	net_run(n, 1000);
	n->error = 0;
	n->down = true;
	net_run(n, 60000);
	assert_int_equal(a->path_bad, 2);
	net_free(n);
}

/* A token that was never sent, or on another path, proves nothing. */
static void test_probe_ack_forged(void **state)
{
	struct net *n = net_new(3);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct wire_message m;
	struct peer *p, *q;

	(void)state;
	net_meet(a, b);
	second_pair(a, b);
	p = host_knows(a, b);
	q = host_knows(b, a);
	net_run(n, 1000);
	n->down = true;
	peer_validate_path(p, n->now_ms, &a->addr[0], &b->addr[0]);
	n->down = false;
	a->path_ok = 0;
	memset(&m, 0, sizeof(m));
	m.type = WIRE_PROBE_ACK;
	m.probe.token[TOKEN_INDEX] = 0;
	peer_send(q, n->now_ms, &b->addr[0], &a->addr[0], &m, 0);
	net_run(n, 8);
	assert_int_equal(a->path_ok, 0);
	assert_int_equal(host_counter(a, COUNTER_RX_UNEXPECTED), 1);
	/* The right one, from the wrong address. */
	memcpy(m.probe.token,
	       path_find(p, &a->addr[0], &b->addr[0])->token,
	       sizeof(m.probe.token));
	peer_send(q, n->now_ms, &b->addr[1], &a->addr[0], &m, 0);
	net_run(n, 8);
	assert_int_equal(a->path_ok, 0);
	assert_int_equal(host_counter(a, COUNTER_RX_UNEXPECTED), 2);
	assert_true(peer_remote_validated_ms(p, &b->addr[1]) == 0);
	peer_send(q, n->now_ms, &b->addr[0], &a->addr[0], &m, 0);
	net_run(n, 8);
	assert_int_equal(a->path_ok, 1);
	net_free(n);
}

/* sacip(7), "Paths": what goes to an address that proved nothing. */
static void test_unvalidated(void **state)
{
	struct net *n = net_new(4);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct wire_message m;
	struct peer *p, *q;
	uint64_t before;

	(void)state;
	net_meet(a, b);
	net_run(n, 1000);
	a->answers = false;
	b->addr[b->n_addrs++] = net_addr("10.0.0.77");
	p = host_knows(a, b);
	q = host_knows(b, a);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_DONE;
	before = a->sent;
	assert_int_equal(limit(a, b, 1, WIRE_DONE), 0);
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[1], &m,
				   0),
			 -EACCES);
	m.type = WIRE_MOVE;
	m.move.to = m.move.from = a->addr[0];
	m.move.parts = 1;
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[1], &m,
				   0),
			 -EACCES);
	assert_int_equal(a->sent, before);
	assert_int_equal(host_counter(a, COUNTER_TX_UNPAID), 2);
	/* b speaks from its new address (to one that is valid). */
	m.type = WIRE_DONE;
	assert_int_equal(peer_send(q, n->now_ms, &b->addr[1], &a->addr[0], &m,
				   100),
			 0);
	net_run(n, 6);
	assert_true(addr_equal(&a->rx.remote.addr, &b->addr[1]));
	assert_int_equal(a->rx.len, 100);
	assert_int_equal(limit(a, b, 1, WIRE_DONE), 100);
	/* Not more bytes, in however many datagrams; from any address. */
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[1], &m,
				   90),
			 0);
	assert_int_equal(limit(a, b, 1, WIRE_DONE), 10);
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[1], &m,
				   0),
			 -EACCES);
	/* What came once is not owed for ever, nor without bound. */
	for (int i = 0; i < 100; i++)
		peer_send(q, n->now_ms, &b->addr[1], &a->addr[0], &m, 0);
	net_run(n, 6);
	assert_int_equal(account_room(a->table, n->now_ms, &b->addr[1]),
			 WIRE_PAYLOAD_MAX);
	assert_int_equal(a->table->accounts->credit, PEER_CREDIT_MAX);
	net_run(n, PEER_VALID_MS);
	assert_int_equal(limit(a, b, 1, WIRE_DONE), 0);
	/* It answers a challenge: now it may hear anything. */
	assert_int_equal(meet_again(b, a, 0), 0);
	m.type = WIRE_DONE;
	peer_send(q, n->now_ms, &b->addr[1], &a->addr[0], &m, 100);
	net_run(n, 6);
	assert_int_equal(meet_again(a, b, 1), 0);
	assert_int_equal(limit(a, b, 1, WIRE_DONE), WIRE_PAYLOAD_MAX);
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[1], &m,
				   WIRE_PAYLOAD_MAX),
			 0);
	net_free(n);
}

/* It proved itself once: for a minute. Then we may begin, in small steps. */
static void test_validity_ends(void **state)
{
	struct net *n = net_new(4);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct wire_message m;
	unsigned int sent = 0;
	uint64_t bytes;
	struct peer *p;

	(void)state;
	net_meet(a, b);
	a->answers = false;
	p = host_knows(a, b);
	assert_int_equal(limit(a, b, 0, WIRE_FLOWS), WIRE_PAYLOAD_MAX);
	net_run(n, PEER_VALID_MS);
	assert_int_equal(limit(a, b, 0, WIRE_FLOWS), 0);
	assert_int_equal(limit(a, b, 0, WIRE_MOVE), PEER_OWN_SIZE);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOW_END;
	m.flow_end.n = 1;
	m.flow_end.flow_id[0] = 1;
	/* Nobody is there any more. */
	n->down = true;
	bytes = a->sent_bytes;
	for (int i = 0; i < 1000; i++)
		sent += peer_send(p, n->now_ms, &a->addr[0], &b->addr[0], &m,
				  PEER_OWN_SIZE) == 0;
	/* and PROBE, once */
	assert_int_equal(sent, PEER_OWN_BURST - 1);
	assert_true(a->sent_bytes - bytes <= PEER_OWN_BURST * PEER_OWN_SIZE);
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[0], &m,
				   PEER_OWN_SIZE + 1),
			 -EACCES);
	net_run(n, 10 * PEER_OWN_REFILL_MS);
	bytes = a->sent_bytes - bytes;
	assert_true(bytes <= (PEER_OWN_BURST + 10) * PEER_OWN_SIZE);
	/* It is: what was refused is asked for by a challenge. */
	n->down = false;
	net_run(n, 100000);
	a->path_ok = 0;
	m.type = WIRE_DONE;
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[0], &m,
				   0),
			 -EACCES);
	net_run(n, 11);
	assert_int_equal(a->path_ok, 1);
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[0], &m,
				   WIRE_PAYLOAD_MAX),
			 0);
	net_free(n);
}

/* A peer that speaks in the name of another's address has us ask there, at once
 * or by a timer, for its own sake or for want of room for the rest of an
 * exchange: which leaves some of what may be said to its owner. */
static void asked_leaves_some(bool answering, uint8_t type)
{
	struct net *n = net_new(4);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct host *c = net_add(n, "10.0.0.3");
	struct endpoint from = { a->addr[0], 1021 }, to = { b->addr[0], 1021 };
	struct wire_message m;
	unsigned int sent = 0;
	int ret;

	net_meet(a, b);
	net_meet(a, c);
	net_run(n, PEER_VALID_MS);
	n->down = true;
	assert_non_null(path_obtain(host_knows(a, c), &from, &to));
	for (int i = 0; i < 100; i++) {
		memset(&m, 0, sizeof(m));
		m.type = type;
		if (type == WIRE_FLOW_END)
			m.flow_end.n = 1;
		ret = -EACCES;
		a->table->answering = answering;
		if (type == WIRE_PROBE)
			peer_validate_path(host_knows(a, c), n->now_ms,
					   &from.addr, &to.addr);
		else
			ret = peer_send(host_knows(a, c), n->now_ms,
					&from.addr, &to.addr, &m, 0);
		/* It was said, or not paid for. */
		assert_true(ret == -EACCES || (ret == 0 && !answering &&
					       type == WIRE_FLOW_END));
		a->table->answering = false;
		net_run(n, PEER_PTO_UNKNOWN_MS);
	}
	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOW_END;
	m.flow_end.n = 1;
	m.flow_end.flow_id[0] = 1;
	for (int i = 0; i < 100; i++)
		sent += peer_send(host_knows(a, b), n->now_ms, &from.addr,
				  &to.addr, &m, PEER_OWN_SIZE) == 0;
	/* and PROBE, once */
	assert_in_range(sent, PEER_OWN_RESERVE - 1, PEER_OWN_RESERVE);
	net_free(n);
}

static void test_asked_leaves_some(void **state)
{
	(void)state;
	for (int answering = 0; answering < 2; answering++) {
		asked_leaves_some(answering, WIRE_PROBE);
		asked_leaves_some(answering, WIRE_DONE);
		asked_leaves_some(answering, WIRE_FLOW_END);
	}
}

/* Many addresses of one key: none gets more, and they are bounded. */
static void test_accounts_bounded(void **state)
{
	struct net *n = net_new(4);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct endpoint to = { a->addr[0], 1021 };
	struct wire_message m;
	struct peer *q;

	(void)state;
	net_meet(a, b);
	q = host_knows(b, a);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_DONE;
	for (uint32_t i = 0; i < PEER_ACCOUNTS_MAX + 100; i++) {
		struct endpoint from = {
			addr_from_in4(htonl(0x0a010000u + i)), 1021
		};

		assert_int_equal(session_send(q->session[0], n->now_ms,
					      STANDING_VALID, &from, &to, &m,
					      0),
				 0);
		if (i % 1000 == 0)
			net_run(n, 6);
	}
	net_run(n, 6);
	assert_int_equal(HASH_COUNT(a->table->accounts), PEER_ACCOUNTS_MAX);
	net_free(n);
}

static void test_proved(void **state)
{
	struct net *n = net_new(5);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct endpoint local = { a->addr[0], 1021 };
	struct endpoint remote = { net_addr("10.0.0.9"), 1021 };
	struct peer *p;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	a->path_ok = 0;
	peer_path_proved(p, n->now_ms, &local, &remote);
	assert_int_equal(a->path_ok, 1);
	assert_true(peer_remote_validated_ms(p, &remote.addr) == n->now_ms);
	assert_ptr_equal(peer_find_addr(a->table, &remote.addr), p);
	/* Our own address goes: what the peer proved stays proved. */
	peer_table_local_gone(a->table, &a->addr[0]);
	assert_int_equal(p->n_paths, 0);
	a->addr[a->n_addrs++] = net_addr("10.0.0.11");
	assert_true(peer_send_limit(p, n->now_ms, &a->addr[1], &b->addr[0],
				    WIRE_DONE) == WIRE_PAYLOAD_MAX);
	assert_in_range(peer_pto_ms(p, &a->addr[1], &b->addr[0]), 20, 40);
	net_free(n);
}

static void test_paths_bounded(void **state)
{
	struct net *n = net_new(6);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct wire_message m;
	struct peer_path path;
	struct peer *p, *q;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	q = host_knows(b, a);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_DONE;
	for (uint32_t i = 0; i < 100; i++) {
		struct addr from = addr_from_in4(htonl(0x0a010000u + i));

		peer_send(q, n->now_ms, &from, &a->addr[0], &m, 0);
		net_run(n, 10);
	}
	assert_int_equal(p->n_paths, PEER_PATHS_MAX);
	/* Addresses that were only claimed push out none that was proved. */
	assert_true(peer_path_find(p, &a->addr[0], &b->addr[0], &path));
	assert_true(path.validated_ms > 0);
	net_free(n);
}

/* Who names many flows of one address makes us send it one PROBE. */
static void test_probe_once(void **state)
{
	struct net *n = net_new(6);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer *p;
	uint64_t before;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	before = a->sent;
	n->down = true;
	for (int i = 0; i < 20; i++)
		assert_int_equal(peer_validate_path(p, n->now_ms, &a->addr[0],
						    &b->addr[0]),
				 i ? -EALREADY : 0);
	assert_int_equal(a->sent, before + 1);
	/* But it starts over. */
	net_run(n, 5000);
	before = a->sent;
	peer_validate_path(p, n->now_ms, &a->addr[0], &b->addr[0]);
	assert_int_equal(a->sent, before + 1);
	net_free(n);
}

/* ---- messages --------------------------------------------------------- */

static void test_bye(void **state)
{
	struct net *n = net_new(7);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");

	(void)state;
	net_meet(a, b);
	peer_table_bye(a->table, n->now_ms, REASON_ENDED);
	net_run(n, 100);
	assert_int_equal(b->downs, 1);
	assert_int_equal(b->down_why, REASON_ENDED);
	assert_false(peer_has_session(host_knows(b, a)));
	assert_int_equal(host_say(b, a, 1), -ENOTCONN);
	assert_true(peer_remote_validated_ms(host_knows(b, a), &a->addr[0]) ==
		    0);
	assert_int_equal(a->downs, 0);
	/* The record stays, and a new session is a first one. */
	net_meet(b, a);
	assert_int_equal(b->firsts, 2);
	net_free(n);
}

/* Not to what was said to be gone, though that was validated last (I5). */
static void test_bye_elsewhere(void **state)
{
	struct net *n = net_new(7);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	const struct datagram *bye;

	(void)state;
	b->addr[b->n_addrs++] = net_addr("10.0.0.3");
	net_meet(a, b);
	peer_initiate(a->table, n->now_ms, &a->addr[0], &b->addr[1], 0);
	net_run(n, 1000);
	assert_true(peer_remote_validated_ms(host_knows(a, b), &b->addr[1]) >
		    peer_remote_validated_ms(host_knows(a, b), &b->addr[0]));
	a->gone = b->addr[1];
	n->n_keep = 0;
	peer_table_bye(a->table, n->now_ms, REASON_ENDED);
	assert_int_equal(n->n_keep, 1);
	bye = &n->keep[0];
	assert_true(addr_equal(&bye->dst.addr, &b->addr[0]));
	/* Where nothing is left there is silence. */
	net_meet(a, b);
	a->gone = b->addr[0];
	n->n_keep = 0;
	peer_table_bye(a->table, n->now_ms, REASON_ENDED);
	assert_int_equal(n->n_keep, 0);
	net_free(n);
}

/* b stops, starts again and has a new session before its BYE is there. */
static void test_bye_late(void **state)
{
	struct net *n = net_new(7);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct datagram bye;

	(void)state;
	net_meet(a, b);
	n->n_keep = 0;
	n->down = true;
	peer_table_bye(b->table, n->now_ms, REASON_ENDED);
	assert_int_equal(n->n_keep, 1);
	bye = n->keep[0];
	n->down = false;
	host_start(b, 100);
	assert_int_equal(host_call(b, a, 0), 0);
	net_run(n, 500);
	assert_int_equal(a->ups, 2);
	net_inject(n, &bye);
	assert_int_equal(a->downs, 0);
	assert_true(peer_has_session(host_knows(a, b)));
	assert_int_equal(a->counters.value[COUNTER_RX_STALE], 1);
	assert_int_equal(host_say(a, b, 1), 0);
	net_free(n);
}

static void test_too_large(void **state)
{
	struct net *n = net_new(8);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct wire_message m;
	struct peer *p;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_DONE;
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[0], &m,
				   WIRE_PAYLOAD_MAX),
			 0);
	assert_int_equal(a->sent_len, WIRE_PAYLOAD_MAX);
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[0], &m,
				   WIRE_PAYLOAD_MAX + 1),
			 -EMSGSIZE);
	m.type = WIRE_INIT;
	assert_int_equal(peer_send(p, n->now_ms, &a->addr[0], &b->addr[0], &m,
				   0),
			 -EINVAL);
	net_free(n);
}

/* With flows it is in no list from which records are evicted. */
static void test_heard_with_flows(void **state)
{
	struct net *n = net_new(16);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer *p;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	peer_flows_inc(p);
	assert_true(TAILQ_EMPTY(&a->table->idle));
	host_say(b, a, 1);
	net_run(n, 100);
	assert_int_equal(a->messages, 1);
	assert_true(TAILQ_EMPTY(&a->table->idle));
	peer_flows_dec(p);
	assert_ptr_equal(TAILQ_FIRST(&a->table->idle), p);
	net_free(n);
}

/* ---- records ---------------------------------------------------------- */

/* A stranger with a fresh key at 11.0.0.i calls a. */
static void stranger_calls(struct net *n, struct host *a, uint32_t i)
{
	struct host *s = &n->host[1];
	uint8_t key[CRYPTO_KEY_SIZE];

	random_fill(&n->random, key, sizeof(key));
	crypto_keypair_from_private(&s->key, key);
	s->addr[0] = addr_from_in4(htonl(0x0b000000u + i));
	host_start(s, 10);
	host_call(s, a, 0);
	net_run(n, 1000);
}

static void test_eviction(void **state)
{
	struct net *n = net_new(9);
	struct host *a = net_add(n, "10.0.0.1"), *b;
	uint8_t configured[CRYPTO_KEY_SIZE];
	static const uint8_t secret[CRYPTO_KEY_SIZE] = { 7 };
	struct crypto_keypair expected;
	struct peer *kept, *busy;

	(void)state;
	host_start(a, 5);
	b = net_add(n, "11.0.0.0");
	stranger_calls(n, a, 0);
	busy = host_knows(a, b);
	assert_non_null(busy);
	peer_flows_inc(busy);
	stranger_calls(n, a, 1);
	kept = host_knows(a, b);
	memcpy(configured, b->key.public_key, sizeof(configured));
	a->configured[1] = configured;
	peer_table_policy_changed(a->table, n->now_ms);
	for (uint32_t i = 2; i < 40; i++) {
		stranger_calls(n, a, i);
		assert_true(peer_table_count(a->table) <= 5 + 1);
		assert_non_null(host_knows(a, b));
	}
	assert_ptr_equal(peer_find_key(a->table, configured), kept);
	assert_int_equal(a->forgotten, 34);
	assert_int_equal(peer_flows(busy), 1);
	assert_true(peer_has_session(busy));
	/* All have flows: nobody new, and nobody goes. */
	for (struct peer *p = peer_next(a->table, NULL); p;
	     p = peer_next(a->table, p))
		if (peer_flows(p) == 0)
			peer_flows_inc(p);
	stranger_calls(n, a, 41);
	assert_null(host_knows(a, b));
	assert_int_equal(a->why, REASON_LIMIT);
	assert_int_equal(a->counters.refused[REASON_LIMIT], 1);
	assert_int_equal(a->forgotten, 34);
	/* But one whose key is configured. */
	crypto_keypair_from_private(&expected, secret);
	a->configured[0] = expected.public_key;
	peer_table_policy_changed(a->table, n->now_ms);
	assert_non_null(peer_restore(a->table, expected.public_key, 1021));
	assert_int_equal(a->forgotten, 34);
	/* The first that loses its flows makes room. */
	peer_flows_dec(busy);
	stranger_calls(n, a, 42);
	assert_non_null(host_knows(a, b));
	assert_int_equal(a->forgotten, 35);
	net_free(n);
}

static void test_forget(void **state)
{
	struct net *n = net_new(10);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");

	(void)state;
	net_meet(a, b);
	peer_forget(host_knows(a, b), n->now_ms);
	assert_int_equal(a->downs, 1);
	assert_int_equal(a->forgotten, 1);
	assert_int_equal(peer_table_count(a->table), 0);
	assert_null(peer_find_addr(a->table, &b->addr[0]));
	/* What is still on its way for it finds nothing. */
	host_say(b, a, 1);
	net_run(n, 100);
	assert_int_equal(host_counter(a, COUNTER_RX_UNKNOWN_INDEX), 1);
	net_free(n);
}

/* Another key at an address is another peer; the last one is found. */
static void test_address_handed_on(void **state)
{
	struct net *n = net_new(11);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct peer *old, *fresh;
	uint8_t key[CRYPTO_KEY_SIZE];

	(void)state;
	net_meet(a, b);
	old = host_knows(a, b);
	peer_flows_inc(old);
	random_fill(&n->random, key, sizeof(key));
	crypto_keypair_from_private(&b->key, key);
	host_start(b, 10);
	net_meet(b, a);
	fresh = host_knows(a, b);
	assert_ptr_not_equal(fresh, old);
	assert_int_equal(peer_table_count(a->table), 2);
	assert_true(peer_has_session(old));
	assert_int_equal(peer_flows(old), 1);
	assert_ptr_equal(peer_find_addr(a->table, &b->addr[0]), fresh);
	net_free(n);
}

/* Another key at the address of that host, by a port of its own. */
static struct peer *becomes(struct host *a, struct host *b, uint16_t port)
{
	uint8_t key[CRYPTO_KEY_SIZE];

	random_fill(&b->net->random, key, sizeof(key));
	crypto_keypair_from_private(&b->key, key);
	b->port = port;
	host_start(b, 10);
	net_meet(b, a);
	return host_knows(a, b);
}

/* Each of them has a turn, whichever was seen last; and where one leaves for
 * elsewhere the others are still found. */
static void test_turns_at_an_address(void **state)
{
	struct net *n = net_new(11);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	const struct addr at = b->addr[0];
	unsigned int keys, had[3];
	struct peer *p[3];

	(void)state;
	assert_null(peer_turn_at(a->table, &at, 7, &keys));
	for (int i = 0; i < 3; i++)
		p[i] = becomes(a, b, (uint16_t)(1021 - i));
	for (uint32_t from = 0; from < 5; from++) {
		memset(had, 0, sizeof(had));
		for (uint32_t nth = from; nth < from + 3; nth++)
			for (int i = 0; i < 3; i++)
				had[i] += peer_turn_at(a->table, &at, nth,
						       &keys) == p[i];
		assert_int_equal(keys, 3);
		assert_true(had[0] == 1 && had[1] == 1 && had[2] == 1);
	}
	/* So many other addresses that it is forgotten to be there. */
	for (uint32_t i = 0; i < PEER_PIN_ADDRS_MAX; i++) {
		struct addr other = addr_from_in4(htonl(0x0b000000u + i));

		peer_seen_at(p[2], n->now_ms, &other, true);
	}
	assert_ptr_equal(peer_find_addr(a->table, &at), p[1]);
	peer_forget(p[1], n->now_ms);
	assert_ptr_equal(peer_find_addr(a->table, &at), p[0]);
	assert_ptr_equal(peer_turn_at(a->table, &at, 5, &keys), p[0]);
	peer_forget(p[0], n->now_ms);
	assert_null(peer_find_addr(a->table, &at));
	net_free(n);
}

static uint16_t port_called(const struct net *n)
{
	assert_in_range(n->n_keep, 1, NET_KEEP - 1);
	return n->keep[n->n_keep - 1].dst.port;
}

/* Who speaks from another port of an address keeps nobody from being called at
 * that of all: the configured key, another one, or who was there before. */
static void test_ports_of_an_address(void **state)
{
	unsigned int there = 0, elsewhere = 0;
	struct net *n = net_new(12);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	const uint8_t key[CRYPTO_KEY_SIZE] = { 1 };

	(void)state;
	(void)becomes(a, b, 1020);
	net_run(n, 20000);
	n->down = true;
	assert_int_equal(host_call(a, b, PEER_OTHERS), 0);
	assert_int_equal(port_called(n), 1021);
	net_run(n, 20000);
	a->configured[0] = key;
	a->conf_addr = b->addr[0];
	assert_int_equal(host_call(a, b, 0), 0);
	assert_int_equal(port_called(n), 1021);
	a->configured[0] = NULL;
	memset(&a->conf_addr, 0, sizeof(a->conf_addr));
	for (int i = 0; i < 20; i++) {
		net_run(n, 2 * PEER_BACKOFF_MAX_MS);
		assert_int_equal(host_call(a, b, 0), 0);
		there += port_called(n) == 1021;
		elsewhere += port_called(n) == 1020;
	}
	assert_int_equal(there + elsewhere, 20);
	assert_in_range(there, 1, 19);
	/* One that is met there is whom all the others have to ask. */
	n->down = false;
	net_run(n, 2 * PEER_BACKOFF_MAX_MS);
	(void)becomes(a, b, 1021);
	net_run(n, 20000);
	assert_int_equal(host_call(a, b, PEER_OTHERS), -EALREADY);
	net_free(n);
}

/* ---- pins ------------------------------------------------------------- */

/* Whatever it says, if it is the peer. */
static void test_last_seen(void **state)
{
	struct net *n = net_new(21);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct wire_message m = { .type = WIRE_FLOW_END };
	struct peer *p, *q;
	int64_t met_s;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	q = host_knows(b, a);
	met_s = peer_last_seen_s(p);
	net_run(n, 60000);
	assert_int_equal(peer_last_seen_s(p), met_s);
	assert_int_equal(peer_send(q, n->now_ms, &b->addr[0], &a->addr[0], &m,
				   0), 0);
	net_run(n, 1000);
	assert_true(peer_last_seen_s(p) >= met_s + 60);
	assert_int_equal(peer_first_seen_s(p), met_s);
	net_free(n);
}

static void test_pins(void **state)
{
	struct net *n = net_new(12);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	char text[4096], again[4096];
	struct addr addrs[PEER_PIN_ADDRS_MAX];
	struct peer *p;
	long len;

	(void)state;
	net_meet(a, b);
	second_pair(a, b);
	peer_initiate(a->table, n->now_ms, &a->addr[1], &b->addr[1], 0);
	net_run(n, 1000);
	assert_int_equal(a->pins, 2);
	len = peer_pins_save(a->table, text, sizeof(text));
	assert_true(len > 0);
	assert_int_equal(strlen(text), len);
	assert_true((size_t)len < peer_pins_size(a->table));
	host_start(a, 10);
	assert_int_equal(peer_pins_load(a->table, text, (size_t)len), 0);
	p = host_knows(a, b);
	assert_non_null(p);
	assert_int_equal(peer_pin_addrs(p, addrs), 2);
	assert_true(addr_equal(&addrs[0], &b->addr[1]));
	assert_true(addr_equal(&addrs[1], &b->addr[0]));
	assert_int_equal(peer_first_seen_s(p), 1700000001);
	assert_false(peer_has_session(p));
	assert_ptr_equal(peer_find_addr(a->table, &b->addr[0]), p);
	/* It grants nothing: not even a probe without a session. */
	assert_true(peer_remote_validated_ms(p, &b->addr[0]) == 0);
	assert_int_equal(peer_validate_path(p, n->now_ms, &a->addr[0],
					    &b->addr[0]),
			 -ENOTCONN);
	assert_int_equal(peer_pins_save(a->table, again, sizeof(again)), len);
	assert_string_equal(text, again);
	/* It gives mac1, with which a silent host is reached. */
	b->answers = false;
	net_meet(a, b);
	for (size_t size = 0; size <= (size_t)len; size++)
		assert_int_equal(peer_pins_save(a->table, again, size),
				 -ENOSPC);
	net_free(n);
}

static void test_pins_text(void **state)
{
	static const char good[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
	static const char *const bad[] = {
		"AAEC 1 2",
		"%s",
		"%s 1",
		"%s x 2",
		"%s 1 -2",
		"%s 1 2x",
		"%s 1 99999999999999999999",
		"%s 1 2 10.0.0.256",
		"%s 1 2 ::1%%lo",
		"%s 1 2 ::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8 ::9",
	};
	struct net *n = net_new(13);
	struct host *a = net_add(n, "10.0.0.1");
	char text[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof(text), bad[i], good);
#pragma GCC diagnostic pop
		assert_int_equal(peer_pins_load(a->table, text, strlen(text)),
				 1);
	}
	memset(text, ' ', sizeof(text));
	assert_int_equal(peer_pins_load(a->table, text, sizeof(text)), 1);
	assert_int_equal(peer_pins_load(a->table, "\0\n", 2), 1);
	assert_int_equal(peer_table_count(a->table), 0);
	snprintf(text, sizeof(text),
		 "# comment\n\n  \n%s 1 2 10.0.0.5\r\njunk\n", good);
	assert_int_equal(peer_pins_load(a->table, text, strlen(text)), 1);
	assert_int_equal(peer_table_count(a->table), 1);
	/* A full table takes no more. */
	host_start(a, 1);
	snprintf(text, sizeof(text), "%s 1 2\nB%s 1 2\n", good, good + 1);
	assert_int_equal(peer_pins_load(a->table, text, strlen(text)),
			 -ENOSPC);
	assert_int_equal(peer_table_count(a->table), 1);
	net_free(n);
}

static void test_pins_many_addresses(void **state)
{
	struct net *n = net_new(14);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct endpoint local = { a->addr[0], 1021 };
	struct addr addrs[PEER_PIN_ADDRS_MAX];
	struct peer *p;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	for (uint32_t i = 0; i < 100; i++) {
		struct endpoint remote = {
			addr_from_in4(htonl(0x0a020000u + i)), 1021
		};

		peer_path_proved(p, n->now_ms, &local, &remote);
	}
	assert_int_equal(peer_pin_addrs(p, addrs), PEER_PIN_ADDRS_MAX);
	assert_int_equal(HASH_COUNT(a->table->places), PEER_PIN_ADDRS_MAX);
	assert_null(peer_find_addr(a->table, &b->addr[0]));
	net_free(n);
}

#define STRANGERS_ATTEMPTS (PEER_ATTEMPTS_MAX / 4 * 3)
#define ATTEMPTS_SHARE (PEER_ATTEMPTS_MAX / 16)

/* Who has a /64 connects from each of its addresses, and others from as many
 * networks; a known peer is asked all the same. */
static void test_attempts_shared(void **state)
{
	struct net *n = net_new(16);
	struct host *a = net_add(n, "10.0.0.1"), *b = net_add(n, "10.0.0.2");
	struct addr own = net_addr("2001:db8::1");
	struct addr to = net_addr("2001:db8:1::");
	struct peer *p;
	uint32_t i;

	(void)state;
	net_meet(a, b);
	p = host_knows(a, b);
	n->down = true;
	for (i = 0; i < ATTEMPTS_SHARE + 3; i++) {
		to.byte[15] = (uint8_t)i;
		assert_int_equal(peer_initiate(a->table, n->now_ms, &own, &to,
					       0),
				 i < ATTEMPTS_SHARE ? 0 : -ENOBUFS);
	}
	to = net_addr("2001:db8:2::");
	for (; i < 2 * PEER_ATTEMPTS_MAX; i++) {
		to.byte[6] = (uint8_t)(i >> 8);
		to.byte[7] = (uint8_t)i;
		(void)peer_initiate(a->table, n->now_ms, &own, &to, 0);
	}
	assert_int_equal(HASH_CNT(by_pair, a->table->attempts),
			 STRANGERS_ATTEMPTS);
	/* The peer has its share, at whatever address, less what has the same
	 * hash. */
	for (i = 0; i < 2 * ATTEMPTS_SHARE; i++) {
		to = addr_from_in4(htonl(0x0b000000u + i));
		if (peer_rehandshake(p, n->now_ms, &a->addr[0], &to))
			break;
	}
	assert_in_range(i, ATTEMPTS_SHARE - 3, ATTEMPTS_SHARE);
	n->down = false;
	net_run(n, 120000);
	for (i = 0; i < PEER_SOURCES; i++)
		assert_int_equal(a->table->attempts_of[i], 0);
	net_free(n);
}

static struct peer *obtain(struct host *h, uint32_t key, const char *from)
{
	uint8_t bytes[CRYPTO_KEY_SIZE] = { 1 };
	struct addr at = net_addr(from);
	struct peer *p;

	memcpy(bytes + 1, &key, sizeof(key));
	p = peer_obtain(h->table, bytes, &at);
	if (p)
		peer_seen_at(p, h->net->now_ms, &at, true);
	return p;
}

/* As many keys as there is room for, each with a flow, from one network. */
static void test_records_shared(void **state)
{
	struct net *n = net_new(17);
	struct host *a = net_add(n, "10.0.0.1");
	struct peer *idle, *p;
	uint32_t key;

	(void)state;
	host_start(a, 160);
	idle = obtain(a, 1000, "10.9.9.9");
	assert_non_null(idle);
	for (key = 0; key < 119; key++) {
		p = obtain(a, key, "2001:db8::1");
		assert_non_null(p);
		peer_flows_inc(p);
	}
	/* The last quarter is for others, each source up to a share. */
	assert_null(obtain(a, key, "2001:db8::2"));
	for (uint32_t i = 0; i < 10; i++) {
		p = obtain(a, 2000 + i, "2001:db8:0:1::1");
		assert_non_null(p);
		peer_flows_inc(p);
	}
	assert_null(obtain(a, 2010, "2001:db8:0:1::2"));
	/* Who is past its share pushes out his own, and nobody else's. */
	p = obtain(a, 0, "2001:db8::1");
	peer_flows_dec(p);
	assert_non_null(obtain(a, 3000, "2001:db8::3"));
	assert_non_null(peer_find_key(a->table, peer_key(idle)));
	assert_int_equal(peer_table_count(a->table), 130);
	/* Who has none takes the place of one that is idle, as before. */
	for (uint32_t i = 0; i < 40; i++) {
		char from[32];

		snprintf(from, sizeof(from), "10.2.0.%u", i);
		assert_non_null(obtain(a, 4000 + i, from));
	}
	assert_int_equal(peer_table_count(a->table), 160);
	net_free(n);
}

static void test_arguments(void **state)
{
	struct net *n = net_new(15);
	struct host *a = net_add(n, "10.0.0.1");
	struct peer_config config = { .key = a->key, .port = 1021 };
	struct addr to, oldest;
	struct peer_table *t;

	(void)state;
	assert_int_equal(peer_table_new(&t, &host_ops, a, &config,
					&a->counters),
			 -EINVAL);
	config.peers_max = PEER_MAX + 1;
	assert_int_equal(peer_table_new(&t, &host_ops, a, &config,
					&a->counters),
			 -EINVAL);
	config.peers_max = PEER_MAX;
	config.port = 0;
	assert_int_equal(peer_table_new(&t, &host_ops, a, &config,
					&a->counters),
			 -EINVAL);
	/* More attempts than may be under way, and more backoffs. */
	n->down = true;
	for (uint32_t i = 0; i < STRANGERS_ATTEMPTS + 10; i++) {
		to = addr_from_in4(htonl(0x0b000000u + i));

		assert_int_equal(peer_initiate(a->table, n->now_ms,
					       &a->addr[0], &to, 0),
				 i < STRANGERS_ATTEMPTS ? 0 : -ENOBUFS);
	}
	net_run(n, 10000);
	assert_int_equal(a->failed, STRANGERS_ATTEMPTS);
	oldest = TAILQ_FIRST(&a->table->backoff_list)->addr;
	for (uint32_t i = STRANGERS_ATTEMPTS; i < PEER_BACKOFFS_MAX; i++) {
		struct backoff *more = calloc(1, sizeof(*more));

		assert_non_null(more);
		more->addr = addr_from_in4(htonl(0x0c000000u + i));
		HASH_ADD(hh, a->table->backoffs, addr, sizeof(more->addr),
			 more);
		TAILQ_INSERT_TAIL(&a->table->backoff_list, more, entry);
	}
	to = net_addr("10.0.0.9");
	assert_int_equal(peer_initiate(a->table, n->now_ms, &a->addr[0], &to,
				       0),
			 0);
	assert_true(peer_retry_ms(a->table, &to) > n->now_ms);
	assert_true(peer_retry_ms(a->table, &oldest) == 0);
	assert_int_equal(HASH_COUNT(a->table->backoffs), PEER_BACKOFFS_MAX);
	net_free(n);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_validate),
		cmocka_unit_test(test_validate_lossy),
		cmocka_unit_test(test_validate_dead),
		cmocka_unit_test(test_validate_unsent),
		cmocka_unit_test(test_probe_ack_forged),
		cmocka_unit_test(test_unvalidated),
		cmocka_unit_test(test_validity_ends),
		cmocka_unit_test(test_asked_leaves_some),
		cmocka_unit_test(test_accounts_bounded),
		cmocka_unit_test(test_proved),
		cmocka_unit_test(test_paths_bounded),
		cmocka_unit_test(test_probe_once),
		cmocka_unit_test(test_bye),
		cmocka_unit_test(test_bye_elsewhere),
		cmocka_unit_test(test_bye_late),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_heard_with_flows),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_address_handed_on),
		cmocka_unit_test(test_turns_at_an_address),
		cmocka_unit_test(test_ports_of_an_address),
		cmocka_unit_test(test_last_seen),
		cmocka_unit_test(test_pins),
		cmocka_unit_test(test_pins_text),
		cmocka_unit_test(test_pins_many_addresses),
		cmocka_unit_test(test_attempts_shared),
		cmocka_unit_test(test_records_shared),
		cmocka_unit_test(test_arguments),
	};

	if (crypto_init() < 0)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
