/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two tables of sacip(7), "State tables", against the code: each row is
 * driven through mover.c or follower.c, and what has no row must change
 * nothing. The code is built with its deliberate faults (tests/sim), of which
 * each that is named here must make a row differ.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate_mutants.h"
#include "states_follower.h"
#include "states_mover.h"

#define TABLE_ROWS 160

enum migrate_mutant migrate_mutant;

struct row {
	char in[16], on[32], does[TEXT_MAX], then[16];
	bool used;
};

struct table {
	const char *head; /* what the page's table begins with */
	const struct in *in;
	const struct on *on;
	void (*then)(char *to);
	bool (*again)(void);
	int states, types;
	struct row row[TABLE_ROWS];
	unsigned int n;
};

static struct table mover_table = {
	.head = "\nM        on", .in = mover_in, .on = mover_on, .then = mover_then,
	.again = asks_again,
	.states = MOVER_STATES, .types = MOVER_EVENTS,
};
static struct table follower_table = {
	.head = "\nP        on", .in = follower_in, .on = follower_on,
	.then = follower_then, .again = never_again, .states = FOLLOWER_STATES,
	.types = FOLLOWER_EVENTS,
};

/* A field ends before two blanks; NULL at the end of the line. */
static const char *field(const char *line, char *to, size_t size)
{
	size_t n = 0;

	while (*line == ' ')
		line++;
	while (*line && *line != '\n' && !(line[0] == ' ' && line[1] == ' ') &&
	       n + 1 < size)
		to[n++] = *line++;
	to[n] = '\0';
	return line;
}

static void read_table(struct table *t, const char *page)
{
	const char *line = strstr(page, t->head);
	struct row *r;

	assert_non_null(line);
	for (line = strchr(line + 1, '\n') + 1; *line != '.';
	     line = strchr(line, '\n') + 1) {
		assert_true(t->n < TABLE_ROWS);
		r = &t->row[t->n++];
		line = field(line, r->in, sizeof(r->in));
		line = field(line, r->on, sizeof(r->on));
		line = field(line, r->does, sizeof(r->does));
		line = field(line, r->then, sizeof(r->then));
	}
}

static int read_page(void **state)
{
	static char page[256 * 1024];
	const char *srcdir = getenv("srcdir");
	char path[2048];
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "%s/man/sacip.7", srcdir ? srcdir : ".");
	file = fopen(path, "r");
	assert_non_null(file);
	page[fread(page, 1, sizeof(page) - 1, file)] = '\0';
	fclose(file);
	read_table(&mover_table, page);
	read_table(&follower_table, page);
	return 0;
}

static struct row *find_row(struct table *t, const struct in *in,
			    const struct on *on)
{
	for (unsigned int i = 0; i < t->n; i++)
		if (strchr(t->row[i].in, in->letter) &&
		    !strcmp(t->row[i].on, on->name))
			return &t->row[i];
	return NULL;
}

/* Does the code do there what the page says? What has no row does nothing. */
static bool agrees(struct table *t, const struct in *in, const struct on *on,
		   bool loud)
{
	struct row *r = find_row(t, in, on);
	char does[TEXT_MAX], then[16], before[16];
	bool happens;

	in->enter();
	said_seq = m.seq;
	said_in = m.state;
	t->then(before);
	happens = on->happen();
	say_actions(does, t->again());
	t->then(then);
	if (r)
		r->used = true;
	if (r ? happens && !strcmp(does, r->does) && !strcmp(then, r->then) :
		!happens || (!strcmp(does, "-") && !strcmp(then, before)))
		return true;
	if (loud && !happens)
		print_message("# %c  %s: it cannot happen there\n", in->letter,
			      on->name);
	else if (loud)
		print_message("# %-6c  %-20s  %s  %s\n", in->letter, on->name,
			      does, then);
	return false;
}

static unsigned int differences(struct table *t, bool loud)
{
	unsigned int n = 0;

	for (const struct in *in = t->in; in->letter; in++)
		for (const struct on *on = t->on; on->name; on++)
			n += !agrees(t, in, on, loud);
	return n;
}

static void check_table(struct table *t)
{
	unsigned int n;

	assert_in_range(t->n, 20, TABLE_ROWS);
	n = differences(t, true);
	for (unsigned int i = 0; i < t->n; i++)
		if (!t->row[i].used)
			fail_msg("nothing is called so: %s  %s", t->row[i].in,
				 t->row[i].on);
	if (n)
		fail_msg("%u rows differ from what the code does", n);
}

static void mover_is_as_written(void **state)
{
	(void)state;
	check_table(&mover_table);
}

static void follower_is_as_written(void **state)
{
	(void)state;
	check_table(&follower_table);
}

/* Each state and each event that the code has is one of ours, and the page has
 * a row for it. */
static void check_whole(struct table *t)
{
	for (int i = 0; i < t->states; i++) {
		const struct in *in = t->in;
		bool found = false;

		for (; in->letter; in++)
			for (const struct on *on = t->on; on->name; on++)
				found |= in->state == i &&
					 find_row(t, in, on);
		if (!found)
			fail_msg("no row begins in state %d of the code", i);
	}
	for (int i = 0; i < t->types; i++) {
		bool found = false;

		for (const struct on *on = t->on; on->name; on++)
			for (const struct in *in = t->in; in->letter; in++)
				found |= on->type == i && find_row(t, in, on);
		if (!found)
			fail_msg("no row is for event %d of the code", i);
	}
}

static void tables_are_whole(void **state)
{
	(void)state;
	check_whole(&mover_table);
	check_whole(&follower_table);
}

/* They are entered in the states that they are said to be. */
static void states_are_entered(void **state)
{
	(void)state;
	for (const struct in *in = mover_in; in->letter; in++) {
		in->enter();
		assert_int_equal(m.state, in->state);
	}
	for (const struct in *in = follower_in; in->letter; in++) {
		in->enter();
		assert_int_equal(f.state, in->state);
	}
}

static void faults_are_found(void **state)
{
	static const enum migrate_mutant faults[] = {
		MUTANT_accept_skipped, MUTANT_switch_before_accept,
		MUTANT_seq_ignored, MUTANT_arrived_on_unchecked,
		MUTANT_hold_skipped, MUTANT_hold_not_released,
		MUTANT_gone_not_said, MUTANT_permit_unlimited,
		MUTANT_give_up_sends, MUTANT_no_journal, MUTANT_try_skipped,
		MUTANT_untried_taken,
		MUTANT_offer_not_accepted, MUTANT_challenge_to_old,
		MUTANT_source_unchecked, MUTANT_prove_unchecked,
		MUTANT_stale_taken, MUTANT_gone_ignored, MUTANT_gone_unheard,
		MUTANT_lease_never_ends, MUTANT_hold_not_released_by_peer,
		MUTANT_doubt_never_ends, MUTANT_drain_zero,
	};

	(void)state;
	assert_int_equal(differences(&mover_table, false), 0);
	assert_int_equal(differences(&follower_table, false), 0);
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		migrate_mutant = faults[i];
		if (!differences(&mover_table, false) &&
		    !differences(&follower_table, false))
			fail_msg("fault %d makes no row differ", faults[i]);
	}
	migrate_mutant = MUTANT_none;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_are_entered),
		cmocka_unit_test(mover_is_as_written),
		cmocka_unit_test(follower_is_as_written),
		cmocka_unit_test(tables_are_whole),
		cmocka_unit_test(faults_are_found),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("states", tests, read_page, NULL);
}
