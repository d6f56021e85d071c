/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steer_map: the maps by which the kernel rewrites moved flows.
 *
 * Owns their elements' form, and what they have counted. Never decides what
 * is rewritten.
 */
#include "steer_impl.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

/* As it stands in the packet: source, destination. */
static size_t map_data(enum steer_map map, const struct tuple *to,
		       uint8_t data[BATCH_DATA_MAX])
{
	const struct endpoint *src =
		map == STEER_SEND ? &to->local : &to->remote;
	const struct endpoint *dst =
		map == STEER_SEND ? &to->remote : &to->local;
	size_t len = addr_size(&src->addr);

	memcpy(data, src->addr.byte, len);
	memcpy(data + len, dst->addr.byte, len);
	return 2 * len;
}

static uint32_t map_ports(enum steer_map map, const struct tuple *to)
{
	uint32_t local = to->local.port, remote = to->remote.port;

	return htonl(map == STEER_SEND ? local << 16 | remote :
					 remote << 16 | local);
}

static void map_change(struct steer *s, uint16_t type, enum steer_map map,
		       const struct tuple *t, const struct tuple *to)
{
	uint8_t family = t->local.addr.family;
	bool ported = t->local.port != to->local.port ||
		      t->remote.port != to->remote.port;
	uint32_t be32_ports = map_ports(map, to);
	uint8_t key[BATCH_KEY_MAX], data[BATCH_DATA_MAX];
	size_t len = steer_tuple_key(t, key), data_len;

	if (!len || !s->conf.maps || to->local.addr.family != family ||
	    to->remote.addr.family != family) {
		batch_fail(&s->batch, -EINVAL);
		return;
	}
	data_len = map_data(map, to, data);
	if (ported)
		batch_map_element(&s->batch, type,
				  ruleset_ported_map_name(map, true, family),
				  key, len, &be32_ports, sizeof(be32_ports));
	batch_map_element(&s->batch, type,
			  ported ?
				  ruleset_ported_map_name(map, false, family) :
				  ruleset_map_name(map, family),
			  key, len, data, data_len);
}

void steer_map_add(struct steer *s, enum steer_map map, const struct tuple *t,
		   const struct tuple *to)
{
	map_change(s, NFT_MSG_NEWSETELEM, map, t, to);
	steer_open_pair(s, t, map == STEER_RECV, map == STEER_SEND);
}

void steer_map_del(struct steer *s, enum steer_map map, const struct tuple *t,
		   const struct tuple *to)
{
	map_change(s, NFT_MSG_DELSETELEM, map, t, to);
}

/* --- workers -------------------------------------------------------------- */

static void worker_change(struct steer *s, uint16_t type, enum steer_map map,
			  const struct tuple *t, unsigned int worker)
{
	uint8_t key[BATCH_KEY_MAX];
	size_t len = steer_tuple_key(t, key);

	if (!len || worker >= s->conf.workers) {
		batch_fail(&s->batch, -EINVAL);
		return;
	}
	batch_goto_element(&s->batch, type,
			   ruleset_worker_map_name(map, t->local.addr.family),
			   key, len, ruleset_worker_chain(worker));
}

void steer_worker_add(struct steer *s, enum steer_map map,
		      const struct tuple *t, unsigned int worker)
{
	worker_change(s, NFT_MSG_NEWSETELEM, map, t, worker);
	steer_open_pair(s, t, map == STEER_RECV, map == STEER_SEND);
}

void steer_worker_del(struct steer *s, enum steer_map map,
		      const struct tuple *t, unsigned int worker)
{
	worker_change(s, NFT_MSG_DELSETELEM, map, t, worker);
}

/* --- counters ------------------------------------------------------------- */

struct dump {
	enum steer_map map;
	uint8_t family;
	steer_rewritten_cb *cb;
	void *arg;
};

struct element {
	const struct nlattr *key, *counter;
};

static int on_key(const struct nlattr *attr, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_type(attr) == NFTA_DATA_VALUE)
		e->key = attr;
	return MNL_CB_OK;
}

static int on_expression(const struct nlattr *attr, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_type(attr) == NFTA_EXPR_DATA)
		e->counter = attr;
	return MNL_CB_OK;
}

static int on_part(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_KEY)
		return mnl_attr_parse_nested(attr, on_key, arg);
	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_EXPR)
		return mnl_attr_parse_nested(attr, on_expression, arg);
	return MNL_CB_OK;
}

static int on_number(const struct nlattr *attr, void *arg)
{
	struct steer_rewritten *r = arg;
	uint64_t be64;

	if (mnl_attr_get_payload_len(attr) < sizeof(be64))
		return MNL_CB_OK;
	memcpy(&be64, mnl_attr_get_payload(attr), sizeof(be64));
	if (mnl_attr_get_type(attr) == NFTA_COUNTER_PACKETS)
		r->packets = be64toh(be64);
	else if (mnl_attr_get_type(attr) == NFTA_COUNTER_BYTES)
		r->bytes = be64toh(be64);
	return MNL_CB_OK;
}

/* The reverse of steer_tuple_key(). */
bool steer_take_key(const struct nlattr *attr, uint8_t family, struct tuple *t)
{
	const size_t len = family == 4 ? 4 : 16;
	const uint8_t *key = mnl_attr_get_payload(attr);
	uint16_t be16;

	if (mnl_attr_get_payload_len(attr) < 2 * len + 12)
		return false;
	memset(t, 0, sizeof(*t));
	t->local.addr.family = t->remote.addr.family = family;
	memcpy(t->local.addr.byte, key, len);
	memcpy(t->remote.addr.byte, key + len, len);
	t->proto = key[2 * len];
	memcpy(&be16, key + 2 * len + 4, sizeof(be16));
	t->local.port = ntohs(be16);
	memcpy(&be16, key + 2 * len + 8, sizeof(be16));
	t->remote.port = ntohs(be16);
	return true;
}

static int on_element(const struct nlattr *attr, void *arg)
{
	const struct dump *d = arg;
	struct steer_rewritten r = { .map = d->map };
	struct element e = { NULL, NULL };

	if (mnl_attr_parse_nested(attr, on_part, &e) < 0 || !e.key ||
	    !e.counter || !steer_take_key(e.key, d->family, &r.tuple) ||
	    mnl_attr_parse_nested(e.counter, on_number, &r) < 0)
		return MNL_CB_OK;
	d->cb(&r, d->arg);
	return MNL_CB_OK;
}

static int on_elements(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *list =
		steer_find(nlh, NFTA_SET_ELEM_LIST_ELEMENTS, 0);

	if (list)
		(void)mnl_attr_parse_nested(list, on_element, arg);
	return 0;
}

static int dump_map(struct steer *s, const char *name, struct dump *d)
{
	char buffer[256];
	struct nlmsghdr *nlh =
		steer_question(buffer, NFT_MSG_GETSETELEM, NLM_F_DUMP);

	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, name);
	return netlink_request(s->nl, nlh, on_elements, d);
}

int steer_rewritten(struct steer *s, steer_rewritten_cb *cb, void *arg)
{
	int err = 0;

	if (!s->conf.counted)
		return -EOPNOTSUPP;
	for (int map = STEER_SEND; map <= STEER_RECV && !err; map++)
		for (uint8_t family = 4; family <= 6 && !err; family += 2) {
			struct dump d = { .map = (enum steer_map)map,
					  .family = family,
					  .cb = cb,
					  .arg = arg };

			err = dump_map(s, ruleset_map_name(d.map, family), &d);
			if (!err)
				err = dump_map(s,
					       ruleset_ported_map_name(
						       d.map, false, family),
					       &d);
		}
	return err;
}
