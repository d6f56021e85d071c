/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * agenda: which peer has something to do next.
 *
 * Owns a heap of the peers by their next deadline, one for what assoc.c does
 * and one for handover.c, and the list of those whose deadline may have
 * changed: only these are asked again. So what a datagram costs does not grow
 * with the number of peers. Never does what is due.
 */
#include "daemon.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 64

void agenda_init(struct agenda *g, enum agenda_of of, agenda_due *due)
{
	g->of = of;
	g->due = due;
	g->heap = NULL;
	g->n = g->room = 0;
	LIST_INIT(&g->touched);
	LIST_INIT(&g->taken);
}

void agenda_free(struct agenda *g)
{
	free(g->heap);
	g->heap = NULL;
	g->n = g->room = 0;
}

/* ---- the heap -------------------------------------------------------------- */

static uint64_t due_at(const struct agenda *g, uint32_t at)
{
	return g->heap[at]->agenda[g->of].due_ms;
}

static void put(struct agenda *g, uint32_t at, struct assoc *a)
{
	g->heap[at] = a;
	a->agenda[g->of].at = at;
}

static void exchange(struct agenda *g, uint32_t i, uint32_t j)
{
	struct assoc *a = g->heap[i];

	put(g, i, g->heap[j]);
	put(g, j, a);
}

/* To where it belongs, from where it is. */
static void settle(struct agenda *g, uint32_t at)
{
	while (at && due_at(g, at) < due_at(g, (at - 1) / 2)) {
		exchange(g, at, (at - 1) / 2);
		at = (at - 1) / 2;
	}
	for (;;) {
		uint32_t least = at;

		for (uint32_t i = 2 * at + 1; i <= 2 * at + 2 && i < g->n; i++)
			if (due_at(g, i) < due_at(g, least))
				least = i;
		if (least == at)
			return;
		exchange(g, at, least);
		at = least;
	}
}

static void heap_remove(struct agenda *g, struct assoc *a)
{
	uint32_t at = a->agenda[g->of].at;

	g->n--;
	if (at == g->n)
		return;
	put(g, at, g->heap[g->n]);
	settle(g, at);
}

static void heap_add(struct agenda *g, struct assoc *a)
{
	put(g, g->n++, a);
	settle(g, g->n - 1);
}

/* ---- peers ----------------------------------------------------------------- */

static void set_state(struct agenda *g, struct assoc *a,
		      enum agenda_state state)
{
	struct agenda_entry *e = &a->agenda[g->of];

	if (e->state == AGENDA_WAITS)
		heap_remove(g, a);
	else if (e->state != AGENDA_ABSENT)
		LIST_REMOVE(e, entry);
	e->state = state;
	if (state == AGENDA_WAITS)
		heap_add(g, a);
	else if (state == AGENDA_TOUCHED)
		LIST_INSERT_HEAD(&g->touched, e, entry);
	else if (state == AGENDA_TAKEN)
		LIST_INSERT_HEAD(&g->taken, e, entry);
}

int agenda_enter(struct agenda *g, struct assoc *a, uint32_t peers)
{
	uint32_t room = g->room ? g->room : ROOM_FIRST;
	struct assoc **heap;

	a->agenda[g->of].assoc = a;
	while (room <= peers)
		room *= 2;
	if (room > g->room) {
		heap = realloc(g->heap, room * sizeof(struct assoc *));
		if (!heap)
			return -ENOMEM;
		g->heap = heap;
		g->room = room;
	}
	set_state(g, a, AGENDA_TOUCHED);
	return 0;
}

void agenda_leave(struct agenda *g, struct assoc *a)
{
	set_state(g, a, AGENDA_ABSENT);
}

void agenda_touch(struct agenda *g, struct assoc *a)
{
	if (a->agenda[g->of].state == AGENDA_WAITS)
		set_state(g, a, AGENDA_TOUCHED);
}

uint64_t agenda_next_ms(struct agenda *g)
{
	struct agenda_entry *e;

	while ((e = LIST_FIRST(&g->touched))) {
		e->due_ms = g->due(e->assoc);
		set_state(g, e->assoc, AGENDA_WAITS);
	}
	return g->n ? due_at(g, 0) : UINT64_MAX;
}

void agenda_take_due(struct agenda *g, uint64_t now_ms)
{
	while (agenda_next_ms(g) <= now_ms)
		set_state(g, g->heap[0], AGENDA_TAKEN);
}

struct assoc *agenda_next_due(struct agenda *g)
{
	struct agenda_entry *e = LIST_FIRST(&g->taken);

	if (!e)
		return NULL;
	set_state(g, e->assoc, AGENDA_TOUCHED);
	return e->assoc;
}
