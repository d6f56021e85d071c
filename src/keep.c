/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keep: writes the journal while the daemon runs.
 *
 * Owns the file in runtime_dir, what has been written of whom, and when it is
 * written anew. Never reads it (adopt.c). A journal that cannot be written is
 * removed: an old one would be believed.
 *
 * Nothing is synchronised to a disk: what was written outlives the process,
 * and is not to outlive the machine.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define REWRITE_MIN (256u << 10) /* smaller ones are not written anew */
/* Nothing says of a peer that it has gone. As many more may come until we look
 * at it. */
#define REWRITE_NUMBERS (JOURNAL_PEERS_MAX / 2)
#define RETRY_MS 1000

/* ---- the file ------------------------------------------------------------ */

int keep_path(const struct daemon *d, const char *suffix,
	      char path[KEEP_PATH_MAX])
{
	int n = snprintf(path, KEEP_PATH_MAX, "%s/journal%s",
			 d->conf->runtime_dir, suffix);

	return n < KEEP_PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Zero where the kernel does not say: then all boots are one. */
void keep_boot_id(uint8_t id[JOURNAL_BOOT_ID_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	char text[64] = "";
	unsigned int n = 0;
	int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);

	memset(id, 0, JOURNAL_BOOT_ID_SIZE);
	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	for (const char *c = text; *c && n < 2 * JOURNAL_BOOT_ID_SIZE; c++) {
		const char *digit = strchr(digits, *c);

		if (!digit)
			continue;
		id[n / 2] = (uint8_t)(id[n / 2] << 4 | (digit - digits));
		n++;
	}
}

int keep_lock(struct daemon *d)
{
	int fd = open(d->conf->runtime_dir,
		      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &st))
		err = -errno;
	else if (!st.st_nlink) /* removed by who has just ended */
		err = -ENOENT;
	if (err) {
		close(fd);
		return err;
	}
	d->keep.lock = fd;
	return 0;
}

static int write_out(struct keep *k)
{
	size_t at = 0;

	while (at < k->len) {
		ssize_t n = write(k->fd, k->buffer + at, k->len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += (size_t)n;
	}
	k->size += k->len;
	k->len = 0;
	return 0;
}

static void give_up(struct daemon *d, int err)
{
	struct keep *k = &d->keep;
	char path[KEEP_PATH_MAX];

	log_err(d->log, "cannot write the journal: %s; what has moved would "
			"not outlive this process", strerror(-err));
	COUNT(d, JOURNAL_ERRORS);
	close(k->fd);
	k->fd = -1;
	k->len = 0;
	if (!keep_path(d, "", path))
		unlink(path);
	if (!keep_path(d, ".new", path))
		unlink(path);
	k->retry_ms = loop_now_ms() + RETRY_MS;
}

static void put(struct daemon *d, const struct journal_record *r)
{
	struct keep *k = &d->keep;
	size_t n;
	int err = 0;

	if (k->fd < 0)
		return;
	if (sizeof(k->buffer) - k->len < JOURNAL_RECORD_MAX)
		err = write_out(k);
	n = err ? 0 : journal_encode(r, k->buffer + k->len,
				     sizeof(k->buffer) - k->len);
	k->len += n;
	if (!n)
		give_up(d, err ? err : -EMSGSIZE);
}

void keep_flush(struct daemon *d)
{
	struct keep *k = &d->keep;
	int err = 0;

	if (k->fd < 0 || !k->len)
		return;
	err = write_out(k);
	if (err)
		give_up(d, err);
}

/* ---- records -------------------------------------------------------------- */

static uint32_t number_of(struct daemon *d, struct assoc *a)
{
	struct journal_record r;

	if (a->kept)
		return a->kept;
	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_PEER;
	r.peer.number = ++d->keep.numbers;
	r.peer.port = peer_port(a->peer);
	memcpy(r.peer.key, peer_key(a->peer), sizeof(r.peer.key));
	a->kept = r.peer.number;
	put(d, &r);
	return a->kept;
}

static struct journal_track_key key_of(struct track *t)
{
	return (struct journal_track_key){
		.peer = number_of(t->assoc->d, t->assoc),
		.id = t->id,
		.side = t->side,
	};
}

static void put_ports(struct track *t, uint64_t ports)
{
	struct daemon *d = t->assoc->d;
	struct journal_record r;
	struct flow *f;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_PORTS;
	r.ports.key = key_of(t);
	r.ports.ports = ports;
	LIST_FOREACH(f, &t->group.flows, in_group[t->side]) {
		uint16_t port = flow_port(f, t->side, ports);
		const struct endpoint *at = t->side == FLOW_OURS ?
			&f->identity.local : &f->identity.remote;

		if (port == at->port)
			continue;
		r.ports.port[r.ports.n].flow_id = f->claim.flow_id;
		r.ports.port[r.ports.n++].port = port;
		if (r.ports.n < JOURNAL_PORTS_MAX)
			continue;
		put(d, &r);
		r.ports.n = 0;
	}
	put(d, &r);
}

/* The choice of ports of a locator, once. */
static void need_ports(struct track *t, const struct locator *l,
		       uint64_t kept[KEEP_PORTS], unsigned int *n)
{
	bool old = false;

	if (!l->ports || *n == KEEP_PORTS)
		return;
	for (unsigned int i = 0; i < *n; i++)
		if (kept[i] == l->ports)
			return;
	for (unsigned int i = 0; i < KEEP_PORTS; i++)
		old = old || t->kept_ports[i] == l->ports;
	kept[(*n)++] = l->ports;
	if (!old)
		put_ports(t, l->ports);
}

/* Only locators that are accepted have ports that matter. */
static void need_all_ports(struct track *t)
{
	const struct accepted *acc = t->side == FLOW_OURS ?
		t->mover.accepted : t->follower.accepted;
	unsigned int n_acc = t->side == FLOW_OURS ? t->mover.n_accepted :
						    t->follower.n_accepted;
	uint64_t kept[KEEP_PORTS] = { 0 };
	unsigned int n = 0;

	for (unsigned int i = 0; i < n_acc; i++)
		need_ports(t, &acc[i].locator, kept, &n);
	memcpy(t->kept_ports, kept, sizeof(kept));
}

static void put_track(struct track *t)
{
	struct journal_record r;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_TRACK;
	r.track.key = key_of(t);
	r.track.remote = t->remote;
	r.track.mark = t->mark;
	r.track.uid = t->uid;
	memcpy(r.track.ifname, t->ifname, sizeof(r.track.ifname));
	r.track.tunnel = t->tunnel;
	r.track.ports = t->ports;
	r.track.moves = t->moves;
	r.track.wish = t->wish;
	r.track.way = t->way;
	r.track.mover = t->mover;
	r.track.follower = t->follower;
	need_all_ports(t);
	put(t->assoc->d, &r);
	t->kept = true;
}

void keep_track(struct track *t)
{
	if (t->assoc->d->keep.fd < 0)
		return;
	put_track(t);
	keep_flush(t->assoc->d);
}

void keep_track_later(struct track *t)
{
	if (t->assoc->d->keep.fd >= 0)
		put_track(t);
}

void keep_track_end(struct track *t)
{
	struct journal_record r;

	if (!t->kept || t->assoc->d->keep.fd < 0)
		return;
	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_TRACK_END;
	r.track_end = key_of(t);
	t->kept = false;
	put(t->assoc->d, &r);
}

static void fill_path(const struct flow *f, struct journal_flow *j)
{
	const struct flow_path *p = f->path;

	for (int side = 0; p && side < FLOW_SIDES; side++) {
		j->n[side] = p->n[side];
		j->send[side] = p->send[side];
		for (unsigned int i = 0; i < p->n[side]; i++) {
			j->end[side][i] = p->end[side][i];
			j->end[side][i].ifindex = 0;
		}
	}
}

static void put_flow(struct daemon *d, struct flow *f)
{
	struct track *ours = track_of(f, FLOW_OURS);
	struct track *theirs = track_of(f, FLOW_THEIRS);
	struct assoc *a = f->peer ? peer_user(f->peer) : NULL;
	struct journal_record r;

	if (ours && !ours->kept)
		put_track(ours);
	if (theirs && !theirs->kept)
		put_track(theirs);
	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_FLOW;
	r.flow.identity = f->identity;
	r.flow.peer = a ? number_of(d, a) : 0;
	r.flow.cookie = f->cookie;
	r.flow.flow_id = f->claim.flow_id;
	r.flow.moves = f->moves;
	r.flow.tracked = a && ours && theirs && f->claim.flow_id;
	if (r.flow.tracked) {
		r.flow.track[FLOW_OURS] = ours->id;
		r.flow.track[FLOW_THEIRS] = theirs->id;
		r.flow.moves -= ours->moves + theirs->moves;
	} else {
		fill_path(f, &r.flow);
	}
	put(d, &r);
	f->kept = true;
}

void keep_flow(struct daemon *d, struct flow *f)
{
	keep_flow_later(d, f);
	if (d->keep.fd >= 0)
		keep_flush(d);
}

void keep_flow_later(struct daemon *d, struct flow *f)
{
	if (d->keep.fd >= 0)
		put_flow(d, f);
}

/* It is no haste: its socket is gone, or it goes on without us. */
void keep_flow_end(struct daemon *d, struct flow *f)
{
	struct journal_record r;

	if (!f->kept)
		return;
	f->kept = false;
	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_FLOW_END;
	r.flow_end = f->identity;
	put(d, &r);
}

/* ---- the whole --------------------------------------------------------- */

static int file_new(struct daemon *d)
{
	char path[KEEP_PATH_MAX];
	int err = keep_path(d, ".new", path);

	if (err)
		return err;
	unlink(path);
	d->keep.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC |
				O_NOFOLLOW, 0600);
	return d->keep.fd < 0 ? -errno : 0;
}

static int file_done(struct daemon *d)
{
	char path[KEEP_PATH_MAX];
	char temp[KEEP_PATH_MAX];
	int err = keep_path(d, "", path);

	if (!err)
		err = keep_path(d, ".new", temp);
	if (!err && rename(temp, path))
		err = -errno;
	return err;
}

static void forget_numbers(struct daemon *d)
{
	struct assoc *a;
	struct track *t;

	d->keep.numbers = 0;
	LIST_FOREACH(a, &d->assocs, entry) {
		a->kept = 0;
		for (int side = 0; side < FLOW_SIDES; side++)
			LIST_FOREACH(t, &a->tracks[side], entry) {
				t->kept = false;
				memset(t->kept_ports, 0,
				       sizeof(t->kept_ports));
			}
	}
}

static void put_all(struct daemon *d)
{
	struct journal_record r;
	struct flow *f;

	memset(&r, 0, sizeof(r));
	r.type = JOURNAL_START;
	keep_boot_id(r.start.boot_id);
	put(d, &r);
	for (f = flow_first(&d->flows); f; f = flow_next(f)) {
		f->kept = false;
		if ((f->protected || f->reserved) && !f->ended)
			put_flow(d, f);
	}
}

static void rewrite(struct daemon *d)
{
	struct keep *k = &d->keep;
	int err;

	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
	k->len = k->size = 0;
	k->retry_ms = 0;
	forget_numbers(d);
	err = file_new(d);
	if (!err)
		put_all(d);
	keep_flush(d);
	if (!err && k->fd >= 0)
		err = file_done(d);
	k->ours = k->ours || !err;
	if (err)
		give_up(d, err);
	k->rewrite_at = 2 * k->size > REWRITE_MIN ? 2 * k->size : REWRITE_MIN;
	if (k->rewrite_at > JOURNAL_FILE_MAX)
		k->rewrite_at = JOURNAL_FILE_MAX;
}

void keep_open(struct daemon *d)
{
	rewrite(d);
}

void keep_step(struct daemon *d, uint64_t now_ms)
{
	struct keep *k = &d->keep;

	keep_flush(d);
	if (k->fd < 0 ? k->retry_ms && now_ms >= k->retry_ms :
			k->size >= k->rewrite_at ||
				k->numbers >= REWRITE_NUMBERS)
		rewrite(d);
}

void keep_close(struct daemon *d, bool remove)
{
	char path[KEEP_PATH_MAX];

	if (!remove)
		keep_flush(d);
	if (d->keep.fd >= 0)
		close(d->keep.fd);
	d->keep.fd = -1;
	if (remove && d->keep.ours && !keep_path(d, "", path))
		unlink(path);
}
