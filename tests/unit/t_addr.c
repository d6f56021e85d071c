/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addr and reason: text forms, classes, comparison, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "addr.h"
#include "reason.h"

static struct addr parsed(const char *text)
{
	struct addr a;

	if (addr_parse(text, &a))
		fail_msg("%s is an address", text);
	return a;
}

static struct endpoint endpoint(const char *text, uint16_t port)
{
	struct endpoint e;

	memset(&e, 0, sizeof e);
	e.addr = parsed(text);
	e.port = port;
	return e;
}

static void text_is_canonical(void **state)
{
	static const struct {
		const char *in, *out;
		uint8_t family;
	} cases[] = {
		{ "192.0.2.1", "192.0.2.1", 4 },
		{ "0.0.0.0", "0.0.0.0", 4 },
		{ "::ffff:192.0.2.1", "192.0.2.1", 4 },
		{ "::ffff:c000:201", "192.0.2.1", 4 },
		{ "2001:DB8:0:0:0:0:0:1", "2001:db8::1", 6 },
		{ "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", 6 },
		{ "::", "::", 6 },
		{ "fe80::1", "fe80::1", 6 },
	};
	static const char *const bad[] = {
		"", " ", "1.2.3", "1.2.3.4.5", "01.2.3.4x", "256.1.1.1",
		"fe80::1%eth0", "[::1]", "1.2.3.4/8", "::1::", "0x7f.1",
		"localhost", "12345::", " 1.2.3.4", "1.2.3.4 ",
	};
	char text[ADDR_TEXT_MAX];
	struct addr a;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		a = parsed(cases[i].in);
		assert_int_equal(a.family, cases[i].family);
		assert_string_equal(addr_format(&a, text), cases[i].out);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		memset(&a, 0xaa, sizeof a);
		assert_int_equal(addr_parse(bad[i], &a), -EINVAL);
		assert_int_equal(a.family, 0xaa); /* untouched */
	}
	memset(&a, 0, sizeof a);
	assert_string_equal(addr_format(&a, text), "-");
	assert_false(addr_is_set(&a));
	assert_int_equal(addr_size(&a), 0);
	assert_int_equal(addr_af(&a), AF_UNSPEC);
}

static void mapped_form_goes_both_ways(void **state)
{
	static const char *const texts[] = { "192.0.2.1", "255.255.255.255",
					     "2001:db8::1", "::1", "::" };
	uint8_t mapped[16];

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct addr a = parsed(texts[i]);
		struct addr b;

		addr_to_mapped(&a, mapped);
		b = addr_from_mapped(mapped);
		assert_memory_equal(&a, &b, sizeof a);
	}
	struct addr v4 = parsed("192.0.2.1");
	static const uint8_t want[16] = { [10] = 0xff, 0xff, 192, 0, 2, 1 };

	addr_to_mapped(&v4, mapped);
	assert_memory_equal(mapped, want, 16);

	struct addr raw = { .family = 6 };
	memcpy(raw.byte, want, 16);
	raw = addr_normalize(raw);
	assert_memory_equal(&raw, &v4, sizeof raw);
	raw = addr_from_in4(htonl(0xc0000201));
	assert_memory_equal(&raw, &v4, sizeof raw);

	struct addr unset = { 0 };
	memset(mapped, 0xff, sizeof mapped);
	addr_to_mapped(&unset, mapped);
	for (size_t i = 0; i < sizeof mapped; i++)
		assert_int_equal(mapped[i], 0);
}

static void classes_know_their_edges(void **state)
{
	static const struct {
		const char *text;
		enum addr_class class;
	} cases[] = {
		{ "8.8.8.8", ADDR_GLOBAL },
		{ "0.1.2.3", ADDR_UNSPECIFIED },
		{ "1.0.0.0", ADDR_GLOBAL },
		{ "9.255.255.255", ADDR_GLOBAL },
		{ "10.0.0.0", ADDR_PRIVATE },
		{ "10.255.255.255", ADDR_PRIVATE },
		{ "11.0.0.0", ADDR_GLOBAL },
		{ "100.63.255.255", ADDR_GLOBAL },
		{ "100.64.0.0", ADDR_PRIVATE },
		{ "100.127.255.255", ADDR_PRIVATE },
		{ "100.128.0.0", ADDR_GLOBAL },
		{ "127.0.0.1", ADDR_LOOPBACK },
		{ "127.255.255.255", ADDR_LOOPBACK },
		{ "169.254.0.1", ADDR_LINK_LOCAL },
		{ "169.255.0.0", ADDR_GLOBAL },
		{ "172.15.255.255", ADDR_GLOBAL },
		{ "172.16.0.0", ADDR_PRIVATE },
		{ "172.31.255.255", ADDR_PRIVATE },
		{ "172.32.0.0", ADDR_GLOBAL },
		{ "192.168.255.255", ADDR_PRIVATE },
		{ "192.169.0.0", ADDR_GLOBAL },
		{ "223.255.255.255", ADDR_GLOBAL },
		{ "224.0.0.0", ADDR_MULTICAST },
		{ "239.255.255.255", ADDR_MULTICAST },
		{ "240.0.0.0", ADDR_RESERVED },
		{ "255.255.255.254", ADDR_RESERVED },
		{ "255.255.255.255", ADDR_BROADCAST },
		{ "::", ADDR_UNSPECIFIED },
		{ "::1", ADDR_LOOPBACK },
		{ "::2", ADDR_RESERVED },
		{ "::1.2.3.4", ADDR_RESERVED },
		{ "::1:0:0", ADDR_GLOBAL },
		{ "100::1", ADDR_RESERVED },
		{ "100:0:0:1::", ADDR_GLOBAL },
		{ "2001:db8::1", ADDR_GLOBAL },
		{ "fbff::", ADDR_GLOBAL },
		{ "fc00::", ADDR_PRIVATE },
		{ "fdff:ffff::1", ADDR_PRIVATE },
		{ "fe00::", ADDR_GLOBAL },
		{ "fe80::", ADDR_LINK_LOCAL },
		{ "febf:ffff::", ADDR_LINK_LOCAL },
		{ "fec0::", ADDR_GLOBAL },
		{ "ff02::1", ADDR_MULTICAST },
	};
	struct addr a = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		a = parsed(cases[i].text);
		if (addr_classify(&a) != cases[i].class)
			fail_msg("%s: class %d", cases[i].text,
				 (int)addr_classify(&a));
	}
	memset(&a, 0, sizeof a);
	assert_int_equal(addr_classify(&a), ADDR_UNSPECIFIED);
	/* raw mapped bytes that nobody normalized */
	a.family = 6;
	a.byte[10] = a.byte[11] = 0xff;
	assert_int_equal(addr_classify(&a), ADDR_RESERVED);
}

static void order_is_total(void **state)
{
	static const char *const sorted[] = { "0.0.0.0", "10.0.0.1",
					      "10.0.0.2", "200.0.0.0", "::",
					      "::1", "2001:db8::", "ff02::1" };
	const size_t n = sizeof sorted / sizeof sorted[0];

	(void)state;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			struct endpoint a = endpoint(sorted[i], 9);
			struct endpoint b = endpoint(sorted[j], 9);
			int c = endpoint_compare(&a, &b);

			assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
			assert_int_equal(endpoint_equal(&a, &b), i == j);
			assert_int_equal(addr_equal(&a.addr, &b.addr), i == j);
		}
	struct endpoint low = endpoint("10.0.0.1", 255);
	struct endpoint high = endpoint("10.0.0.1", 256);

	assert_true(endpoint_compare(&low, &high) < 0);
	assert_true(endpoint_compare(&high, &low) > 0);
	assert_false(endpoint_equal(&low, &high));
}

static void sockaddr_goes_both_ways(void **state)
{
	static const char *const texts[] = { "192.0.2.1", "2001:db8::7" };
	static const socklen_t sizes[] = { sizeof(struct sockaddr_in),
					   sizeof(struct sockaddr_in6) };
	struct sockaddr_storage ss;
	struct endpoint e;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct endpoint want = endpoint(texts[i], 1021);

		assert_int_equal(endpoint_to_sockaddr(&want, &ss), sizes[i]);
		memset(&e, 0xff, sizeof e);
		assert_int_equal(
			endpoint_from_sockaddr((struct sockaddr *)&ss, &e), 0);
		assert_memory_equal(&e, &want, sizeof e);
	}

	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6,
				       .sin6_port = htons(7) };
	struct endpoint want = endpoint("192.0.2.9", 7);

	inet_pton(AF_INET6, "::ffff:192.0.2.9", &mapped.sin6_addr);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&mapped, &e),
			 0);
	assert_memory_equal(&e, &want, sizeof e);

	memset(&ss, 0, sizeof ss);
	ss.ss_family = AF_UNIX;
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&ss, &e),
			 -EAFNOSUPPORT);
	memset(&e, 0, sizeof e);
	assert_int_equal(endpoint_to_sockaddr(&e, &ss), 0);
	assert_int_equal(ss.ss_family, AF_UNSPEC);
}

static void tuples_print_and_turn_round(void **state)
{
	char text[TUPLE_TEXT_MAX];
	struct tuple t, r;

	(void)state;
	memset(&t, 0, sizeof t);
	t.local = endpoint("192.0.2.1", 22);
	t.remote = endpoint("2001:db8::1", 65535);
	t.proto = IPPROTO_TCP;
	assert_string_equal(tuple_format(&t, text),
			    "tcp 192.0.2.1:22 -> [2001:db8::1]:65535");
	r = tuple_reverse(&t);
	assert_false(tuple_equal(&t, &r));
	assert_string_equal(tuple_format(&r, text),
			    "tcp [2001:db8::1]:65535 -> 192.0.2.1:22");
	r = tuple_reverse(&r);
	assert_true(tuple_equal(&t, &r));
	assert_memory_equal(&t, &r, sizeof t);
	r.proto = IPPROTO_UDP;
	assert_false(tuple_equal(&t, &r));

	/* The longest there is fits. */
	static const char *const longest =
		"1111:2222:3333:4444:5555:6666:7777:8888";
	t.local = t.remote = endpoint(longest, 65535);
	assert_int_equal(strlen(tuple_format(&t, text)),
			 strlen("tcp  -> ") +
				 2 * (strlen(longest) + strlen("[]:65535")));
}

static void prefixes_are_exact(void **state)
{
	static const struct {
		const char *prefix, *inside, *outside;
	} cases[] = {
		{ "10.0.0.0/8", "10.255.0.1", "11.0.0.0" },
		{ "0.0.0.0/0", "255.1.2.3", "2001:db8::1" },
		{ "::/0", "2001:db8::1", "1.2.3.4" },
		{ "192.0.2.1", "192.0.2.1", "192.0.2.0" },
		{ "192.0.2.128/25", "192.0.2.128", "192.0.2.127" },
		{ "2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::" },
		{ "2001:db8::1/128", "2001:db8::1", "2001:db8::2" },
		{ "::ffff:192.0.2.1", "192.0.2.1", "::1" },
	};
	static const char *const bad[] = {
		"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8",
		"10.0.0.0/8 ", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8",
		"10.0.0.0/0x8", "::/129", "2001:db8::1/64", "10.0.0.0/1000",
		"10.0.0.0/00000000000000000008", "::ffff:192.0.2.0/120",
		"::ffff:192.0.2.1/32",
		"fe80::%eth0/10",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/10",
	};
	struct prefix p;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct addr in = parsed(cases[i].inside);
		struct addr out = parsed(cases[i].outside);

		assert_int_equal(prefix_parse(cases[i].prefix, &p), 0);
		assert_true(prefix_contains(&p, &in));
		assert_false(prefix_contains(&p, &out));
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (prefix_parse(bad[i], &p) != -EINVAL)
			fail_msg("%s is no prefix", bad[i]);

	struct addr unset = { 0 };
	assert_int_equal(prefix_parse("0.0.0.0/0", &p), 0);
	assert_false(prefix_contains(&p, &unset));
}

static void names_are_there(void **state)
{
	(void)state;
	assert_string_equal(reason_name(REASON_NO_PEER), "no_peer");
	assert_string_equal(reason_name(REASON_MAX), "unknown");
	assert_string_equal(reason_name((enum reason)255), "unknown");
	assert_string_equal(counter_name(COUNTER_RX_REPLAY), "rx_replay");
	assert_string_equal(counter_name(COUNTER_MAX), "unknown");
	/* On the wire: these numbers never change. */
	assert_int_equal(REASON_NONE, 0);
	assert_int_equal(REASON_REWRITTEN, 12);
	assert_int_equal(REASON_ENDED, 25);
	assert_true(REASON_MAX <= 256);
	for (int i = 0; i < REASON_MAX; i++) {
		assert_true(strlen(reason_text((enum reason)i)) > 0);
		for (const char *c = reason_name((enum reason)i); *c; c++)
			assert_true(islower(*c) || isdigit(*c) || *c == '_');
		for (int j = 0; j < i; j++)
			assert_string_not_equal(reason_name((enum reason)i),
						reason_name((enum reason)j));
	}
	for (int i = 0; i < COUNTER_MAX; i++)
		for (const char *c = counter_name((enum counter_id)i); *c; c++)
			assert_true(islower(*c) || isdigit(*c) || *c == '_');
}

static void a_source_is_an_address_or_a_64(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} pair[] = {
		{ "192.0.2.1", "192.0.2.1", true },
		{ "192.0.2.1", "192.0.2.2", false },
		{ "2001:db8::1", "2001:db8::ffff:0:0:1", true },
		{ "2001:db8::1", "2001:db8:0:1::1", false },
		{ "192.0.2.1", "c000:201::", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pair) / sizeof(*pair); i++) {
		struct addr a, b;

		assert_int_equal(addr_parse(pair[i].a, &a), 0);
		assert_int_equal(addr_parse(pair[i].b, &b), 0);
		assert_int_equal(addr_same_source(&a, &b), pair[i].same);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_canonical),
		cmocka_unit_test(mapped_form_goes_both_ways),
		cmocka_unit_test(classes_know_their_edges),
		cmocka_unit_test(order_is_total),
		cmocka_unit_test(sockaddr_goes_both_ways),
		cmocka_unit_test(tuples_print_and_turn_round),
		cmocka_unit_test(prefixes_are_exact),
		cmocka_unit_test(a_source_is_an_address_or_a_64),
		cmocka_unit_test(names_are_there),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
