/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steer: the nftables table `inet sacip`.
 *
 * Owns the sockets, the batches and what the kernel can do; ruleset knows
 * what stands in the table. Never looks at packets, keeps no elements.
 */
#include "steer.h"

#include "batch.h"
#include "netlink.h"
#include "steer_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TABLE_ATTR_OWNER 7 /* NFTA_TABLE_OWNER, Linux 5.12 */
/* The kernel keeps an event of some 4 KiB for each element of a transaction
 * until its end, where anybody listens at all: of larger batches we do not
 * want to hear. */
#define QUIET_BYTES (64u * 1024)

/* --- requests ------------------------------------------------------------- */

/* Whether the events socket hears of changes. */
static int listen_to_events(struct steer *s, bool on)
{
	const int group = NFNLGRP_NFTABLES;

	if (setsockopt(netlink_fd(s->events), SOL_NETLINK,
		       on ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP,
		       &group, sizeof(group)) < 0)
		return -errno;
	return 0;
}

/* The kernel has carried it out, and what follows failed. That the table is gone
 * is as good as said. */
static int made(int err)
{
	return !err || err == -ENOENT ? err : -EIO;
}

static int send_batch(struct steer *s)
{
	struct batch *b = &s->batch;
	bool deaf;
	int err;

	if (!b->error && batch_is_empty(b))
		return 0;
	err = batch_finish(b);
	deaf = s->events && b->bytes.len > QUIET_BYTES;
	if (!err && deaf && s->built && !s->building && s->reshaping)
		err = steer_verify(s); /* it tells nothing afterwards */
	if (!err && deaf)
		err = listen_to_events(s, false);
	if (err)
		return err;
	err = netlink_send_batch(s->nl, b->bytes.data, b->bytes.len, NULL,
				 NULL, NULL);
	if (deaf && listen_to_events(s, true) && !err)
		err = -EIO;
	/* What others did meanwhile went unheard. */
	if (deaf && !err && s->built && !s->building && !s->reshaping)
		err = made(steer_verify(s));
	return err;
}

static int probe(struct steer *s, enum ruleset_probe what)
{
	int err;

	batch_reset(&s->batch);
	ruleset_put_probe(&s->batch, what);
	err = send_batch(s);
	batch_reset(&s->batch);
	return err;
}

static int on_owner(const struct nlmsghdr *nlh, void *arg)
{
	uint32_t *owner = arg;
	const struct nlattr *attr = steer_find(nlh, TABLE_ATTR_OWNER, 4);

	*owner = attr ? ntohl(mnl_attr_get_u32(attr)) : 0;
	return 0;
}

/* -EBUSY where another process owns the table, else 0. */
static int check_owner(struct steer *s)
{
	char buffer[256];
	uint32_t owner = 0;
	int err = netlink_request(s->nl, steer_question(buffer, NFT_MSG_GETTABLE, 0),
				  on_owner, &owner);

	if (err)
		return err == -ENOENT ? 0 : err;
	return owner && owner != netlink_port(s->nl) ? -EBUSY : 0;
}

/* --- opening -------------------------------------------------------------- */

static int probe_all(struct steer *s, const struct steer_conf *conf,
		     struct steer_info *info)
{
	int err = probe(s, RULESET_PROBE_BASE);

	if (err == -EOPNOTSUPP || err == -EAFNOSUPPORT || err == -EINVAL)
		return -ENOENT; /* no such subsystem or no such family */
	if (err)
		return err;
	if (probe(s, RULESET_PROBE_FIB))
		return -EOPNOTSUPP;
	if (!conf->avoid_native && !probe(s, RULESET_PROBE_NATIVE))
		s->conf.queue_form = STEER_QUEUE_NATIVE;
	else if (!probe(s, RULESET_PROBE_COMPAT))
		s->conf.queue_form = STEER_QUEUE_COMPAT;
	else
		return -EOPNOTSUPP;
	s->conf.owned = !conf->avoid_owner && !probe(s, RULESET_PROBE_OWNED);
	s->defrag = !probe(s, RULESET_PROBE_DEFRAG);
	s->unveils = !probe(s, RULESET_PROBE_UNVEIL);
	s->conf.limited = !probe(s, RULESET_PROBE_LIMIT);
	s->conf.counted = !conf->avoid_maps &&
			  !probe(s, RULESET_PROBE_COUNTED);
	s->conf.maps = s->conf.counted ||
		       (!conf->avoid_maps && !probe(s, RULESET_PROBE_MAPS));
	if (!s->conf.maps)
		s->conf.workers = conf->workers;
	s->conf.queue_strays = conf->queue_strays;
	memcpy(s->conf.queue_worker, conf->queue_worker,
	       sizeof(s->conf.queue_worker));
	if (info)
		*info = (struct steer_info){
			.owned = s->conf.owned,
			.maps = s->conf.maps,
			.counted = s->conf.counted,
			.workers = s->conf.workers,
			.defrag = s->defrag,
			.unveils = s->unveils,
			.queue_form = s->conf.queue_form,
		};
	return 0;
}

/* Our own changes make events too, tens of thousands of them: the socket
 * leaves those out by the sender's address, nlmsg_pid. */
static int ignore_own(struct steer *s)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 htonl(netlink_port(s->nl)), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	if (setsockopt(netlink_fd(s->events), SOL_SOCKET, SO_ATTACH_FILTER,
		       &program, sizeof(program)) < 0)
		return -errno;
	return 0;
}

static int open_events(struct steer *s)
{
	const unsigned group = NFNLGRP_NFTABLES;
	int err = netlink_open(&s->events, NETLINK_NETFILTER, &group, 1);

	return err ? err : ignore_own(s);
}

int steer_open(struct steer **out, const struct steer_conf *conf,
	       struct steer_info *info)
{
	struct steer *s;
	int err;

	if (!conf->mark || conf->mark & (conf->mark - 1))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->conf.mark = conf->mark;
	s->conf.queue_in = conf->queue_in;
	s->conf.queue_out = conf->queue_out;
	batch_init(&s->batch, STEER_TABLE, STEER_BATCH_BYTES_MAX);
	err = netlink_open(&s->nl, NETLINK_NETFILTER, NULL, 0);
	if (!err)
		err = probe_all(s, conf, info);
	if (!err)
		err = check_owner(s);
	if (!err && !s->conf.owned)
		err = open_events(s);
	if (!err)
		err = steer_look_for_own(s);
	if (err) {
		(void)steer_close(s, true);
		return err;
	}
	*out = s;
	return 0;
}

int steer_close(struct steer *s, bool keep)
{
	int err = 0;

	if (!s)
		return 0;
	if (!keep && s->built) {
		steer_begin(s);
		ruleset_put_delete(&s->batch);
		err = send_batch(s);
	}
	netlink_close(s->events);
	netlink_close(s->nl);
	batch_free(&s->batch);
	free(s);
	return err;
}

/* --- batches -------------------------------------------------------------- */

void steer_begin(struct steer *s)
{
	batch_reset(&s->batch);
	s->building = s->reshaping = false;
	s->shape_next = s->shape;
	s->pair_in = s->pair_out = false;
	s->whole_next = s->whole;
}

void steer_build(struct steer *s)
{
	if (!batch_is_empty(&s->batch)) {
		batch_fail(&s->batch, -EINVAL);
		return;
	}
	if (s->adoptable)
		ruleset_put_adoption(&s->batch, &s->conf);
	else
		ruleset_put_table(&s->batch, &s->conf);
	s->building = true;
	/* A hook that goes takes what waits in a queue with it. */
	s->shape_next = s->adoptable ?
			       s->adoptable_shape &
				       (RULESET_LASTING | RULESET_CLAIMED) : 0;
	s->whole_next = s->adoptable && s->adoptable_whole;
}

/* Writes the key as the rules build it; returns its length, 0 = no tuple. */
/* Both addresses; 0 where there is no such tuple. */
static size_t put_addrs(const struct tuple *t, uint8_t key[BATCH_KEY_MAX])
{
	size_t len = addr_size(&t->local.addr);

	if (t->local.addr.family != t->remote.addr.family ||
	    (t->proto != IPPROTO_TCP && t->proto != IPPROTO_UDP))
		return 0;
	memset(key, 0, BATCH_KEY_MAX);
	memcpy(key, t->local.addr.byte, len);
	memcpy(key + len, t->remote.addr.byte, len);
	return 2 * len;
}

/* In 32 bits each, from there on. */
static size_t put_ports(const struct tuple *t, uint8_t *key, size_t at)
{
	uint16_t be16_local = htons(t->local.port);
	uint16_t be16_remote = htons(t->remote.port);

	memcpy(key + at, &be16_local, 2);
	memcpy(key + at + 4, &be16_remote, 2);
	return at + 8;
}

size_t steer_tuple_key(const struct tuple *t, uint8_t key[BATCH_KEY_MAX])
{
	size_t at = put_addrs(t, key);

	if (!at)
		return 0;
	key[at] = t->proto;
	return put_ports(t, key, at + 4);
}

size_t steer_ported_key(const struct tuple *t, uint8_t key[BATCH_KEY_MAX])
{
	size_t at = put_addrs(t, key);

	return at ? put_ports(t, key, at) : 0;
}

/*
 * With the first tuple, moved or not: defragmentation is a hook in front of
 * ours. nf_queue keeps the index of the hook that a packet goes on from, so
 * what waits in a queue while a hook appears before it passes our chain
 * twice. Nothing waits before something is protected.
 */
static void pull_in_defrag(struct steer *s)
{
	if (s->whole_next || !s->defrag)
		return;
	ruleset_put_defrag(&s->batch);
	s->whole_next = true;
}

static size_t pair_key(const struct addr *local, const struct addr *remote,
		       uint8_t key[BATCH_KEY_MAX])
{
	size_t len = addr_size(local);

	memset(key, 0, BATCH_KEY_MAX);
	memcpy(key, local->byte, len);
	memcpy(key + len, remote->byte, len);
	return 2 * len;
}

/* Flows that move together share the pair: it is said once. */
void steer_open_pair(struct steer *s, const struct tuple *t, bool inbound,
		     bool outbound)
{
	uint8_t family = t->local.addr.family;
	uint8_t key[BATCH_KEY_MAX];
	size_t len = pair_key(&t->local.addr, &t->remote.addr, key);

	s->shape_next |= RULESET_MOVED(family) | RULESET_MARKS;
	if (memcmp(s->pair_key, key, sizeof(key))) {
		memcpy(s->pair_key, key, sizeof(key));
		s->pair_in = s->pair_out = false;
	}
	inbound = inbound && !s->pair_in;
	outbound = outbound && !s->pair_out;
	s->pair_in |= inbound;
	s->pair_out |= outbound;
	if (inbound)
		batch_element(&s->batch, ruleset_pair_set_name(false, family),
			      key, len, 0);
	if (outbound)
		batch_element(&s->batch, ruleset_pair_set_name(true, family),
			      key, len, 0);
}

void steer_idle(struct steer *s)
{
	s->shape_next &= ~(RULESET_MOVED(4) | RULESET_MOVED(6) |
			   RULESET_CLAIMED);
}

void steer_rest(struct steer *s)
{
	s->shape_next = 0;
}

void steer_unveil(struct steer *s)
{
	s->shape_next |= RULESET_UNVEIL;
}

bool steer_is_unveiling(const struct steer *s)
{
	return s->built && s->shape & RULESET_UNVEIL;
}

void steer_add(struct steer *s, enum steer_set set, const struct tuple *t,
	       uint32_t timeout_s)
{
	const char *name = ruleset_set_name(set, t->local.addr.family);
	uint8_t key[BATCH_KEY_MAX];
	size_t len = steer_tuple_key(t, key);

	if (!name || !len) {
		batch_fail(&s->batch, -EINVAL);
		return;
	}
	if (set != STEER_CLAIM)
		pull_in_defrag(s);
	/* An element that is there keeps its timeout; only a new one takes
	 * ours. */
	if (set == STEER_DROP || set == STEER_CLAIM)
		batch_erase(&s->batch, name, key, len);
	batch_element(&s->batch, name, key, len, (uint64_t)timeout_s * 1000);
	if (set == STEER_CLAIM)
		s->shape_next |= RULESET_CLAIMED;
	else if (set == STEER_PROT)
		s->shape_next |= RULESET_PROTECTED(t->local.addr.family);
	else
		/* OUT as well: nonces come on a tuple that a flow is to go
		 * back to. */
		steer_open_pair(s, t, true, set == STEER_OUT || set == STEER_IN);
}

void steer_del(struct steer *s, enum steer_set set, const struct tuple *t)
{
	const char *name = ruleset_set_name(set, t->local.addr.family);
	uint8_t key[BATCH_KEY_MAX];
	size_t len = steer_tuple_key(t, key);

	if (!name || !len)
		batch_fail(&s->batch, -EINVAL);
	else
		batch_erase(&s->batch, name, key, len);
}

void steer_del_pair(struct steer *s, const struct addr *local,
		    const struct addr *remote)
{
	uint8_t key[BATCH_KEY_MAX];
	size_t len = pair_key(local, remote, key);

	if (!len || local->family != remote->family) {
		batch_fail(&s->batch, -EINVAL);
		return;
	}
	batch_erase(&s->batch, ruleset_pair_set_name(false, local->family),
		    key, len);
	batch_erase(&s->batch, ruleset_pair_set_name(true, local->family),
		    key, len);
	s->pair_in = s->pair_out = false;
}

void steer_add_addr(struct steer *s, enum steer_addr_set set,
		    const struct addr *a)
{
	const char *name = ruleset_addr_set_name(set, a->family);

	if (!name)
		batch_fail(&s->batch, -EINVAL);
	else
		batch_element(&s->batch, name, a->byte, addr_size(a), 0);
}

void steer_del_addr(struct steer *s, enum steer_addr_set set,
		    const struct addr *a)
{
	const char *name = ruleset_addr_set_name(set, a->family);

	if (!name)
		batch_fail(&s->batch, -EINVAL);
	else
		batch_erase(&s->batch, name, a->byte, addr_size(a));
}

int steer_commit(struct steer *s)
{
	unsigned int shape = s->shape;
	int err;

	if (s->building)
		shape = s->adoptable ? s->adoptable_shape : 0;

	if (s->building && !(s->shape_next & ~RULESET_LASTING))
		s->shape_next = 0; /* nothing is protected, nothing waits */
	s->reshaping = shape != s->shape_next;
	if (s->reshaping)
		ruleset_put_shape(&s->batch, &s->conf, shape, s->shape_next);
	err = send_batch(s);
	if (!err) {
		s->shape = s->shape_next;
		s->whole = s->whole_next;
		s->built |= s->building;
		if ((s->building || s->reshaping) && s->events)
			err = made(steer_take_print(s, &s->print));
	}
	if (s->building)
		s->adoptable = false; /* once, taken over or not */
	steer_begin(s);
	return err;
}

const char *steer_error_text(const struct steer *s)
{
	return netlink_error_text(s->nl);
}

/* --- watching ------------------------------------------------------------- */

static int on_table(const struct nlmsghdr *nlh, void *arg)
{
	struct print *p = arg;
	const struct nlattr *handle = steer_find(nlh, NFTA_TABLE_HANDLE, 8);

	if (handle)
		p->table = steer_be64(handle);
	return 0;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct print *p = arg;
	const struct nlattr *handle = steer_find(nlh, NFTA_RULE_HANDLE, 8);

	/* A dump may come twice over. */
	if (!handle || !steer_is_ours(nlh) ||
	    steer_is_text(steer_find(nlh, NFTA_RULE_CHAIN, 1), RULESET_DEFRAG_CHAIN))
		return 0;
	for (unsigned int i = 0; i < p->rules; i++)
		if (p->rule[i] == steer_be64(handle))
			return 0;
	if (p->rules < RULES_MAX)
		p->rule[p->rules++] = steer_be64(handle);
	return 0;
}

int steer_take_print(struct steer *s, struct print *p)
{
	char buffer[256];
	int err;

	memset(p, 0, sizeof(*p));
	err = netlink_request(s->nl, steer_question(buffer, NFT_MSG_GETTABLE, 0),
			      on_table, p);
	if (err)
		return err;
	return netlink_request(s->nl,
			       steer_question(buffer, NFT_MSG_GETRULE, NLM_F_DUMP),
			       on_rule, p);
}

int steer_verify(struct steer *s)
{
	struct print now;
	int err;

	if (!s->built)
		return -ENOENT;
	if (!s->events)
		return 0;
	err = steer_take_print(s, &now);
	if (err)
		return err;
	return memcmp(&now, &s->print, sizeof(now)) ? -ENOENT : 0;
}

int steer_watch_fd(const struct steer *s)
{
	return s->events ? netlink_fd(s->events) : -1;
}

static int on_event(const struct nlmsghdr *nlh, void *arg)
{
	bool *changed = arg;

	if (nlh->nlmsg_type >> 8 == NFNL_SUBSYS_NFTABLES && steer_is_ours(nlh))
		*changed = true;
	return 0;
}

int steer_watch(struct steer *s)
{
	bool changed = false;
	int err;

	if (!s->events)
		return 0;
	err = netlink_receive(s->events, on_event, &changed);
	if (err == -ENOBUFS) {
		err = steer_verify(s);
		if (err == -ENOENT)
			return 1;
	}
	if (err)
		return err;
	return changed && s->built;
}
