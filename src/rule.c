/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rule: the parts that an nftables table is made of, each one call.
 *
 * Owns the translation to libnftnl and netlink attributes. Never knows what
 * the table is for.
 */
#include "rule.h"

#include "batch.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

/* --- objects -------------------------------------------------------------- */

void rule_put_table(struct maker *m, uint32_t flags)
{
	rule_put_tagged_table(m, flags, NULL, 0);
}

void rule_put_tagged_table(struct maker *m, uint32_t flags,
			   const uint8_t *tag, uint8_t len)
{
	struct nlmsghdr *nlh =
		batch_message(m->batch, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	uint8_t data[2 + RULE_TAG_MAX] = { RULE_TAG_TYPE };

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, m->table);
	if (flags)
		mnl_attr_put_u32(nlh, NFTA_TABLE_FLAGS, htonl(flags));
	if (len > RULE_TAG_MAX)
		len = RULE_TAG_MAX;
	if (len) {
		data[1] = len;
		memcpy(data + 2, tag, len);
		mnl_attr_put(nlh, NFTA_TABLE_USERDATA, 2u + len, data);
	}
	batch_end(m->batch, nlh);
}

void rule_put_table_del(struct maker *m)
{
	struct nlmsghdr *nlh = batch_message(m->batch, NFT_MSG_DELTABLE, 0);

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, m->table);
	batch_end(m->batch, nlh);
}

void rule_put_base_chain(struct maker *m, const char *name, const char *type,
			 uint32_t hook, int32_t priority)
{
	struct nlmsghdr *nlh =
		batch_message(m->batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	struct nlattr *nest;

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, m->table);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, name);
	if (type) {
		nest = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);
		mnl_attr_put_u32(nlh, NFTA_HOOK_HOOKNUM, htonl(hook));
		mnl_attr_put_u32(nlh, NFTA_HOOK_PRIORITY,
				 htonl((uint32_t)priority));
		mnl_attr_nest_end(nlh, nest);
		mnl_attr_put_u32(nlh, NFTA_CHAIN_POLICY, htonl(NF_ACCEPT));
		mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, type);
	}
	batch_end(m->batch, nlh);
}

void rule_put_chain(struct maker *m, const char *name)
{
	rule_put_base_chain(m, name, NULL, 0, 0);
}

void rule_put_chain_flush(struct maker *m, const char *name)
{
	struct nlmsghdr *nlh = batch_message(m->batch, NFT_MSG_DELRULE, 0);

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, m->table);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, name);
	batch_end(m->batch, nlh);
}

void rule_put_chain_del(struct maker *m, const char *name)
{
	struct nlmsghdr *nlh = batch_message(m->batch, NFT_MSG_DELCHAIN, 0);

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, m->table);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, name);
	batch_end(m->batch, nlh);
}

void rule_put_counter(struct maker *m, const char *name)
{
	struct nlmsghdr *nlh =
		batch_message(m->batch, NFT_MSG_NEWOBJ, NLM_F_CREATE);

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, m->table);
	mnl_attr_put_strz(nlh, NFTA_OBJ_NAME, name);
	mnl_attr_put_u32(nlh, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
	/* An empty nest: it starts at zero. */
	mnl_attr_nest_end(nlh, mnl_attr_nest_start(nlh, NFTA_OBJ_DATA));
	batch_end(m->batch, nlh);
}

/* All but what only sets or only maps have, which is appended; NULL after an
 * error. */
static struct nlmsghdr *start_set(struct maker *m, const char *name,
				  uint32_t flags, uint32_t key_type,
				  uint32_t key_len, uint32_t size)
{
	struct nlmsghdr *nlh =
		batch_message(m->batch, NFT_MSG_NEWSET, NLM_F_CREATE);
	struct nlattr *nest;

	if (!nlh)
		return NULL;
	mnl_attr_put_strz(nlh, NFTA_SET_TABLE, m->table);
	mnl_attr_put_strz(nlh, NFTA_SET_NAME, name);
	mnl_attr_put_u32(nlh, NFTA_SET_FLAGS, htonl(flags));
	mnl_attr_put_u32(nlh, NFTA_SET_KEY_TYPE, htonl(key_type));
	mnl_attr_put_u32(nlh, NFTA_SET_KEY_LEN, htonl(key_len));
	mnl_attr_put_u32(nlh, NFTA_SET_ID, htonl(++m->set_id));
	nest = mnl_attr_nest_start(nlh, NFTA_SET_DESC);
	mnl_attr_put_u32(nlh, NFTA_SET_DESC_SIZE, htonl(size));
	mnl_attr_nest_end(nlh, nest);
	return nlh;
}

void rule_put_set(struct maker *m, const char *name, uint32_t key_type,
		  uint32_t key_len, uint32_t size, uint32_t gc_ms)
{
	struct nlmsghdr *nlh = start_set(m, name, gc_ms ? NFT_SET_TIMEOUT : 0,
					 key_type, key_len, size);

	if (!nlh)
		return;
	if (gc_ms)
		mnl_attr_put_u32(nlh, NFTA_SET_GC_INTERVAL, htonl(gc_ms));
	batch_end(m->batch, nlh);
}

void rule_put_rate_set(struct maker *m, const char *name, uint32_t key_type,
		       uint32_t key_len, uint32_t size, uint32_t timeout_ms)
{
	struct nlmsghdr *nlh = start_set(m, name,
					 NFT_SET_TIMEOUT | NFT_SET_EVAL,
					 key_type, key_len, size);

	if (!nlh)
		return;
	mnl_attr_put_u64(nlh, NFTA_SET_TIMEOUT, htobe64(timeout_ms));
	mnl_attr_put_u32(nlh, NFTA_SET_GC_INTERVAL, htonl(timeout_ms));
	batch_end(m->batch, nlh);
}

void rule_put_map(struct maker *m, const char *name, uint32_t key_type,
		  uint32_t key_len, uint32_t data_type, uint32_t data_len,
		  uint32_t size, bool counted)
{
	struct nlmsghdr *nlh = start_set(m, name,
					 NFT_SET_MAP | NFT_SET_TIMEOUT,
					 key_type, key_len, size);
	struct nlattr *nest;

	if (!nlh)
		return;
	mnl_attr_put_u32(nlh, NFTA_SET_DATA_TYPE, htonl(data_type));
	mnl_attr_put_u32(nlh, NFTA_SET_DATA_LEN, htonl(data_len));
	if (counted) {
		nest = mnl_attr_nest_start(nlh, NFTA_SET_EXPR);
		mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, "counter");
		mnl_attr_nest_end(nlh,
				  mnl_attr_nest_start(nlh, NFTA_EXPR_DATA));
		mnl_attr_nest_end(nlh, nest);
	}
	batch_end(m->batch, nlh);
}

/* The kernel knows better how long a verdict is, but wants to be told. */
void rule_put_verdict_map(struct maker *m, const char *name, uint32_t key_type,
			  uint32_t key_len, uint32_t size)
{
	rule_put_map(m, name, key_type, key_len, NFT_DATA_VERDICT,
		     1, size, false);
}

void rule_put_set_flush(struct maker *m, const char *name)
{
	struct nlmsghdr *nlh = batch_message(m->batch, NFT_MSG_DELSETELEM, 0);

	if (!nlh)
		return;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, m->table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, name);
	batch_end(m->batch, nlh);
}

/* --- rules ---------------------------------------------------------------- */

void rule_start(struct maker *m, const char *chain)
{
	m->rule = nftnl_rule_alloc();
	if (!m->rule) {
		batch_fail(m->batch, -ENOMEM);
		return;
	}
	nftnl_rule_set_u32(m->rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	if (nftnl_rule_set_str(m->rule, NFTNL_RULE_TABLE, m->table) < 0 ||
	    nftnl_rule_set_str(m->rule, NFTNL_RULE_CHAIN, chain) < 0)
		batch_fail(m->batch, -ENOMEM);
}

void rule_end(struct maker *m)
{
	struct nlmsghdr *nlh = batch_message(m->batch, NFT_MSG_NEWRULE,
					     NLM_F_CREATE | NLM_F_APPEND);

	if (nlh) {
		nftnl_rule_nlmsg_build_payload(nlh, m->rule);
		batch_end(m->batch, nlh);
	}
	if (m->rule)
		nftnl_rule_free(m->rule);
	m->rule = NULL;
}

/* NULL after an error. The rule owns what is returned. */
static struct nftnl_expr *add(struct maker *m, const char *name)
{
	struct nftnl_expr *e;

	if (!m->rule)
		return NULL;
	e = nftnl_expr_alloc(name);
	if (!e) {
		batch_fail(m->batch, -ENOMEM);
		return NULL;
	}
	nftnl_rule_add_expr(m->rule, e);
	return e;
}

static void set_data(struct maker *m, struct nftnl_expr *e, uint16_t attr,
		     const void *data, uint32_t len)
{
	if (nftnl_expr_set(e, attr, data, len) < 0)
		batch_fail(m->batch, -ENOMEM);
}

static void set_text(struct maker *m, struct nftnl_expr *e, uint16_t attr,
		     const char *text)
{
	if (nftnl_expr_set_str(e, attr, text) < 0)
		batch_fail(m->batch, -ENOMEM);
}

void rule_load_meta(struct maker *m, uint32_t key, uint32_t reg)
{
	struct nftnl_expr *e = add(m, "meta");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, reg);
}

void rule_load_payload(struct maker *m, uint32_t base, uint32_t offset,
		       uint32_t len, uint32_t reg)
{
	struct nftnl_expr *e = add(m, "payload");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, reg);
}

void rule_load_fib_type(struct maker *m, bool of_source, uint32_t reg)
{
	struct nftnl_expr *e = add(m, "fib");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_DREG, reg);
	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_FLAGS,
			   of_source ? NFTA_FIB_F_SADDR : NFTA_FIB_F_DADDR);
}

static void compare(struct maker *m, uint32_t op, const void *data,
		    uint32_t len)
{
	struct nftnl_expr *e = add(m, "cmp");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
	set_data(m, e, NFTNL_EXPR_CMP_DATA, data, len);
}

void rule_compare_u8(struct maker *m, uint8_t value)
{
	compare(m, NFT_CMP_EQ, &value, sizeof(value));
}

void rule_compare_be16(struct maker *m, uint16_t value)
{
	const uint16_t be16_value = htons(value);

	compare(m, NFT_CMP_EQ, &be16_value, sizeof(be16_value));
}

void rule_compare_u32(struct maker *m, uint32_t op, uint32_t value)
{
	compare(m, op, &value, sizeof(value));
}

void rule_compare_name(struct maker *m, const char *name)
{
	char text[IFNAMSIZ] = "";

	strncpy(text, name, sizeof(text) - 1);
	compare(m, NFT_CMP_EQ, text, sizeof(text));
}

void rule_look_up(struct maker *m, const char *set)
{
	struct nftnl_expr *e = add(m, "lookup");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
	set_text(m, e, NFTNL_EXPR_LOOKUP_SET, set);
}

void rule_map(struct maker *m, const char *map)
{
	rule_map_to(m, map, NFT_REG_1);
}

void rule_map_to(struct maker *m, const char *map, uint32_t reg)
{
	struct nftnl_expr *e = add(m, "lookup");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, reg);
	set_text(m, e, NFTNL_EXPR_LOOKUP_SET, map);
}

void rule_write_payload(struct maker *m, uint32_t reg, uint32_t base,
			uint32_t offset, uint32_t len, uint32_t checksum,
			bool pseudo)
{
	struct nftnl_expr *e = add(m, "payload");
	bool kept = checksum != RULE_NO_CHECKSUM;

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_SREG, reg);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_CSUM_TYPE,
			   kept ? NFT_PAYLOAD_CSUM_INET :
				  NFT_PAYLOAD_CSUM_NONE);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_CSUM_OFFSET,
			   kept ? checksum : 0);
	if (pseudo)
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_FLAGS,
				   NFT_PAYLOAD_L4CSUM_PSEUDOHDR);
}

/* register 1 = (register 1 & mask) ^ toggle */
static void mask_and_toggle(struct maker *m, const void *mask,
			    const void *toggle, uint32_t len)
{
	struct nftnl_expr *e = add(m, "bitwise");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, len);
	set_data(m, e, NFTNL_EXPR_BITWISE_MASK, mask, len);
	set_data(m, e, NFTNL_EXPR_BITWISE_XOR, toggle, len);
}

void rule_keep_prefix(struct maker *m, uint32_t len, unsigned int bits)
{
	uint8_t mask[16] = { 0 };
	const uint8_t none[sizeof(mask)] = { 0 };

	memset(mask, 0xff, bits / 8);
	mask_and_toggle(m, mask, none, len);
}

void rule_match_transport_bits(struct maker *m, uint32_t offset, uint8_t mask,
			       uint8_t value)
{
	const uint8_t none = 0;

	rule_load_payload(m, NFT_PAYLOAD_TRANSPORT_HEADER, offset, 1,
			  NFT_REG_1);
	mask_and_toggle(m, &mask, &none, sizeof(mask));
	rule_compare_u8(m, value);
}

void rule_match_mark(struct maker *m, uint32_t bit, bool set)
{
	const uint32_t none = 0;

	rule_load_meta(m, NFT_META_MARK, NFT_REG_1);
	mask_and_toggle(m, &bit, &none, sizeof(bit));
	rule_compare_u32(m, NFT_CMP_EQ, set ? bit : none);
}

static void change_mark(struct maker *m, uint32_t bit, bool set)
{
	const uint32_t others = ~bit, value = set ? bit : 0;
	struct nftnl_expr *e;

	rule_load_meta(m, NFT_META_MARK, NFT_REG_1);
	mask_and_toggle(m, &others, &value, sizeof(bit));
	e = add(m, "meta");
	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, NFT_META_MARK);
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_SREG, NFT_REG_1);
}

void rule_set_mark(struct maker *m, uint32_t bit)
{
	change_mark(m, bit, true);
}

void rule_clear_mark(struct maker *m, uint32_t bit)
{
	change_mark(m, bit, false);
}

void rule_count(struct maker *m, const char *counter)
{
	struct nftnl_expr *e = add(m, "objref");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	set_text(m, e, NFTNL_EXPR_OBJREF_IMM_NAME, counter);
}

void rule_verdict(struct maker *m, int code, const char *chain)
{
	struct nftnl_expr *e = add(m, "immediate");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, (uint32_t)code);
	if (chain)
		set_text(m, e, NFTNL_EXPR_IMM_CHAIN, chain);
}

static void set_limit(struct nftnl_expr *e, uint32_t per_second,
		      uint32_t flags)
{
	nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, per_second);
	nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, 1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_BURST, per_second);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_FLAGS, flags);
}

void rule_limit(struct maker *m, uint32_t per_second)
{
	struct nftnl_expr *e = add(m, "limit");

	if (e)
		set_limit(e, per_second, 0);
}

void rule_limit_over(struct maker *m, uint32_t per_second)
{
	struct nftnl_expr *e = add(m, "limit");

	if (e)
		set_limit(e, per_second, NFT_LIMIT_F_INV);
}

void rule_limit_each(struct maker *m, const char *rate_set,
		     uint32_t per_second)
{
	struct nftnl_expr *e = add(m, "dynset");
	struct nftnl_expr *limit;

	if (!e)
		return;
	limit = nftnl_expr_alloc("limit");
	if (!limit) {
		batch_fail(m->batch, -ENOMEM);
		return;
	}
	set_limit(limit, per_second, NFT_LIMIT_F_INV);
	nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
	set_text(m, e, NFTNL_EXPR_DYNSET_SET_NAME, rate_set);
	/* Keeps the pointer and frees it. */
	set_data(m, e, NFTNL_EXPR_DYNSET_EXPR, limit, sizeof(limit));
}

void rule_queue_native(struct maker *m, uint16_t number)
{
	struct nftnl_expr *e = add(m, "queue");

	if (!e)
		return;
	nftnl_expr_set_u16(e, NFTNL_EXPR_QUEUE_NUM, number);
	nftnl_expr_set_u16(e, NFTNL_EXPR_QUEUE_TOTAL, 1);
}

void rule_queue_compat(struct maker *m, uint16_t number)
{
	struct nftnl_expr *e = add(m, "target");
	/* The kernel wants what XT_ALIGN() makes of the size. */
	const uint32_t size = 8;
	struct xt_NFQ_info_v3 *info;

	if (!e)
		return;
	set_text(m, e, NFTNL_EXPR_TG_NAME, "NFQUEUE");
	nftnl_expr_set_u32(e, NFTNL_EXPR_TG_REV, 3);
	info = calloc(1, size);
	if (!info) {
		batch_fail(m->batch, -ENOMEM);
		return;
	}
	info->queuenum = number;
	info->queues_total = 1;
	/* Keeps the pointer and frees it. */
	set_data(m, e, NFTNL_EXPR_TG_INFO, info, size);
}

void rule_tproxy(struct maker *m, uint16_t port)
{
	const uint16_t be16_port = htons(port);
	struct nftnl_expr *e = add(m, "immediate");

	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
	set_data(m, e, NFTNL_EXPR_IMM_DATA, &be16_port, sizeof(be16_port));
	e = add(m, "tproxy");
	if (!e)
		return;
	nftnl_expr_set_u32(e, NFTNL_EXPR_TPROXY_FAMILY, NFPROTO_UNSPEC);
	nftnl_expr_set_u32(e, NFTNL_EXPR_TPROXY_REG_PORT, NFT_REG_1);
}
