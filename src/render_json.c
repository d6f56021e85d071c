/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * render_json: flows, peers, counters and events as JSON.
 *
 * Owns the escapes and the names of members. Every string of another origin
 * passes render_json_string(), so that the output is valid whatever a peer
 * calls itself. 64-bit ids are strings: JavaScript rounds past 2^53.
 */
#include "render_json.h"

#include "crypto.h"
#include "render.h"

#include <inttypes.h>

void render_json_string(FILE *out, const char *text)
{
	putc('"', out);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p < 0x20 || *p > 0x7e)
			fprintf(out, "\\u%04x", *p);
		else
			putc(*p, out);
	}
	putc('"', out);
}

static void put_string_or_null(FILE *out, const char *text)
{
	if (text && text[0])
		render_json_string(out, text);
	else
		fputs("null", out);
}

static void put_endpoint(FILE *out, const char *name, const struct endpoint *e)
{
	char addr[ADDR_TEXT_MAX];

	fprintf(out, "\"%s\": {\"addr\": \"%s\", \"port\": %u}", name,
		addr_format(&e->addr, addr), e->port);
}

static void put_tuple(FILE *out, const char *name, const struct tuple *t)
{
	fprintf(out, ", \"%s\": {", name);
	put_endpoint(out, "local", &t->local);
	fputs(", ", out);
	put_endpoint(out, "remote", &t->remote);
	putc('}', out);
}

static void put_traffic(FILE *out, const struct ctl_traffic *t)
{
	fprintf(out,
		"{\"packets_out\": %" PRIu64 ", \"bytes_out\": %" PRIu64
		", \"packets_in\": %" PRIu64 ", \"bytes_in\": %" PRIu64 "}",
		t->packets_out, t->bytes_out, t->packets_in, t->bytes_in);
}

void render_json_flow(FILE *out, const struct ctl_flow *f, bool full)
{
	fprintf(out, "{\"id\": \"%" PRIu64 "\", \"proto\": \"%s\"", f->id,
		f->identity.proto == IPPROTO_TCP ? "tcp" : "udp");
	fprintf(out, ", \"state\": \"%s\"", ctlmsg_state_name(f->state));
	put_tuple(out, "identity", &f->identity);
	put_tuple(out, "wire", &f->wire);
	fputs(", \"peer\": ", out);
	put_string_or_null(out, f->peer);
	fputs(", \"peer_name\": ", out);
	put_string_or_null(out, f->peer_name);
	fputs(", \"trust\": ", out);
	put_string_or_null(out,
			   f->peer[0] ? ctlmsg_trust_name(f->trust) : NULL);
	fprintf(out, ", \"age_s\": %" PRIu32 ", \"moves\": %" PRIu32, f->age_s,
		f->moves);
	fputs(", \"reason\": ", out);
	put_string_or_null(
		out, f->reason == REASON_NONE ? NULL : reason_name(f->reason));
	fputs(", \"gap_ms\": ", out);
	if (f->gap_ms == CTL_GAP_NONE)
		fputs("null", out);
	else
		fprintf(out, "%" PRIu32, f->gap_ms);
	fprintf(out, ", \"path\": \"%s\", \"traffic\": {\"queue\": ",
		ctlmsg_path_name(f->path));
	put_traffic(out, &f->queue);
	fputs(", \"kernel\": ", out);
	if (f->counted)
		put_traffic(out, &f->kernel);
	else
		fputs("null", out);
	putc('}', out);
	if (full) {
		fputs(", \"uid\": ", out);
		if (f->uid == CTL_UID_NONE)
			fputs("null", out);
		else
			fprintf(out, "%" PRIu32, f->uid);
		fprintf(out,
			", \"track\": %" PRIu32 ", \"seq\": \"%" PRIu64 "\"",
			f->track, f->seq);
		fprintf(out,
			", \"held\": {\"packets\": %" PRIu32
			", \"bytes\": %" PRIu32 "}",
			f->held_packets, f->held_bytes);
	}
	putc('}', out);
}

void render_json_peer(FILE *out, const struct ctl_peer *p)
{
	char key[CRYPTO_KEY_TEXT_SIZE], addr[ADDR_TEXT_MAX];

	crypto_key_to_text(p->public_key, key);
	fputs("{\"fingerprint\": ", out);
	render_json_string(out, p->fingerprint);
	fputs(", \"name\": ", out);
	put_string_or_null(out, p->name);
	fprintf(out, ", \"public_key\": \"%s\", \"trust\": ", key);
	put_string_or_null(out, ctlmsg_trust_name(p->trust));
	fprintf(out, ", \"session\": %s", p->session ? "true" : "false");
	fprintf(out, ", \"flows\": %" PRIu32 ", \"srtt_ms\": ", p->flows);
	if (p->srtt_us)
		fprintf(out, "%" PRIu32 ".%03" PRIu32, p->srtt_us / 1000,
			p->srtt_us % 1000);
	else
		fputs("null", out);
	fputs(", \"addresses\": [", out);
	for (uint32_t i = 0; i < p->n_addresses; i++)
		fprintf(out, "%s\"%s\"", i ? ", " : "",
			addr_format(&p->address[i], addr));
	fprintf(out,
		"], \"first_seen_s\": %" PRIu64 ", \"last_seen_s\": %" PRIu64
		"}",
		p->first_seen_s, p->last_seen_s);
}

void render_json_status(FILE *out, const struct ctl_status *s)
{
	fputs("{\n \"version\": ", out);
	render_json_string(out, s->version);
	fputs(",\n \"fingerprint\": ", out);
	put_string_or_null(out, s->fingerprint);
	fprintf(out,
		",\n \"pid\": %" PRIu32 ",\n \"uptime_s\": %" PRIu64
		",\n \"port\": %u,\n \"flows\": {",
		s->pid, s->uptime_s, s->port);
	for (int i = 0; i < CTL_FLOW_STATES; i++)
		fprintf(out, "%s\"%s\": %" PRIu32, i ? ", " : "",
			ctlmsg_state_name((enum ctl_flow_state)i), s->flows[i]);
	fprintf(out,
		"},\n \"max_flows\": %" PRIu32 ",\n \"peers\": %" PRIu32
		",\n \"sessions\": %" PRIu32 ",\n \"max_peers\": %" PRIu32,
		s->max_flows, s->peers, s->sessions, s->max_peers);
	fprintf(out,
		",\n \"held\": {\"packets\": %" PRIu32 ", \"bytes\": %" PRIu32
		"},\n \"retained\": %" PRIu32 ",\n \"tombstones\": %" PRIu32,
		s->held_packets, s->held_bytes, s->retained, s->tombstones);
	fprintf(out,
		",\n \"native_queue\": %s,\n \"owned_table\": %s,\n"
		" \"counters\": {",
		s->native_queue ? "true" : "false",
		s->owned_table ? "true" : "false");
	/* Refusals and counters share one space of names. */
	for (int i = REASON_NONE + 1; i < REASON_MAX; i++)
		fprintf(out, "\n  \"%s\": %" PRIu64 ",",
			reason_name((enum reason)i), s->counters.refused[i]);
	for (int i = 0; i < COUNTER_MAX; i++)
		fprintf(out, "\n  \"%s\": %" PRIu64 "%s",
			counter_name((enum counter_id)i), s->counters.value[i],
			i + 1 < COUNTER_MAX ? "," : "");
	fputs("\n }\n}\n", out);
}

void render_json_event(FILE *out, const struct ctl_event *e)
{
	fprintf(out, "{\"time_ms\": %" PRIu64 ", \"event\": ", e->time_ms);
	render_json_string(out, e->what);
	fputs(", \"flow\": ", out);
	if (e->flow)
		fprintf(out, "\"%" PRIu64 "\"", e->flow);
	else
		fputs("null", out);
	fputs(", \"peer\": ", out);
	put_string_or_null(out, e->peer);
	fputs(", \"text\": ", out);
	render_json_string(out, e->text);
	fputs("}\n", out);
}
