/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * top: two looks at all flows, the rates between them, and their table.
 *
 * Owns the samples, the order of rows, columns and JSON members. Never reads
 * a clock, a socket or a terminal.
 */
#ifndef SACIPED_TOP_H
#define SACIPED_TOP_H

#include "ctlmsg.h"

#include <stdio.h>

#define TOP_FLOWS_MAX (1u << 20) /* of one sample */

enum top_rate {
	TOP_PACKETS_IN,
	TOP_BYTES_IN,
	TOP_PACKETS_OUT,
	TOP_BYTES_OUT,
	TOP_RATES,
};

struct top_row {
	uint64_t id;
	uint64_t count[TOP_RATES]; /* since the flow began */
	double rate[TOP_RATES];	   /* per second; negative: not known */
	uint64_t peer;		   /* names it, for counting; 0 none */
	uint32_t moves;
	uint32_t held_packets;
	uint32_t gap_ms; /* or CTL_GAP_NONE */
	enum ctl_path path;
	enum ctl_flow_state state;
	uint8_t proto;
	bool counted; /* somebody counts its packets now */
};

struct top_sample {
	struct top_row *row;
	size_t n, room;
	uint64_t time_ms; /* monotonic; the caller's */
};

struct top_totals {
	uint32_t state[CTL_FLOW_STATES];
	uint32_t peers; /* of flows that have one */
	uint64_t moves, held_packets;
	double rate[TOP_RATES]; /* over the flows of which it is known */
};

struct top_form {
	unsigned int width, height; /* of a terminal; 0: as it comes */
	bool colour;
	/* What ends a line, and all of them: "\n" and "" but on a terminal. */
	const char *line_end, *frame_end;
};

/* Empties it and notes when the next flows were asked for. */
void top_sample_begin(struct top_sample *s, uint64_t time_ms);
/* 0, -ENOSPC at TOP_FLOWS_MAX, or -ENOMEM. */
int top_sample_add(struct top_sample *s, const struct ctl_flow *f);
void top_sample_free(struct top_sample *s);

/* Fills in the rates of `after`, those of a flow that `before` (NULL: there
 * is none) does not know excepted, and sorts it: the fastest first, then
 * those without a rate, by id. Both are sorted anew in the course of it. */
void top_compare(struct top_sample *before, struct top_sample *after,
		 struct top_totals *t);

/* The table of a sample that was compared. Lines are cut at the width, rows
 * at the height; the last line then says how many there are besides. */
void top_print(FILE *out, const struct top_sample *s,
	       const struct top_totals *t, const struct top_form *form);
/* The same as one JSON object; `span_ms` is what lies between the samples. */
void top_print_json(FILE *out, const struct top_sample *s,
		    const struct top_totals *t, uint64_t span_ms);

#endif
