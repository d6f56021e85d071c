/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steer_adopt: the table that an earlier process has left.
 *
 * Owns the judgement whether it is, rule by rule, the one that would be built
 * in its place: then it stays, and no packet passes while one table goes and
 * the next one comes. Never changes anything.
 */
#include "steer_impl.h"

#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "rule.h"

struct finding {
	const struct steer *s;
	bool tagged;
	bool whole;
	unsigned int hook_in, hook_out; /* rules */
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

static bool is_chain(const struct nlattr *attr, const char *name)
{
	size_t len = strlen(name) + 1;

	return mnl_attr_get_payload_len(attr) == len &&
	       !memcmp(mnl_attr_get_payload(attr), name, len);
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct finding *f = arg;
	const struct nlattr *chain = steer_find(nlh, NFTA_RULE_CHAIN, 1);

	if (!steer_is_ours(nlh) || !chain)
		return 0;
	if (is_chain(chain, RULESET_DEFRAG_CHAIN))
		f->whole = true;
	if (is_chain(chain, RULESET_HOOK_IN))
		f->hook_in++;
	if (is_chain(chain, RULESET_HOOK_OUT))
		f->hook_out++;
	return 0;
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
	s->adoptable = !err && !f.hook_in == !f.hook_out &&
		       print.rules == rules + f.hook_in + f.hook_out;
	s->adoptable_whole = f.whole;
	/* Their rules are put anew in any case. */
	s->adoptable_shape = f.hook_in ? RULESET_WHOLE_SHAPE + 1 : 0;
	return err;
}

/* --- elements ------------------------------------------------------------- */

struct dump {
	uint8_t family;
	steer_element_cb *cb;
	void *arg;
};

struct element {
	const struct nlattr *key, *left;
};

static int on_value(const struct nlattr *attr, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_type(attr) == NFTA_DATA_VALUE)
		e->key = attr;
	return MNL_CB_OK;
}

static int on_part(const struct nlattr *attr, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_KEY)
		return mnl_attr_parse_nested(attr, on_value, arg);
	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_EXPIRATION)
		e->left = attr;
	return MNL_CB_OK;
}

static int on_element(const struct nlattr *attr, void *arg)
{
	const struct dump *d = arg;
	struct element e = { NULL, NULL };
	uint64_t be64 = 0;
	struct tuple t;

	if (mnl_attr_parse_nested(attr, on_part, &e) < 0 || !e.key ||
	    !steer_take_key(e.key, d->family, &t))
		return MNL_CB_OK;
	if (e.left && mnl_attr_get_payload_len(e.left) >= sizeof(be64))
		memcpy(&be64, mnl_attr_get_payload(e.left), sizeof(be64));
	d->cb(&t, be64toh(be64), d->arg);
	return MNL_CB_OK;
}

static int on_elements(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *list =
		steer_find(nlh, NFTA_SET_ELEM_LIST_ELEMENTS, 0);

	if (list)
		(void)mnl_attr_parse_nested(list, on_element, arg);
	return 0;
}

int steer_elements(struct steer *s, enum steer_set set, steer_element_cb *cb,
		   void *arg)
{
	int err = 0;

	for (uint8_t family = 4; family <= 6 && !err; family += 2) {
		struct dump d = { .family = family, .cb = cb, .arg = arg };
		char buffer[256];
		struct nlmsghdr *nlh = steer_question(
			buffer, NFT_MSG_GETSETELEM, NLM_F_DUMP);

		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET,
				  ruleset_set_name(set, family));
		err = netlink_request(s->nl, nlh, on_elements, &d);
	}
	return err == -ENOENT ? 0 : err;
}
