/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adopt: takes over what an earlier daemon has left.
 *
 * Owns the reading of its journal and the judgement of what is still true: a
 * flow is taken up only where its very socket lives. Never sends: sessions
 * are made anew when all is in place. What is not taken up goes with the
 * first transaction (divert_rebuild(), retain_sweep()), and the sockets that
 * cannot live without it go before.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct adopt {
	struct book book;
	uint8_t *data; /* the file, which the book refers to */
	unsigned int taken, left;
};

/* ---- the file ------------------------------------------------------------ */

static int open_journal(struct daemon *d, size_t *size)
{
	char path[KEEP_PATH_MAX];
	struct stat st;
	int err = keep_path(d, "", path);
	int fd;

	if (err)
		return err;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
		 (st.st_mode & 077) || st.st_nlink != 1)
		err = -EPERM; /* somebody else's words */
	else if (st.st_size > JOURNAL_FILE_MAX)
		err = -EFBIG;
	if (err) {
		close(fd);
		return err;
	}
	*size = (size_t)st.st_size;
	return fd;
}

static int read_file(struct daemon *d, uint8_t **data, size_t *len)
{
	size_t size = 0;
	size_t at = 0;
	int fd = open_journal(d, &size);

	if (fd < 0)
		return fd;
	*data = malloc(size ? size : 1);
	while (*data && at < size) {
		ssize_t n = read(fd, *data + at, size - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	close(fd);
	*len = at;
	return *data ? 0 : -ENOMEM;
}

static int read_book(struct daemon *d, struct adopt *a)
{
	uint8_t boot_id[JOURNAL_BOOT_ID_SIZE];
	size_t len = 0;
	long whole;
	int err = read_file(d, &a->data, &len);

	if (err)
		return err;
	whole = book_read(&a->book, a->data, len);
	if (whole < 0)
		return (int)whole;
	if ((size_t)whole < len)
		log_notice(d->log, "journal: the last %zu bytes are cut off",
			   len - (size_t)whole);
	if (a->book.skipped)
		log_warn(d->log, "journal: %zu records are past a bound; "
			 "connections that they are of end",
			 a->book.skipped);
	keep_boot_id(boot_id);
	if (memcmp(boot_id, a->book.start.boot_id, sizeof(boot_id)) != 0)
		return -ESTALE;
	return 0;
}

void adopt_begin(struct daemon *d)
{
	struct adopt *a = calloc(1, sizeof(*a));
	int err = a ? read_book(d, a) : -ENOMEM;

	if (!err) {
		d->adopt = a;
		return;
	}
	if (err != -ENOENT)
		log_warn(d->log, "journal: %s; starting from nothing",
			 strerror(-err));
	if (!a)
		return;
	book_free(&a->book);
	free(a->data);
	free(a);
}

/* ---- whose socket ---------------------------------------------------------- */

/* A closing one is no new flow, but an old one goes on with it. One in
 * TIME_WAIT has lost its cookie. */
bool adopt_wants(const struct daemon *d, const struct sockdiag_entry *e)
{
	const struct book_flow *f = adopt_book_flow(d, &e->tuple);
	struct journal_flow is;

	if (!f)
		return false;
	book_flow_get(f, &is);
	return e->state == SOCKDIAG_TIME_WAIT || e->cookie == is.cookie;
}

const struct book_flow *adopt_book_flow(const struct daemon *d,
					const struct tuple *t)
{
	return d->adopt ? book_find_flow(&d->adopt->book, t) : NULL;
}

bool adopt_is_same_socket(const struct book_flow *b, const struct flow *f)
{
	struct journal_flow is;

	book_flow_get(b, &is);
	return !f->cookie || f->cookie == is.cookie;
}

/* ---- peers and tracks ------------------------------------------------------ */

static struct assoc *take_peer(struct daemon *d, uint32_t number)
{
	struct book_peer *b = book_find_peer(&d->adopt->book, number);
	struct peer *p;

	if (!b || conf_key_revoked(d->conf, b->is.key))
		return NULL;
	p = peer_restore(d->peers, b->is.key, b->is.port);
	return p ? assoc_get(d, p) : NULL;
}

static struct track *take_track(struct daemon *d, struct assoc *a,
				uint32_t number, enum flow_side side,
				uint32_t id)
{
	struct journal_track_key key = {
		.peer = number,
		.id = id,
		.side = side,
	};
	struct track *t = track_find(a, side, id);
	const struct book_track *b;

	if (t)
		return t;
	b = book_find_track(&d->adopt->book, &key);
	return b && b->known ? track_restore(a, b) : NULL;
}

/* ---- flows ----------------------------------------------------------------- */

/* The peer's, as both had agreed. */
static int take_owned(struct daemon *d, struct flow *f,
		      const struct journal_flow *is, uint64_t now_ms)
{
	struct assoc *a = take_peer(d, is->peer);
	struct track *t[FLOW_SIDES];
	int err;

	if (!a || !is->tracked)
		return -ENOENT;
	for (int side = 0; side < FLOW_SIDES; side++) {
		t[side] = take_track(d, a, is->peer, (enum flow_side)side,
				     is->track[side]);
		if (!t[side])
			return -ENOENT;
	}
	if (t[FLOW_OURS]->mover.sending.addr.family !=
		    f->identity.local.addr.family ||
	    t[FLOW_THEIRS]->follower.sending.addr.family !=
		    f->identity.remote.addr.family)
		return -EAFNOSUPPORT;
	claim_set_track(&f->claim, now_ms, t[FLOW_OURS]->id);
	err = claim_restore(a->claims, &f->claim, is->flow_id,
			    t[FLOW_THEIRS]->id);
	if (err)
		return err;
	f->moves += t[FLOW_OURS]->moves + t[FLOW_THEIRS]->moves;
	assoc_own(f, a->peer);
	err = track_take(d, f, t, now_ms);
	if (err) {
		claim_drop(&f->claim);
		assoc_own(f, NULL);
	}
	return err;
}

static int take_side(struct flow *f, const struct journal_flow *is,
		     enum flow_side side)
{
	int err = 0;

	for (unsigned int i = 0; i < is->n[side] && !err; i++) {
		const struct flow_end *e = &is->end[side][i];

		if (!flow_transit(f))
			return -ENOMEM;
		f->transit->next[side].ports = e->ports;
		f->transit->next[side].port = e->at.port;
		err = flow_accept(f, side, &e->at.addr, e->ports);
		if (!err)
			flow_end_find(f, side, &e->at.addr, e->ports)->proved =
				true; /* as far as is known */
	}
	if (f->transit)
		f->transit->next[side].ports = 0;
	if (err || !f->path)
		return err;
	/* A path begins with the identity's end, which may be over. */
	for (unsigned int i = f->path->n[side]; i > is->n[side]; i--) {
		struct flow_end gone = f->path->end[side][0];

		flow_unaccept(f, side, &gone.at.addr, gone.ports);
	}
	f->path->send[side] = is->send[side];
	return 0;
}

/* See track.c's reverse(): from where packets of that end come in. */
static void side_way_back(struct daemon *d, struct flow *f,
			  enum flow_side side)
{
	for (unsigned int i = 0; i < f->path->n[side]; i++) {
		struct flow_end *e = &f->path->end[side][i];
		const struct rtmon_address *own =
			rtmon_find(d->rtmon, &e->at.addr);
		struct rtmon_query query = {
			.dst = e->at.addr,
			.uid = (uint32_t)-1,
		};
		struct rtmon_route route = { 0 };

		if (addr_equal(&e->at.addr, &f->identity.local.addr) ||
		    addr_equal(&e->at.addr, &f->identity.remote.addr))
			continue;
		if (side == FLOW_OURS)
			route.ifindex = own ? own->ifindex : 0;
		else if (rtmon_lookup(d->rtmon, &query, &route))
			route.ifindex = 0;
		if (route.ifindex)
			track_way_back(d, f, side, e, route.ifindex);
	}
}

void adopt_way_back(struct daemon *d, struct flow *f)
{
	side_way_back(d, f, FLOW_OURS);
	side_way_back(d, f, FLOW_THEIRS);
}

/* Nobody's any more, and translated to its end. */
static int take_orphan(struct daemon *d, struct flow *f,
		       const struct journal_flow *is, uint64_t now_ms)
{
	struct tuple wire;
	int err;

	if (!is->n[FLOW_OURS])
		return -ENOENT;
	err = take_side(f, is, FLOW_OURS);
	if (!err)
		err = take_side(f, is, FLOW_THEIRS);
	wire = flow_wire_tuple(f);
	if (!err && !flow_accepts(f, &wire))
		err = -EINVAL;
	if (!err)
		err = track_take(d, f, NULL, now_ms);
	if (err)
		return err;
	adopt_way_back(d, f);
	f->reason = REASON_NO_PEER;
	return 0;
}

/* Nothing is translated, and its owner has stopped. */
static void take_reserved(struct daemon *d, struct flow *f,
			  const struct journal_flow *is, uint64_t now_ms)
{
	struct assoc *a = take_peer(d, is->peer);

	if (a)
		assoc_reserve(a, f, now_ms);
}

static void take_flow(struct daemon *d, struct flow *f,
		      const struct journal_flow *is, uint64_t now_ms)
{
	char text[TUPLE_TEXT_MAX];
	int err;

	if (f->cookie && f->cookie != is->cookie)
		return; /* a new socket on the same tuple is a new flow */
	if (!is->tracked && is->peer && !is->n[FLOW_OURS]) {
		take_reserved(d, f, is, now_ms);
		return;
	}
	f->moves = is->moves;
	err = is->tracked ? take_owned(d, f, is, now_ms) :
			    take_orphan(d, f, is, now_ms);
	if (!err) {
		d->adopt->taken++;
		return;
	}
	d->adopt->left++;
	f->moves = 0;
	log_warn(d->log, "cannot take up %s: %s",
		 tuple_format(&f->identity, text), strerror(-err));
}

void adopt_flows(struct daemon *d, uint64_t now_ms)
{
	struct adopt *a = d->adopt;
	struct journal_flow is;

	if (!a)
		return;
	for (struct book_flow *b = a->book.flows; b; b = b->hh.next) {
		struct flow *f = flow_find(&d->flows, &b->identity);

		if (!f)
			continue;
		book_flow_get(b, &is);
		take_flow(d, f, &is, now_ms);
	}
	log_notice(d->log, "took up %u connections of an earlier run",
		   a->taken);
}

/* ---- what is left behind -------------------------------------------------- */

struct orphans {
	struct daemon *d;
	unsigned int ended;
};

/* Its journal was lost or is not to be believed, or there is no room. With the
 * table gone it would send by an address that is not ours any more, or to one
 * that is not its peer's. A socket that is not the journal's is a new one. */
static void on_steered(const struct tuple *t, uint64_t left_ms, void *arg)
{
	struct orphans *o = arg;
	struct daemon *d = o->d;
	const struct flow *f = flow_find(&d->flows, t);
	const struct book_flow *b = adopt_book_flow(d, t);
	struct sockdiag_entry e;
	struct journal_flow is;

	(void)left_ms;
	if ((f && f->protected) || sockdiag_lookup(d->sockdiag, t, 0, &e) ||
	    e.state == SOCKDIAG_TIME_WAIT)
		return;
	if (b) {
		book_flow_get(b, &is);
		if (e.cookie != is.cookie)
			return;
	}
	if (!sockdiag_destroy(d->sockdiag, t, 0, e.cookie))
		o->ended++;
}

/* While the old table stands, by which their RST is translated. */
unsigned int adopt_end_orphans(struct daemon *d)
{
	struct orphans o = { .d = d };
	int err = steer_elements(d->steer, STEER_OUT, on_steered, &o);

	if (err)
		log_warn(d->log, "connections of an earlier run: %s",
			 strerror(-err));
	if (o.ended)
		log_warn(d->log, "ended %u connections of an earlier run that "
				 "had moved and cannot be taken up", o.ended);
	return o.ended;
}

/* ---- tombstones --------------------------------------------------------- */

struct grave {
	struct tuple tuple;
	uint64_t until_ms;
};

struct graves {
	struct daemon *d;
	uint64_t now_ms;
	size_t n;
	struct grave *grave; /* FLOW_TOMBSTONES_MAX */
};

static void on_tombstone(const struct tuple *t, uint64_t left_ms, void *arg)
{
	struct graves *g = arg;

	if (!left_ms || g->n == FLOW_TOMBSTONES_MAX)
		return;
	if (left_ms > FLOW_TOMBSTONE_MS)
		left_ms = FLOW_TOMBSTONE_MS;
	g->grave[g->n].tuple = *t;
	g->grave[g->n++].until_ms = g->now_ms + left_ms;
}

/* A wire tuple of a flow that has ended, or is not taken up. */
static void on_wire(const struct tuple *t, uint64_t left_ms, void *arg)
{
	struct graves *g = arg;

	(void)left_ms;
	if (!flow_find_wire(&g->d->flows, t))
		on_tombstone(t, FLOW_TOMBSTONE_MS, arg);
}

static int by_end(const void *a, const void *b)
{
	const struct grave *x = a, *y = b;

	return x->until_ms < y->until_ms ? -1 : x->until_ms > y->until_ms;
}

/* They are nowhere but in the kernel. And what was translated until now must
 * not come to the stack as it is: it would answer. (Where sockets were ended
 * it shall: their RST may have met a queue without a reader.) */
void adopt_tombstones(struct daemon *d, bool wires, uint64_t now_ms)
{
	struct graves g = {
		.d = d,
		.now_ms = now_ms,
		.grave = calloc(FLOW_TOMBSTONES_MAX, sizeof(*g.grave)),
	};
	int err = g.grave ? steer_elements(d->steer, STEER_DROP, on_tombstone,
					     &g) :
			    -ENOMEM;

	if (!err && wires)
		err = steer_elements(d->steer, STEER_IN, on_wire, &g);
	if (err)
		log_warn(d->log, "tombstones of an earlier run: %s",
			 strerror(-err));
	if (g.n)
		qsort(g.grave, g.n, sizeof(*g.grave), by_end);
	for (size_t i = 0; i < g.n; i++)
		flow_tombstone_restore(&d->flows, &g.grave[i].tuple,
				       g.grave[i].until_ms);
	free(g.grave);
	if (g.n)
		d->divert.idle_ms = now_ms + FLOW_TOMBSTONE_MS + 1000;
}

void adopt_finish(struct daemon *d)
{
	struct adopt *a = d->adopt;
	struct assoc *assoc;
	struct track *t;

	if (!a)
		return;
	LIST_FOREACH(assoc, &d->assocs, entry)
		for (int side = 0; side < FLOW_SIDES; side++)
			LIST_FOREACH(t, &assoc->tracks[side], entry)
				t->book = NULL;
	d->adopt = NULL;
	book_free(&a->book);
	free(a->data);
	free(a);
}

/* When the peer answered last is not in the journal: as if it did now. */
void adopt_greet(struct daemon *d, uint64_t now_ms)
{
	struct assoc *a;
	struct track *t;

	LIST_FOREACH(a, &d->assocs, entry) {
		LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry)
			t->known_ms = now_ms;
		a->greet_ms = now_ms;
		assoc_renew(a, now_ms);
		assoc_touch(a);
	}
}
