/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * retain_place: keeps our rules in front of those of others.
 *
 * Owns the choice of their preferences. The kernel puts a rule without one in
 * front of all but `local` (fib_default_rule_pref()), one such rule in front of
 * the other: so ours step in front again, and leave room for more. Never
 * changes a rule of others.
 */
#include "retain_impl.h"

#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* What stands in front of this stays there, for lack of room. */
#define ROOM 16
#define OURS 2 /* the mark's, and those of addresses that are gone */

_Static_assert(RETAIN_PREF_GONE == RETAIN_PREF_MARK + 1, "one follows");

struct search {
	struct route_other first; /* with room in front */
	struct route_other blocking; /* without */
	bool found, blocked;
};

static void on_other(const struct route_other *o, void *arg)
{
	struct search *s = arg;

	if (o->preference < ROOM + OURS) {
		if (!s->blocked)
			s->blocking = *o;
		s->blocked = true;
	} else if (o->preference <= RETAIN_PREF_GONE &&
		   (!s->found || o->preference < s->first.preference)) {
		s->first = *o;
		s->found = true;
	}
}

uint32_t retain_preference(const struct retain *r, int family, bool of_gone)
{
	uint32_t mark = r->place[family == AF_INET6].preference;

	return of_gone ? mark + 1 : mark;
}

/* All of ours in front, from or to these places. */
static int put(struct retain *r, int family, bool add)
{
	struct route_rule rule = retain_mark_rule(r, family);
	int err = add ? route_put_rule(r->nl, &rule) : 0;

	for (struct old *o = r->olds; o && !err; o = o->hh.next) {
		struct route_rule gone = retain_gone_rule(r, o);

		if (!o->gone || addr_af(&o->addr) != family)
			continue;
		err = add ? route_put_rule(r->nl, &gone) :
			    route_del_rule(r->nl, &gone);
	}
	/* None of these is ever in front of the mark's: by its way back, what
	 * is to be delivered has such a source. */
	return add || err ? err : route_del_rule(r->nl, &rule);
}

static int move(struct retain *r, int family, uint32_t preference)
{
	struct place *p = &r->place[family == AF_INET6];
	uint32_t before = p->preference;
	int err;

	p->preference = preference;
	err = put(r, family, true);
	/* Those that are not to be used go. */
	p->preference = err ? preference : before;
	(void)put(r, family, false);
	p->preference = err ? before : preference;
	return err;
}

static int place(struct retain *r, int family, struct retain_placed *to)
{
	struct place *p = &r->place[family == AF_INET6];
	struct search s;
	uint32_t want = RETAIN_PREF_MARK;
	bool news;
	int err;

	memset(&s, 0, sizeof(s));
	err = route_others(r->nl, family, on_other, &s);
	if (err == -EOPNOTSUPP || err == -EAFNOSUPPORT)
		return 0;
	if (err)
		return err;
	if (s.found)
		want = s.first.preference - OURS;
	news = s.blocked && p->blocking != s.blocking.preference + 1;
	p->blocking = s.blocked ? s.blocking.preference + 1 : 0;
	if (news) {
		to->blocked = true;
		to->blocking = s.blocking;
	}
	if (want == p->preference)
		return 0;
	to->moved++;
	to->preference = want;
	to->first = s.first;
	return move(r, family, want);
}

int retain_place(struct retain *r, struct retain_placed *to)
{
	int err;

	memset(to, 0, sizeof(*to));
	err = place(r, AF_INET, to);
	if (!err && r->ipv6)
		err = place(r, AF_INET6, to);
	r->displaced = err; /* with the next event once more */
	return err;
}

bool retain_displaces(const struct nlmsghdr *nlh)
{
	struct route_other o;

	return route_read_other(nlh, &o) && o.preference <= RETAIN_PREF_GONE;
}
