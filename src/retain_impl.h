/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of retain share; nobody else includes it.
 */
#ifndef SACIPED_RETAIN_IMPL_H
#define SACIPED_RETAIN_IMPL_H

#include "retain.h"
#include "route.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct old {
	struct addr addr; /* key */
	uint32_t uses;
	uint32_t wires; /* by retain_wire(): its last rule, nothing else */
	bool copied; /* the copy on lo is ours */
	bool gone;
	UT_hash_handle hh;
};

/* A way back to a peer, and what the real route over it says. */
struct hop {
	struct retain_way way; /* the newest one over this interface */
	uint32_t uses;
	uint32_t mtu;
	struct addr gateway, src; /* unset: none */
	bool found; /* there was a real route when it was asked for last */
	bool doubted; /* the kernel may have dropped ours, without a word */
};

struct peer {
	struct addr addr; /* key */
	uint32_t uses; /* by retain_protect(), retain_wire() */
	uint32_t mtu;
	unsigned int hops;
	struct hop *hop; /* RETAIN_REVERSE_MAX, the newest last; or NULL */
	unsigned int routes; /* IPv6: one for each that can have one */
	bool lacks_hop; /* the kernel did not take one, the last time */
	UT_hash_handle hh;
};

/* Of one family: where our rules stand in front of others'. */
struct place {
	uint32_t preference; /* the mark's; those of gone addresses follow */
	/* Preferences of those of others that were told, plus one, or 0. */
	uint64_t blocking; /* in front of ours */
	uint64_t marking; /* uses our bit */
};

struct retain {
	struct netlink *nl;
	struct netlink *events; /* what others take away */
	struct retain_lost *lost; /* while the events are read */
	struct retain_conf conf;
	bool ipv6;
	struct place place[2]; /* IPv4, IPv6 */
	bool displaced; /* heard of rules that may be in front of ours */
	uint32_t sink; /* ifindex where the guard's routes end */
	struct old *olds;
	struct peer *peers;
};

static inline int retain_first_of(int a, int b)
{
	return a ? a : b;
}

/* By what they are counted; NULL where they are not. */
struct old *retain_find_old(struct retain *r, const struct addr *a);
struct peer *retain_find_peer(struct retain *r, const struct addr *a);
/* Finds or makes one without uses; ends one that is without. 0, -ENOSPC where
 * there are `max` others, -ENOMEM. */
int retain_get_peer(struct retain *r, const struct addr *a, unsigned int max,
		    struct peer **out);
void retain_put_peer(struct retain *r, struct peer *p);
/* What stands in the kernel for them. */
struct route_rule retain_rule_of(const struct retain *r, const struct old *o,
				 uint32_t preference);
struct route_rule retain_mark_rule(const struct retain *r, int family);
struct route_rule retain_gone_rule(const struct retain *r,
				   const struct old *o);
struct route_entry retain_delivery_to(const struct retain *r,
				      const struct old *o);
struct route_entry retain_guard_to(const struct retain *r,
				   const struct peer *p);
/* retain_reverse.c: as it is known, and as the kernel says now. */
int retain_write_reverse(struct retain *r, struct peer *p);
int retain_renew_reverse(struct retain *r, struct peer *p);
/* As the latter, but written only where something is to be written. */
int retain_follow_reverse(struct retain *r, struct peer *p);
int retain_put_mark_rules(struct retain *r);
/* Is it what this one has put there, or would? (`arg`: struct retain) */
bool retain_uses(const struct route_object *object, void *arg);
/* retain_place.c: the present preference of the mark's rule, or of addresses
 * that are gone. */
uint32_t retain_preference(const struct retain *r, int family, bool of_gone);
/* Is this event about a rule of others that is, or was, in front of ours, or
 * uses our bit? */
bool retain_displaces(const struct retain *r, const struct nlmsghdr *nlh);
/* retain_watch.c: opens the events. 0 or -errno. */
int retain_hear_losses(struct retain *r);

#endif
