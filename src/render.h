/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * render: what sacipctl prints, for people and as JSON.
 *
 * Owns columns, colours, escapes and the names of JSON members. Never
 * talks to the daemon, never decides an exit code. Text that came from a
 * peer or the daemon reaches a terminal escaped only.
 */
#ifndef SACIPED_RENDER_H
#define SACIPED_RENDER_H

#include "ctlmsg.h"

#include <stdbool.h>
#include <stdio.h>

/* Column widths are taken from this many flows, then kept. */
#define RENDER_SAMPLE 256

struct render {
	FILE *out;
	bool json;
	bool colour;
	/* a table of flows */
	struct ctl_flow *sample; /* RENDER_SAMPLE, or NULL: widths are set */
	unsigned int n_sample;
	int id_width, local_width, remote_width;
	bool any; /* a record was printed */
};

/* A table of flows: begin, each flow, end. begin: 0 or -ENOMEM. */
int render_flows_begin(struct render *r);
void render_flows_add(struct render *r, const struct ctl_flow *f);
void render_flows_end(struct render *r);
void render_flow(struct render *r, const struct ctl_flow *f);

void render_peers_begin(struct render *r);
void render_peers_add(struct render *r, const struct ctl_peer *p);
void render_peers_end(struct render *r);

void render_status(struct render *r, const struct ctl_status *s);
void render_key(struct render *r, const char *fingerprint,
		const uint8_t public_key[CTL_KEY_SIZE]);
void render_event(struct render *r, const struct ctl_event *e);
/* What forget and move say when they are done. */
void render_done(struct render *r, const char *text);

/* `text` with everything but printable ASCII as \xNN, a backslash as \\. */
void render_escaped(FILE *out, const char *text);
/* A JSON string, quotes included; bytes past ASCII as \u00NN. */
void render_json_string(FILE *out, const char *text);

#endif
