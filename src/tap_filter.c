/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap_filter: which packets of the host are copied, as a program of classic
 * BPF.
 *
 * Owns the program. What costs is to load from a packet (a call each), and
 * every packet of the host comes here: so both addresses are loaded once, and
 * a pair is told from the others by one number.
 */
#include "tap_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define WHOLE 0x40000
/* One leaf: its number, protocol and eight words, two instructions each. */
#define LEAF_MAX 21
#define AROUND_MAX 128 /* instructions before and after the leaves */
#define PROGRAM_MAX (AROUND_MAX + TAP_PAIRS_PER_SOCKET * LEAF_MAX)
_Static_assert(PROGRAM_MAX <= BPF_MAXINSNS, "the kernel takes no more");

/* The program's memory, in words. */
enum { REMOTE = 0, LOCAL = 4, NUMBER = 8, PROTO = 9 };

#define TO_NEXT_PAIR 255 /* until it is known where that is */

struct program {
	struct sock_filter code[PROGRAM_MAX];
	uint16_t n;
};

static void emit(struct program *p, uint16_t code, uint32_t k)
{
	p->code[p->n++] = (struct sock_filter){ code, 0, 0, k };
}

static void jump(struct program *p, uint16_t test, uint32_t k, uint8_t jt,
		 uint8_t jf)
{
	p->code[p->n++] = (struct sock_filter){
		(uint16_t)(BPF_JMP | test | BPF_K), jt, jf, k
	};
}

static void load(struct program *p, uint16_t size, int32_t offset)
{
	emit(p, (uint16_t)(BPF_LD | BPF_ABS | size), (uint32_t)offset);
}

static void reject(struct program *p)
{
	emit(p, BPF_RET | BPF_K, 0);
}

/* Else it is rejected. */
static void require(struct program *p, uint16_t test, uint32_t k)
{
	jump(p, test, k, 1, 0);
	reject(p);
}

/* Of an address: its 32-bit words, in the order of the host. */
static unsigned int words_of(const struct addr *a, uint32_t word[4])
{
	const unsigned int n = a->family == 4 ? 1 : 4;

	for (unsigned int i = 0; i < n; i++) {
		memcpy(&word[i], a->byte + i * 4, 4);
		word[i] = ntohl(word[i]);
	}
	return n;
}

static uint32_t number_of(const struct addr *remote)
{
	uint32_t word[4], number = 0;
	unsigned int n = words_of(remote, word);

	for (unsigned int i = 0; i < n; i++)
		number ^= word[i];
	return number;
}

static void keep_addr(struct program *p, uint32_t to, int32_t offset,
		      unsigned int words)
{
	for (unsigned int i = 0; i < words; i++) {
		load(p, BPF_W, SKF_NET_OFF + offset + 4 * (int32_t)i);
		emit(p, BPF_ST, to + i);
	}
}

/* Which of the addresses is ours, the direction tells. */
static void keep_addrs(struct program *p, bool v4)
{
	const int32_t src = v4 ? 12 : 8, dst = v4 ? 16 : 24;
	const unsigned int words = v4 ? 1 : 4;
	uint16_t inbound, end;

	load(p, BPF_B, SKF_AD_OFF + SKF_AD_PKTTYPE);
	inbound = p->n;
	jump(p, BPF_JEQ, PACKET_OUTGOING, 0, 0);
	keep_addr(p, REMOTE, dst, words);
	keep_addr(p, LOCAL, src, words);
	end = p->n;
	emit(p, BPF_JMP | BPF_JA, 0);
	p->code[inbound].jf = (uint8_t)(p->n - inbound - 1);
	require(p, BPF_JEQ, PACKET_HOST);
	keep_addr(p, REMOTE, src, words);
	keep_addr(p, LOCAL, dst, words);
	p->code[end].k = p->n - end - 1u;

	emit(p, BPF_LD | BPF_MEM, REMOTE);
	for (unsigned int i = 1; i < words; i++) {
		emit(p, BPF_LDX | BPF_MEM, REMOTE + i);
		emit(p, BPF_ALU | BPF_XOR | BPF_X, 0);
	}
	emit(p, BPF_ST, NUMBER);
}

static void need(struct program *p, uint32_t at, uint32_t value)
{
	emit(p, BPF_LD | BPF_MEM, at);
	jump(p, BPF_JEQ, value, 0, TO_NEXT_PAIR);
}

static void need_addr(struct program *p, uint32_t at, const struct addr *a)
{
	uint32_t word[4];
	unsigned int n = words_of(a, word);

	for (unsigned int i = 0; i < n; i++)
		need(p, at + i, word[i]);
}

static void take_pair(struct program *p, const struct tap *t)
{
	uint16_t begin = p->n;

	need(p, NUMBER, number_of(&t->remote));
	need(p, PROTO, t->proto);
	need_addr(p, REMOTE, &t->remote);
	need_addr(p, LOCAL, &t->local);
	emit(p, BPF_RET | BPF_K, t->proto == IPPROTO_TCP ?
	     TAP_SNAP_TCP + LINK_HEADER_MAX : WHOLE);
	for (uint16_t i = begin; i < p->n; i++)
		if (BPF_CLASS(p->code[i].code) == BPF_JMP &&
		    p->code[i].jf == TO_NEXT_PAIR)
			p->code[i].jf = (uint8_t)(p->n - i - 1);
}

/* Offsets are taken from the network header, whatever is in front of it. */
static void take_family(struct program *p, uint8_t family,
			struct tap *const *pair, unsigned int n)
{
	const bool v4 = family == 4;
	bool any = false;

	for (unsigned int i = 0; i < n; i++)
		any = any || pair[i]->local.family == family;
	if (any) {
		load(p, BPF_B, SKF_NET_OFF + (v4 ? 9 : 6));
		emit(p, BPF_ST, PROTO);
		if (v4) {
			/* No fragment: no offset, nor "more to come". */
			load(p, BPF_H, SKF_NET_OFF + 6);
			emit(p, BPF_ALU | BPF_AND | BPF_K, 0x3fff);
			require(p, BPF_JEQ, 0);
		}
		keep_addrs(p, v4);
	}
	for (unsigned int i = 0; i < n; i++)
		if (pair[i]->local.family == family)
			take_pair(p, pair[i]);
	reject(p);
}

static void build(struct program *p, struct tap *const *pair, unsigned int n)
{
	uint16_t to_v4;

	memset(p, 0, sizeof(*p));
	if (!n) {
		reject(p);
		return;
	}
	/* Everything on lo has been or will be elsewhere, or is injected. */
	load(p, BPF_W, SKF_AD_OFF + SKF_AD_IFINDEX);
	require(p, BPF_JGT, LOOPBACK_IFINDEX);
	load(p, BPF_H, SKF_AD_OFF + SKF_AD_PROTOCOL);
	jump(p, BPF_JEQ, ETH_P_IP, 0, 1);
	to_v4 = p->n;
	emit(p, BPF_JMP | BPF_JA, 0);
	require(p, BPF_JEQ, ETH_P_IPV6);
	take_family(p, 6, pair, n);
	p->code[to_v4].k = p->n - to_v4 - 1u;
	take_family(p, 4, pair, n);
}

int tap_filter(int fd, struct tap *const *pair, unsigned int n)
{
	struct program p;
	struct sock_fprog fprog = { .filter = p.code };

	build(&p, pair, n);
	fprog.len = p.n;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &fprog,
			  sizeof(fprog)) < 0 ? -errno : 0;
}
