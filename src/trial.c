/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * trial: shows that a new path carries the flows of a track (nonce.h).
 *
 *	mover	ACCEPT has come: picks a flow of each protocol (the pilots),
 *		sends a nonce on the new wire tuple of each
 *	peer	takes it, answers with one of its own on that very tuple
 *	mover	takes that: the path carries flows, both ways
 *
 * A nonce of TCP repeats what the flow has sent last. That is seen in a copy
 * (tap.h): an idle socket is made to send an ACK. One that comes with other
 * numbers than it was sent with counts as none: the path rewrites them.
 *
 * That the kernel took a nonce does not say that it has left: it waits in our
 * own queue first, and what becomes of it behind that nobody is told (filters
 * of the host's own, an interface without a carrier). So a copy has to show it;
 * of a path that none has been sent on nothing is said.
 *
 * Owns the pilots and the taps of a track, and every nonce. Never decides what
 * follows from one (the core does), never sends more of them than the core asks
 * for: the peer's are answers, as many and as large as what they answer. Where
 * the numbers are not known at once, both are sent as soon as they are.
 */
#include "daemon.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "nonce.h"
#include "pkt.h"

#define LINGER_MS 500 /* a tap costs every packet of the host a look */
#define KNOWN_MS 1000 /* numbers are of the present */
#define IDLE_MS 15 /* who has sent nothing for so long may have been asked
		    * before: tcp_invalid_ratelimit */
#define PAUSE_MAX_MS (4 * IDLE_MS) /* between two looks at what it did send */
#define LATE_MS 10000 /* what was sent in a trial comes no later */
#define REJECTED_MS MIGRATE_PTO_MAX_MS /* a box answers sooner */
#define CANDIDATES 4 /* TCP flows that are asked for their numbers */
#define LOOKUPS 16 /* and for when they sent last */
#define READS 16
#define UNKNOWN_MAX 3 /* more are needed, ... */
#define UNKNOWN_MS 600 /* and so long: a socket answers once in
			* tcp_invalid_ratelimit, and may have answered to a
			* claim just now */

enum { PILOT_TCP, PILOT_UDP, PILOTS };

struct trial {
	uint64_t seq; /* of the move */
	uint64_t pilot[PILOTS]; /* struct flow's id; 0 none */
	bool wanted[PILOTS]; /* there are flows of it: one has to cross */
	bool sent[PILOTS], crossed[PILOTS];
	bool left[PILOTS]; /* the host, as far as can be known */
	struct tap *exit[PILOTS]; /* open until one has ... */
	struct tuple way[PILOTS]; /* ... for this pair */
	uint8_t mac[PILOTS][NONCE_MAC_SIZE]; /* of the last one */
	uint64_t began_ms;
	bool spoken; /* a nonce of TCP has left */
	unsigned int unknown; /* no TCP flow told its numbers, so many times */
	uint64_t unknown_ms; /* for the first time */
	struct tap *tap;
	struct tuple at; /* the pair that it is open for ... */
	uint64_t opened_ms; /* ... since then */
	uint64_t end_ms; /* nothing has used it since LINGER_MS */
	/* Numbers were asked for and not seen: the copies are read again ... */
	uint64_t look_ms; /* 0: no */
	uint32_t pause_ms; /* ... and after twice that again */
	struct tuple question; /* the peer's half: what is to be answered */
};

static const uint8_t protos[PILOTS] = { IPPROTO_TCP, IPPROTO_UDP };

static int pilot_of(uint8_t proto)
{
	return proto == IPPROTO_TCP ? PILOT_TCP : PILOT_UDP;
}

/* ---- numbers ------------------------------------------------------------ */

/* Of what was sent before it may be a repetition. */
static void note_numbers(struct flow *f, const struct nonce_numbers *n,
			 uint32_t next, uint64_t now_ms)
{
	struct flow_transit *t = f->transit;
	bool is_new = !t->sent_ms || now_ms - t->sent_ms > KNOWN_MS ||
		      (int32_t)(next - t->sent.seq) > 0;
	uint32_t seq = is_new ? next : t->sent.seq;

	t->sent = *n;
	t->sent.seq = seq;
	t->sent_ms = now_ms;
}

void trial_note(struct flow *f, const struct pkt *p, const uint8_t *data,
		uint64_t now_ms)
{
	struct nonce_numbers n;

	if (!f->transit || p->proto != IPPROTO_TCP || p->fragment ||
	    !(p->tcp_flags & PKT_TCP_ACK))
		return;
	wake_heard(f, p->payload_len);
	nonce_numbers_in(p, data, &n);
	note_numbers(f, &n, p->tcp_seq + p->payload_len +
			    !!(p->tcp_flags & PKT_TCP_FIN), now_ms);
}

static struct flow *find(struct daemon *d, const struct tuple *t)
{
	struct flow *f = flow_find_steered(&d->flows, t);

	if (!f)
		f = flow_find(&d->flows, t);
	return f && f->protected ? f : NULL;
}

static void close_exit(struct trial *r, int i)
{
	tap_close(r->exit[i]);
	r->exit[i] = NULL;
}

static void close_exits(struct trial *r)
{
	for (int i = 0; i < PILOTS; i++)
		close_exit(r, i);
}

/* A nonce, on its way out. */
static void note_left(struct daemon *d, const struct tap_packet *p)
{
	const int i = pilot_of(p->tuple.proto);
	struct flow *f = find(d, &p->tuple);
	const struct track *t = f ? track_of(f, FLOW_OURS) : NULL;
	struct trial *r = t ? t->trial : NULL;

	if (!r || !r->exit[i] ||
	    !crypto_equal(p->mac, r->mac[i], NONCE_MAC_SIZE))
		return;
	r->left[i] = true;
	close_exit(r, i);
}

static void on_copy(const struct tap_packet *p, void *arg)
{
	struct daemon *d = arg;
	struct flow *f = flow_find(&d->flows, &p->tuple);
	struct nonce_numbers n;

	if (p->mac) { /* what a socket says is said by others */
		if (p->outgoing)
			note_left(d, p);
		return;
	}
	if (!f)
		f = flow_find_wire(&d->flows, &p->tuple);
	if (!f || !f->transit || !p->outgoing || !(p->flags & PKT_TCP_ACK) ||
	    p->flags & (PKT_TCP_SYN | PKT_TCP_RST))
		return;
	wake_heard(f, p->payload_len);
	memset(&n, 0, sizeof(n));
	n.ack = p->ack;
	n.window = p->window;
	n.stamped = p->stamped;
	n.tsval = p->tsval;
	n.tsecr = p->tsecr;
	note_numbers(f, &n, p->seq + p->payload_len +
			    !!(p->flags & PKT_TCP_FIN), p->when_ms);
}

static void close_tap(struct trial *r)
{
	tap_close(r->tap);
	r->tap = NULL;
}

static bool same_pair(const struct tuple *a, const struct tuple *b)
{
	return addr_equal(&a->local.addr, &b->local.addr) &&
	       addr_equal(&a->remote.addr, &b->remote.addr);
}

static bool watches(const struct trial *r, const struct tuple *wire)
{
	return r->tap && same_pair(&r->at, wire);
}

/* What does it send next? Its socket answers at once, over a path that it has:
 * by the locator that is in use. False where nothing was asked. */
static bool ask_numbers(struct daemon *d, struct trial *r, struct flow *f)
{
	struct tuple wire = flow_wire_tuple(f);

	if (f->hold || !flow_transit(f))
		return false;
	if (!watches(r, &wire)) {
		close_tap(r);
		if (tap_open(d->trial_taps, &r->tap, IPPROTO_TCP,
			     &wire.local.addr, &wire.remote.addr)) {
			r->tap = NULL;
			return false;
		}
		r->at = wire;
		r->opened_ms = loop_now_ms();
	}
	if (!f->answers)
		wake_unheard(f);
	wake_poke(d, f);
	return true;
}

static void read_copies(struct daemon *d)
{
	for (int i = 0; i < READS; i++)
		taps_receive(d->trial_taps, on_copy, d);
}

/* The answer may wait in a queue: of ours, or in one that a worker reads. */
static bool knows_numbers(struct daemon *d, const struct trial *r,
			  const struct flow *f)
{
	if (f->steered & (1u << FLOW_STEER_OUT))
		divert_read_out(d);
	read_copies(d);
	if (f->transit->sent_ms >= r->opened_ms)
		return true;
	return f->transit->sent_ms &&
	       loop_now_ms() - f->transit->sent_ms <= KNOWN_MS &&
	       loop_now_ms() - r->opened_ms >= IDLE_MS;
}

/* Not seen yet: nobody is asked again, since the kernel answers one in
 * tcp_invalid_ratelimit. */
static void look_later(struct trial *r, uint64_t now_ms)
{
	if (r->look_ms)
		return;
	r->pause_ms = IDLE_MS;
	r->look_ms = now_ms + r->pause_ms;
}

static bool learn_numbers(struct daemon *d, struct trial *r, struct flow *f)
{
	if (f->identity.proto != IPPROTO_TCP)
		return true;
	if (!ask_numbers(d, r, f))
		return false;
	if (knows_numbers(d, r, f))
		return true;
	look_later(r, loop_now_ms());
	return false;
}

/* Without asking. */
static bool is_known_now(struct daemon *d, struct trial *r, struct flow *f)
{
	struct tuple wire = flow_wire_tuple(f);

	return f->transit && !f->hold && watches(r, &wire) &&
	       knows_numbers(d, r, f);
}

/* ---- pilots ------------------------------------------------------------- */

/* Its socket sends plain acknowledgments. */
static bool can_acknowledge(const struct flow *f)
{
	switch (f->state) {
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSE_WAIT:
	case TCP_LAST_ACK:
	case TCP_CLOSING:
		return true;
	default:
		return false;
	}
}

/* The peer's half may hold it for reasons of its own. */
static bool is_suitable(const struct flow *f, uint8_t proto)
{
	const struct track *theirs = track_of(f, FLOW_THEIRS);

	return f->identity.proto == proto && !f->ended && f->protected &&
	       theirs && !follower_holds(&theirs->follower) &&
	       (proto == IPPROTO_UDP || can_acknowledge(f));
}

/*
 * Those come first that sent data last: a path that does not carry them costs
 * most, and what a box in between has seen of them is of now.
 *
 * TCP: tcpi_last_data_sent of the socket, retransmissions included. The last
 * dump has told it of all, and pick() asks once more those that sent last by
 * that. Who has never sent counts from when it was connected.
 * UDP: no socket tells. What counts is the last datagram that went by the
 * daemon's own queue, which is all while the flow is held and none of those
 * that nobody or the kernel rewrites. Where none went, any will do.
 */
static struct flow *candidate(struct track *t, uint8_t proto,
			      const struct flow *const not[], unsigned int n)
{
	struct flow *f, *best = NULL;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
		bool known = false;

		for (unsigned int i = 0; i < n; i++)
			known = known || not[i] == f;
		if (!known && is_suitable(f, proto) &&
		    (!best || f->sent_ms > best->sent_ms))
			best = f;
	}
	return best;
}

/* Those that sent last, for all that is known, in no order; how many. */
static unsigned int last_senders(struct track *t, struct flow *last[LOOKUPS])
{
	unsigned int n = 0, first = 0;
	struct flow *f;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
		if (!is_suitable(f, IPPROTO_TCP))
			continue;
		if (n < LOOKUPS)
			last[n++] = f;
		else if (f->sent_ms > last[first]->sent_ms)
			last[first] = f;
		else
			continue;
		for (unsigned int i = first = 0; i < n; i++)
			if (last[i]->sent_ms < last[first]->sent_ms)
				first = i;
	}
	return n;
}

/* A dump may be of half a minute ago. */
static void ask_when_sent(struct track *t)
{
	struct daemon *d = t->assoc->d;
	struct flow *last[LOOKUPS];
	unsigned int n = last_senders(t, last);

	for (unsigned int i = 0; i < n; i++) {
		struct flow *f = last[i];
		struct sockdiag_entry e;

		if (!sockdiag_lookup(d->sockdiag, &f->identity, 0, &e))
			discover_note_sent(f, &e, loop_now_ms());
	}
}

/* The first whose numbers are known; NULL. */
static struct flow *pick(struct track *t, struct trial *r, uint8_t proto,
			 bool (*is_known)(struct daemon *, struct trial *,
					  struct flow *))
{
	const struct flow *not[CANDIDATES];
	struct flow *f;

	for (unsigned int n = 0; n < CANDIDATES; n++) {
		f = candidate(t, proto, not, n);
		if (!f || is_known(t->assoc->d, r, f))
			return f;
		not[n] = f;
	}
	return NULL;
}

static void note_lost(struct daemon *d, uint64_t now_ms)
{
	if (taps_lost(d->trial_taps))
		d->trial_lost_ms = now_ms;
}

static struct trial *get(struct track *t, uint64_t seq, uint64_t now_ms)
{
	struct trial *r = t->trial;

	if (!r)
		r = t->trial = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	if (r->seq != seq) {
		r->seq = seq;
		r->began_ms = now_ms;
		note_lost(t->assoc->d, now_ms);
		close_exits(r);
		memset(r->left, 0, sizeof(r->left));
		memset(r->pilot, 0, sizeof(r->pilot));
		memset(r->wanted, 0, sizeof(r->wanted));
		memset(r->sent, 0, sizeof(r->sent));
		memset(r->crossed, 0, sizeof(r->crossed));
		r->spoken = false;
		r->unknown = 0;
		r->look_ms = 0;
	}
	r->end_ms = now_ms + LINGER_MS;
	agenda_touch(&t->assoc->d->agenda[AGENDA_MOVES], t->assoc);
	return r;
}

static bool is_trying(const struct track *t)
{
	return t->side == FLOW_OURS && t->mover.trying &&
	       t->trial->seq == t->mover.seq;
}

bool trial_ready(struct track *t)
{
	return candidate(t, IPPROTO_TCP, NULL, 0) ||
	       candidate(t, IPPROTO_UDP, NULL, 0);
}

/* ---- nonces -------------------------------------------------------------- */

/* `mac`: what the packet bears. */
static bool transmit(struct daemon *d, const struct flow *f,
		     const struct tuple *at, const uint8_t *key,
		     const struct nonce_about *about,
		     uint8_t mac[NONCE_MAC_SIZE])
{
	static const struct nonce_numbers none;
	const struct nonce_numbers *n = at->proto == IPPROTO_TCP &&
			f->transit ? &f->transit->sent : &none;
	uint8_t packet[NONCE_PACKET_MAX];
	int len;

	nonce_mac(key, about, n, mac);
	len = nonce_build(at, n, mac, packet, sizeof(packet));
	if (len < 0 || tap_send(d->injector, packet, (size_t)len, f->mark))
		return false;
	COUNT(d, NONCES_TX);
	return true;
}

static struct nonce_about of_mover(const struct track *t, const struct flow *f,
				   enum nonce_way way)
{
	return (struct nonce_about){
		.way = way, .track = t->id, .seq = t->mover.seq,
		.flow_id = f->claim.flow_id,
	};
}

/* The pilot, or another flow where that is gone. */
static struct flow *pilot(struct track *t, struct trial *r, int i)
{
	struct flow *f = r->pilot[i] ? flow_find_id(&t->assoc->d->flows,
						    r->pilot[i]) : NULL;

	if (f && f->group[FLOW_OURS] == &t->group &&
	    is_suitable(f, protos[i]) && learn_numbers(t->assoc->d, r, f))
		return f;
	if (i == PILOT_TCP)
		ask_when_sent(t);
	return pick(t, r, protos[i], learn_numbers);
}

/* Where nobody can look it is taken for sent: of those that the kernel takes
 * most are. */
static void watch_exit(struct daemon *d, struct trial *r, int i,
		       const struct tuple *at)
{
	if (r->left[i] || (r->exit[i] && same_pair(&r->way[i], at)))
		return;
	close_exit(r, i);
	r->way[i] = *at;
	if (tap_open(d->trial_taps, &r->exit[i], protos[i], &at->local.addr,
		     &at->remote.addr)) {
		r->exit[i] = NULL;
		r->left[i] = true;
	}
}

/* One that could not leave with the first has as long to cross as they. */
static void send_one(struct track *t, struct trial *r, int i, struct flow *f,
		     uint64_t now_ms)
{
	const struct locator *to = &t->mover.target;
	struct nonce_about about = of_mover(t, f, NONCE_FROM_MOVER);
	struct tuple at = flow_wire_tuple(f);

	at.local.addr = to->addr;
	at.local.port = flow_port(f, FLOW_OURS, to->ports);
	r->pilot[i] = f->id;
	if (!r->crossed[i])
		watch_exit(t->assoc->d, r, i, &at);
	r->sent[i] = r->crossed[i] ||
		     transmit(t->assoc->d, f, &at, t->mover.challenge, &about,
			      r->mac[i]);
	if (i != PILOT_TCP || !r->sent[i] || r->spoken)
		return;
	r->spoken = true;
	if (r->unknown)
		mover_extend_trial(&t->mover, now_ms);
}

/* One that has left may yet be answered. */
static bool is_under_way(const struct trial *r)
{
	for (int i = 0; i < PILOTS; i++)
		if (r->sent[i] && !r->crossed[i])
			return true;
	return false;
}

/* Every protocol that the track has flows of has an answer. */
static bool is_answered(const struct trial *r)
{
	bool any = false;

	for (int i = 0; i < PILOTS; i++) {
		if (r->wanted[i] && !r->crossed[i])
			return false;
		any = any || r->wanted[i];
	}
	return any;
}

/* No TCP flow tells its numbers, and no other flow speaks for them. */
static bool waits_for_numbers(struct track *t, struct trial *r,
			      uint64_t now_ms)
{
	if (r->unknown > UNKNOWN_MAX && now_ms - r->unknown_ms >= UNKNOWN_MS)
		return false;
	mover_extend_trial(&t->mover, now_ms);
	return true;
}

bool trial_send(struct track *t, const struct migrate_action *act,
		uint64_t now_ms)
{
	struct trial *r = get(t, act->seq, now_ms);
	bool unknown = false;

	if (!r)
		return false;
	for (int i = 0; i < PILOTS; i++) {
		struct flow *f = pilot(t, r, i);

		r->sent[i] = false;
		r->wanted[i] = f || candidate(t, protos[i], NULL, 0);
		if (f)
			send_one(t, r, i, f, now_ms);
		else if (r->wanted[i]) /* datagrams have no numbers */
			unknown = true;
	}
	if (unknown && !r->unknown++)
		r->unknown_ms = now_ms;
	return is_under_way(r) || is_answered(r) ||
	       (unknown && waits_for_numbers(t, r, now_ms));
}

/* What has the form of a nonce. */
struct found {
	struct nonce_numbers n;
	const uint8_t *mac;
};

static struct found found_in(const struct pkt *p, const uint8_t *data,
			     const uint8_t *mac)
{
	struct found is = { .mac = mac };

	nonce_numbers_in(p, data, &is.n);
	return is;
}

/* Not where a number came as another than was sent, either. */
static bool is_right(const struct found *is, const uint8_t *key,
		     const struct nonce_about *about)
{
	uint8_t right[NONCE_MAC_SIZE];

	nonce_mac(key, about, &is->n, right);
	return crypto_equal(is->mac, right, sizeof(right));
}

/* Whoever is the pilot by now. It speaks for its protocol alone: of another that
 * could not speak yet nothing is known. */
static void note_crossed(struct track *t, uint8_t proto)
{
	struct trial *r = t->trial;
	const int i = pilot_of(proto);

	if (r->crossed[i])
		return;
	r->crossed[i] = true;
	close_exit(r, i);
	if (!is_answered(r) && !is_under_way(r))
		mover_extend_trial(&t->mover, loop_now_ms());
}

/* The peer's, on the tuple that we asked for. */
static bool take_answer(struct flow *f, const struct tuple *at,
			const struct found *is)
{
	struct track *t = track_of(f, FLOW_OURS);
	struct nonce_about about;

	if (!t || !t->trial || !is_trying(t) ||
	    !addr_equal(&at->local.addr, &t->mover.target.addr))
		return false;
	about = of_mover(t, f, NONCE_FROM_PEER);
	if (!is_right(is, t->mover.challenge, &about))
		return false;
	note_crossed(t, f->identity.proto);
	agenda_touch(&t->assoc->d->agenda[AGENDA_MOVES], t->assoc);
	return true;
}

/* What a nonce of the mover on that tuple must be like; false where none is
 * due. */
static bool due_from_mover(const struct flow *f, const struct tuple *at,
			   struct nonce_about *about)
{
	const struct track *t = track_of(f, FLOW_THEIRS);

	memset(about, 0, sizeof(*about));
	if (!t || !follower_nonce_seq(&t->follower, &at->remote.addr,
				      loop_now_ms(), &about->seq))
		return false;
	about->way = NONCE_FROM_MOVER;
	about->track = t->id;
	about->flow_id = f->claim.flow_id;
	return true;
}

/* Whoever has seen a nonce can send it again. Each may cost a tap and a probe,
 * answered or not, so each counts, and one too many does not even keep the tap
 * open. */
static bool may_answer(struct track *t, uint64_t seq)
{
	if (t->nonces_seq != seq) {
		t->nonces_seq = seq;
		t->nonces = 0;
		t->nonces_tcp = false;
	}
	if (t->nonces >= MIGRATE_ACCEPT_REPEATS_MAX)
		return false;
	t->nonces++;
	return true;
}

static bool answer(struct daemon *d, struct flow *f, const struct tuple *at,
		   struct nonce_about *about)
{
	struct track *t = track_of(f, FLOW_THEIRS);
	uint8_t mac[NONCE_MAC_SIZE];

	about->way = NONCE_FROM_PEER;
	if (!transmit(d, f, at, t->follower.challenge, about, mac))
		return false;
	t->nonces_tcp = t->nonces_tcp || at->proto == IPPROTO_TCP;
	if (flow_transit(f))
		f->transit->answered_ms = loop_now_ms();
	return true;
}

/* One for one, of the same size, to an address that has had our challenge. */
static void take_question(struct daemon *d, struct flow *f,
			  const struct tuple *at, const struct found *is)
{
	struct track *t = track_of(f, FLOW_THEIRS);
	struct nonce_about about;
	struct trial *r;
	bool known;

	if (!due_from_mover(f, at, &about) ||
	    !is_right(is, t->follower.challenge, &about) ||
	    !may_answer(t, about.seq))
		return;
	r = get(t, about.seq, loop_now_ms());
	if (!r)
		return;
	d->steps++; /* what is heard meanwhile ends no flow */
	known = learn_numbers(d, r, f);
	d->steps--;
	if (known)
		answer(d, f, at, &about);
	else
		r->question = *at;
}

/* Of ours nothing but an answer goes there, and a box that resets both ends may
 * have seen the question alone: then the mover, that waits for the answer where
 * it is, has sent nothing else from there. But the mover's own RST comes once:
 * whoever may have sent it is heard. */
bool trial_may_be_rejected(const struct flow *f, uint64_t now_ms)
{
	const struct track *t = track_of(f, FLOW_THEIRS);
	bool answered;

	if (f->transit && f->transit->answered_ms &&
	    now_ms < f->transit->answered_ms + REJECTED_MS)
		return true;
	answered = t->nonces_seq == t->follower.pending && t->nonces_tcp;
	return t->follower.state == FOLLOWER_OFFERED && !answered &&
	       !follower_holds(&t->follower) &&
	       now_ms < t->follower.accept_ms + MIGRATE_TRY_MAX_MS;
}

void trial_heard(struct flow *f)
{
	if (f->transit)
		f->transit->answered_ms = 0;
}

/* One that was on its way, or was seen and is sent again, shall not reach a
 * socket: a datagram would be read. Of TCP it is an ACK that says nothing new. */
static bool is_late(const struct flow *f, uint64_t now_ms)
{
	const struct track *ours = track_of(f, FLOW_OURS);
	const struct track *theirs = track_of(f, FLOW_THEIRS);

	if (ours && (ours->mover.trying || mover_target(&ours->mover) ||
		     now_ms < ours->mover.try_end_ms + LATE_MS))
		return true;
	return theirs && (theirs->follower.state == FOLLOWER_OFFERED ||
			  now_ms < theirs->follower.accept_ms + LATE_MS ||
			  now_ms < theirs->follower.done_ms + LATE_MS);
}

bool trial_take(struct daemon *d, const struct tuple *at, const struct pkt *p,
		const uint8_t *data, const uint8_t *mac)
{
	const struct found is = found_in(p, data, mac);
	struct flow *f = find(d, at);

	if (!f)
		return false;
	COUNT(d, NONCES_RX);
	if (!take_answer(f, at, &is))
		take_question(d, f, at, &is);
	return is_late(f, loop_now_ms());
}

bool trial_is_ours(struct daemon *d, const struct tuple *at,
		   const struct pkt *p, const uint8_t *data,
		   const uint8_t *mac)
{
	const struct found is = found_in(p, data, mac);
	struct flow *f = find(d, at);
	const struct track *t = f ? track_of(f, FLOW_OURS) : NULL;
	struct nonce_about about;

	if (!f)
		return false;
	if (t && t->trial) {
		about = of_mover(t, f, NONCE_FROM_MOVER);
		if (is_right(&is, t->mover.challenge, &about))
			return true;
	}
	if (!due_from_mover(f, at, &about))
		return false;
	about.way = NONCE_FROM_PEER;
	return is_right(&is, track_of(f, FLOW_THEIRS)->follower.challenge,
			&about);
}

/* ---- time ---------------------------------------------------------------- */

bool trial_is_over(const struct track *t)
{
	return t->trial && is_trying(t) && is_answered(t->trial);
}

/* Copies that nobody got may have been of nonces. */
static bool can_tell(struct daemon *d, const struct trial *r, uint64_t now_ms)
{
	read_copies(d);
	note_lost(d, now_ms);
	return d->trial_lost_ms <= r->began_ms;
}

bool trial_has_not_left(struct track *t, uint64_t now_ms)
{
	struct trial *r = t->trial;
	bool any = false;

	if (!r || !is_trying(t) || !mover_trial_ends(&t->mover, now_ms) ||
	    !can_tell(t->assoc->d, r, now_ms))
		return false;
	for (int i = 0; i < PILOTS; i++) {
		if (!r->wanted[i] || r->crossed[i])
			continue;
		if (r->left[i])
			return false;
		any = any || r->exit[i];
	}
	return any;
}

/* One that was asked; false where nothing has left. */
static bool send_late(struct track *t, struct trial *r, uint64_t now_ms)
{
	struct flow *f = pick(t, r, IPPROTO_TCP, is_known_now);

	if (f)
		send_one(t, r, PILOT_TCP, f, now_ms);
	return f && r->sent[PILOT_TCP];
}

static bool answer_late(struct track *t, struct trial *r)
{
	struct daemon *d = t->assoc->d;
	struct flow *f = find(d, &r->question);
	struct nonce_about about;

	if (!f || track_of(f, FLOW_THEIRS) != t ||
	    !due_from_mover(f, &r->question, &about) || about.seq != r->seq)
		return true; /* to nobody any more */
	return is_known_now(d, r, f) && answer(d, f, &r->question, &about);
}

/* By what has been seen meanwhile, and no other packet. */
static void look_again(struct track *t, struct trial *r, uint64_t now_ms)
{
	bool done;

	r->look_ms = 0;
	if (t->side == FLOW_OURS && (!is_trying(t) || r->sent[PILOT_TCP]))
		return;
	t->assoc->d->steps++;
	done = t->side == FLOW_OURS ? send_late(t, r, now_ms) :
				      answer_late(t, r);
	t->assoc->d->steps--;
	if (done)
		return;
	if (r->pause_ms < PAUSE_MAX_MS)
		r->pause_ms *= 2;
	r->look_ms = now_ms + r->pause_ms;
}

void trial_step(struct track *t, uint64_t now_ms)
{
	struct trial *r = t->trial;

	if (!r)
		return;
	if (r->look_ms && now_ms >= r->look_ms)
		look_again(t, r, now_ms);
	if (t->side == FLOW_OURS && !is_trying(t))
		close_exits(r);
	if (now_ms < r->end_ms)
		return;
	if (is_trying(t)) /* what a new tap would have to see once more */
		r->end_ms = now_ms + LINGER_MS;
	else
		trial_end(t);
}

uint64_t trial_due_ms(const struct track *t)
{
	const struct trial *r = t->trial;

	if (!r)
		return UINT64_MAX;
	if (trial_is_over(t))
		return 0;
	return r->look_ms && r->look_ms < r->end_ms ? r->look_ms : r->end_ms;
}

void trial_end(struct track *t)
{
	if (!t->trial)
		return;
	close_tap(t->trial);
	close_exits(t->trial);
	free(t->trial);
	t->trial = NULL;
}
