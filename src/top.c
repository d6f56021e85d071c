/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * top: rates and the table of flows. See top.h.
 *
 * A flow that is not rewritten is seen by nobody, nor are those that the
 * kernel rewrites where it does not count. Their rate is not known: "-",
 * which is not 0.
 */
#include "top.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_SIZE 256
#define FIRST_ROOM 64
#define HEADER_LINES 3
#define RATE_TEXT_MAX 16

/* ---- samples ----------------------------------------------- */

void top_sample_begin(struct top_sample *s, uint64_t time_ms)
{
	s->n = 0;
	s->time_ms = time_ms;
}

void top_sample_free(struct top_sample *s)
{
	free(s->row);
	memset(s, 0, sizeof(*s));
}

static int make_room(struct top_sample *s)
{
	size_t room = s->room ? 2 * s->room : FIRST_ROOM;
	struct top_row *row;

	if (s->n < s->room)
		return 0;
	if (s->n >= TOP_FLOWS_MAX)
		return -ENOSPC;
	row = realloc(s->row, room * sizeof(*row));
	if (!row)
		return -ENOMEM;
	s->row = row;
	s->room = room;
	return 0;
}

/* FNV-1a; 0 for "". Only to tell one peer from another. */
static uint64_t hash_of(const char *text)
{
	uint64_t h = 0xcbf29ce484222325;

	if (!*text)
		return 0;
	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 0x100000001b3;
	return h ? h : 1;
}

int top_sample_add(struct top_sample *s, const struct ctl_flow *f)
{
	struct top_row *r;
	int err = make_room(s);

	if (err)
		return err;
	r = &s->row[s->n++];
	*r = (struct top_row){
		.id = f->id,
		.count = {
			[TOP_PACKETS_IN] = f->queue.packets_in +
					   f->kernel.packets_in,
			[TOP_BYTES_IN] = f->queue.bytes_in +
					 f->kernel.bytes_in,
			[TOP_PACKETS_OUT] = f->queue.packets_out +
					    f->kernel.packets_out,
			[TOP_BYTES_OUT] = f->queue.bytes_out +
					  f->kernel.bytes_out,
		},
		.peer = hash_of(f->peer),
		.moves = f->moves,
		.held_packets = f->held_packets,
		.gap_ms = f->gap_ms,
		.state = f->state,
		.proto = f->identity.proto,
		.path = f->path,
		.counted = f->path == CTL_PATH_QUEUE ||
			   (f->path == CTL_PATH_KERNEL && f->counted),
	};
	return 0;
}

/* ---- comparing ----------------------------------------------- */

static int compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int by_id(const void *a, const void *b)
{
	const struct top_row *l = a, *r = b;

	return compare_u64(l->id, r->id);
}

static int by_peer(const void *a, const void *b)
{
	const struct top_row *l = a, *r = b;

	return compare_u64(l->peer, r->peer);
}

static double speed(const struct top_row *r)
{
	if (r->rate[TOP_BYTES_IN] < 0)
		return -1;
	return r->rate[TOP_BYTES_IN] + r->rate[TOP_BYTES_OUT];
}

static int by_speed(const void *a, const void *b)
{
	double l = speed(a), r = speed(b);

	if (l != r)
		return l < r ? 1 : -1;
	return by_id(a, b);
}

static void set_rates(struct top_row *r, const struct top_row *before,
		      uint64_t span_ms)
{
	bool known = before && r->counted && span_ms;

	/* What the kernel counted is counted from the first time it is asked
	 * for; the rest of that time is not ours to divide by. */
	if (known && r->path == CTL_PATH_KERNEL &&
	    before->path == CTL_PATH_KERNEL)
		known = before->counted;
	/* The kernel begins anew with each element, a daemon with each start.
	 */
	for (int i = 0; known && i < TOP_RATES; i++)
		known = r->count[i] >= before->count[i];
	for (int i = 0; i < TOP_RATES; i++)
		r->rate[i] = !known ? -1 :
			     (double)(r->count[i] - before->count[i]) * 1000 /
			     (double)span_ms;
}

static void add_totals(struct top_totals *t, const struct top_row *r)
{
	t->state[r->state]++;
	t->moves += r->moves;
	t->held_packets += r->held_packets;
	for (int i = 0; i < TOP_RATES; i++) {
		if (r->rate[i] < 0)
			continue;
		if (t->rate[i] < 0)
			t->rate[i] = 0;
		t->rate[i] += r->rate[i];
	}
}

static uint32_t count_peers(struct top_sample *s)
{
	uint64_t last = 0;
	uint32_t n = 0;

	qsort(s->row, s->n, sizeof(*s->row), by_peer);
	for (size_t i = 0; i < s->n; i++) {
		n += s->row[i].peer != last;
		last = s->row[i].peer;
	}
	return n;
}

void top_compare(struct top_sample *before, struct top_sample *after,
		 struct top_totals *t)
{
	uint64_t span_ms = before ? after->time_ms - before->time_ms : 0;

	memset(t, 0, sizeof(*t));
	for (int i = 0; i < TOP_RATES; i++)
		t->rate[i] = -1;
	if (after->n == 0)
		return;
	if (before && before->n == 0)
		before = NULL;
	if (before)
		qsort(before->row, before->n, sizeof(*before->row), by_id);
	for (size_t i = 0; i < after->n; i++) {
		struct top_row *r = &after->row[i], *known = NULL;

		if (before)
			known = bsearch(r, before->row, before->n, sizeof(*r),
					by_id);
		set_rates(r, known, span_ms);
		add_totals(t, r);
	}
	t->peers = count_peers(after);
	qsort(after->row, after->n, sizeof(*after->row), by_speed);
}

/* ---- the table ----------------------------------------------- */

/* Three digits and a power of ten, at most five characters up to 10^15. */
static const char *format_rate(double v, char to[RATE_TEXT_MAX])
{
	static const char unit[] = " kMGTPE";
	size_t u = 0;

	if (v < 0)
		return "-";
	for (; v >= 999.5 && unit[u + 1]; u++)
		v /= 1000;
	snprintf(to, RATE_TEXT_MAX, "%.*f%.*s",
		 v >= 99.95 || (u == 0 && v == 0) ? 0 :
		 v >= 9.995 || u == 0 ? 1 : 2,
		 v, u != 0, unit + u);
	return to;
}

static const char *proto_name(uint8_t proto)
{
	return proto == IPPROTO_TCP   ? "tcp"
	       : proto == IPPROTO_UDP ? "udp"
				      : "?";
}

static void put_line(FILE *out, const struct top_form *form, const char *text)
{
	int width = form->width ? (int)form->width : LINE_MAX_SIZE;

	fprintf(out, "%.*s%s", width, text, form->line_end);
}

static void print_totals(FILE *out, const struct top_sample *s,
			 const struct top_totals *t,
			 const struct top_form *form)
{
	char packets[RATE_TEXT_MAX], bytes[RATE_TEXT_MAX];
	char line[LINE_MAX_SIZE];
	bool known = t->rate[TOP_BYTES_IN] >= 0;

	snprintf(line, sizeof(line),
		 "%zu flow%s: %" PRIu32 " tracked, %" PRIu32
		 " protected, %" PRIu32 " moving, %" PRIu32 " moved", s->n,
		 s->n == 1 ? "" : "s", t->state[CTL_TRACKED],
		 t->state[CTL_PROTECTED], t->state[CTL_MOVING],
		 t->state[CTL_MOVED]);
	put_line(out, form, line);
	snprintf(line, sizeof(line),
		 "%" PRIu32 " peer%s, %" PRIu64 " move%s, %" PRIu64
		 " packet%s held, %s packets/s and %s bytes/s rewritten",
		 t->peers, t->peers == 1 ? "" : "s", t->moves,
		 t->moves == 1 ? "" : "s", t->held_packets,
		 t->held_packets == 1 ? "" : "s",
		 format_rate(known ? t->rate[TOP_PACKETS_IN] +
				     t->rate[TOP_PACKETS_OUT] : -1, packets),
		 format_rate(known ? t->rate[TOP_BYTES_IN] +
				     t->rate[TOP_BYTES_OUT] : -1, bytes));
	put_line(out, form, line);
}

static void print_heading(FILE *out, const struct top_form *form, int id_width)
{
	char line[LINE_MAX_SIZE];

	snprintf(line, sizeof(line),
		 "%*s PROTO STATE     PATH   IN PKT/S IN B/S OUT PKT/S OUT B/S"
		 " MOVES GAP MS", id_width, "ID");
	if (form->colour)
		fputs("\033[7m", out);
	fprintf(out, "%.*s", form->width ? (int)form->width : LINE_MAX_SIZE,
		line);
	if (form->colour)
		fputs("\033[0m", out);
	fputs(form->line_end, out);
}

static void print_row(FILE *out, const struct top_form *form, int id_width,
		      const struct top_row *r)
{
	char rate[TOP_RATES][RATE_TEXT_MAX], gap[RATE_TEXT_MAX] = "-";
	char line[LINE_MAX_SIZE];

	if (r->gap_ms != CTL_GAP_NONE)
		snprintf(gap, sizeof(gap), "%" PRIu32, r->gap_ms);
	snprintf(line, sizeof(line),
		 "%*" PRIu64 " %-5s %-9s %-6s %8s %6s %9s %7s %5" PRIu32
		 " %6s", id_width, r->id, proto_name(r->proto),
		 ctlmsg_state_name(r->state), ctlmsg_path_name(r->path),
		 format_rate(r->rate[TOP_PACKETS_IN], rate[TOP_PACKETS_IN]),
		 format_rate(r->rate[TOP_BYTES_IN], rate[TOP_BYTES_IN]),
		 format_rate(r->rate[TOP_PACKETS_OUT], rate[TOP_PACKETS_OUT]),
		 format_rate(r->rate[TOP_BYTES_OUT], rate[TOP_BYTES_OUT]),
		 r->moves, gap);
	put_line(out, form, line);
}

static int id_width_of(const struct top_sample *s)
{
	uint64_t largest = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->row[i].id > largest)
			largest = s->row[i].id;
	return snprintf(NULL, 0, "%4" PRIu64, largest);
}

void top_print(FILE *out, const struct top_sample *s,
	       const struct top_totals *t, const struct top_form *form)
{
	size_t rows = s->n, room = SIZE_MAX;
	int id_width = id_width_of(s);
	char line[LINE_MAX_SIZE];

	if (form->height)
		room = form->height > HEADER_LINES ?
		       form->height - HEADER_LINES : 0;
	if (rows > room)
		rows = room ? room - 1 : 0;
	print_totals(out, s, t, form);
	print_heading(out, form, id_width);
	for (size_t i = 0; i < rows; i++)
		print_row(out, form, id_width, &s->row[i]);
	if (rows < s->n && room) {
		snprintf(line, sizeof(line), "%*s and %zu more", id_width, "",
			 s->n - rows);
		put_line(out, form, line);
	}
	fputs(form->frame_end, out);
}

/* ---- JSON ----------------------------------------------- */

static void put_rates(FILE *out, const char *name, double packets,
		      double bytes)
{
	if (packets < 0)
		fprintf(out, ", \"%s\": null", name);
	else
		fprintf(out, ", \"%s\": {\"packets_per_s\": %.3f,"
			" \"bytes_per_s\": %.3f}", name, packets, bytes);
}

static void put_row(FILE *out, const struct top_row *r)
{
	fprintf(out, "  {\"id\": \"%" PRIu64 "\", \"proto\": \"%s\","
		" \"state\": \"%s\", \"path\": \"%s\"", r->id,
		proto_name(r->proto), ctlmsg_state_name(r->state),
		ctlmsg_path_name(r->path));
	put_rates(out, "in", r->rate[TOP_PACKETS_IN], r->rate[TOP_BYTES_IN]);
	put_rates(out, "out", r->rate[TOP_PACKETS_OUT],
		  r->rate[TOP_BYTES_OUT]);
	fprintf(out, ", \"moves\": %" PRIu32 ", \"gap_ms\": ", r->moves);
	if (r->gap_ms == CTL_GAP_NONE)
		fputs("null}", out);
	else
		fprintf(out, "%" PRIu32 "}", r->gap_ms);
}

void top_print_json(FILE *out, const struct top_sample *s,
		    const struct top_totals *t, uint64_t span_ms)
{
	fprintf(out, "{\n \"interval_ms\": %" PRIu64 ",\n \"flows\": {",
		span_ms);
	for (int i = 0; i < CTL_FLOW_STATES; i++)
		fprintf(out, "%s\"%s\": %" PRIu32, i ? ", " : "",
			ctlmsg_state_name((enum ctl_flow_state)i),
			t->state[i]);
	fprintf(out, "},\n \"peers\": %" PRIu32 ",\n \"moves\": %" PRIu64
		",\n \"held_packets\": %" PRIu64, t->peers, t->moves,
		t->held_packets);
	put_rates(out, "in", t->rate[TOP_PACKETS_IN], t->rate[TOP_BYTES_IN]);
	put_rates(out, "out", t->rate[TOP_PACKETS_OUT],
		  t->rate[TOP_BYTES_OUT]);
	fputs(",\n \"rows\": [", out);
	for (size_t i = 0; i < s->n; i++) {
		fputs(i ? ",\n" : "\n", out);
		put_row(out, &s->row[i]);
	}
	fputs(s->n ? "\n ]\n}\n" : "]\n}\n", out);
}
