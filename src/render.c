/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * render: flows, peers, counters and events as text for people.
 *
 * Owns columns and colours; the same values as JSON are in render_json.c.
 */
#include "render.h"

#include "crypto.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "render_json.h"

#define AGE_TEXT_MAX 24

static const char *const state_colours[CTL_FLOW_STATES] = {
	[CTL_TRACKED] = "\033[2m",
	[CTL_PROTECTED] = "\033[32m",
	[CTL_MOVING] = "\033[33m",
	[CTL_MOVED] = "\033[36m",
};

void render_escaped(FILE *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '\\')
			fputs("\\\\", out);
		else if (*p < 0x20 || *p > 0x7e)
			fprintf(out, "\\x%02x", *p);
		else
			putc(*p, out);
	}
}

static const char *proto_name(uint8_t proto)
{
	return proto == IPPROTO_TCP   ? "tcp"
	       : proto == IPPROTO_UDP ? "udp"
				      : "?";
}

/* At most five characters up to 27 years. */
static const char *format_age(uint64_t s, char to[AGE_TEXT_MAX])
{
	if (s < 120)
		snprintf(to, AGE_TEXT_MAX, "%" PRIu64 "s", s);
	else if (s < 120 * 60)
		snprintf(to, AGE_TEXT_MAX, "%" PRIu64 "m", s / 60);
	else if (s < 48 * 3600)
		snprintf(to, AGE_TEXT_MAX, "%" PRIu64 "h", s / 3600);
	else
		snprintf(to, AGE_TEXT_MAX, "%" PRIu64 "d", s / 86400);
	return to;
}

static void print_time(FILE *out, uint64_t s)
{
	time_t t = (time_t)s;
	char text[32];
	struct tm tm;

	if (s == 0 || !localtime_r(&t, &tm) ||
	    !strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm))
		strcpy(text, "never");
	fputs(text, out);
}

/* --- flows --------------------------------------------------------------- */

static void print_state(struct render *r, enum ctl_flow_state s, int width)
{
	const char *name = ctlmsg_state_name(s);

	if (r->colour && s < CTL_FLOW_STATES)
		fprintf(r->out, "%s%s\033[0m%*s", state_colours[s], name,
			width - (int)strlen(name), "");
	else
		fprintf(r->out, "%-*s", width, name);
}

static void print_row(struct render *r, const struct ctl_flow *f)
{
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];
	char age[AGE_TEXT_MAX];
	const char *note = ctlmsg_trust_name(f->trust);

	if (f->reason != REASON_NONE || !note)
		note = reason_name(f->reason);
	fprintf(r->out, "%*" PRIu64 " %-5s ", r->id_width, f->id,
		proto_name(f->identity.proto));
	print_state(r, f->state, 9);
	fprintf(r->out, " %4s %5" PRIu32 " %-*s %-*s %s\n",
		format_age(f->age_s, age), f->moves, r->local_width,
		endpoint_format(&f->identity.local, local), r->remote_width,
		endpoint_format(&f->identity.remote, remote), note);
	if (tuple_equal(&f->identity, &f->wire))
		return;
	fprintf(r->out, "%*s %-*s %-*s by %s\n", r->id_width + 27,
		"on the wire", r->local_width,
		endpoint_format(&f->wire.local, local), r->remote_width,
		endpoint_format(&f->wire.remote, remote),
		ctlmsg_path_name(f->path));
}

static void widen(int *width, const char *text)
{
	int n = (int)strlen(text);

	if (n > *width)
		*width = n;
}

/* Prints the heading and the flows that were kept back for its widths. */
static void start_table(struct render *r)
{
	char text[ENDPOINT_TEXT_MAX];
	unsigned int i;

	r->id_width = 2;
	r->local_width = 5;
	r->remote_width = 6;
	for (i = 0; i < r->n_sample; i++) {
		const struct ctl_flow *f = &r->sample[i];

		snprintf(text, sizeof(text), "%" PRIu64, f->id);
		widen(&r->id_width, text);
		widen(&r->local_width,
		      endpoint_format(&f->identity.local, text));
		widen(&r->local_width, endpoint_format(&f->wire.local, text));
		widen(&r->remote_width,
		      endpoint_format(&f->identity.remote, text));
		widen(&r->remote_width, endpoint_format(&f->wire.remote, text));
	}
	fprintf(r->out, "%*s PROTO STATE      AGE MOVES %-*s %-*s %s\n",
		r->id_width, "ID", r->local_width, "LOCAL", r->remote_width,
		"REMOTE", "TRUST/REASON");
	for (i = 0; i < r->n_sample; i++)
		print_row(r, &r->sample[i]);
	free(r->sample);
	r->sample = NULL;
}

int render_flows_begin(struct render *r)
{
	r->any = false;
	r->n_sample = 0;
	r->sample = NULL;
	if (r->json)
		return 0;
	r->sample = calloc(RENDER_SAMPLE, sizeof(*r->sample));
	return r->sample ? 0 : -ENOMEM;
}

void render_flows_add(struct render *r, const struct ctl_flow *f)
{
	if (r->json) {
		fputs(r->any ? ",\n " : "[\n ", r->out);
		render_json_flow(r->out, f, false);
	} else if (r->sample) {
		r->sample[r->n_sample++] = *f;
		if (r->n_sample == RENDER_SAMPLE)
			start_table(r);
	} else {
		print_row(r, f);
	}
	r->any = true;
}

void render_flows_end(struct render *r)
{
	if (r->json)
		fputs(r->any ? "\n]\n" : "[]\n", r->out);
	else if (r->sample)
		start_table(r);
}

static void print_pair(struct render *r, const char *name,
		       const struct tuple *t)
{
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];

	fprintf(r->out, "  %-12s %s to %s\n", name,
		endpoint_format(&t->local, local),
		endpoint_format(&t->remote, remote));
}

static void print_traffic(struct render *r, const char *what,
			  const struct ctl_traffic *t)
{
	fprintf(r->out,
		"  %-12s %" PRIu64 " packets, %" PRIu64 " bytes out; %" PRIu64
		" packets, %" PRIu64 " bytes in\n",
		what, t->packets_out, t->bytes_out, t->packets_in,
		t->bytes_in);
}

void render_flow(struct render *r, const struct ctl_flow *f)
{
	char age[AGE_TEXT_MAX];

	if (r->json) {
		render_json_flow(r->out, f, true);
		putc('\n', r->out);
		return;
	}
	fprintf(r->out, "flow %" PRIu64 ": %s, ", f->id,
		proto_name(f->identity.proto));
	print_state(r, f->state, 0);
	fprintf(r->out, ", %s old, %" PRIu32 " move%s\n",
		format_age(f->age_s, age), f->moves, f->moves == 1 ? "" : "s");
	print_pair(r, "identity", &f->identity);
	print_pair(r, "wire", &f->wire);
	if (f->peer[0]) {
		fprintf(r->out, "  %-12s ", "peer");
		render_escaped(r->out, f->peer);
		if (f->peer_name[0]) {
			fputs(" (", r->out);
			render_escaped(r->out, f->peer_name);
			putc(')', r->out);
		}
		fprintf(r->out, "\n  %-12s %s\n", "trust",
			ctlmsg_trust_name(f->trust) ?: "none");
	}
	if (f->reason != REASON_NONE)
		fprintf(r->out, "  %-12s %s: %s\n", "reason",
			reason_name(f->reason), reason_text(f->reason));
	if (f->uid != CTL_UID_NONE)
		fprintf(r->out, "  %-12s uid %" PRIu32 "\n", "owner", f->uid);
	if (f->peer[0])
		fprintf(r->out, "  %-12s %" PRIu32 ", move %" PRIu64 "\n",
			"track", f->track, f->seq);
	fprintf(r->out, "  %-12s %s\n", "path", ctlmsg_path_name(f->path));
	print_traffic(r, "by queue", &f->queue);
	if (f->counted)
		print_traffic(r, "by kernel", &f->kernel);
	if (f->gap_ms != CTL_GAP_NONE)
		fprintf(r->out, "  %-12s %" PRIu32 " ms\n", "last gap",
			f->gap_ms);
	if (f->held_packets)
		fprintf(r->out,
			"  %-12s %" PRIu32 " packets, %" PRIu32 " bytes\n",
			"held", f->held_packets, f->held_bytes);
}

/* --- peers --------------------------------------------------------------- */

void render_peers_begin(struct render *r)
{
	r->any = false;
}

void render_peers_add(struct render *r, const struct ctl_peer *p)
{
	char key[CRYPTO_KEY_TEXT_SIZE], addr[ADDR_TEXT_MAX];

	if (r->json) {
		fputs(r->any ? ",\n " : "[\n ", r->out);
		render_json_peer(r->out, p);
		r->any = true;
		return;
	}
	crypto_key_to_text(p->public_key, key);
	fputs(r->any ? "\npeer " : "peer ", r->out);
	render_escaped(r->out, p->name[0] ? p->name : p->fingerprint);
	fprintf(r->out, "\n  %-12s ", "fingerprint");
	render_escaped(r->out, p->fingerprint);
	fprintf(r->out, "\n  %-12s %s\n", "public key", key);
	fprintf(r->out, "  %-12s %s\n", "trust",
		ctlmsg_trust_name(p->trust) ?: "none");
	fprintf(r->out, "  %-12s %s", "session", p->session ? "live" : "none");
	if (p->session && p->srtt_us)
		fprintf(r->out, ", round trip %" PRIu32 ".%03" PRIu32 " ms",
			p->srtt_us / 1000, p->srtt_us % 1000);
	fprintf(r->out, "\n  %-12s %" PRIu32 "\n", "flows", p->flows);
	fprintf(r->out, "  %-12s", "addresses");
	for (uint32_t i = 0; i < p->n_addresses; i++)
		fprintf(r->out, " %s", addr_format(&p->address[i], addr));
	fprintf(r->out, "\n  %-12s ", "first seen");
	print_time(r->out, p->first_seen_s);
	fprintf(r->out, "\n  %-12s ", "last seen");
	print_time(r->out, p->last_seen_s);
	putc('\n', r->out);
	r->any = true;
}

void render_peers_end(struct render *r)
{
	if (r->json)
		fputs(r->any ? "\n]\n" : "[]\n", r->out);
}

/* --- the rest ------------------------------------------------------------ */

static void print_counters(struct render *r, const struct counters *c)
{
	fputs("\nrefused\n", r->out);
	for (int i = REASON_NONE + 1; i < REASON_MAX; i++)
		fprintf(r->out, "  %-18s %10" PRIu64 "  %s\n",
			reason_name((enum reason)i), c->refused[i],
			reason_text((enum reason)i));
	fputs("\ncounters\n", r->out);
	for (int i = 0; i < COUNTER_MAX; i++)
		fprintf(r->out, "  %-28s %12" PRIu64 "\n",
			counter_name((enum counter_id)i), c->value[i]);
}

void render_status(struct render *r, const struct ctl_status *s)
{
	char age[AGE_TEXT_MAX];
	uint32_t all = 0;

	if (r->json) {
		render_json_status(r->out, s);
		return;
	}
	fputs("saciped ", r->out);
	render_escaped(r->out, s->version);
	fprintf(r->out, ", pid %" PRIu32 ", up %s, UDP port %u\n", s->pid,
		format_age(s->uptime_s, age), s->port);
	if (s->fingerprint[0]) {
		fprintf(r->out, "  %-12s ", "fingerprint");
		render_escaped(r->out, s->fingerprint);
		putc('\n', r->out);
	}
	for (int i = 0; i < CTL_FLOW_STATES; i++)
		all += s->flows[i];
	fprintf(r->out, "  %-12s %" PRIu32 " of %" PRIu32 ":", "flows", all,
		s->max_flows);
	for (int i = 0; i < CTL_FLOW_STATES; i++)
		fprintf(r->out, " %" PRIu32 " %s%s", s->flows[i],
			ctlmsg_state_name((enum ctl_flow_state)i),
			i + 1 < CTL_FLOW_STATES ? "," : "\n");
	fprintf(r->out,
		"  %-12s %" PRIu32 " of %" PRIu32 ", %" PRIu32
		" with a session\n",
		"peers", s->peers, s->max_peers, s->sessions);
	fprintf(r->out, "  %-12s %" PRIu32 " packets, %" PRIu32 " bytes\n",
		"held", s->held_packets, s->held_bytes);
	fprintf(r->out,
		"  %-12s %" PRIu32 " old addresses, %" PRIu32 " tombstones\n",
		"kept", s->retained, s->tombstones);
	fprintf(r->out, "  %-12s queue statement %s, table %s\n", "kernel",
		s->native_queue ? "native" : "by compat",
		s->owned_table ? "owned" : "not owned");
	print_counters(r, &s->counters);
}

void render_key(struct render *r, const char *fingerprint,
		const uint8_t public_key[CTL_KEY_SIZE])
{
	char key[CRYPTO_KEY_TEXT_SIZE];

	crypto_key_to_text(public_key, key);
	if (r->json) {
		fprintf(r->out,
			"{\"public_key\": \"%s\", \"fingerprint\": ", key);
		render_json_string(r->out, fingerprint);
		fputs("}\n", r->out);
		return;
	}
	fprintf(r->out, "public key   %s\nfingerprint  ", key);
	render_escaped(r->out, fingerprint);
	putc('\n', r->out);
}

void render_event(struct render *r, const struct ctl_event *e)
{
	time_t t = (time_t)(e->time_ms / 1000);
	char clock[16] = "";
	struct tm tm;

	if (r->json) {
		render_json_event(r->out, e);
		return;
	}
	if (localtime_r(&t, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	fprintf(r->out, "%s.%03u ", clock, (unsigned int)(e->time_ms % 1000));
	render_escaped(r->out, e->what);
	if (e->flow)
		fprintf(r->out, " flow %" PRIu64, e->flow);
	if (e->peer[0]) {
		fputs(" peer ", r->out);
		render_escaped(r->out, e->peer);
	}
	if (e->text[0]) {
		fputs(": ", r->out);
		render_escaped(r->out, e->text);
	}
	putc('\n', r->out);
}

void render_done(struct render *r, const char *text)
{
	if (r->json) {
		fputs("{\"done\": true, \"text\": ", r->out);
		render_json_string(r->out, text);
		fputs("}\n", r->out);
	} else if (text[0]) {
		render_escaped(r->out, text);
		putc('\n', r->out);
	}
}
