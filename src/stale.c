/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stale: TCP segments that are held for so long that they would do harm.
 *
 * A segment in a queue is to its sender one that is under way. It is sent once
 * (tcp_retransmit_timer() tries again each 500 ms and finds the packet still
 * in the host), so when it is acknowledged after half a minute TCP takes that
 * for the round trip, measured on a segment that was never repeated, and no
 * option in the segment would change that (tcp_clean_rtx_queue()). The timer
 * is then three times as long, and the next loss costs a minute and a half.
 *
 * So a segment that is held for a second is given up: TCP repeats it, backs
 * off, and takes no sample of what it has repeated but by the time stamps of
 * the last copy. The copy is held anew. One is kept for longer: the first, where
 * the sender's own timer has not run out, since nothing else would start the
 * flow again, and no sample below the timer makes it longer. That is the timer
 * without its backoff, which is all that a wake-up can undo. When the hold is
 * over and no segment is left, the sender is woken (wake_own()).
 *
 * The other end measures too, by the time stamp that a segment of ours gives
 * back: that of what had come before the hold, whenever ours was made. After a
 * hold so long it gives none back (rewrite_forget_echo()), and neither does
 * what the socket sends until it has heard something newer.
 *
 * A hold may have no end, as the peer is away for good or wants it so. No
 * datagram is held for more than twenty seconds, as who waits for it has sent
 * another, and no segment for longer than the longest timer of TCP.
 *
 * Owns these rules.
 */
#include "daemon.h"

#include "pkt.h"
#include "rewrite.h"
#include "standstill.h"

#define LOOK_MS 100

enum hold_kind stale_kind(const struct pkt *p)
{
	if (p->proto != IPPROTO_TCP || p->fragment ||
	    p->tcp_flags & (PKT_TCP_RST | PKT_TCP_SYN))
		return HOLD_ANY;
	return p->payload_len || p->tcp_flags & PKT_TCP_FIN ? HOLD_SEGMENT :
							      HOLD_ACK;
}

void stale_begin(struct daemon *d, uint64_t now_ms)
{
	if (!d->stale_ms)
		d->stale_ms = now_ms + STALE_MS;
}

/* Nobody can wake one that wants to hear of ICMP errors: see wake.c. Nor one
 * whose timer is longer by itself than it has waited. */
static bool has_timed_out(struct daemon *d, const struct flow *f,
			  uint64_t held_ms)
{
	struct sockdiag_entry e;

	if (sockdiag_lookup(d->sockdiag, &f->identity, 0, &e))
		return false;
	return !e.recverr && standstill_base_ms(&e.info) <= held_ms;
}

/* A copy that is held for less than a second would do less harm, and still
 * be taken for a round trip of that time: who can be woken sends a new one. */
void stale_end(struct daemon *d, struct flow *f, unsigned int *lookups)
{
	if (!f->transit)
		return;
	if (f->transit->old_echo)
		f->transit->echo_is_old = true;
	if (!*lookups || !hold_first_segment(&f->transit->held))
		return;
	--*lookups;
	if (wake_can(d, f) && divert_drop_stale(d, f, UINT64_MAX, true))
		f->transit->stale = true;
}

bool stale_echo(struct flow *f, const struct pkt *p, const uint8_t *data)
{
	if (!f->transit || !f->transit->echo_is_old)
		return false;
	f->transit->echo_is_old =
		rewrite_echo(p, data) == f->transit->old_echo;
	return f->transit->echo_is_old;
}

static void give_up(struct daemon *d, struct flow *f, uint64_t now_ms,
		    unsigned int *lookups)
{
	const struct hold_packet *h =
		hold_first_segment(&f->transit->held);
	bool first = false;

	if (h && now_ms - h->at_ms > STALE_MS && *lookups) {
		--*lookups;
		first = has_timed_out(d, f, now_ms - h->at_ms);
	}
	if (divert_drop_stale(d, f, now_ms - STALE_MS, first))
		f->transit->stale = true;
	if (divert_drop_old(d, f, now_ms - STALE_DATAGRAM_MS,
			    now_ms - STALE_MOST_MS))
		f->transit->stale = true;
}

void stale_step(struct daemon *d, uint64_t now_ms)
{
	unsigned int lookups = STALE_LOOKUPS_MAX;
	struct hold_flow *h, *next;

	if (!d->stale_ms || now_ms < d->stale_ms)
		return;
	for (h = LIST_FIRST(&d->hold.waiting); h; h = next) {
		next = LIST_NEXT(h, in_waiting);
		give_up(d, h->owner, now_ms, &lookups);
	}
	d->stale_ms = LIST_EMPTY(&d->hold.waiting) ? 0 : now_ms + LOOK_MS;
}
