/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nonce: what is built is found again, is a right packet, and says for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "nonce.h"
#include "packet.h"
#include "pkt.h"

static const uint8_t key[NONCE_KEY_SIZE] = { 1, 2, 3 };
static const struct nonce_about about = {
	.way = NONCE_FROM_MOVER, .track = 7, .seq = 3, .flow_id = 0x1122334455,
};

static struct tuple tuple_of(uint8_t proto, bool v6)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	assert_int_equal(addr_parse(v6 ? "fd00::2" : "10.0.0.2",
				    &t.local.addr), 0);
	assert_int_equal(addr_parse(v6 ? "fd00::9" : "10.0.0.9",
				    &t.remote.addr), 0);
	t.local.port = 40000;
	t.remote.port = 22;
	t.proto = proto;
	return t;
}

static struct nonce_numbers some_numbers(bool stamped)
{
	return (struct nonce_numbers){
		.seq = 0xfedcba98, .ack = 0x01020304, .window = 502,
		.stamped = stamped, .tsval = stamped ? 0xa0b0c0d0 : 0,
		.tsecr = stamped ? 77 : 0,
	};
}

/* As a receiver without a hardware of its own would. */
static void check_sum(const struct pkt *p, const uint8_t *buf)
{
	uint32_t len = p->len - p->l4_off;
	uint16_t sum = packet_pseudo(&p->src.addr, &p->dst.addr, p->proto,
				     len);

	assert_int_equal(packet_sum(sum, buf + p->l4_off, len), 0xffff);
}

static void what_is_built_is_found(void **state)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		const bool stamped = i & 4;
		struct tuple t = tuple_of(protos[i & 1], i & 2), is;
		struct nonce_numbers n = some_numbers(stamped), found;
		uint8_t mac[NONCE_MAC_SIZE], buf[NONCE_PACKET_MAX];
		const uint8_t *at;
		struct pkt p;
		int len;

		nonce_mac(key, &about, &n, mac);
		len = nonce_build(&t, &n, mac, buf, sizeof(buf));
		assert_true(len > 0);
		assert_int_equal(pkt_parse(buf, (size_t)len, &p), PKT_OK);
		assert_int_equal(p.len, len);
		is = pkt_tuple_out(&p);
		assert_true(tuple_equal(&is, &t));
		check_sum(&p, buf);
		at = nonce_find(&p, buf);
		assert_non_null(at);
		assert_memory_equal(at, mac, sizeof(mac));
		if (t.proto == IPPROTO_UDP)
			continue;
		assert_int_equal(p.tcp_flags, PKT_TCP_ACK);
		assert_int_equal(p.payload_len, 0);
		nonce_read_numbers(buf + p.l4_off, p.payload_off - p.l4_off,
				   &found);
		assert_int_equal(found.seq, n.seq);
		assert_int_equal(found.ack, n.ack);
		assert_int_equal(found.window, n.window);
		assert_int_equal(found.stamped, n.stamped);
		assert_int_equal(found.tsval, n.tsval);
		assert_int_equal(found.tsecr, n.tsecr);
	}
}

static uint32_t word_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static void the_kernel_looks_where_it_is(void **state)
{
	static const uint8_t mac[NONCE_MAC_SIZE];
	struct nonce_numbers n = some_numbers(true);
	struct tuple tcp = tuple_of(IPPROTO_TCP, false);
	struct tuple udp = tuple_of(IPPROTO_UDP, false);
	uint8_t buf[NONCE_PACKET_MAX];

	(void)state;
	assert_true(nonce_build(&tcp, &n, mac, buf, sizeof(buf)) > 0);
	assert_int_equal(word_at(buf + 20 + NONCE_TCP_OFFSET), NONCE_TCP_HEAD);
	assert_true(nonce_build(&udp, NULL, mac, buf, sizeof(buf)) > 0);
	assert_int_equal(word_at(buf + 20 + NONCE_UDP_OFFSET), NONCE_UDP_HEAD);
}

static void every_field_changes_the_mac(void **state)
{
	const struct nonce_about others[] = {
		{ NONCE_FROM_PEER, 7, 3, 0x1122334455 },
		{ NONCE_FROM_MOVER, 8, 3, 0x1122334455 },
		{ NONCE_FROM_MOVER, 7, 4, 0x1122334455 },
		{ NONCE_FROM_MOVER, 7, 3, 0x1122334456 },
	};
	const struct nonce_numbers n = some_numbers(true);
	struct nonce_numbers changed[] = { n, n, n, n };
	uint8_t other_key[NONCE_KEY_SIZE] = { 1, 2, 4 };
	uint8_t first[NONCE_MAC_SIZE], mac[NONCE_MAC_SIZE];

	(void)state;
	nonce_mac(key, &about, &n, first);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		nonce_mac(key, &others[i], &n, mac);
		assert_memory_not_equal(mac, first, sizeof(mac));
	}
	changed[0].seq++;
	changed[1].ack++;
	changed[2].tsval++;
	changed[3].tsecr++;
	for (size_t i = 0; i < 4; i++) {
		nonce_mac(key, &about, &changed[i], mac);
		assert_memory_not_equal(mac, first, sizeof(mac));
	}
	nonce_mac(other_key, &about, &n, mac);
	assert_memory_not_equal(mac, first, sizeof(mac));
	nonce_mac(key, &about, &n, mac);
	assert_memory_equal(mac, first, sizeof(mac));
}

/* What is said in one session is nothing in another. */
static void either_key_changes_tag_and_answer(void **state)
{
	static const uint8_t fresh[NONCE_MAC_SIZE] = { 1, 2, 3 };
	const struct nonce_ends ends[] = {
		{ { 1 }, { 2 } },
		{ { 1 }, { 3 } },
		{ { 3 }, { 2 } },
		{ { 2 }, { 1 } },
	};
	uint8_t first[NONCE_MAC_SIZE], tag[NONCE_MAC_SIZE];
	uint8_t first_answer[NONCE_ANSWER_SIZE], answer[NONCE_ANSWER_SIZE];

	(void)state;
	nonce_tag(&ends[0], fresh, first);
	nonce_answer(&ends[0], fresh, first_answer);
	assert_memory_not_equal(first, first_answer, sizeof(first_answer));
	for (size_t i = 1; i < sizeof(ends) / sizeof(*ends); i++) {
		nonce_tag(&ends[i], fresh, tag);
		assert_memory_not_equal(tag, first, sizeof(tag));
		nonce_answer(&ends[i], fresh, answer);
		assert_memory_not_equal(answer, first_answer, sizeof(answer));
	}
}

/* With one byte of the head another, or with data, it is the flow's own. */
static void nothing_else_is_one(void **state)
{
	static const uint8_t mac[NONCE_MAC_SIZE];
	const struct nonce_numbers n = some_numbers(true);

	(void)state;
	for (unsigned int proto = 0; proto < 2; proto++) {
		struct tuple t = tuple_of(proto ? IPPROTO_UDP : IPPROTO_TCP,
					  false);
		const size_t head = 20 + (proto ? 8 : 20);
		uint8_t buf[NONCE_PACKET_MAX];
		struct pkt p;
		int len = nonce_build(&t, &n, mac, buf, sizeof(buf));

		assert_true(len > 0);
		for (size_t i = 0; i < (proto ? 8u : 6u); i++) {
			buf[head + i] ^= 1;
			assert_int_equal(pkt_parse(buf, (size_t)len, &p),
					 PKT_OK);
			assert_null(nonce_find(&p, buf));
			buf[head + i] ^= 1;
		}
		assert_int_equal(pkt_parse(buf, (size_t)len, &p), PKT_OK);
		assert_non_null(nonce_find(&p, buf));
		p.payload_len++;
		assert_null(nonce_find(&p, buf));
		p.payload_len--;
		p.fragment = true;
		assert_null(nonce_find(&p, buf));
		p.fragment = false;
		p.tcp_flags |= PKT_TCP_RST;
		if (!proto)
			assert_null(nonce_find(&p, buf));
	}
}

/* Boxes on a path change it as they like. */
static void the_window_is_no_part_of_it(void **state)
{
	struct nonce_numbers n = some_numbers(true);
	uint8_t first[NONCE_MAC_SIZE], mac[NONCE_MAC_SIZE];

	(void)state;
	nonce_mac(key, &about, &n, first);
	n.window++;
	nonce_mac(key, &about, &n, mac);
	assert_memory_equal(mac, first, sizeof(mac));
}

static void a_broken_option_ends_the_search(void **state)
{
	uint8_t tcp[32] = { [20] = 8, [21] = 1, [22] = 8, [23] = 10 };
	struct nonce_numbers n;

	(void)state;
	nonce_read_numbers(tcp, sizeof(tcp), &n);
	assert_false(n.stamped);
	tcp[20] = tcp[21] = 1;
	nonce_read_numbers(tcp, sizeof(tcp), &n);
	assert_true(n.stamped);
	nonce_read_numbers(tcp, 28, &n); /* cut within the option */
	assert_false(n.stamped);
}

static void bad_calls_are_refused(void **state)
{
	static const uint8_t mac[NONCE_MAC_SIZE];
	const struct nonce_numbers n = some_numbers(false);
	struct tuple t = tuple_of(IPPROTO_ICMP, false);
	uint8_t buf[NONCE_PACKET_MAX];

	(void)state;
	assert_int_equal(nonce_build(&t, &n, mac, buf, sizeof(buf)), -EINVAL);
	t.proto = IPPROTO_TCP;
	assert_int_equal(nonce_build(&t, &n, mac, buf, sizeof(buf) - 1),
			 -EMSGSIZE);
	t.remote = tuple_of(IPPROTO_TCP, true).remote;
	assert_int_equal(nonce_build(&t, &n, mac, buf, sizeof(buf)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_built_is_found),
		cmocka_unit_test(the_kernel_looks_where_it_is),
		cmocka_unit_test(every_field_changes_the_mac),
		cmocka_unit_test(either_key_changes_tag_and_answer),
		cmocka_unit_test(the_window_is_no_part_of_it),
		cmocka_unit_test(nothing_else_is_one),
		cmocka_unit_test(a_broken_option_ends_the_search),
		cmocka_unit_test(bad_calls_are_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
