/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * markuse: does somebody else's rule use our bit of the packet mark?
 *
 * Owns the walk through each rule's expressions. Keeps nothing.
 */
#include "markuse.h"

#include "netlink.h"
#include "steer.h" /* STEER_TABLE */

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/xt_mark.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The register that holds the packet's mark, or what is to become of it:
 * (mark & mask) ^ toggle. */
struct value {
	bool known;
	uint32_t reg, mask, toggle;
};

struct walk {
	uint32_t bit;
	struct markuse *to;
	struct value value;
	bool uses;
};

bool markuse_tests(uint32_t value, uint32_t mask, uint32_t bit)
{
	return mask & bit && (value & bit || mask != UINT32_MAX);
}

/* 32 bits of an attribute; false where it is none such. */
static bool take(const struct nftnl_expr *e, uint16_t attr, uint32_t *to)
{
	uint32_t len = 0;
	const void *data = nftnl_expr_get(e, attr, &len);

	if (!data || len != sizeof(*to))
		return false;
	memcpy(to, data, sizeof(*to));
	return true;
}

static bool is_in(const struct value *v, const struct nftnl_expr *e,
		  uint16_t attr)
{
	return v->known && nftnl_expr_is_set(e, attr) &&
	       nftnl_expr_get_u32(e, attr) == v->reg;
}

static void on_meta(struct walk *w, const struct nftnl_expr *e)
{
	struct value *v = &w->value;
	bool mark = nftnl_expr_get_u32(e, NFTNL_EXPR_META_KEY) ==
		    NFT_META_MARK;

	if (nftnl_expr_is_set(e, NFTNL_EXPR_META_SREG)) {
		w->uses |= mark && is_in(v, e, NFTNL_EXPR_META_SREG) &&
			   v->toggle & w->bit;
		return;
	}
	*v = (struct value){
		.known = mark,
		.reg = nftnl_expr_get_u32(e, NFTNL_EXPR_META_DREG),
		.mask = UINT32_MAX,
	};
}

static void on_bitwise(struct walk *w, const struct nftnl_expr *e)
{
	struct value *v = &w->value;
	uint32_t mask, toggle;

	v->known = is_in(v, e, NFTNL_EXPR_BITWISE_SREG) &&
		   take(e, NFTNL_EXPR_BITWISE_MASK, &mask) &&
		   take(e, NFTNL_EXPR_BITWISE_XOR, &toggle);
	if (!v->known)
		return;
	v->reg = nftnl_expr_get_u32(e, NFTNL_EXPR_BITWISE_DREG);
	v->mask &= mask;
	v->toggle = (v->toggle & mask) ^ toggle;
}

static void on_immediate(struct walk *w, const struct nftnl_expr *e)
{
	struct value v = {
		.reg = nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_DREG),
	};

	v.known = take(e, NFTNL_EXPR_IMM_DATA, &v.toggle);
	w->value = v;
}

static void on_cmp(struct walk *w, const struct nftnl_expr *e)
{
	uint32_t data;

	if (is_in(&w->value, e, NFTNL_EXPR_CMP_SREG) &&
	    take(e, NFTNL_EXPR_CMP_DATA, &data))
		w->uses |= markuse_tests(data, w->value.mask, w->bit);
}

static void on_match(struct walk *w, const struct nftnl_expr *e)
{
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_MT_NAME);
	const struct xt_mark_mtinfo1 *info;
	uint32_t len = 0;

	info = nftnl_expr_get(e, NFTNL_EXPR_MT_INFO, &len);
	if (name && !strcmp(name, "mark") && info && len >= sizeof(*info))
		w->uses |= markuse_tests(info->mark, info->mask, w->bit);
}

static void on_target(struct walk *w, const struct nftnl_expr *e)
{
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_TG_NAME);
	const struct xt_mark_tginfo2 *info;
	uint32_t len = 0;

	info = nftnl_expr_get(e, NFTNL_EXPR_TG_INFO, &len);
	if (name && !strcmp(name, "MARK") && info && len >= sizeof(*info))
		w->uses |= info->mark & w->bit;
}

static int on_expression(struct nftnl_expr *e, void *arg)
{
	static const struct {
		const char *name;
		void (*take)(struct walk *w, const struct nftnl_expr *e);
	} known[] = {
		{ "meta", on_meta },   { "bitwise", on_bitwise },
		{ "cmp", on_cmp },     { "immediate", on_immediate },
		{ "match", on_match }, { "target", on_target },
	};
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
	struct walk *w = arg;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (name && !strcmp(name, known[i].name)) {
			known[i].take(w, e);
			return 0;
		}
	w->value.known = false; /* it may write there */
	return 0;
}

static const char *family_name(uint32_t family)
{
	switch (family) {
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_IPV6:
		return "ip6";
	case NFPROTO_INET:
		return "inet";
	default:
		return "another family";
	}
}

static void note(struct markuse *to, const struct nftnl_rule *r)
{
	if (to->rules++)
		return;
	to->family = family_name(nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY));
	snprintf(to->table, sizeof(to->table), "%s",
		 nftnl_rule_get_str(r, NFTNL_RULE_TABLE));
	snprintf(to->chain, sizeof(to->chain), "%s",
		 nftnl_rule_get_str(r, NFTNL_RULE_CHAIN));
	to->handle = nftnl_rule_get_u64(r, NFTNL_RULE_HANDLE);
}

static bool is_own(const struct nftnl_rule *r)
{
	const char *table = nftnl_rule_get_str(r, NFTNL_RULE_TABLE);

	return !table || (!strcmp(table, STEER_TABLE) &&
			  nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY) ==
				  NFPROTO_INET);
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct walk *w = arg;
	struct nftnl_rule *r = nftnl_rule_alloc();

	if (!r)
		return -ENOMEM;
	w->uses = w->value.known = false;
	if (nftnl_rule_nlmsg_parse(nlh, r) >= 0 && !is_own(r)) {
		(void)nftnl_expr_foreach(r, on_expression, w);
		if (w->uses)
			note(w->to, r);
	}
	nftnl_rule_free(r);
	return 0;
}

int markuse_look(uint32_t bit, struct markuse *to)
{
	struct walk w = { .bit = bit, .to = to };
	char buf[256];
	struct netlink *nl;
	int err = netlink_open(&nl, NETLINK_NETFILTER, NULL, 0);

	memset(to, 0, sizeof(*to));
	if (err)
		return err;
	err = netlink_request(nl,
			      nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETRULE,
						    AF_UNSPEC, NLM_F_DUMP, 0),
			      on_rule, &w);
	netlink_close(nl);
	return err;
}
