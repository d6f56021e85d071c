/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * message: the daemon's control messages, and a stand-in for sessions.
 *
 * Owns what a message becomes for migrate, and which session it may come in.
 */
#include "sim.h"

#include <string.h>

#include "mutant.h"

/* ------------------------------------------------------------ messages */

/* The handover must do without the seal's help: of its messages, whatever was
 * done to them on the way is let through. */
static bool is_sealed(const struct dgram *d)
{
	return d->kind <= D_DONE ||
	       (d->src == d->sealed_src && d->dst == d->sealed_dst);
}

static void send_sync(struct world *w, struct host *h, const struct dgram *to,
		      bool answer)
{
	struct dgram d = { .kind = D_SYNC, .from_host = h->id, .src = to->dst,
			   .dst = to->src, .session = h->session,
			   .answer = answer };

	for (unsigned int t = 0; t < TRACKS; t++) {
		d.own[t].committed = h->mover[t].committed;
		d.own[t].locator = h->mover[t].current.addr;
		d.theirs[t] = h->follower[t].committed;
		d.track_number[t] = h->mover[t].track;
		d.their_number[t] = h->follower[t].track;
	}
	d.digest = member_digest(h, true, ALL_TRACKS);
	post_send(w, h, OTHER_PAIR, &d);
}

static void session_confirmed(struct world *w, struct host *h)
{
	struct mover_event ev = { .type = MOVER_SESSION };

	trace(w, "host %d: session %llu", h->id, (unsigned long long)h->session);
	host_news(w, h);
	memset(h->has_later, 0, TRACKS * sizeof(h->has_later[0])); /* I6 */
	for (unsigned int t = 0; t < TRACKS; t++)
		host_step_mover(w, h, t, &ev, NULL);
}

#define HELLO_TRIES 3 /* doublings: once in 8 s */

static void say_hello(struct world *w, struct host *h)
{
	struct dgram d = { .kind = D_HELLO, .from_host = h->id };
	struct dgram again = { .kind = D_HELLO_TIMER, .from_host = h->id };

	if (!h->hello_waits) { /* until SYNC is answered */
		h->hello_waits = true;
		world_post(w, w->now + (1000u << h->hello_tries) +
				      world_pick(w, 1000), &again);
	}
	h->hello_session = ++w->sessions;
	d.session = h->hello_session;
	for (int i = 0; i < ADDRS; i++) {
		if (!h->owned[i])
			continue;
		d.src = h->id * ADDRS + i;
		host_send_known(w, h, OTHER_PAIR, &d);
	}
}

void host_hello(struct world *w, struct host *h)
{
	h->hello_tries = 0;
	say_hello(w, h);
}

void host_hello_again(struct world *w, struct host *h)
{
	h->hello_tries += h->hello_tries < HELLO_TRIES;
	say_hello(w, h);
}

uint64_t host_later_due(const struct host *h, unsigned int track)
{
	return h->has_later[track] ?
		       bucket_next_ms(&h->answers[track], &migrate_numbers, 0) :
		       MIGRATE_NEVER;
}

/* True where a MOVE with a new number is looked at now. */
static bool is_answered(struct world *w, struct host *h,
			const struct dgram *d)
{
	unsigned int t = d->track;

	if (d->seq == h->answered_seq[t] ?
		    w->now < h->answered_ms[t] + MIGRATE_COPY_MS :
		    bucket_next_ms(&h->answers[t], &migrate_numbers, w->now) >
			    w->now)
		return false;
	if (d->src != sim_addr_number(&d->to.addr))
		return true;
	if (d->seq != h->answered_seq[t])
		bucket_take(&h->answers[t], &migrate_numbers, w->now);
	h->answered_seq[t] = d->seq;
	h->answered_ms[t] = w->now;
	if (h->later[t].seq <= d->seq)
		h->has_later[t] = false;
	return true;
}

static void keep_for_later(struct world *w, struct host *h,
			   const struct dgram *d)
{
	struct follower_event ev = { .type = FOLLOWER_GONE, .seq = d->seq,
				     .source = sim_addr(d->src), .to = d->to,
				     .from_gone = d->from_gone };

	if (d->src != sim_addr_number(&d->to.addr) ||
	    d->seq == h->answered_seq[d->track])
		return;
	trace(w, "host %d follower %u: seq %llu waits for its answer", h->id,
	      d->track, (unsigned long long)d->seq);
	host_step_follower(w, h, d->track, &ev, d);
	if (h->has_later[d->track] && h->later[d->track].seq > d->seq)
		return;
	h->later[d->track] = *d;
	h->has_later[d->track] = true;
}

static void receive_move(struct world *w, struct host *h,
			 const struct dgram *d)
{
	struct follower *f = &h->follower[d->track];
	struct follower_event ev = { .type = FOLLOWER_MOVE, .seq = d->seq,
				     .source = sim_addr(d->src),
				     .from = d->from, .to = d->to,
				     .from_gone = d->from_gone,
				     .check = REASON_NONE };
	int to = sim_addr_number(&d->to.addr);
	bool identity = false;

	for (unsigned int i = 0; i < ALL_FLOWS; i++)
		identity |= h->flow[i].in &&
			    host_peer_track(h, i) == d->track &&
			    addr_equal(&d->to.addr, &h->flow[i].peer.addr);
	for (unsigned int i = 0; i < sizeof(ev.challenge); i++)
		ev.challenge[i] = (uint8_t)world_random(w);
	if (follower_classify(f, d->seq) == FOLLOWER_SEQ_NEW) {
		if (!is_answered(w, h, d)) {
			keep_for_later(w, h, d);
			return;
		}
		if (h->denied[to] || host_owns(h, &d->to.addr))
			ev.check = REASON_POLICY;
		else if (h->taken[to] && d->to.ports == 0 && !identity)
			ev.check = REASON_TUPLE_TAKEN;
		else if (h->digest_differs[d->track] ||
			 d->digest != member_digest(h, false, d->track))
			ev.check = REASON_DIGEST;
		else if (h->at_limit && world_chance(w, 700))
			ev.check = REASON_LIMIT;
		if (ev.check == REASON_DIGEST && world_chance(w, 500))
			h->digest_differs[d->track] = false; /* FLOWS came */
	}
	host_step_follower(w, h, d->track, &ev, d);
}

void host_answer_later(struct world *w, struct host *h, unsigned int track)
{
	const struct dgram d = h->later[track];

	h->has_later[track] = false;
	post_answers(h, true);
	receive_move(w, h, &d);
	post_answers(h, false);
}

static void receive_refuse(struct world *w, struct host *h,
			   const struct dgram *d)
{
	struct mover_event ev = { .type = MOVER_REFUSE, .seq = d->seq,
				  .reason = d->reason };
	const struct mover *m = &h->mover[d->track];

	if (d->seq == m->seq && m->state == MOVER_ASKED && !m->refused &&
	    d->reason != REASON_TUPLE_TAKEN && d->reason != REASON_DIGEST &&
	    (locator_equal(&m->target, &m->sending) || /* not of ports */
	     !addr_equal(&m->target.addr, &m->sending.addr)))
		h->refused_ms[d->track]
			[sim_addr_number(&m->target.addr) % ADDRS] = w->now;
	host_step_mover(w, h, d->track, &ev, d);
}

static void receive_done(struct world *w, struct host *h,
			 const struct dgram *d)
{
	struct mover_event ev = { .type = MOVER_DONE, .seq = d->seq };
	uint64_t before = h->mover[d->track].committed;

	if (d->accepted_addr != NO_ADDR)
		h->said[d->track][d->accepted_addr % ADDRS] = true;
	host_step_mover(w, h, d->track, &ev, d);
	if (h->mover[d->track].committed != before)
		memset(h->refused_ms[d->track], 0,
		       sizeof(h->refused_ms[d->track]));
}

static void receive_prove(struct world *w, struct host *h,
			  const struct dgram *d)
{
	struct follower_event ev = { .type = FOLLOWER_PROVE, .seq = d->seq,
				     .to = d->to };
	const struct follower *f = &h->follower[d->track];
	const uint64_t committed = f->committed;
	int to = sim_addr_number(&d->to.addr);

	memcpy(ev.challenge, d->challenge, sizeof(ev.challenge));
	for (unsigned int i = 0; i < CHALLENGES; i++) {
		const struct challenge_record *c = &h->challenge[i];

		if (i < h->n_challenges && c->dest == to && c->heard_at == to &&
		    memcmp(c->challenge, d->challenge,
			   sizeof(c->challenge)) == 0) {
			h->answered[d->track][to] = true;
			if (d->src == to)
				ledger_valid(w, h, host_other(d->track), to);
		}
	}
	host_step_follower(w, h, d->track, &ev, d);
	if (f->committed != committed && is_sealed(d) &&
	    d->src == sim_addr_number(&f->sending.addr))
		post_proved(h, host_other(d->track), d);
}

static void receive_accept(struct world *w, struct host *h,
			   const struct dgram *d)
{
	struct mover_event ev = { .type = MOVER_ACCEPT, .seq = d->seq,
				  .arrived_on = sim_addr(d->dst) };
	const struct mover *m = &h->mover[d->track];
	struct host *p = host_peer(w, h);
	bool asked;
	unsigned int flow;

	memcpy(ev.challenge, d->challenge, sizeof(ev.challenge));
	ev.pilot = host_pilot(h, d->track, &flow) &&
		   (w->healing || world_chance(w, 900));
	if (!h->mover[d->track].trying)
		h->pilot_seq[d->track] = ev.pilot ? d->seq : 0;
	for (unsigned int i = 0; i < CHALLENGES; i++)
		if (memcmp(p->challenge[i].challenge, d->challenge,
			   sizeof(d->challenge)) == 0 &&
		    p->challenge[i].heard_at != p->challenge[i].dest)
			p->challenge[i].heard_at = d->dst;
	if (d->accepted_addr != NO_ADDR)
		h->said[d->track][d->accepted_addr % ADDRS] = true;
	if (h->left_seq[d->track] == d->seq &&
	    migrate_mutant != MUTANT_left_taken_along) {
		ev.type = MOVER_REFUSE;
		ev.reason = REASON_DIGEST;
	}
	asked = m->state == MOVER_ASKED && !m->trying;
	host_step_mover(w, h, d->track, &ev, d);
	if (asked && (m->state == MOVER_SWITCHED || m->trying))
		post_validate(h, host_other(d->track), d->dst, d->src);
}

/* By then a number from before, whose ACCEPT came late, was given up. */
#define FORGOT_MS (MIGRATE_GIVE_UP_MS + 3000)

/* Of a number that both know, and that is tried now, it is the right one. */
static void check_key(struct world *w, struct host *h, const struct dgram *d)
{
	const struct mover *m = &host_peer(w, h)->mover[d->track];
	bool forgot = false;

	for (int id = 0; id < HOSTS; id++)
		forgot = forgot || (w->host[id].forgot_ms &&
				    w->host[id].forgot_ms + FORGOT_MS > w->now);
	if (m->trying && m->seq == d->seq && !forgot)
		fail(w, "host %d follower %u: the nonces of %llu have another key here",
		     h->id, d->track, (unsigned long long)d->seq);
}

/* Taken by its content where a packet of the flow is, whatever the session. */
static void receive_nonce(struct world *w, struct host *h,
			  const struct dgram *d)
{
	const struct follower *f = &h->follower[d->track];
	const struct mover *m = &h->mover[d->track];
	struct mover_event ev = { .type = MOVER_NONCE, .seq = d->seq };
	struct addr src = sim_addr(d->src);
	struct dgram back = *d;

	if (d->kind == D_NONCE_BACK) {
		if (m->trying && m->seq == d->seq &&
		    !memcmp(d->challenge, m->challenge,
			    sizeof(m->challenge))) {
			h->crossed_seq[d->track] = d->seq;
			host_step_mover(w, h, d->track, &ev, d);
		}
		return;
	}
	if (!follower_nonce_seq(f, &src, w->now, &ev.seq) || ev.seq != d->seq)
		return;
	if (memcmp(d->challenge, f->challenge, sizeof(f->challenge)) != 0) {
		check_key(w, h, d);
		return;
	}
	back.kind = D_NONCE_BACK;
	back.from_host = h->id;
	back.src = d->dst;
	back.dst = d->src;
	world_send(w, &back);
}

/* And, where the flows differ, what there are: not only from there. */
static void answer_liar(struct world *w, struct host *h,
			const struct dgram *to)
{
	struct dgram d = { .kind = D_SYNC, .from_host = h->id, .src = to->dst,
			   .dst = to->src, .session = h->liar_session,
			   .answer = true };

	post_send(w, h, OTHER_LIAR, &d);
	if (to->digest == member_digest(h, true, LIAR_TRACK))
		return;
	d.kind = D_LIST;
	host_send_known(w, h, OTHER_LIAR, &d);
}

static void receive_sync(struct world *w, struct host *h,
			 const struct dgram *d)
{
	struct mover_event m = { .type = MOVER_SYNC };
	struct follower_event f = { .type = FOLLOWER_SYNC };
	const unsigned int who = host_whose(d->session);

	host_news(w, h);
	for (unsigned int t = 0; t < MOVERS; t++) {
		if (host_other(t) != who && !MUTANT(others_track))
			continue;
		m.seq = d->theirs[t];
		if (d->their_number[t] == h->mover[t].track)
			host_step_mover(w, h, t, &m, d);
		f.seq = d->own[t].committed;
		f.to.addr = d->own[t].locator;
		if (d->track_number[t] == h->follower[t].track)
			host_step_follower(w, h, t, &f, d);
	}
	if (who == OTHER_LIAR) {
		if (!d->answer)
			answer_liar(w, h, d);
		return;
	}
	if (d->digest != member_digest(h, true, ALL_TRACKS))
		member_list(w, h);
	if (d->session == h->session && !d->forged) {
		h->hello_waits = false;
		if (!d->answer)
			send_sync(w, h, d, true);
	}
}

#define CONCURRENT_MS 3000 /* sessions made so close together may cross */

static bool sessions_concurrent(const struct host *h)
{
	return h->previous_session != 0 &&
	       h->made_ms - h->previous_made_ms < CONCURRENT_MS;
}

static void session_begin(struct world *w, struct host *h, uint64_t session)
{
	h->previous_session = h->session;
	h->previous_made_ms = h->made_ms;
	h->session = session;
	h->made_ms = w->now;
	session_confirmed(w, h);
}

/* True where the session layer would hand it up. I6: on the newest session
 * only; an answer of a peer that has forgotten since would be taken for one
 * of now. Handshakes may cross, and which is newer then is settled by what
 * both ends see alike. */
static bool liar_opens(struct world *w, struct host *h, const struct dgram *d)
{
	if (d->session != h->liar_next)
		return d->session == h->liar_session;
	h->liar_session = h->liar_next;
	h->liar_next = 0;
	h->has_later[LIAR_TRACK] = false;
	post_session(w, h, OTHER_LIAR, h->liar_dst, h->liar_src);
	host_repeat(w, h, OTHER_LIAR);
	return true;
}

static bool session_opens(struct world *w, struct host *h,
			  const struct dgram *d)
{
	uint64_t made;

	if (d->session == 0)
		return false;
	if (host_whose(d->session) == OTHER_LIAR)
		return liar_opens(w, h, d);
	if (d->session == h->next_session) {
		h->next_session = 0;
		post_session(w, h, OTHER_PAIR, h->next_dst, h->next_src);
		session_begin(w, h, d->session);
		return true;
	}
	if (d->session == h->session)
		return true;
	if (d->session != h->previous_session || !sessions_concurrent(h))
		return false;
	if (d->session < h->session) {
		h->previous_session = h->session;
		h->session = d->session;
		made = h->previous_made_ms;
		h->previous_made_ms = h->made_ms;
		h->made_ms = made;
	}
	return true;
}

static void note_hello(struct host *h, const struct dgram *d)
{
	if (host_whose(d->session) == OTHER_LIAR) {
		h->liar_next = d->session;
		h->liar_src = d->src;
		h->liar_dst = d->dst;
		return;
	}
	h->next_session = d->session;
	h->next_src = d->src;
	h->next_dst = d->dst;
}

/* One that is there, of those of whoever has sent this. */
static bool names_track(const struct host *h, const struct dgram *d)
{
	bool theirs = d->kind == D_MOVE || d->kind == D_PROVE;

	if (host_other(d->track) != host_whose(d->session) &&
	    !MUTANT(others_track))
		return false;
	return d->track_number[d->track] ==
	       (theirs ? h->follower[d->track].track :
			 h->mover[d->track].track);
}

static void receive_control(struct world *w, struct host *h,
			    const struct dgram *d)
{
	const unsigned int who = host_whose(d->session);
	struct dgram answer;

	if (d->from_host == h->id)
		return; /* each end seals with a key of its own */
	switch (d->kind) {
	case D_HELLO:
		note_hello(h, d);
		answer = (struct dgram){ .kind = D_WELCOME, .from_host = h->id,
					 .src = d->dst, .dst = d->src,
					 .session = d->session };
		post_send(w, h, who, &answer);
		return;
	case D_WELCOME:
		if (d->session != h->hello_session)
			return;
		h->hello_session = 0;
		post_session(w, h, OTHER_PAIR, d->dst, d->src);
		session_begin(w, h, d->session);
		send_sync(w, h, d, false);
		return;
	default:
		break;
	}
	if (!session_opens(w, h, d) || !is_sealed(d))
		return;
	post_authentic(w, h, who, d);
	if (d->kind <= D_DONE && !names_track(h, d))
		return;
	switch (d->kind) {
	case D_MOVE:
		receive_move(w, h, d);
		break;
	case D_ACCEPT:
		receive_accept(w, h, d);
		break;
	case D_REFUSE:
		receive_refuse(w, h, d);
		break;
	case D_PROVE:
		receive_prove(w, h, d);
		break;
	case D_DONE:
		receive_done(w, h, d);
		break;
	case D_SYNC:
		receive_sync(w, h, d);
		break;
	case D_PROBE:
	case D_PROBE_ACK:
		post_probe(w, h, who, d);
		break;
	case D_ASK:
	case D_FLOWS:
	case D_FLOWS_ACK:
	case D_LIST:
	case D_LIST_ACK:
		if (who == OTHER_LIAR)
			member_claimed(w, h, d);
		else
			member_receive(w, h, d);
		break;
	default:
		break;
	}
}

void host_receive(struct world *w, struct host *h, const struct dgram *d)
{
	struct dgram queued = *d;

	if (h->asleep)
		return;
	if (h->stopped && d->kind != D_DATA) {
		queued.queued = true;
		world_post(w, h->resume_ms, &queued);
		return;
	}
	if (d->kind == D_DATA) {
		kernel_receive(w, h, d);
		return;
	}
	if (!h->up)
		return;
	if (d->kind == D_NONCE || d->kind == D_NONCE_BACK) {
		receive_nonce(w, h, d);
		return;
	}
	post_came(w, h, d);
	receive_control(w, h, d);
	ledger_dealt_with(w, h);
	post_dealt_with(h, d);
}
