/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * retain_reverse: the ways back to a peer, for marked packets.
 *
 * Owns what is known of them: interfaces, and what the real routes to the
 * peer's addresses on the wire say of gateway, mtu and source. The mark is on
 * what comes in, which reverse path filters look at, and on what is sent home
 * as it is after it was held: that leaves by such a route, so it has to be as
 * good as the real one. Never decides which interfaces these are.
 */
#include "retain.h"

#include "retain_impl.h"
#include "rtmon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(RETAIN_REVERSE_MAX <= ROUTE_HOPS_MAX, "one route holds them");

static bool leads_there(struct retain *r, const struct rtmon_query *query,
			struct rtmon_route *real)
{
	return !rtmon_ask_route(r->nl, query, real) && !real->local &&
	       real->table && real->ifindex == query->oif;
}

/*
 * Asked without our mark, so our own answer is not heard; and the guard's
 * routes lead out of none of these interfaces. Where there is no real route
 * the last one that there was stands. True where ours is to be written: the
 * kernel drops an IPv4 route with its source address, and says nothing; and
 * one that it refused while there was no real route it may take now.
 */
static bool look(struct retain *r, struct hop *hop)
{
	struct rtmon_query query = {
		.dst = hop->way.remote,
		.src = hop->way.own,
		.mark = hop->way.mark,
		.uid = UINT32_MAX,
		.oif = hop->way.ifindex,
	};
	struct rtmon_route real;
	bool found = leads_there(r, &query, &real);
	const struct hop was = *hop;

	/* With a source IPv6 may answer by another interface. */
	if (!found && query.dst.family == 6) {
		memset(&query.src, 0, sizeof(query.src));
		found = leads_there(r, &query, &real);
	}
	hop->found = found;
	hop->doubted = false;
	if (found) {
		hop->gateway = real.gateway;
		hop->src = real.src;
		hop->mtu = real.mtu;
	}
	return was.doubted || was.found != found || was.mtu != hop->mtu ||
	       !addr_equal(&was.gateway, &hop->gateway) ||
	       !addr_equal(&was.src, &hop->src);
}

static void add_hop(struct route_entry *to, const struct hop *hop)
{
	to->hop[to->hops++] = (struct route_hop){
		.ifindex = hop->way.ifindex,
		.gateway = hop->gateway,
	};
	if (hop->mtu && (!to->mtu || hop->mtu < to->mtu))
		to->mtu = hop->mtu;
}

/* With the source of its way; without where that address is gone. */
static int put_one(struct retain *r, struct route_entry *entry,
		   const struct hop *hop)
{
	int err;

	entry->hops = entry->mtu = 0;
	add_hop(entry, hop);
	entry->src = hop->src;
	err = route_put_entry(r->nl, entry);
	if (err != -EINVAL || !addr_is_set(&entry->src))
		return err;
	memset(&entry->src, 0, sizeof(entry->src));
	return route_put_entry(r->nl, entry);
}

/* IPv4, whose checks take any hop of the route that is found: all interfaces
 * of the peer in one route, so that what still drains on the old one passes as
 * well; what leaves by it takes the newest, as good as always. One that is down
 * spoils it for all: then the newest that will do. */
static int write_one(struct retain *r, struct peer *p,
		     struct route_entry *entry)
{
	int first;

	p->lacks_hop = false;
	if (!p->hops)
		return route_del_entry(r->nl, entry);
	if (p->hops == 1) {
		first = put_one(r, entry, &p->hop[0]);
		p->lacks_hop = first;
		return first;
	}
	for (unsigned int i = 0; i < p->hops; i++)
		add_hop(entry, &p->hop[i]);
	first = route_put_entry(r->nl, entry);
	p->lacks_hop = first;
	for (unsigned int i = p->hops; first && i-- > 0;)
		if (!put_one(r, entry, &p->hop[i]))
			return 0;
	return first;
}

/*
 * IPv6: nft's fib takes the first route only (nft_fib6_eval()), the newest
 * way's; ip6tables' rpfilter and the kernel one over the interface that it
 * asks for, where there is one (rt6_device_match()). So each has a route.
 */
static int write_each(struct retain *r, struct peer *p,
		      struct route_entry *entry)
{
	unsigned int had = p->routes;
	int err, first = 0;

	p->routes = 0;
	for (unsigned int i = p->hops; i-- > 0;) {
		entry->metric = p->routes + 1;
		err = put_one(r, entry, &p->hop[i]);
		if (!err)
			p->routes++;
		first = retain_first_of(first, err);
	}
	p->lacks_hop = first;
	for (unsigned int i = p->routes; i < had; i++) {
		entry->metric = i + 1;
		err = route_del_entry(r->nl, entry);
		first = retain_first_of(first, err);
	}
	return p->routes ? 0 : first;
}

int retain_write_reverse(struct retain *r, struct peer *p)
{
	struct route_entry entry = { .to = p->addr,
				     .table = r->conf.table + 1 };

	return p->addr.family == 4 ? write_one(r, p, &entry) :
				     write_each(r, p, &entry);
}

int retain_renew_reverse(struct retain *r, struct peer *p)
{
	for (unsigned int i = 0; i < p->hops; i++)
		(void)look(r, &p->hop[i]);
	return retain_write_reverse(r, p);
}

int retain_follow_reverse(struct retain *r, struct peer *p)
{
	bool news = p->lacks_hop;

	for (unsigned int i = 0; i < p->hops; i++)
		news |= look(r, &p->hop[i]);
	return news ? retain_write_reverse(r, p) : 0;
}

static struct hop *hop_find(const struct peer *p, uint32_t ifindex)
{
	for (unsigned int i = 0; i < p->hops; i++)
		if (p->hop[i].way.ifindex == ifindex)
			return &p->hop[i];
	return NULL;
}

static void hop_remove(struct peer *p, struct hop *hop)
{
	size_t left = (size_t)(&p->hop[--p->hops] - hop);

	memmove(hop, hop + 1, left * sizeof(*hop));
}

static void hop_renew(struct peer *p, struct hop *hop,
		      const struct retain_way *way)
{
	struct hop newest = *hop;

	newest.way = *way;
	hop_remove(p, hop);
	p->hop[p->hops++] = newest;
}

static int hop_add(struct peer *p, const struct retain_way *way)
{
	if (!p->hop)
		p->hop = calloc(RETAIN_REVERSE_MAX, sizeof(*p->hop));
	if (!p->hop)
		return -ENOMEM;
	if (p->hops == RETAIN_REVERSE_MAX)
		return -ENOSPC;
	p->hop[p->hops++] = (struct hop){ .way = *way, .uses = 1 };
	return 0;
}

static bool same_way(const struct retain_way *a, const struct retain_way *b)
{
	return a->ifindex == b->ifindex && a->mark == b->mark &&
	       addr_equal(&a->own, &b->own) &&
	       addr_equal(&a->remote, &b->remote);
}

/* If it cannot be written, what was there stands. */
static void prefer(struct retain *r, struct peer *p, struct hop *hop,
		   const struct retain_way *way)
{
	if (hop == &p->hop[p->hops - 1] && same_way(&hop->way, way))
		return;
	hop_renew(p, hop, way);
	(void)retain_renew_reverse(r, p);
}

int retain_prefer(struct retain *r, const struct addr *peer,
		  const struct retain_way *way)
{
	struct peer *p = retain_find_peer(r, peer);
	struct hop *hop = p ? hop_find(p, way->ifindex) : NULL;

	if (!hop)
		return -ENOENT;
	prefer(r, p, hop, way);
	return 0;
}

int retain_reverse(struct retain *r, const struct addr *peer,
		   const struct retain_way *way)
{
	struct peer *p;
	struct hop *hop;
	int err;

	if (!addr_is_set(peer) || !way->ifindex)
		return -EINVAL;
	err = retain_get_peer(r, peer, RETAIN_PEERS_MAX, &p);
	if (err)
		return err;
	hop = hop_find(p, way->ifindex);
	if (hop) {
		hop->uses++;
		prefer(r, p, hop, way);
		return 0;
	}
	err = hop_add(p, way);
	if (!err) {
		err = retain_renew_reverse(r, p);
		if (err)
			hop_remove(p, &p->hop[p->hops - 1]);
	}
	if (err)
		retain_put_peer(r, p);
	return err;
}

int retain_unreverse(struct retain *r, const struct addr *peer,
		     uint32_t ifindex)
{
	struct peer *p;
	struct hop *hop;
	int err;

	p = retain_find_peer(r, peer);
	hop = p ? hop_find(p, ifindex) : NULL;
	if (!hop)
		return -ENOENT;
	if (--hop->uses)
		return 0;
	hop_remove(p, hop);
	err = retain_write_reverse(r, p);
	retain_put_peer(r, p);
	return err;
}

void retain_doubt(struct retain *r, uint32_t ifindex)
{
	struct peer *p, *next;

	HASH_ITER(hh, r->peers, p, next)
		for (unsigned int i = 0; i < p->hops; i++)
			if (!ifindex || p->hop[i].way.ifindex == ifindex)
				p->hop[i].doubted = true;
}

int retain_link_up(struct retain *r, uint32_t ifindex)
{
	struct peer *p, *next;
	int err = 0;

	HASH_ITER(hh, r->peers, p, next)
		if (hop_find(p, ifindex))
			err = retain_first_of(err, retain_renew_reverse(r, p));
	return err;
}
