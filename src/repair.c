/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * repair: puts back what others take away of ours.
 *
 * Owns when: at once, and slower where somebody takes it away again and again
 * (pace.h). Until then the events stay in their socket, unread; what is left
 * of the two guards, table and routes, keeps anything from leaving. Never
 * knows what is needed: steer's callers and retain do.
 */
#include "daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* What had gathered is read in so many parts. */
#define READS_MAX 16
/* Each is told to whoever listens to routes. */
#define REFRESH_GAP_MS 20
#define REFRESH_PART 20

static int fd_of(const struct daemon *d, enum repair_what what)
{
	return what == REPAIR_TABLE ? steer_watch_fd(d->steer) :
				      retain_watch_fd(d->retain);
}

uint64_t repair_next_ms(const struct daemon *d, enum repair_what what,
			uint64_t now_ms)
{
	return pace_next_ms(&d->repair[what].pace, now_ms);
}

void repair_note(struct daemon *d, enum repair_what what, uint64_t now_ms)
{
	pace_note(&d->repair[what].pace, now_ms);
}

/* True where it has to wait, and nothing is to be read until then. */
static bool must_wait(struct daemon *d, enum repair_what what)
{
	struct repair *r = &d->repair[what];
	uint64_t now_ms = loop_now_ms();
	uint64_t next_ms = repair_next_ms(d, what, now_ms);

	if (next_ms <= now_ms)
		return false;
	loop_remove(d->loop, fd_of(d, what));
	r->deaf_ms = next_ms;
	r->late = true;
	return true;
}

/* Is it worth a line? The last one of a row says that it is. */
static bool is_told(struct daemon *d, enum repair_what what, bool was_slow)
{
	struct repair *r = &d->repair[what];
	bool slow = pace_is_slow(&r->pace);

	if (r->late)
		COUNT(d, REPAIRS_DELAYED);
	r->late = false;
	if (slow && !was_slow)
		log_warn(d->log, "somebody keeps taking away %s: put back "
				 "every %u ms at most from now on",
			 what == REPAIR_TABLE ? "our nftables table" :
						"our rules, routes or addresses",
			 (unsigned int)PACE_GAP_MAX_MS);
	return !slow || !was_slow;
}

static void on_table(uint32_t events, void *arg)
{
	struct daemon *d = arg;
	bool slow = pace_is_slow(&d->repair[REPAIR_TABLE].pace);
	int err;

	(void)events;
	if (must_wait(d, REPAIR_TABLE))
		return;
	if (!steer_watch(d->steer)) {
		d->repair[REPAIR_TABLE].late = false;
		return;
	}
	for (int i = 1; i < READS_MAX && steer_watch(d->steer) > 0; i++)
		;
	COUNT(d, TABLE_RESTORED);
	err = divert_rebuild(d, loop_now_ms());
	if (is_told(d, REPAIR_TABLE, slow))
		log_warn(d->log, "somebody changed our nftables table: %s",
			 err ? strerror(-err) : "restored");
}

static int read_losses(struct daemon *d, struct retain_lost *sum)
{
	struct retain_lost lost;
	int n, all = 0;

	memset(sum, 0, sizeof(*sum));
	for (int i = 0; i < READS_MAX; i++) {
		n = retain_watch(d->retain, &lost);
		sum->displaced |= lost.displaced;
		if (n <= 0)
			break;
		all += n;
		sum->rules += lost.rules;
		sum->routes += lost.routes;
		sum->addresses += lost.addresses;
		sum->devices += lost.devices;
		sum->unknown |= lost.unknown;
		if (addr_is_set(&lost.last))
			sum->last = lost.last;
	}
	return all;
}

/* How many families' rules had to move. */
static unsigned int place(struct daemon *d)
{
	struct retain_placed p;
	int err = retain_place(d->retain, &p);

	if (err)
		log_warn(d->log, "our rules cannot be put in front of others': "
			 "%s", strerror(-err));
	if (p.moved && p.first.preference)
		log_info(d->log, "a rule of others (preference %" PRIu32
			 ", table %" PRIu32 ") came before ours: these have "
			 "%" PRIu32 " and the next one now",
			 p.first.preference, p.first.table, p.preference);
	if (p.blocked)
		log_warn(d->log, "a rule of others (preference %" PRIu32
			 ", table %" PRIu32 ") leaves no room for ours in front "
			 "of it: it may take packets of moved flows",
			 p.blocking.preference, p.blocking.table);
	if (p.marked)
		log_warn(d->log, "a rule of others (preference %" PRIu32
			 ", fwmark %#" PRIx32 "/%#" PRIx32 ") uses our bit of "
			 "the mark: one of the two must change, see `mark`",
			 p.marking.preference, p.marking.mark, p.marking.mask);
	return err ? 0 : p.moved;
}

static void tell_marks(struct daemon *d, const struct markuse *use, int err)
{
	if (err)
		log_warn(d->log, "who uses our bit of the mark is not known: "
			 "%s", strerror(-err));
	else if (use->rules)
		log_warn(d->log, "%u rules of others use our bit of the mark, "
			 "the first in chain %s of table %s %s (handle %" PRIu64
			 "): one of the two must change, see `mark`",
			 use->rules, use->chain, use->family, use->table,
			 use->handle);
}

void repair_look(struct daemon *d)
{
	struct markuse use;
	int err = markuse_look(d->conf->mark, &use);

	(void)place(d);
	tell_marks(d, &use, err);
}

/* Where a firewall has many rules it takes seconds. */
struct repair_marks {
	uint32_t bit;
	bool again; /* somebody has asked since */
	struct markuse use;
	int err;
	atomic_bool done; /* the last thing that the thread touches */
};

static void look_at_marks(void *arg)
{
	struct repair_marks *m = arg;

	m->err = markuse_look(m->bit, &m->use);
	atomic_store(&m->done, true);
}

static void begin_marks(struct daemon *d)
{
	struct repair_marks *m = calloc(1, sizeof(*m));
	int err = -ENOMEM;

	if (m) {
		m->bit = d->conf->mark;
		err = aside_do(d->aside, look_at_marks, m);
	}
	if (err) {
		tell_marks(d, NULL, err);
		free(m);
		return;
	}
	d->marks = m;
}

static void end_marks(struct daemon *d)
{
	struct repair_marks *m = d->marks;

	if (!m || !atomic_load(&m->done))
		return;
	d->marks = NULL;
	if (m->again)
		begin_marks(d);
	else
		tell_marks(d, &m->use, m->err);
	free(m);
}

void repair_look_again(struct daemon *d)
{
	(void)place(d);
	if (d->marks)
		d->marks->again = true;
	else
		begin_marks(d);
}

static void on_losses(uint32_t events, void *arg)
{
	struct daemon *d = arg;
	bool slow = pace_is_slow(&d->repair[REPAIR_ROUTES].pace);
	char text[ADDR_TEXT_MAX];
	struct retain_lost lost;
	int n;

	(void)events;
	if (must_wait(d, REPAIR_ROUTES))
		return;
	n = read_losses(d, &lost);
	if (lost.displaced && place(d))
		repair_note(d, REPAIR_ROUTES, loop_now_ms());
	if (!n) {
		d->repair[REPAIR_ROUTES].late = false;
		return;
	}
	d->counters.value[COUNTER_ROUTES_RESTORED] += (uint64_t)n;
	repair_note(d, REPAIR_ROUTES, loop_now_ms());
	if (is_told(d, REPAIR_ROUTES, slow))
		log_warn(d->log, "somebody took away rules (%u), routes (%u), "
				 "addresses (%u) or devices (%u) of ours%s%s%s: "
				 "restored", lost.rules, lost.routes,
			 lost.addresses, lost.devices,
			 addr_is_set(&lost.last) ? ", the last one for " : "",
			 addr_is_set(&lost.last) ?
				 addr_format(&lost.last, text) : "",
			 lost.unknown ? ", and more" : "");
}

static int listen_to(struct daemon *d, enum repair_what what)
{
	int fd = fd_of(d, what);

	if (fd < 0) /* owned: nobody else can change it */
		return 0;
	return loop_add(d->loop, fd, EPOLLIN,
			what == REPAIR_TABLE ? on_table : on_losses, d);
}

int repair_listen(struct daemon *d)
{
	int err = listen_to(d, REPAIR_TABLE);

	return err ? err : listen_to(d, REPAIR_ROUTES);
}

void repair_refresh_soon(struct daemon *d)
{
	uint64_t now_ms = loop_now_ms();

	if (!d->refresh_ms)
		d->refresh_ms = d->refresh_next_ms > now_ms ?
			d->refresh_next_ms : now_ms;
}

/* Where routes come and go all the time it takes a part of ours. */
static void refresh(struct daemon *d, uint64_t now_ms)
{
	int err = retain_refresh(d->retain);
	uint64_t took_ms = loop_now_ms() - now_ms;

	d->refresh_ms = 0;
	d->refresh_next_ms = now_ms + REFRESH_GAP_MS +
			     REFRESH_PART * took_ms;
	if (!err)
		return;
	log_debug(d->log, "a guard's route is not written anew: %s",
		  strerror(-err));
	d->refresh_ms = now_ms + PACE_GAP_MAX_MS;
}

void repair_step(struct daemon *d, uint64_t now_ms)
{
	end_marks(d);
	if (d->refresh_ms && now_ms >= d->refresh_ms)
		refresh(d, now_ms);
	for (int what = 0; what < REPAIR_MAX; what++) {
		struct repair *r = &d->repair[what];

		if (!r->deaf_ms || now_ms < r->deaf_ms)
			continue;
		/* Without memory: once more. */
		r->deaf_ms = listen_to(d, (enum repair_what)what) ?
			now_ms + PACE_GAP_MAX_MS : 0;
	}
}

uint64_t repair_deadline_ms(const struct daemon *d)
{
	uint64_t ms = d->refresh_ms;

	for (int what = 0; what < REPAIR_MAX; what++)
		if (d->repair[what].deaf_ms &&
		    (!ms || d->repair[what].deaf_ms < ms))
			ms = d->repair[what].deaf_ms;
	return ms;
}
