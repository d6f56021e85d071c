/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * jobs: many schedules, in several processes.
 *
 * Owns these, what they have counted, and which schedule fails first: the same
 * one however many there are. Never looks into a schedule.
 */
#include "sim.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct slice {
	struct stats stats;
	struct coverage coverage;
	uint64_t failed; /* the first; `schedules` where none has */
	bool done;
};

static void add_stats(struct stats *to, const struct stats *s)
{
	to->steps += s->steps;
	to->moves += s->moves;
	to->controls += s->controls;
	to->data_sent += s->data_sent;
	to->data_received += s->data_received;
	to->held += s->held;
	to->hold_dropped += s->hold_dropped;
	to->tombstone_hits += s->tombstone_hits;
	to->to_stranger += s->to_stranger;
	to->entered += s->entered;
	to->unpaid += s->unpaid;
	to->lies += s->lies;
	if (s->rest_ms > to->rest_ms) {
		to->rest_ms = s->rest_ms;
		to->rest_seed = s->rest_seed;
	}
}

static void add_coverage(struct coverage *to, const struct coverage *c)
{
	for (unsigned int s = 0; s < MOVER_ROWS; s++)
		for (unsigned int i = 0; i < MOVER_COLUMNS; i++)
			to->mover[s][i] += c->mover[s][i];
	for (unsigned int s = 0; s < FOLLOWER_ROWS; s++)
		for (unsigned int i = 0; i < FOLLOWER_COLUMNS; i++)
			to->follower[s][i] += c->follower[s][i];
}

/* Every `jobs`th, up to the first that fails. */
static void run_slice(struct world *w, const struct jobs *j, unsigned int job,
		      struct slice *to)
{
	struct script script;

	to->failed = j->schedules;
	for (uint64_t i = job; i < j->schedules; i += j->jobs) {
		script_whole(&script, j->seed + i);
		world_start(w, &script, SILENT);
		if (!world_schedule(w)) {
			to->failed = i;
			break;
		}
		w->stats.rest_seed = script.seed;
		add_stats(&to->stats, &w->stats);
	}
	to->coverage = coverage;
	to->done = true;
}

uint64_t jobs_run(struct world *w, const struct jobs *j, struct stats *total)
{
	const size_t size = j->jobs * sizeof(struct slice);
	struct slice *slice = mmap(NULL, size, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t failed = j->schedules;
	struct script script;

	if (slice == MAP_FAILED)
		return 0;
	fflush(stdout);
	for (unsigned int i = 1; i < j->jobs; i++)
		if (fork() == 0) {
			run_slice(w, j, i, &slice[i]);
			_exit(0);
		}
	run_slice(w, j, 0, &slice[0]);
	while (wait(NULL) > 0)
		;
	coverage = (struct coverage){ 0 };
	for (unsigned int i = 0; i < j->jobs; i++) {
		add_stats(total, &slice[i].stats);
		add_coverage(&coverage, &slice[i].coverage);
		if (!slice[i].done) /* it has died in one of them */
			slice[i].failed = i;
		if (slice[i].failed < failed)
			failed = slice[i].failed;
	}
	munmap(slice, size);
	if (failed < j->schedules) {
		script_whole(&script, j->seed + failed);
		world_start(w, &script, SILENT);
		world_schedule(w);
	}
	return failed;
}
