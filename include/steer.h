/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steer: the nftables table `inet sacip`, which diverts packets of moved
 * flows to the daemon's queues and drops what must not reach a socket.
 *
 * Owns the table, its sets and one netlink socket (two where the table
 * cannot be owned and has to be watched). It is the only user of libnftnl.
 * Never looks at packets, never decides what a flow needs, keeps no copy of
 * the elements: the caller's flow table is the truth, and after a loss the
 * caller tells it again.
 *
 * Tuples are given as this host sees them, our end first; one set serves
 * both directions. Not thread-safe.
 */
#ifndef SACIPED_STEER_H
#define SACIPED_STEER_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

#define STEER_TABLE "sacip"
#define STEER_MARK_DEFAULT 0x10000000u /* Calico: with egress gateways only */
#define STEER_QUEUE_DEFAULT 1021 /* inbound; outbound is the next one */

/* Bounds of the sets in the kernel. Keep the caller's own bounds below:
 * a set that is exactly full refuses even what is already in it. */
#define STEER_FLOWS_MAX 131072 /* that the caller may have */
/* Each of out, in, pass, drop, prot and the maps. A flow that moves is in some
 * of them by each tuple that it is accepted under, and by what it gave up in
 * the last minute. They grow with what is in them. */
#define STEER_TUPLES_MAX (8 * STEER_FLOWS_MAX)
#define STEER_ADDRS_MAX 4096 /* each of src, wire */
#define STEER_PAIRS_MAX 131072 /* each of pairs_in, pairs_out */
/* One transaction, the whole table of STEER_FLOWS_MAX moved flows of IPv6 with
 * two tuples each: 0.9 KB for each of them. */
#define STEER_BATCH_BYTES_MAX (256u << 20)

#define STEER_WORKERS_MAX 16 /* queues besides our own two */

struct steer;

struct steer_conf {
	uint32_t mark; /* one bit, set on what we deliver; mask is the same */
	uint16_t queue_in;
	uint16_t queue_out;
	unsigned int workers; /* where the kernel is not to rewrite, or cannot:
			       * at most STEER_WORKERS_MAX, and their queues */
	uint16_t queue_worker[STEER_WORKERS_MAX];
	uint16_t queue_strays; /* what they have rewritten to a source that is
				* gone: in front of what they pass on */
	bool avoid_owner; /* do as on kernels without owned tables */
	bool avoid_maps; /* never rewrite in the kernel */
	bool avoid_native; /* do as on kernels without nft's own `queue` */
};

/*
 * A change from one set to another goes into one batch, del and add: although
 * a transaction is not atomic for a packet that is between two look-ups, none
 * gets past IN and DROP (DROP is looked up before and after the others).
 * DROP wins over IN, IN over PASS.
 */
enum steer_set {
	STEER_OUT, /* identity: outbound to queue OUT */
	STEER_IN, /* wire: inbound to queue IN; as a *local* tuple of a new
		   * connection (reserved): outbound to queue OUT */
	STEER_PASS, /* identity: accepted although moved: marked, accepted */
	STEER_DROP, /* dropped and counted: tombstones, and the identity of
		     * moved flows where it is not accepted */
	STEER_PROT, /* identity of every protected flow, moved or not */
	STEER_CLAIM, /* any tuple of a flow: what looks like a nonce on it to
		      * queue IN, or dropped; always with a timeout */
	STEER_SET_MAX
};

/*
 * Rewriting in the kernel, where steer_info.maps: from a tuple to what it
 * becomes. Looked at before all sets but the gate, so the flow's elements in
 * OUT and IN stay behind it: to add here takes a flow off the queues, to
 * delete puts it back on them, and no packet finds neither.
 */
enum steer_map {
	STEER_SEND, /* identity to wire tuple, outbound */
	STEER_RECV, /* wire tuple to identity, inbound; gets our mark */
};

enum steer_addr_set {
	STEER_SRC, /* local identity addresses of protected flows */
	STEER_WIRE, /* local locators of moved flows: ICMP errors to them
		     * go to queue IN */
	STEER_ADDR_SET_MAX
};

enum steer_queue_form {
	STEER_QUEUE_NATIVE, /* nft_queue */
	STEER_QUEUE_COMPAT, /* xt NFQUEUE revision 3 through nft_compat */
};

struct steer_info {
	bool owned; /* no other process can change the table while we live;
		     * either way it outlives us (steer_close) */
	bool maps; /* it can rewrite */
	bool counted; /* and tells how much, per flow */
	unsigned int workers; /* flows can be led to so many */
	bool defrag; /* inbound fragments are put together */
	bool unveils; /* steer_unveil() can be told */
	enum steer_queue_form queue_form;
};

/* Packets since the table was last built. */
struct steer_counters {
	uint64_t untranslated; /* bore a moved flow's identity; dropped */
	uint64_t tombstones; /* on a wire tuple no longer ours; dropped */
	uint64_t tripwire_in; /* address gone: marked and delivered */
	uint64_t tripwire_out; /* address gone: queued */
	uint64_t reserved; /* new local connection on a wire tuple: queued */
	uint64_t unrouted; /* TCP, no route but the guard's: told so */
};

/*
 * Opens the socket and asks the kernel what it can do, in a transaction that
 * leaves nothing behind. A table that exists is not touched yet. Fills `info`
 * where not NULL. 0, or
 *   -EPERM   CAP_NET_ADMIN is missing
 *   -ENOENT, -EPROTONOSUPPORT  the kernel has no nftables (or no inet family)
 *   -EOPNOTSUPP  it has, but neither form of queue, or no `fib`
 *   -EBUSY   another process owns `inet sacip` (another daemon here)
 *   -ENOMEM, -EINVAL (mark is not one bit)
 */
int steer_open(struct steer **out, const struct steer_conf *conf,
	       struct steer_info *info);

/*
 * With `keep` the table stays as it is: on the way to a restart, packets of
 * moved flows wait for the next reader (fail closed). Else it is deleted.
 * Frees `s` in any case; 0 or the -errno of the deletion. NULL is fine.
 */
int steer_close(struct steer *s, bool keep);

/* A batch: begin, then any of build/add/del/..., then commit. What is deleted
 * goes before what is added, in whatever order it is told. An error in
 * between (-ENOMEM, -EMSGSIZE, -EINVAL) is remembered and given by commit,
 * so that callers need to look at one result only. begin() forgets whatever
 * an earlier batch left. */
void steer_begin(struct steer *s);

/*
 * Puts the whole table at the head of the batch, replacing an ownerless
 * `inet sacip` that is there, in the same transaction. For the start and
 * after a loss; elements that the caller adds behind it are in force from the
 * table's first instant. Must be the first thing in its batch. What is in CLAIM
 * stays where an earlier process's table is taken over: steer_idle() not before
 * that has ended.
 */
void steer_build(struct steer *s);

/*
 * add: there already = fine. timeout_s 0 = until deleted; another value is
 * for STEER_DROP and STEER_CLAIM, where adding renews it. del: not there = fine.
 * Adding to any set but PROT and CLAIM lets flows of the pair in (steer_del_pair()). The first one
 * of all pulls in defragmentation, which stays as long as the table.
 * Elements with a family or protocol that is not known: -EINVAL by commit.
 */
void steer_add(struct steer *s, enum steer_set set, const struct tuple *t,
	       uint32_t timeout_s);
void steer_del(struct steer *s, enum steer_set set, const struct tuple *t);
/*
 * What is there must be deleted before something else can be put in its
 * place, with the same `to`. To delete what is not there fails the batch
 * with -ENOENT: rebuild.
 */
void steer_map_add(struct steer *s, enum steer_map map, const struct tuple *t,
		   const struct tuple *to);
void steer_map_del(struct steer *s, enum steer_map map, const struct tuple *t,
		   const struct tuple *to);
/*
 * As for the maps, before the sets and with their elements behind it; but a
 * tuple leads to the queue of a worker, by its number. To change that number
 * delete first.
 */
void steer_worker_add(struct steer *s, enum steer_map map,
		      const struct tuple *t, unsigned int worker);
void steer_worker_del(struct steer *s, enum steer_map map,
		      const struct tuple *t, unsigned int worker);
void steer_add_addr(struct steer *s, enum steer_addr_set set,
		    const struct addr *a);
void steer_del_addr(struct steer *s, enum steer_addr_set set,
		    const struct addr *a);

/* No element but those of PROT is left between these two, timeouts included.
 * They were noticed when elements were added; while a pair stands, all flows
 * between its addresses are looked up. Told too early: as for steer_idle(). */
void steer_del_pair(struct steer *s, const struct addr *local,
		    const struct addr *remote);

/*
 * Tells that no element is left in OUT, IN, PASS and DROP (timeouts
 * included): lowers the gate, so that every packet leaves both chains after
 * one cheap test. Where it is not told only time is lost; told too early,
 * packets pass: it is the caller's promise.
 */
void steer_idle(struct steer *s);
/* Nothing is protected either: takes the hooks away. The kernel then drops
 * whatever waits in any program's NFQUEUE, so not in a hurry. */
void steer_rest(struct steer *s);

/* What tap_inject_veiled() is given gets its source back, from here to
 * steer_rest(), or until the table is built anew. It is a hook of its own, the
 * only one that may be there while nothing is protected. */
void steer_unveil(struct steer *s);
bool steer_is_unveiling(const struct steer *s); /* as committed */

/*
 * One transaction, acknowledged by the kernel when this returns. On error
 * nothing is applied. An empty batch sends nothing. 0, or the -errno of the
 * first message that failed:
 *   -ENOENT  the table is gone: rebuild   -EPERM  it is another's now
 *   -ENFILE  a set is full                -ENOBUFS, -EMSGSIZE, -ENOMEM
 * But for -EIO: it was applied, and what followed failed: rebuild.
 */
int steer_commit(struct steer *s);
/* What the kernel said to that error, "" where nothing; until the next
 * request. */
const char *steer_error_text(const struct steer *s);

/* What elements of the maps have rewritten; -EOPNOTSUPP where they do not
 * count. */
struct steer_rewritten {
	enum steer_map map;
	struct tuple tuple; /* the key */
	uint64_t packets, bytes;
};
typedef void steer_rewritten_cb(const struct steer_rewritten *r, void *arg);
int steer_rewritten(struct steer *s, steer_rewritten_cb *cb, void *arg);

/* What an earlier process has left in a set, and how much is left of its
 * timeout (0: it has none): before the first steer_build(). 0 (also without
 * such a table) or -errno. */
typedef void steer_element_cb(const struct tuple *t, uint64_t left_ms,
			      void *arg);
int steer_elements(struct steer *s, enum steer_set set, steer_element_cb *cb,
		   void *arg);

/* The same of a map: what it rewrites to. Without tuples whose ports change;
 * `to` has those of `t`. */
typedef void steer_mapped_cb(const struct tuple *t, const struct tuple *to,
			     void *arg);
int steer_mapped(struct steer *s, enum steer_map map, steer_mapped_cb *cb,
		 void *arg);

/* 0 or -errno (-ENOENT: the table is gone). */
int steer_counters(struct steer *s, struct steer_counters *to);

/*
 * Watching, for tables that cannot be owned. The descriptor becomes readable
 * when anyone changes nftables; -1 where the table is owned (nobody can).
 * steer_watch() reads it empty: 1 = the table was changed or taken away by
 * someone else (then: begin, build, add everything, commit), 0 = nothing that
 * concerns us, or -errno. After ENOBUFS it asks the kernel by steer_verify().
 */
int steer_watch_fd(const struct steer *s);
int steer_watch(struct steer *s);
/* 0: the table that we built is there with all its chains and rules;
 * -ENOENT: it is not (or is another one); other -errno. */
int steer_verify(struct steer *s);

#endif
