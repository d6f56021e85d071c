/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hosts with a whole daemon each on kernels made of paper: addresses, sockets,
 * sets, queues and counts are lists, the clock is a number, and a datagram is
 * delivered when the test says so. For t_daemon, which includes daemon.c.
 *
 * Everything between daemon and kernel is here; nothing in here judges.
 */
#ifndef SACIPED_TEST_FAKE_KERNEL_H
#define SACIPED_TEST_FAKE_KERNEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon.h"
#include "packet.h"
#include "pkt.h"

#define HOSTS 3
#define LIST 1024
#define FD_TABLE 50
#define FD_ROUTES 51
#define LETTER_TYPES 256
#ifndef POST
#define POST 4096
#endif
#define TAPS 16
#define TAP_ASKED 1024 /* between two looks at a tap */

struct host;

/* The adapters, as the daemon holds them. */
struct loop {
	struct host *h;
};
struct steer {
	struct host *h;
};
struct retain {
	struct host *h;
};
struct rtmon {
	struct host *h;
};
struct sockdiag {
	struct host *h;
};
struct natrules {
	enum natrules_answer answer; /* to every question */
};
struct udp {
	struct host *h;
};
struct ctl {
	struct host *h;
};
struct tap_injector {
	struct host *h;
};
struct pktq {
	struct host *h;
	struct pktq_config config;
};
struct taps {
	struct host *h;
	int fd;
};
struct tap {
	struct host *h;
	struct taps *of;
	unsigned int uses;
	struct addr local, remote;
	uint8_t proto;
	bool ready;
	struct tuple asked[TAP_ASKED]; /* of TCP: whose number is wanted */
	uint64_t asked_ms[TAP_ASKED]; /* when it can be seen */
	size_t n_asked;
};

/* Of the maps that rewrite, and of those that lead to workers: the number is
 * the port of `to`. */
enum { SET_SEND = STEER_SET_MAX, SET_RECV, SET_WORK_OUT, SET_WORK_IN };

/* Finds by set and tuple where something stands in a list, however long that
 * is: open addressing. */
struct place {
	size_t at; /* in the list, and one; 0: free */
	int set;
	struct tuple tuple;
};

struct places {
	struct place *place;
	size_t room, used;
};

struct element {
	int set; /* enum steer_set, or of the above */
	struct tuple to; /* in a map */
	struct tuple tuple;
	uint32_t timeout_s;
};

struct pair {
	struct addr a, b;
	uint32_t ifindex, uses;
};

struct pair_list {
	struct pair *pair;
	size_t n, room;
	struct places places;
};

struct letter {
	struct endpoint src, dst;
	uint8_t data[UDP_DATAGRAM_MAX];
	size_t len;
	uint32_t held; /* packets of its sender, when it was sent */
};

struct parcel {
	uint32_t id, len;
	uint8_t data[256];
	bool out;
};

/* Rewrites nothing, but is told all. */
struct worker {
	struct host *h; /* NULL: not started */
	struct work_route *route[LIST];
	size_t n_route;
	struct work_route *forgotten[LIST]; /* until it settles */
	size_t n_forgotten;
	bool paused;
	struct worker_report report;
};

enum fate { WAITS, ACCEPTED, REWRITTEN, DROPPED };

struct host {
	struct daemon *d;
	char dir[64];
	struct loop loop;
	struct steer steer;
	struct retain retain;
	struct rtmon rtmon;
	struct sockdiag sockdiag;
	struct natrules natrules;
	struct udp udp;
	struct ctl ctl;
	struct tap_injector injector;
	struct pktq queue[3]; /* the last is the strays' */
	struct worker worker[STEER_WORKERS_MAX];
	int worker_error; /* of those that are to start */
	bool ctl_open, steer_open, retain_open;
	/* addresses; one link each */
	struct rtmon_address addr[16];
	size_t n_addr;
	struct rtmon_link link[16];
	size_t n_link;
	const struct rtmon_ops *rt_ops;
	struct addr vanished; /* the kernel's, the daemon has not heard yet */
	bool source_rules; /* each address leaves by its own interface */
	uint32_t metric[16]; /* of the route by that interface */
	struct addr gateway; /* of all of them */
	int rt_error; /* of the next rtmon_receive() */
	unsigned int resyncs;
	/* sockets */
	struct sockdiag_entry *sock;
	size_t n_sock, sock_room;
	struct places sock_places; /* of the first so many: */
	size_t n_sock_places;
	sockdiag_destroy_callback *destroyed;
	bool ends_told; /* as the daemon asked for it */
	bool ends_lost; /* too many for the socket */
	struct tuple unheard; /* its socket has ended, which waits to be read */
	uint32_t dump_takes_ms, look_takes_ms;
	unsigned int looks_at; /* for those at an address */
	unsigned int lookups; /* of one */
	unsigned int n_destroyed;
	uint32_t in_flight; /* sent by TCP, and not there yet */
	/* sets */
	struct element *set, *todo;
	bool *todo_add;
	size_t n_set, n_todo, set_room, todo_room, todo_add_room;
	struct places places; /* of `set` */
	size_t n_in_set[STEER_SET_MAX + 4]; /* by set and map */
	struct addr addr_set[STEER_ADDR_SET_MAX][64];
	size_t n_addr_set[STEER_ADDR_SET_MAX];
	bool without_maps;
	bool watched; /* the table can be changed by others */
	unsigned int lost[REPAIR_MAX]; /* by them; not read yet */
	unsigned int refreshes;
	int refresh_error;
	bool no_route; /* from anywhere */
	bool no_gateway; /* answers */
	int steer_error; /* of the next commits */
	int steer_answer; /* of the next ones, which are made all the same */
	int fail_strays;
	struct tuple poison; /* no map takes an element with this key */
	bool no_room_in; /* IN is full */
	struct tuple refused; /* IN takes no element of this tuple */
	size_t largest; /* of the transactions, in elements */
	unsigned int builds, commits, idles;
	uint64_t changes; /* elements put in or taken away */
	unsigned int letters, sent[LETTER_TYPES]; /* datagrams, by type */
	struct { struct addr from, to; } way[LETTER_TYPES]; /* of the last */
	bool in_batch;
	/* counts */
	struct pair_list kept, reverse, gone, wired;
	/* taps */
	struct taps taps[2]; /* for proofs and for trials */
	size_t n_taps;
	struct tap *tap[TAPS];
	struct {
		int fd;
		loop_callback *cb;
		void *arg;
	} source[64];
	size_t n_source;
	uint64_t deadline_ms;
	bool walled; /* only what is veiled gets in by lo */
	bool unveiling;
	uint32_t poke_mark;
	unsigned int pokes;
	bool silent; /* no socket answers one */
	uint32_t slow_ms; /* an answer is seen so much later */
	struct tuple raw[256]; /* by protocol: sent last by the daemon itself */
	uint8_t raw_mac[256][NONCE_MAC_SIZE]; /* of the nonce that left last */
	bool raw_left[256]; /* ... and no tap has seen yet */
	uint64_t tap_lost; /* copies, since the daemon asked */
	/* packets */
	struct parcel in_queue[64];
	size_t n_in_queue;
	struct parcel claimed[4096]; /* nonces that come at once */
	size_t n_claimed;
	enum fate fate[256];
	uint8_t verdict_data[256][256];
	uint32_t next_id;
	int fail_queue;
	struct counters mute;
};

static struct host host[HOSTS];
static struct host *starting; /* whose adapters are being opened */
static uint64_t clock_ms;
static struct letter post[POST];
static size_t n_post;
static bool lose_post;
static unsigned int lose_percent; /* by chance, from lose_seed on */
static uint64_t lose_seed;
static struct addr lost_at; /* nobody is there: what is sent there is counted */
static uint64_t lost_letters, lost_bytes, lost_asked; /* PROBE and INIT */

/* ---- lists --------------------------------------------------------------- */

static size_t paper_bytes; /* what all of this here takes */
static double paper_ms; /* of the processor: the transactions' */

/* Room for one more in a list of `n`. */
static inline void *more(void *list, size_t *room, size_t n, size_t size)
{
	size_t now = *room;

	if (n < now)
		return list;
	*room = now ? 2 * now : 64;
	list = realloc(list, *room * size);
	assert_non_null(list);
	memset((char *)list + now * size, 0, (*room - now) * size);
	paper_bytes += (*room - now) * size;
	return list;
}

static inline void give_back(void *list, size_t room, size_t size)
{
	free(list);
	paper_bytes -= room * size;
}

static inline size_t place_hash(int set, const struct tuple *t)
{
	const uint8_t *b = (const uint8_t *)t;
	uint64_t hash = 14695981039346656037u ^ (uint64_t)set;

	for (size_t i = 0; i < sizeof(*t); i++)
		hash = (hash ^ b[i]) * 1099511628211u;
	return (size_t)(hash ^ hash >> 32);
}

/* Where it stands, or would. */
static inline struct place *place_of(const struct places *p, int set,
				     const struct tuple *t)
{
	size_t i = place_hash(set, t);

	for (;; i++) {
		struct place *x = &p->place[i & (p->room - 1)];

		if (!x->at || (x->set == set && tuple_equal(&x->tuple, t)))
			return x;
	}
}

static inline void place_put(struct places *p, int set, const struct tuple *t,
			     size_t at)
{
	struct places old = *p;
	struct place *x;

	if (2 * old.used >= old.room) {
		p->room = old.room ? 2 * old.room : 256;
		p->place = calloc(p->room, sizeof(*p->place));
		assert_non_null(p->place);
		paper_bytes += (p->room - old.room) * sizeof(*p->place);
		for (size_t i = 0; i < old.room; i++)
			if (old.place[i].at)
				*place_of(p, old.place[i].set,
					  &old.place[i].tuple) = old.place[i];
		free(old.place);
	}
	x = place_of(p, set, t);
	p->used += !x->at;
	x->at = at + 1;
	x->set = set;
	x->tuple = *t;
}

/* Those behind it move up where they may. */
static inline void place_take(struct places *p, int set, const struct tuple *t)
{
	struct place *hole = place_of(p, set, t);
	size_t mask = p->room - 1, i = (size_t)(hole - p->place);

	assert_true(hole->at);
	p->used--;
	for (hole->at = 0;; hole->at = 0) {
		struct place *x;
		size_t home;

		do {
			i = (i + 1) & mask;
			x = &p->place[i];
			if (!x->at)
				return;
			home = place_hash(x->set, &x->tuple) & mask;
		} while (((i - home) & mask) <
			 ((i - (size_t)(hole - p->place)) & mask));
		*hole = *x;
		hole = x;
	}
}

static inline void places_forget(struct places *p)
{
	give_back(p->place, p->room, sizeof(*p->place));
	memset(p, 0, sizeof(*p));
}

/* ---- loop ---------------------------------------------------------------- */

int loop_open(struct loop **loop)
{
	starting->loop.h = starting;
	*loop = &starting->loop;
	return 0;
}

void loop_close(struct loop *loop)
{
	(void)loop;
}

uint64_t loop_now_ms(void)
{
	return clock_ms;
}

int loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *cb,
	     void *arg)
{
	struct host *h = loop->h;

	(void)events;
	assert_true(h->n_source < 64);
	h->source[h->n_source].fd = fd;
	h->source[h->n_source].cb = cb;
	h->source[h->n_source++].arg = arg;
	return 0;
}

int loop_remove(struct loop *loop, int fd)
{
	struct host *h = loop->h;

	for (size_t i = 0; i < h->n_source; i++)
		if (h->source[i].fd == fd) {
			h->source[i] = h->source[--h->n_source];
			return 0;
		}
	return -ENOENT;
}

void loop_on_timer(struct loop *loop, loop_timer_callback *cb, void *arg)
{
	(void)loop, (void)cb, (void)arg;
}

int loop_set_deadline_ms(struct loop *loop, uint64_t when_ms)
{
	loop->h->deadline_ms = when_ms;
	return 0;
}

void loop_on_settled(struct loop *loop, loop_settled_callback *cb, void *arg)
{
	(void)loop, (void)cb, (void)arg;
}

int loop_on_signals(struct loop *loop, const int *signals, size_t n,
		    loop_signal_callback *cb, void *arg)
{
	(void)loop, (void)signals, (void)n, (void)cb, (void)arg;
	return 0;
}

int loop_run(struct loop *loop)
{
	(void)loop;
	return 0;
}

void loop_stop(struct loop *loop)
{
	(void)loop;
}

/* ---- steer --------------------------------------------------------------- */

int steer_open(struct steer **out, const struct steer_conf *conf,
	       struct steer_info *info)
{
	memset(info, 0, sizeof(*info));
	info->maps = !starting->without_maps;
	info->unveils = true;
	info->workers = info->maps ? 0 : conf->workers;
	starting->steer.h = starting;
	starting->steer_open = true;
	*out = &starting->steer;
	return 0;
}

int steer_close(struct steer *s, bool keep)
{
	(void)keep;
	if (s)
		s->h->steer_open = false;
	return 0;
}

void steer_begin(struct steer *s)
{
	s->h->n_todo = 0;
	s->h->in_batch = true;
}

static void sets_forget(struct host *h)
{
	h->n_set = 0;
	memset(h->n_in_set, 0, sizeof(h->n_in_set));
	places_forget(&h->places);
}

void steer_build(struct steer *s)
{
	sets_forget(s->h);
	for (int i = 0; i < STEER_ADDR_SET_MAX; i++)
		s->h->n_addr_set[i] = 0;
	s->h->builds++;
}

static void put_todo(struct steer *s, int set, const struct tuple *t,
		     uint32_t timeout_s, bool add)
{
	struct host *h = s->h;

	assert_true(h->in_batch);
	h->todo = more(h->todo, &h->todo_room, h->n_todo, sizeof(*h->todo));
	h->todo_add = more(h->todo_add, &h->todo_add_room, h->n_todo,
			   sizeof(*h->todo_add));
	h->todo[h->n_todo].set = set;
	h->todo[h->n_todo].tuple = *t;
	memset(&h->todo[h->n_todo].to, 0, sizeof(struct tuple));
	h->todo[h->n_todo].timeout_s = timeout_s;
	h->todo_add[h->n_todo++] = add;
}

void steer_add(struct steer *s, enum steer_set set, const struct tuple *t,
	       uint32_t timeout_s)
{
	put_todo(s, (int)set, t, timeout_s, true);
}

void steer_del(struct steer *s, enum steer_set set, const struct tuple *t)
{
	put_todo(s, (int)set, t, 0, false);
}

void steer_map_add(struct steer *s, enum steer_map map, const struct tuple *t,
		   const struct tuple *to)
{
	assert_false(s->h->without_maps);
	put_todo(s, map == STEER_SEND ? SET_SEND : SET_RECV, t, 0, true);
	s->h->todo[s->h->n_todo - 1].to = *to;
}

void steer_map_del(struct steer *s, enum steer_map map, const struct tuple *t,
		   const struct tuple *to)
{
	put_todo(s, map == STEER_SEND ? SET_SEND : SET_RECV, t, 0, false);
	s->h->todo[s->h->n_todo - 1].to = *to;
}

static struct element *element(struct host *h, int set,
			       const struct tuple *t)
{
	const struct place *p = h->n_set ? place_of(&h->places, set, t) : NULL;

	return p && p->at ? &h->set[p->at - 1] : NULL;
}

static void element_put(struct host *h, const struct element *e)
{
	h->set = more(h->set, &h->set_room, h->n_set, sizeof(*h->set));
	h->set[h->n_set] = *e;
	h->n_in_set[e->set]++;
	place_put(&h->places, e->set, &e->tuple, h->n_set++);
}

static void element_take(struct host *h, struct element *e)
{
	place_take(&h->places, e->set, &e->tuple);
	h->n_in_set[e->set]--;
	*e = h->set[--h->n_set];
	if (e != &h->set[h->n_set])
		place_put(&h->places, e->set, &e->tuple,
			  (size_t)(e - h->set));
}

/* Address sets take effect at once: no test lets such a batch fail. */
void steer_add_addr(struct steer *s, enum steer_addr_set set,
		    const struct addr *a)
{
	s->h->addr_set[set][s->h->n_addr_set[set]++] = *a;
}

void steer_del_addr(struct steer *s, enum steer_addr_set set,
		    const struct addr *a)
{
	struct host *h = s->h;

	for (size_t i = 0; i < h->n_addr_set[set]; i++)
		if (addr_equal(&h->addr_set[set][i], a))
			h->addr_set[set][i] =
				h->addr_set[set][--h->n_addr_set[set]];
}

void steer_del_pair(struct steer *s, const struct addr *local,
		    const struct addr *remote)
{
	/* The caller's promise; what has a timeout is over by then. */
	for (size_t i = 0; i < s->h->n_set; i++) {
		const struct element *e = &s->h->set[i];

		assert_false(e->set != STEER_PROT && !e->timeout_s &&
			     addr_equal(&e->tuple.local.addr, local) &&
			     addr_equal(&e->tuple.remote.addr, remote));
	}
}

void steer_rest(struct steer *s)
{
	s->h->unveiling = false;
}

void steer_unveil(struct steer *s)
{
	s->h->unveiling = true;
}

bool steer_is_unveiling(const struct steer *s)
{
	return s->h->unveiling;
}

void steer_idle(struct steer *s)
{
	s->h->idles++;
}

static int commit(struct steer *s)
{
	struct host *h = s->h;

	h->in_batch = false;
	h->commits++;
	h->changes += h->n_todo;
	if (h->n_todo > h->largest)
		h->largest = h->n_todo;
	if (h->steer_error)
		return h->steer_error;
	for (size_t i = 0; h->no_room_in && i < h->n_todo; i++)
		if (h->todo[i].set == STEER_IN && h->todo_add[i])
			return -ENFILE;
	for (size_t i = 0; h->refused.proto && i < h->n_todo; i++)
		if (h->todo[i].set == STEER_IN && h->todo_add[i] &&
		    tuple_equal(&h->todo[i].tuple, &h->refused))
			return -ENOBUFS;
	for (size_t i = 0; h->poison.proto && i < h->n_todo; i++)
		if (h->todo[i].set >= STEER_SET_MAX && h->todo_add[i] &&
		    tuple_equal(&h->todo[i].tuple, &h->poison))
			return -EEXIST;
	for (size_t i = 0; i < h->n_todo; i++) {
		const struct element *n = &h->todo[i];
		struct element *e = element(h, n->set, &n->tuple);

		if (n->tuple.local.addr.family != n->tuple.remote.addr.family)
			return -EINVAL;
		/* As the kernel: what is there stays, and to delete what is
		 * not undoes all. */
		if (n->set >= STEER_SET_MAX) {
			assert_true(h->todo_add[i] ? !e : e != NULL);
			assert_true(h->todo_add[i] ||
				    tuple_equal(&e->to, &n->to));
		}
		/* No test lets such a batch be undone in part. */
		if (h->todo_add[i] && h->n_in_set[n->set] >= STEER_TUPLES_MAX)
			return -ENFILE;
		if (h->todo_add[i] && e)
			*e = *n;
		else if (h->todo_add[i])
			element_put(h, n);
		else if (e)
			element_take(h, e);
	}
	return 0;
}

int steer_commit(struct steer *s)
{
	struct timespec began, ended;
	int err;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began);
	err = commit(s);
	if (!err)
		err = s->h->steer_answer;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
	paper_ms += (double)(ended.tv_sec - began.tv_sec) * 1e3 +
		    (double)(ended.tv_nsec - began.tv_nsec) / 1e6;
	return err;
}

int steer_elements(struct steer *s, enum steer_set set, steer_element_cb *cb,
		   void *arg)
{
	const struct host *h = s->h;

	for (size_t i = 0; i < h->n_set; i++)
		if (h->set[i].set == (int)set)
			cb(&h->set[i].tuple,
			   (uint64_t)h->set[i].timeout_s * 1000, arg);
	return 0;
}

int steer_mapped(struct steer *s, enum steer_map map, steer_mapped_cb *cb,
		 void *arg)
{
	const struct host *h = s->h;

	for (size_t i = 0; i < h->n_set; i++)
		if (h->set[i].set == (map == STEER_SEND ? SET_SEND : SET_RECV))
			cb(&h->set[i].tuple, &h->set[i].to, arg);
	return 0;
}

int steer_counters(struct steer *s, struct steer_counters *to)
{
	(void)s;
	memset(to, 0, sizeof(*to));
	return 0;
}

int steer_rewritten(struct steer *s, steer_rewritten_cb *cb, void *arg)
{
	(void)s, (void)cb, (void)arg;
	return -EOPNOTSUPP;
}

int steer_watch_fd(const struct steer *s)
{
	return s->h->watched ? FD_TABLE : -1;
}

int steer_watch(struct steer *s)
{
	unsigned int n = s->h->lost[REPAIR_TABLE];

	s->h->lost[REPAIR_TABLE] = 0;
	return n > 0;
}

/* ---- retain -------------------------------------------------------------- */

static struct tuple pair_key(const struct addr *a, const struct addr *b)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.local.addr = *a;
	if (b)
		t.remote.addr = *b;
	return t;
}

static struct pair *pair_find(const struct pair_list *l, const struct addr *a,
			      const struct addr *b, uint32_t ifindex)
{
	struct tuple key = pair_key(a, b);
	const struct place *p = l->n ? place_of(&l->places, (int)ifindex,
						&key) : NULL;

	return p && p->at ? &l->pair[p->at - 1] : NULL;
}

static void pair_use(struct pair_list *l, const struct addr *a,
		     const struct addr *b, uint32_t ifindex)
{
	struct pair *p = pair_find(l, a, b, ifindex);

	if (!p) {
		struct tuple key = pair_key(a, b);

		l->pair = more(l->pair, &l->room, l->n, sizeof(*l->pair));
		p = &l->pair[l->n];
		place_put(&l->places, (int)ifindex, &key, l->n++);
		memset(p, 0, sizeof(*p));
		p->a = *a;
		if (b)
			p->b = *b;
		p->ifindex = ifindex;
	}
	p->uses++;
}

static int pair_unuse(struct pair_list *l, const struct addr *a,
		      const struct addr *b, uint32_t ifindex)
{
	struct pair *p = pair_find(l, a, b, ifindex);
	struct tuple key;

	assert_non_null(p); /* more taken away than was given */
	if (--p->uses)
		return 0;
	key = pair_key(a, b);
	place_take(&l->places, (int)ifindex, &key);
	*p = l->pair[--l->n];
	key = pair_key(&p->a, &p->b);
	if (p != &l->pair[l->n])
		place_put(&l->places, (int)p->ifindex, &key,
			  (size_t)(p - l->pair));
	return 0;
}

static void pairs_forget(struct pair_list *l)
{
	give_back(l->pair, l->room, sizeof(*l->pair));
	places_forget(&l->places);
	memset(l, 0, sizeof(*l));
}

int retain_open(struct retain **out, const struct retain_conf *conf,
		struct retain_info *info)
{
	(void)conf;
	memset(info, 0, sizeof(*info));
	info->src_valid_mark = true;
	starting->retain.h = starting;
	starting->retain_open = true;
	*out = &starting->retain;
	return 0;
}

int retain_close(struct retain *r, bool keep)
{
	(void)keep;
	if (!r)
		return 0;
	r->h->retain_open = false;
	pairs_forget(&r->h->kept); /* its counts */
	pairs_forget(&r->h->reverse);
	pairs_forget(&r->h->gone);
	pairs_forget(&r->h->wired);
	return 0;
}

int retain_watch_fd(const struct retain *r)
{
	(void)r;
	return FD_ROUTES;
}

int retain_watch(struct retain *r, struct retain_lost *lost)
{
	unsigned int n = r->h->lost[REPAIR_ROUTES];

	memset(lost, 0, sizeof(*lost));
	lost->rules = n < 64 ? n : 64;
	r->h->lost[REPAIR_ROUTES] -= lost->rules;
	return (int)lost->rules;
}

int retain_place(struct retain *r, struct retain_placed *to)
{
	(void)r;
	memset(to, 0, sizeof(*to));
	return 0;
}

int retain_sweep(struct retain *r)
{
	(void)r;
	return 0;
}

int retain_protect(struct retain *r, const struct addr *old,
		   const struct addr *peer, uint32_t mtu)
{
	(void)mtu;
	pair_use(&r->h->kept, old, peer, 0);
	return 0;
}

int retain_unprotect(struct retain *r, const struct addr *old,
		     const struct addr *peer)
{
	return pair_unuse(&r->h->kept, old, peer, 0);
}

int retain_wire(struct retain *r, const struct addr *local,
		const struct addr *peer)
{
	pair_use(&r->h->wired, local, peer, 0);
	return 0;
}

int retain_unwire(struct retain *r, const struct addr *local,
		  const struct addr *peer)
{
	return pair_unuse(&r->h->wired, local, peer, 0);
}

int retain_set_mtu(struct retain *r, const struct addr *peer, uint32_t mtu)
{
	(void)r, (void)peer, (void)mtu;
	return 0;
}

int retain_drop_unresolved(struct retain *r, const struct addr *a,
			   uint32_t ifindex)
{
	(void)r, (void)a, (void)ifindex;
	return 0;
}

int retain_gone(struct retain *r, const struct addr *old)
{
	if (!pair_find(&r->h->gone, old, NULL, 0))
		pair_use(&r->h->gone, old, NULL, 0);
	return 0;
}

int retain_back(struct retain *r, const struct addr *old)
{
	if (pair_find(&r->h->gone, old, NULL, 0))
		pair_unuse(&r->h->gone, old, NULL, 0);
	return 0;
}

int retain_on_lo(struct retain *r, const struct addr *old)
{
	(void)r;
	(void)old;
	return 0;
}

int retain_reverse(struct retain *r, const struct addr *peer,
		   const struct retain_way *way)
{
	pair_use(&r->h->reverse, peer, NULL, way->ifindex);
	return 0;
}

int retain_unreverse(struct retain *r, const struct addr *peer,
		     uint32_t ifindex)
{
	return pair_unuse(&r->h->reverse, peer, NULL,
			  ifindex);
}

bool retain_is_known(struct retain *r, const struct addr *a, uint32_t ifindex)
{
	(void)a, (void)ifindex;
	return !r->h->no_gateway;
}

int retain_prefer(struct retain *r, const struct addr *peer,
		  const struct retain_way *way)
{
	return pair_find(&r->h->reverse, peer, NULL, way->ifindex) ? 0 :
								     -ENOENT;
}

int retain_refresh(struct retain *r)
{
	r->h->refreshes++;
	return r->h->refresh_error;
}

void retain_doubt(struct retain *r, uint32_t ifindex)
{
	(void)r, (void)ifindex;
}

int retain_link_up(struct retain *r, uint32_t ifindex)
{
	(void)r, (void)ifindex;
	return 0;
}

/* ---- rtmon --------------------------------------------------------------- */

int rtmon_open(struct rtmon **rt, const struct rtmon_config *config,
	       const struct rtmon_ops *ops, void *arg)
{
	(void)config, (void)arg;
	starting->rtmon.h = starting;
	starting->rt_ops = ops;
	*rt = &starting->rtmon;
	return 0;
}

void rtmon_close(struct rtmon *rt)
{
	(void)rt;
}

int rtmon_fd(const struct rtmon *rt)
{
	(void)rt;
	return 10;
}

const struct rtmon_address *rtmon_addresses(const struct rtmon *rt, size_t *n)
{
	*n = rt->h->n_addr;
	return rt->h->addr;
}

const struct rtmon_address *rtmon_find(const struct rtmon *rt,
				       const struct addr *a)
{
	for (size_t i = 0; i < rt->h->n_addr; i++)
		if (addr_equal(&rt->h->addr[i].addr, a))
			return &rt->h->addr[i];
	return NULL;
}

bool rtmon_usable(const struct rtmon *rt, const struct addr *a)
{
	const struct rtmon_address *x = rtmon_find(rt, a);

	return x && !x->tentative;
}

bool rtmon_is_own(const struct rtmon *rt, const struct addr *a)
{
	return rtmon_find(rt, a);
}

bool rtmon_is_broadcast(const struct rtmon *rt, const struct addr *a)
{
	(void)rt, (void)a;
	return false;
}

const struct rtmon_link *rtmon_link(const struct rtmon *rt, uint32_t ifindex)
{
	for (size_t i = 0; i < rt->h->n_link; i++)
		if (rt->h->link[i].ifindex == ifindex)
			return &rt->h->link[i];
	return NULL;
}

const struct rtmon_link *rtmon_link_by_name(const struct rtmon *rt,
					    const char *name)
{
	for (size_t i = 0; i < rt->h->n_link; i++)
		if (!strcmp(rt->h->link[i].name, name))
			return &rt->h->link[i];
	return NULL;
}

bool rtmon_has_uid_rules(const struct rtmon *rt)
{
	(void)rt;
	return false;
}

uint64_t rtmon_overflows(const struct rtmon *rt)
{
	(void)rt;
	return 0;
}

uint64_t rtmon_resyncs(const struct rtmon *rt)
{
	(void)rt;
	return 0;
}

/* The last address of that family that is neither deprecated nor tentative
 * is the best source, of those with the least metric. */
static bool is_better(const struct host *h, const struct rtmon_address *a,
		      const struct rtmon_address *than)
{
	if (!than)
		return true;
	return !a->deprecated &&
	       h->metric[a->ifindex] <= h->metric[than->ifindex];
}

static int route(struct rtmon *rt, const struct rtmon_query *q,
		 struct rtmon_route *r)
{
	struct host *h = rt->h;
	const struct rtmon_address *best = NULL;

	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i < h->n_addr && !h->no_route; i++) {
		const struct rtmon_address *a = &h->addr[i];

		if (a->addr.family != q->dst.family || a->tentative ||
		    (addr_is_set(&q->src) && !addr_equal(&q->src, &a->addr)) ||
		    (q->oif && q->oif != a->ifindex))
			continue;
		if (is_better(h, a, best))
			best = a;
	}
	if (!best)
		return -ENETUNREACH;
	r->src = best->addr;
	r->gateway = h->gateway;
	r->ifindex = best->ifindex;
	r->tunnel = rtmon_link(rt, best->ifindex)->tunnel;
	r->mtu = 1500;
	return 0;
}

int rtmon_lookup(struct rtmon *rt, const struct rtmon_query *query,
		 struct rtmon_route *r)
{
	return route(rt, query, r);
}

int rtmon_choose_source(struct rtmon *rt, const struct rtmon_query *query,
			struct rtmon_route *r)
{
	int err = route(rt, query, r);
	const struct rtmon_address *a = err ? NULL : rtmon_find(rt, &r->src);

	return err || a->deprecated ? -EADDRNOTAVAIL : 0;
}

int rtmon_rank(struct rtmon *rt, const struct rtmon_query *query,
	       uint64_t *rank)
{
	struct rtmon_route r;

	*rank = rt->h->metric[query->oif];
	return route(rt, query, &r);
}

/* Weak hosts: the source does not matter, unless there are source rules. */
int rtmon_leads_home(struct rtmon *rt, const struct rtmon_query *query)
{
	const struct rtmon_address *a = rtmon_find(rt, &query->src);
	struct rtmon_query q = *query;
	struct rtmon_route r;

	memset(&q.src, 0, sizeof(q.src));
	if (!a || route(rt, &q, &r))
		return -ENETUNREACH;
	return rt->h->source_rules || a->ifindex == r.ifindex;
}

static void tell(struct host *h, enum rtmon_kind kind,
		 const struct rtmon_address *a)
{
	struct rtmon_event e;

	memset(&e, 0, sizeof(e));
	e.kind = kind;
	if (a)
		e.address = *a;
	h->rt_ops->event(&e, h->d);
}

static void forget_address(struct host *h, const struct addr *a)
{
	for (size_t i = 0; i < h->n_addr; i++) {
		struct rtmon_address gone = h->addr[i];

		if (!addr_equal(&gone.addr, a))
			continue;
		memmove(&h->addr[i], &h->addr[i + 1],
			(--h->n_addr - i) * sizeof(gone));
		tell(h, RTMON_ADDR_REMOVED, &gone);
		return;
	}
}

int rtmon_receive(struct rtmon *rt)
{
	struct host *h = rt->h;
	struct addr a = h->vanished;
	int err = h->rt_error;

	if (err)
		return err;
	memset(&h->vanished, 0, sizeof(h->vanished));
	if (!addr_is_set(&a))
		return 0;
	forget_address(h, &a);
	h->rt_ops->settled(h->d);
	return 0;
}

int rtmon_resync(struct rtmon *rt)
{
	rt->h->resyncs++;
	return rtmon_receive(rt);
}

/* ---- sockdiag ------------------------------------------------------------ */

int sockdiag_open(struct sockdiag **sd, sockdiag_destroy_callback *destroyed,
		  void *arg)
{
	(void)arg;
	starting->sockdiag.h = starting;
	starting->destroyed = destroyed;
	starting->ends_told = true;
	*sd = &starting->sockdiag;
	return 0;
}

void sockdiag_close(struct sockdiag *sd)
{
	(void)sd;
}

int sockdiag_listen(struct sockdiag *sd, bool on)
{
	sd->h->ends_told = on;
	return 0;
}

int sockdiag_fd(const struct sockdiag *sd)
{
	(void)sd;
	return 11;
}

int sockdiag_receive(struct sockdiag *sd)
{
	struct host *h = sd->h;
	struct tuple t = h->unheard;

	if (h->ends_lost)
		return -ENOBUFS;

	memset(&h->unheard, 0, sizeof(h->unheard));
	for (size_t i = 0; i < h->n_sock; i++)
		if (tuple_equal(&h->sock[i].tuple, &t)) {
			struct sockdiag_entry e = h->sock[i];

			h->sock[i] = h->sock[--h->n_sock];
			if (h->ends_told)
				h->destroyed(&e, h->d);
			break;
		}
	return 0;
}

int sockdiag_dump(struct sockdiag *sd, unsigned what, sockdiag_callback *cb,
		  void *arg)
{
	(void)what;
	clock_ms += sd->h->dump_takes_ms;
	for (size_t i = 0; i < sd->h->n_sock; i++)
		cb(&sd->h->sock[i], arg);
	return 0;
}

int sockdiag_dump_at(struct sockdiag *sd, unsigned what,
		     const struct addr *addr, bool remote,
		     sockdiag_callback *cb, void *arg)
{
	(void)what;
	sd->h->looks_at++;
	clock_ms += sd->h->look_takes_ms;
	for (size_t i = 0; i < sd->h->n_sock; i++) {
		const struct tuple *t = &sd->h->sock[i].tuple;

		if (addr_equal(remote ? &t->remote.addr : &t->local.addr,
			       addr))
			cb(&sd->h->sock[i], arg);
	}
	return 0;
}

/* Tests write in the list as they like: what was noted is looked at again. */
static struct sockdiag_entry *sock_at(struct host *h, const struct tuple *t)
{
	const struct place *p;

	while (h->n_sock_places < h->n_sock) {
		place_put(&h->sock_places, 0, &h->sock[h->n_sock_places].tuple,
			  h->n_sock_places);
		h->n_sock_places++;
	}
	p = h->n_sock ? place_of(&h->sock_places, 0, t) : NULL;
	if (p && p->at && p->at <= h->n_sock &&
	    tuple_equal(&h->sock[p->at - 1].tuple, t))
		return &h->sock[p->at - 1];
	if (h->n_sock > LIST)
		return NULL;
	for (size_t i = 0; i < h->n_sock; i++)
		if (tuple_equal(&h->sock[i].tuple, t))
			return &h->sock[i];
	return NULL;
}

int sockdiag_lookup(struct sockdiag *sd, const struct tuple *tuple,
		    uint32_t ifindex, struct sockdiag_entry *entry)
{
	const struct sockdiag_entry *e = sock_at(sd->h, tuple);

	(void)ifindex;
	sd->h->lookups++;
	if (!e)
		return -ENOENT;
	if (entry)
		*entry = *e;
	return 0;
}

int sockdiag_destroy(struct sockdiag *sd, const struct tuple *tuple,
		     uint32_t ifindex, uint64_t cookie)
{
	struct host *h = sd->h;

	(void)ifindex;
	for (size_t i = 0; i < h->n_sock; i++) {
		struct sockdiag_entry e = h->sock[i];

		if (!tuple_equal(&e.tuple, tuple) || e.cookie != cookie)
			continue;
		h->sock[i] = h->sock[--h->n_sock];
		h->n_destroyed++;
		h->destroyed(&e, h->d);
		return 0;
	}
	return -ENOENT;
}

int sockdiag_port_taken(uint8_t proto, const struct addr *local, uint16_t port)
{
	for (size_t i = 0; i < HOSTS; i++)
		for (size_t j = 0; j < host[i].n_sock; j++) {
			const struct tuple *t = &host[i].sock[j].tuple;

			if (t->proto == proto && t->local.port == port &&
			    addr_equal(&t->local.addr, local))
				return 1;
		}
	return 0;
}

/* ---- taps ---------------------------------------------------------------- */

int taps_open(struct taps **taps, struct aside *aside)
{
	static int next_fd = 100;
	struct host *h = starting;

	(void)aside;
	assert_true(h->n_taps < sizeof(h->taps) / sizeof(*h->taps));
	*taps = &h->taps[h->n_taps++];
	(*taps)->h = h;
	(*taps)->fd = next_fd++;
	return 0;
}

void taps_close(struct taps *taps)
{
	if (taps)
		taps->h->n_taps--;
}

int taps_fd(const struct taps *taps)
{
	return taps->fd;
}

void taps_step(struct taps *taps, uint64_t now_ms)
{
	(void)taps, (void)now_ms;
}

uint64_t taps_due_ms(const struct taps *taps)
{
	(void)taps;
	return 0;
}

uint64_t taps_lost(struct taps *taps)
{
	const uint64_t lost = taps->h->tap_lost;

	taps->h->tap_lost = 0;
	return lost;
}

static struct host *host_at(const struct addr *a)
{
	for (size_t i = 0; i < HOSTS; i++)
		for (size_t j = 0; j < host[i].n_addr; j++)
			if (addr_equal(&host[i].addr[j].addr, a))
				return &host[i];
	return NULL;
}

int tap_open(struct taps *taps, struct tap **tap, uint8_t proto,
	     const struct addr *local, const struct addr *remote)
{
	struct host *h = taps->h;
	struct tap *t;
	size_t i;

	for (i = 0; i < TAPS; i++) {
		t = h->tap[i];
		if (t && t->of == taps && t->proto == proto &&
		    addr_equal(&t->local, local) &&
		    addr_equal(&t->remote, remote)) {
			t->uses++;
			*tap = t;
			return 0;
		}
	}
	if (host_at(local) != h)
		return -ENODEV;
	t = calloc(1, sizeof(*t));
	t->h = h;
	t->of = taps;
	t->uses = 1;
	t->local = *local;
	t->remote = *remote;
	t->proto = proto;
	t->ready = proto == IPPROTO_UDP;
	for (i = 0; i < TAPS && h->tap[i]; i++)
		;
	assert_true(i < TAPS);
	h->tap[i] = t;
	*tap = t;
	return 0;
}

void tap_close(struct tap *tap)
{
	if (!tap || --tap->uses)
		return;
	for (size_t i = 0; i < TAPS; i++)
		if (tap->h->tap[i] == tap)
			tap->h->tap[i] = NULL;
	free(tap);
}

/* Numbers that both ends agree upon. */
static uint32_t number(const struct endpoint *from)
{
	return from->port * 1000u;
}

/* One each way, which says the same at both ends. */
static void datagrams(struct tap_packet *p, const struct tuple *identity,
		      tap_callback *cb, void *arg)
{
	uint32_t said = number(&identity->local);

	p->payload = (const uint8_t *)&said;
	p->payload_len = sizeof(said);
	cb(p, arg);
	said = number(&identity->remote);
	p->outgoing = false;
	cb(p, arg);
}

/* What this tap sees of a socket that sends just now. */
static void tap_see(struct tap *tap, const struct tuple *identity,
		    tap_callback *cb, void *arg)
{
	struct host *h = tap->h;
	const struct flow *f = flow_find(&h->d->flows, identity);
	struct tap_packet p;

	if (!f)
		return;
	memset(&p, 0, sizeof(p));
	p.tuple = flow_wire_tuple(f);
	if (p.tuple.proto != tap->proto ||
	    !addr_equal(&p.tuple.local.addr, &tap->local) ||
	    !addr_equal(&p.tuple.remote.addr, &tap->remote))
		return;
	p.outgoing = true;
	p.when_ms = clock_ms;
	if (p.tuple.proto == IPPROTO_UDP) {
		datagrams(&p, identity, cb, arg);
		return;
	}
	p.seq = number(&identity->local) + h->in_flight;
	p.ack = number(&identity->remote);
	p.flags = 16;
	p.window = 32768;
	cb(&p, arg);
}

/* The last one of that protocol that has left. */
static void tap_see_nonce(struct tap *tap, tap_callback *cb, void *arg)
{
	struct host *h = tap->h;
	struct tap_packet p = {
		.tuple = h->raw[tap->proto],
		.outgoing = true,
		.flags = tap->proto == IPPROTO_TCP ? PKT_TCP_ACK : 0,
		.mac = h->raw_mac[tap->proto],
	};

	if (!h->raw_left[tap->proto] ||
	    !addr_equal(&p.tuple.local.addr, &tap->local) ||
	    !addr_equal(&p.tuple.remote.addr, &tap->remote))
		return;
	h->raw_left[tap->proto] = false;
	cb(&p, arg);
}

static void tap_read(struct tap *tap, tap_callback *cb, void *arg)
{
	struct tuple asked[TAP_ASKED];
	size_t n = 0, later = 0;

	tap_see_nonce(tap, cb, arg);
	tap->ready = tap->proto == IPPROTO_UDP; /* they come all the time */
	if (tap->ready) {
		for (size_t i = 0; i < tap->h->n_sock; i++)
			tap_see(tap, &tap->h->sock[i].tuple, cb, arg);
		return;
	}
	for (size_t i = 0; i < tap->n_asked; i++) {
		if (tap->asked_ms[i] <= clock_ms) {
			asked[n++] = tap->asked[i];
			continue;
		}
		tap->asked_ms[later] = tap->asked_ms[i];
		tap->asked[later++] = tap->asked[i];
	}
	tap->n_asked = later;
	for (size_t i = 0; i < n; i++)
		tap_see(tap, &asked[i], cb, arg);
}

int taps_receive(struct taps *taps, tap_callback *cb, void *arg)
{
	for (size_t i = 0; i < TAPS; i++) {
		struct tap *tap = taps->h->tap[i];

		if (!tap || tap->of != taps)
			continue;
		tap->uses++;
		tap_read(tap, cb, arg);
		tap_close(tap);
	}
	return 0;
}

int tap_injector_open(struct tap_injector **injector)
{
	starting->injector.h = starting;
	*injector = &starting->injector;
	return 0;
}

void tap_injector_close(struct tap_injector *injector)
{
	(void)injector;
}

static int inject_into(struct host *h, const uint8_t *packet, size_t len,
		       uint32_t mark, bool veiled)
{
	struct tuple t;
	struct pkt pkt;

	h->poke_mark = mark;
	h->pokes++;
	if (h->silent || (h->walled && !veiled) ||
	    pkt_parse(packet, (uint32_t)len, &pkt) != PKT_OK)
		return 0;
	t = pkt_tuple_in(&pkt);
	for (size_t i = 0; i < TAPS; i++) {
		struct tap *tap = h->tap[i];

		if (!tap || tap->proto != t.proto)
			continue;
		assert_true(tap->n_asked < TAP_ASKED);
		tap->asked_ms[tap->n_asked] = clock_ms + h->slow_ms;
		tap->asked[tap->n_asked++] = t;
		tap->ready = true;
	}
	return 0;
}

int tap_inject(struct tap_injector *injector, const uint8_t *packet,
	       size_t len, uint32_t mark)
{
	return inject_into(injector->h, packet, len, mark, false);
}

int tap_inject_veiled(struct tap_injector *injector, const uint8_t *packet,
		      size_t len, uint32_t mark)
{
	assert_true(injector->h->unveiling);
	return inject_into(injector->h, packet, len, mark, true);
}

static pthread_t marks_looked_by;
static unsigned int marks_looks;

int markuse_look(uint32_t bit, struct markuse *to)
{
	(void)bit;
	marks_looked_by = pthread_self();
	marks_looks++;
	memset(to, 0, sizeof(*to));
	return 0;
}

/* What becomes of packets that a daemon sends itself, nonces. At once: past the
 * queues that a test reads. */
static enum {
	RAW_AT_ONCE,
	RAW_REFUSED,
	RAW_KEPT, /* by the host's own rules, behind our queue */
	RAW_LOST,
	RAW_CARRIED,
} raw_fate;
static uint8_t raw_kept_of; /* a protocol that is kept all the same; 0 none */
static struct addr raw_lost_at; /* from there, or to there, all the same */
/* What comes from there has another byte here, behind the start of the TCP
 * header. */
static struct addr raw_changed_from;
static uint32_t raw_changed_off;

/* Those of claims come so, whatever a test does with the rest. */
static void claimed_add(struct host *h, const uint8_t *packet, size_t len)
{
	struct parcel *p = &h->claimed[h->n_claimed++];

	assert_true(h->n_claimed <= sizeof(h->claimed) / sizeof(*p));
	assert_true(len <= sizeof(p->data));
	memcpy(p->data, packet, len);
	p->len = (uint32_t)len;
}

static void parcel_add(struct host *h, const uint8_t *packet, size_t len,
		       bool out)
{
	struct parcel *p = &h->in_queue[h->n_in_queue++];

	assert_true(len <= sizeof(p->data));
	memcpy(p->data, packet, len);
	p->len = (uint32_t)len;
	p->id = ++h->next_id;
	p->out = out;
}

static bool is_of_a_claim(const struct host *h, const uint8_t *packet,
			  const struct pkt *pkt)
{
	const struct tuple t = pkt_tuple_out(pkt);
	const uint8_t *nonce = nonce_find(pkt, packet);

	return nonce && watch_is_ours(h->d, &t, nonce);
}

/* Into the own queue, and the other host's. */
int tap_send(struct tap_injector *injector, const uint8_t *packet, size_t len,
	     uint32_t mark)
{
	struct pkt pkt;
	struct host *to;

	(void)mark;
	assert_int_equal(pkt_parse(packet, len, &pkt), PKT_OK);
	to = host_at(&pkt.dst.addr);
	if (is_of_a_claim(injector->h, packet, &pkt)) {
		const struct tuple t = pkt_tuple_in(&pkt);

		/* Past what is moved; and no socket may get it. */
		if (to && to->d && element(to, STEER_CLAIM, &t))
			claimed_add(to, packet, len);
		return 0;
	}
	if (raw_fate == RAW_REFUSED)
		return -ENETUNREACH;
	if (raw_fate == RAW_AT_ONCE) {
		if (to && to->d)
			claimed_add(to, packet, len);
		return 0;
	}
	injector->h->raw[pkt.proto] = pkt_tuple_out(&pkt);
	parcel_add(injector->h, packet, len, true);
	if (raw_fate == RAW_KEPT || pkt.proto == raw_kept_of)
		return 0;
	memcpy(injector->h->raw_mac[pkt.proto], nonce_find(&pkt, packet),
	       NONCE_MAC_SIZE);
	injector->h->raw_left[pkt.proto] = true;
	if (raw_fate == RAW_CARRIED && to &&
	    !addr_equal(&pkt.src.addr, &raw_lost_at) &&
	    !addr_equal(&pkt.dst.addr, &raw_lost_at)) {
		parcel_add(to, packet, len, false);
		if (pkt.proto == IPPROTO_TCP &&
		    addr_equal(&pkt.src.addr, &raw_changed_from))
			to->in_queue[to->n_in_queue - 1]
				.data[pkt.l4_off + raw_changed_off] ^= 1;
	}
	return 0;
}

int ipsec_open(struct ipsec **out)
{
	*out = NULL;
	return 0;
}

void ipsec_close(struct ipsec *ip)
{
	(void)ip;
}

bool ipsec_takes(struct ipsec *ip, const struct tuple *t, uint32_t mark,
		 uint32_t oif)
{
	(void)ip, (void)t, (void)mark, (void)oif;
	return false;
}

int natrules_open(struct natrules **out, struct aside *aside)
{
	(void)aside;
	*out = &starting->natrules;
	return 0;
}

void natrules_close(struct natrules *n)
{
	(void)n;
}

enum natrules_answer natrules_match(struct natrules *n, const struct tuple *t,
				    uint32_t mark, uint32_t oif,
				    const char *oifname, uint64_t now_ms)
{
	(void)t, (void)mark, (void)oif, (void)oifname, (void)now_ms;
	return n->answer;
}

/* ---- workers ------------------------------------------------------------- */

static void put_work(struct steer *s, enum steer_map map,
		     const struct tuple *t, unsigned int worker, bool add)
{
	struct tuple *to;

	assert_true(s->h->without_maps);
	assert_non_null(s->h->worker[worker].h);
	put_todo(s, map == STEER_SEND ? SET_WORK_OUT : SET_WORK_IN, t, 0, add);
	to = &s->h->todo[s->h->n_todo - 1].to;
	to->local.port = (uint16_t)worker;
}

void steer_worker_add(struct steer *s, enum steer_map map,
		      const struct tuple *t, unsigned int worker)
{
	put_work(s, map, t, worker, true);
}

void steer_worker_del(struct steer *s, enum steer_map map,
		      const struct tuple *t, unsigned int worker)
{
	put_work(s, map, t, worker, false);
}

int worker_start(struct worker **out, const struct worker_conf *conf)
{
	struct host *h = starting;
	unsigned int k = 0;

	for (unsigned int i = 0; i < HOSTS; i++)
		if (host[i].d && conf->seed == host[i].d->crew.seed)
			h = &host[i];
	if (h->worker_error)
		return h->worker_error;
	while (crew_queue(h->d, k + 1) != conf->number)
		assert_true(++k < STEER_WORKERS_MAX);
	assert_int_equal(conf->strays, crew_queue(h->d, 0));
	assert_null(h->worker[k].h);
	h->worker[k].h = h;
	*out = &h->worker[k];
	return 0;
}

void worker_stop(struct worker *w)
{
	if (w)
		memset(w, 0, sizeof(*w));
}

/* Packets that wait must not meet half of a change. */
void worker_add(struct worker *w, struct work_route *r)
{
	assert_true(w->paused);
	assert_true(w->n_route < LIST);
	for (size_t i = 0; i < w->n_route; i++)
		assert_false(w->route[i]->outbound == r->outbound &&
			     tuple_equal(&w->route[i]->tuple, &r->tuple));
	w->route[w->n_route++] = r;
}

void worker_forget(struct worker *w, struct work_route *r)
{
	size_t i = 0;

	while (w->route[i] != r)
		assert_true(++i < w->n_route);
	w->route[i] = w->route[--w->n_route];
	w->forgotten[w->n_forgotten++] = r;
}

/* What it had forgotten is freed after this, and not before. */
void worker_settle(struct worker *w)
{
	for (size_t i = 0; i < w->n_forgotten; i++)
		w->forgotten[i]->packets += 1; /* a sanitizer would tell */
	w->n_forgotten = 0;
}

void worker_pause(struct worker *w)
{
	assert_false(w->paused);
	w->paused = true;
}

void worker_go_on(struct worker *w)
{
	assert_true(w->paused);
	w->paused = false;
}

void worker_ask(struct worker *w, struct worker_report *to)
{
	*to = w->report;
	to->routes = (uint32_t)w->n_route;
}

/* ---- queues -------------------------------------------------------------- */

int pktq_open(const struct pktq_config *config, struct pktq **q)
{
	struct daemon *d = config->ctx;
	struct host *h = starting;
	struct pktq *new;

	if (config->number == crew_queue(d, 0))
		h = d->steer->h;
	new = &h->queue[config->number == crew_queue(d, 0) ?
				2 : config->number & 1];
	if (h->fail_queue)
		return h->fail_queue;
	if (h->fail_strays && new == &h->queue[2])
		return h->fail_strays;
	new->h = h;
	new->config = *config;
	*q = new;
	return 0;
}

void pktq_close(struct pktq *q)
{
	(void)q;
}

int pktq_fd(const struct pktq *q)
{
	return 20 + (q->config.number & 1);
}

uint16_t pktq_number(const struct pktq *q)
{
	return q->config.number;
}

const struct pktq_counters *pktq_counters(struct pktq *q)
{
	static const struct pktq_counters none;

	(void)q;
	return &none;
}

int pktq_read(struct pktq *q)
{
	struct host *h = q->h;
	bool out = q == h->d->queue_out;
	int n = 0;

	if (q == &h->queue[2])
		return 0;
	for (size_t i = 0; i < h->n_in_queue;) {
		struct parcel p = h->in_queue[i];
		struct pktq_packet packet = {
			.id = p.id,
			.csum = CSUM_READY,
			.len = p.len,
			.full_len = p.len,
			.data = p.data,
		};

		if (p.out != out) {
			i++;
			continue;
		}
		memmove(&h->in_queue[i], &h->in_queue[i + 1],
			(--h->n_in_queue - i) * sizeof(p));
		q->config.packet_cb(q->config.ctx, q, &packet);
		n++;
	}
	return n;
}

#define CLAIMED_ID 255 /* of each of these, one after the other */

static bool claimed_read(struct host *h)
{
	struct pktq *q = h->d->queue_in;
	const size_t n = h->n_claimed;

	h->n_claimed = 0;
	for (size_t i = 0; i < n; i++) {
		struct parcel p = h->claimed[i];
		struct pktq_packet packet = {
			.id = CLAIMED_ID,
			.csum = CSUM_READY,
			.len = p.len,
			.full_len = p.len,
			.data = p.data,
		};

		h->fate[CLAIMED_ID] = WAITS;
		q->config.packet_cb(q->config.ctx, q, &packet);
		assert_int_equal(h->fate[CLAIMED_ID], DROPPED);
	}
	return n;
}

static int verdict(struct pktq *q, uint64_t id, enum fate fate)
{
	assert_true(id < 256);
	assert_int_equal(q->h->fate[id], WAITS); /* one verdict each */
	q->h->fate[id] = fate;
	return 0;
}

int pktq_accept(struct pktq *q, uint64_t id, const uint32_t *mark)
{
	(void)mark;
	return verdict(q, id, ACCEPTED);
}

int pktq_accept_payload(struct pktq *q, uint64_t id, const uint8_t *data,
			uint32_t len, const uint32_t *mark)
{
	(void)mark;
	memcpy(q->h->verdict_data[id], data, len);
	return verdict(q, id, REWRITTEN);
}

int pktq_drop(struct pktq *q, uint64_t id)
{
	return verdict(q, id, DROPPED);
}

int pktq_flush(struct pktq *q)
{
	(void)q;
	return 0;
}

/* ---- udp ----------------------------------------------------------------- */

int udp_open(struct udp **out, uint16_t port, const int *adopted, size_t n)
{
	(void)port, (void)adopted, (void)n;
	starting->udp.h = starting;
	*out = &starting->udp;
	return 0;
}

void udp_close(struct udp *udp)
{
	(void)udp;
}

size_t udp_fds(const struct udp *udp, int fds[UDP_SOCKETS_MAX])
{
	(void)udp;
	fds[0] = 30;
	return 1;
}

int udp_receive(struct udp *udp, udp_callback *cb, void *arg)
{
	(void)udp, (void)cb, (void)arg;
	return 0;
}

int udp_send(struct udp *udp, const struct addr *src, uint32_t ifindex,
	     const struct endpoint *dst, const void *data, size_t len)
{
	struct letter *l = &post[n_post];

	(void)ifindex;
	if (!rtmon_usable(&udp->h->rtmon, src))
		return -EINVAL;
	udp->h->letters++;
	udp->h->sent[((const uint8_t *)data)[0]]++;
	udp->h->way[((const uint8_t *)data)[0]].from = *src;
	udp->h->way[((const uint8_t *)data)[0]].to = dst->addr;
	if (addr_is_set(&lost_at) && addr_equal(&dst->addr, &lost_at)) {
		if (*(const uint8_t *)data == WIRE_PROBE ||
		    *(const uint8_t *)data == WIRE_INIT) {
			lost_asked++;
			return 0;
		}
		lost_letters++;
		lost_bytes += len;
		return 0;
	}
	lose_seed = lose_seed * 6364136223846793005u + 1442695040888963407u;
	if (lose_post || (lose_seed >> 33) % 100 < lose_percent)
		return 0;
	assert_true(n_post < sizeof(post) / sizeof(*post));
	memset(l, 0, sizeof(*l));
	l->held = udp->h->d->hold.packets.used;
	l->src.addr = *src;
	l->src.port = udp->h->d->conf->port;
	l->dst = *dst;
	memcpy(l->data, data, len);
	l->len = len;
	n_post++;
	return 0;
}

/* ---- ctl ----------------------------------------------------------------- */

int ctl_open(struct ctl **ctl, const char *path, const struct ctl_ops *ops,
	     void *ctx, struct counters *counters)
{
	(void)path, (void)ops, (void)ctx, (void)counters;
	starting->ctl.h = starting;
	starting->ctl_open = true;
	*ctl = &starting->ctl;
	return 0;
}

int ctl_fd(const struct ctl *ctl)
{
	(void)ctl;
	return 40;
}

void ctl_process(struct ctl *ctl)
{
	(void)ctl;
}

void ctl_publish(struct ctl *ctl, const struct ctl_event *e)
{
	(void)ctl, (void)e;
}

bool ctl_monitored(const struct ctl *ctl)
{
	(void)ctl;
	return true;
}

void ctl_close(struct ctl *ctl)
{
	if (ctl)
		ctl->h->ctl_open = false;
}

#endif
