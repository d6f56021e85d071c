/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nonce: a packet on a flow that shows who is at its other end, or that its path
 * carries the flow. See nonce.h.
 */
#include "nonce.h"

#include <errno.h>
#include <string.h>

#include "crypto.h"
#include "csum.h"
#include "mutant.h"
#include "pkt.h"

enum {
	TCP_HEADER = 20,
	TCP_CHECK = 16,
	UDP_HEADER = 8,
	UDP_CHECK = 6,
	OPT_EOL = 0,
	OPT_TIMESTAMP = 8,
	TIMESTAMP_LEN = 10,
	OPT_EXPERIMENT = 254,
	HEAD_LEN = 6, /* kind, length, identifier */
	OPTION_LEN = HEAD_LEN + NONCE_MAC_SIZE,
	MAGIC_LEN = 8,
	UDP_PAYLOAD = MAGIC_LEN + NONCE_MAC_SIZE,
};

static const uint8_t option_head[HEAD_LEN] = {
	OPT_EXPERIMENT, OPTION_LEN, 'S', 'A', 'C', 'I',
};
static const uint8_t magic[MAGIC_LEN] = {
	0xd3, 0x5a, 0xc1, 0xb0, 'S', 'A', 'C', 'I',
};

static void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

static void put_be64(uint8_t *p, uint64_t v)
{
	put_be32(p, (uint32_t)(v >> 32));
	put_be32(p + 4, (uint32_t)v);
}

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

void nonce_mac(const uint8_t key[NONCE_KEY_SIZE],
	       const struct nonce_about *about, const struct nonce_numbers *n,
	       uint8_t mac[NONCE_MAC_SIZE])
{
	static const char label[] = "sacip nonce";
	uint8_t fields[1 + 4 + 8 + 8 + 4 * 4];
	const struct crypto_part parts[] = {
		{ label, sizeof(label) - 1 },
		{ fields, sizeof(fields) },
	};

	fields[0] = (uint8_t)about->way;
	put_be32(fields + 1, about->track);
	put_be64(fields + 5, about->seq);
	put_be64(fields + 13, about->flow_id);
	put_be32(fields + 21, n->seq);
	put_be32(fields + 25, n->ack);
	put_be32(fields + 29, n->stamped ? n->tsval : 0);
	put_be32(fields + 33, n->stamped ? n->tsecr : 0);
	crypto_blake2b(mac, NONCE_MAC_SIZE, key, NONCE_KEY_SIZE, parts, 2);
}

static void hash(const char *label, size_t label_len,
		 const struct nonce_ends *ends,
		 const uint8_t fresh[NONCE_MAC_SIZE], uint8_t *to, size_t len)
{
	const size_t key_len = MUTANT(keys_unbound) ? 0 : CRYPTO_KEY_SIZE;
	const struct crypto_part parts[] = {
		{ label, label_len },
		{ ends->offers, key_len },
		{ ends->answers, key_len },
		{ fresh, NONCE_MAC_SIZE },
	};

	crypto_blake2b(to, len, NULL, 0, parts,
		       sizeof(parts) / sizeof(*parts));
}

void nonce_tag(const struct nonce_ends *ends,
	       const uint8_t fresh[NONCE_MAC_SIZE], uint8_t tag[NONCE_MAC_SIZE])
{
	static const char label[] = "sacip tag";

	hash(label, sizeof(label) - 1, ends, fresh, tag, NONCE_MAC_SIZE);
}

void nonce_answer(const struct nonce_ends *ends,
		  const uint8_t fresh[NONCE_MAC_SIZE],
		  uint8_t to[NONCE_ANSWER_SIZE])
{
	static const char label[] = "sacip answer";

	hash(label, sizeof(label) - 1, ends, fresh, to, NONCE_ANSWER_SIZE);
}

/* The options' length; 4 divides it. */
static size_t put_options(const struct nonce_numbers *n,
			  const uint8_t mac[NONCE_MAC_SIZE], uint8_t *at)
{
	memcpy(at, option_head, HEAD_LEN);
	memcpy(at + HEAD_LEN, mac, NONCE_MAC_SIZE);
	at += OPTION_LEN;
	if (!n->stamped) {
		memset(at, OPT_EOL, 2);
		return OPTION_LEN + 2;
	}
	at[0] = OPT_TIMESTAMP;
	at[1] = TIMESTAMP_LEN;
	put_be32(at + 2, n->tsval);
	put_be32(at + 6, n->tsecr);
	return OPTION_LEN + TIMESTAMP_LEN;
}

static size_t put_tcp(const struct nonce_numbers *n,
		      const uint8_t mac[NONCE_MAC_SIZE], uint8_t *tcp)
{
	size_t len = TCP_HEADER + put_options(n, mac, tcp + TCP_HEADER);

	put_be32(tcp + 4, n->seq);
	put_be32(tcp + 8, n->ack);
	tcp[12] = (uint8_t)(len / 4 << 4);
	tcp[13] = PKT_TCP_ACK;
	put_be16(tcp + 14, n->window);
	memset(tcp + TCP_CHECK, 0, 4);
	return len;
}

static size_t put_udp(const uint8_t mac[NONCE_MAC_SIZE], uint8_t *udp)
{
	const size_t len = UDP_HEADER + UDP_PAYLOAD;

	put_be16(udp + 4, (uint16_t)len);
	memset(udp + UDP_CHECK, 0, 2);
	memcpy(udp + UDP_HEADER, magic, MAGIC_LEN);
	memcpy(udp + UDP_HEADER + MAGIC_LEN, mac, NONCE_MAC_SIZE);
	return len;
}

int nonce_build(const struct tuple *t, const struct nonce_numbers *n,
		const uint8_t mac[NONCE_MAC_SIZE], uint8_t *buf, size_t size)
{
	const struct addr *src = &t->local.addr, *dst = &t->remote.addr;
	const bool is_tcp = t->proto == IPPROTO_TCP;
	uint8_t l4[NONCE_PACKET_MAX];
	size_t l3_len, len;
	uint16_t check;
	uint64_t sum;

	if ((!is_tcp && t->proto != IPPROTO_UDP) || !addr_is_set(src) ||
	    src->family != dst->family)
		return -EINVAL;
	if (size < NONCE_PACKET_MAX)
		return -EMSGSIZE;
	len = is_tcp ? put_tcp(n, mac, l4) : put_udp(mac, l4);
	put_be16(l4, t->local.port);
	put_be16(l4 + 2, t->remote.port);
	sum = csum_add_pseudo(0, src, dst, t->proto, (uint32_t)len);
	check = csum_finish(csum_add(sum, l4, len));
	if (!is_tcp && check == 0)
		check = 0xffff; /* RFC 768 */
	memcpy(l4 + (is_tcp ? TCP_CHECK : UDP_CHECK), &check, 2);
	l3_len = pkt_build_ip(src, dst, t->proto, len, buf);
	memcpy(buf + l3_len, l4, len);
	return (int)(l3_len + len);
}

const uint8_t *nonce_in_header(const uint8_t *tcp, size_t header)
{
	if (header < TCP_HEADER + OPTION_LEN ||
	    memcmp(tcp + TCP_HEADER, option_head, HEAD_LEN))
		return NULL;
	return tcp + TCP_HEADER + HEAD_LEN;
}

const uint8_t *nonce_in_datagram(const uint8_t *payload, size_t len)
{
	if (len != UDP_PAYLOAD || memcmp(payload, magic, MAGIC_LEN))
		return NULL;
	return payload + MAGIC_LEN;
}

const uint8_t *nonce_find(const struct pkt *p, const uint8_t *buf)
{
	if (p->fragment || !p->payload_off)
		return NULL;
	if (p->proto == IPPROTO_UDP)
		return nonce_in_datagram(buf + p->payload_off, p->payload_len);
	if (p->proto != IPPROTO_TCP || p->tcp_flags != PKT_TCP_ACK ||
	    p->payload_len)
		return NULL;
	return nonce_in_header(buf + p->l4_off, p->payload_off - p->l4_off);
}

void nonce_read_numbers(const uint8_t *tcp, size_t header,
			struct nonce_numbers *n)
{
	uint32_t at = pkt_timestamp_off(tcp, (uint32_t)header);

	memset(n, 0, sizeof(*n));
	n->seq = get_be32(tcp + 4);
	n->ack = get_be32(tcp + 8);
	n->window = (uint16_t)(tcp[14] << 8 | tcp[15]);
	if (!at)
		return;
	n->stamped = true;
	n->tsval = get_be32(tcp + at + 2);
	n->tsecr = get_be32(tcp + at + 6);
}

void nonce_numbers_in(const struct pkt *p, const uint8_t *buf,
		      struct nonce_numbers *n)
{
	memset(n, 0, sizeof(*n));
	if (p->proto == IPPROTO_TCP)
		nonce_read_numbers(buf + p->l4_off,
				   p->payload_off - p->l4_off, n);
}
