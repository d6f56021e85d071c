/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sacipctl: asks a running saciped, from the command line.
 *
 * Owns options, the connection and the exit codes. What is printed is in
 * render. Never needs a privilege: the daemon decides who may what.
 */
#include "ctlmsg.h"
#include "render.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/saciped/" CTL_SOCKET_NAME
#define ANSWER_TIMEOUT_S 10

struct call {
	const char *socket;
	int fd;
	struct ctl_request request;
	struct render render;
	uint8_t packet[CTL_MESSAGE_MAX];
};

static int __attribute__((format(printf, 2, 3)))
complain(int code, const char *format, ...)
{
	char text[2 * CTL_TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fflush(stdout);
	fputs("sacipctl: ", stderr);
	render_escaped(stderr, text);
	putc('\n', stderr);
	return code;
}

/* --- the connection --------------------------------------------------------
 */

static int no_daemon(const struct call *call, int err)
{
	if (err == EACCES || err == EPERM)
		return complain(CTL_NOT_PERMITTED, "%s: %s", call->socket,
				strerror(err));
	if (err == EAGAIN)
		return complain(CTL_NO_DAEMON, "saciped at %s does not answer",
				call->socket);
	if (err == ECONNRESET || err == EPIPE)
		return complain(CTL_NO_DAEMON, "saciped at %s hung up",
				call->socket);
	return complain(CTL_NO_DAEMON,
			"no saciped at %s (%s): start it, or name its socket"
			" with -s",
			call->socket, strerror(err));
}

static void set_timeout(int fd, int seconds)
{
	const struct timeval tv = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int open_call(struct call *call)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	uint8_t request[CTL_REQUEST_MAX];
	size_t len;

	if (strlen(call->socket) >= sizeof(sun.sun_path))
		return complain(CTL_USAGE, "-s: the path is too long");
	strcpy(sun.sun_path, call->socket);
	call->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (call->fd < 0)
		return complain(CTL_REFUSED, "socket: %s", strerror(errno));
	set_timeout(call->fd, ANSWER_TIMEOUT_S);
	len = ctlmsg_put_request(&call->request, request);
	if (connect(call->fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
	    send(call->fd, request, len, MSG_NOSIGNAL) < 0)
		return no_daemon(call, errno);
	return CTL_DONE;
}

/* The next packet; CTL_DONE, or an exit code with the reason printed. */
static int receive(struct call *call, struct ctl_answer *a)
{
	ssize_t n;
	int err;

	do
		n = recv(call->fd, call->packet, sizeof(call->packet), 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return no_daemon(call, n < 0 ? errno : ECONNRESET);
	err = ctlmsg_get_answer(call->packet, (size_t)n, a);
	if (err)
		return complain(CTL_REFUSED,
				"saciped and sacipctl are of different"
				" versions: restart saciped");
	if (a->type == CTL_END && a->result != CTL_DONE)
		return complain((int)a->result, "%s", a->text);
	return CTL_DONE;
}

static int malformed(void)
{
	return complain(CTL_REFUSED, "saciped's answer is malformed");
}

/* --- answers ----------------------------------------------------------------
 */

static int read_flows(struct call *call)
{
	struct ctl_answer a;
	struct ctl_flow f;
	int err, got = 0;

	if (render_flows_begin(&call->render))
		return complain(CTL_REFUSED, "out of memory");
	for (;;) {
		err = receive(call, &a);
		if (err || a.type == CTL_END)
			break;
		while ((got = ctlmsg_next_flow(&a, &f)) > 0)
			render_flows_add(&call->render, &f);
		if (got < 0) {
			err = malformed();
			break;
		}
	}
	/* What came is shown even if the daemon went away in the middle;
	 * the exit code tells. */
	if (!err || call->render.any)
		render_flows_end(&call->render);
	free(call->render.sample);
	return err;
}

static int read_peers(struct call *call)
{
	struct ctl_answer a;
	struct ctl_peer p;
	int err, got = 0;

	render_peers_begin(&call->render);
	for (;;) {
		err = receive(call, &a);
		if (err || a.type == CTL_END)
			break;
		while ((got = ctlmsg_next_peer(&a, &p)) > 0)
			render_peers_add(&call->render, &p);
		if (got < 0) {
			err = malformed();
			break;
		}
	}
	if (!err || call->render.any)
		render_peers_end(&call->render);
	return err;
}

static int read_monitor(struct call *call)
{
	struct ctl_answer a;
	struct ctl_event e;
	int err;

	err = receive(call, &a); /* "from now on" */
	set_timeout(call->fd, 0);
	/* Each line when it happens, into a pipe too. */
	setvbuf(call->render.out, NULL, _IOLBF, 0);
	while (!err) {
		err = receive(call, &a);
		if (err)
			break;
		if (ctlmsg_get_event(&a, &e))
			return malformed();
		render_event(&call->render, &e);
		if (ferror(call->render.out))
			break;
	}
	return err;
}

/* The commands that are answered by one packet. */
static int read_one(struct call *call)
{
	char fingerprint[CTL_NAME_MAX];
	uint8_t key[CTL_KEY_SIZE];
	struct ctl_status status;
	struct ctl_answer a;
	struct ctl_flow flow;
	int err = receive(call, &a);

	if (err)
		return err;
	if (a.type == CTL_FLOW_RECORDS && ctlmsg_next_flow(&a, &flow) == 1)
		render_flow(&call->render, &flow);
	else if (a.type == CTL_STATUS_RECORD && !ctlmsg_get_status(&a, &status))
		render_status(&call->render, &status);
	else if (a.type == CTL_KEY_RECORD &&
		 !ctlmsg_get_key(&a, fingerprint, key))
		render_key(&call->render, fingerprint, key);
	else if (a.type == CTL_END)
		render_done(&call->render, a.text);
	else
		return malformed();
	return CTL_DONE;
}

/* --- the command line
 * --------------------------------------------------------- */

static const struct command {
	const char *name;
	enum ctl_type type;
	int min_args, max_args;
	int (*read)(struct call *call);
	const char *usage;
} commands[] = {
	{ "list", CTL_LIST, 0, 0, read_flows,
	  "list                 every flow: state, addresses, trust or "
	  "reason" },
	{ "show", CTL_SHOW, 1, 1, read_one,
	  "show FLOW            everything about one flow" },
	{ "peers", CTL_PEERS, 0, 0, read_peers,
	  "peers                hosts that run saciped, their keys and "
	  "sessions" },
	{ "status", CTL_STATUS, 0, 0, read_one,
	  "status               limits, counters and refusals" },
	{ "monitor", CTL_MONITOR, 0, 0, read_monitor,
	  "monitor              one line per event, until interrupted" },
	{ "key", CTL_KEY, 0, 0, read_one,
	  "key                  this host's public key and fingerprint" },
	{ "forget", CTL_FORGET, 1, 1, read_one,
	  "forget PEER          drop the record of a peer (name, fingerprint or"
	  " key)" },
	{ "move", CTL_MOVE, 0, 1, read_one,
	  "move [FLOW|PEER] [--from ADDR] --to ADDR|IFACE\n"
	  "                       move flows to another address now" },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(void)
{
	puts("usage: sacipctl [-s SOCKET] [--json] COMMAND\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %s\n", commands[i].usage);
	puts("\n  -s, --socket SOCKET  " DEFAULT_SOCKET " if not given\n"
	     "  -j, --json           for scripts; see sacipctl(1)\n"
	     "  -h, --help           -V, --version\n\n"
	     "Exit codes: 0 done, 1 refused or not found, 2 usage, 3 no"
	     " daemon,\n4 not permitted.");
}

static int parse_flow(const char *text, uint64_t *id)
{
	char *end;

	errno = 0;
	*id = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] < '0' || text[0] > '9' ||
	    *id == 0)
		return complain(CTL_USAGE,
				"\"%s\" is no flow: see the first column of"
				" sacipctl list",
				text);
	return CTL_DONE;
}

static int copy_name(char to[CTL_NAME_MAX], const char *text)
{
	if (!text[0] || strlen(text) >= CTL_NAME_MAX)
		return complain(CTL_USAGE, "\"%s\" names no peer", text);
	strcpy(to, text);
	return CTL_DONE;
}

static int parse_move(struct ctl_move *m, const char *from, const char *to)
{
	if (from && addr_parse(from, &m->from))
		return complain(CTL_USAGE,
				"--from: \"%s\" is no numeric"
				" address",
				from);
	if (!to)
		return complain(CTL_USAGE, "move: --to ADDR or --to IFACE is"
					   " needed");
	if (addr_parse(to, &m->to) == 0)
		return CTL_DONE;
	if (!to[0] || strlen(to) >= sizeof(m->to_ifname) || strchr(to, '/') ||
	    strchr(to, ':'))
		return complain(CTL_USAGE,
				"--to: \"%s\" is neither an address"
				" nor an interface",
				to);
	strcpy(m->to_ifname, to);
	return CTL_DONE;
}

/* Fills the request from what stands behind the options. */
static int parse_command(const struct command *c, struct call *call, int argc,
			 char **argv, const char *from, const char *to)
{
	struct ctl_request *q = &call->request;
	int err = CTL_DONE;

	q->type = c->type;
	if (argc < c->min_args || argc > c->max_args)
		return complain(CTL_USAGE,
				"%s: %s argument; see sacipctl"
				" --help",
				c->name,
				argc < c->min_args ? "needs one"
						   : "has too many");
	if ((from || to) && c->type != CTL_MOVE)
		return complain(CTL_USAGE, "%s: --from and --to belong to move",
				c->name);
	if (c->type == CTL_SHOW)
		return parse_flow(argv[0], &q->flow);
	if (c->type == CTL_FORGET)
		return copy_name(q->peer, argv[0]);
	if (c->type != CTL_MOVE)
		return CTL_DONE;
	if (argc == 1)
		err = copy_name(q->move.scope, argv[0]);
	return err ? err : parse_move(&q->move, from, to);
}

static bool want_colour(void)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(no && no[0]) &&
	       !(term && strcmp(term, "dumb") == 0);
}

static int run(struct call *call, int argc, char **argv, const char *from,
	       const char *to)
{
	const struct command *c = commands;
	int code;

	if (argc < 1)
		return complain(CTL_USAGE, "which command? See sacipctl"
					   " --help");
	while (c < commands + N_COMMANDS && strcmp(c->name, argv[0]) != 0)
		c++;
	if (c == commands + N_COMMANDS)
		return complain(CTL_USAGE,
				"unknown command \"%s\"; see"
				" sacipctl --help",
				argv[0]);
	code = parse_command(c, call, argc - 1, argv + 1, from, to);
	if (code == CTL_DONE)
		code = open_call(call);
	if (code == CTL_DONE)
		code = c->read(call);
	if (fflush(stdout) || ferror(stdout))
		return complain(CTL_REFUSED, "cannot write: %s",
				strerror(errno));
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "from", required_argument, NULL, 'f' },
		{ "to", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct call call = { .socket = DEFAULT_SOCKET, .fd = -1 };
	const char *from = NULL, *to = NULL;
	int o, code;

	setvbuf(stderr, NULL, _IOLBF, 0); /* a complaint in one write */
	call.render.out = stdout;
	while ((o = getopt_long(argc, argv, "s:jhV", options, NULL)) != -1) {
		switch (o) {
		case 's':
			call.socket = optarg;
			break;
		case 'j':
			call.render.json = true;
			break;
		case 'f':
			from = optarg;
			break;
		case 't':
			to = optarg;
			break;
		case 'h':
			print_help();
			return CTL_DONE;
		case 'V':
			puts("sacipctl " PACKAGE_VERSION);
			return CTL_DONE;
		default: /* getopt said it */
			return CTL_USAGE;
		}
	}
	call.render.colour = !call.render.json && want_colour();
	code = run(&call, argc - optind, argv + optind, from, to);
	if (call.fd >= 0)
		close(call.fd);
	return code;
}
