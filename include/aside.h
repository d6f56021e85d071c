/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aside: a thread that waits so that the loop need not.
 *
 * Owns the thread, which starts with the first job, and a bounded queue of
 * jobs, done one after the other. Never tells how a job ended: who wants to
 * know asks what it left behind. A job touches nothing that the loop does.
 */
#ifndef SACIPED_ASIDE_H
#define SACIPED_ASIDE_H

struct aside;

/* That wait: more than both lists of taps can close at once, and some. */
#define ASIDE_JOBS_MAX 256

typedef void aside_job(void *arg);

int aside_open(struct aside **aside); /* 0 or -ENOMEM */
/* Returns when all jobs are done. NULL is fine. */
void aside_close(struct aside *aside);
/* `job` runs in the thread, after those before it. 0; -EAGAIN where
 * ASIDE_JOBS_MAX wait or there can be no thread: again later. */
int aside_do(struct aside *aside, aside_job *job, void *arg);

#endif
