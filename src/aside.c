/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aside: a thread that waits so that the loop need not. See aside.h.
 *
 * The lock is held to put a job in and to take one out, never during one.
 */
#include "aside.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct job {
	aside_job *run;
	void *arg;
};

struct aside {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	bool started; /* of the one that asks, as all that follows is of both */
	bool stopping;
	unsigned int first, n;
	struct job job[ASIDE_JOBS_MAX];
};

static void *work(void *arg)
{
	struct aside *a = arg;

	pthread_mutex_lock(&a->lock);
	for (;;) {
		struct job j;

		while (!a->n && !a->stopping)
			pthread_cond_wait(&a->more, &a->lock);
		if (!a->n)
			break;
		j = a->job[a->first];
		a->first = (a->first + 1) % ASIDE_JOBS_MAX;
		a->n--;
		pthread_mutex_unlock(&a->lock);
		j.run(j.arg);
		pthread_mutex_lock(&a->lock);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* Signals are for the daemon's thread, which reads them from a descriptor. */
static bool start_thread(struct aside *a)
{
	sigset_t all, before;

	if (a->started)
		return true;
	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &before))
		return false;
	a->started = !pthread_create(&a->thread, NULL, work, a);
	if (a->started)
		pthread_setname_np(a->thread, "aside"); /* for ps and top */
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return a->started;
}

int aside_open(struct aside **out)
{
	struct aside *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->more, NULL);
	*out = a;
	return 0;
}

void aside_close(struct aside *a)
{
	if (!a)
		return;
	if (a->started) {
		pthread_mutex_lock(&a->lock);
		a->stopping = true;
		pthread_cond_signal(&a->more);
		pthread_mutex_unlock(&a->lock);
		pthread_join(a->thread, NULL);
	}
	pthread_cond_destroy(&a->more);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

int aside_do(struct aside *a, aside_job *job, void *arg)
{
	int err = 0;

	if (!start_thread(a))
		return -EAGAIN;
	pthread_mutex_lock(&a->lock);
	if (a->n == ASIDE_JOBS_MAX) {
		err = -EAGAIN;
	} else {
		a->job[(a->first + a->n) % ASIDE_JOBS_MAX] =
			(struct job){ job, arg };
		a->n++;
		pthread_cond_signal(&a->more);
	}
	pthread_mutex_unlock(&a->lock);
	return err;
}
