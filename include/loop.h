/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop: waits for descriptors, one deadline and signals, and for nothing else.
 *
 * Owns the epoll instance, one timerfd and one signalfd. Runs callbacks one
 * at a time in one thread. Never wakes without a reason, never keeps a list
 * of timers: who has deadlines names the nearest.
 */
#ifndef SACIPED_LOOP_H
#define SACIPED_LOOP_H

#include <stddef.h>
#include <stdint.h>

struct loop;

#define LOOP_FDS_MAX 1024
#define LOOP_EVENTS_PER_WAKE 64
#define LOOP_NO_DEADLINE UINT64_MAX

typedef void loop_callback(uint32_t events, void *arg);
typedef void loop_timer_callback(uint64_t now_ms, void *arg);
typedef void loop_signal_callback(int signo, void *arg);
typedef void loop_settled_callback(uint64_t now_ms, void *arg);

int loop_open(struct loop **loop);
void loop_close(struct loop *loop); /* NULL is fine; descriptors stay open */

/* CLOCK_BOOTTIME, which goes on while the machine sleeps. */
uint64_t loop_now_ms(void);

/* `cb` gets the EPOLL* bits that are true; level-triggered. 0; -EEXIST,
 * -ENOSPC past LOOP_FDS_MAX, other -errno. */
int loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *cb,
	     void *arg);
int loop_modify(struct loop *loop, int fd, uint32_t events);
/* Before the descriptor is closed. Its callback is not called any more, not
 * even for an event of this very wake-up. -ENOENT where it is unknown. */
int loop_remove(struct loop *loop, int fd);

/* Called once when the deadline is reached, which is then no more. */
void loop_on_timer(struct loop *loop, loop_timer_callback *cb, void *arg);
/* Replaces the deadline; one that is past fires at once; LOOP_NO_DEADLINE. */
int loop_set_deadline_ms(struct loop *loop, uint64_t when_ms);
/* Called after the callbacks of every wake-up, and once before the first
 * wait: the place to work off what they left and to name the next deadline. */
void loop_on_settled(struct loop *loop, loop_settled_callback *cb, void *arg);
/* Blocks these signals in the process and takes them by signalfd. Once. */
int loop_on_signals(struct loop *loop, const int *signals, size_t n,
		    loop_signal_callback *cb, void *arg);

/* Until loop_stop(). 0 or -errno of epoll. */
int loop_run(struct loop *loop);
/* Makes loop_run() return after the current callback and a last settled. */
void loop_stop(struct loop *loop);
/* How often it has woken up. */
uint64_t loop_wakeups(const struct loop *loop);

#endif
