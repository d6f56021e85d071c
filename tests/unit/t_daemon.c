/* SPDX-License-Identifier: GPL-2.0-or-later */
/* daemon: whole daemons on kernels of paper: who owns, counts and leaves. */
#include "world.h"

#include "../../src/handover_impl.h"

#include "claim_impl.h"

#include <sys/mman.h>

/* ---- tests ------------------------------------------------------------------ */

static void a_flow_is_owned_moves_and_ends(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	/* Every socket's end costs, where it is told: not without need. */
	assert_false(host[0].ends_told);
	assert_false(host[1].ends_told);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	assert_true(host[0].ends_told);
	assert_true(host[1].ends_told);
	assert_int_equal(host[1].reverse.n, 1);
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	run(3000);
	check_empty(&host[0]);
	check_empty(&host[1]);
	assert_false(host[0].ends_told);
	assert_false(host[1].ends_told);
}

/* The other socket lives on, and nothing of the flow is translated: no reason
 * to remember it for a minute. */
static void one_end_of_an_unmoved_flow_ends(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	socket_end(&host[0], &t);
	run(3000);
	check_empty(&host[0]);
	assert_false(flow_at(&host[1], &r)->protected);
}

/* What `sacipctl move` answers; "" for no address. */
static void assert_answer(const char *from, const char *to, const char *says)
{
	char text[CTL_TEXT_MAX] = "";
	struct ctl_move m;

	memset(&m, 0, sizeof(m));
	if (*from)
		m.from = address(from);
	m.to = address(to);
	(void)report_ops.move(host[0].d, &m, text);
	assert_string_equal(text, says);
}

static void an_operator_is_told_why_nothing_moves(void **state)
{
	struct tuple t = connection(40000), u = connection(40001);

	(void)state;
	assert_answer("", "10.0.0.9",
		      "no protected flow to move; see sacipctl list");
	run(3000);
	assert_true(both_own(&t) && both_own(&u));
	assert_answer("", "10.0.0.9",
		      "that address is not on this host; see ip address");
	assert_answer("", "10.0.0.1", "they are there already");
	assert_answer("", "2001:db8::9",
		      "no protected flow of that address's family");
	addr_add(&host[0], "10.0.0.9", 2);
	assert_answer("10.0.0.8", "10.0.0.9",
		      "no protected flow is at that --from");
	assert_answer("", "10.0.0.9", "2 flows asked to move");
	run(3000);
	check_wire(&t, "10.0.0.9");
	check_wire(&u, "10.0.0.9");
}

static uint32_t gap_of(struct host *h, const struct tuple *t)
{
	struct ctl_flow told;

	assert_int_equal(report_ops.flow(h->d, flow_at(h, t)->id, &told), 0);
	return told.gap_ms;
}

static void the_gap_of_a_move_is_told(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);

	(void)state;
	run(3000);
	assert_int_equal(gap_of(&host[0], &t), CTL_GAP_NONE);
	addr_remove(&host[0], "10.0.0.1");
	run(500);
	assert_in_range(gap_of(&host[0], &t), 499, 500);
	assert_int_equal(gap_of(&host[1], &r), CTL_GAP_NONE);
	addr_add(&host[0], "10.0.0.9", 2);
	run(5000);
	check_wire(&t, "10.0.0.9");
	assert_in_range(gap_of(&host[0], &t), 499, 600);
	assert_in_range(gap_of(&host[1], &r), 0, 100);
	/* Make before break: none, at either end. */
	addr_add(&host[0], "10.0.0.10", 2);
	addr_deprecate(&host[0], "10.0.0.9");
	run(5000);
	check_wire(&t, "10.0.0.10");
	assert_int_equal(gap_of(&host[0], &t), 0);
	assert_int_equal(gap_of(&host[1], &r), 0);
}

static void the_port_needs_its_capability_once(void **state)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	(void)state;
	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	assert_int_equal((data[0].permitted | data[0].effective) &
			 1u << CAP_NET_BIND_SERVICE, 0);
}

/* He may not be told to give root's directory away. */
static void who_is_not_root_is_told_so(void **state)
{
	char dir[] = "/tmp/t_daemon.XXXXXX";
	char error[CONF_ERROR_MAX] = "";
	int err;

	(void)state;
	if (geteuid())
		skip();
	assert_non_null(mkdtemp(dir));
	assert_int_equal(seteuid(65534), 0);
	err = store_directory(dir, 0700, error);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(err, -EPERM);
	assert_non_null(strstr(error, "start saciped as root"));
	assert_null(strstr(error, "chown"));
	assert_int_equal(chown(dir, 65534, 65534), 0);
	assert_int_equal(store_directory(dir, 0700, error), -EPERM);
	assert_non_null(strstr(error, "chown it to uid 0"));
	assert_int_equal(rmdir(dir), 0);
}

/* What a start has opened, a failed one closes: the control socket too. */
static void a_failed_start_leaves_nothing(void **state)
{
	struct host *h = host_make(2);

	(void)state;
	addr_add(h, "10.0.0.3", 2);
	h->fail_queue = -EBUSY;
	assert_int_equal(host_start(h), -EBUSY);
	host_end(h);
}

/* The server's program ends its socket and opens another on the same tuple,
 * as programs on UDP do: that is a new flow, to be owned anew. */
static void a_new_socket_at_the_peer_is_owned_again(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct flow *f;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	socket_end(&host[1], &r);
	run(1000);
	f = flow_at(&host[0], &t);
	assert_false(f->protected); /* nobody would follow its moves */
	assert_int_equal(f->reason, REASON_ENDED);
	assert_int_equal(host[0].kept.n, 0);
	socket_add(&host[1], &r);
	run(70000);
	assert_true(both_own(&t));
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	run(3000);
	check_empty(&host[0]);
	check_empty(&host[1]);
}

/* It comes back as another peer: counts go with the flow. */
static void another_key_takes_what_the_first_gave_up(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);

	(void)state;
	run(3000);
	socket_end(&host[1], &r);
	run(1000);
	host_end(&host[1]);
	host_make(1);
	addr_add(&host[1], "10.0.0.2", 2);
	socket_add(&host[1], &r);
	assert_int_equal(host_start(&host[1]), 0);
	run(70000);
	assert_true(both_own(&t));
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	run(3000);
	check_empty(&host[0]);
}

/* Host 1 says that it stops, and does; its sockets and its key stay. */
static struct conf *host_stop(struct host *h)
{
	struct conf *conf = h->d->conf;

	stop(h->d);
	remove_all(h->d);
	free(h->d);
	h->d = NULL;
	h->n_source = 0;
	h->rt_ops = NULL;
	h->n_addr = 0;
	run(10);
	return conf;
}

static void host_return(struct host *h, struct conf *conf)
{
	h->d = calloc(1, sizeof(*h->d));
	h->d->conf = conf;
	addr_add(h, "10.0.0.2", 2);
	assert_int_equal(host_start(h), 0);
}

/* Host 2 has the address of host 1 now, and a socket on that tuple. */
static void successor(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);

	host_make(2);
	addr_add(&host[2], "10.0.0.2", 2);
	socket_add(&host[2], &r);
	assert_int_equal(host_start(&host[2]), 0);
}

static bool is_with(const struct tuple *t, struct host *h)
{
	struct flow *f = flow_at(&host[0], t);

	return f && f->protected && f->claim.confirmed &&
	       memcmp(peer_key(f->peer), h->d->key.public_key,
		      CRYPTO_KEY_SIZE) == 0;
}

/* Its owner has stopped: nobody moves it, and nobody else gets it. */
static void who_has_stopped_keeps_what_it_owns(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct conf *conf;
	struct flow *f;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	conf = host_stop(&host[1]);
	f = flow_at(&host[0], &t);
	assert_false(f->protected);
	assert_int_equal(f->reason, REASON_NO_PEER);
	assert_int_equal(host[0].kept.n, 0);
	successor(&t);
	run(70000);
	assert_false(flow_at(&host[0], &t)->protected);
	assert_int_equal(flow_at(&host[0], &t)->reason, REASON_FLOW_OWNED);
	assert_false(flow_at(&host[2], &r)->protected);
	assert_int_equal(flow_at(&host[2], &r)->reason, REASON_FLOW_OWNED);
	/* We restart. */
	assert_int_equal(host_restart(&host[0]), 0);
	run(20000);
	assert_false(flow_at(&host[0], &t)->protected);
	assert_int_equal(flow_at(&host[0], &t)->reason, REASON_FLOW_OWNED);
	/* It is back. */
	host_end(&host[2]);
	host_return(&host[1], conf);
	run(2000);
	assert_true(both_own(&t));
	assert_true(is_with(&t, &host[1]));
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	run(3000);
	check_empty(&host[0]);
	check_empty(&host[1]);
}

/* ... for a day, */
static void and_keeps_it_for_a_day(void **state)
{
	struct tuple t = connection(40000);
	struct conf *conf;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	conf = host_stop(&host[1]);
	successor(&t);
	clock_ms += STOPPED_MS - 100000;
	run(50000);
	assert_false(flow_at(&host[0], &t)->protected);
	clock_ms += 50000;
	run(130000);
	assert_true(is_with(&t, &host[2]));
	socket_end(&host[0], &t);
	run(70000);
	check_empty(&host[0]);
	host_end(&host[2]);
	host_return(&host[1], conf);
}

/* ... or until the operator says so. */
static void the_operator_frees_what_waits(void **state)
{
	struct tuple t = connection(40000);
	char answer[CTL_TEXT_MAX];
	char name[CTL_NAME_MAX];
	struct conf *conf;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	crypto_fingerprint(host[1].d->key.public_key, name);
	assert_int_equal(report_ops.forget(host[0].d, name, answer), -EBUSY);
	conf = host_stop(&host[1]);
	successor(&t);
	run(3000);
	assert_false(flow_at(&host[0], &t)->protected);
	assert_int_equal(report_ops.forget(host[0].d, name, answer), 0);
	run(3000);
	assert_true(is_with(&t, &host[2]));
	host_end(&host[2]);
	host_return(&host[1], conf);
}

static void reload_with(unsigned int i, const char *line)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/conf", host[i].dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, CONF "%s", host[i].dir, host[i].dir, line);
	fclose(f);
	host[i].d->conf_path = path;
	reload(host[i].d);
}

/* It will never be back. */
static void a_revoked_key_keeps_nothing(void **state)
{
	struct tuple t = connection(40000);
	char key[CRYPTO_KEY_TEXT_SIZE];
	char line[128];
	struct conf *conf;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	crypto_key_to_text(host[1].d->key.public_key, key);
	conf = host_stop(&host[1]);
	assert_true(flow_at(&host[0], &t)->reserved);
	snprintf(line, sizeof(line), "revoked_keys = [ \"%s\" ];\n", key);
	reload_with(0, line);
	assert_false(flow_at(&host[0], &t)->reserved);
	successor(&t);
	run(5000);
	assert_true(is_with(&t, &host[2]));
	host_end(&host[2]);
	host_return(&host[1], conf);
}

#define NAMED "10.7.0.1"

/* As SIGHUP does it: who has that key is in `peers` from now on. */
static void configure_key(struct daemon *d, const uint8_t *public_key)
{
	char text[1024], key[CRYPTO_KEY_TEXT_SIZE], error[CONF_ERROR_MAX];

	crypto_key_to_text(public_key, key);
	snprintf(text, sizeof(text),
		 CONF "peers = ( { name = \"a\"; public_key = \"%s\"; "
		 "addresses = [ \"" NAMED "\" ]; } );\n",
		 host[0].dir, host[0].dir, key);
	conf_free(d->conf);
	assert_int_equal(conf_parse(text, "t", d->conf, error), 0);
	peer_table_policy_changed(d->peers, clock_ms);
	assoc_policy_changed(d);
}

static void owner_key(uint8_t key[CRYPTO_KEY_SIZE], uint16_t number)
{
	memset(key, 0, CRYPTO_KEY_SIZE);
	key[0] = 9;
	key[1] = (uint8_t)number;
	key[2] = (uint8_t)(number >> 8);
}

/* A peer of an earlier run at that address that owns a flow, and stops. */
static struct flow *owner_stops(uint16_t number, const char *at)
{
	struct daemon *d = host[0].d;
	struct tuple t = tuple_of("10.0.0.1", (uint16_t)(41000 + number), at,
				  23);
	char text[CRYPTO_KEY_TEXT_SIZE];
	char line[128];
	uint8_t key[CRYPTO_KEY_SIZE];
	struct flow *f;
	struct peer *p;

	owner_key(key, number);
	crypto_key_to_text(key, text);
	snprintf(line, sizeof(line), "%s 1 2 %s\n", text, at);
	assert_int_equal(peer_pins_load(d->peers, line, strlen(line)), 0);
	p = peer_find_key(d->peers, key);
	socket_add(&host[0], &t);
	discover_dump(d, clock_ms);
	f = flow_at(&host[0], &t);
	assert_int_equal(claim_restore(assoc_get(d, p)->claims, &f->claim,
				       number + 1u, 1), 0);
	assoc_own(f, p);
	d->turn++; /* so that it ends at once */
	assoc_peer_ops.session_down(d, p, clock_ms, REASON_ENDED);
	return f;
}

/* Keys cost nothing: those of one address cost others nothing either. */
static void owners_that_have_stopped_are_bounded(void **state)
{
	const uint32_t most = host[0].d->conf->max_peers / STOPPED_SHARE + 1;
	const uint32_t share = most / STOPPED_SOURCE_SHARE + 1;
	struct flow *honest, *f[128];
	uint64_t refused;
	uint32_t waiting = 0;

	(void)state;
	honest = owner_stops(255, "10.2.0.1");
	assert_true(honest->reserved);
	refused = host[0].d->counters.refused[REASON_LIMIT];
	assert_true(share < 100);
	for (uint8_t i = 0; i < 100; i++)
		f[i] = owner_stops(i, "10.3.0.1");
	for (uint8_t i = 0; i < 100; i++)
		waiting += f[i]->reserved;
	assert_int_equal(waiting, share);
	assert_false(f[0]->reserved);
	assert_true(f[99]->reserved);
	assert_true(honest->reserved);
	assert_int_equal(host[0].d->counters.refused[REASON_LIMIT],
			 refused + 100 - share);
}

/* Nor those of any number of addresses a peer that the operator has named, be it
 * behind one of these. */
static void who_is_configured_is_waited_for(void **state)
{
	struct daemon *d = host[0].d;
	const uint32_t most = d->conf->max_peers / STOPPED_SHARE + 1;
	struct flow *named;
	uint8_t key[CRYPTO_KEY_SIZE];
	uint64_t refused;
	char at[24];

	(void)state;
	owner_key(key, 1000);
	configure_key(d, key);
	named = owner_stops(1000, "10.3.0.0");
	refused = d->counters.refused[REASON_LIMIT];
	for (uint16_t i = 0; i < most; i++) {
		snprintf(at, sizeof(at), "10.3.0.%d", i % 8);
		(void)owner_stops(i, at);
	}
	assert_int_equal(d->counters.refused[REASON_LIMIT], refused);
	assert_true(named->reserved);
	for (uint16_t i = 0; i < most; i++)
		(void)owner_stops((uint16_t)(most + i), "10.3.0.0");
	assert_int_equal(d->counters.refused[REASON_LIMIT], refused + most);
	assert_true(named->reserved);
}

/* How many lines its handshakes that come to nothing make. */
static unsigned int lines_of(int fd, const char *at, unsigned int failures)
{
	const struct endpoint local = { address("10.0.0.1"), 1021 };
	const struct endpoint remote = { address(at), 1021 };
	off_t before = lseek(fd, 0, SEEK_END);
	unsigned int n = 0;
	char text[8192];
	ssize_t len;

	for (unsigned int i = 0; i < failures; i++)
		assoc_peer_ops.handshake_failed(host[0].d, clock_ms, true,
						&local, &remote, NULL,
						REASON_KEY_MISMATCH);
	len = pread(fd, text, sizeof(text), before);
	assert_in_range(len, 0, sizeof(text) - 1);
	for (ssize_t i = 0; i < len; i++)
		n += text[i] == '\n';
	return n;
}

/* Who fails without end hides nobody else, and no number of these one that the
 * operator has named. */
static void failed_handshakes_have_shares_of_the_log(void **state)
{
	static const char *const many[] = {
		"10.5.0.1", "10.6.0.1", NAMED, "fd00:5::1", "fd00:5::2",
	};
	struct daemon *d = host[0].d;
	struct log *before = d->log;
	uint8_t key[CRYPTO_KEY_SIZE];
	int fd = memfd_create("log", MFD_CLOEXEC);
	char at[24];

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(log_open(&d->log, fd, LOG_LEVEL_WARN), 0);
	owner_key(key, 1000);
	configure_key(d, key);
	for (uint16_t i = 0; i < sizeof(many) / sizeof(*many); i++) {
		struct tuple t = tuple_of(i < 3 ? "10.0.0.1" : "fd00::1",
					  (uint16_t)(41000 + i), many[i], 23);

		socket_add(&host[0], &t);
	}
	discover_dump(d, clock_ms);
	assert_int_equal(lines_of(fd, "10.5.0.1", 100), LOG_PEER_BURST);
	assert_int_equal(lines_of(fd, "10.6.0.1", 1), 1);
	assert_int_equal(lines_of(fd, "fd00:5::1", 100), LOG_PEER_BURST);
	assert_int_equal(lines_of(fd, "fd00:5::2", 1), 0);
	/* Those that no flow goes to. */
	for (int i = 0; i < 100; i++) {
		snprintf(at, sizeof(at), "10.8.0.%d", i);
		assert_int_equal(lines_of(fd, at, 1), i < LOG_PEER_BURST);
	}
	for (uint16_t i = 0; i < 20; i++) {
		struct tuple t;

		snprintf(at, sizeof(at), "10.9.%d.1", i);
		t = tuple_of("10.0.0.1", (uint16_t)(42000 + i), at, 23);
		socket_add(&host[0], &t);
		discover_dump(d, clock_ms);
		(void)lines_of(fd, at, LOG_PEER_BURST);
	}
	assert_int_equal(lines_of(fd, "10.6.0.1", 1), 0);
	assert_int_equal(lines_of(fd, NAMED, 1), 1);
	log_close(d->log);
	d->log = before;
	close(fd);
}

/* By which the share of handshakes of that address grows. */
static void the_sockets_to_an_address_are_counted(void **state)
{
	struct tuple t = connection(40000), u = connection(40001);
	const struct addr server = address("10.0.0.2");

	(void)state;
	run(1100);
	assert_int_equal(assoc_peer_ops.sockets(host[0].d, &server), 2);
	socket_end(&host[0], &t);
	socket_end(&host[0], &u);
	run(70000);
	assert_int_equal(assoc_peer_ops.sockets(host[0].d, &server), 0);
}

/* Claims that come to nothing use up no tracks. */
static void tracks_of_failed_claims_are_freed(void **state)
{
	struct tuple t, last;
	uint64_t refused;
	struct assoc *a;

	(void)state;
	t = connection(39999);
	run(3000);
	for (uint16_t i = 0; i < TRACKS_MAX + 8; i++) {
		t = tuple_of("10.0.0.1", (uint16_t)(50000 + i), "10.0.0.2",
			     23);
		socket_add(&host[0], &t);
		host[0].sock[host[0].n_sock - 1].mark = i + 1u;
		run(1100);
		socket_end(&host[0], &t);
	}
	t = connection(40000);
	host[0].sock[host[0].n_sock - 1].mark = 4711;
	run(3000);
	assert_true(both_own(&t));
	/* Those of flows that are owned stay, and there are no more. */
	for (uint16_t i = 2; i < TRACKS_MAX; i++) {
		t = connection((uint16_t)(40000 + i));
		host[0].sock[host[0].n_sock - 1].mark = i;
	}
	run(5000);
	assert_true(both_own(&t));
	a = track_assoc(flow_at(&host[0], &t));
	assert_int_equal(a->n_tracks[FLOW_OURS], TRACKS_MAX);
	refused = host[0].d->counters.refused[REASON_LIMIT];
	last = connection(45000);
	host[0].sock[host[0].n_sock - 1].mark = 4712;
	run(3000);
	assert_int_equal(a->n_tracks[FLOW_OURS], TRACKS_MAX);
	assert_true(host[0].d->counters.refused[REASON_LIMIT] > refused);
	assert_false(both_own(&last));
	/* Until one of them has ended. */
	socket_end(&host[0], &t);
	t = tuple_reverse(&t);
	socket_end(&host[1], &t);
	run(120000);
	assert_true(both_own(&last));
}

/* Its address was deprecated before it was owned. */
static void an_owned_flow_is_looked_at_once(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	addr_add(&host[0], "10.0.0.9", 2);
	for (unsigned int ms = 0; !flow_at(&host[0], &t); ms++) {
		assert_true(ms < 2000);
		run(1);
	}
	addr_deprecate(&host[0], "10.0.0.1");
	assert_false(both_own(&t));
	run(5000);
	assert_true(both_own(&t));
	check_wire(&t, "10.0.0.9");
}

static bool has_moved(const struct tuple *t)
{
	return !flow_is_plain(flow_at(&host[0], t));
}

static void tell_settled(struct host *h, enum rtmon_kind kind)
{
	tell(h, kind, NULL);
	h->rt_ops->settled(h->d);
}

/* As keepalived adds its IPv6 addresses. */
static void an_address_that_was_never_preferred_is_stayed_at(void **state)
{
	struct tuple t;

	(void)state;
	addr_deprecate(&host[0], "10.0.0.1");
	addr_add(&host[0], "10.0.0.9", 2);
	t = connection(40000);
	run(5000);
	assert_true(both_own(&t));
	assert_false(has_moved(&t));
	addr_add(&host[0], "10.0.0.8", 2);
	run(5000);
	assert_false(has_moved(&t));
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.8");
}

/* The best route leads elsewhere from the start, as where a client inside the
 * LAN knows the address of the uplink; and again when the peer has moved. */
static void where_it_began_is_no_reason_to_move(void **state)
{
	struct tuple t;

	(void)state;
	addr_add(&host[0], "10.0.0.9", 3);
	t = connection(40000);
	run(5000);
	assert_true(both_own(&t));
	assert_false(has_moved(&t));
	addr_add(&host[0], "10.0.0.8", 4);
	run(5000);
	assert_false(has_moved(&t));
	/* Home, and away from there: a change. */
	addr_remove(&host[0], "10.0.0.8");
	addr_remove(&host[0], "10.0.0.9");
	run(5000);
	assert_false(has_moved(&t));
	addr_add(&host[0], "10.0.0.9", 3);
	run(5000);
	check_wire(&t, "10.0.0.9");
}

/* Whatever a new socket would choose: packets from here leave from here. */
static void source_rules_are_obeyed(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	host[0].source_rules = true;
	run(3000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 3);
	run(5000);
	assert_false(has_moved(&t));
	host[0].source_rules = false;
	tell_settled(&host[0], RTMON_ROUTE_CHANGED);
	run(5000);
	check_wire(&t, "10.0.0.9");
}

/* The kernel chooses a route by which routers answer, and says nothing. */
static void a_look_that_came_too_early_is_repeated(void **state)
{
	struct tuple t = connection(40000);
	uint64_t looks, before;

	(void)state;
	host[0].source_rules = true;
	run(3000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 3);
	run(1000);
	assert_false(has_moved(&t));
	host[0].source_rules = false;
	run(3000);
	assert_false(has_moved(&t));
	run(2000);
	check_wire(&t, "10.0.0.9");
	run(100000);
	looks = host[0].d->counters.value[COUNTER_ROUTE_LOOKUPS];
	run(100000);
	before = looks;
	looks = host[0].d->counters.value[COUNTER_ROUTE_LOOKUPS];
	assert_int_equal(looks, before); /* it has an end */
	/* Routers that come and go as fast as they can: one a second. */
	for (int i = 0; i < 10000; i += 10) {
		tell_settled(&host[0], RTMON_ROUTER_ANSWERS);
		run(10);
	}
	before = looks;
	looks = host[0].d->counters.value[COUNTER_ROUTE_LOOKUPS];
	assert_in_range(looks - before, 9, 11);
}

static void a_router_that_answers_is_looked_at_soon(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	host[0].source_rules = true;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 3);
	run(100000);
	assert_true(both_own(&t));
	assert_false(has_moved(&t));
	host[0].source_rules = false;
	tell_settled(&host[0], RTMON_ROUTER_ANSWERS);
	run(300);
	check_wire(&t, "10.0.0.9");
}

/* A routing daemon whose neighbour comes and goes: what can wait does, for a
 * second, and that is how often all tracks are looked at. */
static void events_without_end_put_no_look_off(void **state)
{
	struct tuple t = connection(40000);
	uint64_t looks;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 2);
	run(1000);
	assert_false(has_moved(&t));
	addr_deprecate(&host[0], "10.0.0.1");
	for (int i = 0; i < 900; i += 50) {
		tell_settled(&host[0], RTMON_ROUTE_CHANGED);
		run(50);
	}
	assert_false(has_moved(&t));
	looks = host[0].d->counters.value[COUNTER_ROUTE_LOOKUPS];
	for (int i = 0; i < 60000; i += 50) {
		tell_settled(&host[0], RTMON_ROUTE_CHANGED);
		run(50);
		if (i >= 250)
			assert_true(has_moved(&t));
	}
	check_wire(&t, "10.0.0.9");
	looks = host[0].d->counters.value[COUNTER_ROUTE_LOOKUPS] - looks;
	assert_in_range(looks, 55, 65);
}

/* The way to where the peer is now is looked at as soon as it is there. */
static void a_better_route_to_a_moved_peer(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	addr_add(&host[1], "10.0.0.12", 2);
	addr_remove(&host[1], "10.0.0.2");
	run(5000);
	assert_true(has_moved(&t));
	addr_add(&host[0], "10.0.0.9", 3);
	run(5000);
	check_wire(&t, "10.0.0.9");
}

/* The kernel is told of a flow once for several tries. */
static void who_tries_on_costs_no_transaction(void **state)
{
	struct tuple t = connection(40000);
	struct claim *c;
	unsigned int commits;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	c = &flow_at(&host[0], &t)->claim;
	assert_true(clock_ms < c->take_ms);
	commits = host[0].commits;
	assert_int_equal(divert_take_nonces(host[0].d, clock_ms, &c, 1), 0);
	assert_int_equal(host[0].commits, commits);
	run(CLAIM_TAKE_MS - CLAIM_EXPECT_MS - CLAIM_LATE_MS);
	assert_int_equal(divert_take_nonces(host[0].d, clock_ms, &c, 1), 0);
	assert_true(host[0].commits > commits);
	assert_int_equal(c->take_ms, clock_ms + CLAIM_TAKE_MS);
}

/* Its address goes when the last message is in the daemon's socket. */
static void a_flow_owned_too_late_is_guarded_and_moved(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct udp_datagram came;
	struct flow *f = NULL;
	struct letter last;

	(void)state;
	while (!f || !f->claim.confirmed || !n_post) {
		if (!n_post)
			clock_ms++;
		settle_once();
		f = flow_at(&host[1], &r);
		assert_true(clock_ms < 1010000);
	}
	f = flow_at(&host[0], &t);
	assert_false(f->claim.confirmed);
	last = post[0];
	assert_int_equal(n_post, 1);
	assert_true(addr_equal(&last.dst.addr, &t.local.addr));
	addr_remove(&host[0], "10.0.0.1");
	came = (struct udp_datagram){
		.src = last.src, .dst = last.dst,
		.data = last.data, .len = last.len,
	};
	on_datagram(&came, host[0].d);
	run(50);
	assert_true(f->protected);
	assert_int_equal(host[0].gone.n, 1);
	assert_true(f->hold);
	addr_add(&host[0], "10.0.0.9", 2);
	run(5000);
	check_wire(&t, "10.0.0.9");
	assert_false(f->hold);
}

/* A flow that enters a track that holds is held, and the other way round. */
static void who_enters_does_as_the_track(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct flow *f;
	struct track *theirs;
	uint32_t id;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	f = flow_at(&host[1], &r);
	theirs = track_of(f, FLOW_THEIRS);
	theirs->follower.gone = theirs->follower.holding = true;
	track_enter(host[1].d, f, clock_ms);
	assert_true(f->hold);
	assert_non_null(element(&host[1], STEER_OUT, &r));
	id = packet_queue(&host[1], &r, true);
	on_queue_out(0, host[1].d);
	assert_int_equal(host[1].fate[id], WAITS);
	theirs->follower.holding = false;
	track_enter(host[1].d, f, clock_ms);
	assert_false(f->hold);
	assert_int_equal(host[1].fate[id], ACCEPTED);
}

/* In the drain after a move back the address goes again, and the first
 * packet tells so before the routing socket does. */
static void nothing_passes_from_an_address_that_is_gone(void **state)
{
	struct tuple t = connection(40000);
	uint32_t id;

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	addr_add(&host[0], "10.0.0.1", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(500);
	check_wire(&t, "10.0.0.1");
	host[0].vanished = address("10.0.0.1");
	id = packet_queue(&host[0], &t, true);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[id], WAITS);
}

/* The same by the address that it has moved to. */
static void nothing_is_rewritten_to_an_address_that_is_gone(void **state)
{
	struct tuple t = connection(40000);
	uint32_t id;

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	host[0].vanished = address("10.0.0.9");
	id = packet_queue(&host[0], &t, true);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[id], WAITS);
	addr_add(&host[0], "10.0.0.10", 2);
	run(5000);
	check_wire(&t, "10.0.0.10");
	assert_int_equal(host[0].fate[id], REWRITTEN);
}

static void backs_off(unsigned int i, const struct tuple *t)
{
	sock_at(&host[i], t)->info = (struct sockdiag_info){
		.unacked = 1,
		.retransmits = true,
		.backoff = 2,
		.rto_us = 816000,
		.expires_ms = 600,
	};
}

/* The server asks its sockets before it answers MOVE, and reads the queue for
 * what they say. What else waits there makes it hear of addresses, and so of a
 * socket's end, the last one of the very track. */
static void the_last_flow_ends_in_the_step_of_its_track(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct tuple other = tuple_of("10.0.0.2", 22, "10.0.0.3", 40000);
	struct tuple back = tuple_reverse(&other);
	struct host *h = host_make(2);
	uint32_t id;

	(void)state;
	addr_add(h, "10.0.0.3", 2);
	assert_int_equal(host_start(h), 0);
	socket_add(h, &back);
	socket_add(&host[1], &other);
	addr_add(&host[1], "10.0.0.12", 2);
	run(5000);
	assert_true(both_own(&t));
	assert_true(flow_at(&host[1], &other)->protected);
	addr_remove(&host[0], "10.0.0.1");
	run(500);
	backs_off(1, &r);
	id = packet_queue(&host[1], &other, true);
	host[1].vanished = address("10.0.0.12");
	host[1].unheard = r;
	host[1].d->dump_took_ms = 1000; /* no look before the MOVE */
	addr_add(&host[0], "10.0.0.9", 2);
	settle();
	assert_int_equal(host[1].fate[id], ACCEPTED);
	assert_int_equal(host[1].unheard.proto, 0);
	assert_true(!flow_at(&host[1], &r) || flow_at(&host[1], &r)->ended);
	assert_true(flow_at(&host[1], &other)->protected);
	socket_end(&host[0], &t);
	run(70000);
	assert_null(flow_at(&host[1], &r));
}

/* What the server sends is held before the MOVE that it accepts, by another one
 * or a word after a restart: its senders are asked for this one all the same. */
static void a_hold_that_began_before_wakes_senders_too(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct follower_event ev = { .type = FOLLOWER_SYNC, .seq = 1 };
	struct track *theirs;
	unsigned int pokes;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	addr_remove(&host[0], "10.0.0.1");
	theirs = track_of(flow_at(&host[1], &r), FLOW_THEIRS);
	ev.to.addr = address("10.0.0.9");
	handover_step_follower(theirs, &ev, clock_ms);
	assert_true(flow_at(&host[1], &r)->hold);
	run(500);
	backs_off(1, &r);
	pokes = host[1].pokes;
	raw_fate = RAW_LOST; /* nor are they for a nonce */
	addr_add(&host[0], "10.0.0.9", 2);
	run(100);
	raw_fate = RAW_AT_ONCE;
	check_wire(&t, "10.0.0.9");
	/* No socket answers here: they are asked veiled, too. */
	assert_int_equal(host[1].pokes, pokes + 4);
	assert_int_equal(flow_at(&host[1], &r)->wake, 0);
}

/* Of what bears a source that is gone only what the kernel had rewritten is the
 * flow's: who has a socket there himself may not put words into it. */
static void others_packets_are_not_held(uint8_t proto)
{
	struct tuple t = connection_of(proto, 40000);
	struct tuple wire;
	uint32_t own, others;

	run(9000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	wire = flow_wire_tuple(flow_at(&host[0], &t));
	host[0].vanished = address("10.0.0.9");
	own = packet_queue(&host[0], &wire, true);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[own], WAITS);
	if (proto == IPPROTO_UDP)
		socket_add(&host[0], &wire);
	others = packet_queue_flags(&host[0], &wire, true, PKT_TCP_SYN);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[others], DROPPED);
	assert_int_equal(host[0].fate[own], WAITS);
}

static void others_datagrams_are_not_held(void **state)
{
	(void)state;
	others_packets_are_not_held(IPPROTO_UDP);
}

static void others_connections_are_not_held(void **state)
{
	(void)state;
	others_packets_are_not_held(IPPROTO_TCP);
}

/* A datagram every ms, for ever: it leaves the queue all the same. */
static void a_steady_sender_leaves_the_queue(void **state)
{
	struct tuple t = connection_of(IPPROTO_UDP, 40000);
	struct tuple r = tuple_reverse(&t);
	unsigned int passed = 0;
	uint32_t id;

	(void)state;
	run(9000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(3000);
	addr_add(&host[0], "10.0.0.1", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(10);
	check_wire(&t, "10.0.0.1");
	while (element(&host[0], STEER_OUT, &t)) {
		host[0].next_id = passed++ & 127;
		host[0].fate[host[0].next_id + 1] = WAITS;
		id = packet_queue(&host[0], &t, true);
		run(1);
		on_queue_out(0, host[0].d);
		assert_int_equal(host[0].fate[id], ACCEPTED);
		assert_true(passed < 4900);
	}
	assert_true(passed > 3900); /* it was never quiet */
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	run(3000);
	check_empty(&host[0]);
}

static void a_tunnel_is_neither_left_nor_entered(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	host[0].link[0].tunnel = true;
	run(3000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 3);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.1");
	assert_true(flow_at(&host[0], &t)->hold);
	assert_int_equal(waiting_reason(flow_at(&host[0], &t)),
			 REASON_TUNNEL);
	/* Another address in the tunnel is no way around it. */
	addr_add(&host[0], "10.0.0.8", 2);
	run(9000);
	check_wire(&t, "10.0.0.8");
	/* And back: off the tunnel, when it is allowed. */
	host[0].d->conf->leave_tunnel = true;
	addr_remove(&host[0], "10.0.0.8");
	run(9000);
	check_wire(&t, "10.0.0.9");
	host[0].d->conf->leave_tunnel = false;
	addr_add(&host[0], "10.0.0.7", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(9000);
	check_wire(&t, "10.0.0.9");
}

/* Its packets go into a VPN that has come up, and it is said why it stays. */
static void a_tunnel_that_comes_up_is_a_reason(void **state)
{
	struct tuple t = connection(40000);
	struct flow *f;

	(void)state;
	run(3000);
	f = flow_at(&host[0], &t);
	assert_true(f->protected);
	assert_int_equal(waiting_reason(f), REASON_NONE);
	link_add(&host[0], 3, true);
	addr_add(&host[0], "10.0.0.9", 3);
	run(5000);
	assert_true(flow_is_plain(f));
	assert_int_equal(waiting_reason(f), REASON_TUNNEL);
	addr_remove(&host[0], "10.0.0.9");
	run(5000);
	assert_true(flow_is_plain(f));
	assert_int_equal(waiting_reason(f), REASON_NONE);
}

/* Its address went before anybody protected it: it will end by a time-out,
 * and no datagram can be sent from there. */
static void a_dead_flow_opens_no_handshake(void **state)
{
	struct tuple dead = tuple_of("10.0.0.77", 30000, "10.0.0.2", 22);
	struct tuple t;

	(void)state;
	socket_add(&host[0], &dead);
	run(3000);
	assert_int_equal(host[0].d->counters.value[COUNTER_HS_ATTEMPTS], 0);
	t = connection(40000);
	run(3000);
	assert_true(both_own(&t));
	assert_false(flow_at(&host[0], &dead)->protected);
}

/* Seen at the end of a dump, it is younger than the dump, not 600 million
 * years old. */
static void a_long_dump_makes_no_flow_old(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	for (int i = 0; i < 2; i++) {
		host[i].d->conf->long_lived_after_s = 10;
		host[i].dump_takes_ms = 5;
	}
	run(3000);
	assert_int_equal(flow_at(&host[0], &t)->reason, REASON_YOUNG);
	assert_int_equal(host[0].d->counters.value[COUNTER_HS_ATTEMPTS], 0);
	run(15000);
	assert_true(both_own(&t));
}

/* SO_REUSEPORT: two sockets of one user may be connected alike, and each dump
 * tells of both. */
static void two_sockets_of_one_tuple_are_one_flow(void **state)
{
	struct tuple t = connection_of(IPPROTO_UDP, 40000);
	uint64_t id;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	id = flow_at(&host[0], &t)->id;
	socket_add(&host[0], &t);
	run(5000);
	assert_int_equal(flow_at(&host[0], &t)->id, id);
	assert_true(both_own(&t));
	/* the first of the two ends: the other is another flow */
	socket_end(&host[0], &t);
	run(5000);
	assert_int_not_equal(flow_at(&host[0], &t)->id, id);
	assert_true(both_own(&t));
}

/* Either end's: nothing is owned before it is known that they do not translate
 * it. */
static void rules_that_are_read_are_waited_for(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) { /* host 0 offers */
		struct tuple t = connection((uint16_t)(40000 + i));

		host[i].natrules.answer = NATRULES_READING;
		run(3000);
		assert_int_equal(flow_at(&host[0], &t)->reason, REASON_RETRY);
		host[i].natrules.answer = NATRULES_NONE;
		run(5000);
		assert_true(both_own(&t));
		t = connection((uint16_t)(40002 + i));
		host[i].natrules.answer = NATRULES_MAY;
		run(3000);
		assert_int_equal(flow_at(&host[0], &t)->reason, REASON_NAT);
		host[i].natrules.answer = NATRULES_NONE;
	}
}

static void only_allowed_flows_open_the_door(void **state)
{
	struct tuple t = connection(40000);
	struct daemon *d = host[0].d;

	(void)state;
	lose_post = true;
	run(1100);
	assert_true(assoc_peer_ops.may_answer(d, &t.local.addr, &t.remote.addr));
	d->conf->deny.item = calloc(1, sizeof(struct conf_rule));
	d->conf->deny.n = 1;
	d->conf->deny.item[0].port_high = 65535;
	assert_int_equal(prefix_parse("10.0.0.0/8",
				      &d->conf->deny.item[0].prefix), 0);
	run(1100);
	assert_false(assoc_peer_ops.may_answer(d, &t.local.addr, &t.remote.addr));
	d->conf->deny.n = 0;
	run(1100);
	assert_true(assoc_peer_ops.may_answer(d, &t.local.addr, &t.remote.addr));
	socket_end(&host[0], &t);
	run(1100);
	assert_false(assoc_peer_ops.may_answer(d, &t.local.addr, &t.remote.addr));
}

/* What a MOVE may make us keep is bounded by the flows that it is about. */
static void a_long_move_takes_little_memory(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct track *theirs;
	struct wire_message m;
	struct peer_rx rx;

	(void)state;
	run(3000);
	theirs = track_of(flow_at(&host[1], &r), FLOW_THEIRS);
	memset(&m, 0, sizeof(m));
	memset(&rx, 0, sizeof(rx));
	m.type = WIRE_MOVE;
	m.move.track = theirs->id;
	m.move.seq = 5;
	m.move.from = address("10.0.0.1");
	m.move.to = address("10.0.0.9");
	m.move.count = theirs->group.digest.count;
	memcpy(m.move.digest, theirs->group.digest.sum, WIRE_DIGEST_SIZE);
	m.move.parts = 500;
	m.move.n = WIRE_MOVE_MAX;
	rx.local.addr = t.remote.addr;
	rx.remote.addr = m.move.to;
	rx.newest = true;
	rx.message = &m;
	for (unsigned int i = 0; i < 400; i++) {
		m.move.part = (uint16_t)i;
		for (unsigned int j = 0; j < WIRE_MOVE_MAX; j++)
			m.move.port[j].flow_id = i * 1000u + j;
		handover_message(theirs->assoc, clock_ms, &rx);
	}
	assert_true(theirs->parts.n <= theirs->group.digest.count);
}

static void a_kernel_that_refuses_is_asked_again(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);

	(void)state;
	run(3000);
	host[0].steer_error = -ENOBUFS;
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	run(3000);
	/* Flow gone, element not: and no spinning meanwhile. */
	assert_true(host[0].deadline_ms > clock_ms);
	assert_true(host[0].commits < 100);
	host[0].steer_error = 0;
	run(3000);
	assert_int_equal(host[0].n_set, 0);
	check_empty(&host[0]);
	check_empty(&host[1]);
}

/* A reason that is no index of anything of ours. */
static void a_reason_of_tomorrow_counts_as_policy(void **state)
{
	struct tuple t = connection(40000);
	struct wire_message m;
	struct track *ours;
	struct peer_rx rx;
	struct counters before;

	(void)state;
	run(3000);
	ours = track_of(flow_at(&host[0], &t), FLOW_OURS);
	lose_post = true;
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	assert_int_equal(ours->mover.state, MOVER_ASKED);
	memset(&m, 0, sizeof(m));
	memset(&rx, 0, sizeof(rx));
	m.type = WIRE_REFUSE;
	m.refuse.track = ours->id;
	m.refuse.seq = ours->mover.seq;
	m.refuse.reason = 250;
	rx.local.addr = address("10.0.0.9");
	rx.remote.addr = t.remote.addr;
	rx.newest = true;
	rx.message = &m;
	before = host[0].d->counters;
	handover_message(ours->assoc, clock_ms, &rx);
	assert_int_equal(host[0].d->counters.refused[REASON_POLICY],
			 before.refused[REASON_POLICY] + 1);
}

/* Another implementation may refuse some flows of a track: all of it stays. */
static void an_accept_for_some_is_no_accept(void **state)
{
	struct tuple t = connection(40000);
	struct wire_message m;
	struct track *ours;
	struct peer_rx rx;

	(void)state;
	run(3000);
	ours = track_of(flow_at(&host[0], &t), FLOW_OURS);
	addr_add(&host[0], "10.0.0.9", 3);
	lose_post = true;
	run(200); /* the better route */
	assert_int_equal(ours->mover.state, MOVER_ASKED);
	memset(&m, 0, sizeof(m));
	memset(&rx, 0, sizeof(rx));
	m.type = WIRE_ACCEPT;
	m.accept.track = ours->id;
	m.accept.seq = ours->mover.seq;
	m.accept.n = 1;
	m.accept.refused[0].flow_id = 1;
	m.accept.refused[0].reason = REASON_POLICY;
	rx.local.addr = address("10.0.0.9");
	rx.remote.addr = t.remote.addr;
	rx.newest = true;
	rx.message = &m;
	handover_message(ours->assoc, clock_ms, &rx);
	assert_int_equal(ours->mover.state, MOVER_STEADY);
	assert_true(addr_equal(&mover_locator(&ours->mover)->addr,
			       &t.local.addr));
}

/* The peer names one port for two flows to the same port of ours: no packet
 * would say which of them it is of. */
static void two_flows_of_a_move_share_no_tuple(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct tuple u = connection(40001), v = tuple_reverse(&u);
	struct wire_message m;
	struct track *theirs;
	struct peer_rx rx;

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	assert_true(both_own(&u));
	theirs = track_of(flow_at(&host[1], &r), FLOW_THEIRS);
	assert_ptr_equal(track_of(flow_at(&host[1], &v), FLOW_THEIRS), theirs);
	memset(&m, 0, sizeof(m));
	memset(&rx, 0, sizeof(rx));
	m.type = WIRE_MOVE;
	m.move.track = theirs->id;
	m.move.seq = theirs->follower.committed + 1;
	m.move.from = t.local.addr;
	m.move.to = rx.remote.addr = address("10.0.0.9");
	m.move.parts = 1;
	m.move.count = theirs->group.digest.count;
	memcpy(m.move.digest, theirs->group.digest.sum, WIRE_DIGEST_SIZE);
	m.move.n = 2;
	m.move.port[0].flow_id = flow_at(&host[1], &r)->claim.flow_id;
	m.move.port[1].flow_id = flow_at(&host[1], &v)->claim.flow_id;
	m.move.port[0].port = m.move.port[1].port = 5000;
	rx.local.addr = t.remote.addr;
	rx.newest = true;
	rx.message = &m;
	handover_message(theirs->assoc, clock_ms, &rx);
	assert_int_equal(host[1].d->counters.refused[REASON_TUPLE_TAKEN], 1);
	assert_int_equal(theirs->follower.state, FOLLOWER_STEADY);
	assert_true(flow_is_plain(flow_at(&host[1], &r)));
	assert_int_equal(host[1].d->counters.value[COUNTER_NFT_ERRORS], 0);
	m.move.seq++;
	m.move.port[1].port = 5001;
	handover_message(theirs->assoc, clock_ms, &rx);
	assert_int_equal(theirs->follower.state, FOLLOWER_OFFERED);
}

/* Two flows in one track; the second is owned at one end only when the host
 * that believes so, or the other, moves. The first moves nevertheless. */
static void half_owned(struct host *mover, const char *from, const char *to)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t), u, v, w;
	struct flow *f = NULL;
	struct addr at = address(to);

	run(3000);
	assert_true(both_own(&t));
	u = connection(40001);
	v = tuple_reverse(&u);
	while (!f || !f->claim.confirmed) {
		run(1);
		f = flow_at(&host[1], &v); /* the higher end is first */
		assert_true(clock_ms < 1010000);
	}
	assert_false(flow_at(&host[0], &u)->claim.confirmed);
	addr_add(mover, to, 2);
	addr_remove(mover, from);
	run(5000);
	f = mover == &host[0] ? flow_at(mover, &t) : flow_at(mover, &r);
	w = flow_wire_tuple(f);
	assert_true(addr_equal(&w.local.addr, &at));
	assert_int_equal(track_of(f, FLOW_OURS)->mover.state, MOVER_STEADY);
	/* When its address is back the other one is owned as well. */
	addr_add(mover, from, 2);
	run(70000);
	assert_true(both_own(&u));
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	socket_end(&host[0], &u);
	socket_end(&host[1], &v);
	run(5000);
	check_empty(&host[0]);
	check_empty(&host[1]);
}

static void a_half_owned_flow_stops_no_other_1(void **state)
{
	(void)state;
	half_owned(&host[1], "10.0.0.2", "10.0.0.12");
}

static void a_half_owned_flow_stops_no_other_2(void **state)
{
	(void)state;
	half_owned(&host[0], "10.0.0.1", "10.0.0.11");
}

static void lost_events_are_asked_for(void **state)
{
	(void)state;
	host[0].rt_error = -EIO;
	on_rtmon(0, host[0].d);
	run(3000);
	assert_in_range(host[0].resyncs, 1, 10);
	host[0].rt_error = 0;
	run(3000);
	host[0].resyncs = 0;
	run(3000);
	assert_int_equal(host[0].resyncs, 0);
}

/* Each dump may take so long that more ends are lost meanwhile. */
static void lost_ends_make_no_storm_of_dumps(void **state)
{
	struct daemon *d;
	uint64_t before;

	(void)state;
	run(3000);
	d = host[0].d;
	before = d->counters.value[COUNTER_DUMPS];
	host[0].ends_lost = true;
	for (unsigned int i = 0; i < 1000; i++) {
		on_sockdiag(0, d);
		run(1);
	}
	assert_in_range(d->counters.value[COUNTER_DUMPS] - before, 10, 21);
}

/* Asleep for an hour between PROVE and DONE: the permission to send is over,
 * and a packet is what the host wakes up with. */
static void time_comes_before_packets(void **state)
{
	struct tuple t = connection(40000);
	struct flow *f;
	uint32_t id;

	(void)state;
	run(3000);
	f = flow_at(&host[0], &t);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	while (track_of(f, FLOW_OURS)->mover.state != MOVER_SWITCHED) {
		struct letter l = post[0];

		assert_int_equal(n_post, 1);
		n_post = 0;
		deliver(&l);
	}
	n_post = 0;
	clock_ms += 3600000;
	id = packet_queue(&host[0], &t, true);
	on_queue_out(0, host[0].d);
	assert_int_equal(host[0].fate[id], WAITS);
	n_post = 0;
}

/* The answer to our own segment must find a socket whose address is gone. */
static void a_poke_bears_our_mark(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	assert_int_equal(host[0].poke_mark, host[0].d->conf->mark);
	assert_false(host[0].unveiling);
	assert_false(host[1].unveiling);
}

#define PROVED_MS 2000 /* by then, where its socket answers when it is asked */

/* Something drops what is injected as it is: so it is veiled, there alone, for
 * as long as anything is protected. */
static void who_does_not_answer_is_asked_veiled(void **state)
{
	struct tuple t = connection(40000), other;

	(void)state;
	host[1].walled = true;
	run(PROVED_MS);
	assert_false(both_own(&t));
	run(PROVED_MS);
	assert_true(both_own(&t));
	assert_false(host[0].unveiling);
	assert_true(host[1].unveiling);
	run(120000);
	assert_true(host[1].unveiling);
	/* The next one at that address has not to find it out. */
	other = connection(40001);
	run(PROVED_MS);
	assert_true(both_own(&other));
	for (int i = 0; i < 2; i++) {
		struct tuple u = i ? other : t, r = tuple_reverse(&u);

		socket_end(&host[0], &u);
		socket_end(&host[1], &r);
	}
	run(120000);
	assert_false(host[1].unveiling);
}

/* What is never proved brings no hook to stay, nor one that comes and goes. */
static void a_hook_in_vain_goes_in_the_end(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);

	(void)state;
	host[0].silent = true;
	host[1].silent = true;
	run(8000);
	assert_false(both_own(&t));
	assert_true(host[0].unveiling || host[1].unveiling);
	socket_end(&host[0], &t);
	socket_end(&host[1], &r);
	run(120000);
	assert_false(host[0].unveiling);
	assert_false(host[1].unveiling);
}

static void paths_go_with_their_address(void **state)
{
	struct tuple t = connection(40000);
	struct peer_path path;
	struct peer *p;

	(void)state;
	run(3000);
	p = flow_at(&host[0], &t)->peer;
	assert_true(peer_path_find(p, &t.local.addr, &t.remote.addr, &path));
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	assert_false(peer_path_find(p, &t.local.addr, &t.remote.addr, &path));
	run(5000);
	check_wire(&t, "10.0.0.9");
}

/* A drain that the kernel does not let end keeps the way back as well. */
static void a_failed_drain_keeps_the_way_back(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 3);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	addr_add(&host[0], "10.0.0.8", 4);
	addr_remove(&host[0], "10.0.0.9");
	run(500);
	check_wire(&t, "10.0.0.8");
	assert_non_null(pair_find(&host[0].reverse,
				  &t.remote.addr, NULL, 3));
	host[0].steer_error = -ENOBUFS;
	run(5000);
	assert_non_null(pair_find(&host[0].reverse,
				  &t.remote.addr, NULL, 3));
	host[0].steer_error = 0;
	run(5000);
	check_wire(&t, "10.0.0.8");
	assert_null(pair_find(&host[0].reverse,
			      &t.remote.addr, NULL, 3));
	socket_end(&host[0], &t);
	t = tuple_reverse(&t);
	socket_end(&host[1], &t);
	run(3000);
	check_empty(&host[0]);
	check_empty(&host[1]);
}

/* Home by another interface: what comes there passes while the other drains. */
static void home_has_a_way_back_until_it_is_plain(void **state)
{
	struct tuple t = connection(40000);
	struct pair *home, *away;

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 3);
	addr_remove(&host[0], "10.0.0.1");
	run(500);
	check_wire(&t, "10.0.0.9");
	away = pair_find(&host[0].reverse, &t.remote.addr, NULL, 3);
	assert_non_null(away);
	assert_null(pair_find(&host[0].reverse, &t.remote.addr, NULL, 2));
	addr_add(&host[0], "10.0.0.1", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(500);
	check_wire(&t, "10.0.0.1");
	home = pair_find(&host[0].reverse, &t.remote.addr, NULL, 2);
	assert_non_null(home);
	run(8000);
	assert_null(pair_find(&host[0].reverse, &t.remote.addr, NULL, 2));
	assert_null(pair_find(&host[0].reverse, &t.remote.addr, NULL, 3));
	assert_null(flow_at(&host[0], &t)->path);
	socket_end(&host[0], &t);
	t = tuple_reverse(&t);
	socket_end(&host[1], &t);
	run(3000);
	check_empty(&host[0]);
	check_empty(&host[1]);
}

/* It outweighs the better route, not the end of the address. */
static void a_wish_ends_with_its_address(void **state)
{
	struct tuple t = connection(40000);
	struct addr to = address("10.0.0.9");
	struct flow *f;

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 3);
	/* The last one is the best route. */
	host[0].addr[2] = host[0].addr[0];
	host[0].addr[0] = host[0].addr[1];
	host[0].addr[1] = host[0].addr[2];
	f = flow_at(&host[0], &t);
	assert_int_equal(handover_move(track_of(f, FLOW_OURS), &to, clock_ms),
			 0);
	run(5000);
	check_wire(&t, "10.0.0.9");
	addr_deprecate(&host[0], "10.0.0.9");
	run(5000);
	check_wire(&t, "10.0.0.1");
}

/* One end's configuration denies the connection from now on. */
static void reload_denying(unsigned int i)
{
	reload_with(i, "deny = [ \"10.0.0.0/8 22\" ];\n");
}

static void check_denied(const struct tuple *t)
{
	struct tuple r = tuple_reverse(t);

	for (unsigned int i = 0; i < 2; i++) {
		const struct flow *f = flow_at(&host[i], i ? &r : t);

		assert_false(f->protected);
		assert_int_equal(f->reason, REASON_POLICY);
		assert_int_equal(host[i].kept.n, 0);
	}
}

/* Denied at run time: let go where nothing is translated, at both ends. */
static void a_reload_lets_go_of_what_is_denied(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	reload_denying(0);
	run(10000);
	check_denied(&t);
}

static void or_what_the_other_end_denies(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	reload_denying(1);
	run(10000);
	check_denied(&t);
}

/* It would die where it is: it stays ours, and moves on, until it is home. */
static void what_has_moved_is_let_go_at_home(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	run(3000);
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	check_wire(&t, "10.0.0.9");
	reload_denying(0);
	run(70000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.10", 2);
	addr_remove(&host[0], "10.0.0.9");
	run(5000);
	check_wire(&t, "10.0.0.10");
	addr_add(&host[0], "10.0.0.1", 2);
	addr_remove(&host[0], "10.0.0.10");
	run(70000);
	check_denied(&t);
}

static enum ctl_flow_state shown(const struct tuple *t, enum reason *why)
{
	struct ctl_flow told;

	assert_int_equal(report_ops.flow(host[0].d,
					 flow_at(&host[0], t)->id, &told), 0);
	*why = told.reason;
	return told.state;
}

/* The other end's socket goes with its daemon, and of UDP nothing tells so: what
 * we send is translated, so that its host can say that there is none. */
static void what_has_moved_ends_with_the_peers_daemon(void **state)
{
	struct tuple t = connection_of(IPPROTO_UDP, 40000);
	struct tuple r = tuple_reverse(&t), plain;
	enum reason why;

	(void)state;
	run(9000);
	assert_true(both_own(&t));
	addr_add(&host[0], "10.0.0.9", 2);
	addr_remove(&host[0], "10.0.0.1");
	run(5000);
	plain = tuple_of("10.0.0.9", 40001, "10.0.0.2", 22);
	r = tuple_reverse(&plain);
	socket_add(&host[0], &plain);
	socket_add(&host[1], &r);
	run(5000);
	assert_true(both_own(&plain));
	assert_int_equal(shown(&t, &why), CTL_MOVED);
	assert_int_equal(shown(&plain, &why), CTL_PROTECTED);
	stop(host[1].d);
	run(10);
	assert_int_equal(shown(&t, &why), CTL_TRACKED);
	assert_int_equal(why, REASON_ENDED);
	assert_false(flow_is_plain(flow_at(&host[0], &t)));
	assert_int_equal(shown(&plain, &why), CTL_TRACKED);
	assert_int_equal(why, REASON_NO_PEER);
	run(70000);
	assert_int_equal(shown(&t, &why), CTL_TRACKED);
	assert_int_equal(why, REASON_ENDED);
	assert_false(flow_is_plain(flow_at(&host[0], &t)));
	socket_end(&host[0], &t);
	socket_end(&host[0], &plain);
	run(130000);
	check_empty(&host[0]);
}

static uint32_t open_pairs(struct daemon *d, const struct flow *f, uint8_t net)
{
	struct flow_change c = {
		.flow = f,
		.add = true,
		.set = FLOW_STEER_IN,
		.tuple = tuple_of("10.0.0.1", 40000, "11.0.0.0", 22),
	};
	uint32_t n = 0;

	c.tuple.local.addr.byte[0] = net;
	for (int err = 0; !err;) {
		memcpy(c.tuple.remote.addr.byte, &n, sizeof(n));
		err = pairs_change(d, &c);
		n += !err;
	}
	memset(c.tuple.remote.addr.byte, 0, 4); /* one that is there */
	assert_int_equal(pairs_change(d, &c), 0);
	return n;
}

/* What is nobody's takes no more than all but the reserve, of which a peer has
 * a share. */
/* Who has the address by now that it would go to is not known. */
static void what_is_held_stays_so_when_the_peer_stops(void **state)
{
	struct tuple t = connection(40000), r = tuple_reverse(&t);
	struct follower_event ev = { .type = FOLLOWER_SYNC, .seq = 1 };

	(void)state;
	run(3000);
	assert_true(both_own(&t));
	addr_remove(&host[0], "10.0.0.1");
	ev.to.addr = address("10.0.0.9");
	handover_step_follower(track_of(flow_at(&host[1], &r), FLOW_THEIRS),
			       &ev, clock_ms);
	assert_true(flow_at(&host[1], &r)->hold);
	stop(host[0].d);
	run(10);
	assert_true(flow_at(&host[1], &r)->hold);
}

static void pairs_are_bounded(void **state)
{
	struct daemon *d = host[0].d;
	struct tuple t = connection(40000);
	struct flow *f;

	(void)state;
	run(3000);
	f = flow_at(&host[0], &t);
	assert_non_null(track_assoc(f));
	assert_int_equal(open_pairs(d, NULL, 10), PAIRS_MAX - PAIRS_MAX / 4);
	assert_int_equal(d->counters.value[COUNTER_PAIRS_FULL], 1);
	assert_int_equal(open_pairs(d, f, 11), PAIRS_MAX / 16);
	assert_int_equal(d->counters.value[COUNTER_PAIRS_FULL], 2);
	pairs_settle(d, -ENOSPC, clock_ms);
}

/* host[1], or somebody else. */
static void configure(struct daemon *d, bool the_other)
{
	uint8_t public_key[CRYPTO_KEY_SIZE];

	memcpy(public_key, host[1].d->key.public_key, sizeof(public_key));
	public_key[5] ^= !the_other;
	configure_key(d, public_key);
}

static enum share_result crowded(struct assoc *a)
{
	struct share_pool pool;
	struct share s = a->pairs;

	share_pool_init(&pool, 1600);
	pool.used = 1400; /* half of the reserve */
	assert_int_equal(a->taps.chosen, s.chosen);
	assert_int_equal(a->tombs.chosen, s.chosen);
	assert_int_equal(a->held.packets.chosen, s.chosen);
	assert_int_equal(a->held.bytes.chosen, s.chosen);
	for (int side = 0; side < FLOW_SIDES; side++)
		assert_int_equal(a->guards[side].used.chosen, s.chosen);
	return share_take(&pool, &s, 1);
}

static void some_is_left_for_who_is_configured(void **state)
{
	struct tuple t = connection(40000);
	struct daemon *d = host[0].d;
	struct assoc *a;

	(void)state;
	run(3000);
	a = track_assoc(flow_at(&host[0], &t));
	assert_int_equal(crowded(a), SHARE_TAKEN); /* for nobody else */
	configure(d, false);
	assert_int_equal(crowded(a), SHARE_ITS_OWN);
	configure(d, true);
	assert_int_equal(crowded(a), SHARE_TAKEN);
}

/* One peer with connections from more addresses than there is room to guard:
 * another one has its share, and what is guarded is given back. */
static void guards_have_shares(void **state)
{
	struct tuple t = connection(40000);
	struct daemon *d = host[0].d;
	struct share_pool *pool = &d->guards.of[FLOW_THEIRS].pool;
	struct assoc greedy = { .d = d };
	struct track its = { .assoc = &greedy };
	struct flow *f, other;
	uint32_t n = 0;

	(void)state;
	run(3000);
	f = flow_at(&host[0], &t);
	assert_int_equal(pool->used, 1);
	assert_int_equal(track_assoc(f)->guards[FLOW_THEIRS].used.used, 1);
	memset(&other, 0, sizeof(other));
	other.identity = t;
	other.group[FLOW_OURS] = &its.group;
	do {
		other.identity.remote.addr =
			addr_from_in4(htonl(0x0b000000u + n));
	} while (!guards_add(d, &other, 0) && ++n);
	assert_int_equal(n, GUARDED_THEIRS_MAX / 4 * 3 - 1);
	assert_int_equal(d->guards.of[FLOW_OURS].pool.used, 1);
	other.group[FLOW_OURS] = f->group[FLOW_OURS];
	other.identity.remote.addr = address("10.9.9.9");
	assert_int_equal(guards_add(d, &other, 0), 0);
	guards_remove(d, &other);
	guards_forget_share(&greedy.guards[FLOW_OURS]);
	guards_forget_share(&greedy.guards[FLOW_THEIRS]);
	while (n--) {
		other.identity.remote.addr =
			addr_from_in4(htonl(0x0b000000u + n));
		guards_remove(d, &other);
	}
	assert_int_equal(pool->used, 1);
}

/* All that may be watched is another peer's: the last quarter is not. */
static void watches_have_shares(void **state)
{
	struct tuple t = connection(40000);
	struct share greedy = { 0 };
	struct share_pool *pool;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		pool = &host[i].d->tap_pool;
		assert_int_equal(share_take(pool, i ? &greedy : NULL,
					    pool->bound / 4 * 3),
				 SHARE_TAKEN);
		assert_int_not_equal(share_take(pool, &greedy, 100),
				     SHARE_TAKEN);
	}
	run(3000);
	assert_true(both_own(&t));
	for (unsigned int i = 0; i < 2; i++) { /* given back */
		pool = &host[i].d->tap_pool;
		assert_int_equal(pool->used, pool->bound / 4 * 3);
		pool->bound = pool->used;
	}
	t = connection(40001);
	run(3000);
	assert_false(both_own(&t));
}

/* Who opens connections without end is tracked for three quarters of the
 * table, and keeps nobody else from it. */
static void connections_have_shares(void **state)
{
	struct tuple t = tuple_of("10.0.0.2", 22, "2001:db8::1", 1);
	struct daemon *d = host[1].d;
	struct tuple other;

	(void)state;
	d->flows.max_flows = 32;
	t.local.addr = address("2001:db8:9::1");
	for (unsigned int i = 0; i < 40; i++) {
		t.remote.addr.byte[15] = (uint8_t)i; /* of one /64 */
		socket_add(&host[1], &t);
	}
	run(1100);
	assert_int_equal(d->flows.by_identity.n, 24);
	other = tuple_of("10.0.0.2", 22, "10.0.0.1", 40000);
	socket_add(&host[1], &other);
	run(1100);
	assert_non_null(flow_at(&host[1], &other));
	/* A share is two of these. */
	for (uint16_t i = 1; i < 4; i++) {
		other.remote.port = (uint16_t)(40000 + i);
		socket_add(&host[1], &other);
	}
	run(1100);
	assert_int_equal(d->flows.by_identity.n, 26);
}

/* A window full is on its way and the first segment of it is lost. */
static void a_proof_may_be_a_window_ahead(void **state)
{
	struct tuple t = connection(40000);

	(void)state;
	host[0].in_flight = 1000000;
	run(3000);
	assert_true(both_own(&t));
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* A disk may take as long as it likes. */
static struct {
	pthread_t here;
	int disk[2]; /* it is done when something can be read */
	unsigned int by_us;
} synced;

int fsync(int fd)
{
	char byte;

	(void)fd;
	if (!synced.disk[0])
		return 0;
	if (pthread_equal(pthread_self(), synced.here)) {
		synced.by_us++;
		return 0;
	}
	assert_int_equal(read(synced.disk[0], &byte, 1), 1);
	return 0;
}

static void the_loop_waits_for_no_disk(void **state)
{
	struct daemon *d = host[0].d;
	char path[CONF_DIR_MAX + 8];

	(void)state;
	synced.here = pthread_self();
	assert_int_equal(pipe(synced.disk), 0);
	snprintf(path, sizeof(path), "%s/pins", d->conf->state_dir);
	assoc_peer_ops.pins_changed(d);
	run(2 * PINS_WRITE_MS);
	assert_false(store_pins_check(d));
	assert_int_not_equal(access(path, F_OK), 0);
	/* Another change waits for the one that is being written. */
	assoc_peer_ops.pins_changed(d);
	run(2 * PINS_WRITE_MS);
	assert_int_not_equal(d->pins_ms, 0);
	assert_int_equal(write(synced.disk[1], "ab", 2), 2);
	aside_close(d->aside); /* returns when it is written */
	assert_int_equal(access(path, F_OK), 0);
	assert_true(store_pins_check(d));
	assert_int_equal(aside_open(&d->aside), 0);
	run(2 * PINS_WRITE_MS);
	assert_int_equal(d->pins_ms, 0);
	aside_close(d->aside);
	d->aside = NULL;
	assert_int_equal(synced.by_us, 0);
	close(synced.disk[0]);
	close(synced.disk[1]);
	synced.disk[0] = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(a_flow_is_owned_moves_and_ends),
		WORLD(one_end_of_an_unmoved_flow_ends),
		WORLD(the_gap_of_a_move_is_told),
		WORLD(the_port_needs_its_capability_once),
		WORLD(an_operator_is_told_why_nothing_moves),
		WORLD(who_is_not_root_is_told_so),
		WORLD(a_failed_start_leaves_nothing),
		WORLD(a_new_socket_at_the_peer_is_owned_again),
		WORLD(another_key_takes_what_the_first_gave_up),
		WORLD(who_has_stopped_keeps_what_it_owns),
		WORLD(and_keeps_it_for_a_day),
		WORLD(the_operator_frees_what_waits),
		WORLD(a_revoked_key_keeps_nothing),
		WORLD(owners_that_have_stopped_are_bounded),
		WORLD(who_is_configured_is_waited_for),
		WORLD(failed_handshakes_have_shares_of_the_log),
		WORLD(the_sockets_to_an_address_are_counted),
		WORLD(tracks_of_failed_claims_are_freed),
		WORLD(a_proof_may_be_a_window_ahead),
		WORLD(pairs_are_bounded),
		WORLD(connections_have_shares),
		WORLD(some_is_left_for_who_is_configured),
		WORLD(guards_have_shares),
		WORLD(watches_have_shares),
		WORLD(an_owned_flow_is_looked_at_once),
		WORLD(an_address_that_was_never_preferred_is_stayed_at),
		WORLD(where_it_began_is_no_reason_to_move),
		WORLD(source_rules_are_obeyed),
		WORLD(a_better_route_to_a_moved_peer),
		WORLD(a_look_that_came_too_early_is_repeated),
		WORLD(a_router_that_answers_is_looked_at_soon),
		WORLD(events_without_end_put_no_look_off),
		WORLD(who_tries_on_costs_no_transaction),
		WORLD(a_flow_owned_too_late_is_guarded_and_moved),
		WORLD(who_enters_does_as_the_track),
		WORLD(nothing_passes_from_an_address_that_is_gone),
		WORLD(nothing_is_rewritten_to_an_address_that_is_gone),
		WORLD(the_last_flow_ends_in_the_step_of_its_track),
		WORLD(a_hold_that_began_before_wakes_senders_too),
		WORLD(others_datagrams_are_not_held),
		WORLD(others_connections_are_not_held),
		WORLD(a_steady_sender_leaves_the_queue),
		WORLD(a_tunnel_is_neither_left_nor_entered),
		WORLD(a_tunnel_that_comes_up_is_a_reason),
		WORLD(a_dead_flow_opens_no_handshake),
		WORLD(a_long_dump_makes_no_flow_old),
		WORLD(two_sockets_of_one_tuple_are_one_flow),
		WORLD(rules_that_are_read_are_waited_for),
		WORLD(only_allowed_flows_open_the_door),
		WORLD(a_long_move_takes_little_memory),
		WORLD(a_kernel_that_refuses_is_asked_again),
		WORLD(a_reason_of_tomorrow_counts_as_policy),
		WORLD(an_accept_for_some_is_no_accept),
		WORLD(two_flows_of_a_move_share_no_tuple),
		WORLD(a_half_owned_flow_stops_no_other_1),
		WORLD(a_half_owned_flow_stops_no_other_2),
		WORLD(lost_events_are_asked_for),
		WORLD(lost_ends_make_no_storm_of_dumps),
		WORLD(time_comes_before_packets),
		WORLD(a_poke_bears_our_mark),
		WORLD(who_does_not_answer_is_asked_veiled),
		WORLD(a_hook_in_vain_goes_in_the_end),
		WORLD(paths_go_with_their_address),
		WORLD(a_failed_drain_keeps_the_way_back),
		WORLD(home_has_a_way_back_until_it_is_plain),
		WORLD(a_wish_ends_with_its_address),
		WORLD(a_reload_lets_go_of_what_is_denied),
		WORLD(or_what_the_other_end_denies),
		WORLD(what_has_moved_is_let_go_at_home),
		WORLD(what_has_moved_ends_with_the_peers_daemon),
		WORLD(what_is_held_stays_so_when_the_peer_stops),
		WORLD(the_loop_waits_for_no_disk),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
