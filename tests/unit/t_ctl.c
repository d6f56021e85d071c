/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * t_ctl: a made-up daemon behind a real socket, and the real sacipctl.
 *
 * ctl_process() runs in this process, sacipctl as a child whose output is
 * collected. Files are in a directory of its own under /tmp.
 */
#include "ctl.h"

#include "crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 20000
#define USER 4242 /* owns every tenth flow */
#define GROUP 4243
#define OUTPUT_MAX (32 << 20)

struct fake {
	char dir[64], path[96];
	struct ctl *ctl;
	struct counters counters;
	uint64_t n_flows;
	unsigned int n_peers;
	struct ctl_move moved; /* the last one asked for */
	char forgotten[CTL_NAME_MAX];
	int answer; /* of forget and move */
	bool publish_in_move;
	size_t max_pull; /* the most flows ever asked for at once */
	char *out;	 /* what the last child printed: both streams */
};

static void make_flow(uint64_t id, struct ctl_flow *f)
{
	memset(f, 0, sizeof(*f));
	f->id = id;
	f->identity.proto = id % 2 ? IPPROTO_TCP : IPPROTO_UDP;
	addr_parse(id % 3 ? "192.0.2.1" : "2001:db8::1",
		   &f->identity.local.addr);
	addr_parse(id % 3 ? "198.51.100.9" : "2001:db8:ffff::9",
		   &f->identity.remote.addr);
	f->identity.local.port = 22;
	f->identity.remote.port = (uint16_t)(40000 + id % 10000);
	f->wire = f->identity;
	f->uid = id % 10 ? 0 : USER;
	f->age_s = 75;
	f->gap_ms = CTL_GAP_NONE;
	if (id % 4 == 0) {
		f->reason = REASON_NO_PEER;
		return;
	}
	f->state = id % 4 == 1 ? CTL_PROTECTED : CTL_MOVED;
	strcpy(f->peer, "B2:fingerprint");
	strcpy(f->peer_name, id % 2 ? "al\033\"pha" : "");
	f->trust = id % 2 ? CTL_TRUST_CONFIGURED : CTL_TRUST_FIRST_CONTACT;
	if (f->state == CTL_MOVED) {
		f->wire.local.port = 1022;
		f->moves = 3;
		f->gap_ms = 12;
		f->path = CTL_PATH_KERNEL;
		f->counted = true;
		f->kernel.packets_out = 11;
		f->kernel.bytes_in = 12;
		f->queue.packets_in = 13;
	}
}

static size_t fake_flows(void *ctx, uint64_t *cursor, struct ctl_flow *to,
			 size_t max)
{
	struct fake *fake = ctx;
	size_t n = 0;

	if (max > fake->max_pull)
		fake->max_pull = max;
	while (n < max && *cursor < fake->n_flows)
		make_flow(++*cursor, &to[n++]);
	return n;
}

static int fake_flow(void *ctx, uint64_t id, struct ctl_flow *to)
{
	struct fake *fake = ctx;

	if (id > fake->n_flows)
		return -ENOENT;
	make_flow(id, to);
	return 0;
}

static size_t fake_peers(void *ctx, uint64_t *cursor, struct ctl_peer *to,
			 size_t max)
{
	struct fake *fake = ctx;
	size_t n = 0;

	while (n < max && *cursor < fake->n_peers) {
		memset(&to[n], 0, sizeof(to[n]));
		to[n].public_key[0] = (uint8_t)++ * cursor;
		strcpy(to[n].fingerprint, "B2:fingerprint");
		strcpy(to[n].name, *cursor % 2 ? "alpha" : "");
		to[n].trust = CTL_TRUST_CONFIGURED;
		to[n].session = *cursor % 2;
		to[n].srtt_us = 1234;
		to[n].n_addresses = CTL_PEER_ADDRS_MAX;
		for (int i = 0; i < CTL_PEER_ADDRS_MAX; i++)
			addr_parse("2001:db8::1", &to[n].address[i]);
		n++;
	}
	return n;
}

static void fake_status(void *ctx, struct ctl_status *to)
{
	struct fake *fake = ctx;

	strcpy(to->version, "9.9");
	strcpy(to->fingerprint, "B2:own");
	to->pid = 77;
	to->flows[CTL_MOVED] = 5;
	to->max_flows = 65536;
	to->native_queue = true;
	to->counters = fake->counters;
	to->counters.refused[REASON_NAT] = 31;
	to->counters.value[COUNTER_RX_REPLAY] = 12345678901;
}

static void fake_key(void *ctx, char fingerprint[CTL_NAME_MAX],
		     uint8_t public_key[CTL_KEY_SIZE])
{
	(void)ctx;
	strcpy(fingerprint, "B2:own");
	memset(public_key, 0, CTL_KEY_SIZE);
	public_key[0] = 1;
}

static int fake_forget(void *ctx, const char *peer, char text[CTL_TEXT_MAX])
{
	struct fake *fake = ctx;

	strcpy(fake->forgotten, peer);
	if (fake->answer)
		strcpy(text, "no such peer; see sacipctl peers");
	return fake->answer;
}

static int fake_move(void *ctx, const struct ctl_move *m,
		     char text[CTL_TEXT_MAX])
{
	struct fake *fake = ctx;
	struct ctl_event e = { .time_ms = 1500, .uid = CTL_UID_NONE };

	fake->moved = *m;
	if (fake->publish_in_move) {
		strcpy(e.what, "asked");
		ctl_publish(fake->ctl, &e);
	}
	if (!fake->answer)
		strcpy(text, "3 flows are moving");
	return fake->answer;
}

static const struct ctl_ops ops = {
	.flows = fake_flows,
	.flow = fake_flow,
	.peers = fake_peers,
	.status = fake_status,
	.key = fake_key,
	.forget = fake_forget,
	.move = fake_move,
};

/* --- the surroundings ------------------------------------------------------
 */

static int set_up(void **state)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	if (!fake)
		return -1;
	strcpy(fake->dir, "/tmp/t_ctl.XXXXXX");
	if (!mkdtemp(fake->dir) || chmod(fake->dir, 0755) < 0)
		return -1;
	snprintf(fake->path, sizeof(fake->path), "%s/%s", fake->dir,
		 CTL_SOCKET_NAME);
	fake->n_flows = 12;
	fake->n_peers = 2;
	fake->out = malloc(OUTPUT_MAX);
	*state = fake;
	return !fake->out ||
	       ctl_open(&fake->ctl, fake->path, &ops, fake, &fake->counters);
}

static int tear_down(void **state)
{
	struct fake *fake = *state;
	struct stat st;
	int left;

	ctl_close(fake->ctl);
	left = lstat(fake->path, &st) == 0;
	rmdir(fake->dir);
	free(fake->out);
	free(fake);
	return left;
}

/* Lets the daemon turn until nothing is left to do for `ms`. */
static void turn(struct fake *fake, int ms)
{
	struct pollfd p = { .fd = ctl_fd(fake->ctl), .events = POLLIN };

	while (poll(&p, 1, ms) > 0)
		ctl_process(fake->ctl);
}

static const char *program(void)
{
	const char *p = getenv("SACIPCTL");

	return p ? p : "./sacipctl";
}

struct child {
	pid_t pid;
	int out;
};

/* Starts sacipctl, which prints to fd[1], and reads it where it is a
 * terminal; uid 0 stays what we are. */
static struct child start_on(struct fake *fake, int fd[2], uid_t uid,
			     gid_t group, const char *const args[])
{
	const char *argv[16] = { program(), "-s", fake->path };
	struct child c;
	int n = 3;

	while (*args && n < 15)
		argv[n++] = *args++;
	c.pid = fork();
	assert_true(c.pid >= 0);
	if (c.pid == 0) {
		if (isatty(fd[1])) {
			dup2(fd[1], 0);
			setpgid(0, 0); /* one that can be stopped */
		}
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		close(fd[0]);
		if (uid && (setgroups(group ? 1 : 0, &group) < 0 ||
			    setgid(USER) < 0 || setuid(uid) < 0))
			_exit(99);
		execv(argv[0], (char *const *)argv);
		_exit(98);
	}
	close(fd[1]);
	c.out = fd[0];
	return c;
}

static struct child start(struct fake *fake, uid_t uid, gid_t group,
			  const char *const args[])
{
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	return start_on(fake, fd, uid, group, args);
}

/* Collects what the child prints while the daemon turns; its exit code. */
static int finish(struct fake *fake, struct child c)
{
	struct pollfd p[2] = {
		{ .fd = c.out, .events = POLLIN },
		{ .fd = fake->ctl ? ctl_fd(fake->ctl) : -1, .events = POLLIN },
	};
	size_t len = 0;
	int status;
	ssize_t n;

	for (;;) {
		assert_true(poll(p, 2, 30000) > 0);
		if (p[1].revents & POLLIN)
			ctl_process(fake->ctl);
		if (!p[0].revents)
			continue;
		n = read(c.out, fake->out + len, OUTPUT_MAX - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	fake->out[len] = '\0';
	close(c.out);
	assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define RUN_AS(fake, uid, group, ...)        \
	finish(fake, start(fake, uid, group, \
			   (const char *const[]){ __VA_ARGS__, NULL }))
#define RUN(fake, ...) RUN_AS(fake, 0, 0, __VA_ARGS__)

static void assert_prints(const struct fake *fake, const char *text)
{
	if (strstr(fake->out, text))
		return;
	print_message("# printed:\n# %.2000s\n", fake->out);
	assert_string_equal(text, "stands in the output");
}

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("# not root: cannot become another user\n");
	skip();
}

/* memmem(): the sanitizer's strstr() measures the whole text each time. */
static unsigned int count(const char *text, const char *what)
{
	const char *end = text + strlen(text);
	unsigned int n = 0;

	while ((text = memmem(text, (size_t)(end - text), what,
			      strlen(what)))) {
		text++;
		n++;
	}
	return n;
}

/* --- tests: what is printed --------------------------------------------------
 */

static void list_is_aligned_for_people(void **state)
{
	struct fake *fake = *state;

	need_root();
	assert_int_equal(RUN(fake, "list"), 0);
	assert_prints(fake, "[2001:db8::1]:22   [2001:db8:ffff::9]:40003");
	fake->n_flows = 2;
	assert_int_equal(RUN(fake, "list"), 0);
	assert_string_equal(
		fake->out, "ID PROTO STATE      AGE MOVES LOCAL          REMOTE"
			   "             TRUST/REASON\n"
			   " 1 tcp   protected  75s     0 192.0.2.1:22  "
			   " 198.51.100.9:40001 configured\n"
			   " 2 udp   moved      75s     3 192.0.2.1:22  "
			   " 198.51.100.9:40002 first-contact\n"
			   "                  on the wire 192.0.2.1:1022"
			   " 198.51.100.9:40002 by kernel\n");
	fake->n_flows = 4;
	assert_int_equal(RUN(fake, "list"), 0);
	assert_prints(fake, " 4 udp   tracked    75s     0 192.0.2.1:22 "
			    "      198.51.100.9:40004       no_peer\n");
	assert_null(strchr(fake->out, '\033'));
}

static void colours_are_for_terminals(void **state)
{
	const char *const list[] = { "list", NULL };
	const char *const json[] = { "list", "--json", NULL };
	struct fake *fake = *state;
	int fd[2];

	need_root();
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	assert_int_equal(openpty(&fd[0], &fd[1], NULL, NULL, NULL), 0);
	assert_int_equal(finish(fake, start_on(fake, fd, 0, 0, list)), 0);
	assert_prints(fake, " 1 tcp   \033[32mprotected\033[0m  75s ");
	assert_prints(fake, " 2 udp   \033[36mmoved\033[0m      75s ");
	assert_int_equal(openpty(&fd[0], &fd[1], NULL, NULL, NULL), 0);
	assert_int_equal(finish(fake, start_on(fake, fd, 0, 0, json)), 0);
	assert_null(strchr(fake->out, '\033'));
	setenv("NO_COLOR", "1", 1);
	assert_int_equal(openpty(&fd[0], &fd[1], NULL, NULL, NULL), 0);
	assert_int_equal(finish(fake, start_on(fake, fd, 0, 0, list)), 0);
	assert_null(strchr(fake->out, '\033'));
}

static void list_as_json_has_the_promised_members(void **state)
{
	struct fake *fake = *state;

	need_root();
	assert_int_equal(RUN(fake, "list", "--json"), 0);
	assert_prints(
		fake,
		"{\"id\": \"2\", \"proto\": \"udp\", \"state\": \"moved\","
		" \"identity\": {\"local\": {\"addr\": \"192.0.2.1\","
		" \"port\": 22}, \"remote\": {\"addr\": \"198.51.100.9\","
		" \"port\": 40002}}, \"wire\": {\"local\": {\"addr\":"
		" \"192.0.2.1\", \"port\": 1022}, \"remote\": {\"addr\":"
		" \"198.51.100.9\", \"port\": 40002}}, \"peer\":"
		" \"B2:fingerprint\", \"peer_name\": null, \"trust\":"
		" \"first-contact\", \"age_s\": 75, \"moves\": 3, \"reason\":"
		" null, \"gap_ms\": 12, \"path\": \"kernel\", \"traffic\": {\"queue\":"
		" {\"packets_out\": 0, \"bytes_out\": 0, \"packets_in\": 13,"
		" \"bytes_in\": 0}, \"kernel\": {\"packets_out\": 11,"
		" \"bytes_out\": 0, \"packets_in\": 0, \"bytes_in\": 12}}}");
	assert_prints(fake, "{\"id\": \"4\", \"proto\": \"udp\", \"state\":"
			    " \"tracked\"");
	assert_prints(fake, "\"peer\": null, \"peer_name\": null, \"trust\":"
			    " null, \"age_s\": 75, \"moves\": 0, \"reason\":"
			    " \"no_peer\", \"gap_ms\": null, \"path\": \"direct\"");
	assert_prints(fake, "\"addr\": \"2001:db8::1\"");
	/* What a peer calls itself cannot break out of its string. */
	assert_prints(fake, "\"peer_name\": \"al\\u001b\\\"pha\"");
	assert_int_equal(count(fake->out, "\"id\""), 12);
	assert_int_equal(strncmp(fake->out, "[\n", 2), 0);
	assert_string_equal(fake->out + strlen(fake->out) - 3, "\n]\n");

	fake->n_flows = 0;
	assert_int_equal(RUN(fake, "--json", "list"), 0);
	assert_string_equal(fake->out, "[]\n");
}

static void show_tells_one_flow(void **state)
{
	struct fake *fake = *state;

	need_root();
	assert_int_equal(RUN(fake, "show", "7"), 0);
	assert_prints(fake, "flow 7: tcp, moved, 75s old, 3 moves\n");
	assert_prints(fake, "  last gap     12 ms\n");
	assert_prints(fake, "peer         B2:fingerprint (al\\x1b\"pha)\n");
	assert_int_equal(RUN(fake, "show", "8"), 0);
	assert_prints(fake, "no_peer: nobody answered, or nobody asked (initiate)\n");
	assert_int_equal(RUN(fake, "-j", "show", "7"), 0);
	assert_prints(fake, "\"uid\": 0, \"track\": 0, \"seq\": \"0\"");
	assert_int_equal(RUN(fake, "show", "13"), 1);
	assert_prints(fake, "no such flow");
}

static void peers_and_key_are_shown(void **state)
{
	struct fake *fake = *state;

	need_root();
	fake->n_peers = 100;
	assert_int_equal(RUN(fake, "peers"), 0);
	assert_int_equal(count(fake->out, "fingerprint  B2:"), 100);
	assert_prints(fake, "peer alpha\n");
	assert_prints(fake, "session      live, round trip 1.234 ms\n");
	assert_int_equal(RUN(fake, "peers", "--json"), 0);
	assert_int_equal(count(fake->out, "\"srtt_ms\": 1.234"), 100);
	assert_int_equal(RUN(fake, "key"), 0);
	assert_prints(fake, "public key   AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
			    "AAAAAAAAA=\nfingerprint  B2:own\n");
	assert_int_equal(RUN(fake, "key", "--json"), 0);
	assert_string_equal(
		fake->out, "{\"public_key\": \"AQAAAAAAAAAAAAAAAAAAAAAAAAAAA"
			   "AAAAAAAAAAAAAA=\", \"fingerprint\": \"B2:own\"}\n");
}

static void status_names_every_counter(void **state)
{
	struct fake *fake = *state;
	char want[80];

	need_root();
	assert_int_equal(RUN(fake, "status", "--json"), 0);
	assert_prints(fake, "\"counters\": {");
	assert_prints(fake, "\"nat\": 31,");
	assert_prints(fake, "\"rx_replay\": 12345678901,");
	for (int i = 1; i < REASON_MAX; i++) {
		snprintf(want, sizeof(want),
			 "\n  \"%s\": ", reason_name((enum reason)i));
		assert_int_equal(count(fake->out, want), 1);
	}
	for (int i = 0; i < COUNTER_MAX; i++) {
		snprintf(want, sizeof(want),
			 "\n  \"%s\": ", counter_name((enum counter_id)i));
		assert_int_equal(count(fake->out, want), 1);
	}
	assert_int_equal(RUN(fake, "status"), 0);
	assert_prints(fake, "saciped 9.9, pid 77, up 0s");
	assert_prints(fake, "fingerprint  B2:own");
	assert_prints(fake, "0 tracked, 0 protected, 0 moving, 5 moved\n");
	assert_prints(fake, "  nat                        31  an address is");
	assert_prints(fake, "rx_replay                     12345678901\n");
}

static void top_shows_one_interval(void **state)
{
	struct fake *fake = *state;

	need_root();
	assert_int_equal(RUN(fake, "top", "--once", "-n", "0.25"), 0);
	assert_prints(fake, "12 flows: 3 tracked, 3 protected, 0 moving,"
			    " 6 moved\n1 peer, 18 moves, 0 packets held, 0"
			    " packets/s and 0 bytes/s rewritten\n");
	assert_prints(fake, "\n   2 udp   moved     kernel        0      0"
			    "         0       0     3     12\n");
	assert_prints(fake, "\n   1 tcp   protected direct        -      -"
			    "         -       -     0      -\n");
	assert_null(strchr(fake->out, '\033'));
	assert_int_equal(fake->counters.value[COUNTER_CTL_CLIENTS], 1);
	assert_int_equal(RUN(fake, "top", "--once", "-j", "-n", ".25"), 0);
	assert_prints(fake, "\"moves\": 18,");
	assert_int_equal(count(fake->out, "\"id\": "), 12);
	assert_int_equal(RUN_AS(fake, USER, 0, "top", "--once", "-n", ".25"),
			 0);
	assert_prints(fake, "1 flow: ");
}

/* A terminal of 24 lines, and how it is set before anything runs on it. */
struct terminal {
	int fd[2], watch; /* `watch` stays when the others are closed */
	struct termios before;
	size_t len; /* of what was printed there so far */
};

static void terminal_open(struct terminal *t)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };

	t->len = 0;
	assert_int_equal(openpty(&t->fd[0], &t->fd[1], NULL, NULL, &size), 0);
	t->watch = fcntl(t->fd[0], F_DUPFD_CLOEXEC, 0);
	assert_int_equal(tcgetattr(t->watch, &t->before), 0);
}

/* Lets the daemon turn until `text` is on the terminal, again. */
static void await(struct fake *fake, struct terminal *t, const char *text)
{
	struct pollfd p[2] = {
		{ .fd = t->fd[0], .events = POLLIN },
		{ .fd = ctl_fd(fake->ctl), .events = POLLIN },
	};
	size_t from = t->len;
	ssize_t n;

	fake->out[from] = '\0';
	do {
		assert_true(poll(p, 2, 30000) > 0);
		if (p[1].revents)
			ctl_process(fake->ctl);
		if (!p[0].revents)
			continue;
		n = read(t->fd[0], fake->out + t->len,
			 OUTPUT_MAX - 1 - t->len);
		assert_true(n > 0);
		t->len += (size_t)n;
		fake->out[t->len] = '\0';
	} while (!strstr(fake->out + from, text));
}

/* The screen is left, and the terminal as it was. */
static void check_left(const struct fake *fake, struct terminal *t)
{
	struct termios after;

	assert_prints(fake, "\033[?25h\033[?1049l");
	assert_int_equal(tcgetattr(t->watch, &after), 0);
	assert_int_equal(after.c_lflag, t->before.c_lflag);
	close(t->watch);
}

static void top_lives_on_a_terminal(void **state)
{
	const char *const args[] = { "top", "-n", "0.25", NULL };
	const struct winsize small = { .ws_row = 6, .ws_col = 30 };
	struct fake *fake = *state;
	struct terminal t;
	struct termios now;
	struct child c;

	need_root();
	terminal_open(&t);
	c = start_on(fake, t.fd, 0, 0, args);
	await(fake, &t, "\033[?1049h");
	await(fake, &t, "\033[H12 flows: ");
	await(fake, &t, "\033[H12 flows: "); /* refreshed in place */
	assert_null(strstr(fake->out, " more"));
	assert_int_equal(tcgetattr(t.watch, &now), 0);
	assert_int_equal(now.c_lflag & (ICANON | ECHO), 0);
	assert_int_equal(ioctl(t.watch, TIOCSWINSZ, &small), 0);
	kill(c.pid, SIGWINCH);
	await(fake, &t, "and 11 more\033[K\r\n\033[J");
	kill(c.pid, SIGTERM);
	assert_int_equal(finish(fake, c), 128 + SIGTERM);
	check_left(fake, &t);

	terminal_open(&t);
	c = start_on(fake, t.fd, 0, 0, args);
	await(fake, &t, "\033[H12 flows: ");
	kill(c.pid, SIGINT);
	assert_int_equal(finish(fake, c), 0);
	check_left(fake, &t);

	terminal_open(&t);
	c = start_on(fake, t.fd, 0, 0, args);
	await(fake, &t, "\033[H12 flows: ");
	assert_int_equal(write(t.fd[0], "xq", 2), 2);
	assert_int_equal(finish(fake, c), 0);
	check_left(fake, &t);

	/* Why it ended is read where it is seen. */
	terminal_open(&t);
	c = start_on(fake, t.fd, 0, 0, args);
	await(fake, &t, "\033[H12 flows: ");
	ctl_close(fake->ctl);
	fake->ctl = NULL;
	assert_int_equal(finish(fake, c), 3);
	assert_prints(fake, "\033[?25h\033[?1049lsacipctl: saciped at /tmp/");
	check_left(fake, &t);
}

static void top_stops_and_goes_on(void **state)
{
	const char *const args[] = { "top", "-n", "0.25", NULL };
	struct fake *fake = *state;
	struct terminal t;
	struct termios now;
	struct child c;
	int status;

	need_root();
	terminal_open(&t);
	c = start_on(fake, t.fd, 0, 0, args);
	await(fake, &t, "\033[H12 flows: ");
	kill(c.pid, SIGTSTP);
	await(fake, &t, "\033[?1049l");
	assert_int_equal(waitpid(c.pid, &status, WUNTRACED), c.pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(tcgetattr(t.watch, &now), 0);
	assert_int_equal(now.c_lflag, t.before.c_lflag);
	kill(c.pid, SIGCONT);
	await(fake, &t, "\033[?1049h");
	await(fake, &t, "\033[H12 flows: ");
	kill(c.pid, SIGQUIT);
	assert_int_equal(finish(fake, c), 128 + SIGQUIT);
	check_left(fake, &t);
}

/* A daemon that stands still: the user need not wait for it. */
static void top_ends_in_the_middle_of_an_answer(void **state)
{
	const char *const args[] = { "top", "-n", "0.25", NULL };
	struct fake *fake = *state;
	struct pollfd asked = { .fd = ctl_fd(fake->ctl), .events = POLLIN };
	struct terminal t;
	struct child c;
	int status;

	need_root();
	terminal_open(&t);
	c = start_on(fake, t.fd, 0, 0, args);
	await(fake, &t, "\033[H12 flows: ");
	/* It asks again, and nobody turns. */
	assert_int_equal(poll(&asked, 1, 30000), 1);
	kill(c.pid, SIGTERM);
	assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
	assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
	close(c.out);
	close(t.watch);
}

static void forget_and_move_reach_the_daemon(void **state)
{
	struct fake *fake = *state;
	struct addr a;

	need_root();
	assert_int_equal(RUN(fake, "forget", "alpha"), 0);
	assert_string_equal(fake->forgotten, "alpha");
	assert_int_equal(RUN(fake, "move", "--from", "10.0.0.1", "--to",
			     "2001:db8::5", "7"),
			 0);
	assert_string_equal(fake->out, "3 flows are moving\n");
	assert_string_equal(fake->moved.scope, "7");
	addr_parse("10.0.0.1", &a);
	assert_true(addr_equal(&a, &fake->moved.from));
	addr_parse("2001:db8::5", &a);
	assert_true(addr_equal(&a, &fake->moved.to));
	assert_string_equal(fake->moved.to_ifname, "");
	assert_int_equal(RUN(fake, "--json", "move", "--to", "eth1"), 0);
	assert_string_equal(fake->out, "{\"done\": true, \"text\": \"3 flows"
				       " are moving\"}\n");
	assert_string_equal(fake->moved.scope, "");
	assert_string_equal(fake->moved.to_ifname, "eth1");
	assert_false(addr_is_set(&fake->moved.from));
	fake->answer = -ENOENT;
	assert_int_equal(RUN(fake, "forget", "beta"), 1);
	assert_prints(fake, "sacipctl: no such peer; see sacipctl peers\n");
	fake->answer = -EADDRNOTAVAIL;
	assert_int_equal(RUN(fake, "move", "--to", "eth1"), 1);
	assert_prints(fake, "sacipctl: Cannot assign requested address\n");
}

static void wrong_usage_is_code_2(void **state)
{
	struct fake *fake = *state;

	assert_int_equal(RUN(fake, "lst"), 2);
	assert_int_equal(RUN(fake, "--nonsense"), 2);
	assert_prints(fake, "sacipctl: see sacipctl --help\n");
	assert_int_equal(RUN(fake, "--json"), 2);
	assert_int_equal(RUN(fake, "list", "7"), 2);
	assert_prints(fake, "sacipctl: list: too many arguments; see sacipctl"
			    " --help\n");
	assert_int_equal(RUN(fake, "list", "--to", "eth0"), 2);
	assert_int_equal(RUN(fake, "show"), 2);
	assert_int_equal(RUN(fake, "show", "0"), 2);
	assert_int_equal(RUN(fake, "show", "-1"), 2);
	assert_int_equal(RUN(fake, "show", "7x"), 2);
	assert_int_equal(RUN(fake, "show", "99999999999999999999"), 2);
	assert_int_equal(RUN(fake, "list", "--once"), 2);
	assert_int_equal(RUN(fake, "top"), 2); /* no terminal */
	assert_int_equal(RUN(fake, "top", "--json"), 2);
	assert_int_equal(RUN(fake, "top", "--once", "-n", "0"), 2);
	assert_int_equal(RUN(fake, "top", "--once", "-n", "nan"), 2);
	assert_int_equal(RUN(fake, "top", "--once", "-n", "1s"), 2);
	assert_int_equal(RUN(fake, "top", "--once", "7"), 2);
	assert_int_equal(RUN(fake, "forget"), 2);
	assert_int_equal(RUN(fake, "forget", ""), 2);
	assert_int_equal(RUN(fake, "move"), 2);
	assert_int_equal(RUN(fake, "move", "--to", ""), 2);
	assert_int_equal(RUN(fake, "move", "--to", "a-name-too-long-for-one"),
			 2);
	assert_int_equal(RUN(fake, "move", "--from", "eth0", "--to", "eth0"),
			 2);
	assert_int_equal(RUN(fake, "move", "1", "2", "--to", "eth0"), 2);
	assert_int_equal(RUN(fake, "--help"), 0);
	assert_int_equal(RUN(fake, "--version"), 0);
	assert_int_equal(fake->counters.value[COUNTER_CTL_CLIENTS], 0);
}

static void without_a_daemon_the_code_is_3(void **state)
{
	struct fake *fake = *state;

	ctl_close(fake->ctl);
	fake->ctl = NULL;
	assert_int_equal(RUN(fake, "list"), 3);
	assert_prints(fake, "sacipctl: no saciped at /tmp/t_ctl.");
	assert_prints(fake, "(No such file or directory): start it, or name");
}

static void a_daemon_that_dies_is_noticed(void **state)
{
	struct fake *fake = *state;
	const char *const args[] = { "list", NULL };
	struct child c;

	/* More than the socket and the pipe of the output can hold. */
	fake->n_flows = MANY;
	c = start(fake, 0, 0, args);
	while (fake->max_pull == 0)
		turn(fake, 50);
	ctl_close(fake->ctl);
	fake->ctl = NULL;
	assert_int_equal(finish(fake, c), 3);
	assert_prints(fake, "hung up\n");
}

/* --- tests: permissions
 * --------------------------------------------------------- */

static void others_see_only_their_own(void **state)
{
	struct fake *fake = *state;

	need_root();
	fake->n_flows = 100;
	assert_int_equal(RUN_AS(fake, USER, 0, "list", "--json"), 0);
	assert_int_equal(count(fake->out, "\"id\""), 10);
	assert_prints(fake, "\"id\": \"10\"");
	assert_null(strstr(fake->out, "not shown"));
	assert_int_equal(RUN_AS(fake, USER, 0, "list"), 0);
	assert_prints(fake, "sacipctl: 90 flows of other users not shown: root "
			    "and the socket's group see all\n");
	assert_int_equal(RUN(fake, "list"), 0);
	assert_null(strstr(fake->out, "not shown"));
	assert_int_equal(RUN_AS(fake, USER, 0, "show", "10"), 0);
	assert_int_equal(RUN_AS(fake, USER, 0, "show", "11"), 4);
	assert_prints(fake, "another user's flow: only for root and the "
			    "socket's group\n");
	assert_int_equal(RUN_AS(fake, USER, 0, "peers"), 4);
	assert_int_equal(RUN_AS(fake, USER, 0, "status"), 0);
	assert_null(strstr(fake->out, "B2:own"));
	assert_int_equal(RUN_AS(fake, USER, 0, "key"), 4);
	assert_prints(fake, "key: only for root\n");
	assert_int_equal(RUN_AS(fake, USER, 0, "forget", "a"), 4);
	assert_int_equal(RUN_AS(fake, USER, 0, "move", "--to", "eth0"), 4);
	assert_string_equal(fake->forgotten, "");
	assert_string_equal(fake->moved.to_ifname, "");
	assert_int_equal(RUN_AS(fake, USER + 1, 0, "list", "--json"), 0);
	assert_string_equal(fake->out, "[]\n");
	assert_int_equal(fake->counters.value[COUNTER_CTL_REFUSED], 5);
}

static void the_group_of_the_socket_sees_all(void **state)
{
	struct fake *fake = *state;

	need_root();
	fake->n_flows = 100;
	assert_int_equal(RUN_AS(fake, USER, GROUP, "peers"), 4);
	assert_int_equal(chown(fake->path, (uid_t)-1, GROUP), 0);
	assert_int_equal(RUN_AS(fake, USER, GROUP, "list", "--json"), 0);
	assert_int_equal(count(fake->out, "\"id\""), 100);
	assert_int_equal(RUN_AS(fake, USER, GROUP, "show", "11"), 0);
	assert_int_equal(RUN_AS(fake, USER, GROUP, "peers"), 0);
	assert_int_equal(RUN_AS(fake, USER, GROUP, "key"), 4);
	assert_int_equal(RUN_AS(fake, USER, GROUP, "move", "--to", "a"), 4);
	assert_int_equal(RUN_AS(fake, USER, 0, "peers"), 4);
}

/* --- tests: load and malice
 * ------------------------------------------------------- */

static int dial(const struct fake *fake)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(sun.sun_path, fake->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static void ask(int fd, enum ctl_type type)
{
	struct ctl_request q = { .type = type };
	uint8_t packet[CTL_REQUEST_MAX];
	size_t len = ctlmsg_put_request(&q, packet);

	assert_int_equal(send(fd, packet, len, MSG_NOSIGNAL), len);
}

/* The next answer without waiting: 1, 0 nothing there, -1 the end. */
static int take(int fd, struct ctl_answer *a)
{
	static uint8_t packet[CTL_MESSAGE_MAX];
	ssize_t n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return -1;
	assert_int_equal(ctlmsg_get_answer(packet, (size_t)n, a), 0);
	return 1;
}

static void many_flows_stream(void **state)
{
	struct fake *fake = *state;

	need_root();
	fake->n_flows = MANY;
	assert_int_equal(RUN(fake, "list", "--json"), 0);
	assert_int_equal(count(fake->out, "{\"id\": "), MANY);
	assert_prints(fake, "\"id\": \"20000\"");
	assert_true(fake->max_pull <= 64);
	assert_int_equal(RUN(fake, "list"), 0);
	assert_int_equal(count(fake->out, "first-contact\n"), MANY / 4);
}

static void a_reader_that_sleeps_stops_nobody(void **state)
{
	struct fake *fake = *state;
	struct ctl_answer a;
	struct ctl_flow f;
	uint64_t flows = 0, pulled;
	int slow, err;

	need_root();
	fake->n_flows = MANY;
	slow = dial(fake);
	ask(slow, CTL_LIST);
	turn(fake, 50);
	/* The socket is full: the daemon pulls no more, and serves others. */
	assert_int_equal(RUN(fake, "status"), 0);
	assert_int_equal(RUN(fake, "show", "5"), 0);
	pulled = fake->counters.value[COUNTER_CTL_CLIENTS];
	assert_int_equal(pulled, 3);
	while ((err = take(slow, &a)) >= 0) {
		if (err == 0) {
			turn(fake, 0);
			continue;
		}
		if (a.type == CTL_END)
			break;
		while (ctlmsg_next_flow(&a, &f) == 1)
			assert_int_equal(f.id, ++flows);
	}
	assert_int_equal(a.result, CTL_DONE);
	assert_int_equal(flows, MANY);
	/* The same connection can ask again. */
	ask(slow, CTL_KEY);
	turn(fake, 20);
	assert_int_equal(take(slow, &a), 1);
	assert_int_equal(a.type, CTL_KEY_RECORD);
	close(slow);
}

static void a_monitor_that_sleeps_loses_by_count(void **state)
{
	struct fake *fake = *state;
	struct ctl_event e = { .time_ms = 1, .uid = CTL_UID_NONE };
	struct ctl_answer a;
	uint64_t seen = 0, lost = 0, sent;
	int fd, err;

	need_root();
	assert_false(ctl_monitored(fake->ctl));
	fd = dial(fake);
	ask(fd, CTL_MONITOR);
	turn(fake, 20);
	assert_int_equal(take(fd, &a), 1);
	assert_int_equal(a.type, CTL_END);
	assert_true(ctl_monitored(fake->ctl));
	strcpy(e.what, "moved");
	for (sent = 0; sent < 20000; sent++)
		ctl_publish(fake->ctl, &e);
	while ((err = take(fd, &a)) == 1 ||
	       (turn(fake, 10), err = take(fd, &a)) == 1) {
		assert_int_equal(ctlmsg_get_event(&a, &e), 0);
		if (strcmp(e.what, "lost") == 0)
			lost += strtoull(e.text, NULL, 10);
		else
			seen++;
	}
	assert_true(lost > 0);
	assert_int_equal(seen + lost, sent);
	/* From here on it hears again. */
	ctl_publish(fake->ctl, &e);
	assert_int_equal(take(fd, &a), 1);
	close(fd);
	turn(fake, 20);
	assert_false(ctl_monitored(fake->ctl));
}

static void monitors_hear_what_they_may(void **state)
{
	struct fake *fake = *state;
	const char *const args[] = { "monitor", NULL };
	struct ctl_event e = { .time_ms = 86399999, .flow = 7, .uid = USER };
	struct child root, user;
	int left = 100;

	need_root();
	root = start(fake, 0, 0, args);
	user = start(fake, USER, 0, args);
	while (fake->counters.value[COUNTER_CTL_CLIENTS] < 2 && left--)
		turn(fake, 50);
	turn(fake, 50);
	strcpy(e.what, "moved");
	strcpy(e.peer, "B2:x");
	strcpy(e.text, "to \xff");
	ctl_publish(fake->ctl, &e);
	e.uid = CTL_UID_NONE;
	strcpy(e.what, "secret");
	ctl_publish(fake->ctl, &e);
	/* Out of a request of another client, too. */
	fake->publish_in_move = true;
	assert_int_equal(RUN(fake, "move", "--to", "eth0"), 0);
	ctl_close(fake->ctl);
	assert_int_equal(
		ctl_open(&fake->ctl, fake->path, &ops, fake, &fake->counters),
		0);
	assert_int_equal(finish(fake, user), 3);
	assert_int_equal(count(fake->out, "\n"), 2);
	assert_prints(fake, ".999 moved flow 7 peer B2:x: to \\xff\n");
	assert_prints(fake, "hung up");
	assert_int_equal(finish(fake, root), 3);
	assert_prints(fake, " secret flow 7");
	assert_prints(fake, " asked\n");
}

static void malformed_requests_harm_nobody(void **state)
{
	struct fake *fake = *state;
	static const struct {
		uint8_t packet[CTL_REQUEST_MAX + 8];
		size_t len;
	} bad[] = {
		{ { CTL_VERSION }, 1 },
		{ { CTL_VERSION, CTL_LIST, 0, 5, 0 }, 5 }, /* too long */
		{ { CTL_VERSION, CTL_LIST, 0, 3 }, 4 },	   /* wrong length */
		{ { CTL_VERSION, 0, 0, 4 }, 4 },
		{ { CTL_VERSION, CTL_TYPE_MAX, 0, 4 }, 4 },
		{ { CTL_VERSION, CTL_END, 0, 4 }, 4 },
		{ { CTL_VERSION, 255, 0, 4 }, 4 },
		{ { CTL_VERSION, CTL_SHOW, 0, 8, 1, 2, 3, 4 }, 8 },
		{ { CTL_VERSION, CTL_FORGET, 0, 5, 9 }, 5 },
		{ { CTL_VERSION, CTL_FORGET, 0, 5, 0 }, 5 }, /* no name */
		{ { CTL_VERSION, CTL_FORGET, 0, 7, 2, 'a', 0 }, 7 }, /* NUL */
		{ { CTL_VERSION + 1, CTL_LIST, 0, 4 }, 4 },
		{ { CTL_VERSION, CTL_LIST, 1, 8 }, CTL_REQUEST_MAX + 8 },
	};
	struct ctl_answer a;
	int fd;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fd = dial(fake);
		assert_int_equal(send(fd, bad[i].packet, bad[i].len, 0),
				 bad[i].len);
		turn(fake, 20);
		assert_int_equal(take(fd, &a), 1);
		assert_int_equal(a.type, CTL_END);
		assert_int_equal(a.result, CTL_USAGE);
		assert_int_equal(take(fd, &a), -1);
		close(fd);
	}
	assert_int_equal(fake->counters.value[COUNTER_CTL_REFUSED],
			 sizeof(bad) / sizeof(bad[0]));
	fd = dial(fake);
	ask(fd, CTL_STATUS);
	turn(fake, 20);
	assert_int_equal(take(fd, &a), 1);
	assert_int_equal(a.type, CTL_STATUS_RECORD);
	close(fd);
}

static void clients_are_bounded(void **state)
{
	struct fake *fake = *state;
	int fd[CTL_CLIENTS_MAX + 1];
	struct ctl_answer a;

	need_root();
	for (int i = 0; i <= CTL_CLIENTS_MAX; i++) {
		fd[i] = dial(fake);
		turn(fake, 0);
	}
	for (int i = 0; i < CTL_CLIENTS_MAX; i++)
		ask(fd[i], CTL_STATUS);
	turn(fake, 20);
	for (int i = 0; i < CTL_CLIENTS_MAX; i++) {
		assert_int_equal(take(fd[i], &a), 1);
		assert_int_equal(a.type, CTL_STATUS_RECORD);
		close(fd[i]);
	}
	assert_int_equal(take(fd[CTL_CLIENTS_MAX], &a), 1);
	assert_int_equal(a.result, CTL_REFUSED);
	assert_int_equal(take(fd[CTL_CLIENTS_MAX], &a), -1);
	close(fd[CTL_CLIENTS_MAX]);
	turn(fake, 20);
	assert_int_equal(RUN(fake, "status"), 0);
}

/* A child that connects as another user many times and waits. */
static void one_user_cannot_lock_others_out(void **state)
{
	struct fake *fake = *state;
	int fd[2], done[2], refused = 0;
	char c;
	pid_t pid;

	need_root();
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		int s;

		close(done[1]); /* so that our end is its end */
		if (setgroups(0, NULL) < 0 || setgid(USER) || setuid(USER))
			_exit(1);
		for (int i = 0; i < 20; i++)
			s = dial(fake);
		(void)s;
		(void)!write(fd[1], "x", 1);
		(void)!read(done[0], &c, 1);
		_exit(0);
	}
	assert_int_equal(read(fd[0], &c, 1), 1);
	turn(fake, 50);
	refused = (int)fake->counters.value[COUNTER_CTL_REFUSED];
	assert_int_equal(refused, 20 - CTL_CLIENTS_PER_UID_MAX);
	assert_int_equal(RUN_AS(fake, USER + 1, 0, "status"), 0);
	assert_int_equal(RUN(fake, "list"), 0);
	assert_int_equal(write(done[1], "x", 1), 1);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(fd[i]);
		close(done[i]);
	}
}

/* --- tests: the socket file
 * --------------------------------------------------------- */

static void the_socket_file_is_ours_alone(void **state)
{
	struct fake *fake = *state;
	struct ctl *other;
	char path[128], longer[200];
	struct stat st;
	int fd;

	assert_int_equal(stat(fake->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	/* A daemon answers there. */
	assert_int_equal(
		ctl_open(&other, fake->path, &ops, fake, &fake->counters),
		-EADDRINUSE);
	assert_null(other);
	/* Something else stands there. */
	snprintf(path, sizeof(path), "%s/file", fake->dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(ctl_open(&other, path, &ops, fake, &fake->counters),
			 -EEXIST);
	unlink(path);
	snprintf(path, sizeof(path), "%s/none/x", fake->dir);
	assert_int_equal(ctl_open(&other, path, &ops, fake, &fake->counters),
			 -ENOENT);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(ctl_open(&other, longer, &ops, fake, &fake->counters),
			 -ENAMETOOLONG);
	/* A killed daemon left its socket behind: it is replaced. */
	snprintf(path, sizeof(path), "%s/stale", fake->dir);
	{
		struct sockaddr_un sun = { .sun_family = AF_UNIX };

		strcpy(sun.sun_path, path);
		fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)),
				 0);
		close(fd);
	}
	assert_int_equal(ctl_open(&other, path, &ops, fake, &fake->counters),
			 0);
	/* Removed and taken by another one meanwhile: not ours to remove. */
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	ctl_close(other);
	assert_int_equal(unlink(path), 0);
}

/* --- tests: messages
 * ------------------------------------------------------------------ */

static void messages_go_both_ways(void **state)
{
	struct ctl_flow f, g;
	struct ctl_peer p, q;
	struct ctl_event e = { .time_ms = 5, .flow = 6 }, got_e;
	uint8_t packet[CTL_MESSAGE_MAX];
	struct ctl_answer a;
	unsigned int n;
	size_t len;

	(void)state;
	make_flow(UINT64_MAX - 1, &f);
	f.track = 9;
	f.seq = UINT64_MAX;
	f.path = CTL_PATH_KERNEL;
	f.counted = true;
	f.queue.bytes_in = 1;
	f.kernel.packets_out = UINT64_MAX;
	f.held_bytes = UINT32_MAX;
	n = 1;
	len = ctlmsg_put_flows(&f, &n, packet, sizeof(packet));
	assert_int_equal(n, 1);
	assert_int_equal(ctlmsg_get_answer(packet, len, &a), 0);
	assert_int_equal(ctlmsg_next_flow(&a, &g), 1);
	assert_memory_equal(&f, &g, sizeof(f));
	assert_int_equal(ctlmsg_next_flow(&a, &g), 0);

	memset(&p, 0, sizeof(p));
	memset(p.name, 'n', sizeof(p.name)); /* no NUL: cut */
	p.n_addresses = CTL_PEER_ADDRS_MAX;
	p.last_seen_s = UINT64_MAX;
	n = 1;
	len = ctlmsg_put_peers(&p, &n, packet, sizeof(packet));
	assert_int_equal(ctlmsg_get_answer(packet, len, &a), 0);
	assert_int_equal(ctlmsg_next_peer(&a, &q), 1);
	p.name[sizeof(p.name) - 1] = '\0';
	assert_memory_equal(&p, &q, sizeof(p));

	memset(e.text, 't', sizeof(e.text));
	e.uid = CTL_UID_NONE;
	len = ctlmsg_put_event(&e, packet, sizeof(packet));
	assert_int_equal(ctlmsg_get_answer(packet, len, &a), 0);
	assert_int_equal(ctlmsg_get_event(&a, &got_e), 0);
	e.text[CTL_TEXT_MAX - 1] = '\0';
	assert_memory_equal(&e, &got_e, sizeof(e));
	/* Every shorter one is refused somewhere. */
	for (size_t cut = 0; cut < len; cut++) {
		packet[2] = (uint8_t)(cut >> 8);
		packet[3] = (uint8_t)cut;
		assert_true(ctlmsg_get_answer(packet, cut, &a) < 0 ||
			    ctlmsg_get_event(&a, &got_e) < 0);
	}
	/* Too little room: nothing, or fewer. */
	assert_int_equal(ctlmsg_put_event(&e, packet, 50), 0);
	n = 1;
	assert_int_equal(ctlmsg_put_flows(&f, &n, packet, 50), 6);
	assert_int_equal(n, 0);
}

#define CTL_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest ctl[] = {
		CTL_TEST(list_is_aligned_for_people),
		CTL_TEST(colours_are_for_terminals),
		CTL_TEST(list_as_json_has_the_promised_members),
		CTL_TEST(show_tells_one_flow),
		CTL_TEST(peers_and_key_are_shown),
		CTL_TEST(status_names_every_counter),
		CTL_TEST(top_shows_one_interval),
		CTL_TEST(top_lives_on_a_terminal),
		CTL_TEST(top_stops_and_goes_on),
		CTL_TEST(top_ends_in_the_middle_of_an_answer),
		CTL_TEST(forget_and_move_reach_the_daemon),
		CTL_TEST(wrong_usage_is_code_2),
		CTL_TEST(without_a_daemon_the_code_is_3),
		CTL_TEST(a_daemon_that_dies_is_noticed),
		CTL_TEST(others_see_only_their_own),
		CTL_TEST(the_group_of_the_socket_sees_all),
		CTL_TEST(many_flows_stream),
		CTL_TEST(a_reader_that_sleeps_stops_nobody),
		CTL_TEST(a_monitor_that_sleeps_loses_by_count),
		CTL_TEST(monitors_hear_what_they_may),
		CTL_TEST(malformed_requests_harm_nobody),
		CTL_TEST(clients_are_bounded),
		CTL_TEST(one_user_cannot_lock_others_out),
		CTL_TEST(the_socket_file_is_ours_alone),
		cmocka_unit_test(messages_go_both_ways),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(ctl, NULL, NULL);
}
