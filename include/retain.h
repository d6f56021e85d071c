/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * retain: keeps an address usable for the sockets that have it, and for
 * nothing else, after it has left its interface.
 *
 * Owns two routing tables (N guards what goes out, N+1 delivers what comes
 * in), a few policy rules, a device and copies of IPv4 addresses on lo. All of
 * it bears our protocol number, label or name, so that a crashed run's remains
 * are found. Never touches another's address, rule or
 * route, except that the `local` route of its own copies on lo is deleted.
 *
 *   pref   rule                              there
 *   1021   fwmark MARK/MARK lookup N+1       while open
 *   1022   from OLD lookup N                 from gone to back
 *          (or both in front of others': retain_place)
 *   32800  from OLD lookup N                 while protected (behind main
 *                                            32766 and default 32767)
 *   32800  from WIRE lookup N                while sent by
 *   N      PEER dev sacip-sink mtu M         per protected peer address, and
 *                                            those that are sent to
 *   N+1    local OLD dev lo                  while protected
 *   N+1    PEER [via G] dev IF [...]         retain_reverse
 *   lo     OLD peer 127.x scope host label lo:sacip   while protected, IPv4,
 *                                            and nobody else has OLD there
 *
 * sacip-sink is a device that swallows everything (a dummy; or a bridge without
 * ports). Routes to lo are second best, taken where the kernel has neither:
 * there IPv4 packets come back and are delivered to a local UDP socket that is
 * bound to the same port on all addresses, and for IPv6 ones the host sends
 * "unreachable route", quoting them, to whoever has OLD by now. Both seen.
 *
 * Relation to others: Tailscale's rules (5210 to 5270) and wg-quick's when it
 * was up first (32764, 32765) stand behind 1022. Those that came later without a
 * preference, and those with a smaller one, come before ours, and would take
 * our packets (wg-quick's "lookup main suppress_prefixlength 0"): ours step in
 * front of them, and back when they are gone.
 *
 * Calls are counted: one retain_unprotect() for every retain_protect().
 * Not thread-safe.
 */
#ifndef SACIPED_RETAIN_H
#define SACIPED_RETAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "route.h"

#define RETAIN_TABLE_DEFAULT 1021 /* N; N+1 is ours too */
#define RETAIN_PROTO 221 /* rtm_protocol, FRA_PROTOCOL */
#define RETAIN_PREF_MARK 1021
#define RETAIN_PREF_GONE 1022
#define RETAIN_PREF_LAST 32800
#define RETAIN_LABEL "lo:sacip" /* IFA_LABEL */

#define RETAIN_ADDRS_MAX 256 /* local identity addresses */
#define RETAIN_PEERS_MAX 32768 /* peers' addresses */
#define RETAIN_WIRES_PART 2 /* at most one in so many of both are wires' */
#define RETAIN_REVERSE_MAX 8 /* interfaces of one peer address */

struct retain;

struct retain_conf {
	uint32_t table; /* N: N and N+1 must be used by nobody else */
	uint32_t mark; /* as steer_conf's */
};

struct retain_info {
	bool src_valid_mark; /* IPv4 sysctl is on: rp_filter 1 will do */
	bool ipv6; /* the kernel has IPv6 */
	bool sink; /* guard routes end in sacip-sink, not in lo */
};

/*
 * Opens a routing socket, installs the mark's rules and sets net.ipv4.conf.all.src_valid_mark = 1 where it may
 * (info says whether it is on now; it is left on at close, as others may have
 * come to rely on it). What a crashed run has left still guards its flows and
 * is not touched before retain_sweep(). 0, -EPERM (CAP_NET_ADMIN), -EINVAL (table 0, 253 to
 * 255, or above 2^31; mark not one bit), -EOPNOTSUPP (no policy routing),
 * -ENOMEM.
 */
int retain_open(struct retain **out, const struct retain_conf *conf,
		struct retain_info *info);
/*
 * What of ours is taken away by somebody else is told by the kernel: the
 * descriptor becomes readable. retain_watch() reads what there is, or a part
 * of it, and puts back what is still needed, if the kernel takes it; how many
 * things that were, or -errno (events cannot be read). `lost` tells what.
 */
struct retain_lost {
	unsigned int rules, routes, addresses, devices;
	bool unknown; /* events were lost: all was put there again */
	bool displaced; /* rules of others came or went: retain_place() */
	struct addr last; /* that the last one was for; may be unset */
};
int retain_watch_fd(const struct retain *r);
int retain_watch(struct retain *r, struct retain_lost *lost);
/*
 * Has our rules stand in front of all others but `local`, as far as there is
 * room: at the start, and when retain_watch() tells. What of it was news:
 */
struct retain_placed {
	unsigned int moved; /* families in which ours stand elsewhere now */
	uint32_t preference; /* the mark's in the last of them ... */
	struct route_other first; /* ... and what is behind; unset: by default */
	bool blocked; /* there is one without room in front of it */
	struct route_other blocking;
	bool marked; /* there is one that uses our bit of the mark */
	struct route_other marking;
};
int retain_place(struct retain *r, struct retain_placed *to);
/* Removes everything of ours unless `keep` (a restart: the guards stand).
 * Frees `r` in any case; 0 or the first -errno. NULL is fine. */
int retain_close(struct retain *r, bool keep);
/* Once, when the flows that live on are protected again: removes what bears
 * our sign and was not asked for since the start. Only where it is certain
 * that no other daemon runs here (steer_open). 0 or -errno. */
int retain_sweep(struct retain *r);
/* Removes everything of ours from the kernel, whoever of us put it there, the
 * rules of the open one included, and forgets every count. 0 or the first
 * -errno; goes on past an error. */
int retain_clean(struct retain *r);

/*
 * A flow between our `old` and the peer's `peer` (identity addresses, one
 * family) is protected from now on. Call while `old` is still on its
 * interface. The first for an address puts its copy on lo (IPv4), its rule
 * and its delivery route; the first for a peer its guard route. mtu: of the
 * wire path, in bytes, 0 = not known; the last one said holds.
 * 0, -EINVAL, -ENOSPC (a bound), -ENOMEM or the kernel's -errno; on error
 * nothing is counted and what was added is taken out again.
 */
int retain_protect(struct retain *r, const struct addr *old,
		   const struct addr *peer, uint32_t mtu);
/* The last for an address takes all of it away, the gone rule too. It goes on
 * past errors and gives the first; -ENOENT where nothing was counted. */
int retain_unprotect(struct retain *r, const struct addr *old,
		     const struct addr *peer);
/*
 * Packets are rewritten to go from our `local` to the peer's `peer` (on the
 * wire): where they find no route at all they end in the guard's. When an
 * address is deleted the kernel takes the route of its subnet first, and the
 * senders of what is rewritten in between would be told. One call each.
 */
int retain_wire(struct retain *r, const struct addr *local,
		const struct addr *peer);
int retain_unwire(struct retain *r, const struct addr *local,
		  const struct addr *peer);
/* The wire path to the peer has another MTU. 0, -ENOENT, kernel's -errno. */
int retain_set_mtu(struct retain *r, const struct addr *peer, uint32_t mtu);

/*
 * gone: `old` has left its interface: nothing untranslated from it finds a
 * real route any more. back: it is on an interface again. Both may be
 * repeated; -ENOENT where the address is not protected.
 */
int retain_gone(struct retain *r, const struct addr *old);
int retain_back(struct retain *r, const struct addr *old);
/* Others have put `old` on lo, or taken it away there: what is not theirs any
 * more is kept by a copy of ours, and the other way round. -ENOENT as above, or
 * the kernel's -errno. */
int retain_on_lo(struct retain *r, const struct addr *old);

/*
 * Routes have changed. What sockets have learned while one was away, the
 * guard's, is forgotten. IPv6 only: there a socket keeps a route as long as
 * that one stays in its own table (rt6_check(): the serial number of its node).
 * In a few system calls for all IPv6 peers. And the ways back are asked for
 * again, a call for each, and written where the answer is another one (IPv6
 * tells every listener of what is written). 0 or the first -errno.
 */
int retain_refresh(struct retain *r);
/*
 * An address came or went on this interface (0: on any, or events were lost).
 * With an address, or the last one, the kernel drops IPv4 routes and tells
 * nobody: the next retain_refresh() writes the ways back over it anyhow.
 */
void retain_doubt(struct retain *r, uint32_t ifindex);

/* See route_is_known(). */
bool retain_is_known(struct retain *r, const struct addr *a, uint32_t ifindex);
/* See route_drop_unresolved(). */
int retain_drop_unresolved(struct retain *r, const struct addr *a,
			   uint32_t ifindex);

/* Over which interface packets come and go, and between which addresses on
 * the wire; with the mark of the sockets, as they are routed. */
struct retain_way {
	uint32_t ifindex;
	uint32_t mark;
	struct addr own, remote;
};

/*
 * Translated packets "from" the peer's identity address `peer` come by this
 * way, at either end: makes it the way back to that address, for marked
 * packets only, as rp_filter 1 sees it and the reverse path filters of
 * firewalls (fib saddr . mark . iif, rpfilter). What we accept unchanged after
 * it was held bears the mark as well, and leaves by it: gateway, mtu and
 * source are those of the real route between the addresses on the wire, and
 * follow it
 * (retain_refresh()). Counted per interface; up to RETAIN_REVERSE_MAX of them
 * at a time (old and new during a move), of each the newest way. Where a
 * filter takes one interface only, as nft's does for IPv6, it is the newest.
 * 0, -ENOSPC, -ENOENT (unreverse), -ENOMEM, the kernel's -errno (-ENODEV,
 * -ENETDOWN: the interface went away).
 */
int retain_reverse(struct retain *r, const struct addr *peer,
		   const struct retain_way *way);
int retain_unreverse(struct retain *r, const struct addr *peer,
		     uint32_t ifindex);
/* Packets come by this way again, which is counted already: it is the newest.
 * 0 or -ENOENT. */
int retain_prefer(struct retain *r, const struct addr *peer,
		  const struct retain_way *way);

/* The interface is up again: the kernel has dropped our routes over it when
 * it went down; they are put back. 0 or the first -errno. */
int retain_link_up(struct retain *r, uint32_t ifindex);

#endif
