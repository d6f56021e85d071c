/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steer_map: the maps by which the kernel rewrites moved flows.
 *
 * Owns their elements' form, and what they have counted. Never decides what
 * is rewritten.
 */
#include "steer_impl.h"

#include <arpa/inet.h>
#include <errno.h>
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

static void map_change(struct steer *s, bool add, enum steer_map map,
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
		batch_map_element(&s->batch, add,
				  ruleset_ported_map_name(map, true, family),
				  key, len, &be32_ports, sizeof(be32_ports));
	batch_map_element(&s->batch, add,
			  ported ?
				  ruleset_ported_map_name(map, false, family) :
				  ruleset_map_name(map, family),
			  key, len, data, data_len);
}

void steer_map_add(struct steer *s, enum steer_map map, const struct tuple *t,
		   const struct tuple *to)
{
	map_change(s, true, map, t, to);
	steer_open_pair(s, t, map == STEER_RECV, map == STEER_SEND);
}

void steer_map_del(struct steer *s, enum steer_map map, const struct tuple *t,
		   const struct tuple *to)
{
	map_change(s, false, map, t, to);
}

/* --- workers -------------------------------------------------------------- */

static void worker_change(struct steer *s, bool add, enum steer_map map,
			  const struct tuple *t, unsigned int worker)
{
	uint8_t key[BATCH_KEY_MAX];
	size_t len = steer_tuple_key(t, key);

	if (!len || worker >= s->conf.workers) {
		batch_fail(&s->batch, -EINVAL);
		return;
	}
	batch_goto_element(&s->batch, add,
			   ruleset_worker_map_name(map, t->local.addr.family),
			   key, len, ruleset_worker_chain(worker));
}

void steer_worker_add(struct steer *s, enum steer_map map,
		      const struct tuple *t, unsigned int worker)
{
	worker_change(s, true, map, t, worker);
	steer_open_pair(s, t, map == STEER_RECV, map == STEER_SEND);
}

void steer_worker_del(struct steer *s, enum steer_map map,
		      const struct tuple *t, unsigned int worker)
{
	worker_change(s, false, map, t, worker);
}
