/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pkt: finds its way in an IP packet, and builds the one that we send. See
 * pkt.h.
 *
 * Fields are read byte by byte: nothing in a packet is aligned, least of all
 * what an ICMP error quotes.
 */
#include "pkt.h"

#include <errno.h>
#include <string.h>

#include "csum.h"

enum {
	IPV4_HEADER_MIN = 20,
	IPV4_OFFSET_MASK = 0x1fff,
	IPV4_MORE_FRAGMENTS = 0x2000,
	IPV6_HEADER = 40,
	IPV6_FRAGMENT_HEADER = 8,
	IPV6_OFFSET_MASK = 0xfff8,
	IPV6_MORE_FRAGMENTS = 0x0001,
	TCP_HEADER_MIN = 20,
	TCP_HEADER_MAX = 60,
	UDP_HEADER = 8,
	ICMP_HEADER = 8,
	QUOTE_L4_MIN = 8, /* RFC 792: all that an old router gives */
	PROBE_HOP_LIMIT = 255,
};

/* One network header, outer or quoted. */
struct l3 {
	struct addr src;
	struct addr dst;
	uint8_t family;
	uint8_t proto;
	bool first_fragment;
	bool later_fragment;
	size_t l4_off;
	size_t end; /* of the packet, or of what is quoted of it */
};

static uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static struct addr get_addr(const uint8_t *p, uint8_t family)
{
	struct addr a = { .family = family };

	memcpy(a.byte, p, family == 4 ? 4 : 16);
	return a;
}

/*
 * `total` is what the header says. A packet must have all of it; a quote is
 * cut at will, and routers have been seen to change the length that they
 * quote: there it only ever shortens, and never below the header.
 */
static bool set_end(struct l3 *h, size_t off, size_t header, size_t total,
		    size_t end, bool quoted)
{
	if (!quoted) {
		h->end = off + total;
		return total >= header && h->end <= end;
	}
	h->end = total >= header + QUOTE_L4_MIN && off + total < end ?
		 off + total : end;
	return true;
}

static enum pkt_result parse_ipv4(const uint8_t *buf, size_t off, size_t end,
				  bool quoted, struct l3 *h)
{
	const uint8_t *ip = buf + off;
	size_t header;
	uint16_t fragment;

	if (end - off < IPV4_HEADER_MIN)
		return PKT_SHORT;
	header = (size_t)(ip[0] & 0x0f) * 4;
	if (header < IPV4_HEADER_MIN)
		return PKT_LENGTH;
	if (header > end - off)
		return PKT_SHORT;
	if (!set_end(h, off, header, get_be16(ip + 2), end, quoted))
		return PKT_LENGTH;
	fragment = get_be16(ip + 6);
	h->later_fragment = (fragment & IPV4_OFFSET_MASK) != 0;
	h->first_fragment = !h->later_fragment &&
			    (fragment & IPV4_MORE_FRAGMENTS) != 0;
	h->proto = ip[9];
	h->src = get_addr(ip + 12, 4);
	h->dst = get_addr(ip + 16, 4);
	h->l4_off = off + header;
	return PKT_OK;
}

/* The length of the extension header `type` at `ext`, of which `left` bytes
 * are there; 0 if it is none that may be passed over. */
static size_t extension_len(uint8_t type, const uint8_t *ext, size_t left)
{
	switch (type) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_DSTOPTS:
	case IPPROTO_ROUTING:
		return left < 8 ? 8 : ((size_t)ext[1] + 1) * 8;
	case IPPROTO_FRAGMENT:
		return IPV6_FRAGMENT_HEADER;
	default:
		return 0;
	}
}

static enum pkt_result parse_ipv6(const uint8_t *buf, size_t off, size_t end,
				  bool quoted, struct l3 *h)
{
	const uint8_t *ip = buf + off;
	size_t at = off + IPV6_HEADER, len;

	if (end - off < IPV6_HEADER)
		return PKT_SHORT;
	if (!set_end(h, off, IPV6_HEADER, IPV6_HEADER + get_be16(ip + 4), end,
		     quoted))
		return PKT_LENGTH;
	h->src = get_addr(ip + 8, 6);
	h->dst = get_addr(ip + 24, 6);
	h->proto = ip[6];
	for (int n = 0; (len = extension_len(h->proto, buf + at,
					     h->end - at)) != 0; n++) {
		const uint8_t *ext = buf + at;

		if (n == PKT_EXTENSIONS_MAX)
			return PKT_EXTENSIONS;
		if (len > h->end - at)
			return PKT_SHORT;
		/* With segments left the address on top is not the one that
		 * the socket and the checksum know (RFC 8200, 8.1). */
		if (h->proto == IPPROTO_ROUTING && ext[3] != 0)
			return PKT_ROUTING;
		if (h->proto == IPPROTO_FRAGMENT) {
			uint16_t fragment = get_be16(ext + 2);

			if (h->first_fragment)
				return PKT_EXTENSIONS;
			h->later_fragment = (fragment & IPV6_OFFSET_MASK) != 0;
			h->first_fragment =
				!h->later_fragment &&
				(fragment & IPV6_MORE_FRAGMENTS) != 0;
		}
		h->proto = ext[0];
		at += len;
		if (h->later_fragment)
			break; /* what follows is data */
	}
	h->l4_off = at;
	return PKT_OK;
}

static enum pkt_result parse_l3(const uint8_t *buf, size_t off, size_t end,
				bool quoted, struct l3 *h)
{
	if (end - off < 1)
		return PKT_SHORT;
	*h = (struct l3){ .family = buf[off] >> 4 };
	switch (h->family) {
	case 4:
		return parse_ipv4(buf, off, end, quoted, h);
	case 6:
		return parse_ipv6(buf, off, end, quoted, h);
	default:
		return PKT_VERSION;
	}
}

static enum pkt_result parse_tcp(const uint8_t *buf, struct pkt *p)
{
	const uint8_t *tcp = buf + p->l4_off;
	uint32_t left = p->len - p->l4_off, header;

	if (left < TCP_HEADER_MIN)
		return PKT_SHORT;
	header = (uint32_t)(tcp[12] >> 4) * 4;
	if (header < TCP_HEADER_MIN || header > left)
		return PKT_LENGTH;
	p->src.port = get_be16(tcp);
	p->dst.port = get_be16(tcp + 2);
	p->tcp_seq = get_be32(tcp + 4);
	p->tcp_ack = get_be32(tcp + 8);
	p->tcp_flags = tcp[13];
	p->payload_off = p->l4_off + header;
	p->payload_len = left - header;
	return PKT_OK;
}

static enum pkt_result parse_udp(const uint8_t *buf, struct pkt *p)
{
	const uint8_t *udp = buf + p->l4_off;
	uint32_t left = p->len - p->l4_off, len;

	if (left < UDP_HEADER)
		return PKT_SHORT;
	len = get_be16(udp + 4);
	/* A first fragment names the length of the whole datagram. */
	if (len < UDP_HEADER || (len > left && !p->fragment))
		return PKT_LENGTH;
	p->src.port = get_be16(udp);
	p->dst.port = get_be16(udp + 2);
	p->payload_off = p->l4_off + UDP_HEADER;
	p->payload_len = (len < left ? len : left) - UDP_HEADER;
	return PKT_OK;
}

static bool is_icmp_error(const struct pkt *p)
{
	if (p->family == 4)
		return p->icmp_type == 3 || /* destination unreachable */
		       p->icmp_type == 4 || /* source quench */
		       p->icmp_type == 11 || /* time exceeded */
		       p->icmp_type == 12; /* parameter problem */
	return p->icmp_type >= 1 && p->icmp_type <= 4;
}

/* An error that quotes nothing of ours, or too little of it, is sound: the
 * stack will find no socket for it either. */
static enum pkt_result parse_icmp(const uint8_t *buf, struct pkt *p)
{
	const uint8_t *icmp = buf + p->l4_off, *l4;
	struct l3 h;

	if (p->len - p->l4_off < ICMP_HEADER)
		return PKT_SHORT;
	p->icmp_type = icmp[0];
	p->icmp_code = icmp[1];
	if (!is_icmp_error(p) ||
	    parse_l3(buf, p->l4_off + ICMP_HEADER, p->len, true, &h) != PKT_OK)
		return PKT_OTHER;
	if (h.family != p->family || h.later_fragment ||
	    (h.proto != IPPROTO_TCP && h.proto != IPPROTO_UDP) ||
	    h.end - h.l4_off < QUOTE_L4_MIN)
		return PKT_OTHER;
	l4 = buf + h.l4_off;
	/* Field by field: `p` was zeroed, and padding must stay so (addr.h). */
	p->quote.src.addr = h.src;
	p->quote.src.port = get_be16(l4);
	p->quote.dst.addr = h.dst;
	p->quote.dst.port = get_be16(l4 + 2);
	p->quote.proto = h.proto;
	p->quote.l3_off = p->l4_off + ICMP_HEADER;
	p->quote.l4_off = (uint32_t)h.l4_off;
	p->quote.end = (uint32_t)h.end;
	if (h.proto == IPPROTO_TCP)
		p->quote.tcp_seq = get_be32(l4 + 4);
	return PKT_ICMP_ERROR;
}

enum pkt_result pkt_parse(const uint8_t *buf, size_t len, struct pkt *p)
{
	enum pkt_result result;
	struct l3 h;

	memset(p, 0, sizeof(*p));
	result = parse_l3(buf, 0, len, false, &h);
	if (result != PKT_OK)
		return result;
	p->family = h.family;
	p->proto = h.proto;
	p->src.addr = h.src;
	p->dst.addr = h.dst;
	p->len = (uint32_t)h.end;
	p->fragment = h.first_fragment || h.later_fragment;
	if (h.later_fragment)
		return PKT_LATER_FRAGMENT;
	p->l4_off = (uint32_t)h.l4_off;
	switch (p->proto) {
	case IPPROTO_TCP:
		result = parse_tcp(buf, p);
		break;
	case IPPROTO_UDP:
		result = parse_udp(buf, p);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (p->fragment ||
		    p->proto != (p->family == 4 ? IPPROTO_ICMP :
						  IPPROTO_ICMPV6))
			return PKT_OTHER;
		return parse_icmp(buf, p);
	default:
		return PKT_OTHER;
	}
	return result == PKT_OK && p->fragment ? PKT_FIRST_FRAGMENT : result;
}

const char *pkt_result_name(enum pkt_result r)
{
	static const char *const name[] = {
#define X(N, n) [PKT_##N] = #n,
		PKT_RESULT_LIST(X)
#undef X
	};

	return (unsigned int)r < PKT_RESULT_MAX ? name[r] : "unknown";
}

struct tuple pkt_tuple_out(const struct pkt *p)
{
	struct tuple t;

	memset(&t, 0, sizeof(t)); /* padding too: see addr.h */
	t.local = p->src;
	t.remote = p->dst;
	t.proto = p->proto;
	return t;
}

struct tuple pkt_tuple_in(const struct pkt *p)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.local = p->dst;
	t.remote = p->src;
	t.proto = p->proto;
	return t;
}

struct tuple pkt_tuple_quoted(const struct pkt *p)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.local = p->quote.src;
	t.remote = p->quote.dst;
	t.proto = p->quote.proto;
	return t;
}

size_t pkt_build_ip(const struct addr *src, const struct addr *dst,
		    uint8_t proto, size_t payload_len, uint8_t *ip)
{
	uint16_t check;

	if (src->family == 4) {
		memset(ip, 0, IPV4_HEADER_MIN);
		ip[0] = 0x45;
		put_be16(ip + 2, (uint16_t)(IPV4_HEADER_MIN + payload_len));
		put_be16(ip + 6, 0x4000); /* do not fragment */
		ip[8] = PROBE_HOP_LIMIT;
		ip[9] = proto;
		memcpy(ip + 12, src->byte, 4);
		memcpy(ip + 16, dst->byte, 4);
		check = csum_finish(csum_add(0, ip, IPV4_HEADER_MIN));
		memcpy(ip + 10, &check, 2);
		return IPV4_HEADER_MIN;
	}
	memset(ip, 0, IPV6_HEADER);
	ip[0] = 0x60;
	put_be16(ip + 4, (uint16_t)payload_len);
	ip[6] = proto;
	ip[7] = PROBE_HOP_LIMIT;
	memcpy(ip + 8, src->byte, 16);
	memcpy(ip + 24, dst->byte, 16);
	return IPV6_HEADER;
}

/* The length of its network header, or -EINVAL. */
static int buildable(const struct tuple *t)
{
	if (t->proto != IPPROTO_TCP || !addr_is_set(&t->remote.addr) ||
	    t->remote.addr.family != t->local.addr.family)
		return -EINVAL;
	return t->local.addr.family == 4 ? IPV4_HEADER_MIN : IPV6_HEADER;
}

uint32_t pkt_timestamp_off(const uint8_t *tcp, uint32_t header)
{
	enum { EOL = 0, NOP = 1, TIMESTAMP = 8, TIMESTAMP_LEN = 10 };
	uint32_t at = TCP_HEADER_MIN;

	while (at + 1 < header && tcp[at] != EOL) {
		if (tcp[at] == NOP) {
			at++;
			continue;
		}
		if (tcp[at + 1] < 2 || tcp[at + 1] > header - at)
			return 0;
		if (tcp[at] == TIMESTAMP && tcp[at + 1] == TIMESTAMP_LEN)
			return at;
		at += tcp[at + 1];
	}
	return 0;
}

/* From t->remote to t->local: the rest of a header of `len` bytes, which has
 * its numbers, flags and options, around them. Returns the packet's length. */
static int finish_tcp(const struct tuple *t, size_t len, uint8_t *buf,
		      uint8_t *tcp)
{
	const struct addr *src = &t->remote.addr, *dst = &t->local.addr;
	size_t l3_len = pkt_build_ip(src, dst, IPPROTO_TCP, len, buf);
	uint16_t check;
	uint64_t sum;

	put_be16(tcp, t->remote.port);
	put_be16(tcp + 2, t->local.port);
	tcp[12] = (uint8_t)(len / 4 << 4);
	sum = csum_add_pseudo(0, src, dst, IPPROTO_TCP, (uint32_t)len);
	check = csum_finish(csum_add(sum, tcp, len));
	memcpy(tcp + 16, &check, 2);
	return (int)(l3_len + len);
}

int pkt_build_tcp_probe(const struct tuple *t, bool answers, uint8_t *buf,
			size_t size)
{
	int l3_len = buildable(t);
	uint8_t *tcp;

	if (l3_len < 0)
		return l3_len;
	if (size < (size_t)l3_len + TCP_HEADER_MIN)
		return -EMSGSIZE;
	tcp = buf + l3_len;
	memset(tcp, 0, TCP_HEADER_MIN);
	tcp[13] = answers ? PKT_TCP_SYN | PKT_TCP_ACK : PKT_TCP_SYN;
	return finish_tcp(t, TCP_HEADER_MIN, buf, tcp);
}

static void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

int pkt_build_tcp_ack(const struct tuple *t, const struct pkt_ack *a,
		      uint8_t *buf, size_t size)
{
	enum { NOP = 1, SACK = 5, SACK_LEN = 10, ALIGNED = 12 };
	const bool block = a->start != a->end;
	const size_t len = TCP_HEADER_MIN + (block ? ALIGNED : 0);
	int l3_len = buildable(t);
	uint8_t *tcp, *option;

	if (l3_len < 0)
		return l3_len;
	if (size < (size_t)l3_len + len)
		return -EMSGSIZE;
	tcp = buf + l3_len;
	memset(tcp, 0, len);
	put_be32(tcp + 4, a->seq);
	put_be32(tcp + 8, a->ack);
	tcp[13] = PKT_TCP_ACK;
	put_be16(tcp + 14, a->window);
	if (block) {
		option = tcp + TCP_HEADER_MIN;
		option[0] = option[1] = NOP;
		option[2] = SACK;
		option[3] = SACK_LEN;
		put_be32(option + 4, a->start);
		put_be32(option + 8, a->end);
	}
	return finish_tcp(t, len, buf, tcp);
}

int pkt_build_tcp_unreachable(const struct tuple *t, uint32_t seq,
			      uint8_t *buf, size_t size)
{
	const struct addr *src = &t->remote.addr, *dst = &t->local.addr;
	int l3_len = buildable(t);
	uint8_t *icmp, *quote;
	size_t len; /* of the ICMP message */
	uint64_t sum = 0;
	uint16_t check;
	bool v4;

	if (l3_len < 0)
		return l3_len;
	v4 = src->family == 4;
	len = ICMP_HEADER + (size_t)l3_len + QUOTE_L4_MIN;
	if (size < (size_t)l3_len + len)
		return -EMSGSIZE;
	icmp = buf + pkt_build_ip(src, dst, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				  len, buf);
	memset(icmp, 0, ICMP_HEADER);
	icmp[0] = v4 ? 3 : 1; /* destination unreachable; code 0: no route */
	/* As it left: a whole header behind its network header. */
	quote = icmp + ICMP_HEADER;
	quote += pkt_build_ip(dst, src, IPPROTO_TCP, TCP_HEADER_MIN, quote);
	put_be16(quote, t->local.port);
	put_be16(quote + 2, t->remote.port);
	put_be16(quote + 4, (uint16_t)(seq >> 16));
	put_be16(quote + 6, (uint16_t)seq);
	if (!v4)
		sum = csum_add_pseudo(0, src, dst, IPPROTO_ICMPV6,
				      (uint32_t)len);
	check = csum_finish(csum_add(sum, icmp, len));
	memcpy(icmp + 2, &check, 2);
	return l3_len + (int)len;
}

static struct addr loopback(uint8_t family)
{
	static const uint8_t v4[] = { 127, 0, 0, 1 };
	struct addr a;

	memset(&a, 0, sizeof(a));
	a.family = family;
	if (family == 4)
		memcpy(a.byte, v4, sizeof(v4));
	else
		a.byte[15] = 1;
	return a;
}

/* Its first option says who sent it, the others follow. */
static int veil_tcp(const struct pkt *p, const uint8_t *tcp, uint8_t *buf,
		    size_t size)
{
	const size_t addr_len = addr_size(&p->src.addr);
	const size_t rest = p->payload_off - p->l4_off - TCP_HEADER_MIN;
	const size_t len = TCP_HEADER_MIN + PKT_VEIL_HEAD + addr_len + rest;
	struct tuple t = pkt_tuple_in(p);
	int l3_len = buildable(&t);
	uint8_t *to;

	if (l3_len < 0 || p->payload_len || len > TCP_HEADER_MAX)
		return -EINVAL;
	if (size < (size_t)l3_len + len)
		return -EMSGSIZE;
	t.remote.addr = loopback(p->family);
	to = buf + l3_len;
	memcpy(to, tcp, TCP_HEADER_MIN);
	memset(to + 16, 0, 2); /* the checksum */
	to += PKT_VEIL_OFFSET;
	put_be32(to, p->family == 4 ? PKT_VEIL_HEAD4 : PKT_VEIL_HEAD6);
	to += PKT_VEIL_HEAD;
	memcpy(to, p->src.addr.byte, addr_len);
	memcpy(to + addr_len, tcp + TCP_HEADER_MIN, rest);
	return finish_tcp(&t, len, buf, buf + l3_len);
}

static int veil_error(const struct pkt *p, uint8_t *buf)
{
	const struct addr to = loopback(p->family);
	const size_t len = addr_size(&to);
	uint8_t *check = buf + (p->family == 4 ? 10 : p->l4_off + 2);
	uint8_t *src = buf + (p->family == 4 ? 12 : 8);
	uint16_t be16;

	memcpy(&be16, check, 2);
	be16 = csum_update(be16, src, to.byte, len);
	memcpy(check, &be16, 2);
	memcpy(src, to.byte, len);
	return (int)p->len;
}

int pkt_veil(const uint8_t *packet, size_t len, uint8_t *buf, size_t size)
{
	struct pkt p;
	enum pkt_result r = pkt_parse(packet, len, &p);

	if (r == PKT_OK && p.proto == IPPROTO_TCP)
		return veil_tcp(&p, packet + p.l4_off, buf, size);
	if (r != PKT_ICMP_ERROR)
		return -EINVAL;
	if (size < len)
		return -EMSGSIZE;
	memcpy(buf, packet, len);
	return veil_error(&p, buf);
}
