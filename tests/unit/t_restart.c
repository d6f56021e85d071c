/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adopt, keep: a daemon dies in every state, and another takes over. */
#include <poll.h>

static int fake_poll(struct pollfd *fds, nfds_t n, int timeout_ms);

#define poll fake_poll
#include "world.h"
#undef poll

#include "pkt.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct element before[LIST];
static size_t n_before;

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct element));
}

/* Tombstones aside, the set of elements, in a fixed order. */
static size_t elements_of(const struct host *h, struct element *to)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n_set; i++) {
		if (h->set[i].timeout_s)
			continue;
		memset(&to[n], 0, sizeof(to[n]));
		to[n].set = h->set[i].set;
		to[n].to = h->set[i].to;
		to[n++].tuple = h->set[i].tuple;
	}
	qsort(to, n, sizeof(*to), by_bytes);
	return n;
}

/* The kernel has what it had: elements, addresses kept, ways back. */
static void restart_changes_nothing(struct host *h)
{
	static struct element after[LIST];
	size_t kept = h->kept.n, reverse = h->reverse.n, gone = h->gone.n;
	size_t n_after, same = 0;

	n_before = elements_of(h, before);
	assert_int_equal(host_restart(h), 0);
	n_after = elements_of(h, after);
	/* But that nothing waits in a queue: more may be in the maps. */
	for (size_t i = 0; i < n_after; i++)
		if (same < n_before &&
		    !memcmp(&after[i], &before[same], sizeof(*after)))
			same++;
		else
			assert_in_range(after[i].set, SET_SEND, SET_RECV);
	assert_int_equal(same, n_before);
	assert_int_equal(h->kept.n, kept);
	assert_int_equal(h->reverse.n, reverse);
	assert_int_equal(h->gone.n, gone);
}

static struct track *own_track(const struct tuple *t)
{
	return track_of(flow_at(&host[0], t), FLOW_OURS);
}

static struct track *seen_track(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);

	return track_of(flow_at(&host[1], &r), FLOW_THEIRS);
}

static struct tuple moved_connection(void)
{
	struct tuple t = connection(40000);

	run(3000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	return t;
}

static void goes_on(const struct tuple *t, const char *from, const char *to)
{
	run(5000);
	assert_true(both_own(t));
	check_wire(t, from);
	assert_int_equal(own_track(t)->mover.state, MOVER_STEADY);
	assert_int_equal(seen_track(t)->follower.state, FOLLOWER_STEADY);
	addr_add(&host[0], to, 2);
	addr_remove(&host[0], from);
	run(5000);
	check_wire(t, to);
	assert_true(both_own(t));
}

static void ends(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);

	socket_end(&host[0], t);
	socket_end(&host[1], &r);
	run(70000);
	check_empty(&host[0]);
	check_empty(&host[1]);
}

/* ---- whole lives ------------------------------------------------------------- */

static void the_mover_restarts(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	restart_changes_nothing(&host[0]);
	assert_int_equal(flow_at(&host[0], &t)->moves, 1);
	goes_on(&t, "10.0.0.9", "10.0.0.10");
	restart_changes_nothing(&host[0]);
	assert_int_equal(flow_at(&host[0], &t)->moves, 2);
	ends(&t);
}

static void the_peer_restarts(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	restart_changes_nothing(&host[1]);
	goes_on(&t, "10.0.0.9", "10.0.0.10");
	ends(&t);
}

static void both_restart(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	restart_changes_nothing(&host[0]);
	restart_changes_nothing(&host[1]);
	goes_on(&t, "10.0.0.9", "10.0.0.10");
	restart_changes_nothing(&host[1]);
	restart_changes_nothing(&host[0]);
	goes_on(&t, "10.0.0.10", "10.0.0.1");
	ends(&t);
}

static void what_has_not_moved_is_protected_at_once(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	restart_changes_nothing(&host[0]);
	assert_true(flow_at(&host[0], &t)->protected);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	ends(&t);
}

/* What the one before has told the kernel of nonces is not taken back before it
 * has ended. */
static void nonces_of_the_one_before_reach_no_socket(void **state)
{
	struct tuple t = connection(40000);
	unsigned int idles;

	(void)state;
	run(3000);
	restart_changes_nothing(&host[0]);
	idles = host[0].idles;
	run(CLAIM_TAKE_MS - 1000);
	assert_true(flow_at(&host[0], &t)->protected);
	assert_int_equal(host[0].idles, idles);
	run(2000);
	assert_int_equal(host[0].idles, idles + 1);
}

/* By which interface its packets left: a change while nobody looked is one. */
static void the_way_is_remembered(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	host_kill(&host[0]);
	addr_add(&host[0], "10.0.0.9", 3);
	assert_int_equal(host_start(&host[0]), 0);
	addr_add(&host[0], "10.0.0.10", 3);
	run(5000);
	check_wire(&t, "10.0.0.10");
	ends(&t);
}

/* And one that was so from the start is none. */
static void the_way_is_remembered_as_it_began(void **state)
{
	struct tuple t;

	(void)state;
	addr_add(&host[0], "10.0.0.9", 3);
	t = connection(40000);
	run(3000);
	restart_changes_nothing(&host[0]);
	addr_add(&host[0], "10.0.0.10", 4);
	run(5000);
	assert_true(flow_is_plain(flow_at(&host[0], &t)));
	ends(&t);
}

/* ---- in the middle of a handover --------------------------------------------- */

/* Until the state is reached; what is in the post then is lost. */
static void run_to_mover(const struct tuple *t, enum mover_state state)
{
	for (int i = 0; i < 200 && own_track(t)->mover.state != state; i++)
		settle_once();
	assert_int_equal(own_track(t)->mover.state, state);
	n_post = 0;
}

static void run_to_offered(const struct tuple *t)
{
	for (int i = 0; i < 200 &&
	     seen_track(t)->follower.state != FOLLOWER_OFFERED; i++)
		settle_once();
	assert_int_equal(seen_track(t)->follower.state, FOLLOWER_OFFERED);
	n_post = 0;
}

static void killed_while_held(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	addr_remove(&host[0], "10.0.0.9");
	assert_int_equal(own_track(&t)->mover.state, MOVER_HELD);
	restart_changes_nothing(&host[0]);
	assert_int_equal(own_track(&t)->mover.state, MOVER_HELD);
	assert_true(flow_at(&host[0], &t)->hold);
	addr_add(&host[0], "10.0.0.10", 2);
	goes_on(&t, "10.0.0.10", "10.0.0.11");
}

static void killed_while_asked(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run_to_mover(&t, MOVER_ASKED);
	restart_changes_nothing(&host[0]);
	assert_int_equal(own_track(&t)->mover.state, MOVER_ASKED);
	goes_on(&t, "10.0.0.10", "10.0.0.11");
}

static void killed_while_switched(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run_to_mover(&t, MOVER_SWITCHED);
	restart_changes_nothing(&host[0]);
	assert_int_equal(own_track(&t)->mover.state, MOVER_SWITCHED);
	goes_on(&t, "10.0.0.10", "10.0.0.11");
}

static void killed_while_offered(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run_to_offered(&t);
	restart_changes_nothing(&host[1]);
	assert_int_equal(seen_track(&t)->follower.state, FOLLOWER_OFFERED);
	assert_true(follower_holds(&seen_track(&t)->follower));
	goes_on(&t, "10.0.0.10", "10.0.0.11");
}

/* sacip(7), "Paths": whose address has not proved itself gets three
 * datagrams at most, though who asked from there may be dead. */
static void an_offered_address_is_greeted_thrice(void **state)
{
	struct tuple t = moved_connection();
	struct addr offered = address("10.0.0.10");
	unsigned int n = 0;

	(void)state;
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run_to_offered(&t);
	host_kill(&host[0]);
	assert_int_equal(host_restart(&host[1]), 0);
	assert_int_equal(seen_track(&t)->follower.state, FOLLOWER_OFFERED);
	for (int ms = 0; ms < 40000; ms++, clock_ms++) {
		on_settled(clock_ms, host[1].d);
		for (size_t i = 0; i < n_post; i++)
			n += addr_equal(&post[i].dst.addr, &offered);
		n_post = 0;
	}
	assert_in_range(n, 1, 3);
	assert_int_equal(host_start(&host[0]), 0);
}

/* The peer may have left the address that its flows have moved to, and nobody
 * answers there: they are held as they would be without the restart, and go on
 * when it does. */
static void who_answers_no_more_is_held_for(void **state)
{
	struct tuple t = connection_of(IPPROTO_UDP, 40000);
	struct tuple r = tuple_reverse(&t);

	(void)state;
	run(9000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	lost_at = address("10.0.0.9");
	lost_asked = 0;
	assert_int_equal(host_restart(&host[1]), 0);
	run(PEER_VALID_MS - 1000);
	assert_false(flow_at(&host[1], &r)->hold);
	run(PEER_RENEW_MS);
	assert_true(flow_at(&host[1], &r)->hold);
	assert_int_equal(waiting_reason(flow_at(&host[1], &r)),
			 REASON_PEER_AWAY);
	run(600000);
	assert_true(flow_at(&host[1], &r)->hold);
	assert_in_range(lost_asked, 1,
			PEER_OWN_BURST + 700000 / PEER_OWN_REFILL_MS);
	memset(&lost_at, 0, sizeof(lost_at));
	run(10000);
	assert_false(flow_at(&host[1], &r)->hold);
	check_wire(&t, "10.0.0.9");
}

/* The one has switched, the other has it on offer, and both forget all that
 * they did not write down. */
static void both_killed_in_between(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run_to_mover(&t, MOVER_SWITCHED);
	restart_changes_nothing(&host[0]);
	restart_changes_nothing(&host[1]);
	goes_on(&t, "10.0.0.10", "10.0.0.11");
}

/* Another socket has the tuple that the flow moves to: ports are chosen, and
 * no MOVE names them again after the restart. */
static void chosen_ports_are_kept(void **state)
{
	struct tuple t = connection(40000);
	struct tuple other = tuple_of("10.0.0.9", 40000, "10.0.0.2", 22);
	struct tuple wire;

	(void)state;
	run(3000);
	socket_add(&host[0], &other);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	wire = flow_wire_tuple(flow_at(&host[0], &t));
	assert_int_not_equal(wire.local.port, 40000);
	restart_changes_nothing(&host[0]);
	restart_changes_nothing(&host[1]);
	assert_int_equal(flow_wire_tuple(flow_at(&host[0], &t)).local.port,
			 wire.local.port);
	goes_on(&t, "10.0.0.9", "10.0.0.10");
}

/* ---- what is not taken up ------------------------------------------------------ */

static void dead_sockets_are_cleaned_up_after(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	host[0].n_sock = 0;
	assert_int_equal(host_restart(&host[0]), 0);
	assert_null(flow_at(&host[0], &t));
	assert_int_equal(elements_of(&host[0], before), 0);
	assert_int_equal(host[0].kept.n, 0);
}

static void a_new_socket_on_the_tuple_is_a_new_flow(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	host[0].n_sock = 0;
	socket_add(&host[0], &t);
	assert_int_equal(host_restart(&host[0]), 0);
	assert_false(flow_at(&host[0], &t)->protected);
	assert_int_equal(elements_of(&host[0], before), 0);
	assert_int_equal(host[0].kept.n, 0);
}

/* Its configuration was changed meanwhile: what rests is let go, what needs
 * us is translated on. */
static void a_denied_flow_is_let_go_at_rest(void **state)
{
	struct tuple t = connection(40000);
	struct conf *conf = host[0].d->conf;
	char text[600], error[CONF_ERROR_MAX];

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	host_kill(&host[0]);
	conf_free(conf);
	snprintf(text, sizeof(text), CONF "deny = [ \"10.0.0.2/32\" ];\n",
		 host[0].dir, host[0].dir);
	assert_int_equal(conf_parse(text, "t", conf, error), 0);
	assert_int_equal(host_start(&host[0]), 0);
	assert_true(flow_at(&host[0], &t)->protected);
	run(100);
	assert_false(flow_at(&host[0], &t)->protected);
	assert_int_equal(flow_at(&host[0], &t)->reason, REASON_POLICY);
	assert_int_equal(host[0].kept.n, 0);
}

/* The program has closed it; what it sent is still under way. */
static void a_closing_socket_is_taken_up(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	host[0].sock[0].state = SOCKDIAG_CLOSING;
	restart_changes_nothing(&host[0]);
	assert_true(flow_at(&host[0], &t)->protected);
	host[0].sock[0].state = SOCKDIAG_TIME_WAIT;
	host[0].sock[0].cookie = 4711;
	restart_changes_nothing(&host[0]);
	assert_true(flow_at(&host[0], &t)->protected);
}

/* Its peer has given it up, but it was translated and is to the end. */
static void check_listed(const struct flow *f, enum ctl_flow_state state,
			 enum reason why)
{
	struct ctl_flow told;

	assert_int_equal(report_ops.flow(host[0].d, f->id, &told), 0);
	assert_int_equal(told.state, state);
	assert_int_equal(told.reason, why);
}

static void nobodys_flow_is_translated_on(void **state)
{
	struct tuple t = moved_connection(), r = tuple_reverse(&t);
	struct flow *f;

	(void)state;
	socket_end(&host[1], &r);
	run(1000);
	f = flow_at(&host[0], &t);
	assert_null(f->group[FLOW_OURS]);
	check_listed(f, CTL_TRACKED, REASON_ENDED);
	restart_changes_nothing(&host[0]);
	f = flow_at(&host[0], &t);
	assert_true(f->protected);
	check_listed(f, CTL_TRACKED, REASON_NO_PEER);
	assert_null(f->group[FLOW_OURS]);
	assert_false(f->claim.confirmed);
	assert_false(flow_is_plain(f));
}

/* What was left a moment ago must not reach the stack, which would answer. */
static void tombstones_are_kept(void **state)
{
	struct tuple t = moved_connection();
	struct tuple old = tuple_of("10.0.0.9", 40000, "10.0.0.2", 22);
	struct element *e;

	(void)state;
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(5000);
	e = element(&host[0], STEER_DROP, &old);
	assert_non_null(e);
	assert_int_equal(host_restart(&host[0]), 0);
	assert_int_equal(host[0].d->flows.tombs.n, 1);
	e = element(&host[0], STEER_DROP, &old);
	assert_non_null(e);
	assert_in_range(e->timeout_s, 1, FLOW_TOMBSTONE_MS / 1000);
	/* The flow may go back there. */
	goes_on(&t, "10.0.0.10", "10.0.0.9");
	assert_int_equal(flow_wire_tuple(flow_at(&host[0], &t)).local.port,
			 40000);
}

/* The socket is gone and the peer's is not: what it sends for a while yet must
 * not reach the stack as it is on the wire. */
static void what_has_ended_reaches_no_stack(void **state)
{
	struct tuple t = moved_connection();
	struct tuple wire = flow_wire_tuple(flow_at(&host[0], &t));
	struct element *e;

	(void)state;
	lose_post = true; /* the peer does not hear of it */
	socket_end(&host[0], &t);
	run(1000);
	assert_non_null(element(&host[0], STEER_IN, &wire));
	assert_int_equal(host_restart(&host[0]), 0);
	e = element(&host[0], STEER_DROP, &wire);
	assert_non_null(e);
	assert_in_range(e->timeout_s, 1, FLOW_TOMBSTONE_MS / 1000);
	lose_post = false;
}

/* One table takes the place of another: a packet that was between their hooks
 * came to the stack as it was on the wire, which answers. */
static void no_reset_of_our_stack_leaves(void **state)
{
	struct tuple t = moved_connection();
	struct tuple wire = flow_wire_tuple(flow_at(&host[0], &t));
	uint32_t reset, again;

	(void)state;
	assert_int_equal(host_restart(&host[0]), 0);
	reset = packet_queue_flags(&host[0], &wire, true, PKT_TCP_RST);
	again = packet_queue(&host[0], &wire, true);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[reset], DROPPED);
	assert_int_equal(host[0].fate[again], ACCEPTED);
}

/* ---- the file -------------------------------------------------------------------- */

static const char *journal_of(const struct host *h)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/run/journal", h->dir);
	return path;
}

static unsigned int begun(const struct host *h)
{
	return (unsigned int)h->d->counters.value[COUNTER_MOVES_STARTED];
}

static bool rests(const struct tuple *t)
{
	const struct flow *f = flow_at(&host[0], t);
	const struct track *m = track_of(f, FLOW_OURS);

	return !f->hold && (!m || m->mover.state == MOVER_STEADY);
}

/* The peer has lost its memory, and says so: what the mover makes of it is over
 * within seconds, after a few numbers. */
static void the_peer_forgets(bool by_maps, const char *next)
{
	struct tuple t = moved_connection();
	unsigned int n;

	run(3000);
	host_kill(&host[1]);
	assert_int_equal(unlink(journal_of(&host[1])), 0);
	if (!by_maps)
		host[1].n_set = 0;
	assert_int_equal(host_start(&host[1]), 0);
	n = begun(&host[0]);
	addr_add(&host[0], next, 2); /* they meet */
	if (strcmp(next, "10.0.0.1"))
		addr_remove(&host[0], "10.0.0.9");
	run(15000);
	assert_true(rests(&t));
	assert_in_range(begun(&host[0]) - n, 0, 8);
	n = begun(&host[0]);
	run(120000);
	assert_true(rests(&t));
	assert_int_equal(begun(&host[0]), n);
}

static void the_peer_forgets_what_its_kernel_knows(void **state)
{
	(void)state;
	the_peer_forgets(true, "10.0.0.1");
}

static void the_peer_forgets_all(void **state)
{
	(void)state;
	the_peer_forgets(false, "10.0.0.1");
}

static void it_is_found_out_by_the_next_move(void **state)
{
	(void)state;
	the_peer_forgets(true, "10.0.0.10");
}

static void or_it_knows_nothing_at_all(void **state)
{
	(void)state;
	the_peer_forgets(false, "10.0.0.10");
}

/* By the maps alone: nobody's, and translated as before, both ways. */
static void check_salvaged(const struct tuple *t)
{
	static struct element after[LIST];
	size_t n_after;
	struct flow *f;

	n_before = elements_of(&host[0], before);
	assert_int_equal(host_start(&host[0]), 0);
	n_after = elements_of(&host[0], after);
	assert_int_equal(n_after, n_before);
	assert_memory_equal(after, before, n_before * sizeof(*before));
	assert_int_equal(host[0].n_destroyed, 0);
	f = flow_at(&host[0], t);
	assert_true(f->protected);
	assert_null(f->group[FLOW_OURS]);
	assert_int_equal(f->reason, REASON_NO_PEER);
	run(5000);
	check_wire(t, "10.0.0.9");
}

static void others_words_are_not_believed(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	host_kill(&host[0]);
	assert_int_equal(chmod(journal_of(&host[0]), 0644), 0);
	check_salvaged(&t);
	ends(&t);
}

/* The same by a disk that is full: a record is cut off, the file removed. */
static void what_the_kernel_rewrites_goes_on_without_a_journal(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	host_kill(&host[0]);
	assert_int_equal(unlink(journal_of(&host[0])), 0);
	check_salvaged(&t);
	/* Again: it is in the new journal. */
	restart_changes_nothing(&host[0]);
	assert_true(flow_at(&host[0], &t)->protected);
	ends(&t);
}

/* As before the restart: no dump is waited for. */
static void the_end_of_what_is_taken_up_is_heard(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	assert_int_equal(host_restart(&host[0]), 0);
	assert_true(flow_at(&host[0], &t)->protected);
	socket_end(&host[0], &t);
	assert_true(flow_at(&host[0], &t)->ended);
}

/* While a packet on its wire tuple is judged, the daemon hears that its socket
 * is gone: it is nobody's and ends at once, and the tuple is free. */
static void a_flow_may_end_while_its_packet_is_judged(void **state)
{
	struct tuple t = moved_connection();
	struct tuple wire = flow_wire_tuple(flow_at(&host[0], &t));
	uint32_t id;

	(void)state;
	addr_add(&host[0], "10.0.0.77", 2);
	host_kill(&host[0]);
	assert_int_equal(unlink(journal_of(&host[0])), 0);
	assert_int_equal(host_start(&host[0]), 0);
	assert_true(flow_at(&host[0], &t)->protected);
	host[0].vanished = address("10.0.0.77");
	host[0].unheard = t;
	id = packet_queue_flags(&host[0], &wire, true, PKT_TCP_SYN);
	on_queue_out(0, host[0].d);
	assert_null(flow_at(&host[0], &t));
	assert_int_equal(host[0].fate[id], ACCEPTED);
}

/* It cannot be translated, and must not go on untranslated. */
static void what_is_not_in_the_maps_ends_without_a_journal(void **state)
{
	struct tuple t = moved_connection();
	struct element *e;

	(void)state;
	host_kill(&host[0]);
	e = element(&host[0], SET_SEND, &t);
	assert_non_null(e);
	*e = host[0].set[--host[0].n_set]; /* it is on the queue */
	assert_int_equal(unlink(journal_of(&host[0])), 0);
	assert_int_equal(host_start(&host[0]), 0);
	assert_int_equal(host[0].n_destroyed, 1);
	assert_int_equal(host[0].n_sock, 0);
	run(2000);
	assert_null(flow_at(&host[0], &t));
}

/* What never moved needs nobody. */
static void without_a_journal_the_rest_goes_on(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	host_kill(&host[0]);
	assert_int_equal(unlink(journal_of(&host[0])), 0);
	assert_int_equal(host_start(&host[0]), 0);
	assert_int_equal(host[0].n_destroyed, 0);
	assert_non_null(flow_at(&host[0], &t));
}

/* There is room for one of two. */
static void who_finds_no_room_is_ended(void **state)
{
	struct tuple t[2] = { connection(40000), connection(40001) };
	struct conf *conf = host[0].d->conf;

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t[1], "10.0.0.9");
	host_kill(&host[0]);
	conf->max_flows = 1;
	assert_int_equal(host_start(&host[0]), 0);
	assert_int_equal(host[0].n_destroyed, 1);
	assert_int_equal(host[0].n_sock, 1);
	run(100);
	for (unsigned int i = 0; i < 2; i++)
		assert_true(!flow_at(&host[0], &t[i]) ||
			    flow_at(&host[0], &t[i])->protected);
}

static void a_torn_journal_is_read_to_the_tear(void **state)
{
	struct tuple t = moved_connection();
	struct stat st;

	(void)state;
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run_to_mover(&t, MOVER_ASKED);
	host_kill(&host[0]);
	assert_int_equal(stat(journal_of(&host[0]), &st), 0);
	assert_int_equal(truncate(journal_of(&host[0]), st.st_size - 1), 0);
	assert_int_equal(host_start(&host[0]), 0);
	/* The last word, that it asks, is lost: but not where it was. */
	assert_true(flow_at(&host[0], &t)->protected);
	goes_on(&t, "10.0.0.10", "10.0.0.11");
}

static void the_journal_is_bounded(void **state)
{
	struct tuple t = moved_connection();
	struct stat st;
	off_t most = 0;

	(void)state;
	for (int i = 0; i < 400; i++) {
		addr_add(&host[0], i % 2 ? "10.0.0.9" : "10.0.0.10", 2);
		addr_remove(&host[0], i % 2 ? "10.0.0.10" : "10.0.0.9");
		run(300);
		assert_int_equal(stat(journal_of(&host[0]), &st), 0);
		most = st.st_size > most ? st.st_size : most;
	}
	assert_in_range(most, 100 << 10, (256 << 10) + 2 * JOURNAL_RECORD_MAX);
	assert_int_equal(st.st_mode & 0777, 0600);
	run(70000);
	restart_changes_nothing(&host[0]);
	goes_on(&t, "10.0.0.9", "10.0.0.10");
}

/* A peer that is met again after it was forgotten has another number, and what
 * is written of the one before stays in the file until that is written anew:
 * late, where there is much in it. */
static void peers_that_come_and_go_fill_no_journal(void **state)
{
	struct tuple t = moved_connection();
	struct daemon *d = host[0].d;
	struct flow *f = flow_at(&host[0], &t);
	struct assoc *a = peer_user(f->peer);

	(void)state;
	for (unsigned int i = 0; i < 5 * PEER_MAX / 2; i++) {
		d->keep.rewrite_at = JOURNAL_FILE_MAX;
		a->kept = 0;
		track_of(f, FLOW_OURS)->kept = false;
		track_of(f, FLOW_THEIRS)->kept = false;
		keep_flow(d, f);
		keep_step(d, clock_ms);
	}
	assert_in_range(d->keep.numbers, 1, JOURNAL_PEERS_MAX / 2);
	restart_changes_nothing(&host[0]);
	goes_on(&t, "10.0.0.9", "10.0.0.10");
}

/* One that cannot be written is removed, and made when it can be again. */
static void an_old_journal_is_not_left_behind(void **state)
{
	struct tuple t = moved_connection();
	char path[256];

	(void)state;
	snprintf(path, sizeof(path), "%s/run/journal.new", host[0].dir);
	close(host[0].d->keep.fd); /* writing fails */
	host[0].d->keep.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_int_equal(mkdir(path, 0700), 0); /* and making a new one too */
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(1500);
	check_wire(&t, "10.0.0.10");
	assert_int_equal(access(journal_of(&host[0]), F_OK), -1);
	assert_in_range(host[0].d->counters.value[COUNTER_JOURNAL_ERRORS], 1,
			10);
	assert_int_equal(rmdir(path), 0);
	run(1500);
	assert_int_equal(access(journal_of(&host[0]), F_OK), 0);
	restart_changes_nothing(&host[0]);
	goes_on(&t, "10.0.0.10", "10.0.0.11");
}

/* It could not be written; the last moment is the last chance. */
static void a_detached_one_tries_once_more(void **state)
{
	struct tuple t = moved_connection();

	(void)state;
	close(host[0].d->keep.fd);
	host[0].d->keep.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(100);
	check_wire(&t, "10.0.0.10");
	assert_int_equal(access(journal_of(&host[0]), F_OK), -1);
	host[0].d->detaching = true;
	stop(host[0].d);
	restart_changes_nothing(&host[0]);
	goes_on(&t, "10.0.0.10", "10.0.0.11");
}

/* ---- the last moment --------------------------------------------------- */

static int fake_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)fds, (void)n;
	clock_ms += (uint64_t)timeout_ms;
	return 0;
}

static uint64_t stops_after_ms(struct host *h)
{
	const uint64_t began_ms = clock_ms;

	h->d->detaching = false;
	stop(h->d);
	return clock_ms - began_ms;
}

static struct tuple opened(uint8_t proto)
{
	struct tuple t = tuple_of("10.0.0.1", 40000, "10.0.0.2", 22), r;

	t.proto = proto;
	r = tuple_reverse(&t);
	socket_add(&host[0], &t);
	socket_add(&host[1], &r);
	return t;
}

/* A datagram that was asked for, and has not come, would be read. */
static void the_last_one_waits_for_nonces(void **state)
{
	const struct tuple t = opened(IPPROTO_UDP), r = tuple_reverse(&t);
	struct host *h[] = { &host[0], &host[1] };
	const struct tuple *at[] = { &t, &r };
	uint64_t ms = 0;
	int i = 0;

	(void)state;
	while (!ms) {
		if (!settle_once())
			clock_ms++;
		for (i = 0; i < 2 && !ms; i += !ms)
			if (flow_at(h[i], at[i]))
				ms = claim_awaits_ms(&flow_at(h[i],
							      at[i])->claim);
	}
	assert_int_equal(stops_after_ms(h[i]),
			 ms < DESTROY_WAIT_MS ? ms : DESTROY_WAIT_MS);
}

/* TCP reads no option, and what is proved awaits nothing. */
static void nor_else_is_anything_waited_for(void **state)
{
	const struct tuple t = opened(IPPROTO_TCP);

	(void)state;
	while (!flow_at(&host[0], &t) ||
	       !claim_awaits_ms(&flow_at(&host[0], &t)->claim))
		if (!settle_once())
			clock_ms++;
	assert_int_equal(stops_after_ms(&host[0]), 0);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(the_mover_restarts),
		WORLD(the_peer_restarts),
		WORLD(both_restart),
		WORLD(what_has_not_moved_is_protected_at_once),
		WORLD(nonces_of_the_one_before_reach_no_socket),
		WORLD(the_last_one_waits_for_nonces),
		WORLD(nor_else_is_anything_waited_for),
		WORLD(the_way_is_remembered),
		WORLD(the_way_is_remembered_as_it_began),
		WORLD(killed_while_held),
		WORLD(killed_while_asked),
		WORLD(killed_while_switched),
		WORLD(killed_while_offered),
		WORLD(an_offered_address_is_greeted_thrice),
		WORLD(who_answers_no_more_is_held_for),
		WORLD(both_killed_in_between),
		WORLD(chosen_ports_are_kept),
		WORLD(dead_sockets_are_cleaned_up_after),
		WORLD(a_new_socket_on_the_tuple_is_a_new_flow),
		WORLD(a_denied_flow_is_let_go_at_rest),
		WORLD(a_closing_socket_is_taken_up),
		WORLD(nobodys_flow_is_translated_on),
		WORLD(tombstones_are_kept),
		WORLD(what_has_ended_reaches_no_stack),
		WORLD(no_reset_of_our_stack_leaves),
		WORLD(the_peer_forgets_what_its_kernel_knows),
		WORLD(the_peer_forgets_all),
		WORLD(it_is_found_out_by_the_next_move),
		WORLD(or_it_knows_nothing_at_all),
		WORLD(others_words_are_not_believed),
		WORLD(what_the_kernel_rewrites_goes_on_without_a_journal),
		WORLD(the_end_of_what_is_taken_up_is_heard),
		WORLD(a_flow_may_end_while_its_packet_is_judged),
		WORLD(what_is_not_in_the_maps_ends_without_a_journal),
		WORLD(without_a_journal_the_rest_goes_on),
		WORLD(who_finds_no_room_is_ended),
		WORLD(a_torn_journal_is_read_to_the_tear),
		WORLD(the_journal_is_bounded),
		WORLD(peers_that_come_and_go_fill_no_journal),
		WORLD(an_old_journal_is_not_left_behind),
		WORLD(a_detached_one_tries_once_more),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
