/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * render_json: the values of ctlmsg as JSON; private to render.
 *
 * Owns the names of members, which scripts rely on: sacipctl(1) lists them.
 */
#ifndef SACIPED_RENDER_JSON_H
#define SACIPED_RENDER_JSON_H

#include "ctlmsg.h"

#include <stdbool.h>
#include <stdio.h>

/* One object, no newline; `full` adds what `show` knows. */
void render_json_flow(FILE *out, const struct ctl_flow *f, bool full);
void render_json_peer(FILE *out, const struct ctl_peer *p);
/* These two end with a newline. */
void render_json_status(FILE *out, const struct ctl_status *s);
void render_json_event(FILE *out, const struct ctl_event *e);

#endif
