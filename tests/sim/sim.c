/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim: random schedules of the handover, checked after every step.
 *
 *	sim [--schedules N] [--seed S] [--jobs N] [--mutant NAME]
 *	sim --script SCRIPT [--mutant NAME] [-v]
 *	sim --list-mutants
 *
 * Without --mutant: TAP, exit 0 where every schedule kept the invariants, every
 * reachable (state, event) was seen, and one that was run twice went the same
 * way. Schedule i runs on seed S + i. Of one that fails is left out whatever it
 * fails without, and the rest is printed as a script, which --script runs
 * alone. With --mutant: exit 0 where the fault was noticed, and is by the script
 * alone.
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
#define JOBS_MAX 64

enum migrate_mutant migrate_mutant;
struct coverage coverage;

const char *const mover_column[MOVER_COLUMNS] = {
	"refresh", "gone", "deprecated", "better_route", "operator", "ports",
	"next", "retry", "try", "ACCEPT", "ACCEPT old", "ACCEPT elsewhere",
	"REFUSE retry", "REFUSE", "REFUSE old", "DONE", "DONE old", "timer",
	"SYNC same", "SYNC other", "session", "nonce", "untried",
	"kernel failed",
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
	{ true, MOVER_HELD, 22, "what is held is not tried" },
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
	struct jobs run;
	const char *mutant;
	struct script script;
	bool has_script, list, verbose;
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
	uint64_t jobs;

	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "-v") == 0) {
			o->verbose = true;
		} else if (strcmp(argv[i], "--list-mutants") == 0) {
			o->list = true;
		} else if (strcmp(argv[i], "--mutant") == 0 && value) {
			o->mutant = argv[++i];
		} else if (strcmp(argv[i], "--script") == 0 && value) {
			o->has_script = true;
			if (script_parse(argv[++i], &o->script) < 0)
				return -EINVAL;
		} else if (strcmp(argv[i], "--schedules") == 0 && value) {
			if (parse_number(argv[++i], &o->run.schedules) < 0)
				return -EINVAL;
		} else if (strcmp(argv[i], "--seed") == 0 && value) {
			if (parse_number(argv[++i], &o->run.seed) < 0)
				return -EINVAL;
		} else if (strcmp(argv[i], "--jobs") == 0 && value) {
			if (parse_number(argv[++i], &jobs) < 0 || jobs == 0 ||
			    jobs > JOBS_MAX)
				return -EINVAL;
			o->run.jobs = (unsigned int)jobs;
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

/* Runs it once more. */
static bool replay(struct world *w, const struct script *script,
		   enum loudness loudness)
{
	world_start(w, script, loudness);
	return world_schedule(w);
}

/* The one that failed, as short as it can be. False where that does not fail in
 * the same way as when it was found. */
static bool report_script(struct world *w, uint64_t seed)
{
	const char *as = w->failed_as;
	char text[SCRIPT_TEXT_MAX];
	struct script script;
	unsigned int tried;

	script_whole(&script, seed);
	tried = script_shrink(w, &script);
	script_format(&script, text);
	printf("# shrunk in %u schedules; again: --script %s\n", tried, text);
	replay(w, &script, EVENTS_TOLD);
	printf("# %s\n", w->failure);
	return w->failed && w->failed_as == as;
}

static bool is_repeatable(struct world *w, const struct options *o)
{
	struct script script;
	uint64_t sum;

	script_whole(&script, o->run.seed);
	replay(w, &script, SILENT);
	sum = w->sum;
	replay(w, &script, SILENT);
	return w->sum == sum;
}

static int report(const struct options *o, struct world *w, uint64_t ran,
		  const struct stats *s)
{
	bool repeatable;
	unsigned int wrong;

	printf("1..3\n");
	if (ran < o->run.schedules) {
		printf("not ok 1 - invariants: schedule %llu: %s\n",
		       (unsigned long long)ran, w->failure);
		report_script(w, o->run.seed + ran);
		printf("ok 2 # SKIP coverage: stopped early\n"
		       "ok 3 # SKIP replay: stopped early\n");
		return 1;
	}
	printf("ok 1 - invariants kept in %llu schedules from seed %llu\n",
	       (unsigned long long)ran, (unsigned long long)o->run.seed);
	printf("# %llu steps, %llu moves, %llu control messages (%llu not paid for), %llu times a flow entered at an end, %llu lies of a third host\n"
	       "# at rest within %.1f s (seed %llu)\n"
	       "# data: %llu sent, %llu received, %llu held, %llu refused by a full hold, %llu on tombstones, %llu to a stranger\n",
	       (unsigned long long)s->steps, (unsigned long long)s->moves,
	       (unsigned long long)s->controls,
	       (unsigned long long)s->unpaid,
	       (unsigned long long)s->entered,
	       (unsigned long long)s->lies, (double)s->rest_ms / 1000,
	       (unsigned long long)s->rest_seed,
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
	repeatable = is_repeatable(w, o);
	printf("%sok 3 - the same seed goes the same way\n",
	       repeatable ? "" : "not ");
	return !repeatable || (ran >= COVERAGE_SCHEDULES && wrong > 0);
}

static void world_free(struct world *w)
{
	for (int id = 0; id < HOSTS && w; id++)
		post_free(w->post[id]);
	free(w);
}

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	for (int id = 0; id < HOSTS && w; id++) {
		w->post[id] = post_new();
		if (!w->post[id]) {
			world_free(w);
			return NULL;
		}
	}
	return w;
}

static int run_script(const struct options *o, struct world *w)
{
	bool kept = replay(w, &o->script,
			   o->verbose ? STEPS_TOLD : EVENTS_TOLD);

	printf("1..1\n%sok 1 - invariants%s%s\n", kept ? "" : "not ",
	       kept ? "" : ": ", w->failure);
	return !kept;
}

static int run_mutant(const struct options *o, struct world *w,
		      uint64_t ran)
{
	if (ran == o->run.schedules) {
		printf("%s: NOT noticed in %llu schedules\n", o->mutant,
		       (unsigned long long)ran);
		return 1;
	}
	printf("%s: noticed in schedule %llu: %s\n", o->mutant,
	       (unsigned long long)ran, w->failure);
	return !report_script(w, o->run.seed + ran);
}

int main(int argc, char **argv)
{
	struct options o = { .run = { .schedules = 1000, .seed = 1,
				      .jobs = 1 } };
	struct stats total = { 0 };
	struct world *w;
	uint64_t ran;
	int status;

	if (parse_options(argc, argv, &o) < 0) {
		fprintf(stderr,
			"usage: sim [--schedules N] [--seed S] [--jobs N] [--mutant NAME] | --script SCRIPT [--mutant NAME] [-v] | --list-mutants\n");
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
	w = world_new();
	if (!w)
		return 1;
	if (o.has_script) {
		status = run_script(&o, w);
	} else {
		ran = jobs_run(w, &o.run, &total);
		status = o.mutant ? run_mutant(&o, w, ran) :
				    report(&o, w, ran, &total);
	}
	world_free(w);
	return status;
}
