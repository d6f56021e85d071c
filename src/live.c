/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live: samples, and a terminal that they are shown on. See live.h.
 *
 * Signals come through a descriptor, so that nothing is interrupted between
 * changing the terminal and putting it back.
 */
#include "live.h"

#include "top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* The alternate screen, no cursor; and back. */
#define SCREEN_ENTER "\033[?1049h\033[?25l"
#define SCREEN_LEAVE "\033[?25h\033[?1049l"
#define SCREEN_TOP "\033[H"
#define LINE_END "\033[K\n"
#define FRAME_END "\033[J"
#define WIDTH_UNKNOWN 80
#define HEIGHT_UNKNOWN 24
#define SIGNAL_EXIT 128

struct live {
	struct call *call;
	const struct live_options *options;
	struct top_sample sample[2];
	unsigned int now; /* of the two */
	bool has_before;
	bool shown; /* the last sample is compared already */
	struct top_totals totals;

	/* live_run() */
	bool entered;
	bool changed; /* standard input, from `saved` */
	bool keys; /* it can be read */
	struct termios saved;
	sigset_t signals;
	bool ended;
	int code;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- the terminal ----------------------------------------------- */

/* All of it, or the terminal is gone, of which a signal tells. */
static void put_text(const char *text, size_t len)
{
	ssize_t n;

	for (; len; text += n, len -= (size_t)n) {
		n = write(STDOUT_FILENO, text, len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return;
	}
}

static void enter(struct live *l)
{
	struct termios t;

	if (l->entered)
		return;
	l->keys = l->changed = tcgetattr(STDIN_FILENO, &l->saved) == 0;
	if (l->changed) {
		t = l->saved;
		t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		t.c_cc[VMIN] = 1;
		t.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSANOW, &t);
	}
	put_text(SCREEN_ENTER, sizeof(SCREEN_ENTER) - 1);
	l->entered = true;
}

static void leave(struct live *l)
{
	if (!l->entered)
		return;
	put_text(SCREEN_LEAVE, sizeof(SCREEN_LEAVE) - 1);
	if (l->changed)
		tcsetattr(STDIN_FILENO, TCSANOW, &l->saved);
	l->entered = false;
}

static int draw(struct live *l)
{
	struct top_form form = {
		.colour = l->options->colour,
		.line_end = LINE_END,
		.frame_end = FRAME_END,
	};
	struct winsize size;
	char *text = NULL;
	size_t len = 0;
	FILE *frame;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		memset(&size, 0, sizeof(size));
	form.width = size.ws_col ? size.ws_col : WIDTH_UNKNOWN;
	form.height = size.ws_row ? size.ws_row : HEIGHT_UNKNOWN;
	form.height--; /* the cursor's: a line end there would scroll */
	if (form.height == 0)
		form.height = 1;
	frame = open_memstream(&text, &len);
	if (!frame)
		return -ENOMEM;
	fputs(SCREEN_TOP, frame);
	top_print(frame, &l->sample[l->now], &l->totals, &form);
	if (fclose(frame)) {
		free(text);
		return -ENOMEM;
	}
	put_text(text, len);
	free(text);
	return 0;
}

/* ---- signals ----------------------------------------------- */

/* Stops as everybody does, with the terminal as it was. */
static void suspend(struct live *l)
{
	sigset_t stop;

	leave(l);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	raise(SIGTSTP); /* blocked: it waits ... */
	sigprocmask(SIG_UNBLOCK, &stop, NULL); /* ... until here */
	sigprocmask(SIG_BLOCK, &stop, NULL);
	enter(l);
}

static void take_signal(struct live *l)
{
	struct signalfd_siginfo s;

	if (read(l->call->stop_fd, &s, sizeof(s)) != (ssize_t)sizeof(s))
		return;
	switch (s.ssi_signo) {
	case SIGWINCH:
		break;
	case SIGTSTP:
		suspend(l);
		break;
	case SIGCONT: /* after a stop that nobody can catch */
		leave(l);
		enter(l);
		break;
	default:
		l->ended = true;
		l->code = s.ssi_signo == SIGINT ?
			  CTL_DONE : SIGNAL_EXIT + (int)s.ssi_signo;
		return;
	}
	if (l->shown)
		draw(l);
}

static int open_signals(struct live *l)
{
	static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT,
				      SIGWINCH, SIGTSTP, SIGCONT };

	sigemptyset(&l->signals);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaddset(&l->signals, caught[i]);
	sigprocmask(SIG_BLOCK, &l->signals, NULL);
	l->call->stop_fd = signalfd(-1, &l->signals,
				    SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->call->stop_fd < 0)
		return call_fail(l->call, CTL_REFUSED, "signalfd: %s",
				 strerror(errno));
	return CTL_DONE;
}

/* ---- samples ----------------------------------------------- */

/* One packet of the list: an exit code, with *more false after the last. */
static int take_packet(struct live *l, struct top_sample *s, bool *more)
{
	struct ctl_answer a;
	struct ctl_flow f;
	int got, err = call_receive(l->call, &a);

	if (err == CALL_STOPPED) {
		take_signal(l);
		*more = !l->ended;
		return CTL_DONE;
	}
	if (err || a.type == CTL_END) {
		*more = false;
		return err;
	}
	while ((got = ctlmsg_next_flow(&a, &f)) > 0) {
		err = top_sample_add(s, &f);
		if (err)
			return call_fail(l->call, CTL_REFUSED,
					 "cannot keep more than %zu flows: %s",
					 s->n, strerror(-err));
	}
	return got < 0 ? call_malformed(l->call) : CTL_DONE;
}

/* Into the older of the two samples, which is the newer one then. */
static int sample(struct live *l)
{
	const struct ctl_request list = { .type = CTL_LIST };
	struct top_sample *s = &l->sample[!l->now];
	bool more = true;
	int err;

	top_sample_begin(s, now_ms());
	err = call_ask(l->call, &list);
	while (!err && more)
		err = take_packet(l, s, &more);
	if (err || l->ended)
		return err;
	top_compare(l->has_before ? &l->sample[l->now] : NULL, s, &l->totals);
	l->now = !l->now;
	l->has_before = true;
	l->shown = true;
	return CTL_DONE;
}

static void free_samples(struct live *l)
{
	top_sample_free(&l->sample[0]);
	top_sample_free(&l->sample[1]);
}

int live_once(struct call *c, const struct live_options *o, FILE *out)
{
	const struct top_form form = { .line_end = "\n", .frame_end = "" };
	struct timespec ts = {
		.tv_sec = o->interval_ms / 1000,
		.tv_nsec = o->interval_ms % 1000 * 1000000L,
	};
	struct live l = { .call = c, .options = o };
	const struct top_sample *s;
	int err = sample(&l);

	if (!err) {
		while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
			;
		err = sample(&l);
	}
	if (!err) {
		s = &l.sample[l.now];
		if (o->json)
			top_print_json(out, s, &l.totals,
				       s->time_ms - l.sample[!l.now].time_ms);
		else
			top_print(out, s, &l.totals, &form);
	}
	free_samples(&l);
	return err;
}

/* ---- the loop ----------------------------------------------- */

static void take_key(struct live *l)
{
	char key;

	if (read(STDIN_FILENO, &key, 1) != 1)
		l->keys = false;
	else if (key == 'q')
		l->ended = true;
}

/* Until `until_ms`, the end, or the daemon's. An exit code. */
static int wait_until(struct live *l, uint64_t until_ms)
{
	struct ctl_answer a;
	uint64_t now;

	while (!l->ended && (now = now_ms()) < until_ms) {
		struct pollfd p[] = {
			{ .fd = l->call->stop_fd, .events = POLLIN },
			{ .fd = l->keys ? STDIN_FILENO : -1, .events = POLLIN },
			{ .fd = l->call->fd, .events = POLLIN },
		};

		if (poll(p, 3, (int)(until_ms - now)) <= 0)
			continue;
		if (p[0].revents)
			take_signal(l);
		if (p[1].revents)
			take_key(l);
		/* Nothing was asked: it says good-bye. */
		if (p[2].revents && !p[0].revents)
			return call_receive(l->call, &a);
	}
	return CTL_DONE;
}

int live_run(struct call *c, const struct live_options *o)
{
	struct live l = { .call = c, .options = o };
	int err = open_signals(&l);

	if (err)
		return err;
	err = sample(&l);
	if (!err && !l.ended)
		enter(&l);
	while (!err && !l.ended) {
		if (draw(&l))
			err = call_fail(c, CTL_REFUSED, "out of memory");
		if (!err)
			err = wait_until(&l, l.sample[l.now].time_ms +
					     o->interval_ms);
		if (!err && !l.ended)
			err = sample(&l);
	}
	leave(&l);
	free_samples(&l);
	close(c->stop_fd);
	c->stop_fd = -1;
	return err ? err : l.code;
}
