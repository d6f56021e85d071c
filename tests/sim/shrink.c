/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shrink: the shortest script that a check still fails for.
 *
 * Owns scripts as text, and what is tried without. Knows nothing of what
 * happens in them.
 */
#include "sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void script_whole(struct script *s, uint64_t seed)
{
	s->seed = seed;
	for (unsigned int p = 0; p < SCRIPT_PARTS; p++)
		s->part[p] = (1u << (p == PART_FAULTS ? FAULTS :
							 SCRIPT_EVENTS)) - 1;
}

void script_format(const struct script *s, char to[SCRIPT_TEXT_MAX])
{
	snprintf(to, SCRIPT_TEXT_MAX,
		 "%" PRIu64 ":%" PRIx32 ":%" PRIx32 ":%" PRIx32 ":%" PRIx32,
		 s->seed, s->part[PART_EVENTS], s->part[PART_COMINGS],
		 s->part[PART_PAUSES], s->part[PART_FAULTS]);
}

int script_parse(const char *text, struct script *s)
{
	int len = 0;

	if (sscanf(text,
		   "%" SCNu64 ":%" SCNx32 ":%" SCNx32 ":%" SCNx32
		   ":%" SCNx32 "%n",
		   &s->seed, &s->part[PART_EVENTS], &s->part[PART_COMINGS],
		   &s->part[PART_PAUSES], &s->part[PART_FAULTS], &len) !=
		    1 + SCRIPT_PARTS ||
	    text[len] != '\0')
		return -EINVAL;
	return 0;
}

static bool fails_as(struct world *w, const struct script *s, const char *as)
{
	world_start(w, s, SILENT);
	return !world_schedule(w) && w->failed_as == as;
}

unsigned int script_shrink(struct world *w, struct script *s)
{
	const char *as = w->failed_as;
	unsigned int tried = 0;
	struct script before, less;

	do {
		before = *s;
		for (unsigned int i = 0; i < SCRIPT_PARTS * 32; i++) {
			less = *s;
			less.part[i / 32] &= ~(1u << i % 32);
			if (less.part[i / 32] == s->part[i / 32])
				continue;
			tried++;
			if (fails_as(w, &less, as))
				*s = less;
		}
	} while (memcmp(before.part, s->part, sizeof(before.part)) != 0);
	return tried;
}
