/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop: waits for descriptors, one deadline and signals, and for nothing else.
 *
 * Owns the epoll instance, one timerfd and one signalfd. Never wakes without
 * a reason, never owns a descriptor of others.
 */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct source {
	loop_callback *cb; /* NULL: removed */
	void *arg;
	struct source *next;
	int fd;
};

struct loop {
	int epoll_fd, timer_fd, signal_fd;
	bool running;
	size_t n_sources;
	uint64_t wakeups;
	struct source *sources;
	/* Removed in this wake-up: epoll may still point to them. */
	struct source *removed;
	loop_timer_callback *timer_cb;
	void *timer_arg;
	loop_signal_callback *signal_cb;
	void *signal_arg;
	loop_settled_callback *settled_cb;
	void *settled_arg;
};

uint64_t loop_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static struct source **find_source(struct loop *loop, int fd)
{
	struct source **at = &loop->sources;

	while (*at && (*at)->fd != fd)
		at = &(*at)->next;
	return at;
}

int loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *cb,
	     void *arg)
{
	struct epoll_event ev = { .events = events };
	struct source *s;

	if (*find_source(loop, fd))
		return -EEXIST;
	if (loop->n_sources == LOOP_FDS_MAX)
		return -ENOSPC;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	ev.data.ptr = s;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		int err = -errno;

		free(s);
		return err;
	}
	s->fd = fd;
	s->cb = cb;
	s->arg = arg;
	s->next = loop->sources;
	loop->sources = s;
	loop->n_sources++;
	return 0;
}

int loop_modify(struct loop *loop, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events };

	ev.data.ptr = *find_source(loop, fd);
	if (!ev.data.ptr)
		return -ENOENT;
	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &ev) < 0 ? -errno :
								       0;
}

int loop_remove(struct loop *loop, int fd)
{
	struct source **at = find_source(loop, fd);
	struct source *s = *at;

	if (!s)
		return -ENOENT;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	*at = s->next;
	loop->n_sources--;
	s->cb = NULL;
	s->next = loop->removed;
	loop->removed = s;
	return 0;
}

static void free_sources(struct source **list)
{
	while (*list) {
		struct source *s = *list;

		*list = s->next;
		free(s);
	}
}

static void on_timerfd(uint32_t events, void *arg)
{
	struct loop *loop = arg;
	uint64_t expirations;

	(void)events;
	/* EAGAIN: the deadline was moved after the wake-up. */
	if (read(loop->timer_fd, &expirations, sizeof(expirations)) < 0)
		return;
	if (loop->timer_cb)
		loop->timer_cb(loop_now_ms(), loop->timer_arg);
}

static void on_signalfd(uint32_t events, void *arg)
{
	struct loop *loop = arg;
	struct signalfd_siginfo info;

	(void)events;
	if (read(loop->signal_fd, &info, sizeof(info)) == sizeof(info))
		loop->signal_cb((int)info.ssi_signo, loop->signal_arg);
}

int loop_open(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int err;

	if (!loop)
		return -ENOMEM;
	loop->timer_fd = loop->signal_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		err = -errno;
		goto out_close;
	}
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME,
					TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->timer_fd < 0) {
		err = -errno;
		goto out_close;
	}
	err = loop_add(loop, loop->timer_fd, EPOLLIN, on_timerfd, loop);
	if (err)
		goto out_close;
	*out = loop;
	return 0;

out_close:
	loop_close(loop);
	return err;
}

void loop_close(struct loop *loop)
{
	if (!loop)
		return;
	free_sources(&loop->sources);
	free_sources(&loop->removed);
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	if (loop->timer_fd >= 0)
		close(loop->timer_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop);
}

void loop_on_timer(struct loop *loop, loop_timer_callback *cb, void *arg)
{
	loop->timer_cb = cb;
	loop->timer_arg = arg;
}

void loop_on_settled(struct loop *loop, loop_settled_callback *cb, void *arg)
{
	loop->settled_cb = cb;
	loop->settled_arg = arg;
}

int loop_set_deadline_ms(struct loop *loop, uint64_t when_ms)
{
	struct itimerspec its = { 0 };

	if (when_ms != LOOP_NO_DEADLINE) {
		if (when_ms / 1000 > INT32_MAX)
			when_ms = (uint64_t)INT32_MAX * 1000;
		its.it_value.tv_sec = (time_t)(when_ms / 1000);
		its.it_value.tv_nsec = (long)(when_ms % 1000) * 1000000;
		if (when_ms == 0) /* zero would disarm it */
			its.it_value.tv_nsec = 1;
	}
	return timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &its, NULL) <
			       0 ?
		       -errno :
		       0;
}

int loop_on_signals(struct loop *loop, const int *signals, size_t n,
		    loop_signal_callback *cb, void *arg)
{
	sigset_t set;
	int err;

	if (loop->signal_fd >= 0)
		return -EEXIST;
	sigemptyset(&set);
	for (size_t i = 0; i < n; i++)
		if (sigaddset(&set, signals[i]) < 0)
			return -errno;
	loop->signal_cb = cb;
	loop->signal_arg = arg;
	loop->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signal_fd < 0)
		return -errno;
	err = loop_add(loop, loop->signal_fd, EPOLLIN, on_signalfd, loop);
	if (!err && sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
		err = -errno;
		loop_remove(loop, loop->signal_fd);
	}
	if (err) {
		close(loop->signal_fd);
		loop->signal_fd = -1;
	}
	return err;
}

static void dispatch(struct loop *loop, const struct epoll_event *ev, int n)
{
	for (int i = 0; i < n && loop->running; i++) {
		const struct source *s = ev[i].data.ptr;

		if (s->cb)
			s->cb(ev[i].events, s->arg);
	}
	free_sources(&loop->removed);
}

int loop_run(struct loop *loop)
{
	struct epoll_event ev[LOOP_EVENTS_PER_WAKE];

	loop->running = true;
	for (;;) {
		int n;

		if (loop->settled_cb)
			loop->settled_cb(loop_now_ms(), loop->settled_arg);
		free_sources(&loop->removed);
		if (!loop->running)
			return 0;
		n = epoll_wait(loop->epoll_fd, ev, LOOP_EVENTS_PER_WAKE, -1);
		if (n < 0 && errno != EINTR) {
			int err = -errno;

			loop->running = false;
			return err;
		}
		loop->wakeups++;
		dispatch(loop, ev, n < 0 ? 0 : n);
	}
}

void loop_stop(struct loop *loop)
{
	loop->running = false;
}

uint64_t loop_wakeups(const struct loop *loop)
{
	return loop->wakeups;
}
