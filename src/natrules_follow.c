/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natrules_follow: may these rules translate the first packet of a flow?
 *
 * Owns the walk, what is known in each register, and which bits of the
 * packet's mark a rule may have changed on the way. Never guesses "no".
 */
#include "natrules_impl.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/xt_connmark.h>
#include <linux/netfilter/xt_mark.h>
#include <string.h>

#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>

#define REGISTERS 32 /* of 4 bytes: NFT_REG32_00 .. _15, after the old ones */
#define REGISTER_SIZE 16

struct value {
	bool known;
	uint32_t len;
	uint8_t byte[REGISTER_SIZE];
	uint32_t unsure; /* bits of the first four bytes that may differ */
	uint32_t own_mark; /* bits of them that are the packet's mark's */
};

enum outcome {
	GOES_ON, /* past the end of the chain, or returned */
	ACCEPTED, /* by a rule that surely matches: no NAT behind it */
	TRANSLATED, /* by one that may match */
};

/* The old registers 1 to 4 have 16 bytes each, those from 8 on 4 bytes. Any
 * other (the verdict's) is the one behind the last: never known. */
static struct value *reg(struct value *regs, uint32_t number)
{
	if (number >= NFT_REG_1 && number <= NFT_REG_4)
		number = NFT_REG32_00 + (number - NFT_REG_1) * 4;
	if (number < NFT_REG32_00 || number - NFT_REG32_00 >= REGISTERS) {
		regs[REGISTERS].known = false;
		return &regs[REGISTERS];
	}
	return &regs[number - NFT_REG32_00];
}

static void know(struct value *v, const void *bytes, uint32_t len)
{
	v->known = len <= REGISTER_SIZE;
	v->unsure = v->own_mark = 0;
	v->len = v->known ? len : 0;
	if (v->known)
		memcpy(v->byte, bytes, len);
}

/* `meta mark set meta mark and 0xff or 0x100` leaves the other bits alone. */
static void set_mark(struct subject *s, const struct value *v)
{
	s->may_set |= v->known ? ~v->own_mark : NATRULES_ALL_BITS;
}

static void load_meta(struct subject *s, const struct nftnl_expr *e,
		      struct value *regs)
{
	struct value *v;
	uint8_t family = s->tuple->local.addr.family == 4 ? NFPROTO_IPV4 :
							    NFPROTO_IPV6;

	if (!nftnl_expr_is_set(e, NFTNL_EXPR_META_DREG)) {
		if (nftnl_expr_get_u32(e, NFTNL_EXPR_META_KEY) ==
		    NFT_META_MARK)
			set_mark(s, reg(regs, nftnl_expr_get_u32(
						  e, NFTNL_EXPR_META_SREG)));
		return;
	}
	v = reg(regs, nftnl_expr_get_u32(e, NFTNL_EXPR_META_DREG));
	v->known = false;
	switch (nftnl_expr_get_u32(e, NFTNL_EXPR_META_KEY)) {
	case NFT_META_OIFNAME:
		know(v, s->oifname, IFNAMSIZ);
		break;
	case NFT_META_OIF:
		know(v, &s->oif, sizeof(s->oif));
		break;
	case NFT_META_L4PROTO:
		know(v, &s->tuple->proto, 1);
		break;
	case NFT_META_NFPROTO:
		know(v, &family, 1);
		break;
	case NFT_META_MARK:
		know(v, &s->mark, sizeof(s->mark));
		v->unsure = s->may_set;
		v->own_mark = NATRULES_ALL_BITS;
		break;
	default:
		break;
	}
}

/* Copies what lies at [offset, offset + len) of a header whose known fields
 * are given; unknown where it touches any other byte. */
struct field {
	uint32_t offset, len;
	const void *bytes;
};

static void load_fields(struct value *v, const struct field *f, size_t n,
			uint32_t offset, uint32_t len)
{
	for (size_t i = 0; i < n; i++) {
		if (offset < f[i].offset ||
		    offset + len > f[i].offset + f[i].len)
			continue;
		know(v, (const uint8_t *)f[i].bytes + (offset - f[i].offset),
		     len);
		return;
	}
}

static void load_payload(const struct subject *s, const struct nftnl_expr *e,
			 struct value *regs)
{
	const struct tuple *t = s->tuple;
	bool four = t->local.addr.family == 4;
	uint16_t be16_sport = htons(t->local.port);
	uint16_t be16_dport = htons(t->remote.port);
	const struct field network4[] = {
		{ 9, 1, &t->proto },
		{ 12, 4, t->local.addr.byte },
		{ 16, 4, t->remote.addr.byte },
	};
	const struct field network6[] = {
		{ 8, 16, t->local.addr.byte },
		{ 24, 16, t->remote.addr.byte },
	};
	const struct field transport[] = {
		{ 0, 2, &be16_sport },
		{ 2, 2, &be16_dport },
	};
	uint32_t base = nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_BASE);
	uint32_t offset = nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET);
	uint32_t len = nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_LEN);
	struct value *v;

	if (!nftnl_expr_is_set(e, NFTNL_EXPR_PAYLOAD_DREG))
		return;
	v = reg(regs, nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_DREG));
	v->known = false;
	if (len > REGISTER_SIZE || offset > 64)
		return;
	if (base == NFT_PAYLOAD_NETWORK_HEADER && four)
		load_fields(v, network4, 3, offset, len);
	else if (base == NFT_PAYLOAD_NETWORK_HEADER)
		load_fields(v, network6, 2, offset, len);
	else if (base == NFT_PAYLOAD_TRANSPORT_HEADER)
		load_fields(v, transport, 2, offset, len);
}

static void apply_bitwise(const struct nftnl_expr *e, struct value *regs)
{
	struct value from =
		*reg(regs, nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_SREG));
	struct value *to =
		reg(regs, nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_DREG));
	uint32_t mask_len = 0, xor_len = 0;
	uint32_t head_mask = 0, head_xor = 0;
	const uint8_t *mask = NULL;
	const uint8_t *xor = NULL;

	to->known = false;
	if (nftnl_expr_is_set(e, NFTNL_EXPR_BITWISE_MASK))
		mask = nftnl_expr_get(e, NFTNL_EXPR_BITWISE_MASK, &mask_len);
	if (nftnl_expr_is_set(e, NFTNL_EXPR_BITWISE_XOR))
		xor = nftnl_expr_get(e, NFTNL_EXPR_BITWISE_XOR, &xor_len);
	if (!from.known || !mask || !xor || mask_len < from.len ||
	    xor_len < from.len)
		return;
	for (uint32_t i = 0; i < from.len; i++)
		from.byte[i] = (uint8_t)((from.byte[i] & mask[i]) ^ xor[i]);
	know(to, from.byte, from.len);
	if (from.len != sizeof(head_mask))
		return;
	memcpy(&head_mask, mask, sizeof(head_mask));
	memcpy(&head_xor, xor, sizeof(head_xor));
	to->unsure = from.unsure & head_mask;
	to->own_mark = from.own_mark & head_mask & ~head_xor;
}

static void apply_immediate(const struct nftnl_expr *e, struct value *regs)
{
	uint32_t len = 0;
	const void *data = nftnl_expr_get(e, NFTNL_EXPR_IMM_DATA, &len);
	struct value *v = reg(regs, nftnl_expr_get_u32(e,
						       NFTNL_EXPR_IMM_DREG));

	v->known = false;
	if (data)
		know(v, data, len);
}

/* True where the packet surely fails the comparison. */
static bool fails(const struct nftnl_expr *e, struct value *regs,
		  bool *certain)
{
	struct value v =
		*reg(regs, nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_SREG));
	uint8_t want[REGISTER_SIZE] = { 0 };
	uint32_t len = 0;
	const void *data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &len);
	uint32_t op = nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_OP);
	bool differs, sure;

	if (!v.known || !data || len > v.len ||
	    (op != NFT_CMP_EQ && op != NFT_CMP_NEQ)) {
		*certain = false;
		return false;
	}
	memcpy(want, data, len);
	for (size_t i = 0; i < sizeof(v.unsure) && v.unsure; i++) {
		uint8_t bits = ((const uint8_t *)&v.unsure)[i];

		want[i] = (uint8_t)(want[i] & ~bits);
		v.byte[i] = (uint8_t)(v.byte[i] & ~bits);
	}
	differs = memcmp(v.byte, want, len) != 0;
	sure = differs || !v.unsure;
	*certain = *certain && sure;
	return sure && (op == NFT_CMP_EQ ? differs : !differs);
}

/* ---- x_tables ------------------------------------------------------------ */

bool natrules_fails_match(const struct subject *s, const char *name,
			  uint32_t rev, const void *data, uint32_t len,
			  bool *certain)
{
	struct xt_mark_mtinfo1 info;
	bool differs, sure;

	if (name && !strcmp(name, "comment"))
		return false;
	if (!name || strcmp(name, "mark") || !data || len < sizeof(info) ||
	    rev != 1) {
		*certain = false;
		return false;
	}
	memcpy(&info, data, sizeof(info));
	differs = ((s->mark & info.mask) ^ info.mark) & ~s->may_set;
	sure = differs || !(s->may_set & info.mask);
	*certain = *certain && sure;
	return sure && (info.invert ? !differs : differs);
}

/* `-j CONNMARK`, revision 1 or 2: which bits of the mark it may change. */
static uint32_t connmark_sets(uint32_t rev, const void *data, uint32_t len)
{
	struct xt_connmark_tginfo1 one;
	struct xt_connmark_tginfo2 two;

	if (rev == 1 && len >= sizeof(one)) {
		memcpy(&one, data, sizeof(one));
		return one.mode == XT_CONNMARK_RESTORE ?
			       one.nfmask | one.ctmask : 0;
	}
	if (rev != 2 || len < sizeof(two))
		return NATRULES_ALL_BITS;
	memcpy(&two, data, sizeof(two));
	if (two.mode != XT_CONNMARK_RESTORE)
		return 0;
	return two.shift_bits ? NATRULES_ALL_BITS : two.nfmask | two.ctmask;
}

uint32_t natrules_target_sets(const char *name, uint32_t rev,
			      const void *data, uint32_t len)
{
	struct xt_mark_tginfo2 mark;

	if (!name)
		return NATRULES_ALL_BITS;
	if (!strcmp(name, "CONNMARK"))
		return data ? connmark_sets(rev, data, len) :
			      NATRULES_ALL_BITS;
	if (!strcmp(name, "MARK") && rev == 2 && data && len >= sizeof(mark)) {
		memcpy(&mark, data, sizeof(mark));
		return mark.mark | mark.mask;
	}
	return !strcmp(name, "MARK") || !strcmp(name, "HMARK") ||
	       !strcmp(name, "SET") || !strcmp(name, "TPROXY") ?
		       NATRULES_ALL_BITS : 0;
}

static bool match_fails(const struct subject *s, const struct nftnl_expr *e,
			bool *certain)
{
	uint32_t len = 0;
	const void *data = nftnl_expr_get(e, NFTNL_EXPR_MT_INFO, &len);

	return natrules_fails_match(s,
				    nftnl_expr_get_str(e, NFTNL_EXPR_MT_NAME),
				    nftnl_expr_get_u32(e, NFTNL_EXPR_MT_REV),
				    data, len, certain);
}

static uint32_t target_sets(const struct nftnl_expr *e)
{
	uint32_t len = 0;
	const void *data = nftnl_expr_get(e, NFTNL_EXPR_TG_INFO, &len);

	return natrules_target_sets(nftnl_expr_get_str(e, NFTNL_EXPR_TG_NAME),
				    nftnl_expr_get_u32(e, NFTNL_EXPR_TG_REV),
				    data, len);
}

/* ---- the first address --------------------------------------------------- */

/* [offset, +len) of a network header: in an address, and whose? */
static bool find_address(struct natrules_address *a, uint32_t offset,
			 uint32_t len)
{
	const uint32_t size = a->family == 4 ? 4 : 16;
	const uint32_t source = a->family == 4 ? 12 : 8;

	a->is_remote = offset == source + size;
	a->len = (uint8_t)len;
	return len && len <= size && (a->is_remote || offset == source);
}

/* `e` is a comparison for equality of what was just loaded into `dreg`; its
 * bytes go to `to`. */
static bool is_compared(const struct nftnl_expr *e, uint32_t dreg, void *to,
			uint32_t len)
{
	uint32_t have = 0;
	const void *data;

	if (!e || strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "cmp") ||
	    nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_OP) != NFT_CMP_EQ ||
	    nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_SREG) != dreg)
		return false;
	data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &have);
	if (!data || have != len)
		return false;
	memcpy(to, data, len);
	return true;
}

/* In a table for both families its family comes first. */
static struct nftnl_expr *skip_family(struct nftnl_expr_iter *it,
				      struct nftnl_expr *e, uint8_t *family)
{
	uint8_t is;

	if (strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "meta") ||
	    nftnl_expr_get_u32(e, NFTNL_EXPR_META_KEY) != NFT_META_NFPROTO ||
	    !nftnl_expr_is_set(e, NFTNL_EXPR_META_DREG) ||
	    !is_compared(nftnl_expr_iter_next(it),
			 nftnl_expr_get_u32(e, NFTNL_EXPR_META_DREG), &is, 1))
		return NULL;
	*family = is;
	return nftnl_expr_iter_next(it);
}

static bool read_first(const struct nftnl_rule *r, struct nftnl_expr_iter *it,
		       struct natrules_address *a)
{
	uint8_t family = (uint8_t)nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY);
	struct nftnl_expr *e = nftnl_expr_iter_next(it);

	if (e && family == NFPROTO_INET)
		e = skip_family(it, e, &family);
	a->family = family == NFPROTO_IPV4 ? 4 : 6;
	return e && (family == NFPROTO_IPV4 || family == NFPROTO_IPV6) &&
	       !strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "payload") &&
	       nftnl_expr_is_set(e, NFTNL_EXPR_PAYLOAD_DREG) &&
	       nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_BASE) ==
		       NFT_PAYLOAD_NETWORK_HEADER &&
	       find_address(a,
			    nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET),
			    nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_LEN)) &&
	       is_compared(nftnl_expr_iter_next(it),
			   nftnl_expr_get_u32(e, NFTNL_EXPR_PAYLOAD_DREG),
			   a->byte, a->len);
}

void natrules_first_address(const struct nftnl_rule *r,
			    struct natrules_address *a)
{
	struct nftnl_expr_iter *it = nftnl_expr_iter_create(r);

	if (!it || !read_first(r, it, a))
		a->family = 0;
	if (it)
		nftnl_expr_iter_destroy(it);
}

/* False too where the rule asks for none. */
static bool has_another_address(const struct subject *s,
				const struct natrules_address *a)
{
	const struct addr *is = a->is_remote ? &s->tuple->remote.addr :
					       &s->tuple->local.addr;

	return a->family && (a->family != is->family ||
			     memcmp(a->byte, is->byte, a->len) != 0);
}

/* ---- the walk ------------------------------------------------------------ */

static bool is_translation(const struct nftnl_expr *e, const char *name)
{
	const char *target;

	if (!strcmp(name, "masq"))
		return true;
	if (!strcmp(name, "nat"))
		return nftnl_expr_get_u32(e, NFTNL_EXPR_NAT_TYPE) ==
		       NFT_NAT_SNAT;
	if (strcmp(name, "target"))
		return false;
	target = nftnl_expr_get_str(e, NFTNL_EXPR_TG_NAME);
	return target && (!strcmp(target, "MASQUERADE") ||
			  !strcmp(target, "SNAT") ||
			  !strcmp(target, "NETMAP"));
}

static enum outcome walk(struct subject *s, uint32_t family,
			 const char *table, const char *chain,
			 unsigned int depth);

static bool is_chain(const struct nftnl_chain *c, uint32_t family,
		     const char *table)
{
	return nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY) == family &&
	       !strcmp(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE), table);
}

/* A verdict map: the packet may come to any chain of the table. */
static enum outcome walk_any(struct subject *s, const struct nftnl_rule *r,
			     unsigned int depth)
{
	uint32_t family = nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY);
	const char *table = nftnl_rule_get_str(r, NFTNL_RULE_TABLE);

	for (unsigned int i = 0; i < s->n->n_chains; i++) {
		const struct nftnl_chain *c = s->n->chain[i].chain;

		if (is_chain(c, family, table) &&
		    !nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
		    walk(s, family, table,
			 nftnl_chain_get_str(c, NFTNL_CHAIN_NAME),
			 depth + NATRULES_DEPTH_MAX / 2) == TRANSLATED)
			return TRANSLATED;
	}
	return GOES_ON;
}

static enum outcome verdict(struct subject *s, const struct nftnl_rule *r,
			    const struct nftnl_expr *e, unsigned int depth,
			    bool certain, bool *returns)
{
	uint32_t code = nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_VERDICT);
	enum outcome o = GOES_ON;

	switch ((int32_t)code) {
	case NFT_JUMP:
	case NFT_GOTO:
		o = walk(s, nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY),
			 nftnl_rule_get_str(r, NFTNL_RULE_TABLE),
			 nftnl_expr_get_str(e, NFTNL_EXPR_IMM_CHAIN),
			 depth + 1);
		*returns = certain && (int32_t)code == NFT_GOTO;
		break;
	case NFT_RETURN:
		*returns = certain;
		break;
	default: /* accept, drop */
		o = ACCEPTED;
		break;
	}
	return o == ACCEPTED && !certain ? GOES_ON : o;
}

/* One expression that is neither a NAT statement nor a verdict. False where
 * the packet surely goes no further in this rule. */
static bool pass(struct subject *s, const struct nftnl_expr *e,
		 const char *name, struct value *regs, bool *certain)
{
	if (!strcmp(name, "meta"))
		load_meta(s, e, regs);
	else if (!strcmp(name, "payload"))
		load_payload(s, e, regs);
	else if (!strcmp(name, "bitwise"))
		apply_bitwise(e, regs);
	else if (!strcmp(name, "immediate"))
		apply_immediate(e, regs);
	else if (!strcmp(name, "cmp"))
		return !fails(e, regs, certain);
	else if (!strcmp(name, "match"))
		return !match_fails(s, e, certain);
	else if (!strcmp(name, "target"))
		s->may_set |= target_sets(e);
	else if (strcmp(name, "counter") && strcmp(name, "log")) {
		/* it may write to any register */
		memset(regs, 0, (REGISTERS + 1) * sizeof(*regs));
		*certain = false;
	}
	return true;
}

static enum outcome apply(struct subject *s, const struct nftnl_rule *r,
			  unsigned int depth, bool *returns)
{
	struct value regs[REGISTERS + 1];
	struct nftnl_expr_iter *it = nftnl_expr_iter_create(r);
	struct nftnl_expr *e;
	enum outcome o = GOES_ON;
	bool certain = true;

	memset(regs, 0, sizeof(regs));
	while (it && o == GOES_ON && (e = nftnl_expr_iter_next(it))) {
		const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);

		if (is_translation(e, name))
			o = TRANSLATED;
		else if (!strcmp(name, "immediate") &&
			 nftnl_expr_is_set(e, NFTNL_EXPR_IMM_VERDICT)) {
			o = verdict(s, r, e, depth, certain, returns);
			break;
		} else if (!pass(s, e, name, regs, &certain))
			break;
		else if (!strcmp(name, "lookup") &&
			 nftnl_expr_is_set(e, NFTNL_EXPR_LOOKUP_DREG) &&
			 nftnl_expr_get_u32(e, NFTNL_EXPR_LOOKUP_DREG) ==
				 NFT_REG_VERDICT)
			o = walk_any(s, r, depth);
	}
	if (it)
		nftnl_expr_iter_destroy(it);
	return o;
}

/* What cannot be followed counts as a rule that sets any mark, too. */
static enum outcome give_up(struct subject *s)
{
	s->may_set = NATRULES_ALL_BITS;
	return TRANSLATED;
}

static enum outcome walk(struct subject *s, uint32_t family,
			 const char *table, const char *chain,
			 unsigned int depth)
{
	const struct natrules_chain *c = NULL;

	if (depth > NATRULES_DEPTH_MAX || !table || !chain)
		return give_up(s);
	for (unsigned int i = 0; i < s->n->n_chains && !c; i++)
		if (is_chain(s->n->chain[i].chain, family, table) &&
		    !strcmp(nftnl_chain_get_str(s->n->chain[i].chain,
						NFTNL_CHAIN_NAME), chain))
			c = &s->n->chain[i];
	for (unsigned int i = 0; c && i < c->n; i++) {
		const struct natrules_rule *r = &s->n->rule[c->first + i];
		bool returns = false;
		enum outcome o;

		if (++s->n_applied > NATRULES_APPLIED_MAX)
			return give_up(s);
		if (has_another_address(s, &r->first))
			continue;
		o = apply(s, r->rule, depth, &returns);
		if (o != GOES_ON)
			return o;
		if (returns)
			break;
	}
	return GOES_ON;
}

static bool is_at(const struct nftnl_chain *c, uint32_t hook)
{
	return nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
	       nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) == hook;
}

/* Walks the chains at a hook that packets of this family pass. */
static bool walk_hook(struct subject *s, uint32_t hook)
{
	uint32_t family = s->tuple->local.addr.family == 4 ? NFPROTO_IPV4 :
							     NFPROTO_IPV6;
	bool translated = false;

	for (unsigned int i = 0; i < s->n->n_chains; i++) {
		const struct nftnl_chain *c = s->n->chain[i].chain;
		uint32_t f = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY);

		if (!is_at(c, hook) || (f != family && f != NFPROTO_INET))
			continue;
		if (walk(s, f, nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE),
			 nftnl_chain_get_str(c, NFTNL_CHAIN_NAME), 0) ==
			    TRANSLATED && natrules_is_source_nat(c))
			translated = true;
	}
	return translated;
}

bool natrules_follow(struct subject *s)
{
	walk_hook(s, NF_INET_LOCAL_OUT);
	return walk_hook(s, NF_INET_POST_ROUTING);
}
