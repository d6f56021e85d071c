/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steer_adopt: the table that an earlier process has left.
 *
 * Owns the judgement whether it is, rule by rule, the one that would be built
 * in its place: then it stays, and no packet passes while one table goes and
 * the next one comes. Never changes anything.
 */
#include "steer_impl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "rule.h"

/* Those that come and go; bits in this order. */
static const char *const hook_name[] = {
	RULESET_HOOK_IN, RULESET_HOOK_OUT, RULESET_HOOK_ROUTED,
	RULESET_HOOK_SENT, RULESET_HOOK_MARKS_IN, RULESET_HOOK_MARKS_OUT,
	RULESET_HOOK_UNVEIL,
};
enum {
	HOOKS_WITH_MAPS = 1 | 2 | 4,
	HOOKS_WITHOUT = HOOKS_WITH_MAPS | 8,
	HOOKS_MARKS = 16 | 32,
	HOOK_UNVEIL = 64,
};

struct finding {
	const struct steer *s;
	bool tagged;
	bool whole;
	unsigned int hooks; /* that are there, with rules or without */
	unsigned int hook_in, hook_out, hook_last; /* rules */
};

static int on_table(const struct nlmsghdr *nlh, void *arg)
{
	struct finding *f = arg;
	const struct nlattr *data =
		steer_find(nlh, NFTA_TABLE_USERDATA, 2 + RULESET_TAG_SIZE);
	const uint8_t head[2] = { RULE_TAG_TYPE, RULESET_TAG_SIZE };
	const uint8_t *at;

	if (!data)
		return 0;
	at = mnl_attr_get_payload(data);
	f->tagged = !memcmp(at, head, sizeof(head)) &&
		    !memcmp(at + 2, f->s->conf.tag, RULESET_TAG_SIZE);
	return 0;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct finding *f = arg;
	const struct nlattr *chain = steer_find(nlh, NFTA_RULE_CHAIN, 1);

	if (!steer_is_ours(nlh) || !chain)
		return 0;
	if (steer_is_text(chain, RULESET_DEFRAG_CHAIN))
		f->whole = true;
	if (steer_is_text(chain, RULESET_HOOK_IN))
		f->hook_in++;
	if (steer_is_text(chain, RULESET_HOOK_OUT))
		f->hook_out++;
	if (steer_is_text(chain, RULESET_HOOK_ROUTED) ||
	    steer_is_text(chain, RULESET_HOOK_SENT) ||
	    steer_is_text(chain, RULESET_HOOK_MARKS_IN) ||
	    steer_is_text(chain, RULESET_HOOK_MARKS_OUT) ||
	    steer_is_text(chain, RULESET_HOOK_UNVEIL))
		f->hook_last++;
	return 0;
}

static int on_chain(const struct nlmsghdr *nlh, void *arg)
{
	struct finding *f = arg;
	const struct nlattr *name = steer_find(nlh, NFTA_CHAIN_NAME, 1);

	for (size_t i = 0; i < sizeof(hook_name) / sizeof(*hook_name); i++)
		if (steer_is_ours(nlh) && steer_is_text(name, hook_name[i]))
			f->hooks |= 1u << i;
	return 0;
}

/* Are all of these there, or none? */
static bool complete(unsigned int hooks, unsigned int of)
{
	return !(hooks & of) || (hooks & of) == of;
}

/* The kernel takes no new hook in the transaction that makes a table without an
 * owner ours (__NFT_TABLE_F_UPDATE: -EINVAL). One that has none is of no use to
 * anybody meanwhile: it is replaced. */
static bool are_hooks_complete(const struct finding *f)
{
	return complete(f->hooks, f->s->conf.maps ? HOOKS_WITH_MAPS :
						    HOOKS_WITHOUT) &&
	       complete(f->hooks, HOOKS_MARKS) && f->hooks & 1;
}

/* Both ways have rules, or none has; or else it says of claims alone. */
static bool are_ways_complete(const struct finding *f)
{
	return !f->hook_in == !f->hook_out ||
	       (f->hook_in == RULESET_CLAIMED_RULES && !f->hook_out);
}

/* The rules in them are put anew in any case. */
static unsigned int shape_of(const struct finding *f)
{
	unsigned int shape = 0;

	if (f->hooks)
		shape |= RULESET_UNKNOWN_SHAPE;
	if (f->hooks & HOOKS_MARKS)
		shape |= RULESET_MARKS;
	if (f->hooks & HOOK_UNVEIL)
		shape |= RULESET_UNVEIL;
	return shape;
}

static void on_claimed(const struct tuple *t, uint64_t left_ms, void *arg)
{
	(void)t, (void)left_ms;
	*(unsigned int *)arg |= RULESET_CLAIMED;
}

int steer_look_for_own(struct steer *s)
{
	struct finding f = { .s = s };
	char buffer[256];
	unsigned int rules;
	struct print print;
	int err = ruleset_tag(&s->conf, s->conf.tag, &rules);

	if (!err)
		err = netlink_request(s->nl,
				      steer_question(buffer, NFT_MSG_GETTABLE,
						     0), on_table, &f);
	if (err || !f.tagged)
		return err == -ENOENT ? 0 : err;
	/* The tag stays where rules are taken away. */
	err = steer_take_print(s, &print);
	if (!err)
		err = netlink_request(s->nl,
				      steer_question(buffer, NFT_MSG_GETRULE,
						     NLM_F_DUMP), on_rule, &f);
	if (!err)
		err = netlink_request(s->nl,
				      steer_question(buffer, NFT_MSG_GETCHAIN,
						     NLM_F_DUMP), on_chain, &f);
	s->adoptable = !err && are_ways_complete(&f) &&
		       are_hooks_complete(&f) &&
		       print.rules == rules + f.hook_in + f.hook_out +
					      f.hook_last;
	s->adoptable_whole = f.whole;
	s->adoptable_shape = shape_of(&f);
	/* What it says of nonces holds on: until steer_idle(). */
	if (s->adoptable && f.hooks)
		err = steer_elements(s, STEER_CLAIM, on_claimed,
				     &s->adoptable_shape);
	return err;
}
