/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sacipctl: asks a running saciped, from the command line.
 *
 * Owns options and commands. The connection is in call, what is printed in
 * render, the live view in live and top. Never needs a privilege: the daemon
 * decides who may what.
 */
#include "call.h"
#include "ctlmsg.h"
#include "live.h"
#include "render.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/saciped/" CTL_SOCKET_NAME

struct query {
	struct call call;
	struct ctl_request request;
	struct render render;
	struct live_options live;
	bool once;
	const char *from, *to, *interval; /* as given, or NULL */
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

/* --- answers ----------------------------------------------------------------
 */

static int read_flows(struct query *q)
{
	struct ctl_answer a;
	struct ctl_flow f;
	int err, got = 0;

	if (render_flows_begin(&q->render))
		return call_fail(&q->call, CTL_REFUSED, "out of memory");
	for (;;) {
		err = call_receive(&q->call, &a);
		if (err || a.type == CTL_END)
			break;
		while ((got = ctlmsg_next_flow(&a, &f)) > 0)
			render_flows_add(&q->render, &f);
		if (got < 0) {
			err = call_malformed(&q->call);
			break;
		}
	}
	/* What came is shown even if the daemon went away in the middle;
	 * the exit code tells. */
	if (!err || q->render.any)
		render_flows_end(&q->render);
	free(q->render.sample);
	/* For people, who may have expected more; no fault. */
	if (!err && a.text[0] && !q->render.json)
		complain(CTL_DONE, "%s", a.text);
	return err;
}

static int read_peers(struct query *q)
{
	struct ctl_answer a;
	struct ctl_peer p;
	int err, got = 0;

	render_peers_begin(&q->render);
	for (;;) {
		err = call_receive(&q->call, &a);
		if (err || a.type == CTL_END)
			break;
		while ((got = ctlmsg_next_peer(&a, &p)) > 0)
			render_peers_add(&q->render, &p);
		if (got < 0) {
			err = call_malformed(&q->call);
			break;
		}
	}
	if (!err || q->render.any)
		render_peers_end(&q->render);
	return err;
}

static int read_top(struct query *q)
{
	q->live.json = q->render.json;
	q->live.colour = q->render.colour;
	return q->once ? live_once(&q->call, &q->live, q->render.out) :
			 live_run(&q->call, &q->live);
}

static int read_monitor(struct query *q)
{
	struct ctl_answer a;
	struct ctl_event e;
	int err;

	err = call_receive(&q->call, &a); /* "from now on" */
	q->call.timeout_ms = -1;
	/* Each line when it happens, into a pipe too. */
	setvbuf(q->render.out, NULL, _IOLBF, 0);
	while (!err) {
		err = call_receive(&q->call, &a);
		if (err)
			break;
		if (ctlmsg_get_event(&a, &e))
			return call_malformed(&q->call);
		render_event(&q->render, &e);
		if (ferror(q->render.out))
			break;
	}
	return err;
}

/* The commands that are answered by one packet. */
static int read_one(struct query *q)
{
	char fingerprint[CTL_NAME_MAX];
	uint8_t key[CTL_KEY_SIZE];
	struct ctl_status status;
	struct ctl_answer a;
	struct ctl_flow flow;
	int err = call_receive(&q->call, &a);

	if (err)
		return err;
	if (a.type == CTL_FLOW_RECORDS && ctlmsg_next_flow(&a, &flow) == 1)
		render_flow(&q->render, &flow);
	else if (a.type == CTL_STATUS_RECORD && !ctlmsg_get_status(&a, &status))
		render_status(&q->render, &status);
	else if (a.type == CTL_KEY_RECORD &&
		 !ctlmsg_get_key(&a, fingerprint, key))
		render_key(&q->render, fingerprint, key);
	else if (a.type == CTL_END)
		render_done(&q->render, a.text);
	else
		return call_malformed(&q->call);
	return CTL_DONE;
}

/* --- the command line
 * --------------------------------------------------------- */

static const struct command {
	const char *name;
	enum ctl_type type; /* 0: it asks by itself */
	int min_args, max_args;
	int (*read)(struct query *q);
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
	{ "top", 0, 0, 0, read_top,
	  "top [--once] [-n SECONDS]\n"
	  "                       rates, moves and gaps, refreshed in place" },
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

/* Seconds, with a fraction or not. */
static int parse_interval(const char *text, uint32_t *ms)
{
	char *end;
	double s = strtod(text, &end) * 1000;

	if (end == text || *end || !(s >= LIVE_INTERVAL_MIN_MS) ||
	    s > LIVE_INTERVAL_MAX_MS)
		return complain(CTL_USAGE,
				"-n: \"%s\" is no number of seconds from"
				" %g to %g",
				text, LIVE_INTERVAL_MIN_MS / 1000.0,
				LIVE_INTERVAL_MAX_MS / 1000.0);
	*ms = (uint32_t)s;
	return CTL_DONE;
}

static int parse_top(struct query *q)
{
	if (q->render.json && !q->once)
		return complain(CTL_USAGE, "top: --json needs --once");
	if (!q->once && !isatty(STDOUT_FILENO))
		return complain(CTL_USAGE, "top: this is no terminal; see"
					   " --once");
	q->live.interval_ms = LIVE_INTERVAL_MS;
	return q->interval ? parse_interval(q->interval, &q->live.interval_ms) :
			     CTL_DONE;
}

/* Fills the request from what stands behind the options. */
static int parse_command(const struct command *c, struct query *q, int argc,
			 char **argv)
{
	struct ctl_request *r = &q->request;
	int err = CTL_DONE;

	r->type = c->type;
	if (argc < c->min_args || argc > c->max_args)
		return complain(CTL_USAGE, "%s: %s; see sacipctl --help",
				c->name, argc < c->min_args ?
				"needs one argument" : "too many arguments");
	if ((q->from || q->to) && c->type != CTL_MOVE)
		return complain(CTL_USAGE, "%s: --from and --to belong to move",
				c->name);
	if ((q->once || q->interval) && c->read != read_top)
		return complain(CTL_USAGE, "%s: --once and -n belong to top",
				c->name);
	if (c->read == read_top)
		return parse_top(q);
	if (c->type == CTL_SHOW)
		return parse_flow(argv[0], &r->flow);
	if (c->type == CTL_FORGET)
		return copy_name(r->peer, argv[0]);
	if (c->type != CTL_MOVE)
		return CTL_DONE;
	if (argc == 1)
		err = copy_name(r->move.scope, argv[0]);
	return err ? err : parse_move(&r->move, q->from, q->to);
}

static bool want_colour(void)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(no && no[0]) &&
	       !(term && strcmp(term, "dumb") == 0);
}

static int run(struct query *q, int argc, char **argv)
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
	code = parse_command(c, q, argc - 1, argv + 1);
	if (code)
		return code;
	code = call_open(&q->call);
	if (code == CTL_DONE && c->type)
		code = call_ask(&q->call, &q->request);
	if (code == CTL_DONE)
		code = c->read(q);
	if (q->call.error[0])
		complain(code, "%s", q->call.error);
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
		{ "once", no_argument, NULL, 'o' },
		{ "interval", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct query q = {
		.call = {
			.path = DEFAULT_SOCKET,
			.fd = -1,
			.stop_fd = -1,
			.timeout_ms = CALL_TIMEOUT_MS,
		},
		.render = { .out = stdout },
	};
	int o, code;

	setvbuf(stderr, NULL, _IOLBF, 0); /* a complaint in one write */
	while ((o = getopt_long(argc, argv, "s:jn:hV", options, NULL)) != -1) {
		switch (o) {
		case 's':
			q.call.path = optarg;
			break;
		case 'j':
			q.render.json = true;
			break;
		case 'f':
			q.from = optarg;
			break;
		case 't':
			q.to = optarg;
			break;
		case 'o':
			q.once = true;
			break;
		case 'n':
			q.interval = optarg;
			break;
		case 'h':
			print_help();
			return CTL_DONE;
		case 'V':
			puts("sacipctl " PACKAGE_VERSION);
			return CTL_DONE;
		default: /* getopt said what */
			return complain(CTL_USAGE, "see sacipctl --help");
		}
	}
	q.render.colour = !q.render.json && want_colour();
	code = run(&q, argc - optind, argv + optind);
	call_close(&q.call);
	return code;
}
