/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What t_states drives through the tables of sacip(7) has in common: places,
 * and what a step has done in the words of the page.
 *
 * O is where the track is, N where it is to go or goes, X another source, K
 * where it was before.
 */
#ifndef SACIPED_TEST_STATES_H
#define SACIPED_TEST_STATES_H

#include <stdio.h>
#include <string.h>

#include "migrate.h"

#define T0 1000000
#define TEXT_MAX 160

enum { K, O, N, X, PLACES };

static const char place_name[PLACES] = { 'K', 'O', 'N', 'X' };

static struct locator at(int place)
{
	struct locator l = { .addr = { .family = 4,
				       .byte = { 192, 0, 2,
						 (uint8_t)(place + 1) } } };

	return l;
}

static bool is_at(const struct addr *a, int place)
{
	const struct locator l = at(place);

	return addr_equal(a, &l.addr);
}

static int place_of(const struct addr *a)
{
	for (int i = 0; i < PLACES; i++)
		if (is_at(a, i))
			return i;
	return PLACES;
}

static const struct locator nowhere;
static struct migrate_actions out;
static uint64_t now;

/* ---- what a step has done, in the words of the page ---------------------- */

static char letter(const struct addr *a)
{
	int i = place_of(a);

	return i < PLACES ? place_name[i] : '?';
}

static void say(char *to, const char *word, const struct addr *where)
{
	size_t n = strlen(to);

	snprintf(to + n, TEXT_MAX - n, where ? "%s%s(%c)" : "%s%s",
		 n ? " " : "", word, where ? letter(where) : 0);
}

static void say_message(char *to, const struct migrate_action *a)
{
	switch (a->message) {
	case MIGRATE_MOVE:
		say(to, a->from_gone ? "MOVE-gone" : "MOVE", &a->to.addr);
		break;
	case MIGRATE_ACCEPT:
		say(to, "ACCEPT", &a->dest);
		break;
	case MIGRATE_REFUSE:
		say(to, "REFUSE", &a->dest);
		break;
	case MIGRATE_PROVE:
		say(to, "PROVE", &a->to.addr);
		break;
	case MIGRATE_DONE:
		say(to, "DONE", &a->dest);
		break;
	}
}

/* `again`: MOVE or PROVE of a number that was sent already. */
static void say_actions(char *to, bool again)
{
	static const struct {
		const char *word;
		bool where;
	} words[] = {
		[MIGRATE_JOURNAL] = { "store", false },
		[MIGRATE_HOLD] = { "hold", false },
		[MIGRATE_ACCEPT_ADD] = { "accept", true },
		[MIGRATE_ACCEPT_DEL] = { "drop", true },
		[MIGRATE_RELEASE] = { "release", true },
		[MIGRATE_SWITCH] = { "switch", true },
		[MIGRATE_TRY] = { "nonce", true },
		[MIGRATE_CHOOSE_PORTS] = { "ports", false },
		[MIGRATE_SEND_FLOWS] = { "FLOWS", false },
		[MIGRATE_HANDSHAKE] = { "INIT", false },
		[MIGRATE_NEXT_CANDIDATE] = { "next", false },
		[MIGRATE_EVALUATE] = { "look", false },
	};

	to[0] = '\0';
	for (unsigned int i = 0; i < out.n; i++) {
		const struct migrate_action *a = &out.action[i];

		if (a->type == MIGRATE_SEND && again)
			say(to, "again", NULL);
		else if (a->type == MIGRATE_SEND)
			say_message(to, a);
		else if (a->type != MIGRATE_NOTE) /* counters are no protocol */
			say(to, words[a->type].word,
			    words[a->type].where ? &a->to.addr : NULL);
	}
	if (!to[0])
		say(to, "-", NULL);
}

/* ---- what has a column, and what a row --------------------------------- */

struct in {
	char letter;
	int state; /* of the code */
	void (*enter)(void);
};

struct on {
	const char *name;
	int type; /* of the code's event */
	bool (*happen)(void);
};

#endif
