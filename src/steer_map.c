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

/* Elements of one flow. */
struct change {
	struct steer *s;
	bool add;
	enum steer_map map;
	uint8_t family, proto;
	uint8_t key[BATCH_KEY_MAX];
	size_t key_len;
};

static void change_part(const struct change *c, const char *map,
			const void *to, size_t to_len)
{
	batch_map_element(&c->s->batch, c->add, map, c->key, c->key_len, to,
			  to_len);
}

static void change_addr(const struct change *c, bool both,
			enum ruleset_part part, const struct addr *to)
{
	change_part(c, ruleset_map_name(c->map, both, part, c->family),
		    to->byte, addr_size(to));
}

static void change_addrs(const struct change *c, const struct endpoint *src,
			 const struct endpoint *dst, bool src_stays,
			 bool dst_stays)
{
	const bool both = src_stays == dst_stays;

	if (!src_stays || both)
		change_addr(c, both, RULESET_SADDR, &src->addr);
	if (!dst_stays || both)
		change_addr(c, both, RULESET_DADDR, &dst->addr);
}

static void change_ported(const struct change *c, const struct endpoint *src,
			  const struct endpoint *dst)
{
	const uint16_t be16_src = htons(src->port);
	const uint16_t be16_dst = htons(dst->port);
	const struct {
		const void *data;
		size_t len;
	} to[RULESET_PARTS] = {
		[RULESET_SADDR] = { src->addr.byte, addr_size(&src->addr) },
		[RULESET_DADDR] = { dst->addr.byte, addr_size(&dst->addr) },
		[RULESET_SPORT] = { &be16_src, sizeof(be16_src) },
		[RULESET_DPORT] = { &be16_dst, sizeof(be16_dst) },
	};

	for (int part = 0; part < RULESET_PARTS; part++)
		change_part(c, ruleset_ported_map_name(c->map,
						       (enum ruleset_part)part,
						       c->proto, c->family),
			    to[part].data, to[part].len);
}

static void map_change(struct steer *s, bool add, enum steer_map map,
		       const struct tuple *t, const struct tuple *to)
{
	const bool sent = map == STEER_SEND;
	const struct endpoint *src = sent ? &to->local : &to->remote;
	const struct endpoint *dst = sent ? &to->remote : &to->local;
	const bool local_stays = addr_equal(&t->local.addr, &to->local.addr);
	const bool remote_stays = addr_equal(&t->remote.addr, &to->remote.addr);
	struct change c = { .s = s, .add = add, .map = map,
			    .family = t->local.addr.family, .proto = t->proto };

	c.key_len = steer_tuple_key(t, c.key);
	if (!c.key_len || !s->conf.maps || src->addr.family != c.family ||
	    dst->addr.family != c.family) {
		batch_fail(&s->batch, -EINVAL);
		return;
	}
	if (t->local.port == to->local.port &&
	    t->remote.port == to->remote.port) {
		change_addrs(&c, src, dst, sent ? local_stays : remote_stays,
			     sent ? remote_stays : local_stays);
		return;
	}
	c.key_len = steer_ported_key(t, c.key);
	change_ported(&c, src, dst);
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
