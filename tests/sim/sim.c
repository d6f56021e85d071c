/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim: random schedules of the handover, checked after every step.
 *
 *	sim [--schedules N] [--seed S] [--mutant NAME] [-v]
 *	sim --list-mutants
 *
 * Without --mutant: TAP, exit 0 where every schedule kept the invariants and
 * every reachable (state, event) was seen. Schedule i runs on seed S + i, so
 * that the one that failed runs alone with --seed and --schedules 1. With
 * --mutant: exit 0 where the fault was noticed.
 *
 * Owns options, coverage and the report. Never touches a handover.
 */
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fewer cannot be expected to see everything. */
#define COVERAGE_SCHEDULES 50000

enum migrate_mutant migrate_mutant;
struct coverage coverage;

const char *const mover_column[MOVER_COLUMNS] = {
	"refresh", "gone", "deprecated", "better_route", "operator", "ports",
	"next", "retry", "try", "ACCEPT", "ACCEPT old", "ACCEPT elsewhere",
	"REFUSE retry", "REFUSE", "REFUSE old", "DONE", "DONE old", "timer",
	"SYNC same", "SYNC other", "session", "nonce", "kernel failed",
};

const char *const follower_column[FOLLOWER_COLUMNS] = {
	"MOVE relayed", "MOVE stale", "MOVE committed", "MOVE pending",
	"MOVE new", "MOVE back", "MOVE refused", "PROVE", "PROVE wrong",
	"PROVE committed", "PROVE old", "timer", "SYNC", "kernel failed",
};

/* What cannot happen, and why. */
static const struct unreachable {
	bool mover;
	unsigned int state, column;
	const char *why;
} unreachable[] = {
	{ true, MOVER_STEADY, 11, "without a target nothing is elsewhere" },
	{ true, MOVER_HELD, 11, "without a target nothing is elsewhere" },
	{ true, MOVER_HELD, 21, "what is held is not tried" },
	{ false, FOLLOWER_STEADY, 3, "nothing is pending" },
	{ false, FOLLOWER_STEADY, 7, "nothing is pending" },
	{ false, FOLLOWER_STEADY, 8, "nothing is pending" },
};

static const char *why_not(bool mover, unsigned int state, unsigned int column)
{
	for (size_t i = 0; i < sizeof(unreachable) / sizeof(*unreachable); i++)
		if (unreachable[i].mover == mover &&
		    unreachable[i].state == state &&
		    unreachable[i].column == column)
			return unreachable[i].why;
	return NULL;
}

static unsigned int report_cell(bool mover, const char *state_name,
				unsigned int state, const char *column_name,
				unsigned int column, uint64_t count)
{
	const char *why = why_not(mover, state, column);
	const char *remark = why ? why : count == 0 ? "NOT SEEN" : "";

	if (why && count > 0)
		remark = "SEEN, but said to be unreachable";
	printf("#   %-8s  %-17s %12llu  %s\n", state_name, column_name,
	       (unsigned long long)count, remark);
	return why ? count > 0 : count == 0;
}

/* Returns the number of cells that contradict the table above. */
static unsigned int report_coverage(void)
{
	static const char *const mover_state[] = { "STEADY", "HELD", "ASKED",
						   "SWITCHED" };
	static const char *const follower_state[] = { "STEADY", "OFFERED" };
	unsigned int wrong = 0;

	printf("# coverage: mover\n");
	for (unsigned int s = 0; s < MOVER_ROWS; s++)
		for (unsigned int c = 0; c < MOVER_COLUMNS; c++)
			wrong += report_cell(true, mover_state[s], s,
					     mover_column[c], c,
					     coverage.mover[s][c]);
	printf("# coverage: follower\n");
	for (unsigned int s = 0; s < FOLLOWER_ROWS; s++)
		for (unsigned int c = 0; c < FOLLOWER_COLUMNS; c++)
			wrong += report_cell(false, follower_state[s], s,
					     follower_column[c], c,
					     coverage.follower[s][c]);
	return wrong;
}

struct options {
	uint64_t schedules, seed;
	const char *mutant;
	bool list, verbose;
};

static int parse_number(const char *text, uint64_t *n)
{
	char *end;

	errno = 0;
	*n = strtoull(text, &end, 0);
	return *text == '\0' || *end != '\0' || errno ? -EINVAL : 0;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "-v") == 0) {
			o->verbose = true;
		} else if (strcmp(argv[i], "--list-mutants") == 0) {
			o->list = true;
		} else if (strcmp(argv[i], "--mutant") == 0 && value) {
			o->mutant = argv[++i];
		} else if (strcmp(argv[i], "--schedules") == 0 && value) {
			if (parse_number(argv[++i], &o->schedules) < 0)
				return -EINVAL;
		} else if (strcmp(argv[i], "--seed") == 0 && value) {
			if (parse_number(argv[++i], &o->seed) < 0)
				return -EINVAL;
		} else {
			return -EINVAL;
		}
	}
	return 0;
}

static const struct {
	const char *name, *what;
} mutants[MUTANTS] = {
#define X(name, what) [MUTANT_##name] = { #name, what },
	MUTANT_LIST(X)
#undef X
};

static int select_mutant(const char *name)
{
	for (unsigned int i = 1; i < MUTANTS; i++)
		if (strcmp(mutants[i].name, name) == 0) {
			migrate_mutant = (enum migrate_mutant)i;
			return 0;
		}
	return -ENOENT;
}

/* The number of the first schedule that failed; `schedules` where none. */
static uint64_t run(const struct options *o, struct world *w,
		    struct stats *total)
{
	uint64_t i;

	for (i = 0; i < o->schedules; i++) {
		world_start(w, o->seed + i, o->verbose);
		if (!world_schedule(w))
			break;
		total->steps += w->stats.steps;
		total->moves += w->stats.moves;
		total->controls += w->stats.controls;
		total->data_sent += w->stats.data_sent;
		total->data_received += w->stats.data_received;
		total->held += w->stats.held;
		total->hold_dropped += w->stats.hold_dropped;
		total->tombstone_hits += w->stats.tombstone_hits;
		total->to_stranger += w->stats.to_stranger;
		total->entered += w->stats.entered;
	}
	return i;
}

static int report(const struct options *o, const struct world *w, uint64_t ran,
		  const struct stats *s)
{
	unsigned int wrong;

	printf("1..2\n");
	if (ran < o->schedules) {
		printf("not ok 1 - invariants: schedule %llu: %s\n"
		       "# again: --seed %llu --schedules 1 -v\n",
		       (unsigned long long)ran, w->failure,
		       (unsigned long long)(o->seed + ran));
		printf("ok 2 # SKIP coverage: stopped early\n");
		return 1;
	}
	printf("ok 1 - invariants kept in %llu schedules from seed %llu\n",
	       (unsigned long long)ran, (unsigned long long)o->seed);
	printf("# %llu steps, %llu moves, %llu control messages, %llu times a flow entered at an end\n"
	       "# data: %llu sent, %llu received, %llu held, %llu refused by a full hold, %llu on tombstones, %llu to a stranger\n",
	       (unsigned long long)s->steps, (unsigned long long)s->moves,
	       (unsigned long long)s->controls,
	       (unsigned long long)s->entered,
	       (unsigned long long)s->data_sent,
	       (unsigned long long)s->data_received,
	       (unsigned long long)s->held,
	       (unsigned long long)s->hold_dropped,
	       (unsigned long long)s->tombstone_hits,
	       (unsigned long long)s->to_stranger);
	wrong = report_coverage();
	if (ran < COVERAGE_SCHEDULES)
		printf("ok 2 # SKIP coverage: fewer than %d schedules\n",
		       COVERAGE_SCHEDULES);
	else if (wrong > 0)
		printf("not ok 2 - coverage: %u cells differ\n", wrong);
	else
		printf("ok 2 - coverage: every reachable state and event seen\n");
	return ran >= COVERAGE_SCHEDULES && wrong > 0;
}

int main(int argc, char **argv)
{
	struct options o = { .schedules = 1000, .seed = 1 };
	struct stats total = { 0 };
	struct world *w;
	uint64_t ran;
	int status;

	if (parse_options(argc, argv, &o) < 0) {
		fprintf(stderr,
			"usage: sim [--schedules N] [--seed S] [--mutant NAME] [-v] | --list-mutants\n");
		return 2;
	}
	if (o.list) {
		for (unsigned int i = 1; i < MUTANTS; i++)
			printf("%-26s %s\n", mutants[i].name, mutants[i].what);
		return 0;
	}
	if (o.mutant && select_mutant(o.mutant) < 0) {
		fprintf(stderr, "sim: no mutant '%s' (--list-mutants)\n",
			o.mutant);
		return 2;
	}
	w = malloc(sizeof(*w));
	if (!w)
		return 1;
	ran = run(&o, w, &total);
	if (!o.mutant) {
		status = report(&o, w, ran, &total);
	} else if (ran < o.schedules) {
		printf("%s: noticed in schedule %llu: %s\n", o.mutant,
		       (unsigned long long)ran, w->failure);
		status = 0;
	} else {
		printf("%s: NOT noticed in %llu schedules\n", o.mutant,
		       (unsigned long long)ran);
		status = 1;
	}
	free(w);
	return status;
}
