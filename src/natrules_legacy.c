/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natrules_legacy: the rules of iptables-legacy that decide about source NAT.
 *
 * x_tables has no listing by netlink, and nothing tells of a change: a table
 * is read by getsockopt(2), whole, each time. To ask for a table makes the
 * kernel create it, with hooks that every packet passes, so it is asked for
 * only where /proc says that it is there.
 *
 * Owns the copies. Of a rule it knows addresses, the interfaces, the protocol
 * and what natrules_follow.c knows of matches; whatever else it asks counts as
 * answered with yes. Only nat translates; every table may set marks.
 */
#include "natrules_impl.h"

#include <errno.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE_MAX_BYTES (16u * 1024 * 1024)
#define LINE_SIZE 64
#define READS_MAX 4 /* while it changes */

_Static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo) &&
	       offsetof(struct ipt_getinfo, size) ==
		       offsetof(struct ip6t_getinfo, size), "one for both");
_Static_assert(offsetof(struct ipt_get_entries, entrytable) ==
	       offsetof(struct ip6t_get_entries, entrytable), "one for both");

/* A match or a target. */
struct extension {
	char name[XT_EXTENSION_MAXNAMELEN + 1];
	uint8_t revision;
	const uint8_t *data;
	uint32_t len;
};

/* One rule, of either family. */
struct entry {
	uint32_t head_len, target_at; /* from where it begins */
	const uint8_t *src, *dst, *src_mask, *dst_mask;
	size_t addr_len;
	const char *iif, *oif;
	const unsigned char *iif_mask, *oif_mask;
	uint16_t proto; /* 0: any */
	uint8_t inverted; /* IPT_INV_... */
	bool fragment; /* -f */
	bool goes; /* -g, not -j */
	const uint8_t *matches; /* one behind the other */
	uint32_t matches_len;
	struct extension target;
	uint32_t next;
};

struct walker {
	const struct natrules_table *table;
	struct subject *s;
	bool translates; /* does a target that we do not know? */
};

/* In the order in which packets pass them at output. */
static const char *const tables[] = {
	"raw", "mangle", "nat", "filter", "security",
};

_Static_assert(sizeof(tables) / sizeof(*tables) == NATRULES_TABLES, "each");

#define NAT 2

enum answer { NO, MAYBE, YES };
enum outcome { PASSED, ACCEPTED, TRANSLATED };

/* ---- reading ------------------------------------------------------------ */

static void find_listed(uint8_t family, bool *listed)
{
	FILE *f = fopen(family == 4 ? "/proc/self/net/ip_tables_names" :
				      "/proc/self/net/ip6_tables_names", "re");
	char line[LINE_SIZE];

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		for (size_t i = 0; i < NATRULES_TABLES; i++)
			if (!strcmp(line, tables[i]))
				listed[i] = true;
	}
	if (f)
		fclose(f);
}

static int get(int fd, uint8_t family, bool entries, void *to, socklen_t len)
{
	const int level = family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
	const int name = family == 4 ?
		(entries ? IPT_SO_GET_ENTRIES : IPT_SO_GET_INFO) :
		(entries ? IP6T_SO_GET_ENTRIES : IP6T_SO_GET_INFO);

	return getsockopt(fd, level, name, to, &len) < 0 ? -errno : 0;
}

/* True where the hook has more than its policy. */
static bool find_hook(struct natrules_table *t, const struct ipt_getinfo *info,
		      unsigned int hook)
{
	t->begin[hook] = NATRULES_NO_HOOK;
	if (!(info->valid_hooks & (1u << hook)) ||
	    info->hook_entry[hook] == info->underflow[hook])
		return false;
	t->begin[hook] = info->hook_entry[hook];
	return true;
}

static int read_table(struct natrules_table *t, const char *name, int fd,
		      uint8_t family)
{
	struct ipt_getinfo info = { 0 };
	struct ipt_get_entries *e;
	bool output, postrouting;
	size_t size;
	int err;

	strncpy(info.name, name, sizeof(info.name) - 1);
	err = get(fd, family, false, &info, sizeof(info));
	if (err)
		return err;
	if (info.size > SIZE_MAX_BYTES)
		return -EFBIG;
	output = find_hook(t, &info, NF_INET_LOCAL_OUT);
	postrouting = find_hook(t, &info, NF_INET_POST_ROUTING);
	if (!output && !postrouting)
		return 0;
	size = offsetof(struct ipt_get_entries, entrytable) + info.size;
	e = calloc(1, size);
	if (!e)
		return -ENOMEM;
	strncpy(e->name, name, sizeof(e->name) - 1);
	e->size = info.size;
	err = get(fd, family, true, e, (socklen_t)size);
	if (err) {
		free(e);
		return err;
	}
	t->copy = e;
	t->entries = (const uint8_t *)e->entrytable;
	t->size = info.size;
	return 0;
}

void natrules_legacy_forget(struct natrules_legacy *l)
{
	for (size_t i = 0; i < NATRULES_TABLES; i++)
		free(l->table[i].copy);
	memset(l, 0, sizeof(*l));
}

void natrules_legacy_read(struct natrules_legacy *l, uint8_t family)
{
	bool listed[NATRULES_TABLES] = { false };
	int fd = -1, err = 0;

	natrules_legacy_forget(l);
	find_listed(family, listed);
	for (size_t i = 0; i < NATRULES_TABLES; i++) {
		int reads = 0;

		if (!listed[i])
			continue;
		if (fd < 0)
			fd = socket(family == 4 ? AF_INET : AF_INET6,
				    SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
		do {
			err = fd < 0 ? -errno : read_table(&l->table[i],
							   tables[i], fd,
							   family);
		} while (err == -EAGAIN && ++reads < READS_MAX);
		l->table[i].unknown = err != 0;
	}
	if (fd >= 0)
		close(fd);
}

bool natrules_legacy_is_listed(void)
{
	bool listed[NATRULES_TABLES] = { false };

	find_listed(4, listed);
	find_listed(6, listed);
	for (size_t i = 0; i < NATRULES_TABLES; i++)
		if (listed[i])
			return true;
	return false;
}

bool natrules_legacy_is_any(const struct natrules_legacy *l)
{
	for (size_t i = 0; i < NATRULES_TABLES; i++)
		if (l->table[i].copy || l->table[i].unknown)
			return true;
	return false;
}

bool natrules_legacy_translates(const struct natrules_legacy *l)
{
	const struct natrules_table *t = &l->table[NAT];

	return t->copy && t->begin[NF_INET_POST_ROUTING] != NATRULES_NO_HOOK;
}

/* ---- following ---------------------------------------------------------- */

/* The head of an extension, struct xt_entry_match or _target: both begin with
 * their whole size, and are laid out alike. */
_Static_assert(sizeof(struct xt_entry_match) ==
		       sizeof(struct xt_entry_target) &&
	       offsetof(struct xt_entry_match, u.user.revision) ==
		       offsetof(struct xt_entry_target, u.user.revision),
	       "one for both");

/* The size of the one that begins here, 0 where it does not fit in. */
static uint32_t get_extension(const uint8_t *at, uint32_t room,
			      struct extension *x)
{
	struct xt_entry_match head;

	if (room < sizeof(head))
		return 0;
	memcpy(&head, at, sizeof(head));
	if (head.u.match_size < sizeof(head) || head.u.match_size > room)
		return 0;
	memset(x, 0, sizeof(*x));
	memcpy(x->name, head.u.user.name, sizeof(head.u.user.name));
	x->revision = head.u.user.revision;
	x->data = at + sizeof(head);
	x->len = head.u.match_size - (uint32_t)sizeof(head);
	return head.u.match_size;
}

/* What follows the head of a rule: the matches, and the target. */
static bool get_rest(const struct natrules_table *table, uint32_t at,
		     struct entry *e)
{
	e->matches = table->entries + at + e->head_len;
	e->matches_len = e->target_at - e->head_len;
	return get_extension(table->entries + at + e->target_at,
			     e->next - at - e->target_at, &e->target) != 0;
}

/* Does the rule that begins there lie in the table? */
static bool is_whole(const struct natrules_table *table, uint32_t at,
		     const struct entry *e)
{
	return e->target_at >= e->head_len && e->target_at <= e->next - at &&
	       e->next - at <= table->size - at;
}

static bool get_entry4(const struct natrules_table *table, uint32_t at,
		       struct entry *e)
{
	const struct ipt_entry *i = (const void *)(table->entries + at);

	if (at > table->size || table->size - at < sizeof(*i))
		return false;
	*e = (struct entry){
		.head_len = sizeof(*i),
		.target_at = i->target_offset,
		.next = at + i->next_offset,
		.src = (const uint8_t *)&i->ip.src,
		.dst = (const uint8_t *)&i->ip.dst,
		.src_mask = (const uint8_t *)&i->ip.smsk,
		.dst_mask = (const uint8_t *)&i->ip.dmsk,
		.addr_len = 4,
		.iif = i->ip.iniface,
		.iif_mask = i->ip.iniface_mask,
		.oif = i->ip.outiface,
		.oif_mask = i->ip.outiface_mask,
		.proto = i->ip.proto,
		.inverted = i->ip.invflags,
		.fragment = i->ip.flags & IPT_F_FRAG,
		.goes = i->ip.flags & IPT_F_GOTO,
	};
	return is_whole(table, at, e);
}

static bool get_entry6(const struct natrules_table *table, uint32_t at,
		       struct entry *e)
{
	const struct ip6t_entry *i = (const void *)(table->entries + at);

	if (at > table->size || table->size - at < sizeof(*i))
		return false;
	*e = (struct entry){
		.head_len = sizeof(*i),
		.target_at = i->target_offset,
		.next = at + i->next_offset,
		.src = (const uint8_t *)&i->ipv6.src,
		.dst = (const uint8_t *)&i->ipv6.dst,
		.src_mask = (const uint8_t *)&i->ipv6.smsk,
		.dst_mask = (const uint8_t *)&i->ipv6.dmsk,
		.addr_len = 16,
		.iif = i->ipv6.iniface,
		.iif_mask = i->ipv6.iniface_mask,
		.oif = i->ipv6.outiface,
		.oif_mask = i->ipv6.outiface_mask,
		.proto = i->ipv6.flags & IP6T_F_PROTO ? i->ipv6.proto : 0,
		.inverted = i->ipv6.invflags,
		.goes = i->ipv6.flags & IP6T_F_GOTO,
	};
	return is_whole(table, at, e);
}

static bool is_in(const uint8_t *addr, const uint8_t *net, const uint8_t *mask,
		  size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((addr[i] & mask[i]) != net[i])
			return false;
	return true;
}

/* Each with all its bytes, IFNAMSIZ. */
static bool is_named(const char *name, const char *want,
		     const unsigned char *mask)
{
	for (size_t i = 0; i < IFNAMSIZ; i++)
		if ((name[i] ^ want[i]) & mask[i])
			return false;
	return true;
}

static enum answer ask_extensions(const struct subject *s,
				  const struct entry *e)
{
	bool certain = !e->fragment;
	uint32_t size;

	for (uint32_t at = 0; at < e->matches_len; at += size) {
		struct extension x;

		size = get_extension(e->matches + at, e->matches_len - at, &x);
		if (!size)
			return MAYBE;
		if (natrules_fails_match(s, x.name, x.revision, x.data, x.len,
					 &certain))
			return NO;
	}
	return certain ? YES : MAYBE;
}

/* What we send has come in by no interface. The inversions of both families
 * are the same bits. */
static bool fails_head(const struct walker *w, const struct entry *e)
{
	static const char none[IFNAMSIZ];
	const struct tuple *t = w->s->tuple;
	const uint8_t inverted = e->inverted;

	return is_in(t->local.addr.byte, e->src, e->src_mask, e->addr_len) ==
		       !!(inverted & IPT_INV_SRCIP) ||
	       is_in(t->remote.addr.byte, e->dst, e->dst_mask, e->addr_len) ==
		       !!(inverted & IPT_INV_DSTIP) ||
	       is_named(none, e->iif, e->iif_mask) ==
		       !!(inverted & IPT_INV_VIA_IN) ||
	       is_named(w->s->oifname, e->oif, e->oif_mask) ==
		       !!(inverted & IPT_INV_VIA_OUT) ||
	       (e->proto &&
		(e->proto == t->proto) == !!(inverted & IPT_INV_PROTO));
}

/* What goes on to the next rule, and leaves addresses alone. */
static bool is_harmless(const char *target)
{
	static const char *const names[] = {
		"LOG", "NFLOG", "MARK", "CONNMARK", "TRACE",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(target, names[i]))
			return true;
	return false;
}

static enum outcome walk(struct walker *w, uint32_t at, unsigned int depth);

/* What cannot be followed counts as a rule that sets any mark, too. */
static enum outcome give_up(struct walker *w)
{
	w->s->may_set = NATRULES_ALL_BITS;
	return TRANSLATED;
}

/* *done: nothing behind this rule is reached. */
static enum outcome standard(struct walker *w, const struct entry *e,
			     bool sure, unsigned int depth, bool *done)
{
	int verdict;
	enum outcome o;

	*done = true;
	if (e->target.len < sizeof(verdict))
		return give_up(w);
	memcpy(&verdict, e->target.data, sizeof(verdict));
	*done = sure;
	if (verdict < 0)
		return verdict == XT_RETURN ? PASSED : ACCEPTED;
	*done = false;
	if ((uint32_t)verdict == e->next) /* it only counts */
		return PASSED;
	o = walk(w, (uint32_t)verdict, depth + 1);
	*done = o == TRANSLATED || (sure && (o == ACCEPTED || e->goes));
	return o;
}

static enum outcome walk(struct walker *w, uint32_t at, unsigned int depth)
{
	const bool v4 = w->s->tuple->local.addr.family == 4;
	struct entry e;

	for (; depth < NATRULES_DEPTH_MAX &&
	       w->s->n_applied++ < NATRULES_APPLIED_MAX; at = e.next) {
		const struct extension *x = &e.target;
		enum outcome o;
		enum answer is;
		bool done = false;

		if (!(v4 ? get_entry4(w->table, at, &e) :
			   get_entry6(w->table, at, &e)))
			break;
		if (fails_head(w, &e))
			continue;
		if (!get_rest(w->table, at, &e))
			break;
		is = ask_extensions(w->s, &e);
		if (is == NO)
			continue;
		if (x->name[0]) {
			w->s->may_set |= natrules_target_sets(
				x->name, x->revision, x->data, x->len);
			if (w->translates && !is_harmless(x->name))
				return TRANSLATED; /* as far as is known */
			continue;
		}
		o = standard(w, &e, is == YES, depth, &done);
		if (done)
			return o;
	}
	return give_up(w);
}

static bool walk_hook(const struct natrules_legacy *l, struct subject *s,
		      unsigned int hook)
{
	bool translated = false;

	for (size_t i = 0; i < NATRULES_TABLES; i++) {
		struct walker w = {
			.table = &l->table[i],
			.s = s,
			.translates = i == NAT && hook == NF_INET_POST_ROUTING,
		};

		if (w.table->unknown)
			s->may_set = NATRULES_ALL_BITS;
		if (w.table->copy && w.table->begin[hook] != NATRULES_NO_HOOK &&
		    walk(&w, w.table->begin[hook], 0) == TRANSLATED &&
		    w.translates)
			translated = true;
	}
	return translated;
}

bool natrules_legacy_follow(const struct natrules_legacy *l, struct subject *s)
{
	walk_hook(l, s, NF_INET_LOCAL_OUT);
	return walk_hook(l, s, NF_INET_POST_ROUTING) || l->table[NAT].unknown;
}
