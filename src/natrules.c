/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natrules: reads nat chains at postrouting and follows their rules.
 *
 * Owns the walk and what is known in each register. Never guesses "no".
 */
#include "natrules.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>

#include "netlink.h"

#define REGISTERS 32 /* of 4 bytes: NFT_REG32_00 .. _15, after the old ones */
#define REGISTER_SIZE 16
#define REQUEST_SIZE 128 /* two headers without an attribute */

struct natrules {
	struct netlink *nl;
	uint64_t looked_ms;
	uint32_t generation;
	bool read; /* ever */
	bool overflow; /* more than we keep: everything may match */
	struct nftnl_chain *chain[NATRULES_CHAINS_MAX];
	unsigned int n_chains;
	struct nftnl_rule *rule[NATRULES_RULES_MAX];
	unsigned int n_rules;
};

/* What a packet of the flow would show. */
struct subject {
	const struct natrules *n;
	const struct tuple *tuple;
	uint32_t oif;
	char oifname[IF_NAMESIZE];
};

struct value {
	bool known;
	uint32_t len;
	uint8_t byte[REGISTER_SIZE];
};

enum outcome {
	GOES_ON, /* past the end of the chain, or returned */
	ACCEPTED, /* by a rule that surely matches: no NAT behind it */
	TRANSLATED, /* by one that may match */
};

/* ---- reading ------------------------------------------------------------ */

static void forget(struct natrules *n)
{
	while (n->n_chains)
		nftnl_chain_free(n->chain[--n->n_chains]);
	while (n->n_rules)
		nftnl_rule_free(n->rule[--n->n_rules]);
	n->overflow = false;
}

static int on_chain(const struct nlmsghdr *m, void *arg)
{
	struct natrules *n = arg;
	struct nftnl_chain *c;

	if (n->n_chains == NATRULES_CHAINS_MAX) {
		n->overflow = true;
		return 0;
	}
	c = nftnl_chain_alloc();
	if (!c)
		return -ENOMEM;
	if (nftnl_chain_nlmsg_parse(m, c) < 0) {
		nftnl_chain_free(c);
		return 0;
	}
	n->chain[n->n_chains++] = c;
	return 0;
}

static int on_rule(const struct nlmsghdr *m, void *arg)
{
	struct natrules *n = arg;
	struct nftnl_rule *r;

	if (n->n_rules == NATRULES_RULES_MAX) {
		n->overflow = true;
		return 0;
	}
	r = nftnl_rule_alloc();
	if (!r)
		return -ENOMEM;
	if (nftnl_rule_nlmsg_parse(m, r) < 0) {
		nftnl_rule_free(r);
		return 0;
	}
	n->rule[n->n_rules++] = r;
	return 0;
}

static int on_attribute(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == NFTA_GEN_ID &&
	    mnl_attr_get_payload_len(attr) == sizeof(uint32_t))
		*(uint32_t *)arg = ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

static int on_generation(const struct nlmsghdr *m, void *arg)
{
	return mnl_attr_parse(m, sizeof(struct nfgenmsg), on_attribute, arg) ==
			       MNL_CB_ERROR ? -EINVAL : 0;
}

static int ask(struct natrules *n, uint16_t type, uint16_t flags,
	       netlink_callback *cb, void *arg)
{
	char buf[REQUEST_SIZE];

	return netlink_request(n->nl,
			       nftnl_nlmsg_build_hdr(buf, type, AF_UNSPEC,
						     flags, 0), cb, arg);
}

static bool is_source_nat(const struct nftnl_chain *c)
{
	const char *type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);

	return type && !strcmp(type, "nat") &&
	       nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
	       nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) ==
		       NF_INET_POST_ROUTING;
}

static int read_rules(struct natrules *n)
{
	bool any = false;
	int err;

	forget(n);
	err = ask(n, NFT_MSG_GETCHAIN, NLM_F_DUMP, on_chain, n);
	for (unsigned int i = 0; i < n->n_chains && !err; i++)
		any = any || is_source_nat(n->chain[i]);
	if (!err && any)
		err = ask(n, NFT_MSG_GETRULE, NLM_F_DUMP, on_rule, n);
	return err;
}

/* Without an answer of the kernel everything may match. */
static void refresh(struct natrules *n, uint64_t now_ms)
{
	uint32_t generation = 0;
	int err;

	if (n->read && now_ms - n->looked_ms < NATRULES_REFRESH_MS)
		return;
	n->looked_ms = now_ms;
	err = ask(n, NFT_MSG_GETGEN, 0, on_generation, &generation);
	if (!err && n->read && generation == n->generation)
		return;
	if (!err)
		err = read_rules(n);
	if (err)
		n->overflow = true;
	n->generation = generation;
	n->read = true;
}

/* ---- following ----------------------------------------------------------- */

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
	v->len = v->known ? len : 0;
	if (v->known)
		memcpy(v->byte, bytes, len);
}

static void load_meta(const struct subject *s, const struct nftnl_expr *e,
		      struct value *regs)
{
	struct value *v;
	uint8_t family = s->tuple->local.addr.family == 4 ? NFPROTO_IPV4 :
							    NFPROTO_IPV6;

	if (!nftnl_expr_is_set(e, NFTNL_EXPR_META_DREG))
		return;
	v = reg(regs, nftnl_expr_get_u32(e, NFTNL_EXPR_META_DREG));
	v->known = false;
	switch (nftnl_expr_get_u32(e, NFTNL_EXPR_META_KEY)) {
	case NFT_META_OIFNAME:
		know(v, s->oifname, IF_NAMESIZE);
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
	uint32_t mask_len = 0;
	uint32_t xor_len = 0;
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
}

/* True where the packet surely fails the comparison. */
static bool fails(const struct nftnl_expr *e, struct value *regs,
		  bool *certain)
{
	const struct value *v =
		reg(regs, nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_SREG));
	uint32_t len = 0;
	const void *data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &len);
	uint32_t op = nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_OP);
	bool equal;

	if (!v->known || !data || len > v->len ||
	    (op != NFT_CMP_EQ && op != NFT_CMP_NEQ)) {
		*certain = false;
		return false;
	}
	equal = !memcmp(v->byte, data, len);
	return op == NFT_CMP_EQ ? !equal : equal;
}

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

static bool is_without_effect(const char *name)
{
	return !strcmp(name, "counter") || !strcmp(name, "log") ||
	       !strcmp(name, "target");
}

static enum outcome walk(const struct subject *s, uint32_t family,
			 const char *table, const char *chain,
			 unsigned int depth);

static enum outcome verdict(const struct subject *s,
			    const struct nftnl_rule *r,
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

static enum outcome apply(const struct subject *s, const struct nftnl_rule *r,
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

		if (!strcmp(name, "meta"))
			load_meta(s, e, regs);
		else if (!strcmp(name, "payload"))
			load_payload(s, e, regs);
		else if (!strcmp(name, "bitwise"))
			apply_bitwise(e, regs);
		else if (!strcmp(name, "cmp")) {
			if (fails(e, regs, &certain))
				break;
		} else if (is_translation(e, name))
			o = TRANSLATED;
		else if (!strcmp(name, "immediate") &&
			 nftnl_expr_is_set(e, NFTNL_EXPR_IMM_VERDICT)) {
			o = verdict(s, r, e, depth, certain, returns);
			break;
		} else if (!is_without_effect(name))
			certain = false;
	}
	if (it)
		nftnl_expr_iter_destroy(it);
	return o;
}

static enum outcome walk(const struct subject *s, uint32_t family,
			 const char *table, const char *chain,
			 unsigned int depth)
{
	if (depth > NATRULES_DEPTH_MAX || !table || !chain)
		return TRANSLATED;
	for (unsigned int i = 0; i < s->n->n_rules; i++) {
		const struct nftnl_rule *r = s->n->rule[i];
		bool returns = false;
		enum outcome o;

		if (nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY) != family ||
		    strcmp(nftnl_rule_get_str(r, NFTNL_RULE_TABLE), table) ||
		    strcmp(nftnl_rule_get_str(r, NFTNL_RULE_CHAIN), chain))
			continue;
		o = apply(s, r, depth, &returns);
		if (o != GOES_ON)
			return o;
		if (returns)
			break;
	}
	return GOES_ON;
}

/* ---- interface ----------------------------------------------------------- */

int natrules_open(struct natrules **out)
{
	struct natrules *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	err = netlink_open(&n->nl, NETLINK_NETFILTER, NULL, 0);
	if (err) {
		free(n);
		return err;
	}
	*out = n;
	return 0;
}

void natrules_close(struct natrules *n)
{
	if (!n)
		return;
	forget(n);
	netlink_close(n->nl);
	free(n);
}

bool natrules_match(struct natrules *n, const struct tuple *t, uint32_t oif,
		    const char *oifname, uint64_t now_ms)
{
	uint32_t family = t->local.addr.family == 4 ? NFPROTO_IPV4 :
						      NFPROTO_IPV6;
	struct subject s;

	refresh(n, now_ms);
	if (n->overflow)
		return true;
	memset(&s, 0, sizeof(s));
	s.n = n;
	s.tuple = t;
	s.oif = oif;
	strncpy(s.oifname, oifname, sizeof(s.oifname) - 1);
	for (unsigned int i = 0; i < n->n_chains; i++) {
		const struct nftnl_chain *c = n->chain[i];
		uint32_t f = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY);

		if (!is_source_nat(c) || (f != family && f != NFPROTO_INET))
			continue;
		if (walk(&s, f, nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE),
			 nftnl_chain_get_str(c, NFTNL_CHAIN_NAME), 0) ==
		    TRANSLATED)
			return true;
	}
	return false;
}
