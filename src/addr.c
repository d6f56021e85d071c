/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * addr: IP addresses, endpoints, tuples and prefixes as plain values.
 *
 * Owns their layout, text form and classes. Never resolves a name, never
 * asks the kernel, never carries a scope.
 */
#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped_head[12] = { 0, 0, 0, 0, 0, 0,
					 0, 0, 0, 0, 0xff, 0xff };

struct addr addr_normalize(struct addr a)
{
	struct addr v4 = { .family = 4 };

	if (a.family != 6 || memcmp(a.byte, mapped_head, sizeof mapped_head))
		return a;
	memcpy(v4.byte, a.byte + sizeof mapped_head, 4);
	return v4;
}

struct addr addr_from_in4(uint32_t be32_addr)
{
	struct addr a = { .family = 4 };

	memcpy(a.byte, &be32_addr, 4);
	return a;
}

struct addr addr_from_in6(const struct in6_addr *in6)
{
	struct addr a = { .family = 6 };

	memcpy(a.byte, in6, 16);
	return addr_normalize(a);
}

struct addr addr_from_mapped(const uint8_t from[16])
{
	struct addr a = { .family = 6 };

	memcpy(a.byte, from, 16);
	return addr_normalize(a);
}

void addr_to_mapped(const struct addr *a, uint8_t to[16])
{
	memset(to, 0, 16);
	if (a->family == 4) {
		memcpy(to, mapped_head, sizeof mapped_head);
		memcpy(to + sizeof mapped_head, a->byte, 4);
	} else if (a->family == 6) {
		memcpy(to, a->byte, 16);
	}
}

bool addr_is_set(const struct addr *a)
{
	return a->family != 0;
}

size_t addr_size(const struct addr *a)
{
	return a->family == 4 ? 4 : a->family == 6 ? 16 : 0;
}

int addr_af(const struct addr *a)
{
	return a->family == 4 ? AF_INET :
	       a->family == 6 ? AF_INET6 : AF_UNSPEC;
}

bool addr_same_source(const struct addr *a, const struct addr *b)
{
	return a->family == b->family &&
	       memcmp(a->byte, b->byte, a->family == 6 ? 8 : 4) == 0;
}

int addr_compare(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->byte, b->byte, addr_size(a));
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return addr_compare(a, b) == 0;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned int bits)
{
	unsigned int whole = bits / 8;
	unsigned int rest = bits % 8;

	if (memcmp(a, b, whole))
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

/* First match wins: what is special inside a wider range comes first. */
static const struct {
	struct prefix prefix;
	enum addr_class class;
} classes[] = {
#define V4(a, b, c, d, l) { { 4, { a, b, c, d } }, l }
	{ V4(255, 255, 255, 255, 32), ADDR_BROADCAST }, /* RFC 919 */
	{ V4(0, 0, 0, 0, 8), ADDR_UNSPECIFIED }, /* RFC 1122 */
	{ V4(10, 0, 0, 0, 8), ADDR_PRIVATE }, /* RFC 1918 */
	{ V4(172, 16, 0, 0, 12), ADDR_PRIVATE },
	{ V4(192, 168, 0, 0, 16), ADDR_PRIVATE },
	{ V4(100, 64, 0, 0, 10), ADDR_PRIVATE }, /* RFC 6598 */
	{ V4(127, 0, 0, 0, 8), ADDR_LOOPBACK },
	{ V4(169, 254, 0, 0, 16), ADDR_LINK_LOCAL }, /* RFC 3927 */
	{ V4(224, 0, 0, 0, 4), ADDR_MULTICAST },
	{ V4(240, 0, 0, 0, 4), ADDR_RESERVED }, /* RFC 1112 */
#undef V4
	{ { { 6, { 0 } }, 128 }, ADDR_UNSPECIFIED }, /* :: */
	{ { { 6, { [15] = 1 } }, 128 }, ADDR_LOOPBACK }, /* ::1 */
	{ { { 6, { [10] = 0xff, 0xff } }, 96 }, ADDR_RESERVED }, /* mapped */
	{ { { 6, { 0 } }, 96 }, ADDR_RESERVED }, /* compatible, RFC 4291 */
	{ { { 6, { 0x01, 0x00 } }, 64 }, ADDR_RESERVED }, /* RFC 6666 */
	{ { { 6, { 0xfc } }, 7 }, ADDR_PRIVATE }, /* RFC 4193 */
	{ { { 6, { 0xfe, 0x80 } }, 10 }, ADDR_LINK_LOCAL },
	{ { { 6, { 0xff } }, 8 }, ADDR_MULTICAST },
};

enum addr_class addr_classify(const struct addr *a)
{
	if (!addr_is_set(a))
		return ADDR_UNSPECIFIED;
	for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
		if (prefix_contains(&classes[i].prefix, a))
			return classes[i].class;
	return ADDR_GLOBAL;
}

int addr_parse(const char *text, struct addr *a)
{
	struct addr out = { 0 };

	/* inet_pton() takes neither scopes nor the short forms of IPv4. */
	if (inet_pton(AF_INET, text, out.byte) == 1)
		out.family = 4;
	else if (inet_pton(AF_INET6, text, out.byte) == 1)
		out.family = 6;
	else
		return -EINVAL;
	*a = addr_normalize(out);
	return 0;
}

char *addr_format(const struct addr *a, char to[ADDR_TEXT_MAX])
{
	if (!addr_is_set(a) ||
	    !inet_ntop(addr_af(a), a->byte, to, ADDR_TEXT_MAX))
		memcpy(to, "-", 2);
	return to;
}

int endpoint_compare(const struct endpoint *a, const struct endpoint *b)
{
	int c = addr_compare(&a->addr, &b->addr);

	if (c)
		return c;
	return (a->port > b->port) - (a->port < b->port);
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return endpoint_compare(a, b) == 0;
}

char *endpoint_format(const struct endpoint *e, char to[ENDPOINT_TEXT_MAX])
{
	char addr[ADDR_TEXT_MAX];

	addr_format(&e->addr, addr);
	snprintf(to, ENDPOINT_TEXT_MAX,
		 e->addr.family == 6 ? "[%s]:%u" : "%s:%u", addr,
		 (unsigned int)e->port);
	return to;
}

socklen_t endpoint_to_sockaddr(const struct endpoint *e,
			       struct sockaddr_storage *ss)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	memset(ss, 0, sizeof *ss);
	if (e->addr.family == 4) {
		in4.sin_port = htons(e->port);
		memcpy(&in4.sin_addr, e->addr.byte, 4);
		memcpy(ss, &in4, sizeof in4);
		return sizeof in4;
	}
	if (e->addr.family == 6) {
		in6.sin6_port = htons(e->port);
		memcpy(&in6.sin6_addr, e->addr.byte, 16);
		memcpy(ss, &in6, sizeof in6);
		return sizeof in6;
	}
	return 0; /* AF_UNSPEC: connect() and sendto() refuse it */
}

int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *e)
{
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	/* Copies, since the caller's buffer may be aligned for bytes only. */
	memset(e, 0, sizeof *e);
	if (sa->sa_family == AF_INET) {
		memcpy(&in4, sa, sizeof in4);
		e->addr = addr_from_in4(in4.sin_addr.s_addr);
		e->port = ntohs(in4.sin_port);
		return 0;
	}
	if (sa->sa_family == AF_INET6) {
		memcpy(&in6, sa, sizeof in6);
		e->addr = addr_from_in6(&in6.sin6_addr);
		e->port = ntohs(in6.sin6_port);
		return 0;
	}
	return -EAFNOSUPPORT;
}

bool tuple_equal(const struct tuple *a, const struct tuple *b)
{
	return a->proto == b->proto && endpoint_equal(&a->local, &b->local) &&
	       endpoint_equal(&a->remote, &b->remote);
}

struct tuple tuple_reverse(const struct tuple *t)
{
	struct tuple r;

	/* Not by assignment, which may leave the padding behind: hashes run
	 * over the whole value. */
	memset(&r, 0, sizeof r);
	memcpy(&r.local, &t->remote, sizeof r.local);
	memcpy(&r.remote, &t->local, sizeof r.remote);
	r.proto = t->proto;
	return r;
}

char *tuple_format(const struct tuple *t, char to[TUPLE_TEXT_MAX])
{
	char local[ENDPOINT_TEXT_MAX];
	char remote[ENDPOINT_TEXT_MAX];
	const char *proto = t->proto == IPPROTO_TCP ? "tcp" :
			    t->proto == IPPROTO_UDP ? "udp" : "?";

	snprintf(to, TUPLE_TEXT_MAX, "%s %s -> %s", proto,
		 endpoint_format(&t->local, local),
		 endpoint_format(&t->remote, remote));
	return to;
}

static bool host_bits_are_zero(const struct prefix *p)
{
	for (unsigned int bit = p->len; bit < addr_size(&p->addr) * 8; bit++)
		if (p->addr.byte[bit / 8] & (0x80 >> bit % 8))
			return false;
	return true;
}

int prefix_parse(const char *text, struct prefix *p)
{
	const char *slash = strchr(text, '/');
	size_t addr_len = slash ? (size_t)(slash - text) : strlen(text);
	char addr_text[ADDR_TEXT_MAX];
	struct prefix out = { 0 };
	unsigned int len = 0;
	size_t digits = 0;

	if (addr_len >= sizeof addr_text)
		return -EINVAL;
	memcpy(addr_text, text, addr_len);
	addr_text[addr_len] = '\0';
	if (addr_parse(addr_text, &out.addr))
		return -EINVAL;
	if (!slash) {
		out.len = (uint8_t)(addr_size(&out.addr) * 8);
		*p = out;
		return 0;
	}
	/* A length after mapped text would count from the wrong end. */
	if (out.addr.family == 4 && memchr(addr_text, ':', addr_len))
		return -EINVAL;
	for (const char *c = slash + 1; *c; c++, digits++) {
		if (*c < '0' || *c > '9' || digits == 3)
			return -EINVAL;
		len = len * 10 + (unsigned int)(*c - '0');
	}
	if (digits == 0 || len > addr_size(&out.addr) * 8)
		return -EINVAL;
	out.len = (uint8_t)len;
	if (!host_bits_are_zero(&out))
		return -EINVAL;
	*p = out;
	return 0;
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
	return addr_is_set(a) && p->addr.family == a->family &&
	       bits_equal(p->addr.byte, a->byte, p->len);
}
