/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of loop: callbacks, the deadline, signals, and no idle wake-ups. */
#include "loop.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
	struct loop *loop;
	int fd[3];
	unsigned calls[3], timers, settled, signals;
	int signo;
	uint64_t fired_ms;
	uint64_t next_ms; /* set at the end of every wake-up */
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	assert_int_equal(loop_open(&w->loop), 0);
	for (int i = 0; i < 3; i++) {
		w->fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_true(w->fd[i] >= 0);
	}
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	loop_close(w->loop);
	for (int i = 0; i < 3; i++)
		close(w->fd[i]);
	free(w);
	return 0;
}

static void poke(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void called(struct world *w, int i, uint32_t events)
{
	uint64_t value;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(w->fd[i], &value, sizeof(value)), sizeof(value));
	w->calls[i]++;
}

static void on_0(uint32_t events, void *arg)
{
	called(arg, 0, events);
}

static void on_last(uint32_t events, void *arg)
{
	struct world *w = arg;

	called(w, 2, events);
	loop_stop(w->loop);
}

static void on_timer(uint64_t now_ms, void *arg)
{
	struct world *w = arg;

	w->timers++;
	w->fired_ms = now_ms;
	loop_stop(w->loop);
}

static void on_settled(uint64_t now_ms, void *arg)
{
	struct world *w = arg;

	assert_true(now_ms > 0);
	w->settled++;
}

static void descriptors_are_served(void **state)
{
	struct world *w = *state;

	assert_int_equal(loop_add(w->loop, w->fd[0], EPOLLIN, on_0, w), 0);
	assert_int_equal(loop_add(w->loop, w->fd[0], EPOLLIN, on_0, w),
			 -EEXIST);
	assert_int_equal(loop_add(w->loop, w->fd[2], EPOLLIN, on_last, w), 0);
	loop_on_settled(w->loop, on_settled, w);
	poke(w->fd[0]);
	poke(w->fd[2]);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->calls[2], 1);
	assert_true(w->settled >= 2);
	/* It can be run again. */
	poke(w->fd[2]);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->calls[2], 2);
	assert_int_equal(loop_remove(w->loop, w->fd[2]), 0);
	assert_int_equal(loop_remove(w->loop, w->fd[2]), -ENOENT);
	assert_int_equal(loop_modify(w->loop, w->fd[2], 0), -ENOENT);
	assert_int_equal(loop_add(w->loop, -1, EPOLLIN, on_0, w), -EBADF);
}

static void on_0_remove_1(uint32_t events, void *arg)
{
	struct world *w = arg;

	called(w, 0, events);
	assert_int_equal(loop_remove(w->loop, w->fd[1]), 0);
	loop_stop(w->loop);
}

static void on_1_remove_0(uint32_t events, void *arg)
{
	struct world *w = arg;

	called(w, 1, events);
	assert_int_equal(loop_remove(w->loop, w->fd[0]), 0);
	loop_stop(w->loop);
}

/* Both are ready in one wake-up; the first takes the other away. */
static void a_removed_one_is_not_called(void **state)
{
	struct world *w = *state;
	uint64_t value;

	assert_int_equal(loop_add(w->loop, w->fd[0], EPOLLIN, on_0_remove_1, w),
			 0);
	assert_int_equal(loop_add(w->loop, w->fd[1], EPOLLIN, on_1_remove_0, w),
			 0);
	poke(w->fd[0]);
	poke(w->fd[1]);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->calls[0] + w->calls[1], 1);
	/* The other's event is still there, untouched. */
	assert_int_equal(read(w->fd[w->calls[0] ? 1 : 0], &value,
			      sizeof(value)), sizeof(value));
}

static void interest_can_change(void **state)
{
	struct world *w = *state;

	assert_int_equal(loop_add(w->loop, w->fd[0], EPOLLIN, on_0, w), 0);
	assert_int_equal(loop_modify(w->loop, w->fd[0], 0), 0);
	assert_int_equal(loop_add(w->loop, w->fd[2], EPOLLIN, on_last, w), 0);
	poke(w->fd[0]);
	poke(w->fd[2]);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->calls[0], 0);
	assert_int_equal(loop_wakeups(w->loop), 1);
}

static void the_deadline_is_kept(void **state)
{
	struct world *w = *state;
	uint64_t start = loop_now_ms();

	loop_on_timer(w->loop, on_timer, w);
	assert_int_equal(loop_set_deadline_ms(w->loop, start + 30), 0);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->timers, 1);
	assert_true(w->fired_ms >= start + 30);
	/* Nothing else has woken it, and it fires once. */
	assert_int_equal(loop_wakeups(w->loop), 1);
	assert_int_equal(loop_set_deadline_ms(w->loop, start), 0);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->timers, 2);
	assert_int_equal(loop_set_deadline_ms(w->loop, 0), 0);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->timers, 3);
}

/* Taken back, and put off: the first would stop the loop too early. */
static void a_deadline_can_be_moved(void **state)
{
	struct world *w = *state;
	uint64_t start = loop_now_ms();

	loop_on_timer(w->loop, on_timer, w);
	assert_int_equal(loop_add(w->loop, w->fd[2], EPOLLIN, on_last, w), 0);
	assert_int_equal(loop_set_deadline_ms(w->loop, start), 0);
	assert_int_equal(loop_set_deadline_ms(w->loop, LOOP_NO_DEADLINE), 0);
	poke(w->fd[2]);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->timers, 0);
	assert_int_equal(loop_set_deadline_ms(w->loop, start), 0);
	assert_int_equal(loop_set_deadline_ms(w->loop, start + 20), 0);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->timers, 1);
	assert_true(w->fired_ms >= start + 20);
	/* As far away as can be said. */
	assert_int_equal(loop_set_deadline_ms(w->loop, UINT64_MAX - 1), 0);
}

static void set_next(uint64_t now_ms, void *arg)
{
	struct world *w = arg;

	(void)now_ms;
	w->settled++;
	assert_int_equal(loop_set_deadline_ms(w->loop, w->next_ms), 0);
}

/* The first settled comes before the first wait: a deadline named there is
 * enough to get going. */
static void settled_names_the_first_deadline(void **state)
{
	struct world *w = *state;

	w->next_ms = loop_now_ms() + 5;
	loop_on_timer(w->loop, on_timer, w);
	loop_on_settled(w->loop, set_next, w);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->timers, 1);
	assert_int_equal(w->settled, 2);
}

static void on_signal(int signo, void *arg)
{
	struct world *w = arg;

	w->signals++;
	w->signo = signo;
	loop_stop(w->loop);
}

static void signals_come_in_turn(void **state)
{
	static const int wanted[] = { SIGTERM, SIGHUP };
	struct world *w = *state;

	assert_int_equal(loop_on_signals(w->loop, wanted, 2, on_signal, w), 0);
	assert_int_equal(loop_on_signals(w->loop, wanted, 2, on_signal, w),
			 -EEXIST);
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->signo, SIGTERM);
	assert_int_equal(kill(getpid(), SIGHUP), 0);
	assert_int_equal(loop_run(w->loop), 0);
	assert_int_equal(w->signo, SIGHUP);
	assert_int_equal(w->signals, 2);
}

static void the_bound_holds(void **state)
{
	struct world *w = *state;
	int fds[LOOP_FDS_MAX];
	int n = 0, err = 0;

	while (n < LOOP_FDS_MAX) {
		fds[n] = dup(w->fd[0]);
		if (fds[n] < 0)
			break; /* the process has its own bound */
		err = loop_add(w->loop, fds[n++], EPOLLIN, on_0, w);
		if (err)
			break;
	}
	for (int i = 0; i < n; i++)
		close(fds[i]);
	/* One place is the timer's. */
	if (n == LOOP_FDS_MAX)
		assert_int_equal(err, -ENOSPC);
	else {
		printf("# RLIMIT_NOFILE is below LOOP_FDS_MAX\n");
		skip();
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(descriptors_are_served),
		TEST(a_removed_one_is_not_called),
		TEST(interest_can_change),
		TEST(the_deadline_is_kept),
		TEST(a_deadline_can_be_moved),
		TEST(settled_names_the_first_deadline),
		TEST(signals_come_in_turn),
		TEST(the_bound_holds),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
