/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rewrite: a rewritten packet must equal, byte by byte, the packet that is
 * built for the new endpoints; and rewritten back, the first one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "packet.h"
#include "pkt.h"
#include "rewrite.h"

#define SEED 1624
#define MORE_FRAGMENTS 0x2000

static uint8_t before[PACKET_MAX], packet[PACKET_MAX], want[PACKET_MAX];

static struct rewrite_target random_target(uint64_t *r, uint8_t family)
{
	return (struct rewrite_target){
		.src = packet_random_endpoint(r, family),
		.dst = packet_random_endpoint(r, family),
	};
}

static struct packet_spec moved(const struct packet_spec *s,
				const struct rewrite_target *to)
{
	struct packet_spec m = *s;

	m.src = to->src;
	m.dst = to->dst;
	return m;
}

static void check_there_and_back(const struct packet_spec *s,
				 const struct rewrite_target *to)
{
	const struct rewrite_target back = { .src = s->src, .dst = s->dst };
	struct packet_spec there = moved(s, to);
	uint32_t len = packet_build(s, packet);
	enum pkt_result sound;
	struct pkt p, again;

	memcpy(before, packet, len);
	packet_build(&there, want);
	sound = pkt_parse(packet, len, &p);
	assert_true(sound == PKT_OK || sound == PKT_FIRST_FRAGMENT);
	assert_int_equal(rewrite_packet(&p, packet, to, CSUM_READY), 0);
	assert_memory_equal(packet, want, len);
	assert_int_equal(pkt_parse(packet, len, &again), sound);
	assert_memory_equal(&p, &again, sizeof(p));
	assert_int_equal(rewrite_packet(&p, packet, &back, CSUM_READY), 0);
	assert_memory_equal(packet, before, len);
}

static void rewrites_there_and_back(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (int i = 0; i < 50000; i++) {
		struct packet_spec s = packet_random(&r, 200);
		struct rewrite_target to = random_target(&r, s.family);

		check_there_and_back(&s, &to);
	}
}

static void rewrites_super_packets(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct packet_spec s = packet_random(&r, 0);
		struct rewrite_target to = random_target(&r, s.family);

		s.trailer = 0;
		s.payload = PACKET_MAX - packet_len(&s) -
			    (uint32_t)random_below(&r, 3);
		check_there_and_back(&s, &to);
	}
}

/* The checksum of a fragment covers what is in the others. */
static void rewrites_first_fragments(void **state)
{
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct packet_spec s = packet_random(&r, 200);
		struct rewrite_target to = random_target(&r, s.family);
		uint32_t len;

		s.trailer = 0;
		s.fragment = MORE_FRAGMENTS;
		if (s.family == 6)
			s.ext[s.exts++] = IPPROTO_FRAGMENT;
		check_there_and_back(&s, &to);

		len = packet_build(&s, packet);
		memcpy(before, packet, len);
		assert_int_equal(pkt_parse(packet, len, &p),
				 PKT_FIRST_FRAGMENT);
		assert_int_equal(rewrite_packet(&p, packet, &to,
						CSUM_NOT_READY), -EINVAL);
		assert_memory_equal(packet, before, len);
	}
}

static void sums_what_is_not_ready(void **state)
{
	static const enum csum_state csum[] = { CSUM_NOT_READY, CSUM_GSO_OUT };
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct packet_spec s = packet_random(
			&r, i % 100 ? 200 : 60000), there;
		struct rewrite_target to = random_target(&r, s.family);
		enum csum_state how = csum[random_below(&r, 2)];
		uint32_t len;

		s.check = PACKET_CHECK_PARTIAL;
		there = moved(&s, &to);
		/* TCP super-packets stay as the kernel knows them. */
		if (how == CSUM_NOT_READY || s.proto == IPPROTO_UDP)
			there.check = PACKET_CHECK_WHOLE;
		len = packet_build(&s, packet);
		packet_build(&there, want);
		assert_int_equal(pkt_parse(packet, len, &p), PKT_OK);
		assert_int_equal(rewrite_packet(&p, packet, &to, how), 0);
		assert_memory_equal(packet, want, len);
	}
}

/* Searches payloads until the sum is what a checksum of 0 stands for. */
static void sends_no_udp_checksum_of_zero(void **state)
{
	uint64_t r = SEED;
	int updated = 0, summed = 0;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 4000; i++) {
		struct packet_spec s = packet_random(&r, 8);
		struct rewrite_target to = random_target(&r, s.family);
		struct packet_spec there;
		uint32_t len, at;

		s.proto = IPPROTO_UDP;
		s.check = PACKET_CHECK_WHOLE;
		s.trailer = 0;
		s.payload = 8;
		there = moved(&s, &to);
		len = packet_build(&there, want);
		at = packet_l3_len(&s) + 6;
		/* The destination port absorbs the rest of the sum. */
		there.dst.port = to.dst.port =
			(uint16_t)packet_sum((uint16_t)(want[at] << 8 |
							want[at + 1]),
					     want + at - 4, 2);
		packet_build(&there, want);
		if (want[at] != 0xff || want[at + 1] != 0xff)
			continue;
		packet_build(&s, packet);
		assert_int_equal(pkt_parse(packet, len, &p), PKT_OK);
		assert_int_equal(rewrite_packet(&p, packet, &to, CSUM_READY),
				 0);
		assert_memory_equal(packet, want, len);
		updated++;
		s.check = PACKET_CHECK_PARTIAL;
		packet_build(&s, packet);
		assert_int_equal(pkt_parse(packet, len, &p), PKT_OK);
		assert_int_equal(rewrite_packet(&p, packet, &to,
						CSUM_NOT_READY), 0);
		assert_memory_equal(packet, want, len);
		summed++;
	}
	assert_true(updated > 1000);
	assert_true(summed > 1000);
}

static void refuses_what_has_no_ports(void **state)
{
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct packet_spec s = packet_random(&r, 50);
		struct rewrite_target to = random_target(&r, s.family);
		struct rewrite_target other = random_target(
			&r, s.family == 4 ? 6 : 4);
		struct rewrite_target mixed = { to.src, other.dst };
		uint32_t len;

		s.trailer = 0;
		len = packet_build(&s, packet);
		memcpy(before, packet, len);
		assert_int_equal(pkt_parse(packet, len, &p), PKT_OK);
		assert_int_equal(rewrite_packet(&p, packet, &other,
						CSUM_READY), -EINVAL);
		assert_int_equal(rewrite_packet(&p, packet, &mixed,
						CSUM_READY), -EINVAL);
		assert_int_equal(rewrite_icmp_quote(&p, packet, &to,
						    CSUM_READY), -EINVAL);
		assert_memory_equal(packet, before, len);

		s.fragment = 3;
		if (s.family == 6)
			s.ext[s.exts++] = IPPROTO_FRAGMENT;
		len = packet_build(&s, packet);
		memcpy(before, packet, len);
		assert_int_equal(pkt_parse(packet, len, &p),
				 PKT_LATER_FRAGMENT);
		assert_int_equal(rewrite_packet(&p, packet, &to, CSUM_READY),
				 -EINVAL);
		assert_memory_equal(packet, before, len);
	}
}

/* Every cut that leaves the ports; the outer header must not change. */
static void check_quote(uint64_t *r, const struct packet_spec *s, uint32_t cut)
{
	static uint8_t quote[PACKET_MAX], there_quote[PACKET_MAX];
	const uint32_t check_off = packet_l3_len(s) +
				   (s->proto == IPPROTO_TCP ? 16 : 6);
	const struct rewrite_target back = { .src = s->src, .dst = s->dst };
	struct rewrite_target to = random_target(r, s->family);
	struct packet_spec outer = packet_random(r, 0);
	struct packet_spec there = moved(s, &to);
	uint8_t type = s->family == 4 ? 11 : 3;
	uint32_t len;
	struct pkt p;

	outer.family = s->family;
	outer.src = packet_random_endpoint(r, s->family);
	outer.dst = packet_random_endpoint(r, s->family);
	outer.trailer = 0;
	packet_build(s, quote);
	packet_build(&there, there_quote);
	if (cut == check_off + 1) /* half a checksum is nobody's */
		there_quote[check_off] = quote[check_off];
	packet_build_icmp(&outer, type, there_quote, cut, want);
	len = packet_build_icmp(&outer, type, quote, cut, packet);
	memcpy(before, packet, len);

	assert_int_equal(pkt_parse(packet, len, &p), PKT_ICMP_ERROR);
	assert_int_equal(rewrite_icmp_quote(&p, packet, &to, CSUM_READY), 0);
	assert_memory_equal(packet, want, len);
	assert_true(endpoint_equal(&p.quote.src, &to.src));
	assert_true(endpoint_equal(&p.quote.dst, &to.dst));
	assert_int_equal(rewrite_icmp_quote(&p, packet, &back, CSUM_READY), 0);
	assert_memory_equal(packet, before, len);

	/* Summed anew, whatever stood there. */
	memset(packet + p.l4_off + 2, 0x5a, 2);
	assert_int_equal(rewrite_icmp_quote(&p, packet, &to, CSUM_NOT_READY),
			 0);
	assert_memory_equal(packet, want, len);
}

static void rewrites_quotes_cut_at_every_length(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (int i = 0; i < 400; i++) {
		struct packet_spec s = packet_random(&r, 40);
		uint32_t cut = packet_l3_len(&s) + 8;

		for (; cut <= packet_len(&s); cut++)
			check_quote(&r, &s, cut);
	}
}

/* A router that answers with a wrong header checksum in the quote, or with a
 * wrong checksum of its own: the errors stay the same size. */
static void repairs_no_checksum(void **state)
{
	struct packet_spec s, outer;
	uint64_t r = SEED;
	uint8_t quote[512];
	struct pkt p;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct rewrite_target to;
		uint16_t sum_before, sum_after;
		uint32_t len;

		s = packet_random(&r, 40);
		outer = packet_random(&r, 0);
		outer.family = s.family;
		outer.src = packet_random_endpoint(&r, s.family);
		outer.dst = packet_random_endpoint(&r, s.family);
		outer.trailer = 0;
		to = random_target(&r, s.family);
		len = packet_build(&s, quote);
		if (s.family == 4)
			random_fill(&r, quote + 10, 2);
		len = packet_build_icmp(&outer, 3, quote, len, packet);
		random_fill(&r, packet + packet_l3_len(&outer) + 2, 2);
		assert_int_equal(pkt_parse(packet, len, &p), PKT_ICMP_ERROR);
		sum_before = packet_sum(0, packet + p.l4_off, len - p.l4_off);
		assert_int_equal(rewrite_icmp_quote(&p, packet, &to,
						    CSUM_READY), 0);
		sum_after = packet_sum(0, packet + p.l4_off, len - p.l4_off);
		assert_int_equal(sum_before, sum_after);
	}
}

static void makes_targets_by_direction(void **state)
{
	uint64_t r = SEED;
	struct tuple t = {
		.local = packet_random_endpoint(&r, 4),
		.remote = packet_random_endpoint(&r, 4),
		.proto = IPPROTO_TCP,
	};
	struct rewrite_target out = rewrite_target_out(&t);
	struct rewrite_target in = rewrite_target_in(&t);

	(void)state;
	assert_true(endpoint_equal(&out.src, &t.local));
	assert_true(endpoint_equal(&out.dst, &t.remote));
	assert_true(endpoint_equal(&in.src, &t.remote));
	assert_true(endpoint_equal(&in.dst, &t.local));
}

/* A time stamp behind `nops` bytes of no-operation; the rest is its end. */
static uint32_t stamped(const struct packet_spec *s, uint32_t nops,
			uint32_t echo, uint8_t *to)
{
	uint32_t len = packet_build(s, to), at = nops;
	uint8_t *l4 = to + packet_l3_len(s), *opt = l4 + 20;

	memset(opt, 1, 4u * s->tcp_words);
	opt[at++] = 8;
	opt[at++] = 10;
	packet_put(opt + at, 0x01020304, 4);
	packet_put(opt + at + 4, echo, 4);
	memset(opt + at + 8, 0, 4u * s->tcp_words - at - 8);
	packet_fill_check(s, l4, packet_l4_len(s), 16);
	return len;
}

static void forgets_the_echo_alone(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (uint32_t i = 0; i < 2000; i++) {
		struct packet_spec s = packet_random(&r, 200);
		uint32_t len;
		struct pkt p;

		s.proto = IPPROTO_TCP;
		s.fragment = 0;
		s.exts = 0;
		s.trailer = 0;
		s.tcp_words = (uint8_t)(3 + i % 8);
		s.check = PACKET_CHECK_WHOLE;
		len = stamped(&s, i % (4u * s.tcp_words - 9), (uint32_t)r,
			      packet);
		stamped(&s, i % (4u * s.tcp_words - 9), 0, want);
		assert_int_equal(pkt_parse(packet, len, &p), PKT_OK);
		rewrite_forget_echo(&p, packet, CSUM_READY);
		assert_memory_equal(packet, want, len);
	}
}

/* Options that end too early, or say that they do. */
static void finds_no_echo_where_there_is_none(void **state)
{
	static const uint8_t bad[][4] = {
		{ 8, 10, 1, 2 }, { 8, 0, 0, 0 }, { 1, 1, 1, 8 },
		{ 0, 8, 10, 1 }, { 5, 255, 8, 10 }, { 5, 1, 8, 10 },
	};
	uint64_t r = SEED;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct packet_spec s = packet_random(&r, 0);
		uint32_t len;
		struct pkt p;

		s.proto = IPPROTO_TCP;
		s.fragment = 0;
		s.exts = 0;
		s.trailer = 0;
		s.tcp_words = 1;
		s.payload = 0;
		len = packet_build(&s, packet);
		memcpy(packet + len - 4, bad[i], 4);
		memcpy(want, packet, len);
		assert_int_equal(pkt_parse(packet, len, &p), PKT_OK);
		rewrite_forget_echo(&p, packet, CSUM_READY);
		assert_memory_equal(packet, want, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rewrites_there_and_back),
		cmocka_unit_test(rewrites_super_packets),
		cmocka_unit_test(rewrites_first_fragments),
		cmocka_unit_test(sums_what_is_not_ready),
		cmocka_unit_test(sends_no_udp_checksum_of_zero),
		cmocka_unit_test(refuses_what_has_no_ports),
		cmocka_unit_test(rewrites_quotes_cut_at_every_length),
		cmocka_unit_test(repairs_no_checksum),
		cmocka_unit_test(makes_targets_by_direction),
		cmocka_unit_test(forgets_the_echo_alone),
		cmocka_unit_test(finds_no_echo_where_there_is_none),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
