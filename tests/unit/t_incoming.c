/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * t_incoming: what a peer with a valid key can say in a handover that is not
 * so, before the core hears of it. The daemon around it is made up here.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#define assoc_send fake_send
#define claim_find fake_claim
#define claim_table_announce fake_announce
#define claim_table_digest fake_digest
#define conf_locator_check fake_locator_check
#define discover_prepare fake_prepare
#define handover_step_follower fake_step_follower
#define handover_step_mover fake_step_mover
#define agenda_touch fake_touch
#define peer_path_proved fake_path_proved
#define peer_remote_validated_ms fake_validated_ms
#define peer_table_answers fake_table_answers
#define peer_validate_path fake_validate_path
#define rtmon_is_broadcast fake_is_broadcast
#define rtmon_is_own fake_is_own
#define track_clashes fake_clashes
#define track_end_taken fake_end_taken
#define track_may_clash fake_may_clash
#define track_find fake_track
#define track_look fake_look
#define divert_read_out fake_read_out
#define wake_senders fake_wake
#define wake_ask_again fake_ask_again
#define trial_ready fake_trial
#define trial_heard fake_heard

#include "../../src/incoming.c"
#include "../../src/later.c"

#define N_FLOWS 5
#define N_MORE 16 /* tracks without flows, numbered from 1 */
#define NOW 100000

static struct daemon d;
static struct assoc a;
static struct track ours, theirs, more[N_MORE];
static struct flow flows[N_FLOWS];
static struct follower_event heard;
static bool answers, heard_in_answer; /* a message that had to wait */
static unsigned int n_heard, n_dumps, n_proved, n_probes, n_sent, n_moves;
static unsigned int n_refused; /* REFUSE, from wherever */
static enum reason check; /* of every locator */
static bool no_track, sure;

/* ---- the daemon -------------------------------------------------------- */

void agenda_touch(struct agenda *g, struct assoc *to)
{
	(void)g, (void)to;
}

int assoc_send(struct assoc *to, uint64_t now_ms, const struct addr *local,
	       const struct addr *remote, struct wire_message *m)
{
	(void)to, (void)now_ms, (void)local, (void)remote;
	n_sent++;
	n_refused += m->type == WIRE_REFUSE;
	return 0;
}

struct claim *claim_find(const struct claim_table *t, uint64_t flow_id)
{
	(void)t;
	for (int i = 0; i < N_FLOWS; i++)
		if (flows[i].claim.flow_id == flow_id)
			return &flows[i].claim;
	return NULL;
}

int claim_table_announce(struct claim_table *t, uint64_t now_ms)
{
	(void)t, (void)now_ms;
	return 0;
}

const struct claim_digest *claim_table_digest(const struct claim_table *t)
{
	(void)t;
	return &theirs.group.digest;
}

enum reason conf_locator_check(const struct conf *c, const struct addr *x,
			       const struct addr *current)
{
	(void)c, (void)x, (void)current;
	return check;
}

void discover_prepare(struct daemon *in, uint64_t now_ms)
{
	in->dumped_ms = now_ms;
	n_dumps++;
}

void handover_step_follower(struct track *t, const struct follower_event *ev,
			    uint64_t now_ms)
{
	struct migrate_actions out;

	heard = *ev;
	heard_in_answer = answers;
	n_heard++;
	n_moves += ev->type == FOLLOWER_MOVE;
	follower_step(&t->follower, ev, now_ms, &out);
	for (unsigned int i = 0; i < out.n; i++)
		n_refused += out.action[i].type == MIGRATE_SEND &&
			     out.action[i].message == MIGRATE_REFUSE;
}

void handover_step_mover(struct track *t, const struct mover_event *ev,
			 uint64_t now_ms)
{
	struct migrate_actions out;

	mover_step(&t->mover, ev, now_ms, &out);
}

void peer_path_proved(struct peer *p, uint64_t now_ms,
		      const struct endpoint *local,
		      const struct endpoint *remote)
{
	(void)p, (void)now_ms, (void)local, (void)remote;
	n_proved++;
}

uint64_t peer_remote_validated_ms(const struct peer *p, const struct addr *x)
{
	(void)p, (void)x;
	return 0;
}

void peer_table_answers(struct peer_table *t, bool answering)
{
	(void)t;
	answers = answering;
}

int peer_validate_path(struct peer *p, uint64_t now_ms,
		       const struct addr *local, const struct addr *remote)
{
	(void)p, (void)now_ms, (void)local, (void)remote;
	n_probes++;
	return 0;
}

bool rtmon_is_own(const struct rtmon *r, const struct addr *x)
{
	(void)r, (void)x;
	return false;
}

bool rtmon_is_broadcast(const struct rtmon *r, const struct addr *x)
{
	(void)r, (void)x;
	return false;
}

bool track_end_taken(const struct track *t, const struct flow *f,
		     const struct endpoint *at)
{
	(void)t, (void)f, (void)at;
	return false;
}

int track_clashes(const struct track *t, const struct locator *to,
		  struct wire_refuse *clash)
{
	(void)t, (void)to, (void)clash;
	return 0;
}

bool track_may_clash(const struct track *t)
{
	(void)t;
	return false;
}

bool track_look(struct track *t, const struct addr *x)
{
	(void)t, (void)x;
	return sure;
}

struct track *track_find(const struct assoc *of, enum flow_side side,
			 uint32_t id)
{
	(void)of;
	return no_track ? NULL : side == FLOW_OURS ? &ours :
	       id ? &more[id - 1] : &theirs;
}

int divert_read_out(struct daemon *to)
{
	(void)to;
	return 0;
}

void wake_senders(struct track *t, const struct wire_prove *m)
{
	(void)t, (void)m;
}

void wake_ask_again(struct assoc *of)
{
	(void)of;
}

void trial_heard(struct flow *f)
{
	(void)f;
}

bool trial_ready(struct track *t)
{
	(void)t;
	return true;
}

/* ---- the peer ---------------------------------------------------------- */

static struct endpoint at(uint8_t n)
{
	struct endpoint e;

	memset(&e, 0, sizeof(e));
	e.addr.family = 4;
	memcpy(e.addr.byte, (uint8_t[]){ 192, 0, 2, n }, 4);
	e.port = 1021;
	return e;
}

static int start(void **state)
{
	struct locator l = { .addr = at(1).addr };

	(void)state;
	free(theirs.parts.port);
	free(theirs.later);
	for (int i = 0; i < N_MORE; i++) {
		free(more[i].parts.port);
		free(more[i].later);
	}
	for (int i = 0; i < N_FLOWS; i++)
		free(flows[i].transit);
	memset(&d, 0, sizeof(d));
	memset(&a, 0, sizeof(a));
	memset(&ours, 0, sizeof(ours));
	memset(&theirs, 0, sizeof(theirs));
	memset(more, 0, sizeof(more));
	memset(flows, 0, sizeof(flows));
	n_heard = n_dumps = n_proved = n_probes = n_sent = n_moves = 0;
	n_refused = 0;
	check = REASON_NONE;
	no_track = false;
	sure = true;
	a.d = &d;
	share_pool_init(&d.flows.tomb_pool, FLOW_TOMBSTONES_MAX);
	ours.assoc = theirs.assoc = &a;
	theirs.side = FLOW_THEIRS;
	LIST_INSERT_HEAD(&a.tracks[FLOW_THEIRS], &theirs, entry);
	flow_group_init(&ours.group);
	flow_group_init(&theirs.group);
	mover_init(&ours.mover, 7, &(struct locator){ .addr = at(9).addr });
	follower_init(&theirs.follower, 8, &l);
	for (unsigned int i = 0; i < N_MORE; i++) {
		more[i].assoc = &a;
		more[i].side = FLOW_THEIRS;
		LIST_INSERT_HEAD(&a.tracks[FLOW_THEIRS], &more[i], entry);
		flow_group_init(&more[i].group);
		follower_init(&more[i].follower, i + 1, &l);
	}
	for (int i = 0; i < N_FLOWS; i++) {
		flows[i].claim.flow_id = 100 + (uint64_t)i;
		flow_group_enter(&flows[i], FLOW_THEIRS, &theirs.group);
	}
	return 0;
}

static void say(const struct wire_message *m, uint8_t from, uint64_t now_ms)
{
	struct peer_rx rx = { .local = at(9), .remote = at(from),
			      .newest = true, .message = m };

	handover_message(&a, now_ms, &rx);
}

static struct wire_message move(uint64_t seq, uint8_t to)
{
	struct wire_message m;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_MOVE;
	m.move.seq = seq;
	m.move.from = at(1).addr;
	m.move.to = at(to).addr;
	m.move.count = theirs.group.digest.count;
	memcpy(m.move.digest, theirs.group.digest.sum, WIRE_DIGEST_SIZE);
	m.move.parts = 1;
	return m;
}

/* ---- tests ------------------------------------------------------------- */

static void ports_beyond_the_flows_are_not_kept(void **state)
{
	struct wire_message m = move(1, 2);

	(void)state;
	m.move.parts = WIRE_PARTS_MAX;
	m.move.n = WIRE_MOVE_MAX;
	for (int i = 0; i < WIRE_MOVE_MAX; i++)
		m.move.port[i].port = 1;
	for (int part = 0; part < 100; part++) {
		m.move.part = (uint16_t)part;
		say(&m, 2, NOW);
	}
	assert_in_range(theirs.parts.n, 0, N_FLOWS);
	assert_int_equal(n_heard, 0);
}

static void ports_are_gone_when_they_were_read(void **state)
{
	struct wire_message m = move(1, 2);

	(void)state;
	m.move.n = 1;
	m.move.port[0].flow_id = 102;
	m.move.port[0].port = 4711;
	say(&m, 2, NOW);
	assert_int_equal(heard.check, REASON_NONE);
	assert_int_equal(flow_port(&flows[2], FLOW_THEIRS, heard.to.ports),
			 4711);
	assert_null(theirs.parts.port);
	assert_int_equal(theirs.follower.state, FOLLOWER_OFFERED);
}

static void another_set_of_flows_is_refused_unread(void **state)
{
	struct wire_message m = move(1, 2);

	(void)state;
	m.move.parts = 50;
	m.move.count += 5000;
	m.move.n = WIRE_MOVE_MAX;
	for (int part = 0; part < 50; part++) {
		m.move.part = (uint16_t)part;
		say(&m, 2, NOW);
	}
	assert_null(theirs.parts.port);
	assert_int_equal(n_heard, 1);
	assert_int_equal(heard.check, REASON_DIGEST);
}

/* One MOVE after the other: the sockets are looked at again when as much as
 * four times the time that it takes has passed. */
static void a_flood_of_moves_is_no_flood_of_dumps(void **state)
{
	(void)state;
	d.dump_took_ms = 100;
	for (unsigned int i = 0; i < 1000; i++) {
		struct wire_message m = move(i + 1, (uint8_t)(2 + i % 4));

		say(&m, (uint8_t)(2 + i % 4), NOW + i);
	}
	assert_in_range(n_dumps, 2, 3);
	assert_int_equal(n_refused, 0);
}

/* Seven a millisecond for ten seconds: 20, then 2 per second, and the last one
 * in the end. None is refused for coming too early. */
static void a_flood_of_moves_is_answered_now_and_then(void **state)
{
	struct wire_message m;
	uint64_t seq = 0;

	(void)state;
	for (uint64_t ms = NOW; ms < NOW + 10000; ms++) {
		for (int i = 0; i < 7; i++) {
			seq++;
			m = move(seq, (uint8_t)(2 + seq % 4));
			say(&m, (uint8_t)(2 + seq % 4), ms);
		}
		incoming_step(&a, ms);
	}
	assert_in_range(n_moves, MIGRATE_BURST + 18, MIGRATE_BURST + 20);
	incoming_step(&a, NOW + 10000 + MIGRATE_TOKEN_MS);
	assert_int_equal(heard.type, FOLLOWER_MOVE);
	assert_int_equal(heard.seq, seq);
	assert_null(theirs.later);
	assert_true(later_due_ms(&theirs) == UINT64_MAX);
	assert_int_equal(n_refused, 0);
}

static void empty_the_bucket(uint64_t *seq)
{
	struct wire_message m;

	while (bucket_next_ms(&theirs.answers, &migrate_numbers, NOW) <= NOW) {
		m = move(++*seq, 2);
		say(&m, 2, NOW);
	}
	n_heard = n_moves = 0;
}

static void a_refused_number_costs_one_token(void **state)
{
	struct wire_message m;
	uint64_t seq = 0;

	(void)state;
	check = REASON_POLICY;
	empty_the_bucket(&seq);
	assert_int_equal(seq, MIGRATE_BURST);
	m = move(seq, 2);
	say(&m, 2, NOW + MIGRATE_COPY_MS - 1);
	assert_int_equal(n_heard, 0); /* a copy */
	assert_null(theirs.later);
	say(&m, 2, NOW + MIGRATE_COPY_MS);
	assert_int_equal(n_moves, 1); /* its answer was lost */
}

/* Each has the sockets looked at, and is answered. */
static void copies_of_a_refused_number_are_bounded(void **state)
{
	struct wire_message m = move(1, 2);

	(void)state;
	check = REASON_POLICY;
	for (uint64_t ms = NOW; ms < NOW + 10000; ms++)
		say(&m, 2, ms);
	assert_in_range(n_moves, MIGRATE_BURST + 18, MIGRATE_BURST + 21);
	assert_int_equal(n_refused, n_moves);
	/* Its next number waits for none of them. */
	m = move(2, 2);
	say(&m, 2, NOW + 10000);
	assert_int_equal(heard.seq, 2);
}

static void what_is_gone_is_heard_at_once(void **state)
{
	struct wire_message m;
	uint64_t seq = 0;

	(void)state;
	check = REASON_POLICY;
	empty_the_bucket(&seq);
	m = move(++seq, 3);
	m.move.flags = WIRE_MOVE_FROM_GONE;
	say(&m, 3, NOW);
	assert_int_equal(n_moves, 0);
	assert_true(follower_holds(&theirs.follower));
	m = move(++seq, 2);
	say(&m, 2, NOW);
	m = move(seq - 1, 3); /* late: not the newest */
	say(&m, 3, NOW);
	check = REASON_NONE;
	assert_int_equal(later_due_ms(&theirs), NOW + MIGRATE_TOKEN_MS);
	incoming_step(&a, NOW + MIGRATE_TOKEN_MS);
	assert_int_equal(theirs.follower.state, FOLLOWER_OFFERED);
	assert_int_equal(theirs.follower.pending, seq);
}

static void ports_of_a_late_answer_are_kept(void **state)
{
	struct wire_message m;
	uint64_t seq = 0;

	(void)state;
	empty_the_bucket(&seq);
	seq++;
	for (uint16_t part = 0; part < 2; part++) {
		m = move(seq, 3);
		m.move.parts = 2;
		m.move.part = part;
		m.move.n = 1;
		m.move.port[0].flow_id = 102u + part;
		m.move.port[0].port = (uint16_t)(4711 + part);
		say(&m, 3, NOW);
		assert_int_equal(theirs.later != NULL, part);
	}
	incoming_step(&a, NOW + MIGRATE_TOKEN_MS);
	assert_true(heard_in_answer);
	assert_false(answers);
	assert_int_equal(heard.check, REASON_NONE);
	assert_int_equal(flow_port(&flows[2], FLOW_THEIRS, heard.to.ports),
			 4711);
	assert_int_equal(flow_port(&flows[3], FLOW_THEIRS, heard.to.ports),
			 4712);
}

static void a_new_session_forgets_what_waits(void **state)
{
	struct wire_message m;
	uint64_t seq = 0;

	(void)state;
	empty_the_bucket(&seq);
	m = move(++seq, 3);
	say(&m, 3, NOW);
	assert_non_null(theirs.later);
	handover_session(&a, NOW);
	assert_null(theirs.later);
}

static void tracks_that_are_unknown_are_refused_now_and_then(void **state)
{
	struct wire_message m;

	(void)state;
	no_track = true;
	for (unsigned int i = 0; i < 10000; i++) {
		m = move(i + 1, 2);
		say(&m, 2, NOW + i);
	}
	assert_in_range(n_sent, MIGRATE_BURST + 18, MIGRATE_BURST + 20);
	assert_int_equal(n_refused, n_sent);
}

static struct wire_message move_of(uint32_t track, uint64_t seq, uint8_t to)
{
	struct wire_message m = move(seq, to);

	if (!track)
		return m;
	m.move.track = track;
	m.move.count = 0;
	memset(m.move.digest, 0, sizeof(m.move.digest));
	return m;
}

/* Each of its tracks has tokens left. */
static void a_peer_has_one_bucket_for_all_tracks(void **state)
{
	unsigned int paced;
	uint64_t seq = 0;

	(void)state;
	for (uint64_t ms = NOW; ms < NOW + 10000; ms += 10) {
		seq++;
		for (uint32_t i = 0; i < N_MORE; i++) {
			struct wire_message m = move_of(i + 1, seq, 2);

			say(&m, 2, ms);
		}
		incoming_step(&a, ms);
	}
	assert_in_range(n_moves, MIGRATE_PEER_BURST + 78,
			MIGRATE_PEER_BURST + 81);
	paced = (unsigned int)d.counters.value[COUNTER_MOVES_PACED];
	assert_true(paced > 10000);
	/* The newest of each is answered in the end, and nothing else. */
	n_moves = 0;
	for (uint64_t ms = NOW + 10000; ms < NOW + 30000; ms++)
		incoming_step(&a, ms);
	assert_in_range(n_moves, N_MORE - 1, N_MORE);
	for (uint32_t i = 0; i < N_MORE; i++) {
		assert_null(more[i].later);
		assert_int_equal(more[i].follower.pending, seq);
	}
	assert_int_equal(n_refused, 0);
}

/* No PROVE follows, but each is looked at. */
static void moves_to_where_it_is_cost_tokens_too(void **state)
{
	struct wire_message m;
	uint64_t seq = 0;

	(void)state;
	for (uint64_t ms = NOW; ms < NOW + 10000; ms++) {
		m = move_of(1 + seq % N_MORE, seq / N_MORE + 1, 1);
		seq++;
		say(&m, 1, ms);
	}
	assert_in_range(n_moves, MIGRATE_PEER_BURST + 78,
			MIGRATE_PEER_BURST + 81);
	assert_int_equal(n_refused, 0);
}

/* Its first part has the sockets looked at, and the second never comes. */
static void a_part_of_a_move_costs_a_token_too(void **state)
{
	uint64_t seq = 0;

	(void)state;
	d.dumped_ms = NOW - 1;
	for (uint64_t ms = NOW; ms < NOW + 10000; ms++) {
		struct wire_message m = move(++seq, 2);

		m.move.parts = 2;
		say(&m, 2, ms);
	}
	assert_in_range(n_dumps, MIGRATE_PEER_BURST, MIGRATE_PEER_BURST + 81);
	/* Those of one number cost one together. */
	n_dumps = 0;
	for (uint64_t ms = NOW + 20000; ms < NOW + 20200; ms++) {
		struct wire_message m = move(seq + 1, 2);

		m.move.parts = 200;
		m.move.part = (uint16_t)(ms - NOW - 20000);
		say(&m, 2, ms);
	}
	assert_int_equal(n_dumps, 1);
	assert_int_equal(heard.type, FOLLOWER_MOVE);
	assert_int_equal(theirs.follower.pending, seq + 1);
}

/* Of no track that is known, as of one that is. */
static void a_number_that_jumps_is_not_answered(void **state)
{
	struct wire_message m = move(UINT64_MAX, 2);

	(void)state;
	say(&m, 2, NOW);
	assert_int_equal(n_dumps, 0);
	assert_int_equal(theirs.follower.floor, 1);
	no_track = true;
	say(&m, 2, NOW);
	assert_int_equal(n_sent, 0);
	assert_int_equal(d.counters.value[COUNTER_RX_UNEXPECTED], 1);
}

static void a_relayed_move_costs_nothing(void **state)
{
	struct wire_message m;

	(void)state;
	for (uint64_t ms = NOW; ms < NOW + 1000; ms++) {
		m = move(ms, 2);
		say(&m, 66, ms);
	}
	assert_int_equal(n_dumps, 0);
	m = move(1, 2);
	say(&m, 2, NOW + 1000);
	assert_int_equal(theirs.follower.state, FOLLOWER_OFFERED);
}

/* What others have there is not known: never yes. */
static void who_is_not_sure_refuses(void **state)
{
	struct wire_message m = move(1, 2);

	(void)state;
	sure = false;
	say(&m, 2, NOW);
	assert_int_equal(heard.check, REASON_LIMIT);
	assert_int_equal(theirs.follower.state, FOLLOWER_STEADY);
}

/* A look for sockets that took long: the next MOVE of many flows waits, and
 * what it says to be gone is heard. */
static void a_move_waits_for_a_look(void **state)
{
	struct wire_message m = move(1, 2);

	(void)state;
	theirs.group.digest.count = TRACK_FEW + 1;
	d.looked[FLOW_THEIRS].at_ms = NOW - 10;
	d.looked[FLOW_THEIRS].took_ms = 10;
	m.move.count = theirs.group.digest.count;
	m.move.flags = WIRE_MOVE_FROM_GONE;
	say(&m, 2, NOW);
	assert_int_equal(n_moves, 0);
	assert_true(follower_holds(&theirs.follower));
	assert_int_equal(later_due_ms(&theirs), NOW + 30);
	incoming_step(&a, NOW + 29);
	assert_int_equal(n_moves, 0);
	incoming_step(&a, NOW + 30);
	assert_int_equal(n_moves, 1);
	assert_int_equal(heard.check, REASON_NONE);
}

/* Its number is no secret: the peer can say ACCEPT from wherever it likes. */
/* They take a part of the time, of which one peer's moves would have all. */
static void a_peer_has_a_share_of_the_looks(void **state)
{
	struct wire_message m;

	(void)state;
	theirs.group.digest.count = TRACK_FEW + 1;
	for (uint64_t seq = 1; seq <= PEER_LOOKS_BURST + 1; seq++) {
		m = move(seq, (uint8_t)(1 + seq));
		m.move.count = theirs.group.digest.count;
		say(&m, (uint8_t)(1 + seq), NOW);
	}
	assert_int_equal(n_moves, PEER_LOOKS_BURST);
	assert_int_equal(later_due_ms(&theirs), NOW + PEER_LOOKS_TOKEN_MS);
	incoming_step(&a, NOW + PEER_LOOKS_TOKEN_MS - 1);
	assert_int_equal(n_moves, PEER_LOOKS_BURST);
	incoming_step(&a, NOW + PEER_LOOKS_TOKEN_MS);
	assert_int_equal(n_moves, PEER_LOOKS_BURST + 1);
}

static void who_leaves_too_much_behind_is_refused(void **state)
{
	struct wire_message m = move(1, 2);

	(void)state;
	theirs.group.tombs = &a.tombs;
	assert_int_equal(share_take(&d.flows.tomb_pool, &a.tombs,
				    FLOW_TOMBSTONES_MAX / 4 * 3),
			 SHARE_TAKEN);
	say(&m, 2, NOW);
	assert_int_equal(n_moves, 1);
	assert_int_equal(heard.check, REASON_LIMIT);
}

static void accept_proves_no_address(void **state)
{
	struct wire_message m;
	struct mover_event ev;
	struct migrate_actions out;

	(void)state;
	memset(&ev, 0, sizeof(ev));
	ev.type = MOVER_SITUATION;
	ev.cause = MIGRATE_CAUSE_OPERATOR;
	ev.current_up = ev.sending_up = true;
	ev.candidate.addr = at(10).addr;
	mover_step(&ours.mover, &ev, NOW, &out);
	assert_int_equal(ours.mover.state, MOVER_ASKED);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_ACCEPT;
	m.accept.seq = ours.mover.seq;
	say(&m, 66, NOW);
	assert_int_equal(n_proved, 0);
	assert_int_equal(n_probes, 0); /* did not even arrive at `to` */
	handover_message(&a, NOW, &(struct peer_rx){
		.local = at(10), .remote = at(1), .newest = true,
		.message = &m });
	assert_true(ours.mover.trying);
	assert_int_equal(n_proved, 0);
	assert_int_equal(n_probes, 1);
}

static void prove_proves_once(void **state)
{
	struct wire_message m = move(1, 2);

	(void)state;
	say(&m, 2, NOW);
	memset(&m, 0, sizeof(m));
	m.type = WIRE_PROVE;
	m.prove.seq = 1;
	m.prove.to = at(2).addr;
	say(&m, 2, NOW + 10);
	assert_int_equal(n_proved, 0); /* another challenge */
	memcpy(m.prove.challenge, theirs.follower.challenge,
	       WIRE_CHALLENGE_SIZE);
	say(&m, 2, NOW + 20);
	assert_int_equal(theirs.follower.committed, 1);
	assert_int_equal(n_proved, 1);
	memset(m.prove.challenge, 0, WIRE_CHALLENGE_SIZE);
	say(&m, 2, NOW + 90000);
	assert_int_equal(n_proved, 1);
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ports_beyond_the_flows_are_not_kept),
		T(ports_are_gone_when_they_were_read),
		T(another_set_of_flows_is_refused_unread),
		T(a_flood_of_moves_is_no_flood_of_dumps),
		T(a_flood_of_moves_is_answered_now_and_then),
		T(a_refused_number_costs_one_token),
		T(copies_of_a_refused_number_are_bounded),
		T(what_is_gone_is_heard_at_once),
		T(ports_of_a_late_answer_are_kept),
		T(a_new_session_forgets_what_waits),
		T(tracks_that_are_unknown_are_refused_now_and_then),
		T(a_peer_has_one_bucket_for_all_tracks),
		T(moves_to_where_it_is_cost_tokens_too),
		T(a_part_of_a_move_costs_a_token_too),
		T(a_relayed_move_costs_nothing),
		T(a_number_that_jumps_is_not_answered),
		T(who_is_not_sure_refuses),
		T(a_move_waits_for_a_look),
		T(a_peer_has_a_share_of_the_looks),
		T(who_leaves_too_much_behind_is_refused),
		T(accept_proves_no_address),
		T(prove_proves_once),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
