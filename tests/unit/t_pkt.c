/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pkt: what is found in packets, whole, cut, fragmented and malformed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "packet.h"
#include "pkt.h"

#define SEED 791
#define MORE_FRAGMENTS 0x2000

static uint8_t packet[PACKET_MAX];

/* From a copy of exactly that length: a sanitizer sees the first byte too
 * many. */
static enum pkt_result parse(const uint8_t *data, size_t len, struct pkt *p)
{
	uint8_t *exact = malloc(len ? len : 1);
	enum pkt_result result;

	assert_non_null(exact);
	memcpy(exact, data, len);
	result = pkt_parse(exact, len, p);
	free(exact);
	return result;
}

static uint32_t get_be32(const uint8_t *p)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 8 | p[i];
	return v;
}

static void check_fields(const struct packet_spec *s, const struct pkt *p)
{
	uint32_t header = s->proto == IPPROTO_TCP ? 20u + 4u * s->tcp_words : 8;
	const uint8_t *l4 = packet + packet_l3_len(s);

	assert_int_equal(p->family, s->family);
	assert_int_equal(p->proto, s->proto);
	assert_true(endpoint_equal(&p->src, &s->src));
	assert_true(endpoint_equal(&p->dst, &s->dst));
	assert_int_equal(p->len, packet_len(s));
	assert_int_equal(p->l4_off, packet_l3_len(s));
	assert_int_equal(p->payload_off, p->l4_off + header);
	assert_int_equal(p->payload_len, s->payload);
	if (s->proto != IPPROTO_TCP) {
		assert_int_equal(p->tcp_flags, 0);
		return;
	}
	assert_int_equal(p->tcp_flags, s->flags);
	assert_int_equal(p->tcp_seq, get_be32(l4 + 4));
	assert_int_equal(p->tcp_ack, get_be32(l4 + 8));
}

static void finds_everything_in_whole_packets(void **state)
{
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct packet_spec s = packet_random(&r, 200);
		uint32_t len = packet_build(&s, packet);

		assert_int_equal(parse(packet, len, &p), PKT_OK);
		assert_false(p.fragment);
		check_fields(&s, &p);
	}
}

static void takes_super_packets(void **state)
{
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct packet_spec s = packet_random(&r, 0);

		s.trailer = 0;
		s.payload = PACKET_MAX - packet_len(&s);
		assert_int_equal(packet_build(&s, packet), PACKET_MAX);
		assert_int_equal(parse(packet, PACKET_MAX, &p), PKT_OK);
		check_fields(&s, &p);
	}
}

static void refuses_every_cut(void **state)
{
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct packet_spec s = packet_random(&r, 40);
		uint32_t len = packet_build(&s, packet);

		for (uint32_t cut = 0; cut < len; cut++) {
			enum pkt_result result = parse(packet, cut, &p);

			assert_true(result == PKT_SHORT ||
				    result == PKT_LENGTH);
		}
	}
}

static void ignores_what_follows_the_packet(void **state)
{
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct packet_spec s = packet_random(&r, 40);
		uint32_t len = packet_build(&s, packet);

		assert_int_equal(parse(packet, len + 7, &p), PKT_OK);
		check_fields(&s, &p);
	}
}

static struct packet_spec plain(uint8_t family, uint8_t proto)
{
	uint64_t r = SEED;
	struct packet_spec s = {
		.family = family,
		.proto = proto,
		.src = packet_random_endpoint(&r, family),
		.dst = packet_random_endpoint(&r, family),
		.ext_len = 8,
		.payload = 64,
		.seed = SEED,
	};

	return s;
}

/* A TCP packet of `family` with one byte changed. */
static enum pkt_result parse_changed(uint8_t family, uint8_t proto, size_t at,
				     uint8_t value)
{
	struct packet_spec s = plain(family, proto);
	uint32_t len = packet_build(&s, packet);
	struct pkt p;

	packet[at] = value;
	return parse(packet, len, &p);
}

static void refuses_what_contradicts_itself(void **state)
{
	(void)state;
	/* version */
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 0, 0x55), PKT_VERSION);
	assert_int_equal(parse_changed(6, IPPROTO_TCP, 0, 0x00), PKT_VERSION);
	/* IPv4 header of 16 bytes, of 60 where the TCP header then ends */
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 0, 0x44), PKT_LENGTH);
	/* total length below the header, above the buffer */
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 3, 19), PKT_LENGTH);
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 3, 105), PKT_LENGTH);
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 2, 0xff), PKT_LENGTH);
	/* room for half a TCP header */
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 3, 39), PKT_SHORT);
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 3, 20), PKT_SHORT);
	/* IPv6 payload length above the buffer; none at all (jumbogram) */
	assert_int_equal(parse_changed(6, IPPROTO_TCP, 5, 85), PKT_LENGTH);
	assert_int_equal(parse_changed(6, IPPROTO_TCP, 4, 0xff), PKT_LENGTH);
	assert_int_equal(parse_changed(6, IPPROTO_TCP, 5, 0), PKT_SHORT);
	/* TCP header of 16 bytes, of 60; of 60 that is longer than the rest */
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 32, 0x40), PKT_LENGTH);
	assert_int_equal(parse_changed(4, IPPROTO_TCP, 32, 0xf0), PKT_OK);
	assert_int_equal(parse_changed(6, IPPROTO_TCP, 52, 0x40), PKT_LENGTH);
	/* UDP length below its header, above the packet, short of it */
	assert_int_equal(parse_changed(4, IPPROTO_UDP, 25, 7), PKT_LENGTH);
	assert_int_equal(parse_changed(4, IPPROTO_UDP, 25, 73), PKT_LENGTH);
	assert_int_equal(parse_changed(4, IPPROTO_UDP, 25, 71), PKT_OK);
	assert_int_equal(parse_changed(6, IPPROTO_UDP, 45, 0), PKT_LENGTH);
}

static void leaves_other_protocols_alone(void **state)
{
	static const uint8_t proto[] = { 0x29, 50, 51, 59, 132, 255 };
	struct pkt p;

	(void)state;
	for (size_t i = 0; i < sizeof(proto); i++) {
		for (int family = 4; family <= 6; family += 2) {
			struct packet_spec s = plain((uint8_t)family, proto[i]);
			uint32_t len = packet_build(&s, packet);

			assert_int_equal(parse(packet, len, &p), PKT_OTHER);
			assert_int_equal(p.proto, proto[i]);
			assert_true(addr_equal(&p.src.addr, &s.src.addr));
			assert_int_equal(p.src.port, 0);
		}
	}
}

static void reports_fragments(void **state)
{
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct packet_spec s = packet_random(&r, 100);
		uint32_t len;

		s.trailer = 0;
		if (s.family == 6)
			s.ext[s.exts++] = IPPROTO_FRAGMENT;
		s.fragment = MORE_FRAGMENTS;
		len = packet_build(&s, packet);
		assert_int_equal(parse(packet, len, &p), PKT_FIRST_FRAGMENT);
		assert_true(p.fragment);
		check_fields(&s, &p);

		s.fragment = (uint16_t)(1 + random_below(&r, 0x1fff));
		if (random_below(&r, 2))
			s.fragment |= MORE_FRAGMENTS;
		len = packet_build(&s, packet);
		assert_int_equal(parse(packet, len, &p), PKT_LATER_FRAGMENT);
		assert_true(p.fragment);
		assert_int_equal(p.src.port, 0);
		assert_int_equal(p.dst.port, 0);
		assert_int_equal(p.payload_off, 0);
		assert_int_equal(p.proto, s.proto);
		assert_true(addr_equal(&p.dst.addr, &s.dst.addr));

		s.fragment = 0; /* IPv6: an atomic fragment is whole */
		len = packet_build(&s, packet);
		assert_int_equal(parse(packet, len, &p), PKT_OK);
		assert_false(p.fragment);
	}
}

/* The UDP length of a first fragment is that of the whole datagram. */
static void takes_the_udp_length_of_a_first_fragment(void **state)
{
	struct packet_spec s = plain(4, IPPROTO_UDP);
	struct pkt p;

	(void)state;
	s.fragment = MORE_FRAGMENTS;
	packet_build(&s, packet);
	packet_put(packet + 24, 4000, 2);
	assert_int_equal(parse(packet, packet_len(&s), &p),
			 PKT_FIRST_FRAGMENT);
	assert_int_equal(p.payload_len, s.payload);
}

static void bounds_the_extension_chain(void **state)
{
	struct packet_spec s = plain(6, IPPROTO_TCP);
	struct pkt p;
	uint32_t len;

	(void)state;
	memset(s.ext, IPPROTO_DSTOPTS, sizeof(s.ext));
	s.exts = PKT_EXTENSIONS_MAX;
	len = packet_build(&s, packet);
	assert_int_equal(parse(packet, len, &p), PKT_OK);
	/* One more: the TCP header read as one that ends in TCP. */
	packet[40 + 7 * 8] = IPPROTO_DSTOPTS;
	assert_int_equal(parse(packet, len, &p), PKT_EXTENSIONS);

	/* One that is longer than the packet. */
	s.exts = 1;
	len = packet_build(&s, packet);
	packet[41] = 255;
	assert_int_equal(parse(packet, len, &p), PKT_SHORT);

	/* A fragment of a first fragment. */
	s.exts = 2;
	s.ext[0] = s.ext[1] = IPPROTO_FRAGMENT;
	s.fragment = MORE_FRAGMENTS;
	len = packet_build(&s, packet);
	assert_int_equal(parse(packet, len, &p), PKT_EXTENSIONS);
}

static void refuses_a_route_that_is_not_at_its_end(void **state)
{
	struct packet_spec s = plain(6, IPPROTO_UDP);
	struct pkt p;
	uint32_t len;

	(void)state;
	s.exts = 1;
	s.ext[0] = IPPROTO_ROUTING;
	len = packet_build(&s, packet);
	assert_int_equal(parse(packet, len, &p), PKT_OK);
	packet[43] = 1;
	assert_int_equal(parse(packet, len, &p), PKT_ROUTING);
}

/* What a quote must hold for its ports to be known. */
static uint32_t quote_min(const struct packet_spec *s)
{
	return packet_l3_len(s) + 8;
}

static void finds_quotes_cut_at_every_length(void **state)
{
	static uint8_t quote[PACKET_MAX];
	uint64_t r = SEED;
	struct pkt p;

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct packet_spec s = packet_random(&r, 40);
		struct packet_spec outer = plain(s.family, 0);
		uint32_t whole = packet_build(&s, quote), len;
		uint8_t type = s.family == 4 ? 3 : 1;

		for (uint32_t cut = 0; cut <= whole; cut++) {
			len = packet_build_icmp(&outer, type, quote, cut,
						packet);
			if (cut < quote_min(&s)) {
				assert_int_equal(parse(packet, len, &p),
						 PKT_OTHER);
				assert_int_equal(p.quote.l4_off, 0);
				continue;
			}
			assert_int_equal(parse(packet, len, &p),
					 PKT_ICMP_ERROR);
			assert_true(endpoint_equal(&p.quote.src, &s.src));
			assert_true(endpoint_equal(&p.quote.dst, &s.dst));
			assert_int_equal(p.quote.proto, s.proto);
			assert_int_equal(p.quote.l3_off, p.l4_off + 8);
			assert_int_equal(p.quote.l4_off,
					 p.l4_off + 8 + packet_l3_len(&s));
			assert_int_equal(p.quote.end, len);
			assert_int_equal(p.icmp_type, type);
			assert_true(addr_equal(&p.src.addr, &outer.src.addr));
		}
	}
}

static void knows_errors_from_other_icmp(void **state)
{
	struct packet_spec inner4 = plain(4, IPPROTO_TCP);
	struct packet_spec inner6 = plain(6, IPPROTO_TCP);
	uint8_t quote4[256], quote6[256];
	uint32_t len4 = packet_build(&inner4, quote4);
	uint32_t len6 = packet_build(&inner6, quote6);
	struct pkt p;

	(void)state;
	for (int type = 0; type < 256; type++) {
		struct packet_spec outer4 = plain(4, 0), outer6 = plain(6, 0);
		bool error4 = type == 3 || type == 4 || type == 11 ||
			      type == 12;
		bool error6 = type >= 1 && type <= 4;
		uint32_t len;

		len = packet_build_icmp(&outer4, (uint8_t)type, quote4, len4,
					packet);
		assert_int_equal(parse(packet, len, &p),
				 error4 ? PKT_ICMP_ERROR : PKT_OTHER);
		len = packet_build_icmp(&outer6, (uint8_t)type, quote6, len6,
					packet);
		assert_int_equal(parse(packet, len, &p),
				 error6 ? PKT_ICMP_ERROR : PKT_OTHER);
		/* A quote of the other family is nobody's. */
		len = packet_build_icmp(&outer4, 3, quote6, len6, packet);
		assert_int_equal(parse(packet, len, &p), PKT_OTHER);
	}
}

static void takes_no_ports_from_foreign_quotes(void **state)
{
	struct packet_spec s = plain(4, IPPROTO_TCP), outer = plain(4, 0);
	uint8_t quote[256];
	uint32_t cut, len;
	struct pkt p;

	(void)state;
	s.fragment = 7; /* a later fragment */
	cut = packet_build(&s, quote);
	len = packet_build_icmp(&outer, 3, quote, cut, packet);
	assert_int_equal(parse(packet, len, &p), PKT_OTHER);

	s = plain(4, IPPROTO_ICMP);
	cut = packet_build(&s, quote);
	len = packet_build_icmp(&outer, 3, quote, cut, packet);
	assert_int_equal(parse(packet, len, &p), PKT_OTHER);

	/* ICMPv6 over IPv4 and the reverse. */
	s = plain(4, IPPROTO_ICMPV6);
	len = packet_build(&s, packet);
	packet[20] = 3;
	assert_int_equal(parse(packet, len, &p), PKT_OTHER);
	assert_int_equal(p.icmp_type, 0);
}

/* Some routers quote the length in the wrong byte order or after changes:
 * it only ends the quote where it can be right. */
static void bears_a_wrong_length_in_a_quote(void **state)
{
	struct packet_spec s = plain(4, IPPROTO_UDP), outer = plain(4, 0);
	uint8_t quote[256];
	uint32_t cut = packet_build(&s, quote), len;
	struct pkt p;

	(void)state;
	for (uint32_t said = 0; said < 200; said++) {
		packet_put(quote + 2, said, 2);
		len = packet_build_icmp(&outer, 3, quote, cut, packet);
		assert_int_equal(parse(packet, len, &p), PKT_ICMP_ERROR);
		assert_int_equal(p.quote.end, said >= 28 && said < cut ?
					 p.quote.l3_off + said : len);
	}
}

static void makes_tuples_by_direction(void **state)
{
	struct packet_spec s = plain(4, IPPROTO_TCP), outer = plain(4, 0);
	uint8_t quote[256];
	struct tuple t;
	struct pkt p;
	uint32_t len;

	(void)state;
	len = packet_build(&s, packet);
	assert_int_equal(parse(packet, len, &p), PKT_OK);
	t = pkt_tuple_out(&p);
	assert_true(endpoint_equal(&t.local, &s.src));
	assert_true(endpoint_equal(&t.remote, &s.dst));
	assert_int_equal(t.proto, IPPROTO_TCP);
	t = pkt_tuple_in(&p);
	assert_true(endpoint_equal(&t.local, &s.dst));
	assert_true(endpoint_equal(&t.remote, &s.src));

	len = packet_build_icmp(&outer, 3, quote,
				packet_build(&s, quote), packet);
	assert_int_equal(parse(packet, len, &p), PKT_ICMP_ERROR);
	t = pkt_tuple_quoted(&p);
	assert_true(endpoint_equal(&t.local, &s.src));
	assert_true(endpoint_equal(&t.remote, &s.dst));
	assert_int_equal(t.proto, IPPROTO_TCP);
}

/* A tuple is a hash key: its padding must not be what the stack held. */
static void leaves_no_stray_byte_in_tuples(void **state)
{
	struct packet_spec s = plain(6, IPPROTO_UDP);
	uint32_t len = packet_build(&s, packet);
	struct tuple t, want;
	struct pkt p;

	(void)state;
	memset(&want, 0, sizeof(want));
	want.local = s.src;
	want.remote = s.dst;
	want.proto = IPPROTO_UDP;
	memset(&p, 0xa5, sizeof(p));
	assert_int_equal(pkt_parse(packet, len, &p), PKT_OK);
	t = pkt_tuple_out(&p);
	assert_memory_equal(&t, &want, sizeof(t));
}

static void names_every_result(void **state)
{
	(void)state;
	assert_string_equal(pkt_result_name(PKT_OK), "ok");
	assert_string_equal(pkt_result_name(PKT_LATER_FRAGMENT),
			    "later_fragment");
	assert_string_equal(pkt_result_name(PKT_ROUTING), "routing");
	assert_string_equal(pkt_result_name(PKT_RESULT_MAX), "unknown");
}

static void builds_probes_that_are_sound(void **state)
{
	uint64_t r = SEED;
	uint8_t buf[PKT_PROBE_MAX];
	struct pkt p;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint8_t family = i % 2 ? 4 : 6;
		struct tuple t = {
			.local = packet_random_endpoint(&r, family),
			.remote = packet_random_endpoint(&r, family),
			.proto = IPPROTO_TCP,
		};
		bool answers = i % 3;
		int len = pkt_build_tcp_probe(&t, answers, buf, sizeof(buf));

		assert_int_equal(len, family == 4 ? 40 : 60);
		assert_int_equal(parse(buf, (size_t)len, &p), PKT_OK);
		assert_int_equal(p.len, len);
		assert_true(endpoint_equal(&p.src, &t.remote));
		assert_true(endpoint_equal(&p.dst, &t.local));
		assert_int_equal(p.tcp_seq, 0);
		assert_int_equal(p.tcp_ack, 0);
		assert_int_equal(p.tcp_flags, answers ? 0x12 : PKT_TCP_SYN);
		assert_int_equal(buf[family == 4 ? 8 : 7], 255); /* TTL */
		assert_int_equal(p.payload_len, 0);
		/* What is sound sums to all ones, checksum included. */
		if (family == 4)
			assert_int_equal(packet_sum(0, buf, 20), 0xffff);
		assert_int_equal(
			packet_sum(packet_pseudo(&t.remote.addr, &t.local.addr,
						 IPPROTO_TCP, 20),
				   buf + len - 20, 20),
			0xffff);
	}
}

static void check_ack(const struct tuple *t, const struct pkt_ack *a,
		      int header)
{
	int l3_len = t->local.addr.family == 4 ? 20 : 40;
	const uint8_t block[] = { 1, 1, 5, 10, 0x01, 0x02, 0x03, 0x04,
				  0xf1, 0xf2, 0xf3, 0xf4 };
	uint8_t buf[PKT_ACK_MAX], *tcp = buf + l3_len;
	int len = pkt_build_tcp_ack(t, a, buf, sizeof(buf));
	struct pkt p;

	assert_int_equal(len, l3_len + header);
	assert_int_equal(parse(buf, (size_t)len, &p), PKT_OK);
	assert_true(endpoint_equal(&p.src, &t->remote));
	assert_true(endpoint_equal(&p.dst, &t->local));
	assert_int_equal(p.tcp_seq, a->seq);
	assert_int_equal(p.tcp_ack, a->ack);
	assert_int_equal(p.tcp_flags, PKT_TCP_ACK);
	assert_int_equal(p.payload_len, 0);
	assert_int_equal(tcp[14] << 8 | tcp[15], a->window);
	if (header > 20)
		assert_memory_equal(tcp + 20, block, sizeof(block));
	assert_int_equal(
		packet_sum(packet_pseudo(&t->remote.addr, &t->local.addr,
					 IPPROTO_TCP, (uint32_t)header),
			   tcp, (size_t)header),
		0xffff);
	assert_int_equal(pkt_build_tcp_ack(t, a, buf, (size_t)len - 1),
			 -EMSGSIZE);
}

static void builds_acknowledgments_that_are_sound(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint8_t family = i % 2 ? 4 : 6;
		struct tuple t = {
			.local = packet_random_endpoint(&r, family),
			.remote = packet_random_endpoint(&r, family),
			.proto = IPPROTO_TCP,
		};
		struct pkt_ack a = {
			.seq = 0xfffefdfc,
			.ack = 0x01020000 + (uint32_t)i,
			.window = (uint16_t)i,
		};

		check_ack(&t, &a, 20);
		a.start = 0x01020304;
		a.end = 0xf1f2f3f4;
		check_ack(&t, &a, 32);
	}
}

static void builds_no_probe_for_other_flows(void **state)
{
	uint64_t r = SEED;
	uint8_t buf[PKT_PROBE_MAX];
	struct tuple t = {
		.local = packet_random_endpoint(&r, 4),
		.remote = packet_random_endpoint(&r, 4),
		.proto = IPPROTO_UDP,
	};

	(void)state;
	assert_int_equal(pkt_build_tcp_probe(&t, false, buf, sizeof(buf)),
			 -EINVAL);
	t.proto = IPPROTO_TCP;
	assert_int_equal(pkt_build_tcp_probe(&t, false, buf, 39), -EMSGSIZE);
	assert_int_equal(pkt_build_tcp_probe(&t, false, buf, 40), 40);
	t.local = packet_random_endpoint(&r, 6);
	assert_int_equal(pkt_build_tcp_probe(&t, false, buf, sizeof(buf)),
			 -EINVAL);
	memset(&t.local, 0, sizeof(t.local));
	memset(&t.remote, 0, sizeof(t.remote));
	assert_int_equal(pkt_build_tcp_probe(&t, false, buf, sizeof(buf)),
			 -EINVAL);
}

static void builds_errors_that_are_sound(void **state)
{
	uint64_t r = SEED;
	uint8_t buf[PKT_UNREACHABLE_MAX];
	struct pkt p;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint8_t family = i % 2 ? 4 : 6;
		struct tuple t = {
			.local = packet_random_endpoint(&r, family),
			.remote = packet_random_endpoint(&r, family),
			.proto = IPPROTO_TCP,
		};
		uint32_t seq = (uint32_t)random_next(&r);
		size_t l3 = family == 4 ? 20 : 40;
		int len = pkt_build_tcp_unreachable(&t, seq, buf, sizeof(buf));
		struct tuple quoted;

		assert_int_equal(len, family == 4 ? 56 : 96);
		assert_int_equal(parse(buf, (size_t)len, &p), PKT_ICMP_ERROR);
		assert_int_equal(p.len, len);
		assert_int_equal(p.icmp_type, family == 4 ? 3 : 1);
		assert_int_equal(p.icmp_code, 0);
		assert_true(addr_equal(&p.src.addr, &t.remote.addr));
		assert_true(addr_equal(&p.dst.addr, &t.local.addr));
		quoted = pkt_tuple_quoted(&p);
		assert_true(tuple_equal(&quoted, &t));
		assert_int_equal(p.quote.tcp_seq, seq);
		if (family == 4) {
			assert_int_equal(packet_sum(0, buf, 20), 0xffff);
			assert_int_equal(packet_sum(0, buf + 28, 20), 0xffff);
		}
		assert_int_equal(
			packet_sum(family == 4 ? 0 :
				   packet_pseudo(&t.remote.addr,
						 &t.local.addr,
						 IPPROTO_ICMPV6,
						 (uint32_t)len - 40),
				   buf + l3, (size_t)len - l3),
			0xffff);
	}
}

/* The checksum of a TCP or ICMPv6 packet as it would be from that source. */
static uint32_t sum_as_from(const struct addr *src, const struct pkt *p,
			    const uint8_t *buf)
{
	uint32_t len = p->len - p->l4_off;

	return packet_sum(packet_pseudo(src, &p->dst.addr, p->proto, len),
			  buf + p->l4_off, len);
}

static void check_veil(const struct tuple *t, const uint8_t *packet, int len)
{
	const uint32_t add = 4 + (uint32_t)addr_size(&t->remote.addr);
	uint8_t buf[PKT_VEILED_MAX];
	const uint8_t *tcp;
	struct pkt before, p;
	int n;

	assert_int_equal(parse(packet, (size_t)len, &before), PKT_OK);
	n = pkt_veil(packet, (size_t)len, buf, sizeof(buf));
	assert_int_equal(n, (uint32_t)len + add);
	assert_int_equal(pkt_veil(packet, (size_t)len, buf, (size_t)n - 1),
			 -EMSGSIZE);
	assert_int_equal(parse(buf, (size_t)n, &p), PKT_OK);
	assert_true(addr_classify(&p.src.addr) == ADDR_LOOPBACK);
	assert_true(addr_equal(&p.dst.addr, &t->local.addr));
	assert_int_equal(p.src.port, t->remote.port);
	assert_int_equal(p.dst.port, t->local.port);
	assert_int_equal(p.tcp_flags, before.tcp_flags);
	assert_int_equal(p.tcp_seq, before.tcp_seq);
	assert_int_equal(p.tcp_ack, before.tcp_ack);
	assert_int_equal(p.payload_len, 0);
	if (p.family == 4)
		assert_int_equal(packet_sum(0, buf, 20), 0xffff);
	assert_int_equal(sum_as_from(&p.src.addr, &p, buf), 0xffff);
	tcp = buf + p.l4_off;
	assert_memory_equal(tcp + PKT_VEIL_OFFSET,
			    p.family == 4 ? "\xfe\x08SB" : "\xfe\x14SB", 4);
	assert_int_equal(tcp[PKT_VEIL_OFFSET + 1], add);
	assert_memory_equal(tcp + PKT_VEIL_OFFSET + PKT_VEIL_HEAD,
			    t->remote.addr.byte, addr_size(&t->remote.addr));
	assert_memory_equal(tcp + PKT_VEIL_OFFSET + add,
			    packet + before.l4_off + 20,
			    before.payload_off - before.l4_off - 20);
}

static void veils_segments(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint8_t family = i % 2 ? 4 : 6;
		struct tuple t = {
			.local = packet_random_endpoint(&r, family),
			.remote = packet_random_endpoint(&r, family),
			.proto = IPPROTO_TCP,
		};
		struct pkt_ack a = {
			.seq = (uint32_t)random_next(&r),
			.ack = (uint32_t)random_next(&r),
			.window = 1,
			.start = i % 4 < 2 ? 0 : (uint32_t)random_next(&r),
		};
		uint8_t buf[PKT_ACK_MAX];
		int len = pkt_build_tcp_ack(&t, &a, buf, sizeof(buf));

		check_veil(&t, buf, len);
		len = pkt_build_tcp_probe(&t, i % 8 < 4, buf, sizeof(buf));
		check_veil(&t, buf, len);
	}
}

static void veils_errors(void **state)
{
	uint64_t r = SEED;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint8_t family = i % 2 ? 4 : 6;
		struct tuple quoted, t = {
			.local = packet_random_endpoint(&r, family),
			.remote = packet_random_endpoint(&r, family),
			.proto = IPPROTO_TCP,
		};
		uint8_t error[PKT_UNREACHABLE_MAX], buf[PKT_VEILED_MAX];
		int len = pkt_build_tcp_unreachable(&t, 1, error,
						    sizeof(error));
		struct pkt p;

		assert_int_equal(pkt_veil(error, (size_t)len, buf,
					  (size_t)len - 1), -EMSGSIZE);
		assert_int_equal(pkt_veil(error, (size_t)len, buf,
					  sizeof(buf)), len);
		assert_int_equal(parse(buf, (size_t)len, &p), PKT_ICMP_ERROR);
		assert_true(addr_classify(&p.src.addr) == ADDR_LOOPBACK);
		assert_true(addr_equal(&p.dst.addr, &t.local.addr));
		quoted = pkt_tuple_quoted(&p);
		assert_true(tuple_equal(&quoted, &t));
		if (family == 4)
			assert_int_equal(packet_sum(0, buf, 20), 0xffff);
		else
			assert_int_equal(sum_as_from(&p.src.addr, &p, buf),
					 0xffff);
		/* Nothing else is known to be ours. */
		error[family == 4 ? 20 : 40] = family == 4 ? 8 : 128;
		assert_int_equal(pkt_veil(error, (size_t)len, buf,
					  sizeof(buf)), -EINVAL);
	}
}

static void builds_no_error_for_other_flows(void **state)
{
	uint64_t r = SEED;
	uint8_t buf[PKT_UNREACHABLE_MAX];
	struct tuple t = {
		.local = packet_random_endpoint(&r, 6),
		.remote = packet_random_endpoint(&r, 6),
		.proto = IPPROTO_UDP,
	};

	(void)state;
	assert_int_equal(pkt_build_tcp_unreachable(&t, 1, buf, sizeof(buf)),
			 -EINVAL);
	t.proto = IPPROTO_TCP;
	assert_int_equal(pkt_build_tcp_unreachable(&t, 1, buf, 95), -EMSGSIZE);
	assert_int_equal(pkt_build_tcp_unreachable(&t, 1, buf, 96), 96);
	t.remote = packet_random_endpoint(&r, 4);
	assert_int_equal(pkt_build_tcp_unreachable(&t, 1, buf, sizeof(buf)),
			 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_everything_in_whole_packets),
		cmocka_unit_test(takes_super_packets),
		cmocka_unit_test(refuses_every_cut),
		cmocka_unit_test(ignores_what_follows_the_packet),
		cmocka_unit_test(refuses_what_contradicts_itself),
		cmocka_unit_test(leaves_other_protocols_alone),
		cmocka_unit_test(reports_fragments),
		cmocka_unit_test(takes_the_udp_length_of_a_first_fragment),
		cmocka_unit_test(bounds_the_extension_chain),
		cmocka_unit_test(refuses_a_route_that_is_not_at_its_end),
		cmocka_unit_test(finds_quotes_cut_at_every_length),
		cmocka_unit_test(knows_errors_from_other_icmp),
		cmocka_unit_test(takes_no_ports_from_foreign_quotes),
		cmocka_unit_test(bears_a_wrong_length_in_a_quote),
		cmocka_unit_test(makes_tuples_by_direction),
		cmocka_unit_test(leaves_no_stray_byte_in_tuples),
		cmocka_unit_test(names_every_result),
		cmocka_unit_test(builds_probes_that_are_sound),
		cmocka_unit_test(builds_acknowledgments_that_are_sound),
		cmocka_unit_test(builds_no_probe_for_other_flows),
		cmocka_unit_test(builds_errors_that_are_sound),
		cmocka_unit_test(veils_segments),
		cmocka_unit_test(veils_errors),
		cmocka_unit_test(builds_no_error_for_other_flows),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
