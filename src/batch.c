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
#define FIRST_LANE_BYTES 2048u
#define KEPT_BYTES (1u << 20)
/* A nested attribute counts its length in 16 bits. */
#define LIST_BYTES_MAX 60000
#define ELEMENT_BYTES_MAX 160
#define ELEMENTS_HEAD_MAX 256 /* of their message: names */
#define HEADER_BYTES (NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg)))

void batch_init(struct batch *b, const char *table, size_t limit_bytes)
{
	*b = (struct batch){ .table = table, .limit = limit_bytes };
}

static void bytes_free(struct batch_bytes *to)
{
	free(to->data);
	*to = (struct batch_bytes){ NULL, 0, 0 };
}

void batch_free(struct batch *b)
{
	bytes_free(&b->bytes);
	while (b->n_lanes)
		bytes_free(&b->lane[--b->n_lanes].bytes);
}

static void bytes_reset(struct batch_bytes *to)
{
	if (to->cap > KEPT_BYTES)
		bytes_free(to);
	to->len = 0;
}

void batch_reset(struct batch *b)
{
	bytes_reset(&b->bytes);
	for (unsigned int i = 0; i < b->n_lanes; i++)
		bytes_reset(&b->lane[i].bytes);
	b->total = 0;
	b->error = 0;
}

void batch_fail(struct batch *b, int error)
{
	if (!b->error)
		b->error = error;
}

unsigned int batch_count(const struct batch *b, uint16_t type)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)b->bytes.data;
	int left = (int)b->bytes.len;
	unsigned int n = 0;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		n += nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | type);
	return n;
}

bool batch_is_empty(const struct batch *b)
{
	return b->total <= HEADER_BYTES;
}

/* Makes sure that `more` bytes fit behind len, and the end of it all. */
static bool reserve(struct batch *b, struct batch_bytes *to, size_t more)
{
	size_t cap = to->cap ? to->cap :
		     to == &b->bytes ? FIRST_BYTES : FIRST_LANE_BYTES;
	uint8_t *data;

	if (b->error)
		return false;
	if (b->total + more > b->limit) {
		batch_fail(b, -EMSGSIZE);
		return false;
	}
	if (to->len + more <= to->cap)
		return true;
	while (cap < to->len + more)
		cap *= 2;
	data = realloc(to->data, cap);
	if (!data) {
		batch_fail(b, -ENOMEM);
		return false;
	}
	memset(data + to->cap, 0, cap - to->cap);
	to->data = data;
	to->cap = cap;
	return true;
}

static void took(struct batch *b, struct batch_bytes *to, size_t len)
{
	b->total += len - to->len;
	to->len = len;
}

/* Room for it was reserved. */
static struct nlmsghdr *header(struct batch *b, struct batch_bytes *to,
			       uint16_t type, uint16_t flags, uint8_t family,
			       uint16_t res_id)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(to->data + to->len);
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
	if (!reserve(b, &b->bytes, more + 2 * HEADER_BYTES))
		return false;
	if (b->bytes.len)
		return true;
	(void)header(b, &b->bytes, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC,
		     NFNL_SUBSYS_NFTABLES);
	took(b, &b->bytes, HEADER_BYTES);
	return true;
}

struct nlmsghdr *batch_message(struct batch *b, uint16_t type, uint16_t flags)
{
	if (!begin(b, HEADER_BYTES + BATCH_MESSAGE_MAX))
		return NULL;
	return header(b, &b->bytes,
		      (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags,
		      NFPROTO_INET, 0);
}

void batch_end(struct batch *b, const struct nlmsghdr *nlh)
{
	if (!b->error)
		took(b, &b->bytes, b->bytes.len + nlh->nlmsg_len);
}

/* ---- elements ------------------------------------------------------------ */

static struct batch_lane *lane_of(struct batch *b, enum batch_step step,
				  const char *set)
{
	struct batch_lane *l;

	for (unsigned int i = 0; i < b->n_lanes; i++)
		if (b->lane[i].set == set && b->lane[i].step == step)
			return &b->lane[i];
	if (b->n_lanes == BATCH_LANES_MAX) {
		batch_fail(b, -ENOSPC);
		return NULL;
	}
	l = &b->lane[b->n_lanes++];
	l->set = set;
	l->step = step;
	return l;
}

/* The message that the next element goes to. */
static struct nlmsghdr *open_elements(struct batch *b, struct batch_lane *l,
				      uint16_t type)
{
	struct nlmsghdr *nlh;

	if (!reserve(b, &l->bytes, ELEMENTS_HEAD_MAX + ELEMENT_BYTES_MAX))
		return NULL;
	if (l->bytes.len && l->type == type &&
	    l->bytes.len - l->open < LIST_BYTES_MAX)
		return (void *)(l->bytes.data + l->open);
	l->type = type;
	nlh = header(b, &l->bytes,
		     (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type),
		     type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0,
		     NFPROTO_INET, 0);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, b->table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, l->set);
	l->open = l->bytes.len;
	l->list = l->bytes.len + nlh->nlmsg_len;
	(void)mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	return nlh;
}

/* Where one begins; `lane` is what end_element() wants. */
static struct nlattr *start_element(struct batch *b, enum batch_step step,
				    uint16_t type, const char *set,
				    const void *key, size_t key_len,
				    struct batch_lane **lane)
{
	struct nlmsghdr *nlh;
	struct nlattr *element, *value;

	if (key_len > BATCH_KEY_MAX)
		batch_fail(b, -EINVAL);
	/* The batch has a beginning, whatever is in it. */
	if (b->error || !begin(b, 0))
		return NULL;
	*lane = lane_of(b, step, set);
	nlh = *lane ? open_elements(b, *lane, type) : NULL;
	if (!nlh)
		return NULL;
	element = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	value = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, key_len, key);
	mnl_attr_nest_end(nlh, value);
	return element;
}

static struct nlmsghdr *open_message(const struct batch_lane *l)
{
	return (void *)(l->bytes.data + l->open);
}

/* The list is always closed: another element opens it again. */
static void end_element(struct batch *b, struct batch_lane *l,
			struct nlattr *element)
{
	struct nlmsghdr *nlh = open_message(l);

	mnl_attr_nest_end(nlh, element);
	mnl_attr_nest_end(nlh, (void *)(l->bytes.data + l->list));
	took(b, &l->bytes, l->open + nlh->nlmsg_len);
}

void batch_element(struct batch *b, const char *set, const void *key,
		   size_t key_len, uint64_t timeout_ms)
{
	struct batch_lane *l;
	struct nlattr *element = start_element(b, BATCH_ADD,
					       NFT_MSG_NEWSETELEM, set, key,
					       key_len, &l);

	if (!element)
		return;
	if (timeout_ms)
		mnl_attr_put_u64(open_message(l), NFTA_SET_ELEM_TIMEOUT,
				 htobe64(timeout_ms));
	end_element(b, l, element);
}

/* To delete what is not there is an error that would undo the batch, to add
 * what is there is none. (NFT_MSG_DESTROYSETELEM is newer than our oldest
 * kernel.) One key after the other: it may come twice. */
void batch_erase(struct batch *b, const char *set, const void *key,
		 size_t key_len)
{
	static const uint16_t types[] = { NFT_MSG_NEWSETELEM,
					  NFT_MSG_DELSETELEM };
	struct nlattr *element;
	struct batch_lane *l;

	for (int i = 0; i < 2; i++) {
		element = start_element(b, BATCH_ERASE, types[i], set, key,
					key_len, &l);
		if (element)
			end_element(b, l, element);
	}
}

/* One of a map. */
static struct nlattr *start_map_element(struct batch *b, bool add,
					const char *map, const void *key,
					size_t key_len,
					struct batch_lane **lane)
{
	return start_element(b, add ? BATCH_ADD : BATCH_DELETE,
			     add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
			     map, key, key_len, lane);
}

void batch_map_element(struct batch *b, bool add, const char *map,
		       const void *key, size_t key_len, const void *data,
		       size_t data_len)
{
	struct nlattr *element, *value;
	struct batch_lane *l;

	if (data_len > BATCH_DATA_MAX) {
		batch_fail(b, -EINVAL);
		return;
	}
	element = start_map_element(b, add, map, key, key_len, &l);
	if (!element)
		return;
	value = mnl_attr_nest_start(open_message(l), NFTA_SET_ELEM_DATA);
	mnl_attr_put(open_message(l), NFTA_DATA_VALUE, data_len, data);
	mnl_attr_nest_end(open_message(l), value);
	end_element(b, l, element);
}

void batch_goto_element(struct batch *b, bool add, const char *map,
			const void *key, size_t key_len, const char *chain)
{
	struct nlattr *element, *value, *verdict;
	struct batch_lane *l;
	struct nlmsghdr *nlh;

	if (strlen(chain) >= BATCH_CHAIN_MAX) {
		batch_fail(b, -EINVAL);
		return;
	}
	element = start_map_element(b, add, map, key, key_len, &l);
	if (!element)
		return;
	nlh = open_message(l);
	value = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_DATA);
	verdict = mnl_attr_nest_start(nlh, NFTA_DATA_VERDICT);
	mnl_attr_put_u32(nlh, NFTA_VERDICT_CODE, htonl((uint32_t)NFT_GOTO));
	mnl_attr_put_strz(nlh, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(nlh, verdict);
	mnl_attr_nest_end(nlh, value);
	end_element(b, l, element);
}

static void append_lane(struct batch *b, struct batch_lane *l)
{
	const size_t len = l->bytes.len;

	b->total -= len; /* it is moved */
	if (!len || !reserve(b, &b->bytes, len + HEADER_BYTES))
		return;
	memcpy(b->bytes.data + b->bytes.len, l->bytes.data, len);
	took(b, &b->bytes, b->bytes.len + len);
	bytes_reset(&l->bytes);
}

int batch_finish(struct batch *b)
{
	if (!begin(b, 0))
		return b->error;
	for (int step = 0; step < BATCH_STEPS; step++)
		for (unsigned int i = 0; i < b->n_lanes; i++)
			if (b->lane[i].step == (enum batch_step)step)
				append_lane(b, &b->lane[i]);
	if (!begin(b, 0))
		return b->error;
	(void)header(b, &b->bytes, NFNL_MSG_BATCH_END, 0, AF_UNSPEC,
		     NFNL_SUBSYS_NFTABLES);
	took(b, &b->bytes, b->bytes.len + HEADER_BYTES);
	return 0;
}
