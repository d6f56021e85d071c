/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * batch: one nftables transaction, as bytes.
 *
 * Owns the buffer and the packing. Never sends.
 */
#include "batch.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#define FIRST_BYTES (32u * 1024)
#define KEPT_BYTES (1u << 20)
/* A nested attribute counts its length in 16 bits. */
#define LIST_BYTES_MAX 60000
#define ELEMENT_BYTES_MAX 160
#define HEADER_BYTES (NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg)))

void batch_init(struct batch *b, const char *table, size_t limit_bytes)
{
	*b = (struct batch){ .table = table, .limit = limit_bytes };
}

void batch_free(struct batch *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

void batch_reset(struct batch *b)
{
	if (b->cap > KEPT_BYTES)
		batch_free(b);
	b->len = 0;
	b->open = 0;
	b->error = 0;
}

void batch_fail(struct batch *b, int error)
{
	if (!b->error)
		b->error = error;
}

unsigned int batch_count(const struct batch *b, uint16_t type)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)b->data;
	int left = (int)b->len;
	unsigned int n = 0;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		n += nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | type);
	return n;
}

bool batch_is_empty(const struct batch *b)
{
	return b->len <= HEADER_BYTES;
}

/* Makes sure that `more` bytes fit behind len. */
static bool reserve(struct batch *b, size_t more)
{
	size_t cap = b->cap ? b->cap : FIRST_BYTES;
	uint8_t *data;

	if (b->error)
		return false;
	if (b->len + more > b->limit) {
		batch_fail(b, -EMSGSIZE);
		return false;
	}
	if (b->len + more <= b->cap)
		return true;
	while (cap < b->len + more)
		cap *= 2;
	data = realloc(b->data, cap);
	if (!data) {
		batch_fail(b, -ENOMEM);
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

/* Room for it was reserved. */
static struct nlmsghdr *header(struct batch *b, uint16_t type, uint16_t flags,
			       uint8_t family, uint16_t res_id)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(b->data + b->len);
	struct nfgenmsg *nfg =
		mnl_nlmsg_put_extra_header(nlh, sizeof(struct nfgenmsg));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = b->seq++;
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(res_id);
	return nlh;
}

/* Also leaves room for the end. */
static bool begin(struct batch *b, size_t more)
{
	if (!reserve(b, more + 2 * HEADER_BYTES))
		return false;
	if (b->len)
		return true;
	(void)header(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC,
		     NFNL_SUBSYS_NFTABLES);
	b->len = HEADER_BYTES;
	return true;
}

static void close_elements(struct batch *b)
{
	struct nlmsghdr *nlh;

	if (!b->open)
		return;
	nlh = (void *)(b->data + b->open);
	mnl_attr_nest_end(nlh, (void *)(b->data + b->list));
	b->len = b->open + nlh->nlmsg_len;
	b->open = 0;
}

struct nlmsghdr *batch_message(struct batch *b, uint16_t type, uint16_t flags)
{
	close_elements(b);
	if (!begin(b, HEADER_BYTES + BATCH_MESSAGE_MAX))
		return NULL;
	return header(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags,
		      NFPROTO_INET, 0);
}

void batch_end(struct batch *b, const struct nlmsghdr *nlh)
{
	if (!b->error)
		b->len += nlh->nlmsg_len;
}

static bool open_elements(struct batch *b, uint16_t type, const char *set)
{
	struct nlmsghdr *nlh;

	if (b->open && b->type == type && b->set == set &&
	    b->len - b->open < LIST_BYTES_MAX)
		return reserve(b, ELEMENT_BYTES_MAX + HEADER_BYTES);
	nlh = batch_message(b, type,
			    type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0);
	if (!nlh)
		return false;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, b->table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	b->open = b->len;
	b->list = b->len + nlh->nlmsg_len;
	(void)mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	b->len += nlh->nlmsg_len;
	b->type = type;
	b->set = set;
	return true;
}

static struct nlattr *start_element(struct batch *b, uint16_t type,
				    const char *set, const void *key,
				    size_t key_len)
{
	struct nlmsghdr *nlh;
	struct nlattr *element, *value;

	if (key_len > BATCH_KEY_MAX) {
		batch_fail(b, -EINVAL);
		return NULL;
	}
	if (!open_elements(b, type, set))
		return NULL;
	nlh = (void *)(b->data + b->open);
	element = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	value = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, key_len, key);
	mnl_attr_nest_end(nlh, value);
	return element;
}

static void end_element(struct batch *b, struct nlattr *element)
{
	struct nlmsghdr *nlh = (void *)(b->data + b->open);

	mnl_attr_nest_end(nlh, element);
	b->len = b->open + nlh->nlmsg_len;
}

void batch_element(struct batch *b, uint16_t type, const char *set,
		   const void *key, size_t key_len, uint64_t timeout_ms)
{
	struct nlattr *element = start_element(b, type, set, key, key_len);

	if (!element)
		return;
	if (timeout_ms)
		mnl_attr_put_u64((void *)(b->data + b->open),
				 NFTA_SET_ELEM_TIMEOUT, htobe64(timeout_ms));
	end_element(b, element);
}

void batch_map_element(struct batch *b, uint16_t type, const char *map,
		       const void *key, size_t key_len, const void *data,
		       size_t data_len)
{
	struct nlattr *element, *value;
	struct nlmsghdr *nlh;

	if (data_len > BATCH_DATA_MAX) {
		batch_fail(b, -EINVAL);
		return;
	}
	element = start_element(b, type, map, key, key_len);
	if (!element)
		return;
	nlh = (void *)(b->data + b->open);
	value = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_DATA);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, data_len, data);
	mnl_attr_nest_end(nlh, value);
	end_element(b, element);
}

void batch_goto_element(struct batch *b, uint16_t type, const char *map,
			const void *key, size_t key_len, const char *chain)
{
	struct nlattr *element, *value, *verdict;
	struct nlmsghdr *nlh;

	if (strlen(chain) >= BATCH_CHAIN_MAX) {
		batch_fail(b, -EINVAL);
		return;
	}
	element = start_element(b, type, map, key, key_len);
	if (!element)
		return;
	nlh = (void *)(b->data + b->open);
	value = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_DATA);
	verdict = mnl_attr_nest_start(nlh, NFTA_DATA_VERDICT);
	mnl_attr_put_u32(nlh, NFTA_VERDICT_CODE, htonl((uint32_t)NFT_GOTO));
	mnl_attr_put_strz(nlh, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(nlh, verdict);
	mnl_attr_nest_end(nlh, value);
	end_element(b, element);
}

int batch_finish(struct batch *b)
{
	close_elements(b);
	if (!begin(b, 0))
		return b->error;
	(void)header(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC,
		     NFNL_SUBSYS_NFTABLES);
	b->len += HEADER_BYTES;
	return 0;
}
