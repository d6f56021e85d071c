/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unheard: peers that answer no more where their moved flows go.
 *
 * Owns when such flows are held, and when they go on. A flow that is where it
 * began is the kernel's own business and lives as without us; where one has
 * moved to, its packets go because its peer has named that address, and another
 * host may have it by now (sacip(7), "Paths"). A daemon may be gone and its host
 * not: whose TCP acknowledges what is sent there has it still.
 */
#include "daemon.h"

#include <string.h>

#include "handover_impl.h"

#define LOOK_MS 1000 /* a socket of a track is asked so often */
#define ASK_MIN_MS 10000 /* who is silent is asked so often, ... */
#define ASK_MAX_MS 120000 /* ... and the longer that lasts the less */

static const struct addr *sends_to(const struct track *t)
{
	return &t->follower.sending.addr;
}

bool unheard_concerns(const struct track *t, const struct flow *f)
{
	return !addr_equal(sends_to(t), &f->identity.remote.addr);
}

static bool has_moved(const struct track *t)
{
	const struct flow *f;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS])
		if (unheard_concerns(t, f))
			return true;
	return false;
}

/* Is the other end's TCP heard, by any of its flows, since then? From where they
 * go to, and not from elsewhere that it may send from. */
static bool is_heard_since(const struct track *t, uint64_t since_ms)
{
	const struct flow *f;

	if (t->follower.n_accepted > 1)
		return false;
	if (since_ms < t->others_ms)
		since_ms = t->others_ms;
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_THEIRS])
		if (f->heard_ms > since_ms && !f->ended &&
		    unheard_concerns(t, f))
			return true;
	return false;
}

static bool is_heard_lately(const struct track *t, uint64_t now_ms)
{
	return now_ms > PEER_VALID_MS &&
	       is_heard_since(t, now_ms - PEER_VALID_MS);
}

void unheard_end(struct track *t, uint64_t now_ms)
{
	t->unheard_ms = 0;
	handover_hold(t, false, now_ms);
}

static bool is_valid(const struct track *t, uint64_t now_ms)
{
	uint64_t ms = peer_remote_validated_ms(t->assoc->peer, sends_to(t));

	if (ms < t->known_ms)
		ms = t->known_ms;
	return ms && now_ms - ms < PEER_VALID_MS;
}

void unheard_missed(struct track *t, uint64_t now_ms)
{
	if (is_valid(t, now_ms) || !has_moved(t))
		return;
	if (!t->silent_ms)
		t->silent_ms = now_ms;
	if (t->unheard_ms || t->work || follower_holds(&t->follower) ||
	    is_heard_lately(t, now_ms))
		return;
	t->unheard_ms = now_ms;
	handover_hold(t, true, now_ms);
}

void unheard_ask(struct track *t, uint64_t now_ms)
{
	t->asked_ms = 0;
	t->assoc->renew_ms = now_ms;
	assoc_touch(t->assoc);
}

void unheard_ask_all(struct daemon *d, uint64_t now_ms)
{
	struct assoc *a;
	struct track *t;

	LIST_FOREACH(a, &d->assocs, entry)
		LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry)
			if (t->unheard_ms || t->silent_ms)
				unheard_ask(t, now_ms);
}

void unheard_note(struct flow *f, const struct sockdiag_entry *e,
		  uint64_t now_ms)
{
	struct track *t = track_of(f, FLOW_THEIRS);

	if (f->identity.proto != IPPROTO_TCP)
		return;
	f->heard_ms = e->info.last_ack_recv_ms < now_ms ?
			      now_ms - e->info.last_ack_recv_ms : 0;
	if (!t || !t->unheard_ms || f->heard_ms <= t->unheard_ms)
		return;
	unheard_ask(t, now_ms);
}

void unheard_look(struct daemon *d, struct flow *f, uint64_t now_ms)
{
	struct track *t = track_of(f, FLOW_THEIRS);
	struct sockdiag_entry e;

	if (!t || !t->unheard_ms || now_ms - t->unheard_look_ms < LOOK_MS)
		return;
	t->unheard_look_ms = now_ms;
	if (!sockdiag_lookup(d->sockdiag, &f->identity, 0, &e))
		unheard_note(f, &e, now_ms);
}

void unheard_step(struct track *t, uint64_t now_ms)
{
	if (t->unheard_ms && is_heard_since(t, t->unheard_ms))
		unheard_end(t, now_ms);
	else if (t->silent_ms && is_valid(t, now_ms))
		t->silent_ms = 0;
}

void unheard_result(struct assoc *a, const struct peer_path *path, bool ok,
		    uint64_t now_ms)
{
	const struct addr *remote = &path->remote.addr;
	struct track *t;

	LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry) {
		if (!addr_equal(sends_to(t), remote))
			continue;
		if (!ok) {
			unheard_missed(t, now_ms);
			continue;
		}
		t->silent_ms = 0;
		if (t->unheard_ms)
			unheard_end(t, now_ms);
	}
}

uint64_t unheard_due_ms(const struct track *t, uint64_t now_ms)
{
	uint64_t since_ms = t->unheard_ms, least_ms = ASK_MIN_MS;
	uint64_t at_ms = t->asked_ms, wait_ms;

	if (!since_ms && t->silent_ms && is_heard_lately(t, now_ms)) {
		since_ms = t->silent_ms;
		least_ms = PEER_RENEW_MS;
	}
	if (!at_ms || !since_ms)
		return at_ms ? at_ms + PEER_RENEW_MS : 0;
	if (at_ms < since_ms)
		at_ms = since_ms;
	wait_ms = (at_ms - since_ms) / 2;
	if (wait_ms < least_ms)
		wait_ms = least_ms;
	return at_ms + (wait_ms < ASK_MAX_MS ? wait_ms : ASK_MAX_MS);
}
