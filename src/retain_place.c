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

#include "markuse.h"
#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* What stands in front of this stays there, for lack of room. */
#define ROOM 16
#define OURS 2 /* the mark's, and those of addresses that are gone */

_Static_assert(RETAIN_PREF_GONE == RETAIN_PREF_MARK + 1, "one follows");

struct search {
	uint32_t mark; /* our bit */
	struct route_other first; /* with room in front */
	struct route_other blocking; /* without */
	struct route_other marking; /* uses our bit */
	bool found, blocked, marked;
};

static void on_other(const struct route_other *o, void *arg)
{
	struct search *s = arg;

	if (!s->marked && markuse_tests(o->mark, o->mask, s->mark)) {
		s->marking = *o;
		s->marked = true;
	}
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

/* One that is there, and was not when it was last told. */
static bool is_news(uint64_t *told, bool there, const struct route_other *o)
{
	uint64_t now = there ? o->preference + UINT64_C(1) : 0;
	bool news = now && now != *told;

	*told = now;
	return news;
}

static int place(struct retain *r, int family, struct retain_placed *to)
{
	struct place *p = &r->place[family == AF_INET6];
	struct search s;
	uint32_t want = RETAIN_PREF_MARK;
	int err;

	memset(&s, 0, sizeof(s));
	s.mark = r->conf.mark;
	err = route_others(r->nl, family, on_other, &s);
	if (err == -EOPNOTSUPP || err == -EAFNOSUPPORT)
		return 0;
	if (err)
		return err;
	if (s.found)
		want = s.first.preference - OURS;
	if (is_news(&p->blocking, s.blocked, &s.blocking)) {
		to->blocked = true;
		to->blocking = s.blocking;
	}
	if (is_news(&p->marking, s.marked, &s.marking)) {
		to->marked = true;
		to->marking = s.marking;
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

bool retain_displaces(const struct retain *r, const struct nlmsghdr *nlh)
{
	struct route_other o;

	return route_read_other(nlh, &o) &&
	       (o.preference <= RETAIN_PREF_GONE ||
		markuse_tests(o.mark, o.mask, r->conf.mark));
}
