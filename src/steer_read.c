/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steer_read: what the kernel tells of the table.
 *
 * Owns the questions and the decoding of what comes: attributes, counters,
 * elements. Never changes anything.
 */
#include "steer_impl.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* The table's name: attribute 1 of all objects of nftables. */
#define ANY_ATTR_TABLE 1

/* A question about our table; `buffer` holds nothing but it. */
struct nlmsghdr *steer_question(void *buffer, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *nfg;

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	nlh->nlmsg_flags = flags;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = NFPROTO_INET;
	nfg->version = NFNETLINK_V0;
	mnl_attr_put_strz(nlh, ANY_ATTR_TABLE, STEER_TABLE);
	return nlh;
}

struct search {
	uint16_t type;
	size_t min_len;
	const struct nlattr *found;
};

static int on_attr(const struct nlattr *attr, void *arg)
{
	struct search *search = arg;

	if (mnl_attr_get_type(attr) == search->type &&
	    mnl_attr_get_payload_len(attr) >= search->min_len)
		search->found = attr;
	return MNL_CB_OK;
}

/* NULL where there is none, or a shorter one only. */
const struct nlattr *steer_find(const struct nlmsghdr *nlh, uint16_t type,
				 size_t min_len)
{
	struct search search = { .type = type, .min_len = min_len };

	if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(struct nfgenmsg))
		(void)mnl_attr_parse(nlh, sizeof(struct nfgenmsg), on_attr,
				     &search);
	return search.found;
}

bool steer_is_text(const struct nlattr *attr, const char *text)
{
	size_t len = strlen(text) + 1;

	return attr && mnl_attr_get_payload_len(attr) == len &&
	       memcmp(mnl_attr_get_payload(attr), text, len) == 0;
}

uint64_t steer_be64(const struct nlattr *attr)
{
	uint64_t be64;

	memcpy(&be64, mnl_attr_get_payload(attr), sizeof(be64));
	return be64toh(be64);
}

bool steer_is_ours(const struct nlmsghdr *nlh)
{
	const struct nfgenmsg *nfg;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*nfg))
		return false;
	nfg = mnl_nlmsg_get_payload(nlh);
	return nfg->nfgen_family == NFPROTO_INET &&
	       steer_is_text(steer_find(nlh, ANY_ATTR_TABLE, 1), STEER_TABLE);
}

/* --- counters ------------------------------------------------------------- */

/* Packets of a counter object; 0 where it says nothing. */
static uint64_t counter_packets(const struct nlmsghdr *nlh)
{
	struct search search = { .type = NFTA_COUNTER_PACKETS,
				 .min_len = sizeof(uint64_t) };
	const struct nlattr *data = steer_find(nlh, NFTA_OBJ_DATA, 0);

	if (data)
		(void)mnl_attr_parse_nested(data, on_attr, &search);
	return search.found ? steer_be64(search.found) : 0;
}

static int on_counter(const struct nlmsghdr *nlh, void *arg)
{
	static const char *const name[] = { RULESET_COUNTERS };
	struct steer_counters *c = arg;
	uint64_t *const value[] = { &c->untranslated, &c->tombstones,
				    &c->tripwire_in, &c->tripwire_out,
				    &c->reserved, &c->unrouted };

	_Static_assert(sizeof(name) / sizeof(name[0]) ==
			       sizeof(value) / sizeof(value[0]),
		       "one place for each counter");
	if (!steer_is_ours(nlh))
		return 0;
	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		if (steer_is_text(steer_find(nlh, NFTA_OBJ_NAME, 1), name[i]))
			*value[i] = counter_packets(nlh);
	return 0;
}

int steer_counters(struct steer *s, struct steer_counters *to)
{
	char buffer[256];

	memset(to, 0, sizeof(*to));
	return netlink_request(
		s->nl, steer_question(buffer, NFT_MSG_GETOBJ, NLM_F_DUMP),
		on_counter, to);
}

/* --- elements ------------------------------------------------------------- */

/* The reverse of steer_tuple_key(); with a `proto`, of steer_ported_key(). */
static bool take_key(const struct nlattr *attr, uint8_t family, uint8_t proto,
		     struct tuple *t)
{
	const size_t len = family == 4 ? 4 : 16;
	const uint8_t *key = mnl_attr_get_payload(attr);
	uint16_t be16;

	if (mnl_attr_get_payload_len(attr) < 2 * len + (proto ? 8 : 12))
		return false;
	memset(t, 0, sizeof(*t));
	t->local.addr.family = t->remote.addr.family = family;
	memcpy(t->local.addr.byte, key, len);
	memcpy(t->remote.addr.byte, key + len, len);
	key += 2 * len;
	t->proto = proto;
	if (!proto) {
		t->proto = *key;
		key += 4;
	}
	memcpy(&be16, key, sizeof(be16));
	t->local.port = ntohs(be16);
	memcpy(&be16, key + 4, sizeof(be16));
	t->remote.port = ntohs(be16);
	return true;
}

/* One element; NULL for what it lacks. */
struct element {
	const struct nlattr *key, *value, *left, *packets, *bytes;
};

static int on_key(const struct nlattr *attr, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_type(attr) == NFTA_DATA_VALUE)
		e->key = attr;
	return MNL_CB_OK;
}

static int on_value(const struct nlattr *attr, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_type(attr) == NFTA_DATA_VALUE)
		e->value = attr;
	return MNL_CB_OK;
}

static int on_number(const struct nlattr *attr, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_payload_len(attr) < sizeof(uint64_t))
		return MNL_CB_OK;
	if (mnl_attr_get_type(attr) == NFTA_COUNTER_PACKETS)
		e->packets = attr;
	else if (mnl_attr_get_type(attr) == NFTA_COUNTER_BYTES)
		e->bytes = attr;
	return MNL_CB_OK;
}

static int on_expression(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == NFTA_EXPR_DATA)
		return mnl_attr_parse_nested(attr, on_number, arg);
	return MNL_CB_OK;
}

static int on_part(const struct nlattr *attr, void *arg)
{
	struct element *e = arg;

	switch (mnl_attr_get_type(attr)) {
	case NFTA_SET_ELEM_KEY:
		return mnl_attr_parse_nested(attr, on_key, arg);
	case NFTA_SET_ELEM_DATA:
		return mnl_attr_parse_nested(attr, on_value, arg);
	case NFTA_SET_ELEM_EXPR:
		return mnl_attr_parse_nested(attr, on_expression, arg);
	case NFTA_SET_ELEM_EXPIRATION:
		if (mnl_attr_get_payload_len(attr) >= sizeof(uint64_t))
			e->left = attr;
	}
	return MNL_CB_OK;
}

/* Who wants the elements of one set or map; one of the three. */
struct dump {
	uint8_t family;
	uint8_t proto; /* of all of them; 0: it is in the key */
	enum steer_map map;
	steer_element_cb *on_tuple;
	steer_rewritten_cb *on_rewritten;
	void (*on_mapped)(const struct tuple *t, const uint8_t *to, void *arg);
	void *arg;
};

static int on_element(const struct nlattr *attr, void *arg)
{
	const struct dump *d = arg;
	struct steer_rewritten r = { .map = d->map };
	struct element e = { NULL, NULL, NULL, NULL, NULL };

	if (mnl_attr_parse_nested(attr, on_part, &e) < 0 || !e.key ||
	    !take_key(e.key, d->family, d->proto, &r.tuple))
		return MNL_CB_OK;
	if (d->on_tuple) {
		d->on_tuple(&r.tuple, e.left ? steer_be64(e.left) : 0, d->arg);
	} else if (d->on_mapped) {
		if (e.value && mnl_attr_get_payload_len(e.value) >=
				       addr_size(&r.tuple.local.addr))
			d->on_mapped(&r.tuple, mnl_attr_get_payload(e.value),
				     d->arg);
	} else if (e.packets && e.bytes) {
		r.packets = steer_be64(e.packets);
		r.bytes = steer_be64(e.bytes);
		d->on_rewritten(&r, d->arg);
	}
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

static int dump_elements(struct steer *s, const char *name, struct dump *d)
{
	char buffer[256];
	struct nlmsghdr *nlh =
		steer_question(buffer, NFT_MSG_GETSETELEM, NLM_F_DUMP);

	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, name);
	return netlink_request(s->nl, nlh, on_elements, d);
}

int steer_elements(struct steer *s, enum steer_set set, steer_element_cb *cb,
		   void *arg)
{
	int err = 0;

	for (uint8_t family = 4; family <= 6 && !err; family += 2) {
		struct dump d = { .family = family,
				  .on_tuple = cb,
				  .arg = arg };

		err = dump_elements(s, ruleset_set_name(set, family), &d);
	}
	return err == -ENOENT ? 0 : err;
}

/* What a map of sources has, by key, until that of destinations is read. */
struct mapped {
	enum steer_map map;
	enum ruleset_part part; /* that is read */
	bool both;
	struct source {
		uint8_t key[BATCH_KEY_MAX];
		uint8_t byte[16];
	} *source;
	size_t n, room;
	int err;
	steer_mapped_cb *cb;
	void *arg;
};

static void keep_source(struct mapped *m, const struct tuple *t,
			const uint8_t *to)
{
	size_t room = m->room ? 2 * m->room : 64;
	struct source *source;

	if (m->n == m->room && m->n < STEER_TUPLES_MAX) {
		source = realloc(m->source, room * sizeof(*source));
		if (!source) {
			m->err = -ENOMEM;
			return;
		}
		m->source = source;
		m->room = room;
	}
	if (m->n == m->room)
		return;
	source = &m->source[m->n++];
	memset(source, 0, sizeof(*source));
	(void)steer_tuple_key(t, source->key);
	memcpy(source->byte, to, addr_size(&t->local.addr));
}

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, BATCH_KEY_MAX);
}

static const struct source *find_source(const struct mapped *m,
					const struct tuple *t)
{
	uint8_t key[BATCH_KEY_MAX] = { 0 };

	(void)steer_tuple_key(t, key);
	return m->n ? bsearch(key, m->source, m->n, sizeof(*m->source),
			      compare_keys) : NULL;
}

static void put_field(const struct mapped *m, enum ruleset_part part,
		      const uint8_t *from, struct tuple *t)
{
	const bool local = (m->map == STEER_SEND) == (part == RULESET_SADDR);
	struct addr *a = local ? &t->local.addr : &t->remote.addr;

	memcpy(a->byte, from, addr_size(a));
}

static void on_field(const struct tuple *t, const uint8_t *to, void *arg)
{
	struct mapped *m = arg;
	const struct source *source;
	struct tuple whole = *t;

	if (m->both && m->part == RULESET_SADDR) {
		keep_source(m, t, to);
		return;
	}
	put_field(m, m->part, to, &whole);
	if (m->both) {
		source = find_source(m, t);
		if (!source)
			return;
		put_field(m, RULESET_SADDR, source->byte, &whole);
	}
	m->cb(t, &whole, m->arg);
}

static int read_mapped(struct steer *s, uint8_t family, struct mapped *m)
{
	struct dump d = { .family = family, .map = m->map,
			  .on_mapped = on_field, .arg = m };
	int err = 0;

	for (int part = RULESET_SADDR; part <= RULESET_DADDR && !err; part++) {
		m->part = (enum ruleset_part)part;
		err = dump_elements(s, ruleset_map_name(m->map, m->both,
							m->part, family), &d);
		if (!err)
			err = m->err;
		if (m->n && part == RULESET_SADDR)
			qsort(m->source, m->n, sizeof(*m->source),
			      compare_keys);
	}
	return err;
}

int steer_mapped(struct steer *s, enum steer_map map, steer_mapped_cb *cb,
		 void *arg)
{
	int err = 0;

	for (int i = 0; i < 4 && !err; i++) {
		struct mapped m = { .map = map, .both = i % 2, .cb = cb,
				    .arg = arg };

		err = read_mapped(s, i < 2 ? 4 : 6, &m);
		free(m.source);
	}
	return err == -ENOENT ? 0 : err;
}

/* Every map that counts. */
static int dump_map(struct steer *s, enum steer_map map, uint8_t family,
		    steer_rewritten_cb *cb, void *arg)
{
	const char *const name[] = {
		ruleset_map_name(map, false, RULESET_SADDR, family),
		ruleset_map_name(map, false, RULESET_DADDR, family),
		ruleset_map_name(map, true, RULESET_SADDR, family),
		ruleset_ported_map_name(map, RULESET_SADDR, IPPROTO_TCP, family),
		ruleset_ported_map_name(map, RULESET_SADDR, IPPROTO_UDP, family),
	};
	static const uint8_t proto[] = { 0, 0, 0, IPPROTO_TCP, IPPROTO_UDP };
	struct dump d = { .family = family,
			  .map = map,
			  .on_rewritten = cb,
			  .arg = arg };
	int err = 0;

	for (size_t i = 0; i < sizeof(proto) && !err; i++) {
		d.proto = proto[i];
		err = dump_elements(s, name[i], &d);
	}
	return err;
}

int steer_rewritten(struct steer *s, steer_rewritten_cb *cb, void *arg)
{
	int err = 0;

	if (!s->conf.counted)
		return -EOPNOTSUPP;
	for (uint8_t family = 4; family <= 6 && !err; family += 2) {
		err = dump_map(s, STEER_SEND, family, cb, arg);
		if (!err)
			err = dump_map(s, STEER_RECV, family, cb, arg);
	}
	return err;
}
