/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rewrite: gives a packet other addresses and ports, in place. See
 * rewrite.h.
 *
 * Source and destination address stand side by side in both IP headers, and
 * so do the ports in TCP and UDP: a rewrite is two runs of bytes, and every
 * checksum over them changes by the difference of these runs.
 */
#include "rewrite.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "pkt.h"

enum {
	IPV4_CHECK_OFF = 10,
	IPV4_ADDRS_OFF = 12,
	IPV6_ADDRS_OFF = 8,
	PORTS_LEN = 4,
	TCP_CHECK_OFF = 16,
	TCP_HEADER = 20,
	ECHO_OFF = 6, /* in the time stamp option */
	ECHO_LEN = 4,
	UDP_CHECK_OFF = 6,
	UDP_HEADER = 8,
	ICMP_CHECK_OFF = 2,
	CHECK_LEN = 2,
};

/* Addresses, then ports, as they lie in a packet. */
struct run {
	size_t addrs_len; /* 8 or 32 */
	uint8_t byte[32 + PORTS_LEN];
};

struct rewrite_target rewrite_target_out(const struct tuple *t)
{
	return (struct rewrite_target){ .src = t->local, .dst = t->remote };
}

struct rewrite_target rewrite_target_in(const struct tuple *t)
{
	return (struct rewrite_target){ .src = t->remote, .dst = t->local };
}

static size_t addrs_off(const struct addr *a)
{
	return a->family == 4 ? IPV4_ADDRS_OFF : IPV6_ADDRS_OFF;
}

static size_t l4_check_off(uint8_t proto)
{
	return proto == IPPROTO_TCP ? TCP_CHECK_OFF : UDP_CHECK_OFF;
}

static struct run run_make(const struct endpoint *src,
			   const struct endpoint *dst)
{
	size_t size = addr_size(&src->addr);
	struct run r = { .addrs_len = 2 * size };
	uint8_t *ports = r.byte + r.addrs_len;

	memcpy(r.byte, src->addr.byte, size);
	memcpy(r.byte + size, dst->addr.byte, size);
	ports[0] = (uint8_t)(src->port >> 8);
	ports[1] = (uint8_t)src->port;
	ports[2] = (uint8_t)(dst->port >> 8);
	ports[3] = (uint8_t)dst->port;
	return r;
}

static bool target_fits(const struct rewrite_target *to, uint8_t family)
{
	return to->src.addr.family == family && to->dst.addr.family == family;
}

/* Writes the run, and the IPv4 header checksum where there is one. */
static void put_run(uint8_t *l3, uint8_t *l4, size_t off,
		    const struct run *old, const struct run *now)
{
	uint16_t check;

	if (off == IPV4_ADDRS_OFF) {
		memcpy(&check, l3 + IPV4_CHECK_OFF, CHECK_LEN);
		check = csum_update(check, old->byte, now->byte,
				    now->addrs_len);
		memcpy(l3 + IPV4_CHECK_OFF, &check, CHECK_LEN);
	}
	memcpy(l3 + off, now->byte, now->addrs_len);
	memcpy(l4, now->byte + now->addrs_len, PORTS_LEN);
}

/* RFC 768: 0 means that the sender made no checksum. It is kept over IPv6
 * as well, where RFC 6935 allows it to tunnels. */
static uint16_t update_l4_check(uint16_t check, uint8_t proto,
				const struct run *old, const struct run *now)
{
	if (proto == IPPROTO_UDP && check == 0)
		return 0;
	check = csum_update(check, old->byte, now->byte,
			    now->addrs_len + PORTS_LEN);
	return proto == IPPROTO_UDP && check == 0 ? 0xffff : check;
}

/* The checksum of a TCP or UDP packet whose field is zero. */
static uint16_t sum_l4(const struct pkt *p, const uint8_t *buf,
		       enum csum_state csum)
{
	uint32_t len = p->len - p->l4_off;
	uint16_t check;
	uint64_t sum;

	/* UDP's own length counts; what may follow is not summed. */
	if (p->proto == IPPROTO_UDP)
		len = p->payload_len + UDP_HEADER;
	sum = csum_add_pseudo(0, &p->src.addr, &p->dst.addr, p->proto, len);
	if (csum == CSUM_GSO_OUT && p->proto == IPPROTO_TCP)
		return csum_fold(sum);
	check = csum_finish(csum_add(sum, buf + p->l4_off, len));
	return p->proto == IPPROTO_UDP && check == 0 ? 0xffff : check;
}

int rewrite_packet(struct pkt *p, uint8_t *buf,
		   const struct rewrite_target *to, enum csum_state csum)
{
	uint8_t *l4 = buf + p->l4_off, *at = l4 + l4_check_off(p->proto);
	uint16_t check = 0;
	struct run old, now;

	if (p->payload_off == 0 || !target_fits(to, p->family) ||
	    (p->fragment && csum != CSUM_READY))
		return -EINVAL;
	old = run_make(&p->src, &p->dst);
	now = run_make(&to->src, &to->dst);
	put_run(buf, l4, addrs_off(&to->src.addr), &old, &now);
	p->src = to->src;
	p->dst = to->dst;
	if (csum == CSUM_READY) {
		memcpy(&check, at, CHECK_LEN);
		check = update_l4_check(check, p->proto, &old, &now);
	} else {
		memset(at, 0, CHECK_LEN);
		check = sum_l4(p, buf, csum);
	}
	memcpy(at, &check, CHECK_LEN);
	return 0;
}

/* Where TSecr is from the TCP header on, or 0. */
static uint32_t echo_off(const struct pkt *p, const uint8_t *tcp)
{
	uint32_t at = pkt_timestamp_off(tcp, p->payload_off - p->l4_off);

	return at ? at + ECHO_OFF : 0;
}

uint32_t rewrite_echo(const struct pkt *p, const uint8_t *buf)
{
	const uint8_t *tcp = buf + p->l4_off;
	uint32_t be32_echo, off;

	if (p->proto != IPPROTO_TCP || p->payload_off == 0 || p->fragment)
		return 0;
	off = echo_off(p, tcp);
	if (!off)
		return 0;
	memcpy(&be32_echo, tcp + off, sizeof(be32_echo));
	return ntohl(be32_echo);
}

void rewrite_forget_echo(const struct pkt *p, uint8_t *buf,
			 enum csum_state csum)
{
	uint8_t *tcp = buf + p->l4_off, *at;
	uint8_t old[6], now[6];
	uint16_t check;
	uint32_t off;
	size_t len;

	if (p->proto != IPPROTO_TCP || p->payload_off == 0 || p->fragment)
		return;
	off = echo_off(p, tcp);
	if (!off)
		return;
	/* Whole words around it: an option may begin anywhere. */
	at = tcp + (off & ~1u);
	len = off & 1 ? 6 : 4;
	memcpy(old, at, len);
	memset(tcp + off, 0, ECHO_LEN);
	memcpy(now, at, len);
	if (csum != CSUM_READY)
		return;
	memcpy(&check, tcp + TCP_CHECK_OFF, CHECK_LEN);
	check = csum_update(check, old, now, len);
	memcpy(tcp + TCP_CHECK_OFF, &check, CHECK_LEN);
}

static uint16_t sum_icmp(const struct pkt *p, const uint8_t *buf)
{
	uint32_t len = p->len - p->l4_off;
	uint64_t sum = 0;

	if (p->family == 6) /* RFC 4443, section 2.3 */
		sum = csum_add_pseudo(0, &p->src.addr, &p->dst.addr, p->proto,
				      len);
	return csum_finish(csum_add(sum, buf + p->l4_off, len));
}

/*
 * The ICMP checksum changes by all that changes in the quote: what lies
 * between its first byte and the last one that may be touched is compared
 * before and after. A header checksum in the quote cancels the addresses out
 * only where it was right, so nothing is taken for granted.
 */
int rewrite_icmp_quote(struct pkt *p, uint8_t *buf,
		       const struct rewrite_target *to, enum csum_state csum)
{
	struct pkt_quote *q = &p->quote;
	uint8_t *l3 = buf + q->l3_off, *l4 = buf + q->l4_off;
	uint8_t *icmp_check = buf + p->l4_off + ICMP_CHECK_OFF, *at;
	uint16_t outer, before[2] = { 0 }, after[2] = { 0 };
	struct run old, now;

	if (q->l4_off == 0 || !target_fits(to, p->family))
		return -EINVAL;
	old = run_make(&q->src, &q->dst);
	now = run_make(&to->src, &to->dst);
	at = l4 + l4_check_off(q->proto);

	if (p->family == 4)
		memcpy(&before[0], l3 + IPV4_CHECK_OFF, CHECK_LEN);
	put_run(l3, l4, addrs_off(&to->src.addr), &old, &now);
	if (p->family == 4)
		memcpy(&after[0], l3 + IPV4_CHECK_OFF, CHECK_LEN);
	if (at + CHECK_LEN <= buf + q->end) {
		memcpy(&before[1], at, CHECK_LEN);
		after[1] = update_l4_check(before[1], q->proto, &old, &now);
		memcpy(at, &after[1], CHECK_LEN);
	}
	q->src = to->src;
	q->dst = to->dst;

	if (csum != CSUM_READY) {
		memset(icmp_check, 0, CHECK_LEN);
		outer = sum_icmp(p, buf);
	} else {
		memcpy(&outer, icmp_check, CHECK_LEN);
		outer = csum_update(outer, old.byte, now.byte,
				    now.addrs_len + PORTS_LEN);
		outer = csum_update(outer, before, after, sizeof(before));
	}
	memcpy(icmp_check, &outer, CHECK_LEN);
	return 0;
}
