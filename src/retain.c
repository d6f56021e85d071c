/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * retain: keeps an address for the sockets that have it, and nothing else.
 *
 * Owns the counts; route writes to the kernel. What stands there when is in
 * retain.h.
 */
#include "retain.h"

#include "netlink.h"
#include "retain_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SRC_VALID_MARK "/proc/sys/net/ipv4/conf/all/src_valid_mark"

/* --- counts --------------------------------------------------------------- */

struct old *retain_find_old(struct retain *r, const struct addr *a)
{
	struct old *o;

	HASH_FIND(hh, r->olds, a, sizeof(*a), o);
	return o;
}

struct peer *retain_find_peer(struct retain *r, const struct addr *a)
{
	struct peer *p;

	HASH_FIND(hh, r->peers, a, sizeof(*a), p);
	return p;
}

/* Finds or makes one without uses. */
static int old_get(struct retain *r, const struct addr *a, unsigned int max,
		   struct old **out)
{
	struct old *o = retain_find_old(r, a);

	if (!o) {
		if (HASH_COUNT(r->olds) >= max)
			return -ENOSPC;
		o = calloc(1, sizeof(*o));
		if (!o)
			return -ENOMEM;
		o->addr = *a;
		HASH_ADD(hh, r->olds, addr, sizeof(o->addr), o);
		if (!o->hh.tbl) {
			free(o);
			return -ENOMEM;
		}
	}
	*out = o;
	return 0;
}

int retain_get_peer(struct retain *r, const struct addr *a, unsigned int max,
		    struct peer **out)
{
	struct peer *p = retain_find_peer(r, a);

	if (!p) {
		if (HASH_COUNT(r->peers) >= max)
			return -ENOSPC;
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		p->addr = *a;
		HASH_ADD(hh, r->peers, addr, sizeof(p->addr), p);
		if (!p->hh.tbl) {
			free(p);
			return -ENOMEM;
		}
	}
	*out = p;
	return 0;
}

static void old_put(struct retain *r, struct old *o)
{
	if (o->uses || o->wires)
		return;
	HASH_DELETE(hh, r->olds, o);
	free(o);
}

void retain_put_peer(struct retain *r, struct peer *p)
{
	if (p->uses || p->hops)
		return;
	HASH_DELETE(hh, r->peers, p);
	free(p->hop);
	free(p);
}

static void forget_all(struct retain *r)
{
	struct old *o, *next_old;
	struct peer *p, *next_peer;

	HASH_ITER(hh, r->olds, o, next_old) {
		HASH_DELETE(hh, r->olds, o);
		free(o);
	}
	HASH_ITER(hh, r->peers, p, next_peer) {
		HASH_DELETE(hh, r->peers, p);
		free(p->hop);
		free(p);
	}
}

/* --- what stands in the kernel -------------------------------------------- */

struct route_rule retain_rule_of(const struct retain *r, const struct old *o,
				 uint32_t preference)
{
	return (struct route_rule){
		.family = addr_af(&o->addr),
		.from = o->addr,
		.table = r->conf.table,
		.preference = preference,
	};
}

struct route_rule retain_mark_rule(const struct retain *r, int family)
{
	return (struct route_rule){
		.family = family,
		.mark = r->conf.mark,
		.table = r->conf.table + 1,
		.preference = retain_preference(r, family, false),
	};
}

struct route_rule retain_gone_rule(const struct retain *r, const struct old *o)
{
	return retain_rule_of(r, o, retain_preference(r, addr_af(&o->addr),
						      true));
}

struct route_entry retain_delivery_to(const struct retain *r,
				      const struct old *o)
{
	return (struct route_entry){
		.to = o->addr,
		.table = r->conf.table + 1,
		.local = true,
		.hop = { { .ifindex = ROUTE_LO_IFINDEX } },
		.hops = 1,
	};
}

struct route_entry retain_guard_to(const struct retain *r,
				   const struct peer *p)
{
	return (struct route_entry){
		.to = p->addr,
		.table = r->conf.table,
		.mtu = p->mtu,
		.hop = { { .ifindex = r->sink } },
		.hops = 1,
	};
}

/* Goes on past errors: whatever can go, goes. */
static int old_take_down(struct retain *r, struct old *o)
{
	struct route_rule rule = retain_gone_rule(r, o);
	struct route_entry entry = retain_delivery_to(r, o);
	int err = 0;

	if (o->gone)
		err = route_del_rule(r->nl, &rule);
	rule.preference = RETAIN_PREF_LAST;
	if (!o->wires)
		err = retain_first_of(err, route_del_rule(r->nl, &rule));
	err = retain_first_of(err, route_del_entry(r->nl, &entry));
	if (o->copied)
		err = retain_first_of(err, route_del_copy(r->nl, &o->addr));
	o->gone = o->copied = false;
	return err;
}

/* What is of someone else is his, route and all. */
static int copy_set_up(struct retain *r, struct old *o)
{
	int err = route_put_copy(r->nl, &o->addr);

	if (err == -EEXIST) {
		err = o->copied ? route_del_copy(r->nl, &o->addr) : 0;
		o->copied = err;
	} else {
		o->copied = !err;
	}
	return err;
}

static int old_set_up(struct retain *r, struct old *o)
{
	struct route_rule rule = retain_rule_of(r, o, RETAIN_PREF_LAST);
	struct route_entry entry = retain_delivery_to(r, o);
	int err = 0;

	if (o->addr.family == 4)
		err = copy_set_up(r, o);
	if (!err)
		err = route_put_entry(r->nl, &entry);
	if (!err)
		err = route_put_rule(r->nl, &rule);
	if (err)
		(void)old_take_down(r, o);
	return err;
}

/* --- protection ----------------------------------------------------------- */

static int peer_use(struct retain *r, struct peer *p, uint32_t mtu)
{
	uint32_t before = p->mtu;
	struct route_entry entry;
	int err = 0;

	p->mtu = mtu ? mtu : before;
	entry = retain_guard_to(r, p);
	if (!p->uses || p->mtu != before)
		err = route_put_entry(r->nl, &entry);
	if (err)
		p->mtu = before;
	else
		p->uses++;
	return err;
}

static int peer_unuse(struct retain *r, struct peer *p)
{
	struct route_entry entry = retain_guard_to(r, p);

	if (--p->uses)
		return 0;
	p->mtu = 0;
	return route_del_entry(r->nl, &entry);
}

/* Only the rule behind the others, for an address on the wire. */
static int wire_set_up(struct retain *r, const struct old *o)
{
	struct route_rule rule = retain_rule_of(r, o, RETAIN_PREF_LAST);

	return o->uses || o->wires ? 0 : route_put_rule(r->nl, &rule);
}

static int wire_take_down(struct retain *r, const struct old *o)
{
	struct route_rule rule = retain_rule_of(r, o, RETAIN_PREF_LAST);

	return o->uses || o->wires ? 0 : route_del_rule(r->nl, &rule);
}

/* One more use of both addresses; wires may have a part of the room only. */
static int use(struct retain *r, const struct addr *own,
	       const struct addr *peer, uint32_t mtu, bool wire)
{
	const unsigned int part = wire ? RETAIN_WIRES_PART : 1;
	struct old *o;
	struct peer *p;
	int err;

	if (!addr_is_set(own) || own->family != peer->family)
		return -EINVAL;
	err = old_get(r, own, RETAIN_ADDRS_MAX / part, &o);
	if (err)
		return err;
	err = retain_get_peer(r, peer, RETAIN_PEERS_MAX / part, &p);
	if (err)
		goto out_old;
	err = peer_use(r, p, mtu);
	if (err)
		goto out_peer;
	if (wire)
		err = wire_set_up(r, o);
	else if (!o->uses)
		err = old_set_up(r, o);
	if (err) {
		(void)peer_unuse(r, p);
		goto out_peer;
	}
	++*(wire ? &o->wires : &o->uses);
	return 0;

out_peer:
	retain_put_peer(r, p);
out_old:
	old_put(r, o);
	return err;
}

static int unuse(struct retain *r, const struct addr *own,
		 const struct addr *peer, bool wire)
{
	struct old *o = retain_find_old(r, own);
	struct peer *p = retain_find_peer(r, peer);
	int err = 0;

	if (!o || !(wire ? o->wires : o->uses) || !p || !p->uses)
		return -ENOENT;
	if (--*(wire ? &o->wires : &o->uses) == 0)
		err = wire ? wire_take_down(r, o) : old_take_down(r, o);
	err = retain_first_of(err, peer_unuse(r, p));
	old_put(r, o);
	retain_put_peer(r, p);
	return err;
}

int retain_protect(struct retain *r, const struct addr *old,
		   const struct addr *peer, uint32_t mtu)
{
	return use(r, old, peer, mtu, false);
}

int retain_unprotect(struct retain *r, const struct addr *old,
		     const struct addr *peer)
{
	return unuse(r, old, peer, false);
}

int retain_wire(struct retain *r, const struct addr *local,
		const struct addr *peer)
{
	return use(r, local, peer, 0, true);
}

int retain_unwire(struct retain *r, const struct addr *local,
		  const struct addr *peer)
{
	return unuse(r, local, peer, true);
}

int retain_set_mtu(struct retain *r, const struct addr *peer, uint32_t mtu)
{
	struct peer *p = retain_find_peer(r, peer);
	struct route_entry entry;
	uint32_t before;
	int err;

	if (!p || !p->uses)
		return -ENOENT;
	if (p->mtu == mtu)
		return 0;
	before = p->mtu;
	p->mtu = mtu;
	entry = retain_guard_to(r, p);
	err = route_put_entry(r->nl, &entry);
	if (err)
		p->mtu = before;
	return err;
}

int retain_gone(struct retain *r, const struct addr *old)
{
	struct old *o = retain_find_old(r, old);
	struct route_rule rule;
	int err;

	if (!o || !o->uses)
		return -ENOENT;
	rule = retain_gone_rule(r, o);
	err = route_put_rule(r->nl, &rule);
	o->gone |= !err;
	return err;
}

int retain_back(struct retain *r, const struct addr *old)
{
	struct old *o = retain_find_old(r, old);
	struct route_rule rule;
	int err;

	if (!o || !o->uses)
		return -ENOENT;
	rule = retain_gone_rule(r, o);
	err = route_del_rule(r->nl, &rule);
	o->gone &= !!err;
	return err;
}

int retain_on_lo(struct retain *r, const struct addr *old)
{
	struct old *o = retain_find_old(r, old);

	if (!o || !o->uses)
		return -ENOENT;
	return old->family == 4 ? copy_set_up(r, o) : 0;
}

/* --- open and close ------------------------------------------------------- */

/* True once it is on. A failure is no error: the caller warns. */
static bool set_src_valid_mark(void)
{
	int fd = open(SRC_VALID_MARK, O_RDWR | O_CLOEXEC);
	bool on = fd >= 0 && write(fd, "1\n", 2) == 2;
	char value = '0';

	if (fd < 0)
		fd = open(SRC_VALID_MARK, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (!on)
		on = pread(fd, &value, 1, 0) == 1 && value == '1';
	close(fd);
	return on;
}

int retain_put_mark_rules(struct retain *r)
{
	struct route_rule rule = retain_mark_rule(r, AF_INET);
	int err = route_put_rule(r->nl, &rule);

	if (err)
		return err;
	rule = retain_mark_rule(r, AF_INET6);
	err = route_put_rule(r->nl, &rule);
	r->ipv6 = !err;
	return err == -EAFNOSUPPORT || err == -EOPNOTSUPP ? 0 : err;
}

static bool is_table_free(uint32_t table)
{
	/* default, main, local and "unspecified" are the kernel's */
	return table && table < INT32_MAX &&
	       (table + 1 < RT_TABLE_DEFAULT || table > RT_TABLE_LOCAL);
}

int retain_open(struct retain **out, const struct retain_conf *conf,
		struct retain_info *info)
{
	struct retain *r;
	int err;

	if (!conf->mark || conf->mark & (conf->mark - 1) ||
	    !is_table_free(conf->table))
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->conf = *conf;
	for (int i = 0; i < 2; i++)
		r->place[i].preference = RETAIN_PREF_MARK;
	r->displaced = true;
	err = netlink_open(&r->nl, NETLINK_ROUTE, NULL, 0);
	if (!err)
		err = retain_hear_losses(r);
	if (!err)
		err = retain_put_mark_rules(r);
	/* lo is second best: what goes there comes back (see retain.h). */
	if (!err && route_put_sink(r->nl, &r->sink))
		r->sink = ROUTE_LO_IFINDEX;
	if (err) {
		(void)retain_close(r, true);
		return err;
	}
	if (info) {
		info->src_valid_mark = set_src_valid_mark();
		info->ipv6 = r->ipv6;
		info->sink = r->sink != ROUTE_LO_IFINDEX;
	}
	*out = r;
	return 0;
}

/* Is it what this one has put there, or would? */
bool retain_uses(const struct route_object *object, void *arg)
{
	struct retain *r = arg;
	const struct route_rule *rule = &object->rule;
	const struct route_entry *entry = &object->entry;
	struct old *o;
	struct peer *p;

	switch (object->kind) {
	case ROUTE_RULE:
		if (rule->mark)
			return rule->mark == r->conf.mark &&
			       rule->table == r->conf.table + 1 &&
			       rule->preference ==
				       retain_preference(r, rule->family,
							 false);
		o = retain_find_old(r, &rule->from);
		return o && rule->table == r->conf.table &&
		       (rule->preference == RETAIN_PREF_LAST ||
			(rule->preference == retain_gone_rule(r, o).preference &&
			 o->gone));
	case ROUTE_ENTRY:
		p = retain_find_peer(r, &entry->to);
		if (entry->table == r->conf.table)
			return p && p->uses;
		if (entry->table != r->conf.table + 1)
			return false;
		o = retain_find_old(r, &entry->to);
		return entry->local ? o && o->uses : p && p->hops;
	case ROUTE_COPY:
		o = retain_find_old(r, &object->copy);
		return o && o->copied;
	}
	return false;
}

bool retain_is_known(struct retain *r, const struct addr *a, uint32_t ifindex)
{
	return route_is_known(r->nl, a, ifindex);
}

int retain_drop_unresolved(struct retain *r, const struct addr *a,
			   uint32_t ifindex)
{
	return route_drop_unresolved(r->nl, a, ifindex);
}

int retain_sweep(struct retain *r)
{
	return route_sweep(r->nl, retain_uses, r);
}

int retain_clean(struct retain *r)
{
	int err;

	forget_all(r);
	err = route_sweep(r->nl, NULL, NULL);
	return retain_first_of(err, route_del_sink(r->nl));
}

int retain_close(struct retain *r, bool keep)
{
	int err = 0;

	if (!r)
		return 0;
	if (!keep)
		err = retain_clean(r);
	forget_all(r);
	netlink_close(r->events);
	netlink_close(r->nl);
	free(r);
	return err;
}
