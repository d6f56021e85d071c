/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * later: how often the numbers of a peer's track are answered.
 *
 * Owns the tokens of its track and of its peer, and the newest MOVE that has
 * none yet. Whoever asks too often is answered late, never refused for it;
 * copies of what was answered are not answered at all, then. Never looks at
 * what a MOVE wants.
 */
#include "daemon.h"

#include <stdlib.h>

#include "handover_impl.h"

/* When its peer has a token. All parts of a MOVE cost one, and so does a copy
 * of what was refused: each leads to a look at sockets, and may to work of the
 * kernel's, which other peers wait for. */
static uint64_t peer_next_ms(const struct track *t, uint64_t seq,
			     uint64_t now_ms)
{
	if (t->looked_seq == seq && t->answered_seq != seq)
		return now_ms;
	return bucket_next_ms(&t->assoc->moves, &migrate_peer, now_ms);
}

/* Of all that time may be spent on, others' moves need some. */
static const struct bucket_kind peer_looks = {
	.burst = PEER_LOOKS_BURST,
	.token_ms = PEER_LOOKS_TOKEN_MS,
};

static bool needs_look(const struct track *t)
{
	return t->group.digest.count > TRACK_FEW;
}

/* Sockets are looked for only so often, and what nobody has looked for is not
 * known to be free. */
static uint64_t look_next_ms(const struct track *t, uint64_t seq,
			     uint64_t now_ms)
{
	uint64_t all_ms = discover_rests_ms(t->assoc->d), own_ms;

	if (!needs_look(t))
		return 0;
	if (t->looked_seq == seq && t->answered_seq != seq)
		return all_ms;
	own_ms = bucket_next_ms(&t->assoc->looks, &peer_looks, now_ms);
	return own_ms > all_ms ? own_ms : all_ms;
}

/* A number that was refused may be asked for again, as the answer may be lost,
 * but copies of its MOVE are answered once. What that costs comes out of the
 * peer's bucket: the track's is as full as the mover takes it to be. */
bool later_may_answer(const struct track *t, const struct wire_move *m,
		      uint64_t now_ms)
{
	if (peer_next_ms(t, m->seq, now_ms) > now_ms)
		return false;
	if (t->answered_seq == m->seq)
		return now_ms >= t->answered_ms + MIGRATE_COPY_MS &&
		       bucket_next_ms(&t->assoc->unpaid, &migrate_numbers,
				      now_ms) <= now_ms;
	return bucket_next_ms(&t->answers, &migrate_numbers, now_ms) <=
		       now_ms &&
	       look_next_ms(t, m->seq, now_ms) <= now_ms;
}

bool later_look(struct track *t, const struct wire_move *m, uint64_t now_ms)
{
	if (t->looked_seq == m->seq && t->answered_seq != m->seq)
		return false;
	t->looked_seq = m->seq;
	if (needs_look(t))
		(void)bucket_take(&t->assoc->looks, &peer_looks, now_ms);
	return bucket_take(&t->assoc->moves, &migrate_peer, now_ms);
}

void later_answered(struct track *t, const struct wire_move *m,
		    uint64_t now_ms)
{
	(void)bucket_take(t->answered_seq == m->seq ? &t->assoc->unpaid :
						      &t->answers,
			  &migrate_numbers, now_ms);
	t->answered_seq = m->seq;
	t->answered_ms = now_ms;
	if (t->later && t->later->message.move.seq <= m->seq)
		later_drop(t);
}

void later_keep(struct track *t, const struct peer_rx *rx)
{
	if (!t->later)
		t->later = malloc(sizeof(*t->later));
	if (!t->later)
		return; /* its PTO brings it again */
	t->later->local = rx->local;
	t->later->remote = rx->remote;
	t->later->message = *rx->message;
	agenda_touch(&t->assoc->d->agenda[AGENDA_MOVES], t->assoc);
}

uint64_t later_due_ms(const struct track *t)
{
	uint64_t ms, next_ms;

	if (!t->later || t->work)
		return UINT64_MAX;
	ms = look_next_ms(t, t->later->message.move.seq, 0);
	next_ms = bucket_next_ms(&t->answers, &migrate_numbers, 0);
	if (next_ms > ms)
		ms = next_ms;
	next_ms = peer_next_ms(t, t->later->message.move.seq, 0);
	return next_ms > ms ? next_ms : ms;
}

struct later *later_take(struct track *t)
{
	struct later *l = t->later;

	t->later = NULL;
	return l;
}

void later_drop(struct track *t)
{
	free(later_take(t));
}
