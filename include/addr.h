/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * addr: IP addresses, endpoints, tuples and prefixes as plain values.
 *
 * Owns their layout, text form and classes. Never resolves a name, never
 * asks the kernel, never carries a scope (link-local flows are refused).
 *
 * Every value is zeroed before it is filled, so that memcmp() and a hash
 * over the bytes are exact. Ports are in host byte order in memory; what
 * lies in a packet or message is named be16.
 */
#ifndef SACIPED_ADDR_H
#define SACIPED_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDR_TEXT_MAX 46     /* INET6_ADDRSTRLEN */
#define ENDPOINT_TEXT_MAX 56 /* "[v6]:65535" */
#define TUPLE_TEXT_MAX 128   /* "tcp L -> R" */

struct addr {
	uint8_t family; /* 0 none, 4 or 6 */
	uint8_t byte[16]; /* network order; IPv4 in the first four, rest 0 */
};

struct endpoint {
	struct addr addr;
	uint16_t port; /* host order */
};

/* As this host sees it: local is always our end. */
struct tuple {
	struct endpoint local;
	struct endpoint remote;
	uint8_t proto; /* IPPROTO_TCP or IPPROTO_UDP */
};

struct prefix {
	struct addr addr; /* host bits are zero */
	uint8_t len;
};

enum addr_class {
	ADDR_GLOBAL,
	ADDR_PRIVATE, /* RFC 1918, RFC 6598, RFC 4193 */
	ADDR_LINK_LOCAL, /* 169.254/16, fe80::/10 */
	ADDR_LOOPBACK,
	ADDR_MULTICAST,
	ADDR_BROADCAST, /* 255.255.255.255 only */
	ADDR_UNSPECIFIED, /* 0/8 and :: */
	ADDR_RESERVED, /* 240/4, discard and v4-mapped ranges */
};

/* Returns `a`, or the IPv4 address inside it where it is v4-mapped. */
struct addr addr_normalize(struct addr a);
struct addr addr_from_in4(uint32_t be32_addr);
struct addr addr_from_in6(const struct in6_addr *in6);
/* `from` is 16 bytes, IPv4 as v4-mapped: the form of every message. */
struct addr addr_from_mapped(const uint8_t from[16]);
void addr_to_mapped(const struct addr *a, uint8_t to[16]);
bool addr_is_set(const struct addr *a);
bool addr_equal(const struct addr *a, const struct addr *b);
/* One IPv4 address, or one IPv6 /64: a single host has the whole of it. */
bool addr_same_source(const struct addr *a, const struct addr *b);
/* memcmp() order: family first, then bytes in network order. */
int addr_compare(const struct addr *a, const struct addr *b);
enum addr_class addr_classify(const struct addr *a);
size_t addr_size(const struct addr *a); /* 4 or 16 (0 unset) */
int addr_af(const struct addr *a); /* AF_INET, AF_INET6 or AF_UNSPEC */

/* 0, or -EINVAL where `text` is not a numeric address. v4-mapped text is
 * normalized; a scope ("%eth0") is refused. */
int addr_parse(const char *text, struct addr *a);
/* Canonical text (RFC 5952), no brackets; "-" where unset. Returns `to`. */
char *addr_format(const struct addr *a, char to[ADDR_TEXT_MAX]);

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
int endpoint_compare(const struct endpoint *a, const struct endpoint *b);
char *endpoint_format(const struct endpoint *e, char to[ENDPOINT_TEXT_MAX]);
/* Fills `ss` and returns the length for connect() or sendto(). */
socklen_t endpoint_to_sockaddr(const struct endpoint *e,
			       struct sockaddr_storage *ss);
/* 0, or -EAFNOSUPPORT. v4-mapped addresses are normalized. */
int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *e);

bool tuple_equal(const struct tuple *a, const struct tuple *b);
/* The same flow as the other end sees it. */
struct tuple tuple_reverse(const struct tuple *t);
char *tuple_format(const struct tuple *t, char to[TUPLE_TEXT_MAX]);

/* "10.0.0.0/8", "fe80::/10" or a bare address; 0 or -EINVAL (also where
 * host bits are set). */
int prefix_parse(const char *text, struct prefix *p);
bool prefix_contains(const struct prefix *p, const struct addr *a);

#endif
